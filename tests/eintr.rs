//! A storm of signals changes nothing: no call is cut short by preemption.
//!
//! Each test runs in plain threads and in coroutines beside hogs, so that the runtime's own signals come as
//! well. Meanwhile a thread sends SIGURG, as preemption does, to the threads of the process, ten thousand times a second
//! to those that run coroutines. How many were sent and taken is printed.
//!
//! `SA_RESTART` makes the kernel repeat a call that was interrupted. signal(7) lists those that it does not
//! repeat; what that means here is in [`what_the_kernel_does_not_repeat`].

mod common;

use common::{Hogs, PATIENCE, Task, Watchdog, builder, wait_until, watchdog};
use gort::channel::{RecvTimeoutError, SendTimeoutError, bounded};
use socket2::{Domain, SockAddr, Socket, Type};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Signals a second, about half of them for threads that run coroutines.
const RATE: u64 = 20_000;

const MS: Duration = Duration::from_millis(1);

/// Signals that have come to the handler that was there before the runtime's.
static TAKEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    TAKEN.fetch_add(1, Relaxed);
}

/// Sees to it that no other test of this program runs until the value is dropped.
fn alone(name: &str) -> (MutexGuard<'static, ()>, Watchdog) {
    static ALONE: Mutex<()> = Mutex::new(());
    static INSTALLED: Once = Once::new();
    let alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    INSTALLED.call_once(|| {
        // Before the first runtime, which then hands on to it what it has not sent itself.
        // SAFETY: all zero bits are an empty mask and no flags; the handler counts.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut()), 0);
        }
        drop(builder(1).build().unwrap());
        // Not by way of libtest: what a runtime's thread prints it may take for another test's.
        std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    });
    (alone, watchdog(PATIENCE, name))
}

/// Runs `f` with the storm, and nothing else meanwhile.
fn in_a_storm<T>(name: &str, f: impl FnOnce() -> T) -> T {
    let _alone = alone(name);
    let (stop, taken, begin) = (AtomicBool::new(false), TAKEN.load(Relaxed), Instant::now());
    let stops = StopsAtDrop(&stop);
    let (value, (sent, sent_to_ms)) = thread::scope(|threads| {
        let storm = threads.spawn(|| send_signals(&stop));
        wait_until("it begins", || TAKEN.load(Relaxed) > taken);
        let value = f();
        drop(stops);
        (value, storm.join().unwrap())
    });
    let (taken, seconds) = (TAKEN.load(Relaxed) - taken, begin.elapsed().as_secs_f64());
    let rate = |number: u64| number as f64 / seconds;
    eprintln!(
        "{name}: {seconds:.2} s; signals a second: {:.0} sent, {:.0} of them to threads of runtimes; {:.0} taken",
        rate(sent),
        rate(sent_to_ms),
        rate(taken)
    );
    value
}

/// Also when a test fails, so that its scope can end.
struct StopsAtDrop<'a>(&'a AtomicBool);

impl Drop for StopsAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Sends signals at [`RATE`] until `stop`; how many, and how many of them to threads that run coroutines.
fn send_signals(stop: &AtomicBool) -> (u64, u64) {
    let begin = Instant::now();
    let (mut due, mut sent, mut sent_to_ms) = (0, 0, 0);
    while !stop.load(Relaxed) {
        // Threads come and go.
        let targets = targets();
        for _ in 0..10 {
            let before = std::mem::replace(&mut due, (begin.elapsed().as_secs_f64() * RATE as f64) as u64);
            // Not all at once after a time without CPU.
            let now = (due - before).min(1000) as usize;
            for &(thread, is_m) in targets.iter().cycle().skip(sent as usize % targets.len().max(1)).take(now) {
                // SAFETY: a system call without pointers. The thread may have ended.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGURG) };
                sent += 1;
                sent_to_ms += u64::from(is_m);
            }
            thread::sleep(MS);
        }
    }
    (sent, sent_to_ms)
}

/// The threads to send signals to, and whether each runs coroutines. Once, the signal goes to all others, too: those
/// that block it, and those that do nothing in these tests.
fn targets() -> Vec<(i32, bool)> {
    let (me, main) = (common::gettid(), std::process::id() as i32);
    let target = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let thread: i32 = path.file_name()?.to_str()?.parse().ok()?;
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let rests = ["gort-home", "gort-sysmon", "watchdog"].contains(&name.trim()) || thread == main;
        if rests {
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_tgkill, main, thread, libc::SIGURG) };
        }
        (!rests && thread != me).then(|| (thread, name.trim().ends_with("-m")))
    };
    fs::read_dir("/proc/self/task").unwrap().filter_map(target).collect()
}

/// Runs `f` in the storm: in a plain thread, and as a coroutine of runtimes with one and two Ps, each of which has
/// a hog.
fn everywhere(name: &str, f: impl Fn() + Sync) {
    in_a_storm(name, || {
        f();
        for procs in [1, 2] {
            let runtime = builder(procs).build().unwrap();
            // With fixed homes a hog would keep its thread's coroutines for ever.
            let hogs = if runtime.coroutines_move() { procs } else { 0 };
            let hogs = Hogs::start(&runtime, hogs, |_| |i| _ = std::hint::black_box(i));
            runtime.run(&f);
            hogs.stop();
        }
    });
}

/// A number for a file's name.
fn unique() -> usize {
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    DRAWN.fetch_add(1, Relaxed)
}

fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    Task::start_alike(f)
}

/// What a call has given, if it was not interrupted.
#[track_caller]
fn strict<T>(result: io::Result<T>) -> io::Result<T> {
    assert!(result.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::Interrupted), "interrupted");
    result
}

/// Each single call must be [`strict`]: `read_exact` and `write_all` alone would hide an interruption.
struct Strict<T>(T);

impl<T: Read> Read for Strict<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        strict(self.0.read(buffer))
    }
}

impl<T: Write> Write for Strict<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        strict(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        strict(self.0.flush())
    }
}

/// Carries bytes from `to` to `from`. Now the reader has to wait, now the writer.
fn transfer(from: impl Read, to: impl Write + Send + 'static) {
    const PIECES: usize = 24;
    // More than a pipe holds.
    const SIZE: usize = 100_000;
    let piece = |i: usize| -> Vec<u8> { (0..SIZE).map(|k| (i + k / 7) as u8).collect() };
    let (mut from, mut to) = (Strict(from), Strict(to));
    let writer = spawn(move || {
        for i in 0..PIECES {
            if i % 4 == 0 {
                thread::sleep(2 * MS);
            }
            to.write_all(&piece(i)).unwrap();
        }
    });
    let mut found = vec![0; SIZE];
    for i in 0..PIECES {
        if i % 4 == 2 {
            thread::sleep(2 * MS);
        }
        from.read_exact(&mut found).unwrap();
        assert!(found == piece(i), "piece {i}");
    }
    writer.join();
    assert_eq!(from.read(&mut found).unwrap(), 0);
}

#[test]
fn the_handler_lets_calls_go_on() {
    // Goal: the kernel repeats what the runtime's signal interrupts, and runs the handler on a stack of its own.
    in_a_storm("the handler", || {
        // SAFETY: plain data that the call fills in.
        let flags = unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(libc::SIGURG, std::ptr::null(), &mut now), 0);
            assert_ne!(now.sa_sigaction, count as extern "C" fn(libc::c_int) as usize, "the runtime's is there");
            now.sa_flags
        };
        let expected = libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_SIGINFO;
        assert_eq!(flags & expected, expected);
    });
}

#[test]
fn pipes() {
    everywhere("pipes", || {
        let (from, to) = io::pipe().unwrap();
        transfer(from, to);
    });
}

#[test]
fn unix_sockets() {
    everywhere("Unix sockets", || {
        let (from, to) = UnixStream::pair().unwrap();
        transfer(from, to);
    });
}

#[test]
fn tcp_sockets() {
    everywhere("TCP sockets", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = spawn(move || {
            // So that `accept` waits.
            thread::sleep(5 * MS);
            strict(TcpStream::connect(address)).unwrap()
        });
        let (from, _) = strict(listener.accept()).unwrap();
        transfer(from, client.join());
    });
}

#[test]
fn gorts_tcp_sockets() {
    everywhere("our own TCP sockets", || {
        let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = spawn(move || {
            gort::time::sleep(5 * MS);
            strict(gort::net::TcpStream::connect(address)).unwrap()
        });
        let (from, _) = strict(listener.accept()).unwrap();
        transfer(from, client.join());
        // To and fro, and with time limits that pass.
        let mut client = Strict(strict(gort::net::TcpStream::connect_timeout(&address, PATIENCE)).unwrap());
        let (server, _) = strict(listener.accept()).unwrap();
        let echo = spawn(move || {
            let mut server = Strict(server);
            let mut bytes = [0; 8];
            while server.read_exact(&mut bytes).is_ok() {
                server.write_all(&bytes).unwrap();
            }
        });
        for i in 0..30_u64 {
            client.write_all(&i.to_le_bytes()).unwrap();
            let mut bytes = [0; 8];
            client.read_exact(&mut bytes).unwrap();
            assert_eq!(u64::from_le_bytes(bytes), i);
        }
        for wait in [MS, 20 * MS] {
            let begin = Instant::now();
            client.0.set_read_timeout(Some(wait)).unwrap();
            let error = client.read(&mut [0]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            listener.set_deadline(Some(Instant::now() + wait));
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(begin.elapsed() >= 2 * wait, "{:?}", begin.elapsed());
        }
        drop(client);
        echo.join();
    });
}

/// Whether a descriptor is ready, or shut, is asked by a `ppoll` that does not wait. The kernel interrupts that one, too; a signal
/// is not taken for a yes.
#[test]
fn gorts_questions_to_a_descriptor() {
    const ROUNDS: u64 = 5_000;
    everywhere("questions to a descriptor", || {
        let (first, second) = gort::net::UnixDatagram::pair().unwrap();
        let echo = spawn(move || {
            for i in 0..ROUNDS {
                let mut bytes = [0; 8];
                assert_eq!(strict(second.recv(&mut bytes)).unwrap(), 8, "it was not shut");
                assert_eq!(u64::from_le_bytes(bytes), i);
                strict(second.send(&bytes)).unwrap();
            }
        });
        for i in 0..ROUNDS {
            strict(first.send(&i.to_le_bytes())).unwrap();
            let mut bytes = [0; 8];
            assert_eq!(strict(first.recv(&mut bytes)).unwrap(), 8, "it was not shut");
        }
        echo.join();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = gort::io::Pollable::new(reader).unwrap();
        let (asks, asked) = bounded(0);
        let writer = spawn(move || {
            for () in &asked {
                writer.write_all(&[1]).unwrap();
            }
        });
        for _ in 0..ROUNDS {
            asks.send(()).unwrap();
            strict(reader.wait_readable(None)).unwrap();
            assert_eq!(strict(reader.get_ref().read(&mut [0])).expect("it is readable"), 1);
        }
        drop(asks);
        writer.join();
    });
}

#[test]
fn connecting_that_waits() {
    // Goal: a `connect` that waits for the other side to have room goes on.
    everywhere("connecting", || {
        let path = std::env::temp_dir().join(format!("gort-eintr-{}-{}", std::process::id(), unique()));
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        // Room for one.
        socket.listen(0).unwrap();
        let listener = UnixListener::from(socket);
        let clients: Vec<_> = (0..4)
            .map(|i| {
                let path = path.clone();
                spawn(move || {
                    let mut client = Strict(strict(UnixStream::connect(&path)).unwrap());
                    client.write_all(&[i]).unwrap();
                })
            })
            .collect();
        let mut sum = 0;
        for _ in 0..4 {
            thread::sleep(10 * MS);
            let (server, _) = strict(listener.accept()).unwrap();
            let mut byte = [0];
            Strict(server).read_exact(&mut byte).unwrap();
            sum += byte[0];
        }
        assert_eq!(sum, 6);
        clients.into_iter().for_each(Task::join);
        fs::remove_file(&path).unwrap();
    });
}

#[test]
fn connecting_that_waits_for_the_network() {
    // Goal: as above for TCP, by std's calls and by ours. The listener's queue is full, so the kernel tries
    // again after a second.
    const CLIENTS: usize = 4;
    in_a_storm("connecting by TCP", || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let _first = strict(TcpStream::connect(address)).unwrap();
        let runtime = builder(2).build().unwrap();
        let connected = Arc::new(AtomicUsize::new(0));
        let connect = |how: fn(&SocketAddr) -> io::Result<()>| {
            let connected = connected.clone();
            move || {
                strict(how(&address)).unwrap();
                connected.fetch_add(1, Relaxed);
            }
        };
        let std: fn(&SocketAddr) -> _ = |address| TcpStream::connect(address).map(drop);
        let std_limited: fn(&SocketAddr) -> _ = |address| TcpStream::connect_timeout(address, PATIENCE).map(drop);
        let ours: fn(&SocketAddr) -> _ = |address| gort::net::TcpStream::connect(address).map(drop);
        let threads = [std, std_limited].map(|how| thread::spawn(connect(how)));
        let coroutines: [_; CLIENTS - 2] = [std, ours].map(|how| runtime.spawn(connect(how)));
        thread::sleep(100 * MS);
        assert_eq!(connected.load(Relaxed), 0, "connected, though there is no room");
        for _ in 0..1 + CLIENTS {
            strict(listener.accept()).unwrap();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
    });
}

/// Calls `wait`, which is to last for as long as it is told, with several durations. It may take longer; if each
/// signal began it anew it would not end, and the watchdog would bark.
fn lasts(wait: impl Fn(Duration)) {
    for duration in [MS, 10 * MS, 50 * MS] {
        let begin = Instant::now();
        wait(duration);
        let took = begin.elapsed();
        assert!(took >= duration, "{took:?} of {duration:?}");
    }
}

#[test]
fn sleeping() {
    // Goal: nobody sleeps for less than asked, whoever's call it is.
    everywhere("sleeping", || {
        lasts(thread::sleep);
        lasts(gort::time::sleep);
        lasts(|duration| gort::blocking(|| thread::sleep(duration)));
    });
}

#[test]
fn locks_and_time_limits_of_std() {
    everywhere("std's locks", || {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        lasts(|duration| {
            let (_guard, result) = condvar.wait_timeout_while(mutex.lock().unwrap(), duration, |()| true).unwrap();
            assert!(result.timed_out());
        });
        // A wake-up for no reason is allowed, a time limit that is said to have passed and has not is not.
        let begin = Instant::now();
        let (_guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), 20 * MS).unwrap();
        assert!(!result.timed_out() || begin.elapsed() >= 20 * MS);
        let (_tx, rx) = mpsc::channel::<()>();
        lasts(|duration| assert_eq!(rx.recv_timeout(duration), Err(mpsc::RecvTimeoutError::Timeout)));
        // Waits that somebody else ends.
        const TURNS: usize = 20;
        let shared = Arc::new((Mutex::new(0), Condvar::new(), RwLock::new(0)));
        let theirs = shared.clone();
        let other = spawn(move || {
            let (turn, condvar, sum) = &*theirs;
            for i in 0..TURNS {
                let guard = condvar.wait_while(turn.lock().unwrap(), |turn| *turn != 2 * i + 1).unwrap();
                *sum.write().unwrap() += i;
                thread::sleep(MS);
                *{ guard } += 1;
                condvar.notify_one();
            }
        });
        let (turn, condvar, sum) = &*shared;
        for i in 0..TURNS {
            *turn.lock().unwrap() += 1;
            condvar.notify_one();
            drop(condvar.wait_while(turn.lock().unwrap(), |turn| *turn != 2 * i + 2).unwrap());
            assert_eq!(*sum.read().unwrap(), i * (i + 1) / 2);
        }
        other.join();
    });
}

#[test]
fn channels_and_joins() {
    everywhere("our channels and joins", || {
        let (tx, rx) = bounded::<usize>(1);
        lasts(|duration| assert_eq!(rx.recv_timeout(duration), Err(RecvTimeoutError::Timeout)));
        tx.send(0).unwrap();
        lasts(|duration| assert_eq!(tx.send_timeout(1, duration), Err(SendTimeoutError::Timeout(1))));
        assert_eq!(rx.recv(), Ok(0));
        let sender = spawn(move || (0..200).for_each(|i| tx.send(i).unwrap()));
        assert!(rx.iter().eq(0..200));
        sender.join();
        let runtime = builder(1).build().unwrap();
        let (end, ends) = bounded::<()>(0);
        let handle = Cell::new(Some(runtime.spawn(move || ends.recv().unwrap_err())));
        lasts(|duration| handle.set(Some(handle.take().unwrap().join_timeout(duration).expect_err("it waits"))));
        drop(end);
        handle.take().unwrap().join().unwrap();
    });
}

#[test]
fn files_and_processes() {
    everywhere("files and processes", || {
        let path = std::env::temp_dir().join(format!("gort-eintr-{}-{}", std::process::id(), unique()));
        let bytes: Vec<_> = (0..1_000_000).map(|i| i as u8).collect();
        strict(fs::write(&path, &bytes)).unwrap();
        assert!(strict(fs::read(&path)).unwrap() == bytes);
        // A lock that is waited for.
        let held = File::open(&path).unwrap();
        strict(held.lock()).unwrap();
        let wants = File::open(&path).unwrap();
        let other = spawn(move || strict(wants.lock()).unwrap());
        thread::sleep(10 * MS);
        strict(held.unlock()).unwrap();
        other.join();
        fs::remove_file(&path).unwrap();
        let output = strict(Command::new("sh").args(["-c", "sleep 0.02; echo done; exit 3"]).output()).unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"done\n"[..], Some(3)));
    });
}

/// Repeats `call`, which may take its time, until it was interrupted once.
fn is_interrupted(what: &str, mut call: impl FnMut() -> io::Result<()>) {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            Err(error) => panic!("{what}: {error}"),
            Ok(()) => {}
        }
    }
    panic!("{what} was never interrupted: then this is no exception any more");
}

/// The outcome of a C function.
fn outcome(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
fn what_the_kernel_does_not_repeat() {
    // Goal: say which calls are interrupted in spite of SA_RESTART, and that std and we make up for it. A
    // coroutine that calls these itself must repeat them, as it must in any program that has a signal handler; or
    // call them in `gort::blocking`, for which no signal is sent.
    in_a_storm("what the kernel does not repeat", || {
        let (from, to) = UnixStream::pair().unwrap();
        let mut set = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        is_interrupted("poll", || outcome(unsafe { libc::poll(&mut set, 1, 20) }));
        let mut left = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let begin = Instant::now();
        is_interrupted("nanosleep", || {
            let asked = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            // SAFETY: reads one and writes the other.
            outcome(unsafe { libc::nanosleep(&asked, &mut left) })
        });
        // It says what is left, which is how `thread::sleep` goes on.
        assert!(begin.elapsed() + Duration::new(left.tv_sec as u64, left.tv_nsec as u32) >= 20 * MS);
        // A socket with a time limit: std's single `read` shows it, its `read_exact` does not.
        from.set_read_timeout(Some(20 * MS)).unwrap();
        is_interrupted("a read with a time limit", || match (&from).read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result.map(drop),
        });
        let writer = thread::spawn(move || {
            thread::sleep(10 * MS);
            (&to).write_all(b"x").unwrap();
            to
        });
        from.set_read_timeout(Some(PATIENCE)).unwrap();
        (&from).read_exact(&mut [0]).unwrap();
        drop(writer.join().unwrap());
        // A connection that is waited for with a time limit is std's own `poll`, which it repeats (see
        // `connecting_that_waits_for_the_network`).
    });
}

#[test]
fn who_announces_a_call_is_left_alone() {
    // Goal: the runtime itself sends no signal to a coroutine that is in `blocking`, so there not even the calls
    // above are interrupted. Here without a storm, and beside hogs.
    const TIMES: usize = 20;
    // One that is on its way while the call begins.
    const MOST: usize = 1;
    let _alone = alone("announced calls");
    let runtime = builder(2).build().unwrap();
    let hogs = if runtime.coroutines_move() { 3 } else { 0 };
    let hogs = Hogs::start(&runtime, hogs, |_| |i| _ = std::hint::black_box(i));
    let (from, _to) = UnixStream::pair().unwrap();
    let from = Arc::new(from);
    let waits = || {
        let from = from.clone();
        move || {
            let is_interrupted = |_: &usize| {
                let mut set = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one valid entry.
                gort::blocking(|| outcome(unsafe { libc::poll(&mut set, 1, 25) })).is_err()
            };
            (0..TIMES).filter(is_interrupted).count()
        }
    };
    let waiting: Vec<_> = (0..4).map(|_| runtime.spawn(waits())).collect();
    let interrupted: usize = waiting.into_iter().map(|handle| handle.join().unwrap()).sum();
    hogs.stop();
    assert!(interrupted <= MOST, "{interrupted} of {} calls were interrupted", 4 * TIMES);
}

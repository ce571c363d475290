//! What goes wrong outside: peers that vanish, that are slow, that reset; a system that has no more descriptors; names that
//! nobody knows; crowds that come and go at once.
//!
//! What is counted for the whole process (descriptors, threads), or changed, is in a process of its own. Peers that are to
//! vanish are another process, too: this program, started again with an order for [`peer`].

mod common;
#[path = "faults/traffic.rs"]
mod traffic;

use common::tcp::{LONG, listener, pair};
use common::{PROCS, Random, builder, everywhere, pass, seed, wait_until};
use gort::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UnixStream};
use gort::{JoinHandle, Runtime, go, scope};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// More than the buffers of a connection hold.
const MUCH: usize = 8 << 20;

/// What is sent, from one place on: so that whatever is lost or comes twice is seen.
fn pattern(from: usize, len: usize) -> &'static [u8] {
    static ALL: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || (0..2 * MUCH).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    &ALL.get_or_init(make)[from..from + len]
}

/// How many descriptors the process has open.
fn descriptors() -> usize {
    // The one of the directory itself is counted, and gone.
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Sets the limit of descriptors and says what it was.
fn limit_descriptors(limit: u64) -> u64 {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the limits in.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut now) }, 0);
    let before = std::mem::replace(&mut now.rlim_cur, limit.min(now.rlim_max));
    // SAFETY: reads the limits.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &now) }, 0);
    before
}

/// A counter in what a runtime says of itself.
fn counter(runtime: &Runtime, name: &str) -> usize {
    let text = format!("{runtime:?}");
    let rest = text.split(&format!("{name}: ")).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Nobody waits any more: nothing that waiting takes is left.
#[track_caller]
fn is_at_rest(runtime: &Runtime, live: u64) {
    wait_until("only those are left who should be", || runtime.live() == live);
    wait_until("no descriptor is registered", || counter(runtime, "descriptors") == 0);
    wait_until("no timer is armed", || counter(runtime, "timers") == 0);
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

// The other process.

/// Starts this program as a peer: `words` are its order.
fn start_peer(words: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "peer", "--nocapture"])
        .env("GORT_TEST_PEER", words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("connected") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the peer has ended");
    }
    (child, output)
}

/// The peer's side: connects so many times to a port, says on each what [`attend`] is to do if it is to talk, and keeps all until it is told to
/// go on (or the test has ended). Then it asks on each for a byte if it is to ask, and ends.
#[test]
fn peer() {
    let Ok(order) = std::env::var("GORT_TEST_PEER") else { return };
    let words: Vec<u16> = order.split(' ').map(|word| word.parse().unwrap()).collect();
    let (port, count, talks, asks) = (words[0], words[1], words[2] == 1, words.get(3) == Some(&1));
    let mut streams = Vec::new();
    for number in 0..count {
        // Several addresses: one has 28,000 ports, and those of the last run may still linger.
        let address = SocketAddr::from(([127, 0, 0, 1 + (number / 4_000) as u8], port));
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        if talks {
            stream.write_all(&[(number % 4) as u8]).unwrap();
        }
        streams.push(stream);
    }
    println!("\nconnected");
    io::stdin().read_line(&mut String::new()).unwrap();
    if asks {
        for mut stream in streams {
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
    }
}

/// The server's side of a connection of [`peer`]. Ends when the peer has.
fn attend(mut stream: TcpStream) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    match byte[0] {
        // Waits to read, as most do.
        0 => stream.read(&mut byte).map(drop),
        // Fills the buffers of both sides and waits to write.
        1 => stream.write_all(&vec![0; MUCH]),
        // Has sent what the peer has not read, so that its end is a reset.
        2 => {
            stream.write_all(&[0; 100])?;
            stream.read(&mut byte).map(drop)
        }
        // Reads in one coroutine and writes in another.
        _ => {
            let other = stream.try_clone()?;
            let writing = go!(move || (&other).write_all(&vec![0; MUCH]));
            let read = stream.read(&mut byte).map(drop);
            writing.join().unwrap().and(read)
        }
    }
}

#[test]
fn peers_that_are_killed_leave_nobody_waiting() {
    // Goal: when the process on the other side is killed all who wait for it learn of it, without any deadline, and leave nothing.
    if !common::is_child("peers_that_are_killed_leave_nobody_waiting") {
        return;
    }
    common::begin_sysmon();
    for procs in PROCS {
        let before = descriptors();
        let runtime = builder(procs).build().unwrap();
        let outcomes = runtime.run(|| {
            const PEERS: usize = 200;
            let (listener, address) = listener();
            let accepting = go!(move || {
                (0..PEERS)
                    .map(|_| {
                        let (stream, _) = listener.accept().unwrap();
                        go!(move || attend(stream))
                    })
                    .collect::<Vec<JoinHandle<io::Result<()>>>>()
            });
            let (mut child, _output) = start_peer(&format!("{} {PEERS} 1", address.port()));
            let handles = accepting.join().unwrap();
            wait_until("all wait", || counter(&runtime, "descriptors") == PEERS);
            child.kill().unwrap();
            child.wait().unwrap();
            let _watchdog = common::watchdog(LONG, "those who wait for a peer that was killed");
            handles.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
        });
        let (well, failed) = outcomes.into_iter().partition::<Vec<_>, _>(Result::is_ok);
        // Each fourth was only reading; of the others all were told that it had gone.
        assert_eq!(well.len(), 50, "only these were told of no error");
        assert!(failed.iter().all(|error| is_gone(error.as_ref().unwrap_err())), "{:?}", failed.first());
        is_at_rest(&runtime, 0);
        drop(runtime);
        assert_eq!(descriptors(), before);
    }
}

#[test]
fn thousands_come_and_go_at_once() {
    // Goal: 15,000 connections that are held, and end all at once, cost nobody anything afterwards. Method: the other ends are in a process
    // of their own. They end because it is killed; or on this side, by a cancel of all who wait; or by the end of the runtime.
    if !common::is_child("thousands_come_and_go_at_once") {
        return;
    }
    let limit = limit_descriptors(20_000);
    let count = 15_000.min(limit_descriptors(20_000).saturating_sub(500)) as u16;
    if count < 15_000 {
        eprintln!("{count} connections only: the limit of descriptors is {limit}");
    }
    common::begin_sysmon();
    let before = descriptors();
    for end in ["kill", "cancel", "drop"] {
        let runtime = builder(2).build().unwrap();
        let start = Instant::now();
        let (mut child, handles) = runtime.run(|| {
            let listener = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let reading = Arc::new(AtomicUsize::new(0));
            let count_them = reading.clone();
            let accepting = go!(move || {
                (0..count)
                    .map(|_| {
                        let (mut stream, _) = listener.accept().unwrap();
                        let reading = count_them.clone();
                        go!(move || {
                            reading.fetch_add(1, SeqCst);
                            stream.read(&mut [0])
                        })
                    })
                    .collect::<Vec<_>>()
            });
            let (child, _) = start_peer(&format!("{port} {count} 0"));
            let handles = accepting.join().unwrap();
            wait_until("all are read from", || reading.load(SeqCst) == usize::from(count));
            (child, handles)
        });
        wait_until("all wait", || counter(&runtime, "descriptors") == usize::from(count));
        let held = start.elapsed();
        let start = Instant::now();
        let _watchdog = common::watchdog(LONG, format!("{count} connections that end by {end}"));
        match end {
            "kill" => {
                child.kill().unwrap();
                for handle in handles {
                    assert_eq!(handle.join().unwrap().unwrap(), 0);
                }
                is_at_rest(&runtime, 0);
                drop(runtime);
            }
            "cancel" => {
                handles.iter().for_each(JoinHandle::cancel);
                for handle in handles {
                    assert!(handle.join().unwrap_err().is_cancelled());
                }
                is_at_rest(&runtime, 0);
                drop(runtime);
            }
            _ => drop(runtime),
        }
        eprintln!("{count} connections: there in {held:?}, ended by {end} in {:?}", start.elapsed());
        // It may have been killed above.
        let _ = child.kill();
        child.wait().unwrap();
        drop(child);
        wait_until("all are closed", || descriptors() <= before);
    }
}

#[test]
fn a_peer_that_is_gone_without_a_word() {
    // Goal: of a peer that ends without a packet, as if its machine had lost power, a reader learns by its deadline, and a writer by
    // what the machine says when it is up again. Method: a socket under repair is closed silently.
    const TCP_REPAIR: libc::c_int = 19;
    let vanish = |stream: TcpStream| {
        let on: libc::c_int = 1;
        // SAFETY: reads an int of that size.
        let result = unsafe {
            let (value, size) = ((&raw const on).cast(), size_of::<libc::c_int>() as libc::socklen_t);
            libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, TCP_REPAIR, value, size)
        };
        result == 0
    };
    let (client, _server) = pair();
    if !vanish(client) {
        eprintln!("skipped: to let a connection vanish takes the right to administer the network");
        return;
    }
    everywhere(|| {
        for _ in 0..10 {
            let (client, mut server) = pair();
            assert!(vanish(client));
            server.set_read_deadline(Some(Instant::now() + Duration::from_millis(5)));
            assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
            server.set_read_deadline(None);
            // Nobody knows the connection there.
            server.write_all(b"are you there?").unwrap();
            assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
            assert_eq!(server.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn slow_readers_and_writers_do_not_slow_others() {
    // Goal: who reads or writes a byte now and then gets all bytes in order and costs the others nothing. Method: slow ones of both
    // kinds by the dozen, with buffers full on one side and empty on the other; beside them one exchange after the other.
    let seed = seed();
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            scope(|s| {
                for number in 0..40u64 {
                    s.go(move || {
                        let mut random = Random::new(seed ^ number);
                        let (mut one, mut other) = pair();
                        let len = 1 + random.below(1 << 20) as usize;
                        let pause = move |random: &mut Random| match random.below(20) {
                            0 => gort::time::sleep(Duration::from_micros(random.below(3_000))),
                            _ => gort::yield_now(),
                        };
                        let slow_writer = number % 2 == 0;
                        let mut theirs = random.clone();
                        let writer = go!(move || {
                            let mut at = 0;
                            while at < len {
                                let most = if slow_writer { 1 + theirs.below(8_000) as usize } else { len };
                                let piece = pattern(at, most.min(len - at));
                                one.write_all(piece).unwrap();
                                at += piece.len();
                                if slow_writer {
                                    pause(&mut theirs);
                                }
                            }
                        });
                        let mut at = 0;
                        let mut buffer = vec![0; 1 << 16];
                        loop {
                            let most = if slow_writer { buffer.len() } else { 1 + random.below(8_000) as usize };
                            let count = other.read(&mut buffer[..most]).unwrap();
                            if count == 0 {
                                break;
                            }
                            assert!(buffer[..count] == *pattern(at, count), "at {at}");
                            at += count;
                            if !slow_writer {
                                pause(&mut random);
                            }
                        }
                        assert_eq!(at, len);
                        writer.join().unwrap();
                    });
                }
                s.go(|| {
                    let (mut one, mut other) = pair();
                    let answering = go!(move || {
                        let mut byte = [0];
                        while other.read(&mut byte).unwrap() > 0 {
                            other.write_all(&byte).unwrap();
                        }
                    });
                    let start = Instant::now();
                    for round in 0..200u8 {
                        one.write_all(&[round]).unwrap();
                        let mut byte = [0];
                        one.read_exact(&mut byte).unwrap();
                        assert_eq!(byte[0], round);
                    }
                    drop(one);
                    answering.join().unwrap();
                    eprintln!("200 exchanges in {:?}", start.elapsed());
                });
            });
        });
    }
}

/// Resets a connection that others may be using: what is connected to nothing is disconnected.
fn reset(stream: &impl AsRawFd) -> io::Result<()> {
    let nothing = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    // SAFETY: reads an address of that size.
    match unsafe { libc::connect(stream.as_raw_fd(), &nothing, size_of_val(&nothing) as libc::socklen_t) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads to the end, and checks that it is [`pattern`] as far as it goes.
fn read_pattern(mut stream: &TcpStream) -> io::Result<usize> {
    let (mut at, mut buffer) = (0, vec![0; 20_000]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(at),
            count => {
                assert!(buffer[..count] == *pattern(at, count), "at {at}");
                at += count;
            }
        }
    }
}

#[test]
fn resets_in_the_middle() {
    // Goal: a reset ends all four who read and write a connection, and what was read by then is what was sent. Method: one side is
    // disconnected at any moment: before anything has been sent, in the middle, with buffers full, or at the end.
    let seed = seed();
    for procs in PROCS {
        let runtime = builder(procs).build().unwrap();
        let _watchdog = common::watchdog(LONG, "connections that were reset");
        runtime.run(|| {
            scope(|s| {
                for number in 0..60 * common::factor() {
                    s.go(move || {
                        let mut random = Random::new(seed ^ (number << 8));
                        let (client, server) = pair();
                        let ends = [Arc::new(client), Arc::new(server)];
                        let reads = random.below(4) > 0;
                        let tasks: Vec<_> = ends
                            .iter()
                            .map(|stream| {
                                let (read, write) = (stream.clone(), stream.clone());
                                let reading = reads.then(|| go!(move || read_pattern(&read)));
                                (reading, go!(move || (&*write).write_all(pattern(0, MUCH))))
                            })
                            .collect();
                        match random.below(3) {
                            0 => (0..random.below(50)).for_each(|_| pass()),
                            _ => gort::time::sleep(Duration::from_micros(random.below(20_000))),
                        }
                        reset(&*ends[random.below(2) as usize]).unwrap();
                        for (reading, writing) in tasks {
                            // All had been sent before, perhaps, if there was somebody to read.
                            match writing.join().unwrap() {
                                Ok(()) => assert!(reads),
                                Err(error) => assert!(is_end(&error), "{error}"),
                            }
                            match reading.map(|reading| reading.join().unwrap()) {
                                Some(Err(error)) => assert!(is_end(&error), "{error}"),
                                Some(Ok(count)) => assert!(count <= MUCH),
                                None => {}
                            }
                        }
                    });
                }
            });
        });
        is_at_rest(&runtime, 0);
    }
}

/// The same, and what the side says that was disconnected itself.
fn is_end(error: &io::Error) -> bool {
    is_gone(error) || error.kind() == ErrorKind::NotConnected
}

#[test]
fn full_buffers_on_both_sides() {
    // Goal: two who write and do not read wait, by their deadlines and no longer; who then reads gets all of it, in order.
    everywhere(|| {
        let (client, server) = pair();
        let mut written = Vec::new();
        for stream in [&client, &server] {
            stream.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
            let mut at = 0;
            let error = loop {
                match (&mut &*stream).write(pattern(at, 100_000)) {
                    Ok(count) => at += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(at > 0);
            written.push(at);
        }
        for (stream, other, written) in [(&client, &server, written[1]), (&server, &client, written[0])] {
            other.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_pattern(stream).unwrap(), written);
        }
    });
}

// A system that has no more.

/// Serves `clients`, one byte each, as a server should: it waits a moment when it can accept no more. How often it had to.
fn serve(listener: &TcpListener, clients: usize) -> usize {
    let (mut pauses, mut pause) = (0, Duration::from_millis(1));
    let mut served = 0;
    while served < clients {
        match listener.accept() {
            Ok((mut stream, _)) => {
                served += 1;
                pause = Duration::from_millis(1);
                drop(go!(move || {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    stream.write_all(&byte).unwrap();
                }));
            }
            Err(error) => {
                assert!(matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)), "{error}");
                pauses += 1;
                gort::time::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
    }
    pauses
}

#[test]
fn a_server_without_descriptors_recovers() {
    // Goal: with fewer descriptors than clients all are served in the end, and the server does not spin meanwhile (EMFILE). Method: the
    // clients are another process; none says a word before all are connected, which is beyond what the server may have.
    if !common::is_child("a_server_without_descriptors_recovers") {
        return;
    }
    for procs in PROCS {
        let runtime = builder(procs).build().unwrap();
        runtime.run(|| {
            const CLIENTS: usize = 300;
            let listener = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let (mut child, mut output) = start_peer(&format!("{port} {CLIENTS} 0 1"));
            // Registered, and what reading the directory takes.
            listener.set_deadline(Some(Instant::now() - Duration::from_millis(1)));
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
            listener.set_deadline(None);
            let usual = limit_descriptors(descriptors() as u64 + 40);
            let cpu = common::cpu_time();
            let serving = go!(move || serve(&listener, CLIENTS));
            gort::time::sleep(Duration::from_millis(200));
            let idle = common::cpu_time() - cpu;
            // Now they begin, one after the other.
            child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
            let pauses = serving.join().unwrap();
            limit_descriptors(usual);
            let mut rest = String::new();
            // With fixed homes those who serve may live on this thread.
            gort::blocking(|| output.read_to_string(&mut rest)).unwrap();
            assert!(gort::blocking(|| child.wait()).unwrap().success(), "{rest}");
            eprintln!("{pauses} pauses; {idle:?} of CPU time in 200 ms without descriptors");
            assert!(pauses > 0 && pauses < CLIENTS, "{pauses} pauses");
            assert!(idle < Duration::from_millis(100), "{idle:?}");
        });
        is_at_rest(&runtime, 0);
    }
}

#[test]
fn a_full_system_is_an_error_of_one_call() {
    // Goal: ENFILE, which a user cannot bring about without harm to others. Method: a filter lets accept(2) fail with it for one number
    // of a descriptor; another number for the same listener gets the connection, which has stayed in the queue.
    if !common::is_child("a_full_system_is_an_error_of_one_call") {
        return;
    }
    const NUMBER: libc::c_int = 700;
    let (listener, address) = listener();
    limit_descriptors(1000);
    // SAFETY: the number is free: no test before this one in its process.
    assert_eq!(unsafe { libc::dup2(listener.as_raw_fd(), NUMBER) }, NUMBER);
    // SAFETY: just made.
    let full: TcpListener = unsafe { std::os::fd::FromRawFd::from_raw_fd(NUMBER) };
    // The number of the call is at 0, its first argument at 16 (the lower half first: little endian).
    let load =
        |at| libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: at };
    let skip_unless =
        |k, jf| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf, k };
    let end = |k| libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k };
    let mut filter = [
        load(0),
        skip_unless(libc::SYS_accept4 as u32, 3),
        load(16),
        skip_unless(NUMBER as u32, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::ENFILE as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: reads the program; threads that are started from here on have it too.
    let filtered = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if !filtered {
        eprintln!("skipped: no filter for system calls: {}", io::Error::last_os_error());
        return;
    }
    everywhere(|| {
        for _ in 0..3 {
            let client = TcpStream::connect(address).unwrap();
            for _ in 0..3 {
                assert_eq!(full.accept().unwrap_err().raw_os_error(), Some(libc::ENFILE));
            }
            assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        }
    });
}

// Names.

/// Puts this process where the only name server is one that never answers. None, with a word why, if that cannot be done.
fn silent_name_server() -> Option<std::net::UdpSocket> {
    let server = std::net::UdpSocket::bind("127.0.0.77:53").ok()?;
    let file = std::env::temp_dir().join(format!("gort-resolv-{}", std::process::id()));
    std::fs::write(&file, "nameserver 127.0.0.77\n").unwrap();
    let path = |path: &std::path::Path| std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let (from, to) = (path(&file), path("/etc/resolv.conf".as_ref()));
    let null = std::ptr::null();
    // SAFETY: strings that end, and nulls where the calls want none. The process is to see its own file only.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(null, c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast()) == 0
            && libc::mount(from.as_ptr(), to.as_ptr(), null, libc::MS_BIND, null.cast()) == 0
    };
    let error = io::Error::last_os_error();
    std::fs::remove_file(file).unwrap();
    if !done {
        eprintln!("no mount of its own: {error}");
    }
    done.then_some(server)
}

#[test]
fn a_name_server_that_never_answers() {
    // Goal: who asks for a name with a deadline has an error at that time, whoever else asks and however many; who is cancelled ends at
    // once; an address is found meanwhile; the end of a runtime does not wait. Method: a mount of its own for
    // /etc/resolv.conf, so in a process of its own.
    if !common::is_child("a_name_server_that_never_answers") {
        return;
    }
    let Some(server) = silent_name_server() else {
        eprintln!("skipped: that takes port 53 and a mount of one's own");
        return;
    };
    const IN_TIME: Duration = Duration::from_millis(200);
    let late = LONG / 6;
    everywhere(|| {
        let start = Instant::now();
        let error = TcpStream::connect_deadline("never.example:80", start + IN_TIME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!((IN_TIME..late).contains(&start.elapsed()), "{:?}", start.elapsed());
    });
    // It was asked.
    server.set_nonblocking(true).unwrap();
    assert!(server.recv(&mut [0; 512]).is_ok(), "nobody has asked the name server");
    for procs in PROCS {
        let start = Instant::now();
        let runtime = builder(procs).build().unwrap();
        runtime.run(|| {
            // More than have their turn at once.
            let ask = |i| ("never.example", i).to_socket_addrs_deadline(Instant::now() + IN_TIME).map(drop);
            let asking: Vec<_> = (0..150).map(|i| go!(move || ask(i).unwrap_err().kind())).collect();
            let without_end = go!(|| ("forever.example", 1).to_socket_addrs().map(drop));
            assert_eq!("127.0.0.1:1".to_socket_addrs_deadline(Instant::now()).unwrap().count(), 1);
            for one in asking {
                assert_eq!(one.join().unwrap(), ErrorKind::TimedOut);
            }
            without_end.cancel();
            assert!(without_end.join().unwrap_err().is_cancelled());
            drop(go!(|| ("forever.example", 2).to_socket_addrs().map(drop)));
        });
        drop(runtime);
        assert!(start.elapsed() < late, "{:?}", start.elapsed());
    }
}

// Descriptors.

/// One waits on a connection; then that ends in one of several ways, and its number goes to others at once.
fn end_under_one_who_waits(random: &mut Random) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_read_timeout(Some(LONG)).unwrap();
    let twin = one.try_clone().unwrap();
    let by_turns = random.below(3);
    let waiting = go!(move || {
        let mut byte = [0];
        (&twin).read(&mut byte).map(|count| (count, byte[0]))
    });
    match by_turns {
        0 => {}
        1 => gort::yield_now(),
        _ => gort::time::sleep(Duration::from_micros(random.below(50))),
    }
    let way = random.below(6);
    let outcome = match way {
        // The other side is closed; or sends, and is closed.
        0 => {
            drop(other);
            waiting.join().unwrap()
        }
        1 => {
            (&other).write_all(b"r").unwrap();
            drop((one, other));
            waiting.join().unwrap()
        }
        // This side is shut.
        2 => {
            one.shutdown(Shutdown::Both).unwrap();
            waiting.join().unwrap()
        }
        // Who waits is cancelled, or finds its time over.
        3 => {
            waiting.cancel();
            drop(one);
            match waiting.join() {
                Err(error) => {
                    assert!(error.is_cancelled());
                    Ok((0, 0))
                }
                Ok(outcome) => outcome,
            }
        }
        4 => {
            one.set_read_deadline(Some(Instant::now()));
            waiting.join().unwrap()
        }
        // The twin is all that is left, and others come.
        _ => {
            drop(one);
            let new = UnixStream::pair().unwrap();
            (&new.0).write_all(b"w").unwrap();
            (&new.1).write_all(b"w").unwrap();
            (&other).write_all(b"r").unwrap();
            waiting.join().unwrap()
        }
    };
    match (way, outcome) {
        (0 | 2 | 3, Ok((0, _))) | (1 | 5, Ok((1, b'r'))) => {}
        (4, Err(error)) => assert_eq!(error.kind(), ErrorKind::TimedOut),
        (way, outcome) => panic!("way {way}: {outcome:?}"),
    }
}

/// [`end_under_one_who_waits`] so many times.
fn end_under_those_who_wait(rounds: u64) {
    let seed = seed();
    for procs in PROCS {
        let runtime = builder(procs).build().unwrap();
        let start = Instant::now();
        runtime.run(|| {
            scope(|s| {
                for number in 0..20 {
                    s.go(move || {
                        let mut random = Random::new(seed ^ (number << 20) ^ procs as u64);
                        for _ in 0..rounds / 20 / PROCS.len() as u64 {
                            end_under_one_who_waits(&mut random);
                        }
                    });
                }
            });
        });
        is_at_rest(&runtime, 0);
        eprintln!("{:5.0} s: {} with {procs} Ps", start.elapsed().as_secs_f64(), rounds / PROCS.len() as u64);
    }
}

#[test]
fn descriptors_end_under_those_who_wait() {
    end_under_those_who_wait(6_000 * common::factor());
}

#[test]
#[ignore = "a million times: takes minutes"]
fn descriptors_end_a_million_times() {
    end_under_those_who_wait(1_000_000);
}

//! Traffic of all kinds with faults at random, and nothing left behind.
//!
//! Goal: whatever is broken off in the middle, by whom and how ever, gives back its descriptors, memory, coroutines and timers. Method:
//! workers who make one exchange after the other, each of a kind, a size and a fault that a seed decides. From time to time all pause, and what there is
//! is counted: coroutines, registered descriptors and timers are none then, open descriptors and mappings as many as at the first pause, and memory
//! not much more.

use super::{LONG, counter, descriptors, is_end, is_gone, listener, pattern, reset};
use crate::common::tcp::accept;
use crate::common::{self, Random, builder, seed, status_kib, threads, variable, wait_until};
use gort::context::Context;
use gort::net::{Shutdown, TcpStream, UdpSocket, UnixStream};
use gort::sync::{Barrier, Mutex};
use gort::{Runtime, go, scope};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// std's allocator, which counts what is not freed. The process has more than that: the allocator keeps a share of it for each thread, so the memory of
/// the process says less.
struct Counting;

static HEAP_BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: all is done by std's, with what was handed in.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed, here and below: a number of its own, that is read when nobody does anything.
        HEAP_BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as the caller has promised, and it came from there.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const WORKERS: u64 = 100;
/// What one side sends to the other at most; more than a narrow pipe or socket holds.
const MOST: u64 = 400_000;

/// What an exchange goes over, of which the two sides are alike.
trait Link: Send + Sync + 'static {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    fn set_deadlines(&self, when: Instant);
    fn end_of_writing(&self);
    /// A fault that this kind of link has, if it has one.
    fn break_off(&self);
}

macro_rules! link {
    ($type:ty, $break_off:expr) => {
        impl Link for $type {
            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Read::read(&mut &*self, buffer)
            }

            fn write(&self, bytes: &[u8]) -> io::Result<usize> {
                Write::write(&mut &*self, bytes)
            }

            fn set_deadlines(&self, when: Instant) {
                self.set_read_deadline(Some(when));
                self.set_write_deadline(Some(when));
            }

            fn end_of_writing(&self) {
                // Fails if the other side is gone.
                let _ = self.shutdown(Shutdown::Write);
            }

            fn break_off(&self) {
                $break_off(self);
            }
        }
    };
}

// Fails if the connection is gone already.
link!(TcpStream, |stream: &TcpStream| drop(reset(stream)));
link!(UnixStream, |stream: &UnixStream| drop(stream.shutdown(Shutdown::Both)));

/// A side of a link, for one of the two who use it.
struct Side<'a, L>(&'a L);

impl<L: Link> Read for Side<'_, L> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<L: Link> Write for Side<'_, L> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How an exchange ends before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// A deadline that may come in the middle.
    Deadline,
    /// Who sends, or who receives, is cancelled, or its context ends.
    Cancel,
    Context,
    /// One side is dropped in the middle of its own sending.
    Gone,
    /// The connection is reset, or shut.
    Broken,
}

impl Fault {
    fn of(random: &mut Random) -> Fault {
        use Fault::*;
        [None, None, Deadline, Cancel, Context, Gone, Broken][random.below(7) as usize]
    }
}

/// Whether an exchange may end like this if there was such a fault.
fn may_be(error: &io::Error, fault: Fault) -> bool {
    match error.kind() {
        ErrorKind::TimedOut => fault == Fault::Deadline,
        _ => fault != Fault::None && (is_gone(error) || is_end(error)),
    }
}

fn pause(random: &mut Random) {
    match random.below(8) {
        0 => gort::time::sleep(Duration::from_micros(random.below(500))),
        1 | 2 => gort::yield_now(),
        _ => {}
    }
}

/// Sends so much, in pieces.
fn send(mut writer: impl Write, len: usize, random: &mut Random) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let piece = pattern(at, (1 + random.below(30_000) as usize).min(len - at));
        writer.write_all(piece)?;
        at += piece.len();
        pause(random);
    }
    Ok(())
}

/// Reads to the end and checks what comes. How much it was.
fn receive(mut reader: impl Read, random: &mut Random) -> io::Result<usize> {
    let (mut at, mut buffer) = (0, vec![0; 500 + random.below(30_000) as usize]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(at),
            count => {
                assert!(buffer[..count] == *pattern(at, count), "at {at}");
                at += count;
            }
        }
        pause(random);
    }
}

/// Runs `f` with a fault that comes from outside: a cancel, or the end of a context, at any moment. None if it was that.
fn under<T: Send + 'static>(fault: Fault, random: &mut Random, f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let soon = Duration::from_micros(random.below(3_000));
    match fault {
        Fault::Cancel => {
            let handle = go!(f);
            gort::time::sleep(soon);
            handle.cancel();
            handle.join().map_err(|error| assert!(error.is_cancelled(), "{error}")).ok()
        }
        Fault::Context => Context::background().with_timeout(soon).0.bound(f).ok(),
        _ => Some(f()),
    }
}

/// Both sides of a link at once: each sends so much, tells the other that this was all, and reads what comes.
fn exchange<L: Link>(sides: [L; 2], random: &mut Random) {
    let fault = Fault::of(random);
    let lens = [random.below(MOST) as usize, random.below(MOST) as usize];
    let limit = if fault == Fault::Deadline { Duration::from_micros(random.below(5_000)) } else { LONG };
    let faulty = random.below(2) as usize;
    let mut tasks = Vec::new();
    for (number, side) in sides.into_iter().enumerate() {
        side.set_deadlines(Instant::now() + limit);
        let (mut random, len) = (Random::new(random.below(u64::MAX)), lens[number]);
        let fault_here = if number == faulty { fault } else { Fault::None };
        tasks.push(go!(move || {
            let mut theirs = random.clone();
            let both = move || -> io::Result<usize> {
                let side = &side;
                scope(|s| {
                    let mut mine = theirs.clone();
                    let sending = s.go(move || {
                        let len = if fault_here == Fault::Gone { len / 2 } else { len };
                        let sent = send(Side(side), len, &mut mine);
                        match fault_here {
                            Fault::Broken => side.break_off(),
                            _ => side.end_of_writing(),
                        }
                        sent
                    });
                    if fault_here == Fault::Gone {
                        // It does not read, so what it was sent is lost, and its end is a reset.
                        return sending.join().unwrap().map(|()| 0);
                    }
                    let received = receive(Side(side), &mut theirs);
                    sending.join().unwrap().and(received)
                })
            };
            under(fault_here, &mut random, both)
        }));
    }
    for (number, task) in tasks.into_iter().enumerate() {
        match task.join().unwrap() {
            Some(Ok(count)) => {
                let whole = lens[1 - number];
                assert!(count == whole || fault != Fault::None, "{count} of {whole} bytes, {fault:?}");
            }
            Some(Err(error)) => assert!(may_be(&error, fault), "{error} with {fault:?}"),
            None => {}
        }
    }
}

/// A connection, of which some are refused, given up or left in the queue.
fn tcp(random: &mut Random) {
    let (listener, address) = listener();
    match random.below(12) {
        // Nobody accepts.
        0 => drop(TcpStream::connect(address).unwrap()),
        // Nobody connects; or a stray does, who meant the listener that had this port before.
        1 => drop(under(Fault::Cancel, random, move || listener.accept().map(drop))),
        2 => {
            listener.set_deadline(Some(Instant::now() + Duration::from_micros(random.below(1_000))));
            if let Err(error) = listener.accept() {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            }
        }
        // Nobody listens any more, or another by now.
        3 => {
            drop(listener);
            if let Err(error) = TcpStream::connect(address) {
                assert!(matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset), "{error}");
            }
        }
        _ => {
            let client = go!(move || TcpStream::connect(address).unwrap()).join().unwrap();
            let server = accept(&listener, &client);
            exchange([client, server], random);
        }
    }
}

/// Datagrams, of which some are lost: to nobody, or before somebody reads.
fn udp(random: &mut Random) {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    other.set_read_timeout(Some(Duration::from_millis(1 + random.below(5)))).unwrap();
    let count = random.below(50);
    let mut theirs = random.clone();
    let fault = [Fault::None, Fault::Cancel, Fault::Context][random.below(3) as usize];
    let receiving = go!(move || {
        let mut buffer = [0; 100];
        under(fault, &mut theirs, move || -> io::Result<u64> {
            let mut got = 0;
            while got < count {
                match other.recv(&mut buffer) {
                    Ok(len) => {
                        assert_eq!(buffer[..len], *pattern(0, len));
                        got += 1;
                    }
                    Err(error) if error.kind() == ErrorKind::TimedOut => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(got)
        })
    });
    for _ in 0..count {
        match one.send(pattern(0, random.below(100) as usize)) {
            Ok(_) => {}
            // The other has gone.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
        pause(random);
    }
    if let Some(got) = receiving.join().unwrap() {
        assert!(got.unwrap() <= count);
    }
}

/// One way, through a pipe.
fn pipe(random: &mut Random) {
    let (reader, writer) = gort::io::pipe().unwrap();
    let fault = [Fault::None, Fault::Deadline, Fault::Cancel, Fault::Context, Fault::Gone][random.below(5) as usize];
    let len = random.below(MOST) as usize;
    if fault == Fault::Deadline {
        reader.set_read_deadline(Some(Instant::now() + Duration::from_micros(random.below(2_000))));
    }
    let (mut theirs, mut mine) = (Random::new(random.below(u64::MAX)), random.clone());
    let of_the_reader = random.below(2) == 0;
    let (here, there) = if of_the_reader { (fault, Fault::None) } else { (Fault::None, fault) };
    let writing = go!(move || {
        let mut again = theirs.clone();
        under(there, &mut theirs, move || send(writer, len, &mut again))
    });
    let got = under(here, random, move || if here == Fault::Gone { Ok(0) } else { receive(reader, &mut mine) });
    match writing.join().unwrap() {
        Some(Ok(())) | None => {}
        Some(Err(error)) => assert!(error.kind() == ErrorKind::BrokenPipe && fault != Fault::None, "{error}"),
    }
    match got {
        Some(Ok(count)) => assert!(count == len || fault != Fault::None, "{count} of {len} bytes, {fault:?}"),
        Some(Err(error)) => assert!(fault == Fault::Deadline && error.kind() == ErrorKind::TimedOut, "{error}"),
        None => {}
    }
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    mappings: usize,
    threads: usize,
    heap_bytes: i64,
    rss_kib: u64,
}

impl Holdings {
    /// What is there when nobody does anything; checks that nobody does.
    fn at_rest(runtime: &Runtime) -> Holdings {
        super::is_at_rest(runtime, 0);
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        Holdings {
            descriptors: descriptors(),
            mappings,
            threads: threads(),
            heap_bytes: HEAP_BYTES.load(Relaxed),
            rss_kib: status_kib("VmRSS"),
        }
    }
}

/// The workers for so long. How many exchanges there were, and how long the longest took.
fn work(runtime: &Runtime, seed: u64, time: Duration, workers: u64) -> (u64, Duration) {
    let (done, longest) = (AtomicU64::new(0), Mutex::new(Duration::ZERO));
    let start = Instant::now();
    runtime.run(|| {
        scope(|s| {
            for worker in 0..workers {
                let (done, longest) = (&done, &longest);
                s.go(move || {
                    let mut random = Random::new(seed ^ (worker << 32));
                    while start.elapsed() < time {
                        let begin = Instant::now();
                        match random.below(10) {
                            0..5 => tcp(&mut random),
                            5 | 6 => exchange(<[UnixStream; 2]>::from(UnixStream::pair().unwrap()), &mut random),
                            7 => udp(&mut random),
                            8 => super::end_under_one_who_waits(&mut random),
                            _ => pipe(&mut random),
                        }
                        done.fetch_add(1, Relaxed);
                        let mut longest = longest.lock();
                        *longest = begin.elapsed().max(*longest);
                    }
                });
            }
        });
    });
    (done.into_inner(), longest.into_inner())
}

/// So many rounds of so long, after each of which nothing must be left.
fn traffic(rounds: u64, time: Duration) {
    let seed = seed();
    let start = Instant::now();
    common::begin_sysmon();
    let before = descriptors();
    let runtime = builder(2).build().unwrap();
    // All homes are there from the start, however few coroutines a busy machine lets live at once in the first round.
    let all = Barrier::new(1_000);
    runtime.run(|| scope(|s| (0..1_000).for_each(|_| _ = s.go(|| all.wait()))));
    // What the first round takes, the others have again: stacks, buffers of the kernel, records.
    let mut first = None;
    for round in 0..rounds {
        let _watchdog =
            common::watchdog(time + 2 * LONG, format!("round {round} of the traffic, GORT_TEST_SEED={seed}"));
        let (done, longest) = work(&runtime, seed.wrapping_add(round), time, WORKERS);
        // The second half of the stacks that are not needed goes back each second.
        let is_back = |now: Holdings, then: Holdings| now.rss_kib <= then.rss_kib + then.rss_kib / 4 + 8_000;
        let mut now = Holdings::at_rest(&runtime);
        let then = *first.get_or_insert(now);
        let end = Instant::now() + LONG;
        while !is_back(now, then) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            now = Holdings::at_rest(&runtime);
        }
        eprintln!(
            "{:5.0} s: round {round}: {done} exchanges, the longest in {longest:.1?}; {now:?}",
            start.elapsed().as_secs_f64()
        );
        assert!(done > 0);
        assert_eq!(now.descriptors, then.descriptors, "descriptors are left");
        // Queues and caches may have grown a little further.
        assert!(now.heap_bytes <= then.heap_bytes + 100_000, "memory is not freed: {now:?}, {then:?}");
        assert!(is_back(now, then), "memory is left: {now:?}, and {then:?} after the first round");
        // Homes are made as they are needed, up to their number.
        assert!(now.threads <= then.threads + then.threads / 4 + 100, "threads are left: {now:?}, {then:?}");
        assert!(now.mappings <= then.mappings + then.mappings / 4 + 100, "mappings are left: {now:?}, {then:?}");
    }
    assert_eq!((runtime.live(), counter(&runtime, "timers"), counter(&runtime, "descriptors")), (0, 0, 0));
    drop(runtime);
    wait_until("all descriptors are closed", || descriptors() == before);
}

#[test]
fn traffic_leaves_nothing() {
    if common::is_child("traffic::traffic_leaves_nothing") {
        traffic(3, Duration::from_millis(700 * common::factor()));
    }
}

#[test]
#[ignore = "takes minutes"]
fn long_traffic() {
    // As long as GORT_STRESS_SECONDS says. Alone in its process, since it is run by its name.
    let seconds = variable("GORT_STRESS_SECONDS").unwrap_or(900);
    traffic((seconds / 10).max(2), Duration::from_secs(10));
}

//! Who starves: how late a ticker comes beside hogs of each kind, what share of the CPU each of eight hogs gets, and how long it takes
//! until another coroutine runs when all Ps are blocked.
//!
//! ```text
//! cargo build --manifest-path benches/Cargo.toml --profile compare --bin fair
//! benches/target/compare/fair > /dev/null
//! ```
//!
//! Two Ps. Prints `fair.WHAT<TAB>NAME<TAB>value<TAB>unit` lines on standard error, since some of the hogs print on standard output:
//!
//! - `late`: a coroutine sleeps a millisecond at a time for three seconds (`SECONDS`) beside two or eight hogs that compute, allocate,
//!   format, hash or print, or hold a `std::sync::Mutex` for which the others wait. `p50`, `p99` and `max` of how late it comes.
//! - `share`: eight hogs compute for ten seconds (`SHARE_SECONDS`). The least and the most of the CPU time that one has had, where 1
//!   is the mean.
//! - `blocked`: two coroutines block their threads, each way, announced by [`gort::blocking`] and not. The median and the most of
//!   twenty rounds (`ROUNDS`): the time from when both have begun to when a new coroutine runs. `Resolve` resolves `HOST` by `getaddrinfo`, again and
//!   again (`localhost`: that reads files, and computes more than it waits).

use gort::Runtime;
use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PROCS: usize = 2;

/// What hogs do over and over.
#[derive(Clone, Copy, Debug)]
enum Hog {
    Computes,
    Allocates,
    Formats,
    Hashes,
    Prints,
    Locks,
}

impl Hog {
    const ALL: [Hog; 6] = [Hog::Computes, Hog::Allocates, Hog::Formats, Hog::Hashes, Hog::Prints, Hog::Locks];

    fn step(self, i: u64, lock: &Mutex<u64>) {
        match self {
            Hog::Computes => _ = black_box(i),
            Hog::Allocates => drop(black_box(vec![i; 1 + (i % 300) as usize])),
            Hog::Formats => drop(black_box(format!("{i} {i:x}"))),
            Hog::Hashes => drop(black_box((0..20).map(|k| (k, i)).collect::<HashMap<u64, u64>>())),
            Hog::Prints => println!("{i}"),
            Hog::Locks => {
                let mut held = lock.lock().expect("nobody panics with it");
                (0..1_000).for_each(|k| *held = black_box(held.wrapping_add(k)));
            }
        }
    }
}

/// Starts hogs that go on until the flag is set.
fn hogs(rt: &Runtime, kind: Hog, number: usize, stop: &Arc<AtomicBool>) -> Vec<gort::JoinHandle<()>> {
    let lock = Arc::new(Mutex::new(0));
    let hog = || {
        let (stop, lock) = (stop.clone(), lock.clone());
        rt.spawn(move || {
            let mut i = 0;
            while !stop.load(Relaxed) {
                kind.step(i, &lock);
                i += 1;
            }
        })
    };
    (0..number).map(|_| hog()).collect()
}

fn late(kind: Hog, number: usize, time: Duration) -> Outcome<()> {
    const TICK: Duration = Duration::from_millis(1);
    let rt = Runtime::builder().procs(PROCS).build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let hogs = hogs(&rt, kind, number, &stop);
    std::thread::sleep(Duration::from_millis(20));
    let mut late = rt.run(|| {
        let (begin, mut late) = (Instant::now(), Vec::new());
        loop {
            let before = Instant::now();
            gort::time::sleep(TICK);
            late.push(before.elapsed() - TICK);
            if begin.elapsed() >= time {
                break late;
            }
        }
    });
    stop.store(true, Relaxed);
    for hog in hogs {
        hog.join()?;
    }
    late.sort();
    for (what, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
        let it = late[(late.len() - 1) * percent / 100];
        eprintln!("fair.late\t{kind:?} {number} {what}\t{:.0}\tus", it.as_secs_f64() * 1e6);
    }
    Ok(())
}

/// The CPU time of the calling thread.
fn cpu_time() -> Duration {
    let mut it = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `it`.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut it) };
    assert_eq!(status, 0, "a clock that each thread has");
    Duration::new(it.tv_sec as u64, it.tv_nsec as u32)
}

fn share(number: usize, time: Duration) -> Outcome<()> {
    let rt = Runtime::builder().procs(PROCS).build()?;
    let stop = Arc::new(AtomicBool::new(false));
    // Who is suspended keeps its thread, and nobody else runs there meanwhile. (Steps would say which CPU is the faster one.)
    let hog = || {
        let stop = stop.clone();
        rt.spawn(move || {
            let before = cpu_time();
            while !stop.load(Relaxed) {
                black_box(());
            }
            cpu_time() - before
        })
    };
    let hogs: Vec<_> = (0..number).map(|_| hog()).collect();
    std::thread::sleep(time);
    stop.store(true, Relaxed);
    let times = hogs.into_iter().map(|hog| hog.join()).collect::<Result<Vec<_>, _>>()?;
    let mean = times.iter().sum::<Duration>().as_secs_f64() / number as f64;
    for (what, it) in [("least", times.iter().min()), ("most", times.iter().max())] {
        eprintln!("fair.share\t{what} of {number}\t{:.3}\tof the mean", it.map_or(0.0, Duration::as_secs_f64) / mean);
    }
    Ok(())
}

/// Ways to block a thread.
#[derive(Clone, Copy, Debug)]
enum Call {
    Sleep,
    Usleep,
    Read,
    Lock,
    Resolve,
}

impl Call {
    const ALL: [Call; 5] = [Call::Sleep, Call::Usleep, Call::Read, Call::Lock, Call::Resolve];
}

/// What they are blocked by.
struct Blocker {
    begun: AtomicUsize,
    /// When the last of them began, in nanoseconds since `origin`.
    at: AtomicU64,
    origin: Instant,
    free: AtomicBool,
    pipe: (PipeReader, PipeWriter),
    lock: Mutex<()>,
}

impl Blocker {
    #[expect(clippy::disallowed_methods, reason = "blocking the thread is the point")]
    fn block(&self, call: Call) -> std::io::Result<()> {
        if self.begun.fetch_add(1, SeqCst) == PROCS - 1 {
            self.at.store(self.origin.elapsed().as_nanos() as u64, SeqCst);
        }
        let blocked = || !self.free.load(SeqCst);
        match call {
            Call::Sleep => {
                while blocked() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Call::Usleep => {
                while blocked() {
                    // SAFETY: it sleeps.
                    unsafe { libc::usleep(20_000) };
                }
            }
            Call::Read => (&self.pipe.0).read_exact(&mut [0])?,
            Call::Lock => drop(self.lock.lock().expect("nobody panics with it")),
            Call::Resolve => {
                let host = std::env::var("HOST").unwrap_or("localhost".into());
                while blocked() {
                    // Nobody need answer.
                    _ = (&*host, 80).to_socket_addrs();
                }
            }
        }
        Ok(())
    }
}

fn blocked(call: Call, announced: bool) -> Outcome<Duration> {
    let rt = Runtime::builder().procs(PROCS).build()?;
    let blocker = Arc::new(Blocker {
        begun: AtomicUsize::new(0),
        at: AtomicU64::new(0),
        origin: Instant::now(),
        free: AtomicBool::new(false),
        pipe: std::io::pipe()?,
        lock: Mutex::new(()),
    });
    // A first call starts what is started once.
    rt.run(|| gort::blocking(|| ()));
    let guard = blocker.lock.lock().expect("nobody panics with it");
    let start = || {
        let blocker = blocker.clone();
        let block = move || if announced { gort::blocking(|| blocker.block(call)) } else { blocker.block(call) };
        rt.try_spawn(gort::Builder::new().own_home(), block)
    };
    let calls = (0..PROCS).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    while blocker.at.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    let origin = blocker.origin;
    let ran = rt.spawn(move || origin.elapsed()).join()?;
    drop(guard);
    blocker.free.store(true, SeqCst);
    (&blocker.pipe.1).write_all(&[0; PROCS])?;
    for call in calls {
        call.join()??;
    }
    Ok(ran.saturating_sub(Duration::from_nanos(blocker.at.load(SeqCst))))
}

/// A number from the environment.
fn setting(key: &str, default: u64) -> u64 {
    std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Outcome<()> {
    let time = Duration::from_secs(setting("SECONDS", 3));
    for kind in Hog::ALL {
        for number in [2, 8] {
            late(kind, number, time)?;
        }
    }
    share(8, Duration::from_secs(setting("SHARE_SECONDS", 10)))?;
    for call in Call::ALL {
        for announced in [false, true] {
            let mut times =
                (0..setting("ROUNDS", 20)).map(|_| blocked(call, announced)).collect::<Outcome<Vec<_>>>()?;
            times.sort();
            let name = format!("{call:?}{}", if announced { " announced" } else { "" });
            for (what, percent) in [("p50", 50), ("max", 100)] {
                let it = times[(times.len() - 1) * percent / 100];
                eprintln!("fair.blocked\t{name} {what}\t{:.0}\tus", it.as_secs_f64() * 1e6);
            }
        }
    }
    Ok(())
}

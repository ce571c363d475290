//! What the test programs share: seeds, waiting for a condition, a small queue, runtimes.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "private to the tests; each program uses a part"
)]

use gort::{Runtime, RuntimeBuilder};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub mod workload;

/// How long a condition may take to come true before a test fails. Generous: the machine may be
/// busy with other things, and only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(if CHAOS { 300 } else { 60 });

/// The runtime is out to disturb (`ci/test.sh chaos`): no shares, delays or sizes are what they are otherwise.
pub const CHAOS: bool = cfg!(gort_chaos);

/// How many Ps the tests run with; the machine may have fewer CPUs.
pub const PROCS: [usize; 3] = [1, 2, 8];

/// Waits until `condition` holds; fails the test after [`PATIENCE`]. For coroutines and plain
/// threads alike.
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "this never came true: {what}");
        gort::time::sleep(Duration::from_micros(100));
    }
}

/// Runs `f` with a runtime of each number of Ps.
pub fn with_each_procs(f: impl Fn(&Runtime)) {
    for procs in PROCS {
        eprintln!("procs = {procs}");
        f(&builder(procs).build().unwrap());
    }
}

/// A runtime of so many Ps, to be changed further.
pub fn builder(procs: usize) -> RuntimeBuilder {
    Runtime::builder().procs(procs).name("test")
}

/// A fresh seed, or that of `GORT_SEED`; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = match std::env::var("GORT_SEED") {
        Ok(text) => text.parse().expect("GORT_SEED is a number"),
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    eprintln!("GORT_SEED={seed}");
    seed
}

/// How many times as much as usual a test is to do, from `GORT_TEST_FACTOR`.
pub fn factor() -> u64 {
    std::env::var("GORT_TEST_FACTOR").map_or(1, |text| text.parse().expect("GORT_TEST_FACTOR is a number"))
}

/// Marsaglia's xorshift: a sequence that a seed repeats.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// The kernel's number of the thread that runs this.
pub fn gettid() -> i32 {
    // SAFETY: no arguments, no memory.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Computes for at least `time`, without a call into the runtime.
pub fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A queue that parks whoever finds it empty: made of `park` and `unpark` alone, so that these
/// tests depend on no more than the scheduler.
#[derive(Default)]
pub struct Mailbox<T>(Mutex<(VecDeque<T>, Option<gort::Coroutine>)>);

impl<T> Mailbox<T> {
    pub fn new() -> Mailbox<T> {
        Mailbox(Mutex::new((VecDeque::new(), None)))
    }

    /// From anywhere.
    pub fn send(&self, value: T) {
        let waiting = {
            let mut inner = self.0.lock().unwrap();
            inner.0.push_back(value);
            inner.1.take()
        };
        if let Some(waiting) = waiting {
            waiting.unpark();
        }
    }

    /// From anywhere, if there is something.
    pub fn try_receive(&self) -> Option<T> {
        self.0.lock().unwrap().0.pop_front()
    }

    /// In one coroutine at a time.
    pub fn receive(&self) -> T {
        loop {
            {
                let mut inner = self.0.lock().unwrap();
                if let Some(value) = inner.0.pop_front() {
                    return value;
                }
                inner.1 = Some(gort::current());
            }
            gort::park();
        }
    }
}

/// What kilobytes the line `key` of /proc/self/status says.
pub fn status_kib(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("such a line");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// How many coroutines a test may park at once: a hundred thousand, or what `vm.max_map_count` allows
/// with room to spare where each guard splits a mapping (before Linux 6.13, or if `GORT_DEBUG` says so).
pub fn many_stacks() -> usize {
    const MADV_GUARD_INSTALL: libc::c_int = 102;
    let forced = std::env::var("GORT_DEBUG").is_ok_and(|text| text.contains("guard=mprotect"));
    // SAFETY: a new mapping of our own, unmapped again.
    let installs = unsafe {
        let (kind, access) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
        let page = libc::mmap(std::ptr::null_mut(), 4096, access, kind, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        let installs = libc::madvise(page, 4096, MADV_GUARD_INSTALL) == 0;
        assert_eq!(libc::munmap(page, 4096), 0);
        installs
    };
    if installs && !forced { 100_000 } else { 20_000 }
}

/// How many threads the process has.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// The CPU time that the process has used.
pub fn cpu_time() -> Duration {
    // SAFETY: plain data that the call fills in.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time), 0);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Silences the message of panics that are meant: those whose payload is `Meant`.
pub fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Meant>() {
                before(info);
            }
        }));
    });
}

/// The payload of a panic that a test wants.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Meant(pub u64);

/// Panics with [`Meant`].
pub fn panic_meant(number: u64) -> ! {
    if !std::thread::panicking() {
        quiet_panics();
    }
    std::panic::panic_any(Meant(number))
}

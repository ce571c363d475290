//! What the test programs share: seeds, waiting for a condition, a small queue, runtimes.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "private to the tests; each program uses a part"
)]

use gort::{JoinError, JoinHandle, Runtime, RuntimeBuilder};
use std::any::Any;
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

pub mod tcp;
pub mod wakes;
pub mod workload;
pub mod world;

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
    let mut looks = 0;
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "this never came true: {what}");
        looks += 1;
        // What the others do in a turn is not waited for.
        if looks < 4 { pass() } else { gort::time::sleep(Duration::from_micros(100)) }
    }
}

/// Aborts the process when a test takes too long: where a coroutine that hogs or blocks its thread is
/// never made to let others run, the test has no other way to fail. Ends when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Watchdog(#[expect(dead_code, reason = "its drop is the message")] mpsc::Sender<()>);

/// Watches over what follows for `limit`; `what` is what the message says has hung.
pub fn watchdog(limit: Duration, what: impl Into<String>) -> Watchdog {
    let what = what.into();
    // Made beforehand: who hangs may hold a lock of the allocator.
    let message = format!("\nhangs, after {limit:?}: {what}\n");
    let (alive, ended) = mpsc::channel();
    let watch = move || {
        if ended.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        // Not `eprintln!`, which libtest collects, and forgets when the process aborts.
        std::io::stderr().write_all(message.as_bytes()).unwrap();
        // The rest allocates. If it hangs as well SIGALRM ends the process.
        // SAFETY: no memory.
        unsafe { libc::alarm(5) };
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let read = |file| std::fs::read_to_string(task.as_ref().unwrap().path().join(file)).unwrap_or_default();
            let state = read("status").lines().find_map(|line| line.strip_prefix("State:").map(String::from));
            let line = format!("{} {:?} in system call {}", read("comm").trim(), state, read("syscall"));
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        std::process::abort();
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).unwrap();
    Watchdog(alive)
}

/// The number that an environment variable says.
pub fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A coroutine or a thread.
pub enum Task<T> {
    Coroutine(JoinHandle<T>),
    Thread(std::thread::JoinHandle<T>),
}

impl<T: Send + 'static> Task<T> {
    pub fn start(thread: bool, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        if thread {
            Task::Thread(std::thread::spawn(f))
        } else {
            // Enough for a large message, of which a debug build makes several copies.
            Task::Coroutine(gort::Builder::new().stack_size(2 << 20).spawn(f).unwrap())
        }
    }

    /// What the caller is: a coroutine or a thread.
    pub fn start_alike(f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        match gort::try_current() {
            Some(_) => Task::Coroutine(gort::spawn(f)),
            None => Task::Thread(std::thread::spawn(f)),
        }
    }

    pub fn is_finished(&self) -> bool {
        match self {
            Task::Coroutine(task) => task.is_finished(),
            Task::Thread(task) => task.is_finished(),
        }
    }

    /// Asks for the end, if it is a coroutine.
    pub fn cancel(&self) {
        if let Task::Coroutine(task) = self {
            task.cancel();
        }
    }

    /// Waits for the end, parking if the caller is a coroutine, and returns the value.
    #[track_caller]
    pub fn join(self) -> T {
        self.outcome().expect("it ended well")
    }

    /// The same; None if it was cancelled or panicked.
    #[track_caller]
    pub fn outcome(self) -> Option<T> {
        self.end().ok()
    }

    /// The same. A task that was cancelled has no panic.
    #[track_caller]
    pub fn end(self) -> Result<T, Option<Box<dyn Any + Send>>> {
        match self {
            Task::Coroutine(task) => match task.join_timeout(PATIENCE) {
                Ok(outcome) => outcome.map_err(JoinError::into_panic),
                Err(_) => panic!("a task does not end"),
            },
            Task::Thread(task) => {
                wait_until("a task ends", || task.is_finished());
                task.join().map_err(Some)
            }
        }
    }

    /// Waits for the end, which may be that it was cancelled, if that `may_be`; panics as it did.
    #[track_caller]
    pub fn end_or_cancelled(self, may_be: bool) {
        match self.end() {
            Err(Some(panic)) => resume_unwind(panic),
            Err(None) => assert!(may_be, "cancelled"),
            Ok(_) => {}
        }
    }
}

#[track_caller]
pub fn join_all<T: Send + 'static>(tasks: impl IntoIterator<Item = Task<T>>) -> Vec<T> {
    tasks.into_iter().map(Task::join).collect()
}

/// Counts its drops.
pub struct Counts(pub Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Lets others go on for a turn, in coroutines and on plain threads.
pub fn pass() {
    match gort::try_current() {
        Some(_) => gort::yield_now(),
        None => std::thread::yield_now(),
    }
}

/// Whether the open file behind a descriptor does not block.
pub fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: asks for flags, touches no memory.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0);
    flags & libc::O_NONBLOCK != 0
}

/// Ends the process with the seed if a round takes far too long: it hangs.
#[derive(Debug)]
pub struct RoundWatchdog(Arc<AtomicU64>);

impl RoundWatchdog {
    pub fn new() -> RoundWatchdog {
        let round = Arc::new(AtomicU64::new(0));
        let weak = Arc::downgrade(&round);
        std::thread::spawn(move || {
            let mut last = (0, Instant::now());
            while let Some(now) = weak.upgrade().map(|round| round.load(Relaxed)) {
                if now != last.0 {
                    last = (now, Instant::now());
                } else if last.1.elapsed() > PATIENCE {
                    eprintln!("GORT_TEST_SEED={now} hangs");
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        RoundWatchdog(round)
    }

    pub fn begins(&self, seed: u64) {
        self.0.store(seed, Relaxed);
    }
}

/// Whether this process was started to run this one test alone. If not, starts one and checks that the test
/// passes there. What that process has written is printed.
pub fn is_child(test: &str) -> bool {
    const VARIABLE: &str = "GORT_TEST_ALONE";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(VARIABLE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
    eprintln!("{text}");
    false
}

/// Runs this program's tests once more where coroutines do not move, in a process of its own.
pub fn again_with_fixed_homes() {
    const VARIABLE: &str = "GORT_DEBUG";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let output =
        std::process::Command::new(std::env::current_exe().unwrap()).env(VARIABLE, "homes=fixed").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}", output.status);
}

/// Whether homes are fixed, for which a test that cannot hold there gives the reason `why`. (A coroutine then
/// stays on its thread, and waits for every hog of that thread.)
pub fn cannot_hold(why: &str) -> bool {
    let fixed = !builder(1).build().unwrap().coroutines_move();
    if fixed {
        eprintln!("skipped, since homes are fixed: {why}");
    }
    fixed
}

/// Coroutines that go on, without a call into the runtime, until they are told to stop.
#[derive(Debug)]
pub struct Hogs {
    stop: Arc<AtomicBool>,
    handles: Vec<JoinHandle<u64>>,
}

impl Hogs {
    /// Starts `number` of them, each of which does `step(i)` for i from 0 up.
    pub fn start<F>(runtime: &Runtime, number: usize, step: impl Fn(usize) -> F) -> Hogs
    where
        F: FnMut(u64) + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let hog = |mut step: F, stop: Arc<AtomicBool>| {
            move || {
                let mut done = 0;
                while !stop.load(Relaxed) {
                    step(done);
                    done += 1;
                }
                done
            }
        };
        let handles = (0..number).map(|me| runtime.spawn(hog(step(me), stop.clone()))).collect();
        Hogs { stop, handles }
    }

    /// Ends them; how many steps each has done.
    pub fn stop(mut self) -> Vec<u64> {
        self.stop.store(true, Relaxed);
        self.handles.drain(..).map(|handle| handle.join().unwrap()).collect()
    }
}

impl Drop for Hogs {
    /// After a failure: a runtime cannot end before them.
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// Runs `f` with a runtime of each number of Ps.
pub fn with_each_procs(f: impl Fn(&Runtime)) {
    for procs in PROCS {
        eprintln!("procs = {procs}");
        f(&builder(procs).build().unwrap());
    }
}

/// Runs `f` on a plain thread and as a coroutine of runtimes with each number of Ps.
pub fn everywhere(f: impl Fn() + Sync) {
    eprintln!("plain threads");
    f();
    with_each_procs(|runtime| runtime.run(&f));
}

/// A runtime of so many Ps, to be changed further.
pub fn builder(procs: usize) -> RuntimeBuilder {
    Runtime::builder().procs(procs).name("test")
}

/// The folders in `/proc` of the process's threads that have this name.
fn tasks_named(name: &str) -> impl Iterator<Item = std::path::PathBuf> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    // One that ends meanwhile has no name any more.
    tasks.filter(move |task| std::fs::read_to_string(task.join("comm")).is_ok_and(|it| it.trim() == name))
}

/// Has sysmon begin, which keeps its thread and its timer's descriptor as long as the process lives.
pub fn begin_sysmon() {
    drop(builder(1).build().unwrap());
    // At first it opens files that say how many CPUs there are.
    wait_until("sysmon sleeps", || sleeps("gort-sysmon"));
}

/// How many threads of the process have this name.
pub fn threads_named(name: &str) -> usize {
    tasks_named(name).count()
}

/// Whether a thread of this name sleeps: on a futex, or as sysmon does on its timer.
pub fn sleeps(name: &str) -> bool {
    let numbers = [libc::SYS_futex, libc::SYS_ppoll].map(|number| format!("{number} "));
    let is_one = |call: String| numbers.iter().any(|number| call.starts_with(number));
    tasks_named(name).any(|task| std::fs::read_to_string(task.join("syscall")).is_ok_and(is_one))
}

/// A fresh seed, or that of `GORT_TEST_SEED`; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let fresh = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = variable("GORT_TEST_SEED").unwrap_or_else(fresh);
    eprintln!("GORT_TEST_SEED={seed}");
    seed
}

/// Runs the programs of one seed after the other: for so many seconds, `GORT_TEST_FACTOR` times as long, or as many as
/// `GORT_TEST_ROUNDS` says. The seed of one that fails or hangs is printed.
pub fn random_programs(seconds: u64, round: impl Fn(u64)) {
    let first = seed();
    let rounds = variable("GORT_TEST_ROUNDS");
    let limit = Duration::from_secs(seconds * factor());
    let watchdog = RoundWatchdog::new();
    let start = Instant::now();
    let mut done = 0;
    while rounds.map_or(start.elapsed() < limit, |rounds| done < rounds) {
        let seed = first.wrapping_add(done);
        watchdog.begins(seed);
        again_with(&format!("GORT_TEST_SEED={seed} GORT_TEST_ROUNDS=1"), || round(seed));
        done += 1;
    }
    eprintln!("{done} programs");
}

/// Runs the programs of one seed after the other until they have made `GORT_STRESS_OPERATIONS` operations of each of these
/// primitives, by default ten million, or of that which `GORT_STRESS_ONLY` names. `program(n, seed)` is one of the n-th, and
/// says how many operations it has made. Says every two seconds how far it is, and the seed of a program that fails or hangs.
pub fn operations(primitives: &[&str], program: impl Fn(usize, u64) -> u64) {
    let mut seed = seed();
    let most = variable("GORT_STRESS_OPERATIONS").unwrap_or(10_000_000);
    let only = std::env::var("GORT_STRESS_ONLY").ok();
    let watchdog = RoundWatchdog::new();
    let chosen = |name: &str| only.as_ref().is_none_or(|only| only == name);
    if !primitives.iter().any(|name| chosen(name)) {
        eprintln!("none of it here; there are {primitives:?}");
    }
    for (at, name) in primitives.iter().enumerate().filter(|(_, name)| chosen(name)) {
        let (start, mut said) = (Instant::now(), Instant::now());
        let (mut done, mut programs) = (0, 0);
        while done < most {
            watchdog.begins(seed);
            let again = format!("GORT_TEST_SEED={seed} GORT_STRESS_ONLY={name} GORT_STRESS_OPERATIONS=1");
            done += again_with(&again, || program(at, seed));
            programs += 1;
            seed = seed.wrapping_add(1);
            if said.elapsed() > Duration::from_secs(2) || done >= most {
                said = Instant::now();
                eprintln!("{:6.1} s: {name}: {done} operations in {programs} programs", start.elapsed().as_secs_f64());
            }
        }
    }
}

/// Runs `f`; if it panics, says how to run it again.
pub fn again_with<T>(variables: &str, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        eprintln!("to run it again: {variables}");
        if panic.is::<Meant>() {
            eprintln!("a panic that was meant got out");
        }
        resume_unwind(panic)
    })
}

/// How many times as much as usual a test is to do, from `GORT_TEST_FACTOR`.
pub fn factor() -> u64 {
    variable("GORT_TEST_FACTOR").unwrap_or(1)
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

/// Silences the message of panics that are meant: those whose payload is `Meant` or `Again`.
pub fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Meant>() && !info.payload().is::<Again>() {
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

/// A panic's payload whose drop panics, too.
pub struct Again(());

impl Drop for Again {
    fn drop(&mut self) {
        panic_meant(2)
    }
}

/// Panics with [`Again`].
pub fn panic_again() -> ! {
    quiet_panics();
    std::panic::panic_any(Again(()))
}

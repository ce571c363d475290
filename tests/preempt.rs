//! Nobody starves: coroutines that compute without end, block their threads, hold locks, panic.
//!
//! Who hogs or blocks here goes on until somebody else has run and says so. So where others are not let run a
//! test hangs, and its watchdog aborts the process. `GORT_DEBUG=preempt=0` shows that each can fail.

mod common;

use common::{
    Hogs, Meant, Watchdog, builder, cannot_hold, compute, is_child, panic_meant, variable, wait_until, watchdog,
};
use gort::channel::bounded;
use gort::{Runtime, go, go_local};
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::ToSocketAddrs;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Far more than a thread suspended and another woken take; far less than for ever.
const SOON: Duration = Duration::from_secs(if common::CHAOS { 120 } else { 20 });

/// How often who is looked at gets suspended.
const TIMES: u32 = 4;

fn runtime(procs: usize) -> Runtime {
    builder(procs).build().unwrap()
}

fn soon(what: &str) -> Watchdog {
    watchdog(SOON, what)
}

/// What a hog does in a loop.
#[derive(Clone, Copy, Debug)]
enum Hog {
    Computes,
    Allocates,
    Formats,
    Prints,
    Hashes,
}

impl Hog {
    const ALL: [Hog; 5] = [Hog::Computes, Hog::Allocates, Hog::Formats, Hog::Prints, Hog::Hashes];

    fn step(self, i: u64) {
        match self {
            Hog::Computes => drop(black_box(i)),
            Hog::Allocates => drop(black_box(vec![i; 1 + (i % 300) as usize])),
            Hog::Formats => drop(black_box(format!("{i} {i:x}"))),
            Hog::Prints => {
                // Not `println!`, which the harness would collect without end.
                write!(std::io::sink(), "{i}").unwrap();
                drop(std::io::stdout().lock());
            }
            Hog::Hashes => {
                let map: std::collections::HashMap<u64, u64> = (0..20).map(|k| (k, i)).collect();
                black_box(map);
            }
        }
    }
}

/// Who ran last, of several that share one P. Who finds somebody else there, without having called the runtime
/// itself, has been preempted.
#[derive(Default)]
struct Turns {
    last: AtomicUsize,
    drawn: AtomicUsize,
}

impl Turns {
    fn number(&self) -> usize {
        self.drawn.fetch_add(1, Relaxed)
    }

    /// `me` runs. Whether another did before.
    fn note(&self, me: usize) -> bool {
        self.last.swap(me, Relaxed) != me
    }

    /// Repeats `step` until others have run [`TIMES`] times meanwhile.
    fn compute_through(&self, mut step: impl FnMut()) {
        let me = self.number();
        let mut seen = 0;
        self.note(me);
        while seen < TIMES {
            step();
            seen += u32::from(self.note(me));
        }
    }
}

/// Runs each of `subjects` on one P that they share with three hogs, and joins them. Each hog does `step` over and
/// over.
fn among_hogs<T: Send + 'static, F: FnOnce(Arc<Turns>) -> T + Send + 'static>(
    step: impl Fn() + Copy + Send + 'static,
    subjects: impl IntoIterator<Item = F>,
) -> Vec<Result<T, gort::JoinError>> {
    let runtime = runtime(1);
    let turns = Arc::new(Turns::default());
    let hogs = Hogs::start(&runtime, 3, |_| {
        let (turns, me) = (turns.clone(), turns.number());
        move |_| {
            step();
            turns.note(me);
        }
    });
    let subjects: Vec<_> = subjects
        .into_iter()
        .map(|subject| {
            let turns = turns.clone();
            runtime.spawn(move || subject(turns))
        })
        .collect();
    let outcomes = subjects.into_iter().map(|subject| subject.join()).collect();
    hogs.stop();
    outcomes
}

#[test]
fn a_ticker_beside_hogs_goes_on() {
    // Goal: with more hogs than Ps, whatever they do, timers, messages and new coroutines get through.
    if cannot_hold("the ticker shares its thread with hogs") {
        return;
    }
    for kind in Hog::ALL {
        for (procs, number) in [(1, 1), (2, 2), (2, 8)] {
            let _watchdog = soon(&format!("a ticker beside {number} hogs on {procs} Ps: {kind:?}"));
            let runtime = runtime(procs);
            let hogs = Hogs::start(&runtime, number, |_| move |i| kind.step(i));
            runtime.run(|| {
                for _ in 0..10 {
                    gort::time::sleep(Duration::from_millis(1));
                    let (tx, rx) = bounded(0);
                    go!(move || tx.send(7).unwrap());
                    assert_eq!(rx.recv(), Ok(7));
                }
            });
            hogs.stop();
        }
    }
}

/// The value of an environment variable, if it is set.
#[test]
#[ignore = "takes minutes"]
fn long_mix() {
    // Goal: nobody is starved and no message lost, for as long as one likes (`GORT_STRESS_SECONDS`), beside hogs of every kind
    // at once, coroutines that block their threads, and hogs that hold a lock which others want. Method: every
    // ten seconds each of those who are not hogs must have got on.
    const HOGS: usize = 8;
    let seconds = variable("GORT_STRESS_SECONDS").unwrap_or(600);
    let runtime = runtime(2);
    let lock = Arc::new(Mutex::new(0u64));
    let hogs = Hogs::start(&runtime, HOGS, |me| {
        let lock = lock.clone();
        move |i| match Hog::ALL.get(me) {
            Some(kind) => kind.step(i),
            None => {
                let mut held = lock.lock().unwrap();
                (0..1_000).for_each(|k| *held = black_box(held.wrapping_add(k)));
            }
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let lateness = Arc::new(Mutex::new(Vec::new()));
    let mut names = Vec::new();
    let mut counts: Vec<Arc<AtomicU64>> = Vec::new();
    let mut others = Vec::new();
    let mut start = |name: &'static str, mut step: Box<dyn FnMut(u64) + Send>| {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), stop.clone());
        names.push(name);
        counts.push(count.clone());
        others.push(runtime.spawn(move || {
            while !stop.load(Relaxed) {
                step(count.load(Relaxed));
                count.fetch_add(1, Relaxed);
            }
        }));
    };
    for _ in 0..2 {
        let lateness = lateness.clone();
        start(
            "ticks",
            Box::new(move |_| {
                let due = Instant::now() + Duration::from_millis(1);
                gort::time::sleep(Duration::from_millis(1));
                let late = due.elapsed();
                lateness.lock().unwrap().push(late);
            }),
        );
        let lock = lock.clone();
        start(
            "locks",
            Box::new(move |_| {
                *lock.lock().unwrap() += 1;
                gort::time::sleep(Duration::from_micros(300));
            }),
        );
        start("blocks", Box::new(|i| std::thread::sleep(Duration::from_micros(i * 7919 % 3_000))));
        start(
            "announced",
            Box::new(|i| gort::blocking(|| std::thread::sleep(Duration::from_micros(i * 7919 % 3_000)))),
        );
        start("spawns", Box::new(|i| assert_eq!(go!(move || i).join().unwrap(), i)));
    }
    let mut ends = Vec::new();
    for capacity in [0, 0, 1, 16] {
        let (tx, rx) = bounded(capacity);
        // Of these the receiver ends when the sender has, and has seen every message then.
        start("sends", Box::new(move |i| tx.send(i).unwrap()));
        ends.push(
            runtime.spawn(move || rx.iter().zip(0..).map(|(got, wanted)| assert_eq!(got, wanted)).count() as u64),
        );
    }
    let (tx, rx) = bounded(4);
    let theirs = stop.clone();
    let thread = std::thread::spawn(move || {
        (0..).take_while(|_| !theirs.load(Relaxed)).inspect(|i: &u64| tx.send(*i).unwrap()).count() as u64
    });
    let from_thread =
        runtime.spawn(move || rx.iter().zip(0..).map(|(got, wanted)| assert_eq!(got, wanted)).count() as u64);
    let begin = Instant::now();
    let mut before = vec![0; counts.len()];
    while begin.elapsed().as_secs() < seconds {
        std::thread::sleep(Duration::from_secs(10.min(seconds)));
        let now: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
        let mut late = std::mem::take(&mut *lateness.lock().unwrap());
        late.sort();
        let of = |share: usize| late.get(late.len() * share / 100).copied().unwrap_or_default();
        eprintln!(
            "{:5.0} s: lateness p50 {:?}, p99 {:?}, most {:?};{}",
            begin.elapsed().as_secs_f64(),
            of(50),
            of(99),
            late.last().copied().unwrap_or_default(),
            names
                .iter()
                .zip(&now)
                .zip(&before)
                .fold(String::new(), |text, ((name, now), then)| format!("{text} {} {name}", now - then))
        );
        for ((name, now), then) in names.iter().zip(&now).zip(&before) {
            assert!(now > then, "{name}: starved for ten seconds");
        }
        before = now;
    }
    stop.store(true, Relaxed);
    let _watchdog = soon("the end of the mix");
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(from_thread.join().unwrap(), thread.join().unwrap(), "messages of the thread");
    let sent = names.iter().zip(&counts).filter(|(name, _)| **name == "sends").map(|(_, count)| count.load(Relaxed));
    let received: Vec<u64> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    assert_eq!(sent.collect::<Vec<_>>(), received);
    assert!(hogs.stop().iter().all(|steps| *steps > 0));
}

#[test]
fn without_preemption_a_hog_is_waited_for() {
    // Goal: the switch works.
    let _watchdog = soon("without preemption");
    let runtime = builder(1).preemption(false).build().unwrap();
    runtime.run(|| {
        let begin = Instant::now();
        let hog = go!(|| compute(Duration::from_millis(200)));
        gort::yield_now();
        assert!(begin.elapsed() >= Duration::from_millis(200));
        hog.join().unwrap();
    });
}

#[test]
fn hogs_share() {
    // Goal: each of eight endless hogs gets its turn, again and again. (That their shares are the same is for the
    // benchmarks: a machine with other things to do would have to be watched for long.)
    const NUMBER: usize = 8;
    let _watchdog = watchdog(common::PATIENCE, "eight hogs on two Ps");
    let runtime = runtime(2);
    let done = Arc::new([const { AtomicU64::new(0) }; NUMBER]);
    let hogs = Hogs::start(&runtime, NUMBER, |me| {
        let done = done.clone();
        move |i| done[me].store(i, Relaxed)
    });
    for _ in 0..10 {
        let before: Vec<_> = done.iter().map(|done| done.load(Relaxed)).collect();
        // More than the rest of a turn that has begun.
        std::thread::sleep(Duration::from_millis(50));
        wait_until("all have had a turn", || {
            done.iter().zip(&before).all(|(done, &before)| done.load(Relaxed) > before)
        });
    }
    let shares = hogs.stop();
    let mean = shares.iter().sum::<u64>() / NUMBER as u64;
    assert!(common::CHAOS || shares.iter().all(|&share| share > mean / 10), "{shares:?}");
}

#[test]
fn the_suspended_without_number_have_a_number_of_threads() {
    // Goal: who is suspended holds a thread and a home, so at some point no more are made for that. Method: chaos, which
    // suspends whoever runs; else it would take minutes until there are so many.
    if !common::CHAOS {
        return;
    }
    const MOST: usize = 512;
    const NUMBER: usize = 50_000;
    let _watchdog = watchdog(common::PATIENCE, "the suspended without number");
    let runtime = builder(2).name("many").build().unwrap();
    let (mutex, begun) = (Arc::new(gort::sync::Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    let guard = mutex.lock();
    let waiting: Vec<_> = (0..NUMBER)
        .map(|_| {
            let (mutex, begun) = (mutex.clone(), begun.clone());
            runtime.spawn(move || {
                begun.fetch_add(1, Relaxed);
                drop(mutex.lock());
            })
        })
        .collect();
    wait_until("all have begun", || begun.load(Relaxed) == NUMBER);
    drop(guard);
    waiting.into_iter().for_each(|one| one.join().unwrap());
    let threads = common::threads_named("many-m");
    // Those that run, and some that were idle.
    assert!(threads < MOST + 100, "{threads} threads");
}

#[test]
fn a_lock_that_a_suspended_coroutine_holds_comes_free() {
    // Goal: hogs that hold a std mutex which others want block nobody for good.
    let _watchdog = soon("a lock of a suspended coroutine");
    let mutex = Arc::new(Mutex::new(0u64));
    runtime(2).run(|| {
        let handles: Vec<_> = (0..6)
            .map(|_| {
                let mutex = mutex.clone();
                go!(move || {
                    for _ in 0..10 {
                        let mut value = mutex.lock().unwrap();
                        compute(Duration::from_millis(3));
                        *value += 1;
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
    assert_eq!(*mutex.lock().unwrap(), 60);
}

#[test]
fn who_wants_a_lock_that_hogs_hold_gets_it() {
    // Goal: hogs that hold a lock for several time slices at a time starve neither who wants it nor who does not.
    if cannot_hold("who parks shares its thread with hogs") {
        return;
    }
    let _watchdog = soon("hogs that hold a lock others want");
    let runtime = runtime(2);
    let mutex = Arc::new(Mutex::new(0u64));
    let hogs = Hogs::start(&runtime, 2, |_| {
        let mutex = mutex.clone();
        move |_| {
            let mut value = mutex.lock().unwrap();
            compute(Duration::from_millis(50));
            *value += 1;
            drop(value);
            // A std mutex is not fair: who takes it again at once is faster than whom it has woken.
            compute(Duration::from_millis(10));
        }
    });
    let victims: Vec<_> = (0..3)
        .map(|_| {
            let mutex = mutex.clone();
            runtime.spawn(move || {
                for _ in 0..5 {
                    *mutex.lock().unwrap() += 1;
                    gort::time::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect();
    let ticker = runtime.spawn(|| (0..100).for_each(|_| gort::time::sleep(Duration::from_millis(1))));
    victims.into_iter().chain([ticker]).for_each(|handle| handle.join().unwrap());
    let locked = hogs.stop().into_iter().sum::<u64>();
    assert_eq!(*mutex.lock().unwrap(), locked + 15);
}

#[test]
fn a_lock_may_be_held_across_a_yield() {
    // Goal: many coroutines hold one std mutex across a park. Each that waits for it blocks a thread and its
    // home, so there must be as many of both: then it ends.
    if cannot_hold("a thread is blocked whose coroutine holds the lock") {
        return;
    }
    let _watchdog = soon("a lock held across a yield");
    let mutex = Arc::new(Mutex::new(0));
    runtime(2).run(|| {
        let handles: Vec<_> = (0..200)
            .map(|_| {
                let mutex = mutex.clone();
                gort::Builder::new().own_home().spawn(move || {
                    let mut value = mutex.lock().unwrap();
                    gort::yield_now();
                    *value += 1;
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.unwrap().join().unwrap());
    });
    assert_eq!(*mutex.lock().unwrap(), 200);
}

#[test]
fn a_thousand_may_hold_one_lock_across_a_yield() {
    // Goal: as above, with more than the usual number of homes, and nobody has asked for one of its own: who begins while
    // others are blocked does not begin in the home of the one that they wait for.
    if cannot_hold("a thread is blocked whose coroutine holds the lock") {
        return;
    }
    const NUMBER: usize = 1_000;
    let all_end = |name: &str, f: &(dyn Fn() + Sync)| {
        let _watchdog = watchdog(common::PATIENCE, name);
        runtime(2).run(|| {
            gort::scope(|scope| (0..NUMBER).for_each(|_| drop(scope.go(f))));
        });
    };
    let mutex = Mutex::new(0);
    all_end("a thousand with one mutex", &|| {
        let mut value = mutex.lock().unwrap();
        gort::yield_now();
        *value += 1;
    });
    assert_eq!(mutex.into_inner().unwrap(), NUMBER);
    let ended = AtomicUsize::new(0);
    all_end("a thousand with standard output", &|| {
        let _locked = std::io::stdout().lock();
        gort::yield_now();
        ended.fetch_add(1, Relaxed);
    });
    assert_eq!(ended.into_inner(), NUMBER);
}

/// Ways to block a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Sleep,
    Usleep,
    Pipe,
    Lock,
    Resolve,
}

/// What the calls of one test block on.
struct Blocker {
    entered: AtomicUsize,
    all_entered: OnceLock<Instant>,
    released: AtomicBool,
    pipe: (PipeReader, PipeWriter),
    mutex: Mutex<()>,
}

impl Blocker {
    fn new() -> Blocker {
        Blocker {
            entered: AtomicUsize::new(0),
            all_entered: OnceLock::new(),
            released: AtomicBool::new(false),
            pipe: std::io::pipe().unwrap(),
            mutex: Mutex::new(()),
        }
    }

    /// The caller blocks, one of `number`, until [`Self::release`].
    #[expect(clippy::disallowed_methods, reason = "blocking the M is the point")]
    fn block(&self, call: Call, number: usize) {
        if self.entered.fetch_add(1, SeqCst) == number - 1 {
            self.all_entered.set(Instant::now()).unwrap();
        }
        let on = || !self.released.load(SeqCst);
        match call {
            Call::Sleep => while_(on, || std::thread::sleep(Duration::from_millis(20))),
            // It ends early when a signal arrives, as POSIX has it.
            // SAFETY: sleeps.
            Call::Usleep => while_(on, || _ = unsafe { libc::usleep(10_000) }),
            Call::Pipe => assert_eq!((&self.pipe.0).read(&mut [0]).unwrap(), 1),
            Call::Lock => drop(self.mutex.lock().unwrap()),
            Call::Resolve => while_(on, || {
                // std reads the first itself, the second is getaddrinfo's, which reads files.
                for host in ["127.0.0.1", "localhost"] {
                    assert!((host, 80).to_socket_addrs().unwrap().all(|address| address.ip().is_loopback()));
                }
            }),
        }
    }

    fn release(&self, number: usize) {
        self.released.store(true, SeqCst);
        (&self.pipe.1).write_all(&vec![0; number]).unwrap();
    }
}

fn while_(condition: impl Fn() -> bool, mut body: impl FnMut()) {
    while condition() {
        body();
    }
}

/// Blocks as many coroutines as there are Ps until another has run: one that was there before and sleeps, or a new
/// one that somebody outside starts.
fn others_run_while_all_are_in(call: Call, announced: bool) {
    const PROCS: usize = 2;
    /// Promised are two time slices, and 1 ms if it is announced: on a machine that has nothing else to do. This is for
    /// the best of several on any.
    const LIMIT: Duration = Duration::from_secs(1);
    let _watchdog = soon(&format!("all Ps blocked: {call:?}{}", if announced { ", announced" } else { "" }));
    let once = |new: bool| {
        let runtime = runtime(PROCS);
        let blocker = Arc::new(Blocker::new());
        let block = |blocker: Arc<Blocker>| {
            move || match announced {
                true => gort::blocking(|| blocker.block(call, PROCS)),
                false => blocker.block(call, PROCS),
            }
        };
        let start = || runtime.try_spawn(gort::Builder::new().own_home(), block(blocker.clone())).unwrap();
        let start = || -> Vec<_> { (0..PROCS).map(|_| start()).collect() };
        let guard = (call == Call::Lock).then(|| blocker.mutex.lock().unwrap());
        let (handles, late) = if new {
            let handles = start();
            wait_until("all are blocked", || blocker.all_entered.get().is_some());
            let begin = Instant::now();
            (handles, runtime.run(|| begin.elapsed()))
        } else {
            runtime.run(|| {
                let handles = start();
                loop {
                    gort::time::sleep(Duration::from_millis(1));
                    if let Some(begin) = blocker.all_entered.get() {
                        break (handles, begin.elapsed());
                    }
                }
            })
        };
        // And others behind it.
        assert_eq!(runtime.run(|| go!(|| 5).join().unwrap()), 5);
        drop(guard);
        blocker.release(PROCS);
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        late
    };
    for new in [false, true] {
        if !new && cannot_hold("who sleeps may have its thread blocked") {
            continue;
        }
        let late: Vec<_> = (0..6).map(|_| once(new)).collect();
        eprintln!("{call:?}: {} ran after {late:.1?}", if new { "a new one" } else { "one that slept" });
        assert!(late.iter().min() < Some(&LIMIT), "{late:?}");
    }
}

#[test]
fn all_blocked_in_sleep() {
    others_run_while_all_are_in(Call::Sleep, false);
}

#[test]
fn all_blocked_in_sleep_as_announced() {
    others_run_while_all_are_in(Call::Sleep, true);
}

#[test]
fn all_blocked_in_usleep() {
    others_run_while_all_are_in(Call::Usleep, false);
}

#[test]
fn all_blocked_in_usleep_as_announced() {
    others_run_while_all_are_in(Call::Usleep, true);
}

#[test]
fn all_blocked_in_a_pipe() {
    others_run_while_all_are_in(Call::Pipe, false);
}

#[test]
fn all_blocked_in_a_pipe_as_announced() {
    others_run_while_all_are_in(Call::Pipe, true);
}

#[test]
fn all_blocked_in_a_mutex() {
    others_run_while_all_are_in(Call::Lock, false);
}

#[test]
fn all_blocked_in_a_mutex_as_announced() {
    others_run_while_all_are_in(Call::Lock, true);
}

#[test]
fn all_blocked_while_others_are_suspended_elsewhere() {
    // Goal: somebody starts the thread that a runtime needs, although sysmon may not. Method: another runtime always has suspended
    // coroutines.
    let elsewhere = runtime(1);
    let hogs = Hogs::start(&elsewhere, 4, |_| |_| common::compute(Duration::from_micros(100)));
    others_run_while_all_are_in(Call::Lock, false);
    hogs.stop();
}

/// Runs `f` in a runtime of so many Ps, again and again, while another always has suspended coroutines: all that time sysmon neither
/// allocates nor waits.
fn while_others_are_suspended_elsewhere(procs: usize, f: impl Fn() + Sync) {
    let _watchdog = soon("suspended elsewhere");
    let elsewhere = runtime(1);
    let hogs = Hogs::start(&elsewhere, 4, |_| |_| ());
    for _ in 0..20 {
        // A new one: no thread has been started yet.
        runtime(procs).run(&f);
    }
    hogs.stop();
}

#[test]
fn a_timer_of_one_that_blocks_while_others_are_suspended_elsewhere() {
    // Goal: who is ready gets a thread, although the only one is blocked, and no P was idle when it blocked.
    if cannot_hold("the sleeper shares its thread with who waits for it") {
        return;
    }
    while_others_are_suspended_elsewhere(1, || {
        let (tx, rx) = std::sync::mpsc::channel();
        go!(move || {
            gort::time::sleep(Duration::from_millis(20));
            tx.send(7).unwrap();
        });
        gort::yield_now();
        assert_eq!(gort::blocking(move || rx.recv()), Ok(7));
    });
}

#[test]
fn who_is_next_while_others_are_suspended_elsewhere() {
    // Goal: a coroutine that one has readied, and then computes, is run by another P.
    if cannot_hold("the receiver shares its thread with who waits for it") {
        return;
    }
    while_others_are_suspended_elsewhere(2, || {
        let (tx, rx) = bounded(0);
        let answered = Arc::new(AtomicBool::new(false));
        go!({
            let answered = answered.clone();
            move || answered.store(rx.recv() == Ok(7), Relaxed)
        });
        gort::time::sleep(Duration::from_millis(1));
        tx.send(7).unwrap();
        while !answered.load(Relaxed) {}
    });
}

#[test]
fn a_timer_beside_one_that_computes_while_others_are_suspended_elsewhere() {
    // Goal: somebody waits for the timers after the one that did has been given a coroutine, which computes.
    if cannot_hold("the sleeper shares its thread with who waits for it") {
        return;
    }
    while_others_are_suspended_elsewhere(2, || {
        let woken = Arc::new(AtomicBool::new(false));
        go!({
            let woken = woken.clone();
            move || {
                gort::time::sleep(Duration::from_millis(10));
                woken.store(true, Relaxed);
            }
        });
        gort::time::sleep(Duration::from_millis(2));
        while !woken.load(Relaxed) {}
    });
}

#[test]
fn who_waits_for_one_that_is_suspended_has_no_slice_without_end() {
    // Goal: however long slices are, who holds a lock goes on when somebody waits for it. Method: it is suspended for who becomes ready,
    // and that wants the lock. std's, for which a thread blocks.
    if cannot_hold("who holds the lock shares its thread with who wants it") {
        return;
    }
    let _watchdog = soon("a slice without end");
    static LOCK: Mutex<()> = Mutex::new(());
    let runtime = builder(1).time_slice(Duration::MAX).build().unwrap();
    for _ in 0..5 {
        let come = Arc::new(AtomicBool::new(false));
        let holds = Arc::new(AtomicBool::new(false));
        let waits = runtime.spawn({
            let (come, holds) = (come.clone(), holds.clone());
            move || {
                while !holds.load(Relaxed) {
                    gort::time::sleep(Duration::from_millis(1));
                }
                gort::time::sleep(Duration::from_millis(5));
                come.store(true, Relaxed);
                drop(LOCK.lock().unwrap());
            }
        });
        let hog = runtime.spawn(move || {
            let _guard = LOCK.lock().unwrap();
            holds.store(true, Relaxed);
            while !come.load(Relaxed) {}
            // Until it is suspended, or has been.
            compute(Duration::from_millis(3));
        });
        waits.join().unwrap();
        hog.join().unwrap();
    }
}

#[test]
fn idle_threads_that_are_not_kept() {
    // Goal: one that is there to take over from a hog stays until it has.
    let _watchdog = soon("threads that are not kept");
    let runtime = builder(1).thread_keep_alive(Duration::ZERO).build().unwrap();
    let hogs = Hogs::start(&runtime, 1, |_| |_| ());
    for _ in 0..50 {
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }
    hogs.stop();
}

#[test]
fn a_thread_that_waits_for_its_own_coroutine_takes_over_from_nobody() {
    // Goal: with fixed homes an idle thread whose home is shut is none that a hog can be suspended for.
    static UNWINDS: AtomicBool = AtomicBool::new(false);
    struct Waits(gort::channel::Receiver<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            UNWINDS.store(true, Relaxed);
            let _ = self.0.recv();
        }
    }
    common::quiet_panics();
    let _watchdog = soon("a thread that waits for its own coroutine");
    let runtime = builder(1).build().unwrap();
    let (tx, rx) = bounded(0);
    let panics = runtime.spawn(move || {
        let _waits = Waits(rx);
        panic_meant(1)
    });
    // It has the only P until it waits.
    wait_until("it unwinds", || UNWINDS.load(Relaxed));
    let hogs = Hogs::start(&runtime, 1, |_| |_| ());
    for _ in 0..5 {
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }
    hogs.stop();
    tx.send(()).unwrap();
    assert!(panics.join().is_err());
}

#[test]
fn who_becomes_ready_while_only_hogs_have_threads() {
    // Goal: hogs that take turns do not keep everybody else from running because no thread is left for him. Method: the P goes from one
    // of them to the other, and all other threads have ended. (One that waits in the netpoller does not, but is the first to be
    // called for who is ready.)
    let _watchdog = soon("hogs have all threads");
    let runtime = builder(1).name("hogs_only").thread_keep_alive(Duration::from_millis(10)).build().unwrap();
    static BEGUN: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
    let hogs = Hogs::start(&runtime, 2, |me| move |_| BEGUN[me].store(true, Relaxed));
    wait_until("both have begun", || BEGUN.iter().all(|it| it.load(Relaxed)));
    // So often that the chances by which one of the hogs may come to let others run do not make up for it.
    for _ in 0..20 {
        // In chaos somebody is always called.
        while !common::CHAOS && common::threads_named("hogs_only-m") > 2 {
            assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
            std::thread::sleep(Duration::from_millis(30));
        }
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }
    hogs.stop();
}

#[test]
fn all_blocked_in_getaddrinfo() {
    others_run_while_all_are_in(Call::Resolve, false);
}

#[test]
fn all_blocked_in_getaddrinfo_as_announced() {
    others_run_while_all_are_in(Call::Resolve, true);
}

#[test]
fn blocking_returns_what_it_calls_and_unwinds() {
    assert_eq!(gort::blocking(|| 5), 5);
    runtime(2).run(|| {
        let text = String::from("borrowed");
        assert_eq!(gort::blocking(|| text.len()), 8);
        let failed = std::panic::catch_unwind(|| gort::blocking(|| panic_meant(1)));
        assert!(failed.is_err());
        gort::yield_now();
        // A call into the runtime inside.
        assert_eq!(gort::blocking(|| go!(|| 3).join().unwrap()), 3);
    });
}

#[test]
fn a_thread_local_borrow_is_never_seen_by_others() {
    // Goal: a hog inside a borrow of a thread-local is preempted; nobody wears its home meanwhile.
    if cannot_hold("who parks shares its thread with hogs") {
        return;
    }
    thread_local!(static CELL: RefCell<u64> = const { RefCell::new(0) });
    let _watchdog = soon("a thread-local borrow");
    let runtime = runtime(2);
    let hogs = Hogs::start(&runtime, 4, |_| {
        |_| {
            CELL.with_borrow_mut(|value| {
                for _ in 0..1_000_000 {
                    *black_box(&mut *value) += 1;
                }
            });
        }
    });
    runtime.run(|| {
        for _ in 0..100 {
            let others: Vec<_> = (0..10).map(|_| go!(|| CELL.with_borrow_mut(|value| *value += 1))).collect();
            others.into_iter().for_each(|other| other.join().unwrap());
            gort::time::sleep(Duration::from_millis(1));
        }
    });
    hogs.stop();
}

thread_local!(static OWNER: Cell<u64> = const { Cell::new(0) });

#[test]
fn who_has_an_own_home_keeps_its_identity() {
    // Goal: thread-locals and the thread's id are the same before and after each time that it was suspended.
    let _watchdog = soon("own homes, preempted");
    let subject = |number: u64| {
        move |turns: Arc<Turns>| {
            let body = move || {
                let id = std::thread::current().id();
                OWNER.set(number);
                turns.compute_through(|| assert_eq!((OWNER.get(), std::thread::current().id()), (number, id)));
            };
            gort::Builder::new().own_home().spawn(body).unwrap().join().unwrap();
        }
    };
    for outcome in among_hogs(|| OWNER.set(99), (1..4).map(subject)) {
        outcome.unwrap();
    }
}

#[test]
fn local_coroutines_keep_their_spawners_identity() {
    // Goal: as above, in a home that the coroutine shares with who made it.
    let _watchdog = soon("local coroutines, preempted");
    let subject = |number: u64| {
        move |turns: Arc<Turns>| {
            let id = std::thread::current().id();
            OWNER.set(number);
            let shared = Rc::new(Cell::new(0));
            let children: Vec<_> = (0..2)
                .map(|_| {
                    let (turns, shared) = (turns.clone(), shared.clone());
                    go_local!(move || {
                        turns.compute_through(|| {
                            assert_eq!((OWNER.get(), std::thread::current().id()), (number, id));
                        });
                        shared.set(shared.get() + 1);
                    })
                })
                .collect();
            children.into_iter().for_each(|child| child.join().unwrap());
            assert_eq!((shared.get(), Rc::strong_count(&shared)), (2, 1));
            assert_eq!((OWNER.get(), std::thread::current().id()), (number, id));
        }
    };
    for outcome in among_hogs(|| OWNER.set(99), (1..3).map(subject)) {
        outcome.unwrap();
    }
}

#[test]
fn a_panic_of_the_preempted_is_its_own() {
    // Goal: it panics after it has been suspended, and is suspended again while it unwinds; meanwhile the
    // others panic, too, and none of them sees that another does.
    struct Dawdles(Arc<Turns>);
    impl Drop for Dawdles {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            let begin = Instant::now();
            self.0.compute_through(|| assert!(std::thread::panicking()));
            while begin.elapsed() < Duration::from_millis(100) {}
        }
    }
    let _watchdog = soon("a panic of the preempted");
    let subject = |number: u64| {
        move |turns: Arc<Turns>| {
            let _dawdles = Dawdles(turns.clone());
            turns.compute_through(|| assert!(!std::thread::panicking()));
            panic_meant(number)
        }
    };
    let panics = || {
        assert!(!std::thread::panicking());
        let panicked = std::panic::catch_unwind(|| panic_meant(99));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&Meant(99)));
        assert!(!std::thread::panicking());
    };
    for (outcome, number) in among_hogs(panics, (1..4).map(subject)).into_iter().zip(1..) {
        let outcome: Result<(), _> = outcome;
        let payload = outcome.unwrap_err().into_panic().expect("it panicked");
        assert_eq!(payload.downcast_ref(), Some(&Meant(number)));
    }
}

#[test]
fn nothing_is_lost_under_preemption() {
    // Goal: messages between coroutines that compute, allocate and wait arrive, each once.
    const MESSAGES: u64 = 2_000;
    for procs in common::PROCS {
        let _watchdog = watchdog(common::PATIENCE, format!("messages between hogs on {procs} Ps"));
        runtime(procs).run(|| {
            let (tx, rx) = bounded::<u64>(3);
            let sum = Arc::new(AtomicU64::new(0));
            let senders: Vec<_> = (0..4u64)
                .map(|sender| {
                    let tx = tx.clone();
                    go!(move || {
                        for i in 0..MESSAGES {
                            if i % 200 == sender {
                                let begin = Instant::now();
                                while begin.elapsed() < Duration::from_millis(4) {
                                    Hog::Allocates.step(i);
                                }
                            }
                            tx.send(i).unwrap();
                        }
                    })
                })
                .collect();
            drop(tx);
            let receivers: Vec<_> = (0..3)
                .map(|_| (rx.clone(), sum.clone()))
                .map(|(rx, sum)| go!(move || rx.iter().for_each(|i| _ = sum.fetch_add(i, Relaxed))))
                .collect();
            senders.into_iter().chain(receivers).for_each(|handle| handle.join().unwrap());
            assert_eq!(sum.load(Relaxed), 4 * MESSAGES * (MESSAGES - 1) / 2);
        });
    }
}

/// A system call that fails, each time for the same one of two reasons.
fn fail(first: bool) -> Option<i32> {
    // SAFETY: closes what is not open; reads an empty path.
    let result = unsafe { if first { libc::close(-1) } else { libc::unlink(c"".as_ptr()) } };
    assert_eq!(result, -1);
    Some(if first { libc::EBADF } else { libc::ENOENT })
}

#[test]
fn errno_survives() {
    // Goal: what a failed call has left in errno is there long after, though the handler, who makes calls that
    // fail, and others with errors of their own have run meanwhile.
    let _watchdog = soon("errno");
    let subject = |_| {
        |turns: Arc<Turns>| {
            for _ in 0..3 {
                let expected = fail(true);
                turns.compute_through(|| ());
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), expected);
            }
        }
    };
    let other = || {
        let expected = fail(false);
        (0..10_000).for_each(|i| _ = black_box(i));
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), expected);
    };
    for outcome in among_hogs(other, (0..2).map(subject)) {
        outcome.unwrap();
    }
}

/// Sums with many numbers alive at a time. Calls `between` between any two steps.
fn series(seed: u64, mut between: impl FnMut()) -> [f64; 12] {
    let mut sums = std::array::from_fn(|k| (seed + k as u64) as f64);
    for i in 1..10_000 {
        let [a, b, c, d, e, f, g, h, k, l, m, n] = sums;
        let x = f64::from(i).recip() + seed as f64;
        sums = [
            a * 0.9 + x,
            b * 0.8 + x * c,
            c / 3.0 - x,
            (d * d + x).sqrt(),
            e * 0.7 + a,
            f * 0.5 + b,
            g * 0.3 + c,
            (h * h + d).sqrt(),
            k * 0.6 - e,
            l * 0.4 + f,
            m * 0.2 - g,
            n * 0.1 + h,
        ];
        between();
    }
    sums
}

#[test]
fn floating_point_survives() {
    // Goal: such sums come out as they do for who is not suspended.
    let _watchdog = soon("floating point");
    let expected: Vec<_> = (0..3).map(|seed| series(seed, || ())).collect();
    let subject = |(seed, expected): (usize, [f64; 12])| {
        move |turns: Arc<Turns>| {
            let me = turns.number();
            turns.note(me);
            let mut seen = 0;
            while seen < TIMES {
                let sums = series(seed as u64, || seen += u32::from(turns.note(me)));
                assert_eq!(sums.map(f64::to_bits), expected.map(f64::to_bits));
            }
        }
    };
    let other = || _ = black_box(series(7, || ()));
    for outcome in among_hogs(other, expected.into_iter().enumerate().map(subject)) {
        outcome.unwrap();
    }
}

/// Defines a function that fills the vector registers from `values`, computes for some milliseconds in two others,
/// and gives back what is in them then. No compiler saves a register in between.
#[cfg(target_arch = "x86_64")]
macro_rules! keeps_in_registers {
    ($name:ident, $move:literal, $register:literal) => {
        keeps_in_registers!($name, $move, $register,
            0 "xmm0" 1 "xmm1" 2 "xmm2" 3 "xmm3" 4 "xmm4" 5 "xmm5" 6 "xmm6" 7 "xmm7"
            8 "xmm8" 9 "xmm9" 10 "xmm10" 11 "xmm11" 12 "xmm12" 13 "xmm13" 14 "xmm14" 15 "xmm15");
    };
    ($name:ident, $move:literal, $register:literal, $($n:literal $changed:tt)*) => {
        /// # Safety
        /// The CPU has these registers.
        unsafe fn $name(values: &[[u64; 4]; 16]) -> [[u64; 4]; 16] {
            const STEPS: u64 = 5_000_000;
            let (mut found, mut sum) = ([[0; 4]; 16], 0_u64);
            // SAFETY: reads `values` and writes `found`, 16 times 32 bytes at most; what it changes is listed,
            // and the caller vouches for the registers.
            unsafe {
                std::arch::asm!(
                    $(concat!($move, " ", $register, $n, ", [{from} + 32 * ", $n, "]"),)*
                    "2: add {sum}, {steps}",
                    "dec {steps}",
                    "jnz 2b",
                    $(concat!($move, " [{to} + 32 * ", $n, "], ", $register, $n),)*
                    from = in(reg) values.as_ptr(),
                    to = in(reg) found.as_mut_ptr(),
                    steps = inout(reg) STEPS => _,
                    sum = inout(reg) sum,
                    $(out($changed) _,)*
                    options(nostack),
                );
            }
            assert_eq!(sum, STEPS * (STEPS + 1) / 2);
            found
        }
    };
}

#[cfg(target_arch = "x86_64")]
keeps_in_registers!(keep_in_ymm, "vmovups", "ymm");
#[cfg(target_arch = "x86_64")]
keeps_in_registers!(keep_in_xmm, "movups", "xmm");

#[test]
#[cfg(target_arch = "x86_64")]
fn registers_survive() {
    // Goal: as above, for each vector register and all of its width, in debug builds as well.
    let _watchdog = soon("vector registers");
    let avx = std::is_x86_feature_detected!("avx");
    let values = move |seed: u64| -> [[u64; 4]; 16] {
        let part = |n, k| if avx || k < 2 { (seed << 32) + (n << 8) + k } else { 0 };
        std::array::from_fn(|n| std::array::from_fn(|k| part(n as u64, k as u64)))
    };
    // SAFETY: every x86-64 CPU has the narrow ones, and this one has been asked for the wide ones.
    let keep = move |values: &[[u64; 4]; 16]| unsafe { if avx { keep_in_ymm(values) } else { keep_in_xmm(values) } };
    let subject = |seed| {
        move |turns: Arc<Turns>| {
            let values = values(seed);
            turns.compute_through(|| assert_eq!(keep(&values), values));
        }
    };
    let other = move || _ = black_box(keep(&values(99)));
    for outcome in among_hogs(other, (1..4).map(subject)) {
        outcome.unwrap();
    }
}

static CHAINED: AtomicUsize = AtomicUsize::new(0);

/// Has one coroutine preempt another a few times, and sends SIGURG to this thread, which is none of the
/// runtime's, meanwhile; each must have been counted in [`CHAINED`].
fn preempts_and_chains() {
    /// What is sent to a thread of the runtime while it is asked to suspend itself may be taken for that, and the
    /// other way round.
    const SENT: usize = 1_000;
    let _watchdog = soon("an earlier handler");
    let runtime = runtime(1);
    let turns = Arc::new(Turns::default());
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let turns = turns.clone();
            runtime.spawn(move || turns.compute_through(|| ()))
        })
        .collect();
    let before = CHAINED.load(SeqCst);
    for _ in 0..SENT {
        // SAFETY: the signal has a handler, which counts.
        assert_eq!(unsafe { libc::raise(libc::SIGURG) }, 0);
    }
    let chained = CHAINED.load(SeqCst) - before;
    hogs.into_iter().for_each(|hog| hog.join().unwrap());
    assert!((SENT..SENT + 50).contains(&chained), "{chained} of {SENT}");
}

fn install(handler: usize, flags: libc::c_int) {
    // SAFETY: a sigaction of all zero bits has an empty mask and no flags; the handlers here only count.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut()), 0);
    }
}

#[test]
fn an_earlier_handler_gets_what_others_send() {
    // Goal: who had a handler for the signal goes on getting it, in the form that it was made for. In a process
    // of its own: it must be there before the first runtime.
    extern "C" fn count(signal: libc::c_int) {
        assert_eq!(signal, libc::SIGURG);
        CHAINED.fetch_add(1, SeqCst);
    }
    if is_child("an_earlier_handler_gets_what_others_send") {
        install(count as extern "C" fn(libc::c_int) as usize, libc::SA_RESTART);
        preempts_and_chains();
    }
}

#[test]
fn an_earlier_handler_gets_the_details() {
    // Goal: as above, for a handler that wants to know who sent it.
    extern "C" fn count(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        assert!(signal == libc::SIGURG && !context.is_null());
        // SAFETY: the kernel's information about the signal, which was sent by a process.
        let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
        assert_eq!((code, sender), (libc::SI_TKILL, std::process::id() as i32));
        CHAINED.fetch_add(1, SeqCst);
    }
    if is_child("an_earlier_handler_gets_the_details") {
        let handler = count as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        install(handler as usize, libc::SA_SIGINFO);
        preempts_and_chains();
    }
}

#[test]
fn another_signal_can_be_chosen() {
    // Goal: with another signal than SIGURG hogs are preempted just the same, that one is left alone, and all runtimes of
    // the process agree on it.
    if !is_child("another_signal_can_be_chosen") {
        return;
    }
    let _watchdog = soon("another signal");
    let disposition = || {
        // SAFETY: only reads what is done about the signal.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(libc::SIGURG, std::ptr::null(), &mut now), 0);
            now.sa_sigaction
        }
    };
    for signal in [0, -1, 9, libc::SIGSEGV, libc::SIGTSTP, 32, 33, 65, 1_000] {
        let error = common::builder(1).preemption_signal(signal).build().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
    let runtime = common::builder(1).preemption_signal(libc::SIGUSR2).build().unwrap();
    let others =
        [common::builder(1).build().unwrap(), common::builder(1).preemption_signal(libc::SIGUSR2).build().unwrap()];
    let error = common::builder(1).preemption_signal(libc::SIGUSR1).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy, "{error}");
    for runtime in others.iter().chain([&runtime]) {
        let hogs = common::Hogs::start(runtime, 2, |_| |i| _ = black_box(i));
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
        hogs.stop();
    }
    assert_eq!(disposition(), libc::SIG_DFL);
}

#[test]
fn a_signal_of_anothers_still_ends_the_process() {
    // Goal: where the signal ended the process before, it does so when somebody else sends it.
    const VARIABLE: &str = "GORT_TEST_END";
    if std::env::var_os(VARIABLE).is_some() {
        let runtime = common::builder(1).preemption_signal(libc::SIGUSR1).build().unwrap();
        assert_eq!(runtime.run(|| 5), 5);
        // SAFETY: the signal has a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
        unreachable!("it has ended");
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_signal_of_anothers_still_ends_the_process"])
        .env(VARIABLE, "1")
        .output()
        .unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(libc::SIGUSR1), "{output:?}");
}

#[test]
fn a_signal_that_was_ignored_still_is() {
    // Goal: with `SIG_IGN` before, a signal of somebody else's does nothing.
    if is_child("a_signal_that_was_ignored_still_is") {
        install(libc::SIG_IGN, 0);
        let runtime = runtime(1);
        // SAFETY: the signal is ignored or handled.
        assert_eq!(unsafe { libc::raise(libc::SIGURG) }, 0);
        assert_eq!(runtime.run(|| 5), 5);
    }
}

/// Who comes back from a blocking call computes on without its P, and is asked to stop when sysmon is about to go to sleep.
#[test]
fn who_is_stopped_when_all_else_is_idle_goes_on() {
    let _soon = soon("a coroutine that comes back while sysmon goes to sleep");
    let rt = builder(1).time_slice(Duration::from_millis(2)).build().unwrap();
    // Sysmon looks some seventeen times, a millisecond apart, before it sleeps.
    for after in (10_000..26_000).step_by(250) {
        rt.run(|| {
            // Takes the P of who blocks.
            let other = go!(|| ());
            gort::blocking(|| std::thread::sleep(Duration::from_micros(after)));
            compute(Duration::from_millis(8));
            other.join().unwrap();
        });
    }
}

#[test]
fn a_slice_may_be_longer_than_any_time() {
    let _soon = soon("a ticker beside hogs that have no end of time");
    let rt = builder(1).time_slice(Duration::MAX).build().unwrap();
    if !rt.coroutines_move() {
        // A hog that is suspended for ever keeps its thread for ever from others that live there.
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = (0..3)
        .map(|_| {
            let stop = stop.clone();
            rt.spawn(move || {
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    // Each becomes ready, so that after a millisecond a hog makes way for it.
    rt.run(|| (0..20).for_each(|_| gort::time::sleep(Duration::from_millis(1))));
    stop.store(true, Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().unwrap());
}

/// `fork` has all locks of `malloc`. A runtime that begins or ends meanwhile waits for them, and must keep nothing that sysmon
/// needs to let who forks go on.
#[test]
fn runtimes_come_and_go_while_those_who_fork_are_suspended() {
    const HOGS: usize = 4;
    let _watchdog = soon("runtimes come and go");
    let end = Instant::now() + Duration::from_millis(1500);
    let hogs = builder(2).time_slice(Duration::from_millis(1)).build().unwrap();
    let forks = Arc::new(AtomicUsize::new(0));
    let forking: Vec<_> = (0..HOGS)
        .map(|_| {
            let forks = forks.clone();
            hogs.spawn(move || {
                while Instant::now() < end {
                    // SAFETY: the child ends at once.
                    let child = unsafe { libc::fork() };
                    if child == 0 {
                        // SAFETY: as above.
                        unsafe { libc::_exit(0) };
                    }
                    assert!(child > 0, "{}", std::io::Error::last_os_error());
                    // SAFETY: our own child. That a signal ends the wait is seen by its result.
                    while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } != child {}
                    forks.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(move || {
                let mut made = 0;
                while Instant::now() < end {
                    assert_eq!(runtime(1).spawn(|| 7).join().unwrap(), 7);
                    made += 1;
                }
                made
            })
        })
        .collect();
    let made: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    forking.into_iter().for_each(|hog| hog.join().unwrap());
    assert!(made > 0 && forks.load(Relaxed) > 0, "{made} runtimes, {} forks", forks.load(Relaxed));
}

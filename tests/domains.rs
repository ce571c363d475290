//! Several runtimes in one process: each keeps to its own Ps, and channels, joins and spawns go across.

mod common;

use common::{Hogs, Meant, builder, cannot_hold, is_child, panic_meant, threads, wait_until, watchdog};
use gort::channel::{Receiver, Sender, bounded, unbounded};
use gort::{JoinError, Runtime, go};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// Two runtimes, of one P and of two.
fn two() -> (Arc<Runtime>, Arc<Runtime>) {
    let build = |procs, name| Arc::new(builder(procs).name(name).build().unwrap());
    (build(1, "one"), build(2, "two"))
}

fn computes(_: usize) -> impl FnMut(u64) + Send + 'static {
    |i| _ = black_box(i)
}

#[test]
fn messages_go_both_ways() {
    // Goal: each message arrives once, and in its sender's order, between any two runtimes; with no room, little
    // and any amount of it in the channel.
    const MESSAGES: usize = 3_000;
    const ENDS: usize = 3;
    let _watchdog = watchdog(SOON, "messages between runtimes");
    let (one, two) = two();
    let channels = || [bounded::<(usize, usize)>(0), bounded(3), unbounded()];
    let send = |from: &Runtime, tx: &Sender<(usize, usize)>| -> Vec<_> {
        let send = |tx: Sender<_>, me| move || (0..MESSAGES).for_each(|i| tx.send((me, i)).unwrap());
        (0..ENDS).map(|me| from.spawn(send(tx.clone(), me))).collect()
    };
    let receive = |to: &Runtime, rx: &Receiver<(usize, usize)>| -> Vec<_> {
        let receive = |rx: Receiver<(usize, usize)>| {
            move || {
                let mut next = [0; ENDS];
                rx.iter()
                    .inspect(|&(from, i)| {
                        assert!(i >= next[from], "{i} of {from} after {}", next[from]);
                        next[from] = i + 1;
                    })
                    .map(|(_, i)| i + 1)
                    .sum::<usize>()
            }
        };
        (0..ENDS).map(|_| to.spawn(receive(rx.clone()))).collect()
    };
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for (from, to) in [(&one, &two), (&two, &one)] {
        for (tx, rx) in channels() {
            senders.extend(send(from, &tx));
            receivers.push(receive(to, &rx));
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    for receivers in receivers {
        let sum: usize = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
        assert_eq!(sum, ENDS * MESSAGES * (MESSAGES + 1) / 2);
    }
}

#[test]
fn calls_go_both_ways() {
    // Goal: a question and its answer, to and fro between two runtimes, while either is busy with the same.
    const TURNS: usize = 1_000;
    let _watchdog = watchdog(SOON, "questions and answers between runtimes");
    let (one, two) = two();
    let pairs = [(&one, &two), (&two, &one)].map(|(here, there)| {
        let (ask, asked) = bounded::<usize>(0);
        let (answer, answered) = bounded::<usize>(0);
        let there = there.spawn(move || asked.iter().for_each(|i| answer.send(2 * i).unwrap()));
        let here = here.spawn(move || {
            for i in 0..TURNS {
                ask.send(i).unwrap();
                assert_eq!(answered.recv(), Ok(2 * i));
            }
        });
        [here, there]
    });
    pairs.into_iter().flatten().for_each(|handle| handle.join().unwrap());
}

#[test]
fn coroutines_are_spawned_across_and_joined() {
    // Goal: a coroutine of one runtime starts one in the other, which starts one in the first; values and panics
    // come back.
    let _watchdog = watchdog(SOON, "spawns and joins between runtimes");
    let (one, two) = two();
    let handles: Vec<_> = (0..200_u64)
        .map(|i| {
            let (here, there) = if i % 2 == 0 { (one.clone(), two.clone()) } else { (two.clone(), one.clone()) };
            let home = here.clone();
            here.spawn(move || {
                let name = there.name().to_string();
                let handle = there.spawn(move || {
                    let back = home.spawn(move || if i % 10 == 3 { panic_meant(i) } else { i * i });
                    // From one's own runtime, too.
                    let own = go!(move || i + 1);
                    (back.join(), own.join().unwrap())
                });
                let (value, own) = handle.join().unwrap();
                assert_eq!(own, i + 1, "in {name}");
                value
            })
        })
        .collect();
    for (handle, i) in handles.into_iter().zip(0..) {
        match handle.join().unwrap() {
            Ok(value) => assert_eq!(value, i * i),
            Err(error) => {
                assert_eq!(i % 10, 3);
                assert_eq!(error.into_panic().unwrap().downcast_ref(), Some(&Meant(i)));
            }
        }
    }
    // Closures that hold the runtimes may be dropped a moment after their results have arrived.
    for runtime in [&one, &two] {
        wait_until("nobody is left", || runtime.live() == 0 && Arc::strong_count(runtime) == 1);
    }
}

/// By how much each of many sleeps of a millisecond on `runtime` lasted longer; sorted.
fn lateness(runtime: &Runtime) -> Vec<Duration> {
    let tick = |_| {
        let begin = Instant::now();
        gort::time::sleep(MS);
        begin.elapsed() - MS
    };
    let mut late: Vec<_> = runtime.run(|| (0..150).map(tick).collect());
    late.sort();
    late
}

/// A ticker on a runtime of its own is late by what the machine's CPUs are short of, and no more. For comparison, if it fails: how late a
/// plain thread of the process was meanwhile.
fn is_in_time(beside: &str) {
    for procs in [1, 2] {
        let runtime = builder(procs).name("ticks").build().unwrap();
        let done = AtomicBool::new(false);
        let (late, short) = std::thread::scope(|threads| {
            let plain = threads.spawn(|| {
                let mut most = Duration::ZERO;
                while !done.load(SeqCst) {
                    let begin = Instant::now();
                    std::thread::sleep(MS);
                    most = most.max(begin.elapsed() - MS);
                }
                most
            });
            let late = lateness(&runtime);
            done.store(true, SeqCst);
            (late, plain.join().unwrap())
        });
        let (median, most) = (late[late.len() / 2], late[late.len() - 1]);
        eprintln!("beside {beside}, on {procs} Ps: {median:.1?} late, at most {most:.1?}; a plain thread {short:.1?}");
        assert!(median < 100 * MS && most < 1000 * MS, "beside {beside}: {median:?}, {most:?}, {short:?}");
    }
}

#[test]
fn a_ticker_is_in_time_beside_a_runtime_full_of_hogs() {
    // Goal: hogs keep their own runtime busy, all of it, and no other; preempted or not.
    for (procs, number, preemption) in [(1, 1, false), (1, 8, true), (2, 2, false), (2, 8, true)] {
        let _watchdog = watchdog(SOON, "a ticker beside another runtime's hogs");
        let full = builder(procs).preemption(preemption).build().unwrap();
        let hogs = Hogs::start(&full, number, computes);
        is_in_time(&format!("{number} hogs on {procs} Ps, preemption {preemption}"));
        if !preemption {
            let late = full.spawn(|| ());
            assert!(!late.is_finished(), "it is full");
            hogs.stop();
            late.join().unwrap();
        }
    }
}

#[test]
fn a_ticker_is_in_time_beside_a_runtime_that_is_blocked() {
    // Goal: as above, with coroutines that block their threads.
    for preemption in [false, true] {
        let _watchdog = watchdog(SOON, "a ticker beside another runtime's blocked threads");
        let full = builder(2).preemption(preemption).build().unwrap();
        let blocked = Hogs::start(&full, 4, |_| |_| std::thread::sleep(3 * MS));
        is_in_time(&format!("blocked threads, preemption {preemption}"));
        blocked.stop();
    }
}

#[test]
fn each_has_its_own_settings() {
    // Goal: that one is not preemptive does not change the other, whose hogs are preempted at the same time.
    if cannot_hold("the ticker shares its thread with hogs") {
        return;
    }
    let _watchdog = watchdog(SOON, "a preemptive runtime beside one that is not");
    let cooperative = builder(1).preemption(false).build().unwrap();
    let preemptive = builder(1).build().unwrap();
    let theirs = Hogs::start(&cooperative, 1, computes);
    let late = cooperative.spawn(|| ());
    let ours = Hogs::start(&preemptive, 3, computes);
    preemptive.run(|| (0..20).for_each(|_| gort::time::sleep(MS)));
    ours.stop();
    assert!(!late.is_finished());
    theirs.stop();
    late.join().unwrap();
}

#[test]
fn dropping_one_leaves_the_other_running() {
    // Goal: coroutines that wait for a runtime that is dropped get an error, not silence; and theirs goes on.
    for round in 0..10 {
        let _watchdog = watchdog(SOON, format!("one of two runtimes is dropped, round {round}"));
        let (ends, stays) = if round % 2 == 0 { two() } else { (two().1, two().0) };
        let ready = Arc::new(AtomicUsize::new(0));
        let is_ready = |ready: &Arc<AtomicUsize>| _ = ready.fetch_add(1, SeqCst);
        let mut left = Vec::new();
        for _ in 0..5 {
            // One of theirs waits for a message of ours, and one of ours for theirs.
            let ((tx, theirs), (own, rx)) = (bounded::<u8>(0), bounded::<u8>(0));
            let r = ready.clone();
            drop(ends.spawn(move || {
                let _own = own;
                is_ready(&r);
                theirs.recv().unwrap_err();
            }));
            let r = ready.clone();
            let receives = stays.spawn(move || {
                is_ready(&r);
                rx.recv().unwrap_err();
            });
            // Theirs is full, and one of ours waits to send.
            let (full, kept) = bounded::<u8>(1);
            full.send(1).unwrap();
            drop(ends.spawn(move || {
                let _kept = kept;
                gort::park();
            }));
            let r = ready.clone();
            let sends = stays.spawn(move || {
                is_ready(&r);
                assert_eq!(full.send(2).unwrap_err().into_inner(), 2);
            });
            // One of ours waits for one of theirs to end.
            let (r, parks) = (ready.clone(), ends.spawn(gort::park));
            let joins = stays.spawn(move || {
                is_ready(&r);
                assert!(matches!(parks.join(), Err(JoinError::Cancelled)));
            });
            left.push((tx, [receives, sends, joins]));
        }
        wait_until("all are there", || ready.load(SeqCst) == 20);
        let (goes_on, turns) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let busy = {
            let (goes_on, turns) = (goes_on.clone(), turns.clone());
            stays.spawn(move || {
                while goes_on.load(SeqCst) {
                    turns.fetch_add(go!(|| 1).join().unwrap(), SeqCst);
                }
            })
        };
        drop(Arc::into_inner(ends).expect("it is nobody else's"));
        for (tx, waiting) in left {
            assert_eq!(tx.send(3).unwrap_err().into_inner(), 3);
            waiting.into_iter().for_each(|handle| handle.join().unwrap());
        }
        let before = turns.load(SeqCst);
        wait_until("it goes on", || turns.load(SeqCst) > before);
        goes_on.store(false, SeqCst);
        busy.join().unwrap();
        assert_eq!(stays.run(|| go!(|| 5).join().unwrap()), 5);
        wait_until("nobody is left", || stays.live() == 0);
    }
}

/// A runtime inside a runtime, `depth` times; how many there were.
fn nest(depth: usize, tell: Sender<usize>) -> usize {
    if depth == 0 {
        return 0;
    }
    let theirs = tell.clone();
    let inner = builder(1 + depth % 2).build().unwrap().run(move || {
        let below = go!(move || nest(depth - 1, theirs)).join().unwrap();
        gort::time::sleep(MS);
        below + 1
    });
    tell.send(inner).unwrap();
    inner
}

#[test]
fn runtimes_nest() {
    let _watchdog = watchdog(SOON, "nested runtimes");
    let outer = builder(2).build().unwrap();
    // What goes on in the outermost meanwhile. (With fixed homes it would keep a thread to itself.)
    let hogs = Hogs::start(&outer, if outer.coroutines_move() { 2 } else { 0 }, computes);
    let (tell, told) = unbounded();
    let depths: Vec<_> = outer.run(|| {
        let nests: Vec<_> = (0..3).map(|_| tell.clone()).map(|tell| go!(move || nest(4, tell))).collect();
        nests.into_iter().map(|nest| nest.join().unwrap()).collect()
    });
    drop(tell);
    hogs.stop();
    assert_eq!(depths, [4, 4, 4]);
    let mut told: Vec<_> = told.iter().collect();
    told.sort();
    assert_eq!(told, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    // A runtime's own coroutine may call its `run`; a panic comes out through all of them.
    let caught = outer.run(|| {
        let inner = || gort::run(|| outer.run(|| panic_meant(6)));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(inner))
    });
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&Meant(6)));
    assert_eq!(outer.run(|| outer.run(|| gort::run(|| 7))), 7);
}

#[test]
fn threads_end_with_their_runtimes() {
    // Goal: whatever sixteen runtimes at a time have done, with hogs and blocked threads, no thread and no
    // descriptor of theirs is left. In a process of its own, which nobody else starts threads in.
    if !is_child("threads_end_with_their_runtimes") {
        return;
    }
    let _watchdog = watchdog(2 * SOON, "runtimes made and dropped");
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = |round: usize| {
        let mut runtimes: Vec<_> = (0..16).map(|i| builder(1 + i % 3).build().unwrap()).collect();
        let work: Vec<_> = runtimes
            .iter()
            .enumerate()
            .flat_map(|(i, runtime)| {
                let hog = runtime.spawn(move || common::compute(((i % 4) * 2) as u32 * MS));
                let blocks = runtime.spawn(|| std::thread::sleep(2 * MS));
                let announces = runtime.spawn(|| gort::blocking(|| std::thread::sleep(2 * MS)));
                let yields = runtime.spawn(|| (0..10).for_each(|_| gort::yield_now()));
                drop(runtime.spawn(gort::park));
                [hog, blocks, announces, yields]
            })
            .collect();
        if round.is_multiple_of(3) {
            // While they are at it. What they wait for in the kernel ends, and then they are cancelled.
            drop(work);
        } else {
            work.into_iter().for_each(|handle| handle.join().unwrap());
        }
        // In another order than they were made, and some by another thread.
        runtimes.rotate_left(round);
        let others = runtimes.split_off(8);
        let thread = std::thread::spawn(|| drop(others));
        drop(runtimes);
        thread.join().unwrap();
    };
    round(1);
    // Sysmon has begun, and std has what it keeps.
    let (threads_before, descriptors_before) = (threads(), descriptors());
    for i in 0..12 {
        round(i);
        // A thread that has been joined may be on the kernel's list for a moment.
        wait_until("the threads are gone", || threads() <= threads_before);
        assert_eq!((threads(), descriptors()), (threads_before, descriptors_before), "round {i}");
    }
}

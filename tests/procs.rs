//! How many coroutines run at a time, and how that changes while they do.

mod common;

use common::{CHAOS, Hogs, Random, builder, cannot_hold, compute, seed, wait_until, watchdog};
use gort::channel::bounded;
use gort::{Runtime, go};
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Far more than it takes, far less than for ever.
const SOON: Duration = Duration::from_secs(if CHAOS { 300 } else { 60 });

/// The most that the tests below ask for.
const MOST: u64 = 8;

/// Hogs, and how far each has come.
fn hogs(runtime: &Runtime, number: usize) -> (Hogs, Arc<[AtomicU64]>) {
    let counts: Arc<[AtomicU64]> = (0..number).map(|_| AtomicU64::new(0)).collect();
    let step = |me: usize| {
        let counts = counts.clone();
        move |_| _ = counts[me].fetch_add(1, Relaxed)
    };
    (Hogs::start(runtime, number, step), counts)
}

/// In how many of `windows` short times more than one of them got on.
fn together(counts: &[AtomicU64], windows: usize) -> usize {
    let look = || counts.iter().map(|count| count.load(Relaxed)).collect::<Vec<_>>();
    let is_together = || {
        loop {
            let (start, before) = (Instant::now(), look());
            std::thread::sleep(Duration::from_millis(1));
            let after = look();
            // On a busy machine the caller may wait for a CPU meanwhile: in a longer time there are more changes of turns.
            if start.elapsed() < Duration::from_millis(2) {
                return after.iter().zip(&before).filter(|(after, before)| after != before).count() > 1;
            }
        }
    };
    (0..windows).filter(|_| is_together()).count()
}

/// Changes the number again and again until told to stop; how often.
fn change(stop: &AtomicBool, mut random: Random, pause: fn(), set: impl Fn(usize)) -> u64 {
    let mut changes = 0;
    while !stop.load(Relaxed) {
        set(1 + random.below(MOST) as usize);
        changes += 1;
        pause();
    }
    changes
}

#[test]
fn the_number_is_what_was_said_last() {
    let runtime = builder(3).build().unwrap();
    assert_eq!((runtime.procs(), gort::procs()), (3, None));
    for procs in [1, 8, 1024, 2, 2] {
        runtime.set_procs(procs).unwrap();
        assert_eq!(
            (runtime.procs(), runtime.run(gort::procs), runtime.busy_times().len()),
            (procs, Some(procs), procs)
        );
    }
    runtime.run(|| gort::set_procs(5).unwrap());
    assert_eq!(runtime.procs(), 5);
    // More than usual, if it was built with more.
    let large = builder(1100).build().unwrap();
    large.set_procs(1).unwrap();
    large.set_procs(1100).unwrap();
    assert_eq!(large.run(|| go!(|| 7).join().unwrap()), 7);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let runtime = builder(2).build().unwrap();
    for procs in [0, 1025, usize::MAX] {
        let error = runtime.set_procs(procs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("gort: set_procs({procs}): runtime `test` can have 1 to 1024 Ps"));
        assert_eq!(runtime.run(|| gort::set_procs(procs).unwrap_err().kind()), ErrorKind::InvalidInput);
    }
    assert_eq!(runtime.procs(), 2);
    assert_eq!(gort::set_procs(1).unwrap_err().kind(), ErrorKind::NotConnected);
    let large = builder(1100).build().unwrap();
    assert!(large.set_procs(1101).unwrap_err().to_string().contains("1 to 1100"));
    #[expect(clippy::reversed_empty_ranges, reason = "it is one that is refused")]
    for range in [0..=4, 3..=2, 1..=usize::MAX] {
        let error = Runtime::builder().adapt_procs(range).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let error = builder(5).adapt_procs(1..=4).build().unwrap_err();
    assert_eq!(error.to_string(), "gort: procs(5) is not within adapt_procs(1..=4)");
    assert_eq!(Runtime::builder().adapt_procs(3..=3).build().unwrap().procs(), 3);
}

#[test]
fn more_ps_run_more_at_a_time() {
    // Goal: what waits for a P begins to run when there are more. The first one computes until the last one has begun.
    const NUMBER: usize = 6;
    if CHAOS {
        // Where they block for a moment others begin.
        return;
    }
    let runtime = builder(1).preemption(false).build().unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..NUMBER)
        .map(|_| {
            let begun = begun.clone();
            runtime.spawn(move || {
                begun.fetch_add(1, Relaxed);
                let start = Instant::now();
                while begun.load(Relaxed) < NUMBER && start.elapsed() < SOON {
                    std::thread::yield_now();
                }
                begun.load(Relaxed)
            })
        })
        .collect();
    wait_until("one has begun", || begun.load(Relaxed) == 1);
    for procs in 2..=NUMBER {
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(begun.load(Relaxed), procs - 1);
        runtime.set_procs(procs).unwrap();
        wait_until("one more has begun", || begun.load(Relaxed) == procs);
    }
    all.into_iter().for_each(|handle| assert_eq!(handle.join().unwrap(), NUMBER));
}

#[test]
fn hogs_on_all_ps_end_up_on_one() {
    // Goal: fewer Ps count for coroutines that make no calls, too; and all of them still have their turns.
    if CHAOS {
        // It does not know a turn.
        return;
    }
    let _watchdog = watchdog(SOON, "hogs on fewer Ps");
    let runtime = builder(4).build().unwrap();
    let (hogs, counts) = hogs(&runtime, 4);
    let all_count = || counts.iter().all(|count| count.load(Relaxed) > 0);
    wait_until("all have begun", all_count);
    wait_until("they run together", || together(&counts, 20) > 10);
    runtime.set_procs(1).unwrap();
    wait_until("they take turns", || together(&counts, 20) < 10);
    // At a change of turns two get on in one window, or when one is let go on to free a lock that it may hold.
    let windows = together(&counts, 200);
    eprintln!("several got on in {windows} of 200 windows");
    assert!(windows < 100, "in {windows} of 200 windows");
    counts.iter().for_each(|count| count.store(0, Relaxed));
    wait_until("all get on", all_count);
    // And the other way.
    runtime.set_procs(4).unwrap();
    wait_until("they run together again", || together(&counts, 20) > 10);
    hogs.stop();
}

#[test]
fn those_who_call_the_runtime_end_up_on_one_p() {
    // Goal: the same without signals: coroutines that compute and yield leave their Ps by themselves.
    if CHAOS {
        // As above.
        return;
    }
    let runtime = builder(4).preemption(false).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..8)
        .map(|_| {
            let (stop, inside, most) = (stop.clone(), inside.clone(), most.clone());
            runtime.spawn(move || {
                let (_tx, rx) = bounded::<()>(1);
                while !stop.load(Relaxed) {
                    most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                    compute(Duration::from_micros(500));
                    inside.fetch_sub(1, Relaxed);
                    // It neither parks nor yields, if nobody asks for it.
                    assert!(rx.try_recv().is_err());
                }
            })
        })
        .collect();
    for (procs, enough) in [(4, 2), (1, 1), (3, 2), (1, 1)] {
        runtime.set_procs(procs).unwrap();
        wait_until("so many are inside at a time", || {
            most.store(0, Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            let most = most.load(Relaxed);
            most <= procs && most >= enough
        });
    }
    most.store(0, Relaxed);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(most.load(Relaxed), 1);
    stop.store(true, Relaxed);
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn blocked_ones_give_up_their_ps() {
    // Goal: a P whose coroutine blocks goes out of service; when the call is over the coroutine gets another.
    let _watchdog = watchdog(SOON, "blocked coroutines on fewer Ps");
    for announced in [false, true] {
        let runtime = builder(4).build().unwrap();
        let (blocked, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let handles: Vec<_> = (0..4)
            .map(|_| {
                let (blocked, release) = (blocked.clone(), release.clone());
                runtime.spawn(move || {
                    let wait = || {
                        blocked.fetch_add(1, Relaxed);
                        while !release.load(Relaxed) {
                            std::thread::sleep(Duration::from_millis(30));
                        }
                    };
                    if announced {
                        gort::blocking(wait)
                    } else {
                        wait()
                    }
                    gort::yield_now();
                })
            })
            .collect();
        // With fixed homes they share threads.
        let number = if runtime.coroutines_move() { 4 } else { 1 };
        wait_until("they are blocked", || blocked.load(Relaxed) >= number);
        runtime.set_procs(1).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        if runtime.coroutines_move() {
            runtime.run(|| gort::time::sleep(Duration::from_millis(1)));
        }
        release.store(true, Relaxed);
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    }
}

#[test]
fn messages_flow_while_the_number_changes() {
    // Goal: none is lost, none comes twice, and those of one sender keep their order.
    const MESSAGES: u64 = if CHAOS { 1_000 } else { 20_000 };
    let _watchdog = watchdog(SOON, "messages while the number changes");
    let runtime = builder(2).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seed = seed();
    runtime.run(|| {
        let inside = {
            let stop = stop.clone();
            let pause = || gort::time::sleep(Duration::from_micros(50));
            go!(move || change(&stop, Random::new(seed), pause, |procs| gort::set_procs(procs).unwrap()))
        };
        let pairs: Vec<_> = (0..8)
            .map(|pair| {
                let (tx, rx) = bounded::<u64>(pair % 4);
                let sender = go!(move || (0..MESSAGES).for_each(|i| tx.send(i).unwrap()));
                (sender, go!(move || rx.iter().zip(0..).map(|(a, b)| assert_eq!(a, b)).count() as u64))
            })
            .collect();
        for (sender, receiver) in pairs {
            sender.join().unwrap();
            assert_eq!(receiver.join().unwrap(), MESSAGES);
        }
        stop.store(true, Relaxed);
        assert!(inside.join().unwrap() > 0);
    });
}

#[test]
fn timers_of_ps_that_are_gone_fire() {
    // Goal: sleeps that began on eight Ps end in time on one, also while that one is hogged.
    for with_hogs in [false, true] {
        if with_hogs && cannot_hold("those of a hog's thread wait for it") {
            return;
        }
        let _watchdog = watchdog(SOON, "timers of Ps that are gone");
        let runtime = builder(MOST as usize).build().unwrap();
        let mut best = SOON;
        for _ in 0..5 {
            let asleep = Arc::new(AtomicUsize::new(0));
            let sleepers: Vec<_> = (0..64)
                .map(|i| {
                    let asleep = asleep.clone();
                    runtime.spawn(move || {
                        compute(Duration::from_micros(200));
                        let time = Duration::from_millis(30 + i);
                        let begin = Instant::now();
                        asleep.fetch_add(1, Relaxed);
                        gort::time::sleep(time);
                        begin.elapsed().checked_sub(time).expect("not too soon")
                    })
                })
                .collect();
            wait_until("they sleep", || asleep.load(Relaxed) == 64);
            let (hogs, _) = hogs(&runtime, if with_hogs { 4 } else { 0 });
            runtime.set_procs(1).unwrap();
            let late = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).max().unwrap();
            eprintln!("late by {late:?}, with hogs: {with_hogs}");
            best = best.min(late);
            hogs.stop();
            runtime.set_procs(MOST as usize).unwrap();
        }
        // A busy machine delays some rounds, a timer that nobody looks at all of them.
        assert!(CHAOS || best < Duration::from_secs(1), "late by {best:?}, with hogs: {with_hogs}");
    }
}

#[test]
fn everything_goes_on_while_many_change_the_number() {
    // Goal: nothing is lost, whoever changes the number, as fast as they can.
    let _watchdog = watchdog(SOON * common::factor() as u32, "everything while the number changes");
    let runtime = builder(4).build().unwrap();
    let stop = AtomicBool::new(false);
    let seed = seed();
    let changes: u64 = std::thread::scope(|threads| {
        let (runtime, stop) = (&runtime, &stop);
        let changers: Vec<_> = (0..2)
            .map(|at| {
                let pause: fn() = if at == 0 { || () } else { || std::thread::sleep(Duration::from_micros(20)) };
                let random = Random::new(seed + at);
                threads.spawn(move || change(stop, random, pause, |procs| runtime.set_procs(procs).unwrap()))
            })
            .collect();
        for round in 0..40 * common::factor() {
            runtime.run(|| work(seed + 10 + round));
        }
        stop.store(true, Relaxed);
        changers.into_iter().map(|changer| changer.join().unwrap()).sum()
    });
    eprintln!("{changes} changes");
    runtime.set_procs(2).unwrap();
    runtime.run(|| work(seed));
    wait_until("all have ended", || runtime.live() == 0);
}

/// A bit of everything: spawn, join, channels, sleeps, yields, computing, blocking, locals, homes of their own.
fn work(seed: u64) {
    let (tx, rx) = bounded::<u64>(3);
    let receiver = go!(move || rx.iter().sum::<u64>());
    let handles: Vec<_> = (0..40)
        .map(|at| {
            let tx = tx.clone();
            let body = move || {
                let mut random = Random::new(seed + at);
                for step in 0..10 {
                    match random.below(7) {
                        0 => gort::yield_now(),
                        1 => gort::time::sleep(Duration::from_micros(random.below(300))),
                        2 => compute(Duration::from_micros(random.below(200))),
                        3 => assert_eq!(go!(move || step).join().unwrap(), step),
                        4 => gort::blocking(|| std::thread::sleep(Duration::from_micros(50))),
                        5 => {
                            let shared = Rc::new(Cell::new(0));
                            let theirs = shared.clone();
                            gort::spawn_local(move || theirs.set(step + 1)).join().unwrap();
                            assert_eq!(shared.get(), step + 1);
                        }
                        _ => (),
                    }
                    tx.send(1).unwrap();
                }
            };
            if at % 8 == 0 { gort::Builder::new().own_home().spawn(body).unwrap() } else { go!(body) }
        })
        .collect();
    drop(tx);
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!(receiver.join().unwrap(), 400);
}

#[test]
fn homes_stay_while_the_number_changes() {
    // Goal: whatever Ps come and go, a coroutine sees one thread, and keeps what is bound to it.
    let _watchdog = watchdog(SOON, "homes while the number changes");
    thread_local!(static NUMBER: Rc<Cell<u64>> = Rc::default());
    let runtime = builder(4).homes(4).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seed = seed();
    std::thread::scope(|threads| {
        let changer = threads.spawn(|| {
            let pause = || std::thread::sleep(Duration::from_micros(50));
            change(&stop, Random::new(seed), pause, |procs| runtime.set_procs(procs).unwrap())
        });
        runtime.run(|| {
            let identity = |own: bool| {
                let body = move || {
                    let (id, number) = (std::thread::current().id(), NUMBER.with(Rc::clone));
                    let other = gort::spawn_local({
                        let number = number.clone();
                        move || {
                            for _ in 0..100 {
                                gort::yield_now();
                                assert!(NUMBER.with(|mine| Rc::ptr_eq(mine, &number)));
                            }
                        }
                    });
                    for round in 0..100 {
                        number.set(number.get() + 1);
                        if round % 10 == 0 {
                            gort::time::sleep(Duration::from_micros(100));
                        }
                        gort::yield_now();
                        assert_eq!(std::thread::current().id(), id);
                        assert!(NUMBER.with(|mine| Rc::ptr_eq(mine, &number)));
                    }
                    other.join().unwrap();
                };
                if own { gort::Builder::new().own_home().spawn(body).unwrap() } else { go!(body) }
            };
            let handles: Vec<_> = (0..40).map(|at| identity(at % 10 == 0)).collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
        stop.store(true, Relaxed);
        assert!(changer.join().unwrap() > 0);
    });
}

#[test]
fn a_runtime_may_end_at_any_number() {
    // Goal: before the drop, and during it, by coroutines that are cancelled.
    let _watchdog = watchdog(SOON, "runtimes that end while their number changes");
    struct Changes(usize);
    impl Drop for Changes {
        fn drop(&mut self) {
            gort::set_procs(self.0).unwrap();
        }
    }
    let mut random = Random::new(seed());
    for round in 0..50 {
        let runtime = builder(1 + random.below(4) as usize).build().unwrap();
        for _ in 0..10 {
            let changes = Changes(1 + random.below(MOST) as usize);
            drop(runtime.spawn(move || {
                let _changes = changes;
                gort::park();
            }));
        }
        drop(runtime.spawn(|| {
            for procs in (1..=MOST as usize).cycle() {
                gort::set_procs(procs).unwrap();
                gort::yield_now();
            }
        }));
        if round % 2 == 0 {
            runtime.run(gort::yield_now);
        }
        runtime.set_procs(1 + random.below(MOST) as usize).unwrap();
        drop(runtime);
    }
}

#[test]
fn what_was_busy_is_counted() {
    // Goal: a P counts while it is held, not while it is idle; sums stay when it goes out of service.
    let runtime = builder(2).build().unwrap();
    let sum = || runtime.busy_times().iter().sum::<Duration>();
    let (begin, before) = (Instant::now(), sum());
    runtime.run(|| compute(Duration::from_millis(50)));
    let (busy, most) = (sum() - before, 2 * begin.elapsed());
    assert!(busy >= Duration::from_millis(50) && busy <= most, "{busy:?} of {most:?}");
    // While it runs, too.
    runtime.run(|| {
        let before = sum();
        compute(Duration::from_millis(10));
        assert!(sum() - before >= Duration::from_millis(10));
    });
    // Idle, most of the time: one that is not idle for once is no failure.
    wait_until("an idle runtime is not busy", || {
        let before = sum();
        std::thread::sleep(Duration::from_millis(20));
        sum() == before
    });
    let both = runtime.busy_times();
    runtime.set_procs(1).unwrap();
    assert_eq!(runtime.busy_times().len(), 1);
    runtime.set_procs(2).unwrap();
    assert!(runtime.busy_times().iter().zip(both).all(|(after, before)| *after >= before));
}

#[test]
fn a_pair_of_runtimes_has_a_number_each() {
    let (a, b) = (builder(2).build().unwrap(), builder(3).build().unwrap());
    let number = a.run(|| b.run(|| gort::set_procs(6)).map(|()| gort::procs()));
    assert_eq!((number.unwrap(), a.procs(), b.procs()), (Some(2), 2, 6));
}

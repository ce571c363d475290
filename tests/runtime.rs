//! Runtimes: settings, several at once, inside one another, and their ends.

mod common;

use common::{Counts, Meant, builder, panic_meant, wait_until};
use gort::{Runtime, go};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn settings_that_make_no_sense_are_refused() {
    for builder in [
        Runtime::builder().procs(0),
        Runtime::builder().homes(0),
        Runtime::builder().threads(0),
        Runtime::builder().procs(usize::MAX),
        Runtime::builder().homes(usize::MAX),
        Runtime::builder().stack_size((1 << 30) + 1),
    ] {
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let runtime = Runtime::builder().procs(3).name("three").build().unwrap();
    assert_eq!((runtime.procs(), runtime.name(), runtime.live()), (3, "three", 0));
    assert!(runtime.homes() <= 1, "homes are made as coroutines come to live");
    assert!(format!("{runtime:?}").contains("three"));
    assert!(Runtime::new().unwrap().procs() >= 1);
}

#[test]
fn run_gives_the_value_or_the_panic_and_borrows() {
    let runtime = builder(2).build().unwrap();
    let text = String::from("outside");
    assert_eq!(runtime.run(|| text.len()), 7);
    let mut count = 0;
    runtime.run(|| count += 1);
    assert_eq!(count, 1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.run(|| panic_meant(2))));
    assert_eq!(caught.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(2)));
    assert_eq!(gort::run(|| go!(|| 3).join().unwrap()), 3);
}

#[test]
fn a_cancel_of_who_calls_run_takes_effect_after_it() {
    let (runtime, other) = (Arc::new(builder(2).build().unwrap()), Arc::new(builder(1).build().unwrap()));
    for callee in [&runtime, &other] {
        let [inside, go_on, ran, returned] = [(); 4].map(|()| Arc::new(AtomicBool::new(false)));
        let handle = {
            let (callee, inside, go_on, ran, returned) =
                (callee.clone(), inside.clone(), go_on.clone(), ran.clone(), returned.clone());
            runtime.spawn(move || {
                let value = callee.run(|| {
                    inside.store(true, SeqCst);
                    wait_until("it may end", || go_on.load(SeqCst));
                    7
                });
                ran.store(value == 7, SeqCst);
                gort::park();
                returned.store(true, SeqCst);
            })
        };
        wait_until("it runs", || inside.load(SeqCst));
        handle.cancel();
        let handle = handle.join_timeout(Duration::from_millis(2)).expect_err("it waits for `run`");
        go_on.store(true, SeqCst);
        assert!(handle.join().unwrap_err().is_cancelled());
        assert!(ran.load(SeqCst) && !returned.load(SeqCst));
    }
}

#[test]
fn run_leaves_the_others_running() {
    let runtime = builder(2).build().unwrap();
    let go_on = Arc::new(AtomicBool::new(false));
    let go_on2 = go_on.clone();
    let handle = runtime.run(move || go!(move || wait_until("it may", || go_on2.load(SeqCst))));
    assert!(!handle.is_finished());
    go_on.store(true, SeqCst);
    handle.join().unwrap();
}

#[test]
fn several_at_once_do_not_mix() {
    let runtimes: Vec<_> =
        (1..5).map(|procs| Runtime::builder().procs(procs).name(procs.to_string()).build().unwrap()).collect();
    let handles: Vec<_> = (0..200)
        .map(|i| {
            runtimes[i % 4].spawn(move || {
                gort::time::sleep(Duration::from_micros(i as u64));
                go!(move || i).join().unwrap()
            })
        })
        .collect();
    for (i, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), i);
    }
    for runtime in &runtimes {
        wait_until("none is left", || runtime.live() == 0);
    }
}

#[test]
fn one_runs_inside_a_coroutine_of_another() {
    let outer = builder(2).build().unwrap();
    let sum: u64 = outer.run(|| {
        let handles: Vec<_> = (0..10u64)
            .map(|i| {
                go!(move || {
                    let id = std::thread::current().id();
                    let inner = builder(1 + i as usize % 2).build().unwrap();
                    let value = inner.run(|| {
                        assert_ne!(std::thread::current().id(), id);
                        gort::time::sleep(Duration::from_millis(1));
                        go!(move || i * 2).join().unwrap()
                    });
                    drop(inner);
                    assert_eq!(std::thread::current().id(), id);
                    gort::yield_now();
                    value
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    });
    assert_eq!(sum, 90);
}

#[test]
fn joins_and_unparks_go_across() {
    let (a, b) = (builder(2).build().unwrap(), builder(1).build().unwrap());
    for i in 0..200u64 {
        let in_b = b.spawn(move || {
            gort::park();
            i
        });
        let coroutine = in_b.coroutine();
        let in_a = a.spawn(move || {
            coroutine.unpark();
            in_b.join().unwrap()
        });
        assert_eq!(in_a.join().unwrap(), i);
    }
    // The panic of one, resumed in the other.
    let panicked = b.spawn(|| panic_meant(4));
    let error = a.spawn(move || panicked.join().unwrap_err()).join().unwrap();
    assert!(error.is_panic());
}

#[test]
fn dropping_it_cancels_what_is_parked_and_waits() {
    for procs in common::PROCS {
        let runtime = builder(procs).build().unwrap();
        let (inside, drops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for i in 0..200 {
            let (inside, counts) = (inside.clone(), Counts(drops.clone()));
            drop(runtime.spawn(move || {
                let _counts = counts;
                inside.fetch_add(1, SeqCst);
                if i % 2 == 0 { gort::park() } else { gort::time::sleep(Duration::from_secs(1000)) }
            }));
        }
        wait_until("all run", || inside.load(SeqCst) == 200);
        drop(runtime);
        assert_eq!(drops.load(SeqCst), 200);
    }
}

#[test]
fn dropping_it_drops_what_has_not_run() {
    for procs in common::PROCS {
        for _ in 0..20 {
            let runtime = builder(procs).build().unwrap();
            let drops = Arc::new(AtomicUsize::new(0));
            for _ in 0..100 {
                let counts = Counts(drops.clone());
                drop(runtime.spawn(move || {
                    let _counts = counts;
                    gort::yield_now();
                }));
            }
            drop(runtime);
            assert_eq!(drops.load(SeqCst), 100);
        }
    }
}

#[test]
fn dropping_it_waits_for_one_that_computes() {
    let runtime = builder(1).build().unwrap();
    let (inside, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (inside2, done2) = (inside.clone(), done.clone());
    drop(runtime.spawn(move || {
        inside2.store(true, SeqCst);
        common::compute(Duration::from_millis(50));
        done2.store(true, SeqCst);
    }));
    wait_until("it runs", || inside.load(SeqCst));
    drop(runtime);
    assert!(done.load(SeqCst));
}

#[test]
fn the_last_handle_may_be_inside() {
    // A coroutine drops its own runtime: it ends by another thread, after the coroutine.
    for procs in common::PROCS {
        for _ in 0..20 {
            let runtime = Arc::new(builder(procs).build().unwrap());
            let (inner, drops) = (runtime.clone(), Arc::new(AtomicUsize::new(0)));
            let (counts, parked) = (Counts(drops.clone()), Counts(drops.clone()));
            drop(runtime.spawn(move || {
                let _parked = parked;
                gort::park();
            }));
            drop(runtime.spawn(move || {
                let _counts = counts;
                drop(inner);
                for _ in 0..3 {
                    gort::time::sleep(Duration::from_micros(100));
                }
            }));
            drop(runtime);
            wait_until("both have ended", || drops.load(SeqCst) == 2);
        }
    }
}

#[test]
fn dropping_it_in_another_ones_coroutine() {
    let outer = builder(2).build().unwrap();
    for _ in 0..20 {
        let inner = builder(2).build().unwrap();
        let (inside, drops) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (inside2, counts) = (inside.clone(), Counts(drops.clone()));
        drop(inner.spawn(move || {
            let _counts = counts;
            inside2.store(true, SeqCst);
            gort::park();
        }));
        wait_until("it parks", || inside.load(SeqCst));
        outer.spawn(move || drop(inner)).join().unwrap();
        assert_eq!(drops.load(SeqCst), 1);
    }
}

#[test]
fn a_thread_that_wakes_the_last_one_may_be_slower_than_the_end() {
    // The wake-up is the last thing a plain thread does with a runtime, which may end meanwhile.
    let seed = common::seed();
    let mut random = common::Random::new(seed);
    for _ in 0..300 * common::factor() {
        let runtime = builder(1 + random.below(2) as usize).build().unwrap();
        let handles: Vec<_> = (0..4).map(|_| runtime.spawn(gort::park)).collect();
        let threads: Vec<_> = handles
            .iter()
            .map(|handle| {
                let coroutine = handle.coroutine();
                let delay = random.below(100);
                std::thread::spawn(move || {
                    common::compute(Duration::from_micros(delay));
                    coroutine.unpark();
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        drop(runtime);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn one_after_the_other() {
    for i in 0..200 {
        let runtime = builder(1 + i % 3).build().unwrap();
        assert_eq!(runtime.run(|| go!(move || i).join().unwrap()), i);
    }
}

#[test]
fn few_threads_are_enough() {
    let runtime = builder(8).threads(1).build().unwrap();
    let handles: Vec<_> = (0..100)
        .map(|i| {
            runtime.spawn(move || {
                gort::time::sleep(Duration::from_micros(100));
                go!(move || i).join().unwrap()
            })
        })
        .collect();
    for (i, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), i);
    }
}

#[test]
fn no_more_run_at_a_time_than_there_may_be_threads() {
    if common::CHAOS {
        // One that is moved in the middle of its computing is inside all the same.
        return;
    }
    // Nobody is interrupted, so that each who is inside runs.
    let runtime = builder(4).threads(1).preemption(false).time_slice(common::PATIENCE).build().unwrap();
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..8)
        .map(|_| {
            let (inside, most) = (inside.clone(), most.clone());
            runtime.spawn(move || {
                for _ in 0..20 {
                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    common::compute(Duration::from_micros(200));
                    inside.fetch_sub(1, SeqCst);
                    gort::yield_now();
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!(most.load(SeqCst), 1);
}

#[test]
fn a_burst_after_a_long_rest_is_served() {
    let runtime = builder(2).build().unwrap();
    for _ in 0..5 {
        // Long enough for everybody, sysmon too, to be asleep.
        std::thread::sleep(Duration::from_millis(60));
        let start = Instant::now();
        let handles: Vec<_> = (0..20).map(|i| runtime.spawn(move || i)).collect();
        for (i, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), i);
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

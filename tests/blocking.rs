//! `blocking`: those of the caller's home go on, the caller gets what it asked for, and threads come and go.

mod common;

use common::{builder, gettid, panic_meant, quiet_panics, wait_until, with_each_procs};
use gort::channel::bounded;
use gort::{Builder, JoinError, Runtime, blocking, go, go_local, lock_os_thread};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// Whether this is one of the runtime's spare threads.
fn is_spare() -> bool {
    thread::current().name().is_some_and(|name| name.ends_with("-blocking"))
}

/// Calls `f` in a coroutine that shares its home with another one, which is parked.
fn beside_another<R>(f: impl FnOnce() -> R) -> R {
    let (tx, rx) = bounded::<()>(0);
    let neighbour = go_local!(move || assert!(rx.recv().is_err()));
    let result = f();
    drop(tx);
    neighbour.join().unwrap();
    result
}

#[test]
fn a_local_neighbour_goes_on() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            // Either of the two blocks while the other ticks.
            for child_blocks in [true, false] {
                let ticks = Arc::new(AtomicUsize::new(0));
                let done = Rc::new(Cell::new(false));
                let blocks = {
                    let (ticks, done) = (ticks.clone(), done.clone());
                    move || {
                        let before = ticks.load(SeqCst);
                        let ticked = || ticks.load(SeqCst) - before;
                        assert!(blocking(|| {
                            let start = Instant::now();
                            while ticked() < 5 && start.elapsed() < common::PATIENCE {
                                thread::sleep(MS);
                            }
                            is_spare()
                        }));
                        done.set(true);
                        ticked()
                    }
                };
                let counts = {
                    let (ticks, done) = (ticks.clone(), done.clone());
                    move || {
                        while !done.get() {
                            gort::time::sleep(MS);
                            ticks.fetch_add(1, SeqCst);
                        }
                        0
                    }
                };
                let ticked = if child_blocks {
                    let child = go_local!(blocks);
                    counts();
                    child.join().unwrap()
                } else {
                    let child = go_local!(counts);
                    gort::yield_now();
                    let ticked = blocks();
                    child.join().unwrap();
                    ticked
                };
                assert!(ticked >= 5, "{ticked} ticks while the other blocked");
            }
        });
    });
}

/// Nobody else could: the one who has queued them computes until they have run, and is not preempted.
#[test]
fn what_another_has_queued_runs_where_somebody_blocks() {
    let runtime = builder(2).preemption(false).build().unwrap();
    if !runtime.coroutines_move() {
        return;
    }
    runtime.run(|| {
        for _ in 0..5 {
            let until = |what: &str, condition: &dyn Fn() -> bool| {
                let start = Instant::now();
                while !condition() {
                    assert!(start.elapsed() < common::PATIENCE, "{what}: never");
                    std::hint::spin_loop();
                }
            };
            let (blocks, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let blocked = {
                let (blocks, go_on) = (blocks.clone(), go_on.clone());
                go!(move || blocking(|| {
                    blocks.store(true, SeqCst);
                    while !go_on.load(SeqCst) {
                        thread::sleep(MS);
                    }
                }))
            };
            until("the other P takes the one who blocks", &|| blocks.load(SeqCst));
            let ran = Arc::new(AtomicUsize::new(0));
            let others: Vec<_> = (0..20)
                .map(|_| {
                    let ran = ran.clone();
                    go!(move || {
                        ran.fetch_add(1, SeqCst);
                    })
                })
                .collect();
            until("the others run where he blocks", &|| ran.load(SeqCst) == 20);
            go_on.store(true, SeqCst);
            blocked.join().unwrap();
            others.into_iter().for_each(|other| other.join().unwrap());
        }
    });
}

#[test]
fn whoever_shares_the_home_goes_on() {
    // Goal: with one home for all, or one thread, many block at once, and one ticks meanwhile.
    for procs in [1, 2] {
        let runtime = builder(procs).homes(1).build().unwrap();
        runtime.run(|| {
            let blocked = Arc::new(AtomicUsize::new(0));
            let release = Arc::new(AtomicBool::new(false));
            let handles: Vec<_> = (0..8)
                .map(|_| {
                    let (blocked, release) = (blocked.clone(), release.clone());
                    go!(move || {
                        blocking(|| {
                            blocked.fetch_add(1, SeqCst);
                            while !release.load(SeqCst) {
                                thread::sleep(MS);
                            }
                        });
                    })
                })
                .collect();
            wait_until("all are blocked at once", || blocked.load(SeqCst) == 8);
            for _ in 0..5 {
                gort::time::sleep(MS);
                assert_eq!(go!(|| 3).join().unwrap(), 3);
            }
            release.store(true, SeqCst);
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
    }
}

#[test]
fn alone_in_its_home_it_stays_where_it_is() {
    thread_local!(static OWN: Cell<u32> = const { Cell::new(0) });
    let runtime = builder(2).build().unwrap();
    runtime
        .spawn(|| {
            OWN.set(7);
            let id = thread::current().id();
            blocking(|| {
                assert_eq!((OWN.get(), thread::current().id()), (7, id));
                assert!(!is_spare());
                // It is in a coroutine still.
                assert_eq!(go!(|| 3).join().unwrap(), 3);
                OWN.set(8);
            });
            assert_eq!(OWN.get(), 8);
            beside_another(|| {
                blocking(|| {
                    assert_eq!(OWN.get(), 0);
                    assert_ne!(thread::current().id(), id);
                    assert!(is_spare());
                });
            });
        })
        .join()
        .unwrap();
}

#[test]
fn it_borrows_and_returns() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            beside_another(|| {
                let mut numbers = vec![1, 2, 3];
                let text = String::from("borrowed");
                for round in 0..100 {
                    let sum: usize = blocking(|| {
                        numbers.push(round);
                        numbers.iter().sum::<usize>() + text.len()
                    });
                    assert_eq!(sum, 6 + 8 + round * (round + 1) / 2);
                    if round % 10 == 0 {
                        // Of no size, of some, with a destructor.
                        blocking(|| ());
                        assert_eq!(blocking(|| [round; 100])[99], round);
                        assert_eq!(*blocking(|| Box::new(text.clone())), text);
                    }
                }
                assert_eq!(numbers.len(), 103);
            });
        });
    });
}

#[test]
fn a_panic_is_carried_back() {
    quiet_panics();
    with_each_procs(|runtime| {
        runtime.run(|| {
            beside_another(|| {
                for number in 0..20 {
                    let caught = std::panic::catch_unwind(|| blocking(|| panic_meant(number)));
                    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&common::Meant(number)));
                    assert_eq!(blocking(|| number), number);
                }
            });
            let handle = go!(|| beside_another(|| blocking(|| panic_meant(1))));
            assert!(matches!(handle.join(), Err(JoinError::Panicked(_))));
        });
    });
}

#[test]
fn nested() {
    runtime_with_one_home().run(|| {
        beside_another(|| {
            let (outer, inner) = blocking(|| {
                let outer = thread::current().id();
                (outer, blocking(|| blocking(|| thread::current().id())))
            });
            assert_eq!(outer, inner);
        });
    });
}

fn runtime_with_one_home() -> Runtime {
    builder(2).homes(1).build().unwrap()
}

#[test]
fn in_place_while_the_thread_is_kept() {
    for runtime in [builder(2).build().unwrap(), runtime_with_one_home()] {
        runtime.run(|| {
            beside_another(|| {
                let guard = lock_os_thread();
                let tid = gettid();
                assert_eq!(blocking(gettid), tid);
                // A local one that does not keep it itself goes to a spare thread if one is idle, and starts none.
                let child = go_local!(move || (gettid(), blocking(is_spare), gettid()));
                assert_eq!(child.join().unwrap(), (tid, false, tid));
                drop(guard);
                assert_ne!(blocking(gettid), tid);
            });
        });
    }
}

#[test]
fn a_thousand_at_once_and_few_threads() {
    for most in [0, 1, 8] {
        let runtime = builder(2).homes(4).blocking_threads(most).build().unwrap();
        let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let sum: usize = runtime.run(|| {
            let handles: Vec<_> = (0..1000)
                .map(|number| {
                    let (now, peak) = (now.clone(), peak.clone());
                    go!(move || {
                        gort::yield_now();
                        blocking(|| {
                            let spare = usize::from(is_spare());
                            peak.fetch_max(now.fetch_add(spare, SeqCst) + spare, SeqCst);
                            thread::sleep(MS / 10);
                            now.fetch_sub(spare, SeqCst);
                            number
                        })
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).sum()
        });
        assert_eq!(sum, 499_500);
        let peak = peak.load(SeqCst);
        assert!(peak <= most && (peak > 0) == (most > 0), "{peak} of {most}");
    }
}

#[test]
fn it_is_not_cancelled_before_it_is_done() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for _ in 0..10 {
                let (begun, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
                let handle = go!({
                    let (begun, done) = (begun.clone(), done.clone());
                    move || {
                        let (_tx, rx) = bounded::<()>(0);
                        let _neighbour = go_local!(move || assert!(rx.recv().is_err()));
                        let mut borrowed = [0; 1000];
                        blocking(|| {
                            begun.store(true, SeqCst);
                            thread::sleep(3 * MS);
                            borrowed.fill(1);
                        });
                        assert_eq!(borrowed, [1; 1000]);
                        done.store(true, SeqCst);
                        gort::park();
                    }
                });
                wait_until("it has begun", || begun.load(SeqCst));
                handle.cancel();
                assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
                assert!(done.load(SeqCst));
            }
        });
    });
}

#[test]
fn the_runtime_waits_for_it() {
    for procs in common::PROCS {
        let runtime = builder(procs).homes(2).build().unwrap();
        let (begun, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..6 {
            let (begun, done) = (begun.clone(), done.clone());
            runtime.spawn(move || {
                beside_another(|| {
                    blocking(|| {
                        begun.fetch_add(1, SeqCst);
                        thread::sleep(30 * MS);
                    });
                    done.fetch_add(1, SeqCst);
                    gort::park();
                });
            });
        }
        wait_until("all have begun", || begun.load(SeqCst) == 6);
        let start = Instant::now();
        drop(runtime);
        assert_eq!(done.load(SeqCst), 6);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
}

#[test]
fn the_last_handle_of_the_runtime_may_be_dropped_inside() {
    let (tx, rx) = mpsc::channel();
    let slot = Arc::new(Mutex::new(None));
    let runtime = builder(2).homes(1).build().unwrap();
    let theirs = slot.clone();
    // Detached: its handle would have to be joined from outside.
    drop(runtime.spawn(move || {
        beside_another(|| {
            blocking(|| {
                wait_until("the runtime is there", || theirs.lock().unwrap().is_some());
                drop(theirs.lock().unwrap().take());
                tx.send(is_spare()).unwrap();
            });
        });
    }));
    let start = Instant::now();
    *slot.lock().unwrap() = Some(runtime);
    assert!(rx.recv().unwrap());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn what_a_spare_thread_may_do() {
    quiet_panics();
    let runtime = runtime_with_one_home();
    runtime.run(|| {
        beside_another(|| {
            // It waits for coroutines like any plain thread.
            let (tx, rx) = bounded(0);
            let sender = go!(move || (0..10).for_each(|number| tx.send(number).unwrap()));
            assert_eq!(blocking(|| rx.iter().sum::<i32>()), 45);
            sender.join().unwrap();
            let spawned = blocking(|| Builder::new().spawn(|| ()).map(drop));
            assert_eq!(spawned.unwrap_err().kind(), std::io::ErrorKind::NotConnected);
            assert_eq!(blocking(|| runtime.spawn(|| 5).join().unwrap()), 5);
            assert_eq!(blocking(|| runtime.run(|| beside_another(|| blocking(|| 6)))), 6);
            blocking(|| gort::time::sleep(MS));
            blocking(gort::yield_now);
        });
    });
}

#[test]
fn in_a_destructor_while_it_unwinds() {
    quiet_panics();
    struct Blocks(Arc<AtomicUsize>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            assert!(thread::panicking());
            let spare = blocking(|| {
                thread::sleep(MS);
                is_spare()
            });
            self.0.fetch_add(1 + usize::from(spare), SeqCst);
        }
    }
    with_each_procs(|runtime| {
        let count = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..5)
            .map(|_| {
                let count = count.clone();
                runtime.spawn(move || {
                    beside_another(|| {
                        let _blocks = Blocks(count);
                        panic_meant(1)
                    })
                })
            })
            .collect();
        for handle in handles {
            assert!(handle.join().is_err());
        }
        assert_eq!(count.load(SeqCst), 10);
    });
}

#[test]
fn threads_are_used_again_and_end() {
    if !common::is_child("threads_are_used_again_and_end") {
        return;
    }
    let runtime = builder(2).build().unwrap();
    let threads = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("comm"));
        names.filter(|path| std::fs::read_to_string(path).is_ok_and(|name| name.trim().ends_with("-blocking"))).count()
    };
    runtime.run(|| {
        beside_another(|| {
            let ids: std::collections::HashSet<_> = (0..50).map(|_| blocking(|| thread::current().id())).collect();
            // One may not be idle again before the next job comes.
            assert!(ids.len() <= 5, "{ids:?}");
            assert!((1..=5).contains(&threads()));
        });
    });
    let start = Instant::now();
    wait_until("idle threads end", || threads() == 0);
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
    runtime.run(|| beside_another(|| assert!(blocking(is_spare))));
    assert_eq!(threads(), 1);
    drop(runtime);
    wait_until("the last one ends", || threads() == 0);
}

#[test]
fn on_a_plain_thread_it_is_a_call() {
    let id = thread::current().id();
    assert_eq!(blocking(|| thread::current().id()), id);
}

/// All of this where coroutines do not move.
#[test]
fn with_fixed_homes() {
    common::again_with_fixed_homes();
}

/// Goal: a timer rings though the only thread is blocked. Method: on one P, which has one thread, one coroutine is blocked in
/// place until another, which sleeps in a home of its own, has written to a pipe. Its P was taken for the timer, and no other
/// thread was there to have it.
#[test]
fn a_timer_rings_while_the_only_thread_is_blocked() {
    for _ in 0..20 {
        builder(1).build().unwrap().run(|| {
            let (mut reader, mut writer) = std::io::pipe().unwrap();
            let other = gort::go!(move || {
                gort::time::sleep(Duration::from_millis(3));
                std::io::Write::write_all(&mut writer, b"x").unwrap();
            });
            gort::yield_now();
            let count = gort::blocking(|| std::io::Read::read(&mut reader, &mut [0; 4])).unwrap();
            assert_eq!(count, 1);
            other.join().unwrap();
        });
    }
}

/// Whoever comes back has its turn with those that are ready, not behind all of them.
#[test]
fn who_comes_back_is_served_soon() {
    const ROUNDS: usize = 51;
    let runtime = builder(1).build().unwrap();
    let (turns, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let (turns, stop) = (turns.clone(), stop.clone());
            runtime.spawn(move || {
                while !stop.load(SeqCst) {
                    turns.fetch_add(1, SeqCst);
                    gort::yield_now();
                }
            })
        })
        .collect();
    let mut waits: Vec<usize> = runtime.run(|| {
        let one = |_| {
            blocking(|| {
                // The others go on with the P.
                let before = turns.load(SeqCst);
                wait_until_in_place(|| turns.load(SeqCst) > before);
            });
            let before = turns.load(SeqCst);
            // The first call that needs a P.
            gort::yield_now();
            turns.load(SeqCst) - before
        };
        (0..ROUNDS).map(one).collect()
    });
    stop.store(true, SeqCst);
    others.into_iter().for_each(|other| other.join().unwrap());
    waits.sort_unstable();
    eprintln!("turns of others until it goes on: {waits:?}");
    // It may be off its CPU between the two looks, but not half the time.
    assert!(common::CHAOS || waits[ROUNDS / 2] < 1000, "{waits:?}");
}

fn wait_until_in_place(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < common::PATIENCE, "never");
        thread::sleep(Duration::from_micros(50));
    }
}

//! `scope`: borrowing, panics, handles that are dropped, forgotten or sent on, cancellation.

mod common;

use common::{Counts, Meant, builder, panic_again, panic_meant, wait_until, with_each_procs};
use gort::{go, scope};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Borrows a flag that is false when what it guards is gone; looks at it when dropped.
struct Borrows<'a> {
    there: &'a AtomicBool,
    drops: &'a AtomicUsize,
    panics: bool,
}

impl Drop for Borrows<'_> {
    fn drop(&mut self) {
        gort::time::sleep(Duration::from_micros(200));
        assert!(self.there.load(SeqCst), "dropped after the scope");
        self.drops.fetch_add(1, SeqCst);
        if self.panics {
            panic_again()
        }
    }
}

#[test]
fn borrows_and_joins() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let words = ["a".to_string(), "bc".into(), "def".into()];
            let mut count = 0;
            let total: usize = scope(|s| {
                let handles: Vec<_> = words.iter().map(|word| s.go(move || word.len())).collect();
                s.go(|| count += 1).join().unwrap();
                handles.into_iter().map(|handle| handle.join().unwrap()).sum()
            });
            assert_eq!((total, count), (6, 1));
        });
    });
}

#[test]
fn waits_for_all_that_nobody_joins() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for round in 0..50 {
                let count = AtomicU64::new(0);
                scope(|s| {
                    for i in 0..20 {
                        let count = &count;
                        drop(s.go(move || {
                            if i % 3 == 0 {
                                gort::time::sleep(Duration::from_micros(i * round));
                            }
                            count.fetch_add(1, SeqCst);
                        }));
                    }
                });
                assert_eq!(count.load(SeqCst), 20);
            }
        });
    });
}

#[test]
fn nests_and_spawns_from_inside() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let count = AtomicU64::new(0);
            scope(|outer| {
                for _ in 0..5 {
                    outer.go(|| {
                        outer.go(|| count.fetch_add(1, SeqCst));
                        scope(|inner| {
                            for _ in 0..5 {
                                inner.go(|| {
                                    gort::yield_now();
                                    count.fetch_add(1, SeqCst);
                                    outer.go(|| count.fetch_add(1, SeqCst));
                                });
                            }
                        });
                    });
                }
            });
            assert_eq!(count.load(SeqCst), 5 + 25 + 25);
        });
    });
}

#[test]
fn a_panic_that_nobody_joined_is_the_scopes() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let ended = AtomicU64::new(0);
            let caught = std::panic::catch_unwind(|| {
                scope(|s| {
                    drop(s.go(|| panic_meant(1)));
                    for _ in 0..5 {
                        drop(s.go(|| {
                            gort::time::sleep(Duration::from_millis(1));
                            ended.fetch_add(1, SeqCst)
                        }));
                    }
                })
            });
            assert!(caught.is_err());
            assert_eq!(ended.load(SeqCst), 5);
        });
    });
}

#[test]
fn a_panic_that_was_joined_is_not_the_scopes() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let five = scope(|s| {
                let error = s.go(|| panic_meant(9)).join().unwrap_err();
                assert_eq!(error.into_panic().unwrap().downcast_ref::<Meant>(), Some(&Meant(9)));
                5
            });
            assert_eq!(five, 5);
        });
    });
}

#[test]
fn its_own_panic_waits_for_the_others_and_keeps_its_payload() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let ended = AtomicU64::new(0);
            let caught = std::panic::catch_unwind(|| {
                scope(|s| {
                    for _ in 0..5 {
                        drop(s.go(|| {
                            gort::time::sleep(Duration::from_millis(2));
                            ended.fetch_add(1, SeqCst)
                        }));
                    }
                    panic_meant(4)
                })
            });
            assert_eq!(caught.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(4)));
            assert_eq!(ended.load(SeqCst), 5);
        });
    });
}

#[test]
fn results_of_dropped_handles_are_dropped_before_the_scope_returns() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for round in 0..50 {
                let (there, drops) = (AtomicBool::new(true), AtomicUsize::new(0));
                scope(|s| {
                    for i in 0..10 {
                        let (there, drops) = (&there, &drops);
                        let handle = s.go(move || {
                            if (i + round) % 2 == 0 {
                                gort::yield_now();
                            }
                            Borrows { there, drops, panics: false }
                        });
                        if i % 3 == 0 {
                            gort::yield_now();
                        }
                        drop(handle);
                    }
                });
                assert_eq!(drops.load(SeqCst), 10);
                there.store(false, SeqCst);
            }
        });
    });
}

#[test]
fn results_are_gone_even_if_one_panics_when_dropped() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for _ in 0..100 {
                let (there, drops) = (AtomicBool::new(true), AtomicUsize::new(0));
                let mut spawned = 0;
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    scope(|s| {
                        for i in 0..8 {
                            let (there, drops) = (&there, &drops);
                            spawned += 1;
                            drop(s.go(move || {
                                gort::time::sleep(Duration::from_micros(100 * i));
                                Borrows { there, drops, panics: i == 1 }
                            }));
                        }
                    })
                }));
                assert!(caught.is_err());
                there.store(false, SeqCst);
                assert_eq!(drops.load(SeqCst), spawned, "results outlive the scope");
            }
        });
    });
}

#[test]
fn a_handle_inside_a_result_is_gone_too() {
    // The result of one coroutine holds the handles of others, whose results borrow; the outer
    // handle is dropped early, so the inner handles are dropped when the scope ends. The results
    // are large, so that there is time between the end of a closure and its result's arrival.
    for procs in common::PROCS {
        let runtime = builder(procs).stack_size(16 << 20).build().unwrap();
        runtime.run(|| {
            for round in 0..200 {
                let (there, drops) = (AtomicBool::new(true), AtomicUsize::new(0));
                scope(|s| {
                    let (there, drops) = (&there, &drops);
                    drop(s.go(move || {
                        let mut inner = Vec::new();
                        for i in 0..4 {
                            inner.push(s.go(move || {
                                if (i + round) % 3 == 0 {
                                    gort::yield_now();
                                }
                                (Borrows { there, drops, panics: false }, [i as u8; 256 << 10])
                            }));
                        }
                        inner
                    }));
                });
                let dropped = drops.load(SeqCst);
                there.store(false, SeqCst);
                assert_eq!(dropped, 4, "results outlive the scope");
            }
        });
    }
}

#[test]
fn a_forgotten_handle_does_no_harm() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for _ in 0..100 {
                let (there, drops) = (AtomicBool::new(true), AtomicUsize::new(0));
                let ran = AtomicUsize::new(0);
                scope(|s| {
                    for _ in 0..4 {
                        std::mem::forget(s.go(|| {
                            gort::yield_now();
                            ran.fetch_add(1, SeqCst);
                            Borrows { there: &there, drops: &drops, panics: false }
                        }));
                    }
                });
                assert_eq!(ran.load(SeqCst), 4, "the scope returned before its coroutines");
                there.store(false, SeqCst);
                assert_eq!(drops.load(SeqCst), 0, "a forgotten result was dropped");
            }
        });
    });
}

#[test]
fn handles_join_elsewhere_in_the_scope() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let base = 3;
            let sum = scope(|s| {
                let first = s.go(|| base + 1);
                let second = s.go(move || first.join().unwrap() + base);
                second.join().unwrap()
            });
            assert_eq!(sum, 7);
        });
    });
}

#[test]
fn a_cancelled_scope_waits_for_its_coroutines() {
    with_each_procs(|runtime| {
        for _ in 0..30 {
            let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let go_on = Arc::new(AtomicBool::new(false));
            let (started2, ended2, go_on2) = (started.clone(), ended.clone(), go_on.clone());
            let handle = runtime.spawn(move || {
                let local = Cell::new(0);
                let count = AtomicUsize::new(0);
                scope(|s| {
                    for _ in 0..5 {
                        drop(s.go(|| {
                            started2.fetch_add(1, SeqCst);
                            while !go_on2.load(SeqCst) {
                                gort::time::sleep(Duration::from_micros(200));
                            }
                            count.fetch_add(1, SeqCst);
                            ended2.fetch_add(1, SeqCst);
                        }));
                    }
                    local.set(1);
                });
                unreachable!("it was cancelled");
            });
            wait_until("all have started", || started.load(SeqCst) == 5);
            handle.cancel();
            assert!(!handle.is_finished());
            go_on.store(true, SeqCst);
            assert!(handle.join().unwrap_err().is_cancelled());
            assert_eq!(ended.load(SeqCst), 5);
        }
    });
}

#[test]
fn a_result_is_gone_before_the_scope_if_its_join_is_cut_short() {
    // Goal: who is cancelled in `join`, or in `join!`, leaves the result to the scope and not to the coroutine, which would drop it
    // when the scope has returned. Method: the coroutine ends after the join has unwound.
    struct Cut<'a>(&'a AtomicBool);
    impl Drop for Cut<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    fn late<'a>(there: &'a AtomicBool, drops: &'a AtomicUsize, cut: &AtomicBool) -> Borrows<'a> {
        while !cut.load(SeqCst) {
            gort::time::sleep(Duration::from_micros(200));
        }
        Borrows { there, drops, panics: false }
    }
    with_each_procs(|runtime| {
        runtime.run(|| {
            for round in 0..20 {
                let (there, drops, cut) = (AtomicBool::new(true), AtomicUsize::new(0), AtomicBool::new(false));
                let ended = gort::time::timeout(Duration::from_millis(1), || {
                    let late = || late(&there, &drops, &cut);
                    if round % 2 == 0 {
                        gort::join!(|| Cut(&cut), late);
                    } else {
                        scope(|s| {
                            let _cut = Cut(&cut);
                            drop(s.go(late).join());
                        });
                    }
                });
                let dropped = drops.load(SeqCst);
                there.store(false, SeqCst);
                assert!(ended.is_err());
                assert_eq!(dropped, 1, "the result outlives the scope");
            }
        });
    });
}

#[test]
fn waits_for_what_a_result_starts_when_it_is_dropped() {
    // Goal: no coroutine of a scope outlives it, also if it is the drop of an orphaned result that starts it. Method: that forgets the
    // handle, so that nothing but the number of those that run tells of it.
    struct Starts<'scope, 'env> {
        s: &'scope gort::Scope<'scope, 'env>,
        more: usize,
        ran: Arc<AtomicUsize>,
    }
    impl Drop for Starts<'_, '_> {
        fn drop(&mut self) {
            let Starts { s, more, ref ran } = *self;
            let ran = ran.clone();
            std::mem::forget(s.go(move || {
                gort::time::sleep(Duration::from_millis(1));
                ran.fetch_add(1, SeqCst);
                if more > 0 {
                    drop(s.go(move || Starts { s, more: more - 1, ran }));
                }
            }));
        }
    }
    with_each_procs(|runtime| {
        runtime.run(|| {
            for _ in 0..20 {
                let ran = Arc::new(AtomicUsize::new(0));
                scope(|s| drop(s.go(|| Starts { s, more: 2, ran: ran.clone() })));
                assert_eq!(ran.load(SeqCst), 3, "the scope returned before its coroutines");
            }
        });
    });
}

#[test]
fn a_scoped_coroutine_can_be_cancelled() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let drops = AtomicUsize::new(0);
            struct Counts<'a>(&'a AtomicUsize);
            impl Drop for Counts<'_> {
                fn drop(&mut self) {
                    self.0.fetch_add(1, SeqCst);
                }
            }
            scope(|s| {
                // Before its first run, and while parked.
                let counts = Counts(&drops);
                let fresh = s.go(move || {
                    let _counts = counts;
                    gort::park();
                });
                fresh.cancel();
                assert!(fresh.join().unwrap_err().is_cancelled());
                let counts = Counts(&drops);
                let parked = s.go(move || {
                    let _counts = counts;
                    gort::park();
                });
                gort::time::sleep(Duration::from_millis(1));
                parked.cancel();
                drop(parked);
            });
            assert_eq!(drops.load(SeqCst), 2);
        });
    });
}

#[test]
fn ends_with_its_runtime() {
    // The runtime is dropped while a scope waits: all is cancelled, inside out.
    for procs in common::PROCS {
        for _ in 0..20 {
            let runtime = builder(procs).build().unwrap();
            let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (started2, ended2) = (started.clone(), ended.clone());
            drop(runtime.spawn(move || {
                let data = vec![1, 2, 3];
                scope(|s| {
                    for _ in 0..3 {
                        let (started2, counts, data) = (&started2, Counts(ended2.clone()), &data);
                        drop(s.go(move || {
                            let _counts = counts;
                            started2.fetch_add(1, SeqCst);
                            gort::park();
                            assert_eq!(data.len(), 3);
                        }));
                    }
                });
            }));
            wait_until("all have started", || started.load(SeqCst) == 3);
            drop(runtime);
            assert_eq!(ended.load(SeqCst), 3);
        }
    }
}

#[test]
fn outside_a_runtime_it_panics_when_something_is_spawned() {
    common::quiet_panics();
    assert_eq!(scope(|_| 3), 3);
    let caught = std::panic::catch_unwind(|| scope(|s| s.go(|| 1).join().unwrap()));
    let text = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("spawn outside a runtime"), "{text}");
}

#[test]
fn two_threads_worth_of_scopes_at_once() {
    let runtime = builder(2).build().unwrap();
    let sums: Vec<u64> = std::thread::scope(|threads| {
        let all: Vec<_> = (0..4u64)
            .map(|t| {
                let runtime = &runtime;
                threads.spawn(move || {
                    runtime.run(|| {
                        let mut parts = vec![0u64; 50];
                        scope(|s| {
                            for (i, part) in parts.iter_mut().enumerate() {
                                drop(s.go(move || *part = t * i as u64));
                            }
                        });
                        parts.iter().sum()
                    })
                })
            })
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(sums, [0, 1225, 2450, 3675]);
}

#[test]
fn a_mutex_around_the_result_is_enough_to_collect() {
    with_each_procs(|runtime| {
        let all = runtime.run(|| {
            let all = Mutex::new(Vec::new());
            scope(|s| {
                for i in 0..100 {
                    let all = &all;
                    drop(s.go(move || all.lock().unwrap().push(i)));
                }
            });
            drop(go!(|| ()));
            let mut all = all.into_inner().unwrap();
            all.sort_unstable();
            all
        });
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    });
}

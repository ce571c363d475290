//! Groups, `join!` and `race!`: the first failure, panics, cancels, limits, borrowing, drops.

mod common;

use common::{Meant, again_with_fixed_homes, builder, panic_meant, wait_until, with_each_procs};
use gort::context::{self, Context, ContextError};
use gort::group::Group;
use gort::sync::Semaphore;
use gort::{Builder, go, join, race, shield};
use std::cell::Cell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// An error of the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failed {
    Number(u32),
    Ended(ContextError),
}

impl From<ContextError> for Failed {
    fn from(error: ContextError) -> Failed {
        Failed::Ended(error)
    }
}

/// Counts itself while it lives.
struct Lives(Arc<AtomicUsize>);
impl Lives {
    fn new(count: &Arc<AtomicUsize>) -> Lives {
        count.fetch_add(1, SeqCst);
        Lives(count.clone())
    }
}
impl Drop for Lives {
    fn drop(&mut self) {
        // Parks, so that whoever does not wait is found out.
        shield(|| gort::time::sleep(Duration::from_micros(200)));
        self.0.fetch_sub(1, SeqCst);
    }
}

/// What a member does that others are to end.
fn parked<E>() -> Result<(), E> {
    gort::park();
    Ok(())
}

#[test]
fn the_tests_with_fixed_homes() {
    again_with_fixed_homes();
}

#[test]
fn waits_for_all() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let count = Arc::new(AtomicUsize::new(0));
            let group = Group::<Failed>::new();
            for i in 0..100 {
                let count = count.clone();
                group.go(move || {
                    gort::time::sleep(Duration::from_micros(i % 10 * 50));
                    count.fetch_add(1, SeqCst);
                    Ok(())
                });
            }
            group.wait().unwrap();
            assert_eq!(count.load(SeqCst), 100);
            Group::<Failed>::default().wait().unwrap();
        });
    });
}

#[test]
fn the_first_error_ends_the_others() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let living = Arc::new(AtomicUsize::new(0));
            let group = Group::new();
            for i in 0..20 {
                let lives = Lives::new(&living);
                group.go(move || {
                    let _lives = lives;
                    if i == 10 {
                        gort::time::sleep(Duration::from_millis(1));
                        return Err(Failed::Number(i));
                    }
                    // Their errors come second.
                    if i % 2 == 0 {
                        context::current().done().wait();
                        return Err(Failed::Number(i));
                    }
                    gort::park();
                    unreachable!("nobody unparks it")
                });
            }
            let ctx = group.context().clone();
            assert_eq!(group.wait(), Err(Failed::Number(10)));
            assert_eq!(living.load(SeqCst), 0);
            assert_eq!(ctx.cause().unwrap().to_string(), "a member of the group failed");
        });
    });
}

#[test]
fn members_that_come_after_the_end_do_not_run() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let living = Arc::new(AtomicUsize::new(0));
            let group = Group::new();
            group.go(|| Err(Failed::Number(1)));
            group.context().done().wait();
            for _ in 0..10 {
                let lives = Lives::new(&living);
                group.go(move || {
                    drop(lives);
                    unreachable!("the context has ended")
                });
            }
            assert_eq!(group.wait(), Err(Failed::Number(1)));
            assert_eq!(living.load(SeqCst), 0);
        });
    });
}

#[test]
fn a_panic_ends_the_others_and_comes_out_of_wait() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let living = Arc::new(AtomicUsize::new(0));
            let group = Group::<Failed>::new();
            let (begun, begins) = gort::channel::bounded(1);
            for i in 0..10 {
                let (lives, begun, begins) = (Lives::new(&living), begun.clone(), begins.clone());
                group.go(move || {
                    let _lives = lives;
                    match i {
                        3 => begins.recv().map_or(Ok(()), |()| Err(Failed::Number(3))),
                        5 => shield(|| {
                            begun.send(()).unwrap();
                            // After the error, and not ended by it.
                            context::current().done().wait();
                            panic_meant(5)
                        }),
                        _ => parked(),
                    }
                });
            }
            let payload = catch_unwind(AssertUnwindSafe(|| group.wait())).unwrap_err();
            assert_eq!(payload.downcast_ref::<Meant>(), Some(&Meant(5)));
            assert_eq!(living.load(SeqCst), 0);
        });
    });
}

#[test]
fn a_parent_ends_the_group() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (parent, _) = Context::background().with_value(7u32).with_timeout(Duration::from_millis(3));
            let group = Group::with_context(&parent);
            for _ in 0..5 {
                group.go(|| {
                    assert_eq!(context::current().value::<u32>(), Some(&7));
                    gort::park();
                    Ok(())
                });
            }
            assert_eq!(group.wait(), Err(Failed::Ended(ContextError::DeadlineExceeded)));

            let (parent, handle) = Context::background().with_cancel();
            let group = Group::with_context(&parent);
            // Who is done when it ends has not failed.
            group.go(|| Ok::<_, Failed>(()));
            gort::time::sleep(Duration::from_millis(1));
            wait_until("the member has run", || {
                let done = group.try_go(|| Ok(()));
                done.is_ok()
            });
            let quiet = Group::<Failed>::with_context(&parent);
            handle.cancel();
            quiet.wait().unwrap();
            drop(group);
        });
    });
}

#[test]
fn errors_of_any_kind() {
    builder(2).build().unwrap().run(|| {
        let group = Group::<Box<dyn Error + Send + Sync>>::new();
        group.go(|| {
            let number: u32 = "no number".parse()?;
            unreachable!("{number}")
        });
        assert_eq!(group.wait().unwrap_err().to_string(), "invalid digit found in string");
        let group = Group::<std::io::Error>::new();
        group.go(parked);
        group.cancel();
        assert_eq!(group.wait().unwrap_err().to_string(), "the context was cancelled");
    });
}

#[test]
fn a_limit_holds() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let group = Group::<Failed>::new().limit(3);
            for i in 0..60 {
                let (running, most) = (running.clone(), most.clone());
                group.go(move || {
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    gort::time::sleep(Duration::from_micros(i % 5 * 20));
                    running.fetch_sub(1, SeqCst);
                    Ok(())
                });
            }
            group.wait().unwrap();
            assert!((1..=3).contains(&most.load(SeqCst)), "{most:?} at once");
        });
    });
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    gort::run(|| {
        for limit in [0, Semaphore::MAX_PERMITS + 1, usize::MAX] {
            assert!(catch_unwind(|| Group::<Failed>::new().limit(limit)).is_err(), "{limit}");
        }
        drop(Group::<Failed>::new().limit(Semaphore::MAX_PERMITS));
    });
}

#[test]
fn members_are_made_as_a_builder_says() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let named = || Builder::new().name("member").stack_size(16 << 20);
            let check = || match gort::current().name() {
                Some("member") => Ok(()),
                _ => Err(Failed::Number(1)),
            };
            // A frame that the stacks of others have no room for.
            let deep = move || {
                assert_eq!(std::hint::black_box([1_u8; 2 << 20]).len(), 2 << 20);
                check()
            };
            let group = Group::<Failed>::new().limit(1);
            group.go_as(named(), deep).unwrap();
            group.go_as(Builder::new().name("member").own_home(), check).unwrap();
            group.wait().unwrap();
            let mut seen = 0;
            let scoped = Group::<Failed>::new().scope(|group| {
                group
                    .go_as(named(), || {
                        seen += 1;
                        deep()
                    })
                    .unwrap();
                Ok(())
            });
            assert_eq!((scoped, seen), (Ok(()), 1));
            gort::scope(|s| {
                assert_eq!(s.go_as(named(), deep).unwrap().join().unwrap(), Ok(()));
                // Nothing is left of one that cannot be made: the scope ends.
                let error = s.go_as(named().stack_size(2 << 30), || seen += 1).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            });
            assert_eq!(seen, 1);
        });
    });
}

#[test]
fn a_member_that_cannot_be_made_ends_the_group() {
    builder(1).build().unwrap().run(|| {
        let living = Arc::new(AtomicUsize::new(0));
        let group = Group::<Failed>::new();
        group.go(parked);
        let lives = Lives::new(&living);
        let member = move || {
            drop(lives);
            unreachable!("it has no stack")
        };
        let error = group.go_as(Builder::new().stack_size(2 << 30), member).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(living.load(SeqCst), 0);
        assert_eq!(group.wait(), Err(Failed::Ended(ContextError::Cancelled)));
    });
}

#[test]
fn try_go_gives_the_closure_back() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let group = Group::<Failed>::new().limit(2);
            let (sender, receiver) = gort::channel::bounded::<()>(0);
            let wait = || {
                let receiver = receiver.clone();
                move || Ok(_ = receiver.recv())
            };
            assert!(group.try_go(wait()).is_ok() && group.try_go(wait()).is_ok());
            let mut refused = group.try_go(wait()).err();
            assert!(refused.is_some());
            drop(sender);
            while let Some(again) = refused {
                gort::yield_now();
                refused = group.try_go(again).err();
            }
            group.wait().unwrap();
        });
    });
}

#[test]
fn a_go_that_waits_for_its_turn_is_let_in_when_the_others_are_ended() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let group = Arc::new(Group::<Failed>::new().limit(1));
            group.go(parked);
            let theirs = group.clone();
            let waits = go!(move || theirs.go(|| unreachable!("the context has ended")));
            gort::time::sleep(Duration::from_micros(500));
            group.cancel();
            waits.join().unwrap();
            assert_eq!(Arc::into_inner(group).unwrap().wait(), Err(Failed::Ended(ContextError::Cancelled)));
        });
    });
}

#[test]
fn dropping_it_ends_the_members() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let living = Arc::new(AtomicUsize::new(0));
            let group = Group::<Failed>::new();
            for _ in 0..10 {
                let lives = Lives::new(&living);
                group.go(move || {
                    let _lives = lives;
                    parked()
                });
            }
            drop(group);
            wait_until("they end", || living.load(SeqCst) == 0);
        });
    });
}

#[test]
fn a_wait_that_is_cancelled_or_late_ends_the_members() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for cancel in [true, false] {
                let living = Arc::new(AtomicUsize::new(0));
                let group = Group::<Failed>::new();
                let lives = Lives::new(&living);
                group.go(move || {
                    let _lives = lives;
                    parked()
                });
                if cancel {
                    let waits = go!(move || group.wait());
                    gort::time::sleep(Duration::from_micros(300));
                    waits.cancel();
                    assert!(waits.join().unwrap_err().is_cancelled());
                } else {
                    gort::time::timeout(Duration::from_millis(1), || group.wait()).unwrap_err();
                }
                wait_until("it ends", || living.load(SeqCst) == 0);
            }
        });
    });
}

#[test]
fn the_end_of_the_runtime_is_a_failure() {
    for procs in common::PROCS {
        let runtime = builder(procs).build().unwrap();
        let group = runtime.run(|| {
            let group = Group::<Failed>::new();
            group.go(parked);
            group
        });
        drop(runtime);
        // From a plain thread.
        assert_eq!(group.wait(), Err(Failed::Ended(ContextError::Cancelled)));
    }
}

#[test]
fn a_scope_borrows() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let words = ["a".to_string(), "bc".into(), "def".into()];
            let mut lengths = [0; 3];
            let value = Group::<Failed>::new().limit(2).scope(|group| {
                for (word, length) in words.iter().zip(&mut lengths) {
                    group.go(move || {
                        gort::yield_now();
                        *length = word.len();
                        Ok(())
                    });
                }
                Ok(words.len())
            });
            assert_eq!((value, lengths), (Ok(3), [1, 2, 3]));
        });
    });
}

#[test]
fn members_of_a_scope_start_others() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            fn tree(group: gort::group::GroupScope<'_, '_, Failed>, count: &'static AtomicUsize, depth: u32) {
                if depth > 0 {
                    for _ in 0..2 {
                        group.go(move || {
                            count.fetch_add(1, SeqCst);
                            tree(group, count, depth - 1);
                            Ok(())
                        });
                    }
                }
            }
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let before = COUNT.load(SeqCst);
            let result = Group::new().scope(|group| {
                tree(group, &COUNT, 6);
                Ok(())
            });
            assert_eq!(result, Ok(()));
            assert_eq!(COUNT.load(SeqCst) - before, 126);
        });
    });
}

#[test]
fn a_failure_ends_the_body_of_a_scope_and_the_other_way_round() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let living = Arc::new(AtomicUsize::new(0));
            let body_waits = Group::new().scope(|group| -> Result<(), Failed> {
                let _lives = Lives::new(&living);
                group.go(|| Err(Failed::Number(1)));
                gort::park();
                unreachable!("nobody unparks it")
            });
            assert_eq!((body_waits, living.load(SeqCst)), (Err(Failed::Number(1)), 0));
            let body_fails = Group::new().scope(|group| -> Result<(), Failed> {
                let lives = Lives::new(&living);
                group.go(|| {
                    let _lives = lives;
                    parked()
                });
                Err(Failed::Number(2))
            });
            assert_eq!((body_fails, living.load(SeqCst)), (Err(Failed::Number(2)), 0));
        });
    });
}

#[test]
fn a_scope_that_is_left_by_a_panic_or_a_cancel_ends_its_members_first() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let living = Arc::new(AtomicUsize::new(0));
            let parks = |lives: Lives| {
                move || {
                    let _lives = lives;
                    parked()
                }
            };
            // The body panics.
            let panics = catch_unwind(AssertUnwindSafe(|| {
                Group::<Failed>::new().scope(|group| -> Result<(), Failed> {
                    group.go(parks(Lives::new(&living)));
                    panic_meant(1)
                })
            }));
            assert_eq!(panics.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(1)));
            assert_eq!(living.load(SeqCst), 0);
            // A member does.
            let panics = catch_unwind(AssertUnwindSafe(|| {
                Group::<Failed>::new().scope(|group| {
                    group.go(parks(Lives::new(&living)));
                    group.go(|| panic_meant(2));
                    Ok(())
                })
            }));
            assert_eq!(panics.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(2)));
            assert_eq!(living.load(SeqCst), 0);
            // Who waits for the members is cancelled, or has no time.
            let theirs = living.clone();
            let waits = go!(move || Group::<Failed>::new().scope(|group| {
                group.go(parks(Lives::new(&theirs)));
                Ok(())
            }));
            wait_until("it is there", || living.load(SeqCst) == 1);
            waits.cancel();
            assert!(waits.join().unwrap_err().is_cancelled());
            assert_eq!(living.load(SeqCst), 0);
            let late = gort::time::timeout(Duration::from_millis(2), || {
                Group::<Failed>::new().scope(|group| {
                    group.go(parks(Lives::new(&living)));
                    Ok(())
                })
            });
            assert!(late.is_err());
            assert_eq!(living.load(SeqCst), 0);
        });
    });
}

#[test]
fn join_runs_all_and_borrows() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let text = String::from("borrowed");
            let (mut a, mut b) = (0, 0);
            // The first is the caller, and need not be `Send`.
            let here = Rc::new(Cell::new(gort::current().id()));
            let values = join!(
                || {
                    gort::yield_now();
                    here.get() == gort::current().id()
                },
                || a = text.len(),
                || {
                    b = 2 * text.len();
                    gort::current().id()
                },
            );
            assert!(values.0 && values.2 != here.get());
            assert_eq!((a, b), (8, 16));
            let twelve = join!(|| 1, || 2, || 3, || 4, || 5, || 6, || 7, || 8, || 9, || 10, || 11, || 12);
            assert_eq!(twelve, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
            fn fib(n: u64) -> u64 {
                if n < 2 {
                    return n;
                }
                let (a, b) = join!(|| fib(n - 1), || fib(n - 2));
                a + b
            }
            assert_eq!(fib(15), 610);
        });
    });
}

#[test]
fn panics_come_out_of_a_join_when_all_have_ended() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for bad in 0..3 {
                let living = Arc::new(AtomicUsize::new(0));
                let run = |me: u32| {
                    let lives = Lives::new(&living);
                    move || {
                        let _lives = lives;
                        gort::time::sleep(Duration::from_micros(100));
                        if me >= bad {
                            panic_meant(me.into());
                        }
                    }
                };
                let joined = catch_unwind(AssertUnwindSafe(|| join!(run(0), run(1), run(2))));
                assert_eq!(joined.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(bad.into())));
                assert_eq!(living.load(SeqCst), 0);
            }
        });
    });
}

#[test]
fn the_first_to_end_wins_and_the_others_are_gone() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for winner in 0..3 {
                let living = Arc::new(AtomicUsize::new(0));
                let run = |me: u32| {
                    let lives = &living;
                    move || {
                        let _lives = Lives::new(lives);
                        if me == winner {
                            gort::yield_now();
                        } else {
                            gort::park();
                        }
                        me
                    }
                };
                assert_eq!(race!(run(0), run(1), run(2)), winner);
                assert_eq!(living.load(SeqCst), 0);
            }
        });
    });
}

#[test]
fn panics_of_a_race_are_not_lost() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            // The first to end panics.
            let raced = catch_unwind(|| race!(|| panic_meant(1), || gort::park()));
            assert_eq!(raced.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(1)));
            // A loser does.
            let (begun, begins) = gort::channel::bounded(1);
            let raced = catch_unwind(AssertUnwindSafe(|| {
                race!(|| begins.recv().unwrap(), || {
                    struct Panics;
                    impl Drop for Panics {
                        fn drop(&mut self) {
                            if !std::thread::panicking() {
                                panic_meant(2);
                            }
                        }
                    }
                    let _panics = Panics;
                    begun.send(()).unwrap();
                    // Not ended by the cancel, so it panics as it returns.
                    shield(|| gort::time::sleep(Duration::from_millis(1)));
                },)
            }));
            assert_eq!(raced.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(2)));
        });
    });
}

#[test]
fn a_race_that_is_cancelled_or_late_ends_all() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let living = Arc::new(AtomicUsize::new(0));
            let theirs = living.clone();
            let waits = go!(move || {
                let parks = || {
                    let _lives = Lives::new(&theirs);
                    gort::park();
                };
                race!(parks, parks)
            });
            wait_until("both run", || living.load(SeqCst) == 2);
            waits.cancel();
            assert!(waits.join().unwrap_err().is_cancelled());
            assert_eq!(living.load(SeqCst), 0);
            let start = Instant::now();
            gort::time::timeout(Duration::from_millis(2), || race!(gort::park, gort::park)).unwrap_err();
            assert!(start.elapsed() < common::PATIENCE);
        });
    });
}

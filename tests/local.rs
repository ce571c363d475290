//! `coroutine_local!` and labels: one value for each coroutine, its life, its end, inheritance, plain threads.

mod common;

use common::{Meant, again_with_fixed_homes, builder, panic_again, panic_meant, with_each_procs};
use gort::{Builder, coroutine_local, go};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

coroutine_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Not `Send`.
    static RC: Rc<Cell<u64>> = Rc::new(Cell::new(1));
    static TEXT: RefCell<String> = RefCell::new("new".into())
}

#[test]
fn the_tests_with_fixed_homes() {
    again_with_fixed_homes();
}

#[test]
fn each_coroutine_has_its_own() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            COUNT.set(1000);
            let handles: Vec<_> = (0..100)
                .map(|i| {
                    go!(move || {
                        assert_eq!((COUNT.get(), TEXT.take()), (0, "new".into()));
                        let mine = RC.with(Rc::clone);
                        for round in 0..20 {
                            COUNT.set(COUNT.get() + i);
                            RC.with(|rc| rc.set(rc.get() + 1));
                            match round % 3 {
                                0 => gort::yield_now(),
                                1 => gort::time::sleep(Duration::from_micros(i % 7 * 10)),
                                _ => {}
                            }
                        }
                        assert!(RC.with(|rc| Rc::ptr_eq(rc, &mine)));
                        (COUNT.get(), mine.get())
                    })
                })
                .collect();
            for (i, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().unwrap(), (20 * i as u64, 21));
            }
            assert_eq!(COUNT.get(), 1000);
        });
    });
}

#[test]
fn local_coroutines_have_their_own() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            COUNT.set(5);
            let handles: Vec<_> = (0..10).map(|i| gort::go_local!(move || COUNT.replace(i))).collect();
            assert!(handles.into_iter().all(|handle| handle.join().unwrap() == 0));
            assert_eq!(COUNT.get(), 5);
        });
    });
}

#[test]
fn a_closure_may_wait_with_the_value_in_hand() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let handles: Vec<_> = (0..20)
                .map(|i| {
                    go!(move || {
                        TEXT.with_borrow_mut(|text| {
                            for _ in 0..5 {
                                text.push('x');
                                gort::time::sleep(Duration::from_micros(50 * i));
                            }
                            // Others of the coroutine are made, and the table grows, meanwhile.
                            COUNT.set(i);
                            RC.with(|rc| rc.set(i));
                            text.clone()
                        })
                    })
                })
                .collect();
            assert!(handles.into_iter().all(|handle| handle.join().unwrap() == "newxxxxx"));
        });
    });
}

#[test]
fn what_makes_a_value_may_wait_and_use_others() {
    coroutine_local! {
        static INNER: Cell<u32> = const { Cell::new(3) };
        static OUTER: u32 = {
            gort::time::sleep(Duration::from_micros(100));
            INNER.get() + 1
        };
    }
    builder(2).build().unwrap().run(|| {
        let handles: Vec<_> = (0..20).map(|_| go!(|| OUTER.with(|outer| *outer))).collect();
        assert!(handles.into_iter().all(|handle| handle.join().unwrap() == 4));
    });
}

#[test]
fn a_value_that_uses_itself_while_it_is_made_is_replaced() {
    coroutine_local!(static DROPS: Cell<u32> = const { Cell::new(0) });
    struct Counted(u32);
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPS.set(DROPS.get() + self.0);
        }
    }
    coroutine_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
    coroutine_local!(static SELF: Counted = {
        if DEPTH.replace(1) == 0 {
            // Makes one, in here.
            assert_eq!(SELF.with(|counted| counted.0), 1);
            Counted(10)
        } else {
            Counted(1)
        }
    });
    let go = || {
        assert_eq!(SELF.with(|counted| counted.0), 10);
        // The inner one has gone.
        assert_eq!(DROPS.get(), 1);
    };
    builder(1).build().unwrap().run(go);
    // std has it the same way.
    std::thread::spawn(go).join().unwrap();
}

#[test]
fn what_panics_makes_no_value() {
    coroutine_local!(static FIRST: Cell<bool> = const { Cell::new(true) });
    coroutine_local!(static FAILS_ONCE: u32 = if FIRST.replace(false) { panic_meant(1) } else { 7 });
    builder(1).build().unwrap().run(|| {
        std::panic::catch_unwind(|| FAILS_ONCE.with(|_| ())).unwrap_err().downcast::<Meant>().unwrap();
        assert_eq!(FAILS_ONCE.with(|value| *value), 7);
    });
}

#[test]
fn set_makes_no_first_value() {
    coroutine_local! {
        static CELL: Cell<u32> = unreachable!("set before");
        static REF_CELL: RefCell<u32> = unreachable!("set before");
    }
    let go = || {
        CELL.set(1);
        REF_CELL.set(2);
        assert_eq!((CELL.get(), REF_CELL.replace(3)), (1, 2));
        CELL.set(4);
        REF_CELL.set(5);
        assert_eq!((CELL.take(), REF_CELL.take(), CELL.get()), (4, 5, 0));
    };
    builder(1).build().unwrap().run(go);
    std::thread::spawn(go).join().unwrap();
}

/// What is made and dropped.
static MADE: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);
/// The tests that count run one at a time.
static COUNTS: Mutex<()> = Mutex::new(());

struct Counted;
impl Counted {
    fn new() -> Counted {
        MADE.fetch_add(1, SeqCst);
        Counted
    }
}
impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}
coroutine_local!(static COUNTED: Counted = Counted::new());

fn counts(test: impl FnOnce()) {
    let _one = COUNTS.lock().unwrap_or_else(|e| e.into_inner());
    let (made, dropped) = (MADE.load(SeqCst), DROPPED.load(SeqCst));
    test();
    assert_eq!(MADE.load(SeqCst) - made, DROPPED.load(SeqCst) - dropped, "made and dropped");
}

#[test]
fn values_are_dropped_before_a_join_returns() {
    counts(|| {
        with_each_procs(|runtime| {
            runtime.run(|| {
                for i in 0..200 {
                    let before = DROPPED.load(SeqCst);
                    let handle = go!(move || COUNTED.with(|_| if i % 2 == 0 {
                        panic_meant(1)
                    }));
                    assert_eq!(handle.join().is_err(), i % 2 == 0);
                    assert_eq!(DROPPED.load(SeqCst), before + 1);
                }
            });
        });
    });
}

#[test]
fn values_of_many_coroutines_are_dropped() {
    counts(|| {
        with_each_procs(|runtime| {
            let before = MADE.load(SeqCst);
            runtime.run(|| {
                gort::scope(|s| {
                    for i in 0..3000 {
                        s.go(move || {
                            COUNTED.with(|_| {
                                if i % 10 == 0 {
                                    gort::yield_now()
                                }
                            });
                            assert_eq!(TEXT.with_borrow(String::len), 3);
                        });
                    }
                });
            });
            assert_eq!(MADE.load(SeqCst), before + 3000);
        });
    });
}

#[test]
fn values_of_cancelled_coroutines_are_dropped() {
    counts(|| {
        with_each_procs(|runtime| {
            runtime.run(|| {
                let handle = go!(|| COUNTED.with(|_| gort::park()));
                while MADE.load(SeqCst) == DROPPED.load(SeqCst) {
                    gort::yield_now();
                }
                handle.cancel();
                assert!(handle.join().unwrap_err().is_cancelled());
                // And by the end of the runtime.
                drop(go!(|| COUNTED.with(|_| gort::park())));
                while MADE.load(SeqCst) == DROPPED.load(SeqCst) {
                    gort::yield_now();
                }
            });
        });
    });
}

#[test]
fn destructors_run_in_reverse_order_on_the_coroutine_itself() {
    struct Noted(&'static str);
    impl Drop for Noted {
        fn drop(&mut self) {
            // A parking destructor comes back.
            gort::time::sleep(Duration::from_micros(200));
            let id = gort::try_current().map(|coroutine| coroutine.id().as_u64());
            NOTES.lock().unwrap().push((self.0, id.unwrap_or(0)));
        }
    }
    static NOTES: Mutex<Vec<(&str, u64)>> = Mutex::new(Vec::new());
    coroutine_local! {
        static A: Noted = Noted("a");
        static B: Noted = Noted("b");
        static C: Noted = Noted("c");
    }
    with_each_procs(|runtime| {
        NOTES.lock().unwrap().clear();
        let id = runtime.run(|| {
            let handle = go!(|| {
                B.with(|_| ());
                C.with(|_| ());
                A.with(|_| ());
            });
            let id = handle.id();
            handle.join().unwrap();
            id.as_u64()
        });
        assert_eq!(*NOTES.lock().unwrap(), [("a", id), ("c", id), ("b", id)]);
    });
}

#[test]
fn destructors_use_other_keys_and_make_new_values() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct First;
    impl Drop for First {
        fn drop(&mut self) {
            assert!(FIRST.try_with(|_| ()).is_err());
            // Not made yet; plain data stays to the end.
            SECOND.with(|_| ());
            PLAIN.set(PLAIN.get() + 1);
        }
    }
    struct Second;
    impl Drop for Second {
        fn drop(&mut self) {
            assert!(FIRST.try_with(|_| ()).is_err());
            assert!(std::panic::catch_unwind(|| SECOND.with(|_| ())).is_err());
            SEEN.fetch_add(PLAIN.get(), SeqCst);
        }
    }
    coroutine_local! {
        static PLAIN: Cell<usize> = const { Cell::new(10) };
        static FIRST: First = First;
        static SECOND: Second = Second;
    }
    let go = || {
        PLAIN.set(20);
        FIRST.with(|_| ());
    };
    builder(1).build().unwrap().run(go);
    assert_eq!(SEEN.load(SeqCst), 21);
    // As on a thread.
    std::thread::spawn(go).join().unwrap();
    assert_eq!(SEEN.load(SeqCst), 42);
}

#[test]
fn a_destructor_that_panics_keeps_nobody_from_his() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic_again();
        }
    }
    coroutine_local!(static PANICS: Panics = Panics);
    counts(|| {
        builder(2).build().unwrap().run(|| {
            let handle = go!(|| {
                COUNTED.with(|_| ());
                PANICS.with(|_| ());
                5
            });
            assert_eq!(handle.join().unwrap(), 5);
        });
    });
}

#[test]
fn destructors_are_not_cancelled() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    struct Sleeps;
    impl Drop for Sleeps {
        fn drop(&mut self) {
            gort::time::sleep(Duration::from_millis(1));
            ENDED.fetch_add(1, SeqCst);
        }
    }
    coroutine_local!(static SLEEPS: Sleeps = Sleeps);
    with_each_procs(|runtime| {
        let before = ENDED.load(SeqCst);
        runtime.run(|| {
            let (begins, begun) = gort::channel::bounded(1);
            let handle = go!(move || {
                SLEEPS.with(|_| {
                    begins.send(()).unwrap();
                    gort::park();
                });
            });
            begun.recv().unwrap();
            handle.cancel();
            assert!(handle.join().unwrap_err().is_cancelled());
        });
        assert_eq!(ENDED.load(SeqCst), before + 1);
    });
}

#[test]
fn results_and_closures_that_nobody_wants_use_values_too() {
    struct Uses;
    impl Drop for Uses {
        fn drop(&mut self) {
            COUNTED.with(|_| COUNT.set(COUNT.get() + 1));
        }
    }
    counts(|| {
        with_each_procs(|runtime| {
            runtime.run(|| {
                for _ in 0..50 {
                    // The result is dropped after the coroutine's values.
                    drop(go!(|| {
                        COUNTED.with(|_| ());
                        gort::yield_now();
                        Uses
                    }));
                    // A closure that never runs.
                    let uses = Uses;
                    let handle = go!(move || drop(uses));
                    handle.cancel();
                    let _ = handle.join();
                }
            });
        });
    });
}

#[test]
fn a_timer_stopped_unbegun_drops_its_closure_in_the_stopper() {
    struct Uses;
    impl Drop for Uses {
        fn drop(&mut self) {
            COUNT.set(COUNT.get() + 1);
        }
    }
    builder(2).build().unwrap().run(|| {
        let uses = Uses;
        let timer = gort::time::Timer::after_func(Duration::from_secs(60), move || drop(uses));
        assert!(timer.stop());
        assert_eq!(COUNT.get(), 1);
    });
}

#[test]
fn works_inside_bounds() {
    builder(2).build().unwrap().run(|| {
        let over = gort::time::timeout(Duration::from_millis(2), || {
            COUNT.set(8);
            gort::time::timeout(Duration::from_secs(60), || COUNT.with(|_| gort::park())).unwrap();
        });
        assert!(over.is_err());
        assert_eq!(COUNT.get(), 8);
        assert_eq!(gort::shield(|| COUNT.replace(9)), 8);
    });
}

#[test]
fn plain_threads_have_their_own() {
    counts(|| {
        COUNT.set(77);
        let go = |n| {
            assert_eq!(COUNT.replace(n), 0);
            COUNTED.with(|_| ());
            TEXT.with_borrow_mut(|text| text.push('!'));
            (COUNT.get(), TEXT.replace(String::new()))
        };
        let threads: Vec<_> = (1..5).map(|n| std::thread::spawn(move || go(n))).collect();
        for (n, thread) in (1..5).zip(threads) {
            assert_eq!(thread.join().unwrap(), (n, "new!".into()));
        }
        // A coroutine has nothing of the thread that waits for it, nor of the one that runs it.
        builder(1).build().unwrap().run(|| assert_eq!(COUNT.replace(1), 0));
        assert_eq!(COUNT.get(), 77);
    });
}

#[derive(Debug)]
struct Traced(u32, Arc<AtomicUsize>);
impl Clone for Traced {
    fn clone(&self) -> Traced {
        self.1.fetch_add(1, SeqCst);
        Traced(self.0 + 1, self.1.clone())
    }
}
impl Drop for Traced {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

coroutine_local! {
    /// Inherited, and documented before and after.
    #[inherit]
    #[allow(dead_code, reason = "any attribute")]
    static TRACED: RefCell<Option<Traced>> = RefCell::default();
    #[inherit] static NUMBER: Cell<u64> = const { Cell::new(0) };
}

#[test]
fn inherits_clones_where_both_sides_ask_for_it() {
    with_each_procs(|runtime| {
        let living = Arc::new(AtomicUsize::new(1));
        let theirs = living.clone();
        runtime.run(move || {
            TRACED.set(Some(Traced(0, theirs.clone())));
            NUMBER.set(5);
            COUNT.set(6);
            let seen = || (TRACED.with_borrow(|t| t.as_ref().map(|t| t.0)), NUMBER.get(), COUNT.get());
            assert_eq!(go!(seen).join().unwrap(), (None, 0, 0));
            assert_eq!(Builder::new().inherit().spawn(seen).unwrap().join().unwrap(), (Some(1), 5, 0));
            assert_eq!(Builder::new().inherit().spawn_local(seen).unwrap().join().unwrap(), (Some(1), 5, 0));
            let handle = Builder::new().inherit().spawn(move || {
                NUMBER.set(NUMBER.get() + 1);
                let grandchild = Builder::new().inherit().spawn(seen).unwrap().join().unwrap();
                (grandchild, Builder::new().spawn(seen).unwrap().join().unwrap())
            });
            assert_eq!(handle.unwrap().join().unwrap(), ((Some(2), 6, 0), (None, 0, 0)));
            // What never begins gives its clones back.
            let unbegun = Builder::new().inherit().spawn(gort::park).unwrap();
            unbegun.cancel();
            let _ = unbegun.join();
            // Nor does a spawn that fails keep them.
            Builder::new().inherit().stack_size(usize::MAX).spawn(|| ()).unwrap_err();
            assert_eq!(NUMBER.get(), 5);
            assert_eq!(theirs.load(SeqCst), 1);
        });
        assert_eq!(living.load(SeqCst), 0);
    });
}

#[test]
fn a_clone_that_panics_fails_the_spawn_and_leaks_nothing() {
    struct Fragile(Arc<()>);
    impl Clone for Fragile {
        fn clone(&self) -> Fragile {
            panic_meant(4)
        }
    }
    coroutine_local! {
        #[inherit]
        static FINE: RefCell<Option<Arc<()>>> = RefCell::default();
        #[inherit]
        static FRAGILE: RefCell<Option<Fragile>> = RefCell::default();
    }
    builder(1).build().unwrap().run(|| {
        let arc = Arc::new(());
        FINE.set(Some(arc.clone()));
        FRAGILE.set(Some(Fragile(arc.clone())));
        assert_eq!(FRAGILE.with_borrow(|f| f.as_ref().map(|f| Arc::strong_count(&f.0))), Some(3));
        let spawn = || drop(Builder::new().inherit().spawn(|| ()));
        std::panic::catch_unwind(spawn).unwrap_err().downcast::<Meant>().unwrap();
        assert_eq!(Arc::strong_count(&arc), 3);
    });
}

#[test]
fn labels_are_seen_replaced_and_inherited() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            assert!(gort::current().labels().is_empty());
            assert!(!format!("{:?}", gort::current()).contains("labels"));
            let show = || gort::current().labels().to_string();
            let outer = Builder::new().label("a", "1").label("b", "2").label("a", "3");
            let inside = outer.clone().name("outer").inherit().spawn(move || {
                let plain = go!(show).join().unwrap();
                let inherits = Builder::new().inherit();
                let same = inherits.clone().spawn(show).unwrap().join().unwrap();
                let more = inherits.label("b", "9").label("c", "4").spawn(show).unwrap().join().unwrap();
                assert_eq!(gort::current().name(), Some("outer"));
                (show(), plain, same, more)
            });
            let inside = inside.unwrap();
            assert!(format!("{inside:?}").contains(r#"labels: {"a": "3", "b": "2"}"#), "{inside:?}");
            let expected = ["{a=3, b=2}", "{}", "{a=3, b=2}", "{a=3, b=9, c=4}"].map(String::from);
            let (own, plain, same, more) = inside.join().unwrap();
            assert_eq!([own, plain, same, more], expected);
            // They outlive the coroutine, with its handle.
            let gone = outer.spawn(gort::current).unwrap().join().unwrap();
            assert_eq!(gone.labels().get("a"), Some("3"));
        });
    });
}

//! Cancelling: when it takes effect, what it leaves alone, what it runs.

mod common;

use common::{Counts, Meant, builder, panic_meant, wait_until, with_each_procs};
use gort::{JoinError, go, shield};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Counts its drops.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drops {
    fn one(&self) -> Counts {
        Counts(self.0.clone())
    }
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

#[test]
fn before_the_first_run_the_closure_is_dropped_and_never_runs() {
    // From inside, where the spawner keeps the only P, the coroutine cannot have run yet.
    let runtime = builder(1).preemption(false).build().unwrap();
    let drops = Drops::default();
    runtime.run(|| {
        for _ in 0..100 {
            let counts = drops.one();
            let handle = go!(move || {
                let _counts = counts;
                unreachable!("it was cancelled before")
            });
            handle.cancel();
            let outcome: Result<(), JoinError> = handle.join();
            assert!(outcome.unwrap_err().is_cancelled());
        }
    });
    assert_eq!(drops.count(), 100);
}

#[test]
fn in_every_kind_of_park_it_unwinds() {
    with_each_procs(|runtime| {
        for kind in 0..6 {
            let (drops, parked) = (Drops::default(), Arc::new(AtomicBool::new(false)));
            let (counts, parked2) = (drops.one(), parked.clone());
            let handle = runtime.spawn(move || {
                let _counts = counts;
                let forever = Duration::from_secs(1000);
                parked2.store(true, SeqCst);
                match kind {
                    0 => gort::park(),
                    1 => gort::park_timeout(forever),
                    2 => gort::time::sleep(forever),
                    3 => loop {
                        gort::yield_now();
                    },
                    4 => drop(go!(move || gort::time::sleep(forever)).join()),
                    _ => drop(go!(move || gort::time::sleep(forever)).join_timeout(forever)),
                }
                unreachable!("it was cancelled");
            });
            wait_until("it runs", || parked.load(SeqCst));
            handle.cancel();
            assert!(handle.join().unwrap_err().is_cancelled(), "kind {kind}");
            assert_eq!(drops.count(), 1);
        }
    });
}

#[test]
fn at_any_moment_it_ends_exactly_once() {
    // The cancel comes at a random time of a coroutine that parks in every way.
    let seed = common::seed();
    with_each_procs(|runtime| {
        let mut random = common::Random::new(seed);
        for _ in 0..300 {
            let drops = Drops::default();
            let counts = drops.one();
            let handle = runtime.spawn(move || {
                let _counts = counts;
                for _ in 0..20 {
                    gort::yield_now();
                    gort::time::sleep(Duration::from_micros(20));
                    gort::park_timeout(Duration::from_micros(10));
                    let _ = go!(|| ()).join();
                }
                7
            });
            common::compute(Duration::from_micros(random.below(1500)));
            handle.cancel();
            match handle.join() {
                Ok(value) => assert_eq!(value, 7),
                Err(error) => assert!(error.is_cancelled()),
            }
            assert_eq!(drops.count(), 1);
        }
    });
}

#[test]
fn a_shield_puts_it_off() {
    with_each_procs(|runtime| {
        let [inside, asked, done] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
        let (inside2, asked2, done2) = (inside.clone(), asked.clone(), done.clone());
        let handle = runtime.spawn(move || {
            shield(|| {
                shield(gort::yield_now);
                inside2.store(true, SeqCst);
                let mut parks = 0;
                while parks < 20 {
                    gort::time::sleep(Duration::from_micros(200));
                    gort::yield_now();
                    parks += u32::from(asked2.load(SeqCst));
                }
                done2.store(true, SeqCst);
            });
            gort::yield_now();
            unreachable!("the first park after the shield unwinds");
        });
        wait_until("inside", || inside.load(SeqCst));
        handle.cancel();
        asked.store(true, SeqCst);
        assert!(handle.join().unwrap_err().is_cancelled());
        assert!(done.load(SeqCst));
    });
}

#[test]
fn one_that_does_not_park_any_more_returns_its_value() {
    with_each_procs(|runtime| {
        let handle = runtime.spawn(|| {
            gort::current();
            5
        });
        wait_until("it has ended", || handle.is_finished());
        handle.cancel();
        assert_eq!(handle.join().unwrap(), 5);
    });
}

#[test]
fn caught_it_comes_again_at_the_next_park() {
    with_each_procs(|runtime| {
        let ready = Arc::new(AtomicBool::new(false));
        let ready2 = ready.clone();
        let times = Arc::new(AtomicUsize::new(0));
        let times2 = times.clone();
        let handle = runtime.spawn(move || {
            ready2.store(true, SeqCst);
            for _ in 0..3 {
                let caught = std::panic::catch_unwind(|| gort::time::sleep(Duration::from_secs(1000)));
                assert!(caught.is_err());
                times2.fetch_add(1, SeqCst);
            }
            9
        });
        wait_until("it runs", || ready.load(SeqCst));
        handle.cancel();
        assert_eq!(handle.join().unwrap(), 9);
        assert_eq!(times.load(SeqCst), 3);
    });
}

#[test]
fn while_it_panics_it_is_left_alone() {
    struct Parks(Arc<AtomicBool>, Arc<AtomicUsize>);
    impl Drop for Parks {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
            for _ in 0..10 {
                gort::time::sleep(Duration::from_micros(300));
            }
            self.1.fetch_add(1, SeqCst);
        }
    }
    with_each_procs(|runtime| {
        for _ in 0..10 {
            let (inside, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let parks = Parks(inside.clone(), done.clone());
            let handle = runtime.spawn(move || {
                let _parks = parks;
                panic_meant(3)
            });
            wait_until("inside the destructor", || inside.load(SeqCst));
            handle.cancel();
            let payload = handle.join().unwrap_err().into_panic().expect("it panicked, and was not cancelled");
            assert_eq!(payload.downcast_ref::<Meant>(), Some(&Meant(3)));
            assert_eq!(done.load(SeqCst), 1);
        }
    });
}

#[test]
fn destructors_may_park_while_it_unwinds() {
    struct Parks(Drops);
    impl Drop for Parks {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            gort::time::sleep(Duration::from_micros(300));
            gort::yield_now();
            assert_eq!(go!(|| 5).join().unwrap(), 5);
            self.0.0.fetch_add(1, SeqCst);
        }
    }
    with_each_procs(|runtime| {
        let (drops, inside) = (Drops::default(), Arc::new(AtomicUsize::new(0)));
        let handles: Vec<_> = (0..20)
            .map(|_| {
                let (parks, inside) = (Parks(drops.clone()), inside.clone());
                runtime.spawn(move || {
                    let _parks = parks;
                    inside.fetch_add(1, SeqCst);
                    gort::park();
                })
            })
            .collect();
        wait_until("all run", || inside.load(SeqCst) == 20);
        handles.iter().for_each(|handle| handle.cancel());
        for handle in handles {
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        assert_eq!(drops.count(), 20);
    });
}

#[test]
fn a_panic_in_a_destructor_that_is_caught_there_changes_nothing() {
    struct Catches(Drops);
    impl Drop for Catches {
        fn drop(&mut self) {
            let caught = std::panic::catch_unwind(|| {
                gort::time::sleep(Duration::from_micros(50));
                panic_meant(6)
            });
            assert!(caught.is_err());
            self.0.0.fetch_add(1, SeqCst);
        }
    }
    with_each_procs(|runtime| {
        let (drops, inside) = (Drops::default(), Arc::new(AtomicBool::new(false)));
        let (catches, inside2) = (Catches(drops.clone()), inside.clone());
        let handle = runtime.spawn(move || {
            let _catches = catches;
            inside2.store(true, SeqCst);
            gort::park();
        });
        wait_until("it runs", || inside.load(SeqCst));
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_panic_of_the_closures_own_drop_ends_there() {
    // Cancelled before its first run; what it took along panics when dropped.
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic_meant(8)
        }
    }
    let runtime = builder(1).build().unwrap();
    runtime.run(|| {
        let (panics, drops) = (Panics, Drops::default());
        let counts = drops.one();
        let handle = go!(move || drop((panics, counts)));
        handle.cancel();
        assert!(handle.join().is_err());
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_join_that_is_cancelled_leaves_the_joined_one_alone() {
    with_each_procs(|runtime| {
        let (done, inside) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (done2, inside2) = (done.clone(), inside.clone());
        let handle = runtime.spawn(move || {
            let inner = go!(move || {
                gort::time::sleep(Duration::from_millis(5));
                done2.store(true, SeqCst);
            });
            inside2.store(true, SeqCst);
            inner.join().unwrap();
        });
        wait_until("it joins", || inside.load(SeqCst));
        handle.cancel();
        match handle.join() {
            Err(error) => assert!(error.is_cancelled()),
            Ok(()) => assert!(done.load(SeqCst)),
        }
        wait_until("the inner one ends by itself", || done.load(SeqCst));
    });
}

#[test]
fn many_may_cancel_at_once() {
    let runtime = builder(2).build().unwrap();
    for _ in 0..100 {
        let drops = Drops::default();
        let counts = drops.one();
        let handle = runtime.spawn(move || {
            let _counts = counts;
            gort::park()
        });
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| handle.cancel());
            }
        });
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(drops.count(), 1);
    }
}

#[test]
fn a_runtime_that_ends_cancels_nobody_else() {
    // Records of coroutines are used again across runtimes; a request must not reach the next user.
    let stop = Arc::new(AtomicBool::new(false));
    let other = builder(2).name("steady").build().unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            other.spawn(move || {
                let mut count = 0u64;
                while !stop.load(SeqCst) {
                    let handles: Vec<_> = (0..100)
                        .map(|i| {
                            go!(move || {
                                gort::yield_now();
                                i
                            })
                        })
                        .collect();
                    for (i, handle) in handles.into_iter().enumerate() {
                        assert_eq!(handle.join().expect("nobody cancels it"), i);
                    }
                    count += 1;
                }
                count
            })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(2 * common::factor());
    while Instant::now() < until {
        let short = builder(2).build().unwrap();
        short.run(|| {
            for _ in 0..300 {
                drop(go!(gort::park));
            }
            gort::yield_now();
        });
        drop(short);
    }
    stop.store(true, SeqCst);
    for worker in workers {
        assert!(worker.join().unwrap() > 0);
    }
}

#[test]
fn the_panic_hook_hears_of_panics_only() {
    // Method: a hook that counts, which is the whole process's.
    if !common::is_child("the_panic_hook_hears_of_panics_only") {
        return;
    }
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        CALLS.fetch_add(1, SeqCst);
    }));
    with_each_procs(|runtime| {
        let handle = runtime.spawn(gort::park);
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        let parked = Arc::new(AtomicBool::new(false));
        let theirs = parked.clone();
        let handle = runtime.spawn(move || {
            theirs.store(true, SeqCst);
            gort::park();
        });
        wait_until("it runs", || parked.load(SeqCst));
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        runtime.run(|| assert!(gort::time::timeout(Duration::from_millis(1), gort::park).is_err()));
        let ends = builder(runtime.procs()).build().unwrap();
        let parked = Arc::new(AtomicBool::new(false));
        let theirs = parked.clone();
        let handle = ends.spawn(move || {
            theirs.store(true, SeqCst);
            gort::park();
        });
        wait_until("it runs", || parked.load(SeqCst));
        drop(ends);
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(CALLS.swap(0, SeqCst), 0);
        assert!(runtime.spawn(|| std::panic::panic_any(Meant(1))).join().unwrap_err().is_panic());
        assert_eq!(CALLS.swap(0, SeqCst), 1);
    });
    drop(std::panic::take_hook());
}

#[test]
fn what_is_free_is_had_by_who_is_cancelled() {
    // Method: a coroutine cancels itself, takes what is free, and then parks.
    use gort::sync::{Mutex, ReentrantMutex, RwLock, Semaphore};
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (drops, own) = (Drops::default(), Arc::new(Mutex::new(None::<gort::JoinHandle<()>>)));
            let [passed, returned] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
            let mut handle = own.lock();
            *handle = Some({
                let (one, own, passed, returned) = (drops.one(), own.clone(), passed.clone(), returned.clone());
                go!(move || {
                    let _one = one;
                    own.lock().as_ref().unwrap().cancel();
                    drop(Mutex::new(()).lock());
                    drop(ReentrantMutex::new(()).lock());
                    let rwlock = RwLock::new(());
                    drop(rwlock.read());
                    drop(rwlock.write());
                    Semaphore::new(1).acquire().unwrap().forget();
                    passed.store(true, SeqCst);
                    gort::park();
                    returned.store(true, SeqCst);
                })
            });
            drop(handle);
            wait_until("it ends", || drops.count() == 1);
            assert!(passed.load(SeqCst), "it was cancelled where it did not have to wait");
            assert!(!returned.load(SeqCst), "the next that waits was not");
        });
    });
}

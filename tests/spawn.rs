//! Spawning and joining: values, drops, sizes, names, errors.

mod common;

use common::{Counts, Meant, builder, panic_again, panic_meant, wait_until, with_each_procs};
use gort::{Builder, go, spawn};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn join_gives_the_value() {
    with_each_procs(|runtime| {
        assert_eq!(runtime.spawn(|| 1).join().unwrap(), 1);
        assert_eq!(go!(in runtime, || 2).join().unwrap(), 2);
        runtime.run(|| {
            assert_eq!(spawn(|| "text".to_string()).join().unwrap(), "text");
            assert_eq!(go!("named", || 3).join().unwrap(), 3);
            assert_eq!(go!(Builder::new().name("built"), || 4).join().unwrap(), 4);
            // From a plain thread inside a coroutine.
            let handle = go!(|| {
                gort::yield_now();
                5
            });
            let thread = std::thread::spawn(|| handle.join().unwrap());
            wait_until("the thread ends", || thread.is_finished());
            assert_eq!(thread.join().unwrap(), 5);
        });
    });
}

#[test]
fn join_gives_the_panic() {
    with_each_procs(|runtime| {
        let error = runtime.spawn(|| panic_meant(5)).join().unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(error.into_panic().unwrap().downcast_ref::<Meant>(), Some(&Meant(5)));
        let error = runtime.spawn(|| std::panic::resume_unwind(Box::new("said so".to_string()))).join().unwrap_err();
        assert_eq!(error.to_string(), "the coroutine panicked: said so");
        assert_eq!(format!("{error:?}"), "Panicked(\"said so\")");
    });
}

#[test]
fn a_caught_panic_is_nobodys_business() {
    with_each_procs(|runtime| {
        let value = runtime.run(|| {
            let before = std::panic::catch_unwind(|| {
                gort::yield_now();
                panic_meant(1)
            });
            assert!(before.is_err());
            gort::yield_now();
            assert!(!std::thread::panicking());
            6
        });
        assert_eq!(value, 6);
    });
}

#[test]
fn join_gives_up_in_time_and_gives_the_handle_back() {
    with_each_procs(|runtime| {
        let go_on = Arc::new(AtomicBool::new(false));
        let go_on2 = go_on.clone();
        let handle = runtime.spawn(move || {
            wait_until("it may", || go_on2.load(SeqCst));
            8
        });
        let both = |mut handle: gort::JoinHandle<i32>| {
            for _ in 0..3 {
                let start = Instant::now();
                handle = handle.join_timeout(Duration::from_millis(3)).unwrap_err();
                assert!(start.elapsed() >= Duration::from_millis(3));
                let deadline = Instant::now() + Duration::from_millis(3);
                handle = handle.join_deadline(deadline).unwrap_err();
                assert!(Instant::now() >= deadline);
                handle = handle.join_deadline(start).unwrap_err();
                handle = handle.join_timeout(Duration::ZERO).unwrap_err();
            }
            handle
        };
        // On a plain thread, then in a coroutine.
        let handle = both(handle);
        let handle = runtime.run(move || both(handle));
        go_on.store(true, SeqCst);
        assert_eq!(handle.join_timeout(Duration::MAX).unwrap().unwrap(), 8);
    });
}

#[test]
fn join_and_the_end_race_with_the_timeout() {
    let seed = common::seed();
    with_each_procs(|runtime| {
        runtime.run(|| {
            let mut random = common::Random::new(seed);
            for _ in 0..500 {
                let (a, b) = (random.below(100), random.below(100));
                let mut handle = go!(move || {
                    gort::time::sleep(Duration::from_micros(a));
                    a
                });
                loop {
                    match handle.join_timeout(Duration::from_micros(b)) {
                        Ok(value) => break assert_eq!(value.unwrap(), a),
                        Err(back) => handle = back,
                    }
                }
            }
        });
    });
}

#[test]
fn every_closure_and_result_is_dropped_once() {
    with_each_procs(|runtime| {
        let (closures, results) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for i in 0..300 {
            let (closure, result) = (Counts(closures.clone()), results.clone());
            let handle = runtime.spawn(move || {
                let _closure = closure;
                if i % 7 == 0 {
                    gort::yield_now();
                }
                if i % 5 == 0 {
                    drop(Counts(result.clone()));
                    panic_meant(i)
                }
                Counts(result)
            });
            match i % 4 {
                0 => drop(handle),
                1 => drop(handle.join()),
                2 => {
                    wait_until("it ends", || handle.is_finished());
                    drop(handle);
                }
                _ => match handle.join_timeout(Duration::from_micros(i)) {
                    Ok(outcome) => drop(outcome),
                    Err(handle) => drop(handle),
                },
            }
        }
        wait_until("all closures are dropped", || closures.load(SeqCst) == 300);
        wait_until("all results are dropped", || results.load(SeqCst) == 300);
    });
}

#[test]
fn what_nobody_wants_may_panic_with_what_panics_when_dropped() {
    // Goal: a coroutine's end is not disturbed by what it drops, a payload included that is dropped because nobody is to see it.
    // Method: such a drop of the closure of one that is cancelled, and of the result of one whose handle has gone.
    struct Panics(Arc<AtomicUsize>);
    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            panic_again()
        }
    }
    with_each_procs(|runtime| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let panics = || Panics(dropped.clone());
        runtime.run(|| {
            let value = panics();
            let unbegun = go!(move || drop(value));
            unbegun.cancel();
            let error = unbegun.join().unwrap_err();
            if !error.is_cancelled() {
                // It had begun, on another P. What it panicked with is ours now.
                std::mem::forget(error);
            }
            let value = panics();
            let alone = go!(move || {
                gort::park();
                value
            });
            let coroutine = alone.coroutine();
            drop(alone);
            coroutine.unpark();
            wait_until("both are dropped", || dropped.load(SeqCst) == 2);
        });
    });
}

#[test]
fn is_finished_turns_once() {
    with_each_procs(|runtime| {
        let go_on = Arc::new(AtomicBool::new(false));
        let go_on2 = go_on.clone();
        let handle = runtime.spawn(move || wait_until("it may", || go_on2.load(SeqCst)));
        assert!(!handle.is_finished());
        go_on.store(true, SeqCst);
        wait_until("it ends", || handle.is_finished());
        assert!(handle.is_finished());
        handle.join().unwrap();
    });
}

/// Closures and results of every size and alignment.
fn check_size<const N: usize>(runtime: &gort::Runtime) {
    let big = [N as u8; N];
    let handle = runtime.spawn(move || {
        gort::yield_now();
        big
    });
    assert!(handle.join().unwrap().iter().all(|byte| *byte == N as u8));
    drop(runtime.spawn(move || big));
}

#[test]
fn sizes_from_nothing_to_huge() {
    fn all() {
        let runtime = builder(2).stack_size(16 << 20).build().unwrap();
        check_size::<0>(&runtime);
        check_size::<1>(&runtime);
        check_size::<47>(&runtime);
        check_size::<48>(&runtime);
        check_size::<49>(&runtime);
        check_size::<4096>(&runtime);
        check_size::<100_000>(&runtime);
        check_size::<300_000>(&runtime);
    }
    // Unoptimised code keeps many copies on the stack of the spawner.
    std::thread::Builder::new().stack_size(64 << 20).spawn(all).unwrap().join().unwrap();
}

#[test]
fn over_aligned_closures_and_results() {
    #[repr(align(64))]
    #[derive(Clone, Copy)]
    struct Line(u8);
    #[repr(align(4096))]
    #[derive(Clone, Copy)]
    struct Page(u8);
    #[repr(align(32))]
    struct Nothing;
    fn aligned<T>(value: &T) {
        assert_eq!((&raw const *value).addr() % align_of::<T>(), 0);
    }
    with_each_procs(|runtime| {
        for _ in 0..20 {
            let (line, page, nothing) = (Line(1), Page(2), Nothing);
            let handle = runtime.spawn(move || {
                aligned(&line);
                aligned(&page);
                aligned(&nothing);
                gort::yield_now();
                let on_stack = Line(9);
                aligned(&on_stack);
                (line, page, nothing)
            });
            let (line, page, nothing) = handle.join().unwrap();
            aligned(&line);
            aligned(&page);
            aligned(&nothing);
            assert_eq!((line.0, page.0), (1, 2));
            drop(runtime.spawn(move || (line, page)));
        }
    });
}

#[test]
fn the_stack_is_aligned_for_the_widest_registers() {
    // movaps on a misaligned slot would trap; black_box keeps the array in memory.
    with_each_procs(|runtime| {
        let handle = runtime.spawn(|| {
            let mut lanes = [1.5f64; 64];
            gort::yield_now();
            for (i, lane) in std::hint::black_box(&mut lanes).iter_mut().enumerate() {
                *lane *= i as f64;
            }
            lanes.iter().sum::<f64>()
        });
        assert_eq!(handle.join().unwrap(), 1.5 * 2016.0);
    });
}

#[test]
fn names_and_numbers() {
    with_each_procs(|runtime| {
        let handle = runtime.try_spawn(Builder::new().name("who"), || {
            let here = gort::current();
            (here.name().map(String::from), here.id(), gort::try_current().is_some())
        });
        let handle = handle.unwrap();
        let (id, other) = (handle.id(), handle.coroutine());
        assert_eq!(handle.name(), Some("who"));
        let (name, own, there) = handle.join().unwrap();
        assert_eq!((name.as_deref(), own, there), (Some("who"), id, true));
        // A handle of one that has long ended still knows.
        for _ in 0..500 {
            runtime.spawn(|| ()).join().unwrap();
        }
        assert_eq!((other.name(), other.id()), (Some("who"), id));
        let nameless = runtime.spawn(|| gort::current().name().map(String::from));
        assert_ne!(nameless.id(), id);
        assert_eq!(nameless.join().unwrap(), None);
    });
    let runtime = builder(2).build().unwrap();
    let mut ids: Vec<_> = (0..5000)
        .map(|_| runtime.spawn(|| gort::current().id().as_u64()))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5000);
}

#[test]
fn outside_a_runtime() {
    assert!(gort::try_current().is_none());
    let error = Builder::new().spawn(|| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let error = Builder::new().spawn_local(|| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let caught = std::panic::catch_unwind(|| drop(go!(|| ())));
    assert_eq!(
        *caught.unwrap_err().downcast::<String>().unwrap(),
        "gort: spawn outside a runtime: call it inside gort::run or Runtime::run, or use Runtime::spawn"
    );
}

#[test]
fn a_stack_over_one_gibibyte_is_refused_and_one_of_that_size_works() {
    with_each_procs(|runtime| {
        let error = runtime.try_spawn(Builder::new().stack_size((1 << 30) + 1), || ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = runtime.try_spawn(Builder::new().stack_size(usize::MAX), || ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let largest = runtime.try_spawn(Builder::new().stack_size(1 << 30), || {
            fn dig(depth: u32) -> u64 {
                let room = std::hint::black_box([depth as u8; 4096]);
                if depth == 0 { 0 } else { dig(depth - 1) + u64::from(room[9] & 1) }
            }
            dig(10_000)
        });
        assert_eq!(largest.unwrap().join().unwrap(), 5000);
        assert_eq!(runtime.try_spawn(Builder::new().stack_size(0), || 1).unwrap().join().unwrap(), 1);
    });
}

#[test]
fn spawning_while_the_runtime_is_dropped() {
    // A destructor that spawns when its coroutine is cancelled gets an error that says why.
    struct Spawns(Arc<AtomicUsize>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let error = Builder::new().spawn(|| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert!(error.to_string().contains("`test`"), "{error}");
            self.0.fetch_add(1, SeqCst);
        }
    }
    for procs in common::PROCS {
        let runtime = builder(procs).build().unwrap();
        let (inside, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (inside2, spawns) = (inside.clone(), Spawns(ended.clone()));
        drop(runtime.spawn(move || {
            let _spawns = spawns;
            inside2.store(true, SeqCst);
            gort::park();
        }));
        wait_until("it runs", || inside.load(SeqCst));
        drop(runtime);
        assert_eq!(ended.load(SeqCst), 1);
    }
}

#[test]
fn from_many_plain_threads() {
    with_each_procs(|runtime| {
        let count = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for i in 0..500 {
                        let count = count.clone();
                        let handle = runtime.spawn(move || {
                            count.fetch_add(1, SeqCst);
                        });
                        if i % 2 == 0 { handle.join().unwrap() } else { drop(handle) }
                    }
                });
            }
        });
        wait_until("all have run", || count.load(SeqCst) == 2000);
        wait_until("none is left", || runtime.live() == 0);
    });
}

#[test]
fn a_tree_of_many() {
    fn tree(depth: u32) -> u64 {
        if depth == 0 {
            return 1;
        }
        let (left, right) = (go!(move || tree(depth - 1)), go!(move || tree(depth - 1)));
        left.join().unwrap() + right.join().unwrap()
    }
    with_each_procs(|runtime| assert_eq!(runtime.run(|| tree(12)), 4096));
}

#[test]
fn handles_outlive_the_runtime() {
    let runtime = builder(2).build().unwrap();
    let drops = Arc::new(AtomicUsize::new(0));
    let counts = Counts(drops.clone());
    let value = runtime.spawn(move || counts);
    wait_until("it ends", || value.is_finished());
    let parked = runtime.try_spawn(Builder::new().name("late"), gort::park).unwrap();
    let coroutine = parked.coroutine();
    drop(runtime);
    assert_eq!(drops.load(SeqCst), 0);
    parked.cancel();
    coroutine.unpark();
    assert_eq!(coroutine.name(), Some("late"));
    assert!(parked.join().unwrap_err().is_cancelled());
    drop(value.join().unwrap());
    assert_eq!(drops.load(SeqCst), 1);
    coroutine.unpark();
}

#[test]
fn a_backtrace_ends_at_the_coroutines_entry() {
    with_each_procs(|runtime| {
        let text = runtime.run(|| {
            gort::yield_now();
            std::backtrace::Backtrace::force_capture().to_string()
        });
        assert!(text.lines().count() < 400, "{text}");
        assert!(text.contains("a_backtrace_ends"), "{text}");
    });
}

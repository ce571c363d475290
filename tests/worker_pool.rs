//! `WorkerPool`: how much it holds, who does the jobs, how workers come and go, panics, closing, the end of a runtime.

mod common;

use common::{
    Meant, PATIENCE, again_with_fixed_homes, builder, panic_again, panic_meant, wait_until, watchdog, with_each_procs,
};
use gort::{Builder, JoinError, SubmitError, WorkerPool, channel, go, go_local};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Long enough that no test waits for it.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn the_tests_with_fixed_homes() {
    again_with_fixed_homes();
}

#[test]
fn does_many_jobs_with_few_workers() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let pool = WorkerPool::builder().workers(3).queue(5).build();
            let jobs: Vec<_> = (0..300)
                .map(|i: u64| {
                    let (running, most) = (running.clone(), most.clone());
                    let job = move || {
                        most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                        if i.is_multiple_of(3) {
                            gort::yield_now();
                        }
                        running.fetch_sub(1, SeqCst);
                        i * i
                    };
                    pool.submit(job).unwrap()
                })
                .collect();
            for (i, job) in (0..).zip(jobs) {
                assert_eq!(job.join().unwrap(), i * i);
            }
            assert!((1..=3).contains(&most.load(SeqCst)), "{most:?} at once");
            pool.join();
        });
    });
}

/// A pool whose workers all have a job that ends when the sender goes, and whose queue is full.
fn full(workers: usize, queue: usize) -> (WorkerPool, channel::Sender<()>) {
    let pool = WorkerPool::builder().workers(workers).queue(queue).build();
    let (sender, receiver) = channel::bounded::<()>(0);
    for _ in 0..workers + queue {
        let receiver = receiver.clone();
        drop(pool.try_submit(move || receiver.recv().unwrap_err()).unwrap());
    }
    (pool, sender)
}

#[test]
fn holds_exactly_so_many() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for (workers, queue) in [(1, 0), (1, 1), (2, 0), (3, 4)] {
                let (pool, sender) = full(workers, queue);
                assert_eq!(pool.workers(), workers);
                let refused = pool.try_submit(|| 5).unwrap_err();
                assert!(matches!(refused, SubmitError::Full(_)), "{refused}");
                let refused = pool.submit_timeout(refused.into_inner(), Duration::from_micros(500)).unwrap_err();
                assert!(matches!(refused, SubmitError::TimedOut(_)), "{refused}");
                drop(sender);
                // Now there is room, sooner or later.
                assert_eq!(pool.submit_timeout(refused.into_inner(), LONG).unwrap().join().unwrap(), 5);
                pool.join();
            }
        });
    });
}

#[test]
fn a_submit_waits_for_room() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (pool, sender) = full(2, 1);
            let done = AtomicUsize::new(0);
            gort::scope(|s| {
                for _ in 0..10 {
                    s.go(|| {
                        pool.submit(|| ()).unwrap().join().unwrap();
                        done.fetch_add(1, SeqCst);
                    });
                }
                gort::time::sleep(Duration::from_millis(2));
                assert_eq!(done.load(SeqCst), 0);
                drop(sender);
            });
            assert_eq!(done.into_inner(), 10);
        });
    });
}

#[test]
fn a_submit_that_is_cancelled_takes_no_place() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (pool, sender) = full(1, 0);
            let pool = Arc::new(pool);
            let theirs = pool.clone();
            let waits = go!(move || theirs.submit(|| unreachable!("cancelled")).map(drop).is_ok());
            gort::time::sleep(Duration::from_micros(500));
            waits.cancel();
            assert!(waits.join().unwrap_err().is_cancelled());
            drop(sender);
            assert_eq!(pool.submit(|| 3).unwrap().join().unwrap(), 3);
        });
    });
}

#[test]
fn workers_are_made_when_needed_and_end_when_idle() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let pool = WorkerPool::builder().workers(100).queue(100).idle(Duration::from_millis(2)).build();
            assert_eq!(pool.workers(), 0);
            for _ in 0..20 {
                pool.submit(|| ()).unwrap().join().unwrap();
                // A worker is free again a moment after its job's result is there.
                assert!(pool.workers() <= 10, "{pool:?}");
            }
            wait_until("idle workers end", || pool.workers() == 0);
            assert_eq!(pool.submit(|| 7).unwrap().join().unwrap(), 7);
        });
    });
}

/// A worker that is about to go because nothing came must not take along what comes at that moment.
#[test]
fn a_worker_that_goes_forgets_no_job() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for idle in [0, 1, 20, 100] {
                let pool = WorkerPool::builder().workers(2).queue(2).idle(Duration::from_micros(idle)).build();
                for i in 0..200 {
                    assert_eq!(pool.submit(move || i).unwrap().join().unwrap(), i);
                    match i % 3 {
                        0 => gort::yield_now(),
                        1 => gort::time::sleep(Duration::from_micros(idle)),
                        _ => {}
                    }
                }
                pool.join();
            }
        });
    });
}

#[test]
fn a_panic_is_given_to_who_joins_and_to_nobody_else() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let pool = WorkerPool::builder().workers(1).queue(10).build();
            let bad = pool.submit(|| panic_meant(5)).unwrap();
            drop(pool.submit(|| panic_meant(6)).unwrap());
            /// A result whose drop panics, with a payload whose drop panics.
            struct Bad;
            impl Drop for Bad {
                fn drop(&mut self) {
                    panic_again();
                }
            }
            drop(pool.submit(|| Bad).unwrap());
            let good = pool.submit(|| 8).unwrap();
            assert_eq!(bad.join().unwrap_err().into_panic().unwrap().downcast_ref::<Meant>(), Some(&Meant(5)));
            assert_eq!(good.join().unwrap(), 8);
            // The same worker all the time.
            assert_eq!(pool.workers(), 1);
            pool.join();
        });
    });
}

#[test]
fn close_refuses_and_finishes() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (pool, sender) = full(1, 3);
            let pool = Arc::new(pool);
            let theirs = pool.clone();
            let waits = go!(move || theirs.submit(|| ()).map(drop).unwrap_err().to_string());
            gort::time::sleep(Duration::from_micros(500));
            pool.close();
            assert_eq!(waits.join().unwrap(), "the worker pool is closed");
            assert!(matches!(pool.try_submit(|| ()), Err(SubmitError::Closed(_))));
            wait_until("the worker has its job", || pool.queued() == 3);
            drop(sender);
            Arc::into_inner(pool).unwrap().join();
        });
    });
}

#[test]
fn a_join_that_is_cancelled_closes_the_pool_and_ends_no_job() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let pool = WorkerPool::builder().workers(2).queue(3).idle(LONG).build();
            let (sender, receiver) = channel::bounded::<()>(0);
            let jobs: Vec<_> = (0..5)
                .map(|i| {
                    let receiver = receiver.clone();
                    let job = move || {
                        assert!(receiver.recv().is_err());
                        i
                    };
                    pool.try_submit(job).unwrap()
                })
                .collect();
            let joins = go!(move || pool.join());
            gort::time::sleep(Duration::from_micros(500));
            joins.cancel();
            assert!(joins.join().unwrap_err().is_cancelled());
            drop(sender);
            assert_eq!(jobs.into_iter().map(|job| job.join().unwrap()).sum::<i32>(), 10);
            // Closed, or they would wait for more.
            wait_until("the workers end", || runtime.live() == 1);
        });
    });
}

#[test]
fn what_a_dropped_pool_has_taken_on_is_done() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let pool = WorkerPool::builder().workers(2).queue(50).build();
            let jobs: Vec<_> = (0..50).map(|i| pool.submit(move || i).unwrap()).collect();
            drop(pool);
            assert_eq!(jobs.into_iter().map(|job| job.join().unwrap()).sum::<i32>(), 49 * 25);
        });
    });
}

#[test]
fn who_unwinds_waits_for_nobody_of_its_home() {
    // Goal: a destructor may close a pool, also one that runs because its coroutine panics, which has its home to itself
    // meanwhile: it must not queue behind another of the home. Method: a plain thread is in the middle of looking at the pool; one of
    // the home asks the pool, then another one unwinds.
    struct Slow(Arc<AtomicUsize>);
    impl std::fmt::Write for Slow {
        fn write_str(&mut self, _: &str) -> std::fmt::Result {
            if self.0.fetch_max(1, SeqCst) == 0 {
                wait_until("one unwinds", || self.0.load(SeqCst) == 2);
                // Time to come to wait.
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
    }
    struct Closes(Arc<WorkerPool>, Arc<AtomicUsize>);
    impl Drop for Closes {
        fn drop(&mut self) {
            self.1.store(2, SeqCst);
            self.0.close();
        }
    }
    let _watchdog = watchdog(PATIENCE, "who unwinds and closes a pool");
    builder(1).build().unwrap().run(|| {
        let (pool, stage) = (Arc::new(WorkerPool::new(1)), Arc::new(AtomicUsize::new(0)));
        let (seen, mut slow) = (pool.clone(), Slow(stage.clone()));
        let looks = std::thread::spawn(move || write!(slow, "{seen:?}").unwrap());
        wait_until("it looks", || stage.load(SeqCst) == 1);
        let asked = pool.clone();
        let asks = go_local!(move || asked.workers());
        gort::yield_now();
        let closes = Closes(pool.clone(), stage);
        let unwinds = go_local!(move || {
            let _closes = closes;
            panic_meant(1)
        });
        assert!(unwinds.join().unwrap_err().is_panic());
        assert_eq!(asks.join().unwrap(), 0);
        looks.join().unwrap();
        assert!(matches!(pool.submit(|| ()), Err(SubmitError::Closed(_))));
    });
}

#[test]
fn handles_can_be_selected_and_waited_for_in_time() {
    builder(2).build().unwrap().run(|| {
        let pool = WorkerPool::new(2);
        let (sender, receiver) = channel::bounded(0);
        let slow = pool.submit(move || receiver.recv().unwrap()).unwrap();
        let quick = pool.submit(|| 1).unwrap();
        gort::select! {
            wait(slow) => unreachable!("it waits for a message"),
            wait(quick) => {}
        }
        assert!(quick.is_finished() && !slow.is_finished());
        let slow = slow.join_timeout(Duration::from_millis(1)).unwrap_err();
        sender.send(2).unwrap();
        assert_eq!(quick.join().unwrap() + slow.join_timeout(LONG).unwrap().unwrap(), 3);
    });
}

#[test]
fn jobs_come_from_plain_threads_while_there_is_a_worker() {
    let runtime = builder(2).build().unwrap();
    let pool = runtime.run(|| {
        let pool = WorkerPool::builder().workers(1).queue(2).idle(LONG).build();
        pool.submit(|| ()).unwrap().join().unwrap();
        Arc::new(pool)
    });
    let threads: Vec<_> = (0..4)
        .map(|i| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                (0..50).map(|n| pool.submit(move || n * i).unwrap().join().unwrap()).sum::<u64>()
            })
        })
        .collect();
    let sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(sum, 49 * 25 * 6);
    // Without a worker, none can be made here, and nothing is left behind.
    let empty = WorkerPool::new(1);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(empty.submit(|| ()))));
    assert!(panics.is_err());
    assert_eq!((empty.workers(), empty.queued()), (0, 0));
}

#[test]
fn the_end_of_the_runtime_cancels_jobs() {
    for procs in common::PROCS {
        let runtime = builder(procs).build().unwrap();
        let (pool, running, queued) = runtime.run(|| {
            let pool = WorkerPool::builder().workers(1).queue(1).build();
            let running = pool.submit(gort::park).unwrap();
            let queued = pool.submit(|| ()).unwrap();
            (pool, running, queued)
        });
        drop(runtime);
        assert!(matches!(running.join(), Err(JoinError::Cancelled)));
        assert!(matches!(queued.join(), Err(JoinError::Cancelled)));
        assert_eq!((pool.workers(), pool.queued()), (0, 0));
        pool.join();
    }
}

#[test]
fn workers_are_made_as_the_builder_says() {
    builder(1).build().unwrap().run(|| {
        let coroutine = Builder::new().name("deep").label("pool", "1").stack_size(8 << 20);
        let pool = WorkerPool::builder().coroutine(coroutine).build();
        let job = pool.submit(|| {
            let deep = std::hint::black_box([1u8; 4 << 20]).len();
            (deep, gort::current().name().map(String::from), gort::current().labels().get("pool").is_some())
        });
        assert_eq!(job.unwrap().join().unwrap(), (4 << 20, Some("deep".into()), true));
    });
}

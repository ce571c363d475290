//! Nobody starves: coroutines that compute without end, block their threads, hold locks.

mod common;

use gort::channel::{bounded, unbounded};
use gort::{Runtime, go};
use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Far more than a thread suspended and another woken take; far less than for ever.
const SOON: Duration = Duration::from_secs(20);

fn runtime(procs: usize) -> Runtime {
    gort::Runtime::builder().procs(procs).build().unwrap()
}

/// With fixed homes a coroutine stays on its thread, and those of a hog's thread wait for the hog: as documented.
fn homes_are_fixed() -> bool {
    !runtime(1).coroutines_move()
}

/// What a hog does in a loop.
#[derive(Clone, Copy, Debug)]
enum Hog {
    Computes,
    Allocates,
    Formats,
    Prints,
    Hashes,
}

impl Hog {
    const ALL: [Hog; 5] = [Hog::Computes, Hog::Allocates, Hog::Formats, Hog::Prints, Hog::Hashes];

    fn step(self, i: u64) {
        match self {
            Hog::Computes => drop(black_box(i)),
            Hog::Allocates => drop(black_box(vec![i; 1 + (i % 300) as usize])),
            Hog::Formats => drop(black_box(format!("{i} {i:x}"))),
            Hog::Prints => {
                use std::io::Write;
                // Not `println!`, which the harness would collect without end.
                write!(std::io::sink(), "{i}").unwrap();
                drop(std::io::stdout().lock());
            }
            Hog::Hashes => {
                let map: std::collections::HashMap<u64, u64> = (0..20).map(|k| (k, i)).collect();
                black_box(map);
            }
        }
    }
}

/// Starts hogs that go on until told to stop; returns what each has done.
fn hogs(kind: Hog, number: usize, stop: &Arc<AtomicBool>) -> Vec<gort::JoinHandle<u64>> {
    let hog = |stop: Arc<AtomicBool>| {
        move || {
            let mut i = 0;
            while !stop.load(Relaxed) {
                kind.step(i);
                i += 1;
            }
            i
        }
    };
    (0..number).map(|_| go!(hog(stop.clone()))).collect()
}

#[test]
fn a_ticker_beside_hogs_goes_on() {
    // Goal: with more hogs than Ps, whatever they do, timers, messages and new coroutines get through.
    if homes_are_fixed() {
        return;
    }
    for kind in Hog::ALL {
        for (procs, number) in [(1, 1), (2, 2), (2, 8)] {
            runtime(procs).run(move || {
                let stop = Arc::new(AtomicBool::new(false));
                let hogs = hogs(kind, number, &stop);
                let begin = Instant::now();
                for _ in 0..10 {
                    gort::time::sleep(Duration::from_millis(1));
                    let (tx, rx) = bounded(0);
                    go!(move || tx.send(7).unwrap());
                    assert_eq!(rx.recv(), Ok(7));
                }
                assert!(begin.elapsed() < SOON, "{kind:?} {procs} {number}: {:?}", begin.elapsed());
                stop.store(true, Relaxed);
                hogs.into_iter().for_each(|hog| _ = hog.join().unwrap());
            });
        }
    }
}

#[test]
fn without_preemption_a_hog_is_waited_for() {
    // Goal: the switch works.
    let runtime = gort::Runtime::builder().procs(1).preemption(false).build().unwrap();
    runtime.run(|| {
        let begin = Instant::now();
        let hog = go!(|| {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(200) {}
        });
        gort::yield_now();
        assert!(begin.elapsed() >= Duration::from_millis(200));
        hog.join().unwrap();
    });
}

#[test]
fn hogs_share() {
    // Goal: each of eight endless hogs gets its turn, again and again.
    if homes_are_fixed() {
        return;
    }
    runtime(2).run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs = hogs(Hog::Computes, 8, &stop);
        gort::time::sleep(Duration::from_secs(2));
        stop.store(true, Relaxed);
        let shares: Vec<u64> = hogs.into_iter().map(|hog| hog.join().unwrap()).collect();
        let mean = shares.iter().sum::<u64>() / 8;
        assert!(shares.iter().all(|&share| share > mean / 4), "{shares:?}");
    });
}

#[test]
fn a_lock_that_a_suspended_coroutine_holds_comes_free() {
    // Goal: hogs that hold a std mutex which others want block nobody for good.
    if homes_are_fixed() {
        return;
    }
    runtime(2).run(|| {
        let mutex = Arc::new(Mutex::new(0u64));
        let handles: Vec<_> = (0..6)
            .map(|_| {
                let mutex = mutex.clone();
                go!(move || {
                    for _ in 0..10 {
                        let mut value = mutex.lock().unwrap();
                        let begin = Instant::now();
                        while begin.elapsed() < Duration::from_millis(3) {}
                        *value += 1;
                    }
                })
            })
            .collect();
        gort::time::sleep(Duration::from_millis(1));
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(*mutex.lock().unwrap(), 60);
    });
}

#[test]
fn a_lock_may_be_held_across_a_yield() {
    // Goal: many coroutines hold one std mutex across a park. Each that waits for it blocks a thread and its
    // home, so there must be as many of both: then it ends.
    if homes_are_fixed() {
        return;
    }
    runtime(2).run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let handles: Vec<_> = (0..200)
            .map(|_| {
                let mutex = mutex.clone();
                gort::Builder::new().own_home().spawn(move || {
                    let mut value = mutex.lock().unwrap();
                    gort::yield_now();
                    *value += 1;
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.unwrap().join().unwrap());
        assert_eq!(*mutex.lock().unwrap(), 200);
    });
}

/// Runs `block` in as many coroutines as there are Ps, each of which blocks until `release`; meanwhile another
/// coroutine must run.
fn others_run_while(block: impl Fn() + Send + Sync + 'static, release: impl FnOnce() + Send) {
    const PROCS: usize = 2;
    if homes_are_fixed() {
        return release();
    }
    runtime(PROCS).run(|| {
        let block = Arc::new(block);
        let handles: Vec<_> = (0..PROCS)
            .map(|_| {
                let block = block.clone();
                gort::Builder::new().own_home().spawn(move || block()).unwrap()
            })
            .collect();
        let begin = Instant::now();
        for _ in 0..5 {
            gort::time::sleep(Duration::from_millis(1));
        }
        let took = begin.elapsed();
        release();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert!(took < SOON, "{took:?}");
    });
}

#[test]
fn all_blocked_in_sleep() {
    others_run_while(|| std::thread::sleep(Duration::from_millis(500)), || ());
}

#[test]
fn all_blocked_in_sleep_as_announced() {
    others_run_while(|| gort::blocking(|| std::thread::sleep(Duration::from_millis(500))), || ());
}

#[test]
fn all_blocked_in_a_pipe() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    others_run_while(
        move || assert_eq!((&reader).read(&mut [0]).unwrap(), 1),
        move || writer.write_all(b"ab").unwrap(),
    );
}

#[test]
fn all_blocked_in_a_mutex() {
    let mutex = Arc::new(Mutex::new(()));
    let guard = mutex.lock().unwrap();
    let theirs = mutex.clone();
    // The guard must be dropped by the thread that has it: this one.
    let (tx, rx) = unbounded::<()>();
    std::thread::scope(|scope| {
        let others = scope.spawn(move || {
            others_run_while(move || drop(theirs.lock().unwrap()), move || tx.send(()).unwrap());
        });
        rx.recv().unwrap();
        drop(guard);
        others.join().unwrap();
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "blocking the M is the point")]
fn all_blocked_in_usleep() {
    others_run_while(
        || {
            for _ in 0..50 {
                // SAFETY: sleeps.
                unsafe { libc::usleep(10_000) };
            }
        },
        || (),
    );
}

#[test]
fn blocking_returns_what_it_calls_and_unwinds() {
    assert_eq!(gort::blocking(|| 5), 5);
    runtime(2).run(|| {
        let text = String::from("borrowed");
        assert_eq!(gort::blocking(|| text.len()), 8);
        common::quiet_panics();
        let failed = std::panic::catch_unwind(|| gort::blocking(|| std::panic::panic_any(common::Meant(1))));
        assert!(failed.is_err());
        gort::yield_now();
        // A call into the runtime inside.
        assert_eq!(gort::blocking(|| go!(|| 3).join().unwrap()), 3);
    });
}

#[test]
fn a_thread_local_borrow_is_never_seen_by_others() {
    // Goal: a hog inside a borrow of a thread-local is preempted; nobody wears its home meanwhile.
    if homes_are_fixed() {
        return;
    }
    thread_local!(static CELL: std::cell::RefCell<u64> = const { std::cell::RefCell::new(0) });
    runtime(2).run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..4)
            .map(|_| {
                let stop = stop.clone();
                go!(move || {
                    while !stop.load(Relaxed) {
                        CELL.with_borrow_mut(|value| {
                            for _ in 0..1_000_000 {
                                *black_box(&mut *value) += 1;
                            }
                        });
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            let others: Vec<_> = (0..10).map(|_| go!(|| CELL.with_borrow_mut(|value| *value += 1))).collect();
            others.into_iter().for_each(|other| other.join().unwrap());
            gort::time::sleep(Duration::from_millis(1));
        }
        stop.store(true, Relaxed);
        hogs.into_iter().for_each(|hog| hog.join().unwrap());
    });
}

#[test]
fn nothing_is_lost_under_preemption() {
    // Goal: messages between coroutines that compute, allocate and wait arrive, each once.
    const MESSAGES: u64 = 2_000;
    for procs in common::PROCS {
        runtime(procs).run(|| {
            let (tx, rx) = bounded::<u64>(3);
            let sum = Arc::new(AtomicU64::new(0));
            let senders: Vec<_> = (0..4u64)
                .map(|sender| {
                    let tx = tx.clone();
                    go!(move || {
                        for i in 0..MESSAGES {
                            if i % 200 == sender {
                                let begin = Instant::now();
                                while begin.elapsed() < Duration::from_millis(4) {
                                    Hog::Allocates.step(i);
                                }
                            }
                            tx.send(i).unwrap();
                        }
                    })
                })
                .collect();
            drop(tx);
            let receivers: Vec<_> = (0..3)
                .map(|_| (rx.clone(), sum.clone()))
                .map(|(rx, sum)| go!(move || rx.iter().for_each(|i| _ = sum.fetch_add(i, Relaxed))))
                .collect();
            senders.into_iter().chain(receivers).for_each(|handle| handle.join().unwrap());
            assert_eq!(sum.load(Relaxed), 4 * MESSAGES * (MESSAGES - 1) / 2);
        });
    }
}

#[test]
fn errno_survives() {
    // Goal: the handler leaves errno as it was.
    if homes_are_fixed() {
        return;
    }
    runtime(1).run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let hog = go!(move || {
            while !theirs.load(Relaxed) {
                // SAFETY: the address of this thread's errno is valid.
                unsafe { *libc::__errno_location() = 4711 };
                for i in 0..100_000 {
                    black_box(i);
                }
                // SAFETY: as above.
                assert_eq!(unsafe { *libc::__errno_location() }, 4711);
            }
        });
        for _ in 0..50 {
            gort::time::sleep(Duration::from_millis(1));
        }
        stop.store(true, Relaxed);
        hog.join().unwrap();
    });
}

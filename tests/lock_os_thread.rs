//! `lock_os_thread`: a coroutine that keeps its kernel thread across every kind of wait, and what becomes of the
//! thread afterwards.

mod common;

use common::{Counts, Random, builder, compute, gettid, panic_meant, quiet_panics, seed, wait_until, with_each_procs};
use gort::channel::{bounded, unbounded};
use gort::net::{TcpListener, TcpStream};
use gort::{Builder, OsThreadGuard, Runtime, go, go_local, lock_os_thread};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// Coroutines that come and go and move about, until the value is dropped.
struct Bustle {
    stop: Arc<AtomicBool>,
    handles: Vec<gort::JoinHandle<()>>,
}

impl Bustle {
    fn new(number: usize) -> Bustle {
        let stop = Arc::new(AtomicBool::new(false));
        let handles = (0..number).map(|_| stop.clone()).map(|stop| {
            go!(move || {
                while !stop.load(SeqCst) {
                    let (tx, rx) = bounded(0);
                    go!(move || tx.send(gettid()).unwrap());
                    rx.recv().unwrap();
                    gort::yield_now();
                    gort::time::sleep(MS / 5);
                }
            })
        });
        Bustle { handles: handles.collect(), stop }
    }
}

impl Drop for Bustle {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.handles.drain(..).for_each(|handle| handle.join().unwrap());
    }
}

/// Whether there is still a thread with that number.
fn is_thread(tid: i32) -> bool {
    Path::new(&format!("/proc/self/task/{tid}")).exists()
}

/// The thread with that number ends: it was kept by who ended without letting go. Where coroutines do not move, others
/// may live there.
fn await_end(runtime: &Runtime, tid: i32) {
    if runtime.coroutines_move() {
        wait_until("the thread ends", || !is_thread(tid));
    }
}

/// Parks in every way there is; `after` is called after each.
fn every_park(mut after: impl FnMut(&str)) {
    gort::yield_now();
    after("yield");
    gort::time::sleep(MS / 10);
    after("sleep");
    gort::park_timeout(MS / 10);
    after("park with a deadline");
    let me = gort::current();
    let waker = go!(move || me.unpark());
    gort::park();
    after("park");
    waker.join().unwrap();
    after("join");
    let (tx, rx) = bounded(0);
    let echo = go!({
        let rx: gort::channel::Receiver<u32> = rx.clone();
        move || rx.recv().unwrap()
    });
    tx.send(5).unwrap();
    after("send");
    assert_eq!(echo.join().unwrap(), 5);
    let sender = go!(move || {
        gort::yield_now();
        tx.send(6).unwrap();
    });
    assert_eq!(rx.recv(), Ok(6));
    after("receive");
    sender.join().unwrap();
    gort::scope(|scope| {
        scope.go(|| gort::time::sleep(MS / 10));
    });
    after("scope");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = go!(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        gort::time::sleep(MS / 5);
        stream.write_all(b"abc").unwrap();
    });
    let (mut stream, _) = listener.accept().unwrap();
    after("accept");
    stream.read_exact(&mut [0; 3]).unwrap();
    after("read");
    peer.join().unwrap();
    gort::blocking(|| std::thread::sleep(MS / 10));
    after("blocking");
}

#[test]
fn the_thread_stays_across_every_kind_of_park() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let _bustle = Bustle::new(20);
            for _ in 0..10 {
                let guard = lock_os_thread();
                let tid = gettid();
                let id = std::thread::current().id();
                every_park(|what| {
                    assert_eq!(gettid(), tid, "{what}");
                    assert_eq!(std::thread::current().id(), id, "{what}");
                });
                drop(guard);
                every_park(|_| assert_eq!(std::thread::current().id(), id));
            }
        });
    });
}

#[test]
fn many_keep_their_threads_at_once() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let _bustle = Bustle::new(5);
            let all_hold = Arc::new(gort::sync::Barrier::new(20));
            let handles: Vec<_> = (0..20)
                .map(|_| {
                    let all_hold = all_hold.clone();
                    go!(move || {
                        let _guard = lock_os_thread();
                        let tid = gettid();
                        all_hold.wait();
                        every_park(|what| assert_eq!(gettid(), tid, "{what}"));
                        all_hold.wait();
                        assert_eq!(gettid(), tid);
                        tid
                    })
                })
                .collect();
            let tids: std::collections::HashSet<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
            // Everybody has a thread of his own.
            assert!(!runtime.coroutines_move() || tids.len() == 20, "{tids:?}");
        });
    });
}

#[test]
fn two_that_keep_their_threads_talk_to_one_another() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let (tx, rx) = bounded::<u32>(0);
            let (back, results) = bounded::<u32>(0);
            let other = Builder::new().own_home().spawn(move || {
                let _guard = lock_os_thread();
                let tid = gettid();
                for number in rx {
                    back.send(number + 1).unwrap();
                    assert_eq!(gettid(), tid);
                }
                tid
            });
            let _guard = lock_os_thread();
            let tid = gettid();
            for number in 0..500 {
                tx.send(number).unwrap();
                assert_eq!(results.recv(), Ok(number + 1));
                assert_eq!(gettid(), tid);
            }
            drop(tx);
            let theirs = other.unwrap().join().unwrap();
            assert!(theirs != tid || !runtime.coroutines_move());
        });
    });
}

#[test]
fn others_run_while_one_waits_or_computes_or_blocks_on_its_thread() {
    // Goal: with a single P, the others have it whenever the one that keeps its thread does not need it.
    let runtime = builder(1).build().unwrap();
    if !runtime.coroutines_move() {
        return;
    }
    runtime.run(|| {
        for step in [
            |time| gort::time::sleep(time),
            |time| std::thread::sleep(time),
            compute,
            |time| gort::blocking(|| std::thread::sleep(time)),
        ] {
            let stop = Arc::new(AtomicBool::new(false));
            let ticks = Arc::new(AtomicUsize::new(0));
            let ticker = go!({
                let (stop, ticks) = (stop.clone(), ticks.clone());
                move || {
                    while !stop.load(SeqCst) {
                        ticks.fetch_add(1, SeqCst);
                        gort::time::sleep(MS);
                    }
                }
            });
            let guard = lock_os_thread();
            let tid = gettid();
            let start = Instant::now();
            while ticks.load(SeqCst) < 10 {
                step(20 * MS);
                assert_eq!(gettid(), tid);
                assert!(start.elapsed() < common::PATIENCE);
            }
            drop(guard);
            stop.store(true, SeqCst);
            ticker.join().unwrap();
        }
    });
}

#[test]
fn guards_nest_and_are_dropped_in_any_order_and_place() {
    fn outer() -> OsThreadGuard {
        let first = lock_os_thread();
        let second = lock_os_thread();
        let third = lock_os_thread();
        drop(first);
        drop(third);
        second
    }
    with_each_procs(|runtime| {
        runtime.run(|| {
            let _bustle = Bustle::new(10);
            struct Keeps(#[expect(dead_code, reason = "held")] OsThreadGuard);
            for _ in 0..5 {
                let guard = outer();
                let tid = gettid();
                let keeps = Box::new(Keeps(guard));
                for _ in 0..5 {
                    every_park(|what| assert_eq!(gettid(), tid, "{what}"));
                }
                drop(keeps);
            }
        });
        // It moves again: no P is tied to what has been let go.
        runtime.run(|| {
            drop(lock_os_thread());
            let first = gettid();
            let _bustle = Bustle::new(10);
            let start = Instant::now();
            while gettid() == first && runtime.coroutines_move() && runtime.procs() > 1 {
                gort::yield_now();
                gort::time::sleep(MS / 10);
                assert!(start.elapsed() < common::PATIENCE, "it never moves");
            }
        });
    });
}

#[test]
fn a_guard_that_is_dropped_by_another_coroutine_does_not_let_go() {
    with_each_procs(|runtime| {
        let (tid, theirs) = runtime.run(|| {
            let guard = Rc::new(RefCell::new(Some(lock_os_thread())));
            let tid = gettid();
            let child = go_local!({
                let guard = guard.clone();
                move || {
                    drop(guard.borrow_mut().take());
                    gettid()
                }
            });
            let theirs = child.join().unwrap();
            every_park(|what| assert_eq!(gettid(), tid, "{what}"));
            (tid, theirs)
        });
        assert_eq!(tid, theirs);
        await_end(runtime, tid);
    });
}

thread_local!(static LEFT: RefCell<Option<OsThreadGuard>> = const { RefCell::new(None) });

#[test]
fn a_guard_may_lie_in_a_thread_local_to_the_end() {
    // Goal: it is dropped by the home's thread, or by the M's, where there is no coroutine.
    with_each_procs(|_| {
        let runtime = builder(2).build().unwrap();
        let tid = runtime.run(|| {
            LEFT.set(Some(lock_os_thread()));
            gort::yield_now();
            gettid()
        });
        await_end(&runtime, tid);
        drop(runtime);
    });
}

#[test]
fn who_ends_without_letting_go_takes_the_thread_along() {
    with_each_procs(|runtime| {
        for round in 0..10 {
            let only = runtime.spawn(move || {
                std::mem::forget(lock_os_thread());
                if round % 2 == 0 {
                    gort::yield_now();
                    gort::time::sleep(MS);
                }
                gettid()
            });
            let tid = only.join().unwrap();
            wait_until("the thread ends", || !is_thread(tid));
            assert_eq!(runtime.run(|| go!(|| 7).join().unwrap()), 7);
        }
    });
}

#[test]
fn who_panics_takes_the_thread_along() {
    quiet_panics();
    with_each_procs(|runtime| {
        let tid = Arc::new(AtomicUsize::new(0));
        let ended = runtime.run(|| {
            let tid = tid.clone();
            go!(move || {
                let _guard = lock_os_thread();
                tid.store(gettid() as usize, SeqCst);
                gort::yield_now();
                panic_meant(3)
            })
            .join()
        });
        assert!(matches!(ended, Err(gort::JoinError::Panicked(_))));
        await_end(runtime, tid.load(SeqCst) as i32);
        assert_eq!(runtime.run(|| go!(|| 7).join().unwrap()), 7);
    });
}

#[test]
fn who_catches_its_panic_keeps_the_thread_to_its_end() {
    quiet_panics();
    with_each_procs(|runtime| {
        let tid = runtime.run(|| {
            let _bustle = Bustle::new(5);
            go!(|| {
                let caught = std::panic::catch_unwind(|| {
                    let _guard = lock_os_thread();
                    panic_meant(4)
                });
                assert!(caught.is_err());
                let tid = gettid();
                every_park(|what| assert_eq!(gettid(), tid, "{what}"));
                drop(lock_os_thread());
                every_park(|what| assert_eq!(gettid(), tid, "{what}"));
                tid
            })
            .join()
            .unwrap()
        });
        await_end(runtime, tid);
    });
}

#[test]
fn a_destructor_may_keep_the_thread_for_itself() {
    // Goal: a guard that is made and dropped while its coroutine unwinds lets go, and parks on the way are all right.
    quiet_panics();
    struct Locks;
    impl Drop for Locks {
        fn drop(&mut self) {
            let _guard = lock_os_thread();
            let tid = gettid();
            for _ in 0..3 {
                gort::time::sleep(MS / 10);
                assert_eq!(gettid(), tid);
                gort::yield_now();
                assert_eq!(gettid(), tid);
            }
        }
    }
    with_each_procs(|runtime| {
        runtime.run(|| {
            let _bustle = Bustle::new(5);
            let (tx, rx) = unbounded();
            let ended = go!(move || {
                let caught = std::panic::catch_unwind(|| {
                    let _locks = Locks;
                    panic_meant(5)
                });
                assert!(caught.is_err());
                tx.send(gettid()).unwrap();
            });
            ended.join().unwrap();
            let tid = rx.recv().unwrap();
            gort::time::sleep(20 * MS);
            assert!(is_thread(tid), "it has let go of the thread, which goes on");
        });
    });
}

#[test]
fn a_hog_comes_back_to_its_thread() {
    let runtime = builder(1).time_slice(2 * MS).build().unwrap();
    if !runtime.coroutines_move() {
        return;
    }
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..3)
            .map(|_| {
                let stop = stop.clone();
                go!(move || {
                    let _guard = lock_os_thread();
                    let tid = gettid();
                    let mut steps = 0;
                    while !stop.load(SeqCst) || steps < 20 {
                        compute(MS / 2);
                        assert_eq!(gettid(), tid);
                        steps += 1;
                        if steps % 50 == 0 {
                            gort::yield_now();
                        }
                    }
                })
            })
            .collect();
        let start = Instant::now();
        for _ in 0..20 {
            gort::time::sleep(MS);
            assert!(start.elapsed() < common::PATIENCE);
        }
        stop.store(true, SeqCst);
        hogs.into_iter().for_each(|hog| hog.join().unwrap());
    });
}

#[test]
fn local_coroutines_live_on_the_same_thread() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let _bustle = Bustle::new(10);
            let guard = lock_os_thread();
            let tid = gettid();
            let count = Rc::new(Cell::new(0));
            let children: Vec<_> = (0..8)
                .map(|number| {
                    let count = count.clone();
                    go_local!(move || {
                        for _ in 0..10 {
                            assert_eq!(gettid(), tid);
                            let inner = (number % 2 == 0).then(lock_os_thread);
                            gort::time::sleep(MS / 10);
                            assert_eq!(gettid(), tid);
                            gort::yield_now();
                            assert_eq!(gettid(), tid);
                            count.set(count.get() + 1);
                            drop(inner);
                        }
                        let grandchild = go_local!(move || assert_eq!(gettid(), tid));
                        grandchild.join().unwrap();
                    })
                })
                .collect();
            every_park(|what| assert_eq!(gettid(), tid, "{what}"));
            children.into_iter().for_each(|child| child.join().unwrap());
            assert_eq!(count.get(), 80);
            drop(guard);
            // A child keeps the thread when its parent does no longer, and they share it.
            let child = go_local!(move || {
                let _guard = lock_os_thread();
                let tid = gettid();
                every_park(|what| assert_eq!(gettid(), tid, "{what}"));
            });
            every_park(|_| ());
            child.join().unwrap();
        });
    });
}

#[test]
fn who_shares_the_home_does_not_wait() {
    // Goal: one that keeps its thread waits for another of its home, and that one runs.
    for homes in [1, 2] {
        for procs in common::PROCS {
            let runtime = builder(procs).homes(homes).build().unwrap();
            runtime.run(|| {
                let (tx, rx) = bounded(0);
                let begun = Arc::new(AtomicUsize::new(0));
                let sharers: Vec<_> = (0..6)
                    .map(|_| {
                        let (rx, begun) = (rx.clone(), begun.clone());
                        go!(move || {
                            begun.fetch_add(1, SeqCst);
                            rx.recv().unwrap()
                        })
                    })
                    .collect();
                wait_until("all have begun", || begun.load(SeqCst) == 6);
                let _guard = lock_os_thread();
                let tid = gettid();
                (0..6).for_each(|number| tx.send(number).unwrap());
                let sum: i32 = sharers.into_iter().map(|sharer| sharer.join().unwrap()).sum();
                assert_eq!((sum, gettid()), (15, tid));
            });
        }
    }
}

#[test]
fn nobody_comes_to_share_the_home() {
    // Goal: with one home for the others, coroutines that begin while one keeps its thread do not begin in its home.
    let runtime = builder(2).homes(2).build().unwrap();
    runtime.run(|| {
        let _guard = lock_os_thread();
        let (tid, id) = (gettid(), std::thread::current().id());
        let others: Vec<_> = (0..50)
            .map(|_| {
                go!(move || {
                    for _ in 0..3 {
                        assert_ne!(gettid(), tid);
                        assert_ne!(std::thread::current().id(), id);
                        gort::yield_now();
                    }
                })
            })
            .collect();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn cancelled_while_it_waits() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let _bustle = Bustle::new(5);
            for _ in 0..10 {
                let (tx, rx) = bounded(1);
                let handle = go!(move || {
                    let _guard = lock_os_thread();
                    let tid = gettid();
                    gort::shield(|| gort::time::sleep(MS));
                    struct Same(i32);
                    impl Drop for Same {
                        fn drop(&mut self) {
                            gort::time::sleep(MS / 10);
                            assert_eq!(gettid(), self.0);
                        }
                    }
                    let _same = Same(tid);
                    tx.send(tid).unwrap();
                    gort::park();
                    gort::park();
                });
                let tid = rx.recv().unwrap();
                handle.cancel();
                assert!(matches!(handle.join(), Err(gort::JoinError::Cancelled)));
                await_end(runtime, tid);
            }
        });
    });
}

#[test]
fn the_runtime_ends_while_some_wait_on_their_threads() {
    for procs in common::PROCS {
        for _ in 0..5 {
            let runtime = builder(procs).build().unwrap();
            let unwound = Arc::new(AtomicUsize::new(0));
            let there = Arc::new(AtomicUsize::new(0));
            for number in 0..6 {
                let (counts, there) = (Counts(unwound.clone()), there.clone());
                runtime.spawn(move || {
                    let _counts = counts;
                    let guard = lock_os_thread();
                    if number % 2 == 0 {
                        std::mem::forget(guard);
                        there.fetch_add(1, SeqCst);
                        gort::park();
                    } else {
                        there.fetch_add(1, SeqCst);
                        gort::park();
                        drop(guard);
                    }
                });
            }
            wait_until("all wait", || there.load(SeqCst) == 6);
            drop(runtime);
            assert_eq!(unwound.load(SeqCst), 6);
        }
    }
}

#[test]
fn threads_that_are_kept_do_not_count() {
    // Goal: with one thread allowed, coroutines that keep theirs leave one for the others.
    for threads in [1, 2] {
        let runtime = builder(2).threads(threads).build().unwrap();
        runtime.run(|| {
            let kept: Vec<_> = (0..6)
                .map(|_| {
                    go!(|| {
                        let _guard = lock_os_thread();
                        let tid = gettid();
                        for _ in 0..20 {
                            gort::time::sleep(MS / 5);
                            assert_eq!(gettid(), tid);
                        }
                    })
                })
                .collect();
            let _guard = lock_os_thread();
            for number in 0..20 {
                assert_eq!(go!(move || number).join().unwrap(), number);
            }
            kept.into_iter().for_each(|one| one.join().unwrap());
        });
    }
}

fn nice_of(tid: i32) -> i32 {
    // SAFETY: no memory.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, tid as u32) }
}

#[test]
fn threads_of_the_runtime_inherit_nothing() {
    // Goal: one that keeps its thread makes that thread nice; threads that the runtime starts because of what it does
    // are not.
    let mine = nice_of(0);
    for procs in common::PROCS {
        let runtime = builder(procs).build().unwrap();
        runtime.run(|| {
            std::mem::forget(lock_os_thread());
            let tid = gettid();
            // SAFETY: no memory. To be nicer is always allowed.
            assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, tid as u32, mine + 3) }, 0);
            assert_eq!(nice_of(0), mine + 3);
            let others: Vec<_> = (0..5)
                .map(|_| {
                    Builder::new().own_home().spawn(move || {
                        gort::blocking(|| std::thread::sleep(20 * MS));
                        assert_ne!(gettid(), tid);
                        assert_eq!(nice_of(0), mine);
                    })
                })
                .collect();
            gort::blocking(|| std::thread::sleep(5 * MS));
            others.into_iter().for_each(|other| other.unwrap().join().unwrap());
            assert_eq!((gettid(), nice_of(0)), (tid, mine + 3));
        });
        runtime.run(|| assert_eq!(nice_of(0), mine));
    }
}

#[test]
fn a_plain_thread_is_kept_anyway() {
    let guard = lock_os_thread();
    let again = lock_os_thread();
    drop(guard);
    drop(again);
}

#[test]
fn at_random() {
    // Goal: coroutines lock, let go, forget to, park, start others and panic at random; who keeps a thread is always on it.
    quiet_panics();
    let seed = seed();
    for (round, homes) in [256, 1, 3, 16].into_iter().enumerate() {
        for procs in common::PROCS {
            let runtime = builder(procs).homes(homes).time_slice(2 * MS).build().unwrap();
            let random = Random::new(seed + (round * 16 + procs) as u64);
            let numbers = Arc::new(Mutex::new(random));
            runtime.run(|| {
                let handles: Vec<_> = (0..30)
                    .map(|_| {
                        let numbers = numbers.clone();
                        go!(move || life(&numbers, 60 * common::factor()))
                    })
                    .collect();
                for handle in handles {
                    match handle.join() {
                        Ok(()) => {}
                        Err(gort::JoinError::Panicked(payload)) => assert!(payload.is::<common::Meant>(), "{seed}"),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    }
}

fn life(numbers: &Arc<Mutex<Random>>, steps: u64) {
    let below = |limit| numbers.lock().unwrap().below(limit);
    let mut guards = Vec::new();
    let mut kept = None;
    for _ in 0..steps {
        if let Some(tid) = kept {
            assert_eq!(gettid(), tid);
        }
        match below(24) {
            0..5 => {
                guards.push(lock_os_thread());
                kept = kept.or(Some(gettid()));
            }
            5..10 => {
                if !guards.is_empty() {
                    drop(guards.swap_remove(below(guards.len() as u64) as usize));
                }
                if guards.is_empty() {
                    kept = None;
                }
            }
            10..14 => gort::yield_now(),
            14..18 => gort::time::sleep(MS * below(3) as u32 / 10),
            // The runtime may be ending, for who outlives the test's main coroutine.
            18 => drop(Builder::new().spawn(gettid).map(gort::JoinHandle::join)),
            19 => {
                let numbers = numbers.clone();
                drop(Builder::new().spawn_local(move || life(&numbers, steps / 4)));
            }
            20 => compute(MS * below(4) as u32),
            21 => gort::blocking(|| std::thread::sleep(MS / 5)),
            22 if below(8) == 0 => return guards.into_iter().for_each(std::mem::forget),
            23 if below(8) == 0 => panic_meant(1),
            _ => {}
        }
    }
}

/// All of this where coroutines do not move.
#[test]
fn with_fixed_homes() {
    common::again_with_fixed_homes();
}

//! Locks and the other means of waiting: one checklist, everywhere.
//!
//! Goal: what the documentation of `gort::sync` says holds between coroutines, between threads, and between the
//! two. Method: each check is a function of a *world* (Ps, and what runs its tasks); the macro at the end makes
//! a test of each combination. Nothing sleeps for a fixed time to make something likely: the checks hold for every
//! interleaving, and wait for conditions.

mod common;

use common::world::suite;
use common::{CHAOS, Meant, PATIENCE, Random, Task, builder, factor, join_all, panic_meant, quiet_panics, wait_until};
use gort::context::Context;
use gort::sync::{
    AcquireError, AcquireTimeoutError, Barrier, Condvar, LazyLock, Mutex, MutexGuard, Notify, ObjectPool,
    ObjectPoolError, Once, OnceLock, Pool, ReentrantMutex, ReentrantMutexGuard, RwLock, RwLockReadGuard,
    RwLockWriteGuard, Semaphore, SingleFlight, TryAcquireError, WaitGroup, WaitTimeoutResult, Watch, WatchClosed,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// What runs a check and its tasks.
#[derive(Clone, Copy)]
struct World {
    /// Ps of the runtime; 0 if the check itself runs on a plain thread.
    procs: usize,
    /// Whether the tasks of even and of odd numbers are threads.
    threads: [bool; 2],
}

const ONE_PROC: World = World { procs: 1, threads: [false, false] };
const TWO_PROCS: World = World { procs: 2, threads: [false, false] };
const EIGHT_PROCS: World = World { procs: 8, threads: [false, false] };
const THREADS: World = World { procs: 0, threads: [true, true] };
const MIXED: World = World { procs: 2, threads: [false, true] };

impl World {
    fn run(self, check: fn(World)) {
        match self.procs {
            0 => check(self),
            procs => builder(procs).build().unwrap().run(|| check(self)),
        }
    }

    /// Starts the task `number`.
    fn task<T: Send + 'static>(self, number: usize, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        Task::start(self.threads[number % 2], f)
    }

    /// Starts the tasks from 0 to `count`.
    fn tasks<T: Send + 'static>(
        self,
        count: usize,
        make: impl Fn(usize) -> Box<dyn FnOnce() -> T + Send>,
    ) -> Vec<Task<T>> {
        (0..count).map(|number| self.task(number, make(number))).collect()
    }

    /// How often a stress does what it does.
    fn many(self) -> usize {
        factor() as usize * if self.threads == [false, false] { 5_000 } else { 500 }
    }
}

const SHORT: Duration = Duration::from_millis(3);
/// A timeout that a working test never reaches.
const LONG: Duration = Duration::from_secs(60);

/// A count that tells when several are inside at once.
#[derive(Default)]
struct Inside(AtomicUsize);

impl Inside {
    fn enter(&self, most: usize) -> impl Drop + '_ {
        struct Leave<'a>(&'a Inside);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.0.fetch_sub(1, SeqCst);
            }
        }
        let leave = Leave(self);
        let before = self.0.fetch_add(1, SeqCst);
        assert!(before < most, "{} are inside", before + 1);
        leave
    }
}

// Mutex.

fn mutex_smoke(_: World) {
    let mutex = Mutex::new(1);
    *mutex.lock() += 1;
    let guard = mutex.lock();
    assert!(mutex.is_locked() && mutex.try_lock().is_none());
    let start = Instant::now();
    assert!(mutex.try_lock_for(SHORT).is_none() && start.elapsed() >= SHORT);
    assert!(mutex.try_lock_until(Instant::now() + SHORT).is_none());
    assert!(mutex.try_lock_for(Duration::ZERO).is_none() && mutex.try_lock_until(start).is_none());
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), 2);
    assert_eq!(*mutex.try_lock_for(Duration::ZERO).unwrap(), 2);
    assert_eq!(*mutex.try_lock_until(start).unwrap(), 2);
    MutexGuard::unlock_fair(mutex.lock());
    assert_eq!(mutex.into_inner(), 2);
}

fn mutex_excludes(w: World) {
    let state = Arc::new((Mutex::new(0), Inside::default()));
    let count = w.many();
    let tasks = w.tasks(8, |number| {
        let state = state.clone();
        Box::new(move || {
            let mut random = Random::new(number as u64 + 1);
            let mut done = 0;
            for _ in 0..count {
                let guard = match random.below(4) {
                    0 => state.0.try_lock(),
                    1 => state.0.try_lock_for(Duration::from_micros(random.below(100))),
                    _ => Some(state.0.lock()),
                };
                let Some(mut guard) = guard else { continue };
                let _inside = state.1.enter(1);
                *guard += 1;
                done += 1;
                if random.below(10) == 0 {
                    gort::yield_now();
                }
                if random.below(5) == 0 {
                    drop(_inside);
                    MutexGuard::unlock_fair(guard);
                }
            }
            done
        })
    });
    let done: usize = join_all(tasks).into_iter().sum();
    assert_eq!(*state.0.lock(), done);
}

/// With fair unlocking those who wait get the mutex in the order in which they came.
fn mutex_fair_unlock_keeps_the_order(w: World) {
    let mutex = Arc::new(Mutex::new(Vec::new()));
    // In one of ten rounds at least: nothing shows who is in the queue already, and one that came may be kept from it for
    // longer than we wait. By chance the order is this in one of 720.
    let kept = (0..10).any(|round| {
        let guard = mutex.lock();
        let come = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for number in 0..6 {
            let (mutex, come_too) = (mutex.clone(), come.clone());
            tasks.push(w.task(number, move || {
                come_too.fetch_add(1, SeqCst);
                let mut guard = mutex.lock();
                guard.push(number);
                MutexGuard::unlock_fair(guard);
            }));
            wait_until("it has come", || come.load(SeqCst) == number + 1);
            gort::time::sleep(SHORT);
        }
        MutexGuard::unlock_fair(guard);
        join_all(tasks);
        let order = std::mem::take(&mut *mutex.lock());
        eprintln!("round {round}: {order:?}");
        order == (0..6).collect::<Vec<_>>()
    });
    assert!(kept, "not one round was in order");
}

/// One who locks again and again does not keep others out.
fn mutex_is_handed_over(w: World) {
    let mutex = Arc::new(Mutex::new(()));
    let stop = Arc::new(AtomicBool::new(false));
    let hogs = w.tasks(2, |_| {
        let (mutex, stop) = (mutex.clone(), stop.clone());
        Box::new(move || {
            let start = Instant::now();
            while !stop.load(SeqCst) {
                assert!(start.elapsed() < PATIENCE, "the others did not get it");
                let _guard = mutex.lock();
                common::compute(Duration::from_micros(20));
            }
        })
    });
    let others = w.tasks(4, |_| {
        let mutex = mutex.clone();
        Box::new(move || (0..5).for_each(|_| drop(mutex.lock())))
    });
    join_all(others);
    stop.store(true, SeqCst);
    join_all(hogs);
}

fn mutex_is_not_poisoned(w: World) {
    quiet_panics();
    let mutex = Arc::new(Mutex::new(0));
    let other = mutex.clone();
    let panics = w.task(0, move || {
        let mut guard = other.lock();
        *guard = 7;
        panic_meant(1);
    });
    let waits = {
        let mutex = mutex.clone();
        w.task(1, move || *mutex.lock())
    };
    assert!(panics.outcome().is_none());
    waits.join();
    assert_eq!(*mutex.lock(), 7);
}

fn mutex_of_any_size(w: World) {
    let nothing = Arc::new(Mutex::new(()));
    let huge = Arc::new(Mutex::new([0u64; 4_000]));
    let tasks = w.tasks(4, |number| {
        let (nothing, huge) = (nothing.clone(), huge.clone());
        Box::new(move || {
            for _ in 0..20 {
                let _nothing = nothing.lock();
                huge.lock().iter_mut().for_each(|word| *word += number as u64);
            }
        })
    });
    join_all(tasks);
    assert!(huge.lock().iter().all(|word| *word == 20 * 6));
}

fn mutex_held_across_a_wait(w: World) {
    let mutex = Arc::new(Mutex::new(0));
    let tasks = w.tasks(4, |_| {
        let mutex = mutex.clone();
        Box::new(move || {
            for _ in 0..5 {
                let mut guard = mutex.lock();
                let before = *guard;
                gort::time::sleep(Duration::from_micros(200));
                *guard = before + 1;
            }
        })
    });
    join_all(tasks);
    assert_eq!(*mutex.lock(), 20);
}

/// Who is cancelled while it waits has not got the mutex, and the others get it.
fn mutex_cancelled_waiters(w: World) {
    for round in 0..20 {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock();
        let tasks = w.tasks(12, |_| {
            let mutex = mutex.clone();
            Box::new(move || *mutex.lock() += 1)
        });
        let mut random = Random::new(round + 1);
        let (mut guard, mut early) = (Some(guard), random.below(12));
        for task in &tasks {
            if early == 0 {
                guard = None;
            }
            early = early.wrapping_sub(1);
            if random.below(2) == 0 {
                task.cancel();
            }
        }
        drop(guard);
        let done = tasks.into_iter().filter_map(Task::outcome).count();
        assert_eq!(*mutex.lock(), done, "round {round}");
        assert!(!mutex.is_locked());
    }
}

// RwLock.

fn rwlock_smoke(_: World) {
    let lock = RwLock::new(1);
    {
        let (one, two) = (lock.read(), lock.try_read().unwrap());
        assert_eq!((*one, *two), (1, 1));
        assert!(lock.try_write().is_none() && lock.try_write_for(SHORT).is_none());
        assert!(lock.try_write_until(Instant::now() + SHORT).is_none() && lock.try_read_for(SHORT).is_some());
    }
    {
        let mut guard = lock.write();
        *guard = 2;
        assert!(lock.try_read().is_none() && lock.try_read_for(SHORT).is_none() && lock.try_write().is_none());
        assert!(lock.try_read_until(Instant::now() + SHORT).is_none() && lock.is_locked_exclusive());
        let guard = RwLockWriteGuard::downgrade(guard);
        assert_eq!((*guard, *lock.read()), (2, 2));
    }
    assert!(!lock.is_locked());
    assert_eq!(lock.into_inner(), 2);
}

fn rwlock_excludes(w: World) {
    let state = Arc::new((RwLock::new([0; 2]), Inside::default(), Inside::default()));
    let count = w.many() / 2;
    let tasks = w.tasks(8, |number| {
        let state = state.clone();
        Box::new(move || {
            let (lock, readers, writers) = &*state;
            let mut random = Random::new(number as u64 + 1);
            let mut written = 0;
            for _ in 0..count {
                let time = Duration::from_micros(random.below(100));
                let maybe_yield = |random: &mut Random| {
                    if random.below(10) == 0 {
                        gort::yield_now()
                    }
                };
                if random.below(3) > 0 {
                    let guard = match random.below(4) {
                        0 => lock.try_read(),
                        1 => lock.try_read_for(time),
                        2 => Some(lock.read_recursive()),
                        _ => Some(lock.read()),
                    };
                    let Some(guard) = guard else { continue };
                    let _inside = readers.enter(8);
                    assert_eq!(writers.0.load(SeqCst), 0);
                    assert_eq!(guard[0], guard[1]);
                    maybe_yield(&mut random);
                } else {
                    let guard = match random.below(4) {
                        0 => lock.try_write(),
                        1 => lock.try_write_for(time),
                        _ => Some(lock.write()),
                    };
                    let Some(mut guard) = guard else { continue };
                    {
                        let _inside = writers.enter(1);
                        assert_eq!(readers.0.load(SeqCst), 0);
                        guard[0] += 1;
                        maybe_yield(&mut random);
                        guard[1] += 1;
                        written += 1;
                    }
                    match random.below(3) {
                        0 => {
                            let guard = RwLockWriteGuard::downgrade(guard);
                            let _inside = readers.enter(8);
                            maybe_yield(&mut random);
                            assert_eq!(guard[0], guard[1]);
                        }
                        1 => RwLockWriteGuard::unlock_fair(guard),
                        _ => {}
                    }
                }
            }
            written
        })
    });
    let written: usize = join_all(tasks).into_iter().sum();
    assert_eq!(*state.0.read(), [written; 2]);
    assert!(!state.0.is_locked());
}

/// Readers that keep coming do not keep a writer out, nor writers a reader.
fn rwlock_starves_nobody(w: World) {
    for writers in [false, true] {
        let lock = Arc::new(RwLock::new(()));
        let stop = Arc::new(AtomicBool::new(false));
        let hogs = w.tasks(3, |_| {
            let (lock, stop) = (lock.clone(), stop.clone());
            Box::new(move || {
                let start = Instant::now();
                while !stop.load(SeqCst) {
                    assert!(start.elapsed() < PATIENCE, "the other did not get it");
                    if writers {
                        let _guard = lock.write();
                        common::compute(Duration::from_micros(20));
                    } else {
                        let _guard = lock.read();
                        gort::time::sleep(Duration::from_micros(50));
                    }
                }
            })
        });
        let other = {
            let lock = lock.clone();
            w.task(3, move || {
                for _ in 0..5 {
                    if writers { drop(lock.read()) } else { drop(lock.write()) }
                }
            })
        };
        other.join();
        stop.store(true, SeqCst);
        join_all(hogs);
    }
}

/// A writer that gives up, by its deadline or cancelled, lets the readers in that waited behind it.
fn rwlock_writers_give_up(w: World) {
    for round in 0..10 {
        let lock = Arc::new(RwLock::new(()));
        let guard = lock.read();
        let writer = {
            let lock = lock.clone();
            w.task(0, move || lock.try_write_for(if round % 2 == 0 { SHORT } else { LONG }).is_some())
        };
        wait_until("the writer waits", || lock.try_read().is_none() || writer.is_finished());
        let readers = w.tasks(3, |_| {
            let lock = lock.clone();
            Box::new(move || drop(lock.read()))
        });
        if round % 2 == 1 {
            if matches!(writer, Task::Thread(_)) {
                drop(guard);
                writer.join();
                join_all(readers);
                continue;
            }
            writer.cancel();
        }
        // We read all the time.
        join_all(readers);
        assert!(!writer.outcome().unwrap_or(false));
        drop(guard);
        assert!(!lock.is_locked());
    }
}

/// A reader may read again though a writer waits.
fn rwlock_recursive_reads(w: World) {
    let lock = Arc::new(RwLock::new(1));
    let guard = lock.read();
    let writer = {
        let lock = lock.clone();
        w.task(0, move || *lock.write() = 2)
    };
    wait_until("the writer waits", || lock.try_read().is_none());
    assert_eq!(*lock.read_recursive(), 1);
    assert_eq!(lock.try_read_recursive_for(LONG).map(|value| *value), Some(1));
    drop(guard);
    writer.join();
    assert_eq!(*lock.read(), 2);
}

/// By a writer that is done, and by one that gives up while somebody reads.
fn rwlock_many_readers_are_let_in_together(w: World) {
    for gives_up in [false, true] {
        let lock = Arc::new(RwLock::new(()));
        let (mut reads, mut writes, mut writer) = (None, None, None);
        if gives_up {
            reads = Some(lock.read());
            let lock = lock.clone();
            writer = Some(w.task(0, move || lock.try_write_for(Duration::from_millis(30)).is_some()));
        } else {
            writes = Some(lock.write());
        }
        wait_until("readers have to wait", || lock.try_read().is_none() || writer.as_ref().unwrap().is_finished());
        // More than are woken at one hold of the queue's lock; all have to be in at once.
        let count = if w.threads == [false, false] { 100 } else { 40 };
        let barrier = Arc::new(Barrier::new(count));
        let readers = w.tasks(count, |_| {
            let (lock, barrier) = (lock.clone(), barrier.clone());
            Box::new(move || {
                let _guard = lock.read();
                barrier.wait();
            })
        });
        match writer {
            None => gort::time::sleep(SHORT),
            Some(writer) => assert!(!writer.join()),
        }
        drop(writes);
        join_all(readers);
        drop(reads);
        assert!(lock.try_write().is_some());
    }
}

// ReentrantMutex.

fn reentrant_mutex(w: World) {
    let mutex = Arc::new(ReentrantMutex::new(Cell::new(0)));
    let one = mutex.lock();
    let two = mutex.lock();
    assert!(mutex.is_owned_by_current_thread());
    let tried = Arc::new(AtomicUsize::new(0));
    // Whatever thread or home it is on, it is another task.
    let others = w.tasks(4, |_| {
        let (mutex, tried) = (mutex.clone(), tried.clone());
        Box::new(move || {
            let is_kept_out = || {
                assert!(!mutex.is_owned_by_current_thread() && mutex.try_lock().is_none());
                tried.fetch_add(1, SeqCst);
            };
            is_kept_out();
            wait_until("it is released once", || tried.load(SeqCst) > 4);
            is_kept_out();
            for _ in 0..50 {
                let outer = mutex.lock();
                let before = outer.get();
                if before % 7 == 0 {
                    gort::yield_now();
                }
                assert!(mutex.is_owned_by_current_thread());
                mutex.lock().set(before + 1);
                assert_eq!(outer.get(), before + 1);
            }
        })
    });
    let all_try = |count| {
        wait_until("all have tried", || tried.load(SeqCst) == count || others.iter().any(Task::is_finished));
    };
    all_try(4);
    drop(one);
    tried.fetch_add(1, SeqCst);
    all_try(9);
    assert_eq!(two.get(), 0);
    drop(two);
    join_all(others);
    assert_eq!(mutex.lock().get(), 4 * 50);
}

// Guards that are given up for a moment.

/// How far the two have come.
#[derive(Default)]
struct Steps {
    other_has: AtomicBool,
    locks_again: AtomicBool,
    looked: AtomicBool,
}

impl Steps {
    /// While the guard is given up.
    fn without(&self) {
        wait_until("the other has it", || self.other_has.load(SeqCst));
        self.locks_again.store(true, SeqCst);
    }

    /// `bump` hands it over, if the other waits already.
    fn bump(&self, bump: &mut dyn FnMut()) {
        self.locks_again.store(true, SeqCst);
        while !self.other_has.load(SeqCst) {
            common::pass();
            bump();
        }
    }
}

/// Who gives its guard up for a moment, and is to end while it waits to have it again, has it again first: it does not unlock
/// what is another's.
fn ends_do_not_lose_a_guard(w: World) {
    // For each end: one has `mine` and gives it up by `give_up`, another has `theirs` meanwhile.
    fn check<G, H>(
        w: World,
        mine: impl Fn() -> G + Copy + Send + 'static,
        give_up: impl Fn(&mut G, &Steps) + Copy + Send + 'static,
        theirs: impl Fn() -> H + Copy + Send + 'static,
        is_free: impl Fn() -> bool,
    ) {
        for cancels in [false, true] {
            if cancels && w.threads[0] {
                // A thread cannot be cancelled.
                continue;
            }
            let (ctx, end) = Context::background().with_cancel();
            let (has, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(Steps::default()));
            let one = {
                let (has, steps) = (has.clone(), steps.clone());
                w.task(0, move || {
                    let _ = ctx.bound(|| {
                        let mut guard = mine();
                        has.store(true, SeqCst);
                        give_up(&mut guard, &steps);
                    });
                })
            };
            wait_until("the one has it", || has.load(SeqCst));
            let other = {
                let steps = steps.clone();
                w.task(1, move || {
                    let _guard = theirs();
                    steps.other_has.store(true, SeqCst);
                    wait_until("it was looked at", || steps.looked.load(SeqCst));
                })
            };
            wait_until("the one locks again", || steps.other_has.load(SeqCst) && steps.locks_again.load(SeqCst));
            if cancels {
                one.cancel()
            } else {
                assert!(end.cancel())
            };
            let (start, mut kept) = (Instant::now(), true);
            while kept && start.elapsed() < SHORT {
                common::pass();
                kept = !is_free() && !one.is_finished();
            }
            steps.looked.store(true, SeqCst);
            other.join();
            one.end_or_cancelled(cancels);
            assert!(kept, "what the other had was unlocked");
            assert!(is_free());
        }
    }
    let mutex: &'static Mutex<()> = Box::leak(Box::default());
    let lock = move || mutex.lock();
    let is_free = || mutex.try_lock().is_some();
    check(w, lock, |guard, steps| MutexGuard::unlocked(guard, || steps.without()), lock, is_free);
    check(w, lock, |guard, steps| MutexGuard::unlocked_fair(guard, || steps.without()), lock, is_free);
    check(w, lock, |guard, steps| steps.bump(&mut || MutexGuard::bump(guard)), lock, is_free);
    let rwlock: &'static RwLock<()> = Box::leak(Box::default());
    let (read, write) = (move || rwlock.read(), move || rwlock.write());
    let is_free = || rwlock.try_read().is_some();
    check(w, read, |guard, steps| RwLockReadGuard::unlocked(guard, || steps.without()), write, is_free);
    check(w, read, |guard, steps| RwLockReadGuard::unlocked_fair(guard, || steps.without()), write, is_free);
    check(w, read, |guard, steps| steps.bump(&mut || RwLockReadGuard::bump(guard)), write, is_free);
    check(w, write, |guard, steps| RwLockWriteGuard::unlocked(guard, || steps.without()), write, is_free);
    check(w, write, |guard, steps| RwLockWriteGuard::unlocked_fair(guard, || steps.without()), write, is_free);
    check(w, write, |guard, steps| steps.bump(&mut || RwLockWriteGuard::bump(guard)), write, is_free);
    let mutex: &'static ReentrantMutex<()> = Box::leak(Box::default());
    let lock = move || mutex.lock();
    let is_free = || mutex.try_lock().is_some();
    check(w, lock, |guard, steps| ReentrantMutexGuard::unlocked(guard, || steps.without()), lock, is_free);
    check(w, lock, |guard, steps| ReentrantMutexGuard::unlocked_fair(guard, || steps.without()), lock, is_free);
    check(w, lock, |guard, steps| steps.bump(&mut || ReentrantMutexGuard::bump(guard)), lock, is_free);
}

// Condvar.

fn condvar_smoke(_: World) {
    let (mutex, condvar) = (Mutex::new(1), Condvar::new());
    condvar.notify_one();
    condvar.notify_all();
    let start = Instant::now();
    let (guard, result) = condvar.wait_timeout(mutex.lock(), SHORT);
    assert!(result.timed_out() && start.elapsed() >= SHORT && *guard == 1);
    let (guard, result) = condvar.wait_until(guard, Instant::now() + SHORT);
    assert!(result.timed_out() && mutex.is_locked());
    let (guard, result) = condvar.wait_timeout_while(guard, SHORT, |n| *n == 1);
    assert!(result.timed_out());
    let (guard, result) = condvar.wait_until_while(guard, start, |n| *n == 2);
    assert!(!result.timed_out());
    drop(condvar.wait_while(guard, |n| *n == 2));
    assert!(!mutex.is_locked());
}

/// Two take turns.
fn condvar_ping_pong(w: World) {
    let state = Arc::new((Mutex::new(0), Condvar::new()));
    let count = w.many() / 5;
    let tasks = w.tasks(2, |number| {
        let state = state.clone();
        Box::new(move || {
            for _ in 0..count {
                let mut turn = state.1.wait_while(state.0.lock(), |turn| *turn % 2 != number);
                *turn += 1;
                drop(turn);
                state.1.notify_one();
            }
        })
    });
    join_all(tasks);
    assert_eq!(*state.0.lock(), 2 * count);
}

/// Others have the mutex in between, also if there is no time to wait.
fn condvar_without_time(w: World) {
    type Wait = for<'a> fn(&Condvar, MutexGuard<'a, bool>) -> (MutexGuard<'a, bool>, WaitTimeoutResult);
    let waits: [Wait; 4] = [
        |condvar, guard| condvar.wait_timeout(guard, Duration::ZERO),
        |condvar, guard| condvar.wait_until(guard, Instant::now()),
        |condvar, guard| condvar.wait_timeout_while(guard, Duration::ZERO, |done| !*done),
        |condvar, guard| condvar.wait_until_while(guard, Instant::now(), |done| !*done),
    ];
    for wait in waits {
        let (done, condvar) = (Arc::new(Mutex::new(false)), Condvar::new());
        let mut guard = done.lock();
        let other = {
            let done = done.clone();
            w.task(1, move || *done.lock() = true)
        };
        let start = Instant::now();
        while !*guard {
            assert!(start.elapsed() < PATIENCE, "it is kept out");
            guard = wait(&condvar, guard).0;
        }
        drop(guard);
        other.join();
    }
}

/// Waits until `count` tasks wait, each of which counts itself under the mutex before.
#[track_caller]
fn all_wait(mutex: &Mutex<usize>, count: usize) {
    wait_until("all wait", || *mutex.lock() == count);
}

fn condvar_wakes_in_order(w: World) {
    for all in [false, true] {
        let state = Arc::new((Mutex::new(0), Condvar::new(), Mutex::new(Vec::new())));
        let mut tasks = Vec::new();
        for number in 0..6 {
            let state = state.clone();
            tasks.push(w.task(number, {
                let state = state.clone();
                move || {
                    let mut guard = state.0.lock();
                    *guard += 1;
                    drop(state.1.wait(guard));
                    state.2.lock().push(number);
                }
            }));
            all_wait(&state.0, number + 1);
        }
        if all {
            state.1.notify_all();
        } else {
            for woken in 1..=6 {
                state.1.notify_one();
                wait_until("one is woken", || state.2.lock().len() == woken);
            }
        }
        join_all(tasks);
        let order = std::mem::take(&mut *state.2.lock());
        // Woken all at once they run at the same time, or in another order if they are disturbed.
        if !all || w.procs == 1 && !CHAOS {
            assert_eq!(order, (0..6).collect::<Vec<_>>());
        }
    }
}

/// A notification is not lost with one who is cancelled or whose time is up.
fn condvar_passes_on(w: World) {
    for round in 0..50 {
        let mut random = Random::new(round + 1);
        let state = Arc::new((Mutex::new(0), Condvar::new()));
        // Not under a lock: who is cancelled while it waits for that would lose its token.
        let tokens = Arc::new(AtomicUsize::new(0));
        // Three of the eight end, each by a cancel or by its time; a thread cannot be cancelled.
        let first = random.below(8) as usize;
        let ends = [first, (first + 2) % 8, (first + 5) % 8];
        let is_cancelled = ends.map(|number| random.below(2) == 0 && !w.threads[number % 2]);
        let times = ends.map(|_| Duration::from_micros(random.below(1000) + 1));
        let tasks = w.tasks(8, |number| {
            let (state, tokens) = (state.clone(), tokens.clone());
            let end = ends.iter().position(|end| *end == number).filter(|end| !is_cancelled[*end]);
            let time = end.map_or(LONG, |end| times[end]);
            Box::new(move || {
                let mut guard = state.0.lock();
                *guard += 1;
                let (guard, result) = state.1.wait_timeout(guard, time);
                drop(guard);
                tokens.fetch_add(usize::from(!result.timed_out()), SeqCst);
                !result.timed_out()
            })
        });
        all_wait(&state.0, 8);
        for step in 0..8 {
            if random.below(2) == 0 {
                gort::yield_now();
            }
            match step {
                0 | 2 | 4 if is_cancelled[step / 2] => tasks[ends[step / 2]].cancel(),
                0 | 2 | 4 => {}
                _ => state.1.notify_one(),
            }
        }
        // Five notifications, and five whom nothing else ends.
        wait_until("none is lost", || tokens.load(SeqCst) >= 5);
        wait_until("three end", || ends.iter().all(|end| tasks[*end].is_finished()));
        // For each token that one of the three has had there is one who waits.
        let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
        let ended = ends.map(|end| tasks[end].take().unwrap().outcome() == Some(true));
        ended.iter().filter(|got| **got).for_each(|_| state.1.notify_one());
        assert!(join_all(tasks.into_iter().flatten()).into_iter().all(|got| got));
        assert_eq!(tokens.load(SeqCst), 5 + ended.iter().filter(|got| **got).count());
    }
}

/// Of two who wait one is notified and cancelled at the same time: one of the two goes on.
fn condvar_cancel_and_notify(w: World) {
    if w.threads[0] {
        return;
    }
    for round in 0..100 {
        let state = Arc::new((Mutex::new(0), Condvar::new()));
        let tasks = w.tasks(2, |_| {
            let state = state.clone();
            Box::new(move || {
                let mut guard = state.0.lock();
                *guard += 1;
                drop(state.1.wait(guard));
            })
        });
        all_wait(&state.0, 2);
        // The mutex is held meanwhile, so that who is notified has to wait for it, and is cancelled there.
        let guard = state.0.lock();
        if round % 2 == 0 {
            state.1.notify_one();
            (0..round % 7).for_each(|_| gort::yield_now());
            tasks[0].cancel();
        } else {
            tasks[0].cancel();
            (0..round % 7).for_each(|_| gort::yield_now());
            state.1.notify_one();
        }
        drop(guard);
        wait_until("one goes on", || tasks.iter().any(Task::is_finished));
        let mut tasks = tasks.into_iter();
        let (first, second) = (tasks.next().unwrap(), tasks.next().unwrap());
        if first.outcome().is_none() {
            // It has not used the notification up.
            second.join();
        } else {
            state.1.notify_one();
            second.join();
        }
    }
}

// Once, OnceLock, LazyLock.

fn once(w: World) {
    for round in 0..20 {
        let state = Arc::new((Once::new(), AtomicUsize::new(0), Mutex::new(0)));
        let tasks = w.tasks(6, |_| {
            let state = state.clone();
            Box::new(move || {
                state.0.call_once(|| {
                    gort::time::sleep(Duration::from_micros(round * 10));
                    state.1.fetch_add(1, SeqCst);
                });
                assert!(state.0.is_completed());
                assert_eq!(state.1.load(SeqCst), 1);
            })
        });
        state.0.wait();
        assert_eq!(state.1.load(SeqCst), 1);
        join_all(tasks);
    }
    assert!(!Once::new().wait_timeout(SHORT));
}

/// An attempt that unwinds is none: the next one tries.
fn once_unwinds(w: World) {
    quiet_panics();
    let state = Arc::new((Once::new(), AtomicUsize::new(0)));
    let tasks = w.tasks(6, |_| {
        let state = state.clone();
        Box::new(move || {
            let call = || {
                state.0.call_once(|| {
                    gort::yield_now();
                    match state.1.fetch_add(1, SeqCst) {
                        0..3 => panic_meant(7),
                        number => assert_eq!(number, 3),
                    }
                });
            };
            match catch_unwind(AssertUnwindSafe(call)) {
                Ok(()) => false,
                Err(payload) => *payload.downcast::<Meant>().unwrap() == Meant(7),
            }
        })
    });
    assert_eq!(join_all(tasks).into_iter().filter(|panicked| *panicked).count(), 3);
    assert!(state.0.is_completed());
    if !w.threads[0] {
        let once = Arc::new(Once::new());
        let entered = Arc::new(AtomicBool::new(false));
        let cancelled = {
            let (once, entered) = (once.clone(), entered.clone());
            w.task(0, move || {
                once.call_once(|| {
                    entered.store(true, SeqCst);
                    gort::park();
                })
            })
        };
        wait_until("it is at it", || entered.load(SeqCst));
        let next = {
            let once = once.clone();
            w.task(1, move || once.call_once(|| ()))
        };
        cancelled.cancel();
        assert!(cancelled.outcome().is_none());
        next.join();
        assert!(once.is_completed());
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, SeqCst);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn once_lock(w: World) {
    let alive = Arc::new(AtomicUsize::new(0));
    let cell = Arc::new(OnceLock::new());
    assert!(cell.get().is_none() && cell.wait_timeout(SHORT).is_none());
    let tasks = w.tasks(6, |number| {
        let (cell, alive) = (cell.clone(), alive.clone());
        Box::new(move || match number {
            0 | 1 => cell.set(Counted::new(&alive)).is_ok() as usize,
            2 => {
                cell.wait();
                0
            }
            _ => {
                let mut mine = 0;
                cell.get_or_init(|| {
                    gort::yield_now();
                    mine = 1;
                    Counted::new(&alive)
                });
                mine
            }
        })
    });
    assert_eq!(join_all(tasks).into_iter().sum::<usize>(), 1);
    assert_eq!(alive.load(SeqCst), 1);
    assert!(cell.get_or_try_init(|| Err::<Counted, ()>(())).is_ok());
    let mut cell = Arc::into_inner(cell).unwrap();
    drop(cell.take());
    assert_eq!(alive.load(SeqCst), 0);
    assert!(cell.get_or_try_init(|| Err::<Counted, _>(7)).is_err_and(|error| error == 7));
    assert!(cell.set(Counted::new(&alive)).is_ok());
    drop(cell);
    assert_eq!(alive.load(SeqCst), 0);
    assert_eq!(OnceLock::from(1).clone(), OnceLock::from(1));
}

fn lazy_lock(w: World) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let lazy = Arc::new(LazyLock::new(move || {
        gort::yield_now();
        count.fetch_add(1, SeqCst);
        7
    }));
    let tasks = w.tasks(6, |_| {
        let lazy = lazy.clone();
        Box::new(move || **lazy)
    });
    assert_eq!(join_all(tasks), [7; 6]);
    assert_eq!(made.load(SeqCst), 1);
    let mut lazy = Arc::into_inner(lazy).unwrap();
    *lazy += 1;
    assert_eq!((LazyLock::get(&lazy), made.load(SeqCst)), (Some(&8), 1));
    let mut unmade = LazyLock::new(|| 1);
    assert_eq!(LazyLock::get(&unmade), None);
    assert_eq!(LazyLock::get_mut(&mut unmade), None);
    *LazyLock::force_mut(&mut unmade) += 1;
    assert_eq!(LazyLock::get_mut(&mut unmade), Some(&mut 2));
    quiet_panics();
    let mut broken: LazyLock<u32, _> = LazyLock::new(|| panic_meant(1));
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| *broken)).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| *broken += 1)).is_err());
    }
    assert_eq!(LazyLock::get(&broken), None);
}

// SingleFlight.

/// What the tasks of [`single_flight`] share, and what is known of the calls of each of two keys.
#[derive(Default)]
struct Flights {
    flights: SingleFlight<usize, usize>,
    inside: [AtomicUsize; 2],
    begun: [AtomicUsize; 2],
    returned: [AtomicUsize; 2],
    shared: AtomicUsize,
}

/// One call at a time for a key; who comes after one has returned gets the value of a later one; who panics is alone in it;
/// and nothing is kept.
fn single_flight(w: World) {
    quiet_panics();
    let state = Arc::new(Flights::default());
    let start = Instant::now();
    // Mostly once. It may be that nobody comes while another is at it.
    while state.shared.load(SeqCst) == 0 {
        assert!(start.elapsed() < PATIENCE, "no call was shared");
        single_flight_round(w, &state);
    }
    assert_eq!(format!("{:?}", state.flights), "SingleFlight { calls: 0, .. }");
}

fn single_flight_round(w: World, state: &Arc<Flights>) {
    let tasks = w.tasks(8, |number| {
        let (state, mut random) = (state.clone(), Random::new(number as u64 + 1));
        Box::new(move || {
            for _ in 0..w.many() / 20 {
                let (key, panics) = (random.below(2) as usize, random.below(8) == 0);
                let before = state.returned[key].load(SeqCst);
                let mut mine = 0;
                let call = || {
                    assert_eq!(state.inside[key].fetch_add(1, SeqCst), 0, "two calls at once");
                    mine = state.begun[key].fetch_add(1, SeqCst) + 1;
                    common::pass();
                    state.inside[key].fetch_sub(1, SeqCst);
                    if panics {
                        panic_meant(3);
                    }
                    mine
                };
                match catch_unwind(AssertUnwindSafe(|| state.flights.run(key, call))) {
                    Ok(value) => {
                        assert!(value > before, "{value} had returned before: {before}");
                        if mine == 0 {
                            state.shared.fetch_add(1, SeqCst);
                        } else {
                            assert!(value == mine && !panics);
                            state.returned[key].fetch_max(mine, SeqCst);
                        }
                    }
                    Err(payload) => assert!(payload.is::<Meant>() && panics && mine > 0, "it was its own panic"),
                }
            }
        })
    });
    join_all(tasks);
}

/// Who is cancelled in its call leaves it to one that waits; the last to be cancelled leaves nothing.
fn single_flight_cancelled(w: World) {
    if w.threads != [false, false] {
        return;
    }
    for waits in [true, false] {
        let state = Arc::new((SingleFlight::new(), AtomicUsize::new(0)));
        let call = {
            let state = state.clone();
            w.task(0, move || {
                state.0.run("key", || {
                    state.1.fetch_add(1, SeqCst);
                    gort::park();
                    1
                })
            })
        };
        wait_until("it is at it", || state.1.load(SeqCst) == 1);
        let next = {
            let state = state.clone();
            w.task(1, move || {
                state.1.fetch_add(1, SeqCst);
                state.0.run("key", || 2)
            })
        };
        wait_until("the other is about to wait", || state.1.load(SeqCst) == 2);
        if !waits {
            next.cancel();
            assert!(next.outcome().is_none());
            call.cancel();
            assert!(call.outcome().is_none());
        } else {
            call.cancel();
            assert!(call.outcome().is_none());
            assert_eq!(next.join(), 2);
        }
        assert_eq!(format!("{:?}", state.0), "SingleFlight { calls: 0, .. }");
        assert_eq!(state.0.run("key", || 3), 3);
    }
}

/// A call that was forgotten goes on for those who waited for it already.
fn single_flight_forgets(w: World) {
    let state = Arc::new((SingleFlight::new(), Semaphore::new(0), AtomicUsize::new(0)));
    let runner = |number: usize| {
        let state = state.clone();
        w.task(number, move || {
            state.0.run("key", || {
                state.2.fetch_add(1, SeqCst);
                state.1.acquire().unwrap().forget();
                number
            })
        })
    };
    let first = runner(0);
    wait_until("the first is at it", || state.2.load(SeqCst) == 1);
    state.0.forget(&"key");
    let second = runner(1);
    wait_until("the second is at it, too", || state.2.load(SeqCst) == 2);
    state.1.add_permits(2);
    assert_eq!((first.join(), second.join()), (0, 1));
    assert_eq!(format!("{:?}", state.0), "SingleFlight { calls: 0, .. }");
}

// Barrier.

fn barrier_rounds(w: World) {
    const TASKS: usize = 5;
    let state = Arc::new((Barrier::new(TASKS), AtomicUsize::new(0)));
    let rounds = w.many() / 50;
    let tasks = w.tasks(TASKS, |_| {
        let state = state.clone();
        Box::new(move || {
            let mut led = 0;
            for round in 0..rounds {
                state.1.fetch_add(1, SeqCst);
                led += state.0.wait().is_leader() as usize;
                assert!(state.1.load(SeqCst) >= (round + 1) * TASKS);
            }
            led
        })
    });
    assert_eq!(join_all(tasks).into_iter().sum::<usize>(), rounds);
    assert!(Barrier::new(0).wait().is_leader() && Barrier::new(1).wait().is_leader());
}

/// Who is cancelled has not come.
fn barrier_cancelled(w: World) {
    if w.threads[0] {
        return;
    }
    for round in 0..20 {
        let barrier = Arc::new(Barrier::new(2));
        let come = |number| {
            let barrier = barrier.clone();
            w.task(number, move || barrier.wait().is_leader())
        };
        let first = come(0);
        (0..round % 4).for_each(|_| gort::yield_now());
        first.cancel();
        if first.outcome().is_some() {
            panic!("it went through alone");
        }
        let two = [come(2), come(1)];
        assert_eq!(join_all(two).into_iter().filter(|leader| *leader).count(), 1);
    }
}

// Semaphore.

fn semaphore_smoke(_: World) {
    let semaphore = Arc::new(Semaphore::new(3));
    let mut two = semaphore.acquire_many(2).unwrap();
    assert_eq!((semaphore.available_permits(), two.count()), (1, 2));
    assert_eq!(semaphore.try_acquire_many(2).unwrap_err(), TryAcquireError::NoPermits);
    let start = Instant::now();
    assert_eq!(semaphore.acquire_many_timeout(2, SHORT).unwrap_err(), AcquireTimeoutError::Timeout);
    assert!(start.elapsed() >= SHORT);
    assert_eq!(semaphore.acquire_many_deadline(2, Instant::now() + SHORT).unwrap_err(), AcquireTimeoutError::Timeout);
    assert!(semaphore.acquire_deadline(start).is_ok() && semaphore.acquire_timeout(Duration::ZERO).is_ok());
    let one = two.split(1).unwrap();
    assert!(two.split(2).is_none());
    one.forget();
    two.merge(semaphore.acquire().unwrap());
    assert_eq!((two.count(), semaphore.available_permits()), (2, 0));
    drop(two);
    semaphore.add_permits(5);
    assert_eq!((semaphore.forget_permits(4), semaphore.available_permits()), (4, 3));
    assert!(semaphore.acquire_many(0).is_ok());
    let owned = semaphore.clone().acquire_many_owned(2).unwrap();
    assert!(semaphore.clone().try_acquire_many_owned(2).is_err());
    assert!(semaphore.clone().acquire_many_owned_timeout(2, SHORT).is_err());
    semaphore.close();
    assert!(semaphore.is_closed());
    assert_eq!(semaphore.acquire().unwrap_err(), AcquireError);
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
    assert_eq!(semaphore.acquire_timeout(SHORT).unwrap_err(), AcquireTimeoutError::Closed);
    drop(owned);
    assert_eq!(semaphore.available_permits(), 3);
}

fn semaphore_limits(w: World) {
    let state = Arc::new((Semaphore::new(3), Inside::default()));
    let count = w.many() / 2;
    let tasks = w.tasks(8, |number| {
        let state = state.clone();
        Box::new(move || {
            let mut random = Random::new(number as u64 + 1);
            for _ in 0..count {
                let wanted = 1 + random.below(3) as usize;
                let permit = match random.below(4) {
                    0 => state.0.try_acquire_many(wanted).ok(),
                    1 => state.0.acquire_many_timeout(wanted, Duration::from_micros(random.below(100))).ok(),
                    _ => state.0.acquire_many(wanted).ok(),
                };
                let Some(permit) = permit else { continue };
                let _inside: Vec<_> = (0..permit.count()).map(|_| state.1.enter(3)).collect();
                if random.below(10) == 0 {
                    gort::yield_now();
                }
            }
        })
    });
    join_all(tasks);
    assert_eq!(state.0.available_permits(), 3);
}

/// Who wants many is not overtaken by those who want few; and when it gives up they get theirs.
fn semaphore_keeps_the_order(w: World) {
    for gives_up in [false, true] {
        let semaphore = Arc::new(Semaphore::new(2));
        let one = semaphore.clone().acquire_owned().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let many = {
            let (semaphore, order) = (semaphore.clone(), order.clone());
            w.task(0, move || {
                let time = if gives_up { Duration::from_millis(20) } else { LONG };
                let permit = semaphore.acquire_many_timeout(2, time);
                if permit.is_ok() {
                    order.lock().push(2);
                }
                permit.is_ok()
            })
        };
        wait_until("it waits", || semaphore.try_acquire().is_err() || many.is_finished());
        let few = w.tasks(3, |_| {
            let (semaphore, order) = (semaphore.clone(), order.clone());
            Box::new(move || {
                let permit = semaphore.acquire().unwrap();
                order.lock().push(1);
                permit.forget();
                semaphore.add_permits(1);
            })
        });
        if gives_up {
            // One permit is there all the time.
            join_all(few);
            assert!(!many.join());
            drop(one);
        } else {
            gort::time::sleep(SHORT);
            drop(one);
            join_all(few);
            assert!(many.join());
            assert_eq!(*order.lock(), [2, 1, 1, 1]);
        }
        assert_eq!(semaphore.available_permits(), 2);
    }
}

/// When one who wants many gives up, all behind it get theirs who can, however many they are.
fn semaphore_serves_all_behind(w: World) {
    for is_cancelled in [false, true] {
        if is_cancelled && w.threads[0] {
            continue;
        }
        let semaphore = Arc::new(Semaphore::new(100));
        let _out = semaphore.clone().acquire_many_owned(60).unwrap();
        let many = {
            let semaphore = semaphore.clone();
            let time = if is_cancelled { LONG } else { Duration::from_millis(30) };
            w.task(0, move || semaphore.acquire_many_timeout(50, time).is_ok())
        };
        wait_until("it waits", || semaphore.try_acquire().is_err() || many.is_finished());
        let few = w.tasks(40, |_| {
            let semaphore = semaphore.clone();
            Box::new(move || semaphore.acquire().unwrap().forget())
        });
        if is_cancelled {
            gort::time::sleep(SHORT);
            many.cancel();
        }
        assert_ne!(many.outcome(), Some(true));
        join_all(few);
        assert_eq!((semaphore.available_permits(), semaphore.try_acquire().is_ok()), (0, false));
    }
}

fn semaphore_close_wakes(w: World) {
    let semaphore = Arc::new(Semaphore::new(0));
    let tasks = w.tasks(50, |number| {
        let semaphore = semaphore.clone();
        Box::new(move || semaphore.acquire_many(number + 1).is_err())
    });
    gort::time::sleep(SHORT);
    semaphore.close();
    assert_eq!(join_all(tasks), [true; 50]);
}

/// Who is cancelled has got no permit.
fn semaphore_cancelled(w: World) {
    for round in 0..20 {
        let semaphore = Arc::new(Semaphore::new(0));
        let got = Arc::new(AtomicUsize::new(0));
        let tasks = w.tasks(12, |number| {
            let (semaphore, got) = (semaphore.clone(), got.clone());
            Box::new(move || {
                let permit = semaphore.acquire_many(1 + number % 3).unwrap();
                got.fetch_add(permit.count(), SeqCst);
                permit.forget();
            })
        });
        let mut random = Random::new(round + 1);
        let mut added = 100;
        let mut cancelled = [false; 12];
        for (task, cancelled) in tasks.iter().zip(&mut cancelled) {
            match random.below(3) {
                0 => {
                    task.cancel();
                    *cancelled = true;
                }
                1 => {
                    semaphore.add_permits(3);
                    added += 3;
                }
                _ => gort::yield_now(),
            }
        }
        semaphore.add_permits(100);
        for (task, cancelled) in tasks.into_iter().zip(cancelled) {
            assert!(task.outcome().is_some() || cancelled);
        }
        assert_eq!(semaphore.available_permits() + got.load(SeqCst), added, "round {round}");
    }
}

// WaitGroup.

fn wait_group(w: World) {
    for _ in 0..20 {
        let group = WaitGroup::new();
        let done = Arc::new(AtomicUsize::new(0));
        let tasks = w.tasks(6, |number| {
            let (group, done) = (group.clone(), done.clone());
            Box::new(move || {
                done.fetch_add(1, SeqCst);
                if number < 2 {
                    group.wait();
                    assert_eq!(done.load(SeqCst), 6);
                }
            })
        });
        group.wait();
        assert_eq!(done.load(SeqCst), 6);
        join_all(tasks);
    }
    let group = WaitGroup::new();
    let other = group.clone();
    let group = group.wait_timeout(SHORT).unwrap_err();
    let group = group.wait_timeout(Duration::ZERO).unwrap_err();
    let task = w.task(0, move || drop(other));
    group.wait_timeout(LONG).unwrap();
    task.join();
    // Also if a task panics.
    quiet_panics();
    let group = WaitGroup::new();
    let other = group.clone();
    let task = w.task(0, move || {
        let _other = other;
        panic_meant(3);
    });
    group.wait();
    assert!(task.outcome().is_none());
}

// Notify.

fn notify(w: World) {
    let notify = Arc::new(Notify::new());
    assert!(!notify.wait_timeout(SHORT) && !notify.wait_until(Instant::now() + SHORT));
    notify.notify_all();
    assert!(!notify.wait_timeout(Duration::ZERO));
    notify.notify_one();
    notify.notify_one();
    assert!(notify.wait_timeout(Duration::ZERO) && !notify.wait_timeout(Duration::ZERO));
    // Two tell each other.
    let pair = Arc::new([Notify::new(), Notify::new()]);
    let count = w.many() / 5;
    let tasks = w.tasks(2, |number| {
        let pair = pair.clone();
        Box::new(move || {
            for _ in 0..count {
                if number == 0 {
                    pair[1].notify_one();
                    pair[0].wait();
                } else {
                    pair[1].wait();
                    pair[0].notify_one();
                }
            }
        })
    });
    join_all(tasks);
    // Each notification reaches one, also if others time out or are cancelled meanwhile.
    for round in 0..50 {
        let (notify, got) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let tasks = w.tasks(6, |number| {
            let (notify, got) = (notify.clone(), got.clone());
            Box::new(move || {
                let told = if number == 1 {
                    notify.wait_timeout(Duration::from_micros(round))
                } else {
                    notify.wait();
                    true
                };
                got.fetch_add(told as usize, SeqCst);
            })
        });
        let mut random = Random::new(round + 1);
        if random.below(2) == 0 {
            gort::yield_now();
        }
        tasks[[0, 2, 4][random.below(3) as usize]].cancel();
        notify.notify_one();
        wait_until("one has got it", || got.load(SeqCst) == 1 || notify.wait_timeout(Duration::ZERO));
        wait_until("all are gone", || {
            notify.notify_all();
            tasks.iter().all(Task::is_finished)
        });
    }
}

// Watch.

fn watch(w: World) {
    let watch = Watch::new(0);
    let mut idle = watch.watcher();
    assert!(!idle.has_changed());
    assert_eq!(idle.changed_timeout(SHORT), Ok(false));
    let count = w.many() / 5;
    let tasks = w.tasks(4, |_| {
        let mut watcher = watch.watcher();
        Box::new(move || {
            let mut last = 0;
            while watcher.changed().is_ok() {
                let now = *watcher.read();
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
            last
        })
    });
    let waits = {
        let mut watcher = watch.watcher();
        w.task(1, move || *watcher.wait_for(|value| *value >= count / 2).unwrap())
    };
    let writer = {
        let watch = watch.clone();
        w.task(0, move || (1..=count).for_each(|i| watch.set(i)))
    };
    writer.join();
    assert!(waits.join() >= count / 2);
    assert_eq!(watch.replace(count), count);
    assert_eq!(watch.modify(|value| *value), count);
    drop(watch);
    assert_eq!(join_all(tasks), [count; 4]);
    assert!(idle.has_changed());
    assert_eq!((idle.changed(), *idle.read()), (Ok(()), count));
    assert_eq!(idle.changed(), Err(WatchClosed));
    assert_eq!(idle.wait_for(|value| *value > count).err(), Some(WatchClosed));
    assert!(idle.wait_for(|value| *value == count).is_ok());
}

/// Every value is used by one at a time, is reset, and dropped once; what is not needed goes.
fn pool(w: World) {
    let (made, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let pool = {
        let (made, alive) = (made.clone(), alive.clone());
        Pool::builder(move || {
            made.fetch_add(1, SeqCst);
            (Counted::new(&alive), Inside::default(), Vec::<usize>::new())
        })
        .reset(|(_, _, list)| {
            list.clear();
            true
        })
        .capacity(3)
        .max_age(Duration::ZERO)
        .build()
    };
    let pool = Arc::new(pool);
    let count = w.many();
    let tasks = w.tasks(8, |number| {
        let pool = pool.clone();
        Box::new(move || {
            for i in 0..count / 5 {
                let mut value = pool.get();
                assert!(value.2.is_empty());
                value.2.push(number);
                let inside = value.1.enter(1);
                if i % 50 == 0 {
                    gort::yield_now();
                }
                drop(inside);
                assert_eq!(value.2, [number]);
            }
        })
    });
    join_all(tasks);
    assert_eq!(pool.len(), alive.load(SeqCst), "none is out");
    assert!(made.load(SeqCst) > 0);
    pool.trim();
    pool.trim();
    assert_eq!((pool.len(), alive.load(SeqCst)), (0, 0));
    let kept: Vec<_> = (0..10).map(|_| pool.get()).collect();
    drop(kept);
    assert!(pool.len() <= 3 && pool.len() == alive.load(SeqCst), "no room for all: {}", pool.len());
    // One that was in use by who panicked does not come back.
    pool.trim();
    pool.trim();
    quiet_panics();
    let other = pool.clone();
    let failed = w.task(0, move || {
        let _value = other.get();
        panic_meant(1);
    });
    assert!(failed.outcome().is_none());
    assert_eq!((pool.len(), alive.load(SeqCst)), (0, 0));
    let detached = pool.get().detach();
    assert_eq!((pool.len(), alive.load(SeqCst)), (0, 1));
    pool.put(detached);
    assert_eq!(pool.len(), 1);
    drop(Arc::into_inner(pool).expect("all tasks have ended"));
    assert_eq!(alive.load(SeqCst), 0);
}

/// So many objects at most, also if some cannot be made, are broken, or their users panic or give up.
fn object_pool(w: World) {
    let alive = Arc::new(AtomicUsize::new(0));
    let pool = {
        let (alive, calls) = (alive.clone(), AtomicUsize::new(0));
        ObjectPool::builder(3, move || {
            assert!(alive.load(SeqCst) < 3, "more than were asked for");
            if calls.fetch_add(1, SeqCst) % 4 == 3 { Err("not now") } else { Ok((Counted::new(&alive), false)) }
        })
        .check(|(_, broken)| !*broken)
        .build()
    };
    let inside = Arc::new(Inside::default());
    let count = w.many() / 10;
    let tasks = w.tasks(8, |number| {
        let (pool, inside) = (pool.clone(), inside.clone());
        Box::new(move || {
            let mut random = Random::new(number as u64 + 1);
            for _ in 0..count {
                let object = match random.below(3) {
                    0 => pool.acquire(),
                    1 => pool.acquire_timeout(Duration::from_micros(50)),
                    _ => pool.try_acquire(),
                };
                let mut object = match object {
                    Ok(object) => object,
                    Err(error) => {
                        assert!(matches!(error, ObjectPoolError::Timeout | ObjectPoolError::Make("not now")));
                        continue;
                    }
                };
                let inside = inside.enter(3);
                object.1 = random.below(8) == 0;
                if random.below(8) == 0 {
                    gort::yield_now();
                }
                drop(inside);
                if random.below(8) == 0 {
                    object.discard();
                }
            }
        })
    });
    join_all(tasks);
    let status = pool.status();
    assert_eq!((status.in_use, status.idle), (0, alive.load(SeqCst)));
    quiet_panics();
    let theirs = pool.clone();
    let failed = w.task(0, move || {
        let _object = (0..).find_map(|_| theirs.acquire().ok());
        panic_meant(1);
    });
    assert!(failed.outcome().is_none());
    assert_eq!(pool.status().in_use, 0);
    // Who waits is told of the end.
    let all: Vec<_> = (0..).filter_map(|_| pool.acquire().ok()).take(3).collect();
    let theirs = pool.clone();
    let waiting = w.task(1, move || matches!(theirs.acquire(), Err(ObjectPoolError::Closed)));
    if let Task::Coroutine(_) = waiting {
        gort::time::sleep(SHORT);
    }
    pool.close();
    assert!(waiting.join() && pool.is_closed());
    assert_eq!(alive.load(SeqCst), 3);
    drop(all);
    assert_eq!((alive.load(SeqCst), pool.status().idle), (0, 0));
}

/// A size that is meant as no limit costs nothing.
#[test]
fn object_pool_of_any_size() {
    for max_idle in [None, Some(Duration::ZERO), Some(LONG)] {
        let mut builder = ObjectPool::builder(Semaphore::MAX_PERMITS, || Ok::<_, ()>([1_u64; 4]));
        if let Some(time) = max_idle {
            builder = builder.max_idle(time);
        }
        let pool = builder.build();
        let objects: Vec<_> = (0..100).map(|_| pool.acquire().unwrap()).collect();
        assert_eq!(pool.status().in_use, 100);
        drop(objects);
        assert_eq!(pool.status().idle, 100);
        std::thread::sleep(Duration::from_millis(1));
        drop(pool.acquire());
        assert_eq!(pool.status().idle, if max_idle == Some(Duration::ZERO) { 1 } else { 100 });
    }
}

suite! {
    [one_proc ONE_PROC two_procs TWO_PROCS eight_procs EIGHT_PROCS threads THREADS mixed MIXED] {
        mutex_smoke mutex_excludes mutex_fair_unlock_keeps_the_order mutex_is_handed_over mutex_is_not_poisoned
        mutex_of_any_size mutex_held_across_a_wait mutex_cancelled_waiters
        rwlock_smoke rwlock_excludes rwlock_starves_nobody rwlock_writers_give_up rwlock_recursive_reads
        rwlock_many_readers_are_let_in_together
        reentrant_mutex ends_do_not_lose_a_guard
        condvar_smoke condvar_ping_pong condvar_wakes_in_order condvar_passes_on condvar_cancel_and_notify
        condvar_without_time
        once once_unwinds once_lock lazy_lock single_flight single_flight_cancelled single_flight_forgets
        barrier_rounds barrier_cancelled
        semaphore_smoke semaphore_limits semaphore_keeps_the_order semaphore_close_wakes semaphore_cancelled
        semaphore_serves_all_behind
        wait_group notify watch
        pool object_pool
    }
}

/// Who has waited longest is notified first, one by one and all at once.
#[test]
fn notify_keeps_the_order() {
    if CHAOS {
        // Who is notified does not go on at once.
        return;
    }
    // Nobody is interrupted: one that has begun waits when another runs.
    let runtime = builder(1).preemption(false).time_slice(PATIENCE).build().unwrap();
    runtime.run(|| {
        for all in [false, true] {
            let state = Arc::new((Notify::new(), AtomicUsize::new(0), Mutex::new(Vec::new())));
            let tasks: Vec<_> = (0..6)
                .map(|number| {
                    let theirs = state.clone();
                    let task = gort::go!(move || {
                        theirs.1.fetch_add(1, SeqCst);
                        theirs.0.wait();
                        theirs.2.lock().push(number);
                    });
                    wait_until("it waits", || state.1.load(SeqCst) == number + 1);
                    task
                })
                .collect();
            if all {
                state.0.notify_all();
            } else {
                for woken in 1..=6 {
                    state.0.notify_one();
                    wait_until("one is woken", || state.2.lock().len() == woken);
                }
            }
            tasks.into_iter().for_each(|task| task.join().unwrap());
            assert_eq!(*state.2.lock(), (0..6).collect::<Vec<_>>(), "all at once: {all}");
        }
    });
}

/// Too many permits are refused without the queue's lock: what the panic hook does with the semaphore does not hang.
#[test]
fn too_many_permits_while_somebody_waits() {
    static SEMAPHORE: Semaphore = Semaphore::new(1);
    let _watchdog = common::watchdog(PATIENCE, "too many permits");
    quiet_panics();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // It takes the lock, whoever panics.
        SEMAPHORE.forget_permits(0);
        let text = info.payload().downcast_ref::<&str>();
        if !text.is_some_and(|text| text.contains("Semaphore::MAX_PERMITS")) {
            before(info);
        }
    }));
    let waiting = std::thread::spawn(|| SEMAPHORE.acquire_many(3).unwrap().forget());
    wait_until("it waits", || SEMAPHORE.try_acquire().is_err());
    assert!(catch_unwind(|| SEMAPHORE.add_permits(Semaphore::MAX_PERMITS)).is_err());
    assert_eq!(SEMAPHORE.available_permits(), 1);
    SEMAPHORE.add_permits(2);
    waiting.join().unwrap();
    assert!(catch_unwind(|| SEMAPHORE.add_permits(Semaphore::MAX_PERMITS + 1)).is_err());
}

/// A coroutine that lives in the home of one that locks again and again can go on only when that one parks: it gets the
/// lock all the same.
#[test]
fn sharers_of_a_home_are_let_past() {
    fn check(with_lock: impl Fn(&dyn Fn()) + Clone + 'static) {
        let done = Arc::new(AtomicBool::new(false));
        with_lock(&|| {
            let (with_lock, done) = (with_lock.clone(), done.clone());
            gort::spawn_local(move || {
                with_lock(&|| ());
                done.store(true, SeqCst);
            });
            // It is in the queue soon, which nothing shows.
            gort::time::sleep(SHORT);
        });
        let start = Instant::now();
        while !done.load(SeqCst) {
            assert!(start.elapsed() < PATIENCE, "the other did not get it");
            with_lock(&|| common::compute(Duration::from_micros(20)));
        }
    }
    common::with_each_procs(|runtime| {
        runtime.run(|| {
            let (mutex, rwlock) = (Arc::new(Mutex::new(())), Arc::new(RwLock::new(())));
            check(move |f| {
                let _guard = mutex.lock();
                f();
            });
            check(move |f| {
                let _guard = rwlock.write();
                f();
            });
        });
    });
}

/// A hundred thousand coroutines wait for one mutex, one condition variable, one semaphore: they are woken in order,
/// each at the same cost.
#[test]
fn a_hundred_thousand_can_wait() {
    // Unoptimised, with the checks that the recycling of stacks makes then, so many take minutes.
    let most = common::many_stacks().min(if cfg!(debug_assertions) { 20_000 } else { usize::MAX });
    let each = |count: usize| {
        let times = builder(1).build().unwrap().run(move || {
            [
                wake_many(count, |many, come| {
                    drop(come);
                    drop(many.mutex.lock());
                }),
                wake_many(count, |many, come| drop(many.condvar.wait(come))),
                wake_many(count, |many, come| {
                    drop(come);
                    many.semaphore.acquire().unwrap().forget();
                }),
            ]
        });
        eprintln!("{count}: {times:?} for mutex, condvar, semaphore");
        times.map(|time| time.as_secs_f64() / count as f64)
    };
    // Quadratic would be ten times, each time; the rest is caches, and neighbours who are busy now and then.
    let linear = (0..6).any(|_| {
        let (few, many) = (each(most / 10), each(most));
        few.iter().zip(&many).all(|(few, many)| *many < few * 6.0 + 2e-6)
    });
    assert!(linear, "more waiters cost more each");
}

/// What very many wait for.
struct Many {
    /// In the order in which they have come.
    come: Mutex<Vec<usize>>,
    /// In the order in which they have gone on.
    went: Mutex<Vec<usize>>,
    mutex: Mutex<()>,
    condvar: Condvar,
    semaphore: Semaphore,
}

/// Lets `count` coroutines `wait`, after each has noted that it has come, and releases them by whatever they wait for;
/// how long that takes.
fn wake_many(count: usize, wait: fn(&Many, MutexGuard<'_, Vec<usize>>)) -> Duration {
    let many = Arc::new(Many {
        come: Mutex::default(),
        went: Mutex::default(),
        mutex: Mutex::default(),
        condvar: Condvar::new(),
        semaphore: Semaphore::new(0),
    });
    let held = many.mutex.lock();
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let many = many.clone();
            gort::go!(move || {
                let mut come = many.come.lock();
                come.push(number);
                wait(&many, come);
                many.went.lock().push(number);
            })
        })
        .collect();
    wait_until("all have come", || many.come.lock().len() == count);
    let start = Instant::now();
    drop(held);
    many.semaphore.add_permits(count);
    many.condvar.notify_all();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let elapsed = start.elapsed();
    let mut place = vec![0; count];
    many.come.lock().iter().enumerate().for_each(|(at, number)| place[*number] = at);
    // Who was preempted between its note and its wait, or before its second note, has another place. By chance every
    // second pair would be the wrong way round.
    let swaps = many.went.lock().windows(2).filter(|pair| place[pair[0]] > place[pair[1]]).count();
    assert!(swaps <= count / 10, "{swaps} of {count} were not woken in order");
    elapsed
}

/// Guards and handles may go where std's may.
#[test]
fn auto_traits() {
    use gort::sync::{OwnedSemaphorePermit, Pooled, PooledObject, SemaphorePermit, Watcher};
    use std::panic::{RefUnwindSafe, UnwindSafe};
    // `$yes` has the trait; `$no` would make the call ambiguous if it had.
    macro_rules! has {
        ($bound:path: $($yes:ty),*) => {{
            fn has<T: ?Sized + $bound>() {}
            $( has::<$yes>(); )*
        }};
    }
    macro_rules! has_not {
        ($bound:path: $($no:ty),*) => {
            $({
                trait Ambiguous<A> { fn ask() {} }
                impl<T: ?Sized> Ambiguous<()> for T {}
                struct Has;
                impl<T: ?Sized + $bound> Ambiguous<Has> for T {}
                <$no as Ambiguous<_>>::ask();
            })*
        };
    }
    has!(Send: Mutex<u8>, Mutex<Cell<u8>>, RwLock<u8>, ReentrantMutex<Cell<u8>>, Condvar, Once, OnceLock<u8>, Barrier,
        Semaphore, SemaphorePermit<'static>, OwnedSemaphorePermit, WaitGroup, Notify, Watch<u8>, Watcher<u8>,
        LazyLock<u8>);
    has!(Sync: Mutex<u8>, Mutex<Cell<u8>>, MutexGuard<'static, u8>, RwLock<u8>, RwLockReadGuard<'static, u8>,
        RwLockWriteGuard<'static, u8>, ReentrantMutex<Cell<u8>>, Condvar, Once, OnceLock<u8>, Barrier, Semaphore,
        WaitGroup, Notify, Watch<u8>, Watcher<u8>, LazyLock<u8>);
    has!(Send: Pool<Cell<u8>>, Pooled<'static, u8>, ObjectPool<Cell<u8>, u8>, PooledObject<Cell<u8>, u8>);
    has!(Sync: Pool<Cell<u8>>, Pooled<'static, u8>, ObjectPool<Cell<u8>, u8>, PooledObject<u8, u8>);
    has_not!(Send: Pooled<'static, std::rc::Rc<u8>>, PooledObject<std::rc::Rc<u8>, u8>);
    has_not!(Sync: Pooled<'static, Cell<u8>>, PooledObject<Cell<u8>, u8>);
    has_not!(Send: MutexGuard<'static, u8>, RwLockReadGuard<'static, u8>, RwLockWriteGuard<'static, u8>,
        Mutex<std::rc::Rc<u8>>, OnceLock<std::rc::Rc<u8>>);
    has_not!(Sync: MutexGuard<'static, Cell<u8>>, RwLock<Cell<u8>>, OnceLock<Cell<u8>>, Watch<Cell<u8>>);
    has!(UnwindSafe: Condvar, Once, OnceLock<u8>, Barrier, Semaphore, Notify, WaitGroup);
    has!(RefUnwindSafe: Condvar, Once, OnceLock<u8>, Barrier, Semaphore, Notify, WaitGroup);
    assert_eq!(
        (size_of::<Mutex<()>>(), size_of::<RwLock<()>>(), size_of::<Condvar>(), size_of::<Once>()),
        (16, 16, 16, 16)
    );
}

//! The lock for readers and writers: writers exclude all others, and whoever waits gets it, whatever becomes of others
//! who wait.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::os::clock::{NEVER, Nanos};
use crate::sched::cancel;
use crate::sync::raw_rwlock::RawRwLock;
use loom::cell::UnsafeCell;

struct State {
    lock: RawRwLock,
    /// A writer beside anybody else is reported.
    value: UnsafeCell<u32>,
}

// SAFETY: the value is touched by those only whom the lock lets in; that they exclude each other is what the checker
// checks.
unsafe impl Sync for State {}

/// A deadline that the timers find passed.
const SOON: Nanos = 1;

fn world(tasks: usize) -> World<Tasks<State>> {
    Tasks::new(tasks, State { lock: RawRwLock::unlocked(), value: UnsafeCell::new(0) })
}

impl State {
    fn lock(&self, deadline: Nanos) -> bool {
        self.lock.take_free() || self.lock.lock_slow(deadline)
    }

    fn change(&self) {
        // SAFETY: the caller has the lock for writing.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn look(&self) -> u32 {
        // SAFETY: the caller has the lock for reading.
        self.value.with(|value| unsafe { *value })
    }

    /// Locks for writing, changes the value, unlocks. Whether it got the lock.
    fn write(&self, deadline: Nanos, fair: bool) -> bool {
        let locked = self.lock(deadline);
        if locked {
            self.change();
            if !self.lock.release() {
                self.lock.unlock_slow(fair);
            }
        }
        locked
    }

    /// Locks for reading, looks, unlocks. Whether it got the lock.
    fn read(&self, deadline: Nanos) -> bool {
        let locked = self.lock.take_shared() || self.lock.lock_shared_slow(deadline, false);
        if locked {
            self.look();
            self.lock.unlock_shared(false);
        }
        locked
    }
}

/// What holds when all have gone.
fn end(tasks: &Tasks<State>, written: u32) {
    assert!(!tasks.shared.lock.is_held());
    assert!(tasks.shared.lock.take_free(), "somebody is said to wait, or to be on its way");
    assert_eq!(tasks.shared.look(), written);
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

/// A writer that comes again and may barge in, and a reader.
pub(super) fn two() {
    let world = world(2);
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.read(NEVER) && tasks.shared.read(NEVER));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.write(NEVER, false) && tasks.shared.write(NEVER, false));
    other.join().unwrap();
    end(tasks, 2);
}

fn crowd(fair: bool) {
    let world = world(3);
    let reader = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.read(NEVER));
    });
    let writer = world.spawn(move |tasks| {
        tasks.become_coroutine(2);
        assert!(tasks.shared.write(NEVER, fair));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.write(NEVER, fair) && tasks.shared.read(NEVER));
    reader.join().unwrap();
    writer.join().unwrap();
    end(tasks, 2);
}

/// Two writers and two readers: one waits while another is on its way.
pub(super) fn three() {
    crowd(false);
}

/// The lock is handed from one to the next.
pub(super) fn hand_over() {
    crowd(true);
}

/// Two readers wait for a writer, and are let in together.
pub(super) fn readers() {
    let world = world(3);
    let readers = [1, 2].map(|at| {
        world.spawn(move |tasks| {
            tasks.become_coroutine(at);
            assert!(tasks.shared.read(NEVER));
        })
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.write(NEVER, false));
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    end(tasks, 1);
}

/// A writer is cancelled while a reader reads that does not leave before both others have gone: one behind it goes past.
pub(super) fn cancel() {
    let world = world(3);
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.lock.take_shared());
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(1)));
    let writer = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(catch_cancel(|| tasks.shared.write(NEVER, false)).is_none());
    });
    let reader = world.spawn(|tasks| {
        tasks.become_coroutine(2);
        assert!(tasks.shared.read(NEVER));
    });
    canceller.join().unwrap();
    writer.join().unwrap();
    reader.join().unwrap();
    tasks.shared.lock.unlock_shared(false);
    end(tasks, 0);
}

/// The deadline of a writer passes, while another writer and a reader come and go.
pub(super) fn timeout() {
    let world = world(3);
    let timer = world.spawn(|tasks| tasks.run_timers());
    let holder = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.write(NEVER, false));
    });
    let reader = world.spawn(|tasks| {
        tasks.become_coroutine(2);
        assert!(tasks.shared.read(NEVER));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let got = tasks.shared.write(SOON, false);
    timer.join().unwrap();
    holder.join().unwrap();
    reader.join().unwrap();
    end(tasks, 1 + u32::from(got));
}

/// A writer is cancelled, while readers come and go.
pub(super) fn cancel_or_not() {
    let world = world(3);
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let readers = [1, 2].map(|at| {
        world.spawn(move |tasks| {
            tasks.become_coroutine(at);
            assert!(tasks.shared.read(NEVER));
        })
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let got = catch_cancel(|| tasks.shared.write(NEVER, false)).is_some();
    canceller.join().unwrap();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    end(tasks, u32::from(got));
}

/// A writer goes on as a reader, and another reader goes on beside it.
pub(super) fn downgrade() {
    let world = world(2);
    let reader = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.read(NEVER));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.lock(NEVER));
    tasks.shared.change();
    tasks.shared.lock.downgrade();
    tasks.shared.look();
    reader.join().unwrap();
    tasks.shared.lock.unlock_shared(false);
    end(tasks, 1);
}

/// A writer goes on as a reader, while a writer and a reader wait.
pub(super) fn downgrade_among_others() {
    let world = world(3);
    let reader = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.read(NEVER));
    });
    let writer = world.spawn(|tasks| {
        tasks.become_coroutine(2);
        assert!(tasks.shared.write(NEVER, false));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.lock(NEVER));
    tasks.shared.change();
    tasks.shared.lock.downgrade();
    tasks.shared.look();
    tasks.shared.lock.unlock_shared(false);
    reader.join().unwrap();
    writer.join().unwrap();
    end(tasks, 2);
}

/// A reader comes again while it reads, and does not wait for the writer that waits for it.
pub(super) fn recursive() {
    let world = world(2);
    let writer = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.write(NEVER, false));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.read(NEVER));
    let lock = &tasks.shared.lock;
    assert!(lock.take_shared() || lock.lock_shared_slow(NEVER, false));
    assert!(lock.take_shared_again(), "readers have it");
    tasks.shared.look();
    lock.unlock_shared(false);
    lock.unlock_shared(true);
    writer.join().unwrap();
    end(tasks, 1);
}

//! `Watch`: the latest of a value's values.
//!
//! The word counts changes in units of `CHANGE`, with `CLOSED` for the end. It is changed while the value is held
//! for writing, so who reads the value knows which it is; and before the queue is woken, so who joins the queue
//! with an old count has been overlooked by nobody.

use super::waitq::{Grant, Waited, Waiters};
use super::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLOSED: u64 = 1;
const CHANGE: u64 = 2;

struct Shared<T> {
    value: RwLock<T>,
    waiters: Waiters<AtomicU64>,
    /// How many can still change it.
    writers: AtomicUsize,
}

impl<T> Shared<T> {
    fn word(&self) -> u64 {
        // Acquire: pairs with the Release in `changed`; who sees a change reads a value at least as new.
        self.waiters.state.load(Ordering::Acquire)
    }

    /// Counts a change and wakes those who wait for it.
    fn changed(&self, value: RwLockWriteGuard<'_, T>) {
        // Release: pairs with the Acquire in `word`.
        self.waiters.state.fetch_add(CHANGE, Ordering::Release);
        drop(value);
        self.waiters.lock().wake_all(Grant::Again);
    }
}

/// A value that changes, and of which only the latest counts: settings that are read again while the program
/// runs, a state, progress.
///
/// It is changed through this handle, of which there can be several, and looked at through [`Watcher`]s, which can wait
/// for a change. Changes that follow each other quickly may be seen as one. With the last `Watch` dropped watchers still read
/// the value, and are told that there will be no other.
///
/// # Examples
/// ```
/// use gort::sync::Watch;
///
/// gort::run(|| {
///     let limit = Watch::new(10);
///     let mut watcher = limit.watcher();
///     let task = gort::go!(move || {
///         let mut seen = vec![*watcher.read()];
///         while watcher.changed().is_ok() {
///             seen.push(*watcher.read());
///         }
///         seen
///     });
///     limit.set(20);
///     limit.modify(|limit| *limit += 1);
///     drop(limit);
///     assert_eq!(task.join().unwrap().last(), Some(&21));
/// });
/// ```
///
/// # Scheduling
/// Reading and changing park the coroutine while somebody is at the value, as a [`RwLock`] does, and waiting for a
/// change until there is one; all may be cancelled. A plain thread is blocked.
pub struct Watch<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Watch<T> {
    /// With a first value, which is no change.
    ///
    /// # Examples
    /// See [`Watch`].
    pub fn new(value: T) -> Watch<T> {
        let waiters = Waiters::new(AtomicU64::new(0));
        Watch { shared: Arc::new(Shared { value: RwLock::new(value), waiters, writers: AtomicUsize::new(1) }) }
    }

    /// A watcher, for whom the value as it is now is nothing new.
    ///
    /// # Examples
    /// See [`Watch`].
    pub fn watcher(&self) -> Watcher<T> {
        Watcher { seen: self.shared.word() & !CLOSED, shared: self.shared.clone() }
    }

    /// Reads the value. It cannot change while the guard is there.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(*gort::sync::Watch::new(1).read(), 1);
    /// ```
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.shared.value.read()
    }

    /// Changes the value to another.
    ///
    /// # Examples
    /// See [`Watch`].
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn set(&self, value: T) {
        drop(self.replace(value));
    }

    /// Changes the value to another and returns the one before.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(gort::sync::Watch::new(1).replace(2), 1);
    /// ```
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn replace(&self, value: T) -> T {
        let mut place = self.shared.value.write();
        let before = mem::replace(&mut *place, value);
        self.shared.changed(place);
        before
    }

    /// Lets `f` change the value. It counts as changed whatever `f` does, but not if it panics.
    ///
    /// # Examples
    /// See [`Watch`].
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn modify<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut place = self.shared.value.write();
        let result = f(&mut place);
        self.shared.changed(place);
        result
    }
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Watch<T> {
        // Relaxed: made from a handle that is there.
        self.shared.writers.fetch_add(1, Ordering::Relaxed);
        Watch { shared: self.shared.clone() }
    }
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        // AcqRel: the last change of any handle comes before the end.
        if self.shared.writers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Release: as in `changed`.
            self.shared.waiters.state.fetch_or(CLOSED, Ordering::Release);
            self.shared.waiters.lock().wake_all(Grant::Again);
        }
    }
}

impl<T: Default> Default for Watch<T> {
    fn default() -> Watch<T> {
        Watch::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("value", &self.shared.value).finish()
    }
}

/// Looks at the value of a [`Watch`] and waits for its changes.
///
/// A clone has seen what the original has seen.
///
/// # Examples
/// See [`Watch`].
///
/// # Scheduling
/// See [`Watch`].
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Watcher<T> {
    /// Reads the value, which is then nothing new any more. It cannot change while the guard is there.
    ///
    /// # Examples
    /// See [`Watch`].
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn read(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.value.read();
        self.seen = self.shared.word() & !CLOSED;
        value
    }

    /// Whether the value has changed since this watcher last read it or waited for a change.
    ///
    /// # Examples
    /// ```
    /// let watch = gort::sync::Watch::new(1);
    /// let watcher = watch.watcher();
    /// watch.set(2);
    /// assert!(watcher.has_changed());
    /// ```
    pub fn has_changed(&self) -> bool {
        self.shared.word() & !CLOSED != self.seen
    }

    /// Waits for a change, if there has been none since this watcher last read the value or waited for a change.
    ///
    /// # Examples
    /// See [`Watch`].
    ///
    /// # Errors
    /// If there will be none: all [`Watch`] handles have been dropped.
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn changed(&mut self) -> Result<(), WatchClosed> {
        self.changed_by(|| Some(NEVER)).map(drop)
    }

    /// [`changed`](Self::changed), but for at most `timeout`: `Ok(false)` if there has been no change then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let watch = gort::sync::Watch::new(1);
    /// assert_eq!(watch.watcher().changed_timeout(Duration::from_millis(1)), Ok(false));
    /// ```
    ///
    /// # Errors
    /// As [`changed`](Self::changed).
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<bool, WatchClosed> {
        self.changed_by(|| clock::later(timeout))
    }

    /// [`changed`](Self::changed), but not beyond `deadline`: `Ok(false)` if there has been no change then.
    ///
    /// # Examples
    /// ```
    /// let watch = gort::sync::Watch::new(1);
    /// assert_eq!(watch.watcher().changed_until(std::time::Instant::now()), Ok(false));
    /// ```
    ///
    /// # Errors
    /// As [`changed`](Self::changed).
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn changed_until(&mut self, deadline: Instant) -> Result<bool, WatchClosed> {
        self.changed_by(|| clock::ahead(deadline))
    }

    /// Waits until `condition` holds for the value, which may be at once, and reads it.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Watch;
    /// gort::run(|| {
    ///     let progress = Watch::new(0);
    ///     let mut watcher = progress.watcher();
    ///     gort::go!(move || (1..=100).for_each(|percent| progress.set(percent)));
    ///     assert!(*watcher.wait_for(|percent| *percent >= 50).unwrap() >= 50);
    /// });
    /// ```
    ///
    /// # Errors
    /// If it does not hold and there will be no change any more.
    ///
    /// # Scheduling
    /// See [`Watch`].
    pub fn wait_for(&mut self, mut condition: impl FnMut(&T) -> bool) -> Result<RwLockReadGuard<'_, T>, WatchClosed> {
        loop {
            let value = self.shared.value.read();
            let word = self.shared.word();
            self.seen = word & !CLOSED;
            if condition(&value) {
                // The borrow checker does not see that `value` is returned here and nowhere else: read it again,
                // under a reader's right that keeps it the same.
                let again = self.shared.value.read_recursive();
                drop(value);
                return Ok(again);
            }
            drop(value);
            self.changed()?;
        }
    }

    fn changed_by(&mut self, deadline: impl FnOnce() -> Option<Nanos>) -> Result<bool, WatchClosed> {
        crate::sched::checkpoint();
        let news = |word: u64| word & !CLOSED != self.seen || word & CLOSED != 0;
        let mut word = self.shared.word();
        if !news(word) {
            let Some(deadline) = deadline() else { return Ok(false) };
            // A loop: who changed the value may wake us late, for what we have seen before we waited.
            while !news(word) {
                let waited = self.shared.waiters.wait(
                    (0, false),
                    (WaitReason::Watch, deadline),
                    |_| news(self.shared.word()).then_some(()),
                    || (),
                    |_, _| (),
                );
                if waited == Waited::TimedOut {
                    return Ok(false);
                }
                word = self.shared.word();
            }
        }
        if word & !CLOSED == self.seen {
            return Err(WatchClosed);
        }
        self.seen = word & !CLOSED;
        Ok(true)
    }
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Watcher<T> {
        Watcher { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T: fmt::Debug> fmt::Debug for Watcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("value", &self.shared.value).field("changed", &self.has_changed()).finish()
    }
}

/// The value of a [`Watch`] will not change any more.
///
/// # Examples
/// See [`Watch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchClosed;

impl fmt::Display for WatchClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the watched value will not change any more")
    }
}

impl Error for WatchClosed {}

//! `Condvar`: the queue of `raw_condvar.rs` beside a mutex.

use super::MutexGuard;
use super::mutex::lock;
use super::raw_condvar::RawCondvar;
use crate::os::clock::{self, NEVER, Nanos};
use std::time::{Duration, Instant};

/// Lets tasks wait until a condition on the value of a [`Mutex`](super::Mutex) holds.
///
/// The functions are those of std's, but that a deadline can be given and that nothing is poisoned. There are no
/// wake-ups without a reason, but a notification may reach somebody for whom the condition does not hold any
/// more: test it in a loop, or use [`wait_while`](Self::wait_while).
///
/// # Examples
/// ```
/// use gort::sync::{Condvar, Mutex};
/// use std::sync::Arc;
///
/// gort::run(|| {
///     let pair = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
///     let consumer = {
///         let pair = pair.clone();
///         gort::go!(move || {
///             let (queue, filled) = &*pair;
///             filled.wait_while(queue.lock(), |queue| queue.is_empty()).pop()
///         })
///     };
///     pair.0.lock().push(7);
///     pair.1.notify_one();
///     assert_eq!(consumer.join().unwrap(), Some(7));
/// });
/// ```
///
/// # Scheduling
/// To wait parks the coroutine, with the mutex unlocked, and then perhaps for the mutex; both may be cancelled. If
/// it is, the mutex is not locked again, and a notification that had reached the coroutine goes to another. A plain thread is
/// blocked. To notify returns at once, from anywhere.
#[derive(Debug)]
pub struct Condvar {
    raw: RawCondvar,
}

impl Condvar {
    /// Nobody waits yet.
    ///
    /// # Examples
    /// ```
    /// static READY: gort::sync::Condvar = gort::sync::Condvar::new();
    /// READY.notify_one(); // to nobody
    /// ```
    pub const fn new() -> Condvar {
        Condvar { raw: RawCondvar::new() }
    }

    /// Unlocks, waits for a notification, and locks again.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    /// let (done, changed) = (Mutex::new(false), Condvar::new());
    /// gort::run(|| gort::scope(|s| {
    ///     s.go(|| {
    ///         *done.lock() = true;
    ///         changed.notify_all();
    ///     });
    ///     let mut guard = done.lock();
    ///     while !*guard {
    ///         guard = changed.wait(guard);
    ///     }
    /// }));
    /// ```
    ///
    /// # Scheduling
    /// See [`Condvar`].
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_to(guard, Some(NEVER)).0
    }

    /// [`wait`](Self::wait), until `condition` is false.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    /// let (count, changed) = (Mutex::new(0), Condvar::new());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| {
    ///         *count.lock() += 1;
    ///         changed.notify_one();
    ///     });
    ///     assert_eq!(*changed.wait_while(count.lock(), |count| *count == 0), 1);
    /// });
    /// ```
    ///
    /// # Scheduling
    /// See [`Condvar`].
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// [`wait`](Self::wait), but for at most `timeout`. In either case the mutex is unlocked, and locked again, however
    /// long that takes.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    /// let (never, mutex) = (Condvar::new(), Mutex::new(()));
    /// let (guard, result) = never.wait_timeout(mutex.lock(), Duration::from_millis(1));
    /// assert!(result.timed_out());
    /// # drop(guard);
    /// ```
    ///
    /// # Scheduling
    /// See [`Condvar`].
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_to(guard, clock::later(timeout))
    }

    /// [`wait`](Self::wait), but not beyond `deadline`.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    /// use std::time::Instant;
    /// let (never, mutex) = (Condvar::new(), Mutex::new(()));
    /// assert!(never.wait_until(mutex.lock(), Instant::now()).1.timed_out());
    /// ```
    ///
    /// # Scheduling
    /// See [`Condvar`].
    pub fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_to(guard, clock::ahead(deadline))
    }

    /// [`wait_while`](Self::wait_while), but for at most `timeout`. It has timed out if `condition` is still true.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    /// let (never, mutex) = (Condvar::new(), Mutex::new(1));
    /// let (_, result) = never.wait_timeout_while(mutex.lock(), Duration::from_millis(1), |n| *n == 1);
    /// assert!(result.timed_out());
    /// ```
    ///
    /// # Scheduling
    /// See [`Condvar`].
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_while_to(guard, clock::later(timeout), condition)
    }

    /// [`wait_while`](Self::wait_while), but not beyond `deadline`. It has timed out if `condition` is still true.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    /// use std::time::Instant;
    /// let (never, mutex) = (Condvar::new(), Mutex::new(1));
    /// assert!(!never.wait_until_while(mutex.lock(), Instant::now(), |n| *n != 1).1.timed_out());
    /// ```
    ///
    /// # Scheduling
    /// See [`Condvar`].
    pub fn wait_until_while<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
        condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_while_to(guard, clock::ahead(deadline), condition)
    }

    /// Lets the one go on who has waited longest.
    ///
    /// # Examples
    /// See [`Condvar`].
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    #[inline]
    pub fn notify_one(&self) {
        self.raw.notify_one();
    }

    /// Lets all go on who wait now, in the order in which they came.
    ///
    /// # Examples
    /// See [`wait`](Self::wait).
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    #[inline]
    pub fn notify_all(&self) {
        self.raw.notify_all();
    }

    fn wait_while_to<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Option<Nanos>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let mut timed_out = false;
        while condition(&mut guard) {
            if timed_out {
                return (guard, WaitTimeoutResult(true));
            }
            let result;
            (guard, result) = self.wait_to(guard, deadline);
            timed_out = result.timed_out();
        }
        (guard, WaitTimeoutResult(false))
    }

    /// Waits until `deadline`. If that has passed others may have the mutex in between all the same: who asks
    /// again and again would keep out whoever is to change what it asks for.
    fn wait_to<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Nanos>,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let mutex = MutexGuard::mutex(&guard);
        let Some(deadline) = deadline else {
            drop(guard);
            crate::sched::checkpoint();
            return (lock(mutex), WaitTimeoutResult(true));
        };
        crate::sched::checkpoint();
        let (guard, notified) = self.raw.wait(deadline, || drop(guard), || lock(mutex));
        (guard, WaitTimeoutResult(!notified))
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

/// Whether a wait with a time ended by that.
///
/// # Examples
/// See [`Condvar::wait_timeout`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// True if the time passed without a notification, or with the condition still true.
    ///
    /// # Examples
    /// See [`Condvar::wait_timeout`].
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

//! `Mutex`: the raw lock of `raw_mutex.rs` in the types of `lock_api`.
//!
//! Promise: whoever has a guard has the lock.
//!
//! The functions of `lock_api` that give a guard's lock up for a moment lock again by `lock_api::RawMutex::lock`, and count
//! on having the lock after it, however it ends: the guard is still there. So that one does not unwind: nobody ends its
//! wait. What waits on behalf of a caller who has no guard yet may unwind; that is in types of our own, around theirs.
//! `rwlock.rs` and `reentrant_mutex.rs` do likewise.

use super::raw_mutex::RawMutex;
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::shield;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// Gives one task at a time access to a value.
///
/// Inside is a `lock_api::Mutex` with a raw lock of this crate, whose other methods can be called as well, and whose
/// guards these are. It takes 16 bytes beside the value.
///
/// There is no poisoning: if a holder panics, or is cancelled, its guard is dropped by the unwinding and the next one
/// gets the value as it was left. Who keeps an invariant over several steps either makes the steps not
/// panic, or restores the invariant in a destructor.
///
/// # Fairness
/// A free mutex goes to whoever asks first, also past those who wait: that is fast. Who waits is woken in the
/// order of coming, and if it finds the mutex taken for half a millisecond after that, it is handed it.
/// `MutexGuard::unlock_fair` hands it over in any case.
///
/// # Examples
/// ```
/// use gort::sync::Mutex;
/// use std::sync::Arc;
///
/// let total = gort::run(|| {
///     let total = Arc::new(Mutex::new(0));
///     let tasks: Vec<_> = (1..=10)
///         .map(|i| {
///             let total = total.clone();
///             gort::go!(move || *total.lock() += i)
///         })
///         .collect();
///     tasks.into_iter().for_each(|task| task.join().unwrap());
///     let total = *total.lock();
///     total
/// });
/// assert_eq!(total, 55);
/// ```
///
/// A guard may be held while the coroutine waits for something else; who wants the mutex meanwhile parks:
/// ```
/// use gort::sync::Mutex;
/// use std::time::Duration;
///
/// static LAST: Mutex<Option<u32>> = Mutex::new(None);
///
/// gort::run(|| {
///     let sleeper = gort::go!(|| {
///         let mut last = LAST.lock();
///         gort::time::sleep(Duration::from_millis(5));
///         *last = Some(1);
///     });
///     sleeper.join().unwrap();
///     assert_eq!(*LAST.lock(), Some(1));
///     let held = LAST.lock();
///     assert!(LAST.try_lock().is_none());
///     assert!(LAST.try_lock_for(Duration::from_millis(1)).is_none());
///     drop(held);
/// });
/// ```
///
/// # Scheduling
/// `lock` parks the coroutine while somebody else holds the mutex, and may then be cancelled; it blocks a plain
/// thread. So do the attempts with a time. Locking a free mutex is one compare-and-swap, and so is unlocking one for
/// which nobody waits.
///
/// The functions of the guard that give the mutex up for a moment, as `MutexGuard::unlocked`, have it again when they
/// return or unwind: their own wait for it is not ended, as in a [`shield`](crate::shield()). So it is with code that is
/// written for any lock of `lock_api`.
#[derive(Default)]
#[repr(transparent)]
pub struct Mutex<T: ?Sized>(lock_api::Mutex<RawMutex, T>);

impl<T> Mutex<T> {
    /// A free mutex around `value`.
    ///
    /// # Examples
    /// ```
    /// static COUNT: gort::sync::Mutex<u64> = gort::sync::Mutex::new(0);
    /// *COUNT.lock() += 1;
    /// ```
    #[inline]
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(lock_api::Mutex::new(value))
    }

    /// The value.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(gort::sync::Mutex::new(1).into_inner(), 1);
    /// ```
    #[inline]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the mutex is the caller's.
    ///
    /// # Examples
    /// See [`Mutex`].
    ///
    /// # Scheduling
    /// See [`Mutex`].
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.0)
    }

    /// Locks it if it is free.
    ///
    /// # Examples
    /// See [`Mutex`].
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Waits until the mutex is the caller's, for at most `timeout`; None if it was not to be had.
    ///
    /// # Examples
    /// See [`Mutex`].
    ///
    /// # Scheduling
    /// See [`Mutex`].
    pub fn try_lock_for(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        self.lock_by(|| clock::later(timeout))
    }

    /// Waits until the mutex is the caller's, but not beyond `deadline`; None if it was not to be had.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Mutex;
    /// use std::time::Instant;
    /// let mutex = Mutex::new(1);
    /// let guard = mutex.lock();
    /// assert!(mutex.try_lock_until(Instant::now()).is_none());
    /// # drop(guard);
    /// ```
    ///
    /// # Scheduling
    /// See [`Mutex`].
    pub fn try_lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        self.lock_by(|| clock::ahead(deadline))
    }

    /// The value, which nobody else can be at.
    ///
    /// # Examples
    /// ```
    /// let mut mutex = gort::sync::Mutex::new(1);
    /// *mutex.get_mut() += 1;
    /// assert_eq!(mutex.into_inner(), 2);
    /// ```
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    fn lock_by(&self, deadline: impl FnOnce() -> Option<Nanos>) -> Option<MutexGuard<'_, T>> {
        // SAFETY: it is only locked.
        let locked = unsafe { self.0.raw() }.lock_by(deadline);
        // SAFETY: locked just now.
        locked.then(|| unsafe { self.0.make_guard_unchecked() })
    }
}

/// [`Mutex::lock`], for who has the mutex by way of a guard.
#[inline]
pub(super) fn lock<T: ?Sized>(mutex: &lock_api::Mutex<RawMutex, T>) -> MutexGuard<'_, T> {
    // SAFETY: it is only locked.
    let raw = unsafe { mutex.raw() };
    if !raw.take_free() {
        raw.lock_slow(NEVER);
    }
    // SAFETY: locked just now.
    unsafe { mutex.make_guard_unchecked() }
}

impl<T: ?Sized> Deref for Mutex<T> {
    type Target = lock_api::Mutex<RawMutex, T>;

    #[inline]
    fn deref(&self) -> &lock_api::Mutex<RawMutex, T> {
        &self.0
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to the value of a [`Mutex`]; unlocks it when dropped.
///
/// As with std's guard, `Sync` if the value is and never `Send`: it is released where it was taken. See
/// `lock_api::MutexGuard` for its functions.
///
/// # Examples
/// ```
/// use gort::sync::{Mutex, MutexGuard};
/// let pair = Mutex::new((1, 2));
/// let guard: MutexGuard<'_, (i32, i32)> = pair.lock();
/// assert_eq!(guard.0, 1);
/// MutexGuard::unlock_fair(guard);
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// The right to a part of the value of a [`Mutex`], made by `MutexGuard::map`.
///
/// # Examples
/// ```
/// use gort::sync::{MappedMutexGuard, Mutex, MutexGuard};
/// let pair = Mutex::new((1, 2));
/// let mut second: MappedMutexGuard<'_, i32> = MutexGuard::map(pair.lock(), |pair| &mut pair.1);
/// *second = 3;
/// drop(second);
/// assert_eq!(pair.into_inner(), (1, 3));
/// ```
pub type MappedMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawMutex, T>;

impl RawMutex {
    /// Takes it when it is to be had; false if that is not before the deadline, which is asked for if it is not free; None
    /// has passed. May unwind, and has not taken it then.
    pub(super) fn lock_by(&self, deadline: impl FnOnce() -> Option<Nanos>) -> bool {
        lock_api::RawMutex::try_lock(self) || deadline().is_some_and(|deadline| self.lock_slow(deadline))
    }

    /// [`lock_slow`](Self::lock_slow), but it does not unwind.
    #[cold]
    #[inline(never)]
    fn lock_shielded(&self) {
        shield(|| self.lock_slow(NEVER));
    }
}

// SAFETY: `LOCKED` is set by one compare-and-swap from a state without it, or stays set for the one waiter that the
// mutex is handed to; so there is one holder at a time (`raw_mutex.rs`). `lock` has it when it ends: it does not unwind.
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: RawMutex = RawMutex::unlocked();

    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        if !self.take_free() {
            self.lock_shielded();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.take_free() || self.take()
    }

    #[inline]
    unsafe fn unlock(&self) {
        if !self.release(false) {
            self.unlock_slow(false);
        }
    }

    fn is_locked(&self) -> bool {
        self.is_held()
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawMutexFair for RawMutex {
    unsafe fn unlock_fair(&self) {
        if !self.release(true) {
            self.unlock_slow(true);
        }
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawMutexTimed for RawMutex {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, timeout: Duration) -> bool {
        shield(|| self.lock_by(|| clock::later(timeout)))
    }

    fn try_lock_until(&self, timeout: Instant) -> bool {
        shield(|| self.lock_by(|| clock::ahead(timeout)))
    }
}

const _: () = assert!(size_of::<Mutex<()>>() == 16);

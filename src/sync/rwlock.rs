//! `RwLock`: the raw lock of `raw_rwlock.rs` in the types of `lock_api`.
//!
//! What waits on behalf of a guard does not unwind, for the reason that `mutex.rs` gives.

use super::raw_rwlock::RawRwLock;
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::shield;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// Gives many readers or one writer access to a value.
///
/// Inside is a `lock_api::RwLock` with a raw lock of this crate, whose other methods can be called as well, and whose
/// guards these are. It takes 16 bytes beside the value. It does not poison; see [`Mutex`](super::Mutex).
///
/// A reader does not overtake a writer that waits. So a task that has read access must not ask for more with
/// `read` while it keeps it: it could wait for a writer that waits for it. `read_recursive` may be used for that.
///
/// There is no guard for reading that can be made one for writing (`upgradable_read`): it would exclude its like, as a
/// writer does, and is seldom worth the fourth kind of access. Write guards can be
/// downgraded, by `RwLockWriteGuard::downgrade`.
///
/// # Fairness
/// Writers that come while others wait may overtake waiting writers, for half a millisecond, as with the
/// [`Mutex`](super::Mutex). Whoever gives the lock up lets the readers in that have waited longer than any writer.
/// Nobody waits for ever.
///
/// # Examples
/// ```
/// use gort::sync::{RwLock, RwLockWriteGuard};
/// use std::collections::HashMap;
/// use std::time::Duration;
///
/// static PRICES: RwLock<Option<HashMap<&str, u32>>> = RwLock::new(None);
///
/// gort::run(|| {
///     PRICES.write().get_or_insert_default().insert("tea", 3);
///     let (one, two) = (PRICES.read(), PRICES.read());
///     assert_eq!(one.as_ref().unwrap()["tea"], two.as_ref().unwrap()["tea"]);
///     assert!(PRICES.try_write_for(Duration::from_millis(1)).is_none());
///     drop((one, two));
///     let prices = RwLockWriteGuard::downgrade(PRICES.write());
///     assert!(PRICES.try_read().is_some());
/// });
/// ```
///
/// # Scheduling
/// `read` and `write` park the coroutine until they have the lock, and may then be cancelled; they block a plain
/// thread. So do the attempts with a time. Without contention each is one compare-and-swap, and so is giving up.
///
/// The functions of the guards that give the lock up for a moment, as `RwLockReadGuard::unlocked`, have it again when they
/// return or unwind: their own wait for it is not ended, as in a [`shield`](crate::shield()). So it is with code that is
/// written for any lock of `lock_api`.
#[derive(Default)]
#[repr(transparent)]
pub struct RwLock<T: ?Sized>(lock_api::RwLock<RawRwLock, T>);

impl<T> RwLock<T> {
    /// A free lock around `value`.
    ///
    /// # Examples
    /// See [`RwLock`].
    #[inline]
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(lock_api::RwLock::new(value))
    }

    /// The value.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(gort::sync::RwLock::new(1).into_inner(), 1);
    /// ```
    #[inline]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until the caller may read.
    ///
    /// # Examples
    /// See [`RwLock`].
    ///
    /// # Scheduling
    /// See [`RwLock`].
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        // SAFETY: it is only locked.
        let raw = unsafe { self.0.raw() };
        if !raw.take_shared() {
            raw.lock_shared_slow(NEVER, false);
        }
        // SAFETY: locked just now.
        unsafe { self.0.make_read_guard_unchecked() }
    }

    /// Reads, if nobody writes or waits.
    ///
    /// # Examples
    /// See [`RwLock`].
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.0.try_read()
    }

    /// Waits until the caller may read, for at most `timeout`; None if it may not.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::RwLock;
    /// use std::time::Duration;
    /// let lock = RwLock::new(1);
    /// assert_eq!(*lock.try_read_for(Duration::from_millis(1)).unwrap(), 1);
    /// ```
    ///
    /// # Scheduling
    /// See [`RwLock`].
    pub fn try_read_for(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.read_by(false, || clock::later(timeout))
    }

    /// Waits until the caller may read, but not beyond `deadline`; None if it may not.
    ///
    /// # Examples
    /// See [`try_read_for`](Self::try_read_for).
    ///
    /// # Scheduling
    /// See [`RwLock`].
    pub fn try_read_until(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        self.read_by(false, || clock::ahead(deadline))
    }

    /// Waits until the caller may write.
    ///
    /// # Examples
    /// See [`RwLock`].
    ///
    /// # Scheduling
    /// See [`RwLock`].
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        // SAFETY: it is only locked.
        let raw = unsafe { self.0.raw() };
        if !raw.take_free() {
            raw.lock_slow(NEVER);
        }
        // SAFETY: locked just now.
        unsafe { self.0.make_write_guard_unchecked() }
    }

    /// Writes, if nobody reads or writes.
    ///
    /// # Examples
    /// ```
    /// let lock = gort::sync::RwLock::new(1);
    /// let reader = lock.read();
    /// assert!(lock.try_write().is_none());
    /// # drop(reader);
    /// ```
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.0.try_write()
    }

    /// Waits until the caller may write, for at most `timeout`; None if it may not.
    ///
    /// # Examples
    /// See [`RwLock`].
    ///
    /// # Scheduling
    /// See [`RwLock`].
    pub fn try_write_for(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.write_by(|| clock::later(timeout))
    }

    /// Waits until the caller may write, but not beyond `deadline`; None if it may not.
    ///
    /// # Examples
    /// See [`try_write_for`](Self::try_write_for).
    ///
    /// # Scheduling
    /// See [`RwLock`].
    pub fn try_write_until(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        self.write_by(|| clock::ahead(deadline))
    }

    /// Waits until the caller may read. If others do already it does not wait for a writer that waits: for who may be one of
    /// them.
    ///
    /// # Examples
    /// ```
    /// let lock = gort::sync::RwLock::new(1);
    /// let outer = lock.read();
    /// assert_eq!(*lock.read_recursive(), *outer); // whoever waits to write
    /// ```
    ///
    /// # Scheduling
    /// See [`RwLock`].
    pub fn read_recursive(&self) -> RwLockReadGuard<'_, T> {
        // SAFETY: it is only locked.
        let raw = unsafe { self.0.raw() };
        if !raw.take_shared_again() {
            raw.lock_shared_slow(NEVER, true);
        }
        // SAFETY: locked just now.
        unsafe { self.0.make_read_guard_unchecked() }
    }

    /// [`read_recursive`](Self::read_recursive), if that does not have to wait.
    ///
    /// # Examples
    /// See [`read_recursive`](Self::read_recursive).
    pub fn try_read_recursive(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.0.try_read_recursive()
    }

    /// [`read_recursive`](Self::read_recursive), for at most `timeout`.
    ///
    /// # Examples
    /// See [`read_recursive`](Self::read_recursive).
    ///
    /// # Scheduling
    /// See [`RwLock`].
    pub fn try_read_recursive_for(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.read_by(true, || clock::later(timeout))
    }

    /// [`read_recursive`](Self::read_recursive), but not beyond `deadline`.
    ///
    /// # Examples
    /// See [`read_recursive`](Self::read_recursive).
    ///
    /// # Scheduling
    /// See [`RwLock`].
    pub fn try_read_recursive_until(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        self.read_by(true, || clock::ahead(deadline))
    }

    /// The value, which nobody else can be at.
    ///
    /// # Examples
    /// ```
    /// let mut lock = gort::sync::RwLock::new(1);
    /// *lock.get_mut() += 1;
    /// assert_eq!(lock.into_inner(), 2);
    /// ```
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    fn read_by(&self, again: bool, deadline: impl FnOnce() -> Option<Nanos>) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY: it is only locked.
        let locked = unsafe { self.0.raw() }.read_by(again, deadline);
        // SAFETY: locked just now.
        locked.then(|| unsafe { self.0.make_read_guard_unchecked() })
    }

    fn write_by(&self, deadline: impl FnOnce() -> Option<Nanos>) -> Option<RwLockWriteGuard<'_, T>> {
        // SAFETY: it is only locked.
        let locked = unsafe { self.0.raw() }.write_by(deadline);
        // SAFETY: locked just now.
        locked.then(|| unsafe { self.0.make_write_guard_unchecked() })
    }
}

impl<T: ?Sized> Deref for RwLock<T> {
    type Target = lock_api::RwLock<RawRwLock, T>;

    #[inline]
    fn deref(&self) -> &lock_api::RwLock<RawRwLock, T> {
        &self.0
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to read the value of a [`RwLock`]; gives it up when dropped. `Sync` if the value is, never `Send`.
///
/// # Examples
/// ```
/// use gort::sync::{RwLock, RwLockReadGuard};
/// let value = RwLock::new(1);
/// let guard: RwLockReadGuard<'_, i32> = value.read();
/// assert_eq!(*guard, 1);
/// ```
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;

/// The right to change the value of a [`RwLock`]; gives it up when dropped. `Sync` if the value is, never `Send`.
///
/// # Examples
/// ```
/// use gort::sync::{RwLock, RwLockWriteGuard};
/// let value = RwLock::new(1);
/// let mut guard: RwLockWriteGuard<'_, i32> = value.write();
/// *guard += 1;
/// ```
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

/// The right to read a part of the value of a [`RwLock`].
///
/// # Examples
/// ```
/// use gort::sync::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
/// let pair = RwLock::new((1, 2));
/// let second: MappedRwLockReadGuard<'_, i32> = RwLockReadGuard::map(pair.read(), |pair| &pair.1);
/// assert_eq!(*second, 2);
/// ```
pub type MappedRwLockReadGuard<'a, T> = lock_api::MappedRwLockReadGuard<'a, RawRwLock, T>;

/// The right to change a part of the value of a [`RwLock`].
///
/// # Examples
/// ```
/// use gort::sync::{MappedRwLockWriteGuard, RwLock, RwLockWriteGuard};
/// let pair = RwLock::new((1, 2));
/// let mut second: MappedRwLockWriteGuard<'_, i32> = RwLockWriteGuard::map(pair.write(), |pair| &mut pair.1);
/// *second = 3;
/// ```
pub type MappedRwLockWriteGuard<'a, T> = lock_api::MappedRwLockWriteGuard<'a, RawRwLock, T>;

impl RawRwLock {
    /// Takes it for reading when it is to be had, as `again` says by the rule for who may be a reader already; false if that is
    /// not before the deadline, which is asked for if it has to wait; None has passed. May unwind, and has not taken it then.
    fn read_by(&self, again: bool, deadline: impl FnOnce() -> Option<Nanos>) -> bool {
        let taken = if again { self.take_shared_again() } else { self.take_shared() };
        taken || deadline().is_some_and(|deadline| self.lock_shared_slow(deadline, again))
    }

    /// The same for writing.
    fn write_by(&self, deadline: impl FnOnce() -> Option<Nanos>) -> bool {
        self.take() || deadline().is_some_and(|deadline| self.lock_slow(deadline))
    }

    /// [`lock_shared_slow`](Self::lock_shared_slow), but it does not unwind.
    #[cold]
    #[inline(never)]
    fn lock_shared_shielded(&self, again: bool) {
        shield(|| self.lock_shared_slow(NEVER, again));
    }

    /// [`lock_slow`](Self::lock_slow), but it does not unwind.
    #[cold]
    #[inline(never)]
    fn lock_shielded(&self) {
        shield(|| self.lock_slow(NEVER));
    }
}

// SAFETY: `WRITER` is set only where there is neither a writer nor a reader, or stays set for the one writer that the
// lock is handed to; readers are counted in only where there is no writer (`raw_rwlock.rs`). What locks has it when it ends:
// it does not unwind.
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: RawRwLock = RawRwLock::unlocked();

    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock_shared(&self) {
        if !self.take_shared() {
            self.lock_shared_shielded(false);
        }
    }

    #[inline]
    fn try_lock_shared(&self) -> bool {
        self.take_shared()
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        RawRwLock::unlock_shared(self, false);
    }

    #[inline]
    fn lock_exclusive(&self) {
        if !self.take_free() {
            self.lock_shielded();
        }
    }

    #[inline]
    fn try_lock_exclusive(&self) -> bool {
        self.take_free() || self.take()
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        if !self.release() {
            self.unlock_slow(false);
        }
    }

    fn is_locked(&self) -> bool {
        self.is_held()
    }

    fn is_locked_exclusive(&self) -> bool {
        self.is_written()
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawRwLockFair for RawRwLock {
    unsafe fn unlock_shared_fair(&self) {
        RawRwLock::unlock_shared(self, true);
    }

    unsafe fn unlock_exclusive_fair(&self) {
        if !self.release() {
            self.unlock_slow(true);
        }
    }
}

// SAFETY: as above; a downgrade exchanges the writer for one reader in one step.
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self) {
        RawRwLock::downgrade(self);
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_shared_for(&self, timeout: Duration) -> bool {
        shield(|| self.read_by(false, || clock::later(timeout)))
    }

    fn try_lock_shared_until(&self, timeout: Instant) -> bool {
        shield(|| self.read_by(false, || clock::ahead(timeout)))
    }

    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        shield(|| self.write_by(|| clock::later(timeout)))
    }

    fn try_lock_exclusive_until(&self, timeout: Instant) -> bool {
        shield(|| self.write_by(|| clock::ahead(timeout)))
    }
}

// SAFETY: as above. If readers have the lock already another waits for no writer.
unsafe impl lock_api::RawRwLockRecursive for RawRwLock {
    fn lock_shared_recursive(&self) {
        if !self.take_shared_again() {
            self.lock_shared_shielded(true);
        }
    }

    fn try_lock_shared_recursive(&self) -> bool {
        self.take_shared_again()
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawRwLockRecursiveTimed for RawRwLock {
    fn try_lock_shared_recursive_for(&self, timeout: Duration) -> bool {
        shield(|| self.read_by(true, || clock::later(timeout)))
    }

    fn try_lock_shared_recursive_until(&self, timeout: Instant) -> bool {
        shield(|| self.read_by(true, || clock::ahead(timeout)))
    }
}

const _: () = assert!(size_of::<RwLock<()>>() == 16);

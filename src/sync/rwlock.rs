//! `RwLock`: the raw lock of `raw_rwlock.rs` in the types of `lock_api`.

use super::raw_rwlock::RawRwLock;
use crate::os::clock::{self, NEVER};
use std::time::{Duration, Instant};

/// Gives many readers or one writer access to a value.
///
/// The type is [`lock_api::RwLock`] around a raw lock of this crate; the methods are described there:
/// [`read`](lock_api::RwLock::read), [`write`](lock_api::RwLock::write), both as `try_..`, `try_.._for` and
/// `try_.._until`, [`read_recursive`](lock_api::RwLock::read_recursive), `const` [`new`](lock_api::RwLock::new)
/// and others. It takes 16 bytes beside the value. It does not poison; see [`Mutex`](super::Mutex).
///
/// A reader does not overtake a writer that waits. So a task that has read access must not ask for more with
/// `read` while it keeps it: it could wait for a writer that waits for it. `read_recursive` may be used for that.
///
/// There is no guard for reading that can be made one for writing (`upgradable_read`): it would exclude its like, as a
/// writer does, and is seldom worth the fourth kind of access. Write guards can be
/// [downgraded](lock_api::RwLockWriteGuard::downgrade).
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
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;

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

// SAFETY: `WRITER` is set only where there is neither a writer nor a reader, or stays set for the one writer that the
// lock is handed to; readers are counted in only where there is no writer (`raw_rwlock.rs`).
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: RawRwLock = RawRwLock::unlocked();

    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock_shared(&self) {
        if !self.take_shared() {
            self.lock_shared_slow(NEVER, false);
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
            self.lock_slow(NEVER);
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
        self.take_shared() || clock::later(timeout).is_some_and(|deadline| self.lock_shared_slow(deadline, false))
    }

    fn try_lock_shared_until(&self, timeout: Instant) -> bool {
        self.take_shared() || clock::ahead(timeout).is_some_and(|deadline| self.lock_shared_slow(deadline, false))
    }

    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        self.take() || clock::later(timeout).is_some_and(|deadline| self.lock_slow(deadline))
    }

    fn try_lock_exclusive_until(&self, timeout: Instant) -> bool {
        self.take() || clock::ahead(timeout).is_some_and(|deadline| self.lock_slow(deadline))
    }
}

// SAFETY: as above. If readers have the lock already another waits for no writer.
unsafe impl lock_api::RawRwLockRecursive for RawRwLock {
    fn lock_shared_recursive(&self) {
        if !self.take_shared_again() {
            self.lock_shared_slow(NEVER, true);
        }
    }

    fn try_lock_shared_recursive(&self) -> bool {
        self.take_shared_again()
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawRwLockRecursiveTimed for RawRwLock {
    fn try_lock_shared_recursive_for(&self, timeout: Duration) -> bool {
        self.take_shared_again() || clock::later(timeout).is_some_and(|deadline| self.lock_shared_slow(deadline, true))
    }

    fn try_lock_shared_recursive_until(&self, timeout: Instant) -> bool {
        self.take_shared_again() || clock::ahead(timeout).is_some_and(|deadline| self.lock_shared_slow(deadline, true))
    }
}

const _: () = assert!(size_of::<RwLock<()>>() == 16);

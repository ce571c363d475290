//! `Mutex`: the raw lock of `raw_mutex.rs` in the types of `lock_api`.

use super::raw_mutex::RawMutex;
use crate::os::clock::{self, NEVER};
use std::time::{Duration, Instant};

/// Gives one task at a time access to a value.
///
/// The type is [`lock_api::Mutex`] around a raw lock of this crate; the methods are described there:
/// [`lock`](lock_api::Mutex::lock), [`try_lock`](lock_api::Mutex::try_lock),
/// [`try_lock_for`](lock_api::Mutex::try_lock_for), [`try_lock_until`](lock_api::Mutex::try_lock_until),
/// [`get_mut`](lock_api::Mutex::get_mut), [`into_inner`](lock_api::Mutex::into_inner), and `const`
/// [`new`](lock_api::Mutex::new). It takes 16 bytes beside the value.
///
/// There is no poisoning: if a holder panics, or is cancelled, its guard is dropped by the unwinding and the next one
/// gets the value as it was left. Who keeps an invariant over several steps either makes the steps not
/// panic, or restores the invariant in a destructor.
///
/// # Fairness
/// A free mutex goes to whoever asks first, also past those who wait: that is fast. Who waits is woken in the
/// order of coming, and if it finds the mutex taken for half a millisecond after that, it is handed it.
/// [`MutexGuard::unlock_fair`] hands it over in any case.
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
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// The right to the value of a [`Mutex`]; unlocks it when dropped.
///
/// As with std's guard, `Sync` if the value is and never `Send`: it is released where it was taken. See
/// [`lock_api::MutexGuard`] for its functions.
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

/// The right to a part of the value of a [`Mutex`], made by [`MutexGuard::map`].
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

// SAFETY: `LOCKED` is set by one compare-and-swap from a state without it, or stays set for the one waiter that the
// mutex is handed to; so there is one holder at a time (`raw_mutex.rs`).
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: RawMutex = RawMutex::unlocked();

    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        if !self.take_free() {
            self.lock_slow(NEVER);
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
        lock_api::RawMutex::try_lock(self) || clock::later(timeout).is_some_and(|deadline| self.lock_slow(deadline))
    }

    fn try_lock_until(&self, timeout: Instant) -> bool {
        lock_api::RawMutex::try_lock(self) || clock::ahead(timeout).is_some_and(|deadline| self.lock_slow(deadline))
    }
}

const _: () = assert!(size_of::<Mutex<()>>() == 16);

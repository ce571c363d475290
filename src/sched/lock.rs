//! The runtime's own lock: for a few instructions, never across a park or a system call.
//!
//! A word and a spin, because the holder is always running: nothing inside allocates much,
//! parks, or calls user code. Under contention a spinner backs off further and further, which
//! lets the holder's CPU keep the protected data in its cache for a burst of operations; that
//! is worth more than fairness here (measured in `benches/channel.rs`). If the holder's thread
//! has lost its CPU the spinner gives up its own (`sched_yield`); if it is suspended (`preempt.rs`) the spinner soon sleeps in
//! the kernel most of the time, so that sysmon finds it blocked and gives its P to others.

use crate::shim::atomic::{AtomicBool, Ordering};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

/// A spin lock around a `T`; see the module. The word comes first: what is used most of the value may share its cache line.
#[repr(C)]
pub(crate) struct Spin<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// What counts on it, as a channel's first line does, cannot look at the fields.
const _: () = assert!(std::mem::offset_of!(Spin<u64>, locked) == 0 && std::mem::offset_of!(Spin<u64>, value) == 8);

// SAFETY: the lock hands the value to one thread at a time.
unsafe impl<T: Send> Send for Spin<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Spin<T> {}

impl<T> Spin<T> {
    crate::shim::const_fn! {
        pub(crate) fn new(value: T) -> Spin<T> {
            Spin { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }
    }

    /// Takes the lock.
    #[inline(always)]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        if !self.acquire() {
            self.lock_slow();
        }
        SpinGuard { lock: self }
    }

    /// Takes the lock if it is free.
    #[inline(always)]
    pub(crate) fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        self.acquire().then(|| SpinGuard { lock: self })
    }

    #[inline(always)]
    fn acquire(&self) -> bool {
        // Acquire: pairs with the Release of the unlock. Relaxed on failure: nothing is read.
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn lock_slow(&self) {
        let mut round = 0u32;
        loop {
            // Eight at first, longer than most hold it: who looks sooner takes the cache line away from the holder in its midst.
            for _ in 0..(1u32 << (round + 3).min(8)) {
                crate::shim::spin_loop();
            }
            // Relaxed: only tells whether an attempt is worth the cache line.
            if !self.locked.load(Ordering::Relaxed) && self.acquire() {
                return;
            }
            round += 1;
            match round {
                // Not under the checker, which has a time of its own.
                _ if cfg!(loom) => {}
                0..=10 => {}
                11..=100 => std::thread::yield_now(),
                _ => std::thread::sleep(std::time::Duration::from_micros(100)),
            }
        }
    }
}

impl<T> std::fmt::Debug for Spin<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spin").finish_non_exhaustive()
    }
}

/// The right to the value; unlocks when dropped.
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a Spin<T>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the next lock.
        self.lock.locked.store(false, Ordering::Release);
    }
}

//! A lock that costs its owner next to nothing, and others a `membarrier`.
//!
//! The owner of a P touches the P's queues at every switch; thieves come when they have nothing
//! else to do. So the owner pays plain loads and stores, and a thief pays half a microsecond to
//! three (and the owner, if it comes along just then, waits that long).
//!
//! Promise: owner and thief are never inside at the same time, nor are two thieves.
//!
//! Owner: O1 `busy` = 1; O2 light fence; O3 if `thief` is 0, go in; then `busy` = 0.
//! Thief: T1 `thief` = 1; T2 heavy fence; T3 if `busy` is 0, go in; then `thief` = 0.
//! O2 and T2 order like SeqCst fences, so O3 sees T1 or T3 sees O1: one of them stays out. A
//! thief that is kept out gives up, an owner that is kept out waits. Modelled in `ci/models`,
//! `biased::*`; without either fence the model finds both inside.
//!
//! The idea is that of biased locking and of Cilk's THE protocol (Frigo, Leiserson and Randall,
//! "The Implementation of the Cilk-5 Multithreaded Language", 1998) with the fence moved to the
//! thief's side by `membarrier(2)`.
//!
//! Rejected: a `crossbeam-deque` worker for each queue and a swap for the slot. One push and one
//! pop were 7 ns, three times what they are here, most of it fences and read-modify-writes that
//! only a thief needs (`benches/switch.rs`, `benches/spawn.rs`).

use crate::shim::asymmetric;
use crate::shim::atomic::{AtomicBool, Ordering};
use crate::shim::cell::UnsafeCell;
use crate::shim::spin_loop;

/// See the module's essay.
pub(crate) struct Biased<T> {
    busy: AtomicBool,
    thief: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the protocol lets one thread at a time reach the value.
unsafe impl<T: Send> Send for Biased<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Biased<T> {}

impl<T> Biased<T> {
    pub(crate) fn new(value: T) -> Biased<T> {
        Biased { busy: AtomicBool::new(false), thief: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The owner's way in.
    ///
    /// # Safety
    /// Only one thread at a time is the owner, and `f` does not come back here.
    #[inline(always)]
    pub(crate) unsafe fn own<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // O1. Relaxed: ordered against T3 by the fence.
        self.busy.store(true, Ordering::Relaxed);
        asymmetric::light(); // O2, pairs with T2
        // O3. Acquire: pairs with the thief's Release, so that what it took is seen gone.
        if self.thief.load(Ordering::Acquire) {
            self.wait_for_thief();
        }
        // SAFETY: the protocol keeps thieves out, the caller's promise other owners.
        let result = self.value.with_mut(|value| f(unsafe { &mut *value }));
        // Release: a thief that sees `busy` false sees the value as we left it.
        self.busy.store(false, Ordering::Release);
        result
    }

    #[cold]
    fn wait_for_thief(&self) {
        loop {
            // Release: as in `own`. We have touched nothing now, but a thief that sees this may not
            // have seen the end of the time before.
            self.busy.store(false, Ordering::Release);
            // Relaxed: O3 is done again below.
            while self.thief.load(Ordering::Relaxed) {
                spin_loop();
            }
            // O1 to O3 again.
            self.busy.store(true, Ordering::Relaxed);
            asymmetric::light();
            if !self.thief.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// A thief's way in. None if the owner or another thief is inside.
    #[cold]
    pub(crate) fn steal<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        // T1. Acquire: thieves follow one another.
        if self.thief.swap(true, Ordering::Acquire) {
            return None;
        }
        asymmetric::heavy(); // T2, pairs with O2
        // T3. Acquire: pairs with the owner's Release.
        let result = if self.busy.load(Ordering::Acquire) {
            None
        } else {
            // SAFETY: the protocol keeps the owner and other thieves out.
            Some(self.value.with_mut(|value| f(unsafe { &mut *value })))
        };
        // Release: pairs with O3's Acquire and the next thief's.
        self.thief.store(false, Ordering::Release);
        result
    }
}

impl<T> std::fmt::Debug for Biased<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Biased").finish_non_exhaustive()
    }
}

//! The word that says who may be on the stacks of a home's coroutines.
//!
//! Promise: a home is worn by one M at a time; a G that is taken from a queue while its home is
//! worn is never lost: whoever takes the home off, or goes on wearing it, requeues it.
//!
//! | `word` | meaning |
//! |---|---|
//! | `FREE` | nobody is on a stack of this home; anybody may wear it |
//! | `WORN` | one M wears it, or it lies empty in somebody's keeping |
//! | `SHUT` | nobody wears it, but its coroutine that parked while panicking owns it |
//!
//! Beside it is a list of Gs that wait for the home, linked through `next`.
//!
//! Wear: W1 compare-and-swap `FREE` to `WORN`. If it is not free, after a short spin (the wearer
//! may be just leaving): L1 push the G on the list; L2 heavy fence; L3 try W1 once more. If that
//! succeeds, and the G is still in the list, it is ours after all, with the home.
//! Take off: T1 store `FREE`; T2 light fence; T3 if the list is not empty, take and requeue it.
//! L2 and T2 order like SeqCst fences: L3 sees T1, or T3 sees L1. So a listed G is found by the
//! wearer's take-off at the latest, and the take-off, which happens at every switch between two
//! homes, needs no read-modify-write (a `membarrier` on the other side is rare: the home must be
//! worn by somebody who stays). The Acquire in W1 pairs with the Release in T1: the new wearer
//! sees everything that was done under the home, the saved context of its coroutines above all.
//! Modelled in `ci/models`, `home_word::*`: without L2 or T2 a G is lost; with a Relaxed T1 the next wearer sees an
//! old stack.
//!
//! Rejected: one word with the list's head in it. Its take-off is a swap, 3 ns more for each
//! switch.

use crate::shim::asymmetric;
use crate::shim::atomic::{AtomicPtr, AtomicU8, Ordering};
use crate::shim::spin_loop;
use std::ptr;

const FREE: u8 = 0;
const WORN: u8 = 1;
const SHUT: u8 = 2;

/// Looks at a worn home before the G is listed: about as long as a wearer takes to leave.
const SPINS: u32 = if cfg!(loom) { 0 } else { 20 };

/// What can wait in a home's list.
pub(crate) trait Linked {
    /// Reads the link. Called by whoever owns the node.
    fn next(&self) -> *mut Self;
    /// Writes the link. Called by whoever owns the node.
    fn set_next(&self, next: *mut Self);
}

/// What became of an attempt to wear a home for a G.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Wear {
    /// The caller wears it.
    Worn,
    /// Another M does; the G is in its list and no longer the caller's.
    Listed,
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct HomeWord<T> {
    word: AtomicU8,
    list: AtomicPtr<T>,
}

impl<T: Linked> HomeWord<T> {
    /// A home that its maker wears.
    pub(crate) fn new_worn() -> HomeWord<T> {
        HomeWord { word: AtomicU8::new(WORN), list: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Wears the home if it is free.
    #[inline(always)]
    pub(crate) fn try_wear(&self) -> bool {
        // W1. Acquire: pairs with the Release of the last take-off. Relaxed on failure:
        // nothing is read.
        self.word.compare_exchange(FREE, WORN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Wears the home to run `g`, or leaves `g` in its list. `owner` is true if `g` is the
    /// coroutine that shut the home. `requeue` gets what else waited, if the home came free
    /// just now.
    ///
    /// # Safety
    /// `g` is valid, in no list or queue, and the caller's to give away.
    #[inline(always)]
    pub(crate) unsafe fn wear_or_list(&self, g: *mut T, owner: bool, requeue: impl FnMut(*mut T)) -> Wear {
        if self.try_wear() {
            return Wear::Worn;
        }
        // SAFETY: the caller's promise.
        unsafe { self.wear_or_list_slow(g, owner, requeue) }
    }

    /// The part of [`Self::wear_or_list`] that is entered when the home was not free.
    ///
    /// # Safety
    /// As there.
    #[cold]
    unsafe fn wear_or_list_slow(&self, g: *mut T, owner: bool, mut requeue: impl FnMut(*mut T)) -> Wear {
        // Acquire: pairs with the Release of `shut`.
        if owner && self.word.compare_exchange(SHUT, WORN, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Wear::Worn;
        }
        for _ in 0..SPINS {
            spin_loop();
            // Relaxed: only tells whether an attempt is worth the cache line.
            if self.word.load(Ordering::Relaxed) == FREE && self.try_wear() {
                return Wear::Worn;
            }
        }
        // L1. Relaxed: checked by the compare-and-swap.
        let mut head = self.list.load(Ordering::Relaxed);
        loop {
            // SAFETY: `g` is the caller's until it is linked.
            unsafe { (*g).set_next(head) };
            // Release: publishes the link.
            match self.list.compare_exchange_weak(head, g, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        asymmetric::heavy(); // L2, pairs with T2
        // L3. Acquire: as W1, or pairs with the Release of `shut`.
        let was_free = self.try_wear();
        let now_ours =
            was_free || (owner && self.word.compare_exchange(SHUT, WORN, Ordering::Acquire, Ordering::Relaxed).is_ok());
        if !now_ours {
            return Wear::Listed;
        }
        let mut found = false;
        self.drain(|other| {
            if other == g {
                found = true;
            } else {
                requeue(other);
            }
        });
        if found {
            return Wear::Worn;
        }
        // The last wearer has requeued `g`: it is somebody else's, and we have no use for the
        // home. It goes back to what it was.
        if was_free {
            self.take_off(requeue);
        } else {
            self.shut(requeue);
        }
        Wear::Listed
    }

    /// Whether somebody waits in the list.
    #[inline(always)]
    pub(crate) fn has_list(&self) -> bool {
        // Relaxed: a hint, or T3, ordered by the fence.
        !self.list.load(Ordering::Relaxed).is_null()
    }

    /// Takes the home off; `requeue` gets each G that waited, in the order they came. Only the
    /// wearer calls it, and only when it has left the stacks of the home.
    #[inline(always)]
    pub(crate) fn take_off(&self, requeue: impl FnMut(*mut T)) {
        debug_assert_eq!(self.word.load(Ordering::Relaxed), WORN, "only a worn home is taken off");
        // T1. Release: pairs with W1's Acquire.
        self.word.store(FREE, Ordering::Release);
        asymmetric::light(); // T2, pairs with L2
        if self.has_list() {
            self.drain(requeue); // T3
        }
    }

    /// Empties the list.
    #[cold]
    pub(crate) fn drain(&self, mut requeue: impl FnMut(*mut T)) {
        // Acquire: pairs with L1's Release, so that the links are seen.
        let mut node = self.list.swap(ptr::null_mut(), Ordering::Acquire);
        // The list is last in, first out; turn it round.
        let mut first: *mut T = ptr::null_mut();
        while !node.is_null() {
            // SAFETY: the swap made the whole list ours.
            unsafe {
                let next = (*node).next();
                (*node).set_next(first);
                first = node;
                node = next;
            }
        }
        while !first.is_null() {
            // SAFETY: as above; the link is read before the node is given away.
            let next = unsafe { (*first).next() };
            requeue(first);
            first = next;
        }
    }

    /// Leaves the home, but shut: only the coroutine that is to unwind in it gets in again.
    /// `requeue` gets every G that waited: the owner among them, if it was readied before it
    /// left its stack, comes back by the front door, and the others are listed anew.
    #[cold]
    pub(crate) fn shut(&self, requeue: impl FnMut(*mut T)) {
        // As `take_off`, T1 to T3.
        self.word.store(SHUT, Ordering::Release);
        asymmetric::light();
        if self.has_list() {
            self.drain(requeue);
        }
    }
}

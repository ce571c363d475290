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
//! | `SOLE` | one coroutine lives here; the home is worn if `busy` says so |
//! | `ASKED` | as `SOLE`, while an M tries to make it `WORN` |
//!
//! Beside it is a list of Gs that wait for the home, linked through `next`.
//!
//! Wear: W1 compare-and-swap `FREE` to `WORN`. If it is not free, after a short spin (the wearer
//! may be just leaving): L1 push the G on the list; L2 fence; L3 if the home is free now, take
//! the list. Whoever takes a G out of the list owns it: if ours is in there, begin anew.
//! Take off: T1 swap for `FREE`; T2 fence; T3 if the list is not empty, take and requeue it.
//! L1, L3, T1 and T3 are SeqCst, which makes fences of L2 and T2: L3 sees T1, or T3 sees L1. So a listed G is found by the
//! wearer's take-off at the latest. The Acquire in W1 pairs with the Release in T1: the new wearer
//! sees everything that was done under the home, the saved context of its coroutines above all.
//!
//! # One coroutine
//!
//! Most homes have one coroutine. Who has taken that from a queue is alone with the right to
//! wear its home, so no read-modify-write is needed for that either, only a look whether the last
//! wearer is off:
//!
//! Wear: if `SOLE` and not `busy`: B1 `busy`; B2 light fence; B3 still `SOLE`: worn. Else not `busy`, and as above.
//! Take off: T1 is not `busy`, a store, and T2 a light fence. So L2 is a heavy one (a `membarrier`) where the word is `SOLE` or `ASKED`. If it
//! is anything else it will not be `SOLE` again as long as the listed G lives here, and T1 is the swap.
//! Another M that wants to bring a second coroutine in: A1 compare-and-swap `SOLE` to `ASKED`; A2
//! heavy fence; A3 if not `busy`: `WORN`, and it wears the home. Else back to `SOLE` and, as for any take-off, T2, T3.
//! B2 and A2 order like SeqCst fences: B3 sees A1, or A3 sees B1. The wearer itself (`open`)
//! waits while the home is `ASKED`, makes it `WORN`, and drops `busy`.
//! This way a switch between two homes takes 38 ns instead of 42 (W1 alone is 5 ns).
//!
//! Modelled in `ci/models`, `home_word::*`: without L2 or T2 a G is lost; with a Relaxed T1 the next wearer sees an
//! old stack; without A2 or B2 two wear the home.
//!
//! Rejected: a take-off by a store and a `membarrier` for each that is listed, where homes are shared too. It saves 3 ns a
//! switch. But with thousands of connections one in some hundred switches finds its home worn, one in ten if those that are active
//! live together, and a `membarrier` is 5 to 20 us where an interrupt leaves a virtual machine.

use crate::shim::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use crate::shim::{asymmetric, between_seqcst, spin_loop};
use std::ptr;

const FREE: u8 = 0;
const WORN: u8 = 1;
const SHUT: u8 = 2;
const SOLE: u8 = 3;
const ASKED: u8 = 4;

/// Looks at a worn home before the G is listed: about as long as a wearer takes to leave.
const SPINS: u32 = if cfg!(loom) { 0 } else { 20 };

/// What can wait in a home's list.
pub(crate) trait Linked {
    /// Reads the link. Called by whoever owns the node.
    fn next(&self) -> *mut Self;
    /// Writes the link. Called by whoever owns the node.
    fn set_next(&self, next: *mut Self);
    /// It is about to be listed. Called by whoever owns the node, as for the next.
    fn begin_wait(&self) {}
    /// It was taken out of the list.
    fn end_wait(&self) {}
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
    /// Worn, if `word` is `SOLE` or `ASKED`; else false, but for moments in B1 to B3.
    busy: AtomicBool,
    list: AtomicPtr<T>,
}

impl<T: Linked> HomeWord<T> {
    /// A home that its maker wears.
    pub(crate) fn new_worn() -> HomeWord<T> {
        HomeWord { word: AtomicU8::new(WORN), busy: AtomicBool::new(false), list: AtomicPtr::new(ptr::null_mut()) }
    }

    /// As new. Nobody lives there.
    pub(crate) fn reset(&self) {
        // Relaxed: published by whatever gives the home to the next.
        self.busy.store(false, Ordering::Relaxed);
        self.word.store(WORN, Ordering::Relaxed);
    }

    /// Wears the home if it is free.
    #[inline(always)]
    pub(crate) fn try_wear(&self) -> bool {
        // W1. Acquire: pairs with the Release of the last take-off. Relaxed on failure:
        // nothing is read.
        self.word.compare_exchange(FREE, WORN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Wears the home if only one coroutine lives in it, for that one, which is the caller's.
    #[inline(always)]
    fn wear_sole(&self) -> bool {
        // Relaxed: B3 looks again. Acquire: pairs with the Release of the last take-off.
        if self.word.load(Ordering::Relaxed) != SOLE || self.busy.load(Ordering::Acquire) {
            return false;
        }
        // B1. Relaxed: ordered against A3 by the fence.
        self.busy.store(true, Ordering::Relaxed);
        asymmetric::light(); // B2, pairs with A2
        // B3. Relaxed: ordered by the fence.
        if self.word.load(Ordering::Relaxed) == SOLE {
            return true;
        }
        // Release: hands on what the last wearer left, which we have seen.
        self.busy.store(false, Ordering::Release);
        false
    }

    /// Wears the home to run `g`, or leaves `g` in its list. `owner` is true if `g` is the
    /// coroutine that shut the home. `requeue` gets what else waited, if the home came free
    /// just now.
    ///
    /// # Safety
    /// `g` lives here, is valid, in no list or queue, and the caller's to give away.
    #[inline(always)]
    pub(crate) unsafe fn wear_or_list(&self, g: *mut T, owner: bool, requeue: impl FnMut(*mut T)) -> Wear {
        if self.wear_sole() || self.try_wear() {
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
        loop {
            // Acquire: pairs with the Release of `shut`.
            if owner && self.word.compare_exchange(SHUT, WORN, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Wear::Worn;
            }
            for _ in 0..SPINS {
                spin_loop();
                if self.is_free(false) && (self.wear_sole() || self.try_wear()) {
                    return Wear::Worn;
                }
            }
            // SAFETY: `g` is the caller's until it is linked.
            unsafe { (*g).begin_wait() };
            // L1. Relaxed: checked by the compare-and-swap.
            let mut head = self.list.load(Ordering::Relaxed);
            loop {
                // SAFETY: `g` is the caller's until it is linked.
                unsafe { (*g).set_next(head) };
                // SeqCst: see the essay. It publishes the link, too.
                match self.list.compare_exchange_weak(head, g, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => head = now,
                }
            }
            // L2. Relaxed: `SOLE` for the last time, or later, since `g` has come to live here before.
            if matches!(self.word.load(Ordering::Relaxed), SOLE | ASKED) {
                asymmetric::heavy();
            } else {
                between_seqcst();
            }
            if !self.is_free(owner) {
                return Wear::Listed;
            }
            // L3.
            let mut found = false;
            self.drain(|other| {
                if other == g {
                    found = true;
                } else {
                    requeue(other);
                }
            });
            if !found {
                // Somebody else has taken `g` out of the list, and owns it.
                return Wear::Listed;
            }
            if self.wear_sole() || self.try_wear() {
                return Wear::Worn;
            }
        }
    }

    /// Whether nobody wears the home; if it is shut, for its `owner`.
    pub(crate) fn is_free(&self, owner: bool) -> bool {
        // SeqCst: L3, see the essay. Else it only tells whether an attempt is worth it.
        match self.word.load(Ordering::SeqCst) {
            FREE => true,
            // Relaxed: as the word, but ordered by the heavy fence.
            SOLE => !self.busy.load(Ordering::Relaxed),
            SHUT => owner,
            _ => false,
        }
    }

    /// Wears the home, for a coroutine that is to come to live here, if it is free or its only
    /// coroutine does not run. `requeue` gets what waited meanwhile.
    pub(crate) fn ask(&self, requeue: impl FnMut(*mut T)) -> bool {
        // Relaxed: saves the fence.
        if self.busy.load(Ordering::Relaxed) {
            return false;
        }
        // A1. Acquire: pairs with the Release of `close`. Relaxed on failure: nothing is read.
        if self.word.compare_exchange(SOLE, ASKED, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return self.try_wear();
        }
        asymmetric::heavy(); // A2, pairs with B2
        // A3. Acquire: pairs with the Release of the last take-off.
        if !self.busy.load(Ordering::Acquire) {
            // Relaxed: only the asker changes `ASKED`; the next to read is given more by our take-off.
            self.word.store(WORN, Ordering::Relaxed);
            return true;
        }
        // T1 to T3. Release: hands on what the last wearer left.
        self.word.store(SOLE, Ordering::Release);
        asymmetric::light();
        if self.has_list() {
            self.drain(requeue);
        }
        false
    }

    /// A second coroutine comes to live here. Called by the wearer.
    #[inline(always)]
    pub(crate) fn open(&self) {
        // Relaxed: the wearer's own, but for askers.
        if self.word.load(Ordering::Relaxed) != WORN {
            self.open_slow();
        }
    }

    #[cold]
    fn open_slow(&self) {
        // Acquire: what an asker has handed on. Relaxed on failure: an asker will give up soon.
        while self.word.compare_exchange(SOLE, WORN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin_loop();
        }
        // Release: who has our coroutine already (it is queued before it is off its stack) and sees
        // this false sees at B3 that the home is not `SOLE` any more.
        self.busy.store(false, Ordering::Release);
    }

    /// The first coroutine comes to live here. Called by the wearer.
    #[inline(always)]
    pub(crate) fn close(&self) {
        // Relaxed: the wearer's own, but for askers.
        if self.word.load(Ordering::Relaxed) == WORN {
            // Relaxed: published by the next.
            self.busy.store(true, Ordering::Relaxed);
            // Release: an asker sees that the home is worn.
            self.word.store(SOLE, Ordering::Release);
        }
    }

    /// Whether somebody waits in the list.
    #[inline(always)]
    pub(crate) fn has_list(&self) -> bool {
        // Relaxed: a hint, or T3 behind a light fence.
        !self.list.load(Ordering::Relaxed).is_null()
    }

    /// Takes the home off; `requeue` gets each G that waited, in the order they came. Only the
    /// wearer calls it, and only when it has left the stacks of the home.
    #[inline(always)]
    pub(crate) fn take_off(&self, requeue: impl FnMut(*mut T)) {
        // Relaxed: the wearer's own, but for askers.
        if self.word.load(Ordering::Relaxed) == WORN {
            return self.leave_as(FREE, requeue);
        }
        debug_assert!(self.busy.load(Ordering::Relaxed), "only a worn home is taken off");
        // T1. Release: pairs with the Acquire of the next wearer.
        self.busy.store(false, Ordering::Release);
        asymmetric::light(); // T2, pairs with the heavy L2
        if self.has_list() {
            self.drain(requeue); // T3
        }
    }

    /// T1 to T3 where the word is `WORN`.
    #[inline(always)]
    fn leave_as(&self, state: u8, requeue: impl FnMut(*mut T)) {
        // T1. SeqCst: see the essay. As a Release it pairs with the Acquire of the next wearer.
        self.word.swap(state, Ordering::SeqCst);
        between_seqcst(); // T2, pairs with L2
        // T3. SeqCst: as above.
        if !self.list.load(Ordering::SeqCst).is_null() {
            self.drain(requeue);
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
            let next = unsafe {
                (*first).end_wait();
                (*first).next()
            };
            requeue(first);
            first = next;
        }
    }

    /// Leaves the home, but shut: only the coroutine that is to unwind in it gets in again.
    /// `requeue` gets every G that waited: the owner among them, if it was readied before it
    /// left its stack, comes back by the front door, and the others are listed anew.
    #[cold]
    pub(crate) fn shut(&self, requeue: impl FnMut(*mut T)) {
        self.open();
        self.leave_as(SHUT, requeue);
    }
}

//! The mutex: who has it, and who gets it next.
//!
//! Promise: one holder at a time; a free lock that somebody wants is soon had by somebody; nobody waits for
//! ever while others lock and unlock.
//!
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `LOCKED` | somebody holds it | who takes it | its holder, or it stays set for whom it is handed to |
//! | `WAITING` | the queue is not empty | who joins, under the queue's lock | whoever empties the queue, under that lock |
//! | `WOKEN` | somebody was let go to try again, and has not yet | the holder, when it wakes one, under the lock | who was woken, when it takes the mutex or joins the queue again |
//!
//! Taking is a compare-and-swap from anything without `LOCKED`: who runs now may *barge* past who waits.
//! That is what makes a contended mutex fast: those who wait would have to be switched to first, and the
//! critical section is over sooner. Releasing is a compare-and-swap from `LOCKED` alone to nothing. In any other
//! state the releaser
//! - leaves `LOCKED` if somebody is `WOKEN`: that one will find the mutex free, or queue again;
//! - else wakes who comes first, to try again (`WOKEN`), or hands it the mutex (`LOCKED` stays set).
//!
//! *Handing over* is for who has waited long: it was woken once already, found the mutex taken, and that is
//! [`PATIENCE_NS`] ago. It goes back to the head of the queue meanwhile. So a mutex for which all crowd is
//! handed over once in that time, and barged for in between; Go hands over each time once somebody is
//! starving, and each is a switch.
//!
//! All that relies on the woken one to come. It does not while it lives in the home of a coroutine that never parks, and just
//! that may be the one that barges. So who locks while somebody is `WOKEN` first makes way for those who wait for its home.
//!
//! **No waiter is forgotten.** If the queue is not empty, then `LOCKED` or `WOKEN` is set, or somebody is inside
//! `lock_slow` or `unlock_slow` and will set one or take it: a waiter joins under the lock only with `LOCKED` set, in
//! the same compare-and-swap as `WAITING`; the holder that releases with `WAITING` set and `WOKEN` clear goes through
//! the queue; who is woken takes the mutex, and then it is the holder, or clears `WOKEN` while it sees `LOCKED`, in one
//! step: then the holder has yet to release. A waiter whose deadline passes or who is cancelled was not granted anything
//! (`waitq.rs`), so it owes nobody anything; it only clears `WAITING` if it was the last.
//!
//! The holder has the state to itself under the queue's lock: `LOCKED` is its own, the other bits change under
//! the lock. So `unlock_slow` stores it.
//!
//! Modelled in `ci/models`, `mutex::*`. Rejected: spinning for long. A holder that was preempted keeps the mutex for
//! a time slice or more, and to park costs 40 ns as long as there is something else to run.

use super::waitq::{Grant, Ready, Waited, Waiters};
use crate::os::clock::{self, Nanos};
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicU32, Ordering};
use crate::shim::const_fn;

const LOCKED: u32 = 1;
const WAITING: u32 = 2;
const WOKEN: u32 = 4;

/// Whether who releases it has to wake somebody. `fair`: though somebody is on his way.
#[inline(always)]
fn must_wake(state: u32, fair: bool) -> bool {
    state & WAITING != 0 && (fair || state & WOKEN == 0)
}

/// How long one who was woken in vain may be barged past.
const PATIENCE_NS: Nanos = 500_000;

/// How often a free mutex is looked for before the caller queues, if nobody else waits.
const SPINS: u32 = 20;

/// What one who waits for a mutex, or to write, has been through.
pub(super) struct Patience {
    /// It was woken, and has not had the lock since.
    pub(super) woken: bool,
    /// Since when it has been woken in vain.
    since: Nanos,
}

impl Patience {
    /// The `since` of one who has not been woken in vain.
    const FRESH: Nanos = 0;

    pub(super) fn new() -> Patience {
        Patience { woken: false, since: Patience::FRESH }
    }

    /// Its request, and whether it goes to the head of the queue.
    pub(super) fn request(&self) -> (u64, bool) {
        (self.since, self.woken)
    }

    /// It was woken and the lock is taken.
    pub(super) fn in_vain(&mut self) {
        if self.since == Patience::FRESH {
            self.since = clock::now();
        }
    }

    /// What it is granted who comes first with such a request: the lock, if that is fair or it has waited long.
    pub(super) fn grant(since: u64, fair: bool) -> Grant {
        let waited_long = || since != Patience::FRESH && clock::now().saturating_sub(since) >= PATIENCE_NS;
        if fair || waited_long() { Grant::Given } else { Grant::Again }
    }
}

/// The raw lock inside a [`Mutex`](super::Mutex): 16 bytes, see the essay of `waitq.rs`.
#[derive(Debug)]
pub struct RawMutex {
    waiters: Waiters<AtomicU32>,
}

impl RawMutex {
    const_fn! {
        pub(super) fn unlocked() -> RawMutex {
            RawMutex { waiters: Waiters::new(AtomicU32::new(0)) }
        }
    }

    #[inline(always)]
    fn state(&self) -> &AtomicU32 {
        &self.waiters.state
    }

    pub(super) fn is_held(&self) -> bool {
        // Relaxed: a hint.
        self.state().load(Ordering::Relaxed) & LOCKED != 0
    }

    #[inline(always)]
    pub(super) fn take_free(&self) -> bool {
        // Acquire: pairs with the Release of the unlock. Relaxed on failure: nothing is read then.
        self.state().compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the mutex if it is free, though others may wait.
    pub(super) fn take(&self) -> bool {
        // Relaxed: the compare-and-swap decides.
        let mut state = self.state().load(Ordering::Relaxed);
        while state & LOCKED == 0 {
            // Acquire: as in `take_free`.
            match self.state().compare_exchange_weak(state, state | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes it when it is to be had; false if that is not before `deadline`.
    #[cold]
    #[inline(never)]
    pub(super) fn lock_slow(&self, deadline: Nanos) -> bool {
        crate::sched::checkpoint();
        // Relaxed: a hint; it is set as long as the woken one has not gone on.
        if self.state().load(Ordering::Relaxed) & WOKEN != 0 {
            crate::sched::make_way_for_sharers();
        }
        if self.spin() {
            return true;
        }
        let mut patience = Patience::new();
        loop {
            let waited = self.waiters.wait(
                patience.request(),
                (WaitReason::Mutex, deadline),
                |_| self.settle(patience.woken),
                || (),
                |locked, _| {
                    if locked.is_empty() {
                        // Relaxed: the queue's lock orders those who look at the queue.
                        self.state().fetch_and(!WAITING, Ordering::Relaxed);
                    }
                },
            );
            match waited {
                Waited::Settled(()) | Waited::Granted(Grant::Given) => return true,
                Waited::TimedOut => return false,
                Waited::Granted(_) => patience.woken = true,
            }
            // Whoever barged past may be done in a moment.
            if self.take_woken() {
                return true;
            }
            patience.in_vain();
        }
    }

    /// Tries for a moment, unless others wait already.
    fn spin(&self) -> bool {
        for _ in 0..SPINS {
            // Relaxed: the compare-and-swap decides.
            let state = self.state().load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                return self.take();
            }
            if state & WAITING != 0 {
                break;
            }
            crate::shim::spin_loop();
        }
        false
    }

    /// Takes it for one who was woken, who thereby is on its way no longer.
    fn take_woken(&self) -> bool {
        // Relaxed: the compare-and-swap decides.
        let mut state = self.state().load(Ordering::Relaxed);
        while state & LOCKED == 0 {
            let taken = (state | LOCKED) & !WOKEN;
            // Acquire: as in `take_free`.
            match self.state().compare_exchange_weak(state, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Under the queue's lock: takes the mutex, or leaves word that somebody waits.
    fn settle(&self, woken: bool) -> Option<()> {
        let gone = if woken { WOKEN } else { 0 };
        // Relaxed: the compare-and-swap decides.
        let mut state = self.state().load(Ordering::Relaxed);
        loop {
            let next = (if state & LOCKED == 0 { state | LOCKED } else { state | WAITING }) & !gone;
            // Acquire: as in `take_free`, if it is taken. `WAITING` need not be published: who sees it takes the lock.
            match self.state().compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if state & LOCKED == 0 => return Some(()),
                Ok(_) => return None,
                Err(now) => state = now,
            }
        }
    }

    /// Releases it if nobody is to be woken.
    #[inline(always)]
    pub(super) fn release(&self, fair: bool) -> bool {
        // Looked at first, though that is seldom of use: the line is here, and a compare-and-swap in vain costs as much as one
        // that is not. Relaxed: the compare-and-swap decides.
        let state = self.state().load(Ordering::Relaxed);
        !must_wake(state, fair)
            // Release: pairs with the Acquire of the next lock. Relaxed on failure: `unlock_slow` looks again.
            && self.state().compare_exchange(state, state & !LOCKED, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Releases it, and sees to it that somebody who waits comes. `fair`: who comes first gets it.
    #[cold]
    #[inline(never)]
    pub(super) fn unlock_slow(&self, fair: bool) {
        loop {
            // Relaxed: the compare-and-swap decides, or the lock orders it.
            let state = self.state().load(Ordering::Relaxed);
            debug_assert!(state & LOCKED != 0, "unlocked without being locked");
            if !must_wake(state, fair) {
                let free = state & !LOCKED;
                // Release: as in `release`.
                if self.state().compare_exchange(state, free, Ordering::Release, Ordering::Relaxed).is_ok() {
                    return;
                }
                continue;
            }
            let mut ready = Ready::new();
            let locked = self.waiters.lock();
            if locked.is_empty() {
                // The last one has given up meanwhile.
                continue;
            }
            let granted = locked.grant(&mut ready, |since| Some(Patience::grant(since, fair)));
            let waiting = if locked.is_empty() { 0 } else { WAITING };
            let granted = match granted {
                Some((_, Grant::Given)) => LOCKED,
                Some(_) => WOKEN,
                None => 0,
            };
            // Who is on its way stays so. Relaxed: nobody changes the state now (module essay).
            let woken = self.state().load(Ordering::Relaxed) & WOKEN;
            // Release: as in `release`. Who is handed the mutex sees what was done under it by the claim.
            self.state().store(granted | woken | waiting, Ordering::Release);
            drop(locked);
            ready.go();
            return;
        }
    }
}

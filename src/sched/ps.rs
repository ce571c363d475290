//! The Ps of a runtime: how many there are, and how that changes while it runs.
//!
//! Promise: after `set_procs(n)` the Ps below `n` are in service, and the others go out of service as
//! soon as whoever holds them lets go, which is soon, whatever runs on them. Nothing that was on them is
//! lost, and nobody stops meanwhile.
//!
//! A P is made when it is first needed, in a slot of its own, and stays there until the runtime ends: whoever
//! has a pointer to one never need ask. Slots are filled in order. What a P is doing is its *service*:
//!
//! | | it is | changed by |
//! |---|---|---|
//! | `Idle` | in the list of idle Ps | whoever takes it out |
//! | `Held` | an M's, or on its way to one | its holder |
//! | `Retired` | nowhere, and has nothing: no coroutine, no timer, no stack | `set_procs` |
//!
//! All three, and `active`, the number that is to be, are under the lock of the idle lists. So growing and
//! shrinking need no agreement with anybody:
//!
//!   Grow:   make what is missing; under the lock: `active` = n, Ps below n that are retired to the idle list;
//!           then T2 and T3 of `idle.rs`, as after any P that is given up.
//!   Shrink: under the lock: `active` = n. Then take out idle Ps from n up, one at a time, and give them up.
//!   Give up (`give_up_p`): under the lock: below `active`? To the idle list. Not? Let go of the lock, empty the P,
//!           lock, and look again: retired.
//!
//! To empty a P is to queue its coroutines globally, to move its timers to P 0, which never retires, and to
//! give back what its caches hold. That allocates, and takes other locks: so it is done before the lock is
//! taken, by who holds the P. `active` may have changed meanwhile; then an empty P goes to the idle list.
//! What was queued globally is found as what anybody submits: T2 and T3 come after it.
//!
//! An M that holds a P from `active` up learns of it
//! - on g0 (`find::find_or_sleep`), where it gives the P up and looks for another one as it goes to sleep;
//! - every 61 picks, and when its coroutine makes a call after sysmon or `set_procs` has set `yield_soon`
//!   (`preempt::is_due`): then it goes to g0;
//! - by sysmon, which suspends a coroutine that makes no calls, and takes the P of one that blocks. Sysmon must not
//!   allocate while anybody is suspended, so it sends the P to an idle M. If there is none it has to do with what there is: the
//!   P goes on to an M that waits, or to the idle list as it is. Whoever takes it from there retires it.
//!
//! A thief that meets a retired P finds its queue empty. T3 looks at every P that was ever made: what is
//! queued on one was queued by an M that took it, under the lock, after it was made; so whoever sees S2 sees the P too.
//!
//! Modelled in `ci/models`, `procs::*`.
//!
//! Rejected: one word with a bit for each P. Whoever retires must know that nobody takes the P from
//! the list just then, and the list has a lock. And moving nothing: timers of a retired P would be looked at
//! by nobody while all others are on one coroutine each.

use super::idle::Lists;
use super::lock::SpinGuard;
use super::p::{HeldP, P};
use super::preempt::{Pin, is_calm};
use super::runtime::Shared;
use super::sysmon;
use crate::os::clock::Nanos;
use crate::shim::asymmetric;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// There is room for so many Ps, or for as many as the runtime is built for.
const ROOM: usize = 1024;

/// See the module.
pub(crate) struct Ps {
    slots: Box<[OnceLock<Box<P>>]>,
    /// How many sysmon wants there to be and could not bring about by itself; or 0.
    errand: AtomicUsize,
    /// Somebody sees to it.
    on_errand: AtomicBool,
    /// How many there are to be but for chaos.
    #[cfg(gort_chaos)]
    pub(super) said: AtomicUsize,
}

/// Who changes the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The user.
    Hand,
    /// Nobody has said anything, so it follows the machine or the load.
    Sysmon,
    #[cfg(gort_chaos)]
    Chaos,
}

/// What a P is doing; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Retired,
    Idle,
    /// Since then.
    Held(Nanos),
}

impl Ps {
    /// Room for `most` Ps and more, none of which is made.
    pub(crate) fn new(most: usize) -> Ps {
        let slots = (0..most.max(ROOM)).map(|_| OnceLock::new()).collect();
        Ps {
            slots,
            errand: AtomicUsize::new(0),
            on_errand: AtomicBool::new(false),
            #[cfg(gort_chaos)]
            said: AtomicUsize::new(0),
        }
    }

    /// Makes those below `procs` that are not there yet.
    pub(crate) fn make(&self, procs: usize, make: impl Fn(usize) -> P) {
        for (index, slot) in self.slots[..procs].iter().enumerate() {
            if slot.get().is_none() {
                let p = Box::new(make(index));
                // Others wait while one is being put there.
                let _pin = Pin::new();
                // If another was faster, that one it is.
                let _ = slot.set(p);
            }
        }
    }

    /// How many there may be.
    pub(crate) fn room(&self) -> usize {
        self.slots.len()
    }

    /// How many have been made.
    pub(crate) fn len(&self) -> usize {
        self.slots.partition_point(|slot| slot.get().is_some())
    }

    /// The P in slot `index`, which has been made.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> &P {
        self.slots[index].get().expect("a P that has a number has been made")
    }

    /// All that have been made.
    #[inline(always)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &P> {
        self.slots.iter().map_while(|slot| slot.get().map(|p| &**p))
    }
}

impl Shared {
    /// How many Ps there are to be.
    #[inline(always)]
    pub(crate) fn procs(&self) -> usize {
        self.idle.active()
    }

    /// Whether `p`, which somebody holds, is to go out of service.
    #[inline(always)]
    pub(crate) fn is_retiring(&self, p: &P) -> bool {
        p.index >= self.procs()
    }

    /// From now on there are to be `procs` Ps, at least one and at most as many as there is room for. What sysmon says
    /// counts only if nobody has ever said a number by hand.
    pub(crate) fn resize(&self, procs: usize, by: By) {
        self.ps.make(procs, |index| P::new(index, self.stack_class));
        // Sysmon takes the lock, and must not wait for who is suspended.
        let _pin = Pin::new();
        {
            let mut lists = self.idle.lists.lock();
            match by {
                By::Hand => lists.by_hand = true,
                By::Sysmon if lists.by_hand => return,
                _ => {}
            }
            #[cfg(gort_chaos)]
            if by != By::Chaos {
                self.ps.said.store(procs, Ordering::Relaxed);
            }
            self.idle.set_active(&mut lists, procs);
            self.homes.set_procs(procs);
            for index in (0..procs).rev() {
                let p = self.p(index);
                if p.service.get() == Service::Retired {
                    self.enlist_p(&mut lists, p);
                }
            }
        }
        while let Some(p) = self.take_retiring_p() {
            drop(self.give_up_p(p));
        }
        let mut held = self.ps.iter().skip(procs).filter(|p| !p.holder().is_null()).peekable();
        if held.peek().is_some() {
            // Relaxed: a request; its holder sees it, or the next look of sysmon's repeats it.
            held.for_each(|p| p.yield_soon.store(true, Ordering::Relaxed));
            sysmon::poke();
        }
        asymmetric::heavy(); // T2
        if self.needs_somebody() {
            self.wake_one(); // T3
        }
    }

    /// An idle P that is to go out of service.
    fn take_retiring_p(&self) -> Option<HeldP> {
        let mut lists = self.idle.lists.lock();
        let at = lists.ps.iter().position(|&index| index >= lists.active)?;
        Some(self.take_p(&mut lists, at))
    }

    /// The caller, who holds `p`, has no more use for it: T1 of `idle.rs`. It is listed as idle, or retires. The lists stay
    /// locked, for what else the caller has to do.
    pub(crate) fn give_up_p(&self, p: HeldP) -> SpinGuard<'_, Lists> {
        let mut is_empty = false;
        loop {
            let mut lists = self.idle.lists.lock();
            if p.index < lists.active {
                self.push_p(&mut lists, p);
                return lists;
            }
            if is_empty {
                self.retire_p(&mut lists, p);
                return lists;
            }
            drop(lists);
            // SAFETY: the caller holds it.
            unsafe { p.empty(self) };
            is_empty = true;
        }
    }

    /// For how long the P `index`, which has been made, has been held.
    pub(crate) fn busy_time(&self, index: usize) -> Nanos {
        let _pin = Pin::new();
        self.busy_ns(self.ps.get(index))
    }

    /// For sysmon: [`Self::resize`], now, or by an M if sysmon must not allocate now.
    pub(crate) fn resize_for_sysmon(&self, procs: usize) {
        // Later ones win. SeqCst: see `run_errand`.
        self.ps.errand.store(procs, Ordering::SeqCst);
        if is_calm() {
            self.run_errand();
        }
    }

    /// Whether sysmon has left something to do.
    #[inline(always)]
    pub(crate) fn has_errand(&self) -> bool {
        #[cfg(gort_chaos)]
        if super::chaos::is_odd(self) {
            return true;
        }
        // Relaxed: it will be seen at the next look.
        self.ps.errand.load(Ordering::Relaxed) != 0
    }

    /// Does what sysmon has left to do: an M on g0, the starter, or sysmon itself.
    #[cold]
    pub(crate) fn run_errand(&self) {
        #[cfg(gort_chaos)]
        super::chaos::change_ps(self);
        // One at a time, which also does what comes meanwhile: it may be long in `malloc`, and must not undo what is newer.
        // SeqCst, all: who leaves an errand finds nobody running it, or that one finds the errand.
        while self.ps.errand.load(Ordering::SeqCst) != 0 && !self.ps.on_errand.swap(true, Ordering::SeqCst) {
            let procs = self.ps.errand.swap(0, Ordering::SeqCst);
            if procs != 0 {
                self.resize(procs, By::Sysmon);
            }
            self.ps.on_errand.store(false, Ordering::SeqCst);
        }
    }
}

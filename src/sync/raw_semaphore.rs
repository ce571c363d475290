//! The semaphore: how many permits are left, and who gets the next.
//!
//! Promise: strictly first come, first served: who wants many is not kept waiting by those who want few. No
//! permit is lost or doubled.
//!
//! The word is the number of permits in units of `PERMIT`, with `WAITING` (the queue is not empty) and `CLOSED`.
//! While `WAITING` is set permits are added and taken under the queue's lock only. So whoever adds some
//! there, or finds that who came first has left (`left`), gives away what there is (`distribute`), and nobody
//! barges in between.
//!
//! A waiter is given its permits by the claim itself. If its deadline passes, or it is cancelled, before that, it gets none;
//! after that it has them (`waitq.rs`).
//!
//! Modelled in `ci/models`, `semaphore::*`.

use super::waitq::{Grant, Locked, Ready, Waited, Waiters};
use crate::os::clock::Nanos;
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicUsize, Ordering};
use crate::shim::const_fn;

const WAITING: usize = 1;
const CLOSED: usize = 2;
const PERMIT: usize = 4;

/// Why there are no permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Too few now, or too few in time.
    NotYet,
    /// It is closed.
    Closed,
}

#[derive(Debug)]
pub(super) struct RawSemaphore {
    waiters: Waiters<AtomicUsize>,
}

impl RawSemaphore {
    /// As many permits as can be counted.
    pub(super) const MOST: usize = usize::MAX / PERMIT;

    const_fn! {
        pub(super) fn new(permits: usize) -> RawSemaphore {
            assert!(permits <= RawSemaphore::MOST, "more permits than Semaphore::MAX_PERMITS");
            RawSemaphore { waiters: Waiters::new(AtomicUsize::new(permits * PERMIT)) }
        }
    }

    #[inline(always)]
    fn state(&self) -> &AtomicUsize {
        &self.waiters.state
    }

    pub(super) fn available(&self) -> usize {
        // Relaxed: a hint.
        self.state().load(Ordering::Relaxed) / PERMIT
    }

    pub(super) fn is_closed(&self) -> bool {
        // Acquire: what the closer did before is seen.
        self.state().load(Ordering::Acquire) & CLOSED != 0
    }

    /// Takes `count` permits if they are there and nobody waits.
    #[inline]
    pub(super) fn take(&self, count: usize) -> Result<(), Refused> {
        // Relaxed: the compare-and-swap decides. Nobody relies on what a refusal saw.
        let mut state = self.state().load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if state & WAITING != 0 || state / PERMIT < count {
                return Err(Refused::NotYet);
            }
            let left = state - count * PERMIT;
            // Acquire: pairs with the Release of those who gave the permits back.
            match self.state().compare_exchange_weak(state, left, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    /// Takes `count` permits when they are to be had.
    #[cold]
    #[inline(never)]
    pub(super) fn take_slow(&self, count: usize, deadline: Nanos) -> Result<(), Refused> {
        crate::sched::checkpoint();
        let waited = self.waiters.wait(
            (count as u64, false),
            (WaitReason::Semaphore, deadline),
            |_| self.settle(count),
            || (),
            |locked, ready| self.distribute(locked, ready),
        );
        match waited {
            Waited::Settled(result) => result,
            Waited::Granted(Grant::Given) => Ok(()),
            Waited::Granted(_) => Err(Refused::Closed),
            Waited::TimedOut => Err(Refused::NotYet),
        }
    }

    /// Under the queue's lock: takes the permits, or leaves word that somebody waits.
    fn settle(&self, count: usize) -> Option<Result<(), Refused>> {
        loop {
            match self.take(count) {
                Err(Refused::NotYet) => {}
                settled => return Some(settled),
            }
            // Relaxed: the compare-and-swap decides.
            let state = self.state().load(Ordering::Relaxed);
            let short = state & CLOSED == 0 && (state & WAITING != 0 || state / PERMIT < count);
            // Relaxed: who sees `WAITING` takes the queue's lock.
            if short
                && self.state().compare_exchange(state, state | WAITING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                return None;
            }
        }
    }

    /// Under the queue's lock: gives those who come first what they want, as long as it is there and `ready` is not
    /// full.
    fn distribute(&self, locked: &Locked<'_, AtomicUsize>, ready: &mut Ready) {
        while !ready.is_full() {
            // Acquire: what was done before the permits were given back is passed on by the claim.
            let there = self.state().load(Ordering::Acquire) / PERMIT;
            let Some((count, _)) = locked.grant(ready, |count| (count <= there as u64).then_some(Grant::Given)) else {
                break;
            };
            // Relaxed: nobody takes or adds without the lock while `WAITING` is set.
            self.state().fetch_sub(count as usize * PERMIT, Ordering::Relaxed);
        }
        if locked.is_empty() {
            // Release: what was passed on to us is to be seen by those who take what is left.
            self.state().fetch_and(!WAITING, Ordering::Release);
        }
    }

    /// Adds `count` permits.
    ///
    /// # Panics
    /// If that makes too many.
    #[inline]
    pub(super) fn add(&self, count: usize) {
        // Relaxed: the compare-and-swap decides.
        let mut state = self.state().load(Ordering::Relaxed);
        while state & WAITING == 0 {
            let more = RawSemaphore::sum(state, count).unwrap_or_else(|| too_many());
            // Release: pairs with the Acquire of those who take them.
            match self.state().compare_exchange_weak(state, more, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.add_slow(count);
    }

    /// `count` permits more; None if that is too many.
    fn sum(state: usize, count: usize) -> Option<usize> {
        let sum = (state / PERMIT).checked_add(count).filter(|sum| *sum <= RawSemaphore::MOST)?;
        Some((sum * PERMIT) | (state & (PERMIT - 1)))
    }

    #[cold]
    fn add_slow(&self, count: usize) {
        let (mut count, mut fits) = (count, true);
        self.waiters.in_batches(|locked, ready| {
            // AcqRel: Release as in `add`; `WAITING` may have gone meanwhile, then others change it as well.
            let add = |state| RawSemaphore::sum(state, count);
            fits = self.state().fetch_update(Ordering::AcqRel, Ordering::Relaxed, add).is_ok();
            if fits {
                self.distribute(locked, ready);
            }
            count = 0;
        });
        if !fits {
            // Without the lock: a panic calls users' code, the hook.
            too_many();
        }
    }

    /// Takes away up to `count` permits; how many.
    pub(super) fn remove(&self, count: usize) -> usize {
        // Who waits gets permits under this lock.
        let _locked = self.waiters.lock();
        let mut removed = 0;
        // Acquire: as if they were taken.
        let _ = self.state().fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
            removed = count.min(state / PERMIT);
            Some(state - removed * PERMIT)
        });
        removed
    }

    /// Refuses all who wait and all who come.
    pub(super) fn close(&self) {
        let locked = self.waiters.lock();
        // Release: pairs with the Acquire in `is_closed`; who waits sees it by the claim. Nobody joins the queue from now on,
        // and all who are in it are taken out under this hold of the lock.
        let _ =
            self.state().fetch_update(Ordering::Release, Ordering::Relaxed, |state| Some((state | CLOSED) & !WAITING));
        locked.wake_all(Grant::Refused);
    }
}

#[cold]
fn too_many() -> ! {
    panic!("more permits than Semaphore::MAX_PERMITS");
}

//! What is done once: by whom, and who waits for it.
//!
//! | bits | meaning | set by |
//! |---|---|---|
//! | none | it has not been done | who tried and unwound |
//! | `RUNNING` | somebody is at it | that one, by compare-and-swap |
//! | `DONE` | for good | who was at it |
//! | `WAITING` | the queue is not empty | who joins, under the queue's lock |
//!
//! When an attempt ends, in either way, all who wait are woken and look again; after one that unwound one of them
//! begins anew.

use super::waitq::{Grant, Waited, Waiters};
use crate::os::clock::Nanos;
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicU32, Ordering};
use crate::shim::const_fn;

const RUNNING: u32 = 1;
const DONE: u32 = 2;
const WAITING: u32 = 4;

#[derive(Debug)]
pub(super) struct RawOnce {
    waiters: Waiters<AtomicU32>,
}

impl RawOnce {
    const_fn! {
        pub(super) fn new() -> RawOnce {
            RawOnce { waiters: Waiters::new(AtomicU32::new(0)) }
        }
    }

    const_fn! {
        /// One for which it has been done already.
        pub(super) fn new_done() -> RawOnce {
            RawOnce { waiters: Waiters::new(AtomicU32::new(DONE)) }
        }
    }

    #[inline(always)]
    fn state(&self) -> &AtomicU32 {
        &self.waiters.state
    }

    #[inline(always)]
    pub(super) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `Attempt::drop`: what was done is seen.
        self.state().load(Ordering::Acquire) & DONE != 0
    }

    /// Runs `f` if it is the first that does, or waits for the one who is at it. If `f` returns an error
    /// it counts as not done, as it does if `f` unwinds.
    #[inline]
    pub(super) fn run<E>(&self, f: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.is_done() { Ok(()) } else { self.run_slow(f) }
    }

    #[cold]
    fn run_slow<E>(&self, f: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        crate::sched::checkpoint();
        while !self.begin() {
            self.await_change(crate::os::clock::NEVER, RUNNING);
            if self.is_done() {
                return Ok(());
            }
        }
        let mut attempt = Attempt { once: self, becomes: 0 };
        f()?;
        attempt.becomes = DONE;
        Ok(())
    }

    /// Whether the caller is the one to do it.
    fn begin(&self) -> bool {
        let free = |state: u32| (state & (RUNNING | DONE) == 0).then_some(state | RUNNING);
        // Acquire: what an attempt that unwound has left is seen.
        self.state().fetch_update(Ordering::Acquire, Ordering::Relaxed, free).is_ok()
    }

    /// Waits until it is done; false if it is not before `deadline`.
    pub(super) fn wait(&self, deadline: Nanos) -> bool {
        while !self.is_done() {
            crate::sched::checkpoint();
            if !self.await_change(deadline, 0) {
                return false;
            }
        }
        true
    }

    /// Waits until an attempt has ended, as long as it is not done and all of `while_set` is set. False if `deadline`
    /// passed first.
    fn await_change(&self, deadline: Nanos, while_set: u32) -> bool {
        let waited = self.waiters.wait(
            (0, false),
            (WaitReason::Once, deadline),
            |_| {
                let waits = |state| (state & DONE == 0 && state & while_set == while_set).then_some(state | WAITING);
                // Relaxed: whoever ends the attempt and sees `WAITING` takes the queue's lock.
                match self.state().fetch_update(Ordering::Relaxed, Ordering::Relaxed, waits) {
                    Ok(_) => None,
                    Err(_) => Some(()),
                }
            },
            || (),
            |locked, _| {
                if locked.is_empty() {
                    // Relaxed: the queue's lock orders those who look at the queue.
                    self.state().fetch_and(!WAITING, Ordering::Relaxed);
                }
            },
        );
        waited != Waited::TimedOut
    }
}

/// An attempt; its drop ends it.
struct Attempt<'a> {
    once: &'a RawOnce,
    becomes: u32,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let state = self.once.state();
        // Release: pairs with the Acquire in `is_done` and `begin`. Relaxed on failure: the lock comes next.
        if state.compare_exchange(RUNNING, self.becomes, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
        let locked = self.once.waiters.lock();
        // Release: as above. Nobody else changes the word now: attempts wait for `RUNNING` to go, `WAITING`
        // changes under the lock. All who wait are taken out of the queue under this hold of it.
        state.store(self.becomes, Ordering::Release);
        locked.wake_all(Grant::Again);
    }
}

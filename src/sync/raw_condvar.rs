//! The condition variable: who waits for a notification.
//!
//! The caller joins the queue while it still holds the mutex, so a notification by whoever gets the mutex next
//! finds it. Then it unlocks, parks, and locks again. A notification is a grant like others (`waitq.rs`): it goes to one
//! waiter, which then does not time out; and it is not lost if that waiter is cancelled before it
//! has the mutex again: the unwinding passes it on ([`PassOn`]).
//!
//! `state` is `WAITING` while the queue is not empty, so that notifying nobody costs one load. That may be Relaxed: it is
//! set before the waiter unlocks the mutex, so who has locked the mutex since sees it. Who has not has no
//! reason to think that anybody waits.
//!
//! Modelled in `ci/models`, `condvar::*`.

use super::waitq::{Grant, Ready, Waited, Waiters};
use crate::os::clock::Nanos;
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicU32, Ordering};
use crate::shim::const_fn;

const WAITING: u32 = 1;

/// The raw part, without mutexes and guards.
#[derive(Debug)]
pub(crate) struct RawCondvar {
    waiters: Waiters<AtomicU32>,
}

impl RawCondvar {
    const_fn! {
        pub(crate) fn new() -> RawCondvar {
            RawCondvar { waiters: Waiters::new(AtomicU32::new(0)) }
        }
    }

    /// Joins, calls `unlock`, and waits for a notification, then calls `lock` and returns what that does. False
    /// beside it: the deadline passed first.
    pub(crate) fn wait<R>(&self, deadline: Nanos, unlock: impl FnOnce(), lock: impl FnOnce() -> R) -> (R, bool) {
        let waited = self.waiters.wait(
            (0, false),
            (WaitReason::Condvar, deadline),
            |_| {
                // Relaxed: see the module.
                self.waiters.state.store(WAITING, Ordering::Relaxed);
                None::<()>
            },
            unlock,
            |locked, _| {
                if locked.is_empty() {
                    // Relaxed: the queue's lock orders the writers.
                    self.waiters.state.store(0, Ordering::Relaxed);
                }
            },
        );
        if waited == Waited::TimedOut {
            return (lock(), false);
        }
        let pass_on = PassOn(self);
        let result = lock();
        std::mem::forget(pass_on);
        (result, true)
    }

    #[inline]
    fn is_waited_for(&self) -> bool {
        // Relaxed: see the module.
        self.waiters.state.load(Ordering::Relaxed) != 0
    }

    #[inline]
    pub(crate) fn notify_one(&self) {
        if self.is_waited_for() {
            self.notify_one_slow();
        }
    }

    #[cold]
    fn notify_one_slow(&self) {
        let mut ready = Ready::new();
        let locked = self.waiters.lock();
        locked.grant(&mut ready, |_| Some(Grant::Given));
        if locked.is_empty() {
            // Relaxed: the queue's lock orders the writers.
            self.waiters.state.store(0, Ordering::Relaxed);
        }
        drop(locked);
        ready.go();
    }

    #[inline]
    pub(crate) fn notify_all(&self) {
        if self.is_waited_for() {
            self.notify_all_slow();
        }
    }

    #[cold]
    fn notify_all_slow(&self) {
        let locked = self.waiters.lock();
        // Relaxed: as above. All are taken out of the queue under this hold of the lock.
        self.waiters.state.store(0, Ordering::Relaxed);
        locked.wake_all(Grant::Given);
    }
}

/// A notification whose receiver is cancelled goes to another.
struct PassOn<'a>(&'a RawCondvar);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

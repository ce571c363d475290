//! A moment that can be moved, and who waits for it.
//!
//! Nothing is armed for it: whoever waits does so with a deadline of its own and looks again
//! afterwards. Who moves the moment, under the lock, wakes them, so that they take the new one for
//! their deadline. They enter the list after a look under the same lock.

use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::cancel;
use crate::sched::wait::{self, WaitReason, Waiter, Wake};
use crate::sched::watch_list::{Guarded, Held, WatchList};

/// See the module. `T` says when the moment is.
#[derive(Debug)]
pub(super) struct Alarm<T>(Guarded<(T, WatchList)>);

/// Something that says when it is due.
pub(super) trait When {
    /// The moment; `NEVER` if it does not come.
    fn when(&self) -> Nanos;
}

impl<T: When> Alarm<T> {
    pub(super) fn new(what: T) -> Alarm<T> {
        Alarm(Guarded::new((what, WatchList::default())))
    }

    pub(super) fn lock(&self) -> Held<'_, (T, WatchList)> {
        self.0.lock()
    }

    /// Changes what there is; those who wait look again.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut held = self.lock();
        let result = change(&mut held.0);
        if held.1.is_empty() {
            return result;
        }
        let waiting = std::mem::take(&mut held.1);
        drop(held);
        waiting.wake();
        result
    }

    pub(super) fn is_due(&self) -> bool {
        let when = self.lock().0.when();
        when != NEVER && clock::has_passed(when)
    }

    /// Enters `waiter`, to be woken when the moment is moved; false if it has come.
    pub(super) fn watch(&self, waiter: Waiter) -> bool {
        let mut held = self.lock();
        let when = held.0.when();
        let waits = when == NEVER || when > clock::now();
        if waits {
            held.1.add(waiter, Wake::Ready);
        }
        waits
    }

    pub(super) fn unwatch(&self, waiter: Waiter) {
        self.lock().1.remove(waiter, Wake::Ready);
    }

    /// Waits until `take`, called under the lock with the time, returns something.
    pub(super) fn wait<R>(&self, mut take: impl FnMut(&mut T, Nanos) -> Option<R>) -> R {
        crate::sched::checkpoint();
        loop {
            let wait = wait::begin();
            let waiter = wait.waiter();
            let mut held = self.lock();
            if let Some(result) = take(&mut held.0, clock::now()) {
                drop(held);
                // Only `cancel` can have ended it: it comes too late for this call.
                wait.abandon();
                return result;
            }
            held.1.add(waiter, Wake::Ready);
            let when = held.0.when();
            drop(held);
            let wake = wait.park(WaitReason::Sleep, when);
            self.unwatch(waiter);
            if wake == Wake::Cancel {
                cancel::unwind();
            }
        }
    }
}

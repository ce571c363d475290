//! `WaitGroup`: waiting until all have finished.
//!
//! The word is the number of handles. It goes to zero once for good, unless a wait with a time that fails takes a handle
//! again, which it does under the queue's lock and only while others have some.

use super::waitq::{Grant, Waited, Waiters};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicUsize, Ordering};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Waits until all of several tasks have finished: each has a clone, and drops it when it is done.
///
/// This is the form of crossbeam, not Go's `Add` and `Done`: a clone is given back however its task ends, also by a
/// panic or by being cancelled, a count cannot go below zero, and nobody can add to a group whose wait is over. For tasks whose
/// values are wanted see [`JoinHandle`](crate::JoinHandle), for such as borrow [`scope`](crate::scope).
///
/// # Examples
/// ```
/// use gort::sync::WaitGroup;
///
/// gort::run(|| {
///     let group = WaitGroup::new();
///     for i in 0..10 {
///         let group = group.clone(); // Go: group.Add(1)
///         gort::go!(move || {
///             let _group = group; // Go: defer group.Done()
///             println!("{i}");
///         });
///     }
///     group.wait();
/// });
/// ```
///
/// # Scheduling
/// [`wait`](Self::wait) parks the coroutine, and may be cancelled; it blocks a plain thread. All else returns at once.
pub struct WaitGroup {
    /// None once the handle's share of the count has been given up.
    group: Option<Arc<Group>>,
}

#[derive(Debug)]
struct Group {
    waiters: Waiters<AtomicUsize>,
}

impl Group {
    /// Gives one handle up; the last wakes those who wait.
    fn give_up(&self) {
        // AcqRel: what all have done before comes before what is done after the wait.
        if self.waiters.state.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiters.lock().wake_all(Grant::Given);
        }
    }

    /// Waits for the count to be zero; else, with the deadline passed, takes a handle again and returns false.
    fn wait(&self, deadline: Nanos) -> bool {
        crate::sched::checkpoint();
        let count = &self.waiters.state;
        let waited = self.waiters.wait(
            (0, false),
            (WaitReason::WaitGroup, deadline),
            // Acquire: pairs with the Release of the last to give up. Who comes to zero later finds us in the queue.
            |_| (count.load(Ordering::Acquire) == 0).then_some(()),
            || (),
            |_, _| (),
        );
        // Relaxed: a handle more, made from one that somebody has. Acquire on failure: as above.
        let again = |count: usize| (count > 0).then(|| count + 1);
        waited != Waited::TimedOut || count.fetch_update(Ordering::Relaxed, Ordering::Acquire, again).is_err()
    }
}

impl WaitGroup {
    /// A group with one handle, this one.
    ///
    /// # Examples
    /// See [`WaitGroup`].
    pub fn new() -> WaitGroup {
        WaitGroup { group: Some(Arc::new(Group { waiters: Waiters::new(AtomicUsize::new(1)) })) }
    }

    fn take(mut self) -> Arc<Group> {
        let group = self.group.take().expect("given up only by what consumes the handle");
        group.give_up();
        group
    }

    /// Gives this handle up and waits until all others have been dropped, or wait themselves.
    ///
    /// # Examples
    /// See [`WaitGroup`].
    ///
    /// # Scheduling
    /// See [`WaitGroup`].
    pub fn wait(self) {
        self.take().wait(NEVER);
    }

    /// [`wait`](Self::wait), but for at most `timeout`.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::WaitGroup;
    /// use std::time::Duration;
    /// let group = WaitGroup::new();
    /// let other = group.clone();
    /// let group = group.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// drop(other);
    /// assert!(group.wait_timeout(Duration::ZERO).is_ok());
    /// ```
    ///
    /// # Errors
    /// If others had handles when that had passed; the handle comes back.
    ///
    /// # Scheduling
    /// See [`WaitGroup`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), WaitGroup> {
        // Without any time: the deadline is in the past, and the timer due at once.
        let group = self.take();
        if group.wait(clock::later(timeout).unwrap_or(0)) { Ok(()) } else { Err(WaitGroup { group: Some(group) }) }
    }
}

impl Clone for WaitGroup {
    fn clone(&self) -> WaitGroup {
        let group = self.group.as_ref().expect("given up only by what consumes the handle");
        // Relaxed: made from a handle that is there.
        group.waiters.state.fetch_add(1, Ordering::Relaxed);
        WaitGroup { group: Some(group.clone()) }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            group.give_up();
        }
    }
}

impl Default for WaitGroup {
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: a hint.
        let count = self.group.as_ref().map_or(0, |group| group.waiters.state.load(Ordering::Relaxed));
        f.debug_struct("WaitGroup").field("count", &count).finish()
    }
}

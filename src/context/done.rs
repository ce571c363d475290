//! The end of a context, to wait for.

use super::{Context, ContextError};
use crate::channel::{SelectWaker, Waitable};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::cancel;
use crate::sched::wait::{self, WaitReason, Wake};
use std::time::{Duration, Instant};

/// The end of a context; made by [`Context::done`].
///
/// # Examples
/// See [`Context::done`].
#[derive(Clone, Copy, Debug)]
pub struct Done<'a>(&'a Context);

impl<'a> Done<'a> {
    pub(super) fn new(ctx: &'a Context) -> Done<'a> {
        Done(ctx)
    }

    /// Waits until the context has ended and says why. Waits for ever for one that cannot end.
    ///
    /// # Examples
    /// ```
    /// use gort::context::{Context, ContextError};
    /// let (ctx, handle) = Context::background().with_cancel();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| handle.cancel());
    ///     assert_eq!(ctx.done().wait(), ContextError::Cancelled);
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Parks the coroutine; may be cancelled. Blocks a plain thread.
    pub fn wait(self) -> ContextError {
        self.wait_to(NEVER).expect("without a deadline only the end ends the wait")
    }

    /// [`wait`](Self::wait) for at most `timeout`; None if the context has not ended then.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// use std::time::Duration;
    /// assert!(Context::background().done().wait_timeout(Duration::from_millis(1)).is_none());
    /// ```
    ///
    /// # Scheduling
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Option<ContextError> {
        self.wait_to(clock::after(timeout))
    }

    fn wait_to(self, deadline: Nanos) -> Option<ContextError> {
        crate::sched::checkpoint();
        let own = self.0.node.as_ref().map_or(NEVER, |node| node.nanos());
        loop {
            if let Some(error) = self.0.err() {
                return Some(error);
            }
            if deadline != NEVER && deadline <= clock::now() {
                return None;
            }
            let wait = wait::begin();
            let waiter = wait.waiter();
            if !self.0.watch(waiter, Wake::Ready) {
                // Only `cancel` can have ended it: it comes too late for this call.
                wait.abandon();
                continue;
            }
            let wake = wait.park(WaitReason::Context, deadline.min(own));
            self.0.unwatch(waiter, Wake::Ready);
            if wake == Wake::Cancel {
                cancel::unwind();
            }
        }
    }
}

/// Ready when the context has ended.
impl Waitable for Done<'_> {
    fn is_ready(&self) -> bool {
        self.0.err().is_some()
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        self.0.watch(waker.waiter(), Wake::Ready)
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.0.unwatch(waker.waiter(), Wake::Ready);
    }
    fn ready_at(&self) -> Option<Instant> {
        clock::instant(self.0.node.as_ref()?.nanos())
    }
}

/// Ready when it has ended, as its [`done`](Context::done).
impl Waitable for Context {
    fn is_ready(&self) -> bool {
        self.done().is_ready()
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        self.done().watch(waker)
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.done().unwatch(waker);
    }
    fn ready_at(&self) -> Option<Instant> {
        self.done().ready_at()
    }
}

//! Futures that wait for what a select can wait for.
//!
//! A future that finds its [`Waitable`] not ready leaves a [`SelectWaker`] there, as a select does. What is behind that is
//! not a coroutine's wait but a record with the polling task's waker (`sched/future_task.rs`). It stays until it is woken, the
//! future is polled by another task, or is dropped.

use super::signal;
use crate::channel::{Receiver, RecvError, SelectWaker, TryRecvError, Waitable};
use crate::os::clock;
use crate::sched::wait::{Waiter, Wake};
use crate::sched::{Later, or_panic};
use crate::{JoinError, JoinHandle};
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// What a future has left at its waitable.
#[derive(Default)]
struct Watch(Option<Kept>);

struct Kept {
    waiter: Waiter,
    /// Whom it wakes: another copy, since that one is whoever's who ends the wait.
    waker: Waker,
    /// For what becomes ready by the clock.
    alarm: Option<Later>,
}

impl Watch {
    /// Whether `what`, the same each time, is ready; or the task is woken when it may be.
    fn poll<W: Waitable + ?Sized>(&mut self, what: &W, context: &Context<'_>) -> Poll<()> {
        if what.is_ready() {
            self.end(what);
            return Poll::Ready(());
        }
        if let Some(kept) = &self.0
            // In force, it wakes the task when `what` becomes ready, from now on or just now. If it was ended before
            // the wake that led to this poll, that is seen.
            && kept.waiter.is_armed()
            && kept.waker.will_wake(context.waker())
        {
            return Poll::Pending;
        }
        self.end(what);
        let waker = context.waker().clone();
        let waiter = Waiter::of_future(waker.clone(), signal::is_ours(&waker));
        let kept = self.0.insert(Kept { waiter, waker, alarm: None });
        if !what.watch(SelectWaker::new(waiter)) {
            self.end(what);
            return Poll::Ready(());
        }
        if let Some(at) = what.ready_at() {
            let ring = move || {
                waiter.wake(Wake::Ready);
            };
            kept.alarm = Some(or_panic(Later::new(clock::at(at), Location::caller(), ring)));
        }
        Poll::Pending
    }

    /// Takes back what was left.
    fn end<W: Waitable + ?Sized>(&mut self, what: &W) {
        let Some(kept) = self.0.take() else { return };
        // First: then whoever is in the middle of ending the wait is the last.
        let waker = kept.waiter.forget();
        what.unwatch(SelectWaker::new(kept.waiter));
        if let Some(alarm) = kept.alarm {
            alarm.stop();
        }
        drop(waker);
    }
}

/// A future that is ready when `what` is, and gives it back.
///
/// `what` is whatever can be a case of [`select!`](crate::select) by `wait(..)`: the end of a context, a timer, a sender or
/// receiver, a type of yours that implements [`Waitable`]. It is ready, not used: the next step is the caller's.
///
/// # Examples
///
/// ```
/// use gort::{context::Context, future};
///
/// gort::run(|| {
///     let (ctx, handle) = Context::background().with_cancel();
///     let waits = gort::go!(move || {
///         future::block_on(async { future::until(ctx.done()).await.wait().to_string() })
///     });
///     handle.cancel();
///     assert_eq!(waits.join().unwrap(), "the context was cancelled");
/// });
/// ```
///
/// # Panics
///
/// The future panics when it is polled outside a runtime and `what` becomes ready by the clock.
///
/// # Scheduling
///
/// Returns at once. The future may be polled anywhere, and by any executor.
pub fn until<W: Waitable>(what: W) -> Until<W> {
    Until { what: Some(what), watch: Watch::default() }
}

/// Waits until something is ready; made by [`until`].
///
/// # Examples
/// See [`until`].
#[must_use = "futures do nothing unless they are polled"]
pub struct Until<W: Waitable> {
    /// None when it has been given back.
    what: Option<W>,
    watch: Watch,
}

// Nothing in it is ever pinned.
impl<W: Waitable> Unpin for Until<W> {}

impl<W: Waitable> Future for Until<W> {
    type Output = W;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W> {
        let this = &mut *self;
        let what = this.what.as_ref().expect("polled after it was ready");
        match this.watch.poll(what, context) {
            Poll::Ready(()) => Poll::Ready(this.what.take().expect("it is there")),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<W: Waitable> Drop for Until<W> {
    fn drop(&mut self) {
        if let Some(what) = &self.what {
            self.watch.end(what);
        }
    }
}

impl<W: Waitable> fmt::Debug for Until<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until").field("done", &self.what.is_none()).finish_non_exhaustive()
    }
}

/// Waits for the end of a coroutine; made by awaiting its [`JoinHandle`].
///
/// Dropping it lets the coroutine go on by itself.
///
/// # Examples
///
/// ```
/// use gort::{future, go};
/// gort::run(|| {
///     let sum = future::block_on(async {
///         let handles = [1, 2, 3].map(|n| go!(move || n));
///         let mut sum = 0;
///         for handle in handles {
///             sum += handle.await.unwrap();
///         }
///         sum
///     });
///     assert_eq!(sum, 6);
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct JoinFuture<T>(Until<JoinHandle<T>>);

impl<T> Future for JoinFuture<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        // It has ended: `join` does not wait.
        Pin::new(&mut self.0).poll(context).map(JoinHandle::join)
    }
}

/// Awaiting the handle is [`join`](JoinHandle::join).
impl<T> IntoFuture for JoinHandle<T> {
    type Output = Result<T, JoinError>;
    type IntoFuture = JoinFuture<T>;

    fn into_future(self) -> JoinFuture<T> {
        JoinFuture(until(self))
    }
}

/// Waits for a message; made by [`Receiver::recv_async`].
///
/// Dropping it loses no message.
///
/// # Examples
/// See [`Receiver::recv_async`].
#[must_use = "futures do nothing unless they are polled"]
pub struct RecvFuture<'a, T> {
    receiver: &'a Receiver<T>,
    watch: Watch,
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        let this = &mut *self;
        for _ in 0..2 {
            let received = match this.receiver.try_recv() {
                Ok(message) => Ok(message),
                Err(TryRecvError::Disconnected) => Err(RecvError),
                Err(TryRecvError::Empty) => match this.watch.poll(this.receiver, context) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Poll::Pending,
                },
            };
            this.watch.end(this.receiver);
            return Poll::Ready(received);
        }
        // Others were quicker both times, or a sender that seems to wait is about to leave.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        self.watch.end(self.receiver);
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture").finish_non_exhaustive()
    }
}

impl<T> Receiver<T> {
    /// [`recv`](Receiver::recv) as a future, for `async` code on any executor.
    ///
    /// It may be dropped at any time; a message that it has not given stays in the channel. Of several that wait
    /// one gets the message, whichever is polled first. On a channel without a buffer it meets senders that
    /// wait; a `try_send` meets only receivers that do, and a future is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::{channel, future};
    /// let (sender, receiver) = channel::unbounded();
    /// let thread = std::thread::spawn(move || sender.send(1).unwrap());
    /// future::block_on(async {
    ///     assert_eq!(receiver.recv_async().await, Ok(1));
    ///     assert!(receiver.recv_async().await.is_err());
    /// });
    /// thread.join().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError`] if the channel is empty and disconnected.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled outside a runtime and the messages come from the clock
    /// ([`after`](crate::channel::after) and the like).
    ///
    /// # Scheduling
    ///
    /// Returns at once. The future may be polled anywhere.
    pub fn recv_async(&self) -> RecvFuture<'_, T> {
        RecvFuture { receiver: self, watch: Watch::default() }
    }
}

//! Contexts: Go's, complete. What is done for a request carries one, which says when it is to end, and for whom it is done.
//!
//! A [`Context`] is derived from another one, its parent: with a way to cancel it, a deadline, a value. When a
//! context ends, all that were derived from it end, and none else. It is handed on by reference or as a
//! clone, which costs a count.
//!
//! | Go | here |
//! |---|---|
//! | `Background`, `TODO` | [`Context::background`] |
//! | `WithCancel`, `WithCancelCause` | [`Context::with_cancel`], [`CancelHandle::cancel_cause`] |
//! | `WithTimeout`, `WithTimeoutCause` | [`Context::with_timeout`], [`Context::with_timeout_cause`] |
//! | `WithDeadline`, `WithDeadlineCause` | [`Context::with_deadline`], [`Context::with_deadline_cause`] |
//! | `WithValue`, `Value` | [`Context::with_value`], [`Context::value`]: the type is the key |
//! | `WithoutCancel` | [`Context::without_cancel`] |
//! | `AfterFunc` | [`Context::after_func`] |
//! | `Done` | [`Context::done`]: to wait for, or a case `wait(..)` of a [`select!`](crate::select) |
//! | `Err`, `Cause`, `Deadline` | [`Context::err`], [`Context::cause`], [`Context::deadline`] |
//!
//! Unlike Go's, a context that is dropped takes itself out of its parent, so that a cancel function need not be
//! called to free anything, and a deadline costs no timer until somebody waits for it.
//!
//! # Calls that are bounded
//!
//! No call of this crate takes a context. Instead a closure is run in one: [`Context::bound`] ends every call in
//! which the closure waits as soon as the context has ended, in the way of [`timeout`](crate::time::timeout), and
//! returns the [`ContextError`]. So it goes for sockets, channels, locks, sleeps and joins alike, and for
//! the calls of libraries that know nothing of contexts.
//!
//! ```
//! use gort::context::{Context, ContextError};
//! use std::io::{Read, Write};
//! use std::time::Duration;
//!
//! gort::run(|| {
//!     let (mut ours, _theirs) = gort::net::UnixStream::pair().unwrap();
//!     let (ctx, _) = Context::background().with_timeout(Duration::from_millis(5));
//!     let mut answer = String::new();
//!     // Nothing comes.
//!     let result = ctx.bound(|| ours.write_all(b"?").and_then(|()| ours.read_to_string(&mut answer)));
//!     assert_eq!(result.unwrap_err(), ContextError::DeadlineExceeded);
//! });
//! ```
//!
//! # The current context
//!
//! Within [`run`](Context::run) and [`bound`](Context::bound) the context is the [`current`] one of the coroutine, so that it need not be
//! an argument of everything. Coroutines inherit it if they are told to: `go!(context::current(), || ..)`.
//!
//! ```
//! use gort::{context, context::Context, go};
//!
//! struct User(&'static str);
//!
//! fn who() -> &'static str {
//!     context::current().value::<User>().map_or("nobody", |user| user.0)
//! }
//!
//! gort::run(|| {
//!     Context::background().with_value(User("Ada")).run(|| {
//!         assert_eq!(who(), "Ada");
//!         assert_eq!(go!(context::current(), who).join().unwrap(), "Ada");
//!         assert_eq!(go!(who).join().unwrap(), "nobody");
//!     });
//! });
//! ```

mod after_func;
mod done;
mod error;
mod node;
mod values;

pub use after_func::AfterFunc;
pub use done::Done;
pub use error::{Cause, ContextError};

use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::bound::{self, End};
use crate::sched::or_panic;
use crate::sched::wait::{Waiter, Wake};
use crate::time::Deadline;
use crate::{Builder, JoinHandle};
use node::Node;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use values::Values;

/// When something is to end, and what it is done for. See the [module](self).
///
/// # Examples
/// ```
/// use gort::context::{Context, ContextError};
///
/// let (parent, handle) = Context::background().with_cancel();
/// let (child, _) = parent.with_cancel();
/// assert_eq!(child.err(), None);
/// handle.cancel();
/// assert_eq!(child.err(), Some(ContextError::Cancelled));
/// ```
#[derive(Clone, Default)]
pub struct Context {
    /// What ends it; None if nothing does.
    node: Option<Arc<Node>>,
    values: Option<Arc<Values>>,
}

// What others may see after a panic: words that are changed at once, and values, which are shared in any case.
impl std::panic::UnwindSafe for Context {}
impl std::panic::RefUnwindSafe for Context {}

/// The context in which the caller runs: that of the innermost [`run`](Context::run) or [`bound`](Context::bound) around it, in
/// this coroutine or thread; or else the background.
///
/// # Examples
/// See the [module](self).
pub fn current() -> Context {
    bound::innermost().unwrap_or_default()
}

impl Context {
    /// The context from which all others come: it does not end, and has no values.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// static ALL: Context = Context::background();
    /// assert_eq!(ALL.err(), None);
    /// ```
    pub const fn background() -> Context {
        Context { node: None, values: None }
    }

    /// A context that ends when its handle is told to cancel it, or with this one.
    ///
    /// Dropping the handle does not cancel; see [`CancelHandle::on_drop`].
    ///
    /// # Examples
    /// See [`Context`].
    pub fn with_cancel(&self) -> (Context, CancelHandle) {
        self.derive(Deadline::NEVER, NEVER, None)
    }

    /// [`with_cancel`](Self::with_cancel); any handle can give a [cause](CancelHandle::cancel_cause).
    ///
    /// # Examples
    /// ```
    /// use gort::context::{Context, ContextError};
    /// let (ctx, handle) = Context::background().with_cancel_cause();
    /// handle.cancel_cause("the disk is full");
    /// assert_eq!(ctx.err(), Some(ContextError::Cancelled));
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the disk is full");
    /// ```
    pub fn with_cancel_cause(&self) -> (Context, CancelHandle) {
        self.with_cancel()
    }

    /// A context that ends when `duration` has passed, when it is cancelled, or with this one.
    ///
    /// # Examples
    /// ```
    /// use gort::context::{Context, ContextError};
    /// use std::time::Duration;
    /// let (ctx, _) = Context::background().with_timeout(Duration::from_millis(2));
    /// ctx.done().wait();
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// ```
    pub fn with_timeout(&self, duration: Duration) -> (Context, CancelHandle) {
        self.derive_after(duration, None)
    }

    /// [`with_timeout`](Self::with_timeout) with a [cause](Self::cause) for the case that the time is over.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// use std::time::Duration;
    /// let (ctx, _) = Context::background().with_timeout_cause(Duration::ZERO, "the server is slow");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the server is slow");
    /// ```
    pub fn with_timeout_cause(
        &self,
        duration: Duration,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Context, CancelHandle) {
        self.derive_after(duration, Some(cause.into().into()))
    }

    /// A context that ends at `deadline`, when it is cancelled, or with this one.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// use gort::time::Deadline;
    /// use std::time::Duration;
    /// let deadline = Deadline::after(Duration::from_secs(9));
    /// let (ctx, _) = Context::background().with_deadline(deadline);
    /// assert_eq!(ctx.deadline(), Some(deadline));
    /// ```
    pub fn with_deadline(&self, deadline: impl Into<Deadline>) -> (Context, CancelHandle) {
        let deadline = deadline.into();
        self.derive(deadline, deadline.nanos(), None)
    }

    /// [`with_deadline`](Self::with_deadline) with a [cause](Self::cause) for the case that it passes.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// use std::time::Instant;
    /// let (ctx, _) = Context::background().with_deadline_cause(Instant::now(), "too late");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "too late");
    /// ```
    pub fn with_deadline_cause(
        &self,
        deadline: impl Into<Deadline>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Context, CancelHandle) {
        let deadline = deadline.into();
        self.derive(deadline, deadline.nanos(), Some(cause.into().into()))
    }

    fn derive_after(&self, duration: Duration, cause: Option<Cause>) -> (Context, CancelHandle) {
        // In this order: the second is not the earlier one, so who finds the context ended finds the deadline passed.
        let deadline = Deadline::after(duration);
        let nanos = if deadline == Deadline::NEVER { NEVER } else { clock::after(duration) };
        self.derive(deadline, nanos, cause)
    }

    fn derive(&self, deadline: Deadline, nanos: Nanos, cause: Option<Cause>) -> (Context, CancelHandle) {
        let node = Node::new(self.node.as_ref(), deadline, nanos, cause);
        (Context { node: Some(node.clone()), values: self.values.clone() }, CancelHandle { node })
    }

    /// The same context with a value, which is found by its type. So make a type for each purpose.
    ///
    /// A value hides one of the same type that is further out.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    ///
    /// #[derive(PartialEq, Debug)]
    /// struct RequestId(u64);
    ///
    /// let ctx = Context::background().with_value(RequestId(7));
    /// assert_eq!(ctx.value::<RequestId>(), Some(&RequestId(7)));
    /// assert_eq!(ctx.value::<u64>(), None);
    /// ```
    pub fn with_value<T: Any + Send + Sync>(&self, value: T) -> Context {
        Context { node: self.node.clone(), values: Some(Values::new(self.values.clone(), Box::new(value))) }
    }

    /// The value of this type.
    ///
    /// # Examples
    /// See [`with_value`](Self::with_value).
    pub fn value<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.values.as_ref()?.get()
    }

    /// The same values in a context that does not end.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// let (ctx, handle) = Context::background().with_value(5).with_cancel();
    /// let goes_on = ctx.without_cancel();
    /// handle.cancel();
    /// assert_eq!((goes_on.err(), goes_on.value::<i32>()), (None, Some(&5)));
    /// ```
    pub fn without_cancel(&self) -> Context {
        Context { node: None, values: self.values.clone() }
    }

    /// Why it has ended; None if it has not.
    ///
    /// # Examples
    /// See [`Context`].
    ///
    /// # Scheduling
    /// Does not park.
    pub fn err(&self) -> Option<ContextError> {
        self.node.as_ref()?.end().map(|end| end.error)
    }

    /// [`err`](Self::err) as a result, for `?`.
    ///
    /// # Examples
    /// ```
    /// use gort::context::{Context, ContextError};
    /// fn work(ctx: &Context) -> Result<u32, ContextError> {
    ///     let mut sum = 0;
    ///     for i in 0..10 {
    ///         ctx.check()?;
    ///         sum += i;
    ///     }
    ///     Ok(sum)
    /// }
    /// assert_eq!(work(&Context::background()), Ok(45));
    /// ```
    ///
    /// # Errors
    /// That of [`err`](Self::err).
    pub fn check(&self) -> Result<(), ContextError> {
        self.err().map_or(Ok(()), Err)
    }

    /// The cause that was given for its end, here or in the context that took this one along; if none was given, the error.
    /// None if it has not ended.
    ///
    /// # Examples
    /// ```
    /// use gort::context::{Context, ContextError};
    /// let (ctx, handle) = Context::background().with_cancel();
    /// assert!(ctx.cause().is_none());
    /// handle.cancel();
    /// let cause = ctx.cause().unwrap();
    /// assert_eq!(cause.downcast_ref::<ContextError>(), Some(&ContextError::Cancelled));
    /// ```
    pub fn cause(&self) -> Option<Cause> {
        let end = self.node.as_ref()?.end()?;
        Some(end.cause.clone().unwrap_or_else(|| Arc::new(end.error)))
    }

    /// When it ends by itself, if it does: its own deadline or that of one further out.
    ///
    /// # Examples
    /// See [`with_deadline`](Self::with_deadline).
    pub fn deadline(&self) -> Option<Deadline> {
        let deadline = self.node.as_ref()?.deadline();
        (deadline != Deadline::NEVER).then_some(deadline)
    }

    /// What is left until the deadline; None if there is none.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// use std::time::Duration;
    /// let (ctx, _) = Context::background().with_timeout(Duration::from_secs(9));
    /// assert!(ctx.remaining().unwrap() <= Duration::from_secs(9));
    /// assert!(Context::background().remaining().is_none());
    /// ```
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(Deadline::remaining)
    }

    /// The end of the context, to wait for.
    ///
    /// # Examples
    /// ```
    /// use gort::{channel, context::Context};
    ///
    /// let (ctx, handle) = Context::background().with_cancel();
    /// let (_sender, receiver) = channel::unbounded::<u8>();
    /// handle.cancel();
    /// let done = ctx.done();
    /// gort::select! {
    ///     recv(receiver) -> _ => unreachable!("nothing was sent"),
    ///     wait(done) => {}
    /// }
    /// ```
    pub fn done(&self) -> Done<'_> {
        Done::new(self)
    }

    /// Runs `f` in a coroutine of its own when the context has ended, at once if it has; unless it is stopped before.
    ///
    /// Until then there is no coroutine's stack, only its record. The handle can be dropped: `f` runs all the same.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// gort::run(|| {
    ///     let (ctx, handle) = Context::background().with_cancel();
    ///     let (sender, receiver) = gort::channel::bounded(1);
    ///     ctx.after_func(move || sender.send("ended").unwrap());
    ///     let other = ctx.after_func(|| unreachable!("stopped"));
    ///     assert!(other.stop());
    ///     handle.cancel();
    ///     assert_eq!(receiver.recv(), Ok("ended"));
    /// });
    /// ```
    ///
    /// # Panics
    /// Where [`spawn`](crate::spawn) does; on a plain thread, for one.
    ///
    /// # Scheduling
    /// Does not park.
    #[track_caller]
    pub fn after_func<F>(&self, f: F) -> AfterFunc
    where
        F: FnOnce() + Send + 'static,
    {
        AfterFunc::new(self, f)
    }

    /// Runs `f` with this as the [`current`] context. It is not ended by it; see [`bound`](Self::bound).
    ///
    /// # Examples
    /// See the [module](self).
    ///
    /// # Panics
    /// If `f` does.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        bound::under(self, f)
    }

    /// Runs `f` with this as the [`current`] context, and ends it when the context has ended.
    ///
    /// How that is done, and what it does not reach, is said at [`timeout`](crate::time::timeout): the call in
    /// which `f` waits unwinds to here. If the context has ended already `f` is not called. If `f` returns, its
    /// value is returned, even if the context has ended meanwhile.
    ///
    /// # Examples
    /// ```
    /// use gort::context::{Context, ContextError};
    /// use gort::sync::Mutex;
    ///
    /// gort::run(|| {
    ///     let (ctx, handle) = Context::background().with_cancel();
    ///     let busy = Mutex::new(0);
    ///     let _held = busy.lock();
    ///     gort::scope(|s| {
    ///         let waits = s.go(|| ctx.bound(|| *busy.lock() += 1));
    ///         handle.cancel();
    ///         assert_eq!(waits.join().unwrap(), Err(ContextError::Cancelled));
    ///     });
    ///     assert_eq!(Context::background().bound(|| 5), Ok(5));
    /// });
    /// ```
    ///
    /// # Errors
    /// That of [`err`](Self::err), if `f` was ended or not called.
    ///
    /// # Panics
    /// If `f` does.
    ///
    /// # Scheduling
    /// Does not park by itself.
    pub fn bound<T>(&self, f: impl FnOnce() -> T) -> Result<T, ContextError> {
        let Some(node) = &self.node else { return Ok(self.run(f)) };
        self.check()?;
        bound::bound(node.nanos(), Some(self), Some(self), f).ok_or_else(|| node.ended().error)
    }

    /// Starts a coroutine on the caller's runtime that runs `f` with this as its [`current`] context, as `go!(ctx, f)` does.
    ///
    /// # Examples
    /// ```
    /// use gort::context::{self, Context};
    /// gort::run(|| {
    ///     let ctx = Context::background().with_value('x');
    ///     let handle = ctx.spawn(|| context::current().value::<char>().copied());
    ///     assert_eq!(handle.join().unwrap(), Some('x'));
    /// });
    /// ```
    ///
    /// # Panics
    /// Where [`spawn`](crate::spawn) does.
    ///
    /// # Scheduling
    /// Does not park.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        or_panic(self.spawn_as(Builder::new(), f))
    }

    /// [`spawn`](Self::spawn) of a coroutine as a [`Builder`] says.
    ///
    /// # Examples
    /// ```
    /// use gort::{Builder, context::Context};
    /// gort::run(|| {
    ///     let named = Context::background().spawn_as(Builder::new().name("reader"), || ()).unwrap();
    ///     assert_eq!(named.name(), Some("reader"));
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    ///
    /// # Scheduling
    /// Does not park.
    #[track_caller]
    pub fn spawn_as<F, T>(&self, builder: Builder, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.clone().spawn_in(builder, f)
    }

    /// [`spawn_as`](Self::spawn_as) with a handle to give away.
    #[track_caller]
    pub(crate) fn spawn_in<F, T>(self, builder: Builder, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        builder.spawn(move || self.run(f))
    }

    /// Enters a waiter, to be woken for the reason `why` when the context has ended; false if it has.
    fn watch(&self, waiter: Waiter, why: Wake) -> bool {
        self.node.as_ref().is_none_or(|node| node.watch(waiter, why))
    }

    fn unwatch(&self, waiter: Waiter, why: Wake) {
        if let Some(node) = &self.node {
            node.unwatch(waiter, why);
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("err", &self.err()).field("deadline", &self.deadline()).finish_non_exhaustive()
    }
}

/// What ends a bound. The deadline is the frame's.
impl End for Context {
    fn is_over(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.has_ended())
    }
    fn watch(&self, waiter: Waiter) -> bool {
        Context::watch(self, waiter, Wake::Cancel)
    }
    fn unwatch(&self, waiter: Waiter) {
        Context::unwatch(self, waiter, Wake::Cancel);
    }
}

/// Cancels a context and all that were derived from it: Go's cancel function.
///
/// Dropping it does not cancel.
///
/// # Examples
/// See [`Context`].
#[derive(Clone)]
pub struct CancelHandle {
    node: Arc<Node>,
}

// As for the context.
impl std::panic::UnwindSafe for CancelHandle {}
impl std::panic::RefUnwindSafe for CancelHandle {}

impl CancelHandle {
    /// Ends the context with [`ContextError::Cancelled`]: true, or false if it had ended before. When it returns true, all derived
    /// contexts have ended.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// let (_ctx, handle) = Context::background().with_cancel();
    /// assert_eq!((handle.cancel(), handle.cancel()), (true, false));
    /// ```
    ///
    /// # Scheduling
    /// Does not park. From anywhere.
    pub fn cancel(&self) -> bool {
        self.node.cancel(ContextError::Cancelled, None)
    }

    /// [`cancel`](Self::cancel) with a [cause](Context::cause): an error, or a text.
    ///
    /// # Examples
    /// See [`Context::with_cancel_cause`].
    ///
    /// # Scheduling
    /// Does not park. From anywhere.
    pub fn cancel_cause(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.node.cancel(ContextError::Cancelled, Some(cause.into().into()))
    }

    /// A value whose drop cancels: Go's `defer cancel()`.
    ///
    /// # Examples
    /// ```
    /// use gort::context::Context;
    /// let (ctx, handle) = Context::background().with_cancel();
    /// {
    ///     let _cancel = handle.on_drop();
    /// }
    /// assert!(ctx.err().is_some());
    /// ```
    pub fn on_drop(self) -> CancelOnDrop {
        CancelOnDrop(self)
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").finish_non_exhaustive()
    }
}

/// Cancels when it is dropped; made by [`CancelHandle::on_drop`].
///
/// # Examples
/// See [`CancelHandle::on_drop`].
#[derive(Debug)]
#[must_use = "dropped at once it cancels at once"]
pub struct CancelOnDrop(CancelHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests;

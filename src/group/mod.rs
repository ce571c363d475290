//! Groups: coroutines that work on one thing, and end together when one of them fails. Go's `errgroup`.
//!
//! A [`Group`] owns its members through a [context](crate::context): each runs [bound](Context::bound) by it. The first member
//! that returns an error, or panics, ends the context, so that the others end at the call in which they wait;
//! [`wait`](Group::wait) gives that first error when all have ended. So none is forgotten, and none works on for nothing.
//!
//! | Go's `errgroup` | here |
//! |---|---|
//! | `WithContext(ctx)` | [`Group::with_context`] |
//! | `Group{}` | [`Group::new`]: the first failure ends the others all the same. If none is to be: [`scope`](crate::scope()) |
//! | `g.Go(f)`, `g.TryGo(f)` | [`Group::go`], [`Group::try_go`] |
//! | | [`Group::go_as`]: with a name, another stack, a home of its own |
//! | `g.SetLimit(n)` | [`Group::limit`] |
//! | `g.Wait()` | [`Group::wait`] |
//! | the `ctx` that it returns | the [current](crate::context::current) one of each member; [`Group::context`] |
//!
//! What members are to give besides errors they send on a channel, which has it in the order in which it comes, or write
//! to where they borrow it, which needs a [scope](Group::scope):
//!
//! ```
//! use gort::group::Group;
//! use std::io;
//!
//! fn fetch(name: &str) -> io::Result<usize> {
//!     Ok(name.len())
//! }
//!
//! gort::run(|| -> io::Result<()> {
//!     let names = ["a", "bc", "def"];
//!     let mut sizes = [0; 3];
//!     Group::<io::Error>::new().limit(2).scope(|group| {
//!         for (name, size) in names.iter().zip(&mut sizes) {
//!             group.go(move || {
//!                 *size = fetch(name)?;
//!                 Ok(())
//!             });
//!         }
//!         Ok(())
//!     })?;
//!     assert_eq!(sizes, [1, 2, 3]);
//!     Ok(())
//! })?;
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # How it is made
//!
//! Of what there is: a context, a [`WaitGroup`] of which each member has a handle (a [scope](crate::scope) if they
//! borrow), a [`Semaphore`] for the limit. A member is its closure and a place (`Place`). That is what makes sure: however
//! the member ends, also if its closure never runs, it notes the outcome first, then ends the context, and gives back its
//! permit and its handle last.
//!
//! Rejected: results of the members, in the order of `go` or of their ends, as tokio's `JoinSet` has them. That is a second
//! way to say what a slot or a channel says, with two more types. Rejected as well: members that look at the context by
//! themselves, as in Go: there each of them needs a `select` wherever it waits.

mod scope;
mod together;

pub use scope::GroupScope;
pub use together::{Join, Race, join, race};

use crate::Builder;
use crate::context::{CancelHandle, CancelOnDrop, Context, ContextError};
use crate::sched::cancel::Cancelled;
use crate::sched::or_panic;
use crate::sync::{OwnedSemaphorePermit, Semaphore, WaitGroup};
use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Coroutines that end together when one of them fails. See the [module](self).
///
/// Dropping it ends the context and with it the members, each at the call in which it waits, and does not wait for them.
///
/// # Examples
/// ```
/// use gort::group::Group;
/// use std::io::{Error, ErrorKind};
///
/// gort::run(|| {
///     let group = Group::new();
///     group.go(|| {
///         gort::park(); // for ever, if there were no other
///         Ok(())
///     });
///     group.go(|| Err(Error::from(ErrorKind::NotFound)));
///     assert_eq!(group.wait().unwrap_err().kind(), ErrorKind::NotFound);
/// });
/// ```
#[must_use = "dropped, it ends its members; see `wait`"]
pub struct Group<E> {
    core: Arc<Core<E>>,
    members: WaitGroup,
    limit: Option<Arc<Semaphore>>,
    end: CancelOnDrop,
}

/// What a group and its members share.
struct Core<E> {
    ctx: Context,
    cancel: CancelHandle,
    /// Held for an assignment.
    outcome: Mutex<Outcome<E>>,
}

struct Outcome<E> {
    first: Option<Failure<E>>,
    /// The first panic.
    panic: Option<Box<dyn Any + Send>>,
}

enum Failure<E> {
    Error(E),
    /// It was ended by the context, or cancelled.
    Ended(ContextError),
}

impl<E> Core<E> {
    fn outcome(&self) -> MutexGuard<'_, Outcome<E>> {
        // No user code runs under it.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure, if it is the first, and ends the others.
    fn fail(&self, failure: Failure<E>) {
        let mut outcome = self.outcome();
        let late = match outcome.first {
            None => outcome.first.replace(failure),
            Some(_) => Some(failure),
        };
        drop(outcome);
        self.cancel.cancel_cause("a member of the group failed");
        drop(late);
    }

    /// Notes a panic, if it is the first, and ends the others.
    fn panicked(&self, payload: Box<dyn Any + Send>) {
        let mut outcome = self.outcome();
        let late = match outcome.panic {
            None => outcome.panic.replace(payload),
            Some(_) => Some(payload),
        };
        drop(outcome);
        self.cancel.cancel_cause("a member of the group panicked");
        drop(late);
    }

    /// What the members have come to, when all have ended.
    fn result(&self) -> Result<(), E>
    where
        E: From<ContextError>,
    {
        let mut outcome = self.outcome();
        let (first, panic) = (outcome.first.take(), outcome.panic.take());
        drop(outcome);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        match first {
            None => Ok(()),
            Some(Failure::Error(error)) => Err(error),
            Some(Failure::Ended(error)) => Err(error.into()),
        }
    }
}

/// A member's place in its group. `C` leads to the core: the members of a scope borrow it.
struct Place<E, C: Deref<Target = Core<E>>> {
    core: C,
    /// Its outcome has been noted.
    noted: bool,
    /// In this order, after that.
    _permit: Option<OwnedSemaphorePermit>,
    /// None in a scope, which counts by itself.
    _running: Option<WaitGroup>,
    error: PhantomData<E>,
}

impl<E, C: Deref<Target = Core<E>>> Place<E, C> {
    fn new(core: C, permit: Option<OwnedSemaphorePermit>, running: Option<WaitGroup>) -> Place<E, C> {
        Place { core, noted: false, _permit: permit, _running: running, error: PhantomData }
    }

    /// The member: `f` in its place.
    fn member<F>(self, f: F) -> impl FnOnce()
    where
        F: FnOnce() -> Result<(), E>,
    {
        /// Dropped in this order if it never runs: what `f` has taken along is gone before the group may be.
        struct Body<F, P>(F, P);
        let body = Body(f, self);
        move || {
            let Body(f, mut place) = { body };
            let ended = catch_unwind(AssertUnwindSafe(|| place.core.ctx.bound(f)));
            place.noted = true;
            match ended {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => place.core.fail(Failure::Error(error)),
                Ok(Err(error)) => place.core.fail(Failure::Ended(error)),
                Err(payload) if payload.is::<Cancelled>() => {
                    place.core.fail(Failure::Ended(ContextError::Cancelled));
                }
                Err(payload) => place.core.panicked(payload),
            }
        }
    }
}

impl<E, C: Deref<Target = Core<E>>> Drop for Place<E, C> {
    fn drop(&mut self) {
        if !self.noted {
            // It was cancelled before it began, with its runtime; or could not be started.
            self.core.fail(Failure::Ended(ContextError::Cancelled));
        }
    }
}

/// Waits for a permit, if there is a limit.
fn permit(limit: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    limit.map(|limit| limit.clone().acquire_owned().expect("nobody closes it"))
}

/// A permit, if there is a limit; or that there is none now.
fn try_permit(limit: Option<&Arc<Semaphore>>) -> Result<Option<OwnedSemaphorePermit>, ()> {
    limit.map(|limit| limit.clone().try_acquire_owned()).transpose().map_err(|_| ())
}

impl<E> Group<E> {
    /// A group whose context is ended by nothing but the group itself.
    ///
    /// # Examples
    /// See [`Group`].
    pub fn new() -> Group<E> {
        Group::with_context(&Context::background())
    }

    /// A group whose context comes from this one: it has its values, and ends with it.
    ///
    /// # Examples
    /// ```
    /// use gort::context::{self, Context, ContextError};
    /// use gort::group::Group;
    /// use std::time::Duration;
    ///
    /// gort::run(|| {
    ///     let (ctx, _) = Context::background().with_value("work").with_timeout(Duration::from_millis(5));
    ///     let group = Group::<ContextError>::with_context(&ctx);
    ///     group.go(|| {
    ///         assert_eq!(context::current().value(), Some(&"work"));
    ///         gort::park();
    ///         Ok(())
    ///     });
    ///     assert_eq!(group.wait(), Err(ContextError::DeadlineExceeded));
    /// });
    /// ```
    pub fn with_context(parent: &Context) -> Group<E> {
        let (ctx, cancel) = parent.with_cancel();
        let outcome = Mutex::new(Outcome { first: None, panic: None });
        let core = Arc::new(Core { ctx, cancel: cancel.clone(), outcome });
        Group { core, members: WaitGroup::new(), limit: None, end: cancel.on_drop() }
    }

    /// Lets at most so many members run at a time. It counts those that are started from here on.
    ///
    /// # Examples
    /// ```
    /// use gort::group::Group;
    /// use std::{io, time::Duration};
    ///
    /// gort::run(|| {
    ///     let group = Group::<io::Error>::new().limit(2);
    ///     for _ in 0..10 {
    ///         // Waits until less than two run.
    ///         group.go(|| {
    ///             gort::time::sleep(Duration::from_micros(100));
    ///             Ok(())
    ///         });
    ///     }
    ///     group.wait().unwrap();
    /// });
    /// ```
    ///
    /// # Panics
    /// If it is 0, or more than [`Semaphore::MAX_PERMITS`].
    pub fn limit(mut self, members: usize) -> Group<E> {
        assert!(members > 0, "gort: Group::limit(0): none could ever run");
        self.limit = Some(Arc::new(Semaphore::new(members)));
        self
    }

    /// The group's context, which ends with the first failure, or when the group does.
    ///
    /// # Examples
    /// ```
    /// use gort::group::Group;
    /// gort::run(|| {
    ///     let group = Group::<std::io::Error>::new();
    ///     let ctx = group.context().clone();
    ///     group.wait().unwrap();
    ///     assert!(ctx.err().is_some());
    /// });
    /// ```
    pub fn context(&self) -> &Context {
        &self.core.ctx
    }

    /// Ends the context and with it the members. If that ends any of them before it has returned, it counts as
    /// its failure.
    ///
    /// # Examples
    /// ```
    /// use gort::context::ContextError;
    /// use gort::group::Group;
    /// gort::run(|| {
    ///     let group = Group::<ContextError>::new();
    ///     group.go(|| Ok(gort::park()));
    ///     group.cancel();
    ///     assert_eq!(group.wait(), Err(ContextError::Cancelled));
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Does not park. From anywhere.
    pub fn cancel(&self) {
        self.core.cancel.cancel();
    }

    /// Starts a member.
    ///
    /// It runs with the group's context as the [current](crate::context::current) one, and is ended by it at the call in
    /// which it waits, as [`Context::bound`] says; what must not be ended like this is to be in a
    /// [`shield`](crate::shield). If the context has ended already it is not called.
    ///
    /// # Examples
    /// See [`Group`].
    ///
    /// # Panics
    /// Where [`spawn`](crate::spawn) does; on a plain thread, for one.
    ///
    /// # Scheduling
    /// Parks while as many members run as the [limit](Self::limit) allows; may be cancelled. A member that starts others
    /// waits for itself if the limit is reached and no other ends. Without a limit it does not park.
    #[track_caller]
    pub fn go<F>(&self, f: F)
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Send + 'static,
    {
        or_panic(self.start(Builder::new(), permit(self.limit.as_ref()), f));
    }

    /// Starts a member as a [`Builder`] says: with a name, labels, another stack, a home of its own.
    ///
    /// # Examples
    /// ```
    /// use gort::{Builder, group::Group};
    /// gort::run(|| -> std::io::Result<()> {
    ///     let group = Group::<std::io::Error>::new();
    ///     group.go_as(Builder::new().name("reader").own_home(), || {
    ///         assert_eq!(gort::current().name(), Some("reader"));
    ///         Ok(())
    ///     })?;
    ///     group.wait()
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Builder::spawn`]. The closure has been dropped then, and as a member that could not begin it ends the group,
    /// like one that was cancelled.
    ///
    /// # Panics
    /// As [`Builder::spawn`].
    ///
    /// # Scheduling
    /// As [`go`](Self::go).
    #[track_caller]
    pub fn go_as<F>(&self, builder: Builder, f: F) -> io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Send + 'static,
    {
        self.start(builder, permit(self.limit.as_ref()), f)
    }

    /// Starts a member, if the limit allows it now.
    ///
    /// # Examples
    /// ```
    /// use gort::group::Group;
    /// gort::run(|| {
    ///     let group = Group::<std::io::Error>::new().limit(1);
    ///     group.go(|| Ok(gort::yield_now()));
    ///     let refused = group.try_go(|| unreachable!("one runs")).unwrap_err();
    ///     drop(refused);
    ///     group.wait().unwrap();
    /// });
    /// ```
    ///
    /// # Errors
    /// The closure, if as many members run as the [limit](Self::limit) allows.
    ///
    /// # Panics
    /// As [`go`](Self::go).
    ///
    /// # Scheduling
    /// Does not park.
    #[track_caller]
    pub fn try_go<F>(&self, f: F) -> Result<(), F>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Send + 'static,
    {
        match try_permit(self.limit.as_ref()) {
            Ok(permit) => or_panic(self.start(Builder::new(), permit, f)),
            Err(()) => return Err(f),
        }
        Ok(())
    }

    #[track_caller]
    fn start<F>(&self, builder: Builder, permit: Option<OwnedSemaphorePermit>, f: F) -> io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Send + 'static,
    {
        let place = Place::new(self.core.clone(), permit, Some(self.members.clone()));
        builder.spawn(place.member(f)).map(drop)
    }

    /// Waits until all members have ended, and gives the first error. Then the context ends.
    ///
    /// If the context has ended otherwise (the [parent's](Self::with_context) has, or [`cancel`](Self::cancel) was called)
    /// and that has ended a member, the error is made of the [`ContextError`]. So `E` is an [`io::Error`],
    /// a boxed error, a `ContextError`, or an enum that can be made of one.
    ///
    /// If it is cancelled, or its time is [over](crate::time::timeout), the members end without being waited for.
    ///
    /// # Examples
    /// See [`Group`].
    ///
    /// # Errors
    /// That of the first member that failed.
    ///
    /// # Panics
    /// If a member has, with the payload of the first, even if an error came before.
    ///
    /// # Scheduling
    /// Parks the coroutine until all have ended; may be cancelled. Blocks a plain thread.
    pub fn wait(self) -> Result<(), E>
    where
        E: From<ContextError>,
    {
        let Group { core, members, limit: _, end: _end } = self;
        members.wait();
        core.result()
    }

    /// Runs `f`, which may start members that borrow, and waits for all of them.
    ///
    /// `f` is like a member: it is ended by the context, and its error counts. What it returns otherwise is returned if
    /// no member fails.
    ///
    /// # Examples
    /// See the [module](self).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait), and if `f` does.
    ///
    /// # Scheduling
    /// Parks the coroutine. If that is cancelled meanwhile, or its time is over, the members are ended and waited for
    /// before it unwinds. On a plain thread it panics as soon as a member is started.
    pub fn scope<'env, F, T>(self, f: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(GroupScope<'scope, 'env, E>) -> Result<T, E>,
        E: From<ContextError> + Send,
    {
        let Group { core, members, limit, end: _end } = self;
        let (core, limit) = (&*core, limit.as_ref());
        let ended = crate::scope(|scope| {
            let group = GroupScope::new(core, limit, scope.spawner());
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let value = match core.ctx.bound(|| f(group)) {
                    Ok(Ok(value)) => Some(value),
                    Ok(Err(error)) => {
                        core.fail(Failure::Error(error));
                        None
                    }
                    Err(error) => {
                        core.fail(Failure::Ended(error));
                        None
                    }
                };
                members.wait();
                scope.wait();
                value
            }));
            if ended.is_err() {
                // The scope waits for them.
                core.cancel.cancel_cause("the scope of the group was left by a panic or a cancel");
            }
            ended
        });
        match ended {
            Err(payload) => resume_unwind(payload),
            Ok(value) => core.result().map(|()| value.expect("else there was a failure")),
        }
    }
}

impl<E> Default for Group<E> {
    fn default() -> Group<E> {
        Group::new()
    }
}

impl<E> fmt::Debug for Group<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("context", &self.core.ctx).finish_non_exhaustive()
    }
}

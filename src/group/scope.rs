//! Members that borrow.

use super::{Core, Place, permit, try_permit};
use crate::Builder;
use crate::context::Context;
use crate::sched::{Spawner, or_panic};
use crate::sync::{OwnedSemaphorePermit, Semaphore};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

/// A group to start borrowing members in; made by [`Group::scope`](super::Group::scope).
///
/// It may be copied, also into a member that starts others.
///
/// # Examples
/// ```
/// use gort::group::Group;
/// use std::{io, sync::atomic::{AtomicU32, Ordering::Relaxed}};
/// gort::run(|| {
///     let count = AtomicU32::new(0);
///     let result = Group::<io::Error>::new().scope(|group| {
///         let count = &count;
///         group.go(move || {
///             group.go(move || Ok(_ = count.fetch_add(1, Relaxed)));
///             Ok(_ = count.fetch_add(1, Relaxed))
///         });
///         Ok("done")
///     });
///     assert_eq!((result.unwrap(), count.into_inner()), ("done", 2));
/// });
/// ```
pub struct GroupScope<'scope, 'env: 'scope, E> {
    core: &'scope Core<E>,
    limit: Option<&'scope Arc<Semaphore>>,
    spawner: Spawner<'scope>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env, E> GroupScope<'scope, 'env, E> {
    pub(super) fn new(
        core: &'scope Core<E>,
        limit: Option<&'scope Arc<Semaphore>>,
        spawner: Spawner<'scope>,
    ) -> GroupScope<'scope, 'env, E> {
        GroupScope { core, limit, spawner, env: PhantomData }
    }

    /// As [`Group::context`](super::Group::context).
    ///
    /// # Examples
    /// ```
    /// use gort::group::Group;
    /// gort::run(|| {
    ///     let group = Group::<std::io::Error>::new();
    ///     group.scope(|group| Ok(assert_eq!(group.context().err(), None))).unwrap();
    /// });
    /// ```
    pub fn context(&self) -> &'scope Context {
        &self.core.ctx
    }

    /// As [`Group::cancel`](super::Group::cancel).
    ///
    /// # Examples
    /// ```
    /// use gort::{context::ContextError, group::Group};
    /// gort::run(|| {
    ///     let result = Group::<ContextError>::new().scope(|group| {
    ///         group.go(|| Ok(gort::park()));
    ///         Ok(group.cancel())
    ///     });
    ///     assert_eq!(result, Err(ContextError::Cancelled));
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Does not park. From anywhere.
    pub fn cancel(&self) {
        self.core.cancel.cancel();
    }

    /// As [`Group::go`](super::Group::go), for a member that may borrow what outlives the scope.
    ///
    /// # Examples
    /// See [`GroupScope`].
    ///
    /// # Panics
    /// As [`Group::go`](super::Group::go).
    ///
    /// # Scheduling
    /// As [`Group::go`](super::Group::go).
    #[track_caller]
    pub fn go<F>(&self, f: F)
    where
        F: FnOnce() -> Result<(), E> + Send + 'scope,
        E: Send,
    {
        or_panic(self.start(None, permit(self.limit), f));
    }

    /// Starts a member that may borrow, as a [`Builder`] says; as [`Group::go_as`](super::Group::go_as) otherwise.
    ///
    /// # Examples
    /// ```
    /// use gort::{Builder, group::Group};
    /// gort::run(|| {
    ///     let mut name = None;
    ///     let named = Builder::new().name("borrows");
    ///     Group::<std::io::Error>::new()
    ///         .scope(|group| {
    ///             group.go_as(named, || {
    ///                 name = gort::current().name().map(String::from);
    ///                 Ok(())
    ///             })
    ///         })
    ///         .unwrap();
    ///     assert_eq!(name.as_deref(), Some("borrows"));
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`Group::go_as`](super::Group::go_as).
    ///
    /// # Panics
    /// As [`Builder::spawn`].
    ///
    /// # Scheduling
    /// As [`Group::go`](super::Group::go).
    #[track_caller]
    pub fn go_as<F>(&self, builder: Builder, f: F) -> io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'scope,
        E: Send,
    {
        self.start(Some(builder), permit(self.limit), f)
    }

    /// As [`Group::try_go`](super::Group::try_go), for a member that may borrow what outlives the scope.
    ///
    /// # Examples
    /// ```
    /// use gort::group::Group;
    /// gort::run(|| {
    ///     let mut count = 0;
    ///     let group = Group::<std::io::Error>::new().limit(1);
    ///     group.scope(|group| {
    ///         group.go(|| Ok(gort::yield_now()));
    ///         if let Err(mut here) = group.try_go(|| Ok(count += 1)) {
    ///             here()?;
    ///         }
    ///         Ok(())
    ///     }).unwrap();
    ///     assert_eq!(count, 1);
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`Group::try_go`](super::Group::try_go).
    ///
    /// # Panics
    /// As [`Group::go`](super::Group::go).
    ///
    /// # Scheduling
    /// Does not park.
    #[track_caller]
    pub fn try_go<F>(&self, f: F) -> Result<(), F>
    where
        F: FnOnce() -> Result<(), E> + Send + 'scope,
        E: Send,
    {
        match try_permit(self.limit) {
            Ok(permit) => or_panic(self.start(None, permit, f)),
            Err(()) => return Err(f),
        }
        Ok(())
    }

    #[track_caller]
    fn start<F>(&self, builder: Option<Builder>, permit: Option<OwnedSemaphorePermit>, f: F) -> io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'scope,
        E: Send,
    {
        let place = Place::new(self.core, permit, None);
        let member = place.member(f);
        let started = match builder {
            None => self.spawner.try_go(member),
            Some(builder) => self.spawner.go_as(builder, member),
        };
        started.map(drop)
    }
}

impl<E> Clone for GroupScope<'_, '_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for GroupScope<'_, '_, E> {}

impl<E> fmt::Debug for GroupScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupScope").field("context", &self.core.ctx).finish_non_exhaustive()
    }
}

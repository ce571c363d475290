//! Coroutines that borrow from the one that spawns them.

use super::cancel;
use super::join::{Coroutine, JoinError, JoinHandle};
use super::lock::Spin;
use super::quietly;
use super::spawn::{Builder, Plan, or_panic};
use super::wait::{self, WaitReason, Waiter, Wake};
use crate::os::clock::NEVER;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the coroutines of a scope and its end share.
#[derive(Debug)]
struct Data {
    running: AtomicUsize,
    /// Panics that nobody has joined.
    panics: AtomicUsize,
    waiter: Spin<Option<Waiter>>,
    /// Coroutines whose handles were dropped: their results may borrow, so they are dropped
    /// before the scope returns, and not by the coroutine at some later time.
    orphans: Spin<Vec<JoinHandle<()>>>,
}

impl Data {
    fn one_ended(&self, panicked: bool) {
        if panicked {
            // Relaxed: published by the Release below.
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        // Release: what the coroutine did comes before the scope's return.
        if self.running.fetch_sub(1, Ordering::Release) == 1 {
            let waiter = self.waiter.lock().take();
            if let Some(waiter) = waiter {
                waiter.wake(Wake::Ready);
            }
        }
    }

    /// Waits until none of them runs.
    fn wait(&self) {
        loop {
            // Acquire: pairs with the Release in `one_ended`.
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            let wait = wait::begin();
            let mut waiter = self.waiter.lock();
            // Acquire: as above. Under the lock: the last to end either is seen here or finds
            // the waiter.
            if self.running.load(Ordering::Acquire) == 0 {
                drop(waiter);
                wait.abandon();
                return;
            }
            *waiter = Some(wait.waiter());
            drop(waiter);
            if wait.park(WaitReason::Scope, NEVER) == Wake::Cancel {
                // Not in the scope's end, which is shielded. Nobody else puts one there.
                self.waiter.lock().take();
                cancel::unwind();
            }
        }
    }

    /// Takes a handle that was dropped.
    fn adopt(&self, handle: JoinHandle<()>) {
        let mut finished = Vec::new();
        let mut orphans = self.orphans.lock();
        if orphans.len() == orphans.capacity() {
            // About to grow: let go of what has ended, outside the lock, since results drop.
            let mut at = 0;
            while at < orphans.len() {
                if orphans[at].is_finished() {
                    finished.push(orphans.swap_remove(at));
                } else {
                    at += 1;
                }
            }
        }
        orphans.push(handle);
        drop(orphans);
        // As at the scope's end. A cancel is seen at the next wait.
        cancel::shield(|| finished.into_iter().for_each(|handle| self.let_go(handle)));
    }

    /// Waits until no coroutine of the scope runs and no result that borrows is left.
    fn finish(&self) {
        loop {
            self.wait();
            // None runs, so nobody but us changes anything. But a result may start others when it is dropped, or hold handles, which
            // come to be orphans then: until none is left.
            let orphan = self.orphans.lock().pop();
            let Some(handle) = orphan else { return };
            // Its closure has ended, so this takes no longer than the coroutine's last steps.
            self.let_go(handle);
        }
    }

    /// Waits for the coroutine's end and drops the result. A panic in that is the scope's: it must not keep us from others.
    fn let_go(&self, handle: JoinHandle<()>) {
        if !quietly(|| handle.wait_to_drop()) {
            // Relaxed: read when all have ended.
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A scope to spawn borrowing coroutines in; see [`scope`].
///
/// A coroutine of the scope may start others in it.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// gort::run(|| {
///     let count = AtomicU32::new(0);
///     gort::scope(|s| {
///         s.go(|| s.go(|| count.fetch_add(1, Relaxed)));
///         s.go(|| count.fetch_add(1, Relaxed));
///     });
///     assert_eq!(count.into_inner(), 2);
/// });
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    data: Arc<Data>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `f`, which may spawn coroutines that borrow what is outside, and waits for all of them.
///
/// Results that nobody joined are dropped before it returns.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let words = vec!["a", "bc", "def"];
///     let total: usize = gort::scope(|s| {
///         let handles: Vec<_> = words.iter().map(|w| s.go(move || w.len())).collect();
///         handles.into_iter().map(|h| h.join().unwrap()).sum()
///     });
///     assert_eq!(total, 6);
/// });
/// ```
///
/// # Panics
/// If `f` panics, with its payload; if a coroutine of the scope panicked and nobody joined it, or
/// the drop of a result that nobody joined did.
///
/// # Scheduling
/// Parks the coroutine. If that is cancelled meanwhile, the scope still waits for its own before
/// it unwinds. On a plain thread it panics as soon as something is spawned, as [`spawn`](crate::spawn) does.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        data: Arc::new(Data {
            running: AtomicUsize::new(0),
            panics: AtomicUsize::new(0),
            waiter: Spin::new(None),
            orphans: Spin::new(Vec::new()),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    // Whatever happens to us, what the coroutines borrow stays until they have ended.
    cancel::shield(|| scope.data.finish());
    match result {
        Err(payload) => resume_unwind(payload),
        // Relaxed: ordered by the wait.
        Ok(_) if scope.data.panics.load(Ordering::Relaxed) > 0 => panic!("a scoped coroutine panicked"),
        Ok(value) => {
            cancel::check();
            value
        }
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts a coroutine that may borrow what outlives the scope.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let mut halves = [[1, 2], [3, 4]];
    ///     gort::scope(|s| {
    ///         for half in &mut halves {
    ///             s.go(|| half.reverse());
    ///         }
    ///     });
    ///     assert_eq!(halves, [[2, 1], [4, 3]]);
    /// });
    /// ```
    ///
    /// # Panics
    /// Where [`Self::try_go`] returns an error; on a plain thread, for one.
    ///
    /// # Scheduling
    /// As [`spawn`](crate::spawn): does not park.
    #[track_caller]
    pub fn go<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        or_panic(self.try_go(f))
    }

    /// Starts a coroutine that may borrow what outlives the scope, or says why it cannot.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| -> std::io::Result<()> {
    ///     let text = String::from("borrowed");
    ///     let len = gort::scope(|s| Ok::<_, std::io::Error>(s.try_go(|| text.len())?.join()))?;
    ///     assert_eq!(len.unwrap(), 8);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    ///
    /// # Scheduling
    /// As [`spawn`](crate::spawn): does not park.
    #[track_caller]
    pub fn try_go<F, T>(&'scope self, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawner().try_go(f)
    }

    /// Starts a coroutine that may borrow what outlives the scope, as a [`Builder`] says: with a name, labels, another stack,
    /// a home of its own.
    ///
    /// # Examples
    /// ```
    /// use gort::Builder;
    /// gort::run(|| {
    ///     let words = ["a", "bc"];
    ///     gort::scope(|s| {
    ///         let deep = Builder::new().name("deep").stack_size(4 << 20);
    ///         let task = s.go_as(deep, || (words.len(), gort::current().name().map(String::from))).unwrap();
    ///         assert_eq!(task.join().unwrap(), (2, Some("deep".into())));
    ///     });
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`Builder::spawn`].
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    ///
    /// # Scheduling
    /// As [`spawn`](crate::spawn): does not park.
    #[track_caller]
    pub fn go_as<F, T>(&'scope self, builder: Builder, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawner().go_as(builder, f)
    }

    pub(crate) fn spawner(&'scope self) -> Spawner<'scope> {
        Spawner { data: &self.data, scope: PhantomData }
    }

    /// Waits until none of its coroutines runs; they may be joined later.
    pub(crate) fn wait(&'scope self) {
        self.data.wait();
    }
}

/// What starts the coroutines of a scope, for those who build on it: without the lifetime that is the caller's matter.
#[derive(Clone, Copy)]
pub(crate) struct Spawner<'scope> {
    data: &'scope Arc<Data>,
    /// As in [`Scope`]: invariant.
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<'scope> Spawner<'scope> {
    /// [`Scope::try_go`].
    #[track_caller]
    pub(crate) fn try_go<F, T>(&self, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.start(Plan { extra: None, class: None, own_home: false, local: false, site: Location::caller() }, f)
    }

    /// [`Scope::go_as`].
    #[track_caller]
    pub(crate) fn go_as<F, T>(&self, builder: Builder, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.start(builder.plan(false, Location::caller())?, f)
    }

    fn start<F, T>(&self, plan: Plan, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        /// Says that the coroutine has ended, after its closure has been dropped, also when the
        /// closure never ran.
        struct Ends(Arc<Data>, bool);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.one_ended(self.1);
            }
        }
        /// What the coroutine takes along; dropped in this order if it never runs.
        struct Body<F>(F, Ends);
        // Relaxed: the coroutine does not exist yet.
        self.data.running.fetch_add(1, Ordering::Relaxed);
        let body = Body(f, Ends(self.data.clone(), false));
        let run = move || {
            // In this order: `f` and all it borrows are gone before `ends` is.
            let Body(f, mut ends) = { body };
            let outcome = catch_unwind(AssertUnwindSafe(f));
            ends.1 = outcome.as_ref().is_err_and(|payload| !payload.is::<cancel::Cancelled>());
            outcome
        };
        // SAFETY: `scope` does not return before `ends` has been dropped, which is the last
        // thing the closure does, nor before the result of a dropped handle has been dropped
        // (`Data::finish`); other handles, and so their results, end within `'scope`, or are
        // forgotten together with the result. `F` and `T` are `Send`.
        let handle = unsafe { super::spawn::spawn_raw(None, plan, run) }?;
        Ok(ScopedJoinHandle { handle: Some(handle), data: self.data.clone(), scope: PhantomData })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("running", &self.data.running.load(Ordering::Relaxed)).finish()
    }
}

type ScopedResult<T> = Result<T, Box<dyn std::any::Any + Send>>;

/// The right to the result of a scoped coroutine.
///
/// Dropping it leaves the coroutine to the scope, which waits for it and drops the result.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let numbers = [1, 2, 3];
///     gort::scope(|s| {
///         let sum = s.go(|| numbers.iter().sum::<i32>());
///         let most = s.go(|| numbers.iter().copied().max());
///         assert_eq!((sum.join().unwrap(), most.join().unwrap()), (6, Some(3)));
///     });
/// });
/// ```
pub struct ScopedJoinHandle<'scope, T> {
    handle: Option<JoinHandle<ScopedResult<T>>>,
    data: Arc<Data>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the coroutine's end and returns its value, as [`JoinHandle::join`] does.
    ///
    /// A panic that is joined is not the scope's any more.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     gort::scope(|s| {
    ///         let bad = s.go(|| if true { panic!("no") });
    ///         assert!(bad.join().unwrap_err().is_panic());
    ///     });
    /// });
    /// ```
    ///
    /// # Errors
    /// [`JoinError::Panicked`] with the payload if it panicked, [`JoinError::Cancelled`] if it
    /// was cancelled.
    ///
    /// # Scheduling
    /// As [`JoinHandle::join`].
    pub fn join(mut self) -> Result<T, JoinError> {
        // The handle stays here meanwhile: if this unwinds it comes to be an orphan, like any that is dropped.
        self.handle.as_ref().expect("taken here only").wait_to_take();
        match self.handle.take().expect("taken here only").take() {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(payload)) if payload.is::<cancel::Cancelled>() => Err(JoinError::Cancelled),
            Ok(Err(payload)) => {
                // Relaxed: read after the wait for all.
                self.data.panics.fetch_sub(1, Ordering::Relaxed);
                Err(JoinError::Panicked(payload))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the coroutine has ended, as [`JoinHandle::is_finished`] says it.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     gort::scope(|s| {
    ///         let handle = s.go(|| ());
    ///         while !handle.is_finished() {
    ///             gort::yield_now();
    ///         }
    ///     });
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The coroutine, to unpark it, or for its number, name and labels.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     gort::scope(|s| {
    ///         let handle = s.go(gort::park);
    ///         handle.coroutine().unpark();
    ///         handle.join().unwrap();
    ///     });
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once.
    pub fn coroutine(&self) -> Coroutine {
        self.handle.as_ref().expect("taken by what consumes it").coroutine()
    }

    /// Asks the coroutine to end, as [`JoinHandle::cancel`] does.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     gort::scope(|s| {
    ///         let handle = s.go(gort::park);
    ///         handle.cancel();
    ///         assert!(handle.join().unwrap_err().is_cancelled());
    ///     });
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once.
    pub fn cancel(&self) {
        if let Some(handle) = &self.handle {
            handle.cancel();
        }
    }
}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.data.adopt(handle.erase());
        }
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").field("finished", &self.is_finished()).finish()
    }
}

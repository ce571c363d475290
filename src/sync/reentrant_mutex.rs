//! `ReentrantMutex`: a mutex that its holder may lock again.

use super::raw_mutex::RawMutex;
use crate::os::clock::{self, NEVER};
use crate::sched;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// A mutex that the task which holds it may lock again; it is free when every guard has been dropped.
///
/// It belongs to the *coroutine*, not to the thread or the home that runs it; outside of coroutines to the thread. Since
/// there may be several guards at once they give shared access: put a [`Cell`](std::cell::Cell) or
/// [`RefCell`](std::cell::RefCell) inside. Inside is a `lock_api::ReentrantMutex`, whose other methods can be called as
/// well, and whose guards these are; fairness and panics as with [`Mutex`](super::Mutex).
///
/// # Examples
/// ```
/// use gort::sync::ReentrantMutex;
/// use std::cell::Cell;
///
/// fn add(count: &ReentrantMutex<Cell<u32>>, n: u32) {
///     let count = count.lock();
///     count.set(count.get() + n);
/// }
///
/// let count = ReentrantMutex::new(Cell::new(0));
/// let guard = count.lock();
/// add(&count, 1); // locks it again
/// assert_eq!(guard.get(), 1);
/// ```
///
/// # Scheduling
/// `lock` parks the coroutine while another task holds it, and may then be cancelled; it blocks a plain thread. So do the
/// attempts with a time. The functions of the guard that give the mutex up for a moment, as
/// `ReentrantMutexGuard::unlocked`, have it again when they return or unwind; see [`Mutex`](super::Mutex).
#[derive(Default)]
#[repr(transparent)]
pub struct ReentrantMutex<T: ?Sized>(lock_api::ReentrantMutex<RawTaskMutex, TaskId, T>);

impl<T> ReentrantMutex<T> {
    /// A free mutex around `value`.
    ///
    /// # Examples
    /// See [`ReentrantMutex`].
    #[inline]
    pub const fn new(value: T) -> ReentrantMutex<T> {
        ReentrantMutex(lock_api::ReentrantMutex::new(value))
    }

    /// The value.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(gort::sync::ReentrantMutex::new(1).into_inner(), 1);
    /// ```
    #[inline]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> ReentrantMutex<T> {
    /// Waits until no other task holds the mutex.
    ///
    /// # Examples
    /// See [`ReentrantMutex`].
    ///
    /// # Scheduling
    /// See [`ReentrantMutex`].
    #[inline]
    pub fn lock(&self) -> ReentrantMutexGuard<'_, T> {
        // What is inside looks whose it is, and then asks the raw mutex: with a time that may unwind, without one not.
        self.0.try_lock_until(None).expect("it waits for ever")
    }

    /// Locks it if no other task holds it.
    ///
    /// # Examples
    /// ```
    /// let mutex = gort::sync::ReentrantMutex::new(1);
    /// let guard = mutex.lock();
    /// assert!(mutex.try_lock().is_some());
    /// assert!(std::thread::scope(|s| s.spawn(|| mutex.try_lock().is_none()).join().unwrap()));
    /// # drop(guard);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<ReentrantMutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Waits until no other task holds the mutex, for at most `timeout`; None if it was not to be had.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let mutex = gort::sync::ReentrantMutex::new(1);
    /// assert_eq!(*mutex.try_lock_for(Duration::from_millis(1)).unwrap(), 1);
    /// ```
    ///
    /// # Scheduling
    /// See [`ReentrantMutex`].
    pub fn try_lock_for(&self, timeout: Duration) -> Option<ReentrantMutexGuard<'_, T>> {
        self.0.try_lock_for(timeout)
    }

    /// Waits until no other task holds the mutex, but not beyond `deadline`; None if it was not to be had.
    ///
    /// # Examples
    /// See [`try_lock_for`](Self::try_lock_for).
    ///
    /// # Scheduling
    /// See [`ReentrantMutex`].
    pub fn try_lock_until(&self, deadline: Instant) -> Option<ReentrantMutexGuard<'_, T>> {
        self.0.try_lock_until(Some(deadline))
    }

    /// The value, which nobody else can be at.
    ///
    /// # Examples
    /// ```
    /// let mut mutex = gort::sync::ReentrantMutex::new(1);
    /// *mutex.get_mut() += 1;
    /// assert_eq!(mutex.into_inner(), 2);
    /// ```
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: ?Sized> Deref for ReentrantMutex<T> {
    type Target = lock_api::ReentrantMutex<RawTaskMutex, TaskId, T>;

    #[inline]
    fn deref(&self) -> &lock_api::ReentrantMutex<RawTaskMutex, TaskId, T> {
        &self.0
    }
}

impl<T> From<T> for ReentrantMutex<T> {
    fn from(value: T) -> ReentrantMutex<T> {
        ReentrantMutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shared access to the value of a [`ReentrantMutex`].
///
/// # Examples
/// ```
/// use gort::sync::{ReentrantMutex, ReentrantMutexGuard};
/// let text = ReentrantMutex::new(String::from("abc"));
/// let guard: ReentrantMutexGuard<'_, String> = text.lock();
/// assert_eq!(guard.len(), 3);
/// ```
pub type ReentrantMutexGuard<'a, T> = lock_api::ReentrantMutexGuard<'a, RawTaskMutex, TaskId, T>;

/// Shared access to a part of the value of a [`ReentrantMutex`].
///
/// # Examples
/// ```
/// use gort::sync::{MappedReentrantMutexGuard, ReentrantMutex, ReentrantMutexGuard};
/// let pair = ReentrantMutex::new((1, 2));
/// let second: MappedReentrantMutexGuard<'_, i32> = ReentrantMutexGuard::map(pair.lock(), |pair| &pair.1);
/// assert_eq!(*second, 2);
/// ```
pub type MappedReentrantMutexGuard<'a, T> = lock_api::MappedReentrantMutexGuard<'a, RawTaskMutex, TaskId, T>;

/// How a [`ReentrantMutex`] knows its holder.
#[derive(Debug)]
pub struct TaskId(());

// SAFETY: a coroutine's number is its own in the process, for good; a thread's is the address of a word of its thread-local
// block, which no other living thread has. Coroutines' are odd and threads' even, so neither is taken for the other.
unsafe impl lock_api::GetThreadId for TaskId {
    const INIT: TaskId = TaskId(());

    fn nonzero_thread_id(&self) -> NonZeroUsize {
        sched::task_number()
    }
}

/// The raw lock inside a [`ReentrantMutex`]: a [`RawMutex`], of which the attempts with a time may be ended. They are how
/// `lock_api` lets a wait of the type's own through to it; `None` is for ever.
#[derive(Debug)]
pub struct RawTaskMutex(RawMutex);

// SAFETY: a `RawMutex`. An attempt that unwinds has not got it.
unsafe impl lock_api::RawMutex for RawTaskMutex {
    const INIT: RawTaskMutex = RawTaskMutex(lock_api::RawMutex::INIT);

    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        lock_api::RawMutex::lock(&self.0);
    }

    #[inline]
    fn try_lock(&self) -> bool {
        lock_api::RawMutex::try_lock(&self.0)
    }

    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: the caller's promise.
        unsafe { lock_api::RawMutex::unlock(&self.0) };
    }

    fn is_locked(&self) -> bool {
        self.0.is_held()
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawMutexFair for RawTaskMutex {
    unsafe fn unlock_fair(&self) {
        // SAFETY: the caller's promise.
        unsafe { lock_api::RawMutexFair::unlock_fair(&self.0) };
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawMutexTimed for RawTaskMutex {
    type Duration = Duration;
    type Instant = Option<Instant>;

    fn try_lock_for(&self, timeout: Duration) -> bool {
        self.0.lock_by(|| clock::later(timeout))
    }

    #[inline]
    fn try_lock_until(&self, deadline: Option<Instant>) -> bool {
        self.0.take_free() || self.0.lock_by(|| deadline.map_or(Some(NEVER), clock::ahead))
    }
}

//! `ReentrantMutex`: a mutex that its holder may lock again.

use super::raw_mutex::RawMutex;
use crate::sched;
use std::num::NonZeroUsize;

/// A mutex that the task which holds it may lock again; it is free when every guard has been dropped.
///
/// It belongs to the *coroutine*, not to the thread or the home that runs it; outside of coroutines to the thread. Since
/// there may be several guards at once they give shared access: put a [`Cell`](std::cell::Cell) or
/// [`RefCell`](std::cell::RefCell) inside. The type is [`lock_api::ReentrantMutex`]; fairness and panics as with
/// [`Mutex`](super::Mutex).
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
/// `lock` parks the coroutine while another task holds it, and may then be cancelled; it blocks a plain thread.
pub type ReentrantMutex<T> = lock_api::ReentrantMutex<RawMutex, TaskId, T>;

/// Shared access to the value of a [`ReentrantMutex`].
///
/// # Examples
/// ```
/// use gort::sync::{ReentrantMutex, ReentrantMutexGuard};
/// let text = ReentrantMutex::new(String::from("abc"));
/// let guard: ReentrantMutexGuard<'_, String> = text.lock();
/// assert_eq!(guard.len(), 3);
/// ```
pub type ReentrantMutexGuard<'a, T> = lock_api::ReentrantMutexGuard<'a, RawMutex, TaskId, T>;

/// Shared access to a part of the value of a [`ReentrantMutex`].
///
/// # Examples
/// ```
/// use gort::sync::{MappedReentrantMutexGuard, ReentrantMutex, ReentrantMutexGuard};
/// let pair = ReentrantMutex::new((1, 2));
/// let second: MappedReentrantMutexGuard<'_, i32> = ReentrantMutexGuard::map(pair.lock(), |pair| &pair.1);
/// assert_eq!(*second, 2);
/// ```
pub type MappedReentrantMutexGuard<'a, T> = lock_api::MappedReentrantMutexGuard<'a, RawMutex, TaskId, T>;

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

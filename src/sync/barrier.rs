//! `Barrier`: tasks wait for one another.
//!
//! The word counts rounds in its upper half and, in the lower, those who have come in this round. It is changed under the
//! queue's lock. A waiter keeps its round in mind: if it is cancelled it has not come after all, unless its round
//! is over.

use super::waitq::{Grant, Waited, Waiters};
use crate::os::clock::NEVER;
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicU64, Ordering};
use std::cell::Cell;

/// Lets a number of tasks wait until all of them have come; then the next round begins.
///
/// # Examples
/// ```
/// use gort::sync::Barrier;
/// use std::sync::Arc;
///
/// gort::run(|| {
///     let barrier = Arc::new(Barrier::new(3));
///     let tasks = [(); 3].map(|()| {
///         let barrier = barrier.clone();
///         gort::go!(move || barrier.wait().is_leader())
///     });
///     let leaders = tasks.map(|task| task.join().unwrap()).into_iter().filter(|leader| *leader).count();
///     assert_eq!(leaders, 1);
/// });
/// ```
///
/// # Scheduling
/// [`wait`](Self::wait) parks the coroutine until the others have come; if it is cancelled it counts as not having
/// come. It blocks a plain thread.
#[derive(Debug)]
pub struct Barrier {
    waiters: Waiters<AtomicU64>,
    size: u32,
}

impl Barrier {
    /// For `size` tasks. With 0 it lets everybody through, as with 1.
    ///
    /// # Examples
    /// See [`Barrier`].
    ///
    /// # Panics
    /// If `size` is more than four billion.
    pub const fn new(size: usize) -> Barrier {
        assert!(size <= u32::MAX as usize, "a barrier for more than u32::MAX tasks");
        Barrier { waiters: Waiters::new(AtomicU64::new(0)), size: size as u32 }
    }

    /// Waits until so many have called it. One of them, the last to come, is told that it is the leader.
    ///
    /// # Examples
    /// See [`Barrier`].
    ///
    /// # Scheduling
    /// See [`Barrier`].
    pub fn wait(&self) -> BarrierWaitResult {
        crate::sched::checkpoint();
        // Relaxed, throughout: the queue's lock orders all accesses, and the claims what the tasks did before.
        let state = &self.waiters.state;
        loop {
            let locked = self.waiters.lock();
            let word = state.load(Ordering::Relaxed);
            if self.is_last(word) {
                state.store(((word >> 32) + 1) << 32, Ordering::Relaxed);
                locked.wake_all(Grant::Given);
                return BarrierWaitResult(true);
            }
            drop(locked);
            let round = Cell::new(0);
            let waited = self.waiters.wait(
                (0, false),
                (WaitReason::Barrier, NEVER),
                |_| {
                    let word = state.load(Ordering::Relaxed);
                    if self.is_last(word) {
                        return Some(());
                    }
                    round.set(word >> 32);
                    state.store(word + 1, Ordering::Relaxed);
                    None
                },
                || (),
                |_, _| {
                    let word = state.load(Ordering::Relaxed);
                    if word >> 32 == round.get() {
                        state.store(word - 1, Ordering::Relaxed);
                    }
                },
            );
            if waited != Waited::Settled(()) {
                return BarrierWaitResult(false);
            }
        }
    }

    /// Whether who comes now is the last of the round.
    fn is_last(&self, word: u64) -> bool {
        word as u32 + 1 >= self.size
    }
}

/// What [`Barrier::wait`] returns.
///
/// # Examples
/// See [`Barrier`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller was the last of its round to come.
    ///
    /// # Examples
    /// See [`Barrier`].
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

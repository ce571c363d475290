//! `Notify`: a notification without a condition.
//!
//! The word is `NONE`, `TOLD` (one notification is kept, since nobody waited) or `WAITING` (the queue is not empty). A
//! notification to somebody who waits is a grant (`waitq.rs`): a deadline or `cancel` comes before it, and then it goes to
//! the next, or after it.

use super::waitq::{Grant, Ready, Waited, Waiters};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const NONE: u32 = 0;
const TOLD: u32 = 1;
const WAITING: u32 = 2;

/// Tells a task that something has happened.
///
/// [`notify_one`](Self::notify_one) lets one [`wait`](Self::wait) return: that of the task that has waited longest, or if none
/// waits the next. Several notifications before that one count as one. [`notify_all`](Self::notify_all) reaches those who
/// wait now, and nobody else.
///
/// # Examples
/// ```
/// use gort::sync::{Mutex, Notify};
/// use std::sync::Arc;
///
/// gort::run(|| {
///     let inbox = Arc::new((Mutex::new(Vec::new()), Notify::new()));
///     let reader = {
///         let inbox = inbox.clone();
///         gort::go!(move || loop {
///             if let Some(letter) = inbox.0.lock().pop() {
///                 return letter;
///             }
///             inbox.1.wait();
///         })
///     };
///     inbox.0.lock().push("a letter");
///     inbox.1.notify_one();
///     assert_eq!(reader.join().unwrap(), "a letter");
/// });
/// ```
///
/// # Scheduling
/// To wait parks the coroutine and may be cancelled; a notification that it would have got goes to another then. A
/// plain thread is blocked. To notify returns at once, from anywhere.
#[derive(Debug)]
pub struct Notify {
    waiters: Waiters<AtomicU32>,
}

impl Notify {
    /// Without a notification.
    ///
    /// # Examples
    /// ```
    /// static CHANGED: gort::sync::Notify = gort::sync::Notify::new();
    /// CHANGED.notify_one();
    /// CHANGED.wait(); // returns at once
    /// ```
    pub const fn new() -> Notify {
        Notify { waiters: Waiters::new(AtomicU32::new(NONE)) }
    }

    /// Waits for a notification, or takes the one that is kept. What its sender did before is seen.
    ///
    /// # Examples
    /// See [`Notify`].
    ///
    /// # Scheduling
    /// See [`Notify`].
    pub fn wait(&self) {
        self.wait_to(|| Some(NEVER));
    }

    /// [`wait`](Self::wait), but for at most `timeout`: false if none has come then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// assert!(!gort::sync::Notify::new().wait_timeout(Duration::from_millis(1)));
    /// ```
    ///
    /// # Scheduling
    /// See [`Notify`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_to(|| clock::later(timeout))
    }

    /// [`wait`](Self::wait), but not beyond `deadline`: false if none has come then.
    ///
    /// # Examples
    /// ```
    /// let notify = gort::sync::Notify::new();
    /// notify.notify_one();
    /// let now = std::time::Instant::now();
    /// assert_eq!((notify.wait_until(now), notify.wait_until(now)), (true, false));
    /// ```
    ///
    /// # Scheduling
    /// See [`Notify`].
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.wait_to(|| clock::ahead(deadline))
    }

    /// Takes the notification that is kept.
    fn take(&self) -> bool {
        // Acquire: pairs with the Release in `notify_one`.
        self.waiters.state.compare_exchange(TOLD, NONE, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn wait_to(&self, deadline: impl FnOnce() -> Option<Nanos>) -> bool {
        crate::sched::checkpoint();
        if self.take() {
            return true;
        }
        let Some(deadline) = deadline() else { return false };
        let state = &self.waiters.state;
        let waited = self.waiters.wait(
            (0, false),
            (WaitReason::Notify, deadline),
            |_| {
                // Acquire: as in `take`. `WAITING` need not be published: who sees it takes the lock.
                let settle = |word| Some(if word == TOLD { NONE } else { WAITING });
                let was = state.fetch_update(Ordering::Acquire, Ordering::Relaxed, settle);
                (was == Ok(TOLD)).then_some(())
            },
            || (),
            |locked, _| {
                if locked.is_empty() {
                    // Not if somebody has found the queue empty before us and kept a notification. Relaxed: the queue's
                    // lock orders those who go to and from `WAITING`.
                    let _ = state.compare_exchange(WAITING, NONE, Ordering::Relaxed, Ordering::Relaxed);
                }
            },
        );
        waited != Waited::TimedOut
    }

    /// Lets the one go on who has waited longest, or the next who comes.
    ///
    /// # Examples
    /// See [`Notify`].
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn notify_one(&self) {
        let state = &self.waiters.state;
        // Release: what was done before is seen by whoever takes it; also if one is kept already, so that it is an exchange.
        let told = |word| (word != WAITING).then_some(TOLD);
        if state.fetch_update(Ordering::Release, Ordering::Relaxed, told).is_ok() {
            return;
        }
        let mut ready = Ready::new();
        let locked = self.waiters.lock();
        let granted = locked.grant(&mut ready, |_| Some(Grant::Given));
        if locked.is_empty() {
            // Release: as above. Those who were in the queue have left without it, if nobody was granted it.
            state.store(if granted.is_some() { NONE } else { TOLD }, Ordering::Release);
        }
        drop(locked);
        ready.go();
    }

    /// Lets all go on who wait now, in the order in which they came. Nothing is kept for others.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Notify;
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let stop = Arc::new(Notify::new());
    ///     let tasks = [stop.clone(), stop.clone()].map(|stop| gort::go!(move || stop.wait()));
    ///     while !tasks.iter().all(|task| task.is_finished()) {
    ///         stop.notify_all();
    ///         gort::time::sleep(Duration::from_micros(100));
    ///     }
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn notify_all(&self) {
        let state = &self.waiters.state;
        let locked = self.waiters.lock();
        // Relaxed: under the lock nobody goes to or from `WAITING`; the claims pass on what was done before.
        if state.load(Ordering::Relaxed) == WAITING {
            state.store(NONE, Ordering::Relaxed);
            locked.wake_all(Grant::Given);
        }
    }
}

impl Default for Notify {
    fn default() -> Notify {
        Notify::new()
    }
}

//! `AfterFunc`: a closure that runs later, in a coroutine of its own.

use crate::os::clock::{self, Nanos};
use crate::sched::{Later, or_panic};
use std::panic::Location;
use std::time::Duration;

/// A closure that is to run; made by [`Timer::after_func`](super::Timer::after_func).
///
/// Dropping it does not stop it.
///
/// # Examples
/// See [`Timer::after_func`](super::Timer::after_func).
#[derive(Debug)]
pub struct AfterFunc(Later);

impl AfterFunc {
    #[track_caller]
    pub(super) fn new<F>(when: Nanos, f: F) -> AfterFunc
    where
        F: FnOnce() + Send + 'static,
    {
        AfterFunc(or_panic(Later::new(when, Location::caller(), f)))
    }

    /// Stops it: true if the closure will not run, and has been dropped or is about to be (by the runtime, if the caller is
    /// no coroutine of it). False if it has begun, or was stopped before.
    ///
    /// It does not wait for a closure that has begun.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Timer;
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let bell = Timer::after_func(Duration::from_secs(9), || println!("late"));
    ///     assert_eq!((bell.stop(), bell.stop()), (true, false));
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Does not park, if dropping the closure does not. From anywhere.
    pub fn stop(&self) -> bool {
        self.0.stop()
    }

    /// Puts it off, or forward, to `duration` from now: true if it had not begun. Else it does nothing, since a closure runs
    /// once.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Timer;
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let (sender, receiver) = gort::channel::bounded(1);
    ///     let mut bell = Timer::after_func(Duration::from_secs(9), move || sender.send("now").unwrap());
    ///     assert!(bell.reset(Duration::from_millis(1)));
    ///     assert_eq!(receiver.recv(), Ok("now"));
    ///     assert!(!bell.reset(Duration::from_millis(1)));
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn reset(&mut self, duration: Duration) -> bool {
        self.0.reset(clock::after(duration))
    }

    /// Whether it is still to run.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Timer;
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let bell = Timer::after_func(Duration::from_secs(9), || ());
    ///     assert!(bell.is_pending());
    ///     bell.stop();
    ///     assert!(!bell.is_pending());
    /// });
    /// ```
    pub fn is_pending(&self) -> bool {
        self.0.is_pending()
    }
}

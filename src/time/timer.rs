//! `Timer`: a moment that can be waited for and moved.

use super::after_func::AfterFunc;
use super::alarm::{Alarm, When};
use crate::channel::{SelectWaker, Waitable};
use crate::os::clock::{self, NEVER, Nanos};
use std::fmt;
use std::time::{Duration, Instant};

/// Fires once, at a time that can be moved.
///
/// It is a state: from when it fires until it is [reset](Self::reset) or [stopped](Self::stop), [`wait`](Self::wait) returns at once
/// and a select finds it ready, for any number of tasks. There is no message that could be stale: after `stop`
/// or `reset` nobody sees an earlier firing (as with Go's timers since Go 1.23).
///
/// It costs nothing until somebody waits for it, and then what a sleep costs.
///
/// # Examples
/// ```
/// use gort::time::Timer;
/// use std::time::Duration;
///
/// gort::run(|| {
///     let (sender, receiver) = gort::channel::unbounded();
///     let worker = gort::go!(move || (0..3).for_each(|i| sender.send(i).unwrap()));
///     // Ends when nothing has come for 5 ms.
///     let idle = Timer::new(Duration::from_millis(5));
///     let mut messages = 0;
///     loop {
///         gort::select! {
///             recv(receiver) -> message => match message {
///                 Ok(_) => {
///                     messages += 1;
///                     idle.reset(Duration::from_millis(5));
///                 }
///                 Err(_) => break,
///             },
///             wait(idle) => break,
///         }
///     }
///     assert_eq!(messages, 3);
///     worker.join().unwrap();
/// });
/// ```
pub struct Timer(Alarm<Moment>);

#[derive(Debug)]
struct Moment(Nanos);

impl When for Moment {
    fn when(&self) -> Nanos {
        self.0
    }
}

impl Moment {
    /// Whether it is still to come.
    fn is_pending(&self) -> bool {
        self.0 != NEVER && !clock::has_passed(self.0)
    }
}

impl Timer {
    /// A timer that fires in `duration`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    /// let start = Instant::now();
    /// gort::time::Timer::new(Duration::from_millis(2)).wait();
    /// assert!(start.elapsed() >= Duration::from_millis(2));
    /// ```
    pub fn new(duration: Duration) -> Timer {
        Timer(Alarm::new(Moment(clock::after(duration))))
    }

    /// A timer that fires at `instant`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    /// let when = Instant::now() + Duration::from_millis(2);
    /// gort::time::Timer::at(when).wait();
    /// assert!(Instant::now() >= when);
    /// ```
    pub fn at(instant: Instant) -> Timer {
        Timer(Alarm::new(Moment(clock::at(instant))))
    }

    /// Runs `f` in `duration`, in a coroutine of its own, unless it is stopped before.
    ///
    /// Until then there is no coroutine's stack, only its record. The handle can be dropped: `f` runs all the same. What is still
    /// to come when the runtime ends is dropped.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Timer;
    /// use std::time::Duration;
    ///
    /// gort::run(|| {
    ///     let (sender, receiver) = gort::channel::unbounded();
    ///     let never = Timer::after_func(Duration::from_secs(9), { let sender = sender.clone(); move || sender.send(9).unwrap() });
    ///     Timer::after_func(Duration::from_millis(1), move || sender.send(1).unwrap());
    ///     assert_eq!(receiver.recv(), Ok(1));
    ///     assert!(never.stop());
    ///     assert!(receiver.recv().is_err(), "both closures have gone");
    /// });
    /// ```
    ///
    /// # Panics
    /// Where [`spawn`](crate::spawn) does; on a plain thread, for one.
    ///
    /// # Scheduling
    /// Does not park.
    #[track_caller]
    pub fn after_func<F>(duration: Duration, f: F) -> AfterFunc
    where
        F: FnOnce() + Send + 'static,
    {
        AfterFunc::new(clock::after(duration), f)
    }

    /// Waits until it has fired; returns at once if it has. For a timer that is stopped: until it is reset and has fired.
    ///
    /// # Examples
    /// See [`Timer::new`].
    ///
    /// # Scheduling
    /// Parks the coroutine; may be cancelled. Blocks a plain thread.
    pub fn wait(&self) {
        self.0.wait(|moment, now| (moment.0 <= now && moment.0 != NEVER).then_some(()));
    }

    /// Whether it has fired.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Timer;
    /// use std::time::Duration;
    /// assert!(Timer::new(Duration::ZERO).has_fired());
    /// assert!(!Timer::new(Duration::from_secs(9)).has_fired());
    /// ```
    pub fn has_fired(&self) -> bool {
        self.0.is_due()
    }

    /// Stops it: true if that was before it fired. After this it has not fired, and does not.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Timer;
    /// use std::time::Duration;
    /// let timer = Timer::new(Duration::from_secs(9));
    /// assert_eq!((timer.stop(), timer.stop()), (true, false));
    /// ```
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn stop(&self) -> bool {
        self.0.change(|moment| std::mem::replace(moment, Moment(NEVER)).is_pending())
    }

    /// Lets it fire in `duration` from now, whether it has fired, was stopped or is still to fire: true in the last case.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Timer;
    /// use std::time::Duration;
    /// let timer = Timer::new(Duration::from_secs(9));
    /// assert!(timer.reset(Duration::from_millis(1)));
    /// timer.wait();
    /// assert!(!timer.reset(Duration::from_secs(9)));
    /// assert!(!timer.has_fired());
    /// ```
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn reset(&self, duration: Duration) -> bool {
        let when = clock::after(duration);
        self.0.change(|moment| std::mem::replace(moment, Moment(when)).is_pending())
    }
}

/// Ready when it has fired.
impl Waitable for Timer {
    fn is_ready(&self) -> bool {
        self.has_fired()
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        self.0.watch(waker.waiter())
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.0.unwatch(waker.waiter());
    }
    fn ready_at(&self) -> Option<Instant> {
        clock::instant(self.0.lock().0.0)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("fired", &self.has_fired()).finish_non_exhaustive()
    }
}

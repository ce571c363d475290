//! `timeout`: a closure that must not take longer. How it is ended is said in `sched/bound.rs`.

use super::deadline::Deadline;
use crate::os::clock::{self, Nanos};
use crate::sched::bound;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// The time of a [`timeout`] was over before the closure had returned.
///
/// # Examples
/// ```
/// use gort::time::{Elapsed, sleep, timeout};
/// use std::time::Duration;
///
/// fn work() -> std::io::Result<()> {
///     timeout(Duration::from_millis(1), || sleep(Duration::from_secs(9)))?;
///     Ok(())
/// }
/// assert_eq!(work().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was over")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs `f`, in the calling coroutine, for at most `duration`.
///
/// When the time is over the call in which `f` waits unwinds: destructors run, as when a coroutine is
/// [cancelled](crate::JoinHandle::cancel), and the unwinding ends here. What `f` has changed outside stays as it is
/// then. An operation that did not return has had no effect: nothing was sent or received, no lock was
/// taken.
///
/// It takes effect where `f` waits, and where it lets others run ([`yield_now`](crate::yield_now)). What `f` computes
/// goes on to the next such place; if `f` returns without one, its value is returned, however late.
/// It has no effect inside a [`shield`](crate::shield), while a coroutine is panicking, on what `f` has spawned, and on
/// [`blocking`](crate::blocking) calls and the end of a [`scope`](crate::scope), which must be waited for.
///
/// Timeouts may be nested: the outermost whose time is over ends. A cancel of the coroutine, and a panic of `f`, pass through. With
/// `panic = "abort"`, where nothing unwinds, a timeout that takes effect ends the process, with a message.
///
/// # Examples
/// ```
/// use gort::channel;
/// use gort::time::{Elapsed, timeout};
/// use std::time::Duration;
///
/// gort::run(|| {
///     let (sender, receiver) = channel::unbounded();
///     sender.send(1).unwrap();
///     let mut sum = 0;
///     let result = timeout(Duration::from_millis(5), || loop {
///         sum += receiver.recv().unwrap();
///     });
///     assert_eq!((result, sum), (Err::<(), _>(Elapsed), 1));
///     assert_eq!(timeout(Duration::from_secs(9), || 2), Ok(2));
/// });
/// ```
///
/// # Errors
/// [`Elapsed`] if `f` was ended.
///
/// # Panics
/// If `f` does.
///
/// # Scheduling
/// Does not park by itself. The waits of `f` cost a timer each. On a plain thread it ends the waits of this crate, too, but for
/// [`park`](crate::park), which is std's there.
pub fn timeout<T>(duration: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    within(clock::after(duration), f)
}

/// [`timeout`], but until a given moment.
///
/// # Examples
/// ```
/// use gort::time::{Deadline, sleep, timeout_at};
/// use std::time::Duration;
///
/// let deadline = Deadline::after(Duration::from_millis(2));
/// assert!(timeout_at(deadline, || 1).is_ok());
/// assert!(timeout_at(deadline, || sleep(Duration::from_secs(9))).is_err());
/// ```
///
/// # Errors
/// As [`timeout`].
///
/// # Panics
/// As [`timeout`].
///
/// # Scheduling
/// As [`timeout`].
pub fn timeout_at<T>(deadline: impl Into<Deadline>, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    within(deadline.into().nanos(), f)
}

fn within<T>(deadline: Nanos, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    bound::bound(deadline, None, None, f).ok_or(Elapsed)
}

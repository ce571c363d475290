//! `Deadline`: one moment for several calls.

use crate::os::clock::{self, NEVER, Nanos};
use std::time::{Duration, Instant};

/// So far from now that it does not come.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A point in time by which something is to be done, or [`NEVER`](Self::NEVER).
///
/// It is made once, from a duration, and then given to each of several calls: as an [`Instant`]
/// ([`instant`](Self::instant)) to all that end in `_deadline` or `_until`, as what
/// [remains](Self::remaining) to those that take a timeout, itself to
/// [`timeout_at`](super::timeout_at) and to
/// [`Context::with_deadline`](crate::context::Context::with_deadline).
///
/// # Examples
/// ```
/// use gort::channel;
/// use gort::time::Deadline;
/// use std::time::Duration;
///
/// let (sender, receiver) = channel::unbounded();
/// sender.send(1).unwrap();
/// let deadline = Deadline::after(Duration::from_millis(5));
/// let mut received = Vec::new();
/// // All together take 5 ms at most.
/// while let Ok(message) = receiver.recv_deadline(deadline.instant()) {
///     received.push(message);
/// }
/// assert_eq!(received, [1]);
/// assert!(deadline.has_passed());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// One that does not pass.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Deadline;
    /// assert!(!Deadline::NEVER.has_passed());
    /// ```
    pub const NEVER: Deadline = Deadline(None);

    /// The moment `duration` from now; [`NEVER`](Self::NEVER) if that is beyond what the clock can count.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Deadline;
    /// use std::time::Duration;
    /// assert!(Deadline::after(Duration::ZERO).has_passed());
    /// assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
    /// ```
    pub fn after(duration: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(duration))
    }

    /// The moment `instant`.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Deadline;
    /// let now = std::time::Instant::now();
    /// assert_eq!(Deadline::at(now).instant(), now);
    /// ```
    pub const fn at(instant: Instant) -> Deadline {
        Deadline(Some(instant))
    }

    /// The moment, for calls that take one. That of [`NEVER`](Self::NEVER) is a hundred years ahead.
    ///
    /// # Examples
    /// ```
    /// use gort::time::{Deadline, sleep_until};
    /// use std::time::Duration;
    /// sleep_until(Deadline::after(Duration::from_millis(1)).instant());
    /// ```
    pub fn instant(self) -> Instant {
        self.0.unwrap_or_else(|| Instant::now() + FAR)
    }

    /// What is left until then: nothing if it has passed, [`Duration::MAX`] if it does not pass.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Deadline;
    /// use std::time::Duration;
    /// let deadline = Deadline::after(Duration::from_secs(9));
    /// assert!(deadline.remaining() <= Duration::from_secs(9));
    /// assert_eq!(Deadline::NEVER.remaining(), Duration::MAX);
    /// ```
    pub fn remaining(self) -> Duration {
        self.0.map_or(Duration::MAX, |instant| instant.saturating_duration_since(Instant::now()))
    }

    /// Whether it has passed.
    ///
    /// # Examples
    /// See [`Deadline`].
    pub fn has_passed(self) -> bool {
        self.0.is_some_and(|instant| instant <= Instant::now())
    }

    /// The earlier of two.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Deadline;
    /// use std::time::Duration;
    /// let soon = Deadline::after(Duration::from_secs(1));
    /// assert_eq!(Deadline::NEVER.min(soon), soon);
    /// ```
    pub fn min(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Deadline(Some(a.min(b))),
            (a, b) => Deadline(a.or(b)),
        }
    }

    pub(crate) fn nanos(self) -> Nanos {
        self.0.map_or(NEVER, clock::at)
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Deadline {
        Deadline::at(instant)
    }
}

impl From<Deadline> for Instant {
    fn from(deadline: Deadline) -> Instant {
        deadline.instant()
    }
}

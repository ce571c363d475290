//! Channels whose messages come from the clock: `after`, `at`, `tick`, `never`.
//!
//! Promise: such a channel costs no coroutine, no thread and, while nobody waits for it, no timer.
//!
//! It is a channel like others in which no message ever lies. When a receive finds nothing it asks the
//! [`Timer`], which compares the clock with the time of the next message; that time is one word, and
//! who moves it on by a compare-and-swap has the message. Nobody sends, so nobody wakes a
//! receiver: who waits does so with a deadline of its own and then asks again. Of several receivers
//! that wait for one message each wakes, one has it and the others wait for the next.
//!
//! Receivers still join the queue of the channel, because `close` ends their waits.

use super::chan::Chan;
use super::receiver::Receiver;
use crate::os::clock::{self, NEVER, Nanos};
use crate::shim::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the next message comes; see the module.
#[derive(Debug)]
pub(super) struct Timer {
    /// The time of the first message; None if none ever comes.
    first: Option<Instant>,
    /// The next message, in nanoseconds after the first; `u64::MAX` if none comes any more.
    next: AtomicU64,
    /// Nanoseconds from one to the next; `u64::MAX` if there is only one.
    period: u64,
}

impl Timer {
    pub(super) fn never() -> Timer {
        Timer { first: None, next: AtomicU64::new(u64::MAX), period: u64::MAX }
    }

    fn once(at: Option<Instant>) -> Timer {
        Timer { first: at, next: AtomicU64::new(0), period: u64::MAX }
    }

    fn every(period: Duration) -> Timer {
        Timer {
            first: Instant::now().checked_add(period),
            next: AtomicU64::new(0),
            period: u64::try_from(period.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The time of the next message.
    fn next(&self, next: u64) -> Option<Instant> {
        if next == u64::MAX { None } else { self.first?.checked_add(Duration::from_nanos(next)) }
    }

    fn load(&self) -> u64 {
        // Relaxed: the word stands for itself; who changes it publishes nothing else by it.
        self.next.load(Ordering::Relaxed)
    }

    /// When a receiver should ask again.
    pub(super) fn deadline(&self) -> Nanos {
        self.next(self.load()).map_or(NEVER, clock::at)
    }

    /// Whether there is a message.
    pub(super) fn is_due(&self) -> bool {
        self.next(self.load()).is_some_and(|next| next <= Instant::now())
    }

    /// Takes the message if there is one.
    fn take(&self) -> Option<Instant> {
        let mut next = self.load();
        loop {
            let time = self.next(next)?;
            let now = Instant::now();
            if now < time {
                return None;
            }
            // Messages that nobody took in time are left out, as nobody asked for their sake.
            let late = u64::try_from((now - time).as_nanos()).unwrap_or(u64::MAX);
            let following = next.saturating_add(late).saturating_add(self.period);
            // Relaxed: see `load`.
            match self.next.compare_exchange(next, following, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(time),
                Err(other) => next = other,
            }
        }
    }

    /// [`Self::take`], to a place.
    ///
    /// # Safety
    /// `T` is [`Instant`] unless no message ever comes, and `out` valid for writes.
    pub(super) unsafe fn take_to<T>(&self, out: *mut T) -> bool {
        let Some(time) = self.take() else { return false };
        debug_assert_eq!(size_of::<T>(), size_of::<Instant>());
        // SAFETY: the caller's promise.
        unsafe { out.cast::<Instant>().write(time) };
        true
    }
}

fn receiver_of(timer: Timer) -> Receiver<Instant> {
    // SAFETY: a new channel of this kind has one receiver's handle, which this is. Its messages are instants.
    unsafe { Receiver::from_raw(Chan::allocate_timer(1, timer)) }
}

/// Makes a channel that brings one message, the time, when `duration` has passed.
///
/// The message is the time at which it was due, however late it is received. After it the channel is
/// empty for ever; it is never disconnected.
///
/// # Examples
///
/// ```
/// use gort::channel::{after, unbounded};
/// use std::time::Duration;
///
/// let (_sender, receiver) = unbounded::<u8>();
/// let timeout = after(Duration::from_millis(5));
/// gort::select! {
///     recv(receiver) -> _ => unreachable!("nothing was sent"),
///     recv(timeout) -> time => println!("nothing came until {time:?}"),
/// }
/// ```
///
/// # Scheduling
///
/// Does not park. Costs no timer until somebody waits for the message.
pub fn after(duration: Duration) -> Receiver<Instant> {
    receiver_of(Timer::once(Instant::now().checked_add(duration)))
}

/// Makes a channel that brings one message, `when`, at that time.
///
/// After it the channel is empty for ever; it is never disconnected.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let when = Instant::now() + Duration::from_millis(5);
/// let receiver = gort::channel::at(when);
/// assert_eq!(receiver.recv(), Ok(when));
/// assert!(Instant::now() >= when);
/// assert!(receiver.try_recv().is_err());
/// ```
///
/// # Scheduling
///
/// As [`after`].
pub fn at(when: Instant) -> Receiver<Instant> {
    receiver_of(Timer::once(Some(when)))
}

/// Makes a channel that brings a message, the time, once in each `duration`.
///
/// It holds one message: those that nobody received in time are left out, and the next one comes
/// `duration` after the late one was received. It is never disconnected.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let ticks = gort::channel::tick(Duration::from_millis(2));
/// for n in 1..=3 {
///     assert!(ticks.recv().unwrap() >= start + n * Duration::from_millis(2));
/// }
/// ```
///
/// # Scheduling
///
/// As [`after`].
pub fn tick(duration: Duration) -> Receiver<Instant> {
    receiver_of(Timer::every(duration))
}

/// Makes a channel that never brings a message and is never disconnected.
///
/// # Examples
///
/// A timeout that there may be or not:
///
/// ```
/// use gort::channel::{after, never};
/// use std::time::Duration;
///
/// let limit: Option<Duration> = Some(Duration::from_millis(5));
/// let timeout = limit.map_or_else(never, after);
/// let (_sender, receiver) = gort::channel::unbounded::<u8>();
/// gort::select! {
///     recv(receiver) -> _ => unreachable!("nothing was sent"),
///     recv(timeout) -> _ => {}
/// }
/// ```
///
/// # Scheduling
///
/// Does not park.
pub fn never<T>() -> Receiver<T> {
    // SAFETY: as in `receiver_of`; no message ever comes.
    unsafe { Receiver::from_raw(Chan::allocate_timer(0, Timer::never())) }
}

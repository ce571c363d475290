//! When the messages of a channel come that come from the clock: of `after`, `at`, `tick`, `never`.
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

    pub(super) fn once(at: Option<Instant>) -> Timer {
        Timer { first: at, next: AtomicU64::new(0), period: u64::MAX }
    }

    pub(super) fn every(period: Duration) -> Timer {
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

    /// When there is a message.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next(self.load())
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
            // A message that is taken before the next is due does not put that off, so that ticks do not drift. Those that nobody
            // took in time are left out, as nobody asked for their sake.
            let late = u64::try_from((now - time).as_nanos()).unwrap_or(u64::MAX);
            let from = if late < self.period { next } else { next.saturating_add(late) };
            let following = from.saturating_add(self.period);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes second, by the first one's time, if the first is taken `late`.
    fn second(late: Duration, period: Duration) -> Duration {
        let first = Instant::now() - late;
        let ticks = Timer { first: Some(first), ..Timer::every(period) };
        assert_eq!(ticks.take(), Some(first));
        ticks.next_at().expect("it goes on") - first
    }

    #[test]
    fn ticks_do_not_drift_and_those_missed_are_left_out() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        assert_eq!(second(minute, hour), hour);
        assert_eq!(second(hour - minute, hour), hour);
        assert!((2 * hour..2 * hour + minute).contains(&second(hour, hour)));
        assert!((3 * hour..3 * hour + minute).contains(&second(2 * hour, hour)));
        // Always due.
        assert!(second(hour, Duration::ZERO) >= hour);
    }

    #[test]
    fn one_message_is_followed_by_none() {
        let once = Timer::once(Some(Instant::now()));
        assert!(once.is_due() && once.take().is_some());
        assert!(!once.is_due() && once.take().is_none() && once.next_at().is_none());
    }
}

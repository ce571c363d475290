//! `Ticker`: something that is due again and again.
//!
//! A tick is taken by moving the moment on, under the lock: so of several tasks one has it. How far it is moved is
//! what [`MissedTicks`] says.

use super::alarm::{Alarm, When};
use crate::channel::{SelectWaker, Waitable};
use crate::os::clock::{self, NEVER, Nanos};
use std::fmt;
use std::time::{Duration, Instant};

/// What a [`Ticker`] does about ticks that nobody took in time. The names are those of tokio.
///
/// # Examples
/// ```
/// use gort::time::{MissedTicks, Ticker};
/// use std::time::Duration;
///
/// let period = Duration::from_millis(2);
/// let ticker = Ticker::new(period).missed(MissedTicks::Burst);
/// std::thread::sleep(5 * period);
/// // All that were missed come at once.
/// assert!((0..5).all(|_| ticker.try_tick().is_some()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MissedTicks {
    /// They are left out: one comes at once, the next at the next multiple of the period. As in Go.
    #[default]
    Skip,
    /// They come at once, one after the other, until none is missed.
    Burst,
    /// One comes at once, the next a period later.
    Delay,
}

/// Ticks once in each period.
///
/// The first tick comes a period after it was made. Each goes to one task.
///
/// # Examples
/// ```
/// use gort::time::Ticker;
/// use std::time::{Duration, Instant};
///
/// gort::run(|| {
///     let (start, period) = (Instant::now(), Duration::from_millis(2));
///     let ticker = Ticker::new(period);
///     for n in 1..=3 {
///         assert!(ticker.tick().is_some());
///         assert!(start.elapsed() >= n * period);
///     }
///     ticker.stop();
///     assert!(ticker.tick().is_none());
/// });
/// ```
pub struct Ticker(Alarm<Ticks>);

#[derive(Debug)]
struct Ticks {
    /// The next one.
    next: Nanos,
    period: Nanos,
    missed: MissedTicks,
    stopped: bool,
}

impl When for Ticks {
    fn when(&self) -> Nanos {
        self.next
    }
}

impl Ticks {
    /// Takes the tick that is due, and says when it was.
    fn take(&mut self, now: Nanos) -> Option<Nanos> {
        let due = self.next;
        if due > now || due == NEVER {
            return None;
        }
        self.next = match self.missed {
            MissedTicks::Skip => now.saturating_add(self.period - (now - due) % self.period),
            MissedTicks::Burst => due.saturating_add(self.period),
            MissedTicks::Delay => now.saturating_add(self.period),
        };
        Some(due)
    }
}

fn nanos(period: Duration) -> Nanos {
    assert!(!period.is_zero(), "the period of a ticker is zero");
    u64::try_from(period.as_nanos()).unwrap_or(NEVER)
}

impl Ticker {
    /// A ticker that ticks once in each `period`.
    ///
    /// # Examples
    /// See [`Ticker`].
    ///
    /// # Panics
    /// If the period is zero.
    pub fn new(period: Duration) -> Ticker {
        let period = nanos(period);
        let next = clock::now().saturating_add(period);
        Ticker(Alarm::new(Ticks { next, period, missed: MissedTicks::Skip, stopped: false }))
    }

    /// The same ticker with another way to deal with missed ticks.
    ///
    /// # Examples
    /// See [`MissedTicks`].
    pub fn missed(self, missed: MissedTicks) -> Ticker {
        self.0.change(|ticks| ticks.missed = missed);
        self
    }

    /// Waits for the next tick and returns the time when it was due; None if the ticker is or gets stopped.
    ///
    /// # Examples
    /// See [`Ticker`].
    ///
    /// # Scheduling
    /// Parks the coroutine, unless a tick is due; may be cancelled. Blocks a plain thread.
    pub fn tick(&self) -> Option<Instant> {
        let due = self.0.wait(|ticks, now| if ticks.stopped { Some(None) } else { ticks.take(now).map(Some) })?;
        clock::instant(due)
    }

    /// Takes a tick that is due; None if none is.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let ticker = gort::time::Ticker::new(Duration::from_secs(9));
    /// assert!(ticker.try_tick().is_none());
    /// ```
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn try_tick(&self) -> Option<Instant> {
        let now = clock::now();
        let due = self.0.lock().0.take(now)?;
        clock::instant(due)
    }

    /// Stops it: no tick comes any more, and those who wait for one return.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Ticker;
    /// use std::time::Duration;
    /// let ticker = Ticker::new(Duration::from_secs(9));
    /// std::thread::scope(|s| {
    ///     let waits = s.spawn(|| ticker.tick());
    ///     ticker.stop();
    ///     assert!(waits.join().unwrap().is_none());
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn stop(&self) {
        self.0.change(|ticks| {
            ticks.next = NEVER;
            ticks.stopped = true;
        });
    }

    /// Begins anew with another period, also if it was stopped. The next tick comes a period from now.
    ///
    /// # Examples
    /// ```
    /// use gort::time::Ticker;
    /// use std::time::Duration;
    /// let ticker = Ticker::new(Duration::from_secs(9));
    /// ticker.reset(Duration::from_millis(1));
    /// assert!(ticker.tick().is_some());
    /// ```
    ///
    /// # Panics
    /// If the period is zero.
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
    pub fn reset(&self, period: Duration) {
        let period = nanos(period);
        let next = clock::now().saturating_add(period);
        self.0.change(|ticks| {
            (ticks.next, ticks.period, ticks.stopped) = (next, period, false);
        });
    }
}

/// Ready when a tick is due, which [`Ticker::try_tick`] then takes, if nobody is faster.
impl Waitable for Ticker {
    fn is_ready(&self) -> bool {
        self.0.is_due()
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        self.0.watch(waker.waiter())
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.0.unwatch(waker.waiter());
    }
    fn ready_at(&self) -> Option<Instant> {
        clock::instant(self.0.lock().0.next)
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.lock();
        let (period, missed, stopped) = (Duration::from_nanos(held.0.period), held.0.missed, held.0.stopped);
        drop(held);
        f.debug_struct("Ticker").field("period", &period).field("missed", &missed).field("stopped", &stopped).finish()
    }
}

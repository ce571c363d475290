//! The channels whose messages come from the clock; `clock.rs` says how.

use super::chan::Chan;
use super::clock::Timer;
use super::receiver::Receiver;
use std::time::{Duration, Instant};

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
/// It holds one message. One that is received before the next is due does not put that off; those that
/// nobody received in time are left out, and the next one comes `duration` after the late one was
/// received. It is never disconnected.
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

//! Sleeping. A coroutine that sleeps costs its stack and a timer, no thread.

use crate::os::clock::{self, Nanos};
use crate::sched::cancel;
use crate::sched::wait::{self, WaitReason, Wake};
use std::time::{Duration, Instant};

/// Parks the coroutine for at least `duration`. If that is zero it is
/// [`yield_now`](crate::yield_now).
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// gort::run(|| {
///     let start = Instant::now();
///     gort::time::sleep(Duration::from_millis(5));
///     assert!(start.elapsed() >= Duration::from_millis(5));
/// });
/// ```
///
/// # Scheduling
/// Parks the coroutine; may be cancelled. Blocks a plain thread.
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return crate::yield_now();
    }
    sleep_to(clock::after(duration));
}

/// Parks the coroutine until `deadline`. If that has passed it returns soon, after others that are ready
/// may have had a turn.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// gort::run(|| {
///     let mut tick = Instant::now();
///     for _ in 0..3 {
///         tick += Duration::from_millis(1);
///         gort::time::sleep_until(tick);
///         assert!(Instant::now() >= tick);
///     }
/// });
/// ```
///
/// # Scheduling
/// Parks the coroutine; may be cancelled. Blocks a plain thread.
pub fn sleep_until(deadline: Instant) {
    sleep_to(clock::at(deadline));
}

fn sleep_to(deadline: Nanos) {
    crate::sched::checkpoint();
    if wait::begin().park(WaitReason::Sleep, deadline) == Wake::Cancel {
        cancel::unwind();
    }
}

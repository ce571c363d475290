//! Time: sleeping.

use crate::os::clock::{self, Nanos};
use crate::sched::cancel;
use crate::sched::wait::{self, WaitReason, Wake};
use std::time::{Duration, Instant};

/// Parks the coroutine for at least `duration`.
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
/// Parks the coroutine; blocks a plain thread.
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return crate::yield_now();
    }
    sleep_to(clock::after(duration));
}

/// Parks the coroutine until `deadline`; returns at once if that has passed.
///
/// # Scheduling
/// Parks the coroutine; blocks a plain thread.
pub fn sleep_until(deadline: Instant) {
    sleep_to(clock::at(deadline));
}

fn sleep_to(deadline: Nanos) {
    crate::sched::checkpoint();
    if wait::begin().park(WaitReason::Sleep, deadline) == Wake::Cancel {
        cancel::unwind();
    }
}

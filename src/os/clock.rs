//! The monotonic clock, in nanoseconds.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Nanoseconds of `CLOCK_MONOTONIC`; a time that never comes is [`NEVER`].
pub(crate) type Nanos = u64;

/// A deadline that never passes.
pub(crate) const NEVER: Nanos = u64::MAX;

/// Reads `CLOCK_MONOTONIC` (about 30 ns by the vDSO).
pub(crate) fn now() -> Nanos {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec that the call fills in.
    let r = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    debug_assert_eq!(r, 0, "CLOCK_MONOTONIC is always there");
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Whether `time` has passed. Cheaper than [`now`] if it is more than a second ahead: the clock of the last tick tells
/// that as well (`CLOCK_MONOTONIC_COARSE`, 5 ns), which is never ahead of the other.
pub(crate) fn has_passed(time: Nanos) -> bool {
    const FAR: Nanos = 1_000_000_000;
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec that the call fills in.
    let r = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut ts) };
    let tick = ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64;
    // More than a second, because the tick may be late where CPUs are lent out. Without such a clock: the other.
    (r != 0 || time <= tick.saturating_add(FAR)) && time <= now()
}

/// What the calling thread has had of a CPU (`CLOCK_THREAD_CPUTIME_ID`, a system call: 200 ns). Async-signal-safe.
pub(crate) fn thread_cpu() -> Nanos {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid timespec that the call fills in.
    let r = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut ts) };
    debug_assert_eq!(r, 0, "CLOCK_THREAD_CPUTIME_ID is always there");
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// The time `after` from now; [`NEVER`] if that is beyond what the clock can count.
pub(crate) fn after(after: Duration) -> Nanos {
    match u64::try_from(after.as_nanos()) {
        Ok(ns) => now().saturating_add(ns),
        Err(_) => NEVER,
    }
}

/// The same moment as `instant`, whose own representation std keeps to itself.
pub(crate) fn at(instant: Instant) -> Nanos {
    // std's clock is read first, so that the deadline is never earlier than asked for.
    after(instant.saturating_duration_since(Instant::now()))
}

/// [`after`]; None if that is now.
pub(crate) fn later(time: Duration) -> Option<Nanos> {
    (!time.is_zero()).then(|| after(time))
}

/// [`at`]; None if that has passed.
pub(crate) fn ahead(instant: Instant) -> Option<Nanos> {
    (instant > Instant::now()).then(|| at(instant))
}

/// The same moment for std, or one that is a little later: never earlier. None if it never comes, or is beyond what std can
/// count.
pub(crate) fn instant(time: Nanos) -> Option<Instant> {
    if time == NEVER {
        return None;
    }
    let (then, std) = *MOMENT;
    if time >= then {
        std.checked_add(Duration::from_nanos(time - then))
    } else {
        std.checked_sub(Duration::from_nanos(then - time))
    }
}

/// A moment as it is here, and as it is for std, which reads the same clock. One for all, so that two moments are as far apart there
/// as they are here.
static MOMENT: LazyLock<(Nanos, Instant)> = LazyLock::new(|| {
    // Ours is read first: what passes between the two makes the other later. Where the thread has lost its CPU that was much.
    let read = || {
        let (here, std) = (now(), Instant::now());
        (now() - here, (here, std))
    };
    let (_, moment) = (0..16).map(|_| read()).min_by_key(|(took, _)| *took).expect("there are some");
    moment
});

/// The kernel's form of a time or a span.
pub(crate) fn timespec(ns: Nanos) -> libc::timespec {
    libc::timespec { tv_sec: (ns / 1_000_000_000) as libc::time_t, tv_nsec: (ns % 1_000_000_000) as libc::c_long }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_as_far_apart_for_std() {
        let (start, since) = (now(), Instant::now());
        for ns in [0, 1, 1_000, 1_000_000_000] {
            let [one, other] = [start, start + ns].map(|time| instant(time).unwrap());
            assert_eq!(other - one, Duration::from_nanos(ns));
        }
        let after = now();
        assert!(instant(after).unwrap() >= since);
        assert_eq!(instant(NEVER), None);
    }
}

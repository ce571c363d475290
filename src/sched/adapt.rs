//! A number of Ps that follows the load, for runtimes that ask for it (`RuntimeBuilder::adapt_procs`).
//!
//! The load is how many Ps were held on average. Once a period sysmon looks: more than nine tenths of all, and there is
//! one more; less than half of what one fewer could bear, for five periods, and there is one fewer. So after either
//! step the load is far from where the other is taken: a load that does not change never makes the number go up and down.
//!
//! How long each P was held is counted where it is taken and given up (`idle.rs`), so sysmon may sleep meanwhile:
//! what it missed was idle time, and one long look is as good as many.

use super::runtime::Shared;
use crate::os::clock::Nanos;
use crate::os::debug;
use std::ops::RangeInclusive;

/// From look to look.
const PERIOD_NS: Nanos = 3_000_000_000;
/// Periods of little load before there is one P fewer.
const PATIENCE: Nanos = 5;
/// Part of the Ps that must be busy on average before there is one more.
const HIGH: f64 = 0.9;
/// Part of the Ps that would be left of which the load must stay below.
const LOW: f64 = 0.5;

/// What the builder said.
#[derive(Debug)]
pub(crate) struct Adapt {
    range: RangeInclusive<usize>,
    period_ns: Nanos,
}

/// What sysmon remembers.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// When it last looked, and for how long Ps had been held by then.
    looked: Nanos,
    held_ns: Nanos,
    /// For how long the load has been low.
    low_ns: Nanos,
}

impl Adapt {
    /// Between so many and so many Ps. `GORT_DEBUG=adapt=10` makes the periods 10 ms long.
    pub(crate) fn new(range: RangeInclusive<usize>) -> Adapt {
        let period_ns =
            debug::value("adapt").and_then(|ms| ms.parse().ok()).map_or(PERIOD_NS, |ms: u64| ms * 1_000_000);
        Adapt { range, period_ns }
    }

    /// Changes the number of `rt`'s Ps if it is time.
    pub(crate) fn look(&self, rt: &Shared, course: &mut Course, now: Nanos) {
        if now - course.looked >= self.period_ns {
            let held_ns = (0..rt.ps.len()).map(|index| rt.busy_time(index)).sum();
            if let Some(procs) = self.decide(course, now, held_ns, rt.procs()) {
                rt.resize_for_sysmon(procs);
            }
        }
    }

    /// How many Ps there are to be instead of `procs`; all together have been held for `held_ns`.
    fn decide(&self, course: &mut Course, now: Nanos, held_ns: Nanos, procs: usize) -> Option<usize> {
        let last = std::mem::replace(course, Course { looked: now, held_ns, low_ns: 0 });
        if last.looked == 0 {
            return None;
        }
        let length = now - last.looked;
        let load = held_ns.saturating_sub(last.held_ns) as f64 / length as f64;
        if load > HIGH * procs as f64 {
            return Some(procs + 1).filter(|more| more <= self.range.end());
        }
        let fewer = procs - 1;
        if load >= LOW * fewer as f64 {
            return None;
        }
        let low_ns = last.low_ns + length;
        if low_ns < PATIENCE * self.period_ns {
            course.low_ns = low_ns;
            return None;
        }
        Some(fewer).filter(|fewer| fewer >= self.range.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for so many periods at a constant load, in hundredths of a P, and does what is decided; the number after each.
    fn under(load: &[(u64, usize)], procs: usize, range: RangeInclusive<usize>) -> Vec<usize> {
        let adapt = Adapt { range, period_ns: 1_000 };
        let mut course = Course::default();
        let (mut now, mut held, mut procs) = (1_000, 0, procs);
        adapt.decide(&mut course, now, held, procs);
        let mut all = Vec::new();
        for &(hundredths, periods) in load {
            for _ in 0..periods {
                now += 1_000;
                held += 10 * hundredths;
                procs = adapt.decide(&mut course, now, held, procs).unwrap_or(procs);
                all.push(procs);
            }
        }
        all
    }

    #[test]
    fn grows_step_by_step_to_the_ceiling() {
        assert_eq!(under(&[(400, 4)], 1, 1..=3), [2, 3, 3, 3]);
        // Two Ps busy for 91 and for 90 hundredths.
        assert_eq!(under(&[(182, 1), (180, 1)], 2, 1..=8), [3, 3]);
        assert_eq!(under(&[(180, 3)], 2, 1..=8), [2, 2, 2]);
    }

    #[test]
    fn shrinks_with_patience_to_the_floor() {
        assert_eq!(under(&[(0, 16)], 4, 2..=8), [4, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2]);
        // Half of what three of the four could bear.
        assert_eq!(under(&[(150, 20)], 4, 1..=8), [4; 20]);
        assert_eq!(under(&[(149, 6)], 4, 1..=8), [4, 4, 4, 4, 3, 3]);
        // Patience begins anew.
        assert_eq!(under(&[(0, 4), (150, 1), (0, 5)], 4, 1..=8), [4, 4, 4, 4, 4, 4, 4, 4, 4, 3]);
        assert_eq!(under(&[(0, 20)], 1, 1..=8), [1; 20]);
    }

    #[test]
    fn a_constant_load_settles() {
        for load in 0..900 {
            let numbers = under(&[(load, 200)], 4, 1..=8);
            let settled = &numbers[100..];
            assert!(settled.iter().all(|&procs| procs == settled[0]), "{load}: {settled:?}");
        }
    }

    #[test]
    fn a_long_sleep_is_one_look() {
        let adapt = Adapt { range: 1..=8, period_ns: 1_000 };
        let mut course = Course::default();
        assert_eq!(adapt.decide(&mut course, 1_000, 0, 4), None);
        assert_eq!(adapt.decide(&mut course, 1_000_000, 0, 4), Some(3));
    }
}

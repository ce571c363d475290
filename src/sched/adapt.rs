//! A number of Ps that nobody has set by hand: it follows what the process may use of the machine, or, for runtimes
//! that ask for it (`RuntimeBuilder::adapt_procs`), the load.
//!
//! # The machine
//!
//! Every three seconds, as long as anything runs, sysmon asks what the mask and the quotas allow (`os::cpus`). Only a change
//! counts, since the mask is sysmon's own and a runtime may have been built on a thread with another: one that was built
//! for fewer CPUs than sysmon saw then never gets more than it was built for.
//!
//! # The load
//!
//! The load is how many Ps were held on average. Once a period sysmon looks: more than nine tenths of all, and there is
//! one more; less than half of what one fewer could bear, for five periods, and there is one fewer. So after either
//! step the load is far from where the other is taken: a load that does not change never makes the number go up and down.
//!
//! How long each P was held is counted where it is taken and given up (`idle.rs`), so sysmon may sleep meanwhile:
//! what it missed was idle time, and one long look is as good as many.

use super::preempt;
use super::runtime::Shared;
use crate::os::clock::Nanos;
use crate::os::cpus::Watcher;
use crate::os::debug;
use std::ops::RangeInclusive;

/// From look to look.
const PERIOD_NS: Nanos = 3_000_000_000;
/// After so many looks it is asked whether the process is in other control groups by now, which is dearer.
const MOVED_EVERY: u32 = 10;
/// Periods of little load before there is one P fewer.
const PATIENCE: Nanos = 5;
/// Part of the Ps that must be busy on average before there is one more.
const HIGH: f64 = 0.9;
/// Part of the Ps that would be left of which the load must stay below.
const LOW: f64 = 0.5;

/// The period, or what `GORT_DEBUG` says under `key`, in milliseconds.
fn period(key: &str) -> Nanos {
    debug::value(key).and_then(|ms| ms.parse().ok()).map_or(PERIOD_NS, |ms: u64| ms.saturating_mul(1_000_000))
}

/// The machine, as sysmon sees it.
#[derive(Debug)]
pub(crate) struct Machine {
    watcher: Watcher,
    period_ns: Nanos,
    looked: Nanos,
    looks: u32,
    cpus: usize,
}

/// What sysmon remembers of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// How many CPUs there were at the last look; 0 before the first.
    seen: usize,
    /// It never gets more than so many Ps.
    most: usize,
}

impl Machine {
    /// Allocates. `GORT_DEBUG=machine=10` makes the periods 10 ms long.
    pub(crate) fn new() -> Machine {
        let watcher = Watcher::new();
        let cpus = watcher.read();
        Machine { watcher, period_ns: period("machine"), looked: 0, looks: 0, cpus }
    }

    /// Asks again if it is time.
    pub(crate) fn look(&mut self, now: Nanos) {
        if now - self.looked < self.period_ns {
            return;
        }
        self.looked = now;
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(MOVED_EVERY) && preempt::is_calm() && self.watcher.has_moved() {
            self.watcher = Watcher::new();
        }
        self.cpus = self.watcher.read();
    }

    /// Changes the number of `rt`'s Ps if that of the CPUs has changed.
    pub(crate) fn lead(&self, rt: &Shared, share: &mut Share) {
        // A process that may use more than a runtime has room for: as many as that.
        if let Some(procs) = share.decide(self.cpus.min(rt.ps.room()), rt.said_procs()) {
            rt.resize_for_sysmon(procs);
        }
    }
}

impl Share {
    /// How many Ps there are to be instead of `procs`, with so many CPUs.
    fn decide(&mut self, cpus: usize, procs: usize) -> Option<usize> {
        match std::mem::replace(&mut self.seen, cpus) {
            0 => self.most = if procs < cpus { procs } else { usize::MAX },
            seen if seen != cpus => return Some(cpus.min(self.most)).filter(|&number| number != procs),
            _ => {}
        }
        None
    }
}

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
        Adapt { range, period_ns: period("adapt") }
    }

    /// Changes the number of `rt`'s Ps if it is time.
    pub(crate) fn look(&self, rt: &Shared, course: &mut Course, now: Nanos) {
        if now - course.looked >= self.period_ns {
            let held_ns = (0..rt.ps.len()).map(|index| rt.busy_time(index)).sum();
            if let Some(procs) = self.decide(course, now, held_ns, rt.said_procs()) {
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
    fn the_machine_leads() {
        // What sysmon sees and the number then, from the look after the first.
        let led = |procs: usize, first: usize, cpus: &[usize]| {
            let (mut share, mut procs) = (Share::default(), procs);
            assert_eq!(share.decide(first, procs), None);
            let all = cpus.iter().map(|&cpus| {
                procs = share.decide(cpus, procs).unwrap_or(procs);
                procs
            });
            all.collect::<Vec<_>>()
        };
        assert_eq!(led(4, 4, &[4, 2, 2, 8, 1, 4]), [4, 2, 2, 8, 1, 4]);
        // Built for fewer.
        assert_eq!(led(2, 4, &[3, 1, 8]), [2, 1, 2]);
        // Built for more: nothing happens before there is a change.
        assert_eq!(led(4, 2, &[2, 3, 8]), [4, 3, 8]);
    }

    #[test]
    fn a_long_sleep_is_one_look() {
        let adapt = Adapt { range: 1..=8, period_ns: 1_000 };
        let mut course = Course::default();
        assert_eq!(adapt.decide(&mut course, 1_000, 0, 4), None);
        assert_eq!(adapt.decide(&mut course, 1_000_000, 0, 4), Some(3));
    }
}

//! What an M that has nothing to run takes from other Ps.
//!
//! A theft costs the owner, too: whoever wants a queue that is not its own makes the owner wait, after a `membarrier`
//! (`biased.rs`). So a P is worth stealing from if its queue is long, or if it stands still: it has been on one coroutine for
//! some time. A short queue that moves is run sooner by its owner than by a thief.
//!
//! Whether a P stands still its tick tells, looked at twice. Not once more: each look takes the line away from the owner, who
//! writes to it at every pick (a hundred looks doubled the time of a `select` between two Ps). And all Ps are looked at before the
//! pause, and all after it, so that a search takes no longer where there are many of them.
//!
//! # Visits
//!
//! Where all Ps are held nobody searches. But the kernel may have taken the CPU from an M, for three milliseconds and more, to give
//! it to another of ours; or a coroutine computes. What is queued there waits for one thread, beside another that goes on. So who
//! goes on quickly looks, every millisecond, at one of the other Ps, and takes half of its queue if it has stood still since
//! the look before. (`echo` with 64 connections on two CPUs, one taken by those who ask: the 99th percentile of latency was 3.3 ms.)
//! Who has long turns itself does not, or Ps that all compute would move their queues around without end.

use super::g::GRef;
use super::p::{self, Local, P};
use super::ps::Ps;
use super::runq::Steal;
use crate::os::clock::Nanos;
use std::ops::ControlFlow;
use std::ptr;
use std::sync::atomic::Ordering;

/// A queue of this length is worth a thief's trouble, however fast it moves.
const WORTH_STEALING: usize = 8;
/// Pauses between two looks at a tick: seven microseconds on the x86 of today, less than a theft costs both.
const STANDSTILL_PAUSES: u32 = 200;
/// So many Ps are looked at together.
const TOGETHER: usize = 64;
/// From visit to visit.
const VISIT_NS: Nanos = 1_000_000;

/// What a P remembers of its last visit to another.
#[derive(Debug, Default)]
pub(super) struct Visit {
    at: Nanos,
    /// Its own tick then.
    tick: u32,
    /// Whom it visits next, and that one's tick.
    whom: usize,
    their_tick: u32,
}

impl P {
    /// Takes half of the queue of the first other P that is worth it.
    ///
    /// # Safety
    /// The calling M holds this P.
    pub(crate) unsafe fn steal(&self, ps: &Ps) -> Option<GRef> {
        // SAFETY: the caller's promise.
        let local = unsafe { self.local() };
        let start = super::random(&mut local.random) as usize;
        for _ in 0..4 {
            let found = ps.find_loot(start, |victim| {
                if ptr::eq(victim, self) {
                    return ControlFlow::Continue(());
                }
                // SAFETY: the caller's promise.
                match unsafe { victim.queue.steal_into(&self.queue, &mut local.loot) } {
                    Steal::Success(g) => ControlFlow::Break(g),
                    Steal::Empty | Steal::Retry => ControlFlow::Continue(()),
                }
            });
            if let ControlFlow::Break(g) = found {
                return Some(g);
            }
            if !ps.iter().any(|p| p.queue.has_queued()) {
                break;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// If a visit is due: takes half of the queue of the P that was noted at the last one, if that stands still since; and notes
    /// another.
    ///
    /// # Safety
    /// The calling M holds this P.
    pub(crate) unsafe fn visit_if_due(&self, ps: &Ps, now: Nanos) -> Option<GRef> {
        // SAFETY: the caller's promise.
        let Local { visit, loot, .. } = unsafe { self.local() };
        let since = now - visit.at;
        if since < VISIT_NS {
            return None;
        }
        visit.at = now;
        // Relaxed, here and below: our own, and signs of life.
        let tick = self.tick.load(Ordering::Relaxed);
        let turns = tick.wrapping_sub(std::mem::replace(&mut visit.tick, tick));
        let made = ps.len();
        let noted = ps.get(visit.whom % made);
        let stands = noted.tick.load(Ordering::Relaxed) == visit.their_tick;
        let mut found = None;
        if stands && !ptr::eq(noted, self) && p::are_quick(turns, since) {
            // SAFETY: the caller's promise.
            if let Steal::Success(g) = unsafe { noted.queue.steal_into(&self.queue, loot) } {
                found = Some(g);
            }
        }
        visit.whom = (noted.index + 1) % made;
        if visit.whom == self.index {
            visit.whom = (visit.whom + 1) % made;
        }
        visit.their_tick = ps.get(visit.whom).tick.load(Ordering::Relaxed);
        found
    }
}

impl Ps {
    /// Whether a P has something queued that another had better take.
    pub(crate) fn has_loot(&self) -> bool {
        self.find_loot(0, |_| ControlFlow::Break(())).is_break()
    }

    /// Tries the Ps that are worth stealing from, from number `start` on.
    fn find_loot<T>(&self, start: usize, mut attempt: impl FnMut(&P) -> ControlFlow<T>) -> ControlFlow<T> {
        let made = self.len();
        for first in (0..made).step_by(TOGETHER) {
            let some = (first..made.min(first + TOGETHER)).map(|offset| self.get((start % made + offset) % made));
            // The ticks of those with short queues.
            let mut ticks = [None; TOGETHER];
            for (p, noted) in some.clone().zip(&mut ticks) {
                match p.queue.len() {
                    0 => {}
                    WORTH_STEALING.. => attempt(p)?,
                    // Relaxed: a sign of life.
                    _ => *noted = Some(p.tick.load(Ordering::Relaxed)),
                }
            }
            if ticks.iter().all(Option::is_none) {
                continue;
            }
            (0..STANDSTILL_PAUSES).for_each(|_| std::hint::spin_loop());
            for (p, noted) in some.zip(ticks) {
                // Relaxed: as above.
                if let Some(tick) = noted
                    && p.tick.load(Ordering::Relaxed) == tick
                {
                    attempt(p)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

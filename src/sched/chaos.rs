//! Chaos, for tests (`--cfg gort_chaos`): what the scheduler may do at any time, it does all the time.
//!
//! - Sysmon preempts whoever it finds, every 50 microseconds, wherever that is.
//! - A coroutine that parks leaves by way of g0, and its M hands the P to another, every second time.
//! - There are fewer Ps than there ought to be, for a moment.
//! - A call into the runtime blocks the thread now and then, up to a millisecond, unannounced.
//!
//! `ci/test.sh chaos` runs the suite like this.

use super::m::M;
use super::p::P;
use super::preempt::{self, Why};
use super::ps::By;
use super::runtime::Shared;
use crate::os::clock::Nanos;
use std::sync::atomic::{AtomicU64, Ordering};

/// A coroutine blocks its thread in one of so many calls.
const CALLS_PER_BLOCK: u64 = 2_000;
/// For how long at most.
const BLOCK_NS: Nanos = 1_000_000;

/// The number of Ps changes at one of so many looks for an errand, and comes back at one of so many.
const LOOKS_PER_CHANGE: u64 = 32;
const LOOKS_PER_RETURN: u64 = 4;

fn random(m: &M) -> u64 {
    let mut state = m.random.get();
    let number = super::random(&mut state);
    m.random.set(state);
    // The low bits of a xorshift are its weak ones.
    number >> 16
}

/// Whether a coroutine that parks is to leave by way of g0.
pub(crate) fn detours(m: &M) -> bool {
    random(m).is_multiple_of(2)
}

/// On g0: hands the P to another M, if there is one.
pub(crate) fn change_m(m: &'static M) {
    if !m.searching.get()
        && detours(m)
        && let Some(p) = m.p.take()
        && !m.rt.give_away(p)
    {
        m.hold(p);
    }
}

fn count_looks() -> u64 {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    LOOKS.fetch_add(1, Ordering::Relaxed)
}

/// Whether it is time for another number of Ps.
pub(crate) fn is_odd(rt: &Shared) -> bool {
    let is_as_said = rt.procs() == rt.ps.said.load(Ordering::Relaxed);
    count_looks().is_multiple_of(if is_as_said { LOOKS_PER_CHANGE } else { LOOKS_PER_RETURN })
}

/// Another number than what was said, or that.
pub(crate) fn change_ps(rt: &Shared) {
    let said = rt.ps.said.load(Ordering::Relaxed);
    if rt.procs() != said {
        rt.resize(said, By::Chaos);
    } else if said > 1 {
        let mut state = count_looks() | 1 << 32;
        for _ in 0..3 {
            super::random(&mut state);
        }
        rt.resize(1 + (state >> 16) as usize % said, By::Chaos);
    }
}

/// A coroutine calls into the runtime.
pub(crate) fn block(m: &M) {
    if random(m).is_multiple_of(CALLS_PER_BLOCK) {
        std::thread::sleep(std::time::Duration::from_nanos(random(m) % BLOCK_NS));
    }
}

/// Sysmon looks at `p`.
pub(crate) fn preempt(rt: &Shared, p: &P) {
    if rt.preemptive {
        // Relaxed: a hint.
        preempt::preempt(rt, p, p.tick.load(Ordering::Relaxed), Why::Ready);
    }
}

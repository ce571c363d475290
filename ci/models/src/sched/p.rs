//! A P: its run queue and its timers.

use super::g::GRef;
use super::home::Home;
use super::runq::{self, RunQueue, Steal};
use super::runtime::Shared;
use super::timers::Timers;
use crate::os::clock;
use crate::shim::atomic::{AtomicU32, Ordering};
use std::ptr;

pub(crate) struct P {
    pub(crate) index: usize,
    pub(crate) queue: RunQueue,
    pub(crate) tick: AtomicU32,
    pub(crate) timers: Timers,
    pub(crate) ended: (),
    local: std::cell::UnsafeCell<Local>,
}

pub(crate) struct Local {
    pub(crate) random: u64,
    loot: Vec<GRef>,
    pub(crate) spares: Vec<&'static Home>,
}

/// Shorter than in earnest.
const WORTH_STEALING: usize = 2;
const STANDSTILL_SPINS: u32 = 0;

unsafe impl Send for P {}
unsafe impl Sync for P {}

impl P {
    pub(crate) fn new(index: usize) -> P {
        let local = std::cell::UnsafeCell::new(Local { random: 0, loot: Vec::new(), spares: Vec::new() });
        P { index, queue: RunQueue::new(), tick: AtomicU32::new(0), timers: Timers::new(), ended: (), local }
    }

    pub(crate) unsafe fn local(&self) -> &mut Local {
        // SAFETY: used by the holder only.
        unsafe { &mut *self.local.get() }
    }

    pub(crate) unsafe fn pick(&self, _: &Shared) -> Option<GRef> {
        // SAFETY: the holder calls it.
        unsafe { self.queue.pop(false) }.map(|(g, _)| g)
    }

    pub(crate) fn count(_: &()) {}

    pub(crate) fn count_pick(&self) {}
}

real!("p_take");

pub(crate) type HeldP = &'static P;

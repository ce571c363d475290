//! A P: its run queue and its timers.

use super::g::GRef;
use super::home::Home;
use super::ps::Service;
use super::runq::RunQueue;
use super::runtime::{Shared, Stacks};
use super::steal::Visit;
use super::timers::Timers;
use crate::os::clock::{self, Nanos};
use crate::shim::asymmetric;
use crate::shim::atomic::{AtomicU32, Ordering};
use std::ptr;

pub(crate) struct P {
    pub(crate) index: usize,
    pub(crate) queue: RunQueue,
    pub(crate) tick: AtomicU32,
    pub(crate) timers: Timers,
    pub(crate) ended: (),
    /// Under a lock, and the checker sees that it is.
    pub(crate) service: loom::cell::Cell<Service>,
    pub(crate) busy_ns: loom::cell::Cell<Nanos>,
    pub(crate) yield_soon: std::sync::atomic::AtomicBool,
    /// Whether `M::hold` was called since it was retired.
    was_held: std::sync::atomic::AtomicBool,
    /// What only the holder touches: how often it has.
    pub(crate) cache: loom::cell::Cell<u32>,
    local: std::cell::UnsafeCell<Local>,
}

pub(crate) struct Local {
    pub(crate) random: u64,
    pub(crate) loot: Vec<GRef>,
    pub(crate) batch: usize,
    turns_since: (Nanos, u32),
    turn_ns: Nanos,
    pub(super) visit: Visit,
    pub(crate) spares: Vec<&'static Home>,
    pub(crate) stacks: Stacks,
}

unsafe impl Send for P {}
unsafe impl Sync for P {}

impl P {
    pub(crate) fn new(index: usize, _: ()) -> P {
        P {
            index,
            queue: RunQueue::new(),
            tick: AtomicU32::new(0),
            timers: Timers::new(),
            ended: (),
            service: loom::cell::Cell::new(Service::Retired),
            busy_ns: loom::cell::Cell::new(0),
            yield_soon: false.into(),
            was_held: false.into(),
            cache: loom::cell::Cell::new(0),
            local: std::cell::UnsafeCell::new(Local {
                random: 0,
                loot: Vec::new(),
                batch: 0,
                turns_since: (0, 0),
                turn_ns: UNKNOWN_TURN_NS,
                visit: Visit::default(),
                spares: Vec::new(),
                stacks: Stacks,
            }),
        }
    }

    /// Models have no sysmon that reads it.
    pub(crate) fn count_pick(&self) -> u32 {
        let tick = self.tick.load(Ordering::Relaxed).wrapping_add(1);
        self.tick.store(tick, Ordering::Relaxed);
        tick
    }

    /// As above.
    pub(crate) fn note_heard(&self, _: u64) {}

    /// As above.
    pub(crate) unsafe fn goes_on(&self, _: &Shared, _: u64) {}

    pub(crate) fn set_holder(&self, m: *const super::m::M) {
        self.was_held.store(!m.is_null(), std::sync::atomic::Ordering::Relaxed);
    }

    /// Not for a holder to be found by: models have no sysmon.
    pub(crate) fn holder(&self) -> *const super::m::M {
        let was_held = self.was_held.load(std::sync::atomic::Ordering::Relaxed);
        if was_held { ptr::NonNull::dangling().as_ptr() } else { ptr::null() }
    }

    /// The holder uses it; also what is left of giving its caches back.
    pub(crate) unsafe fn end(&self, _: &Shared) {
        self.cache.set(self.cache.get() + 1);
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

    pub(crate) fn count_resumption(&self) {}
}

real!("p_quick");
real!("p_note_batch");
real!("p_take");

pub(crate) type HeldP = &'static P;

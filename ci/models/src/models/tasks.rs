//! What the models of waiting coroutines share: one coroutine per thread, one runtime.

use super::World;
use crate::sched::g::{G, GRef, REF};
use crate::sched::m::M;
use crate::sched::runtime::Shared;
use std::cell::OnceCell;
use std::ptr;

/// Coroutines, and an M for each. All Ms have the one P, which none of these models queues on.
pub(super) struct Tasks<T> {
    pub(super) rt: Shared,
    pub(super) gs: Vec<G>,
    ms: Vec<OnceCell<M>>,
    pub(super) shared: T,
}

impl<T: 'static> Tasks<T> {
    pub(super) fn new(count: usize, shared: T) -> World<Tasks<T>> {
        World::new(Tasks {
            rt: Shared::new(1),
            gs: (0..count).map(|_| G::new()).collect(),
            ms: (0..count).map(|_| OnceCell::new()).collect(),
            shared,
        })
    }

    /// Makes the calling thread the coroutine `at`.
    pub(super) fn become_coroutine(&'static self, at: usize) -> GRef {
        let g = self.gs[at].reference();
        self.ms[at].get_or_init(|| M::of(&self.rt, g, Some(self.rt.p(0)))).enter();
        g
    }

    pub(super) fn g(&self, at: usize) -> GRef {
        self.gs[at].reference()
    }

    /// Ends the waits whose deadlines have passed.
    pub(super) fn run_timers(&self) {
        // SAFETY: claimed by `run_due`.
        self.rt.ps.get(0).timers.run_due(crate::os::clock::now, |waiter| unsafe { waiter.ready() });
    }
}

/// The unwinding of a cancelled coroutine, caught where its stack would begin.
pub(super) fn catch_cancel<R>(f: impl FnOnce() -> R) -> Option<R> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<crate::sched::cancel::Cancelled>() => None,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

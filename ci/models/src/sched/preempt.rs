//! Preemption: how a P is lent, taken and given back. Nothing interrupts a model, so its threads do what
//! a handler would.

use super::g::GRef;
use super::m::M;
use super::p::HeldP;
use super::p::P;
use super::runtime::Shared;
use super::{idle, sysmon};
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::futex;
use crate::shim::atomic::{AtomicUsize, Ordering};
use loom::sync::Mutex;
use std::ptr;

real!("preempt_states");
real!("preempt");

/// What a pinned section is in a model that has none of this.
pub(crate) struct Pin;

impl Pin {
    pub(crate) fn new() -> Pin {
        Pin
    }
}

#[derive(Clone, Copy)]
pub(crate) enum HandOver {
    Home(&'static M, GRef),
    Waiting(&'static M),
    Retire,
}

pub(crate) fn is_calm() -> bool {
    true
}

real!("waiting");
real!("offer");
real!("hand_over");
real!("ready_work");
real!("blocking");

impl Shared {
    /// Time stands still: nobody has been suspended for long.
    pub(crate) fn overdue_since(&self, now: Nanos) -> Nanos {
        now.saturating_sub(self.slice_ns)
    }
}

impl M {
    /// A call into the runtime.
    pub(crate) fn call_in(&'static self) {
        if self.run.load(Ordering::Relaxed) != RUNNING {
            self.regain();
        }
    }

    /// As a handler that finds the thread in a system call.
    pub(crate) fn lends(&self) {
        self.lend(self.p(), 0);
    }

    /// As `blocking`.
    pub(crate) fn blocks(&'static self) {
        lend(self);
    }

    /// It is back from where it blocked, and its P is gone.
    pub(crate) fn comes_for_a_p(&'static self) {
        assert!(self.enqueue().is_none());
    }

    /// It sleeps until it has one.
    pub(crate) fn waits(&self) {
        self.await_p(WAITING);
    }

    /// What a handler asks before it suspends the thread a second time.
    pub(crate) fn has_lost_its_p(&self) -> bool {
        // No load: the checker would not let the store come before it.
        self.run.compare_exchange(TAKEN, TAKEN, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// As a handler that finds it in the user's code.
    pub(crate) fn stops(&self) {
        self.in_handler.set(true);
        self.stop();
        self.in_handler.set(false);
    }

    /// As sysmon, which wants the P: what it gets.
    pub(crate) fn attend(&'static self) -> Option<HeldP> {
        let run = self.run.load(Ordering::Acquire);
        match run & STATE {
            SUSPENDED => self.enqueue().or_else(|| self.rt.take_idle_p()),
            LENT => self.retake(run),
            _ => None,
        }
    }
}

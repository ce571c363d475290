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
use std::collections::VecDeque;
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

real!("hand_over");
real!("ready_work");
real!("blocking");

/// The Ms that wait for a P.
pub(crate) struct Queue {
    ms: Mutex<VecDeque<&'static M>>,
    length: AtomicUsize,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue { ms: Mutex::new(VecDeque::new()), length: AtomicUsize::new(0) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Relaxed) == 0
    }

    fn push(&self, m: &'static M) {
        let mut ms = self.ms.lock().unwrap();
        ms.push_back(m);
        self.length.store(ms.len(), Ordering::Relaxed);
    }

    pub(crate) fn pop(&self) -> Option<&'static M> {
        let mut ms = self.ms.lock().unwrap();
        let first = ms.pop_front();
        self.length.store(ms.len(), Ordering::Relaxed);
        first
    }
}

impl Queue {
    /// Who waits has been suspended.
    pub(crate) fn has_back(&self) -> bool {
        false
    }

    /// Time stands still: nobody has waited for long.
    pub(crate) fn pop_older(&self, _: Nanos) -> Option<&'static M> {
        None
    }
}

impl Shared {
    pub(crate) fn overdue_since(&self, now: Nanos) -> Nanos {
        now.saturating_sub(self.slice_ns)
    }
}

pub(crate) fn offer(_: &'static M) -> bool {
    false
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
        self.lend(self.p());
    }

    /// As `blocking`.
    pub(crate) fn blocks(&'static self) {
        lend(self);
    }

    /// Somebody has taken the P that it had lent.
    pub(crate) fn loses_its_p(&self) {
        self.p.set(None);
        self.run.store(TAKEN, Ordering::Relaxed);
    }

    /// What a handler asks before it suspends the thread a second time.
    pub(crate) fn has_lost_its_p(&self) -> bool {
        // No load: the checker would not let the store come before it.
        self.run.compare_exchange(TAKEN, TAKEN, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// As a handler that finds it in the user's code.
    pub(crate) fn stops(&self) {
        self.stop();
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

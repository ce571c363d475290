//! What the Ms share.

use super::g::GRef;
use super::home::Home;
use super::idle::Idle;
use super::m::M;
use super::p::HeldP;
use super::ps::{By, Ps};
use super::wait::Waiter;
use crate::os::clock::{self, NEVER, Nanos};
use crate::shim::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ptr;

pub(crate) struct Shared {
    pub(crate) ps: Ps,
    pub(crate) stack_class: (),
    pub(crate) stacks: Stacks,
    pub(crate) injector: Injector,
    pub(crate) idle: Idle,
    pub(crate) poller: Poller,
    pub(crate) homes: Homes,
    pub(crate) stopping: AtomicBool,
    pub(crate) slice_ns: Nanos,
    pub(crate) keep_alive_ns: Nanos,
    pub(crate) starter: Starter,
    pub(crate) waiting: super::preempt::Queue,
    /// Ms that a model lets be started, with what they were given, and whether they search.
    pub(crate) startable: std::sync::Mutex<usize>,
    pub(crate) started: Mutex<Vec<(HeldP, bool)>>,
}

unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(procs: usize) -> Shared {
        let shared = Shared {
            ps: Ps::new(procs),
            stack_class: (),
            stacks: Stacks,
            injector: Injector::default(),
            idle: Idle::new(procs, 4),
            poller: Poller::default(),
            homes: Homes,
            stopping: AtomicBool::new(false),
            slice_ns: 100,
            keep_alive_ns: 1000,
            starter: Starter,
            waiting: super::preempt::Queue::default(),
            startable: std::sync::Mutex::new(0),
            started: Mutex::new(Vec::new()),
        };
        shared.resize(procs, By::Sysmon);
        shared
    }

    pub(crate) fn p(&self, index: usize) -> HeldP {
        // SAFETY: a model keeps it to its end.
        unsafe { &*ptr::from_ref(self.ps.get(index)) }
    }

    pub(crate) fn inject(&self, g: GRef) {
        self.injector.push(g);
        self.notify_without_p();
    }

    pub(crate) fn inject_from_outside(&self, g: GRef) {
        self.inject(g);
    }

    pub(crate) fn inject_quietly(&self, g: GRef) {
        self.injector.push(g);
    }

    pub(crate) fn steal_injected_one(&self) -> Option<GRef> {
        self.injector.pop()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn watch(&self) {}
    pub(crate) fn one_ended(&self) {}
    pub(crate) fn note_poll(&self) {}

    /// No M has a home of its own.
    pub(crate) fn count_set_aside(&self, _: bool) {
        unreachable!()
    }

    pub(crate) fn start_m(&self, p: Option<HeldP>, searching: bool) -> bool {
        let mut startable = self.startable.lock().expect("no panics inside");
        if *startable == 0 {
            return false;
        }
        *startable -= 1;
        self.started.lock().expect("no panics inside").push((p.expect("with a P"), searching));
        true
    }
}

real!("feed");

/// Nothing waits for a stack, and no P has any to give back: `feed_starving` takes idle Ps and puts them back.
pub(crate) struct Stacks;

impl Stacks {
    pub(crate) fn drain(&self, _: &Stacks) {}
}

impl Shared {
    fn retry_starving(&self) {}
}

/// Who starts threads for others. Those of a model come from `start_m`, so nobody asks it for any.
pub(crate) struct Starter;

impl Starter {
    pub(crate) fn has_m(&self) {}
}

impl Shared {
    pub(crate) fn want_spare(&self) {}
}

/// Homes have models of their own.
pub(crate) struct Homes;

impl Homes {
    pub(crate) fn set_procs(&self, _: usize) {}

    pub(crate) fn calls_homeless(&self) -> bool {
        false
    }

    pub(crate) fn take_homeless(&self, _: impl FnMut(GRef)) {
        unreachable!()
    }

    pub(crate) fn push_empty(&self, _: &'static Home) {
        unreachable!()
    }
}

/// The global queue. How crossbeam's injector works is not the models' business, so this one
/// promises less: its length is Relaxed and orders nothing, and the checker does not see the rest.
#[derive(Default)]
pub(crate) struct Injector {
    queue: std::sync::Mutex<VecDeque<GRef>>,
    length: AtomicUsize,
}

impl Injector {
    pub(crate) fn push(&self, g: GRef) {
        self.queue.lock().expect("no panics inside").push_back(g);
        self.length.fetch_add(1, Ordering::Relaxed);
    }

    fn pop(&self) -> Option<GRef> {
        if self.is_empty() {
            return None;
        }
        let g = self.queue.lock().expect("no panics inside").pop_front()?;
        self.length.fetch_sub(1, Ordering::Relaxed);
        Some(g)
    }

    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A netpoller without descriptors: it sleeps until it is woken, or until a time, which is now.
#[derive(Default)]
pub(crate) struct Poller {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Poller {
    pub(crate) fn registered(&self) -> usize {
        0
    }

    pub(crate) fn wake(&self) {
        *self.woken.lock().expect("no panics inside") = true;
        self.changed.notify_one();
    }

    pub(crate) fn poll(&self, until: Nanos, _: &mut impl FnMut(Waiter)) -> usize {
        let mut woken = self.woken.lock().expect("no panics inside");
        while until == NEVER && !*woken {
            woken = self.changed.wait(woken).expect("no panics inside");
        }
        if !*woken {
            clock::pass_to(until);
        }
        *woken = false;
        0
    }
}

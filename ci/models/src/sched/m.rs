//! An M: how it sleeps and is called is real, the rest is a thread of the checker.

use super::g::{G, GRef};
use super::home::Home;
use super::p::{HeldP, P};
use super::preempt::{HandOver, Pin};
use super::runtime::Shared;
use super::wait::Waiter;
use crate::os;
use crate::os::clock::Nanos;
use crate::shim::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::cell::Cell;
use std::ptr;

real!("m_states");

pub(crate) struct M {
    pub(crate) rt: &'static Shared,
    pub(crate) p: Cell<Option<HeldP>>,
    pub(crate) searching: Cell<bool>,
    pub(crate) looked: Cell<bool>,
    call: AtomicU32,
    pub(crate) arrived: Cell<Vec<Waiter>>,
    given: Cell<Option<HeldP>>,
    pub(crate) bound: Cell<Option<GRef>>,
    pub(crate) hand_over: Cell<Option<HandOver>>,
    pub(crate) restricted: Cell<bool>,
    pub(crate) dedicated: Cell<Option<&'static Home>>,
    pub(crate) spent: Cell<bool>,
    pub(crate) fixed: Option<&'static Home>,
    pub(crate) worn: Cell<Option<&'static Home>>,
    pub(crate) is_sent_by_sysmon: Cell<bool>,
    pub(crate) run: AtomicU32,
    pub(crate) announced: AtomicBool,
    /// Time stands still, so it is not the checker's.
    pub(crate) keeps_until: std::sync::atomic::AtomicU64,
    pub(crate) turn_since: Cell<Nanos>,
    pub(crate) next_waiting: Cell<Option<&'static M>>,
    pub(crate) waits_since: Cell<Nanos>,
    pub(crate) in_handler: Cell<bool>,
    /// The coroutine that it runs.
    current: Option<GRef>,
}

unsafe impl Send for M {}
unsafe impl Sync for M {}

real!("m_call");

loom::thread_local! {
    static CURRENT: std::cell::Cell<*const M> = std::cell::Cell::new(ptr::null());
}

impl M {
    pub(crate) fn new(rt: &'static Shared, p: Option<HeldP>) -> M {
        M {
            rt,
            p: Cell::new(p),
            searching: Cell::new(false),
            looked: Cell::new(false),
            call: AtomicU32::new(AWAKE),
            arrived: Cell::new(Vec::new()),
            given: Cell::new(None),
            bound: Cell::new(None),
            hand_over: Cell::new(None),
            restricted: Cell::new(false),
            dedicated: Cell::new(None),
            spent: Cell::new(false),
            fixed: None,
            worn: Cell::new(None),
            is_sent_by_sysmon: Cell::new(false),
            run: AtomicU32::new(super::preempt::RUNNING),
            announced: AtomicBool::new(false),
            keeps_until: Default::default(),
            turn_since: Cell::new(0),
            next_waiting: Cell::new(None),
            waits_since: Cell::new(0),
            in_handler: Cell::new(false),
            current: None,
        }
    }

    /// An M that runs `g` and does nothing else.
    pub(crate) fn of(rt: &'static Shared, g: GRef, p: Option<HeldP>) -> M {
        M { current: Some(g), ..M::new(rt, p) }
    }

    /// Makes this the M of the calling thread.
    pub(crate) fn enter(&self) {
        CURRENT.with(|current| current.set(self));
    }

    pub(crate) fn current() -> Option<&'static M> {
        // SAFETY: a model keeps its Ms to its end.
        CURRENT.with(|current| unsafe { current.get().as_ref() })
    }

    pub(crate) fn current_coroutine() -> Option<GRef> {
        M::current()?.current
    }

    pub(crate) fn hold(&self, p: HeldP) {
        p.set_holder(self);
        self.p.set(Some(p));
    }

    pub(crate) fn pin(&self) {}

    pub(crate) fn is_set_aside(&self) -> bool {
        self.dedicated.get().is_some()
    }

    pub(crate) fn restrict(&self) {
        self.restricted.set(false);
    }

    pub(crate) fn pinned(&self) -> Pin {
        Pin
    }

    /// Models search as from g0.
    pub(crate) fn is_on_g0(&self) -> bool {
        true
    }

    pub(crate) fn with_p() -> Option<HeldP> {
        M::current()?.p.get()
    }

    pub(crate) fn p(&self) -> HeldP {
        self.p.get().expect("it holds one")
    }

    pub(crate) fn leave_coroutine(&self, g: GRef) {
        g.stay_away();
    }

    pub(crate) fn leave_coroutine_for(&self, _: GRef, _: GRef) {
        unreachable!()
    }
}

pub(crate) fn requeue_raw(g: *mut G) {
    // SAFETY: what waited in the list is ours now.
    unsafe { super::park::requeue(GRef::new(g)) }
}

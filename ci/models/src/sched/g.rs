//! A coroutine: a thread of the checker that waits until it is let go.

use super::home::Home;
use super::runtime::Shared;
use super::wait::Waiter;
use super::wait_word::WaitWord;
use crate::shim::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use loom::cell::Cell;
use loom::sync::{Condvar, Mutex};
use std::any::Any;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// As in the original.
pub(crate) type Label = (Box<str>, Box<str>);

real!("g_state");

/// What `complete` asks of the erased type.
pub(crate) enum Op {
    Run,
    DropClosure,
    DropResult,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HomeClaim {
    Share,
    Alone,
    Homeless,
}

/// The record. `loom::cell::Cell` instead of `std`'s: an access that races with a write fails.
#[repr(C, align(16))]
pub(crate) struct G {
    pub(crate) word: WaitWord,
    pub(crate) state: AtomicU64,
    pub(crate) joiner: Cell<MaybeUninit<Waiter>>,
    pub(crate) token: AtomicU64,
    pub(crate) asked: AtomicU8,
    pub(crate) reason: AtomicU8,
    pub(crate) alive: AtomicBool,
    pub(crate) panicking: AtomicBool,
    pub(crate) shield: AtomicU16,
    pub(crate) claim: std::cell::Cell<HomeClaim>,
    pub(crate) id: std::cell::Cell<u64>,
    pub(crate) extra: std::cell::Cell<Option<()>>,
    pub(crate) runtime: std::cell::Cell<*const Shared>,
    pub(crate) fresh: bool,
    next: Cell<*mut G>,
    /// The outcome, a number.
    payload: Cell<u64>,
    /// How often the outcome was taken or dropped, and the record recycled.
    pub(crate) taken: Cell<u32>,
    pub(crate) recycled: Cell<u32>,
    /// Set by `ready`, consumed by whoever runs the coroutine.
    go: Mutex<bool>,
    gone: Condvar,
}

real!("g_references");

impl super::home_word::Linked for G {
    fn next(&self) -> *mut G {
        self.next.get()
    }
    fn set_next(&self, next: *mut G) {
        self.next.set(next);
    }
}

impl G {
    pub(crate) fn new() -> G {
        G {
            word: WaitWord::new(),
            state: AtomicU64::new(2 * REF | HANDLE),
            joiner: Cell::new(MaybeUninit::uninit()),
            token: AtomicU64::new(0),
            asked: AtomicU8::new(0),
            reason: AtomicU8::new(0),
            alive: AtomicBool::new(true),
            panicking: AtomicBool::new(false),
            shield: AtomicU16::new(0),
            claim: std::cell::Cell::new(HomeClaim::Share),
            id: std::cell::Cell::new(0),
            extra: std::cell::Cell::new(None),
            runtime: std::cell::Cell::new(ptr::null()),
            fresh: false,
            next: Cell::new(ptr::null_mut()),
            payload: Cell::new(0),
            taken: Cell::new(0),
            recycled: Cell::new(0),
            go: Mutex::new(false),
            gone: Condvar::new(),
        }
    }

    pub(crate) fn reference(&self) -> GRef {
        GRef(NonNull::from(self))
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(crate) fn name(&self) -> Option<&str> {
        None
    }

    pub(crate) fn labels(&self) -> &[Label] {
        &[]
    }

    pub(crate) fn share_labels(&self) -> Option<Arc<[Label]>> {
        None
    }

    /// What `ready` comes to.
    pub(crate) fn let_go(&self) {
        let mut go = self.go.lock().expect("no panics inside");
        assert!(!*go, "readied twice");
        *go = true;
        drop(go);
        self.gone.notify_one();
    }

    /// What leaving the coroutine comes to: returns when it is let go.
    pub(crate) fn stay_away(&self) {
        let mut go = self.go.lock().expect("no panics inside");
        while !*go {
            go = self.gone.wait(go).expect("no panics inside");
        }
        *go = false;
    }

    /// Whether it was readied and nobody has gone on yet.
    pub(crate) fn is_let_go(&self) -> bool {
        *self.go.lock().expect("no panics inside")
    }

    pub(crate) unsafe fn operate(&self, op: Op) {
        match op {
            Op::Run => self.payload.set(42),
            Op::DropClosure => {}
            Op::DropResult => self.take(),
        }
    }

    fn take(&self) {
        self.taken.set(self.taken.get() + 1);
        assert_eq!(self.taken.get(), 1, "the outcome was taken twice");
        assert_eq!(self.payload.get(), 42, "the outcome is not there");
    }

    pub(crate) unsafe fn take_outcome<T>(&self, state: u64) -> Result<T, Outcome> {
        if state & CANCELLED != 0 {
            return Err(Outcome::Cancelled);
        }
        self.take();
        assert_eq!(size_of::<T>(), 0, "the models join for ()");
        // SAFETY: of size 0.
        Ok(unsafe { std::mem::zeroed() })
    }

    pub(crate) unsafe fn drop_outcome(&self, state: u64) {
        if state & CANCELLED == 0 {
            self.take();
        }
    }

    /// Another coroutine gets the record: whoever still looks at it races with this.
    pub(crate) fn recycle(&self) {
        self.recycled.set(self.recycled.get() + 1);
        assert_eq!(self.recycled.get(), 1, "the record was recycled twice");
        self.joiner.set(MaybeUninit::uninit());
        self.payload.set(0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GRef(NonNull<G>);

// SAFETY: as the real one; the models find out.
unsafe impl Send for GRef {}
unsafe impl Sync for GRef {}
unsafe impl Send for G {}
unsafe impl Sync for G {}
impl std::panic::UnwindSafe for GRef {}
impl std::panic::RefUnwindSafe for GRef {}

impl GRef {
    pub(crate) unsafe fn new(g: *mut G) -> GRef {
        GRef(NonNull::new(g).expect("a record"))
    }

    pub(crate) fn prefetch(self) {}

    pub(crate) fn prefetch_all(self) {}

    pub(crate) fn as_ptr(self) -> *mut G {
        self.0.as_ptr()
    }
}

impl std::ops::Deref for GRef {
    type Target = G;
    fn deref(&self) -> &G {
        // SAFETY: a model keeps its records to its end.
        unsafe { self.0.as_ref() }
    }
}

pub(crate) enum Outcome {
    Cancelled,
    Panicked(Box<dyn Any + Send>),
}

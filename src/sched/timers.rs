//! The timers of a P: deadlines of waits, in a heap.
//!
//! Arming pushes an entry; when a wait ends for another reason its entry stays, stale and
//! harmless (its ticket claims nothing), until it comes up or until the heap is swept, which
//! happens when about half of it is stale. So cancelling costs a counter.
//!
//! No P's owner is needed for its timers: whoever polls waits for the earliest of all Ps and
//! runs what is due (`idle.rs`), and a busy P looks at its own every so often (`p.rs`).

use super::lock::Spin;
use super::m::M;
use super::preempt::Pin;
use super::runtime::Shared;
use super::wait::{Waiter, Wake};
use crate::os::clock::{NEVER, Nanos};
use crate::shim::asymmetric;
use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Spin<BinaryHeap<Entry>>,
    /// The earliest deadline in the heap, stale or not.
    next: AtomicU64,
    /// Entries that are probably stale.
    stale: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    when: Nanos,
    waiter: Waiter,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.when == other.when
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Order> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// The earliest is the greatest: std's heap gives the greatest first.
    fn cmp(&self, other: &Entry) -> Order {
        other.when.cmp(&self.when)
    }
}

/// How many due entries are handled at one taking of the lock.
const BATCH: usize = 8;

/// Fewer stale entries than this are not worth a sweep.
const SWEEP_MIN: usize = 256;

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { heap: Spin::new(BinaryHeap::new()), next: AtomicU64::new(NEVER), stale: AtomicUsize::new(0) }
    }

    /// The earliest deadline.
    #[inline(always)]
    pub(crate) fn next(&self) -> Nanos {
        // Relaxed: `arm` and the poller order it by their fences.
        self.next.load(Ordering::Relaxed)
    }

    fn push(&self, when: Nanos, waiter: Waiter) {
        let mut heap = self.heap.lock();
        heap.push(Entry { when, waiter });
        if when < self.next() {
            // Relaxed: see `next`.
            self.next.store(when, Ordering::Relaxed);
        }
    }

    /// Ends the waits that are due: `each` gets the claimed waiters, outside the lock, and must
    /// ready them. The clock is read only if there is any timer.
    pub(crate) fn run_due(&self, now: impl Fn() -> Nanos, mut each: impl FnMut(Waiter)) -> bool {
        let mut any = false;
        if self.next() == NEVER {
            return any;
        }
        let now = now();
        while self.next() <= now {
            let mut due = [const { None }; BATCH];
            let mut count = 0;
            let mut heap = self.heap.lock();
            while count < BATCH
                && let Some(entry) = heap.peek()
                && entry.when <= now
            {
                let waiter = entry.waiter;
                heap.pop();
                if waiter.claim(Wake::Timeout) {
                    due[count] = Some(waiter);
                    count += 1;
                } else {
                    self.forget_stale();
                }
            }
            // Relaxed: see `next`.
            self.next.store(heap.peek().map_or(NEVER, |entry| entry.when), Ordering::Relaxed);
            drop(heap);
            for waiter in due.into_iter().flatten() {
                any = true;
                each(waiter);
            }
        }
        any
    }

    /// Moves everything to `to`. The earliest deadline of what was moved, for which the poller may have to be
    /// disturbed. For the holder of the P.
    pub(crate) fn move_to(&self, to: &Timers) -> Option<Nanos> {
        if self.next() == NEVER {
            return None;
        }
        // Nobody else locks two of them.
        let mut theirs = to.heap.lock();
        let mut ours = self.heap.lock();
        let first = ours.peek()?.when;
        theirs.append(&mut ours);
        // Relaxed: see `next`, and `forget_stale`.
        to.next.store(first.min(to.next()), Ordering::Relaxed);
        self.next.store(NEVER, Ordering::Relaxed);
        to.stale.store(to.stale.load(Ordering::Relaxed) + self.stale.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        Some(first)
    }

    fn forget_stale(&self) {
        // Relaxed: a statistic; it may be off by what moved between Ps.
        let stale = self.stale.load(Ordering::Relaxed);
        self.stale.store(stale.saturating_sub(1), Ordering::Relaxed);
    }

    /// Notes that an entry has become stale.
    fn note_stale(&self) {
        // Relaxed: as above.
        let stale = self.stale.load(Ordering::Relaxed) + 1;
        self.stale.store(stale, Ordering::Relaxed);
        if stale >= SWEEP_MIN {
            self.sweep(stale);
        }
    }

    #[cold]
    fn sweep(&self, stale: usize) {
        let mut heap = self.heap.lock();
        if stale * 2 < heap.len() {
            return;
        }
        heap.retain(|entry| entry.waiter.is_armed());
        // Relaxed: as above.
        self.stale.store(0, Ordering::Relaxed);
        self.next.store(heap.peek().map_or(NEVER, |entry| entry.when), Ordering::Relaxed);
    }

    /// Whether any entry is not stale.
    pub(crate) fn is_armed(&self) -> bool {
        self.heap.lock().iter().any(|entry| entry.waiter.is_armed())
    }

    /// How many entries are not stale.
    pub(crate) fn armed(&self) -> usize {
        self.heap.lock().iter().filter(|entry| entry.waiter.is_armed()).count()
    }
}

/// Lets `waiter`, the calling coroutine's, time out at `when`.
pub(crate) fn arm(when: Nanos, waiter: Waiter) {
    let m = M::current().expect("coroutines run on Ms");
    let _pin = m.pinned();
    m.p().timers.push(when, waiter);
    // Pairs with the heavy fence in `idle::poll`: the poller sees the new deadline, or we see
    // for how long it means to sleep.
    asymmetric::light();
    m.rt.disturb_poller(when);
}

/// [`arm`] and [`disarm`] for a waiter that is not the caller's: a coroutine of `rt` that waits for its first run.
/// From anywhere. `ended` says how many entries have become stale.
pub(crate) fn arm_other(rt: &Shared, when: Nanos, waiter: Waiter, ended: usize) {
    let _pin = Pin::new();
    let here = M::current().filter(|m| ptr::eq(m.rt, rt)).and_then(|m| m.p.get());
    // P 0 never retires.
    let timers = &here.unwrap_or_else(|| rt.ps.get(0)).timers;
    for _ in 0..ended {
        timers.note_stale();
    }
    if when != NEVER {
        timers.push(when, waiter);
        // As in `arm`.
        asymmetric::light();
        rt.disturb_poller(when);
    }
}

/// Notes that a wait that had been armed has ended otherwise.
pub(crate) fn disarm() {
    let m = M::current().expect("coroutines run on Ms");
    let _pin = m.pinned();
    m.p().timers.note_stale();
}

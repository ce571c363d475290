//! The timers of a P: deadlines of waits, in a heap.
//!
//! Arming pushes an entry; when a wait ends for another reason its entry stays, stale and
//! harmless (its ticket claims nothing), until it comes up, or until the heap is swept. So cancelling
//! costs nothing, on any P. A heap is swept when it has grown to more than twice its smallest size since
//! the last time. So it has hardly more than twice as many entries as have been armed at once, and for each push two at most are
//! looked at.
//!
//! Rejected: a count of the stale ones. Nobody knows which heap has the entry of a wait that has ended, so what was armed
//! on one P and cancelled on another was counted in the wrong place, and piled up.
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
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Spin<Heap>,
    /// The earliest deadline in the heap, stale or not.
    next: AtomicU64,
}

#[derive(Debug)]
struct Heap {
    entries: BinaryHeap<Entry>,
    /// How few entries there have been since the last sweep.
    fewest: usize,
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

/// How many due entries are handled at one taking of the lock, stale or not.
const BATCH: usize = 8;

/// How many stale ones are taken out with them that are not due yet.
const STALE_BATCH: usize = 64;

/// Fewer new entries than this are not worth a sweep.
const SWEEP_MIN: usize = 256;

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { heap: Spin::new(Heap { entries: BinaryHeap::new(), fewest: 0 }), next: AtomicU64::new(NEVER) }
    }

    /// The earliest deadline.
    #[inline(always)]
    pub(crate) fn next(&self) -> Nanos {
        // Relaxed: `arm` and the poller order it by their fences.
        self.next.load(Ordering::Relaxed)
    }

    fn push(&self, when: Nanos, waiter: Waiter) {
        let mut heap = self.heap.lock();
        heap.entries.push(Entry { when, waiter });
        if when < self.next() {
            // Relaxed: see `next`.
            self.next.store(when, Ordering::Relaxed);
        }
        self.sweep_if_grown(&mut heap);
    }

    #[inline(always)]
    fn sweep_if_grown(&self, heap: &mut Heap) {
        if heap.entries.len() > 2 * heap.fewest + SWEEP_MIN {
            self.sweep(heap);
        }
    }

    #[cold]
    fn sweep(&self, heap: &mut Heap) {
        heap.entries.retain(|entry| entry.waiter.is_armed());
        heap.fewest = heap.entries.len();
        self.note_next(heap);
    }

    fn note_next(&self, heap: &Heap) {
        // Relaxed: see `next`.
        self.next.store(heap.entries.peek().map_or(NEVER, |entry| entry.when), Ordering::Relaxed);
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
            let mut heap = self.heap.lock();
            for slot in &mut due {
                let Some(&Entry { when, waiter }) = heap.entries.peek() else { break };
                if when > now {
                    break;
                }
                heap.entries.pop();
                *slot = waiter.claim(Wake::Timeout).then_some(waiter);
            }
            // Who polls would wake up for each.
            for _ in 0..STALE_BATCH {
                let Some(_) = heap.entries.peek().filter(|entry| !entry.waiter.is_armed()) else { break };
                heap.entries.pop();
            }
            heap.fewest = heap.fewest.min(heap.entries.len());
            self.note_next(&heap);
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
        let first = ours.entries.peek()?.when;
        theirs.entries.append(&mut ours.entries);
        ours.fewest = 0;
        self.note_next(&ours);
        to.note_next(&theirs);
        to.sweep_if_grown(&mut theirs);
        Some(first)
    }

    /// Whether any entry is not stale.
    pub(crate) fn is_armed(&self) -> bool {
        self.heap.lock().entries.iter().any(|entry| entry.waiter.is_armed())
    }

    /// How many entries are not stale.
    pub(crate) fn armed(&self) -> usize {
        self.heap.lock().entries.iter().filter(|entry| entry.waiter.is_armed()).count()
    }
}

/// Lets `waiter`, the calling coroutine's, time out at `when`.
pub(crate) fn arm(when: Nanos, waiter: Waiter) {
    let m = M::current().expect("coroutines run on Ms");
    let _pin = m.pinned();
    m.p().timers.push(when, waiter);
    // Pairs with the heavy fence in `idle::poll`, or with the lock under which our P was taken: the poller sees the new deadline, or we see
    // for how long it means to sleep.
    asymmetric::light();
    m.rt.disturb_poller(when);
}

/// [`arm`] for a waiter that is not the caller's: a coroutine of `rt` that waits for its first run. From anywhere.
pub(crate) fn arm_other(rt: &Shared, when: Nanos, waiter: Waiter) {
    if when == NEVER {
        return;
    }
    let _pin = Pin::new();
    let here = M::current().filter(|m| ptr::eq(m.rt, rt)).and_then(|m| m.p.get());
    // P 0 never retires.
    here.unwrap_or_else(|| rt.ps.get(0)).timers.push(when, waiter);
    // As in `arm`, but we may hold no P.
    asymmetric::full();
    rt.disturb_poller(when);
}

#[cfg(test)]
mod tests {
    use super::super::wait::{self, Wait, WaitReason};
    use super::*;
    use crate::time::{AfterFunc, Timer};
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    fn entries(timers: &Timers) -> usize {
        timers.heap.lock().entries.len()
    }

    #[test]
    fn timers_that_are_stopped_on_another_p_do_not_pile_up() {
        // Goal: a heap has about as many entries as there have been timers at once, wherever they are stopped. Method: one coroutine
        // makes timers and another, on the other P, stops them. Neither parks: they pass them on by a flag.
        const ROUNDS: usize = 50;
        const AT_ONCE: usize = 1000;
        let runtime = crate::Runtime::builder().procs(2).preemption(false).build().unwrap();
        let passed = Arc::new((Mutex::new(Vec::<AfterFunc>::new()), AtomicBool::new(false)));
        let wait_for = |passed: &AtomicBool, full: bool| {
            // Acquire: pairs with the Release of the other.
            while passed.load(Ordering::Acquire) != full {
                std::thread::yield_now();
            }
        };
        let (to, from) = (passed.clone(), passed);
        let makes = runtime.spawn(move || {
            for _ in 0..ROUNDS {
                let hour = Duration::from_secs(3600);
                to.0.lock().unwrap().extend((0..AT_ONCE).map(|_| Timer::after_func(hour, || ())));
                // Release: passes them on.
                to.1.store(true, Ordering::Release);
                wait_for(&to.1, false);
            }
        });
        let stops = runtime.spawn(move || {
            let mut stopped = 0;
            for _ in 0..ROUNDS {
                wait_for(&from.1, true);
                stopped += from.0.lock().unwrap().drain(..).filter(AfterFunc::stop).count();
                // Release: as above.
                from.1.store(false, Ordering::Release);
            }
            stopped
        });
        makes.join().unwrap();
        assert_eq!(stops.join().unwrap(), ROUNDS * AT_ONCE);
        let left: usize = runtime.shared().ps.iter().map(|p| entries(&p.timers)).sum();
        assert!(left <= 5 * AT_ONCE, "{left} entries are left");
    }

    #[test]
    fn what_is_stale_is_swept_when_the_heap_grows_and_what_is_armed_stays() {
        // Goal: of the waits that are given up hardly more are kept than are armed, or worth a sweep: armed at that time, not once.
        // Method: waits of this thread.
        const ARMED: usize = 1000;
        const SOON: Nanos = 1;
        let timers = Timers::new();
        let begin = || {
            let wait = wait::begin();
            timers.push(SOON, wait.waiter());
            wait
        };
        let give_up_many = || (0..100 * ARMED).for_each(|_| assert_eq!(begin().abandon(), None));
        let armed: Vec<Wait> = (0..ARMED).map(|_| begin()).collect();
        give_up_many();
        assert!(entries(&timers) <= 2 * ARMED + SWEEP_MIN);
        assert_eq!(timers.armed(), ARMED);
        // SAFETY: claimed by `run_due`, and readied once.
        assert!(timers.run_due(|| SOON, |waiter| unsafe { waiter.ready() }));
        armed.into_iter().for_each(|wait| assert_eq!(wait.park(WaitReason::None, NEVER), Wake::Timeout));
        assert_eq!((entries(&timers), timers.next()), (0, NEVER));
        give_up_many();
        assert!(entries(&timers) <= SWEEP_MIN);
    }

    #[test]
    fn nobody_is_woken_for_each_of_what_is_stale() {
        // Goal: where all have been given up, looks at when the next is due come to an end soon. Method: each is due at a time of its
        // own, and whoever looks does so at that time.
        const ARMED: u64 = 1000;
        let timers = Timers::new();
        let waits: Vec<Wait> = (1..=ARMED)
            .map(|when| {
                let wait = wait::begin();
                timers.push(when, wait.waiter());
                wait
            })
            .collect();
        waits.into_iter().for_each(|wait| assert_eq!(wait.abandon(), None));
        let mut looks = 0;
        while timers.next() != NEVER {
            assert!(!timers.run_due(|| timers.next(), |_| unreachable!()));
            looks += 1;
        }
        assert!(looks <= ARMED / STALE_BATCH as u64 + 1, "{looks} looks");
    }
}

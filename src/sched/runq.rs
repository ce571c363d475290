//! The run queues of a P.
//!
//! - *next*: the coroutine that was readied last. Its readier will most likely park soon, and
//!   then it runs, with the message it waits for still in the cache.
//! - *ready*: coroutines that parked and were readied; first come, first served.
//! - *fresh*: coroutines that have not run. The owner takes the youngest, so that a tree of them
//!   is walked depth first and few stacks are in use at a time; thieves take the oldest, the
//!   largest subtrees. (Go's one queue walks a tree breadth first: a million-leaf tree then has
//!   a hundred thousand stacks alive at once.)
//!
//! So that none of the three waits for ever: a chain of `next` ends with its time slice, the
//! oldest fresh one has its turn after eight ready ones, and once a slice before younger ones;
//! every 61st pick looks at the global queue first (Go's figure, runtime/proc.go), and takes a batch:
//! one at a time would let what threads and sysmon have readied starve behind those that have not run.
//!
//! Rejected: the oldest fresh one at every eighth pick of any kind. Each such pick opens another
//! subtree at its root: fib(30) as 13,529 coroutines then had hundreds of them half done, each
//! with a stack and a home, where a walk in depth has 36, and took five times as long.

use super::biased::Biased;
use super::g::GRef;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// After so many ready coroutines the oldest fresh one has its turn.
const FRESH_EVERY: u32 = 8;
/// So many are brought into the cache together.
const WARM_TOGETHER: usize = 8;
/// Coroutines that a thief takes at most: the owner waits while they are copied.
const STEAL_MOST: usize = 512;

struct Queues {
    next: Option<GRef>,
    ready: VecDeque<GRef>,
    fresh: VecDeque<GRef>,
    /// So many of the first in `ready` are in the cache, or on their way to it.
    warm: usize,
    /// Ready coroutines that were taken while a fresh one waited.
    turn: u32,
}

impl Queues {
    /// The next one of `ready` and `fresh`; the oldest fresh one if there is one and it is
    /// `oldest`'s turn.
    #[inline(always)]
    fn pop(&mut self, oldest: bool) -> Option<GRef> {
        if self.fresh.is_empty() {
            return self.pop_ready();
        }
        if self.ready.is_empty() && !oldest {
            return self.fresh.pop_back();
        }
        self.turn += 1;
        if !oldest && self.turn < FRESH_EVERY {
            return self.pop_ready();
        }
        self.turn = 0;
        self.fresh.pop_front()
    }

    #[inline(always)]
    fn pop_ready(&mut self) -> Option<GRef> {
        if self.warm == 0 {
            self.warm_up();
        }
        self.warm = self.warm.saturating_sub(1);
        self.ready.pop_front()
    }

    /// Brings what the first ones need into the cache. Each has a stack in a page of its own: where there are hundreds the CPU looks
    /// for it in the page tables, a quarter of a microsecond in a virtual machine. It does several such searches at
    /// a time, but only as far as it sees ahead, so they are asked for together and not one before each turn.
    #[inline(never)]
    fn warm_up(&mut self) {
        self.warm = self.ready.len().min(WARM_TOGETHER);
        if self.warm > 1 {
            self.ready.iter().take(self.warm).for_each(|g| g.prefetch_all());
        }
    }
}

/// See the module.
pub(crate) struct RunQueue {
    queues: Biased<Queues>,
    /// Length of `ready` and `fresh` together, and whether there is a `next`: for others.
    length: AtomicUsize,
    has_next: std::sync::atomic::AtomicBool,
}

/// What a pick came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    Next,
    Queue,
}

impl RunQueue {
    pub(crate) fn new() -> RunQueue {
        RunQueue {
            queues: Biased::new(Queues {
                next: None,
                ready: VecDeque::with_capacity(256),
                fresh: VecDeque::with_capacity(256),
                warm: 0,
                turn: 0,
            }),
            length: AtomicUsize::new(0),
            has_next: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// What a thief would find, roughly.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        // Relaxed: a hint; the idle protocol orders it by its fences.
        self.length.load(Ordering::Relaxed)
    }

    /// Whether a thief would find something, roughly.
    #[inline(always)]
    pub(crate) fn has_queued(&self) -> bool {
        // Relaxed: as `len`.
        self.length.load(Ordering::Relaxed) != 0
    }

    /// Whether the slot is occupied, roughly.
    #[inline(always)]
    pub(crate) fn has_next(&self) -> bool {
        // Relaxed: as above.
        self.has_next.load(Ordering::Relaxed)
    }

    /// Whether there is nothing at all. Exact for the owner, but for thieves.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_queued() && !self.has_next()
    }

    /// Puts `g` into the slot; what was there goes to the tail of the queue. True if there was
    /// something.
    ///
    /// # Safety
    /// The calling M holds the P; `g` is the caller's to queue.
    #[inline(always)]
    pub(crate) unsafe fn push_next(&self, g: GRef) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            self.queues.own(|queues| {
                let old = queues.next.replace(g);
                // Relaxed, here and wherever it is written: see `has_next`.
                self.has_next.store(true, Ordering::Relaxed);
                if let Some(old) = old {
                    queues.ready.push_back(old);
                    self.note(queues);
                }
                old.is_some()
            })
        }
    }

    /// Queues a coroutine that is ready.
    ///
    /// # Safety
    /// As [`Self::push_next`].
    #[inline(always)]
    pub(crate) unsafe fn push_ready(&self, g: GRef) {
        // SAFETY: the caller's promise.
        unsafe {
            self.queues.own(|queues| {
                queues.ready.push_back(g);
                self.note(queues);
            })
        }
    }

    /// Makes room for a coroutine that has not run, so that the push cannot fail.
    ///
    /// # Errors
    /// The bytes that are not to be had.
    ///
    /// # Safety
    /// The calling M holds the P.
    #[inline(always)]
    pub(crate) unsafe fn reserve_fresh(&self) -> Result<(), usize> {
        // SAFETY: the caller's promise.
        unsafe {
            self.queues.own(|queues| {
                // It grows by as much again as it has.
                queues.fresh.try_reserve(1).map_err(|_| 2 * queues.fresh.capacity() * size_of::<GRef>())
            })
        }
    }

    /// Queues a coroutine that has not run.
    ///
    /// # Safety
    /// As [`Self::push_next`].
    #[inline(always)]
    pub(crate) unsafe fn push_fresh(&self, g: GRef) {
        // SAFETY: the caller's promise.
        unsafe {
            self.queues.own(|queues| {
                queues.fresh.push_back(g);
                self.note(queues);
            })
        }
    }

    /// Takes the next coroutine; the oldest fresh one before the ready ones if `oldest` says so.
    ///
    /// # Safety
    /// The calling M holds the P.
    #[inline(always)]
    pub(crate) unsafe fn pop(&self, oldest: bool) -> Option<(GRef, From)> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the caller's promise.
        unsafe {
            self.queues.own(|queues| {
                if let Some(g) = queues.next.take() {
                    self.has_next.store(false, Ordering::Relaxed);
                    return Some((g, From::Next));
                }
                let g = queues.pop(oldest);
                self.note(queues);
                Some((g?, From::Queue))
            })
        }
    }

    /// Takes the oldest fresh one, or else the oldest ready one; what is in the slot stays.
    ///
    /// # Safety
    /// The calling M holds the P.
    #[cold]
    pub(crate) unsafe fn pop_oldest(&self) -> Option<GRef> {
        // SAFETY: the caller's promise.
        unsafe {
            self.queues.own(|queues| {
                let g = queues.pop(true);
                self.note(queues);
                g
            })
        }
    }

    /// Takes out everything: what is in the slot, what is ready, what is fresh; the oldest first.
    ///
    /// # Safety
    /// The calling thread holds the P.
    #[cold]
    pub(crate) unsafe fn take_all(&self, mut each: impl FnMut(GRef)) {
        // SAFETY: the caller's promise.
        let (next, ready, fresh) = unsafe {
            self.queues.own(|queues| {
                self.has_next.store(false, Ordering::Relaxed);
                queues.warm = 0;
                let all = (queues.next.take(), std::mem::take(&mut queues.ready), std::mem::take(&mut queues.fresh));
                self.note(queues);
                all
            })
        };
        // Outside, so that no thief waits.
        next.into_iter().chain(ready).chain(fresh).for_each(&mut each);
    }

    /// Takes the next one and puts `g`, which yields, at the tail. None, and nothing happens, if
    /// there is none.
    ///
    /// # Safety
    /// The calling M holds the P; `g` is the caller's to queue.
    #[inline(always)]
    pub(crate) unsafe fn rotate(&self, g: GRef) -> Option<GRef> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the caller's promise.
        unsafe {
            self.queues.own(|queues| {
                let other = if let Some(next) = queues.next.take() {
                    self.has_next.store(false, Ordering::Relaxed);
                    next
                } else if queues.ready.len() == 1 && queues.fresh.is_empty() {
                    // Two take turns: one slot does for both.
                    return Some(std::mem::replace(&mut queues.ready[0], g));
                } else {
                    queues.pop(false)?
                };
                queues.ready.push_back(g);
                self.note(queues);
                Some(other)
            })
        }
    }

    #[inline(always)]
    fn note(&self, queues: &Queues) {
        // Relaxed: see `len`.
        self.length.store(queues.ready.len() + queues.fresh.len(), Ordering::Relaxed);
    }

    /// Takes the coroutine in the slot, which its P has not come to for long.
    #[cold]
    pub(crate) fn steal_next(&self) -> Option<GRef> {
        self.queues
            .steal(|queues| {
                self.has_next.store(false, Ordering::Relaxed);
                queues.next.take()
            })
            .flatten()
    }

    /// Takes half of both queues, the oldest first, for `thief`, whose owner calls this; returns
    /// one of them. What is in the slot stays. `loot` is scratch space.
    ///
    /// # Safety
    /// The calling M holds the P of `thief`.
    #[cold]
    pub(crate) unsafe fn steal_into(&self, thief: &RunQueue, loot: &mut Vec<GRef>) -> Steal {
        if !self.has_queued() {
            return Steal::Empty;
        }
        loot.clear();
        // Not under the lock: the owner spins for it meanwhile.
        loot.reserve(STEAL_MOST);
        let stolen = self.queues.steal(|queues| {
            let ready = queues.ready.len().div_ceil(2).min(STEAL_MOST);
            loot.extend(queues.ready.drain(..ready));
            queues.warm = 0;
            let fresh = queues.fresh.len().div_ceil(2).min(STEAL_MOST - ready);
            loot.extend(queues.fresh.drain(..fresh));
            self.note(queues);
        });
        if stolen.is_none() {
            return Steal::Retry;
        }
        let mut loot = loot.drain(..);
        let Some(first) = loot.next() else { return Steal::Empty };
        // SAFETY: the caller's promise.
        unsafe {
            thief.queues.own(|queues| {
                for g in loot {
                    if g.is_fresh() { queues.fresh.push_back(g) } else { queues.ready.push_back(g) }
                }
                thief.note(queues);
            });
        }
        Steal::Success(first)
    }
}

/// What came of an attempt to steal.
pub(crate) enum Steal {
    Success(GRef),
    Empty,
    /// The owner, or another thief, was at it.
    Retry,
}

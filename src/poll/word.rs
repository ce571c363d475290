//! One direction of one descriptor: who waits, and what has happened since somebody looked.
//!
//! Promise: nobody sleeps while there is something to do. If the descriptor becomes ready after
//! a waiter's last failed attempt, the waiter is woken, or never falls asleep.
//!
//! The word counts *edges*, which is what an edge-triggered poller reports, and says whether
//! somebody waits:
//!
//! | bits | name | meaning | set by | cleared by |
//! |---|---|---|---|---|
//! | 0 | `WAITING` | `slot` holds a waiter | the waiter, from `CLAIMED` | an edge; the waiter, when it gives up |
//! | 1 | `CLAIMED` | a waiter is writing `slot` | that waiter | that waiter |
//! | 2 | `OVERFLOW` | further waiters are in `overflow` | a waiter, under the list's lock | an edge |
//! | 3 | `ALWAYS` | an edge announced an end, an error or urgent data | an edge | reuse |
//! | 4.. | count | edges so far | an edge; a waiter that gives up | nobody |
//!
//! To use the descriptor:
//!   U1 [`Side::observe`] loads the word;  U2 try the system call;  U3 if it would block, then
//!   [`Side::publish`]: wait, provided that the count is still that of U1; else go to U1.
//! An edge:
//!   E1 the kernel reports it;  E2 [`Side::edge`]: one CAS counts it and takes the waiter out;
//!   E3 whoever was taken out is claimed and readied.
//!
//! Why no wake-up is lost: suppose U2 would have blocked and the descriptor becomes ready after
//! that. The kernel then makes an edge, whose E1 comes after U2, so E2 comes after U1. If E2
//! comes before U3's CAS the count differs and U3 refuses. If it comes after, E2 finds the
//! waiter. Both are operations on one word, so there is no third case. The argument looks at
//! one waiter alone: any number may use the descriptor at once, each is right by itself.
//!
//! # Drained
//!
//! A short read from a stream socket leaves it empty, so the next read would only fail. Whoever
//! read short calls [`Side::note_drained`] with what it had observed *before* that read; this
//! stores the observed count in `drained_at`. While the two counts agree, a reader may go from
//! U1 to U3 at once. Claim: *if they agree and there is something to read, then an edge is on
//! its way*. For the note says that the socket was empty at some time after the count was
//! observed; what is there now came later, so the kernel made an edge after the count was
//! observed; it has not been counted yet, or the counts would differ. It matters neither who
//! read in between nor how late the note is stored. What has been *announced* but leaves the
//! socket empty is the end of the stream, hence `ALWAYS`: if the end came before the short
//! read, its edge is either not counted yet (then it wakes or refuses, as above), or it was
//! counted before U1 and has left `ALWAYS`, with which nothing counts as drained.
//!
//! # Why the waiter's two words may be read before the CAS that takes it
//!
//! `slot` is written by the one holder of `CLAIMED` only, and every way out of `WAITING`
//! advances the count. So if the CAS of E2 finds the word that was loaded before `slot` was
//! read, the slot did not change in between. The halves are atomics, because a reader whose CAS
//! is going to fail may see them change.
//!
//! Tests: `poll/tests.rs` and `tests/net.rs` with a real kernel; modelled in `ci/models`.
//!
//! Rejected: Go's three states (empty, ready, waiting), in which one "ready" is consumed by
//! one waiter. Go can do that because a lock lets one reader in at a time; with several readers
//! the first consumes the edge, takes a part of the bytes, and the second sleeps on the rest.
//! Rejected: a lock around a list of waiters; a thread that is preempted while it holds it would
//! stop the poller, and the common case (one waiter) costs two more atomic operations.

use crate::sched::wait::Waiter;
use crate::sched::watch_list::Guarded;
use crate::shim::atomic::{AtomicPtr, AtomicU64, Ordering};

const WAITING: u64 = 1;
const CLAIMED: u64 = 1 << 1;
const OVERFLOW: u64 = 1 << 2;
const ALWAYS: u64 = 1 << 3;
/// One edge.
const EDGE: u64 = 1 << 4;
const COUNT: u64 = !(EDGE - 1);

/// What `drained_at` holds when nobody has read short: no count is that.
const NEVER_DRAINED: u64 = 1;

/// Something that fits in two pointers and is not looked into here.
pub(crate) trait TwoWords: Copy + PartialEq {
    fn split(self) -> [*mut (); 2];

    /// # Safety
    /// `parts` came from [`Self::split`].
    unsafe fn join(parts: [*mut (); 2]) -> Self;
}

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a waiter is two pointers on 64-bit targets only");

impl TwoWords for Waiter {
    #[inline(always)]
    fn split(self) -> [*mut (); 2] {
        // SAFETY: a waiter is a pointer and a number of 64 bits, in some order and without
        // padding (the sizes are equal, or this does not compile); either half is a valid raw
        // pointer as far as a pointer has to be valid that nobody follows.
        unsafe { std::mem::transmute::<Waiter, [*mut (); 2]>(self) }
    }

    #[inline(always)]
    unsafe fn join(parts: [*mut (); 2]) -> Waiter {
        // SAFETY: these are the bits of a waiter by the caller's promise, and the half that is
        // a pointer has been a pointer all the way.
        unsafe { std::mem::transmute::<[*mut (); 2], Waiter>(parts) }
    }
}

/// The word as it was seen at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen(u64);

impl Seen {
    fn count(self) -> u64 {
        self.0 & COUNT
    }
}

/// Where [`Side::publish`] has put a waiter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Slot,
    Overflow,
}

/// Waiters that were taken out, not yet woken.
#[derive(Debug)]
#[must_use = "these wait until they are woken"]
pub(crate) struct Taken<W> {
    pub(crate) first: Option<W>,
    pub(crate) others: Vec<W>,
}

/// One direction of a descriptor; see the module. Three quarters of a cache line: a record has the rest of it (`desc.rs`).
#[derive(Debug)]
pub(crate) struct Side<W = Waiter> {
    word: AtomicU64,
    /// The count that somebody had observed before it read short. Only compared with the word.
    drained_at: AtomicU64,
    slot: [AtomicPtr<()>; 2],
    /// Who holds its lock keeps its P: it may allocate, and the poller takes it.
    overflow: Guarded<Option<Box<Overflow<W>>>>,
}

/// Further waiters than one: seldom any.
#[derive(Debug)]
struct Overflow<W>(Vec<W>);

impl<W: TwoWords> Side<W> {
    pub(crate) fn new() -> Side<W> {
        Side {
            word: AtomicU64::new(0),
            drained_at: AtomicU64::new(NEVER_DRAINED),
            slot: [AtomicPtr::new(std::ptr::null_mut()), AtomicPtr::new(std::ptr::null_mut())],
            overflow: Guarded::new(None),
        }
    }

    /// U1: to be called before the system call whose failure [`Self::publish`] will report.
    #[inline(always)]
    pub(crate) fn observe(&self) -> Seen {
        // Acquire: what follows (the system call, the load of a deadline) stays after it, and a
        // deadline that was stored before an edge of `edge` is seen with that edge.
        Seen(self.word.load(Ordering::Acquire))
    }

    /// Whether nothing has happened since `seen`. A hint that saves the trouble to prepare a
    /// wait; `publish` decides.
    #[inline(always)]
    pub(crate) fn is_current(&self, seen: Seen) -> bool {
        // Relaxed: only a hint.
        self.word.load(Ordering::Relaxed) & COUNT == seen.count()
    }

    /// Whether a read that begins with `seen` may wait before it tries.
    #[inline(always)]
    pub(crate) fn is_drained(&self, seen: Seen) -> bool {
        // Relaxed: the claim of the module holds for whatever value is read here; the word was
        // loaded before, and the wait that follows is decided by its CAS.
        seen.0 & ALWAYS == 0 && self.drained_at.load(Ordering::Relaxed) == seen.count()
    }

    /// A read that began with `seen` has left the stream empty.
    #[inline(always)]
    pub(crate) fn note_drained(&self, seen: Seen) {
        // Relaxed: publishes nothing but itself. An older note that overwrites a newer one
        // loses a chance to save a call and nothing else.
        self.drained_at.store(seen.count(), Ordering::Relaxed);
    }

    /// U3: leaves `waiter` for the next edge, unless one has come since `seen`: None then.
    #[inline]
    pub(crate) fn publish(&self, seen: Seen, waiter: W) -> Option<Place> {
        // Relaxed: the CAS below decides and orders.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & COUNT != seen.count() {
                return None;
            }
            if word & (WAITING | CLAIMED) != 0 {
                return self.publish_overflow(seen, waiter);
            }
            // Acquire: pairs with the Release of whoever gave the slot up (`edge`, `retract`,
            // the refusal below), so that our stores to the slot come after its accesses.
            match self.word.compare_exchange_weak(word, word | CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        let [first, second] = waiter.split();
        // Relaxed: published by the Release below; only the holder of CLAIMED stores here.
        self.slot[0].store(first, Ordering::Relaxed);
        self.slot[1].store(second, Ordering::Relaxed);
        word |= CLAIMED;
        loop {
            if word & COUNT != seen.count() {
                // An edge came while we wrote; it left the slot to us.
                // Release: pairs with the Acquire of the next who claims the slot.
                self.word.fetch_and(!CLAIMED, Ordering::Release);
                return None;
            }
            let published = (word & !CLAIMED) | WAITING;
            // Release: whoever takes the waiter sees the slot, and all that was done before.
            // Acquire, on failure: see `observe`; the caller will look at its deadline again.
            match self.word.compare_exchange_weak(word, published, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return Some(Place::Slot),
                Err(now) => word = now,
            }
        }
    }

    #[cold]
    fn publish_overflow(&self, seen: Seen, waiter: W) -> Option<Place> {
        let mut guard = self.overflow.lock();
        let overflow = &mut guard.get_or_insert_with(|| Box::new(Overflow(Vec::new()))).0;
        overflow.push(waiter);
        // Relaxed: the CAS below decides.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & COUNT != seen.count() {
                overflow.pop();
                return None;
            }
            // Release: an edge that sees the bit takes the lock and so finds the waiter; the
            // Release is for the rest of what was done before, as in `publish`.
            match self.word.compare_exchange_weak(word, word | OVERFLOW, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return Some(Place::Overflow),
                Err(now) => word = now,
            }
        }
    }

    /// Takes back what `publish(seen, waiter)` has left at `place`, because the wait has ended
    /// otherwise. An edge may have taken it already.
    pub(crate) fn retract(&self, seen: Seen, waiter: W, place: Place) {
        match place {
            Place::Slot => {
                // Relaxed: the CAS below decides.
                let mut word = self.word.load(Ordering::Relaxed);
                // With the same count, the waiter in the slot is this one: there is room for
                // one, and every way out advances the count.
                while word & COUNT == seen.count() {
                    debug_assert_ne!(word & WAITING, 0, "published and not taken");
                    let without = (word & !WAITING).wrapping_add(EDGE);
                    // Release: pairs with the Acquire of the next who claims the slot.
                    match self.word.compare_exchange_weak(word, without, Ordering::Release, Ordering::Relaxed) {
                        Ok(_) => return,
                        Err(now) => word = now,
                    }
                }
            }
            // The bit may stay set over an empty list: the next edge finds nobody there.
            Place::Overflow => {
                if let Some(overflow) = &mut *self.overflow.lock() {
                    overflow.0.retain(|other| *other != waiter);
                }
            }
        }
    }

    /// E2: counts an edge and takes out whoever waits. `always`: from now on nothing counts as
    /// drained. The caller claims and readies those that it gets.
    #[inline]
    pub(crate) fn edge(&self, always: bool) -> Taken<W> {
        // Acquire: pairs with the Release in `publish`; the slot read below is the published.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            // Relaxed: ordered by the Acquire that read the word; valid if the CAS succeeds.
            let parts = [self.slot[0].load(Ordering::Relaxed), self.slot[1].load(Ordering::Relaxed)];
            let mut counted = (word & !(WAITING | OVERFLOW)).wrapping_add(EDGE);
            if always {
                counted |= ALWAYS;
            }
            // AcqRel. Release: the loads of the slot come before the stores of the next who
            // claims it, and a deadline stored before this is seen by whoever observes the new
            // count. Acquire: as above, on failure too.
            match self.word.compare_exchange_weak(word, counted, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: the word did not change between the load that saw WAITING and the
                    // CAS, so the slot holds what was published with it (module essay).
                    let first = (word & WAITING != 0).then(|| unsafe { W::join(parts) });
                    let others = if word & OVERFLOW != 0 { self.take_overflow() } else { Vec::new() };
                    return Taken { first, others };
                }
                Err(now) => word = now,
            }
        }
    }

    #[cold]
    fn take_overflow(&self) -> Vec<W> {
        let taken = self.overflow.lock().take();
        taken.map_or(Vec::new(), |overflow| overflow.0)
    }

    /// How many wait here, or are about to. Exact when nobody comes or goes.
    pub(crate) fn waiting(&self) -> usize {
        // Relaxed: for reports.
        let word = self.word.load(Ordering::Relaxed);
        let in_slot = usize::from(word & (WAITING | CLAIMED) != 0);
        if word & OVERFLOW == 0 {
            return in_slot;
        }
        in_slot + self.overflow.lock().as_ref().map_or(0, |overflow| overflow.0.len())
    }

    /// Makes it ready for another descriptor. Nobody waits here; edges that were meant for the
    /// old one may still come and do no harm.
    pub(crate) fn reset(&self) {
        debug_assert_eq!(self.waiting(), 0, "a descriptor is closed while somebody waits on it");
        // Relaxed: whoever gets the record next gets it through the pool's lock.
        self.drained_at.store(NEVER_DRAINED, Ordering::Relaxed);
        self.word.fetch_and(!(ALWAYS | OVERFLOW), Ordering::Relaxed);
    }
}

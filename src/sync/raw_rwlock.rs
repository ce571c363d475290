//! The lock for many readers or one writer: who has it, and who gets it next.
//!
//! Promise: one writer, or any number of readers; whoever waits gets it, whatever others do.
//!
//! | part of the word | meaning | changed by |
//! |---|---|---|
//! | `WRITER` | a writer holds it | as a mutex's `LOCKED` |
//! | `WAITING` | the queue is not empty | under the queue's lock |
//! | `WOKEN` | a writer was let go to try again, and has not yet | as a mutex's; under the queue's lock when set |
//! | the rest, in units of `READER` | readers that hold it | who comes and goes |
//!
//! Writers among themselves go by the rules of the mutex (`raw_mutex.rs`): they barge, but make way for those who need
//! their home, are woken in order, and are handed the lock after having waited long. A *reader* is let in at once only while there is no writer and
//! nobody waits or is on its way: so readers that keep coming do not keep a writer out. Readers that wait are
//! handed the lock, all that stand together at the head of the queue: so writers that keep coming do not keep
//! them out, and nobody who was let in for reading has to try again.
//!
//! Whoever hands on does it as a writer: the last reader to leave, if somebody waits, first turns its reader's right into
//! a writer's, by a compare-and-swap under the queue's lock. After that the word is its own, as it is a
//! mutex holder's.
//!
//! **Nobody waits for nothing.** Under the queue's lock, `WAITING` without `WOKEN` means that somebody holds the lock: such
//! a holder comes by the queue when it gives up the last right, `WOKEN` is set there before the lock is free, and whoever is
//! woken clears it as it takes the lock, or under the queue's lock while another holds it.
//!
//! **Who leaves the queue without a grant** may have been what stood between readers that hold the lock and readers behind
//! it. So it lets those in (`admit`). The count cannot go to zero meanwhile: with `WAITING` set and `WOKEN` not,
//! the last reader comes by the queue's lock.
//!
//! Modelled in `ci/models`, `rwlock::*`.

use super::raw_mutex::Patience;
use super::waitq::{Grant, Locked, Ready, Waited, Waiters};
use crate::os::clock::Nanos;
use crate::sched::wait::WaitReason;
use crate::shim::atomic::{AtomicU32, Ordering};
use crate::shim::const_fn;

const WRITER: u32 = 1;
const WAITING: u32 = 2;
const WOKEN: u32 = 4;
const READER: u32 = 8;

/// The request of a reader; a writer's is its [`Patience`].
const READ: u64 = u64::MAX;

/// The raw lock inside a [`RwLock`](super::RwLock): 16 bytes, see the essay of `waitq.rs`.
#[derive(Debug)]
pub struct RawRwLock {
    waiters: Waiters<AtomicU32>,
}

impl RawRwLock {
    const_fn! {
        pub(super) fn unlocked() -> RawRwLock {
            RawRwLock { waiters: Waiters::new(AtomicU32::new(0)) }
        }
    }

    #[inline(always)]
    fn state(&self) -> &AtomicU32 {
        &self.waiters.state
    }

    pub(super) fn is_written(&self) -> bool {
        // Relaxed: a hint.
        self.state().load(Ordering::Relaxed) & WRITER != 0
    }

    pub(super) fn is_held(&self) -> bool {
        // Relaxed: a hint.
        self.state().load(Ordering::Relaxed) & !(WAITING | WOKEN) != 0
    }

    /// One more reader, if `state` allows it.
    #[inline(always)]
    fn with_reader(state: u32) -> Option<u32> {
        (state & (WRITER | WAITING | WOKEN) == 0).then(|| RawRwLock::add_reader(state))
    }

    /// One more reader, if `state` allows it to who may be a reader already.
    fn with_reader_again(state: u32) -> Option<u32> {
        match state & WRITER == 0 && state >= READER {
            true => Some(RawRwLock::add_reader(state)),
            false => RawRwLock::with_reader(state),
        }
    }

    /// A writer, if `state` is that of a free lock, and no longer `gone`.
    fn with_writer(state: u32, gone: u32) -> Option<u32> {
        (state & WRITER == 0 && state < READER).then_some((state | WRITER) & !gone)
    }

    #[inline(always)]
    fn add_reader(state: u32) -> u32 {
        state.checked_add(READER).unwrap_or_else(|| crate::os::fatal("half a milliard guards of one lock"))
    }

    /// Changes the state to what `next` makes of it; false if that is None.
    #[inline(always)]
    fn change(&self, order: Ordering, next: impl Fn(u32) -> Option<u32>) -> bool {
        // Acquire to take: pairs with the Release of whoever gave it up. Relaxed on failure: nothing is read then.
        self.state().fetch_update(order, Ordering::Relaxed, next).is_ok()
    }

    /// Takes it for reading, if nobody waits.
    #[inline]
    pub(super) fn take_shared(&self) -> bool {
        self.change(Ordering::Acquire, RawRwLock::with_reader)
    }

    /// Takes it for reading, if readers have it already, whoever waits, or if nobody waits.
    pub(super) fn take_shared_again(&self) -> bool {
        self.change(Ordering::Acquire, RawRwLock::with_reader_again)
    }

    /// Takes it for writing, if it is free and nobody waits.
    #[inline(always)]
    pub(super) fn take_free(&self) -> bool {
        // Acquire: as in `change`.
        self.state().compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes it for writing, if it is free, though others may wait.
    pub(super) fn take(&self) -> bool {
        self.take_clearing(0)
    }

    fn take_clearing(&self, gone: u32) -> bool {
        self.change(Ordering::Acquire, |state| RawRwLock::with_writer(state, gone))
    }

    /// Takes it for reading when it is to be had; false if that is not before `deadline`.
    #[cold]
    #[inline(never)]
    pub(super) fn lock_shared_slow(&self, deadline: Nanos, again: bool) -> bool {
        crate::sched::checkpoint();
        let taken = if again { RawRwLock::with_reader_again } else { RawRwLock::with_reader };
        let waited = self.waiters.wait(
            (READ, false),
            (WaitReason::ReadLock, deadline),
            |_| self.settle(taken, 0),
            || (),
            |locked, ready| self.left(locked, ready),
        );
        match waited {
            Waited::Settled(()) | Waited::Granted(Grant::Given) => true,
            Waited::TimedOut => false,
            Waited::Granted(_) => crate::os::fatal("a reader was woken without having got the lock"),
        }
    }

    /// Takes it for writing when it is to be had; false if that is not before `deadline`.
    #[cold]
    #[inline(never)]
    pub(super) fn lock_slow(&self, deadline: Nanos) -> bool {
        crate::sched::checkpoint();
        // As in the mutex: the woken one may need our home. Relaxed: a hint.
        if self.state().load(Ordering::Relaxed) & WOKEN != 0 {
            crate::sched::make_way_for_sharers();
        }
        let mut patience = Patience::new();
        loop {
            let gone = if patience.woken { WOKEN } else { 0 };
            let waited = self.waiters.wait(
                patience.request(),
                (WaitReason::WriteLock, deadline),
                |_| self.settle(|state| RawRwLock::with_writer(state, gone), gone),
                || (),
                |locked, ready| self.left(locked, ready),
            );
            match waited {
                Waited::Settled(()) | Waited::Granted(Grant::Given) => return true,
                Waited::TimedOut => return false,
                Waited::Granted(_) => patience.woken = true,
            }
            if self.take_clearing(WOKEN) {
                return true;
            }
            patience.in_vain();
        }
    }

    /// Under the queue's lock: takes it, if `taken` says how, or leaves word that somebody waits and that `gone` is no
    /// longer so. Both by the same state: a reader that joined because of a writer who has meanwhile become a
    /// reader would wait for a reader.
    fn settle(&self, taken: impl Fn(u32) -> Option<u32>, gone: u32) -> Option<()> {
        // Relaxed: the compare-and-swap decides.
        let mut state = self.state().load(Ordering::Relaxed);
        loop {
            let next = taken(state);
            // Whoever waits is found by who holds it, or is on its way to: one of the two there is (module essay).
            let to = next.unwrap_or((state | WAITING) & !gone);
            // Acquire: as in `change`, if it is taken. The queue's lock orders those who look at the queue.
            match self.state().compare_exchange_weak(state, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return next.map(drop),
                Err(now) => state = now,
            }
        }
    }

    /// Somebody has left the queue, with a grant or without.
    fn left(&self, locked: &Locked<'_, AtomicU32>, ready: &mut Ready) {
        self.admit(locked, ready);
        if locked.is_empty() {
            // Relaxed: the queue's lock orders those who look at the queue. What was released to the word before stays to
            // be acquired from it: this is a read-modify-write.
            self.state().fetch_and(!WAITING, Ordering::Relaxed);
        }
    }

    /// Lets the readers at the head of the queue in, if readers hold the lock, as long as `ready` is not full.
    fn admit(&self, locked: &Locked<'_, AtomicU32>, ready: &mut Ready) {
        // Acquire: what the last writer wrote is passed on to the readers by the claims.
        let state = self.state().load(Ordering::Acquire);
        if state & (WRITER | WOKEN) != 0 || state < READER {
            return;
        }
        while !ready.is_full() && self.grant_to_reader(locked, ready) {
            // Acquire: as above. The count is not zero (module essay), so the lock is a reader's.
            self.state().fetch_add(READER, Ordering::Acquire);
        }
    }

    /// Grants the lock to who comes first, if that is a reader.
    fn grant_to_reader(&self, locked: &Locked<'_, AtomicU32>, ready: &mut Ready) -> bool {
        locked.grant(ready, |request| (request == READ).then_some(Grant::Given)).is_some()
    }

    /// Gives up a reader's right.
    #[inline]
    pub(super) fn unlock_shared(&self, fair: bool) {
        // Relaxed: the compare-and-swap decides.
        let mut state = self.state().load(Ordering::Relaxed);
        // In all but one case somebody else will see to those who wait.
        while state & (WAITING | WOKEN) != WAITING || state >= 2 * READER {
            debug_assert!(state >= READER, "unlocked without being locked");
            // Release: pairs with the Acquire of the next writer.
            match self.state().compare_exchange_weak(state, state - READER, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.unlock_shared_slow(fair);
    }

    #[cold]
    #[inline(never)]
    fn unlock_shared_slow(&self, fair: bool) {
        let locked = self.waiters.lock();
        // AcqRel: what all readers did comes before the next writer, and we pass it on.
        let last = |state: u32| (state & !(WAITING | WOKEN) == READER).then_some(state - READER + WRITER);
        if self.change(Ordering::AcqRel, last) {
            return self.hand_on(locked, fair);
        }
        drop(locked);
        self.unlock_shared(fair);
    }

    /// Gives up the writer's right, if nobody waits.
    #[inline(always)]
    pub(super) fn release(&self) -> bool {
        // Release: pairs with the Acquire of the next one. Relaxed on failure: `unlock_slow` looks again.
        self.state().compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Gives up the writer's right, and sees to it that somebody who waits comes.
    #[cold]
    #[inline(never)]
    pub(super) fn unlock_slow(&self, fair: bool) {
        loop {
            // Relaxed: the compare-and-swap decides, or the lock orders it.
            let state = self.state().load(Ordering::Relaxed);
            debug_assert!(state & WRITER != 0, "unlocked without being locked");
            if state & (WAITING | WOKEN) == WAITING || (fair && state & WAITING != 0) {
                return self.hand_on(self.waiters.lock(), fair);
            }
            // Release: as in `release`.
            let free = state & !WRITER;
            if self.state().compare_exchange(state, free, Ordering::Release, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Gives up the writer's right under the queue's lock: to the readers at the head of the queue, or to the writer
    /// there if that is fair; else it wakes that one to try again.
    fn hand_on(&self, locked: Locked<'_, AtomicU32>, fair: bool) {
        let mut ready = Ready::new();
        // Relaxed: nobody changes the state now (module essay).
        let woken = self.state().load(Ordering::Relaxed) & WOKEN;
        let granted = locked.grant(&mut ready, |request| match request {
            READ => Some(Grant::Given),
            since => Some(Patience::grant(since, fair)),
        });
        let state = match granted {
            None => 0,
            Some((READ, _)) => READER,
            Some((_, Grant::Given)) => WRITER,
            Some(_) => WOKEN,
        };
        let mut readers = 0;
        if state == READER {
            while !ready.is_full() && self.grant_to_reader(&locked, &mut ready) {
                readers += READER;
            }
        }
        let more = state == READER && ready.is_full();
        let waiting = if locked.is_empty() { 0 } else { WAITING };
        // Release: pairs with the Acquire of whoever takes it. Who is handed it sees what was done by the claim.
        self.state().store((state + readers) | woken | waiting, Ordering::Release);
        drop(locked);
        ready.go();
        if more {
            self.waiters.in_batches(|locked, ready| self.left(locked, ready));
        }
    }

    /// Makes a reader's right of the writer's, and lets the readers in that come first.
    pub(super) fn downgrade(&self) {
        // Release: pairs with the Acquire of the readers.
        self.change(Ordering::Release, |state| Some(state - WRITER + READER));
        // Relaxed: if somebody comes later, that one goes by the state as it is now.
        if self.state().load(Ordering::Relaxed) & WAITING != 0 {
            self.waiters.in_batches(|locked, ready| self.left(locked, ready));
        }
    }
}

//! What `block_on` waits with: one task that waits, and any number of wakers.
//!
//! | state | meaning | who changes it |
//! |---|---|---|
//! | `EMPTY` | the task is not told to poll, and polls or is about to wait | the task to `WAITING`, a waker to `TOLD` |
//! | `TOLD` | the task is to poll again | the task, to `EMPTY`, before it polls |
//! | `WAITING` | the task waits; `waiter` is set | a waker to `TOLD`: it alone ends the wait |
//!
//! A waker that is late finds `TOLD` or a wait that has ended. The task writes `waiter` only when no waker reads it: a waker
//! reads it after it has taken `WAITING` away and before it ends the wait, and nothing else ends it but a
//! cancel, after which the task does not wait here again. Tested in `tests/future.rs`.
//!
//! Rejected: `park` and `unpark`. Their token belongs to the user, and a waker that comes late would leave one. Also
//! `sync::Notify`, which has a queue and its lock for the many who may wait.

use crate::os::clock::NEVER;
use crate::sched::wait::{self, WaitReason, Waiter, Wake};
use crate::sched::{cancel, yield_now};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::task::{RawWakerVTable, Waker};

const EMPTY: u32 = 0;
const TOLD: u32 = 1;
const WAITING: u32 = 2;

/// See the module.
pub(super) struct Signal {
    state: AtomicU32,
    waiter: UnsafeCell<MaybeUninit<Waiter>>,
}

// SAFETY: the state says who may touch `waiter`; see the module.
unsafe impl Sync for Signal {}

impl Signal {
    pub(super) fn new() -> Signal {
        Signal { state: AtomicU32::new(EMPTY), waiter: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Waits until a waker is woken, or has been since the last call.
    ///
    /// # Safety
    /// One task calls it, and no more after it has unwound.
    pub(super) unsafe fn wait(&self) {
        // Acquire: pairs with the Release in `wake_by_ref`; what was done before is seen by the poll.
        if self.state.compare_exchange(TOLD, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return yield_now();
        }
        let wait = wait::begin();
        // SAFETY: the state is not WAITING, and only this task makes it so; nor does a waker that has seen it so still
        // read, for this task came back from that wait by its claim, which comes after.
        unsafe { *self.waiter.get() = MaybeUninit::new(wait.waiter()) };
        // Release: publishes `waiter`. Acquire on failure would not do: see below.
        if self.state.compare_exchange(EMPTY, WAITING, Ordering::Release, Ordering::Relaxed).is_err() {
            // AcqRel: as above, of the last waker that has told us; an earlier one comes before it in the
            // order of exchanges.
            self.state.swap(EMPTY, Ordering::AcqRel);
            // Whoever claimed it wanted the coroutine's end, and is heard at its next wait.
            wait.abandon();
            return;
        }
        let wake = wait.park(WaitReason::Future, NEVER);
        // AcqRel: as above.
        self.state.swap(EMPTY, Ordering::AcqRel);
        if wake == Wake::Cancel {
            cancel::unwind();
        }
    }
}

/// The functions of the wakers made here, once there is one: see [`is_ours`].
static OURS: AtomicPtr<RawWakerVTable> = AtomicPtr::new(ptr::null_mut());

/// A waker that tells `signal`.
pub(super) fn waker(signal: &Arc<Signal>) -> Waker {
    let waker = Waker::from(signal.clone());
    // Relaxed: an address to compare with. If the compiler has made several tables any will do.
    OURS.store(ptr::from_ref(waker.vtable()).cast_mut(), Ordering::Relaxed);
    waker
}

/// Whether the waker is one of ours, which wake without waiting; a false "no" is possible. (A "yes" is right even if the
/// linker has merged tables, for then the functions are the same.)
pub(crate) fn is_ours(waker: &Waker) -> bool {
    // Relaxed: as above.
    ptr::eq(waker.vtable(), OURS.load(Ordering::Relaxed))
}

impl std::task::Wake for Signal {
    fn wake(self: Arc<Signal>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Signal>) {
        // AcqRel. Release: what was done before is seen by the poll. Acquire: `waiter` is seen.
        if self.state.swap(TOLD, Ordering::AcqRel) == WAITING {
            // SAFETY: it was set before WAITING, and is not written to while the wait is in force. Only we have seen
            // WAITING, and our `wake` is what ends it. (If a cancel has, the task writes no more.)
            let waiter = unsafe { (*self.waiter.get()).assume_init() };
            waiter.wake(Wake::Ready);
        }
    }
}

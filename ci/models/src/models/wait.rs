//! Waits of coroutines and threads: a wait is ended once, by a peer, a deadline or `cancel`, and
//! is not missed.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::os::clock::NEVER;
use crate::os::futex::DEADLINES_PASS;
use crate::sched::cancel;
use crate::sched::thread_task::ThreadTask;
use crate::sched::timers;
use crate::sched::wait::{self, WaitReason, Waiter, Wake};
use loom::cell::Cell;
use loom::sync::Mutex;
use std::sync::atomic::Ordering;

/// Where a waiter is left.
type Place = Mutex<Option<Waiter>>;

/// A request to cancel comes before, while, or after the coroutine parks. Nobody else wakes it.
pub(super) fn cancel_alone() {
    let world = Tasks::new(1, ());
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    world.get().become_coroutine(0);
    assert_eq!(wait::begin().park(WaitReason::Park, NEVER), Wake::Cancel);
    canceller.join().unwrap();
    assert!(!world.get().gs[0].is_let_go(), "readied without a wait");
}

/// A peer and `cancel` at the same wait, and a second wait that only `cancel` can end.
pub(super) fn cancel_and_peer() {
    let world = Tasks::new(1, Place::new(None));
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let peer = world.spawn(|tasks| {
        let waiter = tasks.shared.lock().unwrap().take();
        if let Some(waiter) = waiter {
            waiter.wake(Wake::Ready);
        }
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let wait = wait::begin();
    *tasks.shared.lock().unwrap() = Some(wait.waiter());
    if wait.park(WaitReason::Park, NEVER) == Wake::Ready {
        assert_eq!(wait::begin().park(WaitReason::Park, NEVER), Wake::Cancel);
    }
    canceller.join().unwrap();
    peer.join().unwrap();
    assert!(!tasks.gs[0].is_let_go(), "readied without a wait");
}

/// A shielded wait is not cancelled; the next one, without the shield, is.
pub(super) fn shield() {
    let world = Tasks::new(1, Place::new(None));
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let tasks = world.get();
    tasks.become_coroutine(0);
    let peer = cancel::shield(|| {
        let wait = wait::begin();
        let waiter = wait.waiter();
        let peer = world.spawn(move |_| drop(waiter.wake(Wake::Ready)));
        assert_eq!(wait.park(WaitReason::Park, NEVER), Wake::Ready, "cancelled in its shield");
        peer
    });
    assert_eq!(wait::begin().park(WaitReason::Park, NEVER), Wake::Cancel);
    canceller.join().unwrap();
    peer.join().unwrap();
}

/// A wait is given up because what it was for happened, while `cancel` ends it: the `ready` that
/// belongs to that must not reach the next wait.
pub(super) fn abandon() {
    let world = Tasks::new(1, Place::new(None));
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let tasks = world.get();
    tasks.become_coroutine(0);
    let was_cancelled = wait::begin().abandon();
    assert!(matches!(was_cancelled, None | Some(Wake::Cancel)));
    canceller.join().unwrap();
    assert!(!tasks.gs[0].is_let_go(), "the ready of an abandoned wait is left over");
}

/// A deadline and a peer at a coroutine's wait.
pub(super) fn deadline() {
    let world = Tasks::new(1, ());
    let tasks = world.get();
    tasks.become_coroutine(0);
    let wait = wait::begin();
    let waiter = wait.waiter();
    let peer = world.spawn(move |_| drop(waiter.wake(Wake::Ready)));
    timers::arm(500, waiter);
    let timer = world.spawn(|tasks| tasks.run_timers());
    let _ = wait.park(WaitReason::Park, NEVER);
    peer.join().unwrap();
    timer.join().unwrap();
    assert!(!tasks.gs[0].is_let_go());
    assert!(!tasks.rt.ps.get(0).timers.is_armed() && tasks.rt.ps.get(0).timers.next() == NEVER);
}

struct Thread {
    task: ThreadTask,
    place: Place,
    message: Cell<u32>,
}

/// A plain thread waits twice, with a deadline that passes, while a peer may end either wait.
pub(super) fn thread() {
    DEADLINES_PASS.store(true, Ordering::Relaxed);
    let world = World::new(Thread { task: ThreadTask::new(), place: Place::new(None), message: Cell::new(0) });
    let peer = world.spawn(|thread| {
        let waiter = thread.place.lock().unwrap().take();
        if let Some(waiter) = waiter
            && waiter.claim(Wake::Ready)
        {
            thread.message.set(1);
            // SAFETY: just claimed.
            unsafe { waiter.ready() };
        }
    });
    let thread = world.get();
    thread.task.enter();
    let mut woken = false;
    for _ in 0..2 {
        let wait = wait::begin();
        if !woken {
            *thread.place.lock().unwrap() = Some(wait.waiter());
        }
        match wait.park(WaitReason::Park, 1) {
            Wake::Ready => {
                assert!(!woken, "woken by the ready of another wait");
                assert_eq!(thread.message.get(), 1);
                woken = true;
            }
            wake => assert_eq!(wake, Wake::Timeout),
        }
        *thread.place.lock().unwrap() = None;
    }
    peer.join().unwrap();
}

/// A plain thread waits without a deadline.
pub(super) fn thread_without_end() {
    let world = World::new(Thread { task: ThreadTask::new(), place: Place::new(None), message: Cell::new(0) });
    let thread = world.get();
    thread.task.enter();
    let wait = wait::begin();
    let waiter = wait.waiter();
    let peer = world.spawn(move |thread| {
        thread.message.set(1);
        assert!(waiter.wake(Wake::Ready));
    });
    assert_eq!(wait.park(WaitReason::Park, NEVER), Wake::Ready);
    assert_eq!(thread.message.get(), 1);
    peer.join().unwrap();
}

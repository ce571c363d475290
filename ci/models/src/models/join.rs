//! The end of a coroutine, its handle, and `park`/`unpark`: the outcome is taken or dropped once,
//! the record is recycled once and last, nobody who joins is left waiting.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::sched::cancel;
use crate::sched::g::{GRef, REF};
use crate::sched::join::{self, Coroutine, JoinHandle};
use crate::sched::spawn::complete;
use std::time::Duration;

/// Coroutine 0 is joined, by coroutine 1.
fn ending() -> (World<Tasks<()>>, loom::thread::JoinHandle<()>) {
    let world = Tasks::new(2, ());
    let thread = world.spawn(|tasks| {
        let g = tasks.become_coroutine(0);
        complete(g);
        // As `M::bury` does.
        // SAFETY: the run's own reference.
        unsafe { g.release(REF) };
    });
    (world, thread)
}

fn check(tasks: &Tasks<()>) {
    assert_eq!(tasks.gs[0].taken.get(), 1, "the outcome was neither taken nor dropped");
    assert_eq!(tasks.gs[0].recycled.get(), 1, "the record was not recycled");
    assert!(!tasks.gs[1].is_let_go(), "the joiner was readied without a wait");
}

pub(super) fn join() {
    let (world, thread) = ending();
    let tasks = world.get();
    tasks.become_coroutine(1);
    JoinHandle::<()>::new(tasks.g(0)).join().unwrap();
    thread.join().unwrap();
    check(tasks);
}

pub(super) fn drop_handle() {
    let (world, thread) = ending();
    let tasks = world.get();
    tasks.become_coroutine(1);
    // The checker tries another order for an access and the last one before it to the same word.
    // The coroutine's own look at its state hides that the handle might look after its end.
    loom::thread::yield_now();
    drop(JoinHandle::<()>::new(tasks.g(0)));
    thread.join().unwrap();
    check(tasks);
}

/// The deadline passes while the coroutine ends; then the handle is used once more.
fn timeout(then: fn(JoinHandle<()>)) {
    let (world, thread) = ending();
    let timer = world.spawn(|tasks| tasks.run_timers());
    let tasks = world.get();
    tasks.become_coroutine(1);
    match JoinHandle::<()>::new(tasks.g(0)).join_timeout(Duration::from_nanos(1)) {
        Ok(outcome) => outcome.unwrap(),
        Err(handle) => then(handle),
    }
    thread.join().unwrap();
    timer.join().unwrap();
    check(tasks);
}

pub(super) fn timeout_then_drop() {
    timeout(drop);
}

pub(super) fn timeout_then_join() {
    timeout(|handle| handle.join().unwrap());
}

/// The joiner is cancelled while the coroutine ends: it unwinds and drops the handle.
pub(super) fn joiner_cancelled() {
    let (world, thread) = ending();
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(1)));
    let tasks = world.get();
    tasks.become_coroutine(1);
    catch_cancel(|| JoinHandle::<()>::new(tasks.g(0)).join().unwrap());
    thread.join().unwrap();
    canceller.join().unwrap();
    check(tasks);
}

/// A `Coroutine` handle outlives the rest, or not.
pub(super) fn references() {
    let (world, thread) = ending();
    let tasks = world.get();
    tasks.become_coroutine(1);
    let handle = JoinHandle::<()>::new(tasks.g(0));
    let coroutine = handle.coroutine();
    struct Send(Coroutine);
    let other = {
        let coroutine = Send(coroutine);
        world.spawn(move |_| {
            let Send(coroutine) = { coroutine };
            drop(coroutine);
        })
    };
    drop(handle);
    thread.join().unwrap();
    other.join().unwrap();
    check(tasks);
}

/// Two unpark at once, one parks twice: the second unpark may find the token of the first.
pub(super) fn unpark() {
    let world = Tasks::new(1, loom::cell::Cell::new(0));
    let tasks = world.get();
    tasks.become_coroutine(0);
    let unparker = || {
        let coroutine = join::current();
        world.spawn(move |tasks| {
            tasks.shared.set(tasks.shared.get() + 1);
            coroutine.unpark();
        })
    };
    let first = unparker();
    join::park();
    assert_eq!(tasks.shared.get(), 1, "park returned before unpark");
    first.join().unwrap();
    let second = unparker();
    join::park();
    assert_eq!(tasks.shared.get(), 2, "park returned on the token of an unpark that was used up");
    second.join().unwrap();
    assert!(!tasks.gs[0].is_let_go());
}

/// An unpark comes while the deadline passes; the next park needs one of its own.
pub(super) fn park_timeout() {
    let world = Tasks::new(1, ());
    let tasks = world.get();
    tasks.become_coroutine(0);
    let coroutine = join::current();
    let other = coroutine.clone();
    let unparker = world.spawn(move |_| other.unpark());
    let timer = world.spawn(|tasks| tasks.run_timers());
    join::park_timeout(Duration::from_nanos(1));
    timer.join().unwrap();
    unparker.join().unwrap();
    // Here the token is either used up or there.
    coroutine.unpark();
    join::park();
    assert!(!tasks.gs[0].is_let_go());
}

/// An unpark comes while the parked one is cancelled; a park that unwinds leaves it to the next.
pub(super) fn park_cancelled() {
    let world = Tasks::new(1, loom::cell::Cell::new(0));
    let tasks = world.get();
    tasks.become_coroutine(0);
    let coroutine = join::current();
    let unparker = world.spawn(move |tasks| {
        tasks.shared.set(1);
        coroutine.unpark();
    });
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    if catch_cancel(join::park).is_none() {
        cancel::shield(join::park);
    }
    assert_eq!(tasks.shared.get(), 1, "park returned before unpark");
    unparker.join().unwrap();
    canceller.join().unwrap();
    assert!(!tasks.gs[0].is_let_go());
}

//! The semaphore: permits are given once, in order, and nobody stands in the way who has gone.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::os::clock::NEVER;
use crate::sched::cancel;
use crate::sync::raw_semaphore::{RawSemaphore, Refused};

fn world(tasks: usize) -> World<Tasks<RawSemaphore>> {
    Tasks::new(tasks, RawSemaphore::new(0))
}

fn take(semaphore: &RawSemaphore, count: usize, deadline: u64) -> Result<(), Refused> {
    match semaphore.take(count) {
        Err(Refused::NotYet) => semaphore.take_slow(count, deadline),
        settled => settled,
    }
}

/// Who wants two may give up; one who wants one is behind or before it. Three permits come.
pub(super) fn timeout() {
    let world = world(2);
    let timer = world.spawn(|tasks| tasks.run_timers());
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        take(&tasks.shared, 1, NEVER).unwrap();
    });
    let giver = world.spawn(|tasks| {
        tasks.shared.add(1);
        tasks.shared.add(2);
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let got = take(&tasks.shared, 2, 1).is_ok();
    timer.join().unwrap();
    other.join().unwrap();
    giver.join().unwrap();
    assert_eq!(tasks.shared.available(), if got { 0 } else { 2 });
    assert!(tasks.shared.take(tasks.shared.available()).is_ok(), "somebody is said to wait");
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

/// Who wants two, of one that there will be, is cancelled; then the one behind it gets that one.
pub(super) fn cancel() {
    let world = world(2);
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        take(&tasks.shared, 1, NEVER).unwrap();
    });
    let giver = world.spawn(|tasks| tasks.shared.add(1));
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(catch_cancel(|| take(&tasks.shared, 2, NEVER)).is_none());
    canceller.join().unwrap();
    other.join().unwrap();
    giver.join().unwrap();
    assert_eq!((tasks.shared.available(), tasks.shared.take(0)), (0, Ok(())));
}

/// It is closed while two come; a permit that was there goes to one of them, or to nobody.
pub(super) fn close() {
    let world = world(2);
    let closer = world.spawn(|tasks| tasks.shared.close());
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        if take(&tasks.shared, 1, NEVER).is_ok() {
            tasks.shared.add(1);
        }
    });
    let giver = world.spawn(|tasks| tasks.shared.add(1));
    let tasks = world.get();
    tasks.become_coroutine(0);
    if take(&tasks.shared, 1, NEVER).is_ok() {
        tasks.shared.add(1);
    }
    closer.join().unwrap();
    other.join().unwrap();
    giver.join().unwrap();
    assert_eq!((tasks.shared.available(), tasks.shared.take(1)), (1, Err(Refused::Closed)));
}

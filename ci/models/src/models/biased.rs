//! The biased lock and the run queue in it: owner and thieves exclude each other, and every G
//! comes out once.

use super::World;
use crate::sched::biased::Biased;
use crate::sched::g::{G, GRef};
use crate::sched::real_lock::Spin;
use crate::sched::runq::{RunQueue, Steal};
use loom::cell::Cell;
use std::cell::RefCell;

/// The owner goes in twice; a thief tries.
pub(super) fn owner_and_thief() {
    let world = World::new(Biased::new(0));
    let thief = world.spawn(|lock| {
        lock.steal(|value| *value += 10);
    });
    let lock = world.get();
    for _ in 0..2 {
        // SAFETY: this thread is the owner.
        unsafe { lock.own(|value| *value += 1) };
    }
    thief.join().unwrap();
    // SAFETY: as above.
    let sum = unsafe { lock.own(|value| *value) };
    assert!(sum == 2 || sum == 12);
}

/// Two thieves and the owner.
pub(super) fn two_thieves() {
    let world = World::new(Biased::new(0));
    let thieves: Vec<_> = (0..2).map(|_| world.spawn(|lock| drop(lock.steal(|value| *value += 10)))).collect();
    let lock = world.get();
    // SAFETY: this thread is the owner.
    unsafe { lock.own(|value| *value += 1) };
    for thief in thieves {
        thief.join().unwrap();
    }
    // SAFETY: as above.
    let sum = unsafe { lock.own(|value| *value) };
    assert!(matches!(sum, 1 | 11 | 21));
}

struct Queues {
    gs: Vec<G>,
    owners: RunQueue,
    thiefs: RunQueue,
    /// Who has run, by address.
    ran: [std::sync::Mutex<Vec<*mut G>>; 2],
}

/// The owner pushes and pops, one thief takes the slot, another half of the queue.
pub(super) fn run_queue() {
    let world = World::new(Queues {
        gs: (0..3).map(|_| G::new()).collect(),
        owners: RunQueue::new(),
        thiefs: RunQueue::new(),
        ran: Default::default(),
    });
    let queues = world.get();
    let g = |at: usize| queues.gs[at].reference();
    // SAFETY: this thread owns `owners`.
    unsafe {
        queues.owners.push_ready(g(0));
        queues.owners.push_next(g(1));
    }
    let thief = world.spawn(|queues| {
        let mut ran = queues.ran[1].lock().unwrap();
        ran.extend(queues.owners.steal_next().map(GRef::as_ptr));
        // SAFETY: this thread owns `thiefs`.
        unsafe {
            if let Steal::Success(g) = queues.owners.steal_into(&queues.thiefs, &mut Vec::new()) {
                ran.push(g.as_ptr());
            }
            while let Some((g, _)) = queues.thiefs.pop(false) {
                ran.push(g.as_ptr());
            }
        }
    });
    let mut ran = queues.ran[0].lock().unwrap();
    // SAFETY: as above.
    unsafe {
        ran.extend(queues.owners.pop(false).map(|(g, _)| g.as_ptr()));
        queues.owners.push_next(g(2));
        ran.extend(queues.owners.pop(false).map(|(g, _)| g.as_ptr()));
        thief.join().unwrap();
        while let Some((g, _)) = queues.owners.pop(false) {
            ran.push(g.as_ptr());
        }
    }
    ran.extend(queues.ran[1].lock().unwrap().drain(..));
    ran.sort();
    let mut all: Vec<_> = (0..3).map(|at| g(at).as_ptr()).collect();
    all.sort();
    assert_eq!(*ran, all, "every G comes out once");
    assert!(queues.owners.is_empty());
}

/// The spin lock hands its value to one at a time.
pub(super) fn spin() {
    let world = World::new(Spin::new(Cell::new(0)));
    let other = world.spawn(|lock| {
        let value = lock.lock();
        value.set(value.get() + 1);
    });
    let lock = world.get();
    if let Some(value) = lock.try_lock() {
        value.set(value.get() + 1);
    }
    let value = lock.lock();
    value.set(value.get() + 1);
    drop(value);
    other.join().unwrap();
    assert!(matches!(lock.lock().get(), 2 | 3));
}

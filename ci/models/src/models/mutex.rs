//! The mutex: one holder at a time, and whoever waits gets it, whatever becomes of others who wait.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::os::clock::{NEVER, Nanos};
use crate::sched::cancel;
use crate::sync::raw_mutex::RawMutex;

struct State {
    mutex: RawMutex,
    /// Two who touch it at once are reported.
    value: loom::cell::Cell<u32>,
}

/// A deadline that the timers find passed.
const SOON: Nanos = 1;

fn world(tasks: usize) -> World<Tasks<State>> {
    Tasks::new(tasks, State { mutex: RawMutex::unlocked(), value: loom::cell::Cell::new(0) })
}

impl State {
    /// Locks, changes the value, unlocks. Whether it got the mutex.
    fn turn(&self, deadline: Nanos, fair: bool) -> bool {
        let locked = self.mutex.take_free() || self.mutex.lock_slow(deadline);
        if locked {
            self.value.set(self.value.get() + 1);
            if !self.mutex.release(fair) {
                self.mutex.unlock_slow(fair);
            }
        }
        locked
    }
}

/// What holds when all have gone.
fn end(tasks: &Tasks<State>, turns: u32) {
    assert_eq!(tasks.shared.value.get(), turns);
    assert!(!tasks.shared.mutex.is_held());
    assert!(tasks.shared.mutex.take_free(), "somebody is said to wait, or to be on its way");
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

/// Two, of whom one comes again and may barge in.
pub(super) fn two() {
    let world = world(2);
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.turn(NEVER, false));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.turn(NEVER, false) && tasks.shared.turn(NEVER, false));
    other.join().unwrap();
    end(tasks, 3);
}

fn crowd(fair: bool) {
    let world = world(3);
    let others = [1, 2].map(|at| {
        world.spawn(move |tasks| {
            tasks.become_coroutine(at);
            assert!(tasks.shared.turn(NEVER, fair));
        })
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.turn(NEVER, fair) && tasks.shared.turn(NEVER, fair));
    others.into_iter().for_each(|other| other.join().unwrap());
    end(tasks, 4);
}

/// Three: one waits while another is on its way.
pub(super) fn three() {
    crowd(false);
}

/// The mutex is handed from one to the next.
pub(super) fn hand_over() {
    crowd(true);
}

/// The deadline of one passes, whoever unlocks meanwhile; another waits without one.
pub(super) fn timeout() {
    let world = world(3);
    let timer = world.spawn(|tasks| tasks.run_timers());
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.turn(NEVER, false));
    });
    let holder = world.spawn(|tasks| {
        tasks.become_coroutine(2);
        assert!(tasks.shared.turn(NEVER, true));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let got = tasks.shared.turn(SOON, false);
    timer.join().unwrap();
    other.join().unwrap();
    holder.join().unwrap();
    end(tasks, 2 + u32::from(got));
}

/// One is cancelled, whoever unlocks meanwhile; another is not.
pub(super) fn cancel() {
    let world = world(3);
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.turn(NEVER, false));
    });
    let holder = world.spawn(|tasks| {
        tasks.become_coroutine(2);
        assert!(tasks.shared.turn(NEVER, true));
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let got = catch_cancel(|| tasks.shared.turn(NEVER, false)).is_some();
    canceller.join().unwrap();
    other.join().unwrap();
    holder.join().unwrap();
    end(tasks, 2 + u32::from(got));
}

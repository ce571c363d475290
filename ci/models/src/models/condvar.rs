//! The condition variable: a notification reaches somebody, whatever becomes of others who wait.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::os::clock::{NEVER, Nanos};
use crate::sched::cancel;
use crate::sync::raw_condvar::RawCondvar;
use crate::sync::raw_mutex::RawMutex;

struct State {
    mutex: RawMutex,
    condvar: RawCondvar,
    /// What is waited for, under the mutex.
    flag: loom::cell::Cell<bool>,
}

fn world(tasks: usize) -> World<Tasks<State>> {
    let flag = loom::cell::Cell::new(false);
    Tasks::new(tasks, State { mutex: RawMutex::unlocked(), condvar: RawCondvar::new(), flag })
}

impl State {
    fn lock(&self) {
        if !self.mutex.take_free() {
            self.mutex.lock_slow(NEVER);
        }
    }

    fn unlock(&self) {
        if !self.mutex.release(false) {
            self.mutex.unlock_slow(false);
        }
    }

    /// Waits for the flag, and then tells the next one, if it has not given up.
    fn await_flag(&self, deadline: Nanos) {
        self.lock();
        let mut in_time = true;
        while !self.flag.get() && in_time {
            ((), in_time) = self.condvar.wait(deadline, || self.unlock(), || self.lock());
        }
        self.unlock();
        if in_time {
            self.condvar.notify_one();
        }
    }

    fn set_flag(&self, notify: impl Fn(&RawCondvar)) {
        self.lock();
        self.flag.set(true);
        // With the mutex held: who is notified has to wait for it.
        notify(&self.condvar);
        self.unlock();
    }
}

fn model(deadline: Nanos, disturb: fn(&'static Tasks<State>), notify: fn(&RawCondvar)) {
    let world = world(3);
    let disturber = world.spawn(disturb);
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.await_flag(NEVER);
    });
    let notifier = world.spawn(move |tasks| {
        tasks.become_coroutine(2);
        tasks.shared.set_flag(notify);
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    catch_cancel(|| tasks.shared.await_flag(deadline));
    disturber.join().unwrap();
    other.join().unwrap();
    notifier.join().unwrap();
    assert!(tasks.shared.mutex.take_free());
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

/// One of the two who wait gives up by its deadline.
pub(super) fn timeout() {
    model(1, |tasks| tasks.run_timers(), RawCondvar::notify_one);
}

/// One of the two is cancelled, before or after it is notified.
pub(super) fn cancel() {
    model(NEVER, |tasks| cancel::cancel(tasks.g(0)), RawCondvar::notify_one);
}

/// Both are notified, while one is cancelled.
pub(super) fn notify_all() {
    model(NEVER, |tasks| cancel::cancel(tasks.g(0)), RawCondvar::notify_all);
}

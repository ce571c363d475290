//! A sleep whose end others may put off is not slept on by one who was woken.

use super::World;
use crate::os::timerfd::Timer;
use crate::sched::snooze::Snooze;
use loom::sync::atomic::{AtomicU32, Ordering};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
/// A time to come.
const LATER: u64 = 5_000;

struct Bed {
    snooze: Snooze,
    word: AtomicU32,
}

impl Bed {
    fn new(timer: Option<Timer>) -> World<Bed> {
        World::new(Bed { snooze: Snooze::new(timer), word: AtomicU32::new(ASLEEP) })
    }

    /// As sysmon does it.
    fn sleep(&self) {
        while self.word.load(Ordering::Acquire) == ASLEEP {
            if !self.snooze.wait(&self.word, ASLEEP, LATER) {
                break;
            }
        }
    }

    fn wake(&self) {
        self.word.store(AWAKE, Ordering::Release);
        self.snooze.wake(&self.word);
    }
}

fn one_wakes(timer: Option<Timer>) {
    let world = Bed::new(timer);
    let thread = world.spawn(Bed::sleep);
    world.get().wake();
    thread.join().unwrap();
}

pub(super) fn wake() {
    one_wakes(Some(Timer::new()));
}

pub(super) fn wake_without_timer() {
    one_wakes(None);
}

/// One more says at the same time that it is early yet.
pub(super) fn put_off() {
    let world = Bed::new(Some(Timer::new()));
    let sleeper = world.spawn(Bed::sleep);
    let other = world.spawn(|bed| {
        let may = || bed.word.load(Ordering::Relaxed) == ASLEEP;
        if may() {
            bed.snooze.put_off(2 * LATER, may);
        }
    });
    world.get().wake();
    sleeper.join().unwrap();
    other.join().unwrap();
}

//! What futures leave at a descriptor: the wakers of the tasks that have polled it.
//!
//! Promise: a task whose poll has returned `Pending` is woken by the first edge after its attempt, whichever executor runs it; and
//! when the descriptor is closed, or the future was dropped and forgotten, nothing of it is left in the netpoller.
//!
//! A poll observes the side, tries the system call, and if that would block publishes a waiter, as every operation does (`poll/word.rs`).
//! The waiter is a future's (`sched/future_task.rs`): whoever ends it wakes the task's waker. Unlike a coroutine, a task does
//! not come back to take its waiter out. So the waiters are listed here, with the descriptor, and an entry whose wait has ended
//! is swept out by the next poll. A task that polls again while its waiter is in force leaves no second one.
//!
//! # Whose netpoller
//!
//! A waker is anybody's code, and the scheduler, which polls a runtime's netpoller, must not run that. [`block_on`]'s are ours and
//! only ready a coroutine: a future that is polled by it in a coroutine waits in its runtime's netpoller. All others wait in
//! one that the process has for them, in which a thread waits, `gort-reactor`, which is started by the first of
//! them and stays. A waker that takes long there delays the other futures and no coroutine. While that thread is there no deadlock
//! is reported: it may wake somebody.
//!
//! # Tasks that have gone
//!
//! Nobody says when a future is dropped that had left a waker. Its entry stays until the next edge, and there may be none for long while
//! ever new tasks poll (reads with a time limit, each in a `block_on` of its own). So a list has room for so many, [`FEW`] at first: the
//! oldest is taken out and woken, which is always allowed, and if it is still there it polls again.
//!
//! If it does, and takes the place of another that is still there, there is no end to it. So one of those that were taken out is watched:
//! if it comes back, tasks wait here and the room is doubled. If others are taken out instead, more and more of them each time, it has gone, and the
//! next is watched. Then the room grows to what tasks that are there need, and among those that go and few that stay
//! hardly at all.
//!
//! Rejected: one waker for each direction, as the traits ask for; of two tasks that read from clones of one socket
//! each poll would wake the other, for ever.
//!
//! [`block_on`]: crate::future::block_on

use crate::poll::Poller;
use crate::poll::desc::{Direction, Record};
use crate::poll::word::{Place, Seen};
use crate::sched::wait::{Waiter, Wake};
use crate::sched::watch_list::Guarded;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;

/// The room for the tasks that wait for one direction of a descriptor, until more are seen to wait.
const FEW: usize = 16;

/// The wakers left at one descriptor; see the module.
#[derive(Debug, Default)]
pub(super) struct Wakers(OnceLock<Box<Guarded<List>>>);

/// See the module.
#[derive(Debug)]
struct List {
    left: Vec<Left>,
    /// As many for each direction.
    room: usize,
    watched: Option<Waker>,
    /// How many were taken out after the one that is watched.
    since: usize,
    /// It has gone if so many were.
    patience: usize,
}

/// One of them.
#[derive(Debug)]
struct Left {
    entry: Entry,
    /// Whom it wakes: another copy, since that one is whoever's who ends the wait.
    waker: Waker,
}

/// A waiter in the netpoller.
#[derive(Clone, Copy, Debug)]
struct Entry {
    record: &'static Record,
    direction: Direction,
    seen: Seen,
    place: Place,
    waiter: Waiter,
}

impl Entry {
    /// Takes it out of the netpoller; its waker is woken if `wakes`, unless it has been.
    fn end(self, wakes: bool) {
        if wakes {
            self.waiter.wake(Wake::Ready);
        } else {
            // First: then whoever is in the middle of ending the wait is the last.
            drop(self.waiter.forget());
        }
        self.record.side(self.direction).retract(self.seen, self.waiter, self.place);
    }
}

impl List {
    fn new() -> List {
        List { left: Vec::new(), room: FEW, watched: None, since: 0, patience: 4 * FEW }
    }

    /// Doubles the room if `waker` is the one that is watched, which is given back.
    fn comes_back(&mut self, waker: &Waker) -> Option<Waker> {
        let back = self.watched.take_if(|watched| watched.will_wake(waker))?;
        self.room *= 2;
        Some(back)
    }

    /// Takes the oldest in `direction` out if there is no room for another; with it comes a waker that is not needed any more.
    fn make_room(&mut self, direction: Direction) -> Option<(Entry, Option<Waker>)> {
        let mut alike = self.left.iter().enumerate().filter(|(_, left)| left.entry.direction == direction);
        let (oldest, _) = alike.next()?;
        if alike.count() + 1 < self.room {
            return None;
        }
        let Left { entry, waker } = self.left.remove(oldest);
        self.since += 1;
        if self.watched.is_some() && self.since <= self.patience {
            return Some((entry, Some(waker)));
        }
        if self.watched.is_some() {
            // Many may be on their way back before it.
            self.patience = self.patience.saturating_mul(2);
        }
        self.since = 0;
        Some((entry, self.watched.replace(waker)))
    }
}

impl Wakers {
    /// Leaves `waker` for the next edge after `seen` was observed; false if one has come since.
    pub(super) fn leave(&self, record: &'static Record, direction: Direction, seen: Seen, waker: &Waker) -> bool {
        let list = self.0.get_or_init(|| Box::new(Guarded::new(List::new())));
        // Wakers are cloned and dropped, which is others' code, without the lock.
        let mut ended = Vec::new();
        let mut is_there = false;
        let back = {
            let mut list = list.lock();
            let mut at = 0;
            while at < list.left.len() {
                let Left { entry, waker: its } = &list.left[at];
                if !entry.waiter.is_armed() {
                    ended.push(list.left.swap_remove(at));
                    continue;
                }
                // In force: an edge that has taken it out has yet to wake it.
                is_there |= std::ptr::eq(entry.record, record) && entry.direction == direction && its.will_wake(waker);
                at += 1;
            }
            list.comes_back(waker)
        };
        drop(back);
        // An edge, or who displaced it, has taken it out; taking it back finds that, or an empty place.
        ended.into_iter().for_each(|left| left.entry.end(false));
        if is_there {
            return true;
        }
        // Before there is anything to be left behind, should one of the clones panic.
        let kept = waker.clone();
        let waiter = Waiter::of_future(waker.clone(), crate::future::is_ours(waker));
        let Some(place) = record.side(direction).publish(seen, waiter) else {
            drop(waiter.forget());
            return false;
        };
        let left = Left { entry: Entry { record, direction, seen, place, waiter }, waker: kept };
        let displaced = {
            let mut list = list.lock();
            let displaced = list.make_room(direction);
            list.left.push(left);
            displaced
        };
        if let Some((entry, _)) = displaced {
            entry.end(true);
        }
        true
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        let Some(list) = self.0.take() else { return };
        let list = std::mem::replace(&mut *list.lock(), List::new());
        list.left.into_iter().for_each(|left| left.entry.end(false));
    }
}

/// The netpoller in which a task waits that has this waker.
pub(super) fn poller(waker: &Waker) -> io::Result<&'static Arc<Poller>> {
    match crate::sched::current_poller() {
        Some(poller) if crate::future::is_ours(waker) => Ok(poller),
        _ => reactor(),
    }
}

/// The netpoller of the process, which is started if it is not there.
fn reactor() -> io::Result<&'static Arc<Poller>> {
    static REACTOR: OnceLock<Arc<Poller>> = OnceLock::new();
    static START: Mutex<()> = Mutex::new(());
    if let Some(poller) = REACTOR.get() {
        return Ok(poller);
    }
    let _one_at_a_time = START.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(poller) = REACTOR.get() {
        return Ok(poller);
    }
    let poller = Arc::new(Poller::new()?);
    let waits = poller.clone();
    let main = move || {
        let mut found = Vec::new();
        loop {
            waits.poll(crate::os::clock::NEVER, &mut |waiter| found.push(waiter));
            for waiter in found.drain(..) {
                // SAFETY: `poll` gives us waiters that it has just claimed, each once.
                unsafe { waiter.ready() };
            }
        }
    };
    let _blocked = crate::os::signal::SignalsBlocked::new();
    std::thread::Builder::new().name("gort-reactor".into()).spawn(main)?;
    Ok(REACTOR.get_or_init(|| poller))
}

//! The netpoller's word: whoever sleeps is woken by the next edge, what comes out of the slot is
//! what one waiter put in.

use super::World;
use crate::poll::word::{Place, Seen, Side, Taken, TwoWords};
use crate::sched::wait_word::{Ticket, WaitWord, Wake};
use loom::sync::{Condvar, Mutex};
use std::ptr;

/// A waiter: which task, and the ticket of its wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Waiter {
    task: usize,
    ticket: u64,
}

impl TwoWords for Waiter {
    fn split(self) -> [*mut (); 2] {
        // Each half says whose it is, so that halves of two waiters are told apart.
        [
            ptr::without_provenance_mut(self.task << 32 | self.ticket as usize),
            ptr::without_provenance_mut(self.ticket as usize),
        ]
    }

    unsafe fn join([first, second]: [*mut (); 2]) -> Waiter {
        assert_eq!(first.addr() & 0xFFFF_FFFF, second.addr(), "halves of two waiters");
        Waiter { task: first.addr() >> 32, ticket: second.addr() as u64 }
    }
}

/// A task that waits.
struct Task {
    word: WaitWord,
    woken: Mutex<u32>,
    changed: Condvar,
}

/// A socket: its lock is the kernel's.
#[derive(Default)]
struct Socket {
    bytes: u32,
    ended: bool,
}

struct State {
    side: Side<Waiter>,
    socket: Mutex<Socket>,
    tasks: [Task; 2],
}

fn state() -> World<State> {
    let task = || Task { word: WaitWord::new(), woken: Mutex::new(0), changed: Condvar::new() };
    World::new(State { side: Side::new(), socket: Mutex::new(Socket::default()), tasks: [task(), task()] })
}

impl State {
    /// The system call: takes at most two bytes. None if it would block.
    fn read(&self) -> Option<u32> {
        let mut socket = self.socket.lock().unwrap();
        let count = socket.bytes.min(2);
        socket.bytes -= count;
        (count > 0 || socket.ended).then_some(count)
    }

    /// Bytes arrive and the kernel tells somebody who polls.
    fn arrive(&self, bytes: u32, end: bool) {
        let mut socket = self.socket.lock().unwrap();
        socket.bytes += bytes;
        socket.ended |= end;
        drop(socket);
        self.edge(end);
    }

    fn edge(&self, always: bool) {
        let Taken { first, others } = self.side.edge(always);
        for waiter in first.into_iter().chain(others) {
            let task = &self.tasks[waiter.task];
            // SAFETY of the real one: a ticket of that task's word, or of an older wait.
            if task.word.claim(Ticket::from_bits(waiter.ticket), Wake::Ready) {
                *task.woken.lock().unwrap() += 1;
                task.changed.notify_one();
            }
        }
    }

    fn park(&self, task: usize) {
        let task = &self.tasks[task];
        let mut woken = task.woken.lock().unwrap();
        while *woken == 0 {
            woken = task.changed.wait(woken).unwrap();
        }
        *woken -= 1;
    }

    /// As `poll/wait.rs`, without a deadline.
    fn wait(&self, task: usize, seen: Seen) {
        if !self.side.is_current(seen) {
            return;
        }
        let ticket = self.tasks[task].word.arm();
        if self.side.publish(seen, Waiter { task, ticket: ticket.to_bits() }).is_none() {
            assert!(self.tasks[task].word.claim(ticket, Wake::Ready), "nobody else knew of it");
            return;
        }
        self.park(task);
    }

    /// A read that waits: observe, try, wait. With `drained` it trusts the note of a short read.
    fn read_or_wait(&self, task: usize) -> u32 {
        let mut may_wait_first = true;
        loop {
            let seen = self.side.observe();
            if !(may_wait_first && self.side.is_drained(seen)) {
                if let Some(count) = self.read() {
                    if count < 2 {
                        self.side.note_drained(seen);
                    }
                    return count;
                }
            }
            may_wait_first = false;
            self.wait(task, seen);
        }
    }
}

/// One reader, one arrival, and an edge that means nothing.
pub(super) fn edge() {
    let world = state();
    let arrival = world.spawn(|state| state.arrive(1, false));
    let spurious = world.spawn(|state| state.edge(false));
    assert_eq!(world.get().read_or_wait(0), 1);
    arrival.join().unwrap();
    spurious.join().unwrap();
    assert_eq!(world.get().side.waiting(), 0);
}

/// Two readers, one arrival with enough for both: the second waits beside the slot, or behind
/// the first in it.
pub(super) fn two_readers() {
    let world = state();
    let arrival = world.spawn(|state| state.arrive(4, false));
    let other = world.spawn(|state| assert_eq!(state.read_or_wait(1), 2));
    assert_eq!(world.get().read_or_wait(0), 2);
    arrival.join().unwrap();
    other.join().unwrap();
}

/// A reader reads short, and waits first the next time; the rest arrives at any time.
pub(super) fn drained() {
    let world = state();
    let arrivals = world.spawn(|state| {
        state.arrive(1, false);
        state.arrive(1, false);
    });
    let state = world.get();
    let mut sum = 0;
    while sum < 2 {
        sum += state.read_or_wait(0);
    }
    arrivals.join().unwrap();
}

/// The same, but the second arrival is the end of the stream, by another path.
pub(super) fn drained_end() {
    let world = state();
    let arrivals = world.spawn(|state| state.arrive(1, true));
    let state = world.get();
    assert_eq!(state.read_or_wait(0), 1);
    assert_eq!(state.read_or_wait(0), 0, "the end");
    arrivals.join().unwrap();
}

/// A waiter gives up and another takes its place in the slot, while an edge comes.
pub(super) fn retract() {
    let world = state();
    let edge = world.spawn(|state| state.edge(false));
    let other = world.spawn(|state| {
        let seen = state.side.observe();
        let ticket = state.tasks[1].word.arm();
        let waiter = Waiter { task: 1, ticket: ticket.to_bits() };
        if let Some(place) = state.side.publish(seen, waiter) {
            // Its deadline passes.
            if state.tasks[1].word.claim(ticket, Wake::Timeout) {
                state.side.retract(seen, waiter, place);
            } else {
                state.park(1);
            }
        }
    });
    let state = world.get();
    let seen = state.side.observe();
    let ticket = state.tasks[0].word.arm();
    let waiter = Waiter { task: 0, ticket: ticket.to_bits() };
    let published = state.side.publish(seen, waiter);
    edge.join().unwrap();
    other.join().unwrap();
    // Whatever happened, an edge that comes later finds the waiter.
    if published.is_some() {
        state.edge(false);
        state.park(0);
    }
    assert_eq!(state.side.waiting(), 0);
}

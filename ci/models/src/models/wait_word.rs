//! The wait word: of several claimers one wins, what it wrote is seen, a stale one never wins.

use super::World;
use crate::sched::wait_word::{Ticket, WaitWord, Wake};
use crate::shim::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::cell::Cell;

struct Wait {
    word: WaitWord,
    /// How a peer learns the ticket. Relaxed, so that nothing but the word orders anything.
    published: AtomicU64,
    /// What the owner wrote before it armed.
    before: Cell<u32>,
    /// What each claimer wrote before it claimed.
    messages: [Cell<u32>; 3],
    won: AtomicUsize,
}

fn wait() -> World<Wait> {
    World::new(Wait {
        word: WaitWord::new(),
        published: AtomicU64::new(0),
        before: Cell::new(0),
        messages: std::array::from_fn(|_| Cell::new(0)),
        won: AtomicUsize::new(0),
    })
}

impl Wait {
    fn claim(&self, ticket: Ticket, why: Wake) {
        // What the owner wrote before it armed is seen by whoever has claimed.
        self.messages[why as usize - 2].set(1);
        if self.word.claim(ticket, why) {
            assert_eq!(self.before.get(), 7);
            self.won.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A peer, a timer and `cancel` at one wait. The owner sees who it was, and its message.
pub(super) fn one_claim() {
    let world = wait();
    let peer = world.spawn(|wait| {
        let bits = wait.published.load(Ordering::Relaxed);
        if bits != 0 {
            wait.claim(Ticket::from_bits(bits), Wake::Ready);
        }
    });
    let canceller = world.spawn(|wait| {
        if let Some(ticket) = wait.word.armed() {
            // Cancel decides by what the owner wrote before, without a claim.
            assert_eq!(wait.before.get(), 7);
            wait.claim(ticket, Wake::Cancel);
        }
    });
    let wait = world.get();
    wait.before.set(7);
    let ticket = wait.word.arm();
    wait.published.store(ticket.to_bits(), Ordering::Relaxed);
    let timer = world.spawn(move |wait| wait.claim(ticket, Wake::Timeout));
    let wake = loop {
        match wait.word.wake() {
            Some(wake) => break wake,
            None => loom::thread::yield_now(),
        }
    };
    assert_eq!(wait.messages[wake as usize - 2].get(), 1);
    assert!(!wait.word.is_armed(ticket) && wait.word.armed().is_none());
    for thread in [peer, canceller, timer] {
        thread.join().unwrap();
    }
    assert_eq!(wait.won.load(Ordering::Relaxed), 1, "one of the claimers wins");
}

/// The timer of the first wait comes during the second.
pub(super) fn stale() {
    let world = wait();
    let wait = world.get();
    wait.before.set(7);
    let first = wait.word.arm();
    let timer = world.spawn(move |wait| wait.claim(first, Wake::Timeout));
    let by_us = wait.word.claim(first, Wake::Ready);
    while wait.word.wake().is_none() {
        loom::thread::yield_now();
    }
    let second = wait.word.arm();
    timer.join().unwrap();
    assert!(wait.word.is_armed(second) && wait.word.wake().is_none(), "the second wait was ended by the first's timer");
    assert_eq!(wait.won.load(Ordering::Relaxed), usize::from(!by_us));
    assert!(wait.word.claim(second, Wake::Ready));
}

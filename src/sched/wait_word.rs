//! The wait word: who may end a wait.
//!
//! Promise: every wait is ended by exactly one of the parties that could end it (a peer on a
//! channel, a timer, the poller, `cancel`), and a party that comes late changes nothing, even
//! if the coroutine it knew has long finished and its memory serves another.
//!
//! The word packs a *ticket*, counted up by one for each wait and never reset, and a state:
//!
//! | state | meaning | who may change it |
//! |---|---|---|
//! | `IDLE` | no wait | the owner, to `ARMED` with the next ticket |
//! | `ARMED` | may be claimed by whoever holds this ticket | any claimer, once, to a `Wake` |
//! | a [`Wake`] | claimed; the claimer makes the owner runnable | the owner, at its next wait |
//!
//! So a stale claim fails on the ticket, and no reference count guards the memory: the words
//! live in memory that stays what it is while the process runs (see `g.rs`, `thread_task.rs`).
//! Modelled in `ci/models`, `wait_word::*`: of several claimers one wins, and a stale one never does.

use crate::shim::atomic::{AtomicU64, Ordering};

const STATE_BITS: u32 = 3;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;
const IDLE: u64 = 0;
const ARMED: u64 = 1;

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Wake {
    /// What was waited for happened.
    Ready = 2,
    /// The deadline passed.
    Timeout = 3,
    /// Somebody asked for the coroutine's end; see `cancel.rs`.
    Cancel = 4,
}

/// One wait of one owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// As a number, at least 8.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// From [`Self::to_bits`].
    pub(crate) fn from_bits(bits: u64) -> Ticket {
        Ticket(bits)
    }
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct WaitWord(AtomicU64);

impl WaitWord {
    pub(crate) fn new() -> WaitWord {
        WaitWord(AtomicU64::new(IDLE))
    }

    /// Begins a wait. Only the owner calls it, and only when its last wait has been claimed or
    /// disarmed.
    pub(crate) fn arm(&self) -> Ticket {
        // Relaxed: nobody else writes the word now. A claimer's compare-and-swap expects an
        // armed word, and the last armed value was replaced when that wait ended.
        let old = self.0.load(Ordering::Relaxed);
        if cfg!(debug_assertions) && old & STATE_MASK == ARMED {
            crate::os::fatal("a wait begins before the last has ended: a Waitable waits in `watch` or `ready_at`");
        }
        let armed = (old | STATE_MASK) + 1 + ARMED;
        // Release: a claimer that got the ticket by a data race of its own (cancel reads the
        // word) sees what the owner wrote before.
        self.0.store(armed, Ordering::Release);
        Ticket(armed)
    }

    /// Ends the wait `ticket` for the reason `why`. True for one caller of one wait; that
    /// caller must then make the owner runnable.
    pub(crate) fn claim(&self, ticket: Ticket, why: Wake) -> bool {
        // AcqRel. Release: what the claimer wrote for the owner (a message) is seen by it
        // after `wake`. Acquire: the claimer sees what the owner wrote before it armed.
        // Relaxed on failure: nothing is read then.
        let claimed = (ticket.0 & !STATE_MASK) | why as u64;
        self.0.compare_exchange(ticket.0, claimed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The wait in force, if there is one: what `cancel` may claim.
    pub(crate) fn armed(&self) -> Option<Ticket> {
        // Acquire: pairs with the Release in `arm`; what the owner wrote before is seen.
        let word = self.0.load(Ordering::Acquire);
        (word & STATE_MASK == ARMED).then_some(Ticket(word))
    }

    /// Whether `ticket` is still in force. A hint for sweeping; a claim decides.
    pub(crate) fn is_armed(&self, ticket: Ticket) -> bool {
        // Relaxed: a hint.
        self.0.load(Ordering::Relaxed) == ticket.0
    }

    /// Whether `ticket` is that of the last wait. For the owner.
    pub(crate) fn is_latest(&self, ticket: Ticket) -> bool {
        // Relaxed: only the owner changes the ticket.
        self.0.load(Ordering::Relaxed) & !STATE_MASK == ticket.0 & !STATE_MASK
    }

    /// Gives another reason for the end of the last wait, which has been claimed. For the owner.
    pub(crate) fn change(&self, why: Wake) {
        // Relaxed: nobody but the owner touches a word that is not armed.
        let old = self.0.load(Ordering::Relaxed);
        debug_assert_ne!(old & STATE_MASK, ARMED, "the wait has not ended");
        self.0.store((old & !STATE_MASK) | why as u64, Ordering::Relaxed);
    }

    /// How the last wait ended; None while it has not. For the owner.
    pub(crate) fn wake(&self) -> Option<Wake> {
        // Acquire: pairs with the Release in `claim`.
        match self.0.load(Ordering::Acquire) & STATE_MASK {
            2 => Some(Wake::Ready),
            3 => Some(Wake::Timeout),
            4 => Some(Wake::Cancel),
            _ => None,
        }
    }
}

//! One wait of one coroutine for one side: U3 of `word.rs`, and how it ends.

use super::desc::Direction;
use super::word::{Seen, Side};
use crate::os::clock::Nanos;
use crate::sched::wait::{self, WaitReason, Wake};

/// Parks the caller until an edge of `side` that is later than `seen`, or until `deadline`:
/// false then. May return true early; the caller tries again in any case. Unwinds if the
/// coroutine is cancelled.
pub(crate) fn wait(side: &Side, direction: Direction, seen: Seen, deadline: Nanos) -> bool {
    if !side.is_current(seen) {
        return true;
    }
    let reason = match direction {
        Direction::Read => WaitReason::Read,
        Direction::Write => WaitReason::Write,
    };
    let wait = wait::begin();
    let waiter = wait.waiter();
    let Some(place) = side.publish(seen, waiter) else {
        // An edge came at the last moment. Nobody has seen the waiter, except `cancel`.
        if wait.abandon() == Some(Wake::Cancel) {
            crate::sched::cancel::unwind();
        }
        return true;
    };
    match wait.park(reason, deadline) {
        Wake::Ready => true,
        Wake::Timeout => {
            side.retract(seen, waiter, place);
            false
        }
        Wake::Cancel => {
            side.retract(seen, waiter, place);
            crate::sched::cancel::unwind();
        }
    }
}

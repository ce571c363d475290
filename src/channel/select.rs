//! Choosing among cases: the protocol of `select!` and [`Select`](super::Select).
//!
//! Promise: exactly one case is chosen and takes effect, the others have had none; if several are possible
//! each has a chance; if none is, the select waits for the first, and misses none.
//!
//! 1. *Try* each case, from a random place on and round, forwards or backwards: of any two that are possible
//!    either comes first as often as the other. What succeeds is chosen.
//! 2. None did: arm the wait word, and leave a node with every case. A case that has become possible since it was
//!    tried does not take the node, and ends this step.
//! 3. Park; or, if step 2 was ended, end the wait, unless somebody was faster.
//! 4. The wait is over, and *one claim has decided who ended it*: a peer through one node, or
//!    nobody through a node (a deadline, `cancel`, an event, this select itself). The others
//!    never will: their claims fail. Take all other nodes out. If a peer ended it, its case is chosen.
//! 5. Else begin again with 1, unless the deadline has passed, or the coroutine is cancelled: a `Waitable` may end any number of
//!    waits for nothing, or let none begin.
//!
//! Why nothing is missed: a node is joined under the channel's lock, after a look at the channel under the same
//! hold of it. So whoever makes the case possible later meets the node. Why there is no deadlock of two selects that
//! face each other: the second to look finds the other's node, does not wait, and meets it by step 1; if both do at once,
//! each ends its own wait first, and one will find the other's node gone or there. A select's own nodes on the other side of a
//! channel do not count, or one that sends and receives on one channel would never wait; nor, for the same reason, if it waits for one
//! side by `wait`.
//!
//! While a select waits it holds no lock and owns nothing in a channel but its nodes, which
//! lie in its frame ([`INLINE`] of them; more are allocated).
//!
//! A coroutine that is cancelled in step 3 takes its nodes out and unwinds: no case has taken effect. Nor has any
//! if a `Waitable` panics in steps 2 to 4, which call users' code: the panic is caught and goes on at the end of step 4, when no
//! node is in a queue any more; if a peer had chosen a case, that is given up.
//!
//! Tested in `tests/select.rs`, `tests/select_random.rs`; modelled in `ci/models`, `select::*`.
//! Rejected: locking all channels in the order of their addresses, as Go does (its cost grows with the
//! cases even if the first is ready, and it sorts); registering first and looking later, as crossbeam does (a peer may
//! then claim a select that is about to find something better).

use super::blocking::{Until, park};
use super::case::{Case, Chosen};
use super::waitq::Node;
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::wait::{self, Wait, WaitReason, Waiter, Wake};
use crate::sched::{bound, cancel};
use std::any::Any;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A select of so many cases allocates nothing.
const INLINE: usize = 16;

/// What somebody panicked with.
type Payload = Box<dyn Any + Send>;

/// Which of several possible cases is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Any.
    Fair,
    /// The first.
    Biased,
}

/// Chooses a case and says which. None if no case became possible in time.
///
/// # Safety
/// The slots of the receives are valid for writes of their messages; they may be one and the same.
#[inline]
pub(super) unsafe fn choose(cases: &[Case<'_>], until: Until, order: Order) -> Option<(usize, Chosen)> {
    crate::sched::checkpoint();
    // SAFETY: the caller's promise.
    match unsafe { try_all(cases, order) } {
        None if !matches!(until, Until::Now) => {
            // SAFETY: the caller's promise.
            unsafe { wait_for(cases, until, order) }
        }
        found => found,
    }
}

/// The indexes of `count` cases, in the order to try them in.
#[inline(always)]
fn in_order(count: usize, order: Order) -> impl Iterator<Item = usize> {
    let (mut at, mut backwards) = (0, false);
    if order == Order::Fair && count > 1 {
        let random = crate::sched::any_random();
        backwards = random >> 63 != 0;
        at = (((random & 0xFFFF_FFFF) * count as u64) >> 32) as usize;
    }
    (0..count).map(move |_| {
        let this = at;
        at = match backwards {
            false if at + 1 == count => 0,
            false => at + 1,
            true if at == 0 => count - 1,
            true => at - 1,
        };
        this
    })
}

/// # Safety
/// As [`choose`].
#[inline]
unsafe fn try_all(cases: &[Case<'_>], order: Order) -> Option<(usize, Chosen)> {
    in_order(cases.len(), order).find_map(|at| {
        let case = &cases[at];
        // SAFETY: the case is alive; the slot is the caller's promise.
        unsafe { (case.ops.try_now)(case.what, case.slot) }.map(|chosen| (at, chosen))
    })
}

/// # Safety
/// As [`choose`].
#[inline(never)]
unsafe fn wait_for(cases: &[Case<'_>], until: Until, order: Order) -> Option<(usize, Chosen)> {
    let Some(deadline) = until.deadline() else {
        // It may have passed since the look: see `is_over`.
        // SAFETY: the caller's promise.
        return unsafe { try_all(cases, order) };
    };
    if cases.len() <= INLINE {
        let mut nodes = [const { MaybeUninit::uninit() }; INLINE];
        // SAFETY: the caller's promise.
        unsafe { wait_with(cases, &mut nodes[..cases.len()], deadline, order) }
    } else {
        let mut nodes = Vec::with_capacity(cases.len());
        nodes.resize_with(cases.len(), MaybeUninit::uninit);
        // SAFETY: the caller's promise.
        unsafe { wait_with(cases, &mut nodes, deadline, order) }
    }
}

/// Steps 2 to 5, with room for the nodes.
///
/// # Safety
/// As [`choose`].
unsafe fn wait_with(
    cases: &[Case<'_>],
    nodes: &mut [MaybeUninit<Node<Waiter>>],
    deadline: Nanos,
    order: Order,
) -> Option<(usize, Chosen)> {
    loop {
        let wait = wait::begin();
        let waiter = wait.waiter();
        let (mut until, mut joined) = (deadline, 0);
        let mut panic = caught(|| {
            for (case, node) in cases.iter().zip(&mut *nodes) {
                // A send's slot is null: it has no message yet.
                let node = node.write(Node::new(waiter, case.slot));
                // SAFETY: the case is alive. The node lies still until the end of this round: until `park` or `abandon` has
                // returned, so that who claimed the wait is done with it, and until it has left. Nothing in this round
                // unwinds before that: what users' code panics with goes on at its end.
                if !unsafe { (case.ops.join)(case.what, node) } {
                    break;
                }
                joined += 1;
                // SAFETY: the case is alive.
                until = until.min(unsafe { (case.ops.next_time)(case.what) });
            }
        });
        let all = joined == cases.len() && panic.is_none();
        let wake = end(wait, all.then_some(until));
        let (mut found, mut at) = (None, 0);
        while at < joined {
            let while_leaving = caught(|| {
                while at < joined {
                    let (case, this) = (&cases[at], at);
                    // SAFETY: written above, as the first `joined` are.
                    let node = unsafe { nodes[at].assume_init_ref() };
                    at += 1;
                    match Chosen::by_peer(node) {
                        Some(chosen) => found = Some((this, chosen)),
                        // SAFETY: it joined above.
                        None => unsafe { (case.ops.leave)(case.what, node) },
                    }
                }
            });
            keep_first(&mut panic, while_leaving);
        }
        if let Some(payload) = panic {
            if let Some((at, chosen)) = found {
                // SAFETY: it was chosen with this slot, and is not used otherwise. If the drop of its message panics, that
                // panic goes on: nothing is joined any more.
                unsafe { (cases[at].ops.give_up)(cases[at].what, cases[at].slot, chosen) };
            }
            resume_unwind(payload);
        }
        if found.is_some() {
            return found;
        }
        if wake == Some(Wake::Cancel) && all {
            cancel::unwind();
        }
        let over = is_over(deadline);
        // SAFETY: the caller's promise.
        let found = unsafe { try_all(cases, order) };
        if found.is_some() || over {
            return found;
        }
        before_next_round();
    }
}

/// Parks until a time; or, if there is none to wait, ends the wait, unless somebody was faster.
fn end(wait: Wait, until: Option<Nanos>) -> Option<Wake> {
    if !wait.is_latest() {
        // On a plain thread; a coroutine has not come so far.
        crate::os::fatal("a Waitable has waited in `watch` or `ready_at`");
    }
    match until {
        Some(until) => Some(park(wait, WaitReason::Select, until)),
        None => wait.abandon(),
    }
}

/// Whether a deadline has passed, whoever ended the wait. To be asked before the last look at the cases: one that the clock makes
/// possible in time is chosen then.
fn is_over(deadline: Nanos) -> bool {
    deadline != NEVER && deadline <= clock::now()
}

/// Lets others run, and lets the caller be ended: what it waits for may never let it park.
fn before_next_round() {
    crate::sched::checkpoint();
    cancel::check();
    // On a plain thread.
    bound::look_again();
}

/// What users' code panicked with, in the middle of a wait. Caught rather than left to a guard: a wait that ends while the
/// coroutine unwinds would have to be begun as one of a coroutine that is panicking.
fn caught(f: impl FnOnce()) -> Option<Payload> {
    catch_unwind(AssertUnwindSafe(f)).err()
}

/// Of several panics the first goes on.
fn keep_first(first: &mut Option<Payload>, other: Option<Payload>) {
    match first {
        None => *first = other,
        // Its own drop might panic.
        Some(_) => std::mem::forget(other),
    }
}

/// Waits until a case might be chosen, and says which; none takes effect. None if that was not in time.
pub(super) fn ready(cases: &[Case<'_>], until: Until, order: Order) -> Option<usize> {
    crate::sched::checkpoint();
    // SAFETY: the cases are alive.
    let look = || in_order(cases.len(), order).find(|&at| unsafe { (cases[at].ops.is_ready)(cases[at].what) });
    let ready = look();
    if ready.is_some() || matches!(until, Until::Now) {
        return ready;
    }
    // It may have passed since the look: see `is_over`.
    let Some(deadline) = until.deadline() else { return look() };
    loop {
        let wait = wait::begin();
        let waiter = wait.waiter();
        let (mut limit, mut watched) = (deadline, 0);
        let mut panic = caught(|| {
            for case in cases {
                // SAFETY: as above.
                if !unsafe { (case.ops.watch)(case.what, waiter) } {
                    break;
                }
                watched += 1;
                // SAFETY: as above.
                limit = limit.min(unsafe { (case.ops.next_time)(case.what) });
            }
        });
        let all = watched == cases.len() && panic.is_none();
        let wake = end(wait, all.then_some(limit));
        let mut left = cases[..watched].iter();
        while left.len() > 0 {
            // SAFETY: as above.
            let unwatch = |case: &Case<'_>| unsafe { (case.ops.unwatch)(case.what, waiter) };
            let while_leaving = caught(|| left.by_ref().for_each(unwatch));
            keep_first(&mut panic, while_leaving);
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        if wake == Some(Wake::Cancel) && all {
            cancel::unwind();
        }
        let over = is_over(deadline);
        let ready = look();
        if ready.is_some() || over {
            return ready;
        }
        before_next_round();
    }
}

//! The queue of those who wait on one side of a channel.
//!
//! Promise: first come, first served; joining, leaving and taking the first are O(1) with any
//! number of waiters; nothing is allocated; and nobody who has stopped waiting is ever touched.
//!
//! A waiter's [`Node`] lies on its own stack and is linked into the queue, which is guarded by
//! the channel's lock. It names the *task* that waits (what can be claimed and readied) and the
//! *slot*: the place on that stack where its message lies or is to be put. A task may have nodes
//! in several queues, or more than one in the same; then a claim decides which of them counts.
//!
//! | the node is | its memory may be touched by | it leaves that state by |
//! |---|---|---|
//! | linked, task not claimed | whoever holds the lock | [`Queue::pop`] |
//! | linked, task claimed elsewhere: by a deadline, `cancel`, another node | whoever holds the lock | [`Queue::pop`], which skips it; its owner's [`Queue::remove`] |
//! | unlinked, claimed by `pop` | who called `pop`, until it readies the task | [`Ready::go`] |
//! | unlinked, otherwise | its owner alone | |
//!
//! Why it holds: an owner leaves its frame only after its wait has ended. Ended by `pop`: then
//! the node is unlinked, and the owner does not run before `go`. Ended otherwise: then it takes
//! the lock and removes the node first, so whoever sees a linked node under the lock sees live
//! memory, whatever became of the wait.
//!
//! The queue is generic over the task, so that a model can drive it with a stub.
//! Tested in `tests` below, and through the channel by `tests/channel.rs` and `channel_random.rs`.
//! Rejected: a growing array of waiters (allocates, and a waiter that gives up costs a search); nodes on the heap (8 ns
//! to make and free each, and they would need a count of references).

use crate::sched::wait::{Waiter, Wake};
use std::cell::Cell;
use std::ptr;

/// A task that waits: what the queue asks of it.
pub(super) trait Task: Copy + PartialEq {
    /// Ends its wait if nobody has. After true the task stands still until [`Self::ready`].
    fn claim(self) -> bool;

    /// Lets the task go on.
    ///
    /// # Safety
    /// The caller's `claim` returned true and it has not called this since.
    unsafe fn ready(self);
}

impl Task for Waiter {
    #[inline(always)]
    fn claim(self) -> bool {
        Waiter::claim(self, Wake::Ready)
    }

    #[inline(always)]
    unsafe fn ready(self) {
        // SAFETY: the same promise.
        unsafe { Waiter::ready(self) }
    }
}

/// What became of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Outcome {
    /// Nothing: it was not this node that ended the wait.
    Pending,
    /// The message has passed through the slot.
    Passed,
    /// The channel was closed; the slot is as it was.
    Closed,
    /// A sender without a message: there is room for it, which nobody else will take.
    Reserved,
    /// A sender without a message: a receiver stands still until it gets one; see [`Node::creditor`].
    Promised,
    /// Whoever claimed the task had nothing to give or take after all: it waits anew.
    Withdrawn,
}

/// One waiter in one queue; see the module.
pub(super) struct Node<W> {
    next: Cell<*const Node<W>>,
    previous: Cell<*const Node<W>>,
    task: W,
    slot: Cell<*mut ()>,
    linked: Cell<bool>,
    outcome: Cell<Outcome>,
}

impl<W: Task> Node<W> {
    /// A node of `task`, whose message lies in `slot` or is to be put there. The slot is null if the task is
    /// a sender that makes its message when it is selected, and not before.
    pub(super) fn new(task: W, slot: *mut ()) -> Node<W> {
        Node {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            task,
            slot: Cell::new(slot),
            linked: Cell::new(false),
            outcome: Cell::new(Outcome::Pending),
        }
    }

    pub(super) fn task(&self) -> W {
        self.task
    }

    /// After [`Outcome::Promised`]: the receiver that stands still until its slot has been filled.
    pub(super) fn creditor(&self) -> Claimed<W> {
        debug_assert_eq!(self.outcome(), Outcome::Promised);
        Claimed { node: self.slot.get().cast_const().cast() }
    }

    /// What became of it. For its owner, when the wait has ended.
    pub(super) fn outcome(&self) -> Outcome {
        self.outcome.get()
    }
}

/// See the module. The channel's lock guards it.
#[derive(Debug)]
pub(super) struct Queue<W> {
    first: *const Node<W>,
    last: *const Node<W>,
}

impl<W: Task> Queue<W> {
    pub(super) const fn new() -> Queue<W> {
        Queue { first: ptr::null(), last: ptr::null() }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// True if somebody has a node here who is not `task`, also one who does not wait any more.
    pub(super) fn has_other(&self, task: Option<W>) -> bool {
        let mut next = self.first;
        // SAFETY: linked nodes are alive (module essay).
        while let Some(node) = unsafe { next.as_ref() } {
            if Some(node.task) != task {
                return true;
            }
            next = node.next.get();
        }
        false
    }

    /// Appends a node.
    ///
    /// # Safety
    /// The node is in no queue. It stays where it is, and alive, until `pop` has claimed its
    /// task and readied it, or [`Self::remove`] has returned.
    pub(super) unsafe fn push(&mut self, node: &Node<W>) {
        debug_assert!(!node.linked.get());
        node.previous.set(self.last);
        node.next.set(ptr::null());
        node.linked.set(true);
        if self.last.is_null() {
            self.first = node;
        } else {
            // SAFETY: `last` is linked, so it is alive (module essay).
            unsafe { (*self.last).next.set(node) };
        }
        self.last = node;
    }

    /// Takes a node out, if it is still in.
    ///
    /// # Safety
    /// The node is in this queue or in none.
    pub(super) unsafe fn remove(&mut self, node: &Node<W>) {
        if !node.linked.replace(false) {
            return;
        }
        let (previous, next) = (node.previous.get(), node.next.get());
        // SAFETY: the neighbours of a linked node are linked, so they are alive (module essay).
        unsafe {
            match previous.as_ref() {
                Some(previous) => previous.next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => next.previous.set(previous),
                None => self.last = previous,
            }
        }
    }

    /// Takes the first node whose task it can claim; those before it have lost and are unlinked.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Claimed<W>> {
        // SAFETY: `first` is linked, so it is alive (module essay).
        while let Some(node) = unsafe { self.first.as_ref() } {
            let next = node.next.get();
            self.first = next;
            // SAFETY: `next` is linked, so it is alive.
            match unsafe { next.as_ref() } {
                Some(next) => next.previous.set(ptr::null()),
                None => self.last = ptr::null(),
            }
            // Before the claim: after a claim that fails the owner relies on it, and one that
            // succeeds makes the node ours anyway.
            node.linked.set(false);
            if node.task.claim() {
                return Some(Claimed { node });
            }
        }
        None
    }
}

/// A node whose task stands still: its slot is the holder's to read or write.
#[derive(Debug)]
#[must_use = "the task stands still until it is readied"]
pub(super) struct Claimed<W> {
    node: *const Node<W>,
}

impl<W: Task> Claimed<W> {
    /// The message's place.
    #[inline(always)]
    pub(super) fn slot<T>(&self) -> *mut T {
        // SAFETY: the task was claimed and not readied, so its node is alive.
        unsafe { (*self.node).slot.get().cast() }
    }

    /// True for a sender that makes its message when it is selected: there is no slot yet.
    #[inline(always)]
    pub(super) fn is_without_message(&self) -> bool {
        self.slot::<()>().is_null()
    }

    /// Tells a sender without a message that `creditor` stands still until it gets one.
    ///
    /// # Safety
    /// The task of `creditor` has been claimed, in the name of this sender, who settles and readies it.
    pub(super) unsafe fn promise(self, creditor: &Node<W>) -> Ready<W> {
        // SAFETY: as in `slot`.
        unsafe { (*self.node).slot.set(ptr::from_ref(creditor).cast_mut().cast()) };
        self.settle(Outcome::Promised)
    }

    /// Notes what has become of the node.
    #[inline(always)]
    pub(super) fn settle(self, outcome: Outcome) -> Ready<W> {
        // SAFETY: as in `slot`.
        let node = unsafe { &*self.node };
        node.outcome.set(outcome);
        Ready(node.task)
    }
}

/// A claimed task that can go on. Holds no pointer to the node.
#[derive(Debug)]
#[must_use = "the task stands still until it is readied"]
pub(super) struct Ready<W>(W);

impl<W: Task> Ready<W> {
    /// Lets it. Call it without the channel's lock: it takes others.
    #[inline(always)]
    pub(super) fn go(self) {
        // SAFETY: a `Ready` comes from one successful claim in `pop` and is used up here.
        unsafe { self.0.ready() }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: order, skipping of lost claims, and removal anywhere. Method: a stub task.

    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    struct Stub<'a> {
        free: &'a Cell<bool>,
    }

    impl Task for Stub<'_> {
        fn claim(self) -> bool {
            self.free.replace(false)
        }
        unsafe fn ready(self) {}
    }

    fn pop(queue: &mut Queue<Stub<'_>>) -> Option<usize> {
        let claimed = queue.pop()?;
        let slot = claimed.slot::<u8>().addr();
        claimed.settle(Outcome::Passed).go();
        Some(slot)
    }

    #[test]
    fn first_come_first_served() {
        let free: Vec<_> = (0..5).map(|_| Cell::new(true)).collect();
        let nodes: Vec<_> =
            (0..5).map(|i| Node::new(Stub { free: &free[i] }, ptr::without_provenance_mut(i))).collect();
        let mut queue = Queue::new();
        for node in &nodes {
            // SAFETY: the nodes outlive the queue's use of them.
            unsafe { queue.push(node) };
        }
        assert_eq!((0..5).map(|_| pop(&mut queue)).collect::<Vec<_>>(), (0..5).map(Some).collect::<Vec<_>>());
        assert!(queue.is_empty() && pop(&mut queue).is_none());
        assert!(nodes.iter().all(|n| n.outcome() == Outcome::Passed));
    }

    #[test]
    fn lost_claims_are_skipped_and_any_node_can_leave() {
        // Every subset of lost and of removed nodes among five.
        for lost in 0u32..32 {
            for removed in 0u32..32 {
                let free: Vec<_> = (0..5).map(|i| Cell::new(lost & 1 << i == 0)).collect();
                let nodes: Vec<_> =
                    (0..5).map(|i| Node::new(Stub { free: &free[i] }, ptr::without_provenance_mut(i))).collect();
                let mut queue = Queue::new();
                // SAFETY: the nodes outlive the queue's use of them.
                unsafe {
                    nodes.iter().for_each(|n| queue.push(n));
                    (0..5).filter(|i| removed & 1 << i != 0).for_each(|i| queue.remove(&nodes[i]));
                }
                let left: Vec<_> = (0..5).filter(|i| (lost | removed) & 1 << i == 0).collect();
                assert_eq!(std::iter::from_fn(|| pop(&mut queue)).collect::<Vec<_>>(), left);
                assert!(queue.is_empty());
                // SAFETY: as above; none is linked any more.
                unsafe { nodes.iter().for_each(|n| queue.remove(n)) };
                assert!(queue.is_empty());
            }
        }
    }

    #[test]
    fn one_task_may_wait_twice_in_a_queue() {
        let (free, other) = (Cell::new(true), Cell::new(true));
        let nodes = [&free, &other, &free].map(|free| Node::new(Stub { free }, ptr::null_mut()));
        let mut queue = Queue::new();
        for node in &nodes {
            // SAFETY: the nodes outlive the queue's use of them.
            unsafe { queue.push(node) };
        }
        assert!(pop(&mut queue).is_some() && pop(&mut queue).is_some() && pop(&mut queue).is_none());
        assert_eq!(nodes.map(|n| n.outcome()), [Outcome::Passed, Outcome::Passed, Outcome::Pending]);
    }
}

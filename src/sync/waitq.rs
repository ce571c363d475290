//! What all primitives here are made of: a state word, and a queue of those who wait.
//!
//! Promise: first come, first served; joining, leaving and taking the first are O(1) with any number
//! of waiters; nothing is allocated; a waiter is granted what it waits for once, or it leaves with
//! nothing by its deadline or by `cancel`, and which of the two it was is known to both sides.
//!
//! A primitive is one [`Waiters`]. Its `state` is the primitive's own affair: an atomic that the
//! uncontended path changes by one compare-and-swap and never looks beyond. Only when the word says that
//! somebody waits, or must wait, is the rest touched: a spin lock of one byte and the pointer to the first
//! [`Node`]. With a state of four bytes that makes 16 bytes: a word, a lock, and one pointer, since
//! the nodes are a ring and the first knows the last. Parking lots get by with one byte, but hash
//! the address into a table that all locks of the process share; words that are state and pointer
//! in one get by with eight bytes, but each change of state is then one of the queue as well.
//!
//! A waiter's node lies on its own stack. Its states, as those of a channel's nodes:
//!
//! | the node is | its memory may be touched by | it leaves that state by |
//! |---|---|---|
//! | linked, task not claimed | whoever holds the lock | [`Locked::grant`], `wake_all` |
//! | linked, task claimed elsewhere: by a deadline, by `cancel` | whoever holds the lock | `grant`, which skips it; its owner, who removes it |
//! | unlinked, claimed by `grant` | who granted, until it readies the task | [`Ready::go`] |
//! | unlinked, otherwise | its owner alone | |
//!
//! # A wait
//!
//! [`Waiters::wait`] is the only place here that parks:
//!
//! 1. arm the wait word;
//! 2. take the lock and *settle*: the primitive looks at its state once more. Either the wait has become
//!    unnecessary, or the state now says that somebody waits, so that nobody overlooks the queue any more;
//! 3. under the same hold of the lock join the queue; unlock;
//! 4. park;
//! 5. granted: the node is out of the queue and says what was granted. That is decided by the claim, and nothing
//!    that comes later takes it back: a `cancel` then waits for the next park, a deadline has not passed. Not
//!    granted: take the lock, leave the queue, and let the primitive tidy up (`left`): others may now have what
//!    this one stood in the way of. That is how the baton is passed on. Only then unwind, if it was `cancel`.
//!
//! Whoever grants claims under the lock and readies after it. In between the claimed tasks stand still, so their
//! nodes are chained into a [`Ready`] through the same pointers.
//!
//! **Waking all** wakes those who wait now, not those who join meanwhile, without holding the lock for all
//! of them at once: the whole ring is detached from `first` with a *sentinel*, a node without a task on
//! the stack of who wakes, in the place of its head. A node can leave such a ring as it leaves the queue:
//! both are rings, and only the head of the queue is pointed to from outside.
//!
//! Tested below, and through each primitive by `tests/sync*.rs`; modelled through mutex, rwlock, condvar and semaphore in
//! `ci/models`. Why not the queue of channels: it has two ends and a lock that guards more than itself, and gives
//! its nodes places for messages; here the size counts, and what a waiter asks for is a number.

use crate::os::clock::Nanos;
use crate::sched::cancel;
use crate::sched::lock::{Spin, SpinGuard};
use crate::sched::wait::{self, Wait, WaitReason, Waiter, Wake};
use crate::shim::const_fn;
use std::cell::Cell;
use std::mem;
use std::ptr;

/// What became of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Grant {
    /// Nothing yet.
    None,
    /// What it waited for is its own.
    Given,
    /// It is to look again.
    Again,
    /// It will never get it.
    Refused,
}

/// How a call of [`Waiters::wait`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited<R> {
    /// It did not have to wait.
    Settled(R),
    /// Somebody ended the wait.
    Granted(Grant),
    /// The deadline passed.
    TimedOut,
}

/// One waiter; see the module.
pub(super) struct Node {
    next: Cell<*const Node>,
    previous: Cell<*const Node>,
    /// None in a sentinel.
    task: Option<Waiter>,
    request: u64,
    linked: Cell<bool>,
    grant: Cell<Grant>,
}

impl Node {
    fn new(task: Option<Waiter>, request: u64) -> Node {
        Node {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            task,
            request,
            linked: Cell::new(false),
            grant: Cell::new(Grant::None),
        }
    }

    /// Puts `self` before `other` in its ring.
    ///
    /// # Safety
    /// `other` and its neighbours are alive, the lock of their ring is held; `self` is in no ring.
    unsafe fn link_before(&self, other: &Node) {
        let previous = other.previous.get();
        self.next.set(other);
        self.previous.set(previous);
        other.previous.set(self);
        // SAFETY: the caller's promise. `previous` may be `other` itself.
        unsafe { (*previous).next.set(self) };
        self.linked.set(true);
    }

    /// Takes `self` out of its ring.
    ///
    /// # Safety
    /// It is in a ring, whose nodes are alive and whose lock is held.
    unsafe fn unlink(&self) {
        let (previous, next) = (self.previous.get(), self.next.get());
        // SAFETY: the caller's promise.
        unsafe {
            (*previous).next.set(next);
            (*next).previous.set(previous);
        }
        self.linked.set(false);
    }

    /// Makes a ring of `self` alone.
    fn link_alone(&self) {
        self.next.set(self);
        self.previous.set(self);
        self.linked.set(true);
    }
}

/// A state word and those who wait for it to change; see the module.
pub(super) struct Waiters<S> {
    pub(super) state: S,
    lock: Spin<()>,
    /// The one who has waited longest. Guarded by the lock, as are the nodes.
    first: Cell<*const Node>,
}

// SAFETY: the pointer leads to nodes of waiters that may be claimed from any thread; the lock guards them.
unsafe impl<S: Send> Send for Waiters<S> {}
// SAFETY: as above: all but the state is touched under the lock.
unsafe impl<S: Sync> Sync for Waiters<S> {}
// Nothing unwinds while the lock is held.
impl<S> std::panic::UnwindSafe for Waiters<S> {}
impl<S> std::panic::RefUnwindSafe for Waiters<S> {}

impl<S: std::fmt::Debug> std::fmt::Debug for Waiters<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<S> Waiters<S> {
    const_fn! {
        pub(super) fn new(state: S) -> Waiters<S> {
            Waiters { state, lock: Spin::new(()), first: Cell::new(ptr::null()) }
        }
    }

    pub(super) fn lock(&self) -> Locked<'_, S> {
        Locked { waiters: self, _guard: self.lock.lock() }
    }

    /// Waits; see the module. `request` is for those who grant, `ahead` says that the caller has waited before
    /// and goes to the head of the queue. `settle` is called under the lock and returns something if there is no
    /// need to wait. `before` is called between joining the queue and parking, and must not unwind. `left` is called under the lock
    /// if the wait ended without a grant, when the node is out of the queue; it may grant to others, and is called again
    /// as long as they are many.
    ///
    /// Unwinds if the wait was cancelled.
    pub(super) fn wait<R>(
        &self,
        (request, ahead): (u64, bool),
        (reason, deadline): (WaitReason, Nanos),
        settle: impl FnOnce(&Locked<'_, S>) -> Option<R>,
        before: impl FnOnce(),
        mut left: impl FnMut(&Locked<'_, S>, &mut Ready),
    ) -> Waited<R> {
        let wait = wait::begin();
        let locked = self.lock();
        if let Some(result) = settle(&locked) {
            drop(locked);
            // Only `cancel` can have ended it: it comes too late for this call.
            wait.abandon();
            return Waited::Settled(result);
        }
        let node = Node::new(Some(wait.waiter()), request);
        // SAFETY: the node lies in this frame, which does not end before the node was claimed by a grant and
        // this task readied, or it has been removed below. In between only `before` might unwind, and that ends the process.
        unsafe { locked.join(&node, ahead) };
        drop(locked);
        let joined = Joined;
        before();
        mem::forget(joined);
        let wake = park(wait, reason, deadline);
        if wake == Wake::Ready {
            return Waited::Granted(node.grant.get());
        }
        self.in_batches(|locked, ready| {
            // SAFETY: joined above, to this queue.
            unsafe { locked.remove(&node) };
            left(locked, ready);
        });
        if wake == Wake::Cancel {
            cancel::unwind();
        }
        Waited::TimedOut
    }

    /// Lets `grant` grant what is there, under the lock, and readies those who got it: again, as long as they are as many as
    /// should be claimed at one hold of the lock, so that nobody is left waiting for what is there.
    pub(super) fn in_batches(&self, mut grant: impl FnMut(&Locked<'_, S>, &mut Ready)) {
        let mut more = true;
        while more {
            let mut ready = Ready::new();
            let locked = self.lock();
            grant(&locked, &mut ready);
            more = ready.is_full();
            drop(locked);
            ready.go();
        }
    }
}

/// While a node is in the queue its frame must not end.
struct Joined;

impl Drop for Joined {
    fn drop(&mut self) {
        crate::os::fatal("what is done between joining a queue and parking has unwound");
    }
}

/// Parks. Not inlined: a program has the code of the switch once, not for each primitive.
#[inline(never)]
fn park(wait: Wait, reason: WaitReason, deadline: Nanos) -> Wake {
    wait.park(reason, deadline)
}

/// The lock of the queue, held.
pub(super) struct Locked<'a, S> {
    waiters: &'a Waiters<S>,
    _guard: SpinGuard<'a, ()>,
}

impl<S> Locked<'_, S> {
    /// Whether the queue is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.first.get().is_null()
    }

    /// Puts a node at the end of the queue, or at its head if it is `ahead`.
    ///
    /// # Safety
    /// The node is in no ring. It stays where it is, and alive, until a grant has claimed its task and readied it,
    /// or [`Self::remove`] has returned.
    unsafe fn join(&self, node: &Node, ahead: bool) {
        debug_assert!(!node.linked.get());
        // SAFETY: what is linked is alive (module essay).
        match unsafe { self.waiters.first.get().as_ref() } {
            None => {
                node.link_alone();
                self.waiters.first.set(node);
            }
            Some(first) => {
                // SAFETY: as above. Before the first is behind the last.
                unsafe { node.link_before(first) };
                if ahead {
                    self.waiters.first.set(node);
                }
            }
        }
    }

    /// Takes a node out of the ring that it is in, if it is in one.
    ///
    /// # Safety
    /// If it is in a ring, that is this queue or was detached from it.
    unsafe fn remove(&self, node: &Node) {
        if !node.linked.get() {
            return;
        }
        if ptr::eq(self.waiters.first.get(), node) {
            let next = node.next.get();
            self.waiters.first.set(if ptr::eq(next, node) { ptr::null() } else { next });
        }
        // SAFETY: the neighbours of a linked node are alive, and the lock is held.
        unsafe { node.unlink() };
    }

    /// Grants to the first waiter that is still to be had what `decide` says, by its request; those before it
    /// have left. None, and nothing is granted, if there is nobody, or if `decide` says None for
    /// who comes first. That one may be about to leave; then its `left` will ask again.
    pub(super) fn grant(
        &self,
        ready: &mut Ready,
        mut decide: impl FnMut(u64) -> Option<Grant>,
    ) -> Option<(u64, Grant)> {
        // SAFETY: what is linked is alive (module essay).
        while let Some(node) = unsafe { self.waiters.first.get().as_ref() } {
            let grant = decide(node.request)?;
            // SAFETY: it is in this queue.
            if unsafe { self.take(node, ready, grant) } {
                return Some((node.request, grant));
            }
        }
        None
    }

    /// Unlinks `node` and claims its task. False if that had been claimed.
    ///
    /// # Safety
    /// The node is in this queue or a ring that was detached from it, and no sentinel.
    unsafe fn take(&self, node: &Node, ready: &mut Ready, grant: Grant) -> bool {
        let task = node.task.expect("a sentinel is not taken");
        // Before the claim: if it fails the owner relies on it, if it succeeds the node is ours anyway.
        // SAFETY: the caller's promise.
        unsafe { self.remove(node) };
        if !task.claim(Wake::Ready) {
            return false;
        }
        node.grant.set(grant);
        ready.add(node);
        true
    }

    /// Grants `grant` to all who wait now, in their order, and unlocks.
    pub(super) fn wake_all(self, grant: Grant) {
        let waiters = self.waiters;
        // SAFETY: what is linked is alive (module essay).
        let Some(first) = (unsafe { waiters.first.get().as_ref() }) else { return };
        let sentinel = Node::new(None, 0);
        // SAFETY: as above, and the sentinel stays here until it is alone.
        unsafe { sentinel.link_before(first) };
        waiters.first.set(ptr::null());
        let mut locked = self;
        loop {
            let mut ready = Ready::new();
            let next = sentinel.next.get();
            let mut next = next;
            while !ptr::eq(next, &sentinel) && !ready.is_full() {
                // SAFETY: linked, so alive.
                let node = unsafe { &*next };
                next = node.next.get();
                // SAFETY: it is in the detached ring.
                unsafe { locked.take(node, &mut ready, grant) };
            }
            let done = ptr::eq(next, &sentinel);
            drop(locked);
            ready.go();
            if done {
                return;
            }
            locked = waiters.lock();
        }
    }
}

/// Claimed tasks, in their order: to be readied when the lock is free.
#[must_use = "the tasks stand still until they are readied"]
pub(super) struct Ready {
    first: *const Node,
    last: *const Node,
    count: usize,
}

/// How many are claimed at one hold of the lock.
const BATCH: usize = 32;

impl Ready {
    pub(super) fn new() -> Ready {
        Ready { first: ptr::null(), last: ptr::null(), count: 0 }
    }

    /// Whether the lock should be left, and these readied, before there are more.
    pub(super) fn is_full(&self) -> bool {
        self.count >= BATCH
    }

    /// Adds a node that was unlinked, and whose task was claimed.
    fn add(&mut self, node: &Node) {
        node.next.set(ptr::null());
        if self.last.is_null() {
            self.first = node;
        } else {
            // SAFETY: added before; its task has not been readied, so it is alive.
            unsafe { (*self.last).next.set(node) };
        }
        self.last = node;
        self.count += 1;
    }

    /// Lets them go on. To be called without the lock.
    #[inline]
    pub(super) fn go(self) {
        let mut node = self.first;
        while !node.is_null() {
            // SAFETY: its task was claimed and has not been readied, so the node is alive.
            let (next, task) = unsafe { ((*node).next.get(), (*node).task) };
            let task = task.expect("a sentinel is not taken");
            // SAFETY: claimed when it was added, and added once.
            unsafe { if self.count == 1 { task.ready() } else { task.ready_in_turn() } };
            node = next;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: order, skipping of lost claims, removal anywhere, also while all are woken. Method: waits of
    //! plain threads, all begun on this one and never parked unless they were granted.

    use super::*;
    use crate::os::clock::NEVER;

    struct Waiting {
        nodes: Vec<Node>,
        waits: Vec<Wait>,
    }

    fn waiting(count: u64) -> Waiting {
        let waits: Vec<_> = (0..count).map(|_| wait::begin()).collect();
        let nodes = waits.iter().zip(0..).map(|(wait, request)| Node::new(Some(wait.waiter()), request)).collect();
        Waiting { nodes, waits }
    }

    /// Ends the waits; what each was granted.
    fn end(waiting: Waiting) -> Vec<Grant> {
        for wait in waiting.waits {
            // What has been readied is consumed, the rest given up.
            wait.abandon();
        }
        waiting.nodes.iter().map(|node| node.grant.get()).collect()
    }

    /// Ends a wait as its deadline would.
    fn time_out(wait: &Wait) {
        assert!(wait.waiter().claim(Wake::Timeout));
        // SAFETY: just claimed. A thread's `ready` only tells it to go on.
        unsafe { wait.waiter().ready() };
    }

    fn granted(waiters: &Waiters<()>) -> Option<u64> {
        let mut ready = Ready::new();
        let granted = waiters.lock().grant(&mut ready, |_| Some(Grant::Given));
        ready.go();
        granted.map(|(request, _)| request)
    }

    #[test]
    fn first_come_first_served_but_who_was_there_before() {
        let waiting = waiting(5);
        let waiters = Waiters::new(());
        for (at, node) in waiting.nodes.iter().enumerate() {
            // SAFETY: the nodes outlive their use.
            unsafe { waiters.lock().join(node, at == 3) };
        }
        assert_eq!(std::iter::from_fn(|| granted(&waiters)).collect::<Vec<_>>(), [3, 0, 1, 2, 4]);
        assert!(waiters.lock().is_empty());
        assert_eq!(end(waiting), [Grant::Given; 5]);
    }

    #[test]
    fn nobody_is_passed_over() {
        let waiting = waiting(2);
        let waiters = Waiters::new(());
        // SAFETY: the nodes outlive their use.
        waiting.nodes.iter().for_each(|node| unsafe { waiters.lock().join(node, false) });
        let mut ready = Ready::new();
        assert_eq!(waiters.lock().grant(&mut ready, |request| (request == 1).then_some(Grant::Given)), None);
        assert!(ready.first.is_null());
        ready.go();
        assert_eq!((granted(&waiters), granted(&waiters), granted(&waiters)), (Some(0), Some(1), None));
        end(waiting);
    }

    /// Calls `f` with every subset of five who timed out and every subset of five who have left, in a queue.
    fn each_case(f: impl Fn(&Waiters<()>, Vec<u64>, &Waiting)) {
        for lost in 0u32..32 {
            for gone in 0u32..32 {
                let waiting = waiting(5);
                let waiters = Waiters::new(());
                for (at, node) in waiting.nodes.iter().enumerate() {
                    // SAFETY: the nodes outlive their use.
                    unsafe { waiters.lock().join(node, false) };
                    if (lost | gone) & 1 << at != 0 {
                        time_out(&waiting.waits[at]);
                    }
                }
                for at in (0..5).filter(|at| gone & 1 << at != 0) {
                    // SAFETY: it is in this queue.
                    unsafe { waiters.lock().remove(&waiting.nodes[at]) };
                }
                f(&waiters, (0..5).filter(|at| (lost | gone) & 1 << at == 0).collect(), &waiting);
                assert!(waiters.lock().is_empty());
                for node in &waiting.nodes {
                    // SAFETY: it is in no ring any more.
                    unsafe { waiters.lock().remove(node) };
                }
                assert!(waiters.lock().is_empty());
                end(waiting);
            }
        }
    }

    #[test]
    fn lost_claims_are_skipped_and_any_node_can_leave() {
        each_case(|waiters, left, _| {
            assert_eq!(std::iter::from_fn(|| granted(waiters)).collect::<Vec<_>>(), left);
        });
    }

    #[test]
    fn all_are_woken() {
        each_case(|waiters, left, waiting| {
            waiters.lock().wake_all(Grant::Again);
            let woken = |at: &u64| waiting.nodes[*at as usize].grant.get() == Grant::Again;
            assert_eq!((0..5).filter(woken).collect::<Vec<_>>(), left);
        });
    }

    /// Those who wait now, not those who join while they are being woken, and some leave while they are.
    #[test]
    fn all_are_who_wait_now() {
        let many = waiting(3 * BATCH as u64 + 5);
        let late = waiting(1);
        let waiters = Waiters::new(());
        // SAFETY: the nodes outlive their use.
        many.nodes.iter().for_each(|node| unsafe { waiters.lock().join(node, false) });
        std::thread::scope(|scope| {
            let locked = waiters.lock();
            let (many, late, waiters) = (Shared(&many), Shared(&late), &waiters);
            scope.spawn(move || {
                let (many, late) = (many, late);
                // It finds the ring whole or detached.
                let (last, wait) = (many.0.nodes.len() - 1, &many.0.waits[many.0.nodes.len() - 1]);
                if wait.waiter().claim(Wake::Timeout) {
                    // SAFETY: claimed; and the node is in the ring or in none.
                    unsafe {
                        wait.waiter().ready();
                        waiters.lock().remove(&many.0.nodes[last]);
                    }
                }
                // SAFETY: the node outlives its use.
                unsafe { waiters.lock().join(&late.0.nodes[0], false) };
            });
            locked.wake_all(Grant::Given);
        });
        assert_eq!(granted(&waiters), Some(0), "only the late one is left");
        assert!(waiters.lock().is_empty());
        let (last, others) = (many.nodes.len() - 1, &many.nodes);
        assert!(others[..last].iter().all(|node| node.grant.get() == Grant::Given));
        end(many);
        end(late);

        #[derive(Clone, Copy)]
        struct Shared<'a>(&'a Waiting);
        // SAFETY: the nodes are touched under the lock, or by who owns them.
        unsafe impl Send for Shared<'_> {}
    }

    #[test]
    fn a_settled_wait_does_not_park() {
        let waiters = Waiters::new(());
        let waited =
            waiters.wait((0, false), (WaitReason::Mutex, NEVER), |_| Some(7), || unreachable!(), |_, _| unreachable!());
        assert_eq!(waited, Waited::Settled(7));
    }
}

//! What a select can choose from: a case, whatever its type.
//!
//! A select knows its cases by four words: what is waited for, a slot where a received message is
//! to be put, and a table of [`Ops`] made for the type. So it needs no generics and no
//! allocation, and its loop (`select.rs`) is compiled once.
//!
//! A case is *chosen* by trying it ([`Ops::try_now`]), or by a peer that ended the wait of its node. Either way something
//! may be pending then, which [`Chosen`] stands for: a message in the slot, a reserved place, a receiver
//! that stands still. It must be used up: by [`Chan::send_chosen`], by taking the message, or by [`Ops::give_up`].

use super::blocking::{Refused, Until};
use super::chan::{Chan, Reserve, Side, Step, pass_to};
use super::waitq::{Claimed, Node, Outcome};
use crate::os::clock::Nanos;
use crate::sched::wait::Waiter;
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub(super) what: *const (),
    /// Where a received message goes; null for all but receives.
    pub(super) slot: *mut (),
    pub(super) ops: &'static Ops,
    life: PhantomData<&'a ()>,
}

/// The operations on a case. All are given its `what`, which is valid for the case's lifetime.
#[derive(Debug)]
pub(super) struct Ops {
    pub(super) kind: Kind,
    /// What a slot needs.
    pub(super) message: Layout,
    /// Chooses the case if that is possible without waiting. The slot is valid for writes.
    pub(super) try_now: unsafe fn(*const (), *mut ()) -> Option<Chosen>,
    /// Queues a node, unless the case might be chosen now: false then. The node stays where it is until
    /// its wait was ended through it or `leave` has returned.
    pub(super) join: unsafe fn(*const (), &Node<Waiter>) -> bool,
    /// Takes the node out again.
    pub(super) leave: unsafe fn(*const (), &Node<Waiter>),
    /// When to look at it again though nobody ends the wait.
    pub(super) next_time: unsafe fn(*const ()) -> Nanos,
    /// Whether it might be chosen.
    pub(super) is_ready: unsafe fn(*const ()) -> bool,
    /// Has the waiter woken when it might be chosen; false if it might be now.
    pub(super) watch: unsafe fn(*const (), Waiter) -> bool,
    /// The end of `watch`.
    pub(super) unwatch: unsafe fn(*const (), Waiter),
    /// Drops what comes with a case that was chosen and is not used. The slot has what it was chosen with.
    pub(super) give_up: unsafe fn(*const (), *mut (), Chosen),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Send,
    Recv,
    Wait,
}

/// What comes with a case that was chosen.
#[derive(Debug)]
#[must_use = "somebody may stand still until it is used or given up"]
pub(super) enum Chosen {
    /// A message, in the slot.
    Received,
    /// Nothing can be sent or received any more.
    Disconnected,
    /// Room for a message, reserved unless the channel is unbounded.
    Room,
    /// A receiver that stands still until it gets the message.
    Peer(Claimed<Waiter>),
    /// What was waited for has happened.
    Ready,
}

impl Chosen {
    /// What a peer has left in the node through which it ended the wait; None if nobody did, or if the wait
    /// must go on.
    pub(super) fn by_peer(node: &Node<Waiter>) -> Option<Chosen> {
        match node.outcome() {
            Outcome::Pending | Outcome::Withdrawn => None,
            Outcome::Passed => Some(Chosen::Received),
            Outcome::Closed => Some(Chosen::Disconnected),
            Outcome::Reserved => Some(Chosen::Room),
            Outcome::Promised => Some(Chosen::Peer(node.creditor())),
        }
    }
}

impl<'a> Case<'a> {
    /// # Safety
    /// `what` is what the operations expect, for as long as `'a`.
    pub(super) unsafe fn new(what: *const (), ops: &'static Ops) -> Case<'a> {
        Case { what, slot: ptr::null_mut(), ops, life: PhantomData }
    }

    /// The case with another slot.
    pub(super) fn with_slot(self, slot: *mut ()) -> Case<'a> {
        Case { slot, ..self }
    }

    pub(super) fn send<T>(chan: &'a Chan<T>) -> Case<'a> {
        // SAFETY: these are a channel's operations.
        unsafe { Case::new(ptr::from_ref(chan).cast(), Sends::<T>::OPS) }
    }

    /// A receive. Its slot is to be set.
    pub(super) fn recv<T>(chan: &'a Chan<T>) -> Case<'a> {
        // SAFETY: these are a channel's operations.
        unsafe { Case::new(ptr::from_ref(chan).cast(), Receives::<T>::OPS) }
    }
}

/// # Safety
/// `what` is a valid pointer to a channel of `T`.
unsafe fn chan<'a, T>(what: *const ()) -> &'a Chan<T> {
    // SAFETY: the caller's promise.
    unsafe { &*what.cast() }
}

struct Receives<T>(PhantomData<T>);

impl<T> Receives<T> {
    const OPS: &'static Ops = &Ops {
        kind: Kind::Recv,
        message: Layout::new::<T>(),
        try_now: Self::try_now,
        // SAFETY: `what` is a channel, see `Ops`; the node is the caller's promise.
        join: |what, node| unsafe { chan::<T>(what).join_if_blocked(Side::Recv, node) },
        // SAFETY: as above.
        leave: |what, node| unsafe { chan::<T>(what).leave(Side::Recv, node) },
        // SAFETY: as above.
        next_time: |what| unsafe { chan::<T>(what) }.next_time(),
        // SAFETY: as above.
        is_ready: |what| unsafe { chan::<T>(what) }.is_ready(Side::Recv),
        // SAFETY: as above.
        watch: |what, waiter| unsafe { chan::<T>(what) }.watch(Side::Recv, waiter),
        // SAFETY: as above.
        unwatch: |what, waiter| unsafe { chan::<T>(what) }.unwatch(Side::Recv, waiter),
        give_up: |_, slot, chosen| {
            if let Chosen::Received = chosen {
                // SAFETY: the message is in the slot, and nobody else takes it.
                unsafe { slot.cast::<T>().drop_in_place() };
            }
        },
    };

    unsafe fn try_now(what: *const (), slot: *mut ()) -> Option<Chosen> {
        // SAFETY: a channel, see `Ops`.
        let chan = unsafe { chan::<T>(what) };
        if chan.looks_empty() {
            return None;
        }
        // SAFETY: the slot is valid.
        match unsafe { chan.recv_to(slot.cast(), Until::Now) } {
            Ok(()) => Some(Chosen::Received),
            Err(Refused::Disconnected) => Some(Chosen::Disconnected),
            Err(Refused::NotYet) => None,
        }
    }
}

struct Sends<T>(PhantomData<T>);

impl<T> Sends<T> {
    const OPS: &'static Ops = &Ops {
        kind: Kind::Send,
        message: Layout::new::<()>(),
        // SAFETY: `what` is a channel, see `Ops`; below, the node is the caller's promise.
        try_now: |what, _| unsafe { chan::<T>(what) }.try_reserve(),
        // SAFETY: as above.
        join: |what, node| unsafe { chan::<T>(what).join_if_blocked(Side::Send, node) },
        // SAFETY: as above.
        leave: |what, node| unsafe { chan::<T>(what).leave(Side::Send, node) },
        next_time: |_| crate::os::clock::NEVER,
        // SAFETY: as above.
        is_ready: |what| unsafe { chan::<T>(what) }.is_ready(Side::Send),
        // SAFETY: as above.
        watch: |what, waiter| unsafe { chan::<T>(what) }.watch(Side::Send, waiter),
        // SAFETY: as above.
        unwatch: |what, waiter| unsafe { chan::<T>(what) }.unwatch(Side::Send, waiter),
        // SAFETY: as above; the choice is the caller's.
        give_up: |what, _, chosen| unsafe { chan::<T>(what).give_up_send(chosen) },
    };
}

impl<T> Chan<T> {
    fn try_reserve(&self) -> Option<Chosen> {
        if self.looks_full() {
            return None;
        }
        if self.is_plainly_open() {
            return Some(Chosen::Room);
        }
        let mut state = self.lock();
        loop {
            return match self.reserve(&mut state) {
                Reserve::Room => Some(Chosen::Room),
                Reserve::Direct(peer) => Some(Chosen::Peer(peer)),
                Reserve::Closed => Some(Chosen::Disconnected),
                Reserve::Blocked => None,
                Reserve::Watched => {
                    state = self.tell_watchers(state, Side::Recv);
                    continue;
                }
            };
        }
    }

    /// Sends by a case that was chosen.
    ///
    /// # Safety
    /// A send to this channel was chosen and has not been used. `value` is valid for reads; after `Ok`
    /// the value is gone from there.
    pub(super) unsafe fn send_chosen(&self, value: *mut T, chosen: Chosen) -> Result<(), Refused> {
        match chosen {
            Chosen::Peer(peer) => {
                // SAFETY: the value is the caller's promise.
                unsafe { pass_to(peer, value) };
                return Ok(());
            }
            Chosen::Room => {}
            _ => return Err(Refused::Disconnected),
        }
        let mut state = self.lock();
        loop {
            // SAFETY: the place was reserved when the case was chosen; the rest is the caller's promise.
            let (step, admitted) = unsafe { self.send_reserved(&mut state, value) };
            match step {
                Step::Done => return Ok(()),
                Step::Closed => return Err(Refused::Disconnected),
                Step::Direct(peer) => {
                    drop(state);
                    // SAFETY: as above.
                    unsafe { pass_to(peer, value) };
                    if let Some(admitted) = admitted {
                        admitted.go();
                    }
                    return Ok(());
                }
                Step::Watched => state = self.tell_watchers(state, Side::Recv),
                Step::NoBlock => state = self.add_block(state),
                _ => crate::os::fatal("a reserved place was taken"),
            }
        }
    }

    /// Gives up a send that was chosen.
    ///
    /// # Safety
    /// A send to this channel was chosen and has not been used.
    #[cold]
    pub(super) unsafe fn give_up_send(&self, chosen: Chosen) {
        match chosen {
            Chosen::Peer(peer) => peer.settle(Outcome::Withdrawn).go(),
            Chosen::Room => {
                let mut state = self.lock();
                let admitted = self.give_back(&mut state);
                drop(state);
                admitted.go();
            }
            _ => {}
        }
    }
}

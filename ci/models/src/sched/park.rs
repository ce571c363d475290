//! Parking is real; to ready a coroutine lets its thread go.

use super::g::{BEGUN, BOUND, CANCEL, GRef};
use super::m::M;
use super::p::P;
use super::preempt::Pin;
use super::runtime::Shared;
use super::wait::{WaitReason, Waiter};
use super::wait_word::{Ticket, Wake};
use crate::shim::asymmetric;
use crate::shim::atomic::Ordering;
use std::ptr;

real!("park");

fn leave_shut(_: &M, _: GRef) {
    unreachable!()
}

pub(crate) unsafe fn ready(g: GRef) {
    if g.runtime.get().is_null() {
        g.let_go();
    } else {
        // SAFETY: the caller's promise.
        unsafe { queues::ready(g) }
    }
}

pub(crate) unsafe fn ready_in_turn(g: GRef) {
    if g.runtime.get().is_null() {
        // Whose turn it is, the checker decides.
        g.let_go();
    } else {
        // SAFETY: the caller's promise.
        unsafe { queues::ready_in_turn(g) }
    }
}

pub(crate) use queues::{ready_claimed, requeue};

mod queues {
    //! Where Gs go through queues.
    use super::*;
    real!("ready");
}

//! The end of a coroutine.

use super::g::{self, GRef, Op};
use super::m::M;
use crate::shim::atomic::Ordering;

real!("complete");

mod local {
    /// No model has coroutine-local values.
    pub(super) fn end(_: super::GRef) {}
}

fn drop_outcome(g: GRef, state: u64) {
    // SAFETY: the coroutine has ended, and without a handle the outcome is ours.
    unsafe { g.drop_outcome(state) };
}

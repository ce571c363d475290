//! The search for work, without the part that looks at the M's home.

use super::g::GRef;
use super::m::M;
use super::p::{LARGE_BATCH, Local, P};
use super::runtime::Shared;
use super::{idle, os_thread, park, preempt};
use crate::os::clock;
use crate::shim::atomic::Ordering;

real!("find");

/// The checker lets others run whenever it likes.
fn yield_cpu(_: &mut Local) -> bool {
    true
}

pub(crate) fn find(m: &'static M) -> Option<GRef> {
    // SAFETY: it holds the P.
    match unsafe { m.p().pick(m.rt) } {
        Some(g) => {
            if m.searching.get() {
                idle::stop_searching(m, true);
            }
            Some(g)
        }
        None => find_more(m),
    }
}

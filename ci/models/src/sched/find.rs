//! The search for work, without the part that looks at the M's home.

use super::g::GRef;
use super::m::M;
use super::p::P;
use super::runtime::Shared;
use super::{idle, os_thread, park, preempt};
use crate::os::clock;

real!("find");

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

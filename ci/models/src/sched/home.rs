//! A home: its word, and what belongs to its wearer.

use super::g::G;
use super::home_word::HomeWord;
use super::m::M;
use std::ptr;

/// No home is given up.
#[derive(Default)]
pub(crate) struct Chain;

impl Chain {
    pub(crate) unsafe fn push(&mut self, _: *mut G) {
        unreachable!()
    }
    pub(crate) fn queue(self, _: &super::runtime::Shared) {
        unreachable!()
    }
}

/// The idle models have no fixed homes; `home_word` has models of its own.
pub(crate) struct Home {
    pub(crate) word: HomeWord<G>,
    pub(crate) shutting: std::cell::Cell<bool>,
    bound_to: std::cell::Cell<*const M>,
}

impl Home {
    /// Worn by its maker.
    pub(crate) fn new() -> Home {
        Home {
            word: HomeWord::new_worn(),
            shutting: std::cell::Cell::new(false),
            bound_to: std::cell::Cell::new(ptr::null()),
        }
    }

    pub(crate) fn bind(&self, m: *const M) {
        self.bound_to.set(m);
    }

    pub(crate) fn bound_to(&self) -> *const M {
        self.bound_to.get()
    }

    pub(crate) fn leave(&self, _: impl FnMut(*mut G)) {
        unreachable!()
    }

    pub(crate) fn live(&self) -> u32 {
        unreachable!()
    }
}

//! A home: its word, and what belongs to its wearer.

use super::g::G;
use super::m::M;

pub(crate) struct Home {
    pub(crate) word: Word,
    pub(crate) shutting: std::cell::Cell<bool>,
    pub(crate) fixed_to: *const M,
}

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
pub(crate) struct Word;

impl Word {
    pub(crate) fn try_wear(&self) -> bool {
        unreachable!()
    }
    pub(crate) fn take_off(&self, _: impl FnMut(*mut G)) {
        unreachable!()
    }
    pub(crate) fn shut(&self, _: impl FnMut(*mut G)) {
        unreachable!()
    }
    pub(crate) unsafe fn wear_or_list(&self, _: *mut G, _: bool, _: impl FnMut(*mut G)) -> super::home_word::Wear {
        unreachable!()
    }
}

impl Home {
    pub(crate) fn live(&self) -> u32 {
        unreachable!()
    }
}

//! Who waits for an event that many may wait for and few do: a list of waiters under a lock.
//!
//! The list owns nothing: a waiter that has gone does no harm. So it can be used by whoever has a [`Waiter`], and a
//! select's watching, a wait in a bound and a coroutine that has not begun are entered alike. Taking one out is
//! quick, however many there are.

use super::lock::{Spin, SpinGuard};
use super::preempt::Pin;
use super::wait::{Waiter, Wake};
use std::collections::BTreeSet;

/// As many are looked through.
const FEW: usize = 16;

/// Waiters, and what each wait is ended for.
#[derive(Debug, Default)]
pub(crate) struct WatchList {
    few: Vec<(Waiter, Wake)>,
    /// Those for whom there was no room.
    many: BTreeSet<(Waiter, Wake)>,
}

impl WatchList {
    pub(crate) fn add(&mut self, waiter: Waiter, why: Wake) {
        if self.few.len() < FEW {
            self.few.push((waiter, why));
        } else {
            self.many.insert((waiter, why));
        }
    }

    pub(crate) fn remove(&mut self, waiter: Waiter, why: Wake) {
        match self.few.iter().position(|&entry| entry == (waiter, why)) {
            Some(at) => drop(self.few.swap_remove(at)),
            None => drop(self.many.remove(&(waiter, why))),
        }
    }

    /// Whether nobody is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    /// Ends all the waits. To be called without the lock that guarded the list.
    pub(crate) fn wake(self) {
        let single = self.few.len() == 1 && self.many.is_empty();
        for (waiter, why) in self.few.into_iter().chain(self.many) {
            if !waiter.claim(why) {
                continue;
            }
            // SAFETY: just claimed.
            unsafe { if single { waiter.ready() } else { waiter.ready_in_turn() } }
        }
    }
}

/// A lock for a few instructions that may allocate: who holds it keeps its P, so that nobody who spins waits for a
/// coroutine that is suspended inside `malloc`.
pub(crate) struct Guarded<T>(Spin<T>);

impl<T> Guarded<T> {
    crate::shim::const_fn! {
        pub(crate) fn new(value: T) -> Guarded<T> {
            Guarded(Spin::new(value))
        }
    }

    pub(crate) fn lock(&self) -> Held<'_, T> {
        let pin = Pin::new();
        Held { guard: self.0.lock(), _pin: pin }
    }
}

impl<T> std::fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

// Nothing unwinds while it is held.
impl<T> std::panic::UnwindSafe for Guarded<T> {}
impl<T> std::panic::RefUnwindSafe for Guarded<T> {}

/// A [`Guarded`], held.
pub(crate) struct Held<'a, T> {
    // Dropped in this order.
    guard: SpinGuard<'a, T>,
    _pin: Pin,
}

impl<T> std::ops::Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> std::ops::DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

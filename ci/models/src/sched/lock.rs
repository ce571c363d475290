//! The spin lock, as its users see it: one that blocks. A spinner makes the checker try every
//! number of vain attempts. The real one is `real_lock`, which has a model of its own.

use loom::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Spin<T>(Mutex<T>);

pub(crate) type SpinGuard<'a, T> = MutexGuard<'a, T>;

impl<T> Spin<T> {
    pub(crate) fn new(value: T) -> Spin<T> {
        Spin(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

// SAFETY: as the real one.
unsafe impl<T: Send> Send for Spin<T> {}
// SAFETY: as the real one.
unsafe impl<T: Send> Sync for Spin<T> {}

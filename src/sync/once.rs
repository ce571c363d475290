//! `Once`: something is done once.

use super::raw_once::RawOnce;
use crate::os::clock::{self, NEVER};
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

/// Lets something be done once, by whoever comes first; others wait until it is done.
///
/// It does not poison: if the closure panics, or its coroutine is cancelled in it, it counts as not done, and the
/// next one tries.
///
/// # Examples
/// ```
/// use gort::sync::Once;
/// static START: Once = Once::new();
///
/// gort::run(|| {
///     for _ in 0..3 {
///         START.call_once(|| println!("printed once"));
///     }
///     assert!(START.is_completed());
/// });
/// ```
///
/// # Scheduling
/// [`call_once`](Self::call_once) parks the coroutine while another is at it, and may then be cancelled; it blocks a
/// plain thread. The closure may park. After that it is one load.
pub struct Once {
    raw: RawOnce,
}

impl Once {
    /// It has not been done.
    ///
    /// # Examples
    /// See [`Once`].
    pub const fn new() -> Once {
        Once { raw: RawOnce::new() }
    }

    /// Calls `f` if nobody has yet, or waits for the one who does. When it returns it has been done, and what was
    /// written by it is seen.
    ///
    /// `f` must not call it again on the same `Once`: it would wait for itself.
    ///
    /// # Examples
    /// See [`Once`].
    ///
    /// # Scheduling
    /// See [`Once`].
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) {
        let done = self.raw.run::<Infallible>(|| {
            f();
            Ok(())
        });
        match done {
            Ok(()) => {}
        }
    }

    /// Whether it has been done; then what was written by it is seen.
    ///
    /// # Examples
    /// ```
    /// let once = gort::sync::Once::new();
    /// assert!(!once.is_completed());
    /// once.call_once(|| ());
    /// assert!(once.is_completed());
    /// ```
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.raw.is_done()
    }

    /// Waits until somebody has done it, who need not have begun.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Once;
    /// static LOADED: Once = Once::new();
    /// gort::run(|| {
    ///     gort::go!(|| LOADED.call_once(|| ()));
    ///     LOADED.wait();
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Parks the coroutine; may be cancelled. Blocks a plain thread.
    pub fn wait(&self) {
        self.raw.wait(NEVER);
    }

    /// [`wait`](Self::wait), but for at most `timeout`: false if it has not been done then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// assert!(!gort::sync::Once::new().wait_timeout(Duration::from_millis(1)));
    /// ```
    ///
    /// # Scheduling
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.raw.is_done() || clock::later(timeout).is_some_and(|deadline| self.raw.wait(deadline))
    }
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish()
    }
}

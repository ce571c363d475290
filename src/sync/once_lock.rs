//! `OnceLock`: a value that is written once.

use super::raw_once::RawOnce;
use crate::os::clock::{self, NEVER};
use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A place for a value that is written once and then shared.
///
/// As [`std::sync::OnceLock`], but who waits for another's initialisation parks instead of blocking a thread.
/// An initialisation that panics, or whose coroutine is cancelled in it, counts as none.
///
/// # Examples
/// ```
/// use gort::sync::OnceLock;
/// static CONFIG: OnceLock<String> = OnceLock::new();
///
/// gort::run(|| {
///     let tasks = [(); 3].map(|()| gort::go!(|| CONFIG.get_or_init(|| String::from("read once")).len()));
///     assert_eq!(tasks.map(|task| task.join().unwrap()), [9; 3]);
/// });
/// ```
///
/// # Scheduling
/// [`get_or_init`](Self::get_or_init) and its like park the coroutine while another initialises, and may then be
/// cancelled; they block a plain thread. Reading a value that is there is one load.
pub struct OnceLock<T> {
    once: RawOnce,
    /// Written by the one attempt that `once` lets through, read when it is done.
    value: UnsafeCell<MaybeUninit<T>>,
    /// It drops a `T`.
    owns: PhantomData<T>,
}

// SAFETY: threads share the value by reference, and any of them may have written it, or take it with `&mut`.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}
// SAFETY: the value goes along.
unsafe impl<T: Send> Send for OnceLock<T> {}
// As std's: a value is there whole or not at all.
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// Without a value.
    ///
    /// # Examples
    /// See [`OnceLock`].
    pub const fn new() -> OnceLock<T> {
        OnceLock { once: RawOnce::new(), value: UnsafeCell::new(MaybeUninit::uninit()), owns: PhantomData }
    }

    /// The value, if it is there.
    ///
    /// # Examples
    /// ```
    /// let cell = gort::sync::OnceLock::new();
    /// assert_eq!(cell.get(), None);
    /// cell.set(1).unwrap();
    /// assert_eq!(cell.get(), Some(&1));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: done, so it is there and is not written any more while the cell is shared.
        self.once.is_done().then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value, to be changed.
    ///
    /// # Examples
    /// ```
    /// let mut cell = gort::sync::OnceLock::from(1);
    /// *cell.get_mut().unwrap() += 1;
    /// assert_eq!(cell.into_inner(), Some(2));
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: done, so it is there; the cell is ours.
        self.once.is_done().then(|| unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// Writes the value.
    ///
    /// # Examples
    /// ```
    /// let cell = gort::sync::OnceLock::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// ```
    ///
    /// # Errors
    /// There is one already, perhaps by another's initialisation that this call had to wait for: `value` comes back.
    ///
    /// # Scheduling
    /// See [`OnceLock`].
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("called once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none, `f` makes it.
    ///
    /// `f` must not initialise the same cell: it would wait for itself.
    ///
    /// # Examples
    /// See [`OnceLock`].
    ///
    /// # Scheduling
    /// See [`OnceLock`].
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, Infallible>(f())) {
            Ok(value) => value,
        }
    }

    /// The value; if there is none, `f` makes it, or fails.
    ///
    /// # Examples
    /// ```
    /// let cell = gort::sync::OnceLock::new();
    /// assert!(cell.get_or_try_init(|| "x".parse::<u32>()).is_err());
    /// assert_eq!(cell.get_or_try_init(|| "7".parse::<u32>()), Ok(&7));
    /// ```
    ///
    /// # Errors
    /// Those of `f`. Then there is still no value, and the next one tries.
    ///
    /// # Scheduling
    /// See [`OnceLock`].
    #[inline]
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        self.once.run(|| {
            let value = f()?;
            // SAFETY: one attempt at a time, and none after one that succeeded: nobody reads or writes it now.
            unsafe { (*self.value.get()).write(value) };
            Ok(())
        })?;
        // SAFETY: done; see `get`.
        Ok(unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// Waits until somebody has written the value.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::OnceLock;
    /// static ANSWER: OnceLock<u32> = OnceLock::new();
    /// gort::run(|| {
    ///     gort::go!(|| ANSWER.set(42));
    ///     assert_eq!(ANSWER.wait(), &42);
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Parks the coroutine; may be cancelled. Blocks a plain thread.
    pub fn wait(&self) -> &T {
        self.once.wait(NEVER);
        // SAFETY: done; see `get`.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// [`wait`](Self::wait), but for at most `timeout`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// assert_eq!(gort::sync::OnceLock::<u32>::new().wait_timeout(Duration::from_millis(1)), None);
    /// ```
    ///
    /// # Scheduling
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Option<&T> {
        if !self.once.is_done() {
            self.once.wait(clock::later(timeout)?);
        }
        self.get()
    }

    /// Takes the value out, so that another can be written.
    ///
    /// # Examples
    /// ```
    /// let mut cell = gort::sync::OnceLock::from(1);
    /// assert_eq!((cell.take(), cell.take()), (Some(1), None));
    /// cell.set(2).unwrap();
    /// ```
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_done() {
            return None;
        }
        self.once = RawOnce::new();
        // SAFETY: it was there, and nobody takes it for there any more.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }

    /// The value, out of the cell.
    ///
    /// # Examples
    /// See [`get_mut`](Self::get_mut).
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        OnceLock { once: RawOnce::new_done(), value: UnsafeCell::new(MaybeUninit::new(value)), owns: PhantomData }
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        self.get().map_or_else(OnceLock::new, |value| OnceLock::from(value.clone()))
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(value) => f.debug_tuple("OnceLock").field(value).finish(),
            None => f.write_str("OnceLock(<uninit>)"),
        }
    }
}

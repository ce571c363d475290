//! `LazyLock`: a value that is made when it is first wanted.

use super::OnceLock;
use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A value that is made when somebody first looks at it.
///
/// As [`std::sync::LazyLock`], but who waits for another's initialisation parks instead of blocking a thread.
///
/// # Panics
/// If the closure panics there will never be a value: whoever looks then panics too. It is gone, and
/// nothing could stand in for it; this is the one type here that behaves as if it were poisoned.
///
/// # Examples
/// ```
/// use gort::sync::LazyLock;
/// static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| "made when wanted".split(' ').collect());
///
/// gort::run(|| assert_eq!(WORDS.len(), 3));
/// ```
///
/// # Scheduling
/// The first look parks the coroutine while another makes the value, and may then be cancelled; it blocks a plain
/// thread. The closure may park, and is [shielded](crate::shield) from being cancelled. Later looks are one load.
pub struct LazyLock<T, F = fn() -> T> {
    value: OnceLock<T>,
    /// Taken by the one who makes the value.
    make: Cell<Option<F>>,
}

// SAFETY: the closure is taken by one task at a time, inside the initialisation of `value`; the rest is as in `OnceLock`.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `make` will make.
    ///
    /// # Examples
    /// See [`LazyLock`].
    pub const fn new(make: F) -> LazyLock<T, F> {
        LazyLock { value: OnceLock::new(), make: Cell::new(Some(make)) }
    }

    /// Looks at the value, as dereferencing does.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::LazyLock;
    /// let lazy = LazyLock::new(|| 92);
    /// assert_eq!((LazyLock::force(&lazy), *lazy), (&92, 92));
    /// ```
    ///
    /// # Panics
    /// If the closure does, or has done so before.
    ///
    /// # Scheduling
    /// See [`LazyLock`].
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.value.get_or_init(|| {
            let make = this.make.take().expect("the closure of this LazyLock has panicked before");
            crate::shield(make)
        })
    }

    /// Looks at the value to change it, as dereferencing mutably does.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::LazyLock;
    /// let mut lazy = LazyLock::new(|| 92);
    /// *LazyLock::force_mut(&mut lazy) += 1;
    /// *lazy += 1;
    /// assert_eq!(*lazy, 94);
    /// ```
    ///
    /// # Panics
    /// As [`force`](Self::force).
    ///
    /// # Scheduling
    /// The closure may park, and is [shielded](crate::shield) from being cancelled. There is nobody to wait for.
    #[inline]
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        LazyLock::force(this);
        this.value.get_mut().expect("made above")
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it has been made.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::LazyLock;
    /// let lazy = LazyLock::new(|| 92);
    /// assert_eq!(LazyLock::get(&lazy), None);
    /// LazyLock::force(&lazy);
    /// assert_eq!(LazyLock::get(&lazy), Some(&92));
    /// ```
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        this.value.get()
    }

    /// The value, to be changed, if it has been made.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::LazyLock;
    /// let mut lazy = LazyLock::new(|| 92);
    /// assert_eq!(LazyLock::get_mut(&mut lazy), None);
    /// LazyLock::force(&lazy);
    /// *LazyLock::get_mut(&mut lazy).unwrap() += 1;
    /// assert_eq!(*lazy, 93);
    /// ```
    #[inline]
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        this.value.get_mut()
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.get() {
            Some(value) => f.debug_tuple("LazyLock").field(value).finish(),
            None => f.write_str("LazyLock(<uninit>)"),
        }
    }
}

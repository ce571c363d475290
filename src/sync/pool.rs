//! Values that are used over and over.
//!
//! A pool has a shelf for each P. Who takes or returns a value uses that of its own P, whose lock is
//! therefore free nearly always; who finds its shelf empty looks at the others before it makes a value. A shelf has two
//! boards. Values are put on the upper one, and taken from it as long as there are some. Once in `max_age` what is on
//! the lower one is dropped and the upper one becomes the lower one, as in the two generations of Go's `sync.Pool`, which
//! its garbage collector turns: so what stays was used within two such times, and what is dropped was not for one.
//!
//! The clock is read at every [`PUTS_PER_LOOK`]-th return only. Users' code (making, resetting, dropping) runs without the
//! lock.

use crate::os::clock::{self, Nanos};
use crate::os::cpus;
use crate::sched::lock::Spin;
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Values on a shelf at most, unless told otherwise.
const CAPACITY: usize = 64;
/// A minute.
const MAX_AGE: Duration = Duration::from_secs(60);
const PUTS_PER_LOOK: u32 = 32;

/// Keeps values for those who need one for a short time, such as buffers.
///
/// A value is taken by [`get`](Self::get) and comes back when the guard is dropped. The pool is no limit: if it has none it
/// makes one, and what it has no room for it drops. (For a limit see [`ObjectPool`](super::ObjectPool).) There is room
/// for [`capacity`](PoolBuilder::capacity) values for each CPU that the process may use, and what has not been needed for
/// [`max_age`](PoolBuilder::max_age) is dropped when the pool is used next, or by [`trim`](Self::trim).
///
/// # Examples
/// ```
/// use gort::sync::Pool;
///
/// static BUFFERS: gort::sync::LazyLock<Pool<Vec<u8>>> = gort::sync::LazyLock::new(|| {
///     Pool::builder(|| Vec::with_capacity(4096)).reset(|buffer: &mut Vec<u8>| {
///         buffer.clear();
///         buffer.capacity() <= 65_536 // not those that have become very large
///     }).build()
/// });
///
/// gort::run(|| {
///     let mut buffer = BUFFERS.get();
///     buffer.extend_from_slice(b"hello");
///     assert_eq!(buffer.len(), 5);
///     drop(buffer);
///     assert!(BUFFERS.get().is_empty());
/// });
/// ```
///
/// # Scheduling
/// Nothing here parks.
pub struct Pool<T> {
    make: Box<dyn Fn() -> T + Send + Sync>,
    reset: Option<Reset<T>>,
    capacity: usize,
    max_age: Nanos,
    shelves: Box<[Shelf<T>]>,
}

type Reset<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;

/// On cache lines of its own, two of which are fetched together.
#[repr(align(128))]
struct Shelf<T>(Spin<Boards<T>>);

struct Boards<T> {
    upper: Vec<T>,
    lower: Vec<T>,
    turned: Nanos,
    puts: u32,
}

impl<T> Boards<T> {
    fn count(&self) -> usize {
        self.upper.len() + self.lower.len()
    }

    fn has_place(&self) -> bool {
        self.upper.len() < self.upper.capacity()
    }

    /// Lengthens the upper board, with the empty one given, whose place the old one takes. Nothing is allocated.
    fn lengthen(&mut self, longer: &mut Vec<T>) {
        if longer.capacity() > self.upper.capacity() {
            longer.append(&mut self.upper);
            mem::swap(longer, &mut self.upper);
        }
    }

    fn take(&mut self) -> Option<T> {
        self.upper.pop().or_else(|| self.lower.pop())
    }

    /// Takes out what is to be dropped at `now`.
    fn turn(&mut self, now: Nanos, max_age: Nanos) -> Vec<T> {
        if now.saturating_sub(self.turned) < max_age {
            return Vec::new();
        }
        self.turned = now;
        let upper = mem::take(&mut self.upper);
        mem::replace(&mut self.lower, upper)
    }
}

impl<T> Pool<T> {
    /// A pool whose values are made by `make`.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::new(String::new);
    /// assert_eq!(*pool.get(), "");
    /// ```
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Pool<T> {
        Pool::builder(make).build()
    }

    /// A pool with other settings.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::builder(|| 0).capacity(1).build();
    /// assert_eq!(*pool.get(), 0);
    /// ```
    pub fn builder(make: impl Fn() -> T + Send + Sync + 'static) -> PoolBuilder<T> {
        PoolBuilder { make: Box::new(make), reset: None, capacity: CAPACITY, max_age: MAX_AGE }
    }

    /// A value: one that was used before, or else a new one.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::new(|| 1);
    /// let mut value = pool.get();
    /// *value += 1;
    /// assert_eq!(*value, 2);
    /// ```
    ///
    /// # Panics
    /// If the function that makes values does.
    pub fn get(&self) -> Pooled<'_, T> {
        let value = self.take().unwrap_or_else(|| (self.make)());
        Pooled { pool: self, value: ManuallyDrop::new(value) }
    }

    fn take(&self) -> Option<T> {
        let own = crate::sched::place() % self.shelves.len();
        let found = self.shelves[own].0.lock().take();
        if found.is_some() {
            return found;
        }
        let others = self.shelves[own + 1..].iter().chain(&self.shelves[..own]);
        others.filter_map(|shelf| shelf.0.try_lock()).find_map(|mut boards| boards.take())
    }

    /// Gives the pool a value that did not come from it.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::new(|| vec![0u8; 10]);
    /// pool.put(vec![1]);
    /// assert_eq!(*pool.get(), [1]);
    /// ```
    pub fn put(&self, mut value: T) {
        if self.reset.as_ref().is_some_and(|reset| !reset(&mut value)) {
            return;
        }
        let own = crate::sched::place() % self.shelves.len();
        let mut longer = Vec::new();
        let mut boards = self.shelves[own].0.lock();
        while boards.count() < self.capacity && !boards.has_place() {
            boards.lengthen(&mut longer);
            if !boards.has_place() {
                // Not under the lock, whose holder must not be kept.
                let length = (2 * boards.upper.len()).clamp(4, self.capacity.max(4));
                drop(boards);
                longer = Vec::with_capacity(length);
                boards = self.shelves[own].0.lock();
            }
        }
        let mut spare = None;
        if boards.count() < self.capacity {
            boards.upper.push(value);
        } else {
            spare = Some(value);
        }
        boards.puts = boards.puts.wrapping_add(1);
        let old = if boards.puts.is_multiple_of(PUTS_PER_LOOK) {
            boards.turn(clock::now(), self.max_age)
        } else {
            Vec::new()
        };
        drop(boards);
        drop((spare, old));
    }

    /// Drops what has not been needed for `max_age`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let pool = gort::sync::Pool::builder(|| 1).max_age(Duration::ZERO).build();
    /// drop(pool.get());
    /// assert_eq!(pool.len(), 1);
    /// pool.trim(); // not needed since the last time
    /// pool.trim();
    /// assert_eq!(pool.len(), 0);
    /// ```
    pub fn trim(&self) {
        let now = clock::now();
        for shelf in &self.shelves {
            let old = shelf.0.lock().turn(now, self.max_age);
            drop(old);
        }
    }

    /// How many values it has just now.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::new(|| 1);
    /// drop((pool.get(), pool.get()));
    /// assert_eq!(pool.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.0.lock().count()).sum()
    }

    /// Whether it has none.
    ///
    /// # Examples
    /// ```
    /// assert!(gort::sync::Pool::new(|| 1).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Settings of a [`Pool`].
///
/// # Examples
/// ```
/// let pool = gort::sync::Pool::builder(String::new).capacity(16).build();
/// assert!(pool.is_empty());
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder<T> {
    make: Box<dyn Fn() -> T + Send + Sync>,
    reset: Option<Reset<T>>,
    capacity: usize,
    max_age: Duration,
}

impl<T> PoolBuilder<T> {
    /// Values kept for each CPU at most; default 64.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::builder(|| 1).capacity(0).build();
    /// drop(pool.get());
    /// assert!(pool.is_empty());
    /// ```
    pub fn capacity(mut self, values: usize) -> PoolBuilder<T> {
        self.capacity = values;
        self
    }

    /// What has not been needed for so long is dropped; default one minute.
    ///
    /// It may take twice as long, and until somebody returns a value or calls [`Pool::trim`].
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let pool = gort::sync::Pool::builder(|| 1).max_age(Duration::from_secs(1)).build();
    /// assert_eq!(*pool.get(), 1);
    /// ```
    pub fn max_age(mut self, age: Duration) -> PoolBuilder<T> {
        self.max_age = age;
        self
    }

    /// What is done to a value that comes back; if it says false the value is dropped.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::builder(|| 1).reset(|value| *value < 10).build();
    /// *pool.get() = 10;
    /// assert_eq!(*pool.get(), 1);
    /// ```
    pub fn reset(mut self, reset: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> PoolBuilder<T> {
        self.reset = Some(Box::new(reset));
        self
    }

    /// Makes the pool.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::builder(|| 1).build();
    /// assert_eq!(*pool.get(), 1);
    /// ```
    pub fn build(self) -> Pool<T> {
        let now = clock::now();
        let shelf = |_| Shelf(Spin::new(Boards { upper: Vec::new(), lower: Vec::new(), turned: now, puts: 0 }));
        Pool {
            make: self.make,
            reset: self.reset,
            capacity: self.capacity,
            max_age: u64::try_from(self.max_age.as_nanos()).unwrap_or(u64::MAX),
            shelves: (0..cpus::usable()).map(shelf).collect(),
        }
    }
}

impl<T> fmt::Debug for PoolBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("capacity", &self.capacity)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// A value of a [`Pool`], to which it goes back when this is dropped.
///
/// # Examples
/// ```
/// let pool = gort::sync::Pool::new(String::new);
/// let mut text: gort::sync::Pooled<'_, String> = pool.get();
/// text.push('a');
/// ```
pub struct Pooled<'a, T> {
    pool: &'a Pool<T>,
    /// Taken by `drop` or `detach`, of which there is one.
    value: ManuallyDrop<T>,
}

impl<T> Pooled<'_, T> {
    /// The value, which does not go back.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::Pool::new(|| 1);
    /// assert_eq!(pool.get().detach(), 1);
    /// assert!(pool.is_empty());
    /// ```
    pub fn detach(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: nobody uses it any more: `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.value) }
    }
}

impl<T> Deref for Pooled<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Pooled<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Pooled<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this is the end of it.
        let value = unsafe { ManuallyDrop::take(&mut self.value) };
        if std::thread::panicking() {
            // It may be half of what it should be.
            return;
        }
        self.pool.put(value);
    }
}

impl<T: fmt::Debug> fmt::Debug for Pooled<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&*self.value).finish()
    }
}

//! So many things at most, such as connections, that are used over and over.

use super::semaphore::{AcquireTimeoutError, Semaphore, SemaphorePermit, TryAcquireError};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::watch_list::Guarded;
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Hands out so many objects at most, and makes them when they are needed.
///
/// Who wants one while all are in use waits for its turn. An object comes back when its guard is dropped, and is handed out
/// again, the latest first; those that nobody needs for [`max_idle`](ObjectPoolBuilder::max_idle) are dropped by the next
/// call. One that is broken is [discarded](PooledObject::discard), or fails the [check](ObjectPoolBuilder::check), and
/// another is made in its place.
///
/// A clone is another handle of the same pool. Which of these a caller needs: for values that cost no more than memory there
/// is [`Pool`](super::Pool), without limit.
///
/// # Examples
/// ```
/// use gort::net::TcpStream;
/// use gort::sync::ObjectPool;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// gort::run(|| {
///     let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
///     let address = listener.local_addr().unwrap();
///     let pool = ObjectPool::new(2, move || TcpStream::connect(address));
///     let one = pool.acquire().unwrap();
///     let two = pool.acquire().unwrap();
///     assert!(pool.acquire_timeout(Duration::from_millis(1)).is_err());
///     drop(one);
///     two.discard();
///     assert_eq!((pool.status().idle, pool.status().in_use), (1, 0));
/// });
/// # Ok(())
/// # }
/// ```
pub struct ObjectPool<T, E> {
    shared: Arc<Shared<T, E>>,
}

type Make<T, E> = Box<dyn Fn() -> Result<T, E> + Send + Sync>;
type Check<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;

struct Shared<T, E> {
    make: Make<T, E>,
    check: Option<Check<T>>,
    max_idle: Nanos,
    size: usize,
    /// A permit for each object that is not in use, whether it has been made or not.
    free: Semaphore,
    /// The latest last. It grows as objects come back: a size may be meant as no limit at all.
    idle: Guarded<Vec<Idle<T>>>,
}

struct Idle<T> {
    object: T,
    since: Nanos,
}

impl<T, E> ObjectPool<T, E> {
    /// A pool of `size` objects at most, made by `make`.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::new(2, || Ok::<_, std::io::Error>(1));
    /// assert_eq!(*pool.acquire().unwrap(), 1);
    /// ```
    ///
    /// # Panics
    /// If `size` is 0 or more than [`Semaphore::MAX_PERMITS`].
    pub fn new(size: usize, make: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> ObjectPool<T, E> {
        ObjectPool::builder(size, make).build()
    }

    /// A pool with other settings.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::builder(2, || Ok::<_, ()>(1)).check(|object| *object == 1).build();
    /// assert_eq!(*pool.acquire().unwrap(), 1);
    /// ```
    pub fn builder(size: usize, make: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> ObjectPoolBuilder<T, E> {
        ObjectPoolBuilder { make: Box::new(make), check: None, max_idle: None, size }
    }

    /// An object: an idle one, or else a new one; waits while all are in use.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::new(2, || Ok::<_, std::io::Error>(String::new()));
    /// pool.acquire().unwrap().push('a');
    /// assert_eq!(*pool.acquire().unwrap(), "a");
    /// ```
    ///
    /// # Errors
    /// [`Closed`](ObjectPoolError::Closed), or [`Make`](ObjectPoolError::Make) if one could not be made.
    ///
    /// # Scheduling
    /// Parks the coroutine, or blocks the thread, while all are in use; calls the functions that make and check.
    pub fn acquire(&self) -> Result<PooledObject<T, E>, ObjectPoolError<E>> {
        self.take_with(self.shared.free.acquire().map_err(|_| AcquireTimeoutError::Closed))
    }

    /// As [`acquire`](Self::acquire), but waits for `timeout` at most.
    ///
    /// The time that it takes to make an object does not count: the function that makes one has its own means.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{ObjectPool, ObjectPoolError};
    /// let pool = ObjectPool::new(1, || Ok::<_, std::io::Error>(1));
    /// let one = pool.acquire().unwrap();
    /// let error = pool.acquire_timeout(std::time::Duration::from_millis(1)).unwrap_err();
    /// assert!(matches!(error, ObjectPoolError::Timeout));
    /// ```
    ///
    /// # Errors
    /// As `acquire`, and [`Timeout`](ObjectPoolError::Timeout).
    ///
    /// # Scheduling
    /// As `acquire`.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<PooledObject<T, E>, ObjectPoolError<E>> {
        self.take_with(self.shared.free.acquire_timeout(timeout))
    }

    /// As [`acquire`](Self::acquire), but waits until `deadline` at most.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::new(1, || Ok::<_, std::io::Error>(1));
    /// assert!(pool.acquire_deadline(std::time::Instant::now()).is_ok());
    /// ```
    ///
    /// # Errors
    /// As `acquire`, and [`Timeout`](ObjectPoolError::Timeout).
    ///
    /// # Scheduling
    /// As `acquire`.
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<PooledObject<T, E>, ObjectPoolError<E>> {
        self.take_with(self.shared.free.acquire_deadline(deadline))
    }

    fn take_with(
        &self,
        permit: Result<SemaphorePermit<'_>, AcquireTimeoutError>,
    ) -> Result<PooledObject<T, E>, ObjectPoolError<E>> {
        match permit {
            Ok(permit) => {
                permit.forget();
                self.take()
            }
            Err(AcquireTimeoutError::Closed) => Err(ObjectPoolError::Closed),
            Err(AcquireTimeoutError::Timeout) => Err(ObjectPoolError::Timeout),
        }
    }

    /// As [`acquire`](Self::acquire), but does not wait.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::new(1, || Ok::<_, std::io::Error>(1));
    /// let one = pool.try_acquire().unwrap();
    /// assert!(pool.try_acquire().is_err());
    /// ```
    ///
    /// # Errors
    /// As `acquire`, and [`Timeout`](ObjectPoolError::Timeout) if all are in use.
    pub fn try_acquire(&self) -> Result<PooledObject<T, E>, ObjectPoolError<E>> {
        match self.shared.free.try_acquire() {
            Ok(permit) => {
                permit.forget();
                self.take()
            }
            Err(TryAcquireError::Closed) => Err(ObjectPoolError::Closed),
            Err(TryAcquireError::NoPermits) => Err(ObjectPoolError::Timeout),
        }
    }

    /// The caller has a permit.
    fn take(&self) -> Result<PooledObject<T, E>, ObjectPoolError<E>> {
        // Until there is an object: it may be that none can be made, or that making or checking one panics.
        let permit = Permit(&self.shared.free);
        drop(self.shared.take_stale());
        loop {
            let Some(Idle { mut object, .. }) = self.shared.idle.lock().pop() else { break };
            if self.shared.check.as_ref().is_none_or(|check| check(&mut object)) {
                return Ok(self.hand_out(object, permit));
            }
        }
        let object = (self.shared.make)().map_err(ObjectPoolError::Make)?;
        Ok(self.hand_out(object, permit))
    }

    fn hand_out(&self, object: T, permit: Permit<'_>) -> PooledObject<T, E> {
        mem::forget(permit);
        PooledObject { object: ManuallyDrop::new(object), pool: self.clone() }
    }

    /// Hands out no more objects, and drops the idle ones; who waits is told. Those in use are dropped when they come back.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{ObjectPool, ObjectPoolError};
    /// let pool = ObjectPool::new(1, || Ok::<_, std::io::Error>(1));
    /// pool.close();
    /// assert!(matches!(pool.acquire(), Err(ObjectPoolError::Closed)));
    /// ```
    pub fn close(&self) {
        self.shared.free.close();
        let idle = mem::take(&mut *self.shared.idle.lock());
        drop(idle);
    }

    /// Whether [`close`](Self::close) was called.
    ///
    /// # Examples
    /// ```
    /// assert!(!gort::sync::ObjectPool::new(1, || Ok::<_, ()>(1)).is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared.free.is_closed()
    }

    /// How many objects there are.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::new(3, || Ok::<_, ()>(1));
    /// let one = pool.acquire();
    /// let status = pool.status();
    /// assert_eq!((status.size, status.in_use, status.idle), (3, 1, 0));
    /// ```
    pub fn status(&self) -> ObjectPoolStatus {
        let idle = self.shared.idle.lock().len();
        let free = self.shared.free.available_permits();
        ObjectPoolStatus { size: self.shared.size, in_use: self.shared.size.saturating_sub(free), idle }
    }
}

impl<T, E> Shared<T, E> {
    /// Those that have been idle for too long; they are the first.
    fn take_stale(&self) -> Vec<T> {
        if self.max_idle == NEVER {
            return Vec::new();
        }
        let first = clock::now().saturating_sub(self.max_idle);
        let mut idle = self.idle.lock();
        let count = idle.iter().take_while(|idle| idle.since < first).count();
        // Allocates only if there are some.
        idle.drain(..count).map(|idle| idle.object).collect()
    }

    fn put(&self, object: T) {
        let since = if self.max_idle == NEVER { 0 } else { clock::now() };
        let mut idle = self.idle.lock();
        // Under the lock under which `close` takes them away, after it has closed.
        if !self.free.is_closed() {
            idle.push(Idle { object, since });
        } else {
            drop(idle);
            drop(object);
        }
    }
}

/// The right to one object, given back when it is dropped.
struct Permit<'a>(&'a Semaphore);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl<T, E> Clone for ObjectPool<T, E> {
    fn clone(&self) -> ObjectPool<T, E> {
        ObjectPool { shared: self.shared.clone() }
    }
}

impl<T, E> fmt::Debug for ObjectPool<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPool").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Settings of an [`ObjectPool`].
///
/// # Examples
/// ```
/// let pool = gort::sync::ObjectPool::builder(1, || Ok::<_, ()>(1)).build();
/// assert_eq!(*pool.acquire().unwrap(), 1);
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct ObjectPoolBuilder<T, E> {
    make: Make<T, E>,
    check: Option<Check<T>>,
    max_idle: Option<Duration>,
    size: usize,
}

impl<T, E> ObjectPoolBuilder<T, E> {
    /// Asked before an object is handed out again: if it says false, the object is dropped.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::builder(1, || Ok::<_, ()>(1)).check(|object| *object < 2).build();
    /// *pool.acquire().unwrap() = 2;
    /// assert_eq!(*pool.acquire().unwrap(), 1);
    /// ```
    pub fn check(mut self, check: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> ObjectPoolBuilder<T, E> {
        self.check = Some(Box::new(check));
        self
    }

    /// For how long an object is kept that nobody needs; default: for ever.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let pool = gort::sync::ObjectPool::builder(1, || Ok::<_, ()>(1)).max_idle(Duration::ZERO).build();
    /// *pool.acquire().unwrap() = 2;
    /// std::thread::sleep(Duration::from_millis(1));
    /// assert_eq!(*pool.acquire().unwrap(), 1);
    /// ```
    pub fn max_idle(mut self, time: Duration) -> ObjectPoolBuilder<T, E> {
        self.max_idle = Some(time);
        self
    }

    /// Makes the pool, without any object.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::builder(1, || Ok::<_, ()>(1)).build();
    /// assert_eq!(pool.status().idle, 0);
    /// ```
    ///
    /// # Panics
    /// If the size is 0 or more than [`Semaphore::MAX_PERMITS`].
    pub fn build(self) -> ObjectPool<T, E> {
        assert!(self.size > 0, "an ObjectPool of size 0");
        let max_idle = self.max_idle.map_or(NEVER, |time| u64::try_from(time.as_nanos()).unwrap_or(NEVER));
        ObjectPool {
            shared: Arc::new(Shared {
                make: self.make,
                check: self.check,
                max_idle,
                size: self.size,
                free: Semaphore::new(self.size),
                idle: Guarded::new(Vec::new()),
            }),
        }
    }
}

impl<T, E> fmt::Debug for ObjectPoolBuilder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPoolBuilder")
            .field("size", &self.size)
            .field("max_idle", &self.max_idle)
            .finish_non_exhaustive()
    }
}

/// An object of an [`ObjectPool`], to which it goes back when this is dropped.
///
/// # Examples
/// ```
/// use gort::sync::{ObjectPool, PooledObject};
/// let pool = ObjectPool::new(1, || Ok::<_, ()>(1));
/// let object: PooledObject<i32, ()> = pool.acquire().unwrap();
/// assert_eq!(*object, 1);
/// ```
pub struct PooledObject<T, E> {
    /// Taken by `drop`, `discard` or `detach`, of which there is one.
    object: ManuallyDrop<T>,
    pool: ObjectPool<T, E>,
}

impl<T, E> PooledObject<T, E> {
    /// Drops the object, which is broken; another one may be made in its place.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::new(1, || Ok::<_, ()>(1));
    /// pool.acquire().unwrap().discard();
    /// assert_eq!(pool.status().idle, 0);
    /// ```
    pub fn discard(self) {
        let (object, pool) = self.into_parts();
        // Given back last, also if the object's destructor panics: so there are never more than so many.
        let _permit = Permit(&pool.shared.free);
        drop(object);
    }

    /// The object, which does not go back; another one may be made in its place.
    ///
    /// # Examples
    /// ```
    /// let pool = gort::sync::ObjectPool::new(1, || Ok::<_, ()>(1));
    /// assert_eq!(pool.acquire().unwrap().detach(), 1);
    /// ```
    pub fn detach(self) -> T {
        let (object, pool) = self.into_parts();
        drop(Permit(&pool.shared.free));
        object
    }

    /// The caller owes the pool a permit.
    fn into_parts(self) -> (T, ObjectPool<T, E>) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: nobody uses either any more: `this` is not dropped.
        unsafe { (ManuallyDrop::take(&mut this.object), std::ptr::read(&this.pool)) }
    }
}

impl<T, E> Deref for PooledObject<T, E> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T, E> DerefMut for PooledObject<T, E> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl<T, E> Drop for PooledObject<T, E> {
    fn drop(&mut self) {
        let _permit = Permit(&self.pool.shared.free);
        // SAFETY: this is the end of it.
        let object = unsafe { ManuallyDrop::take(&mut self.object) };
        if std::thread::panicking() {
            // Half of a request may have been sent on it.
            drop(object);
        } else {
            self.pool.shared.put(object);
        }
    }
}

impl<T: fmt::Debug, E> fmt::Debug for PooledObject<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PooledObject").field(&*self.object).finish()
    }
}

/// What [`ObjectPool::status`] says: a moment's figures.
///
/// # Examples
/// ```
/// let pool = gort::sync::ObjectPool::new(3, || Ok::<_, ()>(1));
/// assert_eq!(pool.status().size, 3);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ObjectPoolStatus {
    /// How many there may be.
    pub size: usize,
    /// How many have been handed out, or are being made.
    pub in_use: usize,
    /// How many are kept for the next ones who need them.
    pub idle: usize,
}

/// Why an [`ObjectPool`] hands out no object.
///
/// # Examples
/// ```
/// let pool = gort::sync::ObjectPool::new(1, || Err::<(), _>("no such server"));
/// assert_eq!(pool.acquire().unwrap_err().to_string(), "no object could be made: no such server");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ObjectPoolError<E> {
    /// The pool was closed.
    Closed,
    /// All were in use for too long.
    Timeout,
    /// One was to be made and could not.
    Make(E),
}

impl<E: fmt::Display> fmt::Display for ObjectPoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectPoolError::Closed => f.write_str("the pool is closed"),
            ObjectPoolError::Timeout => f.write_str("all objects of the pool are in use"),
            ObjectPoolError::Make(error) => write!(f, "no object could be made: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ObjectPoolError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ObjectPoolError::Make(error) => Some(error),
            _ => None,
        }
    }
}

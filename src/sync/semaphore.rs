//! `Semaphore`: permits, and the types that give them back.

use super::raw_semaphore::{RawSemaphore, Refused};
use crate::os::clock::{self, NEVER, Nanos};
use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A number of permits, which tasks take and give back: so many may do something at once.
///
/// Permits are given out strictly in the order of asking. Who wants many is not overtaken by those who want
/// few, and nobody takes a permit past those who wait. That makes a semaphore of one permit slower under
/// contention than a [`Mutex`](super::Mutex).
///
/// # Examples
/// ```
/// use gort::sync::Semaphore;
/// use std::sync::Arc;
///
/// gort::run(|| {
///     let slots = Arc::new(Semaphore::new(2));
///     let tasks: Vec<_> = (0..10)
///         .map(|_| {
///             let slots = slots.clone();
///             gort::go!(move || {
///                 let _slot = slots.acquire().unwrap();
///                 gort::yield_now(); // at most two are here at once
///             })
///         })
///         .collect();
///     tasks.into_iter().for_each(|task| task.join().unwrap());
///     assert_eq!(slots.available_permits(), 2);
/// });
/// ```
///
/// # Scheduling
/// To acquire parks the coroutine until the permits are there, and may then be cancelled: then it has got none. It
/// blocks a plain thread. If the permits are there it is one compare-and-swap. All else returns at once.
pub struct Semaphore {
    raw: RawSemaphore,
}

impl Semaphore {
    /// The most permits that there can be.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Semaphore;
    /// assert_eq!(Semaphore::new(Semaphore::MAX_PERMITS).available_permits(), Semaphore::MAX_PERMITS);
    /// ```
    pub const MAX_PERMITS: usize = RawSemaphore::MOST;

    /// With so many permits.
    ///
    /// # Examples
    /// See [`Semaphore`].
    ///
    /// # Panics
    /// If that is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore { raw: RawSemaphore::new(permits) }
    }

    fn take(&self, count: usize, deadline: impl FnOnce() -> Option<Nanos>) -> Result<(), Refused> {
        match self.raw.take(count) {
            Err(Refused::NotYet) => self.raw.take_slow(count, deadline().ok_or(Refused::NotYet)?),
            settled => settled,
        }
    }

    /// Takes a permit, which is given back when what is returned is dropped.
    ///
    /// # Examples
    /// See [`Semaphore`].
    ///
    /// # Errors
    /// If the semaphore is [closed](Self::close), before or while this waits.
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1)
    }

    /// Takes `count` permits, all at once. If there will never be so many it waits for ever.
    ///
    /// # Examples
    /// ```
    /// let memory = gort::sync::Semaphore::new(100);
    /// let part = memory.acquire_many(60).unwrap();
    /// assert_eq!((part.count(), memory.available_permits()), (60, 40));
    /// drop(part);
    /// assert_eq!(memory.available_permits(), 100);
    /// ```
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_many(&self, count: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.take(count, || Some(NEVER)).map_err(|_| AcquireError)?;
        Ok(SemaphorePermit { semaphore: self, count })
    }

    /// Takes a permit if there is one and nobody waits.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{Semaphore, TryAcquireError};
    /// let one = Semaphore::new(1);
    /// let permit = one.try_acquire().unwrap();
    /// assert_eq!(one.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    /// # drop(permit);
    /// ```
    ///
    /// # Errors
    /// If not, or if the semaphore is closed.
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes `count` permits if they are there and nobody waits.
    ///
    /// # Examples
    /// ```
    /// assert!(gort::sync::Semaphore::new(3).try_acquire_many(4).is_err());
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many(&self, count: usize) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.raw.take(count)?;
        Ok(SemaphorePermit { semaphore: self, count })
    }

    /// [`acquire`](Self::acquire), but waits for at most `timeout`.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::{AcquireTimeoutError, Semaphore};
    /// use std::time::Duration;
    /// let none = Semaphore::new(0);
    /// let error = none.acquire_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error, AcquireTimeoutError::Timeout);
    /// ```
    ///
    /// # Errors
    /// If that has passed, or if the semaphore is closed.
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// [`acquire_many`](Self::acquire_many), but waits for at most `timeout`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let two = gort::sync::Semaphore::new(2);
    /// assert!(two.acquire_many_timeout(3, Duration::from_millis(1)).is_err());
    /// assert!(two.acquire_many_timeout(2, Duration::ZERO).is_ok());
    /// ```
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_many_timeout(
        &self,
        count: usize,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.take(count, || clock::later(timeout))?;
        Ok(SemaphorePermit { semaphore: self, count })
    }

    /// [`acquire`](Self::acquire), but does not wait beyond `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    /// assert!(gort::sync::Semaphore::new(0).acquire_deadline(Instant::now()).is_err());
    /// ```
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.acquire_many_deadline(1, deadline)
    }

    /// [`acquire_many`](Self::acquire_many), but does not wait beyond `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    /// assert!(gort::sync::Semaphore::new(2).acquire_many_deadline(2, Instant::now()).is_ok());
    /// ```
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_many_deadline(
        &self,
        count: usize,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.take(count, || clock::ahead(deadline))?;
        Ok(SemaphorePermit { semaphore: self, count })
    }

    /// [`acquire`](Self::acquire), with a permit that keeps the semaphore and can go anywhere.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// gort::run(|| {
    ///     let connections = Arc::new(Semaphore::new(100));
    ///     let permit = connections.clone().acquire_owned().unwrap();
    ///     let server = gort::go!(move || {
    ///         // .. serves a connection, and then
    ///         drop(permit);
    ///     });
    ///     server.join().unwrap();
    ///     assert_eq!(connections.available_permits(), 100);
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_owned(self: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned(1)
    }

    /// [`acquire_many`](Self::acquire_many), with an owned permit.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Semaphore;
    /// let permit = std::sync::Arc::new(Semaphore::new(3)).acquire_many_owned(2).unwrap();
    /// assert_eq!(permit.semaphore().available_permits(), 1);
    /// ```
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_many_owned(self: Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.take(count, || Some(NEVER)).map_err(|_| AcquireError)?;
        Ok(OwnedSemaphorePermit { semaphore: self, count })
    }

    /// [`try_acquire`](Self::try_acquire), with an owned permit.
    ///
    /// # Examples
    /// ```
    /// assert!(std::sync::Arc::new(gort::sync::Semaphore::new(1)).try_acquire_owned().is_ok());
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(self: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// [`try_acquire_many`](Self::try_acquire_many), with an owned permit.
    ///
    /// # Examples
    /// ```
    /// assert!(std::sync::Arc::new(gort::sync::Semaphore::new(1)).try_acquire_many_owned(2).is_err());
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many_owned(self: Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.raw.take(count)?;
        Ok(OwnedSemaphorePermit { semaphore: self, count })
    }

    /// [`acquire_many_timeout`](Self::acquire_many_timeout), with an owned permit.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let one = std::sync::Arc::new(gort::sync::Semaphore::new(1));
    /// assert!(one.acquire_many_owned_timeout(2, Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Scheduling
    /// See [`Semaphore`].
    pub fn acquire_many_owned_timeout(
        self: Arc<Semaphore>,
        count: usize,
        timeout: Duration,
    ) -> Result<OwnedSemaphorePermit, AcquireTimeoutError> {
        self.take(count, || clock::later(timeout))?;
        Ok(OwnedSemaphorePermit { semaphore: self, count })
    }

    /// Adds permits; those who wait get them.
    ///
    /// # Examples
    /// ```
    /// let semaphore = gort::sync::Semaphore::new(0);
    /// semaphore.add_permits(2);
    /// assert_eq!(semaphore.available_permits(), 2);
    /// ```
    ///
    /// # Panics
    /// If that makes more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn add_permits(&self, count: usize) {
        self.raw.add(count);
    }

    /// Takes away up to `count` of the permits that are there now, for good, and returns how many.
    ///
    /// # Examples
    /// ```
    /// let semaphore = gort::sync::Semaphore::new(2);
    /// assert_eq!((semaphore.forget_permits(3), semaphore.available_permits()), (2, 0));
    /// ```
    pub fn forget_permits(&self, count: usize) -> usize {
        self.raw.remove(count)
    }

    /// How many permits are there now. It may be another number at once.
    ///
    /// # Examples
    /// See [`Semaphore`].
    pub fn available_permits(&self) -> usize {
        self.raw.available()
    }

    /// Ends it: all who wait for permits, or ask for some later, get an error. Permits that are out are given back
    /// as ever.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::Semaphore;
    /// gort::run(|| {
    ///     let none = Semaphore::new(0);
    ///     gort::scope(|s| {
    ///         let waits = s.go(|| none.acquire().is_err());
    ///         none.close();
    ///         assert!(waits.join().unwrap() && none.is_closed());
    ///     });
    /// });
    /// ```
    pub fn close(&self) {
        self.raw.close();
    }

    /// Whether it was closed.
    ///
    /// # Examples
    /// See [`close`](Self::close).
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (permits, closed) = (self.available_permits(), self.is_closed());
        f.debug_struct("Semaphore").field("permits", &permits).field("closed", &closed).finish()
    }
}

/// Permits of a [`Semaphore`], given back when dropped. Unlike the guard of a lock they may go to another task.
///
/// # Examples
/// See [`Semaphore::acquire`].
#[derive(Debug)]
#[must_use = "dropped at once it is given back at once"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

impl<'a> SemaphorePermit<'a> {
    /// How many they are.
    ///
    /// # Examples
    /// See [`Semaphore::acquire_many`].
    pub fn count(&self) -> usize {
        self.count
    }

    /// Never gives them back: there are so many fewer.
    ///
    /// # Examples
    /// ```
    /// let semaphore = gort::sync::Semaphore::new(2);
    /// semaphore.acquire().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn forget(mut self) {
        self.count = 0;
    }

    /// Takes `count` of them out, if they are so many.
    ///
    /// # Examples
    /// ```
    /// let semaphore = gort::sync::Semaphore::new(3);
    /// let mut three = semaphore.acquire_many(3).unwrap();
    /// let one = three.split(1).unwrap();
    /// assert_eq!((three.count(), one.count()), (2, 1));
    /// ```
    pub fn split(&mut self, count: usize) -> Option<SemaphorePermit<'a>> {
        self.count = self.count.checked_sub(count)?;
        Some(SemaphorePermit { semaphore: self.semaphore, count })
    }

    /// Adds others of the same semaphore.
    ///
    /// # Examples
    /// ```
    /// let semaphore = gort::sync::Semaphore::new(3);
    /// let mut permits = semaphore.acquire().unwrap();
    /// permits.merge(semaphore.acquire_many(2).unwrap());
    /// assert_eq!(permits.count(), 3);
    /// ```
    ///
    /// # Panics
    /// If they are another's.
    pub fn merge(&mut self, mut other: SemaphorePermit<'a>) {
        assert!(std::ptr::eq(self.semaphore, other.semaphore), "permits of two semaphores do not mix");
        self.count += mem::take(&mut other.count);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.semaphore.add_permits(self.count);
        }
    }
}

/// Permits that keep their [`Semaphore`]; given back when dropped.
///
/// # Examples
/// See [`Semaphore::acquire_owned`].
#[derive(Debug)]
#[must_use = "dropped at once it is given back at once"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    count: usize,
}

impl OwnedSemaphorePermit {
    /// How many they are.
    ///
    /// # Examples
    /// ```
    /// let semaphore = std::sync::Arc::new(gort::sync::Semaphore::new(3));
    /// assert_eq!(semaphore.acquire_many_owned(2).unwrap().count(), 2);
    /// ```
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whose they are.
    ///
    /// # Examples
    /// See [`Semaphore::acquire_many_owned`].
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Never gives them back: there are so many fewer.
    ///
    /// # Examples
    /// ```
    /// let semaphore = std::sync::Arc::new(gort::sync::Semaphore::new(1));
    /// semaphore.clone().acquire_owned().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// ```
    pub fn forget(mut self) {
        self.count = 0;
    }

    /// Takes `count` of them out, if they are so many.
    ///
    /// # Examples
    /// ```
    /// let semaphore = std::sync::Arc::new(gort::sync::Semaphore::new(3));
    /// let mut three = semaphore.acquire_many_owned(3).unwrap();
    /// assert_eq!((three.split(2).unwrap().count(), three.count()), (2, 1));
    /// ```
    pub fn split(&mut self, count: usize) -> Option<OwnedSemaphorePermit> {
        self.count = self.count.checked_sub(count)?;
        Some(OwnedSemaphorePermit { semaphore: self.semaphore.clone(), count })
    }

    /// Adds others of the same semaphore.
    ///
    /// # Examples
    /// ```
    /// let semaphore = std::sync::Arc::new(gort::sync::Semaphore::new(3));
    /// let mut permits = semaphore.clone().acquire_owned().unwrap();
    /// permits.merge(semaphore.acquire_owned().unwrap());
    /// assert_eq!(permits.count(), 2);
    /// ```
    ///
    /// # Panics
    /// If they are another's.
    pub fn merge(&mut self, mut other: OwnedSemaphorePermit) {
        assert!(Arc::ptr_eq(&self.semaphore, &other.semaphore), "permits of two semaphores do not mix");
        self.count += mem::take(&mut other.count);
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        if self.count > 0 {
            self.semaphore.add_permits(self.count);
        }
    }
}

/// The semaphore is closed.
///
/// # Examples
/// See [`Semaphore::close`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcquireError;

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl Error for AcquireError {}

/// Why [`Semaphore::try_acquire`] got nothing.
///
/// # Examples
/// See [`Semaphore::try_acquire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryAcquireError {
    /// The semaphore is closed.
    Closed,
    /// There are too few permits now, or others wait for them.
    NoPermits,
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryAcquireError::Closed => AcquireError.fmt(f),
            TryAcquireError::NoPermits => f.write_str("the semaphore has too few permits"),
        }
    }
}

impl Error for TryAcquireError {}

impl From<Refused> for TryAcquireError {
    fn from(refused: Refused) -> TryAcquireError {
        match refused {
            Refused::Closed => TryAcquireError::Closed,
            Refused::NotYet => TryAcquireError::NoPermits,
        }
    }
}

/// Why [`Semaphore::acquire_timeout`] got nothing.
///
/// # Examples
/// See [`Semaphore::acquire_timeout`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcquireTimeoutError {
    /// The semaphore is closed.
    Closed,
    /// The time passed first.
    Timeout,
}

impl fmt::Display for AcquireTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireTimeoutError::Closed => AcquireError.fmt(f),
            AcquireTimeoutError::Timeout => f.write_str("timed out waiting for permits of a semaphore"),
        }
    }
}

impl Error for AcquireTimeoutError {}

impl From<Refused> for AcquireTimeoutError {
    fn from(refused: Refused) -> AcquireTimeoutError {
        match refused {
            Refused::Closed => AcquireTimeoutError::Closed,
            Refused::NotYet => AcquireTimeoutError::Timeout,
        }
    }
}

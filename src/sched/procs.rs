//! How many coroutines run at a time: what users see of `ps.rs`.

use super::m::M;
use super::ps::By;
use super::runtime::{Runtime, Shared};
use std::io;
use std::time::Duration;

impl Shared {
    /// How many there are to be, as users have said.
    pub(super) fn said_procs(&self) -> usize {
        #[cfg(gort_chaos)]
        return self.ps.said.load(std::sync::atomic::Ordering::Relaxed);
        #[cfg(not(gort_chaos))]
        self.procs()
    }

    fn set_procs(&self, procs: usize) -> io::Result<()> {
        let room = self.ps.room();
        if procs == 0 || procs > room {
            let text = format!("gort: set_procs({procs}): runtime `{}` can have 1 to {room} Ps", self.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.resize(procs, By::Hand);
        Ok(())
    }
}

impl Runtime {
    /// How many coroutines run at a time: what it was built with, or what it has been changed to since.
    ///
    /// After [`set_procs`](Self::set_procs) it is the new number, though for a moment more may still run.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().procs(3).build()?;
    /// assert_eq!(rt.procs(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn procs(&self) -> usize {
        self.shared().said_procs()
    }

    /// From now on `procs` coroutines run at a time. The others go on when it is their turn.
    ///
    /// If there are more than before, those that wait begin to run at once. If there are fewer, the surplus
    /// ends where a coroutine makes a call into the runtime. One that makes none is suspended, as
    /// [`preemption`](crate::RuntimeBuilder::preemption) does it, within milliseconds. Nothing is stopped or lost meanwhile, and
    /// coroutines keep their homes; where they do not [move](Self::coroutines_move), those of a thread that stops wait until it gets its turn.
    ///
    /// The number then stays until the next call: neither a change of what the process may use of the machine
    /// nor [`adapt_procs`](crate::RuntimeBuilder::adapt_procs) alters it.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().procs(1).build()?;
    /// rt.set_procs(4)?;
    /// assert_eq!(rt.procs(), 4);
    /// assert_eq!(rt.set_procs(0).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput): `procs` is 0, or more than 1,024 and more than what the builder was given
    /// (by [`procs`](crate::RuntimeBuilder::procs) or `adapt_procs`).
    ///
    /// # Scheduling
    /// Does not park, and does not wait until the number is reached. It may be called from anywhere, by several at
    /// a time; the last one counts. A coroutine of the runtime itself may have to yield at its next call.
    pub fn set_procs(&self, procs: usize) -> io::Result<()> {
        self.shared().set_procs(procs)
    }

    /// For how long each P (the right to run coroutines) has been busy since it was first needed; one for each of
    /// [`procs`](Self::procs).
    ///
    /// A P is busy while a thread has it: runs a coroutine, or looks for one, or is blocked by one and nobody else
    /// needed the P. The difference of two calls, divided by the time between them, is how much it was used.
    /// A P that goes out of service keeps its sum, and goes on from there when it is needed again.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let rt = gort::Runtime::builder().procs(2).build()?;
    /// let before = rt.busy_times();
    /// rt.run(|| {
    ///     let begin = Instant::now();
    ///     while begin.elapsed() < Duration::from_millis(5) {}
    /// });
    /// let used: Duration = rt.busy_times().iter().zip(before).map(|(after, before)| *after - before).sum();
    /// assert!(used >= Duration::from_millis(5));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Scheduling
    /// Does not park.
    pub fn busy_times(&self) -> Vec<Duration> {
        let rt = self.shared();
        (0..rt.said_procs()).map(|index| Duration::from_nanos(rt.busy_time(index))).collect()
    }
}

/// How many coroutines of the caller's runtime run at a time, as [`Runtime::procs`]; None on a plain thread.
///
/// # Examples
/// ```
/// let rt = gort::Runtime::builder().procs(3).build()?;
/// assert_eq!(rt.run(gort::procs), Some(3));
/// assert_eq!(gort::procs(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn procs() -> Option<usize> {
    Some(current()?.said_procs())
}

/// From now on `procs` coroutines of the caller's runtime run at a time; see [`Runtime::set_procs`].
///
/// # Examples
/// ```
/// gort::run(|| {
///     gort::set_procs(4).unwrap();
///     assert_eq!(gort::procs(), Some(4));
/// });
/// assert_eq!(gort::set_procs(4).unwrap_err().kind(), std::io::ErrorKind::NotConnected);
/// ```
///
/// # Errors
/// - [`NotConnected`](io::ErrorKind::NotConnected): the caller is not a coroutine.
/// - [`InvalidInput`](io::ErrorKind::InvalidInput): as [`Runtime::set_procs`].
///
/// # Scheduling
/// As [`Runtime::set_procs`].
pub fn set_procs(procs: usize) -> io::Result<()> {
    match current() {
        Some(rt) => rt.set_procs(procs),
        None => Err(io::Error::new(io::ErrorKind::NotConnected, "gort: set_procs was called outside a coroutine")),
    }
}

/// The runtime of the calling coroutine.
fn current() -> Option<&'static Shared> {
    M::current_coroutine()?;
    M::current().map(|m| m.rt)
}

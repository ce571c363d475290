//! The handle of a coroutine, and waiting for its end.

use super::g::{self, GRef, Outcome};
use super::wait::{self, WaitReason, Wake};
use super::{cancel, m::M};
use crate::os::clock::{self, NEVER, Nanos};
use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Why a coroutine has no value.
pub enum JoinError {
    /// It panicked; this is the panic's payload.
    Panicked(Box<dyn Any + Send + 'static>),
    /// It was cancelled, by [`JoinHandle::cancel`] or because its runtime ended.
    Cancelled,
}

impl JoinError {
    /// The payload, if it panicked; to go on panicking with
    /// [`resume_unwind`](std::panic::resume_unwind).
    pub fn into_panic(self) -> Option<Box<dyn Any + Send + 'static>> {
        match self {
            JoinError::Panicked(payload) => Some(payload),
            JoinError::Cancelled => None,
        }
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JoinError::Cancelled)
    }

    /// What the panic said, if it said it in a string.
    fn message(&self) -> Option<&str> {
        let JoinError::Panicked(payload) = self else { return None };
        payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(_) => f.debug_tuple("Panicked").field(&self.message().unwrap_or("..")).finish(),
            JoinError::Cancelled => f.write_str("Cancelled"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.message()) {
            (JoinError::Cancelled, _) => f.write_str("the coroutine was cancelled"),
            (JoinError::Panicked(_), Some(message)) => write!(f, "the coroutine panicked: {message}"),
            (JoinError::Panicked(_), None) => f.write_str("the coroutine panicked"),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error.to_string())
    }
}

/// The right to a coroutine's result. Dropping it lets the coroutine go on by itself.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let handle = gort::go!(|| 6 * 7);
///     assert_eq!(handle.join().unwrap(), 42);
///
///     let bad = gort::go!(|| if true { panic!("no") });
///     assert!(bad.join().unwrap_err().is_panic());
/// });
/// ```
pub struct JoinHandle<T> {
    g: GRef,
    result: PhantomData<T>,
}

// SAFETY: the handle gives its result to whoever joins, so it may go where a `T` may.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: by reference it gives out the name, the number and `cancel`, none of which is a `T`.
unsafe impl<T: Send> Sync for JoinHandle<T> {}
impl<T> std::panic::UnwindSafe for JoinHandle<T> {}
impl<T> std::panic::RefUnwindSafe for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(g: GRef) -> JoinHandle<T> {
        JoinHandle { g, result: PhantomData }
    }

    /// Waits for the coroutine's end and returns its value.
    ///
    /// # Errors
    /// [`JoinError::Panicked`] with the payload if it panicked, [`JoinError::Cancelled`] if it
    /// was cancelled.
    ///
    /// # Scheduling
    /// Parks the coroutine that calls it; blocks a plain thread.
    pub fn join(self) -> Result<T, JoinError> {
        super::checkpoint();
        let ended = self.wait(NEVER);
        debug_assert!(ended, "without a deadline only the end ends the wait");
        self.take()
    }

    /// Like [`Self::join`], but gives up after `timeout` and returns the handle.
    ///
    /// # Errors
    /// The outer error is the handle, when the time is over.
    ///
    /// # Scheduling
    /// As [`Self::join`].
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        self.join_until(clock::after(timeout))
    }

    /// Like [`Self::join`], but gives up at `deadline` and returns the handle.
    ///
    /// # Errors
    /// The outer error is the handle, when the time is over.
    ///
    /// # Scheduling
    /// As [`Self::join`].
    pub fn join_deadline(self, deadline: Instant) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        self.join_until(clock::at(deadline))
    }

    fn join_until(self, deadline: Nanos) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        super::checkpoint();
        if self.wait(deadline) { Ok(self.take()) } else { Err(self) }
    }

    /// Whether the coroutine has ended, so that `join` would return at once.
    pub fn is_finished(&self) -> bool {
        // Acquire: pairs with the Release of COMPLETE.
        self.g.state.load(Ordering::Acquire) & g::COMPLETE != 0
    }

    /// Asks the coroutine to end: its current or next parking call unwinds it, so that its
    /// destructors run. It goes on undisturbed while it is panicking or inside
    /// [`shield`](crate::shield), and for as long as it does not park. If it has not run yet it
    /// never will.
    ///
    /// This is the strong means; a coroutine that should end in its own good time is better told
    /// so by a channel.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let (_tx, rx) = gort::channel::bounded::<()>(0);
    ///     let handle = gort::go!(move || rx.recv());
    ///     handle.cancel();
    ///     assert!(handle.join().unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(&self) {
        cancel::cancel(self.g);
    }

    /// The coroutine's number, unique in the process.
    pub fn id(&self) -> Id {
        Id(self.g.id.get())
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.g.name()
    }

    /// The coroutine itself, to unpark it.
    pub fn coroutine(&self) -> Coroutine {
        self.g.retain();
        Coroutine { g: self.g }
    }

    /// Waits until it is complete; false if `deadline` came first.
    fn wait(&self, deadline: Nanos) -> bool {
        wait_for(self.g, deadline, WaitReason::Join)
    }

    /// The same right without the type: all that is left to do with the result is to drop it.
    pub(crate) fn erase(self) -> JoinHandle<()> {
        let g = self.g;
        std::mem::forget(self);
        JoinHandle::new(g)
    }

    /// Waits for the end and drops the result. For erased handles.
    pub(crate) fn wait_to_drop(self) {
        self.wait(NEVER);
    }

    /// Takes the outcome of the completed coroutine.
    fn take(self) -> Result<T, JoinError> {
        // Acquire: pairs with the Release of COMPLETE.
        let state = self.g.state.load(Ordering::Acquire);
        debug_assert!(state & g::COMPLETE != 0);
        let g = self.g;
        std::mem::forget(self);
        // SAFETY: complete; the handle owned the outcome and is gone.
        let outcome = unsafe { g.take_outcome::<T>(state) };
        // SAFETY: the handle's own reference and flag.
        unsafe { g.release(g::REF | g::HANDLE) };
        outcome.map_err(|outcome| match outcome {
            Outcome::Cancelled => JoinError::Cancelled,
            Outcome::Panicked(payload) => JoinError::Panicked(payload),
        })
    }
}

/// Waits until `g`, whose handle the caller has, is complete; false if `deadline` came first.
fn wait_for(g: GRef, deadline: Nanos, reason: WaitReason) -> bool {
    // Acquire: pairs with the Release of COMPLETE.
    if g.state.load(Ordering::Acquire) & g::COMPLETE != 0 {
        return true;
    }
    let wait = wait::begin();
    g.joiner.set(MaybeUninit::new(wait.waiter()));
    // AcqRel. Release: publishes `joiner`. Acquire: pairs with COMPLETE.
    let state = g.state.fetch_or(g::JOINING, Ordering::AcqRel);
    if state & g::COMPLETE != 0 {
        // It ended just now and did not see us.
        wait.abandon();
        return true;
    }
    let wake = wait.park(reason, deadline);
    if wake == Wake::Ready {
        return true;
    }
    // AcqRel: as above. If COMPLETE is there the coroutine has read `joiner`, or will; the
    // ticket is stale and the record, which has our reference, is not.
    let state = g.state.fetch_and(!g::JOINING, Ordering::AcqRel);
    if state & g::COMPLETE != 0 {
        return true;
    }
    if wake == Wake::Cancel {
        cancel::unwind();
    }
    false
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // Acquire: pairs with the Release of COMPLETE.
        let mut state = self.g.state.load(Ordering::Acquire);
        loop {
            if state & g::COMPLETE != 0 {
                // SAFETY: complete, and the handle owns the outcome.
                unsafe { self.g.drop_outcome(state) };
                // SAFETY: the handle's own reference and flag.
                unsafe { self.g.release(g::REF | g::HANDLE) };
                return;
            }
            // AcqRel: the flag and the reference go at once, so that the coroutine's COMPLETE
            // sees either both or neither.
            match self.g.state.compare_exchange_weak(
                state,
                state - (g::REF | g::HANDLE),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// A coroutine's number, unique in the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id(u64);

impl Id {
    /// The number.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A coroutine, as [`current`] gives it: to know it by, and to [unpark](Self::unpark) it.
pub struct Coroutine {
    g: GRef,
}

// SAFETY: all it gives out is atomic or does not change while the handle keeps the record.
unsafe impl Send for Coroutine {}
// SAFETY: as above.
unsafe impl Sync for Coroutine {}

/// The calling coroutine.
///
/// # Panics
/// Outside a coroutine; see [`try_current`].
///
/// # Examples
/// ```
/// gort::run(|| {
///     let here = gort::current();
///     let handle = gort::go!(move || here.unpark());
///     gort::park();
///     handle.join().unwrap();
/// });
/// ```
pub fn current() -> Coroutine {
    try_current().expect("gort::current called outside a coroutine")
}

/// The calling coroutine, or None outside of one.
pub fn try_current() -> Option<Coroutine> {
    let g = M::current_coroutine()?;
    g.retain();
    Some(Coroutine { g })
}

/// Nobody has unparked it, and it is not parked.
const EMPTY: u64 = 0;
/// It was unparked while it was not parked.
const TOKEN: u64 = 1;

impl Coroutine {
    /// The coroutine's number.
    pub fn id(&self) -> Id {
        Id(self.g.id.get())
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.g.name()
    }

    /// Lets the coroutine's current or next [`park`] return, as
    /// [`Thread::unpark`](std::thread::Thread::unpark) does.
    pub fn unpark(&self) {
        // AcqRel. Release: what was done before is seen after `park`. Acquire: the parker's
        // ticket is the one in force.
        let old = self.g.token.swap(TOKEN, Ordering::AcqRel);
        if old > TOKEN {
            // SAFETY: the parker stored the ticket that it armed on this word.
            unsafe { wait::Waiter::of(self.g, super::wait_word::Ticket::from_bits(old)) }.wake(Wake::Ready);
        }
    }
}

impl Clone for Coroutine {
    fn clone(&self) -> Coroutine {
        self.g.retain();
        Coroutine { g: self.g }
    }
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        // SAFETY: the handle's own reference.
        unsafe { self.g.release(g::REF) };
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

impl PartialEq for Coroutine {
    fn eq(&self, other: &Coroutine) -> bool {
        self.g == other.g
    }
}
impl Eq for Coroutine {}

/// Parks the calling coroutine until somebody [unparks](Coroutine::unpark) it; returns at once
/// if somebody has. Unlike [`std::thread::park`] it does not return without reason.
///
/// On a plain thread it is [`std::thread::park`].
///
/// # Scheduling
/// Parks the coroutine.
pub fn park() {
    park_until(NEVER);
}

/// Like [`park`], but for at most `timeout`.
///
/// # Scheduling
/// Parks the coroutine.
pub fn park_timeout(timeout: Duration) {
    if M::current_coroutine().is_none() {
        return std::thread::park_timeout(timeout);
    }
    park_until(clock::after(timeout));
}

fn park_until(deadline: Nanos) {
    let Some(g) = M::current_coroutine() else { return std::thread::park() };
    super::checkpoint();
    // Acquire: pairs with the Release in `unpark`.
    if g.token.compare_exchange(TOKEN, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        return;
    }
    let wait = wait::begin();
    let ticket = wait.waiter().ticket_bits();
    // AcqRel. Release: publishes that the ticket is armed. Acquire: as above.
    if g.token.compare_exchange(EMPTY, ticket, Ordering::AcqRel, Ordering::Acquire).is_err() {
        g.token.store(EMPTY, Ordering::Relaxed);
        wait.abandon();
        return;
    }
    let wake = wait.park(WaitReason::Park, deadline);
    // AcqRel: takes the token, or the ticket that nobody has used, away.
    g.token.swap(EMPTY, Ordering::AcqRel);
    if wake == Wake::Cancel {
        cancel::unwind();
    }
}

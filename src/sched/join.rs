//! The handle of a coroutine, and waiting for its end.

use super::g::{self, GRef, Outcome};
use super::labels::Labels;
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
///
/// The panic hook has run by the time a [`Self::Panicked`] is seen. The message that std's hook prints
/// names the thread that the coroutine lived on, its home's (`gort-home`), and not the coroutine.
///
/// # Examples
/// ```
/// use gort::JoinError;
/// gort::run(|| {
///     match gort::go!(|| if true { panic!("out of cheese") }).join() {
///         Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref(), Some(&"out of cheese")),
///         other => unreachable!("{other:?}"),
///     }
///     let handle = gort::go!(gort::park);
///     handle.cancel();
///     assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
/// });
/// ```
pub enum JoinError {
    /// It panicked; this is the panic's payload.
    Panicked(Box<dyn Any + Send + 'static>),
    /// It was cancelled, by [`JoinHandle::cancel`] or because its runtime ended.
    Cancelled,
}

impl JoinError {
    /// The payload, if it panicked; to go on panicking with
    /// [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let error = gort::go!(|| if true { panic!("no") }).join().unwrap_err();
    ///     let payload = error.into_panic().expect("it panicked");
    ///     assert_eq!(payload.downcast_ref(), Some(&"no"));
    /// });
    /// ```
    pub fn into_panic(self) -> Option<Box<dyn Any + Send + 'static>> {
        match self {
            JoinError::Panicked(payload) => Some(payload),
            JoinError::Cancelled => None,
        }
    }

    /// Whether it panicked.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let error = gort::go!(|| if true { panic!("no") }).join().unwrap_err();
    ///     assert!(error.is_panic());
    ///     assert_eq!(error.to_string(), "the coroutine panicked: no");
    /// });
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }

    /// Whether it was cancelled.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::go!(gort::park);
    ///     handle.cancel();
    ///     assert!(handle.join().unwrap_err().is_cancelled());
    /// });
    /// ```
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
/// If the coroutine has ended, dropping the handle drops the result.
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
    /// If the caller is cancelled while it waits, the coroutine goes on by itself.
    ///
    /// A coroutine that unwinds, because it panics or was cancelled, has its home to itself until it
    /// is done. So a destructor that runs then must not wait for a coroutine of the same home, by this
    /// or by other means: neither would ever go on. Of the same home are those made by
    /// [`go_local!`](crate::go_local), and any two if there are more coroutines than
    /// [homes](crate::RuntimeBuilder::homes).
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::go!(|| 6 * 7);
    ///     assert_eq!(handle.join().unwrap(), 42);
    /// });
    /// ```
    ///
    /// # Errors
    /// [`JoinError::Panicked`] with the payload if it panicked, [`JoinError::Cancelled`] if it
    /// was cancelled.
    ///
    /// # Scheduling
    /// Parks the coroutine that calls it, unless the other has ended; may be cancelled. Blocks a
    /// plain thread.
    pub fn join(self) -> Result<T, JoinError> {
        self.wait_to_take();
        self.take()
    }

    /// Like [`Self::join`], but gives up after `timeout` and returns the handle.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let handle = gort::go!(gort::park);
    ///     let handle = handle.join_timeout(Duration::from_millis(1)).expect_err("it is parked");
    ///     handle.coroutine().unpark();
    ///     assert!(handle.join_timeout(Duration::from_secs(60)).expect("it has ended").is_ok());
    /// });
    /// ```
    ///
    /// # Errors
    /// The outer error is the [`JoinHandle`], when the time is over. The inner one is that of
    /// [`Self::join`].
    ///
    /// # Scheduling
    /// As [`Self::join`].
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        self.join_until(clock::after(timeout))
    }

    /// Like [`Self::join`], but gives up at `deadline` and returns the handle.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    /// gort::run(|| {
    ///     let deadline = Instant::now() + Duration::from_secs(60);
    ///     let handles = [1, 2, 3].map(|n| gort::go!(move || n));
    ///     let sum: i32 = handles.into_iter().map(|h| h.join_deadline(deadline).unwrap().unwrap()).sum();
    ///     assert_eq!(sum, 6);
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`Self::join_timeout`].
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
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::go!(|| ());
    ///     while !handle.is_finished() {
    ///         gort::yield_now();
    ///     }
    ///     handle.join().unwrap();
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once. A loop around it must [yield](crate::yield_now), or the coroutine may not
    /// get to run.
    pub fn is_finished(&self) -> bool {
        // Acquire: pairs with the Release of COMPLETE.
        self.g.state.load(Ordering::Acquire) & g::COMPLETE != 0
    }

    /// Asks the coroutine to end: its current or next parking call unwinds it, so that its
    /// destructors run.
    ///
    /// It goes on undisturbed while it is panicking or inside [`shield`](crate::shield), and for as
    /// long as it does not park. If it has not run yet it never will. If it catches the unwinding,
    /// its next parking call unwinds again; if it returns a value all the same, that is what `join`
    /// gives. The panic hook is not called. With `panic = "abort"` nothing can unwind: a coroutine that has begun ends the process
    /// there, with a message.
    ///
    /// Its destructors may park. But while it unwinds it has its home to itself: see
    /// [`Self::join`] for whom they must not wait.
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
    ///
    /// # Scheduling
    /// Returns at once, from anywhere; it does not wait for the coroutine's end. That is what
    /// [`Self::join`] is for.
    pub fn cancel(&self) {
        cancel::cancel(self.g);
    }

    /// The coroutine's number, unique in the process.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::go!(|| gort::current().id());
    ///     let id = handle.id();
    ///     assert_eq!(handle.join().unwrap(), id);
    /// });
    /// ```
    pub fn id(&self) -> Id {
        Id(self.g.id.get())
    }

    /// The name it was given; None if it was given none.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     assert_eq!(gort::go!("reader", || ()).name(), Some("reader"));
    ///     assert_eq!(gort::go!(|| ()).name(), None);
    /// });
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.g.name()
    }

    /// The coroutine itself, to unpark it.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::go!(gort::park);
    ///     handle.coroutine().unpark();
    ///     handle.join().unwrap();
    /// });
    /// ```
    pub fn coroutine(&self) -> Coroutine {
        self.g.retain();
        Coroutine { g: self.g }
    }

    /// Has `waiter` woken at the end, once; false if it has ended.
    pub(crate) fn watch(&self, waiter: wait::Waiter) -> bool {
        if self.is_finished() {
            return false;
        }
        super::watchers::add(self.g, waiter);
        // AcqRel. Release: publishes the entry. Acquire: pairs with COMPLETE.
        let state = self.g.state.fetch_or(g::WATCHED, Ordering::AcqRel);
        if state & g::COMPLETE != 0 {
            // It ended just now and may not have seen us.
            super::watchers::remove(self.g, waiter);
            return false;
        }
        true
    }

    /// The end of [`Self::watch`]. The flag stays: at worst the end looks in vain.
    pub(crate) fn unwatch(&self, waiter: wait::Waiter) {
        super::watchers::remove(self.g, waiter);
    }

    /// Waits until it is complete; false if `deadline` came first.
    fn wait(&self, deadline: Nanos) -> bool {
        wait_for(self.g, deadline, WaitReason::Join)
    }

    /// The record.
    pub(crate) fn record(&self) -> GRef {
        self.g
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

    /// The part of [`Self::join`] that may unwind. By reference: what is to become of the handle then is the caller's matter.
    pub(crate) fn wait_to_take(&self) {
        super::checkpoint();
        let ended = self.wait(NEVER);
        debug_assert!(ended, "without a deadline only the end ends the wait");
    }

    /// Takes the outcome of the completed coroutine.
    pub(crate) fn take(self) -> Result<T, JoinError> {
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
        /// Gives up the handle's share, also if the outcome's drop unwinds.
        struct Release(GRef);
        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: the handle's own reference and flag, which go once.
                unsafe { self.0.release(g::REF | g::HANDLE) };
            }
        }
        // Acquire: pairs with the Release of COMPLETE.
        let mut state = self.g.state.load(Ordering::Acquire);
        loop {
            if state & g::COMPLETE != 0 {
                let _release = Release(self.g);
                // SAFETY: complete, and the handle owns the outcome.
                unsafe { self.g.drop_outcome(state) };
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
        let mut shown = f.debug_struct("JoinHandle");
        shown.field("id", &self.id()).field("name", &self.name());
        let labels = Labels::new(self.g.labels());
        if !labels.is_empty() {
            shown.field("labels", &labels);
        }
        shown.field("finished", &self.is_finished()).finish()
    }
}

/// A coroutine's number, unique in the process.
///
/// Numbers are not used again. Their order says nothing about the order of spawning.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let [a, b] = [(); 2].map(|()| gort::go!(|| ()));
///     assert_ne!(a.id(), b.id());
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id(u64);

impl Id {
    /// The number.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let id = gort::current().id();
    ///     assert_eq!(id.as_u64().to_string(), id.to_string());
    /// });
    /// ```
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
///
/// It may outlive the coroutine, and then still tells number and name. Two are equal if they are the
/// same coroutine.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let handle = gort::go!("worker", gort::current);
///     let worker = handle.coroutine();
///     assert_eq!(handle.join().unwrap(), worker);
///     assert_ne!(gort::current(), worker);
///     assert_eq!(worker.name(), Some("worker"));
/// });
/// ```
pub struct Coroutine {
    g: GRef,
}

// SAFETY: all it gives out is atomic or does not change while the handle keeps the record.
unsafe impl Send for Coroutine {}
// SAFETY: as above.
unsafe impl Sync for Coroutine {}

/// The calling coroutine.
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
///
/// # Panics
/// Outside a coroutine; see [`try_current`].
pub fn current() -> Coroutine {
    try_current().expect("gort::current called outside a coroutine")
}

/// The calling coroutine, or None outside of one.
///
/// # Examples
/// ```
/// assert!(gort::try_current().is_none());
/// assert!(gort::run(|| gort::try_current().is_some()));
/// ```
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
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::go!(|| ());
    ///     assert_eq!(handle.coroutine().id(), handle.id());
    /// });
    /// ```
    pub fn id(&self) -> Id {
        Id(self.g.id.get())
    }

    /// The name it was given; None if it was given none. The first coroutine of a
    /// [`Runtime::run`](crate::Runtime::run) is called "main".
    ///
    /// # Examples
    /// ```
    /// let name = gort::run(|| gort::current().name().map(String::from));
    /// assert_eq!(name.as_deref(), Some("main"));
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.g.name()
    }

    /// The labels it was given, and those that it has inherited.
    ///
    /// # Examples
    /// ```
    /// let labels = |builder: gort::Builder| builder.spawn(|| gort::current().labels().to_string()).unwrap().join().unwrap();
    /// gort::run(|| {
    ///     let outer = gort::Builder::new().label("job", "5");
    ///     let inner = gort::Builder::new().label("part", "2");
    ///     let handle = outer.spawn(move || (labels(inner.clone()), labels(inner.inherit())));
    ///     assert_eq!(handle.unwrap().join().unwrap(), ("{part=2}".into(), "{job=5, part=2}".into()));
    /// });
    /// ```
    pub fn labels(&self) -> Labels<'_> {
        Labels::new(self.g.labels())
    }

    /// Lets the coroutine's current or next [`park`] return, as
    /// [`Thread::unpark`](std::thread::Thread::unpark) does.
    ///
    /// Several calls before that `park` count as one. A coroutine that waits for something else is
    /// not disturbed. What the caller did before is seen after the `park`.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let parked = gort::go!(gort::park).coroutine();
    ///     // From a plain thread as well.
    ///     std::thread::spawn(move || parked.unpark()).join().unwrap();
    ///     gort::current().unpark();
    ///     gort::park(); // returns at once
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once, from anywhere.
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
        let mut shown = f.debug_struct("Coroutine");
        shown.field("id", &self.id()).field("name", &self.name());
        if !self.labels().is_empty() {
            shown.field("labels", &self.labels());
        }
        shown.finish()
    }
}

impl PartialEq for Coroutine {
    fn eq(&self, other: &Coroutine) -> bool {
        self.g == other.g
    }
}
impl Eq for Coroutine {}

/// Parks the calling coroutine until somebody [unparks](Coroutine::unpark) it; returns at once
/// if somebody has.
///
/// Unlike [`std::thread::park`] it does not return without reason. On a plain thread it *is*
/// [`std::thread::park`].
///
/// # Examples
/// ```
/// gort::run(|| {
///     let waits = gort::go!(|| {
///         gort::park();
///         "unparked"
///     });
///     waits.coroutine().unpark();
///     assert_eq!(waits.join().unwrap(), "unparked");
/// });
/// ```
///
/// # Scheduling
/// Parks the coroutine; may be cancelled. Blocks a plain thread, which
/// [`Thread::unpark`](std::thread::Thread::unpark) wakes.
pub fn park() {
    park_until(NEVER);
}

/// Like [`park`], but for at most `timeout`. It does not tell which of the two it was.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// gort::run(|| {
///     let start = Instant::now();
///     gort::park_timeout(Duration::from_millis(2));
///     assert!(start.elapsed() >= Duration::from_millis(2));
/// });
/// ```
///
/// # Scheduling
/// As [`park`].
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
        // Acquire: of another `unpark` that has come since, too.
        g.token.swap(EMPTY, Ordering::Acquire);
        wait.abandon();
        return;
    }
    let wake = wait.park(WaitReason::Park, deadline);
    if wake == Wake::Cancel {
        // An `unpark` that has come since the park was ended is for the next one: this does not return. Relaxed, both: it takes
        // nothing away but our own ticket.
        let _ = g.token.compare_exchange(ticket, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
        cancel::unwind();
    }
    // AcqRel: takes the token, or the ticket that nobody has used, away.
    g.token.swap(EMPTY, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_record_is_given_back_though_the_drop_of_its_result_panics() {
        // Goal: nothing is left of a coroutine whose result panics when its handle is dropped. Method: its references are counted, in
        // a runtime that uses the record for nobody else.
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let runtime = crate::Runtime::builder().procs(1).build().unwrap();
        runtime.run(|| {
            let handle = crate::go!(|| Panics);
            while !handle.is_finished() {
                crate::yield_now();
            }
            // Its own reference goes a moment after its end.
            while handle.g.state.load(Ordering::Relaxed) >= 2 * g::REF {
                crate::yield_now();
            }
            let g = handle.record();
            assert!(catch_unwind(AssertUnwindSafe(|| drop(handle))).is_err());
            assert!(g.state.load(Ordering::Relaxed) < g::REF, "the handle's reference is left");
        });
    }
}

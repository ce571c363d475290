//! Calls that block the thread: in place, on g0, or on a spare thread.
//!
//! A coroutine that blocks takes along its M and its home. The M is no loss, since its P goes to another (`preempt.rs`).
//! The home matters to those who live in it: they wait. So `blocking` runs its closure in place where nobody else
//! lives in the home, and otherwise on a *spare* thread while the coroutine parks, in which time the others have the home.
//!
//! # Why another thread is sound
//!
//! The closure is `Send` and so is what it returns: that is what [`std::thread::scope`] asks for, and it is used the same way.
//! It may borrow from the coroutine, since that does not go on, by value or by unwinding, before the closure has
//! ended: the wait has no deadline and is shielded from `cancel`. A home is a thread's identity, and the closure runs
//! under another one meanwhile; nothing of it stays there but what it leaves in thread-locals, as on any thread.
//!
//! # On g0
//!
//! Calls on files are a hundred times as frequent as others and most end within microseconds, a fraction of what it takes to
//! wake another thread. Among those who share a home each would have to go to one, which in a server with thousands of clients
//! is every call. But another thread is not what the others of the home need; they need the home. So the coroutine leaves it as
//! if it parked, and its own M makes the call on g0, between two coroutines as it were: an *errand*. The P is lent meanwhile, as
//! in place. Then the M goes to the coroutine again, or to others, if somebody has put on the home.
//!
//! Who is on an errand is in no queue and no wait has been armed for it, so nobody else can make it go on. To `f` g0 is a plain
//! thread: no coroutine is current.
//!
//! # Spare threads
//!
//! A job lies on the coroutine's stack and is passed by pointer, to the spare thread that became idle last, or else to a
//! new one; there is no queue. With a queue a job could wait for one that is behind it. So if
//! there is no thread to be had, because there are as many as there may be or the kernel has no more, the closure runs
//! in place after all.
//!
//! An idle one sleeps on its own word, in a list under the pool's lock. Whoever takes it out of the list, under the lock,
//! writes its job and wakes it; after ten idle seconds it takes itself out and ends. To the deadlock report a thread
//! that has a job is somebody who may wake others, an idle one is not.

use super::cancel;
use super::deadlock;
use super::g::GRef;
use super::m::M;
use super::os_thread;
use super::park;
use super::preempt;
use super::runtime::Shared;
use super::wait::{self, WaitReason, Waiter, Wake};
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::futex;
use std::cell::{Cell, UnsafeCell};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, JoinHandle, ThreadId};

/// Runs `f`, which may block the thread, and lets other coroutines run meanwhile.
///
/// A call that blocks without this is noticed after a time slice (10 ms) or little more, or after one to five milliseconds if
/// somebody has become ready, and coroutines that live in the caller's home wait for it. Announced like this it delays nobody.
///
/// *Where `f` runs.* If nobody else lives in the caller's home, in place, as any other code of the caller. If somebody
/// does (a [local](crate::go_local) coroutine; anybody, if more live than there are [homes](crate::RuntimeBuilder::homes), or if
/// coroutines do not [move](crate::Runtime::coroutines_move)), on a spare thread, for which the caller waits. If none is to be
/// had ([`blocking_threads`](crate::RuntimeBuilder::blocking_threads)), and while the caller keeps its thread by
/// [`lock_os_thread`](crate::lock_os_thread), in place again.
///
/// So `f` must be content with any thread, as its bound says, and with what it finds there:
/// - Thread-locals may be another thread's: what `f` leaves in one the caller may not see, and the other way round. So with
///   `ThreadId`, the thread's name and whatever the kernel ties to a thread.
/// - On a spare thread `f` is not in a coroutine. There [`go!`](crate::go) panics, and what waits (a channel, a socket, a sleep)
///   blocks the spare thread, which is all right.
///
/// `f` may borrow from the caller. Inside another `blocking` it is called at once.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// gort::run(|| {
///     let mut text = String::from("not");
///     gort::blocking(|| {
///         std::thread::sleep(Duration::from_millis(1));
///         text.push_str(" long");
///     });
///     assert_eq!(text, "not long");
/// });
/// ```
///
/// # Panics
/// If `f` panics, with its payload.
///
/// # Scheduling
/// Parks the coroutine, or blocks its thread for as long as `f` does; other threads take over what else there is to run. It
/// cannot be [cancelled](crate::JoinHandle::cancel) meanwhile. When `f` has returned in place, the next call into the runtime
/// waits for a place. On a plain thread it calls `f` and nothing else.
pub fn blocking<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    apart_if(f, |m| m.home().live() > 1).unwrap_or_else(preempt::in_place)
}

/// Calls `f` on a spare thread if `is_apart` of the pinned M. Gives it back if not, or if that cannot be.
fn apart_if<F, R>(f: F, is_apart: impl FnOnce(&M) -> bool) -> Result<R, F>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    let Some(g) = M::current_coroutine() else { return Err(f) };
    let rt = {
        let m = M::current().expect("coroutines run on Ms");
        let _pin = m.pinned();
        (is_apart(m) && !os_thread::keeps(g) && !wait::has_begun(g)).then_some(m.rt)
    };
    match rt {
        Some(rt) => on_spare_thread(rt, f),
        None => Err(f),
    }
}

/// [`blocking`] for a call that most often ends within microseconds and sometimes blocks: with files, those that find in memory
/// what they ask for.
///
/// It is a point where the caller may be cancelled, and makes way for others if it has had its time slice.
///
/// While such calls end soon they are made by the caller's thread, whoever waits for the P: in place, or on g0 if others live in
/// the caller's home. That costs 0.07 and 0.15 µs. After some that did not (see [`BriefCalls`]) they go to a spare thread if
/// anybody waits: 10 to 70 µs. (By way of `blocking` the P changes threads there and back, 100 to 200 µs for a look at a file.)
///
/// `f` must not drop what is the user's: the end of a runtime, on g0, would wait for itself.
pub(crate) fn briefly<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    begin();
    let now = clock::now();
    on_g0(now, f)
        .or_else(|f| apart_if(f, |m| m.home().live() > 1 || !m.brief_calls.end_soon(now) && m.rt.waits_for(m.p(), now)))
        .unwrap_or_else(|f| measured(now, f))
}

/// [`blocking`] for a call that will take long, so that a spare thread is not what it costs: it is not run in place unless there is
/// no other way. For the rest it is as [`briefly`].
pub(crate) fn apart<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    begin();
    apart_if(f, |_| true).unwrap_or_else(preempt::in_place)
}

/// [`briefly`] for a call that is tied to the caller's thread, as by a lock of std's that knows its owner by that: always in place.
pub(crate) fn in_place<R>(f: impl FnOnce() -> R) -> R {
    begin();
    measured(clock::now(), f)
}

/// Calls `f` in place, and notes how long it took. It is `now`.
fn measured<R>(now: Nanos, f: impl FnOnce() -> R) -> R {
    let result = match M::current() {
        Some(m) if m.brief_calls.end_soon(now) => preempt::in_place_for_a_moment(now, f),
        _ => preempt::in_place(f),
    };
    // Perhaps another, if `f` has called what parks.
    if let Some(m) = M::current() {
        m.brief_calls.note(now, clock::now());
    }
    result
}

/// Calls `f`, which begins `now`, on g0 of the calling M. Gives it back if nobody else lives in the caller's home (in place is
/// sooner), if it may take long, or if the caller cannot leave its home.
fn on_g0<F, R>(now: Nanos, f: F) -> Result<R, F>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    let Some(g) = M::current_coroutine() else { return Err(f) };
    let m = M::current().expect("coroutines run on Ms");
    let pin = m.pinned();
    let home = m.home();
    // Who is panicking keeps others from its home; who has begun a wait may be readied any time; g0 of a fixed home is in the home.
    let may_leave = !thread::panicking() && !wait::has_begun(g) && home.bound_to().is_null();
    if home.live() <= 1 || !m.brief_calls.end_soon(now) || !may_leave {
        return Err(f);
    }
    let job = Job::new(f, None);
    m.errand.set(Some(Errand { job: job.reference(), g, began: now }));
    // Relaxed, both: for reports only.
    g.reason.store(WaitReason::Blocking as u8, Ordering::Relaxed);
    // Neither waiting nor queued, so nobody goes on with it but g0.
    m.leave_to_g0(g);
    g.reason.store(WaitReason::None as u8, Ordering::Relaxed);
    drop(pin);
    job.outcome()
}

/// What a coroutine has left its thread for: its M does it on g0.
pub(crate) struct Errand {
    job: JobRef,
    g: GRef,
    began: Nanos,
}

/// Does it, on g0, where no home is worn any more. Returns the coroutine, which is to go on.
pub(crate) fn run_errand(m: &'static M, errand: Errand) -> GRef {
    let Errand { job: JobRef(job), g, began } = errand;
    preempt::on_g0_for_a_moment(m, began, || {
        // SAFETY: the job lies on the stack of `g`, which does not go on before the caller has it back; nobody else has it.
        unsafe { ((*job).run)(job) };
        m.brief_calls.note(began, clock::now());
    });
    g
}

/// What an M knows of its calls by [`briefly`] in place or on g0.
///
/// One that takes long keeps others from the P, until sysmon takes that; so the next ones do not keep it, for up to thirty times as
/// long: where all calls wait for a disk it takes a thirtieth of the P's time to know. But whether a thread was blocked or others
/// had its CPU meanwhile cannot be told by the clock, and that is common where the clients of a server run on the same machine. So
/// the first long one among many that are not is passed over, the second costs twice its length, then 6, 14 and 30 times.
#[derive(Default)]
pub(crate) struct BriefCalls {
    /// How many have been long, up to [`STRIKES_MOST`], without [`MANY`] in between that were not.
    strikes: Cell<u32>,
    /// How many there have been since that were not.
    soon: Cell<u32>,
    not_until: Cell<Nanos>,
}

/// A call that takes so long has waited for more than memory, or does much.
const LONG_NS: Nanos = 100_000;
const MANY: u32 = 64;
const STRIKES_MOST: u32 = 5;

impl BriefCalls {
    /// Whether one that begins now will end soon, so far as that can be known.
    fn end_soon(&self, now: Nanos) -> bool {
        now >= self.not_until.get()
    }

    /// There was one.
    fn note(&self, began: Nanos, ended: Nanos) {
        let took = ended.saturating_sub(began);
        if took < LONG_NS {
            self.soon.set(self.soon.get().saturating_add(1));
            return;
        }
        let before = if self.soon.replace(0) < MANY { self.strikes.get() } else { 0 };
        let strikes = (before + 1).min(STRIKES_MOST);
        self.strikes.set(strikes);
        self.not_until.set(ended.saturating_add(took.saturating_mul((1 << strikes) - 2)));
    }
}

/// What comes before every call that may be one of many in a loop, none of which parks.
pub(crate) fn begin() {
    park::checkpoint();
    cancel::check();
}

/// A closure for a spare thread or g0, on the stack of the coroutine that waits for it.
#[repr(C)]
struct Job<F, R> {
    // Must be first: what is passed on is a pointer to it.
    head: Head,
    work: UnsafeCell<Work<F, R>>,
}

struct Head {
    /// Does the work and wakes the waiter, if there is one, after which the job is gone.
    run: unsafe fn(*const Head),
    /// None if whoever runs it readies the coroutine.
    waiter: Option<Waiter>,
}

enum Work<F, R> {
    ToDo(F),
    Begun,
    Done(thread::Result<R>),
}

impl<F: FnOnce() -> R, R> Job<F, R> {
    fn new(f: F, waiter: Option<Waiter>) -> Job<F, R> {
        Job { head: Head { run: run::<F, R>, waiter }, work: UnsafeCell::new(Work::ToDo(f)) }
    }

    /// For whoever runs it. Of the whole job, since he needs more than the head.
    fn reference(&self) -> JobRef {
        JobRef(ptr::from_ref(self).cast())
    }

    /// What came of it, when the wait is over; or what was to be done, if nobody has.
    fn outcome(self) -> Result<R, F> {
        match self.work.into_inner() {
            Work::ToDo(f) => Err(f),
            Work::Done(Ok(value)) => Ok(value),
            Work::Done(Err(payload)) => resume_unwind(payload),
            Work::Begun => unreachable!("the coroutine goes on when it is done"),
        }
    }
}

/// A job on its way to a thread.
#[derive(Clone, Copy)]
struct JobRef(*const Head);

// SAFETY: made in `on_spare_thread` and `on_g0` only, of a closure and a result that are `Send`. The coroutine waits until the
// one who has it has run it, and does not touch it meanwhile.
unsafe impl Send for JobRef {}

/// Runs `f` on a spare thread and returns its value; or gives `f` back, if there is none.
fn on_spare_thread<F, R>(rt: &'static Shared, f: F) -> Result<R, F>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    let job = cancel::shield(|| {
        // Nobody but the spare thread ends this wait.
        let wait = wait::begin();
        let job = Job::new(f, Some(wait.waiter()));
        if rt.spares.give(rt, job.reference()) {
            wait.park(WaitReason::Blocking, NEVER);
        } else {
            wait.abandon();
        }
        job
    });
    job.outcome()
}

/// # Safety
/// `head` is that of a `Job<F, R>` that nobody has run, and whose coroutine waits.
unsafe fn run<F, R>(head: *const Head)
where
    F: FnOnce() -> R,
{
    // SAFETY: the caller's promise; the head comes first.
    let job = unsafe { &*head.cast::<Job<F, R>>() };
    let waiter = job.head.waiter;
    // SAFETY: the coroutine does not touch it before it is woken.
    let work = unsafe { &mut *job.work.get() };
    let Work::ToDo(f) = mem::replace(work, Work::Begun) else { unreachable!("it is run once") };
    // The coroutine goes on with the panic, so nobody sees what it has broken but who would anyway.
    *work = Work::Done(catch_unwind(AssertUnwindSafe(f)));
    if let Some(waiter) = waiter {
        let woken = waiter.wake(Wake::Ready);
        debug_assert!(woken, "a shielded wait without a deadline");
    }
}

/// The spare threads of a runtime.
pub(crate) struct Spares {
    /// How many there may be.
    most: usize,
    /// How long one is kept that has nothing to do.
    keep_alive_ns: Nanos,
    state: Mutex<State>,
}

struct State {
    /// The idle ones, that which has been for the shortest time first; linked.
    idle: *const Spare,
    /// How many there are, or are about to be.
    count: usize,
    /// Who they are.
    ids: Vec<ThreadId>,
    /// Those that have not been joined.
    threads: Vec<JoinHandle<()>>,
    ending: bool,
}

// SAFETY: `idle` points to what idle threads have on their stacks, where it stays until it is taken out of the list
// under the lock.
unsafe impl Send for State {}

/// A spare thread's own part, on its stack.
struct Spare {
    /// `IDLE`, `CALLED`: its job is written; `DISMISSED`: it is to end. The last two are written under the lock, by whoever has
    /// taken it out of the list.
    word: AtomicU32,
    job: Cell<Option<JobRef>>,
    next: Cell<*const Spare>,
}

const IDLE: u32 = 0;
const CALLED: u32 = 1;
const DISMISSED: u32 = 2;

impl Spares {
    pub(crate) fn new(most: usize, keep_alive_ns: Nanos) -> Spares {
        let state = State { idle: ptr::null(), count: 0, ids: Vec::new(), threads: Vec::new(), ending: false };
        Spares { most, keep_alive_ns, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Gives `job` to a thread. False if there is none to be had.
    fn give(&self, rt: &'static Shared, job: JobRef) -> bool {
        // A coroutine that is suspended must not hold the lock.
        let _pin = preempt::Pin::new();
        let mut state = self.lock();
        // SAFETY: what is in the list stays until it is taken out under the lock, which we hold.
        if let Some(spare) = unsafe { state.idle.as_ref() } {
            state.idle = spare.next.get();
            // Not by itself: it may be long until it has a CPU.
            deadlock::thread_ended();
            spare.job.set(Some(job));
            spare.call(CALLED, state);
            return true;
        }
        // A thread inherits from the one that starts it, and that may be a special one.
        if state.count >= self.most || M::current().is_some_and(M::is_set_aside) {
            return false;
        }
        state.count += 1;
        state.threads.retain(|thread| !thread.is_finished());
        drop(state);
        let name = format!("{}-blocking", rt.name);
        let started = thread::Builder::new().name(name).spawn(move || main(rt, job));
        let mut state = self.lock();
        match started {
            Ok(thread) => {
                state.threads.push(thread);
                true
            }
            Err(_) => {
                state.count -= 1;
                false
            }
        }
    }

    /// Whether the calling thread is one of them.
    pub(crate) fn is_one(&self) -> bool {
        let _pin = preempt::Pin::new();
        self.lock().ids.contains(&thread::current().id())
    }

    /// Ends them. No coroutine is left, so none has a job, but one may be on its way to being idle.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ending = true;
        let threads = mem::take(&mut state.threads);
        let mut next = mem::replace(&mut state.idle, ptr::null());
        // SAFETY: as in `give`; who is called stays in `Spare::sleep` until it gets the lock.
        while let Some(spare) = unsafe { next.as_ref() } {
            next = spare.next.get();
            deadlock::thread_ended();
            // Release: as in `call`.
            spare.word.store(DISMISSED, Ordering::Release);
            futex::wake(&spare.word, 1);
        }
        drop(state);
        for thread in threads {
            // Panics of jobs are caught. One of a thread-local's destructor has printed its message.
            let _ = thread.join();
        }
    }
}

impl Spare {
    /// Wakes it. The caller has taken it out of the list.
    fn call(&self, word: u32, state: MutexGuard<'_, State>) {
        let address = &raw const self.word;
        // Release: publishes the job.
        self.word.store(word, Ordering::Release);
        // It may be gone from here on.
        drop(state);
        futex::wake(address, 1);
    }

    /// Sleeps until there is a job. None if the thread is to end.
    fn sleep(&self, spares: &Spares) -> Option<JobRef> {
        let deadline = clock::now().saturating_add(spares.keep_alive_ns);
        loop {
            // Acquire: pairs with the Release in `call`.
            match self.word.load(Ordering::Acquire) {
                IDLE => {}
                CALLED => return self.job.take(),
                _ => return None,
            }
            if !futex::wait(&self.word, IDLE, deadline) && self.leave(spares) {
                return None;
            }
        }
    }

    /// Takes itself out of the list. False if somebody else has.
    ///
    /// As for whoever takes one out: from then on it may wake somebody.
    fn leave(&self, spares: &Spares) -> bool {
        let mut state = spares.lock();
        // Relaxed: written under the lock.
        if self.word.load(Ordering::Relaxed) != IDLE {
            return false;
        }
        deadlock::thread_ended();
        if ptr::eq(state.idle, self) {
            state.idle = self.next.get();
            return true;
        }
        let mut before = state.idle;
        // SAFETY: as in `Spares::give`.
        while let Some(spare) = unsafe { before.as_ref() } {
            if ptr::eq(spare.next.get(), self) {
                spare.next.set(self.next.get());
                return true;
            }
            before = spare.next.get();
        }
        unreachable!("an idle one is in the list")
    }
}

/// The life of a spare thread.
fn main(rt: &'static Shared, first: JobRef) {
    rt.mask.install();
    rt.confine();
    let spares = &rt.spares;
    let id = thread::current().id();
    spares.lock().ids.push(id);
    let spare = Spare { word: AtomicU32::new(IDLE), job: Cell::new(None), next: Cell::new(ptr::null()) };
    let mut next = Some(first);
    while let Some(JobRef(job)) = next {
        // SAFETY: a job is given to one thread, once, and its coroutine waits; the head is there until it is woken.
        unsafe { ((*job).run)(job) };
        {
            let mut state = spares.lock();
            if state.ending {
                break;
            }
            // Relaxed: the list's lock publishes it.
            spare.word.store(IDLE, Ordering::Relaxed);
            spare.next.set(state.idle);
            state.idle = &raw const spare;
            deadlock::thread_began();
        }
        next = spare.sleep(spares);
    }
    let mut state = spares.lock();
    state.count -= 1;
    state.ids.retain(|other| *other != id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Receiver, Sender, unbounded};

    const MS: Nanos = 1_000_000;

    /// Notes `calls` of that length, one after the other, and says when it is and until when none is to be made in place.
    fn after(calls: &BriefCalls, mut now: Nanos, count: u32, length: Nanos) -> (Nanos, Nanos) {
        for _ in 0..count {
            calls.note(now, now + length);
            now += length;
        }
        (now, calls.not_until.get())
    }

    #[test]
    fn long_calls_among_many_are_passed_over() {
        let (calls, mut now) = (BriefCalls::default(), 0);
        for _ in 0..100 {
            (now, _) = after(&calls, now, 1, 4 * MS);
            assert!(calls.end_soon(now));
            (now, _) = after(&calls, now, MANY, LONG_NS - 1);
            assert!(calls.end_soon(now));
        }
    }

    #[test]
    fn after_long_calls_the_next_are_not_in_place() {
        let (calls, mut now) = (BriefCalls::default(), 0);
        for times in [0, 2, 6, 14, 30, 30, 30] {
            (now, _) = after(&calls, now, 1, MS);
            assert_eq!(calls.not_until.get(), now + times * MS);
            assert_eq!(calls.end_soon(now), times == 0);
            assert!(calls.end_soon(now + times * MS));
            // Fewer than many change nothing.
            (now, _) = after(&calls, now, MANY - 1, 1_000);
        }
        (now, _) = after(&calls, now, MANY, 1_000);
        (now, _) = after(&calls, now, 1, MS);
        assert_eq!(calls.not_until.get(), now, "forgotten");
    }

    /// Runs `f` in a coroutine with whom another lives, who sends what it gets.
    fn with_a_mate(f: impl FnOnce(&Sender<u32>, &Receiver<u32>) + Send) {
        let rt = crate::Runtime::builder().procs(1).build().unwrap();
        rt.run(|| {
            let ((ask, asked), (tell, told)) = (unbounded(), unbounded());
            let mate = crate::spawn_local(move || asked.iter().try_for_each(|number| tell.send(number)).unwrap());
            f(&ask, &told);
            drop(ask);
            mate.join().unwrap();
        });
    }

    /// Goal: whoever lives with the caller goes on during a call that is expected to be short. Method: the call waits for him, by
    /// what parks a coroutine: it is none meanwhile.
    #[test]
    fn who_lives_with_the_caller_goes_on() {
        with_a_mate(|ask, told| {
            let here = thread::current().id();
            for number in 0..100 {
                ask.send(number).unwrap();
                let (is_told, is_coroutine, id) =
                    briefly(|| (told.recv().unwrap(), M::current_coroutine().is_some(), thread::current().id()));
                assert_eq!((is_told, is_coroutine), (number, false));
                assert_ne!(id, here);
                assert_eq!(thread::current().id(), here);
            }
        });
    }

    #[test]
    fn panics_come_through_and_calls_while_unwinding_are_made() {
        struct Calls<'a>(&'a mut u32);
        impl Drop for Calls<'_> {
            fn drop(&mut self) {
                // Whoever else lives here waits until it has unwound.
                *self.0 = briefly(|| 2);
            }
        }
        with_a_mate(|ask, told| {
            let mut number = 0;
            let payload = catch_unwind(AssertUnwindSafe(|| {
                let _calls = Calls(&mut number);
                briefly(|| -> u32 { panic!("from below") })
            }));
            assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"from below"));
            assert!(!thread::panicking());
            assert_eq!(number, 2);
            ask.send(3).unwrap();
            assert_eq!(briefly(|| told.recv().unwrap()), 3);
        });
    }
}

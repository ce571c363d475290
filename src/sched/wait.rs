//! Waiting, for whatever is built on the scheduler: channels, timers, descriptors, joins.
//!
//! A wait has three steps. [`begin`] arms the caller's wait word. The caller then leaves
//! [`Wait::waiter`] where whoever ends the wait will find it (a channel's list, a timer heap).
//! [`Wait::park`] gives up the thread until somebody has claimed the waiter and readied it, and
//! says why. Between `begin` and `park` the caller runs on: a claim in that time is not lost,
//! `park` then returns at once or soon.
//!
//! All of it works on plain threads too, which block. Nothing here allocates for a coroutine.
//!
//! A third kind of waiter neither parks nor blocks: a future that was polled. What lets it go on wakes its
//! [`Waker`]; see [`future_task`](super::future_task).

use super::bound;
use super::future_task::FutureTask;
use super::g::{self, G, GRef};
use super::m::M;
use super::thread_task::ThreadTask;
use super::wait_word::{Ticket, WaitWord};
use crate::os::clock::{NEVER, Nanos};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::task::Waker;

pub(crate) use super::wait_word::Wake;

/// What a coroutine waits for; for reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum WaitReason {
    /// It does not wait.
    None,
    /// `park` until `unpark`.
    Park,
    /// A sleep.
    Sleep,
    /// Sending to a channel.
    Send,
    /// Receiving from a channel.
    Recv,
    /// The end of a coroutine.
    Join,
    /// The end of a scope's coroutines.
    Scope,
    /// A descriptor to become readable.
    Read,
    /// A descriptor to become writable.
    Write,
    /// The first of several things.
    Select,
    /// A `sync::Mutex`.
    Mutex,
    /// A `sync::RwLock`, to read.
    ReadLock,
    /// A `sync::RwLock`, to write.
    WriteLock,
    /// A `sync::Condvar`.
    Condvar,
    /// Permits of a `sync::Semaphore`.
    Semaphore,
    /// Another's initialisation: `sync::Once` and what is made of it.
    Once,
    /// The others at a `sync::Barrier`.
    Barrier,
    /// The others of a `sync::WaitGroup`.
    WaitGroup,
    /// A `sync::Notify`.
    Notify,
    /// A change of a `sync::Watch`.
    Watch,
    /// What runs on a spare thread.
    Blocking,
    /// The end of a context.
    Context,
    /// A signal of the system.
    Signal,
    /// A future's waker to be woken.
    Future,
}

impl WaitReason {
    /// For a line in a report.
    pub(crate) fn describe(code: u8) -> &'static str {
        const ALL: [(WaitReason, &str); 24] = [
            (WaitReason::None, "running"),
            (WaitReason::Park, "park"),
            (WaitReason::Sleep, "sleep"),
            (WaitReason::Send, "channel send"),
            (WaitReason::Recv, "channel receive"),
            (WaitReason::Join, "join"),
            (WaitReason::Scope, "end of a scope"),
            (WaitReason::Read, "descriptor readable"),
            (WaitReason::Write, "descriptor writable"),
            (WaitReason::Select, "select"),
            (WaitReason::Mutex, "mutex"),
            (WaitReason::ReadLock, "lock to read"),
            (WaitReason::WriteLock, "lock to write"),
            (WaitReason::Condvar, "condition variable"),
            (WaitReason::Semaphore, "semaphore"),
            (WaitReason::Once, "initialisation"),
            (WaitReason::Barrier, "barrier"),
            (WaitReason::WaitGroup, "wait group"),
            (WaitReason::Notify, "notification"),
            (WaitReason::Watch, "change of a value"),
            (WaitReason::Blocking, "blocking call"),
            (WaitReason::Context, "end of a context"),
            (WaitReason::Signal, "signal"),
            (WaitReason::Future, "future"),
        ];
        ALL.iter().find(|(reason, _)| *reason as u8 == code).map_or("unknown", |(_, text)| text)
    }
}

/// Runs `f`, users' code, in a wait that has begun: whoever ends that may ready the coroutine any time, so that it must not be
/// in a queue for another reason. If `f` waits or yields nevertheless, the process ends.
pub(crate) fn before_park<R>(f: impl FnOnce() -> R) -> R {
    struct End(GRef);
    impl Drop for End {
        fn drop(&mut self) {
            // Relaxed: the coroutine alone looks at the bit.
            self.0.asked.fetch_and(!g::BEGUN, Ordering::Relaxed);
        }
    }
    let _end = M::current_coroutine().map(|g| {
        // Relaxed: as above.
        g.asked.fetch_or(g::BEGUN, Ordering::Relaxed);
        End(g)
    });
    f()
}

/// Whether `g`, which calls it, is in [`before_park`].
pub(super) fn has_begun(g: GRef) -> bool {
    // Relaxed: the coroutine alone looks at the bit.
    g.asked.load(Ordering::Relaxed) & g::BEGUN != 0
}

/// A coroutine is about to wait in [`before_park`].
#[cold]
pub(super) fn is_begun() -> ! {
    crate::os::fatal("a Waitable waits in `watch` or `ready_at`")
}

/// Set in a task pointer that leads to a [`ThreadTask`]; all tasks are 16-aligned.
const THREAD: usize = 1;
/// Set in one that leads to a [`FutureTask`].
const FUTURE: usize = 2;
const KIND: usize = THREAD | FUTURE;

/// A pointer to a G, a [`ThreadTask`] or a [`FutureTask`], all of which begin with their wait word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct TaskRef(NonNull<u8>);

impl TaskRef {
    fn coroutine(g: GRef) -> TaskRef {
        // SAFETY: a GRef is not null.
        TaskRef(unsafe { NonNull::new_unchecked(g.as_ptr().cast()) })
    }

    fn thread(task: &'static ThreadTask) -> TaskRef {
        TaskRef(NonNull::from(task).cast::<u8>().map_addr(|a| a | THREAD))
    }

    fn future(task: &'static FutureTask) -> TaskRef {
        TaskRef(NonNull::from(task).cast::<u8>().map_addr(|a| a | FUTURE))
    }

    #[inline(always)]
    fn is_coroutine(self) -> bool {
        self.0.addr().get() & KIND == 0
    }

    /// For those who have begun a wait: they are no futures.
    #[inline(always)]
    fn is_thread(self) -> bool {
        self.0.addr().get() & THREAD != 0
    }

    #[inline(always)]
    fn word(self) -> &'static WaitWord {
        let word = self.0.as_ptr().map_addr(|a| a & !KIND).cast::<WaitWord>();
        // SAFETY: all kinds of task are `repr(C)` with the word first and are never freed.
        unsafe { &*word }
    }

    fn as_thread(self) -> &'static ThreadTask {
        debug_assert!(self.is_thread());
        // SAFETY: the tag says what it is; thread tasks are never freed.
        unsafe { &*self.0.as_ptr().map_addr(|a| a & !THREAD).cast::<ThreadTask>() }
    }

    /// [`Waiter::ready`] for who is no coroutine.
    ///
    /// # Safety
    /// As there.
    #[cold]
    unsafe fn ready_other(self) {
        if self.is_thread() {
            return self.as_thread().ready();
        }
        debug_assert_eq!(self.0.addr().get() & KIND, FUTURE);
        // SAFETY: the tag says what it is; they are never freed.
        let task = unsafe { &*self.0.as_ptr().map_addr(|a| a & !FUTURE).cast::<FutureTask>() };
        // SAFETY: the caller's promise.
        unsafe { task.ready() };
    }

    #[inline(always)]
    fn as_coroutine(self) -> GRef {
        debug_assert!(self.is_coroutine());
        // SAFETY: the missing tag says what it is; records are never freed.
        unsafe { GRef::new(self.0.as_ptr().cast::<G>()) }
    }
}

/// One wait of one coroutine or thread, as those see it who may end it. Copies may be kept for
/// ever: when the wait has ended they do nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Waiter {
    task: TaskRef,
    ticket: Ticket,
}

// SAFETY: a waiter is used through atomics in memory that is never freed.
unsafe impl Send for Waiter {}
// SAFETY: as above.
unsafe impl Sync for Waiter {}

impl Waiter {
    /// # Safety
    /// `ticket` was armed on `g`'s word.
    pub(crate) unsafe fn of(g: GRef, ticket: Ticket) -> Waiter {
        Waiter { task: TaskRef::coroutine(g), ticket }
    }

    /// The ticket as a number, at least 8; with [`Self::of`] it makes the waiter again.
    pub(crate) fn ticket_bits(self) -> u64 {
        self.ticket.to_bits()
    }

    /// Ends the wait, if nobody has: true for one caller, who must then call [`Self::ready`].
    /// What the caller wrote before is seen by the waiter when it goes on; until `ready` the
    /// waiter does not go on, so its stack may be written to in between.
    #[inline(always)]
    pub(crate) fn claim(self, why: Wake) -> bool {
        self.task.word().claim(self.ticket, why)
    }

    /// Lets the waiter go on.
    ///
    /// # Safety
    /// The caller's [`Self::claim`] returned true, and it has not called this yet.
    #[inline(always)]
    pub(crate) unsafe fn ready(self) {
        if self.task.is_coroutine() {
            // SAFETY: the claim made the coroutine the caller's to ready.
            unsafe { super::park::ready(self.task.as_coroutine()) };
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.task.ready_other() };
        }
    }

    /// [`Self::ready`] for one of several who are to go on in the order of these calls, where `ready` would
    /// let the last one go first.
    ///
    /// # Safety
    /// As [`Self::ready`].
    pub(crate) unsafe fn ready_in_turn(self) {
        if self.task.is_coroutine() {
            // SAFETY: the claim made the coroutine the caller's to ready.
            unsafe { super::park::ready_in_turn(self.task.as_coroutine()) };
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.task.ready_other() };
        }
    }

    /// [`Self::claim`] and [`Self::ready`] in one; true if this call ended the wait.
    pub(crate) fn wake(self, why: Wake) -> bool {
        let claimed = self.claim(why);
        if claimed {
            // SAFETY: just claimed.
            unsafe { self.ready() };
        }
        claimed
    }

    /// Whether the wait is still in force. A hint for sweeping; a claim decides.
    pub(crate) fn is_armed(self) -> bool {
        self.task.word().is_armed(self.ticket)
    }

    /// The coroutine that waits, if it is one. For those who ready many at once.
    pub(crate) fn coroutine(self) -> Option<GRef> {
        self.task.is_coroutine().then(|| self.task.as_coroutine())
    }

    /// Begins a wait that ends by waking `waker`, which is `prompt` if it is known not to wait. It is to be ended by whoever ends it, or by
    /// [`forget`](Self::forget).
    pub(crate) fn of_future(waker: Waker, prompt: bool) -> Waiter {
        let (task, ticket) = FutureTask::take(waker, prompt);
        Waiter { task: TaskRef::future(task), ticket }
    }

    /// Ends a wait of [`of_future`](Self::of_future) without waking anybody; the waker, unless it has been ended.
    pub(crate) fn forget(self) -> Option<Waker> {
        debug_assert_eq!(self.task.0.addr().get() & KIND, FUTURE);
        if !self.claim(Wake::Ready) {
            return None;
        }
        // SAFETY: the tag says what it is; they are never freed.
        let task: &'static FutureTask = unsafe { &*self.task.0.as_ptr().map_addr(|a| a & !FUTURE).cast() };
        // SAFETY: just claimed.
        Some(unsafe { task.put() })
    }
}

/// The caller's own side of a wait. Must be parked or abandoned.
#[derive(Debug)]
#[must_use = "a wait that was begun must be parked or abandoned"]
pub(crate) struct Wait {
    waiter: Waiter,
    /// It belongs to the coroutine or thread that began it.
    not_send: PhantomData<*mut ()>,
}

/// Begins a wait of the calling coroutine, or of the calling thread outside the runtime.
#[inline(always)]
pub(crate) fn begin() -> Wait {
    begin_in_coroutine().unwrap_or_else(|| begin_in_thread(ThreadTask::take()))
}

/// [`begin`] where that is a few stores, so that it can be done under a lock: not for a thread that waits for the first time.
#[inline(always)]
pub(crate) fn begin_locked() -> Option<Wait> {
    begin_in_coroutine().or_else(|| ThreadTask::take_kept().map(begin_in_thread))
}

#[inline(always)]
fn begin_in_thread(task: &'static ThreadTask) -> Wait {
    let waiter = Waiter { task: TaskRef::thread(task), ticket: task.word.arm() };
    Wait { waiter, not_send: PhantomData }
}

/// [`begin`] for a coroutine. None on a plain thread.
#[inline(always)]
fn begin_in_coroutine() -> Option<Wait> {
    let g = M::current_coroutine()?;
    // Relaxed: published by `arm`.
    g.panicking.store(std::thread::panicking(), Ordering::Relaxed);
    let waiter = Waiter { task: TaskRef::coroutine(g), ticket: g.word.arm() };
    Some(Wait { waiter, not_send: PhantomData })
}

impl Wait {
    /// What to leave where the wait may be ended from.
    #[inline(always)]
    pub(crate) fn waiter(&self) -> Waiter {
        self.waiter
    }

    /// Whether the caller has begun no other wait since: one that was begun while this was in force has taken its word.
    pub(crate) fn is_latest(&self) -> bool {
        self.waiter.task.word().is_latest(self.waiter.ticket)
    }

    /// Ends the wait in the name of somebody else, who alone readies the caller from now on; the caller
    /// parks without a deadline. False if the wait has been ended already: then it was not this.
    pub(crate) fn claim_for_another(&self) -> bool {
        self.waiter.claim(Wake::Ready)
    }

    /// Gives up the thread until the wait has been ended, or until `deadline`. On
    /// [`Wake::Cancel`] the caller removes what it left in lists and then calls
    /// [`cancel::unwind`](super::cancel::unwind).
    #[inline(always)]
    pub(crate) fn park(self, reason: WaitReason, deadline: Nanos) -> Wake {
        if self.waiter.task.is_thread() {
            return self.block(deadline);
        }
        let g = self.waiter.task.as_coroutine();
        if deadline != NEVER {
            super::timers::arm(deadline, self.waiter);
        }
        super::park::park(g, self.waiter.ticket, reason);
        self.waiter.task.word().wake().expect("a coroutine goes on only when its wait was claimed")
    }

    #[cold]
    fn block(self, deadline: Nanos) -> Wake {
        let task = self.waiter.task.as_thread();
        let bounded = bound::has_threads() && bound::block(self.waiter, deadline, |until| task.block(until));
        if !bounded && !task.block(deadline) && !self.waiter.claim(Wake::Timeout) {
            // Somebody claimed it at the last moment and is about to let us go.
            task.block(NEVER);
        }
        let wake = task.word.wake().expect("claimed");
        task.put();
        wake
    }

    /// Gives the wait up without parking, because what it was for has happened meanwhile. None
    /// if nobody had ended it; else what it was ended for, after consuming it.
    pub(crate) fn abandon(self) -> Option<Wake> {
        if self.waiter.claim(Wake::Ready) {
            if self.waiter.task.is_thread() {
                self.waiter.task.as_thread().put();
            } else {
                // Relaxed: as in `begin`. It says so of this wait, and it may leave its home without one.
                self.waiter.task.as_coroutine().panicking.store(false, Ordering::Relaxed);
            }
            return None;
        }
        // Somebody has claimed it and will ready us: wait for that.
        Some(self.park(WaitReason::None, NEVER))
    }
}

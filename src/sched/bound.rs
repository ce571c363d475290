//! Bounds: closures that end early, because their time is over or somebody wants them to end.
//!
//! Promise: a wait inside a bound ends when the bound is over, by the means that [`cancel`]
//! uses: the call unwinds, what was left in lists is taken out, destructors run. The unwinding stops at the
//! frame of that bound and nowhere else: it is not caught by bounds inside, and a cancel, or a panic,
//! passes through.
//!
//! A bound is a [`Frame`] on the stack of who runs it, linked to the one around it. Where the chain
//! begins is known to nobody but the coroutine itself: the first word of its record's payload, which is empty
//! while it runs, and bits in `asked` that say that there is one. So who has no bound pays nothing: a
//! park looks at `asked` anyway. (A plain thread's chain is in a list by the thread's number, and a count says whether
//! there is any.)
//!
//! Nobody watches a bound while nobody waits in it. A wait in it has the bound's deadline besides its own, and is
//! entered with what may end the bound before. Both name the wait's ticket, and so are harmless afterwards. So
//! it is the coroutine that finds, at the next wait or in this one, that a bound is over;
//! nobody else touches a frame.
//!
//! As for a cancel, a coroutine that is panicking is left alone until it is not. A `shield` hides the bounds around it;
//! those that are begun inside it hold: a frame knows how deep in shields it was made, and counts there only.
//!
//! Rejected: a timer of its own for each bound (it would have to be armed for calls that do not wait; and it
//! finds the coroutine at an unknown place); a deadline in the record, looked at by all parks (it costs all parks).
//! Tested in `tests/time.rs`, `tests/context.rs` and, by random programs, in `tests/primitives_random.rs`. There is no model of it: who ends a
//! wait is decided by a claim of its word, which has models, whoever the claimers are; an [`End`] looks and keeps the waiter
//! under one lock; and all else here is done by the coroutine alone.

use super::cancel;
use super::g::{self, GRef};
use super::m::M;
use super::wait::{Waiter, Wake};
use super::wait_word::Ticket;
use crate::os::clock::{self, NEVER, Nanos};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};

/// What may end a bound besides the clock.
pub(crate) trait End {
    /// Whether it has; then for ever.
    fn is_over(&self) -> bool;
    /// Has the waiter woken, with [`Wake::Cancel`], when it has; false if it has now.
    fn watch(&self, waiter: Waiter) -> bool;
    /// Forgets the waiter.
    fn unwatch(&self, waiter: Waiter);
}

/// What a closure runs in; see the module.
struct Frame<'a> {
    outer: *const Frame<'static>,
    /// When this bound is over.
    own: Nanos,
    /// The earliest such time here and further out.
    deadline: Nanos,
    end: Option<&'a dyn End>,
    /// What the closure runs under; for [`innermost`].
    subject: Option<&'a dyn Any>,
    /// How many shields there are around it. (On a plain thread a shield is a frame, with one more than what is
    /// around it.)
    depth: u32,
    /// By which it knows its own unwinding; 0 before the first.
    number: Cell<u64>,
}

impl Frame<'_> {
    fn is_over(&self, now: Nanos) -> bool {
        self.own <= now || self.end.is_some_and(|end| end.is_over())
    }
}

/// What a bound unwinds with: the number of its frame.
struct Over(u64);

/// See [`look_again`].
const SLICE_NS: Nanos = 5_000_000;

/// Numbers of frames.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// The chains of plain threads.
static THREADS: Mutex<Vec<(ThreadId, Head)>> = Mutex::new(Vec::new());
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Where a plain thread's chain begins.
struct Head(*const Frame<'static>);
// SAFETY: only an address here; the thread itself follows it.
unsafe impl Send for Head {}

/// Whose chain it is.
#[derive(Clone, Copy)]
enum Owner {
    Coroutine(GRef),
    Thread,
}

impl Owner {
    fn current() -> Owner {
        M::current_coroutine().map_or(Owner::Thread, Owner::Coroutine)
    }

    /// The innermost frame, or null.
    fn head(self) -> *const Frame<'static> {
        match self {
            // Relaxed: written by the coroutine.
            Owner::Coroutine(g) if g.asked.load(Ordering::Relaxed) & g::FRAMES != 0 => {
                // SAFETY: this is the coroutine, and it runs.
                unsafe { *g.scratch() }.cast()
            }
            Owner::Coroutine(_) => ptr::null(),
            // Relaxed: if there is one of this thread, this thread has counted it.
            Owner::Thread if COUNT.load(Ordering::Relaxed) == 0 => ptr::null(),
            Owner::Thread => {
                let (here, threads) = (thread::current().id(), THREADS.lock().unwrap_or_else(|e| e.into_inner()));
                threads.iter().find(|entry| entry.0 == here).map_or(ptr::null(), |entry| entry.1.0)
            }
        }
    }

    /// How many shields there are around the caller.
    fn depth(self) -> u32 {
        match self {
            // Relaxed: written by the coroutine.
            Owner::Coroutine(g) => g.shield.load(Ordering::Relaxed).into(),
            // SAFETY: what is in the chain is on this stack, further out.
            Owner::Thread => unsafe { self.head().as_ref() }.map_or(0, |frame| frame.depth),
        }
    }

    /// The frames that count, from the innermost outwards: those that no shield hides.
    fn chain<'a>(self) -> impl Iterator<Item = &'a Frame<'static>> + use<'a> {
        let (mut next, depth) = (self.head(), self.depth());
        std::iter::from_fn(move || {
            // SAFETY: what is in the chain is on this stack, further out, and the iterator is used in this module only.
            let frame = unsafe { next.as_ref() }.filter(|frame| frame.depth == depth)?;
            next = frame.outer;
            Some(frame)
        })
    }

    /// Whether any bound that counts is over.
    fn is_over(self) -> bool {
        let now = clock::now();
        self.chain().any(|frame| frame.is_over(now))
    }

    /// Makes `frame` the innermost.
    fn set_head(self, frame: *const Frame<'static>) {
        match self {
            // SAFETY: as in `head`.
            Owner::Coroutine(g) => unsafe { *g.scratch() = frame.cast() },
            Owner::Thread => {
                let (here, mut threads) = (thread::current().id(), THREADS.lock().unwrap_or_else(|e| e.into_inner()));
                let at = threads.iter().position(|entry| entry.0 == here);
                match at {
                    Some(at) if frame.is_null() => drop(threads.swap_remove(at)),
                    Some(at) => threads[at].1 = Head(frame),
                    None => threads.push((here, Head(frame))),
                }
                // Relaxed: see `head`.
                COUNT.store(threads.len(), Ordering::Relaxed);
            }
        }
    }
}

/// Takes the innermost frame off again.
struct Pop {
    owner: Owner,
    outer: *const Frame<'static>,
    /// The bits of `asked` that this frame has set.
    added: u8,
}

impl Drop for Pop {
    fn drop(&mut self) {
        if let Owner::Coroutine(g) = self.owner
            && self.added != 0
        {
            // Relaxed: for the coroutine itself; others set other bits.
            g.asked.fetch_and(!self.added, Ordering::Relaxed);
        }
        self.owner.set_head(self.outer);
    }
}

/// Runs `f` in `frame`.
fn run_in<T>(owner: Owner, frame: &mut Frame<'_>, f: impl FnOnce() -> T) -> T {
    let bounds = frame.own != NEVER || frame.end.is_some();
    frame.outer = owner.head();
    frame.depth += owner.depth();
    // SAFETY: what is in the chain is on this stack, further out.
    let outer = unsafe { frame.outer.as_ref() }.filter(|outer| outer.depth == frame.depth);
    frame.deadline = outer.map_or(NEVER, |outer| outer.deadline).min(frame.own);
    let mut added = 0;
    if let Owner::Coroutine(g) = owner {
        let wanted = if bounds { g::FRAMES | g::BOUND } else { g::FRAMES };
        // Relaxed: as in `Pop`.
        added = wanted & !g.asked.load(Ordering::Relaxed);
        if added != 0 {
            g.asked.fetch_or(added, Ordering::Relaxed);
        }
    }
    let _pop = Pop { owner, outer: frame.outer, added };
    // Its own lifetimes are longer than its time in the chain, which `_pop` ends.
    owner.set_head(ptr::from_ref(frame).cast());
    f()
}

fn frame<'a>(own: Nanos, end: Option<&'a dyn End>, subject: Option<&'a dyn Any>) -> Frame<'a> {
    Frame { outer: ptr::null(), own, deadline: NEVER, end, subject, depth: 0, number: Cell::new(0) }
}

/// Runs `f` until it returns, or until it waits and `deadline` has passed or `end` is over: None then.
pub(crate) fn bound<T>(
    deadline: Nanos,
    end: Option<&dyn End>,
    subject: Option<&dyn Any>,
    f: impl FnOnce() -> T,
) -> Option<T> {
    let mut frame = frame(deadline, end, subject);
    // Whoever is unwound sees what the closure has broken, as with any panic that is caught further out.
    match catch_unwind(AssertUnwindSafe(|| run_in(Owner::current(), &mut frame, f))) {
        Ok(value) => Some(value),
        Err(payload) => match payload.downcast::<Over>() {
            Ok(over) if over.0 == frame.number.get() => None,
            Ok(other) => resume_unwind(other),
            Err(payload) => resume_unwind(payload),
        },
    }
}

/// Runs `f` with `subject` to be found by [`innermost`].
pub(crate) fn under<T>(subject: &dyn Any, f: impl FnOnce() -> T) -> T {
    run_in(Owner::current(), &mut frame(NEVER, None, Some(subject)), f)
}

/// The innermost subject that the caller runs under.
pub(crate) fn innermost<T: Clone + 'static>() -> Option<T> {
    let mut next = Owner::current().head();
    // SAFETY: what is in the chain is on this stack, further out.
    while let Some(frame) = unsafe { next.as_ref() } {
        if let Some(subject) = frame.subject.and_then(|subject| subject.downcast_ref::<T>()) {
            return Some(subject.clone());
        }
        next = frame.outer;
    }
    None
}

/// Runs `f`, on a plain thread, with no bound in force.
pub(crate) fn shield_thread<T>(f: impl FnOnce() -> T) -> T {
    if Owner::Thread.head().is_null() {
        return f();
    }
    let mut frame = Frame { depth: 1, ..frame(NEVER, None, None) };
    run_in(Owner::Thread, &mut frame, f)
}

/// Unwinds to the outermost bound that is over. Returns if there is none, or the coroutine was cancelled.
#[cold]
pub(crate) fn unwind() {
    let owner = Owner::current();
    if let Owner::Coroutine(g) = owner
        // Relaxed: a request that comes later is seen at the next wait.
        && g.asked.load(Ordering::Relaxed) & g::CANCEL != 0
        && owner.depth() == 0
    {
        return;
    }
    let now = clock::now();
    let Some(frame) = owner.chain().filter(|frame| frame.is_over(now)).last() else { return };
    if frame.number.get() == 0 {
        // Relaxed: only uniqueness matters.
        frame.number.set(NUMBERS.fetch_add(1, Ordering::Relaxed));
    }
    resume_unwind(Box::new(Over(frame.number.get())))
}

/// A wait that is entered with all that may end the bounds around it.
struct Watch {
    owner: Owner,
    waiter: Waiter,
    /// How many ends have it.
    watched: usize,
}

impl Watch {
    /// False if a bound is over.
    fn begin(&mut self) -> bool {
        if self.owner.is_over() {
            return false;
        }
        for end in self.owner.chain().filter_map(|frame| frame.end) {
            if !end.watch(self.waiter) {
                return false;
            }
            self.watched += 1;
        }
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for end in self.owner.chain().filter_map(|frame| frame.end).take(self.watched) {
            end.unwatch(self.waiter);
        }
    }
}

/// Parks `g`, the calling coroutine, which has bounds.
#[cold]
pub(super) fn park(g: GRef, ticket: Ticket) {
    // SAFETY: the ticket is of `g`'s word.
    let waiter = unsafe { Waiter::of(g, ticket) };
    // Relaxed: our own. If the wait has been ended already, whoever did it makes it ready.
    if g.panicking.load(Ordering::Relaxed) || !waiter.is_armed() {
        return super::park::leave(g);
    }
    let owner = Owner::Coroutine(g);
    let mut watch = Watch { owner, waiter, watched: 0 };
    if !watch.begin() && waiter.claim(Wake::Cancel) {
        return;
    }
    let deadline = owner.chain().next().map_or(NEVER, |frame| frame.deadline);
    if deadline != NEVER {
        super::timers::arm(deadline, waiter);
    }
    super::park::leave(g);
    drop(watch);
    if g.word.wake() == Some(Wake::Timeout) && owner.is_over() {
        // Not the wait's own deadline, or not only. The word is the coroutine's until its next wait.
        g.word.change(Wake::Cancel);
    }
}

/// What a plain thread's wait does if there are frames of threads: `block` until the earlier of `deadline` and the
/// bounds', after which the wait has been claimed. False, and nothing happens, if this thread has none or is not to be unwound.
#[cold]
pub(super) fn block(waiter: Waiter, deadline: Nanos, block: impl Fn(Nanos) -> bool) -> bool {
    let owner = Owner::Thread;
    if owner.chain().next().is_none() || thread::panicking() {
        return false;
    }
    let mut watch = Watch { owner, waiter, watched: 0 };
    if !watch.begin() && waiter.claim(Wake::Cancel) {
        return true;
    }
    let until = owner.chain().next().map_or(NEVER, |frame| frame.deadline).min(deadline);
    if !block(until) && !waiter.claim(if owner.is_over() { Wake::Cancel } else { Wake::Timeout }) {
        // Somebody claimed it at the last moment and is about to let us go.
        block(NEVER);
    }
    true
}

/// For a plain thread that is about to sleep in the kernel, by other means than a wait: unwinds if a bound is over, or
/// says when to call this again. No end of a bound but its deadline can reach it there: so it looks every [`SLICE_NS`]. A coroutine
/// looks by [`cancel::check`].
pub(crate) fn look_again() -> Nanos {
    let owner = Owner::Thread;
    if !has_threads() || thread::panicking() || M::current_coroutine().is_some() {
        return NEVER;
    }
    if owner.is_over() {
        cancel::unwind();
    }
    let slice = owner.chain().any(|frame| frame.end.is_some()).then(|| clock::now() + SLICE_NS);
    owner.chain().next().map_or(NEVER, |frame| frame.deadline).min(slice.unwrap_or(NEVER))
}

/// Whether any plain thread has frames.
pub(super) fn has_threads() -> bool {
    // Relaxed: see `Owner::head`.
    COUNT.load(Ordering::Relaxed) != 0
}

/// [`cancel::check`] for a coroutine with bounds that is not panicking.
#[cold]
pub(super) fn check() {
    if Owner::current().is_over() {
        cancel::unwind();
    }
}

//! Giving up the thread, and being made to run again.
//!
//! A coroutine parks on its own stack: it picks what runs next and switches there, one switch
//! for each hand-over. Before that it has published itself where it will be found (see
//! `wait.rs`), so it may be claimed, readied and even taken from a queue while it is still
//! here; its home, which this M wears until `after_switch` takes it off, keeps everybody else
//! from its stack meanwhile. If the M that takes it is this one, it simply goes on.

use super::g::{BEGUN, BOUND, CANCEL, GRef};
use super::m::M;
use super::p::P;
use super::preempt::{self, Pin};
use super::runtime::Shared;
use super::wait::{WaitReason, Waiter};
use super::wait_word::{Ticket, Wake};
use crate::shim::asymmetric;
use std::ptr;
use std::sync::atomic::Ordering;

/// Gives up the thread until `ticket` has been claimed and the coroutine readied. `g` calls it.
#[inline(always)]
pub(crate) fn park(g: GRef, ticket: Ticket, reason: WaitReason) {
    // Relaxed: for reports only.
    g.reason.store(reason as u8, Ordering::Relaxed);
    // Pairs with the heavy fence in `cancel`: we see the request, or it sees the armed word.
    asymmetric::light();
    // Relaxed: ordered by the fence.
    let asked = g.asked.load(Ordering::Relaxed);
    if asked & (CANCEL | BOUND | BEGUN) != 0 {
        if asked & BEGUN != 0 {
            super::wait::is_begun();
        }
        if asked & CANCEL != 0 && super::cancel::is_open(g) && g.word.claim(ticket, Wake::Cancel) {
            return;
        }
        if asked & BOUND != 0 {
            return super::bound::park(g, ticket);
        }
    }
    leave(g);
}

/// The rest of [`park`].
#[inline(always)]
pub(crate) fn leave(g: GRef) {
    let m = M::current().expect("coroutines run on Ms");
    let _pin = m.pinned();
    // Relaxed: our own.
    if g.panicking.load(Ordering::Relaxed) {
        leave_shut(m, g);
    } else {
        m.leave_coroutine(g);
    }
    // Relaxed: for reports only.
    g.reason.store(WaitReason::None as u8, Ordering::Relaxed);
}

/// The panic count belongs to the home: nobody else may run there until `g` has unwound. It is
/// left by way of g0, so that nobody is chosen while it is worn and shut at once.
#[cold]
fn leave_shut(m: &'static M, g: GRef) {
    m.home().shutting.set(true);
    m.leave_to_g0(g);
    // Relaxed: nobody looks before the next wait is armed, or the next yield is queued.
    g.panicking.store(false, Ordering::Relaxed);
}

/// Queues `g`, whose wait the caller has claimed, to run.
///
/// # Safety
/// The caller owns `g`: it claimed its wait and has not readied it yet.
#[inline(always)]
pub(crate) unsafe fn ready(g: GRef) {
    let rt = g.runtime.get();
    if let Some(m) = M::current()
        && ptr::eq(m.rt, rt)
        && let _pin = m.pinned()
        && let Some(p) = m.p.get()
    {
        // The waker will most likely park soon, and then this one runs: no other P is woken.
        g.prefetch();
        // SAFETY: this M holds the P, and `g` is ours to queue.
        if unsafe { p.queue.push_next(g) } {
            m.rt.notify();
        } else {
            m.rt.watch();
        }
    } else {
        // SAFETY: a runtime outlives its coroutines.
        let rt = unsafe { &*rt };
        rt.inject_from_outside(g);
    }
}

/// [`ready`], but `g` goes to the tail of the queue.
///
/// # Safety
/// As [`ready`].
pub(crate) unsafe fn ready_in_turn(g: GRef) {
    let rt = g.runtime.get();
    if let Some(m) = M::current()
        && ptr::eq(m.rt, rt)
        && let _pin = m.pinned()
        && let Some(p) = m.p.get()
    {
        // SAFETY: this M holds the P, and `g` is ours to queue.
        unsafe { p.queue.push_ready(g) };
        m.rt.notify();
    } else {
        // SAFETY: a runtime outlives its coroutines.
        unsafe { &*rt }.inject_from_outside(g);
    }
}

/// Queues `g` at the tail: it had been taken from a queue already but could not run.
///
/// # Safety
/// The caller owns `g`.
pub(crate) unsafe fn requeue(g: GRef) {
    // SAFETY: a runtime outlives its coroutines.
    let rt = unsafe { &*g.runtime.get() };
    let _pin = Pin::new();
    match M::with_p().filter(|_| M::current().is_some_and(|m| ptr::eq(m.rt, rt))) {
        Some(p) => {
            // SAFETY: this M holds the P.
            unsafe { p.queue.push_ready(g) };
            rt.notify();
        }
        None => rt.inject(g),
    }
}

/// Readies many: queues the claimed `waiter` without waking anybody; the caller notifies.
///
/// # Safety
/// The caller claimed the waiter and has not readied it yet; its M holds `p`, of `rt`.
pub(crate) unsafe fn ready_claimed(rt: &Shared, p: &P, waiter: Waiter) {
    match waiter.coroutine() {
        // SAFETY: the caller's promise.
        Some(g) if ptr::eq(g.runtime.get(), rt) => unsafe { p.queue.push_ready(g) },
        // SAFETY: the caller's promise.
        _ => unsafe { waiter.ready() },
    }
}

/// Lets other coroutines run: the caller goes to the end of the queue.
///
/// Returns at once if nobody else is ready to run here. On a plain thread it is
/// [`std::thread::yield_now`].
///
/// # Examples
/// ```
/// gort::run(|| {
///     let other = gort::go!(|| 1);
///     while !other.is_finished() {
///         gort::yield_now();
///     }
/// });
/// ```
///
/// # Scheduling
/// Parks the coroutine, which stays ready to run; may be cancelled. Does not block a plain thread.
pub fn yield_now() {
    let Some(g) = M::current_coroutine() else { return std::thread::yield_now() };
    if super::wait::has_begun(g) {
        super::wait::is_begun();
    }
    super::cancel::check();
    let m = M::current().expect("coroutines run on Ms");
    let _pin = m.pinned();
    let p = m.p();
    if std::thread::panicking() {
        // Relaxed: published by the queue.
        g.panicking.store(true, Ordering::Relaxed);
        // SAFETY: this M holds the P; `g` gives itself away, and its home is worn until g0.
        unsafe { p.queue.push_ready(g) };
        m.rt.notify();
        return leave_shut(m, g);
    }
    if m.home().word.has_list() {
        super::find::drain(m);
    }
    if m.is_set_aside() {
        if p.queue.is_empty() && m.rt.injector.is_empty() && !m.rt.has_due(p) {
            return;
        }
        // SAFETY: this M holds the P; `g` gives itself away, and its home is worn until g0.
        unsafe { p.queue.push_ready(g) };
        return m.leave_to_g0(g);
    }
    // SAFETY: this M holds the P; `g` gives itself away, and nobody enters its stack before its
    // home is taken off.
    let other = unsafe { p.rotate(m.rt, g) }.or_else(|| {
        if m.hand_over.get().is_some() {
            return None;
        }
        if m.rt.injector.is_empty() && !m.rt.has_due(p) {
            return None;
        }
        super::find::glance(m.rt, p, true);
        // SAFETY: as above.
        unsafe {
            match p.take_injected(m.rt) {
                Some(other) => {
                    p.queue.push_ready(g);
                    Some(other)
                }
                None => p.rotate(m.rt, g),
            }
        }
    });
    let Some(other) = other else {
        if m.hand_over.get().is_some() {
            // SAFETY: as above.
            unsafe { p.queue.push_ready(g) };
            m.leave_to_g0(g);
        }
        return;
    };
    m.rt.notify_if_idle();
    m.leave_coroutine_for(g, other);
}

/// What every call into the runtime does first: yields if sysmon asked for it.
#[inline(always)]
pub(crate) fn checkpoint() {
    if let Some(m) = M::current() {
        #[cfg(gort_chaos)]
        if !m.is_on_g0() {
            super::chaos::block(m);
        }
        // Relaxed: if it has just been taken we pin, and see, later.
        if m.run.load(Ordering::Relaxed) != preempt::RUNNING {
            drop(m.pinned());
        }
        // Also of whoever has just come back with its P: it may never be seen otherwise.
        if let Some(p) = m.p.get()
            // Relaxed: a request that is missed now is seen at the next call.
            && p.yield_soon.load(Ordering::Relaxed)
        {
            checkpoint_slow(m, p);
        }
    }
}

/// What a coroutine does before it goes past others that have been let go on: yields if some wait for its home.
///
/// They cannot go on elsewhere, and where homes are shared or fixed nothing else makes way for them: sysmon does not look into
/// the lists of homes, and who is preempted goes on wearing its own.
pub(crate) fn make_way_for_sharers() {
    if M::current_coroutine().is_some() && M::current().is_some_and(|m| m.home().word.has_list()) {
        yield_now();
    }
}

#[cold]
fn checkpoint_slow(m: &'static M, p: &P) {
    // Relaxed: as above.
    p.yield_soon.store(false, Ordering::Relaxed);
    let coroutine = M::current_coroutine();
    if coroutine.is_some_and(super::wait::has_begun) {
        // It will not be long.
        return;
    }
    if let Some(g) = coroutine
        && !std::thread::panicking()
    {
        super::cancel::check();
        let _pin = m.pinned();
        let p = m.p();
        // Not only at every 61st pick: somebody has waited for this.
        if preempt::is_due(m.rt, p) {
            // SAFETY: this M holds the P; `g` gives itself away, and its home is worn until g0.
            unsafe { p.queue.push_ready(g) };
            return m.leave_to_g0(g);
        }
        super::find::glance(m.rt, p, true);
    }
    yield_now();
}

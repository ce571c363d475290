//! What to run next.
//!
//! In order: every 61st time the global queue and the timers; the one readied last; the queues
//! of one's own; timers that are due; a batch of the global queue; the netpoller, without
//! waiting. When all of that is empty the M goes to g0, since the search may take long from here
//! on and whoever parked could not go on while we are on its stack: half of another P's queue;
//! the netpoller once more, after others have had the CPU; and else to sleep (`idle.rs`).
//!
//! Where the netpoller has much to say, others have the CPU before it is asked again: those who keep us busy add to what it
//! says. A batch of `echo` with 512 connections is twice as long for it, and a request costs 8.0 us of CPU, not 8.4.

use super::g::GRef;
use super::m::M;
use super::p::{LARGE_BATCH, Local, P};
use super::runtime::Shared;
use super::{idle, os_thread, park, preempt};
use crate::os::clock::{self, Nanos};
use std::sync::atomic::Ordering;

/// Who keeps the CPU for so long, when it is left to others, computes.
const LONG_TURN_NS: Nanos = 1_000_000;
/// Then it is not left to them again for so many times as long.
const OWN_TURNS: Nanos = 32;

/// The next coroutine, without waiting. The M holds a P.
#[inline(always)]
pub(crate) fn find(m: &'static M) -> Option<GRef> {
    if let Some(home) = m.worn.get()
        && home.word.has_list()
        && !home.shutting.get()
    {
        drain(m);
    }
    if m.restricted.get() && !m.may_choose() {
        return None;
    }
    // SAFETY: this M holds the P.
    match unsafe { m.p().pick(m.rt) } {
        Some(g) => {
            if m.searching.get() {
                idle::stop_searching(m, true);
            }
            Some(g)
        }
        None => find_more(m),
    }
}

/// Coroutines wait for the home that we wear, and we may go on wearing it: queue them.
#[cold]
pub(crate) fn drain(m: &'static M) {
    let home = m.home();
    home.word.drain(|g| {
        // SAFETY: what waited in the list is ours now.
        unsafe { park::requeue(GRef::new(g)) }
    });
}

#[cold]
fn find_more(m: &'static M) -> Option<GRef> {
    let (p, rt) = (m.p(), m.rt);
    if m.hand_over.get().is_some() {
        return None;
    }
    let mut yielded = false;
    if !m.looked.take() {
        // SAFETY: this M holds the P.
        if unsafe { p.local() }.batch >= LARGE_BATCH && rt.poller.registered() > 0 {
            if !m.is_on_g0() {
                // As below: others may be long.
                return None;
            }
            // SAFETY: as above.
            yielded = yield_cpu(unsafe { p.local() });
        }
        glance(rt, p, true);
    }
    if rt.homes.calls_homeless() {
        // SAFETY: this M holds the P; what waits for a home is fresh, and ours now.
        rt.homes.take_homeless(|g| unsafe { p.queue.push_fresh(g) });
    }
    // SAFETY: this M holds the P.
    let mut found = unsafe { p.pick(rt) };
    if found.is_none() {
        if m.hand_over.get().is_some() {
            // That was its turn to see who waits for the P: it is promised now.
            return None;
        }
        // SAFETY: as above.
        found = unsafe { p.take_injected(rt) };
    }
    if found.is_none() {
        if preempt::offer(m) {
            return None;
        }
        if !m.is_on_g0() {
            // Who parked can go on elsewhere as soon as we are off its stack; to steal takes long.
            m.looked.set(true);
            return None;
        }
        // SAFETY: as above.
        found = if idle::start_searching(m) { unsafe { p.steal(&rt.ps) } } else { None };
    }
    // SAFETY: as above.
    if found.is_none() && rt.poller.registered() > 0 && !yielded && yield_cpu(unsafe { p.local() }) {
        // Before this thread goes to sleep, for the price of a heavy fence and two context
        // switches, whoever else wants this CPU has a turn: that may be our peer, about to send
        // what we would sleep for. `echo` with 64 connections: 12.5 -> 10.9 us of CPU a request.
        glance(rt, p, true);
        // SAFETY: as above.
        found = unsafe { p.pick(rt) };
    }
    if found.is_some() && m.searching.get() {
        idle::stop_searching(m, true);
    }
    found
}

/// Whoever else wants this CPU has a turn, unless such a turn was long the last time: a server beside processes that compute
/// would have little of the CPU (two of them: 64 connections of `echo` made 77,000 requests a second, and make 85,000).
fn yield_cpu(local: &mut Local) -> bool {
    let before = clock::now();
    if before < local.keeps_cpu_until {
        return false;
    }
    std::thread::yield_now();
    let after = clock::now();
    let turn = after - before;
    if turn > LONG_TURN_NS {
        local.keeps_cpu_until = after + OWN_TURNS * turn;
    }
    true
}

/// Queues what timers and, if `polls`, descriptors have made ready, without waiting. The calling M holds `p`.
pub(crate) fn glance(rt: &Shared, p: &P, polls: bool) {
    let mut any = p.timers.run_due(clock::now, |waiter| {
        // SAFETY: claimed, handed out once; this M holds the P.
        unsafe { park::ready_claimed(rt, p, waiter) }
    });
    if polls && rt.poller.registered() > 0 {
        rt.note_poll();
        let batch = rt.poller.poll(0, &mut |waiter| {
            // SAFETY: as above.
            unsafe { park::ready_claimed(rt, p, waiter) }
        });
        // SAFETY: this M holds the P.
        let (local, queued) = (unsafe { p.local() }, p.queue.len());
        // Relaxed: our own.
        let now = clock::now();
        local.note_batch(batch, queued, p.tick.load(Ordering::Relaxed), now);
        any |= batch > 0 && local.wants_help(queued);
        // SAFETY: this M holds the P.
        unsafe { p.goes_on(rt, now) };
    }
    if any {
        rt.notify();
    }
}

/// The next coroutine; waits for it on g0. None when the M is to end.
pub(crate) fn find_or_sleep(m: &'static M) -> Option<GRef> {
    loop {
        if m.is_set_aside() {
            // Before a look at `bound`: it is there when the call has been answered.
            return os_thread::wait(m);
        }
        if let Some(g) = m.bound.take() {
            return Some(g);
        }
        if m.rt.is_stopping() {
            idle::leave(m);
            return None;
        }
        if m.rt.has_errand() {
            m.rt.run_errand();
        }
        // One that is to retire does so in `sleep`.
        if m.p.get().is_some_and(|p| !m.rt.is_retiring(p)) && !m.worn.get().is_some_and(|home| home.shutting.get()) {
            let found = find(m);
            m.looked.set(false);
            if found.is_some() {
                return found;
            }
            if let Some(to) = m.hand_over.take() {
                preempt::hand_over(m, to);
                continue;
            }
        }
        if !idle::sleep(m) {
            return None;
        }
    }
}

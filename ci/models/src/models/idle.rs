//! Searching, sleeping and waking: while a G is in a queue and a P is idle, somebody comes for it.
//!
//! Workers are Ms that look for Gs with the real search, run what they find by letting its
//! thread go, and sleep by the real `idle::sleep` when there is nothing. The G that a model
//! waits for and that nobody comes for is a deadlock.

use super::World;
use crate::os::futex::DEADLINES_PASS;
use crate::os::membarrier::LIGHT_IS_NONE;
use crate::sched::g::{G, GRef};
use crate::sched::m::M;
use crate::sched::runtime::Shared;
use crate::sched::wait::{Waiter, Wake};
use crate::sched::wait_word::Ticket;
use crate::sched::{find, idle, sysmon, timers};
use crate::shim::asymmetric;
use loom::cell::Cell;
use loom::sync::Notify;
use std::cell::OnceCell;
use std::ptr;
use std::sync::atomic::Ordering;

struct World0 {
    rt: Shared,
    gs: Vec<G>,
    ms: Vec<OnceCell<M>>,
}

/// `procs` Ps; those below `held` are held by an M each. There is room for one M more.
fn runtime(procs: usize, held: usize, gs: usize) -> World<World0> {
    let world = World::new(World0 {
        rt: Shared::new(procs),
        gs: (0..gs).map(|_| G::new()).collect(),
        ms: (0..=held).map(|_| OnceCell::new()).collect(),
    });
    let state = world.get();
    for g in &state.gs {
        g.runtime.set(&state.rt);
    }
    for at in 0..held {
        let p = state.rt.take_first_p();
        let _ = state.ms[at].set(M::new(&state.rt, Some(p)));
    }
    world
}

/// An M came back from its sleep because it had seen work, which may be gone, or out of its reach
/// while the owner of the queue stands inside the queue's lock. In earnest that passes. The
/// checker would let two such Ms take turns for ever and never let the owner go on, which proves
/// nothing. So after some rounds it explores no further and lets everybody have his turn.
fn in_vain(rounds: &mut u32) {
    *rounds += 1;
    if *rounds > 2 {
        loom::skip_branch();
    }
    loom::thread::yield_now();
}

impl World0 {
    /// As `runtime.rs` does it.
    fn stop(&self) {
        self.rt.stopping.store(true, Ordering::Release);
        asymmetric::heavy();
        self.rt.call_all();
    }

    fn become_m(&'static self, at: usize) -> &'static M {
        let m = self.ms[at].get().expect("made");
        m.enter();
        m
    }

    fn g(&self, at: usize) -> GRef {
        self.gs[at].reference()
    }

    /// A worker that has just found nothing; runs one G.
    fn sleep_and_work(&'static self, at: usize) {
        let m = self.become_m(at);
        let mut rounds = 0;
        loop {
            assert!(idle::sleep(m), "nobody ends it");
            in_vain(&mut rounds);
            if let Some(g) = find::find(m) {
                return g.let_go();
            }
        }
    }

    /// The life of a worker: it runs `most` Gs, then computes for ever; or until the end.
    fn work(&'static self, at: usize, most: usize) {
        let m = self.become_m(at);
        let (mut ran, mut rounds) = (0, 0);
        loop {
            let found = if m.p.get().is_some() { find::find(m) } else { None };
            match found {
                Some(g) => {
                    assert!(!m.searching.get(), "an M that runs coroutines counts as a searcher");
                    g.let_go();
                    ran += 1;
                    if ran == most {
                        return;
                    }
                }
                None if m.rt.is_stopping() => return idle::leave(m),
                None => {
                    if !idle::sleep(m) {
                        return;
                    }
                    in_vain(&mut rounds);
                }
            }
        }
    }
}

/// A coroutine that goes on computing queues another on its own P, while the only other M gives
/// up its P.
pub(super) fn submit_and_give_up() {
    let world = runtime(2, 2, 1);
    let worker = world.spawn(|state| state.work(1, 1));
    let state = world.get();
    let m = state.become_m(0);
    // SAFETY: this M holds the P.
    unsafe { m.p().queue.push_ready(state.g(0)) };
    state.rt.notify();
    state.gs[0].stay_away();
    worker.join().unwrap();
}

/// The same from outside: through the global queue.
pub(super) fn inject_and_give_up() {
    let world = runtime(1, 1, 1);
    let worker = world.spawn(|state| state.work(0, 1));
    let state = world.get();
    state.rt.inject(state.g(0));
    state.gs[0].stay_away();
    worker.join().unwrap();
}

/// The same where no light fence orders anything: who gives up the last P that is held, and who holds none, do without.
pub(super) fn inject_beside_last() {
    LIGHT_IS_NONE.store(true, Ordering::Relaxed);
    inject_and_give_up();
}

/// A timer, armed by one who holds no P.
pub(super) fn timer_beside_last() {
    LIGHT_IS_NONE.store(true, Ordering::Relaxed);
    let world = runtime(1, 1, 1);
    let state = world.get();
    let ticket = state.gs[0].word.arm();
    let worker = world.spawn(|state| state.work(0, 1));
    // SAFETY: armed just above.
    timers::arm_other(&state.rt, 1500, unsafe { Waiter::of(state.g(0), ticket) });
    state.gs[0].stay_away();
    assert_eq!(state.gs[0].word.wake(), Some(Wake::Timeout));
    worker.join().unwrap();
}

/// Two Gs, and a searcher that stays on the first that it finds. It is the last searcher, and a P
/// is idle: it must not leave the second G behind.
pub(super) fn last_searcher() {
    let world = runtime(3, 2, 2);
    let state = world.get();
    *state.rt.startable.lock().unwrap() = 1;
    state.rt.idle.searching.fetch_add(1, Ordering::Relaxed);
    state.ms[1].get().expect("made").searching.set(true);
    let worker = world.spawn(|state| state.work(1, 1));
    let m = state.become_m(0);
    for at in 0..2 {
        // SAFETY: this M holds the P.
        unsafe { m.p().queue.push_ready(state.g(at)) };
        state.rt.notify();
    }
    worker.join().unwrap();
    assert_eq!(state.rt.started.lock().unwrap().len(), 1, "nobody comes for the second G");
}

/// The last searcher has found something, while another M gives up its P and a G is submitted: the
/// submitter may see the P idle and the searcher still counted, and leave it to them.
pub(super) fn last_searcher_and_sleeper() {
    let world = runtime(2, 2, 2);
    let state = world.get();
    state.rt.idle.pretend_poller();
    state.rt.idle.searching.fetch_add(1, Ordering::Relaxed);
    let m = state.ms[1].get().expect("made");
    m.searching.set(true);
    // SAFETY: nobody else is there yet.
    unsafe { m.p().queue.push_ready(state.g(0)) };
    let searcher = world.spawn(|state| state.work(1, 1));
    let sleeper = world.spawn(|state| state.sleep_and_work(0));
    state.rt.inject(state.g(1));
    searcher.join().unwrap();
    sleeper.join().unwrap();
}

/// One who would wake somebody finds that there is no idle P after all, while the last M gives
/// up its P and a G is submitted.
pub(super) fn no_idle_p() {
    let world = runtime(1, 1, 1);
    world.get().rt.idle.pretend_poller();
    let worker = world.spawn(|state| state.sleep_and_work(0));
    let waker = world.spawn(|state| state.rt.wake_one());
    let state = world.get();
    state.rt.inject(state.g(0));
    state.gs[0].stay_away();
    worker.join().unwrap();
    waker.join().unwrap();
}

/// The same when there is an idle P, but no thread to be had for it.
pub(super) fn no_thread() {
    let world = runtime(2, 1, 1);
    world.get().rt.idle.pretend_poller();
    let worker = world.spawn(|state| state.sleep_and_work(0));
    let waker = world.spawn(|state| state.rt.wake_one());
    let state = world.get();
    state.rt.inject(state.g(0));
    state.gs[0].stay_away();
    worker.join().unwrap();
    waker.join().unwrap();
}

/// Two Gs in the global queue, two workers that stay on what they have found: one takes both
/// out, the other must get the one that is left over.
pub(super) fn batch() {
    let world = runtime(2, 2, 2);
    let state = world.get();
    state.rt.inject_quietly(state.g(0));
    state.rt.inject_quietly(state.g(1));
    let workers = [0, 1].map(|at| world.spawn(move |state| state.work(at, 1)));
    state.gs[0].stay_away();
    state.gs[1].stay_away();
    for worker in workers {
        worker.join().unwrap();
    }
}

/// A timer is armed while the poller decides how long to sleep.
pub(super) fn timer() {
    let world = runtime(2, 2, 1);
    let state = world.get();
    let ticket = state.gs[0].word.arm();
    let worker = world.spawn(|state| state.work(1, 1));
    state.become_m(0);
    // SAFETY: armed just above.
    timers::arm(500, unsafe { Waiter::of(state.g(0), ticket) });
    state.gs[0].stay_away();
    assert_eq!(state.gs[0].word.wake(), Some(Wake::Timeout));
    worker.join().unwrap();
}

/// Two timers, one after the other, and one M: it polls again after it has run what the first one
/// readied.
pub(super) fn timer_and_poller() {
    let world = runtime(2, 2, 2);
    let state = world.get();
    let tickets = [0, 1].map(|at| state.gs[at].word.arm());
    let worker = world.spawn(|state| state.work(1, 2));
    state.become_m(0);
    for at in 0..2 {
        // SAFETY: armed just above.
        timers::arm(500, unsafe { Waiter::of(state.g(at), tickets[at]) });
        state.gs[at].stay_away();
    }
    worker.join().unwrap();
}

/// One polls without a P, and leaves with what it has found, while the only other M gives up its P and goes to sleep because somebody
/// polls: one of them must be there for the second timer.
pub(super) fn poller_leaves() {
    let world = runtime(1, 1, 2);
    let state = world.get();
    let _ = state.ms[1].set(M::new(&state.rt, None));
    state.become_m(0);
    for (at, when) in [(0, 1500), (1, 1600)] {
        let ticket = state.gs[at].word.arm();
        // SAFETY: armed just above.
        timers::arm(when, unsafe { Waiter::of(state.g(at), ticket) });
    }
    let poller = world.spawn(|state| state.work(1, 2));
    let holder = world.spawn(|state| {
        state.rt.send_poller();
        // Again, though it may be there by now.
        state.rt.send_poller();
        state.work(0, 2);
    });
    state.gs[0].stay_away();
    state.gs[1].stay_away();
    state.stop();
    poller.join().unwrap();
    holder.join().unwrap();
}

/// Somebody borrows a P while its M, which has just given it up, looks for one to poll with. (Another is held all the time by one who
/// computes: the last M to give up a P does not have to look.)
pub(super) fn feed() {
    let world = runtime(2, 2, 1);
    let state = world.get();
    state.become_m(0);
    let ticket = state.gs[0].word.arm();
    // SAFETY: armed just above.
    timers::arm(1500, unsafe { Waiter::of(state.g(0), ticket) });
    let worker = world.spawn(|state| state.work(0, 1));
    state.rt.feed_starving();
    state.gs[0].stay_away();
    worker.join().unwrap();
}

/// An M finds two of its timers due, runs the one and goes on computing: another comes for the
/// other. `find` or the poller looks at the timers.
fn two_timers(poller: bool) {
    let world = runtime(2, 2, 2);
    let state = world.get();
    let m = state.become_m(0);
    for at in 0..2 {
        let ticket = state.gs[at].word.arm();
        // SAFETY: armed just above.
        timers::arm(500, unsafe { Waiter::of(state.g(at), ticket) });
    }
    if !poller {
        state.rt.idle.pretend_poller();
    }
    let worker = world.spawn(|state| state.sleep_and_work(1));
    if poller {
        let worker = world.spawn(|state| state.sleep_and_work(0));
        worker.join().unwrap();
    } else {
        find::find(m).expect("due").let_go();
    }
    worker.join().unwrap();
    state.gs[0].stay_away();
    state.gs[1].stay_away();
}

pub(super) fn two_timers_found() {
    two_timers(false);
}

pub(super) fn two_timers_polled() {
    two_timers(true);
}

/// The runtime ends while an M goes to sleep, in the poller or on its futex.
fn stop(poller: bool) {
    let world = runtime(1, 1, 0);
    if !poller {
        world.get().rt.idle.pretend_poller();
    }
    let worker = world.spawn(|state| state.work(0, 1));
    world.get().stop();
    worker.join().unwrap();
    assert_eq!(world.get().rt.idle.searching.load(Ordering::Relaxed), 0, "a searcher is still counted");
}

pub(super) fn stop_poller() {
    stop(true);
}

pub(super) fn stop_sleeper() {
    stop(false);
}

/// An M that has been idle for long ends, while somebody calls it or a new one.
pub(super) fn retire() {
    DEADLINES_PASS.store(true, Ordering::Relaxed);
    let world = runtime(1, 1, 1);
    let state = world.get();
    // Another M is the poller, so that this one sleeps on its futex.
    state.rt.idle.pretend_poller();
    *state.rt.startable.lock().unwrap() = 1;
    let worker = world.spawn(|state| state.work(0, 1));
    state.rt.inject(state.g(0));
    worker.join().unwrap();
    let started = state.rt.started.lock().unwrap().len();
    let ran = state.gs[0].is_let_go();
    assert!(ran || started == 1, "the M ended with the call that it was given");
}

/// sysmon goes into its sleep without limit while a P becomes busy.
pub(super) fn sysmon_sleeps() {
    let world = World::new(());
    // So that the lazy static is there.
    let _ = sysmon::real::sleeps();
    let thread = world.spawn(|()| sysmon::real::sleep_deep());
    sysmon::real::become_busy();
    thread.join().unwrap();
}

/// It does so while an M stops, as its last look has asked it to.
pub(super) fn sysmon_sleeps_and_one_stops() {
    let world = World::new(());
    let _ = sysmon::real::sleeps();
    sysmon::real::ask();
    let thread = world.spawn(|()| sysmon::real::sleep_deep());
    sysmon::real::stop();
    thread.join().unwrap();
}

//! The number of Ps changes: each is idle, held or retired, nothing stays on one that is retired, and nobody misses
//! work because of it.
//!
//! Workers are Ms as in the models of `idle`, which give up their P when it is to retire.

use super::World;
use crate::sched::find;
use crate::sched::g::{G, GRef};
use crate::sched::idle;
use crate::sched::m::M;
use crate::sched::p::{HeldP, P};
use crate::sched::ps::{By, Service};
use crate::sched::runtime::Shared;
use crate::sched::timers;
use crate::sched::wait::{Waiter, Wake};
use crate::shim::asymmetric;
use std::cell::OnceCell;
use std::sync::atomic::Ordering;

struct State {
    rt: Shared,
    gs: Vec<G>,
    ms: Vec<OnceCell<M>>,
}

/// `procs` Ps, of which the first `held` are held by an M each; `ms` Ms in all.
fn state(procs: usize, held: usize, ms: usize, gs: usize) -> World<State> {
    let world = World::new(State {
        rt: Shared::new(procs),
        gs: (0..gs).map(|_| G::new()).collect(),
        ms: (0..ms).map(|_| OnceCell::new()).collect(),
    });
    let state = world.get();
    // The checker does not see that a slot publishes what is in it (`OnceLock`), so all are made here.
    state.rt.ps.make(2, |index| P::new(index, ()));
    for g in &state.gs {
        g.runtime.set(&state.rt);
    }
    for at in 0..ms {
        let p = (at < held).then(|| state.rt.take_first_p());
        let _ = state.ms[at].set(M::new(&state.rt, None));
        if let Some(p) = p {
            state.m(at).hold(p);
        }
    }
    world
}

impl State {
    fn m(&'static self, at: usize) -> &'static M {
        self.ms[at].get().expect("made")
    }

    fn g(&self, at: usize) -> GRef {
        self.gs[at].reference()
    }

    /// The life of a worker, until the end of the runtime or until it has run `most`.
    fn work(&'static self, at: usize, most: usize) {
        let m = self.m(at);
        m.enter();
        let (mut ran, mut rounds) = (0, 0);
        loop {
            let p = m.p.get().filter(|p| !m.rt.is_retiring(p));
            let found = p.and_then(|p| {
                // SAFETY: this M holds the P.
                unsafe { p.end(m.rt) };
                find::find(m)
            });
            match found {
                Some(g) => {
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
                    // As in the models of `idle`: what may go on for ever proves nothing.
                    rounds += 1;
                    if rounds > 2 {
                        loom::skip_branch();
                    }
                    loom::thread::yield_now();
                }
            }
        }
    }

    /// As who finds out on its way that a P has nothing to do, or is to retire.
    fn gives_up(&self, p: HeldP) {
        self.rt.give_up(p);
    }

    fn stop(&self) {
        self.rt.stopping.store(true, Ordering::Release);
        asymmetric::heavy();
        self.rt.call_all();
    }

    /// At the end, when nobody holds one but `held` of them: those below the number are listed, each once, the
    /// others are retired and have nothing.
    fn check(&self, held: usize) {
        let procs = self.rt.procs();
        assert_eq!(self.rt.idle.held_ps() as usize, held, "who holds a P?");
        assert_eq!(self.rt.idle.idle_ps() as usize, procs - held, "idle ones");
        let mut listed = self.rt.idle.lists.lock().ps.clone();
        listed.sort_unstable();
        let mut idle = Vec::new();
        for p in self.rt.ps.iter() {
            match p.service.get() {
                Service::Idle => idle.push(p.index),
                Service::Held(_) => assert!(p.index < procs, "one too many is held"),
                Service::Retired => {
                    assert!(p.index >= procs, "one too many is retired");
                    assert!(p.queue.is_empty(), "a coroutine is left behind");
                }
            }
        }
        assert_eq!(listed, idle);
    }
}

/// The holder of a P gives it up, with a G in its queue and one in the slot, while there are to be fewer and a thief comes
/// along.
pub(super) fn retire_and_steal() {
    let world = state(2, 2, 2, 2);
    let state = world.get();
    let p = state.m(1).p.take().expect("held");
    // SAFETY: nobody else is there yet.
    unsafe {
        p.queue.push_ready(state.g(0));
        p.queue.push_next(state.g(1));
    }
    state.rt.idle.pretend_poller();
    let thief = world.spawn(|state| state.work(0, 2));
    let holder = world.spawn(move |state| state.gives_up(p));
    state.rt.resize(1, By::Hand);
    thief.join().unwrap();
    holder.join().unwrap();
    state.check(1);
}

/// There are to be more, while somebody submits a G and the only M that could run it goes to sleep without a P.
pub(super) fn grow_and_submit() {
    let world = state(1, 1, 2, 1);
    let state = world.get();
    state.rt.idle.pretend_poller();
    let worker = world.spawn(|state| state.work(1, 1));
    let grower = world.spawn(|state| state.rt.resize(2, By::Hand));
    state.rt.inject(state.g(0));
    state.gs[0].stay_away();
    worker.join().unwrap();
    grower.join().unwrap();
    state.check(2);
}

/// Somebody is woken with a P just when there are to be fewer. Who holds the other one looks for work later.
pub(super) fn shrink_and_wake() {
    let world = state(2, 1, 2, 1);
    let state = world.get();
    state.rt.idle.pretend_poller();
    let worker = world.spawn(|state| state.work(1, usize::MAX));
    let m = state.m(0);
    m.enter();
    state.rt.inject(state.g(0));
    state.rt.resize(1, By::Hand);
    if let Some(g) = find::find(m) {
        g.let_go();
    }
    state.gs[0].stay_away();
    state.stop();
    worker.join().unwrap();
    // One that was held to the end of the runtime was listed then.
    state.rt.resize(1, By::Hand);
    state.check(1);
}

/// Two change the number, and the P that it is about is given up.
pub(super) fn two_numbers() {
    let world = state(2, 2, 2, 0);
    let state = world.get();
    let p = state.m(1).p.take().expect("held");
    let fewer = world.spawn(|state| state.rt.resize(1, By::Hand));
    let more = world.spawn(|state| state.rt.resize(2, By::Hand));
    state.gives_up(p);
    fewer.join().unwrap();
    more.join().unwrap();
    state.check(1);
}

/// A P with a timer retires, while another M decides how long to sleep.
pub(super) fn retire_with_timer() {
    let world = state(2, 2, 2, 1);
    let state = world.get();
    let m = state.m(1);
    m.enter();
    let ticket = state.gs[0].word.arm();
    // SAFETY: armed just above.
    timers::arm(500, unsafe { Waiter::of(state.g(0), ticket) });
    state.rt.resize(1, By::Hand);
    let worker = world.spawn(|state| state.work(0, 1));
    state.gives_up(m.p.take().expect("held"));
    assert!(!state.rt.ps.get(1).timers.is_armed(), "a timer is left behind");
    state.gs[0].stay_away();
    assert_eq!(state.gs[0].word.wake(), Some(Wake::Timeout));
    worker.join().unwrap();
    state.check(1);
}

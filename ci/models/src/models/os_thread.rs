//! A coroutine that keeps its M: it comes back to that M, its P is used by others meanwhile, nobody is lost.
//!
//! The keeper is an M that runs the coroutines of one home and nothing else, as `m.rs` has it: a coroutine leaves for g0,
//! where the home is taken off, then the real `wait`. Workers are Ms that can do anything. They find coroutines
//! with the real search, wear the home, and hand over what is not theirs.

use super::World;
use crate::sched::g::{G, GRef};
use crate::sched::home::Home;
use crate::sched::home_word::Wear;
use crate::sched::m::M;
use crate::sched::runtime::Shared;
use crate::sched::wait::{Waiter, Wake};
use crate::sched::{find, idle, preempt, timers};
use crate::shim::asymmetric;
use loom::cell::Cell;
use std::cell::OnceCell;
use std::ptr;
use std::sync::atomic::Ordering;

struct State {
    rt: Shared,
    /// Those of the home.
    gs: Vec<G>,
    home: Home,
    /// The keeper is the first.
    ms: Vec<OnceCell<M>>,
    /// What the keeper's coroutines touch.
    data: Cell<u32>,
}

/// The keeper holds the first of `procs` Ps, and each of `workers` one, as far as there are.
fn state(procs: usize, workers: usize, gs: usize) -> World<State> {
    let world = World::new(State {
        rt: Shared::new(procs),
        gs: (0..gs).map(|_| G::new()).collect(),
        home: Home::new(),
        ms: (0..=workers).map(|_| OnceCell::new()).collect(),
        data: Cell::new(0),
    });
    let state = world.get();
    for g in &state.gs {
        g.runtime.set(&state.rt);
    }
    for at in 0..=workers {
        let p = if at < procs { Some(state.rt.take_first_p()) } else { None };
        let _ = state.ms[at].set(M::new(&state.rt, p));
    }
    let keeper = state.keeper();
    state.home.bind(keeper);
    keeper.dedicated.set(Some(&state.home));
    world
}

impl State {
    fn keeper(&self) -> &M {
        self.ms[0].get().expect("made")
    }

    fn become_m(&'static self, at: usize) -> &'static M {
        let m = self.ms[at].get().expect("made");
        m.enter();
        m
    }

    fn g(&self, at: usize) -> GRef {
        self.gs[at].reference()
    }

    /// The keeper's coroutine leaves, and another comes, or the same.
    fn leave(&'static self, m: &'static M) -> GRef {
        self.data.set(self.data.get() + 1);
        // On g0.
        self.home.word.take_off(crate::sched::m::requeue_raw);
        let g = find::find_or_sleep(m).expect("the thread does not end");
        self.data.set(self.data.get() + 1);
        assert!(m.p.get().is_some());
        g
    }

    /// The keeper runs `times` coroutines after the one that it runs at first; then all end.
    fn keep(&'static self, times: usize) -> Vec<GRef> {
        let m = self.become_m(0);
        let came = (0..times).map(|_| self.leave(m)).collect();
        self.rt.stopping.store(true, Ordering::Release);
        asymmetric::heavy();
        self.rt.call_all();
        came
    }

    /// The life of a worker.
    fn work(&'static self, at: usize) {
        let m = self.become_m(at);
        let mut rounds = 0;
        loop {
            if let Some(to) = m.hand_over.take() {
                preempt::hand_over(m, to);
            }
            if m.rt.is_stopping() {
                return idle::leave(m);
            }
            let found = if m.p.get().is_some() { find::find(m) } else { None };
            match found {
                Some(g) => self.prepare(m, g),
                None => {
                    if !idle::sleep(m) {
                        return;
                    }
                    // See `idle.rs`, `in_vain`.
                    rounds += 1;
                    if rounds > 2 {
                        loom::skip_branch();
                    }
                    loom::thread::yield_now();
                }
            }
        }
    }

    /// As `M::prepare`.
    fn prepare(&'static self, m: &'static M, g: GRef) {
        // SAFETY: it came out of a queue.
        match unsafe { self.home.word.wear_or_list(g.as_ptr(), false, crate::sched::m::requeue_raw) } {
            Wear::Listed => {}
            Wear::Worn => {
                assert!(!ptr::eq(self.home.bound_to(), m));
                idle::run_on_its_m(m, &self.home, g);
            }
        }
    }
}

/// `workers` beside the keeper, whose coroutine parks and is readied from outside.
fn parks(procs: usize, workers: usize) {
    let world = state(procs, workers, 1);
    let threads: Vec<_> = (1..=workers).map(|at| world.spawn(move |state| state.work(at))).collect();
    let readier = world.spawn(|state| state.rt.inject(state.g(0)));
    let state = world.get();
    assert!(state.keep(1) == [state.g(0)]);
    readier.join().unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(state.data.get(), 2);
}

/// The only P is passed on and comes back.
pub(super) fn one_p() {
    parks(1, 1);
}

/// The worker has a P of its own, and may bring it before the keeper has passed its own on.
pub(super) fn two_ps() {
    parks(2, 1);
}

/// The coroutine yields: it is in the keeper's own queue when the P is passed on.
pub(super) fn yields() {
    let world = state(1, 1, 1);
    let worker = world.spawn(|state| state.work(1));
    let state = world.get();
    let m = state.become_m(0);
    // SAFETY: this M holds the P.
    unsafe { m.p().queue.push_ready(state.g(0)) };
    assert!(state.keep(1) == [state.g(0)]);
    worker.join().unwrap();
}

/// It is in the `next` slot, which nobody but the P's holder looks into, and there is no thread to be had at first.
pub(super) fn next_slot() {
    let world = state(1, 1, 1);
    let worker = world.spawn(|state| state.work(1));
    let state = world.get();
    let m = state.become_m(0);
    // SAFETY: this M holds the P.
    assert!(!unsafe { m.p().queue.push_next(state.g(0)) });
    assert!(state.keep(1) == [state.g(0)]);
    worker.join().unwrap();
}

/// Two coroutines of the home are ready, and the worker may bring either before the keeper has passed its P on.
pub(super) fn sharers() {
    let world = state(2, 1, 2);
    let state = world.get();
    state.rt.inject_quietly(state.g(1));
    let worker = world.spawn(|state| state.work(1));
    let m = state.become_m(0);
    // SAFETY: this M holds the P.
    unsafe { m.p().queue.push_ready(state.g(0)) };
    let came = state.keep(2);
    assert!(came.contains(&state.g(0)) && came.contains(&state.g(1)));
    worker.join().unwrap();
}

/// It waits for a timer, and nobody is the poller: the other M sleeps on its futex.
pub(super) fn timer() {
    let world = state(1, 1, 1);
    let state = world.get();
    state.rt.idle.pretend_poller();
    let worker = world.spawn(|state| state.work(1));
    state.become_m(0);
    let ticket = state.gs[0].word.arm();
    // SAFETY: armed just above.
    timers::arm(2_000, unsafe { Waiter::of(state.g(0), ticket) });
    state.rt.idle.pretend_no_poller();
    let came = state.keep(1);
    assert!(came == [state.g(0)]);
    assert_eq!(state.gs[0].word.wake(), Some(Wake::Timeout));
    worker.join().unwrap();
}

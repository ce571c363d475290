//! A P that is lent, taken and given back: one M at a time uses it, and nobody waits for it for ever.

use super::World;
use crate::sched::m::M;
use crate::sched::p::HeldP;
use crate::sched::preempt;
use crate::sched::runtime::Shared;
use loom::cell::Cell;
use loom::sync::atomic::{AtomicBool, Ordering};

struct State {
    rt: Shared,
    m: std::sync::OnceLock<M>,
    /// What only the holder of the P touches.
    local: Cell<u32>,
    done: AtomicBool,
}

fn state() -> World<State> {
    let world = World::new(State {
        rt: Shared::new(1),
        m: std::sync::OnceLock::new(),
        local: Cell::new(0),
        done: AtomicBool::new(false),
    });
    let state = world.get();
    let p = state.rt.take_first_p();
    let m = M::new(&state.rt, Some(p));
    *state.rt.startable.lock().unwrap() = 3;
    assert!(state.m.set(m).is_ok());
    world
}

impl State {
    fn m(&'static self) -> &'static M {
        self.m.get().expect("made")
    }

    fn use_p(&self) {
        self.local.set(self.local.get() + 1);
    }

    /// Sysmon and the Ms that get the P: they use it, and pass it on to who waits, or give it up.
    fn others(&'static self) {
        while !self.done.load(Ordering::Acquire) {
            if let Some(p) = self.m().attend() {
                self.use_p();
                self.pass_on(p);
            }
            let started = self.rt.started.lock().unwrap().pop();
            if let Some(p) = started {
                self.rt.idle.searching.fetch_sub(1, Ordering::AcqRel);
                self.pass_on(p);
            }
            loom::thread::yield_now();
        }
    }

    fn pass_on(&'static self, p: HeldP) {
        let mut p = Some(p);
        while let Some(now) = p.take() {
            match self.rt.waiting.pop() {
                Some(m) => m.resume(Some(now)),
                None => {
                    self.rt.put_idle_p(now);
                    if self.rt.has_work() {
                        p = self.rt.take_idle_p();
                    }
                }
            }
        }
    }
}

/// The M lends its P and comes back while sysmon takes it.
pub(super) fn lend() {
    let world = state();
    let others = world.spawn(State::others);
    let state = world.get();
    let m = state.m();
    m.enter();
    state.use_p();
    m.lends();
    m.call_in();
    state.use_p();
    state.done.store(true, Ordering::Release);
    others.join().unwrap();
    assert!((2..=3).contains(&state.local.get()));
}

/// The M is suspended; sysmon comes before or after.
pub(super) fn suspend() {
    let world = state();
    let others = world.spawn(State::others);
    let state = world.get();
    let m = state.m();
    m.enter();
    state.use_p();
    m.stops();
    m.call_in();
    state.use_p();
    state.done.store(true, Ordering::Release);
    others.join().unwrap();
    assert_eq!(m.run.load(Ordering::Relaxed), preempt::RUNNING);
    assert_eq!(state.local.get(), 3);
}

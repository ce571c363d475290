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
    /// What only the holder of a P touches.
    local: Vec<Cell<u32>>,
    done: AtomicBool,
}

fn state(procs: usize) -> World<State> {
    let world = World::new(State {
        rt: Shared::new(procs),
        m: std::sync::OnceLock::new(),
        local: (0..procs).map(|_| Cell::new(0)).collect(),
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

    fn use_p(&self, p: HeldP) {
        let local = &self.local[p.index];
        local.set(local.get() + 1);
    }

    /// The M uses its own, and comes back to the runtime after `absence`, for which it has to get it again.
    fn leaves_and_returns(&'static self, absence: fn(&'static M)) {
        let m = self.m();
        m.enter();
        self.use_p(m.p());
        absence(m);
        m.call_in();
        self.use_p(m.p());
        self.done.store(true, Ordering::Release);
    }

    fn uses(&self) -> u32 {
        self.local.iter().map(Cell::get).sum()
    }

    /// Sysmon and the Ms that get the P: they use it, and pass it on to who waits, or give it up.
    fn others(&'static self) {
        while !self.done.load(Ordering::Acquire) {
            if let Some(p) = self.m().attend() {
                self.use_p(p);
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

fn absent(procs: usize, absence: fn(&'static M)) -> u32 {
    let world = state(procs);
    let others = world.spawn(State::others);
    let state = world.get();
    state.leaves_and_returns(absence);
    others.join().unwrap();
    assert_eq!(state.m().run.load(Ordering::Relaxed), preempt::RUNNING);
    assert_eq!(state.rt.idle.idle_ps() as usize, procs - 1, "all Ps but the M's are idle");
    state.uses()
}

/// The M lends its P and comes back while sysmon takes it.
pub(super) fn lend() {
    assert!((2..=3).contains(&absent(1, M::lends)));
}

/// The same, and another P is idle.
pub(super) fn lend_of_two() {
    assert!((2..=3).contains(&absent(2, M::lends)));
}

/// It is suspended as soon as the P that it had lent is gone.
pub(super) fn lend_and_suspend() {
    let uses = absent(1, |m| {
        m.lends();
        if m.has_lost_its_p() {
            m.stops();
        }
    });
    assert!((2..=4).contains(&uses));
}

/// The M is suspended; sysmon comes before or after.
pub(super) fn suspend() {
    assert_eq!(absent(1, M::stops), 3);
}

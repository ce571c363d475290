//! A P that is lent, taken and given back: one M at a time uses it, and nobody waits for it for ever.

use super::World;
use crate::sched::m::M;
use crate::sched::p::HeldP;
use crate::sched::runtime::Shared;
use crate::sched::{find, idle, preempt};
use loom::cell::Cell;
use loom::sync::atomic::{AtomicUsize, Ordering};

struct State {
    rt: Shared,
    m: std::sync::OnceLock<M>,
    /// One that waits for a P, if there is one.
    waiter: std::sync::OnceLock<M>,
    /// What only the holder of a P touches.
    local: Vec<Cell<u32>>,
    /// How many Ms have not done yet what they have to do.
    left: AtomicUsize,
}

fn state(procs: usize) -> World<State> {
    let world = World::new(State {
        rt: Shared::new(procs),
        m: std::sync::OnceLock::new(),
        waiter: std::sync::OnceLock::new(),
        local: (0..procs).map(|_| Cell::new(0)).collect(),
        left: AtomicUsize::new(1),
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
        self.left.fetch_sub(1, Ordering::Release);
    }

    fn uses(&self) -> u32 {
        self.local.iter().map(Cell::get).sum()
    }

    /// Sysmon and the Ms that get the P: they use it, and pass it on to who waits, or give it up.
    fn others(&'static self) {
        while self.left.load(Ordering::Acquire) != 0 {
            // The waiter runs nothing without its P.
            if let Some(p) = self.m().attend() {
                self.use_p(p);
                self.pass_on(p);
            }
            let started = self.rt.started.lock().unwrap().pop();
            if let Some((p, searching)) = started {
                if searching {
                    self.rt.idle.searching.fetch_sub(1, Ordering::AcqRel);
                }
                self.pass_on(p);
            }
            loom::thread::yield_now();
        }
    }

    /// Its coroutine uses the P and ends. There is nothing else to run, so the P is for who waits.
    fn ends(&'static self, m: &'static M) {
        self.use_p(m.p());
        assert!(find::find(m).is_none(), "there are no coroutines");
        match m.hand_over.take() {
            Some(to) => preempt::hand_over(m, to),
            None => {
                if m.searching.get() {
                    idle::stop_searching(m, false);
                }
                self.pass_on(m.p.take().expect("held"));
            }
        }
        self.left.fetch_sub(1, Ordering::Release);
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

/// It calls `blocking` while another waits for a P, which gets this one: by way of a thread that is started for it, if there is
/// one to be had at once, and else of sysmon.
fn block(startable: usize) {
    let world = state(1);
    let state = world.get();
    // Already, because the checker would miss that the look of `blocking` comes after it.
    state.waiter.get_or_init(|| M::new(&state.rt, None)).comes_for_a_p();
    *state.rt.startable.lock().unwrap() = startable;
    state.left.store(2, Ordering::Relaxed);
    let others = world.spawn(State::others);
    let waits = world.spawn(|state| {
        let m = state.waiter.get().expect("made");
        m.enter();
        m.waits();
        state.ends(m);
    });
    let m = state.m();
    m.enter();
    state.use_p(m.p());
    m.blocks();
    // There is room for others now.
    *state.rt.startable.lock().unwrap() = 3;
    m.call_in();
    state.ends(m);
    waits.join().unwrap();
    others.join().unwrap();
    assert_eq!(state.rt.idle.idle_ps() as usize, 1, "the P is idle");
    assert!(state.uses() >= 3);
}

pub(super) fn block_with_thread() {
    block(1);
}

pub(super) fn block_without_thread() {
    block(0);
}

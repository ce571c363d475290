//! The home word: one wearer at a time, nobody lost, and what was saved under a home is seen by
//! the next who wears it.
//!
//! An M is a thread that takes Gs from one queue until that is empty. It does by hand what
//! `m.rs` does around the word: it leaves the old home only when it is on the new stack, and it
//! writes its own address into the home while it wears it. Every step of a G touches the home's
//! data and its own saved context, in cells that notice two at once.

use super::World;
use crate::sched::home_word::{HomeWord, Linked, Wear};
use loom::cell::Cell;
use loom::sync::Mutex;
use std::collections::VecDeque;
use std::ptr;

struct G {
    next: Cell<*mut G>,
    home: usize,
    /// Steps left. What a G saves when it leaves its stack.
    context: Cell<u32>,
    /// It parks while panicking: its home is shut until its last step.
    panics: bool,
    /// Whom it brings into its home at its first step.
    spawns: Cell<Option<usize>>,
}

impl Linked for G {
    fn next(&self) -> *mut G {
        self.next.get()
    }
    fn set_next(&self, next: *mut G) {
        self.next.set(next);
    }
}

struct Home {
    word: HomeWord<G>,
    /// The thread-locals.
    data: Cell<u32>,
    /// Where the M is known while it wears the home.
    m_slot: Cell<u32>,
    panicking: Cell<bool>,
}

struct State {
    homes: Vec<Home>,
    gs: Vec<G>,
    /// How many of them live from the beginning.
    first: usize,
    queue: Mutex<VecDeque<*mut G>>,
}

fn state(homes: usize, gs: &[(usize, u32)]) -> State {
    with_newcomers(homes, gs, gs.len())
}

/// The first `first` Gs live from the beginning. A home with one of them knows that.
fn with_newcomers(homes: usize, gs: &[(usize, u32)], first: usize) -> State {
    let g = |&(home, steps): &(usize, u32)| G {
        next: Cell::new(ptr::null_mut()),
        home,
        context: Cell::new(steps),
        panics: false,
        spawns: Cell::new(None),
    };
    let home = |at| {
        let word = HomeWord::new_worn();
        if gs[..first].iter().filter(|g| g.0 == at).count() == 1 {
            word.close();
        }
        word.take_off(|_| unreachable!());
        Home { word, data: Cell::new(0), m_slot: Cell::new(0), panicking: Cell::new(false) }
    };
    State {
        homes: (0..homes).map(home).collect(),
        gs: gs.iter().map(g).collect(),
        first,
        queue: Mutex::new(VecDeque::new()),
    }
}

impl State {
    fn push(&self, g: *mut G) {
        self.queue.lock().unwrap().push_back(g);
    }

    fn push_all(&self) {
        let mut queue = self.queue.lock().unwrap();
        queue.extend(self.gs[..self.first].iter().map(|g| ptr::from_ref(g).cast_mut()));
    }

    /// The life of an M.
    fn run(&self, name: u32) {
        let mut worn: Option<&Home> = None;
        // Somebody is to be let back into a home that he shut.
        let mut leaving_shut = false;
        loop {
            if let Some(home) = worn
                && home.word.has_list()
                && !leaving_shut
            {
                home.word.drain(|g| self.push(g));
            }
            let next = self.queue.lock().unwrap().pop_front();
            let mut target = None;
            if let Some(next) = next {
                // SAFETY: the world keeps the Gs.
                let g = unsafe { &*next };
                let home = &self.homes[g.home];
                if !leaving_shut && worn.is_some_and(|worn| ptr::eq(worn, home)) {
                    self.step(g, home, name, &mut leaving_shut);
                    continue;
                }
                // SAFETY: it came out of the queue.
                match unsafe { home.word.wear_or_list(next, g.panics, |g| self.push(g)) } {
                    Wear::Listed => continue,
                    Wear::Worn => {
                        home.m_slot.set(name);
                        target = Some((g, home));
                    }
                }
            }
            // The switch. On the other side, first of all:
            if let Some(home) = worn.take() {
                if std::mem::take(&mut leaving_shut) {
                    home.word.shut(|g| self.push(g));
                } else {
                    home.word.take_off(|g| self.push(g));
                }
            } else if target.is_none() {
                return;
            }
            if let Some((g, home)) = target {
                worn = Some(home);
                self.step(g, home, name, &mut leaving_shut);
            }
        }
    }

    /// A coroutine goes on, until it ends or yields: it is queued before its context is saved.
    fn step(&self, g: &G, home: &Home, name: u32, leaving_shut: &mut bool) {
        assert_eq!(home.m_slot.get(), name);
        assert!(!home.panicking.get() || g.panics, "somebody runs in a home that is shut");
        home.data.set(home.data.get() + 1);
        if let Some(other) = g.spawns.take() {
            home.word.open();
            self.push(ptr::from_ref(&self.gs[other]).cast_mut());
        }
        let left = g.context.get();
        if left > 1 {
            self.push(ptr::from_ref(g).cast_mut());
        }
        g.context.set(left - 1);
        if g.panics {
            home.panicking.set(left > 1);
            *leaving_shut = left > 1;
        }
    }

    /// An M brings a G into home 0, if it gets hold of it, and goes on as any.
    fn settle(&self, name: u32, newcomer: usize) {
        let (home, g) = (&self.homes[0], &self.gs[newcomer]);
        if home.word.ask(|g| self.push(g)) {
            assert!(!home.panicking.get(), "somebody comes into a home that is shut");
            home.m_slot.set(name);
            home.data.set(home.data.get() + 1);
            self.push(ptr::from_ref(g).cast_mut());
            assert_eq!(home.m_slot.get(), name);
            home.word.take_off(|g| self.push(g));
        } else {
            g.context.set(0);
        }
        self.run(name);
    }

    fn check(&self) {
        for (at, home) in self.homes.iter().enumerate() {
            assert!(home.word.ask(|_| panic!("a G was lost in its home's list")), "a home stays worn");
            assert!(!home.word.has_list(), "a G was lost in its home's list");
            assert!(!home.panicking.get());
            let steps: u32 = self.gs.iter().filter(|g| g.home == at).map(|g| 0 * g.context.get() + 1).sum();
            assert!(home.data.get() >= steps);
        }
        assert!(self.gs.iter().all(|g| g.context.get() == 0), "a G did not run to its end");
    }
}

fn run(state: State, others: u32) {
    let world = World::new(state);
    world.get().push_all();
    let threads: Vec<_> = (1..=others).map(|name| world.spawn(move |state| state.run(name))).collect();
    world.get().run(100);
    for thread in threads {
        thread.join().unwrap();
    }
    world.get().check();
}

/// Two Ms, two Gs of one home, one of which yields: found in the queue before it has left.
pub(super) fn one_home() {
    run(state(1, &[(0, 2), (0, 1)]), 1);
}

/// Three Ms, three Gs of one home.
pub(super) fn three_ms() {
    run(state(1, &[(0, 1), (0, 1), (0, 1)]), 2);
}

/// Two Ms, two homes: an M leaves one home for another, and goes back.
pub(super) fn two_homes() {
    run(state(2, &[(0, 2), (1, 1), (0, 1)]), 1);
}

/// A G of the home parks while it panics: the other waits until it has unwound.
pub(super) fn shut() {
    let mut state = state(1, &[(0, 2), (0, 1)]);
    state.gs[0].panics = true;
    run(state, 1);
}

/// Two Ms and a G that has its home alone: found in the queue before it has left.
pub(super) fn sole() {
    run(state(1, &[(0, 3)]), 1);
}

/// Two such homes.
pub(super) fn two_soles() {
    run(state(2, &[(0, 2), (1, 2)]), 1);
}

fn settle(state: State) {
    let world = World::new(state);
    world.get().push_all();
    let settler = world.spawn(|state| state.settle(200, 1));
    let other = world.spawn(|state| state.run(1));
    world.get().run(100);
    settler.join().unwrap();
    other.join().unwrap();
    world.get().check();
}

/// A G that has its home alone; another is brought in.
pub(super) fn asked() {
    settle(with_newcomers(1, &[(0, 2), (0, 1)], 1));
}

/// The same, and it parks while it panics.
pub(super) fn asked_while_shut() {
    let mut state = with_newcomers(1, &[(0, 2), (0, 1)], 1);
    state.gs[0].panics = true;
    settle(state);
}

/// A G that has its home alone brings another in, while a third asks.
pub(super) fn opened() {
    let state = with_newcomers(1, &[(0, 2), (0, 1), (0, 1)], 1);
    state.gs[0].spawns.set(Some(2));
    settle(state);
}

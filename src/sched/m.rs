//! An M: an operating-system thread that runs coroutines.
//!
//! Every thread finds its M through one word of thread-local storage that is defined in
//! assembly ([`switch::current_m`]); a home keeps the same word for whoever wears it. There is
//! no other thread-local in the runtime.

use super::affinity::Place;
use super::blocking::{self, BriefCalls, Errand};
use super::g::{G, GRef, HomeClaim};
use super::home::Home;
use super::p::HeldP;
use super::preempt::{self, HandOver, Pins, Why};
use super::runtime::Shared;
use super::spawn::complete;
use super::wait::Waiter;
use crate::os;
use crate::os::clock::{self, Nanos};
use crate::poll::Poller;
use crate::stack::{Stack, overflow::AltStack};
use crate::switch::{self, Context};
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// An M that is awake.
const AWAKE: u32 = 0;
/// It sleeps on its own futex.
const ASLEEP: u32 = 1;
/// It waits in the netpoller.
const POLLING: u32 = 2;
/// Somebody has given it a P (or the order to end) and woken it.
const CALLED: u32 = 3;

/// How an M's sleep has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slept {
    /// Somebody has called it: with a P, or to end.
    Called,
    /// It is to look at the netpoller.
    Sent,
    /// The time is up.
    Long,
}

/// See the module.
pub(crate) struct M {
    pub(crate) rt: &'static Shared,
    /// The P it holds, or held when it lent it to who has taken it.
    pub(crate) p: Cell<Option<HeldP>>,
    /// The coroutine that runs; null on g0.
    current: Cell<*mut G>,
    /// The home in force; None on g0 unless homes are fixed.
    pub(crate) worn: Cell<Option<&'static Home>>,
    /// Commits: what the side that was switched to does first. The home to take off, ...
    leaving: Cell<Option<&'static Home>>,
    /// ... the stack to recycle, and the record of the coroutine that ended on it.
    dead_stack: Cell<Option<Stack>>,
    dead: Cell<Option<GRef>>,
    g0: UnsafeCell<Context>,
    /// The thread pointer of g0.
    native: usize,
    /// The home of an M that wears no other.
    pub(crate) fixed: Option<&'static Home>,
    /// It counts as searching (see `idle.rs`).
    pub(crate) searching: Cell<bool>,
    /// The coroutine that was just left has looked at timers and descriptors already.
    pub(crate) looked: Cell<bool>,
    call: AtomicU32,
    /// Room for what it finds in the netpoller.
    pub(crate) arrived: Cell<Vec<Waiter>>,
    /// What it was given when it was called; written by the caller before `CALLED`.
    given: Cell<Option<HeldP>>,
    /// The coroutine that came with the P, to run first; its home, which is bound to this M, is worn for it.
    pub(crate) bound: Cell<Option<GRef>>,
    /// Give the P to that M, once on g0.
    pub(crate) hand_over: Cell<Option<HandOver>>,
    /// It may not run whatever it finds; see [`M::may_choose`].
    pub(crate) restricted: Cell<bool>,
    /// A coroutine of this home keeps the thread: nobody else runs here. See `os_thread.rs`, as for the next.
    pub(crate) dedicated: Cell<Option<&'static Home>>,
    /// A coroutine ended while it kept the thread, which is to end too.
    pub(crate) spent: Cell<bool>,
    /// Depth of the sections in which it keeps its P; see `preempt.rs`, as for all that follows.
    pub(crate) pins: Pins,
    pub(crate) run: AtomicU32,
    pub(crate) tid: libc::pid_t,
    /// Sysmon has sent the signal, because of this tick of its P.
    pub(crate) asked: AtomicBool,
    pub(crate) asked_tick: AtomicU32,
    /// A `Why`.
    pub(crate) asked_why: AtomicU8,
    /// The tick and its CPU time when it was let go on.
    pub(crate) slice: Cell<Option<(u32, Nanos)>>,
    /// It is asleep in the handler.
    pub(crate) in_handler: Cell<bool>,
    /// It is in `blocking`.
    pub(crate) announced: AtomicBool,
    /// Until then nobody takes the P that it has lent.
    pub(crate) keeps_until: AtomicU64,
    /// See `blocking.rs`, as for the next.
    pub(crate) brief_calls: BriefCalls,
    /// What the coroutine that was just left has left for.
    pub(crate) errand: Cell<Option<Errand>>,
    /// The tick at which it was found on a coroutine for too long, and the CPU time it had had by then.
    pub(crate) found: Cell<Option<(u32, Nanos)>>,
    /// How often it was found inside libc.
    pub(crate) libc_found: Cell<u32>,
    /// Under the lock of `Shared::roll`.
    pub(crate) next_in_roll: Cell<Option<&'static M>>,
    /// Its place in the queue of those that wait for a P; under the queue's lock.
    pub(crate) next_waiting: Cell<Option<&'static M>>,
    pub(crate) waits_since: Cell<Nanos>,
    /// Sysmon's notes about an M that runs without a P.
    pub(crate) asked_at: Cell<Nanos>,
    /// When it last went on with a P; written before it is let go on, and read by sysmon when it is suspended.
    pub(crate) turn_since: Cell<Nanos>,
    pub(crate) patience: Cell<Nanos>,
    /// It was called to take over a P; written like `given`.
    pub(crate) is_sent_by_sysmon: Cell<bool>,
    pub(crate) random: Cell<u64>,
    pub(crate) place: Place,
}

// SAFETY: the cells are the M's own, but for
// - `given`, `bound` and `searching` of a sleeping M, which whoever calls it writes before the
//   Release of `CALLED`;
// - `p` of an M that is suspended or waits for one, which is written between the Release that says
//   so in `run` and the one that lets it go on;
// - what `preempt.rs` says of its fields: under a lock, sysmon's, or read after an Acquire of `run`.
unsafe impl Sync for M {}
// SAFETY: as above.
unsafe impl Send for M {}

impl M {
    pub(crate) fn new(rt: &'static Shared) -> M {
        M {
            rt,
            p: Cell::new(None),
            current: Cell::new(ptr::null_mut()),
            worn: Cell::new(None),
            leaving: Cell::new(None),
            dead_stack: Cell::new(None),
            dead: Cell::new(None),
            g0: UnsafeCell::new(Context::empty()),
            native: 0,
            fixed: None,
            searching: Cell::new(false),
            looked: Cell::new(false),
            call: AtomicU32::new(AWAKE),
            arrived: Cell::new(Vec::with_capacity(Poller::MOST)),
            given: Cell::new(None),
            bound: Cell::new(None),
            hand_over: Cell::new(None),
            restricted: Cell::new(false),
            dedicated: Cell::new(None),
            spent: Cell::new(false),
            pins: Pins::new(1),
            run: AtomicU32::new(preempt::RUNNING),
            tid: os::signal::thread_id(),
            asked: AtomicBool::new(false),
            asked_tick: AtomicU32::new(0),
            asked_why: AtomicU8::new(Why::Turn as u8),
            slice: Cell::new(None),
            in_handler: Cell::new(false),
            announced: AtomicBool::new(false),
            keeps_until: AtomicU64::new(0),
            brief_calls: BriefCalls::default(),
            errand: Cell::new(None),
            found: Cell::new(None),
            libc_found: Cell::new(0),
            next_in_roll: Cell::new(None),
            next_waiting: Cell::new(None),
            waits_since: Cell::new(0),
            asked_at: Cell::new(0),
            turn_since: Cell::new(0),
            patience: Cell::new(0),
            is_sent_by_sysmon: Cell::new(false),
            random: Cell::new(0),
            place: Place::new(),
        }
    }

    /// The M of the calling thread, if it has one.
    #[inline(always)]
    pub(crate) fn current() -> Option<&'static M> {
        let m = switch::current_m().cast::<M>();
        // SAFETY: the word is null or points to the M that runs this; an M lives as long as its
        // thread runs coroutines.
        unsafe { m.as_ref() }
    }

    /// The coroutine that calls this, if it is one.
    #[inline(always)]
    pub(crate) fn current_coroutine() -> Option<GRef> {
        let m = M::current()?;
        let g = m.current.get();
        // SAFETY: not null, so a G.
        (!g.is_null()).then(|| unsafe { GRef::new(g) })
    }

    /// Whether no coroutine's stack is in use.
    pub(crate) fn is_on_g0(&self) -> bool {
        self.current.get().is_null()
    }

    /// The P that the calling thread holds. In a section that keeps it.
    #[inline(always)]
    pub(crate) fn with_p() -> Option<HeldP> {
        let m = M::current()?;
        debug_assert!(m.pins.get() > 0, "the P could be taken away");
        m.p.get()
    }

    /// Takes a P.
    pub(crate) fn hold(&self, p: HeldP) {
        p.set_holder(self);
        let now = clock::now();
        p.note_heard(now);
        // SAFETY: this M holds it from here on. Relaxed: its own.
        unsafe { p.local() }.begin_turns(p.tick.load(Ordering::Relaxed), now);
        self.p.set(Some(p));
    }

    /// The P. For code that runs on an M that holds one, in a section that keeps it.
    #[inline(always)]
    pub(crate) fn p(&self) -> HeldP {
        debug_assert!(self.pins.get() > 0, "the P could be taken away");
        self.p.get().expect("an M that runs coroutines holds a P")
    }

    /// The life of an M's thread: from `first`, its first P, until the runtime ends or it has
    /// been idle for long.
    pub(crate) fn run(rt: &'static Shared, first: Option<HeldP>, searching: bool) {
        let Ok(_stack) = AltStack::new() else {
            // An overflow on this thread could not be reported: as if it could not have been started.
            if let Some(p) = first {
                rt.return_p(p, searching);
            }
            return rt.cancel_start();
        };
        preempt::signal().map_or(rt.mask, |signal| rt.mask.without(signal)).install();
        let mut m = M::new(rt);
        m.take_place();
        if rt.homes.worn {
            // SAFETY: homes are worn only where the thread pointer can be read.
            m.native = unsafe { switch::thread_pointer() };
        }
        let address = Box::into_raw(Box::new(m));
        // SAFETY: just made, and known to nobody but, by its address, to the home.
        unsafe { (*address).fixed = rt.homes.take_fixed(address) };
        // SAFETY: valid until the end of this function, and from here on only shared.
        let m: &'static M = unsafe { &*address };
        m.worn.set(m.fixed);
        m.restrict();
        m.random.set(ptr::from_ref(m).addr() as u64 | 1);
        if let Some(p) = first {
            m.hold(p);
        }
        m.searching.set(searching);
        switch::set_current_m(address.cast());
        rt.add_m(m);
        m.schedule();
        switch::set_current_m(ptr::null_mut());
        if let Some(home) = m.fixed {
            rt.homes.give_fixed(home);
        }
        rt.remove_m(m);
        preempt::end(m);
        // SAFETY: from `into_raw` above; `remove_m` took the last other reference out of the runtime.
        drop(unsafe { Box::from_raw(address) });
    }

    /// The loop on g0: finds a coroutine and goes to it, until there is to be an end.
    fn schedule(&'static self) {
        loop {
            if let Some(to) = self.hand_over.take() {
                preempt::hand_over(self, to);
            }
            #[cfg(gort_chaos)]
            super::chaos::change_m(self);
            let Some(mut g) = super::find::find_or_sleep(self) else { return };
            while self.go_to(g)
                && let Some(errand) = self.errand.take()
            {
                g = blocking::run_errand(self, errand);
            }
        }
    }

    /// Goes to `g`, if that can be, and comes back when something that runs here has left for g0.
    fn go_to(&'static self, g: GRef) -> bool {
        self.follow_p();
        let target = match ptr_to_home(g.home.get()) {
            Some(home) if ptr::eq(home.bound_to(), self) => self.prepare_own(home, g),
            _ => self.prepare(g),
        };
        let Some((context, thread_pointer)) = target else { return false };
        // SAFETY:
        // - g0's context is this M's own and this is g0;
        // - `prepare` made this M the one that may be on `g`'s stack.
        unsafe { switch::switch(self.g0.get(), context, thread_pointer) };
        // g0 stays on its thread, so `self` is still this M.
        self.pins.set(1);
        self.after_switch();
        true
    }

    /// Does what had to wait until the stack that was left is no longer in use. Called first
    /// thing after every switch, by whoever was switched to.
    #[inline(always)]
    pub(crate) fn after_switch(&self) {
        if let Some(home) = self.leaving.take() {
            #[cfg(debug_assertions)]
            home.check_left_by(self);
            self.leave(home);
        }
        #[cfg(debug_assertions)]
        if let Some(home) = self.worn.get().filter(|_| !self.current.get().is_null()) {
            home.check_worn_by(self);
        }
        if let Some(g) = self.dead.take() {
            self.bury(g);
        }
    }

    #[inline(always)]
    fn leave(&self, home: &'static Home) {
        if home.live() == 0 && !self.rt_homes_fixed() {
            return self.keep_empty(home);
        }
        home.leave(requeue_raw);
    }

    #[inline(always)]
    fn rt_homes_fixed(&self) -> bool {
        !self.rt.homes.worn
    }

    fn keep_empty(&self, home: &'static Home) {
        // Nobody lives there, so nobody waits for it either.
        debug_assert!(!home.word.has_list());
        if let Some(p) = self.p.get() {
            // SAFETY: this M holds the P.
            let local = unsafe { p.local() };
            if local.spares.len() < self.rt.homes.spares() && !home.private.get() {
                local.spares.push(home);
                return;
            }
        }
        self.rt.homes.push_empty(home);
    }

    fn bury(&self, g: GRef) {
        if let (Some(stack), Some(p)) = (self.dead_stack.take(), self.p.get()) {
            // SAFETY: this M holds the P, and the stack has been left.
            unsafe { p.local() }.stacks.put(&self.rt.stacks, stack);
        }
        // SAFETY: the run's own reference, given up once.
        unsafe { g.release(super::g::REF) };
    }

    /// Makes this M the one that runs `g`: wears its home, gives it a stack if it is fresh.
    /// Returns where to switch to, or None if `g` is now somebody else's (in its home's list,
    /// handed to its M, or back in a queue).
    #[inline(always)]
    pub(crate) fn prepare(&'static self, g: GRef) -> Option<(*const Context, usize)> {
        if g.is_fresh() {
            return self.prepare_fresh(g);
        }
        let home = ptr_to_home(g.home.get()).expect("a coroutine that has run has a home");
        let worn = self.worn.get();
        if worn.is_some_and(|worn| ptr::eq(worn, home)) {
            // Whoever parks while panicking leaves by way of g0, so nobody is chosen behind it.
            debug_assert!(!home.shutting.get());
            self.current.set(g.as_ptr());
            return Some((g.context.get(), 0));
        }
        // SAFETY: `g` was taken from a queue, so it is ours, and in no list.
        match unsafe { home.word.wear_or_list(g.as_ptr(), g.panicking.load(Ordering::Relaxed), requeue_raw) } {
            super::home_word::Wear::Listed => None,
            super::home_word::Wear::Worn => {
                if !home.bound_to().is_null() {
                    super::idle::run_on_its_m(self, home, g);
                    return None;
                }
                home.enter(self);
                self.leaving.set(worn);
                self.worn.set(Some(home));
                self.current.set(g.as_ptr());
                Some((g.context.get(), home.thread_pointer))
            }
        }
    }

    fn prepare_fresh(&'static self, g: GRef) -> Option<(*const Context, usize)> {
        let worn = self.worn.get();
        // SAFETY: this M holds the P.
        let stack = match unsafe { self.p().local() }.stacks.get(&self.rt.stacks, g.class.get()) {
            Ok(stack) => stack,
            Err(error) => {
                self.rt.no_stack(g, error);
                return None;
            }
        };
        let home = match self.home_for(g) {
            Chosen::Worn(home) => home,
            Chosen::GivenAway => {
                // SAFETY: this M holds the P.
                unsafe { self.p().local() }.stacks.put(&self.rt.stacks, stack);
                return None;
            }
        };
        self.furnish(g, stack);
        if worn.is_some_and(|worn| ptr::eq(worn, home)) {
            return Some((g.context.get(), 0));
        }
        home.enter(self);
        self.leaving.set(worn);
        self.worn.set(Some(home));
        Some((g.context.get(), home.thread_pointer))
    }

    /// [`Self::prepare`] on g0 for a coroutine that lives in the home that is bound to this M, and which is worn
    /// already: it is the M's own, or whoever has brought the coroutine has done it.
    #[cold]
    fn prepare_own(&'static self, home: &'static Home, g: GRef) -> Option<(*const Context, usize)> {
        if !self.rt.homes.worn {
            // It is in force, too.
            return self.prepare(g);
        }
        debug_assert!(self.worn.get().is_none());
        if g.is_fresh() {
            // SAFETY: this M holds the P.
            match unsafe { self.p().local() }.stacks.get(&self.rt.stacks, g.class.get()) {
                Ok(stack) => self.furnish(g, stack),
                Err(error) => {
                    home.word.take_off(requeue_raw);
                    self.rt.no_stack(g, error);
                    return None;
                }
            }
        }
        home.enter(self);
        self.worn.set(Some(home));
        self.current.set(g.as_ptr());
        Some((g.context.get(), home.thread_pointer))
    }

    /// Gives a fresh coroutine its stack, to begin there. It is the next to run here.
    #[inline(always)]
    fn furnish(&self, g: GRef, stack: Stack) {
        let (top, limit) = (stack.top().as_ptr(), stack.limit().as_ptr());
        g.stack.set(Some(stack));
        // SAFETY: the stack is `g`'s alone and fresh; `entry` takes the coroutine from the M.
        unsafe { switch::init(g.context.get(), top, limit, entry) };
        self.current.set(g.as_ptr());
    }

    /// Finds a home for a coroutine that is about to run for the first time, and wears it (if
    /// it is not the one in force).
    fn home_for(&'static self, g: GRef) -> Chosen {
        if let Some(home) = ptr_to_home(g.home.get()) {
            // `spawn_local` chose it, and moved the coroutine in.
            if self.worn.get().is_some_and(|worn| ptr::eq(worn, home)) && !home.shutting.get() {
                return Chosen::Worn(home);
            }
            // SAFETY: `g` was taken from a queue, so it is ours, and in no list.
            return match unsafe { home.word.wear_or_list(g.as_ptr(), false, requeue_raw) } {
                super::home_word::Wear::Worn if !home.bound_to().is_null() => {
                    super::idle::run_on_its_m(self, home, g);
                    Chosen::GivenAway
                }
                super::home_word::Wear::Worn => Chosen::Worn(home),
                super::home_word::Wear::Listed => Chosen::GivenAway,
            };
        }
        let home = if let Some(fixed) = self.fixed {
            fixed
        } else {
            // SAFETY: this M holds the P.
            let local = unsafe { self.p().local() };
            let claim = g.claim.get();
            match if claim == HomeClaim::Share { local.spares.pop() } else { None } {
                Some(home) => home,
                None => {
                    let homes = &self.rt.homes;
                    let current = self.worn.get().filter(|home| !home.shutting.get());
                    let live = || self.rt.live() as usize;
                    match homes.choose(current, claim, &mut local.settling, live, &mut local.random) {
                        Some(home) => {
                            if claim == HomeClaim::Homeless {
                                homes.waits.end(&g);
                            }
                            home
                        }
                        None => {
                            // Every home is worn this very moment.
                            if claim != HomeClaim::Homeless {
                                homes.waits.begin(&g);
                                g.claim.set(HomeClaim::Homeless);
                            }
                            homes.put_off(g);
                            return Chosen::GivenAway;
                        }
                    }
                }
            }
        };
        home.move_in();
        g.home.set(home);
        Chosen::Worn(home)
    }

    /// Leaves `g`, which waits or is queued already, for whatever is to run next; returns when
    /// `g` goes on, perhaps on another M.
    #[inline(always)]
    pub(crate) fn leave_coroutine(&'static self, g: GRef) {
        #[cfg(gort_chaos)]
        if super::chaos::detours(self) {
            return self.leave_to_g0(g);
        }
        match super::find::find(self) {
            Some(next) => self.leave_coroutine_for(g, next),
            None => self.leave_to(g, self.prepare_g0()),
        }
    }

    /// [`Self::leave_coroutine`], for g0, which chooses.
    pub(crate) fn leave_to_g0(&'static self, g: GRef) {
        self.leave_to(g, self.prepare_g0());
    }

    /// [`Self::leave_coroutine`], for `next` if that can be.
    #[inline(always)]
    pub(crate) fn leave_coroutine_for(&'static self, g: GRef, next: GRef) {
        if next == g {
            // It was readied meanwhile, and taken by ourselves.
            return;
        }
        match self.prepare(next) {
            Some(target) => self.leave_to(g, target),
            None => self.leave_for_another(g),
        }
    }

    /// The first choice could not be: on with the search.
    #[cold]
    fn leave_for_another(&'static self, g: GRef) {
        loop {
            match super::find::find(self) {
                Some(next) if next == g => return,
                Some(next) => {
                    if let Some(target) = self.prepare(next) {
                        return self.leave_to(g, target);
                    }
                }
                None => return self.leave_to(g, self.prepare_g0()),
            }
        }
    }

    #[inline(always)]
    fn leave_to(&'static self, g: GRef, target: (*const Context, usize)) {
        let pins = self.pins.get();
        debug_assert!(pins > 0);
        // SAFETY:
        // - `g` runs on this stack, so its context is free to be written;
        // - `prepare` made this M the one that may be on the target's stack;
        // - nobody else is on this stack before `after_switch` has taken the home off.
        unsafe { switch::switch(g.context.get(), target.0, target.1) };
        // Now perhaps on another M: ask again.
        let m = M::current().expect("coroutines run on Ms");
        m.pins.set(pins);
        m.after_switch();
    }

    /// The home in force. For code that runs in a coroutine.
    #[inline(always)]
    pub(crate) fn home(&self) -> &'static Home {
        self.worn.get().expect("coroutines run in homes")
    }

    fn prepare_g0(&self) -> (*const Context, usize) {
        self.current.set(ptr::null_mut());
        if self.rt.homes.worn {
            self.leaving.set(self.worn.take());
        }
        (self.g0.get(), self.native)
    }

    /// After `g` has ended: on to what runs next. If that is fresh it runs on this very stack,
    /// which begins anew.
    fn after_end(&'static self, g: GRef) -> ! {
        let stack = g.stack.take().expect("it ran on one");
        let home = self.home();
        if self.restricted.get() {
            super::os_thread::ended(self, home, g);
        }
        home.move_out();
        g.home.set(ptr::null());
        // Other back ends tie the stack to the coroutine's context.
        let reuse = cfg!(gort_context = "asm");
        let target = loop {
            let Some(next) = super::find::find(self) else { break self.prepare_g0() };
            if !reuse || !next.is_fresh() || next.class.get() != stack.class() {
                match self.prepare(next) {
                    Some(target) => break target,
                    None => continue,
                }
            }
            let here = next.home.get().is_null()
                && home.live() == 0
                && next.claim.get() == if home.private.get() { HomeClaim::Alone } else { HomeClaim::Share }
                && !self.rt_homes_fixed();
            let next_home = if here {
                // The home that this M wears anyway, since nobody else lives there.
                home.move_in();
                next.home.set(home);
                home
            } else {
                match self.home_for(next) {
                    Chosen::Worn(home) => home,
                    Chosen::GivenAway => continue,
                }
            };
            let (top, limit) = (stack.top().as_ptr(), stack.limit().as_ptr());
            next.stack.set(Some(stack));
            self.current.set(next.as_ptr());
            self.dead.set(Some(g));
            let mut thread_pointer = 0;
            if !ptr::eq(next_home, home) {
                next_home.enter(self);
                self.leaving.set(Some(home));
                self.worn.set(Some(next_home));
                thread_pointer = next_home.thread_pointer;
            }
            // SAFETY:
            // - the frames below (this one and `entry`'s) hold nothing that needs dropping;
            // - this M wears `next_home`, and the stack is `next`'s from here on.
            unsafe { switch::restart(next.context.get(), top, limit, entry, thread_pointer) }
        };
        self.dead_stack.set(Some(stack));
        self.dead.set(Some(g));
        // SAFETY: as in `leave_coroutine`; `after_switch` recycles this stack once we are off.
        unsafe { switch::switch_away(g.context.get(), target.0, target.1) }
    }

    /// Sleeps until it is called, sent, or until `deadline`.
    pub(crate) fn sleep(&self, deadline: os::clock::Nanos) -> Slept {
        // AcqRel: pairs with `call`, on either side.
        if self.call.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Slept::Called;
        }
        loop {
            let late = !os::futex::wait(&self.call, ASLEEP, deadline);
            // Acquire: pairs with `call`.
            match self.call.load(Ordering::Acquire) {
                CALLED => return Slept::Called,
                AWAKE => return Slept::Sent,
                _ if !late => {}
                // AcqRel: as above.
                _ => match self.call.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Slept::Long,
                    Err(_) => continue,
                },
            }
        }
    }

    /// Sleeps until somebody calls.
    pub(crate) fn sleep_until_called(&self) {
        while self.sleep(os::clock::NEVER) != Slept::Called {}
    }

    /// Wakes the M, if it sleeps, without calling it. Only while it cannot end.
    pub(crate) fn send(&self) {
        // AcqRel: as in `call`, but there is nothing to publish.
        if self.call.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            os::futex::wake(&self.call, 1);
        }
    }

    /// Says that it will wait in the netpoller. False if it was called already.
    pub(crate) fn begin_polling(&self) -> bool {
        // AcqRel: pairs with `call`: either it sees POLLING and breaks the wait, or we see it.
        self.call.compare_exchange(AWAKE, POLLING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Back from the netpoller. False if it was called meanwhile.
    pub(crate) fn end_polling(&self) -> bool {
        // AcqRel: as above.
        self.call.compare_exchange(POLLING, AWAKE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Wakes the M, which is idle and has been taken out of the idle list by the caller, with a
    /// P, or with none to end it.
    pub(crate) fn call(&self, p: Option<HeldP>) {
        self.given.set(p);
        // The M may end, and its record be freed, as soon as it sees `CALLED`.
        let (rt, word) = (self.rt, ptr::from_ref(&self.call));
        // AcqRel. Release: publishes `given` and what else the caller wrote into this M.
        // Acquire: orders the wake-up after the M's going to sleep.
        match self.call.swap(CALLED, Ordering::AcqRel) {
            ASLEEP => os::futex::wake(word, 1),
            POLLING => rt.poller.wake(),
            _ => {}
        }
    }

    /// After having been called: takes what it was given.
    pub(crate) fn answer(&self) -> Option<HeldP> {
        debug_assert_eq!(self.call.load(Ordering::Relaxed), CALLED);
        // Acquire: pairs with `call`.
        self.call.swap(AWAKE, Ordering::Acquire);
        self.given.take()
    }

    /// Whether somebody has called it.
    pub(crate) fn is_called(&self) -> bool {
        // Acquire: pairs with `call`.
        self.call.load(Ordering::Acquire) == CALLED
    }
}

/// Queues a G that waited in a home's list.
pub(super) fn requeue_raw(g: *mut G) {
    // SAFETY: what waited in the list is ours now.
    unsafe { super::park::requeue(GRef::new(g)) }
}

/// What became of the search for a home.
enum Chosen {
    /// This M wears it (or wore it already).
    Worn(&'static Home),
    /// The coroutine waits for its home, or was given to the M that has it.
    GivenAway,
}

#[inline(always)]
fn ptr_to_home(home: *const Home) -> Option<&'static Home> {
    // SAFETY: null, or a home, which lives until no coroutine lives in it.
    unsafe { home.as_ref() }
}

/// Where every stack begins.
///
/// # Safety
/// Started by a switch to a context made in `furnish`, or by `restart`.
#[inline(always)]
unsafe fn begin() -> ! {
    let m = M::current().expect("coroutines run on Ms");
    m.after_switch();
    // SAFETY: `prepare` set it.
    let g = unsafe { GRef::new(m.current.get()) };
    m.pins.set(1);
    m.unpin();
    complete(g);
    // The coroutine may have moved.
    let m = M::current().expect("coroutines run on Ms");
    debug_assert_eq!(m.pins.get(), 1);
    m.after_end(g)
}

/// [`begin`] as the assembly calls it.
#[cfg(not(gort_context = "thread"))]
unsafe extern "C" fn entry() -> ! {
    // SAFETY: the caller's promise.
    unsafe { begin() }
}

/// [`begin`] as the thread back end calls it, which unwinds through it.
#[cfg(gort_context = "thread")]
unsafe extern "C-unwind" fn entry() -> ! {
    // SAFETY: the caller's promise.
    unsafe { begin() }
}

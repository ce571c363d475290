//! Preemption: how a coroutine that does not come back is made to let others run.
//!
//! The usual way, switching stacks inside a signal handler, is unsound in Rust: the interrupted
//! code may be inside `malloc`, in the middle of a thread-local's update, holding a lock keyed
//! by thread. An interrupted stack is never moved here. *The thread is suspended where it is,
//! inside the handler, with the home that it wears; its P goes to another thread.*
//!
//! # Who may be suspended
//!
//! A coroutine's M, while it is in the user's code. What the runtime does with a P is between
//! [`M::pin`] and `unpin`: a plain count in the M, since only the thread itself and a handler on
//! it look. A switch of coroutines happens inside such a section, so the count is never 0 on g0, on
//! the way between two stacks, or in `after_switch`; each coroutine's own depth is put back when it goes
//! on. (What holds one of our spin locks in between, a channel's say, may be suspended. That stops
//! nobody for good: who spins for it is itself preempted, and the holder's turn comes.)
//!
//! # The states of an M
//!
//! | `run` | meaning | P |
//! |---|---|---|
//! | `RUNNING` | it has its P, or is on g0 | its own |
//! | `LENT` | blocked in the kernel, or in [`blocking`](crate::blocking): who wants the P may take it (not before `keeps_until`) | its own to take back, by compare-and-swap |
//! | `TAKEN` | that has happened; it runs on without | none |
//! | `SUSPENDED` | in the handler, asleep; sysmon has not been there yet | sysmon's to take |
//! | `WAITING` | in the queue of those who wait for a P, asleep in the handler or in a call of ours | none |
//!
//! ```text
//!              signal, in user code                 sysmon takes the P
//!   RUNNING ───────────────────────────> SUSPENDED ────────────────────> WAITING
//!    │  ^ ^                                  ^                              │ ^
//!    │  │ └──────────────────────────────────│──────────────────────────────┘ │
//!    │  │        somebody hands it a P       │ signal, no longer blocked      │
//!    │  │ it comes back first                │                                │
//!    └>LENT ───────────────────────────────> TAKEN ───────────────────────────┘
//!   signal, in a system call;  sysmon            its next call into the runtime
//!   `blocking`                 takes the P
//! ```
//!
//! The first M in the queue gets the P of the next M that finds nothing else to run
//! (`find::find_more`), or that sysmon takes from a coroutine that has been on for a time slice. One that is back from where it
//! blocked is served at the next 61st pick, as what is in the global queue. A
//! coroutine that becomes ready comes before those that were suspended, unless their turn is past (N that wait for P places have theirs after N / P
//! slices; with one slice for all, eight hogs that allocate kept a ticker waiting for a quarter of a second), and displaces one
//! that has been on for a millisecond: so a ticker beside hogs is a millisecond or two late, not a time slice. All that is by the
//! clock, but nobody is suspended who has not had the CPU: who is found the first time is asked again 50 µs later, and among themselves hogs have
//! slices of CPU time. So who was kept from the CPU by other processes is let go on.
//!
//! # When lock holders are suspended
//!
//! The suspended thread may hold a lock of `malloc` or of the user's. Others who want it block in
//! the kernel, lend their Ps, and the holder gets one. If those Ps are blocked inside the runtime, where
//! they cannot be taken, the M that waits longest is let go on without a P (`TAKEN`); so also if a stream of
//! short coroutines leaves no P for it. A coroutine found inside libc is asked again a little later, a
//! few times, before it is suspended there. (Not where libc is a part of the program.)
//!
//! # What the handler may touch
//!
//! Its own M's atomics and cells (the thread cannot be in the middle of an update: `pin` guards
//! the P's parts, and the rest is single words), the counts of those who were asked and who stopped, the word that
//! sysmon sleeps on, the interrupted registers; system calls that POSIX or Linux lets a handler make: `futex`, `timerfd_settime`,
//! `clock_gettime` for the thread's CPU time, and `sched_setaffinity` if each P has CPUs of its own. No
//! allocation, no lock, no unwinding, no thread-local but `errno`, which it puts back.

use super::g::GRef;
use super::m::M;
use super::p::{HeldP, P};
use super::runtime::Shared;
use super::{idle, sysmon};
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::signal::{self, Action, Disposition, SavedErrno, Sender};
use crate::os::{self, futex};
use crate::shim::asymmetric;
use crate::switch;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

pub(crate) const RUNNING: u32 = 0;
pub(crate) const LENT: u32 = 1;
pub(crate) const TAKEN: u32 = 2;
pub(crate) const SUSPENDED: u32 = 3;
pub(crate) const WAITING: u32 = 4;
/// The bits of `run` that are the state. LENT has the P's number above them.
pub(crate) const STATE: u32 = 7;

/// How often a coroutine that is found inside libc is let go on.
pub(crate) const LIBC_MOST: u32 = 8;
/// The CPU time that a coroutine has had between two times that it is asked, if it computes.
const COMPUTES_NS: Nanos = 25_000;
/// How many are suspended at a time, before threads are not started any more for them to be suspended: those who have begun take turns then.
/// Each holds a thread and a home, and does no more the more there are.
const SUSPENDED_MOST: usize = 512;
/// After so long it is asked whether a coroutine is blocked, however long time slices are.
pub(crate) const PROBE_NS: Nanos = 10_000_000;
/// For so long sysmon leaves a P to who lends it for a moment.
const MOMENT_NS: Nanos = 1_000_000;

/// Why an M is asked to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Why {
    /// Its coroutine has had its time slice, and others wait for theirs.
    Turn,
    /// Something has become ready.
    Ready,
    /// It may be blocked, by one of those who wait for their turn. It need not stop if it is not.
    Blocked,
}

/// The Ms that wait for a P. Those that were suspended have had their time, and wait until nobody else is ready or their turn is
/// past; those that are back from where they blocked have become ready like anybody else, and come before them. Linked through
/// the Ms: sysmon must not allocate, since who is suspended may hold a lock of `malloc`.
#[derive(Default)]
pub(crate) struct Queue {
    lists: Mutex<Lists>,
    length: AtomicUsize,
    /// Those of them that are back.
    back: AtomicUsize,
}

#[derive(Default)]
struct Lists {
    suspended: List,
    back: List,
}

/// The one that waits longest first.
#[derive(Default)]
struct List {
    first: Option<&'static M>,
    last: Option<&'static M>,
}

impl List {
    fn push(&mut self, m: &'static M) {
        m.next_waiting.set(None);
        match self.last.replace(m) {
            Some(last) => last.next_waiting.set(Some(m)),
            None => self.first = Some(m),
        }
    }

    /// Takes the first if it has waited since before `then`.
    fn pop_older(&mut self, then: Nanos) -> Option<&'static M> {
        let m = self.first.filter(|m| m.waits_since.get() < then)?;
        self.first = m.next_waiting.take();
        if self.first.is_none() {
            self.last = None;
        }
        Some(m)
    }
}

impl Queue {
    /// Whether nobody waits.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        // Relaxed: a hint; the idle protocol orders it by its fences.
        self.length.load(Ordering::Relaxed)
    }

    /// How many wait that were suspended.
    fn suspended(&self) -> usize {
        // Relaxed: a hint.
        self.len().saturating_sub(self.back.load(Ordering::Relaxed))
    }

    /// Whether one waits that is back from where it blocked.
    pub(crate) fn has_back(&self) -> bool {
        // Relaxed: a hint.
        self.back.load(Ordering::Relaxed) != 0
    }

    fn change<R>(&self, change: impl FnOnce(&mut Lists) -> R) -> R {
        change(&mut self.lists.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn push(&self, m: &'static M) {
        self.change(|lists| {
            m.waits_since.set(clock::now());
            // Relaxed, both: as in `len`. The lock orders the writers.
            self.length.store(self.len() + 1, Ordering::Relaxed);
            if m.in_handler.get() {
                lists.suspended.push(m);
            } else {
                self.back.store(self.back.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                lists.back.push(m);
            }
        });
    }

    fn take(&self, take: impl FnOnce(&mut Lists) -> Option<&'static M>) -> Option<&'static M> {
        if self.is_empty() {
            return None;
        }
        self.change(|lists| {
            let m = take(lists)?;
            // Relaxed, both: as in `push`.
            self.length.store(self.len() - 1, Ordering::Relaxed);
            if !m.in_handler.get() {
                self.back.store(self.back.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
            }
            Some(m)
        })
    }

    /// Takes the one whose turn it is if others are ready to run: the one suspended longest, if that was before `then`, or
    /// one that is back.
    pub(crate) fn pop_older(&self, then: Nanos) -> Option<&'static M> {
        self.take(|lists| lists.suspended.pop_older(then).or_else(|| lists.back.pop_older(NEVER)))
    }

    /// Takes the one whose turn it is if nobody else is ready.
    pub(crate) fn pop(&self) -> Option<&'static M> {
        self.take(|lists| lists.back.pop_older(NEVER).or_else(|| lists.suspended.pop_older(NEVER)))
    }

    /// Takes the one suspended longest, if that was before `then`.
    fn pop_suspended(&self, then: Nanos) -> Option<&'static M> {
        self.take(|lists| lists.suspended.pop_older(then))
    }
}

/// A section in which the calling coroutine keeps its P. No more than a plain count; nothing on a
/// plain thread.
pub(crate) struct Pin(());

impl Pin {
    #[inline(always)]
    pub(crate) fn new() -> Pin {
        if let Some(m) = M::current() {
            m.pin();
        }
        Pin(())
    }
}

impl Drop for Pin {
    #[inline(always)]
    fn drop(&mut self) {
        // Perhaps another M than at the beginning.
        if let Some(m) = M::current() {
            m.unpin();
        }
    }
}

/// The depth of such sections. Only the thread itself and a handler on it look: Relaxed, and a count that
/// is loaded and stored, with a compiler fence ([`asymmetric::signal`]) between it and what it guards.
pub(crate) struct Pins(AtomicU32);

impl Pins {
    pub(crate) fn new(depth: u32) -> Pins {
        Pins(AtomicU32::new(depth))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set(&self, depth: u32) {
        self.0.store(depth, Ordering::Relaxed);
    }
}

impl M {
    /// Begins a section in which this M keeps its P; gets one first if it has lost its own.
    #[inline(always)]
    pub(crate) fn pin(&'static self) {
        self.pins.set(self.pins.get() + 1);
        // Against a handler on this very thread.
        asymmetric::signal();
        // Relaxed: our own, but for sysmon's LENT to TAKEN, and either of the two is not RUNNING.
        if self.run.load(Ordering::Relaxed) != RUNNING {
            self.regain();
            self.follow_p();
        }
    }

    /// [`Self::pin`] until the value is dropped.
    #[inline(always)]
    pub(crate) fn pinned(&'static self) -> Pin {
        self.pin();
        Pin(())
    }

    #[inline(always)]
    pub(crate) fn unpin(&self) {
        asymmetric::signal();
        debug_assert!(self.pins.get() > 0);
        self.pins.set(self.pins.get() - 1);
    }

    /// The P was lent: takes it back, or another, or waits for one.
    #[cold]
    fn regain(&'static self) {
        // Relaxed: for sysmon, which may see it late.
        self.announced.store(false, Ordering::Relaxed);
        loop {
            // Relaxed, and below: what there is to see comes with the P, from the idle list or `await_p`.
            let run = self.run.load(Ordering::Relaxed);
            match run & STATE {
                RUNNING => return,
                // Relaxed: if it succeeds nobody has touched the P.
                LENT if self.run.compare_exchange(run, RUNNING, Ordering::Relaxed, Ordering::Relaxed).is_ok() => {
                    return;
                }
                TAKEN => {
                    if let Some(p) = self.rt.take_idle_p() {
                        self.hold(p);
                        // Relaxed: our own again since it was taken.
                        self.run.store(RUNNING, Ordering::Relaxed);
                        return;
                    }
                    // Relaxed: the queue's lock publishes it.
                    self.run.store(WAITING, Ordering::Relaxed);
                    self.rt.waiting.push(self);
                    self.rt.notify_without_p();
                    self.await_p(WAITING);
                }
                _ => {}
            }
        }
    }

    /// Lends `p`, its own, to whoever wants it and takes it at `keeps_until` or later, until the next [`Self::pin`].
    fn lend(&self, p: HeldP, keeps_until: Nanos) {
        // Relaxed: published with the state.
        self.keeps_until.store(keeps_until, Ordering::Relaxed);
        // Release: what we did with the P comes before whoever takes it.
        self.run.store(LENT | (p.index as u32 * (STATE + 1)), Ordering::Release);
    }

    /// The P that an M with `run` has lent.
    fn lent(&self, run: u32) -> Option<HeldP> {
        (run & STATE == LENT).then(|| self.rt.p((run / (STATE + 1)) as usize))
    }

    /// For sysmon: takes the P of an M that has lent it, with `run`. None if its owner was faster. The cell
    /// `p` is left alone: its owner may be back by now, with a P that was idle.
    fn retake(&self, run: u32) -> Option<HeldP> {
        let p = self.lent(run)?;
        // AcqRel: from here on the P is ours; its owner sees that.
        self.run.compare_exchange(run, TAKEN, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        Some(p)
    }

    /// Suspends the calling thread until it gets a P, or is let go on without.
    fn stop(&self) {
        // Relaxed: TAKEN stays until we change it.
        if self.run.load(Ordering::Relaxed) == TAKEN {
            self.p.set(None);
        }
        // Release: what we did with the P comes before whoever takes it.
        self.run.store(SUSPENDED, Ordering::Release);
        sysmon::poke();
        self.await_p(SUSPENDED);
    }

    /// For sysmon, of an M that it has seen suspended: takes the P, if it has one, and puts the M into the queue.
    fn enqueue(&'static self) -> Option<HeldP> {
        let p = self.p.take();
        // Relaxed: the queue's lock publishes it.
        self.run.store(WAITING, Ordering::Relaxed);
        self.rt.waiting.push(self);
        p
    }

    /// Sleeps until somebody has changed `run` from what it was to `RUNNING` or `TAKEN`.
    fn await_p(&self, mut was: u32) {
        // Acquire: pairs with the Release of `resume`.
        while matches!(was, SUSPENDED | WAITING) {
            futex::wait(&self.run, was, NEVER);
            was = self.run.load(Ordering::Acquire);
        }
    }

    /// Lets an M that was taken out of the queue go on, with `p` or, if it was suspended in the user's code,
    /// without.
    pub(crate) fn resume(&'static self, p: Option<HeldP>) {
        debug_assert_eq!(self.run.load(Ordering::Relaxed), WAITING);
        let word = ptr::from_ref(&self.run);
        let next = match p {
            Some(p) => {
                p.count_resumption();
                self.hold(p);
                self.turn_since.set(clock::now());
                RUNNING
            }
            None => TAKEN,
        };
        // Release: publishes the P.
        self.run.store(next, Ordering::Release);
        futex::wake(word, 1);
    }
}

/// Runs `f`, which may block the thread, in place: others may have the P of the calling coroutine meanwhile. On a plain thread it calls
/// `f` and nothing else.
pub(crate) fn in_place<R>(f: impl FnOnce() -> R) -> R {
    lending(lend, f)
}

/// The same for an `f` that is expected to be over soon, and begins `now`: others have the P when [`MOMENT_NS`] have passed and sysmon comes by.
pub(crate) fn in_place_for_a_moment<R>(now: Nanos, f: impl FnOnce() -> R) -> R {
    lending(|m| lend_for_a_moment(m, now), f)
}

/// The same on g0 of `m`, which wears no home: `f` runs as on a plain thread. It must not unwind.
pub(crate) fn on_g0_for_a_moment(m: &'static M, now: Nanos, f: impl FnOnce()) {
    lend_for_a_moment(m, now);
    // Who was asked to stop just before is asked again, or it is taken back, at sysmon's next look: the handler finds no M.
    switch::set_current_m(ptr::null_mut());
    f();
    switch::set_current_m(ptr::from_ref(m).cast_mut().cast());
    // On g0 the P is kept.
    m.pin();
    m.unpin();
}

/// Calls `f` when `lend` has lent the P of the calling coroutine.
fn lending<R>(lend: impl FnOnce(&'static M), f: impl FnOnce() -> R) -> R {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            if let Some(m) = M::current() {
                // Relaxed: as in `regain`, which has done the same on the M where `f` began if it made
                // calls into the runtime.
                m.announced.store(false, Ordering::Relaxed);
            }
        }
    }
    let Some(m) = M::current().filter(|_| M::current_coroutine().is_some()) else { return f() };
    m.pin();
    lend(m);
    m.unpin();
    let _end = End;
    f()
}

fn lend_for_a_moment(m: &'static M, now: Nanos) {
    let Some(p) = m.p.get() else { return };
    // Relaxed: published with the state.
    m.announced.store(true, Ordering::Relaxed);
    m.lend(p, now + MOMENT_NS);
}

fn lend(m: &'static M) {
    let Some(p) = m.p.get() else { return };
    // Relaxed: published with the state.
    m.announced.store(true, Ordering::Relaxed);
    if m.rt.waits_for(p, clock::now()) {
        // Somebody waits: no need for sysmon to come by.
        m.p.take();
        // Relaxed: our own in this state.
        m.run.store(TAKEN, Ordering::Relaxed);
        if m.rt.give_away(p) || m.rt.start_m(Some(p), false) {
            return;
        }
        m.hold(p);
    }
    m.lend(p, 0);
    sysmon::watch_lent();
}

/// How many Ms of the process are suspended in the user's code. While there are any, sysmon must
/// not allocate.
static STOPPED: AtomicUsize = AtomicUsize::new(0);
/// How many have been asked to, and have not answered.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Takes back what was asked of those who have not answered, if then nobody can be suspended.
pub(crate) fn revoke(runtimes: impl Iterator<Item = &'static Shared>) {
    // Relaxed: a hint.
    if STOPPED.load(Ordering::Relaxed) != 0 {
        return;
    }
    for rt in runtimes {
        rt.for_each_m(|m| {
            // Relaxed: sysmon, which this runs on, set it. Acquire: if its handler was faster we see it counted.
            if m.asked.load(Ordering::Relaxed) && m.asked.swap(false, Ordering::Acquire) {
                // Relaxed: read by sysmon alone.
                ASKED.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }
}

/// Whether nobody is suspended, nor will be until sysmon asks again.
pub(crate) fn is_calm() -> bool {
    // Acquire: pairs with the Release in `on_signal`, so that who is suspended is counted below.
    // Relaxed: who goes on in between is one less to mind.
    ASKED.load(Ordering::Acquire) == 0 && STOPPED.load(Ordering::Relaxed) == 0
}

impl Shared {
    /// Whether something waits for `p` while it is on one coroutine: in its queue, its timers or the global queue, or back from
    /// where it blocked.
    pub(crate) fn is_ready_work(&self, p: &P, now: Nanos) -> bool {
        !p.queue.is_empty()
            || p.timers.next() <= now
            || !self.injector.is_empty()
            || self.homes.calls_homeless()
            || self.waiting.has_back()
    }

    /// The same, with Ms that wait for a P; or it is to go out of service.
    pub(crate) fn waits_for(&self, p: &P, now: Nanos) -> bool {
        self.is_ready_work(p, now) || !self.waiting.is_empty() || self.is_retiring(p)
    }

    /// Since when an M that waits for a P has waited too long. With N of them for P places the last one's turn comes after N / P
    /// slices: before that they have no right to go ahead of what is ready.
    pub(crate) fn overdue_since(&self, now: Nanos) -> Nanos {
        self.since_turns(now, 0, self.slice_ns)
    }

    /// When the turns of all who wait, and so many more, would have begun if each had lasted so long.
    fn since_turns(&self, now: Nanos, more: Nanos, each_ns: Nanos) -> Nanos {
        let turns = (self.waiting.len() / self.procs()) as Nanos + 1 + more;
        // A slice may be as long as there is time.
        now.saturating_sub(turns.saturating_mul(each_ns))
    }

    /// A turn has ended, which lasted so long by the clock. It is longer than a slice, which is CPU time, where other processes run; so it
    /// is for all who wait, and no reason to let them go on without a P. Not so long, though, that they have to wait for ever.
    fn note_turn(&self, length: Nanos) {
        // Relaxed, both: sysmon's own.
        let before = self.turn_ns.load(Ordering::Relaxed);
        let mean = (before.saturating_mul(3)).saturating_add(length) / 4;
        self.turn_ns.store(mean.clamp(self.slice_ns, self.slice_ns.saturating_mul(16)), Ordering::Relaxed);
    }

    /// After how long an M without a P is asked to stop, if it runs.
    fn probe_ns(&self) -> Nanos {
        self.slice_ns.min(PROBE_NS)
    }

    /// There is no idle M, and somebody is to be suspended. One is started, but not from here: somebody may be suspended inside `malloc`.
    pub(crate) fn want_spare(&self) {
        if self.waiting.suspended() < SUSPENDED_MOST {
            self.starter.want_m();
        }
    }

    /// Finds an M for a P that its holder has lost: one to run what is queued; or the one that waits longest. One that is
    /// to retire is given up.
    fn dispatch(&self, p: HeldP, now: Nanos) {
        let retiring = self.is_retiring(p);
        // An idle M may allocate, and so do what is to be done.
        if (retiring || self.has_errand()) && self.give_away(p) {
            return;
        }
        if retiring && is_calm() {
            drop(self.give_up_p(p));
            asymmetric::heavy();
            return self.find_m();
        }
        if let Some(m) = self.waiting.pop_older(self.overdue_since(now)) {
            return m.resume(Some(p));
        }
        if (self.is_ready_work(p, now) || self.ps.has_loot()) && self.give_away(p) {
            return;
        }
        match self.waiting.pop() {
            Some(m) => m.resume(Some(p)),
            None => {
                self.put_idle_p(p);
                self.find_m();
            }
        }
    }

    /// As for any P that is given up: somebody for what is queued, or to come. Not `wake_one`, which may start a thread.
    fn find_m(&self) {
        if self.needs_somebody()
            && let Some(p) = self.take_idle_p()
            && !self.give_away(p)
        {
            self.put_idle_p(p);
        }
    }

    /// Sysmon's part: takes the Ps that Ms have lost or lent, lets go on who has waited too long, and asks those
    /// who run on without a P to stop.
    pub(crate) fn attend(&self, now: Nanos) -> Attended {
        let (mut away, mut lent) = (0, false);
        // Once for all who have lent a P, since it takes microseconds; until somebody has been sent for what there is.
        let mut loot = None;
        let looked = self.for_each_m(|m| {
            // Acquire: pairs with the Release of the handler and of `blocking`.
            let run = m.run.load(Ordering::Acquire);
            // Relaxed: published with the state. (If that is of an earlier time the P is taken too early, or the next time.)
            if run & STATE == LENT && now < m.keeps_until.load(Ordering::Relaxed) {
                return;
            }
            away += usize::from(run != RUNNING);
            match run & STATE {
                SUSPENDED => {
                    // Before it is in the queue: whoever takes it out of there writes when its next turn began.
                    let turn_since = m.turn_since.get();
                    // Without a P of its own it gets one that is idle: nobody else would think of it.
                    let own = m.enqueue();
                    // Relaxed: it is not held. Not one that had come to the P in another way: nobody has noted when.
                    if own.is_some_and(|p| p.was_resumed_at(p.tick.load(Ordering::Relaxed))) {
                        self.note_turn(now.saturating_sub(turn_since));
                    }
                    if let Some(p) = own.or_else(|| self.take_idle_p()) {
                        self.dispatch(p, now);
                    }
                }
                LENT => {
                    // Also for what others could steal: it is as good as idle.
                    let mut has_loot = || *loot.get_or_insert_with(|| self.ps.has_loot());
                    let wanted = m.lent(run).is_some_and(|p| self.waits_for(p, now) || has_loot());
                    lent |= !wanted;
                    if wanted && let Some(p) = m.retake(run) {
                        m.asked_at.set(now);
                        m.patience.set(self.probe_ns());
                        self.dispatch(p, now);
                        loot = None;
                    }
                }
                // Relaxed: a hint.
                TAKEN if !m.announced.load(Ordering::Relaxed) && now - m.asked_at.get() > m.patience.get() => {
                    // Blocked, most likely: ask less and less often.
                    m.asked_at.set(now);
                    m.patience.set(m.patience.get().saturating_mul(2).min(self.probe_ns() * 64));
                    m.ask(0, Why::Turn);
                }
                _ => {}
            }
        });
        // Relaxed, both: sysmon's own; a request, which may be seen late.
        let held_up = self.held_up.load(Ordering::Relaxed) && self.held_up.swap(false, Ordering::Relaxed);
        let late = if held_up { now } else { self.since_turns(now, 1, self.turn_ns.load(Ordering::Relaxed)) };
        // Not who waits in a call of ours: it needs the P. Those behind it may hold what all others wait for.
        if let Some(m) = self.waiting.pop_suspended(late) {
            m.asked_at.set(now);
            m.patience.set(self.probe_ns());
            m.resume(None);
        }
        Attended { away: looked.then_some(away), lent }
    }
}

/// What sysmon has found among the Ms of a runtime.
pub(crate) struct Attended {
    /// How many do not run, or not with a P; None if they could not be counted.
    pub(crate) away: Option<usize>,
    /// Whether the P of one is there to be taken when there is work for it.
    pub(crate) lent: bool,
}

/// Asks the M that holds `p`, and whose tick was `tick`, to suspend itself. First there must be another to go on with the P: then
/// it is asked the next time.
pub(crate) fn preempt(rt: &Shared, p: &P, tick: u32, why: Why) {
    let holder = p.holder();
    if holder.is_null() {
        return;
    }
    // One that waits goes on with what it was at: that helps neither a P that is to retire nor what is ready to run.
    let takes_turns = !rt.waiting.is_empty() && !rt.is_retiring(p);
    if (why == Why::Ready || !takes_turns) && !rt.has_idle_m() {
        rt.want_spare();
        if !takes_turns {
            return;
        }
    }
    rt.for_each_m(|m| {
        // Relaxed: hints, so that no signal is sent for nothing; the handler decides.
        if ptr::eq(m, holder)
            && m.run.load(Ordering::Relaxed) == RUNNING
            && !m.announced.load(Ordering::Relaxed)
            && p.tick.load(Ordering::Relaxed) == tick
        {
            m.ask(tick, why);
        }
    });
}

impl M {
    /// Sends the signal. Called with the list of Ms locked, which the thread leaves before it ends.
    fn ask(&self, tick: u32, why: Why) {
        // Relaxed: a number; the handler was installed by a system call before it.
        let signal = SIGNAL.load(Ordering::Relaxed);
        if signal == 0 {
            return;
        }
        // Relaxed: published by `asked`.
        self.asked_tick.store(tick, Ordering::Relaxed);
        self.asked_why.store(why as u8, Ordering::Relaxed);
        // Release: publishes what is above.
        if !self.asked.swap(true, Ordering::Release) {
            // Relaxed: read by sysmon alone, on which this runs; the handler takes it off after the signal.
            ASKED.fetch_add(1, Ordering::Relaxed);
        }
        signal::send_marked(self.tid, signal);
    }
}

/// The M ends: nobody asks it any more.
pub(crate) fn end(m: &M) {
    // Acquire, and Relaxed for the count: as in `revoke`.
    if m.asked.swap(false, Ordering::Acquire) {
        ASKED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The signal in use; 0 while preemption is off.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static EARLIER: OnceLock<Disposition> = OnceLock::new();
/// Where the code of libc, of the allocator in its place and of the dynamic linker is, as far as they are libraries. What is linked into
/// the program cannot be told from what computes there.
static LIBC: OnceLock<[std::ops::Range<usize>; 3]> = OnceLock::new();

/// The signal in use, if there is one.
pub(crate) fn signal() -> Option<libc::c_int> {
    // Relaxed: written before any M of a runtime that is preemptive was started.
    Some(SIGNAL.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// Installs the handler, once in a process: for `wanted`, or for SIGURG.
pub(crate) fn install(wanted: Option<libc::c_int>) -> io::Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(wanted) = wanted.filter(|wanted| !signal::can_be_taken(*wanted)) {
        let text = format!("gort: preemption_signal({wanted}): not a signal that can be used for it");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if let Some(signal) = signal() {
        let Some(wanted) = wanted.filter(|wanted| *wanted != signal) else { return Ok(()) };
        let text = format!("gort: preemption_signal({wanted}): runtimes of this process use {signal} already");
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    if cfg!(miri) {
        return Ok(());
    }
    let signal = wanted.unwrap_or(libc::SIGURG);
    let earlier = Disposition::of(signal)?;
    let ours = Disposition::handler(on_signal, &earlier);
    let _ = EARLIER.set(earlier);
    // Of libc a function that nobody puts another in the place of, as is done with the next.
    let there = [libc::getauxval as *const () as usize, libc::malloc as *const () as usize, os::elf::linker()];
    LIBC.get_or_init(|| there.map(|at| os::elf::code_apart(at, on_signal as *const () as usize)));
    // SAFETY: see "What the handler may touch".
    unsafe { ours.install(signal)? };
    // Relaxed: see `M::ask`.
    SIGNAL.store(signal, Ordering::Relaxed);
    Ok(())
}

extern "C" fn on_signal(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let _errno = SavedErrno::new();
    // SAFETY: the kernel's, for this handler.
    let sender = signal::sender(unsafe { &*info });
    match M::current() {
        // Acquire: pairs with the Release in `ask`.
        Some(m) if sender != Sender::Other && m.asked.swap(false, Ordering::Acquire) => {
            // SAFETY: this is a handler and `context` its third argument.
            let code = unsafe { signal::interrupted_code(context) };
            let stops = decides_to_stop(m, code);
            if stops {
                // Relaxed: published by the Release below.
                STOPPED.fetch_add(1, Ordering::Relaxed);
            }
            // Release: whoever sees that we have answered sees us counted.
            ASKED.fetch_sub(1, Ordering::Release);
            if stops {
                m.in_handler.set(true);
                m.stop();
                m.in_handler.set(false);
                m.follow_p();
                m.slice.set(m.p.get().map(|p| (p.tick.load(Ordering::Relaxed), clock::thread_cpu())));
                // Relaxed: sysmon may see it late, and is careful for longer.
                STOPPED.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // Not asked any more: sysmon has taken it back, or asked twice.
        _ if sender == Sender::Ours => {}
        _ => chain(number, info, context, sender),
    }
}

/// Another's signal: to the handler that was there before.
fn chain(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void, sender: Sender) {
    match EARLIER.get().map(Disposition::action) {
        Some(Action::Plain(handler)) => handler(number),
        Some(Action::Info(handler)) => handler(number, info, context),
        Some(Action::Ignore) | None => {}
        // One that may be ours must not end the process.
        Some(Action::Default) if signal::is_ignored_by_default(number) || sender != Sender::Other => {}
        Some(Action::Default) => {
            // The process ends as it would have: the signal is blocked until this handler returns.
            // SAFETY: no handler.
            let _ = unsafe { Disposition::default_action().install(number) };
            signal::raise(number);
        }
    }
}

/// Whether the thread is to be suspended. If it is blocked in the kernel its P is lent instead.
fn decides_to_stop(m: &M, code: signal::Interrupted) -> bool {
    if m.pins.get() != 0 || m.is_on_g0() {
        // Inside the runtime: it will not be long, and sysmon will come again. Unless it waits for a lock of the allocator, whose holder
        // may be suspended.
        if m.pins.get() != 0 && code.is_system_call {
            // Relaxed: a request.
            m.rt.held_up.store(true, Ordering::Relaxed);
        }
        return false;
    }
    // Relaxed: our own, but for LENT to TAKEN.
    match m.run.load(Ordering::Relaxed) {
        RUNNING => {
            let Some(p) = m.p.get() else { return false };
            // Relaxed: the tick is this thread's own, the other came with `asked`.
            let tick = p.tick.load(Ordering::Relaxed);
            if tick != m.asked_tick.load(Ordering::Relaxed) {
                // It was meant for a coroutine that has let others run meanwhile.
                return false;
            }
            if code.is_system_call {
                m.libc_found.set(0);
                m.lend(p, 0);
                sysmon::poke();
                return false;
            }
            // Relaxed: came with `asked`.
            if m.asked_why.load(Ordering::Relaxed) == Why::Blocked as u8 || !has_computed(m, tick) {
                return false;
            }
            let in_libc = LIBC.get().is_some_and(|libc| libc.iter().any(|code_of| code_of.contains(&code.at)));
            if in_libc && m.libc_found.get() < LIBC_MOST {
                m.libc_found.set(m.libc_found.get() + 1);
                return false;
            }
            m.libc_found.set(0);
        }
        TAKEN if !code.is_system_call => {}
        // Still blocked.
        _ => return false,
    }
    true
}

/// Whether the thread has had the CPU for what is held against its coroutine. Sysmon goes by the clock, and other processes may
/// have run in that time: then the coroutine has kept nobody waiting, and would lose its turn for nothing.
fn has_computed(m: &M, tick: u32) -> bool {
    let cpu = clock::thread_cpu();
    // Relaxed: came with `asked`.
    if m.asked_why.load(Ordering::Relaxed) != Why::Ready as u8
        && let Some((since, before)) = m.slice.get()
        && since == tick
    {
        // Hogs share what there is of the CPU.
        return cpu - before >= m.rt.slice_ns;
    }
    match m.found.get() {
        // Anywhere, at any time.
        _ if cfg!(gort_chaos) => true,
        Some((since, before)) if since == tick => cpu - before >= COMPUTES_NS,
        _ => {
            m.found.set(Some((tick, cpu)));
            false
        }
    }
}

/// To whom an M is to give its P, once it is on g0.
#[derive(Clone, Copy)]
pub(crate) enum HandOver {
    /// The M to which this coroutine's home is bound.
    Home(&'static M, GRef),
    /// An M that waits for one.
    Waiting(&'static M),
    /// Nobody: it goes out of service.
    Retire,
}

/// Whether the calling M is to hand over `p`, its own: there are to be fewer, or another M has waited for one for
/// longer than a time slice.
#[cold]
pub(crate) fn is_due(rt: &Shared, p: &P) -> bool {
    let retiring = rt.is_retiring(p);
    if rt.waiting.is_empty() && !retiring {
        return false;
    }
    let Some(m) = M::current() else { return false };
    if m.hand_over.get().is_some() {
        return true;
    }
    if retiring {
        m.hand_over.set(Some(HandOver::Retire));
        return true;
    }
    let to = rt.waiting.pop_older(rt.overdue_since(clock::now()));
    m.hand_over.set(to.map(HandOver::Waiting));
    to.is_some()
}

/// The calling M has nothing to run: an M that waits for a P gets its own.
pub(crate) fn offer(m: &'static M) -> bool {
    if m.hand_over.get().is_some() {
        return true;
    }
    if m.rt.is_retiring(m.p()) {
        // Not for them.
        return false;
    }
    let to = m.rt.waiting.pop();
    m.hand_over.set(to.map(HandOver::Waiting));
    to.is_some()
}

/// Gives the P away. On g0.
pub(crate) fn hand_over(m: &'static M, to: HandOver) {
    if m.searching.get() && !matches!(to, HandOver::Retire) {
        // What others have queued meanwhile, relying on us, is not what the P goes to.
        idle::stop_searching(m, true);
    }
    match to {
        HandOver::Home(to, g) => {
            m.restrict();
            to.bound.set(Some(g));
            to.call(m.p.take());
        }
        HandOver::Waiting(to) => to.resume(m.p.take()),
        // `find_or_sleep` sees to it, unless it was called off meanwhile.
        HandOver::Retire => {}
    }
}

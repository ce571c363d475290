//! Searching, sleeping and waking.
//!
//! Promise: while some G is in a queue, every P is held, or at least one M is searching or on
//! its way to. (A G in a `next` slot is its P's own; sysmon looks after one that stays there too
//! long.)
//!
//! A P that is held by an M with nothing to run is given up: it goes to the list of idle Ps (or out of
//! service, if there are to be fewer: `ps.rs`) and its M to the list of idle Ms. An M that looks into other Ps' queues counts as *searching*;
//! at most half of the busy ones do at a time.
//!
//!   Submit:  S1 publish the G;         S2 light fence (full, without a P);  S3 if a P is idle and `searching` is 0, wake one M as a searcher.
//!   Give up: T1 P to the idle list, `searching` minus 1; T2 heavy fence;  T3 look at every queue; found something: take a P back, search.
//!
//! S2 and T2 order like SeqCst fences. If S2 comes first, T3 sees the G. If T2 does, S3 sees the
//! idle P and a count without this M. A searcher that finds work and is the last one wakes
//! another if there is more (`stop_searching`), so the wakings spread like the work does:
//!
//!   Found:   F1 `searching` minus 1; F2 light fence;  F3 if it was the last and a P is idle: heavy fence, look at every queue.
//!
//! A submitter that relied on it has read the count from before F1. If it saw the idle P because T2 came
//! before S2, then T2 comes before F2 too (else S3 would have seen F1), and F3 sees that P. If S2 came first,
//! whoever gives the P up sees the G.
//! Modelled in `ci/models`, `idle::*`; without any one of the fences a model loses a wake-up.
//!
//! A heavy fence interrupts every CPU that runs one of our threads, and a server that waits for its clients comes here at every other
//! request. But whoever submits by a light fence holds a P, and there may be no other: if the lists' lock says that the P that is given up
//! was the last that was held, all who held one before came by this lock, and so will all who take one from now on. What they have done
//! is seen after the lock, what is done before the unlock they will see. Others, who hold none, pay a full fence for each G, and
//! that is all that is left to pair with. So T1, and what else a submitter may rely on, is done under the lock then, and T2 is a full fence.
//!
//! One idle M at most is the *poller*: it waits in the netpoller until the earliest timer of all
//! Ps. The others sleep on futexes. Whoever arms an earlier timer disturbs the poller
//! (`poll_until`, the same pair of fences).
//! It leaves if it finds no P for what has come: others look at the netpoller then, and whoever gives up a P is the next one.
//! Sysmon sends one when nobody else looks.
//!
//! With fixed homes an M gives up its home together with its P, under the lists' lock: so a
//! home that is free is that of an M in the list, or of one that waits for its own coroutines only
//! (`os_thread.rs`). Whoever takes one of those from a queue brings its P along (`run_on_its_m`).

use super::g::GRef;
use super::home::{Chain, Home};
use super::lock::Spin;
use super::m::{M, Slept};
use super::p::HeldP;
use super::park;
use super::preempt::HandOver;
use super::ps::Service;
use super::runtime::Shared;
use super::sysmon;
use super::wait::Waiter;
use crate::os::clock::{self, NEVER, Nanos};
use crate::shim::asymmetric;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// For so long an idle M stays at least: sysmon, if it has had it started, looks more than once meanwhile.
const STAY_NS: Nanos = 20_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) searching: AtomicUsize,
    /// How many Ps are idle, and how many are held, in the upper half.
    counts: AtomicU64,
    /// As `lists.active`.
    active: AtomicUsize,
    pub(super) lists: Spin<Lists>,
    /// Some M is the poller.
    polling: AtomicBool,
    /// Who it is, or was; for comparison only.
    poller: AtomicPtr<M>,
    /// Until when the poller means to sleep; 0 while there is none.
    poll_until: AtomicU64,
    /// Ms asleep that are not in the list: those that wait for their own coroutines only.
    pub(crate) others_asleep: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Lists {
    /// Ps that nobody holds, by number.
    pub(super) ps: Vec<usize>,
    ms: Vec<MRef>,
    /// Ps that somebody holds.
    held: usize,
    /// How many Ps there are to be: those from here on retire when they are given up.
    pub(super) active: usize,
    /// Somebody has said how many, so that nobody else changes it.
    pub(super) by_hand: bool,
}

impl Lists {
    /// Whether an M sleeps that can be called. Not one whose home is shut: whoever calls that brings its coroutine.
    fn has_m(&self) -> bool {
        self.ms.iter().any(|m| m.0.fixed.is_none_or(|home| home.word.is_free(false)))
    }
}

#[derive(Clone, Copy)]
pub(super) struct MRef(&'static M);

impl std::fmt::Debug for MRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "M({:p})", self.0)
    }
}

impl Idle {
    /// For a runtime with room for `room` Ps, none of which is in service yet. There will be `threads` Ms at most:
    /// nothing is allocated later, because sysmon takes this lock while somebody may be suspended
    /// inside `malloc`.
    pub(crate) fn new(room: usize, threads: usize) -> Idle {
        let (ps, ms) = (Vec::with_capacity(room), Vec::with_capacity(threads));
        Idle {
            searching: AtomicUsize::new(0),
            counts: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            lists: Spin::new(Lists { ps, ms, held: 0, active: 0, by_hand: false }),
            polling: AtomicBool::new(false),
            poller: AtomicPtr::new(ptr::null_mut()),
            poll_until: AtomicU64::new(0),
            others_asleep: AtomicUsize::new(0),
        }
    }

    /// There will be `threads` Ms at most. As `new`, this allocates; and not under the lock.
    pub(crate) fn make_room(&self, threads: usize) {
        if self.lists.lock().ms.capacity() >= threads {
            return;
        }
        let mut larger = Vec::with_capacity(2 * threads);
        let mut lists = self.lists.lock();
        let outgrown = if lists.ms.capacity() < larger.capacity() {
            larger.extend_from_slice(&lists.ms);
            std::mem::replace(&mut lists.ms, larger)
        } else {
            larger
        };
        drop(lists);
        drop(outgrown);
    }

    /// How many Ps are idle.
    #[inline(always)]
    pub(crate) fn idle_ps(&self) -> u32 {
        // Relaxed: readers use it behind their fences, or as a hint. The lower half.
        self.counts.load(Ordering::Relaxed) as u32
    }

    /// How many Ps are held.
    #[inline(always)]
    pub(crate) fn held_ps(&self) -> u32 {
        // Relaxed: as above.
        (self.counts.load(Ordering::Relaxed) >> 32) as u32
    }

    /// How many Ps there are to be.
    #[inline(always)]
    pub(crate) fn active(&self) -> usize {
        // Relaxed: a hint; `lists.active` is the truth.
        self.active.load(Ordering::Relaxed)
    }

    /// How many Ps there are to be from now on.
    pub(super) fn set_active(&self, lists: &mut Lists, active: usize) {
        lists.active = active;
        // Relaxed: as above.
        self.active.store(active, Ordering::Relaxed);
    }

    fn publish(&self, lists: &Lists) {
        let counts = (lists.held as u64) << 32 | lists.ps.len() as u64;
        // Relaxed: written under the lock; for the readers see `idle_ps`.
        self.counts.store(counts, Ordering::Relaxed);
    }

    /// Whether `ms` Ms, that is all there are, are asleep.
    pub(crate) fn are_asleep(&self, ms: usize) -> bool {
        // Relaxed: whoever asks, asks twice.
        self.lists.lock().ms.len() + self.others_asleep.load(Ordering::Relaxed) == ms
    }

    /// Makes the caller the poller, unless another M is. A heavy fence must follow, or, under the lists' lock while no P is held, a full one.
    fn become_poller(&self, m: &M) -> bool {
        // Acquire: one poller at a time; the next one sees what the last one left. Release: pairs with `stop_polling`.
        let ours = !self.polling.swap(true, Ordering::AcqRel);
        if ours {
            // Relaxed: a hint.
            self.poller.store(ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
            self.announce_poll(m.rt);
        }
        ours
    }

    fn stop_polling(&self) {
        // Relaxed: nobody need be disturbed now.
        self.poll_until.store(0, Ordering::Relaxed);
        // Release: the next poller sees what we leave. Acquire, and a read-modify-write: who found us polling when it gave up its P
        // relies on us, and we see that P from here on.
        self.polling.swap(false, Ordering::AcqRel);
    }

    /// Says until when the poller will sleep.
    fn announce_poll(&self, rt: &Shared) {
        // Relaxed: ordered by the caller's fence.
        self.poll_until.store(rt.next_timer(), Ordering::Relaxed);
    }

    /// Whether somebody waits in the netpoller.
    pub(crate) fn has_poller(&self) -> bool {
        // Relaxed: a hint for sysmon.
        self.polling.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Work was queued where an idle P could take it: wake an M, unless one is searching.
    ///
    /// For those who hold a P; for all others there is [`Self::notify_without_p`].
    #[inline(always)]
    pub(crate) fn notify(&self) {
        asymmetric::light(); // S2
        self.wake_unless_searching(); // S3
    }

    /// [`Self::notify`] for those who hold no P, or may hold none.
    pub(crate) fn notify_without_p(&self) {
        asymmetric::full(); // S2
        self.wake_unless_searching(); // S3
    }

    #[inline(always)]
    fn wake_unless_searching(&self) {
        // Relaxed: ordered by the caller's fence.
        if self.idle.idle_ps() != 0 && self.idle.searching.load(Ordering::Relaxed) == 0 {
            self.wake_one();
        }
    }

    /// [`Self::notify`] without the fence, for a submitter that goes on queueing: a P that
    /// becomes idle just now is noticed the next time.
    #[inline(always)]
    pub(crate) fn notify_if_idle(&self) {
        if self.idle.idle_ps() != 0 {
            self.notify();
        }
    }

    /// Whether `p` has a timer that may be due, or descriptors may be ready.
    #[inline(always)]
    pub(crate) fn has_due(&self, p: &super::p::P) -> bool {
        p.timers.next() != NEVER || self.poller.registered() > 0
    }

    #[cold]
    pub(crate) fn wake_one(&self) {
        let idle = &self.idle;
        // AcqRel: of several submitters one wakes.
        if idle.searching.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        let mut lists = idle.lists.lock();
        let Some(p) = self.pop_p(&mut lists) else {
            // AcqRel: undone. Under the lock: whoever sees a P that is given up after this also
            // sees a count without us.
            idle.searching.fetch_sub(1, Ordering::AcqRel);
            return;
        };
        let m = self.pop_m(&mut lists);
        drop(lists);
        sysmon::wake(self);
        match m {
            Some(m) => {
                m.searching.set(true);
                m.call(Some(p));
            }
            None => {
                if !self.start_m(Some(p), true) {
                    // No thread to be had: those that run will come to the work in time.
                    self.return_p(p, true);
                }
            }
        }
    }

    /// No thread could be started for `p`, which is idle again; if `searching`, nor for a searcher.
    pub(crate) fn return_p(&self, p: HeldP, searching: bool) {
        let lists = self.give_up_p(p);
        let sleepers = lists.has_m();
        if searching {
            // AcqRel: undone.
            self.idle.searching.fetch_sub(1, Ordering::AcqRel);
        }
        drop(lists);
        if sleepers {
            // Whoever submitted meanwhile, or has gone to sleep, relied on us: T2, T3.
            asymmetric::heavy();
            if self.needs_somebody() {
                self.wake_one();
            }
        }
    }

    /// The idle M that slept last, with its home if homes are fixed. For the last P that is idle it is the poller: without a P
    /// it could only pass on what it finds.
    fn pop_m(&self, lists: &mut Lists) -> Option<&'static M> {
        // Relaxed: a hint.
        let poller = self.idle.poller.load(Ordering::Relaxed).cast_const();
        let polls = if lists.ps.is_empty() { lists.ms.iter().position(|m| ptr::eq(m.0, poller)) } else { None };
        for at in polls.into_iter().chain((0..lists.ms.len()).rev()) {
            let m = lists.ms[at].0;
            if m.fixed.is_none_or(|home| home.word.try_wear()) {
                lists.ms.remove(at);
                return Some(m);
            }
        }
        None
    }

    /// A timer was armed for `when`: the poller must not sleep longer.
    #[inline(always)]
    pub(crate) fn disturb_poller(&self, when: u64) {
        // Relaxed: ordered by the caller's fence: a light one if it holds a P, else a full one.
        if when < self.idle.poll_until.load(Ordering::Relaxed) {
            self.poller.wake();
        }
    }

    /// Wakes all idle Ms to end them.
    pub(crate) fn call_all(&self) {
        loop {
            let m = self.idle.lists.lock().ms.pop();
            match m {
                Some(m) => m.0.call(None),
                None => break,
            }
        }
    }

    /// Whether a queue that others may take from holds something, or an M waits for a P.
    pub(crate) fn has_work(&self) -> bool {
        self.has_ready_work() || !self.waiting.is_empty()
    }

    /// Whether a queue that others may take from holds something.
    pub(crate) fn has_ready_work(&self) -> bool {
        self.has_global_work() || self.ps.iter().any(|p| p.queue.has_queued())
    }

    /// Whether something waits that is in the queue of no P, or an M waits for a P.
    pub(crate) fn is_called(&self) -> bool {
        self.has_global_work() || !self.waiting.is_empty()
    }

    fn has_global_work(&self) -> bool {
        !self.injector.is_empty() || self.homes.calls_homeless()
    }

    /// Whether an idle P must not be left alone: something is queued, or nobody waits in the netpoller for what is to come.
    pub(crate) fn needs_somebody(&self) -> bool {
        self.has_work() || (!self.idle.has_poller() && self.expects_something())
    }

    /// Whether timers are armed, or descriptors registered.
    pub(crate) fn expects_something(&self) -> bool {
        self.poller.registered() > 0 || self.ps.iter().any(|p| p.timers.next() != NEVER)
    }

    /// Takes the P that was listed last out of the list of idle ones.
    fn pop_p(&self, lists: &mut Lists) -> Option<HeldP> {
        let last = lists.ps.len().checked_sub(1)?;
        Some(self.take_p(lists, last))
    }

    /// Takes the P that is at `at` out of the list of idle ones.
    pub(super) fn take_p(&self, lists: &mut Lists, at: usize) -> HeldP {
        let p = self.p(lists.ps.remove(at));
        debug_assert_eq!(p.service.get(), Service::Idle);
        let now = clock::now();
        p.service.set(Service::Held(now));
        // Whoever is called with it is expected.
        p.note_heard(now);
        lists.held += 1;
        self.idle.publish(lists);
        p
    }

    /// Puts a P that is held into the list of idle ones.
    pub(super) fn push_p(&self, lists: &mut Lists, p: HeldP) {
        self.release_p(lists, p, Service::Idle);
        lists.ps.push(p.index);
        self.idle.publish(lists);
    }

    /// A P that is held goes out of service.
    pub(super) fn retire_p(&self, lists: &mut Lists, p: HeldP) {
        self.release_p(lists, p, Service::Retired);
        p.set_holder(ptr::null());
        self.idle.publish(lists);
    }

    fn release_p(&self, lists: &mut Lists, p: HeldP, service: Service) {
        let Service::Held(since) = p.service.replace(service) else {
            crate::os::fatal("a P is given up that nobody holds")
        };
        p.note_heard(NEVER);
        p.busy_ns.set(p.busy_ns.get() + clock::now().saturating_sub(since));
        lists.held -= 1;
    }

    /// A P that was retired comes into service.
    pub(super) fn enlist_p(&self, lists: &mut Lists, p: HeldP) {
        p.service.set(Service::Idle);
        lists.ps.push(p.index);
        self.idle.publish(lists);
    }

    /// For how long `p` has been held.
    pub(super) fn busy_ns(&self, p: &super::p::P) -> Nanos {
        let _lists = self.idle.lists.lock();
        let begun = match p.service.get() {
            Service::Held(since) => clock::now().saturating_sub(since),
            Service::Idle | Service::Retired => 0,
        };
        p.busy_ns.get() + begun
    }

    /// A P that nobody holds.
    pub(crate) fn take_idle_p(&self) -> Option<HeldP> {
        let p = self.pop_p(&mut self.idle.lists.lock())?;
        sysmon::wake(self);
        Some(p)
    }

    /// The P of this number, if it is idle.
    pub(crate) fn take_idle(&self, index: usize) -> Option<HeldP> {
        let mut lists = self.idle.lists.lock();
        let at = lists.ps.iter().position(|&idle| idle == index)?;
        let p = self.take_p(&mut lists, at);
        drop(lists);
        sysmon::wake(self);
        Some(p)
    }

    /// The caller has a P that nobody needs; T1 and T2. T3 is the caller's. It must not allocate: a P that is
    /// to retire is listed as it is.
    pub(crate) fn put_idle_p(&self, p: HeldP) {
        self.push_p(&mut self.idle.lists.lock(), p);
        asymmetric::heavy();
    }

    /// The caller, which does not go to sleep by [`sleep`], has a P that nobody needs.
    pub(crate) fn give_up(&self, p: HeldP) {
        // SAFETY: the caller holds the P.
        for home in unsafe { p.local() }.spares.drain(..) {
            self.homes.push_empty(home);
        }
        // T1 to T3.
        drop(self.give_up_p(p));
        asymmetric::heavy();
        if self.needs_somebody() {
            self.wake_one();
        }
    }

    /// Sends an M that sleeps to the netpoller, although no P is idle.
    pub(crate) fn send_poller(&self) {
        // Under the lock: it does not end meanwhile.
        if let Some(m) = self.idle.lists.lock().ms.last() {
            m.0.send();
        }
    }

    /// Whether an M sleeps that can be called.
    pub(crate) fn has_idle_m(&self) -> bool {
        self.idle.lists.lock().has_m()
    }

    /// Gives `p` to an idle M. False if there is none.
    pub(crate) fn give_away(&self, p: HeldP) -> bool {
        let m = self.pop_m(&mut self.idle.lists.lock());
        if let Some(m) = m {
            m.is_sent_by_sysmon.set(true);
            m.call(Some(p));
        }
        m.is_some()
    }

    fn next_timer(&self) -> u64 {
        self.ps.iter().map(|p| p.timers.next()).min().unwrap_or(NEVER)
    }
}

/// The M begins to look into other Ps' queues. False if enough do.
pub(crate) fn start_searching(m: &M) -> bool {
    if m.searching.get() {
        return true;
    }
    let idle = &m.rt.idle;
    // Relaxed: a limit that may be overshot by one.
    if idle.searching.load(Ordering::Relaxed) * 2 >= (idle.held_ps() as usize).max(1) {
        return false;
    }
    // AcqRel: keeps the count exact with the other read-modify-writes.
    idle.searching.fetch_add(1, Ordering::AcqRel);
    m.searching.set(true);
    true
}

/// The M has found something (or gives up).
#[cold]
pub(crate) fn stop_searching(m: &M, found: bool) {
    m.searching.set(false);
    // F1, and T1 if nothing was found. AcqRel: keeps the count exact with the others.
    let before = m.rt.idle.searching.fetch_sub(1, Ordering::AcqRel);
    debug_assert!(before > 0);
    // F2, pairs with T2. Without it F3 may miss a P that was given up, while a submitter that comes after
    // that T2 still sees us in the count: then none of the three would wake anybody.
    asymmetric::light();
    // F3, ordered by the fence. Without an idle P there is nobody to wake.
    if found && before == 1 && m.rt.idle.idle_ps() != 0 {
        // A submitter may have relied on us: a T2 with a T3 that only looks.
        asymmetric::heavy();
        if m.rt.has_work() {
            m.rt.wake_one();
        }
    }
}

/// Puts the M and its P (if it has one) to sleep; returns true when it holds a P again, false
/// when it is to end.
pub(crate) fn sleep(m: &'static M) -> bool {
    // Who leaves its own home shut serves one coroutine until that brings it back, so another may be started for the rest: at
    // the limit of threads nobody else could run what it waits for.
    let shut = m.fixed.is_some_and(|home| home.shutting.get());
    if shut {
        m.rt.count_set_aside(true);
    }
    let outcome = sleep_in_list(m);
    if shut {
        m.rt.count_set_aside(false);
    }
    outcome
}

fn sleep_in_list(m: &'static M) -> bool {
    let rt = m.rt;
    let idle = &rt.idle;
    // Before the M is in the list: whoever calls it from there makes it a searcher anew.
    let searched = m.searching.replace(false);
    if let Some(p) = m.p.get() {
        // SAFETY: this M holds the P. Others may need the homes while it idles.
        for home in unsafe { p.local() }.spares.drain(..) {
            rt.homes.push_empty(home);
        }
    }
    let mut polls = false;
    let count_out = || {
        if searched {
            // T1. AcqRel: keeps the count exact with the other read-modify-writes.
            idle.searching.fetch_sub(1, Ordering::AcqRel);
        }
    };
    let (left, was_last) = {
        let (mut lists, gives_up) = match m.p.take() {
            Some(p) => (rt.give_up_p(p), true),
            None => (idle.lists.lock(), false),
        };
        let left = m.fixed.map(give_up_home);
        lists.ms.push(MRef(m));
        let was_last = gives_up && lists.held == 0;
        if was_last {
            count_out();
            polls = idle.idle_ps() != 0 && idle.become_poller(m);
        }
        (left, was_last)
    };
    rt.starter.has_m();
    if let Some(left) = left {
        left.queue(rt);
    }
    // T2, and that of `poll`.
    if was_last {
        asymmetric::full();
    } else {
        count_out();
        polls = idle.idle_ps() != 0 && idle.become_poller(m);
        // One for both: it interrupts every CPU that runs one of our threads, which costs 12 us and more where an interrupt
        // leaves a virtual machine.
        asymmetric::heavy();
    }
    let mut fenced = polls;
    if rt.is_stopping() || rt.has_work() {
        // T3. Found something, or the end: come back if we were not called meanwhile.
        if std::mem::take(&mut polls) {
            idle.stop_polling();
        }
        if let Some(ended) = come_back(m, true) {
            return ended;
        }
        // Our home is shut, or somebody else has taken the P: then it is for another M.
        rt.wake_one();
        fenced = false;
    }
    let mut sent = false;
    loop {
        // While no P is idle those who hold them look at the netpoller; sysmon sends one of us if they do not.
        if polls || ((sent || idle.idle_ps() != 0) && idle.become_poller(m)) {
            (polls, sent) = (false, false);
            let outcome = poll(m, std::mem::take(&mut fenced));
            idle.stop_polling();
            if let Some(outcome) = outcome {
                return outcome;
            }
            // Somebody may have given up a P meanwhile, and gone to sleep because we polled.
            continue;
        }
        let alone = m.fixed.is_none_or(|home| home.live() == 0);
        // Go keeps them for ever (golang/go#14592).
        let deadline = if alone { clock::now().saturating_add(rt.keep_alive_ns.max(STAY_NS)) } else { NEVER };
        let slept = m.sleep(deadline);
        if slept == Slept::Called {
            return called(m);
        }
        sent = slept == Slept::Sent;
        if sent {
            continue;
        }
        // Long idle. Nobody may call it any more once it is out of the list.
        let mut lists = idle.lists.lock();
        let in_list = lists.ms.iter().position(|other| ptr::eq(other.0, m));
        let free = m.fixed.is_none_or(|home| home.live() == 0 && home.word.try_wear());
        match in_list {
            Some(at) if free => {
                lists.ms.remove(at);
                return false;
            }
            _ => {}
        }
    }
}

/// With fixed homes, under the lists' lock: the home is free while its M is in the list. Those that waited for it
/// are queued when the lock is free again: the global queue may allocate.
#[must_use]
fn give_up_home(home: &Home) -> Chain {
    let mut left = Chain::default();
    // SAFETY: what waited in the list is ours now.
    home.leave(|g| unsafe { left.push(g) });
    left
}

/// Somebody called: with a P, or to end.
fn called(m: &'static M) -> bool {
    let p = m.answer();
    let Some(p) = p else { return false };
    m.hold(p);
    if m.is_sent_by_sysmon.take() && !m.rt.has_idle_m() {
        // Sysmon may need one again.
        m.rt.want_spare();
    }
    true
}

/// Leaves the list of idle Ms with a P, if there is one, as a searcher if it has nothing to run
/// yet. None if there is none and nobody has called; then the M goes on sleeping.
fn come_back(m: &'static M, to_search: bool) -> Option<bool> {
    let rt = m.rt;
    let idle = &rt.idle;
    let mut lists = idle.lists.lock();
    let Some(at) = lists.ms.iter().position(|other| ptr::eq(other.0, m)) else {
        // Called already, or just being called.
        drop(lists);
        m.sleep_until_called();
        return Some(called(m));
    };
    if rt.is_stopping() {
        lists.ms.remove(at);
        return Some(false);
    }
    if m.fixed.is_some_and(|home| !home.word.try_wear()) {
        // Shut: only its own coroutine brings it back. If there is work another M must do it.
        drop(lists);
        rt.notify_without_p();
        return None;
    }
    match rt.pop_p(&mut lists) {
        Some(p) => {
            lists.ms.remove(at);
            drop(lists);
            m.hold(p);
            if to_search {
                // AcqRel: as in `start_searching`.
                idle.searching.fetch_add(1, Ordering::AcqRel);
                m.searching.set(true);
            }
            sysmon::wake(rt);
            Some(true)
        }
        None => {
            let left = m.fixed.map(give_up_home);
            drop(lists);
            if let Some(left) = left {
                left.queue(rt);
            }
            None
        }
    }
}

/// Waits in the netpoller, for descriptors and for the timers of all Ps. Some: as `sleep`. None:
/// there is no P to be had for now, so those who hold them had better look themselves.
///
/// `fenced` says that there was a heavy fence since `become_poller`.
fn poll(m: &'static M, mut fenced: bool) -> Option<bool> {
    let rt = m.rt;
    let idle = &rt.idle;
    loop {
        if !std::mem::take(&mut fenced) {
            idle.announce_poll(rt);
            asymmetric::heavy(); // pairs with the light fence in `timers::arm`
        }
        // Not longer than announced. Relaxed: the poller's own.
        let until = idle.poll_until.load(Ordering::Relaxed).min(rt.next_timer());
        let mut arrived = m.arrived.take();
        if m.begin_polling() {
            rt.note_poll();
            rt.poller.poll(until, &mut |waiter| arrived.push(waiter));
            rt.note_poll();
            m.end_polling();
        }
        // Relaxed: nobody need be disturbed now; the timers are looked at below.
        idle.poll_until.store(0, Ordering::Relaxed);
        let nothing = arrived.is_empty() && rt.next_timer() > clock::now();
        if nothing && !m.is_called() && !rt.is_stopping() {
            m.arrived.set(arrived);
            if rt.has_work()
                && let Some(outcome) = come_back(m, true)
            {
                return Some(outcome);
            }
            continue;
        }
        let outcome = if m.is_called() { Some(called(m)) } else { come_back(m, nothing) };
        let mut count = 0;
        let mut ready = |waiter: Waiter| {
            count += 1;
            match m.p.get() {
                // SAFETY: claimed and not readied yet; this M holds the P.
                Some(p) => unsafe { park::ready_claimed(rt, p, waiter) },
                // SAFETY: claimed and not readied yet.
                None => unsafe { waiter.ready() },
            }
        };
        arrived.drain(..).for_each(&mut ready);
        m.arrived.set(arrived);
        for p in rt.ps.iter() {
            p.timers.run_due(clock::now, &mut ready);
        }
        // Without a P each has been announced by itself.
        // SAFETY: this M holds the P, if it has one.
        if count > 1 && m.p.get().is_some_and(|p| unsafe { p.local() }.wants_help(p.queue.len())) {
            rt.notify();
        }
        // None: all Ps are busy, and have been given the work.
        return outcome;
    }
}

/// The M ends while it holds a P.
pub(crate) fn leave(m: &'static M) {
    if m.searching.get() {
        stop_searching(m, false);
    }
    if let Some(p) = m.p.take() {
        m.rt.push_p(&mut m.rt.idle.lists.lock(), p);
    }
}

/// `m` has taken `g` from a queue and worn its home, which is bound to another M: that M gets both, and
/// `m`'s P, as soon as `m` is on g0.
#[cold]
pub(crate) fn run_on_its_m(m: &'static M, home: &'static Home, g: GRef) {
    // SAFETY: the M to which a home is bound does not end while somebody lives there, and `g` does.
    let to: &'static M = unsafe { &*home.bound_to() };
    if m.fixed.is_some() {
        // If its M was idle, the list has it: nobody but us, who wear the home, may call it from there.
        let mut lists = m.rt.idle.lists.lock();
        if let Some(at) = lists.ms.iter().position(|other| ptr::eq(other.0, to)) {
            lists.ms.remove(at);
        }
    }
    debug_assert!(m.hand_over.get().is_none());
    m.hand_over.set(Some(HandOver::Home(to, g)));
    m.restricted.set(true);
}

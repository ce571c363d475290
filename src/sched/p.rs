//! A P: the right to run coroutines, with the queues and caches that go with it.
//!
//! A P is held by one M at a time. Its *local* part is touched by that M only; the rest is what
//! others may look at or steal from.

use super::g::GRef;
use super::gpool::GCache;
use super::home::{Home, Settling};
use super::m::M;
use super::preempt;
use super::ps::Service;
use super::runq::{self, RunQueue};
use super::runtime::Shared;
use super::steal::Visit;
use super::timers::Timers;
use crate::os::clock::{self, NEVER, Nanos};
use crate::shim::asymmetric;
use crate::stack;
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Every so many picks the global queue and the timers come first, so that neither can be
/// starved by a busy local queue.
const GLOBAL_EVERY: u32 = 61;
/// Empty homes that a P keeps for itself at most.
pub(crate) const SPARES_MOST: usize = 16;
/// Where one look at the netpoller finds so many, there is much to do.
pub(crate) const LARGE_BATCH: usize = 8;
/// Every so many picks the clock is read even if hardly anything is queued.
const CLOCK_EVERY: u32 = 16 * GLOBAL_EVERY;
/// After so long its holder says again that it goes on.
const SAY_NS: Nanos = 500_000;
/// `next` in a row between looks at the clock.
const CHAIN: u32 = 64;
/// Turns that last no longer, on average, are quick.
const QUICK_TURN_NS: Nanos = 50_000;

/// What is queued is worth a second thread if it would take this one so long: four times the CPU time that it costs to wake one, let it
/// search and steal, and go to sleep again, where interrupts leave a virtual machine.
const WORTH_HELP_NS: Nanos = 500_000;
/// A turn, as long as nothing is known of it: two are worth help.
const UNKNOWN_TURN_NS: Nanos = WORTH_HELP_NS / 2;

/// Whether so many turns, in so long, were quick.
pub(crate) fn are_quick(turns: u32, length: Nanos) -> bool {
    Nanos::from(turns) * QUICK_TURN_NS >= length
}

/// See the module.
#[repr(align(128))]
pub(crate) struct P {
    pub(crate) index: usize,
    pub(crate) queue: RunQueue,
    /// Counts picks; written by the holder. A P whose tick stands still has been on one G.
    pub(crate) tick: AtomicU32,
    /// The tick with which a suspended coroutine last went on here: if it still stands, asking that one to yield is in
    /// vain.
    resumed: AtomicU32,
    /// The coroutine that runs should yield at its next call into the runtime.
    pub(crate) yield_soon: AtomicBool,
    /// The coroutine in its `next` slot has been there for long: others may take it.
    pub(crate) stuck: AtomicBool,
    pub(crate) timers: Timers,
    /// Coroutines that were spawned by, and that ended on, this P. Written by the holder.
    pub(crate) spawned: AtomicU64,
    pub(crate) ended: AtomicU64,
    /// The M that took it last; null while it is retired.
    holder: AtomicPtr<M>,
    /// What it is doing, and for how long it has been held before that. Under the lock of the idle lists.
    pub(super) service: Cell<Service>,
    pub(super) busy_ns: Cell<Nanos>,
    /// When its holder was last heard of; [`NEVER`] while it has none.
    heard: AtomicU64,
    local: UnsafeCell<Local>,
}

// SAFETY: `local` is touched only by the M that holds the P (see `P::local`), `service` and `busy_ns` only
// by who has the lock of the idle lists; the rest is atomic or stealers.
unsafe impl Sync for P {}
// SAFETY: as above.
unsafe impl Send for P {}

/// What only the holder touches.
pub(crate) struct Local {
    pub(crate) stacks: stack::Cache,
    pub(crate) records: GCache,
    /// Empty homes, worn, for the next fresh coroutines that need one.
    pub(crate) spares: Vec<&'static Home>,
    /// Where coroutines that have to share a home come to live at present.
    pub(crate) settling: Option<Settling>,
    pub(crate) random: u64,
    /// Of `steal.rs`: scratch space, and a memory.
    pub(super) loot: Vec<GRef>,
    pub(super) visit: Visit,
    /// How many the last look at the netpoller has found.
    pub(super) batch: usize,
    /// Since when turn came after turn, and the tick then; 0 if nothing was queued the last time.
    turns_since: (Nanos, u32),
    /// How long a turn takes of late, on average.
    turn_ns: Nanos,
    /// When its holder says again that it goes on.
    says_at: Nanos,
    /// Until then the CPU is not left to other threads for a turn.
    pub(super) keeps_cpu_until: Nanos,
    /// Picks from `runnext` in a row, and when the clock was first read in this row.
    chain: u32,
    /// Chains that were ended.
    slices: u32,
    chain_since: Nanos,
    /// When the oldest fresh coroutine last had its turn.
    oldest_since: Nanos,
    /// Coroutine numbers left from the block that was drawn.
    ids: std::ops::Range<u64>,
}

impl P {
    pub(crate) fn new(index: usize, stack_class: stack::Class) -> P {
        P {
            index,
            queue: RunQueue::new(),
            tick: AtomicU32::new(0),
            resumed: AtomicU32::new(0),
            yield_soon: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            timers: Timers::new(),
            spawned: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            holder: AtomicPtr::new(ptr::null_mut()),
            service: Cell::new(Service::Retired),
            busy_ns: Cell::new(0),
            heard: AtomicU64::new(NEVER),
            local: UnsafeCell::new(Local {
                stacks: stack::Cache::with_hot_class(stack_class),
                records: GCache::new(),
                spares: Vec::with_capacity(SPARES_MOST),
                settling: None,
                random: 0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95),
                loot: Vec::new(),
                batch: 0,
                turns_since: (0, 0),
                turn_ns: UNKNOWN_TURN_NS,
                visit: Visit::default(),
                says_at: 0,
                keeps_cpu_until: 0,
                chain: 0,
                slices: 0,
                chain_since: 0,
                oldest_since: 0,
                ids: 0..0,
            }),
        }
    }

    /// The M that took it last, unless it has retired since; perhaps that M has given it up, or has ended.
    pub(crate) fn holder(&self) -> *const M {
        // Relaxed: only compared, with null and with Ms that are there.
        self.holder.load(Ordering::Relaxed)
    }

    /// `m` takes it; with null, it retires.
    pub(crate) fn set_holder(&self, m: *const M) {
        // Relaxed: as above.
        self.holder.store(m.cast_mut(), Ordering::Relaxed);
    }

    /// When its holder was last heard of; a time to come if it has none.
    pub(crate) fn heard(&self) -> Nanos {
        // Relaxed: a sign of life.
        self.heard.load(Ordering::Relaxed)
    }

    /// Its holder is there; with [`NEVER`], that it gives the P up.
    pub(super) fn note_heard(&self, now: Nanos) {
        // Relaxed: as above.
        self.heard.store(now, Ordering::Relaxed);
    }

    /// # Safety
    /// The calling M holds this P, and no other reference from this method is in use.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the holder of a P is alone with its local part")]
    pub(crate) unsafe fn local(&self) -> &mut Local {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.local.get() }
    }

    /// The holder goes on, at `now`: sysmon need not come for it.
    ///
    /// # Safety
    /// The calling M holds this P.
    #[inline(always)]
    pub(super) unsafe fn goes_on(&self, rt: &Shared, now: Nanos) {
        // SAFETY: the caller's promise.
        let says_at = unsafe { &mut self.local().says_at };
        if now >= *says_at {
            *says_at = now + SAY_NS;
            self.note_heard(now);
            super::sysmon::put_off(rt, now);
        }
    }

    /// Counts a pick: something else than before runs here from now on. For the holder.
    #[inline(always)]
    pub(crate) fn count_pick(&self) -> u32 {
        // Relaxed: written by the holder only; sysmon reads it as a sign of life.
        let tick = self.tick.load(Ordering::Relaxed).wrapping_add(1);
        self.tick.store(tick, Ordering::Relaxed);
        tick
    }

    /// A suspended coroutine goes on here. For the holder.
    pub(crate) fn count_resumption(&self) {
        // Relaxed: a hint for sysmon.
        self.resumed.store(self.count_pick(), Ordering::Relaxed);
    }

    /// Whether what runs since `tick` was suspended before.
    pub(crate) fn was_resumed_at(&self, tick: u32) -> bool {
        // Relaxed: as above.
        self.resumed.load(Ordering::Relaxed) == tick
    }

    /// The next coroutine of this P's own, if it has one. None also if the M is to hand the P over.
    ///
    /// # Safety
    /// The calling M holds this P.
    #[inline(always)]
    pub(crate) unsafe fn pick(&self, rt: &Shared) -> Option<GRef> {
        let tick = self.count_pick();
        if tick.is_multiple_of(GLOBAL_EVERY) {
            // SAFETY: the caller's promise.
            if let Some(g) = unsafe { self.housekeep(rt, tick) } {
                return Some(g);
            }
            if preempt::is_due(rt, self) {
                return None;
            }
        }
        // SAFETY: the caller's promise.
        let (g, from) = unsafe { self.queue.pop(false) }?;
        // SAFETY: as above.
        let local = unsafe { self.local() };
        if from == runq::From::Queue {
            local.chain = 0;
            return Some(g);
        }
        local.chain += 1;
        if local.chain % CHAIN != 0 || !local.slice_is_over(rt) {
            return Some(g);
        }
        // The chain has used up its slice: to the tail with it. A fresh one gets every second
        // slice.
        local.chain = 0;
        local.slices = local.slices.wrapping_add(1);
        let oldest = local.slices.is_multiple_of(2);
        // SAFETY: as above; `g` is ours.
        unsafe { self.queue.push_ready(g) };
        // SAFETY: as above.
        unsafe { self.queue.pop(oldest) }.map(|(g, _)| g)
    }

    /// As [`Self::pick`] for a coroutine that yields: it goes to the tail if there is another.
    ///
    /// # Safety
    /// The calling M holds this P; `g` is the caller's to queue.
    #[inline(always)]
    pub(crate) unsafe fn rotate(&self, rt: &Shared, g: GRef) -> Option<GRef> {
        let tick = self.count_pick();
        if tick.is_multiple_of(GLOBAL_EVERY) {
            // SAFETY: the caller's promise.
            if let Some(other) = unsafe { self.housekeep(rt, tick) } {
                // SAFETY: the caller's promise.
                unsafe { self.queue.push_ready(g) };
                return Some(other);
            }
            if preempt::is_due(rt, self) {
                return None;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.queue.rotate(g) }
    }

    /// What must not wait for ever behind local work.
    #[cold]
    unsafe fn housekeep(&self, rt: &Shared, tick: u32) -> Option<GRef> {
        // Relaxed: a request that is missed now is seen at the next call.
        self.yield_soon.store(false, Ordering::Relaxed);
        if tick.is_multiple_of(CLOCK_EVERY) {
            // SAFETY: the caller's promise.
            unsafe { self.goes_on(rt, clock::now()) };
        }
        // While nobody waits in the netpoller: who has always something to run would not come to it.
        super::find::glance(rt, self, !rt.idle.has_poller());
        if rt.homes.calls_homeless() {
            // SAFETY: the caller's promise; what waits for a home is fresh, and ours now.
            rt.homes.take_homeless(|g| unsafe { self.queue.push_fresh(g) });
        }
        // A batch: one at a time would starve them behind those that have not run (a million sleepers woke up four seconds late).
        // SAFETY: the caller's promise.
        if let Some(g) = unsafe { self.take_injected(rt) } {
            return Some(g);
        }
        if self.queue.len() < 2 {
            return None;
        }
        let now = clock::now();
        // SAFETY: the caller's promise.
        unsafe { self.goes_on(rt, now) };
        // SAFETY: the caller's promise.
        if let Some(g) = unsafe { self.visit_if_due(&rt.ps, now) } {
            return Some(g);
        }
        // Under young ones that beget younger ones the oldest would never run.
        // SAFETY: the caller's promise.
        let local = unsafe { self.local() };
        if now - local.oldest_since < rt.slice_ns {
            return None;
        }
        local.oldest_since = now;
        // SAFETY: the caller's promise.
        unsafe { self.queue.pop_oldest() }
    }

    /// Takes a batch from the global queue.
    ///
    /// # Safety
    /// The calling M holds this P.
    pub(crate) unsafe fn take_injected(&self, rt: &Shared) -> Option<GRef> {
        // A fair share, and not too much for a coroutine behind it that somebody else would run
        // sooner (Go's rule, runtime/proc.go, globrunqget).
        let share = (rt.injector.len() / rt.procs() + 1).min(64);
        let first = rt.steal_injected_one()?;
        for _ in 1..share {
            let Some(g) = rt.steal_injected_one() else { break };
            // SAFETY: the caller's promise; `g` came out of the global queue.
            unsafe { if g.is_fresh() { self.queue.push_fresh(g) } else { self.queue.push_ready(g) } };
        }
        if self.queue.has_queued() {
            // On their way from there to here a searcher may have missed them.
            rt.notify();
        }
        Some(first)
    }

    /// A number for a new coroutine.
    ///
    /// # Safety
    /// The calling M holds this P.
    #[inline(always)]
    pub(crate) unsafe fn next_id(&self) -> u64 {
        // SAFETY: the caller's promise.
        let local = unsafe { self.local() };
        match local.ids.next() {
            Some(id) => id,
            None => {
                local.ids = super::spawn::draw_ids(1024);
                local.ids.next().expect("just drawn")
            }
        }
    }

    /// Leaves nothing on this P: its coroutines are queued for all, its timers become those of P 0, which never
    /// retires, and its caches are given back. The caller looks at the queues afterwards.
    ///
    /// # Safety
    /// The calling thread holds this P.
    pub(crate) unsafe fn empty(&self, rt: &Shared) {
        debug_assert_ne!(self.index, 0, "P 0 retires");
        // SAFETY: the caller's promise. What comes out of the queue is ours to queue.
        unsafe { self.queue.take_all(|g| rt.inject_quietly(g)) };
        if let Some(first) = self.timers.move_to(&rt.ps.get(0).timers) {
            // As in `timers::arm`.
            asymmetric::light();
            rt.disturb_poller(first);
        }
        // SAFETY: the caller's promise.
        unsafe { self.end(rt) };
    }

    /// Gives back what the caches hold.
    ///
    /// # Safety
    /// The calling thread holds this P, or nobody is left who could.
    pub(crate) unsafe fn end(&self, rt: &Shared) {
        // SAFETY: the caller's promise.
        let local = unsafe { self.local() };
        local.stacks.drain(&rt.stacks);
        local.records.drain();
        local.settling = None;
        for home in local.spares.drain(..) {
            rt.homes.push_empty(home);
        }
    }

    /// Counts one of the P's own statistics up.
    #[inline(always)]
    pub(crate) fn count(counter: &AtomicU64) {
        // Relaxed: the holder is the only writer. Release: whoever sees an end counted sees what came before it, its spawn
        // above all (`Shared::live`).
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

impl Local {
    /// A look at the netpoller, at `now` and this tick, has found so many, and so many are queued now.
    pub(crate) fn note_batch(&mut self, batch: usize, queued: usize, tick: u32, now: Nanos) {
        self.batch = batch;
        let since = if queued > 0 { (now, tick) } else { (0, 0) };
        let (then, their) = std::mem::replace(&mut self.turns_since, since);
        if then != 0 {
            // The last pick found nothing, or has not run yet.
            let turns = tick.wrapping_sub(their).saturating_sub(1).max(1);
            // One that has lost the CPU for a moment has not become slow by that.
            let mean = ((now - then) / Nanos::from(turns)).min(4 * self.turn_ns);
            self.turn_ns = ((3 * self.turn_ns + mean) / 4).max(1_000);
        }
    }

    /// Somebody takes the P, and has something to run.
    pub(crate) fn begin_turns(&mut self, tick: u32, now: Nanos) {
        self.turns_since = (now, tick);
    }

    /// Whether others had better take some of so many that are queued here. A second thread costs more than a few quick turns are worth.
    /// (If they turn out to be slow sysmon sends somebody.)
    pub(crate) fn wants_help(&self, queued: usize) -> bool {
        queued > 1 && queued as Nanos * self.turn_ns >= WORTH_HELP_NS
    }

    /// Whether a row of `runnext` picks has lasted longer than a time slice.
    #[cold]
    fn slice_is_over(&mut self, rt: &Shared) -> bool {
        let now = clock::now();
        if self.chain == CHAIN {
            // The first look of this chain.
            self.chain_since = now;
        }
        now - self.chain_since > rt.slice_ns
    }
}

/// A P that its M may use without further ado; see [`M::with_p`].
pub(crate) type HeldP = &'static P;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_wanted_for_what_would_take_long() {
        let p = P::new(0, stack::Class::of(0).unwrap());
        // SAFETY: nobody else has it.
        let local = unsafe { p.local() };
        let (mut tick, mut now) = (0, 1);
        // A P is taken for so many turns, and then there are only picks that find nothing, and looks.
        let mut burst = |local: &mut Local, turns: u32, turn_ns: Nanos| {
            local.begin_turns(tick, now);
            tick += turns + 1;
            now += Nanos::from(turns) * turn_ns;
            for batch in [3, 0] {
                local.note_batch(batch, 0, tick, now);
                assert_eq!(local.batch, batch);
                tick += 2;
                now += 1_000_000;
            }
        };
        let limit = |local: &Local| (0..1_000).find(|&queued| local.wants_help(queued)).unwrap();
        // Nothing is known yet.
        assert_eq!(limit(local), 2);
        // Quick turns, few or many.
        for turns in [20, 1] {
            (0..40).for_each(|_| burst(local, turns, 10_000));
            assert!((49..=51).contains(&limit(local)), "{}", limit(local));
        }
        // One that lost the CPU.
        burst(local, 1, 4_000_000);
        assert!((28..=29).contains(&limit(local)), "{}", limit(local));
        // They become slow, and quick again while others wait.
        (0..10).for_each(|_| burst(local, 2, 400_000));
        assert_eq!(limit(local), 2);
        local.begin_turns(tick, now);
        for _ in 0..40 {
            tick += 61;
            now += 61 * 10_000;
            local.note_batch(5, 100, tick, now);
        }
        assert!((48..=50).contains(&limit(local)), "{}", limit(local));
    }
}

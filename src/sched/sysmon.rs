//! The system monitor: one thread per process that looks after what nobody else will.
//!
//! - A coroutine in a `next` slot whose P goes on computing while another P is idle: taken
//!   out after 50 µs and queued for everybody. (Whoever readies into the slot asks for this by
//!   [`watch_slots`], one flag, so that waking nobody for a hand-over stays the rule.)
//! - A P that has been on one coroutine for a time slice while others wait for it, or for a
//!   millisecond while something has become ready: its coroutine is asked to yield at its next call
//!   into the runtime, and if that does not help its thread is suspended (`preempt.rs`).
//! - Ps of Ms that are suspended, or blocked in the kernel.
//! - Descriptors and timers, if nobody has looked at them for long: all Ps are busy, or none
//!   of the idle Ms is the poller.
//! - Memory of stacks that have not been needed for a while.
//! - A process in which nothing can ever run again: `deadlock.rs`.
//!
//! While somebody is suspended, perhaps inside `malloc`, it neither allocates nor waits for a lock that is held by
//! somebody who may: the Ms that it sends to work do the rest, and the starter of the runtime that needs it (`starter.rs`).
//! That may be another runtime than the one with the hogs, which may last for ever.
//!
//! # How often it looks
//!
//! - Without limit later when no P is busy.
//! - Every two milliseconds while one is, if nobody may put that off.
//! - When somebody who holds a P has not been heard of for four, if nothing else needs it: whoever goes on quickly puts the
//!   next look off ([`put_off`]), while all the others do so as well, until twenty milliseconds after the last one. (A look costs a thread's
//!   wake-up, and where all CPUs are busy somebody's turn: 35 us of CPU on a virtual machine, whatever it does, since nothing that it
//!   needs is in the cache; to put it off costs one. A busy echo server lost up to a twentieth of its CPU time to looks.)
//! - Every millisecond while turns are long where others wait; once sooner, when somebody is found silent.
//! - After 50 µs, 100 µs and so on, when it is asked to watch; and not again, if that is for slots that were not stuck, before
//!   its ordinary time has come: who readies into the slot over and over is not watched all the time.
//! - When something is queued globally while no P is idle, if it has seen one that is lent.
//! - After 50 µs, some times, when it has asked a coroutine to yield or to be suspended.
//!
//! It asks the kernel for short slices of the CPU (`os/priority.rs`): else, where all CPUs are busy, it comes up to three
//! milliseconds too late.

use super::adapt::{Course, Machine, Share};
use super::deadlock;
use super::p::{self, P};
use super::preempt::{self, Attended, Pin, Why};
use super::runtime::Shared;
use super::snooze::Snooze;
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::timerfd::Timer;
use crate::shim::asymmetric;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};

/// Before the first look at a `next` slot that may be stuck; twice as long before each further one.
const WATCH_NS: Nanos = 50_000;
/// A coroutine that has run for so long lets those run that become ready.
const WAKE_NS: Nanos = 1_000_000;
/// Between looks while turns are long.
const BUSY_NS: Nanos = 1_000_000;
/// Between looks while all who are busy go on quickly.
const QUICK_NS: Nanos = 2 * BUSY_NS;
/// If they say so themselves: after a holder of a P was last heard of.
const SILENT_NS: Nanos = 4 * BUSY_NS;
/// Who takes quick turns is heard of sooner: it says so every half millisecond, at the next 61st pick.
const HEARD_NS: Nanos = SILENT_NS - WAKE_NS;
/// A look is put off if it would come so soon, ...
const PUT_OFF_NS: Nanos = SILENT_NS / 2;
/// ... until so long after the last one.
const PUT_OFF_MOST: Nanos = 20 * BUSY_NS;
/// It looks again so long after it has found somebody silent, who may have lost the CPU.
const AGAIN_NS: Nanos = WAKE_NS / 4;
/// Looks at an idle process before the sleep without limit.
const IDLE_LOOKS: u32 = 8;
/// After this long without a look at the netpoller sysmon looks itself.
const POLL_NS: Nanos = 10_000_000;
/// So often an M is asked in quick succession.
const QUICK_ASKS: u32 = 2 * preempt::LIBC_MOST;
/// Of the CPU, at a time.
const SLICE_NS: Nanos = 100_000;
/// How often memory of stacks that nobody has needed for long is given back.
const SCAVENGE_NS: Nanos = 1_000_000_000;
/// How often those who wait for a home before they can begin try again, however often it looks: each time costs a wake-up.
const CALL_NS: Nanos = 1_000_000;
/// How often those who wait for a stack try again.
const FEED_NS: Nanos = 10_000_000;
/// A timer that is this late has nobody who looks after it.
const LATE_NS: Nanos = 1_000_000;

/// Chores, see [`tend`]: `next` slots that are stuck.
const STUCK: u32 = 1;
/// Ps that must be made or emptied.
const ERRAND: u32 = 2;
/// Memory of stacks, once a second; and what was left of that.
const SCAVENGE: u32 = 4;
const SCAVENGE_ON: u32 = 8;
/// Coroutines that wait for a stack.
const FEED: u32 = 16;

/// Why somebody wants quick looks.
static WATCHING: AtomicU32 = AtomicU32::new(NOTHING);
/// Some Ps are lent, as far as the last look could tell.
static ANY_LENT: AtomicBool = AtomicBool::new(false);
const NOTHING: u32 = 0;
/// At `next` slots.
const SLOTS: u32 = 1;
/// At a P that was lent.
const LENT: u32 = 2;
/// 0: awake or in a short sleep that need not be cut; 1: in a sleep that may be cut; 2: deep.
static SLEEP: AtomicU32 = AtomicU32::new(AWAKE);
const AWAKE: u32 = 0;
const SHORT: u32 = 1;
const DEEP: u32 = 2;

/// What it sleeps on.
static BED: OnceLock<Snooze> = OnceLock::new();
/// The runtime of those who may put the next look off: as far as the last look could tell nothing else needs it. Null while nobody may.
static PUT_OFF_BY: AtomicPtr<Shared> = AtomicPtr::new(ptr::null_mut());
/// When the next look is, and until when it may be put off.
static NEXT_LOOK: AtomicU64 = AtomicU64::new(0);
static NOT_LATER: AtomicU64 = AtomicU64::new(0);

static RUNTIMES: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

/// A runtime, and what sysmon remembers of it. Made with the runtime: sysmon may not allocate when it
/// sees it first.
struct Registered {
    rt: &'static Shared,
    memory: Memory,
}

/// For others than sysmon, in a section in which they are not suspended. As long as they have it they neither allocate nor free:
/// who is suspended may hold a lock of `malloc`, and sysmon, which is to let him go on, goes through this list.
fn runtimes(_: &Pin) -> std::sync::MutexGuard<'static, Vec<Registered>> {
    RUNTIMES.lock().unwrap_or_else(|e| e.into_inner())
}

/// For sysmon: None if somebody else looks at them just now.
fn try_runtimes() -> Option<std::sync::MutexGuard<'static, Vec<Registered>>> {
    match RUNTIMES.try_lock() {
        Ok(runtimes) => Some(runtimes),
        Err(TryLockError::Poisoned(runtimes)) => Some(runtimes.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Begins to look after `rt`.
pub(crate) fn register(rt: &'static Shared) -> io::Result<()> {
    start()?;
    let mut registered = Some(Registered { rt, memory: Memory::new(rt) });
    let mut larger = Vec::new();
    while registered.is_some() {
        let count = runtimes(&Pin::new()).len();
        // Outside the lock (in one expression with the above it would not be), and so is the drop of what was replaced, which is in
        // `larger` then.
        larger.reserve(2 * count + 1);
        let pin = Pin::new();
        let mut runtimes = runtimes(&pin);
        if runtimes.len() == runtimes.capacity() && runtimes.len() < larger.capacity() {
            larger.append(&mut runtimes);
            std::mem::swap(&mut larger, &mut runtimes);
        }
        if runtimes.len() < runtimes.capacity() {
            runtimes.extend(registered.take());
        }
    }
    Ok(())
}

/// Starts sysmon, if that has not been done.
fn start() -> io::Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(|e| e.into_inner());
    if !*started && !cfg!(miri) {
        if BED.get().is_none() {
            let _ = BED.set(Snooze::new(Timer::new()?));
        }
        let _blocked = crate::os::signal::SignalsBlocked::new();
        std::thread::Builder::new().name("gort-sysmon".into()).stack_size(128 * 1024).spawn(main)?;
        *started = true;
        deadlock::thread_began();
    }
    Ok(())
}

/// Stops looking after `rt`; when this returns sysmon does not touch it any more.
pub(crate) fn unregister(rt: &'static Shared) {
    let forgotten = {
        let pin = Pin::new();
        let mut runtimes = runtimes(&pin);
        let at = runtimes.iter().position(|other| ptr::eq(other.rt, rt));
        at.map(|at| runtimes.remove(at))
    };
    drop(forgotten);
}

/// Asks for quick looks at `next` slots.
#[inline(always)]
pub(crate) fn watch_slots() {
    // Relaxed: a request; sysmon comes by in any case.
    if WATCHING.load(Ordering::Relaxed) == NOTHING {
        watch_slow(SLOTS);
    }
}

/// Asks for quick looks at a P that was lent.
#[inline(always)]
pub(crate) fn watch_lent() {
    // Relaxed: as above.
    if WATCHING.load(Ordering::Relaxed) != LENT {
        watch_slow(LENT);
    }
}

#[cold]
fn watch_slow(what: u32) {
    // Relaxed: as above; of several one cuts the sleep.
    if WATCHING.fetch_max(what, Ordering::Relaxed) < what {
        cut_short(SHORT);
    }
}

/// Something was queued globally, and no P is idle: one that is lent will do.
pub(crate) fn has_injected() {
    // Relaxed: a hint; sysmon comes by in any case.
    if ANY_LENT.load(Ordering::Relaxed) {
        poke();
    }
}

/// No more quick looks, unless there is a new reason.
fn has_watched(what: u32) {
    // Relaxed: a request.
    let _ = WATCHING.compare_exchange(what, NOTHING, Ordering::Relaxed, Ordering::Relaxed);
}

/// There is something to do for it at once. Async-signal-safe.
pub(crate) fn poke() {
    cut_short(SHORT);
}

/// A P of `rt` becomes busy: sysmon must not be in its sleep without limit.
pub(crate) fn wake(rt: &Shared) {
    asymmetric::light(); // pairs with the heavy fence in `sleep`
    // Relaxed: ordered by the fence.
    if SLEEP.load(Ordering::Relaxed) == DEEP {
        cut_short(DEEP);
    }
    let by = PUT_OFF_BY.load(Ordering::Relaxed);
    if !by.is_null() && !ptr::eq(by, rt) {
        // Those others do not speak for us. Relaxed, both: if the two miss each other a look is put off for `PUT_OFF_MOST` at most.
        PUT_OFF_BY.store(ptr::null_mut(), Ordering::Relaxed);
    }
}

/// Somebody who holds a P of `rt` goes on quickly, and so do all the others if they were heard of lately: the next look is put off.
#[cold]
pub(crate) fn put_off(rt: &Shared, now: Nanos) {
    // Relaxed, here and below: hints. What sysmon has to come for in time is in `may`, after the timer was set.
    let may = || ptr::eq(PUT_OFF_BY.load(Ordering::Relaxed), rt) && SLEEP.load(Ordering::Relaxed) == SHORT;
    let next = NEXT_LOOK.load(Ordering::Relaxed);
    if next > now + PUT_OFF_NS || !may() || !rt.waiting.is_empty() || rt.homes.has_homeless() || rt.is_starved() {
        return;
    }
    let heard = rt.ps.iter().map(P::heard).fold(now, Nanos::min);
    let until = (heard + SILENT_NS).min(NOT_LATER.load(Ordering::Relaxed)).min(orphaned_timer(rt));
    if until > next && NEXT_LOOK.compare_exchange(next, until, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        BED.get().expect("sysmon sleeps on it").put_off(until, may);
    }
}

#[cold]
fn cut_short(at_least: u32) {
    // Relaxed: a hint; before a deep sleep the caller's fence orders it.
    if SLEEP.load(Ordering::Relaxed) >= at_least {
        // Release: nothing to publish, but keep it after the caller's request.
        SLEEP.store(AWAKE, Ordering::Release);
        BED.get().expect("sysmon sleeps on it").wake(&SLEEP);
    }
}

/// What sysmon remembers of a P from look to look.
#[derive(Clone, Copy, Default)]
struct Seen {
    tick: u32,
    since: Nanos,
    had_next: bool,
    /// Its turns before this one were quick: it may well be that its thread has lost the CPU.
    was_quick: bool,
    /// At so many looks in a row its turns were slow, and something was queued.
    slow_looks: u32,
    /// Its coroutine has been asked to yield.
    flagged: bool,
    /// How often its M has been asked to suspend itself since.
    asks: u32,
    /// When it was last asked whether it is blocked.
    probed: Nanos,
    /// So has who holds it, since it is to go out of service.
    retiring: bool,
}

impl Seen {
    /// Whether its coroutines have changed since the look before, as the look at `now` found.
    fn goes_on(&self, now: Nanos) -> bool {
        self.since == now
    }
}

/// What sysmon remembers of a runtime.
struct Memory {
    looked: Nanos,
    /// Of the Ps that have been made; there is room for all that may be.
    ps: Vec<Seen>,
    polls: u64,
    polled: Nanos,
    scavenged: Nanos,
    fed: Nanos,
    called: Nanos,
    /// Chores that are not done yet.
    left: u32,
    course: Course,
    share: Share,
}

impl Memory {
    fn new(rt: &Shared) -> Memory {
        let ps = Vec::with_capacity(rt.ps.room());
        let (course, share) = (Course::default(), Share::default());
        Memory { looked: 0, ps, polls: 0, polled: 0, scavenged: 0, fed: 0, called: 0, left: 0, course, share }
    }
}

/// When sysmon is to come back.
#[derive(Default)]
struct Soon {
    /// A `next` slot was stuck: at once, since there may be more.
    stuck: bool,
    /// Somebody was asked to yield: at once.
    once: bool,
    /// A P is lent: when there is work for it.
    lent: bool,
    /// Turns are long where others wait.
    slow: bool,
    /// Of those somebody who was to be heard of before.
    silent: bool,
    /// Somebody who holds a P has not taken many turns: perhaps it is idle now and then, perhaps it is on a long one.
    unsure: bool,
    /// Something is left that it has to go on with.
    left: bool,
}

fn main() {
    // It has little to do, but that matters most when all CPUs are busy.
    crate::os::priority::set_slice(SLICE_NS);
    let mut machine = Machine::new();
    // How long it sleeps between looks, if it watches; whether it has just watched slots.
    let (mut watch, mut rests) = (0, false);
    let mut idle_looks = 0;
    let mut suspects = None;
    loop {
        let mut busy = false;
        let mut soon = Soon::default();
        let (mut next_timer, mut next_orphan, mut heard) = (NEVER, NEVER, NEVER);
        let mut alone = None;
        let Some(mut runtimes) = try_runtimes() else {
            sleep(SHORT, clock::now() + WATCH_NS);
            continue;
        };
        {
            preempt::revoke(runtimes.iter().map(|registered| registered.rt));
            let now = clock::now();
            machine.look(now);
            let only = runtimes.len() == 1;
            for Registered { rt, memory } in runtimes.iter_mut() {
                let needs = needs_looks(rt);
                if only || needs {
                    // Two of them do not know of each other.
                    alone = if busy { None } else { Some(ptr::from_ref(*rt)) };
                }
                busy |= needs;
                let theirs = look(rt, memory, &machine, now);
                soon.stuck |= theirs.stuck;
                soon.once |= theirs.once;
                soon.lent |= theirs.lent;
                soon.slow |= theirs.slow;
                soon.silent |= theirs.silent;
                soon.unsure |= theirs.unsure;
                soon.left |= theirs.left;
                next_timer = rt.ps.iter().map(|p| p.timers.next()).fold(next_timer, Nanos::min);
                next_orphan = next_orphan.min(orphaned_timer(rt));
                heard = rt.ps.iter().map(P::heard).fold(heard, Nanos::min);
            }
            // Nobody else sees to those who are suspended; and while there are some nothing below may allocate.
            busy |= !preempt::is_calm();
            if !busy && idle_looks == IDLE_LOOKS {
                // Nothing has run for a while: is that the end?
                suspects = deadlock::check(runtimes.iter().map(|registered| registered.rt), suspects);
            }
        }
        drop(runtimes);
        // Relaxed, both: as above. Only when it changes, since those who queue work have the line.
        if ANY_LENT.load(Ordering::Relaxed) != soon.lent {
            ANY_LENT.store(soon.lent, Ordering::Relaxed);
        }
        // Relaxed: see `watch_slots`.
        let asked = WATCHING.load(Ordering::Relaxed);
        if soon.stuck || (watch == 0 && (asked == LENT || (asked == SLOTS && !rests))) {
            (watch, rests) = (WATCH_NS, false);
        } else if watch > 0 {
            watch *= 2;
            if watch >= BUSY_NS {
                (watch, rests) = (0, asked == SLOTS);
                if asked == LENT {
                    has_watched(LENT);
                }
            }
        } else if rests {
            rests = false;
            has_watched(SLOTS);
        }
        idle_looks = if busy { 0 } else { idle_looks + 1 };
        if busy {
            suspects = None;
        }
        if !busy && idle_looks > IDLE_LOOKS && suspects.is_none() {
            (watch, rests) = (0, false);
            has_watched(asked);
            sleep(DEEP, NEVER);
            idle_looks = 0;
        } else if !busy && idle_looks > IDLE_LOOKS {
            idle_looks = IDLE_LOOKS;
            sleep(SHORT, clock::now() + 20 * BUSY_NS);
        } else if soon.once {
            sleep(SHORT, clock::now() + WATCH_NS);
        } else if watch > 0 {
            sleep(SHORT, clock::now() + watch);
        } else {
            let now = clock::now();
            let calm = !soon.slow && preempt::is_calm();
            let can_be_put_off = calm
                && !rests
                && !soon.lent
                && !soon.unsure
                && !soon.left
                && BED.get().is_some_and(Snooze::can_be_put_off);
            if let Some(by) = alone.filter(|_| can_be_put_off) {
                rest(by, now, heard, next_orphan);
            } else {
                let most = match soon.silent {
                    true => AGAIN_NS,
                    false if calm => QUICK_NS,
                    false => BUSY_NS,
                };
                // Nobody else looks at the timers while all Ps are busy with one coroutine each.
                sleep(SHORT, (now + most).min(next_timer.max(now + WATCH_NS)));
            }
        }
    }
}

/// The next timer that nobody looks after: of a P that nobody holds, while nobody waits in the netpoller.
fn orphaned_timer(rt: &Shared) -> Nanos {
    if rt.idle.has_poller() {
        return NEVER;
    }
    rt.ps.iter().filter(|p| p.heard() == NEVER).map(|p| p.timers.next()).fold(NEVER, Nanos::min)
}

/// Sleeps until somebody who holds a P of `by` has not been heard of for some time, or that timer is due. Its holders were last
/// heard of at `heard`. (`by` is compared only: it may end meanwhile.)
fn rest(by: *const Shared, now: Nanos, heard: Nanos, timer: Nanos) {
    let soonest = now + WATCH_NS;
    let silent_at = heard.saturating_add(SILENT_NS).min(now + SILENT_NS);
    // One that has been silent for longer already takes its turns nevertheless.
    let deadline = if silent_at > soonest { silent_at } else { now + QUICK_NS }.min(timer.max(soonest));
    // Relaxed, all: see `put_off`.
    NEXT_LOOK.store(deadline, Ordering::Relaxed);
    NOT_LATER.store(now + PUT_OFF_MOST, Ordering::Relaxed);
    PUT_OFF_BY.store(by.cast_mut(), Ordering::Relaxed);
    sleep(SHORT, deadline);
    PUT_OFF_BY.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Does what allocates, or waits for those who do: sysmon itself, or the starter while somebody is suspended. Returns what is left.
pub(crate) fn tend(rt: &Shared, chores: u32) -> u32 {
    if chores & STUCK != 0 {
        for p in rt.ps.iter() {
            // Relaxed: a request.
            if p.stuck.swap(false, Ordering::Relaxed)
                && let Some(g) = p.queue.steal_next()
            {
                rt.inject(g);
            }
        }
    }
    if chores & ERRAND != 0 {
        rt.run_errand();
    }
    let mut left = 0;
    if chores & SCAVENGE != 0 {
        rt.homes.forget_exhaustion();
    }
    if chores & (SCAVENGE | SCAVENGE_ON) != 0 && rt.stacks.scavenge(chores & SCAVENGE != 0) {
        left = SCAVENGE_ON;
    }
    if chores & FEED != 0 {
        rt.feed_starving();
    }
    left
}

/// There is something to do for an M, and an idle P.
fn send_somebody(rt: &Shared) {
    if preempt::is_calm() {
        rt.wake_one();
    } else if let Some(p) = rt.take_idle_p()
        && !rt.give_away(p)
    {
        rt.put_idle_p(p);
        rt.starter.want_m();
    }
}

/// Whether there is something to do for whoever takes an idle P, and those who run do not get to it: a P that goes on quickly comes to
/// its queue and its timers itself, and who holds one looks at the netpoller.
fn is_left_alone(rt: &Shared, memory: &Memory, nobody_polls: bool, now: Nanos) -> bool {
    let unattended = !rt.idle.has_poller();
    let waits = |p: &P| p.queue.has_queued() || (unattended && p.timers.next() <= now);
    rt.is_called()
        || (nobody_polls && unattended && rt.expects_something())
        || rt
            .ps
            .iter()
            .zip(&memory.ps)
            .any(|(p, seen)| (!seen.goes_on(now) && waits(p)) || (seen.slow_looks > 1 && p.queue.has_queued()))
}

/// Whether there is something in `rt` that sysmon has to come by for.
fn needs_looks(rt: &Shared) -> bool {
    !rt.is_idle() || rt.has_work() || rt.homes.has_homeless() || rt.is_starved()
}

fn sleep(how: u32, deadline: Nanos) {
    // Relaxed: ordered by the fence, or, of short sleeps, by the deadline: who misses it comes a little later.
    SLEEP.store(how, Ordering::Relaxed);
    if how == DEEP {
        asymmetric::heavy(); // pairs with the light fence in `wake`
        // An M that was asked by the last look may stop from now on, or has done so before it could see us asleep.
        if !preempt::is_calm() || try_runtimes().is_none_or(|all| all.iter().any(|it| needs_looks(it.rt))) {
            // Relaxed: our own.
            SLEEP.store(AWAKE, Ordering::Relaxed);
            return;
        }
    }
    // Acquire: pairs with the Release in `cut_short`.
    while SLEEP.load(Ordering::Acquire) == how {
        if !BED.get().expect("made before the thread").wait(&SLEEP, how, deadline) {
            break;
        }
    }
    // Relaxed: what is to be seen is looked at anew, under the locks it is kept by.
    SLEEP.store(AWAKE, Ordering::Relaxed);
}

/// One look at a runtime. When should the next be?
fn look(rt: &'static Shared, memory: &mut Memory, machine: &Machine, now: Nanos) -> Soon {
    let Attended { away, lent } = rt.attend(now);
    // Who runs on without a P is asked to stop by the looks.
    let mut soon = Soon { lent, unsure: away != Some(0), ..Soon::default() };
    #[cfg(gort_chaos)]
    {
        soon.once = !rt.is_idle();
        if soon.once {
            // Who has been asked and is asleep would keep sysmon busy, and deadlocks from being seen.
            rt.ps.iter().for_each(|p| super::chaos::preempt(rt, p));
        }
    }
    let idle = rt.idle.idle_ps();
    let mut hogged = idle == 0;
    let since_look = now - std::mem::replace(&mut memory.looked, now);
    // Within its capacity.
    memory.ps.resize(rt.ps.len(), Seen::default());
    for (p, seen) in rt.ps.iter().zip(&mut memory.ps) {
        // Relaxed: a sign of life.
        let tick = p.tick.load(Ordering::Relaxed);
        let next = p.queue.has_next();
        let quick = p::are_quick(tick.wrapping_sub(seen.tick), since_look);
        // Of turns before others put the look off nothing follows for the one that is on.
        let heard = p.heard();
        let silent = since_look > SILENT_NS && now.saturating_sub(heard) >= HEARD_NS;
        if idle == 0 || p.queue.has_queued() {
            soon.slow |= !quick || silent;
            soon.silent |= silent;
        }
        soon.unsure |= !quick && heard != NEVER;
        if tick != seen.tick {
            // It began before its holder should have been heard of, if turns were quick before.
            let since = if quick && silent { heard + HEARD_NS } else { now };
            let Seen { slow_looks, retiring, .. } = *seen;
            *seen = Seen { tick, since, was_quick: quick, slow_looks, retiring, ..Seen::default() };
        } else if next && seen.had_next && idle > 0 {
            // It has been there since the last look, and the P has been on one coroutine.
            // Relaxed: a request.
            p.stuck.store(true, Ordering::Relaxed);
            soon.stuck = true;
        }
        seen.had_next = next;
        // Its turns may have been few because it was idle.
        seen.slow_looks = if !quick && p.queue.has_queued() { seen.slow_looks.saturating_add(1) } else { 0 };
        hogged &= now - seen.since >= WAKE_NS;
    }
    if let Some(away) = away {
        rt.homes.note_held(away);
    }
    let homeless = rt.homes.has_homeless();
    soon.slow |= homeless || !rt.waiting.is_empty();
    if homeless {
        if now - memory.called >= CALL_NS {
            rt.homes.call_homeless();
            memory.called = now;
        }
        if idle > 0 && rt.homes.calls_homeless() {
            send_somebody(rt);
        }
    }
    // Who is to look at the netpoller when all are on one coroutine each?
    let arrived = hogged && rt.poller.registered() > 0 && rt.poller.has_arrived();
    for (p, seen) in rt.ps.iter().zip(&mut memory.ps) {
        if rt.is_retiring(p) {
            // Afterwards a tick that stands still means nothing.
            let held = !p.holder().is_null();
            if held {
                // Relaxed: a request.
                p.yield_soon.store(true, Ordering::Relaxed);
            }
            if held && !seen.retiring {
                soon.once = true;
            } else if held && rt.preemptive {
                preempt::preempt(rt, p, seen.tick, Why::Ready);
            }
            seen.retiring = held;
            continue;
        }
        seen.retiring = false;
        let ran = now - seen.since;
        // An idle P is of no use to who finds no home while this one is on a coroutine that keeps one.
        let ready = (idle == 0 || homeless) && ran >= WAKE_NS && (arrived || rt.is_ready_work(p, now));
        if ready || (ran >= rt.slice_ns && !rt.waiting.is_empty()) {
            let first = !std::mem::replace(&mut seen.flagged, true);
            if first {
                // Relaxed: a request.
                p.yield_soon.store(true, Ordering::Relaxed);
            }
            if first && !p.was_resumed_at(seen.tick) {
                soon.once |= !seen.was_quick;
            } else if rt.preemptive {
                preempt::preempt(rt, p, seen.tick, if ready { Why::Ready } else { Why::Turn });
                // It may have been let go on for a moment.
                seen.asks = seen.asks.saturating_add(1);
                soon.once |= seen.asks <= QUICK_ASKS;
            }
        } else if rt.preemptive && !rt.waiting.is_empty() && now - seen.since.max(seen.probed) >= preempt::PROBE_NS {
            // What it waits for may be held by one of those who are suspended, and its slice may last for ever.
            seen.probed = now;
            preempt::preempt(rt, p, seen.tick, Why::Blocked);
        }
    }
    let unattended = !rt.idle.has_poller();
    if unattended && idle == 0 && (hogged || lent) && rt.poller.registered() > 0 {
        // Who holds the Ps does not look at the netpoller.
        rt.send_poller();
    }
    if let Some(adapt) = &rt.adapt {
        adapt.look(rt, &mut memory.course, now);
    } else {
        machine.lead(rt, &mut memory.share);
    }
    let mut chores = std::mem::take(&mut memory.left);
    if soon.stuck {
        chores |= STUCK;
    }
    if rt.has_errand() {
        chores |= ERRAND;
    }
    if now - memory.scavenged > SCAVENGE_NS {
        chores |= SCAVENGE;
        memory.scavenged = now;
    }
    if rt.is_starved() && now - memory.fed > FEED_NS {
        chores |= FEED;
        memory.fed = now;
    }
    let polls = rt.polls();
    let nobody_polls = polls == memory.polls;
    if !nobody_polls {
        memory.polls = polls;
        memory.polled = now;
    }
    if idle > 0 && is_left_alone(rt, memory, nobody_polls, now) {
        // Where all Ps were lent and no M is idle nobody else starts one; and every M that there is may be blocked, and have lost
        // its P for a timer that was due: nobody is there to look at this one. Else nobody should need this, but work that waits
        // beside an idle P must not depend on it.
        send_somebody(rt);
    }
    if !preempt::is_calm() {
        if chores != 0 {
            rt.starter.want_done(chores);
        }
        return soon;
    }
    memory.left = tend(rt, chores);
    soon.left = memory.left != 0;
    if rt.is_idle() {
        return soon;
    }
    let mut late = false;
    for (p, seen) in rt.ps.iter().zip(&memory.ps) {
        if p.timers.next().saturating_add(LATE_NS) >= now {
        } else if seen.goes_on(now) && !p.holder().is_null() {
            // It comes to them itself.
            // Relaxed: a request.
            p.yield_soon.store(true, Ordering::Relaxed);
        } else {
            late = true;
        }
    }
    if unattended && idle > 0 {
        // Somebody has been sent.
    } else if late || (unattended && rt.poller.registered() > 0 && now - memory.polled > POLL_NS) {
        let mut found = Vec::new();
        for (p, seen) in rt.ps.iter().zip(&memory.ps) {
            if !seen.goes_on(now) || p.holder().is_null() {
                p.timers.run_due(|| now, |waiter| found.push(waiter));
            }
        }
        if rt.poller.registered() > 0 {
            rt.poller.poll(0, &mut |waiter| found.push(waiter));
        }
        memory.polled = now;
        for waiter in found {
            // SAFETY: claimed, and readied once. This thread is no M, so it goes to the
            // global queue.
            unsafe { waiter.ready() };
        }
    }
    soon
}

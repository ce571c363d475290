//! `lock_os_thread`: a coroutine that keeps the thread it is on.
//!
//! A home makes a coroutine the same thread for all code, but not for the kernel: `gettid`, the signal mask,
//! affinity and priority, a namespace that was entered, an OpenGL context belong to the M. Who needs those
//! *keeps* its M for a while.
//!
//! # One rule
//!
//! While somebody in a home keeps its M, the home is *bound* to that M ([`Home::bound_to`]): whoever lives there runs on
//! that M, and nobody else does. That is how a fixed home is bound to its M for ever, and both are
//! served by one rule. A coroutine of a bound home is queued like any other. Who takes it from a queue wears its home as
//! ever, and only then, being the wearer, looks to whom the home is bound. If that is another M, it hands over its P, the
//! coroutine and the home, worn as it is, and goes idle (`idle::run_on_its_m`).
//!
//! The M that is kept is *set aside*. When its coroutine parks it goes to g0, which takes the home off; there it passes
//! its P on to an M that can do anything, and sleeps until it is called ([`wait`]). It is in no list, so nobody
//! calls it but who wears the home, of whom there is one at a time: the home word is the lock around the call. The
//! call may come before the P is passed on. It is then found when the M would sleep, and the new P is not
//! touched before the old one has gone.
//!
//! # Who passes a P on sees to it that somebody polls
//!
//! An M that goes idle becomes the poller, if nobody is; one that is set aside does not. So the P goes to an idle
//! M, which will, or to a new one, unless another waits in the netpoller and there is nothing to do. Then it becomes
//! idle, or retires, by the steps of `idle.rs` (`Shared::give_up`).
//!
//! # Why others of the home may run there
//!
//! They might have to wait instead. But a coroutine that keeps its thread may well wait for one of its home: a local one
//! of its own, or one that happens to share; with fixed homes any that began on the same thread. Neither
//! would ever go on. Nobody comes to live in a home while it is bound, so who had it alone keeps it alone.
//!
//! # Threads that are not like others
//!
//! What a thread has changed about itself is inherited by those that it starts. So a thread that is set aside starts none
//! for the runtime, and has the starter do it (`starter.rs`). And a coroutine that ends without having let go of its
//! thread, or lets go by unwinding, has not put back what it changed: the thread is *spent*, and ends (with fixed
//! homes when nobody lives there any more; meanwhile nobody new begins there).
//!
//! Modelled in `ci/models`, `os_thread::*`.

use super::g::GRef;
use super::home::Home;
use super::m::{self, M};
use super::preempt::Pin;
use crate::os::clock;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

/// The coroutines of a home that keep its thread, and how often each does. For the wearer.
#[derive(Default)]
pub(crate) struct Keepers(UnsafeCell<Vec<(GRef, u32)>>);

impl Keepers {
    /// # Safety
    /// The caller wears the home, and no other reference from this method is in use.
    #[expect(clippy::mut_from_ref, reason = "the wearer is alone with it")]
    unsafe fn get(&self) -> &mut Vec<(GRef, u32)> {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.get() }
    }
}

/// Keeps the calling coroutine on its thread until it is dropped; made by [`lock_os_thread`].
///
/// It does not let go if another coroutine drops it (which takes one of the same home, as it is not `Send`), nor if
/// unwinding does: then the coroutine keeps its thread until it ends, and the thread ends with it.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let guard: gort::OsThreadGuard = gort::lock_os_thread();
///     // .. what has to be done on one thread
///     drop(guard);
/// });
/// ```
///
/// It stays where it is:
/// ```compile_fail,E0277
/// let guard = gort::lock_os_thread();
/// std::thread::spawn(move || drop(guard));
/// ```
#[derive(Debug)]
#[must_use = "the thread is let go when this is dropped"]
pub struct OsThreadGuard {
    /// Who keeps it: the record, and the number, since records are used again. None on a plain thread.
    keeper: Option<(GRef, u64)>,
    /// It was made while unwinding, and may be dropped so.
    panicking: bool,
    /// Dropping it elsewhere would be of no use.
    not_send: PhantomData<*mut ()>,
}

/// Keeps the calling coroutine on the very thread that it is on, until the value returned is dropped.
///
/// Thread-locals, `ThreadId` and `errno` stay with a coroutine without this. It is for what the *kernel* ties to a thread:
/// `gettid` and signals sent to it, the signal mask, affinity, priority, namespaces and capabilities,
/// priority-inheriting and robust mutexes, OpenGL and other libraries that speak to the kernel or a driver for their thread.
///
/// Guards may be nested: the last one to be dropped lets go. On a plain thread it does nothing.
///
/// Whatever was changed about the thread must be put back before the guard is dropped, for others run there afterwards.
/// If that cannot be done, let the coroutine end without dropping it ([`std::mem::forget`]): then the thread ends, too. The same
/// happens if the guard is dropped by unwinding. Threads that the coroutine itself starts inherit what was
/// changed, as from any thread; those that the runtime starts do not.
///
/// Nobody but the coroutine runs on the thread meanwhile, with one exception: those who live in its home, on which
/// nobody else's `ThreadId` is either. They are the [local](crate::go_local) coroutines that it starts, who stay on the thread
/// as well (an OpenGL context is current for them, too), and whoever shared the home before: somebody may, if more coroutines
/// live than there are [homes](crate::RuntimeBuilder::homes), or if coroutines do not [move](crate::Runtime::coroutines_move).
/// A coroutine with [`own_home`](crate::Builder::own_home) shares it with nobody. While the guard lives nobody comes to share.
///
/// # Examples
/// ```
/// # fn gettid() -> std::path::PathBuf { std::fs::read_link("/proc/thread-self").unwrap() }
/// use std::time::Duration;
///
/// gort::run(|| {
///     let guard = gort::lock_os_thread();
///     let thread = gettid();
///     gort::time::sleep(Duration::from_millis(1)); // others run elsewhere meanwhile
///     assert_eq!(thread, gettid());
///     drop(guard);
/// });
/// ```
///
/// # Scheduling
/// Does not park. While it is in force, each wait blocks the thread and passes the right to run on to another one, and the
/// end of the wait passes it back: some tens of microseconds each time, and two threads for one coroutine. These threads
/// do not count for [`RuntimeBuilder::threads`](crate::RuntimeBuilder::threads). A coroutine that computes for long is preempted on its
/// thread, unless that blocks the [signal](crate::RuntimeBuilder::preemption_signal), and goes on there.
pub fn lock_os_thread() -> OsThreadGuard {
    let panicking = std::thread::panicking();
    let keeper = M::current_coroutine().map(|g| {
        keep(g);
        (g, g.id.get())
    });
    OsThreadGuard { keeper, panicking, not_send: PhantomData }
}

impl Drop for OsThreadGuard {
    fn drop(&mut self) {
        let Some((keeper, id)) = self.keeper else { return };
        if M::current_coroutine().is_some_and(|g| g == keeper && g.id.get() == id)
            && (self.panicking || !std::thread::panicking())
        {
            let_go(keeper);
        }
    }
}

/// Whether `g`, which calls it, keeps its thread.
pub(crate) fn keeps(g: GRef) -> bool {
    let _pin = Pin::new();
    let Some(home) = M::current().and_then(|m| m.dedicated.get()) else { return false };
    // SAFETY: this M wears it, on behalf of `g`, and is pinned.
    unsafe { home.keepers.get() }.iter().any(|keeper| keeper.0 == g)
}

fn keep(g: GRef) {
    let m = M::current().expect("coroutines run on Ms");
    let _pin = m.pinned();
    let home = m.home();
    // SAFETY: `g` runs, so this M wears its home, and is pinned.
    let keepers = unsafe { home.keepers.get() };
    if let Some(keeper) = keepers.iter_mut().find(|keeper| keeper.0 == g) {
        keeper.1 = keeper.1.saturating_add(1);
        return;
    }
    keepers.push((g, 1));
    if keepers.len() == 1 {
        home.bind(m);
        m.rt.homes.count_bound(true);
        m.dedicate(Some(home), m.spent.get());
    }
}

fn let_go(g: GRef) {
    let m = M::current().expect("coroutines run on Ms");
    let _pin = m.pinned();
    let home = m.home();
    // SAFETY: as in `keep`.
    let keepers = unsafe { home.keepers.get() };
    let at = keepers.iter().position(|keeper| keeper.0 == g).expect("its guard was alive");
    keepers[at].1 -= 1;
    if keepers[at].1 == 0 {
        keepers.swap_remove(at);
        release(m, home);
    }
}

/// `g` ends, and its home is worn still. If it keeps its thread, that is spent.
#[cold]
pub(crate) fn ended(m: &'static M, home: &'static Home, g: GRef) {
    // SAFETY: this M wears the home, and is on its way to another coroutine, pinned.
    let keepers = unsafe { home.keepers.get() };
    if let Some(at) = keepers.iter().position(|keeper| keeper.0 == g) {
        keepers.swap_remove(at);
        m.dedicate(m.dedicated.get(), true);
        release(m, home);
    }
}

/// One who kept the thread has gone.
fn release(m: &'static M, home: &'static Home) {
    // SAFETY: as in the callers, which do not use theirs any more.
    if unsafe { home.keepers.get() }.is_empty() {
        if m.fixed.is_none() {
            home.bind(std::ptr::null());
        }
        m.rt.homes.count_bound(false);
        m.dedicate(None, m.spent.get());
    }
}

impl M {
    fn dedicate(&'static self, home: Option<&'static Home>, spent: bool) {
        let before = self.is_set_aside();
        self.dedicated.set(home);
        self.spent.set(spent);
        self.restrict();
        if self.is_set_aside() != before {
            self.rt.count_set_aside(!before);
        }
    }

    /// Whether it runs certain coroutines only, or none any more. For the M itself.
    #[inline(always)]
    pub(crate) fn is_set_aside(&self) -> bool {
        self.dedicated.get().is_some() || self.spent.get()
    }

    /// Notes whether [`Self::may_choose`] is to be asked.
    pub(crate) fn restrict(&self) {
        self.restricted.set(self.fixed.is_some() || self.is_set_aside());
    }

    /// Whether it may run what it finds. Not if its P is about to go to another M, nor if it is set aside.
    #[cold]
    pub(crate) fn may_choose(&self) -> bool {
        self.hand_over.get().is_none() && !self.is_set_aside()
    }
}

/// For an M that is set aside, on g0: passes the P on, and waits for another that comes with a coroutine for this M.
/// None if the thread is to end.
pub(crate) fn wait(m: &'static M) -> Option<GRef> {
    if let Some(home) = m.fixed {
        if m.spent.get() && home.live() == 0 {
            pass_on(m);
            return None;
        }
        // Those of other Ms have been taken off by now. From here on we may be called.
        home.leave(m::requeue_raw);
    } else if m.dedicated.get().is_none() {
        pass_on(m);
        return None;
    }
    pass_on(m);
    let asleep = &m.rt.idle.others_asleep;
    // Relaxed, and below: for the deadlock report, which asks twice. Who was called holds a P, and is
    // no part of a deadlock even if it is counted still.
    asleep.fetch_add(1, Ordering::Relaxed);
    m.sleep_until_called();
    asleep.fetch_sub(1, Ordering::Relaxed);
    let p = m.answer().expect("who brings a coroutine brings a P");
    // Something else than before runs there.
    p.count_pick();
    m.hold(p);
    let g = m.bound.take();
    debug_assert!(g.is_some(), "who calls brings a coroutine");
    g
}

/// Gives away the P of an M that cannot use it.
fn pass_on(m: &'static M) {
    let Some(p) = m.p.take() else { return };
    debug_assert!(!m.searching.get(), "a searcher would have to look at the queues before it gives up");
    let rt = m.rt;
    if rt.is_retiring(p) {
        return rt.give_up(p);
    }
    let now = clock::now();
    if let Some(other) = rt.waiting.pop_older(rt.overdue_since(now)) {
        return other.resume(Some(p));
    }
    if !rt.is_ready_work(p, now) && !rt.has_errand() {
        if let Some(other) = rt.waiting.pop() {
            return other.resume(Some(p));
        }
        return rt.give_up(p);
    }
    // Somebody must go on with it.
    if rt.give_away(p) || rt.start_m(Some(p), false) {
        return;
    }
    // No thread to be had: those that run will come to the work in time, but not to what is in the `next` slot.
    if let Some(g) = p.queue.steal_next() {
        rt.inject_quietly(g);
    }
    match rt.waiting.pop() {
        Some(other) => other.resume(Some(p)),
        None => rt.give_up(p),
    }
}

//! Cancelling a coroutine: its current or next parking call unwinds.
//!
//! The request is a flag. Whoever sets it then looks for an armed wait and claims it, and whoever
//! parks looks at the flag after it has armed; the fences on either side make one of the two see
//! the other (`park.rs` has the light one). A coroutine that is panicking, or inside
//! [`shield`], is left alone until it is not.

use super::bound;
use super::g::{BOUND, CANCEL, GRef};
use super::m::M;
use super::wait::Waiter;
use super::wait_word::Wake;
use crate::shim::asymmetric;
use std::sync::atomic::Ordering;

/// What a cancelled coroutine unwinds with.
pub(crate) struct Cancelled;

/// Asks for the end of `g`, which is alive or complete but not recycled.
pub(crate) fn cancel(g: GRef) {
    request(g);
    asymmetric::heavy(); // pairs with the light fence in `park`
    poke(g);
}

/// The first half of [`cancel`]: leaves the request. A heavy fence and [`poke`] are to follow.
pub(crate) fn request(g: GRef) {
    // Relaxed: ordered by the fence.
    g.asked.fetch_or(CANCEL, Ordering::Relaxed);
}

/// Ends the wait that `g` is in, if it is in one and may be cancelled.
pub(crate) fn poke(g: GRef) {
    if let Some(ticket) = g.word.armed()
        // What `is_open` reads was written before the word was armed, and the claim fails if
        // that is no longer the wait we looked at.
        && is_open(g)
    {
        // SAFETY: the ticket is of `g`'s word.
        unsafe { Waiter::of(g, ticket) }.wake(Wake::Cancel);
    }
}

/// Whether `g` may be cancelled in the wait that it has begun.
pub(crate) fn is_open(g: GRef) -> bool {
    // Relaxed: ordered by the wait word.
    g.shield.load(Ordering::Relaxed) == 0 && !g.panicking.load(Ordering::Relaxed)
}

/// Unwinds the caller if it is a coroutine that somebody wants to end, and it may be ended.
pub(crate) fn check() {
    if let Some(g) = M::current_coroutine()
        // Relaxed: a request that is missed now is seen at the next park.
        && let asked = g.asked.load(Ordering::Relaxed)
        && asked & (CANCEL | BOUND) != 0
        && !std::thread::panicking()
    {
        // Relaxed: only the coroutine writes it.
        if asked & CANCEL != 0 && g.shield.load(Ordering::Relaxed) == 0 {
            unwind();
        }
        if asked & BOUND != 0 {
            bound::check();
        }
    }
}

/// Unwinds the calling coroutine, or what it runs in a bound that is over. The caller has removed what it left
/// in waiting lists. Where nothing can unwind the process ends.
#[cold]
pub(crate) fn unwind() -> ! {
    if cfg!(panic = "abort") {
        // Or it would end without a word: the panic hook is not called for this.
        crate::os::fatal(
            "a cancel, a timeout, a context or the end of a runtime has to unwind who waits: impossible with panic = \"abort\"",
        );
    }
    bound::unwind();
    std::panic::resume_unwind(Box::new(Cancelled))
}

/// Runs `f` without being cancelled: a [`cancel`](crate::JoinHandle::cancel) that comes
/// meanwhile takes effect at the first parking call after it.
///
/// Shields may be nested. One protects the coroutine that calls it, not those that `f` spawns. On a
/// plain thread it just runs `f`. Nor is `f` ended by a [`timeout`](crate::time::timeout) or a
/// [context](crate::context) that is around the call; one that is begun inside it has effect.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let handle = gort::go!(|| gort::shield(|| {
///         gort::yield_now(); // does not unwind here
///         1
///     }));
///     handle.cancel();
///     let _ = handle.join();
/// });
/// ```
///
/// # Panics
/// More than 65,535 inside each other end the process, as a stack overflow does.
///
/// # Scheduling
/// Does not park by itself. What `f` calls parks as ever.
pub fn shield<T>(f: impl FnOnce() -> T) -> T {
    struct Unshield(GRef);
    impl Drop for Unshield {
        fn drop(&mut self) {
            // Relaxed: only the coroutine writes it.
            self.0.shield.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let Some(g) = M::current_coroutine() else { return bound::shield_thread(f) };
    // Relaxed: only the coroutine writes it.
    if g.shield.fetch_add(1, Ordering::Relaxed) == u16::MAX {
        // With none in force a `scope` at this depth could be left while others use what it has lent to them.
        crate::os::fatal("more than 65,535 shields inside each other");
    }
    let _unshield = Unshield(g);
    f()
}

//! A closure that runs when a context has ended.
//!
//! It is a coroutine that has not begun, whose wait is ended by the end of the context, as one of those who wait
//! for it, or by the deadline, for which it has a timer.

use super::Context;
use crate::os::clock::NEVER;
use crate::sched::wait::Wake;
use crate::sched::{Later, or_panic};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};

/// A closure that is to run when a context has ended; made by [`Context::after_func`].
///
/// Dropping it does not stop it.
///
/// # Examples
/// See [`Context::after_func`].
#[derive(Debug)]
pub struct AfterFunc(Kind);

#[derive(Debug)]
enum Kind {
    Waits(Later, Context),
    /// The context does not end. Whether it was stopped.
    Never(AtomicBool),
}

impl AfterFunc {
    #[track_caller]
    pub(super) fn new<F>(ctx: &Context, f: F) -> AfterFunc
    where
        F: FnOnce() + Send + 'static,
    {
        let Some(node) = &ctx.node else { return AfterFunc(Kind::Never(AtomicBool::new(false))) };
        let of = ctx.clone();
        let run = move || {
            // By the timer it comes as the first, perhaps: then this ends the context.
            of.err();
            drop(of);
            f();
        };
        let when = if node.has_ended() { NEVER } else { node.nanos() };
        let later = or_panic(Later::new(when, Location::caller(), run));
        if !ctx.watch(later.waiter(), Wake::Ready) {
            later.waiter().wake(Wake::Ready);
        }
        AfterFunc(Kind::Waits(later, ctx.clone()))
    }

    /// Stops it: true if the closure will not run. False if it has begun, or was stopped before.
    ///
    /// It does not wait for a closure that has begun.
    ///
    /// # Examples
    /// See [`Context::after_func`].
    ///
    /// # Scheduling
    /// Does not park, if dropping the closure does not. From anywhere.
    pub fn stop(&self) -> bool {
        match &self.0 {
            Kind::Waits(later, ctx) => {
                let stopped = later.stop();
                if stopped {
                    ctx.unwatch(later.waiter(), Wake::Ready);
                }
                stopped
            }
            // Relaxed: stands for itself.
            Kind::Never(stopped) => !stopped.swap(true, Ordering::Relaxed),
        }
    }
}

//! What `join!` and `race!` expand to: some closures at once, in a scope.

use crate::channel;
use crate::sched::cancel;
use crate::{JoinError, ScopedJoinHandle};
use std::panic::resume_unwind;

/// Closures that can be joined by [`join`]: a tuple of two to twelve.
pub trait Join {
    /// What they return.
    type Output;
    /// Runs them.
    fn join(self) -> Self::Output;
}

/// Closures that can [`race`]: a tuple of two to twelve that return the same type.
pub trait Race {
    /// What they return.
    type Output;
    /// Runs them.
    fn race(self) -> Self::Output;
}

/// Runs all closures of a tuple at once and returns what they return; [`join!`](crate::join!) says the same.
///
/// # Examples
/// ```
/// gort::run(|| assert_eq!(gort::group::join((|| 1, || "two")), (1, "two")));
/// ```
///
/// # Panics
/// As [`join!`](crate::join!).
///
/// # Scheduling
/// As [`join!`](crate::join!).
pub fn join<J: Join>(closures: J) -> J::Output {
    closures.join()
}

/// Runs all closures of a tuple at once and returns what the first returns that ends; [`race!`](crate::race!) says the same.
///
/// # Examples
/// ```
/// gort::run(|| assert_eq!(gort::group::race((|| 1, || { gort::park(); 2 })), 1));
/// ```
///
/// # Panics
/// As [`race!`](crate::race!).
///
/// # Scheduling
/// As [`race!`](crate::race!).
pub fn race<R: Race>(closures: R) -> R::Output {
    closures.race()
}

/// The value of one that is not expected to be cancelled: only the end of the runtime does that, which has cancelled the
/// caller as well.
fn value<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    match handle.join() {
        Ok(value) => value,
        Err(JoinError::Panicked(payload)) => resume_unwind(payload),
        Err(JoinError::Cancelled) => cancel::unwind(),
    }
}

macro_rules! tuples {
    ($(($first:ident $first_value:ident $($f:ident $value:ident)+))+) => {$(
        impl<$first, $first_value, $($f, $value),+> Join for ($first, $($f),+)
        where
            $first: FnOnce() -> $first_value,
            $($f: FnOnce() -> $value + Send, $value: Send,)+
        {
            type Output = ($first_value, $($value),+);

            #[allow(non_snake_case, reason = "a variable for each type")]
            #[track_caller]
            fn join(self) -> Self::Output {
                let ($first, $($f),+) = self;
                crate::scope(move |scope| {
                    $(let $f = scope.go($f);)+
                    ($first(), $(value($f)),+)
                })
            }
        }

        impl<$first, T, $($f),+> Race for ($first, $($f),+)
        where
            T: Send,
            $first: FnOnce() -> T + Send,
            $($f: FnOnce() -> T + Send,)+
        {
            type Output = T;

            #[allow(non_snake_case, reason = "a variable for each type")]
            #[track_caller]
            fn race(self) -> T {
                let ($first, $($f),+) = self;
                let (arrive, arrivals) = channel::unbounded();
                crate::scope(|scope| {
                    let mut runners = Runners(Vec::new());
                    runners.start(scope, $first, arrive.clone());
                    $(runners.start(scope, $f, arrive.clone());)+
                    drop(arrive);
                    runners.settle(&arrivals)
                })
            }
        }
    )+};
}

tuples! {
    (A VA B VB)
    (A VA B VB C VC)
    (A VA B VB C VC D VD)
    (A VA B VB C VC D VD E VE)
    (A VA B VB C VC D VD E VE F VF)
    (A VA B VB C VC D VD E VE F VF G VG)
    (A VA B VB C VC D VD E VE F VF G VG H VH)
    (A VA B VB C VC D VD E VE F VF G VG H VH I VI)
    (A VA B VB C VC D VD E VE F VF G VG H VH I VI J VJ)
    (A VA B VB C VC D VD E VE F VF G VG H VH I VI J VJ K VK)
    (A VA B VB C VC D VD E VE F VF G VG H VH I VI J VJ K VK L VL)
}

/// Says that a runner has ended, with its value if it has one; also when it unwinds, or never runs.
struct Arrival<T>(Option<T>, channel::Sender<Option<T>>);

impl<T> Drop for Arrival<T> {
    fn drop(&mut self) {
        // Unbounded, so it does not wait. A receiver that has gone wants no more.
        let _ = self.1.send(self.0.take());
    }
}

/// Those that run. If the caller unwinds, because it is cancelled or one more cannot be started, they would go on: so whatever
/// happens they are told.
struct Runners<'scope>(Vec<ScopedJoinHandle<'scope, ()>>);

impl Drop for Runners<'_> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<'scope> Runners<'scope> {
    #[track_caller]
    fn start<F, T>(&mut self, scope: &'scope crate::Scope<'scope, '_>, f: F, arrive: channel::Sender<Option<T>>)
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let arrival = Arrival(None, arrive);
        self.0.push(scope.go(move || {
            // All of it, also if this never runs.
            let mut arrival = arrival;
            arrival.0 = Some(f());
        }));
    }

    fn cancel(&self) {
        self.0.iter().for_each(ScopedJoinHandle::cancel);
    }

    /// Waits for the first, cancels and awaits the others, and returns the winner's value.
    fn settle<T>(mut self, arrivals: &channel::Receiver<Option<T>>) -> T {
        let first = arrivals.recv().ok().flatten();
        self.cancel();
        let mut panic = None;
        for runner in self.0.drain(..) {
            if let Err(JoinError::Panicked(payload)) = runner.join() {
                panic.get_or_insert(payload);
            }
        }
        match (first, panic) {
            (_, Some(payload)) => resume_unwind(payload),
            (Some(value), None) => value,
            // The first to end was cancelled: by the end of the runtime, like the caller.
            (None, None) => cancel::unwind(),
        }
    }
}

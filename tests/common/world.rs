//! Kinds of channels, and worlds to check them in: coroutines, threads, both.

use super::{Task, builder, factor};
use gort::channel::{Receiver, Sender, bounded, unbounded};

/// How a channel is made: the number of messages that it holds, or none if it is unbounded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub Option<usize>);

pub const RENDEZVOUS: Kind = Kind(Some(0));
pub const ONE: Kind = Kind(Some(1));
pub const RING: Kind = Kind(Some(7));
pub const LIST: Kind = Kind(None);

impl Kind {
    pub fn make<T>(self) -> (Sender<T>, Receiver<T>) {
        match self.0 {
            Some(cap) => bounded(cap),
            None => unbounded(),
        }
    }

    pub fn cap(self) -> Option<usize> {
        self.0
    }

    /// Messages that can be sent without waiting; for an unbounded channel, some.
    pub fn room(self) -> usize {
        self.0.unwrap_or(100)
    }
}

/// What runs a check and its two sides.
#[derive(Clone, Copy)]
pub struct World {
    /// Ps of the runtime; 0 if the check itself runs on a plain thread.
    pub procs: usize,
    pub left_threads: bool,
    pub right_threads: bool,
}

pub const ONE_PROC: World = World { procs: 1, left_threads: false, right_threads: false };
pub const MANY_PROCS: World = World { procs: 4, left_threads: false, right_threads: false };
pub const THREADS: World = World { procs: 0, left_threads: true, right_threads: true };
pub const TO_THREADS: World = World { procs: 2, left_threads: false, right_threads: true };
pub const FROM_THREADS: World = World { procs: 2, left_threads: true, right_threads: false };

impl World {
    pub fn run(self, check: fn(Kind, World), kind: Kind) {
        match self.procs {
            0 => check(kind, self),
            procs => builder(procs).build().unwrap().run(|| check(kind, self)),
        }
    }

    /// Starts a task of the left side.
    pub fn left<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        Task::start(self.left_threads, f)
    }

    /// Starts a task of the right side.
    pub fn right<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        Task::start(self.right_threads, f)
    }

    /// Operations in a stress; a rendezvous of threads takes a thousand times longer than others.
    pub fn many(self, kind: Kind) -> usize {
        let slow = self.left_threads || self.right_threads;
        factor() as usize * if slow && kind.cap().is_some() { 2_000 } else { 20_000 }
    }
}

/// A test of each check in each world, and for each kind of channel if there are kinds, in modules with their names:
/// `[module WORLD ..] [module KIND ..] { check .. }`. For lists that are used often there are words.
macro_rules! suite {
    (every_world $($rest:tt)*) => {
        crate::common::world::suite! {
            [one_proc ONE_PROC many_procs MANY_PROCS threads THREADS to_threads TO_THREADS from_threads FROM_THREADS]
            $($rest)*
        }
    };
    (worlds_in_coroutines $($rest:tt)*) => {
        crate::common::world::suite! {
            [one_proc ONE_PROC many_procs MANY_PROCS to_threads TO_THREADS from_threads FROM_THREADS]
            $($rest)*
        }
    };
    ($worlds:tt every_kind $checks:tt) => {
        crate::common::world::suite! { $worlds [rendezvous RENDEZVOUS one ONE ring RING list LIST] $checks }
    };
    ([$($module:ident $world:ident)*] $kinds:tt $checks:tt) => {
        $(
            mod $module {
                crate::common::world::suite! { @kinds $world $kinds $checks }
            }
        )*
    };
    ([$($module:ident $world:ident)*] $checks:tt) => {
        $(
            mod $module {
                crate::common::world::suite! { @checks $checks $world }
            }
        )*
    };
    (@kinds $world:ident [$($module:ident $kind:ident)*] $checks:tt) => {
        $(
            mod $module {
                crate::common::world::suite! { @checks $checks $world, $kind }
            }
        )*
    };
    (@checks { $($check:ident)* } $world:ident $(, $kind:ident)?) => {
        crate::common::world::suite! { @tests ($world $(, $kind)?) $($check)* }
    };
    (@tests $place:tt $($check:ident)*) => {
        $(
            crate::common::world::suite! { @test $check $place }
        )*
    };
    (@test $check:ident ($world:ident $(, $kind:ident)?)) => {
        #[test]
        fn $check() {
            crate::$world.run(crate::$check $(, crate::$kind)?);
        }
    };
}
pub(crate) use suite;

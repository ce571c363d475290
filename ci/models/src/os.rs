//! The kernel, as far as the protocols know it.

pub(crate) mod clock {
    //! A clock that stands still at 1000, until a poller sleeps to a later time.

    use std::sync::atomic::{AtomicU64, Ordering};

    pub(crate) type Nanos = u64;
    pub(crate) const NEVER: Nanos = u64::MAX;

    static NOW: AtomicU64 = AtomicU64::new(0);

    /// A new world.
    pub(crate) fn reset() {
        NOW.store(1_000, Ordering::Relaxed);
    }
    pub(crate) fn pass_to(time: Nanos) {
        NOW.fetch_max(time, Ordering::Relaxed);
    }
    pub(crate) fn now() -> Nanos {
        NOW.load(Ordering::Relaxed)
    }
    pub(crate) fn after(after: std::time::Duration) -> Nanos {
        after.as_nanos() as u64
    }
    pub(crate) fn at(_: std::time::Instant) -> Nanos {
        NEVER
    }
    pub(crate) fn later(time: std::time::Duration) -> Option<Nanos> {
        Some(after(time))
    }
    pub(crate) fn ahead(instant: std::time::Instant) -> Option<Nanos> {
        Some(at(instant))
    }
}

pub(crate) mod alloc {
    //! The allocator: what is not freed at the end of an execution fails it.

    pub(crate) use loom::alloc::{Layout, alloc, dealloc};
    pub(crate) use std::alloc::handle_alloc_error;
}

pub(crate) mod membarrier {
    //! Fences that interrupt other CPUs are beyond the checker: both sides are SeqCst fences, as they are where the kernel has no
    //! `membarrier`. In models where nobody may lean on a light one it is none.

    use loom::sync::atomic::{Ordering, fence};

    /// Set by models in which all that counts is `full`.
    pub(crate) static LIGHT_IS_NONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

    pub(crate) fn light() {
        if !LIGHT_IS_NONE.load(Ordering::Relaxed) {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }
}

pub(crate) mod futex {
    //! Futexes: one queue for all words. Whether a sleep with a deadline is over at once, or
    //! never by itself, is for the model to say; in between it is the same as at once, later.

    use super::clock::{NEVER, Nanos};
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    /// Set by models in which deadlines pass.
    pub(crate) static DEADLINES_PASS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

    loom::lazy_static! {
        static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Nanos) -> bool {
        if deadline != NEVER && DEADLINES_PASS.load(Ordering::Relaxed) {
            loom::thread::yield_now();
            return false;
        }
        let guard = SLEEPERS.0.lock().expect("no panics inside");
        // Relaxed: the kernel reads it under the queue's lock.
        if word.load(Ordering::Relaxed) == expected {
            drop(SLEEPERS.1.wait(guard));
        }
        true
    }

    pub(crate) fn wake<W>(_: W, _: u32) {
        drop(SLEEPERS.0.lock());
        SLEEPERS.1.notify_all();
    }
}

pub(crate) mod timerfd {
    //! Timers whose times to come never do.

    use super::clock::Nanos;
    use loom::sync::{Condvar, Mutex};

    pub(crate) struct Timer(Mutex<Nanos>, Condvar);

    impl std::fmt::Debug for Timer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Timer")
        }
    }

    impl Timer {
        pub(crate) fn new() -> Timer {
            Timer(Mutex::new(0), Condvar::new())
        }

        pub(crate) fn set(&self, time: Nanos) {
            *self.0.lock().expect("no panics inside") = time;
            self.1.notify_all();
        }

        pub(crate) fn wait(&self) {
            let mut time = self.0.lock().expect("no panics inside");
            while *time != 0 {
                time = self.1.wait(time).expect("no panics inside");
            }
        }
    }
}

pub(crate) fn fatal(message: &str) -> ! {
    panic!("{message}")
}

//! The scheduler: the real protocols, with just enough of a world around them.
//!
//! A coroutine is a thread of the checker. To leave it is to block that thread, to run it again
//! is to unblock it (`g.rs`, `m.rs`); a queue of real Gs is used only where queues are the point.

macro_rules! real {
    ($name:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
    };
}

pub(crate) mod biased {
    real!("sched_biased");
}
pub(crate) mod bound {
    //! Nobody runs in a bound here.
    use super::g::GRef;
    use super::wait::Waiter;
    use super::wait_word::Ticket;
    use crate::os::clock::Nanos;

    pub(super) fn park(_: GRef, _: Ticket) {
        unreachable!()
    }
    pub(super) fn block(_: Waiter, _: Nanos, _: impl Fn(Nanos) -> bool) -> bool {
        unreachable!()
    }
    pub(super) fn has_threads() -> bool {
        false
    }
    pub(super) fn check() {
        unreachable!()
    }
    pub(crate) fn look_again() {}
    pub(crate) fn unwind() {}
    pub(crate) fn shield_thread<T>(f: impl FnOnce() -> T) -> T {
        f()
    }
}
pub(crate) mod cancel {
    real!("sched_cancel");
}
pub(crate) mod home_word {
    real!("sched_home_word");
}
pub(crate) mod idle {
    real!("sched_idle");

    impl Shared {
        /// For an M that holds a P from the start.
        pub(crate) fn take_first_p(&self) -> HeldP {
            self.pop_p(&mut self.idle.lists.lock()).expect("an idle one")
        }
    }

    impl Idle {
        /// From now on somebody who is not part of the model waits in the netpoller.
        pub(crate) fn pretend_poller(&self) {
            self.polling.store(true, Ordering::Relaxed);
        }

        /// He has something else to do now.
        pub(crate) fn pretend_no_poller(&self) {
            self.stop_polling();
        }
    }
}
pub(crate) mod join {
    real!("sched_join");
}
#[allow(dead_code, unused_imports, reason = "handles name it; no model has labels")]
pub(crate) mod labels {
    real!("sched_labels");
}
pub(crate) mod lock;
pub(crate) mod ps {
    real!("sched_ps");
}
pub(crate) mod os_thread {
    use super::g::GRef;
    use super::m::{self, M};
    use crate::os::clock::{self, NEVER};
    use crate::shim::atomic::Ordering;
    real!("os_thread");
}
pub(crate) mod real_lock {
    real!("sched_lock");
}
pub(crate) mod runq {
    real!("sched_runq");
}
pub(crate) mod snooze {
    real!("sched_snooze");
}
pub(crate) mod steal {
    real!("sched_steal");
}
pub(crate) mod timers {
    real!("sched_timers");
}
pub(crate) mod wait {
    real!("sched_wait");
}
pub(crate) mod wait_word {
    real!("sched_wait_word");
}
pub(crate) mod watch_list {
    real!("sched_watch_list");
}

pub(crate) mod find;
pub(crate) mod g;
pub(crate) mod home;
pub(crate) mod m;
pub(crate) mod p;
pub(crate) mod park;
pub(crate) mod preempt;
pub(crate) mod runtime;
pub(crate) mod spawn;
pub(crate) mod sysmon;
pub(crate) mod thread_task;

pub(crate) mod future_task {
    //! What a future waits with: none does in a model.
    use super::wait_word::{Ticket, WaitWord};
    use std::task::Waker;

    #[repr(C, align(16))]
    pub(crate) struct FutureTask {
        _word: WaitWord,
    }

    impl FutureTask {
        pub(super) fn take(_: Waker, _: bool) -> (&'static FutureTask, Ticket) {
            unreachable!()
        }

        pub(super) unsafe fn put(&'static self) -> Waker {
            unreachable!()
        }

        pub(super) unsafe fn ready(&'static self) {
            unreachable!()
        }
    }
}

pub(crate) mod gpool {
    //! Recycling a record.
    use super::g::GRef;

    pub(crate) unsafe fn free(g: GRef) {
        g.recycle();
    }
}

pub(crate) mod watchers {
    //! Nobody watches coroutines here.
    use super::g::GRef;
    use super::wait::Waiter;

    pub(crate) fn add(_: GRef, _: Waiter) {}
    pub(crate) fn remove(_: GRef, _: Waiter) {}
    pub(crate) fn wake(_: GRef) {}
}

/// Nothing panics here.
pub(crate) fn quietly(f: impl FnOnce()) -> bool {
    f();
    true
}

pub(crate) fn checkpoint() {}
pub(crate) fn make_way_for_sharers() {}

pub(crate) fn any_random() -> u64 {
    0
}

pub(crate) fn random(_: &mut u64) -> u64 {
    0
}

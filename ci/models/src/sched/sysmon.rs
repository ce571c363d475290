//! How sysmon goes into its sleep without limit.

use super::runtime::Shared;
use crate::os::clock::Nanos;
use crate::os::timerfd::Timer;
use crate::shim::asymmetric;
use crate::shim::atomic::{AtomicU32, Ordering};

/// For the idle models, which have no sysmon.
pub(crate) fn wake(_: &Shared) {}

pub(crate) fn poke() {}

pub(crate) fn watch_lent() {}

pub(crate) mod real {
    use super::*;
    use crate::sched::snooze::Snooze;
    use std::ptr;
    use std::sync::atomic::AtomicPtr;

    use Idleness as Shared;

    /// Nobody puts anything off.
    static PUT_OFF_BY: AtomicPtr<Shared> = AtomicPtr::new(ptr::null_mut());

    struct Made(Snooze);

    impl Made {
        fn get(&self) -> Option<&Snooze> {
            Some(&self.0)
        }
    }

    real!("sysmon");

    mod preempt {
        use super::*;

        real!("calm");

        loom::lazy_static! {
            pub(super) static ref STOPPED: AtomicU32 = AtomicU32::new(0);
            /// Somebody has been asked already.
            pub(super) static ref ASKED: AtomicU32 = AtomicU32::new(0);
        }
    }

    /// The runtimes that it looks after: whether the model's one is idle.
    fn try_runtimes() -> Option<Vec<Registered>> {
        Some(vec![Registered { rt: &Idleness { homes: NoHomes } }])
    }

    struct Registered {
        rt: &'static Idleness,
    }
    struct Idleness {
        homes: NoHomes,
    }
    struct NoHomes;

    impl NoHomes {
        fn has_homeless(&self) -> bool {
            false
        }
    }

    impl Idleness {
        fn is_starved(&self) -> bool {
            false
        }

        fn is_idle(&self) -> bool {
            BUSY.load(Ordering::Relaxed) == 0
        }

        fn has_work(&self) -> bool {
            false
        }
    }

    loom::lazy_static! {
        static ref BED: Made = Made(Snooze::new(Some(Timer::new())));
        static ref SLEEP: AtomicU32 = AtomicU32::new(AWAKE);
        /// As `Idle::counts`: written Relaxed, under a lock that sysmon does not take.
        static ref BUSY: AtomicU32 = AtomicU32::new(0);
    }

    pub(crate) fn become_busy() {
        BUSY.store(1, Ordering::Relaxed);
        wake(&Idleness { homes: NoHomes });
    }

    /// What a look of sysmon's has done.
    pub(crate) fn ask() {
        preempt::ASKED.store(1, Ordering::Relaxed);
    }

    /// What the handler does with it.
    pub(crate) fn stop() {
        preempt::STOPPED.store(1, Ordering::Relaxed);
        preempt::ASKED.fetch_sub(1, Ordering::Release);
        cut_short(SHORT);
    }

    pub(crate) fn sleep_deep() {
        sleep(DEEP, crate::os::clock::NEVER);
    }

    pub(crate) fn sleeps() -> &'static AtomicU32 {
        &SLEEP
    }
}

//! How sysmon goes into its sleep without limit.

use super::runtime::Shared;
use crate::os::clock::Nanos;
use crate::os::futex;
use crate::shim::asymmetric;
use crate::shim::atomic::{AtomicU32, Ordering};

/// For the idle models, which have no sysmon.
pub(crate) fn wake() {}

pub(crate) fn poke() {}

pub(crate) mod real {
    use super::*;
    use std::cell::Cell;

    real!("sysmon");

    /// The runtimes that it looks after: whether the model's one is idle.
    fn try_runtimes() -> Option<Vec<Registered>> {
        Some(vec![Registered { rt: Idleness }])
    }

    struct Registered {
        rt: Idleness,
    }
    struct Idleness;

    impl Idleness {
        fn is_idle(&self) -> bool {
            BUSY.load(Ordering::Relaxed) == 0
        }

        fn has_work(&self) -> bool {
            false
        }
    }

    loom::lazy_static! {
        static ref SLEEP: AtomicU32 = AtomicU32::new(AWAKE);
        /// As `Idle::ps`: written Relaxed, under a lock that sysmon does not take.
        static ref BUSY: AtomicU32 = AtomicU32::new(0);
    }

    pub(crate) fn become_busy() {
        BUSY.store(1, Ordering::Relaxed);
        wake();
    }

    pub(crate) fn sleep_deep() {
        sleep(DEEP, crate::os::clock::NEVER);
    }

    pub(crate) fn sleeps() -> &'static AtomicU32 {
        &SLEEP
    }
}

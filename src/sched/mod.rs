//! The scheduler: coroutines (G), threads (M) and the right to run (P). See `README.md` here.

mod adapt;
mod affinity;
mod biased;
pub(crate) mod cancel;
#[cfg(gort_chaos)]
mod chaos;
mod deadlock;
mod find;
mod g;
mod gpool;
pub(crate) mod home;
mod home_word;
mod idle;
mod join;
pub(crate) mod lock;
mod m;
mod p;
mod park;
mod preempt;
mod probe;
mod procs;
mod ps;
mod runq;
mod runtime;
mod scope;
mod spawn;
mod sysmon;
mod thread_task;
mod timers;
pub(crate) mod wait;
mod wait_word;

pub use cancel::shield;
pub use join::{Coroutine, Id, JoinError, JoinHandle, current, park, park_timeout, try_current};
pub use park::yield_now;
pub use preempt::blocking;
pub use procs::{procs, set_procs};
pub use runtime::{Runtime, RuntimeBuilder, run};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use spawn::{Builder, spawn, spawn_local};

pub(crate) use park::checkpoint;
pub(crate) use runtime::current_poller;

/// The next number of a xorshift sequence (Marsaglia, "Xorshift RNGs", 2003).
#[inline(always)]
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

//! The scheduler: coroutines (G), threads (M) and the right to run (P). See `README.md` here.

mod adapt;
mod affinity;
mod biased;
mod blocking;
pub(crate) mod bound;
mod builder;
pub(crate) mod cancel;
#[cfg(gort_chaos)]
mod chaos;
mod deadlock;
mod find;
mod future_task;
mod g;
mod gpool;
pub(crate) mod home;
mod home_waits;
mod home_word;
mod idle;
mod join;
mod labels;
mod local;
pub(crate) mod lock;
mod m;
mod os_thread;
mod p;
mod park;
mod preempt;
mod probe;
mod procs;
mod ps;
mod runq;
mod runtime;
mod scope;
mod snooze;
mod spawn;
mod starter;
mod steal;
mod sysmon;
mod thread_task;
mod timers;
pub(crate) mod wait;
mod wait_word;
pub(crate) mod watch_list;
mod watchers;

pub use blocking::blocking;
pub use builder::RuntimeBuilder;
pub use cancel::shield;
pub use home_waits::HomeWaits;
pub use join::{Coroutine, Id, JoinError, JoinHandle, current, park, park_timeout, try_current};
pub use labels::Labels;
pub use local::{AccessError, LocalKey};
pub use os_thread::{OsThreadGuard, lock_os_thread};
pub use park::yield_now;
pub use procs::{procs, set_procs};
pub use runtime::{Runtime, run};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use spawn::{Builder, spawn, spawn_local};

pub(crate) use blocking::{apart, begin, briefly, in_place};
pub(crate) use park::{checkpoint, make_way_for_sharers};
pub(crate) use preempt::signal as preemption_signal;
pub(crate) use runtime::current_poller;
pub(crate) use scope::Spawner;
pub(crate) use spawn::{Later, or_panic, task_number};

/// Calls `f` where nothing may unwind: a panic, which the hook has reported, ends here. So does one of its payload's drop. False
/// if there was one.
pub(crate) fn quietly(f: impl FnOnce()) -> bool {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { return true };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // There might be no end to it.
        std::mem::forget(payload);
    }
    false
}

/// The next number of a xorshift sequence (Marsaglia, "Xorshift RNGs", 2003).
#[inline(always)]
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A number that is the same on one P, or one thread, and likely another elsewhere: for whoever keeps things apart by it.
pub(crate) fn place() -> usize {
    // The coroutine may be on another P when it is used: a hint.
    if let Some(p) = m::M::current().and_then(|m| m.p.get()) {
        return p.index;
    }
    let here = 0u8;
    // Stacks lie far apart.
    (&raw const here).addr() >> 20
}

/// A random number, of no great quality, from anywhere.
#[inline]
pub(crate) fn any_random() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    /// Several, so that those who need one at once seldom meet; each on a cache line of its own.
    #[repr(align(64))]
    struct Seed(AtomicU64);
    static SEEDS: [Seed; 16] = {
        let mut seeds = [const { Seed(AtomicU64::new(0)) }; 16];
        let mut at = 0;
        while at < 16 {
            seeds[at] = Seed(AtomicU64::new(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(at as u64 + 1)));
            at += 1;
        }
        seeds
    };
    let here = 0u8;
    // Stacks lie far apart, so this is another for most who run at once.
    let stack = (&raw const here).addr() as u64;
    let seed = &SEEDS[(stack.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize].0;
    // Relaxed, and not one operation: that two have the same number, or one is lost, does no harm.
    let mut state = seed.load(Ordering::Relaxed);
    random(&mut state);
    seed.store(state, Ordering::Relaxed);
    // The low bits of a xorshift are its weaker ones, the product mixes them.
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

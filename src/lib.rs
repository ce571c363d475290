#![doc = include_str!("../README.md")]

#[cfg(not(target_os = "linux"))]
compile_error!("gort runs on Linux; see \"Platforms\" in ARCHITECTURE.md");

pub mod channel;
pub mod coming_from;
pub mod context;
pub mod fs;
pub mod future;
pub mod group;
pub mod io;
mod macros;
pub mod net;
mod os;
mod poll;
pub mod process;
mod sched;
mod shim;
pub mod signal;
mod stack;
mod switch;
pub mod sync;
pub mod time;
mod worker_pool;

pub use macros::__private;
pub use os::cpus::CpuSet;
pub use sched::{
    AccessError, Builder, Coroutine, HomeWaits, Id, JoinError, JoinHandle, Labels, LocalKey, OsThreadGuard, Runtime,
    RuntimeBuilder, Scope, ScopedJoinHandle, blocking, current, lock_os_thread, park, park_timeout, procs, run, scope,
    set_procs, shield, spawn, spawn_local, try_current, yield_now,
};
pub use worker_pool::{JobHandle, SubmitError, WorkerPool, WorkerPoolBuilder};

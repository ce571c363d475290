//! Locks, and other means by which tasks wait for one another.
//!
//! A *task* is a coroutine or a plain thread. Everything here works between coroutines, between threads, and between the
//! two: a coroutine that has to wait parks and leaves its thread to others, a plain thread blocks.
//!
//! | for | use |
//! |---|---|
//! | access to a value, by one at a time | [`Mutex`]; [`ReentrantMutex`], which its holder may lock again |
//! | access by many readers or one writer | [`RwLock`] |
//! | waiting until a guarded value is as wanted | [`Condvar`] |
//! | a value made once | [`LazyLock`], [`OnceLock`]; [`Once`] without a value |
//! | so many at once | [`Semaphore`] |
//! | waiting for all of a group | [`WaitGroup`] to finish, [`Barrier`] to come |
//! | telling that something has happened | [`Notify`] |
//! | a value of which the latest counts | [`Watch`] |
//! | one call for all who want the same | [`SingleFlight`] |
//! | values that are used over and over | [`Pool`]; [`ObjectPool`], so many of them at most |
//!
//! # Guards across waits
//!
//! A guard may be held while its coroutine waits for something else, or while it is
//! preempted: who wants the lock meanwhile parks and costs nothing.
//!
//! # Panics and cancelling
//!
//! Nothing here is poisoned, [`LazyLock`] excepted. The guard of a task that panics is dropped by the unwinding,
//! and the next one finds the value as it was left. A coroutine that is [cancelled](crate::JoinHandle::cancel)
//! unwinds out of its wait, and loses nothing that others count on: it has not got the lock or the permit, and a
//! notification that was meant for it goes to another. Who asks for a lock or a permit that is free gets it, cancelled or not. The other
//! calls may end so also where they would not have to wait: then nothing has been done.
//!
//! # Order
//!
//! Those who wait are served in the order in which they came. What may go before them: a task that finds a
//! [`Mutex`] free, or a [`RwLock`] that it wants to write to, takes it at once, which is much faster than to wait for
//! another's turn. It is bounded: who has waited for half a millisecond after being woken in vain is handed the lock.

mod barrier;
mod condvar;
mod lazy_lock;
mod mutex;
mod notify;
mod object_pool;
mod once;
mod once_lock;
mod pool;
mod raw_condvar;
mod raw_mutex;
mod raw_once;
mod raw_rwlock;
mod raw_semaphore;
mod reentrant_mutex;
mod rwlock;
mod semaphore;
mod single_flight;
mod wait_group;
mod waitq;
mod watch;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use lazy_lock::LazyLock;
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
pub use notify::Notify;
pub use object_pool::{ObjectPool, ObjectPoolBuilder, ObjectPoolError, ObjectPoolStatus, PooledObject};
pub use once::Once;
pub use once_lock::OnceLock;
pub use pool::{Pool, PoolBuilder, Pooled};
pub(crate) use raw_condvar::RawCondvar;
pub use raw_mutex::RawMutex;
pub use raw_rwlock::RawRwLock;
pub use reentrant_mutex::{MappedReentrantMutexGuard, RawTaskMutex, ReentrantMutex, ReentrantMutexGuard, TaskId};
pub use rwlock::{MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{
    AcquireError, AcquireTimeoutError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
pub use single_flight::SingleFlight;
pub use wait_group::WaitGroup;
pub use watch::{Watch, WatchClosed, Watcher};

//! A pool of workers: a few coroutines that do the jobs of a queue.
//!
//! Everything is in one [`State`] under a lock: the jobs, how many workers live, how many of them have one. A worker that
//! lives and is not busy will look for a job before it does anything else, whether it waits now or not. So a worker is to
//! be made if there are more jobs than those, and a worker that has waited in vain looks once more, and is counted out
//! under the same lock. The pool is full if jobs and busy workers are as many as workers and places in the queue: so how
//! much it holds does not depend on who has come to run.
//!
//! The lock is one for which nobody parks, held for a few instructions. It is taken by destructors, also by those of who unwinds,
//! which has its home to itself: a [`Mutex`](crate::sync::Mutex) might have been handed to somebody of the same home, who could not run.
//!
//! A worker that is cancelled, which only the end of its runtime does, takes itself out in its [`Worker`]'s drop; the last
//! one drops the jobs that nobody will do. If others are left it makes none in its place, having no runtime to make it in.
//!
//! Tested in `tests/worker_pool.rs`.

use crate::channel::{self, Receiver, RecvTimeoutError, SelectWaker, Waitable};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::cancel::Cancelled;
use crate::sched::watch_list::{Guarded, Held};
use crate::sched::{checkpoint, quietly};
use crate::sync::RawCondvar;
use crate::{Builder, JoinError};
use std::any::Any;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A few coroutines that do jobs, and a queue of so many jobs at most.
///
/// *Plain [`go!`](crate::go) is nearly always better.* A coroutine costs less than a job here, which goes through a queue
/// and a lock, and needs no pool to be cheap. If only so many are to run at once, a [`Group`](crate::group::Group::limit)
/// or a [`Semaphore`](crate::sync::Semaphore) says so with less. A pool is for what these do not do: it takes jobs on
/// without running them, but not without end, so that those who submit are slowed down or refused when it falls behind;
/// and it keeps its coroutines, with what they have become (deep stacks, [coroutine-local](crate::coroutine_local) values,
/// which the jobs of one worker share).
///
/// Workers are made when there are jobs for them, and end when they have had none for [a while](WorkerPoolBuilder::idle).
/// Dropping the pool [closes](Self::close) it: what it has taken on is still done.
///
/// A worker is made in the runtime of who submits a job, and ends with that runtime. The jobs that it would have done are left to the
/// other workers, if there are any; another in its place is made when the next job is submitted, not before. So in a pool that several
/// runtimes share, one of which may end before the others, a job should not wait for another job: all that are left may do so.
///
/// # Examples
/// ```
/// use gort::WorkerPool;
///
/// gort::run(|| {
///     let pool = WorkerPool::builder().workers(2).queue(8).build();
///     let jobs: Vec<_> = (0..100).map(|n: u64| pool.submit(move || n * n).unwrap()).collect();
///     let sum: u64 = jobs.into_iter().map(|job| job.join().unwrap()).sum();
///     assert_eq!(sum, 328_350);
///     pool.join();
/// });
/// ```
pub struct WorkerPool {
    shared: Arc<Shared>,
}

/// Makes a [`WorkerPool`].
///
/// # Examples
/// See [`WorkerPool`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct WorkerPoolBuilder {
    workers: usize,
    queue: usize,
    idle: Duration,
    coroutine: Builder,
}

struct Shared {
    state: Guarded<State>,
    /// For workers: there is a job, or there will be none.
    work: RawCondvar,
    /// For those who submit: there is room, or the pool was closed.
    room: RawCondvar,
    /// For those who join: a worker has ended.
    ended: RawCondvar,
    how: WorkerPoolBuilder,
}

struct State {
    jobs: VecDeque<Job>,
    alive: usize,
    /// Those of them that have a job.
    busy: usize,
    closed: bool,
}

impl Shared {
    fn is_full(&self, state: &State) -> bool {
        state.jobs.len() + state.busy >= self.how.workers.saturating_add(self.how.queue)
    }

    /// Waits for what `for_what` tells, or until `deadline`, with the state unlocked meanwhile.
    fn wait<'a>(&'a self, for_what: &RawCondvar, state: Held<'a, State>, deadline: Nanos) -> Held<'a, State> {
        for_what.wait(deadline, || drop(state), || self.state.lock()).0
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
        self.room.notify_all();
        self.ended.notify_all();
    }
}

/// A worker's share of the state.
struct Worker {
    shared: Arc<Shared>,
    busy: bool,
    /// It is not counted any more.
    gone: bool,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// The next job, if there is one before it is time to go.
    fn next(&mut self) -> Option<Job> {
        checkpoint();
        if self.busy {
            self.busy = false;
            self.shared.state.lock().busy -= 1;
            self.shared.room.notify_one();
        }
        let until = clock::after(self.shared.how.idle);
        let mut state = self.shared.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                self.busy = true;
                state.busy += 1;
                return Some(job);
            }
            if state.closed || until <= clock::now() {
                // Now: whoever submits next is not to count on this one.
                self.gone = true;
                state.alive -= 1;
                return None;
            }
            state = self.shared.wait(&self.shared.work, state, until);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut left = VecDeque::new();
        if !self.gone {
            let mut state = self.shared.state.lock();
            state.alive -= 1;
            state.busy -= usize::from(self.busy);
            if state.alive == 0 {
                left = std::mem::take(&mut state.jobs);
            }
        }
        self.shared.room.notify_all();
        self.shared.ended.notify_all();
        // User code, which may do anything.
        drop(left);
    }
}

impl WorkerPool {
    /// A pool of so many workers at most, with as many places in its queue.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let pool = gort::WorkerPool::new(4);
    ///     assert_eq!(pool.submit(|| 6 * 7).unwrap().join().unwrap(), 42);
    /// });
    /// ```
    ///
    /// # Panics
    /// If `workers` is 0.
    pub fn new(workers: usize) -> WorkerPool {
        WorkerPool::builder().workers(workers).queue(workers).build()
    }

    /// To set more than that. Without further words: one worker, no queue, ten seconds.
    ///
    /// # Examples
    /// See [`WorkerPool`].
    pub fn builder() -> WorkerPoolBuilder {
        let coroutine = Builder::new().name("worker");
        WorkerPoolBuilder { workers: 1, queue: 0, idle: Duration::from_secs(10), coroutine }
    }

    /// Gives the pool a job, when there is room for it.
    ///
    /// # Examples
    /// See [`WorkerPool`].
    ///
    /// # Errors
    /// [`Closed`](SubmitError::Closed) if the pool is closed, or is so before there is room.
    ///
    /// # Panics
    /// Where [`spawn`](crate::spawn) does, on a plain thread for one, if a worker has to be started and there is no other.
    /// The job is dropped.
    ///
    /// # Scheduling
    /// Parks the coroutine until there is room; may be cancelled. Blocks a plain thread.
    pub fn submit<F, T>(&self, f: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.give(f, Some(NEVER))
    }

    /// Gives the pool a job, if there is room for it now.
    ///
    /// # Examples
    /// ```
    /// use gort::{SubmitError, WorkerPool, channel};
    /// gort::run(|| {
    ///     let pool = WorkerPool::builder().workers(1).queue(1).build();
    ///     let (sender, receiver) = channel::bounded::<()>(0);
    ///     let busy = pool.submit(move || receiver.recv().is_err()).unwrap();
    ///     let queued = pool.try_submit(|| "queued").unwrap();
    ///     assert!(matches!(pool.try_submit(|| ()), Err(SubmitError::Full(_))));
    ///     drop(sender);
    ///     assert_eq!((busy.join().unwrap(), queued.join().unwrap()), (true, "queued"));
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Full`](SubmitError::Full) if there is no room, [`Closed`](SubmitError::Closed) if the pool is closed.
    ///
    /// # Panics
    /// As [`submit`](Self::submit).
    ///
    /// # Scheduling
    /// Does not wait for room.
    pub fn try_submit<F, T>(&self, f: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.give(f, None)
    }

    /// Gives the pool a job, if there is room for it before `timeout` has passed.
    ///
    /// # Examples
    /// ```
    /// use gort::{SubmitError, WorkerPool};
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let pool = WorkerPool::builder().workers(1).build();
    ///     let wakes = gort::go!(gort::park);
    ///     let sleeper = wakes.coroutine();
    ///     let busy = pool.submit(move || wakes.join().is_ok()).unwrap();
    ///     let refused = pool.submit_timeout(|| 5, Duration::from_millis(1)).unwrap_err();
    ///     assert!(matches!(refused, SubmitError::TimedOut(_)));
    ///     sleeper.unpark();
    ///     assert!(busy.join().unwrap());
    ///     assert_eq!(pool.submit(refused.into_inner()).unwrap().join().unwrap(), 5);
    /// });
    /// ```
    ///
    /// # Errors
    /// [`TimedOut`](SubmitError::TimedOut) if that has passed, [`Closed`](SubmitError::Closed) as for
    /// [`submit`](Self::submit).
    ///
    /// # Panics
    /// As [`submit`](Self::submit).
    ///
    /// # Scheduling
    /// As [`submit`](Self::submit).
    pub fn submit_timeout<F, T>(&self, f: F, timeout: Duration) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.give(f, Some(clock::after(timeout)))
    }

    /// Gives it the job, for which it waits for room until `deadline`, if there is one.
    fn give<F, T>(&self, f: F, deadline: Option<Nanos>) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        checkpoint();
        let shared = &self.shared;
        let mut state = shared.state.lock();
        loop {
            if state.closed {
                return Err(SubmitError::Closed(f));
            }
            if !shared.is_full(&state) {
                break;
            }
            state = match deadline {
                None => return Err(SubmitError::Full(f)),
                Some(deadline) if deadline <= clock::now() => return Err(SubmitError::TimedOut(f)),
                Some(deadline) => shared.wait(&shared.room, state, deadline),
            };
        }
        let (sender, result) = channel::bounded(1);
        state.jobs.push_back(Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(f));
            match outcome {
                // The worker is to end, and whoever waits sees that nothing comes.
                Err(payload) if payload.is::<Cancelled>() => resume_unwind(payload),
                outcome => {
                    // There is room. If nobody wants it, it is dropped here, and a panic then is nobody's either.
                    quietly(|| drop(sender.send(outcome)));
                }
            }
        }));
        let more = state.jobs.len() > state.alive - state.busy && state.alive < shared.how.workers;
        state.alive += usize::from(more);
        drop(state);
        if more {
            let worker = Worker { shared: shared.clone(), busy: false, gone: false };
            // If it cannot be started it ends: then another one does the job, or nobody is there.
            if let Err(error) = shared.how.coroutine.clone().spawn(move || worker.run())
                && self.workers() == 0
            {
                panic!("{error}");
            }
        } else {
            shared.work.notify_one();
        }
        Ok(JobHandle { result })
    }

    /// Takes no more jobs. Those that it has are still done.
    ///
    /// # Examples
    /// ```
    /// use gort::{SubmitError, WorkerPool};
    /// gort::run(|| {
    ///     let pool = WorkerPool::new(1);
    ///     let job = pool.submit(|| 1).unwrap();
    ///     pool.close();
    ///     assert!(matches!(pool.submit(|| 2), Err(SubmitError::Closed(_))));
    ///     assert_eq!(job.join().unwrap(), 1);
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Does not wait for the jobs.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Closes the pool and waits until all its jobs are done and its workers have ended.
    ///
    /// # Examples
    /// See [`WorkerPool`].
    ///
    /// # Scheduling
    /// Parks the coroutine; may be cancelled: then the pool is closed, and its jobs go on. Blocks a plain thread. A job
    /// must not call it for its own pool.
    pub fn join(self) {
        self.close();
        let mut state = self.shared.state.lock();
        while state.alive > 0 {
            state = self.shared.wait(&self.shared.ended, state, NEVER);
        }
    }

    /// How many workers there are now.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let pool = gort::WorkerPool::new(8);
    ///     assert_eq!(pool.workers(), 0);
    ///     pool.submit(|| ()).unwrap().join().unwrap();
    ///     assert_eq!(pool.workers(), 1);
    /// });
    /// ```
    pub fn workers(&self) -> usize {
        self.shared.state.lock().alive
    }

    /// How many jobs no worker has begun.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| assert_eq!(gort::WorkerPool::new(8).queued(), 0));
    /// ```
    pub fn queued(&self) -> usize {
        self.shared.state.lock().jobs.len()
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        let (workers, busy, queued, closed) = (state.alive, state.busy, state.jobs.len(), state.closed);
        // What is written to may be anything.
        drop(state);
        f.debug_struct("WorkerPool")
            .field("workers", &workers)
            .field("busy", &busy)
            .field("queued", &queued)
            .field("closed", &closed)
            .finish_non_exhaustive()
    }
}

impl WorkerPoolBuilder {
    /// So many jobs are done at a time at most.
    ///
    /// # Examples
    /// See [`WorkerPool`].
    pub fn workers(mut self, workers: usize) -> WorkerPoolBuilder {
        self.workers = workers;
        self
    }

    /// So many jobs may wait besides those that are being done.
    ///
    /// # Examples
    /// See [`WorkerPool`].
    pub fn queue(mut self, jobs: usize) -> WorkerPoolBuilder {
        self.queue = jobs;
        self
    }

    /// A worker that has had no job for so long ends.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let pool = gort::WorkerPool::builder().idle(Duration::from_millis(1)).build();
    ///     pool.submit(|| ()).unwrap().join().unwrap();
    ///     while pool.workers() > 0 {
    ///         gort::yield_now();
    ///     }
    /// });
    /// ```
    pub fn idle(mut self, time: Duration) -> WorkerPoolBuilder {
        self.idle = time;
        self
    }

    /// The workers are made as `builder` says: with a name other than "worker", with larger stacks.
    ///
    /// # Examples
    /// ```
    /// use gort::{Builder, WorkerPool};
    /// gort::run(|| {
    ///     let pool = WorkerPool::builder().coroutine(Builder::new().name("indexer")).build();
    ///     let name = pool.submit(|| gort::current().name().map(String::from)).unwrap();
    ///     assert_eq!(name.join().unwrap().as_deref(), Some("indexer"));
    /// });
    /// ```
    pub fn coroutine(mut self, builder: Builder) -> WorkerPoolBuilder {
        self.coroutine = builder;
        self
    }

    /// Makes the pool, without workers as yet.
    ///
    /// # Examples
    /// See [`WorkerPool`].
    ///
    /// # Panics
    /// If there are to be 0 workers.
    pub fn build(self) -> WorkerPool {
        assert!(self.workers > 0, "gort: a WorkerPool of 0 workers would never do a job");
        let state = State { jobs: VecDeque::new(), alive: 0, busy: 0, closed: false };
        let (work, room, ended) = (RawCondvar::new(), RawCondvar::new(), RawCondvar::new());
        WorkerPool { shared: Arc::new(Shared { state: Guarded::new(state), work, room, ended, how: self }) }
    }
}

type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// The right to the result of a job. Dropping it lets the job go on.
///
/// It can be a case of a [`select!`](crate::select): ready when the job is done.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let pool = gort::WorkerPool::new(2);
///     let good = pool.submit(|| 1).unwrap();
///     let bad = pool.submit(|| if true { panic!("no") }).unwrap();
///     assert_eq!(good.join().unwrap(), 1);
///     assert!(bad.join().unwrap_err().is_panic());
/// });
/// ```
pub struct JobHandle<T> {
    result: Receiver<Outcome<T>>,
}

impl<T> JobHandle<T> {
    /// Waits until the job is done and returns its value.
    ///
    /// # Examples
    /// See [`JobHandle`].
    ///
    /// # Errors
    /// [`JoinError::Panicked`] with the payload if the job panicked; [`JoinError::Cancelled`] if the runtime of the
    /// workers ended before it was done.
    ///
    /// # Scheduling
    /// Parks the coroutine until the job is done; may be cancelled. Blocks a plain thread.
    pub fn join(self) -> Result<T, JoinError> {
        self.result.recv().map_or(Err(JoinError::Cancelled), |outcome| outcome.map_err(JoinError::Panicked))
    }

    /// [`join`](Self::join), but for at most `timeout`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// gort::run(|| {
    ///     let pool = gort::WorkerPool::new(1);
    ///     let (sender, receiver) = gort::channel::bounded(0);
    ///     let job = pool.submit(move || receiver.recv().unwrap()).unwrap();
    ///     let job = job.join_timeout(Duration::from_millis(1)).unwrap_err();
    ///     sender.send(5).unwrap();
    ///     assert_eq!(job.join().unwrap(), 5);
    /// });
    /// ```
    ///
    /// # Errors
    /// The outer error is the handle, when the time is over. The inner one is that of [`join`](Self::join).
    ///
    /// # Scheduling
    /// As [`join`](Self::join).
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JobHandle<T>> {
        match self.result.recv_timeout(timeout) {
            Ok(outcome) => Ok(outcome.map_err(JoinError::Panicked)),
            Err(RecvTimeoutError::Disconnected) => Ok(Err(JoinError::Cancelled)),
            Err(RecvTimeoutError::Timeout) => Err(self),
        }
    }

    /// Whether the job is done, so that `join` would return at once.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let pool = gort::WorkerPool::new(1);
    ///     let job = pool.submit(|| ()).unwrap();
    ///     while !job.is_finished() {
    ///         gort::yield_now();
    ///     }
    /// });
    /// ```
    ///
    /// # Scheduling
    /// Returns at once.
    pub fn is_finished(&self) -> bool {
        self.result.is_ready()
    }
}

/// Ready when the job is done.
impl<T> Waitable for JobHandle<T> {
    fn is_ready(&self) -> bool {
        self.is_finished()
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        self.result.watch(waker)
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.result.unwatch(waker);
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("finished", &self.is_finished()).finish()
    }
}

/// Why a pool has not taken a job, which it gives back.
///
/// # Examples
/// See [`WorkerPool::try_submit`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SubmitError<F> {
    /// There is no room.
    Full(F),
    /// There was no room in time.
    TimedOut(F),
    /// The pool is closed.
    Closed(F),
}

impl<F> SubmitError<F> {
    /// The job.
    ///
    /// # Examples
    /// See [`WorkerPool::submit_timeout`].
    pub fn into_inner(self) -> F {
        match self {
            SubmitError::Full(f) | SubmitError::TimedOut(f) | SubmitError::Closed(f) => f,
        }
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitError::Full(_) => "Full(..)",
            SubmitError::TimedOut(_) => "TimedOut(..)",
            SubmitError::Closed(_) => "Closed(..)",
        })
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitError::Full(_) => "the worker pool is full",
            SubmitError::TimedOut(_) => "the worker pool had no room in time",
            SubmitError::Closed(_) => "the worker pool is closed",
        })
    }
}

impl<F> Error for SubmitError<F> {}

//! A runtime: its Ps, queues, homes and stacks, from start to end.

use super::adapt::Adapt;
use super::affinity::Affinity;
use super::blocking::Spares;
use super::builder::RuntimeBuilder;
use super::g::{self, Extra, GRef};
use super::home::Homes;
use super::idle::Idle;
use super::join::{JoinError, JoinHandle};
use super::m::M;
use super::p::HeldP;
use super::preempt::{self, Pin};
use super::ps::{By, Ps};
use super::spawn::{Builder, or_panic};
use super::starter::Starter;
use super::{cancel, deadlock, sysmon};
use crate::os;
use crate::os::clock::{self, Nanos};
use crate::os::signal::SignalMask;
use crate::poll::Poller;
use crate::stack::{Class, Pool};
use crossbeam_deque::{Injector, Steal};
use std::fmt;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the drop of a runtime waits while no coroutine ends.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// What all Ms of a runtime share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) ps: Ps,
    /// The global queue: what threads without a P ready or spawn.
    pub(crate) injector: Injector<GRef>,
    pub(crate) idle: Idle,
    pub(crate) homes: Homes,
    pub(crate) stacks: Pool,
    pub(crate) stack_class: Class,
    pub(crate) poller: Arc<Poller>,
    pub(crate) slice_ns: Nanos,
    /// How long turns last by the clock, of those who take turns.
    pub(super) turn_ns: AtomicU64,
    /// Somebody is blocked in the middle of what it cannot be suspended in.
    pub(super) held_up: AtomicBool,
    pub(crate) keep_alive_ns: Nanos,
    thread_cap: usize,
    /// When somebody last looked at the netpoller; by the coarse eye of sysmon.
    polls: AtomicU64,
    /// How the number of Ps follows the load, if it does.
    pub(crate) adapt: Option<Adapt>,
    /// Ms that wait for a P.
    pub(crate) waiting: preempt::Queue,
    /// Whether coroutines that do not come back are suspended.
    pub(crate) preemptive: bool,
    /// The signals that are blocked on its threads: those that were where it was built.
    pub(crate) mask: SignalMask,
    /// The CPUs that its threads run on, if not those of the thread where it was built.
    pub(crate) affinity: Option<Affinity>,
    pub(crate) spawned_outside: AtomicU64,
    /// No more spawns: the runtime is being dropped.
    closing: AtomicBool,
    stopping: AtomicBool,
    /// The last attempt to get a stack failed; the coroutines that wait for one.
    starved: AtomicBool,
    starving: Mutex<Starving>,
    ms: Mutex<Ms>,
    /// The first of all Ms that run; linked through them, and never locked by who may allocate.
    roll: Mutex<Option<&'static M>>,
    ms_changed: Condvar,
    pub(crate) starter: Starter,
    pub(crate) spares: Spares,
    /// Threads that are inside [`Self::inject_from_outside`].
    pub(super) visitors: AtomicUsize,
    /// Counts ends while the runtime is being dropped.
    ends: AtomicU32,
}

#[derive(Default)]
struct Starving {
    error: Option<(io::ErrorKind, String)>,
    waiting: Vec<GRef>,
}

#[derive(Default)]
struct Ms {
    /// Those that run.
    running: usize,
    /// Those of them that serve certain coroutines only (`os_thread.rs`).
    set_aside: usize,
    /// Those that were ever started and have not been joined.
    threads: Vec<thread::JoinHandle<()>>,
}

/// What the builder makes a runtime of.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) ps: Ps,
    pub(super) idle: Idle,
    pub(super) homes: Homes,
    pub(super) stacks: Pool,
    pub(super) stack_class: Class,
    pub(super) slice_ns: Nanos,
    pub(super) keep_alive_ns: Nanos,
    pub(super) thread_cap: usize,
    pub(super) adapt: Option<Adapt>,
    pub(super) preemptive: bool,
    pub(super) affinity: Option<Affinity>,
    pub(super) spares: Spares,
}

impl Shared {
    pub(crate) fn p(&self, index: usize) -> HeldP {
        // SAFETY: a runtime's Ps live as long as its Ms, and only Ms hold Ps.
        unsafe { &*ptr::from_ref(self.ps.get(index)) }
    }

    /// Queues `g` where any P will find it, and wakes one.
    pub(crate) fn inject(&self, g: GRef) {
        self.injector.push(g);
        self.notify_without_p();
        if self.idle.idle_ps() == 0 {
            sysmon::has_injected();
        }
    }

    /// [`Self::inject`] for a thread that nothing else keeps the runtime alive for: `g` may run and
    /// end, and with it the runtime, before the caller has looked whom to wake.
    pub(crate) fn inject_from_outside(&self, g: GRef) {
        // Others spin while somebody is in the middle of a push.
        let _pin = Pin::new();
        // Relaxed: `g` is alive and the caller's, so `end` has not come to look at this yet.
        self.visitors.fetch_add(1, Ordering::Relaxed);
        self.inject(g);
        // Release: the last access; pairs with the Acquire in `end`.
        self.visitors.fetch_sub(1, Ordering::Release);
    }

    /// Keeps the runtime's memory for the length of `f`, in which what the caller has of it may end.
    pub(crate) fn visit<R>(&self, f: impl FnOnce() -> R) -> R {
        // Relaxed: as in `inject_from_outside`.
        self.visitors.fetch_add(1, Ordering::Relaxed);
        let result = f();
        // Release: the last access; pairs with the Acquire in `end`.
        self.visitors.fetch_sub(1, Ordering::Release);
        result
    }

    /// [`Self::inject`] without waking: for callers that give up a P or a home, and look at the queues
    /// afterwards.
    pub(crate) fn inject_quietly(&self, g: GRef) {
        self.injector.push(g);
    }

    /// One coroutine from the global queue.
    pub(crate) fn steal_injected_one(&self) -> Option<GRef> {
        loop {
            match self.injector.steal() {
                Steal::Success(g) => return Some(g),
                Steal::Retry => std::hint::spin_loop(),
                Steal::Empty => return None,
            }
        }
    }

    /// Whether new coroutines are taken.
    #[inline(always)]
    pub(crate) fn admit(&self) -> io::Result<()> {
        // Relaxed: a spawn that slips through is cancelled with the others.
        if self.closing.load(Ordering::Relaxed) || self.starved.load(Ordering::Relaxed) {
            return self.refuse();
        }
        Ok(())
    }

    #[cold]
    fn refuse(&self) -> io::Result<()> {
        // Relaxed: as above.
        if self.closing.load(Ordering::Relaxed) {
            let text = format!("gort: spawn after shutdown: runtime `{}` is being dropped", self.name);
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, text));
        }
        let starving = self.starving.lock().unwrap_or_else(|e| e.into_inner());
        match &starving.error {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }

    /// There is no stack for `g`: it waits until a coroutine ends, and spawns fail till then.
    #[cold]
    pub(crate) fn no_stack(&self, g: GRef, error: io::Error) {
        let mut starving = self.starving.lock().unwrap_or_else(|e| e.into_inner());
        starving.error = Some((error.kind(), error.to_string()));
        starving.waiting.push(g);
        // Relaxed: `refuse`, `one_ended` and sysmon look again under the lock.
        self.starved.store(true, Ordering::Relaxed);
    }

    /// Whether coroutines wait for a stack.
    pub(crate) fn is_starved(&self) -> bool {
        // Relaxed: a hint.
        self.starved.load(Ordering::Relaxed)
    }

    /// Those who wait for a stack try again. The one that ended last may not have
    /// seen them, the memory may be another's that has given it back, or the stacks lie with Ps that are idle.
    pub(crate) fn feed_starving(&self) {
        let mut any = false;
        for index in 0..self.ps.len() {
            // One at a time: it may be long in `malloc`, and others may need the rest.
            let Some(p) = self.take_idle(index) else { continue };
            // SAFETY: just taken out of the list, so held by this thread.
            unsafe { p.local() }.stacks.drain(&self.stacks);
            self.put_idle_p(p); // T1, T2
            any = true;
        }
        self.retry_starving();
        if any && self.needs_somebody() {
            self.wake_one(); // T3
        }
    }

    fn retry_starving(&self) {
        let waiting = {
            let mut starving = self.starving.lock().unwrap_or_else(|e| e.into_inner());
            // Relaxed: under the lock.
            self.starved.store(false, Ordering::Relaxed);
            starving.error = None;
            std::mem::take(&mut starving.waiting)
        };
        for g in waiting {
            self.inject(g);
        }
    }

    /// A coroutine has ended.
    #[inline(always)]
    pub(crate) fn one_ended(&self) {
        // Relaxed: see `no_stack`; `drop` looks at the counters itself.
        if self.starved.load(Ordering::Relaxed) || self.closing.load(Ordering::Relaxed) {
            self.one_ended_slow();
        }
    }

    #[cold]
    fn one_ended_slow(&self) {
        self.retry_starving();
        // Release: what the coroutine did comes before the end of the runtime's drop.
        self.ends.fetch_add(1, Ordering::Release);
        os::futex::wake(&self.ends, 1);
    }

    /// Coroutines that have been spawned and have not ended.
    pub(crate) fn live(&self) -> u64 {
        // Ends first: an end that is seen has its spawn seen too, by the queue between them.
        // Acquire: pairs with the Release in `count`; so the loads below may be Relaxed.
        let ended: u64 = self.ps.iter().map(|p| p.ended.load(Ordering::Acquire)).sum();
        let inside: u64 = self.ps.iter().map(|p| p.spawned.load(Ordering::Relaxed)).sum();
        let outside = self.spawned_outside.load(Ordering::Relaxed);
        (inside + outside).saturating_sub(ended)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        // Acquire: pairs with the Release in `end`.
        self.stopping.load(Ordering::Acquire)
    }

    /// A coroutine was put into a `next` slot: if another P is idle sysmon sees to it that it
    /// does not stay there.
    #[inline(always)]
    pub(crate) fn watch(&self) {
        // A hint: sysmon comes by in any case.
        if self.idle.idle_ps() != 0 {
            sysmon::watch_slots();
        }
    }

    /// Somebody looks at the netpoller now.
    pub(crate) fn note_poll(&self) {
        // Relaxed: a sign of life for sysmon.
        self.polls.store(self.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How often somebody has looked at the netpoller.
    pub(crate) fn polls(&self) -> u64 {
        // Relaxed: as above.
        self.polls.load(Ordering::Relaxed)
    }

    fn lock_ms(&self) -> MutexGuard<'_, Ms> {
        self.ms.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Starts a thread that runs coroutines, with `p`. False if there is none to be had.
    pub(crate) fn start_m(&self, p: Option<HeldP>, searching: bool) -> bool {
        {
            let mut ms = self.lock_ms();
            // The end waits for those that are counted, with this lock held, and comes after `stopping`.
            if ms.running >= self.thread_cap + ms.set_aside || self.is_stopping() {
                return false;
            }
            ms.running += 1;
            ms.threads.retain(|thread| !thread.is_finished());
            if ms.set_aside > 0 {
                self.idle.make_room(ms.running);
            }
        }
        // No thread is to inherit from one that is set aside, or is not of this runtime.
        let heir = M::current().is_some_and(|m| ptr::eq(m.rt, self) && !m.is_set_aside());
        if !heir && self.starter.start(p, searching) {
            return true;
        }
        let started = self.start_thread(p, searching);
        if !started {
            self.cancel_start();
        }
        started
    }

    /// Starts a thread that is counted already. False if there is none to be had.
    pub(crate) fn start_thread(&self, p: Option<HeldP>, searching: bool) -> bool {
        // SAFETY: the runtime is not freed before all Ms that are counted have ended.
        let rt: &'static Shared = unsafe { &*ptr::from_ref(self) };
        let name = format!("{}-m", self.name);
        let spawned = thread::Builder::new().name(name).spawn(move || M::run(rt, p, searching));
        if let Ok(thread) = spawned {
            self.lock_ms().threads.push(thread);
            return true;
        }
        false
    }

    /// A thread that is counted will not be started.
    pub(crate) fn cancel_start(&self) {
        self.starter.has_m();
        let mut ms = self.lock_ms();
        ms.running -= 1;
        self.ms_changed.notify_all();
    }

    /// One more M serves certain coroutines only, or one less.
    pub(crate) fn count_set_aside(&self, more: bool) {
        let mut ms = self.lock_ms();
        ms.set_aside = if more { ms.set_aside + 1 } else { ms.set_aside - 1 };
    }

    pub(crate) fn add_m(&self, m: &'static M) {
        deadlock::thread_began();
        let mut roll = self.roll.lock().unwrap_or_else(|e| e.into_inner());
        m.next_in_roll.set(roll.replace(m));
    }

    pub(crate) fn remove_m(&self, m: &'static M) {
        deadlock::thread_ended();
        {
            let mut roll = self.roll.lock().unwrap_or_else(|e| e.into_inner());
            match std::iter::successors(*roll, |m| m.next_in_roll.get())
                .find(|other| other.next_in_roll.get().is_some_and(|next| ptr::eq(next, m)))
            {
                Some(before) => before.next_in_roll.set(m.next_in_roll.get()),
                None => *roll = m.next_in_roll.get(),
            }
        }
        let mut ms = self.lock_ms();
        ms.running -= 1;
        ms.set_aside -= usize::from(m.is_set_aside());
        self.ms_changed.notify_all();
    }

    /// For sysmon: each M, which stays during the call; none, and false, if the list is in use. It must not wait for whoever
    /// uses it, nor allocate.
    pub(crate) fn for_each_m(&self, each: impl FnMut(&'static M)) -> bool {
        let roll = match self.roll.try_lock() {
            Ok(roll) => roll,
            Err(TryLockError::Poisoned(roll)) => roll.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        std::iter::successors(*roll, |m| m.next_in_roll.get()).for_each(each);
        true
    }

    /// Whether all Ms are in the list of idle ones: none is on its way to or from a coroutine.
    pub(crate) fn are_ms_asleep(&self) -> bool {
        let ms = self.lock_ms().running;
        self.idle.are_asleep(ms)
    }

    /// Whether nobody holds a P.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.held_ps() == 0
    }
}

/// The poller of the calling coroutine's runtime.
pub(crate) fn current_poller() -> Option<&'static Arc<Poller>> {
    M::current_coroutine()?;
    M::current().map(|m| &m.rt.poller)
}

/// A scheduling domain: Ps, homes, a netpoller and limits of its own. Several live side by side
/// in one process.
///
/// Dropping it cancels every coroutine that is left, waits for them to unwind (until none has
/// ended for five seconds; what is left then is named on standard error and stays), and ends its
/// threads. Whoever drops it is blocked meanwhile, thread and all, also a coroutine of another
/// runtime. If one of its own coroutines drops it, another thread ends it. With `panic = "abort"` coroutines cannot unwind, and one that
/// is left parked ends the process, with a message.
///
/// Sockets outlive their runtime. Its netpoller (an epoll descriptor) stays open until the last socket that
/// has waited in it is dropped, or has waited in another runtime.
///
/// # Examples
/// ```
/// let rt = gort::Runtime::builder().procs(2).name("jobs").build()?;
/// let handle = rt.spawn(|| 1 + 1);
/// assert_eq!(rt.run(|| handle.join().unwrap()), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    shared: *const Shared,
}

// SAFETY: `Shared` is made to be used by many threads; the pointer is valid until the drop.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}
// A panic leaves nothing of it half done that anybody could see.
impl std::panic::UnwindSafe for Runtime {}
impl std::panic::RefUnwindSafe for Runtime {}

impl Runtime {
    /// A runtime of these parts with `procs` Ps.
    pub(super) fn start(parts: Parts, procs: usize, by: By) -> io::Result<Runtime> {
        let shared = Box::into_raw(Box::new(Shared {
            name: parts.name,
            ps: parts.ps,
            injector: Injector::new(),
            idle: parts.idle,
            homes: parts.homes,
            stacks: parts.stacks,
            stack_class: parts.stack_class,
            poller: Arc::new(Poller::new()?),
            slice_ns: parts.slice_ns,
            turn_ns: AtomicU64::new(parts.slice_ns),
            held_up: AtomicBool::new(false),
            keep_alive_ns: parts.keep_alive_ns,
            thread_cap: parts.thread_cap,
            polls: AtomicU64::new(0),
            adapt: parts.adapt,
            waiting: preempt::Queue::default(),
            preemptive: parts.preemptive,
            mask: SignalMask::of_thread(),
            affinity: parts.affinity,
            spawned_outside: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            starving: Mutex::new(Starving::default()),
            ms: Mutex::new(Ms::default()),
            roll: Mutex::new(None),
            ms_changed: Condvar::new(),
            starter: Starter::default(),
            spares: parts.spares,
            visitors: AtomicUsize::new(0),
            ends: AtomicU32::new(0),
        }));
        let runtime = Runtime { shared };
        runtime.shared().resize(procs, by);
        runtime.shared().homes.make_first()?;
        Starter::begin(runtime.shared())?;
        sysmon::register(runtime.shared())?;
        Ok(runtime)
    }

    /// A runtime with the defaults.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::new()?;
    /// assert_eq!(rt.run(|| 1 + 1), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`RuntimeBuilder::build`].
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// The settings of a runtime that is not like the others.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().name("jobs").procs(1).build()?;
    /// assert_eq!((rt.name(), rt.procs()), ("jobs", 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> &'static Shared {
        // SAFETY: valid until the drop, which needs `self` by itself; what is made of the
        // reference (coroutines) is ended there.
        unsafe { &*self.shared }
    }

    /// Runs `f` as a coroutine and returns its value when it ends. Others that it has spawned
    /// go on.
    ///
    /// `f` may borrow from the caller, who waits.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::new()?;
    /// let words = ["a", "bc"];
    /// let background = rt.run(|| {
    ///     assert_eq!(words.len(), 2);
    ///     gort::go!(|| gort::park()) // goes on after `run`
    /// });
    /// assert!(!background.is_finished());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `f` panics, with the same payload; if the runtime cannot make the coroutine, with the
    /// error of [`Builder::spawn`].
    ///
    /// # Scheduling
    /// Blocks the calling thread. If a coroutine calls it, of this runtime or another, it parks; a
    /// [`cancel`](JoinHandle::cancel) of that coroutine takes effect after it.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // Ends with the coroutine, not with the wait for it: a thread that has been woken but has no
        // CPU yet waits no longer.
        let waits = deadlock::Waits::new();
        let f = move || {
            let _waits = waits;
            f()
        };
        let site = std::panic::Location::caller();
        let plan = super::spawn::Plan { extra: Extra::named("main"), class: None, own_home: false, local: false, site };
        // SAFETY: this call does not return, by value or by unwinding, before the coroutine
        // has ended and its handle has gone: `join` is shielded and has no deadline.
        let handle: JoinHandle<T> = unsafe { super::spawn::spawn_inner(Some(self.shared()), plan, f) };
        match cancel::shield(|| handle.join()) {
            Ok(value) => value,
            Err(JoinError::Panicked(payload)) => std::panic::resume_unwind(payload),
            Err(JoinError::Cancelled) => panic!("the runtime's main coroutine was cancelled"),
        }
    }

    /// Starts a coroutine on this runtime, from anywhere.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::new()?;
    /// let handle = rt.spawn(|| 6 * 7);
    /// assert_eq!(handle.join().unwrap(), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// Where [`Self::try_spawn`] returns an error.
    ///
    /// # Scheduling
    /// Does not park or block. The coroutine runs as soon as there is a P for it.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        or_panic(self.try_spawn(Builder::new(), f))
    }

    /// Starts a coroutine on this runtime as `builder` says, from anywhere.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::new()?;
    /// let handle = rt.try_spawn(gort::Builder::new().name("answer"), || 42)?;
    /// assert_eq!(handle.name(), Some("answer"));
    /// assert_eq!(handle.join().unwrap(), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Builder::spawn`], but for `NotConnected`: the caller may be a plain thread.
    ///
    /// # Scheduling
    /// As [`Self::spawn`].
    #[track_caller]
    pub fn try_spawn<F, T>(&self, builder: Builder, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        builder.spawn_on(self.shared(), f)
    }

    /// How many coroutines have been spawned on it and have not ended. A moment's figure, if they
    /// come and go.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::new()?;
    /// assert_eq!(rt.live(), 0);
    /// let handle = rt.spawn(gort::park);
    /// assert_eq!(rt.live(), 1);
    /// handle.coroutine().unpark();
    /// handle.join().unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn live(&self) -> u64 {
        self.shared().live()
    }

    /// How many homes (thread identities) have been made for its coroutines; 0 if they do not
    /// [move](Self::coroutines_move).
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::new()?;
    /// rt.run(|| {
    ///     let handles: Vec<_> = (0..10).map(|_| gort::go!(gort::yield_now)).collect();
    ///     handles.into_iter().for_each(|handle| handle.join().unwrap());
    /// });
    /// assert!(rt.homes() <= 11);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn homes(&self) -> usize {
        self.shared().homes.count()
    }

    /// Whether its coroutines move between threads. If not (the CPU or kernel does not allow
    /// it, or `GORT_DEBUG` has `homes=fixed`) each stays on the thread where it first ran.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::new()?;
    /// if !rt.coroutines_move() {
    ///     eprintln!("one long computation holds up all that began on the same thread");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn coroutines_move(&self) -> bool {
        self.shared().homes.worn
    }

    /// Its name; see [`RuntimeBuilder::name`].
    ///
    /// # Examples
    /// ```
    /// assert_eq!(gort::Runtime::new()?.name(), "gort");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.shared().name
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("name", &self.name())
            .field("procs", &self.procs())
            .field("live", &self.live())
            .field("homes", &self.homes())
            .field("descriptors", &self.shared().poller.registered())
            .field("timers", &self.shared().ps.iter().map(|p| p.timers.armed()).sum::<usize>())
            .field("stacks", &self.shared().stacks.metrics())
            .finish()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let shared = self.shared();
        if M::current().is_some_and(|m| ptr::eq(m.rt, shared)) || shared.spares.is_one() {
            // One of its own coroutines holds the last handle, or what one has given to `blocking`: it cannot wait for itself.
            let address = Address(self.shared);
            if let Err(error) = thread::Builder::new().name("gort-end".into()).spawn(move || end(address)) {
                // Nothing may wait here, and a drop returns no error: its coroutines go on.
                let name = &shared.name;
                let report = format!("gort: runtime `{name}` goes on after its drop: no thread to end it: {error}\n");
                os::signal::write_stderr(report.as_bytes());
            }
            return;
        }
        // A cancelled coroutine (of another runtime) still ends this one properly.
        cancel::shield(|| end(Address(self.shared)));
    }
}

/// Carries the pointer to another thread.
struct Address(*const Shared);
// SAFETY: `Shared` may be used from any thread.
unsafe impl Send for Address {}

/// Ends a runtime: nobody spawns on it any more, everybody in it is cancelled.
fn end(address: Address) {
    // SAFETY: the `Runtime` is being dropped, so this is the only user besides its own Ms.
    let shared: &'static Shared = unsafe { &*address.0 };
    // Relaxed: see `admit`.
    shared.closing.store(true, Ordering::Relaxed);
    let mut deadline = Instant::now() + DROP_TIMEOUT;
    let mut before = u64::MAX;
    while shared.live() > 0 {
        g::for_each_alive(shared, cancel::request);
        crate::shim::asymmetric::heavy(); // for all the requests at once; see `cancel.rs`
        g::for_each_alive(shared, cancel::poke);
        // Those that were poked are on their way; new ones come up as they end.
        let pause = clock::now() + 2_000_000;
        while shared.live() > 0 && clock::now() < pause {
            // Acquire: pairs with the Release in `one_ended_slow`.
            let ends = shared.ends.load(Ordering::Acquire);
            if shared.live() > 0 {
                os::futex::wait(&shared.ends, ends, pause);
            }
        }
        let live = shared.live();
        if live < before {
            before = live;
            deadline = Instant::now() + DROP_TIMEOUT;
        } else if live > 0 && Instant::now() >= deadline {
            return deadlock::report_left_over(shared);
        }
    }
    sysmon::unregister(shared);
    // Acquire: pairs with the Release in `inject_from_outside`.
    while shared.visitors.load(Ordering::Acquire) > 0 {
        thread::yield_now();
    }
    // Release: pairs with the Acquire in `is_stopping`.
    shared.stopping.store(true, Ordering::Release);
    crate::shim::asymmetric::heavy(); // an M that goes to sleep sees it, or is in the list
    let mut ms = shared.lock_ms();
    while ms.running > 0 {
        shared.call_all();
        ms = shared.ms_changed.wait_timeout(ms, Duration::from_millis(10)).unwrap_or_else(|e| e.into_inner()).0;
    }
    drop(ms);
    shared.starter.end();
    let threads = std::mem::take(&mut shared.lock_ms().threads);
    shared.spares.end();
    for thread in threads {
        // An M's thread catches every panic of its coroutines; one of its own is a bug and has
        // been printed by the hook.
        let _ = thread.join();
    }
    for p in shared.ps.iter() {
        // SAFETY: no M is left.
        unsafe { p.end(shared) };
    }
    // SAFETY: no coroutine is alive and no M is left.
    unsafe { shared.homes.end() };
    shared.poller.end();
    // SAFETY: made by `Box::into_raw` in `Runtime::start`; nobody uses it any more.
    drop(unsafe { Box::from_raw(address.0.cast_mut()) });
}

/// Starts a runtime with the defaults, runs `f` as its first coroutine and returns its value.
///
/// When `f` has ended, coroutines that are still there are cancelled (see [`Runtime`]).
///
/// # Examples
/// ```
/// let n = gort::run(|| {
///     let (tx, rx) = gort::channel::bounded(0);
///     gort::go!(move || tx.send(42).unwrap());
///     rx.recv().unwrap()
/// });
/// assert_eq!(n, 42);
/// ```
///
/// # Panics
/// If `f` panics, with the same payload; if the runtime cannot be made (see
/// [`RuntimeBuilder::build`]).
///
/// # Scheduling
/// Blocks the calling thread. A coroutine that calls it (for a runtime inside another) parks while
/// `f` runs, and blocks its thread while the runtime ends.
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    match Runtime::new() {
        Ok(runtime) => runtime.run(f),
        Err(error) => panic!("gort: the runtime could not be started: {error}"),
    }
}

//! Making coroutines, and their end.

use super::g::{self, Extra, GRef, HomeClaim, Op};
use super::gpool;
use super::join::JoinHandle;
use super::m::M;
use super::preempt::Pin;
use super::runtime::Shared;
use super::timers;
use super::wait::{WaitReason, Waiter, Wake};
use super::{labels, local};
use crate::os::clock::Nanos;
use crate::stack::{Class, limits};
use crate::switch;
use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers for coroutines, drawn in blocks.
static IDS: AtomicU64 = AtomicU64::new(1);

/// Draws `count` numbers that nobody else gets.
pub(crate) fn draw_ids(count: u64) -> std::ops::Range<u64> {
    // Relaxed: only uniqueness matters.
    let first = IDS.fetch_add(count, Ordering::Relaxed);
    first..first + count
}

/// A number that no other living task of the process has: odd for a coroutine, even for a plain thread.
pub(crate) fn task_number() -> NonZeroUsize {
    let number = match M::current_coroutine() {
        // Numbers are counted up from 1 and not used again: half of them do not run out.
        Some(g) => (g.id.get() as usize) << 1 | 1,
        // A word of the thread's own: aligned, so even.
        None => switch::m_slot().addr(),
    };
    NonZeroUsize::new(number).expect("odd, or an address")
}

/// How a coroutine is to be made; the parts of a [`Builder`] as the scheduler wants them.
pub(crate) struct Plan {
    /// A name and the like.
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) class: Option<Class>,
    pub(crate) own_home: bool,
    pub(crate) local: bool,
    pub(crate) site: &'static Location<'static>,
}

/// The runtime that a `spawn` without one goes to.
fn runtime_here() -> io::Result<&'static Shared> {
    M::current_coroutine().and_then(|_| M::current()).map(|m| m.rt).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotConnected,
            "gort: spawn outside a runtime: call it inside gort::run or Runtime::run, or use Runtime::spawn",
        )
    })
}

/// Makes a coroutine of `f` on `rt`, or on the caller's runtime.
///
/// # Safety
/// `f` and its result may be used until the coroutine has completed and the handle has gone,
/// whatever their lifetimes say. If `plan.local` is not set both may cross threads.
pub(crate) unsafe fn spawn_raw<F, T>(rt: Option<&'static Shared>, plan: Plan, f: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T,
{
    let rt = match rt {
        Some(rt) => rt,
        None => runtime_here()?,
    };
    rt.admit()?;
    let _pin = Pin::new();
    let here = M::current().filter(|m| ptr::eq(m.rt, rt)).and_then(|m| Some((m, m.p.get()?)));
    let g = match here {
        Some((_, p)) => {
            // SAFETY: this M holds the P.
            unsafe { p.queue.reserve_fresh() }.map_err(|bytes| limits::out_of_memory("a longer run queue", bytes))?;
            // SAFETY: as above.
            unsafe { p.local() }.records.get()?
        }
        None => gpool::get()?,
    };
    let local = plan.local;
    // SAFETY: the record is ours; the caller vouches for lifetimes.
    unsafe { equip::<F, T>(g, rt, plan, f) };
    match here {
        Some((m, p)) => {
            // SAFETY: this M holds the P.
            g.id.set(unsafe { p.next_id() });
            if local {
                // It lives where its maker lives, so what it takes along stays on one thread.
                let home = m.home();
                home.move_in();
                g.home.set(home);
            }
            super::p::P::count(&p.spawned);
            // Release: pairs with the Acquire in `for_each_alive`.
            g.alive.store(true, Ordering::Release);
            let handle = JoinHandle::new(g);
            // SAFETY: this M holds the P, and `g` is ours to queue.
            unsafe { p.queue.push_fresh(g) };
            rt.notify();
            Ok(handle)
        }
        None => {
            debug_assert!(!local, "spawn_local needs a coroutine around it");
            g.id.set(draw_ids(1).start);
            // Relaxed: a counter.
            rt.spawned_outside.fetch_add(1, Ordering::Relaxed);
            // Release: as above.
            g.alive.store(true, Ordering::Release);
            let handle = JoinHandle::new(g);
            rt.inject(g);
            Ok(handle)
        }
    }
}

/// Makes a record that of a coroutine which has not run, with two references: its own and the handle's.
///
/// # Safety
/// The record is the caller's, out of the pool. For `f` as [`spawn_raw`].
#[inline(always)]
unsafe fn equip<F, T>(g: GRef, rt: &'static Shared, plan: Plan, f: F)
where
    F: FnOnce() -> T,
{
    // SAFETY: the caller's promise.
    unsafe { g.fill::<F, T>(f) };
    // Release: pairs with the Acquire in `try_retain`. What follows is published by the queue.
    g.state.store((2 * g::REF) | g::HANDLE, Ordering::Release);
    g.token.store(0, Ordering::Relaxed);
    g.asked.store(0, Ordering::Relaxed);
    g.reason.store(0, Ordering::Relaxed);
    g.shield.store(0, Ordering::Relaxed);
    g.panicking.store(false, Ordering::Relaxed);
    g.claim.set(if plan.own_home { HomeClaim::Alone } else { HomeClaim::Share });
    g.class.set(plan.class.unwrap_or(rt.stack_class));
    g.site.set(plan.site);
    g.runtime.set(rt);
    g.home.set(ptr::null());
    if let Some(mut extra) = plan.extra {
        if extra.inherited.get_mut().is_some() {
            g.asked.store(g::INHERITS, Ordering::Relaxed);
        }
        g.set_extra(extra);
    }
}

/// A coroutine that begins at a time, or when its waiter is woken: until then it is a record, whose wait is in
/// force though it has not run.
///
/// Whoever ends the wait owns the coroutine: who wakes it lets it begin, who [stops](Self::stop) it ends it
/// unbegun. Like every other it is cancelled at the end of its runtime. Dropping this lets it be.
#[derive(Debug)]
pub(crate) struct Later {
    /// The right to its result, which is nothing.
    handle: JoinHandle<()>,
    waiter: Waiter,
}

impl Later {
    /// Makes a coroutine of `f` on the caller's runtime, to begin at `when`.
    pub(crate) fn new<F>(when: Nanos, site: &'static Location<'static>, f: F) -> io::Result<Later>
    where
        F: FnOnce() + Send + 'static,
    {
        let rt = runtime_here()?;
        rt.admit()?;
        let _pin = Pin::new();
        // What is readied needs no room reserved: as with any other that was parked.
        let p = M::current().expect("coroutines run on Ms").p();
        // SAFETY: this M holds the P.
        let g = unsafe { p.local() }.records.get()?;
        let plan = Plan { extra: None, class: None, own_home: false, local: false, site };
        let f = move || {
            if let Some(g) = M::current_coroutine() {
                // Relaxed: for reports only.
                g.reason.store(WaitReason::None as u8, Ordering::Relaxed);
            }
            f();
        };
        // SAFETY: the record is ours; `'static` and `Send` by the bounds.
        unsafe { equip::<_, ()>(g, rt, plan, f) };
        // Relaxed: for reports only.
        g.reason.store(WaitReason::Sleep as u8, Ordering::Relaxed);
        // SAFETY: this M holds the P.
        g.id.set(unsafe { p.next_id() });
        super::p::P::count(&p.spawned);
        // SAFETY: the ticket is of this word, which is ours.
        let waiter = unsafe { Waiter::of(g, g.word.arm()) };
        // Release: as in `spawn_raw`. From here on the end of the runtime may end the wait.
        g.alive.store(true, Ordering::Release);
        timers::arm_other(rt, when, waiter);
        Ok(Later { handle: JoinHandle::new(g), waiter })
    }

    /// To be woken to let it begin.
    pub(crate) fn waiter(&self) -> Waiter {
        self.waiter
    }

    /// Whether it has not begun, nor been ended.
    pub(crate) fn is_pending(&self) -> bool {
        self.waiter.is_armed()
    }

    /// Ends it unbegun, and drops its closure: true; or false, since that is too late.
    pub(crate) fn stop(&self) -> bool {
        if !self.waiter.claim(Wake::Ready) {
            return false;
        }
        let g = self.handle.record();
        // SAFETY: a runtime outlives its coroutines.
        let rt: &'static Shared = unsafe { &*g.runtime.get() };
        // Relaxed: `complete`, if it comes to that, is ordered by the queue.
        g.asked.fetch_or(g::CANCEL, Ordering::Relaxed);
        if M::current_coroutine().is_some() && M::current().is_some_and(|m| ptr::eq(m.rt, rt)) {
            // It has neither stack nor home: what it has of the runtime is its record.
            complete(g);
            // SAFETY: the coroutine's own reference.
            unsafe { g.release(g::REF) };
            M::current().expect("coroutines run on Ms").unpin();
        } else {
            // SAFETY: claimed above.
            unsafe { self.waiter.ready() };
        }
        true
    }

    /// Lets it begin at `when` instead: true; or false, since that is too late.
    pub(crate) fn reset(&mut self, when: Nanos) -> bool {
        if !self.waiter.claim(Wake::Ready) {
            return false;
        }
        let g = self.handle.record();
        // SAFETY: a runtime outlives its coroutines, of which this is one until its wait is in force again; from then
        // on its visitors keep it.
        let rt: &'static Shared = unsafe { &*g.runtime.get() };
        rt.visit(|| {
            // SAFETY: the wait was claimed, so the coroutine is ours, and so is its word. The record stays while
            // there is a handle.
            self.waiter = unsafe { Waiter::of(g, g.word.arm()) };
            timers::arm_other(rt, when, self.waiter);
        });
        true
    }
}

/// Runs the coroutine's closure and sees its outcome off to whoever wants it. Ends in a section that keeps the P:
/// once the coroutine is counted as ended its runtime may end, and nobody would let a thread that is suspended
/// then go on.
pub(crate) fn complete(g: GRef) {
    // Relaxed: a request that comes later is seen at the first park.
    if g.asked.load(Ordering::Relaxed) & g::CANCEL != 0 {
        // It never ran. Its closure's drop is user code like any other.
        // SAFETY: the payload holds the closure.
        super::quietly(|| unsafe { g.operate(Op::DropClosure) });
        local::end(g);
        // Relaxed: COMPLETE publishes it.
        g.state.fetch_or(g::CANCELLED, Ordering::Relaxed);
    } else {
        // SAFETY: the payload holds the closure.
        unsafe { g.operate(Op::Run) };
    }
    // Acquire: pairs with the Release of the handle's drop; what it did comes before ours.
    let mut state = g.state.load(Ordering::Acquire);
    if state & g::HANDLE == 0 {
        drop_outcome(g, state);
    } else {
        // AcqRel. Release: publishes the outcome. Acquire: the joiner's registration is seen.
        state = g.state.fetch_or(g::COMPLETE, Ordering::AcqRel);
        if state & g::HANDLE == 0 {
            // The handle went away just now and left the outcome to us.
            drop_outcome(g, state);
        } else if state & g::JOINING != 0 {
            // SAFETY: JOINING says that `joiner` is set; the joiner does not take it back
            // without taking JOINING back first, which fails now.
            let joiner = unsafe { g.joiner.get().assume_init() };
            joiner.wake(super::wait::Wake::Ready);
        }
        if state & g::WATCHED != 0 {
            super::watchers::wake(g);
        }
    }
    // Release: nobody reads the record's fields for a report after this.
    g.alive.store(false, Ordering::Release);
    let m = M::current().expect("coroutines run on Ms");
    m.pin();
    super::p::P::count(&m.p().ended);
    m.rt.one_ended();
}

/// Drops what nobody will join for. A panic in that drop ends there, as the coroutine has.
fn drop_outcome(g: GRef, state: u64) {
    // SAFETY: the coroutine has ended, and without a handle the outcome is ours.
    super::quietly(|| unsafe { g.drop_outcome(state) });
    // It may have used them.
    local::end(g);
}

/// Makes coroutines that are not like the others: named, with a larger stack, with a home of
/// their own.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let handle = gort::Builder::new()
///         .name("deep")
///         .stack_size(4 << 20)
///         .spawn(|| gort::current().name().map(String::from))
///         .unwrap();
///     assert_eq!(handle.join().unwrap().as_deref(), Some("deep"));
/// });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder {
    name: Option<String>,
    labels: Vec<(String, String)>,
    inherit: bool,
    stack_size: Option<usize>,
    own_home: bool,
}

impl Builder {
    /// A builder of ordinary coroutines.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::Builder::new().spawn(|| 1).unwrap();
    ///     assert_eq!(handle.join().unwrap(), 1);
    /// });
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the coroutine, for reports.
    ///
    /// Reports are those of the runtime: of deadlocks, stack overflows, left-over coroutines. The message
    /// that std prints for a panic has the name of the thread that the coroutine lives on, its home's
    /// (`gort-home`).
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let handle = gort::Builder::new().name("reader").spawn(|| ()).unwrap();
    ///     assert_eq!(handle.name(), Some("reader"));
    /// });
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Puts a label on the coroutine: for reports, and for [`Coroutine::labels`](crate::Coroutine::labels).
    ///
    /// A label of the same key is replaced. The reports are those that have the [name](Self::name), too.
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let request = gort::Builder::new().name("request").label("user", "ada").label("id", 17.to_string());
    ///     let text = request.spawn(|| format!("{:?}", gort::current())).unwrap().join().unwrap();
    ///     assert!(text.contains(r#"labels: {"user": "ada", "id": "17"}"#), "{text}");
    /// });
    /// ```
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        let (key, value) = (key.into(), value.into());
        match self.labels.iter_mut().find(|label| label.0 == key) {
            Some(label) => label.1 = value,
            None => self.labels.push((key, value)),
        }
        self
    }

    /// Lets the coroutine inherit from its spawner: the [labels](Self::label), and the
    /// [coroutine-local](crate::coroutine_local) values that are declared `#[inherit]`.
    ///
    /// It has clones, made now by the spawner; what either changes later the other does not see. Without this nothing is
    /// inherited. The name is not in any case, nor is the current [context](crate::context), which
    /// `go!(context::current(), ..)` passes on.
    ///
    /// # Examples
    /// ```
    /// use std::cell::Cell;
    /// gort::coroutine_local! {
    ///     #[inherit]
    ///     static REQUEST: Cell<u64> = const { Cell::new(0) };
    /// }
    /// gort::run(|| {
    ///     REQUEST.set(17);
    ///     let inherits = gort::Builder::new().inherit();
    ///     assert_eq!(inherits.spawn(|| REQUEST.get()).unwrap().join().unwrap(), 17);
    ///     assert_eq!(gort::go!(|| REQUEST.get()).join().unwrap(), 0);
    /// });
    /// ```
    pub fn inherit(mut self) -> Builder {
        self.inherit = true;
        self
    }

    /// Reserves at least `bytes` of address space for the stack, its guard included (at most 1 GiB).
    ///
    /// It is rounded up to 64 KiB, 256 KiB, 1 MiB and so on in powers of four. Memory is used as the
    /// stack grows into it, so a generous reserve costs nothing but addresses. Without this the size
    /// is [`RuntimeBuilder::stack_size`](crate::RuntimeBuilder::stack_size).
    ///
    /// # Examples
    /// ```
    /// fn depth(n: u32) -> u32 {
    ///     let frame = std::hint::black_box([n; 1024]);
    ///     if n == 0 { 0 } else { depth(frame[0] - 1) + 1 }
    /// }
    /// gort::run(|| {
    ///     let deep = gort::Builder::new().stack_size(64 << 20).spawn(|| depth(2000)).unwrap();
    ///     assert_eq!(deep.join().unwrap(), 2000);
    /// });
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Gives the coroutine a home (a thread's identity) that no other coroutine shares, so that
    /// none is delayed by it and it is delayed by none, however many there are.
    ///
    /// It is for those who compute for long or block their thread: such a coroutine delays those of
    /// its own home. (It also keeps one of the runtime's
    /// [`procs`](crate::RuntimeBuilder::procs); others run on the rest.) These homes do not count
    /// for [`RuntimeBuilder::homes`](crate::RuntimeBuilder::homes).
    ///
    /// The coroutine's own [local](Self::spawn_local) ones live in the same home. If no thread is to be had
    /// for the home, it shares one after all. It has no effect on [`Self::spawn_local`], nor where
    /// coroutines do not [move](crate::Runtime::coroutines_move).
    ///
    /// # Examples
    /// ```
    /// use std::{thread, time::Duration};
    /// gort::run(|| {
    ///     // Blocks its thread, and nobody else's.
    ///     let blocks = gort::Builder::new().own_home().spawn(|| thread::sleep(Duration::from_millis(1)));
    ///     blocks.unwrap().join().unwrap();
    /// });
    /// ```
    pub fn own_home(mut self) -> Builder {
        self.own_home = true;
        self
    }

    pub(super) fn plan(self, local: bool, site: &'static Location<'static>) -> io::Result<Plan> {
        let class = match self.stack_size {
            None => None,
            Some(bytes) => Some(Class::of(bytes).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("gort: a stack of {bytes} bytes was asked for; the most is 1 GiB"),
                )
            })?),
        };
        let extra = Extra {
            name: self.name.map(Into::into),
            labels: labels::list(&self.labels, self.inherit),
            inherited: Cell::new(if self.inherit { local::copies() } else { None }),
        };
        Ok(Plan { extra: extra.boxed(), class, own_home: self.own_home, local, site })
    }

    /// Starts a coroutine on the caller's runtime.
    ///
    /// # Examples
    /// ```
    /// use std::io::ErrorKind;
    /// let builder = gort::Builder::new().name("answer");
    /// let outside = builder.clone().spawn(|| 42).unwrap_err();
    /// assert_eq!(outside.kind(), ErrorKind::NotConnected);
    /// gort::run(|| assert_eq!(builder.spawn(|| 42).unwrap().join().unwrap(), 42));
    /// ```
    ///
    /// # Panics
    /// If the `Clone` of a value that is [inherited](Self::inherit) does.
    ///
    /// # Errors
    /// - [`NotConnected`](io::ErrorKind::NotConnected): the caller is not a coroutine.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): the stack asked for is over 1 GiB.
    /// - [`OutOfMemory`](io::ErrorKind::OutOfMemory): memory, address space or mappings have run
    ///   out; the message names the limit. Coroutines that were spawned before are not affected.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe): the runtime is being dropped.
    ///
    /// # Scheduling
    /// As [`spawn`].
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let plan = self.plan(false, Location::caller())?;
        // SAFETY: `'static` and `Send` by the bounds.
        unsafe { spawn_raw(None, plan, f) }
    }

    /// Starts a coroutine that lives in the caller's home, so that the closure need not be
    /// `Send`; see [`spawn_local`].
    ///
    /// # Examples
    /// ```
    /// gort::run(|| {
    ///     let text = std::rc::Rc::new(String::from("not Send"));
    ///     let handle = gort::Builder::new().name("local").spawn_local(move || text.len());
    ///     assert_eq!(handle.unwrap().join().unwrap(), 8);
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`Self::spawn`].
    ///
    /// # Scheduling
    /// As [`spawn_local`].
    #[track_caller]
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let plan = self.plan(true, Location::caller())?;
        // SAFETY: `'static` by the bound. The coroutine lives in the spawner's home, so closure
        // and result are made, used and dropped under one home; `JoinHandle` is `Send` only
        // for a `T` that is.
        unsafe { spawn_raw(None, plan, f) }
    }

    /// As [`Self::spawn`], on `rt`.
    #[track_caller]
    pub(crate) fn spawn_on<F, T>(self, rt: &'static Shared, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let plan = self.plan(false, Location::caller())?;
        // SAFETY: `'static` and `Send` by the bounds.
        unsafe { spawn_raw(Some(rt), plan, f) }
    }
}

/// The plan of `spawn` without a builder.
#[track_caller]
fn ordinary(local: bool) -> Plan {
    Plan { extra: None, class: None, own_home: false, local, site: Location::caller() }
}

/// Starts a coroutine on the caller's runtime; [`go!`](crate::go) says the same.
///
/// # Examples
/// ```
/// let sum = gort::run(|| {
///     let handles: Vec<_> = (0..10).map(|i| gort::spawn(move || i * i)).collect();
///     handles.into_iter().map(|h| h.join().unwrap()).sum::<i32>()
/// });
/// assert_eq!(sum, 285);
/// ```
///
/// # Panics
/// Where [`Builder::spawn`] returns an error; on a plain thread, for one.
///
/// # Scheduling
/// Does not park. The new coroutine runs when the caller parks, or at once on an idle P.
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: `'static` and `Send` by the bounds.
    unsafe { spawn_inner(None, ordinary(false), f) }
}

/// Starts a coroutine that lives in the caller's home (it shares the caller's thread identity
/// and never runs in parallel with it), so that the closure need not be `Send`.
///
/// While a coroutine unwinds, because it panics or was [cancelled](JoinHandle::cancel), nobody else of
/// its home runs. So a destructor that runs then must not wait for a coroutine of its own home, such
/// as one started by this call: neither would ever go on. It may wait for one that it
/// [`spawn`]s, unless the runtime has no other home.
///
/// # Examples
/// ```
/// use std::{cell::Cell, rc::Rc};
/// gort::run(|| {
///     let shared = Rc::new(Cell::new(0));
///     let other = shared.clone();
///     gort::spawn_local(move || other.set(7)).join().unwrap();
///     assert_eq!(shared.get(), 7);
/// });
/// ```
///
/// # Panics
/// Where [`Builder::spawn_local`] returns an error; on a plain thread, for one.
///
/// # Scheduling
/// Does not park. The new coroutine runs when the caller parks. If one of them computes for long, or
/// blocks the thread, the other waits.
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    // SAFETY: as in `Builder::spawn_local`.
    unsafe { spawn_inner(None, ordinary(true), f) }
}

/// `spawn` that panics.
///
/// # Safety
/// As [`spawn_raw`].
#[track_caller]
pub(crate) unsafe fn spawn_inner<F, T>(rt: Option<&'static Shared>, plan: Plan, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T,
{
    // SAFETY: the caller's promise.
    or_panic(unsafe { spawn_raw(rt, plan, f) })
}

/// What was started; panics where there is an error and the caller's signature has no place for it.
#[track_caller]
#[inline(always)]
pub(crate) fn or_panic<T>(started: io::Result<T>) -> T {
    match started {
        Ok(started) => started,
        Err(error) => panic!("{error}"),
    }
}

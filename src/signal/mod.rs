//! Signals of the system as something to wait for, as in Go's `os/signal`.
//!
//! [`notify`] makes [`Signals`], from which coroutines and plain threads receive those that they asked for, in a loop or as
//! a case of a [`select!`](crate::select). [`ctrl_c`] waits for one `SIGINT`.
//!
//! - *Signals coalesce*, as in Go and in the kernel. One that comes again before it was received counts once, so there is
//!   nothing that could overflow. Those that wait together are received in the order of their numbers; which came first is
//!   not known.
//! - *Several may listen* for one signal; each of them gets it.
//! - *Who listens replaces what was done by default*: a program that listens for `SIGTERM` is not ended by it. When the last who
//!   listens for it was dropped, the signal does again what it did before the first: by default, it ends the process, stops it, or
//!   does nothing. A signal that was ignored (`SIGHUP` under `nohup`) is ignored again.
//! - *A handler that was there before* is called at all times, before anybody is told.
//! - The signal by which runtimes preempt ([`preemption_signal`](crate::RuntimeBuilder::preemption_signal), `SIGURG`) cannot
//!   be listened for while a runtime uses it, nor can those that cannot be caught, or that tell of a fault.
//! - A signal that all threads of the process have blocked comes to nobody. Go unblocks it; here the mask is yours.
//!
//! # How it gets here
//!
//! The handler, which may have interrupted anything, sets a bit and writes to an eventfd. A thread, one in a process and only
//! as long as somebody listens, waits for that and wakes who waits. While it is there no
//! deadlock is reported, since a signal may come. From the sender to a coroutine that waits it takes 30 to 70 µs.
//!
//! # Handlers
//!
//! The handler is that of the signal-hook-registry crate, which signal-hook and tokio use as well, and it stays when nobody
//! listens any more. If the signal was at its default when we came, ours then does what the kernel would
//! have done: it sets the default, and sends the signal again. It does not if somebody has put a handler over it since, which
//! then decides. It cannot know that others have added themselves to the registry after us: if signal-hook is to go on with a signal alone,
//! keep a [`Signals`] of it, or let signal-hook come first.
//!
//! Handlers run on the alternate stack of the thread, since a coroutine's own may be nearly full, and one after the other.
//!
//! # Examples
//!
//! ```
//! use gort::signal::{self, Signal};
//!
//! gort::run(|| {
//!     let stop = signal::notify(&[Signal::INT, Signal::TERM])?;
//!     let (jobs, queue) = gort::channel::unbounded::<&str>();
//!     gort::go!(move || {
//!         jobs.send("a job").unwrap();
//!         // As the service manager does it.
//!         // SAFETY: no memory.
//!         unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
//!         gort::park();
//!     });
//!     loop {
//!         gort::select! {
//!             wait(stop) => break,
//!             recv(queue) -> job => println!("{}", job.unwrap()),
//!         }
//!     }
//!     assert_eq!(stop.try_recv(), Some(Signal::TERM));
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Beside Go
//!
//! | `os/signal` | here |
//! |---|---|
//! | `Notify(c, signals..)` | [`notify`], which makes the receiver; with no signals it is not all of them, but an error |
//! | `Stop(c)` | drop the [`Signals`] |
//! | `Reset`, `Ignore`, `Ignored` | not there: they act on those who listen elsewhere in the program |
//! | `NotifyContext` | [`notify`], and a coroutine that cancels the context |

mod name;

pub use name::Signal;

use crate::channel::{SelectWaker, Waitable};
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::epoll::EventFd;
use crate::os::signal::{self as system, Action, Disposition, SignalsBlocked};
use crate::os::socket::{self, Interest};
use crate::sched::wait::{self, WaitReason, Wake};
use crate::sched::watch_list::{Guarded, WatchList};
use crate::sched::{self, cancel};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The stack of the thread, which only waits and wakes.
const STACK_BYTES: usize = 128 * 1024;
/// How long the thread lets the system recover when it cannot wait.
const PAUSE: Duration = Duration::from_millis(1);

// Signals are bits: `Signal::bit`. A handler uses these four and nothing else.

/// Somebody listens for these. Written under the lock of [`STATE`].
static LISTENED: AtomicU64 = AtomicU64::new(0);
/// These have come since the thread has last looked.
static CAME: AtomicU64 = AtomicU64::new(0);
/// These were at their default when we came.
static DEFAULTS: AtomicU64 = AtomicU64::new(0);
/// Where the registry's handler is.
static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Wakes the thread.
static BELL: OnceLock<EventFd> = OnceLock::new();
static STATE: Mutex<State> = Mutex::new(State { inboxes: Vec::new(), handled: 0, has_thread: false });

struct State {
    inboxes: Vec<Arc<Inbox>>,
    /// For these our action is in the registry.
    handled: u64,
    has_thread: bool,
}

impl State {
    /// Sees to it that these are handled, and that the thread is there.
    fn prepare(&mut self, mask: u64, bell: &'static EventFd) -> io::Result<()> {
        for signal in Signal::all(mask & !self.handled) {
            handle(signal, bell)?;
            self.handled |= signal.bit();
        }
        if !self.has_thread {
            let _blocked = SignalsBlocked::new();
            let builder = thread::Builder::new().name("gort-signals".to_owned()).stack_size(STACK_BYTES);
            builder.spawn(|| distribute(bell))?;
            self.has_thread = true;
        }
        Ok(())
    }
}

/// What has come for one who listens.
struct Inbox {
    /// For these.
    mask: u64,
    /// What has come and was not received, and who waits.
    held: Guarded<(u64, WatchList)>,
}

/// Not poisoned by panics: none happens while it is held. Nothing parks meanwhile, so nobody is cancelled.
fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens for `signals` from now on, until what it returns is dropped.
///
/// # Examples
///
/// ```
/// use gort::signal::{Signal, notify};
/// let reload = notify(&[Signal::HUP])?;
/// assert_eq!(reload.try_recv(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if there are none, or one of them cannot be listened for: it is no signal; it cannot be caught
/// (`SIGKILL`, `SIGSTOP`); it tells of a fault of the program itself (`SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`, `SIGTRAP`, `SIGSYS`, `SIGABRT`); or
/// runtimes preempt by it. Else if there are no descriptors or no threads left. Nobody listens then.
///
/// # Scheduling
///
/// Returns at once, from anywhere but handlers.
pub fn notify(signals: &[Signal]) -> io::Result<Signals> {
    let mut mask = 0;
    for &signal in signals {
        let number = signal.as_raw();
        let why = if !system::can_be_received(number) {
            "cannot be listened for"
        } else if sched::preemption_signal() == Some(number) {
            "is used for preemption"
        } else {
            mask |= signal.bit();
            continue;
        };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("gort: {signal} {why}")));
    }
    if mask == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "gort: no signals to listen for"));
    }
    let mut state = state();
    let bell = match BELL.get() {
        Some(bell) => bell,
        None => {
            let new = EventFd::new()?;
            BELL.get_or_init(|| new)
        }
    };
    // Relaxed, all: each bit says all that there is to know, and the thread looks at them with the lock.
    let new = mask & !LISTENED.load(Ordering::Relaxed);
    // What came for those who have stopped listening is not for us.
    CAME.fetch_and(!new, Ordering::Relaxed);
    // Before they are handled: what comes from then on is for us. The thread has it wait for the lock.
    LISTENED.fetch_or(new, Ordering::Relaxed);
    if let Err(error) = state.prepare(mask, bell) {
        // What has come meanwhile comes again, to nobody.
        LISTENED.fetch_and(!new, Ordering::Relaxed);
        let came = CAME.fetch_and(!new, Ordering::Relaxed) & new;
        Signal::all(came).for_each(|signal| system::raise(signal.as_raw()));
        return Err(error);
    }
    let inbox = Arc::new(Inbox { mask, held: Guarded::new((0, WatchList::default())) });
    state.inboxes.push(inbox.clone());
    Ok(Signals { inbox })
}

/// Waits for one `SIGINT`, which is what a terminal sends for Ctrl-C.
///
/// Before and after that it ends the process as ever, if nobody else listens for it.
///
/// # Examples
///
/// ```no_run
/// gort::run(|| {
///     let server = gort::go!(|| gort::net::TcpListener::bind("127.0.0.1:80"));
///     gort::signal::ctrl_c()?;
///     server.cancel();
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As [`notify`], if there are no descriptors or no threads left.
///
/// # Scheduling
///
/// As [`Signals::recv`].
pub fn ctrl_c() -> io::Result<()> {
    let signals = notify(&[Signal::INT])?;
    signals.recv();
    Ok(())
}

/// Puts our action into the registry, for as long as the process lives.
fn handle(signal: Signal, bell: &'static EventFd) -> io::Result<()> {
    let number = signal.as_raw();
    let earlier = Disposition::of(number)?;
    // SAFETY: `on_signal` is async-signal-safe: atomics, write(2), sigaction(2), tgkill(2) and pthread_sigmask(3).
    unsafe { signal_hook_registry::register(number, move || on_signal(signal, bell))? };
    let now = Disposition::of(number)?;
    // Relaxed, both: a handler looks at them when nobody listens, and somebody does now. One that does not see them yet when that
    // was for nothing, or sees one of them, leaves a signal out.
    HANDLER.store(now.address(), Ordering::Relaxed);
    // SAFETY: the handler that is in force, of which nothing changes but the stack and what is blocked meanwhile.
    unsafe { now.on_alternate_stack().install(number)? };
    if matches!(earlier.action(), Action::Default) {
        DEFAULTS.fetch_or(signal.bit(), Ordering::Relaxed);
    }
    Ok(())
}

/// The handler's part; the registry keeps `errno`. Async-signal-safe.
fn on_signal(signal: Signal, bell: &EventFd) {
    // Relaxed: who begins to listen, or has ended, at the same time may have this one or not.
    if LISTENED.load(Ordering::Relaxed) & signal.bit() != 0 {
        // Relaxed: the write to the eventfd comes after it in any case, and the thread's look after its read.
        CAME.fetch_or(signal.bit(), Ordering::Relaxed);
        bell.signal();
        return;
    }
    // Relaxed, both: see `handle`.
    if DEFAULTS.load(Ordering::Relaxed) & signal.bit() != 0
        && let Ok(now) = Disposition::of(signal.as_raw())
        && now.address() == HANDLER.load(Ordering::Relaxed)
    {
        system::do_by_default(signal.as_raw(), &now);
    }
}

/// The life of the thread.
fn distribute(bell: &EventFd) {
    loop {
        if socket::wait(bell.as_raw_fd(), Interest::Readable, None, NEVER).is_err() {
            // Out of memory, perhaps. It looks all the same.
            thread::sleep(PAUSE);
        }
        // Before the look: what comes after that rings again.
        bell.clear();
        // First: who is about to listen may have what comes meanwhile.
        let mut state = state();
        // Relaxed: see `on_signal`.
        let came = CAME.swap(0, Ordering::Relaxed);
        if state.inboxes.is_empty() {
            state.has_thread = false;
            return;
        }
        let told: Vec<_> = state.inboxes.iter().filter(|inbox| came & inbox.mask != 0).cloned().collect();
        // Wakers are others' code, and may begin and stop to listen.
        drop(state);
        for inbox in told {
            inbox.put(came & inbox.mask);
        }
    }
}

impl Inbox {
    fn put(&self, came: u64) {
        let mut held = self.held.lock();
        held.0 |= came;
        let waiting = std::mem::take(&mut held.1);
        drop(held);
        waiting.wake();
    }

    fn take(pending: &mut u64) -> Option<Signal> {
        let first = Signal::all(*pending).next()?;
        *pending &= !first.bit();
        Some(first)
    }
}

/// Receives signals, of those for which it was made by [`notify`]; stops listening when it is dropped.
///
/// It is an iterator that never ends, also behind `&`, and a case of a [`select!`](crate::select): `wait(signals) => ..`, where
/// [`try_recv`](Self::try_recv) then takes one. If several tasks receive from one, each signal goes to one of them. What has come and
/// was not received is lost when it is dropped, as in Go.
///
/// # Examples
///
/// ```
/// use gort::signal::{Signal, notify};
///
/// gort::run(|| {
///     let signals = notify(&[Signal::USR1, Signal::USR2])?;
///     // SAFETY: no memory.
///     unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) };
///     for signal in &signals {
///         match signal {
///             Signal::USR1 => println!("reload"),
///             other => {
///                 assert_eq!(other, Signal::USR2);
///                 break;
///             }
///         }
///     }
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Signals {
    inbox: Arc<Inbox>,
}

impl Signals {
    /// Waits for a signal.
    ///
    /// # Examples
    ///
    /// See [`Signals`].
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine, unless one has come; may be cancelled, and has taken none then. Blocks a plain thread.
    pub fn recv(&self) -> Signal {
        self.wait(NEVER).expect("it waits as long as it takes")
    }

    /// Takes one that has come; None if none has.
    ///
    /// # Examples
    ///
    /// See [`notify`].
    ///
    /// # Scheduling
    ///
    /// Returns at once, from anywhere.
    pub fn try_recv(&self) -> Option<Signal> {
        Inbox::take(&mut self.inbox.held.lock().0)
    }

    /// [`Self::recv`], but for at most `timeout`: None if none has come then.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::signal::{Signal, notify};
    /// assert_eq!(notify(&[Signal::HUP])?.recv_timeout(std::time::Duration::from_millis(1)), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Scheduling
    ///
    /// As [`Self::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Signal> {
        self.wait(clock::after(timeout))
    }

    /// [`Self::recv`], but not beyond `deadline`: None if none has come then.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::signal::{Signal, notify};
    /// assert_eq!(notify(&[Signal::HUP])?.recv_deadline(std::time::Instant::now()), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Scheduling
    ///
    /// As [`Self::recv`].
    pub fn recv_deadline(&self, deadline: Instant) -> Option<Signal> {
        self.wait(clock::at(deadline))
    }

    fn wait(&self, deadline: Nanos) -> Option<Signal> {
        sched::checkpoint();
        loop {
            let wait = wait::begin();
            let waiter = wait.waiter();
            let mut held = self.inbox.held.lock();
            let taken = Inbox::take(&mut held.0);
            if taken.is_some() || (deadline != NEVER && clock::has_passed(deadline)) {
                drop(held);
                // Only `cancel` can have ended it: it comes too late for this call.
                wait.abandon();
                return taken;
            }
            held.1.add(waiter, Wake::Ready);
            drop(held);
            let wake = wait.park(WaitReason::Signal, deadline);
            self.inbox.held.lock().1.remove(waiter, Wake::Ready);
            if wake == Wake::Cancel {
                cancel::unwind();
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let mut state = state();
        state.inboxes.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
        let left = state.inboxes.iter().fold(0, |mask, inbox| mask | inbox.mask);
        // Relaxed: see `notify`.
        LISTENED.store(left, Ordering::Relaxed);
        if state.inboxes.is_empty()
            && let Some(bell) = BELL.get()
        {
            bell.signal();
        }
    }
}

/// Ready when a signal has come, which [`Signals::try_recv`] then takes, if nobody is faster.
impl Waitable for Signals {
    fn is_ready(&self) -> bool {
        self.inbox.held.lock().0 != 0
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        let mut held = self.inbox.held.lock();
        let waits = held.0 == 0;
        if waits {
            held.1.add(waker.waiter(), Wake::Ready);
        }
        waits
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.inbox.held.lock().1.remove(waker.waiter(), Wake::Ready);
    }
}

/// [`Signals::recv`] for ever.
impl Iterator for Signals {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        Some(self.recv())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

/// [`Signals::recv`] for ever.
impl Iterator for &Signals {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        Some(self.recv())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.inbox.held.lock().0;
        f.debug_struct("Signals")
            .field("of", &Signal::all(self.inbox.mask).collect::<Vec<_>>())
            .field("pending", &Signal::all(pending).collect::<Vec<_>>())
            .finish()
    }
}

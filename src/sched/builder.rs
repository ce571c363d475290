//! The settings of a runtime.

use super::adapt::Adapt;
use super::affinity::Affinity;
use super::blocking::Spares;
use super::home::Homes;
use super::idle::Idle;
use super::ps::{By, Ps};
use super::runtime::{Parts, Runtime};
use super::{deadlock, preempt, probe};
use crate::os::clock::{NEVER, Nanos};
use crate::os::cpus::CpuSet;
use crate::os::{self, debug};
use crate::stack::{self, Class, Guard, Pool};
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Homes that a runtime makes at most, unless told otherwise.
const HOMES: usize = 256;
/// As many threads as Linux can number (`PID_MAX_LIMIT`, pid_max in proc_sys_kernel(5)).
const MOST_THREADS: usize = 1 << 22;
/// Threads that a runtime makes at most to run coroutines: as many as Go does (`sched.maxmcount` in `runtime/proc.go`).
const THREADS: usize = 10_000;
/// Threads that a runtime makes at most for what is given to `blocking`.
const BLOCKING_THREADS: usize = 512;

/// Settings of a [`Runtime`].
///
/// # Examples
/// ```
/// let rt = gort::Runtime::builder().procs(2).homes(16).stack_size(1 << 20).build()?;
/// assert_eq!(rt.run(|| 1), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RuntimeBuilder {
    procs: Option<usize>,
    adapt: Option<RangeInclusive<usize>>,
    homes: usize,
    stack_size: usize,
    time_slice: Duration,
    threads: usize,
    blocking_threads: usize,
    keep_alive: Duration,
    preemption: bool,
    signal: Option<libc::c_int>,
    cpus: Option<CpuSet>,
    pin_cpus: bool,
    name: Option<String>,
}

impl RuntimeBuilder {
    pub(super) fn new() -> RuntimeBuilder {
        RuntimeBuilder {
            procs: None,
            adapt: None,
            homes: HOMES,
            stack_size: Class::DEFAULT.bytes(),
            time_slice: Duration::from_millis(10),
            threads: THREADS,
            blocking_threads: BLOCKING_THREADS,
            keep_alive: Duration::from_secs(10),
            preemption: true,
            signal: None,
            cpus: None,
            pin_cpus: false,
            name: None,
        }
    }

    /// How many coroutines run at a time. Default: `GORT_PROCS` from the environment, else how many
    /// CPUs the calling thread may run on (its affinity mask), or fewer if the CPU quota of a control group that the
    /// process is in allows less. A part of a CPU counts as a whole one.
    ///
    /// A coroutine that computes without calling the runtime, or blocks its thread, counts as one that
    /// runs until it is [preempted](Self::preemption).
    ///
    /// [`Runtime::set_procs`] changes the number later. If nobody ever says one (here, by `GORT_PROCS` or by
    /// `set_procs`), the mask and the quotas are read again every three seconds while anything runs, and the number
    /// follows. A runtime with [`cpus`](Self::cpus) of its own, or built on a thread that may run on fewer CPUs than others, does
    /// not get more than it began with.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().procs(1).build()?;
    /// assert_eq!(rt.procs(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn procs(mut self, procs: usize) -> RuntimeBuilder {
        self.procs = Some(procs);
        self
    }

    /// Lets the number of coroutines that run at a time follow the load, within `range`; off by default.
    ///
    /// Every three seconds it is compared how many were [busy](Runtime::busy_times) on average: if that is more than
    /// nine tenths of all there will be one more, and if for fifteen seconds it is less than half of what one
    /// fewer could bear, one fewer. A call of [`Runtime::set_procs`] puts an end to it.
    ///
    /// The number at the beginning is what it would be otherwise, or the end of the range that is nearer.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().procs(2).adapt_procs(1..=8).build()?;
    /// assert_eq!(rt.procs(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn adapt_procs(mut self, range: RangeInclusive<usize>) -> RuntimeBuilder {
        self.adapt = Some(range);
        self
    }

    /// How many homes (thread identities) are made at most; default 256. More coroutines than
    /// that share.
    ///
    /// Those of one home take turns, so one that computes for long or blocks its thread delays
    /// the others of its home. (One that has not begun is not made to wait: homes that are held by somebody who is suspended
    /// or blocked, or who keeps his thread by [`lock_os_thread`](crate::lock_os_thread), do not count, so there
    /// may be up to 4,096 more.) While one of them unwinds the others wait, so with few homes a
    /// destructor that waits for another coroutine (see [`JoinHandle::join`](crate::JoinHandle::join)) may wait for its own
    /// home, which lasts for ever. A home is a sleeping thread; where coroutines do not
    /// [move](Runtime::coroutines_move) there are none.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().homes(1).preemption(false).build()?;
    /// let ids = rt.run(|| [(); 2].map(|()| gort::go!(|| std::thread::current().id()).join().unwrap()));
    /// if rt.coroutines_move() {
    ///     assert_eq!(ids[0], ids[1]);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn homes(mut self, homes: usize) -> RuntimeBuilder {
        self.homes = homes;
        self
    }

    /// Address space reserved for each stack that does not ask otherwise; default 256 KiB.
    ///
    /// It is rounded up as [`Builder::stack_size`](crate::Builder::stack_size) says.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().stack_size(16 << 20).build()?;
    /// assert_eq!(rt.run(|| std::hint::black_box([1_u8; 2 << 20]).len()), 2 << 20);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> RuntimeBuilder {
        self.stack_size = bytes;
        self
    }

    /// After how long a coroutine should let others run; default 10 ms.
    ///
    /// It does so at its next call into the runtime. The runtime looks about once a millisecond, so
    /// shorter slices make little difference.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let rt = gort::Runtime::builder().time_slice(Duration::from_millis(2)).build()?;
    /// assert_eq!(rt.run(|| 1), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn time_slice(mut self, slice: Duration) -> RuntimeBuilder {
        self.time_slice = slice;
        self
    }

    /// How many threads may be started to run coroutines; default 10,000.
    ///
    /// There are about as many as [`procs`](Self::procs), and one for each coroutine that is suspended or blocked in the kernel. When no
    /// more may be started, those that block keep others from running. Of those that compute without end at most 512 are suspended at a
    /// time; with more of them only those that have begun take turns.
    ///
    /// If that is less than [`procs`](Self::procs), only so many coroutines run at a time. The sleeping threads
    /// behind [`homes`](Self::homes) do not count, nor do threads that [`lock_os_thread`](crate::lock_os_thread) keeps.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().procs(4).threads(2).build()?;
    /// assert_eq!(rt.run(|| 1), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn threads(mut self, threads: usize) -> RuntimeBuilder {
        self.threads = threads;
        self
    }

    /// How many threads may be started to run what is given to [`blocking`](crate::blocking); default 512.
    ///
    /// There are none until they are needed, and each ends when it has had nothing to do
    /// [for long](Self::thread_keep_alive). If all are busy, what
    /// comes then runs in place, where it delays those of its home. 0 is allowed.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().blocking_threads(4).build()?;
    /// assert_eq!(rt.run(|| gort::blocking(|| 1)), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocking_threads(mut self, threads: usize) -> RuntimeBuilder {
        self.blocking_threads = threads;
        self
    }

    /// How long a thread is kept that has nothing to do; default 10 s.
    ///
    /// That goes for threads that run coroutines, 20 ms at least, and for those of [`blocking`](crate::blocking). One that waits for
    /// descriptors and timers stays, and so do those with coroutines that cannot run elsewhere.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let rt = gort::Runtime::builder().thread_keep_alive(Duration::from_millis(100)).build()?;
    /// assert_eq!(rt.run(|| gort::blocking(|| 1)), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn thread_keep_alive(mut self, time: Duration) -> RuntimeBuilder {
        self.keep_alive = time;
        self
    }

    /// Whether a coroutine that neither parks nor ends is made to let others run; the default.
    ///
    /// It is suspended with its thread, by [a signal](Self::preemption_signal), when it has run for a
    /// [time slice](Self::time_slice) while others wait, or for a millisecond while somebody has just become ready.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().preemption(false).build()?;
    /// assert_eq!(rt.run(|| 1), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn preemption(mut self, on: bool) -> RuntimeBuilder {
        self.preemption = on;
        self
    }

    /// The signal by which coroutines are [preempted](Self::preemption); default: SIGURG, which Go chose, too, since hardly
    /// anybody else wants it and it is ignored by default.
    ///
    /// All runtimes of a process use the same one: the first that is built with preemption decides. A handler that was
    /// installed for it before gets what was not sent by this crate, and without one the process does by default what it
    /// did before. Whoever installs a handler for it later switches preemption off.
    ///
    /// [`build`](Self::build) refuses a number that is no signal, those that cannot be handled or stop the process, those that
    /// the kernel raises for what a thread has just done (SIGSEGV and its like), and those that the C library keeps.
    ///
    /// # Examples
    /// ```
    /// let sigusr2 = 12;
    /// let rt = gort::Runtime::builder().preemption_signal(sigusr2).build()?;
    /// assert_eq!(rt.run(|| 1), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn preemption_signal(mut self, signal: i32) -> RuntimeBuilder {
        self.signal = Some(signal);
        self
    }

    /// The CPUs that its coroutines run on; default: those of the thread that builds it.
    ///
    /// As many as that is also the default of [`procs`](Self::procs), unless a control group's quota or `GORT_PROCS`
    /// says less. CPUs that are not there are passed over.
    ///
    /// # Examples
    /// ```
    /// let first = gort::CpuSet::of_thread()?.iter().take(1).collect::<gort::CpuSet>();
    /// let rt = gort::Runtime::builder().cpus(first.clone()).build()?;
    /// assert_eq!(rt.procs(), 1);
    /// assert_eq!(rt.run(|| gort::CpuSet::of_thread())?, first);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cpus(mut self, set: CpuSet) -> RuntimeBuilder {
        self.cpus = Some(set);
        self
    }

    /// Whether each P keeps to one CPU of its own; default no: the kernel places the threads.
    ///
    /// The Ps take the [CPUs](Self::cpus) in turn. It keeps caches warm where nothing else runs on the machine; where
    /// something does, a coroutine waits for its CPU while another one idles.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().pin_cpus(true).build()?;
    /// assert_eq!(rt.run(|| gort::CpuSet::of_thread())?.len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pin_cpus(mut self, on: bool) -> RuntimeBuilder {
        self.pin_cpus = on;
        self
    }

    /// Its name, for reports and thread names; default "gort".
    ///
    /// The threads that run coroutines have `-m` behind it. What a coroutine sees as its thread is its
    /// home, and that is called `gort-home` in every runtime; panic messages have that name.
    ///
    /// # Examples
    /// ```
    /// let rt = gort::Runtime::builder().name("jobs").build()?;
    /// assert_eq!(rt.name(), "jobs");
    /// let thread = rt.run(|| std::thread::current().name().map(String::from));
    /// let expected = if rt.coroutines_move() { "gort-home" } else { "jobs-m" };
    /// assert_eq!(thread.as_deref(), Some(expected));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> RuntimeBuilder {
        self.name = Some(name.into());
        self
    }

    /// Makes the runtime. Threads are started when there is work for them.
    ///
    /// # Examples
    /// ```
    /// use std::io::ErrorKind;
    /// let rt = gort::Runtime::builder().build()?;
    /// assert_eq!(rt.run(|| 1), 1);
    /// let none = gort::Runtime::builder().procs(0).build().unwrap_err();
    /// assert_eq!(none.kind(), ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): `procs`, `homes` or `threads` is 0, `procs` or
    ///   `homes` more than the 4,194,304 threads that Linux can have, or
    ///   the stack size is over 1 GiB, or `GORT_PROCS` is not a number from 1 up; the range of `adapt_procs` is empty, or
    ///   begins with 0, or ends above that number of threads, or does not have `procs` in it;
    ///   the signal is not one that can be used.
    /// - [`ResourceBusy`](io::ErrorKind::ResourceBusy): other runtimes of the process use another
    ///   [signal](Self::preemption_signal).
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock): no thread can be started for the first home or
    ///   for the monitor.
    /// - What the kernel says when the netpoller or the signal stack cannot be made.
    ///
    /// # Scheduling
    /// Does not park. It starts a thread or two, which takes a moment.
    pub fn build(self) -> io::Result<Runtime> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let affinity = Affinity::new(self.cpus, self.pin_cpus)?;
        let mut by = By::Hand;
        let mut procs = match self.procs {
            Some(procs) => procs,
            None => match std::env::var("GORT_PROCS") {
                Ok(text) => text
                    .trim()
                    .parse()
                    .ok()
                    .filter(|&procs| procs > 0)
                    .ok_or_else(|| invalid(format!("gort: GORT_PROCS is \"{text}\", not a number from 1 up")))?,
                Err(_) => {
                    by = By::Sysmon;
                    os::cpus::usable().min(affinity.as_ref().map_or(usize::MAX, Affinity::cpus))
                }
            },
        };
        if procs == 0 || self.homes == 0 || self.threads == 0 {
            return Err(invalid("gort: procs, homes and threads must be at least 1".into()));
        }
        let threads = self.threads.min(MOST_THREADS);
        if procs > MOST_THREADS || self.homes > MOST_THREADS {
            return Err(invalid(format!("gort: Linux has {MOST_THREADS} threads at most, so no more procs or homes")));
        }
        let mut most = procs;
        if let Some(range) = &self.adapt {
            let (from, to) = (*range.start(), *range.end());
            if from == 0 || from > to || to > MOST_THREADS {
                return Err(invalid(format!("gort: adapt_procs({from}..={to}): a range within 1..={MOST_THREADS}")));
            }
            if self.procs.is_some() && !range.contains(&procs) {
                return Err(invalid(format!("gort: procs({procs}) is not within adapt_procs({from}..={to})")));
            }
            by = By::Sysmon;
            procs = procs.clamp(from, to);
            most = to;
        }
        let stack_class = Class::of(self.stack_size).ok_or_else(|| {
            invalid(format!("gort: a stack of {} bytes was asked for; the most is 1 GiB", self.stack_size))
        })?;
        os::membarrier::init(!debug::is_off("membarrier"));
        if debug::is_off("pwait2") {
            os::epoll::set_coarse(true);
        }
        stack::overflow::install()?;
        // On the thread back end a coroutine is not on its M's thread.
        let preemptive = self.preemption && !debug::is_off("preempt") && !cfg!(gort_context = "thread");
        if preemptive {
            preempt::install(self.signal)?;
        }
        deadlock::describe_overflows();
        let guard = match debug::value("guard").as_deref() {
            Some("mprotect") => Guard::Mprotect,
            _ => Guard::detect(),
        };
        let ps = Ps::new(most);
        let idle = Idle::new(ps.room(), threads);
        Runtime::start(
            Parts {
                name: self.name.unwrap_or_else(|| "gort".into()),
                ps,
                idle,
                homes: Homes::new(probe::can_wear_homes(), self.homes, threads),
                stacks: Pool::new(guard),
                stack_class,
                slice_ns: nanos(self.time_slice),
                keep_alive_ns: nanos(self.keep_alive),
                thread_cap: threads,
                adapt: self.adapt.map(Adapt::new),
                preemptive,
                affinity,
                spares: Spares::new(self.blocking_threads, nanos(self.keep_alive)),
            },
            procs,
            by,
        )
    }
}

/// As much as can be counted.
fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

//! A descriptor that never blocks underneath, with operations that wait on top.
//!
//! Promise: an operation returns when it has done something, when it has failed, or when its
//! time is up; while it waits it costs the coroutine's stack and nothing else (outside a
//! runtime, the thread).
//!
//! [`Fd::run`] is the one loop that all waiting goes through, of every kind of socket, of pipes, and of whatever else has
//! a descriptor: check the deadline, observe the side, try the system call, and wait if it would block (`poll/mod.rs` has
//! the protocol). ([`Fd::run_mut`] goes through it to wait; [`Fd::when_accepted`] is for what has no event.) The
//! descriptor is registered with a poller by the first operation that has to wait: one that is
//! accepted, served and closed without waiting never meets epoll.
//!
//! An operation ends at the earliest of three times: the *timeout*, counted from when it first
//! has to wait (std's `set_read_timeout`); the *deadline*, which is absolute, and may be moved
//! while operations wait (Go's `SetReadDeadline`); a limit of its own (`connect_timeout`). The
//! deadline is stored before the waiters are nudged, and loaded after the side was observed, so
//! a new one is either seen at once or the nudge is an edge to whoever missed it.

use super::block::Sleepers;
use super::wakers::Wakers;
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::socket::{self, Interest};
use crate::poll::desc::{Direction, Record, Registrations};
use crate::poll::{self, word::Seen};
use crate::sched;
use socket2::SockRef;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the loop may take for granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A TCP stream: a short read has left it empty. Its calls do not block, whatever the mode of the open file
    /// (`MSG_DONTWAIT`).
    Stream,
    /// Another socket that is read and written. A short read tells nothing: a datagram has its own length, and a
    /// Unix stream stops where descriptors were sent along or the sender changes, with more behind. Its
    /// calls do not block either.
    Socket,
    /// Anything else, listeners and pipes among them: its calls would block if the open file were not in
    /// non-blocking mode.
    File,
}

/// See [`Fd::when_accepted`].
const LONGEST_PAUSE_NS: Nanos = 16_000_000;

/// See [`Fd::send_file`]: to loopback this is a quarter of a millisecond, during which the kernel does not let go of the thread.
const FILE_TRANSFER_LIMIT: usize = 1 << 20;

/// The limits of one direction.
#[derive(Debug)]
struct Limits {
    /// [`NEVER`] if there is none.
    deadline: AtomicU64,
    /// [`NEVER`] if there is none.
    timeout_ns: AtomicU64,
}

impl Limits {
    fn none() -> Limits {
        Limits { deadline: AtomicU64::new(NEVER), timeout_ns: AtomicU64::new(NEVER) }
    }
}

/// See the module. `T` owns the descriptor, or borrows it.
///
/// In this order: what every read and write looks at comes last, together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Fd<T: AsFd = OwnedFd> {
    // First: what futures have left is in the records of `registrations`.
    wakers: Wakers,
    sleepers: Sleepers,
    // Before `fd`, because fields are dropped in order and a descriptor leaves its pollers
    // before it is closed.
    registrations: Registrations,
    read: Limits,
    write: Limits,
    /// Operations that would wait return `WouldBlock` instead.
    nonblocking: AtomicBool,
    kind: Kind,
    fd: T,
}

impl<T: AsFd> Fd<T> {
    /// Takes over a descriptor that is in non-blocking mode.
    pub(crate) fn new(fd: T, kind: Kind) -> Fd<T> {
        Fd {
            wakers: Wakers::default(),
            registrations: Registrations::default(),
            sleepers: Sleepers::default(),
            read: Limits::none(),
            write: Limits::none(),
            nonblocking: AtomicBool::new(false),
            kind,
            fd,
        }
    }

    /// Gives the descriptor up, still in non-blocking mode.
    pub(crate) fn into_inner(self) -> T {
        let Fd { fd, registrations, wakers, .. } = self;
        // In this order.
        drop((wakers, registrations));
        fd
    }

    /// What has the descriptor.
    pub(crate) fn get_ref(&self) -> &T {
        &self.fd
    }

    /// What has the descriptor; nobody waits on it, since all who do borrow this.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.fd
    }

    fn limits(&self, direction: Direction) -> &Limits {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    #[inline(always)]
    fn check_deadline(&self, direction: Direction) -> io::Result<()> {
        // Relaxed: an operation that overlaps with the setting of a deadline need not see it
        // here; if it comes to wait it looks again.
        let deadline = self.limits(direction).deadline.load(Ordering::Relaxed);
        if deadline != NEVER && clock::now() >= deadline { Err(timed_out()) } else { Ok(()) }
    }

    /// What comes before a system call that is made elsewhere, one of many in a loop, and for which [`Self::ready`] waits.
    pub(crate) fn begin(&self, direction: Direction) -> io::Result<()> {
        sched::begin();
        self.check_deadline(direction)
    }

    /// When an operation ends that has had to wait since `since`, as things stand: for waits that are made elsewhere.
    pub(crate) fn end_of_wait(&self, direction: Direction, since: Nanos) -> Nanos {
        let limits = self.limits(direction);
        // Relaxed: see `set_timeout`, and `check_deadline`.
        let give_up = since.saturating_add(limits.timeout_ns.load(Ordering::Relaxed));
        give_up.min(limits.deadline.load(Ordering::Relaxed))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Repeats `attempt` until it does not fail with `WouldBlock` (or `Interrupted`), waiting
    /// in between, at most until `limit`. A read that `is_short` has left a stream empty.
    ///
    /// With [`Kind::Stream`] a read may wait before its first attempt; `attempt` must then be
    /// one that an empty stream would not satisfy.
    #[inline(always)]
    fn run<R>(
        &self,
        direction: Direction,
        limit: Nanos,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
        is_short: impl Fn(&R) -> bool,
    ) -> io::Result<R> {
        sched::checkpoint();
        self.check_deadline(direction)?;
        let may_wait_first = direction == Direction::Read && self.kind == Kind::Stream;
        let mut operation = Operation { direction, give_up: None, limit };
        let mut record = sched::current_poller().and_then(|poller| self.registrations.find(poller, direction));
        loop {
            let mut seen = None;
            if let Some(record) = record {
                let side = record.side(direction);
                let now = side.observe();
                if may_wait_first && side.is_drained(now) && !self.is_nonblocking() {
                    match self.wait(&mut operation, Some((record, now))) {
                        Ok(_) => continue,
                        Err(error) => return last(error, || attempt(&self.fd)),
                    }
                }
                seen = Some((record, now));
            }
            match attempt(&self.fd) {
                Ok(done) => {
                    if let Some((record, before)) = seen
                        && may_wait_first
                        && is_short(&done)
                    {
                        record.side(direction).note_drained(before);
                    }
                    return Ok(done);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => match self.wait(&mut operation, seen) {
                        Ok(next) => record = next,
                        Err(error) => return last(error, || attempt(&self.fd)),
                    },
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Waits for the descriptor; `seen` is its record as observed before the attempt that
    /// failed, if it has one. Returns the record, and early at times.
    #[inline(never)]
    fn wait(
        &self,
        operation: &mut Operation,
        seen: Option<(&'static Record, Seen)>,
    ) -> io::Result<Option<&'static Record>> {
        if self.is_nonblocking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let direction = operation.direction;
        let limits = self.limits(direction);
        let Some(poller) = sched::current_poller() else {
            operation.start(limits);
            let in_time = self.sleepers.sleep(self.fd.as_fd(), direction, || operation.end(limits))?;
            return if in_time { Ok(None) } else { Err(timed_out()) };
        };
        let (record, seen) = match seen {
            Some(seen) => seen,
            None => match self.registrations.ensure(poller, self.fd.as_fd(), direction)? {
                (record, Some(seen)) => (record, seen),
                (record, None) => return Ok(Some(record)),
            },
        };
        operation.start(limits);
        let end = operation.end(limits);
        if end != NEVER && clock::now() >= end {
            return Err(timed_out());
        }
        if poll::wait::wait(record.side(direction), direction, seen, end) {
            Ok(Some(record))
        } else if operation.end(limits) > end {
            // The deadline was moved away just as it passed.
            Ok(Some(record))
        } else {
            Err(timed_out())
        }
    }

    /// Any operation that reads, or accepts.
    pub(crate) fn when_readable<R>(&self, attempt: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        debug_assert_ne!(self.kind, Kind::Stream, "nothing may come between a stream and its reads");
        self.run(Direction::Read, NEVER, attempt, |_| false)
    }

    /// [`Self::when_readable`] for Unix listeners and datagrams. After a shutdown a call that blocks returns, with
    /// `end`, but one that does not block says `WouldBlock` as ever, and there will never be an edge again.
    pub(crate) fn when_readable_or_shut<R>(
        &self,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
        end: impl Fn() -> io::Result<R>,
    ) -> io::Result<R> {
        let is_would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let is_shut = |fd: &T| socket::is_ready(fd.as_fd().as_raw_fd(), Interest::Shut);
        self.when_readable(|fd| match attempt(fd) {
            Err(error) if is_would_block(&error) && !self.is_nonblocking() && is_shut(fd)? => match attempt(fd) {
                // Nothing came before it was shut.
                Err(error) if is_would_block(&error) => end(),
                result => result,
            },
            result => result,
        })
    }

    /// Any operation that writes, or connects; it gives up at `limit`.
    pub(crate) fn when_writable<R>(&self, limit: Nanos, attempt: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.run(Direction::Write, limit, attempt, |_| false)
    }

    /// Waits until an attempt would not block, or fails; gives up at `limit`.
    pub(crate) fn ready(&self, direction: Direction, limit: Nanos) -> io::Result<()> {
        let interest = match direction {
            Direction::Read => Interest::Readable,
            Direction::Write => Interest::Writable,
        };
        // An edge says that something has happened, not how things are now: that is asked.
        let is_ready = |fd: &T| match socket::is_ready(fd.as_fd().as_raw_fd(), interest) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        };
        self.run(direction, limit, is_ready, |_| false)
    }

    /// [`Self::run`] for an attempt that wants the owner of the descriptor whole.
    pub(crate) fn run_mut<R>(
        &mut self,
        direction: Direction,
        mut attempt: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut operation = Operation { direction, give_up: None, limit: NEVER };
        loop {
            sched::checkpoint();
            if clock::now() >= operation.end(self.limits(direction)) {
                return Err(timed_out());
            }
            match attempt(&mut self.fd) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    operation.start(self.limits(direction));
                    if let Err(error) = self.ready(direction, operation.give_up.unwrap_or(NEVER)) {
                        return last(error, || attempt(&mut self.fd));
                    }
                }
                result => return result,
            }
        }
    }

    /// Any operation that writes and that the kernel refuses with `WouldBlock` without ever telling when it would
    /// accept: `AF_UNIX` when the queue of somebody else is full. It is tried again after pauses, from a
    /// quarter of a millisecond up to [`LONGEST_PAUSE_NS`].
    pub(crate) fn when_accepted<R>(&self, mut attempt: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        let limits = self.limits(Direction::Write);
        let mut operation = Operation { direction: Direction::Write, give_up: None, limit: NEVER };
        let mut pause_ns = 250_000;
        loop {
            sched::checkpoint();
            // Before the attempt too: an operation whose time has passed is not begun.
            if clock::now() >= operation.end(limits) {
                return Err(timed_out());
            }
            match attempt(&self.fd) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_nonblocking() => {}
                result => return result,
            }
            operation.start(limits);
            let left_ns = operation.end(limits).saturating_sub(clock::now());
            crate::time::sleep(Duration::from_nanos(left_ns.min(pause_ns)));
            pause_ns = (pause_ns * 2).min(LONGEST_PAUSE_NS);
        }
    }

    /// One poll of a future: tries, and if that would block leaves the task's waker. Timeouts and the mode do not apply; a
    /// deadline that has passed does.
    #[cfg(feature = "futures-io")]
    pub(crate) fn poll_io<R>(
        &self,
        direction: Direction,
        context: &std::task::Context<'_>,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> std::task::Poll<io::Result<R>> {
        use std::task::Poll;
        let poller = super::wakers::poller(context.waker())?;
        let mut record = self.registrations.find(poller, direction);
        loop {
            let seen = record.map(|record| (record, record.side(direction).observe()));
            // After the side was observed: see `set_deadline`.
            self.check_deadline(direction)?;
            match attempt(&self.fd) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return Poll::Ready(result),
            }
            match seen {
                Some((record, seen)) => {
                    if self.wakers.leave(record, direction, seen, context.waker()) {
                        return Poll::Pending;
                    }
                }
                // Observed next time, and so is a deadline that was set before there was anybody to nudge.
                None => record = Some(self.registrations.ensure(poller, self.fd.as_fd(), direction)?.0),
            }
        }
    }

    /// Sets the time after which operations fail, those that wait now included.
    pub(crate) fn set_deadline(&self, direction: Direction, deadline: Option<Instant>) {
        let deadline = deadline.map_or(NEVER, clock::at);
        // Relaxed: the edge of `nudge` is a Release that `observe` acquires, and the locks of
        // the two lists order it for those who are about to enter them.
        self.limits(direction).deadline.store(deadline, Ordering::Relaxed);
        self.registrations.for_each(|record| poll::nudge(record.side(direction)));
        self.sleepers.ring();
    }

    /// Sets how long an operation may wait.
    pub(crate) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        let timeout_ns = match timeout {
            Some(Duration::ZERO) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout must not be zero"));
            }
            Some(timeout) => u64::try_from(timeout.as_nanos()).unwrap_or(NEVER),
            None => NEVER,
        };
        // Relaxed: a setting for operations to come; nothing else depends on it.
        self.limits(direction).timeout_ns.store(timeout_ns, Ordering::Relaxed);
        Ok(())
    }

    /// How long an operation may wait.
    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        // Relaxed: as in `set_timeout`.
        let timeout_ns = self.limits(direction).timeout_ns.load(Ordering::Relaxed);
        (timeout_ns != NEVER).then(|| Duration::from_nanos(timeout_ns))
    }

    /// Makes operations that would wait return `WouldBlock`, or wait again.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        // Relaxed: a setting for operations to come; nothing else depends on it.
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        // Relaxed: as in `set_nonblocking`.
        self.nonblocking.load(Ordering::Relaxed)
    }
}

impl Fd {
    /// Takes over a descriptor, whatever its mode: it is in non-blocking mode from now on. If it is a socket its
    /// timeouts become ours.
    pub(crate) fn adopt(fd: OwnedFd, kind: Kind) -> io::Result<Arc<Fd>> {
        let socket = SockRef::from(&fd);
        socket.set_nonblocking(true)?;
        // A pipe has none.
        let timeouts = (socket.read_timeout().ok().flatten(), socket.write_timeout().ok().flatten());
        let fd = Fd::new(fd, kind);
        for (direction, timeout) in [(Direction::Read, timeouts.0), (Direction::Write, timeouts.1)] {
            // Cannot fail: the kernel knows no timeout of zero.
            let _ = fd.set_timeout(direction, timeout);
        }
        Ok(Arc::new(fd))
    }

    /// Gives the descriptor up as if it had been std's from the start: with the timeouts, and in blocking mode
    /// unless it was told otherwise. If there are clones it is a duplicate.
    pub(crate) fn release(self: Arc<Fd>) -> io::Result<OwnedFd> {
        let timeouts = (self.timeout(Direction::Read), self.timeout(Direction::Write));
        let (nonblocking, kind) = (self.is_nonblocking(), self.kind);
        let (fd, alone) = match Arc::try_unwrap(self) {
            Ok(fd) => (fd.into_inner(), true),
            Err(shared) => (shared.fd.try_clone()?, false),
        };
        let socket = SockRef::from(&fd);
        // The mode belongs to the open file, which the clones share; some of them rely on it.
        socket.set_nonblocking(nonblocking || (!alone && kind == Kind::File))?;
        // std's pipes have no timeouts: those are left behind.
        let unless_pipe = |result: io::Result<()>| match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => Ok(()),
            result => result,
        };
        // The kernel counts microseconds, and none is no timeout to it: as std does, not less than one.
        let told = |timeout: Option<Duration>| timeout.map(|timeout| timeout.max(Duration::from_micros(1)));
        // Also if there are none: the kernel has those that it came with.
        unless_pipe(socket.set_read_timeout(told(timeouts.0)))?;
        unless_pipe(socket.set_write_timeout(told(timeouts.1)))?;
        Ok(fd)
    }

    /// Reads from a socket.
    #[inline]
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let asked = buffer.len().min(socket::TRANSFER_LIMIT);
        self.run(Direction::Read, NEVER, |fd| socket::recv(fd.as_fd(), buffer), |&count| count > 0 && count < asked)
    }

    /// Reads from a socket and leaves the bytes there.
    pub(crate) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.run(Direction::Read, NEVER, |fd| socket::peek(fd.as_fd(), buffer), |_| false)
    }

    /// Reads from a socket into several buffers.
    pub(crate) fn recv_vectored(&self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let asked = socket::vector_capacity(buffers.iter().map(|buffer| buffer.len()));
        if asked == 0 {
            return Ok(0);
        }
        self.run(
            Direction::Read,
            NEVER,
            |fd| socket::recv_vectored(fd.as_fd(), buffers),
            |&count| count > 0 && count < asked,
        )
    }

    /// Writes to a socket.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.run(Direction::Write, NEVER, |fd| socket::send(fd.as_fd(), bytes), |_| false)
    }

    /// Writes several slices to a socket.
    pub(crate) fn send_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.run(Direction::Write, NEVER, |fd| socket::send_vectored(fd.as_fd(), slices), |_| false)
    }

    /// Writes some of a file to a socket.
    pub(crate) fn send_file(&self, file: BorrowedFd<'_>, offset: u64, limit: usize) -> io::Result<usize> {
        let limit = limit.min(FILE_TRANSFER_LIMIT);
        // The file may have to be fetched from a disk, for which nothing can be waited without blocking.
        self.when_writable(NEVER, |fd| {
            sched::briefly(|| crate::os::file::sendfile(file, fd.as_fd(), Some(offset), limit))
        })
    }
}

/// A public type around one.
pub(crate) trait HasFd {
    fn fd(&self) -> &Fd;
}

impl<T: HasFd> HasFd for &T {
    fn fd(&self) -> &Fd {
        T::fd(self)
    }
}

impl<T: AsFd> AsFd for Fd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Fd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}

/// One call of [`Fd::run`] and when it gives up.
struct Operation {
    direction: Direction,
    /// When the timeout is over; known once it has to wait.
    give_up: Option<Nanos>,
    limit: Nanos,
}

impl Operation {
    /// The operation has to wait: its timeout begins, unless it has begun.
    fn start(&mut self, limits: &Limits) {
        if self.give_up.is_none() {
            // Relaxed: see `set_timeout`.
            let give_up = match limits.timeout_ns.load(Ordering::Relaxed) {
                NEVER => NEVER,
                timeout_ns => clock::now().saturating_add(timeout_ns),
            };
            self.give_up = Some(give_up.min(self.limit));
        }
    }

    /// When it ends, as things stand.
    fn end(&self, limits: &Limits) -> Nanos {
        // Relaxed: ordered by the Acquire of `observe`, see `set_deadline`.
        self.give_up.unwrap_or(NEVER).min(limits.deadline.load(Ordering::Relaxed))
    }
}

/// The wait for a descriptor has failed. If its time was over, whether what it waited for has come after all: the
/// netpoller may hear of that later than the timer rings, on a machine with other things to do.
#[cold]
fn last<R>(error: io::Error, attempt: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    if error.kind() != io::ErrorKind::TimedOut {
        return Err(error);
    }
    match attempt() {
        Err(again) if matches!(again.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Err(error),
        result => result,
    }
}

#[cold]
fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

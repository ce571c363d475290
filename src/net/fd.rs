//! A descriptor that never blocks underneath, with operations that wait on top.
//!
//! Promise: an operation returns when it has done something, when it has failed, or when its
//! time is up; while it waits it costs the coroutine's stack and nothing else (outside a
//! runtime, the thread).
//!
//! [`Fd::run`] is the one loop that all operations go through: check the deadline, observe the
//! side, try the system call, and wait if it would block (`poll/mod.rs` has the protocol). The
//! descriptor is registered with a poller by the first operation that has to wait: one that is
//! accepted, served and closed without waiting never meets epoll.
//!
//! An operation ends at the earliest of three times: the *timeout*, counted from when it first
//! has to wait (std's `set_read_timeout`); the *deadline*, which is absolute, and may be moved
//! while operations wait (Go's `SetReadDeadline`); a limit of its own (`connect_timeout`). The
//! deadline is stored before the waiters are nudged, and loaded after the side was observed, so
//! a new one is either seen at once or the nudge is an edge to whoever missed it.

use super::block::Sleepers;
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::socket;
use crate::poll::desc::{Direction, Record, Registrations};
use crate::poll::{self, word::Seen};
use crate::sched;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a short read from a descriptor means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A TCP stream: that it is empty now.
    Stream,
    /// Anything else: nothing.
    Other,
}

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

/// See the module.
#[derive(Debug)]
pub(crate) struct Fd {
    // Before `fd`, because fields are dropped in order and a descriptor leaves its pollers
    // before it is closed.
    registrations: Registrations,
    sleepers: Sleepers,
    read: Limits,
    write: Limits,
    /// Operations that would wait return `WouldBlock` instead.
    nonblocking: AtomicBool,
    kind: Kind,
    fd: OwnedFd,
}

impl Fd {
    /// Takes over a descriptor that is in non-blocking mode.
    pub(crate) fn new(fd: OwnedFd, kind: Kind) -> Fd {
        Fd {
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
    pub(crate) fn into_owned(self) -> OwnedFd {
        let Fd { fd, registrations, .. } = self;
        drop(registrations);
        fd
    }

    fn limits(&self, direction: Direction) -> &Limits {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Repeats `attempt` until it does not fail with `WouldBlock` (or `Interrupted`), waiting
    /// in between, at most until `limit`. A read that `is_short` has left a stream empty.
    ///
    /// With [`Kind::Stream`] a read may wait before its first attempt; `attempt` must then be
    /// one that an empty stream would not satisfy.
    #[inline(always)]
    fn run<T>(
        &self,
        direction: Direction,
        limit: Nanos,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
        is_short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        sched::checkpoint();
        // Relaxed: an operation that overlaps with the setting of a deadline need not see it
        // here; if it comes to wait it looks again.
        let deadline = self.limits(direction).deadline.load(Ordering::Relaxed);
        if deadline != NEVER && clock::now() >= deadline {
            return Err(timed_out());
        }
        let may_wait_first = direction == Direction::Read && self.kind == Kind::Stream;
        let mut operation = Operation { direction, give_up: None, limit };
        let mut record = sched::current_poller().and_then(|poller| self.registrations.find(poller));
        loop {
            let mut seen = None;
            if let Some(record) = record {
                let side = record.side(direction);
                let now = side.observe();
                if may_wait_first && side.is_drained(now) && !self.is_nonblocking() {
                    self.wait(&mut operation, Some((record, now)))?;
                    continue;
                }
                seen = Some((record, now));
            }
            match attempt(self.fd.as_fd()) {
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
                    io::ErrorKind::WouldBlock => record = self.wait(&mut operation, seen)?,
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

    /// Reads from a socket.
    #[inline]
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let asked = buffer.len().min(socket::TRANSFER_LIMIT);
        self.run(Direction::Read, NEVER, |fd| socket::recv(fd, buffer), |&count| count > 0 && count < asked)
    }

    /// Reads from a socket and leaves the bytes there.
    pub(crate) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.run(Direction::Read, NEVER, |fd| socket::peek(fd, buffer), |_| false)
    }

    /// Reads from a socket into several buffers.
    pub(crate) fn recv_vectored(&self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let asked = socket::vector_capacity(buffers.iter().map(|buffer| buffer.len()));
        if asked == 0 {
            return Ok(0);
        }
        self.run(Direction::Read, NEVER, |fd| socket::recv_vectored(fd, buffers), |&count| count > 0 && count < asked)
    }

    /// Writes to a socket.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.run(Direction::Write, NEVER, |fd| socket::send(fd, bytes), |_| false)
    }

    /// Writes several slices to a socket.
    pub(crate) fn send_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.run(Direction::Write, NEVER, |fd| socket::send_vectored(fd, slices), |_| false)
    }

    /// Any operation that reads, or accepts.
    pub(crate) fn when_readable<T>(&self, attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        debug_assert_eq!(self.kind, Kind::Other, "nothing may come between a stream and its reads");
        self.run(Direction::Read, NEVER, attempt, |_| false)
    }

    /// Any operation that writes, or connects; it gives up at `limit`.
    pub(crate) fn when_writable<T>(
        &self,
        limit: Nanos,
        attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.run(Direction::Write, limit, attempt, |_| false)
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

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
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

#[cold]
fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

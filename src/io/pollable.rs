//! Anything that has a descriptor.
//!
//! The owner's own calls do the work, so the descriptor has to be in non-blocking mode: then they say
//! [`WouldBlock`](io::ErrorKind::WouldBlock), and the loop of [`Fd`] waits. Whether the kernel can poll a descriptor is not
//! guessed from what kind of file it is, but asked: epoll refuses what it cannot.

use crate::net::face;
use crate::net::fd::{Fd, Kind};
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::epoll;
use crate::poll::desc::Direction;
use socket2::SockRef;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// Which way an operation goes, for [`Pollable::try_io`].
///
/// # Examples
///
/// ```
/// use gort::io::{Interest, Pollable};
/// let (reader, _writer) = std::io::pipe()?;
/// let reader = Pollable::new(reader)?;
/// reader.set_read_deadline(Some(std::time::Instant::now()));
/// let error = reader.try_io(Interest::Readable, |mut pipe| std::io::Read::read(&mut pipe, &mut [0])).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Interest {
    /// It reads: there must be something to read, or the end, or an error.
    Readable,
    /// It writes: there must be room, or an error.
    Writable,
}

/// Something that has a descriptor, waiting like a coroutine.
///
/// It reads and writes if `T` does, waiting until it can, and [`Self::try_io`] makes any other call of `T`'s wait. A `T`
/// that the kernel cannot poll (`epoll_ctl` says `EPERM`: regular files, directories, `/dev/null`) is always ready. It is
/// read and written within [`blocking`](crate::blocking), so that a slow disk holds nobody up.
///
/// # Examples
///
/// An eventfd:
///
/// ```
/// use gort::io::Pollable;
/// use std::{fs::File, io::{Read, Write}, os::fd::{FromRawFd, OwnedFd}};
///
/// // SAFETY: makes a new descriptor, which nobody else owns.
/// let eventfd = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
/// let events = Pollable::new(File::from(eventfd))?;
/// gort::run(|| {
///     gort::scope(|s| {
///         s.go(|| (&events).write_all(&3u64.to_ne_bytes()).unwrap());
///         let mut count = [0; 8];
///         (&events).read_exact(&mut count).unwrap();
///         assert_eq!(u64::from_ne_bytes(count), 3);
///     });
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Pollable<T: AsFd> {
    fd: Fd<T>,
    /// The kernel can poll it.
    pollable: bool,
    /// It was in non-blocking mode when we got it.
    was_nonblocking: bool,
}

impl<T: AsFd> Pollable<T> {
    /// Takes `io` over, and puts its open file into non-blocking mode if it can be polled. That mode is shared with
    /// duplicates of the descriptor, also those in other processes.
    ///
    /// `io` must have one and the same descriptor as long as it is in here; types that exchange it inside are
    /// not for this.
    ///
    /// # Examples
    ///
    /// ```
    /// let (reader, writer) = std::io::pipe()?;
    /// let reader = gort::io::Pollable::new(reader)?;
    /// assert!(reader.is_pollable());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses: there are no descriptors left, or it is one opened with `O_PATH`.
    pub fn new(io: T) -> io::Result<Pollable<T>> {
        let pollable = epoll::accepts(io.as_fd().as_raw_fd())?;
        let mut was_nonblocking = true;
        if pollable {
            let descriptor = SockRef::from(&io);
            was_nonblocking = descriptor.nonblocking()?;
            if !was_nonblocking {
                descriptor.set_nonblocking(true)?;
            }
        }
        Ok(Pollable { fd: Fd::new(io, Kind::File), pollable, was_nonblocking })
    }

    /// What was taken over.
    ///
    /// # Examples
    ///
    /// ```
    /// let file = gort::io::Pollable::new(std::fs::File::open("/proc/self/exe")?)?;
    /// assert!(file.get_ref().metadata()?.is_file());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn get_ref(&self) -> &T {
        self.fd.get_ref()
    }

    /// Gives back what was taken over, in the mode in which it came.
    ///
    /// # Examples
    ///
    /// ```
    /// let (reader, _writer) = std::io::pipe()?;
    /// let reader: std::io::PipeReader = gort::io::Pollable::new(reader)?.into_inner()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid descriptor.
    pub fn into_inner(self) -> io::Result<T> {
        let io = self.fd.into_inner();
        if !self.was_nonblocking {
            SockRef::from(&io).set_nonblocking(false)?;
        }
        Ok(io)
    }

    /// Whether the kernel can poll it; if not it is always ready.
    ///
    /// # Examples
    ///
    /// ```
    /// let file = gort::io::Pollable::new(std::fs::File::open("/proc/self/exe")?)?;
    /// assert!(!file.is_pollable());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_pollable(&self) -> bool {
        self.pollable
    }

    /// Waits until a read would return at once: with bytes, the end, or an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::Write, time::Duration};
    /// let (reader, mut writer) = std::io::pipe()?;
    /// let reader = gort::io::Pollable::new(reader)?;
    /// let error = reader.wait_readable(Some(Duration::from_millis(1))).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    /// writer.write_all(b"x")?;
    /// reader.wait_readable(None)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) when `timeout`, the [read timeout](Self::set_read_timeout) or the
    /// [deadline](Self::set_read_deadline) passes.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
    pub fn wait_readable(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.wait(Direction::Read, timeout)
    }

    /// Waits until a write would return at once: having written something, or with an error.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_reader, writer) = std::io::pipe()?;
    /// gort::io::Pollable::new(writer)?.wait_writable(None)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::wait_readable`], with timeout and deadline of writes.
    ///
    /// # Scheduling
    ///
    /// As [`Self::wait_readable`].
    pub fn wait_writable(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.wait(Direction::Write, timeout)
    }

    fn wait(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        let limit: Nanos = timeout.map_or(NEVER, clock::after);
        if self.pollable { self.fd.ready(direction, limit) } else { Ok(()) }
    }

    /// Calls `attempt` until it does not fail with [`WouldBlock`](io::ErrorKind::WouldBlock) or
    /// [`Interrupted`](io::ErrorKind::Interrupted), waiting in between until the descriptor is ready for it.
    ///
    /// `attempt` must say `WouldBlock` only if the kernel did, as an answer to a call that goes the way of `interest`: what
    /// is waited for is that this changes.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::io::{Interest, Pollable};
    ///
    /// let socket = Pollable::new(std::net::UdpSocket::bind("127.0.0.1:0")?)?;
    /// socket.get_ref().send_to(b"to me", socket.get_ref().local_addr()?)?;
    /// let mut buffer = [0; 8];
    /// let (count, _) = socket.try_io(Interest::Readable, |socket| socket.recv_from(&mut buffer))?;
    /// assert_eq!(&buffer[..count], b"to me");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `attempt`; [`TimedOut`](io::ErrorKind::TimedOut) when timeout or deadline passes.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
    pub fn try_io<R: Send>(
        &self,
        interest: Interest,
        mut attempt: impl FnMut(&T) -> io::Result<R> + Send,
    ) -> io::Result<R>
    where
        T: Sync,
    {
        if !self.pollable {
            let io = self.fd.get_ref();
            return crate::blocking(move || uninterrupted(|| attempt(io)));
        }
        match interest {
            Interest::Readable => self.fd.when_readable(attempt),
            Interest::Writable => self.fd.when_writable(NEVER, attempt),
        }
    }

    /// [`Self::try_io`] for calls that want the owner whole.
    fn try_io_mut<R: Send>(
        &mut self,
        direction: Direction,
        mut attempt: impl FnMut(&mut T) -> io::Result<R> + Send,
    ) -> io::Result<R>
    where
        T: Send,
    {
        if self.pollable {
            return self.fd.run_mut(direction, attempt);
        }
        let io = self.fd.get_mut();
        crate::blocking(move || uninterrupted(|| attempt(io)))
    }
}

fn uninterrupted<R>(mut attempt: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

macro_rules! setup {
    () => {
        "let (one, other) = std::os::unix::net::UnixStream::pair()?;\nlet socket = gort::io::Pollable::new(one)?;"
    };
}

face::read_limits!(
    [<T: AsFd>] Pollable<T>,
    setup!(),
    "let error = std::io::Read::read(&mut &socket, &mut [0; 8]).unwrap_err();"
);
face::write_limits!(
    [<T: AsFd>] Pollable<T>,
    setup!(),
    "let error = std::io::Write::write(&mut &socket, b\"late\").unwrap_err();"
);

/// # Scheduling
///
/// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
impl<T: AsFd + Read + Send> Read for Pollable<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_io_mut(Direction::Read, |io| io.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.try_io_mut(Direction::Read, |io| io.read_vectored(buffers))
    }
}

/// # Scheduling
///
/// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
impl<T: AsFd + Write + Send> Write for Pollable<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io_mut(Direction::Write, |io| io.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_io_mut(Direction::Write, |io| io.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.try_io_mut(Direction::Write, |io| io.flush())
    }
}

/// # Scheduling
///
/// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
impl<T: AsFd + Sync> Read for &Pollable<T>
where
    for<'a> &'a T: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_io(Interest::Readable, |mut io| io.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.try_io(Interest::Readable, |mut io| io.read_vectored(buffers))
    }
}

/// # Scheduling
///
/// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
impl<T: AsFd + Sync> Write for &Pollable<T>
where
    for<'a> &'a T: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io(Interest::Writable, |mut io| io.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_io(Interest::Writable, |mut io| io.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.try_io(Interest::Writable, |mut io| io.flush())
    }
}

impl<T: AsFd> AsFd for Pollable<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Pollable<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Pollable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pollable").field("io", self.get_ref()).field("pollable", &self.pollable).finish()
    }
}

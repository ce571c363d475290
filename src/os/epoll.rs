//! `epoll(7)` and `eventfd(2)`: a set of descriptors to wait on, and the means to break a wait.

use super::clock::{NEVER, Nanos, timespec};
use super::socket::{self, Interest};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an edge-triggered registration asks for. `EPOLLPRI` is there because urgent data makes
/// a short read mean something else (see `poll/mod.rs`).
const READS: u32 = (libc::EPOLLET | libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32;
/// The same for writes as well.
const BOTH: u32 = READS | libc::EPOLLOUT as u32;

/// Set when `epoll_pwait2(2)` is missing (before Linux 5.11), refused by a filter, or not
/// wanted; from then on timeouts are rounded up to milliseconds.
static COARSE: AtomicBool = AtomicBool::new(false);

/// Makes every wait of the process round its timeout up to milliseconds, as on kernels without
/// `epoll_pwait2(2)`: `GORT_DEBUG=pwait2=0`, and tests.
pub(crate) fn set_coarse(coarse: bool) {
    // Relaxed: a choice between two ways to do the same; nothing else depends on it.
    COARSE.store(coarse, Ordering::Relaxed);
}

/// Whether timeouts are rounded up to milliseconds.
pub(crate) fn is_coarse() -> bool {
    // Relaxed: see `set_coarse`.
    COARSE.load(Ordering::Relaxed)
}

/// Whether the kernel can poll `fd`. It refuses regular files, directories and some devices.
pub(crate) fn accepts(fd: RawFd) -> io::Result<bool> {
    static PROBE: OnceLock<Epoll> = OnceLock::new();
    let probe = match PROBE.get() {
        Some(probe) => probe,
        None => {
            let new = Epoll::new()?;
            PROBE.get_or_init(|| new)
        }
    };
    match probe.control(libc::EPOLL_CTL_ADD, fd, 0, 0) {
        Ok(()) => probe.delete(fd).map(|()| true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EPERM) => Ok(false),
            // Another thread asks about the same.
            Some(libc::EEXIST) => Ok(true),
            _ => Err(error),
        },
    }
}

/// One event as the kernel writes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Event(libc::epoll_event);

impl Event {
    /// The number given to [`Epoll::add`].
    #[inline(always)]
    pub(crate) fn tag(&self) -> u64 {
        self.0.u64
    }

    /// Something may be read, end of stream and errors included.
    #[inline(always)]
    pub(crate) fn is_readable(&self) -> bool {
        self.0.events & (libc::EPOLLIN | libc::EPOLLPRI) as u32 != 0 || self.is_final()
    }

    /// Something may be written, or a write will say what is wrong.
    #[inline(always)]
    pub(crate) fn is_writable(&self) -> bool {
        self.0.events & (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// The peer has shut its side, the connection has ended or failed.
    #[inline(always)]
    pub(crate) fn is_final(&self) -> bool {
        self.0.events & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// Urgent data is, or was, in the stream.
    #[inline(always)]
    pub(crate) fn is_urgent(&self) -> bool {
        self.0.events & libc::EPOLLPRI as u32 != 0
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (events, tag) = (self.0.events, self.0.u64);
        f.debug_struct("Event").field("events", &format_args!("{events:#x}")).field("tag", &tag).finish()
    }
}

/// A set of descriptors.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: takes a flag, touches no memory.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made `fd` for us; nobody else owns it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds `fd`, edge-triggered, for reads or for both directions in one registration. If it is ready now, that
    /// is the first edge.
    pub(crate) fn add(&self, fd: RawFd, tag: u64, writes: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, if writes { BOTH } else { READS }, tag)
    }

    /// Has `fd`, added for reads, report writes as well. If it is ready now, that is an edge.
    pub(crate) fn add_writes(&self, fd: RawFd, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, BOTH, tag)
    }

    /// Adds a descriptor that is reported by every wait for as long as it is readable.
    pub(crate) fn add_level(&self, fd: RawFd, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN as u32, tag)
    }

    /// Removes `fd`.
    pub(crate) fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, events: u32, tag: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: tag };
        // SAFETY: `event` is valid for the call; a bad descriptor is an error, not a fault.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }

    /// Whether a wait would return something at once.
    pub(crate) fn is_readable(&self) -> bool {
        socket::is_ready(self.0.as_raw_fd(), Interest::Readable).unwrap_or(false)
    }

    /// Waits for at least one event, at most `timeout_ns` ([`NEVER`]: without end; 0: not at
    /// all). Empty if there was none, or if a signal came.
    pub(crate) fn wait<'a>(&self, events: &'a mut [MaybeUninit<Event>], timeout_ns: Nanos) -> io::Result<&'a [Event]> {
        match self.wait_raw(events, timeout_ns) {
            Ok(count) => {
                // SAFETY: the kernel wrote the first `count` events, and `count` is at most the
                // length that it was given.
                Ok(unsafe { std::slice::from_raw_parts(events.as_ptr().cast(), count) })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }

    fn wait_raw(&self, events: &mut [MaybeUninit<Event>], timeout_ns: Nanos) -> io::Result<usize> {
        let (buffer, capacity) = (events.as_mut_ptr().cast::<libc::epoll_event>(), events.len().min(1 << 16));
        let set = self.0.as_raw_fd();
        if timeout_ns != 0 && timeout_ns != NEVER && !is_coarse() {
            let timeout = timespec(timeout_ns);
            // SAFETY: `buffer` has room for `capacity` events (`Event` is transparent), the
            // timespec outlives the call, and a null signal mask leaves the mask as it is.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    set,
                    buffer,
                    capacity as libc::c_int,
                    &raw const timeout,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            };
            if result >= 0 {
                return Ok(result as usize);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOSYS | libc::EPERM) => set_coarse(true),
                _ => return Err(error),
            }
        }
        let timeout_ms = match timeout_ns {
            NEVER => -1,
            ns => ns.div_ceil(1_000_000).min(libc::c_int::MAX as u64) as libc::c_int,
        };
        // Not by way of libc, which makes a cancellation point of it: two atomic operations for each look.
        // SAFETY: as above.
        let result = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait,
                set,
                buffer,
                capacity as libc::c_int,
                timeout_ms,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        let count = check(result as libc::c_int)?;
        Ok(count as usize)
    }
}

/// A set can be waited for like any descriptor: it is readable while a wait would return something.
impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A counter that makes a descriptor readable: what breaks a wait.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<EventFd> {
        // SAFETY: takes two integers, touches no memory.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel has just made `fd` for us; nobody else owns it.
        Ok(EventFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes it readable.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // SAFETY: writes eight initialised bytes. It fails only when the counter is full, and
        // then the descriptor is readable already.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes it unreadable, if it is readable.
    pub(crate) fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: `count` has room for the eight bytes. It fails only when the counter is zero.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

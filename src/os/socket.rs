//! What is done to a socket on the hot path, one call each, and `poll(2)` for plain threads.
//!
//! Streams are read and written with `MSG_DONTWAIT`, so that a call never blocks even if
//! somebody who shares the open file (a duplicate given away, a child process) has taken
//! `O_NONBLOCK` off it. Everything seldom (options, names) goes through socket2 instead.

use super::clock::{NEVER, Nanos, timespec};
use socket2::{SockAddr, SockRef};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{ManuallyDrop, MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// The kernel transfers at most so many bytes in a call, whatever was asked for.
pub(crate) const TRANSFER_LIMIT: usize = 0x7fff_f000;

/// The most slices that one vectored call takes.
pub(super) const VECTOR_LIMIT: usize = 1024;

#[inline(always)]
pub(super) fn size(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// `recv(2)`; never blocks.
///
/// Neither this nor [`send`] is the C library's function of that name. Those are cancellation points: two locked operations each, on a
/// line of the thread's, which here is one of the home's.
#[inline(always)]
pub(crate) fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (fd, bytes, length) = (fd.as_raw_fd(), buffer.as_mut_ptr(), buffer.len());
    let (flags, nobody) = (libc::MSG_DONTWAIT, ptr::null_mut::<u8>());
    // SAFETY: the kernel writes at most `length` bytes to the buffer, which is ours, and no address.
    size(unsafe { libc::syscall(libc::SYS_recvfrom, fd, bytes, length, flags, nobody, nobody) } as isize)
}

/// `recv(2)` that leaves the bytes where they are; never blocks.
pub(crate) fn peek(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    // SAFETY: as in `recv`.
    size(unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// `send(2)`; never blocks, and a closed connection is an error, not a signal.
#[inline(always)]
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let (fd, length, flags) = (fd.as_raw_fd(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    // SAFETY: the kernel reads `length` initialised bytes, and no address.
    size(unsafe { libc::syscall(libc::SYS_sendto, fd, bytes.as_ptr(), length, flags, ptr::null::<u8>(), 0) } as isize)
}

/// `recvfrom(2)`, which with `peek` leaves the datagram where it is; never blocks.
pub(crate) fn recv_from(fd: BorrowedFd<'_>, buffer: &mut [u8], peek: bool) -> io::Result<(usize, SockAddr)> {
    let flags = libc::MSG_DONTWAIT | if peek { libc::MSG_PEEK } else { 0 };
    // SAFETY: initialised bytes may be seen as bytes that perhaps are not; socket2 only writes initialised ones, and so
    // they are initialised afterwards as well.
    let buffer = unsafe { &mut *(buffer as *mut [u8] as *mut [MaybeUninit<u8>]) };
    SockRef::from(&fd).recv_from_with_flags(buffer, flags)
}

/// `sendto(2)`; never blocks, and a closed connection is an error, not a signal.
pub(crate) fn send_to(fd: BorrowedFd<'_>, bytes: &[u8], address: &SockAddr) -> io::Result<usize> {
    SockRef::from(&fd).send_to_with_flags(bytes, address, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
}

/// Vectored [`recv`].
pub(crate) fn recv_vectored(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let mut message = empty_message();
    message.msg_iov = buffers.as_mut_ptr().cast();
    message.msg_iovlen = buffers.len().min(VECTOR_LIMIT) as _;
    // SAFETY: IoSliceMut has the layout of iovec on Unix by its documentation; the message has
    // no name and no control data; the kernel writes within the slices.
    size(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) })
}

/// Vectored [`send`].
pub(crate) fn send_vectored(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut message = empty_message();
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len().min(VECTOR_LIMIT) as _;
    // SAFETY: IoSlice has the layout of iovec on Unix by its documentation; sendmsg only reads
    // the message and what it refers to.
    size(unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// How many bytes a vectored call over slices of these lengths transfers at most.
pub(crate) fn vector_capacity(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.take(VECTOR_LIMIT).fold(0, usize::saturating_add).min(TRANSFER_LIMIT)
}

/// Calls a method of std's own type for such a descriptor.
pub(crate) fn as_std<T: From<OwnedFd>, R>(fd: &impl AsFd, call: impl FnOnce(&T) -> R) -> R {
    // SAFETY: `fd` is borrowed, so it is open until the end of the call, and what is made of it here does not close it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd.as_fd().as_raw_fd()) };
    call(&ManuallyDrop::new(T::from(owned)))
}

fn empty_message() -> libc::msghdr {
    // SAFETY: a msghdr of zeros has null pointers and zero lengths: a valid empty message.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// `accept4(2)`: the new socket does not block and is not inherited.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes at most `length` bytes to the storage.
    let socket = unsafe { libc::accept4(fd.as_raw_fd(), storage.as_mut_ptr().cast(), &mut length, flags) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made `socket` for us; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: zeroed before the call, so initialised whatever the kernel wrote.
    let address = internet_address(&unsafe { storage.assume_init() }, length as usize)?;
    Ok((socket, address))
}

fn internet_address(storage: &libc::sockaddr_storage, length: usize) -> io::Result<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family and the length say that it is a sockaddr_in; the storage is
            // large enough and aligned for every kind of address.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Ok(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id)))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the peer's address is not an internet address")),
    }
}

/// What [`wait`] waits for, and [`is_ready`] asks about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Interest {
    Readable,
    Writable,
    /// Nothing will come any more: the peer has ended it, or reading was shut down.
    Shut,
}

/// Blocks the thread until `fd` is ready, `breaker` is readable, or `timeout_ns` has passed:
/// false then. May return early with true: when a signal has come the caller looks again at what it waits for.
pub(crate) fn wait(fd: RawFd, interest: Interest, breaker: Option<RawFd>, timeout_ns: Nanos) -> io::Result<bool> {
    match poll(fd, interest, breaker, timeout_ns) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        result => result,
    }
}

/// Whether `fd` is ready now. Exact: a signal interrupts even a poll that does not wait, if nothing is ready,
/// and that is no answer.
pub(crate) fn is_ready(fd: RawFd, interest: Interest) -> io::Result<bool> {
    loop {
        match poll(fd, interest, None, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// `ppoll(2)`.
fn poll(fd: RawFd, interest: Interest, breaker: Option<RawFd>, timeout_ns: Nanos) -> io::Result<bool> {
    let events = match interest {
        Interest::Readable => libc::POLLIN,
        Interest::Writable => libc::POLLOUT,
        Interest::Shut => libc::POLLRDHUP,
    };
    let mut set = [
        libc::pollfd { fd, events, revents: 0 },
        // A negative descriptor is passed over.
        libc::pollfd { fd: breaker.unwrap_or(-1), events: libc::POLLIN, revents: 0 },
    ];
    let timeout = timespec(timeout_ns);
    let timeout = if timeout_ns == NEVER { std::ptr::null() } else { &raw const timeout };
    // SAFETY: the set and the timeout outlive the call; a null mask leaves the mask as it is.
    let result = unsafe { libc::ppoll(set.as_mut_ptr(), 2, timeout, std::ptr::null()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result > 0) }
}

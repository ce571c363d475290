//! Reading and writing what is no socket: pipes, files.

use super::socket::{VECTOR_LIMIT, size};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `read(2)`.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes to the buffer, which is ours.
    size(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// `write(2)`.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads `len` initialised bytes.
    size(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// `readv(2)`.
pub(crate) fn read_vectored(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let count = buffers.len().min(VECTOR_LIMIT) as libc::c_int;
    // SAFETY: IoSliceMut has the layout of iovec on Unix by its documentation; the kernel writes within the slices.
    size(unsafe { libc::readv(fd.as_raw_fd(), buffers.as_mut_ptr().cast(), count) })
}

/// `writev(2)`.
pub(crate) fn write_vectored(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = slices.len().min(VECTOR_LIMIT) as libc::c_int;
    // SAFETY: IoSlice has the layout of iovec on Unix by its documentation; the kernel only reads.
    size(unsafe { libc::writev(fd.as_raw_fd(), slices.as_ptr().cast(), count) })
}

/// `splice(2)` from one to the other, one of which is a pipe; never blocks for the sake of that. At most `limit`
/// bytes.
pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    let (no_offset, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: without offsets it touches no memory of ours.
    size(unsafe { libc::splice(from.as_raw_fd(), no_offset, to.as_raw_fd(), none, limit, flags) })
}

/// `sendfile(2)`: at most `limit` bytes of a file to anything, from `offset` on, and then the position of the file stays, or
/// else from that position. Whether it waits for a socket is that open file's mode.
pub(crate) fn sendfile(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    offset: Option<u64>,
    limit: usize,
) -> io::Result<usize> {
    let mut offset = offset.map(libc::off_t::try_from).transpose().map_err(|_| io::ErrorKind::InvalidInput)?;
    let offset = offset.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the kernel reads and writes the offset, if it is given one, which lives here, and no other memory of ours.
    size(unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), offset, limit) })
}

/// `copy_file_range(2)`: what is next in a file, to where the other one is. At most `limit` bytes.
pub(crate) fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
    let (no_offset, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: without offsets it touches no memory of ours.
    size(unsafe { libc::copy_file_range(from.as_raw_fd(), no_offset, to.as_raw_fd(), none, limit, 0) })
}

/// Whether it is a regular file.
pub(crate) fn is_regular(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes one stat.
    size(unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) } as isize)?;
    // SAFETY: the call has succeeded, so it is written.
    Ok(unsafe { stat.assume_init() }.st_mode & libc::S_IFMT == libc::S_IFREG)
}

/// Whether the open file is in non-blocking mode now.
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the operation takes no argument and touches no memory of ours.
    let flags = size(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } as isize)?;
    Ok(flags & libc::O_NONBLOCK as usize != 0)
}

/// How many bytes a pipe holds: fewer than usual where the user has very many.
pub(crate) fn pipe_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: the operation takes no argument and touches no memory of ours.
    size(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETPIPE_SZ) } as isize)
}

/// `preadv2(2)` at `offset`, or at the file's own position, of what needs no waiting (`RWF_NOWAIT`): `WouldBlock` if nothing of it
/// is in memory. Linux 5.9 and 5.10 may say 0 where the file does not end.
pub(crate) fn read_nowait(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    offset: Option<u64>,
) -> io::Result<usize> {
    let count = buffers.len().min(VECTOR_LIMIT) as libc::c_int;
    let offset = match offset {
        Some(offset) => libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?,
        None => -1,
    };
    // SAFETY: as in `read_vectored`.
    size(unsafe { libc::preadv2(fd.as_raw_fd(), buffers.as_mut_ptr().cast(), count, offset, libc::RWF_NOWAIT) })
}

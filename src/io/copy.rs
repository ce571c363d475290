//! From a reader to a writer.

use crate::net::fd::{Fd, Kind};
use crate::os::clock::NEVER;
use crate::os::{epoll, file};
use crate::poll::desc::Direction;
use crate::sched::briefly;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;

/// What [`copy`] reads at a time.
const BUFFER: usize = 64 << 10;
/// What [`splice`] moves at a time; a pipe holds no more unless it was told to.
const PIPE: usize = 64 << 10;

/// Copies everything from a reader to a writer, and returns how many bytes that were: [`std::io::copy`], whose buffer is
/// on the heap here and larger, since a stack gives back no page that it has once used. Between two descriptors [`splice`] is
/// faster; it is not chosen by itself, since it goes by no timeout.
///
/// # Examples
///
/// ```
/// let mut copy = Vec::new();
/// assert_eq!(gort::io::copy(&mut &b"some bytes"[..], &mut copy)?, 10);
/// assert_eq!(copy, b"some bytes");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The first of the reader's or the writer's, but for [`Interrupted`](ErrorKind::Interrupted). What was read by then
/// may not have been written.
///
/// # Scheduling
///
/// As reading and writing.
pub fn copy<R: Read + ?Sized, W: Write + ?Sized>(reader: &mut R, writer: &mut W) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                writer.write_all(&buffer[..count])?;
                total += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Copies everything from one descriptor to another without taking the bytes into the program (`splice(2)`), and
/// returns how many bytes that were: between sockets, from a file to a socket, to and from pipes.
///
/// If neither is a pipe the bytes go by way of one that is made for this. Descriptors that can be polled must be in non-blocking
/// mode, as all of ours are.
///
/// # Examples
///
/// ```
/// use gort::net::UnixStream;
/// use std::io::{Read, Write};
///
/// gort::run(|| {
///     let (mut from, near) = UnixStream::pair()?;
///     let (to, mut far) = UnixStream::pair()?;
///     let proxy = gort::go!(move || gort::io::splice(&near, &to));
///     from.write_all(b"some bytes")?;
///     drop(from);
///     assert_eq!(proxy.join().unwrap()?, 10);
///     let mut text = String::new();
///     far.read_to_string(&mut text)?;
///     assert_eq!(text, "some bytes");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) if the kernel cannot do it with these two (a file that was opened to append, some devices): then
/// nothing was read, and [`copy`] does it. Else what reading or writing says; what was read by then may not have been written. The timeouts and
/// deadlines of the two do not apply: it waits as long as it takes.
///
/// # Scheduling
///
/// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled, between transfers. Files are read and written as in
/// [`fs`](crate::fs#scheduling).
pub fn splice<R: AsFd + ?Sized, W: AsFd + ?Sized>(reader: &R, writer: &W) -> io::Result<u64> {
    let reader = End::new(reader.as_fd())?;
    let writer = End::new(writer.as_fd())?;
    if let Some(result) = direct(&reader, &writer) {
        return result;
    }
    let (from_pipe, to_pipe) = io::pipe()?;
    let (from_pipe, to_pipe) = (End::new(from_pipe.as_fd())?, End::new(to_pipe.as_fd())?);
    let mut total = 0;
    loop {
        // The pipe is empty.
        let mut left = transfer(&reader, &to_pipe, PIPE, || reader.fd.ready(Direction::Read, NEVER))?;
        if left == 0 {
            return Ok(total);
        }
        while left > 0 {
            // There is something in the pipe.
            match transfer(&from_pipe, &writer, left, || writer.fd.ready(Direction::Write, NEVER))? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => {
                    left -= count;
                    total += count as u64;
                }
            }
        }
    }
}

/// [`splice`] without a pipe between; None if one of the two would have to be one.
fn direct(reader: &End, writer: &End) -> Option<io::Result<u64>> {
    if !reader.is_pipe && !writer.is_pipe {
        return None;
    }
    let mut total = 0;
    // It does not say which of the two it was.
    let wait = || {
        reader.fd.ready(Direction::Read, NEVER)?;
        writer.fd.ready(Direction::Write, NEVER)
    };
    loop {
        match transfer(reader, writer, PIPE, wait) {
            Ok(0) => return Some(Ok(total)),
            Ok(count) => total += count as u64,
            Err(error) => return Some(Err(error)),
        }
    }
}

/// One transfer of at most `limit` bytes; calls `wait` when it would block.
fn transfer(from: &End, to: &End, limit: usize, wait: impl Fn() -> io::Result<()>) -> io::Result<usize> {
    let attempt = || file::splice(from.fd.as_fd(), to.fd.as_fd(), limit);
    loop {
        match if from.pollable && to.pollable { attempt() } else { briefly(attempt) } {
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait()?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// One of the two, with a registration of its own: what waits here disturbs nobody who waits on the types themselves.
struct End {
    fd: Fd,
    pollable: bool,
    is_pipe: bool,
}

impl End {
    fn new(fd: BorrowedFd<'_>) -> io::Result<End> {
        let fd = std::fs::File::from(fd.try_clone_to_owned()?);
        let is_pipe = fd.metadata()?.file_type().is_fifo();
        let pollable = epoll::accepts(fd.as_raw_fd())?;
        Ok(End { fd: Fd::new(fd.into(), Kind::File), pollable, is_pipe })
    }
}

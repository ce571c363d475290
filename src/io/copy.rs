//! From a reader to a writer.

use super::within::{self, Outcome, Source};
use crate::net::fd::{Fd, Kind};
use crate::os::clock::NEVER;
use crate::os::{epoll, file};
use crate::poll::desc::Direction;
use crate::sched::briefly;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;

/// What [`copy`] reads at a time.
const BUFFER: usize = 64 << 10;
/// What [`splice`] moves at a time; a pipe holds no more unless it was told to.
const PIPE: usize = 64 << 10;

/// Copies everything from a reader to a writer, and returns how many bytes that were: [`std::io::copy`], whose buffer is
/// on the heap here and larger, since a stack gives back no page that it has once used.
///
/// # Within the kernel
///
/// As in std, much that goes from one descriptor to another does not come into the program at all. The types that this is known of:
///
/// | | |
/// |---|---|
/// | to read | [`TcpStream`], [`UnixStream`], [`PipeReader`](super::PipeReader), [`ChildStdout`], [`ChildStderr`], [`fs::File`] and std's `File` |
/// | to write | [`TcpStream`], [`UnixStream`], [`PipeWriter`](super::PipeWriter), [`ChildStdin`], [`fs::File`] and std's `File` |
/// | and of these | `&T`, `&mut T`, `Box<T>`, [`Take`](io::Take), [`BufReader`](io::BufReader) and [`BufWriter`](io::BufWriter), the halves of a socket that was [split](super::split()) |
///
/// [`TcpStream`]: crate::net::TcpStream
/// [`UnixStream`]: crate::net::UnixStream
/// [`ChildStdout`]: crate::process::ChildStdout
/// [`ChildStderr`]: crate::process::ChildStderr
/// [`ChildStdin`]: crate::process::ChildStdin
/// [`fs::File`]: crate::fs::File
///
/// Any others go by way of the buffer, as do these behind a `dyn Read` or in a type of yours; between two that only have a
/// descriptor there is [`splice`]. So do small pieces, which are quicker that way: it begins when a read has filled half the
/// buffer. And so does everything in a program that does not ignore `SIGPIPE`, as Rust programs do from the start, if it goes to a
/// socket. Nothing else differs: timeouts, deadlines and [`set_nonblocking`](crate::net::TcpStream::set_nonblocking) hold for both.
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
/// A proxy, both ways at once:
///
/// ```
/// use gort::net::{Shutdown, TcpStream};
///
/// fn relay(client: &TcpStream, server: &TcpStream) -> std::io::Result<()> {
///     gort::scope(|s| {
///         let there = s.go(|| {
///             gort::io::copy(&mut &*client, &mut &*server)?;
///             server.shutdown(Shutdown::Write)
///         });
///         gort::io::copy(&mut &*server, &mut &*client)?;
///         client.shutdown(Shutdown::Write)?;
///         there.join().unwrap()
///     })
/// }
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
    let mut may_ask_kernel = true;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        writer.write_all(&buffer[..count])?;
        total += count as u64;
        if may_ask_kernel && count >= within::MUCH {
            may_ask_kernel = move_more(reader, writer, &mut total)?;
        }
    }
}

/// Tells a source how much was taken from it, whatever came of that: a caller may go on with it after a timeout.
struct Taking<'a> {
    source: &'a mut dyn Source,
    count: Cell<u64>,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.source.taken(self.count.get());
    }
}

/// Moves what there is to be read now within the kernel; false if that cannot be with these two.
#[inline(never)]
fn move_more<R: Read + ?Sized, W: Write + ?Sized>(reader: &mut R, writer: &mut W, total: &mut u64) -> io::Result<bool> {
    let (Some(source), Some(sink)) = (within::source(reader), within::sink(writer)) else { return Ok(false) };
    let taking = Taking { source, count: Cell::new(0) };
    let Some((from, limit)) = taking.source.end() else { return Ok(true) };
    let outcome = within::transfer(&from, &sink.end()?, limit, &taking.count)?;
    // What was taken is written, or is the rest.
    *total += taking.count.get();
    match outcome {
        Outcome::Dry => Ok(true),
        Outcome::Refused(rest) => {
            writer.write_all(&rest)?;
            Ok(false)
        }
    }
}

/// Copies everything from one descriptor to another without taking the bytes into the program (`splice(2)`), and
/// returns how many bytes that were: between sockets, from a file to a socket, to and from pipes.
///
/// If neither is a pipe the bytes go by way of one that is made for this. Descriptors that can be polled must be in non-blocking
/// mode, as all of ours are. Between types that [`copy`] knows it is the better choice.
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
    // Before anything is read: a writer that can be spliced into waits for the pipe, which is empty, all others refuse.
    match briefly(|| file::splice(from_pipe.fd.as_fd(), writer.fd.as_fd(), PIPE)) {
        Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Err(error),
        _ => {}
    }
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

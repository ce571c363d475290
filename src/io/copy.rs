//! From a reader to a writer.

use crate::net::fd::{Fd, Kind};
use crate::os::clock::NEVER;
use crate::os::file;
use crate::poll::desc::Direction;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

/// What [`copy`] reads at a time.
const BUFFER: usize = 64 << 10;
/// What [`splice`] moves at a time; a pipe holds no more unless it was told to.
const PIPE: usize = 64 << 10;

/// Copies everything from a reader to a writer, and returns how many bytes that were: [`std::io::copy`], whose buffer is
/// on the heap here and larger, since a stack gives back no page that it has once used.
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
/// returns how many bytes that were. One of the two must be a pipe; both must be in non-blocking mode, as all of ours
/// are.
///
/// # Examples
///
/// ```
/// use gort::net::UnixStream;
/// use std::io::{Read, Write};
///
/// gort::run(|| {
///     let (reader, mut writer) = gort::io::pipe()?;
///     let (near, mut far) = UnixStream::pair()?;
///     gort::go!(move || writer.write_all(b"some bytes"));
///     assert_eq!(gort::io::splice(&reader, &near)?, 10);
///     drop(near);
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
/// [`InvalidInput`](ErrorKind::InvalidInput) if neither is a pipe, or the kernel cannot do it with these two; else what
/// reading or writing says. The timeouts and deadlines of the two do not apply: it waits as long as it takes.
///
/// # Scheduling
///
/// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled, between transfers.
pub fn splice<R: AsFd + ?Sized, W: AsFd + ?Sized>(reader: &R, writer: &W) -> io::Result<u64> {
    // Registrations of their own: what waits here disturbs nobody who waits on the types themselves.
    let reader = Fd::new(reader.as_fd().try_clone_to_owned()?, Kind::File);
    let writer = Fd::new(writer.as_fd().try_clone_to_owned()?, Kind::File);
    let mut total = 0;
    loop {
        match file::splice(reader.as_fd(), writer.as_fd(), PIPE) {
            Ok(0) => return Ok(total),
            Ok(count) => total += count as u64,
            // It does not say which of the two it was.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                reader.ready(Direction::Read, NEVER)?;
                writer.ready(Direction::Write, NEVER)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

//! Pipes.

use crate::net::face;
use crate::net::fd::{Fd, Kind};
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

/// A new pipe: what is written to the one end can be read from the other.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// let (mut reader, mut writer) = gort::io::pipe()?;
/// writer.write_all(b"x")?;
/// drop(writer);
/// let mut text = String::new();
/// assert_eq!(reader.read_to_string(&mut text)?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// If there are no descriptors left.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((
        PipeReader { fd: Fd::adopt(reader.into(), Kind::File)? },
        PipeWriter { fd: Fd::adopt(writer.into(), Kind::File)? },
    ))
}

/// The end of a pipe from which one reads: [`std::io::PipeReader`] for coroutines.
///
/// A read returns 0 when all writing ends have been closed and everything was read.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// let (mut reader, mut writer) = gort::io::pipe()?;
/// writer.write_all(b"x")?;
/// assert_eq!(reader.read(&mut [0; 8])?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PipeReader {
    fd: Arc<Fd>,
}

/// The end of a pipe to which one writes: [`std::io::PipeWriter`] for coroutines.
///
/// A write fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) when all reading ends have been closed.
///
/// # Examples
///
/// ```
/// use std::io::{ErrorKind, Write};
/// let (reader, mut writer) = gort::io::pipe()?;
/// drop(reader);
/// assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PipeWriter {
    fd: Arc<Fd>,
}

macro_rules! setup {
    (reader) => {
        "let (socket, writer) = gort::io::pipe()?;"
    };
    (writer) => {
        "let (reader, socket) = gort::io::pipe()?;"
    };
}
macro_rules! read {
    () => {
        "let error = std::io::Read::read(&mut &socket, &mut [0; 8]).unwrap_err();"
    };
}

face::handle!(PipeReader, setup!(reader), read!());
face::read_limits!(PipeReader, setup!(reader), read!());
face::convert!(PipeReader, std::io::PipeReader, Kind::File, setup!(reader));
face::debug!(PipeReader,);

face::handle!(
    PipeWriter,
    setup!(writer),
    "let error = loop {\n    \
         if let Err(error) = std::io::Write::write(&mut &socket, &[0; 4096]) { break error }\n\
     };"
);
face::write_limits!(
    PipeWriter,
    setup!(writer),
    "let error = std::io::Write::write(&mut &socket, b\"late\").unwrap_err();"
);
face::convert!(PipeWriter, std::io::PipeWriter, Kind::File, setup!(writer));
face::debug!(PipeWriter,);

face::pipe_read!(PipeReader);
face::pipe_write!(PipeWriter);

/// As the conversion to std's type does it: a child gets it in non-blocking mode if clones of it are still here.
impl From<PipeReader> for Stdio {
    fn from(pipe: PipeReader) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

/// As the conversion to std's type does it: a child gets it in non-blocking mode if clones of it are still here.
impl From<PipeWriter> for Stdio {
    fn from(pipe: PipeWriter) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

//! The pipes to and from a child.

use crate::net::face;
use crate::net::fd::{Fd, Kind};
use crate::os::clock::NEVER;
use crate::os::file;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

/// What a child reads as its standard input: [`std::process::ChildStdin`] for coroutines.
///
/// When it is dropped the child sees the end.
///
/// # Examples
///
/// See [`Child`](super::Child).
pub struct ChildStdin {
    pub(super) fd: Arc<Fd>,
}

/// What a child writes to its standard output: [`std::process::ChildStdout`] for coroutines.
///
/// # Examples
///
/// See [`Child`](super::Child).
pub struct ChildStdout {
    pub(super) fd: Arc<Fd>,
}

/// What a child writes to its standard error: [`std::process::ChildStderr`] for coroutines.
///
/// # Examples
///
/// See [`Child`](super::Child).
pub struct ChildStderr {
    pub(super) fd: Arc<Fd>,
}

macro_rules! setup {
    ($which:literal) => {
        concat!(
            "use gort::process::{Command, Stdio};\nlet mut child = Command::new(\"sleep\").arg(\"10\").kill_on_drop(true).",
            $which,
            "(Stdio::piped()).spawn()?;\nlet socket = child.",
            $which,
            ".take().unwrap();"
        )
    };
}

macro_rules! reader {
    ($name:ident, $std:path, $which:literal) => {
        face::handle!(
            $name,
            setup!($which),
            "let error = std::io::Read::read(&mut &socket, &mut [0; 8]).unwrap_err();"
        );
        face::read_limits!(
            $name,
            setup!($which),
            "let error = std::io::Read::read(&mut &socket, &mut [0; 8]).unwrap_err();"
        );
        face::convert!($name, $std, Kind::File, setup!($which));
        face::debug!($name,);
        reader!(@impl $name, $name, &$name);
    };
    (@impl $name:ident, $($of:ty),*) => {
        $(
            /// # Scheduling
            ///
            /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
            impl Read for $of {
                fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                    self.fd.when_readable(|fd: &OwnedFd| file::read(fd.as_fd(), buffer))
                }

                fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                    self.fd.when_readable(|fd: &OwnedFd| file::read_vectored(fd.as_fd(), buffers))
                }
            }
        )*

        /// As the conversion to std's type does it.
        impl From<$name> for Stdio {
            fn from(pipe: $name) -> Stdio {
                OwnedFd::from(pipe).into()
            }
        }
    };
}

reader!(ChildStdout, std::process::ChildStdout, "stdout");
reader!(ChildStderr, std::process::ChildStderr, "stderr");

face::handle!(
    ChildStdin,
    setup!("stdin"),
    "let error = loop {\n    \
         if let Err(error) = std::io::Write::write(&mut &socket, &[0; 4096]) { break error }\n\
     };"
);
face::write_limits!(
    ChildStdin,
    setup!("stdin"),
    "let error = std::io::Write::write(&mut &socket, b\"late\").unwrap_err();"
);
face::convert!(ChildStdin, std::process::ChildStdin, Kind::File, setup!("stdin"));
face::debug!(ChildStdin,);

macro_rules! writer {
    ($($of:ty),*) => {$(
        /// # Scheduling
        ///
        /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
        impl Write for $of {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.fd.when_writable(NEVER, |fd: &OwnedFd| file::write(fd.as_fd(), bytes))
            }

            fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                self.fd.when_writable(NEVER, |fd: &OwnedFd| file::write_vectored(fd.as_fd(), slices))
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    )*};
}

writer!(ChildStdin, &ChildStdin);

/// As the conversion to std's type does it.
impl From<ChildStdin> for Stdio {
    fn from(pipe: ChildStdin) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

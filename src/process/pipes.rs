//! The pipes to and from a child.

use crate::net::face;
use crate::net::fd::{Fd, Kind};
use std::os::fd::OwnedFd;
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
        face::pipe_read!($name);

        /// As the conversion to std's type does it: a child gets it in non-blocking mode if clones of it are still here.
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

face::pipe_write!(ChildStdin);

/// As the conversion to std's type does it: a child gets it in non-blocking mode if clones of it are still here.
impl From<ChildStdin> for Stdio {
    fn from(pipe: ChildStdin) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

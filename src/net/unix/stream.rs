//! A connection between Unix sockets.

use super::{SocketAddr, addr};
use crate::net::face;
use crate::net::fd::{Fd, Kind};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// A Unix stream socket: [`std::os::unix::net::UnixStream`] for coroutines.
///
/// Reads and writes may go on at once, in any number of coroutines and threads, through `&UnixStream` or clones. The
/// connection is closed when the stream and its clones have been dropped.
///
/// # Examples
///
/// ```
/// use gort::net::UnixStream;
/// use std::io::{Read, Write};
///
/// gort::run(|| {
///     let (mut one, mut other) = UnixStream::pair()?;
///     gort::go!(move || other.write_all(b"hello"));
///     let mut text = String::new();
///     one.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream {
    fd: Arc<Fd>,
}

impl UnixStream {
    /// Takes over a connected socket that is in non-blocking mode.
    pub(super) fn from_nonblocking(fd: OwnedFd) -> UnixStream {
        UnixStream { fd: Arc::new(Fd::new(fd, Kind::Socket)) }
    }

    /// Connects to the listener at a path.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let stream = gort::net::UnixStream::connect("/run/example.socket")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is nothing at the path ([`NotFound`](io::ErrorKind::NotFound)), nobody listens there
    /// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)), or it is too long.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread) while the listener's queue is full; may be
    /// cancelled.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        // std's own check, for the same error if the path is none.
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to the listener at an address, which may be an abstract one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::unix::{SocketAddr, UnixListener, UnixStream};
    /// let listener = UnixListener::bind_addr(&SocketAddr::from_pathname("")?)?;
    /// let stream = UnixStream::connect_addr(&listener.local_addr()?)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::connect`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::connect`].
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        let address: SockAddr = addr::to_kernel(address)?;
        let socket = Socket::new_raw(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        let stream = UnixStream::from_nonblocking(socket.into());
        stream.fd.when_accepted(|fd| SockRef::from(fd).connect(&address))?;
        Ok(stream)
    }

    /// Two sockets that are connected to each other and have no name.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// let (mut one, mut other) = gort::net::UnixStream::pair()?;
    /// one.write_all(b"x")?;
    /// assert_eq!(other.read(&mut [0; 8])?, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = Socket::pair_raw(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        Ok((UnixStream::from_nonblocking(one.into()), UnixStream::from_nonblocking(other.into())))
    }
}

macro_rules! setup {
    () => {
        "let (socket, other_end) = gort::net::UnixStream::pair()?;"
    };
}
macro_rules! read {
    () => {
        "let error = std::io::Read::read(&mut &socket, &mut [0; 8]).unwrap_err();"
    };
}

face::local_addr!(
    UnixStream,
    std::os::unix::net::UnixStream,
    "The address of this side, unnamed if it was not bound.",
    setup!(),
    "assert!(socket.local_addr()?.is_unnamed());"
);
face::peer_addr!(
    UnixStream,
    std::os::unix::net::UnixStream,
    "The address of the other side, unnamed if it was not bound.",
    setup!(),
    "assert!(socket.peer_addr()?.is_unnamed());"
);
face::handle!(UnixStream, setup!(), read!());
face::pending_error!(UnixStream, setup!());
face::read_limits!(UnixStream, setup!(), read!());
face::write_limits!(UnixStream, setup!(), "let error = std::io::Write::write(&mut &socket, b\"late\").unwrap_err();");
face::byte_stream!(UnixStream, setup!());
face::send_file!(
    UnixStream,
    setup!(),
    "let mut text = [0; 9];\n\
     (&other_end).read_exact(&mut text)?;\n\
     assert_eq!(&text, b\"its parts\");"
);
face::convert!(UnixStream, std::os::unix::net::UnixStream, Kind::Socket, setup!());
face::debug!(UnixStream, "local" = local_addr, "peer" = peer_addr);

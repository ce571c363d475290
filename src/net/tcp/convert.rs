//! Between our sockets, std's, and bare descriptors.
//!
//! All ways in lead through [`From`] std's type, which puts the descriptor in non-blocking mode
//! and takes its timeouts over; all ways out lead through `into_std`, which does the reverse. So
//! a descriptor that is given away behaves as if it had been std's from the start.

use super::{TcpListener, TcpStream};
use crate::net::fd::{Fd, Kind};
use crate::poll::desc::Direction;
use socket2::SockRef;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The descriptor, and whether it is ours alone. If clones of the socket remain, a duplicate.
fn take(fd: Arc<Fd>) -> io::Result<(OwnedFd, bool)> {
    match Arc::try_unwrap(fd) {
        Ok(fd) => Ok((fd.into_owned(), true)),
        Err(shared) => Ok((shared.as_fd().try_clone_to_owned()?, false)),
    }
}

impl TcpStream {
    /// Turns the stream into std's: the timeouts go with it, and unless
    /// [`set_nonblocking`](Self::set_nonblocking) was called it blocks from now on.
    ///
    /// If the stream has clones, they go on as before with a descriptor of their own.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// let stream: std::net::TcpStream = stream.into_std()?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it has clones and no descriptor is left for the duplicate.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        let nonblocking = self.fd.is_nonblocking();
        let timeouts = (self.fd.timeout(Direction::Read), self.fd.timeout(Direction::Write));
        // What clones remain are not disturbed: they never rely on the mode of the open file.
        let (fd, _) = take(self.fd)?;
        let stream = std::net::TcpStream::from(fd);
        stream.set_nonblocking(nonblocking)?;
        if timeouts.0.is_some() {
            stream.set_read_timeout(timeouts.0)?;
        }
        if timeouts.1.is_some() {
            stream.set_write_timeout(timeouts.1)?;
        }
        Ok(stream)
    }
}

/// Takes over a stream of std's, whatever its mode: it is in non-blocking mode from now on, and
/// operations wait until [`TcpStream::set_nonblocking`] says otherwise. Timeouts are kept.
///
/// # Panics
///
/// If the descriptor is not a valid one.
impl From<std::net::TcpStream> for TcpStream {
    fn from(stream: std::net::TcpStream) -> TcpStream {
        stream.set_nonblocking(true).expect("gort: the descriptor of a TcpStream is not valid");
        let socket = SockRef::from(&stream);
        let timeouts = (socket.read_timeout().ok().flatten(), socket.write_timeout().ok().flatten());
        let fd = Fd::new(stream.into(), Kind::Stream);
        for (direction, timeout) in [(Direction::Read, timeouts.0), (Direction::Write, timeouts.1)] {
            // Cannot fail: the kernel knows no timeout of zero.
            let _ = fd.set_timeout(direction, timeout);
        }
        TcpStream { fd: Arc::new(fd) }
    }
}

/// [`TcpStream::into_std`].
///
/// # Panics
///
/// If the stream has clones and no descriptor is left for a duplicate.
impl From<TcpStream> for std::net::TcpStream {
    fn from(stream: TcpStream) -> std::net::TcpStream {
        stream.into_std().expect("gort: cannot duplicate the descriptor of a TcpStream that has clones")
    }
}

impl TcpListener {
    /// Turns the listener into std's, which blocks from now on unless
    /// [`set_nonblocking`](Self::set_nonblocking) was called.
    ///
    /// If the listener has clones, they go on as before, and the result stays in non-blocking
    /// mode: the mode belongs to the open file, which they share.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let listener: std::net::TcpListener = listener.into_std()?;
    /// assert_eq!(listener.local_addr()?, address);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it has clones and no descriptor is left for a duplicate.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        let nonblocking = self.fd.is_nonblocking();
        let (fd, alone) = take(self.fd)?;
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(nonblocking || !alone)?;
        Ok(listener)
    }
}

/// Takes over a listener of std's, whatever its mode: it is in non-blocking mode from now on,
/// and operations wait until [`TcpListener::set_nonblocking`] says otherwise.
///
/// # Panics
///
/// If the descriptor is not a valid one.
impl From<std::net::TcpListener> for TcpListener {
    fn from(listener: std::net::TcpListener) -> TcpListener {
        listener.set_nonblocking(true).expect("gort: the descriptor of a TcpListener is not valid");
        TcpListener { fd: Arc::new(Fd::new(listener.into(), Kind::Other)) }
    }
}

/// [`TcpListener::into_std`].
///
/// # Panics
///
/// If the listener has clones and no descriptor is left for a duplicate.
impl From<TcpListener> for std::net::TcpListener {
    fn from(listener: TcpListener) -> std::net::TcpListener {
        listener.into_std().expect("gort: cannot duplicate the descriptor of a TcpListener that has clones")
    }
}

macro_rules! descriptors {
    ($($socket:ident),*) => {$(
        impl AsFd for $socket {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.fd.as_fd()
            }
        }

        /// The descriptor is in non-blocking mode. Clones have the same one.
        impl AsRawFd for $socket {
            fn as_raw_fd(&self) -> RawFd {
                self.fd.as_raw_fd()
            }
        }

        /// As the conversion to std's type does it.
        impl IntoRawFd for $socket {
            fn into_raw_fd(self) -> RawFd {
                std::net::$socket::from(self).into_raw_fd()
            }
        }

        /// As the conversion from std's type does it.
        impl FromRawFd for $socket {
            unsafe fn from_raw_fd(fd: RawFd) -> $socket {
                // SAFETY: the caller owns `fd` and gives it to us.
                unsafe { std::net::$socket::from_raw_fd(fd) }.into()
            }
        }

        /// As the conversion from std's type does it.
        impl From<OwnedFd> for $socket {
            fn from(fd: OwnedFd) -> $socket {
                std::net::$socket::from(fd).into()
            }
        }

        /// As the conversion to std's type does it.
        impl From<$socket> for OwnedFd {
            fn from(socket: $socket) -> OwnedFd {
                std::net::$socket::from(socket).into()
            }
        }
    )*};
}

descriptors!(TcpListener, TcpStream);

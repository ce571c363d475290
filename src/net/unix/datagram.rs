//! A Unix socket for datagrams.

use super::{SocketAddr, addr};
use crate::net::face;
use crate::net::fd::{Fd, Kind};
use crate::os::socket;
use socket2::{SockAddr, SockRef};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net as std_net;
use std::path::Path;
use std::sync::Arc;

/// A Unix datagram socket: [`std::os::unix::net::UnixDatagram`] for coroutines.
///
/// Unlike UDP, nothing is lost and nothing overtakes: who sends waits while the receiver's queue is full.
///
/// # Examples
///
/// ```
/// use gort::net::UnixDatagram;
///
/// gort::run(|| {
///     let (one, other) = UnixDatagram::pair()?;
///     gort::go!(move || other.send(b"hello"));
///     let mut buffer = [0; 8];
///     assert_eq!(one.recv(&mut buffer)?, 5);
///     assert_eq!(&buffer[..5], b"hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram {
    fd: Arc<Fd>,
}

impl UnixDatagram {
    fn new(socket: std_net::UnixDatagram) -> io::Result<UnixDatagram> {
        socket.set_nonblocking(true)?;
        Ok(UnixDatagram { fd: Arc::new(Fd::new(socket.into(), Kind::Socket)) })
    }

    /// Creates a socket that is bound to a path, where nothing may be yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let socket = gort::net::UnixDatagram::bind("/run/example.socket")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is something at the path ([`AddrInUse`](io::ErrorKind::AddrInUse)), it is too long or cannot be
    /// created; if there are no descriptors left.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::new(std_net::UnixDatagram::bind(path)?)
    }

    /// Creates a socket that is bound to an address, which may be an abstract one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::unix::{SocketAddr, UnixDatagram};
    /// use std::os::linux::net::SocketAddrExt;
    /// let address = SocketAddr::from_abstract_name(format!("example-datagram-{}", std::process::id()))?;
    /// let socket = UnixDatagram::bind_addr(&address)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::bind`].
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::new(std_net::UnixDatagram::bind_addr(address)?)
    }

    /// Creates a socket that has no address.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UnixDatagram::unbound()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::new(std_net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other and have no address.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, other) = gort::net::UnixDatagram::pair()?;
    /// one.send(b"x")?;
    /// assert_eq!(other.recv(&mut [0; 8])?, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = std_net::UnixDatagram::pair()?;
        Ok((UnixDatagram::new(one)?, UnixDatagram::new(other)?))
    }

    /// Connects the socket to a path: [`Self::send`] sends there, and only what comes from there is received.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let socket = gort::net::UnixDatagram::unbound()?;
    /// socket.connect("/run/example.socket")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is nothing at the path ([`NotFound`](io::ErrorKind::NotFound)), or nobody has it
    /// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)).
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// [`Self::connect`] to an address, which may be an abstract one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::unix::{SocketAddr, UnixDatagram};
    /// let server = UnixDatagram::bind_addr(&SocketAddr::from_pathname("")?)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.connect_addr(&server.local_addr()?)?;
    /// client.send(b"x")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::connect`].
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        SockRef::from(&*self.fd).connect(&addr::to_kernel(address)?)
    }

    /// Sends a datagram to where the socket is [connected](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, other) = gort::net::UnixDatagram::pair()?;
    /// assert_eq!(one.send(b"hello")?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - If it is not connected, the receiver has gone, or the datagram is longer than the send buffer.
    /// - [`TimedOut`](io::ErrorKind::TimedOut) when the timeout or deadline passes.
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock) in [non-blocking mode](Self::set_nonblocking).
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread) while the receiver's queue is full; may be
    /// cancelled.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.fd.send(bytes)
    }

    /// Sends a datagram to a path.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let socket = gort::net::UnixDatagram::unbound()?;
    /// socket.send_to(b"hello", "/run/example.socket")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::connect`] and [`Self::send`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::send`].
    pub fn send_to<P: AsRef<Path>>(&self, bytes: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(bytes, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a datagram to an address, which may be an abstract one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::unix::{SocketAddr, UnixDatagram};
    /// let server = UnixDatagram::bind_addr(&SocketAddr::from_pathname("")?)?;
    /// UnixDatagram::unbound()?.send_to_addr(b"hello", &server.local_addr()?)?;
    /// assert_eq!(server.recv(&mut [0; 8])?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::connect`] and [`Self::send`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::send`].
    pub fn send_to_addr(&self, bytes: &[u8], address: &SocketAddr) -> io::Result<usize> {
        let address = addr::to_kernel(address)?;
        self.fd.when_accepted(|fd| socket::send_to(fd.as_fd(), bytes, &address))
    }

    /// Receives a datagram. What does not fit into the buffer is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, other) = gort::net::UnixDatagram::pair()?;
    /// one.send(b"hello")?;
    /// assert_eq!(other.recv(&mut [0; 8])?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) when the timeout or deadline passes,
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) in [non-blocking mode](Self::set_nonblocking), and what the system says.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd.when_readable_or_shut(|fd| socket::recv(fd.as_fd(), buffer), || Ok(0))
    }

    /// Receives a datagram, and tells who has sent it. What does not fit into the buffer is lost.
    ///
    /// A sender at a path of 108 bytes, one more than std binds to, is told as unnamed: there is no way to make such an address.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, other) = gort::net::UnixDatagram::pair()?;
    /// one.send(b"hello")?;
    /// let (count, from) = other.recv_from(&mut [0; 8])?;
    /// assert!(count == 5 && from.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::recv`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::recv`].
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let receive = |fd: &OwnedFd| socket::recv_from(fd.as_fd(), buffer, false);
        let (count, address) = self.fd.when_readable_or_shut(receive, || Ok((0, SockAddr::unix("")?)))?;
        // The datagram is taken, and not lost for the sake of an address.
        let from = addr::from_kernel(address).or_else(|_| SocketAddr::from_pathname(""))?;
        Ok((count, from))
    }

    /// Ends one direction, or both. Whoever waits there is woken: receiving returns 0, sending fails.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, other) = gort::net::UnixDatagram::pair()?;
    /// one.shutdown(std::net::Shutdown::Both)?;
    /// assert_eq!(one.send(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(&*self.fd).shutdown(how)
    }
}

macro_rules! setup {
    () => {
        "let (socket, other_end) = gort::net::UnixDatagram::pair()?;"
    };
}
macro_rules! recv {
    () => {
        "let error = socket.recv(&mut [0; 8]).unwrap_err();"
    };
}

face::local_addr!(
    UnixDatagram,
    std::os::unix::net::UnixDatagram,
    "The address of this side, unnamed if it was not bound.",
    setup!(),
    "assert!(socket.local_addr()?.is_unnamed());"
);
face::peer_addr!(
    UnixDatagram,
    std::os::unix::net::UnixDatagram,
    "The address of the other side, unnamed if it was not bound.",
    setup!(),
    "assert!(socket.peer_addr()?.is_unnamed());"
);
face::handle!(UnixDatagram, setup!(), recv!());
face::pending_error!(UnixDatagram, setup!());
face::read_limits!(UnixDatagram, setup!(), recv!());
face::write_limits!(UnixDatagram, setup!(), "let error = socket.send(b\"late\").unwrap_err();");
face::convert!(UnixDatagram, std::os::unix::net::UnixDatagram, Kind::Socket, setup!());
face::debug!(UnixDatagram, "local" = local_addr, "peer" = peer_addr);

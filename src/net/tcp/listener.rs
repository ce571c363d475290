//! A socket that accepts connections.

use super::TcpStream;
use crate::net::addr::{ToSocketAddrs, each_address};
use crate::net::fd::{Fd, Kind};
use crate::os::socket;
use crate::poll::desc::Direction;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// How many connections may wait to be accepted; the kernel's limit
/// (`/proc/sys/net/core/somaxconn`) may be lower. std asks for 128, which a busy moment fills.
const BACKLOG: i32 = libc::SOMAXCONN;

/// A TCP socket server, listening for connections: [`std::net::TcpListener`] for coroutines.
///
/// The socket is closed when the listener and its clones have been dropped.
///
/// # Examples
///
/// ```
/// use gort::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// gort::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let server = gort::go!(move || {
///         let (mut stream, _) = listener.accept()?;
///         stream.write_all(b"hello")
///     });
///     let mut text = String::new();
///     TcpStream::connect(address)?.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     server.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    pub(super) fd: Arc<Fd>,
}

impl TcpListener {
    /// Creates a listener that is bound to an address; port 0 lets the system choose one.
    ///
    /// If there are several addresses, each is tried until one succeeds. `SO_REUSEADDR` is set,
    /// as std does on Unix, and as many connections may wait to be accepted as the system allows.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved, is not ours
    /// ([`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable)), is in use
    /// ([`AddrInUse`](io::ErrorKind::AddrInUse)), or may not be bound
    /// ([`PermissionDenied`](io::ErrorKind::PermissionDenied)); if there are no descriptors left.
    ///
    /// # Scheduling
    ///
    /// Does not park. Looking up a host name blocks the thread for now.
    pub fn bind<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpListener> {
        each_address(addresses, |address| {
            let kind = Type::STREAM.cloexec().nonblocking();
            let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(TcpListener { fd: Arc::new(Fd::new(socket.into(), Kind::Other)) })
        })
    }

    /// The address that the listener is bound to.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(listener.local_addr()?.ip().is_loopback());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        internet(SockRef::from(&*self.fd).local_addr()?)
    }

    /// A second handle to the same listener. Connections go to whoever accepts them first.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let other = listener.try_clone()?;
    /// assert_eq!(listener.local_addr()?, other.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None; the result is there to be like std's.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { fd: self.fd.clone() })
    }

    /// Accepts a connection, waiting until there is one.
    ///
    /// A connection that its peer has given up before it was accepted is passed over.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (_, peer) = listener.accept()?;
    /// assert_eq!(peer, client.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `EMFILE` or `ENFILE` when no descriptor is left. The connection stays in the queue and
    ///   the listener goes on working: accept again when descriptors have been closed (at once
    ///   gives the same error, so let some time pass).
    /// - [`TimedOut`](io::ErrorKind::TimedOut) when the [deadline](Self::set_deadline) passes.
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock) in [non-blocking mode](Self::set_nonblocking).
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled. If several
    /// wait on one listener, each new connection wakes them all.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, address) = self.fd.when_readable(|fd| {
            loop {
                match socket::accept(fd) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    result => return result,
                }
            }
        })?;
        Ok((TcpStream::from_nonblocking(fd), address))
    }

    /// An iterator over the connections as they come: [`Self::accept`] for ever. It never ends,
    /// not after an error either.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// gort::run(|| {
    ///     let listener = gort::net::TcpListener::bind("127.0.0.1:8080")?;
    ///     for stream in listener.incoming() {
    ///         let stream = stream?;
    ///         gort::go!(move || println!("{stream:?}"));
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Scheduling
    ///
    /// `next` parks the coroutine, as [`Self::accept`] does.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// [`Self::incoming`] that owns the listener.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let mut connections = listener.into_incoming();
    /// assert_eq!(connections.next().unwrap()?.peer_addr()?, client.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Scheduling
    ///
    /// `next` parks the coroutine, as [`Self::accept`] does.
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// Sets the time after which [`Self::accept`] fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut), or takes it away. Calls that already wait go by
    /// the new time at once. Once it has passed, every call fails until it is moved.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_deadline(Some(std::time::Instant::now()));
    /// assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Scheduling
    ///
    /// Returns at once; wakes who waits.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.fd.set_deadline(Direction::Read, deadline);
    }

    /// Sets the time to live of the packets sent: `IP_TTL`.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_ttl(100)?;
    /// assert_eq!(listener.ttl()?, 100);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the value is not in 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        SockRef::from(&*self.fd).set_ttl_v4(ttl)
    }

    /// The time to live of the packets sent; see [`Self::set_ttl`].
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(listener.ttl()? > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn ttl(&self) -> io::Result<u32> {
        SockRef::from(&*self.fd).ttl_v4()
    }

    /// Takes the error that is pending on the socket, if there is one: `SO_ERROR`.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(listener.take_error()?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&*self.fd).take_error()
    }

    /// Makes [`Self::accept`] return [`WouldBlock`](io::ErrorKind::WouldBlock) when there is no
    /// connection, or wait again. The descriptor itself is always in non-blocking mode.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_nonblocking(true)?;
    /// assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None; the result is there to be like std's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.fd.set_nonblocking(nonblocking);
        Ok(())
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::fd::AsRawFd;
        let mut debug = f.debug_struct("TcpListener");
        if let Ok(address) = self.local_addr() {
            debug.field("addr", &address);
        }
        debug.field("fd", &self.as_raw_fd()).finish()
    }
}

/// The connections of a listener as they come; see [`TcpListener::incoming`].
///
/// # Examples
///
/// ```
/// use gort::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let server = listener.incoming().next().expect("it never ends")?;
/// assert_eq!(server.peer_addr()?, client.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Scheduling
///
/// `next` parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

/// The connections of a listener as they come; see [`TcpListener::into_incoming`].
///
/// # Examples
///
/// ```
/// use gort::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let server = listener.into_incoming().next().expect("it never ends")?;
/// assert_eq!(server.peer_addr()?, client.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Scheduling
///
/// `next` parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for IntoIncoming {}

/// The internet address in the kernel's form of one.
pub(super) fn internet(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an internet address"))
}

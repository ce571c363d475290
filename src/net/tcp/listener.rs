//! A socket that accepts connections.

use super::TcpStream;
use crate::net::addr::{ToSocketAddrs, each_address};
use crate::net::face;
use crate::net::fd::{Fd, Kind};
use crate::os::socket;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

/// How many connections may wait to be accepted; the kernel's limit
/// (`/proc/sys/net/core/somaxconn`) may be lower. std asks for 128, which a busy moment fills.
const BACKLOG: u32 = libc::SOMAXCONN as u32;

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
    /// Does not park, but to look up a host name.
    pub fn bind<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpListener> {
        TcpListener::builder().bind(addresses)
    }

    /// A listener with other settings than those of [`Self::bind`].
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::builder().backlog(1024).reuse_port(true).bind("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder() -> TcpListenerBuilder {
        TcpListenerBuilder { backlog: BACKLOG, reuse_address: true, reuse_port: false, only_v6: None }
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
                match socket::accept(fd.as_fd()) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    result => return result,
                }
            }
        })?;
        Ok((TcpStream::from_nonblocking(fd), address))
    }
}

macro_rules! setup {
    () => {
        "let socket = gort::net::TcpListener::bind(\"127.0.0.1:0\")?;"
    };
}

face::local_addr!(
    TcpListener,
    std::net::TcpListener,
    "The address that the listener is bound to.",
    setup!(),
    "assert!(socket.local_addr()?.ip().is_loopback());"
);
face::handle!(TcpListener, setup!(), "let error = socket.accept().unwrap_err();");
face::pending_error!(TcpListener, setup!());
face::time_to_live!(TcpListener, setup!());
face::listener!(TcpListener, TcpStream, setup!(), "let client = gort::net::TcpStream::connect(socket.local_addr()?)?;");
face::convert!(TcpListener, std::net::TcpListener, Kind::File, setup!());
face::debug!(TcpListener, "addr" = local_addr);

/// How a listener is to be, before there is one; see [`TcpListener::builder`].
///
/// # Examples
///
/// Two listeners on one port, between which the kernel divides the connections:
///
/// ```
/// use gort::net::TcpListener;
///
/// let first = TcpListener::builder().reuse_port(true).bind("127.0.0.1:0")?;
/// let second = TcpListener::builder().reuse_port(true).bind(first.local_addr()?)?;
/// assert_eq!(first.local_addr()?, second.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `bind`"]
pub struct TcpListenerBuilder {
    backlog: u32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
}

impl TcpListenerBuilder {
    /// How many connections may wait to be accepted. The kernel's limit (`/proc/sys/net/core/somaxconn`) holds too.
    /// If this is not called: 4096.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::builder().backlog(16).bind("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn backlog(mut self, connections: u32) -> TcpListenerBuilder {
        self.backlog = connections;
        self
    }

    /// Whether the address may be bound although connections of an earlier listener still linger there:
    /// `SO_REUSEADDR`. On if this is not called, as in std.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::builder().reuse_address(false).bind("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reuse_address(mut self, reuse: bool) -> TcpListenerBuilder {
        self.reuse_address = reuse;
        self
    }

    /// Whether others of the same user, in this process or another, may listen at the same address, if they ask for
    /// it too: `SO_REUSEPORT`. The kernel divides the connections among them. What waits in the queue of a listener
    /// that is closed is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::builder().reuse_port(true).bind("127.0.0.1:0")?;
    /// let other = gort::net::TcpListener::builder().reuse_port(true).bind(listener.local_addr()?)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reuse_port(mut self, reuse: bool) -> TcpListenerBuilder {
        self.reuse_port = reuse;
        self
    }

    /// Whether a listener on an IPv6 address (`[::]`, say) takes IPv6 connections only: `IPV6_V6ONLY`. If this is not
    /// called it is as `/proc/sys/net/ipv6/bindv6only` says, mostly off. Says nothing about IPv4 addresses.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let listener = gort::net::TcpListener::builder().only_v6(true).bind("[::]:8080")?;
    /// let other = gort::net::TcpListener::bind("0.0.0.0:8080")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn only_v6(mut self, only: bool) -> TcpListenerBuilder {
        self.only_v6 = Some(only);
        self
    }

    /// Makes the listener; see [`TcpListener::bind`].
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::builder().bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::bind`].
    ///
    /// # Scheduling
    ///
    /// Does not park, but to look up a host name.
    pub fn bind<A: ToSocketAddrs>(&self, addresses: A) -> io::Result<TcpListener> {
        each_address(addresses.to_socket_addrs()?, |address| {
            let kind = Type::STREAM.cloexec().nonblocking();
            let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
            socket.set_reuse_address(self.reuse_address)?;
            if self.reuse_port {
                socket.set_reuse_port(true)?;
            }
            if let (Some(only), SocketAddr::V6(_)) = (self.only_v6, address) {
                socket.set_only_v6(only)?;
            }
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
            Ok(TcpListener { fd: Arc::new(Fd::new(socket.into(), Kind::File)) })
        })
    }
}

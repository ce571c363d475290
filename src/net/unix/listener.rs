//! A Unix socket that accepts connections.

use super::{SocketAddr, UnixStream, addr};
use crate::net::face;
use crate::net::fd::{Fd, Kind};
use socket2::SockRef;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A Unix socket server, listening for connections: [`std::os::unix::net::UnixListener`] for coroutines.
///
/// The socket is closed when the listener and its clones have been dropped; its path stays.
///
/// # Examples
///
/// ```
/// use gort::net::unix::{SocketAddr, UnixListener, UnixStream};
/// use std::{io::{Read, Write}, os::linux::net::SocketAddrExt};
///
/// gort::run(|| {
///     let address = SocketAddr::from_abstract_name(format!("example-{}", std::process::id()))?;
///     let listener = UnixListener::bind_addr(&address)?;
///     let server = gort::go!(move || {
///         let (mut stream, _) = listener.accept()?;
///         stream.write_all(b"hello")
///     });
///     let mut text = String::new();
///     UnixStream::connect_addr(&address)?.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     server.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    fd: Arc<Fd>,
}

impl UnixListener {
    fn new(listener: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        Ok(UnixListener { fd: Arc::new(Fd::new(listener.into(), Kind::File)) })
    }

    /// Creates a listener that is bound to a path, where nothing may be yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let listener = gort::net::UnixListener::bind("/run/example.socket")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is something at the path ([`AddrInUse`](io::ErrorKind::AddrInUse)), it is too long or cannot be
    /// created; if there are no descriptors left.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::new(std::os::unix::net::UnixListener::bind(path)?)
    }

    /// Creates a listener that is bound to an address, which may be an abstract one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::unix::{SocketAddr, UnixListener};
    /// use std::os::linux::net::SocketAddrExt;
    /// let address = SocketAddr::from_abstract_name(format!("example-bind-{}", std::process::id()))?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::bind`].
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::new(std::os::unix::net::UnixListener::bind_addr(address)?)
    }

    /// Accepts a connection, waiting until there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::unix::{SocketAddr, UnixListener, UnixStream};
    /// use std::os::linux::net::SocketAddrExt;
    /// let address = SocketAddr::from_abstract_name(format!("example-accept-{}", std::process::id()))?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let client = UnixStream::connect_addr(&address)?;
    /// let (server, peer) = listener.accept()?;
    /// assert!(peer.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `EMFILE` or `ENFILE` when no descriptor is left. The connection stays in the queue and the listener goes on
    ///   working: accept again when descriptors have been closed.
    /// - [`TimedOut`](io::ErrorKind::TimedOut) when the [deadline](Self::set_deadline) passes.
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock) in [non-blocking mode](Self::set_nonblocking).
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled. If several wait on one
    /// listener, each new connection wakes them all.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let (socket, address) = self.fd.when_readable_or_shut(
            |fd| SockRef::from(fd).accept4(flags),
            || Err(io::Error::from_raw_os_error(libc::EINVAL)),
        )?;
        let stream = UnixStream::from_nonblocking(socket.into());
        let address = addr::from_kernel(address).or_else(|_| stream.peer_addr())?;
        Ok((stream, address))
    }
}

macro_rules! setup {
    () => {
        "use gort::net::unix::{SocketAddr, UnixListener, UnixStream};\n\
         use std::os::linux::net::SocketAddrExt;\n\
         // An address that nobody else has: chosen by the system.\n\
         let socket = UnixListener::bind_addr(&SocketAddr::from_pathname(\"\")?)?;"
    };
}

face::local_addr!(
    UnixListener,
    std::os::unix::net::UnixListener,
    "The address that the listener is bound to.",
    setup!(),
    "assert!(socket.local_addr()?.as_abstract_name().is_some());"
);
face::handle!(UnixListener, setup!(), "let error = socket.accept().unwrap_err();");
face::pending_error!(UnixListener, setup!());
face::listener!(UnixListener, UnixStream, setup!(), "let client = UnixStream::connect_addr(&socket.local_addr()?)?;");
face::convert!(UnixListener, std::os::unix::net::UnixListener, Kind::File, setup!());
face::debug!(UnixListener, "local" = local_addr);

//! A connection.

use crate::net::addr::{ToSocketAddrs, each_address};
use crate::net::face;
use crate::net::fd::{Fd, Kind};
use crate::os::clock::{self, NEVER, Nanos};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A TCP connection: [`std::net::TcpStream`] for coroutines.
///
/// Reads and writes may go on at once, in any number of coroutines and threads, through `&TcpStream`
/// or clones. The connection is closed when the stream and its clones have been dropped.
///
/// # Examples
///
/// ```
/// use gort::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// gort::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     let (mut server, _) = listener.accept()?;
///     gort::go!(move || std::io::copy(&mut server.try_clone().unwrap(), &mut server));
///     client.write_all(b"echo")?;
///     let mut buffer = [0; 4];
///     client.read_exact(&mut buffer)?;
///     assert_eq!(&buffer, b"echo");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Ending a read from outside:
///
/// ```
/// use gort::net::{TcpListener, TcpStream};
/// use std::{io::{ErrorKind, Read}, time::Instant};
///
/// gort::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut stream = TcpStream::connect(listener.local_addr()?)?;
///     let other = stream.try_clone()?;
///     let reader = gort::go!(move || stream.read(&mut [0; 8]).unwrap_err().kind());
///     gort::yield_now();
///     other.set_read_deadline(Some(Instant::now()));
///     assert_eq!(reader.join().unwrap(), ErrorKind::TimedOut);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    pub(super) fd: Arc<Fd>,
}

impl TcpStream {
    /// Takes over a connected socket that is in non-blocking mode.
    pub(super) fn from_nonblocking(fd: OwnedFd) -> TcpStream {
        TcpStream { fd: Arc::new(Fd::new(fd, Kind::Stream)) }
    }

    /// Opens a connection to a remote host.
    ///
    /// If there are several addresses, each is tried until one accepts; the error is that of the
    /// last. How long one attempt may take is up to the system, often minutes; see
    /// [`Self::connect_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved, nobody answers ([`TimedOut`](io::ErrorKind::TimedOut),
    /// [`HostUnreachable`](io::ErrorKind::HostUnreachable) and the like), or the connection is refused
    /// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)).
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
    pub fn connect<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpStream> {
        each_address(addresses.to_socket_addrs()?, |address| connect_until(&address, NEVER))
    }

    /// Opens a connection to a remote host, and gives up at `deadline`, whatever it is doing then: looking up the
    /// name, or trying one of its addresses.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// gort::net::TcpStream::connect_deadline(("localhost", listener.local_addr()?.port()), deadline)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::connect`]; [`TimedOut`](io::ErrorKind::TimedOut) when `deadline` passes.
    ///
    /// # Scheduling
    ///
    /// As [`Self::connect`].
    pub fn connect_deadline<A: ToSocketAddrs>(addresses: A, deadline: Instant) -> io::Result<TcpStream> {
        let limit = clock::at(deadline);
        each_address(addresses.to_socket_addrs_deadline(deadline)?, |address| connect_until(&address, limit))
    }

    /// Opens a connection to one address, within a given time.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// gort::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::connect`]; [`TimedOut`](io::ErrorKind::TimedOut) when the time is up;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `timeout` is zero.
    ///
    /// # Scheduling
    ///
    /// As [`Self::connect`].
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout must not be zero"));
        }
        connect_until(address, clock::after(timeout))
    }

    /// Reads without taking: the next read gets the same bytes. Waits until there are some.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::{TcpListener, TcpStream};
    /// use std::io::{Read, Write};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut client = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut server, _) = listener.accept()?;
    /// client.write_all(b"x")?;
    /// let mut byte = [0];
    /// assert_eq!(server.peek(&mut byte)?, 1);
    /// assert_eq!(server.read(&mut byte)?, 1);
    /// assert_eq!(&byte, b"x");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading: [`TimedOut`](io::ErrorKind::TimedOut) when the timeout or deadline passes,
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) in [non-blocking mode](Self::set_nonblocking), and
    /// what the system says.
    ///
    /// # Scheduling
    ///
    /// As reading: parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd.peek(buffer)
    }

    /// Sets what closing does with bytes not yet sent: `SO_LINGER`. `None`: sends them after
    /// close has returned. `Some(0)`: throws them away and resets the connection. Longer: close
    /// *blocks the thread* until they are sent, at most that long.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_linger(Some(Duration::ZERO))?;
    /// assert_eq!(stream.linger()?, Some(Duration::ZERO));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(&*self.fd).set_linger(linger)
    }

    /// What closing does with bytes not yet sent; see [`Self::set_linger`].
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(stream.linger()?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(&*self.fd).linger()
    }

    /// Sends small writes at once instead of collecting them (Nagle's algorithm):
    /// `TCP_NODELAY`. Off at the start, as in std; Go has it on.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_nodelay(true)?;
    /// assert!(stream.nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(&*self.fd).set_tcp_nodelay(nodelay)
    }

    /// Whether small writes are sent at once; see [`Self::set_nodelay`].
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert!(!stream.nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(&*self.fd).tcp_nodelay()
    }

    /// Acknowledges at once instead of with the next bytes sent: `TCP_QUICKACK`, which the
    /// kernel takes off by itself later. std has it in `std::os::linux::net::TcpStreamExt`.
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_quickack(true)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        SockRef::from(&*self.fd).set_tcp_quickack(quickack)
    }

    /// Whether it acknowledges at once now; see [`Self::set_quickack`].
    ///
    /// # Examples
    ///
    /// ```
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_quickack(true)?;
    /// println!("acknowledges at once: {}", stream.quickack()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system refuses, which it does not for a valid socket.
    pub fn quickack(&self) -> io::Result<bool> {
        SockRef::from(&*self.fd).tcp_quickack()
    }
}

fn connect_until(address: &SocketAddr, limit: Nanos) -> io::Result<TcpStream> {
    if limit != NEVER && clock::now() >= limit {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let kind = Type::STREAM.cloexec().nonblocking();
    let socket = Socket::new_raw(Domain::for_address(*address), kind, Some(Protocol::TCP))?;
    match socket.connect(&(*address).into()) {
        Ok(()) => return Ok(TcpStream::from_nonblocking(socket.into())),
        // An interrupted connect goes on by itself.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_nonblocking(socket.into());
    stream.fd.when_writable(limit, |fd| {
        let socket = SockRef::from(fd);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        // No error may mean "not yet": wake-ups can be spurious.
        match socket.peer_addr() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    })?;
    Ok(stream)
}

macro_rules! setup {
    () => {
        "let listener = gort::net::TcpListener::bind(\"127.0.0.1:0\")?;\n\
         let socket = gort::net::TcpStream::connect(listener.local_addr()?)?;"
    };
}
macro_rules! read {
    () => {
        "let error = std::io::Read::read(&mut &socket, &mut [0; 8]).unwrap_err();"
    };
}

face::local_addr!(
    TcpStream,
    std::net::TcpStream,
    "The address of this side.",
    setup!(),
    "assert!(socket.local_addr()?.ip().is_loopback());"
);
face::peer_addr!(
    TcpStream,
    std::net::TcpStream,
    "The address of the other side.",
    setup!(),
    "assert_eq!(socket.peer_addr()?, listener.local_addr()?);"
);
face::handle!(TcpStream, setup!(), read!());
face::pending_error!(TcpStream, setup!());
face::time_to_live!(TcpStream, setup!());
face::read_limits!(TcpStream, setup!(), read!());
face::write_limits!(TcpStream, setup!(), "let error = std::io::Write::write(&mut &socket, b\"late\").unwrap_err();");
face::byte_stream!(TcpStream, setup!());
face::send_file!(
    TcpStream,
    setup!(),
    "let (mut other_end, _) = listener.accept()?;\n\
     let mut text = [0; 9];\n\
     other_end.read_exact(&mut text)?;\n\
     assert_eq!(&text, b\"its parts\");"
);
face::convert!(TcpStream, std::net::TcpStream, Kind::Stream, setup!());
face::debug!(TcpStream, "addr" = local_addr, "peer" = peer_addr);

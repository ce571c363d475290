//! UDP sockets.

use super::addr::{ToSocketAddrs, each_address, internet};
use super::face;
use super::fd::{Fd, Kind};
use crate::os::clock::NEVER;
use crate::os::socket;
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

/// A UDP socket: [`std::net::UdpSocket`] for coroutines.
///
/// It may be used by any number of coroutines and threads at once, through `&UdpSocket` or clones. Each datagram goes to
/// one of those who wait.
///
/// # Examples
///
/// ```
/// use gort::net::UdpSocket;
///
/// gort::run(|| {
///     let server = UdpSocket::bind("127.0.0.1:0")?;
///     let address = server.local_addr()?;
///     gort::go!(move || {
///         let mut buffer = [0; 1500];
///         let (count, from) = server.recv_from(&mut buffer)?;
///         server.send_to(&buffer[..count], from)
///     });
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.connect(address)?;
///     client.send(b"echo")?;
///     let mut buffer = [0; 8];
///     assert_eq!(client.recv(&mut buffer)?, 4);
///     assert_eq!(&buffer[..4], b"echo");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    fd: Arc<Fd>,
}

impl UdpSocket {
    /// Creates a socket that is bound to an address; port 0 lets the system choose one.
    ///
    /// If there are several addresses, each is tried until one succeeds. A socket that needs options before it is bound
    /// (`SO_REUSEPORT`, say) can be made with the socket2 crate, and then [taken over](Self::from).
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved, is not ours
    /// ([`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable)), is in use ([`AddrInUse`](io::ErrorKind::AddrInUse)), or
    /// may not be bound ([`PermissionDenied`](io::ErrorKind::PermissionDenied)); if there are no descriptors left.
    ///
    /// # Scheduling
    ///
    /// Does not park, but to look up a host name.
    pub fn bind<A: ToSocketAddrs>(addresses: A) -> io::Result<UdpSocket> {
        each_address(addresses.to_socket_addrs()?, |address| {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(UdpSocket { fd: Arc::new(Fd::new(socket.into(), Kind::Socket)) })
        })
    }

    /// Receives a datagram, and tells who has sent it. What does not fit into the buffer is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(b"to me", socket.local_addr()?)?;
    /// let mut buffer = [0; 1500];
    /// assert_eq!(socket.recv_from(&mut buffer)?, (5, socket.local_addr()?));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) when the timeout or deadline passes,
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) in [non-blocking mode](Self::set_nonblocking), and what the system says:
    /// on a connected socket [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), if nobody listens where an
    /// earlier datagram went.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(buffer, false)
    }

    /// [`Self::recv_from`] that leaves the datagram there: the next call gets the same.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(b"to me", socket.local_addr()?)?;
    /// assert_eq!(socket.peek_from(&mut [0; 8])?.0, 5);
    /// assert_eq!(socket.recv_from(&mut [0; 8])?.0, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::recv_from`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::recv_from`].
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(buffer, true)
    }

    fn receive(&self, buffer: &mut [u8], peek: bool) -> io::Result<(usize, SocketAddr)> {
        let (count, address) = self.fd.when_readable(|fd| socket::recv_from(fd.as_fd(), buffer, peek))?;
        Ok((count, internet(address)?))
    }

    /// Sends a datagram to an address; if there are several, to the first.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_eq!(socket.send_to(b"hello", "127.0.0.1:9")?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no address; if the datagram is too long for a packet; those of [`Self::recv_from`].
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread) while the send buffer is full; may be cancelled.
    pub fn send_to<A: ToSocketAddrs>(&self, bytes: &[u8], address: A) -> io::Result<usize> {
        let Some(address) = address.to_socket_addrs()?.next() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to"));
        };
        let address = address.into();
        self.fd.when_writable(NEVER, |fd| socket::send_to(fd.as_fd(), bytes, &address))
    }

    /// Connects the socket: [`Self::send`] sends there, and only what comes from there is received. If there are
    /// several addresses, to the first with which it succeeds.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect("127.0.0.1:9")?;
    /// assert_eq!(socket.peer_addr()?.port(), 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved or there is no way there.
    ///
    /// # Scheduling
    ///
    /// Does not park, but to look up a host name.
    pub fn connect<A: ToSocketAddrs>(&self, addresses: A) -> io::Result<()> {
        let socket = SockRef::from(&*self.fd);
        each_address(addresses.to_socket_addrs()?, |address| socket.connect(&address.into()))
    }

    /// Sends a datagram to where the socket is [connected](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(socket.local_addr()?)?;
    /// assert_eq!(socket.send(b"to me")?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is not connected; else those of [`Self::send_to`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::send_to`].
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.fd.send(bytes)
    }

    /// Receives a datagram; on a [connected](Self::connect) socket, one from there. What does not fit into the buffer is
    /// lost.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(socket.local_addr()?)?;
    /// socket.send(b"to me")?;
    /// assert_eq!(socket.recv(&mut [0; 8])?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::recv_from`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::recv_from`].
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not `Fd::recv`: a datagram is taken even if the buffer is empty.
        self.fd.when_readable(|fd| socket::recv(fd.as_fd(), buffer))
    }

    /// [`Self::recv`] that leaves the datagram there: the next call gets the same.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.connect(socket.local_addr()?)?;
    /// socket.send(b"to me")?;
    /// assert_eq!(socket.peek(&mut [0; 8])?, 5);
    /// assert_eq!(socket.recv(&mut [0; 8])?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::recv_from`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::recv_from`].
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd.when_readable(|fd| socket::peek(fd.as_fd(), buffer))
    }

    /// Joins a group of IPv4 multicast on the interface with the address `interface`; with
    /// [`UNSPECIFIED`](Ipv4Addr::UNSPECIFIED) the system chooses one.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::net::Ipv4Addr;
    /// let socket = gort::net::UdpSocket::bind("0.0.0.0:5353")?;
    /// socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::UNSPECIFIED)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is no group, there is no such interface, or the socket is in the group already.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        SockRef::from(&*self.fd).join_multicast_v4(group, interface)
    }

    /// Joins a group of IPv6 multicast on the interface of that index; with 0 the system chooses one.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let socket = gort::net::UdpSocket::bind("[::]:5353")?;
    /// socket.join_multicast_v6(&"ff02::fb".parse().unwrap(), 0)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is no group, there is no such interface, or the socket is in the group already.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        SockRef::from(&*self.fd).join_multicast_v6(group, interface)
    }

    /// Leaves a group of IPv4 multicast; see [`Self::join_multicast_v4`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::net::Ipv4Addr;
    /// let socket = gort::net::UdpSocket::bind("0.0.0.0:5353")?;
    /// let group = Ipv4Addr::new(224, 0, 0, 251);
    /// socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
    /// socket.leave_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the socket is not in the group.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        SockRef::from(&*self.fd).leave_multicast_v4(group, interface)
    }

    /// Leaves a group of IPv6 multicast; see [`Self::join_multicast_v6`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let socket = gort::net::UdpSocket::bind("[::]:5353")?;
    /// let group = "ff02::fb".parse().unwrap();
    /// socket.join_multicast_v6(&group, 0)?;
    /// socket.leave_multicast_v6(&group, 0)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the socket is not in the group.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        SockRef::from(&*self.fd).leave_multicast_v6(group, interface)
    }
}

/// A setting with its getter: what each does, the example's socket and value, what std calls them, what socket2 does.
macro_rules! settings {
    ($($what:literal, $setup:literal, $value:literal, $set:ident $get:ident $type:ty, $set2:ident $get2:ident;)*) => {
        impl UdpSocket {$(
            #[doc = concat!("Sets ", $what)]
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            #[doc = concat!("socket.", stringify!($set), "(", $value, ")?;")]
            #[doc = concat!("assert_eq!(socket.", stringify!($get), "()?, ", $value, ");")]
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If the value is out of range or the socket is of the other IP version.
            pub fn $set(&self, value: $type) -> io::Result<()> {
                SockRef::from(&*self.fd).$set2(value)
            }

            #[doc = concat!("Tells ", $what)]
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            #[doc = concat!("println!(\"{:?}\", socket.", stringify!($get), "()?);")]
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If the socket is of the other IP version.
            pub fn $get(&self) -> io::Result<$type> {
                SockRef::from(&*self.fd).$get2()
            }
        )*}
    };
}

settings! {
    "whether datagrams may be sent to a broadcast address: `SO_BROADCAST`.",
    "let socket = gort::net::UdpSocket::bind(\"127.0.0.1:0\")?;", "true",
    set_broadcast broadcast bool, set_broadcast broadcast;

    "whether what is sent to an IPv4 group comes back to this machine: `IP_MULTICAST_LOOP`.",
    "let socket = gort::net::UdpSocket::bind(\"127.0.0.1:0\")?;", "false",
    set_multicast_loop_v4 multicast_loop_v4 bool, set_multicast_loop_v4 multicast_loop_v4;

    "how many routers what is sent to an IPv4 group may pass: `IP_MULTICAST_TTL`; 1 at the start, the local network.",
    "let socket = gort::net::UdpSocket::bind(\"127.0.0.1:0\")?;", "4",
    set_multicast_ttl_v4 multicast_ttl_v4 u32, set_multicast_ttl_v4 multicast_ttl_v4;

    "whether what is sent to an IPv6 group comes back to this machine: `IPV6_MULTICAST_LOOP`.",
    "# if std::net::UdpSocket::bind(\"[::1]:0\").is_err() { return Ok(()); }\n\
     let socket = gort::net::UdpSocket::bind(\"[::1]:0\")?;", "false",
    set_multicast_loop_v6 multicast_loop_v6 bool, set_multicast_loop_v6 multicast_loop_v6;
}

macro_rules! setup {
    () => {
        "let socket = gort::net::UdpSocket::bind(\"127.0.0.1:0\")?;"
    };
}
macro_rules! recv {
    () => {
        "let error = socket.recv(&mut [0; 8]).unwrap_err();"
    };
}

face::local_addr!(
    UdpSocket,
    std::net::UdpSocket,
    "The address that the socket is bound to.",
    setup!(),
    "assert!(socket.local_addr()?.ip().is_loopback());"
);
face::peer_addr!(
    UdpSocket,
    std::net::UdpSocket,
    "The address that the socket is [connected](Self::connect) to.",
    setup!(),
    "assert_eq!(socket.peer_addr().unwrap_err().kind(), std::io::ErrorKind::NotConnected);"
);
face::handle!(UdpSocket, setup!(), recv!());
face::pending_error!(UdpSocket, setup!());
face::time_to_live!(UdpSocket, setup!());
face::read_limits!(UdpSocket, setup!(), recv!());
face::write_limits!(UdpSocket, setup!(), "let error = socket.send(b\"late\").unwrap_err();");
face::convert!(UdpSocket, std::net::UdpSocket, Kind::Socket, setup!());
face::debug!(UdpSocket, "addr" = local_addr, "peer" = peer_addr);

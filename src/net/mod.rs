//! TCP, UDP and Unix sockets, shaped like [`std::net`] and [`std::os::unix::net`], waiting like a coroutine.
//!
//! The types here have the names, methods and behaviour of their namesakes in std, so that a program moves over by
//! changing the import ([`coming_from::std_net`](crate::coming_from::std_net) has them one by one). What differs:
//!
//! - An operation that would block parks the calling coroutine; the thread goes on with others.
//!   Called from a plain thread, outside any runtime, it blocks that thread. One socket may be
//!   used from both, and from coroutines of several runtimes.
//! - Sockets are in non-blocking mode underneath, which matters if one is made of a
//!   [descriptor](crate::coming_from::std_net#descriptors) or made one. [`TcpStream::set_nonblocking`]
//!   is a property of ours, kept beside the descriptor: operations return
//!   [`WouldBlock`](std::io::ErrorKind::WouldBlock) instead of waiting.
//! - A timeout that passes gives [`TimedOut`](std::io::ErrorKind::TimedOut), where std on Unix
//!   gives `WouldBlock`. Timeouts are exact to the timer, not rounded to the kernel's ticks.
//! - There are deadlines too, as in Go: absolute, and moved at any time, also for operations
//!   that already wait ([`TcpStream::set_read_deadline`]).
//! - [`TcpStream::try_clone`] shares the descriptor instead of duplicating it, so it cannot
//!   fail for want of descriptors, and clones share all settings.
//! - Any number of coroutines may use one socket at once, each way.
//! - What a signal interrupts goes on: no operation fails with [`Interrupted`](std::io::ErrorKind::Interrupted).
//! - To read from a stream into an empty buffer returns 0 at once, where std waits until there is something.
//!
//! # Names
//!
//! Where an operation takes [`ToSocketAddrs`], an address or a text that is one ("127.0.0.1:80") costs nothing. A host
//! name is looked up by the system's resolver, on a thread of its own, while the coroutine is parked.
//! [`TcpStream::connect_deadline`] and [`ToSocketAddrs::to_socket_addrs_deadline`] limit that too.
//!
//! # Options
//!
//! What std has no method for can be set through the socket2 crate: `socket2::SockRef::from(&stream)` takes any of the
//! types here. What must be set before a socket is bound goes into a `socket2::Socket`, which becomes one of ours by way of
//! [`OwnedFd`](std::os::fd::OwnedFd). For listeners there is [`TcpListener::builder`].
//!
//! # Closing
//!
//! A descriptor is closed when the last handle is dropped, and who waits has one: so nobody ever waits on a number that
//! has come to mean another socket. To end the waiting of others use `shutdown`, which they see as the end of the stream
//! or an error; a deadline that has passed ([`UdpSocket::set_read_deadline`]), after which the socket can go on; or
//! [`cancel`](crate::JoinHandle::cancel).
//!
//! # Errors
//!
//! Besides those that std's types give, an operation that has to wait for the first time may
//! fail because the descriptor cannot be added to epoll (no memory, or the user's limit
//! `/proc/sys/fs/epoll/max_user_watches`).
//!
//! # Runtimes and sockets
//!
//! A socket belongs to no runtime. The first operation that has to wait adds it to the netpoller (an
//! epoll descriptor) of its caller's runtime. It stays there until it is dropped, and keeps that
//! netpoller open even if the runtime is dropped before.
//!
//! # Scheduling
//!
//! Reading, writing, accepting and connecting may park the coroutine (on a plain thread: block
//! it). They are points where a coroutine that has used up its time slice lets others run, and where
//! a cancelled one may unwind. All other methods return at once, but for the look-up of a host
//! name, and for a close after [`TcpStream::set_linger`] with a time.

mod addr;
#[cfg(feature = "futures-io")]
mod async_io;
mod block;
pub(crate) mod face;
pub(crate) mod fd;
mod tcp;
mod udp;
pub mod unix;
#[cfg_attr(not(feature = "futures-io"), path = "wakers_off.rs")]
mod wakers;

pub use addr::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
pub use std::net::Shutdown;
pub use tcp::{Incoming, IntoIncoming, TcpListener, TcpListenerBuilder, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};

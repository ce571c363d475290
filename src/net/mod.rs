//! TCP, UDP and Unix sockets, shaped like [`std::net`] and [`std::os::unix::net`], waiting like a coroutine.
//!
//! The types here have the names, methods and behaviour of their namesakes in std, so that a program moves over by
//! changing the import ([the table](#beside-std) is at the end). What differs:
//!
//! - An operation that would block parks the calling coroutine; the thread goes on with others.
//!   Called from a plain thread, outside any runtime, it blocks that thread. One socket may be
//!   used from both, and from coroutines of several runtimes.
//! - Sockets are always in non-blocking mode underneath. [`TcpStream::set_nonblocking`] is a
//!   property of ours, kept beside the descriptor: operations return
//!   [`WouldBlock`](std::io::ErrorKind::WouldBlock) instead of waiting.
//! - A timeout that passes gives [`TimedOut`](std::io::ErrorKind::TimedOut), where std on Unix
//!   gives `WouldBlock`. Timeouts are exact to the timer, not rounded to the kernel's ticks.
//! - There are deadlines too, as in Go: absolute, and moved at any time, also for operations
//!   that already wait ([`TcpStream::set_read_deadline`]).
//! - [`TcpStream::try_clone`] shares the descriptor instead of duplicating it, so it cannot
//!   fail for want of descriptors, and clones share all settings.
//! - Any number of coroutines may use one socket at once, each way.
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
//!
//! # Beside std
//!
//! Every stable method, as of Rust 1.95. *Same* is a method of the same name and signature.
//!
//! | std | here |
//! |---|---|
//! | `TcpStream`: `connect`, `connect_timeout`, `peer_addr`, `local_addr`, `shutdown`, `try_clone`, `peek`, `nodelay`, `set_nodelay`, `ttl`, `set_ttl`, `take_error`, `set_nonblocking`, `read_timeout`, `set_read_timeout`, `write_timeout`, `set_write_timeout`; `Read` and `Write`, vectored too, also for `&TcpStream`; conversions | same; and [`TcpStream::connect_deadline`], [`TcpStream::send_file`], `set_read_deadline`, `set_write_deadline`, `into_std` |
//! | `TcpStream`: `linger`, `set_linger` (unstable); `quickack`, `set_quickack` (in `std::os::linux::net::TcpStreamExt`) | same |
//! | `TcpListener`: `bind`, `local_addr`, `try_clone`, `accept`, `incoming`, `ttl`, `set_ttl`, `take_error`, `set_nonblocking`; conversions | same; and [`TcpListener::builder`], `set_deadline`, `into_std` |
//! | `TcpListener`: `into_incoming` (unstable) | same |
//! | `TcpListener`: `only_v6`, `set_only_v6` (deprecated: too late once it is bound) | [`TcpListenerBuilder::only_v6`] |
//! | `UdpSocket`: `bind`, `connect`, `send_to`, `recv_from`, `peek_from`, `send`, `recv`, `peek`, `local_addr`, `peer_addr`, `try_clone`, `take_error`, `set_nonblocking`, `ttl`, `set_ttl`, `broadcast`, `set_broadcast`, `multicast_loop_v4`, `multicast_ttl_v4`, `multicast_loop_v6` and their setters, `join_multicast_v4`, `join_multicast_v6`, `leave_multicast_v4`, `leave_multicast_v6`, timeouts; conversions | same; and deadlines, `into_std` |
//! | `UnixStream`: `connect`, `connect_addr`, `pair`, `local_addr`, `peer_addr`, `shutdown`, `try_clone`, `take_error`, `set_nonblocking`, timeouts; `Read` and `Write`; conversions | same; and deadlines, [`UnixStream::send_file`], `into_std` |
//! | `UnixListener`: `bind`, `bind_addr`, `accept`, `incoming`, `&UnixListener` as an iterator, `local_addr`, `try_clone`, `take_error`, `set_nonblocking`; conversions | same; and `into_incoming`, `set_deadline`, `into_std` |
//! | `UnixDatagram`: `bind`, `bind_addr`, `unbound`, `pair`, `connect`, `connect_addr`, `send`, `send_to`, `send_to_addr`, `recv`, `recv_from`, `shutdown`, `local_addr`, `peer_addr`, `try_clone`, `take_error`, `set_nonblocking`, timeouts; conversions | same; and deadlines, `into_std` |
//! | `UnixStream`, `UnixDatagram`: `peer_cred`, `peek`, `peek_from`, `passcred`, `set_mark`, ancillary data (all unstable) | not there: to follow when they are stable; until then through the descriptor |
//! | `ToSocketAddrs` | a trait of the same name and method for the same types, because std's blocks the thread; a type of yours that implements std's needs an implementation of this one too |
//! | `Shutdown`, `IpAddr`, `SocketAddr` and the other addresses, `AddrParseError`; `std::os::unix::net::SocketAddr` with its extension for abstract names | the very same types |
//! | `Incoming`, `IntoIncoming`; `std::os::unix::net::Incoming` | same; [`unix::Incoming`], [`unix::IntoIncoming`] |

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

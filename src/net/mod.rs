//! TCP, shaped like [`std::net`], waiting like a coroutine.
//!
//! The types here have the names, methods and behaviour of their namesakes in [`std::net`], so
//! that a program moves over by changing the import. What differs:
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
//! Where an operation takes [`ToSocketAddrs`], an address or a text that is one ("127.0.0.1:80")
//! costs nothing. A host name is looked up by the system's resolver, which blocks the calling
//! thread for the time being: the coroutine keeps its P meanwhile, and those of its home wait.
//! Others run on the other Ps.
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
mod block;
pub(crate) mod face;
pub(crate) mod fd;
mod tcp;
mod udp;
pub mod unix;

pub use addr::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
pub use std::net::Shutdown;
pub use tcp::{Incoming, IntoIncoming, TcpListener, TcpListenerBuilder, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};

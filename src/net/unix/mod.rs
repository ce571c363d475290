//! Sockets of the local machine, shaped like [`std::os::unix::net`].
//!
//! What is said in [`net`](super) holds for them too. What they have in common with TCP and UDP they share with them: the
//! operations wait in the same loop, and timeouts, deadlines and clones are the same.
//!
//! # Queues of others
//!
//! A connection goes to the listener's queue, and a datagram to the receiver's. If that is full the kernel blocks
//! a thread, but has nothing to tell a poller when there is room. So [`UnixStream::connect`] and
//! [`UnixDatagram::send_to`] then try again after pauses, which grow to 16 ms. ([`UnixDatagram::send`] on a
//! connected socket does wait for the event.)

mod addr;
mod datagram;
mod listener;
mod stream;

pub use addr::SocketAddr;
pub use datagram::UnixDatagram;
pub use listener::{Incoming, IntoIncoming, UnixListener};
pub use stream::UnixStream;

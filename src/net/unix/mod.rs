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

/// What both kinds of connected sockets tell of themselves; `$setup` makes one of a pair, named `socket`.
macro_rules! addresses {
    ($name:ident, $setup:expr) => {
        impl $name {
            /// The address of this side, unnamed if it was not bound.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// assert!(socket.local_addr()?.is_unnamed());
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If the system refuses, which it does not for a valid socket.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                addr::from_kernel(SockRef::from(&*self.fd).local_addr()?)
            }

            /// The address of the other side, unnamed if it was not bound.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// assert!(socket.peer_addr()?.is_unnamed());
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`NotConnected`](io::ErrorKind::NotConnected) if it is not connected.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                addr::from_kernel(SockRef::from(&*self.fd).peer_addr()?)
            }
        }
    };
}
use addresses;

mod addr;
mod datagram;
mod listener;
mod stream;

pub use addr::SocketAddr;
pub use datagram::UnixDatagram;
pub use listener::{Incoming, IntoIncoming, UnixListener};
pub use stream::UnixStream;

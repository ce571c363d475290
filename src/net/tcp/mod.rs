//! TCP sockets.

mod listener;
mod stream;

pub use listener::{Incoming, IntoIncoming, TcpListener, TcpListenerBuilder};
pub use stream::TcpStream;

//! TCP connections over the loopback device.

use gort::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A wait that a test does not expect to end this way; long, because the machine may be busy.
pub const LONG: Duration = Duration::from_secs(60);

pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Two ends of a connection: who connected, and what was accepted.
pub fn connection() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let server = accept(&listener, &client);
    (client, server)
}

/// Accepts the connection of `client`, and drops those of strays, who meant a listener of another program that had this port before.
pub fn accept(listener: &TcpListener, client: &TcpStream) -> TcpStream {
    loop {
        let (server, peer) = listener.accept().unwrap();
        if peer == client.local_addr().unwrap() {
            return server;
        }
    }
}

/// The same, without delay. A read or a write of either that waits too long fails the test.
pub fn pair() -> (TcpStream, TcpStream) {
    let (client, server) = connection();
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
    }
    (client, server)
}

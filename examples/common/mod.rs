//! What the self-checks of the servers share.

#![allow(missing_docs, unreachable_pub, reason = "private to the examples")]

use gort::go;
use gort::net::{Shutdown, TcpStream};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// How long an answer may take.
pub const SOON: Duration = Duration::from_secs(10);

/// Sends `request` in one piece, and once more byte by byte if it is short, and hands all that is answered until
/// the server hangs up to `check`, which says what is wrong.
pub fn talk(address: SocketAddr, request: &[u8], check: impl Fn(&[u8]) -> Result<(), String>) -> io::Result<()> {
    for step in [request.len(), 1] {
        if request.len() > 1000 * step {
            continue;
        }
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        let mut sender = stream.try_clone()?;
        let pieces: Vec<Vec<u8>> = request.chunks(step).map(Vec::from).collect();
        let sending = go!(move || -> io::Result<()> {
            for piece in pieces {
                sender.write_all(&piece)?;
                gort::yield_now();
            }
            sender.shutdown(Shutdown::Write)
        });
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers)?;
        // The server may have hung up before all was sent, which is its right.
        let _ = sending.join()?;
        check(&answers).map_err(|wrong| {
            let start = String::from_utf8_lossy(&request[..request.len().min(200)]);
            io::Error::other(format!("{start:?}: {wrong}: {:?}", String::from_utf8_lossy(&answers)))
        })?;
    }
    Ok(())
}

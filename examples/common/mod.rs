//! What the self-checks of the servers share.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "private to the examples, each of which uses a part")]

use gort::net::{Shutdown, TcpStream};
use gort::{Builder, go};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

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

/// Checks that a server outlives a time without memory for stacks, in which it cannot serve everybody, and then serves again.
/// `visit` is a client, which starts no coroutine, and fails if it is not served.
pub fn without_stacks(visit: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let begin = Instant::now();
    let not_late = |what: &str| if begin.elapsed() < SOON { Ok(()) } else { Err(io::Error::other(what.to_owned())) };
    visit()?;
    // There is room for all that is needed but one stack of a gibibyte. For as long as somebody waits for that, spawning fails.
    let limit = Limit::new(512 << 20)?;
    let large = Builder::new().stack_size(1 << 30).spawn(|| ())?;
    let mut refused = 0;
    while refused < 3 {
        not_late("nobody is refused where there are no stacks")?;
        // Whenever a coroutine ends, and now and then, that stack is tried again, and spawning succeeds meanwhile.
        if Builder::new().spawn(|| ()).is_ok() {
            gort::time::sleep(Duration::from_millis(1));
            continue;
        }
        match visit() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Err(error),
            Err(_) => refused += 1,
        }
    }
    drop(limit);
    large.join()?;
    while let Err(error) = visit() {
        not_late(&format!("nobody is served where there are stacks again: {error}"))?;
    }
    Ok(())
}

/// A limit on the address space of this program, while it lives.
struct Limit(libc::rlimit);

impl Limit {
    /// So many bytes may be added to what there is.
    fn new(more: u64) -> io::Result<Limit> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let size =
            status.lines().find_map(|line| line.strip_prefix("VmSize:")?.split_whitespace().next()?.parse().ok());
        let size: u64 = size.ok_or(ErrorKind::InvalidData)?;
        let mut usual = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: fills the limits in.
        if unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut usual) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Limit::set(&libc::rlimit { rlim_cur: usual.rlim_cur.min((size << 10) + more), ..usual })?;
        Ok(Limit(usual))
    }

    fn set(limit: &libc::rlimit) -> io::Result<()> {
        // SAFETY: reads the limits.
        if unsafe { libc::setrlimit(libc::RLIMIT_AS, limit) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // A soft limit may be raised to where it was.
        let _ = Limit::set(&self.0);
    }
}

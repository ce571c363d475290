//! A small HTTP/1.1 server in blocking style, for static files and an API: one coroutine for each connection.
//!
//! ```text
//! cargo run --release --example http -- 127.0.0.1:8080 DIRECTORY   serves the files in it, until SIGINT or SIGTERM
//! cargo run --release --example http -- 127.0.0.1:8080             has no files, and greets at `/`
//! cargo run --release --example http                               tests itself over loopback
//! ```
//!
//! The API: `GET /api/time`, `GET /api/stats`, `POST /api/echo`.
//!
//! What it shows is the way there: keep-alive; pipelining, where all requests that have arrived are answered by one write;
//! bodies, counted and in chunks; files that go to the socket within the kernel, whole and in part; limits in size and in time
//! for whatever a client may do slowly; a clear refusal of whatever else comes; accepting that waits when descriptors run out; an end
//! where requests under way are answered. `httparse` parses the heads.
//!
//! - `connection.rs`: what is said on a connection, and how long it may take
//! - `request.rs`: heads, and who is refused for one
//! - `files.rs`: from a path to a file, or to the part that is asked for
//! - `date.rs`: dates as HTTP writes them
//! - `test.rs`: the self-check

#[path = "../common/mod.rs"]
mod common;
mod connection;
mod date;
mod files;
mod request;
mod test;

use connection::{Connection, Gate};
use files::Files;
use gort::context::{CancelHandle, Context};
use gort::go;
use gort::net::{Shutdown, TcpListener, TcpStream};
use gort::signal::{self, Signal};
use gort::sync::WaitGroup;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Without files, `/` says this.
const GREETING: &str = "Hello, World!";
/// How long accepting pauses when the system has no more to give: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];

/// How long a client may take.
#[derive(Clone, Copy)]
struct Limits {
    /// Between requests.
    idle: Duration,
    /// From the first byte of a head to its last.
    head: Duration,
    /// For a body.
    body: Duration,
    /// To take some tens of kilobytes.
    write: Duration,
    /// When the server ends: for requests under way.
    grace: Duration,
}

const LIMITS: Limits = Limits {
    idle: Duration::from_secs(60),
    head: Duration::from_secs(10),
    body: Duration::from_secs(60),
    write: Duration::from_secs(30),
    grace: Duration::from_secs(10),
};

fn main() -> io::Result<()> {
    let signals = signal::notify(&[Signal::INT, Signal::TERM])?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    gort::run(|| match arguments.first() {
        Some(address) => {
            let files = arguments.get(1).map(Files::new).transpose()?;
            let listener = TcpListener::bind(address)?;
            println!("http: listening on http://{}/", listener.local_addr()?);
            let (server, ctx) = Server::new(LIMITS, files);
            let ends = server.clone();
            drop(go!("signals", move || {
                signals.recv();
                ends.end.cancel();
            }));
            server.serve(&listener, &ctx);
            // Relaxed: nobody counts any more.
            println!("http: ended after {} requests", server.requests.load(Ordering::Relaxed));
            Ok(())
        }
        None => test::run(),
    })
}

struct Server {
    limits: Limits,
    files: Option<Files>,
    end: CancelHandle,
    started: Instant,
    /// Connections that were accepted, and those of them that have ended.
    accepted: AtomicU64,
    ended: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    /// The context ends when the server is to.
    fn new(limits: Limits, files: Option<Files>) -> (Arc<Server>, Context) {
        let (ctx, end) = Context::background().with_cancel();
        let [accepted, ended, requests] = [const { AtomicU64::new(0) }; 3];
        (Arc::new(Server { limits, files, end, started: Instant::now(), accepted, ended, requests }), ctx)
    }

    /// Serves until `ctx` ends, and then until the requests under way have been answered.
    fn serve(self: &Arc<Server>, listener: &TcpListener, ctx: &Context) {
        let all = WaitGroup::new();
        let mut pause = PAUSES[0];
        while let Ok(accepted) = ctx.bound(|| listener.accept()) {
            let begun = accepted.and_then(|(stream, _)| {
                let (server, ctx, member) = (self.clone(), ctx.clone(), all.clone());
                gort::Builder::new().spawn(move || {
                    // A client that goes away in the middle is its own business.
                    let _ = server.attend(stream, &ctx);
                    drop(member);
                })
            });
            match begun {
                Ok(_) => pause = PAUSES[0],
                // No descriptor left, most likely, or no memory. Those who are served go on, and will give some back; who waits to be
                // accepted keeps its place in the queue. To try again at once would only take the CPU from the others.
                Err(error) => {
                    eprintln!("http: accept: {error}; again in {pause:?}");
                    if ctx.bound(|| gort::time::sleep(pause)).is_err() {
                        break;
                    }
                    pause = (pause * 2).min(PAUSES[1]);
                }
            }
        }
        if all.wait_timeout(self.limits.grace).is_err() {
            eprintln!("http: some requests were not done in time");
        }
    }

    /// Serves one client.
    fn attend(&self, stream: TcpStream, ctx: &Context) -> io::Result<()> {
        struct Count<'a>(&'a Server);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                // Relaxed: a number of its own.
                self.0.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Relaxed: as above.
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let _count = Count(self);
        stream.set_nodelay(true)?;
        let gate = Arc::new(Gate::default());
        // The end of the server is, for a client between requests, the end of the connection. It is woken by that.
        let (theirs, other) = (gate.clone(), stream.try_clone()?);
        let stop = ctx.after_func(move || {
            if theirs.close() {
                // Fails if the client has ended the connection by now.
                let _ = other.shutdown(Shutdown::Read);
            }
        });
        let done = Connection::new(self, &gate, stream)?.converse();
        stop.stop();
        done
    }
}

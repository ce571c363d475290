//! A TCP proxy in blocking style: whoever connects is connected to another server.
//!
//! ```text
//! cargo run --release --example proxy -- 127.0.0.1:8000 example.org:80     serves until SIGINT or SIGTERM
//! cargo run --release --example proxy                                      tests itself over loopback
//! ```
//!
//! For each connection one coroutine copies from the client to the server and another back, by `io::copy`. What it
//! shows: the end of one direction is passed on and leaves the other alone; deadlines that are moved while somebody
//! waits; an end that lets connections finish, within a time.

#[path = "common/mod.rs"]
mod common;

use gort::context::{AfterFunc, Context};
use gort::net::{Shutdown, TcpListener, TcpStream};
use gort::signal::{self, Signal};
use gort::sync::{Mutex, WaitGroup};
use gort::{Builder, go};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where it leads to, and how patient it is.
struct Proxy {
    server: String,
    /// To reach the server, its name's look-up included.
    connecting: Duration,
    /// For a connection, altogether.
    lifetime: Duration,
    /// For one direction, when the other has ended.
    half_open: Duration,
    /// For all connections, when the proxy ends.
    grace: Duration,
}

impl Proxy {
    fn new(server: String) -> Proxy {
        let (connecting, lifetime) = (Duration::from_secs(10), Duration::from_secs(3600));
        Proxy { server, connecting, lifetime, half_open: Duration::from_secs(60), grace: Duration::from_secs(10) }
    }
}

fn main() -> io::Result<()> {
    let signals = signal::notify(&[Signal::INT, Signal::TERM])?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    gort::run(|| match &args[..] {
        [address, server] => {
            let listener = TcpListener::bind(address)?;
            println!("proxy: listening on {}", listener.local_addr()?);
            let (ctx, end) = Context::background().with_cancel();
            drop(go!("signals", move || {
                signals.recv();
                end.cancel();
            }));
            if !Arc::new(Proxy::new(server.clone())).serve(&listener, &ctx) {
                eprintln!("proxy: some connections are cut off");
            }
            Ok(())
        }
        [] => test::run(),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "usage: proxy ADDRESS SERVER")),
    })
}

impl Proxy {
    /// Serves until `ctx` ends, and then until the connections have, or the grace is over. Returns whether all have ended.
    fn serve(self: Arc<Proxy>, listener: &TcpListener, ctx: &Context) -> bool {
        let all = WaitGroup::new();
        while let Ok(accepted) = ctx.bound(|| listener.accept()) {
            let begun = accepted.and_then(|(client, peer)| {
                let (proxy, ctx, member) = (self.clone(), ctx.clone(), all.clone());
                Builder::new().spawn(move || {
                    if let Err(error) = proxy.connect(client, &ctx) {
                        eprintln!("proxy: {peer}: {error}");
                    }
                    drop(member);
                })
            });
            // A client that has gone again, no descriptor left, or no memory: the others go on.
            if let Err(error) = begun {
                eprintln!("proxy: accept: {error}");
                gort::time::sleep(Duration::from_millis(10));
            }
        }
        // The deadlines of the connections have been moved, so that they end by themselves.
        all.wait_timeout(self.grace + Duration::from_millis(100)).is_ok()
    }

    fn connect(&self, client: TcpStream, ctx: &Context) -> io::Result<()> {
        let server = TcpStream::connect_deadline(&*self.server, Instant::now() + self.connecting)?;
        let link = Arc::new(Link { streams: [client, server], until: Mutex::new(Instant::now() + self.lifetime) });
        let [client, server] = &link.streams;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        link.end_within(self.lifetime);
        let (theirs, grace) = (link.clone(), self.grace);
        let _hurry = Hurry(ctx.after_func(move || theirs.end_within(grace)));
        // How long one direction may go on when the other has ended.
        let rest = || link.end_within(self.half_open);
        let (there, back) = gort::join!(|| pass(client, server, rest), || pass(server, client, rest));
        // The direction that failed first made the other fail. That one side is gone is no news.
        for passed in [there, back] {
            match passed.map_err(|error| error.kind()) {
                Ok(_) | Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected) => {}
                Err(kind) => return Err(kind.into()),
            }
        }
        Ok(())
    }
}

/// A client, its server, and when their connection ends at the latest.
struct Link {
    streams: [TcpStream; 2],
    until: Mutex<Instant>,
}

impl Link {
    /// Whoever waits for one of the streams waits for less from now on, unless that was to end before.
    fn end_within(&self, time: Duration) {
        // Locked for all of it: else an end that is nearer could come in between, and be put off.
        let mut until = self.until.lock();
        *until = until.min(Instant::now() + time);
        for stream in &self.streams {
            stream.set_read_deadline(Some(*until));
            stream.set_write_deadline(Some(*until));
        }
    }
}

/// What hurries a connection when the proxy ends. It has the streams, which would stay open with it when the connection unwinds.
struct Hurry(AfterFunc);

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Copies one direction to its end, and says by `rest` that only the other is left.
fn pass(mut from: &TcpStream, mut to: &TcpStream, rest: impl Fn()) -> io::Result<u64> {
    let copied = gort::io::copy(&mut from, &mut to);
    if copied.is_ok() {
        // The end is passed on, which fails if nobody is there any more. The other direction goes on in any case, for a while: its
        // coroutine may be waiting for this side to take what came from there.
        rest();
        to.shutdown(Shutdown::Write)?;
    } else {
        // Whoever waits in the other direction sees this as its end. It fails if that was the first.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
    copied
}

/// What the proxy does without an address: it stands between servers and clients of its own.
mod test {
    use super::*;
    use gort::JoinHandle;
    use gort::context::CancelHandle;
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    type Test = io::Result<()>;

    pub(super) fn run() -> Test {
        let start = Instant::now();
        let bytes = half_close()?;
        lifetime()?;
        one_direction()?;
        gone_server()?;
        nearest_end()?;
        nobody_there()?;
        gone_client()?;
        no_stacks()?;
        cancelled()?;
        end()?;
        println!("proxy: {bytes} bytes passed, ends and deadlines kept, in {:.1?}", start.elapsed());
        Ok(())
    }

    fn ensure(is_so: bool, what: &str) -> Test {
        if is_so { Ok(()) } else { Err(io::Error::other(what.to_string())) }
    }

    /// A server for one test: each connection gets a coroutine.
    fn server(serve: fn(TcpStream) -> Test) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        drop(go!(move || {
            for stream in listener.incoming().flatten() {
                // The client notices.
                drop(go!(move || drop(serve(stream))));
            }
        }));
        Ok(address)
    }

    type Running = (SocketAddr, CancelHandle, JoinHandle<bool>);

    /// A proxy to `server`, with patience as in `change`.
    fn proxy(server: SocketAddr, change: fn(&mut Proxy)) -> io::Result<Running> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let mut proxy = Proxy::new(server.to_string());
        change(&mut proxy);
        let (ctx, end) = Context::background().with_cancel();
        Ok((address, end, go!(move || Arc::new(proxy).serve(&listener, &ctx))))
    }

    fn client(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(stream)
    }

    fn echo(mut stream: TcpStream) -> Test {
        gort::io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
    }

    /// Says nothing before it has heard all, and then everything backwards.
    fn backwards(mut stream: TcpStream) -> Test {
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        all.reverse();
        stream.write_all(&all)
    }

    /// The client's end reaches the server, and the server's answer, which comes after it, the client.
    fn half_close() -> io::Result<usize> {
        let (address, end, serving) = proxy(server(backwards)?, |_| {})?;
        let talk = move |number: usize| -> io::Result<usize> {
            let mut stream = client(address)?;
            let sent: Vec<u8> = (0..number * 3001).map(|at| (at * 31 + number) as u8).collect();
            stream.write_all(&sent)?;
            stream.shutdown(Shutdown::Write)?;
            let mut got = Vec::new();
            stream.read_to_end(&mut got)?;
            got.reverse();
            ensure(got == sent, "what came back is not what was sent")?;
            Ok(2 * sent.len())
        };
        let clients: Vec<_> = (0..50).map(|number| go!(move || talk(number))).collect();
        let mut bytes = 0;
        for client in clients {
            bytes += client.join()??;
        }
        end.cancel();
        ensure(serving.join()?, "a connection has not ended")?;
        Ok(bytes)
    }

    /// A connection that goes on talking ends when its time is over.
    fn lifetime() -> Test {
        let (address, ..) = proxy(server(echo)?, |proxy| proxy.lifetime = Duration::from_millis(30))?;
        let mut stream = client(address)?;
        let (start, mut byte) = (Instant::now(), [0]);
        while stream.write_all(b"x").is_ok() && matches!(stream.read(&mut byte), Ok(1)) {
            ensure(start.elapsed() < Duration::from_secs(5), "a connection outlives its time")?;
            gort::time::sleep(Duration::from_millis(1));
        }
        ensure(start.elapsed() >= Duration::from_millis(20), "a connection did not get its time")
    }

    /// A server that does not answer is given up some time after the client has said all.
    fn one_direction() -> Test {
        fn mute(mut stream: TcpStream) -> Test {
            gort::io::copy(&mut stream, &mut io::sink())?;
            gort::time::sleep(Duration::from_secs(60));
            Ok(())
        }
        let (address, ..) = proxy(server(mute)?, |proxy| proxy.half_open = Duration::from_millis(10))?;
        let mut stream = client(address)?;
        stream.shutdown(Shutdown::Write)?;
        // The limit of the client itself gives `TimedOut`.
        let end = stream.read(&mut [0]).map_err(|error| error.kind());
        ensure(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "who says nothing is not given up")
    }

    /// A server that is gone altogether is given up as well, though the client takes no more of what it has said.
    fn gone_server() -> Test {
        let (front, back) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let mut proxy = Proxy::new(back.local_addr()?.to_string());
        proxy.half_open = Duration::from_millis(10);
        let stream = client(front.local_addr()?)?;
        let (accepted, _) = front.accept()?;
        let connection = go!(move || proxy.connect(accepted, &Context::background()));
        let (mut at_server, _) = back.accept()?;
        // More than lies on the way, so that the proxy waits for the client, and does not hear of the reset.
        at_server.set_write_timeout(Some(Duration::from_millis(20)))?;
        while at_server.write(&[0; 1 << 16]).is_ok() {}
        at_server.set_linger(Some(Duration::ZERO))?;
        drop(at_server);
        stream.shutdown(Shutdown::Write)?;
        let ended = connection.join_timeout(Duration::from_secs(5)).is_ok();
        ensure(ended, "a connection without a server is not given up")
    }

    /// The nearest end counts, whichever is set first.
    fn nearest_end() -> Test {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let streams = [TcpStream::connect(listener.local_addr()?)?, listener.accept()?.0];
        let link = Link { streams, until: Mutex::new(Instant::now() + Duration::from_secs(60)) };
        link.end_within(Duration::from_millis(10));
        link.end_within(Duration::from_secs(30));
        let end = gort::time::timeout(Duration::from_secs(5), || (&link.streams[0]).read(&mut [0]));
        let ended = matches!(end, Ok(Err(error)) if error.kind() == ErrorKind::TimedOut);
        ensure(ended, "an end is put off")
    }

    /// The client of a server that is not there hears the end.
    fn nobody_there() -> Test {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (address, ..) = proxy(free, |_| {})?;
        let mut byte = [0];
        match client(address)?.read(&mut byte) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => Err(io::Error::other(format!("nobody is there, and says {other:?}"))),
        }
    }

    /// The server of a client that has gone without a word hears that.
    fn gone_client() -> Test {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, ..) = proxy(listener.local_addr()?, |_| {})?;
        let stream = client(address)?;
        let (mut at_server, _) = listener.accept()?;
        at_server.set_read_timeout(Some(Duration::from_secs(5)))?;
        // A reset, not an end.
        stream.set_linger(Some(Duration::ZERO))?;
        drop(stream);
        match at_server.read(&mut [0]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => Err(io::Error::other(format!("the client has gone, and says {other:?}"))),
        }
    }

    /// Clients for whom there is no memory are turned away.
    fn no_stacks() -> Test {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, end, serving) = proxy(listener.local_addr()?, |_| {})?;
        // It serves one after the other, for that needs no memory.
        drop(go!(move || listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(b"x")))));
        common::without_stacks(|| client(address)?.read_exact(&mut [0]))?;
        end.cancel();
        ensure(serving.join()?, "a connection has not ended")
    }

    /// A connection whose coroutine unwinds is closed, and does not wait for the end of the proxy with that.
    fn cancelled() -> Test {
        let (front, back) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let proxy = Proxy::new(back.local_addr()?.to_string());
        let (ctx, _end) = Context::background().with_cancel();
        let mut stream = client(front.local_addr()?)?;
        let (accepted, _) = front.accept()?;
        let connection = go!(move || proxy.connect(accepted, &ctx));
        let (mut at_server, _) = back.accept()?;
        at_server.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        connection.cancel();
        drop(at_server);
        ensure(connection.join().is_err(), "a connection is not cancelled")?;
        let start = Instant::now();
        // Fails when the other end is closed, and not as long as that reads nothing.
        while stream.write_all(b"x").is_ok() {
            ensure(start.elapsed() < Duration::from_secs(5), "a connection outlives its coroutine")?;
            gort::time::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// At the end who talks may finish, who does not is given up, and nobody new comes in.
    fn end() -> Test {
        let (address, end, serving) = proxy(server(backwards)?, |proxy| proxy.grace = Duration::from_millis(100))?;
        let (mut talks, mut sleeps) = (client(address)?, client(address)?);
        for stream in [&mut talks, &mut sleeps] {
            stream.write_all(b"!dlrow ")?;
        }
        // Both have been accepted when a third, that came after them, has its answer.
        let mut third = client(address)?;
        third.shutdown(Shutdown::Write)?;
        third.read_to_end(&mut Vec::new())?;
        end.cancel();
        talks.write_all(b"olleh")?;
        talks.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        talks.read_to_string(&mut text)?;
        ensure(text == "hello world!", "who talks cannot finish")?;
        let end = sleeps.read(&mut [0]).map_err(|error| error.kind());
        ensure(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "who sleeps is not given up")?;
        ensure(serving.join()?, "who sleeps outlives the grace")?;
        ensure(TcpStream::connect(address).is_err(), "somebody new comes in after the end")
    }
}

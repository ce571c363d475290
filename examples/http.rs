//! A small HTTP/1.1 server in blocking style: one coroutine for each connection.
//!
//! ```text
//! cargo run --release --example http -- 127.0.0.1:8080     serves until it is killed
//! cargo run --release --example http                       tests itself over loopback
//! ```
//!
//! It answers every request with a greeting. What it shows is the way there: keep-alive; pipelining,
//! where all requests that have arrived are answered by one write; request bodies; limits in size
//! and time; and a clear refusal of whatever else comes. `httparse` parses the heads.

use gort::go;
use gort::net::{Shutdown, TcpListener, TcpStream};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The longest request line and headers, together.
const HEAD_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;
/// The longest request body.
const BODY_BYTES: u64 = 1 << 20;
/// Answers are written when so much has gathered, even if more requests are at hand.
const OUTPUT_BYTES: usize = 16 << 10;
/// How long a connection may be idle, or a request take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

const GREETING: &str = "Hello, World!";

fn main() -> io::Result<()> {
    gort::run(|| match std::env::args().nth(1) {
        Some(address) => {
            let listener = TcpListener::bind(&*address)?;
            println!("http: listening on http://{}/", listener.local_addr()?);
            serve(&listener)
        }
        None => test::run(),
    })
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => drop(go!(move || {
                // A client that goes away in the middle is its own business.
                let _ = Connection::new(stream).converse();
            })),
            // A client that has gone again, or no descriptor left: the others go on.
            Err(error) => {
                eprintln!("http: accept: {error}");
                gort::time::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Why a request gets no greeting. The connection ends then: where the next request would
/// begin is not known, or would be costly to find out.
struct Refusal(&'static str);

const BAD_REQUEST: Refusal = Refusal("400 Bad Request");
const TIMEOUT: Refusal = Refusal("408 Request Timeout");
const LENGTH_REQUIRED: Refusal = Refusal("411 Length Required");
const CONTENT_TOO_LARGE: Refusal = Refusal("413 Content Too Large");
const EXPECTATION_FAILED: Refusal = Refusal("417 Expectation Failed");
const HEADERS_TOO_LARGE: Refusal = Refusal("431 Request Header Fields Too Large");
const NOT_IMPLEMENTED: Refusal = Refusal("501 Not Implemented");

/// What we need to know of a request.
struct Request {
    /// Bytes of the request line and the headers.
    head_len: usize,
    body_len: u64,
    is_head: bool,
    /// The client waits for our permission to send the body.
    expects_continue: bool,
    keep_alive: bool,
}

impl Request {
    /// Parses the head at the start of `input`; None if it is not complete yet.
    fn parse(input: &[u8]) -> Result<Option<Request>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parser = httparse::Request::new(&mut headers);
        let head_len = match parser.parse(input) {
            Ok(httparse::Status::Complete(len)) if len <= HEAD_BYTES => len,
            Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HEADERS_TOO_LARGE),
            Err(_) => return Err(BAD_REQUEST),
        };
        let is_head = match parser.method {
            Some("HEAD") => true,
            Some("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => false,
            _ => return Err(NOT_IMPLEMENTED),
        };
        let is_1_1 = parser.version == Some(1);
        let mut request = Request { head_len, body_len: 0, is_head, expects_continue: false, keep_alive: is_1_1 };
        let (mut hosts, mut length, mut coding, mut close) = (0, None, None, false);
        for header in parser.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("Host") {
                hosts += 1;
            } else if is("Content-Length") {
                // Two that differ make it a matter of opinion where the next request begins.
                let parsed = content_length(header.value)?;
                if length.replace(parsed).is_some_and(|earlier| earlier != parsed) {
                    return Err(BAD_REQUEST);
                }
            } else if is("Transfer-Encoding") {
                coding = Some(if is_token(header.value, "chunked") { LENGTH_REQUIRED } else { NOT_IMPLEMENTED });
            } else if is("Connection") {
                for token in header.value.split(|&byte| byte == b',') {
                    close |= is_token(token, "close");
                    request.keep_alive |= is_token(token, "keep-alive");
                }
            } else if is("Expect") {
                if !is_token(header.value, "100-continue") {
                    return Err(EXPECTATION_FAILED);
                }
                request.expects_continue = is_1_1;
            }
        }
        request.keep_alive &= !close;
        match (coding, length) {
            // Whoever believes one header and not the other sees another request in the body.
            (Some(_), Some(_)) => return Err(BAD_REQUEST),
            (Some(refusal), None) => return Err(refusal),
            (None, length) => request.body_len = length.unwrap_or(0),
        }
        if hosts > 1 || is_1_1 && hosts == 0 {
            return Err(BAD_REQUEST);
        }
        if request.body_len > BODY_BYTES { Err(CONTENT_TOO_LARGE) } else { Ok(Some(request)) }
    }
}

fn is_token(value: &[u8], token: &str) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = std::str::from_utf8(value.trim_ascii()).map_err(|_| BAD_REQUEST)?;
    // `parse` alone would allow a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD_REQUEST);
    }
    digits.parse().map_err(|_| CONTENT_TOO_LARGE)
}

struct Connection {
    stream: TcpStream,
    /// What has been read and not been used is `input[used..filled]`.
    input: Box<[u8; HEAD_BYTES]>,
    used: usize,
    filled: usize,
    /// Answers that have not been written.
    output: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection { stream, input: Box::new([0; HEAD_BYTES]), used: 0, filled: 0, output: Vec::new() }
    }

    /// Answers requests until one side has had enough.
    fn converse(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        loop {
            self.stream.set_read_deadline(Some(Instant::now() + PATIENCE));
            match self.exchange() {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return self.finish(),
                Ok(Err(refusal)) => return self.refuse(refusal),
                Err(error) if error.kind() == ErrorKind::TimedOut && self.used < self.filled => {
                    return self.refuse(TIMEOUT);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a request and prepares its answer. Returns whether the connection goes on.
    fn exchange(&mut self) -> io::Result<Result<bool, Refusal>> {
        let request = loop {
            match Request::parse(&self.input[self.used..self.filled]) {
                Ok(Some(request)) => break request,
                Ok(None) if self.fill()? == 0 => {
                    let cut_off = self.used < self.filled;
                    return Ok(if cut_off { Err(BAD_REQUEST) } else { Ok(false) });
                }
                Ok(None) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
        };
        self.used += request.head_len;
        if request.expects_continue && request.body_len > 0 && self.used == self.filled {
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.skip_body(request.body_len)? {
            return Ok(Err(BAD_REQUEST));
        }
        let connection = if request.keep_alive { "" } else { "Connection: close\r\n" };
        self.respond("200 OK", connection, GREETING, !request.is_head)?;
        if self.output.len() >= OUTPUT_BYTES {
            self.flush()?;
        }
        Ok(Ok(request.keep_alive))
    }

    /// Reads more. This is where the coroutine waits for the client, so what the client may be
    /// waiting for goes out first: one write for all requests that were at hand.
    fn fill(&mut self) -> io::Result<usize> {
        self.flush()?;
        self.input.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        let read = self.stream.read(&mut self.input[self.filled..])?;
        self.filled += read;
        Ok(read)
    }

    /// Leaves out the body. False if it ends too early.
    fn skip_body(&mut self, mut left: u64) -> io::Result<bool> {
        loop {
            let here = left.min((self.filled - self.used) as u64);
            self.used += here as usize;
            left -= here;
            if left == 0 {
                return Ok(true);
            }
            if self.fill()? == 0 {
                return Ok(false);
            }
        }
    }

    fn respond(&mut self, status: &str, connection: &str, text: &str, with_body: bool) -> io::Result<()> {
        let len = text.len();
        let body = if with_body { text } else { "" };
        write!(
            self.output,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n{connection}\r\n{body}"
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    fn refuse(mut self, Refusal(status): Refusal) -> io::Result<()> {
        self.respond(status, "Connection: close\r\n", status, true)?;
        self.finish()
    }

    /// Ends the connection so that the client gets the last answer. If it is still sending, an
    /// outright close would make the kernel reset the connection and throw the answer away.
    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_deadline(Some(Instant::now() + Duration::from_secs(1)));
        while self.stream.read(&mut self.input[..])? > 0 {}
        Ok(())
    }
}

/// What the server does without an address: it talks to itself.
mod test {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

    pub(super) fn run() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        // The end of the main coroutine ends the server too.
        drop(go!("server", move || serve(&listener)));
        let dialogues = dialogues();
        for (request, want) in &dialogues {
            talk(address, request, want)?;
        }
        let (clients, rounds, depth) = (64, 200, 16);
        let start = Instant::now();
        let handles: Vec<_> = (0..clients).map(|_| go!(move || pipeline(address, rounds, depth))).collect();
        for handle in handles {
            handle.join()??;
        }
        let requests = clients * rounds * depth;
        println!(
            "http: {} dialogues right; {requests} pipelined requests on {clients} connections in {:.1?}",
            dialogues.len(),
            start.elapsed()
        );
        Ok(())
    }

    /// What clients say, and the statuses that they should get, before the server hangs up.
    fn dialogues() -> Vec<(String, &'static [&'static str])> {
        let last = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        let post = |headers: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n{body}");
        let head = GET.replace("GET", "HEAD");
        let many = "X: y\r\n".repeat(HEADERS + 1);
        let body = "b".repeat(20_000);
        vec![
            (last.into(), &["200"]),
            (format!("{GET}{GET}{GET}{last}"), &["200", "200", "200", "200"]),
            (format!("\r\n{head}{last}"), &["200", "200"]),
            (format!("{GET}{}", last.replace("close", "Foo , CLOSE")), &["200", "200"]),
            // Without keep-alive, HTTP/1.0 ends after each request.
            ("GET / HTTP/1.0\r\n\r\n".into(), &["200"]),
            (format!("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n{last}"), &["200", "200"]),
            // Bodies are counted, also where they look like requests or are longer than the buffer.
            (post("Content-Length: 31", GET) + "!" + last, &["200", "200"]),
            (post("Content-Length: 20000", &body) + last, &["200", "200"]),
            (post("Content-Length: 2\r\nContent-Length: 2", "ab") + last, &["200", "200"]),
            (post("Content-Length: 0\r\nExpect: 100-continue", "") + last, &["200", "200"]),
            // What is refused, with the good before it answered and the rest ignored.
            (format!("{GET}what is this?\r\n\r\n{GET}"), &["200", "400"]),
            ("GET / HTTP/1.1\r\n\r\n".into(), &["400"]),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), &["400"]),
            ("GET / HTTP/2.0\r\nHost: test\r\n\r\n".into(), &["400"]),
            ("BREW / HTTP/1.1\r\nHost: pot\r\n\r\n".into(), &["501"]),
            (post("Content-Length: +1", "a"), &["400"]),
            (post("Content-Length: 1\r\nContent-Length: 2", "ab"), &["400"]),
            (post("Content-Length: 1048577", &body), &["413"]),
            (post("Content-Length: 99999999999999999999999", ""), &["413"]),
            (post("Transfer-Encoding: chunked", "0\r\n\r\n"), &["411"]),
            (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), &["501"]),
            (post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"), &["400"]),
            (post("Content-Length: 1\r\nExpect: a miracle", ""), &["417"]),
            (post(&format!("X: {body}"), ""), &["431"]),
            (post(&format!("{many}X: y"), ""), &["431"]),
            // Cut off in the head, and in the body.
            ("GET / HTTP/1.1\r\nHo".into(), &["400"]),
            (post("Content-Length: 5", "four"), &["400"]),
        ]
    }

    /// Sends `request` in one piece, and once more byte by byte if it is short, and checks the
    /// statuses of the answers.
    fn talk(address: SocketAddr, request: &str, want: &[&str]) -> io::Result<()> {
        for step in [request.len(), 1] {
            if request.len() > 1000 * step {
                continue;
            }
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let mut sender = stream.try_clone()?;
            let pieces: Vec<Vec<u8>> = request.as_bytes().chunks(step).map(Vec::from).collect();
            let sending = go!(move || -> io::Result<()> {
                for piece in pieces {
                    sender.write_all(&piece)?;
                    gort::yield_now();
                }
                sender.shutdown(Shutdown::Write)
            });
            let mut text = String::new();
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.read_to_string(&mut text)?;
            // The server may have hung up before all was sent, which is its right.
            let _ = sending.join()?;
            let got = statuses(&text);
            if got != want {
                let start: String = request.chars().take(80).collect();
                return Err(io::Error::other(format!("{start:?} got {got:?} instead of {want:?}: {text:?}")));
            }
        }
        Ok(())
    }

    /// The statuses of a row of answers.
    fn statuses(text: &str) -> Vec<&str> {
        text.match_indices("HTTP/1.1 ").map(|(at, found)| &text[at + found.len()..][..3]).collect()
    }

    /// Sends many requests at once, again and again, and checks every answer.
    fn pipeline(address: SocketAddr, rounds: usize, depth: usize) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let length = GREETING.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{GREETING}");
        let (requests, want) = (GET.repeat(depth), answer.repeat(depth));
        let mut got = vec![0; want.len()];
        for _ in 0..rounds {
            stream.write_all(requests.as_bytes())?;
            stream.read_exact(&mut got)?;
            if got != want.as_bytes() {
                return Err(io::Error::other(format!("a wrong answer: {:?}", String::from_utf8_lossy(&got))));
            }
        }
        Ok(())
    }
}

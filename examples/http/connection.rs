//! What is said on a connection, and how long it may take.
//!
//! A client may be slow by accident or by intent. So each thing that it does has its time: between requests, counted from the last
//! answer (the read timeout of the stream); for a head, from its first byte to its last; for a body; for taking what is written, by the piece.
//! Where all comes at once, which is the rule, no clock is looked at for that: only who makes us wait in the middle gets a deadline.

use crate::date;
use crate::files::{Found, Part, Served};
use crate::request::{
    BAD_REQUEST, BODY_BYTES, Body, CONTENT_TOO_LARGE, HEAD_BYTES, HEADERS, HEADERS_TOO_LARGE, Method, Refusal, Request,
    TIMEOUT,
};
use crate::{GREETING, Server};
use gort::net::{Shutdown, TcpStream};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Answers are written when so much has gathered, even if more requests are at hand.
const OUTPUT_BYTES: usize = 16 << 10;
/// Files up to this size go into the output like any answer; longer ones go straight to the socket.
const SMALL_FILE: u64 = 16 << 10;
/// Who takes so much of a file has the whole time again for the next so much.
const PIECE: u64 = 64 << 10;
/// The longest line that begins a chunk.
const CHUNK_LINE: usize = 256;
/// How much more than the chunks themselves may come, all in all.
const CHUNK_EXCESS: usize = 16 << 10;

/// Where a connection is, for who ends the server: between two requests, or in one.
#[derive(Default)]
pub(crate) struct Gate(AtomicU8);

impl Gate {
    const BUSY: u8 = 0;
    const IDLE: u8 = 1;
    const CLOSED: u8 = 2;

    /// No more requests. Whether the connection is between two.
    pub(crate) fn close(&self) -> bool {
        // Relaxed, here and below: all is in the one word, which whoever comes second sees.
        self.0.swap(Gate::CLOSED, Ordering::Relaxed) == Gate::IDLE
    }

    /// The connection waits for a request. False if none is to come.
    fn rest(&self) -> bool {
        self.0.compare_exchange(Gate::BUSY, Gate::IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Something has come.
    fn wake(&self) {
        // Fails if it has been closed, which is looked at when the request is answered.
        let _ = self.0.compare_exchange(Gate::IDLE, Gate::BUSY, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Gate::CLOSED
    }
}

/// What is being waited for, in the middle of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Head,
    Body,
}

/// How a request is answered.
enum Answer {
    Greeting,
    Time,
    Stats,
    Echo,
    File(Box<Served>),
    Moved(String),
    /// The methods that there are instead.
    NotAllowed(&'static str),
    Failure(&'static str),
}

/// A request that has been understood.
struct Plan {
    head_len: usize,
    is_1_1: bool,
    body: Body,
    is_head: bool,
    expects_continue: bool,
    keep_alive: bool,
    answer: Answer,
}

/// The present time as HTTP writes it, which changes once in a second.
struct Now {
    unix: Duration,
    text: String,
}

pub(crate) struct Connection<'a> {
    server: &'a Server,
    gate: &'a Gate,
    stream: TcpStream,
    /// What has been read and not been used is `input[used..filled]`.
    input: Box<[u8; HEAD_BYTES]>,
    used: usize,
    filled: usize,
    /// Answers that have not been written.
    output: Vec<u8>,
    /// The version of the request; an older one has to be told that the connection goes on.
    is_1_1: bool,
    /// The body of the request, if it is kept.
    body: Vec<u8>,
    /// What the deadline of the stream is for.
    due: Due,
    /// As of when there was something to read.
    now: Now,
    /// Requests that the server has not counted yet.
    requests: u64,
}

impl Connection<'_> {
    pub(crate) fn new<'a>(server: &'a Server, gate: &'a Gate, stream: TcpStream) -> io::Result<Connection<'a>> {
        stream.set_read_timeout(Some(server.limits.idle))?;
        stream.set_write_timeout(Some(server.limits.write))?;
        let (input, output, body) = (Box::new([0; HEAD_BYTES]), Vec::new(), Vec::new());
        let now = Now { unix: Duration::ZERO, text: date::format(0) };
        let (used, filled, is_1_1, due, requests) = (0, 0, true, Due::Nothing, 0);
        Ok(Connection { server, gate, stream, input, used, filled, output, is_1_1, body, due, now, requests })
    }

    /// Answers requests until one side has had enough.
    pub(crate) fn converse(mut self) -> io::Result<()> {
        let end = loop {
            match self.exchange() {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break self.finish(),
                Ok(Err(refusal)) => break self.refuse(refusal),
                // Between requests nobody is to blame.
                Err(error) if error.kind() == ErrorKind::TimedOut && self.due != Due::Nothing => {
                    break self.refuse(TIMEOUT);
                }
                Err(error) => break Err(error),
            }
        };
        self.count();
        end
    }

    /// Reads a request and prepares its answer. Returns whether the connection goes on.
    fn exchange(&mut self) -> io::Result<Result<bool, Refusal>> {
        let plan = loop {
            match Request::parse(&self.input[self.used..self.filled]) {
                Ok(Some(request)) => break self.plan(&request),
                Ok(None) => {
                    if self.fill(Due::Head)? == 0 {
                        let cut_off = self.used < self.filled;
                        return Ok(if cut_off { Err(BAD_REQUEST) } else { Ok(false) });
                    }
                }
                Err(refusal) => return Ok(Err(refusal)),
            }
        };
        self.used += plan.head_len;
        self.requests += 1;
        self.is_1_1 = plan.is_1_1;
        let mut keep_alive = plan.keep_alive;
        let keep = matches!(plan.answer, Answer::Echo);
        let waits_for_us = plan.expects_continue && plan.body != Body::Counted(0) && self.used == self.filled;
        if waits_for_us && !keep {
            // Nobody wants the body, and the client learns that before it has sent it. Whether it sends it all the same
            // is not known, so neither is where the next request would begin.
            keep_alive = false;
        } else {
            if waits_for_us {
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if let Err(refusal) = self.read_body(plan.body, keep)? {
                return Ok(Err(refusal));
            }
        }
        // The next request has a time of its own.
        if self.due != Due::Nothing {
            self.due = Due::Nothing;
            self.stream.set_read_deadline(None);
        }
        // Who has sent more already gets answers to that, too.
        keep_alive &= !(self.gate.is_closed() && self.used == self.filled);
        self.answer(plan.answer, plan.is_head, keep_alive)?;
        if self.output.len() >= OUTPUT_BYTES {
            self.flush()?;
        }
        Ok(Ok(keep_alive))
    }

    /// What to do about a request.
    fn plan(&self, request: &Request<'_>) -> Plan {
        let is_read = matches!(request.method, Method::Get | Method::Head);
        let reading = |answer| if is_read { answer } else { Answer::NotAllowed("GET, HEAD") };
        let answer = match (request.path, &self.server.files) {
            ("/", None) => reading(Answer::Greeting),
            ("/api/time", _) => reading(Answer::Time),
            ("/api/stats", _) => reading(Answer::Stats),
            ("/api/echo", _) if request.method == Method::Post => Answer::Echo,
            ("/api/echo", _) => Answer::NotAllowed("POST"),
            ("*", _) if is_read => Answer::Failure("400 Bad Request"),
            (_, Some(files)) if is_read => match files.find(request.path, &request.conditions) {
                Found::File(file) => Answer::File(file),
                Found::Directory(location) => Answer::Moved(location),
                Found::Nothing(why) => Answer::Failure(why),
            },
            (_, Some(_)) | ("*", None) => Answer::NotAllowed("GET, HEAD"),
            (_, None) => Answer::Failure("404 Not Found"),
        };
        Plan {
            head_len: request.head_len,
            is_1_1: request.is_1_1,
            body: request.body,
            is_head: request.method == Method::Head,
            expects_continue: request.expects_continue,
            keep_alive: request.keep_alive,
            answer,
        }
    }

    /// Reads more of what is `due`. This is where the coroutine waits for the client, so what the client may be
    /// waiting for goes out first: one write for all requests that were at hand.
    fn fill(&mut self, due: Due) -> io::Result<usize> {
        self.flush()?;
        self.count();
        self.input.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        let between_requests = due == Due::Head && self.filled == 0;
        if between_requests {
            if !self.gate.rest() {
                return Ok(0);
            }
        } else if self.due != due {
            self.due = due;
            let limits = &self.server.limits;
            let limit = if due == Due::Head { limits.head } else { limits.body };
            self.stream.set_read_deadline(Some(Instant::now() + limit));
        }
        let read = self.stream.read(&mut self.input[self.filled..])?;
        self.filled += read;
        if between_requests {
            self.gate.wake();
        }
        if due == Due::Head {
            self.tell_the_time();
        }
        Ok(read)
    }

    /// Reads the body, and keeps it if it is of use.
    fn read_body(&mut self, body: Body, keep: bool) -> io::Result<Result<(), Refusal>> {
        self.body.clear();
        match body {
            Body::Counted(0) => Ok(Ok(())),
            Body::Counted(len) => self.read_counted(len, keep),
            Body::Chunked => self.read_chunks(keep),
        }
    }

    fn read_counted(&mut self, mut left: u64, keep: bool) -> io::Result<Result<(), Refusal>> {
        loop {
            let here = left.min((self.filled - self.used) as u64) as usize;
            if keep {
                self.body.extend_from_slice(&self.input[self.used..][..here]);
            }
            self.used += here;
            left -= here as u64;
            if left == 0 {
                return Ok(Ok(()));
            }
            if self.fill(Due::Body)? == 0 {
                return Ok(Err(BAD_REQUEST));
            }
        }
    }

    fn read_chunks(&mut self, keep: bool) -> io::Result<Result<(), Refusal>> {
        let (mut total, mut excess) = (0, 0);
        loop {
            let (line, size) = match self.chunk_line()? {
                Ok(line) => line,
                Err(refusal) => return Ok(Err(refusal)),
            };
            self.used += line;
            if size == 0 {
                break;
            }
            total += size.min(BODY_BYTES + 1);
            // Many bytes about few would be work without end within the limit.
            excess = (excess + line).saturating_sub(16 + 2 * size.min(BODY_BYTES) as usize);
            if total > BODY_BYTES {
                return Ok(Err(CONTENT_TOO_LARGE));
            }
            if excess > CHUNK_EXCESS {
                return Ok(Err(BAD_REQUEST));
            }
            if let Err(refusal) = self.read_counted(size, keep)? {
                return Ok(Err(refusal));
            }
            match self.line(2)? {
                Some(_) => self.used += 2,
                None => return Ok(Err(BAD_REQUEST)),
            }
        }
        // What follows may be headers again, of which we have no use, and then an empty line.
        loop {
            let rest = &self.input[self.used..self.filled];
            match httparse::parse_headers(rest, &mut [httparse::EMPTY_HEADER; HEADERS]) {
                // The parser lets a line end without CR.
                Ok(httparse::Status::Complete((len, _))) if has_bare_lf(&rest[..len]) => return Ok(Err(BAD_REQUEST)),
                Ok(httparse::Status::Complete((len, _))) => {
                    self.used += len;
                    return Ok(Ok(()));
                }
                Ok(httparse::Status::Partial) if rest.len() < HEAD_BYTES => {}
                Ok(_) | Err(httparse::Error::TooManyHeaders) => return Ok(Err(HEADERS_TOO_LARGE)),
                Err(_) => return Ok(Err(BAD_REQUEST)),
            }
            if self.fill(Due::Body)? == 0 {
                return Ok(Err(BAD_REQUEST));
            }
        }
    }

    /// The length of the line that begins a chunk, and that of the chunk.
    fn chunk_line(&mut self) -> io::Result<Result<(usize, u64), Refusal>> {
        let Some(len) = self.line(CHUNK_LINE)? else { return Ok(Err(BAD_REQUEST)) };
        let text = &self.input[self.used..][..len + 2];
        // The parser takes no digit for zero, and anything behind a semicolon: for whoever sees the end of the line in a bare LF,
        // the next request would begin elsewhere.
        let is_clean = !text[..len].iter().any(|&byte| byte.is_ascii_control() && byte != b'\t');
        match httparse::parse_chunk_size(text) {
            Ok(httparse::Status::Complete(line)) if text[0].is_ascii_hexdigit() && is_clean => Ok(Ok(line)),
            _ => Ok(Err(BAD_REQUEST)),
        }
    }

    /// How long the line at hand is, without its end. None if it does not end within so many bytes.
    fn line(&mut self, most: usize) -> io::Result<Option<usize>> {
        loop {
            let rest = &self.input[self.used..self.filled];
            if let Some(len) = rest[..rest.len().min(most)].windows(2).position(|end| end == b"\r\n") {
                return Ok(Some(len));
            }
            if rest.len() >= most || self.fill(Due::Body)? == 0 {
                return Ok(None);
            }
        }
    }

    /// Prepares an answer; long files are sent at once.
    fn answer(&mut self, answer: Answer, is_head: bool, keep_alive: bool) -> io::Result<()> {
        const JSON: &str = "application/json";
        const OK: &str = "200 OK";
        match answer {
            Answer::Greeting => self.respond(OK, "text/plain", "", GREETING, is_head, keep_alive),
            Answer::Time => {
                let (seconds, millis, date) = (self.now.unix.as_secs(), self.now.unix.subsec_millis(), &self.now.text);
                let text = format!("{{\"unix\":{seconds}.{millis:03},\"date\":\"{date}\"}}\n");
                self.respond(OK, JSON, "Cache-Control: no-store\r\n", &text, is_head, keep_alive);
            }
            Answer::Stats => {
                self.count();
                let server = self.server;
                // Relaxed: numbers of their own. What has ended was accepted before it, but is read first.
                let ended = server.ended.load(Ordering::Relaxed);
                let accepted = server.accepted.load(Ordering::Relaxed);
                let text = format!(
                    "{{\"requests\":{},\"accepted\":{accepted},\"connections\":{},\"uptime\":{:.3}}}\n",
                    server.requests.load(Ordering::Relaxed),
                    accepted.saturating_sub(ended),
                    server.started.elapsed().as_secs_f64(),
                );
                self.respond(OK, JSON, "Cache-Control: no-store\r\n", &text, is_head, keep_alive);
            }
            Answer::Echo => {
                let body = std::mem::take(&mut self.body);
                match std::str::from_utf8(&body) {
                    Ok(text) => {
                        let text = format!("{{\"length\":{},\"body\":{}}}\n", body.len(), json(text));
                        self.respond(OK, JSON, "", &text, is_head, keep_alive);
                    }
                    Err(_) => self.fail("415 Unsupported Media Type", "", is_head, keep_alive),
                }
            }
            Answer::File(file) => return self.answer_file(&file, is_head, keep_alive),
            Answer::Moved(location) => {
                self.fail("301 Moved Permanently", &format!("Location: {location}\r\n"), is_head, keep_alive);
            }
            Answer::NotAllowed(methods) => {
                self.fail("405 Method Not Allowed", &format!("Allow: {methods}\r\n"), is_head, keep_alive);
            }
            Answer::Failure(status) => self.fail(status, "", is_head, keep_alive),
        }
        Ok(())
    }

    fn answer_file(&mut self, served: &Served, is_head: bool, keep_alive: bool) -> io::Result<()> {
        let Served { len, content_type, last_modified, tag, .. } = served;
        let mut extra = format!("Last-Modified: {last_modified}\r\nETag: {tag}\r\nAccept-Ranges: bytes\r\n");
        let (status, range) = match &served.part {
            Part::Whole => ("200 OK", 0..*len),
            Part::Range(range) => {
                extra += &format!("Content-Range: bytes {}-{}/{len}\r\n", range.start, range.end - 1);
                ("206 Partial Content", range.clone())
            }
            Part::NotModified => {
                self.status("304 Not Modified", &extra, keep_alive);
                self.output.extend_from_slice(b"\r\n");
                return Ok(());
            }
            Part::Changed => {
                self.fail("412 Precondition Failed", &extra, is_head, keep_alive);
                return Ok(());
            }
            Part::Unsatisfiable => {
                extra += &format!("Content-Range: bytes */{len}\r\n");
                self.fail("416 Range Not Satisfiable", &extra, is_head, keep_alive);
                return Ok(());
            }
        };
        let size = range.end - range.start;
        self.head(status, content_type, size, &extra, keep_alive);
        if is_head {
            return Ok(());
        }
        if size > SMALL_FILE {
            return self.send_file(served, range);
        }
        let at = self.output.len();
        self.output.resize(at + size as usize, 0);
        // A file that has become shorter is the end: its length has been promised, and perhaps sent.
        served.file.read_exact_at(&mut self.output[at..], range.start)
    }

    /// Sends a part of a file from within the kernel. Whoever takes it too slowly loses the connection.
    fn send_file(&mut self, served: &Served, mut range: Range<u64>) -> io::Result<()> {
        self.flush()?;
        let mut due = range.start;
        while range.start < range.end {
            if range.start >= due {
                self.stream.set_write_deadline(Some(Instant::now() + self.server.limits.write));
                due = range.start + PIECE;
            }
            let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            match self.stream.send_file(&served.file, range.start, left)? {
                // As above.
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => range.start += count as u64,
            }
        }
        self.stream.set_write_deadline(None);
        Ok(())
    }

    /// An answer with a text.
    fn respond(&mut self, status: &str, kind: &str, extra: &str, text: &str, is_head: bool, keep_alive: bool) {
        self.head(status, kind, text.len() as u64, extra, keep_alive);
        if !is_head {
            self.output.extend_from_slice(text.as_bytes());
        }
    }

    /// An answer that says no more than its status.
    fn fail(&mut self, status: &str, extra: &str, is_head: bool, keep_alive: bool) {
        self.respond(status, "text/plain", extra, status, is_head, keep_alive);
    }

    /// What comes before a body.
    fn head(&mut self, status: &str, kind: &str, len: u64, extra: &str, keep_alive: bool) {
        self.status(status, extra, keep_alive);
        for part in ["Content-Type: ", kind, "\r\nContent-Length: "] {
            self.output.extend_from_slice(part.as_bytes());
        }
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = len;
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.output.extend_from_slice(&digits[at..]);
        self.output.extend_from_slice(b"\r\n\r\n");
    }

    /// What every answer begins with. `extra` has headers, each with the end of its line.
    fn status(&mut self, status: &str, extra: &str, keep_alive: bool) {
        let connection = match (keep_alive, self.is_1_1) {
            (true, true) => "",
            (true, false) => "Connection: keep-alive\r\n",
            (false, _) => "Connection: close\r\n",
        };
        for part in ["HTTP/1.1 ", status, "\r\nDate: ", &self.now.text, "\r\n", extra, connection] {
            self.output.extend_from_slice(part.as_bytes());
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = || {
            let written = (&self.stream).write(&self.output)?;
            if written < self.output.len() {
                // It takes its answers slowly, and could do so byte by byte, for ever.
                self.stream.set_write_deadline(Some(Instant::now() + self.server.limits.write));
                (&self.stream).write_all(&self.output[written..])?;
                self.stream.set_write_deadline(None);
            }
            Ok(())
        };
        // Too late for any answer: `TimedOut` is what reading says, to which there is one.
        write().map_err(|error: io::Error| match error.kind() {
            ErrorKind::TimedOut => ErrorKind::ConnectionAborted.into(),
            _ => error,
        })?;
        self.output.clear();
        self.output.shrink_to(2 * OUTPUT_BYTES);
        Ok(())
    }

    fn tell_the_time(&mut self) {
        // Before 1970 the clock is not set.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if unix.as_secs() != self.now.unix.as_secs() {
            self.now.text = date::format(unix.as_secs());
        }
        self.now.unix = unix;
    }

    /// Counts what was answered, for all connections.
    fn count(&mut self) {
        if self.requests > 0 {
            // Relaxed: a number of its own.
            self.server.requests.fetch_add(std::mem::take(&mut self.requests), Ordering::Relaxed);
        }
    }

    fn refuse(&mut self, Refusal(status): Refusal) -> io::Result<()> {
        self.fail(status, "", false, false);
        self.finish()
    }

    /// Ends the connection so that the client gets the last answer. If it is still sending, an
    /// outright close would make the kernel reset the connection and throw the answer away.
    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_deadline(Some(Instant::now() + Duration::from_secs(1)));
        while self.stream.read(&mut self.input[..])? > 0 {}
        Ok(())
    }
}

/// Whether a line ends without CR.
fn has_bare_lf(lines: &[u8]) -> bool {
    lines.split_inclusive(|&byte| byte == b'\n').any(|line| !line.ends_with(b"\r\n"))
}

/// A text in JSON.
fn json(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..=' ' if character != ' ' => json.push_str(&format!("\\u{:04x}", character as u32)),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

//! What the server does without an address: it talks to itself.

use crate::common::{self, SOON};
use crate::files::Files;
use crate::request::HEADERS;
use crate::{GREETING, LIMITS, Limits, Server, date};
use gort::go;
use gort::net::{Shutdown, TcpListener, TcpStream};
use gort::process::{Child, Command, Stdio};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
/// Larger than what the kernel takes for somebody who does not read.
const LARGE: usize = 12 << 20;

pub(crate) fn run() -> io::Result<()> {
    dates()?;
    let directory = Directory::new()?;
    let (greeter, files) = (start(LIMITS, None)?, start(LIMITS, Some(Files::new(directory.0.join("public"))?))?);
    let dialogues = dialogues();
    for (request, want) in &dialogues {
        talk(greeter.address, request, want)?;
    }
    let answers = answers(&directory.0)?;
    for (request, want, body) in &answers {
        answer(files.address, request, want, body)?;
    }
    kept_open(greeter.address)?;
    expect_continue(greeter.address)?;
    let (clients, rounds, depth) = (64, 200, 16);
    let start = Instant::now();
    let address = greeter.address;
    let handles: Vec<_> = (0..clients).map(|_| go!(move || pipeline(address, rounds, depth))).collect();
    for handle in handles {
        handle.join()??;
    }
    let (requests, took) = (clients * rounds * depth, start.elapsed());
    greeter.end()?;
    files.end()?;
    slow_clients(&directory.0)?;
    few_descriptors()?;
    ended_by_a_signal(&directory.0)?;
    println!(
        "http: {} dialogues and {} files right; {requests} pipelined requests on {clients} connections in {took:.1?}; \
         slow clients, too many and a signal survived",
        dialogues.len(),
        answers.len(),
    );
    Ok(())
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

fn ensure(holds: bool, what: &str) -> io::Result<()> {
    if holds { Ok(()) } else { Err(wrong(what)) }
}

/// A server in this program.
struct Running {
    address: SocketAddr,
    server: Arc<Server>,
    serving: gort::JoinHandle<()>,
}

fn start(limits: Limits, files: Option<Files>) -> io::Result<Running> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (server, ctx) = Server::new(limits, files);
    let theirs = server.clone();
    Ok(Running { address, server, serving: go!("server", move || theirs.serve(&listener, &ctx)) })
}

impl Running {
    /// Ends it. Idle clients see the end; nobody is left.
    fn end(self) -> io::Result<()> {
        let mut idle = client(self.address)?;
        idle.write_all(GET.as_bytes())?;
        ensure(idle.read(&mut [0; 4096])? > 0, "no answer")?;
        self.server.end.cancel();
        ensure(idle.read(&mut [0])? == 0, "the end says something to an idle client")?;
        self.serving.join()?;
        ensure(open(&self.server) == 0, "connections are left")
    }
}

/// How many connections a server has.
fn open(server: &Server) -> u64 {
    use std::sync::atomic::Ordering::Relaxed;
    // Relaxed: numbers of their own.
    let ended = server.ended.load(Relaxed);
    server.accepted.load(Relaxed) - ended
}

fn client(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /api/echo HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n{body}")
}

/// What clients say, and the statuses that they should get, before the server hangs up.
fn dialogues() -> Vec<(String, &'static [&'static str])> {
    let head = GET.replace("GET", "HEAD");
    let many = "X: y\r\n".repeat(HEADERS + 1);
    let body = "b".repeat(20_000);
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let tiny = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(200);
    vec![
        (LAST.into(), &["200"]),
        (format!("{GET}{GET}{GET}{LAST}"), &["200", "200", "200", "200"]),
        (format!("\r\n{head}{LAST}"), &["200", "200"]),
        (format!("{GET}{}", LAST.replace("close", "Foo , CLOSE")), &["200", "200"]),
        // Without keep-alive, HTTP/1.0 ends after each request.
        ("GET / HTTP/1.0\r\n\r\n".into(), &["200"]),
        (format!("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n{LAST}"), &["200", "200"]),
        // A query, and as a proxy is asked.
        (format!("{}{LAST}", GET.replace("GET /", "GET /?a=b/c")), &["200", "200"]),
        (format!("{}{LAST}", GET.replace("GET /", "GET http://test/")), &["200", "200"]),
        (format!("{}{LAST}", GET.replace("GET /", "GET http://test?a")), &["200", "200"]),
        // Bodies are counted, also where they look like requests or are longer than the buffer.
        (post("Content-Length: 31", GET) + "!" + LAST, &["200", "200"]),
        (post("Content-Length: 20000", &body) + LAST, &["200", "200"]),
        (post("Content-Length: 2\r\nContent-Length: 2", "ab") + LAST, &["200", "200"]),
        (post("Content-Length: 0\r\nExpect: 100-continue", "") + LAST, &["200", "200"]),
        (GET.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nab") + LAST, &["200", "200"]),
        // Chunks, with all that may be between them.
        (chunked("0\r\n\r\n") + LAST, &["200", "200"]),
        (chunked("5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: t\r\nB: c\r\n\r\n") + LAST, &["200", "200"]),
        (chunked("0;\tx = y\r\n\r\n") + LAST, &["200", "200"]),
        (chunked(&format!("4e20\r\n{body}\r\n0\r\n\r\n")) + LAST, &["200", "200"]),
        (chunked(&("1\r\nx\r\n".repeat(5000) + "0\r\n\r\n")) + LAST, &["200", "200"]),
        // What there is not.
        (format!("{}{LAST}", GET.replace("GET /", "GET /nothing")), &["404", "200"]),
        (format!("{}{LAST}", GET.replace("GET /", "PUT /nothing")), &["404", "200"]),
        (format!("{}{LAST}", GET.replace("GET", "PUT")), &["405", "200"]),
        (format!("{}{LAST}", GET.replace("GET /", "GET /api/echo")), &["405", "200"]),
        (post("Content-Length: 2", "ab").replace("echo", "time") + LAST, &["405", "200"]),
        (format!("{}{LAST}", GET.replace("GET /", "DELETE /api/time")), &["405", "200"]),
        // What is refused, with the good before it answered and the rest ignored.
        (format!("{GET}what is this?\r\n\r\n{GET}"), &["200", "400"]),
        ("GET / HTTP/1.1\r\n\r\n".into(), &["400"]),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), &["400"]),
        ("GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n".into(), &["400"]),
        ("GET / HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n".into(), &["400"]),
        ("GET / HTTP/2.0\r\nHost: test\r\n\r\n".into(), &["505"]),
        (format!("{GET}GET / HTTP/1.2\r\n\r\n"), &["200", "505"]),
        ("BREW / HTTP/1.1\r\nHost: pot\r\n\r\n".into(), &["501"]),
        (post("Content-Length: +1", "a"), &["400"]),
        (post("Content-Length: 1\r\nContent-Length: 2", "ab"), &["400"]),
        (post("Content-Length: 1048577", &body), &["413"]),
        (post("Content-Length: 99999999999999999999999", ""), &["413"]),
        (chunked("fffffffffffffff\r\n"), &["413"]),
        (chunked(&format!("100000\r\n{}\r\n1\r\n", "b".repeat(1 << 20))), &["413"]),
        (chunked("x\r\n"), &["400"]),
        (chunked("-1\r\n"), &["400"]),
        (chunked("2\r\nabc\r\n0\r\n\r\n"), &["400"]),
        // What others may see another request in, because lines end elsewhere for them, or numbers are none.
        (chunked("2;\nxx\r\n45\r\n0\r\n\r\n"), &["400"]),
        (chunked("0;\u{1}\r\n\r\n"), &["400"]),
        (chunked("\r\n\r\n"), &["400"]),
        (chunked(" \r\n\r\n"), &["400"]),
        (chunked(";x\r\n\r\n"), &["400"]),
        (chunked("2\nab\n0\n\n"), &["400"]),
        (chunked("0\r\nX: y\nZ: a\r\n\r\n"), &["400"]),
        (chunked("0\r\n\n\r\n\r\n"), &["400"]),
        (chunked("0\r\nX y\r\n\r\n"), &["400"]),
        (chunked(&format!("0\r\n{many}\r\n")), &["431"]),
        (chunked(&tiny), &["400"]),
        (chunked(&format!("0\r\n{}", "X: y\r\n".repeat(2000))), &["431"]),
        (chunked("5\r\nfour"), &["400"]),
        (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), &["501"]),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), &["400"]),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"), &["400"]),
        (chunked("0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"), &["400"]),
        (post("Content-Length: 1\r\nExpect: a miracle", ""), &["417"]),
        (post("Content-Length: 1\r\nExpect: 100-continue", "").replace("echo", "time"), &["405"]),
        (post(&format!("X: {body}"), ""), &["431"]),
        (post(&format!("{many}X: y"), ""), &["431"]),
        // Cut off in the head, and in the body.
        ("GET / HTTP/1.1\r\nHo".into(), &["400"]),
        (post("Content-Length: 5", "four"), &["400"]),
    ]
}

/// Checks the statuses of the answers to `request`.
fn talk(address: SocketAddr, request: &str, want: &[&str]) -> io::Result<()> {
    common::talk(address, request.as_bytes(), |answers| {
        let got = statuses(&String::from_utf8_lossy(answers));
        if got == want { Ok(()) } else { Err(format!("{got:?} instead of {want:?}")) }
    })
}

/// The statuses of a row of answers.
fn statuses(text: &str) -> Vec<String> {
    text.match_indices("HTTP/1.1 ").map(|(at, found)| text[at + found.len()..][..3].to_owned()).collect()
}

/// What is served, and beside it what is not; removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Directory> {
        use std::os::unix::fs::symlink;
        let place = std::env::temp_dir().join(format!("gort-http-{}", std::process::id()));
        std::fs::create_dir_all(place.join("public/sub/index.html"))?;
        std::fs::create_dir_all(place.join("public/with"))?;
        let directory = Directory(place);
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.0.join(name), bytes);
        write("secret.txt", b"secret")?;
        write("public/index.html", b"<p>index")?;
        write("public/with/index.html", b"<p>with")?;
        write("public/a.txt", b"0123456789")?;
        write("public/empty.json", b"")?;
        write("public/a b%.css", b"spaces")?;
        write("public/..odd", b"odd")?;
        write("public/large.bin", &large())?;
        symlink("../secret.txt", directory.0.join("public/out.txt"))?;
        symlink("..", directory.0.join("public/up"))?;
        symlink("a.txt", directory.0.join("public/in.txt"))?;
        symlink("round", directory.0.join("public/round"))?;
        drop(std::os::unix::net::UnixListener::bind(directory.0.join("public/socket"))?);
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("http: {}: {error}", self.0.display());
        }
    }
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|i| ((i * 7919) >> 7) as u8).collect()
}

type Wanted = (String, Vec<String>, Vec<u8>);

/// Requests for files; what is to be found in the head of the answer, its status first; and the body.
fn answers(directory: &Path) -> io::Result<Vec<Wanted>> {
    let metadata = std::fs::metadata(directory.join("public/a.txt"))?;
    let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    let (date, before) = (date::format(modified.as_secs()), date::format(modified.as_secs() - 1));
    let (tag, large) = (format!("\"{:x}-a\"", modified.as_nanos()), large());
    let mut all = Vec::new();
    let mut ask = |path: &str, headers: &str, want: &[&str], body: &[u8]| {
        let method = if headers.starts_with("HEAD") { "HEAD" } else { "GET" };
        let headers = headers.trim_start_matches("HEAD");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
        all.push((request, want.iter().map(|text| text.to_string()).collect(), body.to_vec()));
    };
    let whole = ["200 OK", "Content-Length: 10\r\n", "Accept-Ranges: bytes\r\n"];
    let missing = ["404 Not Found"];
    let nothing = b"404 Not Found".as_slice();
    ask("/", "", &["200 OK", "Content-Type: text/html; charset=utf-8\r\n"], b"<p>index");
    ask("/with/", "", &["200 OK"], b"<p>with");
    ask("/with", "", &["301 Moved", "Location: /with/\r\n"], b"301 Moved Permanently");
    ask("//with", "", &["301 Moved", "Location: /with/\r\n"], b"301 Moved Permanently");
    ask("/sub/", "", &missing, nothing);
    ask("/a.txt", "", &whole, b"0123456789");
    ask("/a.txt?version=2", "", &whole, b"0123456789");
    ask("/%61%2Etxt", "", &whole, b"0123456789");
    ask("/in.txt", "", &whole, b"0123456789");
    ask("/a.txt", "HEAD", &[whole[0], whole[1], &format!("Last-Modified: {date}"), &format!("ETag: {tag}")], b"");
    ask("/a%20b%25.css", "", &["200 OK", "Content-Type: text/css"], b"spaces");
    ask("/..odd", "", &["200 OK", "Content-Type: application/octet-stream"], b"odd");
    ask("/empty.json", "", &["200 OK", "Content-Length: 0\r\n", "Content-Type: application/json"], b"");
    ask("/large.bin", "", &["200 OK", &format!("Content-Length: {LARGE}\r\n")], &large);
    ask("/large.bin", "HEAD", &["200 OK", &format!("Content-Length: {LARGE}\r\n")], b"");
    // What is not there, or not to be had.
    for path in [
        "/b.txt",
        "/out.txt",
        "/up/secret.txt",
        "/up/",
        "/round",
        "/socket",
        "/a.txt/",
        "/a.txt/b",
        "/index.html/",
        "/with/index.html/",
        "/%ff",
    ] {
        ask(path, "", &missing, nothing);
    }
    for path in [
        "/../secret.txt",
        "/with/../a.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/./a.txt",
        "/a%2",
        "/a%zz",
        "/%00",
    ] {
        ask(path, "", &["400 Bad Request"], b"400 Bad Request");
    }
    // What the client has.
    let known = ["304 Not Modified", &format!("ETag: {tag}\r\n"), &format!("Last-Modified: {date}\r\n")];
    ask("/a.txt", &format!("If-Modified-Since: {date}\r\n"), &known, b"");
    ask("/a.txt", &format!("If-Modified-Since: {before}\r\n"), &whole, b"0123456789");
    ask("/a.txt", "If-Modified-Since: yesterday\r\n", &whole, b"0123456789");
    ask("/a.txt", &format!("If-None-Match: \"x\", W/{tag}\r\n"), &known, b"");
    ask("/a.txt", "If-None-Match: *\r\n", &known, b"");
    ask("/a.txt", &format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"), &whole, b"0123456789");
    // What the client has not, or has no more; before all else.
    let changed = ["412 Precondition Failed", &format!("ETag: {tag}\r\n"), &format!("Last-Modified: {date}\r\n")];
    for conditions in [
        "If-Match: \"x\"\r\n".to_owned(),
        // Of a weak tag it is not known whether each byte is the same.
        format!("If-Match: W/{tag}\r\n"),
        format!("If-Match: \"x\"\r\nIf-Unmodified-Since: {date}\r\n"),
        format!("If-Match: \"x\"\r\nIf-None-Match: {tag}\r\n"),
        format!("If-Match: \"x\"\r\nRange: bytes=2-4\r\nIf-Range: {tag}\r\n"),
        format!("If-Unmodified-Since: {before}\r\n"),
    ] {
        ask("/a.txt", &conditions, &changed, b"412 Precondition Failed");
        ask("/a.txt", &format!("HEAD{conditions}"), &changed, b"");
    }
    for conditions in [
        "If-Match: *\r\n".to_owned(),
        format!("If-Match: \"x\" , {tag}\r\nIf-Unmodified-Since: {before}\r\n"),
        format!("If-Unmodified-Since: {date}\r\n"),
        "If-Unmodified-Since: yesterday\r\n".to_owned(),
    ] {
        ask("/a.txt", &conditions, &whole, b"0123456789");
        ask("/a.txt", &format!("{conditions}If-None-Match: {tag}\r\n"), &known, b"");
    }
    // Parts.
    for (range, from, to) in
        [("2-4", 2, 5), ("0-0", 0, 1), ("7-", 7, 10), ("-3", 7, 10), ("-99", 0, 10), ("5-99999999999999999999", 5, 10)]
    {
        let part = [
            "206 Partial Content",
            &format!("Content-Range: bytes {from}-{}/10\r\n", to - 1),
            &format!("Content-Length: {}\r\n", to - from),
        ];
        ask("/a.txt", &format!("Range: bytes={range}\r\n"), &part, &b"0123456789"[from..to]);
    }
    for range in ["10-", "11-12", "-0", "99999999999999999999-"] {
        let none = ["416 Range Not Satisfiable", "Content-Range: bytes */10\r\n"];
        ask("/a.txt", &format!("Range: bytes={range}\r\n"), &none, b"416 Range Not Satisfiable");
    }
    for range in ["bytes=4-2", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes=-", "bytes=--1"] {
        ask("/a.txt", &format!("Range: {range}\r\n"), &whole, b"0123456789");
    }
    let part = ["206 Partial Content", "Content-Length: 3\r\n"];
    for validator in [&tag, &date] {
        ask("/a.txt", &format!("If-Range: {validator}\r\nRange: bytes=2-4\r\n"), &part, b"234");
    }
    for validator in ["\"x\"", &before] {
        ask("/a.txt", &format!("If-Range: {validator}\r\nRange: bytes=2-4\r\n"), &whole, b"0123456789");
    }
    let (from, to) = (1_000_001, LARGE - 77);
    let part = ["206 Partial Content", &format!("Content-Range: bytes {from}-{}/{LARGE}\r\n", to - 1)];
    ask("/large.bin", &format!("Range: bytes={from}-{}\r\n", to - 1), &part, &large[from..to]);
    // Of GET only.
    ask("/a.txt", "HEADRange: bytes=2-4\r\n", &whole, b"");
    ask("/a.txt", "HEADRange: bytes=10-\r\n", &whole, b"");
    // The API is in front of the files.
    ask("/api/time", "HEAD", &["200 OK", "Content-Type: application/json\r\n"], b"");
    all.push((
        post("Connection: close\r\nTransfer-Encoding: chunked", "4\r\n\"a\\\n\r\n3\r\n\u{1}\u{e4}\r\n0\r\n\r\n"),
        vec!["200 OK".into()],
        "{\"length\":7,\"body\":\"\\\"a\\\\\\n\\u0001\u{e4}\"}\n".into(),
    ));
    Ok(all)
}

/// Checks the one answer to `request`.
fn answer(address: SocketAddr, request: &str, want: &[String], body: &[u8]) -> io::Result<()> {
    common::talk(address, request.as_bytes(), |answer| {
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n").ok_or("no head")? + 4;
        let head = String::from_utf8_lossy(&answer[..end]);
        let missing = want.iter().find(|text| !head.contains(*text));
        match missing {
            _ if !head.contains("\r\nConnection: close\r\n") || !head.contains("\r\nDate: ") => {
                Err("what all have is not in the head".into())
            }
            Some(text) => Err(format!("no {text:?}")),
            None if answer[end..] != *body => Err(format!("another body than wanted, of {} bytes", answer.len() - end)),
            None => Ok(()),
        }
    })
}

/// A client of HTTP/1.0 is told that the connection goes on, which others take for granted.
fn kept_open(address: SocketAddr) -> io::Result<()> {
    let requests = format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{GET}{LAST}");
    common::talk(address, requests.as_bytes(), |answers| {
        let text = String::from_utf8_lossy(answers);
        let said = |answer: &str| answer.lines().find_map(|line| line.strip_prefix("Connection: ")).map(str::to_owned);
        let said: Vec<_> = text.split("HTTP/1.1 ").skip(1).map(said).collect();
        let want = [Some("keep-alive".to_owned()), None, Some("close".to_owned())];
        if said == want { Ok(()) } else { Err(format!("of the connection it says {said:?}")) }
    })
}

/// A client that waits to be told to go on is told so, once, and not before.
fn expect_continue(address: SocketAddr) -> io::Result<()> {
    let mut stream = client(address)?;
    for body in ["Content-Length: 4\r\n\r\n|four", "Transfer-Encoding: chunked\r\n\r\n|4\r\nfour\r\n0\r\n\r\n"] {
        let (headers, body) = body.split_once('|').unwrap_or_default();
        stream.write_all(
            format!("POST /api/echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n{headers}").as_bytes(),
        )?;
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut got = vec![0; go_on.len()];
        stream.read_exact(&mut got)?;
        ensure(got == go_on, "no permission to go on")?;
        stream.write_all(body.as_bytes())?;
        let mut got = [0; 4096];
        let len = stream.read(&mut got)?;
        let text = String::from_utf8_lossy(&got[..len]);
        ensure(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("\"body\":\"four\"}\n"), &text)?;
    }
    Ok(())
}

/// Sends many requests at once, again and again, and checks every answer.
fn pipeline(address: SocketAddr, rounds: usize, depth: usize) -> io::Result<()> {
    let mut stream = client(address)?;
    let length = GREETING.len();
    let (before, after) = (
        "HTTP/1.1 200 OK\r\nDate: ",
        format!("\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{GREETING}"),
    );
    let size = before.len() + date::format(0).len() + after.len();
    let requests = GET.repeat(depth);
    let mut got = vec![0; size * depth];
    for _ in 0..rounds {
        stream.write_all(requests.as_bytes())?;
        stream.read_exact(&mut got)?;
        let right = |answer: &[u8]| answer.starts_with(before.as_bytes()) && answer.ends_with(after.as_bytes());
        if !got.chunks(size).all(right) {
            return Err(wrong(format!("a wrong answer: {:?}", String::from_utf8_lossy(&got))));
        }
    }
    Ok(())
}

/// Those who keep a connection without getting on lose it, and others are served meanwhile.
fn slow_clients(directory: &Path) -> io::Result<()> {
    let short = Duration::from_millis(250);
    let limits = Limits { idle: 2 * short, head: short, body: short, write: short, grace: SOON };
    let running = start(limits, Some(Files::new(directory.join("public"))?))?;
    let address = running.address;
    // A byte now and then, of a head, of a body, of a chunk; and of a head behind a whole request.
    let drip = |before: String, status: &'static [&'static str]| {
        go!(move || -> io::Result<()> {
            let mut stream = client(address)?;
            stream.write_all(before.as_bytes())?;
            let mut sender = stream.try_clone()?;
            let sending = go!(move || {
                // Until the connection ends.
                while sender.write_all(b"1").is_ok() {
                    gort::time::sleep(Duration::from_millis(10));
                }
            });
            let begin = Instant::now();
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            // The server reads on for a second, so that the answer is not lost.
            let took = begin.elapsed();
            stream.shutdown(Shutdown::Both).or_else(|error| match error.kind() {
                io::ErrorKind::NotConnected => Ok(()),
                _ => Err(error),
            })?;
            sending.join()?;
            ensure(statuses(&text) == status, &format!("a slow client got {text:?}"))?;
            ensure(took >= short && took < SOON, &format!("a slow client was stopped after {took:?}"))
        })
    };
    let clients = [
        drip("GET / HTTP/1.1\r\nX: ".into(), &["408"]),
        drip(format!("{GET}GET / HTTP/1.1\r\nX: "), &["200", "408"]),
        drip(post("Content-Length: 100000", ""), &["408"]),
        drip(post("Transfer-Encoding: chunked", "fffff\r\n"), &["408"]),
    ];
    // One that says nothing, and one that said something once, get no answer.
    let mut silent = [client(address)?, client(address)?];
    silent[1].write_all(GET.as_bytes())?;
    // Some that do not read what they have asked for.
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut stream = client(address)?;
        stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n")?;
        readers.push(stream);
    }
    // And one that asks and asks for answers that are gathered.
    let mut stream = client(address)?;
    stream.set_write_timeout(Some(4 * short))?;
    let flood = go!(move || while stream.write_all(GET.as_bytes()).is_ok() {});
    let begin = Instant::now();
    let mut other = client(address)?;
    while begin.elapsed() < 2 * short {
        other.write_all(GET.as_bytes())?;
        ensure(other.read(&mut [0; 4096])? > 0, "others wait for the slow ones")?;
    }
    drop(other);
    for client in clients {
        client.join()??;
    }
    for (stream, has_answer) in silent.iter_mut().zip([false, true]) {
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure(statuses(&text).len() == usize::from(has_answer), "an idle client gets an answer")?;
    }
    flood.join()?;
    let begin = Instant::now();
    while open(&running.server) > 0 {
        ensure(begin.elapsed() < SOON, "slow clients keep their connections")?;
        gort::time::sleep(Duration::from_millis(5));
    }
    // A part of it has come; not all.
    let mut got = Vec::new();
    let end = readers[0].read_to_end(&mut got);
    ensure(end.is_err() || got.len() < LARGE, "who did not read got all")?;
    running.end()
}

/// This program as a server of its own, which `ulimit` allows so many descriptors.
fn child(descriptors: u32, directory: &Path) -> io::Result<(Child, SocketAddr, BufReader<gort::process::ChildStdout>)> {
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" 127.0.0.1:0 \"$1\"")])
        .arg(std::env::current_exe()?)
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut output = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let address =
        line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).and_then(|text| text.parse().ok());
    Ok((child, address.ok_or_else(|| wrong(format!("the child says {line:?}")))?, output))
}

/// Sends SIGTERM and waits for the end, which has to be a good one.
fn terminate(mut child: Child, mut output: impl Read, requests: usize) -> io::Result<()> {
    // SAFETY: no memory; the child is ours, and has not been waited for.
    ensure(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) } == 0, "no signal")?;
    let status = child.wait_timeout(SOON)?.ok_or_else(|| wrong("a signal does not end it"))?;
    let mut text = String::new();
    output.read_to_string(&mut text)?;
    ensure(status.success() && text.ends_with(&format!("after {requests} requests\n")), &format!("{status}: {text:?}"))
}

/// More clients than there are descriptors: some wait, all are served.
fn few_descriptors() -> io::Result<()> {
    let (child, address, output) = child(40, Path::new("/"))?;
    const CLIENTS: usize = 60;
    let request = "GET /api/time HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    // All of them are connected, as far as the kernel is concerned, and say nothing yet.
    let mut streams = (0..CLIENTS).map(|_| client(address)).collect::<io::Result<Vec<_>>>()?;
    gort::time::sleep(Duration::from_millis(50));
    for stream in &mut streams {
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure(statuses(&text) == ["200"], &format!("one of many got {text:?}"))?;
    }
    drop(streams);
    terminate(child, output, CLIENTS)
}

/// Who is in the middle of a request when the signal comes gets an answer.
fn ended_by_a_signal(directory: &Path) -> io::Result<()> {
    let (mut child, address, mut output) = child(1000, &directory.join("public"))?;
    let mut streams = (0..5).map(|_| client(address)).collect::<io::Result<Vec<_>>>()?;
    let parts = [
        ("GET /a.txt HTTP/1.1\r\nHo", "st: test\r\n\r\n".to_owned(), "0123456789"),
        ("POST /api/echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nfo", "ur".to_owned(), "\"four\"}\n"),
    ];
    for (stream, part) in streams.iter_mut().zip(&parts) {
        stream.write_all(part.0.as_bytes())?;
    }
    // One is being sent a file, and one is between requests.
    streams[2].write_all(b"GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n")?;
    streams[2].read_exact(&mut [0; 100_000])?;
    streams[3].write_all(b"GET /a.txt HTTP/1.1\r\nHost: test\r\n\r\n")?;
    ensure(streams[3].read(&mut [0; 4096])? > 0, "no answer")?;
    // Those parts have come, for all that the server has answered since.
    gort::time::sleep(Duration::from_millis(20));
    // SAFETY: as in `terminate`.
    ensure(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) } == 0, "no signal")?;
    ensure(streams[3].read(&mut [0])? == 0 && streams[4].read(&mut [0])? == 0, "idle connections stay")?;
    ensure(TcpStream::connect(address).is_err() || child.try_wait()?.is_none(), "it is gone with requests under way")?;
    for (stream, part) in streams.iter_mut().zip(&parts) {
        stream.write_all(part.1.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let right = statuses(&text) == ["200"] && text.contains("\r\nConnection: close\r\n") && text.ends_with(part.2);
        ensure(right, &format!("in the middle of a request, and got {text:?}"))?;
    }
    let mut rest = Vec::new();
    streams[2].read_to_end(&mut rest)?;
    ensure(rest.len() > LARGE - 100_000, "a file is cut off")?;
    let status = child.wait_timeout(SOON)?.ok_or_else(|| wrong("a signal does not end it"))?;
    let mut text = String::new();
    output.read_to_string(&mut text)?;
    ensure(status.success() && text.ends_with("after 4 requests\n"), &format!("{status}: {text:?}"))
}

fn dates() -> io::Result<()> {
    let known = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
    ];
    for (unix, text) in known {
        ensure(date::format(unix) == text, &format!("{unix} is {}", date::format(unix)))?;
    }
    for unix in (0..253_402_300_799).step_by(86_399 * 7) {
        let text = date::format(unix);
        ensure(date::parse(text.as_bytes()) == Some(unix), &format!("{text} is {:?}", date::parse(text.as_bytes())))?;
    }
    for text in [
        "",
        "Sun, 06 Nov 1994 08:49:37",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1999 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
    ] {
        ensure(date::parse(text.as_bytes()).is_none(), &format!("{text:?} is a date"))?;
    }
    Ok(())
}

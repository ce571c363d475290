//! Servers on loopback. Each prints a line when it listens and then serves until it is killed.

use crate::fail;
use gort::go;
use gort::net::{TcpListener, TcpStream};
use std::io::{Read, Write};

fn listen(workload: &str, port: &str) -> TcpListener {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"));
    let listener = listener.unwrap_or_else(|error| fail(workload, &error.to_string()));
    println!("ready");
    listener
}

/// Writes back what comes.
pub(crate) fn echo(port: &str) {
    for stream in listen("serve-echo", port).incoming() {
        let mut stream = stream.unwrap_or_else(|error| fail("serve-echo", &error.to_string()));
        drop(go!(move || {
            // An old kernel's refusal costs latency, nothing else.
            let _ = stream.set_nodelay(true);
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
        }));
    }
}

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

/// Greets. As much of HTTP as the Rust peers do: see examples/http.rs for a proper server.
pub(crate) fn http(port: &str) {
    for stream in listen("serve-http", port).incoming() {
        let stream = stream.unwrap_or_else(|error| fail("serve-http", &error.to_string()));
        drop(go!(move || converse(stream)));
    }
}

fn converse(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; 4096];
    let mut len = 0;
    let mut out = Vec::with_capacity(4096);
    while let Ok(read @ 1..) = stream.read(&mut buffer[len..]) {
        len += read;
        let mut at = 0;
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            match httparse::Request::new(&mut headers).parse(&buffer[at..len]) {
                Ok(httparse::Status::Complete(parsed)) => {
                    at += parsed;
                    out.extend_from_slice(RESPONSE);
                }
                Ok(httparse::Status::Partial) => break,
                Err(_) => return,
            }
        }
        buffer.copy_within(at..len, 0);
        len -= at;
        if !out.is_empty() {
            if stream.write_all(&out).is_err() {
                return;
            }
            out.clear();
        }
    }
}

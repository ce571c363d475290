//! A TCP echo server: one coroutine for each connection, in blocking style.
//!
//! ```text
//! cargo run --release --example echo -- 127.0.0.1:7777     serves until it is killed
//! cargo run --release --example echo                       tests itself over loopback
//! ```

#[path = "common/mod.rs"]
mod common;

use gort::net::{Shutdown, TcpListener, TcpStream};
use gort::{Builder, go};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    gort::run(|| match std::env::args().nth(1) {
        Some(address) => {
            let listener = TcpListener::bind(&*address)?;
            println!("echo: listening on {}", listener.local_addr()?);
            serve(&listener)
        }
        None => test(),
    })
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let begun = listener.accept().and_then(|(stream, peer)| {
            Builder::new().spawn(move || {
                if let Err(error) = echo(stream) {
                    eprintln!("echo: {peer}: {error}");
                }
            })
        });
        // A client that has gone again, no descriptor left, or no memory: the others go on.
        if let Err(error) = begun {
            eprintln!("echo: accept: {error}");
            gort::time::sleep(Duration::from_millis(10));
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    // Answers leave at once, however small.
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// Serves to two hundred clients of its own.
fn test() -> io::Result<()> {
    const CLIENTS: usize = 200;
    const MESSAGES: usize = 50;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // The end of the main coroutine ends the server too.
    drop(go!("server", move || serve(&listener)));
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS).map(|number| go!(move || client(address, number, MESSAGES))).collect();
    let mut bytes = 0;
    for client in clients {
        bytes += client.join()??;
    }
    println!(
        "echo: {CLIENTS} clients, {} messages, {bytes} bytes echoed in {:.1?}",
        CLIENTS * MESSAGES,
        start.elapsed()
    );
    common::without_stacks(|| client(address, 0, 1).map(drop))
}

/// Sends messages of many sizes and checks what comes back. Returns how many bytes that were.
fn client(address: SocketAddr, number: usize, messages: usize) -> io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut bytes = 0;
    for i in 0..messages {
        let sent: Vec<u8> = (0..1 + (number * 37 + i * 211) % 9000).map(|at| (at + number + i) as u8).collect();
        stream.write_all(&sent)?;
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received)?;
        if received != sent {
            return Err(io::Error::other(format!("client {number}: message {i} came back changed")));
        }
        bytes += sent.len();
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0; 1])? {
        0 => Ok(bytes),
        _ => Err(io::Error::other(format!("client {number}: more came back than was sent"))),
    }
}

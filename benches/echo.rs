//! One request to a TCP echo server and its answer, with 64 connections on loopback, each with one
//! request under way. Server and clients share the runtime.

mod common;

use common::{entry, group, procs};
use criterion::{Criterion, criterion_group, criterion_main};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECTIONS: u64 = 64;
const MESSAGE: [u8; 64] = [7; 64];

/// The server's side of a connection, in blocking style.
fn serve(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// The client's side.
fn request(mut stream: impl Read + Write, times: u64) -> io::Result<()> {
    let mut answer = [0; MESSAGE.len()];
    for _ in 0..times {
        stream.write_all(&MESSAGE)?;
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, MESSAGE);
    }
    Ok(())
}

/// The same program for everything that is shaped like std. `$spawn` starts something that can
/// be joined.
macro_rules! blocking_style {
    ($net:ident, $spawn:expr, $requests:expr) => {{
        let listener = $net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut servers = Vec::new();
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = $net::TcpStream::connect(address).unwrap();
            let (server, _) = listener.accept().unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            servers.push($spawn(move || serve(server)));
            streams.push(client);
        }
        let each = $requests / CONNECTIONS;
        let start = Instant::now();
        let clients: Vec<_> = streams.into_iter().map(|stream| $spawn(move || request(stream, each))).collect();
        clients.into_iter().for_each(|client| client.join().unwrap().unwrap());
        let elapsed = start.elapsed();
        servers.into_iter().for_each(|server| server.join().unwrap().unwrap());
        elapsed
    }};
}

fn gort() -> impl FnMut(u64) -> Duration {
    use gort::net;
    let rt = common::gort(procs());
    move |requests| rt.run(|| blocking_style!(net, gort::spawn, requests))
}

fn may(requests: u64) -> Duration {
    use may::net;
    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> may::coroutine::JoinHandle<T> {
        may::go!(f)
    }
    common::may(procs(), move || blocking_style!(net, spawn, requests))
}

fn threads(requests: u64) -> Duration {
    use std::net;
    blocking_style!(net, std::thread::spawn, requests)
}

async fn tokio_echo(requests: u64) -> io::Result<Duration> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = tokio::net::TcpStream::connect(address).await?;
        let (mut server, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = server.read(&mut buffer).await {
                if server.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        });
        streams.push(client);
    }
    let each = requests / CONNECTIONS;
    let start = Instant::now();
    let clients: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(tokio_request(stream, each))).collect();
    for client in clients {
        client.await??;
    }
    Ok(start.elapsed())
}

async fn tokio_request(mut stream: tokio::net::TcpStream, times: u64) -> io::Result<()> {
    let mut answer = [0; MESSAGE.len()];
    for _ in 0..times {
        stream.write_all(&MESSAGE).await?;
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, MESSAGE);
    }
    Ok(())
}

fn echo(criterion: &mut Criterion) {
    let mut group = group(criterion, "echo");
    entry(&mut group, "gort", 100 * CONNECTIONS, gort());
    let rt = common::tokio(procs());
    entry(&mut group, "tokio", 100 * CONNECTIONS, |requests| {
        rt.block_on(async { tokio::spawn(tokio_echo(requests)).await.unwrap().unwrap() })
    });
    entry(&mut group, "may", 100 * CONNECTIONS, may);
    entry(&mut group, "threads", 100 * CONNECTIONS, threads);
}

criterion_group!(benches, echo);
criterion_main!(benches);

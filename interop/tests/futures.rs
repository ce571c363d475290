//! `async` code that is written for `futures_io`, over our streams, on an executor of somebody else's.

use futures_lite::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt, future, io::BufReader};
use gort::net::{TcpListener, TcpStream};

/// The executor runs in coroutines, by `block_on`, and its tasks wait in our netpoller's thread.
#[test]
fn an_executor_within_coroutines() {
    gort::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..20)
            .map(|number| {
                gort::go!(move || {
                    use std::io::{Read, Write};
                    let mut stream = TcpStream::connect(address).unwrap();
                    Write::write_all(&mut stream, format!("one {number}\ntwo\nthree\n").as_bytes()).unwrap();
                    stream.shutdown(gort::net::Shutdown::Write).unwrap();
                    let mut text = String::new();
                    Read::read_to_string(&mut stream, &mut text).unwrap();
                    assert_eq!(text, format!("ONE {number}\nTWO\nTHREE\n"));
                })
            })
            .collect();
        let executor = async_executor::LocalExecutor::new();
        let sessions: Vec<_> = (0..20)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                executor.spawn(async move {
                    let mut lines = BufReader::new(&stream).lines();
                    let mut writer = &stream;
                    while let Some(line) = lines.next().await {
                        let line = line.unwrap().to_uppercase() + "\n";
                        AsyncWriteExt::write_all(&mut writer, line.as_bytes()).await.unwrap();
                    }
                    writer.close().await.unwrap();
                })
            })
            .collect();
        gort::future::block_on(executor.run(async {
            for session in sessions {
                session.await;
            }
        }));
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

/// A chain of adapters.
#[test]
fn adapters_of_futures_lite() {
    let (mut near, far) = gort::net::UnixStream::pair().unwrap();
    let writes = async move {
        AsyncWriteExt::write_all(&mut near, &[7; 300_000]).await.unwrap();
    };
    let reads = async move {
        let mut got = Vec::new();
        AsyncReadExt::take(far, 200_000).read_to_end(&mut got).await.unwrap();
        got.len()
    };
    // The writer is left waiting, and dropped.
    let count = future::block_on(future::or(reads, async {
        writes.await;
        future::pending().await
    }));
    assert_eq!(count, 200_000);
}

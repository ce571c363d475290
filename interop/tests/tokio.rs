//! Crates that need tokio: its runtime runs beside ours, does what waits for its sockets and timers, and coroutines wait for that.

use gort::future::block_on;
use gort::go;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

static TOKIO: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

#[test]
fn coroutines_wait_for_tasks() {
    gort::run(|| {
        let address = block_on(TOKIO.spawn(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = stream.split();
                        tokio::io::copy(&mut reader, &mut writer).await
                    });
                }
            });
            address
        }))
        .unwrap();
        let clients: Vec<_> = (0..50u64)
            .map(|number| {
                go!(move || {
                    for round in 0..5 {
                        // A client of tokio, awaited by a coroutine.
                        let request = async move {
                            let mut stream = TcpStream::connect(address).await?;
                            stream.write_u64(number * round).await?;
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            stream.read_u64().await
                        };
                        assert_eq!(block_on(TOKIO.handle().spawn(request)).unwrap().unwrap(), number * round);
                    }
                    // And one of ours, which its server cannot tell from that.
                    use std::io::{Read, Write};
                    let mut stream = gort::net::TcpStream::connect(address).unwrap();
                    stream.write_all(&number.to_be_bytes()).unwrap();
                    let mut back = [0; 8];
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(u64::from_be_bytes(back), number);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

/// Channels of tokio need no runtime at all.
#[test]
fn its_channels_between_the_two() {
    gort::run(|| {
        let (ask, mut asked) = tokio::sync::mpsc::channel::<(u64, tokio::sync::oneshot::Sender<u64>)>(4);
        TOKIO.spawn(async move {
            while let Some((number, answer)) = asked.recv().await {
                answer.send(number + 1).unwrap();
            }
        });
        let asks: Vec<_> = (0..50)
            .map(|number| {
                let ask = ask.clone();
                go!(move || {
                    let (answer, answered) = tokio::sync::oneshot::channel();
                    block_on(ask.send((number, answer))).unwrap();
                    assert_eq!(block_on(answered).unwrap(), number + 1);
                })
            })
            .collect();
        asks.into_iter().for_each(|asks| asks.join().unwrap());
    });
}

/// What a task panics with comes to who waits, and a wait that is given up leaves the task alone.
#[test]
fn panics_and_limits_of_time() {
    gort::run(|| {
        let error = block_on(TOKIO.spawn(async { panic!("on purpose") })).map(|()| ()).unwrap_err();
        assert!(error.is_panic());
        let task = TOKIO.spawn(std::future::pending::<()>());
        let abort = task.abort_handle();
        assert!(gort::time::timeout(Duration::from_millis(5), || block_on(task)).is_err());
        assert!(!abort.is_finished());
        abort.abort();
    });
}

//! tungstenite over our streams.

use gort::net::{TcpListener, TcpStream};
use gort::{Builder, go};
use tungstenite::{Message, accept, client};

#[test]
fn many_clients_and_their_server() {
    const CLIENTS: usize = 50;
    gort::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = go!(move || {
            let sessions: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    let echo = move || {
                        let mut socket = accept(stream).unwrap();
                        loop {
                            match socket.read() {
                                Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).unwrap(),
                                Ok(_) => {}
                                Err(tungstenite::Error::ConnectionClosed) => return,
                                Err(error) => panic!("{error}"),
                            }
                        }
                    };
                    Builder::new().stack_size(64 << 10).spawn(echo).unwrap()
                })
                .collect();
            sessions.into_iter().for_each(|session| session.join().unwrap());
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let talks = move || {
                    let stream = TcpStream::connect(address).unwrap();
                    let (mut socket, response) = client(format!("ws://{address}/"), stream).unwrap();
                    assert_eq!(response.status(), 101);
                    for round in 0..10 {
                        let text = format!("client {number}, round {round}");
                        socket.send(Message::text(&text)).unwrap();
                        assert_eq!(socket.read().unwrap(), Message::text(text));
                        let bytes = vec![round as u8; 20_000 + number];
                        socket.send(Message::binary(bytes.clone())).unwrap();
                        assert_eq!(socket.read().unwrap(), Message::binary(bytes));
                    }
                    socket.close(None).unwrap();
                    loop {
                        match socket.read() {
                            Ok(Message::Close(_)) => {}
                            Err(tungstenite::Error::ConnectionClosed) => return,
                            other => panic!("{other:?}"),
                        }
                    }
                };
                Builder::new().stack_size(64 << 10).spawn(talks).unwrap()
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        serving.join().unwrap();
    });
}

//! rustls over our streams, server and client, in coroutines with small stacks.

use gort::net::{Shutdown, TcpListener, TcpStream};
use gort::{Builder, go};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::sync::Arc;

/// What both sides need to trust each other.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let certificate = CertificateDer::from(made.cert);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn echo(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut buffer = vec![0; 8 << 10];
    loop {
        match tls.read(&mut buffer)? {
            0 => {
                tls.conn.send_close_notify();
                tls.flush()?;
                return tls.sock.shutdown(Shutdown::Write);
            }
            count => tls.write_all(&buffer[..count])?,
        }
    }
}

#[test]
fn many_clients_and_their_server() {
    const CLIENTS: usize = 50;
    let (server, client) = configs();
    gort::run(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = go!(move || {
            let sessions: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    let config = server.clone();
                    Builder::new().stack_size(64 << 10).spawn(move || echo(stream, config)).unwrap()
                })
                .collect();
            sessions.into_iter().for_each(|session| session.join().unwrap().unwrap());
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let config = client.clone();
                let talks = move || {
                    let name = ServerName::try_from("localhost").unwrap();
                    let stream = TcpStream::connect(address).unwrap();
                    let mut tls = StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream);
                    // Several TLS records, in several steps.
                    for round in 0..3 {
                        let message: Vec<u8> = (0..50_000).map(|i| (i * 7 + number + round) as u8).collect();
                        let mut got = vec![0; message.len()];
                        for (out, back) in message.chunks(10_000).zip(got.chunks_mut(10_000)) {
                            tls.write_all(out).unwrap();
                            tls.read_exact(back).unwrap();
                        }
                        assert!(got == message);
                    }
                    tls.conn.send_close_notify();
                    tls.flush().unwrap();
                    assert_eq!(tls.read(&mut [0; 8]).unwrap(), 0, "the server has said goodbye");
                };
                Builder::new().stack_size(64 << 10).spawn(talks).unwrap()
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        serving.join().unwrap();
    });
}

/// A certificate that nobody knows is refused, and both learn of it.
#[test]
fn a_stranger_is_refused() {
    let ((server, _), (_, client)) = (configs(), configs());
    gort::run(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = go!(move || echo(listener.accept().unwrap().0, server));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let mut tls = StreamOwned::new(ClientConnection::new(client, name).unwrap(), stream);
        let error = tls.write_all(b"hello").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        drop(tls);
        assert!(serving.join().unwrap().is_err());
    });
}

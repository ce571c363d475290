//! Sockets (here TCP, the others in files of their own): what std's namesakes promise, in coroutines, in plain threads, and in both at once.
//!
//! Nothing here sleeps to let something happen first. Where the order of two steps is left to
//! chance the outcome must be the same either way, and the test is repeated, with pauses of
//! random length, so that it meets both.

#[path = "net/alone.rs"]
mod alone;
#[path = "net/closing.rs"]
mod closing;
mod common;
#[path = "net/differential.rs"]
mod differential;
#[path = "net/ends.rs"]
mod ends;
#[path = "net/limits.rs"]
mod limits;
#[path = "net/sharing.rs"]
mod sharing;
#[path = "net/udp.rs"]
mod udp;
#[path = "net/unix.rs"]
mod unix;

use common::tcp::{LONG, listener, pair};
use common::{PROCS, Random, Task, builder, everywhere, is_nonblocking, pass, wait_until};
use gort::net::{SocketAddr, TcpListener, TcpStream};
use gort::{go, scope, yield_now};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    Task::start_alike(f)
}

/// More than the buffers of a [`narrow_pair`] ever hold: to write it one has to wait.
const MUCH: usize = 1 << 21;

/// Two ends of a connection with buffers of fixed size (below two of the loopback device's
/// packets the kernel sends by fits and starts).
fn narrow_pair() -> (TcpStream, TcpStream) {
    let (client, server) = pair();
    for stream in [&client, &server] {
        let socket = socket2::SockRef::from(stream);
        socket.set_send_buffer_size(1 << 17).unwrap();
        socket.set_recv_buffer_size(1 << 17).unwrap();
    }
    (client, server)
}

/// Reads until the end.
fn drain(mut stream: &TcpStream) -> usize {
    let mut sink = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match stream.read(&mut sink).unwrap() {
            0 => return total,
            count => total += count,
        }
    }
}

/// Passes a short time: nothing, some turns of others, or some computing.
fn pause(random: &mut Random) {
    match random.below(4) {
        0 => {}
        1 => (0..random.below(4)).for_each(|_| pass()),
        _ => common::compute(Duration::from_micros(random.below(30))),
    }
}

#[test]
fn echo() {
    everywhere(|| {
        let (listener, address) = listener();
        let server = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1000];
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => return,
                    count => stream.write_all(&buffer[..count]).unwrap(),
                }
            }
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        for size in [1, 10, 999, 1000, 1001, 5000] {
            for round in 0..20u8 {
                let sent = vec![round; size];
                client.write_all(&sent).unwrap();
                let mut got = vec![0; size];
                client.read_exact(&mut got).unwrap();
                assert_eq!(got, sent);
            }
        }
        drop(client);
        server.join();
    });
}

#[test]
fn many_connections() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            // A few hundred descriptors: a user has a thousand, and there are other tests.
            const CLIENTS: usize = 200;
            let (listener, address) = listener();
            let server = go!(move || {
                for stream in listener.incoming().take(CLIENTS) {
                    let mut stream = stream.unwrap();
                    let _ = go!(move || {
                        let mut buffer = [0; 64];
                        while let Ok(count @ 1..) = stream.read(&mut buffer) {
                            stream.write_all(&buffer[..count]).unwrap();
                        }
                    });
                }
            });
            let connected = Arc::new(AtomicUsize::new(0));
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let connected = connected.clone();
                    go!(move || {
                        let mut stream = TcpStream::connect(address).unwrap();
                        connected.fetch_add(1, SeqCst);
                        wait_until("all are connected", || connected.load(SeqCst) == CLIENTS);
                        for round in 0..20 {
                            let sent = (number * 1000 + round).to_le_bytes();
                            stream.write_all(&sent).unwrap();
                            let mut got = [0; 8];
                            stream.read_exact(&mut got).unwrap();
                            assert_eq!(got, sent);
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            server.join().unwrap();
        });
    }
}

#[test]
fn descriptors_and_records_are_used_again() {
    // Goal: events of closed connections, which may be on their way when the descriptor's number
    // and its record serve the next one, do no harm. Method: many short connections at once,
    // each of which waits on both ends, closed with bytes still unread.
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            scope(|s| {
                for worker in 0..16u8 {
                    s.go(move || {
                        for round in 0..100u8 {
                            let (mut client, mut server) = pair();
                            let reader = go!(move || {
                                let mut byte = [0];
                                server.read_exact(&mut byte).unwrap();
                                server.write_all(&[byte[0], 1, 2, 3]).unwrap();
                                byte[0]
                            });
                            yield_now();
                            client.write_all(&[worker ^ round, 9]).unwrap();
                            let mut byte = [0];
                            client.read_exact(&mut byte).unwrap();
                            assert_eq!(byte[0], worker ^ round);
                            assert_eq!(reader.join().unwrap(), byte[0]);
                        }
                    });
                }
            });
        });
    }
}

#[test]
fn peek_leaves_the_bytes() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        for round in 0..50u8 {
            let peeker = spawn(move || {
                let mut buffer = [0; 10];
                let count = server.peek(&mut buffer).unwrap();
                assert_eq!(&buffer[..count], [round, 1, 2]);
                let count = server.peek(&mut buffer[..2]).unwrap();
                assert_eq!(&buffer[..count], [round, 1]);
                let count = server.read(&mut buffer).unwrap();
                assert_eq!(&buffer[..count], [round, 1, 2]);
                server
            });
            client.write_all(&[round, 1, 2]).unwrap();
            server = peeker.join();
        }
        drop(client);
        assert_eq!(server.peek(&mut [0; 4]).unwrap(), 0);
        assert_eq!(server.read(&mut [0; 4]).unwrap(), 0);
    });
}

#[test]
fn empty_buffers_do_not_wait() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        assert_eq!(server.read(&mut []).unwrap(), 0);
        assert_eq!(server.peek(&mut []).unwrap(), 0);
        assert_eq!(server.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(server.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        assert_eq!(client.write(&[]).unwrap(), 0);
        assert_eq!(client.write_vectored(&[]).unwrap(), 0);
        client.flush().unwrap();
    });
}

#[test]
fn connecting() {
    everywhere(|| {
        // Refused, and the second address of several.
        let (listener, address) = listener();
        // Taken, so that no other test listens there, but nobody listens.
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let refused = silent.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(TcpStream::connect(refused).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let stream = TcpStream::connect(&[refused, address][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert_eq!(TcpStream::connect(&[][..] as &[SocketAddr]).unwrap_err().kind(), ErrorKind::InvalidInput);
        drop(listener.accept().unwrap());

        // A text that is an address.
        let text = address.to_string();
        let stream = TcpStream::connect(text.as_str()).unwrap();
        assert!(stream.take_error().unwrap().is_none());
        drop(listener.accept().unwrap());

        // In time, and refused at once.
        assert_eq!(TcpStream::connect_timeout(&address, Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidInput);
        TcpStream::connect_timeout(&address, LONG).unwrap();
        assert_eq!(TcpStream::connect_timeout(&refused, LONG).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn incoming() {
    everywhere(|| {
        let (listener, address) = listener();
        let client = spawn(move || {
            for byte in 0..10 {
                TcpStream::connect(address).unwrap().write_all(&[byte]).unwrap();
            }
        });
        let mut got = Vec::new();
        for stream in listener.incoming().take(5) {
            stream.unwrap().read_to_end(&mut got).unwrap();
        }
        for stream in listener.into_incoming().take(5) {
            stream.unwrap().read_to_end(&mut got).unwrap();
        }
        client.join();
        assert_eq!(got, (0..10).collect::<Vec<u8>>());
    });
}

#[test]
fn vectored() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        // More slices than one call takes.
        let sent: Vec<u8> = (0..6000).map(|i| (i * 31) as u8).collect();
        let reader = spawn(move || {
            let mut got = Vec::new();
            while got.len() < 6000 {
                let (mut a, mut b, mut c) = ([0; 7], [0; 0], [0; 100]);
                let count = server
                    .read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)])
                    .unwrap();
                assert!(count > 0);
                got.extend_from_slice(&a[..count.min(7)]);
                got.extend_from_slice(&c[..count.saturating_sub(7)]);
            }
            (server, got)
        });
        let mut at = 0;
        while at < sent.len() {
            let slices: Vec<_> = sent[at..].chunks(2).map(IoSlice::new).collect();
            at += client.write_vectored(&slices).unwrap();
        }
        let (mut server, got) = reader.join();
        assert_eq!(got, sent);
        drop(client);
        assert_eq!(server.read_vectored(&mut [IoSliceMut::new(&mut [0; 4])]).unwrap(), 0);
    });
}

#[test]
fn settings() {
    everywhere(|| {
        let (client, server) = pair();
        assert!(client.nodelay().unwrap());
        client.set_nodelay(false).unwrap();
        assert!(!client.nodelay().unwrap());
        client.set_ttl(33).unwrap();
        assert_eq!(client.ttl().unwrap(), 33);
        client.set_quickack(true).unwrap();
        client.quickack().unwrap();
        assert_eq!(client.linger().unwrap(), None);
        client.set_linger(Some(Duration::from_secs(1))).unwrap();
        assert_eq!(client.linger().unwrap(), Some(Duration::from_secs(1)));
        client.set_linger(None).unwrap();
        assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        let (listener, _) = listener();
        listener.set_ttl(44).unwrap();
        assert_eq!(listener.ttl().unwrap(), 44);
        assert!(listener.take_error().unwrap().is_none());
        let text = format!("{client:?} {listener:?}");
        assert!(text.contains("TcpStream { addr: 127.0.0.1:") && text.contains("peer: 127.0.0.1:"), "{text}");
        assert!(text.contains("TcpListener { addr: 127.0.0.1:") && text.contains("fd: "), "{text}");
    });
}

#[test]
fn from_and_into_std() {
    everywhere(|| {
        // In, with a timeout.
        let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::from(std_listener);
        assert!(is_nonblocking(&listener));
        let std_stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std_stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut client = TcpStream::from(std_stream);
        assert!(is_nonblocking(&client));
        assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_millis(20)));
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(client.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0; 4]).unwrap(), 1);

        // Out, with the timeout, blocking again.
        let mut std_stream = std::net::TcpStream::from(client);
        assert!(!is_nonblocking(&std_stream));
        assert_eq!(std_stream.read_timeout().unwrap(), Some(Duration::from_millis(20)));
        server.write_all(b"y").unwrap();
        assert_eq!(std_stream.read(&mut [0; 4]).unwrap(), 1);
        server.set_nonblocking(true).unwrap();
        assert!(is_nonblocking(&std::net::TcpStream::from(server)));

        // Through a number and through an owned descriptor.
        let fd = listener.into_raw_fd();
        // SAFETY: just given up by its owner.
        let listener = unsafe { TcpListener::from_raw_fd(fd) };
        let listener = TcpListener::from(OwnedFd::from(listener));
        let listener = TcpListener::from(std::net::TcpListener::from(listener));
        let client = TcpStream::from(OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
        // SAFETY: just given up by its owner.
        let mut client = unsafe { TcpStream::from_raw_fd(client.into_raw_fd()) };
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"z").unwrap();
        assert_eq!(client.read(&mut [0; 4]).unwrap(), 1);
        assert_eq!(client.as_fd().as_raw_fd(), client.as_raw_fd());
    });
}

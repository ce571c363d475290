//! Descriptors that are given away while others wait on them, and their numbers used again.

use super::{everywhere, pass, pause, spawn};
use crate::common::{Random, seed};
use gort::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket, UnixStream};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

#[test]
fn who_waits_keeps_its_descriptor() {
    // Goal: nobody ever waits on, or reads from, a descriptor number that has become another's. Method: a twin waits
    // while the other handle is dropped or turned into std's and closed, and new sockets take whatever numbers are
    // free. What comes through them must not reach the one that waits, and what is meant for it must.
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        for round in 0..100 {
            let (one, other) = UnixStream::pair().unwrap();
            one.set_read_timeout(Some(super::LONG)).unwrap();
            let twin = one.try_clone().unwrap();
            let number = one.as_raw_fd();
            let waiting = spawn(move || {
                let mut byte = [0];
                (&twin).read_exact(&mut byte).unwrap();
                assert_eq!(twin.as_raw_fd(), number);
                byte[0]
            });
            pause(*random.lock().unwrap());
            match round % 3 {
                0 => drop(one),
                1 => drop(one.into_std().unwrap()),
                _ => {
                    let fd = one.into_raw_fd();
                    assert_ne!(fd, number, "the twin has it");
                    // SAFETY: just given up by its owner.
                    drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
                }
            }
            let new: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
            for (near, far) in &new {
                assert_ne!(near.as_raw_fd(), number);
                (&*near).write_all(b"wrong").unwrap();
                (&*far).write_all(b"wrong").unwrap();
            }
            pause(*random.lock().unwrap());
            (&other).write_all(b"r").unwrap();
            assert_eq!(waiting.join(), b'r');
        }
    });
}

#[test]
fn a_listener_is_shut_while_one_accepts() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let twin = listener.try_clone().unwrap();
        let waiting = spawn(move || twin.accept().map(drop).unwrap_err().raw_os_error());
        pass();
        socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(waiting.join(), Some(libc::EINVAL));
    });
}

#[test]
fn builders() {
    everywhere(|| {
        let one = TcpListener::builder().reuse_port(true).backlog(8).bind("127.0.0.1:0").unwrap();
        let address = one.local_addr().unwrap();
        let other = TcpListener::builder().reuse_port(true).bind(address).unwrap();
        assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(socket2::SockRef::from(&one).reuse_port().unwrap());
        let plain = TcpListener::builder().reuse_address(false).bind("127.0.0.1:0").unwrap();
        assert!(!socket2::SockRef::from(&plain).reuse_address().unwrap());
        if let Ok(six) = TcpListener::builder().only_v6(true).bind("[::1]:0") {
            assert!(socket2::SockRef::from(&six).only_v6().unwrap());
        }
        // All that connect are accepted, by one or the other.
        let accept = |listener: TcpListener| {
            spawn(move || {
                let mut count = 0;
                while let Ok((mut stream, _)) = listener.accept() {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    if byte[0] == 0 {
                        break;
                    }
                    count += 1;
                    stream.write_all(&byte).unwrap();
                }
                count
            })
        };
        let deadline = Instant::now() + super::LONG;
        let handles = [one.try_clone().unwrap(), other.try_clone().unwrap()];
        handles.iter().for_each(|listener| listener.set_deadline(Some(deadline)));
        let accepting = [accept(one), accept(other)];
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[1]).unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        handles.iter().for_each(|listener| listener.set_deadline(Some(Instant::now())));
        assert_eq!(accepting.into_iter().map(super::Task::join).sum::<i32>(), 50);
    });
}

#[test]
fn names() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // What std finds we find.
        let found: Vec<_> = ("localhost", port).to_socket_addrs().unwrap().collect();
        let theirs: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", port)).unwrap().collect();
        assert_eq!(found, theirs);
        let text = format!("localhost:{port}");
        assert_eq!(text.to_socket_addrs().unwrap().collect::<Vec<_>>(), theirs);
        assert_eq!((text.as_str()).to_socket_addrs().unwrap().collect::<Vec<_>>(), theirs);
        assert_eq!(("localhost".to_owned(), port).to_socket_addrs().unwrap().collect::<Vec<_>>(), theirs);
        TcpStream::connect(text.as_str()).unwrap();
        let deadline = Instant::now() + super::LONG;
        TcpStream::connect_deadline(&text, deadline).unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", &text).unwrap();
        for wrong in ["", "localhost", "localhost:", "localhost:x", "127.0.0.1:70000", "a b:1", "\0:80"] {
            let ours = wrong.to_socket_addrs().map(drop).unwrap_err();
            let theirs = std::net::ToSocketAddrs::to_socket_addrs(wrong).map(drop).unwrap_err();
            assert_eq!((ours.kind(), ours.to_string()), (theirs.kind(), theirs.to_string()), "{wrong:?}");
        }
        // Too late, though the name is known; an address needs no look-up.
        let error = TcpStream::connect_deadline(&text, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let now = Instant::now();
        assert_eq!("127.0.0.1:80".to_socket_addrs_deadline(now).unwrap().count(), 1);
        let error = TcpStream::connect_deadline(listener.local_addr().unwrap(), now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
    // While one of a single P looks up, others run.
    crate::common::builder(1).build().unwrap().run(|| {
        let handles: Vec<_> =
            (0..100).map(|_| gort::go!(|| ("localhost", 80).to_socket_addrs().unwrap().count())).collect();
        gort::time::sleep(Duration::from_millis(1));
        handles.into_iter().for_each(|handle| assert!(handle.join().unwrap() > 0));
    });
}

//! UDP.

use super::{LONG, Task, everywhere, pass, pause, spawn};
use crate::common::{PROCS, Random, builder, seed, wait_until};
use gort::net::{SocketAddr, UdpSocket};
use gort::{go, scope};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.set_write_timeout(Some(LONG)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn echo() {
    everywhere(|| {
        let (server, address) = socket();
        let server = spawn(move || {
            let mut buffer = [0; 2000];
            loop {
                let (count, from) = server.recv_from(&mut buffer).unwrap();
                if count == 0 {
                    return;
                }
                assert_eq!(server.send_to(&buffer[..count], from).unwrap(), count);
            }
        });
        let clients: Vec<_> = (0..8u8)
            .map(|number| {
                spawn(move || {
                    let (client, _) = socket();
                    client.connect(address).unwrap();
                    assert_eq!(client.peer_addr().unwrap(), address);
                    for size in 1..100 {
                        client.send(&vec![number; size]).unwrap();
                        let mut buffer = [0; 2000];
                        assert_eq!(client.recv(&mut buffer).unwrap(), size);
                        assert!(buffer[..size].iter().all(|byte| *byte == number));
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(Task::join);
        socket().0.send_to(&[], address).unwrap();
        server.join();
    });
}

#[test]
fn datagrams_have_borders() {
    everywhere(|| {
        let (one, address) = socket();
        let (other, from) = socket();
        other.connect(address).unwrap();
        // Short reads, one after the other: none of them means that nothing is left.
        for message in [&b"abc"[..], b"", b"defghij", b"k"] {
            assert_eq!(other.send(message).unwrap(), message.len());
        }
        let mut buffer = [0; 5];
        assert_eq!(one.peek_from(&mut buffer).unwrap(), (3, from));
        assert_eq!(one.peek(&mut buffer[..2]).unwrap(), 2);
        assert_eq!(one.recv_from(&mut buffer).unwrap(), (3, from));
        assert_eq!(one.recv_from(&mut buffer).unwrap(), (0, from));
        assert_eq!(one.recv_from(&mut buffer).unwrap(), (5, from), "the rest is lost");
        assert_eq!(&buffer, b"defgh");
        // A buffer without room takes one all the same.
        assert_eq!(one.recv(&mut []).unwrap(), 0);
        one.set_nonblocking(true).unwrap();
        assert_eq!(one.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(one.recv_from(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(one.peek(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        let long = vec![0; 70_000];
        assert_eq!(other.send(&long).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    });
}

#[test]
fn nobody_there() {
    everywhere(|| {
        let (client, _) = socket();
        // The port is taken, so that no other test gets it, by one who takes datagrams of another sender only.
        let (deaf, address) = socket();
        deaf.connect(address).unwrap();
        client.connect(address).unwrap();
        client.send(b"x").unwrap();
        assert_eq!(client.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(socket().0.send(b"x").unwrap_err().raw_os_error(), Some(libc::EDESTADDRREQ));
        assert_eq!(client.send_to(b"x", &[][..] as &[SocketAddr]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(UdpSocket::bind(&[][..] as &[SocketAddr]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(UdpSocket::bind(client.local_addr().unwrap()).unwrap_err().kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn limits() {
    everywhere(|| {
        let (one, address) = socket();
        let (other, _) = socket();
        let short = Duration::from_millis(3);
        assert_eq!(one.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
        one.set_read_timeout(Some(short)).unwrap();
        let start = Instant::now();
        assert_eq!(one.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(one.peek_from(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= 2 * short);
        one.set_read_timeout(None).unwrap();
        other.send_to(b"x", address).unwrap();
        one.recv(&mut [0; 4]).unwrap();

        // Several wait, and a deadline ends them all.
        let one = Arc::new(one);
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let one = one.clone();
                spawn(move || one.recv_from(&mut [0; 4]).unwrap_err().kind())
            })
            .collect();
        pass();
        one.set_read_deadline(Some(Instant::now()));
        waiting.into_iter().for_each(|waiting| assert_eq!(waiting.join(), ErrorKind::TimedOut));
        one.set_read_deadline(None);
        one.set_write_deadline(Some(Instant::now()));
        assert_eq!(one.send_to(b"x", address).unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn several_receive_from_one_socket() {
    // Goal: nobody sleeps on a datagram. Method: receivers that take one each, until all were taken.
    let mut random = Random::new(seed());
    for procs in PROCS {
        let seed = random.below(u64::MAX);
        builder(procs).build().unwrap().run(move || {
            let mut random = Random::new(seed);
            let (server, address) = socket();
            let (client, _) = socket();
            let got = AtomicUsize::new(0);
            let mut sent = 0;
            scope(|s| {
                for _ in 0..4 {
                    s.go(|| {
                        while server.recv(&mut [0; 8]).unwrap() > 0 {
                            got.fetch_add(1, SeqCst);
                        }
                    });
                }
                for _ in 0..500 {
                    // Few at a time, so that none is dropped.
                    for _ in 0..random.below(6) {
                        client.send_to(b"x", address).unwrap();
                        sent += 1;
                    }
                    if random.below(2) == 0 {
                        wait_until("everything is received", || got.load(SeqCst) == sent);
                    }
                    pause(&mut random);
                    if sent - got.load(SeqCst) > 50 {
                        wait_until("most is received", || got.load(SeqCst) == sent);
                    }
                }
                wait_until("everything is received", || got.load(SeqCst) == sent);
                (0..4).for_each(|_| assert_eq!(client.send_to(&[], address).unwrap(), 0));
            });
        });
    }
}

#[test]
fn cancelling_ends_a_wait() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            for _ in 0..50 {
                let (server, _) = socket();
                let started = Arc::new(AtomicBool::new(false));
                let flag = started.clone();
                let waiting = go!(move || {
                    flag.store(true, SeqCst);
                    server.recv_from(&mut [0; 4]).map(drop)
                });
                wait_until("it runs", || started.load(SeqCst));
                waiting.cancel();
                assert!(waiting.join().unwrap_err().is_cancelled());
            }
        });
    }
}

#[test]
fn settings_and_conversions() {
    everywhere(|| {
        let (one, address) = socket();
        assert!(!one.broadcast().unwrap());
        one.set_broadcast(true).unwrap();
        assert!(one.broadcast().unwrap());
        one.set_ttl(33).unwrap();
        assert_eq!(one.ttl().unwrap(), 33);
        assert!(one.multicast_loop_v4().unwrap());
        one.set_multicast_ttl_v4(5).unwrap();
        assert_eq!(one.multicast_ttl_v4().unwrap(), 5);
        assert!(one.take_error().unwrap().is_none());
        let clone = one.try_clone().unwrap();
        assert_eq!(clone.local_addr().unwrap(), address);
        let text = format!("{one:?}");
        assert!(text.starts_with("UdpSocket { addr: 127.0.0.1:") && text.contains("fd: "), "{text}");

        // Out while a clone stays: that goes on, and does not block although the open file would.
        let theirs: std::net::UdpSocket = one.into_std().unwrap();
        assert_eq!(theirs.read_timeout().unwrap().map(|timeout| timeout.as_secs()), Some(LONG.as_secs()));
        assert!(!super::is_nonblocking(&theirs));
        clone.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(clone.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        theirs.send_to(b"x", address).unwrap();
        assert_eq!(clone.recv(&mut [0; 4]).unwrap(), 1);
        drop(clone);
        let back = UdpSocket::from(theirs);
        assert!(super::is_nonblocking(&back));
        let back = UdpSocket::from(OwnedFd::from(back));
        // SAFETY: just given up by its owner.
        let back = unsafe { UdpSocket::from_raw_fd(back.into_raw_fd()) };
        assert_eq!(back.as_fd().as_raw_fd(), back.as_raw_fd());
        assert_eq!(back.local_addr().unwrap(), address);
    });
}

#[test]
fn multicast_on_the_loopback_device() {
    use std::net::Ipv4Addr;
    let group = Ipv4Addr::new(224, 0, 0, 199);
    let receiver = UdpSocket::bind("0.0.0.0:0").unwrap();
    let address = SocketAddr::from((group, receiver.local_addr().unwrap().port()));
    receiver.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    gort::run(|| {
        receiver.set_read_timeout(Some(LONG)).unwrap();
        sender.send_to(b"all", address).unwrap();
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 3);
        receiver.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        assert!(receiver.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).is_err());
    });
}

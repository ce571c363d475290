//! Tests that change or measure the whole process, each in a process of its own.

use super::{everywhere, listener, pair, pass, spawn};
use crate::common::{self, builder};
use gort::go;
use gort::net::TcpStream;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn the_runtime_sleeps_while_all_wait() {
    // Goal: waiting costs nothing. Method: CPU time while everybody waits for bytes that come
    // much later. Other tests run at the same time, so this one runs in a process of its own.
    if !common::is_child("alone::the_runtime_sleeps_while_all_wait") {
        return;
    }
    builder(2).build().unwrap().run(|| {
        let (mut client, mut server) = pair();
        let reader = go!(move || server.read(&mut [0; 4]).unwrap());
        gort::time::sleep(Duration::from_millis(100));
        let before = common::cpu_time();
        gort::time::sleep(Duration::from_millis(500));
        let used = common::cpu_time() - before;
        client.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        assert!(used < Duration::from_millis(100), "used {used:?} of CPU time while it had nothing to do");
    });
}

/// Changes the limit, and says what it was. With 3 there is none to be had, since the standard streams have them. (With
/// less `poll(2)` of two is `EINVAL`.)
fn limit_descriptors(limit: u64) -> u64 {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the limits in.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut now) }, 0);
    let before = std::mem::replace(&mut now.rlim_cur, limit);
    // SAFETY: reads the limits.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &now) }, 0);
    before
}

#[test]
fn accept_recovers_when_descriptors_run_out() {
    // Goal: EMFILE is an error of one call; the connection is there when descriptors are.
    if !common::is_child("alone::accept_recovers_when_descriptors_run_out") {
        return;
    }
    everywhere(|| {
        let (listener, address) = listener();
        let mut clients: Vec<TcpStream> = Vec::new();
        // Have everything that waiting needs, and a client in the queue.
        listener.set_deadline(Some(Instant::now() + Duration::from_millis(1)));
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
        listener.set_deadline(None);
        for round in 0..3 {
            clients.push(TcpStream::connect(address).unwrap());
            let usual = limit_descriptors(3);
            for _ in 0..3 {
                assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(libc::EMFILE));
            }
            limit_descriptors(usual);
            let (mut server, peer) = listener.accept().unwrap();
            assert_eq!(peer, clients[round].local_addr().unwrap());
            server.write_all(b"x").unwrap();
            assert_eq!(clients[round].read(&mut [0; 4]).unwrap(), 1);
        }
        // One that waits already when they run out. accept(2) takes a number before it looks for a client: a call that had one before
        // they ran out may get the client; the next one does not.
        let listener = Arc::new(listener);
        let other = listener.clone();
        let waiting = spawn(move || {
            let mut got = 0;
            loop {
                match other.accept() {
                    Ok(_) => got += 1,
                    Err(error) => return (got, error.raw_os_error()),
                }
            }
        });
        for _ in 0..100 {
            pass();
        }
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let usual = limit_descriptors(3);
        socket.connect(&address.into()).unwrap();
        let (got, error) = waiting.join();
        limit_descriptors(usual);
        assert_eq!(error, Some(libc::EMFILE));
        assert!(got <= 1, "{got} of one client");
        // If it has been had already there must be another.
        let _client = (got == 1).then(|| TcpStream::connect(address).unwrap());
        listener.accept().unwrap();
    });
}

#[test]
fn a_clone_that_cannot_leave_leaves_the_others() {
    // Goal: where no descriptor is left for the duplicate a stream that has clones does not become std's, and the clones go on.
    if !common::is_child("alone::a_clone_that_cannot_leave_leaves_the_others") {
        return;
    }
    everywhere(|| {
        let (mut client, mut server) = pair();
        let (one, other) = (server.try_clone().unwrap(), server.try_clone().unwrap());
        // A duplicate gets 3 or more: where the limit is 3 that would be another error. The lowest one that is free is not 3 now.
        let _lowest = std::fs::File::open("/dev/null").unwrap();
        let usual = limit_descriptors(4);
        let error = one.into_std().map(drop).unwrap_err();
        let panic = catch_unwind(AssertUnwindSafe(|| OwnedFd::from(other)));
        limit_descriptors(usual);
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        let text = panic.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("cannot duplicate the descriptor of a TcpStream"), "{text}");
        let mut got = [0; 2];
        client.write_all(b"to").unwrap();
        server.read_exact(&mut got).unwrap();
        server.write_all(&got).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"to");
    });
}

//! Timeouts, deadlines, and operations that do not wait.

use super::{LONG, MUCH, drain, everywhere, listener, narrow_pair, pair, pass, pause, spawn};
use crate::common::{Random, builder, seed};
use gort::net::{SocketAddr, TcpStream};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn timeouts() {
    everywhere(|| {
        let (mut client, mut server) = narrow_pair();
        let short = Duration::from_millis(3);
        for stream in [&client, &server] {
            assert_eq!(stream.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(stream.set_write_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(stream.read_timeout().unwrap(), Some(LONG));
            stream.set_read_timeout(None).unwrap();
            assert_eq!(stream.read_timeout().unwrap(), None);
        }
        server.set_read_timeout(Some(short)).unwrap();
        assert_eq!((server.read_timeout().unwrap(), server.write_timeout().unwrap()), (Some(short), Some(LONG)));
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(server.peek(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(start.elapsed() >= 2 * short);
        }
        // A timeout is over when the operation is.
        client.write_all(b"x").unwrap();
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 1);

        client.set_write_timeout(Some(short)).unwrap();
        let start = Instant::now();
        let mut written = 0;
        let error = loop {
            match client.write(&[7; 4096]) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= short && written < MUCH);
        // What was written before is there, and the connection goes on.
        client.set_write_timeout(Some(LONG)).unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        let reader = spawn(move || drain(&server));
        client.write_all(&vec![7; MUCH]).unwrap();
        drop(client);
        assert_eq!(reader.join(), written + MUCH);
    });
}

#[test]
fn timeouts_go_to_std_as_they_are_and_so_do_those_taken_off() {
    // Goal: `into_std` gives a socket with the timeouts that ours had. Method: from std's with both, of which one is changed
    // and the other taken off, and back; of TCP, which may have a clone, and of datagrams.
    everywhere(|| {
        // The kernel counts them in ticks, which these are multiples of.
        let (short, other) = (Some(Duration::from_millis(40)), Some(Duration::from_millis(80)));
        for cloned in [false, true] {
            let theirs = pair().0.into_std().unwrap();
            theirs.set_read_timeout(short).unwrap();
            theirs.set_write_timeout(short).unwrap();
            let ours = TcpStream::from(theirs);
            assert_eq!((ours.read_timeout().unwrap(), ours.write_timeout().unwrap()), (short, short));
            let _clone = cloned.then(|| ours.try_clone().unwrap());
            ours.set_read_timeout(None).unwrap();
            ours.set_write_timeout(other).unwrap();
            let theirs = ours.into_std().unwrap();
            assert_eq!((theirs.read_timeout().unwrap(), theirs.write_timeout().unwrap()), (None, other));
        }
        let theirs = std::os::unix::net::UnixDatagram::unbound().unwrap();
        theirs.set_read_timeout(short).unwrap();
        theirs.set_write_timeout(short).unwrap();
        let ours = gort::net::UnixDatagram::from(theirs);
        ours.set_read_timeout(other).unwrap();
        ours.set_write_timeout(None).unwrap();
        let theirs = std::os::unix::net::UnixDatagram::from(ours);
        assert_eq!((theirs.read_timeout().unwrap(), theirs.write_timeout().unwrap()), (other, None));
    });
}

#[test]
fn a_timeout_too_short_for_the_kernel_goes_to_std_as_its_shortest() {
    // Goal: a timeout that the kernel would take for none, because it counts microseconds, is still one after `into_std`.
    // Method: one of a nanosecond; std's say what the kernel has made of it, and time out.
    everywhere(|| {
        let (_client, server) = pair();
        let tiny = Some(Duration::from_nanos(1));
        server.set_read_timeout(tiny).unwrap();
        server.set_write_timeout(tiny).unwrap();
        let mut theirs = server.into_std().unwrap();
        assert!(theirs.read_timeout().unwrap().is_some() && theirs.write_timeout().unwrap().is_some());
        // The kernel does not repeat such a read when a signal comes in between (`what_the_kernel_does_not_repeat` in `eintr.rs`).
        let outcome = loop {
            match theirs.read(&mut [0]).unwrap_err().kind() {
                ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        assert_eq!(outcome, ErrorKind::WouldBlock);
    });
}

#[test]
fn timeouts_that_pass_as_bytes_come_lose_nothing() {
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        let (mut client, mut server) = pair();
        const BYTES: usize = 3000;
        server.set_read_timeout(Some(Duration::from_micros(20))).unwrap();
        let reader = spawn(move || {
            let mut got = Vec::new();
            let mut timeouts = 0;
            while got.len() < BYTES {
                let mut buffer = [0; 16];
                match server.read(&mut buffer) {
                    Ok(0) => panic!("ended early"),
                    Ok(count) => got.extend_from_slice(&buffer[..count]),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TimedOut);
                        timeouts += 1;
                    }
                }
            }
            (got, timeouts)
        });
        let sent: Vec<u8> = (0..BYTES).map(|i| i as u8).collect();
        for byte in &sent {
            client.write_all(&[*byte]).unwrap();
            pause(*random.lock().unwrap());
        }
        let (got, timeouts) = reader.join();
        assert_eq!(got, sent);
        eprintln!("{timeouts} timeouts");
    });
}

#[test]
fn connect_timeout_when_nobody_answers() {
    everywhere(|| {
        // A listener whose queue is full answers nobody.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let timeout = Duration::from_millis(30);
        let mut connected = Vec::new();
        loop {
            let start = Instant::now();
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => connected.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    assert!(start.elapsed() >= timeout);
                    break;
                }
            }
            assert!(connected.len() < 100, "the queue is never full");
        }
    });
}

#[test]
fn a_deadline_that_has_passed_fails_at_once() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"here").unwrap();
        server.peek(&mut [0]).unwrap();
        server.set_read_deadline(Some(Instant::now()));
        for _ in 0..3 {
            assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(server.peek(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        }
        server.write_all(b"the other direction goes on").unwrap();
        server.set_write_deadline(Some(Instant::now()));
        assert_eq!(server.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
        server.set_read_deadline(Some(Instant::now() + LONG));
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 4);
        server.set_write_deadline(None);
        server.write_all(b"x").unwrap();
    });
}

#[test]
fn deadlines_move_those_who_wait() {
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        for round in 0..100 {
            let random = &mut *random.lock().unwrap();
            let (client, server) = narrow_pair();
            let server = Arc::new(server);
            let write = round % 2 == 0;
            let set =
                |deadline| if write { server.set_write_deadline(deadline) } else { server.set_read_deadline(deadline) };
            set([None, Some(Instant::now() + LONG)][round / 2 % 2]);
            let other = server.clone();
            let waiting = spawn(move || match write {
                true => (&*other).write_all(&vec![1; MUCH]),
                false => (&*other).read_exact(&mut [0]),
            });
            pause(random);
            // Through some other times to one that has passed, or away.
            set(Some(Instant::now() + LONG));
            pause(random);
            set(None);
            pause(random);
            match random.below(3) {
                0 => {
                    set(Some(Instant::now()));
                    assert_eq!(waiting.join().unwrap_err().kind(), ErrorKind::TimedOut);
                }
                1 => {
                    set(Some(Instant::now() + Duration::from_micros(random.below(2000))));
                    assert_eq!(waiting.join().unwrap_err().kind(), ErrorKind::TimedOut);
                }
                _ => {
                    // Now let it through.
                    if write {
                        (&client).read_exact(&mut vec![0; MUCH]).unwrap();
                    } else {
                        (&client).write_all(&[1]).unwrap();
                    }
                    waiting.join().unwrap();
                }
            }
        }
    });
}

#[test]
fn a_deadline_that_is_moved_away_does_not_pass() {
    everywhere(|| {
        for _ in 0..5 {
            let (mut client, mut server) = pair();
            let first = Instant::now() + Duration::from_millis(15);
            server.set_read_deadline(Some(first));
            let other = server.try_clone().unwrap();
            let reader = spawn(move || server.read(&mut [0]));
            pass();
            other.set_read_deadline(Some(first + LONG));
            let in_time = Instant::now() < first;
            while Instant::now() < first + Duration::from_millis(2) {
                pass();
            }
            client.write_all(&[1]).unwrap();
            let result = reader.join();
            if in_time {
                assert_eq!(result.unwrap(), 1);
            }
        }
    });
}

#[test]
fn accept_has_a_deadline_and_a_nonblocking_mode() {
    everywhere(|| {
        let (listener, address) = listener();
        listener.set_deadline(Some(Instant::now() + Duration::from_millis(2)));
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
        listener.set_deadline(None);
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let _client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
        assert_eq!(listener.incoming().next().unwrap().unwrap_err().kind(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let listener = Arc::new(listener);
        let other = listener.clone();
        let waiting = spawn(move || other.accept().unwrap_err().kind());
        pass();
        listener.set_deadline(Some(Instant::now()));
        assert_eq!(waiting.join(), ErrorKind::TimedOut);
    });
}

#[test]
fn nonblocking_mode() {
    everywhere(|| {
        let (mut client, mut server) = narrow_pair();
        server.set_nonblocking(true).unwrap();
        let clone = server.try_clone().unwrap();
        for _ in 0..3 {
            assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert_eq!((&clone).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
            client.write_all(b"abc").unwrap();
            clone.set_nonblocking(false).unwrap();
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 3);
            // Right after a short read, when a read that waits would wait first.
            server.set_nonblocking(true).unwrap();
            assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
            client.write_all(b"abc").unwrap();
            // On loopback the bytes are there when the write returns.
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 3);
        }
        server.set_nonblocking(true).unwrap();
        assert_eq!(server.write_all(&vec![0; MUCH]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_deadline_reaches_all_who_wait_on_a_stream() {
    let runtimes = [builder(2).build().unwrap(), builder(1).build().unwrap()];
    for _ in 0..50 {
        let (_client, server) = pair();
        let server = Arc::new(server);
        let read = {
            let server = server.clone();
            move || (&*server).read(&mut [0; 4]).unwrap_err().kind()
        };
        let coroutines: Vec<_> =
            runtimes.iter().flat_map(|runtime| [runtime.spawn(read.clone()), runtime.spawn(read.clone())]).collect();
        let threads = [std::thread::spawn(read.clone()), std::thread::spawn(read)];
        server.set_read_deadline(Some(Instant::now()));
        for handle in coroutines {
            assert_eq!(handle.join().unwrap(), ErrorKind::TimedOut);
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), ErrorKind::TimedOut);
        }
    }
}

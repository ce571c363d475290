//! Unix sockets.

use super::{LONG, MUCH, Task, everywhere, pass, pause, spawn};
use crate::common::{PROCS, Random, builder, seed, wait_until};
use gort::go;
use gort::net::Shutdown;
use gort::net::unix::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// An address that the system chooses.
fn any() -> SocketAddr {
    SocketAddr::from_pathname("").unwrap()
}

fn listener() -> (UnixListener, SocketAddr) {
    let listener = UnixListener::bind_addr(&any()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A path that nobody else has; what is there goes when this is dropped.
struct Place(std::path::PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gort-test-{}-{}", std::process::id(), COUNT.fetch_add(1, SeqCst));
        Place(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    for stream in [&one, &other] {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
    }
    (one, other)
}

#[test]
fn echo_at_a_path_and_at_a_name() {
    everywhere(|| {
        let place = Place::new();
        let name = SocketAddr::from_abstract_name(place.0.as_os_str().as_encoded_bytes()).unwrap();
        for by_path in [true, false] {
            let listener = if by_path { UnixListener::bind(&place.0) } else { UnixListener::bind_addr(&name) }.unwrap();
            let local = listener.local_addr().unwrap();
            assert_eq!(local.as_pathname().is_some(), by_path);
            assert_eq!(local.as_abstract_name().is_some(), !by_path);
            let server = spawn(move || {
                for stream in listener.incoming().take(10) {
                    let mut stream = stream.unwrap();
                    let mut text = Vec::new();
                    stream.read_to_end(&mut text).unwrap();
                    stream.write_all(&text).unwrap();
                }
            });
            for size in 0..10 {
                let mut client =
                    if by_path { UnixStream::connect(&place.0) } else { UnixStream::connect_addr(&name) }.unwrap();
                client.set_read_timeout(Some(LONG)).unwrap();
                assert_eq!(client.peer_addr().unwrap().as_pathname().is_some(), by_path);
                client.write_all(&vec![7; size * 1000]).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let mut text = Vec::new();
                assert_eq!(client.read_to_end(&mut text).unwrap(), size * 1000);
            }
            server.join();
        }
        // The path is still there, and nobody listens.
        assert_eq!(UnixStream::connect(&place.0).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(UnixListener::bind(&place.0).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(UnixStream::connect("/nowhere/at/all").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(UnixStream::connect("").unwrap_err().kind(), ErrorKind::InvalidInput);
        let long = "x".repeat(200);
        assert_eq!(UnixStream::connect(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn much_in_both_directions() {
    everywhere(|| {
        let (one, other) = pair();
        let echo = spawn(move || {
            let mut buffer = [0; 5000];
            loop {
                match (&other).read(&mut buffer).unwrap() {
                    0 => return other.shutdown(Shutdown::Write).unwrap(),
                    count => (&other).write_all(&buffer[..count]).unwrap(),
                }
            }
        });
        let writer = one.try_clone().unwrap();
        let writing = spawn(move || {
            let block: Vec<u8> = (0..MUCH).map(|i| (i % 251) as u8).collect();
            let mut at = 0;
            while at < MUCH {
                let middle = (at + 777).min(MUCH);
                at += (&writer)
                    .write_vectored(&[IoSlice::new(&block[at..middle]), IoSlice::new(&block[middle..])])
                    .unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = 0;
        loop {
            let (mut a, mut b) = ([0; 100], [0; 3000]);
            let count = (&one).read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]).unwrap();
            if count == 0 {
                break;
            }
            for byte in a.iter().chain(&b).take(count) {
                assert_eq!(*byte, (got % 251) as u8);
                got += 1;
            }
        }
        assert_eq!(got, MUCH);
        writing.join();
        echo.join();
    });
}

#[test]
fn descriptors_sent_along_hide_nothing() {
    // Goal: a read that stops short of bytes which came with a descriptor has not emptied the stream. Method: both
    // are there before the first read, so nothing comes that would wake a read that waits first.
    everywhere(|| {
        let (one, mut other) = pair();
        // So that the descriptor is registered.
        other.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(other.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        other.set_read_timeout(Some(LONG)).unwrap();
        for _ in 0..10 {
            (&one).write_all(b"ab").unwrap();
            let mut control = [0u64; 3];
            // SCM_RIGHTS with one descriptor, laid out as cmsg(3) says for 64 bits.
            control[0] = 20;
            control[1] = (libc::SOL_SOCKET as u64) | (libc::SCM_RIGHTS as u64) << 32;
            control[2] = one.as_raw_fd() as u64;
            let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_le_bytes()).collect();
            let message = socket2::MsgHdr::new();
            let slices = [IoSlice::new(b"cd")];
            let message = message.with_buffers(&slices).with_control(&bytes);
            socket2::SockRef::from(&one).sendmsg(&message, 0).unwrap();
            (&one).write_all(b"ef").unwrap();
            let mut got = Vec::new();
            let mut reads = 0;
            while got.len() < 6 {
                let mut buffer = [0; 64];
                let count = other.read(&mut buffer).unwrap();
                got.extend_from_slice(&buffer[..count]);
                reads += 1;
            }
            assert_eq!(got, b"abcdef");
            assert!(reads > 1, "this kernel does not stop there: the test shows nothing");
        }
    });
}

#[test]
fn shutdown_wakes_those_who_wait() {
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        for round in 0..40 {
            let (one, other) = pair();
            let one = Arc::new(one);
            let twin = one.clone();
            let waiting = spawn(move || match round % 2 {
                0 => (&*twin).write_all(&vec![0; MUCH]).unwrap_err().kind(),
                _ => {
                    assert_eq!((&*twin).read(&mut [0; 8]).unwrap(), 0);
                    ErrorKind::BrokenPipe
                }
            });
            pause(*random.lock().unwrap());
            if round % 3 == 0 {
                // From the other side, by closing it. Bytes that nobody has read make it a reset.
                drop(other);
                let kind = waiting.join();
                assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind}");
            } else {
                one.shutdown(Shutdown::Both).unwrap();
                assert_eq!(waiting.join(), ErrorKind::BrokenPipe);
            }
        }
        for _ in 0..40 {
            let (one, _other) = UnixDatagram::pair().unwrap();
            let one = Arc::new(one);
            let twin = one.clone();
            let waiting = spawn(move || twin.recv(&mut [0; 8]).unwrap());
            pause(*random.lock().unwrap());
            one.shutdown(Shutdown::Both).unwrap();
            assert_eq!(waiting.join(), 0);
        }
        // A listener, through its descriptor: std has no method for it.
        let (listener, _) = listener();
        let listener = Arc::new(listener);
        let twin = listener.clone();
        let waiting = spawn(move || twin.accept().map(drop).unwrap_err().raw_os_error());
        pass();
        socket2::SockRef::from(&*listener).shutdown(Shutdown::Both).unwrap();
        assert_eq!(waiting.join(), Some(libc::EINVAL));
    });
}

#[test]
fn connecting_waits_for_room_in_the_queue() {
    everywhere(|| {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix("").unwrap()).unwrap();
        socket.listen(1).unwrap();
        let listener = UnixListener::from(OwnedFd::from(socket));
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..20u8)
            .map(|number| {
                let address = address.clone();
                spawn(move || UnixStream::connect_addr(&address).unwrap().write_all(&[number]).unwrap())
            })
            .collect();
        pass();
        let mut got: Vec<u8> = listener
            .incoming()
            .take(20)
            .map(|stream| {
                let mut byte = [0];
                stream.unwrap().read_exact(&mut byte).unwrap();
                byte[0]
            })
            .collect();
        clients.into_iter().for_each(Task::join);
        got.sort();
        assert_eq!(got, (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn datagrams_wait_for_the_receiver() {
    everywhere(|| {
        let server = UnixDatagram::bind_addr(&any()).unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        let address = server.local_addr().unwrap();
        // Connected, unconnected, and a pair.
        const COUNT: usize = 200;
        let connected = UnixDatagram::unbound().unwrap();
        connected.connect_addr(&address).unwrap();
        let sender = spawn(move || (0..COUNT).for_each(|i| assert_eq!(connected.send(&i.to_le_bytes()).unwrap(), 8)));
        for i in 0..COUNT {
            let mut buffer = [0; 8];
            let (count, from) = server.recv_from(&mut buffer).unwrap();
            assert!(count == 8 && from.is_unnamed());
            assert_eq!(usize::from_le_bytes(buffer), i);
        }
        sender.join();
        let unconnected = UnixDatagram::bind_addr(&any()).unwrap();
        let theirs = unconnected.local_addr().unwrap();
        let to = address.clone();
        let sender = spawn(move || {
            (0..40usize).for_each(|i| assert_eq!(unconnected.send_to_addr(&i.to_le_bytes(), &to).unwrap(), 8));
            unconnected
        });
        for i in 0..40usize {
            let mut buffer = [0; 8];
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(from.as_abstract_name(), theirs.as_abstract_name());
            assert_eq!(usize::from_le_bytes(buffer), i);
        }
        let unconnected = sender.join();
        let (one, other) = UnixDatagram::pair().unwrap();
        let sender = spawn(move || (0..COUNT).for_each(|_| assert_eq!(one.send(&[1; 5000]).unwrap(), 5000)));
        other.set_read_timeout(Some(LONG)).unwrap();
        (0..COUNT).for_each(|_| assert_eq!(other.recv(&mut [0; 9000]).unwrap(), 5000));
        sender.join();

        // In time, at once, and not at all.
        let fill = |send: &dyn Fn() -> std::io::Result<usize>| {
            loop {
                if let Err(error) = send() {
                    return error.kind();
                }
            }
        };
        unconnected.set_write_timeout(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(fill(&|| unconnected.send_to_addr(b"x", &address)), ErrorKind::TimedOut);
        unconnected.set_write_timeout(None).unwrap();
        unconnected.set_write_deadline(Some(Instant::now() + Duration::from_millis(2)));
        assert_eq!(fill(&|| unconnected.send_to_addr(b"x", &address)), ErrorKind::TimedOut);
        unconnected.set_write_deadline(None);
        unconnected.set_nonblocking(true).unwrap();
        assert_eq!(fill(&|| unconnected.send_to_addr(b"x", &address)), ErrorKind::WouldBlock);
        unconnected.set_nonblocking(false).unwrap();
        unconnected.connect_addr(&address).unwrap();
        unconnected.set_write_timeout(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(fill(&|| unconnected.send(b"x")), ErrorKind::TimedOut);
        drop(server);
        assert_eq!(unconnected.send(b"x").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn datagrams_at_paths() {
    everywhere(|| {
        let (here, there) = (Place::new(), Place::new());
        let one = UnixDatagram::bind(&here.0).unwrap();
        let other = UnixDatagram::bind(&there.0).unwrap();
        one.send_to(b"hello", &there.0).unwrap();
        let mut buffer = [0; 3];
        let (count, from) = other.recv_from(&mut buffer).unwrap();
        assert_eq!((count, from.as_pathname()), (3, Some(here.0.as_path())));
        other.connect(&here.0).unwrap();
        assert_eq!(other.peer_addr().unwrap().as_pathname(), Some(here.0.as_path()));
        other.send(b"").unwrap();
        assert_eq!(one.recv(&mut buffer).unwrap(), 0);
        assert_eq!(one.send_to(b"x", "/nowhere/at/all").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(one.send(b"x").unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(UnixDatagram::bind(&here.0).unwrap_err().kind(), ErrorKind::AddrInUse);
        let text = format!("{one:?}");
        assert!(text.starts_with("UnixDatagram { local: \"/"), "{text}");
    });
}

/// A socket at a path that takes up the kernel's form of an address whole, with no NUL behind it; std does not bind one.
fn bound_to_a_full_path(kind: socket2::Type) -> (socket2::Socket, Place) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("/tmp/gort-full-{}-{}-", std::process::id(), COUNT.fetch_add(1, SeqCst));
    let place = Place(format!("{name:x<108}").into());
    let socket = socket2::Socket::new(socket2::Domain::UNIX, kind, None).unwrap();
    let path = place.0.as_os_str().as_encoded_bytes();
    // SAFETY: it writes an address of this family, in a place that is large enough, and its length.
    let ((), address) = unsafe {
        socket2::SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_un>();
            (*address).sun_family = libc::AF_UNIX as libc::sa_family_t;
            std::ptr::copy_nonoverlapping(path.as_ptr(), (&raw mut (*address).sun_path).cast(), path.len());
            *length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
            Ok(())
        })
    }
    .unwrap();
    socket.bind(&address).unwrap();
    (socket, place)
}

#[test]
fn peers_at_paths_of_108_bytes() {
    // Goal: whatever the address of a peer is, nothing that it sends is lost. Method: the longest path there is, which is in no
    // address that a program can make with std.
    everywhere(|| {
        let (listener, address) = listener();
        let (client, place) = bound_to_a_full_path(socket2::Type::STREAM);
        client.connect(&socket2::SockAddr::unix(std::ffi::OsStr::from_bytes(&name_of(&address))).unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.as_pathname(), Some(place.0.as_path()), "as std says it");
        assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(place.0.as_path()));
        let client = UnixStream::from(OwnedFd::from(client));
        assert_eq!(client.local_addr().unwrap().as_pathname(), Some(place.0.as_path()));
        (&stream).write_all(b"x").unwrap();
        assert_eq!((&client).read(&mut [0; 4]).unwrap(), 1);

        let receiver = UnixDatagram::bind_addr(&any()).unwrap();
        let address = receiver.local_addr().unwrap();
        let (sender, _place) = bound_to_a_full_path(socket2::Type::DGRAM);
        sender.connect(&socket2::SockAddr::unix(std::ffi::OsStr::from_bytes(&name_of(&address))).unwrap()).unwrap();
        sender.send(b"all").unwrap();
        let (count, from) = receiver.recv_from(&mut [0; 4]).unwrap();
        assert!(count == 3 && from.is_unnamed());
    });
}

/// An abstract name as the kernel has it.
fn name_of(address: &SocketAddr) -> Vec<u8> {
    [&[0], address.as_abstract_name().unwrap()].concat()
}

#[test]
fn cancelling_and_deadlines_end_waits() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            for round in 0..120 {
                let started = Arc::new(AtomicBool::new(false));
                let flag = started.clone();
                let (listener, _) = listener();
                let (one, other) = pair();
                let (near, far) = UnixDatagram::pair().unwrap();
                let to = UnixDatagram::bind_addr(&any()).unwrap();
                let address = to.local_addr().unwrap();
                let waiting = go!(move || {
                    flag.store(true, SeqCst);
                    loop {
                        match round % 5 {
                            0 => drop((&one).read(&mut [0; 4])),
                            1 => drop((&one).write_all(&vec![0; MUCH])),
                            2 => drop(listener.accept()),
                            3 => drop(near.recv(&mut [0; 4])),
                            _ => drop(near.send_to_addr(b"x", &address)),
                        }
                    }
                });
                wait_until("it runs", || started.load(SeqCst));
                waiting.cancel();
                assert!(waiting.join().unwrap_err().is_cancelled());
                drop((other, far, to));
            }
        });
    }
    everywhere(|| {
        let (one, _other) = pair();
        let twin = one.try_clone().unwrap();
        let waiting = spawn(move || (&twin).read(&mut [0; 4]).unwrap_err().kind());
        pass();
        one.set_read_deadline(Some(Instant::now()));
        assert_eq!(waiting.join(), ErrorKind::TimedOut);
        let (listener, _) = listener();
        listener.set_deadline(Some(Instant::now() + Duration::from_millis(1)));
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!((&listener).into_iter().next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(listener.into_incoming().next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn conversions() {
    everywhere(|| {
        let (one, other) = pair();
        let theirs: std::os::unix::net::UnixStream = one.into_std().unwrap();
        assert!(!super::is_nonblocking(&theirs));
        (&other).write_all(b"x").unwrap();
        assert_eq!((&theirs).read(&mut [0; 4]).unwrap(), 1);
        let ours = UnixStream::from(theirs);
        assert_eq!(ours.read_timeout().unwrap(), Some(LONG));
        // SAFETY: just given up by its owner.
        let ours = unsafe { UnixStream::from_raw_fd(ours.into_raw_fd()) };
        (&ours).write_all(b"yz").unwrap();
        assert_eq!((&other).read(&mut [0; 4]).unwrap(), 2);
        let (listener, address) = listener();
        let twin = listener.try_clone().unwrap();
        let theirs = std::os::unix::net::UnixListener::from(listener);
        assert!(super::is_nonblocking(&theirs), "or accept of the other would block the thread");
        drop(theirs);
        let client = UnixStream::connect_addr(&address).unwrap();
        assert!(twin.accept().unwrap().1.is_unnamed());
        assert!(client.take_error().unwrap().is_none());
        let (one, _other) = UnixDatagram::pair().unwrap();
        let theirs = std::os::unix::net::UnixDatagram::from(one);
        assert!(!super::is_nonblocking(&theirs));
        let ours = UnixDatagram::from(theirs);
        ours.set_nonblocking(true).unwrap();
        assert_eq!(ours.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(super::is_nonblocking(&std::os::unix::net::UnixDatagram::from(ours)));
    });
}

//! What is no socket: pipes, anything that epoll takes, and what it does not take.

mod common;

use common::{PROCS, Random, builder, everywhere, is_nonblocking, pass, seed, wait_until};
use gort::io::{Interest, PipeReader, PipeWriter, Pollable, copy, pipe, splice};
use gort::net::UnixStream;
use gort::{go, scope};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
/// More than a pipe holds.
const MUCH: usize = 1 << 20;

/// Runs both at once, as coroutines or as threads.
fn both<A: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() + Send) -> A {
    if gort::try_current().is_some() {
        scope(|s| {
            s.go(b);
            a()
        })
    } else {
        std::thread::scope(|s| {
            s.spawn(b);
            a()
        })
    }
}

fn eventfd() -> File {
    // SAFETY: makes a new descriptor, which nobody else owns.
    File::from(unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) })
}

#[test]
fn pipes_carry_all_and_end() {
    everywhere(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let got = both(
            move || {
                let mut got = Vec::new();
                reader.read_to_end(&mut got).unwrap();
                got
            },
            move || {
                let bytes: Vec<u8> = (0..MUCH).map(|i| (i % 251) as u8).collect();
                writer.write_all(&bytes[..MUCH / 2]).unwrap();
                let mut at = MUCH / 2;
                while at < MUCH {
                    let middle = (at + 999).min(MUCH);
                    at += writer
                        .write_vectored(&[IoSlice::new(&bytes[at..middle]), IoSlice::new(&bytes[middle..])])
                        .unwrap();
                }
                writer.flush().unwrap();
            },
        );
        assert_eq!(got.len(), MUCH);
        assert!(got.iter().enumerate().all(|(i, byte)| *byte == (i % 251) as u8));

        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(b"abcdef").unwrap();
        let (mut a, mut b) = ([0; 2], [0; 8]);
        let count = reader.read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]).unwrap();
        assert_eq!((count, &a, &b[..4]), (6, b"ab", &b"cdef"[..]));
        drop(writer);
        assert_eq!(reader.read(&mut a).unwrap(), 0);
        let (reader, mut writer) = pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_pipe_wakes_at_its_end_and_at_every_byte() {
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        for round in 0..50 {
            let (reader, writer) = pipe().unwrap();
            let twin = writer.try_clone().unwrap();
            let writer = if round % 2 == 0 {
                drop(twin);
                writer
            } else {
                drop(writer);
                twin
            };
            let pauses = random.lock().unwrap().below(4);
            let got = both(
                || {
                    let mut got = 0;
                    loop {
                        match (&reader).read(&mut [0; 3]).unwrap() {
                            0 => return got,
                            count => got += count,
                        }
                    }
                },
                move || {
                    for _ in 0..20 {
                        (&writer).write_all(b"x").unwrap();
                        (0..pauses).for_each(|_| pass());
                    }
                },
            );
            assert_eq!(got, 20);
            // A writer that waits learns that nobody reads any more.
            let (reader, writer) = pipe().unwrap();
            let kind = both(
                || (&writer).write_all(&vec![0; MUCH]).unwrap_err().kind(),
                || {
                    (0..pauses).for_each(|_| pass());
                    drop(reader);
                },
            );
            assert_eq!(kind, ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn pipes_have_limits_and_conversions() {
    everywhere(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        reader.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        reader.set_read_timeout(None).unwrap();
        writer.set_write_timeout(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(writer.write_all(&vec![0; MUCH]).unwrap_err().kind(), ErrorKind::TimedOut);
        writer.set_nonblocking(true).unwrap();
        assert_eq!(writer.write_all(&vec![0; MUCH]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let twin = reader.try_clone().unwrap();
        let theirs = io::PipeReader::from(twin);
        assert!(is_nonblocking(&theirs), "or a read of the other would block the thread");
        drop(theirs);
        let theirs = reader.into_std().unwrap();
        assert!(!is_nonblocking(&theirs));
        let mut ours = PipeReader::from(theirs);
        assert!(is_nonblocking(&ours));
        writer.set_nonblocking(false).unwrap();
        let mut writer = PipeWriter::from(writer.into_std().unwrap());
        ours.read_exact(&mut vec![0; 4096]).unwrap();
        writer.write_all(b"x").unwrap();
        assert!(format!("{ours:?}").starts_with("PipeReader { fd: "));
    });
}

#[test]
fn an_eventfd_counts() {
    everywhere(|| {
        let events = Pollable::new(eventfd()).unwrap();
        assert!(events.is_pollable());
        const ROUNDS: u64 = 300;
        let sum = both(
            || {
                let mut sum = 0;
                while sum < ROUNDS {
                    let mut count = [0; 8];
                    (&events).read_exact(&mut count).unwrap();
                    sum += u64::from_ne_bytes(count);
                }
                sum
            },
            || {
                for _ in 0..ROUNDS {
                    (&events).write_all(&1u64.to_ne_bytes()).unwrap();
                    pass();
                }
            },
        );
        assert_eq!(sum, ROUNDS);
        // One below the largest: no room, until somebody reads.
        (&events).write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        let error = events.wait_writable(Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        both(|| (&events).write_all(&2u64.to_ne_bytes()).unwrap(), || (&events).read_exact(&mut [0; 8]).unwrap());
        let mut count = [0; 8];
        (&events).read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 2);
    });
}

#[test]
fn waiting_for_readiness() {
    everywhere(|| {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut reader = Pollable::new(reader).unwrap();
        let short = Duration::from_millis(2);
        let start = Instant::now();
        assert_eq!(reader.wait_readable(Some(short)).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= short);
        reader.set_read_timeout(Some(short)).unwrap();
        assert_eq!(reader.wait_readable(None).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(reader.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!((&reader).read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        reader.set_read_timeout(None).unwrap();
        both(|| reader.wait_readable(Some(LONG)).unwrap(), || (&writer).write_all(b"abc").unwrap());
        // It stays ready as long as there is something, however often one waits.
        for left in [2, 1] {
            reader.wait_readable(Some(LONG)).unwrap();
            reader.read_exact(&mut [0]).unwrap();
            reader.wait_readable(Some(LONG)).unwrap_or_else(|error| panic!("{left}: {error}"));
        }
        reader.read_exact(&mut [0]).unwrap();
        reader.set_read_deadline(Some(Instant::now()));
        assert_eq!(reader.wait_readable(None).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(reader.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        reader.set_read_deadline(None);
        let reader = Arc::new(reader);
        both(
            || assert_eq!(reader.wait_readable(None).unwrap_err().kind(), ErrorKind::TimedOut),
            || {
                pass();
                reader.set_read_deadline(Some(Instant::now()));
            },
        );
        let reader = Arc::into_inner(reader).unwrap();
        reader.set_read_deadline(None);
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut reader = reader.into_inner().unwrap();
        assert!(!is_nonblocking(&reader), "as it came");
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 1);
        let mut reader = Pollable::new(reader).unwrap();
        reader.wait_readable(None).unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
    });
}

#[test]
fn any_call_can_wait() {
    everywhere(|| {
        // An inotify, read by a call of our own.
        // SAFETY: makes a new descriptor, which nobody else owns.
        let inotify = unsafe { OwnedFd::from_raw_fd(libc::inotify_init1(libc::IN_CLOEXEC)) };
        let place = std::env::temp_dir().join(format!("gort-io-{}-{:p}", std::process::id(), &inotify));
        std::fs::create_dir(&place).unwrap();
        let path = std::ffi::CString::new(place.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: a descriptor and a string that ends in zero.
        assert!(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) } >= 0);
        let inotify = Pollable::new(inotify).unwrap();
        let count = both(
            || {
                let mut buffer = [0; 512];
                inotify
                    .try_io(Interest::Readable, |fd| {
                        // SAFETY: the buffer has so many bytes.
                        match unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } {
                            count if count >= 0 => Ok(count),
                            _ => Err(io::Error::last_os_error()),
                        }
                    })
                    .unwrap()
            },
            || drop(File::create(place.join("new")).unwrap()),
        );
        std::fs::remove_dir_all(&place).unwrap();
        assert!(count > 0);
        // Sockets of std's, and a borrowed descriptor.
        let (one, other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let borrowed: Pollable<BorrowedFd<'_>> = Pollable::new(one.as_fd()).unwrap();
        borrowed.wait_writable(None).unwrap();
        drop(borrowed);
        let one = Pollable::new(one).unwrap();
        both(
            || {
                let mut buffer = [0; 8];
                assert_eq!(one.try_io(Interest::Readable, |socket| socket.recv(&mut buffer)).unwrap(), 5);
            },
            || assert_eq!(other.send(b"hello").unwrap(), 5),
        );
        let error = one.try_io(Interest::Writable, |_| Err::<(), _>(io::Error::other("mine"))).unwrap_err();
        assert_eq!(error.to_string(), "mine");
    });
}

#[test]
fn what_was_interrupted_is_tried_again() {
    everywhere(|| {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (socket, file) =
            (Pollable::new(one).unwrap(), Pollable::new(File::open("/proc/self/exe").unwrap()).unwrap());
        assert!(socket.is_pollable() && !file.is_pollable());
        for interest in [Interest::Readable, Interest::Writable] {
            let mut attempts = [0; 2];
            let third = |attempts: &mut u8| -> io::Result<()> {
                *attempts += 1;
                if *attempts < 3 { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
            };
            let [of_socket, of_file] = &mut attempts;
            socket.try_io(interest, |_| third(of_socket)).unwrap();
            file.try_io(interest, |_| third(of_file)).unwrap();
            assert_eq!(attempts, [3; 2]);
        }
    });
}

#[test]
fn files_take_the_blocking_path() {
    everywhere(|| {
        let place =
            std::env::temp_dir().join(format!("gort-io-{}-{:?}", std::process::id(), std::thread::current().id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&place).unwrap();
        std::fs::remove_file(&place).unwrap();
        let mut file = Pollable::new(file).unwrap();
        assert!(!file.is_pollable() && !is_nonblocking(&file));
        file.write_all(b"some bytes").unwrap();
        file.flush().unwrap();
        file.try_io(Interest::Readable, |mut file| file.rewind()).unwrap();
        file.wait_readable(Some(Duration::from_millis(1))).unwrap();
        file.wait_writable(None).unwrap();
        let mut text = String::new();
        (&file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "some bytes");
        assert_eq!(file.read(&mut [0; 4]).unwrap(), 0);
        drop(file.into_inner().unwrap());
        let mut null = Pollable::new(File::options().write(true).open("/dev/null").unwrap()).unwrap();
        assert!(!null.is_pollable());
        null.write_all(b"x").unwrap();
    });
}

#[test]
fn cancelling_ends_a_wait() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            for round in 0..100 {
                let started = Arc::new(AtomicBool::new(false));
                let flag = started.clone();
                let (reader, writer) = pipe().unwrap();
                let events = Pollable::new(eventfd()).unwrap();
                let waiting = go!(move || {
                    flag.store(true, SeqCst);
                    match round % 4 {
                        0 => drop((&reader).read(&mut [0; 4])),
                        1 => drop((&writer).write_all(&vec![0; MUCH])),
                        2 => drop(events.wait_readable(None)),
                        _ => drop((&events).read(&mut [0; 8])),
                    }
                    unreachable!("nothing ever comes");
                });
                wait_until("it runs", || started.load(SeqCst));
                waiting.cancel();
                assert!(waiting.join().unwrap_err().is_cancelled());
            }
        });
    }
}

#[test]
fn copying() {
    everywhere(|| {
        let bytes: Vec<u8> = (0..MUCH).map(|i| (i % 251) as u8).collect();
        // From memory into a pipe, from the pipe into a socket within the kernel, from the socket into a pipe, and out.
        let (mut first, mut into) = pipe().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (mut last, out) = pipe().unwrap();
        let mut got = Vec::new();
        both(
            || {
                both(
                    || assert_eq!(copy(&mut last, &mut got).unwrap(), MUCH as u64),
                    || {
                        assert_eq!(splice(&far, &out).unwrap(), MUCH as u64);
                        drop(out);
                    },
                )
            },
            || {
                both(
                    || {
                        assert_eq!(splice(&first, &near).unwrap(), MUCH as u64);
                        near.shutdown(std::net::Shutdown::Write).unwrap();
                    },
                    || {
                        assert_eq!(copy(&mut &bytes[..], &mut into).unwrap(), MUCH as u64);
                        drop(into);
                    },
                );
            },
        );
        assert_eq!(got, bytes);
        assert_eq!(first.read(&mut [0; 4]).unwrap(), 0);
    });
}

/// So many bytes that do not repeat soon.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

#[test]
fn what_is_spliced_by_way_of_a_pipe_is_whole() {
    use gort::net::{TcpListener, TcpStream};
    let bytes = &pattern(MUCH + 12_345);
    let place = &std::env::temp_dir().join(format!("gort-splice-{}", std::process::id()));
    std::fs::write(place, bytes).unwrap();
    let gather = |mut stream: TcpStream| {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got
    };
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (near, listener.accept().unwrap().0)
        };
        // From a file.
        let (near, far) = connect();
        let got = both(
            move || gather(far),
            move || {
                let file = File::open(place).unwrap();
                assert_eq!(splice(&file, &near).unwrap(), bytes.len() as u64);
            },
        );
        assert!(got == *bytes);
        // Between sockets: of the two relays the first waits for its reader, the second for its writer.
        let ((mut source, first), (second, third), (fourth, sink)) =
            (connect(), UnixStream::pair().unwrap(), connect());
        let got = both(
            move || {
                both(
                    move || {
                        pass();
                        gather(sink)
                    },
                    move || {
                        assert_eq!(splice(&first, &second).unwrap(), bytes.len() as u64);
                        drop(second);
                    },
                )
            },
            move || {
                both(
                    move || assert_eq!(splice(&third, &fourth).unwrap(), bytes.len() as u64),
                    move || bytes.chunks(50_000).for_each(|piece| source.write_all(piece).unwrap()),
                );
            },
        );
        assert!(got == *bytes);
        // To a file.
        let (mut near, far) = UnixStream::pair().unwrap();
        let copy = place.with_extension(format!("{:?}", std::thread::current().id()));
        both(
            || assert_eq!(splice(&far, &File::create(&copy).unwrap()).unwrap(), bytes.len() as u64),
            move || near.write_all(bytes).unwrap(),
        );
        assert!(std::fs::read(&copy).unwrap() == *bytes);
        std::fs::remove_file(copy).unwrap();
        // Errors are those of who has failed.
        let (near, far) = connect();
        drop(far);
        let file = File::open(place).unwrap();
        let error = splice(&file, &near).unwrap_err().kind();
        assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    });
    std::fs::remove_file(place).unwrap();
}

#[test]
fn a_splice_that_is_refused_has_read_nothing() {
    // Goal: where the kernel cannot do it, `copy` can go on. Method: writers into which nothing is spliced, a file that was opened
    // to append and an eventfd, from a socket with bytes, from one at its end, and from a file.
    everywhere(|| {
        let place =
            std::env::temp_dir().join(format!("gort-append-{}-{:?}", std::process::id(), std::thread::current().id()));
        let mut appends = File::options().append(true).create(true).open(&place).unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"some bytes").unwrap();
        drop(near);
        for _ in 0..2 {
            assert_eq!(splice(&far, &appends).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(splice(&far, &eventfd()).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(copy(&mut &far, &mut appends).unwrap(), 10);
        assert_eq!(std::fs::read(&place).unwrap(), b"some bytes");
        assert_eq!(splice(&far, &appends).unwrap_err().kind(), ErrorKind::InvalidInput, "at the end, too");
        let mut file = File::open(&place).unwrap();
        assert_eq!(splice(&file, &appends).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(file.stream_position().unwrap(), 0);
        std::fs::remove_file(place).unwrap();
    });
}

#[test]
fn halves_read_and_write_at_once_and_come_together() {
    everywhere(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let bytes = &pattern(MUCH);
        let (mut reader, mut writer) = gort::io::split(near);
        let (mut reader, writer) = std::thread::scope(|threads| {
            threads.spawn(move || {
                let mut buffer = vec![0; 5000];
                loop {
                    match far.read(&mut buffer).unwrap() {
                        0 => return,
                        count => far.write_all(&buffer[..count]).unwrap(),
                    }
                }
            });
            let mut got = vec![0; MUCH];
            both(|| reader.read_exact(&mut got).unwrap(), || writer.write_all(bytes).unwrap());
            assert!(got == *bytes);
            writer.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
            (reader, writer)
        });
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        let _ = writer;
    });
    let ((a, b), (c, d)) =
        (gort::io::split(UnixStream::pair().unwrap().0), gort::io::split(UnixStream::pair().unwrap().1));
    let (number, other) = (a.get_ref().as_raw_fd(), c.get_ref().as_raw_fd());
    let gort::io::ReuniteError(a, d) = a.reunite(d).unwrap_err();
    assert_eq!(a.reunite(b).unwrap().as_raw_fd(), number);
    assert_eq!(c.reunite(d).unwrap().as_raw_fd(), other);
}

/// The standard streams, and what reads a directory, have the traits that std's have.
#[test]
fn traits_of_std() {
    use gort::fs::ReadDir;
    use gort::io::{Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, stderr, stdin, stdout};
    use std::panic::{RefUnwindSafe, UnwindSafe};
    fn unwinds<T: UnwindSafe + RefUnwindSafe>() {}
    unwinds::<ReadDir>();
    unwinds::<Stdin>();
    unwinds::<StdinLock<'_>>();
    unwinds::<Stdout>();
    unwinds::<StdoutLock<'_>>();
    unwinds::<Stderr>();
    unwinds::<StderrLock<'_>>();
    let numbers = |one: &dyn AsFd, lock: &dyn AsFd| (one.as_fd().as_raw_fd(), lock.as_fd().as_raw_fd());
    assert_eq!(numbers(&stdin(), &stdin().lock()), (0, 0));
    assert_eq!(numbers(&stdout(), &stdout().lock()), (1, 1));
    assert_eq!(numbers(&stderr(), &stderr().lock()), (2, 2));
    assert_eq!((stdin().lock().as_raw_fd(), stdout().lock().as_raw_fd(), stderr().lock().as_raw_fd()), (0, 1, 2));
}

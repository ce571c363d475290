//! `io::copy` between descriptors: whichever way the kernel moves the bytes, all of them come, in order, and limits hold.

mod common;

use common::tcp::connection as tcp;
use common::{builder, everywhere, is_nonblocking, pass, threads_named, wait_until};
use gort::io::{PipeReader, PipeWriter, copy, pipe, split};
use gort::net::{Shutdown, TcpStream, UnixStream};
use gort::time::timeout;
use gort::{go, scope};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// More than all buffers on the way hold, and no round number.
const BIG: usize = (24 << 20) + 4_711;
const LONG: Duration = Duration::from_secs(60);

fn pattern(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// A file that nobody else has, and that is gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("gort-copy-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        Place(std::env::temp_dir().join(name))
    }

    fn with(bytes: &[u8]) -> Place {
        let place = Place::new();
        std::fs::write(&place.0, bytes).unwrap();
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// All three at once, as coroutines or as threads.
fn at_once<R: Send>(a: impl FnOnce() + Send, b: impl FnOnce() + Send, c: impl FnOnce() -> R + Send) -> R {
    if gort::try_current().is_some() {
        scope(|s| {
            s.go(a);
            s.go(b);
            c()
        })
    } else {
        std::thread::scope(|s| {
            s.spawn(a);
            s.spawn(b);
            c()
        })
    }
}

/// What is fed into the one end comes out of the other, when `reader` is copied to `writer`.
fn relays<R: Read + Send, W: Write + Send>(
    bytes: &[u8],
    feed: impl Write + Send,
    mut reader: R,
    mut writer: W,
    sink: impl Read + Send,
) {
    relays_by(bytes, feed, move || copy(&mut reader, &mut writer), sink);
}

/// `copying` must close the writer.
fn relays_by(
    bytes: &[u8],
    mut feed: impl Write + Send,
    copying: impl FnOnce() -> io::Result<u64> + Send,
    mut sink: impl Read + Send,
) {
    let got = at_once(
        move || {
            // Much at once, and little by little.
            let (much, little) = bytes.split_at(bytes.len() - 100_000);
            feed.write_all(much).unwrap();
            little.chunks(999).for_each(|piece| feed.write_all(piece).unwrap());
        },
        move || assert_eq!(copying().unwrap(), bytes.len() as u64),
        move || {
            let mut got = Vec::new();
            sink.read_to_end(&mut got).unwrap();
            got
        },
    );
    assert!(got == bytes, "{} bytes of {}", got.len(), bytes.len());
}

#[test]
fn all_pairs_that_wait() {
    let bytes = &pattern(BIG / 3);
    everywhere(|| {
        let ((feed, reader), (writer, sink)) = (tcp(), tcp());
        relays(bytes, feed, reader, writer, sink);
        let ((feed, reader), (writer, sink)) = (tcp(), UnixStream::pair().unwrap());
        relays(bytes, feed, reader, writer, sink);
        let ((feed, reader), (writer, sink)) = (UnixStream::pair().unwrap(), tcp());
        relays(bytes, feed, reader, writer, sink);
        let ((reader, feed), (writer, sink)) = (pipe().unwrap(), tcp());
        relays(bytes, feed, reader, writer, sink);
        let ((feed, reader), (sink, writer)) = (UnixStream::pair().unwrap(), pipe().unwrap());
        relays(bytes, feed, reader, writer, sink);
        let ((reader, feed), (sink, writer)) = (pipe().unwrap(), pipe().unwrap());
        relays(bytes, feed, reader, writer, sink);
    });
}

#[test]
fn references_boxes_halves_and_buffers() {
    let bytes = &pattern(2 << 20);
    everywhere(|| {
        let ((feed, mut reader), (mut writer, sink)) = (tcp(), tcp());
        let by_reference = move || copy(&mut &mut reader, &mut &mut writer);
        relays_by(bytes, feed, by_reference, sink);
        let ((feed, reader), (writer, sink)) = (tcp(), UnixStream::pair().unwrap());
        relays(bytes, feed, &reader, Box::new(writer), sink);
        let ((feed, reader), (writer, sink)) = (tcp(), tcp());
        relays(bytes, feed, BufReader::new(reader), BufWriter::new(writer), sink);
        let ((feed, reader), (writer, sink)) = (tcp(), tcp());
        relays(
            bytes,
            feed,
            BufReader::with_capacity(300_000, &reader),
            BufWriter::with_capacity(300_000, writer),
            sink,
        );
        let ((feed, reader), (writer, sink)) = (tcp(), tcp());
        let ((reader, _), (_, writer)) = (split(reader), split(writer));
        relays(bytes, feed, reader, writer, sink);
        // What cannot be seen into.
        let ((feed, reader), (writer, sink)) = (tcp(), tcp());
        relays(bytes, feed, Box::new(reader) as Box<dyn Read + Send>, Box::new(writer) as Box<dyn Write + Send>, sink);
        // What a `BufWriter` had before comes before.
        let ((mut feed, reader), (writer, mut sink)) = (tcp(), tcp());
        let mut writer = BufWriter::with_capacity(1 << 20, writer);
        writer.write_all(b"before").unwrap();
        let got = at_once(
            move || feed.write_all(bytes).unwrap(),
            move || {
                copy(&mut &reader, &mut writer).unwrap();
            },
            move || {
                let mut got = Vec::new();
                sink.read_to_end(&mut got).unwrap();
                got
            },
        );
        assert!(got.starts_with(b"before") && got[6..] == **bytes);
    });
}

/// Several megabytes go both ways at once through one pair of sockets on each side, as in a proxy.
#[test]
fn both_directions_at_once() {
    let (there, back) = (&pattern(BIG), &pattern(BIG / 2));
    everywhere(|| {
        let ((client, near), (far, server)) = (tcp(), tcp());
        let exchange = |stream: &TcpStream, out: &[u8], expected: &[u8]| {
            let got = at_once(
                || {
                    (&mut &*stream).write_all(out).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                },
                || (),
                || {
                    let mut got = Vec::new();
                    (&mut &*stream).read_to_end(&mut got).unwrap();
                    got
                },
            );
            assert!(got == expected);
        };
        let relay = |from: &TcpStream, to: &TcpStream, count: usize| {
            assert_eq!(copy(&mut &*from, &mut &*to).unwrap(), count as u64);
            to.shutdown(Shutdown::Write).unwrap();
        };
        at_once(
            || exchange(&client, there, back),
            || exchange(&server, back, there),
            || at_once(|| relay(&near, &far, there.len()), || relay(&far, &near, back.len()), || ()),
        );
    });
}

#[test]
fn files_on_either_side() {
    let bytes = &pattern(BIG / 3);
    let place = &Place::with(bytes);
    let gather = |mut stream: Box<dyn Read + Send>| {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got
    };
    everywhere(|| {
        // From a file, ours and std's, to a socket and to a pipe; from where it stands.
        let (mut near, far) = tcp();
        let ours = gort::fs::File::open(&place.0).unwrap();
        (&ours).seek(io::SeekFrom::Start(17)).unwrap();
        let got = at_once(
            || (),
            move || assert_eq!(copy(&mut &ours, &mut near).unwrap(), bytes.len() as u64 - 17),
            move || gather(Box::new(far)),
        );
        assert!(got == bytes[17..]);
        let (reader, mut writer) = pipe().unwrap();
        let mut theirs = File::open(&place.0).unwrap();
        let got = at_once(
            || (),
            move || assert_eq!(copy(&mut theirs, &mut writer).unwrap(), bytes.len() as u64),
            move || gather(Box::new(reader)),
        );
        assert!(got == *bytes);
        // To a file, from a socket, a pipe and a file.
        let target = Place::with(b"");
        let (mut near, far) = tcp();
        at_once(
            move || near.write_all(bytes).unwrap(),
            || (),
            || {
                let mut file = gort::fs::File::create(&target.0).unwrap();
                assert_eq!(copy(&mut &far, &mut file).unwrap(), bytes.len() as u64);
                // It stands at the end.
                assert_eq!(file.stream_position().unwrap(), bytes.len() as u64);
            },
        );
        assert!(std::fs::read(&target.0).unwrap() == *bytes);
        let (reader, mut writer) = pipe().unwrap();
        at_once(
            move || writer.write_all(bytes).unwrap(),
            || (),
            || {
                let mut file = File::create(&target.0).unwrap();
                assert_eq!(copy(&mut BufReader::new(reader), &mut file).unwrap(), bytes.len() as u64);
            },
        );
        assert!(std::fs::read(&target.0).unwrap() == *bytes);
        let (mut from, mut to) = (File::open(&place.0).unwrap(), gort::fs::File::create(&target.0).unwrap());
        assert_eq!(copy(&mut from, &mut to).unwrap(), bytes.len() as u64);
        assert!(std::fs::read(&target.0).unwrap() == *bytes);
    });
}

/// What the kernel refuses goes by way of the buffer: no byte is lost that was in the pipe between.
#[test]
fn a_file_opened_to_append() {
    let bytes = &pattern(3 << 20);
    everywhere(|| {
        let (place, source) = (Place::with(b"start"), Place::with(bytes));
        let (mut near, far) = tcp();
        at_once(
            move || near.write_all(bytes).unwrap(),
            || (),
            || {
                let mut file = File::options().append(true).open(&place.0).unwrap();
                assert_eq!(copy(&mut &far, &mut file).unwrap(), bytes.len() as u64);
                assert_eq!(copy(&mut File::open(&source.0).unwrap(), &mut file).unwrap(), bytes.len() as u64);
            },
        );
        let got = std::fs::read(&place.0).unwrap();
        assert!(got.starts_with(b"start") && got[5..5 + bytes.len()] == **bytes && got[5 + bytes.len()..] == **bytes);
    });
}

/// Files that say they are empty, and devices.
#[test]
fn what_is_a_file_and_has_no_length() {
    everywhere(|| {
        // `sendfile` finds no length here, or an end at once.
        let (mut near, mut far) = tcp();
        let got = at_once(
            || (),
            move || {
                copy(&mut File::open("/proc/kallsyms").unwrap().take(200_000), &mut near).unwrap();
            },
            move || {
                let mut got = Vec::new();
                far.read_to_end(&mut got).unwrap();
                got
            },
        );
        let mut expected = Vec::new();
        File::open("/proc/kallsyms").unwrap().take(200_000).read_to_end(&mut expected).unwrap();
        assert!(got == expected);
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let zeros = at_once(
            || (),
            move || {
                let zero = gort::fs::File::open("/dev/zero").unwrap();
                assert_eq!(copy(&mut zero.take(1 << 20), &mut near).unwrap(), 1 << 20);
            },
            move || {
                let mut got = Vec::new();
                far.read_to_end(&mut got).unwrap();
                got
            },
        );
        assert!(zeros == vec![0; 1 << 20]);
    });
}

#[test]
fn take_leaves_what_is_behind() {
    let bytes = &pattern(BIG / 6);
    everywhere(|| {
        let ((mut feed, mut reader), (mut writer, mut sink)) = (tcp(), UnixStream::pair().unwrap());
        let middle = bytes.len() / 2 + 1;
        let first = at_once(
            move || feed.write_all(bytes).unwrap(),
            || {
                let mut start = (&mut reader).take(middle as u64);
                assert_eq!(copy(&mut start, &mut writer).unwrap(), middle as u64);
                assert_eq!(start.limit(), 0);
                writer.shutdown(Shutdown::Write).unwrap();
            },
            || {
                let mut got = Vec::new();
                sink.read_to_end(&mut got).unwrap();
                got
            },
        );
        assert!(first == bytes[..middle]);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got == bytes[middle..]);
    });
}

/// What a copy took from the socket counts against the limit of a `Take`, also what it could not write any more: who reads on
/// does not come past the end.
#[test]
fn a_copy_that_fails_counts_what_it_has_taken() {
    // Goal: no byte behind the limit is read by whoever goes on with the `Take`.
    // Method: the copy gets stuck in the middle, since nobody reads at the other end, and ends by a limit of the writer's, or unwinds by
    // one around it. The rest of the `Take` then ends where it should.
    const LIMIT: usize = 600_000;
    let bytes = &pattern(1 << 20);
    let short = Duration::from_millis(50);
    everywhere(|| {
        for unwinds in [false, true] {
            let ((mut feed, reader), (mut writer, _sink)) = (tcp(), UnixStream::pair().unwrap());
            at_once(
                move || feed.write_all(bytes).unwrap(),
                || (),
                || {
                    let mut start = (&reader).take(LIMIT as u64);
                    if unwinds {
                        assert!(timeout(short, || copy(&mut start, &mut writer)).is_err());
                    } else {
                        writer.set_write_timeout(Some(short)).unwrap();
                        assert_eq!(copy(&mut start, &mut writer).unwrap_err().kind(), ErrorKind::TimedOut);
                    }
                    start.read_to_end(&mut Vec::new()).unwrap();
                    let mut behind = Vec::new();
                    (&reader).read_to_end(&mut behind).unwrap();
                    assert!(behind == bytes[LIMIT..], "unwinds: {unwinds}");
                },
            );
        }
    });
}

/// The limits of both sides hold, wherever the copy stands, and though a clone that has become std's has put the open file into
/// blocking mode.
#[test]
fn deadlines_timeouts_and_modes() {
    let bytes = &pattern(4 << 20);
    let become_std = |stream: &TcpStream| {
        let theirs = stream.try_clone().unwrap().into_std().unwrap();
        assert!(!is_nonblocking(stream));
        theirs
    };
    let ways = [0, 1, 2].map(|way| [(way, false), (way, true)]);
    everywhere(|| {
        // Nobody reads: the writer's.
        for (way, blocks) in ways.into_iter().flatten() {
            let ((mut feed, mut reader), (mut writer, _sink)) = (tcp(), tcp());
            let _theirs = blocks.then(|| become_std(&writer));
            let start = Instant::now();
            match way {
                0 => writer.set_write_timeout(Some(Duration::from_millis(20))).unwrap(),
                1 => writer.set_write_deadline(Some(start + Duration::from_millis(20))),
                _ => writer.set_nonblocking(true).unwrap(),
            }
            let other = reader.try_clone().unwrap();
            let kind = at_once(
                move || {
                    // Until the copy has ended, and the reader is shut.
                    while feed.write_all(bytes).is_ok() {}
                },
                || (),
                move || {
                    let kind = copy(&mut reader, &mut writer).unwrap_err().kind();
                    other.shutdown(Shutdown::Both).unwrap();
                    drop((other, reader));
                    kind
                },
            );
            let expected = if way == 2 { ErrorKind::WouldBlock } else { ErrorKind::TimedOut };
            assert_eq!(kind, expected, "way {way}, blocks: {blocks}");
            assert!(way == 2 || start.elapsed() >= Duration::from_millis(20));
        }
        // Nothing more comes: the reader's, which may be set from outside.
        for (way, blocks) in ways.into_iter().flatten() {
            let ((mut feed, reader), (writer, mut sink)) = (tcp(), tcp());
            let _theirs = blocks.then(|| become_std(&reader));
            match way {
                0 => reader.set_read_timeout(Some(Duration::from_millis(20))).unwrap(),
                1 => reader.set_read_deadline(Some(Instant::now() + LONG)),
                _ => (),
            }
            let (end, twin) = (reader.try_clone().unwrap(), writer.try_clone().unwrap());
            let all_have_come = AtomicBool::new(false);
            let (error, got) = at_once(
                || feed.write_all(bytes).unwrap(),
                || (),
                || {
                    let copying = || {
                        // The feeder may have to wait for a CPU for longer than the limit: then it goes on where it stood.
                        let error = loop {
                            let error = copy(&mut &reader, &mut &writer).unwrap_err();
                            if error.kind() != ErrorKind::TimedOut || all_have_come.load(SeqCst) {
                                break error;
                            }
                            assert_eq!(way, 0, "there is no limit yet");
                        };
                        twin.shutdown(Shutdown::Write).unwrap();
                        error.kind()
                    };
                    let mut got = vec![0; bytes.len()];
                    let mut kind = None;
                    at_once(
                        || kind = Some(copying()),
                        || {
                            sink.read_exact(&mut got).unwrap();
                            all_have_come.store(true, SeqCst);
                            pass();
                            if way != 0 {
                                end.set_read_deadline(Some(Instant::now()));
                            }
                        },
                        || (),
                    );
                    (kind, got)
                },
            );
            assert_eq!(error, Some(ErrorKind::TimedOut), "way {way}, blocks: {blocks}");
            assert!(got == *bytes);
        }
        // One that has passed ends a copy that never waits.
        let place = Place::with(bytes);
        let (near, far) = UnixStream::pair().unwrap();
        near.set_write_deadline(Some(Instant::now()));
        assert_eq!(copy(&mut File::open(&place.0).unwrap(), &mut &near).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(far);
    });
}

#[test]
fn a_peer_that_goes() {
    let bytes = &pattern(8 << 20);
    let place = &Place::with(bytes);
    let is_gone = |error: io::Error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    everywhere(|| {
        // The sink of a file, and of a socket, after it has read a part.
        let (mut near, mut far) = tcp();
        at_once(
            || (),
            move || assert!(is_gone(copy(&mut File::open(&place.0).unwrap(), &mut near).unwrap_err())),
            move || far.read_exact(&mut vec![0; 300_000]).unwrap(),
        );
        let ((mut feed, mut reader), (mut writer, mut sink)) = (tcp(), UnixStream::pair().unwrap());
        at_once(
            move || drop(feed.write_all(bytes)),
            move || assert!(is_gone(copy(&mut reader, &mut writer).unwrap_err())),
            move || sink.read_exact(&mut vec![0; 300_000]).unwrap(),
        );
        let ((mut feed, mut reader), (mut sink, mut writer)) = (tcp(), pipe().unwrap());
        at_once(
            move || drop(feed.write_all(bytes)),
            move || assert!(is_gone(copy(&mut reader, &mut writer).unwrap_err())),
            move || sink.read_exact(&mut vec![0; 300_000]).unwrap(),
        );
        // The source, in the middle, with a reset.
        let ((mut feed, mut reader), (mut writer, mut sink)) = (tcp(), tcp());
        let got = at_once(
            move || {
                feed.write_all(bytes).unwrap();
                feed.set_linger(Some(Duration::ZERO)).unwrap();
            },
            move || match copy(&mut reader, &mut writer) {
                // A reset throws away what has not been read.
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                Ok(count) => assert_eq!(count, bytes.len() as u64),
            },
            move || {
                let mut got = Vec::new();
                sink.read_to_end(&mut got).unwrap();
                got
            },
        );
        assert!(bytes.starts_with(&got));
    });
}

/// Wherever a copy is cancelled, and however often: no descriptor is left behind, and nobody who copies next finds bytes of
/// another in a pipe.
#[test]
fn cancelling_leaves_nothing() {
    // Others have descriptors, too.
    if !common::is_child("cancelling_leaves_nothing") {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    common::begin_sysmon();
    let before = descriptors();
    let bytes = Arc::new(pattern(1 << 20));
    for procs in common::PROCS {
        let bytes = bytes.clone();
        builder(procs).build().unwrap().run(move || {
            for round in 0..60u64 {
                let ((mut feed, mut reader), (mut writer, mut sink)) = (tcp(), tcp());
                let copied = Arc::new(AtomicU64::new(0));
                let count = copied.clone();
                let much = bytes.clone();
                let feeding = go!(move || while feed.write_all(&much).is_ok() {});
                let copying = go!(move || {
                    let _ = copy(&mut reader, &mut writer);
                });
                let reading = go!(move || {
                    let mut buffer = vec![0; 40_000];
                    while let Ok(1..) = sink.read(&mut buffer) {
                        if count.fetch_add(1, SeqCst) > round % 30 {
                            // Let it stand with its pipe full.
                            gort::park();
                        }
                    }
                });
                wait_until("it copies", || copied.load(SeqCst) > round % 30);
                copying.cancel();
                assert!(copying.join().unwrap_err().is_cancelled());
                feeding.join().unwrap();
                reading.cancel();
                let _ = reading.join();
                let ((feed, reader), (writer, sink)) = (tcp(), tcp());
                relays(&bytes[..200_000], feed, reader, writer, sink);
            }
        });
        // No two pipes were in use at once, and one that is empty may be kept for the next.
        let left = descriptors() - before;
        assert!(left == 0 || left == 2, "{left} are left");
    }
}

/// A limit of time around it.
#[test]
fn a_bound_ends_it() {
    gort::run(|| {
        let ((mut feed, mut reader), (mut writer, _sink)) = (tcp(), tcp());
        let other = reader.try_clone().unwrap();
        let feeding = go!(move || while feed.write_all(&pattern(1 << 20)).is_ok() {});
        let copied = timeout(Duration::from_millis(30), move || copy(&mut reader, &mut writer));
        assert!(copied.is_err());
        other.shutdown(Shutdown::Both).unwrap();
        drop(other);
        feeding.join().unwrap();
    });
}

#[test]
fn between_sockets_no_call_is_given_away() {
    // Goal: these calls cannot block, so they are made in place. Method: while somebody else lives in the home of who copies, whatever
    // may block goes to a spare thread; there is none.
    let bytes = &pattern(BIG / 6);
    let ((feed, reader), (mut writer, sink)) = (tcp(), tcp());
    builder(2).name("relay").build().unwrap().run(move || {
        let copying = move || {
            let (alive, ended) = gort::channel::bounded::<()>(0);
            let neighbour = gort::go_local!(move || assert!(ended.recv().is_err()));
            let copied = copy(&mut &reader, &mut writer);
            drop(alive);
            neighbour.join().unwrap();
            copied
        };
        relays_by(bytes, feed, copying, sink);
        assert_eq!(threads_named("relay-blocking"), 0);
    });
}

#[test]
fn the_pipes_of_children() {
    use gort::process::{Command, Stdio};
    let bytes = &pattern(BIG / 6);
    gort::run(move || {
        let place = Place::with(bytes);
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut into, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut near, mut far) = tcp();
        let got = at_once(
            move || assert_eq!(copy(&mut File::open(&place.0).unwrap(), &mut into).unwrap(), bytes.len() as u64),
            move || assert_eq!(copy(&mut from, &mut near).unwrap(), bytes.len() as u64),
            move || {
                let mut got = Vec::new();
                far.read_to_end(&mut got).unwrap();
                got
            },
        );
        assert!(got == *bytes);
        assert!(child.wait().unwrap().success());
    });
}

/// In a program that does not ignore SIGPIPE a peer that goes is an error all the same.
#[test]
fn no_signal_where_it_would_kill() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_minds_sigpipe", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
}

#[test]
#[ignore = "run by no_signal_where_it_would_kill, in a process of its own"]
fn child_that_minds_sigpipe() {
    // SAFETY: a disposition without a handler.
    unsafe {
        let action = std::mem::zeroed::<libc::sigaction>();
        assert_eq!(libc::sigaction(libc::SIGPIPE, &action, std::ptr::null_mut()), 0);
    }
    gort::run(|| {
        let place = Place::with(&pattern(4 << 20));
        let (mut near, mut far) = tcp();
        at_once(
            || (),
            move || drop(copy(&mut File::open(&place.0).unwrap(), &mut near).unwrap_err()),
            move || far.read_exact(&mut vec![0; 100_000]).unwrap(),
        );
        let ((mut feed, mut reader), (mut writer, sink)) = (tcp(), tcp());
        drop(sink);
        at_once(
            move || while feed.write_all(&[0; 100_000]).is_ok() {},
            move || drop(copy(&mut reader, &mut writer).unwrap_err()),
            || (),
        );
    });
}

/// One pipe's end used as what it is not: a descriptor of another kind in the type.
#[test]
fn types_that_lie() {
    let bytes = &pattern(2 << 20);
    everywhere(|| {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut reader, writer) =
            (PipeReader::from(std::os::fd::OwnedFd::from(one)), PipeWriter::from(std::os::fd::OwnedFd::from(other)));
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let got = at_once(
            move || (&mut &writer).write_all(bytes).unwrap(),
            move || assert_eq!(copy(&mut reader, &mut near).unwrap(), bytes.len() as u64),
            move || {
                let mut got = Vec::new();
                far.read_to_end(&mut got).unwrap();
                got
            },
        );
        assert!(got == *bytes);
    });
}

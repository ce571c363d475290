//! How a connection ends, and how a wait does.

use super::{MUCH, drain, everywhere, listener, narrow_pair, pair, pause, spawn};
use crate::common::{self, PROCS, Random, builder, seed, wait_until};
use gort::net::Shutdown;
use gort::{Runtime, go, scope, yield_now};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

#[test]
fn half_close() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let server = spawn(move || {
            let mut request = Vec::new();
            server.read_to_end(&mut request).unwrap();
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 0, "the end stays the end");
            server.write_all(&request).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            assert_eq!(server.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
        client.write_all(b"request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "request");
        server.join();
    });
}

#[test]
fn shutdown_wakes_those_who_wait() {
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        for round in 0..60 {
            let (client, server) = narrow_pair();
            let client = Arc::new(client);
            let other = client.clone();
            let waiting = spawn(move || {
                if round % 2 == 0 {
                    (&*other).write_all(&vec![0; MUCH]).unwrap_err().kind()
                } else {
                    assert_eq!((&*other).read(&mut [0; 8]).unwrap(), 0);
                    ErrorKind::BrokenPipe
                }
            });
            pause(*random.lock().unwrap());
            client
                .shutdown(if round % 3 == 0 {
                    Shutdown::Both
                } else if round % 2 == 0 {
                    Shutdown::Write
                } else {
                    Shutdown::Read
                })
                .unwrap();
            assert_eq!(waiting.join(), ErrorKind::BrokenPipe);
            drop(server);
        }
    });
}

#[test]
fn a_reset_ends_reads_and_writes() {
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        for round in 0..60 {
            let (mut client, server) = if round % 3 == 2 { narrow_pair() } else { pair() };
            let server = Arc::new(server);
            if round % 3 == 0 {
                // A short read first, so that the next would wait first.
                client.write_all(b"ab").unwrap();
                assert_eq!((&*server).read(&mut [0; 8]).unwrap(), 2);
            }
            let other = server.clone();
            let waiting = spawn(move || {
                if round % 3 == 2 {
                    // The buffers fill, and it waits.
                    (&*other).write_all(&vec![0; MUCH]).map_err(|error| error.kind())
                } else {
                    (&*other).read(&mut [0; 8]).map(drop).map_err(|error| error.kind())
                }
            });
            if round % 3 == 2 {
                // Some has come, so that it has begun, and the reset is not that of a connection that it never used.
                assert!(client.read(&mut [0; 8]).unwrap() > 0);
            }
            pause(*random.lock().unwrap());
            client.set_linger(Some(Duration::ZERO)).unwrap();
            assert_eq!(client.linger().unwrap(), Some(Duration::ZERO));
            drop(client);
            assert_eq!(waiting.join(), Err(ErrorKind::ConnectionReset));
            // The error was taken; what follows is an end, and no signal.
            assert_eq!((&*server).read(&mut [0; 8]).unwrap(), 0);
            assert_eq!((&*server).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn the_end_is_never_missed() {
    // Goal: a read that waits first (after a short read) always learns of the end of the stream
    // and of bytes, however they fall together. Method: rounds of short messages, so that the
    // descriptor is registered and known to be empty; then a last message and the close, with
    // or without a pause, as the reader reads; 10,000 times. A wake-up that is lost fails by
    // the read timeout of `pair`.
    let seed = seed();
    for (index, procs) in PROCS.into_iter().enumerate() {
        builder(procs).build().unwrap().run(move || {
            let connections = 10_000 * common::factor() as usize / PROCS.len() / 20;
            scope(|s| {
                for task in 0..20 {
                    s.go(move || {
                        let mut random = Random::new(seed ^ (index * 1000 + task) as u64);
                        for _ in 0..connections {
                            one_end(&mut random);
                        }
                    });
                }
            });
        });
    }
}

fn one_end(random: &mut Random) {
    let (mut client, mut server) = pair();
    let (messages, size) = (random.below(4) as usize, 1 + random.below(200) as usize);
    let writer_seed = random.below(u64::MAX);
    let writer = go!(move || {
        let mut random = Random::new(writer_seed);
        for _ in 0..messages {
            client.write_all(&vec![1; size]).unwrap();
            // Wait for the answer, so that each message is a short read of its own.
            client.read_exact(&mut [0]).unwrap();
            pause(&mut random);
        }
        client.write_all(&vec![2; size]).unwrap();
        pause(&mut random);
        match random.below(3) {
            0 => drop(client),
            1 => client.shutdown(Shutdown::Write).unwrap(),
            _ => {
                client.write_all(&[3]).unwrap();
                pause(&mut random);
                drop(client);
            }
        }
    });
    let mut buffer = [0; 256];
    let mut got = 0;
    for _ in 0..messages {
        let mut expected = size;
        while expected > 0 {
            expected -= server.read(&mut buffer).unwrap();
        }
        server.write_all(&[1]).unwrap();
    }
    loop {
        pause(random);
        match server.read(&mut buffer).unwrap() {
            0 => break,
            count => got += count,
        }
    }
    assert!(got == size || got == size + 1, "{got} bytes of {size}");
    writer.join().unwrap();
}

#[test]
fn urgent_data_does_not_hide_what_follows() {
    // Goal: a read that stops short of the urgent mark has not emptied the stream.
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            for inline in [false, true] {
                let (mut client, mut server) = pair();
                let socket = socket2::SockRef::from(&server);
                socket.set_out_of_band_inline(inline).unwrap();
                // A read that waits, so that from now on there are events.
                let reader = go!(move || {
                    assert_eq!(server.read(&mut [0; 64]).unwrap(), 1);
                    server
                });
                gort::time::sleep(Duration::from_millis(1));
                client.write_all(b"x").unwrap();
                let mut server = reader.join().unwrap();
                for round in 0..20 {
                    client.write_all(b"ab").unwrap();
                    socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
                    client.write_all(b"cd").unwrap();
                    if round % 2 == 0 {
                        // The event is likely to come before the read.
                        gort::time::sleep(Duration::from_micros(500));
                    }
                    let mut got = Vec::new();
                    while got.len() < if inline { 5 } else { 4 } {
                        let mut buffer = [0; 64];
                        let count = server.read(&mut buffer).unwrap();
                        got.extend_from_slice(&buffer[..count]);
                    }
                    assert_eq!(got, if inline { &b"ab!cd"[..] } else { b"abcd" });
                }
            }
        });
    }
}

#[test]
fn cancelling_ends_a_wait() {
    let seed = seed();
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            let mut random = Random::new(seed);
            for round in 0..200 {
                let (client, server) = narrow_pair();
                let (listener, _) = listener();
                let started = Arc::new(AtomicBool::new(false));
                let flag = started.clone();
                let waiting = go!(move || {
                    flag.store(true, SeqCst);
                    match round % 3 {
                        0 => drop((&server).read(&mut [0; 4])),
                        1 => drop((&server).write_all(&vec![0; MUCH])),
                        _ => drop(listener.accept()),
                    }
                    unreachable!("nothing ever comes");
                });
                wait_until("it runs", || started.load(SeqCst));
                pause(&mut random);
                waiting.cancel();
                assert!(waiting.join().unwrap_err().is_cancelled());
                // What it owned was dropped: the peer sees the end.
                drain(&client);
            }
        });
    }
}

#[test]
fn cancelling_one_reader_leaves_the_others() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            for round in 0..50 {
                let (client, server) = pair();
                let server = Arc::new(server);
                let readers: Vec<_> = (0..3)
                    .map(|_| {
                        let server = server.clone();
                        go!(move || (&*server).read(&mut [0; 1]).unwrap())
                    })
                    .collect();
                (0..round % 5).for_each(|_| yield_now());
                readers[round % 3].cancel();
                (&client).write_all(b"abc").unwrap();
                for (number, reader) in readers.into_iter().enumerate() {
                    match reader.join() {
                        Ok(count) => assert_eq!(count, 1),
                        Err(error) => assert!(error.is_cancelled() && number == round % 3, "{number}: {error}"),
                    }
                }
            }
        });
    }
}

#[test]
fn dropping_a_runtime_ends_what_waits_in_it() {
    for procs in PROCS {
        let runtime: Runtime = builder(procs).build().unwrap();
        let mut clients = Vec::new();
        for round in 0..30 {
            let (client, server) = narrow_pair();
            let (listener, _) = listener();
            let _ = runtime.spawn(move || match round % 3 {
                0 => drop((&server).read(&mut [0; 4])),
                1 => drop((&server).write_all(&vec![0; MUCH])),
                _ => drop((listener.accept(), server)),
            });
            clients.push(client);
        }
        drop(runtime);
        for client in clients {
            drain(&client);
        }
    }
}

#[test]
fn files_are_sent() {
    // Goal: `send_file` sends just what it was asked for, wherever the file's own position is, waits while nobody reads, goes
    // by the timeouts of the stream, and sees the ends of both. Method: pieces of a file that is larger than the buffers.
    use std::io::Seek;
    let bytes: Vec<u8> = (0..MUCH + 12_345).map(|i| ((i * 7919) >> 5) as u8).collect();
    let place = std::env::temp_dir().join(format!("gort-send-file-{}", std::process::id()));
    std::fs::write(&place, &bytes).unwrap();
    everywhere(|| {
        let mut file = std::fs::File::open(&place).unwrap();
        for range in [0..bytes.len() as u64, 1..1, 4095..4097, 100_000..MUCH as u64 + 1] {
            let (client, server) = narrow_pair();
            let (from, to) = (range.start as usize, range.end as usize);
            let reader = spawn(move || {
                let mut got = Vec::new();
                (&server).read_to_end(&mut got).unwrap();
                got
            });
            let mut left = range;
            while left.start < left.end {
                let count = client.send_file(&file, left.start, (left.end - left.start) as usize).unwrap();
                assert!((1..=1 << 20).contains(&count));
                left.start += count as u64;
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert!(reader.join() == bytes[from..to]);
            assert_eq!(file.stream_position().unwrap(), 0);
        }
        // The end of the file, and nothing that was asked for.
        let (client, server) = narrow_pair();
        assert_eq!(client.send_file(&file, bytes.len() as u64, 1).unwrap(), 0);
        assert_eq!(client.send_file(&file, 1 << 40, 1).unwrap(), 0);
        assert_eq!(client.send_file(&file, 0, 0).unwrap(), 0);
        assert_eq!(client.send_file(&file, u64::MAX, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
        // Nobody reads.
        client.set_write_timeout(Some(Duration::from_millis(3))).unwrap();
        let mut sent = 0;
        let error = loop {
            match client.send_file(&file, sent % bytes.len() as u64, MUCH) {
                Ok(count) => sent += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(sent > 0 && sent < MUCH as u64);
        // Nobody will.
        drop(server);
        let error = client.send_file(&file, 0, 1).unwrap_err().kind();
        assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        // Over a Unix socket too.
        let (near, mut far) = gort::net::UnixStream::pair().unwrap();
        assert_eq!(near.send_file(&file, 7, 9).unwrap(), 9);
        let mut got = [0; 9];
        far.read_exact(&mut got).unwrap();
        assert_eq!(got, bytes[7..16]);
    });
    std::fs::remove_file(place).unwrap();
}

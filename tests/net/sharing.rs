//! One socket in many hands: clones, several coroutines, several runtimes, plain threads.

use super::{LONG, Task, everywhere, is_nonblocking, listener, pair, pass, pause, spawn};
use crate::common::{PROCS, Random, builder, seed, wait_until};
use gort::io::Pollable;
use gort::net::{Shutdown, TcpStream};
use gort::scope;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn clones_share_the_connection() {
    everywhere(|| {
        let (client, server) = pair();
        let mut reader = client.try_clone().unwrap();
        let mut writer = client;
        let server_reader = server.try_clone().unwrap();
        let echo = spawn(move || io::copy(&mut &server_reader, &mut &server).unwrap());
        let reading = spawn(move || {
            let mut sum = 0u64;
            let mut buffer = [0; 4096];
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => return sum,
                    count => sum += buffer[..count].iter().map(|byte| u64::from(*byte)).sum::<u64>(),
                }
            }
        });
        let mut sum = 0;
        for i in 0..200u64 {
            let block = vec![i as u8; 10_000];
            sum += u64::from(i as u8) * 10_000;
            writer.write_all(&block).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(echo.join(), 2_000_000);
        assert_eq!(reading.join(), sum);
    });
}

#[test]
fn reading_and_writing_one_stream_at_once() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            let (client, server) = pair();
            const BYTES: usize = 8 << 20;
            let send = |stream: &TcpStream, salt: usize| {
                let mut stream = stream;
                let block: Vec<u8> = (0..65536).map(|i| (i * 7 + salt) as u8).collect();
                (0..BYTES / block.len()).for_each(|_| stream.write_all(&block).unwrap());
                stream.shutdown(Shutdown::Write).unwrap();
            };
            let receive = |stream: &TcpStream, salt: usize| {
                let mut stream = stream;
                let mut buffer = vec![0; 50_000];
                let mut at = 0;
                loop {
                    match stream.read(&mut buffer).unwrap() {
                        0 => return assert_eq!(at, BYTES),
                        count => {
                            for byte in &buffer[..count] {
                                assert_eq!(*byte, (at % 65536 * 7 + salt) as u8);
                                at += 1;
                            }
                        }
                    }
                }
            };
            scope(|s| {
                s.go(|| send(&client, 1));
                s.go(|| send(&server, 2));
                s.go(|| receive(&server, 1));
                s.go(|| receive(&client, 2));
            });
        });
    }
}

#[test]
fn several_read_one_stream() {
    // Goal: a reader is not left asleep on bytes that others did not take. Method: readers whose
    // buffers are smaller and larger than what comes; every byte is read by somebody, and all
    // see the end.
    let mut random = Random::new(seed());
    for procs in PROCS {
        let seed = random.below(u64::MAX);
        builder(procs).build().unwrap().run(move || {
            let mut random = Random::new(seed);
            let (client, server) = pair();
            let total = AtomicUsize::new(0);
            let mut sent = 0;
            scope(|s| {
                for size in [1, 3, 64, 1000] {
                    let (server, total) = (&server, &total);
                    s.go(move || {
                        let mut server = server;
                        let mut buffer = vec![0; size];
                        loop {
                            match server.read(&mut buffer).unwrap() {
                                0 => return,
                                count => total.fetch_add(count, SeqCst),
                            };
                        }
                    });
                }
                for _ in 0..3000 {
                    let count = 1 + random.below(100) as usize;
                    (&client).write_all(&vec![1; count]).unwrap();
                    sent += count;
                    // Let the readers run dry at times: nothing else will wake them then.
                    if random.below(4) == 0 {
                        let sent = sent;
                        wait_until("everything is read", || total.load(SeqCst) == sent);
                    }
                    pause(&mut random);
                }
                client.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(total.load(SeqCst), sent);
        });
    }
}

#[test]
fn several_accept_from_one_listener() {
    everywhere(|| {
        let (listener, address) = listener();
        let listener = Arc::new(listener);
        const EACH: usize = 30;
        let acceptors: Vec<_> = (0..4)
            .map(|_| {
                let listener = listener.clone();
                spawn(move || {
                    listener
                        .incoming()
                        .take(EACH)
                        .map(|stream| stream.unwrap().read(&mut [0; 4]).unwrap())
                        .sum::<usize>()
                })
            })
            .collect();
        for _ in 0..4 * EACH {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"x").unwrap();
        }
        assert_eq!(acceptors.into_iter().map(Task::join).sum::<usize>(), 4 * EACH);
    });
}

#[test]
fn clones_go_on_when_one_becomes_std() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let std_stream = server.try_clone().unwrap().into_std().unwrap();
        // The open file is in blocking mode now, for both; ours does not block all the same.
        assert!(!is_nonblocking(&std_stream));
        assert!(!is_nonblocking(&server));
        server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(server.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
        server.set_nonblocking(true).unwrap();
        assert_eq!(server.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"x").unwrap();
        assert_eq!((&std_stream).read(&mut [0; 4]).unwrap(), 1);
        assert_eq!(server.write(b"still").unwrap(), 5);

        let (listener, address) = listener();
        let std_listener = listener.try_clone().unwrap().into_std().unwrap();
        assert!(is_nonblocking(&std_listener), "or accept of the other would block the thread");
        drop(std_listener);
        let _client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
    });
}

#[test]
fn threads_and_coroutines_use_one_socket() {
    // A listener and streams that are used by coroutines of two runtimes and by plain threads,
    // all at the same time.
    let (listener, address) = listener();
    let listener = Arc::new(listener);
    let runtimes = [builder(1).build().unwrap(), builder(2).build().unwrap()];
    let total = Arc::new(AtomicUsize::new(0));
    let serve = {
        let (listener, total) = (listener.clone(), total.clone());
        move || {
            loop {
                let (stream, _) = listener.accept().unwrap();
                let mut word = [0; 4];
                if (&stream).read_exact(&mut word).is_err() {
                    return;
                }
                total.fetch_add(u32::from_le_bytes(word) as usize, SeqCst);
                (&stream).write_all(&word).unwrap();
            }
        }
    };
    let mut coroutines = Vec::new();
    let mut threads = Vec::new();
    for runtime in &runtimes {
        coroutines.push(runtime.spawn(serve.clone()));
        coroutines.push(runtime.spawn(serve.clone()));
    }
    threads.push(std::thread::spawn(serve.clone()));
    let ask = move |from: u32| {
        for number in 0..100 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&(from + number).to_le_bytes()).unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            assert_eq!(u32::from_le_bytes(word), from + number);
        }
    };
    std::thread::scope(|s| {
        s.spawn(|| ask(0));
        s.spawn(|| runtimes[0].run(|| ask(1000)));
        s.spawn(|| runtimes[1].run(|| ask(2000)));
    });
    assert_eq!(total.load(SeqCst), 3 * 4950 + 100 * 3000);
    // One connection that says nothing ends one server.
    for _ in 0..5 {
        TcpStream::connect(address).unwrap();
    }
    coroutines.into_iter().for_each(|handle| handle.join().unwrap());
    threads.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn two_runtimes_and_a_thread_read_one_stream() {
    let runtimes = [builder(2).build().unwrap(), builder(1).build().unwrap()];
    let (client, server) = pair();
    let (server, total) = (Arc::new(server), Arc::new(AtomicUsize::new(0)));
    let read = {
        let (server, total) = (server.clone(), total.clone());
        move || {
            let mut buffer = [0; 16];
            loop {
                match (&*server).read(&mut buffer).unwrap() {
                    0 => return,
                    count => total.fetch_add(count, SeqCst),
                };
            }
        }
    };
    let coroutines: Vec<_> = runtimes.iter().map(|runtime| runtime.spawn(read.clone())).collect();
    let thread = std::thread::spawn(read);
    let mut random = Random::new(seed());
    let mut sent = 0;
    for _ in 0..2000 {
        let count = 1 + random.below(20) as usize;
        (&client).write_all(&vec![0; count]).unwrap();
        sent += count;
        if random.below(3) == 0 {
            wait_until("everything is read", || total.load(SeqCst) == sent);
        }
    }
    // Deadlines reach all of them, wherever they wait.
    server.set_read_deadline(Some(Instant::now() + LONG));
    server.set_read_deadline(None);
    client.shutdown(Shutdown::Write).unwrap();
    coroutines.into_iter().for_each(|handle| handle.join().unwrap());
    thread.join().unwrap();
    assert_eq!(total.load(SeqCst), sent);
}

#[test]
fn a_socket_outlives_its_runtimes() {
    let (client, server) = pair();
    let (client, server) = (Arc::new(client), Arc::new(server));
    for round in 0..20u8 {
        let (client, server) = (client.clone(), server.clone());
        let exchange = move || {
            let other = server.clone();
            let reader = spawn(move || {
                let mut byte = [0];
                (&*other).read_exact(&mut byte).unwrap();
                byte[0]
            });
            pass();
            (&*client).write_all(&[round]).unwrap();
            assert_eq!(reader.join(), round);
        };
        if round % 3 == 2 { exchange() } else { builder(1).build().unwrap().run(exchange) }
    }
}

#[test]
fn a_stream_and_a_pollable_over_it_both_wait() {
    // Goal: two that know nothing of each other may wait on one descriptor. Method: one waits in vain, so that it is
    // registered, then the other, in either order; both are woken; the connection ends when the stream is dropped.
    everywhere(|| {
        for stream_first in [true, false] {
            let (mut client, mut server) = pair();
            let twin = server.try_clone().unwrap();
            let pollable = Pollable::new(&twin).unwrap();
            let waits = || pollable.wait_readable(Some(Duration::from_millis(1))).unwrap_err().kind();
            let reads = || {
                twin.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                let error = (&twin).read(&mut [0; 4]).unwrap_err().kind();
                twin.set_read_timeout(Some(LONG)).unwrap();
                error
            };
            if stream_first {
                assert_eq!(reads(), ErrorKind::TimedOut);
            }
            assert_eq!(waits(), ErrorKind::TimedOut);
            assert_eq!(reads(), ErrorKind::TimedOut);
            for _ in 0..2 {
                let writer = client.try_clone().unwrap();
                let writes = spawn(move || {
                    pass();
                    (&writer).write_all(b"x").unwrap();
                });
                pollable.wait_readable(Some(LONG)).unwrap();
                assert_eq!(server.read(&mut [0; 4]).unwrap(), 1);
                writes.join();
            }
            // One ends, the other goes on.
            drop(pollable);
            let writer = client.try_clone().unwrap();
            let writes = spawn(move || {
                pass();
                (&writer).write_all(b"x").unwrap();
            });
            assert_eq!(server.read(&mut [0; 4]).unwrap(), 1);
            writes.join();
            drop((twin, server));
            assert_eq!(client.read(&mut [0; 4]).unwrap(), 0);
        }
    });
}

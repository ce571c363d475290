//! The same calls on std's sockets, in a thread, and on ours, in a coroutine, have the same results.
//!
//! A *play* is a sequence of calls drawn from a seed, on a few sockets that talk to one another. It is written once, and
//! compiled against both sets of types. Each call leaves a line: what it was and what came of it, ports and names as
//! numbers of sockets. All in one thread or coroutine, so the order is the same in both.
//!
//! Two differences are meant, and taken out: a timeout is `WouldBlock` in std and `TimedOut` here; and a long write of
//! ours may be shorter, so writes are short.
//!
//! What a call brings depends on the kernel's having delivered what was sent before. On loopback that is done when the
//! call returns, nearly always. So a play that differs is played again, and fails if it differs every time.

use crate::common::{Random, builder, factor, seed};
use std::io;
use std::time::Duration;

/// Passes quickly, and yet as std's timeouts are: whole ticks of the kernel.
const SHORT: Duration = Duration::from_millis(8);

fn line<T: std::fmt::Debug>(lines: &mut Vec<String>, what: std::fmt::Arguments<'_>, result: io::Result<T>) {
    let result = result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut,
        kind => kind,
    });
    lines.push(format!("{what}: {result:?}"));
}

macro_rules! world {
    ($world:ident, $net:path, $unix:path) => {
        mod $world {
            use super::{Random, SHORT, line};
            use std::io::{IoSlice, IoSliceMut, Read, Write};
            use std::net::{Ipv4Addr, Shutdown, SocketAddr};
            use std::time::Duration;
            use $net::{TcpListener, TcpStream, UdpSocket};
            use $unix::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};

            const HOW: [Shutdown; 3] = [Shutdown::Read, Shutdown::Write, Shutdown::Both];

            /// A play on connected streams.
            macro_rules! streams {
                ($play:ident, $stream:ty, $connect:expr, |$socket:ident, $random:ident, $lines:ident| $others:expr) => {
                    pub(super) fn $play(seed: u64) -> Vec<String> {
                        let mut random = Random::new(seed);
                        let mut lines = Vec::new();
                        let connect = $connect;
                        let mut sockets: Vec<Option<$stream>> = Vec::new();
                        for step in 0..60 {
                            if sockets.len() < 2 || (random.below(15) == 0 && sockets.len() < 6) {
                                let (one, other) = connect();
                                for socket in [one, other] {
                                    socket.set_read_timeout(Some(SHORT)).unwrap();
                                    socket.set_write_timeout(Some(SHORT)).unwrap();
                                    sockets.push(Some(socket));
                                }
                            }
                            let index = random.below(sockets.len() as u64) as usize;
                            let what = random.below(18);
                            let size = [0, 1, 3, 100, 1000][random.below(5) as usize];
                            if what == 0 {
                                lines.push(format!("{step} {index} dropped"));
                                sockets[index] = None;
                            }
                            let Some($socket) = &sockets[index] else { continue };
                            let mut socket = $socket;
                            let lines = &mut lines;
                            match what {
                                0 => {}
                                1..=4 => {
                                    let bytes: Vec<u8> = (0..size).map(|i| (i + step) as u8).collect();
                                    line(lines, format_args!("{step} {index} write {size}"), socket.write(&bytes));
                                }
                                5..=8 => {
                                    // An empty buffer is answered without a call here, and may wait in std.
                                    let mut buffer = vec![0; size.max(1)];
                                    let result = socket.read(&mut buffer).map(|count| buffer[..count].to_vec());
                                    line(lines, format_args!("{step} {index} read {size}"), result);
                                }
                                9 => {
                                    let (mut a, mut b) = (vec![0; size], [0; 7]);
                                    let result =
                                        socket.read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]);
                                    line(lines, format_args!("{step} {index} readv"), result.map(|n| (n, a, b)));
                                }
                                10 => {
                                    let result = socket.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"bc")]);
                                    line(lines, format_args!("{step} {index} writev"), result);
                                }
                                11 => {
                                    let how = HOW[random.below(3) as usize];
                                    line(lines, format_args!("{step} {index} shutdown {how:?}"), socket.shutdown(how));
                                }
                                12 => {
                                    let result = socket.take_error().map(|error| error.map(|error| error.kind()));
                                    line(lines, format_args!("{step} {index} take_error"), result);
                                }
                                13 => {
                                    let nonblocking = random.below(2) == 0;
                                    let result = socket.set_nonblocking(nonblocking);
                                    line(lines, format_args!("{step} {index} nonblocking {nonblocking}"), result);
                                }
                                14 => {
                                    let timeout = [Some(Duration::ZERO), Some(SHORT)][random.below(2) as usize];
                                    let results = (
                                        socket.set_read_timeout(timeout).map_err(|error| error.kind()),
                                        socket.set_write_timeout(timeout).map_err(|error| error.kind()),
                                        socket.read_timeout().map_err(|error| error.kind()),
                                        socket.write_timeout().map_err(|error| error.kind()),
                                    );
                                    line(lines, format_args!("{step} {index} timeouts {timeout:?}"), Ok(results));
                                }
                                15 => {
                                    let clone = socket.try_clone().unwrap();
                                    let mut buffer = vec![0; size.max(1)];
                                    let result = (&clone).read(&mut buffer).map(|count| buffer[..count].to_vec());
                                    line(lines, format_args!("{step} {index} clone reads {size}"), result);
                                }
                                16 => {
                                    let result = (socket.peer_addr().map(drop), socket.local_addr().map(drop));
                                    let result = (result.0.map_err(|e| e.kind()), result.1.map_err(|e| e.kind()));
                                    line(lines, format_args!("{step} {index} addresses"), Ok(result));
                                }
                                _ => {
                                    let ($random, $lines) = (&mut random, lines);
                                    let (step, index) = (step, index);
                                    $others(step, index, $random, $lines);
                                }
                            }
                        }
                        lines
                    }
                };
            }

            streams!(
                tcp,
                TcpStream,
                {
                    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                    let address = listener.local_addr().unwrap();
                    move || {
                        let client = TcpStream::connect(address).unwrap();
                        let server = listener.accept().unwrap().0;
                        // Else a small write may wait 40 ms for an acknowledgement (Nagle's algorithm), or not.
                        client.set_nodelay(true).unwrap();
                        server.set_nodelay(true).unwrap();
                        (client, server)
                    }
                },
                |socket, random, lines| |step: usize, index: usize, random: &mut Random, lines: &mut Vec<String>| {
                    let mut buffer = [0; 10];
                    let peeked = socket.peek(&mut buffer).map(|count| buffer[..count].to_vec());
                    line(lines, format_args!("{step} {index} peek"), peeked);
                    let (nodelay, ttl) = (random.below(2) == 0, random.below(300) as u32);
                    line(lines, format_args!("{step} {index} nodelay"), socket.set_nodelay(nodelay));
                    line(lines, format_args!("{step} {index} nodelay"), socket.nodelay());
                    socket.set_nodelay(true).unwrap();
                    line(lines, format_args!("{step} {index} ttl {ttl}"), socket.set_ttl(ttl));
                    line(lines, format_args!("{step} {index} ttl"), socket.ttl());
                }
            );

            streams!(
                unix,
                UnixStream,
                {
                    let listener = UnixListener::bind_addr(&UnixAddr::from_pathname("").unwrap()).unwrap();
                    let address = listener.local_addr().unwrap();
                    move || {
                        let client = UnixStream::connect_addr(&address).unwrap();
                        (client, listener.accept().unwrap().0)
                    }
                },
                |socket, random, lines| |step: usize, index: usize, _: &mut Random, lines: &mut Vec<String>| {
                    line(lines, format_args!("{step} {index} unnamed"), socket.local_addr().map(|a| a.is_unnamed()));
                }
            );

            pub(super) fn udp(seed: u64) -> Vec<String> {
                let mut random = Random::new(seed);
                let mut lines = Vec::new();
                let new = || {
                    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                    socket.set_read_timeout(Some(SHORT)).unwrap();
                    socket
                };
                let mut sockets = [new(), new(), new()];
                let mut addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
                for step in 0..80 {
                    let (index, other) = (random.below(3) as usize, random.below(3) as usize);
                    let socket = &sockets[index];
                    let size = [0, 1, 100, 2000, 70_000][random.below(5) as usize];
                    let lines = &mut lines;
                    let number = |from: SocketAddr| addresses.iter().rposition(|address| *address == from);
                    let mut buffer = vec![0; size];
                    match random.below(14) {
                        0 | 1 => {
                            let result = socket.send_to(&vec![step as u8; size], addresses[other]);
                            line(lines, format_args!("{step} {index} send {size} to {other}"), result);
                        }
                        2 | 3 => {
                            let result = socket.recv_from(&mut buffer).map(|(count, from)| (count, number(from)));
                            line(lines, format_args!("{step} {index} recv_from {size}"), result);
                        }
                        4 => {
                            let result = socket.peek_from(&mut buffer).map(|(count, from)| (count, number(from)));
                            line(lines, format_args!("{step} {index} peek_from {size}"), result);
                        }
                        5 => line(lines, format_args!("{step} {index} send {size}"), socket.send(&buffer)),
                        6 => line(lines, format_args!("{step} {index} recv {size}"), socket.recv(&mut buffer)),
                        7 => line(lines, format_args!("{step} {index} peek {size}"), socket.peek(&mut buffer)),
                        8 => {
                            let result = socket.connect(addresses[other]);
                            line(lines, format_args!("{step} {index} connect {other}"), result);
                            line(lines, format_args!("{step} {index} peer"), socket.peer_addr().map(number));
                        }
                        9 => {
                            let result = socket.take_error().map(|error| error.map(|error| error.kind()));
                            line(lines, format_args!("{step} {index} take_error"), result);
                        }
                        10 => {
                            let nonblocking = random.below(2) == 0;
                            let result = socket.set_nonblocking(nonblocking);
                            line(lines, format_args!("{step} {index} nonblocking {nonblocking}"), result);
                        }
                        11 => {
                            let value = random.below(300) as u32;
                            line(lines, format_args!("{step} {index} ttl {value}"), socket.set_ttl(value));
                            line(lines, format_args!("{step} {index} ttl"), socket.ttl());
                            let result = socket.set_multicast_ttl_v4(value);
                            line(lines, format_args!("{step} {index} multicast_ttl {value}"), result);
                            line(lines, format_args!("{step} {index} multicast_ttl"), socket.multicast_ttl_v4());
                            line(lines, format_args!("{step} {index} loop"), socket.set_multicast_loop_v4(value > 99));
                            line(lines, format_args!("{step} {index} loop"), socket.multicast_loop_v4());
                            line(lines, format_args!("{step} {index} loop6"), socket.set_multicast_loop_v6(true));
                            line(lines, format_args!("{step} {index} loop6"), socket.multicast_loop_v6());
                            line(lines, format_args!("{step} {index} broadcast"), socket.set_broadcast(value > 99));
                            line(lines, format_args!("{step} {index} broadcast"), socket.broadcast());
                        }
                        12 => {
                            let group = Ipv4Addr::new([224, 10][random.below(2) as usize], 0, 0, 200);
                            let interface = Ipv4Addr::new(127, 0, 0, 1);
                            let result = socket.join_multicast_v4(&group, &interface);
                            line(lines, format_args!("{step} {index} join {group}"), result);
                            if random.below(2) == 0 {
                                let result = socket.leave_multicast_v4(&group, &interface);
                                line(lines, format_args!("{step} {index} leave {group}"), result);
                            }
                            let group = "ff02::99".parse().unwrap();
                            line(lines, format_args!("{step} {index} join"), socket.join_multicast_v6(&group, 0));
                            line(lines, format_args!("{step} {index} leave"), socket.leave_multicast_v6(&group, 0));
                        }
                        _ => {
                            // Its address stays where the others are connected to.
                            lines.push(format!("{step} {index} another"));
                            sockets[index] = new();
                            addresses[index] = sockets[index].local_addr().unwrap();
                        }
                    }
                }
                lines
            }

            pub(super) fn datagrams(seed: u64) -> Vec<String> {
                let mut random = Random::new(seed);
                let mut lines = Vec::new();
                let any = UnixAddr::from_pathname("").unwrap();
                let new = |random: &mut Random| {
                    let socket = match random.below(3) {
                        0 => UnixDatagram::unbound(),
                        _ => UnixDatagram::bind_addr(&any),
                    };
                    let socket = socket.unwrap();
                    socket.set_read_timeout(Some(SHORT)).unwrap();
                    socket.set_write_timeout(Some(SHORT)).unwrap();
                    socket
                };
                let mut sockets = [new(&mut random), new(&mut random), new(&mut random), new(&mut random)];
                let name = |address: &UnixAddr| format!("{address:?}");
                let mut addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
                for step in 0..80 {
                    let (index, other) = (random.below(4) as usize, random.below(4) as usize);
                    let socket = &sockets[index];
                    let size = [0, 1, 100, 2000, 300_000][random.below(5) as usize];
                    let lines = &mut lines;
                    let number = |from: UnixAddr| addresses.iter().position(|address| name(address) == name(&from));
                    let mut buffer = vec![0; size];
                    match random.below(12) {
                        0 | 1 => {
                            let result = socket.send_to_addr(&vec![step as u8; size], &addresses[other]);
                            line(lines, format_args!("{step} {index} send {size} to {other}"), result);
                        }
                        2 | 3 => {
                            let result = socket.recv_from(&mut buffer).map(|(count, from)| (count, number(from)));
                            line(lines, format_args!("{step} {index} recv_from {size}"), result);
                        }
                        4 | 5 => line(lines, format_args!("{step} {index} send {size}"), socket.send(&buffer)),
                        6 => line(lines, format_args!("{step} {index} recv {size}"), socket.recv(&mut buffer)),
                        7 => {
                            let result = socket.connect_addr(&addresses[other]);
                            line(lines, format_args!("{step} {index} connect {other}"), result);
                            line(lines, format_args!("{step} {index} peer"), socket.peer_addr().map(number));
                        }
                        8 => {
                            let how = HOW[random.below(3) as usize];
                            if random.below(4) == 0 {
                                line(lines, format_args!("{step} {index} shutdown {how:?}"), socket.shutdown(how));
                            }
                        }
                        9 => {
                            let nonblocking = random.below(2) == 0;
                            let result = socket.set_nonblocking(nonblocking);
                            line(lines, format_args!("{step} {index} nonblocking {nonblocking}"), result);
                        }
                        10 => {
                            let result = socket.take_error().map(|error| error.map(|error| error.kind()));
                            line(lines, format_args!("{step} {index} take_error"), result);
                            let result = socket.send_to(b"x", "/nowhere/at/all");
                            line(lines, format_args!("{step} {index} send nowhere"), result);
                            line(lines, format_args!("{step} {index} connect empty"), socket.connect(""));
                        }
                        _ => {
                            lines.push(format!("{step} {index} another"));
                            let socket = new(&mut random);
                            addresses[index] = socket.local_addr().unwrap();
                            sockets[index] = socket;
                        }
                    }
                }
                lines
            }
        }
    };
}

world!(theirs, std::net, std::os::unix::net);
world!(ours, gort::net, gort::net::unix);

fn compare(name: &str, theirs: fn(u64) -> Vec<String>, ours: fn(u64) -> Vec<String>) {
    let mut random = Random::new(seed());
    for play in 0..16 * factor() {
        let seed = random.below(u64::MAX);
        let mut difference = None;
        for _ in 0..4 {
            let theirs = std::thread::spawn(move || theirs(seed)).join().unwrap();
            let ours = if play % 4 == 0 {
                ours(seed)
            } else {
                builder(1 + play as usize % 2).build().unwrap().run(|| ours(seed))
            };
            difference =
                theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours).map(|(a, b)| (a.clone(), b.clone()));
            if difference.is_none() {
                assert_eq!(theirs.len(), ours.len());
                break;
            }
            eprintln!("{name} {seed}: std and ours: {difference:#?}");
        }
        assert!(difference.is_none(), "{name} {seed}: std and ours: {difference:#?}");
    }
}

#[test]
fn tcp() {
    compare("tcp", theirs::tcp, ours::tcp);
}

#[test]
fn udp() {
    compare("udp", theirs::udp, ours::udp);
}

#[test]
fn unix_streams() {
    compare("unix streams", theirs::unix, ours::unix);
}

#[test]
fn unix_datagrams() {
    compare("unix datagrams", theirs::datagrams, ours::datagrams);
}

//! Many coroutines at once: asleep, and on sockets.

use crate::screen::{Bar, Report, nanos, thousands};
use gort::net::{TcpListener, TcpStream};
use gort::{go, time};
use hdrhistogram::Histogram;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Of nanoseconds, up to a minute.
fn histogram() -> Histogram<u32> {
    Histogram::new_with_max(60_000_000_000, 2).expect("the bounds are allowed")
}

fn quantiles(values: &Histogram<u32>) -> (String, String) {
    let at = |quantile| nanos(values.value_at_quantile(quantile) as f64);
    (at(0.5), at(0.99))
}

/// The memory in use by this process.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    1024 * kib.unwrap_or(0_usize)
}

/// A hundred thousand coroutines, each with a stack and a timer of its own.
pub(crate) fn sleepers(report: &mut Report) -> String {
    const SLEEPERS: usize = 100_000;
    let (asleep, awake) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Each takes two steps: it goes to sleep, and it wakes.
    let steps = (asleep.clone(), awake.clone());
    let bar = Bar::start(2 * SLEEPERS, move || steps.0.load(Ordering::Relaxed) + steps.1.load(Ordering::Relaxed));
    let before = resident_bytes();
    let handles: Vec<_> = (0..SLEEPERS)
        .map(|number| {
            let (asleep, awake) = (asleep.clone(), awake.clone());
            go!(move || {
                // Between 0.8 and 1.3 seconds, in no order.
                let nap = Duration::from_micros(800_000 + number as u64 * 7919 % 500_000);
                // Relaxed: counters, here and below.
                asleep.fetch_add(1, Ordering::Relaxed);
                let start = Instant::now();
                time::sleep(nap);
                let late = start.elapsed().checked_sub(nap);
                awake.fetch_add(1, Ordering::Relaxed);
                late.expect("nobody is woken early")
            })
        })
        .collect();
    while asleep.load(Ordering::Relaxed) < SLEEPERS {
        time::sleep(Duration::from_millis(1));
    }
    let still_asleep = SLEEPERS - awake.load(Ordering::Relaxed);
    let each = resident_bytes().saturating_sub(before) / SLEEPERS;
    let mut lateness = histogram();
    for handle in handles {
        lateness.saturating_record(handle.join().unwrap().as_nanos() as u64);
    }
    drop(bar);
    let (median, p99) = quantiles(&lateness);
    // Unless some had woken, and ended, before the last was started: an unoptimised build is slow.
    if still_asleep == SLEEPERS {
        report.measured("memory of a sleeper", format!("{} B", thousands(each)), "its stack and all else");
    }
    report.measured("lateness of a timer", median, &format!("the median of {}; p99 {p99}", thousands(SLEEPERS)));
    format!("{} coroutines asleep at once", thousands(still_asleep))
}

/// A server and its clients, all in this runtime, in blocking style.
pub(crate) fn echo(report: &mut Report) -> String {
    const CLIENTS: usize = 300;
    const TIME: Duration = Duration::from_millis(1200);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("it is bound");
    let server = go!("echo server", move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            drop(go!(move || serve(stream)));
        }
    });
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS).map(|number| go!(move || client(address, number, start + TIME))).collect();
    let bar = Bar::start(TIME.as_millis() as usize, move || start.elapsed().as_millis() as usize);
    let mut latency = histogram();
    for client in clients {
        let measured = client.join().unwrap().expect("every byte comes back");
        latency.add(measured).expect("they are of one kind");
    }
    let elapsed = start.elapsed();
    drop(bar);
    server.cancel();
    let requests = latency.len() as usize;
    assert!(requests >= CLIENTS, "every client has been served");
    let (median, p99) = quantiles(&latency);
    let rate = requests as f64 / elapsed.as_secs_f64();
    report.measured(
        "echo requests",
        format!("{}/s", thousands(rate as usize)),
        &format!("over TCP, {CLIENTS} connections, 64 bytes"),
    );
    report.measured("echo latency", median, &format!("the median; p99 {p99}"));
    format!("{CLIENTS} connections, {} requests", thousands(requests))
}

/// Writes back what comes, to the end.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// Sends messages, one at a time, until `end`, and notes how long the answers take.
fn client(address: SocketAddr, number: usize, end: Instant) -> io::Result<Histogram<u32>> {
    let mut latency = histogram();
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut message = [number as u8; 64];
    loop {
        let start = Instant::now();
        stream.write_all(&message)?;
        let sent = message;
        stream.read_exact(&mut message)?;
        assert_eq!(message, sent, "the answer is what was sent");
        latency.saturating_record(start.elapsed().as_nanos() as u64);
        message[number % 64] = message[number % 64].wrapping_add(1);
        if Instant::now() >= end {
            return Ok(latency);
        }
    }
}

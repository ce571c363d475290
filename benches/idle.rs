//! What connections that are idle cost those that are not: the CPU time of an echo server for one request, with few connections
//! and with many of which few are active.
//!
//! ```text
//! cargo build --manifest-path benches/Cargo.toml --profile compare --bin compare --bin idle
//! benches/target/compare/idle benches/target/compare/compare
//! ```
//!
//! The server is another process: `COMMAND serve-echo PORT`, as `compare` and the peers have it. 80 clients send 64 bytes and wait for them, again and again,
//! in rounds of three seconds (`ROUND_SECONDS`) in turns:
//!
//! - `alone`: over 80 connections (`ACTIVE`), and there are no others.
//! - `fixed`: over 80 connections, beside which so many are idle that they are 8,000 in all (`CONNECTIONS`).
//! - `moving`: each request over another of 8,000 connections, so that at no time more than 80 are active, and all are at some time.
//!
//! Prints `idle.NAME<TAB>ns<TAB>ns`, the median of five rounds (`ROUNDS`), and the ratios to `alone`.

use gort::{go, net::TcpStream};
use std::io::{self, BufRead, BufReader, Error, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends the server when it is dropped.
struct Server(Child, SocketAddr);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, of which somebody has been told.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(command: &str) -> io::Result<Server> {
        // Free a moment ago, and hardly taken since. If it is, the server says so.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(command);
        let mut child = command.args(["serve-echo", &address.port().to_string()]).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let server = Server(child, address);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() == "ready" { Ok(server) } else { Err(Error::other(format!("the server says {line:?}"))) }
    }

    /// The CPU time of all its threads.
    fn cpu_time(&self) -> io::Result<Duration> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split(' ').next().and_then(|text| text.parse::<u64>().ok());
            sum += first.ok_or_else(|| Error::other(format!("schedstat is {text:?}")))?;
        }
        Ok(Duration::from_nanos(sum))
    }
}

/// Sends over each of `streams` in turn, for so long. How many requests that were.
fn ask(streams: &mut [TcpStream], time: Duration) -> io::Result<u64> {
    let (start, mut count) = (Instant::now(), 0);
    let message = [7; 64];
    loop {
        for stream in &mut *streams {
            if count % 16 == 0 && start.elapsed() >= time {
                return Ok(count);
            }
            let mut answer = [0; 64];
            stream.write_all(&message)?;
            stream.read_exact(&mut answer)?;
            if answer != message {
                return Err(Error::other("another answer"));
            }
            count += 1;
        }
    }
}

/// Nanoseconds of the server's CPU time for one request, with so many `active` clients that have `each` so many connections,
/// and `idle` others.
fn measure(command: &str, active: usize, each: usize, idle: usize, time: Duration) -> io::Result<f64> {
    let server = Server::start(command)?;
    let connect = || -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(server.1)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // Served once: whatever its coroutine needs, it has.
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        Ok(stream)
    };
    let kept = (0..idle).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for _ in 0..active {
        all.push((0..each).map(|_| connect()).collect::<io::Result<Vec<_>>>()?);
    }
    let run = |all: Vec<Vec<TcpStream>>, time| -> io::Result<(u64, Vec<Vec<TcpStream>>)> {
        let clients: Vec<_> = all
            .into_iter()
            .map(|mut streams| go!(move || ask(&mut streams, time).map(|count| (count, streams))))
            .collect();
        let (mut total, mut back) = (0, Vec::new());
        for client in clients {
            let (count, streams) = client.join().map_err(|error| Error::other(error.to_string()))??;
            total += count;
            back.push(streams);
        }
        Ok((total, back))
    };
    // Warm.
    let (_, all) = run(all, Duration::from_millis(500))?;
    let before = server.cpu_time()?;
    let (count, _all) = run(all, time)?;
    let used = server.cpu_time()? - before;
    drop(kept);
    Ok(used.as_nanos() as f64 / count as f64)
}

/// A number from the environment.
fn setting(key: &str, default: usize) -> usize {
    std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> io::Result<()> {
    let Some(command) = std::env::args().nth(1) else {
        eprintln!("usage: idle COMMAND, which serves with the arguments `serve-echo PORT`");
        std::process::exit(2);
    };
    let (active, all) = (setting("ACTIVE", 80), setting("CONNECTIONS", 8_000));
    let (rounds, time) = (setting("ROUNDS", 5), Duration::from_secs(setting("ROUND_SECONDS", 3) as u64));
    let kinds = [("alone", 1, 0), ("fixed", 1, all.saturating_sub(active)), ("moving", (all / active).max(1), 0)];
    let mut results = [const { Vec::new() }; 3];
    gort::run(|| {
        for _ in 0..rounds {
            for ((_, each, idle), results) in kinds.iter().zip(&mut results) {
                results.push(measure(&command, active, *each, *idle, time)?);
            }
        }
        Ok::<(), Error>(())
    })?;
    let medians = results.map(|mut results| {
        results.sort_by(f64::total_cmp);
        results[results.len() / 2]
    });
    for ((name, ..), median) in kinds.iter().zip(&medians) {
        println!("idle.{name}\t{median:.0}\tns");
    }
    println!("idle.fixed_ratio\t{:.3}\t", medians[1] / medians[0]);
    println!("idle.moving_ratio\t{:.3}\t", medians[2] / medians[0]);
    Ok(())
}

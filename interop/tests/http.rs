//! ureq: its pool, redirects, bodies and limits of time over a transport of ours.

use gort::go;
use gort::net::{TcpListener, TcpStream};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Agent, Error, config::Config};

/// Opens our connections.
#[derive(Debug)]
struct Ours;

/// One of them, with the buffers that ureq wants.
struct OurTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl std::fmt::Debug for OurTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OurTransport").field(&self.stream).finish()
    }
}

impl<In: Transport> Connector<In> for Ours {
    type Out = OurTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<In>) -> Result<Option<OurTransport>, Error> {
        let limit = limit_of(details.timeout);
        let mut last = Error::HostNotFound;
        for address in details.addrs.iter() {
            let stream = match limit {
                Some(limit) => TcpStream::connect_timeout(address, limit),
                None => TcpStream::connect(address),
            };
            match stream {
                Ok(stream) => {
                    stream.set_nodelay(details.config.no_delay())?;
                    let config = details.config;
                    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
                    return Ok(Some(OurTransport { stream, buffers }));
                }
                Err(error) => last = late(error, details.timeout),
            }
        }
        Err(last)
    }
}

fn limit_of(timeout: NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|limit| *limit)
}

fn late(error: std::io::Error, timeout: NextTimeout) -> Error {
    if error.kind() == ErrorKind::TimedOut { Error::Timeout(timeout.reason) } else { error.into() }
}

impl Transport for OurTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(limit_of(timeout))?;
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| late(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(limit_of(timeout))?;
        let input = self.buffers.input_append_buf();
        let count = self.stream.read(input).map_err(|error| late(error, timeout))?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        // A connection of the pool: nothing must have come, nor the end.
        let quiet = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let result = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            result
        };
        matches!(quiet(&self.stream), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// Answers `GET /N` with N bytes, `POST` with what was sent, `/slow` never.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = line.split(' ').nth(1).unwrap();
        match path.trim_start_matches('/') {
            "slow" => drop(reader.read(&mut [0])?),
            "moved" => writer.write_all(b"HTTP/1.1 302 Found\r\nLocation: /77\r\nContent-Length: 0\r\n\r\n")?,
            number => {
                if line.starts_with("GET") {
                    body = vec![b'x'; number.parse().unwrap()];
                }
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
                writer.write_all(&body)?;
            }
        }
    }
}

#[test]
fn requests_from_many_coroutines() {
    gort::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let serving = go!(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, SeqCst);
                let stream = stream.unwrap();
                go!(move || serve(stream));
            }
        });
        let agent = Agent::with_parts(Config::default(), Ours, DefaultResolver::default());
        let clients: Vec<_> = (0..30usize)
            .map(|number| {
                let agent = agent.clone();
                go!(move || {
                    for round in 0..5 {
                        let size = number * 1000 + round;
                        let mut answer = agent.get(format!("http://{address}/{size}")).call().unwrap();
                        assert_eq!(answer.body_mut().read_to_string().unwrap(), "x".repeat(size));
                    }
                    let sent = vec![number as u8; 100_000];
                    let mut answer = agent.post(format!("http://{address}/echo")).send(&sent[..]).unwrap();
                    assert!(answer.body_mut().read_to_vec().unwrap() == sent);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        assert!(accepted.load(SeqCst) < 30 * 6, "connections are used again");
        let mut answer = agent.get(format!("http://{address}/moved")).call().unwrap();
        assert_eq!(answer.body_mut().read_to_string().unwrap().len(), 77);
        // A limit of ureq's is one of ours.
        let config = Config::builder().timeout_global(Some(Duration::from_millis(50))).build();
        let hasty = Agent::with_parts(config, Ours, DefaultResolver::default());
        let error = hasty.get(format!("http://{address}/slow")).call().unwrap_err();
        assert!(matches!(error, Error::Timeout(_)), "{error}");
        serving.cancel();
        assert!(serving.join().unwrap_err().is_cancelled());
    });
}

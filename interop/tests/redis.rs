//! The redis crate: its `Connection` has sockets of its own, but commands, pipelines and the parser work over any
//! [`ConnectionLike`], which is this much code over one of our streams.

use gort::go;
use gort::net::{TcpListener, TcpStream};
use redis::{Commands, ConnectionLike, Parser, RedisResult, Value};
use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;

struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    parser: Parser,
    is_open: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> RedisResult<Connection> {
        let writer = TcpStream::connect(address)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Connection { reader, writer, parser: Parser::new(), is_open: true })
    }

    fn answer(&mut self) -> RedisResult<Value> {
        let answer = self.parser.parse_value(&mut self.reader);
        self.is_open &= answer.is_ok();
        answer
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        self.writer.write_all(command)?;
        self.answer()
    }

    fn req_packed_commands(&mut self, commands: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        self.writer.write_all(commands)?;
        for _ in 0..offset {
            self.answer()?;
        }
        (0..count).map(|_| self.answer()).collect()
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<String>(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.is_open
    }
}

/// As much of a server as the test asks for; the requests are read by the crate's own parser.
fn serve(stream: TcpStream, store: &gort::sync::Mutex<HashMap<Vec<u8>, Vec<u8>>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut parser = Parser::new();
    while let Ok(Value::Array(words)) = parser.parse_value(&mut reader) {
        let words: Vec<Vec<u8>> = words.iter().map(|word| redis::from_redis_value_ref(word).unwrap()).collect();
        let answer = match (words[0].to_ascii_uppercase().as_slice(), &words[1..]) {
            (b"PING", _) => b"+PONG\r\n".to_vec(),
            (b"SET", [key, value]) => {
                store.lock().insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            (b"GET", [key]) => match store.lock().get(key) {
                Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
                None => b"$-1\r\n".to_vec(),
            },
            (b"INCRBY", [key, by]) => {
                let number = |bytes: &[u8]| String::from_utf8_lossy(bytes).parse::<i64>().unwrap();
                let mut store = store.lock();
                let sum = store.get(key).map_or(0, |value| number(value)) + number(by);
                store.insert(key.clone(), sum.to_string().into_bytes());
                format!(":{sum}\r\n").into_bytes()
            }
            _ => b"-ERR unknown command\r\n".to_vec(),
        };
        writer.write_all(&answer)?;
    }
    Ok(())
}

#[test]
fn commands_and_pipelines() {
    const CLIENTS: i64 = 40;
    gort::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(gort::sync::Mutex::new(HashMap::new()));
        let serving = go!(move || {
            let sessions: Vec<_> = (0..=CLIENTS)
                .map(|_| {
                    let (stream, store) = (listener.accept().unwrap().0, store.clone());
                    go!(move || serve(stream, &store))
                })
                .collect();
            sessions.into_iter().for_each(|session| session.join().unwrap().unwrap());
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                go!(move || {
                    let mut connection = Connection::open(address).unwrap();
                    assert!(connection.check_connection());
                    let key = format!("key {number}");
                    let () = connection.set(&key, "x".repeat(number as usize)).unwrap();
                    assert_eq!(connection.get::<_, String>(&key).unwrap().len(), number as usize);
                    assert_eq!(connection.get::<_, Option<String>>("nothing").unwrap(), None);
                    let mut pipeline = redis::pipe();
                    for _ in 0..20 {
                        pipeline.incr("count", 1).ignore();
                    }
                    let (last,): (String,) = pipeline.get(&key).query(&mut connection).unwrap();
                    assert_eq!(last.len(), number as usize);
                    let error = redis::cmd("NONSENSE").query::<()>(&mut connection).unwrap_err();
                    assert!(error.to_string().contains("unknown command"), "{error}");
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        let mut connection = Connection::open(address).unwrap();
        assert_eq!(connection.get::<_, i64>("count").unwrap(), CLIENTS * 20);
        drop(connection);
        serving.join().unwrap();
    });
}

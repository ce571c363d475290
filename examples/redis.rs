//! A server that speaks the Redis protocol (RESP2), in blocking style: one coroutine for each connection.
//!
//! ```text
//! cargo run --release --example redis -- 127.0.0.1:6379     serves until SIGINT, SIGTERM or SHUTDOWN
//! cargo run --release --example redis                       tests itself over loopback
//! ```
//!
//! It keeps strings and lists, with times to live, in memory only. What it shows: a map that is cut into shards, each
//! under a lock that parks; pipelining, where all commands that have arrived are answered by one write; limits to what
//! a client may send; an end where commands at hand are answered before connections close. `redis-cli` and
//! `redis-benchmark` work with it.

#[path = "common/mod.rs"]
mod common;

use gort::context::{CancelHandle, Context};
use gort::net::{Shutdown, TcpListener, TcpStream};
use gort::signal::{self, Signal};
use gort::sync::{Mutex, MutexGuard, WaitGroup};
use gort::{Builder, go};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest line: an inline command, or the number that begins an argument.
const LINE_BYTES: usize = 64 << 10;
/// The longest argument, and with it the longest string.
const ARGUMENT_BYTES: usize = 16 << 20;
/// The longest command, all its arguments together.
const COMMAND_BYTES: usize = 64 << 20;
const ARGUMENTS: usize = 1 << 20;
const CLIENTS: usize = 10_000;
/// What is read at a time, unless an argument is longer.
const INPUT_BYTES: usize = 16 << 10;
/// Answers are written when so much has gathered, even if more commands are at hand.
const OUTPUT_BYTES: usize = 256 << 10;
/// How long a client may not take its answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often expired keys are looked for that nobody asks for.
const SWEEP: Duration = Duration::from_millis(10);
/// How long the end waits for clients that do not take their answers.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let signals = signal::notify(&[Signal::INT, Signal::TERM])?;
    gort::run(|| match std::env::args().nth(1) {
        Some(address) => {
            let listener = TcpListener::builder().backlog(4096).bind(&*address)?;
            println!("redis: listening on {}", listener.local_addr()?);
            let (server, ctx) = Server::new();
            let ends = server.clone();
            drop(go!("signals", move || {
                signals.recv();
                ends.end.cancel();
            }));
            server.serve(&listener, &ctx);
            println!("redis: ended after {} commands", server.commands.load(Ordering::Relaxed));
            Ok(())
        }
        None => test::run(),
    })
}

// What is kept.

type List = VecDeque<Box<[u8]>>;

enum Value {
    Bytes(Vec<u8>),
    List(List),
}

struct Entry {
    value: Value,
    expires: Option<Instant>,
}

impl Entry {
    fn has_expired(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
    }
}

/// A part of the map. A key that has expired counts as gone at once, and goes when somebody asks for it, or by the sweeper.
#[derive(Default)]
struct Shard {
    entries: HashMap<Box<[u8]>, Entry>,
    /// The keys that expire, by time.
    expiring: BTreeSet<(Instant, Box<[u8]>)>,
}

impl Shard {
    fn get(&mut self, key: &[u8]) -> Option<&mut Entry> {
        if self.entries.get(key)?.has_expired() {
            self.remove(key);
        }
        self.entries.get_mut(key)
    }

    fn bytes(&mut self, key: &[u8]) -> Result<Option<&mut Vec<u8>>, Failure> {
        match self.get(key) {
            Some(Entry { value: Value::Bytes(bytes), .. }) => Ok(Some(bytes)),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(None),
        }
    }

    fn list(&mut self, key: &[u8]) -> Result<Option<&mut List>, Failure> {
        match self.get(key) {
            Some(Entry { value: Value::List(list), .. }) => Ok(Some(list)),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// Whether the key was there.
    fn remove(&mut self, key: &[u8]) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return false };
        if let Some(at) = entry.expires {
            self.expiring.remove(&(at, key));
        }
        !entry.has_expired()
    }

    /// Puts a value in the place of what there was, and of its expiry.
    fn set(&mut self, key: &[u8], value: Value, expires: Option<Instant>) {
        let old = match self.entries.get_mut(key) {
            Some(entry) => std::mem::replace(entry, Entry { value, expires }).expires,
            None => self.entries.insert(key.into(), Entry { value, expires }).and_then(|entry| entry.expires),
        };
        self.index(key, old, expires);
    }

    fn set_bytes(&mut self, key: &[u8], bytes: &[u8], expires: Option<Instant>) {
        // The commonest case, without a new allocation.
        if let Some(Entry { value: Value::Bytes(old), expires: None }) = self.entries.get_mut(key)
            && expires.is_none()
            && old.capacity() <= 2 * bytes.len() + 64
        {
            old.clear();
            old.extend_from_slice(bytes);
        } else {
            self.set(key, Value::Bytes(bytes.into()), expires);
        }
    }

    /// Moves the key to its new time among those that expire.
    fn index(&mut self, key: &[u8], old: Option<Instant>, new: Option<Instant>) {
        if let Some(at) = old {
            self.expiring.remove(&(at, key.into()));
        }
        if let Some(at) = new {
            self.expiring.insert((at, key.into()));
        }
    }

    /// Removes some of the keys that have expired; true if there may be more.
    fn sweep(&mut self, now: Instant) -> bool {
        for _ in 0..100 {
            match self.expiring.first() {
                Some((at, _)) if *at <= now => {}
                _ => return false,
            }
            if let Some((_, key)) = self.expiring.pop_first() {
                self.entries.remove(&key);
            }
        }
        true
    }
}

/// As many as the bits of a set of them.
const SHARDS: usize = 64;

/// The second is the hash that chooses the shard; inside a shard std's `HashMap` has another.
struct Store([Mutex<Shard>; SHARDS], RandomState);

/// Shards that are locked together, so that a command of many keys is one step.
struct Locked<'a>(&'a Store, [Option<MutexGuard<'a, Shard>>; SHARDS]);

impl Locked<'_> {
    fn shard(&mut self, key: &[u8]) -> &mut Shard {
        self.1[self.0.number(key)].as_mut().expect("locked")
    }
}

impl Store {
    fn new() -> Store {
        Store(std::array::from_fn(|_| Mutex::default()), RandomState::new())
    }

    fn number(&self, key: &[u8]) -> usize {
        self.1.hash_one(key) as usize % SHARDS
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        self.0[self.number(key)].lock()
    }

    /// In the order of their numbers, so that two such commands do not wait for each other.
    fn lock<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Locked<'_> {
        let wanted = keys.fold(0_u64, |set, key| set | 1 << self.number(key));
        Locked(self, std::array::from_fn(|number| (wanted >> number & 1 == 1).then(|| self.0[number].lock())))
    }

    fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().entries.len()).sum()
    }
}

// Connections.

struct Server {
    store: Store,
    end: CancelHandle,
    started: Instant,
    clients: AtomicUsize,
    commands: AtomicU64,
}

impl Server {
    /// The context ends when the server is to.
    fn new() -> (Arc<Server>, Context) {
        let (ctx, end) = Context::background().with_cancel();
        let (clients, commands) = (AtomicUsize::new(0), AtomicU64::new(0));
        (Arc::new(Server { store: Store::new(), end, started: Instant::now(), clients, commands }), ctx)
    }

    /// Serves until `ctx` ends, and then until the clients have their answers.
    fn serve(self: &Arc<Server>, listener: &TcpListener, ctx: &Context) {
        let all = WaitGroup::new();
        let sweeper = go!("sweeper", {
            let server = self.clone();
            move || server.sweep()
        });
        while let Ok(accepted) = ctx.bound(|| listener.accept()) {
            let begun = accepted.and_then(|(stream, _)| {
                let (server, ctx, member) = (self.clone(), ctx.clone(), all.clone());
                Builder::new().spawn(move || {
                    // A client that goes away in the middle is its own business.
                    let _ = server.attend(stream, &ctx);
                    drop(member);
                })
            });
            // A client that has gone again, no descriptor left, or no memory: the others go on.
            if let Err(error) = begun {
                eprintln!("redis: accept: {error}");
                gort::time::sleep(Duration::from_millis(10));
            }
        }
        if all.wait_timeout(GRACE).is_err() {
            eprintln!("redis: some clients did not take their answers");
        }
        sweeper.cancel();
    }

    fn attend(self: &Arc<Server>, mut stream: TcpStream, ctx: &Context) -> io::Result<()> {
        struct Count<'a>(&'a AtomicUsize);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                // Relaxed: a number of its own.
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // Relaxed: as above.
        let clients = self.clients.fetch_add(1, Ordering::Relaxed);
        let _count = Count(&self.clients);
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if clients >= CLIENTS {
            return stream.write_all(b"-ERR max number of clients reached\r\n");
        }
        // The end of the server is, for a client, that it sends no more: what has arrived is answered.
        let other = stream.try_clone()?;
        let stop = ctx.after_func(move || drop(other.shutdown(Shutdown::Read)));
        let done = Connection::new(self, stream).converse();
        stop.stop();
        done
    }

    fn sweep(&self) {
        loop {
            gort::time::sleep(SWEEP);
            let now = Instant::now();
            for shard in &self.store.0 {
                // Others get in between.
                while shard.lock().sweep(now) {}
            }
        }
    }
}

struct Connection<'a> {
    server: &'a Server,
    stream: TcpStream,
    /// What has been read and not been used is `input[used..filled]`.
    input: Vec<u8>,
    used: usize,
    filled: usize,
    parser: Parser,
    /// Answers that have not been written.
    output: Vec<u8>,
}

impl Connection<'_> {
    fn new(server: &Server, stream: TcpStream) -> Connection<'_> {
        let (input, output) = (vec![0; INPUT_BYTES], Vec::new());
        Connection { server, stream, input, used: 0, filled: 0, parser: Parser::default(), output }
    }

    /// Answers commands until one side has had enough.
    fn converse(mut self) -> io::Result<()> {
        let mut commands = 0;
        loop {
            match self.parser.parse(&self.input[self.used..self.filled]) {
                Ok(true) => {
                    let rest = &self.input[self.used..];
                    let args = Args { input: rest, places: &self.parser.args };
                    let quit = commands::execute(self.server, args, &mut self.output);
                    self.used += self.parser.at;
                    self.parser.reset();
                    commands += 1;
                    if quit {
                        break;
                    }
                    if self.output.len() >= OUTPUT_BYTES {
                        self.flush()?;
                    }
                }
                Ok(false) => {
                    // Relaxed: a number of its own.
                    self.server.commands.fetch_add(std::mem::take(&mut commands), Ordering::Relaxed);
                    if self.fill()? == 0 {
                        return Ok(());
                    }
                }
                Err(why) => {
                    reply::error(&mut self.output, &format!("ERR Protocol error: {why}"));
                    break;
                }
            }
        }
        // Relaxed: as above.
        self.server.commands.fetch_add(commands, Ordering::Relaxed);
        self.finish()
    }

    /// Reads more. This is where the coroutine waits for the client, so what the client may be
    /// waiting for goes out first: one write for all commands that were at hand.
    fn fill(&mut self) -> io::Result<usize> {
        self.flush()?;
        self.input.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        if self.filled == 0 && self.input.len() > INPUT_BYTES {
            self.input = vec![0; INPUT_BYTES];
        } else if self.filled == self.input.len() {
            // The parser has refused what would be longer than a command may be.
            self.input.resize(2 * self.filled, 0);
        }
        let read = self.stream.read(&mut self.input[self.filled..])?;
        self.filled += read;
        Ok(read)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.output)?;
        self.output.clear();
        self.output.shrink_to(OUTPUT_BYTES);
        Ok(())
    }

    /// Ends the connection so that the client gets the last answer. If it is still sending, an
    /// outright close would make the kernel reset the connection and throw the answer away.
    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_deadline(Some(Instant::now() + Duration::from_secs(1)));
        while self.stream.read(&mut self.input[..])? > 0 {}
        Ok(())
    }
}

/// Finds the arguments of a command, and goes on where it was when more has been read.
#[derive(Default)]
struct Parser {
    /// Where they are, counted from the beginning of the command.
    args: Vec<Range<usize>>,
    /// Up to here it has been parsed.
    at: usize,
    /// How many are to come; None before the number has been read.
    missing: Option<usize>,
}

impl Parser {
    /// Whether the command at the beginning of `input` is complete: then `args` has its arguments, none if it is
    /// empty, and it ends at `at`.
    fn parse(&mut self, input: &[u8]) -> Result<bool, &'static str> {
        if self.missing.is_none() {
            match input.first() {
                None => return Ok(false),
                Some(b'*') => {
                    let Some(end) = line(input, 0, "too big mbulk count string")? else { return Ok(false) };
                    let count = number(&input[1..end]).filter(|&n| n <= ARGUMENTS as i64);
                    // A number below zero is an empty command.
                    let count = count.ok_or("invalid multibulk length")?.max(0) as usize;
                    (self.missing, self.at) = (Some(count), end + 2);
                }
                Some(_) => return self.parse_inline(input),
            }
        }
        while let Some(missing @ 1..) = self.missing {
            match input.get(self.at) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(_) => return Err("expected '$'"),
            }
            let Some(end) = line(input, self.at, "too big bulk count string")? else { return Ok(false) };
            let len = number(&input[self.at + 1..end]).filter(|&n| (0..=ARGUMENT_BYTES as i64).contains(&n));
            let begin = end + 2;
            let end = begin + len.ok_or("invalid bulk length")? as usize;
            if end > COMMAND_BYTES {
                return Err("invalid bulk length");
            }
            if input.len() < end + 2 {
                return Ok(false);
            }
            if input[end..end + 2] != *b"\r\n" {
                return Err("expected CR LF after an argument");
            }
            self.args.push(begin..end);
            (self.missing, self.at) = (Some(missing - 1), end + 2);
        }
        Ok(true)
    }

    /// A line of words, as somebody types it. Quotes have no meaning here.
    fn parse_inline(&mut self, input: &[u8]) -> Result<bool, &'static str> {
        let Some(end) = input.iter().take(LINE_BYTES).position(|&byte| byte == b'\n') else {
            return if input.len() < LINE_BYTES { Ok(false) } else { Err("too big inline request") };
        };
        let mut begin = None;
        for (at, byte) in input[..=end].iter().enumerate() {
            match (byte.is_ascii_whitespace(), begin) {
                (false, None) => begin = Some(at),
                (true, Some(from)) => {
                    self.args.push(from..at);
                    begin = None;
                }
                _ => {}
            }
        }
        self.at = end + 1;
        Ok(true)
    }

    fn reset(&mut self) {
        self.args.clear();
        self.args.shrink_to(1024);
        (self.at, self.missing) = (0, None);
    }
}

/// Where the line ends, at its CR, that begins at `from`; None if it has not arrived.
fn line(input: &[u8], from: usize, too_long: &'static str) -> Result<Option<usize>, &'static str> {
    let rest = &input[from..];
    match rest.iter().take(LINE_BYTES).position(|&byte| byte == b'\r') {
        Some(at) if at + 1 < rest.len() => Ok(Some(from + at)),
        None if rest.len() >= LINE_BYTES => Err(too_long),
        _ => Ok(None),
    }
}

/// A whole number in the one way to write it: `+1`, `01` and ` 1` are none.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) || digits.first() == Some(&b'0') && text != b"0" {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The arguments of a command, its name first.
#[derive(Clone, Copy)]
struct Args<'a> {
    input: &'a [u8],
    places: &'a [Range<usize>],
}

impl<'a> Args<'a> {
    fn len(self) -> usize {
        self.places.len()
    }

    fn get(self, number: usize) -> Option<&'a [u8]> {
        self.places.get(number).map(|place| &self.input[place.clone()])
    }

    /// One that the command's arity says is there.
    fn at(self, number: usize) -> &'a [u8] {
        &self.input[self.places[number].clone()]
    }

    fn from(self, first: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.places[first..].iter().map(move |place| &self.input[place.clone()])
    }

    fn number(self, at: usize) -> Result<i64, Failure> {
        number(self.at(at)).ok_or(NOT_AN_INTEGER)
    }
}

/// The answer to a command that had no effect.
type Failure = Cow<'static, str>;

const WRONG_TYPE: Failure = Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value");
const NOT_AN_INTEGER: Failure = Cow::Borrowed("ERR value is not an integer or out of range");
const OVERFLOW: Failure = Cow::Borrowed("ERR increment or decrement would overflow");
const SYNTAX: Failure = Cow::Borrowed("ERR syntax error");
const TOO_LONG: Failure = Cow::Borrowed("ERR list exceeds maximum allowed size");

/// The forms of an answer.
mod reply {
    use std::io::Write;

    pub(super) const OK: &[u8] = b"+OK\r\n";
    pub(super) const NIL: &[u8] = b"$-1\r\n";
    pub(super) const NIL_ARRAY: &[u8] = b"*-1\r\n";

    fn line(out: &mut Vec<u8>, mark: u8, number: i64) {
        if (0..10).contains(&number) {
            out.extend_from_slice(&[mark, b'0' + number as u8, b'\r', b'\n']);
        } else {
            out.push(mark);
            write!(out, "{number}\r\n").expect("a Vec takes all");
        }
    }

    pub(super) fn integer(out: &mut Vec<u8>, number: i64) {
        line(out, b':', number);
    }

    pub(super) fn array(out: &mut Vec<u8>, len: usize) {
        line(out, b'*', len as i64);
    }

    pub(super) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
        line(out, b'$', bytes.len() as i64);
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }

    /// A line ends it, so there is none in it.
    pub(super) fn error(out: &mut Vec<u8>, text: &str) {
        out.push(b'-');
        out.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
        out.extend_from_slice(b"\r\n");
    }
}

mod commands {
    use super::*;

    /// A list may have so many members.
    const LIST_MEMBERS: usize = 1 << 24;

    type Done = Result<(), Failure>;
    type Handler = fn(&Server, Args<'_>, &mut Vec<u8>) -> Done;

    /// The name; how many arguments with the name, at least so many if it is below zero; what does it.
    const TABLE: &[(&str, i32, Handler)] = &[
        ("get", 2, get),
        ("set", -3, set),
        ("incr", 2, |server, args, out| add(server, args, out, Some(1))),
        ("del", -2, del),
        ("exists", -2, exists),
        ("decr", 2, |server, args, out| add(server, args, out, Some(-1))),
        ("incrby", 3, |server, args, out| {
            let by = args.number(2)?;
            add(server, args, out, Some(by))
        }),
        ("decrby", 3, |server, args, out| {
            let by = args.number(2)?;
            add(server, args, out, by.checked_neg())
        }),
        ("expire", 3, expire),
        ("ttl", 2, ttl),
        ("mget", -2, mget),
        ("mset", -3, mset),
        ("lpush", -3, |server, args, out| push(server, args, out, VecDeque::push_front)),
        ("rpush", -3, |server, args, out| push(server, args, out, VecDeque::push_back)),
        ("lpop", -2, lpop),
        ("lrange", 4, lrange),
        ("ping", -1, ping),
        ("echo", 2, |_, args, out| {
            reply::bulk(out, args.at(1));
            Ok(())
        }),
        ("info", -1, info),
        ("dbsize", 1, |server, _, out| {
            reply::integer(out, server.store.len() as i64);
            Ok(())
        }),
        ("flushall", -1, flush_all),
        ("command", -1, command),
        ("config", -2, config),
        ("quit", -1, |_, _, out| {
            out.extend_from_slice(reply::OK);
            Ok(())
        }),
        ("shutdown", -1, |server, _, _| {
            server.end.cancel();
            Ok(())
        }),
    ];

    /// Answers a command; true if the connection ends with it.
    pub(super) fn execute(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> bool {
        let Some(name) = args.get(0) else { return false };
        let Some((known, arity, handler)) =
            TABLE.iter().find(|(known, ..)| name.eq_ignore_ascii_case(known.as_bytes()))
        else {
            let shown: String = String::from_utf8_lossy(name).chars().take(128).collect();
            reply::error(out, &format!("ERR unknown command '{shown}'"));
            return false;
        };
        let enough =
            if *arity < 0 { args.len() >= arity.unsigned_abs() as usize } else { args.len() == *arity as usize };
        let done = if enough { handler(server, args, out) } else { Err(wrong_number(known)) };
        if let Err(why) = done {
            reply::error(out, &why);
            return false;
        }
        matches!(*known, "quit" | "shutdown")
    }

    fn wrong_number(name: &str) -> Failure {
        format!("ERR wrong number of arguments for '{name}' command").into()
    }

    fn get(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        match server.store.shard(args.at(1)).bytes(args.at(1))? {
            Some(bytes) => reply::bulk(out, bytes),
            None => out.extend_from_slice(reply::NIL),
        }
        Ok(())
    }

    /// When that many of the unit that `duration` makes are over.
    fn expiry(number: i64, duration: fn(u64) -> Duration, command: &str) -> Result<Instant, Failure> {
        let at = u64::try_from(number).ok().and_then(|units| Instant::now().checked_add(duration(units)));
        at.ok_or_else(|| format!("ERR invalid expire time in '{command}' command").into())
    }

    fn set(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let (key, value) = (args.at(1), args.at(2));
        let (mut expires, mut only_new, mut only_old) = (None, false, false);
        let mut rest = 3;
        while let Some(option) = args.get(rest) {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("NX") && !only_old {
                only_new = true;
            } else if is("XX") && !only_new {
                only_old = true;
            } else if (is("EX") || is("PX")) && expires.is_none() && rest + 1 < args.len() {
                rest += 1;
                let unit = if is("EX") { Duration::from_secs } else { Duration::from_millis };
                // Zero is refused like what is below.
                let number = args.number(rest).map(|number| if number == 0 { -1 } else { number })?;
                expires = Some(expiry(number, unit, "set")?);
            } else {
                return Err(SYNTAX);
            }
            rest += 1;
        }
        let mut shard = server.store.shard(key);
        if (only_new || only_old) && shard.get(key).is_some() != only_old {
            out.extend_from_slice(reply::NIL);
        } else {
            shard.set_bytes(key, value, expires);
            out.extend_from_slice(reply::OK);
        }
        Ok(())
    }

    fn del(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let mut locked = server.store.lock(args.from(1));
        let removed = args.from(1).filter(|key| locked.shard(key).remove(key)).count();
        reply::integer(out, removed as i64);
        Ok(())
    }

    fn exists(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let mut locked = server.store.lock(args.from(1));
        let there = args.from(1).filter(|key| locked.shard(key).get(key).is_some()).count();
        reply::integer(out, there as i64);
        Ok(())
    }

    fn add(server: &Server, args: Args<'_>, out: &mut Vec<u8>, by: Option<i64>) -> Done {
        let key = args.at(1);
        let mut shard = server.store.shard(key);
        let old = shard.bytes(key)?;
        let before = old.as_ref().map_or(Some(0), |bytes| number(bytes)).ok_or(NOT_AN_INTEGER)?;
        let now = by.and_then(|by| before.checked_add(by)).ok_or(OVERFLOW)?;
        match old {
            Some(bytes) => {
                bytes.clear();
                write!(bytes, "{now}").expect("a Vec takes all");
            }
            None => shard.set(key, Value::Bytes(now.to_string().into()), None),
        }
        reply::integer(out, now);
        Ok(())
    }

    fn expire(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let (key, seconds) = (args.at(1), args.number(2)?);
        let mut shard = server.store.shard(key);
        let there = if seconds <= 0 {
            shard.remove(key)
        } else {
            let at = Some(expiry(seconds, Duration::from_secs, "expire")?);
            let old = shard.get(key).map(|entry| std::mem::replace(&mut entry.expires, at));
            if let Some(old) = old {
                shard.index(key, old, at);
            }
            old.is_some()
        };
        reply::integer(out, there.into());
        Ok(())
    }

    fn ttl(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let seconds = match server.store.shard(args.at(1)).get(args.at(1)).map(|entry| entry.expires) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => ((at.saturating_duration_since(Instant::now()).as_millis() + 500) / 1000) as i64,
        };
        reply::integer(out, seconds);
        Ok(())
    }

    fn mget(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let mut locked = server.store.lock(args.from(1));
        reply::array(out, args.len() - 1);
        for key in args.from(1) {
            // What is no string counts as not there.
            match locked.shard(key).bytes(key) {
                Ok(Some(bytes)) => reply::bulk(out, bytes),
                _ => out.extend_from_slice(reply::NIL),
            }
        }
        Ok(())
    }

    fn mset(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        if args.len().is_multiple_of(2) {
            return Err(wrong_number("mset"));
        }
        let mut locked = server.store.lock(args.from(1).step_by(2));
        for (key, value) in args.from(1).step_by(2).zip(args.from(2).step_by(2)) {
            locked.shard(key).set_bytes(key, value, None);
        }
        out.extend_from_slice(reply::OK);
        Ok(())
    }

    fn push(server: &Server, args: Args<'_>, out: &mut Vec<u8>, push: fn(&mut List, Box<[u8]>)) -> Done {
        let key = args.at(1);
        let mut shard = server.store.shard(key);
        if shard.list(key)?.is_none() {
            shard.set(key, Value::List(VecDeque::new()), None);
        }
        let list = shard.list(key)?.expect("just made");
        if list.len() + args.len() - 2 > LIST_MEMBERS {
            return Err(TOO_LONG);
        }
        args.from(2).for_each(|member| push(list, member.into()));
        reply::integer(out, list.len() as i64);
        Ok(())
    }

    fn lpop(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        if args.len() > 3 {
            return Err(wrong_number("lpop"));
        }
        let count = match args.get(2).map(number) {
            None => None,
            Some(Some(count @ 0..)) => Some(count as usize),
            Some(_) => return Err("ERR value is out of range, must be positive".into()),
        };
        let key = args.at(1);
        let mut shard = server.store.shard(key);
        match (shard.list(key)?, count) {
            (None, None) => out.extend_from_slice(reply::NIL),
            (None, Some(_)) => out.extend_from_slice(reply::NIL_ARRAY),
            (Some(list), count) => {
                let many = count.unwrap_or(1).min(list.len());
                if count.is_some() {
                    reply::array(out, many);
                }
                list.drain(..many).for_each(|member| reply::bulk(out, &member));
                // There are no empty lists.
                if list.is_empty() {
                    shard.remove(key);
                }
            }
        }
        Ok(())
    }

    fn lrange(server: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        let (first, last) = (args.number(2)?, args.number(3)?);
        let mut shard = server.store.shard(args.at(1));
        let Some(list) = shard.list(args.at(1))? else {
            reply::array(out, 0);
            return Ok(());
        };
        // Below zero it counts from the end.
        let len = list.len() as i64;
        let place = |at: i64| if at < 0 { len.saturating_add(at) } else { at };
        let (first, end) = (place(first).max(0), place(last).saturating_add(1).min(len));
        let (first, end) = (first as usize, end.max(first.min(len)).max(0) as usize);
        let first = first.min(end);
        reply::array(out, end - first);
        list.range(first..end).for_each(|member| reply::bulk(out, member));
        Ok(())
    }

    fn ping(_: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        match args.len() {
            1 => out.extend_from_slice(b"+PONG\r\n"),
            2 => reply::bulk(out, args.at(1)),
            _ => return Err(wrong_number("ping")),
        }
        Ok(())
    }

    fn info(server: &Server, _: Args<'_>, out: &mut Vec<u8>) -> Done {
        // Relaxed: numbers that stand for themselves.
        let (clients, commands) = (server.clients.load(Ordering::Relaxed), server.commands.load(Ordering::Relaxed));
        let text = format!(
            "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nprocess_id:{}\r\nuptime_in_seconds:{}\r\n\r\n\
             # Clients\r\nconnected_clients:{clients}\r\nmaxclients:{CLIENTS}\r\n\r\n\
             # Stats\r\ntotal_commands_processed:{commands}\r\n\r\n\
             # Keyspace\r\ndb0:keys={}\r\n",
            std::process::id(),
            server.started.elapsed().as_secs(),
            server.store.len()
        );
        reply::bulk(out, text.as_bytes());
        Ok(())
    }

    fn flush_all(server: &Server, _: Args<'_>, out: &mut Vec<u8>) -> Done {
        // All locked at once. What was kept is dropped without the locks.
        let mut locked: Vec<_> = server.store.0.iter().map(Mutex::lock).collect();
        let kept: Vec<Shard> = locked.iter_mut().map(|shard| std::mem::take(&mut **shard)).collect();
        drop(locked);
        drop(kept);
        out.extend_from_slice(reply::OK);
        Ok(())
    }

    /// What `redis-cli` asks for when it connects.
    fn command(_: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        match args.get(1) {
            None => {
                reply::array(out, TABLE.len());
                for (name, arity, _) in TABLE {
                    // Name, arity, flags, and the first key, the last, and the step: not told here.
                    reply::array(out, 6);
                    reply::bulk(out, name.as_bytes());
                    reply::integer(out, (*arity).into());
                    reply::array(out, 0);
                    (0..3).for_each(|_| reply::integer(out, 0));
                }
            }
            Some(what) if what.eq_ignore_ascii_case(b"COUNT") => reply::integer(out, TABLE.len() as i64),
            Some(what) if what.eq_ignore_ascii_case(b"DOCS") => reply::array(out, 0),
            Some(_) => return Err("ERR unknown subcommand of 'command'".into()),
        }
        Ok(())
    }

    /// What `redis-benchmark` asks for when it begins.
    fn config(_: &Server, args: Args<'_>, out: &mut Vec<u8>) -> Done {
        if !args.at(1).eq_ignore_ascii_case(b"GET") {
            return Err("ERR unknown subcommand of 'config'".into());
        }
        if args.len() < 3 {
            return Err(wrong_number("config|get"));
        }
        let clients = CLIENTS.to_string();
        let known = [("save", ""), ("appendonly", "no"), ("maxclients", &clients)];
        let asked = |name: &str| args.from(2).any(|arg| arg == b"*" || arg.eq_ignore_ascii_case(name.as_bytes()));
        let told: Vec<_> = known.into_iter().filter(|(name, _)| asked(name)).collect();
        reply::array(out, 2 * told.len());
        for (name, value) in told {
            reply::bulk(out, name.as_bytes());
            reply::bulk(out, value.as_bytes());
        }
        Ok(())
    }
}

/// What the server does without an address: it talks to itself.
mod test {
    use super::*;
    use std::net::SocketAddr;

    pub(super) fn run() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (server, ctx) = Server::new();
        let serving = go!("server", move || server.serve(&listener, &ctx));
        let dialogues = dialogues();
        for (commands, want) in &dialogues {
            talk(address, commands, want)?;
        }
        expiry(address)?;
        common::without_stacks(|| {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"PING\r\n")?;
            stream.read_exact(&mut [0; 7])
        })?;
        let (clients, rounds, depth) = (32, 50, 16);
        let start = Instant::now();
        let handles: Vec<_> = (0..clients).map(|_| go!(move || pipeline(address, rounds, depth))).collect();
        for handle in handles {
            handle.join()??;
        }
        let (commands, took) = (clients * rounds * depth, start.elapsed());
        talk(address, "GET hits\r\n", &format!("${}\r\n{commands}\r\n", commands.to_string().len()))?;
        // The end: who is idle sees it, and who has sent commands gets the answers first.
        let mut idle = TcpStream::connect(address)?;
        idle.write_all(b"PING\r\n")?;
        idle.read_exact(&mut [0; 7])?;
        TcpStream::connect(address)?.write_all(b"SHUTDOWN\r\n")?;
        idle.set_read_timeout(Some(Duration::from_secs(5)))?;
        if idle.read(&mut [0; 1])? != 0 {
            return Err(io::Error::other("the end says something to an idle client"));
        }
        drop(idle);
        serving.join()?;
        println!(
            "redis: {} dialogues right; {commands} pipelined commands on {clients} connections in {took:.1?}; ended",
            dialogues.len()
        );
        Ok(())
    }

    /// What clients say, and what they should hear before the server hangs up, or has nothing more to say.
    fn dialogues() -> Vec<(String, String)> {
        let line = |words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            let args: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
            format!("*{}\r\n{args}", words.len())
        };
        let lines = |lines: &[&str]| lines.iter().map(|words| line(words)).collect::<String>();
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        let number = "-ERR value is not an integer or out of range\r\n";
        let arity = |name: &str| format!("-ERR wrong number of arguments for '{name}' command\r\n");
        let protocol = |why: &str| format!("-ERR Protocol error: {why}\r\n");
        let big = "b".repeat(100_000);
        vec![
            (lines(&["PING", "ping hello", "ECHO x"]), "+PONG\r\n$5\r\nhello\r\n$1\r\nx\r\n".into()),
            ("\r\nPING\r\n*0\r\n  ping   you \n".into(), "+PONG\r\n$3\r\nyou\r\n".into()),
            (lines(&["FLUSHALL", "SET a 1", "GET a", "GET b"]), "+OK\r\n+OK\r\n$1\r\n1\r\n$-1\r\n".into()),
            (lines(&["SET a 2 NX", "SET a 2 XX", "SET c 2 XX", "GET a"]), "$-1\r\n+OK\r\n$-1\r\n$1\r\n2\r\n".into()),
            (lines(&["SET a 2 NX XX", "SET a 2 EX"]), "-ERR syntax error\r\n".repeat(2)),
            (lines(&["SET a 2 EX x"]), number.into()),
            (lines(&["SET a 2 PX 0"]), "-ERR invalid expire time in 'set' command\r\n".into()),
            (
                format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$100000\r\n{big}\r\n{}", line("DEL big big")),
                "+OK\r\n:1\r\n".into(),
            ),
            (lines(&["DEL n", "INCR n", "INCRBY n 41", "DECR n"]), ":X\r\n:1\r\n:42\r\n:41\r\n".into()),
            (
                lines(&["SET n 9223372036854775807", "INCR n"]),
                "+OK\r\n-ERR increment or decrement would overflow\r\n".into(),
            ),
            (lines(&["SET n 01", "INCR n", "INCRBY n x"]), format!("+OK\r\n{number}{number}")),
            (
                lines(&["MSET k 1 l 2", "MGET k none l", "EXISTS k k none"]),
                "+OK\r\n*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n:2\r\n".into(),
            ),
            (lines(&["SET t 1", "TTL t", "EXPIRE t 100", "TTL t"]), "+OK\r\n:-1\r\n:1\r\n:100\r\n".into()),
            (
                lines(&["SET t 1 PX 5184000000", "TTL t", "EXPIRE t 9000000000000000000", "TTL t"]),
                "+OK\r\n:5184000\r\n:1\r\n:9000000000000000000\r\n".into(),
            ),
            (
                lines(&["SET t 2 EX 9223372036854775807", "EXPIRE t 9223372036854775807", "GET t"]),
                "-ERR invalid expire time in 'set' command\r\n-ERR invalid expire time in 'expire' command\r\n$1\r\n1\r\n"
                    .into(),
            ),
            (lines(&["EXPIRE t -1", "TTL t", "EXPIRE t 1"]), ":X\r\n:-2\r\n:0\r\n".into()),
            (
                lines(&["DEL q", "RPUSH q b c", "LPUSH q a", "LRANGE q 0 -1"]),
                ":X\r\n:2\r\n:3\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n".into(),
            ),
            (
                lines(&["LRANGE q -2 9", "LRANGE q 5 9", "LRANGE q 2 1"]),
                "*2\r\n$1\r\nb\r\n$1\r\nc\r\n*0\r\n*0\r\n".into(),
            ),
            (lines(&["GET q", "INCR q", "LPOP k", "LRANGE k 0 1"]), wrong.repeat(4)),
            (
                lines(&["DEL q", "RPUSH q a b c", "LPOP q", "LPOP q 9", "LPOP q", "LPOP q 1"]),
                ":X\r\n:3\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n$-1\r\n*-1\r\n".into(),
            ),
            (lines(&["LPOP q -1"]), "-ERR value is out of range, must be positive\r\n".into()),
            (lines(&["FLUSHALL", "DBSIZE", "MSET a 1 b 2", "DBSIZE"]), "+OK\r\n:0\r\n+OK\r\n:2\r\n".into()),
            (
                lines(&["CONFIG GET appendonly", "COMMAND COUNT"]),
                "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n:25\r\n".into(),
            ),
            (
                lines(&["GET", "SET a", "MSET a", "GET a b"]),
                [arity("get"), arity("set"), arity("mset"), arity("get")].concat(),
            ),
            (lines(&["BREW tea", "PING"]), "-ERR unknown command 'BREW'\r\n+PONG\r\n".into()),
            (lines(&["PING", "QUIT", "PING"]), "+PONG\r\n+OK\r\n".into()),
            (
                format!("{}*x\r\n{}", line("PING"), line("PING")),
                format!("+PONG\r\n{}", protocol("invalid multibulk length")),
            ),
            ("*99999999\r\n".into(), protocol("invalid multibulk length")),
            ("*1\r\nPING\r\n".into(), protocol("expected '$'")),
            ("*1\r\n$-1\r\n".into(), protocol("invalid bulk length")),
            ("*1\r\n$99999999999\r\n".into(), protocol("invalid bulk length")),
            ("*1\r\n$4\r\nPINGS\r\n".into(), protocol("expected CR LF after an argument")),
            ("x".repeat(LINE_BYTES), protocol("too big inline request")),
            (format!("*{}", "1".repeat(LINE_BYTES)), protocol("too big mbulk count string")),
        ]
    }

    /// Sends `commands` and checks the answers. `X` is any digit: what the same dialogue has left the time before.
    fn talk(address: SocketAddr, commands: &str, want: &str) -> io::Result<()> {
        common::talk(address, commands.as_bytes(), |got| {
            let same = |(got, want): (&u8, &u8)| got == want || *want == b'X' && got.is_ascii_digit();
            let right = got.len() == want.len() && got.iter().zip(want.as_bytes()).all(same);
            if right { Ok(()) } else { Err(format!("not {want:?}")) }
        })
    }

    /// A key that expires is gone for who asks, and goes without being asked for.
    fn expiry(address: SocketAddr) -> io::Result<()> {
        talk(address, "FLUSHALL\r\nSET a 1 PX 1000000\r\nSET b 1\r\n", "+OK\r\n+OK\r\n+OK\r\n")?;
        talk(address, "SET a 1 PX 1\r\nDBSIZE\r\n", "+OK\r\n:X\r\n")?;
        let mut stream = TcpStream::connect(address)?;
        let start = Instant::now();
        let mut answer = [0; 4];
        while answer != *b":1\r\n" {
            if start.elapsed() > Duration::from_secs(5) {
                return Err(io::Error::other("an expired key stays"));
            }
            gort::time::sleep(Duration::from_millis(1));
            stream.write_all(b"DBSIZE\r\n")?;
            stream.read_exact(&mut answer)?;
        }
        talk(address, "GET a\r\nTTL a\r\nTTL b\r\n", "$-1\r\n:-2\r\n:-1\r\n")
    }

    /// Sends many commands at once, again and again, and checks the answers, which go up.
    fn pipeline(address: SocketAddr, rounds: usize, depth: usize) -> io::Result<()> {
        let mut stream = io::BufReader::new(TcpStream::connect(address)?);
        let commands = "INCR hits\r\n".repeat(depth);
        let mut last = 0;
        for _ in 0..rounds {
            stream.get_mut().write_all(commands.as_bytes())?;
            for _ in 0..depth {
                let mut line = String::new();
                io::BufRead::read_line(&mut stream, &mut line)?;
                let now = line.strip_prefix(':').and_then(|text| text.trim_end().parse().ok()).unwrap_or(0);
                if now <= last {
                    return Err(io::Error::other(format!("{line:?} after {last}")));
                }
                last = now;
            }
        }
        Ok(())
    }
}

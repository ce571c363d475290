//! A chat server: everybody hears what anybody says, line by line.
//!
//! ```text
//! cargo run --release --example chat -- 127.0.0.1:7000     serves until SIGINT or SIGTERM; try it with nc
//! cargo run --release --example chat                       tests itself over loopback
//! ```
//!
//! The first line that a client sends is its name. The room is one coroutine, which alone knows who is there: it waits by
//! `select!` for news and for its end, so that nothing is locked. Each client has a coroutine that reads, and one that
//! writes what lies in its queue. The queue is bounded, and the room does not wait for anybody: who is so slow that
//! the queue is full is dropped.

#[path = "common/mod.rs"]
mod common;

use gort::channel::{Receiver, Sender, TrySendError, bounded};
use gort::context::Context;
use gort::net::{Shutdown, TcpListener, TcpStream};
use gort::signal::{self, Signal};
use gort::sync::WaitGroup;
use gort::{Builder, go, select};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LINE_BYTES: u64 = 1 << 10;
const NAME_BYTES: usize = 32;
/// How many lines may wait for one client.
const QUEUE_LINES: usize = 256;
/// A member whose writer is stuck with one line is dropped.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take to say its name.
const NAMING: Duration = Duration::from_secs(60);
/// How long the end waits until everybody has been told.
const GRACE: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let signals = signal::notify(&[Signal::INT, Signal::TERM])?;
    gort::run(|| match std::env::args().nth(1) {
        Some(address) => {
            let listener = TcpListener::bind(&*address)?;
            println!("chat: listening on {}", listener.local_addr()?);
            let (ctx, end) = Context::background().with_cancel();
            drop(go!("signals", move || {
                signals.recv();
                end.cancel();
            }));
            let counts = serve(&listener, &ctx);
            println!("chat: {counts:?}");
            Ok(())
        }
        None => test::run(),
    })
}

type Line = Arc<str>;

/// What the room is told.
enum News {
    /// Somebody with this name comes, and is to be given lines here. The answer is the member's number.
    Joins {
        name: String,
        lines: Sender<Line>,
        stream: TcpStream,
        number: Sender<u64>,
    },
    Says(u64, String),
    Leaves(u64),
}

struct Member {
    name: String,
    lines: Sender<Line>,
    stream: TcpStream,
}

/// What has happened in a room.
#[derive(Debug, Default)]
struct Counts {
    joined: u64,
    said: u64,
    dropped: u64,
}

/// Serves until `ctx` ends.
fn serve(listener: &TcpListener, ctx: &Context) -> Counts {
    let all = WaitGroup::new();
    let (news, heard) = bounded(64);
    let room = go!("room", {
        let ctx = ctx.clone();
        move || Room::default().run(&heard, &ctx)
    });
    while let Ok(accepted) = ctx.bound(|| listener.accept()) {
        let begun = accepted.and_then(|(stream, _)| {
            let (news, member) = (news.clone(), all.clone());
            Builder::new().spawn(move || {
                // A client that goes away in the middle is its own business.
                let _ = attend(stream, &news);
                drop(member);
            })
        });
        // A client that has gone again, no descriptor left, or no memory: the others go on.
        if let Err(error) = begun {
            eprintln!("chat: accept: {error}");
            gort::time::sleep(Duration::from_millis(10));
        }
    }
    let counts = room.join().expect("the room does not panic");
    // Who has not said its name yet, or does not take what it is told, is not waited for.
    let _ = all.wait_timeout(GRACE);
    counts
}

#[derive(Default)]
struct Room {
    members: BTreeMap<u64, Member>,
    counts: Counts,
}

impl Room {
    fn run(mut self, news: &Receiver<News>, ctx: &Context) -> Counts {
        let done = ctx.done();
        loop {
            select! {
                recv(news) -> what => match what {
                    Ok(what) => self.hear(what),
                    // Nobody is left who could say anything, not even the listener.
                    Err(_) => break,
                },
                wait(done) => break,
            }
        }
        self.tell(None, "* the room closes");
        // The writers write what is in their queues, and then close.
        self.counts
    }

    fn hear(&mut self, what: News) {
        match what {
            News::Joins { name, lines, stream, number } => {
                self.counts.joined += 1;
                let member = self.counts.joined;
                // If it has gone meanwhile, it leaves by itself.
                let _ = number.send(member);
                let names: Vec<&str> = self.members.values().map(|member| &*member.name).collect();
                let here = if names.is_empty() { "nobody".into() } else { names.join(", ") };
                // Its queue is new and has room.
                let _ = lines.try_send(format!("* welcome, {name}; here: {here}\n").into());
                self.tell(None, &format!("* {name} joins"));
                self.members.insert(member, Member { name, lines, stream });
            }
            News::Says(number, text) => {
                // Who has been dropped is not heard any more.
                if let Some(member) = self.members.get(&number) {
                    self.counts.said += 1;
                    let line = format!("{}: {text}", member.name);
                    self.tell(Some(number), &line);
                }
            }
            News::Leaves(number) => {
                if let Some(member) = self.members.remove(&number) {
                    self.tell(None, &format!("* {} leaves", member.name));
                }
            }
        }
    }

    /// Tells it to all but one. All whose queues are full are dropped, which the others are told by one line: more could fill
    /// the queues of those who keep up.
    fn tell(&mut self, mut except: Option<u64>, line: &str) {
        let mut line: Line = format!("{line}\n").into();
        loop {
            let mut slow = Vec::new();
            for (&number, member) in self.members.iter().filter(|(number, _)| Some(**number) != except) {
                match member.lines.try_send(line.clone()) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => slow.push(number),
                    // Its writer has ended, and its reader will say that it leaves.
                    Err(TrySendError::Disconnected(_)) => {}
                }
            }
            let slow: Vec<Member> = slow.iter().filter_map(|number| self.members.remove(number)).collect();
            if slow.is_empty() {
                return;
            }
            for member in &slow {
                self.counts.dropped += 1;
                // Its two coroutines, which wait for the stream, see this as the end.
                let _ = member.stream.shutdown(Shutdown::Both);
            }
            // Each has left before any is told of, so this comes to an end.
            let names: Vec<&str> = slow.iter().map(|member| &*member.name).collect();
            (except, line) = (None, format!("* too slow, and dropped: {}\n", names.join(", ")).into());
        }
    }
}

/// Reads what a client says.
fn attend(stream: TcpStream, news: &Sender<News>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_deadline(Some(Instant::now() + NAMING));
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut ask = stream.try_clone()?;
    ask.write_all(b"* your name?\n")?;
    let Some(name) = read_line(&mut reader)? else { return Ok(()) };
    if name.is_empty() || name.len() > NAME_BYTES {
        return ask.write_all(b"* that is no name\n");
    }
    stream.set_read_deadline(None);
    let (lines, queue) = bounded(QUEUE_LINES);
    let (number, told) = bounded(1);
    let writer = Builder::new().spawn({
        let stream = stream.try_clone()?;
        move || write(stream, &queue)
    })?;
    // The room has closed if it does not hear, or does not answer.
    if news.send(News::Joins { name, lines, stream, number }).is_ok()
        && let Ok(number) = told.recv()
    {
        let mut said = Ok(());
        loop {
            match read_line(&mut reader) {
                Ok(Some(text)) => {
                    if news.send(News::Says(number, text)).is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    said = Err(error);
                    break;
                }
            }
        }
        let _ = news.send(News::Leaves(number));
        said?;
    }
    // It ends with the queue, which the room has dropped or will drop.
    writer.join()?
}

/// A line without its end, and without what could steer a terminal; None at the end of all.
fn read_line(reader: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LINE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
    }
    let text: String = String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect();
    Ok(Some(text.trim().to_string()))
}

/// Writes what is told to a client: all lines that have gathered by one call.
fn write(mut stream: TcpStream, queue: &Receiver<Line>) -> io::Result<()> {
    let mut written = Ok(());
    while let Ok(first) = queue.recv() {
        let mut text = first.to_string();
        text.extend(queue.try_iter().map(|line| line.to_string()));
        written = stream.write_all(text.as_bytes());
        if written.is_err() {
            break;
        }
    }
    // The reader, if it waits for the client, sees this as the end.
    let _ = stream.shutdown(Shutdown::Both);
    written
}

/// What the server does without an address: it brings guests of its own.
mod test {
    use super::*;
    use std::net::SocketAddr;

    pub(super) fn run() -> io::Result<()> {
        let start = Instant::now();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (ctx, end) = Context::background().with_cancel();
        let serving = go!("server", move || serve(&listener, &ctx));

        let mut ann = Guest::new(address, "Ann")?;
        ann.hears("* welcome, Ann; here: nobody")?;
        let mut bob = Guest::new(address, "Bob")?;
        bob.hears("* welcome, Bob; here: Ann")?;
        ann.hears("* Bob joins")?;
        bob.says("hello \u{1b}[31m")?;
        ann.hears("Bob: hello [31m")?;
        Guest::new(address, &"x".repeat(NAME_BYTES + 1))?.hears("* that is no name")?;

        // A crowd: everybody hears everything that is said, in one order.
        let (guests, lines) = (20, 10);
        let mut crowd = Vec::new();
        for number in 0..guests {
            crowd.push(Guest::new(address, &format!("guest {number}"))?);
            ann.hears(&format!("* guest {number} joins"))?;
        }
        let crowd: Vec<_> = crowd
            .into_iter()
            .map(|mut guest| {
                go!(move || -> io::Result<Guest> {
                    for line in 0..lines {
                        guest.says(&format!("line {line}"))?;
                    }
                    Ok(guest)
                })
            })
            .collect();
        let mut heard: Vec<String> = (0..guests * lines).map(|_| ann.line()).collect::<io::Result<_>>()?;
        let mut bobs = Vec::new();
        while bobs.len() < heard.len() {
            let line = bob.line()?;
            if !line.starts_with('*') {
                bobs.push(line);
            }
        }
        if bobs != heard {
            return Err(io::Error::other("two guests heard different things"));
        }
        heard.sort();
        let mut want: Vec<String> =
            (0..guests).flat_map(|guest| (0..lines).map(move |line| format!("guest {guest}: line {line}"))).collect();
        want.sort();
        if heard != want {
            return Err(io::Error::other("Ann heard something else than was said"));
        }
        let crowd = crowd.into_iter().map(|guest| guest.join()?).collect::<io::Result<Vec<Guest>>>()?;
        drop(crowd);
        let mut left: Vec<String> = (0..guests).map(|_| ann.line()).collect::<io::Result<_>>()?;
        left.sort();
        left.dedup();
        if left.len() != guests || !left.iter().all(|line| line.ends_with(" leaves")) {
            return Err(io::Error::other(format!("the crowd has left, but Ann hears {left:?}")));
        }

        // Somebody who reads nothing is dropped, and nobody waits for that.
        let _sleeper = Guest::new(address, "Sleeper")?;
        ann.hears("* Sleeper joins")?;
        const BATCH: usize = 64;
        // Ann keeps up: a batch is less than her queue holds.
        let text = [&*"z".repeat(LINE_BYTES as usize - 1); BATCH].join("\n");
        let mut lines = 0;
        loop {
            if lines % BATCH == 0 {
                bob.says(&text)?;
            }
            if ann.line()? == "* too slow, and dropped: Sleeper" {
                break;
            }
            lines += 1;
        }
        while bob.line()? != "* too slow, and dropped: Sleeper" {}

        ann.says("bye")?;
        bob.hears("Ann: bye")?;
        drop(ann);
        bob.hears("* Ann leaves")?;
        end.cancel();
        bob.hears("* the room closes")?;
        if bob.reader.read(&mut [0])? != 0 {
            return Err(io::Error::other("the closed room goes on talking"));
        }
        let counts = serving.join()?;
        many_slow()?;
        no_stacks()?;
        println!("chat: {counts:?} in {:.1?}", start.elapsed());
        if counts.dropped == 1 { Ok(()) } else { Err(io::Error::other("not exactly one was dropped")) }
    }

    /// All that one line drops are told of in one, so that who has room for two stays.
    fn many_slow() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let mut room = Room::default();
        let mut queues = Vec::new();
        for (number, (name, places)) in (0..).zip([("A", 0), ("B", 0), ("Ann", 2), ("C", 0)]) {
            let (lines, queue) = bounded(2);
            (places..2).for_each(|_| drop(lines.try_send("".into())));
            room.members.insert(number, Member { name: name.into(), lines, stream: stream.try_clone()? });
            queues.push(queue);
        }
        room.tell(None, "hello");
        let heard: Vec<Line> = queues[2].try_iter().collect();
        let right = heard.iter().map(|line| &**line).eq(["hello\n", "* too slow, and dropped: A, B, C\n"]);
        if right && room.members.len() == 1 && room.counts.dropped == 3 {
            Ok(())
        } else {
            Err(io::Error::other(format!("{} are left, who have heard {heard:?}", room.members.len())))
        }
    }

    /// Who cannot be served for want of memory is turned away, and nobody else hears of that.
    fn no_stacks() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (ctx, end) = Context::background().with_cancel();
        let serving = go!("server", move || serve(&listener, &ctx));
        common::without_stacks(|| {
            let welcome = Guest::new(address, "Guest")?.line()?;
            if welcome.starts_with("* welcome, Guest") { Ok(()) } else { Err(io::Error::other(welcome)) }
        })?;
        end.cancel();
        serving.join()?;
        Ok(())
    }

    struct Guest {
        reader: BufReader<TcpStream>,
    }

    impl Guest {
        fn new(address: SocketAddr, name: &str) -> io::Result<Guest> {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut guest = Guest { reader: BufReader::new(stream) };
            guest.hears("* your name?")?;
            guest.says(name)?;
            Ok(guest)
        }

        fn says(&mut self, text: &str) -> io::Result<()> {
            self.reader.get_mut().write_all(format!("{text}\n").as_bytes())
        }

        fn line(&mut self) -> io::Result<String> {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            match line.strip_suffix('\n') {
                Some(line) => Ok(line.to_string()),
                None => Err(io::Error::other("the room hung up")),
            }
        }

        fn hears(&mut self, want: &str) -> io::Result<()> {
            let got = self.line()?;
            if got == want { Ok(()) } else { Err(io::Error::other(format!("heard {got:?} instead of {want:?}"))) }
        }
    }
}

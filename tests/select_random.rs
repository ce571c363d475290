//! Selects against a plain account, under random programs.
//!
//! Goal: whatever coroutines and threads do with selects and plain operations to a few channels, every
//! message that was sent is received once; what was not sent is not received; each sender's messages
//! through one channel arrive in order; each is dropped once; no wake-up is lost, so each program ends. Method: a
//! seed makes a program of a few tasks, each a random sequence of selects over a random set of cases, with and
//! without deadlines, biased and fair, completed or given up, some of the tasks cancelled in the middle. One task drains
//! all channels to their end, so nobody waits in vain.
//!
//! The seed is printed when a program fails or hangs. To run it again:
//! `GORT_TEST_SEED=<seed> GORT_TEST_ROUNDS=1 cargo test --test select_random`. The program is the same then, the
//! interleaving need not be.
//!
//! `cargo test --release --test select_random -- --ignored --nocapture` is the long run: by default ten million
//! selects and plain operations (`GORT_STRESS_OPERATIONS`).

mod common;

use common::{Random, builder, quiet_panics};
use gort::channel::{Receiver, RecvError, Select, Sender, bounded, unbounded};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A message: who sent it as the how-manieth; and a count of those alive.
struct Message {
    sender: usize,
    number: u64,
    alive: Arc<AtomicU64>,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It was made, and what became of it was not seen: its task was cancelled then.
    Made,
    Sent,
    Refused,
}

#[derive(Default)]
struct Log {
    /// The fate of each message, and its channel.
    made: Vec<(usize, Fate)>,
    /// Channel, sender, number.
    received: Vec<(usize, usize, u64)>,
}

type Ends = Vec<(Option<Sender<Message>>, Option<Receiver<Message>>)>;

struct Actor {
    index: usize,
    random: Random,
    steps: u64,
    ends: Ends,
    alive: Arc<AtomicU64>,
    log: Arc<Mutex<Log>>,
    /// Takes all messages to the end and never gives up.
    drains: bool,
    operations: Arc<AtomicU64>,
}

impl Actor {
    fn make(&self, channel: usize) -> Message {
        self.alive.fetch_add(1, SeqCst);
        let mut log = self.log.lock().unwrap();
        log.made.push((channel, Fate::Made));
        Message { sender: self.index, number: log.made.len() as u64 - 1, alive: self.alive.clone() }
    }

    fn sent(&self, number: u64, fate: Fate) {
        self.log.lock().unwrap().made[number as usize].1 = fate;
    }

    fn received(&self, channel: usize, message: Message) {
        self.log.lock().unwrap().received.push((channel, message.sender, message.number));
    }

    fn run(mut self) {
        let mut steps = 0;
        while self.ends.iter().any(|(s, r)| s.is_some() || r.is_some()) && (self.drains || steps < self.steps) {
            steps += 1;
            self.operations.fetch_add(1, SeqCst);
            if let Some(ended) = self.step() {
                // A channel whose other side has gone.
                self.ends[ended] = (None, None);
            }
        }
    }

    /// One select or plain operation. Returns the channel that turned out to be disconnected.
    fn step(&mut self) -> Option<usize> {
        let kind = self.random.below(20);
        if kind == 0 && !self.drains {
            gort::yield_now();
            return None;
        }
        // Those who do both might all wait for one another.
        let mixed = self.ends.iter().any(|(s, _)| s.is_some()) && self.ends.iter().any(|(_, r)| r.is_some());
        let time = Duration::from_micros(self.random.below(200));
        if kind < 3 && !self.drains {
            return self.plain(time);
        }
        let mut cases = Vec::new();
        for (channel, (s, r)) in self.ends.iter().enumerate() {
            // Some of them twice, some left out; who drains takes all.
            for _ in 0..if self.drains { 1 } else { self.random.below(3) } {
                if s.is_some() {
                    cases.push((channel, true));
                }
                if r.is_some() {
                    cases.push((channel, false));
                }
            }
        }
        if cases.is_empty() {
            return None;
        }
        let mut select = if self.random.below(4) == 0 { Select::new_biased() } else { Select::new() };
        for &(channel, sends) in &cases {
            match &self.ends[channel] {
                (Some(s), _) if sends => select.send(s),
                (_, Some(r)) => select.recv(r),
                _ => unreachable!("made from what is there"),
            };
        }
        let how = self.random.below(8);
        let operation = match how {
            0 => select.try_select().ok(),
            1 => select.select_timeout(time).ok(),
            2 => select.select_deadline(Instant::now() + time).ok(),
            3 => {
                // Two who only ask, one on each side of a rendezvous, would wait for ever.
                let (channel, sends) = cases[select.ready_timeout(time).ok()?];
                return self.attempt(channel, sends);
            }
            _ if mixed => select.select_timeout(time).ok(),
            _ => Some(select.select()),
        };
        let operation = operation?;
        let (channel, sends) = cases[operation.index()];
        if self.random.below(30) == 0 && sends {
            // The making of the message fails.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let _operation = operation;
                common::panic_meant(1);
            }));
            return None;
        }
        if sends {
            let message = self.make(channel);
            let number = message.number;
            match operation.send(self.ends[channel].0.as_ref().unwrap(), message) {
                Ok(()) => self.sent(number, Fate::Sent),
                Err(error) => {
                    assert_eq!(error.0.number, number);
                    self.sent(number, Fate::Refused);
                    return Some(channel);
                }
            }
        } else {
            match operation.recv(self.ends[channel].1.as_ref().unwrap()) {
                Ok(message) => self.received(channel, message),
                Err(RecvError) => return Some(channel),
            }
        }
        None
    }

    /// What `ready` found, without waiting.
    fn attempt(&self, channel: usize, sends: bool) -> Option<usize> {
        if sends {
            let message = self.make(channel);
            let number = message.number;
            let result = self.ends[channel].0.as_ref().unwrap().try_send(message);
            self.sent(number, if result.is_ok() { Fate::Sent } else { Fate::Refused });
            result.is_err_and(|error| error.is_disconnected()).then_some(channel)
        } else {
            match self.ends[channel].1.as_ref().unwrap().try_recv() {
                Ok(message) => {
                    self.received(channel, message);
                    None
                }
                Err(error) => error.is_disconnected().then_some(channel),
            }
        }
    }

    fn plain(&mut self, time: Duration) -> Option<usize> {
        let channel = self.random.below(self.ends.len() as u64) as usize;
        match &self.ends[channel] {
            (Some(s), _) => {
                let message = self.make(channel);
                let number = message.number;
                let result = s.send_timeout(message, time);
                self.sent(number, if result.is_ok() { Fate::Sent } else { Fate::Refused });
                result.is_err_and(|error| error.is_disconnected()).then_some(channel)
            }
            (_, Some(r)) => match r.recv_timeout(time) {
                Ok(message) => {
                    self.received(channel, message);
                    None
                }
                Err(error) => error.is_disconnected().then_some(channel),
            },
            _ => None,
        }
    }
}

/// Returns how many messages were sent, and how many operations there were.
fn round(seed: u64) -> (usize, u64) {
    let mut random = Random::new(seed);
    let procs = [1, 2, 4, 8][random.below(4) as usize];
    let homes = [None, Some(1), Some(3)][random.below(3) as usize];
    let threads = random.below(4);
    let cancels = random.below(3) == 0;
    let (alive, operations) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut runtime = builder(procs);
    if let Some(homes) = homes {
        runtime = runtime.homes(homes);
    }
    let logs: Vec<Arc<Mutex<Log>>> = runtime.build().unwrap().run(|| {
        let channels: Vec<(Sender<Message>, Receiver<Message>)> = (0..1 + random.below(4))
            .map(|_| match random.below(6) {
                0..=2 => bounded(0),
                3 => bounded(1),
                4 => bounded(1 + random.below(4) as usize),
                _ => unbounded(),
            })
            .collect();
        let (mut logs, mut tasks) = (Vec::new(), Vec::new());
        let actors = 2 + random.below(6) as usize;
        for index in 0..=actors {
            let drains = index == actors;
            // Only senders, only receivers, or both, as the channel comes.
            let role = random.below(3);
            let ends: Ends = channels
                .iter()
                .map(|(s, r)| {
                    let both = random.below(2) == 0;
                    let sends = !drains && (role == 0 || (role == 2 && both));
                    let receives = drains || role == 1 || (role == 2 && !(both && random.below(2) == 0));
                    (sends.then(|| s.clone()), receives.then(|| r.clone()))
                })
                .collect();
            let log = Arc::new(Mutex::new(Log::default()));
            logs.push(log.clone());
            let actor = Actor {
                index,
                random: Random::new(seed ^ (index as u64 + 1) << 40),
                steps: 1 + random.below(150),
                ends,
                alive: alive.clone(),
                log,
                drains,
                operations: operations.clone(),
            };
            let on_thread = random.below(4) < threads;
            tasks.push((
                drains,
                if on_thread { Err(std::thread::spawn(|| actor.run())) } else { Ok(gort::spawn(|| actor.run())) },
            ));
        }
        drop(channels);
        if cancels {
            for (drains, task) in &tasks {
                if let (false, Ok(task)) = (drains, task)
                    && random.below(2) == 0
                {
                    gort::time::sleep(Duration::from_micros(random.below(300)));
                    task.cancel();
                }
            }
        }
        for (_, task) in tasks {
            match task {
                Ok(task) => match task.join() {
                    Ok(()) => {}
                    Err(error) if error.is_cancelled() && cancels => {}
                    Err(error) => resume_unwind(error.into_panic().expect("a panic")),
                },
                Err(task) => {
                    common::wait_until("a thread ends", || task.is_finished());
                    task.join().unwrap_or_else(|panic| resume_unwind(panic));
                }
            }
        }
        logs
    });
    assert_eq!(alive.load(SeqCst), 0, "every message was dropped once");
    let logs: Vec<_> = logs.iter().map(|log| log.lock().unwrap()).collect();
    let mut received = HashMap::new();
    for log in &logs {
        let mut last = HashMap::new();
        for &(channel, sender, number) in &log.received {
            *received.entry((channel, sender, number)).or_insert(0) += 1;
            let before = last.insert((channel, sender), number);
            assert!(before < Some(number), "sender {sender}'s {number} came after {before:?}");
        }
    }
    let mut sent = 0;
    for (sender, log) in logs.iter().enumerate() {
        for (number, &(channel, fate)) in log.made.iter().enumerate() {
            let times = received.remove(&(channel, sender, number as u64)).unwrap_or(0);
            sent += usize::from(fate == Fate::Sent);
            // One that was received was sent, though a cancelled task may not have seen it; a receiver
            // that was cancelled has not noted what it got only if it was cancelled in between, which it cannot be.
            let expected = u32::from(fate == Fate::Sent);
            assert!(
                times == expected || fate == Fate::Made,
                "sender {sender}'s {number}: {fate:?}, came {times} times"
            );
            assert!(times <= 1);
        }
    }
    assert!(received.is_empty(), "nobody sent these: {received:?}");
    (sent, operations.load(SeqCst))
}

#[test]
fn random_programs_lose_nothing() {
    quiet_panics();
    let sent = AtomicUsize::new(0);
    common::random_programs(8, |seed| _ = sent.fetch_add(round(seed).0, SeqCst));
    eprintln!("{} messages", sent.into_inner());
}

#[test]
#[ignore = "takes minutes"]
fn operations() {
    quiet_panics();
    common::operations(&["select"], |_, seed| round(seed).1);
}

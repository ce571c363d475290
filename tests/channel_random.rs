//! Channels against a plain model, under random programs.
//!
//! Goal: whatever coroutines and threads do to a channel, every message that was sent is
//! received once, or dropped once with the channel; what was not sent is not received; each
//! sender's messages arrive in order at each receiver; nothing leaks and nothing hangs. Method: a
//! seed makes a program of a few tasks, each a random sequence of operations, some of them
//! cancelled in the middle; every task keeps a log, and the logs are compared at the end.
//!
//! The seed is printed when a round fails. To run that round again:
//! `GORT_TEST_SEED=<seed> GORT_TEST_ROUNDS=1 cargo test --test channel_random`. The program is the same
//! then, the interleaving need not be.
//!
//! `cargo test --release --test channel_random -- --ignored --nocapture` is the long run: by default a
//! hundred million messages (`GORT_STRESS_MESSAGES`) through channels of random kinds whose ends come
//! and go; and ten million operations (`GORT_STRESS_OPERATIONS`) in programs of random ones.

mod common;

use common::{Random, RoundWatchdog, Task, builder, variable};
use gort::channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
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

/// What has become of an attempt to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It was begun and has not returned: cancelled.
    Begun,
    Sent,
    Refused,
}

#[derive(Default)]
struct Log {
    sent: Vec<Fate>,
    received: Vec<(usize, u64)>,
    /// A receive has said that the channel is empty and disconnected.
    saw_end: bool,
}

/// One task of a program.
struct Actor {
    index: usize,
    random: Random,
    steps: u64,
    sender: Option<Sender<Message>>,
    receiver: Option<Receiver<Message>>,
    alive: Arc<AtomicU64>,
    log: Arc<Mutex<Log>>,
    may_close: bool,
    operations: Arc<AtomicU64>,
}

impl Actor {
    fn run(mut self) {
        for _ in 0..self.steps {
            self.operations.fetch_add(1, Relaxed);
            let both = self.sender.is_some() && self.receiver.is_some();
            let send = self.sender.is_some() && (self.receiver.is_none() || self.random.below(2) == 0);
            match (self.random.below(40), send) {
                (0, true) => self.sender = self.sender.clone(),
                (0, false) => self.receiver = self.receiver.clone(),
                (1 | 2, _) => gort::yield_now(),
                (3, _) => self.look(),
                (4, _) if self.may_close && self.random.below(20) == 0 => {
                    let _ = self.sender.as_ref().map(Sender::close);
                }
                (5, _) if self.may_close && self.random.below(20) == 0 => {
                    let _ = self.receiver.as_ref().map(Receiver::close);
                }
                (6, _) => gort::time::sleep(Duration::from_micros(self.random.below(100))),
                (_, true) => {
                    if !self.send(both) && self.random.below(4) == 0 {
                        return;
                    }
                }
                (_, false) => {
                    if !self.receive(both) {
                        return;
                    }
                }
            }
        }
    }

    fn look(&self) {
        let (len, cap, full, empty) = match (&self.sender, &self.receiver) {
            (Some(s), _) => (s.len(), s.capacity(), s.is_full(), s.is_empty()),
            (_, Some(r)) => (r.len(), r.capacity(), r.is_full(), r.is_empty()),
            _ => unreachable!("an actor has an end"),
        };
        assert!(len <= cap.unwrap_or(usize::MAX));
        assert!(cap != Some(0) || (full && empty));
        assert!(cap.is_some() || !full);
    }

    /// False if the channel is disconnected. One with both ends does not wait without a
    /// deadline: it might wait for itself.
    fn send(&mut self, both: bool) -> bool {
        let sender = self.sender.as_ref().expect("it sends");
        self.alive.fetch_add(1, SeqCst);
        let number = {
            let mut log = self.log.lock().unwrap();
            log.sent.push(Fate::Begun);
            log.sent.len() as u64 - 1
        };
        let message = Message { sender: self.index, number, alive: self.alive.clone() };
        let time = Duration::from_micros(self.random.below(200));
        // What came back, and whether there may be a next time.
        let refused = match self.random.below(10) {
            0..=6 if !both => sender.send(message).map_err(|e| (e.into_inner(), false)),
            7 => sender
                .send_timeout(message, time)
                .map_err(|e| (e.is_timeout(), e.into_inner()))
                .map_err(|(t, m)| (m, t)),
            8 => sender
                .send_deadline(message, Instant::now())
                .map_err(|e| (e.is_timeout(), e.into_inner()))
                .map_err(|(t, m)| (m, t)),
            _ => sender.try_send(message).map_err(|e| (e.is_full(), e.into_inner())).map_err(|(t, m)| (m, t)),
        };
        let connected = match &refused {
            Ok(()) => true,
            Err((message, later)) => {
                assert_eq!((message.sender, message.number), (self.index, number), "it gives back what it got");
                *later
            }
        };
        self.log.lock().unwrap().sent[number as usize] = if refused.is_ok() { Fate::Sent } else { Fate::Refused };
        connected
    }

    /// False if the channel is empty and disconnected.
    fn receive(&mut self, both: bool) -> bool {
        let receiver = self.receiver.as_ref().expect("it receives");
        let time = Duration::from_micros(self.random.below(200));
        let received = match self.random.below(10) {
            0..=6 if !both => receiver.recv().map_err(|_| false),
            7 => receiver.recv_timeout(time).map_err(|e| e.is_timeout()),
            8 => receiver.recv_deadline(Instant::now()).map_err(|e| e.is_timeout()),
            _ => receiver.try_recv().map_err(|e| e.is_empty()),
        };
        let mut log = self.log.lock().unwrap();
        match received {
            Ok(message) => {
                assert!(!log.saw_end, "after the end comes nothing");
                log.received.push((message.sender, message.number));
                drop(log);
                true
            }
            Err(later) => {
                log.saw_end |= !later;
                later
            }
        }
    }
}

fn make<T>(cap: Option<usize>) -> (Sender<T>, Receiver<T>) {
    cap.map_or_else(unbounded, bounded)
}

/// Runs the program of a seed and compares the logs. Returns how many operations there were.
fn round(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let cap = [Some(0), Some(0), Some(1), Some(1), Some(2), Some(3), Some(8), Some(64), None, None]
        [random.below(10) as usize];
    let procs = [1, 2, 4, 8][random.below(4) as usize];
    // In half of the programs the checker keeps a receiver, so that nothing may get lost at all.
    let keeps = random.below(2) == 0;
    let may_close = random.below(4) == 0;
    let cancels = random.below(3) == 0;
    let threads = random.below(4);
    let (alive, operations) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let logs: Vec<Arc<Mutex<Log>>> = builder(procs).build().unwrap().run(|| {
        let (s, r) = make(cap);
        let ends = [(1, 0); 4][..1 + random.below(4) as usize]
            .iter()
            .chain(&[(0, 1); 4][..1 + random.below(4) as usize])
            .chain(&[(1, 1); 2][..random.below(3) as usize])
            .copied()
            .collect::<Vec<_>>();
        let mut logs = Vec::new();
        let mut tasks = Vec::new();
        for (index, (sends, receives)) in ends.into_iter().enumerate() {
            let log = Arc::new(Mutex::new(Log::default()));
            logs.push(log.clone());
            let actor = Actor {
                index,
                random: Random::new(seed ^ (index as u64 + 1) << 40),
                steps: 1 + random.below(200),
                sender: (sends == 1).then(|| s.clone()),
                receiver: (receives == 1).then(|| r.clone()),
                alive: alive.clone(),
                log,
                may_close,
                operations: operations.clone(),
            };
            tasks.push(Task::start(random.below(4) < threads, || actor.run()));
        }
        drop(s);
        let kept = keeps.then(|| r.clone());
        drop(r);
        if cancels {
            for task in &tasks {
                if let Task::Coroutine(task) = task
                    && random.below(2) == 0
                {
                    gort::time::sleep(Duration::from_micros(random.below(300)));
                    task.cancel();
                }
            }
        }
        if let Some(kept) = kept {
            let log = Arc::new(Mutex::new(Log::default()));
            for message in &kept {
                log.lock().unwrap().received.push((message.sender, message.number));
            }
            assert_eq!(kept.try_recv().err(), Some(TryRecvError::Disconnected));
            logs.push(log);
        }
        tasks.into_iter().for_each(|task| task.end_or_cancelled(cancels));
        logs
    });
    assert_eq!(alive.load(SeqCst), 0, "every message was dropped once");
    let logs: Vec<_> = logs.iter().map(|log| log.lock().unwrap()).collect();
    let mut received = HashMap::new();
    for log in &logs {
        let mut last = HashMap::new();
        for &(sender, number) in &log.received {
            *received.entry((sender, number)).or_insert(0) += 1;
            let before = last.insert(sender, number);
            assert!(before < Some(number), "sender {sender}'s {number} came after {before:?}");
        }
    }
    for (sender, log) in logs.iter().enumerate() {
        for (number, &fate) in log.sent.iter().enumerate() {
            let times = received.remove(&(sender, number as u64)).unwrap_or(0);
            match fate {
                Fate::Sent if keeps => assert_eq!(times, 1, "sender {sender}'s {number} was sent"),
                Fate::Sent => assert!(times <= 1, "sender {sender}'s {number} came {times} times"),
                _ => assert_eq!(times, 0, "sender {sender}'s {number}: {fate:?}"),
            }
        }
    }
    assert!(received.is_empty(), "nobody sent these: {received:?}");
    operations.load(Relaxed)
}

#[test]
fn random_programs_lose_nothing() {
    common::random_programs(8, |seed| _ = round(seed));
}

#[test]
#[ignore = "takes minutes"]
fn operations() {
    common::operations(&["channel"], |_, seed| round(seed));
}

/// Sums over all messages that nobody received: how many, and of their [`mark`]s.
static LOST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// A message that is noted if it is dropped unseen: its sender's index above the lowest 40 bits, and
/// the how-manieth it is of that sender in them.
struct Parcel(u64);

impl Parcel {
    fn open(self) -> u64 {
        let number = self.0;
        std::mem::forget(self);
        number
    }
}

/// What a message adds to a sum. As good as random, so that sums are the same if the messages are:
/// one lost and another doubled do not cancel out.
fn mark(number: u64) -> u64 {
    let mut mark = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mark = (mark ^ (mark >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mark = (mark ^ (mark >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mark ^ (mark >> 31)
}

impl Drop for Parcel {
    fn drop(&mut self) {
        LOST[0].fetch_add(1, Relaxed);
        LOST[1].fetch_add(mark(self.0), Relaxed);
    }
}

/// How many messages, and the sum of their marks.
type Account = [u64; 2];

fn add(into: &mut Account, other: Account) {
    into.iter_mut().zip(other).for_each(|(into, other)| *into = into.wrapping_add(other));
}

/// One channel's life: tasks of both kinds on both sides, of which any may leave at any time.
/// Returns what was sent; what was received or lost is the same, and each receiver had each sender's
/// messages in order, or it panics.
fn epoch(seed: u64) -> (Account, String) {
    let mut random = Random::new(seed);
    let cap = match random.below(8) {
        0 => Some(0),
        1 => Some(1),
        2 | 3 => Some(random.below(10) as usize),
        4 | 5 => Some(random.below(1000) as usize),
        6 => Some(128),
        _ => None,
    };
    let percent_threads = [0, 0, 20, 50, 100][random.below(5) as usize];
    let procs = 1 + random.below(4) as usize;
    // Threads that wait for one another for each message take microseconds.
    let most = if percent_threads > 0 && cap.is_some_and(|cap| cap < 16) { 20_000 } else { 1_000_000 };
    // Often far fewer, so that many channels come to their end.
    let most = most / [1, 10, 100, 1000][random.below(4) as usize];
    LOST.iter().for_each(|sum| sum.store(0, SeqCst));
    let (senders, receivers) = (1 + random.below(8), 1 + random.below(8));
    let what = format!("cap {cap:?}, {senders} to {receivers}, {percent_threads} % threads, {procs} procs");
    let (sent, received) = builder(procs).build().unwrap().run(|| {
        let (s, r) = make(cap);
        let mut sides = [Vec::new(), Vec::new()];
        let mut tasks: [Vec<std::thread::JoinHandle<Account>>; 2] = Default::default();
        for index in 0..senders + receivers {
            let (mut random, s, r) = (Random::new(seed ^ (index + 1) << 32), s.clone(), r.clone());
            let side = (index >= senders) as usize;
            let leaves_at = if random.below(3) == 0 { random.below(most) } else { u64::MAX };
            let work = move || {
                let mut account = [0; 2];
                if side == 0 {
                    drop(r);
                    for number in 0..leaves_at.min(most) {
                        let number = index << 40 | number;
                        match s.send(Parcel(number)) {
                            Ok(()) => add(&mut account, [1, mark(number)]),
                            Err(error) => {
                                error.into_inner().open();
                                break;
                            }
                        }
                    }
                } else {
                    drop(s);
                    // The least that may come next of each sender.
                    let mut next = [0; 8];
                    while account[0] < leaves_at {
                        let Ok(parcel) = r.recv() else { break };
                        let number = parcel.open();
                        let (sender, nth) = ((number >> 40) as usize, number & ((1 << 40) - 1));
                        assert!(nth >= next[sender], "sender {sender}'s {nth} came after {}", next[sender] - 1);
                        next[sender] = nth + 1;
                        add(&mut account, [1, mark(number)]);
                    }
                }
                account
            };
            if self::Random::new(seed ^ index << 16).below(100) < percent_threads {
                tasks[side].push(std::thread::spawn(work));
            } else {
                sides[side].push(gort::spawn(work));
            }
        }
        drop((s, r));
        let mut sums = [[0; 2]; 2];
        for (side, coroutines) in sides.into_iter().enumerate() {
            coroutines.into_iter().for_each(|task| add(&mut sums[side], task.join().unwrap()));
        }
        for (side, threads) in tasks.into_iter().enumerate() {
            for task in threads {
                while !task.is_finished() {
                    gort::time::sleep(Duration::from_micros(100));
                }
                add(&mut sums[side], task.join().unwrap());
            }
        }
        (sums[0], sums[1])
    });
    let mut found = received;
    add(&mut found, [LOST[0].load(SeqCst), LOST[1].load(SeqCst)]);
    assert_eq!(sent, found, "{what}");
    (sent, what)
}

#[test]
#[ignore = "takes minutes"]
fn long_stress() {
    let first = common::seed();
    let messages = variable("GORT_STRESS_MESSAGES").unwrap_or(100_000_000);
    let watchdog = RoundWatchdog::new();
    let (start, mut said) = (Instant::now(), Instant::now());
    let (mut done, mut seed) = (0, first);
    while done < messages {
        watchdog.begins(seed);
        let begun = Instant::now();
        let again = format!("GORT_TEST_SEED={seed} GORT_STRESS_MESSAGES=1");
        let (sent, what) = common::again_with(&again, || epoch(seed));
        done += sent[0];
        seed = seed.wrapping_add(1);
        if said.elapsed() > Duration::from_secs(2) || done >= messages {
            said = Instant::now();
            let each = begun.elapsed().as_nanos() / u128::from(sent[0].max(1));
            eprintln!(
                "{:6.1} s: {done} messages in {} channels; the last: {what}, {} messages of {each} ns",
                start.elapsed().as_secs_f64(),
                seed.wrapping_sub(first),
                sent[0],
            );
        }
    }
}

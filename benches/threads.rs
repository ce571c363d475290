//! Our channels between plain threads, beside crossbeam-channel's, in the cases of its own benchmarks
//! (`crossbeam-channel/benchmarks` in its repository).
//!
//! ```text
//! cargo bench --manifest-path benches/Cargo.toml --bench threads [-- CASE...]
//! ```
//!
//! Prints a line for each case: nanoseconds a message with crossbeam-channel and with ours, both medians of five rounds (`ROUNDS`) in
//! turn, and the ratio of the medians. A round has a million messages (`MESSAGES`; crossbeam's own have five), and four threads on
//! each side that has more than one. `CASE` is part of a name.

use std::thread;
use std::time::{Duration, Instant};

/// Threads on a side, and channels of a select.
const THREADS: u64 = 4;

/// The cases, as functions of the capacity and of the number of messages, for a channel with crossbeam's interface.
macro_rules! cases {
    ($name:ident, $channel:path) => {
        mod $name {
            use super::{THREADS, thread};
            use channel::{Receiver, Select, Sender};
            use $channel as channel;

            fn new(cap: Option<usize>) -> (Sender<u64>, Receiver<u64>) {
                cap.map_or_else(channel::unbounded, channel::bounded)
            }

            fn several(cap: Option<usize>) -> Vec<(Sender<u64>, Receiver<u64>)> {
                (0..THREADS).map(|_| new(cap)).collect()
            }

            fn send(sender: &Sender<u64>, messages: u64) {
                (0..messages).for_each(|n| sender.send(n).expect("a receiver is left"));
            }

            fn receive(receiver: &Receiver<u64>, messages: u64) {
                (0..messages).for_each(|_| _ = receiver.recv().expect("a sender is left, or messages are"));
            }

            fn select_send(channels: &[(Sender<u64>, Receiver<u64>)], messages: u64) {
                for n in 0..messages {
                    let mut select = Select::new();
                    channels.iter().for_each(|(sender, _)| _ = select.send(sender));
                    let case = select.select();
                    let (sender, _) = &channels[case.index()];
                    case.send(sender, n).expect("a receiver is left");
                }
            }

            fn select_receive(channels: &[(Sender<u64>, Receiver<u64>)], messages: u64) {
                for _ in 0..messages {
                    let mut select = Select::new();
                    channels.iter().for_each(|(_, receiver)| _ = select.recv(receiver));
                    let case = select.select();
                    let (_, receiver) = &channels[case.index()];
                    case.recv(receiver).expect("a sender is left, or messages are");
                }
            }

            pub(super) fn seq(cap: Option<usize>, messages: u64) {
                let (sender, receiver) = new(cap);
                send(&sender, messages);
                receive(&receiver, messages);
            }

            pub(super) fn ping_pong(cap: Option<usize>, messages: u64) {
                let ((ping, pinged), (pong, ponged)) = (new(cap), new(cap));
                thread::scope(|scope| {
                    scope.spawn(|| {
                        (0..messages).for_each(|n| {
                            ping.send(n).expect("the other side is there");
                            assert_eq!(ponged.recv(), Ok(n));
                        });
                    });
                    (0..messages).for_each(|_| pong.send(pinged.recv().expect("it is there")).expect("it is there"));
                });
            }

            pub(super) fn spsc(cap: Option<usize>, messages: u64) {
                let (sender, receiver) = new(cap);
                thread::scope(|scope| {
                    scope.spawn(|| send(&sender, messages));
                    receive(&receiver, messages);
                });
            }

            pub(super) fn mpsc(cap: Option<usize>, messages: u64) {
                let (sender, receiver) = new(cap);
                thread::scope(|scope| {
                    (0..THREADS).for_each(|_| _ = scope.spawn(|| send(&sender, messages / THREADS)));
                    receive(&receiver, messages);
                });
            }

            pub(super) fn mpmc(cap: Option<usize>, messages: u64) {
                let (sender, receiver) = new(cap);
                thread::scope(|scope| {
                    (0..THREADS).for_each(|_| _ = scope.spawn(|| send(&sender, messages / THREADS)));
                    (0..THREADS).for_each(|_| _ = scope.spawn(|| receive(&receiver, messages / THREADS)));
                });
            }

            pub(super) fn select_rx(cap: Option<usize>, messages: u64) {
                let channels = several(cap);
                thread::scope(|scope| {
                    channels.iter().for_each(|(sender, _)| _ = scope.spawn(|| send(sender, messages / THREADS)));
                    select_receive(&channels, messages);
                });
            }

            pub(super) fn select_both(cap: Option<usize>, messages: u64) {
                let channels = several(cap);
                thread::scope(|scope| {
                    (0..THREADS).for_each(|_| _ = scope.spawn(|| select_send(&channels, messages / THREADS)));
                    (0..THREADS).for_each(|_| _ = scope.spawn(|| select_receive(&channels, messages / THREADS)));
                });
            }
        }
    };
}

cases!(crossbeam, crossbeam_channel);
cases!(ours, gort::channel);

type Case = fn(Option<usize>, u64);

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |it| it.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn timed(case: Case, cap: Option<usize>, messages: u64) -> Duration {
    let begin = Instant::now();
    case(cap, messages);
    begin.elapsed()
}

fn median(mut of: Vec<Duration>) -> f64 {
    of.sort();
    of[of.len() / 2].as_nanos() as f64
}

fn main() {
    let (messages, rounds) = (from_env("MESSAGES", 1_000_000) / THREADS * THREADS, from_env("ROUNDS", 5));
    // What `cargo bench` adds begins with a dash.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let cases: [(&str, Case, Case); 7] = [
        ("seq", crossbeam::seq, ours::seq),
        ("ping_pong", crossbeam::ping_pong, ours::ping_pong),
        ("spsc", crossbeam::spsc, ours::spsc),
        ("mpsc", crossbeam::mpsc, ours::mpsc),
        ("mpmc", crossbeam::mpmc, ours::mpmc),
        ("select_rx", crossbeam::select_rx, ours::select_rx),
        ("select_both", crossbeam::select_both, ours::select_both),
    ];
    let all = usize::try_from(messages).expect("they fit in memory");
    println!("case\tcrossbeam ns\tours ns\tratio");
    for (kind, cap) in [("bounded0", Some(0)), ("bounded1", Some(1)), ("bounded", Some(all)), ("unbounded", None)] {
        for (case, theirs, ours) in cases {
            let name = format!("{kind}_{case}");
            let holds_all = cap.is_none_or(|cap| cap >= all);
            if (case == "seq" && !holds_all)
                || !(wanted.is_empty() || wanted.iter().any(|it| name.contains(it.as_str())))
            {
                continue;
            }
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                a.push(timed(theirs, cap, messages));
                b.push(timed(ours, cap, messages));
            }
            let (a, b) = (median(a) / messages as f64, median(b) / messages as f64);
            println!("{name}\t{a:.1}\t{b:.1}\t{:.2}", b / a);
        }
    }
}

//! One message through a channel, with one or four producers and as many consumers.
//!
//! `gort_threads` and `crossbeam_threads` are plain threads, the others coroutines or tasks.
//! tokio's receivers are single, so four of its consumers share one behind tokio's mutex; may's
//! channels are all unbounded.

mod common;

use common::{entry, group, procs};
use criterion::{Criterion, criterion_group, criterion_main};
use gort::channel as gort_channel;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};

/// A bounded channel's capacity.
const BUFFER: usize = 128;

/// The same program for every channel with crossbeam's interface; `$spawn` starts something that
/// can be joined.
macro_rules! through {
    ($channel:ident, $spawn:expr, $cap:expr, $pairs:expr, $messages:expr) => {{
        let (sender, receiver) = match $cap {
            Some(cap) => $channel::bounded(cap),
            None => $channel::unbounded(),
        };
        let each = $messages / $pairs;
        let start = Instant::now();
        let (mut producers, mut consumers) = (Vec::new(), Vec::new());
        for _ in 0..$pairs {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            producers.push($spawn(move || (0..each).for_each(|n: u64| sender.send(n).unwrap())));
            consumers.push($spawn(move || receiver.iter().count() as u64));
        }
        drop((sender, receiver));
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        let received: u64 = consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum();
        let elapsed = start.elapsed();
        assert_eq!(received, $messages, "messages were lost");
        elapsed
    }};
}

fn gort(cap: Option<usize>, pairs: u64) -> impl FnMut(u64) -> Duration {
    let rt = common::gort(procs());
    move |messages| rt.run(|| through!(gort_channel, gort::spawn, cap, pairs, messages))
}

fn gort_threads(cap: Option<usize>, pairs: u64) -> impl FnMut(u64) -> Duration {
    move |messages| through!(gort_channel, thread::spawn, cap, pairs, messages)
}

fn crossbeam_threads(cap: Option<usize>, pairs: u64) -> impl FnMut(u64) -> Duration {
    move |messages| through!(crossbeam_channel, thread::spawn, cap, pairs, messages)
}

fn tokio(pairs: u64) -> impl FnMut(u64) -> Duration {
    let rt = common::tokio(procs());
    move |messages| rt.block_on(async { tokio::spawn(tokio_bounded(pairs, messages)).await.unwrap() })
}

async fn tokio_bounded(pairs: u64, messages: u64) -> Duration {
    let (sender, mut receiver) = mpsc::channel(BUFFER);
    let each = messages / pairs;
    let start = Instant::now();
    for _ in 0..pairs {
        let sender = sender.clone();
        tokio::spawn(async move {
            for n in 0..each {
                sender.send(n).await.unwrap();
            }
        });
    }
    drop(sender);
    let mut received = 0;
    if pairs == 1 {
        while receiver.recv().await.is_some() {
            received += 1;
        }
    } else {
        let receiver = Arc::new(Mutex::new(receiver));
        let consumers: Vec<_> = (0..pairs).map(|_| tokio::spawn(consume(receiver.clone()))).collect();
        for consumer in consumers {
            received += consumer.await.unwrap();
        }
    }
    let elapsed = start.elapsed();
    assert_eq!(received, messages, "messages were lost");
    elapsed
}

async fn consume(receiver: Arc<Mutex<mpsc::Receiver<u64>>>) -> u64 {
    let mut received = 0;
    loop {
        // A statement of its own, so that the lock is let go at its end.
        let message = receiver.lock().await.recv().await;
        match message {
            Some(_) => received += 1,
            None => return received,
        }
    }
}

async fn tokio_unbounded(messages: u64) -> Duration {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let start = Instant::now();
    tokio::spawn(async move { (0..messages).for_each(|n| sender.send(n).unwrap()) });
    let mut received = 0;
    while receiver.recv().await.is_some() {
        received += 1;
    }
    assert_eq!(received, messages, "messages were lost");
    start.elapsed()
}

fn may_mpmc(pairs: u64) -> impl FnMut(u64) -> Duration {
    move |messages| {
        common::may(procs(), move || {
            let (sender, receiver) = may::sync::mpmc::channel();
            let each = messages / pairs;
            let start = Instant::now();
            let mut consumers = Vec::new();
            for _ in 0..pairs {
                let (sender, receiver) = (sender.clone(), receiver.clone());
                may::go!(move || (0..each).for_each(|n: u64| sender.send(n).unwrap()));
                consumers.push(may::go!(move || receiver.iter().count() as u64));
            }
            drop((sender, receiver));
            let received: u64 = consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum();
            let elapsed = start.elapsed();
            assert_eq!(received, messages, "messages were lost");
            elapsed
        })
    }
}

fn channel(criterion: &mut Criterion) {
    for (name, pairs) in [("channel_spsc", 1), ("channel_mpmc", 4)] {
        let mut group = group(criterion, name);
        entry(&mut group, "gort", 200_000, gort(Some(BUFFER), pairs));
        entry(&mut group, "tokio", 200_000, tokio(pairs));
        entry(&mut group, "gort_threads", 200_000, gort_threads(Some(BUFFER), pairs));
        entry(&mut group, "crossbeam_threads", 200_000, crossbeam_threads(Some(BUFFER), pairs));
    }
    let mut group = group(criterion, "channel_unbounded");
    entry(&mut group, "gort", 200_000, gort(None, 1));
    let rt = common::tokio(procs());
    entry(&mut group, "tokio", 200_000, |messages| {
        rt.block_on(async { tokio::spawn(tokio_unbounded(messages)).await.unwrap() })
    });
    entry(&mut group, "may", 200_000, may_mpmc(1));
    entry(&mut group, "crossbeam_threads", 200_000, crossbeam_threads(None, 1));
}

criterion_group!(benches, channel);
criterion_main!(benches);

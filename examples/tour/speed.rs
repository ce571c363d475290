//! How long the basic steps take.

use crate::screen::{Report, nanos, thousands};
use gort::{Runtime, RuntimeBuilder, channel, go};
use std::time::{Duration, Instant};

/// Nanoseconds for each of `n`.
fn each(elapsed: Duration, n: usize) -> f64 {
    elapsed.as_nanos() as f64 / n as f64
}

/// Two coroutines on one P take turns; each switch puts on the other's home, unless they share one.
pub(crate) fn switch(report: &mut Report) -> String {
    const YIELDS: usize = 500_000;
    let measure = |builder: RuntimeBuilder| {
        let rt = builder.procs(1).name("one P").build().expect("a runtime of one P");
        rt.run(|| {
            let start = Instant::now();
            let pair = [(); 2].map(|()| go!(|| (0..YIELDS).for_each(|_| gort::yield_now())));
            pair.into_iter().for_each(|handle| handle.join().unwrap());
            each(start.elapsed(), 2 * YIELDS)
        })
    };
    let (apart, together) = (measure(Runtime::builder()), measure(Runtime::builder().homes(1)));
    report.measured("switch", nanos(apart), "from one coroutine to another, on one thread");
    report.measured("switch within a home", nanos(together), "the same, where both share thread-locals");
    format!("two coroutines, {} turns", thousands(2 * YIELDS))
}

/// Coroutines that do nothing, joined one by one.
pub(crate) fn spawn(report: &mut Report) -> String {
    const BATCHES: usize = 20;
    const BATCH: usize = 10_000;
    let start = Instant::now();
    let mut sum = 0;
    for _ in 0..BATCHES {
        let handles: Vec<_> = (0..BATCH).map(|n| go!(move || n)).collect();
        sum += handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>();
    }
    let elapsed = start.elapsed();
    assert_eq!(sum, BATCHES * BATCH * (BATCH - 1) / 2, "every coroutine gives its value");
    report.measured("spawn, run and join", nanos(each(elapsed, BATCHES * BATCH)), "a coroutine that does nothing");
    format!("{} coroutines started, run and joined", thousands(BATCHES * BATCH))
}

/// Two coroutines hand a number to and fro.
pub(crate) fn ping_pong(report: &mut Report) -> String {
    const ROUNDS: usize = 200_000;
    let (ping, pings) = channel::bounded(0);
    let (pong, pongs) = channel::bounded(0);
    let start = Instant::now();
    drop(go!(move || pings.iter().for_each(|n: usize| pong.send(n + 1).unwrap())));
    let caller = go!(move || {
        (0..ROUNDS).fold(0, |n, _| {
            ping.send(n).unwrap();
            pongs.recv().unwrap()
        })
    });
    let last = caller.join().unwrap();
    let elapsed = start.elapsed();
    assert_eq!(last, ROUNDS, "each round adds one");
    report.measured("hand-over", nanos(each(elapsed, 2 * ROUNDS)), "a message through a channel of capacity 0");
    format!("{} rounds between two coroutines", thousands(ROUNDS))
}

/// Numbers run through a buffered channel.
pub(crate) fn pipeline(report: &mut Report) -> String {
    const MESSAGES: usize = 1_000_000;
    let (sender, receiver) = channel::bounded(128);
    let start = Instant::now();
    let producer = go!(move || (0..MESSAGES).for_each(|n| sender.send(n).unwrap()));
    let consumer = go!(move || receiver.iter().sum::<usize>());
    producer.join().unwrap();
    let sum = consumer.join().unwrap();
    let elapsed = start.elapsed();
    assert_eq!(sum, MESSAGES * (MESSAGES - 1) / 2, "every message arrives once");
    report.measured("buffered message", nanos(each(elapsed, MESSAGES)), "through a channel of capacity 128");
    format!("{} messages through a buffer of 128", thousands(MESSAGES))
}

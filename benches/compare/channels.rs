//! Channels.

use crate::{check, emit, ms, ns_each};
use gort::channel;
use gort::go;
use std::time::Instant;

/// A number goes to and fro between two coroutines.
pub(crate) fn pingpong() {
    const ROUNDS: usize = 1_000_000;
    let (ping, pings) = channel::bounded::<usize>(0);
    let (pong, pongs) = channel::bounded::<usize>(0);
    let start = Instant::now();
    drop(go!(move || {
        for n in pings {
            pong.send(n + 1).unwrap();
        }
    }));
    let caller = go!(move || {
        let mut sum = 0;
        for i in 0..ROUNDS {
            ping.send(i).unwrap();
            sum += pongs.recv().unwrap() - i;
        }
        sum
    });
    let sum = caller.join().unwrap();
    let elapsed = start.elapsed();
    check("pingpong0", sum, ROUNDS);
    emit("pingpong0", ns_each(elapsed, ROUNDS), "ns");
}

/// Numbers through a channel of 128.
pub(crate) fn throughput(workload: &str, producers: u64, consumers: u64) {
    const TOTAL: u64 = 5_000_000;
    let (sender, receiver) = channel::bounded::<u64>(128);
    let start = Instant::now();
    for producer in 0..producers {
        let sender = sender.clone();
        drop(go!(move || {
            let first = producer * (TOTAL / producers);
            for i in 0..TOTAL / producers {
                sender.send(first + i).unwrap();
            }
        }));
    }
    drop(sender);
    let consumers: Vec<_> = (0..consumers)
        .map(|_| {
            let receiver = receiver.clone();
            go!(move || {
                let mut sum = 0;
                for n in receiver {
                    sum += n;
                }
                sum
            })
        })
        .collect();
    let sum: u64 = consumers.into_iter().map(|handle| handle.join().unwrap()).sum();
    let elapsed = start.elapsed();
    check(workload, sum, TOTAL * (TOTAL - 1) / 2);
    emit(workload, ns_each(elapsed, TOTAL as usize), "ns");
}

/// The daisy chain of filters, one coroutine for each prime. It is left running at the end.
pub(crate) fn sieve() {
    let start = Instant::now();
    let (sender, mut numbers) = channel::bounded::<u32>(0);
    drop(go!(move || {
        let mut i = 2;
        while sender.send(i).is_ok() {
            i += 1;
        }
    }));
    let mut last = 0;
    for _ in 0..3000 {
        let prime = numbers.recv().unwrap();
        last = prime;
        let (sender, filtered) = channel::bounded(0);
        let unfiltered = std::mem::replace(&mut numbers, filtered);
        drop(go!(move || {
            for i in unfiltered {
                if i % prime != 0 && sender.send(i).is_err() {
                    return;
                }
            }
        }));
    }
    let elapsed = start.elapsed();
    check("sieve", last, 27_449);
    emit("sieve", ms(elapsed), "ms");
    std::process::exit(0);
}

/// One coroutine selects over four channels, each with a producer of its own.
pub(crate) fn select(workload: &str, cap: usize) {
    const EACH: u64 = 250_000;
    let start = Instant::now();
    let [a, b, c, d] = [0, 1, 2, 3].map(|producer| {
        let (sender, receiver) = channel::bounded::<u64>(cap);
        drop(go!(move || {
            for i in producer * EACH..(producer + 1) * EACH {
                sender.send(i).unwrap();
            }
            // The channel stays open: its end is no message.
            gort::park();
        }));
        receiver
    });
    let consumer = go!(move || {
        let mut sum = 0;
        for _ in 0..4 * EACH {
            sum += gort::select! {
                recv(a) -> n => n.unwrap(),
                recv(b) -> n => n.unwrap(),
                recv(c) -> n => n.unwrap(),
                recv(d) -> n => n.unwrap(),
            };
        }
        sum
    });
    let sum = consumer.join().unwrap();
    let elapsed = start.elapsed();
    check(workload, sum, 4 * EACH * (4 * EACH - 1) / 2);
    emit(workload, ns_each(elapsed, 4 * EACH as usize), "ns");
}

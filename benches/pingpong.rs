//! A round trip between two coroutines, over two channels of capacity 0 (tokio: 1, it has no
//! rendezvous; may: unbounded, it has nothing else).

mod common;

use common::{entry, group, procs};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};

fn gort(procs: usize) -> impl FnMut(u64) -> Duration {
    let rt = common::gort(procs);
    move |rounds| {
        rt.run(|| {
            let (ping, pings) = gort::channel::bounded(0);
            let (pong, pongs) = gort::channel::bounded(0);
            let start = Instant::now();
            drop(gort::go!(move || pings.iter().for_each(|n: u64| pong.send(n).unwrap())));
            let caller = gort::go!(move || {
                for n in 0..rounds {
                    ping.send(n).unwrap();
                    assert_eq!(pongs.recv(), Ok(n));
                }
            });
            caller.join().unwrap();
            start.elapsed()
        })
    }
}

fn tokio(procs: usize) -> impl FnMut(u64) -> Duration {
    let rt = common::tokio(procs);
    move |rounds| {
        rt.block_on(async {
            let (ping, mut pings) = tokio::sync::mpsc::channel::<u64>(1);
            let (pong, mut pongs) = tokio::sync::mpsc::channel(1);
            let start = Instant::now();
            tokio::spawn(async move {
                while let Some(n) = pings.recv().await {
                    pong.send(n).await.unwrap();
                }
            });
            let caller = tokio::spawn(async move {
                for n in 0..rounds {
                    ping.send(n).await.unwrap();
                    assert_eq!(pongs.recv().await, Some(n));
                }
            });
            caller.await.unwrap();
            start.elapsed()
        })
    }
}

fn may(rounds: u64) -> Duration {
    common::may(procs(), move || {
        let (ping, pings) = may::sync::mpsc::channel();
        let (pong, pongs) = may::sync::mpsc::channel();
        let start = Instant::now();
        may::go!(move || pings.iter().for_each(|n: u64| pong.send(n).unwrap()));
        let caller = may::go!(move || {
            for n in 0..rounds {
                ping.send(n).unwrap();
                assert_eq!(pongs.recv(), Ok(n));
            }
        });
        caller.join().unwrap();
        start.elapsed()
    })
}

fn crossbeam_threads(rounds: u64) -> Duration {
    let (ping, pings) = crossbeam_channel::bounded(0);
    let (pong, pongs) = crossbeam_channel::bounded(0);
    let start = Instant::now();
    std::thread::spawn(move || pings.iter().for_each(|n: u64| pong.send(n).unwrap()));
    for n in 0..rounds {
        ping.send(n).unwrap();
        assert_eq!(pongs.recv(), Ok(n));
    }
    start.elapsed()
}

fn pingpong(criterion: &mut Criterion) {
    let mut group = group(criterion, "pingpong");
    entry(&mut group, "gort", 20_000, gort(procs()));
    entry(&mut group, "gort_one_p", 20_000, gort(1));
    entry(&mut group, "tokio", 20_000, tokio(procs()));
    entry(&mut group, "tokio_one_p", 20_000, tokio(1));
    entry(&mut group, "may", 20_000, may);
    entry(&mut group, "crossbeam_threads", 500, crossbeam_threads);
}

criterion_group!(benches, pingpong);
criterion_main!(benches);

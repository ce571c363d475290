//! Starting an empty coroutine, running it and joining it, in batches.

mod common;

use common::{entry, group, procs};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};

const BATCH: u64 = 1000;
const THREADS: u64 = 100;

/// Does `batch` for `total` in parts.
fn in_batches(total: u64, size: u64, mut batch: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    let mut left = total;
    while left > 0 {
        let now = left.min(size);
        batch(now);
        left -= now;
    }
    start.elapsed()
}

fn gort(procs: usize) -> impl FnMut(u64) -> Duration {
    let rt = common::gort(procs);
    move |total| {
        rt.run(|| {
            in_batches(total, BATCH, |size| {
                let handles: Vec<_> = (0..size).map(|_| gort::go!(|| ())).collect();
                handles.into_iter().for_each(|handle| handle.join().unwrap());
            })
        })
    }
}

fn tokio(procs: usize) -> impl FnMut(u64) -> Duration {
    let rt = common::tokio(procs);
    let run = async |total: u64| {
        let start = Instant::now();
        let mut left = total;
        while left > 0 {
            let size = left.min(BATCH);
            let handles: Vec<_> = (0..size).map(|_| tokio::spawn(async {})).collect();
            for handle in handles {
                handle.await.unwrap();
            }
            left -= size;
        }
        start.elapsed()
    };
    move |total| rt.block_on(async { tokio::spawn(run(total)).await.unwrap() })
}

fn may(total: u64) -> Duration {
    common::may(procs(), move || {
        in_batches(total, BATCH, |size| {
            let handles: Vec<_> = (0..size).map(|_| may::go!(|| ())).collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        })
    })
}

fn threads(total: u64) -> Duration {
    in_batches(total, THREADS, |size| {
        let handles: Vec<_> = (0..size).map(|_| std::thread::spawn(|| ())).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    })
}

fn spawn(criterion: &mut Criterion) {
    let mut group = group(criterion, "spawn");
    entry(&mut group, "gort", 20_000, gort(procs()));
    entry(&mut group, "gort_one_p", 20_000, gort(1));
    entry(&mut group, "tokio", 20_000, tokio(procs()));
    entry(&mut group, "tokio_one_p", 20_000, tokio(1));
    entry(&mut group, "may", 20_000, may);
    entry(&mut group, "threads", 200, threads);
}

criterion_group!(benches, spawn);
criterion_main!(benches);

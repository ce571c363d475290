//! Spreading work: a tree that forks and joins, and one coroutine that makes work for all.

mod common;

use common::{entry, group, procs};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// Depth of the tree: 1,973 coroutines.
const DEPTH: u64 = 26;
const LEAF: u64 = 12;
const RESULT: u64 = 121_393;
/// Coroutines that one coroutine makes.
const PIECES: u64 = 10_000;

fn fibonacci(n: u64) -> u64 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

/// About a microsecond of work.
fn piece(n: u64) -> u64 {
    black_box(fibonacci(black_box(12))).wrapping_add(n)
}

/// Makes sure that `result` is computed.
fn keep(result: u64) {
    black_box(result);
}

/// Times `times` runs.
fn repeat(times: u64, mut run: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..times).for_each(|_| run());
    start.elapsed()
}

fn serial_tree(times: u64) -> Duration {
    repeat(times, || assert_eq!(fibonacci(black_box(DEPTH)), RESULT))
}

fn gort_tree(times: u64) -> impl FnOnce() -> Duration {
    fn tree(n: u64) -> u64 {
        if n <= LEAF {
            return fibonacci(black_box(n));
        }
        let (a, b) = (gort::go!(move || tree(n - 1)), gort::go!(move || tree(n - 2)));
        a.join().unwrap() + b.join().unwrap()
    }
    move || repeat(times, || assert_eq!(tree(DEPTH), RESULT))
}

fn may_tree(times: u64) -> Duration {
    fn tree(n: u64) -> u64 {
        if n <= LEAF {
            return fibonacci(black_box(n));
        }
        let (a, b) = (may::go!(move || tree(n - 1)), may::go!(move || tree(n - 2)));
        a.join().unwrap() + b.join().unwrap()
    }
    common::may(procs(), move || repeat(times, || assert_eq!(tree(DEPTH), RESULT)))
}

async fn tokio_tree(times: u64) -> Duration {
    fn tree(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(async move {
            if n <= LEAF {
                return fibonacci(black_box(n));
            }
            let (a, b) = (tokio::spawn(tree(n - 1)), tokio::spawn(tree(n - 2)));
            a.await.unwrap() + b.await.unwrap()
        })
    }
    let start = Instant::now();
    for _ in 0..times {
        assert_eq!(tree(DEPTH).await, RESULT);
    }
    start.elapsed()
}

fn serial_pieces(times: u64) -> Duration {
    repeat(times, || {
        (0..PIECES).map(piece).for_each(keep);
    })
}

fn gort_pieces(times: u64) -> impl FnOnce() -> Duration {
    move || {
        repeat(times, || {
            let handles: Vec<_> = (0..PIECES).map(|n| gort::go!(move || piece(n))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).for_each(keep);
        })
    }
}

fn may_pieces(times: u64) -> Duration {
    common::may(procs(), move || {
        repeat(times, || {
            let handles: Vec<_> = (0..PIECES).map(|n| may::go!(move || piece(n))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).for_each(keep);
        })
    })
}

async fn tokio_pieces(times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        let handles: Vec<_> = (0..PIECES).map(|n| tokio::spawn(async move { piece(n) })).collect();
        for handle in handles {
            keep(handle.await.unwrap());
        }
    }
    start.elapsed()
}

fn steal(criterion: &mut Criterion) {
    let gort = common::gort(procs());
    let tokio = common::tokio(procs());
    let mut tree = group(criterion, "steal_tree");
    entry(&mut tree, "gort", 1, |times| gort.run(gort_tree(times)));
    entry(&mut tree, "tokio", 1, |times| tokio.block_on(async { tokio::spawn(tokio_tree(times)).await.unwrap() }));
    entry(&mut tree, "may", 1, may_tree);
    entry(&mut tree, "serial", 1, serial_tree);
    drop(tree);
    let mut pieces = group(criterion, "steal_pieces");
    entry(&mut pieces, "gort", 1, |times| gort.run(gort_pieces(times)));
    entry(&mut pieces, "tokio", 1, |times| tokio.block_on(async { tokio::spawn(tokio_pieces(times)).await.unwrap() }));
    entry(&mut pieces, "may", 1, may_pieces);
    entry(&mut pieces, "serial", 1, serial_pieces);
}

criterion_group!(benches, steal);
criterion_main!(benches);

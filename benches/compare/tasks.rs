//! Switching, spawning and joining.

use crate::{check, emit, ms, ns_each};
use gort::channel::{self, Sender};
use gort::go;
use gort::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Two coroutines on one P take turns. `switch_home` is the same with both in one home, which
/// saves putting on another home at every switch.
pub(crate) fn switch(workload: &str) {
    const YIELDS: usize = 5_000_000;
    let start = Instant::now();
    let handles = [(); 2].map(|()| {
        go!(|| {
            let mut count = 0;
            for _ in 0..YIELDS {
                gort::yield_now();
                count += 1;
            }
            count
        })
    });
    let count: usize = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
    let elapsed = start.elapsed();
    check(workload, count, 2 * YIELDS);
    emit(workload, ns_each(elapsed, 2 * YIELDS), "ns");
}

/// Empty coroutines in batches. A batch is waited for as tokio's tasks are, by joining all.
pub(crate) fn spawn() {
    const TOTAL: usize = 1_000_000;
    const BATCH: usize = 10_000;
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let start = Instant::now();
    let mut handles = Vec::with_capacity(BATCH);
    for _ in 0..TOTAL / BATCH {
        for _ in 0..BATCH {
            handles.push(go!(|| {
                // Relaxed: a counter; the join orders it.
                RAN.fetch_add(1, Ordering::Relaxed);
            }));
        }
        for handle in handles.drain(..) {
            handle.join().unwrap();
        }
    }
    let elapsed = start.elapsed();
    check("spawn", RAN.load(Ordering::Relaxed), TOTAL);
    emit("spawn", ns_each(elapsed, TOTAL), "ns");
}

/// A tree of a million leaves.
pub(crate) fn skynet() {
    fn node(parent: &Sender<u64>, number: u64, size: u64) {
        if size == 1 {
            parent.send(number).unwrap();
            return;
        }
        let (sender, receiver) = channel::bounded(0);
        for i in 0..10 {
            let sender = sender.clone();
            drop(go!(move || node(&sender, number + i * (size / 10), size / 10)));
        }
        let sum = (0..10).map(|_| receiver.recv().unwrap()).sum();
        parent.send(sum).unwrap();
    }
    let start = Instant::now();
    let (sender, receiver) = channel::bounded(0);
    drop(go!(move || node(&sender, 0, 1_000_000)));
    let sum = receiver.recv().unwrap();
    let elapsed = start.elapsed();
    check("skynet", sum, 499_999_500_000);
    emit("skynet", ms(elapsed), "ms");
}

/// Fork and join: the Fibonacci number, each half in a coroutine of its own.
pub(crate) fn parfib(workload: &str, n: u64, want: u64) {
    fn serial(n: u64) -> u64 {
        if n < 2 { n } else { serial(n - 1) + serial(n - 2) }
    }
    fn parallel(n: u64) -> u64 {
        if n <= 12 {
            return serial(n);
        }
        let a = go!(move || parallel(n - 1));
        let b = go!(move || parallel(n - 2));
        a.join().unwrap() + b.join().unwrap()
    }
    let start = Instant::now();
    let result = go!(move || parallel(n)).join().unwrap();
    let elapsed = start.elapsed();
    check(workload, result, want);
    emit(workload, ms(elapsed), "ms");
}

/// Coroutines that take turns at one lock.
pub(crate) fn mutex() {
    const TASKS: usize = 64;
    const TURNS: usize = 100_000;
    let counter = Arc::new(Mutex::new(0));
    let start = Instant::now();
    let handles: Vec<_> = (0..TASKS)
        .map(|_| {
            let counter = counter.clone();
            go!(move || {
                for _ in 0..TURNS {
                    *counter.lock() += 1;
                }
            })
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    let elapsed = start.elapsed();
    check("mutex", *counter.lock(), TASKS * TURNS);
    emit("mutex", ns_each(elapsed, TASKS * TURNS), "ns");
}

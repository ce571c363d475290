//! One switch from a coroutine to another: two of them yield in turn on one thread.

mod common;

use common::{entry, group};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};

fn gort(builder: gort::RuntimeBuilder) -> impl FnMut(u64) -> Duration {
    let rt = builder.procs(1).build().expect("a gort runtime");
    move |switches| {
        rt.run(|| {
            let start = Instant::now();
            let pair = [(); 2].map(|()| gort::go!(move || (0..switches / 2).for_each(|_| gort::yield_now())));
            pair.into_iter().for_each(|handle| handle.join().unwrap());
            start.elapsed()
        })
    }
}

fn tokio() -> impl FnMut(u64) -> Duration {
    let rt = tokio::runtime::Builder::new_current_thread().build().expect("a tokio runtime");
    move |switches| {
        rt.block_on(async {
            let start = Instant::now();
            let pair = [(); 2].map(|()| {
                tokio::spawn(async move {
                    for _ in 0..switches / 2 {
                        tokio::task::yield_now().await;
                    }
                })
            });
            for handle in pair {
                handle.await.unwrap();
            }
            start.elapsed()
        })
    }
}

fn may(switches: u64) -> Duration {
    common::may(1, move || {
        let start = Instant::now();
        let pair = [(); 2].map(|()| may::go!(move || (0..switches / 2).for_each(|_| may::coroutine::yield_now())));
        pair.into_iter().for_each(|handle| handle.join().unwrap());
        start.elapsed()
    })
}

/// The bare switch, without a scheduler: two coroutines are resumed in turn, and a resume and a
/// suspend count as one switch.
fn corosensei(switches: u64) -> Duration {
    let mut pair = [(); 2].map(|()| {
        corosensei::Coroutine::<(), (), ()>::new(move |yielder, ()| {
            (0..switches / 2).for_each(|_| yielder.suspend(()));
        })
    });
    let start = Instant::now();
    for _ in 0..=switches / 2 {
        for coroutine in &mut pair {
            coroutine.resume(());
        }
    }
    start.elapsed()
}

/// Two threads on one CPU. The kernel switches, unless it thinks that it knows better.
fn threads(switches: u64) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                // SAFETY: all zeros is the empty set, 0 is below CPU_SETSIZE, and the kernel
                // reads as many bytes as the set has.
                unsafe {
                    let mut one: libc::cpu_set_t = std::mem::zeroed();
                    libc::CPU_SET(0, &mut one);
                    libc::sched_setaffinity(0, size_of_val(&one), &one);
                }
                (0..switches / 2).for_each(|_| std::thread::yield_now());
            });
        }
    });
    start.elapsed()
}

fn switch(criterion: &mut Criterion) {
    let mut group = group(criterion, "switch");
    entry(&mut group, "gort", 200_000, gort(gort::Runtime::builder()));
    entry(&mut group, "gort_one_home", 200_000, gort(gort::Runtime::builder().homes(1)));
    entry(&mut group, "tokio", 200_000, tokio());
    entry(&mut group, "may", 200_000, may);
    entry(&mut group, "corosensei", 200_000, corosensei);
    entry(&mut group, "threads", 5_000, threads);
}

criterion_group!(benches, switch);
criterion_main!(benches);

//! Sleeping: what a sleeper costs, and how late it wakes.
//!
//! `timers_cost`: 10,000 coroutines are started, sleep for a millisecond each and are joined; the
//! figure is for one of them. `timers_lateness`: 1,000 coroutines sleep for 1 to 50 ms; the
//! figure is how late one wakes on the average.

mod common;

use common::{entry, group, procs};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};

const CROWD: u64 = 10_000;
const SLEEPERS: u64 = 1000;

/// Between 1 and 50 ms, in no order.
fn nap(number: u64) -> Duration {
    Duration::from_micros(1000 + number * 7919 % 49_000)
}

/// The same program for everything that blocks in style. `$spawn` starts something that can be
/// joined. Returns the time, or how late all were together.
macro_rules! blocking_style {
    (cost $spawn:expr, $sleep:expr) => {{
        let start = Instant::now();
        let handles: Vec<_> = (0..CROWD).map(|_| $spawn(|| $sleep(Duration::from_millis(1)))).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        start.elapsed()
    }};
    (lateness $spawn:expr, $sleep:expr) => {{
        let sleeper = |number| {
            move || {
                let start = Instant::now();
                $sleep(nap(number));
                start.elapsed().checked_sub(nap(number)).expect("nobody is woken early")
            }
        };
        let handles: Vec<_> = (0..SLEEPERS).map(|number| $spawn(sleeper(number))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum::<Duration>()
    }};
}

fn may_spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> may::coroutine::JoinHandle<T> {
    may::go!(f)
}

async fn tokio_cost() -> Duration {
    let start = Instant::now();
    let nap = || tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
    let handles: Vec<_> = (0..CROWD).map(|_| nap()).collect();
    for handle in handles {
        handle.await.unwrap();
    }
    start.elapsed()
}

async fn tokio_lateness() -> Duration {
    let sleeper = async |number| {
        let start = Instant::now();
        tokio::time::sleep(nap(number)).await;
        start.elapsed().checked_sub(nap(number)).expect("nobody is woken early")
    };
    let handles: Vec<_> = (0..SLEEPERS).map(|number| tokio::spawn(sleeper(number))).collect();
    let mut sum = Duration::ZERO;
    for handle in handles {
        sum += handle.await.unwrap();
    }
    sum
}

fn timers(criterion: &mut Criterion) {
    use gort::time::sleep as gort_sleep;
    use may::coroutine::sleep as may_sleep;
    let gort = common::gort(procs());
    let tokio = common::tokio(procs());

    let mut cost = group(criterion, "timers_cost");
    entry(&mut cost, "gort", CROWD, |_| gort.run(|| blocking_style!(cost gort::spawn, gort_sleep)));
    entry(&mut cost, "tokio", CROWD, |_| tokio.block_on(async { tokio::spawn(tokio_cost()).await.unwrap() }));
    entry(&mut cost, "may", CROWD, |_| common::may(procs(), || blocking_style!(cost may_spawn, may_sleep)));
    drop(cost);

    let mut late = group(criterion, "timers_lateness");
    entry(&mut late, "gort", SLEEPERS, |_| gort.run(|| blocking_style!(lateness gort::spawn, gort_sleep)));
    entry(&mut late, "tokio", SLEEPERS, |_| tokio.block_on(async { tokio::spawn(tokio_lateness()).await.unwrap() }));
    entry(&mut late, "may", SLEEPERS, |_| common::may(procs(), || blocking_style!(lateness may_spawn, may_sleep)));
}

criterion_group!(benches, timers);
criterion_main!(benches);

//! Who starves? A ticker that sleeps a millisecond at a time, beside coroutines that compute without end and
//! others that block their threads; how late it comes, live, with preemption and without.
//!
//! `cargo run --release --example unfair [HOGS [SECONDS]]`

use gort::{Runtime, go};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(1);
/// Without preemption the hogs do not give up their Ps before they have computed for this long.
const BURST: Duration = Duration::from_millis(200);

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let smoke = std::env::var_os("GORT_EXAMPLE_SMOKE").is_some();
    let (hogs, seconds) = (number(4), number(if smoke { 1 } else { 4 }));
    println!("{hogs} hogs, 2 blocked threads and a ticker on 2 Ps; how late each tick of {TICK:?} is:");
    println!("{:<18} {:>7} {:>12} {:>12} {:>12}", "", "ticks", "median", "99 %", "latest");
    let [without, with] = [false, true].map(|on| run(on, hogs, Duration::from_secs(seconds)));
    let (without, with) = (without?, with?);
    println!("preemption makes the worst tick {:.0} times less late", without.as_secs_f64() / with.as_secs_f64());
    Ok(())
}

/// Returns the latest of the ticks.
fn run(preemption: bool, hogs: u64, time: Duration) -> std::io::Result<Duration> {
    let name = if preemption { "preemption" } else { "no preemption" };
    let runtime = Runtime::builder().procs(2).preemption(preemption).build()?;
    Ok(runtime.run(move || {
        let stop = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (0..hogs + 2)
            .map(|number| {
                let stop = stop.clone();
                go!(move || {
                    while !stop.load(Relaxed) {
                        if number < hogs {
                            compute(&stop);
                        } else {
                            std::thread::sleep(BURST / 4);
                        }
                        gort::yield_now();
                    }
                })
            })
            .collect();
        let mut late = Vec::new();
        let begin = Instant::now();
        let mut shown = begin;
        while begin.elapsed() < time {
            let before = Instant::now();
            gort::time::sleep(TICK);
            late.push(before.elapsed().saturating_sub(TICK));
            if shown.elapsed() > Duration::from_millis(200) && std::io::stdout().is_terminal() {
                shown = Instant::now();
                print!("\r{}", line(name, &late));
                std::io::stdout().flush().expect("a terminal");
            }
        }
        stop.store(true, Relaxed);
        others.into_iter().for_each(|other| other.join().expect("no panics inside"));
        println!("{}{}", if std::io::stdout().is_terminal() { "\r" } else { "" }, line(name, &late));
        *late.iter().max().expect("one tick at least")
    }))
}

fn compute(stop: &AtomicBool) {
    let begin = Instant::now();
    let mut x = 1u64;
    while begin.elapsed() < BURST && !stop.load(Relaxed) {
        for _ in 0..10_000 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

fn line(name: &str, late: &[Duration]) -> String {
    let mut sorted = late.to_vec();
    sorted.sort_unstable();
    let [median, high] = [50, 99].map(|percent| sorted[(sorted.len() - 1) * percent / 100]);
    let latest = sorted[sorted.len() - 1];
    format!("{name:<18} {:>7} {median:>12.1?} {high:>12.1?} {latest:>12.1?}", sorted.len())
}

//! A million sleepers, a million waiters, and a sleeper among hogs.

use crate::{check, emit, fail, from_environment, ns_each};
use gort::channel;
use gort::{go, time};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Sorts `nanos`; returns the median, the 99th percentile and the maximum in microseconds.
fn quantiles(nanos: &mut [i64]) -> (f64, f64, f64) {
    nanos.sort_unstable();
    let us = |at: usize| nanos[at] as f64 / 1e3;
    (us(nanos.len() / 2), us(nanos.len() * 99 / 100), us(nanos.len() - 1))
}

/// Random delays of up to two seconds, the same as in the Rust peers.
fn delays(count: usize) -> Vec<u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % 2_000_000_000
    };
    (0..count).map(|_| next()).collect()
}

/// Coroutines that sleep; then timers that are made and stopped, plain ones and such that would run a closure.
pub(crate) fn timers() {
    struct Shared {
        delays: Vec<u64>,
        late: Vec<AtomicI64>,
        left: AtomicUsize,
        main: gort::Coroutine,
    }
    let count = from_environment("TASKS", 1_000_000);
    let shared = Arc::new(Shared {
        delays: delays(count),
        late: (0..count).map(|_| AtomicI64::new(0)).collect(),
        left: AtomicUsize::new(count),
        main: gort::current(),
    });
    let start = Instant::now();
    for i in 0..count {
        let shared = shared.clone();
        drop(go!(move || {
            let before = Instant::now();
            time::sleep(Duration::from_nanos(shared.delays[i]));
            let late = before.elapsed().as_nanos() as i64 - shared.delays[i] as i64;
            // Relaxed: published by `left`.
            shared.late[i].store(late, Ordering::Relaxed);
            // AcqRel: the last one passes on what all have stored.
            if shared.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                shared.main.unpark();
            }
        }));
    }
    let armed = start.elapsed();
    gort::park();
    let total = start.elapsed();
    let mut late: Vec<i64> = shared.late.iter().map(|late| late.load(Ordering::Relaxed)).collect();
    check("timers", late.iter().filter(|&&late| late < 0).count(), 0);
    let (p50, p99, max) = quantiles(&mut late);
    emit("timers.arm", ns_each(armed, count), "ns");
    emit("timers.total", total.as_secs_f64(), "s");
    emit("timers.late_p50", p50, "us");
    emit("timers.late_p99", p99, "us");
    emit("timers.late_max", max, "us");
    let hour = Duration::from_secs(3600);
    let start = Instant::now();
    let stopped = (0..count).filter(|_| time::Timer::new(hour).stop()).count();
    emit("timers.arm_cancel", ns_each(start.elapsed(), count), "ns");
    check("timers", stopped, count);
    let start = Instant::now();
    let stopped = (0..count).filter(|_| time::Timer::after_func(hour, || ()).stop()).count();
    emit("timers.cb_arm_cancel", ns_each(start.elapsed(), count), "ns");
    check("timers", stopped, count);
}

/// A line of `/proc/self/status`, in bytes.
fn status_bytes(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    kib * 1024.0
}

/// Coroutines that all wait for one channel, which is then closed.
pub(crate) fn sleep_mem() {
    struct Shared {
        gate: channel::Receiver<()>,
        reached: AtomicUsize,
        left: AtomicUsize,
        main: gort::Coroutine,
    }
    let count = from_environment("TASKS", 1_000_000);
    let (rss, pte) = (status_bytes("VmRSS"), status_bytes("VmPTE"));
    let (opener, gate) = channel::bounded(0);
    let shared =
        Arc::new(Shared { gate, reached: AtomicUsize::new(0), left: AtomicUsize::new(count), main: gort::current() });
    let start = Instant::now();
    for _ in 0..count {
        let shared = shared.clone();
        drop(go!(move || {
            // Relaxed: a counter.
            shared.reached.fetch_add(1, Ordering::Relaxed);
            if shared.gate.recv().is_ok() {
                fail("sleep_mem", "a message where none was sent");
            }
            // AcqRel: the last one comes after all others.
            if shared.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                shared.main.unpark();
            }
        }));
    }
    while shared.reached.load(Ordering::Relaxed) != count {
        time::sleep(Duration::from_millis(1));
    }
    let spawned = start.elapsed();
    time::sleep(Duration::from_millis(200));
    let (rss, pte) = (status_bytes("VmRSS") - rss, status_bytes("VmPTE") - pte);
    let start = Instant::now();
    drop(opener);
    gort::park();
    let woken = start.elapsed();
    check("sleep_mem", shared.left.load(Ordering::Relaxed), 0);
    emit("sleep_mem.rss_per_task", rss / count as f64, "B");
    emit("sleep_mem.pte_per_task", pte / count as f64, "B");
    emit("sleep_mem.spawn", spawned.as_secs_f64(), "s");
    emit("sleep_mem.wake", woken.as_secs_f64(), "s");
    emit("sleep_mem.tasks", count as f64, "tasks");
}

/// One coroutine for each P that never yields, and one that sleeps a millisecond again and again.
/// Fails as "starved" for as long as the runtime cannot preempt.
pub(crate) fn preempt(rt: &gort::Runtime) {
    for _ in 0..rt.procs() {
        drop(go!(in rt, || {
            let mut x = 0_u64;
            loop {
                x = x.wrapping_add(1);
                std::hint::black_box(&mut x);
            }
        }));
    }
    std::thread::sleep(Duration::from_millis(20));
    let (sender, receiver) = std::sync::mpsc::channel();
    drop(go!(in rt, move || {
        let mut late = Vec::new();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let before = Instant::now();
            time::sleep(Duration::from_millis(1));
            late.push(before.elapsed().as_nanos() as i64 - 1_000_000);
        }
        sender.send(late).unwrap();
    }));
    let Ok(mut late) = receiver.recv_timeout(Duration::from_secs(7)) else { fail("preempt", "starved") };
    let (p50, p99, max) = quantiles(&mut late);
    emit("preempt.p50", p50, "us");
    emit("preempt.p99", p99, "us");
    emit("preempt.max", max, "us");
    emit("preempt.wakeups", late.len() as f64, "n");
    // Without the runtime's drop: the hogs cannot be cancelled.
    std::process::exit(0);
}

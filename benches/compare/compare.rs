//! The workloads of the peer baselines, written for this runtime: `compare WORKLOAD [PORT]`.
//!
//! Build and run:
//! ```text
//! cargo build --manifest-path benches/Cargo.toml --profile compare --bin compare
//! benches/target/compare/compare switch
//! ```
//! Prints `workload[.metric]<TAB>value<TAB>unit` lines, or `workload<TAB>FAIL<TAB>reason` and exits
//! with 1. `PROCS` is the number of Ps (default 2), `TASKS` the number of coroutines in `sleep_mem`
//! and `timers` (default 1,000,000); `PREEMPTION=0` does without preemption. ../README.md defines the workloads.
//!
//! Everything that is timed runs inside coroutines, and is timed inside them.

mod channels;
mod serve;
mod tasks;
mod waits;

use std::fmt::Debug;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(workload) = arguments.first().map(String::as_str) else {
        eprintln!("usage: compare WORKLOAD [PORT]");
        std::process::exit(2);
    };
    let port = arguments.get(1).map_or("0", String::as_str);
    let mut builder = gort::Runtime::builder();
    builder = match workload {
        "switch" => builder.procs(1),
        "switch_home" => builder.procs(1).homes(1),
        _ => builder.procs(from_environment("PROCS", 2)),
    };
    let rt = builder
        .preemption(from_environment("PREEMPTION", 1) != 0)
        .build()
        .unwrap_or_else(|error| fail(workload, &error.to_string()));
    if workload == "preempt" {
        return waits::preempt(&rt);
    }
    rt.run(|| match workload {
        "switch" | "switch_home" => tasks::switch(workload),
        "spawn" => tasks::spawn(),
        "skynet" => tasks::skynet(),
        "mutex" => tasks::mutex(),
        "parfib" => tasks::parfib(workload, 30, 832_040),
        "parfib36" => tasks::parfib(workload, 36, 14_930_352),
        "pingpong0" => channels::pingpong(),
        "chan_spsc" => channels::throughput(workload, 1, 1),
        "chan_mpmc" => channels::throughput(workload, 4, 4),
        "select" => channels::select(workload, 0),
        "select128" => channels::select(workload, 128),
        "sieve" => channels::sieve(),
        "timers" => waits::timers(),
        "sleep_mem" => waits::sleep_mem(),
        "serve-echo" => serve::echo(port),
        "serve-http" => serve::http(port),
        _ => fail(workload, "not written for gort"),
    });
}

/// A number from the environment.
fn from_environment(key: &str, default: usize) -> usize {
    std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Prints a result.
fn emit(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.3}\t{unit}");
}

/// Prints that there is none, and ends.
fn fail(name: &str, why: &str) -> ! {
    println!("{name}\tFAIL\t{}", why.replace(['\t', '\n'], " "));
    std::process::exit(1)
}

/// Fails unless `got` is `want`.
fn check<T: PartialEq + Debug>(name: &str, got: T, want: T) {
    if got != want {
        fail(name, &format!("wrong result: {got:?} instead of {want:?}"));
    }
}

/// Nanoseconds for each of `n`.
fn ns_each(elapsed: Duration, n: usize) -> f64 {
    elapsed.as_nanos() as f64 / n as f64
}

/// Milliseconds.
fn ms(elapsed: Duration) -> f64 {
    elapsed.as_nanos() as f64 / 1e6
}

//! What the benchmarks share: runtimes of the same size for everybody, and the time they take.

#![allow(dead_code, reason = "no benchmark uses all of it")]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use std::sync::Once;
use std::time::Duration;

/// How many threads a runtime uses: `PROCS`, or as many as the machine has.
pub(crate) fn procs() -> usize {
    let wanted = std::env::var("PROCS").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

pub(crate) fn gort(procs: usize) -> gort::Runtime {
    gort::Runtime::builder().procs(procs).build().expect("a gort runtime")
}

pub(crate) fn tokio(procs: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(procs).enable_all().build().expect("a tokio runtime")
}

/// may has one runtime for the process. Its default pool is of 1,000 stacks; with more it need not
/// map and unmap them all the time.
pub(crate) fn may<T: Send + 'static>(procs: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    static CONFIGURED: Once = Once::new();
    CONFIGURED.call_once(|| {
        may::config().set_workers(procs).set_pool_capacity(20_000);
    });
    may::go!(f).join().expect("may's coroutine")
}

/// A group that takes about a second for each entry.
pub(crate) fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(600));
    group
}

/// Adds an entry. `run` does so many units of work at once, enough for starting up not to count,
/// and says how long that took. The table of `compare.sh` is by the unit; criterion prints the time
/// for all, and units per second.
pub(crate) fn entry(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    units: u64,
    mut run: impl FnMut(u64) -> Duration,
) {
    group.throughput(Throughput::Elements(units));
    group.bench_function(name, |bencher| bencher.iter_custom(|times| (0..times).map(|_| run(units)).sum()));
}

//! Where coroutines run: sets of CPUs, one CPU for each P.

mod common;

use common::{builder, wait_until};
use gort::{CpuSet, Runtime, go};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn of_thread() -> CpuSet {
    CpuSet::of_thread().unwrap()
}

#[test]
fn a_runtime_keeps_to_its_cpus() {
    // Goal: whatever thread runs it, also after parking, and that of the builder is as before.
    let before = of_thread();
    for cpu in before.iter() {
        let set = CpuSet::from_iter([cpu]);
        let runtime = builder(3).cpus(set.clone()).build().unwrap();
        assert_eq!(of_thread(), before);
        runtime.run(|| {
            let handles: Vec<_> = (0..30)
                .map(|_| {
                    let set = set.clone();
                    go!(move || {
                        for _ in 0..20 {
                            assert_eq!(of_thread(), set);
                            gort::time::sleep(Duration::from_micros(50));
                        }
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
    }
}

#[test]
fn a_runtime_keeps_to_the_cpus_of_its_builder() {
    // Goal: whoever has a thread started, that runs where the builder may. Method: a thread that is confined, and a coroutine of a
    // runtime that is, spawn into one that has no threads yet.
    let all = of_thread();
    let one: CpuSet = all.iter().take(1).collect();
    let confined = builder(1).cpus(one).build().unwrap();
    for _ in 0..3 {
        let runtime = builder(2).build().unwrap();
        let seen = confined.run(|| runtime.spawn(of_thread).join().unwrap());
        assert_eq!(seen, all);
    }
}

#[test]
fn as_many_ps_as_cpus() {
    let one: CpuSet = of_thread().iter().take(1).collect();
    if std::env::var_os("GORT_PROCS").is_none() {
        assert_eq!(Runtime::builder().cpus(one.clone()).build().unwrap().procs(), 1);
    }
    // What is not there does not count.
    let more: CpuSet = one.iter().chain([60_000]).collect();
    let runtime = Runtime::builder().cpus(more).build().unwrap();
    assert_eq!(runtime.run(of_thread), one);
    assert_eq!(runtime.procs(), 1);
}

#[test]
fn sets_of_no_use_are_refused() {
    for set in [CpuSet::default(), CpuSet::from_iter([60_000])] {
        let error = Runtime::builder().cpus(set).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("CPU"), "{error}");
    }
}

#[test]
fn each_p_on_a_cpu_of_its_own() {
    // Goal: two coroutines at once are on two CPUs, and nobody is ever on more than one; also those whose threads
    // are suspended and go on with another P.
    let cpus = of_thread();
    let procs = cpus.len().min(2);
    let runtime = builder(procs).pin_cpus(true).build().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = (0..2 * procs)
        .map(|_| {
            let (seen, stop) = (seen.clone(), stop.clone());
            runtime.spawn(move || {
                while !stop.load(SeqCst) {
                    let set = of_thread();
                    assert_eq!(set.len(), 1, "{set}");
                    let cpu = set.iter().next().unwrap();
                    let mut seen = seen.lock().unwrap();
                    if !seen.contains(&cpu) {
                        seen.push(cpu);
                    }
                    drop(seen);
                    let begin = Instant::now();
                    while begin.elapsed() < Duration::from_millis(1) {}
                }
            })
        })
        .collect();
    wait_until("all of them are used", || seen.lock().unwrap().len() == procs);
    std::thread::sleep(Duration::from_millis(100));
    stop.store(true, SeqCst);
    hogs.into_iter().for_each(|hog| hog.join().unwrap());
    assert!(seen.lock().unwrap().iter().all(|&cpu| cpus.contains(cpu)));
}

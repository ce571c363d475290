//! Who waits for a home, and that nobody waits for one who does not come back.

mod common;

use common::{Counts, Hogs, builder, cannot_hold, compute, wait_until};
use gort::channel::bounded;
use gort::{Builder, go, go_local, lock_os_thread};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_wait_is_counted_and_timed() {
    // Goal: a coroutine is ready while its neighbour blocks the home; from outside that can be seen.
    let runtime = builder(2).build().unwrap();
    let [blocks, release] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let theirs = [blocks.clone(), release.clone()];
    let (tx, rx) = bounded(1);
    let handle = runtime.spawn(move || {
        let neighbour = go_local!(move || rx.recv().unwrap());
        let [blocks, release] = theirs;
        blocks.store(true, SeqCst);
        while !release.load(SeqCst) {
            thread::sleep(MS);
        }
        neighbour.join().unwrap()
    });
    wait_until("it blocks", || blocks.load(SeqCst));
    // Whether the neighbour has begun or not, it is ready from here on, and its home is not free.
    tx.send(3).unwrap();
    wait_until("one waits", || runtime.home_waits().waiting == 1);
    wait_until("it has waited for long", || runtime.home_waits().longest > 20 * MS);
    assert_eq!(runtime.home_waits().waiting, 1);
    release.store(true, SeqCst);
    assert_eq!(handle.join().unwrap(), 3);
    let waits = runtime.home_waits();
    assert!(waits.waiting == 0 && waits.waited > 0 && waits.longest > 20 * MS, "{waits:?}");
}

#[test]
fn where_nobody_shares_nobody_waits_for_long() {
    let runtime = builder(2).build().unwrap();
    runtime.run(|| {
        let handles: Vec<_> = (0..50).map(|_| go!(|| (0..50).for_each(|_| gort::yield_now()))).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
    let waits = runtime.home_waits();
    assert_eq!(waits.waiting, 0);
    // Who waits for a home at all waits for its neighbour's step, or as long as the machine lets that one stand.
    assert!(waits.longest < common::PATIENCE / 30, "{waits:?}");
}

#[test]
fn a_new_home_where_hogs_have_them_all() {
    // Goal: coroutines begin and end while more hogs than homes compute without end, on fewer Ps, as many, and more.
    if cannot_hold("hogs keep their thread, and who began there waits") {
        return;
    }
    for (procs, homes, hogs) in [(1, 1, 1), (2, 1, 1), (2, 2, 2), (2, 2, 6), (4, 3, 3)] {
        eprintln!("{procs} procs, {homes} homes, {hogs} hogs");
        let runtime = builder(procs).homes(homes).build().unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = hogs;
        let hogs = Hogs::start(&runtime, hogs, |_| {
            let begun = begun.clone();
            move |i| _ = begun.fetch_add(usize::from(black_box(i) == 0), SeqCst)
        });
        // One that began later might share a home with who sleeps below, who would wait for ever.
        wait_until("all hogs compute", || begun.load(SeqCst) == count);
        for number in 0..20 {
            assert_eq!(runtime.spawn(move || number).join().unwrap(), number);
        }
        runtime.run(|| {
            for _ in 0..5 {
                gort::time::sleep(MS);
                go!(gort::yield_now).join().unwrap();
            }
        });
        hogs.stop();
        let made = runtime.homes();
        assert!(made > homes && made <= homes + 40, "{made}");
        assert_eq!(runtime.home_waits().waiting, 0);
    }
}

#[test]
fn a_new_home_where_all_are_blocked() {
    if cannot_hold("who blocks keeps the thread, and who began there waits") {
        return;
    }
    let runtime = builder(2).homes(2).build().unwrap();
    let release = Arc::new(AtomicBool::new(false));
    let blocked: Vec<_> = (0..4)
        .map(|_| {
            let release = release.clone();
            runtime.spawn(move || {
                while !release.load(SeqCst) {
                    thread::sleep(MS);
                }
            })
        })
        .collect();
    for number in 0..20 {
        assert_eq!(runtime.spawn(move || number).join().unwrap(), number);
    }
    release.store(true, SeqCst);
    blocked.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn one_that_waits_for_a_home_can_be_cancelled_and_ends_with_the_runtime() {
    // Goal: coroutines that found no home are not forgotten, whether they still want to run or not.
    let runtime = builder(2).homes(1).preemption(false).time_slice(common::PATIENCE).build().unwrap();
    if !runtime.coroutines_move() {
        return;
    }
    let begun_and_released = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let start_hog = |runtime: &gort::Runtime| {
        let [begun, release] = begun_and_released.clone();
        let hog = runtime.spawn(move || {
            begun.store(true, SeqCst);
            while !release.load(SeqCst) {
                compute(MS);
            }
        });
        wait_until("the only home is taken", || begun_and_released[0].load(SeqCst));
        hog
    };
    let ran = Arc::new(AtomicUsize::new(0));
    let hog = start_hog(&runtime);
    let others: Vec<_> = (0..10)
        .map(|number| {
            let ran = ran.clone();
            let other = runtime.spawn(move || ran.fetch_add(1, SeqCst));
            if number % 2 == 0 {
                other.cancel();
            }
            other
        })
        .collect();
    wait_until("they wait", || runtime.home_waits().waiting >= 1);
    assert_eq!((ran.load(SeqCst), runtime.homes()), (0, 1));
    begun_and_released[1].store(true, SeqCst);
    let ended: usize = others.into_iter().map(|other| usize::from(other.join().is_ok())).sum();
    assert_eq!((ended, ran.load(SeqCst)), (5, 5));
    hog.join().unwrap();
    assert_eq!(runtime.home_waits().waiting, 0);

    // The runtime ends while they wait. The hog, which nobody can stop, goes on until after that has begun.
    for flag in &begun_and_released {
        flag.store(false, SeqCst);
    }
    let hog = start_hog(&runtime);
    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let counts = Counts(dropped.clone());
        drop(runtime.spawn(move || drop(counts)));
    }
    wait_until("they wait", || runtime.home_waits().waiting >= 1);
    assert_eq!(dropped.load(SeqCst), 0);
    let ends = thread::spawn(move || drop(runtime));
    thread::sleep(20 * MS);
    begun_and_released[1].store(true, SeqCst);
    ends.join().unwrap();
    assert_eq!(dropped.load(SeqCst), 10);
    drop(hog);
}

#[test]
fn homes_that_are_bound_to_a_thread_do_not_count() {
    let runtime = builder(2).homes(1).build().unwrap();
    runtime.run(|| {
        let _guard = lock_os_thread();
        let id = thread::current().id();
        let others: Vec<_> = (0..20).map(|_| go!(|| thread::current().id())).collect();
        for other in others {
            assert_ne!(other.join().unwrap(), id);
        }
        let own = Builder::new().own_home().spawn(|| thread::current().id()).unwrap();
        assert_ne!(own.join().unwrap(), id);
    });
}

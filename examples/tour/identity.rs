//! Coroutines move between threads, and nothing in them notices.

use crate::screen::{Report, plural};
use gort::{go, time};
use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

thread_local! {
    static COUNT: Rc<Cell<u64>> = Rc::new(Cell::new(0));
}

/// The kernel's number of the thread that runs us just now.
fn kernel_thread() -> i32 {
    // SAFETY: it takes nothing and always succeeds.
    unsafe { libc::gettid() }
}

/// A coroutine lives in a home, and the home moves: whichever thread runs it, it finds the same
/// thread-locals and the same `ThreadId`. Here each holds an `Rc` whose twin is thread-local over
/// many waits, which would be a data race if another thread could see the twin.
pub(crate) fn homes_move(_: &mut Report) -> String {
    const COROUTINES: u64 = 64;
    const ROUNDS: u64 = 200;
    let handles: Vec<_> = (0..COROUTINES)
        .map(|number| {
            go!(move || {
                let id = thread::current().id();
                let count = COUNT.with(Rc::clone);
                let (mut moves, mut last, mut threads) = (0, kernel_thread(), HashSet::new());
                for round in 0..ROUNDS {
                    count.set(count.get() + 1);
                    match (number + round) % 4 {
                        0 => time::sleep(Duration::from_micros(number + 1)),
                        _ => gort::yield_now(),
                    }
                    assert_eq!(thread::current().id(), id, "a coroutine has one ThreadId for life");
                    assert!(COUNT.with(|twin| Rc::ptr_eq(&count, twin)), "and one set of thread-locals");
                    let now = kernel_thread();
                    moves += usize::from(now != last);
                    threads.insert(now);
                    last = now;
                }
                (id, count.get(), moves, threads)
            })
        })
        .collect();
    let (mut homes, mut moves, mut threads) = (HashSet::new(), 0, HashSet::new());
    for handle in handles {
        let (id, count, moved, on) = handle.join().unwrap();
        assert!(count >= ROUNDS, "no step was lost");
        homes.insert(id);
        moves += moved;
        threads.extend(on);
    }
    let (homes, threads) = (plural(homes.len(), "home"), plural(threads.len(), "thread"));
    format!("{COROUTINES} coroutines kept {homes} over {} between {threads}", plural(moves, "move"))
}

//! Dining philosophers: neighbours share forks, each needs two to eat, and nobody starves.
//!
//! ```text
//! cargo run --release --example philosophers            a thousand of them, twenty meals each
//! cargo run --release --example philosophers -- 5 1000  so many, and so many meals
//! ```
//!
//! If each takes the left fork first they may all have one and wait for the other for ever. (With no more than that in the
//! program, `gort` reports the deadlock.) Here the last one takes them the other way round, so no circle comes about.

use gort::sync::Mutex;
use gort::time;
use std::time::{Duration, Instant};

/// A fork, and how often somebody has eaten with it.
type Fork = Mutex<u64>;

/// Eats and thinks, `meals` times.
fn dine(first: &Fork, second: &Fork, meals: u64, me: u64) {
    for meal in 0..meals {
        let (mut first, mut second) = (first.lock(), second.lock());
        *first += 1;
        // Both in hand.
        if (meal + me).is_multiple_of(4) {
            time::sleep(Duration::from_micros(20));
        }
        *second += 1;
        drop((first, second));
        gort::yield_now();
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (seats, meals) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(20));
    assert!(seats >= 2, "a fork on either side takes two of them at least");
    let start = Instant::now();
    let forks: Vec<Fork> = (0..seats).map(|_| Mutex::new(0)).collect();
    gort::run(|| {
        gort::scope(|s| {
            for me in 0..seats {
                let (left, right) = (&forks[me as usize], &forks[((me + 1) % seats) as usize]);
                let (first, second) = if me == seats - 1 { (right, left) } else { (left, right) };
                drop(s.go(move || dine(first, second, meals, me)));
            }
        });
    });
    println!("philosophers: {seats} had {meals} meals each in {:.1?}", start.elapsed());
    // Each fork has been used by both neighbours, at every meal.
    assert!(forks.into_iter().all(|fork| fork.into_inner() == 2 * meals), "somebody has eaten with one fork");
}

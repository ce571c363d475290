//! Two coroutines and two channels: a number goes to and fro.
//!
//! ```text
//! cargo run --release --example pingpong              a million rounds
//! cargo run --release --example pingpong -- 1000      as many as you like
//! ```

use gort::{channel, go};
use std::time::Instant;

fn main() {
    let rounds: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("the number of rounds"),
        None => 1_000_000,
    };
    gort::run(|| {
        // Capacity 0: each send waits until the other side takes the number from its hand.
        let (ping, pings) = channel::bounded(0);
        let (pong, pongs) = channel::bounded(0);
        let answerer = go!("answerer", move || {
            for n in pings {
                pong.send(n + 1).unwrap();
            }
        });
        let start = Instant::now();
        let mut n = 0;
        for _ in 0..rounds {
            ping.send(n).unwrap();
            n = pongs.recv().unwrap();
        }
        let elapsed = start.elapsed();
        // Ends the loop above.
        drop(ping);
        answerer.join().unwrap();
        assert_eq!(n, rounds, "each round adds one");
        let each = elapsed.as_nanos() as f64 / rounds.max(1) as f64;
        println!("pingpong: {rounds} rounds in {elapsed:.1?}, {each:.0} ns each");
    });
}

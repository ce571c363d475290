//! A million coroutines: a tree in which every inner node starts ten children and sums up what
//! they send.
//!
//! ```text
//! cargo run --release --example skynet                  a million leaves
//! cargo run --release --example skynet -- 1000          a power of ten
//! ```

use gort::channel::{self, Sender};
use gort::go;
use std::time::Instant;

/// Sends the sum of the numbers from `first` up, `count` of them.
fn node(parent: &Sender<u64>, first: u64, count: u64) {
    if count == 1 {
        parent.send(first).unwrap();
        return;
    }
    let (sender, receiver) = channel::bounded(0);
    for i in 0..10 {
        let sender = sender.clone();
        drop(go!(move || node(&sender, first + i * (count / 10), count / 10)));
    }
    // The last sender goes with the last child, which ends the iteration.
    drop(sender);
    parent.send(receiver.iter().sum()).unwrap();
}

fn main() {
    let leaves: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("the number of leaves"),
        None => 1_000_000,
    };
    assert!(leaves > 0 && 10_u64.pow(leaves.ilog10()) == leaves, "{leaves} is not a power of ten");
    gort::run(|| {
        let start = Instant::now();
        let (sender, receiver) = channel::bounded(0);
        drop(go!(move || node(&sender, 0, leaves)));
        let sum = receiver.recv().unwrap();
        let elapsed = start.elapsed();
        assert_eq!(sum, leaves * (leaves - 1) / 2, "the sum is wrong");
        // 1 + 10 + 100 + ... + leaves.
        let coroutines = (10 * leaves - 1) / 9;
        println!("skynet: {coroutines} coroutines, sum {sum}, {elapsed:.1?}");
    });
}

//! Go's prime sieve: a chain of coroutines, each of which lets pass what its prime does not divide.
//!
//! ```text
//! cargo run --release --example sieve              the first 100 primes
//! cargo run --release --example sieve -- 1000      as many as you like
//! ```

use gort::channel::{self, Receiver, Sender};
use gort::go;

/// Sends 2, 3, 4, ...
fn generate(out: &Sender<u32>) {
    let mut n = 2;
    // A send fails when nobody will receive any more.
    while out.send(n).is_ok() {
        n += 1;
    }
}

/// Passes on what `prime` does not divide.
fn filter(numbers: &Receiver<u32>, out: &Sender<u32>, prime: u32) {
    for n in numbers {
        if n % prime != 0 && out.send(n).is_err() {
            return;
        }
    }
}

fn main() {
    let count = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("how many primes"),
        None => 100,
    };
    let primes = gort::run(|| {
        let (sender, mut numbers) = channel::bounded(0);
        drop(go!("generator", move || generate(&sender)));
        let mut primes = Vec::new();
        while primes.len() < count {
            // Whatever comes through all filters so far is the next prime.
            let prime = numbers.recv().unwrap();
            primes.push(prime);
            let (sender, filtered) = channel::bounded(0);
            let unfiltered = std::mem::replace(&mut numbers, filtered);
            drop(go!(move || filter(&unfiltered, &sender, prime)));
        }
        // Here the last receiver goes, which ends the chain from its end to its start.
        primes
    });
    for row in primes.chunks(10) {
        println!("{}", row.iter().map(|prime| format!("{prime:>7}")).collect::<String>());
    }
    let divided: Vec<u32> =
        (2..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).take(count).collect();
    assert_eq!(primes, divided, "trial division finds other primes");
}

//! The prime sieve once more, with `select!`: every filter also listens for the end, and the reader has a deadline.
//!
//! ```text
//! cargo run --release --example sieve_select              the first 100 primes
//! cargo run --release --example sieve_select -- 300       as many as you like
//! ```
//!
//! In `sieve` the chain ends from its end to its start, when its last receiver goes. Here all filters end at once, when a
//! context is cancelled. A filter with a number in hand waits for three things: that it gets rid of it, that the end
//! comes, or that it has been stuck for too long.

use gort::channel::{self, Receiver, Sender};
use gort::context::Context;
use gort::{go, select};
use std::time::Duration;

/// So long nothing should take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a coroutine of the chain has ended.
#[derive(PartialEq, Eq, Debug)]
enum Ended {
    Told,
    Disconnected,
    Stuck,
}

/// Sends 2, 3, 4, ... until it is told to end.
fn generate(ctx: &Context, out: &Sender<u32>) -> Ended {
    let done = ctx.done();
    for n in 2.. {
        select! {
            send(out, n) -> sent => if sent.is_err() {
                return Ended::Disconnected;
            },
            wait(done) => return Ended::Told,
            default(PATIENCE) => return Ended::Stuck,
        }
    }
    unreachable!("there are more primes than u32 can hold");
}

/// Passes on what `prime` does not divide, until it is told to end.
fn filter(ctx: &Context, numbers: &Receiver<u32>, out: &Sender<u32>, prime: u32) -> Ended {
    let done = ctx.done();
    loop {
        let n = select! {
            recv(numbers) -> n => match n {
                Ok(n) => n,
                Err(_) => return Ended::Disconnected,
            },
            wait(done) => return Ended::Told,
            default(PATIENCE) => return Ended::Stuck,
        };
        if n % prime != 0 {
            select! {
                send(out, n) -> sent => if sent.is_err() {
                    return Ended::Disconnected;
                },
                wait(done) => return Ended::Told,
                default(PATIENCE) => return Ended::Stuck,
            }
        }
    }
}

fn main() {
    let count = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("how many primes"),
        None => 100,
    };
    let primes = gort::run(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (sender, mut numbers) = channel::bounded(0);
        let theirs = ctx.clone();
        let mut chain = vec![go!("generator", move || generate(&theirs, &sender))];
        let mut primes = Vec::new();
        while primes.len() < count {
            let prime = select! {
                recv(numbers) -> n => n.unwrap(),
                default(PATIENCE) => panic!("no prime after {:?}", primes.last()),
            };
            primes.push(prime);
            let (sender, filtered) = channel::bounded(0);
            let unfiltered = std::mem::replace(&mut numbers, filtered);
            let theirs = ctx.clone();
            chain.push(go!(move || filter(&theirs, &unfiltered, &sender, prime)));
        }
        cancel.cancel();
        let length = chain.len();
        let ends: Vec<Ended> = chain.into_iter().map(|coroutine| coroutine.join().unwrap()).collect();
        let told = ends.iter().filter(|end| **end == Ended::Told).count();
        // Who ends first may disconnect a neighbour before that one has looked.
        assert!(told > 0 && !ends.contains(&Ended::Stuck), "{ends:?}");
        println!("sieve_select: {count} primes by {length} coroutines, {told} of which were told to end");
        primes
    });
    let divided: Vec<u32> =
        (2..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).take(count).collect();
    assert_eq!(primes, divided, "trial division finds other primes");
}

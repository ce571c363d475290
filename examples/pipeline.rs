//! A pipeline: stages that hand numbers on through channels, and end together when a context does.
//!
//! ```text
//! cargo run --release --example pipeline
//! ```
//!
//! After "Go Concurrency Patterns: Pipelines and cancellation" of Go's blog. There every send is a `select` with
//! `ctx.Done()`; here each stage runs bound by the context, which ends it wherever it waits.

use gort::channel::{self, Receiver, Sender};
use gort::context::{self, Context, ContextError};
use gort::go;
use gort::group::Group;
use gort::sync::WaitGroup;
use std::time::Duration;

/// A pipeline under construction: what its stages have in common.
struct Pipeline {
    ctx: Context,
    /// Each stage has a handle.
    stages: WaitGroup,
}

impl Pipeline {
    fn new(ctx: &Context) -> Pipeline {
        Pipeline { ctx: ctx.clone(), stages: WaitGroup::new() }
    }

    /// Starts a stage, which sends on what is returned.
    fn stage<T: Send + 'static>(&self, work: impl FnOnce(Sender<T>) + Send + 'static) -> Receiver<T> {
        let (sender, receiver) = channel::bounded(4);
        let (ctx, running) = (self.ctx.clone(), self.stages.clone());
        drop(go!(move || {
            let _running = running;
            // An error means that the context has ended.
            let _ = ctx.bound(|| work(sender));
        }));
        receiver
    }

    /// The numbers of `range`.
    fn numbers(&self, range: impl Iterator<Item = u64> + Send + 'static) -> Receiver<u64> {
        self.stage(move |out| range.into_iter().take_while(|n| out.send(*n).is_ok()).for_each(drop))
    }

    /// Each number through `f`, by `workers` at once: in no order.
    fn map(&self, input: &Receiver<u64>, workers: usize, f: fn(u64) -> u64) -> Receiver<u64> {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                let input = input.clone();
                self.stage(move |out| input.iter().map(f).take_while(|n| out.send(*n).is_ok()).for_each(drop))
            })
            .collect();
        self.merge(workers)
    }

    /// What comes on any of them.
    fn merge(&self, inputs: Vec<Receiver<u64>>) -> Receiver<u64> {
        self.stage(move |out| {
            // A scope alone would wait for its coroutines without ending them; a group's members end with the context.
            let group = Group::<ContextError>::with_context(&context::current());
            let _ = group.scope(|group| {
                for input in &inputs {
                    let out = out.clone();
                    group.go(move || {
                        input.iter().take_while(|n| out.send(*n).is_ok()).for_each(drop);
                        Ok(())
                    });
                }
                Ok(())
            });
        })
    }
}

/// Work that takes its time: whether it is a prime.
fn prime_or_zero(n: u64) -> u64 {
    let prime = n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    if prime { n } else { 0 }
}

fn main() {
    gort::run(|| {
        // To its end: every number has come through.
        let pipeline = Pipeline::new(&Context::background());
        let squares = pipeline.map(&pipeline.numbers(1..=1000), 3, |n| n * n);
        let sum: u64 = squares.iter().sum();
        pipeline.stages.wait();
        assert_eq!(sum, 333_833_500);
        println!("pipeline: the sum of 1000 squares is {sum}");

        // Somebody has enough: without the context the numbers would never end.
        let (ctx, cancel) = Context::background().with_cancel();
        let pipeline = Pipeline::new(&ctx);
        let primes = pipeline.map(&pipeline.numbers(2..), 3, prime_or_zero);
        let mut found: Vec<u64> = primes.iter().filter(|n| *n > 0).take(1000).collect();
        cancel.cancel();
        // Though `primes` is there still, all stages end, wherever they wait.
        pipeline.stages.wait();
        drop(primes);
        found.sort_unstable();
        found.dedup();
        assert!(found.len() == 1000 && found.iter().all(|n| prime_or_zero(*n) == *n));
        println!("pipeline: found 1000 primes and was cancelled");

        // Nobody reads, and time runs out.
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(20));
        let pipeline = Pipeline::new(&ctx);
        let unread = pipeline.map(&pipeline.numbers(0..), 2, |n| n);
        pipeline.stages.wait();
        assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
        // What had been sent before is there.
        assert!(unread.iter().count() <= 4);
        println!("pipeline: timed out while nobody read");
    });
}

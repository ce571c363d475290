//! Starting coroutines, and all the ways in which they end.

use crate::screen::{Report, thousands};
use gort::{JoinError, Runtime, channel, go, go_local, scope};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `go!` starts a coroutine, with a name if you like, and `join` gives its value.
pub(crate) fn spawn_and_join(_: &mut Report) -> String {
    let plain = go!(|| 6 * 7);
    let named = go!("greeter", || {
        let name = gort::current().name().map(String::from);
        format!("{} says hello", name.unwrap_or_default())
    });
    assert_eq!(plain.join().unwrap(), 42, "join gives the coroutine's value");
    let said = named.join().unwrap();
    assert_eq!(said, "greeter says hello", "a coroutine knows its name");
    format!("\"{said}\"")
}

const KETTLE: &str = "kettle";

/// Panics are reported on standard error as everywhere. The one that the tour makes is expected,
/// so it is kept off the screen; a hook knows who panics.
pub(crate) fn hush_expected_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if gort::try_current().is_none_or(|here| here.name() != Some(KETTLE)) {
            report(info);
        }
    }));
}

/// A panic unwinds its own stack, no other; whoever joins gets the payload.
pub(crate) fn panic_is_joined(_: &mut Report) -> String {
    let kettle = go!(KETTLE, || -> u32 { panic!("no water") });
    let error = kettle.join().unwrap_err();
    assert!(error.is_panic(), "a panic is told apart from a cancel: {error:?}");
    let text = error.to_string();
    assert!(text.contains("no water"), "the error has the panic's message: {text}");
    text
}

/// Coroutines of a scope may borrow, also mutably, as threads of `std::thread::scope` may.
pub(crate) fn scope_borrows(_: &mut Report) -> String {
    let mut numbers: Vec<u64> = (0..1_000_000).collect();
    let sum: u64 = scope(|s| {
        let parts: Vec<_> = numbers
            .chunks_mut(250_000)
            .map(|part| {
                s.go(move || {
                    part.iter_mut().for_each(|n| *n *= 2);
                    part.iter().sum::<u64>()
                })
            })
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum()
    });
    assert_eq!(sum, 999_999_000_000, "four coroutines double and add up a million numbers");
    assert_eq!(numbers[7], 14, "their changes are in the vector that they borrowed");
    format!("four coroutines change and add up {} borrowed numbers", thousands(numbers.len()))
}

/// `go_local!` starts a coroutine in the caller's own home. They take turns, so what they share
/// need not be `Send`.
pub(crate) fn local_shares_rc(_: &mut Report) -> String {
    let shared = Rc::new(Cell::new(0));
    let handles: Vec<_> = (0..10)
        .map(|_| {
            let shared = shared.clone();
            go_local!(move || {
                for _ in 0..100 {
                    shared.set(shared.get() + 1);
                    gort::yield_now();
                }
            })
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    assert_eq!(shared.get(), 1000, "every step of all ten has counted");
    assert_eq!(Rc::strong_count(&shared), 1, "their clones have been dropped");
    "ten coroutines share an Rc<Cell<_>>".into()
}

/// Sets a flag when it is dropped.
struct Farewell(Arc<AtomicBool>);

impl Farewell {
    fn new() -> (Farewell, Arc<AtomicBool>) {
        let said = Arc::new(AtomicBool::new(false));
        (Farewell(said.clone()), said)
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Relaxed: the join comes after it.
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A cancelled coroutine unwinds from where it waits, so its destructors run.
pub(crate) fn cancel_unwinds(_: &mut Report) -> String {
    let (farewell, said) = Farewell::new();
    let (started, starts) = channel::bounded(1);
    let waiter = go!("waiter", move || {
        let _farewell = farewell;
        started.send(()).unwrap();
        // Nobody will unpark it.
        gort::park();
    });
    starts.recv().unwrap();
    assert!(!waiter.is_finished(), "it waits");
    waiter.cancel();
    let outcome = waiter.join();
    assert!(matches!(outcome, Err(JoinError::Cancelled)), "join tells of the cancel: {outcome:?}");
    assert!(said.load(Ordering::Relaxed), "its destructors have run");
    "a parked coroutine unwinds, its destructors run".into()
}

/// Runtimes live side by side, each with its own Ps. Channels and handles work across them; the
/// end of a runtime is the end of its coroutines.
pub(crate) fn several_runtimes(_: &mut Report) -> String {
    let runtime = |name: &str| Runtime::builder().procs(1).name(name).build().expect("one more runtime");
    let (left, right) = (runtime("left"), runtime("right"));
    let (sender, receiver) = channel::bounded(0);
    let adder = go!(in left, move || receiver.iter().sum::<u32>());
    let feeder = go!(in right, move || (1..=100).for_each(|n| sender.send(n).unwrap()));
    feeder.join().unwrap();
    assert_eq!(adder.join().unwrap(), 5050, "what is sent in one runtime arrives in the other");
    let (farewell, said) = Farewell::new();
    let parked = go!(in right, move || {
        let _farewell = farewell;
        gort::park();
    });
    drop((left, right));
    assert!(parked.join().is_err_and(|error| error.is_cancelled()), "a runtime's end cancels what is in it");
    assert!(said.load(Ordering::Relaxed), "and waits until it has unwound");
    "a channel between two; the end of one ends what is in it".into()
}

//! For `ci/abort.sh`, which compiles it with `panic = "abort"`: with an argument, what has to unwind; without one, what need not.

use gort::time::{sleep, timeout};
use gort::{JoinHandle, channel, go};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(20);

fn parked() -> JoinHandle<()> {
    let (begins, begun) = channel::bounded(0);
    let handle = go!(move || {
        begins.send(()).unwrap();
        gort::park();
    });
    begun.recv().unwrap();
    handle
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        None => gort::run(|| {
            let (tx, rx) = channel::bounded(0);
            let sends: Vec<_> = (0..8)
                .map(|n| {
                    go!({
                        let tx = tx.clone();
                        move || tx.send(n).unwrap()
                    })
                })
                .collect();
            assert_eq!(rx.iter().take(8).sum::<i32>(), 28);
            sends.into_iter().for_each(|handle| handle.join().unwrap());
            timeout(LONG, || sleep(SHORT)).unwrap();
        }),
        Some("cancel") => gort::run(|| {
            let handle = parked();
            handle.cancel();
            let _ = handle.join();
        }),
        Some("timeout") => gort::run(|| timeout(SHORT, || sleep(LONG)).unwrap_or_default()),
        Some("timeout_of_a_thread") => timeout(SHORT, || sleep(LONG)).unwrap_or_default(),
        Some("end_of_the_runtime") => gort::run(|| drop(parked())),
        Some(other) => panic!("no such case: {other}"),
    }
}

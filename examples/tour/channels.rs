//! Channels: the kinds, the end, timeouts, and threads that are no coroutines.

use crate::screen::Report;
use gort::channel::{self, RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use gort::{go, time};
use std::thread;
use std::time::{Duration, Instant};

/// A rendezvous, a queue with a limit, and a queue without.
pub(crate) fn three_kinds(_: &mut Report) -> String {
    let (sender, receiver) = channel::bounded(0);
    let giver = go!(move || sender.send("hand to hand").unwrap());
    assert_eq!(receiver.recv(), Ok("hand to hand"), "a rendezvous passes the message on");
    giver.join().unwrap();

    let (sender, receiver) = channel::bounded(2);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)), "a bounded channel has a limit");
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2], "first in, first out");

    let (sender, receiver) = channel::unbounded();
    (0..10_000).for_each(|n| sender.send(n).unwrap());
    assert_eq!(receiver.len(), 10_000, "an unbounded channel takes all");
    assert!(receiver.try_iter().eq(0..10_000), "and keeps the order");
    "rendezvous, bounded, unbounded".into()
}

/// A channel ends with the last handle of either side, or by `close`, as in Go.
pub(crate) fn close_drains(_: &mut Report) -> String {
    let (sender, receiver) = channel::bounded(8);
    let reader = go!(move || receiver.iter().collect::<Vec<_>>());
    for n in 1..=3 {
        sender.send(n).unwrap();
    }
    let other = sender.clone();
    sender.close();
    assert!(other.send(4).is_err(), "nobody sends on a closed channel");
    assert_eq!(reader.join().unwrap(), [1, 2, 3], "what was sent before is still received");
    let (sender, receiver) = channel::unbounded::<()>();
    drop(sender);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected), "the last sender's end is the end");
    "closed or let go, a channel drains first".into()
}

/// Everything that waits can wait for so long only.
pub(crate) fn timeouts(_: &mut Report) -> String {
    const PATIENCE: Duration = Duration::from_millis(20);
    let start = Instant::now();
    let (sender, receiver) = channel::bounded(0);
    assert_eq!(sender.send_timeout(7, PATIENCE), Err(SendTimeoutError::Timeout(7)), "the message comes back");
    assert_eq!(receiver.recv_timeout(PATIENCE), Err(RecvTimeoutError::Timeout), "nobody sends");
    let slow = go!(|| {
        time::sleep(2 * PATIENCE);
        "done"
    });
    let slow = slow.join_timeout(PATIENCE).expect_err("it sleeps for longer, and its handle comes back");
    gort::park_timeout(PATIENCE);
    assert_eq!(slow.join().unwrap(), "done", "it was not disturbed");
    let elapsed = start.elapsed();
    assert!(elapsed >= 4 * PATIENCE, "no timeout is early: {elapsed:?} for four of {PATIENCE:?}");
    format!("send, receive, join and park gave up in time: {elapsed:.1?}")
}

/// Everything works on plain threads too, and blocks them.
pub(crate) fn plain_threads(_: &mut Report) -> String {
    let (sender, receiver) = channel::bounded(4);
    let (answer, answers) = channel::bounded(0);
    let threads: Vec<_> = (0..2_u64)
        .map(|half| {
            let (sender, answers) = (sender.clone(), answers.clone());
            thread::spawn(move || {
                for n in 0..1000 {
                    sender.send(2 * n + half).unwrap();
                }
                drop(sender);
                answers.recv().unwrap()
            })
        })
        .collect();
    drop(sender);
    let adder = go!(move || {
        let sum: u64 = receiver.iter().sum();
        (0..2).for_each(|_| answer.send(sum).unwrap());
    });
    adder.join().unwrap();
    for thread in threads {
        // Both have their answer, so this takes no longer than their last step.
        assert_eq!(thread.join().unwrap(), 1_999_000, "a thread gets the coroutine's answer");
    }
    "two threads send, a coroutine adds up and answers".into()
}

//! `block_on`, and what can be awaited: ready, pending and woken by anybody, many, dropped, panicking, cancelled.

mod common;

use common::wakes::Wakes;
use common::{Meant, again_with_fixed_homes, builder, panic_again, panic_meant, wait_until, with_each_procs};
use gort::channel::{self, RecvError, TryRecvError, bounded, unbounded};
use gort::context::Context;
use gort::future::{block_on, until};
use gort::{Builder, go};
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// A future that is ready when it has been opened, and keeps the last waker that polled it.
#[derive(Clone, Default)]
struct Gate(Arc<(AtomicBool, Mutex<Option<Waker>>, AtomicUsize)>);

impl Gate {
    fn open(&self) {
        self.0.0.store(true, SeqCst);
        if let Some(waker) = self.waker() {
            waker.wake();
        }
    }

    fn waker(&self) -> Option<Waker> {
        self.0.1.lock().unwrap().clone()
    }

    fn polls(&self) -> usize {
        self.0.2.load(SeqCst)
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<()> {
        self.0.2.fetch_add(1, SeqCst);
        *self.0.1.lock().unwrap() = Some(context.waker().clone());
        if self.0.0.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(waker))
}

#[test]
fn the_tests_with_fixed_homes() {
    again_with_fixed_homes();
}

#[test]
fn what_is_ready_is_returned() {
    assert_eq!(block_on(async { 1 }), 1);
    let thread = std::rc::Rc::new(2);
    gort::run(|| {
        assert_eq!(block_on(async { 1 }), 1);
        // Neither `Send` nor `'static`.
        let (local, text) = (std::rc::Rc::new(1), String::from("text"));
        assert_eq!(block_on(async { *local + text.len() }), 5);
        // One inside another.
        assert_eq!(block_on(async { block_on(async { block_on(async { 3 }) }) }), 3);
    });
    assert_eq!(block_on(async { *thread }), 2);
}

#[test]
fn a_coroutine_a_thread_and_a_timer_wake() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for who in 0..3 {
                let gate = Gate::default();
                let opens = gate.clone();
                let woken = go!(move || block_on(gate));
                wait_until("the future is polled", || opens.polls() > 0);
                match who {
                    0 => drop(go!(move || opens.open())),
                    1 => drop(std::thread::spawn(move || opens.open())),
                    _ => drop(gort::time::Timer::after_func(Duration::from_millis(1), move || opens.open())),
                }
                woken.join().unwrap();
            }
        });
    });
}

#[test]
fn a_plain_thread_is_woken() {
    let gate = Gate::default();
    let opens = gate.clone();
    let thread = std::thread::spawn(move || block_on(gate));
    wait_until("the future is polled", || opens.polls() > 0);
    assert!(!thread.is_finished());
    gort::run(move || opens.open());
    thread.join().unwrap();
}

/// A waker may be woken by value or reference, often, before the poll returns, and after all is over.
#[test]
fn wakes_are_kept_and_late_ones_do_nothing() {
    gort::run(|| {
        let mut polls = 0;
        let waker = block_on(poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            let by_value = context.waker().clone();
            assert!(by_value.will_wake(context.waker()));
            by_value.wake();
            if polls < 100 { Poll::Pending } else { Poll::Ready(context.waker().clone()) }
        }));
        waker.wake_by_ref();
        waker.wake();
        assert_eq!(polls, 100);
        // The token of `park` is not theirs.
        let start = Instant::now();
        gort::park_timeout(Duration::from_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(5));
        // And `unpark` is not a wake.
        let gate = Gate::default();
        let (opens, handle) = (gate.clone(), go!(move || block_on(gate)));
        wait_until("the future is polled", || opens.polls() > 0);
        handle.coroutine().unpark();
        gort::yield_now();
        assert!(!handle.is_finished());
        opens.open();
        handle.join().unwrap();
    });
}

#[test]
fn a_future_that_wakes_itself_lets_others_run() {
    builder(1).build().unwrap().run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let other = stop.clone();
        drop(go!(move || other.store(true, SeqCst)));
        block_on(poll_fn(|context| {
            context.waker().wake_by_ref();
            if stop.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        }));
    });
}

/// Many threads and coroutines wake one task as fast as they can: each wake is followed by a poll that sees what was
/// done before it.
#[test]
fn no_wake_of_a_storm_is_lost() {
    const WAKES: usize = 2000;
    with_each_procs(|runtime| {
        runtime.run(|| {
            for on_thread in [false, true] {
                let (sum, gate) = (Arc::new(AtomicUsize::new(0)), Gate::default());
                let (seen, kept) = (sum.clone(), gate.clone());
                let polls = move || {
                    block_on(poll_fn(|context| {
                        let _ = poll_once(pin!(kept.clone()), context.waker());
                        if seen.load(SeqCst) == 4 * WAKES { Poll::Ready(()) } else { Poll::Pending }
                    }));
                };
                let storm = || {
                    let (sum, gate) = (sum.clone(), gate.clone());
                    move || {
                        for _ in 0..WAKES {
                            sum.fetch_add(1, SeqCst);
                            gate.waker().unwrap().wake();
                        }
                    }
                };
                let waits: Box<dyn FnOnce()> = if on_thread {
                    let thread = std::thread::spawn(polls);
                    Box::new(|| thread.join().unwrap())
                } else {
                    let handle = go!(polls);
                    Box::new(|| handle.join().unwrap())
                };
                wait_until("the future is polled", || gate.polls() > 0);
                let threads = [(); 2].map(|()| std::thread::spawn(storm()));
                let coroutines = [(); 2].map(|()| go!(storm()));
                waits();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                coroutines.into_iter().for_each(|handle| handle.join().unwrap());
            }
        });
    });
}

#[test]
fn many_wait_at_once() {
    with_each_procs(|runtime| {
        let sum = runtime.run(|| {
            let gates: Vec<Gate> = (0..500).map(|_| Gate::default()).collect();
            let waits = gates.iter().cloned().enumerate();
            let handles: Vec<_> = waits
                .map(|(number, gate)| {
                    go!(move || {
                        block_on(gate);
                        number
                    })
                })
                .collect();
            // Some have begun to wait, others not.
            gort::yield_now();
            gates.iter().for_each(Gate::open);
            block_on(async {
                let mut sum = 0;
                for handle in handles {
                    sum += handle.await.unwrap();
                }
                sum
            })
        });
        assert_eq!(sum, 500 * 499 / 2);
    });
}

#[test]
fn a_panic_comes_out() {
    gort::run(|| {
        let handle = go!(|| block_on(async {
            gort::yield_now();
            panic_meant(1)
        }));
        assert!(handle.join().unwrap_err().into_panic().unwrap().is::<Meant>());
        let handle = go!(|| panic_meant(1));
        assert!(block_on(handle.into_future()).unwrap_err().into_panic().unwrap().is::<Meant>());
    });
}

/// Cancelled, or over time: the future is dropped, and wakes that come then do nothing.
#[test]
fn a_wait_can_be_cancelled() {
    gort::run(|| {
        let (gate, dropped) = (Gate::default(), Arc::new(()));
        let (polled, lives) = (gate.clone(), dropped.clone());
        let handle = go!(move || {
            let _lives = lives;
            block_on(gate)
        });
        wait_until("the future is polled", || polled.polls() > 0);
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&dropped), 1);
        polled.open();

        let gate = Gate::default();
        assert!(gort::time::timeout(Duration::from_millis(1), || block_on(gate.clone())).is_err());
        gate.open();
        block_on(gate);

        let (ctx, end) = Context::background().with_cancel();
        let bound = go!(move || ctx.bound(|| block_on(pending::<()>())).is_err());
        gort::yield_now();
        end.cancel();
        assert!(bound.join().unwrap());
    });
}

#[test]
fn a_handle_is_awaited() {
    with_each_procs(|runtime| {
        // From a plain thread, while it runs and when it has ended.
        let (sender, receiver) = bounded::<u32>(0);
        let handle = runtime.spawn(move || receiver.recv().unwrap());
        let waits = std::thread::spawn(move || block_on(handle.into_future()).unwrap());
        sender.send(7).unwrap();
        assert_eq!(waits.join().unwrap(), 7);
        let handle = runtime.spawn(|| 8);
        wait_until("it ends", || handle.is_finished());
        assert_eq!(block_on(handle.into_future()).unwrap(), 8);
        // A cancelled one.
        let handle = runtime.spawn(gort::park);
        handle.cancel();
        assert!(block_on(handle.into_future()).unwrap_err().is_cancelled());
    });
}

/// The waker of the last poll is woken, once; none after the future has been dropped.
#[test]
fn only_the_last_waker_is_woken() {
    gort::run(|| {
        let ((first, first_waker), (last, last_waker)) = (Wakes::new(), Wakes::new());
        let handle = go!(gort::park);
        let (coroutine, mut future) = (handle.coroutine(), handle.into_future());
        for waker in [&first_waker, &first_waker, &last_waker] {
            assert!(poll_once(Pin::new(&mut future), waker).is_pending());
        }
        coroutine.unpark();
        wait_until("it is woken", || last.count() > 0);
        assert!(matches!(poll_once(Pin::new(&mut future), &first_waker), Poll::Ready(Ok(()))));
        assert_eq!((first.count(), last.count()), (0, 1));
        drop(future);

        let handle = go!(gort::park);
        let (coroutine, mut future) = (handle.coroutine(), handle.into_future());
        assert!(poll_once(Pin::new(&mut future), &last_waker).is_pending());
        drop(future);
        coroutine.unpark();
        // Nothing keeps a waker of futures that are gone.
        drop((first_waker, last_waker));
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&last)), (1, 1));
        assert_eq!(last.count(), 1);
    });
}

#[test]
fn messages_are_received() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            for capacity in [0, 1, 16] {
                let (sender, receiver) = bounded(capacity);
                let sends = go!(move || (0..300).for_each(|n| sender.send(n).unwrap()));
                let receive = |receiver: channel::Receiver<u64>| async move {
                    let mut sum = 0;
                    while let Ok(message) = receiver.recv_async().await {
                        sum += message;
                    }
                    sum
                };
                // Two as futures, one of them on a plain thread, and one that blocks.
                let thread = std::thread::spawn({
                    let receive = receive(receiver.clone());
                    move || block_on(receive)
                });
                let blocks = go!({
                    let receiver = receiver.clone();
                    move || receiver.iter().sum::<u64>()
                });
                let sum = block_on(receive(receiver));
                assert_eq!(sum + blocks.join().unwrap() + thread.join().unwrap(), 300 * 299 / 2);
                sends.join().unwrap();
            }
        });
    });
}

#[test]
fn a_dropped_receive_takes_no_message() {
    let (sender, receiver) = unbounded();
    let (count, waker) = Wakes::new();
    {
        let (mut one, mut other) = (pin!(receiver.recv_async()), pin!(receiver.recv_async()));
        assert!(poll_once(one.as_mut(), &waker).is_pending());
        assert!(poll_once(other.as_mut(), &waker).is_pending());
        sender.send(1).unwrap();
        // Both: either may be dropped without another poll.
        assert_eq!(count.count(), 2);
        assert_eq!(poll_once(other.as_mut(), &waker), Poll::Ready(Ok(1)));
        assert!(poll_once(one.as_mut(), &waker).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1);
    sender.send(2).unwrap();
    assert_eq!((count.count(), receiver.try_recv()), (2, Ok(2)));
    // The end of the senders, and a close, are told.
    let waits = std::thread::spawn(move || block_on(receiver.recv_async()));
    drop(sender);
    assert_eq!(waits.join().unwrap(), Err(RecvError));
}

/// Messages and other things that come from the clock.
#[test]
fn the_clock_wakes() {
    gort::run(|| {
        let start = Instant::now();
        let (after, timer) =
            (channel::after(Duration::from_millis(2)), gort::time::Timer::new(Duration::from_millis(4)));
        block_on(async {
            after.recv_async().await.unwrap();
            assert!(start.elapsed() >= Duration::from_millis(2));
            until(&timer).await;
            assert!(start.elapsed() >= Duration::from_millis(4));
        });
        // A select, too, asks when a receiver has a message of the clock.
        let after = channel::after(Duration::from_millis(1));
        gort::select! {
            wait(after) => assert!(after.try_recv().is_ok()),
            default(common::PATIENCE) => panic!("it does not come"),
        }
        let (ctx, _end) = Context::background().with_timeout(Duration::from_millis(1));
        block_on(async { until(ctx.done()).await });
        assert!(ctx.err().is_some());
    });
}

/// A waker that waits, while those who wake it are in the middle of a wait of their own.
#[test]
fn a_waker_may_wait() {
    struct Waits(gort::sync::Mutex<usize>);
    impl Wake for Waits {
        fn wake(self: Arc<Waits>) {
            let mut count = self.0.lock();
            gort::yield_now();
            gort::time::sleep(Duration::from_micros(50));
            *count += 1;
        }
    }
    with_each_procs(|runtime| {
        runtime.run(|| {
            let waits = Arc::new(Waits(gort::sync::Mutex::new(0)));
            let waker = Waker::from(waits.clone());
            for round in 1..=50 {
                let (sender, receiver) = bounded(0);
                let (_other, never) = bounded::<()>(0);
                let mut futures: Vec<_> = (0..3).map(|_| receiver.recv_async()).collect();
                for future in &mut futures {
                    assert!(poll_once(Pin::new(future), &waker).is_pending());
                }
                // The select joins both channels, and tells the futures that it does.
                let selects = go!(move || gort::select! {
                    send(sender, round) -> sent => sent.is_ok(),
                    recv(never) -> _ => false,
                });
                wait_until("all are woken", || *waits.0.lock() == 3 * round);
                let got = block_on(receiver.recv_async());
                assert_eq!((got, selects.join().unwrap()), (Ok(round), true));
            }
        });
    });
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Panics>) {
            panic_meant(1)
        }
    }
    gort::run(|| {
        let waker = Waker::from(Arc::new(Panics));
        let (sender, receiver) = unbounded();
        let mut future = pin!(receiver.recv_async());
        assert!(poll_once(future.as_mut(), &waker).is_pending());
        sender.send(1).unwrap();
        assert_eq!(poll_once(future, &waker), Poll::Ready(Ok(1)));
        let handle = go!(gort::park);
        let (coroutine, mut future) = (handle.coroutine(), handle.into_future());
        assert!(poll_once(Pin::new(&mut future), &waker).is_pending());
        coroutine.unpark();
        while poll_once(Pin::new(&mut future), Waker::noop()).is_pending() {
            gort::yield_now();
        }
    });
}

/// Where it is woken in place, on a plain thread, nothing of its panic reaches who wakes: not even a payload whose drop panics.
#[test]
fn a_waker_whose_panic_panics_when_dropped_harms_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Panics>) {
            panic_again()
        }
    }
    let waker = Waker::from(Arc::new(Panics));
    let (sender, receiver) = bounded(0);
    let mut future = receiver.recv_async();
    assert!(poll_once(Pin::new(&mut future), &waker).is_pending());
    // It joins the channel, and tells the future that it does.
    let sent = gort::select! {
        send(sender, 1) -> _ => true,
        default(Duration::from_millis(1)) => false,
    };
    assert!(!sent);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

/// What a library keeps in a thread-local between polls is there in the next one, wherever that runs. (Where homes are fixed
/// nobody has one to itself.)
#[test]
fn thread_locals_stay_between_polls() {
    thread_local!(static MINE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
    with_each_procs(|runtime| {
        if !runtime.coroutines_move() {
            return;
        }
        runtime.run(|| {
            let handles: Vec<_> = (1..=20)
                .map(|number| {
                    let polls = move || {
                        let mut left = 20;
                        block_on(poll_fn(|context| {
                            assert!(left == 20 || MINE.get() == number);
                            MINE.set(number);
                            left -= 1;
                            let waker = context.waker().clone();
                            drop(go!(move || waker.wake()));
                            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
                        }));
                    };
                    Builder::new().own_home().spawn(polls).unwrap()
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
    });
}

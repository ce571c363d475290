//! Select: one checklist, everywhere.
//!
//! Goal: what the documentation of `select!`, `Select` and the timer channels says holds for every kind of
//! channel, between coroutines, between threads, and between the two. Method: as in `channel.rs`: a
//! check is a function of a kind and a world; the macro at the end makes a test of each combination.
//! What the macro's grammar takes is checked once, below.

mod common;

use common::world::{
    FROM_THREADS, Kind, LIST, MANY_PROCS, ONE, ONE_PROC, RENDEZVOUS, RING, THREADS, TO_THREADS, World, suite,
};
use common::{Counts, Meant, PATIENCE, builder, join_all, panic_meant, quiet_panics, wait_until, watchdog};
use gort::channel::{
    ReadyTimeoutError, Receiver, RecvError, Select, SelectTimeoutError, SelectWaker, SendError, Sender, TryReadyError,
    TryRecvError, TrySelectError, Waitable, after, at, bounded, never, tick, unbounded,
};
use gort::{select, select_biased};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(5);
/// A timeout that a working test never reaches.
const LONG: Duration = Duration::from_secs(60);

/// Runs until something is seen that only a waiting select shows: its peer's operation succeeds.
fn eventually<T>(what: &str, attempt: impl Fn() -> Option<T>) -> T {
    let found = std::cell::Cell::new(None);
    wait_until(what, || {
        found.set(attempt());
        let value = found.take();
        let done = value.is_some();
        found.set(value);
        done
    });
    found.take().unwrap()
}

/// What is possible at once is chosen, whatever stands beside it.
fn ready_cases(k: Kind, _: World) {
    let (s, r) = k.make();
    let (_idle_sender, idle) = k.make::<String>();
    if k.cap() != Some(0) {
        let sent = select! {
            recv(idle) -> _ => unreachable!(),
            send(s, 1) -> result => result,
        };
        assert_eq!(sent, Ok(()));
        let received = select! {
            recv(idle) -> _ => unreachable!(),
            recv(r) -> message => message,
            default => unreachable!(),
        };
        assert_eq!(received, Ok(1));
    }
    select! {
        recv(r) -> _ => unreachable!(),
        recv(idle) -> _ => unreachable!(),
        default => {}
    }
    let start = Instant::now();
    select! {
        recv(r) -> _ => unreachable!(),
        default(SHORT) => assert!(start.elapsed() >= SHORT),
    }
    drop(s);
    select! {
        recv(idle) -> _ => unreachable!(),
        recv(r) -> message => assert_eq!(message, Err(RecvError)),
    }
}

/// A full channel does not take, an empty one does not give; then one does.
fn send_waits(k: Kind, w: World) {
    let (s, r) = k.make();
    (0..k.room()).for_each(|i| s.send(i).unwrap());
    select! {
        send(s, 1000) -> _ => unreachable!(),
        default => {}
    }
    select! {
        send(s, 1000) -> _ => unreachable!(),
        default(SHORT) => {}
    }
    let reader = w.right(move || (0..=k.room()).map(|_| r.recv().unwrap()).collect::<Vec<_>>());
    select! {
        send(s, k.room()) -> result => result.unwrap(),
        default(LONG) => unreachable!(),
    }
    assert_eq!(reader.join(), (0..=k.room()).collect::<Vec<_>>());
    select! {
        send(s, 7) -> result => assert_eq!(result, Err(SendError(7))),
    }
}

fn recv_waits(k: Kind, w: World) {
    let (s, r) = k.make();
    let (_other, never_comes) = k.make::<u8>();
    let writer = w.left(move || (0..100).for_each(|i| s.send(i).unwrap()));
    for i in 0..100 {
        select! {
            recv(never_comes) -> _ => unreachable!(),
            recv(r) -> message => assert_eq!(message, Ok(i)),
            default(LONG) => unreachable!(),
        }
    }
    writer.join();
    select! {
        recv(r) -> message => assert_eq!(message, Err(RecvError)),
        recv(never_comes) -> _ => unreachable!(),
    }
}

/// A plain receive, with and without waiting, meets a select that waits to send; a plain send one that waits to receive.
fn plain_meets_select(k: Kind, w: World) {
    let (s, r) = k.make();
    let (hole, _r) = bounded::<u8>(0);
    (0..if k == LIST { 0 } else { k.room() }).for_each(|i| s.send(i).unwrap());
    let before = s.len();
    let sender = w.left(move || {
        for i in 0..3 {
            select! {
                send(hole, 1) -> _ => unreachable!(),
                send(s, before + i) -> result => result.unwrap(),
            }
        }
    });
    let mut got = Vec::new();
    got.push(r.recv().unwrap());
    got.push(eventually("a message comes", || r.try_recv().ok()));
    got.push(r.recv_timeout(LONG).unwrap());
    got.extend(r.iter());
    sender.join();
    assert_eq!(got, (0..before + 3).collect::<Vec<_>>());

    let (s, r) = k.make();
    let (_s, idle) = bounded::<u8>(0);
    let receiver = w.right(move || {
        for i in 0..3 {
            select! {
                recv(idle) -> _ => unreachable!(),
                recv(r) -> message => assert_eq!(message, Ok(i)),
            }
        }
    });
    s.send(0).unwrap();
    eventually("somebody takes it", || s.try_send(1).ok());
    s.send_timeout(2, LONG).unwrap();
    receiver.join();
}

/// Both sides select.
fn select_meets_select(k: Kind, w: World) {
    let (s, r) = k.make();
    let (back, answers) = k.make();
    let count = w.many(k) / 10;
    let left = w.left(move || {
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            let may_send = if sent < count { &s } else { &bounded(0).0 };
            select! {
                send(may_send, sent) -> result => if sent < count { result.unwrap(); sent += 1; },
                recv(answers) -> message => {
                    assert_eq!(message, Ok(answered));
                    answered += 1;
                }
            }
        }
    });
    let right = w.right(move || {
        for i in 0..count {
            select! {
                recv(r) -> message => assert_eq!(message, Ok(i)),
            }
            select! {
                send(back, i) -> result => result.unwrap(),
            }
        }
    });
    left.join();
    right.join();
}

/// Both ends of one channel in one select: it never meets itself.
fn both_ends(k: Kind, w: World) {
    if k != RENDEZVOUS {
        let (s, r) = k.make();
        for _ in 0..100 {
            select! {
                send(s, 1) -> result => result.unwrap(),
                recv(r) -> message => assert_eq!(message, Ok(1)),
            }
        }
        return;
    }
    let (s, r) = bounded(0);
    select! {
        send(s, 1) -> _ => unreachable!(),
        recv(r) -> _ => unreachable!(),
        default => {}
    }
    select! {
        send(s, 1) -> _ => unreachable!(),
        recv(r) -> _ => unreachable!(),
        default(SHORT) => {}
    }
    // Several of them meet one another.
    let (tasks, rounds) = (4, w.many(k) / 20);
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let running = Arc::new(AtomicUsize::new(tasks));
    let all = (0..tasks).map(|i| {
        let (s, r, counts, running) = (s.clone(), r.clone(), counts.clone(), running.clone());
        let body = move || {
            for _ in 0..rounds {
                select! {
                    send(s, i) -> result => {
                        result.unwrap();
                        counts[0].fetch_add(1, SeqCst);
                    }
                    recv(r) -> message => {
                        assert_ne!(message.unwrap(), i, "it met itself");
                        counts[1].fetch_add(1, SeqCst);
                    }
                    // The last one has nobody to meet.
                    default(if running.load(SeqCst) == 1 { Duration::ZERO } else { SHORT }) => {}
                }
            }
            running.fetch_sub(1, SeqCst);
        };
        if i % 2 == 0 { w.left(body) } else { w.right(body) }
    });
    join_all(all.collect::<Vec<_>>());
    assert_eq!(counts[0].load(SeqCst), counts[1].load(SeqCst));
    assert!(counts[0].load(SeqCst) > 0);
}

/// One channel several times in a select.
fn same_channel_twice(k: Kind, w: World) {
    let (s, r) = k.make();
    let count = w.many(k) / 10;
    let reader = w.right(move || {
        let mut hits = [0; 3];
        for i in 0..count {
            select! {
                recv(r) -> message => { assert_eq!(message, Ok(i)); hits[0] += 1; }
                recv(r) -> message => { assert_eq!(message, Ok(i)); hits[1] += 1; }
                recv(&r) -> message => { assert_eq!(message, Ok(i)); hits[2] += 1; }
            }
        }
        assert!(r.recv().is_err());
        assert_eq!(hits.iter().sum::<usize>(), count);
    });
    let writer = w.left(move || {
        for i in 0..count {
            select! {
                send(s, i) -> result => result.unwrap(),
                send(s, i) -> result => result.unwrap(),
            }
        }
    });
    writer.join();
    reader.join();
}

/// Who waits is woken by the end of a channel, of either kind.
fn ends_wake(k: Kind, w: World) {
    for close in [false, true] {
        let (s, r) = k.make::<u32>();
        let (other, idle) = bounded::<u8>(0);
        let receiver = w.right(move || {
            select! {
                recv(idle) -> _ => unreachable!(),
                recv(r) -> message => message,
            }
        });
        if close {
            assert!(s.close());
        }
        drop(s);
        assert_eq!(receiver.join(), Err(RecvError));
        drop(other);
        if k == LIST {
            continue;
        }
        let (s, r) = k.make();
        (0..k.room()).for_each(|_| s.send(1).unwrap());
        let sender = w.left(move || {
            select! {
                send(s, 7) -> result => result,
            }
        });
        if close {
            assert!(r.close());
        }
        drop(r);
        assert_eq!(sender.join(), Err(SendError(7)));
    }
}

/// Of several that are possible each has its share.
fn fairness_when_ready(_: Kind, _: World) {
    const COUNT: usize = 10_000;
    let (s1, r1) = unbounded();
    let (s2, r2) = bounded(COUNT);
    for _ in 0..COUNT {
        s1.send(()).unwrap();
        s2.send(()).unwrap();
    }
    let mut hits = [0; 4];
    for _ in 0..COUNT {
        select! {
            recv(r1) -> _ => hits[0] += 1,
            recv(r2) -> _ => hits[1] += 1,
            recv(after(Duration::ZERO)) -> _ => hits[2] += 1,
            recv(tick(Duration::ZERO)) -> _ => hits[3] += 1,
        }
    }
    assert!(hits.iter().all(|&hits| hits >= COUNT / 8), "{hits:?}");
    // Two that stand side by side among others that are not possible: as often the one as the other.
    let (_s, idle) = unbounded::<()>();
    let mut hits = [0; 2];
    for _ in 0..COUNT {
        s1.send(()).unwrap();
        s2.try_send(()).ok();
        select! {
            recv(r1) -> _ => hits[0] += 1,
            recv(r2) -> _ => hits[1] += 1,
            recv(idle) -> _ => unreachable!(),
            recv(idle) -> _ => unreachable!(),
            recv(idle) -> _ => unreachable!(),
        }
    }
    assert!(hits.iter().all(|&hits| hits >= COUNT * 2 / 5), "{hits:?}");
    // Sends have theirs as well.
    let (s3, _r3) = unbounded();
    let mut hits = [0; 2];
    for _ in 0..COUNT {
        select! {
            send(s1, ()) -> _ => hits[0] += 1,
            send(s3, ()) -> _ => hits[1] += 1,
        }
    }
    assert!(hits.iter().all(|&hits| hits >= COUNT / 4), "{hits:?}");
    // And without it the first has all.
    for _ in 0..100 {
        select_biased! {
            recv(r1) -> _ => {}
            recv(after(Duration::ZERO)) -> _ => unreachable!(),
            default => unreachable!(),
        }
    }
}

/// Who waits in a select is served like who waits otherwise: each has its share before long.
fn fairness_when_waiting(k: Kind, w: World) {
    const RECEIVERS: usize = 4;
    let share = w.many(k) / 10 / RECEIVERS;
    let (s, r) = k.make();
    let (_hole, idle) = bounded::<u8>(0);
    let shares: Arc<[AtomicUsize; RECEIVERS]> = Arc::default();
    let readers = (0..RECEIVERS).map(|me| {
        let (r, idle, shares) = (r.clone(), idle.clone(), shares.clone());
        w.right(move || {
            loop {
                select! {
                    recv(idle) -> _ => unreachable!(),
                    recv(r) -> message => match message {
                        Ok(()) => _ = shares[me].fetch_add(1, SeqCst),
                        Err(_) => return,
                    }
                }
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    let received = {
        let shares = shares.clone();
        move || shares.iter().map(|own| own.load(SeqCst)).sum::<usize>()
    };
    let writer = w.left({
        let received = received.clone();
        move || {
            let begin = Instant::now();
            let mut sent = 0;
            while shares.iter().any(|own| own.load(SeqCst) < share) {
                s.send(()).unwrap();
                sent += 1;
                // One at a time, so that they wait.
                while received() < sent {
                    gort::yield_now();
                }
                assert!(begin.elapsed() < PATIENCE, "{shares:?} after {sent} messages");
            }
            sent
        }
    });
    let sent = writer.join();
    join_all(readers);
    assert_eq!(received(), sent);
}

/// A message whose making panics.
fn failing<T>() -> T {
    panic_meant(5)
}

/// A message is made once, and only if its case is chosen; one whose making panics was not sent.
fn messages_are_made_when_chosen(k: Kind, w: World) {
    let (s, r) = k.make();
    let (hole, _hole_end) = bounded(0);
    let made = AtomicUsize::new(0);
    let make = || made.fetch_add(1, SeqCst);
    let value = String::from("one of two");
    let reader = w.right(move || {
        let first = r.recv().unwrap();
        (first, r)
    });
    select! {
        send(hole, (value, make())) -> _ => unreachable!(),
        send(s, (value, make())) -> result => result.unwrap(),
    }
    let (first, r) = reader.join();
    assert_eq!(first, ("one of two".to_owned(), 0));

    // The reader goes on waiting.
    quiet_panics();
    let reader = w.right(move || {
        let (_s, idle) = bounded::<u8>(0);
        let plain = r.recv().unwrap();
        let selected = select! {
            recv(r) -> message => message.unwrap(),
            recv(idle) -> _ => unreachable!(),
        };
        (plain, selected)
    });
    for _ in 0..2 {
        for _ in 0..3 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                select! {
                    send(s, failing()) -> _ => unreachable!(),
                }
            }));
            assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&Meant(5)));
        }
        s.send((String::new(), 9)).unwrap();
    }
    let (plain, selected) = reader.join();
    assert_eq!((plain.1, selected.1), (9, 9));
    if k.cap().is_some_and(|cap| cap > 0) {
        // No place got lost.
        let (s, r) = k.make();
        for _ in 0..3 {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                select! {
                    send(s, failing()) -> _ => unreachable!(),
                }
            }));
        }
        (0..k.room()).for_each(|i| s.try_send(i).unwrap());
        assert!(s.is_full() && s.try_send(0).is_err());
        assert_eq!(r.try_iter().count(), k.room());
    }
}

/// While one place is promised, others find the channel full, and get it when it is given up.
fn promised_places(k: Kind, w: World) {
    let (s, r) = k.make();
    let mut select = Select::new();
    select.send(&s);
    let operation = select.select();
    assert!(s.try_send(1).is_err());
    let waits = {
        let s = s.clone();
        w.left(move || s.send(2))
    };
    let selects = {
        let s = s.clone();
        w.left(move || select! { send(s, 3) -> result => result })
    };
    // A receiver may meet them, though a place is promised.
    let mut got = vec![r.recv().unwrap(), r.recv().unwrap()];
    got.sort_unstable();
    assert_eq!(got, [2, 3]);
    waits.join().unwrap();
    selects.join().unwrap();
    let reader = {
        let r = r.clone();
        w.right(move || r.recv())
    };
    operation.send(&s, 4).unwrap();
    assert_eq!(reader.join(), Ok(4));
    // Given up: who waits has it.
    let operation = select.select();
    let waits = {
        let s = s.clone();
        w.left(move || s.send(5))
    };
    quiet_panics();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _operation = operation;
        panic_meant(1);
    }));
    waits.join().unwrap();
    assert_eq!(r.recv(), Ok(5));
    // Closed in between: the message comes back.
    let operation = select.select();
    r.close();
    assert_eq!(operation.send(&s, 6), Err(SendError(6)));
}

/// Every message is dropped once, however it ends.
fn drops(k: Kind, w: World) {
    let (dropped, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (s, r) = k.make();
    let make = {
        let (dropped, made) = (dropped.clone(), made.clone());
        move || {
            made.fetch_add(1, SeqCst);
            Counts(dropped.clone())
        }
    };
    let count = w.many(k) / 20;
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (s, make) = (s.clone(), make.clone());
            w.left(move || {
                for i in 0..count {
                    select! {
                        send(s, make()) -> result => drop(result),
                        send(s, make()) -> result => drop(result),
                        default(Duration::from_micros(i as u64 % 50)) => {}
                    }
                }
            })
        })
        .collect();
    drop(s);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let r = r.clone();
            w.right(move || {
                for i in 0.. {
                    select! {
                        recv(r) -> message => if message.is_err() { return },
                        default(Duration::from_micros(i % 50)) => {}
                    }
                    if i > count as u64 {
                        return;
                    }
                }
            })
        })
        .collect();
    drop(r);
    join_all(writers);
    join_all(readers);
    assert_eq!(made.load(SeqCst), dropped.load(SeqCst));
}

/// A coroutine that is cancelled in a select has done nothing.
fn cancel(k: Kind, w: World) {
    let (s, r) = k.make::<u32>();
    let (full, _full_end) = bounded::<u32>(0);
    let began = Arc::new(AtomicBool::new(false));
    let waits = {
        let (r, began) = (r.clone(), began.clone());
        gort::go!(move || {
            began.store(true, SeqCst);
            select! {
                recv(r) -> message => message.unwrap(),
                send(full, 1) -> _ => unreachable!(),
            }
        })
    };
    wait_until("it runs", || began.load(SeqCst));
    waits.cancel();
    assert!(waits.join().unwrap_err().is_cancelled());
    let writer = w.left(move || s.send(5).unwrap());
    assert_eq!(r.recv(), Ok(5));
    writer.join();
}

/// A thousand cases; the one that becomes possible is chosen.
fn thousand_cases(k: Kind, w: World) {
    let channels: Vec<(Sender<usize>, Receiver<usize>)> = (0..1000).map(|_| k.make()).collect();
    let senders: Vec<_> = channels.iter().map(|(s, _)| s.clone()).collect();
    let order = [999, 0, 500, 15, 16, 17, 998, 1];
    let (next, turns) = bounded(0);
    let writer = w.left(move || {
        for i in order {
            turns.recv().unwrap();
            senders[i].send(i).unwrap();
        }
        senders
    });
    let mut select = Select::new();
    channels.iter().for_each(|(_, r)| {
        select.recv(r);
    });
    assert!(select.try_select().is_err());
    for i in order {
        next.send(()).unwrap();
        let operation = select.select();
        assert_eq!(operation.index(), i);
        assert_eq!(operation.recv(&channels[i].1), Ok(i));
    }
    writer.join();
    assert_eq!(select.select_timeout(SHORT).err(), Some(SelectTimeoutError));
    assert_eq!(select.ready_timeout(SHORT), Err(ReadyTimeoutError));
}

/// `Select`, all of it.
fn dynamic(k: Kind, w: World) {
    let (s1, r1) = k.make::<u32>();
    let (s2, r2) = k.make::<[u64; 40]>();
    let mut select = Select::new();
    assert_eq!((select.recv(&r1), select.recv(&r2)), (0, 1));
    assert_eq!(select.try_select().err(), Some(TrySelectError));
    assert_eq!(select.try_ready(), Err(TryReadyError));
    let soon = || Instant::now() + SHORT;
    assert_eq!(select.select_timeout(SHORT).err(), Some(SelectTimeoutError));
    assert_eq!(select.select_deadline(soon()).err(), Some(SelectTimeoutError));
    assert_eq!(select.ready_timeout(SHORT), Err(ReadyTimeoutError));
    assert_eq!(select.ready_deadline(soon()), Err(ReadyTimeoutError));
    let writer = w.left(move || {
        s1.send(7).unwrap();
        s2.send([8; 40]).unwrap();
        (s1, s2)
    });
    let mut seen = [false; 2];
    for _ in 0..2 {
        let operation = select.select_deadline(Instant::now() + LONG).unwrap();
        let index = operation.index();
        seen[index] = true;
        match index {
            0 => assert_eq!(operation.recv(&r1), Ok(7)),
            _ => assert_eq!(operation.recv(&r2), Ok([8; 40])),
        }
    }
    assert_eq!(seen, [true; 2]);
    let (s1, s2) = writer.join();
    select.remove(0);
    drop(s1);
    assert_eq!(select.try_select().err(), Some(TrySelectError));
    let again = select.recv(&r1);
    assert_eq!(again, 2);
    assert_eq!(select.ready(), again);
    let operation = select.select_timeout(LONG).unwrap();
    assert_eq!((operation.index(), operation.recv(&r1)), (again, Err(RecvError)));
    drop(s2);
    select.remove(again);
    assert_eq!(select.select().recv(&r2), Err(RecvError));
}

/// `ready` is told of whatever makes an operation possible.
fn ready_is_told(k: Kind, w: World) {
    // A receive: by a send, by a select that sends, by the end.
    for how in 0..3 {
        let (s, r) = k.make::<u32>();
        let writer = w.left(move || match how {
            0 => s.send(1).unwrap(),
            1 => select! { send(s, 1) -> result => result.unwrap() },
            _ => drop(s),
        });
        let mut select = Select::new();
        select.recv(&r);
        loop {
            assert_eq!(select.ready_timeout(LONG), Ok(0));
            match r.try_recv() {
                Err(TryRecvError::Empty) => continue,
                other => break assert_eq!(other.is_err(), how == 2),
            }
        }
        writer.join();
    }
    if k == LIST {
        return;
    }
    for how in 0..3 {
        let (s, r) = k.make::<usize>();
        (0..k.room()).for_each(|i| s.send(i).unwrap());
        let reader = w.right(move || match how {
            0 => r.iter().count(),
            1 => {
                let mut count = 0;
                while select! { recv(r) -> message => message.is_ok() } {
                    count += 1;
                }
                count
            }
            _ => 0,
        });
        let mut select = Select::new();
        select.send(&s);
        while let Err(error) = {
            assert_eq!(select.ready(), 0);
            s.try_send(1)
        } {
            if error.is_disconnected() {
                assert_eq!(how, 2);
                break;
            }
        }
        drop(s);
        assert_eq!(reader.join(), if how == 2 { 0 } else { k.room() + 1 });
    }
}

/// Many readers that only ask when they may.
fn ready_stress(k: Kind, w: World) {
    let (s, r) = k.make();
    let (s2, r2) = k.make();
    let count = w.many(k) / 20;
    let writers = [s, s2].map(|s| w.left(move || (0..count).for_each(|i| s.send(i).unwrap())));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (r, r2) = (r.clone(), r2.clone());
            w.right(move || {
                let (mut got, mut ended) = (0, [false; 2]);
                loop {
                    let mut select = Select::new();
                    let both = [&r, &r2];
                    let open: Vec<_> = (0..2).filter(|&i| !ended[i]).collect();
                    if open.is_empty() {
                        return got;
                    }
                    open.iter().for_each(|&i| {
                        select.recv(both[i]);
                    });
                    let at = open[select.ready()];
                    match both[at].try_recv() {
                        Ok(_) => got += 1,
                        Err(TryRecvError::Empty) => {}
                        Err(TryRecvError::Disconnected) => ended[at] = true,
                    }
                }
            })
        })
        .collect();
    join_all(writers);
    assert_eq!(join_all(readers).iter().sum::<usize>(), 2 * count);
}

fn timers(_: Kind, w: World) {
    let start = Instant::now();
    let late = after(LONG);
    assert_eq!((late.capacity(), late.len(), late.is_empty(), late.is_full()), (Some(1), 0, true, false));
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
    let once = after(SHORT);
    let time = once.recv().unwrap();
    assert!(time >= start + SHORT && Instant::now() >= time);
    assert_eq!(once.try_recv(), Err(TryRecvError::Empty));
    assert!(once.recv_timeout(SHORT).unwrap_err().is_timeout());
    let when = Instant::now() + SHORT;
    let exact = at(when);
    wait_until("it is due", || exact.is_full());
    assert_eq!((exact.len(), exact.clone().recv(), exact.len()), (1, Ok(when), 0));
    assert_eq!(at(start).try_recv(), Ok(start));
    assert_eq!(after(Duration::MAX).try_recv(), Err(TryRecvError::Empty));

    let ticks = tick(SHORT);
    let mut last = ticks.recv().unwrap();
    for _ in 0..3 {
        let next = ticks.recv().unwrap();
        assert!(next >= last + SHORT);
        last = next;
    }
    // Those that nobody took are left out.
    std::thread::sleep(SHORT * 5);
    let start = Instant::now();
    assert!(ticks.try_recv().is_ok());
    // The next comes after a period; there is one more while we look.
    assert!(ticks.try_recv().is_err() || start.elapsed() >= SHORT);

    // Several wait for one message: one gets it, the others wait on until the close.
    let once = after(SHORT);
    let waiters: Vec<_> = (0..4)
        .map(|i| {
            let once = once.clone();
            let body = move || {
                if i < 2 {
                    once.recv().is_ok()
                } else {
                    select! { recv(once) -> time => time.is_ok() }
                }
            };
            if i % 2 == 0 { w.left(body) } else { w.right(body) }
        })
        .collect();
    wait_until("one has it", || once.is_empty() && start.elapsed() > SHORT && waiters.iter().any(|t| t.is_finished()));
    once.close();
    assert_eq!(join_all(waiters).into_iter().filter(|&got| got).count(), 1);

    let silent = never::<u8>();
    assert_eq!((silent.capacity(), silent.len(), silent.is_empty(), silent.is_full()), (Some(0), 0, true, true));
    assert!(silent.recv_timeout(SHORT).unwrap_err().is_timeout());
    assert!(silent.try_recv().is_err());
    let start = Instant::now();
    select! {
        recv(silent) -> _ => unreachable!(),
        recv(after(SHORT)) -> time => assert!(time.unwrap() >= start + SHORT),
        recv(after(LONG)) -> _ => unreachable!(),
    }
    let mut select = Select::new();
    let soon = after(SHORT);
    select.recv(&silent);
    select.recv(&soon);
    assert_eq!(select.ready(), 1);
    assert!(select.select().recv(&soon).is_ok());
    assert!(soon.same_channel(&soon.clone()) && !soon.same_channel(&after(SHORT)));
}

/// A message of the clock that is due before a deadline comes before it: also if both pass in one wait, and also if the
/// receiver has its turn later than both.
fn timers_come_before_deadlines(_: Kind, _: World) {
    // In the shortest times the clock comes to them between the first look and the wait.
    let short = (0..1_000).map(|i| i % 20).chain([50, 1_000, 3_000, 10_000]);
    for time in short.map(|micros| Duration::from_micros(1 + micros)) {
        assert!(after(time).recv_timeout(time).is_ok(), "{time:?}");
        assert!(tick(time).recv_timeout(time).is_ok(), "{time:?}");
        let when = Instant::now() + time;
        assert_eq!(at(when).recv_deadline(when), Ok(when), "{time:?}");
        let once = after(time);
        let got = select! { recv(once) -> got => got.is_ok(), default(time) => false };
        assert!(got, "{time:?}");
        for asks in [false, true] {
            let when = Instant::now() + time;
            let once = at(when);
            let mut select = Select::new();
            select.recv(&once);
            if asks {
                assert_eq!(select.ready_deadline(when), Ok(0), "{time:?}");
            } else {
                assert_eq!(select.select_deadline(when).map(|op| op.recv(&once)).ok(), Some(Ok(when)), "{time:?}");
            }
        }
        let start = Instant::now();
        assert!(after(LONG).recv_timeout(time).is_err_and(|e| e.is_timeout()), "{time:?}");
        assert!(start.elapsed() >= time);
    }
}

/// The same of a receiver that is kept from its turn by one who computes.
#[test]
fn a_late_receiver_has_the_message_of_the_clock() {
    builder(1).preemption(false).time_slice(LONG).build().unwrap().run(|| {
        for selects in [false, true] {
            let began = Arc::new(AtomicBool::new(false));
            let waits = {
                let began = began.clone();
                gort::go!(move || {
                    let once = after(SHORT);
                    began.store(true, SeqCst);
                    if selects {
                        select! { recv(once) -> time => time.is_ok(), default(SHORT * 2) => false }
                    } else {
                        once.recv_timeout(SHORT * 2).is_ok()
                    }
                })
            };
            wait_until("it has begun", || began.load(SeqCst));
            // Its first call may have made way for us.
            (0..4).for_each(|_| gort::yield_now());
            let start = Instant::now();
            while start.elapsed() < SHORT * 4 {
                std::hint::spin_loop();
            }
            assert!(waits.join().unwrap(), "selects: {selects}");
        }
    });
}

/// The end of a coroutine as a case.
fn join_handles(_: Kind, w: World) {
    let (_stop, stopped) = bounded::<()>(0);
    for round in 0..100 {
        let (go, may) = bounded(0);
        let worker = gort::go!(move || {
            if round % 2 == 0 {
                may.recv().unwrap();
            }
            round
        });
        if round % 2 == 0 {
            select! {
                wait(worker) => unreachable!(),
                recv(stopped) -> _ => unreachable!(),
                default => {}
            }
            go.send(()).unwrap();
        }
        select! {
            wait(worker) => assert_eq!(worker.join().unwrap(), round),
            recv(stopped) -> _ => unreachable!(),
        }
    }
    // Several watch one, from either side, and then it is joined.
    let (go, may) = bounded::<()>(0);
    let worker = Arc::new(gort::go!(move || may.recv()));
    let watchers: Vec<_> = (0..8)
        .map(|i| {
            let worker = worker.clone();
            let body = move || {
                let (_s, idle) = bounded::<u8>(0);
                select! {
                    wait(*worker) => {}
                    recv(idle) -> _ => unreachable!(),
                }
                assert!(worker.is_finished());
            };
            if i % 2 == 0 { w.left(body) } else { w.right(body) }
        })
        .collect();
    select! {
        wait(worker.as_ref()) => unreachable!(),
        default(SHORT) => {}
    }
    drop(go);
    join_all(watchers);
    let worker = Arc::into_inner(worker);
    if let Some(worker) = worker {
        assert_eq!(worker.join().unwrap(), Err(RecvError));
    }
}

/// A waitable of the user's.
#[derive(Default)]
struct Latch(Mutex<(bool, Vec<SelectWaker>)>);

impl Latch {
    fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(SelectWaker::wake);
    }
}

impl Waitable for Latch {
    fn is_ready(&self) -> bool {
        self.0.lock().unwrap().0
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        let mut state = self.0.lock().unwrap();
        if !state.0 {
            state.1.push(waker);
        }
        !state.0
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.0.lock().unwrap().1.retain(|other| *other != waker);
    }
}

fn waitables(k: Kind, w: World) {
    let (s, r) = k.make::<usize>();
    let latch = Arc::new(Latch::default());
    let waiters: Vec<_> = (0..4)
        .map(|i| {
            let (latch, r) = (latch.clone(), r.clone());
            let body = move || {
                select! {
                    wait(latch) => true,
                    recv(r) -> _ => unreachable!(),
                }
            };
            if i % 2 == 0 { w.left(body) } else { w.right(body) }
        })
        .collect();
    // A handle is one too.
    select! {
        wait(r) => unreachable!(),
        wait(latch.as_ref()) => unreachable!(),
        default(SHORT) => {}
    }
    latch.open();
    assert!(join_all(waiters).into_iter().all(|opened| opened));
    assert!(latch.0.lock().unwrap().1.is_empty(), "wakers are forgotten");
    let writer = w.left(move || s.send(1).unwrap());
    let got = eventually("the message comes", || {
        select! {
            wait(r) => r.try_recv().ok(),
            default(LONG) => unreachable!(),
        }
    });
    assert_eq!(got, 1);
    writer.join();
    let (s, r) = k.make::<usize>();
    drop(r);
    select! {
        wait(s) => assert!(s.send(1).is_err()),
    }
}

/// A select that also waits for the other end of its channel does not meet itself there: it waits, until its deadline or
/// until somebody comes.
fn waits_for_its_own_other_end(k: Kind, w: World) {
    let _watchdog = watchdog(PATIENCE, "a select that waits for the other end of its channel");
    let (s, r) = k.make::<u8>();
    select_biased! {
        recv(r) -> _ => unreachable!(),
        wait(s) => unreachable!(),
        default(SHORT) => {}
    }
    select_biased! {
        wait(s) => unreachable!(),
        recv(r) -> _ => unreachable!(),
        default(SHORT) => {}
    }
    select_biased! {
        send(s, 1) -> _ => unreachable!(),
        wait(r) => unreachable!(),
        default(SHORT) => {}
    }
    select_biased! {
        wait(r) => unreachable!(),
        wait(r) => unreachable!(),
        send(s, 1) -> _ => unreachable!(),
        default(SHORT) => {}
    }
    for wait_first in [false, true] {
        let (mut receives, mut sends) = (Select::new(), Select::new());
        if wait_first {
            receives.wait(&s);
            sends.wait(&r);
        }
        receives.recv(&r);
        sends.send(&s);
        if !wait_first {
            receives.wait(&s);
            sends.wait(&r);
        }
        assert_eq!(receives.select_timeout(SHORT).err(), Some(SelectTimeoutError));
        assert_eq!(sends.select_timeout(SHORT).err(), Some(SelectTimeoutError));
        assert_eq!(receives.ready_timeout(SHORT), Err(ReadyTimeoutError));
        assert_eq!(sends.ready_timeout(SHORT), Err(ReadyTimeoutError));
    }
    // Two of them meet, though each watches what the other joins.
    let (s2, r2) = (s.clone(), r.clone());
    let other = w.left(move || {
        loop {
            select_biased! {
                wait(s2) => if s2.try_send(1).is_ok() { return },
                recv(r2) -> message => return assert_eq!(message, Ok(1)),
            }
        }
    });
    loop {
        select_biased! {
            wait(s) => if s.try_send(1).is_ok() { break },
            recv(r) -> message => break assert_eq!(message, Ok(1)),
            default(LONG) => unreachable!(),
        }
    }
    other.join();
    // So do one of them and one that only asks.
    let (s2, r2) = (s.clone(), r.clone());
    let other = w.left(move || {
        select_biased! {
            wait(s2) => unreachable!("nobody else receives"),
            recv(r2) -> message => message,
        }
    });
    eventually("somebody receives", || {
        let mut asks = Select::new();
        asks.send(&s);
        asks.ready_timeout(LONG).unwrap();
        s.try_send(2).ok()
    });
    assert_eq!(other.join(), Ok(2));
}

/// One that says that it may be ready, and never is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Restless {
    /// It wakes the select at once.
    Wakes,
    /// It does not let it wait.
    Refuses,
}

impl Waitable for Restless {
    fn is_ready(&self) -> bool {
        false
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        waker.wake();
        *self == Restless::Wakes
    }
    fn unwatch(&self, _: SelectWaker) {}
}

/// A limit of time that is a plain thread's, too.
#[test]
fn a_bound_ends_a_thread_whose_waitable_is_restless() {
    let _watchdog = watchdog(PATIENCE, "a select that is woken for nothing all the time");
    for restless in [Restless::Wakes, Restless::Refuses] {
        for asks in [false, true] {
            let mut select = Select::new();
            select.wait(&restless);
            let ended = gort::time::timeout(SHORT, || if asks { select.ready() } else { select.select().index() });
            assert_eq!(ended, Err(gort::time::Elapsed), "{restless:?}");
        }
    }
}

/// A waitable that lets nobody wait holds up neither the deadline nor a cancel, nor the others.
fn waitables_are_restless(k: Kind, w: World) {
    let _watchdog = watchdog(PATIENCE, "a select that is woken for nothing all the time");
    for restless in [Restless::Wakes, Restless::Refuses] {
        let (s, r) = k.make::<u8>();
        select! {
            recv(r) -> _ => unreachable!(),
            wait(restless) => unreachable!(),
            default(SHORT) => {}
        }
        let mut select = Select::new();
        select.recv(&r);
        select.wait(&restless);
        assert_eq!(select.select_timeout(SHORT).err(), Some(SelectTimeoutError));
        assert_eq!(select.ready_timeout(SHORT), Err(ReadyTimeoutError));
        let sender = w.right(move || s.send(1).map(|()| s).unwrap());
        select! {
            recv(r) -> message => assert_eq!(message, Ok(1)),
            wait(restless) => unreachable!(),
        }
        let _open = sender.join();
        for asks in [false, true] {
            let waits = move |r: &Receiver<u8>| {
                let mut select = Select::new();
                select.recv(r);
                select.wait(&restless);
                if asks { select.ready() } else { select.select().index() }
            };
            assert_eq!(gort::time::timeout(SHORT, || waits(&r)), Err(gort::time::Elapsed));
            if gort::try_current().is_some() {
                let r = r.clone();
                let waits = gort::go!(move || waits(&r));
                gort::time::sleep(SHORT);
                waits.cancel();
                assert!(waits.join().unwrap_err().is_cancelled());
            }
        }
    }
}

/// One that panics in one of its methods.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Panics {
    Watch,
    ReadyAt,
    Unwatch,
}

impl Waitable for Panics {
    fn is_ready(&self) -> bool {
        false
    }
    fn watch(&self, _: SelectWaker) -> bool {
        if *self == Panics::Watch { panic_meant(0) } else { true }
    }
    fn unwatch(&self, _: SelectWaker) {
        if *self == Panics::Unwatch {
            panic_meant(0)
        }
    }
    fn ready_at(&self) -> Option<Instant> {
        if *self == Panics::ReadyAt { panic_meant(0) } else { None }
    }
}

/// A waitable that panics takes nothing with it: no node stays in a queue, no waker with others, the task can wait again,
/// and what a peer has sent meanwhile is dropped.
fn waitables_panic(k: Kind, w: World) {
    quiet_panics();
    for bad in [Panics::Watch, Panics::ReadyAt, Panics::Unwatch] {
        let (s, r) = k.make::<Arc<()>>();
        let (full, rest) = bounded(1);
        full.send(0).unwrap();
        let latch = Latch::default();
        let meant = |f: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(f)).unwrap_err().is::<Meant>(), "{bad:?}");
        meant(&|| {
            select! {
                recv(r) -> _ => unreachable!(),
                wait(latch) => unreachable!(),
                send(full, 1) -> _ => unreachable!(),
                wait(bad) => unreachable!(),
                recv(r) -> _ => unreachable!(),
                default(SHORT) => unreachable!(),
            }
        });
        assert_eq!(latch.0.lock().unwrap().1.len(), 0, "wakers are forgotten, {bad:?}");
        meant(&|| {
            let mut select = Select::new();
            select.wait(&latch);
            select.recv(&r);
            select.wait(&bad);
            select.wait(&latch);
            let _ = select.ready_timeout(SHORT);
        });
        assert_eq!(latch.0.lock().unwrap().1.len(), 0, "wakers are forgotten, {bad:?}");
        // Nobody is left in a queue: as deep a frame as before may lie there now.
        if k.cap() == Some(0) {
            assert!(s.try_send(Arc::new(())).is_err(), "{bad:?}");
        }
        assert_eq!((rest.try_recv(), rest.try_recv()), (Ok(0), Err(TryRecvError::Empty)), "{bad:?}");
        // It can wait, for what the other side sends.
        let message = Arc::new(());
        let copy = message.clone();
        let sender = w.right(move || s.send(copy).map(|()| s).unwrap());
        drop(r.recv().unwrap());
        let s = sender.join();
        // A message that comes to a select that panics.
        if bad == Panics::Unwatch {
            let copy = message.clone();
            let sender = w.right(move || drop(s.send(copy)));
            meant(&|| {
                select! {
                    wait(bad) => unreachable!(),
                    recv(r) -> message => match message {
                        // It was there before: then it did not wait.
                        Ok(_) => panic_meant(0),
                        Err(_) => unreachable!(),
                    },
                    wait(bad) => unreachable!(),
                }
            });
            // One that came before the select had joined the queue waits there.
            r.close();
            sender.join();
        }
        // Or it is in the channel.
        drop(r);
        assert_eq!(Arc::strong_count(&message), 1, "{bad:?}");
    }
}

suite! {
    every_world every_kind {
        ready_cases recv_waits plain_meets_select select_meets_select both_ends same_channel_twice ends_wake
        fairness_when_waiting messages_are_made_when_chosen drops thousand_cases dynamic ready_is_told ready_stress
        waitables waitables_panic waitables_are_restless
    }
}

mod without_room {
    crate::suite! { every_world [rendezvous RENDEZVOUS] { waits_for_its_own_other_end } }
}

mod bounded {
    crate::suite! { every_world [rendezvous RENDEZVOUS one ONE ring RING] { send_waits } }
}

mod with_room_for_several {
    crate::suite! { every_world [ring RING list LIST] { fairness_when_ready } }
}

mod one_place {
    crate::suite! { every_world [one ONE] { promised_places timers timers_come_before_deadlines } }
}

mod in_coroutines {
    crate::suite! { worlds_in_coroutines every_kind { cancel } }
}

mod in_coroutines_once {
    crate::suite! { worlds_in_coroutines [one ONE] { join_handles } }
}

#[allow(
    clippy::unnecessary_literal_unwrap,
    clippy::redundant_closure_call,
    clippy::never_loop,
    clippy::match_single_binding,
    clippy::needless_return,
    reason = "it is about what may be written"
)]
mod grammar {
    //! What crossbeam's grammar takes, ours takes.

    use super::*;
    use std::ops::Deref;

    #[test]
    fn handles_are_found() {
        let (s, r) = unbounded::<i32>();
        select! {
            send(&&&&s, 0) -> _ => {}
        }
        select! {
            recv(&&&&r) -> _ => {}
        }
        select! {
            recv(Some(&r).unwrap_or(&never())) -> _ => unreachable!(),
            default => {}
        }
        let (boxed_s, boxed_r) = (Box::new(s), Box::new(r));
        select! {
            send(*boxed_s, 0) -> _ => {}
            recv(*boxed_r) -> _ => unreachable!(),
        }
        select! {
            recv(boxed_r) -> message => assert_eq!(message, Ok(0)),
        }
        struct Mine<T>(T);
        impl<T> Deref for Mine<T> {
            type Target = T;
            fn deref(&self) -> &T {
                &self.0
            }
        }
        let (s, r) = bounded::<i32>(0);
        let (s, r) = (Mine(s), Mine(r));
        select! {
            send(s, 0) -> _ => unreachable!(),
            recv(r) -> _ => unreachable!(),
            default => {}
        }
        let (s, r) = unbounded::<i32>();
        select! {
            recv((move || r)()) -> _ => unreachable!(),
            send((move || s)(), 0) -> result => assert!(result.is_ok()),
        }
        select! {
            recv(after(Duration::ZERO)) -> time => assert!(time.is_ok()),
        }
    }

    #[test]
    fn bodies() {
        let (s, r) = unbounded::<i32>();
        let value = select! {
            recv(r) -> _ => 3.0,
            recv(r) -> _ => loop { break 4.0 },
            recv(r,) -> _ => match 7 + 3 { _ => unreachable!() },
            default => 7.
        };
        assert_eq!(value, 7.);
        let text: String = select! {
            recv(r) -> _ => "a".into(),
            send(s, 0,) -> _ => "b".to_owned(),
            default() => "c".to_string(),
        };
        assert_eq!(text, "b");
        select! {
            recv(r) -> message => if message.is_err() { unreachable!() },
            default => ()
        }
        for i in 0..3 {
            select! {
                recv(r) -> _ => unreachable!(),
                default => if i == 1 { break } else { continue }
            }
        }
        fn early(r: &Receiver<i32>) -> Result<i32, RecvError> {
            select! {
                recv(r) -> message => Ok(message? + 1),
                default => return Ok(5),
            }
        }
        assert_eq!(early(&r), Ok(5));
        s.send(1).unwrap();
        assert_eq!(early(&r), Ok(2));
        // Bodies may move what they like, the handles too.
        let once = Box::new(());
        select! {
            recv(r) -> r => drop((r, once)),
            default => drop((r, s, once)),
        }
        let (s, r) = unbounded::<(i32, i32)>();
        s.send((1, 2)).unwrap();
        select! {
            recv(r) -> message => { let (a, b) = message.unwrap(); drop(r); assert_eq!(a + b, 3) }
        }
        select! {
            send(s, (1, 2)) -> result => { drop(s); result.unwrap_err(); }
        }
    }

    #[test]
    fn defaults() {
        let (s, r) = bounded::<i32>(0);
        select! { recv(r) -> _ => unreachable!(), default => {} }
        select! { send(s, 0) -> _ => unreachable!(), default() => {} }
        select! { default => {} }
        select! { default() => {} }
        let start = Instant::now();
        select! { default(SHORT) => {} }
        select! { default(SHORT) => {}, recv(r) -> _ => unreachable!() }
        assert!(start.elapsed() >= SHORT * 2);
        select_biased! { default => {} recv(r) -> _ => unreachable!() }
    }

    #[test]
    fn nesting_and_types() {
        let (s, r) = unbounded();
        select! {
            recv(r) -> _ => {}
            default => select! {
                send(s, ()) -> result => { let _: Result<(), SendError<()>> = result; }
                default(LONG) => select! { default => {} }
            }
        }
        select! {
            recv(r) -> message => { let _: Result<(), RecvError> = message; }
        }
        // By the path that crossbeam's users write.
        gort::channel::select! { default => {} }
        gort::channel::select_biased! { default => {} }
    }

    #[test]
    fn forty_eight_cases() {
        let (_s, idle) = unbounded::<u8>();
        let (s, r) = unbounded();
        s.send(47).unwrap();
        let got = select! {
            recv(idle) -> _ => 0, recv(idle) -> _ => 1, recv(idle) -> _ => 2, recv(idle) -> _ => 3,
            recv(idle) -> _ => 4, recv(idle) -> _ => 5, recv(idle) -> _ => 6, recv(idle) -> _ => 7,
            recv(idle) -> _ => 8, recv(idle) -> _ => 9, recv(idle) -> _ => 10, recv(idle) -> _ => 11,
            recv(idle) -> _ => 12, recv(idle) -> _ => 13, recv(idle) -> _ => 14, recv(idle) -> _ => 15,
            recv(idle) -> _ => 16, recv(idle) -> _ => 17, recv(idle) -> _ => 18, recv(idle) -> _ => 19,
            recv(idle) -> _ => 20, recv(idle) -> _ => 21, recv(idle) -> _ => 22, recv(idle) -> _ => 23,
            recv(idle) -> _ => 24, recv(idle) -> _ => 25, recv(idle) -> _ => 26, recv(idle) -> _ => 27,
            recv(idle) -> _ => 28, recv(idle) -> _ => 29, recv(idle) -> _ => 30, recv(idle) -> _ => 31,
            recv(idle) -> _ => 32, recv(idle) -> _ => 33, recv(idle) -> _ => 34, recv(idle) -> _ => 35,
            recv(idle) -> _ => 36, recv(idle) -> _ => 37, recv(idle) -> _ => 38, recv(idle) -> _ => 39,
            recv(idle) -> _ => 40, recv(idle) -> _ => 41, recv(idle) -> _ => 42, recv(idle) -> _ => 43,
            recv(idle) -> _ => 44, recv(idle) -> _ => 45, recv(idle) -> _ => 46, recv(r) -> m => m.unwrap(),
        };
        assert_eq!(got, 47);
    }
}

mod misuse {
    use super::*;

    #[track_caller]
    fn panics(what: &str, f: impl FnOnce()) {
        let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string())).unwrap();
        assert!(text.contains(what), "{text}");
    }

    #[test]
    fn panics_as_crossbeams() {
        let (s, r) = unbounded::<i32>();
        let (other_s, other_r) = unbounded::<i32>();
        panics("no operations have been added to `Select`", || _ = Select::new().select());
        panics("no operations have been added to `Select`", || _ = Select::new().ready());
        assert!(Select::new().try_select().is_err() && Select::new().select_timeout(SHORT).is_err());
        let mut select = Select::default();
        select.send(&s);
        panics("passed a sender that wasn't selected", || _ = select.select().send(&other_s, 1));
        panics("passed a receiver that wasn't selected", || _ = select.select().recv(&r));
        panics("dropped `SelectedOperation` without completing the operation", || _ = select.select());
        panics("index out of bounds", || select.remove(1));
        select.remove(0);
        panics("no operation with this index", || select.remove(0));
        let mut select = Select::new();
        select.recv(&r);
        for _ in 0..3 {
            s.send(1).unwrap();
        }
        panics("passed a receiver that wasn't selected", || _ = select.select().recv(&other_r));
        panics("passed a sender that wasn't selected", || _ = select.select().send(&s, 1));
        panics("dropped `SelectedOperation` without completing the operation", || _ = select.select());
        assert!(r.is_empty());
    }

    #[test]
    fn errors_look_like_crossbeams() {
        assert_eq!(TrySelectError.to_string(), "all operations in select would block");
        assert_eq!(SelectTimeoutError.to_string(), "timed out waiting on select");
        fn is_error<E: std::error::Error + Send + Sync + Copy + Eq + 'static>(_: E) {}
        is_error(TrySelectError);
        is_error(SelectTimeoutError);
        is_error(TryReadyError);
        is_error(ReadyTimeoutError);
    }
}

/// A receiver that a select has chosen gets the message, however long that is in the making: its deadline
/// passes meanwhile and changes nothing. Nor does a cancel.
#[test]
fn a_receiver_waits_for_a_message_in_the_making() {
    builder(2).build().unwrap().run(|| {
        for selects in [false, true] {
            let (s, r) = bounded(0);
            let (making, made) = bounded::<()>(0);
            let chosen = Arc::new(AtomicBool::new(false));
            let sender = {
                let chosen = chosen.clone();
                gort::go!(move || {
                    select! {
                        send(s, { chosen.store(true, SeqCst); made.recv().unwrap(); 5 }) -> result => result.unwrap(),
                    }
                })
            };
            let receiver = {
                let chosen = chosen.clone();
                gort::go!(move || {
                    loop {
                        let received = if selects {
                            select! { recv(r) -> message => Some(message.unwrap()), default(SHORT) => None }
                        } else {
                            r.recv_timeout(SHORT).ok()
                        };
                        // While nobody receives the send cannot be chosen: so an attempt that failed was before.
                        if received.is_some() || chosen.load(SeqCst) {
                            return received;
                        }
                    }
                })
            };
            wait_until("the send is chosen", || chosen.load(SeqCst));
            receiver.cancel();
            gort::time::sleep(SHORT * 4);
            assert!(!receiver.is_finished());
            making.send(()).unwrap();
            assert_eq!(receiver.join().unwrap(), Some(5));
            sender.join().unwrap();
        }
    });
}

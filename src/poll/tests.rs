//! Goal: each promise of `Poller`, with descriptors made for the occasion. Method: the test
//! thread waits through `wait::begin` as any plain thread, or lets others wait and polls itself.

use crate::os::clock::{self, NEVER};
use crate::os::epoll;
use crate::poll::desc::{Direction, Registrations};
use crate::poll::word::{Place, Side};
use crate::poll::{BATCH, Poller, SMALL_BATCH};
use crate::sched::wait::{self, WaitReason, Waiter, Wake};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn poller() -> Arc<Poller> {
    Arc::new(Poller::new().expect("epoll"))
}

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().expect("socketpair");
    one.set_nonblocking(true).expect("non-blocking");
    (one, other)
}

fn ready(waiter: Waiter) {
    // SAFETY: `poll` hands out waiters that it has just claimed, each once.
    unsafe { waiter.ready() };
}

/// Takes note of what is there already, so that only later edges count.
fn settle(poller: &Poller) {
    while poller.poll(0, &mut ready) > 0 {}
}

/// Runs `f` while a thread polls.
fn while_polled<T>(poller: &Arc<Poller>, f: impl FnOnce() -> T) -> T {
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Acquire) {
                poller.poll(NEVER, &mut ready);
            }
        });
        let result = f();
        end.store(true, Ordering::Release);
        poller.wake();
        result
    })
}

#[test]
fn an_edge_wakes_the_waiter() {
    let poller = poller();
    let (one, mut other) = pair();
    let handle = poller.register(one.as_fd(), true).expect("register");
    let side = handle.record().side(Direction::Read);
    assert_eq!(poller.registered(), 1);
    while_polled(&poller, || {
        for byte in 0..100 {
            let seen = side.observe();
            assert_eq!((&one).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            let wait = wait::begin();
            let place = side.publish(seen, wait.waiter());
            other.write_all(&[byte]).expect("write");
            match place {
                Some(_) => assert_eq!(wait.park(WaitReason::Read, NEVER), Wake::Ready),
                // The registration itself was an edge (it is writable).
                None => drop(wait.abandon()),
            }
            let mut got = [0];
            assert_eq!((&one).read(&mut got).expect("woken for a byte"), 1);
            assert_eq!(got, [byte]);
        }
    });
    drop(handle);
    assert_eq!(poller.registered(), 0);
    assert_eq!(poller.waiting(), 0);
}

#[test]
fn registering_what_is_ready_is_an_edge() {
    let poller = poller();
    let (one, mut other) = pair();
    other.write_all(b"early").expect("write");
    let handle = poller.register(one.as_fd(), true).expect("register");
    let side = handle.record().side(Direction::Read);
    let seen = side.observe();
    poller.poll(NEVER, &mut ready);
    assert!(!side.is_current(seen));
    let wait = wait::begin();
    assert_eq!(side.publish(seen, wait.waiter()), None);
    assert_eq!(wait.abandon(), None);
}

#[test]
fn writes_have_edges_when_one_has_had_to_wait() {
    let poller = poller();
    let (one, mut other) = pair();
    let registrations = Registrations::default();
    let (record, _) = registrations.ensure(&poller, one.as_fd(), Direction::Read).expect("register");
    let side = record.side(Direction::Write);
    let before = side.observe();
    for byte in 0..10 {
        other.write_all(&[byte]).expect("write");
        poller.poll(NEVER, &mut ready);
    }
    assert!(side.is_current(before), "an edge that nobody has asked for");
    assert!(registrations.find(&poller, Direction::Read).is_some());
    assert!(registrations.find(&poller, Direction::Write).is_none());

    let (same, seen) = registrations.ensure(&poller, one.as_fd(), Direction::Write).expect("register for writes");
    assert!(std::ptr::eq(same, record));
    let seen = seen.expect("to wait with");
    poller.poll(NEVER, &mut ready);
    assert!(!side.is_current(seen), "there was room, of which nobody was told");
    assert!(registrations.find(&poller, Direction::Write).is_some());
    assert_eq!(registrations.ensure(&poller, one.as_fd(), Direction::Write).expect("there").1, None);
}

#[test]
fn both_directions_wait_at_once() {
    let poller = poller();
    let (one, mut other) = pair();
    while (&one).write(&[0; 4096]).is_ok() {}
    let handle = poller.register(one.as_fd(), true).expect("register");
    settle(&poller);
    std::thread::scope(|scope| {
        for direction in [Direction::Read, Direction::Write] {
            let side = handle.record().side(direction);
            scope.spawn(move || {
                assert!(super::wait::wait(side, direction, side.observe(), NEVER));
            });
        }
        while poller.waiting() < 2 {
            std::thread::yield_now();
        }
        other.write_all(b"x").expect("write");
        let mut woken = 0;
        while woken < 1 {
            woken += poller.poll(NEVER, &mut ready);
        }
        assert_eq!(poller.waiting(), 1, "the reader only");
        let mut sink = vec![0; 1 << 20];
        while woken < 2 {
            let _ = other.read(&mut sink).expect("read");
            woken += poller.poll(0, &mut ready);
        }
    });
}

#[test]
fn everybody_on_a_side_is_woken() {
    const WAITERS: usize = 8;
    let poller = poller();
    let (one, mut other) = pair();
    let handle = poller.register(one.as_fd(), true).expect("register");
    settle(&poller);
    let side = handle.record().side(Direction::Read);
    std::thread::scope(|scope| {
        for _ in 0..WAITERS {
            scope.spawn(|| {
                assert!(super::wait::wait(side, Direction::Read, side.observe(), NEVER));
            });
        }
        while poller.waiting() < WAITERS {
            std::thread::yield_now();
        }
        other.write_all(b"x").expect("write");
        assert_eq!(poller.poll(NEVER, &mut ready), WAITERS);
    });
    assert_eq!(poller.waiting(), 0);
}

#[test]
fn a_timeout_takes_the_waiter_out() {
    let poller = poller();
    let (one, _other) = pair();
    let handle = poller.register(one.as_fd(), true).expect("register");
    settle(&poller);
    let side = handle.record().side(Direction::Read);
    for _ in 0..3 {
        let deadline = clock::after(Duration::from_micros(200));
        assert!(!super::wait::wait(side, Direction::Read, side.observe(), deadline));
        assert!(clock::now() >= deadline);
        assert_eq!(poller.waiting(), 0);
    }
    // The slot is free, the second waiter goes to the list, and each can leave.
    let (first, second) = (wait::begin(), wait::begin());
    let seen = side.observe();
    assert_eq!(side.publish(seen, first.waiter()), Some(Place::Slot));
    assert_eq!(side.publish(seen, second.waiter()), Some(Place::Overflow));
    assert_eq!(poller.waiting(), 2);
    side.retract(seen, first.waiter(), Place::Slot);
    assert_eq!(poller.waiting(), 1);
    side.retract(seen, second.waiter(), Place::Overflow);
    assert_eq!(poller.waiting(), 0);
    assert_eq!((first.abandon(), second.abandon()), (None, None));
}

#[test]
fn a_nudge_wakes_without_an_event() {
    let poller = poller();
    let (one, _other) = pair();
    let handle = poller.register(one.as_fd(), true).expect("register");
    settle(&poller);
    let side = handle.record().side(Direction::Read);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| super::wait::wait(side, Direction::Read, side.observe(), NEVER));
        while poller.waiting() == 0 {
            std::thread::yield_now();
        }
        super::nudge(side);
        assert!(waiter.join().expect("no panic"));
    });
}

#[test]
fn a_stale_event_is_dropped() {
    let poller = poller();
    let ((one, _other), (new, _peer)) = (pair(), pair());
    // Has the record serve another descriptor. Others use the pool as well, so it may take a few times to get that very record.
    let (tag, handle) = (0..1_000_000)
        .find_map(|_| {
            let old = poller.register(one.as_fd(), true).expect("register");
            let (tag, record) = (old.tag(), old.record());
            drop(old);
            let handle = poller.register(new.as_fd(), true).expect("register");
            std::ptr::eq(handle.record(), record).then_some((tag, handle))
        })
        .expect("the same record");
    // What an event looks like that was fetched before the record was given back.
    let (late, mut sender) = pair();
    poller.backend.add(late.as_raw_fd(), tag, true).expect("add");
    settle(&poller);
    let side = handle.record().side(Direction::Read);
    let seen = side.observe();
    for _ in 0..10 {
        sender.write_all(b"x").expect("write");
        assert_eq!(poller.poll(NEVER, &mut ready), 0);
    }
    assert!(side.is_current(seen));
    poller.backend.delete(late.as_raw_fd()).expect("delete");
}

#[test]
fn a_closed_descriptor_gives_no_events_although_a_duplicate_lives() {
    let poller = poller();
    let (one, mut other) = pair();
    let duplicate = one.try_clone().expect("dup");
    let handle = poller.register(one.as_fd(), true).expect("register");
    settle(&poller);
    drop(handle);
    drop(one);
    other.write_all(b"x").expect("write");
    poller.poll(clock::after(Duration::from_millis(5)), &mut |_| panic!("nobody waits"));
    drop(duplicate);
}

#[test]
fn drained_until_an_edge_and_never_after_the_end() {
    let poller = poller();
    let (one, mut other) = pair();
    let handle = poller.register(one.as_fd(), true).expect("register");
    settle(&poller);
    let side: &Side = handle.record().side(Direction::Read);
    assert!(!side.is_drained(side.observe()), "not before a short read");
    side.note_drained(side.observe());
    assert!(side.is_drained(side.observe()));

    let before = side.observe();
    other.write_all(b"x").expect("write");
    poller.poll(NEVER, &mut ready);
    assert!(!side.is_drained(side.observe()));
    side.note_drained(before);
    assert!(!side.is_drained(side.observe()), "a note that is older than the edge says nothing");
    side.note_drained(side.observe());
    assert!(side.is_drained(side.observe()));

    drop(other);
    poller.poll(NEVER, &mut ready);
    side.note_drained(side.observe());
    assert!(!side.is_drained(side.observe()), "the end has been announced");
}

#[test]
fn wake_breaks_a_sleep_now_or_next() {
    let poller = poller();
    // Before the sleep, several times: one sleep is broken, and a peek does not use it up.
    for _ in 0..5 {
        poller.wake();
    }
    assert_eq!(poller.poll(0, &mut ready), 0);
    assert_eq!(poller.poll(0, &mut ready), 0);
    assert_eq!(poller.poll(NEVER, &mut ready), 0);
    let until = clock::after(Duration::from_millis(2));
    assert_eq!(poller.poll(until, &mut ready), 0);
    assert!(clock::now() >= until, "five calls break one sleep");

    // During the sleep, with somebody peeking all the time.
    let (asleep, end) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Acquire) {
                poller.poll(0, &mut ready);
            }
        });
        let sleeper = scope.spawn(|| {
            for _ in 0..1000 {
                asleep.store(true, Ordering::Release);
                poller.poll(NEVER, &mut ready);
            }
            end.store(true, Ordering::Release);
        });
        while !sleeper.is_finished() {
            if asleep.swap(false, Ordering::AcqRel) {
                poller.wake();
            }
        }
    });
}

#[test]
fn timeouts_are_kept_with_and_without_pwait2() {
    let poller = poller();
    for coarse in [false, true] {
        let was_coarse = epoll::is_coarse();
        epoll::set_coarse(coarse || was_coarse);
        for micros in [1, 300, 1500] {
            let until = clock::after(Duration::from_micros(micros));
            assert_eq!(poller.poll(until, &mut ready), 0);
            assert!(clock::now() >= until, "too early by {} ns", until - clock::now());
        }
        // A time that has passed is a look.
        assert_eq!(poller.poll(1, &mut ready), 0);
        epoll::set_coarse(was_coarse);
    }
}

#[test]
fn more_events_than_a_batch_and_two_pollers_at_once() {
    const MANY: usize = BATCH + SMALL_BATCH + 3;
    let poller = poller();
    let pairs: Vec<_> = (0..MANY).map(|_| pair()).collect();
    let handles: Vec<_> = pairs.iter().map(|(one, _)| poller.register(one.as_fd(), true).expect("register")).collect();
    settle(&poller);
    settle(&poller);
    let waits: Vec<_> = handles
        .iter()
        .map(|handle| {
            let side = handle.record().side(Direction::Read);
            let wait = wait::begin();
            let mut place = None;
            while place.is_none() {
                place = side.publish(side.observe(), wait.waiter());
            }
            wait
        })
        .collect();
    assert_eq!(poller.waiting(), MANY);
    for (_, other) in &pairs {
        let mut other = other;
        other.write_all(b"x").expect("write");
    }
    // While this thread has the buffer, another makes do with the small one.
    let guard = poller.peek_buffer.try_lock().expect("free");
    let few = std::thread::scope(|scope| scope.spawn(|| poller.poll(0, &mut ready)).join().expect("no panic"));
    assert_eq!(few, SMALL_BATCH);
    drop(guard);
    let batch = poller.poll(0, &mut ready);
    assert_eq!(batch, BATCH);
    assert_eq!(poller.poll(0, &mut ready), MANY - BATCH - SMALL_BATCH);
    for wait in waits {
        assert_eq!(wait.park(WaitReason::Read, NEVER), Wake::Ready);
    }
}

#[test]
fn one_descriptor_in_two_pollers() {
    let (first, second) = (poller(), poller());
    let (one, mut other) = pair();
    let handles =
        [first.register(one.as_fd(), true).expect("register"), second.register(one.as_fd(), true).expect("register")];
    settle(&first);
    settle(&second);
    let sides = handles.each_ref().map(|handle| handle.record().side(Direction::Read));
    let waits = [wait::begin(), wait::begin()];
    for (side, wait) in sides.iter().zip(&waits) {
        assert_eq!(side.publish(side.observe(), wait.waiter()), Some(Place::Slot));
    }
    other.write_all(b"x").expect("write");
    assert_eq!(first.poll(NEVER, &mut ready), 1);
    assert_eq!(second.waiting(), 1, "each poller wakes its own");
    assert_eq!(second.poll(NEVER, &mut ready), 1);
    for wait in waits {
        assert_eq!(wait.park(WaitReason::Read, NEVER), Wake::Ready);
    }
}

#[test]
fn a_record_moves_from_a_poller_that_has_ended() {
    // Goal: a descriptor is in no more pollers than are in use, and an event of the one that it has left wakes nobody. Method: a waiter
    // that was left in the first poller, which ends; one that waits in the second.
    let (first, second) = (poller(), poller());
    let (one, mut other) = pair();
    let registrations = Registrations::default();
    let (record, _) = registrations.ensure(&first, one.as_fd(), Direction::Read).expect("register");
    settle(&first);
    let side = record.side(Direction::Read);
    let left = wait::begin();
    let (seen, waiter) = (side.observe(), left.waiter());
    let place = side.publish(seen, waiter).expect("nothing has happened since");
    first.end();
    assert!(std::ptr::eq(registrations.find(&first, Direction::Read).expect("still there"), record));
    let (moved, before) = registrations.ensure(&second, one.as_fd(), Direction::Write).expect("register");
    assert!(std::ptr::eq(moved, record) && registrations.find(&first, Direction::Read).is_none());
    assert_eq!((first.registered(), second.registered()), (0, 1));
    assert_eq!(Arc::strong_count(&first), 1);
    assert_eq!(left.park(WaitReason::Read, NEVER), Wake::Ready, "who was left there is woken");
    settle(&second);
    let before = before.expect("made by this call");
    assert!(!record.side(Direction::Write).is_current(before), "it is writable, which is an edge");
    let wait = wait::begin();
    assert_eq!(side.publish(side.observe(), wait.waiter()), Some(Place::Slot));
    side.retract(seen, waiter, place);
    other.write_all(b"x").expect("write");
    assert_eq!(first.poll(0, &mut ready), 0);
    assert_eq!(second.poll(NEVER, &mut ready), 1);
    assert_eq!(wait.park(WaitReason::Read, NEVER), Wake::Ready);
    drop(registrations);
    assert_eq!(second.registered(), 0);
}

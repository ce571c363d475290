//! Selects: one case takes effect, in both who select and whom they meet; nobody sleeps on while
//! a case is possible; nobody touches a frame that is gone.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::channel::{Case, Chan, Chosen, Order, Refused, Until, choose, ready as wait_until_ready};
use crate::sched::cancel;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::time::Duration;

/// A message; loom checks that what was written before the send is seen after the receive.
type Message = &'static loom::cell::Cell<u32>;
type Channel = NonNull<Chan<Message>>;

struct State {
    channels: [Channel; 2],
    contents: [loom::cell::Cell<u32>; 3],
    /// How often each message was received.
    received: [loom::sync::atomic::AtomicU32; 3],
}

fn channels(tasks: usize, caps: [usize; 2]) -> World<Tasks<State>> {
    Tasks::new(
        tasks,
        State {
            channels: caps.map(Chan::allocate),
            contents: std::array::from_fn(|_| loom::cell::Cell::new(0)),
            received: std::array::from_fn(|_| loom::sync::atomic::AtomicU32::new(0)),
        },
    )
}

const WITHIN: Until = Until::Elapsed(Duration::from_nanos(1));

/// A case: the channel, and the message if it is a send.
type Wanted = (usize, Option<usize>);

impl State {
    fn chan(&self, channel: usize) -> &Chan<Message> {
        // SAFETY: the handles are dropped last.
        unsafe { self.channels[channel].as_ref() }
    }

    fn message(&'static self, at: usize) -> Message {
        self.contents[at].set(at as u32 + 1);
        &self.contents[at]
    }

    fn came(&self, message: Message) {
        self.received[message.get() as usize - 1].fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
    }

    fn received(&self, at: usize) -> u32 {
        self.received[at].load(loom::sync::atomic::Ordering::Relaxed)
    }

    fn send(&'static self, channel: usize, at: usize, until: Until) -> Result<(), Refused> {
        let mut message = self.message(at);
        // SAFETY: the message is valid, and plain data.
        unsafe { self.chan(channel).send(&mut message, until) }
    }

    fn recv(&self, channel: usize, until: Until) -> Result<(), Refused> {
        self.chan(channel).recv(until).map(|message| self.came(message))
    }

    fn cases(&self, wanted: &[Wanted], slot: &mut MaybeUninit<Message>) -> Vec<Case<'_>> {
        let slot = slot.as_mut_ptr().cast();
        wanted
            .iter()
            .map(|&(channel, send)| match send {
                Some(_) => Case::send(self.chan(channel)),
                None => Case::recv(self.chan(channel)).with_slot(slot),
            })
            .collect()
    }

    /// Selects and completes. Which case, and whether it was not disconnected.
    fn select(&'static self, wanted: &[Wanted], until: Until) -> Option<(usize, bool)> {
        let mut slot = MaybeUninit::uninit();
        let cases = self.cases(wanted, &mut slot);
        // SAFETY: the slot has room for a message.
        let (at, chosen) = unsafe { choose(&cases, until, Order::Fair) }?;
        let (channel, send) = wanted[at];
        Some(match (send, chosen) {
            (Some(message), chosen) => {
                let mut message = self.message(message);
                // SAFETY: it was chosen above; the message is valid.
                (at, unsafe { self.chan(channel).send_chosen(&mut message, chosen) }.is_ok())
            }
            (None, Chosen::Received) => {
                // SAFETY: the message is in the slot.
                self.came(unsafe { slot.assume_init() });
                (at, true)
            }
            (None, _) => (at, false),
        })
    }
}

fn end(tasks: &'static Tasks<State>) {
    for channel in tasks.shared.channels {
        // SAFETY: one handle of each side.
        unsafe {
            Chan::drop_sender(channel);
            Chan::drop_receiver(channel);
        }
    }
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

/// A channel is closed while a select waits for it and another.
pub(super) fn close() {
    let world = channels(1, [0, 0]);
    let closer = world.spawn(|tasks| {
        tasks.shared.chan(1).close();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert_eq!(tasks.shared.select(&[(0, None), (1, None)], Until::Done), Some((1, false)));
    closer.join().unwrap();
    end(tasks);
}

/// The deadline passes while a message comes.
pub(super) fn timeout() {
    let world = channels(2, [0, 0]);
    let timer = world.spawn(|tasks| tasks.run_timers());
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.send(1, 0, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    match tasks.shared.select(&[(0, None), (1, None)], WITHIN) {
        Some(found) => assert_eq!(found, (1, true)),
        None => tasks.shared.recv(1, Until::Done).unwrap(),
    }
    sender.join().unwrap();
    timer.join().unwrap();
    assert_eq!(tasks.shared.received(0), 1);
    end(tasks);
}

/// The select is cancelled while a message comes: it has it, or has taken nothing.
pub(super) fn cancel() {
    let world = channels(2, [0, 1]);
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.send(1, 0, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let found = catch_cancel(|| tasks.shared.select(&[(0, None), (1, None)], Until::Done));
    canceller.join().unwrap();
    sender.join().unwrap();
    assert_eq!(tasks.shared.received(0) == 1, found.is_some());
    assert_eq!(tasks.shared.chan(1).len(), usize::from(found.is_none()), "the message is nowhere, or twice");
    if found.is_none() {
        tasks.shared.recv(1, Until::Now).unwrap();
    }
    end(tasks);
}

/// Two selects, each of which could send to the other or receive from it.
pub(super) fn facing() {
    let world = channels(2, [0, 0]);
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        let (_, done) = tasks.shared.select(&[(0, None), (1, Some(1))], Until::Done).unwrap();
        assert!(done);
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let (at, done) = tasks.shared.select(&[(0, Some(0)), (1, None)], Until::Done).unwrap();
    assert!(done);
    other.join().unwrap();
    let expected = if at == 0 { [1, 0] } else { [0, 1] };
    assert_eq!([tasks.shared.received(0), tasks.shared.received(1)], expected);
    end(tasks);
}

/// Two selects that both send and receive on one channel: they meet each other, not themselves.
pub(super) fn both_ends() {
    let world = channels(2, [0, 0]);
    let other = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        let (_, done) = tasks.shared.select(&[(0, Some(1)), (0, None)], Until::Done).unwrap();
        assert!(done);
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let (at, done) = tasks.shared.select(&[(0, Some(0)), (0, None)], Until::Done).unwrap();
    assert!(done);
    other.join().unwrap();
    let expected = if at == 0 { [1, 0] } else { [0, 1] };
    assert_eq!([tasks.shared.received(0), tasks.shared.received(1)], expected);
    end(tasks);
}

/// One channel twice in a select; two messages come, one after the other.
pub(super) fn twice() {
    let world = channels(2, [0, 0]);
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.send(0, 0, Until::Done).unwrap();
        tasks.shared.send(0, 1, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    assert!(tasks.shared.select(&[(0, None), (0, None)], Until::Done).unwrap().1);
    tasks.shared.recv(0, Until::Done).unwrap();
    sender.join().unwrap();
    assert_eq!([tasks.shared.received(0), tasks.shared.received(1)], [1, 1]);
    end(tasks);
}

/// Two senders at once, on two channels: one is chosen, the other waits on.
pub(super) fn two_senders() {
    let world = channels(3, [0, 0]);
    let senders = [0, 1].map(|at| {
        world.spawn(move |tasks| {
            tasks.become_coroutine(1 + at);
            tasks.shared.send(at, at, Until::Done).unwrap();
        })
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let (at, done) = tasks.shared.select(&[(0, None), (1, None)], Until::Done).unwrap();
    assert!(done);
    tasks.shared.recv(1 - at, Until::Done).unwrap();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_eq!([tasks.shared.received(0), tasks.shared.received(1)], [1, 1]);
    end(tasks);
}

/// A select waits for room, which a receive makes; another sender wants it too.
pub(super) fn full_ring() {
    let world = channels(2, [1, 0]);
    let receiver = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.recv(0, Until::Done).unwrap();
        tasks.shared.recv(0, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    tasks.shared.send(0, 0, Until::Done).unwrap();
    assert_eq!(tasks.shared.select(&[(1, Some(2)), (0, Some(1))], Until::Done), Some((1, true)));
    receiver.join().unwrap();
    assert_eq!([tasks.shared.received(0), tasks.shared.received(1)], [1, 1]);
    end(tasks);
}

/// A receiver meets a select that has no message yet, and is cancelled meanwhile.
pub(super) fn plain_receiver() {
    let world = channels(2, [0, 0]);
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(1)));
    let receiver = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        let received = catch_cancel(|| tasks.shared.recv(0, Until::Done).unwrap()).is_some();
        // Then somebody else takes it.
        if !received {
            tasks.shared.chan(0).close();
        }
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let (at, done) = tasks.shared.select(&[(1, None), (0, Some(0))], Until::Done).unwrap();
    canceller.join().unwrap();
    receiver.join().unwrap();
    assert_eq!(at, 1);
    assert_eq!(tasks.shared.received(0), u32::from(done));
    end(tasks);
}

/// A send is chosen and given up: the receiver waits on, and gets the next.
pub(super) fn given_up() {
    let world = channels(2, [0, 0]);
    let receiver = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.recv(0, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    {
        let mut slot = MaybeUninit::uninit();
        let cases = tasks.shared.cases(&[(0, Some(0))], &mut slot);
        // SAFETY: there is no receive.
        let (_, chosen) = unsafe { choose(&cases, Until::Done, Order::Fair) }.unwrap();
        // SAFETY: chosen above.
        unsafe { tasks.shared.chan(0).give_up_send(chosen) };
    }
    tasks.shared.send(0, 1, Until::Done).unwrap();
    receiver.join().unwrap();
    assert_eq!([tasks.shared.received(0), tasks.shared.received(1)], [0, 1]);
    end(tasks);
}

/// One who only asks is told.
pub(super) fn ready() {
    let world = channels(2, [0, 1]);
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.send(1, 0, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let mut slot = MaybeUninit::uninit();
    let cases = tasks.shared.cases(&[(0, None), (1, None)], &mut slot);
    assert_eq!(wait_until_ready(&cases, Until::Done, Order::Fair), Some(1));
    tasks.shared.recv(1, Until::Now).unwrap();
    sender.join().unwrap();
    end(tasks);
}

/// The same, of the end.
pub(super) fn ready_close() {
    let world = channels(1, [0, 0]);
    let closer = world.spawn(|tasks| {
        tasks.shared.chan(0).close();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let mut slot = MaybeUninit::uninit();
    let cases = tasks.shared.cases(&[(0, None), (1, None)], &mut slot);
    assert_eq!(wait_until_ready(&cases, Until::Done, Order::Fair), Some(0));
    closer.join().unwrap();
    end(tasks);
}

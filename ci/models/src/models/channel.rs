//! Channels: no message is lost or doubled, whatever ends the waits of its two sides, and nobody
//! touches the frame of one who waits no more.

use super::World;
use super::tasks::{Tasks, catch_cancel};
use crate::channel::{Chan, Refused, Until};
use crate::sched::cancel;
use std::ptr::NonNull;
use std::time::Duration;

/// A message: sent once, received or given back once.
#[derive(Debug)]
struct Message(&'static loom::cell::Cell<u32>);

type Channel = NonNull<Chan<Message>>;

struct State {
    channel: Channel,
    /// What the messages refer to: written before the send, read after the receive.
    contents: [loom::cell::Cell<u32>; 2],
    /// Messages that came out at either end.
    seen: [loom::sync::atomic::AtomicU32; 2],
}

fn channel(tasks: usize, cap: usize) -> World<Tasks<State>> {
    Tasks::new(
        tasks,
        State {
            channel: Chan::allocate(cap),
            contents: std::array::from_fn(|_| loom::cell::Cell::new(0)),
            seen: std::array::from_fn(|_| loom::sync::atomic::AtomicU32::new(0)),
        },
    )
}

const WITHIN: Until = Until::Elapsed(Duration::from_nanos(1));

impl State {
    fn chan(&self) -> &Chan<Message> {
        // SAFETY: the handles are dropped last.
        unsafe { self.channel.as_ref() }
    }

    /// Sends message `at`. Whether it was sent.
    fn send(&'static self, at: usize, until: Until) -> Result<(), Refused> {
        self.contents[at].set(at as u32 + 1);
        let mut message = std::mem::ManuallyDrop::new(Message(&self.contents[at]));
        // SAFETY: it is not used after `Ok`, nor after an unwinding.
        let result = unsafe { self.chan().send(&mut *message, until) };
        if result.is_err() {
            self.came_out(std::mem::ManuallyDrop::into_inner(message));
        }
        result
    }

    fn recv(&self, until: Until) -> Result<(), Refused> {
        self.chan().recv(until).map(|message| self.came_out(message))
    }

    fn came_out(&self, message: Message) {
        let at = message.0.get() as usize - 1;
        self.seen[at].fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
        std::mem::forget(message);
    }

    fn seen(&self, at: usize) -> u32 {
        self.seen[at].load(loom::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Message {
    /// What unwinding and the last receiver drop counts as having come out.
    fn drop(&mut self) {
        self.0.set(self.0.get() | 0x100);
    }
}

/// Both ends give up their handles, at the end.
fn end(tasks: &'static Tasks<State>) {
    // SAFETY: one handle of each side.
    unsafe {
        Chan::drop_sender(tasks.shared.channel);
        Chan::drop_receiver(tasks.shared.channel);
    }
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

/// A rendezvous: each waits for the other.
pub(super) fn rendezvous() {
    let world = channel(2, 0);
    let receiver = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.recv(Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    tasks.shared.send(0, Until::Done).unwrap();
    receiver.join().unwrap();
    assert_eq!(tasks.shared.seen(0), 1);
    end(tasks);
}

/// A rendezvous whose sender's deadline passes meanwhile.
pub(super) fn send_timeout() {
    let world = channel(2, 0);
    let timer = world.spawn(|tasks| tasks.run_timers());
    let receiver = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        // Until the end of the channel, if need be.
        let _ = tasks.shared.recv(Until::Done);
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let _ = tasks.shared.send(0, WITHIN);
    tasks.shared.chan().close();
    receiver.join().unwrap();
    timer.join().unwrap();
    assert_eq!(tasks.shared.seen(0), 1, "received or given back, not both, not neither");
    end(tasks);
}

/// The receiver's deadline passes.
pub(super) fn recv_timeout() {
    let world = channel(2, 1);
    let timer = world.spawn(|tasks| tasks.run_timers());
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.send(0, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    if tasks.shared.recv(WITHIN).is_err() {
        tasks.shared.recv(Until::Done).unwrap();
    }
    sender.join().unwrap();
    timer.join().unwrap();
    assert_eq!(tasks.shared.seen(0), 1);
    end(tasks);
}

/// The receiver is cancelled: it has taken nothing, or it has taken the message and is cancelled
/// later.
pub(super) fn recv_cancel() {
    let world = channel(2, 1);
    let canceller = world.spawn(|tasks| cancel::cancel(tasks.g(0)));
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.send(0, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    let received = catch_cancel(|| tasks.shared.recv(Until::Done).unwrap()).is_some();
    canceller.join().unwrap();
    sender.join().unwrap();
    assert_eq!(tasks.shared.seen(0) == 1, received);
    assert_eq!(tasks.shared.chan().len(), usize::from(!received), "the message is nowhere, or twice");
    end(tasks);
}

/// A full ring with a waiting sender: a receive takes the first message and moves the second in.
pub(super) fn full_ring() {
    let world = channel(2, 1);
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        tasks.shared.send(0, Until::Done).unwrap();
        tasks.shared.send(1, Until::Done).unwrap();
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    tasks.shared.recv(Until::Done).unwrap();
    tasks.shared.recv(Until::Done).unwrap();
    sender.join().unwrap();
    assert_eq!([tasks.shared.seen(0), tasks.shared.seen(1)], [1, 1]);
    end(tasks);
}

/// The last sender goes while a receiver waits; the memory is freed once, by the second.
pub(super) fn close() {
    let world = channel(2, 1);
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        let _ = tasks.shared.send(0, Until::Done);
        // SAFETY: the sender's handle.
        unsafe { Chan::drop_sender(tasks.shared.channel) };
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    tasks.shared.recv(Until::Done).unwrap();
    assert_eq!(tasks.shared.recv(Until::Done), Err(Refused::Disconnected));
    // SAFETY: the receiver's handle.
    unsafe { Chan::drop_receiver(tasks.shared.channel) };
    sender.join().unwrap();
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

/// The receiver goes while a message is sent: it is dropped, by whom ever, or given back.
pub(super) fn discard() {
    let world = channel(2, 1);
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        let _ = tasks.shared.send(0, Until::Done);
        // SAFETY: the sender's handle.
        unsafe { Chan::drop_sender(tasks.shared.channel) };
    });
    let tasks = world.get();
    tasks.become_coroutine(0);
    // SAFETY: the receiver's handle.
    unsafe { Chan::drop_receiver(tasks.shared.channel) };
    sender.join().unwrap();
    let dropped = tasks.shared.contents[0].get() & 0x100 != 0;
    assert_eq!(u32::from(dropped) + tasks.shared.seen(0), 1, "dropped or given back, not both, not neither");
}

/// The last receiver goes while a sender waits for room and somebody else is in the middle of a close: the message comes
/// back, for nobody could have received it.
pub(super) fn discard_beside_close() {
    let world = channel(2, 1);
    let tasks = world.get();
    tasks.become_coroutine(0);
    tasks.shared.send(0, Until::Done).unwrap();
    let sender = world.spawn(|tasks| {
        tasks.become_coroutine(1);
        assert!(tasks.shared.send(1, Until::Done).is_err(), "taken by nobody");
    });
    let closer = world.spawn(|tasks| _ = tasks.shared.chan().close());
    // SAFETY: the receiver's handle.
    unsafe { Chan::drop_receiver(tasks.shared.channel) };
    closer.join().unwrap();
    sender.join().unwrap();
    // SAFETY: the sender's handle.
    unsafe { Chan::drop_sender(tasks.shared.channel) };
    assert_eq!(tasks.shared.seen(1), 1, "dropped");
    assert!(tasks.gs.iter().all(|g| !g.is_let_go()), "readied without a wait");
}

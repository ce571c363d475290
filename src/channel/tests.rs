//! Goal: the steps of `chan.rs` do what a plain model says, whatever waits in the queues: tasks
//! with one node or with several (as a select has), waits that ended otherwise, nodes that
//! linger. Method: stub tasks that a random script moves, one step at a time, in one thread;
//! the model is two deques of messages and the lists of who waits. Miri runs it too.

use super::chan::{Chan, Reserve, Side, Step, UNBOUNDED, pass};
use super::store::Block;
use super::waitq::{Node, Outcome, Task};
use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::rc::Rc;

/// A task: which of its waits is the current one, and how it stands.
#[derive(Default)]
struct StubTask {
    ticket: Cell<u64>,
    state: Cell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    #[default]
    Running,
    Armed,
    Claimed,
    Readied,
}

#[derive(Clone, Copy, PartialEq)]
struct Stub {
    task: *const StubTask,
    ticket: u64,
}

impl Stub {
    fn task(&self) -> &StubTask {
        // SAFETY: the tasks of a script outlive its channels.
        unsafe { &*self.task }
    }
}

impl Task for Stub {
    fn claim(self) -> bool {
        let task = self.task();
        let mine = task.ticket.get() == self.ticket && task.state.get() == State::Armed;
        if mine {
            task.state.set(State::Claimed);
        }
        mine
    }

    unsafe fn ready(self) {
        assert_eq!(self.task().state.replace(State::Readied), State::Claimed);
    }
}

/// A message, counted.
struct Message {
    number: u64,
    alive: Rc<Cell<i64>>,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

/// What one node of a waiting task is about.
struct Case {
    channel: usize,
    side: Side,
    node: Node<Stub>,
    slot: Rc<UnsafeCell<MaybeUninit<Message>>>,
    /// The message's number, if it sends.
    number: u64,
}

/// The model of one channel.
#[derive(Default)]
struct Model {
    messages: VecDeque<u64>,
    /// Task, its case and the wait's ticket, in the order of coming.
    senders: VecDeque<(usize, usize, u64)>,
    receivers: VecDeque<(usize, usize, u64)>,
    closed: bool,
}

/// What the model says of a step.
#[derive(PartialEq, Eq, Debug)]
enum Expected {
    Done,
    /// A waiting task's case was served.
    Peer(usize, usize),
    Blocked,
    Closed,
}

struct Script {
    random: u64,
    channels: Vec<(NonNull<Chan<Message, Stub>>, usize)>,
    models: Vec<Model>,
    tasks: Vec<StubTask>,
    waiting: Vec<Vec<Rc<Case>>>,
    /// What the model says about the case that ended a task's wait: the case, and the number.
    ended: Vec<Option<(usize, Outcome, u64)>>,
    next: u64,
    alive: Rc<Cell<i64>>,
}

impl Script {
    fn new(seed: u64, caps: &[usize], tasks: usize) -> Script {
        Script {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            channels: caps.iter().map(|&cap| (Chan::allocate(cap), cap)).collect(),
            models: caps.iter().map(|_| Model::default()).collect(),
            tasks: (0..tasks).map(|_| StubTask::default()).collect(),
            waiting: (0..tasks).map(|_| Vec::new()).collect(),
            ended: vec![None; tasks],
            next: 0,
            alive: Rc::default(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound
    }

    fn message(&mut self) -> Message {
        self.next += 1;
        self.alive.set(self.alive.get() + 1);
        Message { number: self.next, alive: self.alive.clone() }
    }

    fn chan(&self, channel: usize) -> &'static Chan<Message, Stub> {
        // SAFETY: freed at the end of the script only.
        unsafe { &*self.channels[channel].0.as_ptr() }
    }

    /// The model's list may name waits that have ended; drops them.
    fn first_waiting(&mut self, channel: usize, side: Side) -> Option<(usize, usize)> {
        let model = &mut self.models[channel];
        let list = if side == Side::Send { &mut model.senders } else { &mut model.receivers };
        while let Some((task, case, ticket)) = list.pop_front() {
            let armed = self.tasks[task].state.get() == State::Armed && self.tasks[task].ticket.get() == ticket;
            if armed && self.ended[task].is_none() {
                return Some((task, case));
            }
        }
        None
    }

    fn expect_send(&mut self, channel: usize, number: u64) -> Expected {
        if self.models[channel].closed {
            return Expected::Closed;
        }
        if let Some((task, case)) = self.first_waiting(channel, Side::Recv) {
            self.ended[task] = Some((case, Outcome::Passed, number));
            return Expected::Peer(task, case);
        }
        if self.models[channel].messages.len() < self.channels[channel].1 {
            self.models[channel].messages.push_back(number);
            return Expected::Done;
        }
        Expected::Blocked
    }

    /// With the number that is received, if one is.
    fn expect_recv(&mut self, channel: usize) -> (Expected, u64) {
        let sender = self.first_waiting(channel, Side::Send);
        if let Some((task, case)) = sender {
            let number = self.waiting[task][case].number;
            self.ended[task] = Some((case, Outcome::Passed, number));
            self.models[channel].messages.push_back(number);
        }
        match (self.models[channel].messages.pop_front(), sender) {
            (Some(number), Some((task, case))) => (Expected::Peer(task, case), number),
            (Some(number), None) => (Expected::Done, number),
            (None, _) if self.models[channel].closed => (Expected::Closed, 0),
            (None, _) => (Expected::Blocked, 0),
        }
    }

    /// A send as `blocking.rs` does it. The error says whether it is closed, and gives the message back.
    fn send(&mut self, channel: usize, message: Message) -> Result<(), (bool, Message)> {
        let chan = self.chan(channel);
        let expected = self.expect_send(channel, message.number);
        let mut message = std::mem::ManuallyDrop::new(message);
        let mut state = chan.lock();
        let value = &raw mut *message;
        // SAFETY: as `Chan::send`.
        if self.below(2) == 0 && unsafe { chan.send_fast(&mut state, value) } {
            assert_eq!(expected, Expected::Done);
            return Ok(());
        }
        loop {
            // SAFETY: as in `send_slow`.
            match unsafe { chan.send_step(&mut state, value) } {
                Step::Done => assert_eq!(expected, Expected::Done),
                Step::Direct(peer) => {
                    assert!(matches!(expected, Expected::Peer(..)));
                    drop(state);
                    // SAFETY: as in `send_slow`.
                    unsafe { pass(value, peer.slot()) };
                    peer.settle(Outcome::Passed).go();
                }
                Step::NoBlock => {
                    assert!(chan.offer(&mut state, Block::new()).is_none());
                    continue;
                }
                step => {
                    let closed = matches!(step, Step::Closed);
                    assert_eq!(expected, if closed { Expected::Closed } else { Expected::Blocked });
                    return Err((closed, std::mem::ManuallyDrop::into_inner(message)));
                }
            }
            return Ok(());
        }
    }

    /// A receive, likewise; the error says whether it is closed.
    fn recv(&mut self, channel: usize) -> Result<u64, bool> {
        let chan = self.chan(channel);
        let (expected, number) = self.expect_recv(channel);
        let mut out = MaybeUninit::<Message>::uninit();
        let mut garbage = None;
        let mut state = chan.lock();
        if self.below(2) == 0 {
            // SAFETY: as `Chan::recv`.
            if let Some(message) = unsafe { chan.recv_fast(&mut state) } {
                assert_eq!((expected, number), (Expected::Done, message.number));
                return Ok(number);
            }
        }
        // SAFETY: as in `recv_slow`.
        match unsafe { chan.recv_step(&mut state, out.as_mut_ptr(), &mut garbage) } {
            Step::Done => assert_eq!(expected, Expected::Done),
            Step::Moved(sender) => {
                assert!(matches!(expected, Expected::Peer(..)));
                sender.go();
            }
            Step::Direct(peer) => {
                assert!(matches!(expected, Expected::Peer(..)));
                // SAFETY: as in `recv_slow`.
                unsafe { pass(peer.slot(), out.as_mut_ptr()) };
                peer.settle(Outcome::Passed).go();
            }
            step => {
                let closed = matches!(step, Step::Closed);
                assert_eq!(expected, if closed { Expected::Closed } else { Expected::Blocked });
                return Err(closed);
            }
        }
        // SAFETY: received above.
        let message = unsafe { out.assume_init() };
        assert_eq!(message.number, number);
        Ok(number)
    }

    /// Lets a running task try one or more operations, and wait on those that were blocked.
    fn operate(&mut self, task: usize) {
        let mut blocked = Vec::new();
        for _ in 0..1 + self.below(3) {
            let channel = self.below(self.channels.len());
            if self.below(2) == 0 {
                let message = self.message();
                match self.send(channel, message) {
                    Err((false, message)) => blocked.push((channel, Side::Send, Some(message))),
                    _ => return,
                }
            } else {
                match self.recv(channel) {
                    Err(false) => blocked.push((channel, Side::Recv, None)),
                    _ => return,
                }
            }
        }
        if self.below(4) == 0 {
            return;
        }
        let ticket = self.tasks[task].ticket.get() + 1;
        self.tasks[task].ticket.set(ticket);
        self.tasks[task].state.set(State::Armed);
        for (channel, side, message) in blocked {
            let number = message.as_ref().map_or(0, |m| m.number);
            let slot = Rc::new(UnsafeCell::new(message.map_or(MaybeUninit::uninit(), MaybeUninit::new)));
            let node = Node::new(Stub { task: &self.tasks[task], ticket }, slot.get().cast());
            let case = Rc::new(Case { channel, side, node, slot, number });
            let chan = self.chan(channel);
            let mut state = chan.lock();
            // SAFETY: the node is in memory that lives until the wait has ended; the step was blocked and
            // nothing has changed since (one thread).
            unsafe { chan.join(&mut state, side, &case.node) };
            drop(state);
            let model = &mut self.models[channel];
            let list = if side == Side::Send { &mut model.senders } else { &mut model.receivers };
            list.push_back((task, self.waiting[task].len(), ticket));
            self.waiting[task].push(case);
        }
    }

    /// A readied task goes on: exactly the case that the model names has ended its wait.
    fn go_on(&mut self, task: usize) {
        self.tasks[task].state.set(State::Running);
        let ended = self.ended[task].take();
        for (index, case) in std::mem::take(&mut self.waiting[task]).into_iter().enumerate() {
            let outcome = case.node.outcome();
            if outcome == Outcome::Pending {
                // SAFETY: joined to this side of this channel.
                unsafe { self.chan(case.channel).leave(case.side, &case.node) };
            }
            let expected = match ended {
                Some((winner, outcome, number)) if winner == index => (outcome, number),
                _ => (Outcome::Pending, 0),
            };
            assert_eq!(outcome, expected.0);
            // A message is in the slot if one came, or if the one to send did not go.
            if (outcome == Outcome::Passed) == (case.side == Side::Recv) {
                // SAFETY: as said above.
                let message = unsafe { (*case.slot.get()).assume_init_read() };
                assert!(outcome != Outcome::Passed || message.number == expected.1);
            }
        }
    }

    fn step(&mut self) {
        let task = self.below(self.tasks.len());
        match self.tasks[task].state.get() {
            State::Running => self.operate(task),
            State::Readied => self.go_on(task),
            // The deadline, or `cancel`.
            State::Armed if self.below(3) == 0 => {
                self.tasks[task].state.set(State::Readied);
            }
            State::Armed => {}
            State::Claimed => unreachable!("claimed tasks are readied in the same step"),
        }
        for (channel, model) in self.models.iter().enumerate() {
            let chan = self.chan(channel);
            assert_eq!(chan.len(), model.messages.len());
            assert_eq!(chan.is_full(), chan.len() == self.channels[channel].1);
        }
    }

    fn close(&mut self, channel: usize) {
        let first = !std::mem::replace(&mut self.models[channel].closed, true);
        for side in [Side::Recv, Side::Send] {
            while let Some((task, case)) = self.first_waiting(channel, side) {
                self.ended[task] = Some((case, Outcome::Closed, 0));
            }
        }
        assert_eq!(self.chan(channel).close(), first);
    }

    fn finish(mut self) {
        for task in 0..self.tasks.len() {
            if self.tasks[task].state.get() != State::Running {
                self.go_on(task);
            }
        }
        for (channel, _) in std::mem::take(&mut self.channels) {
            // SAFETY: nobody waits, and the handles of the start are given up here.
            unsafe {
                Chan::drop_sender(channel);
                Chan::drop_receiver(channel);
            }
        }
        assert_eq!(self.alive.get(), 0, "every message was dropped once");
    }
}

#[test]
fn steps_agree_with_a_plain_model() {
    let (seeds, steps) = if cfg!(miri) { (8, 150) } else { (400, 1000) };
    let caps: [&[usize]; 6] = [&[0], &[1], &[0, 0], &[0, 2], &[3, UNBOUNDED], &[UNBOUNDED, 1, 0]];
    for seed in 0..seeds {
        for caps in caps {
            let mut script = Script::new(seed * 7 + caps.len() as u64, caps, 2 + seed as usize % 5);
            for step in 0..steps {
                script.step();
                if step == steps - 50 {
                    let channel = script.below(caps.len());
                    script.close(channel);
                    script.close(channel);
                }
            }
            script.finish();
        }
    }
}

#[test]
fn a_close_wakes_more_than_a_batch() {
    let mut script = Script::new(1, &[0], 100);
    for task in 0..100 {
        while script.tasks[task].state.get() == State::Running {
            script.operate(task);
        }
    }
    script.close(0);
    assert!(script.tasks.iter().all(|t| t.state.get() == State::Readied));
    script.finish();
}

#[test]
fn messages_are_aligned_and_large_ones_fit() {
    #[repr(align(256))]
    struct Wide(u8);
    for cap in [1, 5, UNBOUNDED] {
        let chan = Chan::<Wide, Stub>::allocate(cap);
        assert_eq!(chan.addr().get() % 64, 0);
        // SAFETY: not freed before the end.
        let this = unsafe { chan.as_ref() };
        for i in 0..3 {
            let value = std::mem::ManuallyDrop::new(Wide(i));
            let mut state = this.lock();
            // SAFETY: the value is ours and valid; the state is the channel's.
            while let Step::NoBlock = unsafe { this.send_step(&mut state, &*value) } {
                assert!(this.offer(&mut state, Block::new()).is_none());
            }
            let (mut out, mut garbage) = (MaybeUninit::<Wide>::uninit(), None);
            // SAFETY: as above.
            let step = unsafe { this.recv_step(&mut state, out.as_mut_ptr(), &mut garbage) };
            assert!(matches!(step, Step::Done));
            // SAFETY: received.
            assert_eq!(unsafe { out.assume_init() }.0, i);
        }
        // SAFETY: nobody uses it any more.
        unsafe {
            Chan::drop_sender(chan);
            Chan::drop_receiver(chan);
        }
    }
}

/// A task that does something when it goes on.
#[derive(Clone, Copy)]
struct Does<'a>(&'a dyn Fn());

impl PartialEq for Does<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.0, other.0)
    }
}

impl Task for Does<'_> {
    fn claim(self) -> bool {
        true
    }

    unsafe fn ready(self) {
        (self.0)();
    }
}

/// While somebody closes a channel and has not woken those who wait, the last receiver leaves, and then a place
/// is given back: a sender that waits for it is refused, as nobody would drop its message.
#[test]
fn a_place_given_back_after_the_close_admits_nobody() {
    let chan: NonNull<Chan<u64, Does<'_>>> = Chan::allocate(1);
    // SAFETY: alive until the last handle is dropped, which is done below.
    let channel = || unsafe { chan.as_ref() };
    // A select has chosen to send.
    assert!(matches!(channel().reserve(&mut channel().lock()), Reserve::Room));
    let refused = Cell::new(0);
    let is_refused = || refused.set(refused.get() + 1);
    let mut message = 5_u64;
    let node = Node::new(Does(&is_refused), (&raw mut message).cast());
    // SAFETY: the node and the message outlive the channel's use of them.
    unsafe { channel().join(&mut channel().lock(), Side::Send, &node) };
    // The closer tells the watchers before it wakes those who wait: a good moment.
    let in_the_middle = || {
        // SAFETY: it is the receiver's only handle.
        unsafe { Chan::drop_receiver(chan) };
        let admitted = channel().give_back(&mut channel().lock());
        admitted.go();
    };
    assert!(channel().watch(Side::Send, Does(&in_the_middle)));
    assert!(channel().close());
    assert_eq!((node.outcome(), refused.get(), channel().len()), (Outcome::Closed, 1, 0));
    // SAFETY: it is the sender's only handle.
    unsafe { Chan::drop_sender(chan) };
}

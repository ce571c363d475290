//! A channel: its state, its invariants, and each operation's step under the lock.
//!
//! Promise: messages leave in the order in which they entered; whoever waits is served in the
//! order of coming; a message that was handed over is received, one that was not stays with its
//! sender; after the close sends fail, and receives drain what is left and then fail too.
//!
//! All kinds of channel are this one structure. A bounded channel has a ring of `cap` slots; a
//! rendezvous is bounded by zero, always full and always empty; an unbounded one has a chain of
//! blocks and a `cap` that is never reached. Beside the messages there are two queues of those
//! who wait, and one spin lock over all of it, held for a few nanoseconds.
//!
//! Invariants, whenever the lock is free. A waiter counts while its task has not been claimed;
//! nodes whose task is claimed may linger until somebody meets them or they are removed.
//!
//! 1. A waiting receiver implies that there is no message: `len` is zero.
//! 2. A waiting sender implies that the store is full: `len` and `reserved` together are `cap`.
//! 3. Hence both kinds wait at once only where one task waits in both ways (a select on both ends
//!    of a rendezvous): of two tasks the second would have met the first.
//! 4. `RECV_WAITING`, `SEND_WAITING`: set if that queue has a node. `RESERVED`: set if `reserved` is
//!    not zero. `RECV_WATCHED`, `SEND_WATCHED`: set if that side has watchers.
//! 5. `CLOSED`: nobody joins a queue any more, and `len` does not grow. It is never unset.
//! 6. `WRITE_END`, `READ_END`: set exactly when the store must be extended before the next push,
//!    advanced before the next pop (see [`Store`]).
//!
//! The steps keep 1 and 2: a send that finds a receiver waiting passes its message to it and leaves
//! the store alone; a receive from a full store takes the first message and moves the first
//! waiting sender's in behind the last. So the order of messages is the order of sending, and a
//! message is copied as often as it must be: from slot to slot if somebody waits.
//!
//! Who waits is claimed under the lock; the message itself is passed, and the task readied, after it. That is
//! sound because a claimed task stands still (see `waitq.rs`); and it keeps run queues, futexes and large
//! copies out of the locked section. No message is dropped, and no user code runs, under the lock.
//!
//! A select chooses before its user makes the message. So there is a send in two halves
//! ([`Chan::reserve`], [`Chan::send_reserved`]): between them one place is *reserved*, a number and not a slot,
//! so that messages still lie in the store in the order in which they came. Those who only want to know when something
//! becomes possible *watch*: they are told when it may be, and look for themselves.
//!
//! The fast paths, inlined into the caller, ask one question for all exceptions: is one of the flags set that
//! concern this operation? Everything else is in the steps here, and around them in `blocking.rs`.
//! The steps do not block and know their tasks only by the [`Task`] trait: a model can drive them
//! with stubs.
//!
//! Tested in `tests/channel.rs` (by property) and `tests/channel_random.rs` (against a plain model).
//! Rejected: one lock-free queue per kind, as crossbeam has them. With Go's hand-over the wait
//! queues need a lock anyway, and a buffered pair then costs two atomic operations for the queue and
//! two loads for the waiters, against two for the lock here. Under contention the lock wins as well:
//! one cache line moves instead of three, and the backoff lets it stay for a burst.

use super::handles::Handles;
use super::store::{Block, Extended, Store, has_size};
use super::waitq::{Claimed, Node, Outcome, Queue, Ready, Task};
use crate::os::clock::{NEVER, Nanos};
use crate::sched::lock::{Spin, SpinGuard};
use crate::sched::wait::Waiter;
use crate::shim::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::time::Instant;

/// A receiver's node is queued.
const RECV_WAITING: u32 = 1;
/// A sender's node is queued.
const SEND_WAITING: u32 = 2;
/// Sends fail; receives drain.
const CLOSED: u32 = 4;
/// The store must be extended before the next push.
const WRITE_END: u32 = 8;
/// The store must be advanced before the next pop.
const READ_END: u32 = 16;

/// Some of the room is promised to selects.
const RESERVED: u32 = 32;
/// Messages come from the clock; see `clock.rs`.
const TIMER: u32 = 64;
/// Somebody wants to know when a receive may be possible.
const RECV_WATCHED: u32 = 128;
/// Somebody wants to know when a send may be possible.
const SEND_WATCHED: u32 = 256;

/// What keeps a send off the fast path, and a receive.
const SEND_EXCEPTIONS: u32 = RECV_WAITING | CLOSED | WRITE_END | RESERVED | RECV_WATCHED;
const RECV_EXCEPTIONS: u32 = SEND_WAITING | READ_END | SEND_WATCHED;

/// The `cap` of an unbounded channel.
pub(super) const UNBOUNDED: usize = usize::MAX;

/// See the module. What every operation touches is the first cache line.
#[repr(C, align(64))]
pub(super) struct Chan<T, W = Waiter> {
    /// Messages in the store. Written under the lock; read anywhere.
    len: AtomicUsize,
    /// The constants above. Written under the lock; read anywhere.
    flags: AtomicU32,
    cap: usize,
    state: Spin<State<T, W>>,
    pub(super) handles: Handles,
}

// The ends of the store are on the line of the lock and the count.
const _: () = assert!(std::mem::offset_of!(Chan<u64>, state) + 8 + 4 * size_of::<*mut u64>() <= 64);

/// What the lock guards, beside `len` and `flags`.
#[repr(C)]
pub(super) struct State<T, W> {
    store: Store<T>,
    receivers: Queue<W>,
    senders: Queue<W>,
    /// Places that selects have chosen and not used yet; zero if the channel is unbounded.
    reserved: usize,
    /// Who is to be told when a receive may be possible, and a send.
    watchers: [Vec<W>; 2],
}

/// The lock, held.
pub(super) type Locked<'a, T, W> = SpinGuard<'a, State<T, W>>;

// SAFETY: messages move between threads through the channel, so `T: Send`. None is ever shared.
// The queues' nodes and the tasks in them may be used from any thread under the lock.
unsafe impl<T: Send, W> Send for Chan<T, W> {}
// SAFETY: as above; all shared state is atomic or under the lock.
unsafe impl<T: Send, W> Sync for Chan<T, W> {}

/// What a step found.
#[derive(Debug)]
pub(super) enum Step<W> {
    /// The message is in the store, or came out of it.
    Done,
    /// A receive took the first message and moved that of the first waiting sender in.
    Moved(Ready<W>),
    /// The peer's slot is the caller's to pass the message to or from; best after unlocking.
    Direct(Claimed<W>),
    /// The channel must be given a block ([`Chan::offer`]) before it can take a message.
    NoBlock,
    /// The peer is a sender that has no message yet, and is the caller's to settle.
    Promised(Claimed<W>),
    /// Watchers must be told ([`Chan::take_watchers`]) before it is tried again.
    Watched,
    /// It cannot be done now.
    Blocked,
    /// It can never be done.
    Closed,
}

/// What [`Chan::reserve`] found.
#[derive(Debug)]
pub(super) enum Reserve<W> {
    /// A place is reserved, or none is needed.
    Room,
    /// A receiver stands still until it gets the message.
    Direct(Claimed<W>),
    /// As [`Step::Watched`].
    Watched,
    /// It cannot be done now.
    Blocked,
    /// It can never be done.
    Closed,
}

/// Those to ready, without the lock, after a place became free.
#[derive(Debug)]
#[must_use = "they stand still until they are readied"]
pub(super) struct Admitted<W> {
    sender: Option<Ready<W>>,
    watchers: Vec<W>,
}

impl<W: Task> Admitted<W> {
    pub(super) fn go(self) {
        if let Some(sender) = self.sender {
            sender.go();
        }
        tell(self.watchers);
    }
}

/// Wakes watchers; without the lock.
#[inline(always)]
pub(super) fn tell<W: Task>(watchers: Vec<W>) {
    if watchers.capacity() > 0 {
        tell_all(watchers);
    }
}

#[cold]
fn tell_all<W: Task>(watchers: Vec<W>) {
    for watcher in watchers {
        if watcher.claim() {
            // SAFETY: just claimed.
            unsafe { watcher.ready() };
        }
    }
}

impl<T, W: Task> Chan<T, W> {
    /// An empty channel. `ring` is its memory for `cap` messages, unless it is unbounded; `start` for [`Handles`].
    pub(super) fn new(cap: usize, ring: *mut T, start: NonNull<u8>) -> Chan<T, W> {
        let (store, flags) = match cap {
            UNBOUNDED if has_size::<T>() => (Store::chain(), WRITE_END | READ_END),
            UNBOUNDED => (Store::chain(), 0),
            _ => (Store::ring(ring, cap), 0),
        };
        Chan {
            len: AtomicUsize::new(0),
            flags: AtomicU32::new(flags),
            cap,
            state: Spin::new(State {
                store,
                receivers: Queue::new(),
                senders: Queue::new(),
                reserved: 0,
                watchers: [Vec::new(), Vec::new()],
            }),
            handles: Handles::new(start),
        }
    }

    #[inline(always)]
    pub(super) fn lock(&self) -> Locked<'_, T, W> {
        self.state.lock()
    }

    #[inline(always)]
    fn flags(&self) -> u32 {
        // Relaxed: the lock orders it; without the lock see `looks_empty`.
        self.flags.load(Ordering::Relaxed)
    }

    /// Sets and unsets flags. The caller holds the lock.
    fn change_flags(&self, set: u32, unset: u32) {
        // Relaxed: the lock orders it. Not a read-modify-write: only lock holders write.
        self.flags.store((self.flags() | set) & !unset, Ordering::Relaxed);
    }

    fn set_len(&self, len: usize) {
        // Relaxed: as above.
        self.len.store(len, Ordering::Relaxed);
    }

    /// Messages in the store.
    pub(super) fn len(&self) -> usize {
        // Relaxed: one word, exact at the moment of reading; whoever learned of an operation
        // before sees its effect, as the operation's store comes before.
        self.len.load(Ordering::Relaxed)
    }

    /// Messages that a receiver finds: the clock's are not in the store.
    pub(super) fn receivable(&self) -> usize {
        if self.is_timer() { usize::from(self.handles.timer.is_due()) } else { self.len() }
    }

    /// When one who waits for a message should look again, as nobody will tell.
    pub(super) fn next_time(&self) -> Nanos {
        if self.is_timer() { self.handles.timer.deadline() } else { NEVER }
    }

    /// The same for those who ask for an [`Instant`].
    pub(super) fn ready_at(&self) -> Option<Instant> {
        if self.is_timer() { self.handles.timer.next_at() } else { None }
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        (self.cap != UNBOUNDED).then_some(self.cap)
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == self.cap
    }

    /// True if messages come from the clock.
    #[inline(always)]
    pub(super) fn is_timer(&self) -> bool {
        self.flags() & TIMER != 0
    }

    /// Makes it one whose messages come from the clock: of an [`Instant`] each.
    /// For a new channel that nobody else knows yet.
    pub(super) fn become_timer(&self) {
        self.change_flags(TIMER, 0);
    }

    /// True if a receive would have been [`Step::Blocked`] at some moment of this call, so that
    /// one who does not wait need not take the lock.
    ///
    /// The moment is that of the first load if `cap` is not zero: no message was there. (Nor did a
    /// sender wait, invariant 2; nor was it closed, as it is not closed later.) With `cap` zero it
    /// is that of the second: no sender waits, and it is not closed.
    #[inline(always)]
    pub(super) fn looks_empty(&self) -> bool {
        // Acquire: the flags are read after it.
        self.len.load(Ordering::Acquire) == 0 && self.flags() & (SEND_WAITING | CLOSED | TIMER) == 0
    }

    /// The same for a send: as above, with 1 for 2.
    #[inline(always)]
    pub(super) fn looks_full(&self) -> bool {
        // Acquire: the flags are read after it.
        self.len.load(Ordering::Acquire) == self.cap && self.flags() & (RECV_WAITING | CLOSED) == 0
    }

    /// True if a select's send would have reserved [`Reserve::Room`] at some moment of this call and changed nothing by it, as it is
    /// of an unbounded channel that is not closed and has no receiver that waits or watches.
    #[inline(always)]
    pub(super) fn is_plainly_open(&self) -> bool {
        self.cap == UNBOUNDED && self.flags() & (CLOSED | RECV_WATCHED | RECV_WAITING) == 0
    }

    /// Sends if there is room and nothing special about it; false has changed nothing.
    ///
    /// # Safety
    /// `state` is this channel's. `value` is valid for reads; after true the value is the channel's.
    #[inline(always)]
    pub(super) unsafe fn send_fast(&self, state: &mut State<T, W>, value: *const T) -> bool {
        let len = self.len();
        if self.flags() & SEND_EXCEPTIONS != 0 || len >= self.cap {
            return false;
        }
        // SAFETY: there is room: `len` is less than `cap`, and `WRITE_END` is not set.
        unsafe { self.put(state, value) };
        true
    }

    /// Puts a message behind the last.
    ///
    /// # Safety
    /// `state` is this channel's. There is room, and `WRITE_END` is not set. `value` is valid for reads and
    /// is the channel's from then on.
    #[inline(always)]
    unsafe fn put(&self, state: &mut State<T, W>, value: *const T) {
        // SAFETY: the caller's promise.
        if !unsafe { state.store.push(value) } {
            self.change_flags(WRITE_END, 0);
        }
        self.set_len(self.len() + 1);
    }

    /// Receives if there is a message and nothing special about it.
    ///
    /// # Safety
    /// `state` is this channel's.
    #[inline(always)]
    pub(super) unsafe fn recv_fast(&self, state: &mut State<T, W>) -> Option<T> {
        let len = self.len();
        if self.flags() & RECV_EXCEPTIONS != 0 || len == 0 {
            return None;
        }
        // SAFETY: there is a message, and `READ_END` is not set.
        let (value, more) = unsafe { state.store.pop() };
        if !more {
            self.change_flags(READ_END, 0);
        }
        self.set_len(len - 1);
        Some(value)
    }

    /// Sends as far as it can be done under the lock.
    ///
    /// # Safety
    /// `state` is this channel's. `value` is valid for reads. After `Done` the value is the
    /// channel's; after `Direct` the caller moves it to the peer's slot, settles and readies it.
    #[inline]
    pub(super) unsafe fn send_step(&self, state: &mut State<T, W>, value: *const T) -> Step<W> {
        if self.flags() & CLOSED != 0 {
            return Step::Closed;
        }
        if self.flags() & RECV_WATCHED != 0 {
            return Step::Watched;
        }
        if self.flags() & RECV_WAITING != 0
            && let Some(peer) = self.pop_receiver(state)
        {
            return Step::Direct(peer);
        }
        if self.has_no_room(state) {
            return Step::Blocked;
        }
        if self.flags() & WRITE_END != 0 {
            // SAFETY: `WRITE_END` says that `write` is at its end.
            match unsafe { state.store.extend() } {
                None => return Step::NoBlock,
                Some(Extended::Tail) => self.change_flags(0, WRITE_END),
                Some(Extended::First) => self.change_flags(0, WRITE_END | READ_END),
            }
        }
        // SAFETY: there is room, and the end of the store was settled above; the rest is the caller's promise.
        unsafe { self.put(state, value) };
        Step::Done
    }

    #[inline(always)]
    fn pop_receiver(&self, state: &mut State<T, W>) -> Option<Claimed<W>> {
        let peer = state.receivers.pop();
        if state.receivers.is_empty() {
            self.change_flags(0, RECV_WAITING);
        }
        debug_assert!(peer.is_none() || self.len() == 0, "invariant 1");
        peer
    }

    #[inline(always)]
    fn has_no_room(&self, state: &State<T, W>) -> bool {
        self.len() + state.reserved == self.cap
    }

    /// The first half of a select's send: whatever it finds is the caller's until it uses it or gives it
    /// back. `Direct` is a receiver to settle and ready; `Room` is for [`Self::send_reserved`] or
    /// [`Self::give_back`].
    #[inline]
    pub(super) fn reserve(&self, state: &mut State<T, W>) -> Reserve<W> {
        if self.flags() & CLOSED != 0 {
            return Reserve::Closed;
        }
        if self.flags() & RECV_WATCHED != 0 {
            return Reserve::Watched;
        }
        if self.flags() & RECV_WAITING != 0
            && let Some(peer) = self.pop_receiver(state)
        {
            return Reserve::Direct(peer);
        }
        if self.has_no_room(state) {
            return Reserve::Blocked;
        }
        self.take_place(state);
        Reserve::Room
    }

    /// Reserves a place; an unbounded channel has always one more.
    fn take_place(&self, state: &mut State<T, W>) {
        if self.cap != UNBOUNDED {
            state.reserved += 1;
            self.change_flags(RESERVED, 0);
        }
    }

    /// The end of a reservation.
    fn free_place(&self, state: &mut State<T, W>) {
        if self.cap != UNBOUNDED {
            state.reserved -= 1;
            if state.reserved == 0 {
                self.change_flags(0, RESERVED);
            }
        }
    }

    /// The second half of a select's send, to the place that it reserved: as [`Self::send_step`], but never
    /// `Blocked`. If it is not done (`Watched`, `NoBlock`) the place stays reserved. Others may be readied
    /// whom the place now serves, because the message took none.
    ///
    /// # Safety
    /// As [`Self::send_step`], and `reserve` gave the caller a place that it has not used.
    pub(super) unsafe fn send_reserved(
        &self,
        state: &mut State<T, W>,
        value: *const T,
    ) -> (Step<W>, Option<Admitted<W>>) {
        self.free_place(state);
        // SAFETY: the caller's promise.
        let step = unsafe { self.send_step(state, value) };
        let mut admitted = None;
        match step {
            Step::Watched | Step::NoBlock => self.take_place(state),
            Step::Direct(_) => admitted = Some(self.admit(state)),
            _ => {}
        }
        (step, admitted)
    }

    /// Gives up a place that was reserved.
    pub(super) fn give_back(&self, state: &mut State<T, W>) -> Admitted<W> {
        self.free_place(state);
        self.admit(state)
    }

    /// A place became free other than by a receive: the first waiting sender has it. Not after the close, whose `wake_all` may
    /// have yet to come: the last receiver may have left, and nobody would drop the message.
    fn admit(&self, state: &mut State<T, W>) -> Admitted<W> {
        let mut sender = None;
        if self.flags() & (SEND_WAITING | CLOSED) == SEND_WAITING && !self.has_no_room(state) {
            sender = self.pop_sender(state).map(|sender| {
                if sender.is_without_message() {
                    self.take_place(state);
                    return sender.settle(Outcome::Reserved);
                }
                // SAFETY: the slot is the claimed sender's, whose message it holds. There is room. Only
                // rings have waiting senders, and they have no ends.
                unsafe { self.put(state, sender.slot()) };
                sender.settle(Outcome::Passed)
            });
        }
        let watchers = if sender.is_none() { self.take_watchers(state, Side::Send) } else { Vec::new() };
        Admitted { sender, watchers }
    }

    #[inline(always)]
    fn pop_sender(&self, state: &mut State<T, W>) -> Option<Claimed<W>> {
        let sender = state.senders.pop();
        if state.senders.is_empty() {
            self.change_flags(0, SEND_WAITING);
        }
        sender
    }

    /// Receives as far as it can be done under the lock. A block that is no longer needed is left in
    /// `garbage`, to be dropped without the lock.
    ///
    /// # Safety
    /// `state` is this channel's. `out` is valid for writes. After `Done` and `Moved` the message is there; after
    /// `Direct` the caller moves it there from the peer's slot, settles and readies the peer.
    #[inline]
    pub(super) unsafe fn recv_step(
        &self,
        state: &mut State<T, W>,
        out: *mut T,
        garbage: &mut Option<Block<T>>,
    ) -> Step<W> {
        if self.flags() & SEND_WATCHED != 0 {
            return Step::Watched;
        }
        let len = self.len();
        let mut sender = None;
        if self.flags() & SEND_WAITING != 0 {
            sender = self.pop_sender(state);
        }
        if len == 0 {
            return match sender {
                // Invariant 2: `cap` is zero, or all of it is reserved.
                Some(sender) if sender.is_without_message() => Step::Promised(sender),
                Some(sender) => Step::Direct(sender),
                // SAFETY: the messages of a timer are instants.
                None if self.is_timer() && unsafe { self.handles.timer.take_to(out) } => Step::Done,
                None if self.flags() & CLOSED != 0 => Step::Closed,
                None => Step::Blocked,
            };
        }
        if self.flags() & READ_END != 0 {
            // SAFETY: `READ_END` says that `read` is at its end, and there is a message.
            *garbage = unsafe { state.store.advance() };
            self.change_flags(0, READ_END);
        }
        // SAFETY: there is a message and `read` is not at its end; `out` is the caller's promise.
        let more = unsafe {
            let (value, more) = state.store.pop();
            out.write(value);
            more
        };
        if !more {
            self.change_flags(READ_END, 0);
        }
        match sender {
            None => {
                self.set_len(len - 1);
                Step::Done
            }
            Some(sender) if sender.is_without_message() => {
                self.set_len(len - 1);
                self.take_place(state);
                Step::Moved(sender.settle(Outcome::Reserved))
            }
            Some(sender) => {
                // SAFETY: the slot is the claimed sender's, whose message it holds. There is
                // room: one was just taken. Only rings have waiting senders, and they never end.
                let more = unsafe { state.store.push(sender.slot()) };
                debug_assert!(more && len + state.reserved == self.cap, "invariant 2");
                Step::Moved(sender.settle(Outcome::Passed))
            }
        }
    }

    /// Gives the channel a block for the next `send_step`; returns it if it has one.
    #[must_use = "freeing it under the lock would be slow"]
    pub(super) fn offer(&self, state: &mut State<T, W>, block: Block<T>) -> Option<Block<T>> {
        state.store.offer(block)
    }

    /// Queues a waiter after its step was [`Step::Blocked`], under the same hold of the lock.
    ///
    /// # Safety
    /// `state` is this channel's. The node as for [`Queue::push`], with [`Self::leave`] for `remove`.
    /// Its slot holds the message to send, or has room for the one to receive.
    pub(super) unsafe fn join(&self, state: &mut State<T, W>, side: Side, node: &Node<W>) {
        debug_assert_eq!(self.flags() & CLOSED, 0, "invariant 5");
        // SAFETY: the caller's promise.
        unsafe { state.queue(side).push(node) };
        self.change_flags(side.waiting(), 0);
    }

    /// Queues a select's node, unless its operation is possible now. Nodes of its own task do not make it
    /// so: a select does not meet itself.
    ///
    /// # Safety
    /// As [`Self::join`], but without the state.
    pub(super) unsafe fn join_if_blocked(&self, side: Side, node: &Node<W>) -> bool {
        let mut state = self.lock();
        if !self.would_block(&state, side, Some(node.task())) {
            return false;
        }
        // To the other side somebody who waits is somebody to meet, but not to the same task.
        let (other, task) = (side.other(), node.task());
        let is_met = self.flags() & other.watched() != 0 && state.watchers[other as usize].iter().any(|&w| w != task);
        let watchers = if is_met { self.take_watchers(&mut state, other) } else { Vec::new() };
        // SAFETY: the caller's promise.
        unsafe { self.join(&mut state, side, node) };
        drop(state);
        tell(watchers);
        true
    }

    /// False if an operation of `task` on this side need not wait. It may also be
    /// false because of one who has stopped waiting and has not left the other queue yet.
    fn would_block(&self, state: &State<T, W>, side: Side, task: Option<W>) -> bool {
        if self.flags() & CLOSED != 0 {
            return false;
        }
        match side {
            Side::Recv => {
                self.len() == 0 && !state.senders.has_other(task) && !(self.is_timer() && self.handles.timer.is_due())
            }
            Side::Send => self.has_no_room(state) && !state.receivers.has_other(task),
        }
    }

    /// True if the operation would not wait just now, as far as can be told without trying it.
    pub(super) fn is_ready(&self, side: Side) -> bool {
        let state = self.lock();
        !self.would_block(&state, side, None)
    }

    /// Has `task` told when an operation on this side may have become possible; false if it is now. As in
    /// [`Self::join_if_blocked`], its own nodes do not make it so.
    pub(super) fn watch(&self, side: Side, task: W) -> bool {
        loop {
            let mut state = self.lock();
            if !self.would_block(&state, side, Some(task)) {
                return false;
            }
            let list = &mut state.watchers[side as usize];
            if list.len() < list.capacity() {
                list.push(task);
                self.change_flags(side.watched(), 0);
                return true;
            }
            let wanted = (list.len() * 2).max(4);
            drop(state);
            // Without the lock, as everything that allocates and frees.
            let mut longer = Vec::with_capacity(wanted);
            let mut state = self.lock();
            let list = &mut state.watchers[side as usize];
            if list.len() < wanted {
                longer.append(list);
                std::mem::swap(list, &mut longer);
            }
            drop(state);
        }
    }

    /// The end of [`Self::watch`].
    pub(super) fn unwatch(&self, side: Side, task: W) {
        let mut state = self.lock();
        let list = &mut state.watchers[side as usize];
        list.retain(|&watcher| watcher != task);
        if list.is_empty() {
            self.change_flags(0, side.watched());
        }
    }

    /// The watchers of a side, to be told without the lock.
    #[must_use = "they wait to be told"]
    pub(super) fn take_watchers(&self, state: &mut State<T, W>, side: Side) -> Vec<W> {
        if self.flags() & side.watched() == 0 {
            return Vec::new();
        }
        self.change_flags(0, side.watched());
        std::mem::take(&mut state.watchers[side as usize])
    }

    /// Takes a waiter's node out of its queue, if it is still there. To be called after a wait
    /// that was not ended through this node.
    ///
    /// # Safety
    /// The node was joined to this side of this channel.
    #[cold]
    pub(super) unsafe fn leave(&self, side: Side, node: &Node<W>) {
        let mut state = self.lock();
        // SAFETY: the caller's promise.
        unsafe { state.queue(side).remove(node) };
        if state.queue(side).is_empty() {
            self.change_flags(0, side.waiting());
        }
    }

    /// Closes the channel and wakes all who wait. False if it was closed already, by somebody who may be in the middle of waking
    /// them: this helps, so that nobody waits when it returns.
    ///
    /// The lock is not held for all of them at once, however many there are. In between, a
    /// receiver may still be served by a sender who waited before the close.
    pub(super) fn close(&self) -> bool {
        let state = self.lock();
        let flags = self.flags();
        self.change_flags(CLOSED, 0);
        drop(state);
        if flags & (RECV_WAITING | SEND_WAITING | RECV_WATCHED | SEND_WATCHED) != 0 {
            self.wake_all();
        }
        flags & CLOSED == 0
    }

    /// The second half of [`Self::close`].
    #[cold]
    fn wake_all(&self) {
        const BATCH: usize = 32;
        let mut state = self.lock();
        let watchers = [Side::Recv, Side::Send].map(|side| self.take_watchers(&mut state, side));
        drop(state);
        watchers.into_iter().for_each(tell);
        loop {
            let mut batch = [const { None }; BATCH];
            let mut state = self.lock();
            for place in &mut batch {
                let state = &mut *state;
                *place = state.receivers.pop().or_else(|| state.senders.pop()).map(|n| n.settle(Outcome::Closed));
                if place.is_none() {
                    self.change_flags(0, RECV_WAITING | SEND_WAITING);
                    break;
                }
            }
            drop(state);
            let done = batch[BATCH - 1].is_none();
            batch.into_iter().flatten().for_each(Ready::go);
            if done {
                return;
            }
        }
    }

    /// Drops all messages of a channel that has no receivers, after the last has closed it: nobody waits or watches. If dropping one
    /// panics the others are dropped all the same, and then the first panic goes on.
    pub(super) fn discard(&self) {
        let mut panic = None;
        loop {
            let mut message = MaybeUninit::<T>::uninit();
            let mut garbage = None;
            let mut state = self.lock();
            // SAFETY: the state is this channel's, and the place is valid.
            let step = unsafe { self.recv_step(&mut state, message.as_mut_ptr(), &mut garbage) };
            drop(state);
            if !matches!(step, Step::Done) {
                debug_assert!(matches!(step, Step::Closed), "somebody waits, or watches");
                break;
            }
            // SAFETY: after `Done` the message is there, and ours.
            let message = unsafe { message.assume_init() };
            if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(message))) {
                match panic {
                    None => panic = Some(payload),
                    // Its own drop might panic.
                    Some(_) => std::mem::forget(payload),
                }
            }
        }
        if let Some(payload) = panic {
            std::panic::resume_unwind(payload);
        }
    }
}

/// The two sides of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Send = 0,
    Recv = 1,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Send => Side::Recv,
            Side::Recv => Side::Send,
        }
    }

    fn watched(self) -> u32 {
        match self {
            Side::Send => SEND_WATCHED,
            Side::Recv => RECV_WATCHED,
        }
    }

    fn waiting(self) -> u32 {
        match self {
            Side::Send => SEND_WAITING,
            Side::Recv => RECV_WAITING,
        }
    }
}

impl<T, W> State<T, W> {
    fn queue(&mut self, side: Side) -> &mut Queue<W> {
        match side {
            Side::Send => &mut self.senders,
            Side::Recv => &mut self.receivers,
        }
    }
}

/// Passes a message from a peer's slot to `out` or the other way round.
///
/// # Safety
/// `from` holds a message, `to` has room for it, and they do not overlap; the message is at `to` from then on.
#[inline(always)]
pub(super) unsafe fn pass<T>(from: *const T, to: *mut T) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(from, to, 1) };
}

/// Passes a message to a receiver that stands still for it, which then goes on. Without the lock.
///
/// # Safety
/// `from` holds a message of the channel on which the receiver was claimed; it is gone from there.
#[inline(always)]
pub(super) unsafe fn pass_to<T, W: Task>(receiver: Claimed<W>, from: *const T) {
    // SAFETY: a receiver's slot has room for a message; the rest is the caller's promise.
    unsafe { pass(from, receiver.slot()) };
    receiver.settle(Outcome::Passed).go();
}

//! Sending and receiving: the fast paths, and what surrounds a step that could not be done.
//!
//! A wait goes like this, for a send; a receive is its mirror image:
//!
//! 1. the step is blocked. Arm the wait word, without leaving the lock; but a thread's first
//!    word needs an allocation and a deadline needs the clock, so then the lock is left and the step
//!    tried again once it is armed;
//! 2. under the same hold of the lock join the queue; unlock;
//! 3. park. A peer may claim the task at any time after the unlocking, and passes the message
//!    while the task stands still;
//! 4. when it goes on, the reason says who ended the wait. A peer: the node is out of the queue,
//!    and its outcome says whether the message passed or the channel was closed. The deadline or
//!    `cancel`: no peer has touched the message or ever will (claims exclude each other), so it
//!    is only the node that must leave the queue before its frame goes.
//!
//! A receiver may meet a sender that waits in a select and has no message yet. It then stands still
//! until the message is made ([`redeem`]): neither its deadline nor `cancel` ends that. And a receiver that
//! waits may be chosen by a select that in the end sends nothing, because the making of the
//! message panicked; it waits anew.
//!
//! So a send that times out or is cancelled has not sent, a receive has not taken anything, and
//! there is no moment at which a message could be lost between the two sides.

use super::chan::{Chan, Locked, Side, Step, pass, pass_to, tell};
use super::store::Block;
use super::waitq::{Claimed, Node, Outcome};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::wait::{self, Wait, WaitReason, Waiter, Wake};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// It does not wait.
    Now,
    /// Until it is done.
    Done,
    /// Not beyond a moment.
    Instant(Instant),
    /// For so long.
    Elapsed(Duration),
}

impl Until {
    /// When to stop waiting; None if that is now.
    pub(super) fn deadline(self) -> Option<Nanos> {
        match self {
            Until::Now => None,
            Until::Done => Some(NEVER),
            Until::Instant(instant) => clock::ahead(instant),
            Until::Elapsed(time) => clock::later(time),
        }
    }
}

/// Why an operation was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Not now, or not in time.
    NotYet,
    /// Never.
    Disconnected,
}

impl<T> Chan<T> {
    /// Sends `*value`.
    ///
    /// # Safety
    /// `value` is valid for reads. After `Ok`, and if the call unwinds, the value is gone from there;
    /// after `Err` it is still the caller's.
    #[inline]
    pub(super) unsafe fn send(&self, value: *mut T, until: Until) -> Result<(), Refused> {
        let mut state = self.lock();
        // SAFETY: the state is ours to use; the value is the caller's promise.
        if unsafe { self.send_fast(&mut state, value) } {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { self.send_slow(state, value, until) }
    }

    /// Receives.
    #[inline]
    pub(super) fn recv(&self, until: Until) -> Result<T, Refused> {
        let mut state = self.lock();
        // SAFETY: the state is ours to use.
        if let Some(value) = unsafe { self.recv_fast(&mut state) } {
            return Ok(value);
        }
        let mut out = MaybeUninit::uninit();
        // SAFETY: the place is valid, and after `Ok` the message is there.
        unsafe {
            self.recv_slow(state, out.as_mut_ptr(), until)?;
            Ok(out.assume_init())
        }
    }

    /// [`Self::recv`] to a place.
    ///
    /// # Safety
    /// `out` is valid for writes; after `Ok` the message is there.
    #[inline]
    pub(super) unsafe fn recv_to(&self, out: *mut T, until: Until) -> Result<(), Refused> {
        let mut state = self.lock();
        // SAFETY: the state is ours to use.
        if let Some(value) = unsafe { self.recv_fast(&mut state) } {
            // SAFETY: the caller's promise.
            unsafe { out.write(value) };
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { self.recv_slow(state, out, until) }
    }

    /// The rest of [`Self::send`], which took the lock. Not marked cold: a rendezvous is sent here.
    ///
    /// # Safety
    /// As there.
    #[inline(never)]
    unsafe fn send_slow<'a>(
        &'a self,
        mut state: Locked<'a, T, Waiter>,
        value: *mut T,
        until: Until,
    ) -> Result<(), Refused> {
        let mut armed = Armed::new(until);
        loop {
            // SAFETY: the state is this channel's, the value the caller's promise.
            match unsafe { self.send_step(&mut state, value) } {
                Step::Done => {
                    drop(state);
                    armed.abandon();
                    return Ok(());
                }
                Step::Direct(peer) => {
                    drop(state);
                    // SAFETY: the value is the caller's promise.
                    unsafe { pass_to(peer, value) };
                    armed.abandon();
                    return Ok(());
                }
                Step::Closed => {
                    drop(state);
                    armed.abandon();
                    return Err(Refused::Disconnected);
                }
                Step::NoBlock => state = self.add_block(state),
                Step::Blocked => match armed.wait.take().or_else(|| armed.arm_locked()) {
                    None => {
                        drop(state);
                        armed.arm()?;
                        state = self.lock();
                    }
                    // SAFETY: the step was blocked, and the value is as the caller promises.
                    Some(wait) => return unsafe { self.send_wait(state, wait, value, armed.deadline) },
                },
                Step::Watched => state = self.tell_watchers(state, Side::Recv),
                Step::Moved(_) | Step::Promised(_) => unreachable!("only a receive meets those"),
            }
        }
    }

    /// Gives the channel a block, in the middle of a step that will be tried again.
    pub(super) fn add_block<'a>(&'a self, state: Locked<'a, T, Waiter>) -> Locked<'a, T, Waiter> {
        drop(state);
        let block = Block::new();
        let mut state = self.lock();
        // Another sender may have been faster: then two are at hand, and ours goes.
        let superfluous = self.offer(&mut state, block);
        if superfluous.is_none() {
            return state;
        }
        drop(state);
        drop(superfluous);
        self.lock()
    }

    /// Tells the watchers of a side, in the middle of a step that will be tried again.
    #[cold]
    pub(super) fn tell_watchers<'a>(&'a self, mut state: Locked<'a, T, Waiter>, side: Side) -> Locked<'a, T, Waiter> {
        let watchers = self.take_watchers(&mut state, side);
        drop(state);
        tell(watchers);
        self.lock()
    }

    /// Waits for a receiver.
    ///
    /// # Safety
    /// As [`Self::send`]; the step was blocked under this hold of the lock.
    unsafe fn send_wait(
        &self,
        mut state: Locked<'_, T, Waiter>,
        wait: Wait,
        value: *mut T,
        deadline: Nanos,
    ) -> Result<(), Refused> {
        let node = Node::new(wait.waiter(), value.cast());
        // SAFETY: the node lies in this frame, which does not end before the node was popped and
        // this task readied, or `leave` has returned. Its slot holds the message.
        unsafe { self.join(&mut state, Side::Send, &node) };
        drop(state);
        let wake = park(wait, WaitReason::Send, deadline);
        if wake != Wake::Ready {
            // SAFETY: joined above; the message is as it was.
            return unsafe { self.send_given_up(wake, &node, value) };
        }
        match node.outcome() {
            Outcome::Passed => Ok(()),
            Outcome::Closed => Err(Refused::Disconnected),
            _ => crate::os::fatal("a sender was woken for nothing"),
        }
    }

    /// # Safety
    /// The wait was not ended by a peer; the node is on the senders' side; `value` holds the message.
    #[cold]
    unsafe fn send_given_up(&self, wake: Wake, node: &Node<Waiter>, value: *mut T) -> Result<(), Refused> {
        // SAFETY: the caller's promise.
        unsafe { self.leave(Side::Send, node) };
        if wake == Wake::Cancel {
            // SAFETY: nobody took the message; the unwinding drops it here.
            let _message = unsafe { value.read() };
            crate::sched::cancel::unwind();
        }
        Err(Refused::NotYet)
    }

    /// The rest of [`Self::recv`], which took the lock.
    ///
    /// # Safety
    /// `out` is valid for writes; after `Ok` the message is there.
    #[inline(never)]
    unsafe fn recv_slow<'a>(
        &'a self,
        mut state: Locked<'a, T, Waiter>,
        out: *mut T,
        until: Until,
    ) -> Result<(), Refused> {
        let mut armed = Armed::new(until);
        if self.is_timer() {
            armed.look_at_clock();
        }
        loop {
            let mut garbage = None;
            // SAFETY: the state is this channel's, `out` the caller's promise.
            match unsafe { self.recv_step(&mut state, out, &mut garbage) } {
                Step::Done => {
                    drop(state);
                    drop(garbage);
                    armed.abandon();
                    return Ok(());
                }
                Step::Moved(sender) => {
                    drop(state);
                    sender.go();
                    armed.abandon();
                    return Ok(());
                }
                Step::Direct(peer) => {
                    drop(state);
                    // SAFETY: the peer is a claimed sender, whose slot holds the message.
                    unsafe { pass(peer.slot(), out) };
                    peer.settle(Outcome::Passed).go();
                    armed.abandon();
                    return Ok(());
                }
                Step::Closed => {
                    drop(state);
                    armed.abandon();
                    return Err(Refused::Disconnected);
                }
                Step::Blocked => match armed.wait.take().or_else(|| armed.arm_locked()) {
                    None => {
                        drop(state);
                        armed.arm()?;
                        state = self.lock();
                    }
                    // SAFETY: the step was blocked, and `out` is as the caller promises.
                    Some(wait) => match unsafe { self.recv_wait(state, wait, out, armed.deadline) } {
                        Outcome::Passed => return Ok(()),
                        Outcome::Closed => return Err(Refused::Disconnected),
                        // The clock has a message, also if the deadline has passed as well; or another receiver had it.
                        Outcome::Pending if self.is_timer() => {
                            armed.look_at_clock();
                            state = self.lock();
                        }
                        Outcome::Pending => return Err(Refused::NotYet),
                        _ => state = self.lock(),
                    },
                },
                Step::Promised(sender) => {
                    drop(state);
                    armed.abandon();
                    // SAFETY: `out` is as the caller promises.
                    if unsafe { redeem(sender, out.cast()) } {
                        return Ok(());
                    }
                    state = self.lock();
                }
                Step::Watched => state = self.tell_watchers(state, Side::Send),
                Step::NoBlock => unreachable!("a receive needs no block"),
            }
        }
    }

    /// Waits for a sender. `Pending` if the deadline came first.
    ///
    /// # Safety
    /// As [`Self::recv_slow`]; the step was blocked under this hold of the lock.
    unsafe fn recv_wait(&self, mut state: Locked<'_, T, Waiter>, wait: Wait, out: *mut T, deadline: Nanos) -> Outcome {
        let node = Node::new(wait.waiter(), out.cast());
        // SAFETY: the node lies in this frame, which does not end before the node was popped and
        // this task readied, or `leave` has returned. Its slot has room for a message.
        unsafe { self.join(&mut state, Side::Recv, &node) };
        drop(state);
        let deadline = if self.is_timer() { deadline.min(self.next_time()) } else { deadline };
        let wake = park(wait, WaitReason::Recv, deadline);
        if wake != Wake::Ready {
            // SAFETY: joined above.
            unsafe { self.recv_given_up(wake, &node) };
            return Outcome::Pending;
        }
        match node.outcome() {
            Outcome::Pending => crate::os::fatal("a receiver was woken for nothing"),
            outcome => outcome,
        }
    }

    /// # Safety
    /// The wait was not ended by a peer; the node is on the receivers' side.
    #[cold]
    unsafe fn recv_given_up(&self, wake: Wake, node: &Node<Waiter>) {
        // SAFETY: the caller's promise.
        unsafe { self.leave(Side::Recv, node) };
        if wake == Wake::Cancel {
            crate::sched::cancel::unwind();
        }
    }
}

/// Waits for the message of a select's sender, which has been claimed before it made one. False if
/// it sends nothing after all; then everything is as before.
///
/// The wait is claimed here, in the name of the sender: so whoever else could end it comes too late.
///
/// # Safety
/// `out` is valid for writes of the channel's messages; after true one is there.
#[cold]
unsafe fn redeem(sender: Claimed<Waiter>, out: *mut ()) -> bool {
    let wait = wait::begin();
    if !wait.claim_for_another() {
        // `cancel` was faster. The next call that parks will see to it.
        sender.settle(Outcome::Withdrawn).go();
        wait.abandon();
        return false;
    }
    let node = Node::new(wait.waiter(), out);
    // SAFETY: our own task is claimed, and the node stays until the sender has readied it.
    unsafe { sender.promise(&node) }.go();
    park(wait, WaitReason::Recv, NEVER);
    node.outcome() == Outcome::Passed
}

/// Parks. Not generic and not inlined: a program has the code of a switch once, not for each type
/// of message on each side, and the CPU learns where its jump leads.
#[inline(never)]
pub(super) fn park(wait: Wait, reason: WaitReason, deadline: Nanos) -> Wake {
    wait.park(reason, deadline)
}

/// The wait of an operation that was blocked once.
struct Armed {
    until: Until,
    wait: Option<Wait>,
    deadline: Nanos,
}

impl Armed {
    #[inline(always)]
    fn new(until: Until) -> Armed {
        Armed { until, wait: None, deadline: NEVER }
    }

    /// Arms, unless there is no time to wait. Without the lock.
    fn arm(&mut self) -> Result<(), Refused> {
        // Once: the time does not begin anew with another wait.
        if self.deadline == NEVER {
            self.deadline = self.until.deadline().ok_or(Refused::NotYet)?;
        }
        self.wait = Some(wait::begin());
        Ok(())
    }

    /// Settles until when to wait, or that it is not to wait any more. Before a step, for messages of the clock: so the step finds
    /// whatever was due before the deadline.
    #[cold]
    fn look_at_clock(&mut self) {
        debug_assert!(self.wait.is_none());
        let deadline = match self.deadline {
            NEVER => self.until.deadline(),
            deadline => (deadline > clock::now()).then_some(deadline),
        };
        match deadline {
            Some(deadline) => self.deadline = deadline,
            None => *self = Armed::new(Until::Now),
        }
    }

    /// Arms under the lock if that is cheap: without a deadline, and but for a thread's first wait. Saves
    /// the commonest case of all a second taking of the lock and a second step.
    #[inline(always)]
    fn arm_locked(&mut self) -> Option<Wait> {
        if matches!(self.until, Until::Done) { wait::begin_locked() } else { None }
    }

    /// The operation was done after all. Whoever ended the wait meanwhile, which only `cancel` can have
    /// done as nobody else knew of it, comes too late for it; the next call that parks will see to that.
    #[inline(always)]
    fn abandon(&mut self) {
        if let Some(wait) = self.wait.take() {
            wait.abandon();
        }
    }
}

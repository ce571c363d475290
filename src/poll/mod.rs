//! The netpoller: coroutines that wait for descriptors.
//!
//! Promise: a coroutine that waits for a descriptor is handed to the scheduler by the first
//! [`Poller::poll`] after the kernel says that the descriptor is ready, and nobody is woken for
//! a descriptor that has been closed. No thread belongs to the poller: whoever idles waits in
//! it, whoever schedules may peek.
//!
//! # Words
//!
//! A *record* is a descriptor registered in a poller (`desc.rs`). It has two *sides*, read and
//! write. An *edge* is the kernel's word that something has happened to a side. `word.rs` has
//! the protocol between those who use a side and the edges, and the proof that no wake-up is
//! lost; this is its outline:
//!
//! | | an operation | an event |
//! |---|---|---|
//! | 1 | observe the side: the count of its edges | the kernel reports an edge |
//! | 2 | try the system call; done unless it would block | count it, take the waiters out |
//! | 3 | wait, provided that the count is still the same; else from 1 | claim and ready them |
//!
//! The order "observe, then try" is the whole trick: an edge that comes after the attempt
//! differs from what was observed before it. There is no flag to be cleared at the right time.
//! A *spurious* edge (an old one, one that told of bytes already read, a moved deadline) makes
//! somebody try in vain once, which is always allowed.
//!
//! # Reads that wait first
//!
//! A server reads a request, answers, and reads again to find nothing: one failed call for each
//! request. A read from a stream socket that returned fewer bytes than asked for has emptied
//! it, so the next read may skip the attempt of step 2 and wait (`word.rs`, "Drained", says why
//! nothing is lost). That is sound only where "short" means "empty":
//!
//! - not once an event carried RDHUP, HUP or ERR: the end of the stream may be there,
//!   announced, and no further edge would come. The side remembers it for good;
//! - not once urgent data was announced (PRI): a read stops short of the urgent mark with more
//!   behind it. Remembered as well;
//! - not where a request is longer than the kernel transfers in one call (`TRANSFER_LIMIT`) or a
//!   vector is longer than it takes;
//! - not where messages have borders: only TCP streams ask for it. Programs that change what a
//!   short read means behind our back (a kernel TLS upper layer set through the raw descriptor)
//!   must read with the raw descriptor as well.
//!
//! A peek leaves the bytes there and notes nothing.
//!
//! # Writes that never wait
//!
//! Most sockets are written to without ever being full. But where edges for writes are asked for, the kernel mentions with each that there
//! is something to read that there is room to write as well, and counting that is a write to one more cache line for each request. So
//! a descriptor is registered for reads alone until a write has to wait; then it asks for both, which makes an edge if there is room by now.
//!
//! # What a back end supplies
//!
//! `Slot`, room for one event, and `Backend` with: `new`; `add(fd, tag, writes)`, which must report the
//! present state as a first edge, and fails with `AlreadyExists` if `fd` is in it; `add_writes(fd, tag)`, for one that was added without, which
//! must report the present state, too; `delete(fd)`; `wait(slots, timeout_ns, each)`, which calls
//! `each` with a [`Report`] per event and may return early; `wake`, which makes a wait report
//! [`Report::Woken`], this one or the next, to every caller until `clear_wake`. All take `&self`
//! from any number of threads.
//!
//! # Rejected
//!
//! A registration per direction (twice the calls); one-shot registrations (a call for each
//! wait); a thread of its own (a hop more for each event); a shared counter of waiters (two
//! contended writes for each wait; [`Poller::waiting`] looks at the records instead, when
//! somebody asks).

pub(crate) mod desc;
mod epoll;
#[cfg(test)]
mod tests;
pub(crate) mod wait;
pub(crate) mod word;

use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::lock::Spin;
use crate::sched::wait::{Waiter, Wake};
use desc::{Direction, Handle};
use epoll::{Backend, Slot};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use word::{Side, Taken};

/// Events fetched by one call.
const BATCH: usize = 128;
/// Events fetched by one call when the buffers are taken; on the caller's stack.
const SMALL_BATCH: usize = 16;

/// What a back end tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Report {
    /// Something happened to a descriptor.
    Edge {
        tag: u64,
        readable: bool,
        writable: bool,
        /// From now on a short read does not mean an empty socket.
        always: bool,
    },
    /// [`Poller::wake`] was called.
    Woken,
}

/// Room for a batch of events; used by whoever finds it free.
type Buffer = Spin<Box<[Slot; BATCH]>>;

/// The descriptors of one runtime; see the module.
#[derive(Debug)]
pub(crate) struct Poller {
    backend: Backend,
    registered: AtomicIsize,
    /// A wake-up is under way and has not been noticed by a sleeper.
    woken: AtomicBool,
    /// Nobody polls it any more, and nobody waits in it.
    ended: AtomicBool,
    peek_buffer: Buffer,
    sleep_buffer: Buffer,
}

impl Poller {
    /// So many wait for what one look finds, at most.
    pub(crate) const MOST: usize = 2 * BATCH;

    pub(crate) fn new() -> io::Result<Poller> {
        let buffer = || Spin::new(Box::new([MaybeUninit::uninit(); BATCH]));
        Ok(Poller {
            backend: Backend::new()?,
            registered: AtomicIsize::new(0),
            woken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            peek_buffer: buffer(),
            sleep_buffer: buffer(),
        })
    }

    /// Adds a descriptor, which may be in other pollers, and in this one; for reads, or with `writes` for both.
    pub(crate) fn register(self: &Arc<Poller>, fd: BorrowedFd<'_>, writes: bool) -> io::Result<Handle> {
        Handle::new(self, fd, writes)
    }

    /// Waits for events until the time `until` (0: only looks;
    /// [`NEVER`]: without end), and gives everybody whose wait it has
    /// ended to `ready`, which must ready them. Returns how many. May return early with none:
    /// when a signal came, when [`Self::wake`] was called, when those who waited had gone.
    ///
    /// Any number of threads may be in here at once. One call fetches at most [`BATCH`] events;
    /// what is left is for the next.
    pub(crate) fn poll(&self, until: Nanos, ready: &mut impl FnMut(Waiter)) -> usize {
        let (buffer, timeout_ns) = match until {
            0 => (&self.peek_buffer, 0),
            NEVER => (&self.sleep_buffer, NEVER),
            until => (&self.sleep_buffer, until.saturating_sub(clock::now())),
        };
        let is_peek = until == 0;
        // Held across the call, which a spin lock may be here because it is only ever tried.
        match buffer.try_lock() {
            Some(mut slots) => self.poll_into(&mut slots[..], timeout_ns, is_peek, ready),
            None => self.poll_into(&mut [MaybeUninit::uninit(); SMALL_BATCH], timeout_ns, is_peek, ready),
        }
    }

    #[inline]
    fn poll_into(&self, slots: &mut [Slot], timeout_ns: Nanos, is_peek: bool, ready: &mut impl FnMut(Waiter)) -> usize {
        let mut count = 0;
        let mut woken = false;
        let result = self.backend.wait(slots, timeout_ns, |report| match report {
            Report::Woken => woken = true,
            Report::Edge { tag, readable, writable, always } => {
                let Some(record) = desc::find(tag) else { return };
                if readable {
                    count += deliver(record.side(Direction::Read), always, ready);
                }
                if writable {
                    count += deliver(record.side(Direction::Write), false, ready);
                }
            }
        });
        if result.is_err() {
            // The call fails only for arguments that we never pass: somebody has closed our
            // descriptor, and everybody who waits would wait for ever.
            crate::os::fatal("the netpoller's descriptor is gone; was it closed by other code?");
        }
        // A peek leaves the wake-up to the sleeper that it is meant for, maybe one that is only
        // about to sleep.
        if woken && !is_peek {
            // First the descriptor, then the flag. The other way round, a `wake` in between
            // would write to the descriptor, have that cleared here, and leave the flag set:
            // no later `wake` would write again.
            self.backend.clear_wake();
            // AcqRel: if a `wake` found the flag set, this comes later in the order of the
            // flag, and what its caller did before is seen by ours, who looks for work next.
            self.woken.swap(false, Ordering::AcqRel);
        }
        count
    }

    /// Makes a thread that sleeps in [`Self::poll`] return, or else the next that would sleep.
    /// If several sleep, one of them. Cheap while an earlier call has not been noticed.
    pub(crate) fn wake(&self) {
        // AcqRel: pairs with the swap in `poll_into`.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.backend.wake();
        }
    }

    /// Says that the runtime has ended: what is registered may leave.
    pub(crate) fn end(&self) {
        // Release: pairs with the Acquire in `has_ended`; what those who waited here did comes before.
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        // Acquire: pairs with the Release in `end`.
        self.ended.load(Ordering::Acquire)
    }

    /// Whether something has arrived that nobody has collected. Allocates nothing, waits for nothing.
    pub(crate) fn has_arrived(&self) -> bool {
        self.backend.has_arrived()
    }

    /// How many descriptors are registered. While it is 0 there is no use in polling, other
    /// than to sleep.
    #[inline]
    pub(crate) fn registered(&self) -> usize {
        // Relaxed: whoever waits has registered before, on the thread that parks it.
        self.registered.load(Ordering::Relaxed).max(0) as usize
    }

    fn count_registered(&self, change: isize) {
        // Relaxed: a count, see `registered`.
        self.registered.fetch_add(change, Ordering::Relaxed);
    }

    /// How many wait for descriptors. It looks at every record of the process: for reports, not
    /// for every idle moment. Exact when nobody comes or goes, never 0 while somebody stays.
    pub(crate) fn waiting(&self) -> usize {
        let mut sum = 0;
        if self.registered() > 0 {
            desc::for_each(self, |record| sum += record.waiting());
        }
        sum
    }
}

/// Counts an edge and ends the waits of those who waited for it.
#[inline(always)]
fn deliver(side: &Side, always: bool, ready: &mut impl FnMut(Waiter)) -> usize {
    let Taken { first, others } = side.edge(always);
    let mut count = 0;
    for waiter in first.into_iter().chain(others) {
        if waiter.claim(Wake::Ready) {
            count += 1;
            ready(waiter);
        }
    }
    count
}

/// Makes whoever waits on `side` look again, though nothing happened to the descriptor: its
/// deadline has moved.
pub(crate) fn nudge(side: &Side) {
    // SAFETY: `deliver` gives us waiters that it has just claimed, each once.
    deliver(side, false, &mut |waiter| unsafe { waiter.ready() });
}

//! Channels between coroutines, threads, or both.
//!
//! The interface is that of the crossbeam-channel crate, so that code moves over by changing the
//! import; Go's `close` comes on top. (One thing is not taken over: a [`Select`] is neither `Send` nor `Sync`. It
//! takes the message when it chooses, so it would have to refuse channels of messages that are not `Send`, between
//! [local](crate::spawn_local) coroutines.) A channel is made by [`bounded`] or [`unbounded`] and used
//! through its two kinds of handle, [`Sender`] and [`Receiver`]. Both can be cloned, shared
//! and sent; a message goes to exactly one receiver.
//!
//! ```
//! use gort::channel;
//!
//! let total: u64 = gort::run(|| {
//!     let (sender, receiver) = channel::bounded(16);
//!     for part in 0..4u64 {
//!         let sender = sender.clone();
//!         gort::go!(move || sender.send(part).unwrap());
//!     }
//!     drop(sender);
//!     // Ends when all senders are gone.
//!     receiver.iter().sum()
//! });
//! assert_eq!(total, 6);
//! ```
//!
//! # Capacity
//!
//! A bounded channel holds so many messages; a send waits while it is full. With capacity zero a
//! send and a receive meet: each waits for the other. An unbounded channel holds what memory
//! allows, and a send to it never waits.
//!
//! # Order
//!
//! Messages are received in the order in which they were sent. Those who wait are served in the
//! order in which they came, and nobody overtakes them: a message is handed to the one who has
//! waited longest, not put up for whoever is fastest.
//!
//! # The end
//!
//! A channel is *disconnected* when all its senders or all its receivers were dropped, or when
//! either side called `close` ([`Sender::close`], [`Receiver::close`]). After that a send fails and
//! gives its message back. A receive still takes what was sent before; then it fails too. All
//! who wait are woken. When the last receiver is dropped, messages nobody can receive any more are
//! dropped with it.
//!
//! # Select
//!
//! [`select!`](crate::select) waits for the first of several operations, on channels and on whatever else is
//! [`Waitable`]; [`Select`] does so for a set that is known only when the program runs. [`after`], [`at`] and [`tick`] make
//! channels whose messages come from the clock, [`never()`] one that stays empty.
//!
//! # Scheduling
//!
//! A coroutine that has to wait parks: its thread runs others meanwhile. A plain thread
//! blocks. Every send and receive, also one that does not wait, is a point where a coroutine that has
//! used up its time slice lets others run, and where a cancelled one may unwind: a send that was
//! cancelled has not sent (its message is dropped), a receive has taken nothing. All other methods
//! return at once.

mod blocking;
mod case;
mod chan;
mod clock;
mod error;
mod handles;
mod iter;
#[doc(hidden)]
pub mod macro_parts;
mod receiver;
mod select;
mod select_macro;
mod selector;
mod sender;
mod store;
#[cfg(test)]
mod tests;
mod timer;
mod waitable;
mod waitq;

pub use crate::{select, select_biased};
pub use error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError, SendTimeoutError, TryReadyError,
    TryRecvError, TrySelectError, TrySendError,
};
pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use selector::{Select, SelectedOperation};
pub use sender::Sender;
pub use timer::{after, at, never, tick};
pub use waitable::{SelectWaker, Waitable};

/// Makes a channel that holds at most `cap` messages.
///
/// With `cap` zero it holds none: a send waits until a receiver takes the message from it.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = gort::channel::bounded(1);
/// sender.send("first").unwrap();
/// assert!(sender.try_send("no room").is_err());
/// assert_eq!(receiver.recv(), Ok("first"));
/// ```
///
/// ```
/// let (sender, receiver) = gort::channel::bounded(0);
/// std::thread::spawn(move || sender.send("hand to hand").unwrap());
/// assert_eq!(receiver.recv(), Ok("hand to hand"));
/// ```
///
/// # Panics
///
/// If so many messages would be more than memory can be addressed.
pub fn bounded<T>(cap: usize) -> (Sender<T>, Receiver<T>) {
    assert!(cap <= isize::MAX as usize, "the capacity of the channel is too large");
    handles_of(cap)
}

/// Makes a channel that holds any number of messages.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = gort::channel::unbounded();
/// for i in 0..1000 {
///     sender.send(i).unwrap();
/// }
/// assert_eq!(receiver.len(), 1000);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    handles_of(chan::UNBOUNDED)
}

fn handles_of<T>(cap: usize) -> (Sender<T>, Receiver<T>) {
    let chan = chan::Chan::allocate(cap);
    // SAFETY: a new channel has one handle on each side, which these are.
    unsafe { (Sender::from_raw(chan), Receiver::from_raw(chan)) }
}

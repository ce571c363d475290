//! What `select!` expands to: each case a value of its own type, so that the place of a message is a
//! local variable and nothing is allocated or erased that the compiler knows.
#![allow(missing_docs, reason = "not for users")]

pub use super::blocking::Until;
pub use super::case::Case;
use super::case::Chosen;
use super::error::{RecvError, SendError};
use super::receiver::Receiver;
use super::select::{self, Order};
use super::sender::Sender;
use super::waitable::Waitable;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::time::Duration;

/// The functions that make the cases, by their names in `select!`. As arguments handles are found
/// through any references and boxes.
pub mod cases {
    use super::*;

    #[inline(always)]
    pub fn recv<T>(receiver: &Receiver<T>) -> Recv<'_, T> {
        Recv(receiver)
    }

    #[inline(always)]
    pub fn send<T>(sender: &Sender<T>) -> Send<'_, T> {
        Send(sender)
    }

    #[inline(always)]
    pub fn wait<W: Waitable>(what: &W) -> Wait<'_, W> {
        Wait(what)
    }
}

#[derive(Debug)]
pub struct Recv<'a, T>(&'a Receiver<T>);
#[derive(Debug)]
pub struct Send<'a, T>(&'a Sender<T>);
#[derive(Debug)]
pub struct Wait<'a, W>(&'a W);

/// Where a message comes to lie. Has no drop: `select!` takes the message out as soon as one came.
#[derive(Debug)]
pub struct Place<T>(MaybeUninit<T>);

impl<'a, T> Recv<'a, T> {
    #[inline(always)]
    pub fn place(&self) -> Place<T> {
        Place(MaybeUninit::uninit())
    }

    #[inline(always)]
    pub fn case<'p>(&self, place: &'p mut Place<T>) -> Case<'p>
    where
        'a: 'p,
    {
        Case::recv(self.0.chan()).with_slot(place.0.as_mut_ptr().cast())
    }

    /// The outcome of a select in which this case was chosen.
    #[inline(always)]
    pub fn finish(&self, place: &mut Place<T>, selected: Selected) -> Result<T, RecvError> {
        match selected.chosen {
            Chosen::Received => {
                assert_eq!(selected.slot, place.0.as_mut_ptr().cast(), "another case was chosen");
                // SAFETY: the message was put there, and `selected` is used up.
                Ok(unsafe { place.0.assume_init_read() })
            }
            _ => Err(RecvError),
        }
    }
}

impl<'a, T> Send<'a, T> {
    #[inline(always)]
    pub fn place(&self) {}

    #[inline(always)]
    pub fn case(&self, (): &mut ()) -> Case<'a> {
        Case::send(self.0.chan())
    }

    /// The right to send, until a message is there.
    #[inline(always)]
    pub fn finish(&self, (): &mut (), selected: Selected) -> Sending<'a, T> {
        assert_eq!(selected.what, std::ptr::from_ref(self.0.chan()).cast(), "another case was chosen");
        Sending { sender: self.0, chosen: ManuallyDrop::new(selected.chosen) }
    }
}

impl<'a, W: Waitable> Wait<'a, W> {
    #[inline(always)]
    pub fn place(&self) {}

    #[inline(always)]
    pub fn case(&self, (): &mut ()) -> Case<'a> {
        Case::wait(self.0)
    }
}

/// A send that was chosen. If the making of its message panics it is given up.
#[derive(Debug)]
pub struct Sending<'a, T> {
    sender: &'a Sender<T>,
    chosen: ManuallyDrop<Chosen>,
}

impl<T> Sending<'_, T> {
    #[inline(always)]
    pub fn send(self, message: T) -> Result<(), SendError<T>> {
        let mut this = ManuallyDrop::new(self);
        let mut message = ManuallyDrop::new(message);
        // SAFETY: the choice is taken once: `this` is not dropped. It is of this channel: `finish` has
        // checked it. The message is valid, and not used here any more after `Ok`.
        match unsafe { this.sender.chan().send_chosen(&raw mut *message, ManuallyDrop::take(&mut this.chosen)) } {
            Ok(()) => Ok(()),
            Err(_) => Err(SendError(ManuallyDrop::into_inner(message))),
        }
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        // SAFETY: as in `send`, which has not been called.
        unsafe { self.sender.chan().give_up_send(ManuallyDrop::take(&mut self.chosen)) };
    }
}

/// What a select has chosen.
#[derive(Debug)]
pub struct Selected {
    index: usize,
    slot: *const (),
    what: *const (),
    chosen: Chosen,
}

impl Selected {
    /// Which; beyond all if none.
    #[inline(always)]
    pub fn index(&self) -> usize {
        self.index
    }
}

#[inline(always)]
pub fn choose(cases: &[Case<'_>], until: Until, biased: bool) -> Selected {
    let order = if biased { Order::Biased } else { Order::Fair };
    // SAFETY: the slots are places that the cases have borrowed.
    match unsafe { select::choose(cases, until, order) } {
        Some((index, chosen)) => {
            let case = &cases[index];
            Selected { index, slot: case.slot, what: case.what, chosen }
        }
        None => {
            Selected { index: usize::MAX, slot: std::ptr::null(), what: std::ptr::null(), chosen: Chosen::Disconnected }
        }
    }
}

#[inline(always)]
pub fn now() -> Until {
    Until::Now
}

#[inline(always)]
pub fn done() -> Until {
    Until::Done
}

#[inline(always)]
pub fn within(timeout: Duration) -> Until {
    Until::Elapsed(timeout)
}

#[cold]
pub fn none_chosen() -> ! {
    unreachable!("a select without a deadline ends with a case")
}

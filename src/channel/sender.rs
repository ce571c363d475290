//! The sending handle.

use super::blocking::{Refused, Until};
use super::chan::Chan;
use super::error::{SendError, SendTimeoutError, TrySendError};
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// The sending side of a channel, made by [`bounded`](super::bounded) or
/// [`unbounded`](super::unbounded).
///
/// It can be cloned, and used by many at once. When the last one is dropped the channel is
/// disconnected: receivers take what is left, and then fail.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = gort::channel::unbounded();
/// let another = sender.clone();
/// std::thread::spawn(move || another.send(1).unwrap()).join().unwrap();
/// sender.send(2).unwrap();
/// drop(sender);
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
/// ```
pub struct Sender<T> {
    chan: NonNull<Chan<T>>,
}

// SAFETY: a handle is a counted pointer to a channel, which is `Send` and `Sync` for such `T`.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Sender<T> {}

// No operation leaves a channel in a state that a later one could not go on from: no user code
// runs while its invariants are broken.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    /// # Safety
    /// The caller has a sender's handle to the channel, which it gives up to this value.
    pub(super) unsafe fn from_raw(chan: NonNull<Chan<T>>) -> Sender<T> {
        Sender { chan }
    }

    #[inline(always)]
    pub(super) fn chan(&self) -> &Chan<T> {
        // SAFETY: our handle keeps the channel alive.
        unsafe { self.chan.as_ref() }
    }

    /// The common part of the sends. An error comes with the message.
    #[inline(always)]
    fn send_until(&self, message: T, until: Until) -> Result<(), (Refused, T)> {
        let mut message = ManuallyDrop::new(message);
        // SAFETY: the message is valid. After `Ok` or an unwinding it is not used here any more.
        match unsafe { self.chan().send(&raw mut *message, until) } {
            Ok(()) => Ok(()),
            Err(refused) => Err((refused, ManuallyDrop::into_inner(message))),
        }
    }

    /// Sends a message if that is possible without waiting: there is room, or a receiver waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{TrySendError, bounded};
    ///
    /// let (sender, receiver) = bounded(1);
    /// assert_eq!(sender.try_send(1), Ok(()));
    /// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    /// drop(receiver);
    /// assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] or [`TrySendError::Disconnected`], with the message.
    ///
    /// # Scheduling
    ///
    /// Never parks or blocks. May let other coroutines run first, if the time slice is over.
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        crate::sched::checkpoint();
        if self.chan().looks_full() {
            return Err(TrySendError::Full(message));
        }
        self.send_until(message, Until::Now).map_err(|(refused, message)| match refused {
            Refused::NotYet => TrySendError::Full(message),
            Refused::Disconnected => TrySendError::Disconnected(message),
        })
    }

    /// Sends a message, and waits while the channel is full.
    ///
    /// With capacity zero it waits until a receiver has taken the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{SendError, bounded};
    ///
    /// let (sender, receiver) = bounded(1);
    /// assert_eq!(sender.send(1), Ok(()));
    /// std::thread::spawn(move || {
    ///     assert_eq!(receiver.recv(), Ok(1));
    ///     drop(receiver);
    /// });
    /// // The second waits for room; either it finds some, or the receiver is gone.
    /// if let Err(SendError(message)) = sender.send(2) {
    ///     assert_eq!(message, 2);
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`], with the message, if the channel is disconnected or becomes so meanwhile.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine, or blocks the thread, until there is room.
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        crate::sched::checkpoint();
        self.send_until(message, Until::Done).map_err(|(_, message)| SendError(message))
    }

    /// Sends a message, and waits for no longer than `timeout` while the channel is full.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{SendTimeoutError, bounded};
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = bounded(0);
    /// let nobody = sender.send_timeout(1, Duration::from_millis(5));
    /// assert_eq!(nobody, Err(SendTimeoutError::Timeout(1)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError::Timeout`] if the time has passed, [`SendTimeoutError::Disconnected`] if
    /// the channel is disconnected or becomes so meanwhile; both with the message.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine, or blocks the thread, until there is room or the time has passed.
    #[inline]
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_in_time(message, Until::Elapsed(timeout))
    }

    /// Sends a message, and waits no longer than until `deadline` while the channel is full.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (sender, _receiver) = gort::channel::bounded(1);
    /// let deadline = Instant::now() + Duration::from_millis(5);
    /// assert!(sender.send_deadline(1, deadline).is_ok());
    /// assert!(sender.send_deadline(2, deadline).unwrap_err().is_timeout());
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::send_timeout`]. A message that can be sent at once is, even after the deadline.
    ///
    /// # Scheduling
    ///
    /// As [`Self::send_timeout`].
    #[inline]
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_in_time(message, Until::Instant(deadline))
    }

    #[inline]
    fn send_in_time(&self, message: T, until: Until) -> Result<(), SendTimeoutError<T>> {
        crate::sched::checkpoint();
        self.send_until(message, until).map_err(|(refused, message)| match refused {
            Refused::NotYet => SendTimeoutError::Timeout(message),
            Refused::Disconnected => SendTimeoutError::Disconnected(message),
        })
    }

    /// Closes the channel: sends fail from now on, receives take what was sent and then fail.
    ///
    /// Who waits is woken; a send that waited fails and gives its message back. Returns true if
    /// this call closed it, false if it was closed or disconnected already. Unlike in Go a second close and a
    /// send after it are no faults.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::bounded(2);
    /// sender.send(1).unwrap();
    /// assert!(sender.close());
    /// assert!(!sender.close());
    /// assert!(sender.send(2).is_err());
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert!(receiver.recv().is_err());
    /// ```
    ///
    /// # Scheduling
    ///
    /// Never parks or blocks; takes time in proportion to the number of waiters.
    pub fn close(&self) -> bool {
        self.chan().close()
    }

    /// True if the channel holds no message. A channel of capacity zero is always empty.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::unbounded();
    /// assert!(sender.is_empty() && receiver.is_empty());
    /// sender.send(1).unwrap();
    /// assert!(!sender.is_empty() && !receiver.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.chan().len() == 0
    }

    /// True if the channel holds as many messages as it can. A channel of capacity zero is
    /// always full.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::bounded(1);
    /// assert!(!sender.is_full() && !receiver.is_full());
    /// sender.send(1).unwrap();
    /// assert!(sender.is_full() && receiver.is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        self.chan().is_full()
    }

    /// The number of messages in the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::unbounded();
    /// sender.send(1).unwrap();
    /// assert_eq!((sender.len(), receiver.len()), (1, 1));
    /// ```
    pub fn len(&self) -> usize {
        self.chan().len()
    }

    /// The number of messages that the channel can hold; None if it is unbounded.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{bounded, unbounded};
    ///
    /// let (sender, receiver) = bounded::<u8>(16);
    /// assert_eq!((sender.capacity(), receiver.capacity()), (Some(16), Some(16)));
    /// assert_eq!(unbounded::<u8>().0.capacity(), None);
    /// ```
    pub fn capacity(&self) -> Option<usize> {
        self.chan().capacity()
    }

    /// True if both send to the same channel.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::unbounded;
    ///
    /// let (sender, _receiver) = unbounded::<u8>();
    /// assert!(sender.same_channel(&sender.clone()));
    /// assert!(!sender.same_channel(&unbounded().0));
    /// ```
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.chan == other.chan
    }
}

impl<T> Clone for Sender<T> {
    #[inline]
    fn clone(&self) -> Sender<T> {
        self.chan().add_sender();
        Sender { chan: self.chan }
    }
}

impl<T> Drop for Sender<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and this is its end.
        unsafe { Chan::drop_sender(self.chan) };
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}

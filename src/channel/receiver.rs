//! The receiving handle.

use super::blocking::{Refused, Until};
use super::chan::Chan;
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::iter::{IntoIter, Iter, TryIter};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// The receiving side of a channel, made by [`bounded`](super::bounded) or
/// [`unbounded`](super::unbounded).
///
/// It can be cloned, and used by many at once; each message goes to one of them. When the last
/// one is dropped the channel is disconnected: sends fail, and the messages left are dropped.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = gort::channel::unbounded();
/// let another = receiver.clone();
/// sender.send(1).unwrap();
/// sender.send(2).unwrap();
/// assert_eq!(receiver.recv(), Ok(1));
/// assert_eq!(another.recv(), Ok(2));
/// ```
pub struct Receiver<T> {
    chan: NonNull<Chan<T>>,
}

// SAFETY: a handle is a counted pointer to a channel, which is `Send` and `Sync` for such `T`.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Receiver<T> {}

// No operation leaves a channel in a state that a later one could not go on from: no user code
// runs while its invariants are broken.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    /// # Safety
    /// The caller has a receiver's handle to the channel, which it gives up to this value.
    pub(super) unsafe fn from_raw(chan: NonNull<Chan<T>>) -> Receiver<T> {
        Receiver { chan }
    }

    #[inline(always)]
    pub(super) fn chan(&self) -> &Chan<T> {
        // SAFETY: our handle keeps the channel alive.
        unsafe { self.chan.as_ref() }
    }

    /// Receives a message if that is possible without waiting: there is one, or a sender waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{TryRecvError, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send(1).unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if the channel is empty, [`TryRecvError::Disconnected`] if it is
    /// disconnected as well.
    ///
    /// # Scheduling
    ///
    /// Does not wait for a sender, but for the message of a select that it meets: that has chosen to send here, and makes the
    /// message now. May let other coroutines run first, if the time slice is over.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        crate::sched::checkpoint();
        if self.chan().looks_empty() {
            return Err(TryRecvError::Empty);
        }
        self.chan().recv(Until::Now).map_err(|refused| match refused {
            Refused::NotYet => TryRecvError::Empty,
            Refused::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Receives a message, and waits while the channel is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{RecvError, bounded};
    ///
    /// let (sender, receiver) = bounded(1);
    /// std::thread::spawn(move || sender.send(5).unwrap());
    /// assert_eq!(receiver.recv(), Ok(5));
    /// assert_eq!(receiver.recv(), Err(RecvError));
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError`] if the channel is empty and disconnected, or becomes so meanwhile.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine, or blocks the thread, until there is a message.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        crate::sched::checkpoint();
        self.chan().recv(Until::Done).map_err(|_| RecvError)
    }

    /// Receives a message, and waits for no longer than `timeout` while the channel is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{RecvTimeoutError, unbounded};
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = unbounded::<u8>();
    /// let nothing = receiver.recv_timeout(Duration::from_millis(5));
    /// assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] if the time has passed, [`RecvTimeoutError::Disconnected`] if
    /// the channel is empty and disconnected or becomes so meanwhile.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine, or blocks the thread, until there is a message or the time has passed. The message of a select
    /// that has chosen to send here is waited for, however long its making takes.
    #[inline]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_in_time(Until::Elapsed(timeout))
    }

    /// Receives a message, and waits no longer than until `deadline` while the channel is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (sender, receiver) = gort::channel::unbounded();
    /// let deadline = Instant::now() + Duration::from_millis(5);
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.recv_deadline(deadline), Ok(1));
    /// assert!(receiver.recv_deadline(deadline).unwrap_err().is_timeout());
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::recv_timeout`]. A message that is there is received even after the deadline.
    ///
    /// # Scheduling
    ///
    /// As [`Self::recv_timeout`].
    #[inline]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_in_time(Until::Instant(deadline))
    }

    #[inline]
    fn recv_in_time(&self, until: Until) -> Result<T, RecvTimeoutError> {
        crate::sched::checkpoint();
        self.chan().recv(until).map_err(|refused| match refused {
            Refused::NotYet => RecvTimeoutError::Timeout,
            Refused::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// Closes the channel: sends fail from now on, receives take what was sent and then fail.
    ///
    /// The same as [`Sender::close`](super::Sender::close): true if this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::bounded(2);
    /// sender.send(1).unwrap();
    /// assert!(receiver.close());
    /// assert!(sender.send(2).is_err());
    /// // Nothing that was sent is lost.
    /// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
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
        self.chan().receivable() == 0
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
        Some(self.chan().receivable()) == self.chan().capacity()
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
        self.chan().receivable()
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

    /// An iterator that receives each message as [`Self::recv`] does, and ends when that fails.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::unbounded();
    /// std::thread::spawn(move || {
    ///     for i in 0..3 {
    ///         sender.send(i).unwrap();
    ///     }
    /// });
    /// assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// ```
    ///
    /// # Scheduling
    ///
    /// `next` parks the coroutine, or blocks the thread, as [`Self::recv`] does.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// An iterator that receives each message as [`Self::try_recv`] does: it never waits, and
    /// ends when there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::unbounded();
    /// sender.send(1).unwrap();
    /// sender.send(2).unwrap();
    /// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// ```
    ///
    /// # Scheduling
    ///
    /// `next` does not wait, but for the message of a select that it meets, like [`Self::try_recv`].
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// True if both receive from the same channel.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::unbounded;
    ///
    /// let (_sender, receiver) = unbounded::<u8>();
    /// assert!(receiver.same_channel(&receiver.clone()));
    /// assert!(!receiver.same_channel(&unbounded().1));
    /// ```
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.chan == other.chan
    }
}

impl<T> Clone for Receiver<T> {
    #[inline]
    fn clone(&self) -> Receiver<T> {
        self.chan().add_receiver();
        Receiver { chan: self.chan }
    }
}

impl<T> Drop for Receiver<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and this is its end.
        unsafe { Chan::drop_receiver(self.chan) };
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

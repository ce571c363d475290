//! Iterators over the messages of a channel.

use super::receiver::Receiver;
use std::fmt;
use std::iter::FusedIterator;

/// Receives message after message, waiting for each; made by [`Receiver::iter`]. Ends when the
/// channel is empty and disconnected.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = gort::channel::unbounded();
/// sender.send(1).unwrap();
/// drop(sender);
/// let mut messages = receiver.iter();
/// assert_eq!(messages.next(), Some(1));
/// assert_eq!(messages.next(), None);
/// ```
///
/// # Scheduling
///
/// `next` parks the coroutine, or blocks the thread, until there is a message.
pub struct Iter<'a, T> {
    pub(super) receiver: &'a Receiver<T>,
}

/// Receives the messages that are there, without waiting; made by [`Receiver::try_iter`]. Ends
/// when there is none; it may go on when there are more.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = gort::channel::unbounded();
/// let mut messages = receiver.try_iter();
/// assert_eq!(messages.next(), None);
/// sender.send(1).unwrap();
/// assert_eq!(messages.next(), Some(1));
/// ```
///
/// # Scheduling
///
/// `next` does not wait, but for the message of a select that it meets, like [`Receiver::try_recv`].
pub struct TryIter<'a, T> {
    pub(super) receiver: &'a Receiver<T>,
}

/// Receives message after message, waiting for each; made by [`Receiver::into_iter`]. Ends when
/// the channel is empty and disconnected.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = gort::channel::unbounded();
/// std::thread::spawn(move || (0..3).for_each(|i| sender.send(i).unwrap()));
/// let mut sum = 0;
/// for message in receiver {
///     sum += message;
/// }
/// assert_eq!(sum, 3);
/// ```
///
/// # Scheduling
///
/// `next` parks the coroutine, or blocks the thread, until there is a message.
pub struct IntoIter<T> {
    pub(super) receiver: Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

// A channel that was empty and disconnected once is so for ever.
impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Iter { .. }")
    }
}

impl<T> fmt::Debug for TryIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("TryIter { .. }")
    }
}

impl<T> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("IntoIter { .. }")
    }
}

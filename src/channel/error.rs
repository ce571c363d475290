//! What a channel operation reports when it cannot do what was asked.
//!
//! The names, shapes and texts of `Display` are those of the crossbeam-channel crate, so that code
//! which matches on them moves over by changing the import. The errors of a send carry the message
//! back: whoever failed to send it still owns it. The word *disconnected* covers three ends of
//! a channel that callers need not tell apart: all handles of the other side were dropped, all
//! handles of one's own side were (seen through a message in flight), or somebody called `close`.

use std::error;
use std::fmt;

/// The message could not be sent because the channel is disconnected. Returned by
/// [`Sender::send`](super::Sender::send); it holds the message.
///
/// # Examples
///
/// ```
/// use gort::channel::{SendError, unbounded};
///
/// let (sender, receiver) = unbounded();
/// drop(receiver);
/// assert_eq!(sender.send(1), Err(SendError(1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The message was not sent at once. Returned by [`Sender::try_send`](super::Sender::try_send);
/// it holds the message.
///
/// # Examples
///
/// ```
/// use gort::channel::{TrySendError, bounded};
///
/// let (sender, _receiver) = bounded(1);
/// sender.send(1).unwrap();
/// match sender.try_send(2) {
///     Err(TrySendError::Full(message)) => assert_eq!(message, 2),
///     other => unreachable!("{other:?}"),
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full; or, for capacity zero, no receiver is waiting.
    Full(T),
    /// The channel is disconnected: no message will ever pass again.
    Disconnected(T),
}

/// The message was not sent in time. Returned by
/// [`Sender::send_timeout`](super::Sender::send_timeout) and
/// [`Sender::send_deadline`](super::Sender::send_deadline); it holds the message.
///
/// # Examples
///
/// ```
/// use gort::channel::{SendTimeoutError, bounded};
/// use std::time::Duration;
///
/// let (sender, receiver) = bounded(0);
/// let late = sender.send_timeout(1, Duration::from_millis(1));
/// assert_eq!(late, Err(SendTimeoutError::Timeout(1)));
/// drop(receiver);
/// let never = sender.send_timeout(1, Duration::from_secs(60));
/// assert_eq!(never, Err(SendTimeoutError::Disconnected(1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel stayed full until the time had passed; or, for capacity zero, no receiver came.
    Timeout(T),
    /// The channel is disconnected: no message will ever pass again.
    Disconnected(T),
}

/// The channel is empty and disconnected: no message will ever come. Returned by
/// [`Receiver::recv`](super::Receiver::recv).
///
/// # Examples
///
/// ```
/// use gort::channel::{RecvError, unbounded};
///
/// let (sender, receiver) = unbounded::<u8>();
/// drop(sender);
/// assert_eq!(receiver.recv(), Err(RecvError));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecvError;

/// No message was there. Returned by [`Receiver::try_recv`](super::Receiver::try_recv).
///
/// # Examples
///
/// ```
/// use gort::channel::{TryRecvError, unbounded};
///
/// let (sender, receiver) = unbounded::<u8>();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
/// drop(sender);
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryRecvError {
    /// The channel is empty; or, for capacity zero, no sender is waiting.
    Empty,
    /// The channel is empty and disconnected: no message will ever come.
    Disconnected,
}

/// No message came in time. Returned by [`Receiver::recv_timeout`](super::Receiver::recv_timeout)
/// and [`Receiver::recv_deadline`](super::Receiver::recv_deadline).
///
/// # Examples
///
/// ```
/// use gort::channel::{RecvTimeoutError, unbounded};
/// use std::time::Duration;
///
/// let (sender, receiver) = unbounded::<u8>();
/// let late = receiver.recv_timeout(Duration::from_millis(1));
/// assert_eq!(late, Err(RecvTimeoutError::Timeout));
/// drop(sender);
/// let never = receiver.recv_timeout(Duration::from_secs(60));
/// assert_eq!(never, Err(RecvTimeoutError::Disconnected));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecvTimeoutError {
    /// The channel stayed empty until the time had passed; or, for capacity zero, no sender came.
    Timeout,
    /// The channel is empty and disconnected: no message will ever come.
    Disconnected,
}

/// No operation was possible at once. Returned by [`Select::try_select`](super::Select::try_select).
///
/// # Examples
///
/// ```
/// use gort::channel::{Select, TrySelectError, unbounded};
///
/// let (_sender, receiver) = unbounded::<u8>();
/// let mut select = Select::new();
/// select.recv(&receiver);
/// assert_eq!(select.try_select().err(), Some(TrySelectError));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrySelectError;

/// No operation was possible in time. Returned by [`Select::select_timeout`](super::Select::select_timeout)
/// and [`Select::select_deadline`](super::Select::select_deadline).
///
/// # Examples
///
/// ```
/// use gort::channel::{Select, SelectTimeoutError, unbounded};
/// use std::time::Duration;
///
/// let (_sender, receiver) = unbounded::<u8>();
/// let mut select = Select::new();
/// select.recv(&receiver);
/// assert_eq!(select.select_timeout(Duration::from_millis(1)).err(), Some(SelectTimeoutError));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SelectTimeoutError;

/// No operation would have been possible at once. Returned by
/// [`Select::try_ready`](super::Select::try_ready).
///
/// # Examples
///
/// ```
/// use gort::channel::{Select, TryReadyError, unbounded};
///
/// let (_sender, receiver) = unbounded::<u8>();
/// let mut select = Select::new();
/// select.recv(&receiver);
/// assert_eq!(select.try_ready(), Err(TryReadyError));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TryReadyError;

/// No operation became possible in time. Returned by
/// [`Select::ready_timeout`](super::Select::ready_timeout) and
/// [`Select::ready_deadline`](super::Select::ready_deadline).
///
/// # Examples
///
/// ```
/// use gort::channel::{ReadyTimeoutError, Select, unbounded};
/// use std::time::Duration;
///
/// let (_sender, receiver) = unbounded::<u8>();
/// let mut select = Select::new();
/// select.recv(&receiver);
/// assert_eq!(select.ready_timeout(Duration::from_millis(1)), Err(ReadyTimeoutError));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadyTimeoutError;

impl<T> SendError<T> {
    /// Takes the message back.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::unbounded();
    /// drop(receiver);
    /// let error = sender.send("kept").unwrap_err();
    /// assert_eq!(error.into_inner(), "kept");
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> TrySendError<T> {
    /// Takes the message back.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, _receiver) = gort::channel::bounded(0);
    /// let error = sender.try_send("nobody waits").unwrap_err();
    /// assert_eq!(error.into_inner(), "nobody waits");
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        }
    }

    /// True if the channel was full.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, _receiver) = gort::channel::bounded(0);
    /// assert!(sender.try_send(1).unwrap_err().is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full(_))
    }

    /// True if the channel is disconnected.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::bounded(1);
    /// drop(receiver);
    /// assert!(sender.try_send(1).unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::Disconnected(_))
    }
}

impl<T> SendTimeoutError<T> {
    /// Takes the message back.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = gort::channel::bounded(0);
    /// let error = sender.send_timeout("late", Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// assert_eq!(error.into_inner(), "late");
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Disconnected(message) => message,
        }
    }

    /// True if the time had passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = gort::channel::bounded(0);
    /// assert!(sender.send_timeout(1, Duration::from_millis(1)).unwrap_err().is_timeout());
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendTimeoutError::Timeout(_))
    }

    /// True if the channel is disconnected.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = gort::channel::bounded(1);
    /// drop(receiver);
    /// assert!(sender.send_timeout(1, Duration::from_millis(1)).unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendTimeoutError::Disconnected(_))
    }
}

impl TryRecvError {
    /// True if the channel was empty but may still bring messages.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_sender, receiver) = gort::channel::unbounded::<u8>();
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        matches!(self, TryRecvError::Empty)
    }

    /// True if the channel is empty and disconnected.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = gort::channel::unbounded::<u8>();
    /// drop(sender);
    /// assert!(receiver.try_recv().unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TryRecvError::Disconnected)
    }
}

impl RecvTimeoutError {
    /// True if the time had passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = gort::channel::unbounded::<u8>();
    /// assert!(receiver.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, RecvTimeoutError::Timeout)
    }

    /// True if the channel is empty and disconnected.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = gort::channel::unbounded::<u8>();
    /// drop(sender);
    /// assert!(receiver.recv_timeout(Duration::from_millis(1)).unwrap_err().is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvTimeoutError::Disconnected)
    }
}

// The Debug forms show no message, so that they ask nothing of `T`: `unwrap` and `expect` need
// Debug of the error.

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SendError(..)")
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

const SEND_DISCONNECTED: &str = "sending on a disconnected channel";
const RECV_DISCONNECTED: &str = "receiving on an empty and disconnected channel";

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(SEND_DISCONNECTED)
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TrySendError::Full(_) => "sending on a full channel",
            TrySendError::Disconnected(_) => SEND_DISCONNECTED,
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SendTimeoutError::Timeout(_) => "timed out waiting on send operation",
            SendTimeoutError::Disconnected(_) => SEND_DISCONNECTED,
        })
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(RECV_DISCONNECTED)
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TryRecvError::Empty => "receiving on an empty channel",
            TryRecvError::Disconnected => RECV_DISCONNECTED,
        })
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RecvTimeoutError::Timeout => "timed out waiting on receive operation",
            RecvTimeoutError::Disconnected => "channel is empty and disconnected",
        })
    }
}

impl fmt::Display for TrySelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("all operations in select would block")
    }
}

impl fmt::Display for SelectTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("timed out waiting on select")
    }
}

impl fmt::Display for TryReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("all operations would block")
    }
}

impl fmt::Display for ReadyTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("timed out waiting for an operation to become ready")
    }
}

impl<T: Send> error::Error for SendError<T> {}
impl<T: Send> error::Error for TrySendError<T> {}
impl<T: Send> error::Error for SendTimeoutError<T> {}
impl error::Error for RecvError {}
impl error::Error for TryRecvError {}
impl error::Error for RecvTimeoutError {}
impl error::Error for TrySelectError {}
impl error::Error for SelectTimeoutError {}
impl error::Error for TryReadyError {}
impl error::Error for ReadyTimeoutError {}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(SendError(message): SendError<T>) -> TrySendError<T> {
        TrySendError::Disconnected(message)
    }
}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(SendError(message): SendError<T>) -> SendTimeoutError<T> {
        SendTimeoutError::Disconnected(message)
    }
}

impl From<RecvError> for TryRecvError {
    fn from(_: RecvError) -> TryRecvError {
        TryRecvError::Disconnected
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(_: RecvError) -> RecvTimeoutError {
        RecvTimeoutError::Disconnected
    }
}

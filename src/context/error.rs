//! Why a context has ended.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What was given as the cause of a context's end, shared by all that ended with it.
///
/// # Examples
/// ```
/// use gort::context::{Cause, Context};
/// use std::io;
/// let (ctx, handle) = Context::background().with_cancel();
/// handle.cancel_cause(io::Error::from(io::ErrorKind::StorageFull));
/// let cause: Cause = ctx.cause().unwrap();
/// assert!(cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull));
/// ```
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a context has ended.
///
/// # Examples
/// ```
/// use gort::context::{Context, ContextError};
/// use std::io;
///
/// fn work(ctx: &Context) -> io::Result<()> {
///     ctx.check()?; // becomes an io::Error
///     Ok(())
/// }
/// let (ctx, _) = Context::background().with_deadline(std::time::Instant::now());
/// assert_eq!(work(&ctx).unwrap_err().kind(), io::ErrorKind::TimedOut);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ContextError {
    /// It was cancelled.
    Cancelled,
    /// Its deadline has passed.
    DeadlineExceeded,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContextError::Cancelled => "the context was cancelled",
            ContextError::DeadlineExceeded => "the deadline of the context has passed",
        })
    }
}

impl Error for ContextError {}

/// Of the kind [`TimedOut`](io::ErrorKind::TimedOut), or [`Other`](io::ErrorKind::Other) for a cancel.
impl From<ContextError> for io::Error {
    fn from(error: ContextError) -> io::Error {
        let kind = match error {
            ContextError::Cancelled => io::ErrorKind::Other,
            ContextError::DeadlineExceeded => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}

//! Between coroutines and `async` code, both ways.
//!
//! - [`block_on`] runs a future to its end in the calling coroutine, which is parked while the future is pending. So
//!   an `async` library is called like any other.
//! - A [`JoinHandle`](crate::JoinHandle) can be awaited, [`Receiver::recv_async`](crate::channel::Receiver::recv_async)
//!   gives a future, and [`until`] makes one of whatever a `select!` can wait for: a context, a timer, a type of
//!   yours. These futures run on any executor, and need none of ours.
//!
//! # Crates that need a reactor
//!
//! [`block_on`] polls and waits. It brings no reactor: a future that waits for sockets or timers of tokio needs a tokio runtime,
//! whose threads do the waiting. Let such a runtime run beside this one, with a thread or two, give it what is to be
//! done, and wait here for the result:
//!
//! ```ignore
//! static TOKIO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
//!     tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
//! });
//!
//! gort::run(|| {
//!     let answer = gort::future::block_on(TOKIO.spawn(async { reqwest::get("http://localhost/").await }));
//! });
//! ```
//!
//! The package `interop/` of the repository tests this, and its `README.md` says which crates work how.
//!
//! `TOKIO.enter()` makes tokio's sockets and timers usable in a future that is polled here; but its guard is kept
//! in a thread-local, which coroutines of one [home](crate::RuntimeBuilder::homes) share, and tokio wants guards to be dropped in
//! the reverse order. So do not hold one across a wait, unless the coroutine has a
//! [home of its own](crate::Builder::own_home). Crates that start a reactor by themselves (async-io, and what is
//! built on it) need none of this.
//!
//! # Streams as futures
//!
//! With the feature `futures-io` [`TcpStream`](crate::net::TcpStream), [`UnixStream`](crate::net::UnixStream),
//! [pipes](crate::io::pipe()) and the pipes of [children](crate::process) implement `AsyncRead` and `AsyncWrite` of the `futures-io` crate,
//! also for `&TcpStream` and the like. So what is written for these traits (TLS, WebSocket, HTTP/2, codecs) runs here without
//! a runtime of its own: by [`block_on`] in a coroutine it waits in the netpoller, like everything else. On
//! other executors and threads it works as well; a thread, `gort-reactor`, waits for those.
//!
//! One stream may be read and written by several tasks, and by coroutines at the same time. Timeouts do not apply to polls: there is
//! [`timeout`](crate::time::timeout()) around `block_on`. A deadline that has passed does, and one that is set to now wakes who
//! waits. Closing a socket shuts its writing direction down.
//!
//! # Examples
//!
//! ```
//! use gort::{channel, future, go};
//!
//! gort::run(|| {
//!     let (sender, receiver) = channel::bounded(0);
//!     let sum = go!(move || {
//!         // Some library's async code.
//!         future::block_on(async {
//!             let double = go!(|| 2 * 21);
//!             receiver.recv_async().await.unwrap() + double.await.unwrap()
//!         })
//!     });
//!     sender.send(58).unwrap();
//!     assert_eq!(sum.join().unwrap(), 100);
//! });
//! ```

mod signal;
mod watch;

pub use watch::{JoinFuture, RecvFuture, Until, until};

use signal::Signal;
#[cfg(feature = "futures-io")]
pub(crate) use signal::is_ours;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Runs a future to its end and returns what it gives.
///
/// While the future is pending the coroutine is parked, or the plain thread blocked, until the waker is
/// woken. A future that has woken itself by then is polled again after others have had their turn.
///
/// It can be called inside a future that another call runs. The waker may be kept for any time, and be woken from
/// anywhere.
///
/// # Examples
///
/// ```
/// let text = gort::future::block_on(async { "ready" });
/// assert_eq!(text, "ready");
///
/// // With a limit of time, as everything that waits.
/// use std::time::Duration;
/// let never = std::future::pending::<()>();
/// let waited = gort::time::timeout(Duration::from_millis(1), || gort::future::block_on(never));
/// assert!(waited.is_err());
/// ```
///
/// # Panics
///
/// If the future does.
///
/// # Scheduling
///
/// Parks the coroutine, or blocks the thread, whenever the future is pending; may be cancelled then, which drops the future.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let signal = Arc::new(Signal::new());
    let waker = signal::waker(&signal);
    let mut context = Context::from_waker(&waker);
    loop {
        crate::sched::checkpoint();
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // SAFETY: nobody else has waited or will wait for this signal; if this unwinds the loop ends.
            Poll::Pending => unsafe { signal.wait() },
        }
    }
}

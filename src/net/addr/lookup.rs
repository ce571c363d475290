//! Looking names up without blocking who asks.
//!
//! `getaddrinfo` is a call that blocks for as long as it likes: 30 seconds and more if no name server answers, and
//! nothing ends it. So it has a thread of its own, and the caller waits for a message from it, until its deadline or
//! until it is cancelled. Nobody joins the thread. It holds nothing of the caller's, so it may go on after the caller,
//! and even the runtime, has gone.
//!
//! At most [`AT_ONCE`] threads look something up: the turns are the places in a channel, which a look-up fills
//! before it has a thread and whose thread empties it at its end.
//!
//! On a plain thread without a deadline the call is made in place. So it is, within
//! [`blocking`](crate::blocking), if no thread can be had: late is better than not.
//!
//! Rejected: a coroutine that calls `blocking` for each look-up. A runtime that is dropped would wait for it,
//! five seconds, and then complain; and the caller's home would have one more in it. Rejected: threads
//! that stay for the next. Starting one costs 50 µs, a question to a name server far more, and one that idles would be
//! a thread that could wake somebody, as far as the deadlock report knows.

use crate::channel::{self, Receiver, RecvTimeoutError, Sender};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::OnceLock;
use std::thread;
use std::time::Instant;
use std::vec;

/// How many look-ups may go on at once. Name servers and `/etc` are asked by few programs more than that in parallel.
const AT_ONCE: usize = 64;

/// What a look-up finds.
type Found = io::Result<vec::IntoIter<SocketAddr>>;

/// Looks `name` up, and gives up at `deadline`.
pub(super) fn run<N>(name: N, deadline: Option<Instant>) -> Found
where
    N: ToSocketAddrs<Iter = vec::IntoIter<SocketAddr>> + Send + Sync + 'static,
{
    apart(move || name.to_socket_addrs(), deadline)
}

/// Calls `resolve` on a thread of its own; see the module.
fn apart(resolve: impl Fn() -> Found + Send + Sync + 'static, deadline: Option<Instant>) -> Found {
    if deadline.is_none() && crate::try_current().is_none() {
        return resolve();
    }
    // Not left to chance: the answer might be there before we look at the clock.
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let turn = Turn::take(deadline)?;
    let (sender, receiver) = channel::bounded(1);
    let resolve = std::sync::Arc::new(resolve);
    let resolver = resolve.clone();
    let thread = thread::Builder::new().name("gort-lookup".to_owned()).spawn(move || {
        // Fails if nobody waits any more.
        let _ = sender.send(resolver());
        drop(turn);
    });
    if thread.is_err() {
        return crate::blocking(move || resolve());
    }
    let message = match deadline {
        Some(deadline) => receiver.recv_deadline(deadline),
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match message {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the system's resolver has panicked")),
    }
}

/// One of the [`AT_ONCE`] that may look something up.
struct Turn(&'static Receiver<()>);

impl Turn {
    fn take(deadline: Option<Instant>) -> io::Result<Turn> {
        static TURNS: OnceLock<(Sender<()>, Receiver<()>)> = OnceLock::new();
        let (sender, receiver) = TURNS.get_or_init(|| channel::bounded(AT_ONCE));
        let taken = match deadline {
            Some(deadline) => sender.send_deadline((), deadline).is_ok(),
            None => sender.send(()).is_ok(),
        };
        // The channel is never closed, so it is the deadline that has passed.
        if taken { Ok(Turn(receiver)) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    fn nothing() -> Found {
        Ok(Vec::new().into_iter())
    }

    #[test]
    fn who_asks_does_not_hold_up_others() {
        // One P, and a resolver that does not answer until a coroutine on that P has run.
        crate::Runtime::builder().procs(1).build().unwrap().run(|| {
            let (sender, receiver) = channel::bounded(1);
            let other = crate::spawn(move || sender.send(()).unwrap());
            apart(move || receiver.recv_timeout(LONG).map_err(io::Error::other).and_then(|()| nothing()), None)
                .unwrap();
            other.join().unwrap();
        });
    }

    #[test]
    fn one_that_never_answers_is_abandoned() {
        let ask = || {
            let lock = Arc::new(Mutex::new(()));
            let held = lock.lock().unwrap();
            let (resolver, ended) = (lock.clone(), Arc::new(AtomicUsize::new(0)));
            let end = ended.clone();
            let hang = move || {
                drop(resolver.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
                end.fetch_add(1, SeqCst);
                nothing()
            };
            let start = Instant::now();
            let error = apart(hang, Some(start + Duration::from_millis(5))).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(start.elapsed() >= Duration::from_millis(5));
            assert_eq!(ended.load(SeqCst), 0);
            drop(held);
            while ended.load(SeqCst) == 0 {
                crate::time::sleep(Duration::from_millis(1));
            }
        };
        ask();
        crate::run(ask);
    }

    #[test]
    fn a_runtime_does_not_wait_for_one_that_was_cancelled() {
        let (release, released) = channel::bounded::<()>(1);
        let start = Instant::now();
        let runtime = crate::Runtime::builder().procs(1).build().unwrap();
        let (began, begun) = channel::bounded(1);
        let asking = runtime.spawn(move || {
            apart(
                move || {
                    began.send(()).unwrap();
                    let _ = released.recv_timeout(LONG);
                    nothing()
                },
                None,
            )
            .map(drop)
        });
        begun.recv_timeout(LONG).unwrap();
        asking.cancel();
        assert!(asking.join().unwrap_err().is_cancelled());
        drop(runtime);
        assert!(start.elapsed() < LONG / 2);
        release.send(()).unwrap();
    }

    #[test]
    fn more_than_may_go_on_at_once_take_turns() {
        crate::run(|| {
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let asking: Vec<_> = (0..AT_ONCE * 3)
                .map(|_| {
                    let (now, most) = (now.clone(), most.clone());
                    crate::spawn(move || {
                        let resolve = move || {
                            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                            thread::sleep(Duration::from_millis(1));
                            now.fetch_sub(1, SeqCst);
                            nothing()
                        };
                        apart(resolve, Some(Instant::now() + LONG)).map(drop)
                    })
                })
                .collect();
            asking.into_iter().for_each(|asking| asking.join().unwrap().unwrap());
            assert!((1..=AT_ONCE).contains(&most.load(SeqCst)));
        });
    }
}

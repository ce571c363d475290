//! How a plain thread, outside any runtime, waits for a descriptor: in `poll(2)`.
//!
//! A deadline that is moved must reach a thread that already sleeps, so each sleeper also
//! listens to an eventfd (a *bell*), which it lists with the descriptor. Bells are pooled: there
//! are as many as threads have ever slept at once. If none can be made (no descriptors left) the
//! thread looks at its deadline every [`SLICE_NS`] instead. A thread that runs in a bound (`sched/bound.rs`) looks
//! at that each time it goes to sleep, and wakes to do so.

use crate::os::clock::{self, NEVER, Nanos};
use crate::os::epoll::EventFd;
use crate::os::socket::{self, Interest};
use crate::poll::desc::Direction;
use crate::sched::bound;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

/// How long a sleeper without a bell sleeps at a time.
const SLICE_NS: Nanos = 50_000_000;

static BELLS: Mutex<Vec<Arc<EventFd>>> = Mutex::new(Vec::new());

/// The plain threads that sleep on one descriptor.
#[derive(Debug, Default)]
pub(super) struct Sleepers(Mutex<Vec<Arc<EventFd>>>);

impl Sleepers {
    /// Sleeps until `fd` is ready or the time that `deadline` tells has passed: false then.
    /// `deadline` is asked again whenever [`Self::ring`] is called. May return true early.
    pub(super) fn sleep(
        &self,
        fd: BorrowedFd<'_>,
        direction: Direction,
        deadline: impl Fn() -> Nanos,
    ) -> io::Result<bool> {
        let interest = match direction {
            Direction::Read => Interest::Readable,
            Direction::Write => Interest::Writable,
        };
        let look_again = bound::look_again();
        let place = Place::take(self);
        // Asked after the bell was listed: either we see a new deadline or its setter sees us.
        let (deadline, now) = (deadline(), clock::now());
        if now >= deadline {
            return Ok(false);
        }
        let until = deadline.min(look_again);
        let mut timeout_ns = if until == NEVER { NEVER } else { until.saturating_sub(now) };
        if place.bell.is_none() {
            timeout_ns = timeout_ns.min(SLICE_NS);
        }
        let breaker = place.bell.as_ref().map(|bell| bell.as_raw_fd());
        let in_time = socket::wait(fd.as_raw_fd(), interest, breaker, timeout_ns)?;
        Ok(in_time || place.bell.is_none() || clock::now() < deadline)
    }

    /// Makes all who sleep here look at their deadlines again.
    pub(super) fn ring(&self) {
        lock(&self.0).iter().for_each(|bell| bell.signal());
    }
}

/// A place in the list, and the bell that hangs there.
struct Place<'a> {
    sleepers: &'a Sleepers,
    bell: Option<Arc<EventFd>>,
}

impl<'a> Place<'a> {
    fn take(sleepers: &'a Sleepers) -> Place<'a> {
        let pooled = lock(&BELLS).pop();
        let bell = pooled.or_else(|| EventFd::new().ok().map(Arc::new));
        if let Some(bell) = &bell {
            lock(&sleepers.0).push(bell.clone());
        }
        Place { sleepers, bell }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(bell) = self.bell.take() {
            // Nobody rings it once it is off the list, so it is silent when the next takes it.
            lock(&self.sleepers.0).retain(|other| !Arc::ptr_eq(other, &bell));
            bell.clear();
            lock(&BELLS).push(bell);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

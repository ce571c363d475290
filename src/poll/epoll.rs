//! The back end on Linux; see "What a back end supplies" in the parent module.
//!
//! One edge-triggered registration for each descriptor covers reads, and writes when one has had to wait. The eventfd that
//! breaks a wait is level-triggered: with an edge, a peek that happens to fetch it would leave
//! the sleeper asleep; as it is, it is reported to everybody until the sleeper clears it.

use super::{Report, desc};
use crate::os::clock::Nanos;
use crate::os::epoll::{Epoll, Event, EventFd};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

/// Room for one event.
pub(super) type Slot = MaybeUninit<Event>;

/// No record has this tag: there are fewer than 2^32 - 1.
const WAKER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Backend {
    epoll: Epoll,
    waker: EventFd,
}

impl Backend {
    pub(super) fn new() -> io::Result<Backend> {
        let (epoll, waker) = (Epoll::new()?, EventFd::new()?);
        epoll.add_level(waker.as_raw_fd(), WAKER)?;
        Ok(Backend { epoll, waker })
    }

    pub(super) fn add(&self, fd: RawFd, tag: u64, writes: bool) -> io::Result<()> {
        self.epoll.add(fd, tag, writes)
    }

    pub(super) fn add_writes(&self, fd: RawFd, tag: u64) -> io::Result<()> {
        self.epoll.add_writes(fd, tag)
    }

    pub(super) fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.epoll.delete(fd)
    }

    #[inline]
    pub(super) fn wait(&self, slots: &mut [Slot], timeout_ns: Nanos, mut each: impl FnMut(Report)) -> io::Result<()> {
        let events = self.epoll.wait(slots, timeout_ns)?;
        if events.len() > 1 {
            // All at once: one after the other each would be waited for.
            events.iter().filter(|event| event.tag() != WAKER).for_each(|event| desc::prefetch(event.tag()));
        }
        for event in events {
            each(if event.tag() == WAKER {
                Report::Woken
            } else {
                Report::Edge {
                    tag: event.tag(),
                    readable: event.is_readable(),
                    writable: event.is_writable(),
                    always: event.is_final() || event.is_urgent(),
                }
            });
        }
        Ok(())
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.epoll.is_readable()
    }

    pub(super) fn wake(&self) {
        self.waker.signal();
    }

    pub(super) fn clear_wake(&self) {
        self.waker.clear();
    }
}

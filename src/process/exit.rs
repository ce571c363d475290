//! The end of children: waiting for it, and reaping those that nobody waits for.
//!
//! Promise: whoever waits for a child waits like a coroutine, with a deadline if there is one; and no child stays a zombie, whatever has become
//! of its [`Child`](super::Child).
//!
//! # Waiting
//!
//! The kernel tells of the end of a child by a *pidfd*, which becomes readable. It is made by the first wait that has to wait. A
//! child that has not been reaped keeps its number, so the number still means it then. The wait is that of any descriptor
//! (`net/fd.rs`).
//!
//! Where there is no pidfd (Linux before 5.3, a filter that forbids it, no descriptors left) a thread, one for each child that somebody waits
//! for, is blocked in `waitid(2)`, which leaves the zombie where it is (`WNOWAIT`), and then sends a message. It is a thread of its own and
//! not one of [`blocking`](crate::blocking), for the reasons of `net/addr/lookup.rs`: the wait may have a deadline and may be cancelled, and
//! nothing holds the thread back from outliving it. If there is no thread to be had either, the child is asked after pauses.
//!
//! Reaping is always `waitpid` by std's `Child`, which remembers that it was done. So a number is never used after that.
//!
//! # Reaping
//!
//! A child whose `Child` is dropped is asked once, and reaped if it has ended. If it has not, it goes to the *reaper*: a thread, one in a process and
//! only as long as it has children, that waits for all their pidfds. One without a pidfd goes to the thread that waits for it, or to a
//! new one. What finds no thread is listed, and asked whenever a child is started or another is dropped.
//!
//! Rejected: a handler of `SIGCHLD`. Signals coalesce, so each would mean asking all; and it belongs to the program.
//! Rejected: `waitpid(-1)`, which takes children of others from them.

use crate::channel::{self, Receiver, RecvTimeoutError};
use crate::net::fd::{Fd, Kind};
use crate::os::clock::{self, NEVER};
use crate::os::epoll::Epoll;
use crate::os::process;
use crate::os::signal::SignalsBlocked;
use crate::poll::desc::Direction;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The longest pause between two looks at a child for which there is no thread, or that a tracer keeps.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);
/// The stack of a thread that only waits.
const STACK_BYTES: usize = 128 * 1024;

/// How one learns that a child has ended.
enum Watch {
    /// Nobody has waited yet.
    Unasked,
    PidFd(Fd<OwnedFd>),
    Thread(Receiver<()>, Arc<Mutex<Errand>>),
    /// By asking, after pauses.
    Pauses,
}

/// What a thread that waits for a child does in the end.
#[derive(Default)]
struct Errand {
    /// It has ended.
    done: bool,
    /// Nobody else will reap it.
    orphan: Option<Child>,
}

/// A child, until it was reaped.
pub(super) struct Process {
    /// None while it is dropped.
    child: Option<Child>,
    watch: Watch,
    kill_on_drop: bool,
}

impl Process {
    pub(super) fn new(child: Child, kill_on_drop: bool) -> Process {
        Process { child: Some(child), watch: Watch::Unasked, kill_on_drop }
    }

    pub(super) fn child(&self) -> &Child {
        self.child.as_ref().expect("taken by drop only")
    }

    pub(super) fn child_mut(&mut self) -> &mut Child {
        self.child.as_mut().expect("taken by drop only")
    }

    /// Waits for the end. None when `deadline` has passed.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        crate::sched::begin();
        let mut pause = Duration::from_micros(250);
        loop {
            if let Some(status) = self.child_mut().try_wait()? {
                self.watch = Watch::Unasked;
                return Ok(Some(status));
            }
            let in_time = match &self.watch {
                Watch::Unasked => {
                    self.watch = Watch::new(self.child().id());
                    true
                }
                Watch::PidFd(fd) => match fd.ready(Direction::Read, deadline.map_or(NEVER, clock::at)) {
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => false,
                    result => {
                        result?;
                        // It has ended, and the descriptor tells nothing more: while a tracer keeps it, it is readable, and yet there
                        // is nothing to reap.
                        self.watch = Watch::Pauses;
                        true
                    }
                },
                Watch::Thread(ended, _) => match deadline {
                    Some(deadline) => ended.recv_deadline(deadline) != Err(RecvTimeoutError::Timeout),
                    None => {
                        // It has sent; or, if it fails, can send no more: the child is asked either way.
                        let _ = ended.recv();
                        true
                    }
                },
                Watch::Pauses => {
                    let left = deadline.map_or(pause, |deadline| deadline.saturating_duration_since(Instant::now()));
                    crate::time::sleep(pause.min(left));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    !left.is_zero()
                }
            };
            if !in_time {
                return self.child_mut().try_wait();
            }
        }
    }
}

impl Watch {
    /// For the child `id`, which has not been reaped.
    fn new(id: u32) -> Watch {
        if let Ok(fd) = process::pidfd_open(id) {
            return Watch::PidFd(Fd::new(fd, Kind::File));
        }
        let (sender, receiver) = channel::bounded(1);
        let errand = Arc::new(Mutex::new(Errand::default()));
        let its = errand.clone();
        let started = start("gort-wait", move || {
            // If it fails there is no such child any more: whoever waits for it finds that out.
            let _ = process::await_end(id);
            let orphan = {
                let mut errand = lock(&its);
                errand.done = true;
                errand.orphan.take()
            };
            // Fails if nobody waits.
            let _ = sender.send(());
            if let Some(child) = orphan {
                reap(child);
            }
        });
        if started { Watch::Thread(receiver, errand) } else { Watch::Pauses }
    }
}

/// Starts a thread on which no signal is handled. False if there is none to be had.
fn start(name: &str, f: impl FnOnce() + Send + 'static) -> bool {
    let _blocked = SignalsBlocked::new();
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(f).is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for one that has ended, or soon will.
fn reap(mut child: Child) {
    // An error is that somebody else has reaped it.
    let _ = child.wait();
}

/// Whether it is no zombie any more, and will be none.
fn is_reaped(child: &mut Child) -> bool {
    // An error is that somebody else has reaped it.
    !matches!(child.try_wait(), Ok(None))
}

impl Drop for Process {
    fn drop(&mut self) {
        sweep();
        let mut child = self.child.take().expect("dropped once");
        if is_reaped(&mut child) {
            return;
        }
        if self.kill_on_drop {
            // Fails if it has ended in the meantime.
            let _ = child.kill();
        }
        match mem::replace(&mut self.watch, Watch::Unasked) {
            Watch::PidFd(fd) => Reaper::adopt(child, fd.into_inner()),
            Watch::Thread(_, errand) => {
                let mut errand = lock(&errand);
                if errand.done {
                    drop(errand);
                    reap(child);
                } else {
                    errand.orphan = Some(child);
                }
            }
            Watch::Unasked | Watch::Pauses => match process::pidfd_open(child.id()) {
                Ok(fd) => Reaper::adopt(child, fd),
                Err(_) => {
                    let place = Arc::new(Mutex::new(Some(child)));
                    let its = place.clone();
                    let started = start("gort-wait", move || {
                        let child = lock(&its).take();
                        if let Some(child) = child {
                            reap(child);
                        }
                    });
                    if !started {
                        lock(&LEFT).extend(lock(&place).take());
                    }
                }
            },
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Process").field(&self.child().id()).finish()
    }
}

/// Those that nobody waits for, and for whom there was no thread.
static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Asks them.
pub(super) fn sweep() {
    lock(&LEFT).retain_mut(|child| !is_reaped(child));
}

/// The thread that reaps, while there is something for it to do.
struct Reaper {
    set: Arc<Epoll>,
    /// By the number of their pidfd.
    children: HashMap<u64, (Child, OwnedFd)>,
}

static REAPER: Mutex<Option<Reaper>> = Mutex::new(None);

impl Reaper {
    /// Sees to it that `child` is reaped when it ends, of which `fd` tells.
    fn adopt(child: Child, fd: OwnedFd) {
        // A coroutine that is cancelled must not leave the lock to somebody who cannot go on: nothing in here parks.
        let mut place = lock(&REAPER);
        if place.is_none() {
            *place = Reaper::begin();
        }
        let tag = fd.as_raw_fd() as u64;
        match &mut *place {
            Some(reaper) if reaper.set.add_level(fd.as_fd().as_raw_fd(), tag).is_ok() => {
                reaper.children.insert(tag, (child, fd));
            }
            _ => lock(&LEFT).push(child),
        }
    }

    /// A new one with its thread, which finds the lock taken.
    fn begin() -> Option<Reaper> {
        let set = Arc::new(Epoll::new().ok()?);
        let its = set.clone();
        start("gort-reaper", move || Reaper::run(&its)).then(|| Reaper { set, children: HashMap::new() })
    }

    fn run(set: &Epoll) {
        let mut events = [const { MaybeUninit::uninit() }; 64];
        // Its descriptor leaves the set before it is closed: a duplicate, in a process that was forked, would keep it there, and each
        // wait would return at once.
        let ends = |child: &mut Child, fd: &OwnedFd| {
            let is_reaped = is_reaped(child);
            if is_reaped {
                // It is in there.
                let _ = set.delete(fd.as_raw_fd());
            }
            is_reaped
        };
        loop {
            // What is in the set are children: before the first is there this waits, and it has no other end.
            let ended: Vec<u64> = match set.wait(&mut events, NEVER) {
                Ok(events) => events.iter().map(|event| event.tag()).collect(),
                // Out of memory, perhaps: they are asked all.
                Err(_) => Vec::new(),
            };
            let mut place = lock(&REAPER);
            let Some(reaper) = &mut *place else { return };
            if ended.is_empty() {
                reaper.children.retain(|_, (child, fd)| !ends(child, fd));
            }
            let mut is_kept = false;
            for tag in ended {
                if let Some((child, fd)) = reaper.children.get_mut(&tag) {
                    if ends(child, fd) {
                        reaper.children.remove(&tag);
                    } else {
                        is_kept = true;
                    }
                }
            }
            if reaper.children.is_empty() {
                // Whoever comes next begins another.
                *place = None;
                return;
            }
            drop(place);
            if is_kept {
                // By a tracer: until that has seen the end the wait would return at once.
                thread::sleep(LONGEST_PAUSE);
            }
        }
    }
}

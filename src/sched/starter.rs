//! A thread that starts threads, and does what else sysmon must not do. Each runtime has one.
//!
//! - A new thread has the affinity, priority, capabilities and namespaces of the one that started it. One that is kept
//!   by a coroutine may have changed all of that (`os_thread.rs`); one that is no M of the runtime may have another's. This one was
//!   started by who built the runtime.
//! - Sysmon may not wait for a lock of `malloc`, whose holder may be suspended until sysmon comes by (`preempt.rs`). This thread may,
//!   since sysmon does not wait for it. So it also does sysmon's chores while somebody is suspended, in this runtime or another.
//!
//! An M that cannot be started now is tried again as long as there is work for it, if whoever asked has gone to sleep. Sysmon
//! has not.

use super::deadlock;
use super::p::HeldP;
use super::runtime::Shared;
use super::sysmon;
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::futex;
use crate::os::signal::SignalsBlocked;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Between attempts.
const AGAIN_NS: Nanos = 10_000_000;

/// The starter of a runtime.
#[derive(Default)]
pub(crate) struct Starter {
    state: Mutex<State>,
    /// Counts requests; the thread sleeps on it.
    asked: AtomicU32,
    /// Whether sysmon wants an M.
    wanted: AtomicU32,
    /// What it wants to have done: see `sysmon::tend`.
    chores: AtomicU32,
}

/// Sysmon does not want an M, or there is one.
const NONE: u32 = 0;
/// One is to be started.
const WANTED: u32 = 1;
/// It is on its way to the list of idle ones.
const COMING: u32 = 2;

#[derive(Default)]
struct State {
    thread: Option<JoinHandle<()>>,
    requests: Vec<Request>,
    /// There will be no more.
    ending: bool,
}

/// An M to be started. It is counted as running, so the runtime does not end before.
struct Request {
    p: Option<HeldP>,
    searching: bool,
    /// It could not be started before; what it was to do others have been told of.
    again: bool,
}

impl Starter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Starts the thread of `rt`.
    pub(crate) fn begin(rt: &'static Shared) -> io::Result<()> {
        let _blocked = SignalsBlocked::new();
        let name = format!("{}-starter", rt.name);
        let thread = std::thread::Builder::new().name(name).stack_size(128 * 1024).spawn(move || main(rt))?;
        deadlock::thread_began();
        rt.starter.lock().thread = Some(thread);
        Ok(())
    }

    /// For sysmon: an M is to be started that waits in the list of idle ones, unless one is on its way.
    pub(crate) fn want_m(&self) {
        // Relaxed: `wake` publishes it.
        if self.wanted.compare_exchange(NONE, WANTED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.wake();
        }
    }

    /// For sysmon: chores are to be done.
    pub(crate) fn want_done(&self, chores: u32) {
        // Relaxed: `wake` publishes it.
        if self.chores.fetch_or(chores, Ordering::Relaxed) & chores != chores {
            self.wake();
        }
    }

    /// There is an idle M, or none could be started.
    #[inline(always)]
    pub(crate) fn has_m(&self) {
        // Relaxed, both: sysmon looks for itself before it wants another, and asks again.
        if self.wanted.load(Ordering::Relaxed) == COMING {
            self.wanted.store(NONE, Ordering::Relaxed);
        }
    }

    /// Has an M started, which is counted already. False if there is no such thread.
    pub(crate) fn start(&self, p: Option<HeldP>, searching: bool) -> bool {
        let mut state = self.lock();
        let is_there = state.thread.is_some();
        if is_there {
            state.requests.push(Request { p, searching, again: false });
            drop(state);
            self.wake();
        }
        is_there
    }

    fn wake(&self) {
        // Release: pairs with the Acquire in `main`.
        self.asked.fetch_add(1, Ordering::Release);
        futex::wake(&self.asked, 1);
    }

    /// Ends the thread. The runtime is stopping, and counts no M any more.
    pub(crate) fn end(&self) {
        let thread = {
            let mut state = self.lock();
            state.ending = true;
            state.thread.take()
        };
        if let Some(thread) = thread {
            // Before it has ended. Counted for longer, it would hide a thread that is not ours and may wake somebody; a thread that is
            // there and not counted only puts a report off.
            deadlock::thread_ended();
            self.wake();
            // It has no user code in it that could have panicked.
            let _ = thread.join();
        }
    }
}

fn main(rt: &'static Shared) {
    let starter = &rt.starter;
    let mut requests = Vec::new();
    let mut left = 0;
    loop {
        // Acquire: pairs with the Release in `wake`. Before the look at what was asked for: what comes later is not
        // slept over.
        let asked = starter.asked.load(Ordering::Acquire);
        {
            let mut state = starter.lock();
            if state.ending {
                return;
            }
            requests.append(&mut state.requests);
        }
        // Relaxed: came with `asked`.
        if starter.wanted.load(Ordering::Relaxed) == WANTED {
            // Relaxed, both: as in `has_m`.
            starter.wanted.store(COMING, Ordering::Relaxed);
            if rt.has_idle_m() || !rt.start_m(None, false) {
                starter.has_m();
            }
        }
        requests = requests.drain(..).filter_map(|request| serve(rt, request)).collect();
        // Relaxed: as above. One step of what takes long, and then a look at what is more urgent.
        left = sysmon::tend(rt, left | starter.chores.swap(0, Ordering::Relaxed));
        if left == 0 {
            let until = if requests.is_empty() { NEVER } else { clock::now() + AGAIN_NS };
            futex::wait(&starter.asked, asked, until);
        }
    }
}

/// Starts an M. Returns what is to be tried again.
fn serve(rt: &Shared, mut request: Request) -> Option<Request> {
    if rt.is_stopping() {
        rt.cancel_start();
        return None;
    }
    if request.again {
        // Is there still something for it? If nobody polls there is.
        request.p = if rt.has_work() || !rt.idle.has_poller() { rt.take_idle_p() } else { None };
        if request.p.is_none() {
            rt.cancel_start();
            return None;
        }
    }
    if rt.start_thread(request.p, request.searching) {
        return None;
    }
    match request.p {
        Some(p) => {
            rt.return_p(p, request.searching);
            Some(Request { p: None, searching: false, again: true })
        }
        // A spare one.
        None => {
            rt.cancel_start();
            None
        }
    }
}

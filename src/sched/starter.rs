//! A thread that starts threads, for those from which none must inherit.
//!
//! A new thread has the affinity, priority, capabilities and namespaces of the one that started it. One that is kept
//! by a coroutine may have changed all of that (`os_thread.rs`), so it does not start Ms; it has this thread do it. Each
//! runtime has one from the first [`lock_os_thread`](super::os_thread::lock_os_thread) on, started by an M that was not kept.
//!
//! An M that cannot be started now is tried again as long as there is work for it: whoever asked has gone to sleep.

use super::deadlock;
use super::p::HeldP;
use super::preempt::Pin;
use super::runtime::Shared;
use crate::os::clock::{self, NEVER, Nanos};
use crate::os::futex;
use crate::os::signal::SignalsBlocked;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Between attempts.
const AGAIN_NS: Nanos = 10_000_000;

/// The starter of a runtime.
#[derive(Default)]
pub(crate) struct Starter {
    /// There is one: saves the lock.
    is_there: AtomicBool,
    state: Mutex<State>,
    /// Counts requests; the thread sleeps on it.
    asked: AtomicU32,
}

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

    /// Sees to it that there is such a thread. Called on one that is like others. If there is none to be had the next
    /// call tries again, and until then threads are started where they are asked for.
    pub(crate) fn prepare(rt: &'static Shared) {
        let starter = &rt.starter;
        // Relaxed, and below: nothing comes with it.
        if starter.is_there.load(Ordering::Relaxed) {
            return;
        }
        let _pin = Pin::new();
        // Held meanwhile: the second of two at a time waits for what the first has started.
        let mut state = starter.lock();
        if state.thread.is_none()
            && let Ok(thread) = Starter::begin(rt)
        {
            state.thread = Some(thread);
            starter.is_there.store(true, Ordering::Relaxed);
        }
    }

    fn begin(rt: &'static Shared) -> io::Result<JoinHandle<()>> {
        let _blocked = SignalsBlocked::new();
        let name = format!("{}-starter", rt.name);
        let thread = std::thread::Builder::new().name(name).stack_size(128 * 1024).spawn(move || main(rt))?;
        deadlock::thread_began();
        Ok(thread)
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
            self.wake();
            // It has no user code in it that could have panicked.
            let _ = thread.join();
            deadlock::thread_ended();
        }
    }
}

fn main(rt: &'static Shared) {
    let starter = &rt.starter;
    let mut requests = Vec::new();
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
        requests = requests.drain(..).filter_map(|request| serve(rt, request)).collect();
        let until = if requests.is_empty() { NEVER } else { clock::now() + AGAIN_NS };
        futex::wait(&starter.asked, asked, until);
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

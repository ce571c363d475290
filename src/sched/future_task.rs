//! What a future waits with: a wait word like a coroutine's, and the waker of the task that has polled it.
//!
//! Promise: a waker that was left here is woken by whoever ends the wait, or given back to who left it, and either
//! once. Whoever claims the wait word has the record to itself: it takes the waker out, puts the record back into the
//! pool, and then wakes. Nobody else looks at it until it is taken from the pool again, and armed with the next ticket.
//! So neither the future nor those who may end its wait own the record, and a future may be dropped at any time.
//!
//! They are pooled and never freed, as [`ThreadTask`](super::thread_task::ThreadTask)s, so that a stale ticket
//! meets a wait word and nothing else.
//!
//! A waker is somebody else's code, which may do anything, also wait. But a coroutine that ends the waits of others may
//! be in the middle of beginning one of its own: a select joins a channel with its wait in force, and then tells those who
//! watch the other side. So a coroutine does not run the waker; it starts another that does. It runs it
//! itself if it is `block_on`'s, which is known not to wait. On plain threads, where each wait has a record of its own, any is
//! run in place. The scheduler itself, which polls for descriptors, ends waits of `block_on` only: for others' wakers there is a
//! netpoller apart (`net/wakers.rs`). Tested in `tests/future.rs` and `tests/futures_io.rs`.

use super::m::M;
use super::preempt::Pin;
use super::spawn::Builder;
use super::wait_word::{Ticket, WaitWord};
use crate::os::signal::write_stderr;
use std::cell::{Cell, UnsafeCell};
use std::sync::{Arc, Mutex};
use std::task::Waker;

/// See the module. The word comes first: a `Waiter` points to it.
#[repr(C, align(16))]
pub(crate) struct FutureTask {
    word: WaitWord,
    /// Whoever has claimed the word, or taken the record from the pool and not armed it yet, has it to itself.
    waker: UnsafeCell<Option<Waker>>,
    /// Whether the waker is known not to wait. For the same one as the waker.
    prompt: Cell<bool>,
}

// SAFETY: the word is atomic, and says whose the rest is; wakers may go to any thread.
unsafe impl Sync for FutureTask {}

static POOL: Mutex<Vec<&'static FutureTask>> = Mutex::new(Vec::new());

/// Calls `f` with the pool. Pinned: who holds the lock is not suspended.
fn with_pool<R>(f: impl FnOnce(&mut Vec<&'static FutureTask>) -> R) -> R {
    let _pin = Pin::new();
    f(&mut POOL.lock().unwrap_or_else(|e| e.into_inner()))
}

impl FutureTask {
    /// Begins a wait.
    pub(super) fn take(waker: Waker, prompt: bool) -> (&'static FutureTask, Ticket) {
        let task = with_pool(Vec::pop).unwrap_or_else(|| {
            Box::leak(Box::new(FutureTask {
                word: WaitWord::new(),
                waker: UnsafeCell::new(None),
                prompt: Cell::new(false),
            }))
        });
        // SAFETY: it was in the pool, or is new, and is not armed: nobody else looks at it. The pool's lock orders this
        // after those who did.
        unsafe { *task.waker.get() = Some(waker) };
        task.prompt.set(prompt);
        // The Release of arming publishes the waker.
        (task, task.word.arm())
    }

    /// Takes the waker out and gives the record back.
    ///
    /// # Safety
    /// The caller has claimed the wait, and has not called this.
    pub(super) unsafe fn put(&'static self) -> Waker {
        // SAFETY: the claim made it the caller's. Its Acquire shows what was written before arming.
        let waker = unsafe { (*self.waker.get()).take() };
        with_pool(|pool| pool.push(self));
        waker.expect("one waker for each wait")
    }

    /// Wakes, or has it done soon.
    ///
    /// # Safety
    /// As [`put`](Self::put).
    pub(super) unsafe fn ready(&'static self) {
        let prompt = self.prompt.get();
        // SAFETY: the caller's promise.
        let waker = unsafe { self.put() };
        if prompt || M::current_coroutine().is_none() { wake(waker) } else { wake_apart(waker) }
    }
}

/// A panic is the waker's own, which the hook has reported: who ends a wait, by sending or by ending, has nothing to
/// do with it.
fn wake(waker: Waker) {
    super::quietly(|| waker.wake());
}

/// In a coroutine of its own; if there can be none, as at the end of the runtime, on a thread.
#[cold]
fn wake_apart(waker: Waker) {
    // Nothing of the waker runs here, so it is not cloned; and it is still there if the start fails.
    let shared = Arc::new(Mutex::new(Some(waker)));
    let start = || {
        let shared = shared.clone();
        move || {
            // Taken before it is woken: the lock is not held meanwhile.
            let waker = shared.lock().unwrap_or_else(|e| e.into_inner()).take();
            waker.into_iter().for_each(wake);
        }
    };
    if Builder::new().spawn(start()).is_err() {
        // Whoever waits would wait for ever, and to unwind from here is not possible.
        if let Err(error) = std::thread::Builder::new().spawn(start()) {
            write_stderr(format!("gort: no thread to wake a future: {error}\n").as_bytes());
            std::process::abort();
        }
    }
}

//! What a plain thread waits with: a wait word like a coroutine's, and a futex.
//!
//! They are pooled and never freed, so that a stale ticket meets a wait word and nothing else.

use super::wait_word::WaitWord;
use crate::os::clock::Nanos;
use crate::os::futex;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// See the module. The word comes first: a `Waiter` points to it.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct ThreadTask {
    pub(crate) word: WaitWord,
    /// 1 once the claimer has let the thread go.
    go: AtomicU32,
}

static POOL: Mutex<Vec<&'static ThreadTask>> = Mutex::new(Vec::new());

impl ThreadTask {
    /// Takes one for the length of a wait.
    pub(crate) fn take() -> &'static ThreadTask {
        let task = POOL.lock().unwrap_or_else(|e| e.into_inner()).pop();
        task.unwrap_or_else(|| Box::leak(Box::new(ThreadTask { word: WaitWord::new(), go: AtomicU32::new(0) })))
    }

    /// Gives it back after the wait.
    pub(crate) fn put(&'static self) {
        // Relaxed: the pool's lock orders it before the next use.
        self.go.store(0, Ordering::Relaxed);
        POOL.lock().unwrap_or_else(|e| e.into_inner()).push(self);
    }

    /// Lets the thread go. The claimer calls it, once.
    pub(crate) fn ready(&self) {
        // Release: what the claimer did comes before the thread goes on.
        self.go.store(1, Ordering::Release);
        // The thread may be gone already; the record is not.
        futex::wake(&self.go, 1);
    }

    /// Blocks until `ready`, or until `deadline`: false then.
    pub(crate) fn block(&self, deadline: Nanos) -> bool {
        for _ in 0..100 {
            // Acquire: pairs with the Release in `ready`.
            if self.go.load(Ordering::Acquire) == 1 {
                return true;
            }
            std::hint::spin_loop();
        }
        loop {
            // Acquire: as above.
            if self.go.load(Ordering::Acquire) == 1 {
                return true;
            }
            if !futex::wait(&self.go, 0, deadline) {
                return self.go.load(Ordering::Acquire) == 1;
            }
        }
    }
}

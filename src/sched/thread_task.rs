//! What a plain thread waits with: a wait word like a coroutine's, and a futex.
//!
//! They are never freed, so that a stale ticket meets a wait word and nothing else. A thread keeps the one that it had last, and
//! leaves it to others when it ends.
//!
//! To sleep and to be woken costs some 5 microseconds of two threads' time, and as long to get going again. Two threads that pass messages
//! to and fro need each other much sooner than that, if each has a CPU. So a thread looks for about so long before it sleeps, and who
//! lets it go wakes only a sleeper. (A coroutine parks at once: that costs a tenth of a microsecond, and others have something to do.)

use super::wait_word::WaitWord;
use crate::os::clock::Nanos;
use crate::os::futex;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// It has not been let go; it looks, or does not wait.
const LOOKS: u32 = 0;
/// It has been let go.
const GOES: u32 = 1;
/// It has not been let go, and sleeps or is about to.
const SLEEPS: u32 = 2;

/// See the module. The word comes first: a `Waiter` points to it.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct ThreadTask {
    pub(crate) word: WaitWord,
    go: AtomicU32,
}

static POOL: Mutex<Vec<&'static ThreadTask>> = Mutex::new(Vec::new());

// Only plain threads come here, never a coroutine: a frame that has the address of one of these does not move to another thread.
thread_local! {
    /// The one that this thread keeps between its waits. Without a destructor of its own: to look here costs no more than a load.
    static KEPT: Cell<Option<&'static ThreadTask>> = const { Cell::new(None) };
    /// Where a thread keeps one this is in use, too, for its destructor.
    static END: End = const { End };
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        KEPT.take().inspect(|task| give(task));
    }
}

/// Leaves one to other threads.
fn give(task: &'static ThreadTask) {
    POOL.lock().unwrap_or_else(|e| e.into_inner()).push(task);
}

/// Looks before it sleeps: one after each pause, 3 microseconds in all on the x86 of today ...
const PAUSES: u32 = 128;
/// ... and then one each time other threads had the CPU, of whom one may be the one that it waits for.
const YIELDS: u32 = 4;

impl ThreadTask {
    /// Takes the one that the thread keeps, if it does. Cheap enough to be done under a lock.
    #[inline(always)]
    pub(crate) fn take_kept() -> Option<&'static ThreadTask> {
        KEPT.take()
    }

    /// Takes one for the length of a wait.
    pub(crate) fn take() -> &'static ThreadTask {
        Self::take_kept()
            .or_else(|| POOL.lock().unwrap_or_else(|e| e.into_inner()).pop())
            .unwrap_or_else(|| Box::leak(Box::new(ThreadTask { word: WaitWord::new(), go: AtomicU32::new(LOOKS) })))
    }

    /// Gives it back after the wait.
    pub(crate) fn put(&'static self) {
        // Relaxed: this thread has it next, or the pool's lock orders it before the next use.
        self.go.store(LOOKS, Ordering::Relaxed);
        if END.try_with(|_| ()).is_err() {
            // The thread is ending.
            return give(self);
        }
        // There are two if something waited between the beginning and the end of a wait.
        KEPT.replace(Some(self)).inspect(|task| give(task));
    }

    /// Lets the thread go. The claimer calls it, once.
    pub(crate) fn ready(&self) {
        // Release: what the claimer did comes before the thread goes on.
        if self.go.swap(GOES, Ordering::Release) == SLEEPS {
            // The thread may be gone already; the record is not.
            futex::wake(&self.go, 1);
        }
    }

    /// Blocks until `ready`, or until `deadline`: false then.
    pub(crate) fn block(&self, deadline: Nanos) -> bool {
        for look in 0..PAUSES + YIELDS {
            // Acquire: pairs with the Release in `ready`.
            if self.go.load(Ordering::Acquire) == GOES {
                return true;
            }
            if look < PAUSES { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        loop {
            // Acquire: as above. Relaxed if it is not let go: nothing is read.
            let was = self.go.compare_exchange(LOOKS, SLEEPS, Ordering::Relaxed, Ordering::Acquire);
            if was == Err(GOES) {
                return true;
            }
            if !futex::wait(&self.go, SLEEPS, deadline) {
                // Acquire: as above.
                return self.go.load(Ordering::Acquire) == GOES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::ptr;

    #[test]
    fn a_thread_keeps_one_record_and_leaves_it_when_it_ends() {
        const THREADS: usize = 100;
        let used: HashSet<usize> = (0..THREADS)
            .map(|_| {
                let thread = std::thread::spawn(|| {
                    let first = ThreadTask::take();
                    let within = ThreadTask::take();
                    assert!(!ptr::eq(first, within), "two waits have one record");
                    within.put();
                    first.put();
                    let kept = ThreadTask::take();
                    assert!(ptr::eq(kept, first), "the last one is kept");
                    kept.put();
                    ptr::from_ref(kept).addr()
                });
                thread.join().unwrap()
            })
            .collect();
        // Other tests may take what these have left, but leave it, too.
        assert!(used.len() < THREADS, "each thread made its own");
    }
}

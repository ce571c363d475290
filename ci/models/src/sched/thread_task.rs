//! What a plain thread waits with; the model that uses it brings it.

use super::wait_word::WaitWord;
use crate::os::clock::Nanos;
use crate::os::futex;
use crate::shim::atomic::{AtomicU32, Ordering};
use std::cell::Cell;
use std::ptr;

#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct ThreadTask {
    pub(crate) word: WaitWord,
    go: AtomicU32,
}

loom::thread_local! {
    static MINE: Cell<*const ThreadTask> = Cell::new(ptr::null());
}

impl ThreadTask {
    pub(crate) fn new() -> ThreadTask {
        ThreadTask { word: WaitWord::new(), go: AtomicU32::new(0) }
    }

    /// The calling thread's, from now on.
    pub(crate) fn enter(&self) {
        MINE.with(|mine| mine.set(self));
    }

    pub(crate) fn take() -> &'static ThreadTask {
        // SAFETY: a model keeps it to its end.
        MINE.with(|mine| unsafe { mine.get().as_ref() }).expect("the model gave one")
    }

    pub(crate) fn put(&'static self) {
        self.go.store(0, Ordering::Relaxed);
    }
}

real!("thread_task");

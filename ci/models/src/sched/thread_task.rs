//! What a plain thread waits with; the model that uses it brings it.

use super::wait_word::WaitWord;
use crate::os::clock::Nanos;
use crate::os::futex;
use crate::shim::atomic::{AtomicU32, Ordering};
use std::cell::Cell;
use std::ptr;

const LOOKS: u32 = 0;
const GOES: u32 = 1;
const SLEEPS: u32 = 2;
// Their futex looks as well.
const PAUSES: u32 = 0;
const YIELDS: u32 = 0;

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
        ThreadTask { word: WaitWord::new(), go: AtomicU32::new(LOOKS) }
    }

    /// The calling thread's, from now on.
    pub(crate) fn enter(&self) {
        MINE.with(|mine| mine.set(self));
    }

    pub(crate) fn take_kept() -> Option<&'static ThreadTask> {
        // SAFETY: a model keeps it to its end.
        MINE.with(|mine| unsafe { mine.get().as_ref() })
    }

    pub(crate) fn take() -> &'static ThreadTask {
        Self::take_kept().expect("the model gave one")
    }

    pub(crate) fn put(&'static self) {
        self.go.store(LOOKS, Ordering::Relaxed);
    }
}

real!("thread_task");

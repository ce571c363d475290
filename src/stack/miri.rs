//! Stands in for the pool and the overflow handler under Miri, by the same names.
//!
//! The thread-backed contexts run each coroutine on a thread's stack, so the stacks handed out
//! here are names only: nobody may access what they point to.

use super::{Class, Stack};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As the real one; nothing is guarded.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// As the real one.
    Madvise,
    /// As the real one.
    Mprotect,
}

impl Guard {
    /// Always the same.
    pub(crate) fn detect() -> Guard {
        Guard::Mprotect
    }
}

/// As the real one; only `taken` is ever other than zero.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Metrics {
    /// As the real one.
    pub(crate) slabs: usize,
    /// As the real one.
    pub(crate) slots: usize,
    /// As the real one.
    pub(crate) taken: usize,
    /// As the real one.
    pub(crate) cold: usize,
    /// As the real one.
    pub(crate) bytes_reserved: usize,
}

/// Counts the names it gives out.
#[derive(Debug)]
pub(crate) struct Pool {
    guard: Guard,
    taken: AtomicUsize,
}

impl Pool {
    /// As the real one.
    pub(crate) fn new(guard: Guard) -> Pool {
        Pool { guard, taken: AtomicUsize::new(0) }
    }

    /// As the real one.
    pub(super) fn take(&self, class: Class, places: &mut [Option<Stack>]) -> io::Result<usize> {
        for place in &mut *places {
            // An address that is aligned like a real top, so that arithmetic on it holds.
            let top = NonNull::without_provenance(std::num::NonZero::new(1 << 40).expect("not 0"));
            *place = Some(Stack::new(top, class));
        }
        // Relaxed: a count, nothing is published with it.
        self.taken.fetch_add(places.len(), Ordering::Relaxed);
        Ok(places.len())
    }

    /// As the real one.
    pub(super) fn give(&self, places: &mut [Option<Stack>]) {
        let count = places.iter_mut().filter_map(Option::take).count();
        // Relaxed: as above.
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }

    /// Nothing to do, and never more.
    pub(crate) fn scavenge(&self, _period_over: bool) -> bool {
        false
    }

    /// Nothing to do.
    pub(crate) fn trim(&self) {}

    /// As the real one.
    pub(crate) fn metrics(&self) -> Metrics {
        // Relaxed: as above.
        Metrics { taken: self.taken.load(Ordering::Relaxed), ..Metrics::default() }
    }

    /// As the real one.
    #[cfg(test)]
    pub(crate) fn guard(&self) -> Guard {
        self.guard
    }
}

pub(crate) mod limits {
    //! Nothing to explain: memory is what Miri says it is.

    /// As the real one.
    #[cold]
    pub(crate) fn out_of_memory(what: &'static str, _: usize) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::OutOfMemory, format!("gort: no memory for {what}"))
    }
}

pub(crate) mod overflow {
    //! Nothing overflows here that Miri does not see itself.

    use std::io;

    /// As the real one.
    pub(crate) type Describe = fn(out: &mut SafeWriter);

    /// Never called.
    pub(crate) fn set_describe(_: Describe) {}

    /// Nothing to do.
    pub(crate) fn install() -> io::Result<()> {
        Ok(())
    }

    /// Swallows what is written.
    #[derive(Debug)]
    pub(crate) struct SafeWriter {
        _private: (),
    }

    impl SafeWriter {
        /// Nothing to do.
        pub(crate) fn flush(&mut self) {}
    }

    impl std::fmt::Write for SafeWriter {
        fn write_str(&mut self, _: &str) -> std::fmt::Result {
            Ok(())
        }
    }

    /// As the real one; installs nothing.
    #[derive(Debug)]
    pub(crate) struct AltStack {
        _not_send: std::marker::PhantomData<*mut ()>,
    }

    impl AltStack {
        /// As the real one.
        pub(crate) fn new() -> io::Result<AltStack> {
            Ok(AltStack { _not_send: std::marker::PhantomData })
        }
    }
}

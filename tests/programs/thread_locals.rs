//! A shared library with a thread-local, for `tests/homes.rs`.

use std::cell::UnsafeCell;

thread_local!(static COUNTER: UnsafeCell<[u64; 64]> = const { UnsafeCell::new([0; 64]) });

/// The calling thread's counter.
#[unsafe(no_mangle)]
pub extern "C" fn own_counter() -> *mut u64 {
    COUNTER.with(|counter| counter.get().cast())
}

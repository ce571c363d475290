//! A shared library with thread-locals, for `tests/homes.rs` and `ci/soundness`.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;

/// Where a count goes when its thread ends.
type Report = extern "C" fn(*const c_void, u64);

/// One thread's count.
struct Count {
    count: Cell<u64>,
    report: Cell<Option<(Report, *const c_void)>>,
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Some((report, to)) = self.report.get() {
            report(to, self.count.get());
        }
    }
}

thread_local! {
    static COUNTER: UnsafeCell<[u64; 64]> = const { UnsafeCell::new([0; 64]) };
    static COUNT: Count = const { Count { count: Cell::new(0), report: Cell::new(None) } };
}

/// The calling thread's counter.
#[unsafe(no_mangle)]
pub extern "C" fn own_counter() -> *mut u64 {
    COUNTER.with(|counter| counter.get().cast())
}

/// Counts one for the calling thread and returns its count, which `report` gets with `to` when
/// the thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn count_here(report: Report, to: *const c_void) -> u64 {
    COUNT.with(|count| {
        count.report.set(Some((report, to)));
        count.count.set(count.count.get() + 1);
        count.count.get()
    })
}

//! The word of the current M where no assembly of ours defines it: CPUs without a file in `asm/`,
//! and the thread back end. An ordinary thread-local behind accessors that are never inlined, so
//! that no caller keeps its address over a switch.

use std::cell::Cell;

thread_local! {
    static WORD: Cell<*mut u8> = const { Cell::new(std::ptr::null_mut()) };
}

/// The M that this thread belongs to; null where none was ever set.
#[inline(never)]
pub(crate) fn current_m() -> *mut u8 {
    WORD.get()
}

/// Sets what [`current_m`] returns on this thread.
#[inline(never)]
pub(crate) fn set_current_m(m: *mut u8) {
    WORD.set(m);
}

/// Where that word lies for this thread.
#[inline(never)]
pub(crate) fn m_slot() -> *mut *mut u8 {
    WORD.with(Cell::as_ptr)
}

/// The thread pointer in force: not known here, so 0, which a switch takes for "leave it".
///
/// # Safety
/// None needed; unsafe as it is elsewhere.
pub(crate) unsafe fn thread_pointer() -> usize {
    0
}

/// Installs nothing: [`can_set_thread_pointer`] said so.
///
/// # Safety
/// None needed; unsafe as it is elsewhere.
#[cfg(gort_context = "corosensei")]
pub(super) unsafe fn set_thread_pointer(tls: usize) {
    debug_assert_eq!(tls, 0, "this platform cannot install a thread pointer");
}

/// Whether a switch can install another thread pointer: not here.
pub(crate) fn can_set_thread_pointer() -> bool {
    false
}

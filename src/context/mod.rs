//! Save, switch, start.
// The one ladder: which file switches, and which file knows the current M.
#[cfg(all(gort_context = "asm", target_arch = "x86_64"))]
#[path = "switch/x86_64.rs"]
mod switch;
#[cfg(all(gort_context = "asm", target_arch = "aarch64"))]
#[path = "switch/aarch64.rs"]
mod switch;
#[cfg(gort_context = "corosensei")]
#[path = "switch/corosensei.rs"]
mod switch;
#[cfg(gort_context = "thread")]
#[path = "switch/thread.rs"]
mod switch;

#[cfg(all(not(gort_context = "thread"), target_arch = "x86_64"))]
#[path = "word/x86_64.rs"]
mod word;
#[cfg(all(not(gort_context = "thread"), target_arch = "aarch64"))]
#[path = "word/aarch64.rs"]
mod word;
#[cfg(any(gort_context = "thread", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "word/portable.rs"]
mod word;

/// What a new flow runs: takes nothing, never comes back. (The thread back end ends a flow by
/// unwinding through it.)
#[cfg(not(gort_context = "thread"))]
pub(crate) type Entry = unsafe extern "C" fn() -> !;
/// What a new flow runs: takes nothing, never comes back.
#[cfg(gort_context = "thread")]
pub(crate) type Entry = unsafe extern "C-unwind" fn() -> !;

pub(crate) use switch::{Context, init, restart, switch, switch_away};
pub(crate) use word::{can_set_thread_pointer, current_m, m_slot, set_current_m, thread_pointer};

#[cfg(test)]
mod tests;

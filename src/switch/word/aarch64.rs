//! The word of the current M and the thread pointer, aarch64. As `x86_64.rs`, with the distance
//! of the symbol from TPIDR_EL0 loaded from the GOT (`:gottprel:`).

use std::arch::asm;

// Without our own switch nothing else brings the symbol in.
#[cfg(not(gort_context = "asm"))]
std::arch::global_asm!(include_str!("../../../asm/aarch64.s"), fp = const 0);

/// The M that this thread pointer belongs to; null where none was ever set.
#[inline(always)]
pub(crate) fn current_m() -> *mut u8 {
    let m: *mut u8;
    // SAFETY: reads the 8 bytes of our own thread-local symbol, which exist in every thread's
    // TLS block and are only ever read and written as one aligned word. Not `pure`, not `nomem`:
    // the compiler must read it again after every switch.
    unsafe {
        asm!(
            "adrp {m}, :gottprel:gort_m_v0_1",
            "mrs {base}, tpidr_el0",
            "ldr {m}, [{m}, :gottprel_lo12:gort_m_v0_1]",
            "ldr {m}, [{base}, {m}]",
            m = out(reg) m,
            base = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
    m
}

/// Sets what [`current_m`] returns under the thread pointer in force.
#[inline(always)]
pub(crate) fn set_current_m(m: *mut u8) {
    // SAFETY: writes the 8 bytes of our own thread-local symbol; see `current_m`.
    unsafe {
        asm!(
            "adrp {at}, :gottprel:gort_m_v0_1",
            "mrs {base}, tpidr_el0",
            "ldr {at}, [{at}, :gottprel_lo12:gort_m_v0_1]",
            "str {m}, [{base}, {at}]",
            at = out(reg) _,
            base = out(reg) _,
            m = in(reg) m,
            options(nostack, preserves_flags),
        );
    }
}

/// Where that word lies for the thread pointer in force. The address stays good as long as the
/// thread whose TLS block it is in, so the word of a home can be written from elsewhere.
pub(crate) fn m_slot() -> *mut *mut u8 {
    let slot: *mut *mut u8;
    // SAFETY: computes an address only.
    unsafe {
        asm!(
            "adrp {at}, :gottprel:gort_m_v0_1",
            "mrs {base}, tpidr_el0",
            "ldr {at}, [{at}, :gottprel_lo12:gort_m_v0_1]",
            "add {at}, {base}, {at}",
            at = out(reg) slot,
            base = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
    slot
}

/// The thread pointer in force (TPIDR_EL0).
///
/// # Safety
/// None needed on this CPU: the register is always there. Unsafe as it is elsewhere.
pub(crate) unsafe fn thread_pointer() -> usize {
    let base;
    // SAFETY: reads a register that every program may read.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) base, options(nostack, preserves_flags)) };
    base
}

/// Installs another thread pointer, for the back end that does not do it while switching.
///
/// # Safety
/// `tls` is the thread pointer of a live thread that nobody else runs under, and the caller's
/// frames hold no address of the old one's thread-local storage.
#[cfg(gort_context = "corosensei")]
#[inline(never)]
pub(super) unsafe fn set_thread_pointer(tls: usize) {
    // SAFETY: the register is writable by every program; the rest is the caller's promise.
    unsafe { asm!("msr tpidr_el0, {}", in(reg) tls, options(nostack, preserves_flags)) };
}

/// Whether a switch can install another thread pointer: always.
pub(crate) fn can_set_thread_pointer() -> bool {
    true
}

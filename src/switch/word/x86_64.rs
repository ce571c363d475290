//! The word of the current M and the thread pointer, x86-64.
//!
//! `gort_m_v0_1` is a thread-local symbol of `asm/x86_64.s`, read in the initial-exec way: its
//! distance from the thread pointer comes from the GOT (the linker makes it a constant in an
//! executable), and the word is then one load relative to FS.

use std::arch::asm;

// Without our own switch nothing else brings the symbol in.
#[cfg(not(gort_context = "asm"))]
std::arch::global_asm!(include_str!("../../../asm/x86_64.s"), fp = const 0);

/// The M that this thread pointer belongs to; null where none was ever set.
#[inline(always)]
pub(crate) fn current_m() -> *mut u8 {
    let m: *mut u8;
    // SAFETY: reads the 8 bytes of our own thread-local symbol, which exist in every thread's
    // TLS block and are only ever read and written as one aligned word. Not `pure`, not `nomem`:
    // the compiler must read it again after every switch.
    unsafe {
        asm!(
            "mov {m}, qword ptr [rip + gort_m_v0_1@GOTTPOFF]",
            "mov {m}, qword ptr fs:[{m}]",
            m = out(reg) m,
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
            "mov {at}, qword ptr [rip + gort_m_v0_1@GOTTPOFF]",
            "mov qword ptr fs:[{at}], {m}",
            at = out(reg) _,
            m = in(reg) m,
            options(nostack, preserves_flags),
        );
    }
}

/// Where that word lies for the thread pointer in force. The address stays good as long as the
/// thread whose TLS block it is in, so the word of a home can be written from elsewhere.
pub(crate) fn m_slot() -> *mut *mut u8 {
    let slot: *mut *mut u8;
    // SAFETY: the first word of the block that FS points to is its own address (the ABI's rule
    // for the thread control block); the rest is arithmetic.
    unsafe {
        asm!(
            "mov {at}, qword ptr fs:[0]",
            "add {at}, qword ptr [rip + gort_m_v0_1@GOTTPOFF]",
            at = out(reg) slot,
            options(nostack),
        );
    }
    slot
}

/// The thread pointer in force (the FS base).
///
/// # Safety
/// The CPU and the kernel have FSGSBASE: [`can_set_thread_pointer`] is true, and the caller has
/// found that the instruction does not trap (it does under valgrind).
pub(crate) unsafe fn thread_pointer() -> usize {
    let base;
    // SAFETY: by this function's contract the instruction exists; it only reads FS base.
    unsafe { asm!("rdfsbase {}", out(reg) base, options(nostack, preserves_flags)) };
    base
}

/// Installs another thread pointer, for the back end that does not do it while switching.
///
/// # Safety
/// As for [`thread_pointer`]; `tls` is the thread pointer of a live thread that nobody else runs
/// under, and the caller's frames hold no address of the old one's thread-local storage.
#[cfg(gort_context = "corosensei")]
#[inline(never)]
pub(super) unsafe fn set_thread_pointer(tls: usize) {
    // SAFETY: by this function's contract the instruction exists and `tls` may be installed.
    unsafe { asm!("wrfsbase {}", in(reg) tls, options(nostack, preserves_flags)) };
}

/// Whether a switch can install another thread pointer. Necessary, not sufficient: an emulator
/// may pass the kernel's answer on and yet not know the instruction, so the caller tries it.
pub(crate) fn can_set_thread_pointer() -> bool {
    const HWCAP2_FSGSBASE: libc::c_ulong = 1 << 1;
    // SAFETY: getauxval reads a table made at process start; any argument is allowed.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

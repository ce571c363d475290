//! `membarrier(2)`: the kernel half of [`crate::shim::asymmetric`].

use std::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};

const UNKNOWN: u8 = 0;
const EXPEDITED: u8 = 1;
const FENCES: u8 = 2;

/// What this process uses; leaves `UNKNOWN` once, before the first runtime starts.
static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

const CMD_PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const CMD_REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes two integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Registers the process for the expedited barrier. Idempotent; called before any M starts,
/// so that no thread ever pairs a compiler fence with a missing barrier.
pub(crate) fn init(allowed: bool) {
    // Acquire: pairs with the decision below: it comes after the registration.
    if MODE.load(Ordering::Acquire) != UNKNOWN {
        return;
    }
    let mode = if allowed && !cfg!(miri) && membarrier(CMD_REGISTER_PRIVATE_EXPEDITED) { EXPEDITED } else { FENCES };
    // AcqRel: the first caller decides; a second one that lost sees the decision.
    let _ = MODE.compare_exchange(UNKNOWN, mode, Ordering::AcqRel, Ordering::Acquire);
}

/// Whether the expedited barrier is in use.
pub(crate) fn is_expedited() -> bool {
    // Relaxed: written once before any thread that could care was started.
    MODE.load(Ordering::Relaxed) == EXPEDITED
}

/// The hot side's fence.
#[inline(always)]
pub(crate) fn light() {
    // Relaxed: see `is_expedited`. A plain thread that has never met a runtime sees UNKNOWN
    // and pays a real fence, which is always enough.
    if MODE.load(Ordering::Relaxed) == EXPEDITED {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The seldom side's fence.
#[cold]
pub(crate) fn heavy() {
    // SeqCst: orders this thread's own accesses on either side of the barrier.
    fence(Ordering::SeqCst);
    if is_expedited() && !membarrier(CMD_PRIVATE_EXPEDITED) {
        // Registered and then refused: every `light` in the process would be void.
        crate::os::fatal("membarrier(2) was registered but is now refused (a seccomp filter?)");
    }
    fence(Ordering::SeqCst);
}

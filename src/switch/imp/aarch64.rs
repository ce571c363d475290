//! Switching by our own assembly, aarch64: as `x86_64.rs`, which says why. The differences:
//!
//! - the registers saved in the context are SP, X29 and X19, the ones that `asm!` may not declare
//!   lost; FPCR is the one control word, and reading it is cheap, so it is read at every switch
//!   and loaded where it differs.

use super::Entry;
use std::arch::{asm, global_asm};
use std::mem::offset_of;

/// Whether FPCR, which the ABI makes callee-saved, is kept over a switch.
pub(super) const CONTROL_WORDS: u8 = 1;

global_asm!(include_str!("../../../asm/aarch64.s"), fp = const CONTROL_WORDS);

/// Where a suspended flow of control will go on. Its address stays the same while the flow is
/// suspended. What it holds is complete: nothing lies on the flow's stack below [`Context::sp`].
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Context {
    sp: *mut u8,
    pc: usize,
    x29: usize,
    x19: usize,
    fpcr: u64,
}

// What the assembly knows.
const _: () = {
    assert!(offset_of!(Context, sp) == 0);
    assert!(offset_of!(Context, pc) == 8);
    assert!(offset_of!(Context, x29) == 16);
    assert!(offset_of!(Context, x19) == 24);
    assert!(offset_of!(Context, fpcr) == 32);
};

// SAFETY: the pointer is followed only by the unsafe functions of this module, whose callers
// promise that nobody else uses the context; the value itself is tied to no thread.
unsafe impl Send for Context {}
// SAFETY: a shared reference to a Context gives access to nothing.
unsafe impl Sync for Context {}

impl Context {
    /// A context that is nowhere yet: to be given to [`init`](super::init), or left by [`switch`](super::switch()).
    pub(crate) const fn empty() -> Self {
        // FPCR 0: round to nearest, no exception traps. A new flow starts with it.
        Context { sp: std::ptr::null_mut(), pc: 0, x29: 0, x19: 0, fpcr: 0 }
    }

    /// The lowest byte in use of the stack of the flow suspended here; null if none ever was.
    ///
    /// While a flow is just leaving its stack this is the old value or the new one: good for a
    /// hint (a prefetch) only. Whoever relies on it owns the suspended flow.
    #[inline(always)]
    pub(crate) fn sp(&self) -> *mut u8 {
        // SAFETY: a field of `self`. Volatile, since the flow that is being suspended writes it,
        // from assembly and as one aligned store.
        unsafe { (&raw const self.sp).read_volatile() }
    }
}

unsafe extern "C" {
    // The base of every stack; not called from Rust, only its address is written into a context.
    fn gort_start_v0_1();
}

/// See [`super::init`].
///
/// # Safety
/// As there.
pub(crate) unsafe fn init(ctx: *mut Context, top: *mut u8, _limit: *mut u8, entry: Entry) {
    let start = Context { sp: top, pc: gort_start_v0_1 as *const () as usize, x19: entry as usize, ..Context::empty() };
    // SAFETY: `ctx` is valid for writes and nothing is suspended in it.
    unsafe { ctx.write(start) };
}

/// See [`super::switch()`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn switch(from: *mut Context, to: *const Context, tls: usize) {
    // SAFETY: the block saves SP, X29, X19, FPCR and its own end as the place to go
    // on in `from`, and goes where `to` says in the same way; whoever resumes this flow brings
    // those back. Every other register is declared lost. Without `nostack` the compiler keeps
    // nothing below SP. `from`, `to` and `tls` are as the caller promised.
    unsafe {
        asm!(
            include_str!("../../../asm/aarch64_switch.s"),
            fp = const CONTROL_WORDS,
            cfi = const super::UNWIND_TABLES as u8,
            inout("x0") from => _,
            inout("x1") to => _,
            inout("x2") tls => _,
            out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _,
            out("x25") _, out("x26") _, out("x27") _, out("x28") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            clobber_abi("C"),
        );
    }
}

/// See [`super::switch_away`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn switch_away(_from: *mut Context, to: *const Context, tls: usize) -> ! {
    // SAFETY: `to` and `tls` are as the caller promised; the block does not come back.
    unsafe {
        asm!(
            "b gort_switch_away_v0_1",
            in("x1") to,
            in("x2") tls,
            options(noreturn),
        );
    }
}

/// See [`super::restart`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn restart(_ctx: *mut Context, top: *mut u8, _limit: *mut u8, entry: Entry, tls: usize) -> ! {
    // SAFETY: the stack below `top` is the caller's and nothing on it is needed any more.
    unsafe {
        asm!(
            "b gort_restart_v0_1",
            in("x0") top,
            in("x1") entry,
            in("x2") tls,
            options(noreturn),
        );
    }
}

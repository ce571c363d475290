//! Switching by our own assembly, x86-64: the inline half of `asm/x86_64.s`.
//!
//! Each function below is inlined into its caller and ends in a jump into the assembly file. The
//! `asm!` block declares every register lost that it may declare, so the compiler itself saves
//! what is live and nothing else; RBX and RBP, which it reserves, are saved by the routine.

use super::Entry;
use std::arch::{asm, global_asm};
use std::mem::offset_of;

/// How the floating-point control words (MXCSR's control bits and the x87 control word, both
/// callee-saved by the ABI) are kept over a switch. The essay has what each way costs.
/// - 0: not at all.
/// - 1: probed. The x87 word is compared with the default, MXCSR's rounding and denormal bits
///   are found out by four additions; only if one is not the default is MXCSR read. Misses one
///   thing: exceptions unmasked in MXCSR alone.
/// - 2: both words are read and loaded at every switch.
pub(super) const CONTROL_WORDS: u8 = 1;

global_asm!(include_str!("../../../asm/x86_64.s"), fp = const CONTROL_WORDS);

/// Where a suspended flow of control will go on: its stack pointer. Its address stays the same
/// while the flow is suspended. The rest of what was saved lies right below, see [`Saved`].
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Context {
    rsp: *mut u8,
}

/// What lies below the stack pointer of a suspended flow, in the ABI's red zone (128 bytes that
/// neither the compiler, around an `asm!` block, nor a signal frame ever writes).
#[repr(C)]
#[derive(Debug)]
struct Saved {
    mxcsr: u32,
    x87_control: u16,
    rbx: usize,
    rbp: usize,
    rip: usize,
}

// What the assembly knows: offsets from the stack pointer, where `Saved` ends.
const _: () = {
    assert!(size_of::<Saved>() == 32);
    assert!(offset_of!(Saved, rip) == 32 - 8);
    assert!(offset_of!(Saved, rbp) == 32 - 16);
    assert!(offset_of!(Saved, rbx) == 32 - 24);
    assert!(offset_of!(Saved, x87_control) == 32 - 28);
    assert!(offset_of!(Saved, mxcsr) == 0);
};

// SAFETY: the pointer is followed only by the unsafe functions of this module, whose callers
// promise that nobody else uses the context; the value itself is tied to no thread.
unsafe impl Send for Context {}
// SAFETY: a shared reference to a Context gives access to nothing.
unsafe impl Sync for Context {}

impl Context {
    /// A context that is nowhere yet: to be given to [`init`](super::init), or left by [`switch`](super::switch()).
    pub(crate) const fn empty() -> Self {
        Context { rsp: std::ptr::null_mut() }
    }

    /// The lowest byte in use of the stack of the flow suspended here; null if none ever was.
    ///
    /// While a flow is just leaving its stack this is the old value or the new one: good for a
    /// hint (a prefetch) only. Whoever relies on it owns the suspended flow.
    #[inline(always)]
    pub(crate) fn sp(&self) -> *mut u8 {
        // SAFETY: a field of `self`. Volatile, since the flow that is being suspended writes it,
        // from assembly and as one aligned store.
        unsafe { (&raw const self.rsp).read_volatile() }
    }
}

/// The control words that the ABI prescribes at process entry: round to nearest, no exception
/// traps, and for x87 extended precision. A new flow starts with them.
const DEFAULT_MXCSR: u32 = 0x1f80;
const DEFAULT_X87_CONTROL: u16 = 0x037f;

unsafe extern "C" {
    // The base of every stack; not called from Rust, only its address is written into a context.
    fn gort_start_v0_1();
}

/// See [`super::init`].
///
/// # Safety
/// As there.
pub(crate) unsafe fn init(ctx: *mut Context, top: *mut u8, _limit: *mut u8, entry: Entry) {
    let saved = Saved {
        mxcsr: DEFAULT_MXCSR,
        x87_control: DEFAULT_X87_CONTROL,
        rbx: entry as usize,
        rbp: 0,
        rip: gort_start_v0_1 as *const () as usize,
    };
    // SAFETY: the stack below `top` is ours, `top` is 16-aligned and so is `Saved`'s size; `ctx`
    // is valid for writes and nothing is suspended in it.
    unsafe {
        top.cast::<Saved>().sub(1).write(saved);
        ctx.write(Context { rsp: top });
    }
}

/// See [`super::switch()`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn switch(from: *mut Context, to: *const Context, tls: usize) {
    // SAFETY: the block saves RSP, RBX, RBP, the control words and its own end as the place to go
    // on in `from`, and goes where `to` says in the same way; whoever resumes this flow brings
    // those back. Every other register is declared lost. Without `nostack` the compiler keeps
    // nothing below RSP. `from`, `to` and `tls` are as the caller promised.
    unsafe {
        asm!(
            include_str!("../../../asm/x86_64_switch.s"),
            fp = const CONTROL_WORDS,
            cfi = const super::UNWIND_TABLES as u8,
            inout("rdi") from => _,
            inout("rsi") to => _,
            inout("rdx") tls => _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            clobber_abi("sysv64"),
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
            "jmp gort_switch_away_v0_1",
            in("rsi") to,
            in("rdx") tls,
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
            "jmp gort_restart_v0_1",
            in("rdi") top,
            in("rsi") entry,
            in("rdx") tls,
            options(noreturn),
        );
    }
}

//! Save, switch, start: flows of control, each on a stack of its own. Knows nothing of Gs.
//!
//! # The promise
//!
//! A *flow* is a chain of calls on one stack: a thread's own (its root, g0), or one that [`init`]
//! began on memory it was given. [`switch()`] suspends the running flow in a [`Context`] and goes on
//! in another. What the platform's ABI makes callee-saved is preserved, and nothing else: to the
//! code around it a switch is a call that takes long. Anybody may resume a suspended flow, on any
//! thread. Which context a flow is saved in is the caller's choice each time.
//!
//! ```text
//!    flow A          switch(&mut a, &b, tls)                            ...goes on
//!    ───────────────────────────┐                                      ┌─────────────
//!    flow B                     └───────── running ─────────┐          │
//!                                                           switch(&mut b, &a, tls)
//! ```
//!
//! [`switch_away`] is the last switch of a flow, which saves nothing and leaves its stack to
//! whoever goes on. [`restart`] ends a flow and begins another at the top of the same stack; it
//! exists so that no frame remains that ran under the old thread pointer.
//!
//! # Thread pointer and current M
//!
//! A switch can install another thread pointer (`tls`), so that the flow that goes on sees the
//! thread-locals of another thread: a home, see `src/sched/home.rs`. It is written where nothing
//! until the jump uses thread-local storage. The word that [`current_m`] reads is a thread-local
//! symbol of our own assembly and so changes with the thread pointer. It is read by an `asm!`
//! block that the compiler can neither move nor merge, from an address that it never sees, so it
//! cannot be stale after a switch, as the address of a `thread_local!` can. A symbol defined in
//! assembly is hidden and carries the version of the crate: two versions in one program do not
//! meet.
//!
//! # What a context holds
//!
//! The inline half of the switch declares every callee-saved register lost that `asm!` allows it
//! to; the compiler saves those that are live, on the stack, as it would around any call. A
//! context is the stack pointer; the rest lies right below it, where on x86-64 nobody else writes:
//! the 128 bytes of the ABI's red zone, which the compiler does not use around an `asm!` block and
//! which the kernel leaves alone when it puts a signal frame on the stack. (aarch64 has no red
//! zone: there the registers are in the context itself.) So a coroutine's record is small, and
//! what a switch reads next to the frames is in their cache line.
//!
//! ```text
//!    suspended (x86-64)                               not run yet
//!
//!      stack                     Context                Context               stack
//!    │ frames of  │            ┌─────────────┐        ┌─────────────┐
//!    │ the callers│            │ RSP ──┐     │        │ RSP ──┐     │
//!    ├────────────┤            └───────┼─────┘        └───────┼─────┘
//!    │ live values│                    │                      │
//!    │ and spills │                    │                      │
//!    ├────────────┤ <──────────────────┘                      └───────> ┌────────────┐ top
//!  -8│ RIP        │                                                   -8│ gort_start │
//! -16│ RBP        │                                                  -16│ 0          │
//! -24│ RBX        │                                                  -24│ entry      │
//! -28│ x87 word   │                                                  -28│ default    │
//! -32│ MXCSR      │                                                  -32│ default    │
//!    └────────────┘                                                     └────────────┘
//! ```
//!
//! gort_start calls what is in RBX. It is the base of every stack: unwind information says there
//! that the caller is undefined, and the frame pointer is 0, so every walk ends there.
//!
//! # Unwind information at every instruction
//!
//! A panic unwinds to the base of its flow and is caught there; but a debugger, a profiler and a
//! signal handler may look at any instruction. Up to the one that loads the stack pointer the
//! enclosing function is as the compiler described it. From there to the jump, the directives in
//! the inline assembly say that the caller is the flow that goes on, whose registers are already
//! at hand:
//!
//! ```text
//!    mov rsp, rsi        CFA is RSP, RIP is in RCX, RBP in R8, RBX in R9
//!    mov rbp, r8
//!    mov rbx, r9
//!    jmp rcx
//! ```
//!
//! `tests::debugger` steps gdb through a switch and asks for a backtrace at each instruction. Where the compiler makes no unwind
//! tables, or may make none, there are no such directives ([`UNWIND_TABLES`]).
//!
//! # Why inline
//!
//! Medians of 501 paired runs, two flows that switch to each other from two places, on a Zen 3 at
//! 2.4 GHz (virtual), where half of a corosensei resume and suspend took 2.1 ns:
//!
//! | way | ns |
//! |---|---|
//! | inline, with an indirect jump in each place | 1.6 |
//! | one routine that all places jump to, which ends in one indirect jump | 3.2 |
//! | the same, by pushes and pops | 3.5 |
//! | called, and leaving by `jmp` | 3.7 |
//! | called, and leaving by `ret` | 9.8 |
//!
//! A `ret` goes where the return predictor says, to the caller in the flow that was left. One
//! jump shared by all has many targets. A jump for each place mostly has one. The same holds for
//! the functions around: whatever returns after a switch, to another caller than the predictor
//! remembers, costs 5 to 10 ns, so what is between the public call and the switch is best inlined.
//!
//! # Floating-point control words
//!
//! The ABI makes MXCSR's control bits and the x87 control word callee-saved. A switch, the same
//! measurement:
//!
//! | way | ns | `CONTROL_WORDS` |
//! |---|---|---|
//! | neither word | 1.6 | 0 |
//! | x87 word alone, saved and loaded | 2.4 | |
//! | x87 word compared with the default, MXCSR probed by arithmetic | 2.6 | 1 |
//! | both saved and loaded | 5.8 | 2 |
//! | both saved, loaded where they differ | 7.2 | |
//!
//! Reading MXCSR is what costs, 4 ns, and it is paid whatever is done with it. With some work
//! between the switches half of it hides behind that work. The probe does not read it: four
//! additions in one instruction, whose results show a rounding or denormal mode other than the
//! default, after which the word is read. It cannot show that an exception is unmasked. Whoever
//! unmasks by the C library changes the x87 word too, which is compared; who does it in MXCSR
//! alone is missed by way 1. (Rust itself takes the default words for granted: running its
//! floating-point code under others is undefined.)
//!
//! # Back ends
//!
//! All export the same names; `build.rs` chooses one and the ladder below is the only place that
//! knows. `asm`: this essay. `corosensei`: other CPUs, `imp/corosensei.rs`. `thread`: Miri and
//! models, `imp/thread.rs`. `--cfg gort_force_context="corosensei"` in RUSTFLAGS forces one.
//! Each is tested by `tests`, the asm one also against corosensei as oracle, and on aarch64 under
//! emulation (`ci/aarch64.sh`).
//!
//! Rejected: `swapcontext` (a system call for the signal mask); a frame pushed on the stack
//! (touches it, and needs unwind directives for every push); a switch in a naked function (saves
//! six registers where one or two are live, and returns by `ret`).

// The one ladder: which file switches, and which file knows the current M.
#[cfg(all(gort_context = "asm", target_arch = "x86_64"))]
#[path = "imp/x86_64.rs"]
mod imp;
#[cfg(all(gort_context = "asm", target_arch = "aarch64"))]
#[path = "imp/aarch64.rs"]
mod imp;
#[cfg(gort_context = "corosensei")]
#[path = "imp/corosensei.rs"]
mod imp;
#[cfg(gort_context = "thread")]
#[path = "imp/thread.rs"]
mod imp;

#[cfg(all(not(gort_context = "thread"), target_arch = "x86_64"))]
#[path = "word/x86_64.rs"]
mod word;
#[cfg(all(not(gort_context = "thread"), target_arch = "aarch64"))]
#[path = "word/aarch64.rs"]
mod word;
#[cfg(any(gort_context = "thread", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "word/portable.rs"]
mod word;

/// Whether the compiler makes unwind tables; if not, directives for them in inline assembly are errors. With `panic = "abort"` those
/// before 1.92 make them only if they are told to. Later ones do in any case, and then a backtrace from within a switch is what is
/// missing. (Not for build.rs to say: Cargo does not tell it what a profile has for `panic`.)
#[cfg(gort_context = "asm")]
const UNWIND_TABLES: bool =
    cfg!(any(gort_unwind_tables = "yes", all(panic = "unwind", not(gort_unwind_tables = "no"))));

/// What a new flow runs: takes nothing, never comes back. (The thread back end ends a flow by
/// unwinding through it.)
#[cfg(not(gort_context = "thread"))]
pub(crate) type Entry = unsafe extern "C" fn() -> !;
/// What a new flow runs: takes nothing, never comes back.
#[cfg(gort_context = "thread")]
pub(crate) type Entry = unsafe extern "C-unwind" fn() -> !;

pub(crate) use imp::Context;
pub(crate) use word::{can_set_thread_pointer, current_m, m_slot, set_current_m, thread_pointer};

/// Makes `ctx` start at `entry` on the stack whose exclusive, 16-aligned upper end is `top` and
/// whose lowest usable address is `limit`. `entry` finds what it needs by `current_m`.
///
/// # Safety
/// - `ctx` is valid for writes and no flow is suspended in it;
/// - the memory from `limit` to `top` is writable, unused, and stays so until the flow has ended;
/// - `entry` does not unwind (but, in the thread back end, with what its switches unwind with).
#[inline(always)]
pub(crate) unsafe fn init(ctx: *mut Context, top: *mut u8, limit: *mut u8, entry: Entry) {
    debug_assert!(top.addr().is_multiple_of(16), "the upper end of a stack is 16-byte aligned");
    debug_assert!(limit < top, "a stack has room");
    // SAFETY: the caller's promise.
    unsafe { imp::init(ctx, top, limit, entry) }
}

/// Saves the running flow in `from` and goes on in `to`, under the thread pointer `tls` (0: the
/// one in force). Returns when somebody switches to `from`, perhaps on another OS thread.
///
/// # Safety
/// - `from` is valid and belongs to the running flow; `to` holds a suspended flow that nobody else
///   resumes, on a stack that is still there;
/// - `from` is read by nobody until this has left the stack: publish it from the other side;
/// - `tls` is 0 or the thread pointer of a live thread that nobody else runs under, and
///   [`can_set_thread_pointer`] is true;
/// - everything that the running flow holds may be resumed where it will be.
#[inline(always)]
pub(crate) unsafe fn switch(from: *mut Context, to: *const Context, tls: usize) {
    // SAFETY: the caller's promise.
    unsafe { imp::switch(from, to, tls) }
}

/// Abandons the running flow and goes on in `to` under `tls`. The stack being left is not touched
/// after the call has begun, and may be used by `to` at once.
///
/// # Safety
/// As for [`switch()`]; and nothing on the running stack needs to be dropped. `from` dies: it is
/// suspended nowhere and must be given to [`init`] before it is used again.
#[inline(always)]
pub(crate) unsafe fn switch_away(from: *mut Context, to: *const Context, tls: usize) -> ! {
    // SAFETY: the caller's promise.
    unsafe { imp::switch_away(from, to, tls) }
}

/// Abandons every frame of the running stack and starts `entry` afresh at its top, under `tls`.
///
/// # Safety
/// As for [`init`] and [`switch_away`]: `ctx` belongs to the running flow, which runs on the stack
/// from `limit` to `top`, and nothing on that stack needs to be dropped.
#[inline(always)]
pub(crate) unsafe fn restart(ctx: *mut Context, top: *mut u8, limit: *mut u8, entry: Entry, tls: usize) -> ! {
    debug_assert!(top.addr().is_multiple_of(16), "the upper end of a stack is 16-byte aligned");
    // SAFETY: the caller's promise.
    unsafe { imp::restart(ctx, top, limit, entry, tls) }
}

#[cfg(test)]
mod tests;

// The context switch for aarch64 (AAPCS64), and the word that holds the current M. What is said in
// asm/x86_64.s holds here; the differences:
//
// - what the ABI makes callee-saved is x19 to x30, the low halves of v8 to v15, and FPCR. The
//   inline half declares all of them lost but x19 and x29, which the compiler reserves;
// - the thread pointer is TPIDR_EL0, writable by any program;
// - the entry points that are jumped to begin with `bti`, a no-op on CPUs without it. Return
//   addresses are signed and checked by the compiler's own prologues, on the stack they are on.
//
// Offsets in a Context:
//
//      0   SP
//      8   PC: where the flow goes on
//     16   X29
//     24   X19
//     32   FPCR

// --- The word ------------------------------------------------------------------------------------

        .pushsection .tbss.gort_m, "awT", %nobits
        .balign 8
        .globl  gort_m_v0_1
        .hidden gort_m_v0_1
        .type   gort_m_v0_1, %object
        .size   gort_m_v0_1, 8
gort_m_v0_1:
        .zero   8
        .popsection

        .pushsection .text.gort_context, "ax", %progbits

// --- gort_switch_away: leave the running flow for good, go on in another -------------------------
//
// Reached by a jump.
//   x1  *const Context of the flow that goes on
//   x2  the thread pointer to install, or 0
// Nothing is saved and, from the first instruction on, nothing of the stack is used any more.

        .balign 16
        .globl  gort_switch_away_v0_1
        .hidden gort_switch_away_v0_1
        .type   gort_switch_away_v0_1, %function
gort_switch_away_v0_1:
        .cfi_startproc
        .cfi_undefined x30              // Whoever walks from here finds no caller.
        hint    #34                     // bti c
        .if {fp}
        ldr     x12, [x1, #32]
        msr     fpcr, x12
        .endif
        ldp     x11, x16, [x1]
        ldp     x29, x19, [x1, #16]
        // Nothing from here to the jump touches thread-local storage.
        cbz     x2, 2f
        msr     tpidr_el0, x2
2:      mov     sp, x11
        .cfi_def_cfa sp, 0              // Now the flow that goes on is the caller.
        .cfi_register x30, x16
        br      x16
        .cfi_endproc
        .size   gort_switch_away_v0_1, . - gort_switch_away_v0_1

// --- gort_restart: abandon every frame of the running stack, begin again at its top --------------
//
// Reached by a jump.
//   x0  the upper end of the stack, 16-byte aligned
//   x1  the function to start
//   x2  the thread pointer to install, or 0

        .balign 16
        .globl  gort_restart_v0_1
        .hidden gort_restart_v0_1
        .type   gort_restart_v0_1, %function
gort_restart_v0_1:
        .cfi_startproc
        .cfi_undefined x30
        hint    #34                     // bti c
        mov     sp, x0
        mov     x19, x1
        mov     x29, xzr
        .if {fp}
        msr     fpcr, xzr               // Round to nearest, no traps: as for a new flow.
        .endif
        cbz     x2, 2f
        msr     tpidr_el0, x2
2:      b       gort_start_v0_1
        .cfi_endproc
        .size   gort_restart_v0_1, . - gort_restart_v0_1

// --- gort_base: the base of every stack -----------------------------------------------------------
//
// A new flow begins at gort_start (`init` writes its address into the context), and so does what
// `gort_restart` starts.
//   x19  the function to start: takes nothing, never comes back
//   x29  0: here ends the chain of frame pointers
//   sp   the upper end of the stack
// The return address is undefined: here ends every walk by unwind information.

        .balign 16
        .type   gort_base_v0_1, %function
gort_base_v0_1:
        .cfi_startproc
        .cfi_undefined x30
        nop                             // For a flow that has not run yet, gort_start is the return
                                        // address, and unwinders look up the one before.
        .globl  gort_start_v0_1
        .hidden gort_start_v0_1
gort_start_v0_1:
        hint    #36                     // bti j
        blr     x19
        brk     #1
        .cfi_endproc
        .size   gort_base_v0_1, . - gort_base_v0_1

        .popsection

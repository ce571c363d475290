// The hot half of the aarch64 switch: the body of the `asm!` block of `switch` in
// src/switch/imp/aarch64.rs. See asm/x86_64_switch.s, from which this differs in registers:
//
//   x0   *mut Context of the flow that is left
//   x1   *const Context of the flow that goes on
//   x2   the thread pointer to install, or 0
//   x19, x29, sp  saved in the context; every other register is lost, d8 to d15 included
//
// Offsets in a Context, the same as in asm/aarch64.s and asserted in src/switch/imp/aarch64.rs:
//      0 SP   8 PC   16 X29   24 X19   32 FPCR

        .if {fp}
        mrs     x9, fpcr
        .endif
        adr     x10, 2f
        mov     x11, sp
        stp     x11, x10, [x0]
        stp     x29, x19, [x0, #16]
        .if {fp}
        str     x9, [x0, #32]           // The flow is suspended now, though still on its stack.
        ldr     x12, [x1, #32]
        cmp     x9, x12
        b.ne    5f
6:
        .endif
        ldp     x11, x16, [x1]
        ldp     x13, x14, [x1, #16]
        // Nothing from here to the jump touches thread-local storage.
        cbnz    x2, 7f
8:      mov     sp, x11
        .if {cfi}
        // Whoever looks now finds the other flow as the caller.
        .cfi_remember_state
        .cfi_def_cfa sp, 0
        .cfi_register x30, x16
        .cfi_register x29, x13
        .cfi_register x19, x14
        .endif
        mov     x29, x13
        mov     x19, x14
        br      x16                     // Through x16, which may enter at a `bti c` as well as at a `bti j`.
        .if {cfi}
        .cfi_restore_state
        .endif

7:      msr     tpidr_el0, x2
        b       8b
        .if {fp}
5:      msr     fpcr, x12
        b       6b
        .endif
2:      hint    #36                     // bti j

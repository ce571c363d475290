# The context switch for x86-64 (System V ABI), and the word that holds the current M.
#
# The essay, with the pictures of the stack, is in src/switch/mod.rs. The callers are inline
# assembly in src/switch/imp/x86_64.rs, which tells the compiler which registers are lost; the
# switch itself is in asm/x86_64_switch.s. Intel syntax; Rust fills in the const operand fp.
#
# A Context is the flow's RSP; the rest lies in the red zone below it (asm/x86_64_switch.s):
#
#     -8   RIP: where the flow goes on
#    -16   RBP
#    -24   RBX
#    -28   x87 control word (2 bytes)
#    -32   MXCSR (4 bytes)
#
# The unwind information is right at every instruction. The routines are reached by jumps, so
# there is no return address of theirs to find.

# --- The word -----------------------------------------------------------------------------------

        .pushsection .tbss.gort_m, "awT", @nobits
        .balign 8
        .globl  gort_m_v0_1
        .hidden gort_m_v0_1
        .type   gort_m_v0_1, @object
        .size   gort_m_v0_1, 8
gort_m_v0_1:
        .zero   8
        .popsection

        .pushsection .text.gort_context, "ax", @progbits

# --- gort_switch_away: leave the running flow for good, go on in another ------------------------
#
# Reached by a jump.
#   rsi  *mut Context of the flow that goes on
#   rdx  the thread pointer to install, or 0
# Nothing is saved and, from the first instruction on, nothing of the stack is used any more.

        .balign 16
        .globl  gort_switch_away_v0_1
        .hidden gort_switch_away_v0_1
        .type   gort_switch_away_v0_1, @function
gort_switch_away_v0_1:
        .cfi_startproc
        .cfi_undefined rip              # Whoever walks from here finds no caller.
        mov     rsi, [rsi]              # The other flow's RSP.
        .if {fp} != 0
        ldmxcsr [rsi - 32]
        fldcw   [rsi - 28]
        .endif
        mov     rcx, [rsi - 8]
        mov     rbp, [rsi - 16]
        mov     rbx, [rsi - 24]
        # Nothing from here to the jump touches thread-local storage.
        test    rdx, rdx
        jz      2f
        wrfsbase rdx
2:      mov     rsp, rsi
        .cfi_def_cfa rsp, 0             # Now the flow that goes on is the caller.
        .cfi_register rip, rcx
        jmp     rcx
        .cfi_endproc
        .size   gort_switch_away_v0_1, . - gort_switch_away_v0_1

# --- gort_restart: abandon every frame of the running stack, begin again at its top --------------
#
# Reached by a jump.
#   rdi  the upper end of the stack, 16-byte aligned
#   rsi  the function to start
#   rdx  the thread pointer to install, or 0

        .balign 16
        .globl  gort_restart_v0_1
        .hidden gort_restart_v0_1
        .type   gort_restart_v0_1, @function
gort_restart_v0_1:
        .cfi_startproc
        .cfi_undefined rip
        mov     rsp, rdi
        mov     rbx, rsi
        xor     ebp, ebp
        .if {fp} != 0
        ldmxcsr [rip + 3f]
        fldcw   [rip + 3f + 4]
        .endif
        test    rdx, rdx
        jz      gort_start_v0_1
        wrfsbase rdx
        jmp     gort_start_v0_1
        .balign 4
3:      .long   0x1f80, 0x037f          # The ABI's words at process entry, as for a new flow.
        .cfi_endproc
        .size   gort_restart_v0_1, . - gort_restart_v0_1

# --- gort_base: the base of every stack -----------------------------------------------------------
#
# A new flow begins at gort_start (`init` writes its address into the context), and so does what
# `gort_restart` starts.
#   rbx  the function to start: takes nothing, never comes back
#   rbp  0: here ends the chain of frame pointers
#   rsp  the upper end of the stack
# RIP of the caller is undefined: here ends every walk by unwind information.

        .balign 16
        .type   gort_base_v0_1, @function
gort_base_v0_1:
        .cfi_startproc
        .cfi_undefined rip
        nop                             # For a flow that has not run yet, gort_start is the return
                                        # address, and unwinders look up the one before.
        .globl  gort_start_v0_1
        .hidden gort_start_v0_1
gort_start_v0_1:
        call    rbx
        ud2
        .cfi_endproc
        .size   gort_base_v0_1, . - gort_base_v0_1

        .popsection

# --- The probe ------------------------------------------------------------------------------------
#
# Summands and sums of four single-precision additions whose results tell MXCSR's rounding mode
# and its denormal bits (asm/x86_64_switch.s, fp = 1):
#   two denormals: zero if DAZ or FTZ is set;
#   1 + 1/4 of the last place: more than 1 when rounding up;
#   1 + 5/8 of the last place: 1 when rounding down or towards zero;
#   0 + 0.

        .pushsection .rodata.gort_probe, "a", @progbits
        .balign 16
        .globl  gort_probe_v0_1
        .hidden gort_probe_v0_1
        .type   gort_probe_v0_1, @object
        .size   gort_probe_v0_1, 48
gort_probe_v0_1:
        .long   0x00000008, 0x3f800000, 0x3f800000, 0
        .long   0x00000008, 0x33000000, 0x33a00000, 0
        .long   0x00000010, 0x3f800000, 0x3f800001, 0
        .popsection

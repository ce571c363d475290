# The hot half of the x86-64 switch. It is the body of the `asm!` block of `switch` in
# src/switch/imp/x86_64.rs, so each place that switches has an indirect jump of its own, which
# the branch predictor tells apart (see "Why inline" in src/switch/mod.rs). Intel syntax; Rust
# fills in the const operands: fp, the way the control words are kept, and cfi, whether the
# compilation has unwind tables at all.
#
#   rdi  *mut Context of the flow that is left
#   rsi  *const Context of the flow that goes on
#   rdx  the thread pointer to install, or 0
#   rbx, rbp, rsp  saved; every other register is lost
#
# A Context is the flow's RSP. The rest lies below it, in the red zone of the ABI, which nobody
# else writes: the compiler keeps nothing there around an asm! block, and the kernel skips it when
# it puts a signal frame on this stack. Offsets from that RSP, the same as in asm/x86_64.s and
# `Saved` in src/switch/imp/x86_64.rs:
#      -8 RIP   -16 RBP   -24 RBX   -28 x87 control word   -32 MXCSR

        .if {fp} == 1                   # Probed: find out whether both words are the default.
        fnstcw  [rsp - 28]
        movzx   r10d, word ptr [rsp - 28]
        movaps  xmm0, xmmword ptr [rip + gort_probe_v0_1]
        addps   xmm0, xmmword ptr [rip + gort_probe_v0_1 + 16]
        pcmpeqd xmm0, xmmword ptr [rip + gort_probe_v0_1 + 32]
        movmskps r11d, xmm0
        xor     r10d, 0x037f
        xor     r11d, 15
        mov     dword ptr [rsp - 32], 0x1f80
        or      r11d, r10d              # r11d: 0 if both are.
        jnz     3f
4:
        .endif
        .if {fp} == 2
        stmxcsr [rsp - 32]
        fnstcw  [rsp - 28]
        .endif

        lea     rax, [rip + 2f]
        mov     [rsp - 8], rax
        mov     [rsp - 16], rbp
        mov     [rsp - 24], rbx
        mov     [rdi], rsp              # The flow is suspended now, though still on its stack.
        mov     rsi, [rsi]              # From here on rsi is the other flow's RSP.

        .if {fp} == 1
        mov     r10d, [rsi - 32]
        movzx   eax, word ptr [rsi - 28]
        xor     r10d, 0x1f80
        xor     eax, 0x037f
        or      r11d, r10d
        or      r11d, eax
        jnz     5f                      # Not the default here, or not there.
6:
        .endif
        .if {fp} == 2
        ldmxcsr [rsi - 32]
        fldcw   [rsi - 28]
        .endif
        mov     rcx, [rsi - 8]
        mov     r8, [rsi - 16]
        mov     r9, [rsi - 24]
        # Nothing from here to the jump touches thread-local storage.
        test    rdx, rdx
        jnz     7f
8:      mov     rsp, rsi
        .if {cfi}
        # Whoever looks now finds the other flow as the caller.
        .cfi_remember_state
        .cfi_def_cfa rsp, 0
        .cfi_register rip, rcx
        .cfi_register rbp, r8
        .cfi_register rbx, r9
        .cfi_undefined r12
        .cfi_undefined r13
        .cfi_undefined r14
        .cfi_undefined r15
        .endif
        mov     rbp, r8
        mov     rbx, r9
        jmp     rcx
        .if {cfi}
        .cfi_restore_state
        .endif

7:      wrfsbase rdx
        jmp     8b
        .if {fp} == 1
5:      ldmxcsr [rsi - 32]
        fldcw   [rsi - 28]
        jmp     6b
3:      stmxcsr [rsp - 32]
        jmp     4b
        .endif
2:

//! Callee-saved registers and control words are really preserved: both sides of a switch fill
//! them with values of their own and look again afterwards.

use super::*;
use std::arch::naked_asm;

#[cfg(gort_context = "asm")]
use crate::switch::imp::CONTROL_WORDS;
/// corosensei leaves the control words alone.
#[cfg(gort_context = "corosensei")]
const CONTROL_WORDS: u8 = 0;

#[cfg(target_arch = "x86_64")]
mod cpu {
    use super::*;

    /// rbx, rbp, r12 to r15 (0 to 5); MXCSR in the low and the x87 control word in the high half
    /// of 6.
    pub(super) const WORDS: usize = 7;

    /// Loads the registers from `values`, calls `call(argument)`, stores them back in `values`,
    /// and gives the caller's back.
    #[unsafe(naked)]
    pub(super) extern "C" fn with_registers(
        values: *mut [u64; WORDS],
        call: extern "C" fn(*mut u8),
        argument: *mut u8,
    ) {
        naked_asm!(
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "sub rsp, 24",
            "mov [rsp], rdi",
            "stmxcsr [rsp + 8]",
            "fnstcw [rsp + 12]",
            "mov rbx, [rdi]",
            "mov rbp, [rdi + 8]",
            "mov r12, [rdi + 16]",
            "mov r13, [rdi + 24]",
            "mov r14, [rdi + 32]",
            "mov r15, [rdi + 40]",
            "ldmxcsr [rdi + 48]",
            "fldcw [rdi + 52]",
            "mov rdi, rdx",
            "call rsi",
            "mov rdi, [rsp]",
            "mov [rdi], rbx",
            "mov [rdi + 8], rbp",
            "mov [rdi + 16], r12",
            "mov [rdi + 24], r13",
            "mov [rdi + 32], r14",
            "mov [rdi + 40], r15",
            "stmxcsr [rdi + 48]",
            "fnstcw [rdi + 52]",
            "ldmxcsr [rsp + 8]",
            "fldcw [rsp + 12]",
            "add rsp, 24",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            "ret",
        )
    }

    /// MXCSR's status flags are not callee-saved.
    pub(super) fn callee_saved(mut values: [u64; WORDS]) -> [u64; WORDS] {
        values[6] &= 0xffff_0000_ffc0;
        values
    }

    /// Values for one side of a switch, different in every register.
    pub(super) fn values(side: u64, control: u64) -> [u64; WORDS] {
        let mut values = std::array::from_fn(|i| (side << 32) | ((i as u64 + 1) * 0x0101_0101));
        values[6] = control;
        values
    }

    const DEFAULT: u64 = 0x037f_0000_1f80;

    /// Control words: rounding modes, denormals to zero, x87 precision; and (where they are kept)
    /// exceptions unmasked in one of the two words alone.
    pub(super) fn control_words() -> Vec<u64> {
        let mut all = vec![DEFAULT];
        if CONTROL_WORDS != 0 {
            all.extend([
                0x037f_0000_3f80, // MXCSR: down
                0x037f_0000_5f80, // up
                0x037f_0000_7f80, // towards zero
                0x037f_0000_9f80, // flush to zero
                0x037f_0000_1fc0, // denormals are zero
                0x007f_0000_1f80, // x87: single precision
                0x0f7f_0000_1f80, // x87: towards zero
                0x0f7f_0000_ffc0,
                0x037b_0000_1d80, // division by zero traps, in both
                0x037b_0000_1f80,
            ]);
            if CONTROL_WORDS == 2 {
                all.push(0x037f_0000_1d80);
            }
        }
        all
    }

    /// The control words in force.
    pub(super) fn control_word() -> u64 {
        let mut words = 0u64;
        // SAFETY: stores 4 and 2 bytes in the 8 of `words`.
        unsafe { std::arch::asm!("stmxcsr [{0}]", "fnstcw [{0} + 4]", in(reg) &raw mut words) };
        words & 0xffff_0000_ffc0
    }

    pub(super) const NEW_FLOW: u64 = DEFAULT;

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn tell_sp() -> ! {
        naked_asm!("mov rdi, rsp", "call {}", sym super::told_sp)
    }

    /// The call has pushed a return address.
    pub(super) const SP_MODULO_16: usize = 8;
}

#[cfg(target_arch = "aarch64")]
mod cpu {
    use super::*;

    /// x19 to x29 (0 to 10), d8 to d15 (11 to 18), FPCR (19).
    pub(super) const WORDS: usize = 20;

    /// Loads the registers from `values`, calls `call(argument)`, stores them back in `values`,
    /// and gives the caller's back.
    #[unsafe(naked)]
    pub(super) extern "C" fn with_registers(
        values: *mut [u64; WORDS],
        call: extern "C" fn(*mut u8),
        argument: *mut u8,
    ) {
        naked_asm!(
            "stp x29, x30, [sp, #-192]!",
            "stp x19, x20, [sp, #16]",
            "stp x21, x22, [sp, #32]",
            "stp x23, x24, [sp, #48]",
            "stp x25, x26, [sp, #64]",
            "stp x27, x28, [sp, #80]",
            "stp d8, d9, [sp, #96]",
            "stp d10, d11, [sp, #112]",
            "stp d12, d13, [sp, #128]",
            "stp d14, d15, [sp, #144]",
            "mrs x9, fpcr",
            "stp x9, x0, [sp, #160]",
            "ldp x19, x20, [x0]",
            "ldp x21, x22, [x0, #16]",
            "ldp x23, x24, [x0, #32]",
            "ldp x25, x26, [x0, #48]",
            "ldp x27, x28, [x0, #64]",
            "ldr x29, [x0, #80]",
            "ldp d8, d9, [x0, #88]",
            "ldp d10, d11, [x0, #104]",
            "ldp d12, d13, [x0, #120]",
            "ldp d14, d15, [x0, #136]",
            "ldr x9, [x0, #152]",
            "msr fpcr, x9",
            "mov x0, x2",
            "blr x1",
            "ldp x10, x0, [sp, #160]",
            "mrs x9, fpcr",
            "str x9, [x0, #152]",
            "msr fpcr, x10",
            "stp x19, x20, [x0]",
            "stp x21, x22, [x0, #16]",
            "stp x23, x24, [x0, #32]",
            "stp x25, x26, [x0, #48]",
            "stp x27, x28, [x0, #64]",
            "str x29, [x0, #80]",
            "stp d8, d9, [x0, #88]",
            "stp d10, d11, [x0, #104]",
            "stp d12, d13, [x0, #120]",
            "stp d14, d15, [x0, #136]",
            "ldp x19, x20, [sp, #16]",
            "ldp x21, x22, [sp, #32]",
            "ldp x23, x24, [sp, #48]",
            "ldp x25, x26, [sp, #64]",
            "ldp x27, x28, [sp, #80]",
            "ldp d8, d9, [sp, #96]",
            "ldp d10, d11, [sp, #112]",
            "ldp d12, d13, [sp, #128]",
            "ldp d14, d15, [sp, #144]",
            "ldp x29, x30, [sp], #192",
            "ret",
        )
    }

    pub(super) fn callee_saved(values: [u64; WORDS]) -> [u64; WORDS] {
        values
    }

    /// Values for one side of a switch, different in every register.
    pub(super) fn values(side: u64, control: u64) -> [u64; WORDS] {
        let mut values = std::array::from_fn(|i| (side << 32) | ((i as u64 + 1) * 0x0101_0101));
        values[WORDS - 1] = control;
        values
    }

    /// FPCR: rounding modes (bits 22 and 23), flush to zero (24), default NaN (25).
    pub(super) fn control_words() -> Vec<u64> {
        if CONTROL_WORDS != 0 { vec![0, 1 << 22, 2 << 22, 3 << 22, 1 << 24, 1 << 25] } else { vec![0] }
    }

    /// FPCR.
    pub(super) fn control_word() -> u64 {
        let word;
        // SAFETY: reads a register.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) word) };
        word
    }

    pub(super) const NEW_FLOW: u64 = 0;

    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn tell_sp() -> ! {
        naked_asm!("mov x0, sp", "bl {}", sym super::told_sp)
    }

    pub(super) const SP_MODULO_16: usize = 0;
}

extern "C" fn call_hop(pair: *mut u8) {
    hop(pair.cast());
}

extern "C" fn call_resume(pair: *mut u8) {
    resume(pair.cast());
}

#[test]
fn callee_saved_registers_and_control_words_are_preserved() {
    for inside in cpu::control_words() {
        for outside in cpu::control_words() {
            let pair = Owner::new(move |pair| {
                for round in 0..3 {
                    let before = cpu::values(0xc0de + round, inside);
                    let mut values = before;
                    cpu::with_registers(&mut values, call_hop, pair.cast());
                    assert_eq!(
                        cpu::callee_saved(values),
                        cpu::callee_saved(before),
                        "inside, {inside:#x} {outside:#x}"
                    );
                }
            });
            for round in 0..4 {
                let before = cpu::values(0xbeef + round, outside);
                let mut values = before;
                cpu::with_registers(&mut values, call_resume, pair.0.cast());
                assert_eq!(cpu::callee_saved(values), cpu::callee_saved(before), "outside, {inside:#x} {outside:#x}");
            }
            assert!(pair.ended());
        }
    }
}

#[test]
fn a_new_flow_has_the_default_control_words() {
    if CONTROL_WORDS == 0 {
        println!("skipped: the control words are left alone");
        return;
    }
    let control = *cpu::control_words().last().unwrap();
    let pair = Owner::new(|_| assert_eq!(cpu::control_word(), cpu::NEW_FLOW));
    let mut values = cpu::values(1, control);
    cpu::with_registers(&mut values, call_resume, pair.0.cast());
    assert!(pair.ended());
    assert_eq!(cpu::callee_saved(values), cpu::callee_saved(cpu::values(1, control)));
}

/// Two contexts and what the flow found in its stack pointer.
struct Told {
    root: Context,
    flow: Context,
    sp: usize,
}

unsafe extern "C" fn told_sp(sp: usize) -> ! {
    let told = current_m().cast::<Told>();
    // SAFETY: the test waits in `root`.
    unsafe {
        (*told).sp = sp;
        switch_away(&raw mut (*told).flow, &raw const (*told).root, 0)
    }
}

#[test]
fn the_stack_pointer_is_aligned_at_entry() {
    let mut stack = TestStack::new();
    let mut told = Told { root: Context::empty(), flow: Context::empty(), sp: 0 };
    let told = &raw mut told;
    set_current_m(told.cast());
    // SAFETY: a new flow on a stack of its own.
    unsafe {
        init(&raw mut (*told).flow, stack.top(), stack.limit(), cpu::tell_sp);
        switch(&raw mut (*told).root, &raw const (*told).flow, 0);
        assert_eq!((*told).sp % 16, cpu::SP_MODULO_16);
        assert!(((*told).sp) > stack.limit().addr() && (*told).sp <= stack.top().addr());
    }
}

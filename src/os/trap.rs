//! Whether the CPU runs an instruction, found out by trying it.

/// Whether reading the thread pointer register works. A trap (SIGILL) is caught and means no:
/// under emulators that know the CPU's flags but not the instruction, valgrind among them.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn reads_thread_pointer() -> bool {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// `rdfsbase rax`: F3 48 0F AE C0.
    const LENGTH: libc::greg_t = 5;
    static TRAPPED: AtomicBool = AtomicBool::new(false);

    extern "C" fn skip(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        TRAPPED.store(true, Ordering::Relaxed);
        // SAFETY: the kernel passes a ucontext_t to a handler installed with SA_SIGINFO; the
        // instruction pointer stands at the 5 bytes below, since nothing else traps here.
        unsafe {
            let context = &mut *context.cast::<libc::ucontext_t>();
            context.uc_mcontext.gregs[libc::REG_RIP as usize] += LENGTH;
        }
    }

    // SAFETY: both structs are plain data that sigaction fills in or reads. The handler is in
    // place for one instruction of this thread; it would skip five bytes of another thread's
    // code if that ran into an illegal instruction in just this moment, when the process was
    // about to die of it. The instruction reads a register into rax.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut old: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = skip as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        if libc::sigaction(libc::SIGILL, &action, &mut old) != 0 {
            return false;
        }
        std::arch::asm!("rdfsbase rax", out("rax") _, options(nomem, nostack));
        libc::sigaction(libc::SIGILL, &old, std::ptr::null_mut());
    }
    !TRAPPED.load(Ordering::Relaxed)
}

/// Elsewhere the register is always readable, or never used.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn reads_thread_pointer() -> bool {
    !cfg!(miri)
}

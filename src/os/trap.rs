//! Whether the CPU runs an instruction, found out by trying it.

/// Whether reading the thread pointer register works. A trap (SIGILL) is caught and means no:
/// under emulators that know the CPU's flags but not the instruction, valgrind among them.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn reads_thread_pointer() -> bool {
    use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

    /// `rdfsbase rax`.
    const CODE: [u8; 5] = [0xF3, 0x48, 0x0F, 0xAE, 0xC0];
    static TRAPPED: AtomicBool = AtomicBool::new(false);
    static EARLIER: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

    extern "C" fn skip(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel passes a ucontext_t to a handler installed with SA_SIGINFO. Its
        // instruction pointer stands at code that was just fetched, up to the byte that does not fit.
        unsafe {
            let context = &mut *context.cast::<libc::ucontext_t>();
            let at = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
            let code = *at as *const u8;
            if CODE.iter().enumerate().all(|(i, byte)| code.add(i).read() == *byte) {
                // Relaxed: read by this very thread.
                TRAPPED.store(true, Ordering::Relaxed);
                *at += CODE.len() as libc::greg_t;
            } else {
                // Another thread's, in just this moment: it traps anew, for whoever was there before us.
                // Acquire: pairs with the Release below.
                libc::sigaction(libc::SIGILL, EARLIER.load(Ordering::Acquire), std::ptr::null_mut());
            }
        }
    }

    // SAFETY: both structs are plain data that sigaction fills in or reads; `old` is filled in before the handler is there to
    // read it, and leaked, since a handler that has begun may read it later. The instruction reads a register into rax.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let old: &mut libc::sigaction = Box::leak(Box::new(std::mem::zeroed()));
        if libc::sigaction(libc::SIGILL, std::ptr::null(), old) != 0 {
            return false;
        }
        // Release: pairs with the Acquire in `skip`.
        EARLIER.store(old, Ordering::Release);
        action.sa_sigaction = skip as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        if libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) != 0 {
            return false;
        }
        std::arch::asm!("rdfsbase rax", out("rax") _, options(nomem, nostack));
        libc::sigaction(libc::SIGILL, old, std::ptr::null_mut());
    }
    // Relaxed: written by a handler on this thread.
    !TRAPPED.load(Ordering::Relaxed)
}

/// Elsewhere the register is always readable, or never used.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn reads_thread_pointer() -> bool {
    !cfg!(miri)
}

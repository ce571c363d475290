//! The only code that calls libc: one safe wrapper for each thing we ask of the kernel.

pub(crate) mod clock;
pub(crate) mod cpus;
pub(crate) mod debug;
pub(crate) mod elf;
pub(crate) mod epoll;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod membarrier;
pub(crate) mod mmap;
pub(crate) mod priority;
pub(crate) mod process;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod timerfd;
pub(crate) mod trap;

/// Ends the process because an invariant of the runtime is broken: writes and aborts, nothing
/// else (no allocation, no lock), so that it may be called anywhere.
#[cold]
pub(crate) fn fatal(message: &str) -> ! {
    for part in ["gort: fatal: ", message, "\n"] {
        // SAFETY: writes initialised bytes to a descriptor; a failure is of no interest now.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    std::process::abort()
}

//! Sleeping on a word: `futex(2)`, private to the process.

use crate::os::clock::{NEVER, Nanos, timespec};
use std::sync::atomic::AtomicU32;

/// Sleeps while `word` is `expected`, until woken or until `deadline` (absolute,
/// `CLOCK_MONOTONIC`). May return early; the caller looks at `word` again.
/// Returns false if the deadline passed.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Nanos) -> bool {
    let ts = timespec(deadline);
    let timeout: *const libc::timespec = if deadline == NEVER { std::ptr::null() } else { &ts };
    // SAFETY: `word` and `timeout` outlive the call; FUTEX_WAIT_BITSET takes an absolute
    // CLOCK_MONOTONIC time and writes to neither.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            timeout,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    !(r == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT))
}

/// Wakes at most `count` sleepers of `word`. The word may already be gone: the kernel
/// uses its address only as a key.
pub(crate) fn wake(word: *const AtomicU32, count: u32) {
    // SAFETY: FUTEX_WAKE does not access the memory of a private futex.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count.min(i32::MAX as u32));
    }
}

/// Sleeps while `word` is `expected`; may return early. Touches no thread-local, not even
/// `errno`: made for the threads whose block somebody else wears.
#[inline(always)]
pub(crate) fn wait_without_tls(word: &AtomicU32, expected: u32) {
    call_without_tls(word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected);
}

/// Wakes one sleeper of `word`, touching no thread-local.
#[inline(always)]
pub(crate) fn wake_without_tls(word: &AtomicU32) {
    call_without_tls(word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
}

#[inline(always)]
fn call_without_tls(word: &AtomicU32, op: libc::c_int, value: u32) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: futex(2) with a null timeout reads the word at most; a system call clobbers rax,
    // rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_futex => _,
            in("rdi") word.as_ptr(), in("rsi") op as usize, in("rdx") value as usize, in("r10") 0usize,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above; the kernel keeps all registers but x0.
    unsafe {
        std::arch::asm!(
            "svc #0",
            in("x8") libc::SYS_futex,
            inlateout("x0") word.as_ptr() => _,
            in("x1") op as usize, in("x2") value as usize, in("x3") 0usize,
            options(nostack),
        );
    }
    // Elsewhere homes are fixed, so nobody wears another thread's block.
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    if op & libc::FUTEX_WAKE != 0 {
        wake(word, 1);
    } else {
        wait(word, value, NEVER);
    }
}

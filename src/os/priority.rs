//! How soon the kernel lets a thread run that wakes up.

use std::mem::size_of;

/// `struct sched_attr` of `sched_setattr(2)`, its first version.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for the CPU for `ns` at a time for the calling thread, and in return for it soon after it wakes up: a thread with
/// a shorter slice than that which runs takes its place at once (EEVDF, `kernel/sched/fair.c`, since Linux 6.12; the default is
/// about 3 ms). It gets no more CPU time than before. Needs no privilege. Older kernels take no notice.
pub(crate) fn set_slice(ns: u64) {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>() as u32;
    // SAFETY: the kernel writes at most `size` bytes to `attr`.
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) } == 0;
    // Real-time threads run at once anyway.
    if known && attr.policy == libc::SCHED_OTHER as u32 {
        attr.size = size;
        attr.runtime = ns;
        // A refusal (seccomp) leaves it as it was, which is a matter of speed only.
        // SAFETY: the kernel reads `size` bytes of `attr`; the rest of it is what is in force already.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_on_with_any_slice() {
        let slice = || {
            let mut attr = SchedAttr::default();
            // SAFETY: as above.
            let known =
                unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size_of::<SchedAttr>() as u32, 0) };
            (known, attr.policy, attr.nice, attr.runtime)
        };
        std::thread::spawn(move || {
            let before = slice();
            set_slice(200_000);
            let after = slice();
            assert_eq!((before.0, before.1, before.2), (after.0, after.1, after.2));
            // Where the kernel knows slices.
            assert!(before.3 == after.3 || after.3 == 200_000, "{after:?}");
        })
        .join()
        .expect("no panic");
    }
}

//! Children: a descriptor for one, and waiting for its end.

use super::debug;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// A descriptor that is readable once the child `process` has ended: `pidfd_open(2)`, Linux 5.3. The child must not have
/// been reaped, or the number may mean another.
pub(crate) fn pidfd_open(process: u32) -> io::Result<OwnedFd> {
    static REFUSED: OnceLock<bool> = OnceLock::new();
    if *REFUSED.get_or_init(|| debug::is_off("pidfd")) {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    // SAFETY: a system call without pointers. The descriptor is closed on exec by itself.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, process as libc::pid_t, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made it for us; nobody else owns it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
    }
}

/// Blocks the thread until the child `process` has ended, and leaves it to be reaped by somebody: `waitid(2)`.
pub(crate) fn await_end(process: u32) -> io::Result<()> {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let what = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: the kernel fills in what it is given.
        if unsafe { libc::waitid(libc::P_PID, process, info.as_mut_ptr(), what) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

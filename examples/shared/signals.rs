//! SIGINT and SIGTERM as something that a coroutine waits for, so that a server ends in good order.

use gort::io::Pollable;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The two signals, kept for [`Self::wait`].
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// To be called before there are other threads: they inherit that these signals do not interrupt them.
    pub(crate) fn keep() -> io::Result<Signals> {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: `sigemptyset` makes a set of the memory that it is given, the others only use it.
        let fd = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            match libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) {
                0 => libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK),
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else has it.
        Ok(Signals(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Waits until one of them comes.
    pub(crate) fn wait(self) -> io::Result<()> {
        Pollable::new(self.0)?.wait_readable(None)
    }
}

//! `timerfd_create(2)`: a time that one thread sleeps until, and that any thread may change meanwhile.

use super::clock::{NEVER, Nanos, timespec};
use super::debug;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One timer.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// None if a filter refuses it, the kernel has none, or `GORT_DEBUG=timerfd=0` says so.
    ///
    /// # Errors
    /// No descriptor (`EMFILE`, `ENFILE`) or no memory for one.
    pub(crate) fn new() -> io::Result<Option<Timer>> {
        if debug::value("timerfd").is_some_and(|value| value == "0") {
            return Ok(None);
        }
        // SAFETY: takes numbers, touches no memory.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
        if fd >= 0 {
            // SAFETY: the kernel has just made `fd` for us; nobody else owns it.
            return Ok(Some(Timer(unsafe { OwnedFd::from_raw_fd(fd) })));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => Ok(None),
            _ => Err(error),
        }
    }

    /// The time is `time` from now on, whatever it was (absolute, `CLOCK_MONOTONIC`; [`NEVER`]; 0 has passed already). Half a
    /// microsecond, and twice as long if the CPU's own timer has to be set to it. Async-signal-safe but for `errno`.
    pub(crate) fn set(&self, time: Nanos) {
        // All zeros would disarm it.
        let at = if time == NEVER { timespec(0) } else { timespec(time.max(1)) };
        let new = libc::itimerspec { it_interval: timespec(0), it_value: at };
        let (fd, flags) = (self.0.as_raw_fd(), libc::TFD_TIMER_ABSTIME);
        // SAFETY: `new` outlives the call; null says that the old time is of no interest.
        if unsafe { libc::timerfd_settime(fd, flags, &raw const new, std::ptr::null_mut()) } != 0 {
            gone();
        }
    }

    /// Sleeps until the time that is set then has come. May return early. There is nothing to be read: the next [`Self::set`] takes
    /// back that it has come.
    pub(crate) fn wait(&self) {
        let mut set = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one element, which outlives the call; the nulls say without end, and with the mask as it is.
        let result = unsafe { libc::ppoll(&raw mut set, 1, std::ptr::null(), std::ptr::null()) };
        let failed = result < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted;
        if failed || set.revents & libc::POLLNVAL != 0 {
            gone();
        }
    }
}

#[cold]
fn gone() -> ! {
    super::fatal(
        "sysmon's timer fails; was its descriptor closed by other code, or are its calls forbidden since it was made?",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock;

    #[test]
    fn a_time_may_be_changed_while_one_sleeps() {
        let Some(timer) = Timer::new().expect("a descriptor") else { return };
        const MS: Nanos = 1_000_000;
        let begin = clock::now();
        timer.set(begin + MS);
        timer.wait();
        assert!(clock::now() >= begin + MS);
        // Moved on, set for the first time, brought forward.
        for (first, then) in [(100 * MS, 150 * MS), (NEVER, 50 * MS), (60_000 * MS, 0)] {
            let begin = clock::now();
            timer.set(begin.saturating_add(first));
            let in_time = std::thread::scope(|scope| {
                scope.spawn(|| timer.wait());
                std::thread::sleep(std::time::Duration::from_millis(5));
                timer.set(if then == 0 { 0 } else { begin + then });
                clock::now() - begin < first
            });
            let slept = clock::now() - begin;
            // Else the first time may have come.
            assert!(slept >= if in_time { then } else { first }, "{first} {then} {slept}");
            assert!(slept < 30_000 * MS, "{first} {then} {slept}");
        }
    }
}

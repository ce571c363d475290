//! What sysmon sleeps on: until somebody wakes it, or until a time that others may put off.
//!
//! A word says whether it is to sleep on, and a timer (`timerfd`) when it wakes up. Whoever sets the timer, to sleep or to put the
//! time off, looks at the word afterwards; whoever wakes changes the word first and then sets the timer to a time that has passed.
//! The kernel does what is asked of a timer one after the other: so if the waker's time is lost under another one, who set
//! that sees the waker's word. Modelled in `ci/models`, `snooze::*`.
//!
//! Without a timer (`GORT_DEBUG=timerfd=0`, or a filter) it sleeps on the word, a futex, and nothing is put off.

use crate::os::clock::Nanos;
use crate::os::futex;
use crate::os::timerfd::Timer;
use crate::shim::atomic::{AtomicU32, Ordering};

/// Has passed.
const AT_ONCE: Nanos = 0;

/// See the module.
#[derive(Debug)]
pub(crate) struct Snooze(Option<Timer>);

impl Snooze {
    pub(crate) fn new(timer: Option<Timer>) -> Snooze {
        Snooze(timer)
    }

    /// Whether a time can be put off.
    pub(crate) fn can_be_put_off(&self) -> bool {
        self.0.is_some()
    }

    /// Sleeps while `word` is `expected`, until woken or until `deadline`, or as late as that has been put off. May return early.
    /// True if it is worth while to look at the word and to sleep on.
    pub(crate) fn wait(&self, word: &AtomicU32, expected: u32, deadline: Nanos) -> bool {
        let Some(timer) = &self.0 else { return futex::wait(word, expected, deadline) };
        timer.set(deadline);
        // Relaxed: ordered by the timer; see the module.
        if word.load(Ordering::Relaxed) == expected {
            timer.wait();
        }
        false
    }

    /// Wakes who sleeps on `word`, which the caller has changed. Async-signal-safe but for `errno`.
    pub(crate) fn wake(&self, word: &AtomicU32) {
        match &self.0 {
            Some(timer) => timer.set(AT_ONCE),
            None => futex::wake(word, 1),
        }
    }

    /// Who sleeps goes on sleeping until `until`, if it is then still so that `may`.
    pub(crate) fn put_off(&self, until: Nanos, may: impl FnOnce() -> bool) {
        let Some(timer) = &self.0 else { return };
        timer.set(until);
        if !may() {
            // Perhaps it has been woken, and this was under our time.
            timer.set(AT_ONCE);
        }
    }
}

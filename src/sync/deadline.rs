//! How long a call may wait.

use crate::os::clock::{self, Nanos};
use std::time::{Duration, Instant};

/// The moment `timeout` from now; None if that is now.
pub(super) fn after(timeout: Duration) -> Option<Nanos> {
    (!timeout.is_zero()).then(|| clock::after(timeout))
}

/// The same moment as `deadline`; None if it has passed.
pub(super) fn at(deadline: Instant) -> Option<Nanos> {
    (deadline > Instant::now()).then(|| clock::at(deadline))
}

//! Whether this machine can wear homes: asked once, at the first start.

use crate::os;
use crate::switch;
use std::sync::OnceLock;

/// Whether Ms can put on another thread's identity here.
pub(crate) fn can_wear_homes() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        match os::debug::value("homes").as_deref() {
            Some("fixed") => return false,
            _ if !switch::can_set_thread_pointer() => return false,
            _ => {}
        }
        // The kernel says so, but an emulator (valgrind) may not know the instruction.
        os::trap::reads_thread_pointer()
    })
}

//! Time: sleeping, timers, tickers, limits.
//!
//! | for | use |
//! |---|---|
//! | waiting | [`sleep()`], [`sleep_until`] |
//! | something that may happen later, and can be put off | [`Timer`]; [`Timer::after_func`] runs a closure then |
//! | something that happens again and again | [`Ticker`] |
//! | a closure that must not take longer | [`timeout()`], [`timeout_at`] |
//! | one moment for several calls | [`Deadline`] |
//!
//! Go's names are kept, and what it does. [`channel::after`](crate::channel::after) and
//! [`channel::tick`](crate::channel::tick) are for code that wants channels.
//!
//! Timers cost nothing while nobody waits for them: a [`Timer`] that is made and stopped has read the clock, and
//! entered no list.

mod after_func;
mod alarm;
mod deadline;
mod sleep;
mod ticker;
mod timeout;
mod timer;

pub use after_func::AfterFunc;
pub use deadline::Deadline;
pub use sleep::{sleep, sleep_until};
pub use ticker::{MissedTicks, Ticker};
pub use timeout::{Elapsed, timeout, timeout_at};
pub use timer::Timer;

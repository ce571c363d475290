//! Who waits for a home, how many have, and for how long.
//!
//! A coroutine that was taken from a queue waits for its home while another thread wears that (`home_word.rs`): for a
//! moment, if the wearer is about to leave; for as long as a sharer computes or blocks, if it does. One that has not begun
//! waits if there is none that it could share (`Homes::choose`). Both are counted where they happen, which is off
//! every fast path: two clock readings and three additions for a wait, which costs a `membarrier` anyway.

use super::g::{self, GRef};
use super::runtime::{Runtime, Shared};
use crate::os::clock::{self, Nanos};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counters of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Of those that have ended.
    longest: AtomicU64,
}

impl Waits {
    /// `g`, the caller's, begins to wait for a home.
    #[cold]
    pub(crate) fn begin(&self, g: &g::G) {
        // Relaxed, and below: counters, and a time for the same and for reports.
        g.homeless_since.store(clock::now(), Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// `g`, the caller's, waits no longer.
    #[cold]
    pub(crate) fn end(&self, g: &g::G) {
        let since = g.homeless_since.load(Ordering::Relaxed);
        g.homeless_since.store(0, Ordering::Relaxed);
        self.longest.fetch_max(clock::now().saturating_sub(since), Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// For how long `g` has been waiting for its home, if it is. A hint, for whoever does not own `g`.
pub(crate) fn waits_since(g: GRef) -> Option<Nanos> {
    // Relaxed: a hint.
    Some(g.homeless_since.load(Ordering::Relaxed)).filter(|&since| since != 0)
}

/// How coroutines wait for their homes; see [`Runtime::home_waits`].
///
/// # Examples
/// ```
/// let waits: gort::HomeWaits = gort::Runtime::new()?.home_waits();
/// assert_eq!((waits.waiting, waits.waited, waits.longest.as_nanos()), (0, 0, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct HomeWaits {
    /// Coroutines that could run if they had their home.
    pub waiting: u64,
    /// How often one had to wait so far, those that still do included.
    pub waited: u64,
    /// The longest such wait, those that are not over included.
    pub longest: Duration,
}

impl Runtime {
    /// How many of its coroutines wait for their home, which others that live there keep from them, and for how long.
    ///
    /// Coroutines of one home take turns. A wait of microseconds is nothing to worry about: somebody was just leaving.
    /// Where waits are longer, somebody who shares a home computes or blocks: give it [one of its
    /// own](crate::Builder::own_home), or raise [`homes`](crate::RuntimeBuilder::homes). Where coroutines do not
    /// [move](Self::coroutines_move) the home is the thread that they began on.
    ///
    /// A moment's figures: each is right by itself, but they are not read at one time.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = gort::Runtime::new()?;
    /// rt.run(|| {
    ///     let local = gort::go_local!(|| std::thread::sleep(Duration::from_millis(2)));
    ///     gort::yield_now();
    ///     local.join().unwrap();
    /// });
    /// let waits = rt.home_waits();
    /// println!("{} of {} waits, the longest of {:?}", waits.waiting, waits.waited, waits.longest);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn home_waits(&self) -> HomeWaits {
        let shared = self.shared();
        let waits = &shared.homes.waits;
        // Relaxed: counters. Ends first, so that none is missing a beginning.
        let ended = waits.ended.load(Ordering::Relaxed);
        let waited = waits.begun.load(Ordering::Relaxed);
        let waiting = waited.saturating_sub(ended);
        let mut longest = waits.longest.load(Ordering::Relaxed);
        if waiting > 0 {
            longest = longest.max(longest_now(shared));
        }
        HomeWaits { waiting, waited, longest: Duration::from_nanos(longest) }
    }
}

fn longest_now(shared: &Shared) -> Nanos {
    let now = clock::now();
    let mut longest = 0;
    g::for_each_alive(shared, |g| {
        if let Some(since) = waits_since(g) {
            longest = longest.max(now.saturating_sub(since));
        }
    });
    longest
}

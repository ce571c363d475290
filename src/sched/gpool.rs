//! Free records: a stack of them per P, and one for everybody.
//!
//! A spawn takes a record and an end gives one back; where one P spawns what another ends, they
//! travel in batches through the global pool, so that its lock is taken once in [`BATCH`].

use super::g::{self, GRef};
use super::m::M;
use super::preempt::Pin;
use std::sync::Mutex;

/// Records that move at once between a P and the global pool.
const BATCH: usize = 64;
/// Records that a P keeps at most.
const KEEP: usize = 2 * BATCH;

/// The global pool. Records of ended runtimes come back here too.
static POOL: Mutex<Vec<GRef>> = Mutex::new(Vec::new());

fn pool() -> std::sync::MutexGuard<'static, Vec<GRef>> {
    POOL.lock().unwrap_or_else(|e| e.into_inner())
}

/// A P's own free records.
#[derive(Debug)]
pub(crate) struct GCache(Vec<GRef>);

impl GCache {
    pub(crate) fn new() -> GCache {
        GCache(Vec::with_capacity(KEEP + 1))
    }

    /// Takes a record.
    #[inline]
    pub(crate) fn get(&mut self) -> std::io::Result<GRef> {
        match self.0.pop() {
            Some(g) => Ok(g),
            None => self.refill(),
        }
    }

    #[cold]
    fn refill(&mut self) -> std::io::Result<GRef> {
        let mut pool = pool();
        if pool.is_empty() {
            g::grow(|g| pool.push(g))?;
        }
        let rest = pool.len().saturating_sub(BATCH);
        self.0.extend(pool.drain(rest..));
        Ok(self.0.pop().expect("the pool was not empty"))
    }

    /// Gives a record back.
    #[inline]
    pub(crate) fn put(&mut self, g: GRef) {
        self.0.push(g);
        if self.0.len() > KEEP {
            self.spill();
        }
    }

    #[cold]
    fn spill(&mut self) {
        let rest = self.0.len() - BATCH;
        pool().extend(self.0.drain(rest..));
    }

    /// Gives everything back.
    pub(crate) fn drain(&mut self) {
        pool().append(&mut self.0);
    }
}

/// Takes a record on a thread without a P.
pub(crate) fn get() -> std::io::Result<GRef> {
    let mut pool = pool();
    if pool.is_empty() {
        g::grow(|g| pool.push(g))?;
    }
    Ok(pool.pop().expect("the pool was not empty"))
}

/// Gives back the record of a coroutine whose last reference has gone, on any thread.
///
/// # Safety
/// Nobody refers to the record any more.
pub(crate) unsafe fn free(g: GRef) {
    let _pin = Pin::new();
    match M::with_p() {
        // SAFETY: this M has the P, so its local part is ours.
        Some(p) => unsafe { p.local() }.records.put(g),
        None => pool().push(g),
    }
}

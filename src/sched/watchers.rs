//! Who else wants to know of a coroutine's end: selects with its handle as a case.
//!
//! `join` is alone with its record and has a field there. Watching goes by reference, so there may be many
//! watchers of one record; they are rare, so they are kept aside, in a few lists by the record's address. An entry is a plain copy
//! of a waiter: one that is left behind ends no wait any more. The flag `WATCHED` in the record's state is
//! set after the entry was made, and the end reads it with setting `COMPLETE`: so either the end finds the
//! entry, or the watcher finds that it has ended.

use super::g::GRef;
use super::preempt::Pin;
use super::wait::{Waiter, Wake};
use std::sync::Mutex;

type List = Vec<(usize, Waiter)>;

static LISTS: [Mutex<List>; 64] = [const { Mutex::new(Vec::new()) }; 64];

/// Calls `f` with a record's key and the list that it belongs to. Pinned: who holds the lock is not suspended.
fn with_list<R>(g: GRef, f: impl FnOnce(usize, &mut List) -> R) -> R {
    let key = g.as_ptr().addr();
    let _pin = Pin::new();
    let mut list = LISTS[key / align_of::<super::g::G>() % 64].lock().unwrap_or_else(|e| e.into_inner());
    f(key, &mut list)
}

/// Enters a watcher. It is removed by [`remove`] or [`wake`].
pub(crate) fn add(g: GRef, waiter: Waiter) {
    with_list(g, |key, list| list.push((key, waiter)));
}

pub(crate) fn remove(g: GRef, waiter: Waiter) {
    with_list(g, |key, list| list.retain(|&entry| entry != (key, waiter)));
}

/// Wakes all watchers of a record, whose coroutine has ended.
#[cold]
pub(crate) fn wake(g: GRef) {
    let next = || {
        with_list(g, |key, list| {
            let at = list.iter().position(|entry| entry.0 == key)?;
            Some(list.swap_remove(at).1)
        })
    };
    while let Some(waiter) = next() {
        waiter.wake(Wake::Ready);
    }
}

//! Stacks: address space that stays, memory that comes and goes.
//!
//! Promises: a stack never moves; below every stack lies a guard that faults; taking a stack from
//! a warm [`Cache`] and putting it back costs a few nanoseconds, with no lock, no system call and
//! no allocation.
//!
//! # Layout
//!
//! A *slab* ([`slab`]) is one mapping of one [`Class`], cut into *slots* of the class's size:
//!
//! ```text
//!   slot 0                       slot 1                       slot 2
//!   |guard|......committed| |    |guard|....committed|  |     |guard| ...
//!         ^limit          ^top ^end
//!                          colour
//! ```
//!
//! The lowest page of a slot is its guard. The stack grows down from `top`, which lies a few cache
//! lines below the slot's end, different ones in neighbouring slots (the *colour*): without it the
//! busy lines of all stacks would have the same address in their page, and the first-level cache
//! has room for eight such.
//!
//! # Where a stack is
//!
//! In use, or in the [`Cache`] of one P (hot, memory kept), or in the [`Pool`], or never used yet.
//! Cache and pool trade in batches of half a cache, so a P that spawns and finishes around any
//! level touches the pool's lock once in sixteen times at most. The pool keeps the memory of some
//! thousand stacks and the topmost page of the others; what has not been needed for a while goes
//! back to the kernel in [`Pool::scavenge`], first the memory, then whole slabs.
//!
//! # Costs
//!
//! A million stacks of 256 KiB with one page touched take 4 KiB of memory and 0.5 KiB of page
//! table each: one page of page table maps 2 MiB, that is eight slots, guards and tops alike.
//! That is why guards are installed a batch at a time, in the order of addresses, and only when
//! the slots are first needed: the marker and the first touch share a page of page table, and
//! slots that were never used have none.
//!
//! # Overflow
//!
//! [`overflow`] recognises a fault in a guard by [`registry`], a table of all slabs that a signal
//! handler may read, and says whose stack it was.
//!
//! # Miri
//!
//! The thread-backed contexts bring their own stacks, and Miri knows no `madvise`: there `miri.rs`
//! stands in for the pool and the overflow handler, under the same names.
//!
//! Tested by `tests.rs`. Rejected:
//! - `MADV_FREE` for stacks in the pool. Freeing one page and touching it again costs 0.9 µs in
//!   place of 3, but the process looks as large as at its peak until memory is short, which users
//!   of Go took for a leak until Go gave it up. Most stacks have only their top page, and for
//!   those it is no cheaper.
//! - Giving memory back when a stack comes back: 0.4 µs each even in batches, more than all the
//!   rest of a coroutine that blocks once. A program that starts and ends ten thousand
//!   coroutines again and again would pay it every time.
//! - Populating the top pages of a batch (`MADV_POPULATE_WRITE`): as dear as the faults it saves.

mod cache;
mod class;

#[cfg(not(miri))]
pub(crate) mod limits;
#[cfg(not(miri))]
pub(crate) mod overflow;
#[cfg(not(miri))]
mod pool;
#[cfg(not(miri))]
mod registry;
#[cfg(not(miri))]
mod slab;

#[cfg(miri)]
mod miri;
#[cfg(miri)]
pub(crate) use miri::{Guard, Pool, limits, overflow};
#[cfg(not(miri))]
pub(crate) use pool::Pool;
#[cfg(not(miri))]
pub(crate) use slab::Guard;

#[cfg(test)]
mod tests;

pub(crate) use cache::Cache;
pub(crate) use class::Class;

use crate::os::mmap::page_size;
use std::ptr::NonNull;

/// Pages at the low end of a slot that fault. One is enough: rustc touches every page of a large
/// frame in turn, and so do C compilers with stack clash protection.
pub(crate) const GUARD_PAGES: usize = 1;

/// The unit of a slot's end; a page is a multiple of it. The colour is smaller.
const END_ALIGN: usize = 4096;

/// What a top is a multiple of. The bits below hold the class.
const TOP_ALIGN: usize = 64;
const _: () = assert!(TOP_ALIGN.is_multiple_of(Class::COUNT));

/// One stack, owned. It comes from [`Cache::get`] and goes back by [`Cache::put`]; dropping it
/// leaks the slot, which is what a coroutine that can never be finished needs.
///
/// One word, so that a cache moves it by one load and one store.
#[must_use = "a stack that is dropped is lost to its pool"]
pub(crate) struct Stack {
    /// The top, where the first frame starts, plus the class's index.
    word: NonNull<u8>,
}

const _: () = assert!(size_of::<Option<Stack>>() == size_of::<usize>());

// SAFETY: a Stack owns its memory: it is the only value that names its slot (not Clone, and the
// slab counts the slot as taken until `put`). Nothing in it is tied to a thread.
unsafe impl Send for Stack {}

impl Stack {
    fn new(top: NonNull<u8>, class: Class) -> Stack {
        debug_assert!(top.addr().get().is_multiple_of(TOP_ALIGN));
        Stack { word: top.map_addr(|address| address | class.index()) }
    }

    /// The exclusive upper end, a multiple of 64.
    #[inline]
    pub(crate) fn top(&self) -> NonNull<u8> {
        let top = self.word.as_ptr().map_addr(|address| address & !(TOP_ALIGN - 1));
        NonNull::new(top).expect("a stack has room below its top")
    }

    /// The lowest usable address; the guard lies right below.
    #[inline]
    pub(crate) fn limit(&self) -> NonNull<u8> {
        let below_top = self.class().bytes() - GUARD_PAGES * page_size() - self.colour();
        // Wrapping only for Miri, where a stack is but a name: the slot reaches
        // `class().bytes() - colour()` below `top`, and its guard is a part of that.
        let limit = self.top().as_ptr().wrapping_sub(below_top);
        NonNull::new(limit).expect("a stack has a guard below its limit")
    }

    /// Its size class.
    #[inline]
    pub(crate) fn class(&self) -> Class {
        Class::from_index(self.word.addr().get() % Class::COUNT)
    }

    /// Where its slot ends: the next multiple of [`END_ALIGN`] from `top` on.
    fn end(&self) -> usize {
        self.top().addr().get().next_multiple_of(END_ALIGN)
    }

    /// How far `top` is below the end of the slot.
    fn colour(&self) -> usize {
        self.end() - self.top().addr().get()
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stack({:?}..{:?})", self.limit(), self.top())
    }
}

//! Which addresses are stacks: a table of all slabs of the process that a signal handler can read.
//!
//! One slab is one word: the address of its first slot with the class and the slab's size in the
//! low bits, which a page-aligned address leaves free. So an entry is published and withdrawn by
//! one store and can never be seen half-written. The words lie in chunks that form a list; chunks
//! are made when needed, reused and never freed, so a reader can walk them at any time. They are
//! few: 256 slabs of the largest size, a chunk's worth, are a million stacks.
//!
//! A reader may see an entry of a slab that is just being withdrawn. The handler is not misled:
//! it accepts an entry only if its own thread's stack pointer lies in it too, and a slab with a
//! stack in use is never withdrawn.

use super::Class;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const CHUNK_WORDS: usize = 255;

struct Chunk {
    /// Zero if free, else a slab as [`pack`] writes it.
    words: [AtomicUsize; CHUNK_WORDS],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Chunk {
        Chunk { words: [const { AtomicUsize::new(0) }; CHUNK_WORDS], next: AtomicPtr::new(ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Chunk> {
        // Acquire: pairs with the AcqRel in `append`; whoever sees the chunk sees its zeros.
        // SAFETY: null, or a leaked box, which lives for ever and is only accessed shared.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// Adds a chunk after this one, the last of the list.
    fn append(&self) -> &'static Chunk {
        let new = Box::into_raw(Box::new(Chunk::new()));
        let null = ptr::null_mut();
        // AcqRel: Release publishes the zeros of `new`, Acquire makes those of a winner visible.
        let won = self.next.compare_exchange(null, new, Ordering::AcqRel, Ordering::Acquire);
        let next = match won {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: made by Box::into_raw above and not published.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        };
        // SAFETY: a leaked box, as in `next`.
        unsafe { &*next }
    }
}

static FIRST: Chunk = Chunk::new();

const CLASS_BITS: u32 = 3;
const SLOTS_BITS: u32 = 5;
const _: () = assert!(Class::COUNT <= 1 << CLASS_BITS);
const _: () = assert!(1 << (CLASS_BITS + SLOTS_BITS) <= super::END_ALIGN);

fn pack(first: usize, class: Class, slots: u32) -> usize {
    assert!(first != 0 && first.is_multiple_of(super::END_ALIGN) && slots.is_power_of_two());
    first | (slots.trailing_zeros() as usize) << CLASS_BITS | class.index()
}

fn unpack(word: usize) -> (usize, Class, usize) {
    let class = Class::from_index(word & ((1 << CLASS_BITS) - 1));
    let slots = 1 << ((word >> CLASS_BITS) & ((1 << SLOTS_BITS) - 1));
    (word & !(super::END_ALIGN - 1), class, slots)
}

/// A slab's place in the table; dropping it withdraws the slab.
#[derive(Debug)]
pub(super) struct Entry(&'static AtomicUsize);

/// Makes the `slots` slots of `class` from address `first` on known to [`find`].
pub(super) fn register(first: usize, class: Class, slots: u32) -> Entry {
    let word = pack(first, class, slots);
    let mut chunk = &FIRST;
    loop {
        for place in &chunk.words {
            // Relaxed: only a hint where to try.
            if place.load(Ordering::Relaxed) == 0
                // Release: pairs with the Acquire in `find`. Relaxed: then another place is tried.
                && place.compare_exchange(0, word, Ordering::Release, Ordering::Relaxed).is_ok()
            {
                return Entry(place);
            }
        }
        chunk = chunk.next().unwrap_or_else(|| chunk.append());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Release: the slab's last uses come before; a later `register` may reuse the place.
        self.0.store(0, Ordering::Release);
    }
}

/// A slot that an address lies in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    /// Its lowest address, that of the guard.
    pub(super) base: usize,
    pub(super) class: Class,
}

/// The slot that `address` lies in, if any. Async-signal-safe: only loads.
pub(super) fn find(address: usize) -> Option<Slot> {
    let mut chunk = &FIRST;
    loop {
        for place in &chunk.words {
            // Acquire: pairs with the Release in `register`.
            let word = place.load(Ordering::Acquire);
            if word == 0 {
                continue;
            }
            let (first, class, slots) = unpack(word);
            let offset = address.wrapping_sub(first);
            if offset < slots * class.bytes() {
                return Some(Slot { base: address - offset % class.bytes(), class });
            }
        }
        chunk = chunk.next()?;
    }
}

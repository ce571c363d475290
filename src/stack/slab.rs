//! One mapping, cut into slots of one class.

use super::cache::BATCH;
use super::registry::{self, Entry};
use super::{Class, END_ALIGN, GUARD_PAGES, Stack};
use crate::os::mmap::{self, Range, Reservation, page_size};
use std::io;
use std::ptr::NonNull;

/// How guards are made.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// `MADV_GUARD_INSTALL`: any number of guards in one mapping. Linux 6.13.
    Madvise,
    /// `mprotect`: two mappings for each guard, so `vm.max_map_count` bounds the number of stacks.
    Mprotect,
}

impl Guard {
    /// The better one that works here.
    pub(crate) fn detect() -> Guard {
        if mmap::guard_by_madvise_works() { Guard::Madvise } else { Guard::Mprotect }
    }

    /// Guards the slots of `stacks`; says how many, in order, were done before the first failure.
    pub(super) fn install(self, stacks: &[Option<Stack>]) -> (usize, io::Result<()>) {
        let bytes = GUARD_PAGES * page_size();
        let (ranges, count) = ranges(stacks, |stack| {
            // SAFETY: the guard lies right below the limit, in the same slot.
            let start = unsafe { stack.limit().sub(bytes) };
            // SAFETY: whole pages of a slab that stays mapped while the Stack is owned, and no
            // code uses them: it stays above the limit.
            unsafe { Range::new(start, bytes) }
        });
        let mut done = 0;
        if self == Guard::Madvise {
            let result;
            (done, result) = mmap::guard_by_madvise(&ranges[..count]);
            match result {
                // Memory locked by mlockall() takes no guard of this kind.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                result => return (done, result),
            }
        }
        for range in &ranges[done..count] {
            if let Err(error) = mmap::guard_by_mprotect(*range) {
                return (done, Err(error));
            }
            done += 1;
        }
        (done, Ok(()))
    }
}

/// What of a free stack's memory to give back.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// All but the top page, which the next user needs at once.
    BelowTop,
    /// All.
    Whole,
}

/// Gives memory of free stacks back to the kernel.
pub(super) fn discard(stacks: &[Option<Stack>], part: Part) {
    let (ranges, count) = ranges(stacks, |stack| {
        let whole = stack.end() - stack.limit().addr().get();
        let bytes = if part == Part::BelowTop { whole - page_size() } else { whole };
        // SAFETY: whole pages of a slot, from its limit to its end at most. The slab stays mapped
        // while the Stack is owned, and the owner has no use for the contents: the stack is free.
        unsafe { Range::new(stack.limit(), bytes) }
    });
    mmap::discard(&ranges[..count]);
}

/// One range of each of a batch of stacks, and how many there are.
fn ranges(stacks: &[Option<Stack>], of: impl Fn(&Stack) -> Range) -> ([Range; BATCH], usize) {
    let mut ranges = [Range::EMPTY; BATCH];
    let mut count = 0;
    for stack in stacks.iter().flatten() {
        ranges[count] = of(stack);
        count += 1;
    }
    (ranges, count)
}

/// Slots of neighbouring stacks start at different cache lines, this many in turn.
const COLOURS: usize = 8;
/// Two cache lines: CPUs fetch them in pairs.
const COLOUR_BYTES: usize = 128;
const _: () = assert!(COLOURS * COLOUR_BYTES <= END_ALIGN / 4);

/// The smallest slab, unless one slot is larger.
const SMALLEST_BYTES: usize = 4 << 20;
/// The largest slab: small enough to become empty now and then, large enough that a million
/// stacks of the default class are 256 of them.
const LARGEST_BYTES: usize = 1 << 30;
/// What one page of page table maps (with pages of 4 KiB).
const TABLE_BYTES: usize = 2 << 20;

/// One mapping, its slots, and which of them are free. Lives in the pool, under its lock.
///
/// `free` holds the guarded free slots as a stack with three marks, `cold <= due <= low <= len`:
///
/// ```text
///   0         cold          due               low                  len
///   | no memory | to give back | not needed yet | given back and taken |
///   |           |              | in this period | in this period       |
/// ```
pub(super) struct Slab {
    /// Declared before `reservation`: the slab is withdrawn before it is unmapped.
    _entry: Entry,
    reservation: Reservation,
    /// Where slot 0 starts.
    first: NonNull<u8>,
    class: Class,
    slots: u32,
    /// Slots from here on were never taken; they have no guard yet.
    fresh: u32,
    /// Slots below `fresh` that came back although their guard could not be installed.
    bare: Vec<u32>,
    free: Vec<u32>,
    cold: usize,
    due: usize,
    low: usize,
    /// Which slots are out.
    #[cfg(debug_assertions)]
    out: Vec<bool>,
    /// No slot was taken in this period.
    quiet: bool,
    /// No slot was taken in the last whole period, nor since.
    surplus: bool,
}

// SAFETY: the pointer is to the slab's own mapping, and the reservation to nothing else; neither
// is tied to a thread.
unsafe impl Send for Slab {}

impl Slab {
    /// How many slots the next slab of `class` gets if there are `existing` in other slabs:
    /// as many again, so that the number of mappings grows with the logarithm of the stacks.
    pub(super) fn slots_for(class: Class, existing: usize) -> u32 {
        let smallest = (SMALLEST_BYTES / class.bytes()).max(1);
        let largest = (LARGEST_BYTES / class.bytes()).max(1);
        let doubled = existing.checked_ilog2().map_or(0, |log| 1 << log);
        doubled.clamp(smallest, largest) as u32
    }

    /// Maps and registers a slab of `slots` slots, none of them guarded or committed yet.
    pub(super) fn new(class: Class, slots: u32) -> io::Result<Slab> {
        let bytes = slots as usize * class.bytes();
        // Slots of 4 MiB and more: the guard of one shares a page of page table with the top of
        // the one below if the border between them is in the middle of what the page maps.
        let slack = if class.bytes() > TABLE_BYTES { TABLE_BYTES } else { 0 };
        let reservation = Reservation::new(bytes + slack)?;
        let base = reservation.base();
        let skip = match slack {
            0 => 0,
            _ => (TABLE_BYTES / 2).wrapping_sub(base.addr().get()) & (TABLE_BYTES - 1),
        };
        // SAFETY: `skip` is at most `slack`, which the reservation has beyond its slots.
        let first = unsafe { base.add(skip) };
        Ok(Slab {
            _entry: registry::register(first.addr().get(), class, slots),
            reservation,
            first,
            class,
            slots,
            fresh: 0,
            bare: Vec::new(),
            // All of it now: putting a stack back must not allocate.
            free: Vec::with_capacity(slots as usize),
            cold: 0,
            due: 0,
            low: 0,
            #[cfg(debug_assertions)]
            out: vec![false; slots as usize],
            quiet: false,
            surplus: false,
        })
    }

    /// The address of its lowest slot.
    pub(super) fn first(&self) -> usize {
        self.first.addr().get()
    }

    /// All of its slots.
    pub(super) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Address space it covers.
    pub(super) fn bytes(&self) -> usize {
        self.reservation.len()
    }

    /// Slots that are free and guarded.
    pub(super) fn guarded(&self) -> usize {
        self.free.len()
    }

    /// Those of them that have no memory.
    pub(super) fn cold(&self) -> usize {
        self.cold
    }

    /// Slots that are free and have no guard yet.
    pub(super) fn unguarded(&self) -> usize {
        (self.slots - self.fresh) as usize + self.bare.len()
    }

    /// Slots that are taken.
    pub(super) fn taken(&self) -> usize {
        self.slots() - self.guarded() - self.unguarded()
    }

    /// Whether unmapping it costs nobody anything: unused for a period and without memory.
    pub(super) fn is_surplus(&self) -> bool {
        self.surplus && self.taken() == 0 && self.cold == self.free.len()
    }

    /// Takes a guarded slot.
    pub(super) fn take_guarded(&mut self) -> Option<Stack> {
        let slot = self.free.pop()?;
        self.low = self.low.min(self.free.len());
        self.due = self.due.min(self.low);
        self.cold = self.cold.min(self.due);
        Some(self.take(slot))
    }

    /// Takes a slot without a guard, the lowest that was never used: neighbours share pages of
    /// page table.
    pub(super) fn take_unguarded(&mut self) -> Option<Stack> {
        let slot = match self.bare.pop() {
            Some(slot) => slot,
            None if self.fresh < self.slots => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        Some(self.take(slot))
    }

    /// Takes back a guarded slot.
    pub(super) fn give(&mut self, stack: Stack) {
        let slot = self.slot_of(&stack);
        self.free.push(slot);
    }

    /// Takes back a slot whose guard could not be installed.
    pub(super) fn give_bare(&mut self, stack: Stack) {
        let slot = self.slot_of(&stack);
        self.bare.push(slot);
    }

    /// Ends a period: half of what was not needed in it is due to lose its memory. Half, so that
    /// what a recurring burst needs fades slowly.
    pub(super) fn end_period(&mut self) {
        self.due = self.cold + (self.low - self.cold).div_ceil(2);
        self.low = self.free.len();
        self.surplus = self.quiet && self.taken() == 0;
        self.quiet = self.taken() == 0;
    }

    /// Makes all that is free due.
    pub(super) fn hurry(&mut self) {
        self.low = self.free.len();
        self.due = self.low;
    }

    /// Takes a slot that is due to lose its memory, for [`Slab::give_cold`].
    pub(super) fn take_due(&mut self) -> Option<Stack> {
        if self.due == self.cold {
            return None;
        }
        // Each part fills its gap with the last slot of the part above.
        let slot = self.free[self.due - 1];
        self.due -= 1;
        self.low -= 1;
        self.free.swap(self.due, self.low);
        self.free.swap_remove(self.low);
        Some(self.stack(slot))
    }

    /// Takes back a slot of [`Slab::take_due`] that has lost its memory.
    pub(super) fn give_cold(&mut self, stack: Stack) {
        let slot = self.slot_of(&stack);
        self.free.push(slot);
        // Each part makes room at its end by moving its first slot there.
        let last = self.free.len() - 1;
        self.free.swap(self.low, last);
        self.free.swap(self.due, self.low);
        self.free.swap(self.cold, self.due);
        self.low += 1;
        self.due += 1;
        self.cold += 1;
    }

    fn take(&mut self, slot: u32) -> Stack {
        self.quiet = false;
        self.surplus = false;
        self.stack(slot)
    }

    fn stack(&mut self, slot: u32) -> Stack {
        debug_assert!(slot < self.slots);
        #[cfg(debug_assertions)]
        assert!(!std::mem::replace(&mut self.out[slot as usize], true), "a stack was taken twice");
        let colour = slot as usize % COLOURS * COLOUR_BYTES;
        let offset = (slot as usize + 1) * self.class.bytes() - colour;
        // SAFETY: `slot` is below `slots`, so the slot's end is at most the end of the mapping.
        let top = unsafe { self.first.add(offset) };
        Stack::new(top, self.class)
    }

    fn slot_of(&mut self, stack: &Stack) -> u32 {
        let slot = (stack.end() - self.first()) / self.class.bytes() - 1;
        assert!(slot < self.fresh as usize, "a stack was put into a pool it is not from");
        #[cfg(debug_assertions)]
        assert!(std::mem::take(&mut self.out[slot]), "a stack was put back twice");
        slot as u32
    }
}

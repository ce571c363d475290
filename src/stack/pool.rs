//! The stacks of one runtime that no P keeps.
//!
//! One *shelf* per class, each with its own lock, holds the slabs of that class. The lock guards
//! lists only: guards are installed, memory is given back and slabs are unmapped by whoever holds
//! the stacks in question, outside of it. The exception is mapping a new slab: the others who
//! find the shelf empty want that slab, not one each.
//!
//! Slots are taken from the oldest slab that has any, so that in time the younger (and larger)
//! ones become empty.
//!
//! What is free goes back to the kernel by age, not by count: a burst that comes again and again
//! finds its stacks as it left them. [`Pool::scavenge`] is called now and then and cuts time into
//! periods; of the free stacks that were not needed in a period, half lose their memory, and a
//! slab that was empty for a period and has no memory left is unmapped. [`KEPT_BYTES`] and
//! [`RETAINED_BYTES`] bound what can pile up in between. [`Pool::trim`] keeps nothing that is free.

use super::cache::BATCH;
use super::slab::{Guard, Part, Slab, discard};
use super::{Class, Stack, limits};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stacks of a class that come back when more than this are free keep only their top page.
const fn kept(class: Class) -> usize {
    at_most(KEPT_BYTES, KEPT_SLOTS, class)
}
const KEPT_BYTES: usize = 1 << 30;
const KEPT_SLOTS: usize = 4096;

/// A slab that becomes empty when more than this are free in others is unmapped at once.
const fn retained(class: Class) -> usize {
    at_most(RETAINED_BYTES, RETAINED_SLOTS, class)
}
const RETAINED_BYTES: usize = 16 << 30;
const RETAINED_SLOTS: usize = 64 << 10;

/// How many slots of `class` are `bytes` of address space, but no more than `slots`.
const fn at_most(bytes: usize, slots: usize, class: Class) -> usize {
    let fit = bytes / class.bytes();
    if fit < slots { fit } else { slots }
}

/// Stacks that one call of [`Pool::scavenge`] deals with at most: a few tenths of a millisecond,
/// because whoever calls it has other things to look after.
const SCAVENGED_AT_ONCE: usize = 256;

/// The stacks of one runtime. Dropping it unmaps every slab that has no stack in use; the others
/// stay mapped for ever, because values may live on their stacks.
pub(crate) struct Pool {
    guard: Guard,
    shelves: [Mutex<Shelf>; Class::COUNT],
}

/// All slabs of one class.
struct Shelf {
    /// In the order of their age, but a freed place is used again.
    slabs: Vec<Option<Slab>>,
    /// Address and place of each slab, in the order of addresses.
    places: Vec<(usize, usize)>,
    /// No slab before this place has a guarded free slot.
    first_guarded: usize,
    /// Sums over all slabs.
    slots: usize,
    guarded: usize,
    cold: usize,
    unguarded: usize,
}

/// What a [`Pool`] has reserved.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Metrics {
    /// Mappings.
    pub(crate) slabs: usize,
    /// Slots in them.
    pub(crate) slots: usize,
    /// Slots in use or in the cache of a P.
    pub(crate) taken: usize,
    /// Free slots whose memory was given back.
    pub(crate) cold: usize,
    /// Address space of the slabs.
    pub(crate) bytes_reserved: usize,
}

impl Pool {
    /// An empty pool; nothing is mapped before the first stack is needed.
    pub(crate) fn new(guard: Guard) -> Pool {
        Pool { guard, shelves: [const { Mutex::new(Shelf::new()) }; Class::COUNT] }
    }

    /// Fills `stacks` from its start with stacks of `class`; says how many, at least one.
    ///
    /// `stacks` is empty and no longer than a batch.
    pub(super) fn take(&self, class: Class, stacks: &mut [Option<Stack>]) -> io::Result<usize> {
        debug_assert!((1..=BATCH).contains(&stacks.len()));
        let mut shelf = self.shelf(class);
        let count = shelf.take_guarded(stacks);
        if count > 0 {
            return Ok(count);
        }
        if shelf.unguarded == 0
            && let Err(error) = shelf.add_slab(class)
        {
            // Before giving up, make room by what is free in other classes.
            drop(shelf);
            self.trim();
            shelf = self.shelf(class);
            if shelf.unguarded == 0 && shelf.add_slab(class).is_err() {
                return Err(limits::explain(error, limits::Attempt::Map(class)));
            }
        }
        let count = shelf.take_unguarded(stacks);
        drop(shelf);
        self.guard_all(class, &mut stacks[..count])
    }

    /// Takes all stacks in `stacks`, which are of one class and no more than a batch.
    pub(super) fn give(&self, stacks: &mut [Option<Stack>]) {
        let Some(class) = stacks.iter().flatten().next().map(Stack::class) else {
            return;
        };
        let mut shelf = self.shelf(class);
        if shelf.guarded - shelf.cold >= kept(class) {
            drop(shelf);
            discard(stacks, Part::BelowTop);
            shelf = self.shelf(class);
        }
        let mut empty = [const { None }; BATCH];
        let mut empty = empty.iter_mut();
        for stack in stacks.iter_mut().filter_map(Option::take) {
            debug_assert_eq!(stack.class(), class);
            let place = shelf.give(stack);
            if shelf.has_plenty_without(class, place)
                && let Some(empty) = empty.next()
            {
                *empty = shelf.remove(place);
            }
        }
        // First the lock is freed, then the slabs in `empty` are unmapped.
        drop(shelf);
    }

    /// Gives back some of what has not been needed for long, in a few tenths of a millisecond;
    /// says whether there is more. `period_over`, about once a second, starts a new period.
    ///
    /// For the runtime's monitor: every second with `period_over`, and in between, at leisure,
    /// while it returns true.
    pub(crate) fn scavenge(&self, period_over: bool) -> bool {
        let mut budget = SCAVENGED_AT_ONCE;
        for class in Class::all() {
            if period_over {
                self.shelf(class).slabs.iter_mut().flatten().for_each(Slab::end_period);
            }
            self.scavenge_class(class, Zeal::Due, &mut budget);
        }
        budget == 0
    }

    /// Gives back all memory and address space of free stacks, which can take milliseconds. For
    /// an idle runtime.
    pub(crate) fn trim(&self) {
        for class in Class::all() {
            self.scavenge_class(class, Zeal::Everything, &mut { usize::MAX });
        }
    }

    /// What is reserved now, summed over the classes one after the other.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        for class in Class::all() {
            let shelf = self.shelf(class);
            sum.slabs += shelf.slabs.iter().flatten().count();
            sum.slots += shelf.slots;
            sum.taken += shelf.taken();
            sum.cold += shelf.cold;
            sum.bytes_reserved += shelf.slabs.iter().flatten().map(Slab::bytes).sum::<usize>();
        }
        sum
    }

    /// How this pool makes guards.
    pub(crate) fn guard(&self) -> Guard {
        self.guard
    }

    fn shelf(&self, class: Class) -> MutexGuard<'_, Shelf> {
        // A panic under the lock can only be a failed assertion about a foreign stack, made before
        // anything is changed.
        self.shelves[class.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Installs the guards of stacks just taken; keeps those that got one, at the start.
    fn guard_all(&self, class: Class, stacks: &mut [Option<Stack>]) -> io::Result<usize> {
        let (done, result) = self.guard.install(stacks);
        let Err(error) = result else { return Ok(done) };
        let mut shelf = self.shelf(class);
        for stack in stacks[done..].iter_mut().filter_map(Option::take) {
            shelf.give_bare(stack);
        }
        drop(shelf);
        match done {
            0 => Err(limits::explain(error, limits::Attempt::Guard(self.guard))),
            _ => Ok(done),
        }
    }

    fn scavenge_class(&self, class: Class, zeal: Zeal, budget: &mut usize) {
        let mut place = 0;
        while *budget > 0 {
            let mut shelf = self.shelf(class);
            let Some(slab) = shelf.slabs.get_mut(place) else {
                return;
            };
            let Some(slab) = slab else {
                place += 1;
                continue;
            };
            let all = zeal == Zeal::Everything;
            if slab.is_surplus() || (all && slab.taken() == 0) {
                *budget = budget.saturating_sub(slab.slots());
                let slab = shelf.remove(place);
                // Unmapped when the lock is free.
                drop(shelf);
                drop(slab);
                continue;
            }
            if all {
                slab.hurry();
            }
            // A batch at a time: the lock is free while the kernel works, and a slab that has
            // slots taken is not removed meanwhile.
            let mut batch = [const { None }; BATCH];
            let count = shelf.take_due(place, &mut batch);
            drop(shelf);
            if count == 0 {
                place += 1;
                continue;
            }
            *budget = budget.saturating_sub(count);
            discard(&batch, Part::Whole);
            let mut shelf = self.shelf(class);
            for stack in batch.iter_mut().filter_map(Option::take) {
                shelf.give_cold(stack);
            }
        }
    }
}

/// How much [`Pool::scavenge_class`] gives back.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Zeal {
    /// What is due.
    Due,
    /// All that is free.
    Everything,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Shelf {
    const fn new() -> Shelf {
        Shelf { slabs: Vec::new(), places: Vec::new(), first_guarded: 0, slots: 0, guarded: 0, cold: 0, unguarded: 0 }
    }

    /// Slots that are in use or in the cache of a P.
    fn taken(&self) -> usize {
        self.slots - self.guarded - self.unguarded
    }

    /// The slab that `stack` is from, and its place.
    fn slab_of(&mut self, stack: &Stack) -> (usize, &mut Slab) {
        let above = self.places.partition_point(|(first, _)| *first < stack.end());
        let place = above.checked_sub(1).map(|index| self.places[index].1);
        let place = place.expect("a stack was put into a pool it is not from");
        (place, self.slabs[place].as_mut().expect("`places` names only slabs that are there"))
    }

    fn take_guarded(&mut self, stacks: &mut [Option<Stack>]) -> usize {
        let mut count = 0;
        while self.guarded > 0 && count < stacks.len() {
            let Some(slab) = &mut self.slabs[self.first_guarded] else {
                self.first_guarded += 1;
                continue;
            };
            let cold = slab.cold();
            match slab.take_guarded() {
                Some(stack) => {
                    stacks[count] = Some(stack);
                    count += 1;
                    self.guarded -= 1;
                    self.cold -= cold - slab.cold();
                }
                None => self.first_guarded += 1,
            }
        }
        count
    }

    fn take_unguarded(&mut self, stacks: &mut [Option<Stack>]) -> usize {
        let mut count = 0;
        for slab in self.slabs.iter_mut().flatten() {
            while count < stacks.len()
                && let Some(stack) = slab.take_unguarded()
            {
                stacks[count] = Some(stack);
                count += 1;
                self.unguarded -= 1;
            }
        }
        count
    }

    fn take_due(&mut self, place: usize, stacks: &mut [Option<Stack>]) -> usize {
        let Some(slab) = &mut self.slabs[place] else {
            return 0;
        };
        let mut count = 0;
        while count < stacks.len()
            && let Some(stack) = slab.take_due()
        {
            stacks[count] = Some(stack);
            count += 1;
            self.guarded -= 1;
        }
        count
    }

    /// Says which slab it was.
    fn give(&mut self, stack: Stack) -> usize {
        let (place, slab) = self.slab_of(&stack);
        slab.give(stack);
        self.guarded += 1;
        self.first_guarded = self.first_guarded.min(place);
        place
    }

    fn give_cold(&mut self, stack: Stack) {
        let (place, slab) = self.slab_of(&stack);
        slab.give_cold(stack);
        self.guarded += 1;
        self.cold += 1;
        self.first_guarded = self.first_guarded.min(place);
    }

    fn give_bare(&mut self, stack: Stack) {
        self.slab_of(&stack).1.give_bare(stack);
        self.unguarded += 1;
    }

    /// Maps one more slab: as large as all others together, or what the limits allow.
    fn add_slab(&mut self, class: Class) -> io::Result<()> {
        let mut slots = Slab::slots_for(class, self.slots);
        let slab = loop {
            match Slab::new(class, slots) {
                Ok(slab) => break slab,
                Err(error) if slots == 1 => return Err(error),
                Err(_) => slots /= 2,
            }
        };
        self.slots += slab.slots();
        self.unguarded += slab.unguarded();
        let first = slab.first();
        let place = match self.slabs.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                self.slabs.push(None);
                self.slabs.len() - 1
            }
        };
        self.slabs[place] = Some(slab);
        let index = self.places.partition_point(|(other, _)| *other < first);
        self.places.insert(index, (first, place));
        Ok(())
    }

    /// Whether the slab is empty and so much is free in others that it is not worth keeping.
    fn has_plenty_without(&self, class: Class, place: usize) -> bool {
        let Some(slab) = &self.slabs[place] else {
            return false;
        };
        let free_in_others = self.guarded + self.unguarded - (slab.slots() - slab.taken());
        slab.taken() == 0 && free_in_others >= slab.slots().max(self.taken()).max(retained(class))
    }

    /// Takes out a slab that has no slot taken.
    fn remove(&mut self, place: usize) -> Option<Slab> {
        let slab = self.slabs[place].take()?;
        debug_assert_eq!(slab.taken(), 0);
        self.places.retain(|(_, other)| *other != place);
        self.slots -= slab.slots();
        self.guarded -= slab.guarded();
        self.cold -= slab.cold();
        self.unguarded -= slab.unguarded();
        Some(slab)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        for slab in self.slabs.drain(..).flatten() {
            if slab.taken() > 0 {
                std::mem::forget(slab);
            }
        }
    }
}

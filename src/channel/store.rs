//! Where a channel keeps the messages that are on their way: a ring or a chain of blocks.
//!
//! Promise: first in, first out; a push or pop in the middle of a segment is a copy and a bump of a pointer,
//! the same code for both forms; neither allocates or frees.
//!
//! A *segment* is a run of slots: the whole ring of a bounded channel, or one block of an
//! unbounded one. `write..write_end` are the slots that can still be written in the segment of
//! the tail, `read..read_end` those of the head's segment that have not been read, written or
//! not. What differs between the forms happens only at the end of a segment:
//!
//! - a ring goes back to its start at once, so its `write` and `read` are never at their ends;
//! - in a chain `write` stays at its end until [`Store::extend`] links another block, and `read`
//!   until [`Store::advance`] follows the link. The channel notes in its flags that an end was
//!   reached, so that the fast path asks one question for all its exceptions.
//!
//! A chain begins without a block. The block that the head leaves becomes the *spare*, which the
//! tail takes next: a queue that stays short goes on with two blocks and allocates no more. A
//! block that is neither is handed out, to be freed once the lock is released; likewise it is the sender who
//! allocates, without the lock. Values of size zero need no slots: for them the channel's count is all.
//!
//! The store does not know how many messages it holds; the channel counts them (`len`), and
//! every unsafe contract below is about that count.
//!
//! Rejected: a ring that grows (it moves all messages, and under a lock); stamps in the slots, as lock-free queues
//! have them (an atomic operation for each slot on top of the one that the wait queues need anyway).

use std::alloc::{self, Layout};
use std::mem::size_of;
use std::ptr::{self, NonNull};

/// True if messages of this type take up room.
pub(super) const fn has_size<T>() -> bool {
    size_of::<T>() != 0
}

/// See the module. The first four fields are all that the fast paths touch.
#[repr(C)]
pub(super) struct Store<T> {
    write: *mut T,
    write_end: *mut T,
    read: *mut T,
    read_end: *mut T,
    /// A ring's first slot; null for a chain.
    ring: *mut T,
    /// The tail's block; null before the first one, and for a ring.
    tail: *mut Header,
    /// The head's block; likewise.
    head: *mut Header,
    spare: Option<Block<T>>,
}

impl<T> Store<T> {
    /// A ring of the `slots` places from `first` on.
    pub(super) fn ring(first: *mut T, slots: usize) -> Store<T> {
        let end = if has_size::<T>() { first.wrapping_add(slots) } else { first };
        Store {
            write: first,
            write_end: end,
            read: first,
            read_end: end,
            ring: first,
            tail: ptr::null_mut(),
            head: ptr::null_mut(),
            spare: None,
        }
    }

    /// A chain, without a block yet.
    pub(super) fn chain() -> Store<T> {
        Store::ring(ptr::null_mut(), 0)
    }

    /// Moves `*value` in behind the last message. False if `write` is at its end now, so that
    /// [`Self::extend`] must be called before the next push.
    ///
    /// # Safety
    /// There is a free slot: a ring holds fewer messages than it has slots, and a chain's last
    /// push returned true or `extend` did since. `value` is valid for reads; the value is the
    /// store's from now on.
    #[inline(always)]
    #[must_use]
    pub(super) unsafe fn push(&mut self, value: *const T) -> bool {
        if !has_size::<T>() {
            return true;
        }
        debug_assert_ne!(self.write, self.write_end);
        // SAFETY: the slot is inside its segment and free (caller), and the value elsewhere.
        unsafe {
            ptr::copy_nonoverlapping(value, self.write, 1);
            self.write = self.write.add(1);
        }
        if self.write == self.write_end {
            if self.ring.is_null() {
                return false;
            }
            self.write = self.ring;
        }
        true
    }

    /// Moves the first message out. The flag is false if `read` is at its end now, so that
    /// [`Self::advance`] must be called before the next pop.
    ///
    /// # Safety
    /// The store holds a message, and if the last pop returned false, `advance` was called since.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self) -> (T, bool) {
        if !has_size::<T>() {
            // SAFETY: a value of size zero is read from nowhere; a push gave it to us (caller).
            return (unsafe { NonNull::dangling().read() }, true);
        }
        debug_assert_ne!(self.read, self.read_end);
        let slot = self.read;
        // SAFETY: `read` is inside its segment (caller).
        self.read = unsafe { slot.add(1) };
        let mut more = true;
        if self.read == self.read_end {
            more = !self.ring.is_null();
            if more {
                self.read = self.ring;
            }
        }
        // SAFETY: the slot was written by a push and not read since (caller: there is a message,
        // and slots are read in the order in which they were written).
        (unsafe { slot.read() }, more)
    }

    /// Chains the spare block on, so that there is room to push. None if there is no spare.
    ///
    /// # Safety
    /// `write` is at its end.
    #[must_use]
    pub(super) unsafe fn extend(&mut self) -> Option<Extended> {
        let block = self.spare.take()?.into_raw();
        self.write = slots::<T>(block);
        self.write_end = self.write.wrapping_add(slot_count::<T>());
        let extended = match NonNull::new(self.tail) {
            Some(tail) => {
                // SAFETY: the tail's block lives until the head has left it, which it does not
                // before there is a next one.
                unsafe { (*tail.as_ptr()).next = block };
                Extended::Tail
            }
            None => {
                self.head = block;
                (self.read, self.read_end) = (self.write, self.write_end);
                Extended::First
            }
        };
        self.tail = block;
        Some(extended)
    }

    /// Gives the store a block for [`Self::extend`]; returns it if there is one already.
    #[must_use = "freeing it under the lock would be slow"]
    pub(super) fn offer(&mut self, block: Block<T>) -> Option<Block<T>> {
        match self.spare {
            Some(_) => Some(block),
            None => {
                self.spare = Some(block);
                None
            }
        }
    }

    /// Moves the head to the next block; returns the one it left if it is not needed as a spare.
    ///
    /// # Safety
    /// `read` is at its end and the store holds a message.
    #[must_use = "freeing it under the lock would be slow"]
    pub(super) unsafe fn advance(&mut self) -> Option<Block<T>> {
        let left = self.head;
        // SAFETY: the head's block is alive. A message that is not in it is in a later one, so
        // it has a next.
        self.head = unsafe { (*left).next };
        debug_assert!(!self.head.is_null());
        self.read = slots::<T>(self.head);
        self.read_end = self.read.wrapping_add(slot_count::<T>());
        // SAFETY: nothing points to the block any more: it was before the head, hence before the tail.
        self.offer(unsafe { Block::from_raw(left) })
    }
}

/// Which end [`Store::extend`] gave a block to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extended {
    /// To the tail.
    Tail,
    /// To the tail and the head: it is the first block.
    First,
}

impl<T> Drop for Store<T> {
    /// Frees the blocks, which hold no messages any more (the channel has seen to that).
    fn drop(&mut self) {
        let mut next = self.head;
        while !next.is_null() {
            // SAFETY: the chain from the head on is the store's own; `next` was read before.
            let block = unsafe { Block::<T>::from_raw(next) };
            // SAFETY: alive until the end of the loop's body.
            next = unsafe { (*next).next };
            drop(block);
        }
    }
}

/// What a block begins with; its slots follow.
#[derive(Debug)]
pub(super) struct Header {
    next: *mut Header,
}

/// Slots in a block: 31 while that keeps it under a page, at least one.
const fn slot_count<T>() -> usize {
    let fit = (4096 - 64) / if has_size::<T>() { size_of::<T>() } else { 1 };
    match fit {
        0 => 1,
        1..31 => fit,
        _ => 31,
    }
}

/// A block's layout, and where its slots begin.
const fn layout<T>() -> (Layout, usize) {
    let Ok(slots) = Layout::array::<T>(slot_count::<T>()) else { panic!("the message is too large") };
    let Ok((layout, offset)) = Layout::new::<Header>().extend(slots) else { panic!("the message is too large") };
    (layout, offset)
}

fn slots<T>(block: *mut Header) -> *mut T {
    block.wrapping_byte_add(const { layout::<T>().1 }).cast()
}

/// The right to a block's memory, which holds no messages.
#[derive(Debug)]
pub(super) struct Block<T>(NonNull<Header>, std::marker::PhantomData<*mut T>);

impl<T> Block<T> {
    pub(super) fn new() -> Block<T> {
        let layout = const { layout::<T>().0 };
        // SAFETY: the layout has the header's size at least.
        let Some(block) = NonNull::new(unsafe { alloc::alloc(layout) }.cast::<Header>()) else {
            alloc::handle_alloc_error(layout)
        };
        // SAFETY: freshly allocated, with room for a header.
        unsafe { block.write(Header { next: ptr::null_mut() }) };
        Block(block, std::marker::PhantomData)
    }

    fn into_raw(self) -> *mut Header {
        let block = std::mem::ManuallyDrop::new(self).0;
        // SAFETY: the block is ours.
        unsafe { (*block.as_ptr()).next = ptr::null_mut() };
        block.as_ptr()
    }

    /// # Safety
    /// From `into_raw`, and nobody else uses it.
    unsafe fn from_raw(block: *mut Header) -> Block<T> {
        // SAFETY: blocks are not null.
        Block(unsafe { NonNull::new_unchecked(block) }, std::marker::PhantomData)
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the value of this type is the only owner.
        unsafe { alloc::dealloc(self.0.as_ptr().cast(), const { layout::<T>().0 }) };
    }
}

#[cfg(test)]
mod tests {
    //! Goal: order across segment ends, and no block lost. Method: against a VecDeque; Miri
    //! reports what leaks.

    use super::*;
    use std::collections::VecDeque;

    /// The channel's part, without its flags.
    struct Chain {
        store: Store<Box<u32>>,
        full: bool,
        read_out: bool,
    }

    impl Chain {
        fn push(&mut self, value: u32) {
            if self.full {
                // SAFETY: `full` says that `write` is at its end.
                let extended = unsafe { self.store.extend() }.unwrap_or_else(|| {
                    assert!(self.store.offer(Block::new()).is_none());
                    // SAFETY: as above.
                    unsafe { self.store.extend() }.expect("offered")
                });
                self.read_out &= extended != Extended::First;
            }
            let value = std::mem::ManuallyDrop::new(Box::new(value));
            // SAFETY: extended above.
            self.full = unsafe { !self.store.push(&*value) };
        }

        fn pop(&mut self) -> u32 {
            if self.read_out {
                // SAFETY: `read_out` says that it is at its end; the caller that there is a message.
                drop(unsafe { self.store.advance() });
            }
            // SAFETY: the caller says that there is a message.
            let (value, more) = unsafe { self.store.pop() };
            self.read_out = !more;
            *value
        }
    }

    #[test]
    fn a_chain_keeps_order_across_blocks() {
        for burst in [1, 2, 30, 31, 32, 61, 62, 63, 200] {
            let mut chain = Chain { store: Store::chain(), full: true, read_out: true };
            let (mut model, mut next) = (VecDeque::new(), 0);
            for round in 0..20 {
                for _ in 0..burst {
                    chain.push(next);
                    model.push_back(next);
                    next += 1;
                }
                for _ in 0..burst - (round % 2) {
                    assert_eq!(Some(chain.pop()), model.pop_front());
                }
            }
            while let Some(expected) = model.pop_front() {
                assert_eq!(chain.pop(), expected);
            }
        }
    }

    #[test]
    fn a_ring_goes_round() {
        for slots in 1..5 {
            let mut memory: Vec<std::mem::MaybeUninit<Box<u32>>> =
                (0..slots).map(|_| std::mem::MaybeUninit::uninit()).collect();
            let mut store: Store<Box<u32>> = Store::ring(memory.as_mut_ptr().cast(), slots);
            for round in 0..10 {
                for i in 0..slots {
                    let value = std::mem::ManuallyDrop::new(Box::new((round * slots + i) as u32));
                    // SAFETY: fewer than `slots` are in.
                    assert!(unsafe { store.push(&*value) });
                }
                for i in 0..slots {
                    // SAFETY: as many were pushed.
                    assert_eq!(*unsafe { store.pop() }.0, (round * slots + i) as u32);
                }
            }
        }
    }

    #[test]
    fn blocks_are_small_and_never_empty() {
        assert_eq!(slot_count::<u8>(), 31);
        assert_eq!(slot_count::<[u64; 4]>(), 31);
        assert_eq!(slot_count::<[u8; 1024]>(), 3);
        assert_eq!(slot_count::<[u8; 1 << 20]>(), 1);
    }
}

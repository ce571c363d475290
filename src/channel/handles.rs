//! The life of a channel: its memory, and the count of its handles.
//!
//! A channel is one allocation: the [`Chan`], and behind it the ring if there is one. It is
//! owned by its handles, which are counted for each side. The last handle of a side closes the
//! channel; the last receiver also drops the messages that nobody can receive any more. Only
//! then does it mark its side as *left*, and the side that leaves second frees the memory. So
//! neither side frees what the other is still closing.
//!
//! Rejected: an `Arc` around the structure and a count inside (three counts to keep, two touched
//! by each clone), and one word for both counts (the last sender would have to close
//! before it knows whether it is the last).

use super::chan::{Chan, UNBOUNDED};
use super::clock::Timer;
use super::waitq::Task;
use crate::shim::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::alloc::{self, Layout};
use std::ptr::NonNull;

/// The counts, on a cache line of their own: cloning a handle does not disturb who sends.
#[repr(align(64))]
#[derive(Debug)]
pub(super) struct Handles {
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// One side has left.
    left: AtomicBool,
    /// Where the channel's memory begins.
    start: NonNull<u8>,
    /// Where its messages come from, if they come from the clock. Not a handle, but there is room on the line.
    pub(super) timer: Timer,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Handles>() == 64);

impl Handles {
    /// One of each, for a channel whose memory begins at `start`.
    pub(super) fn new(start: NonNull<u8>) -> Handles {
        Handles {
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
            left: AtomicBool::new(false),
            start,
            timer: Timer::never(),
        }
    }
}

/// What to ask the allocator for, and where the ring begins behind the channel.
///
/// The channel itself is aligned to a cache line by hand, within some bytes to spare: glibc's
/// `malloc` returns multiples of 16, and its `memalign` costs 60 ns more (measured).
fn layout<T, W>(cap: usize) -> (Layout, usize) {
    let slots = if cap == UNBOUNDED { 0 } else { cap };
    Layout::array::<T>(slots)
        .and_then(|ring| Layout::new::<Chan<T, W>>().extend(ring))
        .and_then(|(aligned, ring)| {
            let align = aligned.align();
            match align.checked_sub(MALLOC_ALIGN) {
                // A message asks for more than the channel.
                _ if align > align_of::<Chan<T, W>>() => Ok((aligned, ring)),
                Some(spare @ 1..) => Ok((Layout::from_size_align(aligned.size() + spare, MALLOC_ALIGN)?, ring)),
                _ => Ok((aligned, ring)),
            }
        })
        .expect("the capacity of the channel is too large")
}

/// What `malloc` aligns to without being asked to.
const MALLOC_ALIGN: usize = 16;

impl<T, W: Task> Chan<T, W> {
    /// Makes a channel with one handle on each side.
    pub(super) fn allocate(cap: usize) -> NonNull<Chan<T, W>> {
        let (layout, ring) = layout::<T, W>(cap);
        // SAFETY: the layout has the size of a `Chan` at least, which is not zero.
        let Some(start) = NonNull::new(unsafe { alloc::alloc(layout) }) else { alloc::handle_alloc_error(layout) };
        // SAFETY: the layout has the bytes to spare that this skips; `ring` is within it too, or
        // one past it if the ring is empty.
        let (chan, ring) = unsafe {
            let chan = start.add(start.align_offset(align_of::<Chan<T, W>>()));
            (chan.cast::<Chan<T, W>>(), chan.add(ring))
        };
        // SAFETY: freshly allocated for it, and aligned above.
        unsafe { chan.write(Chan::new(cap, ring.as_ptr().cast(), start)) };
        chan
    }

    /// Makes a channel without senders, which stays open all the same: its messages come from `timer`. The
    /// one handle is a receiver's.
    ///
    /// # Safety
    /// `T` is `Instant`, unless no message ever comes from the timer.
    pub(super) unsafe fn allocate_timer(cap: usize, timer: Timer) -> NonNull<Chan<T, W>> {
        let chan = Self::allocate(cap);
        // SAFETY: nobody else knows it yet.
        let this = unsafe { &mut *chan.as_ptr() };
        this.handles.timer = timer;
        // As if the senders had left: the receivers free it.
        this.handles.senders = AtomicUsize::new(0);
        this.handles.left = AtomicBool::new(true);
        this.become_timer();
        chan
    }

    pub(super) fn add_sender(&self) {
        add(&self.handles.senders);
    }

    pub(super) fn add_receiver(&self) {
        add(&self.handles.receivers);
    }

    /// Gives up a sender's handle.
    ///
    /// # Safety
    /// The caller owns one, and uses the channel no more.
    #[inline]
    pub(super) unsafe fn drop_sender(chan: NonNull<Self>) {
        // SAFETY: the handle keeps the channel alive.
        if remove(unsafe { &chan.as_ref().handles.senders }) {
            // SAFETY: this was the last sender, and its side has not left.
            unsafe { Self::last_sender(chan) };
        }
    }

    /// # Safety
    /// The caller was the last sender, and its side has not left.
    #[inline(never)]
    unsafe fn last_sender(chan: NonNull<Self>) {
        let _leave = Leave(chan);
        // SAFETY: alive until a side leaves second; ours does so at the end of this scope.
        unsafe { chan.as_ref() }.close();
    }

    /// Gives up a receiver's handle.
    ///
    /// # Safety
    /// The caller owns one, and uses the channel no more.
    #[inline]
    pub(super) unsafe fn drop_receiver(chan: NonNull<Self>) {
        // SAFETY: the handle keeps the channel alive.
        if remove(unsafe { &chan.as_ref().handles.receivers }) {
            // SAFETY: this was the last receiver, and its side has not left.
            unsafe { Self::last_receiver(chan) };
        }
    }

    /// # Safety
    /// The caller was the last receiver, and its side has not left.
    #[inline(never)]
    unsafe fn last_receiver(chan: NonNull<Self>) {
        // A guard: dropping messages may panic.
        let _leave = Leave(chan);
        // SAFETY: alive until a side leaves second; ours does so at the end of this scope.
        let chan = unsafe { chan.as_ref() };
        chan.close();
        // Exact, and final: it was closed, by us or before, under a lock that we have held since. No message has come
        // after that (invariant 5), whoever is still inside `close`, and nobody else receives.
        if chan.len() != 0 {
            chan.discard();
        }
    }
}

/// Marks a side as left when dropped; the second frees the channel.
struct Leave<T, W: Task>(NonNull<Chan<T, W>>);

impl<T, W: Task> Drop for Leave<T, W> {
    fn drop(&mut self) {
        // SAFETY: our side has not left, so the channel is alive.
        let chan = unsafe { self.0.as_ref() };
        // AcqRel: all that the other side did with the channel comes before it is freed.
        if chan.handles.left.swap(true, Ordering::AcqRel) {
            debug_assert_eq!(chan.len(), 0, "the last receiver dropped all messages");
            let (layout, _) = layout::<T, W>(chan.capacity().unwrap_or(UNBOUNDED));
            let start = chan.handles.start;
            // SAFETY: both sides have left, so no handle exists and nobody uses the channel. It was
            // allocated with this layout.
            unsafe {
                self.0.drop_in_place();
                alloc::dealloc(start.as_ptr(), layout);
            }
        }
    }
}

#[inline]
fn add(count: &AtomicUsize) {
    // Relaxed: the caller has a handle, which it will drop or hand over in order.
    let before = count.fetch_add(1, Ordering::Relaxed);
    if before > isize::MAX as usize {
        // So many were leaked that the count would come round to zero.
        crate::os::fatal("a channel has too many handles");
    }
}

/// True if it was the last.
#[inline]
fn remove(count: &AtomicUsize) -> bool {
    // AcqRel: what the others did with their handles comes before what the last one does.
    count.fetch_sub(1, Ordering::AcqRel) == 1
}

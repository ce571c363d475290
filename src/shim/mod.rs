//! The one import point for atomics and fences: `std`, or `loom` under `--cfg loom`.
//!
//! [`asymmetric`] is the pair of fences that the scheduler's protocols lean on: the side that
//! runs all the time pays a compiler fence, the side that runs seldom pays a `membarrier(2)`.

#[cfg(loom)]
pub(crate) use loom::sync::atomic;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic;

/// A function that is `const`, but not under loom, which makes its atomics while a model runs.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        $visibility const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}
pub(crate) use const_fn;

#[cfg(loom)]
pub(crate) use loom::cell;
#[cfg(not(loom))]
pub(crate) mod cell {
    //! `UnsafeCell` by closures, as loom has it.

    /// See [`std::cell::UnsafeCell`].
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        /// Passes the pointer to the value to `f`.
        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

pub(crate) mod asymmetric {
    //! Fences for a store-then-load race (Dekker's) of which one side is hot.
    //!
    //! `light` on one side and `heavy` on the other order like two SeqCst fences: either the
    //! light side's later loads see the heavy side's earlier stores, or the other way round.
    //! `heavy` interrupts every CPU that runs a thread of this process (`membarrier(2)`,
    //! `MEMBARRIER_CMD_PRIVATE_EXPEDITED`; 0.5 to 3 µs measured), which makes a full fence of
    //! whatever instruction it finds there, so `light` need only keep the compiler in order.
    //! A SeqCst fence costs the hot side about as much as an atomic read-modify-write; three of
    //! them would be on every park. Where the kernel has no membarrier (before 4.14, or
    //! forbidden by a filter) both sides are SeqCst fences; the models use that form.

    use super::atomic;

    /// The hot side's fence.
    #[inline(always)]
    pub(crate) fn light() {
        crate::os::membarrier::light();
    }

    /// The seldom side's fence.
    pub(crate) fn heavy() {
        crate::os::membarrier::heavy();
    }

    /// The fence of both sides where neither is hot: two of these pair without interrupting anybody, and so does one of these with
    /// `heavy`. Not with `light`.
    pub(crate) fn full() {
        atomic::fence(atomic::Ordering::SeqCst);
    }

    /// Against a signal handler on the same thread, which needs no more than the compiler's order.
    #[inline(always)]
    pub(crate) fn signal() {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }
}

/// Between a SeqCst write and a SeqCst read of another place, whose one order does what a fence would do. Loom takes such
/// accesses for AcqRel ones, and needs the fence.
#[inline(always)]
pub(crate) fn between_seqcst() {
    #[cfg(loom)]
    loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
}

/// A hint to the CPU, or to the model, that this thread waits for another.
#[inline(always)]
pub(crate) fn spin_loop() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}

/// Asks for the cache line at `address`, which need not be valid.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults and has no effect that a program could see.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, readonly, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

//! Size classes of stacks.

use crate::os::mmap::page_size;

/// The sizes a stack can have: 64 KiB, 256 KiB, 1 MiB, and so on in powers of four to 1 GiB.
///
/// Few classes mean that a finished coroutine's stack nearly always fits the next one. What a
/// class wastes is address space only: memory is committed page by page as it is reached.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Class(u8);

const SMALLEST_BYTES: usize = 64 << 10;

impl Class {
    /// How many classes there are.
    pub(crate) const COUNT: usize = 8;
    /// 256 KiB.
    pub(crate) const DEFAULT: Class = Class(1);

    /// The smallest class of at least `bytes`; none over 1 GiB.
    pub(crate) fn of(bytes: usize) -> Option<Class> {
        // With pages of 64 KiB the guard alone would fill the smallest class.
        let bytes = bytes.max(4 * page_size());
        (0..Class::COUNT as u8).map(Class).find(|class| class.bytes() >= bytes)
    }

    /// The address space that a stack of this class takes, its guard included.
    pub(crate) const fn bytes(self) -> usize {
        SMALLEST_BYTES << (2 * self.0)
    }

    /// Its number, from 0 to [`Class::COUNT`] - 1.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every class, the smallest first.
    pub(crate) fn all() -> impl Iterator<Item = Class> {
        (0..Class::COUNT).map(Class::from_index)
    }

    /// The class numbered `index`.
    pub(crate) const fn from_index(index: usize) -> Class {
        assert!(index < Class::COUNT);
        Class(index as u8)
    }
}

const _: () = assert!(Class::DEFAULT.bytes() == 256 << 10);
const _: () = assert!(Class::from_index(Class::COUNT - 1).bytes() == 1 << 30);

impl std::fmt::Display for Class {
    /// `256 KiB`. Allocates nothing: signal handlers use it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.bytes() >> 10 {
            kib @ ..1024 => write!(f, "{kib} KiB"),
            kib => write!(f, "{} MiB", kib >> 10),
        }
    }
}

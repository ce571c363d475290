//! The table that the signal handler reads.

use super::super::Class;
use super::super::overflow::overflowed;
use super::super::registry::{Slot, find, register};
use crate::os::mmap::page_size;

/// Addresses that no mapping of a test process has.
const BASE: usize = 1 << 55;

#[test]
fn finds_slots_and_nothing_else() {
    let class = Class::DEFAULT;
    let entry = register(BASE, class, 4);
    for slot in 0..4 {
        let base = BASE + slot * class.bytes();
        for offset in [0, 1, 4096, class.bytes() - 1] {
            assert_eq!(find(base + offset), Some(Slot { base, class }));
        }
    }
    assert_eq!(find(BASE - 1), None);
    assert_eq!(find(BASE + 4 * class.bytes()), None);
    assert_eq!(find(0), None);
    assert_eq!(find(usize::MAX), None);
    drop(entry);
    assert_eq!(find(BASE), None);
}

#[test]
fn grows_and_reuses_its_places() {
    for round in 1..4 {
        let class = Class::from_index(round);
        let base = |index: usize| BASE + (round << 50) + index * (1 << 31);
        let entries: Vec<_> = (0..700).map(|index| register(base(index), class, 1)).collect();
        for index in 0..700 {
            let slot = Slot { base: base(index), class };
            assert_eq!(find(base(index) + class.bytes() - 1), Some(slot));
            assert_eq!(find(base(index) + class.bytes()), None);
        }
        drop(entries);
        assert!((0..700).all(|index| find(base(index)).is_none()));
    }
}

#[test]
fn only_the_own_guard_is_an_overflow() {
    let class = Class::DEFAULT;
    let first = BASE + (1 << 54);
    let _entry = register(first, class, 2);
    let second = first + class.bytes();
    let page = page_size();

    // A push at the limit; a probe that has moved the stack pointer already.
    assert_eq!(overflowed(second + page - 8, second + page), Some(Slot { base: second, class }));
    assert_eq!(overflowed(second, second), Some(Slot { base: second, class }));
    // A stray pointer into the guard of another slot, be it the one above or the one below.
    assert_eq!(overflowed(second, first + class.bytes() - 64), None);
    assert_eq!(overflowed(first, second + page), None);
    // A fault on the stack's own pages, or from a thread that is on no stack of ours.
    assert_eq!(overflowed(second + page, second + page), None);
    assert_eq!(overflowed(second, 4096), None);
}

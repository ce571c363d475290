//! The stacks a P keeps at hand.
//!
//! Touched by its owner only, so nothing here is atomic. Stacks of the hot class are kept in a
//! LIFO: the one put back last is taken first, while its top lines are still in the CPU's cache.
//! Other sizes are rare; a few are kept in no order.

use super::{Class, Pool, Stack};
use std::io;

/// Hot stacks kept at most.
pub(super) const HOT: usize = 32;
/// How many move between cache and pool at once. Half, so that after either move the P is as far
/// from the next spill as from the next refill.
pub(super) const BATCH: usize = HOT / 2;
/// Stacks of other classes kept at most.
const RARE: usize = 8;

/// Stacks of one P. [`Cache::drain`] it before dropping it, or its stacks are lost to the pool.
pub(crate) struct Cache {
    /// `hot[..len]` are stacks of `hot_class`, the most recent last; the rest is empty.
    hot: [Option<Stack>; HOT],
    len: usize,
    hot_class: Class,
    /// Stacks of any other class, in no order.
    rare: [Option<Stack>; RARE],
}

impl Cache {
    /// An empty cache whose hot class is the default one.
    pub(crate) const fn new() -> Cache {
        Cache::with_hot_class(Class::DEFAULT)
    }

    /// An empty cache for a runtime whose coroutines mostly have stacks of `class`.
    pub(crate) const fn with_hot_class(class: Class) -> Cache {
        Cache { hot: [const { None }; HOT], len: 0, hot_class: class, rare: [const { None }; RARE] }
    }

    /// A stack of `class`, guarded. Its contents are whatever the last user left.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the pool is empty too and a new stack cannot be mapped or guarded; the
    /// message names the limit that was hit and how to raise it.
    #[inline]
    pub(crate) fn get(&mut self, pool: &Pool, class: Class) -> io::Result<Stack> {
        if class == self.hot_class
            && let Some(last) = self.len.checked_sub(1)
            && let Some(stack) = self.hot.get_mut(last).and_then(Option::take)
        {
            self.len = last;
            return Ok(stack);
        }
        self.get_slow(pool, class)
    }

    /// Takes a stack that nothing runs on and nothing points into any more.
    #[inline]
    pub(crate) fn put(&mut self, pool: &Pool, stack: Stack) {
        if stack.class() == self.hot_class
            && let Some(place) = self.hot.get_mut(self.len)
        {
            debug_assert!(place.is_none());
            *place = Some(stack);
            self.len += 1;
            return;
        }
        self.put_slow(pool, stack);
    }

    /// Gives everything to the pool: the P retires.
    pub(crate) fn drain(&mut self, pool: &Pool) {
        for batch in self.hot[..self.len].chunks_mut(BATCH) {
            pool.give(batch);
        }
        self.len = 0;
        for place in &mut self.rare {
            pool.give(std::slice::from_mut(place));
        }
    }

    #[cold]
    #[inline(never)]
    fn get_slow(&mut self, pool: &Pool, class: Class) -> io::Result<Stack> {
        if class == self.hot_class {
            debug_assert_eq!(self.len, 0);
            self.len = pool.take(class, &mut self.hot[..BATCH])?;
            self.len -= 1;
            return Ok(self.hot[self.len].take().expect("take() gives at least one or an error"));
        }
        for place in &mut self.rare {
            if place.as_ref().is_some_and(|stack| stack.class() == class) {
                return Ok(place.take().expect("just seen"));
            }
        }
        let mut place = None;
        pool.take(class, std::slice::from_mut(&mut place))?;
        Ok(place.expect("take() gives at least one or an error"))
    }

    #[cold]
    #[inline(never)]
    fn put_slow(&mut self, pool: &Pool, stack: Stack) {
        if stack.class() == self.hot_class {
            debug_assert_eq!(self.len, HOT);
            // The half that was put back first is the coldest.
            pool.give(&mut self.hot[..BATCH]);
            self.hot.rotate_left(BATCH);
            self.len = HOT - BATCH;
            self.hot[self.len] = Some(stack);
            self.len += 1;
            return;
        }
        let mut stack = Some(stack);
        match self.rare.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = stack,
            None => pool.give(std::slice::from_mut(&mut stack)),
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rare = self.rare.iter().flatten().count();
        f.debug_struct("Cache").field("hot", &self.len).field("rare", &rare).finish_non_exhaustive()
    }
}

//! Tests of the stacks. What must not happen in a test process (dying of a signal, running into
//! limits) happens in a child: see [`children`].

#[cfg(not(miri))]
mod children;
#[cfg(not(miri))]
mod pool;
#[cfg(not(miri))]
mod registry;

use super::cache::{BATCH, HOT};
use super::{Cache, Class, Guard, Pool, Stack};

/// Numbers that look random and are the same every time (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

fn get(cache: &mut Cache, pool: &Pool) -> Stack {
    cache.get(pool, Class::DEFAULT).expect("a stack")
}

#[test]
fn classes_are_powers_of_four_from_64_kib_to_1_gib() {
    const KIB: usize = 1 << 10;
    let bytes = |wanted| Class::of(wanted).map(Class::bytes);
    assert_eq!(bytes(0), Some(64 * KIB));
    assert_eq!(bytes(64 * KIB), Some(64 * KIB));
    assert_eq!(bytes(64 * KIB + 1), Some(256 * KIB));
    assert_eq!(bytes(256 * KIB), Some(256 * KIB));
    assert_eq!(bytes(300 * KIB), Some(1024 * KIB));
    assert_eq!(bytes(256 * KIB * KIB + 1), Some(1 << 30));
    assert_eq!(bytes(1 << 30), Some(1 << 30));
    assert_eq!(bytes((1 << 30) + 1), None);
    assert_eq!(bytes(usize::MAX), None);
    assert_eq!(Class::of(200 * KIB), Some(Class::DEFAULT));
    assert!(Class::all().eq((0..Class::COUNT).map(Class::from_index)));
}

#[test]
fn the_last_stack_put_is_the_first_got() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stacks: Vec<Stack> = (0..HOT).map(|_| get(&mut cache, &pool)).collect();
    let tops: Vec<_> = stacks.iter().map(Stack::top).collect();
    cache.drain(&pool);
    for stack in stacks {
        cache.put(&pool, stack);
    }
    for top in tops.into_iter().rev() {
        let stack = get(&mut cache, &pool);
        assert_eq!(stack.top(), top);
        pool.give(&mut [Some(stack)]);
    }
}

#[test]
fn cache_and_pool_trade_half_a_cache() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let taken = || pool.metrics().taken;

    let mut stacks = vec![get(&mut cache, &pool)];
    assert_eq!(taken(), BATCH, "one get fills half the cache");
    stacks.extend((1..HOT + 1).map(|_| get(&mut cache, &pool)));
    assert_eq!(taken(), HOT + BATCH);

    cache.drain(&pool);
    assert_eq!(taken(), HOT + 1, "drain keeps nothing");
    let last = stacks.pop().expect("HOT + 1 of them");
    for stack in stacks {
        cache.put(&pool, stack);
    }
    assert_eq!(taken(), HOT + 1, "a cache keeps {HOT}");
    cache.put(&pool, last);
    assert_eq!(taken(), BATCH + 1, "one more spills half of them");

    // From here on, going up and down by less than half a cache never comes to the pool.
    for _ in 0..3 {
        let some: Vec<Stack> = (0..BATCH).map(|_| get(&mut cache, &pool)).collect();
        for stack in some {
            cache.put(&pool, stack);
        }
        assert_eq!(taken(), BATCH + 1);
    }
    cache.drain(&pool);
    assert_eq!(taken(), 0);
}

#[test]
fn other_classes_are_cached_too() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::with_hot_class(Class::of(1 << 20).expect("a class"));
    for class in Class::all() {
        let stack = cache.get(&pool, class).expect("a stack");
        assert_eq!(stack.class(), class);
        let top = stack.top();
        cache.put(&pool, stack);
        let again = cache.get(&pool, class).expect("a stack");
        assert_eq!(again.top(), top);
        cache.put(&pool, again);
    }
    // More of one class than are kept.
    let small = Class::of(1).expect("a class");
    let many: Vec<_> = (0..40).map(|_| cache.get(&pool, small).expect("a stack")).collect();
    for stack in many {
        cache.put(&pool, stack);
    }
    cache.drain(&pool);
    assert_eq!(pool.metrics().taken, 0);
}

#[test]
fn a_stack_is_aligned() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    for class in Class::all() {
        let stack = cache.get(&pool, class).expect("a stack");
        assert_eq!(stack.top().addr().get() % 64, 0);
        let usable = stack.top().addr().get() - stack.limit().addr().get();
        assert!(usable < class.bytes() && usable > class.bytes() / 2);
        cache.put(&pool, stack);
    }
    cache.drain(&pool);
}

//! Guards, slabs, and what is given back when.

use super::super::slab::Slab;
use super::super::{Cache, Class, END_ALIGN, Guard, Pool, Stack};
use super::{Random, get};
use crate::os::mmap::page_size;
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the kernel cannot write to `address` on our behalf.
fn is_guarded(address: NonNull<u8>) -> bool {
    // SAFETY: the kernel writes one byte to memory that is a free stack's or a guard's.
    let result = unsafe { libc::syscall(libc::SYS_getrandom, address.as_ptr(), 1usize, 0) };
    result == -1
}

/// The last word of a stack, which its owner may use as it likes.
fn last_word(stack: &Stack) -> *mut u64 {
    stack.top().as_ptr().wrapping_sub(64).cast()
}

fn give(pool: &Pool, stacks: Vec<Stack>) {
    for stack in stacks {
        pool.give(&mut [Some(stack)]);
    }
}

#[test]
fn every_stack_is_guarded_by_either_kind() {
    for guard in [Guard::detect(), Guard::Mprotect] {
        let pool = Pool::new(guard);
        let mut cache = Cache::new();
        let mut stacks: Vec<_> = (0..100).map(|_| get(&mut cache, &pool)).collect();
        for class in Class::all() {
            stacks.push(cache.get(&pool, class).expect("a stack"));
        }
        for stack in &stacks {
            let limit = stack.limit();
            assert_eq!(limit.addr().get() % page_size(), 0);
            assert!(!is_guarded(limit), "the lowest page is usable");
            let below = NonNull::new(limit.as_ptr().wrapping_sub(1)).expect("not 0");
            assert!(is_guarded(below), "{guard:?} {stack:?}");
            let guard_start = NonNull::new(limit.as_ptr().wrapping_sub(page_size()));
            assert!(is_guarded(guard_start.expect("not 0")));
            // SAFETY: the stack is ours, and nothing runs on it.
            unsafe { last_word(stack).write(1) };
        }
        for stack in stacks {
            cache.put(&pool, stack);
        }
        cache.drain(&pool);
        assert_eq!(pool.metrics().taken, 0);
    }
}

#[test]
fn a_guard_outlives_giving_memory_back() {
    for guard in [Guard::detect(), Guard::Mprotect] {
        let pool = Pool::new(guard);
        let mut cache = Cache::new();
        let keep = get(&mut cache, &pool);
        let stack = get(&mut cache, &pool);
        let limit = stack.limit();
        cache.drain(&pool);
        pool.give(&mut [Some(stack)]);
        pool.trim();
        assert!(is_guarded(NonNull::new(limit.as_ptr().wrapping_sub(1)).expect("not 0")));
        pool.give(&mut [Some(keep)]);
    }
}

#[test]
fn all_of_a_stack_is_usable() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stacks: Vec<_> = (0..3).map(|_| get(&mut cache, &pool)).collect();
    for (index, stack) in stacks.iter().enumerate() {
        let bytes = stack.top().addr().get() - stack.limit().addr().get();
        // SAFETY: `bytes` from `limit` on are the stack, which is ours.
        unsafe { stack.limit().write_bytes(index as u8 + 1, bytes) };
    }
    for (index, stack) in stacks.iter().enumerate() {
        // SAFETY: both ends of a stack that is ours and was written to above.
        let ends = unsafe { (stack.limit().read(), stack.top().sub(1).read()) };
        assert_eq!(ends, (index as u8 + 1, index as u8 + 1));
    }
    give(&pool, stacks);
    cache.drain(&pool);
}

#[test]
fn neighbours_differ_in_colour() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stacks: Vec<_> = (0..16).map(|_| get(&mut cache, &pool)).collect();
    let colours: HashSet<usize> = stacks.iter().map(|stack| stack.top().addr().get() % END_ALIGN).collect();
    assert_eq!(colours.len(), 8);
    give(&pool, stacks);
    cache.drain(&pool);
}

#[test]
fn slabs_double_and_go_back() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stacks: Vec<_> = (0..5000).map(|_| get(&mut cache, &pool)).collect();
    let full = pool.metrics();
    assert!(full.slabs <= 12, "{full:?}");
    assert!(full.slots >= 5000 && full.slots <= 10_000, "{full:?}");
    assert_eq!(full.bytes_reserved, full.slots * Class::DEFAULT.bytes());
    cache.drain(&pool);
    give(&pool, stacks);
    assert_eq!(pool.metrics().slots, full.slots, "kept, because it may be needed again");
    pool.trim();
    assert_eq!(pool.metrics(), Default::default());
}

#[test]
fn slabs_beyond_the_bound_are_not_kept() {
    // 64 MiB each: 256 of them may be kept.
    let class = Class::of(64 << 20).expect("a class");
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::with_hot_class(class);
    let stacks: Vec<_> = (0..1000).map(|_| cache.get(&pool, class).expect("a stack")).collect();
    cache.drain(&pool);
    give(&pool, stacks);
    let left = pool.metrics();
    assert!(left.slots < 600 && left.slots > 200, "{left:?}");
}

#[test]
fn what_is_not_needed_fades() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stacks: Vec<_> = (0..200).map(|_| get(&mut cache, &pool)).collect();
    for stack in &stacks {
        // SAFETY: the stack is ours, and nothing runs on it.
        unsafe { last_word(stack).write(0x5eed) };
    }
    give(&pool, stacks);
    cache.drain(&pool);

    // The first call starts a period; the ends of later ones each take a half.
    assert!(!pool.scavenge(true));
    assert_eq!(pool.metrics().cold, 0, "nothing is known to be unneeded yet");
    let mut cold = 0;
    for _ in 0..3 {
        while pool.scavenge(false) {}
        assert_eq!(pool.metrics().cold, cold, "only the end of a period makes anything due");
        while pool.scavenge(true) {}
        assert!(pool.metrics().cold > cold);
        cold = pool.metrics().cold;
    }

    // A stack that lost its memory reads as zero and is as good as any other.
    let stacks: Vec<_> = (0..200).map(|_| get(&mut cache, &pool)).collect();
    // SAFETY: the stacks are ours.
    let zeros = stacks.iter().filter(|stack| unsafe { last_word(stack).read() } == 0).count();
    assert!(zeros >= cold, "{zeros} of {cold}");
    assert_eq!(pool.metrics().cold, 0);
    give(&pool, stacks);
    cache.drain(&pool);

    let mut periods = 0;
    while pool.metrics().slabs > 0 {
        pool.scavenge(true);
        periods += 1;
        assert!(periods < 30, "{:?}", pool.metrics());
    }
    assert!(periods > 3, "slowly");
}

#[test]
fn what_is_needed_in_every_period_stays() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    for _ in 0..5 {
        let stacks: Vec<_> = (0..200).map(|_| get(&mut cache, &pool)).collect();
        give(&pool, stacks);
        cache.drain(&pool);
        pool.scavenge(true);
    }
    let metrics = pool.metrics();
    // The last slab was never used up.
    assert!(metrics.cold <= metrics.slots - 200, "{metrics:?}");
}

#[test]
fn one_call_of_scavenge_does_little() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stacks: Vec<_> = (0..3000).map(|_| get(&mut cache, &pool)).collect();
    give(&pool, stacks);
    cache.drain(&pool);
    pool.scavenge(true);
    assert!(pool.scavenge(true), "more to do");
    let cold = pool.metrics().cold;
    assert!((256..=256 + 32).contains(&cold), "{cold}");
}

/// Goal: the marks of a slab's free list never lose or double a slot. Method: random operations,
/// counted.
#[test]
fn a_slab_never_loses_a_slot() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let class = Class::from_index(0);
        let mut slab = Slab::new(class, 64).expect("a slab");
        let (mut taken, mut due): (Vec<Stack>, Vec<Stack>) = (Vec::new(), Vec::new());
        for _ in 0..5000 {
            match random.below(12) {
                0..4 => {
                    taken.extend(slab.take_guarded().or_else(|| slab.take_unguarded()));
                }
                4..8 if !taken.is_empty() => {
                    let index = random.below(taken.len());
                    slab.give(taken.swap_remove(index));
                }
                8 => due.extend(slab.take_due()),
                9 if !due.is_empty() => slab.give_cold(due.pop().expect("not empty")),
                10 => slab.end_period(),
                11 if random.below(10) == 0 => slab.hurry(),
                _ => {}
            }
            assert_eq!(slab.taken(), taken.len() + due.len());
            let tops: HashSet<_> = taken.iter().chain(&due).map(Stack::top).collect();
            assert_eq!(tops.len(), slab.taken(), "seed {seed}");
            assert!(slab.cold() <= slab.guarded());
        }
        taken.into_iter().for_each(|stack| slab.give(stack));
        due.into_iter().for_each(|stack| slab.give_cold(stack));
        let mut all = HashSet::new();
        while let Some(stack) = slab.take_guarded().or_else(|| slab.take_unguarded()) {
            assert!(all.insert(stack.top()), "seed {seed}");
        }
        assert_eq!(all.len(), 64, "seed {seed}");
    }
}

/// Goal: no stack is ever owned twice, none is lost. Method: several threads get and put at
/// random and mark what they own, while one scavenges and trims.
#[test]
fn random_threads_share_a_pool() {
    for (seed, guard) in [(1, Guard::detect()), (2, Guard::Mprotect)] {
        let pool = Pool::new(guard);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|thread| {
                    let pool = &pool;
                    scope.spawn(move || work(pool, seed * 100 + thread))
                })
                .collect();
            scope.spawn(|| {
                let mut random = Random::new(seed);
                while !done.load(Ordering::Relaxed) {
                    match random.below(50) {
                        0 => pool.trim(),
                        n => drop(pool.scavenge(n < 10)),
                    }
                    std::thread::yield_now();
                }
            });
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok), "a worker panicked, seed {seed}");
        });
        assert_eq!(pool.metrics().taken, 0, "seed {seed}");
        pool.trim();
        assert_eq!(pool.metrics(), Default::default(), "seed {seed}");
    }
}

fn work(pool: &Pool, seed: u64) {
    let mut random = Random::new(seed);
    let mut cache = Cache::new();
    let mut mine: Vec<(Stack, u64)> = Vec::new();
    for step in 0..5_000 {
        // In waves, so that batches move both ways.
        let growing = (step / 300) % 2 == 0;
        if mine.is_empty() || random.below(10) < if growing { 7 } else { 3 } {
            let class = Class::from_index([1, 1, 1, 1, 0, 2, 3][random.below(7)]);
            let stack = cache.get(pool, class).expect("a stack");
            assert_eq!(stack.class(), class);
            let mark = seed << 32 | step;
            // SAFETY: the stack is ours, and nothing runs on it.
            unsafe { last_word(&stack).write(mark) };
            mine.push((stack, mark));
        } else {
            let (stack, mark) = mine.swap_remove(random.below(mine.len()));
            // SAFETY: as above.
            let found = unsafe { last_word(&stack).read() };
            assert_eq!(found, mark, "owned twice, seed {seed}");
            cache.put(pool, stack);
        }
        if random.below(500) == 0 {
            cache.drain(pool);
        }
    }
    for (stack, _) in mine {
        cache.put(pool, stack);
    }
    cache.drain(pool);
}

#[test]
fn a_stack_in_use_outlives_its_pool() {
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stack = get(&mut cache, &pool);
    let small = cache.get(&pool, Class::from_index(0)).expect("a stack");
    pool.give(&mut [Some(small)]);
    cache.drain(&pool);
    drop(pool);
    // SAFETY: the stack is ours; its slab is left mapped because of it.
    unsafe { last_word(&stack).write(1) };
}

#[test]
#[should_panic(expected = "a pool it is not from")]
fn a_foreign_stack_is_refused() {
    let (one, other) = (Pool::new(Guard::detect()), Pool::new(Guard::detect()));
    let mut cache = Cache::new();
    let stack = get(&mut cache, &one);
    other.give(&mut [Some(stack)]);
}

#[test]
fn slots_of_large_classes_meet_in_the_middle_of_a_page_table() {
    let class = Class::of(4 << 20).expect("a class");
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let stack = cache.get(&pool, class).expect("a stack");
    assert_eq!((stack.limit().addr().get() - page_size()) % (2 << 20), 1 << 20);
    cache.put(&pool, stack);
    cache.drain(&pool);
}

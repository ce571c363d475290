//! What every back end must do. `ci/aarch64.sh` compiles this file alone (`gort_bare`: no other
//! crate, no threads) and runs it under emulation.

#[cfg(not(gort_bare))]
mod debugger;
#[cfg(not(gort_bare))]
mod oracle;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg(not(gort_context = "thread"))]
mod registers;
#[cfg(not(gort_bare))]
mod threads;

use super::*;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Defines a function that a flow can start with, in the calling convention of the back end.
macro_rules! entry {
    (fn $name:ident() $body:block) => {
        #[cfg(not(gort_context = "thread"))]
        unsafe extern "C" fn $name() -> ! $body
        #[cfg(gort_context = "thread")]
        unsafe extern "C-unwind" fn $name() -> ! $body
    };
}
use entry;

/// The memory of one stack. What lies above its top is no address of anything, so that a walk
/// that does not end at the base loses its way.
struct TestStack(Box<[u128]>);

impl TestStack {
    /// How many words lie above the top.
    const ABOVE: usize = 4;

    fn new() -> Self {
        let mut words = vec![0; if cfg!(miri) { 512 } else { 16 * 1024 }];
        let top = words.len() - Self::ABOVE;
        words[top..].fill(0x0bad_0bad_0bad_0bad_0bad_0bad_0bad_0bad);
        TestStack(words.into())
    }

    fn limit(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    fn top(&mut self) -> *mut u8 {
        let top = self.0.len() - Self::ABOVE;
        self.0[top..].as_mut_ptr().cast()
    }
}

/// A thread's own flow and one with a stack. The current-M word points to it.
struct Pair {
    root: Context,
    flow: Context,
    stack: TestStack,
    body: Option<Box<dyn FnOnce(*mut Pair)>>,
    ended: bool,
}

entry! {
    fn run_body() {
        let pair = current_m().cast::<Pair>();
        // SAFETY: whoever resumed this flow keeps the pair in the word, and waits in `resume`.
        unsafe {
            let body = (*pair).body.take().expect("a flow has a body");
            body(pair);
            (*pair).ended = true;
            switch_away(&raw mut (*pair).flow, &raw const (*pair).root, 0)
        }
    }
}

/// Owns a pair by a raw pointer, since both flows reach it, on whatever thread they are.
struct Owner(*mut Pair);

impl Owner {
    fn new(body: impl FnOnce(*mut Pair) + 'static) -> Owner {
        let owner = Owner(Box::into_raw(Box::new(Pair {
            root: Context::empty(),
            flow: Context::empty(),
            stack: TestStack::new(),
            body: None,
            ended: true,
        })));
        owner.begin(body);
        owner
    }

    /// Makes a new flow on the stack, which no flow uses.
    fn begin(&self, body: impl FnOnce(*mut Pair) + 'static) {
        assert!(self.ended());
        // SAFETY: the pair is ours, and its flow does not run. Nothing is suspended in `flow`: it
        // is new, or its flow has ended.
        unsafe {
            (*self.0).body = Some(Box::new(body));
            (*self.0).ended = false;
            let (top, limit) = ((*self.0).stack.top(), (*self.0).stack.limit());
            init(&raw mut (*self.0).flow, top, limit, run_body);
        }
    }

    /// Runs the flow until it hops or ends.
    fn resume(&self) {
        resume(self.0);
    }

    /// Whether the flow has ended.
    fn ended(&self) -> bool {
        // SAFETY: the pair is ours, and its flow does not run.
        unsafe { (*self.0).ended }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and its flow does not run.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// From a thread's own stack to the flow of `pair`, which is suspended.
fn resume(pair: *mut Pair) {
    set_current_m(pair.cast());
    // SAFETY: the flow is suspended in `flow`, and comes back to `root`.
    unsafe { switch(&raw mut (*pair).root, &raw const (*pair).flow, 0) };
}

/// From the flow of `pair` back to whoever resumed it.
fn hop(pair: *mut Pair) {
    // SAFETY: called by the flow, while its resumer waits in `root`.
    unsafe { switch(&raw mut (*pair).flow, &raw const (*pair).root, 0) };
}

/// xorshift64*: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

#[test]
fn arguments_pass_through_the_word() {
    let seen = std::rc::Rc::new(Cell::new(std::ptr::null_mut()));
    let pair = Owner::new({
        let seen = seen.clone();
        move |pair| {
            seen.set(current_m());
            let mut other = 0u8;
            set_current_m(&mut other);
            assert_eq!(current_m(), &raw mut other);
            hop(pair);
            // The resumer set it again.
            seen.set(current_m().wrapping_add(1));
        }
    });
    let address: *mut u8 = pair.0.cast();
    pair.resume();
    assert_eq!(seen.get(), address);
    pair.resume();
    assert_eq!(seen.get(), address.wrapping_add(1));
    assert!(pair.ended());
}

#[test]
fn the_slot_is_the_word() {
    let mut value = 0u8;
    set_current_m(&mut value);
    let slot = m_slot();
    // SAFETY: the slot of the running thread.
    unsafe {
        assert_eq!(*slot, &raw mut value);
        *slot = std::ptr::null_mut();
    }
    assert!(current_m().is_null());
}

#[test]
fn entry_finds_an_aligned_stack() {
    #[repr(align(16))]
    struct Aligned(#[expect(dead_code, reason = "only its address counts")] u8);
    let pair = Owner::new(|_| {
        let aligned = std::hint::black_box(Aligned(1));
        assert_eq!((&raw const aligned).addr() % 16, 0);
    });
    pair.resume();
    assert!(pair.ended());
}

#[test]
fn locals_survive_switches() {
    let pair = Owner::new(|pair| {
        let mut sum = 0u64;
        let mut kept = vec![1u64];
        for i in 0..100 {
            kept.push(i);
            hop(pair);
            sum += kept[i as usize];
        }
        assert_eq!(sum, 1 + (0..99).sum::<u64>());
    });
    let mut resumed = 0;
    while !pair.ended() {
        pair.resume();
        resumed += 1;
    }
    assert_eq!(resumed, 101);
}

#[test]
fn a_panic_is_caught_at_the_base() {
    let pair = Owner::new(|pair| {
        for round in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                hop(pair);
                resume_unwind(Box::new(round));
            }));
            assert_eq!(*caught.unwrap_err().downcast::<i32>().unwrap(), round);
            hop(pair);
        }
    });
    while !pair.ended() {
        pair.resume();
    }
}

#[test]
fn destructors_run_on_a_flows_stack() {
    struct Count(std::rc::Rc<Cell<u32>>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = std::rc::Rc::new(Cell::new(0));
    let pair = Owner::new({
        let drops = drops.clone();
        move |pair| {
            let _kept = Count(drops.clone());
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let _unwound = Count(drops.clone());
                hop(pair);
                resume_unwind(Box::new(()));
            }));
        }
    });
    pair.resume();
    assert_eq!(drops.get(), 0);
    pair.resume();
    assert_eq!(drops.get(), 2);
}

#[test]
fn a_dead_flows_stack_is_used_again() {
    let rounds = if cfg!(miri) { 5 } else { 500 };
    let pair = Owner::new(|_| {});
    pair.resume();
    for round in 0..rounds {
        assert!(pair.ended());
        pair.begin(move |pair| {
            let mut filling = [round as u8; 1000];
            std::hint::black_box(&mut filling);
            hop(pair);
            assert!(filling.iter().all(|b| *b == round as u8));
        });
        pair.resume();
        assert!(!pair.ended());
        pair.resume();
    }
    assert!(pair.ended());
}

#[test]
fn restart_begins_afresh_at_the_top() {
    struct Restarts {
        root: Context,
        // Two, since the new flow need not be saved where the old one was.
        flows: [Context; 2],
        stack: TestStack,
        left: u32,
        address: usize,
    }
    entry! {
        fn again() {
            let all = current_m().cast::<Restarts>();
            let local = 0u8;
            // SAFETY: the test waits in `root`, and nothing on this stack needs dropping.
            unsafe {
                let here = (&raw const local).addr();
                if (*all).address == 0 {
                    (*all).address = here;
                }
                // Under the thread back end every restart has a stack of its own.
                if !cfg!(gort_context = "thread") {
                    assert_eq!((*all).address, here, "frames of an earlier life are still there");
                }
                let own = (*all).left as usize % 2;
                switch(&raw mut (*all).flows[own], &raw const (*all).root, 0);
                if (*all).left == 0 {
                    switch_away(&raw mut (*all).flows[own], &raw const (*all).root, 0)
                }
                (*all).left -= 1;
                let (top, limit) = ((*all).stack.top(), (*all).stack.limit());
                restart(&raw mut (*all).flows[1 - own], top, limit, again, 0)
            }
        }
    }
    let rounds = if cfg!(miri) { 4 } else { 200 };
    let mut all = Restarts {
        root: Context::empty(),
        flows: [Context::empty(), Context::empty()],
        stack: TestStack::new(),
        left: rounds,
        address: 0,
    };
    let all = &raw mut all;
    // SAFETY: as the safety sections of the functions want; only one of the flows runs at a time.
    unsafe {
        init(&raw mut (*all).flows[rounds as usize % 2], (*all).stack.top(), (*all).stack.limit(), again);
        set_current_m(all.cast());
        for _ in 0..=rounds {
            let own = (*all).left as usize % 2;
            switch(&raw mut (*all).root, &raw const (*all).flows[own], 0);
            let own = (*all).left as usize % 2;
            if !cfg!(any(gort_context = "thread", gort_context = "corosensei")) {
                let sp = (*all).flows[own].sp();
                assert!((*all).stack.limit() < sp && sp < (*all).stack.top());
            }
        }
        assert_eq!((*all).left, 0);
        switch(&raw mut (*all).root, &raw const (*all).flows[0], 0);
    }
}

/// The branch that installs a thread pointer, with the one in force; `threads.rs` wears another's.
#[test]
fn a_thread_pointer_is_installed() {
    entry! {
        fn again() {
            let pair = current_m().cast::<Pair>();
            // SAFETY: as in `run_body`; the thread pointer is the running thread's own.
            unsafe {
                let tls = thread_pointer();
                hop_under(pair, tls);
                let (top, limit) = ((*pair).stack.top(), (*pair).stack.limit());
                if (*pair).body.take().is_some() {
                    restart(&raw mut (*pair).flow, top, limit, again, tls)
                }
                (*pair).ended = true;
                switch_away(&raw mut (*pair).flow, &raw const (*pair).root, tls)
            }
        }
    }
    fn hop_under(pair: *mut Pair, tls: usize) {
        // SAFETY: as in `hop`.
        unsafe { switch(&raw mut (*pair).flow, &raw const (*pair).root, tls) };
    }
    if !can_set_thread_pointer() {
        println!("skipped: this back end, CPU or kernel cannot install a thread pointer");
        return;
    }
    let pair = Owner::new(|_| {});
    // SAFETY: the flow that `new` made has not run, and is forgotten; the pair is ours.
    unsafe {
        let (top, limit) = ((*pair.0).stack.top(), (*pair.0).stack.limit());
        (*pair.0).flow = Context::empty();
        init(&raw mut (*pair.0).flow, top, limit, again);
        let before = thread_pointer();
        for _ in 0..3 {
            assert!(!pair.ended());
            pair.resume();
        }
        assert!(pair.ended());
        assert_eq!(thread_pointer(), before);
    }
}

/// Many flows that pick one another; see `random_order`.
struct Ring {
    root: Context,
    /// `count` contexts.
    flows: *mut Context,
    count: usize,
    random: Random,
    running: usize,
    steps_left: usize,
    trace: Vec<(u8, u32)>,
}

entry! {
    fn ring_member() {
        let ring = current_m().cast::<Ring>();
        // SAFETY: one flow of the ring runs at a time, and the test waits in `root`.
        unsafe {
            let own = (*ring).running;
            let mut visits = 0u32;
            loop {
                visits += 1;
                (*ring).trace.push((own as u8, visits));
                if (*ring).steps_left == 0 {
                    switch((*ring).flows.add(own), &raw const (*ring).root, 0);
                    // The ring is being taken down: all end, one by one.
                    switch_away((*ring).flows.add(own), &raw const (*ring).root, 0);
                }
                (*ring).steps_left -= 1;
                let next = (*ring).random.below((*ring).count);
                (*ring).running = next;
                if next != own {
                    switch((*ring).flows.add(own), (*ring).flows.add(next), 0);
                }
            }
        }
    }
}

/// Switches `steps` times among `count` flows in an order drawn from `seed`; who ran, and for the
/// how manieth time, is the trace.
fn random_order(seed: u64, count: usize, steps: usize) -> Vec<(u8, u32)> {
    let mut stacks: Vec<TestStack> = (0..count).map(|_| TestStack::new()).collect();
    let mut flows: Vec<Context> = (0..count).map(|_| Context::empty()).collect();
    let mut ring = Ring {
        root: Context::empty(),
        flows: flows.as_mut_ptr(),
        count,
        random: Random(seed),
        running: 0,
        steps_left: steps,
        trace: Vec::with_capacity(steps + 1),
    };
    let ring = &raw mut ring;
    set_current_m(ring.cast());
    // SAFETY: every flow is begun on a stack of its own, and `ring` and `flows` stay where they are.
    unsafe {
        for (own, stack) in stacks.iter_mut().enumerate() {
            init((*ring).flows.add(own), stack.top(), stack.limit(), ring_member);
        }
        switch(&raw mut (*ring).root, (*ring).flows, 0);
        // Ends the one that came back. The others are dropped while suspended: they hold nothing.
        let last = (*ring).running;
        switch(&raw mut (*ring).root, (*ring).flows.add(last), 0);
        std::mem::take(&mut (*ring).trace)
    }
}

/// What `random_order` must do, by counting.
fn expected_order(seed: u64, count: usize, steps: usize) -> Vec<(u8, u32)> {
    let mut random = Random(seed);
    let mut visits = vec![0u32; count];
    let mut at = 0;
    (0..=steps)
        .map(|_| {
            // A flow that picks itself goes on in its loop, which is a visit as well.
            visits[at] += 1;
            let entry = (at as u8, visits[at]);
            at = random.below(count);
            entry
        })
        .collect()
}

/// How many flows and switches a random run has.
fn ring_size() -> (usize, usize) {
    match () {
        _ if cfg!(miri) => (5, 40),
        _ if cfg!(gort_context = "thread") => (20, 5_000),
        _ if cfg!(gort_bare) => (100, 200_000),
        _ => (100, 1_000_000),
    }
}

fn seed() -> u64 {
    let seed = match std::env::var("GORT_TEST_SEED") {
        Ok(seed) => seed.parse().expect("GORT_TEST_SEED is a number"),
        Err(_) if cfg!(miri) => 0x9e37_79b9,
        Err(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_nanos() as u64) | 1,
    };
    println!("seed: GORT_TEST_SEED={seed}");
    seed
}

#[test]
fn random_order_is_kept() {
    let seed = seed();
    let (count, steps) = ring_size();
    assert!(random_order(seed, count, steps) == expected_order(seed, count, steps), "the traces differ");
}

#[cfg(not(any(miri, gort_context = "thread")))]
#[test]
fn a_backtrace_ends_at_the_entry() {
    let text = std::rc::Rc::new(Cell::new(String::new()));
    let pair = Owner::new({
        let text = text.clone();
        move |pair| {
            hop(pair);
            text.set(std::backtrace::Backtrace::force_capture().to_string());
        }
    });
    pair.resume();
    pair.resume();
    let text = text.take();
    assert!(text.contains("run_body"), "{text}");
    // Our own switch cuts the walk there; corosensei's leads on to the resumer.
    if cfg!(gort_context = "asm") {
        assert!(!text.contains("tests::resume") && !text.contains("main"), "{text}");
    }
}

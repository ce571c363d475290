//! The same random order of switches on corosensei, compared event for event.

use super::*;
use corosensei::Coroutine;
use corosensei::stack::{Stack, StackPointer};
use std::rc::Rc;

/// A stack for the oracle.
struct Owned(TestStack);

// SAFETY: the memory is the box's and big enough. It has no guard page; the oracle's flows use a
// few hundred bytes of it.
unsafe impl Stack for Owned {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.0.0.as_ptr_range().end.addr()).unwrap()
    }
    fn limit(&self) -> StackPointer {
        StackPointer::new(self.0.0.as_ptr().addr()).unwrap()
    }
}

/// What the oracle's flows share.
struct Shared {
    random: Random,
    steps_left: usize,
    trace: Vec<(u8, u32)>,
}

fn oracle_order(seed: u64, count: usize, steps: usize) -> Vec<(u8, u32)> {
    let shared = Rc::new(std::cell::RefCell::new(Shared {
        random: Random(seed),
        steps_left: steps,
        trace: Vec::with_capacity(steps + 1),
    }));
    let mut flows: Vec<Coroutine<(), Option<usize>, (), Owned>> = (0..count)
        .map(|own| {
            let shared = shared.clone();
            Coroutine::with_stack(Owned(TestStack::new()), move |yielder, ()| {
                let mut visits = 0;
                loop {
                    visits += 1;
                    let next = {
                        let mut shared = shared.borrow_mut();
                        shared.trace.push((own as u8, visits));
                        let go_on = shared.steps_left > 0;
                        shared.steps_left = shared.steps_left.saturating_sub(1);
                        go_on.then(|| shared.random.below(count))
                    };
                    if next != Some(own) {
                        yielder.suspend(next);
                    }
                }
            })
        })
        .collect();
    let mut next = Some(0);
    while let Some(flow) = next {
        next = flows[flow].resume(()).as_yield().expect("the loop has no end");
    }
    drop(flows);
    std::mem::take(&mut shared.borrow_mut().trace)
}

#[test]
#[cfg_attr(miri, ignore = "corosensei switches by assembly")]
fn random_order_is_that_of_corosensei() {
    let seed = seed();
    let (count, steps) = ring_size();
    assert!(random_order(seed, count, steps) == oracle_order(seed, count, steps), "the traces differ");
}

#[test]
#[ignore = "a figure, not a check: run it alone, in a release build"]
fn a_switch_beside_half_a_round_of_corosensei() {
    const ROUNDS: u32 = 10_000_000;
    let ours = || {
        let owner = Owner::new(|pair| (0..=ROUNDS).for_each(|_| hop(pair)));
        owner.resume();
        let start = std::time::Instant::now();
        (0..ROUNDS).for_each(|_| owner.resume());
        let ns = start.elapsed().as_nanos() as f64 / f64::from(ROUNDS * 2);
        owner.resume();
        assert!(owner.ended());
        ns
    };
    let theirs = || {
        let mut flow = Coroutine::<(), (), (), Owned>::with_stack(Owned(TestStack::new()), |yielder, ()| {
            (0..=ROUNDS).for_each(|_| yielder.suspend(()));
        });
        flow.resume(());
        let start = std::time::Instant::now();
        (0..ROUNDS).for_each(|_| assert!(flow.resume(()).as_yield().is_some()));
        let ns = start.elapsed().as_nanos() as f64 / f64::from(ROUNDS * 2);
        assert!(flow.resume(()).as_return().is_some());
        ns
    };
    let mut rounds: Vec<_> = (0..9).map(|_| (ours(), theirs())).collect();
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (ours, theirs) = rounds[rounds.len() / 2];
    println!("{ours:.2} ns for a switch, {theirs:.2} ns for half a round of corosensei: {:.2}", ours / theirs);
}

//! What is seen from inside only: that nothing is left in a parent's list.

use super::{Context, ContextError};
use std::time::Duration;

fn children(ctx: &Context) -> usize {
    ctx.node.as_ref().expect("it can end").children()
}

#[test]
fn a_context_that_is_dropped_is_in_nobodys_list() {
    let (parent, handle) = Context::background().with_cancel();
    for round in 0..3 {
        let mut all = Vec::new();
        for i in 0..100 {
            let (child, cancel) = parent.with_timeout(Duration::from_secs(100));
            let value = child.with_value(i);
            drop(child);
            all.push((value, cancel));
            assert_eq!(children(&parent), i + 1, "round {round}");
        }
        // In another order, and half by way of clones.
        while let Some((ctx, cancel)) = (!all.is_empty()).then(|| all.swap_remove(all.len() / 2)) {
            let clone = ctx.clone();
            drop((ctx, cancel));
            assert_eq!(children(&parent), all.len() + 1);
            drop(clone);
            assert_eq!(children(&parent), all.len());
        }
        let places = parent.node.as_ref().unwrap().state_places();
        assert_eq!(places, 100, "places are used again");
    }
    assert!(handle.cancel());
    let (child, _) = parent.with_cancel();
    assert!(child.err().is_some());
    assert_eq!(children(&parent), 0);
}

/// Goal: a bound that was over by the clock says why, also if the clock that looks are made by is behind. Method: it is,
/// by far.
#[test]
fn who_has_seen_the_deadline_pass_ends_the_context() {
    let (ctx, handle) = Context::background().with_timeout_cause(Duration::from_secs(100), "slow");
    let (child, _) = ctx.with_cancel();
    assert_eq!(child.err(), None);
    assert_eq!(child.node.as_ref().unwrap().ended().error, ContextError::DeadlineExceeded);
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    assert_eq!(child.cause().unwrap().to_string(), "slow");
    assert!(!handle.cancel());
}

#[test]
fn a_line_that_goes_leaves_its_root() {
    let (root, _) = Context::background().with_cancel();
    let mut last = root.clone();
    for _ in 0..200_000 {
        last = last.with_cancel().0;
    }
    assert_eq!(children(&root), 1);
    drop(last);
    assert_eq!(children(&root), 0);
}

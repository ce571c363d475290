//! Contexts: who ends when, with which cause, who hears of it, and what is left behind.

mod common;

use common::{Counts, Meant, Random, builder, everywhere, factor, panic_meant, wait_until, with_each_procs};
use gort::channel::{self, Waitable};
use gort::context::{self, AfterFunc, CancelHandle, CancelOnDrop, Cause, Context, ContextError, Done};
use gort::sync::{Mutex, WaitGroup};
use gort::time::{Deadline, sleep, timeout};
use gort::{Builder, go, select};
use std::io::Read;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(1000);
const CANCELLED: Option<ContextError> = Some(ContextError::Cancelled);
const EXCEEDED: Option<ContextError> = Some(ContextError::DeadlineExceeded);

#[test]
fn again_with_fixed_homes() {
    common::again_with_fixed_homes();
}

fn text(cause: Option<Cause>) -> String {
    cause.map_or_else(String::new, |cause| cause.to_string())
}

#[test]
fn auto_traits() {
    fn all<T: Clone + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    fn sent<T: Send + Sync>() {}
    all::<Context>();
    all::<CancelHandle>();
    all::<Done<'static>>();
    all::<ContextError>();
    sent::<AfterFunc>();
    sent::<CancelOnDrop>();
    assert_eq!(size_of::<Context>(), 2 * size_of::<usize>());
}

#[test]
fn a_parent_takes_its_children_along_and_no_child_its_parent() {
    everywhere(|| {
        let (root, end_root) = Context::background().with_cancel();
        let (left, end_left) = root.with_cancel();
        let (right, _) = root.with_timeout(LONG);
        let (leaf, _) = left.with_value("leaf").with_cancel();
        assert!(end_left.cancel() && !end_left.cancel());
        assert_eq!([root.err(), left.err(), right.err(), leaf.err()], [None, CANCELLED, None, CANCELLED]);
        assert_eq!(leaf.value::<&str>(), Some(&"leaf"));
        assert!(end_root.cancel());
        assert_eq!([root.err(), right.err()], [CANCELLED, CANCELLED]);
        let (late, handle) = leaf.with_timeout(LONG);
        assert_eq!(late.err(), CANCELLED);
        assert!(!handle.cancel());
        // Handles keep nothing from ending, and contexts need no handles.
        let (kept, _) = Context::background().with_cancel();
        assert_eq!(kept.err(), None);
        {
            let (ctx, handle) = Context::background().with_cancel();
            let guard = handle.on_drop();
            assert_eq!(ctx.err(), None);
            drop(guard);
            assert_eq!(ctx.err(), CANCELLED);
        }
    });
}

#[test]
fn deadlines_are_the_earliest_on_the_way_out() {
    everywhere(|| {
        let soon = Deadline::after(SHORT);
        let (outer, _) = Context::background().with_deadline(soon);
        let (inner, _) = outer.with_timeout(LONG);
        assert_eq!(inner.deadline(), Some(soon));
        assert!(inner.remaining().unwrap() <= SHORT);
        assert_eq!(inner.done().wait(), ContextError::DeadlineExceeded);
        assert!(soon.has_passed());
        assert_eq!(outer.err(), EXCEEDED);
        let (outer, end) = Context::background().with_timeout(LONG);
        let (inner, _) = outer.with_timeout(SHORT);
        assert_eq!(inner.done().wait(), ContextError::DeadlineExceeded);
        assert_eq!(outer.err(), None);
        assert!(end.cancel());
        assert_eq!((inner.err(), outer.err()), (EXCEEDED, CANCELLED));
        assert_eq!(Context::background().with_deadline(Instant::now()).0.err(), EXCEEDED);
        assert_eq!(Context::background().with_timeout(Duration::MAX).0.deadline(), None);
        assert_eq!(Context::background().deadline(), None);
        assert!(inner.without_cancel().deadline().is_none());
    });
}

#[test]
fn the_first_cause_counts() {
    everywhere(|| {
        let none = Context::background();
        assert!(none.cause().is_none());
        let (root, end_root) = none.with_cancel_cause();
        let (child, end_child) = root.with_cancel_cause();
        assert!(end_child.cancel_cause("child"));
        assert!(end_root.cancel_cause(std::io::Error::other("root")));
        assert!(!end_child.cancel_cause("late"));
        assert_eq!((text(root.cause()), text(child.cause())), ("root".into(), "child".into()));
        assert!(root.cause().unwrap().downcast_ref::<std::io::Error>().is_some());
        // A child's cause is that of who took it along.
        let (root, end_root) = none.with_cancel();
        let (child, _) = root.with_timeout_cause(LONG, "slow");
        assert!(end_root.cancel_cause("root"));
        assert_eq!((child.err(), text(child.cause())), (CANCELLED, "root".into()));
        // The cause of a deadline is that of whose deadline it is.
        let (outer, _) = none.with_timeout_cause(SHORT, "outer");
        let (inner, _) = outer.with_timeout_cause(LONG, "inner");
        let (leaf, _) = inner.with_cancel();
        leaf.done().wait();
        assert_eq!((leaf.err(), text(leaf.cause()), text(inner.cause())), (EXCEEDED, "outer".into(), "outer".into()));
        let (plain, _) = none.with_timeout(Duration::ZERO);
        assert_eq!(text(plain.cause()), ContextError::DeadlineExceeded.to_string());
        let (cancelled, end) = none.with_timeout_cause(LONG, "slow");
        assert!(end.cancel());
        assert_eq!(text(cancelled.cause()), ContextError::Cancelled.to_string());
    });
}

/// A deadline that has passed has ended the context and what is below, though nobody has looked since: a cancel comes too late.
#[test]
fn a_cancel_after_the_deadline_is_too_late() {
    everywhere(|| {
        // Of all that were made with at most this.
        let wait = 10 * SHORT;
        let pass = || {
            let made = Instant::now();
            wait_until("the deadlines pass", || made.elapsed() > wait);
        };
        let none = Context::background();
        let (ctx, end) = none.with_timeout_cause(SHORT, "slow");
        let (child, end_child) = ctx.with_cancel();
        pass();
        assert!(!end_child.cancel_cause("late") && !end.cancel_cause("late"));
        assert_eq!((ctx.err(), text(ctx.cause())), (EXCEEDED, "slow".into()));
        assert_eq!((child.err(), text(child.cause())), (EXCEEDED, "slow".into()));
        // By whatever their parent ends, some below had ended before and others not.
        for (timeout, error) in [(LONG, CANCELLED), (wait, EXCEEDED)] {
            let tree = || {
                let (root, end) = none.with_timeout_cause(timeout, "root");
                let (slow, _) = root.with_timeout_cause(SHORT, "slow");
                let (below, _) = slow.with_timeout_cause(LONG, "below");
                let (other, _) = root.with_timeout_cause(LONG, "other");
                ([root, slow, below, other], end)
            };
            // Made before the first has ended.
            let in_time = |all: &[Context; 4]| !all[0].remaining().unwrap().is_zero();
            let (all, end) = std::iter::repeat_with(tree).find(|(all, _)| in_time(all)).unwrap();
            pass();
            assert_eq!(end.cancel_cause("root"), timeout == LONG);
            let ends = all.map(|ctx| (ctx.err(), text(ctx.cause())));
            let [by_root, by_slow] = [(error, "root".to_string()), (EXCEEDED, "slow".to_string())];
            assert_eq!(ends, [by_root.clone(), by_slow.clone(), by_slow, by_root]);
        }
    });
}

/// However many deadlines have passed in a line, the end goes down it in a loop.
#[test]
fn a_long_line_of_deadlines_ends() {
    let (root, _) = Context::background().with_cancel();
    let deadline = Instant::now() + 100 * SHORT;
    let line = std::iter::successors(Some(root), |last| Some(last.with_deadline(deadline).0));
    let line: Vec<_> = line.take(100_000).collect();
    wait_until("it passes", || line[99_999].remaining() == Some(Duration::ZERO));
    assert_eq!(line[1..].iter().position(|ctx| ctx.err() != EXCEEDED), None);
}

/// Goal: who has ended a context finds all below it ended, also what another call is in the middle of ending. Method: a line of
/// contexts; who waits for the end of one is a future, whose waker is run by the call that ends it, before it comes to those below. The
/// waker ends one further up.
#[test]
fn a_cancel_returns_when_all_below_have_ended_whoever_ends_them() {
    struct Cancels(CancelHandle, Vec<Context>, AtomicUsize);
    impl task::Wake for Cancels {
        fn wake(self: Arc<Self>) {
            assert!(self.0.cancel());
            self.2.store(self.1.iter().filter(|ctx| ctx.err().is_some()).count(), SeqCst);
        }
    }
    const LENGTH: usize = 6;
    for (outer, inner) in (0..LENGTH).flat_map(|inner| (0..inner).map(move |outer| (outer, inner))) {
        let mut line = vec![Context::background().with_cancel()];
        while line.len() < LENGTH {
            // There were others beside it.
            let (above, place) = (&line[line.len() - 1].0, line.len() % 3);
            let mut children: Vec<_> = (0..3).map(|_| above.with_cancel()).collect();
            line.push(children.swap_remove(place));
        }
        let below = line[outer..].iter().map(|(ctx, _)| ctx.clone()).collect();
        let cancels = Arc::new(Cancels(line[outer].1.clone(), below, AtomicUsize::new(0)));
        let waker = cancels.clone().into();
        let mut end = pin!(gort::future::until(line[inner].0.done()));
        assert!(end.as_mut().poll(&mut task::Context::from_waker(&waker)).is_pending());
        assert!(line[inner].1.cancel());
        assert_eq!(cancels.2.load(SeqCst), LENGTH - outer, "{inner} was ending, {outer} was ended");
        assert!(line[..outer].iter().all(|(ctx, _)| ctx.err().is_none()));
    }
}

#[test]
fn values_are_found_by_type() {
    everywhere(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let first = Context::background().with_value(1u8).with_value(Counts(drops.clone()));
        let second = first.with_value(2u8).with_value("text");
        assert_eq!((first.value::<u8>(), second.value::<u8>()), (Some(&1), Some(&2)));
        assert_eq!((first.value::<&str>(), second.value::<u16>()), (None, None));
        let (derived, _) = second.with_cancel();
        assert_eq!(derived.value::<&str>(), Some(&"text"));
        let detached = derived.without_cancel();
        drop((first, second, derived));
        assert_eq!((drops.load(SeqCst), detached.value::<u8>()), (0, Some(&2)));
        drop(detached);
        assert_eq!(drops.load(SeqCst), 1);
        // A long list goes without recursion.
        let mut ctx = Context::background();
        for i in 0..200_000u32 {
            ctx = ctx.with_value(i);
        }
        assert_eq!(ctx.value::<u32>(), Some(&199_999));
    });
}

#[test]
fn all_who_wait_hear_of_the_end() {
    with_each_procs(|runtime| {
        for by_deadline in [false, true] {
            let limit = if by_deadline { Duration::from_millis(30) } else { LONG };
            let (root, end) = Context::background().with_timeout(limit);
            let why = if by_deadline { ContextError::DeadlineExceeded } else { ContextError::Cancelled };
            let (mut handles, mut threads) = (Vec::new(), Vec::new());
            for i in 0..60 {
                let (ctx, _) = if i % 2 == 0 { (root.clone(), None) } else { (root.with_cancel().0, Some(())) };
                let f = move || match i % 3 {
                    0 => assert_eq!(ctx.done().wait(), why),
                    1 => {
                        let (_sender, receiver) = channel::unbounded::<u8>();
                        let done = ctx.done();
                        select! { wait(done) => {}, recv(receiver) -> _ => unreachable!() }
                        assert_eq!(ctx.err(), Some(why));
                    }
                    _ => {
                        select! { wait(ctx) => {}, default(LONG) => unreachable!() }
                        assert!(ctx.is_ready());
                    }
                };
                if i % 10 < 3 { threads.push(std::thread::spawn(f)) } else { handles.push(runtime.spawn(f)) }
            }
            sleep(SHORT);
            if !by_deadline {
                assert_eq!(root.done().wait_timeout(SHORT), None);
                end.cancel();
            }
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}

#[test]
fn who_waits_and_is_cancelled_unwinds() {
    with_each_procs(|runtime| {
        let (ctx, _end) = Context::background().with_cancel();
        let inside = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..40)
            .map(|_| {
                let (ctx, inside) = (ctx.clone(), inside.clone());
                runtime.spawn(move || {
                    inside.fetch_add(1, SeqCst);
                    ctx.done().wait();
                })
            })
            .collect();
        wait_until("all run", || inside.load(SeqCst) == 40);
        handles.iter().for_each(|handle| handle.cancel());
        for handle in handles {
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        assert_eq!(ctx.err(), None);
    });
}

#[test]
fn cancel_against_done() {
    // Whoever begins to wait at any moment of the end hears of it.
    let seed = common::seed();
    with_each_procs(|runtime| {
        let mut random = Random::new(seed);
        for _ in 0..1000 * factor() {
            let (root, end) = Context::background().with_cancel();
            let (child, _) = root.with_timeout(Duration::from_micros(20 + random.below(100)));
            let other = child.clone();
            let waits = runtime.spawn(move || child.done().wait());
            let bound = runtime.spawn(move || other.bound(gort::park).unwrap_err());
            common::compute(Duration::from_micros(random.below(150)));
            end.cancel();
            assert_eq!(waits.join().unwrap(), bound.join().unwrap());
        }
    });
}

#[test]
fn a_bound_ends_every_kind_of_wait() {
    everywhere(|| {
        let in_runtime = gort::try_current().is_some();
        for by_deadline in [false, true] {
            let ends = |what: &str, f: &mut (dyn FnMut() + Send)| {
                let (root, end) = Context::background().with_timeout(if by_deadline { SHORT } else { LONG });
                let (ctx, _) = root.with_cancel();
                let canceller = (!by_deadline).then(|| {
                    std::thread::spawn(move || {
                        std::thread::sleep(SHORT);
                        end.cancel();
                    })
                });
                let result = ctx.bound(|| {
                    assert_eq!(context::current().deadline(), ctx.deadline());
                    f();
                    unreachable!("{what} returned");
                });
                assert_eq!(result.err(), if by_deadline { EXCEEDED } else { CANCELLED }, "{what}");
                assert_eq!(context::current().deadline(), None);
                if let Some(canceller) = canceller {
                    canceller.join().unwrap();
                }
            };
            let (sender, receiver) = channel::bounded::<u8>(0);
            ends("sleep", &mut || sleep(LONG));
            ends("recv", &mut || _ = receiver.recv());
            ends("send", &mut || _ = sender.send(1));
            ends("select", &mut || select! { recv(receiver) -> _ => {}, default(LONG) => {} });
            let mutex = Mutex::new(());
            let guard = mutex.lock();
            ends("mutex", &mut || drop(mutex.lock()));
            drop(guard);
            let group = WaitGroup::new();
            let member = group.clone();
            ends("wait group", &mut || group.clone().wait());
            drop(member);
            let (mut reader, _writer) = gort::net::UnixStream::pair().unwrap();
            ends("read", &mut || drop(reader.read(&mut [0])));
            let (other, _end) = Context::background().with_cancel();
            ends("done", &mut || drop(other.done().wait().to_string()));
            if in_runtime {
                ends("park", &mut gort::park);
                ends("yield_now", &mut || {
                    loop {
                        gort::yield_now();
                    }
                });
                ends("join", &mut || drop(go!(|| sleep(LONG)).join()));
            }
        }
    });
}

#[test]
fn bounds_within_bounds() {
    everywhere(|| {
        let (outer, end_outer) = Context::background().with_cancel();
        let (inner, end_inner) = Context::background().with_cancel();
        assert_eq!(outer.bound(|| inner.bound(|| 1)), Ok(Ok(1)));
        // The inner one ends: the outer one's code goes on.
        let result = outer.bound(|| {
            let inner = inner.bound(|| {
                end_inner.cancel();
                sleep(LONG);
            });
            (inner, context::current().err())
        });
        assert_eq!(result, Ok((Err(ContextError::Cancelled), None)));
        let (inner, _) = Context::background().with_timeout(LONG);
        let result = outer.bound(|| {
            let _ = inner.bound(|| {
                end_outer.cancel();
                sleep(LONG);
            });
            unreachable!("the outer one has ended");
        });
        assert_eq!(result, Err::<(), _>(ContextError::Cancelled));
        // One that has ended is not begun; one that returns has returned.
        assert_eq!(outer.bound(|| unreachable!("it has ended")), Err::<(), _>(ContextError::Cancelled));
        let (ctx, end) = Context::background().with_cancel();
        assert_eq!(ctx.bound(|| end.cancel()), Ok(true));
        // A timeout in a context, and the other way round.
        let (ctx, _end) = Context::background().with_timeout(LONG);
        assert!(ctx.bound(|| timeout(SHORT, || sleep(LONG))).unwrap().is_err());
        assert!(timeout(SHORT, || ctx.bound(|| sleep(LONG))).is_err());
        // `run` ends nothing.
        let (over, _) = Context::background().with_timeout(Duration::ZERO);
        over.run(|| {
            assert_eq!(context::current().err(), EXCEEDED);
            sleep(SHORT);
        });
        let caught = catch_unwind(AssertUnwindSafe(|| ctx.bound(|| panic_meant(3)))).unwrap_err();
        assert_eq!(caught.downcast_ref(), Some(&Meant(3)));
        assert!(context::current().deadline().is_none());
    });
}

#[test]
fn the_current_context_is_the_coroutines_own() {
    with_each_procs(|runtime| {
        runtime.run(|| {
            let number = || context::current().value::<usize>().copied();
            let of = |n: usize| Context::background().with_value(n);
            let handles: Vec<_> = (0..50)
                .map(|i| {
                    go!(of(i), move || {
                        for _ in 0..20 {
                            gort::yield_now();
                            assert_eq!(number(), Some(i));
                            of(i + 1000).run(|| {
                                sleep(Duration::from_micros(50));
                                assert_eq!(number(), Some(i + 1000));
                                // Not inherited unless asked for.
                                assert_eq!(go!(number).join().unwrap(), None);
                                assert_eq!(go!(context::current(), number).join().unwrap(), Some(i + 1000));
                            });
                            assert_eq!(number(), Some(i));
                        }
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            assert_eq!(number(), None);
            let ctx = of(5);
            assert_eq!(gort::go_local!(&ctx, number).join().unwrap(), Some(5));
            assert_eq!(ctx.spawn(number).join().unwrap(), Some(5));
            assert_eq!(ctx.spawn_as(Builder::new().name("n"), number).unwrap().join().unwrap(), Some(5));
            assert!(catch_unwind(AssertUnwindSafe(|| ctx.run(|| panic_meant(1)))).is_err());
            assert_eq!(number(), None);
        });
    });
    // Plain threads have one, too, each its own.
    let ctx = Context::background().with_value(1usize);
    ctx.run(|| {
        assert_eq!(context::current().value::<usize>(), Some(&1));
        assert!(std::thread::spawn(|| context::current().value::<usize>().is_none()).join().unwrap());
    });
    assert!(context::current().value::<usize>().is_none());
}

#[test]
fn after_funcs_run_once_or_were_stopped() {
    let seed = common::seed();
    with_each_procs(|runtime| {
        let mut random = Random::new(seed);
        for round in 0..500 * factor() {
            let by_deadline = round % 2 == 0;
            let limit = if by_deadline { Duration::from_micros(40) } else { LONG };
            let (ctx, end) = Context::background().with_timeout(limit);
            let runs = Arc::new(AtomicUsize::new(0));
            let (runs2, ctx2) = (runs.clone(), ctx.clone());
            let func = runtime.run(move || {
                let seen = ctx2.clone();
                ctx2.after_func(move || {
                    assert!(seen.err().is_some());
                    runs2.fetch_add(1, SeqCst);
                })
            });
            common::compute(Duration::from_micros(random.below(60)));
            let ender = (!by_deadline).then(|| runtime.spawn(move || end.cancel()));
            common::compute(Duration::from_micros(random.below(20)));
            let stopped = if random.below(2) == 0 { func.stop() } else { runtime.run(|| func.stop()) };
            if let Some(ender) = ender {
                assert!(ender.join().unwrap());
            }
            if !stopped {
                wait_until("it runs", || runs.load(SeqCst) == 1);
            }
            assert_eq!(runs.load(SeqCst), usize::from(!stopped));
            assert!(!func.stop());
        }
        wait_until("nobody is left", || runtime.live() == 0);
        runtime.run(|| {
            // At once if it has ended, and never if it cannot.
            let (sender, receiver) = channel::unbounded();
            let (ctx, _) = Context::background().with_timeout(Duration::ZERO);
            ctx.after_func(move || sender.send(7).unwrap());
            assert_eq!(receiver.recv(), Ok(7));
            let never = Context::background().after_func(|| unreachable!());
            assert!(never.stop() && !never.stop());
        });
    });
}

#[test]
fn a_large_tree_ends_in_linear_time() {
    // A line of 100,000, and 100,000 children of one: each ends, by a loop, and they go as easily.
    let (root, end) = Context::background().with_cancel();
    let mut line = vec![root.clone()];
    for _ in 0..100_000 {
        let child = line.last().unwrap().with_cancel().0;
        line.push(child);
    }
    let wide: Vec<_> = (0..100_000).map(|_| root.with_timeout(LONG).0).collect();
    let start = Instant::now();
    assert!(end.cancel());
    let time = start.elapsed();
    assert!(line.iter().chain(&wide).all(|ctx| ctx.err() == CANCELLED));
    eprintln!("{time:?} for 200,000");
    assert!(time < Duration::from_secs(5));
    let start = Instant::now();
    line.reverse();
    drop((line, wide, root));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn many_wait_for_one() {
    let runtime = builder(2).build().unwrap();
    let (ctx, end) = Context::background().with_cancel();
    let many = common::many_stacks() / 5;
    let inside = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..many)
        .map(|i| {
            let (ctx, inside) = (ctx.clone(), inside.clone());
            runtime.spawn(move || {
                inside.fetch_add(1, SeqCst);
                if i % 2 == 0 { ctx.done().wait() } else { ctx.bound(gort::park).unwrap_err() }
            })
        })
        .collect();
    wait_until("all run", || inside.load(SeqCst) == many);
    end.cancel();
    for handle in handles {
        assert_eq!(handle.join().unwrap(), ContextError::Cancelled);
    }
}

/// What the random test knows of a context.
struct Plain {
    ctx: Context,
    end: CancelHandle,
    parent: Option<usize>,
    /// The cause, once it has ended.
    cause: Option<u64>,
}

#[test]
fn a_random_tree_agrees_with_a_plain_model() {
    let seed = common::seed();
    for round in 0..100 * factor() {
        let mut random = Random::new(seed.wrapping_add(round));
        let (ctx, end) = Context::background().with_cancel();
        let mut nodes = vec![Some(Plain { ctx, end, parent: None, cause: None })];
        // Those that were dropped pass the end on as long as they have children.
        let mut parents = vec![None];
        for step in 0..300u64 {
            let at = random.below(nodes.len() as u64) as usize;
            match random.below(10) {
                0..5 => {
                    let Some(parent) = &nodes[at] else { continue };
                    let (ctx, end) = match random.below(3) {
                        0 => parent.ctx.with_cancel(),
                        1 => parent.ctx.with_value(step).with_cancel(),
                        _ => parent.ctx.with_timeout(LONG + Duration::from_secs(random.below(100))),
                    };
                    let (parent, cause) = (Some(at), parent.cause);
                    nodes.push(Some(Plain { ctx, end, parent, cause }));
                    parents.push(Some(at));
                }
                5 => {
                    let Some(node) = &nodes[at] else { continue };
                    assert_eq!(node.end.cancel_cause(step.to_string()), node.cause.is_none(), "seed {seed}");
                    for (i, node) in nodes.iter_mut().enumerate() {
                        // Whether `at` is on the way out from it.
                        let mut out = Some(i);
                        while let Some(here) = out.filter(|&here| here != at) {
                            out = parents[here];
                        }
                        if let Some(below) = node.as_mut().filter(|_| out.is_some()) {
                            below.cause.get_or_insert(step);
                        }
                    }
                }
                6 | 7 if at != 0 => nodes[at] = None,
                _ => {}
            }
            for node in nodes.iter().flatten() {
                let expected = node.cause.map_or_else(String::new, |cause| cause.to_string());
                assert_eq!(text(node.ctx.cause()), expected, "seed {seed}, round {round}, step {step}");
                assert_eq!(node.ctx.err().is_some(), node.cause.is_some());
                assert!(node.parent.is_none_or(|parent| parent < nodes.len()));
            }
        }
    }
}

#[test]
fn a_random_crowd_ends() {
    // Coroutines and threads in bounds, cancelled at random: each ends, messages are received once.
    let seed = common::seed();
    with_each_procs(|runtime| {
        for round in 0..20 * factor() {
            let mut random = Random::new(seed.wrapping_add(round));
            let (root, end) = Context::background().with_timeout(LONG);
            let (sender, receiver) = channel::bounded::<u64>(random.below(3) as usize);
            let (sent, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (mut handles, mut threads) = (Vec::new(), Vec::new());
            for i in 0..12 {
                let (ctx, own) = root.with_timeout(Duration::from_micros(500 + random.below(5000)));
                let (sender, receiver) = (sender.clone(), receiver.clone());
                let (sent, received) = (sent.clone(), received.clone());
                let f = move || {
                    let _own = own;
                    ctx.bound(|| {
                        loop {
                            if i % 2 == 0 {
                                if timeout(Duration::from_micros(100), || sender.send(i)).is_ok_and(|sent| sent.is_ok())
                                {
                                    sent.fetch_add(1, SeqCst);
                                }
                            } else if select! {
                                recv(receiver) -> message => message.is_ok(),
                                default(Duration::from_micros(70)) => false,
                            } {
                                received.fetch_add(1, SeqCst);
                            }
                            gort::yield_now();
                        }
                    })
                };
                if i % 6 == 5 {
                    threads.push(std::thread::spawn(move || f().map(|never: ()| never).is_err()));
                } else {
                    handles.push(runtime.spawn(move || f().map(|never: ()| never).is_err()));
                }
            }
            sleep(Duration::from_micros(random.below(4000)));
            if random.below(2) == 0 {
                end.cancel();
            }
            assert!(handles.into_iter().all(|handle| handle.join().unwrap()));
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
            drop(sender);
            let left = receiver.iter().count();
            assert_eq!(sent.load(SeqCst), received.load(SeqCst) + left);
        }
    });
}

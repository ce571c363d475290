//! The same contract over the corosensei crate, for CPUs without a file in `asm/`.
//!
//! corosensei is asymmetric: a coroutine is resumed, and suspends to whoever resumed it. So every
//! thread's own stack, its root, runs a loop ([`run`]) while coroutines run on that thread. A
//! coroutine that switches leaves an [`Order`] with the root and suspends; the loop resumes what
//! the order names. When it names the root's own context, the loop is left.
//!
//! ```text
//!    root:  switch(root, A) ─ loop: resume A ........ resume B ........ returns from switch
//!    A:                              └ switch(A, B) ┘       │
//!    B:                                                     └ switch(B, root) ┘
//! ```
//!
//! What runs is a [`Flow`], on the heap: the corosensei coroutine and the root that it runs under
//! now. A [`Context`] owns a flow only while the flow is suspended in it, so that the running flow
//! may be saved in any context, whichever it was made in. Which flow is running is a thread-local
//! of the thread pointer in force, set by the loop right before it resumes: a flow finds itself
//! under whatever thread pointer it was given, on whatever thread.
//!
//! A flow that dies suspends like any other. Its order names it as dead, and the loop resets its
//! coroutine before it resumes anybody, so nothing looks at the stack afterwards.
//!
//! Thread pointers are installed by the loop, in a function of assembly that is never inlined; the
//! functions of this file that use thread-locals are never inlined either, so no address of one is
//! kept over a change. Differences from our own switch: two stack switches and a few calls instead
//! of one, the floating-point control words are not kept, and a backtrace goes on into the root.

use super::{Entry, word};
use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, Yielder};
use std::cell::Cell;
use std::ptr;

/// Where a suspended flow of control will go on. Its address stays the same while the flow is
/// suspended.
#[derive(Debug)]
pub(crate) struct Context {
    /// The flow suspended here, owned. Null: none, or a root's.
    flow: *mut Flow,
}

// SAFETY: the flow is reached only by the unsafe functions of this module, whose callers promise
// that nobody else uses the context; a suspended coroutine is tied to no thread.
unsafe impl Send for Context {}
// SAFETY: a shared reference to a Context gives access to nothing.
unsafe impl Sync for Context {}

impl Context {
    /// A context that is nowhere yet: to be given to [`init`], or left by [`switch()`].
    pub(crate) const fn empty() -> Self {
        Context { flow: ptr::null_mut() }
    }

    /// The lowest byte in use of the stack of the flow suspended here: this back end cannot tell, so
    /// null.
    pub(crate) fn sp(&self) -> *mut u8 {
        ptr::null_mut()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.flow.is_null() {
            // SAFETY: the context owns the flow suspended in it; as with our own switch, its
            // stack is forgotten, not unwound.
            unsafe { Flow::bury(self.flow) };
        }
    }
}

/// The memory of a stack, which is somebody else's.
struct Borrowed {
    base: StackPointer,
    limit: StackPointer,
}

// SAFETY: by the contract of `init` the memory between the two is writable and big enough; guard
// pages are the business of whoever made the stack.
unsafe impl Stack for Borrowed {
    fn base(&self) -> StackPointer {
        self.base
    }
    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// A flow of control with a stack of its own.
struct Flow {
    coroutine: Coroutine<(), (), (), Borrowed>,
    /// What the coroutine suspends with; null until it first runs.
    yielder: *const Yielder<(), ()>,
    /// The orders of the loop that resumed it last.
    root: *const Root,
}

impl Flow {
    /// # Safety
    /// As for [`init`].
    unsafe fn new(top: *mut u8, limit: *mut u8, entry: Entry) -> *mut Flow {
        let aligned = limit.addr().next_multiple_of(corosensei::stack::STACK_ALIGNMENT);
        debug_assert!(top.addr().saturating_sub(aligned) >= corosensei::stack::MIN_STACK_SIZE, "a stack has room");
        let stack = Borrowed {
            base: StackPointer::new(top.addr()).expect("a stack is not at address 0"),
            limit: StackPointer::new(aligned).expect("a stack is not at address 0"),
        };
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            let flow = current_flow();
            // SAFETY: the loop has just made this flow the current one, and a running flow is
            // used by nobody else. `entry` may be called here: that is `init`'s contract.
            unsafe {
                (*flow).yielder = yielder;
                entry()
            }
        });
        Box::into_raw(Box::new(Flow { coroutine, yielder: ptr::null(), root: ptr::null() }))
    }

    /// Ends a flow without running or unwinding it.
    ///
    /// # Safety
    /// `flow` came from [`Flow::new`], is suspended or was never started, and is given up.
    unsafe fn bury(flow: *mut Flow) {
        // SAFETY: by contract the flow is ours and does not run. Resetting leaves what is on its
        // stack undropped, which our callers promise to be harmless.
        unsafe {
            let mut flow = Box::from_raw(flow);
            flow.coroutine.force_reset();
        }
    }
}

/// What a flow asks of the root when it suspends.
#[derive(Clone, Copy)]
enum Order {
    /// Go on in a context, under a thread pointer.
    GoOn { to: *const Context, tls: usize },
    /// Bury the flow that asks, then go on.
    Replace { to: *const Context, tls: usize },
    /// Bury the flow that asks, then run a new one on the same stack.
    Restart { top: *mut u8, limit: *mut u8, entry: Entry, tls: usize },
}

/// The loop of one thread, on its own stack.
struct Root {
    order: Cell<Order>,
}

thread_local! {
    /// The running flow; null on a thread's own stack.
    static CURRENT: Cell<*mut Flow> = const { Cell::new(ptr::null_mut()) };
}

#[inline(never)]
fn current_flow() -> *mut Flow {
    CURRENT.get()
}

#[inline(never)]
fn set_current_flow(flow: *mut Flow) {
    CURRENT.set(flow);
}

/// Makes `ctx` start at `entry` on the stack whose exclusive, 16-aligned upper end is `top` and
/// whose lowest usable address is `limit`. `entry` finds what it needs by `current_m`.
///
/// # Safety
/// - `ctx` is valid for writes and no flow is suspended in it;
/// - the memory from `limit` to `top` is writable, unused, and stays so until the flow has ended;
/// - `entry` does not unwind.
pub(crate) unsafe fn init(ctx: *mut Context, top: *mut u8, limit: *mut u8, entry: Entry) {
    // SAFETY: the stack is as `Flow::new` wants it; `ctx` is valid and owns no flow.
    unsafe { (*ctx).flow = Flow::new(top, limit, entry) };
}

/// Saves the running flow in `from` and goes on in `to`, under the thread pointer `tls` (0: the
/// one in force). Returns when somebody switches to `from`, perhaps on another OS thread.
///
/// # Safety
/// - `from` is valid and belongs to the running flow; `to` holds a suspended flow that nobody else
///   resumes, on a stack that is still there, or is the root of this thread;
/// - `from` is read by nobody until this has left the stack: publish it from the other side;
/// - `tls` is 0 or the thread pointer of a live thread that nobody else runs under, and
///   [`can_set_thread_pointer`](super::can_set_thread_pointer) is true;
/// - everything that the running flow holds may be resumed where it will be.
#[inline(never)]
pub(crate) unsafe fn switch(from: *mut Context, to: *const Context, tls: usize) {
    let flow = current_flow();
    // SAFETY: `from`, `to` and `tls` are as the caller promised; a non-null current flow is the
    // one that runs this.
    unsafe {
        if flow.is_null() {
            run(from, to, tls);
        } else {
            (*from).flow = flow;
            suspend(flow, Order::GoOn { to, tls });
        }
    }
}

/// Abandons the running flow and goes on in `to` under `tls`. Nothing on the stack being left is
/// touched once `to` runs.
///
/// # Safety
/// As for [`switch()`]; and nothing on the running stack needs to be dropped, and it is not a
/// thread's own. `from` dies: it must be given to [`init`] before it is used again.
#[inline(never)]
pub(crate) unsafe fn switch_away(from: *mut Context, to: *const Context, tls: usize) -> ! {
    let _ = from;
    // SAFETY: the running flow is not a root (contract), so it is the current one.
    unsafe { suspend(current_flow(), Order::Replace { to, tls }) };
    unreachable!("a dead flow was resumed");
}

/// Abandons every frame of the running stack and starts `entry` afresh at its top, under `tls`.
///
/// # Safety
/// As for [`init`] and [`switch_away`]: the running flow runs on the stack from `limit` to `top`,
/// and nothing on that stack needs to be dropped.
#[inline(never)]
pub(crate) unsafe fn restart(ctx: *mut Context, top: *mut u8, limit: *mut u8, entry: Entry, tls: usize) -> ! {
    let _ = ctx;
    // SAFETY: as in `switch_away`.
    unsafe { suspend(current_flow(), Order::Restart { top, limit, entry, tls }) };
    unreachable!("a dead flow was resumed");
}

/// Leaves `order` with the root that `flow` runs under, and goes there.
///
/// # Safety
/// `flow` is the running flow.
unsafe fn suspend(flow: *mut Flow, order: Order) {
    // SAFETY: `run` set `root` before it resumed the flow, and waits on its own stack, where that
    // root lies, until the flow suspends; the flow set `yielder` when it first ran.
    unsafe {
        (*(*flow).root).order.set(order);
        (*(*flow).yielder).suspend(());
    }
}

/// The loop: resumes flows, from `to` on, until one of them switches to `own`.
///
/// # Safety
/// As for [`switch()`]; this is a thread's own stack and `own` its context.
#[inline(never)]
unsafe fn run(own: *mut Context, to: *const Context, tls: usize) {
    let root = Root { order: Cell::new(Order::GoOn { to, tls }) };
    // The flow that asked for the order at hand.
    let mut asker: *mut Flow = ptr::null_mut();
    loop {
        // SAFETY: orders carry what the callers of the public functions promised:
        // - `tls` may be installed; this function keeps no address of a thread-local;
        // - a context other than `own` owns a suspended flow, which it gives up to the loop here;
        // - an asker that is to be buried does not run: it has just suspended.
        unsafe {
            let next = match root.order.get() {
                Order::GoOn { to, tls } => {
                    put_on(tls);
                    take(own, to)
                }
                Order::Replace { to, tls } => {
                    Flow::bury(asker);
                    put_on(tls);
                    take(own, to)
                }
                Order::Restart { top, limit, entry, tls } => {
                    Flow::bury(asker);
                    put_on(tls);
                    Flow::new(top, limit, entry)
                }
            };
            set_current_flow(next);
            if next.is_null() {
                return;
            }
            (*next).root = &root;
            // A reference to the coroutine alone: the flow writes to its other fields.
            let coroutine = &mut (*next).coroutine;
            coroutine.resume(());
            asker = next;
        }
    }
}

/// Takes the suspended flow out of `to`; null if `to` is the root's own context.
///
/// # Safety
/// `to` is valid and nobody else's.
unsafe fn take(own: *mut Context, to: *const Context) -> *mut Flow {
    if ptr::eq(own, to) {
        return ptr::null_mut();
    }
    // SAFETY: by contract `to` is ours to resume, so also to write to; contexts are always
    // reached by pointers that may write.
    let flow = unsafe { ptr::replace(&raw mut (*to.cast_mut()).flow, ptr::null_mut()) };
    assert!(!flow.is_null(), "switch to a context in which nothing is suspended");
    flow
}

/// # Safety
/// As for `set_thread_pointer`, unless `tls` is 0.
unsafe fn put_on(tls: usize) {
    if tls != 0 {
        // SAFETY: the caller's promise.
        unsafe { word::set_thread_pointer(tls) };
    }
}

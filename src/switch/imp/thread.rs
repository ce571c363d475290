//! A stand-in for Miri and for models: every flow of control is an OS thread, and a switch passes
//! the right to run from one to another.
//!
//! A [`Baton`] is what a flow waits for. Whoever switches to the flow puts a [`Pass`] into its
//! baton: the value of the current-M word, which is per thread and so has to be carried over, and
//! the dead thread that is to be joined, if the switch was somebody's last. At any time one of the
//! flows that pass the right among each other runs, so the code above sees the same order of
//! events as with a real switch.
//!
//! The thread of a flow is started when the flow first goes on. It ends by unwinding from
//! `switch_away` to the thread's base (a private payload, no panic message); therefore an
//! [`Entry`] lets unwinding through, and whatever catches panics between the two must not hold on
//! to this one. Whoever goes on next joins the thread, so none is left when all flows have ended.
//! A flow that is dropped while suspended is ended in the same way.
//!
//! The memory of the stack that a flow is given is not used, nor is the thread pointer.

use super::{Entry, word};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Where a suspended flow of control will go on. Its address stays the same while the flow is
/// suspended.
#[derive(Debug)]
pub(crate) struct Context {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is suspended here.
    Empty,
    /// Has not run yet.
    Fresh(Entry),
    /// The flow waits for its baton.
    Suspended(Arc<Baton>),
}

/// What a suspended flow waits for.
#[derive(Debug, Default)]
struct Baton {
    pass: Mutex<Option<Pass>>,
    passed: Condvar,
    /// The flow's thread, unless it is one that we did not start.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The right to run, and what goes with it.
#[derive(Debug)]
struct Pass {
    m: Word,
    /// A thread that is about to end and has passed the right on.
    corpse: Option<JoinHandle<()>>,
    /// The receiver is not to go on but to end: its context was dropped.
    end: bool,
}

/// The current-M word on its way from thread to thread.
#[derive(Debug)]
struct Word(*mut u8);

// SAFETY: carried, never followed.
unsafe impl Send for Word {}

/// What the thread of a dead flow unwinds with.
struct Ended;

thread_local! {
    /// The baton of the flow that is this thread.
    static OWN: RefCell<Option<Arc<Baton>>> = const { RefCell::new(None) };
}

fn own_baton() -> Arc<Baton> {
    OWN.with(|own| own.borrow_mut().get_or_insert_default().clone())
}

impl Baton {
    fn give(&self, pass: Pass) {
        let previous = self.pass.lock().unwrap_or_else(PoisonError::into_inner).replace(pass);
        assert!(previous.is_none(), "two switches to one flow");
        self.passed.notify_one();
    }

    /// Waits for the right to run.
    fn wait(&self) {
        let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = loop {
            match pass.take() {
                Some(pass) => break pass,
                None => pass = self.passed.wait(pass).unwrap_or_else(PoisonError::into_inner),
            }
        };
        pass.receive();
    }
}

impl Pass {
    /// What the thread that now has the right to run does first.
    fn receive(self) {
        if let Some(corpse) = self.corpse {
            corpse.join().expect("the base of a flow catches everything");
        }
        if self.end {
            resume_unwind(Box::new(Ended));
        }
        word::set_current_m(self.m.0);
    }
}

impl Context {
    /// A context that is nowhere yet: to be given to [`init`], or left by [`switch()`].
    pub(crate) const fn empty() -> Self {
        Context { state: State::Empty }
    }

    /// The lowest byte in use of the stack of the flow suspended here: there is none, so null.
    pub(crate) fn sp(&self) -> *mut u8 {
        ptr::null_mut()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let State::Suspended(baton) = std::mem::replace(&mut self.state, State::Empty) {
            let thread = baton.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A thread that we did not start goes on by itself, elsewhere.
            if let Some(thread) = thread {
                baton.give(Pass { m: Word(ptr::null_mut()), corpse: None, end: true });
                thread.join().expect("the base of a flow catches everything");
            }
        }
    }
}

/// Passes the right to run to what is suspended in `to`. No reference to the context is kept: the
/// receiver may use it at once.
///
/// # Safety
/// `to` is valid and the caller's to resume.
unsafe fn go_on(to: *const Context, corpse: Option<JoinHandle<()>>) {
    // SAFETY: by contract; contexts are always reached by pointers that may write.
    let state = unsafe { ptr::replace(&raw mut (*to.cast_mut()).state, State::Empty) };
    let pass = Pass { m: Word(word::current_m()), corpse, end: false };
    match state {
        State::Empty => panic!("switch to a context in which nothing is suspended"),
        State::Fresh(entry) => start(entry, pass),
        State::Suspended(baton) => baton.give(pass),
    }
}

/// Starts the thread of a new flow, which has the right to run.
fn start(entry: Entry, pass: Pass) {
    let baton = Arc::new(Baton::default());
    let own = baton.clone();
    // Held until the handle is in its place, so that the flow cannot look for it before.
    let mut handle = baton.thread.lock().unwrap_or_else(PoisonError::into_inner);
    *handle = Some(std::thread::spawn(move || {
        OWN.set(Some(own));
        let outcome = catch_unwind(AssertUnwindSafe(move || {
            pass.receive();
            // SAFETY: by the contract of `init` it may be called once the flow goes on.
            unsafe { entry() }
        }));
        match outcome {
            Err(payload) if payload.is::<Ended>() => {}
            _ => {
                eprintln!("a panic left the entry of a coroutine");
                std::process::abort();
            }
        }
    }));
}

/// Makes `ctx` start at `entry`. `entry` finds what it needs by `current_m`. The memory of the
/// stack is not used.
///
/// # Safety
/// - `ctx` is valid for writes and no flow is suspended in it;
/// - `entry` unwinds only with what `switch_away`, `restart` and, in a flow whose context is
///   dropped, `switch` unwind with.
pub(crate) unsafe fn init(ctx: *mut Context, top: *mut u8, limit: *mut u8, entry: Entry) {
    let _ = (top, limit);
    // SAFETY: `ctx` is valid for writes and holds nothing that needs dropping.
    unsafe { ctx.write(Context { state: State::Fresh(entry) }) };
}

/// Saves the running flow in `from` and goes on in `to`. Returns when somebody switches to
/// `from`. `tls` is not used.
///
/// # Safety
/// - `from` is valid and belongs to the running flow; `to` holds a suspended flow that nobody else
///   resumes;
/// - `from` is read by nobody until `to` goes on: publish it from there.
pub(crate) unsafe fn switch(from: *mut Context, to: *const Context, tls: usize) {
    let _ = tls;
    let own = own_baton();
    // SAFETY: both contexts are valid and, until the right to run is passed on, ours alone.
    // `from` is written first, since `to` may resume it before `go_on` returns.
    unsafe {
        (*from).state = State::Suspended(own.clone());
        go_on(to, None);
    }
    own.wait();
}

/// Abandons the running flow and goes on in `to`. Its thread ends.
///
/// # Safety
/// As for [`switch()`]; nothing on the running stack minds being unwound, and it is not a thread's
/// own. `from` dies: it must be given to [`init`] before it is used again.
pub(crate) unsafe fn switch_away(from: *mut Context, to: *const Context, tls: usize) -> ! {
    let _ = (from, tls);
    let corpse = own_baton().thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    // SAFETY: `to` is valid and ours to resume.
    unsafe { go_on(to, corpse) };
    resume_unwind(Box::new(Ended));
}

/// Abandons the running flow and starts `entry` as a new one, on a new thread.
///
/// # Safety
/// As for [`init`] and [`switch_away`].
pub(crate) unsafe fn restart(ctx: *mut Context, top: *mut u8, limit: *mut u8, entry: Entry, tls: usize) -> ! {
    let _ = (ctx, top, limit, tls);
    let corpse = own_baton().thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    start(entry, Pass { m: Word(word::current_m()), corpse, end: false });
    resume_unwind(Box::new(Ended));
}

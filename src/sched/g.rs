//! A coroutine: its record, and the memory of the records.
//!
//! A fresh G is this record and nothing else; its closure lies in `payload` (boxed if it is
//! large). When it first runs it gets a stack and a home. When it ends, its result takes the
//! closure's place and waits for the [`JoinHandle`](crate::JoinHandle).
//!
//! | status | stack | home | found in | moved on by |
//! |---|---|---|---|---|
//! | fresh | none | none (`spawn_local`: the spawner's) | one run queue | the M that takes it out |
//! | running | its own, in use | worn | `m.current` | itself |
//! | parked | its own, saved in `context` | maybe worn by another | where it waits (a channel, a timer, a descriptor) | whoever claims its wait |
//! | ready | as parked | as parked | one run queue, or its home's list | the M that takes it out |
//! | complete | none | none | its handles | the last handle |
//!
//! Between parked and ready stands the wait word; between ready and running the home word. No
//! other transition is shared, so no status word is needed.
//!
//! Records are made in chunks and recycled, never unmapped while their runtime lives, and never
//! used for anything else: that is what lets a stale [`Ticket`](super::wait_word::Ticket) be
//! harmless without a reference count (the chunks of ended runtimes are kept for later ones).

use super::home::Home;
use super::home_word::Linked;
use super::local::{self, Locals};
use super::runtime::Shared;
use super::wait::Waiter;
use super::wait_word::WaitWord;
use crate::stack::{Class, Stack, limits};
use crate::switch::Context;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::{MaybeUninit, align_of, size_of};
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Of a stack, from where it was left: the frames of a wait for a descriptor.
const WARM_BYTES: usize = 256;

/// The coroutine has ended and its outcome is in `payload`.
pub(crate) const COMPLETE: u64 = 1;
/// A `JoinHandle` exists; it owns the result.
pub(crate) const HANDLE: u64 = 2;
/// Somebody waits in `join`; `joiner` is set.
pub(crate) const JOINING: u64 = 4;
/// It ended by a panic; the payload is the panic's.
pub(crate) const PANICKED: u64 = 8;
/// It was cancelled; there is no payload.
pub(crate) const CANCELLED: u64 = 16;
/// Somebody watches for the end; see `watchers.rs`.
pub(crate) const WATCHED: u64 = 32;
/// One reference to the record: the run itself, the `JoinHandle`, each `Coroutine` handle.
pub(crate) const REF: u64 = 256;

/// In `asked`: somebody asked for the end.
pub(crate) const CANCEL: u8 = 1;
/// In `asked`: it runs within a bound; see `bound.rs`.
pub(crate) const BOUND: u8 = 2;
/// In `asked`: there are frames (`bound.rs`), and the payload's first word points to them.
pub(crate) const FRAMES: u8 = 4;
/// In `asked`: it has coroutine-local values (`local.rs`), and the payload's second word points to them.
pub(crate) const LOCALS: u8 = 8;
/// In `asked`: it has not run, and its [`Extra`] has values that it inherits.
pub(crate) const INHERITS: u8 = 16;
/// In `asked`: it has begun a wait, and runs users' code that must not wait (`wait::before_park`).
pub(crate) const BEGUN: u8 = 32;

/// Words of closure or result that fit in the record.
const PAYLOAD_WORDS: usize = 6;

/// What the erased type is asked to do.
#[derive(Clone, Copy)]
pub(crate) enum Op {
    /// Run the closure to its end and leave the outcome in its place.
    Run,
    /// Drop the closure, which never ran.
    DropClosure,
    /// Drop the result.
    DropResult,
}

/// What a coroutine may claim of its home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum HomeClaim {
    /// Nothing: it shares.
    Share,
    /// It is fresh and asked for a home to itself.
    Alone,
    /// It is fresh and there was no home for it; it shares, and its wait is to be ended.
    Homeless,
}

/// A coroutine. Touched by whoever owns it according to the table above, but for the atomics.
///
/// What a park and a ready touch comes first, in 64 bytes: with thousands of coroutines each cache line
/// is a miss, and one that two coroutines share goes from CPU to CPU with either.
#[repr(C, align(16))]
pub(crate) struct G {
    /// Must be first: a [`Waiter`] points to it.
    pub(crate) word: WaitWord,
    next: Cell<*mut G>,
    pub(crate) context: UnsafeCell<Context>,
    pub(crate) home: Cell<*const Home>,
    pub(crate) runtime: RuntimePtr,
    /// What a wait has to look at: `CANCEL` and the like. Others set `CANCEL`; the rest is the coroutine's own.
    pub(crate) asked: AtomicU8,
    /// What it waits for, a `WaitReason`; for reports.
    pub(crate) reason: AtomicU8,
    pub(crate) class: Cell<Class>,
    /// What it may claim of its home.
    pub(crate) claim: Cell<HomeClaim>,
    /// Ready to be listed by a report: between spawn and completion.
    pub(crate) alive: AtomicBool,
    /// The wait in force was begun while panicking: neither cancelled nor joined by others of
    /// the home. Written by the coroutine before it arms its word.
    pub(crate) panicking: AtomicBool,
    /// Depth of `shield`. Written by the coroutine before it arms its word.
    pub(crate) shield: AtomicU16,
    /// Flags and references, see the constants.
    pub(crate) state: AtomicU64,
    pub(crate) stack: Cell<Option<Stack>>,
    /// Valid while `JOINING` is set.
    pub(crate) joiner: Cell<MaybeUninit<Waiter>>,
    pub(crate) id: Cell<u64>,
    extra: Cell<Option<Box<Extra>>>,
    pub(crate) site: Cell<&'static Location<'static>>,
    run: Cell<unsafe fn(*mut G, Op)>,
    /// The token of `park` and `unpark`.
    pub(crate) token: AtomicU64,
    /// When it began to wait for a home; 0 if it does not.
    pub(crate) homeless_since: AtomicU64,
    payload: UnsafeCell<Payload>,
}

/// A label: its key and its value.
pub(crate) type Label = (Box<str>, Box<str>);

/// What few coroutines have, so that all others pay one word for it. It is written before the G is shared and dropped with the
/// last reference, but for what only the coroutine itself looks at.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) name: Option<Box<str>>,
    /// Shared by those who inherit them.
    pub(crate) labels: Option<Arc<[Label]>>,
    /// What the spawner has cloned for it. The coroutine takes them before anything else.
    pub(crate) inherited: Cell<Option<Box<Locals>>>,
}

impl Extra {
    /// That of a coroutine with a name and nothing else.
    pub(crate) fn named(name: &str) -> Option<Box<Extra>> {
        Some(Box::new(Extra { name: Some(name.into()), ..Extra::default() }))
    }

    /// None if there is nothing in it.
    pub(crate) fn boxed(mut self) -> Option<Box<Extra>> {
        let empty = self.name.is_none() && self.labels.is_none() && self.inherited.get_mut().is_none();
        (!empty).then(|| Box::new(self))
    }
}

/// Which runtime a coroutine belongs to. An atomic because `for_each_alive` looks at records that may
/// become another's at that moment; what it sees is then checked again.
pub(crate) struct RuntimePtr(AtomicPtr<Shared>);

impl RuntimePtr {
    #[inline(always)]
    pub(crate) fn get(&self) -> *const Shared {
        // Relaxed: whoever owns the G has it from whoever wrote this; others check again.
        self.0.load(Ordering::Relaxed)
    }

    /// Called by whoever spawns the coroutine.
    #[inline(always)]
    pub(crate) fn set(&self, runtime: *const Shared) {
        // Relaxed: published with the record.
        self.0.store(runtime.cast_mut(), Ordering::Relaxed);
    }
}

/// Room for a closure or a result.
#[repr(C, align(16))]
struct Payload([MaybeUninit<u64>; PAYLOAD_WORDS]);

#[cfg(all(gort_context = "asm", target_arch = "x86_64"))]
const _: () = {
    assert!(size_of::<G>() <= 176, "a million fresh coroutines must stay under 200 bytes each");
    assert!(std::mem::offset_of!(G, joiner) == 64, "what a park and a ready touch is together");
};

// SAFETY: a G is moved between threads by handing over its ownership as the module says; the
// closure and result inside are `Send`, or the G never leaves its home (`spawn_local`).
unsafe impl Send for G {}
// SAFETY: shared access from other threads is limited to the atomic fields and to what the
// table of the module gives to one owner at a time.
unsafe impl Sync for G {}

impl Linked for G {
    fn next(&self) -> *mut G {
        self.next.get()
    }
    fn set_next(&self, next: *mut G) {
        self.next.set(next);
    }
    fn begin_wait(&self) {
        // SAFETY: a runtime outlives its coroutines.
        unsafe { &*self.runtime.get() }.homes.waits.begin(self);
    }
    fn end_wait(&self) {
        // SAFETY: as above.
        unsafe { &*self.runtime.get() }.homes.waits.end(self);
    }
}

/// A pointer to a G on its way through a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GRef(NonNull<G>);

// SAFETY: whoever holds the pointer out of a queue owns the G (see the table above).
unsafe impl Send for GRef {}

// What a panic leaves half done in a record is the runtime's business, and it has none.
impl std::panic::UnwindSafe for GRef {}
impl std::panic::RefUnwindSafe for GRef {}

impl GRef {
    /// # Safety
    /// `g` points to a record.
    #[inline(always)]
    pub(crate) unsafe fn new(g: *mut G) -> GRef {
        // SAFETY: the caller's promise; records are never null.
        GRef(unsafe { NonNull::new_unchecked(g) })
    }

    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut G {
        self.0.as_ptr()
    }
}

impl std::ops::Deref for GRef {
    type Target = G;
    #[inline(always)]
    fn deref(&self) -> &G {
        // SAFETY: records live as long as the process (their chunks are recycled, not freed).
        unsafe { self.0.as_ref() }
    }
}

/// Whether a value lies in the record itself.
const fn fits<T>() -> bool {
    size_of::<T>() <= size_of::<[u64; PAYLOAD_WORDS]>() && align_of::<T>() <= align_of::<G>()
}

impl G {
    /// # Safety
    /// The payload is the caller's to write and holds no value.
    unsafe fn write<T>(&self, value: T) {
        let slot = self.payload.get().cast::<T>();
        // SAFETY: `fits` checked size and alignment (the payload is 16-aligned, below); the
        // slot is ours and empty.
        unsafe {
            if fits::<T>() {
                slot.write(value);
            } else {
                slot.cast::<Box<T>>().write(Box::new(value));
            }
        }
    }

    /// # Safety
    /// The payload holds a `T` written by [`Self::write`], which the caller takes.
    unsafe fn read<T>(&self) -> T {
        let slot = self.payload.get().cast::<T>();
        // SAFETY: as the caller says.
        unsafe { if fits::<T>() { slot.read() } else { *slot.cast::<Box<T>>().read() } }
    }

    /// Prepares a record for `f`.
    ///
    /// # Safety
    /// The record is the caller's, out of the pool. `f` and its result may be used until the
    /// coroutine has completed and its handle has gone, whatever their lifetimes say.
    pub(crate) unsafe fn fill<F, T>(&self, f: F)
    where
        F: FnOnce() -> T,
    {
        self.run.set(operate::<F, T>);
        // SAFETY: the record is ours and empty.
        unsafe { self.write(f) };
    }

    /// Words that the coroutine may use while it runs: its closure has been taken out of the payload,
    /// and the result is not there yet. The first is that of `bound.rs`, the second that of `local.rs`.
    #[inline(always)]
    pub(crate) fn scratch(&self) -> *mut *const () {
        self.payload.get().cast()
    }

    /// Runs an operation of the erased type.
    ///
    /// # Safety
    /// The payload holds what the operation expects.
    pub(crate) unsafe fn operate(&self, op: Op) {
        // SAFETY: the caller's promise; `run` was set together with the payload.
        unsafe { (self.run.get())(ptr::from_ref(self).cast_mut(), op) }
    }

    /// Takes the outcome of a completed coroutine.
    ///
    /// # Safety
    /// `T` is its type, it is complete, and nobody took the outcome before.
    pub(crate) unsafe fn take_outcome<T>(&self, state: u64) -> Result<T, Outcome> {
        if state & CANCELLED != 0 {
            Err(Outcome::Cancelled)
        } else if state & PANICKED != 0 {
            // SAFETY: PANICKED says that the payload is a panic's.
            Err(Outcome::Panicked(unsafe { self.read() }))
        } else {
            // SAFETY: the caller's promise.
            Ok(unsafe { self.read() })
        }
    }

    /// Drops the outcome that nobody will take.
    ///
    /// # Safety
    /// As [`Self::take_outcome`].
    pub(crate) unsafe fn drop_outcome(&self, state: u64) {
        if state & (CANCELLED | PANICKED) == 0 {
            // SAFETY: the payload holds a result.
            unsafe { self.operate(Op::DropResult) };
        } else if state & PANICKED != 0 {
            // SAFETY: PANICKED says that the payload is a panic's.
            drop(unsafe { self.read::<Box<dyn Any + Send>>() });
        }
    }

    /// Whether it has not run yet, so that it has no stack. For the G's owner.
    pub(crate) fn is_fresh(&self) -> bool {
        // SAFETY: read by the G's owner only; the reference does not outlive the statement.
        unsafe { (*self.stack.as_ptr()).is_none() }
    }

    /// Brings what the switch to a parked coroutine touches first into the cache: it will run
    /// soon, and before that there is still enough to do for the loads to finish.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        self.prefetch_stack(64);
        crate::shim::prefetch(self.home.get().cast());
    }

    /// [`Self::prefetch`], and what it comes to soon after.
    #[inline(always)]
    pub(crate) fn prefetch_all(&self) {
        self.prefetch_stack(WARM_BYTES);
        // SAFETY: null, or a home, which lives until no coroutine lives in it.
        if let Some(home) = unsafe { self.home.get().as_ref() } {
            home.prefetch();
        }
    }

    #[inline(always)]
    fn prefetch_stack(&self, above: usize) {
        // SAFETY: read by the G's owner; a G that was claimed does not run before it is readied,
        // but it may still be leaving its stack: then the pointer is old, and the prefetch, which
        // cannot fault, is wasted.
        let stack = unsafe { (*self.context.get()).sp() };
        crate::shim::prefetch(stack.wrapping_sub(64));
        (0..=above).step_by(64).for_each(|offset| crate::shim::prefetch(stack.wrapping_add(offset)));
    }

    /// Called by whoever spawns the coroutine.
    pub(crate) fn set_extra(&self, extra: Box<Extra>) {
        self.extra.set(Some(extra));
    }

    fn extra(&self) -> Option<&Extra> {
        // SAFETY: written before the G is shared and dropped with the last reference.
        unsafe { (*self.extra.as_ptr()).as_deref() }
    }

    /// The name. It does not change while the G is alive, so handles may read it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.extra()?.name.as_deref()
    }

    /// The labels. As for the name.
    pub(crate) fn labels(&self) -> &[Label] {
        self.extra().and_then(|extra| extra.labels.as_deref()).unwrap_or_default()
    }

    /// The labels, to be kept.
    pub(crate) fn share_labels(&self) -> Option<Arc<[Label]>> {
        self.extra()?.labels.clone()
    }

    /// Takes what it has inherited: for the coroutine itself, or who drops it unbegun.
    pub(crate) fn take_inherited(&self) -> Option<Box<Locals>> {
        self.extra()?.inherited.take()
    }

    /// Adds a reference.
    pub(crate) fn retain(&self) {
        // Relaxed: the caller holds a reference already.
        self.state.fetch_add(REF, Ordering::Relaxed);
    }

    /// Adds a reference, if there is one; for those who have none.
    fn try_retain(&self) -> bool {
        // Acquire: pairs with the Release in `spawn_raw` and `Later::new`: what the reference keeps is seen as of now or
        // later, above all that the record's earlier coroutine is not `alive`.
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| (state >= REF).then_some(state + REF))
            .is_ok()
    }

    /// Gives up `bits` (references, and the `HANDLE` flag); the last one frees the record.
    ///
    /// # Safety
    /// The caller owns what it gives up.
    pub(crate) unsafe fn release(&self, bits: u64) {
        // AcqRel: whoever frees sees what the others did with the record.
        let old = self.state.fetch_sub(bits, Ordering::AcqRel);
        debug_assert!(old >= bits);
        if old / REF == bits / REF {
            self.extra.set(None);
            // SAFETY: that was the last reference.
            unsafe { super::gpool::free(GRef::new(ptr::from_ref(self).cast_mut())) };
        }
    }
}

/// How a coroutine ended that has no value.
pub(crate) enum Outcome {
    Cancelled,
    Panicked(Box<dyn Any + Send>),
}

/// The operations of one closure type.
///
/// # Safety
/// `g`'s payload is what `op` expects, and the caller owns it.
unsafe fn operate<F, T>(g: *mut G, op: Op)
where
    F: FnOnce() -> T,
{
    // SAFETY: records outlive every use (module essay).
    let g = unsafe { &*g };
    match op {
        Op::Run => {
            // SAFETY: the payload holds the closure, which is ours to take.
            let f = unsafe { g.read::<F>() };
            let this = GRef(NonNull::from(g));
            // Relaxed: written by the spawner, who published it with the record.
            if g.asked.load(Ordering::Relaxed) & INHERITS != 0 {
                local::inherit(this);
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            // Relaxed: the coroutine's own.
            if g.asked.load(Ordering::Relaxed) & LOCALS != 0 {
                local::end(this);
            }
            // SAFETY: the closure was taken, so the payload is empty.
            unsafe {
                match outcome {
                    Ok(value) => g.write(value),
                    // Relaxed: published by the COMPLETE that follows.
                    Err(payload) if payload.is::<super::cancel::Cancelled>() => {
                        g.state.fetch_or(CANCELLED, Ordering::Relaxed);
                    }
                    Err(payload) => {
                        g.state.fetch_or(PANICKED, Ordering::Relaxed);
                        g.write(payload);
                    }
                }
            }
        }
        Op::DropClosure => {
            let inherited = g.take_inherited();
            // SAFETY: the payload holds the closure.
            drop(unsafe { g.read::<F>() });
            drop(inherited);
        }
        // SAFETY: the payload holds the result.
        Op::DropResult => drop(unsafe { g.read::<T>() }),
    }
}

const _: () = assert!(std::mem::offset_of!(G, payload) % 16 == 0, "payloads may be 16-aligned");

/// Records in one chunk: 64 KiB.
const CHUNK: usize = 64 * 1024 / size_of::<G>();

/// Every chunk ever made, for reports and for cancelling all coroutines of a runtime.
static CHUNKS: Mutex<Vec<Chunk>> = Mutex::new(Vec::new());

struct Chunk(NonNull<G>);
// SAFETY: a chunk is only an address here.
unsafe impl Send for Chunk {}

/// Makes a chunk of records and hands each to `each`.
pub(crate) fn grow(mut each: impl FnMut(GRef)) -> std::io::Result<()> {
    let layout = std::alloc::Layout::array::<G>(CHUNK).expect("64 KiB");
    let out_of_memory = || limits::out_of_memory("another coroutine's record", layout.size());
    let mut chunks = CHUNKS.lock().unwrap_or_else(|e| e.into_inner());
    chunks.try_reserve(1).map_err(|_| out_of_memory())?;
    // SAFETY: the layout is not empty.
    let chunk = NonNull::new(unsafe { std::alloc::alloc(layout) }.cast::<G>()).ok_or_else(out_of_memory)?;
    for i in 0..CHUNK {
        // SAFETY: within the chunk.
        let g = unsafe { chunk.add(i) };
        // SAFETY: as above; the record is written before anybody can see it.
        unsafe {
            g.write(G {
                word: WaitWord::new(),
                next: Cell::new(ptr::null_mut()),
                context: UnsafeCell::new(Context::empty()),
                home: Cell::new(ptr::null()),
                stack: Cell::new(None),
                state: AtomicU64::new(0),
                joiner: Cell::new(MaybeUninit::uninit()),
                id: Cell::new(0),
                extra: Cell::new(None),
                site: Cell::new(Location::caller()),
                runtime: RuntimePtr(AtomicPtr::new(ptr::null_mut())),
                run: Cell::new(never),
                token: AtomicU64::new(0),
                asked: AtomicU8::new(0),
                reason: AtomicU8::new(0),
                class: Cell::new(Class::DEFAULT),
                claim: Cell::new(HomeClaim::Share),
                alive: AtomicBool::new(false),
                panicking: AtomicBool::new(false),
                shield: AtomicU16::new(0),
                homeless_since: AtomicU64::new(0),
                payload: UnsafeCell::new(Payload([MaybeUninit::uninit(); PAYLOAD_WORDS])),
            });
        }
    }
    chunks.push(Chunk(chunk));
    drop(chunks);
    for i in 0..CHUNK {
        // SAFETY: written above.
        each(unsafe { GRef::new(chunk.add(i).as_ptr()) });
    }
    Ok(())
}

unsafe fn never(_: *mut G, _: Op) {
    unreachable!("the record holds no coroutine");
}

/// Calls `each` with every live coroutine of `runtime`. What it may look at while others run
/// are the atomics; `id`, `name` and `site` are steady while the G is alive, which it may cease
/// to be at any time unless the world stands still.
pub(crate) fn for_each_alive(runtime: *const Shared, mut each: impl FnMut(GRef)) {
    let chunks: Vec<NonNull<G>> = CHUNKS.lock().unwrap_or_else(|e| e.into_inner()).iter().map(|c| c.0).collect();
    for chunk in chunks {
        for i in 0..CHUNK {
            // SAFETY: chunks are never freed, and every record was written before its chunk
            // was listed.
            let g = unsafe { GRef::new(chunk.add(i).as_ptr()) };
            // Acquire: pairs with the Release in `equip`, so that the fields are seen.
            let ours = || g.alive.load(Ordering::Acquire) && g.runtime.get() == runtime;
            // Kept while `each` is at it: else the record might end, and serve another, meanwhile.
            if ours() && g.try_retain() {
                if ours() {
                    each(g);
                }
                // SAFETY: the reference just made.
                unsafe { g.release(REF) };
            }
        }
    }
}

//! Homes: why a coroutine may move between threads in safe Rust.
//!
//! # The problem
//!
//! A coroutine that parks on one thread and goes on on another breaks what Rust and C take for
//! granted: that a flow of control stays on its thread. Alive on its stack across the parking
//! call may be a `Rc` whose twin sits in a `thread_local!`, a borrow of a thread-local, a guard
//! of a lock keyed by thread id, an address inside the thread-local block that the compiler
//! keeps in a register, a half-read `errno`, the count of panics in flight. `Send` does not
//! help: the bound is on what goes into the closure, not on what the closure makes.
//!
//! # The idea
//!
//! *A coroutine does not live on a thread; it lives in a home, and the home moves.* A home is
//! the thread-local block of a real thread that does nothing but sleep. An M *wears* a home by
//! putting the block's address into its thread pointer (FS base on x86-64, TPIDR_EL0 on
//! aarch64) together with the switch to a coroutine that lives there. All code above the
//! runtime, Rust or C, finds its thread through the thread pointer and through nothing else in
//! user space. So to that code the home *is* the thread: the same thread-locals, `ThreadId`,
//! `errno` and allocator cache, whichever M runs it.
//!
//! # Why that is sound
//!
//! 1. A coroutine keeps its home for life (`G::home` is written at its first run only), and
//!    runs only under it: every switch installs the target's thread pointer in the same
//!    assembly routine that installs its stack pointer.
//! 2. A home is worn by one M at a time ([`HomeWord`]). So what happens under one home happens
//!    in a single order, each step after the one before, as on a thread.
//! 3. Coroutines of one home take turns, and only at parking calls. To each of them a parking
//!    call is a call of unknown content, in which its own thread may run other code that
//!    touches its thread-locals: exactly what a callback or a local executor's task does. Rust
//!    permits no reference into a thread-local to be invalidated by that; `RefCell` and `Cell`
//!    are built for it.
//! 4. A parking call made by a coroutine returns under the same home. So an address of a
//!    thread-local that the compiler kept across the call is still right. Our own code that
//!    runs *between* two homes keeps no such address: the thread pointer changes only inside
//!    [`switch::switch`](crate::switch::switch), `switch_away` and `restart`, whose callers
//!    continue under the home they left from, or not at all.
//! 5. What the closure takes in and gives out crosses threads in the usual way and is bound by
//!    `Send`; [`spawn_local`](crate::spawn_local) waives it because the new coroutine lives in
//!    the spawner's home.
//! 6. The panic count belongs to the home. A coroutine that parks while it is panicking leaves
//!    its home *shut*: nobody else of that home runs until it has unwound.
//!
//! # What it does not cover
//!
//! What the *kernel* ties to a thread stays with the M: `gettid`, signal masks and directed
//! signals, affinity and priority, priority-inheriting and robust mutexes, a C++ exception in
//! flight across a park, restartable sequences (`sched_getcpu`, allocators with their own
//! per-CPU caches by rseq). Code that needs those stays on its M by [`lock_os_thread`](crate::lock_os_thread).
//!
//! Nor `setuid`, `setgid` and their like, which the C library has all threads do, by a signal: the handler notes in its thread's
//! structure that it has, and who waits for that looks at the M's while the handler has written to the home's (glibc's
//! `nptl_setxid.c`; musl's `synccall.c` compares thread numbers likewise). It waits for ever, on whatever thread it is called, as long
//! as some M wears a home whenever it is asked.
//!
//! # Holding a home is being on its stacks
//!
//! A G may be readied before it has left its stack. No flag says so and none is needed: its
//! home is still worn by the M that is leaving, so whoever takes the G out of a queue finds the
//! home worn and leaves the G in the home's list; the take-off, which the next coroutine does
//! first thing on its own stack, requeues it.
//!
//! # Sharing
//!
//! Up to [`Homes::limit`] homes are made, as coroutines come to live; a program of ten
//! coroutines makes at most ten. Beyond that coroutines share, no home by more than about twice
//! the average, and a few that began one after the other live together (`Homes::share`). Sharers
//! never run in parallel, and one that computes or blocks delays the others of its home.
//!
//! One that is about to begin does not share with who computes or blocks just now: that one's home is worn. If all are,
//! the newcomer waits (`Homes::put_off`). Sysmon, which comes by every millisecond, then suspends those who have been on for
//! so long, and counts the Ms that are suspended or blocked: their homes do not count for the limit, so there is one for the
//! newcomer. Neither do those that are bound to a thread, where nobody comes to share (`os_thread.rs`). So the limit is exceeded
//! at most by the number of threads.
//!
//! Nor does a newcomer share as long as there may be another home. A thousand that each hold one `std::sync::Mutex` across a
//! parking call, for which the others block, all have homes of their own that way: were one to begin in the home of the holder, the only
//! one that is not worn, and block there, none would ever go on.
//!
//! # Fixed homes
//!
//! Where the thread pointer cannot be written (no FSGSBASE, under valgrind, other systems, or
//! `GORT_DEBUG=homes=fixed`) each M has one home, its own, and never takes another. A coroutine
//! then stays on the thread where it first ran, which is sound for the old reason. Such a home is
//! *bound* to its M; one that is worn can be, too, for a while (`os_thread.rs`).
//!
//! Tests: `home_word` has the model; `tests/homes.rs` keeps thread-locals, guards, identities
//! and `errno` across parks under all allocators.
//!
//! Rejected: `unsafe` in `go!`; a TLS block for each coroutine (5 KB each and every allocator's
//! cache multiplied); glibc's private `_dl_allocate_tls` (a sleeping thread gives the same by
//! public means, on any libc).

use super::g::{G, GRef, HomeClaim};
use super::home_waits::Waits;
use super::home_word::{HomeWord, Linked};
use super::m::M;
use super::os_thread::Keepers;
use super::runtime::Shared;
use crate::os;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Homes beyond the limit at most.
const BEYOND_LIMIT: usize = 4096;
/// Threads that are started ahead of the demand at most, for each one that is demanded.
const AHEAD_MOST: usize = 3;
/// So many who begin one after the other come to share a home.
const TOGETHER: u32 = 8;
/// For how long a thread that is coming is waited for without sleeping: about 200 us.
const SLEEPER_YIELDS: u32 = 400;

/// A thread's identity that coroutines live in; see the module's essay. What each switch looks at comes first, in one cache line.
#[repr(C, align(128))]
pub(crate) struct Home {
    pub(crate) word: HomeWord<G>,
    /// The thread pointer to install.
    pub(crate) thread_pointer: usize,
    /// Where this home keeps the pointer to the M that wears it.
    m_slot: *mut *mut u8,
    /// Coroutines that live here. Written by the wearer only.
    live: AtomicU32,
    /// One coroutine asked to have it alone.
    pub(crate) private: Cell<bool>,
    /// The wearer is leaving and its coroutine is panicking: shut it.
    pub(crate) shutting: Cell<bool>,
    /// The M that alone may run who lives here: for ever if homes are fixed, else while one of them keeps its thread
    /// (`os_thread.rs`). Written by the wearer.
    bound_to: AtomicPtr<M>,
    /// Who keeps the thread.
    pub(crate) keepers: Keepers,
    /// The M that runs a coroutine of this home, or is about to: checked at every switch.
    #[cfg(debug_assertions)]
    wearer: AtomicPtr<M>,
    index: usize,
}

// SAFETY: `live`, `private`, `keepers` and `shutting` belong to the wearer, of which there is one at a
// time by `word`; the rest is never written after the home is made, or atomic.
unsafe impl Send for Home {}
// SAFETY: as above.
unsafe impl Sync for Home {}

impl Home {
    /// Brings what is written when it is put on into the cache.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        crate::shim::prefetch(self.m_slot.cast());
    }

    /// Makes the M known under this home. The caller wears it.
    #[inline(always)]
    pub(crate) fn enter(&self, m: *const M) {
        debug_assert!(!self.m_slot.is_null());
        // Relaxed: `word` has ordered this after the last wearer's null.
        #[cfg(debug_assertions)]
        if !self.wearer.swap(m.cast_mut(), Ordering::Relaxed).is_null() {
            os::fatal("a home is put on while another thread wears it");
        }
        // SAFETY: `m_slot` is the word in the block of the home's thread, which sleeps until
        // `Homes::end`; only the wearer writes or reads it.
        unsafe { *self.m_slot = m.cast_mut().cast() };
    }

    /// Debug builds: `m` is on a stack of this home, alone and under the home's thread pointer.
    #[cfg(debug_assertions)]
    pub(crate) fn check_worn_by(&self, m: *const M) {
        let alone = if !self.m_slot.is_null() {
            // SAFETY: homes are worn only where the thread pointer can be read.
            let here = unsafe { crate::switch::thread_pointer() };
            // Relaxed: the wearer wrote it, and that is to be us.
            ptr::eq(self.wearer.load(Ordering::Relaxed), m) && here == self.thread_pointer
        } else {
            ptr::eq(self.bound_to(), m)
        };
        if !alone {
            os::fatal("a coroutine runs outside its home");
        }
    }

    /// Debug builds: `m` has left the stacks of this home and is about to take it off.
    #[cfg(debug_assertions)]
    pub(crate) fn check_left_by(&self, m: *const M) {
        // Relaxed: the wearer wrote it; `word` orders this before the next one's swap.
        if !ptr::eq(self.wearer.swap(ptr::null_mut(), Ordering::Relaxed), m) {
            os::fatal("a home is taken off by a thread that does not wear it");
        }
    }

    /// The M that alone may run who lives here; null if any may.
    #[inline(always)]
    pub(crate) fn bound_to(&self) -> *const M {
        // Relaxed: for who wears the home, `word` orders it; a hint for others.
        self.bound_to.load(Ordering::Relaxed)
    }

    /// Takes the home off, or leaves it shut if its coroutine is panicking. The caller has worn it, and has left its stacks;
    /// `requeue` gets each G that waited for it.
    #[inline(always)]
    pub(crate) fn leave(&self, requeue: impl FnMut(*mut G)) {
        if self.shutting.get() {
            self.shutting.set(false);
            self.word.shut(requeue);
        } else {
            self.word.take_off(requeue);
        }
    }

    /// Binds the home to `m`, or to none. Only the wearer says so.
    pub(crate) fn bind(&self, m: *const M) {
        // Relaxed: published by the take-off.
        self.bound_to.store(m.cast_mut(), Ordering::Relaxed);
    }

    /// Whether nobody else may come to live here. For the wearer.
    fn is_closed(&self) -> bool {
        self.private.get() || !self.bound_to().is_null()
    }

    #[inline(always)]
    pub(crate) fn live(&self) -> u32 {
        // Relaxed: exact for the wearer, a hint for others.
        self.live.load(Ordering::Relaxed)
    }

    /// A coroutine comes to live here. Only the wearer says so.
    #[inline(always)]
    pub(crate) fn move_in(&self) {
        let live = self.live();
        if !self.m_slot.is_null() {
            if live == 0 {
                self.word.close();
            } else {
                self.word.open();
            }
        }
        // Relaxed: the wearer is the only writer.
        self.live.store(live + 1, Ordering::Relaxed);
    }

    /// One has ended. Only the wearer says so.
    #[inline(always)]
    pub(crate) fn move_out(&self) {
        debug_assert!(self.live() > 0);
        // Relaxed: the wearer is the only writer.
        self.live.store(self.live() - 1, Ordering::Relaxed);
    }

    /// The home of an M that wears no other.
    fn fixed(m: *const M) -> Home {
        Home {
            word: HomeWord::new_worn(),
            thread_pointer: 0,
            m_slot: ptr::null_mut(),
            live: AtomicU32::new(0),
            private: Cell::new(false),
            shutting: Cell::new(false),
            bound_to: AtomicPtr::new(m.cast_mut()),
            keepers: Keepers::default(),
            #[cfg(debug_assertions)]
            wearer: AtomicPtr::new(ptr::null_mut()),
            index: usize::MAX,
        }
    }
}

/// The home where those who have to share come to live at present.
#[derive(Debug)]
pub(crate) struct Settling {
    home: &'static Home,
    /// For how many more.
    room: u32,
}

/// The homes of a runtime.
pub(crate) struct Homes {
    /// Whether Ms wear homes or each keeps its own.
    pub(crate) worn: bool,
    /// How many homes may be made.
    pub(crate) limit: usize,
    /// Empty homes that a P may keep to itself: few enough that nobody shares for want of them.
    spares: AtomicUsize,
    /// All homes, in the order they were made; the first `made` are not null.
    all: Box<[AtomicPtr<Home>]>,
    made: AtomicUsize,
    /// Homes where nobody lives, in the word's state `WORN`: whoever pops one wears it.
    empty: Mutex<Vec<&'static Home>>,
    empties: AtomicUsize,
    /// Of those made for `own_home`, the ones where nobody lives; as in `empty`.
    own_empty: Mutex<Vec<&'static Home>>,
    /// Fresh coroutines that found every home worn.
    homeless: Mutex<Vec<GRef>>,
    /// How many that are.
    homeless_count: AtomicUsize,
    /// They are to try again: said by sysmon, done by the next M that looks for work.
    retry: AtomicBool,
    /// Homes that do not count for the limit: those whose wearers do not come back, as far as sysmon has seen; ..
    held: AtomicUsize,
    /// .. and those that are bound to a thread which somebody keeps.
    bound: AtomicUsize,
    pub(crate) waits: Waits,
    sleepers: Mutex<Sleepers>,
    fixed: Mutex<Fixed>,
    /// Making a home has failed; share what there is.
    exhausted: AtomicBool,
}

/// Fixed homes. They outlive their Ms: one that has left a coroutine in the list of another's home looks at that home once
/// more (L3 in `home_word.rs`), when the coroutine may have run and ended, and the other M as well.
#[derive(Default)]
struct Fixed {
    all: Vec<*mut Home>,
    /// Those whose Ms have ended.
    free: Vec<&'static Home>,
}

// SAFETY: the pointers are only carried to `end`.
unsafe impl Send for Fixed {}

/// The thread behind a home.
struct Sleeper {
    home: *mut Home,
    post: Arc<Post>,
    thread: JoinHandle<()>,
}

// SAFETY: the home pointer is only carried to `end`.
unsafe impl Send for Sleeper {}

/// The threads behind the homes.
#[derive(Default)]
struct Sleepers {
    /// Those whose homes are in use.
    asleep: Vec<Sleeper>,
    /// Those that were started ahead of the demand, in that order.
    coming: VecDeque<(Arc<Post>, JoinHandle<()>)>,
}

impl Sleepers {
    /// The first thread that has fallen asleep, of those that are coming; waits for it. None if
    /// none is coming.
    fn await_one(&mut self) -> Option<(Arc<Post>, JoinHandle<()>)> {
        // A new thread takes some 50 us; to sleep and be woken for it would take as long again.
        for _ in 0..SLEEPER_YIELDS {
            if let Some(at) = self.coming.iter().position(|(post, _)| post.is_asleep()) {
                return self.coming.remove(at);
            }
            if self.coming.is_empty() {
                return None;
            }
            std::thread::yield_now();
        }
        let first = self.coming.pop_front()?;
        while !first.0.is_asleep() {
            os::futex::wait(&first.0.state, 0, os::clock::NEVER);
        }
        Some(first)
    }
}

/// Where the home's thread leaves its address and sleeps.
struct Post {
    thread_pointer: AtomicUsize,
    m_slot: AtomicPtr<*mut u8>,
    /// 0: not there yet; 1: asleep; 2: to end.
    state: AtomicU32,
}

impl Post {
    fn is_asleep(&self) -> bool {
        // Acquire: pairs with the Release in `sleep`.
        self.state.load(Ordering::Acquire) != 0
    }

    /// Ends the thread, which sleeps.
    fn end(&self) {
        // Release: what was done under the home comes before the destructors.
        self.state.store(2, Ordering::Release);
        os::futex::wake(&self.state, 1);
    }
}

/// Wears `home`, in which somebody lives, for one more.
fn ask(home: &Home) -> bool {
    // Where nobody lives somebody keeps the home worn.
    home.live() != 0 && home.word.ask(super::m::requeue_raw)
}

/// Coroutines on their way from a home's list to a queue, linked through themselves.
pub(crate) struct Chain {
    first: *mut G,
    last: *mut G,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain { first: ptr::null_mut(), last: ptr::null_mut() }
    }
}

impl Chain {
    /// # Safety
    /// `g` is the caller's to queue, and in no list.
    pub(crate) unsafe fn push(&mut self, g: *mut G) {
        // SAFETY: the caller's promise, and that of those before.
        unsafe {
            (*g).set_next(ptr::null_mut());
            match self.last.as_ref() {
                Some(last) => last.set_next(g),
                None => self.first = g,
            }
        }
        self.last = g;
    }

    /// Queues them all globally; the caller sees to it that somebody looks there.
    pub(crate) fn queue(self, rt: &Shared) {
        let mut next = self.first;
        while !next.is_null() {
            // SAFETY: by `push`; the link is read before the coroutine is given away.
            unsafe {
                let g = next;
                next = (*g).next();
                rt.inject_quietly(GRef::new(g));
            }
        }
    }
}

impl Homes {
    pub(crate) fn new(worn: bool, limit: usize, threads: usize) -> Homes {
        let slots = if worn { limit + threads.min(BEYOND_LIMIT) } else { 0 };
        Homes {
            worn,
            limit,
            spares: AtomicUsize::new(0),
            all: (0..slots).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
            made: AtomicUsize::new(0),
            empty: Mutex::new(Vec::with_capacity(slots)),
            empties: AtomicUsize::new(0),
            own_empty: Mutex::new(Vec::new()),
            homeless: Mutex::new(Vec::new()),
            homeless_count: AtomicUsize::new(0),
            retry: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            bound: AtomicUsize::new(0),
            waits: Waits::default(),
            sleepers: Mutex::default(),
            fixed: Mutex::default(),
            exhausted: AtomicBool::new(false),
        }
    }

    /// How many empty homes a P may keep to itself.
    #[inline(always)]
    pub(crate) fn spares(&self) -> usize {
        // Relaxed: a number.
        self.spares.load(Ordering::Relaxed)
    }

    /// There are so many Ps from now on.
    pub(crate) fn set_procs(&self, procs: usize) {
        // Relaxed: as above. Who has more already keeps them until it is idle.
        self.spares.store((self.limit / (4 * procs)).min(super::p::SPARES_MOST), Ordering::Relaxed);
    }

    /// A home for a coroutine that is about to run for the first time, worn by the caller, who
    /// wears `current` (or none) while it asks. `current` is returned if it is to be shared.
    /// `settling` is the home that the caller's P fills at present; `live` tells how many
    /// coroutines there are.
    pub(crate) fn choose(
        &self,
        current: Option<&'static Home>,
        claim: HomeClaim,
        settling: &mut Option<Settling>,
        live: impl Fn() -> usize,
        random: &mut u64,
    ) -> Option<&'static Home> {
        let own = claim == HomeClaim::Alone;
        let empty = if own { self.own_empty.lock().unwrap_or_else(|e| e.into_inner()).pop() } else { self.pop_empty() };
        if empty.is_some() {
            return empty;
        }
        // Relaxed: exactness is not needed; `make` checks again under its lock.
        let made = self.made.load(Ordering::Relaxed);
        let make = |most| {
            // Relaxed: as above, and a hint.
            let may = made < most && !self.exhausted.load(Ordering::Relaxed);
            if may { self.make(own, most, |homes| live().saturating_sub(homes)) } else { None }
        };
        make(if own { usize::MAX } else { self.limit() })
            .or_else(|| self.share(current, settling, || live() / made.max(1), random))
    }

    /// A home to share: the one that is being filled, by [`TOGETHER`] and until twice the average live there; then
    /// the emptiest of a few tried at random (two would already do much better than one), so
    /// that it costs the same however many there are.
    ///
    /// A few that begin one after the other thus live together. They are the ones that will
    /// talk to one another most, and a switch within a home is half a switch between two. Not more than a few: they are also the ones
    /// that will be active at the same time, as the latest connections of a server are, and in one home they keep one another waiting.
    fn share(
        &self,
        current: Option<&'static Home>,
        settling: &mut Option<Settling>,
        average: impl FnOnce() -> usize,
        random: &mut u64,
    ) -> Option<&'static Home> {
        if let Some(Settling { home, room }) = settling
            && *room > 0
        {
            let home = *home;
            let worn_by_us = current.is_some_and(|current| ptr::eq(current, home));
            if home.live() as usize <= 2 * average() && (worn_by_us || ask(home)) {
                if !home.is_closed() {
                    *room -= 1;
                    return Some(home);
                }
                if !worn_by_us {
                    self.put_back(home);
                }
            }
        }
        let chosen = self.emptiest(current, random);
        *settling = chosen.map(|home| Settling { home, room: TOGETHER - 1 });
        chosen
    }

    fn emptiest(&self, current: Option<&'static Home>, random: &mut u64) -> Option<&'static Home> {
        // Acquire: pairs with the Release in `make`; the pointers below are there. So for each of them.
        let made = self.made.load(Ordering::Acquire).min(self.all.len());
        if made == 0 {
            return current;
        }
        let candidate = |random: &mut u64| {
            let at = (super::random(random) as usize) % made;
            // SAFETY: homes live until `end`, when nothing runs any more.
            unsafe { &*self.all[at].load(Ordering::Acquire).cast_const() }
        };
        for _ in 0..16 {
            let mut best: Option<&'static Home> = current.filter(|home| !home.is_closed());
            for _ in 0..4 {
                let home = candidate(random);
                if best.is_none_or(|best| home.live() < best.live()) {
                    best = Some(home);
                }
            }
            let best = best?;
            if current.is_some_and(|current| ptr::eq(current, best)) {
                return current;
            }
            if ask(best) {
                if !best.is_closed() {
                    return Some(best);
                }
                // Somebody has it alone, or keeps its thread.
                self.put_back(best);
            }
        }
        if current.is_some_and(|home| !home.is_closed()) {
            return current;
        }
        // Most are worn, it seems. Is there any that is not?
        let start = (super::random(random) as usize) % made;
        (0..made).find_map(|offset| {
            // SAFETY: as above.
            let home = unsafe { &*self.all[(start + offset) % made].load(Ordering::Acquire).cast_const() };
            if !ask(home) {
                return None;
            }
            if home.is_closed() {
                self.put_back(home);
                return None;
            }
            Some(home)
        })
    }

    /// How many homes there may be at present.
    fn limit(&self) -> usize {
        // Relaxed, both: hints.
        let more = self.bound.load(Ordering::Relaxed) + self.held.load(Ordering::Relaxed);
        (self.limit + more).min(self.all.len())
    }

    /// One more home is bound to a thread, or one less.
    pub(crate) fn count_bound(&self, more: bool) {
        // Relaxed: a counter.
        if more {
            self.bound.fetch_add(1, Ordering::Relaxed);
        } else {
            self.bound.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// For a coroutine that has to wait for a home.
    pub(crate) fn put_off(&self, g: GRef) {
        let mut homeless = self.homeless.lock().unwrap_or_else(|e| e.into_inner());
        homeless.push(g);
        // Relaxed: a hint for sysmon.
        self.homeless_count.store(homeless.len(), Ordering::Relaxed);
    }

    /// Whether a coroutine waits for a home before it can begin.
    pub(crate) fn has_homeless(&self) -> bool {
        // Relaxed: a hint.
        self.homeless_count.load(Ordering::Relaxed) != 0
    }

    /// For sysmon: `held` homes are held by somebody who does not come back.
    pub(crate) fn note_held(&self, held: usize) {
        // Relaxed, both: a hint. Only when it changes, since others read what lies beside it.
        if self.held.load(Ordering::Relaxed) != held {
            self.held.store(held, Ordering::Relaxed);
        }
    }

    /// For sysmon: those who wait are to try again.
    pub(crate) fn call_homeless(&self) {
        // Relaxed: a hint.
        self.retry.store(true, Ordering::Relaxed);
    }

    /// Whether those who wait for a home are to try again.
    #[inline(always)]
    pub(crate) fn calls_homeless(&self) -> bool {
        // Relaxed: a hint.
        self.retry.load(Ordering::Relaxed)
    }

    /// Hands out those who are to try again.
    #[cold]
    pub(crate) fn take_homeless(&self, each: impl FnMut(GRef)) {
        let mut homeless = self.homeless.lock().unwrap_or_else(|e| e.into_inner());
        // Relaxed: hints.
        self.retry.store(false, Ordering::Relaxed);
        self.homeless_count.store(0, Ordering::Relaxed);
        homeless.drain(..).for_each(each);
    }

    /// For sysmon, now and then: there may be threads for homes again.
    pub(crate) fn forget_exhaustion(&self) {
        // Relaxed: a hint.
        self.exhausted.store(false, Ordering::Relaxed);
    }

    fn put_back(&self, home: &'static Home) {
        home.word.take_off(super::m::requeue_raw);
    }

    fn fixed(&self) -> MutexGuard<'_, Fixed> {
        self.fixed.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A home for `m`, which begins, if homes are fixed. `m` wears it.
    pub(crate) fn take_fixed(&self, m: *const M) -> Option<&'static Home> {
        if self.worn {
            return None;
        }
        let mut fixed = self.fixed();
        if let Some(home) = fixed.free.pop() {
            home.bind(m);
            return Some(home);
        }
        let home = Box::into_raw(Box::new(Home::fixed(m)));
        fixed.all.push(home);
        // SAFETY: just made; freed in `end` only.
        Some(unsafe { &*home })
    }

    /// The M of `home`, in which nobody lives, ends.
    pub(crate) fn give_fixed(&self, home: &'static Home) {
        debug_assert!(home.live() == 0 && !home.word.has_list());
        home.word.reset();
        let mut fixed = self.fixed();
        fixed.free.push(home);
    }

    fn pop_empty(&self) -> Option<&'static Home> {
        // Relaxed: a hint that saves the lock.
        if self.empties.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut empty = self.empty.lock().unwrap_or_else(|e| e.into_inner());
        let home = empty.pop();
        // Relaxed: as above.
        self.empties.store(empty.len(), Ordering::Relaxed);
        home
    }

    /// Keeps a worn home where nobody lives for the next who needs one.
    pub(crate) fn push_empty(&self, home: &'static Home) {
        debug_assert_eq!(home.live(), 0);
        if home.private.get() {
            return self.own_empty.lock().unwrap_or_else(|e| e.into_inner()).push(home);
        }
        let mut empty = self.empty.lock().unwrap_or_else(|e| e.into_inner());
        empty.push(home);
        // Relaxed: a hint.
        self.empties.store(empty.len(), Ordering::Relaxed);
    }

    /// How many homes there are, those included whose threads were started ahead.
    pub(crate) fn count(&self) -> usize {
        let sleepers = self.sleepers.lock().unwrap_or_else(|e| e.into_inner());
        sleepers.asleep.len() + sleepers.coming.len()
    }

    /// Makes the first home, so that there is one to share if no more can be made.
    pub(crate) fn make_first(&self) -> std::io::Result<()> {
        if !self.worn {
            return Ok(());
        }
        match self.make(false, 1, |_| 0) {
            Some(home) => {
                self.push_empty(home);
                Ok(())
            }
            None => Err(std::io::Error::new(
                std::io::ErrorKind::WouldBlock,
                "gort: no thread could be started for the first home (see ulimit -u)",
            )),
        }
    }

    /// Makes a home. `wanted` says how many more than the given number may be in demand soon: their
    /// threads are started too, so that they begin while this one is waited for; up to `most` in all.
    #[cold]
    fn make(&self, own: bool, most: usize, wanted: impl FnOnce(usize) -> usize) -> Option<&'static Home> {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(|e| e.into_inner());
        // Relaxed: written under the lock.
        let made = self.made.load(Ordering::Relaxed);
        if made >= most {
            return None;
        }
        if !sleepers.coming.iter().any(|(post, _)| post.is_asleep()) {
            let homes = made + sleepers.coming.len();
            let ahead = if own { 0 } else { wanted(homes).min(1 + AHEAD_MOST).min(most.saturating_sub(homes)) };
            let needed = usize::from(sleepers.coming.is_empty());
            for _ in 0..ahead.max(needed) {
                match start_sleeper() {
                    Ok(started) => sleepers.coming.push_back(started),
                    Err(_) => {
                        // Out of threads: nothing is lost, coroutines share the homes there are.
                        // Relaxed: a hint.
                        self.exhausted.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
        }
        let (post, thread) = sleepers.await_one()?;
        let index = if own { usize::MAX } else { made };
        let home = Box::into_raw(Box::new(Home {
            word: HomeWord::new_worn(),
            // Relaxed, and below: `is_asleep` has acquired both.
            thread_pointer: post.thread_pointer.load(Ordering::Relaxed),
            m_slot: post.m_slot.load(Ordering::Relaxed),
            live: AtomicU32::new(0),
            private: Cell::new(own),
            shutting: Cell::new(false),
            bound_to: AtomicPtr::new(ptr::null_mut()),
            keepers: Keepers::default(),
            #[cfg(debug_assertions)]
            wearer: AtomicPtr::new(ptr::null_mut()),
            index,
        }));
        if !own {
            // Release: pairs with the Acquire in `emptiest`.
            self.all[made].store(home, Ordering::Release);
            self.made.store(made + 1, Ordering::Release);
        }
        sleepers.asleep.push(Sleeper { home, post, thread });
        // SAFETY: just made; freed in `end` only.
        Some(unsafe { &*home })
    }

    /// Ends the threads behind the homes, so that their thread-local destructors run.
    ///
    /// # Safety
    /// No coroutine lives in any of them and no M wears any.
    pub(crate) unsafe fn end(&self) {
        let fixed = std::mem::take(&mut *self.fixed());
        for home in fixed.all {
            // SAFETY: made by `Box::into_raw`, and nobody refers to it by the caller's promise.
            drop(unsafe { Box::from_raw(home) });
        }
        let mut sleepers = std::mem::take(&mut *self.sleepers.lock().unwrap_or_else(|e| e.into_inner()));
        while let Some((post, thread)) = sleepers.await_one() {
            post.end();
            let _ = thread.join();
        }
        for sleeper in &sleepers.asleep {
            sleeper.post.end();
        }
        for sleeper in sleepers.asleep {
            // A thread-local's destructor that panics has printed its message; the thread
            // aborts the process itself then.
            let _ = sleeper.thread.join();
            // SAFETY: made by `Box::into_raw`, and nobody refers to it by the caller's promise.
            drop(unsafe { Box::from_raw(sleeper.home) });
        }
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home").field("index", &self.index).field("live", &self.live()).finish_non_exhaustive()
    }
}

fn start_sleeper() -> std::io::Result<(Arc<Post>, JoinHandle<()>)> {
    let post = Arc::new(Post {
        thread_pointer: AtomicUsize::new(0),
        m_slot: AtomicPtr::new(ptr::null_mut()),
        state: AtomicU32::new(0),
    });
    let for_thread = post.clone();
    // The thread must never run a signal handler: block them before it exists.
    let _blocked = os::signal::SignalsBlocked::new();
    let thread = std::thread::Builder::new()
        .name("gort-home".into())
        .stack_size(1024 * 1024)
        .spawn(move || sleep(&for_thread))?;
    Ok((post, thread))
}

/// The life of a home's thread: say where the block is, sleep without touching it, end.
fn sleep(post: &Post) {
    // Relaxed, and below: published with the state.
    // SAFETY: `Homes` wears homes only if the thread pointer can be read and written.
    post.thread_pointer.store(unsafe { crate::switch::thread_pointer() }, Ordering::Relaxed);
    post.m_slot.store(crate::switch::m_slot(), Ordering::Relaxed);
    // std sets up its handle of the current thread lazily; do it here, on the real thread, so
    // that what it asks the kernel for is this thread's.
    let _ = std::thread::current().id();
    // Release: pairs with the Acquire in `Post::is_asleep`.
    post.state.store(1, Ordering::Release);
    // From here to the end of the loop the block belongs to whoever wears it: no call below may
    // touch thread-locals, `errno` included, so the futex calls are made by inline assembly.
    os::futex::wake_without_tls(&post.state);
    // Acquire: what was done under the home comes before the destructors.
    while post.state.load(Ordering::Acquire) == 1 {
        os::futex::wait_without_tls(&post.state, 1);
    }
    // The destructors of thread-locals run next, as on any thread: without an M. (The word still
    // names the last one that wore this home.)
    crate::switch::set_current_m(ptr::null_mut());
}

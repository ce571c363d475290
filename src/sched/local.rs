//! Coroutine-local values: `coroutine_local!` and [`LocalKey`].
//!
//! Promise: each coroutine that uses a key has a value of its own, made when it first uses it and dropped when it ends,
//! by itself, on its own stack, before anybody who joins it goes on. Who uses none pays nothing: no word of its record, no
//! instruction when it is spawned, and when it ends one look at a byte that has been read just before.
//!
//! # Where the values are
//!
//! The first use makes a [`Locals`] on the heap. Its address is in the second word of the record's payload, which is empty
//! while the coroutine runs (the first is that of `bound.rs`), and the bit `LOCALS` in `asked` says that it is there. A
//! key draws a small number at its first use in the process, and is found by it in a table: some four loads and no search.
//! The value lies in an allocation of its own and does not move, so a reference to it is good across parks.
//!
//! A value is made, used and dropped by its coroutine, so it need be neither `Send` nor `Sync`: it is to the coroutine as
//! what lies on its stack, and moves between threads as that does (see `home.rs`). References do not get out of a `with`;
//! to pass one on to another coroutine, in a scope, the type must be `Sync`, as the compiler sees to.
//!
//! # The end
//!
//! `operate` ([`g`](super::g)) calls [`end`] between the closure and the outcome. Values are dropped in reverse to the
//! order in which they were made, as std does it. A destructor may use other keys, also those that have no value yet; what
//! it makes comes next. A key whose value is being dropped, or has been, gives [`AccessError`]; if its type has nothing to
//! drop its value stays until the last has gone. The destructors are shielded: the coroutine has ended already, so there
//! is nothing to cancel. One that panics ends there, reported by the hook, and the others go on. (std ends the process.)
//!
//! A result that nobody will join for is dropped after that, and what its destructor makes of locals is dropped then.
//!
//! # Inheritance
//!
//! A value is inherited where both sides ask for it: the key is declared `#[inherit]`, for which its type must be `Clone`
//! and `Send`, since the clone goes to another coroutine; and the spawn says
//! [`Builder::inherit`](crate::Builder::inherit). The clones are made by the spawner, travel in the record's
//! [`Extra`](super::g::Extra), and are put in place before the closure runs.
//!
//! Rejected: cloning at every spawn (`InheritableThreadLocal`). Each spawn would ask whether there is anything to
//! clone, and now and then run somebody's `Clone` unasked; what was meant for one request would leak into whatever it
//! happens to start, and be kept alive by it. Rejected as well: a word of its own in the record (8 bytes for
//! each of a million coroutines), and a list instead of a table (a pointer less for each value, a search for each use).
//!
//! # Plain threads
//!
//! Outside a coroutine a key is a `thread_local!`, which the macro declares beside it, in all respects.
//!
//! Tested in `tests/local.rs`.

use super::cancel;
use super::g::{GRef, INHERITS, LOCALS};
use super::m::M;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// The next number of a key.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What is asked of a value whose type is not known.
struct Type {
    needs_drop: bool,
    /// Drops the value.
    drop_value: unsafe fn(*mut Head),
    /// Frees the entry, whose value has been dropped or need not be.
    free: unsafe fn(*mut Head),
}

struct Of<T>(PhantomData<T>);

impl<T> Of<T> {
    const TYPE: &'static Type = &Type {
        needs_drop: std::mem::needs_drop::<T>(),
        // SAFETY: the entry is of this type, and its value is there.
        drop_value: |head| unsafe { ManuallyDrop::drop(&mut (*head.cast::<Entry<T>>()).value) },
        // SAFETY: the entry is of this type, and was made by `Entry::make`. The value is not dropped by it.
        free: |head| drop(unsafe { Box::from_raw(head.cast::<Entry<T>>()) }),
    };
}

/// What an entry begins with.
struct Head {
    /// The entry that was made before.
    older: Cell<*mut Head>,
    of: &'static Type,
    /// Makes an entry with a clone of the value, for a key that is inherited.
    copy: Option<unsafe fn(*const Head) -> *mut Head>,
    index: u32,
    /// Its destructor has not begun.
    alive: Cell<bool>,
}

#[repr(C)]
struct Entry<T> {
    /// Must be first: entries are known by it.
    head: Head,
    value: ManuallyDrop<T>,
}

impl<T> Entry<T> {
    fn make(index: u32, copy: Option<unsafe fn(*const Head) -> *mut Head>, value: T) -> *mut Head {
        let head = Head { older: Cell::new(ptr::null_mut()), of: Of::<T>::TYPE, copy, index, alive: Cell::new(true) };
        Box::into_raw(Box::new(Entry { head, value: ManuallyDrop::new(value) })).cast()
    }
}

/// [`Head::copy`].
///
/// # Safety
/// The entry is of a `T` that is alive.
unsafe fn copy<T: Clone>(head: *const Head) -> *mut Head {
    // SAFETY: the caller's promise.
    let entry = unsafe { &*head.cast::<Entry<T>>() };
    Entry::make(entry.head.index, entry.head.copy, T::clone(&entry.value))
}

/// The values of one coroutine. User code (a `Clone`, a destructor) may come back to it while it is used, so all is by
/// shared reference, and no reference to the table is kept.
pub(crate) struct Locals {
    /// By the numbers of the keys; null where there is no value.
    table: UnsafeCell<Vec<*mut Head>>,
    /// Those to be dropped.
    youngest: Cell<*mut Head>,
    /// Those that have been: to be freed.
    gone: Cell<*mut Head>,
}

impl Locals {
    fn new() -> Box<Locals> {
        Box::new(Locals {
            table: UnsafeCell::new(Vec::new()),
            youngest: Cell::new(ptr::null_mut()),
            gone: Cell::new(ptr::null_mut()),
        })
    }

    /// The entry of that number, or null.
    #[inline(always)]
    fn get(&self, index: u32) -> *mut Head {
        // SAFETY: only its coroutine uses it, and nobody else's code runs while the reference lives.
        unsafe { &*self.table.get() }.get(index as usize).copied().unwrap_or(ptr::null_mut())
    }

    /// Enters what has been made for a number that had no entry.
    fn add(&self, head: *mut Head) {
        // SAFETY: made just before, and not freed before `self` is.
        let entry = unsafe { &*head };
        let index = entry.index as usize;
        // SAFETY: as in `get`.
        let table = unsafe { &mut *self.table.get() };
        if table.len() <= index {
            table.resize(index + 1, ptr::null_mut());
        }
        table[index] = head;
        entry.older.set(self.youngest.replace(head));
    }

    /// Drops all values, and those that are made meanwhile.
    fn destroy(&self) {
        loop {
            let head = self.youngest.get();
            // SAFETY: null, or in the list, where entries are alive.
            let Some(entry) = (unsafe { head.as_ref() }) else { return };
            self.youngest.set(entry.older.replace(self.gone.get()));
            self.gone.set(head);
            if entry.of.needs_drop {
                entry.alive.set(false);
                // SAFETY: it was in the list, so the value is there; and it is there no more.
                super::quietly(|| unsafe { (entry.of.drop_value)(head) });
            }
        }
    }

    /// The clones for a coroutine that inherits, if there are any to be made.
    fn copies(&self) -> Option<Box<Locals>> {
        let mut heads = Vec::new();
        let mut next = self.youngest.get();
        // SAFETY: null, or in the list, where entries are alive.
        while let Some(entry) = unsafe { next.as_ref() } {
            if let Some(copy) = entry.copy {
                heads.push((next, copy));
            }
            next = entry.older.get();
        }
        let copies = (!heads.is_empty()).then(Locals::new)?;
        // The oldest first, so that they are dropped in the same order.
        for (head, copy) in heads.into_iter().rev() {
            // SAFETY: an entry of the calling coroutine, which has not ended, and `copy` is its own.
            copies.add(unsafe { copy(head) });
        }
        Some(copies)
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        self.destroy();
        let mut next = self.gone.get();
        // SAFETY: null, or in the list, where entries are not freed before they are taken out, here.
        while let Some(entry) = unsafe { next.as_ref() } {
            let (head, free) = (next, entry.of.free);
            next = entry.older.get();
            // SAFETY: its value has been dropped, or need not be.
            unsafe { free(head) };
        }
    }
}

/// Where the coroutine has the address of its values.
fn slot(g: GRef) -> *mut *const Locals {
    // The payload has six words, the first of which is used by `bound.rs`.
    g.scratch().wrapping_add(1).cast()
}

/// The values of `g`, which is the calling coroutine, if it has any.
#[inline(always)]
fn of<'a>(g: GRef) -> Option<&'a Locals> {
    // Relaxed: the bit is written by the coroutine.
    (g.asked.load(Ordering::Relaxed) & LOCALS != 0)
        // SAFETY: the bit says so. They are freed in `end`, after the last code that could use them.
        .then(|| unsafe { &**slot(g) })
}

/// Gives `g`, which is the calling coroutine and has none, these values.
fn install(g: GRef, locals: Box<Locals>) {
    // SAFETY: the coroutine runs, so its payload is empty.
    unsafe { *slot(g) = Box::into_raw(locals) };
    // Relaxed: for the coroutine itself; others set other bits.
    g.asked.fetch_or(LOCALS, Ordering::Relaxed);
}

/// Puts in place what `g`, the calling coroutine, which is about to run its closure, has inherited.
#[cold]
pub(super) fn inherit(g: GRef) {
    // Relaxed: as in `install`.
    g.asked.fetch_and(!INHERITS, Ordering::Relaxed);
    if let Some(locals) = g.take_inherited() {
        install(g, locals);
    }
}

/// What a coroutine inherits that the caller spawns and that asks for it.
pub(super) fn copies() -> Option<Box<Locals>> {
    of(M::current_coroutine()?)?.copies()
}

/// Drops the values of `g`, the calling coroutine, which has some and whose payload is still empty.
#[cold]
pub(super) fn end(g: GRef) {
    let Some(locals) = of(g) else { return };
    cancel::shield(|| locals.destroy());
    // Relaxed: as in `install`.
    g.asked.fetch_and(!LOCALS, Ordering::Relaxed);
    // SAFETY: made by `install`, and nobody finds it any more. No value is left that would have to be dropped.
    drop(unsafe { Box::from_raw((*slot(g)).cast_mut()) });
}

/// A key of [`coroutine_local!`](crate::coroutine_local): each coroutine, and each plain thread, has a value of its own
/// under it.
///
/// The methods are those of [`std::thread::LocalKey`].
///
/// # Examples
/// ```
/// use std::cell::Cell;
/// gort::coroutine_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
///
/// gort::run(|| {
///     DEPTH.set(5);
///     gort::go!(|| assert_eq!(DEPTH.replace(1), 0)).join().unwrap();
///     assert_eq!(DEPTH.with(Cell::get), 5);
/// });
/// ```
pub struct LocalKey<T: 'static> {
    /// Its number; 0 before the first use.
    index: AtomicU32,
    make: fn() -> T,
    copy: Option<unsafe fn(*const Head) -> *mut Head>,
    /// What it is on plain threads.
    thread: &'static thread::LocalKey<T>,
}

/// A key was used whose value has been dropped, by the destructor of another value of the coroutine or thread.
///
/// # Examples
/// See [`LocalKey::try_with`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the coroutine-local value has been dropped, or is about to be")
    }
}

impl Error for AccessError {}

#[cold]
#[track_caller]
fn dropped() -> ! {
    panic!("{AccessError}")
}

impl<T: 'static> LocalKey<T> {
    /// What the macro makes.
    #[doc(hidden)]
    pub const fn new(make: fn() -> T, thread: &'static thread::LocalKey<T>) -> LocalKey<T> {
        LocalKey { index: AtomicU32::new(0), make, copy: None, thread }
    }

    /// What the macro makes of `#[inherit]`.
    #[doc(hidden)]
    pub const fn inherited(make: fn() -> T, thread: &'static thread::LocalKey<T>) -> LocalKey<T>
    where
        T: Clone + Send,
    {
        LocalKey { index: AtomicU32::new(0), make, copy: Some(copy::<T>), thread }
    }

    #[inline(always)]
    fn index(&self) -> u32 {
        // Relaxed: a number, and all draw it here.
        match self.index.load(Ordering::Relaxed) {
            0 => self.draw(),
            index => index,
        }
    }

    #[cold]
    fn draw(&self) -> u32 {
        // Relaxed: only uniqueness matters.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Relaxed: as in `index`. If another was faster, ours is not used.
        match self.index.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => number,
            Err(drawn) => drawn,
        }
    }

    /// The value of `g`, the calling coroutine, or null if there is none yet.
    #[inline(always)]
    fn find(&self, g: GRef) -> Result<*const T, AccessError> {
        let head = of(g).map_or(ptr::null_mut(), |locals| locals.get(self.index()));
        // SAFETY: null, or an entry, which is freed when the coroutine has ended.
        match unsafe { head.as_ref() } {
            None => Ok(ptr::null()),
            Some(entry) if entry.alive.get() => Ok(Self::value(head)),
            Some(_) => Err(AccessError),
        }
    }

    /// # Safety
    /// An entry under this key.
    #[inline(always)]
    fn value(head: *mut Head) -> *const T {
        // Not a reference to the entry: its head may be written to.
        // SAFETY: an entry under this key is an `Entry<T>`, and `ManuallyDrop` is like what is in it.
        unsafe { (&raw const (*head.cast::<Entry<T>>()).value).cast() }
    }

    /// Makes `value` that of `g`, the calling coroutine, which had none when it was asked.
    #[cold]
    fn enter(&self, g: GRef, value: T) -> Result<*const T, AccessError> {
        let found = self.find(g)?;
        if !found.is_null() {
            // What made it has used this key itself. Nobody has a reference: that one would be in a `with` further in.
            // SAFETY: the value is the coroutine's own, and alive.
            drop(unsafe { ptr::replace(found.cast_mut(), value) });
            return Ok(found);
        }
        let locals = match of(g) {
            Some(locals) => locals,
            None => {
                install(g, Locals::new());
                of(g).expect("installed just now")
            }
        };
        let head = Entry::make(self.index(), self.copy, value);
        locals.add(head);
        Ok(Self::value(head))
    }

    /// Calls `f` with the value, which is made now if there is none.
    ///
    /// `f` may wait: nobody else has this value.
    ///
    /// # Examples
    /// ```
    /// gort::coroutine_local!(static NAME: String = format!("{:?}", gort::current().id()));
    /// gort::run(|| {
    ///     let name = gort::go!(|| NAME.with(String::clone)).join().unwrap();
    ///     assert_ne!(NAME.with(String::clone), name);
    /// });
    /// ```
    ///
    /// # Panics
    /// Where [`try_with`](Self::try_with) gives an error.
    ///
    /// # Scheduling
    /// Does not park by itself.
    #[inline]
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(value) => value,
            Err(AccessError) => dropped(),
        }
    }

    /// [`with`](Self::with) that says it if the value is there no more.
    ///
    /// # Examples
    /// ```
    /// use gort::AccessError;
    /// use std::cell::RefCell;
    ///
    /// struct Log;
    /// impl Drop for Log {
    ///     fn drop(&mut self) {
    ///         // Made before, so dropped after.
    ///         assert!(LINES.try_with(|lines| lines.borrow().len()).is_ok_and(|len| len == 1));
    ///         let gone: Result<(), AccessError> = LOG.try_with(|_| ());
    ///         assert!(gone.is_err());
    ///     }
    /// }
    /// gort::coroutine_local! {
    ///     static LINES: RefCell<Vec<&'static str>> = RefCell::default();
    ///     static LOG: Log = Log;
    /// }
    /// gort::run(|| {
    ///     LINES.with_borrow_mut(|lines| lines.push("begins"));
    ///     LOG.with(|_| ());
    /// });
    /// ```
    ///
    /// # Errors
    /// [`AccessError`] if the value has been dropped, or is being dropped: only to be seen by destructors of
    /// coroutine-local values.
    ///
    /// # Panics
    /// If what makes the value panics; there is none then.
    ///
    /// # Scheduling
    /// Does not park by itself.
    #[inline]
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let Some(g) = M::current_coroutine() else { return self.thread.try_with(f).map_err(|_| AccessError) };
        let mut value = self.find(g)?;
        if value.is_null() {
            value = self.enter(g, (self.make)())?;
        }
        // SAFETY: the value is the coroutine's own and lies where it is until that has ended. What is
        // written to it by `enter` is so while what makes it runs.
        Ok(f(unsafe { &*value }))
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value. If there is none yet, the one of the declaration is not made.
    ///
    /// # Examples
    /// See [`LocalKey`].
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        let Some(g) = M::current_coroutine() else { return self.thread.set(value) };
        match self.find(g) {
            Ok(found) if found.is_null() => {
                if self.enter(g, Cell::new(value)).is_err() {
                    dropped();
                }
            }
            // SAFETY: as in `try_with`.
            Ok(found) => unsafe { &*found }.set(value),
            Err(AccessError) => dropped(),
        }
    }

    /// A copy of the value.
    ///
    /// # Examples
    /// ```
    /// use std::cell::Cell;
    /// gort::coroutine_local!(static COUNT: Cell<u32> = Cell::new(3));
    /// assert_eq!(gort::run(|| COUNT.get()), 3);
    /// assert_eq!(COUNT.get(), 3); // a plain thread's
    /// ```
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value and leaves the default.
    ///
    /// # Examples
    /// ```
    /// use std::cell::Cell;
    /// gort::coroutine_local!(static NEXT: Cell<Option<u32>> = Cell::new(Some(7)));
    /// gort::run(|| assert_eq!((NEXT.take(), NEXT.take()), (Some(7), None)));
    /// ```
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value and gives the old one.
    ///
    /// # Examples
    /// See [`LocalKey`].
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with the value, borrowed.
    ///
    /// # Examples
    /// ```
    /// use std::cell::RefCell;
    /// gort::coroutine_local!(static PATH: RefCell<Vec<u32>> = RefCell::default());
    /// gort::run(|| {
    ///     PATH.with_borrow_mut(|path| path.push(5));
    ///     assert_eq!(PATH.with_borrow(Vec::len), 1);
    ///     assert_eq!(PATH.replace(vec![6, 7]), [5]);
    ///     assert_eq!(PATH.take(), [6, 7]);
    ///     PATH.set(vec![8]);
    ///     assert_eq!(PATH.take(), [8]);
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`with`](Self::with), or if it is borrowed to be changed.
    #[track_caller]
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with the value, borrowed to be changed.
    ///
    /// # Examples
    /// See [`with_borrow`](Self::with_borrow).
    ///
    /// # Panics
    /// As [`with`](Self::with), or if it is borrowed.
    #[track_caller]
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value. If there is none yet, the one of the declaration is not made.
    ///
    /// # Examples
    /// See [`with_borrow`](Self::with_borrow).
    ///
    /// # Panics
    /// As [`with_borrow_mut`](Self::with_borrow_mut).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        let Some(g) = M::current_coroutine() else { return self.thread.set(value) };
        match self.find(g) {
            Ok(found) if found.is_null() => {
                if self.enter(g, RefCell::new(value)).is_err() {
                    dropped();
                }
            }
            Ok(found) => {
                // SAFETY: as in `try_with`.
                unsafe { &*found }.replace(value);
            }
            Err(AccessError) => dropped(),
        }
    }

    /// Takes the value and leaves the default.
    ///
    /// # Examples
    /// See [`with_borrow`](Self::with_borrow).
    ///
    /// # Panics
    /// As [`with_borrow_mut`](Self::with_borrow_mut).
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value and gives the old one.
    ///
    /// # Examples
    /// See [`with_borrow`](Self::with_borrow).
    ///
    /// # Panics
    /// As [`with_borrow_mut`](Self::with_borrow_mut).
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

//! Stack overflow: says which coroutine it was, then aborts.
//!
//! A coroutine that outgrows its stack touches the guard below it and the thread gets SIGSEGV. The
//! handler runs on the thread's alternate stack, because the coroutine's own has no room left.
//! It takes the fault for an overflow if the address lies in a guard *and* the stack pointer
//! lies in the same slot; a stray pointer into somebody else's guard is not one. Every other
//! fault goes to whoever handled the signal before us, as if we were not there.
//!
//! The handler only loads from [`registry`], formats integers into a buffer on
//! its own stack and calls `write`: no lock, no allocation, no thread-local but `errno`.
//!
//! The stack pointer is in the slot whenever code touches its pages in order: a call pushes right
//! below it, and rustc's probes move it page by page. A frame of C code built without stack
//! clash protection may jump beyond the guard, here as on any thread; then the report is missing
//! or the neighbour is hit, which is why FFI that needs much stack belongs on a thread.

use super::GUARD_PAGES;
use super::registry;
use crate::os::mmap::{self, Range, Reservation, page_size};
use crate::os::signal::{self, Action, Disposition, PreviousStack, SavedErrno};
use std::fmt::Write as _;
use std::io;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

/// The signals an access to memory can raise.
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What was done about each of [`SIGNALS`] before [`install`]. Null: nothing known, or already
/// used up (`SA_RESETHAND`). What it points to is never freed or changed.
static PREVIOUS: [AtomicPtr<Disposition>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// Whether [`install`] has succeeded.
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// Writes who the current coroutine is: `coroutine 17 "name", spawned at src/main.rs:10:5`.
/// Runs in a signal handler: it must neither allocate nor lock.
pub(crate) type Describe = fn(out: &mut SafeWriter);

/// A [`Describe`], or null.
static DESCRIBE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Sets how reports name the coroutine that the calling thread runs.
pub(crate) fn set_describe(describe: Describe) {
    // Release: pairs with the Acquire in `describe`; what the function reads was set up before.
    DESCRIBE.store(describe as *mut (), Ordering::Release);
}

fn describe() -> Option<Describe> {
    // Acquire: pairs with the Release in `set_describe`.
    let function = DESCRIBE.load(Ordering::Acquire);
    // SAFETY: null, which is None, or a function stored by `set_describe` with this signature.
    unsafe { std::mem::transmute::<*mut (), Option<Describe>>(function) }
}

/// Makes stack overflows be reported. Once per process; later calls do nothing.
///
/// Threads that run coroutines need an [`AltStack`] as well.
pub(crate) fn install() -> io::Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
        let now = Disposition::of(signal)?;
        // Leaked: a handler may read it at any time from here on.
        let now = Box::leak(Box::new(now));
        // Release: pairs with the Acquire in `pass_on`. Stored first, so that the new handler
        // finds it even if the signal comes right after.
        previous.store(now, Ordering::Release);
        // SAFETY: `on_fault` and all it calls are async-signal-safe (see the module's essay).
        unsafe { Disposition::handler(on_fault, now).install(signal)? };
    }
    *installed = true;
    Ok(())
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let _errno = SavedErrno::new();
    // SAFETY: the kernel passes a siginfo_t that lives until the handler returns.
    let fault = unsafe { &*info };
    if signal::is_synchronous(fault) {
        // SAFETY: `context` is the third argument of this very handler.
        let stack_pointer = unsafe { signal::stack_pointer(context) };
        if let Some(slot) = overflowed(signal::fault_address(fault), stack_pointer) {
            report(slot);
        }
    }
    pass_on(signal, info, context);
}

/// The slot whose guard was hit from the stack in the same slot.
pub(super) fn overflowed(address: usize, stack_pointer: usize) -> Option<registry::Slot> {
    let slot = registry::find(address)?;
    let in_guard = address - slot.base < GUARD_PAGES * page_size();
    // The stack pointer may be in the guard too: a probe moves it first.
    (in_guard && registry::find(stack_pointer) == Some(slot)).then_some(slot)
}

fn report(slot: registry::Slot) -> ! {
    let mut out = SafeWriter::new();
    // A SafeWriter never fails.
    let _ = out.write_str("gort: stack overflow in ");
    match describe() {
        Some(describe) => describe(&mut out),
        None => {
            let _ = out.write_str("unknown coroutine");
        }
    }
    let _ = write!(
        out,
        "\ngort: its stack is {} (limit); give it more with Builder::stack_size or \
         Runtime::builder().stack_size\n",
        slot.class
    );
    out.flush();
    signal::abort()
}

/// Does what would have happened if [`install`] had never been called.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = SIGNALS.iter().position(|known| *known == signal).unwrap_or(0);
    // Acquire: pairs with the Release in `install`.
    let mut record = PREVIOUS[index].load(Ordering::Acquire);
    // SAFETY: null or a leaked box that nobody writes to.
    if unsafe { record.as_ref() }.is_some_and(Disposition::is_one_shot) {
        // AcqRel: whoever takes the record away is the one who may still use it.
        record = PREVIOUS[index].swap(ptr::null_mut(), Ordering::AcqRel);
    }
    // SAFETY: as above.
    let previous = unsafe { record.as_ref() }.map_or(Action::Default, Disposition::action);
    // SAFETY: a siginfo_t of the kernel's, alive until the handler returns.
    let synchronous = signal::is_synchronous(unsafe { &*info });
    match previous {
        Action::Info(handler) => handler(signal, info, context),
        Action::Plain(handler) => handler(signal),
        // Somebody sent the signal, and it is ignored.
        Action::Ignore if !synchronous => {}
        Action::Default | Action::Ignore => {
            // A fault cannot be ignored: the kernel kills for either. Returning repeats the
            // faulting instruction, so a core file shows the right place; a signal that was sent
            // is not repeated and is sent again, to be delivered when this handler returns.
            // SAFETY: installs no handler.
            let _ = unsafe { Disposition::default_action().install(signal) };
            if !synchronous {
                signal::raise(signal);
            }
        }
    }
}

/// Text to the standard error from within a signal handler: a buffer on the stack, no lock.
pub(crate) struct SafeWriter {
    buffer: [u8; 512],
    len: usize,
}

impl SafeWriter {
    fn new() -> SafeWriter {
        SafeWriter { buffer: [0; 512], len: 0 }
    }

    /// Writes out what is buffered.
    pub(crate) fn flush(&mut self) {
        signal::write_stderr(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl std::fmt::Write for SafeWriter {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            if self.len == self.buffer.len() {
                self.flush();
            }
            let count = bytes.len().min(self.buffer.len() - self.len);
            self.buffer[self.len..][..count].copy_from_slice(&bytes[..count]);
            self.len += count;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

impl std::fmt::Debug for SafeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SafeWriter").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Room on an alternate stack beyond the frame that the kernel puts there: for our handlers, and
/// for those of others that we pass signals on to.
const ROOM_BYTES: usize = 64 << 10;

/// The alternate signal stack of one thread, installed while it lives. Guarded like any other.
pub(crate) struct AltStack {
    previous: PreviousStack,
    /// Unmapped when dropped, but only if the kernel no longer uses it.
    reservation: std::mem::ManuallyDrop<Reservation>,
    /// It belongs to the thread that made it.
    not_send: PhantomData<*mut ()>,
}

impl AltStack {
    /// Maps a stack and installs it on the calling thread.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if it cannot be mapped or guarded.
    pub(crate) fn new() -> io::Result<AltStack> {
        let guard_bytes = GUARD_PAGES * page_size();
        let bytes = (signal::minimum_stack_bytes() + ROOM_BYTES).next_multiple_of(page_size());
        let reservation = Reservation::new(guard_bytes + bytes)?;
        // SAFETY: whole pages of a mapping of our own that is not in use yet.
        let guard = unsafe { Range::new(reservation.base(), guard_bytes) };
        mmap::guard_by_mprotect(guard)?;
        // SAFETY: the mapping is larger than its guard.
        let base: NonNull<u8> = unsafe { reservation.base().add(guard_bytes) };
        // SAFETY: `bytes` above the guard are writable, and only `drop` unmaps them, after the
        // thread has got its earlier stack back.
        let previous = unsafe { signal::set_alternate_stack(base, bytes)? };
        Ok(AltStack { previous, reservation: std::mem::ManuallyDrop::new(reservation), not_send: PhantomData })
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: AltStack is not Send, so this is the thread of `new`. The earlier stack is
        // std's for this thread (mapped until the thread ends) or that of whoever set it.
        let restored = unsafe { signal::restore_alternate_stack(&self.previous) };
        debug_assert!(restored.is_ok(), "an alternate stack was dropped while in use");
        if restored.is_ok() {
            // SAFETY: dropped nowhere else, and the kernel no longer knows it.
            unsafe { std::mem::ManuallyDrop::drop(&mut self.reservation) };
        }
    }
}

impl std::fmt::Debug for AltStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AltStack").field(&self.reservation).finish()
    }
}

//! Flows that move between threads, and thread pointers.

use super::*;
use std::sync::mpsc;
use std::thread;

#[test]
fn the_word_is_null_on_a_new_thread() {
    set_current_m(std::ptr::dangling_mut());
    thread::spawn(|| assert!(current_m().is_null())).join().unwrap();
    assert_eq!(current_m(), std::ptr::dangling_mut());
    set_current_m(std::ptr::null_mut());
}

/// A pair on its way to another thread.
struct Moved(Owner);
// SAFETY: the bodies of these tests hold only what may be used on any thread.
unsafe impl Send for Moved {}

#[test]
fn a_flow_goes_on_on_another_thread() {
    let rounds = if cfg!(miri) { 3 } else { 50 };
    let pair = Owner::new(move |pair| {
        let kept = String::from("kept");
        for _ in 0..rounds {
            hop(pair);
            assert_eq!(kept, "kept");
            // The word is that of the thread that resumed us.
            assert_eq!(current_m(), pair.cast());
        }
    });
    pair.resume();
    let mut moved = Moved(pair);
    for _ in 0..rounds {
        moved = thread::spawn(move || {
            // The whole value, not only the field, moves into the closure.
            let moved = moved;
            moved.0.resume();
            moved
        })
        .join()
        .unwrap();
    }
    assert!(moved.0.ended());
}

/// Under the thread pointer of a sleeping thread, a flow finds that thread's thread-locals.
#[test]
fn a_flow_wears_another_threads_tls() {
    thread_local! {
        static MARK: Cell<u32> = const { Cell::new(0) };
    }
    // Never inlined: an address of a thread-local must not be kept over a switch.
    #[inline(never)]
    fn mark() -> u32 {
        MARK.get()
    }
    #[inline(never)]
    fn set_mark(mark: u32) {
        MARK.set(mark);
    }
    #[inline(never)]
    fn thread_id() -> thread::ThreadId {
        thread::current().id()
    }
    struct Worn {
        root: Context,
        flow: Context,
        native: usize,
        donor: usize,
        seen: Vec<(u32, thread::ThreadId)>,
        words: Vec<*mut u8>,
    }
    entry! {
        fn look() {
            let worn = current_m().cast::<Worn>();
            // SAFETY: the test waits in `root`, whose thread pointer is `native`.
            unsafe {
                (*worn).seen.push((mark(), thread_id()));
                set_mark(8);
                switch(&raw mut (*worn).flow, &raw const (*worn).root, (*worn).native);
                (*worn).seen.push((mark(), thread_id()));
                (*worn).words.push(current_m());
                switch_away(&raw mut (*worn).flow, &raw const (*worn).root, (*worn).native)
            }
        }
    }
    if !can_set_thread_pointer() {
        println!("skipped: this back end, CPU or kernel cannot install a thread pointer");
        return;
    }
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let donor = thread::spawn(move || {
        set_mark(7);
        // SAFETY: `can_set_thread_pointer`; and nobody runs the tests under valgrind.
        tell.send((unsafe { thread_pointer() }, m_slot().expose_provenance())).unwrap();
        released.recv().unwrap();
        mark()
    });
    let donor_id = donor.thread().id();
    let (donor_pointer, donor_slot) = told.recv().unwrap();
    set_mark(1);
    let mut stack = TestStack::new();
    let mut worn = Worn {
        root: Context::empty(),
        flow: Context::empty(),
        // SAFETY: as above.
        native: unsafe { thread_pointer() },
        donor: donor_pointer,
        seen: vec![],
        words: vec![],
    };
    // The log does not grow under the other thread's pointer: its allocator is not in question.
    worn.seen.reserve(4);
    worn.words.reserve(4);
    let worn = &raw mut worn;
    // SAFETY: the donor sleeps until it is released, so its TLS block is used by nobody else;
    // its word is written before its block is put on.
    unsafe {
        let slot = std::ptr::with_exposed_provenance_mut::<*mut u8>(donor_slot);
        *slot = worn.cast();
        init(&raw mut (*worn).flow, stack.top(), stack.limit(), look);
        switch(&raw mut (*worn).root, &raw const (*worn).flow, (*worn).donor);
        assert_eq!(mark(), 1);
        assert_ne!(thread_id(), donor_id);
        *slot = slot.cast();
        switch(&raw mut (*worn).root, &raw const (*worn).flow, (*worn).donor);
        assert_eq!(mark(), 1);
        assert_eq!((*worn).seen, [(7, donor_id), (8, donor_id)]);
        assert_eq!((*worn).words, [slot.cast::<u8>()]);
        assert_eq!(thread_pointer(), (*worn).native);
    }
    release.send(()).unwrap();
    assert_eq!(donor.join().unwrap(), 8, "the donor finds what the flow left");
}

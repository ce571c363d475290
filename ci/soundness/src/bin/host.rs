//! A program that knows nothing of gort: it loads the soundness test as a shared library (its first
//! argument) and calls it in its main thread and in another one at the same time. The second
//! argument is the path of the library of thread-locals.

use std::ffi::{CStr, CString, c_char, c_int};

type Run = unsafe extern "C" fn(*const c_char) -> c_int;

fn main() {
    let argument = |n| CString::new(std::env::args().nth(n).expect("two paths")).expect("a path");
    let (gort, thread_locals) = (argument(1), argument(2));
    // SAFETY: the library's own initialisers are std's; the function has this type.
    let run: Run = unsafe {
        let handle = libc::dlopen(gort.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
        let symbol = libc::dlsym(handle, c"gort_soundness".as_ptr());
        assert!(!symbol.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
        std::mem::transmute(symbol)
    };
    // SAFETY: a C string that outlives the calls.
    let call = || unsafe { run(thread_locals.as_ptr()) };
    let (main, other) = std::thread::scope(|threads| {
        let other = threads.spawn(call);
        (call(), other.join().expect("a C function does not panic"))
    });
    std::process::exit(main | other);
}

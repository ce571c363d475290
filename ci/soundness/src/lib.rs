//! The claim of gort's homes, tried under another allocator and inside a shared library: the
//! workload of `tests/common/workload.rs` with one P, two and eight.
//!
//! `soundness` is this linked into a program; `host` loads it as a shared library. Both print
//! one line of figures, which are exact, or the workload would have panicked.

#[path = "../../../tests/common/mod.rs"]
mod common;

use common::workload::{self, Load};
use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::time::Instant;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs everything, with the library of thread-locals at `library` if there is one. Returns the line of figures;
/// panics if a promise is broken.
pub fn run(library: Option<&Path>) -> String {
    let start = Instant::now();
    let all = Load {
        procs: 8,
        homes: 256,
        coroutines: 50,
        rounds: 200 * common::factor(),
        heavy: false,
        signals: false,
        library: library.map(Path::to_owned),
        seed: common::seed(),
    };
    let heavy = Load { heavy: true, homes: 16, coroutines: 24, rounds: 60 * common::factor(), ..all.clone() };
    let loads = [
        Load { procs: 1, ..all.clone() },
        Load { procs: 2, ..all.clone() },
        // Few homes: everybody shares.
        Load { homes: 3, ..all.clone() },
        Load { signals: true, ..all },
        Load { procs: 1, ..heavy.clone() },
        Load { procs: 2, signals: true, homes: 4, ..heavy.clone() },
        Load { signals: true, ..heavy },
    ];
    let (mut counted, mut in_library, mut identities, mut moved, mut signals, mut moves) = (0, 0, 0, 0, 0, false);
    for load in loads {
        let storm = load.signals;
        let outcome = workload::run(load);
        assert!(!storm || outcome.signals > 0, "no signal came");
        counted += outcome.counted;
        in_library += outcome.counted_in_library;
        identities += outcome.identities;
        moved += outcome.moved;
        signals += outcome.signals;
        moves = outcome.coroutines_move;
    }
    format!(
        "{} homes, {} build: {counted} counted, {in_library} in a loaded library, {identities} identities, \
         {moved} coroutines moved, {signals} signals, {:.1} s",
        if moves { "worn" } else { "fixed" },
        if cfg!(debug_assertions) { "debug" } else { "release" },
        start.elapsed().as_secs_f64()
    )
}

/// [`run`] for C: prints the line; 0 if all is well.
///
/// # Safety
/// `library` is a path, and a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gort_soundness(library: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let library = unsafe { CStr::from_ptr(library) }.to_str().map(Path::new);
    match std::panic::catch_unwind(|| run(Some(library.expect("a path")))) {
        Ok(line) => {
            println!("{line}");
            0
        }
        Err(_) => 1,
    }
}

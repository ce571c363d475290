//! Homes: what a coroutine may keep across a park, and who shares a thread's identity.
//!
//! The big claim is in `common/workload.rs`; it runs here with the system's allocator, and by
//! `ci/soundness.sh` under other allocators, inside a shared library, with fixed homes, and with
//! several times the rounds.

mod common;

use common::workload::{self, Load};
use common::{Counts, Random, builder, compute, gettid, seed, wait_until, with_each_procs};
use gort::{Builder, go, go_local};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::CString;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

fn load() -> Load {
    Load {
        procs: 2,
        homes: 256,
        coroutines: 50,
        rounds: 100 * common::factor(),
        heavy: false,
        signals: false,
        library: Some(library_with_thread_locals().clone()),
        seed: seed(),
    }
}

#[test]
fn what_is_kept_is_the_same_after_every_park() {
    for procs in common::PROCS {
        workload::run(Load { procs, ..load() });
    }
}

#[test]
fn few_homes_are_shared_without_mixing() {
    for homes in [1, 2, 7] {
        workload::run(Load { homes, procs: 4, coroutines: 100, ..load() });
    }
}

#[test]
fn code_that_looks_up_its_thread_finds_the_home() {
    workload::run(Load { heavy: true, procs: 4, homes: 16, coroutines: 24, ..load() });
}

#[test]
fn process_signals_disturb_nothing() {
    let outcome = workload::run(Load { heavy: true, signals: true, procs: 4, homes: 8, coroutines: 24, ..load() });
    assert!(outcome.signals > 0);
}

#[test]
fn coroutines_move_between_threads_or_never() {
    let runtime = builder(2).build().unwrap();
    let (moves, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let handles: Vec<_> = (0..16)
        .map(|_| {
            let (moves, stop) = (moves.clone(), stop.clone());
            runtime.spawn(move || {
                let first = gettid();
                while !stop.load(SeqCst) {
                    gort::time::sleep(Duration::from_micros(50));
                    if gettid() != first {
                        moves.fetch_add(1, SeqCst);
                    }
                }
            })
        })
        .collect();
    if runtime.coroutines_move() {
        wait_until("a coroutine moves", || moves.load(SeqCst) > 0);
    } else {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(moves.load(SeqCst), 0);
    }
    stop.store(true, SeqCst);
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn ten_coroutines_make_at_most_ten_homes() {
    with_each_procs(|runtime| {
        let handles: Vec<_> = (0..10).map(|_| runtime.spawn(|| gort::time::sleep(Duration::from_millis(5)))).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert!(runtime.homes() <= 10, "{} homes", runtime.homes());
    });
}

#[test]
fn homes_are_used_again() {
    // A coroutine may still be on its way out when the next one begins: two at a time, and each P
    // may have kept two homes at hand.
    with_each_procs(|runtime| {
        for _ in 0..500 {
            runtime.spawn(gort::yield_now).join().unwrap();
        }
        assert!(runtime.homes() <= 2 * runtime.procs(), "{} homes", runtime.homes());
    });
}

#[test]
fn a_home_is_one_identity_and_a_new_one_is_not_shared_while_few_live() {
    let runtime = builder(2).build().unwrap();
    let (go_on, there) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..20)
        .map(|_| {
            let (go_on, there) = (go_on.clone(), there.clone());
            runtime.spawn(move || {
                let id = std::thread::current().id();
                there.fetch_add(1, SeqCst);
                wait_until("all are there", || go_on.load(SeqCst));
                assert_eq!(std::thread::current().id(), id);
                id
            })
        })
        .collect();
    wait_until("all have begun", || there.load(SeqCst) == 20);
    go_on.store(true, SeqCst);
    let ids: HashSet<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    if runtime.coroutines_move() {
        assert_eq!(ids.len(), 20);
        assert_eq!(runtime.homes(), 20);
    }
}

#[test]
fn thread_local_destructors_run_when_the_runtime_ends() {
    thread_local!(static ENDS: RefCell<Vec<Counts>> = const { RefCell::new(Vec::new()) });
    for procs in common::PROCS {
        let runtime = builder(procs).homes(5).build().unwrap();
        let ends = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..40)
            .map(|_| {
                let ends = ends.clone();
                runtime.spawn(move || {
                    ENDS.with_borrow_mut(|all| all.push(Counts(ends)));
                    gort::yield_now();
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        drop(runtime);
        assert_eq!(ends.load(SeqCst), 40);
    }
}

#[test]
fn a_thread_local_destructor_has_room() {
    // On a thread of its own it would have 2 MiB.
    struct Deep;
    impl Drop for Deep {
        fn drop(&mut self) {
            fn dig(depth: u32) -> u64 {
                let room = std::hint::black_box([depth as u8; 4096]);
                if depth == 0 { 0 } else { dig(depth - 1) + u64::from(room[77]) }
            }
            std::hint::black_box(dig(100));
        }
    }
    thread_local!(static DEEP: Deep = const { Deep });
    builder(1).build().unwrap().run(|| DEEP.with(|_| ()));
}

#[test]
fn own_home_is_not_shared() {
    let runtime = builder(2).homes(2).build().unwrap();
    if !runtime.coroutines_move() {
        return;
    }
    let go_on = Arc::new(AtomicBool::new(false));
    let live = Arc::new(AtomicUsize::new(0));
    let wait = |own: bool| {
        let (go_on, live) = (go_on.clone(), live.clone());
        move || {
            live.fetch_add(1, SeqCst);
            let id = std::thread::current().id();
            wait_until("all are there", || go_on.load(SeqCst));
            (id, own)
        }
    };
    let mut handles = Vec::new();
    for i in 0..60 {
        let own = i % 10 == 0;
        let builder = if own { Builder::new().own_home() } else { Builder::new() };
        handles.push(runtime.try_spawn(builder, wait(own)).unwrap());
    }
    wait_until("all run", || live.load(SeqCst) == 60);
    go_on.store(true, SeqCst);
    let all: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    for (i, (id, own)) in all.iter().enumerate() {
        let with_me = all.iter().filter(|(other, _)| other == id).count();
        assert!(!own || with_me == 1, "coroutine {i} has its home with {} others", with_me - 1);
    }
}

#[test]
fn own_home_leaves_room_for_others_even_if_only_one_may_be_made() {
    // The one home there may be is taken by who wants it alone and waits for another.
    let runtime = builder(1).homes(1).build().unwrap();
    let handle = runtime
        .try_spawn(Builder::new().own_home(), || {
            let inner = go!(|| std::thread::current().id());
            (std::thread::current().id(), inner.join().unwrap())
        })
        .unwrap();
    wait_until("the inner one runs", || handle.is_finished());
    let (own, inner) = handle.join().unwrap();
    assert!(own != inner || !runtime.coroutines_move(), "somebody else ran in the home asked for alone");
}

#[test]
fn a_hundred_share_two_homes() {
    for procs in common::PROCS {
        // Nobody is taken for one who does not come back, for whom there would be a third home.
        let runtime = builder(procs).homes(2).preemption(false).time_slice(common::PATIENCE).build().unwrap();
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let handles: Vec<_> = (0..100)
            .map(|_| {
                let seen = seen.clone();
                runtime.spawn(move || {
                    let id = std::thread::current().id();
                    seen.lock().unwrap().insert(id);
                    for _ in 0..20 {
                        gort::yield_now();
                        gort::time::sleep(Duration::from_micros(20));
                        assert_eq!(std::thread::current().id(), id);
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        if runtime.coroutines_move() {
            assert!(runtime.homes() <= 2);
            assert!(seen.lock().unwrap().len() <= 2);
        }
    }
}

#[test]
fn waiting_for_a_home_costs_no_cpu() {
    // The only home is blocked in the kernel while another coroutine waits for it.
    let before = ThreadsOf("homewait-m").cpu_time();
    let runtime = builder(2).homes(1).name("homewait").build().unwrap();
    if !runtime.coroutines_move() {
        return;
    }
    let used = runtime.run(move || {
        let other = go_local!(|| ());
        std::thread::sleep(Duration::from_millis(500));
        let used = ThreadsOf("homewait-m").cpu_time() - before;
        other.join().unwrap();
        used
    });
    assert!(used < Duration::from_millis(100), "{used:?} of CPU in half a second of waiting");
}

/// The live threads of this process with that name.
struct ThreadsOf(&'static str);

impl ThreadsOf {
    fn cpu_time(&self) -> Duration {
        let mut ticks = 0;
        for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            let Ok(text) = std::fs::read_to_string(task.path().join("stat")) else { continue };
            let (name, rest) = text.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
            if name == self.0 {
                let fields: Vec<_> = rest.split(' ').collect();
                ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            }
        }
        // USER_HZ is 100 on every Linux.
        Duration::from_millis(ticks * 10)
    }
}

#[test]
fn local_coroutines_stay_in_their_maker_s_home() {
    with_each_procs(|runtime| {
        let handles: Vec<_> = (0..20)
            .map(|_| {
                runtime.spawn(|| {
                    let id = std::thread::current().id();
                    let sum = Rc::new(Cell::new(0));
                    let inner: Vec<_> = (0..20)
                        .map(|i| {
                            let sum = sum.clone();
                            go_local!(move || {
                                assert_eq!(std::thread::current().id(), id);
                                let before = sum.get();
                                sum.set(before + i);
                                gort::time::sleep(Duration::from_micros(100));
                                assert_eq!(std::thread::current().id(), id);
                                let deeper = sum.clone();
                                go_local!(move || deeper.set(deeper.get() + 1)).join().unwrap();
                            })
                        })
                        .collect();
                    for handle in inner {
                        handle.join().unwrap();
                    }
                    assert_eq!(sum.get(), 190 + 20);
                    // A result that is not Send either.
                    let rc = go_local!(|| Rc::new(7)).join().unwrap();
                    assert_eq!(*rc, 7);
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn a_detached_local_result_is_dropped_in_its_home() {
    struct Here(std::thread::ThreadId, Rc<Cell<u32>>);
    impl Drop for Here {
        fn drop(&mut self) {
            assert_eq!(std::thread::current().id(), self.0);
            self.1.set(self.1.get() + 1);
        }
    }
    with_each_procs(|runtime| {
        runtime.run(|| {
            let drops = Rc::new(Cell::new(0));
            for i in 0..100 {
                let mine = Here(std::thread::current().id(), drops.clone());
                let handle = go_local!(move || {
                    gort::yield_now();
                    mine
                });
                match i % 4 {
                    0 => drop(handle),
                    1 => {
                        gort::yield_now();
                        drop(handle);
                    }
                    2 => handle.cancel(),
                    _ => drop(handle.join().unwrap()),
                }
            }
            let start = Instant::now();
            while drops.get() < 100 {
                assert!(start.elapsed() < common::PATIENCE);
                gort::time::sleep(Duration::from_micros(100));
            }
        });
    });
}

#[test]
fn stdout_stays_locked_by_the_identity_that_locked_it() {
    // The lock is keyed by thread identity; one holder at a time, so it is never contended.
    with_each_procs(|runtime| {
        for _ in 0..20 {
            runtime.run(|| {
                let mut out = std::io::stdout().lock();
                for i in 0..10 {
                    write!(out, "{}", if i == 9 { "\n" } else { "." }).unwrap();
                    gort::time::sleep(Duration::from_micros(50));
                    // The same thread may lock again.
                    let again = std::io::stdout().lock();
                    gort::yield_now();
                    drop(again);
                }
            });
        }
    });
}

#[test]
fn the_panic_count_belongs_to_the_coroutine_that_panics() {
    // A destructor parks while its coroutine panics; others of the same home must not see it.
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            for _ in 0..5 {
                gort::time::sleep(Duration::from_micros(200));
                gort::yield_now();
                gort::park_timeout(Duration::from_micros(100));
                assert!(std::thread::panicking());
            }
        }
    }
    for (procs, homes) in [(1, 1), (2, 1), (2, 2), (4, 3), (8, 256)] {
        let runtime = builder(procs).homes(homes).build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let witnesses: Vec<_> = (0..20)
            .map(|i| {
                let stop = stop.clone();
                runtime.spawn(move || {
                    while !stop.load(SeqCst) {
                        assert!(!std::thread::panicking(), "another's panic is seen");
                        if i % 2 == 0 {
                            gort::yield_now()
                        } else {
                            gort::time::sleep(Duration::from_micros(50))
                        }
                        assert!(!std::thread::panicking(), "another's panic is seen");
                        let inner = go!(std::thread::panicking);
                        assert!(!inner.join().unwrap(), "another's panic is seen by a fresh coroutine");
                    }
                })
            })
            .collect();
        let panics: Vec<_> = (0..10)
            .map(|i| {
                runtime.spawn(move || {
                    let _parks = Parks;
                    gort::yield_now();
                    common::panic_meant(i)
                })
            })
            .collect();
        for handle in panics {
            assert!(handle.join().unwrap_err().is_panic());
        }
        stop.store(true, SeqCst);
        for handle in witnesses {
            handle.join().unwrap();
        }
    }
}

/// Goal: a wait that was given up during a panic leaves nothing behind by which the coroutine would join another's panic. Method: a
/// select that need not wait after all, and then a mate who sleeps while he panics.
#[test]
fn a_wait_that_is_given_up_during_a_panic_is_forgotten() {
    /// Ready when somebody is about to wait for it.
    #[derive(Default)]
    struct Late(AtomicBool);
    impl gort::channel::Waitable for Late {
        fn is_ready(&self) -> bool {
            self.0.load(SeqCst)
        }
        fn watch(&self, _: gort::channel::SelectWaker) -> bool {
            self.0.store(true, SeqCst);
            false
        }
        fn unwatch(&self, _: gort::channel::SelectWaker) {}
    }
    struct Selects;
    impl Drop for Selects {
        fn drop(&mut self) {
            let late = Late::default();
            gort::select! { wait(late) => () }
        }
    }
    struct Sleeps;
    impl Drop for Sleeps {
        fn drop(&mut self) {
            gort::time::sleep(Duration::from_millis(20));
        }
    }
    with_each_procs(|runtime| {
        runtime.run(|| {
            let caught = std::panic::catch_unwind(|| {
                let _selects = Selects;
                common::panic_meant(1)
            });
            assert!(caught.is_err());
            let mate = gort::spawn_local(|| {
                let _sleeps = Sleeps;
                common::panic_meant(2)
            });
            while !mate.is_finished() {
                gort::yield_now();
                assert!(!std::thread::panicking(), "another's panic is seen");
            }
            assert!(mate.join().unwrap_err().is_panic());
        });
    });
}

#[test]
fn a_destructor_may_wait_for_a_new_coroutine_during_a_panic() {
    struct Asks(Arc<AtomicU64>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let answer = go!(|| {
                assert!(!std::thread::panicking(), "another's panic is seen by a fresh coroutine");
                let caught = std::panic::catch_unwind(|| common::panic_meant(3));
                assert!(caught.is_err());
                42
            });
            self.0.store(answer.join().unwrap_or(1), SeqCst);
        }
    }
    with_each_procs(|runtime| {
        for _ in 0..20 {
            let answer = Arc::new(AtomicU64::new(0));
            let asks = Asks(answer.clone());
            let handle = runtime.spawn(move || {
                let _asks = asks;
                common::panic_meant(1)
            });
            wait_until("the panicking coroutine ends", || handle.is_finished());
            assert!(handle.join().unwrap_err().is_panic());
            assert_eq!(answer.load(SeqCst), 42);
        }
    });
}

#[test]
fn the_only_thread_may_wait_during_a_panic() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            gort::time::sleep(Duration::from_millis(1));
            assert_eq!(go!(|| 42).join().unwrap(), 42);
        }
    }
    // Nothing else may be started for what is queued behind the one that panics, nor to let that one go on.
    let runtime = common::builder(1).threads(1).build().unwrap();
    for _ in 0..5 {
        let handle = runtime.spawn(|| {
            let _waits = Waits;
            drop(go!(|| ()));
            common::panic_meant(1)
        });
        wait_until("the panicking coroutine ends", || handle.is_finished());
        assert!(handle.join().unwrap_err().is_panic());
    }
}

#[test]
fn a_destructor_may_yield_until_something_happens_during_a_panic() {
    struct Spins(Arc<AtomicBool>);
    impl Drop for Spins {
        fn drop(&mut self) {
            let start = Instant::now();
            while !self.0.load(SeqCst) {
                assert!(start.elapsed() < Duration::from_secs(20), "nobody else ran");
                gort::yield_now();
            }
        }
    }
    with_each_procs(|runtime| {
        let done = Arc::new(AtomicBool::new(false));
        let spins = Spins(done.clone());
        let handle = runtime.spawn(move || {
            let done = spins.0.clone();
            drop(go!(move || done.store(true, SeqCst)));
            let _spins = spins;
            common::panic_meant(1)
        });
        assert!(handle.join().unwrap_err().is_panic());
    });
}

#[test]
fn the_kernel_thread_s_errno_is_the_home_s() {
    // A failed call just before a park, its reason read just after a computation: no park between.
    with_each_procs(|runtime| {
        let handles: Vec<_> = (0..50)
            .map(|i| {
                runtime.spawn(move || {
                    let mut random = Random::new(i);
                    // SAFETY: no precondition.
                    let here = unsafe { libc::__errno_location() };
                    for _ in 0..50 {
                        let missing = i % 2 == 0;
                        // SAFETY: constant strings; a bad descriptor is what is wanted.
                        let result = unsafe {
                            if missing { libc::open(c"/nowhere".as_ptr(), libc::O_RDONLY) } else { libc::close(-1) }
                        };
                        assert_eq!(result, -1);
                        compute(Duration::from_micros(random.below(20)));
                        let wanted = if missing { libc::ENOENT } else { libc::EBADF };
                        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(wanted));
                        gort::time::sleep(Duration::from_micros(random.below(50)));
                        // SAFETY: no precondition.
                        assert_eq!(unsafe { libc::__errno_location() }, here);
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn a_library_with_thread_locals_may_be_loaded_inside() {
    // The library is loaded, used across parks, and unloaded, under one home after the other.
    let library = CString::new(library_with_thread_locals().to_str().unwrap()).unwrap();
    for procs in common::PROCS {
        let runtime = builder(procs).homes(4).build().unwrap();
        let handles: Vec<_> = (0..16)
            .map(|_| {
                let path = library.clone();
                runtime.spawn(move || {
                    for _ in 0..20 {
                        // SAFETY: our own library; `own_counter` is a C function without arguments
                        // that returns the address of the calling thread's counter.
                        unsafe {
                            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
                            assert!(!handle.is_null(), "{:?}", std::ffi::CStr::from_ptr(libc::dlerror()));
                            let symbol = libc::dlsym(handle, c"own_counter".as_ptr());
                            assert!(!symbol.is_null());
                            let own_counter: extern "C" fn() -> *mut u64 = std::mem::transmute(symbol);
                            let mine = own_counter();
                            let before = *mine;
                            gort::yield_now();
                            assert_eq!(own_counter(), mine, "the thread-local moved");
                            *mine += 1;
                            assert!(*mine > before);
                            gort::time::sleep(Duration::from_micros(50));
                            assert_eq!(own_counter(), mine, "the thread-local moved");
                            libc::dlclose(handle);
                        }
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    }
}

/// The path of a shared library compiled from `programs/thread_locals.rs`.
fn library_with_thread_locals() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("thread_locals-{}.so", std::process::id()));
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/programs/thread_locals.rs");
        let status = std::process::Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
            .args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-o"])
            .args([&to, &from])
            .status()
            .expect("rustc is there");
        assert!(status.success());
        to
    })
}

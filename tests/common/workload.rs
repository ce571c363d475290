//! Coroutines that keep across every kind of park what is bound to a thread, and that call what
//! looks a thread up: the claim of `src/sched/home.rs`, tried from outside.
//!
//! Everything is counted under the thread-locals of a home and checked when the home's
//! thread-local destructors have run: a count that is off by one, a value seen by two, a
//! destructor that did not run all fail.
//!
//! Nobody waits for a lock that a parked coroutine holds: that would block a thread that the
//! holder may need. So the locks here are never contended within a run.

use super::{Mailbox, Meant, Random, builder, compute, gettid, panic_meant};
use rand::Rng;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, c_void};
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    pub procs: usize,
    pub homes: usize,
    pub coroutines: u64,
    pub rounds: u64,
    /// Also what is slow: processes, threads, names, panics with a backtrace of printing.
    pub heavy: bool,
    /// SIGUSR1 to the process all the time.
    pub signals: bool,
    /// The shared library made of `programs/thread_locals.rs`, to be loaded by coroutines.
    pub library: Option<PathBuf>,
    pub seed: u64,
}

/// What came of it, to be looked at.
#[derive(Debug)]
pub struct Outcome {
    /// How many coroutines were seen on more than one kernel thread.
    pub moved: u64,
    pub homes: usize,
    pub coroutines_move: bool,
    pub signals: u64,
    /// What was counted under thread-locals: exact, or `run` would have panicked.
    pub counted: u64,
    /// The same under those of the library.
    pub counted_in_library: u64,
    /// How many threads the coroutines took themselves for.
    pub identities: usize,
}

/// Sums of what the thread-locals' destructors report.
#[derive(Default)]
struct Sums {
    counted: AtomicU64,
    ended: AtomicUsize,
    library_counted: AtomicU64,
    library_ended: AtomicUsize,
}

/// Called by the library's thread-local destructors.
extern "C" fn library_reports(sums: *const c_void, count: u64) {
    // SAFETY: the `Sums` that `count_in_library` passed on, which outlive the runtime.
    let sums = unsafe { &*sums.cast::<Sums>() };
    sums.library_counted.fetch_add(count, SeqCst);
    sums.library_ended.fetch_add(1, SeqCst);
}

/// In a thread-local: what the coroutines of one home count together.
struct Tally {
    sums: Arc<Sums>,
    count: Rc<Cell<u64>>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.sums.counted.fetch_add(self.count.get(), SeqCst);
        self.sums.ended.fetch_add(1, SeqCst);
    }
}

thread_local! {
    static TALLY: RefCell<Option<Tally>> = const { RefCell::new(None) };
    static MAP: RefCell<HashMap<u64, String>> = RefCell::new(HashMap::new());
    static BORROWED: RefCell<u64> = const { RefCell::new(0) };
    /// Who computes under this home just now.
    static INSIDE: Cell<u64> = const { Cell::new(0) };
    /// The same for other threads to see, should there be any.
    static INSIDE_ATOMIC: Arc<AtomicU64> = Arc::new(AtomicU64::new(0));
    static HELD: Cell<u64> = const { Cell::new(0) };
    /// How often this home has counted in the library.
    static IN_LIBRARY: Cell<u64> = const { Cell::new(0) };
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    // What it does to `errno` it undoes, as a handler must: there, wherever it interrupts.
    let errno = errno();
    // SAFETY: the errno of the thread, or the home, that is interrupted.
    let before = unsafe { errno.replace(i32::MAX) };
    SIGNALS.fetch_add(1, SeqCst);
    // SAFETY: as above.
    assert_eq!(unsafe { errno.replace(before) }, i32::MAX);
}

/// Sends SIGUSR1 to the process until dropped.
pub struct Storm {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Storm {
    pub fn new() -> Storm {
        // SAFETY: the handler does one atomic addition.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stop2 = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stop2.load(SeqCst) {
                // SAFETY: to ourselves; the handler is in place.
                unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        Storm { stop, thread: Some(thread) }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What all coroutines of a run share.
struct Common {
    load: Load,
    sums: Arc<Sums>,
    moved: AtomicU64,
    identities: Mutex<HashSet<ThreadId>>,
    mail: Vec<Mailbox<u64>>,
    /// Some coroutine holds the lock of stdout.
    has_stdout: AtomicBool,
    /// A copy of the library that nothing has loaded yet.
    library: Option<CString>,
    /// Every handle that loading it gave.
    opened: Mutex<Vec<usize>>,
    used_library: Mutex<HashSet<ThreadId>>,
    library_counts: AtomicU64,
}

/// Copies the library, so that it is loaded anew in every run.
fn copy(library: &std::path::Path) -> CString {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let mut to = library.as_os_str().to_owned();
    to.push(format!(".{}-{}", std::process::id(), RUNS.fetch_add(1, SeqCst)));
    std::fs::copy(library, &to).expect("the library can be copied");
    CString::new(to.into_encoded_bytes()).unwrap()
}

/// Runs it; panics when a promise is broken.
pub fn run(load: Load) -> Outcome {
    super::quiet_panics();
    eprintln!("{load:?}");
    let _storm = load.signals.then(Storm::new);
    let before = SIGNALS.load(SeqCst);
    let sums = Arc::new(Sums::default());
    let common = Arc::new(Common {
        sums: sums.clone(),
        moved: AtomicU64::new(0),
        identities: Mutex::new(HashSet::new()),
        mail: (0..load.coroutines).map(|_| Mailbox::new()).collect(),
        has_stdout: AtomicBool::new(false),
        library: load.library.as_deref().map(copy),
        opened: Mutex::default(),
        used_library: Mutex::default(),
        library_counts: AtomicU64::new(0),
        load: load.clone(),
    });
    let runtime = builder(load.procs).homes(load.homes).build().unwrap();
    let handles: Vec<_> = (0..load.coroutines)
        .map(|number| {
            let common = common.clone();
            runtime.spawn(move || one(number, &common))
        })
        .collect();
    for handle in handles {
        assert_eq!(handle.join().expect("no promise was broken"), load.rounds);
    }
    let (homes, coroutines_move) = (runtime.homes(), runtime.coroutines_move());
    drop(runtime);
    // Every destructor has run, and every count is exact.
    let (counted, identities) = (sums.counted.load(SeqCst), common.identities.lock().unwrap().len());
    assert_eq!(counted, load.coroutines * load.rounds, "counted under thread-locals");
    assert_eq!(sums.ended.load(SeqCst), identities, "a destructor for each identity");
    let counted_in_library = sums.library_counted.load(SeqCst);
    assert_eq!(counted_in_library, common.library_counts.load(SeqCst), "counted under the library's thread-locals");
    let used_library = common.used_library.lock().unwrap().len();
    assert_eq!(sums.library_ended.load(SeqCst), used_library, "a destructor in the library for each identity");
    for handle in common.opened.lock().unwrap().drain(..) {
        // SAFETY: from `dlopen`, closed once, and nothing of the library is used any more.
        unsafe { libc::dlclose(std::ptr::with_exposed_provenance_mut(handle)) };
    }
    if let Some(library) = &common.library {
        std::fs::remove_file(library.to_str().unwrap()).unwrap();
    }
    if coroutines_move {
        // One who computes for long or blocks may have made room for another home.
        assert!(homes <= load.homes + load.coroutines as usize, "{homes} homes");
        assert!(sums.ended.load(SeqCst) <= homes);
    } else {
        assert_eq!(common.moved.load(SeqCst), 0, "with fixed homes nobody moves");
    }
    Outcome {
        moved: common.moved.load(SeqCst),
        homes,
        coroutines_move,
        signals: SIGNALS.load(SeqCst) - before,
        counted,
        counted_in_library,
        identities,
    }
}

/// The address of `errno`, which C code keeps in registers.
fn errno() -> *mut i32 {
    // SAFETY: no precondition.
    unsafe { libc::__errno_location() }
}

/// One coroutine.
fn one(number: u64, common: &Arc<Common>) -> u64 {
    let mut random = Random::new(common.load.seed ^ (number + 1) << 20);
    // Kept for the whole life, across every park below.
    let me = std::thread::current().id();
    let me_thread = std::thread::current();
    let tally = TALLY.with(|tally| {
        let mut tally = tally.borrow_mut();
        tally.get_or_insert_with(|| Tally { sums: common.sums.clone(), count: Rc::new(Cell::new(0)) }).count.clone()
    });
    common.identities.lock().unwrap().insert(me);
    let mut rng = rand::rng();
    let errno_here = errno();
    // SAFETY: no precondition.
    let pthread_here = unsafe { libc::pthread_self() };
    let lock = Mutex::new(0u64);
    let first_tid = gettid();
    let mut moved = false;
    let mut sum = 0u64;
    for round in 0..common.load.rounds {
        let twin = tally.clone();
        let held = vec![round; (round % 100) as usize + 1];
        MAP.with_borrow_mut(|map| {
            map.insert((number << 32) | (round % 7), format!("{number}-{round}"));
            if map.len() > 1000 {
                map.clear();
            }
        });
        alone(number);
        match random.below(if common.load.heavy { 24 } else { 16 }) {
            // A borrow of a thread-local, by the one coroutine of the home that got it.
            0 | 1 => BORROWED.with(|cell| {
                if let Ok(mut value) = cell.try_borrow_mut() {
                    *value = number;
                    park_somehow(number, &mut random, common);
                    assert_eq!(*value, number, "a borrowed thread-local was changed");
                }
            }),
            // A guard of a std lock, which remembers whether the thread was panicking.
            2 | 3 => {
                let mut guard = lock.lock().unwrap();
                *guard += 1;
                park_somehow(number, &mut random, common);
                *guard += 1;
            }
            // A panic that is caught across parks.
            4 => {
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    park_somehow(number, &mut random, common);
                    panic_meant(number)
                }));
                assert_eq!(caught.unwrap_err().downcast_ref::<Meant>(), Some(&Meant(number)));
                assert!(!std::thread::panicking());
            }
            // A coroutine in the same home.
            5 => {
                let tally = tally.clone();
                let twin = gort::go_local!(move || {
                    assert_eq!(std::thread::current().id(), me);
                    alone(number | 1 << 60);
                    tally.set(tally.get() + 1);
                    gort::yield_now();
                    tally.set(tally.get() - 1);
                });
                twin.join().unwrap();
            }
            6 => assert_eq!(gort::go!(move || round).join().unwrap(), round),
            // The lock of stdout, which remembers the thread that holds it and lets it in again.
            7 if !common.has_stdout.swap(true, SeqCst) => {
                let mut out = io::stdout().lock();
                park_somehow(number, &mut random, common);
                io::stdout().lock().flush().unwrap();
                park_somehow(number, &mut random, common);
                out.flush().unwrap();
                drop(out);
                common.has_stdout.store(false, SeqCst);
            }
            8 if common.library.is_some() => count_in_library(me, number, &mut random, common),
            16 => {
                let output = std::process::Command::new("/bin/echo").arg("home").output().unwrap();
                assert_eq!(output.stdout, b"home\n");
            }
            17 => fork_and_wait(number),
            18 => assert!(("localhost", 80).to_socket_addrs().unwrap().count() > 0),
            19 => {
                let outer = std::thread::spawn(move || {
                    assert_ne!(std::thread::current().id(), me);
                    round
                });
                assert_eq!(outer.join().unwrap(), round);
            }
            20 => {
                // A runtime's coroutine that is also a good plain thread.
                let (sender, receiver) = std::sync::mpsc::sync_channel(0);
                let outer = std::thread::spawn(move || sender.send(number).unwrap());
                assert_eq!(receiver.recv().unwrap(), number);
                outer.join().unwrap();
            }
            21 => {
                me_thread.unpark();
                std::thread::park();
            }
            22 => {
                let mut file = std::fs::File::open("/proc/self/comm").unwrap();
                let mut text = String::new();
                io::Read::read_to_string(&mut file, &mut text).unwrap();
                assert!(!text.is_empty());
                assert!(std::fs::File::open("/nowhere/at/all").is_err());
            }
            23 => drop(write!(io::sink(), "{:?}", std::backtrace::Backtrace::force_capture())),
            _ => park_somehow(number, &mut random, common),
        }
        assert_eq!(std::thread::current().id(), me, "the identity changed");
        assert_eq!(errno(), errno_here, "errno moved");
        // SAFETY: no precondition.
        assert_eq!(unsafe { libc::pthread_self() }, pthread_here, "C sees another thread");
        // SAFETY: our own errno.
        unsafe { *errno_here = number as i32 };
        alone(number);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(number as i32));
        assert!(Rc::ptr_eq(&tally, &twin));
        assert!(TALLY.with_borrow(|t| Rc::ptr_eq(&t.as_ref().unwrap().count, &tally)));
        assert_eq!(held.iter().filter(|value| **value == round).count(), held.len());
        sum = sum.wrapping_add(rng.next_u64());
        twin.set(twin.get() + 1);
        moved |= gettid() != first_tid;
    }
    assert!(common.load.rounds == 0 || sum != 0);
    if moved {
        common.moved.fetch_add(1, SeqCst);
    }
    common.load.rounds
}

/// Computes for a moment as the only one of its home.
fn alone(number: u64) {
    let mark = number + 1;
    assert_eq!(INSIDE.replace(mark), 0, "two coroutines of one home at once");
    let shared = INSIDE_ATOMIC.with(Arc::clone);
    assert_eq!(shared.swap(mark, SeqCst), 0, "two coroutines of one home at once");
    compute(Duration::from_nanos(500));
    assert_eq!(shared.swap(0, SeqCst), mark, "two coroutines of one home at once");
    assert_eq!(INSIDE.replace(0), mark, "two coroutines of one home at once");
}

/// Every kind of park, with a value in a thread-local that must be there afterwards.
fn park_somehow(number: u64, random: &mut Random, common: &Arc<Common>) {
    let held = HELD.get();
    HELD.set(held + 1);
    match random.below(6) {
        0 => gort::time::sleep(Duration::from_micros(random.below(300))),
        1 => gort::park_timeout(Duration::from_micros(random.below(300))),
        2 => {
            let here = gort::current();
            let other = gort::go!(move || here.unpark());
            gort::park();
            other.join().unwrap();
        }
        3 => {
            // A letter to oneself, by way of another coroutine.
            let common2 = common.clone();
            drop(gort::go!(move || common2.mail[number as usize].send(number)));
            assert_eq!(common.mail[number as usize].receive(), number);
        }
        _ => gort::yield_now(),
    }
    // Others of the home have come and gone, each leaving it as it was, or are parked inside.
    HELD.set(HELD.get() - 1);
}

/// Loads the library, if no other coroutine has yet, and counts under its thread-locals.
fn count_in_library(me: ThreadId, number: u64, random: &mut Random, common: &Arc<Common>) {
    type Report = extern "C" fn(*const c_void, u64);
    // SAFETY: our own library, and functions with these types; it stays loaded to the end of the run,
    // as do the sums.
    unsafe {
        let handle = libc::dlopen(common.library.as_ref().unwrap().as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "{:?}", std::ffi::CStr::from_ptr(libc::dlerror()));
        common.opened.lock().unwrap().push(handle.expose_provenance());
        let count_here = libc::dlsym(handle, c"count_here".as_ptr());
        let own_counter = libc::dlsym(handle, c"own_counter".as_ptr());
        assert!(!count_here.is_null() && !own_counter.is_null());
        let count_here: extern "C" fn(Report, *const c_void) -> u64 = std::mem::transmute(count_here);
        let own_counter: extern "C" fn() -> *mut u64 = std::mem::transmute(own_counter);
        let (mine, sums) = (own_counter(), Arc::as_ptr(&common.sums).cast());
        for _ in 0..3 {
            // Ours and the library's count the same, in the same home.
            IN_LIBRARY.set(IN_LIBRARY.get() + 1);
            assert_eq!(count_here(library_reports, sums), IN_LIBRARY.get(), "the library counted otherwise");
            *mine += 1;
            assert_eq!(*mine, IN_LIBRARY.get(), "the library counted otherwise");
            common.library_counts.fetch_add(1, SeqCst);
            park_somehow(number, random, common);
            assert_eq!(own_counter(), mine, "a thread-local of the library moved");
        }
    }
    common.used_library.lock().unwrap().insert(me);
}

/// A child process that runs a little code under the home's thread-locals and ends.
fn fork_and_wait(number: u64) {
    // SAFETY: the child calls only what is async-signal-safe, and reads thread-locals.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let mine = INSIDE.get() == 0 && libc::getpid() != libc::getppid();
            libc::_exit(if mine { (number % 100) as i32 } else { 255 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), (number % 100) as i32);
    }
}

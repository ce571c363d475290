//! What a whole process does: reports, signals, forks, ends, its standard streams. See `common/programs.rs`.

#![allow(clippy::disallowed_methods, reason = "an earlier handler may be of the old kind")]

mod common;
#[path = "common/programs.rs"]
mod harness;
#[path = "programs/streams.rs"]
mod streams;

use common::{builder, wait_until};
use gort::{Builder, go};
use harness::{Check, Ended, Program, run, run_with};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn main() {
    let wait = [
        "who_waits_for_a_home_is_reported",
        "no_deadlock_inside_blocking",
        "no_deadlock_while_a_thread_lives",
        "no_deadlock_while_a_timer_is_armed",
        "no_deadlock_while_main_does_something_else",
        "what_does_not_end_is_named",
    ];
    harness::main(&[PROGRAMS, streams::PROGRAMS].concat(), &[CHECKS, streams::CHECKS].concat(), &wait);
}

/// Lets the kernel refuse these system calls to this process from now on, as a container does.
fn refuse(calls: &[libc::c_long], errno: u16) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // The number of the call is the first word of what the filter is given.
    let mut filter = vec![step(LOAD, 0, 0, 0)];
    for &call in calls {
        filter.push(step(IS, call as u32, 0, 1));
        filter.push(step(RETURN, libc::SECCOMP_RET_ERRNO | u32::from(errno), 0, 0));
    }
    filter.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its steps outlive the call, which copies them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let done = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::syscall(calls[0], 0, 0, 0, 0), -1);
    }
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(i32::from(errno)));
}

/// Runs the program where all that is written to the standard error is refused.
fn run_without_stderr(name: &str) -> Ended {
    let full = File::options().write(true).open("/dev/full").unwrap();
    run_with(name, |command| {
        // SAFETY: no memory.
        let replace = move || match unsafe { libc::dup2(full.as_raw_fd(), libc::STDERR_FILENO) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        };
        // SAFETY: it makes one system call.
        unsafe { command.pre_exec(replace) };
    })
}

/// Waits where it must not: in the middle of a select's wait.
struct Waits(fn());

impl gort::channel::Waitable for Waits {
    fn is_ready(&self) -> bool {
        false
    }
    fn watch(&self, _: gort::channel::SelectWaker) -> bool {
        (self.0)();
        true
    }
    fn unwatch(&self, _: gort::channel::SelectWaker) {}
}

fn select_on(waits: fn()) {
    gort::run(|| {
        gort::select! {
            wait(Waits(waits)) => (),
        }
    });
}

const PROGRAMS: &[Program] = &[
    ("waitable_that_sleeps", || select_on(|| gort::time::sleep(Duration::from_millis(1)))),
    ("waitable_that_yields", || select_on(gort::yield_now)),
    ("deadlock", || {
        gort::run(|| {
            let handle = go!("waits for ever", gort::park);
            drop(Builder::new().label("job", "7").label("user", "ada").spawn(gort::park));
            gort::scope(|s| {
                drop(s.go(gort::park));
            });
            handle.join().unwrap();
        });
    }),
    ("deadlock_with_stderr_locked", || {
        gort::run(|| {
            let _lock = std::io::stderr().lock();
            gort::park();
        });
    }),
    ("deadlock_in_two_runtimes", || {
        let (a, b) = (builder(2).build().unwrap(), builder(1).build().unwrap());
        let in_b = b.spawn(gort::park);
        a.run(|| in_b.join().unwrap());
    }),
    ("deadlock_with_kept_threads", || {
        // Threads that are kept sleep outside the list of idle ones; an idle spare thread of `blocking` wakes nobody.
        gort::run(|| {
            let other = go!("keeps its thread", || {
                let _guard = gort::lock_os_thread();
                gort::park();
            });
            let neighbour = gort::go_local!("lives here", gort::park);
            gort::blocking(|| std::thread::sleep(Duration::from_millis(1)));
            let _guard = gort::lock_os_thread();
            other.join().unwrap();
            neighbour.join().unwrap();
        });
    }),
    ("no_deadlock_inside_blocking", || {
        // A spare thread is the only one that does not wait; it wakes everybody in the end.
        gort::run(|| {
            let (tx, rx) = gort::channel::bounded(0);
            let neighbour = gort::go_local!(move || rx.recv().unwrap());
            gort::blocking(|| {
                std::thread::sleep(Duration::from_millis(500));
                tx.send(3).unwrap();
            });
            assert_eq!(neighbour.join().unwrap(), 3);
        });
    }),
    ("left_over_without_a_home", || {
        let runtime = builder(2).name("stubborn").build().unwrap();
        let inside = Arc::new(AtomicBool::new(false));
        let inside2 = inside.clone();
        drop(runtime.spawn(move || {
            let (tx, rx) = gort::channel::bounded(0);
            let _neighbour = gort::go_local!("neighbour", move || rx.recv());
            // That succeeds when the neighbour waits, which is ready then; but this coroutine does not leave their home.
            while tx.try_send(()).is_err() {
                gort::yield_now();
            }
            inside2.store(true, SeqCst);
            std::thread::sleep(Duration::from_secs(60));
        }));
        wait_until("it blocks", || inside.load(SeqCst));
        drop(runtime);
    }),
    ("deadlock_after_fewer_procs", || {
        let runtime = builder(8).build().unwrap();
        runtime.run(|| {
            let begun = Arc::new(AtomicUsize::new(0));
            for _ in 0..8 {
                let begun = begun.clone();
                drop(go!(move || {
                    begun.fetch_add(1, SeqCst);
                    gort::park();
                }));
            }
            wait_until("all have run", || begun.load(SeqCst) == 8);
            gort::set_procs(2).unwrap();
            gort::park();
        });
    }),
    ("procs_of_the_environment", || {
        let runtime = gort::Runtime::new().unwrap();
        assert_eq!(runtime.procs(), 3);
        runtime.set_procs(5).unwrap();
        assert_eq!((runtime.procs(), builder(2).build().unwrap().procs()), (5, 2));
        // What was said by hand stays, and the environment's word is one.
        let other = gort::Runtime::new().unwrap();
        let hogs = common::Hogs::start(&other, 1, |_| |_| ());
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(other.procs(), 3);
        hogs.stop();
        assert_eq!(gort::Runtime::builder().adapt_procs(1..=2).build().unwrap().procs(), 2);
    }),
    ("procs_that_follow_the_load", || {
        let runtime = builder(1).adapt_procs(1..=4).build().unwrap();
        // More than there are Ps: some are always suspended, so that sysmon must not do it by itself.
        for number in [6, 2] {
            let hogs = common::Hogs::start(&runtime, number, |_| |_| ());
            let procs = if number == 6 { 4 } else { 3 };
            wait_until("as many as there are to be", || runtime.procs() == procs);
            // Seven periods.
            std::thread::sleep(Duration::from_millis(2800));
            assert_eq!(runtime.procs(), procs);
            hogs.stop();
            // It is not idle, or nobody would look.
            let ticks = runtime.spawn(|| {
                for _ in 0..10_000 {
                    gort::time::sleep(Duration::from_millis(5));
                }
            });
            wait_until("as few as there are to be", || runtime.procs() == 1);
            ticks.cancel();
            assert!(ticks.join().is_err());
        }
        // By hand: that is that.
        runtime.set_procs(2).unwrap();
        let hogs = common::Hogs::start(&runtime, 6, |_| |_| ());
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(runtime.procs(), 2);
        hogs.stop();
    }),
    ("procs_that_follow_the_machine", || {
        let all = gort::CpuSet::of_thread().unwrap();
        let usable = gort::Runtime::new().unwrap().procs();
        if usable < 2 || usable != all.len() {
            return eprintln!("skipped: a quota, or one CPU");
        }
        let (by_machine, by_hand) = (gort::Runtime::new().unwrap(), builder(usable).build().unwrap());
        let by_set = gort::Runtime::builder().cpus(all.iter().take(1).collect()).build().unwrap();
        let changed = gort::Runtime::new().unwrap();
        changed.set_procs(usable + 1).unwrap();
        let find_sysmon = || {
            std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap()).find_map(|task| {
                let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
                (name.trim() == "gort-sysmon").then(|| task.file_name().to_str().unwrap().parse::<i32>().unwrap())
            })
        };
        // A thread gives itself its name.
        wait_until("sysmon has its name", || find_sysmon().is_some());
        let sysmon = find_sysmon();
        let confine = |cpus: &gort::CpuSet| {
            // SAFETY: the set is plain data of the size that is said.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                cpus.iter().for_each(|cpu| libc::CPU_SET(cpu, &mut set));
                assert_eq!(libc::sched_setaffinity(sysmon.unwrap(), size_of_val(&set), &set), 0);
            }
        };
        // More than there are Ps: as above.
        for hogs in [1, usable + 3] {
            let hogs = common::Hogs::start(&by_machine, hogs, |_| |_| ());
            // Sysmon has to have seen how it was before.
            std::thread::sleep(Duration::from_millis(200));
            confine(&all.iter().take(1).collect());
            wait_until("there is one", || by_machine.procs() == 1);
            confine(&all);
            wait_until("there are all", || by_machine.procs() == usable);
            hogs.stop();
        }
        assert_eq!((by_hand.procs(), by_set.procs(), changed.procs()), (usable, 1, usable + 1));
    }),
    ("no_deadlock_while_a_thread_lives", || {
        let runtime = builder(2).build().unwrap();
        runtime.run(|| {
            let here = gort::current();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(1500));
                here.unpark();
            });
            gort::park();
            wait_until("the thread ends", || thread.is_finished());
        });
    }),
    ("no_deadlock_while_a_timer_is_armed", || {
        gort::run(|| go!(|| gort::time::sleep(Duration::from_millis(1500))).join().unwrap());
    }),
    ("no_deadlock_while_main_does_something_else", || {
        let runtime = builder(2).build().unwrap();
        let handle = runtime.spawn(gort::park);
        std::thread::sleep(Duration::from_millis(1000));
        handle.coroutine().unpark();
        handle.join().unwrap();
    }),
    ("overflow", || {
        gort::run(|| {
            let dig = || std::hint::black_box(dig_for_ever(1));
            let digger = Builder::new().name("digger").label("depth", "endless");
            let handle = digger.stack_size(64 << 10).spawn(dig).unwrap();
            handle.join().unwrap();
        });
    }),
    ("overflow_at_a_large_frame", || {
        gort::run(|| {
            // One frame larger than the guard: the probes must find it.
            fn large(depth: u64) -> u64 {
                let mut room = [depth; 100_000 / 8];
                std::hint::black_box(&mut room);
                if depth > 100 { 0 } else { large(depth + 1) + room[3] }
            }
            go!("large frames", || large(0)).join().unwrap();
        });
    }),
    ("too_many_shields", || {
        fn within(shields: u32) {
            if shields > 0 { gort::shield(|| within(shields - 1)) } else { println!("so many") }
        }
        gort::run(|| {
            gort::Builder::new().stack_size(256 << 20).spawn(|| within(65_535)).unwrap().join().unwrap();
            let _ = gort::Builder::new().stack_size(256 << 20).spawn(|| within(65_536)).unwrap().join();
            println!("too many");
        });
    }),
    ("overflow_of_a_plain_thread", || {
        gort::run(|| go!(|| ()).join().unwrap());
        std::hint::black_box(dig_for_ever(1));
    }),
    ("fault", || gort::run(|| go!(fault).join().unwrap())),
    ("fault_with_an_earlier_handler", || {
        extern "C" fn earlier(_: libc::c_int) {
            // SAFETY: ends the process without touching anything.
            unsafe { libc::_exit(33) };
        }
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(libc::SIGSEGV, earlier as extern "C" fn(libc::c_int) as usize) };
        gort::run(|| {
            gort::yield_now();
            go!(fault).join().unwrap();
        });
    }),
    ("panic_in_main", || gort::run(|| panic!("on purpose"))),
    ("panic_after_a_park_while_unwinding", || {
        struct Parks;
        impl Drop for Parks {
            fn drop(&mut self) {
                gort::time::sleep(Duration::from_millis(1));
                panic!("the second");
            }
        }
        gort::run(|| {
            let others = go!(|| (0..100).for_each(|_| gort::yield_now()));
            let handle = go!(|| {
                let _parks = Parks;
                panic!("the first");
            });
            _ = handle.join();
            others.join().unwrap();
        });
    }),
    ("refused_calls", || {
        let errno = std::env::var("GORT_TEST_ERRNO").unwrap().parse().unwrap();
        refuse(
            &[
                libc::SYS_membarrier,
                libc::SYS_epoll_pwait2,
                libc::SYS_sched_setattr,
                libc::SYS_sched_getaffinity,
                libc::SYS_timerfd_create,
            ],
            errno,
        );
        let runtime = gort::Runtime::builder().build().unwrap();
        assert!(runtime.procs() >= 1);
        drop(runtime);
        let runtime = builder(2).build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        // With fixed homes they would keep their threads for ever.
        let hogs = if runtime.coroutines_move() { 2 } else { 0 };
        let hogs: Vec<_> = (0..hogs)
            .map(|_| {
                let stop = stop.clone();
                runtime.spawn(move || {
                    while !stop.load(SeqCst) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        runtime.run(|| {
            let (mut reader, mut writer) = gort::net::UnixStream::pair().unwrap();
            let echo = go!(move || {
                let mut byte = [0];
                for _ in 0..10 {
                    reader.read_exact(&mut byte).unwrap();
                    reader.write_all(&byte).unwrap();
                }
            });
            for _ in 0..10 {
                let start = Instant::now();
                gort::time::sleep(Duration::from_micros(1300));
                assert!(start.elapsed() >= Duration::from_micros(1300));
                writer.write_all(b"x").unwrap();
                writer.read_exact(&mut [0]).unwrap();
            }
            echo.join().unwrap();
        });
        stop.store(true, SeqCst);
        hogs.into_iter().for_each(|hog| hog.join().unwrap());
    }),
    ("abort_in_a_coroutine", || gort::run(|| go!(|| std::process::abort()).join().unwrap())),
    ("exit_in_a_coroutine", || {
        gort::run(|| {
            for _ in 0..100 {
                drop(go!(gort::park));
            }
            go!(|| std::process::exit(7)).join().unwrap();
        });
    }),
    ("left_over", || {
        let runtime = builder(2).name("stubborn").build().unwrap();
        let inside = Arc::new(AtomicBool::new(false));
        let inside2 = inside.clone();
        drop(runtime.try_spawn(Builder::new().name("never ends"), move || {
            gort::shield(|| {
                inside2.store(true, SeqCst);
                gort::park();
            })
        }));
        wait_until("it parks", || inside.load(SeqCst));
        let start = Instant::now();
        drop(runtime);
        assert!(start.elapsed() < Duration::from_secs(30));
    }),
    ("fork_and_exec", || {
        gort::run(|| {
            let handles: Vec<_> = (0..30)
                .map(|i| {
                    go!(move || {
                        gort::yield_now();
                        let status = std::process::Command::new("/bin/sh").args(["-c", &format!("exit {i}")]).status();
                        assert_eq!(status.unwrap().code(), Some(i));
                        // SAFETY: the child only ends.
                        unsafe {
                            let child = libc::fork();
                            if child == 0 {
                                libc::_exit(i);
                            }
                            let mut status = 0;
                            gort::yield_now();
                            assert_eq!(libc::waitpid(child, &mut status, 0), child);
                            assert_eq!(libc::WEXITSTATUS(status), i);
                        }
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
    }),
    ("main_returns_while_coroutines_live", || {
        let runtime = builder(2).build().unwrap();
        for _ in 0..100 {
            drop(runtime.spawn(|| {
                loop {
                    gort::time::sleep(Duration::from_micros(10));
                }
            }));
        }
        std::thread::sleep(Duration::from_millis(20));
        std::mem::forget(runtime);
    }),
    ("signals", || {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn count(_: libc::c_int) {
            COUNT.fetch_add(1, SeqCst);
        }
        // SAFETY: the handler does one atomic addition. Without SA_RESTART, to be worse.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        }
        gort::run(|| {
            let handles: Vec<_> = (0..20)
                .map(|_| {
                    go!(|| {
                        for i in 0..200 {
                            // SAFETY: to ourselves; the handler is in place.
                            unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
                            if i % 2 == 0 { gort::yield_now() } else { gort::time::sleep(Duration::from_micros(20)) }
                        }
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
        assert!(COUNT.load(SeqCst) > 0);
    }),
];

#[inline(never)]
fn dig_for_ever(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 16]);
    if depth == 0 { 0 } else { dig_for_ever(depth + 1) + room[5] }
}

fn fault() {
    // SAFETY: none; the fault is wanted.
    unsafe { std::ptr::write_volatile(std::ptr::without_provenance_mut::<u8>(8), 1) };
}

/// `file:line` of the text in this file.
fn place(text: &str) -> String {
    let source = include_str!("programs.rs");
    let line = 1 + source.lines().position(|line| line.contains(text)).unwrap();
    format!("tests/programs.rs:{line}:")
}

/// `GORT_DEBUG` with another pair.
fn with(pair: &str) -> String {
    std::env::var("GORT_DEBUG").unwrap_or_default() + "," + pair
}

const CHECKS: &[Check] = &[
    ("a_deadlock_is_reported_with_every_coroutine", || {
        let start = Instant::now();
        let ended = run("deadlock");
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        ended.says("gort: deadlock: all 4 coroutines are parked");
        ended.says("\"main\" [end of a scope]");
        ended.says("\"waits for ever\" [park]");
        ended.says(" {job=7, user=ada} [park]");
        ended.says(&place("go!(\"waits for ever\""));
        ended.says(&place("drop(s.go(gort::park));"));
        assert!(start.elapsed() < Duration::from_secs(20));
    }),
    ("a_deadlock_across_runtimes_is_reported", || {
        let ended = run("deadlock_in_two_runtimes");
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        ended.says("all 2 coroutines are parked");
        ended.says("[join]");
    }),
    ("a_deadlock_of_those_who_keep_their_threads_is_reported", || {
        for debug in ["", "homes=fixed"] {
            let ended = run_with("deadlock_with_kept_threads", |command| {
                command.env("GORT_DEBUG", debug);
            });
            assert_eq!(ended.code, Some(2), "{ended:#?}");
            ended.says("gort: deadlock: all 3 coroutines are parked");
            ended.says("\"keeps its thread\" [park]");
        }
    }),
    ("a_report_that_cannot_be_written_has_the_same_end", || {
        // Goal: a report that cannot be written has the same end as one that can.
        assert_eq!(run_without_stderr("deadlock").code, Some(2));
        run_without_stderr("left_over").is_well();
    }),
    ("a_deadlock_of_who_has_stderr_locked_is_reported", || {
        let ended = run("deadlock_with_stderr_locked");
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        ended.says("all 1 coroutines are parked");
    }),
    ("no_deadlock_inside_blocking", || run("no_deadlock_inside_blocking").is_well()),
    ("who_waits_for_a_home_is_reported", || {
        let ended = run("left_over_without_a_home");
        ended.is_well();
        ended.says("\"neighbour\" [channel receive; has been waiting for its home for ");
    }),
    ("a_deadlock_on_fewer_procs_is_reported", || {
        let ended = run("deadlock_after_fewer_procs");
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        ended.says("all 9 coroutines are parked");
    }),
    ("the_environment_says_how_many_procs", || {
        let ended = run_with("procs_of_the_environment", |command| {
            command.env("GORT_PROCS", "3").env("GORT_DEBUG", with("machine=10"));
        });
        ended.is_well();
    }),
    ("the_load_says_how_many_procs", || {
        let ended = run_with("procs_that_follow_the_load", |command| {
            // Not shorter: on a busy machine a thread that looks for work on the third P may not get a CPU for 70 ms; it holds
            // the P meanwhile, and for a period the load is that of three hogs.
            command.env("GORT_DEBUG", with("adapt=400"));
        });
        ended.is_well();
    }),
    ("the_machine_says_how_many_procs", || {
        let ended = run_with("procs_that_follow_the_machine", |command| {
            command.env_remove("GORT_PROCS").env("GORT_DEBUG", with("machine=20"));
        });
        ended.is_well();
    }),
    ("no_deadlock_while_a_thread_lives", || run("no_deadlock_while_a_thread_lives").is_well()),
    ("no_deadlock_while_a_timer_is_armed", || run("no_deadlock_while_a_timer_is_armed").is_well()),
    ("no_deadlock_while_main_does_something_else", || run("no_deadlock_while_main_does_something_else").is_well()),
    ("a_stack_overflow_is_reported", || {
        let ended = run("overflow");
        assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
        ended.says("gort: stack overflow in coroutine ");
        ended.says("\"digger\" {depth=endless}, spawned at ");
        ended.says(&place("let handle = digger.stack_size"));
        ended.says("64 KiB");
        ended.says("Builder::stack_size");
    }),
    ("a_stack_overflow_by_large_frames_is_reported", || {
        let ended = run("overflow_at_a_large_frame");
        assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
        ended.says("gort: stack overflow in coroutine ");
        ended.says("256 KiB");
    }),
    ("too_many_shields_end_the_process", || {
        let ended = run("too_many_shields");
        assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
        ended.says("more than 65,535 shields inside each other");
        assert_eq!(ended.stdout.trim(), "so many", "{ended:#?}");
    }),
    ("a_plain_threads_overflow_is_reported_by_std", || {
        let ended = run("overflow_of_a_plain_thread");
        assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
        ended.says("has overflowed its stack");
    }),
    ("another_fault_kills_as_ever", || {
        let ended = run("fault");
        assert_eq!(ended.signal, Some(libc::SIGSEGV), "{ended:#?}");
    }),
    ("another_fault_goes_to_the_earlier_handler", || {
        let ended = run("fault_with_an_earlier_handler");
        assert_eq!(ended.code, Some(33), "{ended:#?}");
    }),
    ("a_panic_in_main_is_the_programs", || {
        let ended = run("panic_in_main");
        assert_eq!(ended.code, Some(101), "{ended:#?}");
        ended.says("on purpose");
    }),
    ("a_panic_that_leaves_a_destructor_while_unwinding_aborts", || {
        // The destructor has parked in between, so that others have run on the thread.
        for homes in ["", "homes=fixed"] {
            let ended = run_with("panic_after_a_park_while_unwinding", |command| {
                command.env("GORT_DEBUG", homes);
            });
            assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
            ended.says("the first");
            ended.says("the second");
            ended.says("panic in a destructor during cleanup");
        }
    }),
    ("a_waitable_that_waits_in_its_watch_ends_the_process", || {
        for program in ["waitable_that_sleeps", "waitable_that_yields"] {
            let ended = run(program);
            assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
            ended.says("a Waitable waits in `watch` or `ready_at`");
        }
    }),
    ("calls_that_a_container_refuses_are_done_without", || {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let ended = run_with("refused_calls", |command| {
                command.env("GORT_TEST_ERRNO", errno.to_string()).env_remove("GORT_PROCS");
            });
            ended.is_well();
        }
    }),
    ("abort_is_abort", || assert_eq!(run("abort_in_a_coroutine").signal, Some(libc::SIGABRT))),
    ("exit_is_exit", || assert_eq!(run("exit_in_a_coroutine").code, Some(7))),
    ("what_does_not_end_is_named", || {
        let ended = run("left_over");
        ended.is_well();
        ended.says("`stubborn`");
        ended.says("\"never ends\" [park]");
    }),
    ("fork_and_exec", || run("fork_and_exec").is_well()),
    ("main_may_return_while_coroutines_live", || run("main_returns_while_coroutines_live").is_well()),
    ("signals", || run("signals").is_well()),
    ("a_wrong_gort_procs_is_refused", || {
        let ended = run_with("deadlock", |command| {
            command.env("GORT_PROCS", "many");
        });
        assert_eq!(ended.code, Some(101), "{ended:#?}");
        ended.says("GORT_PROCS is \"many\"");
    }),
    ("the_deadlock_report_with_each_fallback", || {
        for debug in [
            "homes=fixed",
            "guard=mprotect",
            "membarrier=0",
            "pwait2=0",
            "homes=fixed,guard=mprotect,membarrier=0,pwait2=0",
        ] {
            let ended = run_with("deadlock", |command| {
                command.env("GORT_DEBUG", debug);
            });
            assert_eq!(ended.code, Some(2), "{debug}: {ended:#?}");
        }
    }),
];

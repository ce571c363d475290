//! How much there may be of everything, and what it costs; each in a process of its own.

mod common;
#[path = "common/programs.rs"]
mod harness;

use common::{builder, cpu_time, status_kib, threads, wait_until};
use gort::{Builder, go};
use harness::{Check, Program, run, run_with};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn main() {
    if common::CHAOS {
        // It leaves no figure as it is.
        return;
    }
    harness::main(PROGRAMS, CHECKS, &["idle_threads_retire"]);
}

/// Starts the threads that a runtime with two Ps needs. Later, when there is no memory, std would abort the process in the thread that
/// it has just started, for want of a signal stack.
fn start_both_threads(runtime: &gort::Runtime) {
    let both = Arc::new(std::sync::Barrier::new(2));
    let wait = || {
        let both = both.clone();
        runtime.spawn(move || _ = both.wait())
    };
    [wait(), wait()].into_iter().for_each(|handle| handle.join().unwrap());
    // A thread that has been started but has not come to its own code yet needs memory still.
    for name in ["gort-sysmon", "test-starter"] {
        wait_until("the runtime's own threads sleep", || common::sleeps(name));
    }
}

fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: reads the struct.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

/// Makes this process that of a user of its own, for limits by user; says so if it has no right to.
fn become_nobody() -> bool {
    // SAFETY: single-threaded; ids of nobody.
    let done = unsafe { libc::getuid() == 0 && libc::setgid(54321) == 0 && libc::setuid(54321) == 0 };
    if !done {
        eprintln!("skipped: to become another user one must be root");
    }
    done
}

/// Changes a limit for the time being, and says what it was.
fn change_limit(resource: libc::__rlimit_resource_t, value: u64) -> u64 {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the limits in.
    assert_eq!(unsafe { libc::getrlimit(resource, &mut now) }, 0);
    let before = std::mem::replace(&mut now.rlim_cur, value);
    // SAFETY: reads the limits.
    assert_eq!(unsafe { libc::setrlimit(resource, &now) }, 0);
    before
}

const PROGRAMS: &[Program] = &[
    ("parked", || {
        let runtime = builder(2).build().unwrap();
        let count = common::many_stacks();
        let (parked, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let before = status_kib("VmRSS");
        let handles: Vec<_> = (0..count)
            .map(|_| {
                let (parked, go_on) = (parked.clone(), go_on.clone());
                runtime.spawn(move || {
                    parked.fetch_add(1, SeqCst);
                    while !go_on.load(SeqCst) {
                        gort::park();
                    }
                })
            })
            .collect();
        wait_until("all are parked", || parked.load(SeqCst) == count);
        let each = (status_kib("VmRSS") - before) * 1024 / count as u64;
        eprintln!("{each} bytes for each parked coroutine, {} homes", runtime.homes());
        // Two pages of the stack and the record; unoptimised frames reach into the third here and there.
        let most = if cfg!(debug_assertions) { 13_000 } else { 9_000 };
        assert!(each < most, "{each} bytes");
        go_on.store(true, SeqCst);
        handles.iter().for_each(|handle| handle.coroutine().unpark());
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        // And again, ended by the runtime this time.
        let parked = Arc::new(AtomicUsize::new(0));
        for _ in 0..count {
            let parked = parked.clone();
            drop(runtime.spawn(move || {
                parked.fetch_add(1, SeqCst);
                gort::park();
            }));
        }
        wait_until("all are parked", || parked.load(SeqCst) == count);
        drop(runtime);
    }),
    ("fresh", || {
        // None of them runs while the only P is kept.
        let runtime = builder(1).preemption(false).build().unwrap();
        let go_on = Arc::new(AtomicBool::new(false));
        let keeps = {
            let go_on = go_on.clone();
            runtime.spawn(move || {
                while !go_on.load(SeqCst) {
                    std::hint::spin_loop();
                }
            })
        };
        let count = 1_000_000u64;
        let ended = Arc::new(AtomicUsize::new(0));
        let before = status_kib("VmRSS");
        for _ in 0..count {
            let ended = ended.clone();
            drop(runtime.spawn(move || {
                ended.fetch_add(1, SeqCst);
            }));
        }
        let each = (status_kib("VmRSS") - before) * 1024 / count;
        assert_eq!(ended.load(SeqCst), 0, "they are not queued all at once");
        eprintln!("{each} bytes for each fresh coroutine");
        assert!(each < 200, "{each} bytes");
        go_on.store(true, SeqCst);
        keeps.join().unwrap();
        wait_until("all have run", || ended.load(SeqCst) as u64 == count);
    }),
    ("homes", || {
        // As many as GORT_TEST_HOMES says, if so many coroutines live that each is used. Each of them
        // allocates, so that the allocator has what it keeps for a thread.
        let homes = std::env::var("GORT_TEST_HOMES").unwrap().parse().unwrap();
        // Nobody is taken for one who does not come back, for whom there would be another home.
        let runtime = builder(2).homes(homes).preemption(false).time_slice(common::PATIENCE).build().unwrap();
        let parked = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let parked = parked.clone();
            drop(runtime.spawn(move || {
                let kept = vec![1u8; 100];
                parked.fetch_add(1, SeqCst);
                gort::park();
                drop(kept);
            }));
        }
        wait_until("all are parked", || parked.load(SeqCst) == 1000);
        assert!(!runtime.coroutines_move() || runtime.homes() == homes, "{} homes", runtime.homes());
        println!("{}", status_kib("VmRSS"));
    }),
    ("ten", || {
        // The one in main and nine others, all at once: ten homes at most, and a thread behind each.
        gort::run(|| {
            let (live, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let handles: Vec<_> = (0..9)
                .map(|_| {
                    let (live, go_on) = (live.clone(), go_on.clone());
                    go!(move || {
                        live.fetch_add(1, SeqCst);
                        wait_until("all live", || go_on.load(SeqCst));
                    })
                })
                .collect();
            wait_until("all live", || live.load(SeqCst) == 9);
            go_on.store(true, SeqCst);
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            let named = |task: std::io::Result<std::fs::DirEntry>| {
                std::fs::read_to_string(task.unwrap().path().join("comm")).is_ok_and(|name| name == "gort-home\n")
            };
            let homes =
                std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| named(task).then_some(())).count();
            eprintln!("{homes} homes for ten coroutines");
            assert!(homes <= 10, "{homes} homes");
        });
    }),
    ("one_cpu", || {
        // SAFETY: the set is plain data of the size that is said; sched_getcpu takes nothing.
        unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap(), &mut one);
            assert_eq!(libc::sched_setaffinity(0, size_of_val(&one), &one), 0);
        }
        let runtime = gort::Runtime::new().unwrap();
        assert_eq!((runtime.procs(), runtime.run(|| go!(|| 7).join().unwrap())), (1, 7));
    }),
    ("idle", || {
        let runtime = builder(2).build().unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let begun = begun.clone();
            drop(runtime.spawn(move || {
                begun.fetch_add(1, SeqCst);
                gort::park();
            }));
        }
        wait_until("all run", || begun.load(SeqCst) == 100);
        // As little as below is allowed for as long.
        wait_until("nobody has anything to do any more", || {
            let before = cpu_time();
            std::thread::sleep(Duration::from_millis(200));
            cpu_time() - before < Duration::from_micros(500)
        });
        let before = cpu_time();
        std::thread::sleep(Duration::from_secs(2));
        let used = cpu_time() - before;
        eprintln!("{used:?} of CPU in two idle seconds");
        assert!(used < Duration::from_millis(5), "{used:?}");
        // And it wakes up.
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }),
    ("many_runtimes", || {
        let one = |i: usize| {
            let runtime = builder(1 + i % 3).build().unwrap();
            runtime.run(|| {
                let handles: Vec<_> = (0..5).map(|i| go!(move || i)).collect();
                handles.into_iter().for_each(|handle| {
                    handle.join().unwrap();
                });
                drop(go!(gort::park));
            });
        };
        (0..200).for_each(one);
        // Main and sysmon: a thread that has ended is listed for a moment longer.
        wait_until("the threads of the last one are gone", || threads() <= 2);
        let (rss, tasks, maps) = (status_kib("VmRSS"), threads(), maps());
        (0..1000).for_each(one);
        let grown = status_kib("VmRSS").saturating_sub(rss);
        eprintln!("{grown} KiB more, {tasks} and {} threads, {maps} and {} mappings", threads(), self::maps());
        assert!(grown < 2000, "{grown} KiB more after 1000 runtimes");
        wait_until("no thread is left", || threads() <= tasks);
        // glibc makes up to 16 heaps here, of two mappings each, as threads happen to allocate at the same time.
        assert!(self::maps() <= maps + 40);
    }),
    ("address_space", || {
        // Few homes: glibc reserves up to 128 MiB of addresses for the heap of each thread.
        let runtime = builder(2).homes(2).preemption(false).build().unwrap();
        start_both_threads(&runtime);
        let go_on = Arc::new(AtomicBool::new(false));
        for _ in 0..20 {
            runtime.run(|| go!(|| drop(vec![1u8; 1000])).join().unwrap());
        }
        limit(libc::RLIMIT_AS, (status_kib("VmSize") << 10) + (1 << 30));
        let mut parked = Vec::new();
        let error = loop {
            let go_on = go_on.clone();
            let body = move || {
                while !go_on.load(SeqCst) {
                    gort::time::sleep(Duration::from_millis(1));
                }
            };
            match runtime.try_spawn(Builder::new().stack_size(1 << 20), body) {
                Ok(handle) => parked.push(handle),
                Err(error) => break error,
            }
            assert!(parked.len() < 10_000);
            std::thread::sleep(Duration::from_micros(50));
        };
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        assert!(parked.len() > 500, "{}", parked.len());
        eprintln!("{} coroutines, then: {error}", parked.len());
        // The rest goes on, and all end.
        go_on.store(true, SeqCst);
        for handle in parked {
            handle.join().unwrap();
        }
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }),
    ("memory_comes_back", || {
        let runtime = builder(2).homes(2).preemption(false).build().unwrap();
        start_both_threads(&runtime);
        // Addresses in somebody else's use.
        let reserve = || {
            // SAFETY: a mapping of our own choosing, which nobody touches.
            let all = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    1 << 30,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(all, libc::MAP_FAILED);
            all
        };
        runtime.run(|| go!(|| drop(vec![1u8; 1000])).join().unwrap());
        let theirs = reserve();
        limit(libc::RLIMIT_AS, (status_kib("VmSize") << 10) + (64 << 20));
        let began = Arc::new(AtomicUsize::new(0));
        let parked = std::cell::RefCell::new(Vec::new());
        let park = || {
            let began = began.clone();
            runtime.try_spawn(Builder::new().stack_size(1 << 20), move || {
                began.fetch_add(1, SeqCst);
                gort::park();
            })
        };
        wait_until("a spawn fails", || match park() {
            Ok(handle) => {
                parked.borrow_mut().push(handle);
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                true
            }
        });
        let spawned = parked.borrow().len();
        assert!(began.load(SeqCst) < spawned, "nobody waits for a stack");
        // Nobody ends; but they give it back.
        // SAFETY: mapped above, and never used.
        assert_eq!(unsafe { libc::munmap(theirs, 1 << 30) }, 0);
        wait_until("those that waited for a stack begin", || began.load(SeqCst) >= spawned);
        wait_until("spawns succeed", || park().map(|handle| parked.borrow_mut().push(handle)).is_ok());
        let parked = parked.into_inner();
        parked.iter().for_each(|handle| handle.coroutine().unpark());
        parked.into_iter().for_each(|handle| handle.join().unwrap());
    }),
    ("race_without_memory", || {
        // One wants a stack for which there is no memory. Whenever a coroutine ends it is tried again, in between spawns
        // succeed: now and then for the first runners of a race only.
        let runtime = builder(2).stack_size(2 << 20).build().unwrap();
        start_both_threads(&runtime);
        let usual = change_limit(libc::RLIMIT_AS, (status_kib("VmSize") << 10) + (512 << 20));
        // Panics are meant here, by the dozen.
        std::panic::set_hook(Box::new(|_| ()));
        let (failed, too_large) = runtime.run(|| {
            let too_large = Builder::new().stack_size(1 << 30).spawn(|| ()).unwrap();
            /// Says whether the first runner was started: then it is not dropped by the caller.
            struct First<'a>(gort::Id, &'a AtomicBool);
            impl Drop for First<'_> {
                fn drop(&mut self) {
                    let here = gort::try_current().is_some_and(|current| current.id() == self.0);
                    self.1.store(!here, SeqCst);
                }
            }
            // Large: so a spawn takes long enough for it to be tried meanwhile.
            let ballast = [0_u8; 8 << 10];
            let one = move || {
                std::hint::black_box(&ballast);
                gort::park();
            };
            let start = Instant::now();
            loop {
                let started = AtomicBool::new(false);
                let first = First(gort::current().id(), &started);
                let first = move || {
                    let _first = first;
                    gort::park();
                };
                let raced = catch_unwind(AssertUnwindSafe(|| gort::race!(first, one, one, one, one, one, one, || ())));
                if raced.is_err() && started.load(SeqCst) {
                    return (true, too_large);
                }
                if start.elapsed() > common::PATIENCE {
                    return (false, too_large);
                }
                gort::time::sleep(Duration::from_micros(10));
            }
        });
        drop(std::panic::take_hook());
        change_limit(libc::RLIMIT_AS, usual);
        assert!(failed, "there was memory for all or for none");
        too_large.join().unwrap();
    }),
    ("threads", || {
        // A limit by user would hit the other tests; a cap of the runtime's own is the same path.
        let runtime = builder(4).threads(1).build().unwrap();
        let sum: usize = runtime.run(|| {
            let handles: Vec<_> = (0..100)
                .map(|i| {
                    go!(move || {
                        gort::time::sleep(Duration::from_micros(100));
                        i
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).sum()
        });
        assert_eq!(sum, 4950);
    }),
    ("no_more_threads", || {
        // As an ordinary user without the right to one more thread: homes cannot be made either.
        if !become_nobody() {
            return;
        }
        let runtime = builder(4).build().unwrap();
        runtime.run(|| go!(|| ()).join().unwrap());
        let most = std::cell::Cell::new(0);
        // Again if one that was about to end is counted.
        wait_until("no thread is to be had", || {
            most.set(threads());
            limit(libc::RLIMIT_NPROC, most.get() as u64);
            std::thread::Builder::new().spawn(|| ()).is_err()
        });
        let sum: usize = runtime.run(|| {
            let handles: Vec<_> = (0..100)
                .map(|i| {
                    go!(move || {
                        gort::time::sleep(Duration::from_micros(100));
                        i
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).sum()
        });
        assert_eq!(sum, 4950);
        let (most, now) = (most.get(), threads());
        assert!(now <= most, "{now} threads of {most}");
        eprintln!("{} homes, {now} threads of {most}", runtime.homes());
    }),
    ("no_thread_at_all", || {
        // Not even one for sysmon, which the first runtime starts, nor for a worker.
        if !become_nobody() {
            return;
        }
        let usual = change_limit(libc::RLIMIT_NPROC, 1);
        for _ in 0..2 {
            let error = builder(2).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        }
        assert_eq!(threads(), 1);
        change_limit(libc::RLIMIT_NPROC, usual);
        let runtime = builder(2).build().unwrap();
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }),
    ("no_descriptor", || {
        let usual = change_limit(libc::RLIMIT_NOFILE, 3);
        for _ in 0..2 {
            let error = builder(2).build().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        }
        change_limit(libc::RLIMIT_NOFILE, usual);
        let runtime = builder(2).build().unwrap();
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }),
    ("streams_without_a_descriptor", || {
        use gort::io::{stderr, stdin, stdout};
        use std::io::{Read, Write};
        let runtime = builder(1).build().unwrap();
        let use_all = || {
            assert_eq!(stdin().read(&mut [0; 8]).unwrap(), 0);
            writeln!(stdout(), "a line").unwrap();
            writeln!(stderr(), "a line").unwrap();
        };
        let usual = change_limit(libc::RLIMIT_NOFILE, 4);
        use_all();
        runtime.run(use_all);
        change_limit(libc::RLIMIT_NOFILE, usual);
        runtime.run(use_all);
    }),
    ("stdin_in_many_runtimes", || {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let read = || {
            gort::run(|| {
                let in_time =
                    gort::time::timeout(Duration::from_millis(1), || gort::io::stdin().read_line(&mut String::new()));
                assert!(in_time.is_err(), "nothing is written");
            });
        };
        read();
        let before = descriptors();
        (0..50).for_each(|_| read());
        assert_eq!(descriptors(), before);
    }),
    ("threads_retire", || {
        let runtime = builder(8).thread_keep_alive(Duration::from_secs(1)).build().unwrap();
        let start = Instant::now();
        let handles: Vec<_> = (0..50).map(|_| runtime.spawn(|| common::compute(Duration::from_millis(5)))).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        let workers = || common::threads_named("test-m");
        let most = workers();
        let homes = if runtime.coroutines_move() { runtime.homes() } else { 0 };
        // One is the poller and stays, whatever happens; main, sysmon and the starter are there, too.
        while workers() > 1 || threads() > homes + 4 {
            assert!(start.elapsed() < Duration::from_secs(60), "{} threads of {most} are left", workers());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    }),
];

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

const CHECKS: &[Check] = &[
    ("a_hundred_thousand_parked", || well("parked")),
    ("a_million_fresh", || well("fresh")),
    ("the_cost_of_homes", || {
        // The same coroutines in one home and in 256, in processes of their own.
        let rss = |homes| {
            let ended = run_with("homes", |command| {
                command.env("GORT_TEST_HOMES", homes);
            });
            ended.is_well();
            ended.stdout.trim().parse::<u64>().unwrap()
        };
        let (one, many) = (rss("1"), rss("256"));
        println!("{one} KiB with one home, {many} KiB with 256");
        assert!((many.saturating_sub(one)) * 1024 < 5_000_000, "256 homes take {} KiB", many - one);
    }),
    ("ten_coroutines_make_at_most_ten_homes", || well("ten")),
    ("the_default_of_procs_is_the_affinity_mask", || {
        let ended = run_with("one_cpu", |command| {
            command.env_remove("GORT_PROCS");
        });
        ended.is_well();
    }),
    ("an_idle_runtime_uses_no_cpu", || well("idle")),
    ("a_thousand_runtimes_leave_nothing", || well("many_runtimes")),
    ("out_of_address_space", || well("address_space")),
    ("who_waits_for_a_stack_gets_it_when_memory_comes_back", || well("memory_comes_back")),
    ("a_race_that_cannot_start_all_ends", || well("race_without_memory")),
    ("one_thread_is_enough", || well("threads")),
    ("no_more_threads_to_be_had", || well("no_more_threads")),
    ("a_runtime_without_a_thread_is_refused", || well("no_thread_at_all")),
    ("a_runtime_without_a_descriptor_is_refused", || well("no_descriptor")),
    ("standard_streams_need_no_descriptor", || {
        // Goal: who reads and writes them by way of us can do so where std's can. Method: a first use of each when no descriptor is to be
        // had, by a thread and by a coroutine, and another when there are some.
        let ended = run("streams_without_a_descriptor");
        ended.is_well();
        let all = "a line\n".repeat(3);
        assert_eq!((ended.stdout, ended.stderr), (all.clone(), all));
    }),
    ("a_stream_that_outlives_runtimes_leaves_their_netpollers", || {
        // Goal: descriptors that live as long as the process keep nothing of runtimes that have ended. Method: a standard input that
        // stays empty, for which a coroutine waits in one runtime after the other; the open descriptors are counted.
        let (reader, _writer) = std::io::pipe().unwrap();
        let ended = run_with("stdin_in_many_runtimes", |command| {
            command.stdin(reader);
        });
        ended.is_well();
    }),
    ("idle_threads_retire", || well("threads_retire")),
];

fn well(program: &str) {
    let ended = run(program);
    ended.is_well();
    print!("{}", ended.stderr);
}

//! Signals: who gets them, and what they do when nobody listens. See `common/programs.rs`.

mod common;
#[path = "common/programs.rs"]
mod harness;

use common::{Hogs, PATIENCE, PROCS, builder, wait_until, watchdog};
use gort::future::{Until, until};
use gort::signal::{Signal, Signals, ctrl_c, notify};
use gort::{Runtime, go, select};
use harness::{Check, Program, run, run_with};
use std::io::{ErrorKind, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};
use std::time::{Duration, Instant};

fn main() {
    // Who starts this in the background, or by nohup(1), has these ignored, and so would the programs here.
    if std::env::var_os("GORT_PROGRAM").is_none() {
        for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
            set(signal, libc::SIG_DFL);
        }
    }
    harness::main(PROGRAMS, CHECKS, &[]);
}

/// Long enough for a signal that ought not to come.
const SHORT: Duration = Duration::from_millis(20);

/// Runs `f` on a plain thread and as a coroutine of runtimes with each number of Ps.
fn everywhere(f: impl Fn() + Sync) {
    let _dog = watchdog(PATIENCE, "signals");
    f();
    for procs in PROCS {
        builder(procs).build().unwrap().run(&f);
    }
}

/// Sends a signal to this process.
fn send(signal: Signal) {
    // SAFETY: no memory.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal.as_raw()) }, 0);
}

/// Three hogs, and whether each of them has got on. None where coroutines do not move: nobody could live with one.
fn hogs(runtime: &Runtime) -> (Hogs, impl Fn() -> bool + Sync + use<>) {
    let steps: Arc<[AtomicUsize]> =
        (0..if runtime.coroutines_move() { 3 } else { 0 }).map(|_| AtomicUsize::new(0)).collect();
    let hogs = Hogs::start(runtime, steps.len(), |me| {
        let steps = steps.clone();
        move |_| {
            steps[me].fetch_add(1, SeqCst);
        }
    });
    (hogs, move || steps.iter().all(|steps| steps.load(SeqCst) > 0))
}

/// What the kernel knows of a signal.
fn disposition(signal: Signal) -> libc::sigaction {
    // SAFETY: plain data, which the call fills in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal.as_raw(), std::ptr::null(), &mut action), 0);
        action
    }
}

fn set(signal: Signal, handler: usize) {
    // SAFETY: all zero bits are an empty mask and no flags; handlers here count.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        assert_eq!(libc::sigaction(signal.as_raw(), &action, std::ptr::null_mut()), 0);
    }
}

static COUNTED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    COUNTED.fetch_add(1, SeqCst);
}

/// Listens for `signal`, gets it, and stops listening.
fn once(signal: Signal) {
    let signals = notify(&[signal]).unwrap();
    send(signal);
    assert_eq!(signals.recv(), signal);
}

/// Whether the thread is there that hands signals on.
fn has_thread() -> bool {
    std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
        // It may end while we look.
        std::fs::read_to_string(task.unwrap().path().join("comm")).is_ok_and(|name| name.trim() == "gort-signals")
    })
}

fn pass() {
    match gort::try_current() {
        Some(_) => gort::yield_now(),
        None => std::thread::yield_now(),
    }
}

/// One that comes.
fn comes(signals: &Signals) -> Signal {
    signals.recv_timeout(PATIENCE).expect("a signal")
}

const PROGRAMS: &[Program] = &[
    ("received", || {
        everywhere(|| {
            let mut signals = notify(&[Signal::USR1, Signal::USR2, Signal::TERM, Signal::from_raw(40)]).unwrap();
            assert_eq!(signals.try_recv(), None);
            for signal in [Signal::USR2, Signal::TERM, Signal::from_raw(40), Signal::USR1] {
                send(signal);
                assert_eq!(signals.recv(), signal);
            }
            assert_eq!(signals.recv_timeout(Duration::from_millis(2)), None);
            assert_eq!(signals.recv_deadline(Instant::now()), None);
            // Another says when each has come, and the last signal that all of them have been handed on.
            let other = notify(&[Signal::USR1, Signal::from_raw(41)]).unwrap();
            for signal in [Signal::USR1; 100].into_iter().chain([Signal::from_raw(41)]) {
                send(signal);
                assert_eq!(comes(&other), signal);
            }
            assert_eq!((signals.next(), signals.try_recv()), (Some(Signal::USR1), None), "they coalesce");
            send(Signal::USR2);
            assert_eq!((&signals).next(), Some(Signal::USR2));
        });
    }),
    ("two_listeners", || {
        everywhere(|| {
            let both = notify(&[Signal::USR1, Signal::USR2]).unwrap();
            let one = notify(&[Signal::USR1, Signal::USR1]).unwrap();
            send(Signal::USR1);
            assert_eq!((comes(&one), comes(&both)), (Signal::USR1, Signal::USR1));
            send(Signal::USR2);
            assert_eq!((comes(&both), one.recv_timeout(SHORT)), (Signal::USR2, None));
            // Who stops takes nothing from the other.
            drop(one);
            send(Signal::USR1);
            assert_eq!(comes(&both), Signal::USR1);
            let one = notify(&[Signal::USR1]).unwrap();
            send(Signal::USR1);
            assert_eq!((comes(&one), comes(&both)), (Signal::USR1, Signal::USR1));
        });
    }),
    ("one_of_several_waits", || {
        builder(2).build().unwrap().run(|| {
            let signals = notify(&[Signal::USR1]).unwrap();
            let got = AtomicUsize::new(0);
            gort::scope(|s| {
                let waiting: Vec<_> = (0..4)
                    .map(|_| {
                        s.go(|| {
                            signals.recv();
                            got.fetch_add(1, SeqCst);
                        })
                    })
                    .collect();
                for sent in 1..=3 {
                    send(Signal::USR1);
                    wait_until("one has it", || got.load(SeqCst) == sent);
                }
                std::thread::sleep(SHORT);
                assert_eq!(got.load(SeqCst), 3);
                waiting.iter().for_each(|handle| handle.cancel());
                waiting.into_iter().for_each(|handle| drop(handle.join()));
            });
            // Those that were cancelled have taken nothing.
            send(Signal::USR1);
            assert_eq!(comes(&signals), Signal::USR1);
        });
    }),
    ("cases_of_a_select", || {
        everywhere(|| {
            let (a, b) = (notify(&[Signal::USR1]).unwrap(), notify(&[Signal::USR2]).unwrap());
            let (sender, receiver) = gort::channel::bounded(1);
            for round in 0..60 {
                match round % 3 {
                    0 => send(Signal::USR1),
                    1 => send(Signal::USR2),
                    _ => sender.send(round).unwrap(),
                }
                let chosen = select! {
                    wait(a) => a.try_recv().map(|signal| (signal == Signal::USR1, 0)),
                    wait(b) => b.try_recv().map(|signal| (signal == Signal::USR2, 1)),
                    recv(receiver) -> got => Some((got == Ok(round), 2)),
                };
                assert_eq!(chosen, Some((true, round % 3)));
            }
            let late = select! {
                wait(a) => false,
                default(Duration::from_millis(1)) => true,
            };
            assert!(late);
        });
    }),
    ("what_is_refused", || {
        let refused = |signals: &[Signal]| notify(signals).is_err_and(|error| error.kind() == ErrorKind::InvalidInput);
        for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGABRT, 0, -1, 32, 65, 1000] {
            assert!(refused(&[Signal::USR1, Signal::from_raw(number)]), "{number}");
        }
        assert!(refused(&[]));
        // Nobody listens after an error, and nothing has changed.
        assert_eq!(disposition(Signal::USR1).sa_sigaction, libc::SIG_DFL);
        let urgent = notify(&[Signal::URG]).unwrap();
        let _runtime = builder(1).build().unwrap();
        assert!(refused(&[Signal::TERM, Signal::URG]));
        // Who came before goes on.
        send(Signal::URG);
        assert_eq!(comes(&urgent), Signal::URG);
    }),
    ("preemption_by_the_same", || {
        let _dog = watchdog(PATIENCE, "preemption");
        let signals = notify(&[Signal::USR1]).unwrap();
        let runtime = builder(1).preemption_signal(libc::SIGUSR1).build().unwrap();
        let (hogs, all_get_on) = hogs(&runtime);
        runtime.run(|| {
            for _ in 0..5 {
                gort::time::sleep(Duration::from_millis(1));
                assert_eq!(signals.try_recv(), None, "what preempts is nobody's");
                send(Signal::USR1);
                assert_eq!(comes(&signals), Signal::USR1);
            }
        });
        wait_until("all get on", all_get_on);
        hogs.stop();
    }),
    ("storm", || {
        let _dog = watchdog(PATIENCE, "a storm");
        for procs in PROCS {
            let runtime = builder(procs).build().unwrap();
            let (hogs, all_get_on) = hogs(&runtime);
            let signals = notify(&[Signal::USR1, Signal::USR2]).unwrap();
            let stop = std::sync::atomic::AtomicBool::new(false);
            let (stop, signals) = (&stop, &signals);
            let got = std::thread::scope(|threads| {
                threads.spawn(move || {
                    while !stop.load(SeqCst) {
                        send(Signal::USR1);
                    }
                    send(Signal::USR2);
                });
                runtime.run(|| {
                    gort::scope(|s| {
                        let talk = s.go(|| {
                            let (to, from) = gort::channel::bounded(0);
                            let other = go!(move || from.iter().sum::<u64>());
                            (0..500).for_each(|i| to.send(i).unwrap());
                            drop(to);
                            assert_eq!(other.join().unwrap(), 500 * 499 / 2);
                        });
                        let mut got = 0;
                        while got < 100 || !talk.is_finished() || !all_get_on() {
                            assert_eq!(comes(signals), Signal::USR1);
                            got += 1;
                        }
                        stop.store(true, SeqCst);
                        while comes(signals) != Signal::USR2 {}
                        got
                    })
                })
            });
            hogs.stop();
            eprintln!("procs = {procs}: {got} received");
        }
    }),
    ("all_at_once", || {
        // Goal: the small alternate stack of the main thread bears as many as there are.
        let _dog = watchdog(PATIENCE, "all at once");
        let all = [
            Signal::HUP,
            Signal::INT,
            Signal::USR1,
            Signal::USR2,
            Signal::TERM,
            Signal::CHLD,
            Signal::WINCH,
            Signal::CONT,
        ];
        let signals = notify(&all).unwrap();
        // SAFETY: a set that is filled in first; signals to this very thread, which has a handler for each.
        unsafe {
            let (mut blocked, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&mut blocked);
            all.iter().for_each(|signal| _ = libc::sigaddset(&mut blocked, signal.as_raw()));
            libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, &mut before);
            for signal in all {
                assert_eq!(libc::pthread_kill(libc::pthread_self(), signal.as_raw()), 0);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        }
        let mut got = all.map(|_| comes(&signals));
        let mut all = all;
        got.sort_by_key(|signal| signal.as_raw());
        all.sort_by_key(|signal| signal.as_raw());
        assert_eq!(got, all);
    }),
    ("flags", || {
        let _signals = notify(&[Signal::USR1]).unwrap();
        assert_ne!(disposition(Signal::USR1).sa_flags & libc::SA_ONSTACK, 0);
        assert_ne!(disposition(Signal::USR1).sa_flags & libc::SA_RESTART, 0);
    }),
    ("one_comes_meanwhile", || {
        let _dog = watchdog(PATIENCE, "signals");
        let many: Vec<_> = [Signal::TERM].into_iter().chain((36..64).map(Signal::from_raw)).collect();
        let sender = std::thread::spawn(|| {
            while disposition(Signal::from_raw(38)).sa_sigaction == libc::SIG_DFL {
                std::hint::spin_loop();
            }
            send(Signal::TERM);
        });
        let signals = notify(&many).unwrap();
        sender.join().unwrap();
        assert_eq!(comes(&signals), Signal::TERM);
    }),
    ("the_default_comes_back", || {
        everywhere(|| once(Signal::TERM));
        let _other = notify(&[Signal::USR1]).unwrap();
        println!("alive");
        send(Signal::TERM);
        std::thread::sleep(PATIENCE);
    }),
    ("the_default_core", || {
        // SAFETY: no memory that it keeps.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 }) };
        once(Signal::QUIT);
        once(Signal::QUIT);
        builder(1).build().unwrap().run(|| {
            send(Signal::QUIT);
            gort::time::sleep(PATIENCE);
        });
    }),
    ("the_default_is_nothing", || {
        everywhere(|| {
            for signal in [Signal::CHLD, Signal::WINCH, Signal::CONT] {
                once(signal);
                send(signal);
            }
            // Coming back to life.
            once(Signal::CHLD);
        });
    }),
    ("the_default_stops", || {
        for _ in 0..2 {
            once(Signal::TSTP);
            send(Signal::TSTP);
            println!("goes on");
        }
        once(Signal::TSTP);
    }),
    ("ignored_before", || {
        assert_eq!(disposition(Signal::HUP).sa_sigaction, libc::SIG_IGN);
        once(Signal::HUP);
        send(Signal::HUP);
        once(Signal::HUP);
    }),
    ("a_handler_before_and_one_after", || {
        set(Signal::USR1, count as extern "C" fn(libc::c_int) as usize);
        once(Signal::USR1);
        assert_eq!(COUNTED.load(SeqCst), 1);
        send(Signal::USR1);
        wait_until("it is called when nobody listens", || COUNTED.load(SeqCst) == 2);
        // One that was put over ours, and calls it, decides.
        static OURS: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn over(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: what the kernel had for this signal, with SA_SIGINFO.
            let ours = unsafe { std::mem::transmute::<usize, Handler>(OURS.load(SeqCst)) };
            ours(signal, info, context);
            COUNTED.fetch_add(10, SeqCst);
        }
        once(Signal::USR2);
        let mut action = disposition(Signal::USR2);
        OURS.store(action.sa_sigaction, SeqCst);
        action.sa_sigaction = over as *const () as usize;
        // SAFETY: it counts and calls what was there.
        assert_eq!(unsafe { libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()) }, 0);
        send(Signal::USR2);
        wait_until("it is called", || COUNTED.load(SeqCst) == 12);
        once(Signal::USR2);
        assert_eq!(COUNTED.load(SeqCst), 22);
    }),
    ("ctrl_c", || {
        everywhere(|| {
            let sender = std::thread::spawn(|| {
                wait_until("somebody waits", has_thread);
                // Until the handler is ours it would be the end.
                wait_until("its handler is there", || disposition(Signal::INT).sa_sigaction != libc::SIG_DFL);
                std::thread::sleep(SHORT);
                send(Signal::INT);
            });
            ctrl_c().unwrap();
            wait_until("it has sent", || sender.is_finished());
            wait_until("the thread ends", || !has_thread());
        });
        println!("once more");
        send(Signal::INT);
        std::thread::sleep(PATIENCE);
    }),
    ("they_come_and_go", || {
        // Listening begins and ends while signals come: none may end the process, each listener gets those after its beginning.
        let _dog = watchdog(PATIENCE, "come and go");
        let runtime = builder(2).build().unwrap();
        let always = notify(&[Signal::USR1]).unwrap();
        runtime.run(|| {
            gort::scope(|s| {
                for _ in 0..8 {
                    s.go(|| {
                        for round in 0..50 {
                            let signals = notify(&[Signal::USR1, Signal::USR2]).unwrap();
                            if round % 2 == 0 {
                                send(Signal::USR1);
                                while comes(&signals) != Signal::USR1 {}
                            }
                            pass();
                        }
                    });
                }
            });
        });
        assert_eq!(comes(&always), Signal::USR1);
        drop(always);
        wait_until("the thread ends", || !has_thread());
    }),
    ("a_waker_that_stops_listening", || {
        struct Stops(Mutex<Option<Until<Signals>>>);
        impl Wake for Stops {
            fn wake(self: Arc<Stops>) {
                drop(self.0.lock().unwrap().take());
            }
        }
        let _dog = watchdog(PATIENCE, "a waker that stops listening");
        let stops = Arc::new(Stops(Mutex::new(None)));
        let mut future = until(notify(&[Signal::USR1]).unwrap());
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&stops.clone().into())).is_pending());
        *stops.0.lock().unwrap() = Some(future);
        send(Signal::USR1);
        wait_until("it is woken", || stops.0.lock().unwrap().is_none());
        once(Signal::USR2);
        wait_until("the thread ends", || !has_thread());
    }),
    ("deadlock_after_listening", || {
        gort::run(|| {
            once(Signal::USR1);
            gort::park();
        });
    }),
];

const CHECKS: &[Check] = &[
    ("signals_are_received", || run("received").is_well()),
    ("each_listener_gets_them", || run("two_listeners").is_well()),
    ("one_of_those_who_wait_gets_it", || run("one_of_several_waits").is_well()),
    ("they_are_cases_of_a_select", || run("cases_of_a_select").is_well()),
    ("some_are_refused", || run("what_is_refused").is_well()),
    ("preemption_gets_along_with_them", || run("preemption_by_the_same").is_well()),
    ("a_storm_does_no_harm", || run("storm").is_well()),
    ("all_may_come_at_once", || run("all_at_once").is_well()),
    ("handlers_run_on_the_alternate_stack", || run("flags").is_well()),
    ("one_that_comes_meanwhile_is_received", || {
        // Goal: from when it is handled a signal goes to who listens. Method: `notify` of many, in the order of their numbers; another
        // thread sends the first of them when it sees that a later one is handled.
        for _ in 0..10 {
            run("one_comes_meanwhile").is_well();
        }
    }),
    ("the_default_comes_back", || {
        let ended = run("the_default_comes_back");
        assert_eq!((ended.signal, ended.stdout.as_str()), (Some(libc::SIGTERM), "alive\n"), "{ended:#?}");
        let ended = run("the_default_core");
        assert_eq!(ended.signal, Some(libc::SIGQUIT), "{ended:#?}");
        run("the_default_is_nothing").is_well();
    }),
    ("the_default_stops_and_goes_on", || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        // A group of its own, whose parent is in another: else nobody could make it go on, and it does not stop.
        command.env("GORT_PROGRAM", "the_default_stops").process_group(0).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let id = child.id() as libc::pid_t;
        for _ in 0..2 {
            let mut status = 0;
            // SAFETY: our own child, and room for its status.
            assert_eq!(unsafe { libc::waitpid(id, &mut status, libc::WUNTRACED) }, id);
            let status = std::process::ExitStatus::from_raw(status);
            assert_eq!(status.stopped_signal(), Some(libc::SIGTSTP), "{status}");
            // SAFETY: our own child, which has not been reaped.
            assert_eq!(unsafe { libc::kill(id, libc::SIGCONT) }, 0);
        }
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((child.wait().unwrap().code(), text.as_str()), (Some(0), "goes on\ngoes on\n"));
    }),
    ("an_ignored_one_is_ignored_again", || {
        let ended = run_with("ignored_before", |command| {
            // SAFETY: sigaction is async-signal-safe.
            unsafe {
                command.pre_exec(|| {
                    set(Signal::HUP, libc::SIG_IGN);
                    Ok(())
                })
            };
        });
        ended.is_well();
    }),
    ("handlers_of_others_are_called", || run("a_handler_before_and_one_after").is_well()),
    ("ctrl_c_once", || {
        let ended = run("ctrl_c");
        assert_eq!((ended.signal, ended.stdout.as_str()), (Some(libc::SIGINT), "once more\n"), "{ended:#?}");
    }),
    ("listeners_come_and_go", || run("they_come_and_go").is_well()),
    ("a_waker_may_stop_listening", || {
        // Goal: others' wakers run without a lock of ours. Method: one drops the listener that has woken it; then others listen.
        run("a_waker_that_stops_listening").is_well();
    }),
    ("deadlocks_are_reported_when_nobody_listens", || {
        let ended = run("deadlock_after_listening");
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        ended.says("gort: deadlock");
    }),
];

//! Child processes: waiting for them, their pipes, and what is left of them.

mod common;

use common::{PROCS, builder, cpu_time, is_child, wait_until};
use gort::process::{Child, Command, Stdio};
use gort::{go, scope};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command as Theirs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
/// More than a pipe holds.
const MUCH: usize = 1 << 20;

/// Tests that count children, or descriptors, are alone, and so are those that have children for long.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Runs `f` on a plain thread and as a coroutine of runtimes with each number of Ps.
fn everywhere(f: impl Fn() + Sync) {
    let _alone = alone();
    eprintln!("plain threads");
    f();
    for procs in PROCS {
        eprintln!("procs = {procs}");
        builder(procs).build().unwrap().run(&f);
    }
    wait_until("no child is left", || children().is_empty());
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// The children of this process, with their states.
fn children() -> Vec<(u32, char)> {
    let us = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Ok(id) = name.to_string_lossy().parse::<u32>() else { continue };
        // It may end while we look.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let mut rest = stat[stat.rfind(')').unwrap() + 2..].split(' ');
        let state = rest.next().unwrap().chars().next().unwrap();
        if rest.next() == Some(&*us) {
            found.push((id, state));
        }
    }
    found
}

#[test]
fn a_command_does_what_that_of_std_does() {
    everywhere(|| {
        for script in
            ["echo out; echo err >&2; exit 3", "kill -9 $$", "cat", "echo $A-$B; pwd", "exit 0", "sleep 0.01; echo $0"]
        {
            let mut ours = sh(script);
            let mut theirs = Theirs::new("sh");
            theirs.args(["-c", script]);
            ours.env("A", "1").env_remove("B").current_dir("/");
            theirs.env("A", "1").env_remove("B").current_dir("/");
            assert_eq!(ours.output().unwrap(), theirs.output().unwrap(), "{script}");
            assert_eq!(ours.output().unwrap(), theirs.output().unwrap(), "{script}, once more");
            ours.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            theirs.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            assert_eq!(ours.status().unwrap(), theirs.status().unwrap());
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        }
        let ours = Command::new("/no/such/program").spawn().unwrap_err();
        let theirs = Theirs::new("/no/such/program").spawn().unwrap_err();
        assert_eq!((ours.kind(), ours.raw_os_error()), (theirs.kind(), theirs.raw_os_error()));
        let mut command = Command::new("sh");
        // SAFETY: it only makes an error.
        unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(libc::EDOM))) };
        assert_eq!(command.spawn().unwrap_err().raw_os_error(), Some(libc::EDOM));
        assert_eq!(sh("echo $0").arg0("else").args(["name"]).output().unwrap().stdout, b"name\n");
    });
}

#[test]
fn waiting_ends_with_the_child_or_with_its_time() {
    everywhere(|| {
        let mut child = sh("read line; exit $line").stdin(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        assert_eq!(child.try_wait().unwrap(), None);
        assert_eq!(child.wait_timeout(Duration::from_millis(5)).unwrap(), None);
        assert!(start.elapsed() >= Duration::from_millis(5));
        assert_eq!(child.wait_deadline(Instant::now() + Duration::from_millis(1)).unwrap(), None);
        assert_eq!(child.wait_deadline(start).unwrap(), None);
        child.stdin.as_mut().unwrap().write_all(b"7\n").unwrap();
        assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
        // Once it is known it stays so.
        assert_eq!(child.wait().unwrap().code(), Some(7));
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(7));
        child.kill().unwrap();
        // `wait` closes its input.
        let mut child = sh("cat; exit 4").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(4));
        let mut child = sh("exec sleep 1000").spawn().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    });
}

#[test]
fn much_on_both_pipes_does_not_jam() {
    everywhere(|| {
        let script = format!("head -c {MUCH} /dev/zero; head -c {MUCH} /dev/zero >&2; head -c {MUCH} /dev/zero");
        let output = sh(&script).output().unwrap();
        assert!(output.status.success());
        assert_eq!((output.stdout.len(), output.stderr.len()), (2 * MUCH, MUCH));
        // And in, by another coroutine or thread.
        let mut child =
            sh("tee /dev/stderr").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let write = move || stdin.write_all(&vec![7; MUCH]).unwrap();
        let read = move || child.wait_with_output().unwrap();
        let output = if gort::try_current().is_some() {
            scope(|s| {
                s.go(write);
                read()
            })
        } else {
            std::thread::scope(|s| {
                s.spawn(write);
                read()
            })
        };
        assert!(output.stdout == vec![7; MUCH] && output.stderr == vec![7; MUCH]);
        // One of them, and none.
        let child = sh("echo a").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"a\n");
        let child = sh("echo a >&2").stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.wait_with_output().unwrap().stderr, b"a\n");
        assert!(sh("true").spawn().unwrap().wait_with_output().unwrap().stdout.is_empty());
        // From one to the other.
        let mut one = sh("echo through").stdout(Stdio::piped()).spawn().unwrap();
        let other = sh("cat").stdin(one.stdout.take().unwrap()).output().unwrap();
        assert_eq!(other.stdout, b"through\n");
        assert!(one.wait().unwrap().success());
    });
}

#[test]
fn pipes_have_limits() {
    everywhere(|| {
        let mut command = sh("exec sleep 1000");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        stdout.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(stdout.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        let stdin = child.stdin.as_mut().unwrap();
        stdin.set_write_deadline(Some(Instant::now() + Duration::from_millis(2)));
        assert_eq!(stdin.write_all(&vec![0; MUCH]).unwrap_err().kind(), ErrorKind::TimedOut);
        let theirs: std::process::ChildStdin = child.stdin.take().unwrap().into_std().unwrap();
        drop(gort::process::ChildStdin::from(theirs));
    });
}

/// Goal: the limits of the pipes hold when both are read at once. Method: a child that writes nothing, or to one of them without end,
/// and keeps the other; with a timeout on both, or a deadline on that other one.
#[test]
fn limits_hold_for_two_pipes_read_at_once() {
    everywhere(|| {
        for script in ["exec sleep 1000", "exec yes", "exec yes 3>&1 >&2"] {
            for way in 0..2 {
                let mut command = sh(script);
                let mut child =
                    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
                let limit = Duration::from_millis(20);
                let start = Instant::now();
                let (stdout, stderr) = (child.stdout.as_mut().unwrap(), child.stderr.as_mut().unwrap());
                if way == 0 {
                    stdout.set_read_timeout(Some(limit)).unwrap();
                    stderr.set_read_timeout(Some(limit)).unwrap();
                } else if script.ends_with("&2") {
                    stdout.set_read_deadline(Some(start + limit));
                } else {
                    stderr.set_read_deadline(Some(start + limit));
                }
                assert_eq!(child.wait_with_output().unwrap_err().kind(), ErrorKind::TimedOut, "{script}, way {way}");
                assert!(start.elapsed() >= limit);
            }
        }
    });
}

#[test]
fn dropped_children_are_reaped() {
    everywhere(|| {
        // One that has ended, one that will, one that never would.
        let mut ended = sh("true").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(ended.stdout.as_mut().unwrap().read(&mut [0]).unwrap(), 0);
        drop(ended);
        let mut later = sh("read line").stdin(Stdio::piped()).spawn().unwrap();
        let stdin = later.stdin.take();
        assert_eq!(later.wait_timeout(Duration::from_millis(1)).unwrap(), None);
        let id = later.id();
        drop(later);
        assert!(children().iter().any(|(child, _)| *child == id), "it goes on");
        drop(stdin);
        let never = sh("exec sleep 1000").kill_on_drop(true).spawn().unwrap();
        drop(never);
        wait_until("all are gone", || children().is_empty());
    });
}

#[test]
fn five_hundred_at_once_leave_no_zombie() {
    let _alone = alone();
    builder(2).build().unwrap().run(|| {
        scope(|s| {
            for worker in 0..10 {
                s.go(move || {
                    let started: Vec<Child> =
                        (0..50).map(|_| Command::new("sleep").arg("0.05").spawn().unwrap()).collect();
                    for (i, mut child) in started.into_iter().enumerate() {
                        if (i + worker) % 5 == 0 {
                            assert!(child.wait().unwrap().success());
                        }
                    }
                });
            }
        });
    });
    wait_until("no child is left", || children().is_empty());
    wait_until("nor the thread that reaps", || {
        std::fs::read_dir("/proc/self/task").unwrap().all(|task| {
            let comm = task.unwrap().path().join("comm");
            !std::fs::read_to_string(comm).unwrap_or_default().starts_with("gort-reaper")
        })
    });
}

#[test]
fn cancelling_ends_a_wait_and_the_child_if_that_was_said() {
    let _alone = alone();
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            for kill in [true, false] {
                let (sender, receiver) = gort::channel::bounded(1);
                let task = go!(move || {
                    let mut child = sh("exec sleep 1000").kill_on_drop(kill).spawn().unwrap();
                    sender.send(child.id()).unwrap();
                    let _ = child.wait();
                    unreachable!("it does not end");
                });
                let id = receiver.recv_timeout(LONG).unwrap();
                task.cancel();
                assert!(task.join_timeout(LONG).expect("it ends").unwrap_err().is_cancelled());
                if !kill {
                    assert!(children().iter().any(|(child, state)| *child == id && *state != 'Z'));
                    // SAFETY: a call without memory; the child has not been reaped, it was there just now.
                    assert_eq!(unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) }, 0);
                }
                wait_until("it is gone", || children().is_empty());
            }
            let limit = Duration::from_millis(5);
            assert!(gort::time::timeout(limit, || sh("exec sleep 1000").kill_on_drop(true).output()).is_err());
            wait_until("it is gone", || children().is_empty());
        });
    }
}

/// Goal: others run while a child is started and waited for. Method: one P, and the child ends when the other has written.
#[test]
fn nobody_is_held_up() {
    let _alone = alone();
    builder(1).build().unwrap().run(|| {
        for local in [true, false] {
            let mut child = sh("read line").stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let write = move || {
                gort::time::sleep(Duration::from_millis(2));
                stdin.write_all(b"x\n").unwrap();
            };
            let other = if local { gort::spawn_local(write) } else { go!(write) };
            assert!(child.wait().unwrap().success());
            other.join().unwrap();
        }
    });
}

/// Goal: where there are no descriptors, starting says so and nothing is left; a wait that finds none works all the same.
/// Method: a process of its own, whose limit is set to what it has.
#[test]
fn without_descriptors() {
    let _alone = alone();
    let name = "without_descriptors";
    if !is_child(name) {
        return;
    }
    builder(2).build().unwrap().run(|| {
        let mut before = sh("read line").stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = before.stdin.take().unwrap();
        gort::time::sleep(Duration::from_millis(1));
        let mut files = Vec::new();
        // SAFETY: plain data.
        unsafe {
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        let error = sh("true").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(before.wait_timeout(Duration::from_millis(5)).unwrap(), None);
        let other = go!(move || stdin.write_all(b"x\n").unwrap());
        assert!(before.wait().unwrap().success());
        other.join().unwrap();
        drop(files);
        assert!(sh("true").status().unwrap().success());
    });
}

/// Goal: who waits for a child that somebody else has reaped is told so. Method: a process of its own, in which all children are
/// waited for, or their ends ignored.
#[test]
fn a_child_that_somebody_else_has_reaped_is_an_error() {
    let _alone = alone();
    if !is_child("a_child_that_somebody_else_has_reaped_is_an_error") {
        return;
    }
    let _dog = common::watchdog(LONG, "who waits for a child that was reaped");
    let set = |action| {
        // SAFETY: all zero bits are an empty mask and no flags; no handler.
        unsafe {
            let mut what: libc::sigaction = std::mem::zeroed();
            what.sa_sigaction = action;
            assert_eq!(libc::sigaction(libc::SIGCHLD, &what, std::ptr::null_mut()), 0);
        }
    };
    let check = || {
        let mut child = sh("true").spawn().unwrap();
        // SAFETY: no status is written. It is the only child.
        assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) }, child.id() as libc::pid_t);
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
        assert_eq!(child.wait_timeout(LONG).unwrap_err().raw_os_error(), Some(libc::ECHILD));
        drop(child);
        // While it is waited for, which closes its input.
        set(libc::SIG_IGN);
        let mut child = sh("read line").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
        set(libc::SIG_DFL);
    };
    check();
    for procs in PROCS {
        builder(procs).build().unwrap().run(check);
    }
}

/// Goal: it all works where pidfds are refused. Method: this program again, with `GORT_DEBUG=pidfd=0`.
#[test]
fn again_without_pidfds() {
    if std::env::var("GORT_DEBUG").is_ok_and(|text| text.contains("pidfd=0")) {
        return;
    }
    let _alone = alone();
    let debug = std::env::var("GORT_DEBUG").map_or("pidfd=0".to_owned(), |text| text + ",pidfd=0");
    let status = Theirs::new(std::env::current_exe().unwrap())
        .args(["--test-threads=1", "--skip", "again_without_pidfds", "--skip", "five_hundred"])
        .env("GORT_DEBUG", debug)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn pipes_of_ours_are_given_to_children() {
    use std::io::{Read, Write};
    gort::run(|| {
        let (theirs, mut into) = gort::io::pipe().unwrap();
        let (mut from, out) = gort::io::pipe().unwrap();
        let mut child = gort::process::Command::new("cat").stdin(theirs).stdout(out).spawn().unwrap();
        into.write_all(b"there and back").unwrap();
        drop(into);
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        assert_eq!(text, "there and back");
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn the_streams_of_this_process_are_given_to_children() {
    let ours = |n: u32| std::fs::read_link(format!("/proc/self/fd/{n}")).unwrap();
    everywhere(|| {
        let mut command =
            sh(r#"test "$(readlink /proc/$$/fd/1)" = "$ERRORS" && test "$(readlink /proc/$$/fd/2)" = "$OUTPUT""#);
        command.env("OUTPUT", ours(1)).env("ERRORS", ours(2));
        command.stdout(gort::io::stderr()).stderr(gort::io::stdout());
        assert!(command.status().unwrap().success());
    });
    assert_ne!(gort::process::parent_id(), gort::process::id());
}

/// Goal: what `output` chose for itself is not there when the command is used again. Method: a process of its own, whose end is that of
/// a script, by `exec` after `output`, that compares its streams with those of before.
#[test]
fn exec_after_output_has_the_streams_of_this_process() {
    let _alone = alone();
    if !is_child("exec_after_output_has_the_streams_of_this_process") {
        return;
    }
    let (input, _writer) = std::io::pipe().unwrap();
    // SAFETY: two valid descriptors; nobody reads the standard input.
    assert_eq!(unsafe { libc::dup2(input.as_raw_fd(), 0) }, 0);
    let ours = |n: u32| std::fs::read_link(format!("/proc/self/fd/{n}")).unwrap();
    let mut command = sh(r#"
        for n in 0 1 2; do
            eval "was=\$STREAM_$n"
            test "$(readlink /proc/$$/fd/$n)" = "$was" || exit 1$n
        done
        echo 1 passed
    "#);
    command.envs((0..3).map(|n| (format!("STREAM_{n}"), ours(n))));
    for _ in 0..2 {
        assert_eq!(command.output().unwrap().status.code(), Some(10), "its streams are others");
        assert!(command.status().unwrap().success());
    }
    assert_eq!(command.output().unwrap().status.code(), Some(10));
    panic!("{}", command.exec());
}

/// A fork of this process that does nothing until it is dropped, with all its descriptors.
struct Fork(libc::pid_t);

impl Fork {
    fn new() -> Fork {
        // SAFETY: the child makes two system calls and nothing else.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: they touch no memory. It does not outlive this process.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::pause();
                }
            },
            id => {
                assert!(id > 0, "{}", std::io::Error::last_os_error());
                Fork(id)
            }
        }
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        // SAFETY: our child, which has not been waited for; no status is written.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Goal: the thread that reaps sleeps while there is nothing to reap, even if another process has its descriptors. Method: a fork
/// has them while one child ends and another keeps the thread; then each look finds it asleep.
#[test]
fn the_thread_that_reaps_sleeps_though_a_fork_has_its_descriptors() {
    let _alone = alone();
    let mut both = [(); 2].map(|()| sh("read line").stdin(Stdio::piped()).spawn().unwrap());
    let mut inputs = both.each_mut().map(|child| child.stdin.take().unwrap());
    let ended = both[0].id();
    drop(both);
    let fork = Fork::new();
    inputs[0].write_all(b"\n").unwrap();
    wait_until("it is reaped", || children().iter().all(|(id, _)| *id != ended));
    let is_running = || {
        std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.contains("(gort-reaper) R")
        })
    };
    wait_until("it sleeps", || !is_running());
    let awake = (0..200).filter(|_| is_running()).count();
    assert!(awake < 20, "{awake} of 200 looks found it awake");
    inputs[1].write_all(b"\n").unwrap();
    drop(fork);
    wait_until("no child is left", || children().is_empty());
}

/// Goal: who waits for a child that has ended, and that a tracer keeps from being reaped, takes no CPU. Method: a fork traces it and does
/// not look; the time that the wait, and then the thread that reaps, has used. Where tracing is forbidden there is nothing to see.
#[test]
fn a_child_that_a_tracer_keeps_costs_no_cpu() {
    let _alone = alone();
    let mut child = sh("exec sleep 1000").spawn().unwrap();
    let (mut told, teller) = std::io::pipe().unwrap();
    // SAFETY: the fork makes system calls only, and does not return.
    let tracer = unsafe { libc::fork() };
    if tracer == 0 {
        // SAFETY: as above; the byte lives for the call.
        unsafe {
            let refused = libc::ptrace(libc::PTRACE_SEIZE, child.id() as libc::pid_t, 0, 0) != 0;
            libc::write(teller.as_raw_fd(), (&raw const refused).cast(), 1);
            loop {
                libc::pause();
            }
        }
    }
    assert!(tracer > 0);
    let mut refused = [0];
    told.read_exact(&mut refused).unwrap();
    child.kill().unwrap();
    let pause = Duration::from_millis(300);
    let mut used = Vec::new();
    if refused == [0] {
        let before = cpu_time();
        assert_eq!(child.wait_timeout(pause).unwrap(), None);
        used.push(cpu_time() - before);
        let before = cpu_time();
        drop(child);
        std::thread::sleep(pause);
        used.push(cpu_time() - before);
    } else {
        drop(child);
    }
    // SAFETY: the fork is ours and has not been waited for.
    unsafe {
        libc::kill(tracer, libc::SIGKILL);
        libc::waitpid(tracer, std::ptr::null_mut(), 0);
    }
    assert!(used.iter().all(|used| *used < pause / 3), "{used:?}");
    wait_until("no child is left", || children().is_empty());
}

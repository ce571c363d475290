//! The standard streams, which each child has its own of.

use super::common::{CHAOS, PROCS, builder, wait_until};
use super::harness::{Check, Ended, Program, run_with};
use super::with;
use gort::go;
use gort::io::{stderr, stdin, stdout};
use gort::time::timeout;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Less than a pipe holds, in lines.
const FRAGMENTS: usize = 500;
/// More than a pipe holds.
const MUCH: usize = 300_000;

/// Whether a thread of this process but the calling one is in the system call.
fn is_a_thread_in(call: libc::c_long) -> bool {
    // SAFETY: no arguments.
    let us = unsafe { libc::gettid() }.to_string();
    std::fs::read_dir("/proc/self/task").unwrap().map(Result::unwrap).filter(|task| *task.file_name() != *us).any(
        |task| {
            // It may end while we look.
            let state = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            state.split(' ').next() == Some(&call.to_string())
        },
    )
}

/// How often the thread of this name has slept.
fn sleeps_of(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(Result::unwrap);
    // Others may end while we look.
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let status =
        statuses.into_iter().find(|status| status.starts_with(&format!("Name:\t{name}\n"))).unwrap_or_default();
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap_or("0");
    sleeps.trim().parse().unwrap()
}

/// Runs `f` as a coroutine; no thread may be blocked in `call` meanwhile.
fn parks(call: libc::c_long, f: impl FnOnce() + Send + 'static) {
    let runtime = builder(1).build().unwrap();
    let handle = runtime.spawn(f);
    while !handle.is_finished() {
        // One that is there for so long is not on its way.
        let is_blocked = (0..20).all(|_| {
            std::thread::sleep(Duration::from_millis(1));
            is_a_thread_in(call)
        });
        assert!(!is_blocked, "a thread is blocked");
    }
    handle.join().unwrap();
}

pub(super) const PROGRAMS: &[Program] = &[
    ("upper_case", || {
        parks(libc::SYS_read, || {
            for line in stdin().lines() {
                writeln!(stdout(), "{}", line.unwrap().to_uppercase()).unwrap();
            }
            assert_eq!(stdin().read_line(&mut String::new()).unwrap(), 0, "the end stays the end");
        });
    }),
    ("each_line_once", || {
        builder(2).build().unwrap().run(|| {
            let read = || {
                let mut count = 0;
                let mut line = String::new();
                while stdin().read_line(&mut line).unwrap() > 0 {
                    assert!(line.starts_with("line ") && line.ends_with(" end\n"), "{line:?}");
                    line.clear();
                    count += 1;
                    gort::yield_now();
                }
                count
            };
            let readers: Vec<_> = (0..4).map(|_| go!(read)).collect();
            let counts: Vec<u32> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
            write!(stdout(), "{}", counts.iter().sum::<u32>()).unwrap();
        });
    }),
    ("a_reader_is_cancelled", || {
        builder(1).build().unwrap().run(|| {
            let reader = go!(|| stdin().read_line(&mut String::new()));
            gort::time::sleep(Duration::from_millis(20));
            reader.cancel();
            assert!(reader.join().is_err());
            writeln!(stderr(), "cancelled").unwrap();
            let mut rest = Vec::new();
            stdin().lock().read_until(b'.', &mut rest).unwrap();
            assert_eq!(rest, b"for the next.");
        });
    }),
    ("lines_are_cut_short", || {
        builder(1).build().unwrap().run(|| {
            // Says when it was.
            let cut = |read: &dyn Fn()| {
                assert!(timeout(Duration::from_millis(50), read).is_err());
                stderr().write_all(b"+").unwrap();
            };
            let line = || {
                let mut line = String::new();
                stdin().read_line(&mut line).unwrap();
                line
            };
            cut(&|| drop(line()));
            assert_eq!(line(), "partial\n");
            cut(&|| drop(stdin().lines().next()));
            assert_eq!(stdin().lines().next().unwrap().unwrap(), "second");
            cut(&|| drop(stdin().lock().read_until(b'.', &mut Vec::new())));
            // There is an end of this kind in what was read.
            assert_eq!((line(), line()), ("third\n".into(), "ä\n".into()));
            cut(&|| drop(line()));
            let mut start = [0; 2];
            assert_eq!(stdin().read(&mut start).unwrap(), 2);
            assert!(&start == b"la" && stdin().lock().fill_buf().unwrap().starts_with(b"st"));
            let mut rest = String::new();
            stdin().read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "st line");
        });
    }),
    ("one_buffer", || {
        let write = || {
            for i in 0..100 {
                print!("{i} ");
                write!(stdout(), "{i} ").unwrap();
                if i % 10 == 0 {
                    println!("std");
                    writeln!(&stdout(), "ours").unwrap();
                }
            }
        };
        write();
        for procs in PROCS {
            builder(procs).build().unwrap().run(write);
        }
        // Flushed at the end.
        builder(1).build().unwrap().run(|| write!(stdout(), "the end").unwrap());
    }),
    ("much_output", || {
        parks(libc::SYS_write, || {
            let bytes: Vec<u8> = (0..MUCH).map(|i| b'a' + (i % 23) as u8).collect();
            let mut out = stdout().lock();
            // Which may be done twice.
            let _again = stdout().lock();
            for (i, piece) in bytes.chunks(7001).enumerate() {
                out.write_all(piece).unwrap();
                if i % 3 == 0 {
                    out.write_all(b"\n").unwrap();
                }
            }
        });
    }),
    ("lines_of_several", || {
        builder(2).build().unwrap().run(|| {
            let writers: Vec<_> = (0..4)
                .map(|i| {
                    go!(move || {
                        for j in 0..50 {
                            let mut stream = stderr().lock();
                            write!(stream, "{i} ").unwrap();
                            gort::yield_now();
                            writeln!(stderr(), "{j} end").unwrap();
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
        });
    }),
    ("std_is_locked", || {
        // Not our watchdog, which writes to std's stream.
        // SAFETY: no memory.
        unsafe { libc::alarm(20) };
        builder(1).build().unwrap().run(|| {
            let other = go!(|| loop {
                gort::yield_now();
            });
            let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
            for i in 0..100 {
                write!(out, "{i} ").unwrap();
                write!(err, "{i} ").unwrap();
                writeln!(stdout(), "ours").unwrap();
                writeln!(stderr(), "ours").unwrap();
            }
            drop((out, err));
            other.cancel();
            assert!(other.join().is_err());
        });
    }),
    ("many_fragments", || {
        builder(1).build().unwrap().run(|| {
            let turns = Arc::new(AtomicUsize::new(0));
            let others = turns.clone();
            let other = go!(move || loop {
                others.fetch_add(1, SeqCst);
                gort::yield_now();
            });
            gort::yield_now();
            let before = turns.load(SeqCst);
            for _ in 0..FRAGMENTS {
                writeln!(stdout(), "a fragment").unwrap();
            }
            let turns = turns.load(SeqCst) - before;
            assert!(CHAOS || turns < FRAGMENTS / 2, "{turns} turns of another");
            other.cancel();
            assert!(other.join().is_err());
        });
    }),
    ("closed_later", || {
        builder(1).build().unwrap().run(|| {
            // It opens files when it begins, and one that is opened has the lowest number that is free.
            wait_until("sysmon only sleeps and looks", || sleeps_of("gort-sysmon") > 50);
            // SAFETY: std says what happens then.
            unsafe { (libc::close(0), libc::close(1)) };
            assert_eq!(stdin().read(&mut [0; 8]).unwrap(), 0);
            writeln!(stdout(), "for nobody").unwrap();
        });
    }),
];

/// The child `name` with `input`, and what it has written.
fn with_input(name: &str, input: Stdio) -> Ended {
    run_with(name, |command| {
        command.stdin(input);
    })
}

fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: asks for flags, touches no memory.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

/// Starts the child `name` with pipes.
fn start(name: &str, stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("GORT_PROGRAM", name).stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a child writes whose reader begins late; `is_nonblocking`: its end of the pipe has been put into that mode by others.
fn late(name: &str, nonblocking: bool) -> Vec<u8> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let writer_too = writer.try_clone().unwrap();
    // SAFETY: flags of our own pipe.
    unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, if nonblocking { libc::O_NONBLOCK } else { 0 }) };
    let child = start(name, Stdio::null(), writer);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(is_nonblocking(&writer_too), nonblocking);
    drop(writer_too);
    let mut got = Vec::new();
    reader.read_to_end(&mut got).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    got
}

pub(super) const CHECKS: &[Check] = &[
    ("input_of_every_kind", || {
        let place = std::env::temp_dir().join(format!("gort-stdin-{}", std::process::id()));
        std::fs::write(&place, "a line\nanother").unwrap();
        let ended = with_input("upper_case", File::open(&place).unwrap().into());
        std::fs::remove_file(&place).unwrap();
        assert_eq!((ended.code, &*ended.stdout), (Some(0), "A LINE\nANOTHER\n"), "{ended:#?}");
        let ended = with_input("upper_case", Stdio::null());
        assert_eq!((ended.code, &*ended.stdout), (Some(0), ""), "{ended:#?}");
        let ended = run_with("upper_case", |command| {
            // SAFETY: close is async-signal-safe.
            unsafe {
                command.pre_exec(|| {
                    libc::close(0);
                    Ok(())
                })
            };
        });
        assert_eq!((ended.code, &*ended.stdout), (Some(0), ""), "{ended:#?}");
        let ended = run_with("closed_later", |command| {
            command.env("GORT_DEBUG", with("machine=3600000"));
        });
        ended.is_well();
    }),
    ("input_that_comes_slowly", || {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader_too = reader.try_clone().unwrap();
        let mut child = start("upper_case", reader, Stdio::piped());
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        for piece in ["o", "ne\ntw", "o\n", "three\n"] {
            std::thread::sleep(Duration::from_millis(30));
            writer.write_all(piece.as_bytes()).unwrap();
            for _ in piece.matches('\n') {
                let mut line = String::new();
                out.read_line(&mut line).unwrap();
                assert!(["ONE\n", "TWO\n", "THREE\n"].contains(&&*line), "{line}");
            }
            assert!(!is_nonblocking(&reader_too));
        }
        drop(writer);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }),
    ("each_line_goes_to_one", || {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let child = start("each_line_once", reader, Stdio::piped());
        for i in 0..2000 {
            writeln!(writer, "line {i} end").unwrap();
        }
        drop(writer);
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2000", "{}", String::from_utf8_lossy(&output.stderr));
    }),
    ("who_reads_can_be_cancelled", || {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut child = start("a_reader_is_cancelled", reader, Stdio::null());
        let mut said = [0; 9];
        child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"cancelled");
        writer.write_all(b"for the next.").unwrap();
        assert!(child.wait().unwrap().success());
        // It has not waited for the end.
        drop(writer);
    }),
    ("who_is_cut_short_leaves_the_line_to_the_next", || {
        // Goal: what was read of a line by one who did not come to its end is not lost. Method: the end of each line is written when a limit
        // of time has ended the first try to read it.
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"par").unwrap();
        let mut child = start("lines_are_cut_short", reader, Stdio::null());
        for rest in [&b"tial\nsec"[..], b"ond\nthird\n\xc3", b"\xa4\nlast", b" line"] {
            // Or it has ended.
            if child.stderr.as_mut().unwrap().read(&mut [0]).unwrap() != 1 || writer.write_all(rest).is_err() {
                break;
            }
        }
        drop(writer);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }),
    ("output_is_in_order", || {
        let mut once = String::new();
        for i in 0..100 {
            once += &format!("{i} {i} ");
            once += if i % 10 == 0 { "std\nours\n" } else { "" };
        }
        let all = once.repeat(1 + PROCS.len()) + "the end";
        for nonblocking in [false, true] {
            assert_eq!(String::from_utf8(late("one_buffer", nonblocking)).unwrap(), all);
        }
        let place = std::env::temp_dir().join(format!("gort-stdout-{}", std::process::id()));
        let child = start("one_buffer", Stdio::null(), File::create(&place).unwrap());
        assert!(child.wait_with_output().unwrap().status.success());
        assert_eq!(std::fs::read_to_string(&place).unwrap(), all);
        std::fs::remove_file(&place).unwrap();
        let ended = run_with("lines_of_several", |_| ());
        ended.is_well();
        let mut lines: Vec<_> = ended.stderr.lines().collect();
        lines.sort_unstable();
        let mut expected: Vec<_> = (0..4).flat_map(|i| (0..50).map(move |j| format!("{i} {j} end"))).collect();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }),
    ("output_may_be_written_under_stds_lock", || {
        // Goal: who has locked std's stream, whose lock knows its owner by the thread, can write to ours. Method: with somebody who
        // waits for the P all the time, for whom calls that block are made elsewhere.
        for debug in ["", "homes=fixed"] {
            let ended = run_with("std_is_locked", |command| {
                command.env("GORT_DEBUG", with(debug));
            });
            ended.is_well();
            let all: String = (0..100).map(|i| format!("{i} ours\n")).collect();
            assert_eq!((ended.stdout, ended.stderr), (all.clone(), all));
        }
        // A write to a file may block, and is announced.
        let place = std::env::temp_dir().join(format!("gort-locked-{}", std::process::id()));
        let child = start("std_is_locked", Stdio::null(), File::create(&place).unwrap());
        assert!(child.wait_with_output().unwrap().status.success());
        assert_eq!(std::fs::read_to_string(&place).unwrap().matches("ours\n").count(), 100);
        std::fs::remove_file(&place).unwrap();
    }),
    ("output_that_finds_room_keeps_the_p", || {
        // Goal: a write that does not block gives nothing away. Method: with somebody who waits for the only P all the time, and would
        // have it once for each write otherwise.
        let ended = run_with("many_fragments", |_| ());
        ended.is_well();
        assert_eq!(ended.stdout, "a fragment\n".repeat(FRAGMENTS));
    }),
    ("output_that_is_read_late", || {
        let mut all = Vec::new();
        for (i, piece) in (0..MUCH).map(|i| b'a' + (i % 23) as u8).collect::<Vec<u8>>().chunks(7001).enumerate() {
            all.extend_from_slice(piece);
            all.extend((i % 3 == 0).then_some(b'\n'));
        }
        for nonblocking in [false, true] {
            assert!(late("much_output", nonblocking) == all);
        }
    }),
];

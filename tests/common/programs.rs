//! A test program without libtest's threads: each check starts this very program again with
//! `GORT_PROGRAM` set, and looks at how that child ends and what it writes.

#![allow(dead_code, reason = "each test program uses a part")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a child runs, in its main thread, which is the only one.
pub(crate) type Program = (&'static str, fn());
/// What the parent does: usually [`run`] and a look at the outcome.
pub(crate) type Check = (&'static str, fn());

/// Where children are given up.
const LIMIT: Duration = Duration::from_secs(120);

/// The outcome of a child.
#[derive(Debug)]
pub(crate) struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program called `name` in a child.
pub(crate) fn run(name: &str) -> Ended {
    run_with(name, |_| ())
}

/// The same, with a command that `change` may change.
pub(crate) fn run_with(name: &str, change: impl FnOnce(&mut Command)) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("GORT_PROGRAM", name).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    change(&mut command);
    let mut child = command.spawn().unwrap();
    let pid = child.id() as i32;
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |from: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let output = std::thread::scope(|threads| {
        let stderr = threads.spawn(move || read(&mut err));
        let stdout = threads.spawn(move || read(&mut out));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > LIMIT {
                eprintln!("child {pid} ({name}) hangs");
                // SAFETY: our own child, not waited for yet.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    });
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

impl Ended {
    /// The child is content.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        assert_eq!(self.code, Some(0), "{self:#?}");
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        assert!(self.stderr.contains(text), "no \"{text}\" in {self:#?}");
    }
}

/// The main function of such a test program. Arguments are filters, as libtest has them.
pub(crate) fn main(programs: &[Program], checks: &[Check]) {
    if let Ok(name) = std::env::var("GORT_PROGRAM") {
        let program = programs.iter().find(|program| program.0 == name).expect("a program of this name");
        return program.1();
    }
    let all: Vec<String> = std::env::args().skip(1).collect();
    if all.iter().any(|argument| argument == "--list") {
        return checks.iter().for_each(|check| println!("{}: test", check.0));
    }
    let exact = all.iter().any(|argument| argument == "--exact");
    let filters: Vec<_> = all.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, check) in checks {
        let fits = |filter: &&&String| if exact { **filter == name } else { name.contains(filter.as_str()) };
        if !filters.is_empty() && filters.iter().find(fits).is_none() {
            continue;
        }
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(check);
        println!("test {name} ... {} ({:.1?})", if outcome.is_ok() { "ok" } else { "FAILED" }, start.elapsed());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        println!("failures: {failed:?}");
        std::process::exit(101);
    }
}

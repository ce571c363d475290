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

/// What the command line says.
#[derive(Default)]
struct Arguments {
    list: bool,
    exact: bool,
    /// No check is ignored, so there is none then.
    only_ignored: bool,
    filters: Vec<String>,
    skip: Vec<String>,
}

impl Arguments {
    /// Those of libtest. What changes only the output, or threads that there are not, is passed over.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut parsed = Arguments::default();
        while let Some(argument) = arguments.next() {
            if !argument.starts_with('-') {
                parsed.filters.push(argument);
                continue;
            }
            let (option, value) = match argument.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value = || value.clone().or_else(|| arguments.next()).ok_or(format!("{option} needs a value"));
            match option {
                "--list" => parsed.list = true,
                "--exact" => parsed.exact = true,
                "--ignored" => parsed.only_ignored = true,
                "--skip" => parsed.skip.push(value()?),
                "--test-threads" | "--color" | "--format" | "--logfile" => drop(value()?),
                "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--show-output" | "--include-ignored"
                | "--test" => {}
                _ => return Err(format!("no such option: {argument}")),
            }
        }
        Ok(parsed)
    }

    fn chooses(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { filter == name } else { name.contains(filter.as_str()) };
        !self.only_ignored && (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

/// The main function of such a test program. Arguments are as libtest has them. Checks run one after the other; those that `wait`
/// names, which use next to no CPU time, run beside all others.
pub(crate) fn main(programs: &[Program], checks: &[Check], wait: &[&str]) {
    if let Ok(name) = std::env::var("GORT_PROGRAM") {
        let program = programs.iter().find(|program| program.0 == name).expect("a program of this name");
        return program.1();
    }
    let arguments = Arguments::parse(std::env::args().skip(1)).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    let chosen = checks.iter().filter(|check| arguments.chooses(check.0));
    if arguments.list {
        return chosen.for_each(|check| println!("{}: test", check.0));
    }
    for name in wait {
        assert!(checks.iter().any(|check| check.0 == *name), "there is no check {name}");
    }
    let (beside, chosen): (Vec<_>, Vec<_>) = chosen.partition(|check| wait.contains(&check.0));
    let all = beside.len() + chosen.len();
    // The name of one that fails.
    let run = |(name, check): &Check| {
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(check);
        println!("test {name} ... {} ({:.1?})", if outcome.is_ok() { "ok" } else { "FAILED" }, start.elapsed());
        outcome.err().map(|_| *name)
    };
    let failed: Vec<_> = std::thread::scope(|threads| {
        let beside: Vec<_> = beside.into_iter().map(|check| threads.spawn(move || run(check))).collect();
        let failed: Vec<_> = chosen.into_iter().filter_map(run).collect();
        failed.into_iter().chain(beside.into_iter().filter_map(|check| check.join().unwrap())).collect()
    });
    println!("{} passed, {} failed", all - failed.len(), failed.len());
    if !failed.is_empty() {
        println!("failures: {failed:?}");
        std::process::exit(101);
    }
}

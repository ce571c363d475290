//! The model checks: the protocols of gort under every interleaving, or those with so many
//! preemptions, and under every value that the memory model lets a load return (loom; Relaxed
//! loads see old stores).
//!
//! The code under test is `../../src` itself, copied by `build.rs`; only the world around it is
//! made for the purpose (`sched/`, `os.rs`): a coroutine is a thread of the checker, a futex is
//! a condition variable, the netpoller is a flag. The fences of `shim::asymmetric` are SeqCst
//! fences here, as they are where the kernel has no `membarrier`.
//!
//! What they cannot see: that of two light fences neither orders the other, nor of a light and a full one (here they do, but in
//! models in which a light one is none, `os::membarrier`); a load
//! that a later store of another thread reaches; and, here and there, an order of two accesses
//! to a word between which one of the two threads had another access to it.
//!
//! A model that always passes proves nothing. So each comes with *mutations* (`mutations.rs`):
//! one line of the protocol weakened or left out. Every mutation must make its models fail, by what they assert or by
//! what the checker finds; a model that ends in another way has not noticed anything.
//!
//!   gort-models                 all models sound, then every mutation; ends with 1 if one
//!                               model fails or one mutation goes unnoticed
//!   gort-models WORD..          only the models and mutations with one of the words in them
//!   gort-models --run MODEL     one model, in this process; GORT_BREAK=MUTATION breaks it
//!   gort-models --list          names
//!
//! To see how a failing model failed: GORT_STEPS=1 [GORT_BREAK=..] .. --run ..; it prints the
//! statements of that execution in their order, with the thread that did each.

#![allow(
    dead_code,
    unused_imports,
    unused_parens,
    reason = "the copies bring more than the models call, and wrap what is broken"
)]

mod channel;
mod models;
mod mutations;
mod os;
mod poll;
mod sched;
#[path = "../../../src/shim/mod.rs"]
mod shim;
mod sync;

use models::MODELS;
use mutations::{MUTATIONS, Mutation};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Whether the line that the mutation `name` breaks is to be broken.
pub(crate) fn broken(name: &str) -> bool {
    static BROKEN: OnceLock<Option<String>> = OnceLock::new();
    BROKEN.get_or_init(|| std::env::var("GORT_BREAK").ok()).as_deref() == Some(name)
}

/// The statements of this execution: thread, file, text.
static STEPS: Mutex<Vec<(String, &str, &str)>> = Mutex::new(Vec::new());

/// Notes the statement that comes next, if anybody wants to know.
pub(crate) fn step(file: &'static str, code: &'static str) {
    static WANTED: OnceLock<bool> = OnceLock::new();
    if *WANTED.get_or_init(|| std::env::var_os("GORT_STEPS").is_some()) {
        let thread = format!("{:?}", loom::thread::current().id());
        STEPS.lock().unwrap_or_else(|e| e.into_inner()).push((thread, file, code));
    }
}

/// The last of them.
fn print_steps() {
    let steps = std::mem::take(&mut *STEPS.lock().unwrap_or_else(|e| e.into_inner()));
    for (thread, file, code) in &steps[steps.len().saturating_sub(1_000)..] {
        eprintln!("{thread} {file}: {code}");
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", name] => {
            let (_, bound, model) = MODELS.iter().find(|(known, ..)| *known == name).expect("a model; see --list");
            let mut builder = loom::model::Builder::new();
            builder.max_branches = 20_000;
            if builder.preemption_bound.is_none() {
                builder.preemption_bound = *bound;
            }
            let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
            let counter = count.clone();
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                print_steps();
                hook(info);
            }));
            builder.check(move || {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                STEPS.lock().unwrap_or_else(|e| e.into_inner()).clear();
                model();
            });
            println!("{}", count.load(std::sync::atomic::Ordering::Relaxed));
            ExitCode::SUCCESS
        }
        ["--list"] => {
            for (name, bound, _) in MODELS {
                println!("{name} (preemptions: {})", bound.map_or("any number".into(), |bound| bound.to_string()));
                for mutation in MUTATIONS.iter().filter(|mutation| mutation.models.contains(name)) {
                    println!("    {:32} {}: {}", mutation.name, mutation.file, mutation.why);
                }
            }
            ExitCode::SUCCESS
        }
        ref words => all(words),
    }
}

fn all(words: &[&str]) -> ExitCode {
    let begin = Instant::now();
    let chosen = |texts: &[&str]| words.is_empty() || words.iter().any(|word| texts.iter().any(|t| t.contains(word)));
    let models: Vec<_> = MODELS.iter().filter(|(name, ..)| chosen(&[name])).collect();
    let each = MUTATIONS.iter().flat_map(|mutation| mutation.models.iter().map(move |model| (mutation.name, *model)));
    let mutations: Vec<_> = each.filter(|(name, model)| chosen(&[name, model])).collect();

    let mut wrong = inconsistencies();
    wrong.extend(in_parallel(&models, |(name, bound, _)| {
        let (output, time) = child(name, None);
        let bound = bound.map_or(String::new(), |bound| format!(", at most {bound} preemptions"));
        if output.status.success() {
            let count = String::from_utf8_lossy(&output.stdout);
            println!("sound   {name:32} {:6.1} s, {} executions{bound}", time.as_secs_f32(), count.trim());
            None
        } else {
            println!(
                "FAILED  {name:32} {:6.1} s{bound}\n{}",
                time.as_secs_f32(),
                String::from_utf8_lossy(&output.stderr)
            );
            Some(format!("{name} fails"))
        }
    }));
    wrong.extend(in_parallel(&mutations, |(name, model)| {
        let (output, time) = child(model, Some(name));
        if is_noticed(&output) {
            // How it was noticed is for those who ask about some; it reads like failures.
            let reason = if words.is_empty() { String::new() } else { format!(": {}", reason(&output)) };
            println!("broken  {name:32} {:6.1} s, noticed{reason}", time.as_secs_f32());
            None
        } else {
            println!("PASSED  {name:32} {:6.1} s, though broken: {}", time.as_secs_f32(), output.status);
            Some(format!("{model} does not notice {name}"))
        }
    }));
    let (models, mutations) = (models.len(), mutations.len());
    println!("{models} models, {mutations} runs of mutations, {:.0} s", begin.elapsed().as_secs_f32());
    for line in &wrong {
        println!("WRONG: {line}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does `job` for each of `items`, as many at a time as there are CPUs: a model uses one. Returns the complaints.
fn in_parallel<T: Sync>(items: &[T], job: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                // Relaxed: each number once.
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(complaint) = job(item) {
                        complaints.lock().unwrap().push(complaint);
                    }
                }
            });
        }
    });
    complaints.into_inner().unwrap()
}

/// Models that nobody knows, and models that nothing shows to be able to fail.
fn inconsistencies() -> Vec<String> {
    let is_known = |model: &&str| MODELS.iter().any(|(known, ..)| known == model);
    let named = || MUTATIONS.iter().flat_map(|mutation| mutation.models);
    let unknown = named().filter(|model| !is_known(model)).map(|model| format!("there is no model {model}"));
    let untried = MODELS.iter().filter(|(name, ..)| !named().any(|model| model == name));
    unknown.chain(untried.map(|(name, ..)| format!("{name} has no mutation"))).collect()
}

/// Whether a model has failed: it panicked, or panicked once more while unwinding, which aborts. Not if it was not to be
/// found, could not be run, or was killed.
fn is_noticed(output: &Output) -> bool {
    const PANIC: i32 = 101;
    let says_so = String::from_utf8_lossy(&output.stderr).contains("panicked at");
    says_so && (output.status.code() == Some(PANIC) || output.status.signal() == Some(ABORT))
}

/// SIGABRT.
const ABORT: i32 = 6;

/// Runs a model in a process of its own: a failure may well abort.
fn child(model: &str, broken: Option<&str>) -> (Output, Duration) {
    let begin = Instant::now();
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args(["--run", model]).env_remove("GORT_BREAK").env("RUST_BACKTRACE", "0");
    if let Some(name) = broken {
        command.env("GORT_BREAK", name);
    }
    (command.output().expect("it can be started again"), begin.elapsed())
}

/// The first thing that a failing model said.
fn reason(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    lines.find(|line| !line.trim().is_empty()).unwrap_or("ended without a word").trim().chars().take(90).collect()
}

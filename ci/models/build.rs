//! Copies the protocols out of `../../src`, ready to be modelled.
//!
//! A copy differs from its original in four ways. Its atomics come from `crate::shim`, which is
//! loom here, and its `Cell`s are loom's, which fail when two accesses race, and its memory, which
//! must be freed. Its inner doc comments are plain comments, because it is pulled in by `include!`.
//! And every line that a mutation names is there twice: `if crate::broken("name") { the broken
//! line } else { the line }`, so that one build can run sound or broken in any one way. Before
//! each statement there is a `crate::step`, which notes it for whoever asks (`GORT_STEPS=1`).
//!
//! Nothing is copied by hand, so a model cannot drift from the code. When the code has moved
//! under a mutation or under the world around it, this build fails and says where.

use std::fmt::Write as _;
use std::path::PathBuf;

include!("src/mutations.rs");

/// Files that are taken whole.
const WHOLE: &[&str] = &[
    "channel/blocking.rs",
    "channel/case.rs",
    "channel/chan.rs",
    "channel/clock.rs",
    "channel/handles.rs",
    "channel/select.rs",
    "channel/store.rs",
    "channel/waitq.rs",
    "sched/biased.rs",
    "sched/cancel.rs",
    "sched/home_word.rs",
    "sched/idle.rs",
    "sched/join.rs",
    "sched/labels.rs",
    "sched/lock.rs",
    "sched/ps.rs",
    "sched/runq.rs",
    "sched/snooze.rs",
    "sched/steal.rs",
    "sched/timers.rs",
    "sched/wait.rs",
    "sched/wait_word.rs",
    "sched/watch_list.rs",
    "poll/word.rs",
    "sync/raw_condvar.rs",
    "sync/raw_mutex.rs",
    "sync/raw_rwlock.rs",
    "sync/raw_semaphore.rs",
    "sync/waitq.rs",
];

/// Parts of files: the name of the copy, the file, the items (by how they begin), and whether
/// they are methods.
const PARTS: &[(&str, &str, &[&str], Option<&str>)] = &[
    (
        "g_state",
        "sched/g.rs",
        &[
            "pub(crate) const COMPLETE:",
            "pub(crate) const HANDLE:",
            "pub(crate) const JOINING:",
            "pub(crate) const PANICKED:",
            "pub(crate) const CANCELLED:",
            "pub(crate) const WATCHED:",
            "pub(crate) const REF:",
            "pub(crate) const CANCEL:",
            "pub(crate) const BOUND:",
            "pub(crate) const BEGUN:",
        ],
        None,
    ),
    ("g_references", "sched/g.rs", &["pub(crate) fn retain(", "pub(crate) unsafe fn release("], Some("G")),
    ("complete", "sched/spawn.rs", &["pub(crate) fn complete("], None),
    ("park", "sched/park.rs", &["pub(crate) fn park(", "pub(crate) fn leave("], None),
    (
        "ready",
        "sched/park.rs",
        &[
            "pub(crate) unsafe fn ready(",
            "pub(crate) unsafe fn ready_in_turn(",
            "pub(crate) unsafe fn requeue(",
            "pub(crate) unsafe fn ready_claimed(",
        ],
        None,
    ),
    (
        "m_states",
        "sched/m.rs",
        &[
            "const AWAKE:",
            "const ASLEEP:",
            "const POLLING:",
            "const CALLED:",
            "#[derive(Clone, Copy, PartialEq, Eq)]\npub(crate) enum Slept",
        ],
        None,
    ),
    (
        "m_call",
        "sched/m.rs",
        &[
            "pub(crate) fn sleep(",
            "pub(crate) fn sleep_until_called(",
            "pub(crate) fn send(",
            "pub(crate) fn begin_polling(",
            "pub(crate) fn end_polling(",
            "pub(crate) fn call(",
            "pub(crate) fn answer(",
            "pub(crate) fn is_called(",
        ],
        Some("M"),
    ),
    ("feed", "sched/runtime.rs", &["pub(crate) fn feed_starving("], Some("Shared")),
    ("find", "sched/find.rs", &["fn find_more(", "pub(crate) fn glance(", "pub(crate) fn find_or_sleep("], None),
    (
        "p_quick",
        "sched/p.rs",
        &[
            "pub(crate) const LARGE_BATCH:",
            "const QUICK_TURN_NS:",
            "const WORTH_HELP_NS:",
            "const UNKNOWN_TURN_NS:",
            "pub(crate) fn are_quick(",
        ],
        None,
    ),
    ("p_note_batch", "sched/p.rs", &["pub(crate) fn note_batch(", "pub(crate) fn wants_help("], Some("Local")),
    ("p_take", "sched/p.rs", &["pub(crate) unsafe fn take_injected(", "pub(crate) unsafe fn empty("], Some("P")),
    (
        "preempt_states",
        "sched/preempt.rs",
        &[
            "pub(crate) const RUNNING:",
            "pub(crate) const LENT:",
            "pub(crate) const TAKEN:",
            "pub(crate) const SUSPENDED:",
            "pub(crate) const WAITING:",
            "pub(crate) const STATE:",
        ],
        None,
    ),
    (
        "preempt",
        "sched/preempt.rs",
        &[
            "fn regain(",
            "fn lend(&self",
            "fn lent(",
            "fn retake(",
            "fn stop(",
            "fn enqueue(",
            "fn await_p(",
            "pub(crate) fn resume(",
        ],
        Some("M"),
    ),
    (
        "waiting",
        "sched/preempt.rs",
        &[
            "#[derive(Default)]\npub(crate) struct Queue",
            "#[derive(Default)]\nstruct Lists",
            "#[derive(Default)]\nstruct List {",
            "impl List",
            "impl Queue",
        ],
        None,
    ),
    ("offer", "sched/preempt.rs", &["pub(crate) fn offer("], None),
    ("hand_over", "sched/preempt.rs", &["pub(crate) fn hand_over("], None),
    ("ready_work", "sched/preempt.rs", &["pub(crate) fn is_ready_work(", "pub(crate) fn waits_for("], Some("Shared")),
    ("blocking", "sched/preempt.rs", &["fn lend(m: &'static M)"], None),
    ("os_thread", "sched/os_thread.rs", &["pub(crate) fn wait(", "fn pass_on("], None),
    ("thread_task", "sched/thread_task.rs", &["pub(crate) fn ready(", "pub(crate) fn block("], Some("ThreadTask")),
    (
        "sysmon",
        "sched/sysmon.rs",
        &[
            "const AWAKE:",
            "const SHORT:",
            "const DEEP:",
            "pub(crate) fn wake(",
            "fn cut_short(",
            "fn needs_looks(",
            "fn sleep(",
        ],
        None,
    ),
    ("calm", "sched/preempt.rs", &["pub(crate) fn is_calm("], None),
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(loom)");
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/mutations.rs");
    let source = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../src");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));

    let mut files: Vec<&str> = WHOLE.iter().copied().chain(PARTS.iter().map(|part| part.1)).collect();
    files.sort_unstable();
    files.dedup();
    for (at, mutation) in MUTATIONS.iter().enumerate() {
        assert!(MUTATIONS[..at].iter().all(|other| other.name != mutation.name), "two mutations `{}`", mutation.name);
        assert!(files.contains(&mutation.file), "mutation `{}`: {} is not modelled", mutation.name, mutation.file);
    }
    let mut texts = std::collections::HashMap::new();
    for file in files {
        let path = source.join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        texts.insert(file, prepare(file, &text));
    }
    let write = |name: &str, text: &str| std::fs::write(out.join(name), text).expect("OUT_DIR can be written");
    for file in WHOLE {
        write(&file.replace('/', "_"), &with_steps(file, &texts[file]));
    }
    for (name, file, items, methods_of) in PARTS {
        let mut text = String::new();
        for begin in *items {
            writeln!(text, "{}", item(file, &texts[file], begin)).expect("a string");
        }
        if let Some(of) = methods_of {
            text = format!("impl {of} {{\n{text}}}\n");
        }
        write(&format!("{name}.rs"), &with_steps(file, &text));
    }
}

/// Further changes, for the checker's sake. Loom does not know that a read-modify-write comes right after
/// the store that it read from. Where one that writes back what it read (a swap of `true` for
/// `true`) races with a plain store, it lets a third thread read the old value for ever.
const SUBSTITUTIONS: &[(&str, &str, &str)] = &[
    ("sched/biased.rs", "self.thief.store(false, Ordering::Release);", "self.thief.swap(false, Ordering::Release);"),
    // A thief that is kept out comes back from `idle::sleep` anyway: one way round is enough.
    ("sched/steal.rs", "for _ in 0..4 {", "for _ in 0..1 {"),
    // Shorter than in earnest.
    ("sched/steal.rs", "const WORTH_STEALING: usize = 8;", "const WORTH_STEALING: usize = 2;"),
    ("sched/steal.rs", "const TOGETHER: usize = 64;", "const TOGETHER: usize = 1;"),
    ("sched/steal.rs", "const STANDSTILL_PAUSES: u32 = 200;", "const STANDSTILL_PAUSES: u32 = 0;"),
    // To spin is to try again, which the checker does with its preemptions.
    ("sync/raw_mutex.rs", "const SPINS: u32 = 20;", "const SPINS: u32 = 0;"),
    // Loom backs off by itself.
    ("sched/lock.rs", "for _ in 0..(1u32 << (round + 3).min(8)) {", "{"),
];

/// The changes.
fn prepare(file: &str, original: &str) -> String {
    let mut text = String::new();
    // Unit tests stay behind.
    for line in original.split("#[cfg(test)]\nmod tests").next().expect("one").lines() {
        if let Some(comment) = line.trim_start().strip_prefix("//!") {
            writeln!(text, "// {comment}").expect("a string");
        } else if line.trim_start().starts_with("///") {
            // Examples and links are of no use here.
            writeln!(text).expect("a string");
        } else {
            let line = line
                .replace("std::sync::atomic", "crate::shim::atomic")
                .replace("std::hint::spin_loop", "crate::shim::spin_loop")
                .replace("std::cell::Cell", "loom::cell::Cell")
                .replace("use std::alloc::", "use crate::os::alloc::")
                .replace("pub(super)", "pub(crate)");
            writeln!(text, "{line}").expect("a string");
        }
    }
    for (_, from, to) in SUBSTITUTIONS.iter().filter(|substitution| substitution.0 == file) {
        assert_eq!(text.matches(from).count(), 1, "`{from}` in src/{file}");
        text = text.replacen(from, to, 1);
    }
    let mut places = Vec::new();
    for mutation in MUTATIONS.iter().filter(|mutation| mutation.file == file) {
        let whole = item(file, &text, mutation.within);
        let context = mutation.line.replace(['⟦', '⟧'], "");
        let count = whole.matches(&context).count();
        assert_eq!(
            count, 1,
            "mutation `{}`: `{}` is {count} times in `{}` of src/{file}",
            mutation.name, mutation.line, mutation.within
        );
        let at = text.find(&whole).expect("just found") + whole.find(&context).expect("counted");
        let begin = mutation.line.find('⟦').unwrap_or(0);
        let length = mutation.line.find('⟧').map_or(context.len(), |end| end - begin - '⟦'.len_utf8());
        places.push((at + begin, at + begin + length, mutation));
    }
    // A part comes after the whole.
    places.sort_by_key(|&(from, to, _)| (from, std::cmp::Reverse(to)));
    broken(&text, 0, text.len(), &mut places.into_iter().peekable())
}

type Places<'a> = std::iter::Peekable<std::vec::IntoIter<(usize, usize, &'a Mutation)>>;

/// `text` between `from` and `to`, with the mutations there.
fn broken(text: &str, from: usize, to: usize, places: &mut Places) -> String {
    let mut result = String::new();
    let mut at = from;
    while let Some((begin, end, mutation)) = places.next_if(|place| place.0 < to) {
        assert!(end <= to, "mutation `{}` begins in the line of another and ends behind it", mutation.name);
        result.push_str(&text[at..begin]);
        at = end;
        let (line, broken) = (broken(text, begin, end, places), mutation.broken);
        // An expression is wrapped, so that it can be part of a condition; statements are blocks.
        if text[begin..end].ends_with([';', '}']) {
            write!(result, "if crate::broken(\"{}\") {{ {broken} }} else {{ {line} }}", mutation.name)
        } else {
            write!(result, "(if crate::broken(\"{}\") {{ {broken} }} else {{ {line} }})", mutation.name)
        }
        .expect("a string");
    }
    result.push_str(&text[at..to]);
    result
}

/// A note before each statement that begins a line and is known by its first word.
fn with_steps(file: &str, text: &str) -> String {
    const FIRST: &[&str] =
        &["let ", "if ", "while ", "loop ", "for ", "return", "match ", "self.", "m.", "idle.", "rt.", "asymmetric::"];
    // There is no protocol in it, but `const fn`s, which cannot call.
    if file == "channel/store.rs" {
        return text.to_owned();
    }
    let mut stepped = String::new();
    // The line before, without its comment, if a statement may begin after it.
    let mut before = String::new();
    for line in text.lines() {
        let code = line.split("//").next().expect("one").trim();
        let begins = FIRST.iter().any(|word| code.starts_with(word));
        let after = before.ends_with(';') || (before.ends_with('{') && !before.contains("match "));
        if begins && after && !code.starts_with("let ") || (begins && after && code.ends_with(';')) {
            writeln!(stepped, "crate::step({file:?}, {code:?});").expect("a string");
        }
        writeln!(stepped, "{line}").expect("a string");
        if !code.is_empty() && !code.starts_with('#') {
            before = code.to_owned();
        } else if code.starts_with('#') {
            before.clear();
        }
    }
    stepped
}

/// The one item of `text` that has `begin` in its first line, to its closing brace or semicolon.
fn item(file: &str, text: &str, begin: &str) -> String {
    let mut starts = text.match_indices(begin).filter(|(at, _)| {
        let line = text[..*at].rfind('\n').map_or(0, |newline| newline + 1);
        text[line..*at].trim().is_empty()
    });
    let (start, _) = starts.next().unwrap_or_else(|| panic!("src/{file} has no `{begin}`"));
    assert!(starts.next().is_none(), "src/{file} has `{begin}` more than once");
    let mut depth = 0;
    let mut comment = false;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'\n' => comment = false,
            b'/' if text.as_bytes()[at + 1] == b'/' => comment = true,
            _ if comment => {}
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth -= 1;
                if depth == 0 && byte == b'}' {
                    return text[start..=at].to_owned();
                }
            }
            b';' if depth == 0 => return text[start..=at].to_owned(),
            _ => {}
        }
    }
    panic!("src/{file}: `{begin}` does not end");
}

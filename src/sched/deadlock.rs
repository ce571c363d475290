//! Reports: a process in which nothing can ever run again, coroutines that outlive their
//! runtime, and whose stack has overflowed.
//!
//! A deadlock is reported only if it is certain. Every coroutine is parked, no timer is armed,
//! nobody waits for a descriptor, and every thread of the process is one of ours or blocked in
//! [`Runtime::run`](crate::Runtime::run): so there is nobody left to wake anybody. (A signal
//! handler could, in theory; it would have to use this crate, which it must not.) Sysmon asks
//! twice, some time apart, before it believes it. Then it prints every coroutine with what it
//! waits for and where it was spawned, and ends the process with status 2, as Go does.
//!
//! Reports are written past std's lock of the standard error, which somebody who is parked may have, and it does not matter if they
//! cannot be written.

use super::g::{self, GRef};
use super::home_waits;
use super::labels::Labels;
use super::m::M;
use super::runtime::Shared;
use super::wait::WaitReason;
use crate::os::clock;
use crate::os::signal::write_stderr;
use crate::stack::overflow::{self, SafeWriter};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Threads blocked in `Runtime::run`.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Threads of ours that cannot wake anybody by themselves.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// Counts the calling thread among those that wait in `run`, unless it is a coroutine's.
pub(crate) struct Waits(bool);

impl Waits {
    pub(crate) fn new() -> Waits {
        let plain = M::current_coroutine().is_none();
        if plain {
            // Relaxed: sysmon asks twice.
            WAITING.fetch_add(1, Ordering::Relaxed);
        }
        Waits(plain)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.0 {
            // Relaxed: as above.
            WAITING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A thread of ours that cannot wake anybody by itself has started.
pub(crate) fn thread_began() {
    // Relaxed: as above.
    HELPERS.fetch_add(1, Ordering::Relaxed);
}

/// It is about to end, or may wake somebody from now on.
pub(crate) fn thread_ended() {
    // Relaxed: as above.
    HELPERS.fetch_sub(1, Ordering::Relaxed);
}

/// Looks whether the process is dead; `before` is what the last look found. Returns what this
/// one found (the sum of all ticks), if it looks dead; does not return if it did so twice and
/// nothing ran in between.
pub(crate) fn check<'a>(runtimes: impl Iterator<Item = &'a Shared>, before: Option<u64>) -> Option<u64> {
    let runtimes: Vec<&Shared> = runtimes.collect();
    // Relaxed, and below: who calls this does so twice.
    let waiting = WAITING.load(Ordering::Relaxed);
    let live: u64 = runtimes.iter().map(|rt| rt.live()).sum();
    let dead = waiting > 0
        && live > 0
        && runtimes.iter().all(|rt| {
            rt.is_idle()
                && rt.are_ms_asleep()
                && !rt.has_work()
                && rt.poller.waiting() == 0
                && rt.ps.iter().all(|p| !p.timers.is_armed())
        });
    if !dead {
        return None;
    }
    let homes: usize = runtimes.iter().map(|rt| rt.homes.count()).sum();
    let known = waiting + homes + HELPERS.load(Ordering::Relaxed);
    let threads = std::fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if threads > known {
        return None;
    }
    let ticks = runtimes.iter().flat_map(|rt| rt.ps.iter()).map(|p| u64::from(p.tick.load(Ordering::Relaxed))).sum();
    if before != Some(ticks) {
        return Some(ticks);
    }
    let mut report = String::new();
    let _ = writeln!(report, "gort: deadlock: all {live} coroutines are parked and nothing can wake them");
    for rt in &runtimes {
        list(rt, &mut report);
    }
    write_stderr(report.as_bytes());
    std::process::exit(2);
}

/// Writes a line for each coroutine of `rt`, up to a few.
fn list(rt: &Shared, report: &mut String) {
    const MOST: usize = 100;
    let mut count = 0usize;
    g::for_each_alive(rt, |g| {
        count += 1;
        if count <= MOST {
            let for_home = home_waits::waits_since(g).map(|since| {
                let time = Duration::from_nanos(clock::now().saturating_sub(since));
                format!("; has been waiting for its home for {time:.1?}")
            });
            let _ = writeln!(
                report,
                "  coroutine {} {}{}[{}{}] of runtime `{}`, spawned at {}",
                g.id.get(),
                g.name().map(|name| format!("\"{name}\" ")).unwrap_or_default(),
                Some(Labels::new(g.labels())).filter(|l| !l.is_empty()).map(|l| format!("{l} ")).unwrap_or_default(),
                WaitReason::describe(g.reason.load(Ordering::Relaxed)),
                for_home.unwrap_or_default(),
                rt.name,
                g.site.get(),
            );
        }
    });
    if count > MOST {
        let _ = writeln!(report, "  and {} more", count - MOST);
    }
}

/// Says which coroutines do not end, after the drop of their runtime has waited for them. They
/// and what they run on stay.
pub(crate) fn report_left_over(rt: &Shared) {
    let mut report = String::new();
    let _ =
        writeln!(report, "gort: runtime `{}` was dropped, but {} of its coroutines do not end:", rt.name, rt.live());
    list(rt, &mut report);
    write_stderr(report.as_bytes());
}

/// Lets the overflow handler say whose stack it was.
pub(crate) fn describe_overflows() {
    overflow::set_describe(|out: &mut SafeWriter| {
        // SAFETY of what is read: the coroutine runs on this very thread.
        let Some(g) = M::current_coroutine() else {
            let _ = out.write_str("unknown coroutine");
            return;
        };
        describe(g, out);
    });
}

fn describe(g: GRef, out: &mut SafeWriter) {
    let _ = write!(out, "coroutine {}", g.id.get());
    if let Some(name) = g.name() {
        let _ = write!(out, " \"{name}\"");
    }
    let labels = Labels::new(g.labels());
    if !labels.is_empty() {
        let _ = write!(out, " {labels}");
    }
    let site = g.site.get();
    let _ = write!(out, ", spawned at {}:{}:{}", site.file(), site.line(), site.column());
}

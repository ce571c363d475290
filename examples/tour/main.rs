//! A guided walk through the crate, in a few seconds: each stop shows one thing, checks that it
//! is so, and the last lines say what was measured on the way.
//!
//! ```text
//! cargo run --release --example tour
//! ```
//!
//! It fails (with a non-zero exit code) at the first thing that is not as it should be. The stops
//! are short functions, meant to be read: `coroutines.rs`, `channels.rs`, `identity.rs`, `scale.rs`
//! and `speed.rs`.

mod channels;
mod coroutines;
mod identity;
mod scale;
mod screen;
mod speed;

use screen::{Report, plural};
use std::io;
use std::time::Instant;

/// What one stop of the tour does. It returns what there is to say about it.
type Stop = fn(&mut Report) -> String;

const STOPS: &[(&str, &[(&str, Stop)])] = &[
    (
        "Coroutines",
        &[
            ("go! and join", coroutines::spawn_and_join),
            ("A panic ends its coroutine only", coroutines::panic_is_joined),
            ("Borrowing, in a scope", coroutines::scope_borrows),
            ("Not Send: go_local!", coroutines::local_shares_rc),
            ("Cancel", coroutines::cancel_unwinds),
            ("A home instead of a thread", identity::homes_move),
            ("Several runtimes", coroutines::several_runtimes),
        ],
    ),
    (
        "Channels",
        &[
            ("Three kinds", channels::three_kinds),
            ("The end", channels::close_drains),
            ("Timeouts", channels::timeouts),
            ("Plain threads join in", channels::plain_threads),
        ],
    ),
    (
        "Speed",
        &[
            ("Switching", speed::switch),
            ("Spawning", speed::spawn),
            ("Ping-pong", speed::ping_pong),
            ("A pipeline", speed::pipeline),
        ],
    ),
    ("Scale", &[("Sleepers", scale::sleepers), ("TCP echo", scale::echo)]),
];

fn main() -> io::Result<()> {
    let start = Instant::now();
    coroutines::hush_expected_panic();
    let rt = gort::Runtime::builder().name("tour").build()?;
    let mut report = Report::new();
    let moves = if rt.coroutines_move() { "coroutines move between them" } else { "coroutines stay on theirs" };
    report.title("gort", &format!("{} at work, {moves}", plural(rt.procs(), "thread")));
    rt.run(|| {
        for (heading, stops) in STOPS {
            report.heading(heading);
            for (name, stop) in *stops {
                let said = stop(&mut report);
                report.passed(name, &said);
            }
        }
    });
    drop(rt);
    report.table();
    report.end(&format!("All as promised, in {:.1} s.", start.elapsed().as_secs_f64()));
    Ok(())
}

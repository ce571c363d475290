//! What the tour prints: plain text in a file, some colour and a progress bar on a terminal.

use gort::{JoinHandle, go, time};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The lines so far have been printed; the table comes at the end.
pub(crate) struct Report {
    colour: bool,
    rows: Vec<[String; 3]>,
}

impl Report {
    pub(crate) fn new() -> Report {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Report { colour, rows: Vec::new() }
    }

    /// `text` in the style `code` (SGR), if colours are wanted.
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    pub(crate) fn title(&self, name: &str, about: &str) {
        println!("\n  {}   {}", self.paint("1", name), self.paint("2", about));
    }

    pub(crate) fn heading(&self, text: &str) {
        println!("\n  {}", self.paint("1", text));
    }

    /// One stop is done.
    pub(crate) fn passed(&self, name: &str, said: &str) {
        println!("  {} {name:<32} {}", self.paint("32", "✓"), self.paint("2", said));
    }

    /// Notes a figure for the table.
    pub(crate) fn measured(&mut self, what: &str, figure: String, remark: &str) {
        self.rows.push([what.into(), figure, remark.into()]);
    }

    pub(crate) fn table(&self) {
        println!("\n  {}", self.paint("1", "Measured"));
        for [what, figure, remark] in &self.rows {
            println!("    {what:<22} {}   {}", self.paint("36", &format!("{figure:>14}")), self.paint("2", remark));
        }
    }

    pub(crate) fn end(&self, text: &str) {
        println!("\n  {text}\n");
    }
}

/// 1234567 as "1,234,567".
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 1 and "home" as "1 home", 2,000 as "2,000 homes".
pub(crate) fn plural(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// Nanoseconds, in a unit that suits them.
pub(crate) fn nanos(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.0} ns"),
        ..1e6 => format!("{:.1} µs", ns / 1e3),
        _ => format!("{:.1} ms", ns / 1e6),
    }
}

/// A progress bar on standard error while it lives, drawn by a coroutine of its own; nothing if
/// that is not a terminal.
pub(crate) struct Bar {
    painter: Option<JoinHandle<()>>,
}

impl Bar {
    const WIDTH: usize = 40;

    /// Shows how far `done` says we are on the way to `total`.
    pub(crate) fn start(total: usize, done: impl Fn() -> usize + Send + 'static) -> Bar {
        let painter = io::stderr().is_terminal().then(|| {
            go!("progress bar", move || {
                loop {
                    let part = done().min(total);
                    let filled = part * Bar::WIDTH / total;
                    let (full, empty) = ("━".repeat(filled), "─".repeat(Bar::WIDTH - filled));
                    eprint!("\r    \x1b[36m{full}\x1b[0;2m{empty}\x1b[0m {:>3} %", part * 100 / total);
                    time::sleep(Duration::from_millis(40));
                }
            })
        });
        Bar { painter }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(painter) = self.painter.take() {
            painter.cancel();
            // Cancelled, as was asked for.
            let _ = painter.join();
            eprint!("\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}

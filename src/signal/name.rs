//! Which signal.

use std::fmt;

/// A signal of the system, by its number.
///
/// The constants are those that can be listened for, under their usual names without `SIG`; real-time signals are made by
/// [`Signal::from_raw`].
///
/// # Examples
///
/// ```
/// use gort::signal::Signal;
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_raw(15), Signal::TERM);
/// assert_eq!(Signal::from_raw(40).to_string(), "signal 40");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $number:ident;)*) => {
        impl Signal {
            $($(#[$doc])* pub const $name: Signal = Signal(libc::$number);)*

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Signal::$name => Some(stringify!($number)),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    /// A timer of `alarm(2)`.
    ALRM = SIGALRM;
    /// A child has ended, stopped or gone on.
    CHLD = SIGCHLD;
    /// The process goes on after it was stopped.
    CONT = SIGCONT;
    /// The terminal was hung up; for daemons, to read the configuration again.
    HUP = SIGHUP;
    /// Ctrl-C.
    INT = SIGINT;
    /// A descriptor is ready (`O_ASYNC`).
    IO = SIGIO;
    /// A pipe without a reader was written to. Programs in Rust ignore it.
    PIPE = SIGPIPE;
    /// A profiling timer.
    PROF = SIGPROF;
    /// The power fails.
    PWR = SIGPWR;
    /// Ctrl-\.
    QUIT = SIGQUIT;
    /// Told to end.
    TERM = SIGTERM;
    /// Ctrl-Z.
    TSTP = SIGTSTP;
    /// The terminal was read in the background.
    TTIN = SIGTTIN;
    /// The terminal was written to in the background.
    TTOU = SIGTTOU;
    /// Urgent data. Runtimes preempt by it, unless they were told otherwise.
    URG = SIGURG;
    /// For the program's own use.
    USR1 = SIGUSR1;
    /// For the program's own use.
    USR2 = SIGUSR2;
    /// A timer of CPU time.
    VTALRM = SIGVTALRM;
    /// The terminal has another size.
    WINCH = SIGWINCH;
    /// The limit of CPU time was reached.
    XCPU = SIGXCPU;
    /// The limit of a file's size was reached.
    XFSZ = SIGXFSZ;
}

impl Signal {
    /// The signal of this number, if it is one: [`notify`](super::notify) looks.
    ///
    /// # Examples
    ///
    /// See [`Signal`].
    pub const fn from_raw(number: i32) -> Signal {
        Signal(number)
    }

    /// Its number.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gort::signal::Signal::TERM.as_raw(), libc::SIGTERM);
    /// ```
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// Its bit in a set; it is one of 1 to 64.
    pub(super) fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Those in a set, in the order of their numbers.
    pub(super) fn all(mut set: u64) -> impl Iterator<Item = Signal> {
        std::iter::from_fn(move || {
            let number = set.trailing_zeros() as i32 + 1;
            // Takes the lowest bit out.
            (set != 0).then(|| set &= set - 1).map(|()| Signal(number))
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

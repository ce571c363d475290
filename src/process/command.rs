//! `Command`.

use super::{Child, exit};
use crate::sched::apart;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

/// How a process is started: [`std::process::Command`], with the same meanings.
///
/// # Examples
///
/// ```
/// use gort::process::Command;
///
/// gort::run(|| {
///     let output = Command::new("sh").args(["-c", "echo $GREETING; pwd"]).env("GREETING", "hello").current_dir("/").output()?;
///     assert!(output.status.success());
///     assert_eq!(output.stdout, b"hello\n/\n");
///     assert_eq!(Command::new("sh").args(["-c", "exit 3"]).status()?.code(), Some(3));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Command {
    command: std::process::Command,
    /// Which of input, output and errors the caller has chosen.
    chosen: [bool; 3],
    kill_on_drop: bool,
}

/// The settings that std's command has in the same shape.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident<$($type:ident: $bound:path),*>($($argument:ident: $its:ty),*);)*) => {$(
        $(#[$doc])*
        ///
        /// # Examples
        ///
        /// See [`Command`].
        pub fn $name<$($type: $bound),*>(&mut self, $($argument: $its),*) -> &mut Command {
            self.command.$name($($argument),*);
            self
        }
    )*};
}

impl Command {
    /// The program, by its path, or its name if it is in one of the directories of `PATH`.
    ///
    /// # Examples
    ///
    /// See [`Command`].
    #[must_use]
    pub fn new<S: AsRef<OsStr>>(program: S) -> Command {
        std::process::Command::new(program).into()
    }

    settings! {
        /// One more argument.
        arg<S: AsRef<OsStr>>(arg: S);
        /// One more variable of the environment.
        env<K: AsRef<OsStr>, V: AsRef<OsStr>>(key: K, value: V);
        /// The variable is not handed on.
        env_remove<K: AsRef<OsStr>>(key: K);
        /// No variable is handed on.
        env_clear<>();
        /// The directory in which it begins.
        current_dir<P: AsRef<Path>>(directory: P);
        /// The user that it runs as ([`CommandExt::uid`]).
        uid<>(id: u32);
        /// The group that it runs as ([`CommandExt::gid`]).
        gid<>(id: u32);
        /// Its argument 0, by default the program ([`CommandExt::arg0`]).
        arg0<S: AsRef<OsStr>>(arg: S);
        /// Its process group; 0 for one of its own ([`CommandExt::process_group`]).
        process_group<>(group: i32);
    }

    /// More arguments.
    ///
    /// # Examples
    ///
    /// See [`Command`].
    pub fn args<I, S>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    /// More variables of the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// let output = gort::process::Command::new("env").env_clear().envs([("A", "1"), ("B", "2")]).output()?;
    /// assert_eq!(output.stdout, b"A=1\nB=2\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn envs<I, K, V>(&mut self, variables: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.command.envs(variables);
        self
    }

    /// Its standard input. Else it is ours, or nothing with [`Self::output`].
    ///
    /// # Examples
    ///
    /// See [`Child`].
    pub fn stdin<T: Into<Stdio>>(&mut self, stdio: T) -> &mut Command {
        self.chosen[0] = true;
        self.command.stdin(stdio);
        self
    }

    /// Its standard output. Else it is ours, or read by [`Self::output`].
    ///
    /// # Examples
    ///
    /// See [`Child`].
    pub fn stdout<T: Into<Stdio>>(&mut self, stdio: T) -> &mut Command {
        self.chosen[1] = true;
        self.command.stdout(stdio);
        self
    }

    /// Its standard error. Else it is ours, or read by [`Self::output`].
    ///
    /// # Examples
    ///
    /// See [`Child`].
    pub fn stderr<T: Into<Stdio>>(&mut self, stdio: T) -> &mut Command {
        self.chosen[2] = true;
        self.command.stderr(stdio);
        self
    }

    /// Whether a [`Child`] that is dropped is ended by `SIGKILL`. At first it is not. That holds too if the coroutine that
    /// waits for it is cancelled, in [`Self::output`] and [`Self::status`] as well.
    ///
    /// # Examples
    ///
    /// ```
    /// let child = gort::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    /// drop(child);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Command {
        self.kill_on_drop = kill;
        self
    }

    /// Something to be done in the child before the program begins: [`CommandExt::pre_exec`].
    ///
    /// # Examples
    ///
    /// ```
    /// let mut command = gort::process::Command::new("true");
    /// // SAFETY: it does nothing.
    /// unsafe { command.pre_exec(|| Ok(())) };
    /// assert!(command.status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Safety
    ///
    /// That of std's: it runs between `fork` and `exec`, where little is allowed. No call of this crate is.
    pub unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: the caller's promise.
        unsafe { self.command.pre_exec(f) };
        self
    }

    /// Makes this very process run the program: [`CommandExt::exec`]. It returns only if it fails.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = gort::process::Command::new("/no/such/program").exec();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    #[must_use]
    pub fn exec(&mut self) -> io::Error {
        self.choose_rest(Stdio::inherit, Stdio::inherit);
        self.command.exec()
    }

    /// Starts it.
    ///
    /// # Examples
    ///
    /// See [`Child`].
    ///
    /// # Errors
    ///
    /// If there is no such program, or the system refuses: no descriptors, no memory, too many processes.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine while a spare thread starts it (0.5 ms and more), as [the module](super#starting) says; blocks a
    /// plain thread. It may be cancelled before it begins.
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.start(Stdio::inherit, Stdio::inherit)
    }

    /// Starts it, waits until it has ended, and returns all that it has written to the outputs that were not chosen to be something
    /// else, and how it has ended.
    ///
    /// # Examples
    ///
    /// See [`Command`].
    ///
    /// # Errors
    ///
    /// Those of [`Self::spawn`] and [`Child::wait_with_output`].
    ///
    /// # Scheduling
    ///
    /// As these.
    pub fn output(&mut self) -> io::Result<Output> {
        self.start(Stdio::null, Stdio::piped)?.wait_with_output()
    }

    /// Starts it, waits until it has ended, and returns how it has.
    ///
    /// # Examples
    ///
    /// See [`Command`].
    ///
    /// # Errors
    ///
    /// Those of [`Self::spawn`] and [`Child::wait`].
    ///
    /// # Scheduling
    ///
    /// As these.
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Sets `input` and `output`, where the caller has chosen nothing: each time anew, since std keeps what was set for the last.
    fn choose_rest(&mut self, input: fn() -> Stdio, output: fn() -> Stdio) {
        if !self.chosen[0] {
            self.command.stdin(input());
        }
        if !self.chosen[1] {
            self.command.stdout(output());
        }
        if !self.chosen[2] {
            self.command.stderr(output());
        }
    }

    /// Starts it with `input` and `output`, where the caller has chosen nothing.
    fn start(&mut self, input: fn() -> Stdio, output: fn() -> Stdio) -> io::Result<Child> {
        exit::sweep();
        self.choose_rest(input, output);
        let (command, kill_on_drop) = (&mut self.command, self.kill_on_drop);
        // Made where it was started, so that it is not lost on the way.
        apart(|| Child::new(command.spawn()?, kill_on_drop))
    }

    /// The program.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut command = gort::process::Command::new("ls");
    /// command.arg("-l").env("A", "1").current_dir("/");
    /// assert_eq!(command.get_program(), "ls");
    /// assert!(command.get_args().eq(["-l"]));
    /// assert_eq!(command.get_envs().count(), 1);
    /// assert_eq!(command.get_current_dir(), Some(std::path::Path::new("/")));
    /// ```
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        self.command.get_program()
    }

    /// The arguments.
    ///
    /// # Examples
    ///
    /// See [`Self::get_program`].
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.command.get_args()
    }

    /// The variables that were set or removed.
    ///
    /// # Examples
    ///
    /// See [`Self::get_program`].
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.command.get_envs()
    }

    /// The directory in which it begins, if it was said.
    ///
    /// # Examples
    ///
    /// See [`Self::get_program`].
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.command.get_current_dir()
    }
}

/// Takes std's over with all that was set, but for input, output and errors: whether these were chosen std does not tell, so they have to be
/// chosen again.
impl From<std::process::Command> for Command {
    fn from(command: std::process::Command) -> Command {
        Command { command, chosen: [false; 3], kill_on_drop: false }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}

//! `Child`.

use super::exit::Process;
use super::{ChildStderr, ChildStdin, ChildStdout, Output};
use crate::net::fd::{Fd, Kind};
use crate::os::clock::{self, Nanos};
use crate::os::epoll::Epoll;
use crate::os::file;
use crate::poll::desc::Direction;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// What is read from a pipe at a time; it holds no more unless it was told to.
const PIECE: usize = 64 << 10;

/// A child process: [`std::process::Child`] for coroutines.
///
/// When it is dropped, the child goes on, as with std, unless [`kill_on_drop`](super::Command::kill_on_drop) was
/// said. But it does not stay a zombie: when it ends it is reaped.
///
/// # Examples
///
/// ```
/// use gort::process::{Command, Stdio};
/// use std::io::{Read, Write};
///
/// gort::run(|| {
///     let mut child = Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
///     let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
///     gort::go!(move || stdin.write_all(b"some text"));
///     let mut text = String::new();
///     stdout.read_to_string(&mut text)?;
///     assert_eq!(text, "SOME TEXT");
///     assert!(child.wait()?.success());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Child {
    /// Where to write what it reads, if that is [piped](super::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// Where to read what it writes, if that is [piped](super::Stdio::piped).
    pub stdout: Option<ChildStdout>,
    /// Where to read its errors, if these are [piped](super::Stdio::piped).
    pub stderr: Option<ChildStderr>,
    process: Process,
}

impl Child {
    pub(super) fn new(mut child: std::process::Child, kill_on_drop: bool) -> io::Result<Child> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // First of all, so that it is reaped whatever comes.
        let process = Process::new(child, kill_on_drop);
        let adopt = |fd: OwnedFd| Fd::adopt(fd, Kind::File);
        let stdin = stdin.map(|pipe| adopt(pipe.into())).transpose()?.map(|fd| ChildStdin { fd });
        let stdout = stdout.map(|pipe| adopt(pipe.into())).transpose()?.map(|fd| ChildStdout { fd });
        let stderr = stderr.map(|pipe| adopt(pipe.into())).transpose()?.map(|fd| ChildStderr { fd });
        Ok(Child { stdin, stdout, stderr, process })
    }

    /// Ends it by `SIGKILL`. It has still to be waited for, or dropped. Nothing happens if it has been waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    /// let mut child = gort::process::Command::new("sleep").arg("1000").spawn()?;
    /// child.kill()?;
    /// assert_eq!(child.wait()?.signal(), Some(9));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is not ours to end, because it has become another user's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.child_mut().kill()
    }

    /// Its number. After it has been waited for that may mean another process.
    ///
    /// # Examples
    ///
    /// ```
    /// let child = gort::process::Command::new("true").spawn()?;
    /// assert_ne!(child.id(), std::process::id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child().id()
    }

    /// Closes its standard input, if that has not been taken, and waits until it has ended. The second time it says the
    /// same at once.
    ///
    /// # Examples
    ///
    /// See [`Child`].
    ///
    /// # Errors
    ///
    /// If somebody else has reaped it: a `waitpid` for any child, or a process that ignores `SIGCHLD`.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        Ok(self.process.wait(None)?.expect("it waits without end"))
    }

    /// How it has ended, if it has.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut child = gort::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    /// assert!(child.try_wait()?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.child_mut().try_wait()
    }

    /// [`Self::wait`], but for at most `timeout`: None if it has not ended then. Its standard input stays open.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let mut child = gort::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    /// assert!(child.wait_timeout(Duration::from_millis(1))?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::wait`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        // One that is too far away to be told is none.
        self.process.wait(Instant::now().checked_add(timeout))
    }

    /// [`Self::wait`], but until `deadline` at most: None if it has not ended then. Its standard input stays open.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut child = gort::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    /// assert!(child.wait_deadline(std::time::Instant::now())?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::wait`].
    ///
    /// # Scheduling
    ///
    /// As [`Self::wait`].
    pub fn wait_deadline(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        self.process.wait(Some(deadline))
    }

    /// Closes its standard input, reads all that it writes to those of its outputs that are piped, both at once, and
    /// waits until it has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    /// let child = Command::new("echo").arg("text").stdout(Stdio::piped()).spawn()?;
    /// assert_eq!(child.wait_with_output()?.stdout, b"text\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If reading or waiting fails, or a timeout or deadline of a pipe has passed. What was read is lost then.
    ///
    /// # Scheduling
    ///
    /// As [`Self::wait`]. If it is cancelled the child is dropped.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        match (self.stdout.take(), self.stderr.take()) {
            (None, None) => {}
            (Some(mut pipe), None) => drop(pipe.read_to_end(&mut stdout)?),
            (None, Some(mut pipe)) => drop(pipe.read_to_end(&mut stderr)?),
            (Some(one), Some(other)) => read_both((one, &mut stdout), (other, &mut stderr))?,
        }
        Ok(Output { status: self.wait()?, stdout, stderr })
    }
}

/// Reads two pipes to their ends, whichever has something, a piece of each at a time.
///
/// It waits for an epoll of the two, which is a descriptor like any other. A second coroutine would do as well, but there is
/// none on a plain thread.
fn read_both(
    (mut stdout, stdout_to): (ChildStdout, &mut Vec<u8>),
    (mut stderr, stderr_to): (ChildStderr, &mut Vec<u8>),
) -> io::Result<()> {
    let set = Epoll::new().and_then(|set| {
        set.add_level(stdout.as_raw_fd(), 0)?;
        set.add_level(stderr.as_raw_fd(), 1)?;
        Ok(Fd::new(set, Kind::File))
    });
    let mut piece = vec![0; PIECE];
    // Since when each has had nothing.
    let (mut one_since, mut other_since) = (None, None);
    loop {
        if read_now(&stdout.fd, stdout_to, &mut piece, &mut one_since)? == Some(0) {
            return stderr.read_to_end(stderr_to).map(drop);
        }
        if read_now(&stderr.fd, stderr_to, &mut piece, &mut other_since)? == Some(0) {
            return stdout.read_to_end(stdout_to).map(drop);
        }
        if let (Some(one_since), Some(other_since)) = (one_since, other_since) {
            let one_end = stdout.fd.end_of_wait(Direction::Read, one_since);
            let other_end = stderr.fd.end_of_wait(Direction::Read, other_since);
            match &set {
                Ok(set) => set.ready(Direction::Read, one_end.min(other_end))?,
                // There are no descriptors left. Late is better than not.
                Err(_) => crate::time::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// Reads a piece, if there is one: its length, which is 0 at the end. If there has been none for longer than a read may wait,
/// that is an error, as it would be of a read.
fn read_now(
    pipe: &Fd,
    to: &mut Vec<u8>,
    piece: &mut [u8],
    waits_since: &mut Option<Nanos>,
) -> io::Result<Option<usize>> {
    loop {
        pipe.begin(Direction::Read)?;
        match file::read(pipe.as_fd(), piece) {
            Ok(count) => {
                to.extend_from_slice(&piece[..count]);
                *waits_since = None;
                return Ok(Some(count));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let now = clock::now();
                let end = pipe.end_of_wait(Direction::Read, *waits_since.get_or_insert(now));
                return if now < end { Ok(None) } else { Err(io::ErrorKind::TimedOut.into()) };
            }
            Err(error) => return Err(error),
        }
    }
}

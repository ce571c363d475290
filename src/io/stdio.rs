//! The standard streams.
//!
//! Their open files are shared with other processes, the shell first of all, which a mode would surprise: so they are never put into
//! non-blocking mode. Who is about to read or write waits until the kernel says that it can, and makes the call then. A read is
//! announced (`sched/blocking.rs`) in case that somebody else was faster. A write is not, as with std: there may be many small ones,
//! and each would give the P away while somebody waits for it. What is waited on is a duplicate, since a descriptor of ours is to leave
//! its pollers before it is closed, and these three others may close.

use crate::net::fd::{Fd, Kind};
use crate::os::clock::NEVER;
use crate::os::{epoll, file};
use crate::poll::desc::Direction;
use crate::sched::{briefly, in_place};
use crate::sync::{Mutex, MutexGuard, ReentrantMutex, ReentrantMutexGuard};
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, IoSliceMut, Lines, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::Stdio;
use std::sync::{LazyLock, OnceLock};

/// What a pipe takes at once if it takes anything (`PIPE_BUF`).
const PIECE: usize = 4096;
/// The buffer of std's `stdout`: what is longer is written past it.
const STD_BUFFER: usize = 1024;

/// A duplicate of one of the three, as it was at first.
#[derive(Debug)]
struct Stream {
    fd: Fd<OwnedFd>,
    /// The kernel can poll it.
    pollable: bool,
}

impl Stream {
    /// That of `fd`, kept in `place`. None if it is closed, or if there are no descriptors left, which std's streams do not need: the
    /// next who asks may have more luck.
    fn of<'a>(place: &'a OnceLock<Stream>, fd: BorrowedFd<'_>) -> Option<&'a Stream> {
        if let Some(stream) = place.get() {
            return Some(stream);
        }
        let fd = fd.try_clone_to_owned().ok()?;
        let pollable = epoll::accepts(fd.as_raw_fd()).ok()?;
        Some(place.get_or_init(|| Stream { fd: Fd::new(fd, Kind::File), pollable }))
    }

    /// Repeats `attempt`, each time when the kernel says that it will not block, until it does not say that it would. If that
    /// cannot be waited for, as with files or without memory, it is made all the same: it is told which it is.
    fn when_ready<R>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>, bool) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let is_ready =
                self.pollable && self.fd.begin(direction).and_then(|()| self.fd.ready(direction, NEVER)).is_ok();
            match attempt(self.fd.as_fd(), is_ready) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else was faster, and has put it into non-blocking mode as well.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_ready => {}
                result => return result,
            }
        }
    }
}

/// Reads without a buffer.
#[derive(Debug)]
struct Input;

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        static PLACE: OnceLock<Stream> = OnceLock::new();
        let std = io::stdin();
        match Stream::of(&PLACE, std.as_fd()) {
            Some(stream) => stream.when_ready(Direction::Read, |fd, _| briefly(|| file::read(fd, buffer))),
            None => match briefly(|| file::read(std.as_fd(), buffer)) {
                // As with std.
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(0),
                result => result,
            },
        }
    }
}

/// Room for a line that is kept for the next.
const LINE: usize = 8 << 10;

/// The input with its buffers.
struct Buffered {
    reader: BufReader<Input>,
    /// What comes before that which `reader` has: a line on its way, or what is left of one that was not read to its end.
    part: Cursor<Vec<u8>>,
}

static INPUT: LazyLock<Mutex<Buffered>> =
    LazyLock::new(|| Mutex::new(Buffered { reader: BufReader::new(Input), part: Cursor::default() }));

impl Buffered {
    /// What is left of the part.
    fn left(&self) -> &[u8] {
        &self.part.get_ref()[self.part.position() as usize..]
    }

    /// What has the next bytes.
    fn front(&mut self) -> &mut dyn BufRead {
        if self.left().is_empty() { &mut self.reader } else { &mut self.part }
    }

    /// Calls `read` when the part has everything up to `end`. What std's methods have taken out of a reader is lost if they unwind; here
    /// it stays for who reads next.
    fn up_to<R>(&mut self, end: u8, read: impl FnOnce(&mut Cursor<Vec<u8>>) -> io::Result<R>) -> io::Result<R> {
        let is_there = self.left().contains(&end);
        let complete = if is_there { Ok(0) } else { self.reader.read_until(end, self.part.get_mut()) };
        let result = read(&mut self.part);
        if self.left().is_empty() {
            self.part.set_position(0);
            self.part.get_mut().clear();
            self.part.get_mut().shrink_to(LINE);
        }
        complete.and(result)
    }
}

/// The standard input: [`std::io::stdin`] for coroutines.
///
/// # Examples
///
/// ```no_run
/// gort::run(|| {
///     for line in gort::io::stdin().lines() {
///         println!("{}", line?.to_uppercase());
///     }
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn stdin() -> Stdin {
    Stdin(())
}

/// The standard input; see [`stdin`].
///
/// All handles share one buffer, which is not that of std's `stdin`: what this has read ahead that does not find. So a program
/// reads by one of the two.
///
/// # Examples
///
/// ```no_run
/// let mut line = String::new();
/// gort::io::stdin().read_line(&mut line)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Those of std's. A standard input that is closed is empty.
///
/// # Scheduling
///
/// While a terminal, a pipe or a socket has nothing to say the coroutine is parked (outside a runtime, the thread is blocked), and may be
/// cancelled. Who is cancelled in the middle of a line (`read_line`, `lines`, `read_until`) leaves all of it to who reads next. If another
/// process reads from the same one and is faster, a thread is blocked until there is more. Files are read as in
/// [`fs`](crate::fs#scheduling).
pub struct Stdin(());

/// The standard input, locked; made by [`Stdin::lock`].
///
/// # Examples
///
/// See [`Stdin::lock`].
pub struct StdinLock<'a>(MutexGuard<'a, Buffered>);

impl Stdin {
    /// Locks it for reading what belongs together, and for the methods of [`BufRead`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::io::BufRead;
    /// let mut input = gort::io::stdin().lock();
    /// let mut field = Vec::new();
    /// input.read_until(b'\0', &mut field)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine while another task has it, also one that waits for input; may be cancelled.
    pub fn lock(&self) -> StdinLock<'static> {
        StdinLock(INPUT.lock())
    }

    /// Reads a line, with its end, and appends it to `buffer`; 0 at the end of the input.
    ///
    /// # Examples
    ///
    /// See [`Stdin`].
    ///
    /// # Errors
    ///
    /// See [`Stdin`]; [`InvalidData`](io::ErrorKind::InvalidData) if it is not UTF-8.
    ///
    /// # Scheduling
    ///
    /// See [`Stdin`].
    pub fn read_line(&self, buffer: &mut String) -> io::Result<usize> {
        self.lock().read_line(buffer)
    }

    /// An iterator over the lines, without their ends.
    ///
    /// # Examples
    ///
    /// See [`stdin`].
    ///
    /// # Scheduling
    ///
    /// It is [locked](Self::lock) as long as the iterator lives; `next` waits as [`Stdin`] says.
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }
}

impl Read for StdinLock<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.front().read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.front().read_vectored(buffers)
    }
}

impl BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.front().fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.front().consume(count);
    }

    fn read_until(&mut self, end: u8, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.0.up_to(end, |part| part.read_until(end, buffer))
    }

    fn read_line(&mut self, buffer: &mut String) -> io::Result<usize> {
        self.0.up_to(b'\n', |part| part.read_line(buffer))
    }
}

macro_rules! read {
    ($($of:ty),*) => {$(
        impl Read for $of {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.lock().read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.lock().read_vectored(buffers)
            }

            fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
                self.lock().read_to_end(buffer)
            }

            fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
                self.lock().read_to_string(buffer)
            }

            fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
                self.lock().read_exact(buffer)
            }
        }
    )*};
}

read!(Stdin, &Stdin);

/// What is written to by way of std.
struct Output {
    /// Of what is written by way of us.
    lock: ReentrantMutex<()>,
    place: OnceLock<Stream>,
}

impl Output {
    const fn new() -> Output {
        Output { lock: ReentrantMutex::new(()), place: OnceLock::new() }
    }

    /// Calls `attempt` when it will not block; in place, since the caller may have locked std's stream.
    fn when_ready<R>(&self, std: BorrowedFd<'_>, mut attempt: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        match Stream::of(&self.place, std) {
            Some(stream) => stream
                .when_ready(Direction::Write, |_, is_ready| if is_ready { attempt() } else { in_place(&mut attempt) }),
            // std knows what to do.
            None => in_place(attempt),
        }
    }

    /// How much of `bytes` is written by one call.
    fn piece<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self.place.get() {
            Some(stream) if stream.pollable => &bytes[..bytes.len().min(PIECE)],
            _ => bytes,
        }
    }
}

macro_rules! descriptor {
    ($std:path: $($of:ty),*) => {$(
        impl AsFd for $of {
            fn as_fd(&self) -> BorrowedFd<'_> {
                // SAFETY: it is open as long as the process lives, as far as std is concerned as well.
                unsafe { BorrowedFd::borrow_raw($std().as_raw_fd()) }
            }
        }

        impl AsRawFd for $of {
            fn as_raw_fd(&self) -> RawFd {
                $std().as_raw_fd()
            }
        }
    )*};
}

macro_rules! output {
    ($make:ident, $name:ident, $lock:ident, $place:ident, $std:path, $what:literal, $line:literal, $($about:literal)*) => {
        static $place: Output = Output::new();

        #[doc = concat!("The standard ", $what, ": [`std::io::", stringify!($make), "`] for coroutines.")]
        ///
        /// # Examples
        ///
        /// ```
        /// use std::io::Write;
        #[doc = $line]
        /// # Ok::<(), std::io::Error>(())
        /// ```
        pub fn $make() -> $name {
            $name(())
        }

        #[doc = concat!("The standard ", $what, "; see [`", stringify!($make), "`].")]
        ///
        $(#[doc = $about])*
        ///
        /// # Examples
        ///
        #[doc = concat!("See [`", stringify!($make), "`].")]
        ///
        /// # Errors
        ///
        /// Those of std's.
        ///
        /// # Scheduling
        ///
        /// While a terminal, a pipe or a socket has no room the coroutine is parked (outside a runtime, the thread is blocked), and may be
        /// cancelled. If another process writes to the same one and is faster, a thread is blocked until there is more. Files are
        /// written in place, announced as in [`fs`](crate::fs#scheduling), also if somebody waits for the P.
        pub struct $name(());

        #[doc = concat!("The standard ", $what, ", locked; made by [`", stringify!($name), "::lock`].")]
        ///
        /// # Examples
        ///
        #[doc = concat!("See [`", stringify!($name), "::lock`].")]
        pub struct $lock<'a>(#[expect(dead_code, reason = "its drop is what it is for")] ReentrantMutexGuard<'a, ()>);

        impl $name {
            /// Locks it for what is to be written together. Others who write by way of this crate wait meanwhile, but not
            /// those who use std's. Who has it may lock it again.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::Write;
            #[doc = concat!("let mut stream = gort::io::", stringify!($make), "().lock();")]
            /// writeln!(stream, "two lines")?;
            /// writeln!(stream, "that nobody separates")?;
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Scheduling
            ///
            /// Parks the coroutine while another task has it; may be cancelled.
            pub fn lock(&self) -> $lock<'static> {
                $lock($place.lock.lock())
            }
        }

        impl Write for $lock<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // What std has kept back it writes before a line and before what is long: two calls, which may not both find room.
                if bytes.contains(&b'\n') || bytes.len() >= STD_BUFFER {
                    self.flush()?;
                }
                let std = $std();
                $place.when_ready(std.as_fd(), || (&std).write($place.piece(bytes)))
            }

            fn flush(&mut self) -> io::Result<()> {
                let std = $std();
                $place.when_ready(std.as_fd(), || (&std).flush())
            }
        }

        output!(@ $name, &$name);

        descriptor!($std: $name, $lock<'_>);

        /// As that of std's.
        impl From<$name> for Stdio {
            fn from(_: $name) -> Stdio {
                $std().into()
            }
        }

        // As std's. The lock guards nothing of ours, and the buffer is std's, which says the same of it.
        impl UnwindSafe for $lock<'_> {}
        impl RefUnwindSafe for $lock<'_> {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(concat!(stringify!($name), " { .. }"))
            }
        }

        impl fmt::Debug for $lock<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(concat!(stringify!($lock), " { .. }"))
            }
        }
    };
    (@ $($of:ty),*) => {$(
        impl Write for $of {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.lock().write(bytes)
            }

            fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
                self.lock().write_all(bytes)
            }

            fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
                self.lock().write_fmt(arguments)
            }

            fn flush(&mut self) -> io::Result<()> {
                self.lock().flush()
            }
        }
    )*};
}

output!(
    stdout, Stdout, StdoutLock, STDOUT, io::stdout, "output", "writeln!(gort::io::stdout(), \"a line\")?;",
    "It writes by way of std's `stdout`: both share one buffer, which is written at the end of each line and when the program ends,"
    "so what `println!` writes comes in order. (`println!` itself blocks the thread when there is no room.)"
);
output!(
    stderr,
    Stderr,
    StderrLock,
    STDERR,
    io::stderr,
    "error stream",
    "writeln!(gort::io::stderr(), \"a line\")?;",
    "It has no buffer, as with std."
);

descriptor!(io::stdin: Stdin, StdinLock<'_>);

// As std's. What unwinds, as any wait may that is cancelled, leaves the buffers whole: see `Buffered::up_to`.
impl UnwindSafe for StdinLock<'_> {}
impl RefUnwindSafe for StdinLock<'_> {}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Stdin { .. }")
    }
}

impl fmt::Debug for StdinLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("StdinLock { .. }")
    }
}

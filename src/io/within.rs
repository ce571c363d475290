//! Moving bytes within the kernel, for [`copy`](super::copy()) between two descriptors.
//!
//! Promise: what was moved was read and written as by calls of the two types themselves, with their timeouts, deadlines and mode; and
//! no byte that was taken from the reader is lost, but by an error of the writer.
//!
//! # Which types
//!
//! std chooses by specialisation, which is not stable. Here the type that `copy` was called with is compared with each of those
//! that are known, by their `TypeId`, as the `castaway` and `erased-serde` crates do it: [`typeid::of`] gives it for types that are not
//! `'static` too, without regard to lifetimes. So every type in the list is one that nothing depends on the lifetime of: a type without
//! parameters, a reference to one, std's adapters around these. What is behind a `dyn Read`, or in a type of the user's, is not
//! seen, and copied by way of a buffer.
//!
//! # Which call
//!
//! | from | to | |
//! |---|---|---|
//! | a file | a socket, a pipe | `sendfile(2)` |
//! | a file | a file | `copy_file_range(2)` |
//! | anything, if one of the two is a pipe | | `splice(2)` |
//! | a socket | a socket, a file | `splice(2)` into a pipe of ours, and out of it |
//!
//! # When
//!
//! `copy` reads and writes by way of its buffer until a read has brought [`MUCH`]. Then it tries here, and comes back when the
//! reader has nothing more for now. So a conversation costs the two calls that it would cost anyway; nobody waits for a reader with a pipe
//! of ours in hand, which the kernel has only so many of (`pipe-user-pages-soft`); and whether the reader has ended is asked in one
//! place, by a read. What a call of this kind says at an end differs from file system to file system.
//!
//! If the kernel cannot do it with these two it says so (`EINVAL` and others, [`is_refusal`]) before it has moved anything, the
//! buffer goes on, and it is not asked again. It may say so with bytes in our pipe; then the buffer takes them from there.
//!
//! Reads and writes of a socket never block, whatever the mode of the open file; these calls go by that mode, which whoever shares the
//! file may change (`into_std` of a clone does). So each asks for it first, and where it is the blocking one the buffer goes on, too.
//!
//! A socket whose peer has gone is an error with `MSG_NOSIGNAL`, and `SIGPIPE` with these calls. So they are made only
//! where that signal is ignored, which Rust programs begin with.
//!
//! Tested in `tests/copy.rs`. Rejected: to begin with the pipe at once. For a small message it is three calls more, and two descriptors
//! for each connection that waits.

use super::{PipeReader, PipeWriter, ReadHalf, WriteHalf};
use crate::net::fd::{Fd, Kind};
use crate::net::{TcpStream, UnixStream};
use crate::os::clock::NEVER;
use crate::os::file;
use crate::os::signal::{Action, Disposition};
use crate::os::socket::{Interest, is_ready};
use crate::poll::desc::Direction;
use crate::process::{ChildStderr, ChildStdin, ChildStdout};
use crate::sched::watch_list::Guarded;
use crate::sched::{self, briefly};
use std::any::TypeId;
use std::cell::Cell;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Take, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// A read that brought so much was one of many, so that a further one is tried here.
pub(super) const MUCH: usize = 32 << 10;
/// What is moved at a time, when files are read or written: other coroutines may want the CPU.
const FILE: usize = 1 << 20;
/// Pipes that are kept for the next who needs one.
const KEPT: usize = 32;

/// One end of a copy.
pub(crate) enum End<'a> {
    /// What is waited for by its own means.
    Waits(&'a Fd),
    /// A file, which the kernel cannot poll, if it is a regular one.
    File(BorrowedFd<'a>),
}

/// A type that is read or written by system calls on its descriptor and nothing else.
pub(crate) trait Descriptor {
    fn end(&self) -> End<'_>;
}

macro_rules! through {
    ($($type:ty, $this:ident => $inner:expr;)*) => {$(
        impl<T: Descriptor> Descriptor for $type {
            fn end(&self) -> End<'_> {
                let $this = self;
                Descriptor::end($inner)
            }
        }
    )*};
}

through! {
    &T, this => *this;
    &mut T, this => &**this;
    Box<T>, this => &**this;
    ReadHalf<T>, this => this.get_ref();
    WriteHalf<T>, this => this.get_ref();
}

impl Descriptor for std::fs::File {
    fn end(&self) -> End<'_> {
        End::File(self.as_fd())
    }
}

impl Descriptor for crate::fs::File {
    fn end(&self) -> End<'_> {
        End::File(self.as_fd())
    }
}

/// A reader on top of a descriptor.
pub(super) trait Source {
    /// The descriptor, if all that is to be read is still there, and how much may be taken from it.
    fn end(&self) -> Option<(End<'_>, u64)>;
    /// So much was taken.
    fn taken(&mut self, count: u64);
}

/// A writer on top of a descriptor.
pub(super) trait Sink {
    /// The descriptor, to which all that was written so far has gone.
    fn end(&mut self) -> io::Result<End<'_>>;
}

impl<T: Descriptor> Source for T {
    fn end(&self) -> Option<(End<'_>, u64)> {
        Some((Descriptor::end(self), u64::MAX))
    }

    fn taken(&mut self, _: u64) {}
}

impl<T: Descriptor> Source for Take<T> {
    fn end(&self) -> Option<(End<'_>, u64)> {
        Some((Descriptor::end(self.get_ref()), self.limit()))
    }

    fn taken(&mut self, count: u64) {
        self.set_limit(self.limit() - count);
    }
}

impl<T: Descriptor> Source for BufReader<T> {
    fn end(&self) -> Option<(End<'_>, u64)> {
        self.buffer().is_empty().then(|| (Descriptor::end(self.get_ref()), u64::MAX))
    }

    fn taken(&mut self, _: u64) {}
}

impl<T: Descriptor> Sink for T {
    fn end(&mut self) -> io::Result<End<'_>> {
        Ok(Descriptor::end(self))
    }
}

impl<T: Descriptor + Write> Sink for BufWriter<T> {
    fn end(&mut self) -> io::Result<End<'_>> {
        self.flush()?;
        Ok(Descriptor::end(self.get_ref()))
    }
}

/// `$from: &mut T` as a `&mut dyn $trait` if `T` is one of the types, or one of the forms of one.
macro_rules! downcast {
    ($T:ty, $from:expr, $trait:path; $($base:ty),*; $adapter:ident; $($other:ty),*) => {{
        let id = typeid::of::<$T>();
        $(downcast!(@one id, $from, $trait; $base, &'static $base, &'static mut $base, Box<$base>, $adapter<$base>,
            $adapter<&'static $base>, $adapter<&'static mut $base>);)*
        downcast!(@one id, $from, $trait; $($other),*);
        None
    }};
    (@one $id:ident, $from:expr, $trait:path; $($type:ty),*) => {$(
        if $id == TypeId::of::<$type>() {
            // SAFETY: `T` is this type, but for the lifetime of a reference in it, which may be shorter than `'static`. The
            // trait's methods give nothing that lives longer than the borrow of `self`, which is that of `$from`; so the reference
            // is not used for longer than it is valid. It is borrowed for as long as `$from` is, and exclusively.
            return Some(unsafe { &mut *ptr::from_mut($from).cast::<$type>() });
        }
    )*};
}

/// The reader's descriptor, if it is known to have one.
pub(super) fn source<R: ?Sized>(reader: &mut R) -> Option<&mut dyn Source> {
    downcast!(R, reader, Source;
        TcpStream, UnixStream, PipeReader, ChildStdout, ChildStderr, crate::fs::File, std::fs::File;
        BufReader;
        Take<TcpStream>, Take<UnixStream>, Take<PipeReader>, Take<ChildStdout>, Take<crate::fs::File>, Take<std::fs::File>,
        Take<&'static TcpStream>, Take<&'static UnixStream>, Take<&'static PipeReader>, Take<&'static crate::fs::File>,
        Take<&'static std::fs::File>, Take<&'static mut TcpStream>, Take<&'static mut UnixStream>,
        Take<&'static mut PipeReader>, Take<&'static mut crate::fs::File>, Take<&'static mut std::fs::File>,
        ReadHalf<TcpStream>, ReadHalf<UnixStream>, &'static mut ReadHalf<TcpStream>, &'static mut ReadHalf<UnixStream>)
}

/// The writer's descriptor, if it is known to have one.
pub(super) fn sink<W: ?Sized>(writer: &mut W) -> Option<&mut dyn Sink> {
    downcast!(W, writer, Sink;
        TcpStream, UnixStream, PipeWriter, ChildStdin, crate::fs::File, std::fs::File;
        BufWriter;
        WriteHalf<TcpStream>, WriteHalf<UnixStream>, &'static mut WriteHalf<TcpStream>, &'static mut WriteHalf<UnixStream>)
}

/// What became of it.
pub(super) enum Outcome {
    /// The reader has nothing for now, or has ended.
    Dry,
    /// The kernel cannot do it, or not further; these bytes were read and are not written.
    Refused(Vec<u8>),
}

/// Moves at most `limit` bytes, until the reader has none for now; adds to `taken`, which is 0 at first, what was read, as soon as
/// it was. All of that is written in the end, but for what [`Outcome::Refused`] has.
pub(super) fn transfer(from: &End<'_>, to: &End<'_>, limit: u64, taken: &Cell<u64>) -> io::Result<Outcome> {
    if !from.is_supported()? || !to.is_supported()? || (to.is_socket() && !is_sigpipe_ignored()?) {
        return Ok(Outcome::Refused(Vec::new()));
    }
    let at_once: fn(BorrowedFd<'_>, BorrowedFd<'_>, usize) -> io::Result<usize> = match (from, to) {
        (End::File(_), End::File(_)) => file::copy_range,
        (End::File(_), End::Waits(_)) => |from, to, limit| file::sendfile(from, to, None, limit),
        _ if from.is_pipe() || to.is_pipe() => file::splice,
        _ => return by_way_of_pipe(from, to, limit, taken),
    };
    let mut was_ready = false;
    while taken.get() < limit {
        from.begin(Direction::Read)?;
        to.begin(Direction::Write)?;
        let most = (limit - taken.get()).min(FILE as u64) as usize;
        match attempt(&[from, to], || at_once(from.fd(), to.fd(), most)) {
            // A file that says that it has ended where a read brought much: what does not lie on a disk may.
            Ok(0) if taken.get() == 0 && matches!(from, End::File(_)) => return Ok(Outcome::Refused(Vec::new())),
            Ok(0) => return Ok(Outcome::Dry),
            Ok(count) => {
                taken.update(|taken| taken + count as u64);
                was_ready = false;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // It does not say which of the two it was.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Twice, with both of them ready: the buffer may know better.
                if was_ready || !from.is_readable()? {
                    return Ok(Outcome::Dry);
                }
                to.wait_writable()?;
                was_ready = true;
            }
            Err(error) if is_refusal(&error) => return Ok(Outcome::Refused(Vec::new())),
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Dry)
}

/// [`transfer`] where neither is a pipe.
fn by_way_of_pipe(from: &End<'_>, to: &End<'_>, limit: u64, taken: &Cell<u64>) -> io::Result<Outcome> {
    let pipe = match Pipe::take() {
        Ok(pipe) => pipe,
        // No descriptors left, or no memory for pipes: it goes without.
        Err(_) => return Ok(Outcome::Refused(Vec::new())),
    };
    while taken.get() < limit {
        from.begin(Direction::Read)?;
        let most = (limit - taken.get()).min(pipe.capacity as u64) as usize;
        let mut left = match attempt(&[from], || file::splice(from.fd(), pipe.writer.as_fd(), most)) {
            Ok(0) => break,
            Ok(count) => {
                taken.update(|taken| taken + count as u64);
                count
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // The pipe is empty, so it was the reader.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if is_refusal(&error) => return Ok(Outcome::Refused(Vec::new())),
            Err(error) => return Err(error),
        };
        while left > 0 {
            to.begin(Direction::Write)?;
            match attempt(&[to], || file::splice(pipe.reader.as_fd(), to.fd(), left)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => left -= count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There is something in the pipe, so it was the writer.
                Err(error) if error.kind() == ErrorKind::WouldBlock => to.wait_writable()?,
                Err(error) if is_refusal(&error) => {
                    let mut rest = vec![0; left];
                    // The pipe has them: this does not wait.
                    (&std::fs::File::from(pipe.reader)).read_exact(&mut rest)?;
                    return Ok(Outcome::Refused(rest));
                }
                Err(error) => return Err(error),
            }
        }
    }
    pipe.keep();
    Ok(Outcome::Dry)
}

/// A call that has to do with these, and with no others that may block; it may if one of them is a file.
fn attempt(ends: &[&End<'_>], call: impl FnOnce() -> io::Result<usize> + Send) -> io::Result<usize> {
    ends.iter().try_for_each(|end| end.check_mode())?;
    if ends.iter().any(|end| matches!(end, End::File(_))) { briefly(call) } else { call() }
}

impl End<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            End::Waits(fd) => fd.as_fd(),
            End::File(fd) => *fd,
        }
    }

    /// Not a socket; if it is no pipe either, the kernel refuses.
    fn is_pipe(&self) -> bool {
        matches!(self, End::Waits(fd) if fd.kind() == Kind::File)
    }

    fn is_socket(&self) -> bool {
        matches!(self, End::Waits(fd) if fd.kind() != Kind::File)
    }

    /// A file that is none on a disk may block for ever.
    fn is_supported(&self) -> io::Result<bool> {
        match self {
            End::Waits(_) => Ok(true),
            End::File(fd) => briefly(|| file::is_regular(*fd)),
        }
    }

    /// As every read or write begins.
    fn begin(&self, direction: Direction) -> io::Result<()> {
        match self {
            End::Waits(fd) => fd.begin(direction),
            End::File(_) => {
                sched::begin();
                Ok(())
            }
        }
    }

    /// A refusal, if a call would wait in the kernel: nothing ends that, no limit and no cancel.
    fn check_mode(&self) -> io::Result<()> {
        match self {
            End::Waits(fd) if !file::is_nonblocking(fd.as_fd())? => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            _ => Ok(()),
        }
    }

    fn is_readable(&self) -> io::Result<bool> {
        match self {
            End::Waits(fd) => is_ready(fd.as_raw_fd(), Interest::Readable),
            End::File(_) => Ok(true),
        }
    }

    fn wait_writable(&self) -> io::Result<()> {
        match self {
            End::Waits(fd) => fd.ready(Direction::Write, NEVER),
            End::File(_) => Ok(()),
        }
    }
}

/// Whether the kernel, a filter of system calls, or [`End::check_mode`] does not do this with such descriptors at all; then nothing
/// was moved.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINVAL
                | libc::ENOSYS
                | libc::EOPNOTSUPP
                | libc::EXDEV
                | libc::EPERM
                | libc::EBADF
                | libc::EOVERFLOW
                | libc::ETXTBSY
        )
    )
}

fn is_sigpipe_ignored() -> io::Result<bool> {
    Ok(matches!(Disposition::of(libc::SIGPIPE)?.action(), Action::Ignore))
}

/// An empty pipe.
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

static PIPES: Guarded<Vec<Pipe>> = Guarded::new(Vec::new());

impl Pipe {
    fn take() -> io::Result<Pipe> {
        let kept = PIPES.lock().pop();
        if let Some(pipe) = kept {
            return Ok(pipe);
        }
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        let capacity = file::pipe_bytes(writer.as_fd())?;
        Ok(Pipe { reader, writer, capacity })
    }

    /// Gives it back, empty. One that is dropped instead may have bytes in it.
    fn keep(self) {
        let mut pipes = PIPES.lock();
        if pipes.len() < KEPT {
            pipes.push(self);
        } else {
            // Closed without the lock.
            drop(pipes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A regular file with so many bytes, that is gone already.
    fn file(count: usize) -> std::fs::File {
        let path = std::env::temp_dir().join(format!("gort-within-{}-{count}", std::process::id()));
        std::fs::write(&path, vec![7; count]).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file
    }

    fn tcp() -> (TcpStream, TcpStream) {
        let listener = crate::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// What was moved without the buffer, and whether it was refused. The two are closed by then.
    #[expect(clippy::boxed_local, reason = "what has no size is passed, too")]
    fn moved<R: Read + ?Sized, W: Write + ?Sized>(mut reader: Box<R>, mut writer: Box<W>) -> Option<(u64, bool)> {
        let (source, sink) = (source(&mut *reader)?, sink(&mut *writer)?);
        let (from, limit) = source.end()?;
        let taken = Cell::new(0);
        let outcome = transfer(&from, &sink.end().unwrap(), limit, &taken).unwrap();
        Some((taken.get(), matches!(outcome, Outcome::Refused(_))))
    }

    #[test]
    fn each_pair_is_moved_by_the_kernel() {
        const COUNT: u64 = 10_000;
        let bytes = &[7; COUNT as usize][..];
        let filled = || {
            let (mut far, near) = tcp();
            far.write_all(bytes).unwrap();
            // So that all is there.
            far.shutdown(std::net::Shutdown::Write).unwrap();
            Box::new(near)
        };
        let piped = || {
            let (reader, mut writer) = super::super::pipe().unwrap();
            writer.write_all(bytes).unwrap();
            Box::new(reader)
        };
        let all = Some((COUNT, false));
        let (near, _far) = tcp();
        assert_eq!(moved(filled(), Box::new(near)), all, "from socket to socket");
        let (reader, writer) = super::super::pipe().unwrap();
        assert_eq!(moved(filled(), Box::new(writer)), all, "from socket to pipe");
        drop(reader);
        assert_eq!(moved(filled(), Box::new(file(0))), all, "from socket to file");
        let (near, _far) = UnixStream::pair().unwrap();
        assert_eq!(moved(piped(), Box::new(near)), all, "from pipe to socket");
        assert_eq!(moved(piped(), Box::new(file(0))), all, "from pipe to file");
        let (_reader, writer) = super::super::pipe().unwrap();
        assert_eq!(moved(piped(), Box::new(writer)), all, "from pipe to pipe");
        let (near, _far) = tcp();
        assert_eq!(moved(Box::new(file(COUNT as usize)), Box::new(near)), all, "from file to socket");
        let (_reader, writer) = super::super::pipe().unwrap();
        assert_eq!(moved(Box::new(file(COUNT as usize)), Box::new(writer)), all, "from file to pipe");
        let ours = Box::new(crate::fs::File::from(file(COUNT as usize)));
        assert_eq!(moved(ours, Box::new(file(0))), all, "from file to file");
    }

    #[test]
    fn forms_are_known_and_others_are_not() {
        let (stream, other) = tcp();
        let limited = Some((0, false));
        assert_eq!(moved(Box::new((&stream).take(0)), Box::new(&other)), limited);
        let (near, far) = UnixStream::pair().unwrap();
        let (reader, writer) = (super::super::split(near).0, super::super::split(far).1);
        assert_eq!(moved(Box::new(reader), Box::new(BufWriter::new(writer.get_ref()))), limited);
        assert_eq!(moved(Box::new(Box::new(stream)), Box::new(writer)), limited);
        let (mut stream, mut other) = tcp();
        assert_eq!(moved(Box::new(BufReader::new(&mut stream)), Box::new(&mut other)), limited);
        assert_eq!(moved(Box::new(stream) as Box<dyn Read>, Box::new(&mut other)), None);
        assert_eq!(moved(Box::new(&b"bytes"[..]), Box::new(other)), None);
        // A reader that has taken bytes into the program gives them first.
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"some").unwrap();
        let mut reader = BufReader::new(near);
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!(moved(Box::new(reader), Box::new(far)), None);
    }
}

//! `File`.

use crate::os::file;
use crate::sched::{self, apart, briefly};
use std::fmt;
use std::fs::{FileTimes, Metadata, Permissions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::OpenOptions;

/// A file that is open: [`std::fs::File`] for coroutines.
///
/// It is closed when it is dropped, in place. A file that is no file on a disk, a FIFO or a terminal, keeps a thread
/// waiting while it has nothing to say; as an [`io::Pollable`](crate::io::Pollable) it does not.
///
/// # Examples
///
/// ```
/// use gort::fs::{self, File};
/// use std::io::{Read, Seek, Write};
/// use std::os::unix::fs::FileExt;
///
/// gort::run(|| {
///     let path = std::env::temp_dir().join(format!("gort-file-{}", std::process::id()));
///     let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
///     file.write_all(b"some bytes")?;
///     file.sync_all()?;
///     file.rewind()?;
///     let mut text = String::new();
///     file.read_to_string(&mut text)?;
///     assert_eq!(text, "some bytes");
///     let mut end = [0; 5];
///     file.read_exact_at(&mut end, 5)?;
///     assert_eq!(&end, b"bytes");
///     file.set_len(4)?;
///     assert_eq!(file.metadata()?.len(), 4);
///     fs::remove_file(&path)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File {
    file: std::fs::File,
    /// The kernel has refused to read it without waiting (`RWF_NOWAIT`): nobody asks any more.
    must_wait: AtomicBool,
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Examples
    ///
    /// ```
    /// let file = gort::fs::File::open("/proc/self/exe")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::File::open`]; so with the methods below.
    ///
    /// # Scheduling
    ///
    /// See [the module](super#scheduling); so with the methods below.
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let path = path.as_ref();
        briefly(|| std::fs::File::open(path)).map(File::from)
    }

    /// Opens a file to write it: a new one, or one that was there, without what was in it.
    ///
    /// # Examples
    ///
    /// ```
    /// let null = gort::fs::File::create("/dev/null")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let path = path.as_ref();
        briefly(|| std::fs::File::create(path)).map(File::from)
    }

    /// Makes a file that was not there, to read and write it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// assert_eq!(gort::fs::File::create_new("/dev/null").unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// ```
    ///
    /// # Errors
    ///
    /// As with std: [`AlreadyExists`](io::ErrorKind::AlreadyExists) first of all.
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(path)
    }

    /// New [`OpenOptions`].
    ///
    /// # Examples
    ///
    /// See [`File`].
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Waits until all that was written is on the disk: `fsync(2)`.
    ///
    /// # Examples
    ///
    /// See [`File`].
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn sync_all(&self) -> io::Result<()> {
        apart(|| self.file.sync_all())
    }

    /// [`Self::sync_all`] without what is not needed to read it again: `fdatasync(2)`.
    ///
    /// # Examples
    ///
    /// See [`File`].
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn sync_data(&self) -> io::Result<()> {
        apart(|| self.file.sync_data())
    }

    /// Locks the file for this handle and its clones alone, and waits until that is possible: `flock(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::TryLockError;
    /// let path = std::env::temp_dir().join(format!("gort-file-lock-{}", std::process::id()));
    /// let (one, other) = (gort::fs::File::create(&path)?, gort::fs::File::create(&path)?);
    /// one.lock()?;
    /// assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    /// one.unlock()?;
    /// other.lock_shared()?;
    /// one.try_lock_shared()?;
    /// # gort::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As with std.
    ///
    /// # Scheduling
    ///
    /// A spare thread waits for it, and nothing ends that: not [`cancel`](crate::JoinHandle::cancel), nor a
    /// deadline. Who cannot wait that long calls [`Self::try_lock`] from time to time.
    pub fn lock(&self) -> io::Result<()> {
        apart(|| self.file.lock())
    }

    /// [`Self::lock`] that others may have at the same time, if they ask for no more either.
    ///
    /// # Examples
    ///
    /// See [`Self::lock`].
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn lock_shared(&self) -> io::Result<()> {
        apart(|| self.file.lock_shared())
    }

    /// [`Self::lock`] without waiting.
    ///
    /// # Examples
    ///
    /// See [`Self::lock`].
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if somebody has it.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        briefly(|| self.file.try_lock())
    }

    /// [`Self::lock_shared`] without waiting.
    ///
    /// # Examples
    ///
    /// See [`Self::lock`].
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if somebody has it for himself.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        briefly(|| self.file.try_lock_shared())
    }

    /// Gives up what the others have locked.
    ///
    /// # Examples
    ///
    /// See [`Self::lock`].
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn unlock(&self) -> io::Result<()> {
        briefly(|| self.file.unlock())
    }

    /// Cuts the file off at `size` bytes, or adds zeros up to there.
    ///
    /// # Examples
    ///
    /// See [`File`].
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        briefly(|| self.file.set_len(size))
    }

    /// What the system knows of the file.
    ///
    /// # Examples
    ///
    /// See [`File`].
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn metadata(&self) -> io::Result<Metadata> {
        briefly(|| self.file.metadata())
    }

    /// A second handle to the same open file, with the same position: a duplicate of the descriptor, as in std, and unlike
    /// our sockets.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    /// let file = gort::fs::File::open("/proc/self/exe")?;
    /// let mut start = [0; 4];
    /// file.try_clone()?.read_exact(&mut start)?;
    /// assert_eq!(&start, b"\x7fELF");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub fn try_clone(&self) -> io::Result<File> {
        // Relaxed: a hint.
        let must_wait = AtomicBool::new(self.must_wait.load(Ordering::Relaxed));
        Ok(File { file: self.file.try_clone()?, must_wait })
    }

    /// Changes who may do what with the file.
    ///
    /// # Examples
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("gort-file-permissions-{}", std::process::id()));
    /// let file = gort::fs::File::create(&path)?;
    /// let mut permissions = file.metadata()?.permissions();
    /// permissions.set_readonly(true);
    /// file.set_permissions(permissions)?;
    /// assert!(gort::fs::metadata(&path)?.permissions().readonly());
    /// # gort::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        briefly(|| self.file.set_permissions(permissions))
    }

    /// Changes when the file was last read and changed, as far as the system is told.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// # let path = std::env::temp_dir().join(format!("gort-file-times-{}", std::process::id()));
    /// let file = gort::fs::File::create(&path)?;
    /// let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    /// file.set_times(gort::fs::FileTimes::new().set_accessed(then))?;
    /// file.set_modified(then)?;
    /// assert_eq!(file.metadata()?.modified()?, then);
    /// assert_eq!(file.metadata()?.accessed()?, then);
    /// # gort::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        briefly(|| self.file.set_times(times))
    }

    /// Changes when the file was last changed, as far as the system is told.
    ///
    /// # Examples
    ///
    /// See [`Self::set_times`].
    ///
    /// # Errors
    ///
    /// As with std.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// std's file, whose operations block the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// let file: std::fs::File = gort::fs::File::open("/proc/self/exe")?.into_std();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_std(self) -> std::fs::File {
        self.file
    }

    /// Reads what is in memory, in place. None if that is nothing, or may be the end: then it takes a call that may block.
    fn read_now(&self, buffers: &mut [IoSliceMut<'_>], offset: Option<u64>) -> Option<usize> {
        // Relaxed: a hint.
        if self.must_wait.load(Ordering::Relaxed) || sched::current_poller().is_none() {
            return None;
        }
        match file::read_nowait(self.file.as_fd(), buffers, offset) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) => {
                // What else there is to complain of, the call that may block will say.
                if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                    // Relaxed: a hint.
                    self.must_wait.store(true, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// Reads by `now`, or else by `call`, which may block.
    fn read_by(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        offset: Option<u64>,
        call: impl FnOnce(&std::fs::File, &mut [IoSliceMut<'_>]) -> io::Result<usize> + Send,
    ) -> io::Result<usize> {
        sched::begin();
        match self.read_now(buffers, offset) {
            Some(count) => Ok(count),
            None => briefly(|| call(&self.file, buffers)),
        }
    }
}

/// # Scheduling
///
/// What is in memory is read in place; for what is not see [the module](super#scheduling).
impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_by(&mut [IoSliceMut::new(buffer)], None, |mut file, buffers| file.read(&mut buffers[0]))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_by(buffers, None, |mut file, buffers| file.read_vectored(buffers))
    }

    // These ask how much there is, and are one call instead of many.
    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        briefly(|| (&self.file).read_to_end(buffer))
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        briefly(|| (&self.file).read_to_string(buffer))
    }
}

/// # Scheduling
///
/// See [the module](super#scheduling).
impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        briefly(|| (&self.file).write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        briefly(|| (&self.file).write_vectored(slices))
    }

    // All of it in one call.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        briefly(|| (&self.file).write_all(bytes))
    }

    /// Does nothing: nothing is kept back here. See [`File::sync_all`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// # Scheduling
///
/// At the end of the file as in [the module](super#scheduling), otherwise in place.
impl Seek for &File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match position {
            // A file of another machine may have grown there.
            SeekFrom::End(_) => briefly(|| (&self.file).seek(position)),
            _ => (&self.file).seek(position),
        }
    }
}

/// As [`Read`] for `&File`.
impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buffer)
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buffer)
    }
}

/// As [`Write`] for `&File`.
impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(slices)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self).write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As [`Seek`] for `&File`.
impl Seek for File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        (&*self).seek(position)
    }
}

/// # Scheduling
///
/// As [`Read`] and [`Write`].
impl FileExt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_by(&mut [IoSliceMut::new(buffer)], Some(offset), |file, buffers| {
            file.read_at(&mut buffers[0], offset)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        briefly(|| self.file.write_at(bytes, offset))
    }

    // All of it in one call.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        briefly(|| self.file.write_all_at(bytes, offset))
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File { file, must_wait: AtomicBool::new(false) }
    }
}

impl From<File> for std::fs::File {
    fn from(file: File) -> std::fs::File {
        file.file
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        std::fs::File::from(fd).into()
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.file.into()
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.file.into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        self.file.into_raw_fd()
    }
}

impl FromRawFd for File {
    unsafe fn from_raw_fd(fd: RawFd) -> File {
        // SAFETY: the caller owns `fd` and gives it to us.
        unsafe { std::fs::File::from_raw_fd(fd) }.into()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

//! What is in a directory.

use crate::sched::briefly;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};

/// How many entries are read at once. The kernel hands out 32 KiB of them, some hundreds, in a call.
const BATCH: usize = 128;

/// What is in a directory, one after the other; see [`read_dir`].
///
/// # Examples
///
/// ```
/// for entry in gort::fs::read_dir("/proc/self/task")? {
///     println!("{:?}", entry?.file_name());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ReadDir {
    entries: std::fs::ReadDir,
    /// Those that were read ahead.
    batch: VecDeque<io::Result<DirEntry>>,
    ended: bool,
}

// As std's. The errors in the batch, for which this has to be said, are the system's: a number that no panic breaks.
impl UnwindSafe for ReadDir {}
impl RefUnwindSafe for ReadDir {}

/// What is in a directory: [`std::fs::read_dir`]. Entries are read 128 at a time, so that each is not a trip to another
/// thread.
///
/// # Examples
///
/// See [`ReadDir`].
///
/// # Errors
///
/// Those of [`std::fs::read_dir`].
///
/// # Scheduling
///
/// See [the module](super#scheduling).
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref();
    let entries = briefly(|| std::fs::read_dir(path))?;
    Ok(ReadDir { entries, batch: VecDeque::new(), ended: false })
}

/// # Scheduling
///
/// See [the module](super#scheduling).
impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.batch.is_empty() && !self.ended {
            let (entries, batch) = (&mut self.entries, &mut self.batch);
            briefly(|| batch.extend(entries.take(BATCH).map(|entry| entry.map(DirEntry::new))));
            self.ended = self.batch.len() < BATCH;
        }
        self.batch.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}

/// One of what is in a directory: [`std::fs::DirEntry`] for coroutines.
///
/// # Examples
///
/// ```
/// use std::os::unix::fs::DirEntryExt;
/// let entry = gort::fs::read_dir("/proc/self")?.next().expect("it is not empty")?;
/// assert_eq!(entry.path().file_name(), Some(&*entry.file_name()));
/// assert_eq!(entry.metadata()?.file_type(), entry.file_type()?);
/// assert_ne!(entry.ino(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DirEntry {
    entry: std::fs::DirEntry,
    /// As it was found. Most file systems tell along with the name.
    file_type: Option<FileType>,
}

impl DirEntry {
    /// Where other calls may block.
    fn new(entry: std::fs::DirEntry) -> DirEntry {
        // An error is for who asks.
        let file_type = entry.file_type().ok();
        DirEntry { entry, file_type }
    }

    /// Where it is: the path that was given to [`read_dir`], and the name.
    ///
    /// # Examples
    ///
    /// See [`DirEntry`].
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// What the system knows of it; of a symbolic link itself, not of what it leads to.
    ///
    /// # Examples
    ///
    /// See [`DirEntry`].
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::DirEntry::metadata`].
    ///
    /// # Scheduling
    ///
    /// See [the module](super#scheduling).
    pub fn metadata(&self) -> io::Result<Metadata> {
        briefly(|| self.entry.metadata())
    }

    /// What kind of file it is, or was when it was read.
    ///
    /// # Examples
    ///
    /// See [`DirEntry`].
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::DirEntry::file_type`].
    ///
    /// # Scheduling
    ///
    /// Returns at once, unless that could not be told then.
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => briefly(|| self.entry.file_type()),
        }
    }

    /// Its name, without the directory.
    ///
    /// # Examples
    ///
    /// See [`DirEntry`].
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.entry.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}

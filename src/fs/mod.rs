//! Files and directories, shaped like [`std::fs`], for coroutines.
//!
//! Names, arguments, results and errors are those of std, and so are the types that are only data. A program moves over by
//! changing the import ([`coming_from::std_fs`](crate::coming_from::std_fs) has them one by one).
//!
//! # Scheduling
//!
//! The kernel has no way to wait for a file as one waits for a socket: who asks for what is not in memory is blocked until the
//! disk, or the other machine, has answered. So every call here goes one of these ways.
//!
//! - *In place, what needs no waiting.* A [`File`] is read with `RWF_NOWAIT` first: what is in the page cache is copied, and what
//!   is not is refused instead of waited for. That takes 0.1 µs more than the call alone.
//! - *In place, announced.* A call that may block, and most often does not, is made in place: opening, looking, writing to the
//!   page cache, what `RWF_NOWAIT` has refused. That takes 0.1 µs, too. If it blocks after all, others have the caller's P after
//!   some 5 ms, and the next calls do not keep them waiting, for up to thirty times as long as the last ones took.
//! - *By the caller's thread, out of its home.* The same calls, if somebody else lives in the home, who may have it meanwhile. 0.2 µs.
//! - *On a spare thread.* The same calls again, when they have been long and somebody waits for the P or lives in the home; and in
//!   any case those that take long: [`File::sync_all`], [`File::lock`], [`copy`], [`remove_dir_all`]. The coroutine is parked
//!   meanwhile. If no spare thread is to be had, or the coroutine keeps its thread
//!   ([`lock_os_thread`](crate::lock_os_thread)), they are made in place after all.
//!
//! | | |
//! |---|---|
//! | `pread` of 512 bytes in the page cache, alone | 0.6 µs |
//! | the same with `RWF_NOWAIT` | 0.7 µs |
//! | the same in place, announced | 0.7 µs |
//! | the same out of the home | 0.8 µs |
//! | the same on a spare thread | 10 to 15 µs |
//! | the same through [`blocking`](crate::blocking), where four coroutines of one P take turns | 100 to 200 µs: the P goes to another thread and comes back |
//! | `fstat`, `stat`, `open` and `close`, `pwrite` of 512 bytes, alone | 0.5, 1.5, 3.4, 1.1 µs |
//!
//! (Two CPUs of a virtual machine, Linux 6.18, ext4, optimised.) The last but one is why a call that is short must not go through
//! `blocking`. There is no `RWF_NOWAIT` for writing on ext4; where small pieces are written a
//! [`BufWriter`](std::io::BufWriter) saves more than that would. Looking and opening have nothing of the kind on any file system.
//!
//! Whoever has called is not [cancelled](crate::JoinHandle::cancel) before the call has returned: what it does to a file is done
//! or not, never left to somebody else. Before each call it may be, and one that has used up its time slice lets others run.
//! On a plain thread the calls block that.
//!
//! A read returns what is in memory, which may be less than was asked for before the end of the file: as everywhere, the
//! end is where a read returns 0. ([`read_exact`](std::io::Read::read_exact) and the like know that.)
//!
//! Rejected: `io_uring`. It has files and sockets wait alike, but many systems forbid it (the filters of containers do), and
//! what is in memory, most of what is read, it serves no faster. Rejected: a spare thread for each call, as most runtimes have
//! it: 10 µs for 0.5 µs of work. Rejected: an unannounced call, noticed by sysmon if it does not come back. Who waits for a disk
//! cannot be interrupted, so the signal by which a P is lent arrives when it is all over. Rejected: a spare thread whenever
//! somebody waits for the P or the home. In a server that is always so: `examples/http` with 50 connections that ask for one small
//! file answered 27,000 a second, and answers 69,000 (Go's `http.FileServer`: 39,000); with 2,000, which share homes, 21,000 and
//! 45,000 (37,000).
//!
//! # Examples
//!
//! ```
//! use gort::fs;
//!
//! gort::run(|| {
//!     let place = std::env::temp_dir().join(format!("gort-fs-{}", std::process::id()));
//!     fs::create_dir_all(place.join("deep"))?;
//!     fs::write(place.join("a"), "some text")?;
//!     assert_eq!(fs::read_to_string(place.join("a"))?, "some text");
//!     assert_eq!(fs::copy(place.join("a"), place.join("b"))?, 9);
//!     fs::rename(place.join("b"), place.join("deep/b"))?;
//!     fs::hard_link(place.join("a"), place.join("c"))?;
//!     assert!(fs::exists(place.join("c"))?);
//!     assert_eq!(fs::metadata(place.join("a"))?.len(), 9);
//!     let mut names: Vec<_> = fs::read_dir(&place)?.map(|entry| entry.unwrap().file_name()).collect();
//!     names.sort();
//!     assert_eq!(names, ["a", "c", "deep"]);
//!     fs::remove_file(place.join("c"))?;
//!     fs::remove_dir_all(&place)
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod dir;
mod file;
mod options;
pub mod unix;

pub use dir::{DirEntry, ReadDir, read_dir};
pub use file::File;
pub use options::{DirBuilder, OpenOptions};
pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};

use crate::sched::{apart, briefly};
use std::io;
use std::path::{Path, PathBuf};

/// The functions that only hand paths on.
macro_rules! functions {
    ($($(#[$doc:meta])* $way:ident $name:ident($($path:ident: $type:ident),*) -> $result:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Examples
        ///
        /// See [the module](self#examples).
        ///
        /// # Errors
        ///
        #[doc = concat!("Those of [`std::fs::", stringify!($name), "`].")]
        ///
        /// # Scheduling
        ///
        /// See [the module](self#scheduling).
        pub fn $name<$($type: AsRef<Path>),*>($($path: $type),*) -> io::Result<$result> {
            $(let $path = $path.as_ref();)*
            $way(|| std::fs::$name($($path),*))
        }
    )*};
}

functions! {
    /// The absolute path without symbolic links, `.` and `..`.
    briefly canonicalize(path: P) -> PathBuf;
    /// Copies a file with its permissions, and returns how many bytes that were. What was at `to` is gone.
    apart copy(from: P, to: Q) -> u64;
    /// Makes a directory.
    briefly create_dir(path: P) -> ();
    /// Makes a directory and those that it is to be in, as far as they are not there.
    briefly create_dir_all(path: P) -> ();
    /// Whether there is something at `path`; symbolic links are followed.
    briefly exists(path: P) -> bool;
    /// Gives a file a second name.
    briefly hard_link(original: P, link: Q) -> ();
    /// What the system knows of a file; symbolic links are followed.
    briefly metadata(path: P) -> Metadata;
    /// All that is in a file.
    briefly read(path: P) -> Vec<u8>;
    /// Where a symbolic link leads to.
    briefly read_link(path: P) -> PathBuf;
    /// All that is in a file, which must be UTF-8.
    briefly read_to_string(path: P) -> String;
    /// Removes a directory that is empty.
    briefly remove_dir(path: P) -> ();
    /// Removes a directory with all that is in it. Symbolic links are removed, not followed.
    apart remove_dir_all(path: P) -> ();
    /// Removes a file.
    briefly remove_file(path: P) -> ();
    /// Moves a file or a directory within its file system. What was at `to` is gone.
    briefly rename(from: P, to: Q) -> ();
    /// What the system knows of a file; of a symbolic link itself.
    briefly symlink_metadata(path: P) -> Metadata;
}

/// Changes who may do what with a file.
///
/// # Examples
///
/// ```
/// use gort::fs;
/// # let path = std::env::temp_dir().join(format!("gort-permissions-{}", std::process::id()));
/// fs::write(&path, "")?;
/// let mut permissions = fs::metadata(&path)?.permissions();
/// permissions.set_readonly(true);
/// fs::set_permissions(&path, permissions)?;
/// # fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`std::fs::set_permissions`].
///
/// # Scheduling
///
/// See [the module](self#scheduling).
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    briefly(|| std::fs::set_permissions(path, permissions))
}

/// Writes a file that has `contents` and nothing else.
///
/// # Examples
///
/// See [the module](self#examples).
///
/// # Errors
///
/// Those of [`std::fs::write`].
///
/// # Scheduling
///
/// See [the module](self#scheduling).
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    briefly(|| std::fs::write(path, contents))
}

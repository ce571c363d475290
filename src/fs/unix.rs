//! The functions of [`std::os::unix::fs`].

use crate::sched::briefly;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Makes a symbolic link at `link` that leads to `original`: [`std::os::unix::fs::symlink`].
///
/// # Examples
///
/// ```
/// use gort::fs::{self, unix};
/// let link = std::env::temp_dir().join(format!("gort-symlink-{}", std::process::id()));
/// unix::symlink("/nowhere", &link)?;
/// assert_eq!(fs::read_link(&link)?.to_str(), Some("/nowhere"));
/// assert!(fs::symlink_metadata(&link)?.is_symlink());
/// assert!(!fs::exists(&link)?);
/// fs::remove_file(&link)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As with std.
///
/// # Scheduling
///
/// See [`fs`](super#scheduling).
pub fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    briefly(|| std::os::unix::fs::symlink(original, link))
}

/// Changes to whom a file belongs: [`std::os::unix::fs::chown`].
///
/// # Examples
///
/// ```
/// # let path = std::env::temp_dir().join(format!("gort-chown-{}", std::process::id()));
/// let file = gort::fs::File::create(&path)?;
/// // None: as it was.
/// gort::fs::unix::chown(&path, None, None)?;
/// gort::fs::unix::lchown(&path, None, None)?;
/// gort::fs::unix::fchown(&file, None, None)?;
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
/// See [`fs`](super#scheduling).
pub fn chown<P: AsRef<Path>>(path: P, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let path = path.as_ref();
    briefly(|| std::os::unix::fs::chown(path, user, group))
}

/// [`chown`] for a symbolic link itself: [`std::os::unix::fs::lchown`].
///
/// # Examples
///
/// See [`chown`].
///
/// # Errors
///
/// As with std.
///
/// # Scheduling
///
/// See [`fs`](super#scheduling).
pub fn lchown<P: AsRef<Path>>(path: P, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let path = path.as_ref();
    briefly(|| std::os::unix::fs::lchown(path, user, group))
}

/// [`chown`] for a file that is open: [`std::os::unix::fs::fchown`].
///
/// # Examples
///
/// See [`chown`].
///
/// # Errors
///
/// As with std.
///
/// # Scheduling
///
/// See [`fs`](super#scheduling).
pub fn fchown<F: AsFd>(file: F, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let file = file.as_fd();
    briefly(|| std::os::unix::fs::fchown(file, user, group))
}

/// Changes what the root directory of the process is: [`std::os::unix::fs::chroot`].
///
/// # Examples
///
/// ```no_run
/// gort::fs::unix::chroot("/srv/jail")?;
/// std::env::set_current_dir("/")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As with std.
///
/// # Scheduling
///
/// See [`fs`](super#scheduling).
pub fn chroot<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    briefly(|| std::os::unix::fs::chroot(path))
}

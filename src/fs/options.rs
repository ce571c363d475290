//! How files and directories are made.

use super::File;
use crate::sched::briefly;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// How a file is opened: [`std::fs::OpenOptions`], with the same meanings.
///
/// # Examples
///
/// ```
/// use gort::fs::{self, OpenOptions};
/// use std::{io::Write, os::unix::fs::OpenOptionsExt};
///
/// let path = std::env::temp_dir().join(format!("gort-options-{}", std::process::id()));
/// OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?.write_all(b"a")?;
/// OpenOptions::new().append(true).open(&path)?.write_all(b"b")?;
/// assert_eq!(fs::read(&path)?, b"ab");
/// assert!(OpenOptions::new().write(true).create_new(true).open(&path).is_err());
/// fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(std::fs::OpenOptions);

/// The settings, which all have the same shape.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Examples
        ///
        /// See [`OpenOptions`].
        pub fn $name(&mut self, $name: bool) -> &mut OpenOptions {
            self.0.$name($name);
            self
        }
    )*};
}

impl OpenOptions {
    /// Nothing is allowed yet.
    ///
    /// # Examples
    ///
    /// See [`OpenOptions`].
    #[allow(clippy::new_without_default, reason = "std's has none either")]
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions(std::fs::OpenOptions::new())
    }

    settings! {
        /// It can be read.
        read;
        /// It can be written.
        write;
        /// It can be written, and whatever is written goes to the end.
        append;
        /// Whatever was in it is gone.
        truncate;
        /// If it is not there it is made.
        create;
        /// It must not be there, and is made.
        create_new;
    }

    /// Opens the file at `path` like that.
    ///
    /// # Examples
    ///
    /// See [`OpenOptions`].
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::OpenOptions::open`].
    ///
    /// # Scheduling
    ///
    /// See [the module](super#scheduling).
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let path = path.as_ref();
        briefly(|| self.0.open(path)).map(File::from)
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }
}

impl From<std::fs::OpenOptions> for OpenOptions {
    fn from(options: std::fs::OpenOptions) -> OpenOptions {
        OpenOptions(options)
    }
}

/// How a directory is made: [`std::fs::DirBuilder`], with the same meanings.
///
/// # Examples
///
/// ```
/// use gort::fs::{self, DirBuilder};
/// use std::os::unix::fs::DirBuilderExt;
///
/// let path = std::env::temp_dir().join(format!("gort-builder-{}", std::process::id()));
/// DirBuilder::new().recursive(true).mode(0o700).create(path.join("a/b"))?;
/// assert!(fs::metadata(path.join("a/b"))?.is_dir());
/// fs::remove_dir_all(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct DirBuilder(std::fs::DirBuilder);

impl DirBuilder {
    /// One directory, in one that is there.
    ///
    /// # Examples
    ///
    /// See [`DirBuilder`].
    #[allow(clippy::new_without_default, reason = "std's has none either")]
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder(std::fs::DirBuilder::new())
    }

    /// Those that it is to be in are made too, and it may be there.
    ///
    /// # Examples
    ///
    /// See [`DirBuilder`].
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.0.recursive(recursive);
        self
    }

    /// Makes it.
    ///
    /// # Examples
    ///
    /// See [`DirBuilder`].
    ///
    /// # Errors
    ///
    /// Those of [`std::fs::DirBuilder::create`].
    ///
    /// # Scheduling
    ///
    /// See [the module](super#scheduling).
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        briefly(|| self.0.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.0.mode(mode);
        self
    }
}

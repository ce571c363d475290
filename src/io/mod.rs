//! Input and output that is no socket: anything that can be polled, pipes, the standard streams, copying.
//!
//! A coroutine that waits here is parked, as in [`net`](crate::net), and what is said there of timeouts, deadlines,
//! clones and plain threads holds here too.
//!
//! - [`pipe()`] is [`std::io::pipe`].
//! - [`Pollable`] makes anything that has a descriptor wait: an eventfd, an inotify, a TUN device, a FIFO, a
//!   serial line, the socket of another crate. What the kernel cannot poll, a regular file first of all, it reads and
//!   writes by [`blocking`](crate::blocking).
//! - [`stdin`], [`stdout`] and [`stderr`] are the standard streams, left in the mode in which they were.
//! - [`copy()`] is [`std::io::copy`] with its buffer on the heap, and within the kernel between sockets, files and pipes, by their
//!   timeouts and deadlines; [`splice`] does that with any descriptors.
//! - [`split()`] takes a stream apart into a half that reads and one that writes.
//!
//! [`coming_from::std_io`](crate::coming_from::std_io) says one by one what is std's own and what that of std is called here.
//!
//! # Examples
//!
//! ```
//! use std::io::{Read, Write};
//!
//! gort::run(|| {
//!     let (mut reader, mut writer) = gort::io::pipe()?;
//!     gort::go!(move || writer.write_all(b"hello"));
//!     let mut text = String::new();
//!     reader.read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod copy;
mod pipe;
mod pollable;
mod split;
mod stdio;
mod within;

pub use copy::{copy, splice};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use pollable::{Interest, Pollable};
pub use split::{ReadHalf, ReuniteError, WriteHalf, split};
pub use stdio::{Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, stderr, stdin, stdout};
pub(crate) use within::{Descriptor, End};

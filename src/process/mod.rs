//! Child processes, shaped like [`std::process`], for coroutines.
//!
//! Names, arguments, results and errors are those of std ([`coming_from::std_process`](crate::coming_from::std_process)
//! has them one by one). What differs:
//!
//! - Waiting for a child, and for its pipes, parks the coroutine; [`Child::wait_timeout`] and
//!   [`Child::wait_deadline`] give up, and the pipes have timeouts and deadlines like sockets.
//! - No child stays a zombie. One whose [`Child`] was dropped without a wait, or by a coroutine that was cancelled, goes on
//!   and is reaped when it ends: by a thread that there is only as long as there are such children.
//!   [`Command::kill_on_drop`] ends it instead.
//! - Children that were started by others, std's `Command` among them, are not touched.
//!
//! The kernel tells of an end by a descriptor (`pidfd_open(2)`). Where that is refused, a thread waits for each child that somebody
//! waits for; `GORT_DEBUG=pidfd=0` asks for that.
//!
//! # Starting
//!
//! To start a process takes half a millisecond or more, in which the thread that does it is blocked. It is a
//! spare one, so that others go on. What the kernel ties to the thread that has started a child is tied to that: a
//! `PR_SET_PDEATHSIG` in [`Command::pre_exec`] would come when the spare thread ends, which it does after ten idle
//! seconds. A coroutine that keeps its thread ([`lock_os_thread`](crate::lock_os_thread)) starts its children there.
//!
//! # Examples
//!
//! ```
//! use gort::process::Command;
//!
//! gort::run(|| {
//!     let tasks: Vec<_> = (0..4).map(|i| gort::go!(move || Command::new("echo").arg(i.to_string()).output())).collect();
//!     for (i, task) in tasks.into_iter().enumerate() {
//!         let output = task.join().unwrap()?;
//!         assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{i}\n"));
//!     }
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod child;
mod command;
mod exit;
mod pipes;

pub use child::Child;
pub use command::Command;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
pub use std::os::unix::process::parent_id;
pub use std::process::{CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id};

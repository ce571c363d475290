//! How many CPUs the process may use, and which.
//!
//! Promise: [`usable`] is the number of CPUs that the calling thread may run on, or fewer if a CPU quota allows
//! less; at least 1. A [`Watcher`] says the same again at any time, and allocates nothing and takes no lock
//! to do so, because sysmon asks it while somebody may be suspended inside `malloc`.
//!
//! # What limits a process
//!
//! - The *mask*: the CPUs that a thread may run on, as `sched_getaffinity(2)` says. The kernel has already
//!   taken out of it what is offline and what a `cpuset` group forbids. A mask belongs to a thread, and
//!   threads inherit it: sysmon has that of the thread that built the first runtime. `taskset -p` changes that of
//!   one thread, `taskset -a -p` that of all.
//! - *Quotas*: so much CPU time per period for all of a control group, the groups below it included. So it is
//!   not the process's own group that counts but the tightest on the way to the root: an orchestrator limits
//!   a pod and leaves the containers in it alone, or the other way round. [`cgroup`] finds and reads them.
//!
//! A quota of one and a half CPUs counts as two. With one P the half could never be used; with two, if both
//! are busy, the kernel stops the process for the last quarter of each period.
//!
//! # Asking again
//!
//! A watcher keeps the paths of the files, not the files. A file may come to be: systemd hands the
//! `cpu` controller down to a group only when somebody sets a quota there, and until then the group has no
//! `cpu.max`. And it holds no descriptors of a process that may be short of them or close all that it does not
//! know. An answer takes one call for the mask (1 µs or less) and three for each group (6 µs; two virtual CPUs, Linux
//! 6.18): little, every few seconds. [`usable`] takes 0.1 ms, most of it for the table of mounts.
//!
//! A process can be moved to another group. [`Watcher::has_moved`] compares the kernel's account with what it was
//! when the watcher was made; if they differ it is time for a new watcher. That call takes a lock of the
//! kernel's that every change to a group takes, so it is not part of [`Watcher::read`]. Mounts that are made or
//! undone later are not noticed.
//!
//! # Where others differ
//!
//! Go (1.25 to 1.27) reads the quota of the process's own group only, which misses the pod's, keeps its files open, and
//! never goes below 2, so that its garbage collector has a CPU. std's `available_parallelism` looks at all
//! groups, but rounds down, so half of a quota of one and a half CPUs stays unused; it finds version 2 only at
//! `/sys/fs/cgroup`, and cannot read the mask of a machine with more than 1,024 CPUs. Neither notices a move.
//!
//! Tested in `tests.rs` here: over made-up trees of files, and against the kernel for the mask.

mod cgroup;
mod set;
#[cfg(test)]
mod tests;

pub use set::CpuSet;
pub(crate) use set::{confine, set_affinity};

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Words of the largest mask we handle: 65,536 CPUs. The most that a kernel can be built for is 8,192.
const MASK_WORDS: usize = 65_536 / usize::BITS as usize;

/// Words to try with, one after the other: a kernel that knows of more CPUs than fit refuses (EINVAL).
const MASK_SIZES: [usize; 3] = [1024 / usize::BITS as usize, 8192 / usize::BITS as usize, MASK_WORDS];

/// Room for a mask, on the stack (8 KiB).
type Mask = [usize; MASK_WORDS];

/// Reads the calling thread's mask; tries with each of `sizes` words.
fn read_mask<'a>(mask: &'a mut Mask, sizes: &[usize]) -> io::Result<&'a [usize]> {
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    for &words in sizes {
        let part = &mut mask[..words];
        // SAFETY: the kernel writes at most as many bytes as it is told, and `part` has them; the
        // C library clears the rest. The kernel's mask is an array of unsigned long, which is `usize` on Linux.
        let result = unsafe { libc::sched_getaffinity(0, size_of_val(part), part.as_mut_ptr().cast()) };
        if result == 0 {
            return Ok(&mask[..words]);
        }
        last = io::Error::last_os_error();
        if last.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(last)
}

/// How many CPUs the calling thread may run on.
fn in_mask() -> io::Result<usize> {
    let mut mask = [0; MASK_WORDS];
    let words = read_mask(&mut mask, &MASK_SIZES)?;
    Ok(words.iter().map(|word| word.count_ones() as usize).sum())
}

/// How many CPUs are online; 1 if the system does not say.
fn online() -> usize {
    // SAFETY: sysconf only reads its argument.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1)
}

/// How many CPUs the process may use now; at least 1. See the module's essay.
pub(crate) fn usable() -> usize {
    Watcher::new().read()
}

/// Says again and again how many CPUs the process may use.
#[derive(Debug)]
pub(crate) struct Watcher {
    quotas: cgroup::Quotas,
    /// For a mask that cannot be read: what was found at first.
    cpus: usize,
    /// What the quotas allowed when they could last be read.
    allowed: AtomicUsize,
}

impl Watcher {
    /// Finds the process's control groups. Allocates, and reads a few files below `/proc`.
    pub(crate) fn new() -> Watcher {
        // Miri's files are those of the machine that it runs on, and its threads take turns.
        if cfg!(miri) { Watcher::over(cgroup::Quotas::default()) } else { Watcher::at(Path::new("/")) }
    }

    /// The same for a system whose root directory is `root`.
    fn at(root: &Path) -> Watcher {
        Watcher::over(cgroup::Quotas::find(root))
    }

    fn over(quotas: cgroup::Quotas) -> Watcher {
        // A filter of system calls may refuse the mask; nothing else does.
        let cpus = in_mask().unwrap_or_else(|_| online());
        Watcher { quotas, cpus, allowed: AtomicUsize::new(usize::MAX) }
    }

    /// How many CPUs the process may use now; at least 1. The mask is the calling thread's.
    ///
    /// Allocates nothing and takes no lock of the process. If the process or the machine has no
    /// descriptor or no memory to spare, the quotas are taken to be what they were.
    pub(crate) fn read(&self) -> usize {
        let allowed = match self.quotas.tightest() {
            Ok(limit) => {
                let allowed = limit.unwrap_or(usize::MAX);
                // Relaxed: a number that stands for itself. If two read at once, either answer is right.
                self.allowed.store(allowed, Ordering::Relaxed);
                allowed
            }
            // Relaxed: as above.
            Err(_) => self.allowed.load(Ordering::Relaxed),
        };
        in_mask().unwrap_or(self.cpus).min(allowed).max(1)
    }

    /// Whether the process is in other control groups than when the watcher was made, so that a new one is due.
    /// False if that cannot be found out now. Allocates nothing and takes no lock of the process.
    pub(crate) fn has_moved(&self) -> bool {
        self.quotas.have_moved()
    }
}

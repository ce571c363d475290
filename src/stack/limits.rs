//! Says which limit was hit when the kernel refuses a stack, or the allocator a coroutine's record.
//!
//! The kernel answers ENOMEM for four different things. Which one it was is worked out after the
//! fact, from the limits and from what the process uses, and the message says how to raise it.

use super::{Class, Guard};
use crate::os::mmap;
use std::fs::{self, File};
use std::io::{self, Read};

/// What the kernel refused.
#[derive(Copy, Clone, Debug)]
pub(super) enum Attempt {
    /// A mapping with at least one slot of this class.
    Map(Class),
    /// A guard.
    Guard(Guard),
    /// So many bytes of the heap.
    Allocate(&'static str, usize),
}

/// Mappings that are as good as none left: a guard can take two.
const MAP_COUNT_SLACK: u64 = 2;

/// Bytes that an allocator wants beyond what it was asked for: glibc extends its heap by 128 KiB
/// more than it needs, or maps 1 MiB where that does not work (mallopt(3), `M_TOP_PAD`).
const ALLOCATOR_SLACK: usize = 1 << 20;

/// That the allocator has no `bytes` bytes for `what`.
#[cold]
pub(crate) fn out_of_memory(what: &'static str, bytes: usize) -> io::Error {
    explain(io::Error::from_raw_os_error(libc::ENOMEM), Attempt::Allocate(what, bytes))
}

/// `error` with a message that names the limit.
pub(super) fn explain(error: io::Error, attempt: Attempt) -> io::Error {
    let what = match attempt {
        Attempt::Map(class) => format!("cannot map a stack of {class}"),
        Attempt::Guard(_) => "cannot guard a stack".to_owned(),
        Attempt::Allocate(what, _) => format!("gort: no memory for {what}"),
    };
    if error.raw_os_error() != Some(libc::ENOMEM) {
        return io::Error::new(error.kind(), format!("{what}: {error}"));
    }
    let why = by_address_space(attempt).or_else(|| by_map_count(attempt)).unwrap_or_else(by_memory);
    io::Error::new(io::ErrorKind::OutOfMemory, format!("{what}: {why}"))
}

/// RLIMIT_AS and RLIMIT_DATA: only a mapping counts.
fn by_address_space(attempt: Attempt) -> Option<String> {
    let wanted = match attempt {
        Attempt::Map(class) => class.bytes(),
        Attempt::Guard(_) => return None,
        // An allocator asks for more than was asked of it.
        Attempt::Allocate(_, bytes) => bytes + ALLOCATOR_SLACK,
    };
    let wanted_kib = wanted as u64 / 1024;
    for (limit, used, name, switch) in [
        (mmap::address_space_limit(), "VmSize", "RLIMIT_AS, the limit on address space", "-v"),
        (mmap::data_limit(), "VmData", "RLIMIT_DATA, the limit on private memory", "-d"),
    ] {
        let (Some(limit), Some(used_kib)) = (limit, status_kib(used)) else {
            continue;
        };
        let limit_kib = limit / 1024;
        if used_kib + wanted_kib > limit_kib {
            return Some(format!(
                "{name}, is {limit_kib} KiB, and {used_kib} KiB are in use; \
                 raise it with `ulimit {switch} unlimited`"
            ));
        }
    }
    None
}

/// `vm.max_map_count`: a new mapping counts, and so does a guard by mprotect.
fn by_map_count(attempt: Attempt) -> Option<String> {
    if matches!(attempt, Attempt::Guard(Guard::Madvise)) {
        return None;
    }
    let limit: u64 = number("/proc/sys/vm/max_map_count")?;
    let used = lines("/proc/self/maps").ok()?;
    (used + MAP_COUNT_SLACK >= limit).then(|| {
        format!(
            "the process has {used} memory mappings and vm.max_map_count is {limit}; raise it with \
             `sysctl -w vm.max_map_count={}`{}",
            limit.max(65_530) * 16,
            match attempt {
                Attempt::Guard(_) => " (each stack takes two mappings; none on Linux 6.13 or later)",
                Attempt::Map(_) | Attempt::Allocate(..) => "",
            }
        )
    })
}

/// What is left: the kernel has, or may use, no more memory.
fn by_memory() -> String {
    let mode = number("/proc/sys/vm/overcommit_memory");
    let free = file_kib("/proc/meminfo", "MemAvailable").unwrap_or(0);
    match mode {
        Some(2) => {
            let limit = file_kib("/proc/meminfo", "CommitLimit").unwrap_or(0);
            let used = file_kib("/proc/meminfo", "Committed_AS").unwrap_or(0);
            format!(
                "vm.overcommit_memory is 2, which counts the reserved size of every stack: \
                 {used} KiB of {limit} KiB are committed; set it with \
                 `sysctl -w vm.overcommit_memory=0`, or raise vm.overcommit_ratio"
            )
        }
        _ => format!(
            "the kernel has no memory left for it ({free} KiB available in the system); \
             look at the memory limit of the control group, or run fewer coroutines"
        ),
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn status_kib(key: &str) -> Option<u64> {
    file_kib("/proc/self/status", key)
}

/// The number in a line like `VmSize:    1234 kB`.
fn file_kib(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Counts lines without holding them: the file may have millions, and memory is short.
fn lines(path: &str) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = [0; 2048];
    let mut count = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(count),
            n => count += buffer[..n].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

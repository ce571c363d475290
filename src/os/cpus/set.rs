//! Sets of CPUs, and running on some CPUs only.

use super::{MASK_SIZES, MASK_WORDS, read_mask};
use std::fmt;
use std::io;
use std::str::FromStr;

const BITS: usize = usize::BITS as usize;
/// CPUs that no mask has room for are not there.
const MASK_CPUS: usize = MASK_WORDS * BITS;

/// A set of CPUs, by the numbers that Linux gives them.
///
/// It is made from numbers, or from a list as `taskset` and the files of Linux have it: numbers
/// and ranges with commas between them. The CPUs need not be there.
///
/// # Examples
/// ```
/// use gort::CpuSet;
///
/// let set: CpuSet = "0-3,8".parse()?;
/// assert!(set.contains(2) && !set.contains(7));
/// assert_eq!(set.len(), 5);
/// assert_eq!(set, CpuSet::from_iter([8, 0, 1, 2, 3]));
///
/// let odd: CpuSet = (0..8).filter(|cpu| cpu % 2 == 1).collect();
/// assert_eq!(odd.to_string(), "1,3,5,7");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct CpuSet {
    /// First and last of each range, ascending; at least one CPU is missing between two.
    ranges: Vec<(usize, usize)>,
}

impl CpuSet {
    /// The CPUs that the calling thread may run on: those of its affinity mask that are online.
    ///
    /// In a coroutine that is the thread which runs it just now.
    ///
    /// # Examples
    /// ```
    /// let all = gort::CpuSet::of_thread()?;
    /// assert!(!all.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says; it always answers, unless a filter of system calls (seccomp) forbids the question.
    ///
    /// # Scheduling
    /// Does not park.
    pub fn of_thread() -> io::Result<CpuSet> {
        let mut mask = [0; MASK_WORDS];
        let words = match read_mask(&mut mask, &MASK_SIZES) {
            Ok(words) => words,
            Err(error) => return Err(explain("ask which CPUs the thread may run on", error)),
        };
        let is_set = |cpu: &usize| words[cpu / BITS] >> (cpu % BITS) & 1 == 1;
        Ok((0..words.len() * BITS).filter(is_set).collect())
    }

    /// Whether `cpu` is in it.
    ///
    /// # Examples
    /// ```
    /// let set = gort::CpuSet::from_iter([1, 3]);
    /// assert!(set.contains(3) && !set.contains(2));
    /// ```
    pub fn contains(&self, cpu: usize) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < cpu);
        self.ranges.get(at).is_some_and(|&(first, _)| first <= cpu)
    }

    /// How many CPUs it has.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(gort::CpuSet::from_iter([1, 3, 3]).len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        // All numbers there are would be one too many to count.
        self.ranges.iter().map(|(first, last)| (last - first).saturating_add(1)).fold(0, usize::saturating_add)
    }

    /// Whether it has none.
    ///
    /// # Examples
    /// ```
    /// assert!(gort::CpuSet::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Its CPUs, ascending.
    ///
    /// # Examples
    /// ```
    /// let set: gort::CpuSet = "4,0-1".parse()?;
    /// assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 4]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }

    /// Joins ranges that touch or overlap.
    fn from_ranges(mut ranges: Vec<(usize, usize)>) -> CpuSet {
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let joined = next.0 <= before.1.saturating_add(1);
            if joined {
                before.1 = before.1.max(next.1);
            }
            joined
        });
        CpuSet { ranges }
    }
}

/// Numbers may come in any order, and more than once.
impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> CpuSet {
        CpuSet::from_ranges(cpus.into_iter().map(|cpu| (cpu, cpu)).collect())
    }
}

/// Reads a list like `0-3,8`. Blanks around numbers and a line feed at the end do no harm; an empty list is an
/// empty set.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput), with a text that names the part which is wrong.
impl FromStr for CpuSet {
    type Err = io::Error;

    fn from_str(list: &str) -> io::Result<CpuSet> {
        if list.trim().is_empty() {
            return Ok(CpuSet::default());
        }
        let ranges = list.split(',').map(|part| range(part.trim()).map_err(|why| wrong(list, part, why)));
        Ok(CpuSet::from_ranges(ranges.collect::<io::Result<_>>()?))
    }
}

/// A number, or two with a dash between them.
fn range(part: &str) -> Result<(usize, usize), &'static str> {
    let number = |text: &str| match text.trim() {
        "" => Err("a number is missing"),
        // The parser of std would take a sign.
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| "the number is too large")
        }
        _ => Err("that is neither a number nor a range like 0-3"),
    };
    let Some((first, last)) = part.split_once('-') else {
        return number(part).map(|cpu| (cpu, cpu));
    };
    let (first, last) = (number(first)?, number(last)?);
    if first <= last { Ok((first, last)) } else { Err("the range ends before it begins") }
}

#[cold]
fn wrong(list: &str, part: &str, why: &str) -> io::Error {
    let text = format!("gort: \"{}\" in the list of CPUs \"{}\": {why}", part.trim(), list.trim());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// As a list that [`FromStr`] reads.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuSet({self})")
    }
}

/// Lets the calling thread run on the CPUs of `set` only, and the threads that it starts from now on.
///
/// CPUs that are not there, or that a control group forbids, are passed over, as long as some are left.
///
/// # Errors
/// - [`InvalidInput`](io::ErrorKind::InvalidInput): none is left, or the set is empty.
/// - [`PermissionDenied`](io::ErrorKind::PermissionDenied): a filter of system calls (seccomp) forbids it.
pub(crate) fn set_affinity(set: &CpuSet) -> io::Result<()> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    if set.is_empty() {
        return Err(invalid("gort: the set of CPUs is empty; a thread needs at least one to run on".into()));
    }
    if confine(set) {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EINVAL) => invalid(format!(
            "gort: a thread cannot run on CPUs {set}: none of them is online and allowed to this process by its control group"
        )),
        _ => explain(&format!("have a thread run on CPUs {set} only"), error),
    })
}

/// As [`set_affinity`]; false, with `errno`, if it cannot be. Async-signal-safe.
pub(crate) fn confine(set: &CpuSet) -> bool {
    let mut mask = [0_usize; MASK_WORDS];
    for cpu in set.iter().take_while(|&cpu| cpu < MASK_CPUS) {
        mask[cpu / BITS] |= 1 << (cpu % BITS);
    }
    // SAFETY: the kernel reads at most as many bytes as `mask` has, and of those only as many as its own masks
    // have. 0 stands for the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) == 0 }
}

#[cold]
fn explain(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("gort: cannot {what}: {error}"))
}

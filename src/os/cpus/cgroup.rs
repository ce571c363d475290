//! The CPU quotas of the control groups that the process is in.
//!
//! Words: control groups form trees, the *hierarchies*. A process is in one *group* of each. Version 2 has
//! one hierarchy, version 1 one for each controller or several of them; with both (*hybrid*) a controller is in
//! one only. We look at that of version 2 and that of version 1 with the controller `cpu`, and whichever has the
//! controller has the files.
//!
//! 1. `/proc/self/cgroup` has a line for each hierarchy, `id:controllers:path`; version 2 is `0::path`.
//! 2. `/proc/self/mountinfo` says where hierarchies are mounted: which directory of the hierarchy (the *root*
//!    of the mount) can be seen at which *point*. A container may see a part of a hierarchy only.
//! 3. Both paths are relative to the process's cgroup namespace, and lead out of it with `..`. So what is left of
//!    the group's path behind the mount's root is the way from the mount point to the group's directory:
//!
//! ```text
//!   group             root of the mount   the group is at
//!   /a/b              /                   point/a/b
//!   /docker/17/b      /docker/17          point/b           a bind mount
//!   /                 /                   point             a namespace of its own
//!   /                 /../..              somewhere below   mounted before the namespace was made
//!   /a                /b                  not to be seen
//! ```
//!
//! 4. In the group's directory and each above it, up to the mount point, are the quotas: `cpu.max` in version 2
//!    ("150000 100000": so many microseconds of each period; "max 100000": as many as there are), `cpu.cfs_quota_us` (-1:
//!    no quota) and `cpu.cfs_period_us` in version 1.
//!
//! In the fourth row the names in between are unknown, but the point itself is above the group, so its quota
//! counts. Of several mounts the one that shows the most of the way is taken, and none on whose point another is mounted.
//!
//! Nothing that is wrong with a file is an error: what cannot be read or understood limits nothing.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Room for a file of one or two numbers: 41 bytes at most.
const NUMBERS: usize = 64;

/// The files with the quotas of a group.
#[derive(Debug, PartialEq, Eq)]
enum Files {
    V1 { quota: CString, period: CString },
    V2 { max: CString },
}

/// Where the quotas are that hold for the process.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// Of all groups that can be seen, from the process's own upwards.
    groups: Box<[Files]>,
    /// `/proc/self/cgroup`, and what was in it.
    membership: Option<(CString, Box<[u8]>)>,
}

impl Quotas {
    /// Finds the groups of the process in a system whose root directory is `root`.
    pub(super) fn find(root: &Path) -> Quotas {
        let file = root.join("proc/self/cgroup");
        // Without it there are no control groups, or /proc is not to be seen.
        let text = fs::read(&file).unwrap_or_default();
        let memberships: Vec<_> = memberships(&text).collect();
        let mut groups = Vec::new();
        if !memberships.is_empty() {
            let table = fs::read(root.join("proc/self/mountinfo")).unwrap_or_default();
            let mounts = mounts(&table);
            for (version, path) in memberships {
                collect(&mut groups, root, version, path, &mounts);
            }
        }
        let membership = c_path(file).map(|file| (file, text.into()));
        Quotas { groups: groups.into(), membership }
    }

    /// How many CPUs the tightest of them allows, rounded up and at least 1; None if there is no quota. Fails if
    /// that cannot be found out now. Allocates nothing.
    pub(super) fn tightest(&self) -> io::Result<Option<usize>> {
        let mut tightest = None;
        for files in &self.groups {
            let limit = files.read()?;
            tightest = tightest.into_iter().chain(limit).min();
        }
        Ok(tightest)
    }

    /// Whether the kernel's account of the process's groups has changed. Allocates nothing.
    pub(super) fn have_moved(&self) -> bool {
        let Some((file, text)) = &self.membership else { return false };
        let Ok(mut file) = open(file) else { return false };
        let (mut rest, mut buffer) = (&text[..], [0; 512]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return !rest.is_empty(),
                Ok(count) => match rest.strip_prefix(&buffer[..count]) {
                    Some(behind) => rest = behind,
                    None => return true,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(_) => return false,
            }
        }
    }
}

impl Files {
    /// Those in the directory of a group.
    fn of(version: Version, group: &Path) -> Option<Files> {
        let file = |name| c_path(group.join(name));
        Some(match version {
            Version::V1 => Files::V1 { quota: file("cpu.cfs_quota_us")?, period: file("cpu.cfs_period_us")? },
            Version::V2 => Files::V2 { max: file("cpu.max")? },
        })
    }

    /// How many CPUs the group may use; None if it has no quota.
    fn read(&self) -> io::Result<Option<usize>> {
        let (mut first, mut second) = ([0; NUMBERS], [0; NUMBERS]);
        Ok(match self {
            Files::V1 { quota, period } => {
                let Some(quota) = number(read(quota, &mut first)?) else { return Ok(None) };
                number(read(period, &mut second)?).and_then(|period| cpus(quota, period))
            }
            Files::V2 { max } => {
                let mut numbers = read(max, &mut first)?.split(u8::is_ascii_whitespace);
                let (quota, period) = (numbers.next().and_then(number), numbers.next().and_then(number));
                quota.zip(period).and_then(|(quota, period)| cpus(quota, period))
            }
        })
    }
}

/// The CPUs that `quota` in each `period` keeps busy.
fn cpus(quota: u64, period: u64) -> Option<usize> {
    // No kernel has a period of 0.
    let cpus = if period > 0 { quota.div_ceil(period) } else { return None };
    Some(usize::try_from(cpus).unwrap_or(usize::MAX).max(1))
}

/// None for `max`, for -1, and for what is no number.
fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

fn c_path(path: PathBuf) -> Option<CString> {
    CString::new(path.into_os_string().into_vec()).ok()
}

/// Opens for reading, by a path as the kernel wants it: std's would be copied, to the heap if it is long.
fn open(path: &CStr) -> io::Result<File> {
    // Were it no file of the kernel's but a pipe that somebody has put there, O_NONBLOCK keeps it from blocking us.
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: `path` ends with a zero and outlives the call.
    let fd = unsafe { libc::open(path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made `fd` for us; nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// What a file has, if that fits; empty if there is no such file or it cannot be read, as when its group is gone.
/// Fails only for want of descriptors or memory: then there may well be something in it.
fn read<'a>(path: &CStr, buffer: &'a mut [u8; NUMBERS]) -> io::Result<&'a [u8]> {
    let count = loop {
        match open(path).and_then(|mut file| file.read(buffer)) {
            Ok(count) => break count,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => (),
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => return Err(error),
                _ => break 0,
            },
        }
    };
    // A full buffer may have only a part of a number.
    Ok(if count < NUMBERS { &buffer[..count] } else { &[] })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The process's groups in the hierarchies that may have the `cpu` controller: a version and a path each.
fn memberships(text: &[u8]) -> impl Iterator<Item = (Version, &[u8])> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        // The path is all that is behind the second colon. Nothing in it is escaped; it has no line feed.
        let mut fields = line.splitn(3, |&byte| byte == b':');
        match (fields.next()?, fields.next()?, fields.next()?) {
            (b"0", b"", path) => Some((Version::V2, path)),
            (_, controllers, path) if has_cpu(controllers) => Some((Version::V1, path)),
            _ => None,
        }
    })
}

/// Whether `cpu` is in a list with commas.
fn has_cpu(list: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|name| name == b"cpu")
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// Which directory of the hierarchy is seen at `point`.
    root: Vec<u8>,
    point: Vec<u8>,
}

/// A line of the table of mounts, as far as we need it.
struct Line<'a> {
    id: &'a [u8],
    /// The mount that it is mounted on.
    parent: &'a [u8],
    root: &'a [u8],
    point: &'a [u8],
    /// None: something else than a hierarchy that may have `cpu`.
    version: Option<Version>,
}

impl<'a> Line<'a> {
    /// `id parent device root point options [tags ..] - type source options`; only the tags may be missing.
    fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut fields = line.split(|&byte| byte == b' ');
        let (id, parent) = (fields.next()?, fields.next()?);
        let (root, point) = (fields.nth(1)?, fields.next()?);
        fields.next()?;
        fields.find(|&field| field == b"-")?;
        let version = match fields.next()? {
            b"cgroup2" => Some(Version::V2),
            b"cgroup" if has_cpu(fields.nth(1)?) => Some(Version::V1),
            _ => None,
        };
        Some(Line { id, parent, root, point, version })
    }
}

/// The mounted hierarchies that may have the `cpu` controller, by a table of mounts.
fn mounts(table: &[u8]) -> Vec<Mount> {
    let lines: Vec<_> = table.split(|&byte| byte == b'\n').filter_map(Line::parse).collect();
    let is_covered = |mount: &Line<'_>| {
        // Something else is mounted on its root; by its path one would come there.
        lines.iter().any(|line| line.parent == mount.id && line.id != mount.id && line.point == mount.point)
    };
    let seen = lines.iter().filter_map(|line| {
        let version = line.version.filter(|_| !is_covered(line))?;
        Some(Mount { version, root: unescape(line.root), point: unescape(line.point) })
    });
    seen.collect()
}

/// Spaces, line feeds and backslashes are written as a backslash and three octal digits in that table.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, others)) = rest.split_first() {
        let (byte, behind) = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), behind)
            }
            _ => (first, others),
        };
        bytes.push(byte);
        rest = behind;
    }
    bytes
}

/// Where a group is, seen from a mount.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    /// So many names down from the mount point.
    At(Vec<&'a [u8]>),
    /// Somewhere below the mount point: the names in between are those above the process's namespace.
    Below,
    Elsewhere,
}

/// Where `group` is in a mount of `root`; see the table in the module's essay.
fn place<'a>(group: &'a [u8], root: &[u8]) -> Place<'a> {
    let mut group = names(group);
    let mut root = names(root);
    loop {
        let here = group.clone();
        match (root.next(), group.next()) {
            (Some(name), Some(same)) if name == same => (),
            // A path leads up by its first names only.
            (None, _) if here.clone().all(|name| name != b"..") => return Place::At(here.collect()),
            (Some(b".."), _) if root.all(|name| name == b"..") && here.clone().all(|name| name != b"..") => {
                return Place::Below;
            }
            _ => return Place::Elsewhere,
        }
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

/// Adds the files of the group at `path` and of all above it, as far as `mounts` show them.
fn collect(groups: &mut Vec<Files>, root: &Path, version: Version, path: &[u8], mounts: &[Mount]) {
    let mounts = mounts.iter().filter(|mount| mount.version == version);
    let mut best: Option<(&Mount, Vec<&[u8]>)> = None;
    let mut above = Vec::new();
    for mount in mounts {
        match place(path, &mount.root) {
            Place::At(names) if best.as_ref().is_none_or(|(_, most)| names.len() > most.len()) => {
                best = Some((mount, names));
            }
            Place::Below => above.push(mount),
            Place::At(_) | Place::Elsewhere => (),
        }
    }
    let point = |mount: &Mount| {
        let mut directory = root.to_path_buf();
        directory.extend(names(&mount.point).map(OsStr::from_bytes));
        directory
    };
    if let Some((mount, names)) = best {
        let mut directory = point(mount);
        directory.extend(names.iter().copied().map(OsStr::from_bytes));
        groups.extend(directory.ancestors().take(names.len() + 1).filter_map(|group| Files::of(version, group)));
    }
    groups.extend(above.into_iter().filter_map(|mount| Files::of(version, &point(mount))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(names: &[&'a str]) -> Place<'a> {
        Place::At(names.iter().map(|name| name.as_bytes()).collect())
    }

    #[test]
    fn groups_are_placed_in_mounts() {
        for (group, root, expected) in [
            ("/", "/", at(&[])),
            ("/a/b", "/", at(&["a", "b"])),
            ("/a/b", "/a", at(&["b"])),
            ("/a/b", "/a/b", at(&[])),
            ("/docker/17", "/docker/17", at(&[])),
            // A name that begins like another is another.
            ("/ab", "/a", Place::Elsewhere),
            ("/a", "/ab", Place::Elsewhere),
            ("/a", "/a/b", Place::Elsewhere),
            ("/a", "/b", Place::Elsewhere),
            // Mounted before the namespace was made.
            ("/", "/..", Place::Below),
            ("/", "/../..", Place::Below),
            ("/a", "/../..", Place::Below),
            ("/../a", "/../..", Place::Below),
            ("/../a", "/..", at(&["a"])),
            ("/../a/b", "/../a", at(&["b"])),
            // Moved out of the namespace, or the mount is of a neighbour.
            ("/../a", "/", Place::Elsewhere),
            ("/..", "/", Place::Elsewhere),
            ("/../../a", "/..", Place::Elsewhere),
            ("/", "/../a", Place::Elsewhere),
            ("/a", "/../a", Place::Elsewhere),
            // No kernel writes these.
            ("", "", at(&[])),
            ("//a//b/", "a/", at(&["b"])),
            ("/a/../../..", "/a", Place::Elsewhere),
        ] {
            assert_eq!(place(group.as_bytes(), root.as_bytes()), expected, "{group} in {root}");
        }
    }

    #[test]
    fn memberships_are_read() {
        let text = b"12:cpuacct,cpu:/v1\n11:cpuset:/no\n3:name=cpu:/no\n1:xcpu:/no\n0::/v2:with:colons and spaces\n";
        let expected = [(Version::V1, &b"/v1"[..]), (Version::V2, b"/v2:with:colons and spaces")];
        assert_eq!(memberships(text).collect::<Vec<_>>(), expected);
        assert_eq!(memberships(b"\n:\n0:\n0:cpu\n::/a\n1::/a\n\xff\n").count(), 0);
    }

    #[test]
    fn mounts_are_read() {
        let table = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
34 31 0:31 /a\\040b /mnt/\\134x\\012\\303\\244 rw - cgroup2  rw,nsdelegate
35 31 0:31 / /covered rw - cgroup2 none rw
36 35 0:31 /other /covered rw - cgroup2 none rw
37 36 0:28 / /covered/below rw - tmpfs none rw
38 31 0:31 / - - cgroup2
39 31 0:31 / /no/end
40 40 0:31 / /self rw - cgroup2 none rw

\xff \xff
";
        let mount = |version, root: &[u8], point: &[u8]| Mount { version, root: root.into(), point: point.into() };
        let expected = [
            mount(Version::V1, b"/", b"/sys/fs/cgroup/cpu,cpuacct"),
            mount(Version::V2, b"/a b", b"/mnt/\\x\n\xc3\xa4"),
            mount(Version::V2, b"/other", b"/covered"),
            mount(Version::V2, b"/", b"/self"),
        ];
        assert_eq!(mounts(table), expected);
    }

    #[test]
    fn what_is_no_escape_stays() {
        for field in [&b"\\"[..], b"\\04", b"\\400", b"\\08x", b"a\\\\"] {
            assert_eq!(unescape(field), field);
        }
        assert_eq!(unescape(b"\\040\\040\\377"), b"  \xff");
    }

    #[test]
    fn quotas_are_rounded_up() {
        for (quota, period, expected) in [
            (100_000, 100_000, Some(1)),
            (150_000, 100_000, Some(2)),
            (100_001, 100_000, Some(2)),
            (1_000, 100_000, Some(1)),
            (0, 100_000, Some(1)),
            (800_000, 50_000, Some(16)),
            (u64::MAX, 1, Some(usize::MAX)),
            (u64::MAX, u64::MAX, Some(1)),
            (1, 0, None),
            (0, 0, None),
        ] {
            assert_eq!(cpus(quota, period), expected, "{quota} in {period}");
        }
    }
}

//! Made-up systems in temporary directories, and the mask of the machine itself.

use super::cgroup::Quotas;
use super::{CpuSet, MASK_SIZES, MASK_WORDS, Watcher, in_mask, online, read_mask, set_affinity, usable};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// The root directory of a made-up system; goes with the value.
struct Root(PathBuf);

impl Root {
    /// With these groups and mounts.
    fn new(cgroup: &str, mountinfo: &str) -> Root {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: a number of its own for each.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("gort cpus {} {number}", std::process::id()));
        let system = Root(root);
        system.write("proc/self/cgroup", cgroup);
        system.write("proc/self/mountinfo", mountinfo);
        system
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn max(&self, group: &str, text: &str) {
        self.write(&format!("{group}/cpu.max"), text);
    }

    fn cfs(&self, group: &str, quota: &str, period: &str) {
        self.write(&format!("{group}/cpu.cfs_quota_us"), quota);
        self.write(&format!("{group}/cpu.cfs_period_us"), period);
    }

    /// What the quotas allow.
    fn limit(&self) -> Option<usize> {
        Quotas::find(&self.0).tightest().unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1: &str = "\
31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
";

#[test]
#[cfg_attr(miri, ignore)]
fn a_quota_of_version_2() {
    for (text, expected) in [
        ("150000 100000\n", Some(2)),
        ("100000 100000\n", Some(1)),
        ("50000 100000\n", Some(1)),
        ("1200000 100000\n", Some(12)),
        ("200001 100000", Some(3)),
        ("max 100000\n", None),
        ("max\n", None),
        ("", None),
        ("\n", None),
        ("150000\n", None),
        ("150000 0\n", None),
        ("-1 100000\n", None),
        ("1.5 1\n", None),
        ("many CPUs\n", None),
        ("99999999999999999999999999999 1\n", None),
        ("100000 99999999999999999999999999999\n", None),
        // So long that it cannot be what the kernel writes.
        ("100000 100000                                                      ", None),
    ] {
        let system = Root::new("0::/jobs\n", V2);
        system.max("/sys/fs/cgroup/jobs", text);
        assert_eq!(system.limit(), expected, "{text:?}");
    }
    let system = Root::new("0::/jobs\n", V2);
    system.write("/sys/fs/cgroup/jobs/cpu.max", b"\xff\xfe \x00");
    assert_eq!(system.limit(), None);
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_quota_of_version_1() {
    for (quota, period, expected) in [
        ("150000\n", "100000\n", Some(2)),
        ("25000", "50000", Some(1)),
        ("-1\n", "100000\n", None),
        ("100000\n", "0\n", None),
        ("100000\n", "", None),
        ("", "100000\n", None),
        ("x\n", "100000\n", None),
        ("100000\n", "x\n", None),
        ("100000 100000\n", "100000\n", None),
    ] {
        let system = Root::new("4:memory:/no\n3:cpu,cpuacct:/jobs\n", V1);
        system.cfs("/sys/fs/cgroup/cpu,cpuacct/jobs", quota, period);
        // Of another hierarchy, and of another group.
        system.cfs("/sys/fs/cgroup/cpuset/jobs", "100000", "100000");
        system.cfs("/sys/fs/cgroup/cpu,cpuacct/no", "100000", "100000");
        assert_eq!(system.limit(), expected, "{quota:?} in {period:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn the_tightest_of_all_groups_counts() {
    const NAMES: [&str; 4] = ["", "/pods.slice", "/pods.slice/pod 7", "/pods.slice/pod 7/app"];
    for (tightest, its_name) in NAMES.iter().enumerate() {
        let v2 = Root::new("0::/pods.slice/pod 7/app\n", V2);
        let v1 = Root::new("7:cpuacct,cpu:/pods.slice/pod 7/app\n", V1);
        for (level, name) in NAMES.iter().enumerate() {
            let (quota, period) = if level == tightest { ("250000", "100000") } else { ("500000", "100000") };
            v2.max(&format!("/sys/fs/cgroup{name}"), &format!("{quota} {period}\n"));
            v1.cfs(&format!("/sys/fs/cgroup/cpu,cpuacct{name}"), quota, period);
        }
        assert_eq!((v2.limit(), v1.limit()), (Some(3), Some(3)), "at {its_name:?}");
        // What is above the mount point is no group, nor are neighbours and children.
        for group in ["/sys/fs", "", "/sys/fs/cgroup/other", "/sys/fs/cgroup/pods.slice/pod 7/app/below"] {
            v2.max(group, "100000 100000\n");
        }
        assert_eq!(v2.limit(), Some(3), "at {its_name:?}");
    }
    // Groups without the controller in between, and one without quota.
    let system = Root::new("0::/a/b/c/d\n", V2);
    system.max("/sys/fs/cgroup/a", "400000 100000\n");
    system.max("/sys/fs/cgroup/a/b/c", "max 100000\n");
    assert_eq!(system.limit(), Some(4));
    // By the share, not by the number.
    system.max("/sys/fs/cgroup/a/b", "30000 10000\n");
    assert_eq!(system.limit(), Some(3));
}

#[test]
#[cfg_attr(miri, ignore)]
fn hybrids() {
    let mounts = format!("{V1}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    let system = Root::new("3:cpu,cpuacct:/one\n1:name=systemd:/s\n0::/two\n", &mounts);
    assert_eq!(system.limit(), None);
    system.cfs("/sys/fs/cgroup/cpu,cpuacct/one", "300000", "100000");
    assert_eq!(system.limit(), Some(3));
    system.max("/sys/fs/cgroup/unified/two", "200000 100000\n");
    assert_eq!(system.limit(), Some(2));
    system.cfs("/sys/fs/cgroup/cpu,cpuacct", "90000", "100000");
    assert_eq!(system.limit(), Some(1));
}

#[test]
#[cfg_attr(miri, ignore)]
fn namespaces_and_bind_mounts() {
    // A namespace of its own: the group is the root, and has a quota.
    let system = Root::new("0::/\n", V2);
    system.max("/sys/fs/cgroup", "150000 100000\n");
    assert_eq!(system.limit(), Some(2));

    // Mounted from outside, the group's own directory.
    let mounts = "9 8 0:7 /docker/17 /sys/fs/cgroup ro master:3 - cgroup2 cgroup rw\n";
    let system = Root::new("0::/docker/17/sub\n", mounts);
    system.max("/sys/fs/cgroup/sub", "300000 100000\n");
    assert_eq!(system.limit(), Some(3));
    system.max("/sys/fs/cgroup", "200000 100000\n");
    assert_eq!(system.limit(), Some(2));
    // The same names below the mount point are other groups.
    system.max("/sys/fs/cgroup/docker/17/sub", "100000 100000\n");
    assert_eq!(system.limit(), Some(2));
    // Somebody else's directory.
    let system = Root::new("0::/docker/18\n", mounts);
    system.max("/sys/fs/cgroup", "100000 100000\n");
    assert_eq!(system.limit(), None);

    // Mounted before the namespace was made: it shows a group above, nobody knows how far above.
    let system = Root::new("0::/a\n", "9 8 0:7 /../.. /host/cgroup ro - cgroup2 cgroup rw\n");
    system.max("/host/cgroup", "400000 100000\n");
    system.max("/host/cgroup/a", "100000 100000\n");
    assert_eq!(system.limit(), Some(4));
    // And another that shows the way inside.
    system.write("proc/self/mountinfo", format!("9 8 0:7 /../.. /host/cgroup ro - cgroup2 cgroup rw\n{V2}"));
    system.max("/sys/fs/cgroup/a", "700000 100000\n");
    assert_eq!(system.limit(), Some(4));
    system.max("/sys/fs/cgroup", "200000 100000\n");
    assert_eq!(system.limit(), Some(2));

    // Moved out of the namespace, to a group that cannot be seen.
    let system = Root::new("0::/../b\n", V2);
    system.max("/sys/fs/cgroup", "100000 100000\n");
    system.max("/sys/fs/b", "100000 100000\n");
    assert_eq!(system.limit(), None);
}

#[test]
#[cfg_attr(miri, ignore)]
fn one_mount_of_several() {
    // The one that shows the most, wherever it is in the table; names with blanks are escaped.
    let some = "50 23 0:26 /a/b /some rw - cgroup2 none rw\n";
    let all = "51 23 0:26 / /all\\040of\\040it rw - cgroup2 none rw\n";
    for mounts in [format!("{some}{all}"), format!("{all}{some}")] {
        let system = Root::new("0::/a/b/c\n", &mounts);
        system.max("/some", "300000 100000\n");
        system.max("/all of it/a/b", "300000 100000\n");
        assert_eq!(system.limit(), Some(3));
        system.max("/all of it/a", "200000 100000\n");
        assert_eq!(system.limit(), Some(2));
    }
    // One that something is mounted on is not what is seen at its path.
    let covered = "50 23 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n";
    let cover = "51 50 0:26 /a /sys/fs/cgroup rw - cgroup2 none rw\n";
    for mounts in [format!("{covered}{cover}"), format!("{cover}{covered}")] {
        let system = Root::new("0::/a/b\n", &mounts);
        system.max("/sys/fs/cgroup/a", "100000 100000\n"); // that is /a/a
        system.max("/sys/fs/cgroup/b", "500000 100000\n");
        assert_eq!(system.limit(), Some(5));
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn garbage_limits_nothing() {
    let nothing = std::env::temp_dir().join("gort-cpus-is-not-there");
    assert_eq!(Quotas::find(&nothing).tightest().unwrap(), None);
    assert!(!Quotas::find(&nothing).have_moved());
    for (cgroup, mountinfo) in [
        ("", ""),
        ("0::/a\n", ""),
        ("", V2),
        ("0::", V2),
        ("0:\n:::::\n\n0\n", V2),
        ("0::/a\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4\n"),
        ("0::/a\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 -"),
        ("0::/a\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2x none rw\n"),
        ("3:cpu:/a\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup none\n"),
        ("3:cpu:/a\n", V2),
        ("0::/a/../../../sys/fs/cgroup/a\n", V2),
        ("0::/\0/a\n", V2),
    ] {
        let system = Root::new(cgroup, mountinfo);
        system.max("/sys/fs/cgroup/a", "100000 100000\n");
        system.cfs("/sys/fs/cgroup/a", "100000", "100000");
        assert_eq!(system.limit(), None, "{cgroup:?} {mountinfo:?}");
    }
    // Longer than a path may be, and so deep that it has many levels.
    let system = Root::new(&format!("0::{}\n", "/a".repeat(3000)), V2);
    system.max("/sys/fs/cgroup/a", "100000 100000\n");
    assert_eq!(system.limit(), Some(1));
    // A directory and a pipe in place of files.
    let system = Root::new("0::/a/b\n", V2);
    fs::create_dir_all(system.path("/sys/fs/cgroup/a/cpu.max")).unwrap();
    fs::create_dir_all(system.path("/sys/fs/cgroup/a/b")).unwrap();
    let pipe = CString::new(system.path("/sys/fs/cgroup/a/b/cpu.max").as_os_str().as_bytes()).unwrap();
    // SAFETY: the path ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    assert_eq!(system.limit(), None);
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_watcher_sees_changes() {
    let all = in_mask().unwrap();
    let system = Root::new("3:cpu:/one\n0::/a/b\n", &format!("{V1}{V2}").replace("cpu,cpuacct", "cpu"));
    let watcher = Watcher::at(&system.0);
    assert_eq!(watcher.read(), all);
    // Files that were not there.
    system.max("/sys/fs/cgroup/a", "50000 100000\n");
    assert_eq!(watcher.read(), 1);
    system.max("/sys/fs/cgroup/a", "100000000 100000\n");
    assert_eq!(watcher.read(), all.min(1000));
    system.cfs("/sys/fs/cgroup/cpu/one", "100000", "100000");
    assert_eq!(watcher.read(), 1);
    // And are gone.
    fs::remove_dir_all(system.path("/sys/fs/cgroup")).unwrap();
    assert_eq!(watcher.read(), all);

    assert!(!watcher.has_moved());
    // Shorter, longer, other, gone, and as it was.
    for (text, moved) in [
        ("3:cpu:/one\n0::/a/", true),
        ("3:cpu:/one\n0::/a/b\n1:x:/\n", true),
        ("3:cpu:/one\n0::/a/c\n", true),
        ("", true),
        ("3:cpu:/one\n0::/a/b\n", false),
    ] {
        system.write("proc/self/cgroup", text);
        assert_eq!(watcher.has_moved(), moved, "{text:?}");
    }
    fs::remove_file(system.path("proc/self/cgroup")).unwrap();
    assert!(!watcher.has_moved());
    // More than is read at once.
    system.write("proc/self/cgroup", format!("0::/{}a\n", "long/".repeat(1000)));
    let watcher = Watcher::at(&system.0);
    assert!(!watcher.has_moved());
    system.write("proc/self/cgroup", format!("0::/{}b\n", "long/".repeat(1000)));
    assert!(watcher.has_moved());
}

const PART: &str = "GORT_CPUS_TEST_PART";

#[test]
#[cfg_attr(miri, ignore)]
fn without_descriptors_quotas_are_what_they_were() {
    // In a process of its own, whose other threads need no descriptors.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "os::cpus::tests::child", "--nocapture", "--test-threads=1"])
        .env(PART, "descriptors")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("first 1, then 1\n"), "{output:?}");
}

/// The child's side: does nothing in the parent.
#[test]
#[cfg_attr(miri, ignore)]
fn child() {
    if std::env::var(PART).is_err() {
        return;
    }
    let system = Root::new("0::/a/b\n", V2);
    system.max("/sys/fs/cgroup/a", "100000 100000\n");
    let (watcher, late) = (Watcher::at(&system.0), Watcher::at(&system.0));
    let first = watcher.read();
    system.max("/sys/fs/cgroup/a", "100000000 100000\n");
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the struct.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let none = libc::rlimit { rlim_cur: 0, ..limit };
    // SAFETY: reads the struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
    let (then, moved) = (watcher.read(), watcher.has_moved());
    // That one has never seen a quota, and found its mask by a system call.
    assert_eq!((late.read(), moved), (in_mask().unwrap(), false));
    // SAFETY: reads the struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    assert_eq!(watcher.read(), in_mask().unwrap());
    println!("first {first}, then {then}");
}

/// Counts the allocations of one thread, for [`a_watcher_allocates_nothing`].
struct Counting;

/// The thread whose allocations are counted; 0: none.
static COUNTED: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn count(&self) {
        // Relaxed, here and below: a thread sees its own stores, and the others compare with a number that is not theirs.
        let counted = COUNTED.load(Ordering::Relaxed);
        // SAFETY: takes nothing and touches nothing.
        if counted != 0 && counted == unsafe { libc::gettid() } {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: hands everything to the system's allocator unchanged, and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.count();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(not(miri))]
#[global_allocator]
static COUNTING: Counting = Counting;

/// How often the calling thread allocates or frees in `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    // SAFETY: takes nothing and touches nothing.
    COUNTED.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    work();
    COUNTED.store(0, Ordering::Relaxed);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_watcher_allocates_nothing() {
    let long = "/a-name-that-is-too-long-for-the-room-on-the-stack-that-std-has-for-paths".repeat(6);
    let system = Root::new(&format!("3:cpu:{long}\n0::{long}\n"), &format!("{V1}{V2}").replace("cpu,cpuacct", "cpu"));
    system.max(&format!("/sys/fs/cgroup{long}"), "50000 100000\n");
    system.cfs(&format!("/sys/fs/cgroup/cpu{long}"), "50000", "100000");
    let watcher = Watcher::at(&system.0);
    let real = Watcher::new();
    let mut read = 0;
    let count = allocations(|| {
        for _ in 0..100 {
            read += watcher.read();
            assert!(!watcher.has_moved() && !real.has_moved() && real.read() > 0);
        }
    });
    assert_eq!((read, count), (100, 0));
    // They are counted at all.
    assert_ne!(allocations(|| drop(Watcher::at(&system.0))), 0);
}

#[test]
#[cfg_attr(miri, ignore)]
fn the_cpus_of_a_thread() {
    let all = CpuSet::of_thread().unwrap();
    assert_eq!((all.len(), all.is_empty()), (in_mask().unwrap(), false));
    assert!(usable() <= all.len() && usable() >= 1 && all.len() <= online());
    for cpu in all.iter() {
        let one = CpuSet::from_iter([cpu]);
        let list = all.clone();
        std::thread::spawn(move || {
            // Others that are not there are passed over.
            set_affinity(&CpuSet::from_iter([cpu, 60_000, 1 << 40])).unwrap();
            assert_eq!((CpuSet::of_thread().unwrap(), usable()), (one.clone(), 1));
            // Threads inherit it, and it can be taken back.
            std::thread::spawn(move || assert_eq!(CpuSet::of_thread().unwrap(), one)).join().unwrap();
            set_affinity(&list).unwrap();
            assert_eq!(CpuSet::of_thread().unwrap(), list);
        })
        .join()
        .unwrap();
    }
    assert_eq!(CpuSet::of_thread().unwrap(), all);
}

#[test]
#[cfg_attr(miri, ignore)]
fn no_cpu_is_an_error() {
    for (set, text) in [
        ("", "gort: the set of CPUs is empty; a thread needs at least one to run on"),
        (
            "60000-60001",
            "gort: a thread cannot run on CPUs 60000-60001: none of them is online and allowed to this process by its \
             control group",
        ),
        (
            "99999999-18446744073709551615",
            "gort: a thread cannot run on CPUs 99999999-18446744073709551615: none of them is online and allowed to \
             this process by its control group",
        ),
    ] {
        let error = set_affinity(&set.parse().unwrap()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, text));
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_mask_grows() {
    let mut mask = [0; MASK_WORDS];
    let expected: Vec<_> = read_mask(&mut mask, &MASK_SIZES).unwrap().to_vec();
    // No kernel's mask fits into no room.
    assert_eq!(read_mask(&mut mask, &[0]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    let mut mask = [usize::MAX; MASK_WORDS];
    let grown = read_mask(&mut mask, &[0, 0, MASK_WORDS]).unwrap();
    assert_eq!((grown.len(), &grown[..expected.len()]), (MASK_WORDS, &expected[..]));
    assert!(grown[expected.len()..].iter().all(|word| *word == 0));
}

#[test]
fn sets() {
    let set = CpuSet::from_iter([5, 3, 4, 8, 3, 0]);
    assert_eq!((set.to_string().as_str(), format!("{set:?}").as_str()), ("0,3-5,8", "CpuSet(0,3-5,8)"));
    assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 4, 5, 8]);
    assert_eq!((set.len(), set.is_empty()), (5, false));
    for cpu in 0..20 {
        assert_eq!(set.contains(cpu), [0, 3, 4, 5, 8].contains(&cpu), "{cpu}");
    }
    assert!(!set.contains(usize::MAX));
    assert_eq!(set.iter().collect::<CpuSet>(), set);
    assert_eq!((CpuSet::default().len(), CpuSet::default().iter().next()), (0, None));
    assert_eq!(CpuSet::default(), CpuSet::from_iter([]));
    assert_eq!(
        CpuSet::from_iter([usize::MAX, usize::MAX - 1]).to_string(),
        format!("{}-{}", usize::MAX - 1, usize::MAX)
    );
}

#[test]
fn lists() {
    for (list, expected) in [
        ("0", "0"),
        ("0-3,8", "0-3,8"),
        ("8,0-3\n", "0-3,8"),
        (" 1 , 2 - 3 ", "1-3"),
        ("0-5,2-3,4-7,9", "0-7,9"),
        ("3-3", "3"),
        ("", ""),
        ("\n", ""),
        ("0-18446744073709551615,7", "0-18446744073709551615"),
    ] {
        let set: CpuSet = list.parse().unwrap();
        assert_eq!(set.to_string(), expected, "{list:?}");
        assert_eq!(expected.parse::<CpuSet>().unwrap(), set);
    }
    assert_eq!("0-18446744073709551615".parse::<CpuSet>().unwrap().len(), usize::MAX);
    for (list, text) in [
        ("3-1", "gort: \"3-1\" in the list of CPUs \"3-1\": the range ends before it begins"),
        ("0,,1", "gort: \"\" in the list of CPUs \"0,,1\": a number is missing"),
        ("0,", "gort: \"\" in the list of CPUs \"0,\": a number is missing"),
        ("-1", "gort: \"-1\" in the list of CPUs \"-1\": a number is missing"),
        ("1-", "gort: \"1-\" in the list of CPUs \"1-\": a number is missing"),
        ("2,all", "gort: \"all\" in the list of CPUs \"2,all\": that is neither a number nor a range like 0-3"),
        ("+1", "gort: \"+1\" in the list of CPUs \"+1\": that is neither a number nor a range like 0-3"),
        ("0-7:2", "gort: \"0-7:2\" in the list of CPUs \"0-7:2\": that is neither a number nor a range like 0-3"),
        (
            "18446744073709551616",
            "gort: \"18446744073709551616\" in the list of CPUs \"18446744073709551616\": the number is too large",
        ),
    ] {
        let error = list.parse::<CpuSet>().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, text));
    }
}

//! Files and directories: the same as std's, and nobody is held up.

mod common;

use common::{PROCS, Random, builder, seed, wait_until};
use gort::channel::{SelectWaker, Waitable};
use gort::fs::{self, File, OpenOptions};
use gort::{go, scope};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

const LONG: Duration = Duration::from_secs(60);

/// Runs `f` on a plain thread and as a coroutine of runtimes with each number of Ps.
fn everywhere(f: impl Fn() + Sync) {
    eprintln!("plain threads");
    f();
    for procs in PROCS {
        eprintln!("procs = {procs}");
        builder(procs).build().unwrap().run(&f);
    }
}

/// A directory of its own, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gort-fs-test-{}-{}", std::process::id(), COUNT.fetch_add(1, SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Place(path)
    }

    fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What an operation has led to, as far as it can be the same twice.
fn outcome<T>(result: io::Result<T>, show: impl Fn(T) -> String) -> String {
    match result {
        Ok(value) => show(value),
        Err(error) => format!("{:?} {:?}", error.kind(), error.raw_os_error()),
    }
}

/// Goal: the functions do what std's do. Method: the same random calls in two directories, by std in one and by us in the
/// other; after each the results must agree, and in the end what is there.
#[test]
fn random_calls_do_what_those_of_std_do() {
    fn draw(random: &mut Random) -> &'static str {
        const NAMES: [&str; 8] = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/f"];
        NAMES[random.below(NAMES.len() as u64) as usize]
    }
    macro_rules! call {
        ($fs:ident, $place:expr, $choice:expr, $one:expr, $other:expr) => {{
            let (one, other) = ($place.join($one), $place.join($other));
            let here = |path: PathBuf| path.strip_prefix(&$place.0).map(Path::to_owned).unwrap_or(path);
            match $choice {
                0 => outcome($fs::write(&one, "first"), |()| "ok".into()),
                1 => outcome($fs::read(&one), |bytes| format!("{bytes:?}")),
                2 => outcome($fs::read_to_string(&one), |text| text),
                3 => outcome($fs::copy(&one, &other), |count| count.to_string()),
                4 => outcome($fs::rename(&one, &other), |()| "ok".into()),
                5 => outcome($fs::remove_file(&one), |()| "ok".into()),
                6 => outcome($fs::remove_dir(&one), |()| "ok".into()),
                7 => outcome($fs::remove_dir_all(&one), |()| "ok".into()),
                8 => outcome($fs::create_dir(&one), |()| "ok".into()),
                9 => outcome($fs::create_dir_all(&one), |()| "ok".into()),
                10 => outcome($fs::hard_link(&one, &other), |()| "ok".into()),
                11 => outcome($fs::read_link(&one), |path| format!("{:?}", here(path))),
                12 => outcome($fs::metadata(&one), |m| format!("{:?} {} {}", m.file_type(), m.nlink(), m.mode())),
                13 => outcome($fs::symlink_metadata(&one), |m| format!("{:?} {}", m.file_type(), m.nlink())),
                14 => outcome($fs::exists(&one), |exists| exists.to_string()),
                15 => outcome($fs::set_permissions(&one, PermissionsExt::from_mode(0o755)), |()| "ok".into()),
                16 => outcome($fs::canonicalize(&one), |path| format!("{:?}", here(path))),
                17 => outcome($fs::read_dir(&one), |entries| {
                    let names: BTreeSet<_> = entries
                        .map(|entry| {
                            let entry = entry.unwrap();
                            let kind = entry.file_type().unwrap();
                            assert_eq!(kind, entry.metadata().unwrap().file_type());
                            (entry.file_name(), format!("{kind:?}"), here(entry.path()))
                        })
                        .collect();
                    format!("{names:?}")
                }),
                18 => outcome($fs::File::options().append(true).create(true).open(&one), |mut file| {
                    outcome(file.write_all(b"more").and_then(|()| file.metadata()), |m| m.len().to_string())
                }),
                19 => outcome($fs::File::create(&one), |file| outcome(file.set_len(3), |()| "ok".into())),
                20 => outcome($fs::File::create_new(&one), |mut file| outcome(file.write(b"new"), |n| n.to_string())),
                _ => outcome($fs::File::open(&one), |mut file| {
                    let mut text = String::new();
                    outcome(file.seek(SeekFrom::End(-2)).and_then(|_| file.read_to_string(&mut text)), |n| {
                        n.to_string()
                    }) + &text
                }),
            }
        }};
    }
    use std::fs as theirs;
    let mut random = Random::new(seed());
    let random = std::sync::Mutex::new(&mut random);
    everywhere(|| {
        let mut random = random.lock().unwrap();
        let (a, b) = (Place::new(), Place::new());
        for round in 0..400 {
            let (choice, one, other) = (random.below(22), draw(&mut random), draw(&mut random));
            if choice == 11 {
                // Now and then there is one.
                let _ = std::os::unix::fs::symlink(other, a.join(one));
                let _ = fs::unix::symlink(other, b.join(one));
            }
            let expected: String = call!(theirs, a, choice, one, other);
            let got: String = call!(fs, b, choice, one, other);
            assert_eq!(got, expected, "round {round}: {choice} {one} {other}");
        }
    });
}

#[test]
fn a_file_is_read_and_written_like_one_of_std() {
    everywhere(|| {
        let place = Place::new();
        let path = place.join("file");
        let bytes: Vec<u8> = (0..300_000).map(|i| (i % 251) as u8).collect();
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o640).open(&path).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o640);
        file.write_all(&bytes).unwrap();
        file.flush().unwrap();
        file.sync_data().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        // In pieces, at places, into several buffers; from the page cache, and after it was emptied.
        for cached in [true, false] {
            if !cached {
                file.sync_all().unwrap();
                // SAFETY: a call without memory.
                let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
                assert_eq!(result, 0);
            }
            file.rewind().unwrap();
            let mut got = Vec::new();
            let mut piece = [0; 7000];
            loop {
                match (&file).read(&mut piece).unwrap() {
                    0 => break,
                    count => got.extend_from_slice(&piece[..count]),
                }
            }
            assert!(got == bytes);
            assert_eq!(file.read(&mut piece).unwrap(), 0);
            assert_eq!(file.stream_position().unwrap(), bytes.len() as u64);
            for offset in [0, 1, 4095, 4096, 250_000, 299_999] {
                let mut there = [0; 100];
                let count = file.read_at(&mut there, offset).unwrap();
                assert!(count > 0 && there[..count] == bytes[offset as usize..][..count]);
            }
            assert_eq!(file.read_at(&mut [0; 8], 300_000).unwrap(), 0);
            assert_eq!(file.read_exact_at(&mut [0; 8], 299_999).unwrap_err().kind(), ErrorKind::UnexpectedEof);
            file.seek(SeekFrom::Start(10)).unwrap();
            let (mut a, mut b) = ([0; 5], [0; 6]);
            let count = file.read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]).unwrap();
            assert_eq!((count, &a[..], &b[..]), (11, &bytes[10..15], &bytes[15..21]));
            assert_eq!(file.seek(SeekFrom::Current(-1)).unwrap(), 20);
            assert_eq!(file.seek(SeekFrom::End(-4)).unwrap(), 299_996);
            let mut rest = Vec::new();
            assert_eq!(file.read_to_end(&mut rest).unwrap(), 4);
            assert_eq!(rest, bytes[299_996..]);
        }
        assert!(file.read_at(&mut [0], u64::MAX).is_err());
        file.write_all_at(b"HELLO", 2).unwrap();
        assert_eq!(file.write_at(b"!", 7).unwrap(), 1);
        file.rewind().unwrap();
        assert_eq!(file.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).unwrap(), 2);
        file.set_len(9).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abHELLO!\x08");
        // A clone has the same position.
        let mut twin = file.try_clone().unwrap();
        file.seek(SeekFrom::Start(2)).unwrap();
        let mut text = String::new();
        Read::by_ref(&mut twin).take(5).read_to_string(&mut text).unwrap();
        assert_eq!(text, "HELLO");
        assert_ne!(twin.as_raw_fd(), file.as_raw_fd());
        // What cannot be read says so, and is not what std would call otherwise.
        let error = File::create(place.join("other")).unwrap().read(&mut [0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        assert_eq!(File::open(&place.0).unwrap().read(&mut [0]).unwrap_err().kind(), ErrorKind::IsADirectory);
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        file.set_modified(then).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), then);
        file.set_permissions(PermissionsExt::from_mode(0o400)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
        // Out and in.
        let theirs = std::fs::File::from(file);
        let ours = File::from(OwnedFd::from(File::from(theirs)));
        assert_eq!(ours.as_fd().as_raw_fd(), ours.as_raw_fd());
        assert!(format!("{ours:?}").starts_with("File { fd: "));
    });
}

#[test]
fn what_is_not_on_a_disk_can_be_read() {
    everywhere(|| {
        // No file of these can be read without waiting (RWF_NOWAIT), or is long as it says.
        for path in ["/proc/self/status", "/proc/cpuinfo", "/proc/self/cmdline"] {
            let mut text = String::new();
            let mut file = io::BufReader::with_capacity(100, File::open(path).unwrap());
            file.read_to_string(&mut text).unwrap();
            assert!(!text.is_empty());
        }
        let mut zeros = [1; 100];
        File::open("/dev/zero").unwrap().read_exact(&mut zeros).unwrap();
        assert_eq!(zeros, [0; 100]);
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(full.write_all(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    });
}

#[test]
fn a_large_directory_comes_in_batches() {
    everywhere(|| {
        let place = Place::new();
        fs::DirBuilder::new().mode(0o700).create(place.join("sub")).unwrap();
        for count in [0, 1, 127, 128, 129, 300] {
            for i in 0..count {
                std::fs::write(place.join(format!("sub/{i}")), "").unwrap();
            }
            let mut entries = fs::read_dir(place.join("sub")).unwrap();
            let names: BTreeSet<_> =
                entries.by_ref().map(|entry| entry.unwrap()).map(|e| (e.ino(), e.path())).collect();
            assert!(entries.next().is_none());
            let expected: BTreeSet<_> = std::fs::read_dir(place.join("sub"))
                .unwrap()
                .map(|e| e.unwrap())
                .map(|e| (e.ino(), e.path()))
                .collect();
            assert_eq!(names, expected);
            assert_eq!(names.len(), count);
        }
        assert_eq!(fs::read_dir(place.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// Goal: who waits for a lock, or for the other end of a FIFO, holds nobody up. Method: on one P, in one home and in
/// several, he who has it is a coroutine that has yet to run.
#[test]
fn a_call_that_blocks_lets_others_run() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            for local in [true, false] {
                let place = Arc::new(Place::new());
                let path = place.join("lock");
                let held = File::create(&path).unwrap();
                held.lock().unwrap();
                let free = move || {
                    gort::time::sleep(Duration::from_millis(1));
                    held.unlock().unwrap();
                };
                let other = if local { gort::spawn_local(free) } else { go!(free) };
                let waiting = File::open(&path).unwrap();
                waiting.lock_shared().unwrap();
                assert!(waiting.try_lock_shared().is_ok());
                other.join().unwrap();

                let path = place.join("fifo");
                make_fifo(&path);
                let write = move || {
                    let mut fifo = File::options().write(true).open(path).unwrap();
                    gort::time::sleep(Duration::from_millis(1));
                    fifo.write_all(b"through").unwrap();
                };
                let other = if local { gort::spawn_local(write) } else { go!(write) };
                let mut text = String::new();
                let mut fifo = File::open(place.join("fifo")).unwrap();
                let mut start = [0; 3];
                fifo.read_exact(&mut start).unwrap();
                fifo.read_to_string(&mut text).unwrap();
                assert_eq!((&start, &*text), (b"thr", "ough"));
                other.join().unwrap();
            }
        });
    }
}

/// Goal: a short call does not cost its caller the P, for which it would wait one or two slices. Method: coroutines that
/// compute, some of which yield, keep all Ps busy while files are looked at; 20 ms for each call would be eight seconds.
#[test]
fn calls_are_short_while_all_ps_are_busy() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            let stop = AtomicBool::new(false);
            scope(|s| {
                for _ in 0..3 * procs {
                    s.go(|| {
                        while !stop.load(SeqCst) {
                            (0..1000).for_each(|i| _ = std::hint::black_box(i));
                            gort::yield_now();
                        }
                    });
                }
                let place = Place::new();
                let path = place.join("file");
                let start = Instant::now();
                let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
                for i in 0..100u32 {
                    file.write_all(&i.to_ne_bytes()).unwrap();
                    let mut back = [0; 4];
                    file.read_exact_at(&mut back, u64::from(i) * 4).unwrap();
                    assert_eq!(u32::from_ne_bytes(back), i);
                    assert_eq!(fs::metadata(&path).unwrap().len(), u64::from(i + 1) * 4);
                    fs::exists(place.join("other")).unwrap();
                }
                let took = start.elapsed();
                stop.store(true, SeqCst);
                eprintln!("procs = {procs}: 400 calls in {took:?}");
                assert!(took < Duration::from_secs(6), "{took:?}");
            });
        });
    }
}

/// How often spare threads of the runtime of [`beside_turns`] have gone to sleep: once for each call that is made there.
fn calls_apart() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).ok());
    let spares = statuses.filter(|status| status.starts_with("Name:\tturns-blocking\n"));
    let value = |status: String| -> usize {
        let mut words = status.split_ascii_whitespace().skip_while(|word| *word != "voluntary_ctxt_switches:");
        words.nth(1).unwrap().parse().unwrap()
    };
    spares.map(value).sum()
}

/// One at a time: their spare threads are told by the runtime's name.
static TURNS: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Runs `f` while so many others take turns on each P, and counts these.
fn beside_turns(procs: usize, f: impl Fn(&AtomicUsize) + Sync) {
    let _turns = TURNS.lock().unwrap_or_else(|e| e.into_inner());
    builder(procs).name("turns").build().unwrap().run(|| {
        let (stop, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
        scope(|s| {
            for _ in 0..2 * procs {
                s.go(|| {
                    while !stop.load(SeqCst) {
                        turns.fetch_add(1, SeqCst);
                        gort::yield_now();
                    }
                });
            }
            // Also if a test fails.
            struct Stop<'a>(&'a AtomicBool);
            impl Drop for Stop<'_> {
                fn drop(&mut self) {
                    self.0.store(true, SeqCst);
                }
            }
            let _stop = Stop(&stop);
            f(&turns);
        });
    });
}

fn make_fifo(path: &Path) {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: a string that ends in zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

/// Runs `f` alone in its home, and while a local coroutine lives there.
fn alone_or_not(f: impl Fn()) {
    f();
    let (end, ended) = gort::channel::unbounded::<()>();
    let mate = gort::spawn_local(move || ended.recv().unwrap_err());
    f();
    drop(end);
    mate.join().unwrap();
}

/// Goal: others run while a coroutine makes one short call after the other and parks in none. Method: they have a turn three hundred times.
#[test]
fn a_loop_of_short_calls_lets_others_run() {
    beside_turns(1, |turns| {
        alone_or_not(|| {
            let (place, start) = (Place::new(), Instant::now());
            let path = place.join("none");
            for _ in 0..300 {
                let before = turns.load(SeqCst);
                while turns.load(SeqCst) == before {
                    assert!(!fs::exists(&path).unwrap());
                    assert!(start.elapsed() < LONG);
                }
            }
        });
    });
}

/// Goal: a file may be looked at where a wait has begun and may end any time. Method: it has ended, and the call takes long.
#[test]
fn a_call_in_a_wait_that_has_begun() {
    struct Reads(PathBuf, AtomicBool);
    impl Waitable for Reads {
        fn is_ready(&self) -> bool {
            self.1.load(SeqCst)
        }
        fn watch(&self, waker: SelectWaker) -> bool {
            make_fifo(&self.0);
            waker.wake();
            std::thread::scope(|s| {
                s.spawn(|| {
                    let mut pipe = std::fs::OpenOptions::new().write(true).open(&self.0).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                    pipe.write_all(b"text").unwrap();
                });
                assert_eq!(fs::read_to_string(&self.0).unwrap(), "text");
            });
            gort::blocking(|| std::thread::sleep(Duration::from_millis(5)));
            self.1.store(true, SeqCst);
            true
        }
        fn unwatch(&self, _: SelectWaker) {}
    }
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            alone_or_not(|| {
                let place = Place::new();
                for number in 0..5 {
                    let reads = Reads(place.join(number.to_string()), AtomicBool::new(false));
                    gort::select! { wait(reads) => () }
                }
            });
        });
    }
}

/// Goal: calls that end soon are made by the caller's thread, whoever waits for the P or the home: a spare thread costs ten times as
/// much. Method: there is a hundred in a row. (Where others have the CPU meanwhile a call looks long, and some go to a spare thread then.)
#[test]
fn short_calls_need_no_thread_while_others_wait() {
    if !builder(1).build().unwrap().coroutines_move() {
        // Others live in the caller's home, and nobody can leave it.
        return;
    }
    for procs in PROCS {
        beside_turns(procs, |_| {
            alone_or_not(|| {
                let (place, start) = (Place::new(), Instant::now());
                let path = place.join("none");
                loop {
                    let before = calls_apart();
                    for _ in 0..100 {
                        assert!(!fs::exists(&path).unwrap());
                        gort::yield_now();
                    }
                    if calls_apart() == before {
                        break;
                    }
                    assert!(start.elapsed() < LONG);
                }
            });
        });
    }
}

/// Goal: after short calls one that blocks keeps the P for some milliseconds at most; after long ones the next does not try. Method:
/// each waits for the other end of a FIFO, which a plain thread opens when others have had turns.
#[test]
fn a_long_call_among_short_ones_lets_others_run() {
    for procs in PROCS {
        beside_turns(procs, |turns| {
            alone_or_not(|| {
                let (place, start) = (Place::new(), Instant::now());
                let path = place.join("fifo");
                make_fifo(&path);
                let before = calls_apart();
                while calls_apart() == before {
                    for _ in 0..10 {
                        assert!(fs::exists(&path).unwrap());
                    }
                    let other = std::thread::scope(|s| {
                        s.spawn(|| {
                            std::thread::sleep(Duration::from_millis(2));
                            let before = turns.load(SeqCst);
                            wait_until("others go on", || turns.load(SeqCst) > before + 10);
                            OpenOptions::new().write(true).open(&path).unwrap();
                        });
                        File::open(&path).unwrap()
                    });
                    drop(other);
                    assert!(start.elapsed() < LONG);
                }
            });
        });
    }
}

#[test]
fn many_coroutines_use_files_at_once() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            let place = Place::new();
            scope(|s| {
                for i in 0..100 {
                    let path = place.join(i.to_string());
                    s.go(move || {
                        for round in 0..5 {
                            let text = format!("{i} {round}");
                            fs::write(&path, &text).unwrap();
                            assert_eq!(fs::read_to_string(&path).unwrap(), text);
                            let file = File::open(&path).unwrap();
                            file.lock_shared().unwrap();
                            assert_eq!(file.metadata().unwrap().len(), text.len() as u64);
                        }
                        fs::remove_file(&path).unwrap();
                    });
                }
            });
            assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0);
        });
    }
}

#[test]
fn a_cancelled_coroutine_ends_before_a_call_or_after_it() {
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            let place = Place::new();
            let path = place.join("file");
            let calls = Arc::new(AtomicUsize::new(0));
            let (count, to) = (calls.clone(), path.clone());
            let task = go!(move || {
                loop {
                    fs::write(&to, "all of it").unwrap();
                    count.fetch_add(1, SeqCst);
                }
            });
            wait_until("it has written", || calls.load(SeqCst) > 3);
            task.cancel();
            assert!(task.join_timeout(LONG).expect("it ends").unwrap_err().is_cancelled());
            assert_eq!(fs::read_to_string(&path).unwrap(), "all of it");
        });
    }
}

#[test]
fn files_are_for_everybody() {
    fn is<T: Send + Sync + Unpin>() {}
    is::<File>();
    is::<OpenOptions>();
    is::<fs::DirBuilder>();
    is::<fs::ReadDir>();
    is::<fs::DirEntry>();
}

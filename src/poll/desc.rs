//! Descriptor records: what an event leads to, and who may lead there.
//!
//! Promise: an event, however late, finds a record, never freed memory; and if the record
//! serves another descriptor by then, the event is dropped or does no harm.
//!
//! A [`Record`] is one descriptor in one poller: two [`Side`]s and a generation. Records live in
//! chunks that are made as they are needed, belong to the process and are never freed. An event
//! carries a *tag*: the record's index and its generation at registration. The generation
//! advances when the record is given back, so that an event that another thread had fetched by
//! then no longer fits. One that passes the check just before that is delivered to a record
//! without waiters, or to one whose new waiters look once in vain: an edge only ever says
//! "try again".
//!
//! A descriptor is registered when a coroutine first has to wait on it, in the poller of that
//! coroutine's runtime. Used from another runtime it gets a second record, in that runtime's
//! poller: each has its own edges from the kernel and its own waiters, and the argument of
//! `word.rs` holds for each by itself. So a poller hands out coroutines of its own runtime only.
//!
//! A kernel's set has room for one registration of a descriptor's number. Where the number is in it already, because somebody who
//! knows nothing of the first waits on the same descriptor (a `Pollable` over a stream), a duplicate is registered, with edges of
//! its own.
//!
//! A descriptor may outlive many runtimes (those of the standard streams do). Its record in a poller whose runtime has ended, where
//! nobody waits any more, *moves* to the next poller that it is to be in. It is never given back meanwhile: `find` looks at it
//! without the lock, and must not find another descriptor's.
//!
//! Rejected: the record's address as the tag (integers that become pointers, and too few bits
//! for a generation); one record for all runtimes (a poller would have to ready coroutines of
//! another runtime).

use super::Poller;
use super::word::{Seen, Side};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
// Not from `shim`: a static table of real memory is no part of the models.
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// Reading, accepting.
    Read,
    /// Writing, connecting.
    Write,
}

/// One descriptor in one poller; see the module. What a read and its event need is one cache line, where there are thousands one
/// that has to be fetched from afar.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Record {
    read: Side,
    /// Whose it is now; null in the pool. Compared, never followed.
    poller: AtomicPtr<Poller>,
    generation: AtomicU32,
    index: u32,
    write: Side,
    /// There are edges for writes.
    writes: AtomicBool,
}
const _: () = assert!(std::mem::offset_of!(Record, write) == 64);

impl Record {
    #[inline(always)]
    pub(crate) fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    #[inline(always)]
    pub(crate) fn belongs_to(&self, poller: &Poller) -> bool {
        // Acquire: pairs with the Release in `enter`. Whoever has found the record in its own poller finds the kernel to know
        // of it, and the sides as they were when it did. (Another poller's address is compared only.)
        std::ptr::eq(self.poller.load(Ordering::Acquire), poller)
    }

    /// Whether `direction` has edges.
    #[inline(always)]
    fn has(&self, direction: Direction) -> bool {
        // Acquire: pairs with the Release in `add_writes`. Whoever sees it finds the kernel to report writes.
        direction == Direction::Read || self.writes.load(Ordering::Acquire)
    }

    /// How many wait on it.
    pub(super) fn waiting(&self) -> usize {
        self.read.waiting() + self.write.waiting()
    }

    /// Makes it ready for another registration: events of the earlier one no longer fit. Nobody waits here.
    fn renew(&self) {
        self.read.reset();
        self.write.reset();
        // Relaxed: an event with the old generation that misses this is harmless.
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Has `fd` added to `poller` for it; with that comes what the sides were before, and a duplicate that was added instead.
    fn enter(
        &self,
        poller: &Arc<Poller>,
        fd: BorrowedFd<'_>,
        writes: bool,
    ) -> io::Result<([Seen; 2], Option<OwnedFd>)> {
        let first_seen = [self.read.observe(), self.write.observe()];
        let add = |fd: BorrowedFd<'_>| poller.backend.add(fd.as_raw_fd(), self.tag(), writes);
        let duplicate = match add(fd) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let duplicate = fd.try_clone_to_owned()?;
                add(duplicate.as_fd())?;
                Some(duplicate)
            }
            result => result.map(|()| None)?,
        };
        // Relaxed: the next store publishes it; nobody asks before having found the record in this poller.
        self.writes.store(writes, Ordering::Relaxed);
        // Release: pairs with the Acquire in `belongs_to`.
        self.poller.store(Arc::as_ptr(poller).cast_mut(), Ordering::Release);
        poller.count_registered(1);
        Ok((first_seen, duplicate))
    }

    fn tag(&self) -> u64 {
        // Relaxed: changes only when the record is given back or moves, and the caller holds it.
        u64::from(self.generation.load(Ordering::Relaxed)) << 32 | u64::from(self.index)
    }
}

/// A descriptor's place in a poller; leaves it when dropped, which must be before the
/// descriptor is closed and when nobody waits on it.
#[derive(Debug)]
pub(crate) struct Handle {
    record: &'static Record,
    /// The record as it was before the kernel knew of it; later edges differ from it.
    first_seen: [Seen; 2],
    /// Kept alive, so that a socket may outlive the runtime, until it moves.
    poller: Arc<Poller>,
    fd: RawFd,
    /// What `fd` is, if the descriptor itself was taken; closed when it has left the poller.
    _duplicate: Option<OwnedFd>,
}

impl Handle {
    pub(super) fn new(poller: &Arc<Poller>, fd: BorrowedFd<'_>, writes: bool) -> io::Result<Handle> {
        let record = POOL.take();
        match record.enter(poller, fd, writes) {
            Ok((first_seen, duplicate)) => {
                let fd = duplicate.as_ref().map_or(fd, AsFd::as_fd).as_raw_fd();
                Ok(Handle { record, first_seen, poller: poller.clone(), fd, _duplicate: duplicate })
            }
            Err(error) => {
                POOL.put(record);
                Err(error)
            }
        }
    }

    /// Has edges for writes as well from now on; with that comes what the side was before.
    fn add_writes(&self) -> io::Result<Seen> {
        let before = self.record.write.observe();
        self.poller.backend.add_writes(self.fd, self.record.tag())?;
        // Release: pairs with the Acquire in `has`.
        self.record.writes.store(true, Ordering::Release);
        Ok(before)
    }

    /// Goes to `poller`, record and all, from one that has ended. After an error it is where it was.
    fn move_to(&mut self, poller: &Arc<Poller>, fd: BorrowedFd<'_>, writes: bool) -> io::Result<()> {
        debug_assert!(self.poller.has_ended());
        // Coroutines of that runtime have ended, but what futures have left may be there (`net/wakers.rs`). The edge takes it out,
        // so that whoever would take it back later finds that it has gone.
        super::nudge(&self.record.read);
        super::nudge(&self.record.write);
        self.record.renew();
        let (first_seen, duplicate) = self.record.enter(poller, fd, writes)?;
        self.leave();
        self.first_seen = first_seen;
        // Not before the record names another: no new poller may have its address meanwhile.
        self.poller = poller.clone();
        self.fd = duplicate.as_ref().map_or(fd, AsFd::as_fd).as_raw_fd();
        self._duplicate = duplicate;
        Ok(())
    }

    /// Takes the descriptor out of the poller.
    fn leave(&self) {
        // The explicit removal matters although closing removes: a duplicate of the descriptor
        // (in a child process, say) would keep the registration, and its events, alive. It can
        // fail only if somebody has closed the descriptor behind our back.
        let _ = self.poller.backend.delete(self.fd);
        self.poller.count_registered(-1);
    }

    pub(crate) fn record(&self) -> &'static Record {
        self.record
    }

    /// What its events carry.
    #[cfg(test)]
    pub(super) fn tag(&self) -> u64 {
        self.record.tag()
    }

    fn first_seen(&self, direction: Direction) -> Seen {
        self.first_seen[direction as usize]
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.leave();
        POOL.put(self.record);
    }
}

/// Where one descriptor is registered: nowhere at first, usually in one poller, seldom in more.
///
/// In this order: see [`Fd`](crate::net::fd::Fd).
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Registrations {
    handles: Mutex<Vec<Handle>>,
    /// A write has had to wait.
    writes: AtomicBool,
    first: OnceLock<&'static Record>,
}

impl Registrations {
    /// The record in `poller`, if there is one that has edges for `direction`.
    #[inline(always)]
    pub(crate) fn find(&self, poller: &Arc<Poller>, direction: Direction) -> Option<&'static Record> {
        // Relaxed: a hint. Who misses it has to make an attempt more.
        if direction == Direction::Write && !self.writes.load(Ordering::Relaxed) {
            return None;
        }
        let record = match self.first.get()? {
            record if record.belongs_to(poller) => record,
            _ => self.find_further(poller)?,
        };
        record.has(direction).then_some(record)
    }

    #[cold]
    fn find_further(&self, poller: &Arc<Poller>) -> Option<&'static Record> {
        self.lock().iter().map(Handle::record).find(|record| record.belongs_to(poller))
    }

    /// The record in `poller` with edges for `direction`, which is made if there is none, or asks for these edges. If this call did so, what to
    /// wait with: every edge since the registration differs from it, and the registration itself
    /// makes one if the descriptor is ready. If not, the caller has not observed the record
    /// before its attempt and has to try again.
    #[cold]
    pub(crate) fn ensure(
        &self,
        poller: &Arc<Poller>,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<(&'static Record, Option<Seen>)> {
        let mut handles = self.lock();
        let writes = direction == Direction::Write;
        if writes {
            // Relaxed: as in `find`.
            self.writes.store(true, Ordering::Relaxed);
        }
        if let Some(handle) = handles.iter().find(|handle| handle.record.belongs_to(poller)) {
            let seen = if handle.record.has(direction) { None } else { Some(handle.add_writes()?) };
            return Ok((handle.record, seen));
        }
        if let Some(handle) = handles.iter_mut().find(|handle| handle.poller.has_ended()) {
            handle.move_to(poller, fd, writes)?;
            return Ok((handle.record, Some(handle.first_seen(direction))));
        }
        let handle = poller.register(fd, writes)?;
        let (record, seen) = (handle.record, handle.first_seen(direction));
        // There is seldom a second one, and there may be very many descriptors.
        handles.reserve_exact(1);
        handles.push(handle);
        // An error says that there is a first one already, in another poller.
        let _ = self.first.set(record);
        Ok((record, Some(seen)))
    }

    /// Calls `each` with every record, without the lock: it may run others' wakers. None leaves while `self` is borrowed.
    pub(crate) fn for_each(&self, each: impl FnMut(&'static Record)) {
        (0..).map_while(|at| self.lock().get(at).map(Handle::record)).for_each(each);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.handles.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Records in the first chunk; each further chunk has twice as many.
const FIRST_CHUNK: usize = 64;
/// Enough for every index of 32 bits.
const CHUNKS: usize = 26;

/// All records of the process.
struct Pool {
    chunks: [AtomicPtr<Record>; CHUNKS],
    /// Records made so far: the indices below this are valid.
    made: AtomicU32,
    free: Mutex<Vec<&'static Record>>,
}

static POOL: Pool = Pool {
    chunks: [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS],
    made: AtomicU32::new(0),
    free: Mutex::new(Vec::new()),
};

/// The chunk of an index and the place in it.
fn locate(index: u32) -> (usize, usize) {
    let chunk = (index as usize / FIRST_CHUNK + 1).ilog2() as usize;
    (chunk, index as usize - FIRST_CHUNK * ((1 << chunk) - 1))
}

impl Pool {
    fn take(&self) -> &'static Record {
        let mut free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if free.is_empty() {
            self.grow(&mut free);
        }
        free.pop().expect("just grown")
    }

    fn put(&self, record: &'static Record) {
        record.renew();
        // Relaxed: it is nobody's, and belongs to none.
        record.poller.store(std::ptr::null_mut(), Ordering::Relaxed);
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(record);
    }

    #[cold]
    fn grow(&self, free: &mut Vec<&'static Record>) {
        // Relaxed: written under the lock that the caller holds.
        let made = self.made.load(Ordering::Relaxed);
        let (chunk, place) = locate(made);
        debug_assert_eq!(place, 0, "chunks are made whole");
        let count = (FIRST_CHUNK << chunk) as u32;
        let records: Vec<Record> = (made..made + count)
            .map(|index| Record {
                read: Side::new(),
                write: Side::new(),
                poller: AtomicPtr::new(std::ptr::null_mut()),
                generation: AtomicU32::new(0),
                index,
                writes: AtomicBool::new(false),
            })
            .collect();
        let records: &'static [Record] = records.leak();
        // Release: pairs with the Acquire in `at`; the records are there.
        self.chunks[chunk].store(records.as_ptr().cast_mut(), Ordering::Release);
        // Release: pairs with the Acquire in `all`.
        self.made.store(made + count, Ordering::Release);
        free.extend(records.iter().rev());
    }

    /// The record with this index, which has been made.
    #[inline(always)]
    fn at(&self, index: u32) -> &'static Record {
        let (chunk, place) = locate(index);
        // Acquire: pairs with the Release in `grow`.
        let records = self.chunks[chunk].load(Ordering::Acquire);
        debug_assert!(!records.is_null());
        // SAFETY: indices come from tags that `Record::tag` made and from below `made`, so the
        // chunk exists, was leaked, and has a record at this place (`locate`).
        unsafe { &*records.add(place) }
    }

    fn all(&self) -> impl Iterator<Item = &'static Record> {
        // Acquire: pairs with the Release in `grow`.
        (0..self.made.load(Ordering::Acquire)).map(|index| self.at(index))
    }
}

/// The record that an event's tag names, unless the event is stale.
#[inline(always)]
pub(super) fn find(tag: u64) -> Option<&'static Record> {
    let record = POOL.at(tag as u32);
    // Relaxed: a stale event that passes is harmless (module essay).
    (record.generation.load(Ordering::Relaxed) == (tag >> 32) as u32).then_some(record)
}

/// Brings the record of an event into the cache.
#[inline(always)]
pub(super) fn prefetch(tag: u64) {
    crate::shim::prefetch(std::ptr::from_ref(POOL.at(tag as u32)).cast());
}

/// Calls `each` with the records of `poller`.
pub(super) fn for_each(poller: &Poller, each: impl FnMut(&'static Record)) {
    POOL.all().filter(|record| record.belongs_to(poller)).for_each(each);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_fill_the_chunks_without_gaps() {
        let mut expected = (0, 0);
        for index in 0..FIRST_CHUNK as u32 * 31 {
            assert_eq!(locate(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        let (chunk, place) = locate(u32::MAX);
        assert!(chunk <= CHUNKS && place < FIRST_CHUNK << chunk);
    }

    #[test]
    fn a_tag_is_stale_once_its_record_was_given_back() {
        let record = POOL.take();
        let tag = record.tag();
        assert!(std::ptr::eq(find(tag).expect("in use"), record));
        POOL.put(record);
        assert!(find(tag).is_none());
    }
}

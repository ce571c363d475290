//! Locks and other means of waiting against a plain account, under random programs.
//!
//! Goal: whatever coroutines and threads do at once, and whoever gives up by a deadline or is cancelled: writers are
//! alone, no permit and no item is lost or doubled, and a notification that somebody could use reaches somebody. Method: a
//! seed makes a program of a few tasks, each a random sequence of operations. Every task notes what it has done,
//! and in the end that must be what is there. The checker supplies those who wait for something, with one at a time, and
//! with the next only when somebody has taken that: so one lost notification is enough for a round not to end.
//!
//! The seed is printed when a round fails or hangs. To run that round again:
//! `GORT_TEST_SEED=<seed> GORT_TEST_ROUNDS=1 cargo test --test sync_random`. The program is the same
//! then, the interleaving need not be.
//!
//! `cargo test --release --test sync_random -- --ignored --nocapture` is the long run: by default ten million operations of each
//! primitive alone (`GORT_STRESS_OPERATIONS`), or of one (`GORT_STRESS_ONLY`). The others are in `primitives_random`.

mod common;

use common::{Random, Task, builder};
use gort::sync::{Condvar, Mutex, MutexGuard, Notify, RwLock, RwLockWriteGuard, Semaphore, WaitGroup};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// What an actor does: of each primitive, these of its choices.
const PRIMITIVES: [(&str, &[u64]); 6] = [
    ("mutex", &[0, 1, 2, 3]),
    ("rwlock", &[4, 5, 6, 7]),
    ("condvar", &[8, 9]),
    ("notify", &[10, 11]),
    ("semaphore", &[12, 13]),
    ("wait_group", &[14]),
];

/// What the semaphore begins with.
const PERMITS: usize = 3;

/// What all tasks of a program use.
#[derive(Default)]
struct World {
    mutex: Mutex<usize>,
    rwlock: RwLock<[usize; 2]>,
    /// Items, and who waits for one.
    items: Mutex<usize>,
    come: Condvar,
    /// The same without a lock.
    letters: AtomicUsize,
    told: Notify,
    /// Gives [`PERMITS`], which always come back.
    rooms: Option<Semaphore>,
    /// Gives what the checker adds, which does not come back.
    rations: Option<Semaphore>,
    account: Account,
}

/// What has been done, as those who did it noted.
#[derive(Default)]
struct Account {
    locked: AtomicUsize,
    written: AtomicUsize,
    in_rooms: AtomicUsize,
    items: [AtomicUsize; 2],
    letters: [AtomicUsize; 2],
    rations: [AtomicUsize; 2],
    ended: AtomicUsize,
    operations: AtomicU64,
}

impl World {
    fn rooms(&self) -> &Semaphore {
        self.rooms.as_ref().expect("made at the beginning")
    }

    fn rations(&self) -> &Semaphore {
        self.rations.as_ref().expect("made at the beginning")
    }

    fn add_item(&self, with_lock: bool, all: bool) {
        let mut items = self.items.lock();
        *items += 1;
        self.account.items[0].fetch_add(1, SeqCst);
        // Nothing from here on waits, so nobody is cancelled before the notification.
        let items = with_lock.then_some(items);
        if all {
            self.come.notify_all()
        } else {
            self.come.notify_one()
        }
        drop(items);
    }

    fn take_item(&self, mut items: MutexGuard<'_, usize>) {
        *items -= 1;
        self.account.items[1].fetch_add(1, SeqCst);
    }

    fn add_letter(&self) {
        self.account.letters[0].fetch_add(1, SeqCst);
        self.letters.fetch_add(1, SeqCst);
        self.told.notify_one();
    }

    fn take_letter(&self) -> bool {
        let taken = self.letters.fetch_update(SeqCst, SeqCst, |letters| letters.checked_sub(1));
        if taken.is_ok() {
            self.account.letters[1].fetch_add(1, SeqCst);
        }
        // Several notifications count as one if nobody waits: who took one sees to the next.
        if taken.is_ok_and(|before| before > 1) {
            self.told.notify_one();
        }
        taken.is_ok()
    }

    fn add_ration(&self) {
        self.account.rations[0].fetch_add(1, SeqCst);
        self.rations().add_permits(1);
    }

    /// Adds what somebody might wait for and nobody has.
    fn supply(&self) {
        // Not `lock`: the checker is not to stand in a queue.
        if self.items.try_lock().is_some_and(|items| *items == 0) {
            self.add_item(true, false);
        }
        if self.letters.load(SeqCst) == 0 {
            self.add_letter();
        }
        if self.rations().available_permits() == 0 {
            self.add_ration();
        }
    }
}

/// One task of a program.
struct Actor {
    world: Arc<World>,
    random: Random,
    steps: u64,
    /// If it does only some of what there is.
    only: Option<&'static [u64]>,
    /// Given up when `ended` counts this one.
    ended: Ended,
}

/// Counts a task that has ended, however, and then gives up its handle of the group.
struct Ended {
    world: Arc<World>,
    #[expect(dead_code, reason = "its drop is the message")]
    group: WaitGroup,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.world.account.ended.fetch_add(1, SeqCst);
    }
}

impl Actor {
    fn run(mut self) {
        for _ in 0..self.steps {
            self.world.account.operations.fetch_add(1, SeqCst);
            let choice = match self.only {
                None => self.random.below(16),
                Some(only) => only[self.random.below(only.len() as u64) as usize],
            };
            match choice {
                0..=3 => self.lock(),
                4..=7 => self.read_or_write(),
                8 => self.make_item(),
                9 => self.want_item(),
                10 => self.want_letter(),
                11 => self.world.add_letter(),
                12 => self.enter_room(),
                13 => self.want_ration(),
                14 if self.only.is_some() || self.random.below(4) == 0 => self.wait_for_group(),
                _ => gort::yield_now(),
            }
        }
        drop(self.ended);
    }

    fn time(&mut self) -> Duration {
        Duration::from_micros(self.random.below(200))
    }

    /// What is done while something is held: mostly nothing.
    fn linger(&mut self) {
        match self.random.below(12) {
            0 => gort::yield_now(),
            1 => gort::time::sleep(self.time() / 4),
            2 => common::compute(Duration::from_micros(5)),
            _ => {}
        }
    }

    fn lock(&mut self) {
        let (world, time) = (self.world.clone(), self.time());
        let guard = match self.random.below(6) {
            0 => world.mutex.try_lock(),
            1 => world.mutex.try_lock_for(time),
            2 => world.mutex.try_lock_until(Instant::now() + time),
            _ => Some(world.mutex.lock()),
        };
        let Some(mut guard) = guard else { return };
        *guard += 1;
        let before = *guard;
        world.account.locked.fetch_add(1, SeqCst);
        self.linger();
        assert_eq!(*guard, before, "somebody else was inside");
        if self.random.below(4) == 0 {
            MutexGuard::unlock_fair(guard);
        }
    }

    fn read_or_write(&mut self) {
        let (world, time) = (self.world.clone(), self.time());
        let lock = &world.rwlock;
        if self.random.below(2) == 0 {
            let guard = match self.random.below(6) {
                0 => lock.try_read(),
                1 => lock.try_read_for(time),
                _ => Some(lock.read()),
            };
            let Some(guard) = guard else { return };
            let before = *guard;
            assert_eq!(before[0], before[1]);
            self.linger();
            if self.random.below(4) == 0 {
                assert_eq!(*lock.read_recursive(), before);
            }
            assert_eq!(*guard, before, "a writer was inside");
            return;
        }
        let guard = match self.random.below(6) {
            0 => lock.try_write(),
            1 => lock.try_write_for(time),
            2 => lock.try_write_until(Instant::now() + time),
            _ => Some(lock.write()),
        };
        let Some(mut guard) = guard else { return };
        guard[0] += 1;
        // Cancelled in it or not, the other half follows.
        let mut guard = complete_later(guard, |guard| guard[1] = guard[0]);
        world.account.written.fetch_add(1, SeqCst);
        let before = guard.inner()[0];
        self.linger();
        assert_eq!(guard.inner()[0], before, "another writer was inside");
        let guard = guard.end();
        match self.random.below(8) {
            0 => {
                let guard = RwLockWriteGuard::downgrade(guard);
                self.linger();
                assert_eq!(*guard, [before; 2], "a writer was inside");
            }
            1 => RwLockWriteGuard::unlock_fair(guard),
            _ => {}
        }
    }

    fn make_item(&mut self) {
        let (with_lock, all) = (self.random.below(2) == 0, self.random.below(4) == 0);
        self.world.add_item(with_lock, all);
    }

    fn want_item(&mut self) {
        let (world, time) = (self.world.clone(), self.time());
        let mut items = world.items.lock();
        match self.random.below(3) {
            0 => world.take_item(world.come.wait_while(items, |items| *items == 0)),
            1 => {
                let (items, waited) = world.come.wait_timeout_while(items, time, |items| *items == 0);
                assert_eq!(waited.timed_out(), *items == 0);
                if *items > 0 {
                    world.take_item(items);
                }
            }
            _ => {
                while *items == 0 {
                    items = world.come.wait(items);
                }
                world.take_item(items);
            }
        }
    }

    fn want_letter(&mut self) {
        let patient = self.random.below(2) == 0;
        while !self.world.take_letter() {
            let time = self.time();
            if patient {
                self.world.told.wait();
            } else if !self.world.told.wait_timeout(time) {
                return;
            }
        }
    }

    fn enter_room(&mut self) {
        let (world, time) = (self.world.clone(), self.time());
        let count = 1 + self.random.below(PERMITS as u64) as usize;
        let permit = match self.random.below(4) {
            0 => world.rooms().try_acquire_many(count).ok(),
            1 => world.rooms().acquire_many_timeout(count, time).ok(),
            _ => Some(world.rooms().acquire_many(count).expect("nobody closes it")),
        };
        let Some(permit) = permit else { return };
        let inside = world.account.in_rooms.fetch_add(count, SeqCst) + count;
        let _permit = Inside { count, world: &world, _permit: permit };
        assert!(inside <= PERMITS, "{inside} are inside");
        self.linger();
    }

    fn want_ration(&mut self) {
        let (world, time) = (self.world.clone(), self.time());
        let permit = match self.random.below(2) {
            0 => world.rations().acquire_timeout(time).ok(),
            _ => Some(world.rations().acquire().expect("nobody closes it")),
        };
        if let Some(permit) = permit {
            permit.forget();
            world.account.rations[1].fetch_add(1, SeqCst);
        }
    }

    /// Waits for a few coroutines, each of which has counted itself when it gives its handle up.
    fn wait_for_group(&mut self) {
        let mut group = WaitGroup::new();
        let done = Arc::new(AtomicUsize::new(0));
        let count = self.random.below(4) as usize;
        for _ in 0..count {
            let (group, done, yields) = (group.clone(), done.clone(), self.random.below(3));
            let work = move || {
                (0..yields).for_each(|_| gort::yield_now());
                done.fetch_add(1, SeqCst);
                drop(group);
            };
            // A plain thread has no runtime to start them in.
            if gort::try_current().is_some() { drop(gort::spawn(work)) } else { work() }
        }
        while self.random.below(2) == 0 {
            match group.wait_timeout(self.time()) {
                Ok(()) => return assert_eq!(done.load(SeqCst), count),
                Err(again) => group = again,
            }
        }
        group.wait();
        assert_eq!(done.load(SeqCst), count);
    }
}

/// Permits, and their count in the account.
struct Inside<'a> {
    count: usize,
    world: &'a World,
    _permit: gort::sync::SemaphorePermit<'a>,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // Before the permit: whoever gets it counts itself after that.
        self.world.account.in_rooms.fetch_sub(self.count, SeqCst);
    }
}

/// A guard whose value is completed however it ends.
struct Complete<G, F: FnMut(&mut G)>(Option<G>, F);

fn complete_later<G, F: FnMut(&mut G)>(guard: G, complete: F) -> Complete<G, F> {
    Complete(Some(guard), complete)
}

impl<G, F: FnMut(&mut G)> Complete<G, F> {
    fn inner(&mut self) -> &mut G {
        self.0.as_mut().expect("not ended")
    }

    fn end(mut self) -> G {
        (self.1)(self.0.as_mut().expect("not ended"));
        self.0.take().expect("not ended")
    }
}

impl<G, F: FnMut(&mut G)> Drop for Complete<G, F> {
    fn drop(&mut self) {
        self.0.as_mut().into_iter().for_each(&mut self.1);
    }
}

/// Runs the program of a seed, which may be of one primitive `only`, and compares what was noted with what is there. Returns
/// how many operations that were.
fn round(seed: u64, only: Option<&'static [u64]>) -> u64 {
    let mut random = Random::new(seed);
    let procs = [1, 2, 4, 8][random.below(4) as usize];
    let cancels = random.below(2) == 0;
    let threads = random.below(4);
    let world =
        Arc::new(World { rooms: Some(Semaphore::new(PERMITS)), rations: Some(Semaphore::new(0)), ..World::default() });
    builder(procs).build().unwrap().run(|| {
        let group = WaitGroup::new();
        let count = 2 + random.below(7) as usize;
        let mut tasks = Vec::new();
        for index in 0..count {
            let actor = Actor {
                world: world.clone(),
                random: Random::new(seed ^ (index as u64 + 1) << 40),
                steps: 1 + random.below(150),
                only,
                ended: Ended { world: world.clone(), group: group.clone() },
            };
            tasks.push(Task::start(random.below(6) < threads, || actor.run()));
        }
        let waits = {
            let (group, world) = (group.clone(), world.clone());
            gort::spawn(move || {
                group.wait();
                world.account.ended.load(SeqCst)
            })
        };
        drop(group);
        while !tasks.iter().all(Task::is_finished) {
            world.supply();
            if cancels
                && random.below(8) == 0
                && let Task::Coroutine(task) = &tasks[random.below(count as u64) as usize]
            {
                task.cancel();
            }
            gort::time::sleep(Duration::from_micros(random.below(100)));
        }
        assert_eq!(waits.join().unwrap(), count, "the group has waited for all");
        tasks.into_iter().for_each(|task| task.end_or_cancelled(cancels));
    });
    let account = &world.account;
    let left = |account: &[AtomicUsize; 2]| account[0].load(SeqCst) - account[1].load(SeqCst);
    assert!(!world.mutex.is_locked() && !world.rwlock.is_locked() && !world.items.is_locked());
    assert_eq!(*world.mutex.try_lock().expect("free"), account.locked.load(SeqCst));
    assert_eq!(*world.rwlock.try_write().expect("free"), [account.written.load(SeqCst); 2]);
    assert_eq!(*world.items.lock(), left(&account.items), "items");
    assert_eq!(world.letters.load(SeqCst), left(&account.letters), "letters");
    assert_eq!(world.rations().available_permits(), left(&account.rations), "rations");
    assert_eq!(world.rooms().available_permits(), PERMITS, "rooms");
    assert_eq!(account.in_rooms.load(SeqCst), 0);
    account.operations.load(SeqCst)
}

#[test]
fn random_programs_lose_nothing() {
    common::random_programs(5, |seed| _ = round(seed, None));
}

#[test]
#[ignore = "takes minutes"]
fn operations() {
    common::operations(&PRIMITIVES.map(|(name, _)| name), |at, seed| round(seed, Some(PRIMITIVES[at].1)));
}

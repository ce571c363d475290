//! What `sync_random`, `channel_random` and `select_random` leave out, under random programs: a program for each primitive.
//!
//! Goal: whatever coroutines and threads do at once, and whoever gives up by a deadline, is cancelled, panics, or drops
//! or closes what others use: no wake-up is lost, nothing is done twice that is to be done once, nobody gets what another
//! has, and everything is dropped. Method: a seed makes a few tasks, each a random sequence of operations on one object
//! of the primitive, or a few. What was done is noted, and compared with what is there in the end; all values are counted. Where one
//! might wait for ever, since the others have ended, the checker supplies what is waited for, but only if it has looked
//! that nothing of the kind is there: so one lost wake-up is enough for a round not to end.
//!
//! The seed is printed when a round fails or hangs. To run that round again:
//! `GORT_TEST_SEED=<seed> GORT_TEST_ROUNDS=1 cargo test --test primitives_random <primitive>`. The program is the same
//! then, the interleaving need not be.
//!
//! `cargo test --release --test primitives_random -- --ignored --nocapture` is the long run: by default ten million operations
//! of each primitive (`GORT_STRESS_OPERATIONS`), or of one (`GORT_STRESS_ONLY`).

mod common;

use common::{Meant, Random, Task, builder, panic_meant, quiet_panics, wait_until};
use gort::channel;
use gort::context::{CancelHandle, Context, ContextError};
use gort::group::Group;
use gort::sync::{
    Barrier, LazyLock, ObjectPool, ObjectPoolError, Once, OnceLock, OwnedSemaphorePermit, Pool, Pooled, ReentrantMutex,
    Semaphore, SingleFlight, Watch, WatchClosed,
};
use gort::time::{Ticker, Timer, timeout};
use gort::{Builder, SubmitError, WorkerPool};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// The random operations on one kind of thing.
trait Program: Send + Sync + Sized + 'static {
    fn new(random: &mut Random) -> Self;

    /// One operation.
    fn step(self: &Arc<Self>, me: &mut Me);

    /// Adds what somebody waits for and nobody has. Called by the checker, again and again, until all tasks have ended.
    fn supply(self: &Arc<Self>) {}

    /// All tasks have ended, but not the runtime.
    fn end(self: &Arc<Self>) {}

    /// Compares what was noted with what is there.
    fn check(self);
}

/// What a task has.
struct Me {
    random: Random,
    coroutine: bool,
}

impl Me {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    fn time(&mut self) -> Duration {
        Duration::from_micros(self.below(200))
    }

    /// What is done while something is held: mostly nothing.
    fn linger(&mut self) {
        match self.below(16) {
            0 | 1 => common::pass(),
            2 => gort::time::sleep(self.time() / 4),
            3 => common::compute(Duration::from_micros(5)),
            _ => {}
        }
    }
}

/// A value of which those alive are counted.
struct Value(Arc<AtomicUsize>);

impl Value {
    fn new(alive: &Arc<AtomicUsize>) -> Value {
        alive.fetch_add(1, SeqCst);
        Value(alive.clone())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Counts those who are in some part of the program; one that is unwound out of it is not.
struct In<'a>(&'a AtomicUsize);

impl In<'_> {
    fn enter(count: &AtomicUsize) -> In<'_> {
        count.fetch_add(1, SeqCst);
        In(count)
    }
}

impl Drop for In<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Runs `f`, which may panic as it is meant to: None then.
fn may_panic<T>(f: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Meant>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// Runs the program of a seed, and says how many operations that were.
fn round<P: Program>(seed: u64) -> u64 {
    quiet_panics();
    let mut random = Random::new(seed);
    let procs = [1, 2, 8][random.below(3) as usize];
    let homes = [None, None, Some(1), Some(3)][random.below(4) as usize];
    let cancels = random.below(2) == 0;
    let threads = random.below(3);
    let operations = Arc::new(AtomicU64::new(0));
    let mut runtime = builder(procs);
    if let Some(homes) = homes {
        runtime = runtime.homes(homes);
    }
    let program = Arc::new(P::new(&mut random));
    runtime.build().unwrap().run(|| {
        let mut tasks = Vec::new();
        for index in 0..2 + random.below(7) {
            let thread = random.below(6) < threads;
            let (program, operations) = (program.clone(), operations.clone());
            let mut me = Me { random: Random::new(seed ^ (index + 1) << 40), coroutine: !thread };
            let steps = 1 + random.below(300);
            let work = move || {
                for _ in 0..steps {
                    operations.fetch_add(1, SeqCst);
                    program.step(&mut me);
                }
            };
            tasks.push(if thread {
                Task::Thread(std::thread::spawn(work))
            } else {
                Task::Coroutine(gort::spawn(work))
            });
        }
        while !tasks.iter().all(Task::is_finished) {
            program.supply();
            if cancels && random.below(16) == 0 {
                tasks[random.below(tasks.len() as u64) as usize].cancel();
            }
            gort::time::sleep(Duration::from_micros(random.below(100)));
        }
        tasks.into_iter().for_each(|task| task.end_or_cancelled(cancels));
        program.end();
    });
    Arc::into_inner(program).expect("nobody else has it any more").check();
    operations.load(SeqCst)
}

// Once, OnceLock, LazyLock.

type Make = Box<dyn FnOnce() -> Value + Send>;

struct Cells {
    once: Once,
    once_done: AtomicUsize,
    lock: OnceLock<Value>,
    lock_made: AtomicUsize,
    lazy: LazyLock<Value, Make>,
    lazy_made: Arc<AtomicUsize>,
}

struct Onces {
    slots: [Mutex<Arc<Cells>>; 2],
    all: Mutex<Vec<Weak<Cells>>>,
    alive: Arc<AtomicUsize>,
}

impl Cells {
    fn new(alive: &Arc<AtomicUsize>) -> Arc<Cells> {
        let lazy_made = Arc::new(AtomicUsize::new(0));
        let (made, alive) = (lazy_made.clone(), alive.clone());
        let make = move || {
            common::pass();
            made.fetch_add(1, SeqCst);
            Value::new(&alive)
        };
        Arc::new(Cells {
            once: Once::new(),
            once_done: AtomicUsize::new(0),
            lock: OnceLock::new(),
            lock_made: AtomicUsize::new(0),
            lazy: LazyLock::new(Box::new(make)),
            lazy_made,
        })
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        let counts = [
            (self.once.is_completed(), &self.once_done),
            (self.lock.get().is_some(), &self.lock_made),
            (LazyLock::get(&self.lazy).is_some(), &*self.lazy_made),
        ];
        for (done, count) in counts {
            assert!(count.load(SeqCst) == usize::from(done) || std::thread::panicking());
        }
    }
}

impl Program for Onces {
    fn new(_: &mut Random) -> Onces {
        let alive = Arc::default();
        let slots = [(); 2].map(|()| Cells::new(&alive));
        let all = Mutex::new(slots.iter().map(Arc::downgrade).collect());
        Onces { slots: slots.map(Mutex::new), all, alive }
    }

    fn step(self: &Arc<Onces>, me: &mut Me) {
        let slot = &self.slots[me.below(2) as usize];
        let cells = slot.lock().unwrap().clone();
        let (time, panics) = (me.time(), me.one_in(3));
        match me.below(10) {
            0 | 1 => {
                let done = may_panic(|| {
                    cells.once.call_once(|| {
                        me.linger();
                        if panics {
                            panic_meant(1);
                        }
                        cells.once_done.fetch_add(1, SeqCst);
                    });
                });
                assert!(done.is_none() || (cells.once.is_completed() && cells.once_done.load(SeqCst) == 1));
            }
            2 | 3 => {
                let mut made = false;
                let value = may_panic(|| {
                    cells.lock.get_or_init(|| {
                        made = true;
                        me.linger();
                        if panics {
                            panic_meant(1);
                        }
                        cells.lock_made.fetch_add(1, SeqCst);
                        Value::new(&self.alive)
                    })
                });
                match value {
                    Some(value) => assert!(std::ptr::eq(value, cells.lock.get().expect("it is there"))),
                    None => assert!(made, "it was its own panic"),
                }
            }
            4 => {
                if cells.lock.set(Value::new(&self.alive)).is_ok() {
                    cells.lock_made.fetch_add(1, SeqCst);
                }
            }
            5 => {
                let failed = cells.lock.get_or_try_init(|| {
                    me.linger();
                    Err("no")
                });
                assert!(failed.is_err() || cells.lock.get().is_some());
            }
            6 => match cells.lock.wait_timeout(time) {
                Some(value) => assert!(std::ptr::eq(value, cells.lock.wait())),
                None => _ = cells.once.wait_timeout(time),
            },
            7 => {
                LazyLock::force(&cells.lazy);
                assert_eq!(cells.lazy_made.load(SeqCst), 1);
            }
            8 => {
                cells.lock.wait();
                cells.once.wait();
            }
            _ => {
                let new = Cells::new(&self.alive);
                self.all.lock().unwrap().push(Arc::downgrade(&new));
                let old = std::mem::replace(&mut *slot.lock().unwrap(), new);
                drop(old);
            }
        }
    }

    fn supply(self: &Arc<Onces>) {
        let all: Vec<_> = {
            let mut all = self.all.lock().unwrap();
            all.retain(|cells| cells.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        // Once for each: who is not woken by that waits for ever.
        for cells in all {
            cells.once.call_once(|| _ = cells.once_done.fetch_add(1, SeqCst));
            if cells.lock.set(Value::new(&self.alive)).is_ok() {
                cells.lock_made.fetch_add(1, SeqCst);
            }
        }
    }

    fn check(self) {
        let alive = self.alive.clone();
        drop(self);
        assert_eq!(alive.load(SeqCst), 0);
    }
}

// Barrier.

struct Barriers {
    barrier: Barrier,
    size: usize,
    waiting: AtomicUsize,
    come: AtomicUsize,
    passed: AtomicUsize,
    led: AtomicUsize,
    helpers: Mutex<Vec<gort::JoinHandle<()>>>,
}

impl Barriers {
    fn come(&self) {
        let waiting = In::enter(&self.waiting);
        self.come.fetch_add(1, SeqCst);
        let leads = self.barrier.wait().is_leader();
        let passed = self.passed.fetch_add(1, SeqCst) + 1;
        drop(waiting);
        self.led.fetch_add(usize::from(leads), SeqCst);
        assert!(passed <= self.come.load(SeqCst));
    }
}

impl Program for Barriers {
    fn new(random: &mut Random) -> Barriers {
        let size = 1 + random.below(3) as usize;
        let zero = || AtomicUsize::new(0);
        let (waiting, come, passed, led) = (zero(), zero(), zero(), zero());
        Barriers { barrier: Barrier::new(size), size, waiting, come, passed, led, helpers: Mutex::default() }
    }

    fn step(self: &Arc<Barriers>, me: &mut Me) {
        self.come();
        me.linger();
    }

    fn supply(self: &Arc<Barriers>) {
        // If as many wait as a round needs they have to come through by themselves.
        if self.waiting.load(SeqCst) < self.size {
            let program = self.clone();
            let mut helpers = self.helpers.lock().unwrap();
            helpers.retain(|helper| !helper.is_finished());
            helpers.push(gort::spawn(move || program.come()));
        }
    }

    fn end(self: &Arc<Barriers>) {
        for helper in std::mem::take(&mut *self.helpers.lock().unwrap()) {
            helper.cancel();
            if let Err(error) = helper.join() {
                assert!(error.is_cancelled(), "{error}");
            }
        }
    }

    fn check(self) {
        let (come, passed, led) = (self.come.into_inner(), self.passed.into_inner(), self.led.into_inner());
        // Some were cancelled when their round was over; their leader has gone through in any case.
        assert!(passed <= led * self.size && led * self.size <= come, "{come} have come, {passed} passed, {led} led");
    }
}

// ReentrantMutex.

#[derive(Default)]
struct Reentrant {
    mutex: ReentrantMutex<Cell<usize>>,
    locked: AtomicUsize,
}

impl Program for Reentrant {
    fn new(_: &mut Random) -> Reentrant {
        Reentrant::default()
    }

    fn step(self: &Arc<Reentrant>, me: &mut Me) {
        let time = me.time();
        let guard = match me.below(6) {
            0 => self.mutex.try_lock(),
            1 => self.mutex.try_lock_for(time),
            2 => self.mutex.try_lock_until(Instant::now() + time),
            _ => Some(self.mutex.lock()),
        };
        let Some(guard) = guard else { return };
        let mut guards = vec![guard];
        for _ in 0..me.below(3) {
            me.linger();
            guards.push(self.mutex.try_lock().expect("it has it"));
        }
        while let Some(guard) = guards.pop() {
            let value = guard.get() + 1;
            guard.set(value);
            self.locked.fetch_add(1, SeqCst);
            me.linger();
            assert_eq!(guard.get(), value, "somebody else was inside");
        }
    }

    fn check(self) {
        assert!(!self.mutex.is_locked());
        assert_eq!(self.mutex.into_inner().get(), self.locked.into_inner());
    }
}

// Watch.

struct Latest {
    number: u64,
    _value: Value,
}

struct Watches {
    watch: Watch<Latest>,
    changes: AtomicU64,
    /// What those who wait have seen.
    waiting: Mutex<Vec<u64>>,
    alive: Arc<AtomicUsize>,
}

struct Waits<'a>(&'a Watches, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock().unwrap();
        let at = waiting.iter().position(|seen| *seen == self.1).expect("noted");
        waiting.swap_remove(at);
    }
}

impl Watches {
    fn change(&self) {
        self.watch.modify(|latest| {
            self.changes.fetch_add(1, SeqCst);
            *latest = Latest { number: latest.number + 1, _value: Value::new(&self.alive) };
        });
    }

    fn waits(&self, seen: u64) -> Waits<'_> {
        self.waiting.lock().unwrap().push(seen);
        Waits(self, seen)
    }
}

impl Program for Watches {
    fn new(_: &mut Random) -> Watches {
        let alive = Arc::default();
        let latest = Latest { number: 0, _value: Value::new(&alive) };
        Watches { watch: Watch::new(latest), changes: AtomicU64::new(0), waiting: Mutex::default(), alive }
    }

    fn step(self: &Arc<Watches>, me: &mut Me) {
        let (time, start) = (me.time(), Instant::now());
        let mut watcher = self.watch.watcher();
        let seen = watcher.read().number;
        match me.below(8) {
            0..=2 => self.change(),
            3 => {
                let another = self.watch.clone();
                me.linger();
                assert!(another.read().number >= seen);
            }
            4 => match watcher.changed_timeout(time) {
                Ok(true) => assert!(watcher.read().number > seen),
                Ok(false) => assert!(start.elapsed() >= time),
                Err(WatchClosed { .. }) => unreachable!("it is not closed"),
            },
            5 => {
                let waits = self.waits(seen);
                watcher.changed().unwrap();
                drop(waits);
                assert!(watcher.read().number > seen);
            }
            6 => {
                let waits = self.waits(seen);
                let number = watcher.wait_for(|latest| latest.number > seen).unwrap().number;
                drop(waits);
                assert!(number > seen);
            }
            _ => {
                me.linger();
                if watcher.has_changed() {
                    assert_eq!(watcher.changed_timeout(Duration::ZERO), Ok(true));
                    assert!(watcher.read().number > seen);
                }
            }
        }
    }

    fn supply(self: &Arc<Watches>) {
        let latest = self.watch.read().number;
        if self.waiting.lock().unwrap().contains(&latest) {
            self.change();
        }
    }

    fn check(self) {
        let mut watcher = self.watch.watcher();
        assert_eq!(self.watch.read().number, self.changes.load(SeqCst));
        let alive = self.alive.clone();
        assert_eq!(alive.load(SeqCst), 1);
        drop(self);
        assert!(watcher.changed().is_err());
        drop(watcher);
        assert_eq!(alive.load(SeqCst), 0);
    }
}

// Pool.

struct Item {
    used: AtomicBool,
    _value: Value,
}

impl Item {
    fn new(alive: &Arc<AtomicUsize>) -> Item {
        Item { used: AtomicBool::new(false), _value: Value::new(alive) }
    }
}

/// An item that somebody has, and nobody else.
struct Used<G: std::ops::Deref<Target = Item>>(Option<G>);

impl<G: std::ops::Deref<Target = Item>> Used<G> {
    fn new(guard: G) -> Used<G> {
        assert!(!guard.used.swap(true, SeqCst), "somebody else has it");
        Used(Some(guard))
    }

    fn into_inner(mut self) -> G {
        let guard = self.0.take().expect("taken here only");
        guard.used.store(false, SeqCst);
        guard
    }
}

impl<G: std::ops::Deref<Target = Item>> Drop for Used<G> {
    fn drop(&mut self) {
        if let Some(guard) = &self.0 {
            guard.used.store(false, SeqCst);
        }
    }
}

struct Pools {
    pool: Pool<Item>,
    alive: Arc<AtomicUsize>,
}

impl Program for Pools {
    fn new(random: &mut Random) -> Pools {
        let alive = Arc::new(AtomicUsize::new(0));
        let (count, made) = (alive.clone(), AtomicUsize::new(0));
        let make = move || {
            if made.fetch_add(1, SeqCst) % 16 == 15 {
                panic_meant(1);
            }
            Item::new(&count)
        };
        let reset = |item: &mut Item| !*item.used.get_mut();
        let age = Duration::from_micros(random.below(200));
        Pools {
            pool: Pool::builder(make).capacity(1 + random.below(3) as usize).max_age(age).reset(reset).build(),
            alive,
        }
    }

    fn step(self: &Arc<Pools>, me: &mut Me) {
        match me.below(16) {
            0 => self.pool.put(Item::new(&self.alive)),
            1 => self.pool.trim(),
            kind => {
                let Some(item) = may_panic(|| self.pool.get()) else { return };
                let item = Used::new(item);
                me.linger();
                let item = item.into_inner();
                if kind == 2 {
                    drop(Pooled::detach(item));
                }
            }
        }
    }

    fn check(self) {
        assert_eq!(self.pool.len(), self.alive.load(SeqCst));
        let alive = self.alive.clone();
        drop(self);
        assert_eq!(alive.load(SeqCst), 0);
    }
}

// ObjectPool.

struct Objects {
    pool: Mutex<ObjectPool<Item, ()>>,
    size: usize,
    /// Of the pool that there is, how many have one of its objects: each pool has a count of its own.
    held: Mutex<Arc<AtomicUsize>>,
    alive: Arc<AtomicUsize>,
}

impl Objects {
    fn pool(size: usize, alive: &Arc<AtomicUsize>) -> ObjectPool<Item, ()> {
        let (count, made, checked) = (alive.clone(), AtomicUsize::new(0), AtomicUsize::new(0));
        let make = move || match made.fetch_add(1, SeqCst) % 16 {
            3 | 7 => Err(()),
            11 => panic_meant(1),
            _ => Ok(Item::new(&count)),
        };
        let check = move |item: &mut Item| {
            assert!(!*item.used.get_mut());
            checked.fetch_add(1, SeqCst) % 16 != 5
        };
        ObjectPool::builder(size, make).check(check).max_idle(Duration::from_micros(300)).build()
    }
}

impl Program for Objects {
    fn new(random: &mut Random) -> Objects {
        let (size, alive) = (1 + random.below(3) as usize, Arc::default());
        Objects { pool: Mutex::new(Objects::pool(size, &alive)), size, held: Mutex::default(), alive }
    }

    fn step(self: &Arc<Objects>, me: &mut Me) {
        let time = me.time();
        let (pool, held) = {
            let pool = self.pool.lock().unwrap();
            (pool.clone(), self.held.lock().unwrap().clone())
        };
        let object = may_panic(|| match me.below(64) {
            0 => {
                let mut current = self.pool.lock().unwrap();
                current.close();
                *current = Objects::pool(self.size, &self.alive);
                *self.held.lock().unwrap() = Arc::default();
                Err(ObjectPoolError::Closed)
            }
            1..=15 => pool.try_acquire(),
            16..=31 => pool.acquire_timeout(time),
            32..=39 => pool.acquire_deadline(Instant::now() + time),
            _ => pool.acquire(),
        });
        let object = match object {
            Some(Ok(object)) => object,
            Some(Err(ObjectPoolError::Closed)) => return assert!(pool.is_closed()),
            _ => return,
        };
        // Declared in this order: who is cancelled while he lingers is counted out before the object goes back.
        let item = Used::new(object);
        let held = In::enter(&held);
        assert!(held.0.load(SeqCst) <= self.size, "more than there may be");
        me.linger();
        let object = item.into_inner();
        drop(held);
        match me.below(8) {
            0 => object.discard(),
            1 => drop(object.detach()),
            _ => {}
        }
    }

    fn check(self) {
        let pool = self.pool.into_inner().unwrap();
        let mut objects = Vec::new();
        while objects.len() < self.size {
            match may_panic(|| pool.try_acquire()) {
                Some(Ok(object)) => objects.push(object),
                Some(Err(ObjectPoolError::Make(()))) | None => {}
                Some(Err(error)) => panic!("not all have come back: {error:?}"),
            }
        }
        assert!(matches!(pool.try_acquire(), Err(ObjectPoolError::Timeout)));
        pool.close();
        drop(objects);
        assert!(matches!(pool.acquire(), Err(ObjectPoolError::Closed)));
        drop(pool);
        assert_eq!(self.alive.load(SeqCst), 0);
    }
}

// Semaphores that are closed, and permits that are split, merged and sent.

const PERMITS: usize = 4;

struct Permits {
    semaphore: Mutex<(Arc<Semaphore>, Arc<AtomicUsize>)>,
    left: Mutex<Vec<OwnedSemaphorePermit>>,
}

impl Permits {
    fn fresh() -> (Arc<Semaphore>, Arc<AtomicUsize>) {
        (Arc::new(Semaphore::new(PERMITS)), Arc::default())
    }
}

impl Program for Permits {
    fn new(_: &mut Random) -> Permits {
        Permits { semaphore: Mutex::new(Permits::fresh()), left: Mutex::default() }
    }

    fn step(self: &Arc<Permits>, me: &mut Me) {
        let (time, count) = (me.time(), 1 + me.below(PERMITS as u64) as usize);
        let (semaphore, inside) = self.semaphore.lock().unwrap().clone();
        let permit = match me.below(32) {
            0 => {
                let old = std::mem::replace(&mut *self.semaphore.lock().unwrap(), Permits::fresh());
                return old.0.close();
            }
            // Left by others who got them of whichever semaphore.
            1..=3 => {
                let left = self.left.lock().unwrap().pop();
                return drop(left);
            }
            4..=7 => semaphore.try_acquire_many_owned(count).ok(),
            8..=15 => semaphore.acquire_many_owned_timeout(count, time).ok(),
            _ => semaphore.clone().acquire_many_owned(count).ok(),
        };
        let Some(mut permit) = permit else { return };
        // Declared before those who are counted: who is cancelled while he lingers is counted out before either part goes back.
        let half;
        let entered: Vec<_> = (0..count).map(|_| In::enter(&inside)).collect();
        assert!(inside.load(SeqCst) <= PERMITS);
        me.linger();
        half = permit.split(count / 2);
        me.linger();
        drop(entered);
        match (half, me.below(3)) {
            (Some(half), 0) if half.count() > 0 => permit.merge(half),
            (Some(half), 1) => {
                drop(permit);
                self.left.lock().unwrap().push(half);
            }
            _ => {}
        }
    }

    fn supply(self: &Arc<Permits>) {
        let left = std::mem::take(&mut *self.left.lock().unwrap());
        drop(left);
    }

    fn check(self) {
        drop(self.left);
        let (semaphore, inside) = self.semaphore.into_inner().unwrap();
        assert_eq!((semaphore.available_permits(), inside.load(SeqCst)), (PERMITS, 0));
    }
}

// SingleFlight.

#[derive(Default)]
struct Flights {
    flights: SingleFlight<usize, Arc<(usize, Value)>>,
    inside: [AtomicUsize; 2],
    begun: [AtomicUsize; 2],
    returned: [AtomicUsize; 2],
    alive: Arc<AtomicUsize>,
}

impl Program for Flights {
    fn new(_: &mut Random) -> Flights {
        Flights::default()
    }

    fn step(self: &Arc<Flights>, me: &mut Me) {
        if me.one_in(8) {
            // Of the third key only that nothing is left of it is known.
            if me.one_in(2) {
                return self.flights.forget(&2);
            }
            self.flights.run(2, || {
                me.linger();
                Arc::new((0, Value::new(&self.alive)))
            });
            return;
        }
        let (key, panics) = (me.below(2) as usize, me.one_in(8));
        let before = self.returned[key].load(SeqCst);
        let mut mine = 0;
        let value = may_panic(|| {
            self.flights.run(key, || {
                let inside = In::enter(&self.inside[key]);
                assert_eq!(inside.0.load(SeqCst), 1, "two calls at once");
                mine = self.begun[key].fetch_add(1, SeqCst) + 1;
                me.linger();
                if panics {
                    panic_meant(1);
                }
                Arc::new((mine, Value::new(&self.alive)))
            })
        });
        match value {
            Some(value) => {
                assert!(value.0 > before, "it had returned before");
                if mine > 0 {
                    assert_eq!(value.0, mine);
                    self.returned[key].fetch_max(mine, SeqCst);
                }
            }
            None => assert!(panics && mine > 0, "it was its own panic"),
        }
    }

    fn check(self) {
        assert_eq!(format!("{:?}", self.flights), "SingleFlight { calls: 0, .. }");
        assert_eq!(self.alive.load(SeqCst), 0);
    }
}

// Timers.

struct Timers {
    timer: Timer,
    waiting: AtomicUsize,
    ticker: Ticker,
    /// Closures that were given to `after_func`: made, and what became of them.
    made: AtomicUsize,
    stopped: AtomicUsize,
    ran: AtomicUsize,
    alive: Arc<AtomicUsize>,
}

impl Program for Timers {
    fn new(random: &mut Random) -> Timers {
        let zero = || AtomicUsize::new(0);
        Timers {
            timer: Timer::new(Duration::from_micros(random.below(500))),
            waiting: zero(),
            ticker: Ticker::new(Duration::from_micros(50)),
            made: zero(),
            stopped: zero(),
            ran: zero(),
            alive: Arc::default(),
        }
    }

    fn step(self: &Arc<Timers>, me: &mut Me) {
        let (time, start) = (me.time(), Instant::now());
        match me.below(16) {
            0 => _ = self.timer.reset(time),
            1 => _ = self.timer.stop(),
            2 => {
                let waiting = In::enter(&self.waiting);
                self.timer.wait();
                drop(waiting);
            }
            3 => match timeout(time, || self.timer.wait()) {
                Ok(()) => {}
                Err(_) => assert!(start.elapsed() >= time),
            },
            4 => match timeout(time, || gort::time::sleep(time * 2)) {
                Ok(()) => assert!(start.elapsed() >= time * 2),
                Err(_) => assert!(start.elapsed() >= time),
            },
            5 => {
                gort::time::sleep(time);
                assert!(start.elapsed() >= time);
            }
            6 => {
                let due = channel::after(time).recv().unwrap();
                assert!(due >= start + time && start.elapsed() >= time);
            }
            7 => {
                let ticks = channel::tick(Duration::from_micros(20));
                let first = ticks.recv().unwrap();
                assert!(first >= start);
                if let Ok(second) = ticks.recv_timeout(time) {
                    assert!(second > first);
                }
            }
            8 => {
                let never = channel::never::<()>();
                gort::select! {
                    recv(never) -> _ => unreachable!("nobody sends"),
                    recv(channel::at(start + time)) -> due => assert!(due.unwrap() >= start + time),
                    wait(self.timer) => {}
                    wait(self.ticker) => _ = self.ticker.try_tick(),
                }
            }
            9 => _ = self.ticker.tick(),
            10 => _ = self.ticker.try_tick(),
            11 => match me.below(4) {
                0 => self.ticker.stop(),
                _ => self.ticker.reset(Duration::from_micros(20 + me.below(100))),
            },
            // A plain thread has no runtime to start one in.
            _ if !me.coroutine => common::pass(),
            kind => {
                let (program, value) = (self.clone(), Value::new(&self.alive));
                self.made.fetch_add(1, SeqCst);
                let mut bell = Timer::after_func(time, move || {
                    let _value = value;
                    assert!(kind != 13 || start.elapsed() >= time);
                    program.ran.fetch_add(1, SeqCst);
                });
                match kind {
                    12 => {
                        if bell.stop() {
                            self.stopped.fetch_add(1, SeqCst);
                        }
                        assert!(!bell.is_pending());
                    }
                    13 => {}
                    14 => {
                        let put_off = bell.reset(me.time());
                        // It may be cancelled here, and then it rings.
                        me.linger();
                        if bell.stop() {
                            assert!(put_off);
                            self.stopped.fetch_add(1, SeqCst);
                        }
                    }
                    _ => {
                        let bell = Task::<bool>::start_alike(move || bell.stop());
                        if gort::shield(|| bell.join()) {
                            self.stopped.fetch_add(1, SeqCst);
                        }
                    }
                }
            }
        }
    }

    fn supply(self: &Arc<Timers>) {
        // One that has rung has to have woken all; one that was stopped rings for nobody.
        if self.waiting.load(SeqCst) > 0 && !self.timer.has_fired() {
            self.timer.reset(Duration::ZERO);
        }
    }

    fn end(self: &Arc<Timers>) {
        let ended = || self.ran.load(SeqCst) + self.stopped.load(SeqCst);
        wait_until("each closure has run or was stopped", || ended() == self.made.load(SeqCst));
        wait_until("all closures are gone", || Arc::strong_count(self) == 1 && self.alive.load(SeqCst) == 0);
        assert_eq!(ended(), self.made.load(SeqCst));
    }

    fn check(self) {}
}

// Contexts.

struct Contexts {
    slots: [Mutex<(Context, CancelHandle)>; 3],
    /// How those who wait can be ended.
    waiting: Mutex<Vec<CancelHandle>>,
    made: AtomicUsize,
    stopped: AtomicUsize,
    ran: AtomicUsize,
    alive: Arc<AtomicUsize>,
}

impl Program for Contexts {
    fn new(_: &mut Random) -> Contexts {
        let zero = || AtomicUsize::new(0);
        let slots = [(); 3].map(|()| Mutex::new(Context::background().with_cancel()));
        Contexts { slots, waiting: Mutex::default(), made: zero(), stopped: zero(), ran: zero(), alive: Arc::default() }
    }

    fn step(self: &Arc<Contexts>, me: &mut Me) {
        let (time, start) = (me.time(), Instant::now());
        let slot = &self.slots[me.below(3) as usize];
        let (parent, cancel) = slot.lock().unwrap().clone();
        let (child, cancel_child) = match me.below(4) {
            0 => parent.with_timeout(time),
            1 => parent.with_value(Arc::new(Value::new(&self.alive))).with_cancel(),
            2 if me.one_in(4) => parent.without_cancel().with_timeout(time),
            _ => parent.with_cancel(),
        };
        let forget = |handle: CancelHandle| self.waiting.lock().unwrap().push(handle);
        match me.below(10) {
            0 | 1 => {
                let old = std::mem::replace(&mut *slot.lock().unwrap(), (child, cancel_child));
                drop(old);
            }
            2 => {
                // Such as were cancelled stay so; another takes the place.
                *slot.lock().unwrap() = Context::background().with_cancel();
                cancel.cancel();
                assert!(parent.err().is_some());
                let heir = parent.with_cancel().0;
                assert_eq!(heir.err(), parent.err());
            }
            3 => match child.done().wait_timeout(time) {
                Some(error) => assert_eq!(child.err(), Some(error)),
                None => assert!(start.elapsed() >= time),
            },
            4 | 5 => {
                forget(cancel_child);
                assert_eq!(Some(child.done().wait()), child.err());
            }
            6 => {
                forget(cancel_child);
                let parked = child.bound(|| {
                    loop {
                        if me.coroutine { gort::park() } else { gort::time::sleep(Duration::from_secs(60)) }
                    }
                });
                let _: Result<(), ContextError> = parked.map(|never: std::convert::Infallible| match never {});
                assert!(child.err().is_some());
            }
            7 => {
                forget(cancel_child);
                gort::select! { wait(child) => {} }
                assert!(child.err().is_some());
            }
            8 if me.coroutine => {
                let (program, value) = (self.clone(), Value::new(&self.alive));
                self.made.fetch_add(1, SeqCst);
                let func = child.after_func(move || {
                    let _value = value;
                    program.ran.fetch_add(1, SeqCst);
                });
                if me.one_in(2) && func.stop() {
                    self.stopped.fetch_add(1, SeqCst);
                }
                cancel_child.cancel();
            }
            _ => {
                let on_drop = cancel_child.on_drop();
                me.linger();
                drop(on_drop);
                assert!(child.err().is_some());
            }
        }
    }

    fn supply(self: &Arc<Contexts>) {
        // Each is ended once: who is not woken by that waits for ever.
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.iter().for_each(|handle| _ = handle.cancel());
    }

    fn end(self: &Arc<Contexts>) {
        let ended = || self.ran.load(SeqCst) + self.stopped.load(SeqCst);
        wait_until("each closure has run or was stopped", || ended() == self.made.load(SeqCst));
        wait_until("all closures are gone", || Arc::strong_count(self) == 1);
    }

    fn check(self) {
        let alive = self.alive.clone();
        assert_eq!(self.ran.load(SeqCst) + self.stopped.load(SeqCst), self.made.load(SeqCst));
        drop(self);
        assert_eq!(alive.load(SeqCst), 0);
    }
}

// Groups, scopes, `join!` and `race!`.

#[derive(Default)]
struct Groups {
    alive: Arc<AtomicUsize>,
}

/// How a member ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    Well,
    Fails,
    Panics,
    Parks,
}

#[derive(PartialEq, Eq, Debug)]
enum Failed {
    Member,
    Ended(ContextError),
}

impl From<ContextError> for Failed {
    fn from(error: ContextError) -> Failed {
        Failed::Ended(error)
    }
}

impl Groups {
    fn member(ends: Ends, me: &mut Me, value: Value) -> impl FnOnce() -> Result<(), Failed> + Send + 'static {
        let mut random = Me { random: me.random.clone(), coroutine: true };
        me.below(2);
        move || {
            let _value = value;
            random.linger();
            match ends {
                Ends::Well => Ok(()),
                Ends::Fails => Err(Failed::Member),
                Ends::Panics => panic_meant(1),
                Ends::Parks => loop {
                    gort::park();
                },
            }
        }
    }

    fn builder(me: &mut Me) -> Builder {
        match me.below(3) {
            0 => Builder::new().name("member"),
            1 => Builder::new().stack_size(64 << 10),
            _ => Builder::new(),
        }
    }
}

impl Program for Groups {
    fn new(_: &mut Random) -> Groups {
        Groups::default()
    }

    fn step(self: &Arc<Groups>, me: &mut Me) {
        if !me.coroutine {
            // It has no runtime to start members in.
            return common::pass();
        }
        // Its own, since others of the program go on.
        let alive: Arc<AtomicUsize> = Arc::default();
        let all = In::enter(&self.alive);
        let mut ends: Vec<_> = (0..me.below(4))
            .map(|_| [Ends::Well, Ends::Well, Ends::Fails, Ends::Panics, Ends::Parks][me.below(5) as usize])
            .collect();
        let how = me.below(8);
        // Somebody has to end those who park. Who waits for his turn behind them ends nobody.
        let limit = me.one_in(3) && !ends.contains(&Ends::Parks);
        if how < 6 && ends.contains(&Ends::Parks) && !ends.iter().any(|ends| [Ends::Fails, Ends::Panics].contains(ends))
        {
            ends.push(Ends::Fails);
        }
        let (panics, fails) = (ends.contains(&Ends::Panics), ends.contains(&Ends::Fails));
        let judge = |outcome: Option<Result<(), Failed>>| match outcome {
            None => assert!(panics),
            Some(Ok(())) => assert!(!panics && !fails, "{ends:?}"),
            // It may have come first and have ended the one that would have panicked.
            Some(Err(_)) => assert!(fails, "{ends:?}"),
        };
        if how < 3 {
            let group = Group::<Failed>::new();
            let outcome = may_panic(|| {
                group.scope(|group| {
                    for &ends in &ends {
                        let member = Groups::member(ends, me, Value::new(&alive));
                        group.go(member);
                    }
                    Ok(())
                })
            });
            // Its body may have been ended by a member, before it had started all.
            match outcome {
                None => assert!(panics),
                Some(Ok(())) => assert!(!panics && !fails, "{ends:?}"),
                Some(Err(_)) => assert!(fails || panics),
            }
            assert_eq!(alive.load(SeqCst), 0);
            return drop(all);
        }
        let mut group = Group::<Failed>::new();
        if limit {
            group = group.limit(2);
        }
        let mut refused = false;
        for &ends in &ends {
            let member = Groups::member(ends, me, Value::new(&alive));
            match me.below(3) {
                0 => refused |= group.try_go(member).is_err(),
                1 => group.go_as(Groups::builder(me), member).unwrap(),
                _ => group.go(member),
            }
        }
        match how {
            3..=5 => {
                let outcome = may_panic(|| group.wait());
                if !refused {
                    judge(outcome);
                }
                assert_eq!(alive.load(SeqCst), 0);
            }
            6 => {
                group.cancel();
                _ = may_panic(|| group.wait());
                assert_eq!(alive.load(SeqCst), 0);
            }
            _ => {
                drop(group);
                wait_until("all members have ended", || alive.load(SeqCst) == 0);
            }
        }
        let (first, second) = gort::join!(|| me.below(100), || 7);
        assert!(first < 100 && second == 7);
        let winner = gort::race!(
            || {
                gort::yield_now();
                1
            },
            || {
                gort::park();
                2
            },
        );
        assert_eq!(winner, 1);
        drop(all);
    }

    fn check(self) {
        assert_eq!(self.alive.load(SeqCst), 0);
    }
}

// WorkerPool.

struct Workers {
    pool: Mutex<Arc<WorkerPool>>,
    closed: Mutex<Vec<Arc<WorkerPool>>>,
    accepted: AtomicUsize,
    ran: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

impl Workers {
    fn pool(random: &mut Random) -> Arc<WorkerPool> {
        let (workers, queue) = (1 + random.below(3) as usize, random.below(3) as usize);
        let idle = Duration::from_micros(random.below(300));
        Arc::new(WorkerPool::builder().workers(workers).queue(queue).idle(idle).build())
    }
}

impl Program for Workers {
    fn new(random: &mut Random) -> Workers {
        Workers {
            pool: Mutex::new(Workers::pool(random)),
            closed: Mutex::default(),
            accepted: AtomicUsize::new(0),
            ran: Arc::default(),
            alive: Arc::default(),
        }
    }

    fn step(self: &Arc<Workers>, me: &mut Me) {
        if !me.coroutine {
            return common::pass();
        }
        let pool = self.pool.lock().unwrap().clone();
        if me.one_in(64) {
            let new = Workers::pool(&mut me.random);
            pool.close();
            *self.pool.lock().unwrap() = new;
            self.closed.lock().unwrap().push(pool);
            return;
        }
        let (time, number, panics) = (me.time(), me.below(1000), me.one_in(16));
        let mut random = Me { random: me.random.clone(), coroutine: true };
        let (ran, value) = (self.ran.clone(), Value::new(&self.alive));
        let job = move || {
            let _value = value;
            random.linger();
            ran.fetch_add(1, SeqCst);
            if panics {
                panic_meant(1);
            }
            number * 2
        };
        let handle = match me.below(8) {
            0 | 1 => pool.try_submit(job),
            2 | 3 => pool.submit_timeout(job, time),
            _ => pool.submit(job),
        };
        let handle = match handle {
            Ok(handle) => handle,
            Err(SubmitError::Closed(job)) => {
                drop(job);
                // It was closed when the call looked, and stays so.
                return assert!(pool.try_submit(|| ()).is_err());
            }
            Err(_) => return,
        };
        self.accepted.fetch_add(1, SeqCst);
        let check = |outcome: Result<u64, gort::JoinError>| match outcome {
            Ok(value) => assert!(value == number * 2 && !panics),
            Err(error) => assert!(error.is_panic() && panics, "{error}"),
        };
        match me.below(3) {
            0 => drop(handle),
            1 => match handle.join_timeout(time) {
                Ok(outcome) => check(outcome),
                Err(handle) => check(handle.join()),
            },
            _ => check(handle.join()),
        }
    }

    fn end(self: &Arc<Workers>) {
        let last = self.pool.lock().unwrap().clone();
        last.close();
        wait_until("all jobs are done", || self.ran.load(SeqCst) == self.accepted.load(SeqCst));
        wait_until("all jobs are gone", || self.alive.load(SeqCst) == 0);
        let closed = std::mem::take(&mut *self.closed.lock().unwrap());
        for pool in closed.into_iter().chain([last]) {
            wait_until("all workers have ended", || pool.workers() == 0);
        }
    }

    fn check(self) {
        assert_eq!(self.ran.load(SeqCst), self.accepted.load(SeqCst));
    }
}

macro_rules! primitives {
    ($($name:ident $program:ty)*) => {
        $(
            #[test]
            fn $name() {
                common::random_programs(2, |seed| _ = round::<$program>(seed));
            }
        )*

        #[test]
        #[ignore = "takes minutes"]
        fn operations() {
            let rounds: &[(&str, fn(u64) -> u64)] = &[$( (stringify!($name), round::<$program>) ),*];
            common::operations(&rounds.iter().map(|round| round.0).collect::<Vec<_>>(), |at, seed| rounds[at].1(seed));
        }
    };
}

primitives! {
    once Onces
    barrier Barriers
    reentrant_mutex Reentrant
    watch Watches
    pool Pools
    object_pool Objects
    permits Permits
    single_flight Flights
    timers Timers
    contexts Contexts
    groups Groups
    worker_pool Workers
}

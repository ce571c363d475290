//! Timers, tickers, timeouts: when they come, what stops them, what they leave alone.

mod common;

use common::{Counts, Meant, Random, builder, everywhere, factor, panic_meant, wait_until, with_each_procs};
use gort::channel::{self, Waitable};
use gort::sync::{Condvar, Mutex, Notify, ReentrantMutex, RwLock, Semaphore};
use gort::time::{AfterFunc, Deadline, Elapsed, MissedTicks, Ticker, Timer, sleep, timeout, timeout_at};
use gort::{go, select, shield};
use std::io::Read;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(1000);

#[test]
fn again_with_fixed_homes() {
    common::again_with_fixed_homes();
}

fn counter() -> (Arc<AtomicUsize>, Counts) {
    let count = Arc::new(AtomicUsize::new(0));
    (count.clone(), Counts(count))
}

#[test]
fn auto_traits() {
    fn all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    fn sent<T: Send + Sync>() {}
    all::<Timer>();
    all::<Ticker>();
    all::<Deadline>();
    all::<Elapsed>();
    sent::<AfterFunc>();
}

#[test]
fn a_timer_fires_once_its_time_has_come_and_not_before() {
    everywhere(|| {
        let start = Instant::now();
        let timer = Timer::new(SHORT);
        timer.wait();
        assert!(start.elapsed() >= SHORT);
        assert!(timer.has_fired());
        timer.wait();
        assert!(!timer.stop());
        assert!(!timer.has_fired());
        assert!(!timer.reset(LONG));
        assert!(!timer.has_fired());
        assert!(timer.reset(SHORT));
        select! {
            wait(timer) => {}
            default(LONG) => unreachable!(),
        }
        assert!(start.elapsed() >= 2 * SHORT);
        assert!(Timer::new(Duration::ZERO).has_fired());
        assert!(!Timer::new(Duration::MAX).has_fired());
    });
}

#[test]
fn who_waits_follows_a_timer_that_is_moved() {
    with_each_procs(|runtime| {
        for threads in [false, true] {
            let timer = Arc::new(Timer::new(LONG));
            let woken = Arc::new(AtomicUsize::new(0));
            let wait = |selects: bool| {
                let (timer, woken) = (timer.clone(), woken.clone());
                move || {
                    if selects {
                        select! { wait(timer) => {} }
                    } else {
                        timer.wait();
                    }
                    assert!(timer.has_fired());
                    woken.fetch_add(1, SeqCst);
                }
            };
            let (mut handles, mut plain) = (Vec::new(), Vec::new());
            for i in 0..20 {
                if threads && i % 4 < 2 {
                    plain.push(std::thread::spawn(wait(i % 2 == 0)));
                } else {
                    handles.push(runtime.spawn(wait(i % 2 == 0)));
                }
            }
            sleep(SHORT);
            assert!(timer.reset(LONG / 2));
            assert!(timer.stop());
            assert!(!timer.reset(LONG));
            sleep(SHORT);
            assert_eq!(woken.load(SeqCst), 0);
            assert!(timer.reset(SHORT));
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            plain.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(woken.load(SeqCst), 20);
        }
    });
}

#[test]
fn of_stop_and_the_firing_one_comes_first() {
    // An after-func either runs or was stopped, whatever the moment; the closure goes once in any case.
    let seed = common::seed();
    with_each_procs(|runtime| {
        let mut random = Random::new(seed);
        for plain in [false, true] {
            let (mut ran, mut stopped) = (0, 0);
            for _ in 0..500 * factor() {
                let (drops, counts) = counter();
                let runs = Arc::new(AtomicUsize::new(0));
                let runs2 = runs.clone();
                let mut bell = runtime.run(move || {
                    Timer::after_func(Duration::from_micros(50), move || {
                        let _counts = counts;
                        runs2.fetch_add(1, SeqCst);
                    })
                });
                let (pause, reset) = (Duration::from_micros(random.below(150)), random.below(3) == 0);
                let mut stop = move || {
                    common::compute(pause);
                    let pending = reset && bell.reset(Duration::from_micros(20));
                    if pending {
                        common::compute(pause / 3);
                    }
                    bell.stop()
                };
                let was_stopped = if plain { stop() } else { runtime.run(stop) };
                if was_stopped {
                    stopped += 1;
                } else {
                    ran += 1;
                }
                wait_until("the closure has gone", || drops.load(SeqCst) == 1);
                assert_eq!(runs.load(SeqCst), usize::from(!was_stopped));
            }
            eprintln!("ran {ran}, stopped {stopped}");
        }
        wait_until("nobody is left", || runtime.live() == 0);
    });
}

#[test]
fn an_after_func_is_a_coroutine_like_others() {
    with_each_procs(|runtime| {
        // It may park, panic, and be the end of its runtime's wait; a runtime that ends drops what is to come.
        let (drops, counts) = counter();
        let panics = Arc::new(AtomicBool::new(false));
        let panics2 = panics.clone();
        runtime.run(move || {
            let (sender, receiver) = channel::bounded(0);
            drop(Timer::after_func(SHORT, move || {
                sleep(SHORT);
                sender.send(gort::try_current().is_some()).unwrap();
            }));
            assert_eq!(receiver.recv(), Ok(true));
            Timer::after_func(Duration::ZERO, move || {
                panics2.store(true, SeqCst);
                panic_meant(1)
            });
            Timer::after_func(LONG, move || drop(counts));
        });
        wait_until("it has panicked", || panics.load(SeqCst));
        let (more, counts) = counter();
        let other = builder(2).build().unwrap();
        let bell = other.run(move || Timer::after_func(LONG, move || drop(counts)));
        drop(other);
        assert_eq!(more.load(SeqCst), 1);
        assert!(!bell.stop());
        assert_eq!(drops.load(SeqCst), 0);
    });
    let outside = catch_unwind(|| Timer::after_func(SHORT, || ()));
    assert!(outside.is_err(), "outside a runtime there is nobody to run it");
}

#[test]
fn stopped_after_funcs_leave_nothing() {
    with_each_procs(|runtime| {
        let (drops, counts) = counter();
        let counts = Arc::new(counts);
        runtime.run(move || {
            for _ in 0..100_000 {
                let counts = counts.clone();
                assert!(Timer::after_func(LONG, move || drop(counts)).stop());
            }
            assert_eq!(Arc::strong_count(&counts), 1);
        });
        assert_eq!(drops.load(SeqCst), 1);
        wait_until("nobody is left", || runtime.live() == 0);
    });
}

#[test]
fn a_ticker_ticks_in_each_period() {
    everywhere(|| {
        let (start, ticker) = (Instant::now(), Ticker::new(SHORT));
        let mut last = start;
        for n in 1..=5 {
            let due = ticker.tick().unwrap();
            assert!(due >= start + n * SHORT && due > last && due <= Instant::now());
            last = due;
        }
        ticker.stop();
        assert!(ticker.tick().is_none() && ticker.try_tick().is_none());
        let start = Instant::now();
        ticker.reset(2 * SHORT);
        select! { wait(ticker) => {} }
        assert!(start.elapsed() >= 2 * SHORT);
        assert!(ticker.try_tick().is_some());
    });
}

#[test]
fn missed_ticks_are_dealt_with_as_asked() {
    let period = Duration::from_millis(20);
    let missed = |what| {
        let (start, ticker) = (Instant::now(), Ticker::new(period).missed(what));
        std::thread::sleep(period * 7 / 2);
        (start, ticker)
    };
    // At once, all that are missed, with the times when they were due.
    let (start, ticker) = missed(MissedTicks::Burst);
    for n in 1..=3 {
        let due = ticker.try_tick().expect("missed");
        assert!(due >= start + n * period && due < start + n * period + period / 2, "{n}: {:?}", due - start);
    }
    // One at once; the next at a multiple.
    let (start, ticker) = missed(MissedTicks::Skip);
    assert!(ticker.try_tick().is_some());
    let next = ticker.tick().unwrap() - start;
    let part = next.as_micros() % period.as_micros();
    assert!(next > period * 7 / 2 && part < period.as_micros() / 2, "{next:?}");
    // One at once; the next a period later.
    let (_, ticker) = missed(MissedTicks::Delay);
    let taken = Instant::now();
    assert!(ticker.try_tick().is_some());
    assert!(ticker.tick().unwrap() >= taken + period);
    assert!(catch_unwind(|| Ticker::new(Duration::ZERO)).is_err());
    // It goes on with the period that it had.
    let ticker = Ticker::new(SHORT);
    assert!(catch_unwind(AssertUnwindSafe(|| ticker.reset(Duration::ZERO))).is_err());
    assert!(ticker.tick().is_some());
}

#[test]
fn each_tick_goes_to_one() {
    with_each_procs(|runtime| {
        let start = Instant::now();
        let ticker = Arc::new(Ticker::new(Duration::from_micros(200)));
        let ticks = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..10)
            .map(|_| {
                let (ticker, ticks) = (ticker.clone(), ticks.clone());
                runtime.spawn(move || {
                    while ticker.tick().is_some() {
                        ticks.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        wait_until("some ticks", || ticks.load(SeqCst) >= 20);
        // Read before the clock: those that come in between are not counted.
        let ticks = ticks.load(SeqCst) as u128;
        let most = start.elapsed().as_micros() / 200 + 1;
        assert!(ticks <= most, "{ticks} of {most}");
        ticker.stop();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn a_timeout_ends_every_kind_of_wait() {
    everywhere(|| {
        let in_runtime = gort::try_current().is_some();
        let (drops, counts) = counter();
        let mut counts = Some(counts);
        let mut ends = |what: &str, f: &mut dyn FnMut()| {
            eprintln!("{what}");
            let (counts, start) = (counts.take(), Instant::now());
            let result = timeout(SHORT, || {
                let _counts = counts;
                f();
                unreachable!("{what} returned");
            });
            assert_eq!(result, Err::<(), _>(Elapsed), "{what}");
            assert!(start.elapsed() >= SHORT, "{what}");
            assert!(!std::thread::panicking());
        };
        let (sender, receiver) = channel::bounded::<String>(0);
        ends("sleep", &mut || sleep(LONG));
        assert_eq!(drops.load(SeqCst), 1);
        ends("recv", &mut || drop(receiver.recv()));
        ends("recv_timeout", &mut || drop(receiver.recv_timeout(LONG)));
        ends("send", &mut || drop(sender.send("lost".into())));
        ends("select", &mut || select! { recv(receiver) -> _ => {}, send(sender, "x".into()) -> _ => {} });
        assert!(receiver.is_empty() && receiver.try_recv().is_err());
        let mutex = Mutex::new(());
        let guard = mutex.lock();
        ends("mutex", &mut || drop(mutex.lock()));
        ends("mutex with a time", &mut || drop(mutex.try_lock_for(LONG)));
        drop(guard);
        ends("condvar", &mut || drop(Condvar::new().wait(mutex.lock())));
        drop(mutex.try_lock().expect("taken again and dropped by the unwinding"));
        let lock = RwLock::new(());
        let guard = lock.read();
        ends("rwlock", &mut || drop(lock.write()));
        ends("rwlock with a time", &mut || drop(lock.try_write_for(LONG)));
        drop(guard);
        let guard = lock.write();
        ends("rwlock to read", &mut || drop(lock.read()));
        ends("rwlock to read again", &mut || drop(lock.read_recursive()));
        ends("rwlock to read with a time", &mut || drop(lock.try_read_for(LONG)));
        drop(guard);
        let (mutex, has, looked) = (ReentrantMutex::new(()), AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _guard = mutex.lock();
                has.store(true, SeqCst);
                wait_until("it was looked at", || looked.load(SeqCst));
            });
            wait_until("the other has it", || has.load(SeqCst));
            ends("reentrant mutex", &mut || drop(mutex.lock()));
            ends("reentrant mutex with a time", &mut || drop(mutex.try_lock_for(LONG)));
            looked.store(true, SeqCst);
        });
        ends("semaphore", &mut || drop(Semaphore::new(1).acquire_many(2)));
        ends("notify", &mut || Notify::new().wait());
        ends("timer", &mut || Timer::new(LONG).wait());
        let (mut reader, _writer) = gort::net::UnixStream::pair().unwrap();
        ends("read", &mut || drop(reader.read(&mut [0])));
        if in_runtime {
            ends("park", &mut gort::park);
            ends("join", &mut || drop(go!(|| sleep(SHORT * 100)).join()));
            ends("yield_now", &mut || {
                loop {
                    gort::yield_now();
                }
            });
        }
    });
}

#[test]
fn what_is_in_time_returns() {
    everywhere(|| {
        assert_eq!(timeout(LONG, || 1), Ok(1));
        assert_eq!(timeout(Duration::MAX, || timeout(LONG, || sleep(SHORT))), Ok(Ok(())));
        // Without a wait the end of the time ends nothing.
        assert_eq!(timeout(Duration::ZERO, || 2), Ok(2));
        assert_eq!(timeout(Duration::ZERO, || sleep(LONG)), Err(Elapsed));
        assert_eq!(timeout_at(Deadline::NEVER, || 3), Ok(3));
        assert_eq!(timeout_at(Instant::now(), || sleep(LONG)), Err(Elapsed));
        // A wait's own deadline is still its own.
        let (_sender, receiver) = channel::unbounded::<u8>();
        let own = timeout(LONG, || receiver.recv_timeout(SHORT));
        assert_eq!(own, Ok(Err(channel::RecvTimeoutError::Timeout)));
        sleep(SHORT);
    });
}

#[test]
fn of_nested_ones_the_right_one_ends() {
    everywhere(|| {
        let inner = timeout(LONG, || (timeout(SHORT, || sleep(LONG)), 5));
        assert_eq!(inner, Ok((Err(Elapsed), 5)));
        let outer = timeout(SHORT, || {
            let _ = timeout(LONG, || sleep(LONG));
            unreachable!("the outer one is over");
        });
        assert_eq!(outer, Err::<(), _>(Elapsed));
        // Both are over: the outer one's code does not go on.
        let both = timeout(SHORT, || {
            let _ = timeout(SHORT, || sleep(LONG));
            sleep(Duration::from_millis(10));
        });
        assert_eq!(both, Err(Elapsed));
        // A catch in between sees the unwinding, and comes to its end at the next wait.
        let mut caught = 0;
        let result = timeout(SHORT, || {
            for _ in 0..3 {
                assert!(catch_unwind(|| sleep(LONG)).is_err());
                caught += 1;
            }
            7
        });
        assert_eq!((result, caught), (Ok(7), 3));
        sleep(SHORT);
    });
}

#[test]
fn panics_pass_through() {
    everywhere(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| timeout(LONG, || panic_meant(4)))).unwrap_err();
        assert_eq!(caught.downcast_ref(), Some(&Meant(4)));
        // And leave no bound in force.
        sleep(SHORT);
        let caught = catch_unwind(|| timeout(SHORT, || timeout(SHORT, || panic_meant(5))));
        assert!(caught.is_err());
        sleep(2 * SHORT);
    });
}

#[test]
fn a_cancel_is_not_swallowed() {
    with_each_procs(|runtime| {
        for _ in 0..50 {
            let (drops, counts) = counter();
            let inside = Arc::new(AtomicBool::new(false));
            let inside2 = inside.clone();
            let handle = runtime.spawn(move || {
                let _counts = counts;
                let _ = timeout(LONG, || {
                    timeout(LONG, || {
                        inside2.store(true, SeqCst);
                        sleep(LONG);
                    })
                });
                unreachable!("cancelled");
            });
            wait_until("it runs", || inside.load(SeqCst));
            handle.cancel();
            assert!(handle.join().unwrap_err().is_cancelled());
            assert_eq!(drops.load(SeqCst), 1);
        }
    });
}

#[test]
fn a_shield_hides_the_bounds_around_it() {
    everywhere(|| {
        let result = timeout(SHORT, || {
            shield(|| sleep(5 * SHORT));
            let inner = shield(|| timeout(SHORT, || sleep(LONG)));
            assert_eq!(inner, Err(Elapsed));
            sleep(LONG);
        });
        assert_eq!(result, Err(Elapsed));
        // What waits for others to be gone waits for them: the result of a runtime's main coroutine lies here.
        let value = timeout(SHORT, || {
            builder(1).build().unwrap().run(|| {
                sleep(5 * SHORT);
                8
            })
        });
        assert_eq!(value, Ok(8));
    });
    builder(2).build().unwrap().run(|| {
        let mut ended = false;
        let result = timeout(SHORT, || {
            gort::scope(|s| {
                drop(s.go(|| {
                    sleep(5 * SHORT);
                    ended = true;
                }));
                sleep(LONG);
            });
        });
        assert_eq!((result, ended), (Err(Elapsed), true));
    });
}

#[test]
fn what_it_has_spawned_goes_on() {
    with_each_procs(|runtime| {
        let value = runtime.run(|| {
            let mut handle = None;
            let result = timeout(SHORT, || {
                handle = Some(go!(|| {
                    sleep(5 * SHORT);
                    6
                }));
                sleep(LONG);
            });
            assert_eq!(result, Err(Elapsed));
            handle.unwrap().join().unwrap()
        });
        assert_eq!(value, 6);
    });
}

#[test]
fn destructors_may_wait_while_a_bound_unwinds() {
    struct Waits(Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            sleep(SHORT);
            self.0.fetch_add(1, SeqCst);
        }
    }
    everywhere(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let result = timeout(SHORT, || {
            let _waits = Waits(count.clone());
            sleep(LONG);
        });
        assert_eq!((result, count.load(SeqCst)), (Err(Elapsed), 1));
    });
}

#[test]
fn messages_are_neither_lost_nor_doubled_by_timeouts() {
    // Receivers whose time is over at random moments: what was sent is received once.
    let seed = common::seed();
    with_each_procs(|runtime| {
        for capacity in [0, 1, 100] {
            let (sender, receiver) = channel::bounded(capacity);
            let (sum, count) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let receivers: Vec<_> = (0..4)
                .map(|i| {
                    let (receiver, sum, count) = (receiver.clone(), sum.clone(), count.clone());
                    let mut random = Random::new(seed + i);
                    runtime.spawn(move || {
                        loop {
                            let limit = Duration::from_micros(random.below(60));
                            let received = timeout(limit, || {
                                if random.below(2) == 0 {
                                    receiver.recv()
                                } else {
                                    select! { recv(receiver) -> message => message }
                                }
                            });
                            match received {
                                Ok(Ok(value)) => {
                                    sum.fetch_add(value, SeqCst);
                                    count.fetch_add(1, SeqCst);
                                }
                                Ok(Err(_)) => return,
                                Err(Elapsed) => {}
                            }
                        }
                    })
                })
                .collect();
            drop(receiver);
            let senders: Vec<_> = (0..3)
                .map(|i| {
                    let sender = sender.clone();
                    let mut random = Random::new(seed + 100 + i);
                    runtime.spawn(move || {
                        let mut sent = (0, 0);
                        for value in 0..2000 * factor() {
                            if random.below(20) == 0 {
                                sleep(Duration::from_micros(random.below(50)));
                            }
                            let limit = Duration::from_micros(5 + random.below(100));
                            if let Ok(result) = timeout(limit, || sender.send(value)) {
                                result.unwrap();
                                sent = (sent.0 + value, sent.1 + 1);
                            }
                        }
                        sent
                    })
                })
                .collect();
            drop(sender);
            let sent = senders.into_iter().map(|handle| handle.join().unwrap());
            let sent = sent.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            receivers.into_iter().for_each(|handle| handle.join().unwrap());
            assert_eq!((sum.load(SeqCst), count.load(SeqCst)), sent, "capacity {capacity}");
        }
    });
}

#[test]
fn many_bounded_waits_at_once() {
    let runtime = builder(2).build().unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..20_000)
        .map(|_| {
            let ended = ended.clone();
            runtime.spawn(move || {
                assert_eq!(timeout(SHORT, gort::park), Err(Elapsed));
                ended.fetch_add(1, SeqCst);
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!(ended.load(SeqCst), 20_000);
}

#[test]
fn a_timer_agrees_with_a_plain_model() {
    // Random stops, resets and looks by one task, against a plain moment.
    let seed = common::seed();
    everywhere(|| {
        let mut random = Random::new(seed);
        let timer = Timer::new(LONG);
        // None: stopped. The moments before and after the call, between which it was set.
        let mut model = Some((Instant::now() + LONG, Instant::now() + LONG));
        for step in 0..3000 {
            let early = Instant::now();
            // Whether it is pending: None if that hangs on the moment.
            let pending = |late: Instant| match model {
                None => Some(false),
                Some((_, last)) if last < early => Some(false),
                Some((first, _)) if first > late => Some(true),
                Some(_) => None,
            };
            match random.below(5) {
                0 => {
                    let stopped = timer.stop();
                    assert!(pending(Instant::now()).is_none_or(|pending| pending == stopped), "step {step}");
                    model = None;
                }
                1 | 2 => {
                    let after = Duration::from_micros(random.below(100));
                    let before = Instant::now();
                    let reset = timer.reset(after);
                    let late = Instant::now();
                    assert!(pending(late).is_none_or(|pending| pending == reset), "step {step}");
                    model = Some((before + after, late + after));
                }
                3 => {
                    let fired = timer.is_ready();
                    let late = Instant::now();
                    let expected = if model.is_none() { Some(false) } else { pending(late).map(|pending| !pending) };
                    assert!(expected.is_none_or(|expected| expected == fired), "step {step}");
                }
                _ if model.is_some_and(|(_, last)| last < Instant::now() + SHORT) => {
                    timer.wait();
                    assert!(Instant::now() >= model.unwrap().0, "step {step}");
                }
                _ => common::compute(Duration::from_micros(random.below(50))),
            }
        }
    });
}

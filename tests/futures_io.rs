//! The streams as futures: on ours, on another executor, in coroutines and on threads.

mod common;

use common::tcp::connection as tcp;
use common::wakes::Wakes;
use common::{PATIENCE, PROCS, builder, everywhere, wait_until, watchdog};
use futures_lite::{AsyncReadExt, AsyncWriteExt, future as other};
use gort::future::block_on;
use gort::go;
use gort::io::pipe;
use gort::net::{TcpStream, UnixStream};
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::{Duration, Instant};

/// More than the kernel holds on the way; not much more, since each turn is a change of threads at times.
const MUCH: usize = (1 << 19) + 321;

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i % 251) as u8).collect()
}

fn poll_read(mut stream: &TcpStream, waker: &Waker, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
    use futures_lite::AsyncRead;
    Pin::new(&mut stream).poll_read(&mut Context::from_waker(waker), buffer)
}

async fn exchange<S>(mut near: S, mut far: S)
where
    S: futures_lite::AsyncRead + futures_lite::AsyncWrite + Unpin,
{
    let bytes = &pattern(MUCH);
    let echo = async {
        let mut buffer = vec![0; 30_000];
        loop {
            match far.read(&mut buffer).await.unwrap() {
                0 => break far.close().await.unwrap(),
                count => far.write_all(&buffer[..count]).await.unwrap(),
            }
        }
    };
    let client = async {
        // In turns, as much as fits on the way.
        for chunk in bytes.chunks(60_000) {
            near.write_all(chunk).await.unwrap();
            near.flush().await.unwrap();
            let mut got = vec![0; chunk.len()];
            near.read_exact(&mut got).await.unwrap();
            assert!(got == chunk);
        }
        near.close().await.unwrap();
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    };
    other::zip(echo, client).await;
}

#[test]
fn streams_echo_on_every_executor() {
    everywhere(|| {
        let (near, far) = tcp();
        block_on(exchange(near, far));
        let (near, far) = UnixStream::pair().unwrap();
        block_on(exchange(near, far));
        let (near, far) = tcp();
        other::block_on(exchange(near, far));
        let (near, far) = UnixStream::pair().unwrap();
        other::block_on(exchange(&near, &far));
    });
}

/// Both directions at once, by two tasks on one stream, one of which is of another executor, against a coroutine.
#[test]
fn two_tasks_share_a_stream() {
    let bytes = Arc::new(pattern(MUCH));
    for procs in PROCS {
        let bytes = bytes.clone();
        builder(procs).build().unwrap().run(move || {
            let (near, far) = tcp();
            let writes = {
                let (mut near, bytes) = (near.try_clone().unwrap(), bytes.clone());
                std::thread::spawn(move || {
                    other::block_on(async move {
                        AsyncWriteExt::write_all(&mut near, &bytes).await.unwrap();
                        AsyncWriteExt::close(&mut near).await.unwrap();
                    });
                })
            };
            let back = go!(move || {
                let (mut reader, mut writer) = (&far, &far);
                gort::io::copy(&mut reader, &mut writer).unwrap();
                far.shutdown(gort::net::Shutdown::Write).unwrap();
            });
            let mut got = Vec::new();
            let mut reader = &near;
            block_on(AsyncReadExt::read_to_end(&mut reader, &mut got)).unwrap();
            assert!(got == *bytes);
            back.join().unwrap();
            writes.join().unwrap();
        });
    }
}

#[test]
fn pipes_and_children() {
    everywhere(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let bytes = &pattern(MUCH);
        let reads = async {
            let mut got = Vec::new();
            AsyncReadExt::read_to_end(&mut reader, &mut got).await.unwrap();
            got
        };
        let writes = async move {
            AsyncWriteExt::write_all(&mut writer, bytes).await.unwrap();
            AsyncWriteExt::close(&mut writer).await.unwrap();
        };
        let (got, ()) = block_on(other::zip(reads, writes));
        assert!(got == *bytes);
    });
    gort::run(|| {
        use gort::process::{Command, Stdio};
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut into, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let bytes = &pattern(MUCH);
        let mut got = Vec::new();
        let writes = async move { AsyncWriteExt::write_all(&mut into, bytes).await.unwrap() };
        block_on(other::zip(writes, async { AsyncReadExt::read_to_end(&mut from, &mut got).await.unwrap() }));
        assert!(got == *bytes);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn vectored_and_empty() {
    everywhere(|| {
        block_on(async {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cdef")];
            assert_eq!(AsyncWriteExt::write_vectored(&mut near, &slices).await.unwrap(), 6);
            let (mut a, mut b) = ([0; 3], [0; 8]);
            let mut buffers = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
            assert_eq!(AsyncReadExt::read_vectored(&mut far, &mut buffers).await.unwrap(), 6);
            assert_eq!((&a, &b[..3]), (b"abc", &b"def"[..]));
            assert_eq!(AsyncReadExt::read(&mut far, &mut []).await.unwrap(), 0);
            // Non-blocking mode is for calls; a poll never waits, and never says `WouldBlock`.
            far.set_nonblocking(true).unwrap();
            let late = async {
                other::yield_now().await;
                AsyncWriteExt::write_all(&mut near, b"x").await.unwrap();
            };
            let (count, ()) = other::zip(AsyncReadExt::read(&mut far, &mut b), late).await;
            assert_eq!(count.unwrap(), 1);
        });
    });
}

/// Each of many coroutines, and of many tasks of one thread, has a connection of its own.
#[test]
fn many_at_once() {
    const MANY: usize = 100;
    for procs in PROCS {
        builder(procs).build().unwrap().run(|| {
            let handles: Vec<_> = (0..MANY)
                .map(|i| {
                    go!(move || {
                        let (mut near, mut far) = UnixStream::pair().unwrap();
                        let answers = go!(move || {
                            let mut buffer = [0; 8];
                            for _ in 0..20 {
                                Read::read_exact(&mut far, &mut buffer).unwrap();
                                Write::write_all(&mut far, &buffer).unwrap();
                            }
                        });
                        block_on(async {
                            for round in 0..20 {
                                let out = (i * 100 + round).to_ne_bytes();
                                AsyncWriteExt::write_all(&mut near, &out).await.unwrap();
                                let mut got = [0; 8];
                                AsyncReadExt::read_exact(&mut near, &mut got).await.unwrap();
                                assert_eq!(got, out);
                            }
                        });
                        answers.join().unwrap();
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
    }
}

#[test]
fn every_task_is_woken_by_an_edge_and_the_oldest_when_there_are_too_many() {
    everywhere(|| {
        let (near, mut far) = tcp();
        let mut tasks: Vec<_> = (0..10).map(|_| Wakes::new()).collect();
        for (_, waker) in &tasks {
            // Once left, a waker stays: a further poll leaves no second.
            for _ in 0..5 {
                assert!(poll_read(&near, waker, &mut [0; 8]).is_pending());
            }
        }
        assert!(tasks.iter().all(|(count, _)| count.count() == 0));
        Write::write_all(&mut far, b"x").unwrap();
        wait_until("all are woken", || tasks.iter().all(|(count, _)| count.count() == 1));
        assert!(matches!(poll_read(&near, &tasks[0].1, &mut [0; 8]), Poll::Ready(Ok(1))));
        // Tasks that went away: those behind them are not forgotten, and the first are told.
        tasks.truncate(1);
        assert!(poll_read(&near, &tasks[0].1, &mut [0; 8]).is_pending());
        let further: Vec<_> = (0..100).map(|_| Wakes::new()).collect();
        for (_, waker) in &further {
            assert!(poll_read(&near, waker, &mut [0; 8]).is_pending());
        }
        wait_until("it was displaced", || tasks[0].0.count() == 2);
        Write::write_all(&mut far, b"x").unwrap();
        wait_until("all are woken once", || further.iter().all(|(count, _)| count.count() == 1));
        // Nothing is left of those who still wait when it is closed.
        assert!(matches!(poll_read(&near, &tasks[0].1, &mut [0; 8]), Poll::Ready(Ok(1))));
        let (count, waker) = Wakes::new();
        assert!(poll_read(&near, &waker, &mut [0; 8]).is_pending());
        drop(near);
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1, "its waker is dropped");
    });
}

#[test]
fn a_waker_that_cannot_be_cloned_leaves_nothing() {
    // Goal: whichever clone of a waker panics, no waiter is left at the descriptor. Method: a waker that can be cloned so many times; all
    // of its clones are dropped in the end, also when the stream is closed, and the stream goes on.
    struct Clones(AtomicUsize);
    const FUNCTIONS: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: what `Arc::into_raw` gave; the waker that is cloned keeps it.
            let clones = unsafe { std::mem::ManuallyDrop::new(Arc::from_raw(data.cast::<Clones>())) };
            assert_ne!(clones.0.load(SeqCst), 0, "no clones left");
            clones.0.fetch_sub(1, SeqCst);
            RawWaker::new(Arc::into_raw(Arc::clone(&clones)).cast(), &FUNCTIONS)
        },
        // SAFETY: as above; this waker's own.
        |data| drop(unsafe { Arc::from_raw(data.cast::<Clones>()) }),
        |_| (),
        // SAFETY: as above; this waker's own.
        |data| drop(unsafe { Arc::from_raw(data.cast::<Clones>()) }),
    );
    everywhere(|| {
        let mut clones = 0;
        loop {
            let (near, mut far) = tcp();
            let data = Arc::new(Clones(AtomicUsize::new(clones)));
            // SAFETY: the functions count by the Arc, which may go to any thread.
            let waker = unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(data.clone()).cast(), &FUNCTIONS)) };
            let polled = catch_unwind(AssertUnwindSafe(|| poll_read(&near, &waker, &mut [0; 8])));
            drop(waker);
            if polled.is_err() {
                assert_eq!(Arc::strong_count(&data), 1, "of {clones} clones some are left");
            }
            Write::write_all(&mut far, b"x").unwrap();
            assert_eq!(Read::read(&mut &near, &mut [0; 8]).unwrap(), 1);
            drop(near);
            wait_until("all clones are dropped", || Arc::strong_count(&data) == 1);
            if polled.is_ok() {
                break;
            }
            clones += 1;
        }
        assert_ne!(clones, 0, "it is cloned");
    });
}

#[test]
fn any_number_of_tasks_wait_at_once() {
    // Goal: however many tasks wait for a stream, they come to rest, and all are woken by an edge. Method: each polls again when it was
    // woken, as executors do, until none is.
    everywhere(|| {
        for many in [17, 40, 300] {
            let (near, mut far) = tcp();
            let tasks: Vec<_> = (0..many).map(|_| Wakes::new()).collect();
            let mut polled = vec![0; many];
            for (_, waker) in &tasks {
                assert!(poll_read(&near, waker, &mut [0; 8]).is_pending());
            }
            let mut polls = 0;
            loop {
                let before = polls;
                for ((count, waker), polled) in tasks.iter().zip(&mut polled) {
                    if count.count() > *polled {
                        *polled = count.count();
                        polls += 1;
                        assert!(poll_read(&near, waker, &mut [0; 8]).is_pending());
                    }
                }
                if polls == before {
                    break;
                }
                assert!(polls < 20 * many, "{many} tasks wake each other for ever");
            }
            Write::write_all(&mut far, b"x").unwrap();
            wait_until("all are woken", || {
                // By the edge, or by one that came to rest after the last look.
                tasks.iter().zip(&polled).all(|((count, _), polled)| count.count() > *polled)
            });
        }
    });
}

#[test]
fn those_who_went_away_do_not_pile_up() {
    // Goal: what is left of tasks that have gone is bounded, beside one that stays. Method: it polls whenever it was woken, while very many
    // others poll once; their wakers are counted.
    everywhere(|| {
        let (near, _far) = tcp();
        let ((count, waker), mut polled) = (Wakes::new(), 0);
        assert!(poll_read(&near, &waker, &mut [0; 8]).is_pending());
        let mut gone = Vec::new();
        for _ in 0..2000 {
            let (count_of_one, waker_of_one) = Wakes::new();
            assert!(poll_read(&near, &waker_of_one, &mut [0; 8]).is_pending());
            gone.push(count_of_one);
            if count.count() > polled {
                polled = count.count();
                assert!(poll_read(&near, &waker, &mut [0; 8]).is_pending());
            }
        }
        // Some may just be about to be woken.
        wait_until("few are left", || gone.iter().filter(|count| Arc::strong_count(count) > 1).count() <= 128);
    });
}

#[test]
fn a_future_may_be_dropped_and_time_limits_hold() {
    everywhere(|| {
        let (mut near, mut far) = tcp();
        for _ in 0..50 {
            let waited = gort::time::timeout(Duration::from_micros(300), || {
                block_on(async { AsyncReadExt::read(&mut near, &mut [0; 8]).await.unwrap() })
            });
            assert!(waited.is_err());
        }
        Write::write_all(&mut far, b"late").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(block_on(AsyncReadExt::read(&mut near, &mut buffer)).unwrap(), 4);
        // A deadline that is set to now ends a poll, as it ends a read.
        let other_end = near.try_clone().unwrap();
        let (count, waker) = Wakes::new();
        assert!(poll_read(&near, &waker, &mut buffer).is_pending());
        other_end.set_read_deadline(Some(Instant::now()));
        wait_until("it is woken", || count.count() == 1);
        let Poll::Ready(Err(error)) = poll_read(&near, &waker, &mut buffer) else { panic!("it is over") };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        other_end.set_read_deadline(None);
        // The peer goes.
        assert!(poll_read(&near, &waker, &mut buffer).is_pending());
        drop(far);
        wait_until("it is woken", || count.count() == 2);
        assert!(matches!(poll_read(&near, &waker, &mut buffer), Poll::Ready(Ok(0))));
    });
}

#[test]
fn a_waker_may_set_a_deadline() {
    // Goal: others' wakers run without a lock of ours. Method: one polls in place, as some executors do, and takes the deadline off that has
    // woken it.
    struct InPlace(Mutex<Option<TcpStream>>);
    impl Wake for InPlace {
        fn wake(self: Arc<InPlace>) {
            let mut stream = self.0.lock().unwrap();
            let near = stream.as_ref().unwrap();
            assert!(matches!(poll_read(near, Waker::noop(), &mut [0; 8]), Poll::Ready(Err(_))));
            near.set_read_deadline(None);
            *stream = None;
        }
    }
    let _dog = watchdog(PATIENCE, "a waker that sets a deadline");
    everywhere(|| {
        let (near, _far) = tcp();
        let task = Arc::new(InPlace(Mutex::new(Some(near.try_clone().unwrap()))));
        assert!(poll_read(&near, &task.clone().into(), &mut [0; 8]).is_pending());
        near.set_read_deadline(Some(Instant::now()));
        wait_until("it is woken", || task.0.lock().unwrap().is_none());
    });
}

/// A stream whose first polls were in a runtime that is gone, or in another.
#[test]
fn a_stream_moves_between_runtimes() {
    let (near, mut far) = tcp();
    for procs in [1, 2, 1] {
        let runtime = builder(procs).build().unwrap();
        let (stream, twin) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        runtime.run(move || {
            let reads = go!(move || {
                let mut stream = &stream;
                let mut polls = 0;
                block_on(poll_fn(|context| {
                    use futures_lite::AsyncRead;
                    polls += 1;
                    Pin::new(&mut stream).poll_read(context, &mut [0; 8])
                }))
                .unwrap()
            });
            gort::yield_now();
            Write::write_all(&mut &twin, b"x").unwrap();
            assert_eq!(reads.join().unwrap(), 1);
        });
    }
    let (count, waker) = Wakes::new();
    assert!(poll_read(&near, &waker, &mut [0; 8]).is_pending());
    Write::write_all(&mut far, b"x").unwrap();
    wait_until("it is woken", || count.count() == 1);
    assert!(matches!(poll_read(&near, &waker, &mut [0; 8]), Poll::Ready(Ok(1))));
}

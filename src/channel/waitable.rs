//! What a select can wait for besides channel operations.

use super::case::{Case, Chosen, Kind, Ops};
use super::chan::Side;
use super::receiver::Receiver;
use super::sender::Sender;
use crate::JoinHandle;
use crate::os::clock::{self, NEVER};
use crate::sched::wait::{self, Waiter, Wake};
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr;
use std::time::Instant;

/// Something that happens and can be a case of [`select!`](crate::select): `wait(it) => ..`.
///
/// It is a state, not a message: once it is ready it stays so until somebody uses it. The select
/// says that it is ready; using it is the caller's next step, like the `join` of a [`JoinHandle`].
/// A handle of a channel is ready when its operation would not wait.
///
/// # Examples
///
/// A latch, on which many can wait:
///
/// ```
/// use gort::channel::{SelectWaker, Waitable};
/// use std::sync::Mutex;
///
/// #[derive(Default)]
/// struct Latch(Mutex<(bool, Vec<SelectWaker>)>);
///
/// impl Latch {
///     fn open(&self) {
///         let mut state = self.0.lock().unwrap();
///         state.0 = true;
///         state.1.drain(..).for_each(SelectWaker::wake);
///     }
/// }
///
/// impl Waitable for Latch {
///     fn is_ready(&self) -> bool {
///         self.0.lock().unwrap().0
///     }
///     fn watch(&self, waker: SelectWaker) -> bool {
///         let mut state = self.0.lock().unwrap();
///         if !state.0 {
///             state.1.push(waker);
///         }
///         !state.0
///     }
///     fn unwatch(&self, waker: SelectWaker) {
///         self.0.lock().unwrap().1.retain(|other| *other != waker);
///     }
/// }
///
/// let latch = Latch::default();
/// std::thread::scope(|s| {
///     s.spawn(|| latch.open());
///     gort::select! {
///         wait(latch) => println!("open"),
///     }
/// });
/// assert!(latch.is_ready());
/// ```
pub trait Waitable {
    /// Whether it is ready. It may be called at any time, and often; it must not wait.
    fn is_ready(&self) -> bool;

    /// Keeps `waker`, to be [woken](SelectWaker::wake) once it is ready, and returns true; or returns false because it is
    /// ready now.
    ///
    /// The look and the keeping are one step: what becomes ready after a true wakes the waker. To wake it for
    /// nothing does no harm.
    ///
    /// It must not wait, nor [yield](crate::yield_now): if it does in a coroutine, for a lock of [`sync`](crate::sync) say,
    /// the process ends with a message.
    fn watch(&self, waker: SelectWaker) -> bool;

    /// Forgets `waker`, if it still has it: the select has ended. One that is kept longer does nothing.
    fn unwatch(&self, waker: SelectWaker);

    /// When it becomes ready by itself, without waking anybody. The select asks after it has called
    /// [`watch`](Self::watch), and looks again then. So what only waits for the clock needs nobody to wake it. It must not wait
    /// either.
    ///
    /// None, as without a method of its own, if there is no such time.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{SelectWaker, Waitable};
    /// use std::time::{Duration, Instant};
    ///
    /// struct Noon(Instant);
    ///
    /// impl Waitable for Noon {
    ///     fn is_ready(&self) -> bool {
    ///         self.0 <= Instant::now()
    ///     }
    ///     fn watch(&self, _: SelectWaker) -> bool {
    ///         !self.is_ready()
    ///     }
    ///     fn unwatch(&self, _: SelectWaker) {}
    ///     fn ready_at(&self) -> Option<Instant> {
    ///         Some(self.0)
    ///     }
    /// }
    ///
    /// let noon = Noon(Instant::now() + Duration::from_millis(2));
    /// gort::select! {
    ///     wait(noon) => assert!(noon.0 <= Instant::now()),
    /// }
    /// ```
    fn ready_at(&self) -> Option<Instant> {
        None
    }
}

/// Ends the wait of a select, or of a [future](crate::future::until), from anywhere; made for [`Waitable::watch`].
///
/// It may be copied and kept: when that wait is over it does nothing.
///
/// # Examples
///
/// See [`Waitable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SelectWaker(Waiter);

impl SelectWaker {
    /// One that ends a future's wait.
    pub(crate) fn new(waiter: Waiter) -> SelectWaker {
        SelectWaker(waiter)
    }

    /// The wait that it ends.
    pub(crate) fn waiter(self) -> Waiter {
        self.0
    }

    /// Ends the wait: the select looks at its cases again.
    ///
    /// # Examples
    ///
    /// See [`Waitable`].
    ///
    /// # Scheduling
    ///
    /// Returns at once, from anywhere.
    pub fn wake(self) {
        self.0.wake(Wake::Ready);
    }
}

/// Whatever leads to one is one.
macro_rules! through {
    ($($pointer:ty),*) => {$(
        impl<W: Waitable + ?Sized> Waitable for $pointer {
            fn is_ready(&self) -> bool {
                (**self).is_ready()
            }
            fn watch(&self, waker: SelectWaker) -> bool {
                (**self).watch(waker)
            }
            fn unwatch(&self, waker: SelectWaker) {
                (**self).unwatch(waker);
            }
            fn ready_at(&self) -> Option<Instant> {
                (**self).ready_at()
            }
        }
    )*};
}

through!(&W, &mut W, Box<W>, std::rc::Rc<W>, std::sync::Arc<W>);

/// Ready when the coroutine has ended: `join` then returns at once.
impl<T> Waitable for JoinHandle<T> {
    fn is_ready(&self) -> bool {
        self.is_finished()
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        JoinHandle::watch(self, waker.0)
    }
    fn unwatch(&self, waker: SelectWaker) {
        JoinHandle::unwatch(self, waker.0);
    }
}

/// Ready when a receive would not wait: there is a message, a sender waits, or the channel is disconnected.
impl<T> Waitable for Receiver<T> {
    fn is_ready(&self) -> bool {
        self.chan().is_ready(Side::Recv)
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        self.chan().watch(Side::Recv, waker.0)
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.chan().unwatch(Side::Recv, waker.0);
    }
    fn ready_at(&self) -> Option<Instant> {
        self.chan().ready_at()
    }
}

/// Ready when a send would not wait: there is room, a receiver waits, or the channel is disconnected.
impl<T> Waitable for Sender<T> {
    fn is_ready(&self) -> bool {
        self.chan().is_ready(Side::Send)
    }
    fn watch(&self, waker: SelectWaker) -> bool {
        self.chan().watch(Side::Send, waker.0)
    }
    fn unwatch(&self, waker: SelectWaker) {
        self.chan().unwatch(Side::Send, waker.0);
    }
}

impl<'a> Case<'a> {
    pub(super) fn wait<W: Waitable>(what: &'a W) -> Case<'a> {
        // SAFETY: these are the operations of its type.
        unsafe { Case::new(ptr::from_ref(what).cast(), Waits::<W>::OPS) }
    }
}

struct Waits<W>(PhantomData<W>);

impl<W: Waitable> Waits<W> {
    const OPS: &'static Ops = &Ops {
        kind: Kind::Wait,
        message: Layout::new::<()>(),
        // SAFETY: `what` is a `W` that lives as long as the case.
        try_now: |what, _| unsafe { &*what.cast::<W>() }.is_ready().then_some(Chosen::Ready),
        // SAFETY: as above.
        join: |what, node| wait::before_park(|| unsafe { &*what.cast::<W>() }.watch(SelectWaker(node.task()))),
        // SAFETY: as above.
        leave: |what, node| unsafe { &*what.cast::<W>() }.unwatch(SelectWaker(node.task())),
        // SAFETY: as above.
        next_time: |what| wait::before_park(|| unsafe { &*what.cast::<W>() }.ready_at()).map_or(NEVER, clock::at),
        // SAFETY: as above.
        is_ready: |what| unsafe { &*what.cast::<W>() }.is_ready(),
        // SAFETY: as above.
        watch: |what, waiter| wait::before_park(|| unsafe { &*what.cast::<W>() }.watch(SelectWaker(waiter))),
        // SAFETY: as above.
        unwatch: |what, waiter| unsafe { &*what.cast::<W>() }.unwatch(SelectWaker(waiter)),
        give_up: |_, _, _| {},
    };
}

//! `Select`: a set of cases that is known only when the program runs.

use super::blocking::Until;
use super::case::{Case, Chosen, Kind, Ops};
use super::error::{ReadyTimeoutError, RecvError, SelectTimeoutError, SendError, TryReadyError, TrySelectError};
use super::receiver::Receiver;
use super::select::{self, Order};
use super::sender::Sender;
use super::waitable::Waitable;
use std::alloc::{self, Layout};
use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// A set of operations, of which one is to be done.
///
/// For a set that the program's text knows [`select!`](crate::select) is simpler and faster. Operations are added by
/// [`send`](Self::send), [`recv`](Self::recv) and [`wait`](Self::wait), and have the numbers that these return. Then
/// there are two ways:
///
/// - [`select`](Self::select) and its relatives choose an operation that is possible and begin it; the
///   [`SelectedOperation`] that they return must be completed.
/// - [`ready`](Self::ready) and its relatives only say which operation is possible. Somebody else
///   may be faster then, so try it without waiting, and begin again if it fails.
///
/// If several are possible any of them is chosen, unless the set was made by [`new_biased`](Self::new_biased).
///
/// A set stays on its thread: what it has chosen holds the message, which need not be `Send`.
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<gort::channel::Select<'static>>();
/// ```
///
/// # Examples
///
/// ```
/// use gort::channel::{Receiver, RecvError, Select, unbounded};
///
/// /// The first message of any.
/// fn recv_any(receivers: &[Receiver<u32>]) -> (usize, Result<u32, RecvError>) {
///     let mut select = Select::new();
///     for receiver in receivers {
///         select.recv(receiver);
///     }
///     let operation = select.select();
///     let index = operation.index();
///     (index, operation.recv(&receivers[index]))
/// }
///
/// let (senders, receivers): (Vec<_>, Vec<_>) = (0..1000).map(|_| unbounded()).unzip();
/// senders[789].send(5).unwrap();
/// assert_eq!(recv_any(&receivers), (789, Ok(5)));
/// ```
#[derive(Clone)]
pub struct Select<'a> {
    cases: List<'a>,
    /// What the largest message needs, or more.
    message: Layout,
    next: usize,
    order: Order,
}

/// The cases with their numbers. The first few need no allocation.
#[derive(Clone)]
struct List<'a> {
    count: usize,
    few: [MaybeUninit<Case<'a>>; FEW],
    numbers: [usize; FEW],
    /// All of them, if they are many.
    many: Vec<Case<'a>>,
    many_numbers: Vec<usize>,
}

const FEW: usize = 8;

impl<'a> List<'a> {
    fn cases(&mut self) -> &mut [Case<'a>] {
        if !self.many.is_empty() {
            return &mut self.many;
        }
        // SAFETY: the first `count` have been written.
        unsafe { std::slice::from_raw_parts_mut(self.few.as_mut_ptr().cast(), self.count) }
    }

    fn numbers(&self) -> &[usize] {
        if self.many.is_empty() { &self.numbers[..self.count] } else { &self.many_numbers }
    }

    #[inline]
    fn push(&mut self, case: Case<'a>, number: usize) {
        if self.count < FEW && self.many.is_empty() {
            self.few[self.count].write(case);
            self.numbers[self.count] = number;
        } else {
            self.push_to_many(case.what, case.slot, case.ops, number);
        }
        self.count += 1;
    }

    /// Gets the case in parts: for a whole one it would be put together in memory before the choice between the two lists, and the CPU
    /// waits when it then reads at once what was written by halves.
    #[cold]
    fn push_to_many(&mut self, what: *const (), slot: *mut (), ops: &'static Ops, number: usize) {
        // SAFETY: the caller's case had these.
        let case = unsafe { Case::new(what, ops) }.with_slot(slot);
        if self.many.is_empty() {
            let (few, numbers) = (self.cases().to_vec(), self.numbers);
            self.many = few;
            self.many_numbers = numbers.to_vec();
        }
        self.many.push(case);
        self.many_numbers.push(number);
    }

    fn remove(&mut self, at: usize) {
        self.count -= 1;
        if self.many.is_empty() {
            // In order, as a biased select goes by it.
            self.few.copy_within(at + 1..=self.count, at);
            self.numbers.copy_within(at + 1..=self.count, at);
        } else {
            self.many.remove(at);
            self.many_numbers.remove(at);
        }
    }
}

impl<'a> Select<'a> {
    /// An empty set; of several operations that are possible any is chosen.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_sender, receiver) = gort::channel::unbounded::<u8>();
    /// let mut select = gort::channel::Select::new();
    /// assert_eq!(select.recv(&receiver), 0);
    /// ```
    #[inline]
    pub fn new() -> Select<'a> {
        Select {
            cases: List {
                count: 0,
                few: [const { MaybeUninit::uninit() }; FEW],
                numbers: [0; FEW],
                many: Vec::new(),
                many_numbers: Vec::new(),
            },
            message: Layout::new::<Small>(),
            next: 0,
            order: Order::Fair,
        }
    }

    /// An empty set; of several operations that are possible the one that was added first is chosen.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    ///
    /// let (s1, r1) = unbounded();
    /// let (s2, r2) = unbounded();
    /// s2.send("later").unwrap();
    /// s1.send("first").unwrap();
    /// let mut select = Select::new_biased();
    /// select.recv(&r1);
    /// select.recv(&r2);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), 0);
    /// assert_eq!(operation.recv(&r1), Ok("first"));
    /// ```
    pub fn new_biased() -> Select<'a> {
        Select { order: Order::Biased, ..Select::new() }
    }

    #[inline]
    fn add(&mut self, case: Case<'a>) -> usize {
        let number = self.next;
        self.next += 1;
        let message = case.ops.message;
        if message.size() > self.message.size() || message.align() > self.message.align() {
            self.make_room(message);
        }
        self.cases.push(case, number);
        number
    }

    #[cold]
    fn make_room(&mut self, message: Layout) {
        self.message =
            Layout::from_size_align(self.message.size().max(message.size()), self.message.align().max(message.align()))
                .expect("of two layouts that are possible");
    }

    /// Adds a send and returns its number. The message is given when it has been chosen.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// let mut select = Select::new();
    /// let send = select.send(&sender);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), send);
    /// operation.send(&sender, "now I need it").unwrap();
    /// assert_eq!(receiver.recv(), Ok("now I need it"));
    /// ```
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(Case::send(sender.chan()))
    }

    /// Adds a receive and returns its number.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{RecvError, Select, unbounded};
    ///
    /// let (_, receiver) = unbounded::<u8>();
    /// let mut select = Select::new();
    /// let recv = select.recv(&receiver);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), recv);
    /// // Disconnected channels are possible to receive from: it fails.
    /// assert_eq!(operation.recv(&receiver), Err(RecvError));
    /// ```
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(Case::recv(receiver.chan()))
    }

    /// Adds something to wait for and returns its number.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::Select;
    ///
    /// gort::run(|| {
    ///     let workers = [1, 2, 3].map(|n| gort::go!(move || n));
    ///     let mut select = Select::new();
    ///     for worker in &workers {
    ///         select.wait(worker);
    ///     }
    ///     let first = select.select().index();
    ///     let [a, b, c] = workers;
    ///     let value = [a, b, c].into_iter().nth(first).unwrap().join().unwrap();
    ///     assert_eq!(value, first + 1);
    /// });
    /// ```
    pub fn wait<W: Waitable>(&mut self, what: &'a W) -> usize {
        self.add(Case::wait(what))
    }

    /// Takes an operation out again. The numbers of the others stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    ///
    /// let (_s, first) = unbounded::<u8>();
    /// let (_, second) = unbounded::<u8>();
    /// let mut select = Select::new();
    /// select.recv(&first);
    /// let dead = select.recv(&second);
    /// assert_eq!(select.ready(), dead);
    /// select.remove(dead);
    /// assert!(select.try_ready().is_err());
    /// ```
    ///
    /// # Panics
    ///
    /// If the set has no operation of this number.
    pub fn remove(&mut self, index: usize) {
        assert!(index < self.next, "index out of bounds; {index} >= {}", self.next);
        let at = self.cases.numbers().iter().position(|&number| number == index);
        self.cases.remove(at.expect("no operation with this index"));
    }

    /// Chooses an operation that is possible without waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, bounded};
    ///
    /// let (sender, receiver) = bounded(1);
    /// let mut select = Select::new();
    /// select.send(&sender);
    /// select.try_select().unwrap().send(&sender, 7).unwrap();
    /// assert!(select.try_select().is_err());
    /// assert_eq!(receiver.recv(), Ok(7));
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrySelectError`] if none is.
    ///
    /// # Scheduling
    ///
    /// Does not wait, but for the message of a select that it meets.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.choose(Until::Now).ok_or(TrySelectError)
    }

    /// Chooses an operation that is possible, and waits until there is one.
    ///
    /// # Examples
    ///
    /// See [`Select`].
    ///
    /// # Panics
    ///
    /// If the set is empty.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine, or blocks the thread, until an operation is possible. A coroutine that is cancelled
    /// has chosen none.
    #[inline]
    pub fn select(&mut self) -> SelectedOperation<'a> {
        assert!(self.cases.count > 0, "no operations have been added to `Select`");
        self.choose(Until::Done).expect("without a deadline it ends with an operation")
    }

    /// As [`select`](Self::select), for no longer than `timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, bounded};
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = bounded::<u8>(0);
    /// let mut select = Select::new();
    /// select.send(&sender);
    /// assert!(select.select_timeout(Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`SelectTimeoutError`] if none was possible in time. If the set is empty that is always so.
    ///
    /// # Scheduling
    ///
    /// As [`select`](Self::select).
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(Until::Elapsed(timeout)).ok_or(SelectTimeoutError)
    }

    /// As [`select`](Self::select), for no longer than until `deadline`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, bounded};
    /// use std::time::{Duration, Instant};
    ///
    /// let (sender, _receiver) = bounded::<u8>(0);
    /// let mut select = Select::new();
    /// select.send(&sender);
    /// assert!(select.select_deadline(Instant::now() + Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// As [`select_timeout`](Self::select_timeout).
    ///
    /// # Scheduling
    ///
    /// As [`select`](Self::select).
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(Until::Instant(deadline)).ok_or(SelectTimeoutError)
    }

    /// The number of an operation that is possible now, as far as can be told without trying it.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// let mut select = Select::new();
    /// let recv = select.recv(&receiver);
    /// assert!(select.try_ready().is_err());
    /// sender.send(1).unwrap();
    /// assert_eq!(select.try_ready(), Ok(recv));
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryReadyError`] if none is.
    ///
    /// # Scheduling
    ///
    /// Does not wait.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.find_ready(Until::Now).ok_or(TryReadyError)
    }

    /// Waits until an operation is possible, and returns its number. None is done; somebody else may be
    /// faster to do it.
    ///
    /// Who only asks is nobody to meet: if both sides of a channel of capacity zero do no more than this, both
    /// wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// let mut select = Select::new();
    /// let recv = select.recv(&receiver);
    /// std::thread::spawn(move || sender.send(1).unwrap());
    /// let message = loop {
    ///     assert_eq!(select.ready(), recv);
    ///     if let Ok(message) = receiver.try_recv() {
    ///         break message;
    ///     }
    /// };
    /// assert_eq!(message, 1);
    /// ```
    ///
    /// # Panics
    ///
    /// If the set is empty.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine, or blocks the thread, until an operation is possible.
    pub fn ready(&mut self) -> usize {
        assert!(self.cases.count > 0, "no operations have been added to `Select`");
        self.find_ready(Until::Done).expect("without a deadline it ends with an operation")
    }

    /// As [`ready`](Self::ready), for no longer than `timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = unbounded::<u8>();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert!(select.ready_timeout(Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadyTimeoutError`] if none was possible in time. If the set is empty that is always so.
    ///
    /// # Scheduling
    ///
    /// As [`ready`](Self::ready).
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        self.find_ready(Until::Elapsed(timeout)).ok_or(ReadyTimeoutError)
    }

    /// As [`ready`](Self::ready), for no longer than until `deadline`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    /// use std::time::{Duration, Instant};
    ///
    /// let (_sender, receiver) = unbounded::<u8>();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// assert!(select.ready_deadline(Instant::now() + Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ready_timeout`](Self::ready_timeout).
    ///
    /// # Scheduling
    ///
    /// As [`ready`](Self::ready).
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.find_ready(Until::Instant(deadline)).ok_or(ReadyTimeoutError)
    }

    fn find_ready(&mut self, until: Until) -> Option<usize> {
        let order = self.order;
        select::ready(self.cases.cases(), until, order).map(|at| self.cases.numbers()[at])
    }

    #[inline]
    fn choose(&mut self, until: Until) -> Option<SelectedOperation<'a>> {
        let order = self.order;
        let mut slot = Slot::of(self.message);
        let at = slot.place();
        let cases = self.cases.cases();
        for case in &mut *cases {
            if case.ops.kind == Kind::Recv {
                case.slot = at;
            }
        }
        // SAFETY: the slot is as large as the largest message, and stays where it is until the call returns.
        let (at, chosen) = unsafe { select::choose(cases, until, order) }?;
        let case = cases[at];
        let index = self.cases.numbers()[at];
        Some(SelectedOperation { case, chosen: ManuallyDrop::new(chosen), slot, index })
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Select { .. }")
    }
}

/// Room for the message of whichever receive is chosen.
enum Slot {
    Small(MaybeUninit<Small>),
    Large(NonNull<u8>, Layout),
}

#[repr(align(16))]
struct Small(#[expect(dead_code, reason = "it is room")] [u8; 64]);

impl Slot {
    #[inline]
    fn of(message: Layout) -> Slot {
        if message.size() <= size_of::<Small>() && message.align() <= align_of::<Small>() {
            return Slot::Small(MaybeUninit::uninit());
        }
        Slot::large(message)
    }

    #[cold]
    fn large(message: Layout) -> Slot {
        // SAFETY: a message of size zero is large only by its alignment, and then gets a byte.
        let message = Layout::from_size_align(message.size().max(1), message.align()).expect("as it was");
        // SAFETY: the size is not zero.
        match NonNull::new(unsafe { alloc::alloc(message) }) {
            Some(place) => Slot::Large(place, message),
            None => alloc::handle_alloc_error(message),
        }
    }

    fn place(&mut self) -> *mut () {
        match self {
            Slot::Small(place) => place.as_mut_ptr().cast(),
            Slot::Large(place, _) => place.as_ptr().cast(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Slot::Large(place, layout) = *self {
            // SAFETY: allocated with this layout in `of`; the message in it has been taken or dropped.
            unsafe { alloc::dealloc(place.as_ptr(), layout) };
        }
    }
}

/// An operation that a [`Select`] has chosen. It must be completed, by [`send`](Self::send) or
/// [`recv`](Self::recv) with the handle that was added.
///
/// Until then a place in the channel is kept for it, or a receiver waits for its message.
///
/// # Examples
///
/// See [`Select`].
///
/// # Panics
///
/// Dropping it panics, unless it was completed, or is one of [`Select::wait`], or the thread is panicking already. What
/// was begun is undone first; a message that had been received is dropped.
#[must_use = "it must be completed"]
pub struct SelectedOperation<'a> {
    case: Case<'a>,
    chosen: ManuallyDrop<Chosen>,
    slot: Slot,
    index: usize,
}

// What it refers to are channels, which no panic leaves in a state that a later operation could not go on from.
impl UnwindSafe for SelectedOperation<'_> {}
impl RefUnwindSafe for SelectedOperation<'_> {}

impl SelectedOperation<'_> {
    /// The number of the operation, as it was returned when it was added.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// sender.send(1).unwrap();
    /// let mut select = Select::new();
    /// let recv = select.recv(&receiver);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), recv);
    /// operation.recv(&receiver).unwrap();
    /// ```
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Completes a send.
    ///
    /// # Examples
    ///
    /// See [`Select::send`].
    ///
    /// # Errors
    ///
    /// [`SendError`], with the message, if the channel is disconnected.
    ///
    /// # Panics
    ///
    /// If another operation was chosen than a send to the channel of `sender`.
    ///
    /// # Scheduling
    ///
    /// Does not wait: a place or a receiver was found when it was chosen.
    pub fn send<T>(mut self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        assert!(
            self.case.ops.kind == Kind::Send && self.case.what == std::ptr::from_ref(sender.chan()).cast(),
            "passed a sender that wasn't selected",
        );
        let chosen = self.complete();
        let mut message = ManuallyDrop::new(message);
        // SAFETY: this send was chosen, and is used up here. The message is valid, and not used here any more
        // after `Ok`.
        match unsafe { sender.chan().send_chosen(&raw mut *message, chosen) } {
            Ok(()) => Ok(()),
            Err(_) => Err(SendError(ManuallyDrop::into_inner(message))),
        }
    }

    /// Completes a receive.
    ///
    /// # Examples
    ///
    /// See [`Select`].
    ///
    /// # Errors
    ///
    /// [`RecvError`] if the channel is empty and disconnected.
    ///
    /// # Panics
    ///
    /// If another operation was chosen than a receive from the channel of `receiver`.
    ///
    /// # Scheduling
    ///
    /// Does not wait: the message is here since it was chosen.
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        assert!(
            self.case.ops.kind == Kind::Recv && self.case.what == std::ptr::from_ref(receiver.chan()).cast(),
            "passed a receiver that wasn't selected",
        );
        match self.complete() {
            // SAFETY: the message is in the slot; its type is that of the channel. It is read once.
            Chosen::Received => Ok(unsafe { self.slot.place().cast::<T>().read() }),
            _ => Err(RecvError),
        }
    }

    /// Takes what was chosen out; then there is nothing left to undo.
    #[inline]
    fn complete(&mut self) -> Chosen {
        let done = ManuallyDrop::new(Chosen::Ready);
        ManuallyDrop::into_inner(std::mem::replace(&mut self.chosen, done))
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        let chosen = self.complete();
        if let Chosen::Ready = chosen {
            return;
        }
        let slot = self.slot.place();
        // SAFETY: it was chosen with what is in the slot now, wherever that has moved to, and has not been used.
        unsafe { (self.case.ops.give_up)(self.case.what, slot, chosen) };
        assert!(std::thread::panicking(), "dropped `SelectedOperation` without completing the operation");
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}

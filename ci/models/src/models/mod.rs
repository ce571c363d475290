//! The models. Each makes its world anew for every execution and asserts its promise; a wait
//! that nobody ends is a deadlock, which the checker reports.

mod biased;
mod channel;
mod condvar;
mod home_word;
mod idle;
mod join;
mod mutex;
mod os_thread;
mod poll_word;
mod preempt;
mod procs;
mod rwlock;
mod select;
mod semaphore;
mod snooze;
mod tasks;
mod wait;
mod wait_word;

use loom::thread::JoinHandle;

/// Name, preemptions at most (None: any number), model.
pub(crate) type Model = (&'static str, Option<usize>, fn());

pub(crate) const MODELS: &[Model] = &[
    ("wait_word::one_claim", Some(2), wait_word::one_claim),
    ("wait_word::stale", None, wait_word::stale),
    ("wait::cancel_alone", None, wait::cancel_alone),
    ("wait::cancel_and_peer", Some(4), wait::cancel_and_peer),
    ("wait::shield", Some(4), wait::shield),
    ("wait::abandon", None, wait::abandon),
    ("wait::deadline", Some(5), wait::deadline),
    ("wait::thread", None, wait::thread),
    ("wait::thread_without_end", None, wait::thread_without_end),
    ("join::join", None, join::join),
    ("join::drop_handle", None, join::drop_handle),
    ("join::timeout_then_drop", Some(4), join::timeout_then_drop),
    ("join::timeout_then_join", Some(3), join::timeout_then_join),
    ("join::joiner_cancelled", Some(3), join::joiner_cancelled),
    ("join::references", None, join::references),
    ("join::unpark", None, join::unpark),
    ("join::park_timeout", Some(5), join::park_timeout),
    ("join::park_cancelled", Some(3), join::park_cancelled),
    ("home_word::one_home", Some(5), home_word::one_home),
    ("home_word::three_ms", Some(3), home_word::three_ms),
    ("home_word::two_homes", Some(4), home_word::two_homes),
    ("home_word::shut", Some(4), home_word::shut),
    ("home_word::sole", Some(5), home_word::sole),
    ("home_word::two_soles", Some(5), home_word::two_soles),
    ("home_word::asked", Some(3), home_word::asked),
    ("home_word::asked_while_shut", Some(3), home_word::asked_while_shut),
    ("home_word::opened", Some(3), home_word::opened),
    ("biased::owner_and_thief", Some(4), biased::owner_and_thief),
    ("biased::two_thieves", Some(4), biased::two_thieves),
    ("biased::run_queue", Some(3), biased::run_queue),
    ("lock::spin", None, biased::spin),
    ("idle::submit_and_give_up", None, idle::submit_and_give_up),
    ("idle::inject_and_give_up", None, idle::inject_and_give_up),
    ("idle::inject_beside_last", None, idle::inject_beside_last),
    ("idle::timer_beside_last", None, idle::timer_beside_last),
    ("idle::last_searcher", Some(3), idle::last_searcher),
    ("idle::last_searcher_and_sleeper", Some(4), idle::last_searcher_and_sleeper),
    ("idle::no_idle_p", Some(4), idle::no_idle_p),
    ("idle::no_thread", Some(3), idle::no_thread),
    ("idle::batch", Some(2), idle::batch),
    ("idle::timer", None, idle::timer),
    ("idle::timer_and_poller", Some(3), idle::timer_and_poller),
    ("idle::poller_leaves", Some(3), idle::poller_leaves),
    ("idle::feed", Some(4), idle::feed),
    ("idle::two_timers_found", Some(3), idle::two_timers_found),
    ("idle::two_timers_polled", Some(3), idle::two_timers_polled),
    ("idle::stop_poller", None, idle::stop_poller),
    ("idle::stop_sleeper", None, idle::stop_sleeper),
    ("idle::retire", None, idle::retire),
    ("snooze::wake", None, snooze::wake),
    ("snooze::wake_without_timer", None, snooze::wake_without_timer),
    ("snooze::put_off", Some(4), snooze::put_off),
    ("idle::sysmon_sleeps", None, idle::sysmon_sleeps),
    ("idle::sysmon_sleeps_and_one_stops", None, idle::sysmon_sleeps_and_one_stops),
    ("preempt::lend", Some(3), preempt::lend),
    ("preempt::lend_of_two", Some(3), preempt::lend_of_two),
    ("preempt::lend_and_suspend", Some(3), preempt::lend_and_suspend),
    ("preempt::suspend", Some(3), preempt::suspend),
    ("preempt::block_with_thread", Some(2), preempt::block_with_thread),
    ("preempt::block_without_thread", Some(2), preempt::block_without_thread),
    ("procs::retire_and_steal", Some(2), procs::retire_and_steal),
    ("procs::grow_and_submit", Some(3), procs::grow_and_submit),
    ("procs::shrink_and_wake", Some(3), procs::shrink_and_wake),
    ("procs::two_numbers", Some(5), procs::two_numbers),
    ("procs::retire_with_timer", Some(3), procs::retire_with_timer),
    ("os_thread::one_p", Some(3), os_thread::one_p),
    ("os_thread::two_ps", Some(2), os_thread::two_ps),
    ("os_thread::yields", Some(3), os_thread::yields),
    ("os_thread::next_slot", Some(3), os_thread::next_slot),
    ("os_thread::sharers", Some(2), os_thread::sharers),
    ("os_thread::timer", Some(3), os_thread::timer),
    ("poll_word::edge", Some(2), poll_word::edge),
    ("poll_word::two_readers", Some(2), poll_word::two_readers),
    ("poll_word::drained", Some(3), poll_word::drained),
    ("poll_word::drained_end", Some(3), poll_word::drained_end),
    ("poll_word::retract", Some(2), poll_word::retract),
    ("channel::rendezvous", None, channel::rendezvous),
    ("channel::send_timeout", Some(4), channel::send_timeout),
    ("channel::recv_timeout", Some(4), channel::recv_timeout),
    ("channel::recv_cancel", Some(4), channel::recv_cancel),
    ("channel::full_ring", None, channel::full_ring),
    ("channel::close", None, channel::close),
    ("channel::discard", None, channel::discard),
    ("channel::discard_beside_close", None, channel::discard_beside_close),
    ("select::close", None, select::close),
    ("select::timeout", Some(3), select::timeout),
    ("select::cancel", Some(3), select::cancel),
    ("select::facing", Some(3), select::facing),
    ("select::both_ends", Some(3), select::both_ends),
    ("select::twice", None, select::twice),
    ("select::two_senders", Some(2), select::two_senders),
    ("select::full_ring", Some(3), select::full_ring),
    ("select::plain_receiver", Some(4), select::plain_receiver),
    ("select::given_up", Some(4), select::given_up),
    ("select::ready", Some(4), select::ready),
    ("select::ready_close", None, select::ready_close),
    ("mutex::two", Some(4), mutex::two),
    ("mutex::three", Some(2), mutex::three),
    ("mutex::hand_over", Some(2), mutex::hand_over),
    ("mutex::timeout", Some(3), mutex::timeout),
    ("mutex::cancel", Some(2), mutex::cancel),
    ("rwlock::two", Some(3), rwlock::two),
    ("rwlock::three", Some(2), rwlock::three),
    ("rwlock::hand_over", Some(2), rwlock::hand_over),
    ("rwlock::readers", Some(3), rwlock::readers),
    ("rwlock::timeout", Some(2), rwlock::timeout),
    ("rwlock::cancel", Some(3), rwlock::cancel),
    ("rwlock::cancel_or_not", Some(2), rwlock::cancel_or_not),
    ("rwlock::downgrade", Some(2), rwlock::downgrade),
    ("rwlock::downgrade_among_others", Some(2), rwlock::downgrade_among_others),
    ("rwlock::recursive", Some(4), rwlock::recursive),
    ("condvar::timeout", Some(2), condvar::timeout),
    ("condvar::cancel", Some(2), condvar::cancel),
    ("condvar::notify_all", Some(2), condvar::notify_all),
    ("semaphore::timeout", Some(2), semaphore::timeout),
    ("semaphore::cancel", Some(2), semaphore::cancel),
    ("semaphore::close", Some(2), semaphore::close),
];

/// What several threads of a model share and nobody outlives.
pub(crate) struct World<T>(std::sync::Arc<T>);

// SAFETY: that the threads use it rightly is what the models are about.
unsafe impl<T> Send for World<T> {}

impl<T: 'static> World<T> {
    pub(crate) fn new(value: T) -> World<T> {
        crate::os::clock::reset();
        World(std::sync::Arc::new(value))
    }

    /// A thread with the world.
    pub(crate) fn spawn(&self, f: impl FnOnce(&'static T) + 'static) -> JoinHandle<()> {
        let world = World(self.0.clone());
        loom::thread::spawn(move || {
            let world = world;
            f(world.get());
        })
    }

    pub(crate) fn get(&self) -> &'static T {
        // SAFETY: the models join their threads before they drop the world.
        unsafe { &*std::sync::Arc::as_ptr(&self.0) }
    }
}

//! The models. Each makes its world anew for every execution and asserts its promise; a wait
//! that nobody ends is a deadlock, which the checker reports.

mod biased;
mod channel;
mod home_word;
mod idle;
mod join;
mod poll_word;
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
    ("wait::cancel_and_peer", Some(2), wait::cancel_and_peer),
    ("wait::shield", Some(2), wait::shield),
    ("wait::abandon", None, wait::abandon),
    ("wait::deadline", Some(2), wait::deadline),
    ("wait::thread", Some(3), wait::thread),
    ("wait::thread_without_end", None, wait::thread_without_end),
    ("join::join", Some(3), join::join),
    ("join::drop_handle", None, join::drop_handle),
    ("join::timeout_then_drop", Some(2), join::timeout_then_drop),
    ("join::timeout_then_join", Some(2), join::timeout_then_join),
    ("join::joiner_cancelled", Some(2), join::joiner_cancelled),
    ("join::references", Some(3), join::references),
    ("join::unpark", Some(3), join::unpark),
    ("join::park_timeout", Some(2), join::park_timeout),
    ("home_word::one_home", Some(3), home_word::one_home),
    ("home_word::three_ms", Some(2), home_word::three_ms),
    ("home_word::two_homes", Some(2), home_word::two_homes),
    ("home_word::shut", Some(3), home_word::shut),
    ("biased::owner_and_thief", None, biased::owner_and_thief),
    ("biased::two_thieves", Some(3), biased::two_thieves),
    ("biased::run_queue", Some(3), biased::run_queue),
    ("lock::spin", Some(3), biased::spin),
    ("idle::submit_and_give_up", Some(3), idle::submit_and_give_up),
    ("idle::inject_and_give_up", Some(3), idle::inject_and_give_up),
    ("idle::last_searcher", Some(3), idle::last_searcher),
    ("idle::last_searcher_and_sleeper", Some(3), idle::last_searcher_and_sleeper),
    ("idle::no_idle_p", Some(3), idle::no_idle_p),
    ("idle::no_thread", Some(3), idle::no_thread),
    ("idle::batch", Some(2), idle::batch),
    ("idle::timer", Some(3), idle::timer),
    ("idle::stop_poller", Some(3), idle::stop_poller),
    ("idle::stop_sleeper", Some(3), idle::stop_sleeper),
    ("idle::retire", Some(3), idle::retire),
    ("idle::sysmon_sleeps", None, idle::sysmon_sleeps),
    ("poll_word::edge", Some(2), poll_word::edge),
    ("poll_word::two_readers", Some(2), poll_word::two_readers),
    ("poll_word::drained", Some(3), poll_word::drained),
    ("poll_word::drained_end", Some(3), poll_word::drained_end),
    ("poll_word::retract", Some(2), poll_word::retract),
    ("channel::rendezvous", Some(3), channel::rendezvous),
    ("channel::send_timeout", Some(2), channel::send_timeout),
    ("channel::recv_timeout", Some(2), channel::recv_timeout),
    ("channel::recv_cancel", Some(2), channel::recv_cancel),
    ("channel::full_ring", Some(2), channel::full_ring),
    ("channel::close", Some(2), channel::close),
    ("channel::looks_empty", None, channel::looks_empty),
];

/// What several threads of a model share and nobody outlives.
pub(crate) struct World<T>(std::sync::Arc<T>);

// SAFETY: that the threads use it rightly is what the models are about.
unsafe impl<T> Send for World<T> {}

impl<T: 'static> World<T> {
    pub(crate) fn new(value: T) -> World<T> {
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

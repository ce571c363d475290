//! The models. Each makes its world anew for every execution and asserts its promise; a wait
//! that nobody ends is a deadlock, which the checker reports.

mod wait_word;

use loom::thread::JoinHandle;

/// Name, preemptions at most (None: any number), model.
pub(crate) type Model = (&'static str, Option<usize>, fn());

pub(crate) const MODELS: &[Model] = &[
    ("wait_word::one_claim", None, wait_word::one_claim),
    ("wait_word::stale", None, wait_word::stale),
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

//! `SingleFlight`: one call for all who want the same.
//!
//! A call that is on is an [`OnceLock`] in a map, by its key: who comes first initialises it, the others wait for it, and
//! one whose closure unwinds has initialised nothing, so that one of the others calls its own. What is left is when the
//! key goes out of the map. Each caller is a [`Flyer`] of its call, from the look into the map to its end, however it
//! ends. Its drop takes the key out if the call has its value, since who comes now is to begin a new one; or if the
//! call has none and no other flyer, since nobody would take the key out then. The latter is seen by the count of the
//! references: all are made from the one in the map, and end, under the map's lock.
//!
//! The map's lock is std's, though keys are hashed and compared under it. It is taken by the drop of a flyer that unwinds, and
//! who unwinds has its home to itself: a lock of ours might have been handed to somebody of the same home, who could not run.

use super::OnceLock;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lets several who want the same at the same time share one call.
///
/// Nothing is kept: who comes when the call has returned begins a new one. It is what stands in front of a cache, so
/// that a hundred requests for what is not in it are one query. Go's `singleflight`.
///
/// # Panics and cancelling
/// If the closure panics, or its coroutine is cancelled in it, that is its caller's matter alone: one of those who wait
/// calls its own closure instead. So each of them gets a value, or unwinds for a reason of its own.
///
/// # Examples
/// ```
/// use gort::sync::SingleFlight;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use std::time::Duration;
///
/// static QUERIES: AtomicU32 = AtomicU32::new(0);
///
/// fn query(key: &str) -> usize {
///     QUERIES.fetch_add(1, Relaxed);
///     gort::time::sleep(Duration::from_millis(20));
///     key.len()
/// }
///
/// gort::run(|| {
///     let flights = Arc::new(SingleFlight::new());
///     let tasks = [(); 100].map(|()| {
///         let flights = flights.clone();
///         gort::go!(move || flights.run("key", || query("key")))
///     });
///     assert!(tasks.into_iter().all(|task| task.join().unwrap() == 3));
///     assert!(QUERIES.load(Relaxed) < 100);
/// });
/// ```
///
/// # Scheduling
/// [`run`](Self::run) parks the coroutine while another's call is on, and may then be cancelled; it blocks a plain
/// thread. The closure may park.
pub struct SingleFlight<K, V> {
    flights: Mutex<Flights<K, V>>,
}

type Flights<K, V> = HashMap<K, Arc<OnceLock<V>>>;

/// What unwinds out of it, the hashing of a key perhaps, leaves the map as it was.
fn lock<K, V>(flights: &Mutex<Flights<K, V>>) -> MutexGuard<'_, Flights<K, V>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A caller's share of a call.
struct Flyer<'a, K: Eq + Hash, V> {
    flights: &'a Mutex<Flights<K, V>>,
    key: &'a K,
    /// None once it has been given up, under the lock.
    flight: Option<Arc<OnceLock<V>>>,
}

impl<K: Eq + Hash + Clone, V: Clone> SingleFlight<K, V> {
    /// Without a call.
    ///
    /// # Examples
    /// See [`SingleFlight`].
    pub fn new() -> SingleFlight<K, V> {
        SingleFlight::default()
    }

    /// The value of the call that is on for this key, or else of `f`, which is that call for others who come meanwhile.
    ///
    /// `f` must not ask for the same key: it would wait for itself. Each caller has a clone of the value; where it is
    /// large, or an error that has no `Clone`, an [`Arc`] of it does.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::SingleFlight;
    /// use std::sync::Arc;
    ///
    /// let flights = SingleFlight::new();
    /// // As anywhere: an error is a value.
    /// let failed = flights.run(7, || "x".parse::<u32>().map_err(Arc::new));
    /// assert!(failed.is_err());
    /// // That call has returned, so this is a new one.
    /// assert_eq!(flights.run(7, || "5".parse().map_err(Arc::new)), Ok(5));
    /// ```
    ///
    /// # Panics
    /// If `f` does, or the `clone` of the value.
    ///
    /// # Scheduling
    /// See [`SingleFlight`].
    pub fn run(&self, key: K, f: impl FnOnce() -> V) -> V {
        let mut flights = lock(&self.flights);
        let flight = match flights.get(&key) {
            Some(flight) => flight.clone(),
            None => flights.entry(key.clone()).or_default().clone(),
        };
        drop(flights);
        let flyer = Flyer { flights: &self.flights, key: &key, flight: Some(flight) };
        let flight = flyer.flight.as_ref().expect("given up by its drop");
        flight.get_or_init(f).clone()
    }

    /// Leaves the call that is on for this key to those who wait for it already: who comes from now on begins a new one.
    ///
    /// That is for when something has changed that the call may have read before.
    ///
    /// # Examples
    /// ```
    /// use gort::sync::SingleFlight;
    /// let flights = SingleFlight::new();
    /// let value = flights.run("key", || {
    ///     flights.forget(&"key");
    ///     // Not the call that this is in.
    ///     flights.run("key", || 2) + 1
    /// });
    /// assert_eq!(value, 3);
    /// ```
    ///
    /// # Scheduling
    /// Does not park. The thread may be blocked for as long as another looks into the map.
    pub fn forget(&self, key: &K) {
        let forgotten = lock(&self.flights).remove_entry(key);
        // Its drop may be user code.
        drop(forgotten);
    }
}

impl<K: Eq + Hash, V> Drop for Flyer<'_, K, V> {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        let mut flights = lock(self.flights);
        // A key that was forgotten may be in the map again, for another call.
        let listed = flights.get(self.key).is_some_and(|listed| Arc::ptr_eq(listed, &flight));
        // Two references: the map's and ours.
        let last = Arc::strong_count(&flight) == 2;
        let out = if listed && (last || flight.get().is_some()) { flights.remove_entry(self.key) } else { None };
        // The value lives as long as anybody looks at it; its drop, and the key's, are user code.
        let value = Arc::into_inner(flight);
        drop(flights);
        drop((out, value));
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> SingleFlight<K, V> {
        SingleFlight { flights: Mutex::new(HashMap::new()) }
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("SingleFlight");
        // Whoever looks is not to wait.
        if let Ok(flights) = self.flights.try_lock() {
            text.field("calls", &flights.len());
        }
        text.finish_non_exhaustive()
    }
}

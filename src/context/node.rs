//! What ends a context: the tree of those that can be cancelled, or have a deadline.
//!
//! Promise: when a node has ended, all below it have, or are about to by the same call; when a call that has ended a node returns,
//! all below it have, whoever ended them; a node ends once, for one reason; a node that nobody has any more is in nobody's list.
//!
//! A child has a count on its parent; the parent has its children in a list by weak references, each at a place that the child
//! knows. So what is dropped takes itself out, at once. The end of a node goes through its list, by a
//! loop that goes through a child's list before it comes to the next child, and holds no lock while it is at another node. What it
//! comes to and finds past a deadline of its own has ended by that. A list stays until one call has gone through it and all below it:
//! so another, that comes to a node that has ended, finds there whatever may not have.
//! A child that is made of a node that has ended finds that under the node's lock.
//!
//! A deadline is known to all below, as the earliest on the way out (`deadline`). No timer stands for it: a
//! node whose deadline has passed has ended, and the first to look ends it: the node whose own deadline it is,
//! and with it all below. Whoever waits for the end has the deadline for its own wait, and looks then.
//!
//! Tested in `tests.rs` and `tests/context.rs`.

use super::error::{Cause, ContextError};
use crate::os::clock::{self, NEVER, Nanos};
use crate::sched::wait::{Waiter, Wake};
use crate::sched::watch_list::{Guarded, WatchList};
use crate::time::Deadline;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// In no list.
const NOWHERE: usize = usize::MAX;

/// See the module.
pub(super) struct Node {
    parent: Option<Arc<Node>>,
    /// Where in the parent's list; written before anybody else knows the node.
    place: AtomicUsize,
    /// The earliest deadline here and further out, for those who ask and as the wait's.
    deadline: Deadline,
    nanos: Nanos,
    /// That deadline is this node's own, and ends it with this cause.
    own: Option<Option<Cause>>,
    /// Written once, under the lock of `state`.
    end: OnceLock<Ended>,
    state: Guarded<State>,
}

/// How it ended.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) error: ContextError,
    pub(super) cause: Option<Cause>,
}

/// What goes when the node ends.
struct State {
    children: Children,
    watchers: WatchList,
}

/// Weak references at places that stay.
#[derive(Default)]
struct Children {
    places: Vec<Option<Weak<Node>>>,
    free: Vec<usize>,
}

impl Children {
    const fn new() -> Children {
        Children { places: Vec::new(), free: Vec::new() }
    }

    fn add(&mut self, child: Weak<Node>) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(child);
                place
            }
            None => {
                self.places.push(Some(child));
                self.places.len() - 1
            }
        }
    }

    /// None also if the list has gone, after the end.
    fn remove(&mut self, place: usize) -> Option<Weak<Node>> {
        let child = self.places.get_mut(place)?.take();
        self.free.push(place);
        child
    }
}

impl Node {
    /// A child of `parent`, with a deadline, which is also given as the wait's. It has ended if the parent has.
    pub(super) fn new(parent: Option<&Arc<Node>>, deadline: Deadline, nanos: Nanos, cause: Option<Cause>) -> Arc<Node> {
        let (outer, outer_nanos) = parent.map_or((Deadline::NEVER, NEVER), |parent| (parent.deadline, parent.nanos));
        // The earlier one; the own if both are the same. By the instants, which are what the user compares.
        let own = deadline != Deadline::NEVER && outer.min(deadline) == deadline;
        let (deadline, nanos) = if own { (deadline, nanos) } else { (outer, outer_nanos) };
        let node = Arc::new(Node {
            parent: parent.cloned(),
            place: AtomicUsize::new(NOWHERE),
            deadline,
            nanos,
            own: own.then_some(cause),
            end: OnceLock::new(),
            state: Guarded::new(State { children: Children::new(), watchers: WatchList::default() }),
        });
        if let Some(parent) = parent
            && let Some(ended) = parent.adopt(&node)
        {
            node.finish(ended);
        }
        node
    }

    /// Enters a new child; or says how this one has ended.
    fn adopt(&self, child: &Arc<Node>) -> Option<Ended> {
        if let Some(ended) = self.end() {
            return Some(ended.clone());
        }
        let weak = Arc::downgrade(child);
        let mut state = self.state.lock();
        if let Some(ended) = self.end.get() {
            drop(state);
            return Some(ended.clone());
        }
        let place = state.children.add(weak);
        // Relaxed: nobody else knows the child, or reads this before the child's drop.
        child.place.store(place, Ordering::Relaxed);
        None
    }

    /// Forgets the child at `place`.
    fn forget(&self, place: usize) {
        if place == NOWHERE {
            return;
        }
        let mut state = self.state.lock();
        let child = state.children.remove(place);
        drop(state);
        drop(child);
    }

    /// How it has ended. The first to ask after the deadline ends it.
    pub(super) fn end(&self) -> Option<&Ended> {
        let ended = self.end.get();
        if ended.is_some() || self.nanos == NEVER || !clock::has_passed(self.nanos) {
            return ended;
        }
        Some(self.ended())
    }

    /// How it has ended, for who has seen that, or that its deadline has passed: [`end`](Self::end) may be behind, as its clock is.
    pub(super) fn ended(&self) -> &Ended {
        if self.end.get().is_none() {
            self.pass();
        }
        self.end.get().expect("just ended, or before")
    }

    /// Whether it has been ended; for those who look at the deadline themselves.
    pub(super) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The deadline as the wait's.
    pub(super) fn nanos(&self) -> Nanos {
        self.nanos
    }

    /// The deadline has passed: ends the node whose own it is, and with it this one.
    #[cold]
    fn pass(&self) {
        let mut owner = self;
        let cause = loop {
            if let Some(cause) = &owner.own {
                break cause.clone();
            }
            owner = owner.parent.as_deref().expect("a deadline is somebody's own");
        };
        owner.end_as(Ended { error: ContextError::DeadlineExceeded, cause });
        if self.end.get().is_none() {
            // Another call has ended the owner and is on its way here.
            let ended = owner.end.get().expect("just ended, or before").clone();
            self.end_as(ended);
        }
    }

    /// Ends it and all below. False if it had ended: by its deadline, for one.
    pub(super) fn cancel(&self, error: ContextError, cause: Option<Cause>) -> bool {
        self.end().is_none() && self.end_as(Ended { error, cause })
    }

    /// Ends it and all below: by `ended`, or by the deadline of the innermost on the way whose own has passed. False if it
    /// had ended.
    fn end_as(&self, ended: Ended) -> bool {
        if !self.finish(ended) {
            return false;
        }
        let now = clock::now();
        // From this node, which is None, down to where we are; and which child of each is the next.
        let mut line: Vec<(Option<Arc<Node>>, usize)> = vec![(None, 0)];
        while let Some((node, place)) = line.last_mut() {
            let node = node.as_deref().unwrap_or(self);
            let Some(child) = node.child(*place) else {
                line.pop();
                continue;
            };
            *place += 1;
            let Some(child) = child.and_then(|child| child.upgrade()) else { continue };
            child.finish(child.passed(now).unwrap_or_else(|| node.end.get().expect("ended before").clone()));
            // Also if it had ended: by a call that may have yet to come to those below.
            line.push((Some(child), 0));
        }
        true
    }

    /// The child at a place, after the end; None behind the last, when all of them and all below have ended: then the list goes.
    fn child(&self, place: usize) -> Option<Option<Weak<Node>>> {
        let mut state = self.state.lock();
        if let Some(child) = state.children.places.get(place) {
            return Some(child.clone());
        }
        let children = std::mem::take(&mut state.children);
        drop(state);
        drop(children);
        None
    }

    /// How its own deadline has ended it, if that has passed.
    fn passed(&self, now: Nanos) -> Option<Ended> {
        let cause = self.own.as_ref().filter(|_| self.nanos <= now)?;
        Some(Ended { error: ContextError::DeadlineExceeded, cause: cause.clone() })
    }

    /// Ends this one and wakes those who wait for that. False if it had ended.
    fn finish(&self, ended: Ended) -> bool {
        let mut state = self.state.lock();
        let result = self.end.set(ended);
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        watchers.wake();
        result.is_ok()
    }

    /// Enters a waiter, to be woken for the reason `why`; false if the node has ended.
    pub(super) fn watch(&self, waiter: Waiter, why: Wake) -> bool {
        if self.end().is_some() {
            return false;
        }
        let mut state = self.state.lock();
        let waits = self.end.get().is_none();
        if waits {
            state.watchers.add(waiter, why);
        }
        waits
    }

    pub(super) fn unwatch(&self, waiter: Waiter, why: Wake) {
        self.state.lock().watchers.remove(waiter, why);
    }

    /// How many children are in its list.
    #[cfg(test)]
    pub(super) fn children(&self) -> usize {
        self.state.lock().children.places.iter().flatten().count()
    }

    /// How many there is room for.
    #[cfg(test)]
    pub(super) fn state_places(&self) -> usize {
        self.state.lock().children.places.len()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // In a loop: whoever has the last child of the last child.. may end a long line.
        let (mut parent, mut place) = (self.parent.take(), *self.place.get_mut());
        while let Some(node) = parent {
            node.forget(place);
            let Some(mut node) = Arc::into_inner(node) else { break };
            (parent, place) = (node.parent.take(), *node.place.get_mut());
        }
    }
}

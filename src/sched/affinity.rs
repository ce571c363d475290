//! Where a runtime's threads run: on some CPUs only, or each P on a CPU of its own.
//!
//! The kernel knows only threads, so an M takes the affinity of the P that it gets, on its own thread, before it
//! goes on with a coroutine: a system call (half a microsecond) when that is another P than last time.

use super::m::M;
use super::runtime::Shared;
use crate::os::cpus::{self, CpuSet};
use std::cell::Cell;
use std::io;

/// The CPUs of a runtime.
#[derive(Debug)]
pub(crate) struct Affinity {
    all: CpuSet,
    usable: usize,
    /// That of P i at i modulo their number; empty unless Ps are pinned.
    of_ps: Box<[CpuSet]>,
}

impl Affinity {
    /// None if there is nothing to do: any CPU of the thread that builds it will do.
    pub(crate) fn new(set: Option<CpuSet>, pinned: bool) -> io::Result<Option<Affinity>> {
        if set.is_none() && !pinned {
            return Ok(None);
        }
        let allowed = CpuSet::of_thread()?;
        let all = set.unwrap_or_else(|| allowed.clone());
        // Whether the kernel agrees, on the calling thread; then back.
        cpus::set_affinity(&all)?;
        let usable = CpuSet::of_thread();
        cpus::set_affinity(&allowed)?;
        let usable = usable?;
        let of_ps = if pinned { usable.iter().map(|cpu| CpuSet::from_iter([cpu])).collect() } else { Box::default() };
        Ok(Some(Affinity { all, usable: usable.len(), of_ps }))
    }

    /// How many CPUs there are, as far as they can be had.
    pub(crate) fn cpus(&self) -> usize {
        self.usable
    }
}

/// An M's part: the CPUs that its thread has.
#[derive(Debug)]
pub(crate) struct Place(Cell<Option<usize>>);

impl Place {
    pub(crate) fn new() -> Place {
        Place(Cell::new(None))
    }
}

impl Shared {
    /// At the beginning of a thread.
    pub(crate) fn confine(&self) {
        if let Some(affinity) = &self.affinity {
            // A CPU that has gone offline since the runtime was built leaves the thread where it is.
            cpus::confine(&affinity.all);
        }
    }
}

impl M {
    /// At the beginning of its thread.
    pub(crate) fn take_place(&self) {
        self.rt.confine();
    }

    /// On its own thread, with a P. Async-signal-safe.
    #[inline(always)]
    pub(crate) fn follow_p(&self) {
        if let Some(affinity) = &self.rt.affinity
            && !affinity.of_ps.is_empty()
        {
            self.follow_p_slow(affinity);
        }
    }

    #[cold]
    fn follow_p_slow(&self, affinity: &Affinity) {
        let Some(p) = self.p.get() else { return };
        if self.is_set_aside() {
            // Where the thread runs is now the business of who keeps it.
            return;
        }
        let at = p.index % affinity.of_ps.len();
        if self.place.0.replace(Some(at)) != Some(at) {
            // As above.
            cpus::confine(&affinity.of_ps[at]);
        }
    }
}

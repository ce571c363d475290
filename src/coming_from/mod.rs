//! What you know, and what it is called here: tables for those who come from crossbeam, from std, or from Go.
//!
//! | coming from | the page |
//! |---|---|
//! | the `crossbeam-channel` crate | [`crossbeam`] |
//! | [`std::sync`], with its `mpsc` channels | [`std_sync`] |
//! | Go's `context`, `time` and `sync`, and `errgroup`, `semaphore` and `singleflight` of `x/sync` | [`go`] |
//! | [`std::net`], [`std::os::unix::net`] | [`std_net`] |
//! | [`std::io`]: streams, pipes, copying | [`std_io`] |
//! | [`std::process`] | [`std_process`] |
//! | [`std::fs`] | [`std_fs`] |
//!
//! The pages list every public item of theirs, with its methods and what it implements: of std, what is stable, and of
//! [`std::io`] what waits. What is unstable is named where there is something to say of it. Ours are links, which the
//! build of this documentation checks. Where there is nothing of ours the table says why.
//!
//! There is no code in these modules.
//!
//! # What is different everywhere
//!
//! | | there | here |
//! |---|---|---|
//! | who waits | a thread, or a goroutine | a coroutine, which parks, or a plain thread, which blocks |
//! | a call that waits can be ended from outside | no | by [`JoinHandle::cancel`](crate::JoinHandle::cancel), by [`timeout`](crate::time::timeout()), by a [`Context`](crate::context::Context): it unwinds, having done nothing |
//! | a panic | crossbeam, std: ends its thread; Go: ends the process | ends its coroutine; [`join`](crate::JoinHandle::join) has the payload |
//! | a panic under a lock | std: poisons it; crossbeam, Go: no | does not poison; see [`sync`](crate::sync#panics-and-cancelling) |
//! | waiting without end, since nobody is left to end it | nobody sees it; Go: `all goroutines are asleep` | the runtime reports it, with each coroutine's wait and where it was spawned |
//! | the time slice | Go: 10 ms | 10 ms; [`RuntimeBuilder::time_slice`](crate::RuntimeBuilder::time_slice) |

pub mod crossbeam {
    #![doc = include_str!("crossbeam.md")]

    #[cfg(doc)]
    use crate::channel::*;
}

pub mod std_sync {
    #![doc = include_str!("std_sync.md")]

    #[cfg(doc)]
    use crate::{channel, sync::*};
}

pub mod go {
    #![doc = include_str!("go.md")]

    #[cfg(doc)]
    use crate::{channel, context::*, group::*, sync::*, time::*};
}

pub mod std_net {
    #![doc = include_str!("std_net.md")]
}

pub mod std_io {
    #![doc = include_str!("std_io.md")]
}

pub mod std_process {
    #![doc = include_str!("std_process.md")]
}

pub mod std_fs {
    #![doc = include_str!("std_fs.md")]
}

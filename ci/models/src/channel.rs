//! Channels, without their public handles.

mod blocking {
    include!(concat!(env!("OUT_DIR"), "/channel_blocking.rs"));
}
mod case {
    include!(concat!(env!("OUT_DIR"), "/channel_case.rs"));
}
mod chan {
    include!(concat!(env!("OUT_DIR"), "/channel_chan.rs"));
}
mod clock {
    include!(concat!(env!("OUT_DIR"), "/channel_clock.rs"));
}
mod handles {
    include!(concat!(env!("OUT_DIR"), "/channel_handles.rs"));
}
mod select {
    include!(concat!(env!("OUT_DIR"), "/channel_select.rs"));
}
mod store {
    include!(concat!(env!("OUT_DIR"), "/channel_store.rs"));
}
mod waitq {
    include!(concat!(env!("OUT_DIR"), "/channel_waitq.rs"));
}
pub(crate) use blocking::{Refused, Until};
pub(crate) use case::{Case, Chosen};
pub(crate) use chan::Chan;
pub(crate) use select::{Order, choose, ready};

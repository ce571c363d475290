//! Channels, without their public handles.

mod blocking {
    include!(concat!(env!("OUT_DIR"), "/channel_blocking.rs"));
}
mod chan {
    include!(concat!(env!("OUT_DIR"), "/channel_chan.rs"));
}
mod handles {
    include!(concat!(env!("OUT_DIR"), "/channel_handles.rs"));
}
mod store {
    include!(concat!(env!("OUT_DIR"), "/channel_store.rs"));
}
mod waitq {
    include!(concat!(env!("OUT_DIR"), "/channel_waitq.rs"));
}
pub(crate) use blocking::{Refused, Until};
pub(crate) use chan::Chan;

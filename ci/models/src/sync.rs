//! Locks and other means of waiting, without their public types.

pub(crate) mod raw_condvar {
    include!(concat!(env!("OUT_DIR"), "/sync_raw_condvar.rs"));
}
pub(crate) mod raw_mutex {
    include!(concat!(env!("OUT_DIR"), "/sync_raw_mutex.rs"));
}
pub(crate) mod raw_rwlock {
    include!(concat!(env!("OUT_DIR"), "/sync_raw_rwlock.rs"));
}
pub(crate) mod raw_semaphore {
    include!(concat!(env!("OUT_DIR"), "/sync_raw_semaphore.rs"));
}
pub(crate) mod waitq {
    include!(concat!(env!("OUT_DIR"), "/sync_waitq.rs"));
}

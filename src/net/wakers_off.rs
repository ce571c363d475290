//! No futures wait for descriptors: the feature `futures-io` is off.

/// See `wakers.rs`.
#[derive(Debug, Default)]
pub(super) struct Wakers(());

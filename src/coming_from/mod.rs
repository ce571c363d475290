//! What you know, and what it is called here: tables for those who come from std.
//!
//! | coming from | the page |
//! |---|---|
//! | [`std::net`], [`std::os::unix::net`], helpers of [`std::io`] | [`std_net`] |
//! | [`std::process`] | [`std_process`] |
//! | [`std::fs`] | [`std_fs`] |
//!
//! The pages list every public item of theirs, with its methods and what it implements. Ours are links, which the build
//! of this documentation checks. Where there is nothing of ours the table says why.
//!
//! There is no code in these modules.

pub mod std_net {
    #![doc = include_str!("std_net.md")]
}

pub mod std_process {
    #![doc = include_str!("std_process.md")]
}

pub mod std_fs {
    #![doc = include_str!("std_fs.md")]
}

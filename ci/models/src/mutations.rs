// Included by `build.rs` too.

/// One line of a protocol, broken.
#[derive(Debug)]
pub struct Mutation {
    pub name: &'static str,
    /// Which model must notice.
    pub model: &'static str,
    /// Below `src/`.
    pub file: &'static str,
    /// How the item begins that has the line.
    pub within: &'static str,
    /// The line, or the part of it, which is there once.
    pub line: &'static str,
    /// What it is replaced by.
    pub broken: &'static str,
    /// What is wrong with that.
    pub why: &'static str,
}

pub const MUTATIONS: &[Mutation] = &[];

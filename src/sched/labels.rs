//! Labels of coroutines.
//!
//! Go has them for profiles; here they are in reports and wherever a coroutine is printed. They lie beside the name
//! ([`Extra`](super::g::Extra)), so who has none pays nothing, and do not change while the coroutine lives: so a report,
//! or the handler of a stack overflow, reads them without a lock.
//!
//! A coroutine inherits the labels of its spawner if it is told to, by [`Builder::inherit`](crate::Builder::inherit), as with
//! locals (`local.rs` says why not unasked). Those who inherit all and add none share one list.

use super::g::Label;
use super::m::M;
use std::fmt;
use std::sync::Arc;

/// The labels of a coroutine, as [`Coroutine::labels`](crate::Coroutine::labels) gives them.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let builder = gort::Builder::new().label("shard", "7").label("tenant", "ada");
///     let handle = builder.spawn(gort::park).unwrap();
///     let coroutine = handle.coroutine();
///     assert_eq!(coroutine.labels().get("tenant"), Some("ada"));
///     assert_eq!(coroutine.labels().iter().next(), Some(("shard", "7")));
///     assert_eq!(coroutine.labels().to_string(), "{shard=7, tenant=ada}");
///     coroutine.unpark();
///     handle.join().unwrap();
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Labels<'a>(&'a [Label]);

impl<'a> Labels<'a> {
    pub(super) fn new(labels: &'a [Label]) -> Labels<'a> {
        Labels(labels)
    }

    /// The value under that key.
    ///
    /// # Examples
    /// See [`Labels`].
    pub fn get(self, key: &str) -> Option<&'a str> {
        self.iter().find(|label| label.0 == key).map(|label| label.1)
    }

    /// Keys and values: what is inherited first, otherwise in the order in which they were given.
    ///
    /// # Examples
    /// See [`Labels`].
    pub fn iter(self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there are none.
    ///
    /// # Examples
    /// ```
    /// assert!(gort::run(|| gort::current().labels().is_empty()));
    /// ```
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// `{key=value, key=value}`. It neither allocates nor locks: the handler of stack overflows prints it.
impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { "{" } else { ", " })?;
        }
        f.write_str(if self.0.is_empty() { "{}" } else { "}" })
    }
}

/// The list of a coroutine with labels of its own, and with those of its spawner, the caller, if it `inherits`.
pub(super) fn list(own: &[(String, String)], inherits: bool) -> Option<Arc<[Label]>> {
    let theirs = if inherits { M::current_coroutine().and_then(|g| g.share_labels()) } else { None };
    if own.is_empty() {
        return theirs;
    }
    let mut labels: Vec<Label> = theirs.map(|theirs| theirs.to_vec()).unwrap_or_default();
    for (key, value) in own {
        match labels.iter_mut().find(|label| *label.0 == **key) {
            Some(label) => label.1 = value.as_str().into(),
            None => labels.push((key.as_str().into(), value.as_str().into())),
        }
    }
    Some(labels.into())
}

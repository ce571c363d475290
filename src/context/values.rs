//! The values of a context: a list from the innermost outwards, which contexts share.

use std::any::Any;
use std::sync::Arc;

/// See the module.
pub(super) struct Values {
    outer: Option<Arc<Values>>,
    value: Box<dyn Any + Send + Sync>,
}

impl Values {
    pub(super) fn new(outer: Option<Arc<Values>>, value: Box<dyn Any + Send + Sync>) -> Arc<Values> {
        Arc::new(Values { outer, value })
    }

    /// The innermost of this type.
    pub(super) fn get<T: Any>(&self) -> Option<&T> {
        let mut next = Some(self);
        while let Some(values) = next {
            if let Some(value) = values.value.downcast_ref() {
                return Some(value);
            }
            next = values.outer.as_deref();
        }
        None
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        // In a loop: the list may be long.
        let mut next = self.outer.take();
        while let Some(mut values) = next.and_then(Arc::into_inner) {
            next = values.outer.take();
        }
    }
}

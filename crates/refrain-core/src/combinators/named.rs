//! `.named(..)`: another name.

use std::borrow::Cow;

use super::forward;
use crate::callback::Callback;
use crate::error::{Error, Result};

/// A callback under another name; see [`CallbackExt::named`](super::CallbackExt::named).
pub struct Named<C> {
    callback: C,
    name: String,
}

impl<C> Named<C> {
    pub(super) fn new(callback: C, name: impl Into<String>) -> Self {
        Self { callback, name: name.into() }
    }
}

impl<C: Callback> Callback for Named<C> {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone().into()
    }

    fn check(&self) -> Result {
        if self.name.is_empty() {
            return Err(Error::config("name is empty; give the callback a name or leave it out"));
        }
        self.callback.check()
    }

    forward!(on_event, failure_policy, access, findings, rest);
}

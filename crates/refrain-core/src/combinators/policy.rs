//! `.on_failure(..)`: what happens when the callback fails.

use super::forward;
use crate::callback::{Callback, OnFailure};

/// A callback with a failure policy; see [`CallbackExt::on_failure`](super::CallbackExt::on_failure).
pub struct WithPolicy<C> {
    callback: C,
    policy: OnFailure,
}

impl<C> WithPolicy<C> {
    pub(super) fn new(callback: C, policy: OnFailure) -> Self {
        Self { callback, policy }
    }
}

impl<C: Callback> Callback for WithPolicy<C> {
    fn failure_policy(&self) -> OnFailure {
        self.policy
    }

    forward!(name, on_event, check, access, findings, rest);
}

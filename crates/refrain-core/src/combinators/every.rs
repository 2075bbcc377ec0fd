//! `.every(n)`: every n-th epoch only.

use super::forward;
use crate::callback::Callback;
use crate::error::{Error, Result};
use crate::event::{Event, Hook};
use crate::run::Run;

/// A callback that sees every n-th epoch; see [`CallbackExt::every`](super::CallbackExt::every).
pub struct Every<C> {
    callback: C,
    n: usize,
    in_training: bool,
}

impl<C> Every<C> {
    pub(super) fn new(callback: C, n: usize) -> Self {
        Self { callback, n, in_training: false }
    }
}

impl<C: Callback> Callback for Every<C> {
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        let hook = event.hook();
        if hook == Hook::TrainBegin {
            self.in_training = true;
        }
        if hook == Hook::TrainEnd {
            self.in_training = false;
        }
        let is_due = match hook {
            Hook::TrainBegin | Hook::TrainEnd => true,
            // `evaluate` and `predict` by themselves belong to no epoch.
            _ if !self.in_training => true,
            _ => (run.progress.epoch + 1).is_multiple_of(self.n),
        };
        if is_due { self.callback.on_event(run, event) } else { Ok(()) }
    }

    fn check(&self) -> Result {
        if self.n == 0 {
            return Err(Error::config("every is 0; allowed: 1 or more"));
        }
        self.callback.check()
    }

    forward!(name, failure_policy, rest);
}

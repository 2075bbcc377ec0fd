//! A callback that fails.

use std::borrow::Cow;

use crate::callback::Callback;
use crate::error::{Error, Result};
use crate::event::{Event, Hook};
use crate::run::Run;
use crate::state::State;

/// Fails, or panics, the n-th time in a run that it is told one event.
///
/// # Example
/// ```
/// use refrain_core::event::Hook;
/// use refrain_core::testing::{FailAt, Script};
/// use refrain_core::{CallbackExt as _, Fit, OnFailure, Trainer};
///
/// let script = Script::losses(&[2.0, 1.0]);
/// let fit = || Fit::epochs(2).verbose(0);
/// let mut trainer =
///     Trainer::new(script.learner(), 0.1).callback(FailAt::new(Hook::EpochEnd, 2));
/// let error = trainer.fit(&script.data(), fit()).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "callback `fail_at` failed in on_epoch_end at epoch 2 (step 2): as planned"
/// );
///
/// // Only the second call in a run fails.
/// let once = FailAt::new(Hook::TrainBegin, 2).on_failure(OnFailure::Disable);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(once);
/// assert!(trainer.fit(&script.data(), fit()).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct FailAt {
    hook: Hook,
    nth: usize,
    panics: bool,
    seen: usize,
}

impl FailAt {
    /// Returns an error the `nth` time, counted from 1; 0: never.
    pub fn new(hook: Hook, nth: usize) -> Self {
        Self { hook, nth, panics: false, seen: 0 }
    }

    /// Panics instead.
    pub fn panics(mut self) -> Self {
        self.panics = true;
        self
    }
}

impl Callback for FailAt {
    fn name(&self) -> Cow<'static, str> {
        "fail_at".into()
    }

    fn on_event(&mut self, _: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        if event.hook() != self.hook {
            return Ok(());
        }
        self.seen += 1;
        if self.seen != self.nth {
            return Ok(());
        }
        assert!(!self.panics, "as planned");
        Err(Error::msg("as planned"))
    }

    fn load_state(&mut self, _: Option<&State>) -> Result {
        self.seen = 0;
        Ok(())
    }
}

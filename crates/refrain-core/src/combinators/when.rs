//! `.when(..)`: while a condition holds.

use super::conditional::{Part, Rule};
use crate::event::Hook;
use crate::run::Run;

pub(super) struct When<F> {
    pub(super) is_due: F,
}

impl<F> Rule for When<F>
where
    F: FnMut(&Run<'_>) -> bool + Send + 'static,
{
    fn name(&self) -> &'static str {
        "when"
    }

    fn is_due(&mut self, _: Part, _: Hook, run: &Run<'_>) -> bool {
        (self.is_due)(run)
    }

    fn decides_once(&self) -> bool {
        true
    }

    fn asks_outside_training(&self) -> bool {
        true
    }
}

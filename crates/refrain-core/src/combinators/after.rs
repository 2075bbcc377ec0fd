//! `.after(n)`: from an epoch on.

use super::conditional::{Part, Rule};
use crate::event::Hook;
use crate::finding::RunPlan;
use crate::run::Run;

pub(super) struct After {
    pub(super) epochs: usize,
}

impl Rule for After {
    fn name(&self) -> &'static str {
        "after"
    }

    fn is_due(&mut self, _: Part, _: Hook, run: &Run<'_>) -> bool {
        run.progress.epoch >= self.epochs
    }

    fn first_epoch(&self, plan: &RunPlan) -> Option<usize> {
        Some(self.epochs.max(plan.initial_epoch))
    }
}

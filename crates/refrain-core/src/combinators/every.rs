//! `.every(n)`: every n-th epoch only.

use super::conditional::{Part, Rule};
use crate::callback::Access;
use crate::error::{Error, Result};
use crate::event::Hook;
use crate::finding::RunPlan;
use crate::run::Run;

pub(super) struct Every {
    pub(super) n: usize,
}

impl Rule for Every {
    fn name(&self) -> &'static str {
        "every"
    }

    fn is_due(&mut self, _: Part, _: Hook, run: &Run<'_>) -> bool {
        (run.progress.epoch + 1).is_multiple_of(self.n)
    }

    fn check(&self, _: &Access) -> Result {
        if self.n == 0 {
            return Err(Error::config("every is 0; allowed: 1 or more"));
        }
        Ok(())
    }

    fn first_epoch(&self, plan: &RunPlan) -> Option<usize> {
        let n = self.n.max(1);
        Some((plan.initial_epoch / n).saturating_mul(n).saturating_add(n - 1))
    }
}

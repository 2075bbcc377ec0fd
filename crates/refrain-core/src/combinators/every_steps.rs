//! `.every_steps(n)`: the batches of every n-th optimizer step only.

use super::conditional::{Part, Rule};
use crate::callback::Access;
use crate::error::{Error, Result};
use crate::event::Hook;
use crate::finding::RunPlan;
use crate::run::Run;

pub(super) struct EverySteps {
    pub(super) n: u64,
    /// Optimizer steps made when the batch began.
    began_at: Option<u64>,
}

impl EverySteps {
    pub(super) fn new(n: u64) -> Self {
        Self { n, began_at: None }
    }
}

impl Rule for EverySteps {
    fn name(&self) -> &'static str {
        "every_steps"
    }

    fn is_due(&mut self, part: Part, hook: Hook, run: &Run<'_>) -> bool {
        let step = run.progress.step;
        match (part, hook) {
            // The step is made: by this batch, or by one before it where the update was put off.
            (Part::Batch, Hook::TrainBatchEnd) => {
                step.is_multiple_of(self.n) && self.began_at != Some(step)
            }
            (Part::Batch, _) => (step + 1).is_multiple_of(self.n),
            _ => true,
        }
    }

    fn thins_batches(&self) -> bool {
        true
    }

    fn hooks(&self) -> &'static [Hook] {
        &[Hook::TrainBatchBegin]
    }

    fn see(&mut self, hook: Hook, run: &Run<'_>) {
        if hook == Hook::TrainBatchBegin {
            self.began_at = Some(run.progress.step);
        }
    }

    fn check(&self, access: &Access) -> Result {
        if self.n == 0 {
            return Err(Error::config("every_steps is 0; allowed: 1 or more"));
        }
        if !Part::Batch.is_handled(access) {
            return Err(Error::config(
                "every_steps chooses among training batches, and the callback acts in none; \
                 use every, which chooses among epochs",
            ));
        }
        Ok(())
    }

    fn first_epoch(&self, plan: &RunPlan) -> Option<usize> {
        let per_epoch = plan.steps_per_epoch as u64;
        // Step counts from 1 here: the n-th is in epoch (n - 1) / steps_per_epoch.
        let made = (plan.initial_epoch as u64).checked_mul(per_epoch)?;
        let next = (made / self.n.max(1) + 1).checked_mul(self.n)?;
        usize::try_from(next.checked_sub(1)?.checked_div(per_epoch)?).ok()
    }
}

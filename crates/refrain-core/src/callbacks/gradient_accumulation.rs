//! Updates the weights once in several batches.

use serde::{Deserialize, Serialize};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BackwardEnd, Hook};
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Updates the weights once in `steps` batches, with the mean of their gradients.
///
/// Trains as with batches `steps` times as large, in the memory that one batch takes. Batches whose
/// update is put off do not count as optimizer steps: `progress.step`, and with it every schedule
/// in steps, counts updates.
///
/// The last batch of an epoch always updates, with the mean of the batches that there are, so that
/// no epoch leaves gradients to the next. Where the length of an epoch is not known (a loop written
/// by hand without `steps_per_epoch`), or the epoch is shorter than planned, they are kept for
/// the next epoch; at the end of the run they are thrown away. Setting weights in between throws
/// them away too: gradients belong to the weights that they were computed with.
///
/// - Reads: nothing
/// - Writes: nothing; puts updates off
/// - Requests: nothing
/// - State: batches since the last update. Their gradients are in no checkpoint: one that is taken
///   between two updates goes on with a mean over fewer batches; at the end of an epoch none are
///   kept.
/// - Cost: memory for one more set of gradients, one pass over them for each batch.
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `steps` | must be given | whole, ≥ 2 | batches for one update |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "gradient_accumulation"
/// steps = 4
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::GradientAccumulation;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// // 10 batches: updates after 4, 8 and, at the end of the epoch, 10.
/// let script = Script::losses(&[2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(GradientAccumulation::new(4));
/// trainer.fit(&script.samples(10), Fit::epochs(2).batch_size(1).verbose(0))?;
/// assert_eq!(trainer.learner().updates(), 6);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - There it is an option of the optimizer, `gradient_accumulation_steps`.
/// - The last batch of an epoch updates; Keras counts on across epochs, and what is left at the
///   end of training is lost.
/// - Constraints on weights hold after an update; Keras applies them after each batch, which shows
///   where the weights that a run begins with break one.
/// - Schedules count updates; Keras' schedules count batches while its Adam counts updates.
///
/// # Source
/// Keras, `Optimizer(gradient_accumulation_steps)`.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientAccumulation {
    steps: usize,
    state: GradientAccumulationState,
}

/// State of [`GradientAccumulation`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GradientAccumulationState {
    /// Batches since the last update.
    pub batches: usize,
}

impl GradientAccumulation {
    /// One update in `steps` batches, 2 or more.
    pub fn new(steps: usize) -> Self {
        Self { steps, state: GradientAccumulationState::default() }
    }
}

impl Callback for GradientAccumulation {
    fn on_backward_end(&mut self, run: &mut Run<'_>, step: &mut BackwardEnd) -> Result {
        if step.is_update_skipped() {
            // With this batch's gradients those that were kept are thrown away.
            self.state.batches = 0;
            return Ok(());
        }
        self.state.batches += 1;
        let is_last = run.progress.batch + 1 == run.progress.steps_per_epoch;
        if is_last || self.state.batches >= self.steps {
            self.state.batches = 0;
        } else {
            step.accumulate();
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::BackwardEnd]).accumulates(self.steps)
    }

    fn check(&self) -> Result {
        if self.steps < 2 {
            return Err(Error::config(format!(
                "steps is {}; allowed: 2 or more; without the callback every batch updates",
                self.steps
            )));
        }
        Ok(())
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let Self { steps, .. } = self;
        let batches = plan.steps_per_epoch;
        if batches == 0 || *steps <= batches {
            return Vec::new();
        }
        let message = format!("steps is {steps}, and an epoch has {batches} batches");
        let fix = format!("every epoch makes one update, as with steps = {batches}");
        vec![Finding::warning("long-accumulation", message).fix(fix).option("steps")]
    }

    plain_state!();
}

impl FromOptions for GradientAccumulation {
    const NAME: &'static str = "gradient_accumulation";
    const EXAMPLE: &'static str = "steps = 4";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        Ok(Self::new(options.require("steps", "steps = 4")?.usize(2)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset as _;
    use crate::testing::Script;
    use crate::{Epochs, Fit, LambdaCallback, Trainer};

    /// Updates after each epoch, and whether something is kept after the last.
    fn updates(steps: usize, batches: usize, skipped: Option<usize>) -> (Vec<f64>, usize) {
        let script = Script::losses(&[1.0]);
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .callback(LambdaCallback::new("skip").on_backward_end(move |run, step| {
                if skipped == Some(run.progress.batch) {
                    step.skip_update();
                }
                Ok(())
            }))
            .callback(GradientAccumulation::new(steps))
            .callback(LambdaCallback::new("count").on_epoch_end(|run, epoch| {
                epoch.logs.insert("step", run.progress.step as f64);
                Ok(())
            }));
        let fit = Fit::epochs(2).batch_size(1).verbose(0);
        let history = trainer.fit(&script.samples(batches), fit).unwrap();
        let steps = history.column("step").into_iter().flatten().collect();
        (steps, trainer.learner().kept())
    }

    #[test]
    fn updates_once_in_several_batches_and_at_the_end_of_an_epoch() {
        for (steps, batches, skipped, expected) in [
            (2, 6, None, [3.0, 6.0]),
            (3, 6, None, [2.0, 4.0]),
            (4, 6, None, [2.0, 4.0]),
            (9, 6, None, [1.0, 2.0]),
            (2, 1, None, [1.0, 2.0]),
            // Batch 1 of 0..6 would have updated: the pair before it is lost.
            (2, 6, Some(1), [2.0, 4.0]),
        ] {
            let case = format!("{steps} of {batches}, without {skipped:?}");
            assert_eq!(updates(steps, batches, skipped), (expected.to_vec(), 0), "{case}");
        }
    }

    #[test]
    fn counts_on_where_the_epochs_length_is_not_known() {
        let script = Script::losses(&[1.0]);
        let data = script.samples(3);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(GradientAccumulation::new(2));
        let mut session = trainer.session(Epochs::new(3).verbose(0)).unwrap();
        while session.begin_epoch().unwrap() {
            for index in 0..data.len() {
                session.train_batch(data.batch(&[index]).unwrap(), None).unwrap();
            }
            session.end_epoch().unwrap();
        }
        session.finish().unwrap();
        assert_eq!((trainer.learner().updates(), trainer.learner().kept()), (4, 1));

        // The next run begins with nothing kept.
        let fit = Fit::epochs(1).batch_size(3).verbose(0);
        trainer.fit(&data, fit).unwrap();
        assert_eq!((trainer.learner().updates(), trainer.learner().kept()), (5, 0));
    }

    #[test]
    fn the_options_are_checked() {
        for steps in [0, 1] {
            let error = GradientAccumulation::new(steps).check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("steps is {steps}; allowed: 2 or more")), "{error}");
        }
        let found = |steps| {
            let plan = RunPlan { steps_per_epoch: 3, ..RunPlan::default() };
            GradientAccumulation::new(steps).findings(&plan).len()
        };
        assert_eq!((found(3), found(4)), (0, 1));
    }
}

//! Reduces the learning rate by a factor every few epochs.

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::Hook;
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Multiplies the learning rate by `factor` every `step_epochs` epochs.
///
/// Owns a factor of the learning rate, `factor ^ ⌊epoch / step_epochs⌋`: a function of the epoch, so
/// it combines with other callbacks that change the rate, and needs no state to go on after a
/// resume. It acts in `on_epoch_begin`.
///
/// With `verbose` a line is printed at each reduction. Its epoch counts from 0, as in the exercise
/// that this callback comes from; everything else that Refrain prints counts from 1.
///
/// - Reads: nothing
/// - Writes: nothing
/// - Requests: nothing
/// - State: none; [`lr_history`](Self::lr_history) is taken from the run's history
/// - Cost: one power an epoch
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `factor` | 0.5 | finite, > 0 | what the rate is multiplied by |
/// | `step_epochs` | 10 | whole, ≥ 1 | epochs between two reductions |
/// | `verbose` | true | true or false | whether reductions are printed |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "step_lr_scheduler"
/// factor = 0.5
/// step_epochs = 10
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::StepLrScheduler;
/// use refrain_core::console::Console;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[1.0; 20]);
/// let (console, printed) = Console::memory();
/// let mut trainer = Trainer::new(script.learner(), 0.1)
///     .console(console)
///     .callback(StepLrScheduler { factor: 0.5, step_epochs: 5, ..StepLrScheduler::default() });
/// trainer.fit(&script.data(), Fit::epochs(20).verbose(0))?;
///
/// assert_eq!(printed.contents(), "\
/// Epoch 5: Reducing LR from 0.100000 to 0.050000
/// Epoch 10: Reducing LR from 0.050000 to 0.025000
/// Epoch 15: Reducing LR from 0.025000 to 0.012500
/// ");
/// let scheduler = trainer.get::<StepLrScheduler>().unwrap();
/// assert_eq!(scheduler.lr_history()[4..6], [0.1, 0.05]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// The exercise that Refrain began with. As a schedule:
/// [`StepDecay`](crate::schedule::StepDecay).
#[derive(Clone, Debug)]
pub struct StepLrScheduler {
    /// What the rate is multiplied by.
    pub factor: f64,
    /// Epochs between two reductions.
    pub step_epochs: usize,
    /// Whether reductions are printed.
    pub verbose: bool,
    /// What [`lr_history`](Self::lr_history) returns; leave it empty.
    pub lr_history: Vec<f64>,
}

impl Default for StepLrScheduler {
    fn default() -> Self {
        Self { factor: 0.5, step_epochs: 10, verbose: true, lr_history: Vec::new() }
    }
}

impl StepLrScheduler {
    /// Multiplies the rate by `factor` every `step_epochs` epochs.
    pub fn new(factor: f64, step_epochs: usize) -> Self {
        Self { factor, step_epochs, ..Self::default() }
    }

    /// Whether reductions are printed. Default true.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// The rate with which each epoch of the last run began.
    pub fn lr_history(&self) -> &[f64] {
        &self.lr_history
    }
}

impl Callback for StepLrScheduler {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        // Empty, unless the run goes on from a checkpoint.
        self.lr_history = run.history.column("learning_rate").into_iter().flatten().collect();
        Ok(())
    }

    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        let epoch = run.progress.epoch;
        let reductions = i32::try_from(epoch / self.step_epochs).unwrap_or(i32::MAX);
        let before = run.learning_rate.get();
        run.learning_rate.set_factor(run.callback_name(), self.factor.powi(reductions))?;
        let after = run.learning_rate.get();
        let is_reduction = epoch > 0 && epoch.is_multiple_of(self.step_epochs);
        if is_reduction && self.verbose {
            run.print(&format!("Epoch {epoch}: Reducing LR from {before:.6} to {after:.6}"));
        }
        self.lr_history.push(after);
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::TrainBegin, Hook::EpochBegin]).scales_rate()
    }

    fn check(&self) -> Result {
        if self.step_epochs == 0 {
            return Err(Error::config("step_epochs is 0; allowed: 1 or more"));
        }
        if !(self.factor.is_finite() && self.factor > 0.0) {
            return Err(Error::config(format!(
                "factor is {}; allowed: a finite number above 0, typically 0.1 to 0.5",
                self.factor
            )));
        }
        Ok(())
    }
}

impl FromOptions for StepLrScheduler {
    const NAME: &'static str = "step_lr_scheduler";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut scheduler = Self::default();
        if let Some(factor) = options.get("factor") {
            let allowed = "a finite number above 0";
            scheduler.factor = factor.f64_in(allowed, |x| x.is_finite() && x > 0.0)?;
        }
        if let Some(step_epochs) = options.get("step_epochs") {
            scheduler.step_epochs = step_epochs.usize(1)?;
        }
        if let Some(verbose) = options.get("verbose") {
            scheduler.verbose = verbose.bool()?;
        }
        Ok(scheduler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;
    use crate::{CallbackExt as _, Fit, Trainer};

    #[test]
    fn two_of_them_commute_and_the_factors_say_why() {
        let rates = |steps: [usize; 2]| {
            let script = Script::losses(&[1.0; 5]);
            let mut trainer = Trainer::new(script.learner(), 1.0);
            for step in steps {
                let scheduler = StepLrScheduler::new(0.5, step).verbose(false);
                trainer = trainer.callback(scheduler.named(format!("every_{step}")));
            }
            let history = trainer.fit(&script.data(), Fit::epochs(5).verbose(0)).unwrap();
            (history.column("learning_rate"), trainer.learning_rate().explain())
        };
        let (forward, explained) = rates([2, 3]);
        assert_eq!(forward, rates([3, 2]).0);
        assert_eq!(forward, [1.0, 1.0, 0.5, 0.25, 0.125].map(Some));
        assert_eq!(explained, "1 × 0.25 (every_2) × 0.5 (every_3) = 0.125");
    }

    #[test]
    fn a_run_that_begins_late_has_the_rate_of_its_epoch() {
        let script = Script::losses(&[1.0; 4]);
        let mut trainer = Trainer::new(script.learner(), 1.0)
            .callback(StepLrScheduler::new(0.5, 2).verbose(false));
        let fit = Fit::epochs(7).initial_epoch(5).verbose(0);
        let history = trainer.fit(&script.data(), fit).unwrap();
        assert_eq!(history.column("learning_rate"), [0.25, 0.125].map(Some));
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        for (factor, step_epochs, word) in [
            (0.5, 0, "step_epochs is 0"),
            (0.0, 1, "factor is 0"),
            (-1.0, 1, "factor is -1"),
            (f64::NAN, 1, "factor is NaN"),
        ] {
            let error = StepLrScheduler::new(factor, step_epochs).check().unwrap_err();
            assert!(error.to_string().starts_with(word), "{error}");
        }
    }
}

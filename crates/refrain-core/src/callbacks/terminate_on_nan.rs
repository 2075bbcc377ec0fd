//! Stops when the loss is no longer a number, or goes back and on with a lower rate.

use serde::{Deserialize, Serialize};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BatchEnd, EpochEnd, Hook};
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Stops training when the training loss is NaN or infinite; before that, where it may, goes back to
/// the last good checkpoint and on from there with a lower learning rate.
///
/// It looks at the epoch's running mean of the loss at the end of a batch, and once more at the
/// end of the epoch. A mean that is not finite stays so until the epoch ends: looking at every
/// tenth batch finds it too, at most nine batches later. After a stop the epoch ends as usual, with
/// its validation; with `raise_error` the run fails at once. The validation loss and other metrics
/// are not looked at.
///
/// With `rollbacks` the run is put back to its newest checkpoint that was due
/// ([`Run::roll_back`]): weights, optimizer, position, logs, what other callbacks remember. Each time
/// this callback's factor of the learning rate is multiplied by `factor`. The run has to keep
/// [checkpoints](crate::Trainer::checkpoints); one of the beginning is taken too. The journal has a
/// record of each, and later entries of the JSON log show the factor. When all are used up, the run is
/// stopped or fails as without any. A rehearsal, which has no checkpoint, is stopped.
///
/// - Reads: `loss`
/// - Writes: with `rollbacks` a factor of the learning rate
/// - Requests: a stop; with `rollbacks` a way back to a checkpoint
/// - State: the epoch after which the run was stopped, the number of rollbacks
/// - Cost: a read from the device every `every_batches` batches; it waits for the device
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `raise_error` | false | true, false | whether the run fails instead of being stopped |
/// | `rollbacks` | 0 | whole, ≥ 0 | how often the run goes back to a checkpoint before that |
/// | `factor` | 0.5 | above 0, at most 1 | what the learning rate is multiplied by each time |
/// | `every_batches` | 1 | whole, ≥ 1 | look at the loss after every n-th batch of an epoch |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "terminate_on_nan"
/// every_batches = 10
/// rollbacks = 2
/// factor = 0.1
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::TerminateOnNan;
/// use refrain_core::testing::Script;
/// use refrain_core::{Ending, Fit, Trainer};
///
/// let script = Script::losses(&[1.0, f64::NAN, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(TerminateOnNan::new());
/// let history = trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
///
/// assert_eq!(history.len(), 2);
/// assert!(matches!(history.ending, Ending::Stopped(reason) if reason.by == "terminate_on_nan"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// Back to the last good checkpoint:
/// ```
/// use refrain_core::callbacks::TerminateOnNan;
/// use refrain_core::checkpoint::Checkpoints;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path();
/// let script = Script::losses(&[3.0, f64::NAN, 2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1)
///     .checkpoints(Checkpoints::in_dir(dir))
///     .callback(TerminateOnNan::new().rollbacks(1));
/// let history = trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
/// // The script plays NaN in its second epoch, whatever the rate: the second time the run is stopped.
/// assert_eq!(history.len(), 2);
/// assert_eq!(trainer.learning_rate().get(), 0.05);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - `rollbacks` and `factor` are Refrain's own.
/// - The line that is printed names the epoch, and counts epoch and batch from 1.
/// - The loss is looked at once more at the end of the epoch, where replayed logs have it.
/// - With `raise_error`, `on_train_end` runs all the same, as after every error.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.TerminateOnNaN`.
#[derive(Clone, Debug)]
pub struct TerminateOnNan {
    raise_error: bool,
    every_batches: usize,
    rollbacks: usize,
    factor: f64,
    state: TerminateOnNanState,
}

/// State of [`TerminateOnNan`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TerminateOnNanState {
    /// The epoch, counted from 0, whose loss was not finite.
    pub stopped_epoch: Option<usize>,
    /// How often the run was put back to a checkpoint.
    pub rollbacks: usize,
}

impl Default for TerminateOnNan {
    fn default() -> Self {
        let state = TerminateOnNanState::default();
        Self { raise_error: false, every_batches: 1, rollbacks: 0, factor: 0.5, state }
    }
}

impl TerminateOnNan {
    /// Looks at every batch, and stops.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the run fails instead of being stopped. Default false.
    pub fn raise_error(mut self, raise: bool) -> Self {
        self.raise_error = raise;
        self
    }

    /// Looks after every n-th batch of an epoch, n ≥ 1. Default 1.
    pub fn every_batches(mut self, n: usize) -> Self {
        self.every_batches = n;
        self
    }

    /// How often the run goes back to its last good checkpoint before it is stopped. Default 0. Above
    /// 0 the run has to keep checkpoints.
    pub fn rollbacks(mut self, most: usize) -> Self {
        self.rollbacks = most;
        self
    }

    /// What the learning rate is multiplied by at each rollback: above 0, at most 1. Default 0.5.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// How often the run was put back to a checkpoint.
    pub fn rolled_back(&self) -> usize {
        self.state.rollbacks
    }

    /// The epoch, counted from 0, whose loss was not finite.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.state.stopped_epoch
    }

    fn look_at(&mut self, loss: Option<f64>, place: &str, run: &mut Run<'_>) -> Result {
        let Some(loss) = loss.filter(|loss| !loss.is_finite()) else {
            return Ok(());
        };
        let epoch = run.progress.epoch + 1;
        if self.state.rollbacks < self.rollbacks && !run.is_rehearsal() {
            self.state.rollbacks += 1;
            let factor = run.learning_rate.factor(run.callback_name()) * self.factor;
            run.roll_back(format!("the loss is {loss}"), factor);
            return Ok(());
        }
        self.state.stopped_epoch = Some(run.progress.epoch);
        if self.raise_error {
            return Err(Error::msg(format!(
                "the loss is {loss} in epoch {epoch}{place}; try a lower learning rate, or clip \
                 the gradients"
            )));
        }
        run.print(&format!("Epoch {epoch}{place}: invalid loss {loss}, terminating training"));
        run.stop(format!("the loss is {loss}"));
        Ok(())
    }
}

impl Callback for TerminateOnNan {
    fn on_train_batch_end(&mut self, run: &mut Run<'_>, batch: &BatchEnd) -> Result {
        if !(batch.index + 1).is_multiple_of(self.every_batches) {
            return Ok(());
        }
        // The name of the place is made only where there is something to say.
        let loss = run.batch_logs()?.get("loss").filter(|loss| !loss.is_finite());
        if loss.is_none() {
            return Ok(());
        }
        self.look_at(loss, &format!(", batch {}", batch.index + 1), run)
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        if self.state.stopped_epoch.is_some() {
            return Ok(());
        }
        self.look_at(epoch.logs.get("loss"), "", run)
    }

    fn access(&self) -> Access {
        let hooks = [Hook::TrainBatchEnd, Hook::EpochEnd];
        let access = Access::new().acts_in(hooks).reads("loss").may_stop();
        if self.rollbacks > 0 { access.may_roll_back().scales_rate() } else { access }
    }

    fn check(&self) -> Result {
        if self.every_batches == 0 {
            return Err(Error::config("every_batches is 0; allowed: 1 or more"));
        }
        if !is_factor(self.factor) {
            return Err(Error::config(format!("factor is {}; allowed: {FACTOR}", self.factor)));
        }
        Ok(())
    }

    plain_state!();
}

const FACTOR: &str = "above 0 and at most 1, for example 0.5";

fn is_factor(factor: f64) -> bool {
    factor > 0.0 && factor <= 1.0
}

impl FromOptions for TerminateOnNan {
    const NAME: &'static str = "terminate_on_nan";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut terminate = Self::new();
        if let Some(raise) = options.get("raise_error") {
            terminate = terminate.raise_error(raise.bool()?);
        }
        if let Some(n) = options.get("every_batches") {
            terminate = terminate.every_batches(n.usize(1)?);
        }
        if let Some(most) = options.get("rollbacks") {
            terminate = terminate.rollbacks(most.usize(0)?);
        }
        if let Some(factor) = options.get("factor") {
            terminate = terminate.factor(factor.f64_in(FACTOR, is_factor)?);
        }
        Ok(terminate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Console;
    use crate::testing::Script;
    use crate::{Fit, Trainer};

    const NAN: f64 = f64::NAN;

    fn run(
        terminate: TerminateOnNan,
        losses: &[f64],
        batches: usize,
    ) -> (Result<usize>, u64, String) {
        let script = Script::losses(losses);
        let (console, printed) = Console::memory();
        let mut trainer = Trainer::new(script.learner(), 0.1).console(console).callback(terminate);
        let fit = Fit::epochs(losses.len()).batch_size(1).verbose(0);
        let epochs = trainer.fit(&script.samples(batches), fit).map(|history| history.len());
        (epochs, trainer.learner().updates(), printed.contents())
    }

    #[test]
    fn stops_at_the_first_batch_that_shows_it() {
        let said = |loss: &str, batch| {
            format!("Epoch 2, batch {batch}: invalid loss {loss}, terminating training\n")
        };
        for (losses, every, epochs, updates, printed) in [
            (&[1.0, NAN, 1.0][..], 1, 2, 5, said("NaN", 1)),
            (&[1.0, f64::INFINITY, 1.0], 1, 2, 5, said("inf", 1)),
            (&[1.0, -f64::INFINITY, 1.0], 1, 2, 5, said("-inf", 1)),
            (&[1.0, NAN, 1.0], 3, 2, 7, said("NaN", 3)),
            // Not at the last batch: found at the end of the epoch.
            (&[1.0, NAN, 1.0], 5, 2, 8, "Epoch 2: invalid loss NaN, terminating training\n".into()),
            (&[1.0, 2.0], 1, 2, 8, String::new()),
        ] {
            let terminate = TerminateOnNan::new().every_batches(every);
            let (ran, trained, text) = run(terminate, losses, 4);
            assert_eq!((ran.unwrap(), trained, text), (epochs, updates, printed));
        }
    }

    #[test]
    fn fails_at_once_where_that_is_wanted() {
        let (ran, updates, _) = run(TerminateOnNan::new().raise_error(true), &[1.0, NAN], 4);
        let error = ran.unwrap_err().to_string();
        assert!(error.contains("the loss is NaN in epoch 2, batch 1"), "{error}");
        assert_eq!(updates, 5);
    }
}

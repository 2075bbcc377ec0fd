//! A run without training: callbacks over recorded numbers.

use serde_json::Value;

use crate::callback::Callback;
use crate::console::Console;
use crate::error::{Error, Result};
use crate::event::Hook;
use crate::learner::{Clip, Learner, ModelAccess, TrainStep};
use crate::logs::Logs;
use crate::outcome::Ending;
use crate::schedule::Rate;
use crate::session::Epochs;
use crate::trainer::Trainer;
use crate::weights::Weights;

/// Hooks for which single batches matter.
const BATCH_HOOKS: [Hook; 3] = [Hook::TrainBatchBegin, Hook::BackwardEnd, Hook::TrainBatchEnd];

/// Runs callbacks over the numbers of a recorded run: what would they have done?
///
/// Rates in the record are ignored: they are what is asked for. A key that an epoch does not have
/// is a missing metric. Callbacks that only [observe](crate::Access::observes) are left out.
///
/// Cost: a few microseconds an epoch; where a callback acts in batches, about a microsecond a batch.
///
/// # Example
/// ```
/// use refrain_core::callbacks::EarlyStopping;
/// use refrain_core::{Logs, Monitor, Replay};
///
/// let losses = [3.0, 2.0, 2.5, 2.5, 1.0];
/// let epochs = losses.map(|loss| Logs::from([("val_loss", loss)]));
/// let stopping = EarlyStopping::new(Monitor::min("val_loss"))
///     .patience(2)
///     .restore_best_weights(true);
/// let replayed = Replay::new(epochs).run(vec![Box::new(stopping)], 0.1)?;
/// assert_eq!(replayed.epochs.len(), 4);
/// assert_eq!(replayed.by.as_deref(), Some("early_stopping"));
/// assert_eq!(replayed.restored_epoch, Some(2));
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    /// Epochs, counted from 0, with their logs.
    rows: Vec<(usize, Logs)>,
    epochs: usize,
    steps_per_epoch: usize,
    seed: u64,
}

/// What callbacks did in one epoch of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedEpoch {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The rate of its last update.
    pub learning_rate: f64,
    /// The rate after its end.
    pub next_learning_rate: f64,
    /// Whether a stop was asked for.
    pub stop: bool,
    /// Names of the callbacks that have a state, with the state.
    pub states: Vec<(String, Value)>,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Epochs until the stop.
    pub epochs: Vec<ReplayedEpoch>,
    /// The callback that asked for the stop.
    pub by: Option<String>,
    /// The epoch whose weights were restored at the end, counted from 1.
    pub restored_epoch: Option<usize>,
}

impl Replay {
    /// A record of epochs from the first on.
    pub fn new(epochs: impl IntoIterator<Item = Logs>) -> Self {
        Self::of_epochs(epochs.into_iter().enumerate())
    }

    /// A record of epochs with their numbers, counted from 0 and rising.
    pub fn of_epochs(epochs: impl IntoIterator<Item = (usize, Logs)>) -> Self {
        let rows = epochs
            .into_iter()
            .map(|(epoch, logs)| {
                let is_metric = |(name, _): &(&str, f64)| *name != "learning_rate";
                let kept = logs.iter().filter(is_metric).map(|(name, x)| (name.to_owned(), x));
                (epoch, kept.collect())
            })
            .collect();
        Self { rows, epochs: 0, steps_per_epoch: 1, seed: 0 }
    }

    /// Epochs that the run was planned to have, for schedules that look at the end. Default: those
    /// of the record.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Optimizer steps in an epoch, for schedules that count steps. Default 1.
    pub fn steps_per_epoch(mut self, steps: usize) -> Self {
        self.steps_per_epoch = steps.max(1);
        self
    }

    /// The run's seed, for callbacks that draw random numbers. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs the callbacks.
    ///
    /// # Errors
    /// When two of them set the base rate, options are out of range, or one fails.
    pub fn run(
        &self,
        callbacks: Vec<Box<dyn Callback>>,
        learning_rate: impl Into<Rate>,
    ) -> Result<Replayed> {
        let mut epochs = Vec::with_capacity(self.rows.len());
        let mut ended = self.run_with(callbacks, learning_rate, |epoch| {
            epochs.push(epoch);
            Ok(())
        })?;
        ended.epochs = epochs;
        Ok(ended)
    }

    /// As [`run`](Self::run), handing each epoch over instead of keeping it.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `each` returns.
    pub fn run_with(
        &self,
        callbacks: Vec<Box<dyn Callback>>,
        learning_rate: impl Into<Rate>,
        mut each: impl FnMut(ReplayedEpoch) -> Result,
    ) -> Result<Replayed> {
        let callbacks: Vec<Box<dyn Callback>> =
            callbacks.into_iter().filter(|callback| !callback.access().is_observing()).collect();
        let needs_batches = callbacks.iter().any(|callback| {
            let access = callback.access();
            BATCH_HOOKS.into_iter().any(|hook| access.handles(hook))
        });
        let learner = RecordedLearner::new(&self.rows, &callbacks);
        let first = self.rows.first().map_or(0, |(epoch, _)| *epoch);
        let end = self.rows.last().map_or(0, |(epoch, _)| epoch + 1);
        let mut trainer = Trainer::new(learner, learning_rate)
            .console(Console::silent())
            .seed(self.seed)
            .rehearse()
            .callbacks(callbacks);
        let plan = Epochs::new(self.epochs.max(end))
            .initial_epoch(first)
            .steps_per_epoch(self.steps_per_epoch)
            .verbose(0);
        let mut session = trainer.session(plan)?;
        for (index, (epoch, _)) in self.rows.iter().enumerate() {
            if let Some(previous) = index.checked_sub(1).and_then(|i| self.rows.get(i))
                && previous.0 >= *epoch
            {
                return Err(Error::data(format!(
                    "epoch {} comes after epoch {}; allowed: epochs that rise",
                    epoch + 1,
                    previous.0 + 1
                )));
            }
            session.go_to_epoch(*epoch);
            if !session.begin_epoch()? {
                break;
            }
            session.learner().play(index);
            let batches = if needs_batches { self.steps_per_epoch } else { 1 };
            if !needs_batches {
                session.go_to_last_batch();
            }
            for _ in 0..batches {
                session.train_batch(1, None)?;
                if session.should_stop() {
                    break;
                }
            }
            session.end_epoch()?;
            each(session.replayed())?;
        }
        let stopped = session.should_stop();
        session.leave_completed();
        session.finish()?;
        let by = match &trainer.history().ending {
            Ending::Stopped(reason) if stopped => Some(reason.by.clone()),
            _ => None,
        };
        let restored_epoch = trainer.learner().restored;
        Ok(Replayed { epochs: Vec::new(), by, restored_epoch })
    }
}

/// Plays the numbers of a record to callbacks, those of the validation among them: it is run
/// without any. Its weights are the epoch that they belong to.
#[derive(Debug)]
pub struct RecordedLearner {
    rows: Vec<Logs>,
    names: Vec<String>,
    index: usize,
    epoch: f32,
    epochs: Vec<usize>,
    restored: Option<usize>,
}

impl RecordedLearner {
    /// A learner for these callbacks; before [`play`](Self::play) its logs are empty.
    pub fn new(rows: &[(usize, Logs)], callbacks: &[Box<dyn Callback>]) -> Self {
        let recorded = rows.iter().flat_map(|(_, logs)| logs.names().map(str::to_owned));
        // A metric that the record lacks is missing in every epoch, which is no mistake here.
        let read = callbacks.iter().flat_map(|callback| callback.access().read().to_vec());
        let mut names: Vec<String> = vec!["loss".to_owned()];
        for name in recorded.chain(read) {
            if name != "learning_rate" && !names.contains(&name) {
                names.push(name);
            }
        }
        Self {
            rows: rows.iter().map(|(_, logs)| logs.clone()).collect(),
            epochs: rows.iter().map(|(epoch, _)| *epoch).collect(),
            names,
            index: usize::MAX,
            epoch: -1.0,
            restored: None,
        }
    }

    /// Goes to the row `index`, from 0; beyond the last, logs are empty.
    pub fn play(&mut self, index: usize) {
        self.index = index;
    }

    /// Goes to the row of `epoch`, counted from 0; where there is none, logs are empty.
    pub fn play_epoch(&mut self, epoch: usize) {
        self.index = self.epochs.binary_search(&epoch).unwrap_or(usize::MAX);
    }
}

impl ModelAccess for RecordedLearner {
    fn weights(&self) -> Result<Weights> {
        // The square beside it: a mean of several epochs' weights is no epoch's.
        let squared = self.epoch * self.epoch;
        Ok(Weights::from_f32([("epoch", vec![2], vec![self.epoch, squared])]))
    }

    fn set_weights(&mut self, weights: &Weights) -> Result {
        let bytes = weights.get("epoch").map(|tensor| &*tensor.bytes);
        let Some(&[a, b, c, d, e, f, g, h]) = bytes else {
            return Err(Error::data("no tensor `epoch` of two f32"));
        };
        let epoch = f32::from_le_bytes([a, b, c, d]);
        let is_one = f32::from_le_bytes([e, f, g, h]) == epoch * epoch && epoch >= 0.0;
        self.restored = is_one.then_some(epoch as usize + 1);
        self.epoch = epoch;
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64> {
        Err(Error::engine("a record has no gradients"))
    }

    fn gradient_norms(&mut self) -> Result<Vec<(String, f64)>> {
        Ok(Vec::new())
    }

    fn clip_gradients(&mut self, _: Clip) -> Result {
        Ok(())
    }

    fn set_momentum(&mut self, _: f64) -> Result {
        Ok(())
    }

    fn optimizer_state(&self) -> Result<Weights> {
        Ok(Weights::from_f32::<&str>([]))
    }

    fn set_optimizer_state(&mut self, _: &Weights) -> Result {
        Ok(())
    }

    fn read_metrics(&mut self, logs: &mut Logs) -> Result {
        for (name, value) in self.rows.get(self.index).into_iter().flat_map(Logs::iter) {
            logs.insert(name, value);
        }
        Ok(())
    }
}

impl Learner for RecordedLearner {
    type Batch = usize;
    type Output = ();

    fn metric_names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn forward_backward(&mut self, batch: usize, _: TrainStep<'_>) -> Result<usize> {
        Ok(batch)
    }

    fn apply_gradients(&mut self, _: f64) -> Result {
        if let Some(epoch) = self.epochs.get(self.index) {
            self.epoch = *epoch as f32;
        }
        Ok(())
    }

    fn clear_gradients(&mut self) {}

    fn accumulate_gradients(&mut self) -> Result {
        Ok(())
    }

    fn evaluate(&mut self, batch: usize, _: Option<&[f32]>) -> Result<usize> {
        Ok(batch)
    }

    fn predict(&mut self, batch: usize) -> Result<((), usize)> {
        Ok(((), batch))
    }

    fn concat(&mut self, _: Vec<()>) -> Result<()> {
        Ok(())
    }

    fn reset_metrics(&mut self) {}

    fn step_state(&self) -> Result<Weights> {
        Ok(Weights::default())
    }

    fn set_step_state(&mut self, _: &Weights) -> Result {
        Ok(())
    }
}

//! The learning rate of a run before the run.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use refrain_core::console::Console;
use refrain_core::schedule::Rate;
use refrain_core::testing::Script;
use refrain_core::{
    Callback, LambdaCallback, Progress, RateAccess, RecordedLearner, Result, StopHandle, Trainer,
};
use refrain_plot::TrainingLog;

use super::{Recipe, replay};

/// An update of the weights in a preview.
#[derive(Clone, Copy, Debug)]
struct Step {
    epoch: usize,
    /// Updates before it.
    step: u64,
    rate: f64,
}

/// How far a preview goes.
#[derive(Clone, Debug)]
struct Until {
    /// So many updates.
    steps: u64,
    /// Or until somebody ends it.
    stop: StopHandle,
}

impl Until {
    /// To the end of the run.
    fn end() -> Self {
        Self { steps: u64::MAX, stop: StopHandle::default() }
    }
}

/// The learning rate of an epoch that another number of planned epochs would have changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateChange {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The rate that it had.
    pub old: f64,
    /// The rate that it would have.
    pub new: f64,
}

impl fmt::Display for RateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, old, new } = self;
        write!(
            f,
            "learning rate of epoch {epoch}, which follows the number of epochs: {old:?} → {new:?}"
        )
    }
}

impl Recipe {
    /// The learning rate of each epoch, as the log would have it, without training.
    ///
    /// All callbacks and schedules that change the rate are run by the loop that trains. Those
    /// that look at a metric need a log with its values; without one they are left out, for what
    /// depends on metrics cannot be known before. Where the log ends, metrics are missing.
    ///
    /// # Errors
    /// When the recipe's callbacks contradict each other.
    pub fn preview_epochs(&self, log: Option<&TrainingLog>) -> Result<Vec<f64>> {
        Ok(self.preview(log, &Until::end())?.0)
    }

    /// The learning rate of each optimizer step.
    ///
    /// # Errors
    /// As [`preview_epochs`](Self::preview_epochs).
    pub fn preview_steps(&self, log: Option<&TrainingLog>) -> Result<Vec<f64>> {
        Ok(self.preview(log, &Until::end())?.1.into_iter().map(|step| step.rate).collect())
    }

    /// Whether the first `steps` updates would have had other learning rates if `planned` epochs
    /// were planned, as they once were: a schedule may follow the length of the run. The first that
    /// differs; none where `stop` is stopped before it is found.
    ///
    /// Cost: that of so many updates without a model; nothing where the rate is a number and no
    /// callback changes it.
    ///
    /// # Example
    /// ```
    /// let rate = "compile.optimizer.learning_rate={ type = \"linear\", initial_learning_rate = 0.1, \
    ///             decay_steps = 1.0, unit = \"fraction\" }";
    /// let set = ["callbacks=[]".into(), "fit.epochs=20".into(), rate.into()];
    /// let recipe = refrain::Recipe::builtin(&set)?;
    /// // After ten steps of a run of ten epochs, twenty are planned.
    /// let stop = refrain::StopHandle::default();
    /// let change = recipe.rate_change(10, 10, &stop)?.expect("the second step had a lower rate");
    /// assert_eq!(change.epoch, 1);
    /// assert!(change.old < change.new);
    /// assert_eq!(recipe.rate_change(20, 10, &stop)?, None);
    /// # Ok::<(), refrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`preview_epochs`](Self::preview_epochs).
    pub fn rate_change(
        &self,
        planned: usize,
        steps: u64,
        stop: &StopHandle,
    ) -> Result<Option<RateChange>> {
        if planned == self.fit.epochs || !self.changes_rate()? {
            return Ok(None);
        }
        let mut then = self.clone();
        then.fit.epochs = planned;
        let until = Until { steps, stop: stop.clone() };
        let (then, now) = (then.preview(None, &until)?.1, self.preview(None, &until)?.1);
        let done = then.iter().zip(&now).take_while(|(then, _)| then.step < steps);
        let mut changes = done.filter(|(then, now)| then.rate != now.rate);
        let change = changes.next().map(|(then, now)| RateChange {
            epoch: then.epoch + 1,
            old: then.rate,
            new: now.rate,
        });
        Ok(change)
    }

    /// Whether the rate may be another at one step than at another, before any metric is known.
    fn changes_rate(&self) -> Result<bool> {
        let by_callback =
            self.callbacks("".as_ref())?.iter().any(|callback| changes_rate(&**callback, false));
        Ok(by_callback || matches!(self.learning_rate()?, Rate::Schedule(_)))
    }

    fn preview(&self, log: Option<&TrainingLog>, until: &Until) -> Result<(Vec<f64>, Vec<Step>)> {
        let samples = self.fit.trained_samples(self.data_shape()?.0, self.data.validation_split);
        let rows = log.map_or(Ok(Vec::new()), replay::rows)?;
        let callbacks: Vec<Box<dyn Callback>> = self
            .callbacks("".as_ref())?
            .into_iter()
            .filter(|callback| changes_rate(&**callback, log.is_some()))
            .collect();
        let steps = Arc::new(Mutex::new(Vec::new()));
        let (seen, until, end) = (Arc::clone(&steps), until.clone(), StopHandle::default());
        let stop = end.clone();
        let preview = LambdaCallback::new("preview")
            .on_epoch_begin(|run| {
                let epoch = run.progress.epoch;
                if let Some(learner) = run.model_as::<RecordedLearner>() {
                    learner.play_epoch(epoch);
                }
                Ok(())
            })
            .on_backward_end(move |run, step| {
                let is_last = run.progress.step.saturating_add(1) >= until.steps;
                if until.stop.is_stopped() || (is_last && !step.is_accumulating()) {
                    stop.stop();
                }
                if !step.is_accumulating() {
                    let Progress { epoch, step, .. } = run.progress;
                    let step = Step { epoch, step, rate: run.learning_rate.get() };
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(step);
                }
                Ok(())
            });
        let learner = RecordedLearner::new(&rows, &callbacks);
        let mut trainer = Trainer::new(learner, self.learning_rate()?)
            .console(Console::silent())
            .stop_with(end)
            .rehearse()
            .callbacks(callbacks)
            .callback(preview);
        // The same epochs and batches; only the order is not worth its time, and the values of the
        // validation come with the record.
        let fit = self.fit.options(None).shuffle(false).verbose(0);
        let data = Script::losses(&[0.0]).samples(samples);
        let history = trainer.fit(&data, fit).map_err(|e| e.context(&self.origin))?;
        let epochs = history.column("learning_rate").into_iter().flatten().collect();
        drop(trainer);
        let steps = std::mem::take(&mut *steps.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((epochs, steps))
    }
}

/// Whether a callback changes the rate, and can do so without metrics or with those of a log; or
/// decides how many steps there are.
fn changes_rate(callback: &dyn Callback, has_log: bool) -> bool {
    let access = callback.access();
    access.batches_per_update().is_some()
        || access.rate() != RateAccess::None && (has_log || access.read().is_empty())
}

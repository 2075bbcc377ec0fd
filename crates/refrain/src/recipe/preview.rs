//! The learning rate of a run before the run.

use std::sync::{Arc, Mutex, PoisonError};

use refrain_core::console::Console;
use refrain_core::testing::Script;
use refrain_core::{
    Callback, Dataset as _, LambdaCallback, RateAccess, RecordedLearner, Result, Trainer,
};
use refrain_plot::TrainingLog;

use super::{Recipe, replay};

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
        Ok(self.preview(log)?.0)
    }

    /// The learning rate of each optimizer step.
    ///
    /// # Errors
    /// As [`preview_epochs`](Self::preview_epochs).
    pub fn preview_steps(&self, log: Option<&TrainingLog>) -> Result<Vec<f64>> {
        Ok(self.preview(log)?.1)
    }

    fn preview(&self, log: Option<&TrainingLog>) -> Result<(Vec<f64>, Vec<f64>)> {
        let samples = self.fit.trained_samples(self.load_data()?.len(), self.data.validation_split);
        let rows = log.map_or(Ok(Vec::new()), replay::rows)?;
        let callbacks: Vec<Box<dyn Callback>> = self
            .callbacks("".as_ref())?
            .into_iter()
            .filter(|callback| changes_rate(&**callback, log.is_some()))
            .collect();
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let preview = LambdaCallback::new("preview")
            .on_epoch_begin(|run| {
                let epoch = run.progress.epoch;
                if let Some(learner) = run.model_as::<RecordedLearner>() {
                    learner.play_epoch(epoch);
                }
                Ok(())
            })
            .on_backward_end(move |run, step| {
                if !step.is_accumulating() {
                    let rate = run.learning_rate.get();
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(rate);
                }
                Ok(())
            });
        let learner = RecordedLearner::new(&rows, &callbacks);
        let mut trainer = Trainer::new(learner, self.learning_rate()?)
            .console(Console::silent())
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

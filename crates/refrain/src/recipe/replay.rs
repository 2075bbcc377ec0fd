//! A recipe's callbacks over a recorded log.

use refrain_core::{Error, Logs, Replay, Replayed, ReplayedEpoch, Result};
use refrain_plot::TrainingLog;

use super::Recipe;

impl Recipe {
    /// Runs the recipe's callbacks over a log, without training: what would they have done? Each
    /// epoch is handed to `each`.
    ///
    /// Schedules see the recipe's own epochs and steps; rates in the log are ignored.
    ///
    /// # Errors
    /// When the callbacks contradict each other or fail, and what `each` returns.
    pub fn replay(
        &self,
        log: &TrainingLog,
        each: impl FnMut(ReplayedEpoch) -> Result,
    ) -> Result<Replayed> {
        let plan = self.plan()?;
        Replay::of_epochs(rows(log)?)
            .epochs(plan.epochs)
            .steps_per_epoch(plan.steps_per_epoch)
            .seed(self.seed)
            .run_with(self.callbacks("".as_ref())?, self.learning_rate()?, each)
            .map_err(|e| e.context(&self.origin))
    }
}

/// The log's epochs, counted from 0, with their numbers.
pub(super) fn rows(log: &TrainingLog) -> Result<Vec<(usize, Logs)>> {
    // Keras' own loggers count from 0.
    let first = usize::from(!log.epochs().contains(&0));
    let mut rows = Vec::with_capacity(log.epochs().len());
    for epoch in log.epochs() {
        let epoch = usize::try_from(*epoch)
            .map_err(|_| Error::data(format!("epoch {epoch} is no number of an epoch")))?;
        rows.push((epoch.saturating_sub(first), Logs::new()));
    }
    for key in log.keys() {
        // In ascending order of epoch, as the rows are.
        let mut values = log.values(key).peekable();
        for (epoch, (_, logs)) in log.epochs().iter().zip(&mut rows) {
            if let Some((_, value)) = values.next_if(|(at, _)| at == epoch) {
                logs.insert(key, value);
            }
        }
    }
    Ok(rows)
}

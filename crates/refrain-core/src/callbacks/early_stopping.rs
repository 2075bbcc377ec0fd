//! Stops when a metric has stopped improving; restores the best weights.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Hook};
use crate::finding::{Finding, RunPlan};
use crate::monitor::Monitor;
use crate::options::Section;
use crate::outcome::Outcome;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::{State, exact_float};
use crate::weights::Weights;

/// Stops training when a monitored metric has stopped improving.
///
/// An epoch improves when its value is better than the best so far by more than `min_delta`. After
/// `patience` epochs without improvement the run is stopped, at the earliest in the second epoch.
/// With `restore_best_weights` the model gets the weights of the best epoch back when training
/// ends, whatever ended it: this callback, another one, Ctrl-C, an error.
///
/// An epoch without the metric (validation not due) changes nothing.
///
/// - Reads: the monitored metric
/// - Writes: nothing; with `restore_best_weights` the model's weights, when training ends
/// - Requests: a stop
/// - State: epochs waited, best value and epoch, best weights
/// - Cost: with `restore_best_weights` one copy of the weights to the host at each improvement
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `monitor` | `"val_loss"` | a metric of the run | what to watch |
/// | `mode` | `"auto"` | `"auto"`, `"min"`, `"max"` | whether smaller or larger is better |
/// | `min_delta` | 0 | finite; the sign is ignored | the least change that is an improvement |
/// | `patience` | 0 | whole, ≥ 0 | epochs without improvement before the stop; 0 is the same as 1 |
/// | `baseline` | none | a number | waiting restarts only at improvements that also beat it |
/// | `restore_best_weights` | false | true, false | whether the model ends with its best weights |
/// | `start_from_epoch` | 0 | whole, ≥ 0 | epochs before it, counted from 0, are not looked at |
/// | `verbose` | false | true, false | whether stopping and restoring are printed |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "early_stopping"
/// monitor = "val_accuracy"
/// patience = 5
/// restore_best_weights = true
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::EarlyStopping;
/// use refrain_core::testing::Script;
/// use refrain_core::{Ending, Fit, Monitor, Trainer};
///
/// let script = Script::losses(&[0.20, 0.15, 0.10, 0.11, 0.12, 0.05]);
/// let stopping = EarlyStopping::new(Monitor::min("loss")).patience(2).restore_best_weights(true);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(stopping);
/// let history = trainer.fit(&script.data(), Fit::epochs(6).verbose(0))?;
///
/// assert_eq!(history.len(), 5);
/// assert!(matches!(history.ending, Ending::Stopped(reason) if reason.by == "early_stopping"));
/// assert_eq!(trainer.get::<EarlyStopping>().unwrap().best_epoch(), Some(2));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - NaN is never an improvement and never the best value; in Keras a NaN in the first epoch makes
///   every later value count as no improvement.
/// - A metric that this run does not have is refused before the first batch.
/// - Weights are snapshot at improvements only; Keras also snapshots the first epoch, improved or
///   not.
/// - Best weights are restored after errors and Ctrl-C too.
/// - Comparisons are in f64.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.EarlyStopping`.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    pub(crate) monitor: Monitor,
    pub(crate) patience: usize,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: usize,
    verbose: bool,
    state: EarlyStoppingState,
}

/// State of [`EarlyStopping`]. Epochs count from 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlyStoppingState {
    /// Epochs since the last improvement.
    pub wait: usize,
    /// The best value so far.
    #[serde(with = "exact_float")]
    pub best: Option<f64>,
    /// Its epoch.
    pub best_epoch: Option<usize>,
    /// The epoch after which the run was stopped.
    pub stopped_epoch: Option<usize>,
    /// Saved beside the rest, as weights.
    #[serde(skip)]
    best_weights: Option<Arc<Weights>>,
}

impl EarlyStopping {
    /// Stops at the first epoch without improvement (patience 0, as in Keras).
    pub fn new(monitor: Monitor) -> Self {
        Self {
            monitor,
            patience: 0,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
            verbose: false,
            state: EarlyStoppingState::default(),
        }
    }

    /// Epochs without improvement after which to stop. Default 0.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }

    /// A value to beat: improvements that are no better do not restart the waiting. Default none.
    pub fn baseline(mut self, baseline: f64) -> Self {
        self.baseline = Some(baseline);
        self
    }

    /// Whether the model ends with the weights of the best epoch. Default false: with the last.
    pub fn restore_best_weights(mut self, restore: bool) -> Self {
        self.restore_best_weights = restore;
        self
    }

    /// The epoch, counted from 0, from which on the metric is looked at. Default 0.
    pub fn start_from_epoch(mut self, epoch: usize) -> Self {
        self.start_from_epoch = epoch;
        self
    }

    /// Whether stopping and restoring are printed. Default false.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// The epoch with the best value, counted from 0; none before the first improvement.
    pub fn best_epoch(&self) -> Option<usize> {
        self.state.best_epoch
    }

    /// The best value.
    pub fn best(&self) -> Option<f64> {
        self.state.best
    }

    /// The epoch, counted from 0, after which this callback stopped the run.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.state.stopped_epoch
    }

    /// Everything it remembers.
    pub fn state(&self) -> &EarlyStoppingState {
        &self.state
    }

    /// Options that make no sense in this run.
    fn odd_options(&self, plan: &RunPlan) -> Vec<Finding> {
        let start = self.start_from_epoch.max(plan.initial_epoch);
        if self.start_from_epoch >= plan.epochs {
            let message = format!(
                "start_from_epoch is {start}, and the run has {} epochs: it never stops",
                plan.epochs
            );
            let finding = Finding::warning("start-beyond-run", message).option("start_from_epoch");
            return vec![finding.fix("start earlier, or leave the callback out")];
        }
        let watched = plan.epochs.saturating_sub(start);
        // With restoring it is there to end with the best weights, and need not stop.
        if self.restore_best_weights || self.patience == 0 || self.patience < watched {
            return Vec::new();
        }
        let message = format!(
            "a patience of {} is not used up in the {watched} epoch{} that it looks at",
            self.patience,
            if watched == 1 { "" } else { "s" }
        );
        let finding = Finding::warning("patience-beyond-run", message).option("patience");
        vec![finding.fix("choose a smaller patience, or leave the callback out")]
    }
}

impl Callback for EarlyStopping {
    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let Some(value) = epoch.logs.get(self.monitor.name()) else {
            return Ok(());
        };
        let now = run.progress.epoch;
        if now < self.start_from_epoch {
            return Ok(());
        }
        let state = &mut self.state;
        state.wait += 1;
        if self.monitor.is_better(value, state.best) {
            state.best = Some(value);
            state.best_epoch = Some(now);
            if self.restore_best_weights {
                state.best_weights = Some(Arc::new(run.model.weights()?));
            }
            let beats_baseline =
                self.baseline.is_none_or(|baseline| self.monitor.is_better(value, Some(baseline)));
            if beats_baseline {
                state.wait = 0;
            }
            return Ok(());
        }
        if state.wait >= self.patience && now > 0 {
            state.stopped_epoch = Some(now);
            run.stop(format!(
                "no improvement of {} in {} epoch{}",
                self.monitor.name(),
                state.wait,
                if state.wait == 1 { "" } else { "s" }
            ));
        }
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, _: &Outcome<'_>) -> Result {
        if let Some(epoch) = self.state.stopped_epoch
            && self.verbose
        {
            run.print(&format!("Epoch {}: early stopping", epoch + 1));
        }
        if let Some(weights) = &self.state.best_weights {
            run.model.set_weights(weights)?;
            if let Some(epoch) = self.state.best_epoch
                && self.verbose
            {
                run.print(&format!(
                    "Restoring model weights from the end of the best epoch: {}.",
                    epoch + 1
                ));
            }
        }
        Ok(())
    }

    fn access(&self) -> Access {
        let access = Access::new()
            .acts_in([Hook::EpochEnd, Hook::TrainEnd])
            .reads(self.monitor.name())
            .may_stop();
        if self.restore_best_weights { access.sets_weights() } else { access }
    }

    fn check(&self) -> Result {
        if self.baseline.is_some_and(f64::is_nan) {
            return Err(Error::config("baseline is NaN; allowed: a number"));
        }
        self.monitor.check()
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let mut found = self.monitor.findings();
        found.extend(self.odd_options(plan));
        found
    }

    fn save_state(&self) -> Result<Option<State>> {
        let state = State::new(&self.state)?.with_weights(self.state.best_weights.clone());
        Ok(Some(state))
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        self.state.best_weights = saved.and_then(State::weights).cloned();
        Ok(())
    }
}

impl FromOptions for EarlyStopping {
    const NAME: &'static str = "early_stopping";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut stopping = Self::new(options.monitor(0.0)?);
        if let Some(patience) = options.get("patience") {
            stopping = stopping.patience(patience.usize(0)?);
        }
        if let Some(baseline) = options.get("baseline") {
            stopping = stopping.baseline(baseline.f64_in("a number", |x| !x.is_nan())?);
        }
        if let Some(restore) = options.get("restore_best_weights") {
            stopping = stopping.restore_best_weights(restore.bool()?);
        }
        if let Some(epoch) = options.get("start_from_epoch") {
            stopping = stopping.start_from_epoch(epoch.usize(0)?);
        }
        if let Some(verbose) = options.get("verbose") {
            stopping = stopping.verbose(verbose.bool()?);
        }
        Ok(stopping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_never_stop_this_run_are_told() {
        let plan = RunPlan { epochs: 10, initial_epoch: 2, ..RunPlan::default() };
        for (patience, start_from_epoch, code) in [
            (7, 0, None),
            (8, 0, Some("patience-beyond-run")),
            (4, 5, None),
            (5, 5, Some("patience-beyond-run")),
            (0, 9, None),
            (0, 10, Some("start-beyond-run")),
        ] {
            let stopping = EarlyStopping::new(Monitor::min("loss"))
                .patience(patience)
                .start_from_epoch(start_from_epoch);
            let found = stopping.findings(&plan);
            assert_eq!(found.first().map(|finding| finding.code), code, "{patience}");
        }
    }
}

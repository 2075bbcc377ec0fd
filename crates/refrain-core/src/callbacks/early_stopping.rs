//! Stops when a metric has stopped improving; restores the best weights.

use serde::{Deserialize, Serialize};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::EpochEnd;
use crate::monitor::Monitor;
use crate::outcome::Outcome;
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
/// - Reads: the monitored metric. Writes: nothing. Requests: stop. Acts in `on_epoch_end`, restores
///   in `on_train_end`. An epoch without the metric (validation not due) changes nothing.
/// - `patience`: default 0, which is the same as 1: stop at the first epoch without improvement.
///   `baseline`: default none; waiting restarts only at improvements that also beat it.
///   `start_from_epoch`: default 0; epochs before it (counted from 0) are not looked at.
///   `verbose`: default false.
/// - State: wait, best value and epoch, best weights. Cost of the weights: one copy of the model
///   to the host at each improvement.
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
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    monitor: Monitor,
    patience: usize,
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
    best_weights: Option<Weights>,
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
                state.best_weights = Some(run.model.weights()?);
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
        Access::new().reads(self.monitor.name())
    }

    fn check(&self) -> Result {
        if self.baseline.is_some_and(f64::is_nan) {
            return Err(Error::config("baseline is NaN; allowed: a number"));
        }
        self.monitor.check()
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

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use refrain_core::event::Hook;
use refrain_core::options::Section;
use refrain_core::{
    Access, BuildContext, Callback, EpochEnd, Error, Finding, FromOptions, Result, Run, RunPlan,
    State,
};

/// Stops training as soon as a metric has been below a value for a few epochs in a row.
///
/// An epoch without the metric (validation that was not due) changes nothing. NaN is not below
/// anything.
///
/// - Reads: the monitored metric
/// - Writes: nothing
/// - Requests: a stop
/// - State: epochs below the value, in a row
/// - Cost: one comparison an epoch
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `value` | none, must be given | finite | what the metric must be below |
/// | `monitor` | `"loss"` | a metric of the run | the metric |
/// | `patience` | 1 | whole, ≥ 1 | epochs in a row |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "stop_below"
/// value = 0.1
/// ```
#[derive(Clone, Debug)]
pub struct StopBelow {
    monitor: String,
    value: f64,
    patience: usize,
    /// Epochs below the value, in a row: all that it remembers.
    below: usize,
}

impl StopBelow {
    /// Stops after the first epoch in which `monitor` is below `value`.
    pub fn new(monitor: impl Into<String>, value: f64) -> Self {
        Self { monitor: monitor.into(), value, patience: 1, below: 0 }
    }

    /// Epochs in a row that it takes, ≥ 1. Default 1.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }
}

impl Callback for StopBelow {
    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let Some(metric) = epoch.logs.get(&self.monitor) else {
            return Ok(());
        };
        self.below = if metric < self.value { self.below + 1 } else { 0 };
        if self.below >= self.patience {
            run.stop(format!("{} is below {}", self.monitor, self.value));
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::EpochEnd]).reads(self.monitor.as_str()).may_stop()
    }

    fn check(&self) -> Result {
        if !self.value.is_finite() {
            return Err(Error::config(format!(
                "value is {}; allowed: a finite number",
                self.value
            )));
        }
        if self.patience == 0 {
            return Err(Error::config("patience is 0; allowed: 1 or more"));
        }
        Ok(())
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        if self.patience <= plan.epochs_to_run() {
            return Vec::new();
        }
        let message =
            format!("patience is {}, the run has {} epochs", self.patience, plan.epochs_to_run());
        let finding = Finding::warning("never-due", message);
        vec![finding.fix("lower it, or train longer").option("patience")]
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.below).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.below = State::load_or_default(saved)?;
        Ok(())
    }
}

impl FromOptions for StopBelow {
    const NAME: &'static str = "stop_below";
    const EXAMPLE: &'static str = "value = 0.1";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let value = options.require("value", "value = 0.1")?;
        let value = value.f64_in("a finite number", f64::is_finite)?;
        let monitor = options.get("monitor");
        let monitor = monitor.map_or(Ok("loss"), |monitor| monitor.str())?;
        let patience = options.get("patience").map_or(Ok(1), |patience| patience.usize(1))?;
        Ok(Self::new(monitor, value).patience(patience))
    }
}

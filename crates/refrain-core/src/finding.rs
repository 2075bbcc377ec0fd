//! What a check of a run finds before the run.

use std::fmt;

use serde_json::{Value, json};

use crate::fit::ValidationFreq;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The run is made, and may not be what was meant.
    Warning,
    /// The run is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// Something that a check found: what it is, and how to mend it.
///
/// # Example
/// ```
/// use refrain_core::Finding;
/// let finding = Finding::warning("long-warmup", "the warm-up is longer than the run")
///     .fix("shorten it to 10 epochs")
///     .option("warmup_epochs");
/// assert_eq!(
///     finding.to_string(),
///     "the warm-up is longer than the run; shorten it to 10 epochs"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A fixed word for scripts: `unknown-metric`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// The way out; empty where the message says it.
    pub fix: String,
    /// The callback concerned, by its place in the list from 0; `None`: the run as a whole.
    pub callback: Option<usize>,
    /// The option concerned, as a recipe calls it.
    pub option: Option<&'static str>,
}

impl Finding {
    /// A finding that ends the run before it begins.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message.into())
    }

    /// A finding that is told.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message.into())
    }

    fn new(code: &'static str, severity: Severity, message: String) -> Self {
        Self { code, severity, message, fix: String::new(), callback: None, option: None }
    }

    /// Says how to mend it.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Names the option at fault.
    pub fn option(mut self, option: &'static str) -> Self {
        self.option = Some(option);
        self
    }

    /// As JSON: `code`, `severity`, `message`, `fix`, `callback` (place from 0), `option`.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "severity": self.severity.to_string(),
            "message": self.message,
            "fix": (!self.fix.is_empty()).then_some(&self.fix),
            "callback": self.callback,
            "option": self.option,
        })
    }

    /// Names the callback at fault by its place in the list.
    pub fn in_callback(mut self, index: usize) -> Self {
        self.callback = Some(index);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// What is known of a run before it begins.
///
/// # Example
/// ```
/// use refrain_core::RunPlan;
/// let plan = RunPlan { epochs: 10, steps_per_epoch: 12, ..RunPlan::default() };
/// assert_eq!(plan.total_steps(), Some(120));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    /// The epoch at which training ends, exclusive.
    pub epochs: usize,
    /// The epoch with which it begins, from 0.
    pub initial_epoch: usize,
    /// Batches in an epoch; 0 where that is not known.
    pub steps_per_epoch: usize,
    /// Batches for one update of the weights: 1, unless gradients are accumulated.
    pub batches_per_update: usize,
    /// Names of what the learner measures: `loss`, then the metrics.
    pub metrics: Vec<String>,
    /// When validation is run; `None`: never.
    pub validation: Option<ValidationFreq>,
    /// Whether checkpoints are taken; `None`: not known.
    pub checkpoints: Option<bool>,
}

impl Default for RunPlan {
    /// One epoch of unknown length with a loss.
    fn default() -> Self {
        Self {
            epochs: 1,
            initial_epoch: 0,
            steps_per_epoch: 0,
            batches_per_update: 1,
            metrics: vec!["loss".to_owned()],
            validation: None,
            checkpoints: None,
        }
    }
}

impl RunPlan {
    /// Epochs that will be run.
    pub fn epochs_to_run(&self) -> usize {
        self.epochs.saturating_sub(self.initial_epoch)
    }

    /// Updates of the weights in an epoch; 0 where its length is not known.
    pub fn updates_per_epoch(&self) -> usize {
        self.steps_per_epoch.div_ceil(self.batches_per_update.max(1))
    }

    /// Optimizer steps up to the last epoch, those before `initial_epoch` included; `None` where
    /// the length of an epoch is not known.
    pub fn total_steps(&self) -> Option<u64> {
        (self.steps_per_epoch > 0)
            .then(|| (self.epochs as u64).saturating_mul(self.updates_per_epoch() as u64))
    }

    /// Whether validation is run in one of the epochs.
    pub fn is_ever_validated(&self) -> bool {
        // Of a run without epochs nothing else is to be said than that.
        self.validation.as_ref().is_some_and(|freq| {
            self.epochs_to_run() == 0 || freq.is_due_within(self.initial_epoch..self.epochs)
        })
    }

    /// Keys that the logs of an epoch have before any callback adds some: the metrics, `val_*`,
    /// `learning_rate`.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.metrics.clone();
        if self.is_ever_validated() {
            keys.extend(self.metrics.iter().map(|name| format!("val_{name}")));
        }
        keys.push("learning_rate".to_owned());
        keys
    }
}

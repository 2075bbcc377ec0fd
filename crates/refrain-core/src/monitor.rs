//! Which metric to watch, and what counts as better.

use crate::error::{Error, Result};
use crate::finding::Finding;

/// Whether smaller or larger values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smaller is better: losses and errors.
    Min,
    /// Larger is better: accuracies and scores.
    Max,
}

/// A metric to watch, its direction, and how much counts as an improvement.
///
/// The direction is known when the monitor is built; the name is checked against the run's
/// metrics before the first batch.
///
/// # Example
/// ```
/// use refrain_core::Monitor;
/// let monitor = Monitor::min("val_loss").min_delta(0.1);
/// assert!(monitor.is_better(0.8, Some(1.0)));
/// assert!(!monitor.is_better(0.95, Some(1.0)));
/// assert!(!monitor.is_better(f64::NAN, None));
/// ```
///
/// # Differs from Keras
/// NaN is never an improvement, not even as the first value: in Keras it becomes the best value
/// and nothing is better than it for the rest of the run. Comparisons are in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    name: String,
    direction: Direction,
    /// Whether somebody said so, or Keras would know.
    knows_direction: bool,
    /// None: nobody said; callbacks have different defaults.
    min_delta: Option<f64>,
}

impl Monitor {
    /// Watches `name`; smaller is better.
    pub fn min(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            direction: Direction::Min,
            knows_direction: true,
            min_delta: None,
        }
    }

    /// Watches `name`; larger is better.
    pub fn max(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            direction: Direction::Max,
            knows_direction: true,
            min_delta: None,
        }
    }

    /// Watches `name` with the direction that Keras gives the metric of that name, with or
    /// without `val_` in front: `mode="auto"`, resolved now.
    ///
    /// # Errors
    /// When the name is none of Keras' metrics or losses; then say [`min`](Self::min) or
    /// [`max`](Self::max).
    pub fn auto(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        match direction_of(&name) {
            Some(Direction::Min) => Ok(Self::min(name)),
            Some(Direction::Max) => Ok(Self::max(name)),
            None => {
                let finding = Self::unresolved(name).unknown_direction();
                Err(Error::config(finding.to_string()))
            }
        }
    }

    /// As [`auto`](Self::auto), leaving it to the check of the run to refuse a metric whose
    /// direction is not known: that the run has no such metric may be the better thing to say.
    pub(crate) fn auto_or_unresolved(name: &str) -> Self {
        Self::auto(name).unwrap_or_else(|_| Self::unresolved(name))
    }

    fn unresolved(name: impl Into<String>) -> Self {
        Self { knows_direction: false, ..Self::min(name) }
    }

    fn unknown_direction(&self) -> Finding {
        let name = &self.name;
        let message =
            format!("whether smaller or larger values of `{name}` are better is not known");
        Finding::error("unknown-direction", message)
            .fix("say mode = \"min\" or \"max\" (in Rust: Monitor::min or Monitor::max)")
            .option("monitor")
    }

    /// What a check of the run has to say of it.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        if self.knows_direction { Vec::new() } else { vec![self.unknown_direction()] }
    }

    /// The least change that counts as an improvement; the sign is ignored, as in Keras. Default 0,
    /// unless the callback says otherwise.
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.min_delta = Some(min_delta.abs());
        self
    }

    /// Sets the least change that counts where nobody has said.
    pub(crate) fn default_min_delta(mut self, min_delta: f64) -> Self {
        self.min_delta.get_or_insert(min_delta);
        self
    }

    /// The metric's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether smaller or larger is better.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether `value` improves on `reference` by more than `min_delta`.
    ///
    /// Everything but NaN improves on `None`.
    pub fn is_better(&self, value: f64, reference: Option<f64>) -> bool {
        let Some(reference) = reference else {
            return !value.is_nan();
        };
        // NaN compares false both ways: never an improvement, so patience runs out.
        let min_delta = self.min_delta.unwrap_or(0.0);
        match self.direction {
            Direction::Min => value + min_delta < reference,
            Direction::Max => value - min_delta > reference,
        }
    }

    pub(crate) fn check(&self) -> Result {
        match self.min_delta {
            Some(min_delta) if !min_delta.is_finite() => {
                Err(Error::config(format!("min_delta is {min_delta}; allowed: a finite number")))
            }
            _ => Ok(()),
        }
    }
}

/// Directions of Keras' own metrics and losses.
fn direction_of(name: &str) -> Option<Direction> {
    const UP: &[&str] = &[
        "acc",
        "accuracy",
        "auc",
        "binary_accuracy",
        "binary_io_u",
        "categorical_accuracy",
        "cosine_similarity",
        "f1_score",
        "fbeta_score",
        "io_u",
        "mean_io_u",
        "one_hot_io_u",
        "one_hot_mean_io_u",
        "precision",
        "precision_at_recall",
        "pearson_correlation",
        "concordance_correlation",
        "r2_score",
        "recall",
        "recall_at_precision",
        "sensitivity_at_specificity",
        "sparse_categorical_accuracy",
        "sparse_top_k_categorical_accuracy",
        "specificity_at_sensitivity",
        "top_k_categorical_accuracy",
    ];
    const DOWN: &[&str] = &[
        "loss",
        "bce",
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_generalized_cross_entropy",
        "categorical_hinge",
        "ce",
        "circle",
        "crossentropy",
        "ctc",
        "dice",
        "hinge",
        "huber",
        "kl_divergence",
        "kld",
        "log_cosh",
        "logcosh",
        "mae",
        "mape",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "mse",
        "msle",
        "poisson",
        "rmse",
        "root_mean_squared_error",
        "sparse_categorical_crossentropy",
        "squared_hinge",
        "tversky",
    ];
    let name = name.strip_prefix("val_").unwrap_or(name);
    if UP.contains(&name) {
        Some(Direction::Max)
    } else if DOWN.contains(&name) {
        Some(Direction::Min)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Document;

    #[test]
    fn min_delta_as_in_keras() {
        let max = Monitor::max("x").min_delta(-0.5);
        for (value, reference, better) in [
            (0.75, Some(0.0), true),
            (0.5, None, true),
            (0.5, Some(0.0), false),
            (0.2, Some(0.5), false),
            (f64::NAN, Some(0.0), false),
            (f64::NAN, None, false),
            (f64::INFINITY, None, true),
        ] {
            assert_eq!(max.is_better(value, reference), better, "{value} over {reference:?}");
        }
    }

    #[test]
    fn auto_knows_keras_names_and_says_so_where_it_does_not() {
        assert_eq!(Monitor::auto("val_loss").unwrap().direction(), Direction::Min);
        assert_eq!(Monitor::auto("val_accuracy").unwrap().direction(), Direction::Max);
        assert!(Monitor::auto("val_f2").unwrap_err().to_string().contains("`val_f2`"));
    }

    /// Keras' `test_early_stopping`, by the options of a recipe.
    #[test]
    fn directions_by_mode_and_metric_as_in_keras() {
        for (mode, name, direction) in [
            ("max", "val_mse", Direction::Max),
            ("min", "val_loss", Direction::Min),
            ("auto", "val_mse", Direction::Min),
            ("auto", "loss", Direction::Min),
            ("auto", "acc", Direction::Max),
            ("auto", "val_accuracy", Direction::Max),
            ("auto", "hinge", Direction::Min),
            ("auto", "f1_score", Direction::Max),
        ] {
            let options = serde_json::json!({ "mode": mode, "monitor": name });
            let document = Document::from_json("recipe", &options);
            let monitor = document.root().unwrap().monitor(0.0).unwrap();
            assert_eq!(monitor.direction(), direction, "{mode} {name}");
            assert!(monitor.findings().is_empty(), "{mode} {name}");
            if mode == "auto" {
                assert_eq!(Monitor::auto(name).unwrap().direction(), direction, "{name}");
            }
        }
        assert!(Monitor::auto("unknown").unwrap_err().is_config());
    }
}

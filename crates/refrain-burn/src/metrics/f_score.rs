//! Precision and recall in one number.

use burn::tensor::Tensor;
use refrain_core::{Error, Result};

use super::{Metric, out_of_range};
use crate::targets::ClassRows;

const EPSILON: f64 = 1e-7;

/// How the scores of classes become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Average {
    /// All classes' counts together.
    Micro,
    /// The mean over the classes.
    #[default]
    Macro,
    /// The mean over the classes, each as often as it occurs.
    Weighted,
}

impl Average {
    /// Keras' names; the first is the default.
    pub const NAMES: &[&str] = &["macro", "micro", "weighted"];

    /// The average of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "micro" => Some(Self::Micro),
            "macro" => Some(Self::Macro),
            "weighted" => Some(Self::Weighted),
            _ => None,
        }
    }
}

/// The harmonic mean of precision and recall, of which recall counts `beta²` times; Keras'
/// `FBetaScore`, and with β 1 `F1Score`.
///
/// Outputs: `[samples, classes]`. Targets: rows of 0 and 1 of the same shape, or class labels. Without
/// a threshold a sample's largest output is its yes; with one, each that is above it.
///
/// Defaults: β 1, no threshold, the mean over the classes. Keras' default is a score for each class,
/// which is no number for a log.
///
/// # Errors
/// `check_batch` refuses shapes that do not fit, and options out of range.
#[derive(Clone, Copy, Debug)]
pub struct FBetaScore {
    beta: f64,
    average: Average,
    threshold: Option<f64>,
}

impl FBetaScore {
    /// The score with β 1: F1.
    pub fn new() -> Self {
        Self { beta: 1.0, average: Average::Macro, threshold: None }
    }

    /// How much recall counts beside precision; above 0. Default 1.
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// How the scores of classes become one. Default macro.
    pub fn average(mut self, average: Average) -> Self {
        self.average = average;
        self
    }

    /// Above which an output is a yes; above 0, at most 1. Default none: the largest is.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }

    fn score(&self, tp: f64, fp: f64, fn_: f64) -> f64 {
        let precision = tp / (tp + fp + EPSILON);
        let recall = tp / (tp + fn_ + EPSILON);
        let squared = self.beta * self.beta;
        precision * recall / (squared * precision + recall + EPSILON) * (1.0 + squared)
    }

    fn own_name(&self) -> &'static str {
        if self.beta == 1.0 { "f1_score" } else { "fbeta_score" }
    }
}

impl Default for FBetaScore {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ClassRows> Metric<Tensor<2>, T> for FBetaScore {
    fn name(&self) -> String {
        self.own_name().to_owned()
    }

    /// True positives, false positives and false negatives of each class.
    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        let targets = targets.class_rows(outputs.dims()[1]);
        let yes = match self.threshold {
            Some(threshold) => outputs.greater_scalar(threshold).float(),
            None => {
                let largest = outputs.clone().max_dim(1).expand(outputs.dims());
                // As in Keras, so that zeros alone are no yes.
                let counts = outputs.clone().abs().greater_scalar(1e-9);
                outputs.greater_equal(largest).bool_and(counts).float()
            }
        };
        let no = yes.clone().neg() + 1.0;
        let is_no = targets.clone().neg() + 1.0;
        Tensor::cat(vec![yes.clone() * targets.clone(), yes * is_no, no * targets], 1)
    }

    fn result(&self, sums: &[f64], _: f64) -> f64 {
        let classes = sums.len() / 3;
        if classes == 0 {
            return f64::NAN;
        }
        let [tp, fp, fn_] = [0, 1, 2].map(|i| &sums[i * classes..(i + 1) * classes]);
        let total = |counts: &[f64]| counts.iter().sum::<f64>();
        if self.average == Average::Micro {
            return self.score(total(tp), total(fp), total(fn_));
        }
        let of_class = tp.iter().zip(fp).zip(fn_);
        let score = |((tp, fp), fn_): ((&f64, &f64), &f64)| self.score(*tp, *fp, *fn_);
        if self.average == Average::Macro {
            return of_class.map(score).sum::<f64>() / classes as f64;
        }
        let occurrences: Vec<f64> = tp.iter().zip(fn_).map(|(tp, fn_)| tp + fn_).collect();
        let all = total(&occurrences) + EPSILON;
        of_class.map(score).zip(&occurrences).map(|(score, n)| score * n / all).sum()
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
        let name = self.own_name();
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(out_of_range(name, "beta", self.beta, "a finite number above 0"));
        }
        if let Some(threshold) = self.threshold.filter(|t| !(*t > 0.0 && *t <= 1.0)) {
            return Err(Error::config(format!(
                "{name}: threshold is {threshold}; allowed: above 0, at most 1, for example 0.5"
            )));
        }
        targets.check_class_rows(name, outputs.dims())
    }
}

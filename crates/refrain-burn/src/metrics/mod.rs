//! Metrics with Keras' names, defaults and formulas: what is told beside the loss.
//!
//! A metric says what is summed over the samples, on the device, and what is told of these sums
//! once somebody asks. Every [`Loss`] is a metric of its own name: the mean over the samples.

mod accuracy;
mod any;
mod auc;
mod confusion;
mod confusion_matrix;
mod constraint;
mod f_score;
mod intersection;
mod regression;
mod weighted;

use burn::tensor::Tensor;
use refrain_core::{Error, Escaped, Result};

use crate::losses::Loss;

pub use accuracy::{Accuracy, BinaryAccuracy, CategoricalAccuracy, TopKCategoricalAccuracy};
pub use any::AnyMetric;
pub use auc::{Auc, Curve, Summation};
pub use confusion::{
    FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives,
};
pub use confusion_matrix::{Confusion, ConfusionMatrix};
pub use constraint::{
    PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity, SpecificityAtSensitivity,
};
pub use f_score::{Average, FBetaScore};
pub use intersection::MeanIoU;
pub use regression::{
    Aggregation, CosineSimilarity, PearsonCorrelation, R2Score, RootMeanSquaredError,
};
pub use weighted::Weighted;

/// Refuses names of loss and metrics that cannot be those of the keys in logs.
///
/// # Errors
/// A configuration error: when a name comes twice, is one that logs have of their own, or has control
/// characters.
pub fn check_names(names: &[String]) -> Result {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_unstable();
    let mut pairs = names.iter().zip(names.iter().skip(1));
    if let Some((twice, _)) = pairs.find(|(name, next)| name == next) {
        return Err(Error::config(format!(
            "two metrics are named `{twice}`; track it once, or give one another name"
        )));
    }
    // Keys that logs have beside loss and metrics.
    let is_taken = |name: &&&String| {
        ["learning_rate", "epoch", "timestamp", "non_finite"].contains(&name.as_str())
            || name.starts_with("val_")
            || name.is_empty()
    };
    if let Some(name) = names.iter().find(is_taken) {
        return Err(Error::config(format!(
            "a metric is named `{name}`, which is no name for one: logs have `learning_rate`, \
             `epoch`, `timestamp` and `non_finite` of their own, and put `val_` in front of those \
             of validation; give it another"
        )));
    }
    if let Some(name) = names.iter().find(|name| name.contains(char::is_control)) {
        return Err(Error::config(format!(
            "a metric is named `{}`; allowed: a name without line breaks and other control \
             characters",
            Escaped(name)
        )));
    }
    Ok(())
}

/// Numbers that are summed over samples, and what is told of the sums.
///
/// Sums stay on the device until somebody reads them, and are part of checkpoints. As Keras'
/// `metrics`, sample weights do not count, unless the metric is [`Weighted`].
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::{Metric, Targets};
///
/// /// The largest output of each sample: how sure the model is.
/// struct Confidence;
///
/// impl Metric<Tensor<2>, Targets> for Confidence {
///     fn name(&self) -> String {
///         "confidence".into()
///     }
///     fn values(&self, outputs: Tensor<2>, _: Targets) -> Tensor<2> {
///         outputs.max_dim(1)
///     }
/// }
/// # let outputs = Tensor::from_data([[0.2_f32, 0.8]], &Device::flex());
/// # let targets = Targets::Rows(Tensor::from_data([[0.0_f32, 1.0]], &Device::flex()));
/// # assert_eq!(Confidence.values(outputs, targets).dims(), [1, 1]);
/// assert_eq!(Confidence.result(&[3.0], 4.0), 0.75); // The mean, unless it says otherwise.
/// ```
pub trait Metric<O, T>: Send + 'static {
    /// Name in the logs.
    fn name(&self) -> String;

    /// What is summed over the samples: `[samples, sums]`; one column for a mean.
    fn values(&self, outputs: O, targets: T) -> Tensor<2>;

    /// What is told of the sums over all samples; `weight` is the number of samples, or the sum of
    /// their weights. Default: the mean of the first column.
    fn result(&self, sums: &[f64], weight: f64) -> f64 {
        sums.first().map_or(f64::NAN, |sum| sum / weight)
    }

    /// Whether options are in range, and outputs and targets fit each other.
    ///
    /// # Errors
    /// Naming the metric, the value and what is allowed.
    fn check_batch(&self, outputs: &O, targets: &T) -> Result {
        let _ = (outputs, targets);
        Ok(())
    }

    /// Where class labels are looked up among the outputs, how many classes these have: larger labels
    /// are refused. Not by default.
    fn label_classes(&self, outputs: &O) -> Option<usize> {
        let _ = outputs;
        None
    }

    /// Whether samples count by their weights; false by default.
    fn is_weighted(&self) -> bool {
        false
    }
}

impl<O, T, S> Metric<O, T> for S
where
    S: Loss<O, Targets = T>,
{
    fn name(&self) -> String {
        <S as Loss<O>>::name(self).to_owned()
    }

    fn values(&self, outputs: O, targets: T) -> Tensor<2> {
        <S as Loss<O>>::forward(self, outputs, targets).unsqueeze_dim(1)
    }

    fn check_batch(&self, outputs: &O, targets: &T) -> Result {
        <S as Loss<O>>::check(self, outputs, targets)
    }

    fn label_classes(&self, outputs: &O) -> Option<usize> {
        <S as Loss<O>>::classes(self, outputs)
    }
}

/// 0 where there is nothing to divide by, as in Keras.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// A number out of its range.
fn out_of_range(metric: &str, option: &str, value: f64, allowed: &str) -> Error {
    Error::config(format!("{metric}: {option} is {value}; allowed: {allowed}"))
}

/// An option that counts something.
fn check_at_least_one(metric: &str, option: &str, count: usize) -> Result {
    if count > 0 {
        return Ok(());
    }
    Err(out_of_range(metric, option, 0.0, "1 or more"))
}

/// An option from 0 to 1.
fn check_share(metric: &str, option: &str, share: f64) -> Result {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(out_of_range(metric, option, share, "a number from 0 to 1, for example 0.5"))
}

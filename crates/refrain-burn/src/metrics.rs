//! Metrics: what is told beside the loss.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Bool, Int, Tensor};
use refrain_core::Result;

use crate::losses::{AnyLoss, Loss, check_rows};
use crate::targets::Targets;

/// A number per sample, whose mean over an epoch's samples is told.
///
/// Sums stay on the device until somebody reads them. As Keras' `metrics`, sample weights do not
/// count here. Every [`Loss`] is a metric of its own name.
pub trait Metric<O, T>: Send + 'static {
    /// Name in the logs.
    fn name(&self) -> String;

    /// One value per sample: `[samples]`.
    fn values(&self, outputs: O, targets: T) -> Tensor<1>;

    /// What is told, of the mean over the samples: that itself by default.
    fn of_mean(&self, mean: f64) -> f64 {
        mean
    }

    /// Whether outputs and targets fit each other.
    ///
    /// # Errors
    /// Naming both shapes.
    fn check_batch(&self, outputs: &O, targets: &T) -> Result {
        let _ = (outputs, targets);
        Ok(())
    }
}

impl<O, T, S> Metric<O, T> for S
where
    S: Loss<O, Targets = T>,
{
    fn name(&self) -> String {
        <S as Loss<O>>::name(self).to_owned()
    }

    fn values(&self, outputs: O, targets: T) -> Tensor<1> {
        <S as Loss<O>>::forward(self, outputs, targets)
    }

    fn check_batch(&self, outputs: &O, targets: &T) -> Result {
        <S as Loss<O>>::check(self, outputs, targets)
    }
}

/// The share of samples that were predicted right; Keras' `accuracy`.
///
/// One output per sample: right if `output > 0.5` is the target. Several outputs: right if the
/// largest is the label, or, with one-hot targets, where the target's largest is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accuracy;

impl Accuracy {
    /// The metric.
    pub fn new() -> Self {
        Self
    }
}

impl Metric<Tensor<2>, Tensor<1, Int>> for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
        if outputs.dims()[1] == 1 {
            return binary(outputs, labels.float().unsqueeze_dim(1));
        }
        let predicted: Tensor<1, Int> = outputs.argmax(1).squeeze_dim(1);
        shares(predicted.equal(labels))
    }
}

impl Metric<Tensor<2>, Tensor<2>> for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        if outputs.dims()[1] == 1 {
            return binary(outputs, targets);
        }
        let right = if targets.dims()[1] == 1 { targets.int() } else { targets.argmax(1) };
        shares(outputs.argmax(1).equal(right).squeeze_dim(1))
    }
}

impl Metric<Tensor<2>, Targets> for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        match targets {
            Targets::Labels(labels) => self.values(outputs, labels),
            Targets::Rows(rows) => self.values(outputs, rows),
        }
    }
}

fn binary(outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let predicted = outputs.greater_scalar(0.5).float();
    predicted.equal(targets).float().mean_dim(1).squeeze_dim(1)
}

fn shares(right: Tensor<1, Bool>) -> Tensor<1> {
    right.float()
}

/// The share of outputs on the right side of the threshold; Keras' `BinaryAccuracy`.
///
/// Outputs and targets: `[samples, outputs]`; an output is right if `output > threshold` is the
/// target. Default: threshold 0.5.
#[derive(Clone, Copy, Debug)]
pub struct BinaryAccuracy {
    threshold: f64,
}

impl BinaryAccuracy {
    /// The metric with a threshold of 0.5.
    pub fn new() -> Self {
        Self { threshold: 0.5 }
    }

    /// Above which an output counts as 1. Default 0.5.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        Self::new()
    }
}

impl Metric<Tensor<2>, Tensor<2>> for BinaryAccuracy {
    fn name(&self) -> String {
        "binary_accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let predicted = outputs.greater_scalar(self.threshold).float();
        predicted.equal(targets).float().mean_dim(1).squeeze_dim(1)
    }
}

/// The root of the mean of the squared distance from the targets, over all samples; Keras'
/// `RootMeanSquaredError`. Outputs and targets: `[samples, outputs]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootMeanSquaredError;

impl RootMeanSquaredError {
    /// The metric.
    pub fn new() -> Self {
        Self
    }
}

impl Metric<Tensor<2>, Tensor<2>> for RootMeanSquaredError {
    fn name(&self) -> String {
        "root_mean_squared_error".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        (outputs - targets).square().mean_dim(1).squeeze_dim(1)
    }

    fn of_mean(&self, mean: f64) -> f64 {
        mean.sqrt()
    }
}

/// The share of samples whose class is among the k largest outputs; Keras'
/// `TopKCategoricalAccuracy` against one-hot rows, `SparseTopKCategoricalAccuracy` against labels.
///
/// Outputs: `[samples, classes]`. A class is among the k largest if fewer than k outputs are larger
/// than its own; outputs that are equal count as one. Default: k 5.
#[derive(Clone, Copy, Debug)]
pub struct TopKCategoricalAccuracy {
    k: usize,
}

impl TopKCategoricalAccuracy {
    /// The metric with k 5.
    pub fn new() -> Self {
        Self { k: 5 }
    }

    /// How many of the largest outputs count. Default 5.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    fn among(&self, outputs: Tensor<2>, labels: Tensor<2, Int>) -> Tensor<1> {
        let own = outputs.clone().gather(1, labels);
        // NaN is no large probability.
        let is_nan = own.clone().is_nan();
        let own = own.mask_fill(is_nan, f32::NEG_INFINITY).expand(outputs.dims());
        let larger = outputs.greater(own).int().sum_dim(1).squeeze_dim::<1>(1);
        shares(larger.lower_scalar(self.k as i64))
    }
}

impl Default for TopKCategoricalAccuracy {
    fn default() -> Self {
        Self::new()
    }
}

impl Metric<Tensor<2>, Tensor<1, Int>> for TopKCategoricalAccuracy {
    fn name(&self) -> String {
        "sparse_top_k_categorical_accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
        self.among(outputs, labels.unsqueeze_dim(1))
    }
}

impl Metric<Tensor<2>, Tensor<2>> for TopKCategoricalAccuracy {
    fn name(&self) -> String {
        "top_k_categorical_accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        self.among(outputs, targets.argmax(1))
    }
}

/// One of the metrics, chosen at run time: `accuracy`, or any loss. Its name in the logs is the one
/// that was asked for, `acc` or `accuracy`, as in Keras.
#[derive(Clone, Debug)]
pub struct AnyMetric {
    name: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Accuracy(Accuracy),
    BinaryAccuracy(BinaryAccuracy),
    Root(RootMeanSquaredError),
    TopK(TopKCategoricalAccuracy),
    Loss(AnyLoss),
    Custom(Arc<dyn SharedMetric>),
}

/// A metric that can be shared.
trait SharedMetric: Metric<Tensor<2>, Targets> + Sync {}

impl<M: Metric<Tensor<2>, Targets> + Sync> SharedMetric for M {}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Accuracy(accuracy) => accuracy.fmt(f),
            Kind::BinaryAccuracy(accuracy) => accuracy.fmt(f),
            Kind::Root(root) => root.fmt(f),
            Kind::TopK(accuracy) => accuracy.fmt(f),
            Kind::Loss(loss) => loss.fmt(f),
            Kind::Custom(metric) => f.write_str(&metric.name()),
        }
    }
}

impl AnyMetric {
    /// Keras' names.
    pub const NAMES: &[&str] = &[
        "accuracy",
        "acc",
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "binary_crossentropy",
        "bce",
        "mean_squared_error",
        "mse",
        "binary_accuracy",
        "top_k_categorical_accuracy",
        "sparse_top_k_categorical_accuracy",
        "root_mean_squared_error",
        "rmse",
        "mean_absolute_error",
        "mae",
        "mean_absolute_percentage_error",
        "mape",
        "mean_squared_logarithmic_error",
        "msle",
        "huber",
        "log_cosh",
        "hinge",
        "squared_hinge",
        "categorical_hinge",
        "kl_divergence",
        "kld",
        "poisson",
        "binary_focal_crossentropy",
        "categorical_focal_crossentropy",
    ];

    /// The metric of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = Self::NAMES.iter().copied().find(|known| *known == name)?;
        let kind = match name {
            "accuracy" | "acc" => Kind::Accuracy(Accuracy),
            "binary_accuracy" => Kind::BinaryAccuracy(BinaryAccuracy::new()),
            "root_mean_squared_error" | "rmse" => Kind::Root(RootMeanSquaredError),
            "top_k_categorical_accuracy" | "sparse_top_k_categorical_accuracy" => {
                Kind::TopK(TopKCategoricalAccuracy::new())
            }
            _ => Kind::Loss(AnyLoss::from_name(name)?),
        };
        Some(Self { name: name.to_owned(), kind })
    }

    /// A metric of your own.
    pub fn custom(metric: impl Metric<Tensor<2>, Targets> + Sync) -> Self {
        Self { name: metric.name(), kind: Kind::Custom(Arc::new(metric)) }
    }
}

impl Metric<Tensor<2>, Targets> for AnyMetric {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn values(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        match &self.kind {
            Kind::Custom(metric) => metric.values(outputs, targets),
            Kind::Accuracy(accuracy) => accuracy.values(outputs, targets),
            Kind::BinaryAccuracy(accuracy) => accuracy.values(outputs, targets.into_rows()),
            Kind::Root(root) => root.values(outputs, targets.into_rows()),
            Kind::TopK(accuracy) => match targets {
                Targets::Labels(labels) => accuracy.values(outputs, labels),
                Targets::Rows(rows) => accuracy.values(outputs, rows),
            },
            Kind::Loss(loss) => loss.forward(outputs, targets),
        }
    }

    fn of_mean(&self, mean: f64) -> f64 {
        match &self.kind {
            Kind::Custom(metric) => metric.of_mean(mean),
            Kind::Root(root) => root.of_mean(mean),
            _ => mean,
        }
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        let equal = |name: &str| {
            let targets = targets.clone().into_rows().dims();
            check_rows(name, outputs.dims(), targets, "")
        };
        match &self.kind {
            Kind::Custom(metric) => metric.check_batch(outputs, targets),
            Kind::Loss(loss) => Loss::check(loss, outputs, targets),
            Kind::BinaryAccuracy(_) | Kind::Root(_) => equal(&self.name),
            Kind::TopK(_) if matches!(targets, Targets::Rows(_)) => equal(&self.name),
            Kind::Accuracy(_) => match targets {
                Targets::Rows(rows) if rows.dims()[1] != 1 => equal(&self.name),
                _ => Ok(()),
            },
            Kind::TopK(_) => Ok(()),
        }
    }
}

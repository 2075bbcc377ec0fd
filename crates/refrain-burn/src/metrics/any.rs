//! A metric chosen by name.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use refrain_core::Result;

use super::{
    Accuracy, Auc, BinaryAccuracy, CategoricalAccuracy, CosineSimilarity, FBetaScore,
    FalseNegatives, FalsePositives, MeanIoU, Metric, PearsonCorrelation, Precision, R2Score,
    Recall, RootMeanSquaredError, TopKCategoricalAccuracy, TrueNegatives, TruePositives,
};
use crate::losses::{
    AnyLoss, BinaryCrossentropy, CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy,
    Steps,
};
use crate::targets::{ClassRows as _, Targets};

/// One of the metrics, or any loss but `ctc`, chosen at run time. Its name in the logs is the one that was
/// asked for, `acc` or `accuracy`, as in Keras, unless it is [named](Self::named) otherwise.
///
/// # Example
/// ```
/// use refrain_burn::{AnyMetric, Metric as _};
/// let metric = AnyMetric::from_name("auc").unwrap().named("area");
/// assert_eq!(metric.name(), "area");
/// ```
#[derive(Clone)]
pub struct AnyMetric {
    name: String,
    metric: Arc<dyn SharedMetric>,
    is_weighted: bool,
}

/// A metric that can be shared.
trait SharedMetric: Metric<Tensor<2>, Targets> + Sync {}

impl<M: Metric<Tensor<2>, Targets> + Sync> SharedMetric for M {}

impl AnyMetric {
    /// Keras' names of those that need no options; names of losses are names of metrics too, but for
    /// `ctc`: what is measured of steps is measured of each, and it is of whole sequences.
    pub const NAMES: &[&str] = &[
        "accuracy",
        "acc",
        "binary_accuracy",
        "categorical_accuracy",
        "sparse_categorical_accuracy",
        "top_k_categorical_accuracy",
        "sparse_top_k_categorical_accuracy",
        "auc",
        "precision",
        "recall",
        "true_positives",
        "false_positives",
        "true_negatives",
        "false_negatives",
        "f1_score",
        "fbeta_score",
        "mean_io_u",
        "binary_io_u",
        "one_hot_mean_io_u",
        "root_mean_squared_error",
        "rmse",
        "cosine_similarity",
        "pearson_correlation",
        "r2_score",
        "crossentropy",
        "ce",
    ];

    /// All names that [`from_name`](Self::from_name) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let is_new =
            |name: &&&str| !Self::NAMES.contains(name) && Self::of_loss_named(name).is_some();
        let losses = AnyLoss::NAMES.iter().filter(is_new);
        Self::NAMES.iter().chain(losses).copied()
    }

    /// The metric of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let metric = match name {
            "accuracy" | "acc" => Self::custom(Accuracy),
            "binary_accuracy" => Self::custom(BinaryAccuracy::new()),
            "categorical_accuracy" | "sparse_categorical_accuracy" => {
                Self::custom(CategoricalAccuracy)
            }
            "top_k_categorical_accuracy" | "sparse_top_k_categorical_accuracy" => {
                Self::custom(TopKCategoricalAccuracy::new())
            }
            "auc" => Self::custom(Auc::new()),
            "precision" => Self::custom(Precision::new()),
            "recall" => Self::custom(Recall::new()),
            "true_positives" => Self::custom(TruePositives::new()),
            "false_positives" => Self::custom(FalsePositives::new()),
            "true_negatives" => Self::custom(TrueNegatives::new()),
            "false_negatives" => Self::custom(FalseNegatives::new()),
            "f1_score" | "fbeta_score" => Self::custom(FBetaScore::new()),
            "mean_io_u" | "binary_io_u" | "one_hot_mean_io_u" => Self::custom(MeanIoU::new()),
            "root_mean_squared_error" | "rmse" => Self::custom(RootMeanSquaredError),
            "cosine_similarity" => Self::custom(CosineSimilarity),
            "pearson_correlation" => Self::custom(PearsonCorrelation),
            "r2_score" => Self::custom(R2Score::new()),
            "crossentropy" | "ce" => Self::custom(Crossentropy),
            _ => Self::of_loss_named(name)?,
        };
        Some(metric.named(name))
    }

    fn of_loss_named(name: &str) -> Option<Self> {
        let loss = AnyLoss::from_name(name)?;
        (!matches!(loss, AnyLoss::Ctc { .. })).then(|| Self::of_loss(loss))
    }

    /// The mean of a loss over the samples. Where the loss takes rows, class labels become one-hot
    /// rows beside several outputs.
    pub fn of_loss(loss: AnyLoss) -> Self {
        Self::custom(MeanLoss(loss))
    }

    /// A metric with options, or of your own.
    pub fn custom(metric: impl Metric<Tensor<2>, Targets> + Sync) -> Self {
        Self { name: metric.name(), is_weighted: metric.is_weighted(), metric: Arc::new(metric) }
    }

    /// Under another name in the logs.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// This metric of the steps of sequences, each of them as a sample: outputs
    /// `[samples, steps × outputs]`. Targets as those of [`AnyLoss::per_step`]; a label that is no class
    /// of the outputs is never right.
    pub fn per_step(self, steps: usize) -> Self {
        let metric = Arc::new(PerStep { metric: self.metric, steps: Steps(steps) });
        Self { metric, ..self }
    }

    /// With samples counted by their weights; see [`Weighted`](super::Weighted).
    pub fn weighted(mut self) -> Self {
        self.is_weighted = true;
        self
    }
}

impl fmt::Debug for AnyMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyMetric").field(&self.name).finish()
    }
}

impl Metric<Tensor<2>, Targets> for AnyMetric {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn values(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<2> {
        self.metric.values(outputs, targets)
    }

    fn result(&self, sums: &[f64], weight: f64) -> f64 {
        self.metric.result(sums, weight)
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        self.metric.check_batch(outputs, targets)
    }

    fn label_classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        self.metric.label_classes(outputs)
    }

    fn is_weighted(&self) -> bool {
        self.is_weighted
    }
}

/// A metric of each step of sequences.
struct PerStep {
    metric: Arc<dyn SharedMetric>,
    steps: Steps,
}

impl PerStep {
    /// Outputs and targets, a step each.
    fn apart(&self, outputs: Tensor<2>, targets: Targets) -> (Tensor<2>, Targets) {
        let outputs = self.steps.outputs(outputs);
        let classes = outputs.dims()[1];
        let targets = match self.steps.targets(targets, classes) {
            // Those that are no class are not known on the host, and a look-up of them would panic.
            Targets::Labels(labels) if self.metric.label_classes(&outputs).is_some() => {
                Targets::Labels(labels.clamp(0, classes.saturating_sub(1) as i64))
            }
            targets => targets,
        };
        (outputs, targets)
    }
}

impl Metric<Tensor<2>, Targets> for PerStep {
    fn name(&self) -> String {
        self.metric.name()
    }

    fn values(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<2> {
        let samples = outputs.dims()[0];
        let (outputs, targets) = self.apart(outputs, targets);
        let values = self.metric.values(outputs, targets);
        let sums = values.dims()[1];
        values.reshape([samples, self.steps.0, sums]).sum_dim(1).squeeze_dim(1)
    }

    fn result(&self, sums: &[f64], weight: f64) -> f64 {
        self.metric.result(sums, weight * self.steps.0 as f64)
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        self.steps.check(&self.metric.name(), outputs, targets)?;
        let (outputs, targets) = self.apart(outputs.clone(), targets.clone());
        self.metric.check_batch(&outputs, &targets)
    }

    fn label_classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        self.metric.label_classes(&self.steps.outputs(outputs.clone()))
    }
}

/// A loss as a metric. Where it takes rows, class labels become one-hot rows beside several outputs.
struct MeanLoss(AnyLoss);

impl MeanLoss {
    fn rows(&self, outputs: &Tensor<2>, targets: Targets) -> Targets {
        match targets {
            Targets::Labels(_) if Loss::check(&self.0, outputs, &targets).is_err() => {
                Targets::Rows(targets.class_rows(outputs.dims()[1]))
            }
            targets => targets,
        }
    }
}

impl Metric<Tensor<2>, Targets> for MeanLoss {
    fn name(&self) -> String {
        Loss::<Tensor<2>>::name(&self.0).to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<2> {
        let targets = self.rows(&outputs, targets);
        self.0.values(outputs, targets)
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        Loss::check(&self.0, outputs, &self.rows(outputs, targets.clone()))
    }

    fn label_classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        Loss::classes(&self.0, outputs)
    }
}

/// The cross-entropy that goes with outputs and targets, as Keras chooses it.
struct Crossentropy;

impl Crossentropy {
    fn fitting(outputs: &Tensor<2>, targets: &Targets) -> AnyLoss {
        match targets {
            _ if outputs.dims()[1] == 1 => AnyLoss::BinaryCrossentropy(BinaryCrossentropy::new()),
            Targets::Labels(_) => {
                AnyLoss::SparseCategoricalCrossentropy(SparseCategoricalCrossentropy::new())
            }
            Targets::Rows(_) => AnyLoss::CategoricalCrossentropy(CategoricalCrossentropy::new()),
        }
    }
}

impl Metric<Tensor<2>, Targets> for Crossentropy {
    fn name(&self) -> String {
        "crossentropy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<2> {
        Self::fitting(&outputs, &targets).values(outputs, targets)
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        Self::fitting(outputs, targets).check_batch(outputs, targets)
    }

    /// One output is compared with the classes 0 and 1 as numbers.
    fn label_classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        Some(outputs.dims()[1]).filter(|classes| *classes > 1)
    }
}

//! Metrics of rows of numbers against rows of the same shape.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Metric;
use crate::losses;
use crate::losses::Loss as _;
use crate::targets::{ClassRows as _, Targets};

/// Against rows, and against targets of any kind.
macro_rules! against_rows {
    ($metric:ident, $name:literal) => {
        impl Metric<Tensor<2>, Tensor<2>> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn values(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
                self.of_rows(outputs, targets)
            }

            fn result(&self, sums: &[f64], weight: f64) -> f64 {
                self.told(sums, weight)
            }

            fn check_batch(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
                targets.check_class_rows($name, outputs.dims())
            }
        }

        impl Metric<Tensor<2>, Targets> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn values(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<2> {
                let targets = targets.class_rows(outputs.dims()[1]);
                self.of_rows(outputs, targets)
            }

            fn result(&self, sums: &[f64], weight: f64) -> f64 {
                self.told(sums, weight)
            }

            fn check_batch(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
                targets.check_class_rows($name, outputs.dims())
            }
        }
    };
}

fn mean(sums: &[f64], weight: f64) -> f64 {
    sums.first().map_or(f64::NAN, |sum| sum / weight)
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

    fn of_rows(self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
        (outputs - targets).square().mean_dim(1)
    }

    fn told(self, sums: &[f64], weight: f64) -> f64 {
        mean(sums, weight).sqrt()
    }
}

against_rows!(RootMeanSquaredError, "root_mean_squared_error");

/// The cosine of the angle between outputs and targets: 1 where they point the same way; Keras'
/// metric `CosineSimilarity`, which is not negated as the loss of that name is. Outputs and targets:
/// `[samples, outputs]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CosineSimilarity;

impl CosineSimilarity {
    /// The metric.
    pub fn new() -> Self {
        Self
    }

    fn of_rows(self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
        losses::CosineSimilarity.forward(outputs, targets).neg().unsqueeze_dim(1)
    }

    fn told(self, sums: &[f64], weight: f64) -> f64 {
        mean(sums, weight)
    }
}

against_rows!(CosineSimilarity, "cosine_similarity");

/// The correlation between a sample's outputs and its targets, averaged over the samples; Keras'
/// `PearsonCorrelation`. Outputs and targets: `[samples, outputs]`, two outputs at least.
#[derive(Clone, Copy, Debug, Default)]
pub struct PearsonCorrelation;

impl PearsonCorrelation {
    /// The metric.
    pub fn new() -> Self {
        Self
    }

    fn of_rows(self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
        let normal = |rows: Tensor<2>| {
            let centred = rows.clone() - rows.mean_dim(1);
            let deviation = centred.clone().square().mean_dim(1).sqrt();
            centred / deviation
        };
        (normal(outputs) * normal(targets)).mean_dim(1)
    }

    fn told(self, sums: &[f64], weight: f64) -> f64 {
        mean(sums, weight)
    }
}

against_rows!(PearsonCorrelation, "pearson_correlation");

/// How the scores of outputs become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// The mean over the outputs.
    #[default]
    UniformAverage,
    /// The mean over the outputs, each by the variance of its targets.
    VarianceWeightedAverage,
}

impl Aggregation {
    /// Keras' names.
    pub const NAMES: &[&str] = &["uniform_average", "variance_weighted_average"];

    /// The aggregation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "uniform_average" => Some(Self::UniformAverage),
            "variance_weighted_average" => Some(Self::VarianceWeightedAverage),
            _ => None,
        }
    }
}

/// The share of the targets' variance that the outputs explain; Keras' `R2Score`. 1 is perfect, 0
/// what their mean would do.
///
/// Outputs and targets: `[samples, outputs]`. Default: the mean over the outputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct R2Score {
    aggregation: Aggregation,
    num_regressors: usize,
}

impl R2Score {
    /// The score, averaged over the outputs.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the scores of outputs become one. Default: their mean.
    pub fn class_aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        self
    }

    /// Adjusts the score for so many inputs of the model: that of more of them must be higher.
    /// Default 0: it is not adjusted.
    pub fn num_regressors(mut self, inputs: usize) -> Self {
        self.num_regressors = inputs;
        self
    }

    /// By Keras' formula, which counts the numbers of all outputs; as it is where there are too few.
    fn adjusted(self, score: f64, numbers: f64) -> f64 {
        let regressors = self.num_regressors as f64;
        if regressors == 0.0 || regressors >= numbers - 1.0 {
            return score;
        }
        1.0 - (1.0 - score) * (numbers - 1.0) / (numbers - regressors - 1.0)
    }

    /// The squares of the targets, the targets, and the squared errors.
    fn of_rows(self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
        let errors = (targets.clone() - outputs).square();
        Tensor::cat(vec![targets.clone().square(), targets, errors], 1)
    }

    fn told(self, sums: &[f64], weight: f64) -> f64 {
        let outputs = sums.len() / 3;
        if outputs == 0 {
            return f64::NAN;
        }
        let [squares, targets, errors] = [0, 1, 2].map(|i| &sums[i * outputs..(i + 1) * outputs]);
        let scores = squares.iter().zip(targets).zip(errors).map(|((square, sum), error)| {
            let variance = square - sum * sum / weight;
            let score = 1.0 - error / variance;
            (variance, if score.is_infinite() { 0.0 } else { score })
        });
        let score = match self.aggregation {
            Aggregation::UniformAverage => {
                scores.map(|(_, score)| score).sum::<f64>() / outputs as f64
            }
            Aggregation::VarianceWeightedAverage => {
                let (mut sum, mut total) = (0.0, 0.0);
                for (variance, score) in scores {
                    sum += variance * score;
                    total += variance;
                }
                sum / total
            }
        };
        self.adjusted(score, weight * outputs as f64)
    }
}

against_rows!(R2Score, "r2_score");

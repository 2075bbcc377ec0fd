//! Losses with Keras' meaning.
//!
//! A loss gives one value per sample: the mean over a sample's outputs. A batch's loss is the sum
//! of these, times the samples' weights, divided by the number of samples (Keras'
//! `sum_over_batch_size`).

mod any;
mod binary_crossentropy;
mod categorical_crossentropy;
mod circle;
mod ctc;
mod custom;
mod focal;
mod generalized_cross_entropy;
mod mean_squared_error;
mod overlap;
mod per_step;
mod regression;
mod sparse_categorical_crossentropy;

use burn::tensor::Tensor;
use refrain_core::{Error, Result};

use crate::forward::ClosingActivation;
use crate::targets::FromTargets;

pub use any::AnyLoss;
pub use binary_crossentropy::BinaryCrossentropy;
pub use categorical_crossentropy::CategoricalCrossentropy;
pub use circle::Circle;
pub use ctc::Ctc;
pub use custom::CustomLoss;
pub use focal::{BinaryFocalCrossentropy, CategoricalFocalCrossentropy};
pub use generalized_cross_entropy::CategoricalGeneralizedCrossEntropy;
pub use mean_squared_error::MeanSquaredError;
pub use overlap::Tversky;
pub(crate) use per_step::Steps;
pub use regression::{
    CategoricalHinge, CosineSimilarity, Hinge, Huber, KlDivergence, LogCosh, MeanAbsoluteError,
    MeanAbsolutePercentageError, MeanSquaredLogarithmicError, Poisson, SquaredHinge,
};
pub use sparse_categorical_crossentropy::SparseCategoricalCrossentropy;

/// Keras' `epsilon()`: probabilities are kept this far from 0 and 1.
const EPSILON: f64 = 1e-7;

/// What training makes small, for models whose output is `O`.
pub trait Loss<O>: Clone + Send + 'static {
    /// What outputs are compared with.
    type Targets: FromTargets;

    /// Keras' name, which is also its name as a metric.
    fn name(&self) -> &'static str;

    /// One value per sample: `[samples]`.
    fn forward(&self, outputs: O, targets: Self::Targets) -> Tensor<1>;

    /// The sum of [`forward`](Self::forward): `[1]`. Override it where the sum alone is cheaper.
    fn sum(&self, outputs: O, targets: Self::Targets) -> Tensor<1> {
        self.forward(outputs, targets).sum()
    }

    /// Whether outputs and targets fit each other.
    ///
    /// # Errors
    /// A data error that names both shapes.
    fn check(&self, outputs: &O, targets: &Self::Targets) -> Result {
        let _ = (outputs, targets);
        Ok(())
    }

    /// Where targets are class labels, the number of classes that these outputs have.
    fn classes(&self, outputs: &O) -> Option<usize> {
        let _ = outputs;
        None
    }

    /// This loss for outputs whose `closing` activation was left out; `None` where it needs the
    /// activation.
    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        let _ = closing;
        None
    }
}

/// `[samples, outputs]` against rows of targets of the same shape.
pub(crate) fn check_rows(
    loss: &str,
    outputs: [usize; 2],
    targets: [usize; 2],
    hint: &str,
) -> Result {
    if outputs == targets {
        return Ok(());
    }
    Err(Error::data(format!(
        "{loss}: outputs have the shape {outputs:?} and targets {targets:?}; they must be equal{hint}"
    )))
}

/// `[samples, classes]` against one label for each sample.
fn check_labels(loss: &str, outputs: [usize; 2], labels: usize) -> Result {
    if outputs[0] == labels {
        return Ok(());
    }
    Err(Error::data(format!(
        "{loss}: {} outputs and {labels} labels; there must be one label for each",
        outputs[0]
    )))
}

/// An option from 0 to 1.
fn check_share(loss: &str, option: &str, share: f64) -> Result {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{loss}: {option} is {share}; allowed: a number from 0 to 1, for example 0.1"
    )))
}

/// Targets pulled towards `1 / classes` by a share of the way.
fn smooth(targets: Tensor<2>, share: f64, classes: usize) -> Tensor<2> {
    match share {
        0.0 => targets,
        _ => targets * (1.0 - share) + share / classes as f64,
    }
}

/// Keras' logarithm of probabilities: rows are made to sum to 1, then kept off 0 and 1.
fn log_probabilities(outputs: Tensor<2>) -> Tensor<2> {
    let sums = outputs.clone().sum_dim(1);
    (outputs / sums).clamp(EPSILON, 1.0 - EPSILON).log()
}

/// Of each row: `[samples]`.
fn log_sum_exp(values: Tensor<2>) -> Tensor<1> {
    let largest = values.clone().detach().max_dim(1);
    let sums = (values - largest.clone()).exp().sum_dim(1);
    (sums.log() + largest).squeeze_dim(1)
}

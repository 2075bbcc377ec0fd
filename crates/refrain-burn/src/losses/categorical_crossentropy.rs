//! Cross-entropy against distributions over classes.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use refrain_core::Result;

use super::{Loss, check_rows, check_share, log_probabilities, smooth};
use crate::forward::ClosingActivation;

const NAME: &str = "categorical_crossentropy";

/// Cross-entropy between two distributions over classes.
///
/// Outputs: `[samples, classes]`, probabilities unless [`from_logits`](Self::from_logits).
/// Targets: one-hot rows, or any distribution, of the same shape.
///
/// Probabilities are made to sum to 1 and are kept in 1e-7..=1 − 1e-7, as in Keras. Where the
/// model ends in a softmax, the loss is computed from what goes into it.
#[derive(Clone, Copy, Debug, Default)]
pub struct CategoricalCrossentropy {
    from_logits: bool,
    label_smoothing: f64,
}

impl CategoricalCrossentropy {
    /// The loss on probabilities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether outputs are logits, of which a softmax is still to be taken. Default false.
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }

    /// How far targets are pulled to where nothing is known; from 0 to 1. Default 0.
    pub fn label_smoothing(mut self, label_smoothing: f64) -> Self {
        self.label_smoothing = label_smoothing;
        self
    }

    pub(super) fn is_from_logits(&self) -> bool {
        self.from_logits
    }
}

impl Loss<Tensor<2>> for CategoricalCrossentropy {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let targets = smooth(targets, self.label_smoothing, outputs.dims()[1]);
        let logarithms =
            if self.from_logits { log_softmax(outputs, 1) } else { log_probabilities(outputs) };
        (logarithms * targets).sum_dim(1).squeeze_dim::<1>(1).neg()
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
        check_share(NAME, "label_smoothing", self.label_smoothing)?;
        let hint = "; class labels go with `sparse_categorical_crossentropy`, or with \
                    `AnyLoss::CategoricalCrossentropy`";
        check_rows(NAME, outputs.dims(), targets.dims(), hint)
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        (!self.from_logits && closing == ClosingActivation::Softmax)
            .then_some(Self { from_logits: true, ..*self })
    }
}

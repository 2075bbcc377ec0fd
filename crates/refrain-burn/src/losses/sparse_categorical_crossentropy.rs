//! Cross-entropy against class labels.

use burn::tensor::{Int, Tensor};
use refrain_core::Result;

use super::{Loss, check_labels, log_probabilities};
use crate::forward::ClosingActivation;
use crate::kernels::cross_entropy;

const NAME: &str = "sparse_categorical_crossentropy";

/// Cross-entropy between a distribution over classes and the class that is right.
///
/// Outputs: `[samples, classes]`, probabilities unless [`from_logits`](Self::from_logits).
/// Targets: the class of each sample, counted from 0.
///
/// Probabilities are made to sum to 1 and are kept in 1e-7..=1 − 1e-7, as in Keras. Where the
/// model ends in a softmax, the loss is computed from what goes into it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SparseCategoricalCrossentropy {
    from_logits: bool,
}

impl SparseCategoricalCrossentropy {
    /// The loss on probabilities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether outputs are logits, of which a softmax is still to be taken. Default false.
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }

    pub(super) fn is_from_logits(&self) -> bool {
        self.from_logits
    }
}

impl Loss<Tensor<2>> for SparseCategoricalCrossentropy {
    type Targets = Tensor<1, Int>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        if self.from_logits {
            return cross_entropy(outputs, targets);
        }
        let logarithms = log_probabilities(outputs).gather(1, targets.unsqueeze_dim(1));
        logarithms.squeeze_dim::<1>(1).neg()
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<1, Int>) -> Result {
        check_labels(NAME, outputs.dims(), targets.dims()[0])
    }

    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        Some(outputs.dims()[1])
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        (!self.from_logits && closing == ClosingActivation::Softmax)
            .then_some(Self { from_logits: true })
    }
}

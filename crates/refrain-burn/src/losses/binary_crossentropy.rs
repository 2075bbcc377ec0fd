//! Cross-entropy of independent yes-or-no outputs.

use burn::tensor::Tensor;
use burn::tensor::activation::softplus;
use refrain_core::Result;

use super::{EPSILON, Loss, check_rows, check_share, smooth};
use crate::forward::ClosingActivation;

const NAME: &str = "binary_crossentropy";

/// Cross-entropy of yes-or-no outputs, each for itself; the mean over a sample's outputs.
///
/// Outputs: `[samples, outputs]`, probabilities unless [`from_logits`](Self::from_logits).
/// Targets: 0 or 1 (or anything between), of the same shape.
///
/// Probabilities are kept in 1e-7..=1 − 1e-7, as in Keras. Where the model ends in a sigmoid, the
/// loss is computed from what goes into it.
#[derive(Clone, Copy, Debug, Default)]
pub struct BinaryCrossentropy {
    from_logits: bool,
    label_smoothing: f64,
}

impl BinaryCrossentropy {
    /// The loss on probabilities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether outputs are logits, of which a sigmoid is still to be taken. Default false.
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

impl Loss<Tensor<2>> for BinaryCrossentropy {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let targets = smooth(targets, self.label_smoothing, 2);
        let misses = targets.clone().neg() + 1.0;
        let losses = if self.from_logits {
            // Two softplus and not `softplus(x) − x·t`: the difference would cancel where the
            // output is right and sure.
            targets * softplus(outputs.clone().neg(), 1.0) + misses * softplus(outputs, 1.0)
        } else {
            let p = outputs.clamp(EPSILON, 1.0 - EPSILON);
            (targets * p.clone().log() + misses * (p.neg() + 1.0).log()).neg()
        };
        losses.mean_dim(1).squeeze_dim::<1>(1)
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
        check_share(NAME, "label_smoothing", self.label_smoothing)?;
        check_rows(NAME, outputs.dims(), targets.dims(), "")
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        (!self.from_logits && closing == ClosingActivation::Sigmoid)
            .then_some(Self { from_logits: true, ..*self })
    }
}

//! Cross-entropy that bears wrong labels.

use burn::tensor::{Int, Tensor};
use refrain_core::{Error, Result};

use super::{Loss, check_labels};

const NAME: &str = "categorical_generalized_cross_entropy";

/// `(1 − p^q) / q`, where p is the probability of the right class: near cross-entropy for q near 0,
/// near the distance, on which wrong labels weigh less, for q near 1; Keras'
/// `CategoricalGeneralizedCrossEntropy`.
///
/// Outputs: `[samples, classes]`, probabilities. Targets: the class of each sample. Default: q 0.5.
///
/// # Errors
/// `check` refuses a number of labels other than that of the outputs, and q out of range.
///
/// # Source
/// "Generalized cross entropy loss for training deep neural networks with noisy labels", NeurIPS
/// 2018.
#[derive(Clone, Copy, Debug)]
pub struct CategoricalGeneralizedCrossEntropy {
    q: f64,
}

impl CategoricalGeneralizedCrossEntropy {
    /// The loss with q 0.5.
    pub fn new() -> Self {
        Self { q: 0.5 }
    }

    /// How robust it is; above 0 and below 1. Default 0.5.
    pub fn q(mut self, q: f64) -> Self {
        self.q = q;
        self
    }
}

impl Default for CategoricalGeneralizedCrossEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Loss<Tensor<2>> for CategoricalGeneralizedCrossEntropy {
    type Targets = Tensor<1, Int>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let p = outputs.gather(1, targets.unsqueeze_dim(1)).squeeze_dim::<1>(1);
        (p.powf_scalar(self.q).neg() + 1.0) / self.q
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<1, Int>) -> Result {
        if !(self.q > 0.0 && self.q < 1.0) {
            return Err(Error::config(format!(
                "{NAME}: q is {}; allowed: above 0 and below 1, for example 0.5",
                self.q
            )));
        }
        check_labels(NAME, outputs.dims(), targets.dims()[0])
    }

    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        Some(outputs.dims()[1])
    }
}

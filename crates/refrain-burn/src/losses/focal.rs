//! Cross-entropies in which what is predicted well counts little.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use refrain_core::{Error, Result};

use super::{EPSILON, Loss, check_rows, check_share, smooth};
use crate::kernels;

/// [`BinaryCrossentropy`](super::BinaryCrossentropy), each output's loss times
/// `(1 − probability of what is right)^γ`; Keras' `BinaryFocalCrossentropy`.
///
/// Outputs: `[samples, outputs]`, probabilities unless [`from_logits`](Self::from_logits).
/// Targets: 0 or 1, of the same shape. With class balancing, 1 counts α times and 0 1 − α times.
///
/// Defaults: γ 2, α 0.25, no class balancing, probabilities, no label smoothing.
///
/// # Errors
/// `check` refuses shapes that are not equal, and options out of range.
///
/// # Source
/// "Focal loss for dense object detection", ICCV 2017.
#[derive(Clone, Copy, Debug)]
pub struct BinaryFocalCrossentropy {
    apply_class_balancing: bool,
    alpha: f64,
    gamma: f64,
    from_logits: bool,
    label_smoothing: f64,
}

/// [`CategoricalCrossentropy`](super::CategoricalCrossentropy), each class' part times
/// `α × (1 − its probability)^γ`; Keras' `CategoricalFocalCrossentropy`.
///
/// Outputs: `[samples, classes]`, probabilities unless [`from_logits`](Self::from_logits).
/// Targets: one-hot rows, of the same shape.
///
/// Defaults: γ 2, α 0.25, probabilities, no label smoothing.
///
/// # Errors
/// `check` refuses shapes that are not equal, and options out of range.
///
/// # Source
/// "Focal loss for dense object detection", ICCV 2017.
#[derive(Clone, Copy, Debug)]
pub struct CategoricalFocalCrossentropy {
    alpha: f64,
    gamma: f64,
    from_logits: bool,
    label_smoothing: f64,
}

macro_rules! options {
    ($loss:ident) => {
        impl $loss {
            /// What α stands for in the formula; from 0 to 1. Default 0.25.
            pub fn alpha(mut self, alpha: f64) -> Self {
                self.alpha = alpha;
                self
            }

            /// How little counts what is predicted well; 0 or more. Default 2.
            pub fn gamma(mut self, gamma: f64) -> Self {
                self.gamma = gamma;
                self
            }

            /// Whether outputs are logits. Default false.
            pub fn from_logits(mut self, from_logits: bool) -> Self {
                self.from_logits = from_logits;
                self
            }

            /// How far targets are pulled to where nothing is known; from 0 to 1. Default 0.
            pub fn label_smoothing(mut self, label_smoothing: f64) -> Self {
                self.label_smoothing = label_smoothing;
                self
            }

            fn check_options(&self, loss: &str) -> Result {
                check_share(loss, "alpha", self.alpha)?;
                check_share(loss, "label_smoothing", self.label_smoothing)?;
                if self.gamma.is_finite() && self.gamma >= 0.0 {
                    return Ok(());
                }
                Err(Error::config(format!(
                    "{loss}: gamma is {}; allowed: a finite number, 0 or more, for example 2.0",
                    self.gamma
                )))
            }
        }

        impl Default for $loss {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

options!(BinaryFocalCrossentropy);
options!(CategoricalFocalCrossentropy);

impl BinaryFocalCrossentropy {
    /// The loss on probabilities.
    pub fn new() -> Self {
        Self {
            apply_class_balancing: false,
            alpha: 0.25,
            gamma: 2.0,
            from_logits: false,
            label_smoothing: 0.0,
        }
    }

    /// Whether 1 counts α times and 0 1 − α times. Default false.
    pub fn apply_class_balancing(mut self, apply_class_balancing: bool) -> Self {
        self.apply_class_balancing = apply_class_balancing;
        self
    }
}

impl CategoricalFocalCrossentropy {
    /// The loss on probabilities.
    pub fn new() -> Self {
        Self { alpha: 0.25, gamma: 2.0, from_logits: false, label_smoothing: 0.0 }
    }
}

impl Loss<Tensor<2>> for BinaryFocalCrossentropy {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        "binary_focal_crossentropy"
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let targets = smooth(targets, self.label_smoothing, 2);
        let misses = targets.clone().neg() + 1.0;
        let p = if self.from_logits { sigmoid(outputs) } else { outputs };
        let kept = p.clone().clamp(EPSILON, 1.0 - EPSILON);
        let right = targets.clone() * p.clone() + misses.clone() * (p.neg() + 1.0);
        let losses = (targets.clone() * kept.clone().log()
            + misses.clone() * (kept.neg() + 1.0).log())
        .neg();
        let mut losses = (right.neg() + 1.0).powf_scalar(self.gamma) * losses;
        if self.apply_class_balancing {
            losses = losses * (targets * self.alpha + misses * (1.0 - self.alpha));
        }
        losses.mean_dim(1).squeeze_dim(1)
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
        self.check_options(Loss::name(self))?;
        check_rows("binary_focal_crossentropy", outputs.dims(), targets.dims(), "")
    }
}

impl Loss<Tensor<2>> for CategoricalFocalCrossentropy {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        "categorical_focal_crossentropy"
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let targets = smooth(targets, self.label_smoothing, outputs.dims()[1]);
        let p = if self.from_logits { kernels::softmax(outputs) } else { outputs };
        let sums = p.clone().sum_dim(1);
        let p = (p / sums).clamp(EPSILON, 1.0 - EPSILON);
        let weights = (p.clone().neg() + 1.0).powf_scalar(self.gamma) * self.alpha;
        (weights * targets * p.log()).sum_dim(1).squeeze_dim::<1>(1).neg()
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
        self.check_options(Loss::name(self))?;
        check_rows("categorical_focal_crossentropy", outputs.dims(), targets.dims(), "")
    }
}

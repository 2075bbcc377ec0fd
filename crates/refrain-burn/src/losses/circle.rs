//! A loss of how near embeddings of one class are.

use burn::tensor::activation::softplus;
use burn::tensor::{Int, Tensor};
use refrain_core::{Error, Result};

use super::{Loss, check_labels, log_sum_exp};

const NAME: &str = "circle";
/// What takes no part in a sum of exponentials.
const NOTHING: f32 = -1e9;

/// Brings embeddings of one class near each other, and those of different classes apart; Keras'
/// `Circle`.
///
/// Outputs: `[samples, embedding]`, each of length 1. Targets: the class of each sample. Pairs are
/// those within a batch: a sample without another of its class in it has no loss, and does not count
/// in the mean.
///
/// Defaults: γ 80, margin 0.4, a sample is no pair with itself.
///
/// # Errors
/// `check` refuses a number of labels other than that of the outputs, and options out of range.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Int, Tensor};
/// use refrain_burn::{Circle, Loss as _};
/// let outputs = [[1.0_f32, 0.0], [1.0, 0.0], [0.0, 1.0]];
/// let outputs = Tensor::<2>::from_data(outputs, &Device::default());
/// let labels = Tensor::<1, Int>::from_data([0, 0, 1], &Device::default());
/// let losses = Circle::new().forward(outputs, labels).into_data().try_into_vec_as::<f32>()?;
/// assert!(losses[0] < 1e-3 && losses[2] == 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// "Circle loss: a unified perspective of pair similarity optimization", CVPR 2020.
#[derive(Clone, Copy, Debug)]
pub struct Circle {
    gamma: f64,
    margin: f64,
    remove_diagonal: bool,
}

impl Circle {
    /// The loss with γ 80 and a margin of 0.4.
    pub fn new() -> Self {
        Self { gamma: 80.0, margin: 0.4, remove_diagonal: true }
    }

    /// How sharp it is; above 0. Default 80.
    pub fn gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }

    /// How far pairs may be from where they belong, 0..=1. Default 0.4.
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Whether a sample is no pair with itself. Default true.
    pub fn remove_diagonal(mut self, remove_diagonal: bool) -> Self {
        self.remove_diagonal = remove_diagonal;
        self
    }
}

impl Default for Circle {
    fn default() -> Self {
        Self::new()
    }
}

impl Loss<Tensor<2>> for Circle {
    type Targets = Tensor<1, Int>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let samples = outputs.dims()[0];
        let square = [samples, samples];
        let of = targets.clone().unsqueeze_dim::<2>(1).expand(square);
        let is_same = of.equal(targets.clone().unsqueeze_dim::<2>(0).expand(square));
        let is_other = is_same.clone().bool_not();
        let mut is_pair = is_same;
        if self.remove_diagonal {
            let index = Tensor::<1, Int>::arange(0..samples as i64, &targets.device());
            let row = index.clone().unsqueeze_dim::<2>(1).expand(square);
            let is_itself = row.equal(index.unsqueeze_dim::<2>(0).expand(square));
            is_pair = is_pair.bool_and(is_itself.bool_not());
        }

        // Keras' cosine distances.
        let distance = (outputs.clone().matmul(outputs.transpose()).neg() + 1.0).clamp_min(0.0);
        let near = (distance.clone() + self.margin).clamp_min(0.0)
            * (distance.clone().neg() + self.margin)
            * -self.gamma;
        let far = (distance.clone().neg() + (1.0 + self.margin)).clamp_min(0.0)
            * (distance.neg() + (1.0 - self.margin))
            * self.gamma;
        let losses = softplus(
            log_sum_exp(near.mask_fill(is_pair.bool_not(), NOTHING))
                + log_sum_exp(far.mask_fill(is_other.bool_not(), NOTHING)),
            1.0,
        );
        // Keras masks what has no loss: the mean is over the others.
        let counted = losses.clone().detach().greater_scalar(0.0).float().sum();
        let share = (counted + super::EPSILON).recip() * samples as f32;
        losses * share.expand([samples])
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<1, Int>) -> Result {
        if !(self.gamma.is_finite() && self.gamma > 0.0) {
            return Err(Error::config(format!(
                "{NAME}: gamma is {}; allowed: a finite number above 0, for example 80.0",
                self.gamma
            )));
        }
        super::check_share(NAME, "margin", self.margin)?;
        check_labels(NAME, outputs.dims(), targets.dims()[0])
    }
}

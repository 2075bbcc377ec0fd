//! Losses of how far outputs and targets overlap.

use burn::tensor::Tensor;
use refrain_core::{Error, Result};

use super::{EPSILON, Loss, check_rows};

/// How far two sets overlap, of which outputs say how sure they are: a segmentation, or several labels
/// of a sample; Keras' `Tversky`, and with its defaults `Dice`.
///
/// `1 − both / (both + α × missed + β × wrong)`, where `both` is the sum of target × output, `missed`
/// that of target × (1 − output), and `wrong` that of (1 − target) × output. Outputs: `[samples,
/// outputs]`, 0..=1. Targets: 0 or 1, of the same shape.
///
/// The sums are over the whole batch, as in Keras: every sample has the same loss. With
/// [`per_sample`](Self::per_sample) each has its own.
///
/// Defaults: α 0.5, β 0.5, over the batch.
///
/// # Errors
/// `check` refuses shapes that are not equal, and options out of range.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::{Loss as _, Tversky};
/// let row = |values: [f32; 2]| Tensor::<2>::from_data([values], &Device::default());
/// let loss = Tversky::new().forward(row([1.0, 0.5]), row([1.0, 0.0]));
/// assert!((loss.into_scalar::<f32>() - (1.0 - 1.0 / 1.25)).abs() < 1e-6);
/// ```
///
/// # Source
/// "Tversky loss function for image segmentation using 3D fully convolutional deep networks", 2017.
#[derive(Clone, Copy, Debug)]
pub struct Tversky {
    name: &'static str,
    alpha: f64,
    beta: f64,
    per_sample: bool,
}

impl Tversky {
    /// The loss with α and β 0.5.
    pub fn new() -> Self {
        Self { name: "tversky", alpha: 0.5, beta: 0.5, per_sample: false }
    }

    /// The loss under the name `dice`.
    pub fn dice() -> Self {
        Self { name: "dice", ..Self::new() }
    }

    /// How much counts what was missed; 0 or more. Default 0.5.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// How much counts what is wrong; 0 or more. Default 0.5.
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// Whether sums are over each sample; Keras' `axis`. Default false: over the batch.
    pub fn per_sample(mut self, per_sample: bool) -> Self {
        self.per_sample = per_sample;
        self
    }
}

impl Default for Tversky {
    fn default() -> Self {
        Self::new()
    }
}

impl Loss<Tensor<2>> for Tversky {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let samples = outputs.dims()[0];
        let sum = |values: Tensor<2>| match self.per_sample {
            true => values.sum_dim(1).squeeze_dim::<1>(1),
            false => values.sum(),
        };
        let not = |values: &Tensor<2>| values.clone().neg() + 1.0;
        let both = sum(targets.clone() * outputs.clone());
        let missed = sum(not(&outputs) * targets.clone());
        let wrong = sum(outputs * not(&targets));
        let whole = both.clone() + missed * self.alpha + wrong * self.beta + EPSILON;
        ((both / whole).neg() + 1.0).expand([samples])
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
        for (option, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::config(format!(
                    "{}: {option} is {value}; allowed: a finite number, 0 or more, for example 0.5",
                    self.name
                )));
            }
        }
        check_rows(self.name, outputs.dims(), targets.dims(), "")
    }
}

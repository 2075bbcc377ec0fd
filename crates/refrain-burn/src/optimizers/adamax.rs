//! Adamax.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running mean of the gradient, and its largest
/// magnitude, which fades.
const MEAN: &str = "m";
const LARGEST: &str = "u";

/// Adam by the largest magnitude of the gradient in place of the mean of its square; Keras'
/// `Adamax`.
///
/// `u = max(β₂ × u, |gradient|)`, `weights −= rate × m / ((1 − β₁ᵗ) × (u + ε))`.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7.
///
/// # Example
/// ```
/// use refrain_burn::{Adamax, Optimizer as _};
/// assert!(Adamax::default().check().is_ok());
/// let error = Adamax::default().beta_2(1.0).check().unwrap_err();
/// assert_eq!(error.to_string(), "adamax: beta_2 is 1; allowed: 0 or more and below 1, for example 0.999");
/// ```
///
/// # Source
/// "Adam: a method for stochastic optimization", ICLR 2015, section 7.1.
#[derive(Debug)]
pub struct Adamax {
    common: Common,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Adamax {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("adamax", LEARNING_RATE, learning_rate.into());
        Self { common, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }
}

optimizer!(Adamax {
    /// How much of the mean of gradients is kept, 0..1. Default 0.9.
    beta_1: f64,
    /// How much of the largest magnitude is kept, 0..1. Default 0.999.
    beta_2: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
});

impl Rule for Adamax {
    type Formula = ByLargest;

    fn formula(&self) -> ByLargest {
        ByLargest {
            rate: self.common.rate,
            new_1: (1.0 - self.beta_1) as f32,
            beta_2: self.beta_2 as f32,
            unbias: 1.0 - (self.beta_1 as f32).powf(self.common.step()),
            epsilon: self.epsilon as f32,
        }
    }

    const SLOTS: &'static [&'static str] = &[MEAN, LARGEST];
    const COUNTS_STEPS: bool = true;

    fn check(&self) -> Result {
        self.common.check_share("beta_1", self.beta_1, "0.9")?;
        self.common.check_share("beta_2", self.beta_2, "0.999")?;
        self.common.check_positive("epsilon", self.epsilon, "1e-7")
    }
}

#[derive(Clone, Copy)]
pub(super) struct ByLargest {
    rate: f32,
    new_1: f32,
    beta_2: f32,
    unbias: f32,
    epsilon: f32,
}

impl Formula for ByLargest {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, new_1, beta_2, unbias, epsilon } = self;
        let [m, u] = slots else {
            return;
        };
        let moments = m.iter_mut().zip(u.iter_mut());
        for ((w, g), (m, u)) in weights.iter_mut().zip(gradient).zip(moments) {
            *m += (*g - *m) * new_1;
            let (faded, new) = (beta_2 * *u, g.abs());
            // Not `max`, which would take a number in place of NaN.
            *u = if faded > new { faded } else { new };
            *w -= rate * *m / (unbias * (*u + epsilon));
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [m, u] = slots.as_mut_slice() else {
            return weights;
        };
        *m = m.clone() + (gradient.clone() - m.clone()) * self.new_1;
        *u = (u.clone() * self.beta_2).max_pair(gradient.abs());
        weights - m.clone() * self.rate / ((u.clone() + self.epsilon) * self.unbias)
    }
}

//! Adam with Nesterov momentum.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running means of the gradient and of its square.
const MEAN: &str = "m";
const SQUARE: &str = "v";

/// Adam with Nesterov momentum, which grows over the steps; Keras' `Nadam`.
///
/// With `uₜ = β₁ × (1 − 0.96ᵗ / 2)` and `Uₜ` the product of all `u` so far,
/// `m̂ = uₜ₊₁ × m / (1 − Uₜ × uₜ₊₁) + (1 − uₜ) × gradient / (1 − Uₜ)`, `v̂ = v / (1 − β₂ᵗ)`,
/// `weights −= rate × m̂ / (√v̂ + ε)`.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7.
///
/// # Example
/// ```
/// use refrain_burn::{Nadam, Optimizer as _};
/// assert!(Nadam::default().check().is_ok());
/// let error = Nadam::default().beta_1(1.0).check().unwrap_err();
/// assert_eq!(error.to_string(), "nadam: beta_1 is 1; allowed: 0 or more and below 1, for example 0.9");
/// ```
///
/// # Source
/// "Incorporating Nesterov momentum into Adam", ICLR workshop, 2016.
#[derive(Debug)]
pub struct Nadam {
    common: Common,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    /// The product of all steps' momenta, a function of their number.
    product: f32,
}

impl Nadam {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("nadam", LEARNING_RATE, learning_rate.into());
        Self { common, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, product: 1.0 }
    }

    /// The momentum of a step.
    fn momentum(&self, step: f32) -> f32 {
        self.beta_1 as f32 * (1.0 - 0.5 * 0.96_f32.powf(step))
    }
}

optimizer!(Nadam {
    /// How much of the mean of gradients is kept, 0..1. Default 0.9.
    beta_1: f64,
    /// How much of the mean of squares is kept, 0..1. Default 0.999.
    beta_2: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
});

impl Rule for Nadam {
    type Formula = Ahead;

    fn formula(&self) -> Ahead {
        let step = self.common.step();
        let (now, next) = (self.momentum(step), self.momentum(step + 1.0));
        Ahead {
            rate: self.common.rate,
            new_1: 1.0 - self.beta_1 as f32,
            new_2: 1.0 - self.beta_2 as f32,
            of_mean: [next, 1.0 - self.product * next],
            of_gradient: [1.0 - now, 1.0 - self.product],
            unbias: 1.0 - (self.beta_2 as f32).powf(step),
            epsilon: self.epsilon as f32,
        }
    }

    const SLOTS: &'static [&'static str] = &[MEAN, SQUARE];
    const COUNTS_STEPS: bool = true;

    fn check(&self) -> Result {
        self.common.check_share("beta_1", self.beta_1, "0.9")?;
        self.common.check_share("beta_2", self.beta_2, "0.999")?;
        self.common.check_positive("epsilon", self.epsilon, "1e-7")
    }

    fn begin(&mut self) {
        self.product *= self.momentum(self.common.step());
    }

    fn resume(&mut self) {
        self.product = 1.0;
        for step in 1..=self.common.step {
            self.product *= self.momentum(step as f32);
            if self.product == 0.0 {
                return;
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Ahead {
    rate: f32,
    new_1: f32,
    new_2: f32,
    /// What the mean and the gradient count in the mean looked ahead to.
    of_mean: [f32; 2],
    of_gradient: [f32; 2],
    unbias: f32,
    epsilon: f32,
}

impl Formula for Ahead {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, new_1, new_2, of_mean, of_gradient, unbias, epsilon } = self;
        let [m, v] = slots else {
            return;
        };
        let moments = m.iter_mut().zip(v.iter_mut());
        for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(moments) {
            *m += (*g - *m) * new_1;
            *v += (*g * *g - *v) * new_2;
            let ahead = of_mean[0] * *m / of_mean[1] + of_gradient[0] * *g / of_gradient[1];
            *w -= ahead * rate / ((*v / unbias).sqrt() + epsilon);
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [m, v] = slots.as_mut_slice() else {
            return weights;
        };
        *m = m.clone() + (gradient.clone() - m.clone()) * self.new_1;
        *v = v.clone() + (gradient.clone().square() - v.clone()) * self.new_2;
        let ahead = m.clone() * self.of_mean[0] / self.of_mean[1]
            + gradient * self.of_gradient[0] / self.of_gradient[1];
        let root = (v.clone() / self.unbias).sqrt();
        weights - ahead * self.rate / (root + self.epsilon)
    }
}

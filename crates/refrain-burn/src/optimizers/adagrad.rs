//! Adagrad.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the sum of squares.
const SUM: &str = "accumulator";

/// The gradient divided by the root of the sum of all its squares: rates fall, fastest where
/// gradients are large; Keras' `Adagrad`.
///
/// `sum += gradient²`, `weights −= rate × gradient / √(sum + ε)`.
///
/// Defaults: learning rate 0.001, initial accumulator value 0.1, ε 1e-7.
///
/// # Example
/// ```
/// use refrain_burn::{Adagrad, Optimizer as _};
/// assert!(Adagrad::default().check().is_ok());
/// let error = Adagrad::default().epsilon(0.0).check().unwrap_err();
/// assert_eq!(error.to_string(), "adagrad: epsilon is 0; allowed: a finite number above 0, for example 1e-7");
/// ```
///
/// # Source
/// "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 2011.
#[derive(Debug)]
pub struct Adagrad {
    common: Common,
    initial_accumulator_value: f64,
    epsilon: f64,
}

impl Adagrad {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("adagrad", LEARNING_RATE, learning_rate.into());
        Self { common, initial_accumulator_value: 0.1, epsilon: 1e-7 }
    }
}

optimizer!(Adagrad {
    /// What the sum of squares begins with; 0 or more. Default 0.1.
    initial_accumulator_value: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
});

impl Rule for Adagrad {
    type Formula = BySum;

    fn formula(&self) -> BySum {
        BySum { rate: self.common.rate, epsilon: self.epsilon as f32 }
    }

    const SLOTS: &'static [&'static str] = &[SUM];
    const COUNTS_STEPS: bool = false;

    fn check(&self) -> Result {
        let initial = self.initial_accumulator_value;
        let is_allowed = initial.is_finite() && initial >= 0.0;
        let allowed = "a finite number, 0 or more, for example 0.1";
        let option = "initial_accumulator_value";
        self.common.check_option(option, initial, is_allowed, allowed)?;
        self.common.check_positive("epsilon", self.epsilon, "1e-7")
    }

    fn start(&self, _: &str) -> f32 {
        self.initial_accumulator_value as f32
    }
}

#[derive(Clone, Copy)]
pub(super) struct BySum {
    rate: f32,
    epsilon: f32,
}

impl Formula for BySum {
    const SHRINKS: bool = false;

    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, epsilon } = self;
        let [sum] = slots else {
            return;
        };
        for ((w, g), sum) in weights.iter_mut().zip(gradient).zip(sum.iter_mut()) {
            *sum += *g * *g;
            *w -= rate * *g / (*sum + epsilon).sqrt();
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [sum] = slots.as_mut_slice() else {
            return weights;
        };
        *sum = sum.clone() + gradient.clone().square();
        weights - gradient * self.rate / (sum.clone() + self.epsilon).sqrt()
    }
}

//! Lion.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running mean of the gradient.
const MEAN: &str = "m";

/// Steps of one size, by the sign of a mix of the running mean and the gradient; Keras' `Lion`.
///
/// `weights −= rate × sign(β₁ × m + (1 − β₁) × gradient)`, then
/// `m = β₂ × m + (1 − β₂) × gradient`. Rates are a third to a tenth of Adam's.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.99.
///
/// # Example
/// ```
/// use refrain_burn::{Lion, Optimizer as _};
/// assert!(Lion::default().check().is_ok());
/// let error = Lion::default().beta_1(0.0).check().unwrap_err();
/// assert_eq!(error.to_string(), "lion: beta_1 is 0; allowed: above 0 and at most 1, for example 0.9");
/// ```
///
/// # Source
/// "Symbolic discovery of optimization algorithms", 2023.
#[derive(Debug)]
pub struct Lion {
    common: Common,
    beta_1: f64,
    beta_2: f64,
}

impl Lion {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("lion", LEARNING_RATE, learning_rate.into());
        Self { common, beta_1: 0.9, beta_2: 0.99 }
    }
}

optimizer!(Lion {
    /// What the running mean counts beside the gradient, above 0 and at most 1. Default 0.9.
    beta_1: f64,
    /// How much of the running mean is kept, 0..1. Default 0.99.
    beta_2: f64,
});

impl Rule for Lion {
    type Formula = BySign;

    fn formula(&self) -> BySign {
        let (beta_1, beta_2) = (self.beta_1 as f32, self.beta_2 as f32);
        BySign { rate: self.common.rate, beta_1, beta_2 }
    }

    const SLOTS: &'static [&'static str] = &[MEAN];
    const COUNTS_STEPS: bool = false;

    fn check(&self) -> Result {
        let is_allowed = self.beta_1 > 0.0 && self.beta_1 <= 1.0;
        let allowed = "above 0 and at most 1, for example 0.9";
        self.common.check_option("beta_1", self.beta_1, is_allowed, allowed)?;
        self.common.check_share("beta_2", self.beta_2, "0.99")
    }
}

#[derive(Clone, Copy)]
pub(super) struct BySign {
    rate: f32,
    beta_1: f32,
    beta_2: f32,
}

impl Formula for BySign {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, beta_1, beta_2 } = self;
        let (new_1, new_2) = (1.0 - beta_1, 1.0 - beta_2);
        let [m] = slots else {
            return;
        };
        for ((w, g), m) in weights.iter_mut().zip(gradient).zip(m.iter_mut()) {
            let mix = *m * beta_1 + *g * new_1;
            // `signum` of 0 would be 1.
            let sign = if mix == 0.0 { 0.0 } else { mix.signum() };
            *w -= rate * sign;
            *m = *m * beta_2 + *g * new_2;
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [m] = slots.as_mut_slice() else {
            return weights;
        };
        let mix = m.clone() * self.beta_1 + gradient.clone() * (1.0 - self.beta_1);
        *m = m.clone() * self.beta_2 + gradient * (1.0 - self.beta_2);
        weights - mix.sign() * self.rate
    }
}

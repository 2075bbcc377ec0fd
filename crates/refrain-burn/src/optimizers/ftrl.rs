//! Follow the regularised leader.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the sum of squares, and that of gradients less what the
/// weights have followed.
const SUM: &str = "accumulator";
const LINEAR: &str = "linear";

/// "Follow the regularised leader": weights of large sparse linear models, many of them exactly 0;
/// Keras' `Ftrl`.
///
/// With `n` the sum of squares, `p` the power of the rate and `λ` the strengths of regularisation,
/// `linear += gradient + 2 λ_shrinkage × weights − (n_new⁻ᵖ − n⁻ᵖ) / rate × weights`, then
/// `weights = (clamp(linear, −λ₁, λ₁) − linear) / (n_new⁻ᵖ / rate + 2 λ₂ + β / rate)`. Weights
/// follow from the state alone: where the first gradient is 0, a weight becomes 0.
///
/// Defaults: learning rate 0.001, power −0.5, initial accumulator value 0.1, all strengths and β 0.
///
/// # Example
/// ```
/// use refrain_burn::{Ftrl, Optimizer as _};
/// assert!(Ftrl::default().check().is_ok());
/// let error = Ftrl::default().learning_rate_power(0.5).check().unwrap_err();
/// assert_eq!(error.to_string(), "ftrl: learning_rate_power is 0.5; allowed: a finite number, 0 or below, for example -0.5");
/// ```
///
/// # Source
/// "Ad click prediction: a view from the trenches", KDD 2013.
#[derive(Debug)]
pub struct Ftrl {
    common: Common,
    learning_rate_power: f64,
    initial_accumulator_value: f64,
    l1_regularization_strength: f64,
    l2_regularization_strength: f64,
    l2_shrinkage_regularization_strength: f64,
    beta: f64,
}

impl Ftrl {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("ftrl", LEARNING_RATE, learning_rate.into());
        Self {
            common,
            learning_rate_power: -0.5,
            initial_accumulator_value: 0.1,
            l1_regularization_strength: 0.0,
            l2_regularization_strength: 0.0,
            l2_shrinkage_regularization_strength: 0.0,
            beta: 0.0,
        }
    }

    /// λ_shrinkage: as λ₂, but by the gradient, without its part in the sum of squares. 0 or more. Default 0.
    pub fn l2_shrinkage_regularization_strength(
        mut self,
        l2_shrinkage_regularization_strength: f64,
    ) -> Self {
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength;
        self
    }
}

optimizer!(Ftrl {
    /// How the rate falls with the sum of squares, 0 or below; at 0 it stays. Default −0.5.
    learning_rate_power: f64,
    /// What the sum of squares begins with; 0 or more. Default 0.1.
    initial_accumulator_value: f64,
    /// λ₁: pulls weights to exactly 0. 0 or more. Default 0.
    l1_regularization_strength: f64,
    /// λ₂: makes weights smaller. 0 or more. Default 0.
    l2_regularization_strength: f64,
    /// β: makes the first steps smaller; 0 or more. Default 0.
    beta: f64,
});

impl Rule for Ftrl {
    type Formula = Leader;

    fn formula(&self) -> Leader {
        let rate = self.common.rate;
        let l2 = self.l2_regularization_strength as f32 + self.beta as f32 / (2.0 * rate);
        Leader {
            rate,
            power: -self.learning_rate_power as f32,
            l1: self.l1_regularization_strength as f32,
            l2: 2.0 * l2,
            shrinkage: (2.0 * self.l2_shrinkage_regularization_strength) as f32,
        }
    }

    const SLOTS: &'static [&'static str] = &[SUM, LINEAR];
    const COUNTS_STEPS: bool = false;

    fn check(&self) -> Result {
        let power = self.learning_rate_power;
        let is_allowed = power.is_finite() && power <= 0.0;
        let allowed = "a finite number, 0 or below, for example -0.5";
        self.common.check_option("learning_rate_power", power, is_allowed, allowed)?;
        let others = [
            ("initial_accumulator_value", self.initial_accumulator_value),
            ("l1_regularization_strength", self.l1_regularization_strength),
            ("l2_regularization_strength", self.l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", self.l2_shrinkage_regularization_strength),
            ("beta", self.beta),
        ];
        others.into_iter().try_for_each(|(option, value)| {
            let is_allowed = value.is_finite() && value >= 0.0;
            let allowed = "a finite number, 0 or more, for example 0.1";
            self.common.check_option(option, value, is_allowed, allowed)
        })
    }

    fn start(&self, slot: &str) -> f32 {
        match slot {
            SUM => self.initial_accumulator_value as f32,
            _ => 0.0,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Leader {
    rate: f32,
    /// Of the sum: −p.
    power: f32,
    l1: f32,
    /// Twice λ₂, with β.
    l2: f32,
    /// Twice λ_shrinkage.
    shrinkage: f32,
}

impl Formula for Leader {
    const SHRINKS: bool = false;

    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, power, l1, l2, shrinkage } = self;
        let [sum, linear] = slots else {
            return;
        };
        let slots = sum.iter_mut().zip(linear.iter_mut());
        for ((w, g), (sum, linear)) in weights.iter_mut().zip(gradient).zip(slots) {
            let new = *sum + *g * *g;
            // The default is the root, which vectors have.
            let (before, after) = match power {
                0.5 => (sum.sqrt(), new.sqrt()),
                _ => (sum.powf(power), new.powf(power)),
            };
            *linear += *g + shrinkage * *w - (after - before) / rate * *w;
            *w = (linear.max(-l1).min(l1) - *linear) / (after / rate + l2);
            *sum = new;
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [sum, linear] = slots.as_mut_slice() else {
            return weights;
        };
        let before = sum.clone().powf_scalar(self.power);
        *sum = sum.clone() + gradient.clone().square();
        let after = sum.clone().powf_scalar(self.power);
        *linear = linear.clone() + gradient + weights.clone() * self.shrinkage
            - (after.clone() - before) / self.rate * weights;
        (linear.clone().clamp(-self.l1, self.l1) - linear.clone()) / (after / self.rate + self.l2)
    }
}

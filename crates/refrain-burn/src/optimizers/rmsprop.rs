//! RMSprop.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running mean of squares, that of gradients, and the
/// momentum.
const SQUARE: &str = "velocity";
const AVERAGE: &str = "average_gradient";
const MOMENTUM: &str = "momentum";

/// The gradient divided by the root of a running mean of its square; Keras' `RMSprop`.
///
/// `velocity = ρ × velocity + (1 − ρ) × gradient²`, then
/// `weights −= rate × gradient / √(velocity + ε)`: epsilon stands inside of the root. Centered, the
/// square of the gradients' running mean is taken off the velocity. With momentum,
/// `momentum = μ × momentum + rate × gradient / √(..)` is what is taken off the weights.
///
/// Defaults: learning rate 0.001, ρ 0.9, momentum 0, ε 1e-7, not centered.
///
/// # Example
/// ```
/// use refrain_burn::{Optimizer as _, RmsProp};
/// assert!(RmsProp::default().check().is_ok());
/// let error = RmsProp::default().rho(1.0).check().unwrap_err();
/// assert_eq!(error.to_string(), "rmsprop: rho is 1; allowed: 0 or more and below 1, for example 0.9");
/// ```
///
/// # Source
/// "Lecture 6.5: rmsprop", Coursera, 2012; centered: "Generating sequences with recurrent neural
/// networks", 2013.
#[derive(Debug)]
pub struct RmsProp {
    common: Common,
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
}

impl RmsProp {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("rmsprop", LEARNING_RATE, learning_rate.into());
        Self { common, rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }
}

optimizer!(RmsProp {
    /// How much of the running means is kept, 0..1. Default 0.9.
    rho: f64,
    /// How much of the last steps is kept, 0..=1. Default 0.
    momentum: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
    /// Whether the gradient is divided by an estimate of its variance, instead of its square. Default false.
    centered: bool,
});

impl Rule for RmsProp {
    type Formula = ByRoot;

    fn formula(&self) -> ByRoot {
        ByRoot {
            rate: self.common.rate,
            rho: self.rho as f32,
            new: (1.0 - self.rho) as f32,
            momentum: self.momentum as f32,
            epsilon: self.epsilon as f32,
            centered: self.centered,
        }
    }

    const SLOTS: &'static [&'static str] = &[SQUARE, AVERAGE, MOMENTUM];
    const OPTIONAL: &'static [&'static str] = &[AVERAGE, MOMENTUM];
    const COUNTS_STEPS: bool = false;

    fn check(&self) -> Result {
        self.common.check_share("rho", self.rho, "0.9")?;
        let is_allowed = (0.0..=1.0).contains(&self.momentum);
        let allowed = "0..=1, for example 0.9";
        self.common.check_option("momentum", self.momentum, is_allowed, allowed)?;
        self.common.check_positive("epsilon", self.epsilon, "1e-7")
    }

    fn keeps(&self, slot: &str) -> bool {
        match slot {
            AVERAGE => self.centered,
            _ => self.momentum > 0.0,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct ByRoot {
    rate: f32,
    rho: f32,
    new: f32,
    momentum: f32,
    epsilon: f32,
    centered: bool,
}

impl Formula for ByRoot {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, rho, new, momentum, epsilon, centered } = self;
        let [velocity, rest @ ..] = slots else {
            return;
        };
        for (v, g) in velocity.iter_mut().zip(gradient.iter()) {
            *v = rho * *v + new * (*g * *g);
        }
        let rest = match rest {
            [average, rest @ ..] if centered => {
                let values = average.iter_mut().zip(velocity.iter()).zip(gradient.iter_mut());
                for ((a, v), g) in values {
                    *a = rho * *a + new * *g;
                    *g = rate * *g / (*v - *a * *a + epsilon).sqrt();
                }
                rest
            }
            rest => {
                for (v, g) in velocity.iter().zip(gradient.iter_mut()) {
                    *g = rate * *g / (*v + epsilon).sqrt();
                }
                rest
            }
        };
        match rest {
            [kept, ..] => {
                for ((w, g), m) in weights.iter_mut().zip(gradient).zip(kept.iter_mut()) {
                    *m = momentum * *m + *g;
                    *w -= *m;
                }
            }
            [] => {
                for (w, g) in weights.iter_mut().zip(gradient) {
                    *w -= *g;
                }
            }
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [velocity, rest @ ..] = slots.as_mut_slice() else {
            return weights;
        };
        *velocity = velocity.clone() * self.rho + gradient.clone().square() * self.new;
        let mut square = velocity.clone();
        let rest = match rest {
            [average, rest @ ..] if self.centered => {
                *average = average.clone() * self.rho + gradient.clone() * self.new;
                square = square - average.clone().square();
                rest
            }
            rest => rest,
        };
        let step = gradient * self.rate / (square + self.epsilon).sqrt();
        match rest {
            [kept, ..] => {
                *kept = kept.clone() * self.momentum + step;
                weights - kept.clone()
            }
            [] => weights - step,
        }
    }
}

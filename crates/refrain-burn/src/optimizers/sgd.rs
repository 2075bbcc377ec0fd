//! Stochastic gradient descent.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.01;
/// What is remembered of each parameter.
const VELOCITY: &str = "velocity";

/// Stochastic gradient descent, with momentum if asked for; Keras' `SGD`.
///
/// `velocity = momentum × velocity − rate × gradient`, `weights += velocity`; with Nesterov
/// momentum `weights += momentum × velocity − rate × gradient`.
///
/// Defaults: learning rate 0.01, momentum 0, no Nesterov.
///
/// # Example
/// ```
/// use refrain_burn::{Optimizer as _, Sgd};
/// assert!(Sgd::new(0.1).momentum(0.9).check().is_ok());
/// let error = Sgd::new(0.1).momentum(1.5).check().unwrap_err();
/// assert_eq!(error.to_string(), "sgd: momentum is 1.5; allowed: 0..=1, for example 0.9");
/// ```
#[derive(Debug)]
pub struct Sgd {
    common: Common,
    momentum: f64,
    nesterov: bool,
}

impl Sgd {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("sgd", LEARNING_RATE, learning_rate.into());
        Self { common, momentum: 0.0, nesterov: false }
    }
}

optimizer!(Sgd {
    /// How much of the last step's velocity is kept, 0..=1. Default 0.
    momentum: f64,
    /// Whether the gradient is applied ahead of the velocity. Default false.
    nesterov: bool,
});

impl Rule for Sgd {
    type Formula = Descent;

    fn formula(&self) -> Descent {
        let momentum = self.common.momentum.unwrap_or(self.momentum) as f32;
        Descent { rate: self.common.rate, momentum, nesterov: self.nesterov }
    }

    const SLOTS: &'static [&'static str] = &[VELOCITY];
    const OPTIONAL: &'static [&'static str] = &[VELOCITY];
    const COUNTS_STEPS: bool = false;

    fn check(&self) -> Result {
        self.check_momentum(self.momentum).unwrap_or(Ok(()))
    }

    fn check_momentum(&self, momentum: f64) -> Option<Result> {
        let is_allowed = (0.0..=1.0).contains(&momentum);
        let allowed = "0..=1, for example 0.9";
        Some(self.common.check_option("momentum", momentum, is_allowed, allowed))
    }

    /// Once the momentum was set during a run, velocities are kept also where it is 0, so that they
    /// are what the formula says when it rises again.
    fn keeps(&self, _: &str) -> bool {
        self.momentum != 0.0 || self.common.momentum.is_some()
    }
}

/// Without momentum, where there are no slots.
#[derive(Clone, Copy)]
pub(super) struct Descent {
    rate: f32,
    momentum: f32,
    nesterov: bool,
}

impl Formula for Descent {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, momentum, nesterov } = self;
        match slots {
            [velocity] if nesterov => {
                for ((w, g), m) in weights.iter_mut().zip(gradient).zip(velocity.iter_mut()) {
                    let step = rate * *g;
                    *m = momentum * *m - step;
                    *w += momentum * *m - step;
                }
            }
            [velocity] => {
                for ((w, g), m) in weights.iter_mut().zip(gradient).zip(velocity.iter_mut()) {
                    *m = momentum * *m - rate * *g;
                    *w += *m;
                }
            }
            _ => {
                for (w, g) in weights.iter_mut().zip(gradient) {
                    *w -= rate * *g;
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
        let step = gradient * self.rate;
        let Some(velocity) = slots.pop() else {
            return weights - step;
        };
        let velocity = velocity * self.momentum - step.clone();
        slots.push(velocity.clone());
        match self.nesterov {
            true => weights + velocity * self.momentum - step,
            false => weights + velocity,
        }
    }
}

//! Adadelta.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running means of the squares of gradients and of
/// updates.
const GRADIENTS: &str = "accumulated_grad";
const UPDATES: &str = "accumulated_delta_var";

/// The gradient in units of the last updates; Keras' `Adadelta`.
///
/// `update = gradient × √(mean of updates² + ε) / √(mean of gradients² + ε)`,
/// `weights −= rate × update`.
///
/// Defaults: learning rate 0.001, ρ 0.95, ε 1e-7. The original has a rate of 1.
///
/// # Example
/// ```
/// use refrain_burn::{Adadelta, Optimizer as _};
/// assert!(Adadelta::default().check().is_ok());
/// let error = Adadelta::default().rho(1.0).check().unwrap_err();
/// assert_eq!(error.to_string(), "adadelta: rho is 1; allowed: 0 or more and below 1, for example 0.95");
/// ```
///
/// # Source
/// "ADADELTA: an adaptive learning rate method", 2012.
#[derive(Debug)]
pub struct Adadelta {
    common: Common,
    rho: f64,
    epsilon: f64,
}

impl Adadelta {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("adadelta", LEARNING_RATE, learning_rate.into());
        Self { common, rho: 0.95, epsilon: 1e-7 }
    }
}

optimizer!(Adadelta {
    /// How much of the running means is kept, 0..1. Default 0.95.
    rho: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
});

impl Rule for Adadelta {
    type Formula = ByUpdates;

    fn formula(&self) -> ByUpdates {
        ByUpdates {
            rate: self.common.rate,
            rho: self.rho as f32,
            new: (1.0 - self.rho) as f32,
            epsilon: self.epsilon as f32,
        }
    }

    const SLOTS: &'static [&'static str] = &[GRADIENTS, UPDATES];
    const COUNTS_STEPS: bool = false;

    fn check(&self) -> Result {
        self.common.check_share("rho", self.rho, "0.95")?;
        self.common.check_positive("epsilon", self.epsilon, "1e-7")
    }
}

#[derive(Clone, Copy)]
pub(super) struct ByUpdates {
    rate: f32,
    rho: f32,
    new: f32,
    epsilon: f32,
}

impl Formula for ByUpdates {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, rho, new, epsilon } = self;
        let [gradients, updates] = slots else {
            return;
        };
        let means = gradients.iter_mut().zip(updates.iter_mut());
        for ((w, g), (gradients, updates)) in weights.iter_mut().zip(gradient).zip(means) {
            *gradients = rho * *gradients + new * (*g * *g);
            let update = (*updates + epsilon).sqrt() * *g / (*gradients + epsilon).sqrt();
            *updates = rho * *updates + new * (update * update);
            *w -= rate * update;
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [gradients, updates] = slots.as_mut_slice() else {
            return weights;
        };
        *gradients = gradients.clone() * self.rho + gradient.clone().square() * self.new;
        let update = (updates.clone() + self.epsilon).sqrt() * gradient
            / (gradients.clone() + self.epsilon).sqrt();
        *updates = updates.clone() * self.rho + update.clone().square() * self.new;
        weights - update * self.rate
    }
}

//! Adam with decoupled weight decay.

use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::Adam;
use super::common::Common;
use super::rule::{self, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
const WEIGHT_DECAY: f64 = 0.004;

/// [`Adam`] with weight decay that is no part of the gradient; Keras' `AdamW`.
///
/// `weights −= weights × weight_decay × rate`, then Adam's update. Biases decay as all weights do.
///
/// Defaults: learning rate 0.001, weight decay 0.004, the others Adam's.
///
/// # Example
/// ```
/// use refrain_burn::{AdamW, Optimizer as _};
/// assert!(AdamW::new(0.001).weight_decay(0.01).check().is_ok());
/// let error = AdamW::new(0.001).weight_decay(-1.0).check().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "adamw: weight_decay is -1; allowed: a finite number, 0 or more, for example 0.004"
/// );
/// ```
///
/// # Source
/// "Decoupled weight decay regularization", ICLR 2019.
#[derive(Debug)]
pub struct AdamW(Adam);

impl AdamW {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        Self(Adam::named("adamw", learning_rate.into()).weight_decay(WEIGHT_DECAY))
    }

    /// How much of the mean of gradients is kept, 0..1. Default 0.9.
    pub fn beta_1(self, beta_1: f64) -> Self {
        Self(self.0.beta_1(beta_1))
    }

    /// How much of the mean of squares is kept, 0..1. Default 0.999.
    pub fn beta_2(self, beta_2: f64) -> Self {
        Self(self.0.beta_2(beta_2))
    }

    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    pub fn epsilon(self, epsilon: f64) -> Self {
        Self(self.0.epsilon(epsilon))
    }

    /// Whether the largest mean of squares so far takes the place of the mean, so that no weight's
    /// steps grow again. Default false.
    pub fn amsgrad(self, amsgrad: bool) -> Self {
        Self(self.0.amsgrad(amsgrad))
    }
}

optimizer!(AdamW);

impl rule::HasCommon for AdamW {
    fn common(&self) -> &Common {
        self.0.common()
    }

    fn common_mut(&mut self) -> &mut Common {
        self.0.common_mut()
    }
}

impl Rule for AdamW {
    type Formula = <Adam as Rule>::Formula;

    fn formula(&self) -> Self::Formula {
        self.0.formula()
    }

    const SLOTS: &'static [&'static str] = Adam::SLOTS;
    const OPTIONAL: &'static [&'static str] = Adam::OPTIONAL;
    const COUNTS_STEPS: bool = Adam::COUNTS_STEPS;

    fn check(&self) -> Result {
        Rule::check(&self.0)
    }

    fn check_momentum(&self, momentum: f64) -> Option<Result> {
        self.0.check_momentum(momentum)
    }

    fn keeps(&self, slot: &str) -> bool {
        self.0.keeps(slot)
    }
}

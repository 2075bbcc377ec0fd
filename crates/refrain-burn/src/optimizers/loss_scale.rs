//! What the loss is multiplied by, so that small gradients do not become 0.

use refrain_core::{Error, Result};

/// What the loss is multiplied by before the backward pass, and gradients are divided by after it:
/// so that gradients too small for a type of few bits do not become 0.
///
/// A constant (Keras' `loss_scale_factor`), or a scale that follows the gradients (Keras'
/// `LossScaleOptimizer`): where one of them is not finite, the step is not made and the scale is
/// halved; after `dynamic_growth_steps` steps without, it is doubled.
///
/// In f32 powers of two change no bit, as long as nothing overflows.
///
/// Cost: a pass over the gradients; a scale that follows them also one read from the device a step.
///
/// # Example
/// ```
/// use refrain_burn::{LossScale, Optimizer as _, Sgd};
/// let sgd = Sgd::new(0.1).loss_scale(LossScale::dynamic().initial_scale(1024.0));
/// assert_eq!(sgd.current_loss_scale().map(LossScale::factor), Some(1024.0));
/// assert!(Sgd::new(0.1).loss_scale(0.0).check().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct LossScale {
    factor: f64,
    /// Steps after which it doubles; `None`: it is constant.
    growth_steps: Option<u64>,
    /// What it began with.
    initial: f64,
    /// Steps since it changed.
    good_steps: u64,
    /// Steps that were not made.
    skipped: u64,
}

/// What a state has of one that follows the gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ScaleState {
    pub(super) factor: f64,
    pub(super) good_steps: u64,
    pub(super) skipped: u64,
}

impl LossScale {
    /// Always the same.
    pub fn constant(factor: f64) -> Self {
        Self { factor, growth_steps: None, initial: factor, good_steps: 0, skipped: 0 }
    }

    /// One that follows the gradients: 32,768 at first, doubled after 2,000 steps.
    pub fn dynamic() -> Self {
        Self { growth_steps: Some(2000), ..Self::constant(32_768.0) }
    }

    /// What it is at first; above 0. Default 32,768.
    pub fn initial_scale(mut self, scale: f64) -> Self {
        (self.factor, self.initial) = (scale, scale);
        self
    }

    /// After how many steps with finite gradients it is doubled; 1 or more. Default 2,000.
    pub fn dynamic_growth_steps(mut self, steps: u64) -> Self {
        self.growth_steps = Some(steps);
        self
    }

    /// What it is now.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether it follows the gradients.
    pub fn is_dynamic(&self) -> bool {
        self.growth_steps.is_some()
    }

    /// Steps of this run that were not made, because a gradient was not finite.
    pub fn skipped_steps(&self) -> u64 {
        self.skipped
    }

    pub(super) fn adapt(&mut self, is_finite: bool) {
        let Some(growth_steps) = self.growth_steps else {
            return;
        };
        if !is_finite {
            // Never 0, from which it could not grow again.
            (self.factor, self.good_steps) = ((self.factor / 2.0).max(f64::MIN_POSITIVE), 0);
            self.skipped += 1;
        } else if self.good_steps + 1 >= growth_steps {
            // In f32, in which losses are: beyond its range there is nothing left to scale.
            let most = f64::from(f32::MAX) / 2.0;
            (self.factor, self.good_steps) = ((self.factor * 2.0).min(most), 0);
        } else {
            self.good_steps += 1;
        }
    }

    /// Of one that follows the gradients.
    pub(super) fn state(&self) -> Option<ScaleState> {
        let Self { factor, good_steps, skipped, .. } = *self;
        self.is_dynamic().then_some(ScaleState { factor, good_steps, skipped })
    }

    pub(super) fn set_state(&mut self, state: Option<ScaleState>) {
        if self.is_dynamic() {
            let initial = ScaleState { factor: self.initial, good_steps: 0, skipped: 0 };
            let ScaleState { factor, good_steps, skipped } = state.unwrap_or(initial);
            (self.factor, self.good_steps, self.skipped) = (factor, good_steps, skipped);
        }
    }

    pub(super) fn check(&self, optimizer: &str) -> Result {
        let option = if self.is_dynamic() { "initial_scale" } else { "loss_scale_factor" };
        // The loss is multiplied by it in f32.
        if !((self.initial as f32).is_finite() && self.initial as f32 > 0.0) {
            return Err(Error::config(format!(
                "{optimizer}: {option} is {:e}; allowed: a number above 0 and at most 1e38, for example \
                 1024.0",
                self.initial
            )));
        }
        if self.growth_steps == Some(0) {
            return Err(Error::config(format!(
                "{optimizer}: dynamic_growth_steps is 0; allowed: 1 or more, for example 2000"
            )));
        }
        Ok(())
    }
}

impl From<f64> for LossScale {
    fn from(factor: f64) -> Self {
        Self::constant(factor)
    }
}

//! A rate that drops by a factor every so often.

use super::options::{FromRecipe, check_not_negative, check_positive, number, number_or};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::options::Section;
use crate::progress::Progress;

/// Multiplies the rate by `decay_rate` every `decay_steps`, at once.
///
/// `initial_learning_rate × decay_rate ^ ⌊t / decay_steps⌋`: an
/// [`ExponentialDecay`](super::ExponentialDecay) in stairs, with the default of PyTorch.
///
/// - `initial_learning_rate`: finite, ≥ 0.
/// - `decay_steps`: > 0, in the unit.
/// - `decay_rate`: finite, ≥ 0; default 0.1.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Schedule, StepDecay, Unit}};
/// let decay = StepDecay::new(1.0, 10.0).decay_rate(0.5).unit(Unit::Epochs);
/// let rate = |epoch| decay.learning_rate(&Progress { epoch, ..Progress::default() });
/// assert_eq!([rate(9), rate(10), rate(25)], [1.0, 0.5, 0.25]);
/// ```
///
/// # Source
/// PyTorch's `StepLR` (`step_size`, `gamma`); Keras' `ExponentialDecay` with `staircase`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepDecay {
    initial_learning_rate: f64,
    decay_steps: f64,
    decay_rate: f64,
    unit: Option<Unit>,
}

impl StepDecay {
    /// From `initial_learning_rate`, a tenth of it every `decay_steps`.
    pub fn new(initial_learning_rate: f64, decay_steps: f64) -> Self {
        Self { initial_learning_rate, decay_steps, decay_rate: 0.1, unit: None }
    }

    /// What the rate is multiplied by. Default 0.1.
    pub fn decay_rate(mut self, decay_rate: f64) -> Self {
        self.decay_rate = decay_rate;
        self
    }

    unit_option!();
}

impl Schedule for StepDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let turns = (self.position(progress) / self.decay_steps).floor();
        self.initial_learning_rate * self.decay_rate.powf(turns)
    }

    fn check(&self) -> Result {
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_positive("decay_steps", self.decay_steps)?;
        check_not_negative("decay_rate", self.decay_rate)
    }

    unit_methods!();
}

impl FromRecipe for StepDecay {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let initial = number(options, "initial_learning_rate")?;
        let decay = Self::new(initial, number(options, "decay_steps")?);
        Ok(decay.decay_rate(number_or(options, "decay_rate", 0.1)?))
    }
}

//! A rate that is multiplied by a factor every so often, smoothly or in stairs.

use super::options::{FromRecipe, check_not_negative, check_positive, flag_or, number};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::options::Section;
use crate::progress::Progress;

/// Multiplies the rate by `decay_rate` in each stretch of `decay_steps`, smoothly.
///
/// `initial_learning_rate × decay_rate ^ (t / decay_steps)`; with `staircase` the exponent is
/// rounded down. It never stops decaying.
///
/// - `initial_learning_rate`: finite, ≥ 0.
/// - `decay_steps`: > 0, in the unit.
/// - `decay_rate`: finite, ≥ 0; typically 0.5 to 0.99.
/// - `staircase`: default false.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{ExponentialDecay, Schedule}};
/// let decay = ExponentialDecay::new(0.1, 10.0, 0.5);
/// assert_eq!(decay.learning_rate(&Progress { step: 20, ..Progress::default() }), 0.025);
/// ```
///
/// # Source
/// Keras' `ExponentialDecay`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialDecay {
    initial_learning_rate: f64,
    decay_steps: f64,
    decay_rate: f64,
    staircase: bool,
    unit: Option<Unit>,
}

impl ExponentialDecay {
    /// From `initial_learning_rate`, times `decay_rate` in each `decay_steps`.
    pub fn new(initial_learning_rate: f64, decay_steps: f64, decay_rate: f64) -> Self {
        Self { initial_learning_rate, decay_steps, decay_rate, staircase: false, unit: None }
    }

    /// Whether the rate drops in stairs, at whole multiples of `decay_steps`. Default false.
    pub fn staircase(mut self, staircase: bool) -> Self {
        self.staircase = staircase;
        self
    }

    unit_option!();
}

impl Schedule for ExponentialDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let turns = self.position(progress) / self.decay_steps;
        let turns = if self.staircase { turns.floor() } else { turns };
        self.initial_learning_rate * self.decay_rate.powf(turns)
    }

    fn check(&self) -> Result {
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_positive("decay_steps", self.decay_steps)?;
        check_not_negative("decay_rate", self.decay_rate)
    }

    unit_methods!();
}

impl FromRecipe for ExponentialDecay {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let initial = number(options, "initial_learning_rate")?;
        let steps = number(options, "decay_steps")?;
        let decay = Self::new(initial, steps, number(options, "decay_rate")?);
        Ok(decay.staircase(flag_or(options, "staircase", false)?))
    }
}

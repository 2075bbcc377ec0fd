//! A rate that falls with one over the time.

use super::options::{FromRecipe, check_not_negative, check_positive, flag_or, number};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::options::Section;
use crate::progress::Progress;

/// Falls with one over the time.
///
/// `initial_learning_rate / (1 + decay_rate × t / decay_steps)`; with `staircase`, `t / decay_steps`
/// is rounded down. It never stops decaying.
///
/// - `initial_learning_rate`: finite, ≥ 0.
/// - `decay_steps`: > 0, in the unit.
/// - `decay_rate`: finite, ≥ 0.
/// - `staircase`: default false.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{InverseTimeDecay, Schedule}};
/// let decay = InverseTimeDecay::new(0.1, 10.0, 0.5);
/// assert_eq!(decay.learning_rate(&Progress { step: 20, ..Progress::default() }), 0.05);
/// ```
///
/// # Source
/// Keras' `InverseTimeDecay`.
#[derive(Clone, Debug, PartialEq)]
pub struct InverseTimeDecay {
    initial_learning_rate: f64,
    decay_steps: f64,
    decay_rate: f64,
    staircase: bool,
    unit: Option<Unit>,
}

impl InverseTimeDecay {
    /// From `initial_learning_rate`, divided by `1 + decay_rate` after `decay_steps`.
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

impl Schedule for InverseTimeDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let turns = self.position(progress) / self.decay_steps;
        let turns = if self.staircase { turns.floor() } else { turns };
        self.initial_learning_rate / (1.0 + self.decay_rate * turns)
    }

    fn check(&self) -> Result {
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_positive("decay_steps", self.decay_steps)?;
        check_not_negative("decay_rate", self.decay_rate)
    }

    unit_methods!();
}

impl FromRecipe for InverseTimeDecay {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let initial = number(options, "initial_learning_rate")?;
        let steps = number(options, "decay_steps")?;
        let decay = Self::new(initial, steps, number(options, "decay_rate")?);
        Ok(decay.staircase(flag_or(options, "staircase", false)?))
    }
}

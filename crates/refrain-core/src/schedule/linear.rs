//! From one rate to another along a straight line.

use super::options::{FromRecipe, check_not_negative, check_positive, number, number_or};
use super::unit::Horizon;
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// From one rate to another along a straight line, up or down; then constant.
///
/// `initial_learning_rate + (end_learning_rate − initial_learning_rate) × t / decay_steps`, with `t`
/// at most `decay_steps`.
///
/// - `initial_learning_rate`, `end_learning_rate`: finite, ≥ 0; default of the end: 0.
/// - `decay_steps`: > 0, in the unit.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Linear, Schedule}};
/// let line = Linear::new(0.2, 4.0).end_learning_rate(0.1);
/// let rate = |step| line.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(4), rate(9)], [0.2, 0.1, 0.1]);
/// assert!((rate(2) - 0.15).abs() < 1e-15);
/// ```
///
/// # Source
/// PyTorch's `LinearLR`; Keras' `PolynomialDecay` with `power = 1`, which ends at 0.0001.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    initial_learning_rate: f64,
    decay_steps: f64,
    end_learning_rate: f64,
    unit: Option<Unit>,
}

impl Linear {
    /// From `initial_learning_rate` to 0 in `decay_steps`.
    pub fn new(initial_learning_rate: f64, decay_steps: f64) -> Self {
        Self { initial_learning_rate, decay_steps, end_learning_rate: 0.0, unit: None }
    }

    /// The rate at the end. Default 0.
    pub fn end_learning_rate(mut self, end_learning_rate: f64) -> Self {
        self.end_learning_rate = end_learning_rate;
        self
    }

    unit_option!();
}

impl Schedule for Linear {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let done = self.position(progress).min(self.decay_steps) / self.decay_steps;
        // Not initial + difference × done: at the end this is exactly the end.
        self.initial_learning_rate * (1.0 - done) + self.end_learning_rate * done
    }

    fn check(&self) -> Result {
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_positive("decay_steps", self.decay_steps)?;
        check_not_negative("end_learning_rate", self.end_learning_rate)
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let horizon = Horizon {
            name: "linear",
            unit: self.unit.unwrap_or_default(),
            warmup: ("", 0.0),
            decay: Some(("decay_steps", self.decay_steps)),
            rest: 0.0,
        };
        horizon.findings(plan)
    }

    unit_methods!();
}

impl FromRecipe for Linear {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let initial = number(options, "initial_learning_rate")?;
        let line = Self::new(initial, number(options, "decay_steps")?);
        Ok(line.end_learning_rate(number_or(options, "end_learning_rate", 0.0)?))
    }
}

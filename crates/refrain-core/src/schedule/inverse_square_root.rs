//! A warm-up, then a rate that falls with one over the root of the time.

use super::options::{FromRecipe, check_not_negative, check_positive, number, number_or};
use super::unit::Horizon;
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::{Section, Value};
use crate::progress::Progress;

/// Warms up, then falls with one over the root of the time, without end.
///
/// `learning_rate × t / warmup_steps` up to `warmup_steps`, then
/// `learning_rate × √(timescale / (t − warmup_steps + timescale))`: with the default of `timescale`
/// this is `learning_rate × √(warmup_steps / t)`.
///
/// - `learning_rate`, the highest: finite, ≥ 0.
/// - `warmup_steps`: ≥ 0, in the unit; default 0.
/// - `timescale`: > 0, in the unit; default `warmup_steps`, and 10,000 without a warm-up.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{InverseSquareRoot, Schedule}};
/// let schedule = InverseSquareRoot::new(0.1).warmup_steps(100.0);
/// let rate = |step| schedule.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(50), rate(100), rate(400)], [0.05, 0.1, 0.05]);
/// ```
///
/// # Source
/// Vaswani et al., "Attention Is All You Need", 2017; `timescale` as in Hugging Face's
/// `get_inverse_sqrt_schedule`.
#[derive(Clone, Debug, PartialEq)]
pub struct InverseSquareRoot {
    learning_rate: f64,
    warmup_steps: f64,
    timescale: Option<f64>,
    unit: Option<Unit>,
}

impl InverseSquareRoot {
    /// From `learning_rate` down, without a warm-up.
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, warmup_steps: 0.0, timescale: None, unit: None }
    }

    /// The length of the warm-up. Default 0.
    pub fn warmup_steps(mut self, warmup_steps: f64) -> Self {
        self.warmup_steps = warmup_steps;
        self
    }

    /// The time scale of the decay. Default: the length of the warm-up; 10,000 without one.
    pub fn timescale(mut self, timescale: f64) -> Self {
        self.timescale = Some(timescale);
        self
    }

    unit_option!();
}

impl Schedule for InverseSquareRoot {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let position = self.position(progress);
        if position < self.warmup_steps {
            return self.learning_rate * position / self.warmup_steps;
        }
        let default = if self.warmup_steps > 0.0 { self.warmup_steps } else { 10_000.0 };
        let timescale = self.timescale.unwrap_or(default);
        self.learning_rate * (timescale / (position - self.warmup_steps + timescale)).sqrt()
    }

    fn check(&self) -> Result {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_not_negative("warmup_steps", self.warmup_steps)?;
        self.timescale.map_or(Ok(()), |timescale| check_positive("timescale", timescale))
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let horizon = Horizon {
            name: "inverse_square_root",
            unit: self.unit.unwrap_or_default(),
            warmup: ("warmup_steps", self.warmup_steps),
            decay: None,
            rest: 0.0,
        };
        horizon.findings(plan)
    }

    unit_methods!();
}

impl FromRecipe for InverseSquareRoot {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        Ok(Self {
            warmup_steps: number_or(options, "warmup_steps", 0.0)?,
            timescale: options.get("timescale").as_ref().map(Value::f64).transpose()?,
            ..Self::new(number(options, "learning_rate")?)
        })
    }
}

//! From one rate to another along a power of the time that is left.

use super::options::{FromRecipe, check_not_negative, check_positive, flag_or, number, number_or};
use super::unit::Horizon;
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// From one rate to another along a power of the time that is left.
///
/// `(initial_learning_rate − end_learning_rate) × (1 − t / decay_steps) ^ power +
/// end_learning_rate`, with `t` at most `decay_steps`. With `cycle` it begins anew instead, each
/// time slower and lower: `decay_steps` is multiplied by `⌈t / decay_steps⌉` (by 1 at 0).
///
/// - `initial_learning_rate`, `end_learning_rate`: finite, ≥ 0; the end may be higher. Default of
///   the end: 0.0001.
/// - `decay_steps`: > 0, in the unit.
/// - `power`: finite, ≥ 0; default 1, a straight line.
/// - `cycle`: default false.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{PolynomialDecay, Schedule}};
/// let decay = PolynomialDecay::new(0.1, 10.0).end_learning_rate(0.0).power(2.0);
/// let rate = |step| decay.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(5), rate(50)], [0.1, 0.025, 0.0]);
/// ```
///
/// # Source
/// Keras' `PolynomialDecay`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolynomialDecay {
    initial_learning_rate: f64,
    decay_steps: f64,
    end_learning_rate: f64,
    power: f64,
    cycle: bool,
    unit: Option<Unit>,
}

impl PolynomialDecay {
    /// From `initial_learning_rate` to 0.0001 in `decay_steps`, along a straight line.
    pub fn new(initial_learning_rate: f64, decay_steps: f64) -> Self {
        let (end_learning_rate, power) = (1e-4, 1.0);
        Self {
            initial_learning_rate,
            decay_steps,
            end_learning_rate,
            power,
            cycle: false,
            unit: None,
        }
    }

    /// The rate at the end. Default 0.0001.
    pub fn end_learning_rate(mut self, end_learning_rate: f64) -> Self {
        self.end_learning_rate = end_learning_rate;
        self
    }

    /// The power of the time that is left. Default 1.
    pub fn power(mut self, power: f64) -> Self {
        self.power = power;
        self
    }

    /// Whether it begins anew after its end. Default false.
    pub fn cycle(mut self, cycle: bool) -> Self {
        self.cycle = cycle;
        self
    }

    unit_option!();
}

impl Schedule for PolynomialDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let position = self.position(progress);
        let done = if self.cycle {
            let turns = (position / self.decay_steps).ceil().max(1.0);
            position / (self.decay_steps * turns)
        } else {
            position.min(self.decay_steps) / self.decay_steps
        };
        let span = self.initial_learning_rate - self.end_learning_rate;
        span * (1.0 - done).powf(self.power) + self.end_learning_rate
    }

    fn check(&self) -> Result {
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_positive("decay_steps", self.decay_steps)?;
        check_not_negative("end_learning_rate", self.end_learning_rate)?;
        check_not_negative("power", self.power)
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let horizon = Horizon {
            name: "polynomial_decay",
            unit: self.unit.unwrap_or_default(),
            warmup: ("", 0.0),
            decay: (!self.cycle).then_some(("decay_steps", self.decay_steps)),
            rest: 0.0,
        };
        horizon.findings(plan)
    }

    unit_methods!();
}

impl FromRecipe for PolynomialDecay {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let initial = number(options, "initial_learning_rate")?;
        let decay = Self::new(initial, number(options, "decay_steps")?)
            .end_learning_rate(number_or(options, "end_learning_rate", 1e-4)?)
            .power(number_or(options, "power", 1.0)?);
        Ok(decay.cycle(flag_or(options, "cycle", false)?))
    }
}

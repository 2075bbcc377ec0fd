//! A schedule kept between two rates.

use super::options::{FromRecipe, check, check_not_negative, inner, number_or};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// Keeps the rate of a schedule between two bounds.
///
/// - `schedule`: any.
/// - `min_learning_rate`: finite, ≥ 0; default 0.
/// - `max_learning_rate`: no lower than the other; default none.
/// - `unit`: of the schedule, if it has none of its own; default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Clamp, ExponentialDecay, Schedule}};
/// let schedule = Clamp::new(ExponentialDecay::new(0.8, 1.0, 0.5)).min(0.1).max(0.5);
/// let rate = |step| schedule.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(1), rate(3), rate(9)], [0.5, 0.4, 0.1, 0.1]);
/// ```
///
/// # Source
/// Refrain's own.
pub struct Clamp {
    schedule: Box<dyn Schedule>,
    min_learning_rate: f64,
    max_learning_rate: f64,
    unit: Option<Unit>,
}

impl Clamp {
    /// This schedule, as yet without bounds.
    pub fn new(schedule: impl Schedule + 'static) -> Self {
        Self {
            schedule: Box::new(schedule),
            min_learning_rate: 0.0,
            max_learning_rate: f64::INFINITY,
            unit: None,
        }
    }

    /// The lowest rate. Default 0.
    pub fn min(mut self, min_learning_rate: f64) -> Self {
        self.min_learning_rate = min_learning_rate;
        self
    }

    /// The highest rate. Default none.
    pub fn max(mut self, max_learning_rate: f64) -> Self {
        self.max_learning_rate = max_learning_rate;
        self
    }

    /// The unit of the schedule, if it has none of its own.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self.schedule.set_default_unit(unit);
        self
    }
}

impl Schedule for Clamp {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        // Not `clamp`, which panics on bounds that `check` refuses. NaN stays, and is refused.
        let rate = self.schedule.learning_rate(progress);
        if rate < self.min_learning_rate {
            return self.min_learning_rate;
        }
        if rate > self.max_learning_rate { self.max_learning_rate } else { rate }
    }

    fn momentum(&self, progress: &Progress) -> Option<f64> {
        self.schedule.momentum(progress)
    }

    fn check(&self) -> Result {
        check_not_negative("min_learning_rate", self.min_learning_rate)?;
        let (min, max) = (self.min_learning_rate, self.max_learning_rate);
        let allowed = format!("min_learning_rate, {min}, or more");
        check("max_learning_rate", max, max >= min, &allowed)?;
        self.schedule.check().map_err(|e| e.context("schedule"))
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        self.schedule.findings(plan)
    }

    fn counts_in(&self) -> Option<Unit> {
        self.schedule.counts_in()
    }

    fn set_default_unit(&mut self, unit: Unit) {
        let unit = *self.unit.get_or_insert(unit);
        self.schedule.set_default_unit(unit);
    }
}

impl FromRecipe for Clamp {
    fn from_recipe(options: &Section<'_>, unit: Unit) -> Result<Self> {
        Ok(Self::new(inner(options, unit)?)
            .min(number_or(options, "min_learning_rate", 0.0)?)
            .max(number_or(options, "max_learning_rate", f64::INFINITY)?))
    }
}

//! A linear warm-up in front of any schedule.

use super::options::{FromRecipe, check_not_negative, check_positive, inner, number, number_or};
use super::stretch::{Stretch, has_reached};
use super::unit::Horizon;
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// A linear warm-up in front of any schedule.
///
/// Along a straight line from `initial_learning_rate` to the rate with which the schedule begins, in
/// `warmup_steps`; then the schedule, from its own 0, as the second part of a
/// [`Chain`](super::Chain). During the warm-up the momentum is the one with which the schedule
/// begins.
///
/// - `schedule`: any.
/// - `warmup_steps`: > 0, in the unit.
/// - `initial_learning_rate`: finite, ≥ 0; default 0, so that the first step changes nothing.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{CosineDecay, Schedule, Warmup}};
/// let schedule = Warmup::new(CosineDecay::new(0.4, 8.0), 4.0);
/// let rate = |step| schedule.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(1), rate(4), rate(8)], [0.0, 0.1, 0.4, 0.2]);
/// ```
///
/// # Source
/// Goyal et al., "Accurate, Large Minibatch SGD", 2017.
pub struct Warmup {
    schedule: Box<dyn Schedule>,
    warmup_steps: f64,
    initial_learning_rate: f64,
    unit: Option<Unit>,
}

impl Warmup {
    /// `warmup_steps` from 0 to where `schedule` begins.
    pub fn new(schedule: impl Schedule + 'static, warmup_steps: f64) -> Self {
        let schedule = Box::new(schedule);
        Self { schedule, warmup_steps, initial_learning_rate: 0.0, unit: None }
    }

    /// The rate of the first step. Default 0.
    pub fn initial_learning_rate(mut self, initial_learning_rate: f64) -> Self {
        self.initial_learning_rate = initial_learning_rate;
        self
    }

    /// What `warmup_steps` counts, and the schedule if it has no unit of its own. Default: steps;
    /// in a `LearningRateScheduler` epochs, inside another schedule the unit of that one.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self.schedule.set_default_unit(unit);
        self
    }

    /// Where the run is, for the schedule: at its beginning as long as the warm-up lasts.
    fn inner(&self, progress: &Progress) -> Progress {
        let unit = self.unit.unwrap_or_default();
        let stretch = Stretch { unit, from: self.warmup_steps, to: None };
        let inner = stretch.progress(progress, self.schedule.counts_in());
        if has_reached(unit, self.warmup_steps, progress) {
            return inner;
        }
        Progress { epoch: 0, step: 0, ..inner }
    }
}

impl Schedule for Warmup {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let unit = self.unit.unwrap_or_default();
        let rate = self.schedule.learning_rate(&self.inner(progress));
        if has_reached(unit, self.warmup_steps, progress) {
            return rate;
        }
        let done = (unit.position(progress) / self.warmup_steps).min(1.0);
        self.initial_learning_rate + (rate - self.initial_learning_rate) * done
    }

    fn momentum(&self, progress: &Progress) -> Option<f64> {
        self.schedule.momentum(&self.inner(progress))
    }

    fn check(&self) -> Result {
        check_positive("warmup_steps", self.warmup_steps)?;
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        self.schedule.check().map_err(|e| e.context("schedule"))
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let unit = self.unit.unwrap_or_default();
        let horizon = Horizon {
            name: "warmup",
            unit,
            warmup: ("warmup_steps", self.warmup_steps),
            decay: None,
            rest: 0.0,
        };
        let mut found = horizon.findings(plan);
        if found.is_empty() {
            let stretch = Stretch { unit, from: self.warmup_steps, to: None };
            found.extend(stretch.findings(&self.schedule, plan));
        }
        found
    }

    fn counts_in(&self) -> Option<Unit> {
        Some(self.unit.unwrap_or_default())
    }

    fn set_default_unit(&mut self, unit: Unit) {
        let unit = *self.unit.get_or_insert(unit);
        self.schedule.set_default_unit(unit);
    }
}

impl FromRecipe for Warmup {
    fn from_recipe(options: &Section<'_>, unit: Unit) -> Result<Self> {
        let warmup = Self::new(inner(options, unit)?, number(options, "warmup_steps")?);
        Ok(warmup.initial_learning_rate(number_or(options, "initial_learning_rate", 0.0)?))
    }
}

//! A schedule over and over again.

use super::options::{FromRecipe, check_positive, inner, number};
use super::stretch::{Stretch, has_reached};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// A schedule over and over again, each time from its own 0.
///
/// The schedule is asked as if each period were a run of its own, as a part of a
/// [`Chain`](super::Chain) is.
///
/// - `schedule`: any.
/// - `period`: > 0, in the unit.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Linear, Repeat, Schedule}};
/// let saw = Repeat::new(Linear::new(0.4, 4.0), 4.0);
/// let rate = |step| saw.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(2), rate(4), rate(6)], [0.4, 0.2, 0.4, 0.2]);
/// ```
///
/// # Source
/// Refrain's own.
pub struct Repeat {
    schedule: Box<dyn Schedule>,
    period: f64,
    unit: Option<Unit>,
}

impl Repeat {
    /// `schedule` anew in each `period`.
    pub fn new(schedule: impl Schedule + 'static, period: f64) -> Self {
        Self { schedule: Box::new(schedule), period, unit: None }
    }

    /// What `period` counts, and the schedule if it has no unit of its own. Default: steps; in a
    /// `LearningRateScheduler` epochs, inside another schedule the unit of that one.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self.schedule.set_default_unit(unit);
        self
    }

    /// Where the run is, for the schedule.
    fn inner(&self, progress: &Progress) -> Progress {
        let unit = self.unit.unwrap_or_default();
        let mut turn = (unit.position(progress) / self.period).floor();
        // Periods begin at whole steps: rounding must not begin one early or late.
        if has_reached(unit, (turn + 1.0) * self.period, progress) {
            turn += 1.0;
        } else if turn >= 1.0 && !has_reached(unit, turn * self.period, progress) {
            turn -= 1.0;
        }
        let (from, to) = (turn * self.period, Some((turn + 1.0) * self.period));
        Stretch { unit, from, to }.progress(progress, self.schedule.counts_in())
    }
}

impl Schedule for Repeat {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        self.schedule.learning_rate(&self.inner(progress))
    }

    fn momentum(&self, progress: &Progress) -> Option<f64> {
        self.schedule.momentum(&self.inner(progress))
    }

    fn check(&self) -> Result {
        check_positive("period", self.period)?;
        self.schedule.check().map_err(|e| e.context("schedule"))
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let unit = self.unit.unwrap_or_default();
        Stretch { unit, from: 0.0, to: Some(self.period) }.findings(&self.schedule, plan)
    }

    fn counts_in(&self) -> Option<Unit> {
        Some(self.unit.unwrap_or_default())
    }

    fn set_default_unit(&mut self, unit: Unit) {
        let unit = *self.unit.get_or_insert(unit);
        self.schedule.set_default_unit(unit);
    }
}

impl FromRecipe for Repeat {
    fn from_recipe(options: &Section<'_>, unit: Unit) -> Result<Self> {
        Ok(Self::new(inner(options, unit)?, number(options, "period")?))
    }
}

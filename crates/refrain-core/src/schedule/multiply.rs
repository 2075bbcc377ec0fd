//! The product of schedules.

use super::options::{FromRecipe, inners};
use super::{Schedule, Unit};
use crate::error::{Error, Result};
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// The product of schedules: one that gives the rate, and others that scale it.
///
/// The momentum is that of the first one that sets it.
///
/// - `schedules`: at least one. In a recipe a number is a constant factor.
/// - `unit`: of parts that have none of their own; default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Constant, Linear, Multiply, Schedule}};
/// let product = Multiply::new(Constant::new(0.1)).by(Linear::new(1.0, 4.0));
/// let rate = |step| product.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(2), rate(4)], [0.1, 0.05, 0.0]);
/// ```
///
/// # Source
/// PyTorch's `ChainedScheduler`.
pub struct Multiply {
    schedules: Vec<Box<dyn Schedule>>,
    unit: Option<Unit>,
}

impl Multiply {
    /// Begins with this schedule.
    pub fn new(first: impl Schedule + 'static) -> Self {
        Self { schedules: vec![Box::new(first)], unit: None }
    }

    /// Times another one.
    pub fn by(mut self, factor: impl Schedule + 'static) -> Self {
        self.schedules.push(Box::new(factor));
        match self.unit {
            Some(unit) => self.unit(unit),
            None => self,
        }
    }

    /// The unit of the schedules that have none of their own. Default: steps; in a
    /// `LearningRateScheduler` epochs, inside another schedule the unit of that one.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self.schedules.iter_mut().for_each(|schedule| schedule.set_default_unit(unit));
        self
    }
}

impl Schedule for Multiply {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        self.schedules.iter().map(|schedule| schedule.learning_rate(progress)).product()
    }

    fn momentum(&self, progress: &Progress) -> Option<f64> {
        self.schedules.iter().find_map(|schedule| schedule.momentum(progress))
    }

    fn check(&self) -> Result {
        if self.schedules.is_empty() {
            return Err(Error::config("schedules is empty; allowed: at least one"));
        }
        self.schedules.iter().enumerate().try_for_each(|(index, schedule)| {
            schedule.check().map_err(|e| e.context(format!("schedule {}", index + 1)))
        })
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        self.schedules.iter().flat_map(|schedule| schedule.findings(plan)).collect()
    }

    fn counts_in(&self) -> Option<Unit> {
        self.unit.or_else(|| self.schedules.iter().find_map(|schedule| schedule.counts_in()))
    }

    fn set_default_unit(&mut self, unit: Unit) {
        let unit = *self.unit.get_or_insert(unit);
        self.schedules.iter_mut().for_each(|schedule| schedule.set_default_unit(unit));
    }
}

impl FromRecipe for Multiply {
    fn from_recipe(options: &Section<'_>, unit: Unit) -> Result<Self> {
        Ok(Self { schedules: inners(options, unit)?, unit: None })
    }
}

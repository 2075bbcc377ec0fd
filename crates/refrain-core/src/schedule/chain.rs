//! One schedule after another.

use super::options::{FromRecipe, check, check_not_negative, inners, numbers};
use super::stretch::{Stretch, has_reached};
use super::{Schedule, Unit};
use crate::error::{Error, Result};
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// One schedule after another, each from its own 0.
///
/// A part is asked as if its stretch were a run of its own: steps and epochs count from where it
/// begins, and a fraction is one of the stretch. A milestone belongs to the part that begins there.
/// Parts without a unit of their own take the chain's; with another one they begin at the epoch in
/// which the milestone lies.
///
/// - `schedules`: at least one. In a recipe a number is a constant.
/// - `milestones`: rising, > 0, in the unit; one fewer than schedules.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Chain, ExponentialDecay, Linear, Schedule, Unit}};
/// let chain = Chain::new(Linear::new(0.0, 5.0).end_learning_rate(0.1))
///     .then(5.0, ExponentialDecay::new(0.1, 1.0, 0.5))
///     .unit(Unit::Epochs);
/// let rate = |epoch| chain.learning_rate(&Progress { epoch, epochs: 9, ..Progress::default() });
/// assert_eq!([rate(0), rate(5), rate(6), rate(7)], [0.0, 0.1, 0.05, 0.025]);
/// ```
///
/// # Source
/// PyTorch's `SequentialLR`.
pub struct Chain {
    schedules: Vec<Box<dyn Schedule>>,
    /// Where each but the first begins.
    milestones: Vec<f64>,
    unit: Option<Unit>,
}

impl Chain {
    /// Begins with this schedule.
    pub fn new(first: impl Schedule + 'static) -> Self {
        Self { schedules: vec![Box::new(first)], milestones: Vec::new(), unit: None }
    }

    /// Goes on with another one from `milestone` on.
    pub fn then(mut self, milestone: f64, schedule: impl Schedule + 'static) -> Self {
        self.milestones.push(milestone);
        self.schedules.push(Box::new(schedule));
        // The new part takes the unit, too, where one was chosen.
        match self.unit {
            Some(unit) => self.unit(unit),
            None => self,
        }
    }

    /// What milestones count, and parts that have no unit of their own. Default: steps; in a
    /// `LearningRateScheduler` epochs, inside another schedule the unit of that one.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self.schedules.iter_mut().for_each(|schedule| schedule.set_default_unit(unit));
        self
    }

    fn stretch(&self, index: usize) -> Stretch {
        let from = index.checked_sub(1).and_then(|before| self.milestones.get(before));
        Stretch {
            unit: self.unit.unwrap_or_default(),
            from: from.copied().unwrap_or(0.0),
            to: self.milestones.get(index).copied(),
        }
    }

    /// The part whose turn it is, and where the run is for it.
    fn part(&self, progress: &Progress) -> Option<(&dyn Schedule, Progress)> {
        let unit = self.unit.unwrap_or_default();
        let begun = |milestone: &&f64| has_reached(unit, **milestone, progress);
        let index = self.milestones.iter().take_while(begun).count();
        let part = self.schedules.get(index)?;
        Some((&**part, self.stretch(index).progress(progress, part.counts_in())))
    }
}

impl Schedule for Chain {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        // `check` refuses a chain with fewer schedules than milestones ask for.
        self.part(progress).map_or(f64::NAN, |(part, progress)| part.learning_rate(&progress))
    }

    fn momentum(&self, progress: &Progress) -> Option<f64> {
        let (part, progress) = self.part(progress)?;
        part.momentum(&progress)
    }

    fn check(&self) -> Result {
        let (schedules, milestones) = (self.schedules.len(), self.milestones.len());
        if schedules == 0 {
            return Err(Error::config("schedules is empty; allowed: at least one"));
        }
        let allowed =
            format!("{}, one fewer than schedules, of which there are {schedules}", schedules - 1);
        check("the number of milestones", milestones, schedules == milestones + 1, &allowed)?;
        for milestone in &self.milestones {
            check_not_negative("a milestone", *milestone)?;
        }
        let mut before = 0.0;
        let is_rising = self
            .milestones
            .iter()
            .all(|milestone| std::mem::replace(&mut before, *milestone) < *milestone);
        let shown = format!("{:?}", self.milestones);
        check("milestones", shown, is_rising, "numbers above 0 that rise")?;
        self.schedules.iter().enumerate().try_for_each(|(index, schedule)| {
            schedule.check().map_err(|e| e.context(format!("schedule {}", index + 1)))
        })
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let unit = self.unit.unwrap_or_default();
        let mut found = Vec::new();
        for (index, schedule) in self.schedules.iter().enumerate() {
            let stretch = self.stretch(index);
            match unit.length(plan) {
                Some(run) if stretch.from >= run && index > 0 => {
                    let (from, run) = (unit.show(stretch.from), unit.show(run));
                    let message = format!(
                        "schedule {} of `chain` begins after {from}, the run ends after {run}",
                        index + 1
                    );
                    let fix = "set milestones within the run, or train longer";
                    let finding = Finding::warning("schedule-horizon", message);
                    found.push(finding.fix(fix).option("milestones"));
                    break;
                }
                _ => {
                    // A part that the run cuts off is one that is cut off by its end.
                    let to = stretch.to.filter(|to| unit.length(plan).is_none_or(|run| *to < run));
                    found.extend(Stretch { to, ..stretch }.findings(&**schedule, plan));
                }
            }
        }
        found
    }

    fn counts_in(&self) -> Option<Unit> {
        Some(self.unit.unwrap_or_default())
    }

    fn set_default_unit(&mut self, unit: Unit) {
        let unit = *self.unit.get_or_insert(unit);
        self.schedules.iter_mut().for_each(|schedule| schedule.set_default_unit(unit));
    }
}

impl FromRecipe for Chain {
    fn from_recipe(options: &Section<'_>, unit: Unit) -> Result<Self> {
        let schedules = inners(options, unit)?;
        let milestones = numbers(options, "milestones", "[5]")?;
        Ok(Self { schedules, milestones, unit: None })
    }
}

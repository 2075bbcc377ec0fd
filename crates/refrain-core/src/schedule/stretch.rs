//! A stretch of a run, seen as a run of its own: what the parts of combined schedules see.

use super::{Schedule, Unit};
use crate::finding::{Finding, RunPlan};
use crate::progress::Progress;

/// The lengths of a run.
#[derive(Clone, Copy)]
struct Clock {
    epochs: usize,
    steps_per_epoch: usize,
}

/// From a place of the run, inclusive, to another, exclusive; `to`: `None` for the run's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub unit: Unit,
    pub from: f64,
    pub to: Option<f64>,
}

impl Clock {
    fn of(progress: &Progress) -> Self {
        Self { epochs: progress.epochs, steps_per_epoch: progress.updates_per_epoch() }
    }

    fn of_plan(plan: &RunPlan) -> Self {
        Self { epochs: plan.epochs, steps_per_epoch: plan.updates_per_epoch() }
    }

    fn total_steps(self) -> u64 {
        (self.epochs as u64).saturating_mul(self.steps_per_epoch as u64)
    }

    /// The first step at or after a place.
    fn step_at(self, unit: Unit, place: f64) -> Option<u64> {
        let knows_steps = self.steps_per_epoch > 0;
        match unit {
            Unit::Steps => Some(whole(place)),
            Unit::Epochs => {
                knows_steps.then(|| whole(place).saturating_mul(self.steps_per_epoch as u64))
            }
            Unit::Fraction => knows_steps.then(|| whole(place * self.total_steps() as f64)),
        }
    }

    /// The epoch of a place.
    fn epoch_at(self, unit: Unit, place: f64) -> Option<usize> {
        let epoch = match unit {
            Unit::Epochs => whole(place),
            Unit::Fraction if self.steps_per_epoch == 0 => whole(place * self.epochs as f64),
            _ => self.step_at(unit, place)?.checked_div(self.steps_per_epoch as u64)?,
        };
        usize::try_from(epoch).ok()
    }

    /// The lengths of a stretch of this run, in whichever way a part with this unit can use them.
    fn within(self, stretch: &Stretch, unit: Option<Unit>) -> Self {
        let Stretch { unit: own, from, to } = *stretch;
        let per_epoch = self.steps_per_epoch as u64;
        if per_epoch == 0 {
            let first = self.epoch_at(own, from).unwrap_or(0);
            let end = to.and_then(|to| self.epoch_at(own, to)).unwrap_or(self.epochs);
            return Self { epochs: end.saturating_sub(first), steps_per_epoch: 0 };
        }
        let first = self.step_at(own, from).unwrap_or(0);
        let end = to.and_then(|to| self.step_at(own, to)).unwrap_or_else(|| self.total_steps());
        let steps = end.saturating_sub(first);
        // Epochs times steps must give the steps of the stretch. Where it is not a whole number of
        // epochs, a part that counts steps is told of one epoch that is as long.
        let counts_steps = matches!(unit, Some(Unit::Steps | Unit::Fraction));
        if counts_steps && !steps.is_multiple_of(per_epoch) {
            let steps_per_epoch = usize::try_from(steps).unwrap_or(usize::MAX);
            return Self { epochs: 1, steps_per_epoch };
        }
        let epochs = usize::try_from(steps.div_ceil(per_epoch)).unwrap_or(usize::MAX);
        Self { epochs, ..self }
    }
}

/// The first whole number that is not less, but for rounding: 0.1 × 70 is 7.
fn whole(place: f64) -> u64 {
    (place - 1e-9 * place.abs().max(1.0)).ceil().max(0.0) as u64
}

/// Whether the run has come to a place.
pub(super) fn has_reached(unit: Unit, place: f64, progress: &Progress) -> bool {
    let clock = Clock::of(progress);
    match (unit, clock.step_at(unit, place)) {
        (Unit::Steps | Unit::Fraction, Some(step)) => progress.step >= step,
        _ => clock.epoch_at(unit, place).is_some_and(|epoch| progress.epoch >= epoch),
    }
}

impl Stretch {
    /// Where the run is, for a part that begins with this stretch.
    pub fn progress(&self, progress: &Progress, unit: Option<Unit>) -> Progress {
        let clock = Clock::of(progress);
        let first_step = clock.step_at(self.unit, self.from).unwrap_or(0);
        let first_epoch = clock.epoch_at(self.unit, self.from).unwrap_or(0);
        let Clock { epochs, steps_per_epoch } = clock.within(self, unit);
        Progress {
            epoch: progress.epoch.saturating_sub(first_epoch),
            epochs,
            step: progress.step.saturating_sub(first_step),
            steps_per_epoch,
            // These are updates already.
            batches_per_update: 1,
            ..*progress
        }
    }

    /// What a part finds odd in this stretch of a run.
    pub fn findings(&self, part: &dyn Schedule, plan: &RunPlan) -> Vec<Finding> {
        let unit = part.counts_in();
        let clock = Clock::of_plan(plan);
        let is_unknown = self.from > 0.0
            && match unit {
                Some(Unit::Steps) => clock.step_at(self.unit, self.from).is_none(),
                Some(_) => clock.epoch_at(self.unit, self.from).is_none(),
                None => false,
            };
        if is_unknown {
            let message = "a schedule counts in another unit than the one it is part of, and the \
                           steps of an epoch are not known, so it cannot begin at its own 0";
            let fix = "give both the same unit, or the run its steps_per_epoch";
            return vec![Finding::warning("unknown-steps", message).fix(fix).option("unit")];
        }
        let first_epoch = clock.epoch_at(self.unit, self.from).unwrap_or(0);
        let Clock { epochs, steps_per_epoch } = clock.within(self, unit);
        if epochs == 0 || (steps_per_epoch == 0 && clock.steps_per_epoch > 0) {
            // It has no time at all: whoever cut the stretch tells.
            return Vec::new();
        }
        let initial_epoch = plan.initial_epoch.saturating_sub(first_epoch);
        let batches_per_update = 1;
        let of_part =
            RunPlan { epochs, steps_per_epoch, batches_per_update, initial_epoch, ..plan.clone() };
        part.findings(&of_part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_a_run_of_its_own() {
        // (unit of the stretch, from, to, unit of the part) and (epoch, step, epochs, steps per
        // epoch) that it sees at step 37, epoch 3, of 5 epochs of 10 steps.
        for (unit, from, to, part, seen) in [
            (Unit::Epochs, 2.0, None, None, (1, 17, 3, 10)),
            (Unit::Epochs, 2.0, Some(4.0), Some(Unit::Steps), (1, 17, 2, 10)),
            (Unit::Steps, 20.0, Some(45.0), Some(Unit::Steps), (1, 17, 1, 25)),
            (Unit::Steps, 20.0, Some(45.0), Some(Unit::Epochs), (1, 17, 3, 10)),
            (Unit::Steps, 25.0, None, Some(Unit::Fraction), (1, 12, 1, 25)),
            (Unit::Fraction, 0.1, None, Some(Unit::Fraction), (3, 32, 1, 45)),
            (Unit::Fraction, 0.2, None, Some(Unit::Fraction), (2, 27, 4, 10)),
        ] {
            let progress = Progress {
                epoch: 3,
                epochs: 5,
                step: 37,
                steps_per_epoch: 10,
                ..Progress::default()
            };
            let stretch = Stretch { unit, from, to };
            let p = stretch.progress(&progress, part);
            let found = (p.epoch, p.step, p.epochs, p.steps_per_epoch);
            assert_eq!(found, seen, "{stretch:?} for {part:?}");
        }
    }

    #[test]
    fn places_are_whole_but_for_rounding() {
        for (place, expected) in [(0.1 * 70.0, 7), (0.3 * 10.0, 3), (3.5, 4), (0.0, 0), (-1.0, 0)] {
            assert_eq!(whole(place), expected, "{place}");
        }
    }
}

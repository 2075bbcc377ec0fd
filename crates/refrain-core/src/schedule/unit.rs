//! What a schedule counts.

use std::fmt;

use crate::finding::{Finding, RunPlan};
use crate::progress::Progress;

/// What a schedule counts; lengths such as `decay_steps` are in it.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::Unit};
/// let progress =
///     Progress { epoch: 2, epochs: 8, step: 25, steps_per_epoch: 10, ..Progress::default() };
/// assert_eq!(Unit::Steps.position(&progress), 25.0);
/// assert_eq!(Unit::Epochs.position(&progress), 2.0);
/// assert_eq!(Unit::Fraction.position(&progress), 0.3125);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Updates of the optimizer, from 0. Keras' schedules count these.
    #[default]
    Steps,
    /// Whole epochs, from 0: the rate is the same throughout an epoch.
    Epochs,
    /// The part of the run that is done, 0 at its beginning: step ÷ all steps; epoch ÷ epochs where
    /// the number of steps is not known.
    Fraction,
}

impl Unit {
    /// Names in a recipe.
    pub const NAMES: [&'static str; 3] = ["steps", "epochs", "fraction"];

    /// The unit that a recipe calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "steps" => Some(Self::Steps),
            "epochs" => Some(Self::Epochs),
            "fraction" => Some(Self::Fraction),
            _ => None,
        }
    }

    /// Where the run is, in this unit.
    pub fn position(self, progress: &Progress) -> f64 {
        match self {
            Self::Steps => progress.step as f64,
            Self::Epochs => progress.epoch as f64,
            Self::Fraction if progress.steps_per_epoch > 0 => {
                let steps = progress.epochs as f64 * progress.updates_per_epoch() as f64;
                progress.step as f64 / steps.max(1.0)
            }
            Self::Fraction => progress.epoch as f64 / progress.epochs.max(1) as f64,
        }
    }

    /// The length of a run, in this unit; `None` where it is not known.
    pub fn length(self, plan: &RunPlan) -> Option<f64> {
        match self {
            Self::Steps => plan.total_steps().map(|steps| steps as f64),
            Self::Epochs => Some(plan.epochs as f64),
            Self::Fraction => Some(1.0),
        }
    }

    /// `1 epoch`, `20 steps`, `0.5 of the run`.
    pub(crate) fn show(self, length: f64) -> impl fmt::Display {
        let plural = if length == 1.0 { "" } else { "s" };
        match self {
            Self::Steps => format!("{length} step{plural}"),
            Self::Epochs => format!("{length} epoch{plural}"),
            Self::Fraction => format!("{length} of the run"),
        }
    }
}

/// The lengths of a schedule that ends, with the options that set them.
pub(crate) struct Horizon<'a> {
    /// Its name in a recipe.
    pub name: &'a str,
    pub unit: Unit,
    /// Option and length of the warm-up; a length of 0 where there is none.
    pub warmup: (&'static str, f64),
    /// Option and length of the part that is to be fitted to the run; the option is named in the
    /// fix. `None`: it has no end.
    pub decay: Option<(&'static str, f64)>,
    /// What there is beside the two.
    pub rest: f64,
}

impl Horizon<'_> {
    /// What is odd about it in this run.
    pub fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let Some(run) = self.unit.length(plan) else {
            return Vec::new();
        };
        let (name, unit) = (self.name, self.unit);
        let (option, warmup) = self.warmup;
        if warmup > run {
            let (warmup, run) = (unit.show(warmup), unit.show(run));
            let message = format!("the warm-up of `{name}` takes {warmup}, the run {run}");
            let fix = format!("shorten {option}, or train longer");
            return vec![Finding::warning("long-warmup", message).fix(fix).option(option)];
        }
        let Some((option, decay)) = self.decay else {
            return Vec::new();
        };
        let horizon = warmup + self.rest + decay;
        let is_fitting = (horizon - run).abs() <= 1e-9 * run;
        // An end before the run's, as a fraction of it, is meant: it cannot come from a changed
        // number of epochs.
        if is_fitting || unit == Unit::Fraction && horizon < run {
            return Vec::new();
        }
        let (ends, all) = (unit.show(horizon), unit.show(run));
        let message = format!("`{name}` ends after {ends}, the run after {all}");
        // No digits that only rounding has made.
        let needed = ((run - warmup - self.rest) * 1e9).round() / 1e9;
        let fix = if needed > 0.0 {
            format!("set {option} to {needed}")
        } else {
            "train longer, or shorten it".to_owned()
        };
        vec![Finding::warning("schedule-horizon", message).fix(fix).option(option)]
    }
}

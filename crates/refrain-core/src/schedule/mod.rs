//! Learning-rate schedules: pure functions of where the run is.
//!
//! | schedule | rate |
//! | --- | --- |
//! | [`Constant`] | the same throughout |
//! | [`StepDecay`] | drops by a factor every so often |
//! | [`ExponentialDecay`], [`InverseTimeDecay`], [`InverseSquareRoot`] | falls without end |
//! | [`PiecewiseConstantDecay`] | a list of rates |
//! | [`PolynomialDecay`], [`Linear`], [`CosineDecay`], [`WarmupStableDecay`], [`OneCycle`] | reaches its end |
//! | [`CosineDecayRestarts`], [`Cyclic`] | goes round |
//! | [`Chain`], [`Multiply`], [`Warmup`], [`Clamp`], [`Repeat`] | made of other schedules |
//!
//! Each counts in a [`Unit`]: optimizer steps from 0 (as in Keras), epochs, or the fraction of the
//! run. Give it to the optimizer in place of a number, or to
//! [`LearningRateScheduler`](crate::callbacks::LearningRateScheduler), which sets the rate once an
//! epoch. Formulas and names of arguments are those of Keras 3.15.1 where Keras has the schedule.

/// The builder method `unit` of a schedule with a field `unit: Option<Unit>`, and its position.
macro_rules! unit_option {
    () => {
        /// What it counts. Default: steps; in a `LearningRateScheduler` epochs, inside another
        /// schedule the unit of that one.
        pub fn unit(mut self, unit: crate::schedule::Unit) -> Self {
            self.unit = Some(unit);
            self
        }

        fn position(&self, progress: &crate::progress::Progress) -> f64 {
            self.unit.unwrap_or_default().position(progress)
        }
    };
}

/// The methods of `Schedule` that speak of the unit, for schedules with [`unit_option`].
macro_rules! unit_methods {
    () => {
        fn counts_in(&self) -> Option<crate::schedule::Unit> {
            Some(self.unit.unwrap_or_default())
        }

        fn set_default_unit(&mut self, unit: crate::schedule::Unit) {
            self.unit.get_or_insert(unit);
        }
    };
}

mod options;
mod stretch;
mod unit;

mod constant;
mod cosine_decay;
mod cosine_decay_restarts;
mod cyclic;
mod exponential_decay;
mod inverse_square_root;
mod inverse_time_decay;
mod linear;
mod one_cycle;
mod piecewise_constant_decay;
mod polynomial_decay;
mod step_decay;
mod warmup_stable_decay;

mod chain;
mod clamp;
mod multiply;
mod repeat;
mod warmup;

use std::fmt;

use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::progress::Progress;

pub use chain::Chain;
pub use clamp::Clamp;
pub use constant::Constant;
pub use cosine_decay::CosineDecay;
pub use cosine_decay_restarts::CosineDecayRestarts;
pub use cyclic::{Cyclic, CyclicMode};
pub use exponential_decay::ExponentialDecay;
pub use inverse_square_root::InverseSquareRoot;
pub use inverse_time_decay::InverseTimeDecay;
pub use linear::Linear;
pub use multiply::Multiply;
pub use one_cycle::{Anneal, OneCycle};
pub use options::{NAMES, read};
pub use piecewise_constant_decay::PiecewiseConstantDecay;
pub use polynomial_decay::PolynomialDecay;
pub use repeat::Repeat;
pub use step_decay::StepDecay;
pub(crate) use unit::Horizon;
pub use unit::Unit;
pub use warmup::Warmup;
pub use warmup_stable_decay::{DecayShape, WarmupStableDecay};

/// A learning rate as a function of progress. Nothing to save, nothing to be off by one after
/// a resume.
///
/// Closures are schedules. The trainer asks before every step and sets the base rate.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::Schedule};
/// let halved_each_epoch = |p: &Progress| 0.1 * 0.5_f64.powi(p.epoch as i32);
/// let third = Progress { epoch: 2, ..Progress::default() };
/// assert_eq!(halved_each_epoch.learning_rate(&third), 0.025);
/// ```
pub trait Schedule: Send {
    /// The rate of the next step.
    fn learning_rate(&self, progress: &Progress) -> f64;

    /// The optimizer's momentum for the next step, where the schedule sets it too (one-cycle).
    fn momentum(&self, progress: &Progress) -> Option<f64> {
        let _ = progress;
        None
    }

    /// Whether the options make sense. Called before the first batch.
    ///
    /// # Errors
    /// A configuration error that names option, value and what is allowed.
    fn check(&self) -> Result {
        Ok(())
    }

    /// What is odd about this schedule in this run: a horizon that is not the run's, a warm-up
    /// longer than it.
    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let _ = plan;
        Vec::new()
    }

    /// The unit in which it counts; `None` where it has none, or that is not known.
    fn counts_in(&self) -> Option<Unit> {
        None
    }

    /// Sets the unit where none was chosen: what a schedule is part of knows a better one.
    fn set_default_unit(&mut self, unit: Unit) {
        let _ = unit;
    }
}

impl<F: Fn(&Progress) -> f64 + Send> Schedule for F {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        self(progress)
    }
}

impl Schedule for Box<dyn Schedule> {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        (**self).learning_rate(progress)
    }
    fn momentum(&self, progress: &Progress) -> Option<f64> {
        (**self).momentum(progress)
    }
    fn check(&self) -> Result {
        (**self).check()
    }
    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        (**self).findings(plan)
    }
    fn counts_in(&self) -> Option<Unit> {
        (**self).counts_in()
    }
    fn set_default_unit(&mut self, unit: Unit) {
        (**self).set_default_unit(unit);
    }
}

/// What an optimizer is given as its learning rate: a number or a schedule.
///
/// # Example
/// ```
/// use refrain_core::schedule::{CosineDecay, Rate};
/// let number: Rate = 0.1.into();
/// let schedule: Rate = CosineDecay::new(0.1, 1000.0).into();
/// assert!(matches!(number, Rate::Constant(_)) && matches!(schedule, Rate::Schedule(_)));
/// ```
pub enum Rate {
    /// The same rate throughout, unless a callback changes it.
    Constant(f64),
    /// A schedule, asked before every step.
    Schedule(Box<dyn Schedule>),
}

impl Rate {
    /// A rate that follows `schedule`.
    pub fn schedule(schedule: impl Schedule + 'static) -> Self {
        Rate::Schedule(Box::new(schedule))
    }
}

impl From<f64> for Rate {
    fn from(rate: f64) -> Self {
        Rate::Constant(rate)
    }
}

impl<S: Schedule + 'static> From<S> for Rate {
    fn from(schedule: S) -> Self {
        Rate::schedule(schedule)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Constant(rate) => write!(f, "{rate}"),
            Rate::Schedule(_) => f.write_str("schedule"),
        }
    }
}

/// What a look at the rates of a whole run finds, for a schedule that is asked once in each of
/// `steps` places: rates that no run can have, and none above 0.
pub(crate) fn odd_rates(
    schedule: &dyn Schedule,
    places: impl Iterator<Item = Progress>,
    option: &'static str,
) -> Vec<Finding> {
    let mut is_idle = true;
    for progress in places {
        let rate = schedule.learning_rate(&progress);
        if !(rate.is_finite() && rate >= 0.0) {
            let message = format!(
                "the rate of step {} (epoch {}) is {rate}",
                progress.step,
                progress.epoch + 1
            );
            let fix = "choose options with which it stays finite and is not negative";
            return vec![Finding::error("impossible-rate", message).fix(fix).option(option)];
        }
        is_idle &= rate == 0.0;
    }
    if is_idle {
        let message = "the rate is 0 throughout the run, which trains nothing";
        let fix = "begin above 0; a cosine that warms up from 0 needs its warmup_target";
        return vec![Finding::warning("zero-rate", message).fix(fix).option(option)];
    }
    Vec::new()
}

/// Places of a run at which to look: every step of a short run, some thousand of a long one; one an
/// epoch where the steps of an epoch are not known or `by_epoch`.
pub(crate) fn places(plan: &RunPlan, by_epoch: bool) -> impl Iterator<Item = Progress> {
    const MOST: usize = 4096;
    let per_epoch = plan.updates_per_epoch();
    let of_epoch = if by_epoch || per_epoch == 0 { 1 } else { per_epoch };
    let first = plan.initial_epoch.saturating_mul(of_epoch);
    let last = plan.epochs.saturating_mul(of_epoch);
    let stride = (last.saturating_sub(first) / MOST).max(1);
    let steps_per_epoch = per_epoch;
    let epochs = plan.epochs;
    (first..last).step_by(stride).map(move |place| {
        let epoch = place / of_epoch;
        let within = if of_epoch == 1 { 0 } else { place % of_epoch };
        let step = (epoch as u64).saturating_mul(per_epoch as u64) + within as u64;
        Progress { epoch, epochs, step, steps_per_epoch, ..Progress::default() }
    })
}

//! One cycle: up to a high rate and down to almost nothing, the momentum the other way.

use std::f64::consts::PI;

use super::options::{
    FromRecipe, check, check_not_negative, check_positive, flag_or, number, number_or,
};
use super::unit::Horizon;
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// Rises to `max_lr` and falls to almost nothing; the momentum goes the other way.
///
/// From `max_lr / div_factor` to `max_lr` in the first `pct_start` of the cycle, then to
/// `max_lr / div_factor / final_div_factor`. With `three_phase` it first falls back to where it
/// began, as fast as it rose. The last of `total_steps` steps has the lowest rate, so the phases
/// end at `pct_start × total_steps − 1` and `total_steps − 1` (as a fraction of the run there is no
/// last step, and nothing is subtracted). After its end it stays where it is.
///
/// - `max_lr`: finite, ≥ 0. `total_steps`: > 0, in the unit.
/// - `pct_start`: 0 to 1, with `three_phase` to 0.5; default 0.3.
/// - `anneal_strategy`: `"cos"` (default) or `"linear"`.
/// - `div_factor`, `final_div_factor`: finite, > 0; default 25 and 10,000.
/// - `three_phase`: default false.
/// - `cycle_momentum`: default true; `base_momentum`, `max_momentum`: in 0..1; default 0.85 and
///   0.95. The optimizer needs a momentum (Adam: β₁).
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{OneCycle, Schedule}};
/// let cycle = OneCycle::new(1.0, 101.0).pct_start(0.5).div_factor(10.0);
/// let at = |step| Progress { step, ..Progress::default() };
/// let is_near = |step, rate: f64| (cycle.learning_rate(&at(step)) - rate).abs() < 1e-15;
/// assert!(is_near(0, 0.1) && is_near(100, 1e-5));
/// assert_eq!(cycle.momentum(&at(0)), Some(0.95));
/// ```
///
/// # Source
/// PyTorch's `OneCycleLR`; Smith and Topin, "Super-Convergence", 2018.
#[derive(Clone, Debug, PartialEq)]
pub struct OneCycle {
    max_lr: f64,
    total_steps: f64,
    pct_start: f64,
    anneal_strategy: Anneal,
    cycle_momentum: bool,
    base_momentum: f64,
    max_momentum: f64,
    div_factor: f64,
    final_div_factor: f64,
    three_phase: bool,
    unit: Option<Unit>,
}

/// How [`OneCycle`] goes from one rate to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// Along half a cosine.
    #[default]
    Cos,
    /// Along a straight line.
    Linear,
}

/// Where the cycle is: between which two of the three levels, and how far.
#[derive(Clone, Copy)]
enum Phase {
    Rise(f64),
    Return(f64),
    Fall(f64),
}

impl OneCycle {
    /// One cycle of `total_steps` up to `max_lr`.
    pub fn new(max_lr: f64, total_steps: f64) -> Self {
        Self {
            max_lr,
            total_steps,
            pct_start: 0.3,
            anneal_strategy: Anneal::Cos,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
            unit: None,
        }
    }

    /// The part of the cycle in which the rate rises. Default 0.3.
    pub fn pct_start(mut self, pct_start: f64) -> Self {
        self.pct_start = pct_start;
        self
    }

    /// How it goes from one rate to another. Default: along half a cosine.
    pub fn anneal_strategy(mut self, anneal_strategy: Anneal) -> Self {
        self.anneal_strategy = anneal_strategy;
        self
    }

    /// Whether the momentum is set too. Default true.
    pub fn cycle_momentum(mut self, cycle_momentum: bool) -> Self {
        self.cycle_momentum = cycle_momentum;
        self
    }

    /// The momentum at the highest rate. Default 0.85.
    pub fn base_momentum(mut self, base_momentum: f64) -> Self {
        self.base_momentum = base_momentum;
        self
    }

    /// The momentum at the beginning and at the end. Default 0.95.
    pub fn max_momentum(mut self, max_momentum: f64) -> Self {
        self.max_momentum = max_momentum;
        self
    }

    /// How many times lower than the highest rate the first is. Default 25.
    pub fn div_factor(mut self, div_factor: f64) -> Self {
        self.div_factor = div_factor;
        self
    }

    /// How many times lower than the first rate the last is. Default 10,000.
    pub fn final_div_factor(mut self, final_div_factor: f64) -> Self {
        self.final_div_factor = final_div_factor;
        self
    }

    /// Whether the rate falls back to where it began before it falls further. Default false.
    pub fn three_phase(mut self, three_phase: bool) -> Self {
        self.three_phase = three_phase;
        self
    }

    unit_option!();

    fn phase(&self, progress: &Progress) -> Phase {
        let position = self.position(progress);
        // The last step has the last rate; a fraction of a run has no last step.
        let last = if self.unit == Some(Unit::Fraction) { 0.0 } else { 1.0 };
        let top = self.pct_start * self.total_steps - last;
        let back = if self.three_phase { 2.0 * top } else { top };
        let done = |from: f64, to: f64| {
            if to > from { ((position - from) / (to - from)).clamp(0.0, 1.0) } else { 1.0 }
        };
        if position <= top {
            Phase::Rise(done(0.0, top))
        } else if position <= back {
            Phase::Return(done(top, back))
        } else {
            Phase::Fall(done(back, self.total_steps - last))
        }
    }

    fn between(&self, from: f64, to: f64, done: f64) -> f64 {
        match self.anneal_strategy {
            Anneal::Cos => to + (from - to) / 2.0 * ((PI * done).cos() + 1.0),
            Anneal::Linear => (to - from) * done + from,
        }
    }
}

impl Schedule for OneCycle {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let first = self.max_lr / self.div_factor;
        let last = first / self.final_div_factor;
        match self.phase(progress) {
            Phase::Rise(done) => self.between(first, self.max_lr, done),
            Phase::Return(done) => self.between(self.max_lr, first, done),
            Phase::Fall(done) if self.three_phase => self.between(first, last, done),
            Phase::Fall(done) => self.between(self.max_lr, last, done),
        }
    }

    fn momentum(&self, progress: &Progress) -> Option<f64> {
        let (low, high) = (self.base_momentum, self.max_momentum);
        self.cycle_momentum.then(|| match self.phase(progress) {
            Phase::Rise(done) => self.between(high, low, done),
            Phase::Fall(_) if self.three_phase => high,
            Phase::Return(done) | Phase::Fall(done) => self.between(low, high, done),
        })
    }

    fn check(&self) -> Result {
        check_not_negative("max_lr", self.max_lr)?;
        check_positive("total_steps", self.total_steps)?;
        let most = if self.three_phase { 0.5 } else { 1.0 };
        let is_part = (0.0..=most).contains(&self.pct_start);
        let allowed = if self.three_phase { "0 to 0.5 with three_phase" } else { "0 to 1" };
        check("pct_start", self.pct_start, is_part, allowed)?;
        let momenta = [("base_momentum", self.base_momentum), ("max_momentum", self.max_momentum)];
        for (option, momentum) in momenta {
            let is_momentum = (0.0..1.0).contains(&momentum);
            check(option, momentum, is_momentum, "0 or more, below 1")?;
        }
        check_positive("div_factor", self.div_factor)?;
        check_positive("final_div_factor", self.final_div_factor)
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let horizon = Horizon {
            name: "one_cycle",
            unit: self.unit.unwrap_or_default(),
            warmup: ("", 0.0),
            decay: Some(("total_steps", self.total_steps)),
            rest: 0.0,
        };
        horizon.findings(plan)
    }

    unit_methods!();
}

impl FromRecipe for OneCycle {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let max_lr = number(options, "max_lr")?;
        let default = Self::new(max_lr, number(options, "total_steps")?);
        let anneal_strategy = match options.get("anneal_strategy") {
            None => Anneal::Cos,
            Some(name) => {
                name.look_up("anneal_strategy", &["cos", "linear"], |name| match name {
                    "cos" => Some(Anneal::Cos),
                    "linear" => Some(Anneal::Linear),
                    _ => None,
                })?
            }
        };
        Ok(Self {
            pct_start: number_or(options, "pct_start", default.pct_start)?,
            anneal_strategy,
            cycle_momentum: flag_or(options, "cycle_momentum", true)?,
            base_momentum: number_or(options, "base_momentum", default.base_momentum)?,
            max_momentum: number_or(options, "max_momentum", default.max_momentum)?,
            div_factor: number_or(options, "div_factor", default.div_factor)?,
            final_div_factor: number_or(options, "final_div_factor", default.final_div_factor)?,
            three_phase: flag_or(options, "three_phase", false)?,
            ..default
        })
    }
}

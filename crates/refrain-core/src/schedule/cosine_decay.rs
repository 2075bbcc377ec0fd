//! Half a cosine, with a linear warm-up in front if wanted.

use std::f64::consts::PI;

use super::options::{FromRecipe, check_not_negative, check_positive, number, number_or};
use super::unit::Horizon;
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::{Section, Value};
use crate::progress::Progress;

/// Falls along half a cosine, after a linear warm-up if wanted; then constant.
///
/// Without `warmup_target`: `initial_learning_rate × c(t / decay_steps)`, where
/// `c(x) = (1 − alpha) × ½ (1 + cos πx) + alpha` and `x` is at most 1. With it: along a straight
/// line from `initial_learning_rate` to `warmup_target` in `warmup_steps`, then
/// `warmup_target × c((t − warmup_steps) / decay_steps)`; the whole takes
/// `warmup_steps + decay_steps`.
///
/// - `initial_learning_rate`, `warmup_target`: finite, ≥ 0; default of the target: none.
/// - `decay_steps`: > 0, in the unit.
/// - `alpha`: the rate at the end as a fraction of the highest; finite, ≥ 0; default 0.
/// - `warmup_steps`: ≥ 0, in the unit; default 0; without a target it does nothing, and a check
///   says so.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{CosineDecay, Schedule}};
/// let decay = CosineDecay::new(0.0, 10.0).warmup(0.1, 4.0);
/// let rate = |step| decay.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(1), rate(4), rate(14)], [0.0, 0.025, 0.1, 0.0]);
/// assert!((rate(9) - 0.05).abs() < 1e-15);
/// ```
///
/// # Source
/// Keras' `CosineDecay`; Loshchilov and Hutter, "SGDR", ICLR 2017.
#[derive(Clone, Debug, PartialEq)]
pub struct CosineDecay {
    initial_learning_rate: f64,
    decay_steps: f64,
    alpha: f64,
    warmup_target: Option<f64>,
    warmup_steps: f64,
    unit: Option<Unit>,
}

impl CosineDecay {
    /// From `initial_learning_rate` to 0 in `decay_steps`.
    pub fn new(initial_learning_rate: f64, decay_steps: f64) -> Self {
        Self {
            initial_learning_rate,
            decay_steps,
            alpha: 0.0,
            warmup_target: None,
            warmup_steps: 0.0,
            unit: None,
        }
    }

    /// The rate at the end, as a fraction of the highest. Default 0.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// A straight line from the initial rate to `warmup_target` in front. Default none.
    pub fn warmup(mut self, warmup_target: f64, warmup_steps: f64) -> Self {
        self.warmup_target = Some(warmup_target);
        self.warmup_steps = warmup_steps;
        self
    }

    unit_option!();
}

impl Schedule for CosineDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let position = self.position(progress);
        let (highest, position) = match self.warmup_target {
            None => (self.initial_learning_rate, position),
            Some(target) if position < self.warmup_steps => {
                let done = position / self.warmup_steps;
                let first = self.initial_learning_rate;
                return (target - first) * done + first;
            }
            Some(target) => (target, position - self.warmup_steps),
        };
        let done = position.min(self.decay_steps) / self.decay_steps;
        let cosine = 0.5 * (1.0 + (PI * done).cos());
        highest * ((1.0 - self.alpha) * cosine + self.alpha)
    }

    fn check(&self) -> Result {
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_positive("decay_steps", self.decay_steps)?;
        check_not_negative("alpha", self.alpha)?;
        self.warmup_target.map_or(Ok(()), |target| check_not_negative("warmup_target", target))?;
        check_not_negative("warmup_steps", self.warmup_steps)
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let has_warmup = self.warmup_target.is_some();
        let horizon = Horizon {
            name: "cosine_decay",
            unit: self.unit.unwrap_or_default(),
            warmup: ("warmup_steps", if has_warmup { self.warmup_steps } else { 0.0 }),
            decay: Some(("decay_steps", self.decay_steps)),
            rest: 0.0,
        };
        let mut found = horizon.findings(plan);
        if !has_warmup && self.warmup_steps > 0.0 {
            let message = "`cosine_decay` has warmup_steps but no warmup_target, so there is no \
                           warm-up";
            let finding = Finding::warning("ignored-option", message);
            found.push(finding.fix("give warmup_target, the rate to reach").option("warmup_steps"));
        }
        found
    }

    unit_methods!();
}

impl FromRecipe for CosineDecay {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let initial = number(options, "initial_learning_rate")?;
        let decay = Self::new(initial, number(options, "decay_steps")?);
        Ok(Self {
            alpha: number_or(options, "alpha", 0.0)?,
            warmup_target: options.get("warmup_target").as_ref().map(Value::f64).transpose()?,
            warmup_steps: number_or(options, "warmup_steps", 0.0)?,
            ..decay
        })
    }
}

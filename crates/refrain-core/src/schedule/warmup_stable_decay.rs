//! Warm-up, a long stretch at one rate, and a decay at the end.

use std::f64::consts::PI;

use super::options::{FromRecipe, check_not_negative, check_positive, number, number_or};
use super::unit::Horizon;
use super::{Schedule, Unit};
use crate::error::Result;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;

/// Warms up, stays, and decays at the end; then constant.
///
/// Along a straight line from 0 to `learning_rate` in `warmup_steps`, at `learning_rate` for
/// `stable_steps`, then to `end_learning_rate` in `decay_steps`:
/// `end + (learning_rate − end) × s(x)`, where `x` goes from 0 to 1 and `s(x)` is `1 − x`
/// (`linear`), `½ (1 + cos πx)` (`cosine`) or `1 − √x` (`one_minus_sqrt`).
///
/// - `learning_rate`, the highest, and `end_learning_rate`: finite, ≥ 0; default of the end: 0.
/// - `warmup_steps`, `stable_steps`: ≥ 0; `decay_steps`: > 0; in the unit.
/// - `decay`: `"linear"` (default), `"cosine"`, `"one_minus_sqrt"`.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Schedule, WarmupStableDecay}};
/// let schedule = WarmupStableDecay::new(0.4, 2.0, 6.0, 4.0);
/// let rate = |step| schedule.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(1), rate(2), rate(8), rate(10), rate(12)],
///     [0.0, 0.2, 0.4, 0.4, 0.2, 0.0]);
/// ```
///
/// # Source
/// Hu et al., "MiniCPM", 2024; the shapes after Hägele et al., "Scaling Laws and Compute-Optimal
/// Training Beyond Fixed Training Durations", 2024.
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupStableDecay {
    learning_rate: f64,
    warmup_steps: f64,
    stable_steps: f64,
    decay_steps: f64,
    end_learning_rate: f64,
    decay: DecayShape,
    unit: Option<Unit>,
}

/// The shape of the end of [`WarmupStableDecay`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecayShape {
    /// A straight line.
    #[default]
    Linear,
    /// Half a cosine.
    Cosine,
    /// One minus the root of the time: fast at first.
    OneMinusSqrt,
}

impl WarmupStableDecay {
    /// Up to `learning_rate`, there for a while, down to 0 along a straight line.
    pub fn new(learning_rate: f64, warmup_steps: f64, stable_steps: f64, decay_steps: f64) -> Self {
        Self {
            learning_rate,
            warmup_steps,
            stable_steps,
            decay_steps,
            end_learning_rate: 0.0,
            decay: DecayShape::Linear,
            unit: None,
        }
    }

    /// The rate at the end. Default 0.
    pub fn end_learning_rate(mut self, end_learning_rate: f64) -> Self {
        self.end_learning_rate = end_learning_rate;
        self
    }

    /// The shape of the decay. Default linear.
    pub fn decay(mut self, decay: DecayShape) -> Self {
        self.decay = decay;
        self
    }

    unit_option!();
}

impl Schedule for WarmupStableDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let position = self.position(progress);
        if position < self.warmup_steps {
            return self.learning_rate * position / self.warmup_steps;
        }
        let decayed = position - self.warmup_steps - self.stable_steps;
        let done = (decayed / self.decay_steps).clamp(0.0, 1.0);
        let left = match self.decay {
            DecayShape::Linear => 1.0 - done,
            DecayShape::Cosine => 0.5 * (1.0 + (PI * done).cos()),
            DecayShape::OneMinusSqrt => 1.0 - done.sqrt(),
        };
        self.end_learning_rate + (self.learning_rate - self.end_learning_rate) * left
    }

    fn check(&self) -> Result {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_not_negative("warmup_steps", self.warmup_steps)?;
        check_not_negative("stable_steps", self.stable_steps)?;
        check_positive("decay_steps", self.decay_steps)?;
        check_not_negative("end_learning_rate", self.end_learning_rate)
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        // What is to be fitted to another length of run is the middle.
        let horizon = Horizon {
            name: "warmup_stable_decay",
            unit: self.unit.unwrap_or_default(),
            warmup: ("warmup_steps", self.warmup_steps),
            decay: Some(("stable_steps", self.stable_steps)),
            rest: self.decay_steps,
        };
        horizon.findings(plan)
    }

    unit_methods!();
}

impl FromRecipe for WarmupStableDecay {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        const SHAPES: [&str; 3] = ["linear", "cosine", "one_minus_sqrt"];
        let learning_rate = number(options, "learning_rate")?;
        let warmup_steps = number(options, "warmup_steps")?;
        let stable_steps = number(options, "stable_steps")?;
        let decay_steps = number(options, "decay_steps")?;
        let decay = match options.get("decay") {
            None => DecayShape::Linear,
            Some(name) => name.look_up("decay", &SHAPES, |name| match name {
                "linear" => Some(DecayShape::Linear),
                "cosine" => Some(DecayShape::Cosine),
                "one_minus_sqrt" => Some(DecayShape::OneMinusSqrt),
                _ => None,
            })?,
        };
        Ok(Self::new(learning_rate, warmup_steps, stable_steps, decay_steps)
            .end_learning_rate(number_or(options, "end_learning_rate", 0.0)?)
            .decay(decay))
    }
}

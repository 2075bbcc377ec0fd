//! Half cosines one after another, each begun with a restart.

use std::f64::consts::PI;

use super::options::{FromRecipe, check, check_not_negative, check_positive, number, number_or};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::options::Section;
use crate::progress::Progress;

/// Falls along half a cosine again and again, each time begun with a warm restart.
///
/// The i-th stretch, from 0, is `first_decay_steps × t_mul^i` long and begins at
/// `initial_learning_rate × m_mul^i`, more or less:
/// `initial_learning_rate × [(1 − alpha) × ½ m_mul^i (1 + cos πx) + alpha]`, where `x` goes from 0
/// to 1 in each stretch.
///
/// - `initial_learning_rate`: finite, ≥ 0.
/// - `first_decay_steps`: > 0, in the unit.
/// - `t_mul`: finite, ≥ 1; default 2. `m_mul`: finite, ≥ 0; default 1.
/// - `alpha`: the lowest rate as a fraction of the first; finite, ≥ 0; default 0.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{CosineDecayRestarts, Schedule}};
/// let decay = CosineDecayRestarts::new(1.0, 4.0);
/// let rate = |step| decay.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(4), rate(12)], [1.0, 1.0, 1.0]);
/// assert!((rate(8) - 0.5).abs() < 1e-15);
/// ```
///
/// # Differs from Keras
/// A restart is where it should be. Keras finds it with a logarithm, whose rounding can put it a
/// step late or early. `t_mul` below 1, with which Keras comes to NaN, is refused.
///
/// # Source
/// Keras' `CosineDecayRestarts`; Loshchilov and Hutter, "SGDR", ICLR 2017.
#[derive(Clone, Debug, PartialEq)]
pub struct CosineDecayRestarts {
    initial_learning_rate: f64,
    first_decay_steps: f64,
    t_mul: f64,
    m_mul: f64,
    alpha: f64,
    unit: Option<Unit>,
}

impl CosineDecayRestarts {
    /// From `initial_learning_rate` to 0 in `first_decay_steps`, then in twice as many, and so on.
    pub fn new(initial_learning_rate: f64, first_decay_steps: f64) -> Self {
        let (t_mul, m_mul, alpha) = (2.0, 1.0, 0.0);
        Self { initial_learning_rate, first_decay_steps, t_mul, m_mul, alpha, unit: None }
    }

    /// How many times longer each stretch is than the one before. Default 2.
    pub fn t_mul(mut self, t_mul: f64) -> Self {
        self.t_mul = t_mul;
        self
    }

    /// How many times higher each stretch begins than the one before. Default 1.
    pub fn m_mul(mut self, m_mul: f64) -> Self {
        self.m_mul = m_mul;
        self
    }

    /// The lowest rate, as a fraction of the first. Default 0.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    unit_option!();

    /// The number of restarts so far, and how much of the stretch is done.
    fn stretch(&self, position: f64) -> (f64, f64) {
        let turns = position / self.first_decay_steps;
        if self.t_mul == 1.0 {
            return (turns.floor(), turns.fract());
        }
        // Stretch i begins after 1 + t + … + t^(i − 1) first stretches.
        let begin = |i: f64| (self.t_mul.powf(i) - 1.0) / (self.t_mul - 1.0);
        let mut restarts = ((1.0 + turns * (self.t_mul - 1.0)).ln() / self.t_mul.ln()).floor();
        if begin(restarts + 1.0) <= turns * (1.0 + 4.0 * f64::EPSILON) {
            restarts += 1.0;
        } else if begin(restarts) > turns * (1.0 + 4.0 * f64::EPSILON) {
            restarts -= 1.0;
        }
        let done = (turns - begin(restarts)) / self.t_mul.powf(restarts);
        (restarts, done.clamp(0.0, 1.0))
    }
}

impl Schedule for CosineDecayRestarts {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let (restarts, done) = self.stretch(self.position(progress));
        let cosine = 0.5 * self.m_mul.powf(restarts) * (1.0 + (PI * done).cos());
        self.initial_learning_rate * ((1.0 - self.alpha) * cosine + self.alpha)
    }

    fn check(&self) -> Result {
        check_not_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_positive("first_decay_steps", self.first_decay_steps)?;
        let is_growing = self.t_mul.is_finite() && self.t_mul >= 1.0;
        check("t_mul", self.t_mul, is_growing, "a finite number, 1 or more")?;
        check_not_negative("m_mul", self.m_mul)?;
        check_not_negative("alpha", self.alpha)
    }

    unit_methods!();
}

impl FromRecipe for CosineDecayRestarts {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let initial = number(options, "initial_learning_rate")?;
        let decay = Self::new(initial, number(options, "first_decay_steps")?)
            .t_mul(number_or(options, "t_mul", 2.0)?)
            .m_mul(number_or(options, "m_mul", 1.0)?);
        Ok(decay.alpha(number_or(options, "alpha", 0.0)?))
    }
}

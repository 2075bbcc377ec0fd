//! Learning-rate schedules: pure functions of where the run is.

use std::f64::consts::PI;
use std::fmt;

use crate::progress::Progress;

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
}

impl<F: Fn(&Progress) -> f64 + Send> Schedule for F {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        self(progress)
    }
}

/// What an optimizer is given as its learning rate: a number or a schedule.
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

impl From<ExponentialDecay> for Rate {
    fn from(schedule: ExponentialDecay) -> Self {
        Rate::schedule(schedule)
    }
}

impl From<CosineDecay> for Rate {
    fn from(schedule: CosineDecay) -> Self {
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

/// `initial_learning_rate × decay_rate ^ (step / decay_steps)`, steps counted from 0.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{ExponentialDecay, Schedule}};
/// let decay = ExponentialDecay { initial_learning_rate: 0.1, decay_steps: 10.0, decay_rate: 0.5, staircase: false };
/// assert_eq!(decay.learning_rate(&Progress { step: 20, ..Progress::default() }), 0.025);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExponentialDecay {
    /// Rate of step 0.
    pub initial_learning_rate: f64,
    /// Steps in which the rate is multiplied by `decay_rate` once; > 0.
    pub decay_steps: f64,
    /// Factor per `decay_steps`.
    pub decay_rate: f64,
    /// Whether the rate drops in stairs, at whole multiples of `decay_steps`.
    pub staircase: bool,
}

impl Schedule for ExponentialDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let turns = progress.step as f64 / self.decay_steps;
        let turns = if self.staircase { turns.floor() } else { turns };
        self.initial_learning_rate * self.decay_rate.powf(turns)
    }
}

/// From `initial_learning_rate` to `alpha` times it along half a cosine of `decay_steps` steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{CosineDecay, Schedule}};
/// let decay = CosineDecay { initial_learning_rate: 0.2, decay_steps: 10.0, alpha: 0.0 };
/// assert_eq!(decay.learning_rate(&Progress { step: 5, ..Progress::default() }), 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosineDecay {
    /// Rate of step 0.
    pub initial_learning_rate: f64,
    /// Steps after which the rate stays at its end; > 0.
    pub decay_steps: f64,
    /// The rate at the end, as a fraction of the first.
    pub alpha: f64,
}

impl Schedule for CosineDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let done = (progress.step as f64 / self.decay_steps).min(1.0);
        let cosine = 0.5 * (1.0 + (PI * done).cos());
        self.initial_learning_rate * ((1.0 - self.alpha) * cosine + self.alpha)
    }
}

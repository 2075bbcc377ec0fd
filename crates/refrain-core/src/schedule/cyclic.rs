//! A rate that goes up and down between two bounds.

use super::options::{FromRecipe, check, check_not_negative, check_positive, number, number_or};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::options::{Section, Value};
use crate::progress::Progress;

/// Goes up and down between two rates along straight lines.
///
/// In each cycle up from `base_lr` in `step_size_up` and down again in `step_size_down`. The height
/// above `base_lr` is `max_lr − base_lr`, times: nothing (`triangular`); ½ for each cycle before
/// (`triangular2`); `gamma ^ t` (`exp_range`).
///
/// - `base_lr`, `max_lr`: finite, ≥ 0; the second is no lower than the first.
/// - `step_size_up`: > 0, in the unit; default 2000. `step_size_down`: > 0; default the same.
/// - `mode`: `"triangular"` (default), `"triangular2"`, `"exp_range"`.
/// - `gamma`: finite, ≥ 0; default 1; for `exp_range`.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Cyclic, CyclicMode, Schedule}};
/// let cyclic = Cyclic::new(0.0, 1.0).step_size_up(4.0).mode(CyclicMode::Triangular2);
/// let rate = |step| cyclic.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(0), rate(1), rate(4), rate(8), rate(12)], [0.0, 0.25, 1.0, 0.0, 0.5]);
/// ```
///
/// # Source
/// PyTorch's `CyclicLR`, without its momentum; Smith, "Cyclical Learning Rates", WACV 2017.
#[derive(Clone, Debug, PartialEq)]
pub struct Cyclic {
    base_lr: f64,
    max_lr: f64,
    step_size_up: f64,
    step_size_down: Option<f64>,
    mode: CyclicMode,
    gamma: f64,
    unit: Option<Unit>,
}

/// The shape of [`Cyclic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CyclicMode {
    /// All cycles are the same.
    #[default]
    Triangular,
    /// Each cycle is half as high as the one before.
    Triangular2,
    /// The height falls by `gamma` in each step.
    ExpRange,
}

impl Cyclic {
    /// Between `base_lr` and `max_lr`, 2000 steps up and as many down.
    pub fn new(base_lr: f64, max_lr: f64) -> Self {
        Self {
            base_lr,
            max_lr,
            step_size_up: 2000.0,
            step_size_down: None,
            mode: CyclicMode::Triangular,
            gamma: 1.0,
            unit: None,
        }
    }

    /// The length of the way up. Default 2000.
    pub fn step_size_up(mut self, step_size_up: f64) -> Self {
        self.step_size_up = step_size_up;
        self
    }

    /// The length of the way down. Default: that of the way up.
    pub fn step_size_down(mut self, step_size_down: f64) -> Self {
        self.step_size_down = Some(step_size_down);
        self
    }

    /// The shape. Default triangular.
    pub fn mode(mut self, mode: CyclicMode) -> Self {
        self.mode = mode;
        self
    }

    /// The factor per step of `exp_range`. Default 1.
    pub fn gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }

    unit_option!();
}

impl Schedule for Cyclic {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let position = self.position(progress);
        let up = self.step_size_up;
        let down = self.step_size_down.unwrap_or(up);
        let cycle = (position / (up + down)).floor();
        let within = position - cycle * (up + down);
        let height = if within <= up { within / up } else { (up + down - within) / down };
        let scale = match self.mode {
            CyclicMode::Triangular => 1.0,
            CyclicMode::Triangular2 => 0.5_f64.powf(cycle),
            CyclicMode::ExpRange => self.gamma.powf(position),
        };
        self.base_lr + (self.max_lr - self.base_lr) * height.clamp(0.0, 1.0) * scale
    }

    fn check(&self) -> Result {
        check_not_negative("base_lr", self.base_lr)?;
        check_not_negative("max_lr", self.max_lr)?;
        let allowed = format!("base_lr, {}, or more", self.base_lr);
        check("max_lr", self.max_lr, self.max_lr >= self.base_lr, &allowed)?;
        check_positive("step_size_up", self.step_size_up)?;
        self.step_size_down.map_or(Ok(()), |down| check_positive("step_size_down", down))?;
        check_not_negative("gamma", self.gamma)
    }

    unit_methods!();
}

impl FromRecipe for Cyclic {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        const MODES: [&str; 3] = ["triangular", "triangular2", "exp_range"];
        let base_lr = number(options, "base_lr")?;
        let cyclic = Self::new(base_lr, number(options, "max_lr")?);
        let mode = match options.get("mode") {
            None => CyclicMode::Triangular,
            Some(name) => name.look_up("mode", &MODES, |name| match name {
                "triangular" => Some(CyclicMode::Triangular),
                "triangular2" => Some(CyclicMode::Triangular2),
                "exp_range" => Some(CyclicMode::ExpRange),
                _ => None,
            })?,
        };
        Ok(Self {
            step_size_up: number_or(options, "step_size_up", 2000.0)?,
            step_size_down: options.get("step_size_down").as_ref().map(Value::f64).transpose()?,
            mode,
            gamma: number_or(options, "gamma", 1.0)?,
            ..cyclic
        })
    }
}

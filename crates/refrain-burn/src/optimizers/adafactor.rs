//! Adafactor.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::ParameterInfo;
use super::common::Common;
use super::rule::{Decay, Formula, Rule, by_tensors, optimizer};
use super::values::Values;

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of a matrix: the running means of the squared gradient over its rows, and over
/// its columns.
const ROWS: &str = "r";
const COLUMNS: &str = "c";
/// What is remembered of any other parameter: the running mean of the squared gradient.
const SQUARE: &str = "v";

/// Adam's denominator of a matrix from the means over its rows and columns, so that next to nothing
/// is remembered; Keras' `Adafactor`.
///
/// Of a parameter of two or more axes the last two are the matrix; of a kernel as Burn's convolutions
/// have it, `weight`, `[outputs, inputs, height, width]`, the first two, as in Keras. `β₂ = 1 − stepᵈᵉᶜᵃʸ`;
/// `update = gradient / √v`, divided by `max(1, rms(update) / clip_threshold)`;
/// `weights −= max(ε₂, rms(weights)) × min(rate, 1 / √step) × update`.
///
/// Defaults: learning rate 0.001, `beta_2_decay` −0.8, ε₁ 1e-30, ε₂ 1e-3, clip threshold 1. Keras'
/// `relative_step` changes nothing in Keras' formula, and is no option here.
///
/// Cost: operations on tensors, some ten passes.
///
/// # Example
/// ```
/// use refrain_burn::{Adafactor, Optimizer as _};
/// assert!(Adafactor::default().check().is_ok());
/// let error = Adafactor::default().beta_2_decay(0.5).check().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "adafactor: beta_2_decay is 0.5; allowed: a finite number below 0, for example -0.8"
/// );
/// ```
///
/// # Source
/// "Adafactor: adaptive learning rates with sublinear memory cost", ICML 2018.
#[derive(Debug)]
pub struct Adafactor {
    common: Common,
    beta_2_decay: f64,
    epsilon_1: f64,
    epsilon_2: f64,
    clip_threshold: f64,
}

impl Adafactor {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        Self {
            common: Common::new("adafactor", LEARNING_RATE, learning_rate.into()),
            beta_2_decay: -0.8,
            epsilon_1: 1e-30,
            epsilon_2: 1e-3,
            clip_threshold: 1.0,
        }
    }
}

optimizer!(Adafactor {
    /// The exponent of the step in β₂; below 0. Default −0.8.
    beta_2_decay: f64,
    /// Added to squared gradients; above 0. Default 1e-30.
    epsilon_1: f64,
    /// How large weights count at least; above 0. Default 1e-3.
    epsilon_2: f64,
    /// The root mean square above which updates are scaled down; above 0. Default 1.
    clip_threshold: f64,
});

/// A parameter as matrices.
#[derive(Clone, Copy, Debug)]
struct Matrices {
    count: usize,
    rows: usize,
    columns: usize,
    /// Whether rows and columns are the first two axes, and not the last two.
    is_first: bool,
}

impl Matrices {
    /// `None` for a parameter of fewer axes.
    fn of(parameter: Option<&ParameterInfo>) -> Option<Self> {
        let parameter = parameter?;
        let (others, [rows, columns], is_first) = match parameter.shape.as_slice() {
            // Keras has a convolution's inputs and outputs behind its height and width.
            [rows, columns, others @ ..] if !others.is_empty() && parameter.is_burns_kernel() => {
                (others, [*rows, *columns], true)
            }
            [others @ .., rows, columns] => (others, [*rows, *columns], false),
            _ => return None,
        };
        Some(Self { count: others.iter().product(), rows, columns, is_first })
    }

    /// The parameter's shape, and which of its axes are those of the rows and the columns.
    fn shape(self) -> ([usize; 3], usize, usize) {
        let Self { count, rows, columns, is_first } = self;
        if is_first { ([rows, columns, count], 0, 1) } else { ([count, rows, columns], 1, 2) }
    }
}

impl Rule for Adafactor {
    type Formula = Factored;

    fn formula(&self) -> Factored {
        let step = self.common.step();
        Factored {
            matrices: None,
            rate: self.common.rate.min(1.0 / step.sqrt()),
            keep: 1.0 - step.powf(self.beta_2_decay as f32),
            epsilon_1: self.epsilon_1 as f32,
            epsilon_2: self.epsilon_2 as f32,
            clip_threshold: self.clip_threshold as f32,
        }
    }

    fn formula_for(&self, parameter: Option<&ParameterInfo>) -> Factored {
        Factored { matrices: Matrices::of(parameter), ..self.formula() }
    }

    const SLOTS: &'static [&'static str] = &[ROWS, COLUMNS, SQUARE];
    const OPTIONAL: &'static [&'static str] = Self::SLOTS;
    const COUNTS_STEPS: bool = true;

    fn check(&self) -> Result {
        let decay = self.beta_2_decay;
        let allowed = "a finite number below 0, for example -0.8";
        let is_allowed = decay.is_finite() && decay < 0.0;
        self.common.check_option("beta_2_decay", decay, is_allowed, allowed)?;
        self.common.check_positive("epsilon_1", self.epsilon_1, "1e-30")?;
        self.common.check_positive("epsilon_2", self.epsilon_2, "0.001")?;
        self.common.check_positive("clip_threshold", self.clip_threshold, "1.0")
    }

    fn keeps_for(&self, slot: &str, parameter: Option<&ParameterInfo>) -> bool {
        Matrices::of(parameter).is_some() == (slot != SQUARE)
    }

    fn elements(&self, slot: &str, parameter: Option<&ParameterInfo>) -> Option<usize> {
        match (Matrices::of(parameter), slot) {
            (Some(Matrices { count, rows, .. }), ROWS) => Some(count * rows),
            (Some(Matrices { count, columns, .. }), COLUMNS) => Some(count * columns),
            _ => parameter.map(ParameterInfo::elements),
        }
    }

    fn first(&self, slot: &str, parameter: Option<&ParameterInfo>, weights: &Values) -> Values {
        weights.zeros(self.elements(slot, parameter).unwrap_or(weights.elements()))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Factored {
    matrices: Option<Matrices>,
    rate: f32,
    keep: f32,
    epsilon_1: f32,
    epsilon_2: f32,
    clip_threshold: f32,
}

impl Formula for Factored {
    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let elements = weights.dims();
        let Self { keep, epsilon_1, .. } = self;
        let squared = gradient.clone().square() + epsilon_1;
        let square = match (self.matrices, slots.as_mut_slice()) {
            (Some(matrices), [r, c]) => {
                let (shape, rows, columns) = matrices.shape();
                let squared = squared.reshape(shape);
                let of_rows = squared.clone().mean_dim(columns).reshape(r.dims());
                let of_columns = squared.mean_dim(rows).reshape(c.dims());
                *r = r.clone() * keep + of_rows * (1.0 - keep);
                *c = c.clone() * keep + of_columns * (1.0 - keep);
                let without = |axis: usize| {
                    let mut shape = shape;
                    shape[axis] = 1;
                    shape
                };
                let r = r.clone().reshape(without(columns));
                let share = r.clone() / r.mean_dim(rows);
                (share * c.clone().reshape(without(rows))).reshape(elements)
            }
            (_, [v]) => {
                *v = v.clone() * keep + squared * (1.0 - keep);
                v.clone()
            }
            _ => return weights,
        };
        let update = gradient / square.sqrt();
        let too_large = (rms(&update) / self.clip_threshold).clamp_min(1.0);
        let size = rms(&weights).clamp_min(self.epsilon_2) * self.rate;
        weights - update / too_large.expand(elements) * size.expand(elements)
    }

    fn values(
        self,
        decay: Option<Decay>,
        weights: Values,
        gradient: Values,
        slots: &mut Vec<Values>,
    ) -> Values {
        by_tensors(self, decay, weights, gradient, slots)
    }
}

/// The root of the mean square.
fn rms(values: &Tensor<1>) -> Tensor<1> {
    values.clone().square().mean().sqrt()
}

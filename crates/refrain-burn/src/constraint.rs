//! Bounds on weights, by Keras' names and formulas.

use burn::tensor::Tensor;

/// Keras' `epsilon`, against a division by 0.
const EPSILON: f64 = 1e-7;

/// What a weight must be: applied after each update.
///
/// Norms are taken along [axes](Self::axis) of the weight as Keras has it. Along axis 0, the default,
/// those of a dense kernel are the norms of what comes into each unit.
///
/// # Example
/// ```
/// use refrain_burn::layers::{Conv2d, Dense};
/// use refrain_burn::{Constraint, Sequential};
///
/// let dense = Dense::new(10).kernel_constraint(Constraint::max_norm(3.0));
/// // The norm of each filter: over height, width and channels.
/// let conv = Conv2d::new(8, 3).kernel_constraint(Constraint::max_norm(3.0).axis([0, 1, 2]));
/// # let _ = conv;
/// let model = Sequential::input(&[4]).layer(dense).build(42)?;
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    bound: Bound,
    axes: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    MaxNorm { max_value: f64 },
    NonNeg,
    UnitNorm,
    MinMaxNorm { min_value: f64, max_value: f64, rate: f64 },
}

impl Constraint {
    /// Keras' names.
    pub const NAMES: &[&str] = &["max_norm", "non_neg", "unit_norm", "min_max_norm"];

    fn new(bound: Bound) -> Self {
        Self { bound, axes: vec![0] }
    }

    /// Norms above `max_value`, a finite number above 0, are brought down to it. Keras' default is 2.
    pub fn max_norm(max_value: f64) -> Self {
        Self::new(Bound::MaxNorm { max_value })
    }

    /// What is below 0 becomes 0.
    pub fn non_neg() -> Self {
        Self::new(Bound::NonNeg)
    }

    /// Norms become 1.
    pub fn unit_norm() -> Self {
        Self::new(Bound::UnitNorm)
    }

    /// Norms are brought between two bounds: 0 or more, the first not above the second. Each update
    /// makes `rate`, 0 to 1, of the way. Keras' defaults are 0, 1 and 1.
    pub fn min_max_norm(min_value: f64, max_value: f64, rate: f64) -> Self {
        Self::new(Bound::MinMaxNorm { min_value, max_value, rate })
    }

    /// Along which axes of the weight, in Keras' order, norms are taken. Default 0.
    pub fn axis(mut self, axes: impl Into<Vec<usize>>) -> Self {
        self.axes = axes.into();
        self
    }

    /// The constraint of that name, with Keras' values.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "max_norm" => Some(Self::max_norm(2.0)),
            "non_neg" => Some(Self::non_neg()),
            "unit_norm" => Some(Self::unit_norm()),
            "min_max_norm" => Some(Self::min_max_norm(0.0, 1.0, 1.0)),
            _ => None,
        }
    }

    /// Keras' name.
    pub fn name(&self) -> &'static str {
        match self.bound {
            Bound::MaxNorm { .. } => "max_norm",
            Bound::NonNeg => "non_neg",
            Bound::UnitNorm => "unit_norm",
            Bound::MinMaxNorm { .. } => "min_max_norm",
        }
    }

    /// What is wrong with its values, for a weight of so many axes.
    pub(crate) fn problem(&self, axes: usize) -> Option<String> {
        let is_axis = |axis: &usize| *axis < axes;
        if self.bound != Bound::NonNeg && (self.axes.is_empty() || !self.axes.iter().all(is_axis)) {
            let allowed = match axes {
                1 => "0".to_owned(),
                _ => format!("one or more of 0 to {}", axes - 1),
            };
            return Some(format!("axis is {:?}; allowed: {allowed}", self.axes));
        }
        match self.bound {
            Bound::MaxNorm { max_value } if !(max_value.is_finite() && max_value > 0.0) => {
                Some(format!("max_value is {max_value}; allowed: a finite number above 0"))
            }
            Bound::MinMaxNorm { min_value, max_value, .. }
                if !(min_value >= 0.0 && max_value.is_finite() && min_value <= max_value) =>
            {
                Some(format!(
                    "min_value is {min_value} and max_value is {max_value}; allowed: finite \
                     numbers, 0 or more, the first not above the second"
                ))
            }
            Bound::MinMaxNorm { rate, .. } if !(0.0..=1.0).contains(&rate) => {
                Some(format!("rate is {rate}; allowed: 0 to 1"))
            }
            _ => None,
        }
    }

    /// The weight as it must be. `axis` gives the weight's own axis for one of Keras'.
    pub(crate) fn apply<const D: usize>(
        &self,
        weight: Tensor<D>,
        axis: impl Fn(usize) -> usize,
    ) -> Tensor<D> {
        let norms = || {
            let mut axes = self.axes.clone();
            axes.sort_unstable();
            axes.dedup();
            let sum = |sum: Tensor<D>, keras| sum.sum_dim(axis(keras));
            axes.into_iter().fold(weight.clone().square(), sum).sqrt()
        };
        match self.bound {
            Bound::NonNeg => weight.clamp_min(0.0),
            Bound::MaxNorm { max_value } => {
                let norms = norms();
                let scale = norms.clone().clamp_max(max_value) / (norms + EPSILON);
                weight * scale
            }
            Bound::UnitNorm => {
                let norms = norms();
                weight / (norms + EPSILON)
            }
            Bound::MinMaxNorm { min_value, max_value, rate } => {
                let norms = norms();
                let within = norms.clone().clamp(min_value, max_value);
                let wanted = within * rate + norms.clone() * (1.0 - rate);
                weight * (wanted / (norms + EPSILON))
            }
        }
    }
}

//! Activations with options, as layers: numbers that are given, not learnt.

use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, relu};
use refrain_core::Result;

use super::Place;
use crate::activation::elu_scaled;

/// `x` above 0, a share of `x` below: [`Activation::LeakyRelu`](crate::Activation::LeakyRelu) with a
/// slope of one's own; Keras' `LeakyReLU`.
///
/// Takes inputs of any shape. Default: a slope of 0.3, as Keras' layer; its activation has 0.2.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Dense, LeakyRelu};
///
/// let model = Sequential::input(&[4])
///     .layer(Dense::new(8))
///     .layer(LeakyRelu::new().negative_slope(0.1))
///     .build(42)?;
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeakyRelu {
    pub(super) name: Option<String>,
    negative_slope: f64,
}

impl LeakyRelu {
    /// The layer with a slope of 0.3.
    pub fn new() -> Self {
        Self { name: None, negative_slope: 0.3 }
    }

    /// Gives the layer a name. Default: `leaky_relu`, `leaky_relu_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The slope below 0; 0 or more. Default 0.3.
    pub fn negative_slope(mut self, negative_slope: f64) -> Self {
        self.negative_slope = negative_slope;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<Bend> {
        check(place, "negative_slope", self.negative_slope)?;
        Ok(Bend::LeakyRelu(self.negative_slope))
    }
}

impl Default for LeakyRelu {
    fn default() -> Self {
        Self::new()
    }
}

/// `x` above 0, `α × (exp(x) − 1)` below: [`Activation::Elu`](crate::Activation::Elu) with a scale;
/// Keras' `ELU`. Takes inputs of any shape. Default: α 1.
#[derive(Clone, Debug)]
pub struct Elu {
    pub(super) name: Option<String>,
    alpha: f64,
}

impl Elu {
    /// The layer with α 1.
    pub fn new() -> Self {
        Self { name: None, alpha: 1.0 }
    }

    /// Gives the layer a name. Default: `elu`, `elu_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How far below 0 outputs go; 0 or more. Default 1.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<Bend> {
        check(place, "alpha", self.alpha)?;
        Ok(Bend::Elu(self.alpha))
    }
}

impl Default for Elu {
    fn default() -> Self {
        Self::new()
    }
}

/// `x` above a threshold, up to a largest value, `slope × (x − threshold)` below; Keras' `ReLU`.
/// Takes inputs of any shape. Defaults: threshold 0, no largest value, slope 0.
#[derive(Clone, Debug)]
pub struct Relu {
    pub(super) name: Option<String>,
    max_value: Option<f64>,
    negative_slope: f64,
    threshold: f64,
}

impl Relu {
    /// `max(x, 0)`.
    pub fn new() -> Self {
        Self { name: None, max_value: None, negative_slope: 0.0, threshold: 0.0 }
    }

    /// Gives the layer a name. Default: `relu`, `relu_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The largest output; 0 or more. Default none.
    pub fn max_value(mut self, max_value: f64) -> Self {
        self.max_value = Some(max_value);
        self
    }

    /// The slope below the threshold; 0 or more. Default 0.
    pub fn negative_slope(mut self, negative_slope: f64) -> Self {
        self.negative_slope = negative_slope;
        self
    }

    /// Up to which inputs are damped; 0 or more. Default 0.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<Bend> {
        let Self { max_value, negative_slope, threshold, .. } = *self;
        check(place, "max_value", max_value.unwrap_or(0.0))?;
        check(place, "negative_slope", negative_slope)?;
        check(place, "threshold", threshold)?;
        Ok(Bend::Relu { max_value, negative_slope, threshold })
    }
}

impl Default for Relu {
    fn default() -> Self {
        Self::new()
    }
}

fn check(place: &Place<'_>, option: &str, value: f64) -> Result {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(place.error(format!("{option} is {value}; allowed: a finite number, 0 or more")))
}

/// One of them, built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bend {
    LeakyRelu(f64),
    Elu(f64),
    Relu { max_value: Option<f64>, negative_slope: f64, threshold: f64 },
}

impl Bend {
    pub(super) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        let (max_value, negative_slope, threshold) = match self {
            Self::LeakyRelu(slope) => return leaky_relu(x, slope),
            Self::Elu(alpha) => return elu_scaled(x, alpha),
            Self::Relu { max_value, negative_slope, threshold } => {
                (max_value, negative_slope, threshold)
            }
        };
        let below =
            (negative_slope > 0.0).then(|| relu(x.clone().neg() + threshold) * negative_slope);
        let mut above = match threshold {
            0.0 => relu(x),
            _ => {
                let is_below = x.clone().lower_equal_scalar(threshold);
                x.mask_fill(is_below, 0.0)
            }
        };
        if let Some(max_value) = max_value {
            above = above.clamp_max(max_value);
        }
        match below {
            None => above,
            Some(below) => above - below,
        }
    }
}

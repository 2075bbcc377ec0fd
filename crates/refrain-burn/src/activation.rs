//! Activations by Keras' names and formulas.

use burn::tensor::Tensor;
use burn::tensor::activation;

use crate::kernels;

/// What a layer does to each of its outputs.
///
/// # Example
/// ```
/// use refrain_burn::Activation;
/// assert_eq!(Activation::from_name("swish"), Some(Activation::Silu));
/// assert_eq!(Activation::Relu6.name(), "relu6");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The input as it is.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` above 0, `0.2 x` below.
    LeakyRelu,
    /// `x` above 0, `exp(x) − 1` below.
    Elu,
    /// Scaled [`Elu`](Self::Elu), which keeps mean and variance.
    Selu,
    /// `x` times the normal distribution's share below `x`; exact, not approximated.
    Gelu,
    /// `x × sigmoid(x)`; also `swish`.
    Silu,
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// `x / 6 + 1/2`, kept in 0..=1.
    HardSigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `log(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `exp(x)`.
    Exponential,
    /// Along the last axis: `exp(x)`, divided by its sum.
    Softmax,
    /// Along the last axis: the logarithm of [`Softmax`](Self::Softmax).
    LogSoftmax,
    /// `x` above 0, `exp(x) − 1` below: [`Elu`](Self::Elu) with another scale, which is 1 here.
    Celu,
    /// The last axis is halved: the first half times the [`Sigmoid`](Self::Sigmoid) of the second. In
    /// dense and activation layers only.
    Glu,
    /// `x` where `|x|` is above 0.5, 0 between.
    HardShrink,
    /// `x` times its [`HardSigmoid`](Self::HardSigmoid); also `hard_swish`.
    HardSilu,
    /// `x`, kept in −1..=1.
    HardTanh,
    /// The logarithm of [`Sigmoid`](Self::Sigmoid).
    LogSigmoid,
    /// `x × tanh(log(1 + exp(x)))`.
    Mish,
    /// `x`, moved by 0.5 towards 0 and not beyond it.
    SoftShrink,
    /// Along the last axis: the nearest distribution, in which small values become 0. What Keras 3.15
    /// calls so does not sum to 1.
    Sparsemax,
    /// 0 up to −1, `x` from 1 on, `(x + 1)² / 4` between.
    SparsePlus,
    /// `(x + 1) / 2`, kept in 0..=1.
    SparseSigmoid,
    /// `(x + √(x² + 4)) / 2`.
    Squareplus,
    /// `x − tanh(x)`.
    TanhShrink,
}

impl Activation {
    const ALL: [(&str, Self); 29] = [
        ("linear", Self::Linear),
        ("relu", Self::Relu),
        ("relu6", Self::Relu6),
        ("leaky_relu", Self::LeakyRelu),
        ("elu", Self::Elu),
        ("selu", Self::Selu),
        ("gelu", Self::Gelu),
        ("silu", Self::Silu),
        ("sigmoid", Self::Sigmoid),
        ("hard_sigmoid", Self::HardSigmoid),
        ("tanh", Self::Tanh),
        ("softplus", Self::Softplus),
        ("softsign", Self::Softsign),
        ("exponential", Self::Exponential),
        ("softmax", Self::Softmax),
        ("log_softmax", Self::LogSoftmax),
        ("celu", Self::Celu),
        ("glu", Self::Glu),
        ("hard_shrink", Self::HardShrink),
        ("hard_silu", Self::HardSilu),
        ("hard_tanh", Self::HardTanh),
        ("log_sigmoid", Self::LogSigmoid),
        ("mish", Self::Mish),
        ("soft_shrink", Self::SoftShrink),
        ("sparsemax", Self::Sparsemax),
        ("sparse_plus", Self::SparsePlus),
        ("sparse_sigmoid", Self::SparseSigmoid),
        ("squareplus", Self::Squareplus),
        ("tanh_shrink", Self::TanhShrink),
    ];

    /// The activation of that name; `swish` and `hard_swish` are understood too.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = match name {
            "swish" => "silu",
            "hard_swish" => "hard_silu",
            name => name,
        };
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }

    /// Keras' names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }

    /// Keras' name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("linear", |(name, _)| name)
    }

    /// Whether it looks at a whole axis, and not at each element for itself.
    pub(crate) fn is_along_axis(self) -> bool {
        matches!(self, Self::Softmax | Self::LogSoftmax | Self::Sparsemax | Self::Glu)
    }

    /// Length of the last axis of what it makes of `length` elements; `None` where they cannot be
    /// halved.
    pub(crate) fn output_length(self, length: usize) -> Option<usize> {
        match self {
            Self::Glu if length.is_multiple_of(2) => Some(length / 2),
            Self::Glu => None,
            _ => Some(length),
        }
    }

    /// The activation of every element; the last axis is the one for [`Softmax`](Self::Softmax),
    /// [`LogSoftmax`](Self::LogSoftmax), [`Sparsemax`](Self::Sparsemax) and [`Glu`](Self::Glu).
    ///
    /// # Panics
    /// [`Glu`](Self::Glu), where the last axis is odd.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Linear => x,
            Self::Relu => activation::relu(x),
            // Burn's own passes the gradient at 0, where Keras stops it.
            Self::Relu6 => activation::relu(x).clamp_max(6.0),
            Self::LeakyRelu => activation::leaky_relu(x, 0.2),
            // A scale of 1 makes them the same.
            Self::Elu | Self::Celu => elu(x),
            Self::Selu => elu_scaled(x, 1.673_263_242_354_377_2) * 1.050_700_987_355_480_5,
            Self::Gelu => activation::gelu(x),
            Self::Silu => activation::silu(x),
            Self::Sigmoid => activation::sigmoid(x),
            Self::HardSigmoid => Self::Relu6.forward(x + 3.0) / 6.0,
            Self::Tanh => x.tanh(),
            Self::Softplus => activation::softplus(x, 1.0),
            Self::Softsign => activation::softsign(x),
            Self::Exponential => x.exp(),
            Self::Softmax => kernels::softmax(x),
            Self::LogSoftmax => activation::log_softmax(x, D.saturating_sub(1)),
            Self::Glu => activation::glu(x, D.saturating_sub(1)),
            Self::HardShrink => {
                let is_small = x.clone().abs().lower_equal_elem(0.5);
                x.mask_fill(is_small, 0.0)
            }
            Self::HardSilu => x.clone() * Self::HardSigmoid.forward(x),
            Self::HardTanh => x.clamp(-1.0, 1.0),
            Self::LogSigmoid => activation::log_sigmoid(x),
            Self::Mish => activation::mish(x),
            Self::SoftShrink => activation::relu(x.clone() - 0.5) - activation::relu(-x - 0.5),
            Self::Sparsemax => sparsemax(x),
            Self::SparsePlus => {
                (x.clone().clamp(-1.0, 1.0) + 1.0).square() / 4.0 + activation::relu(x - 1.0)
            }
            Self::SparseSigmoid => (x / 2.0 + 0.5).clamp(0.0, 1.0),
            Self::Squareplus => (x.clone() + (x.square() + 4.0).sqrt()) / 2.0,
            Self::TanhShrink => x.clone() - x.tanh(),
        }
    }
}

fn elu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    elu_scaled(x, 1.0)
}

/// `exp` sees only what is below 0: above, it would overflow, and infinity times the mask's 0
/// would be NaN in the gradient.
pub(crate) fn elu_scaled<const D: usize>(x: Tensor<D>, alpha: f64) -> Tensor<D> {
    let below = (x.clone().clamp_max(0.0).exp() - 1.0) * alpha;
    activation::relu(x) + below
}

/// Along the last axis: what is above a threshold, less the threshold, where it makes the sum 1.
///
/// "From softmax to sparsemax", ICML 2016.
fn sparsemax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let axis = D.saturating_sub(1);
    let sorted = x.clone().detach().sort_descending(axis);
    let ranks = sorted.ones_like().cumsum(axis);
    let margin = sorted.clone() * ranks - (sorted.clone().cumsum(axis) - 1.0);
    let is_above = margin.greater_elem(0.0);
    let least = sorted.clone().mask_fill(is_above.bool_not(), f32::INFINITY).min_dim(axis);
    // Those that are in the support, in their own order, so that nothing sorted is differentiated.
    let support = x.clone().detach().greater_equal(least.expand(x.dims())).float();
    let count = support.clone().sum_dim(axis);
    let threshold = ((x.clone() * support).sum_dim(axis) - 1.0) / count;
    activation::relu(x - threshold)
}

//! Activations by Keras' names and formulas.

use burn::tensor::Tensor;
use burn::tensor::activation;

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
}

impl Activation {
    const ALL: [(&str, Self); 16] = [
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
    ];

    /// The activation of that name; `swish` is understood too.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "swish" { "silu" } else { name };
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
        matches!(self, Self::Softmax | Self::LogSoftmax)
    }

    /// The activation of every element; the last axis is the one for [`Softmax`](Self::Softmax).
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Linear => x,
            Self::Relu => activation::relu(x),
            // Burn's own passes the gradient at 0, where Keras stops it.
            Self::Relu6 => activation::relu(x).clamp_max(6.0),
            Self::LeakyRelu => activation::leaky_relu(x, 0.2),
            Self::Elu => elu(x),
            Self::Selu => elu_scaled(x, 1.673_263_242_354_377_2) * 1.050_700_987_355_480_5,
            Self::Gelu => activation::gelu(x),
            Self::Silu => activation::silu(x),
            Self::Sigmoid => activation::sigmoid(x),
            Self::HardSigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Tanh => x.tanh(),
            Self::Softplus => activation::softplus(x, 1.0),
            Self::Softsign => activation::softsign(x),
            Self::Exponential => x.exp(),
            Self::Softmax => activation::softmax(x, D.saturating_sub(1)),
            Self::LogSoftmax => activation::log_softmax(x, D.saturating_sub(1)),
        }
    }
}

fn elu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    elu_scaled(x, 1.0)
}

/// `exp` sees only what is below 0: above, it would overflow, and infinity times the mask's 0
/// would be NaN in the gradient.
fn elu_scaled<const D: usize>(x: Tensor<D>, alpha: f64) -> Tensor<D> {
    let below = (x.clone().clamp_max(0.0).exp() - 1.0) * alpha;
    activation::relu(x) + below
}

//! Penalties on weights, by Keras' names and formulas.

use burn::tensor::Tensor;

/// What large weights cost: added to the loss, in training and in validation.
///
/// # Example
/// ```
/// use refrain_burn::layers::Dense;
/// use refrain_burn::{Regularizer, Sequential};
///
/// assert_eq!(Regularizer::from_name("l2"), Some(Regularizer::L2(0.01)));
/// let layer = Dense::new(10).kernel_regularizer(Regularizer::L2(1e-4));
/// let model = Sequential::input(&[4]).layer(layer).build(42)?;
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regularizer {
    /// This times the sum of the absolute values; Keras' default is 0.01.
    L1(f64),
    /// This times the sum of the squares; Keras' default is 0.01.
    L2(f64),
    /// Both; Keras' defaults are 0.
    L1L2 {
        /// For the absolute values.
        l1: f64,
        /// For the squares.
        l2: f64,
    },
}

impl Regularizer {
    /// Keras' names.
    pub const NAMES: &[&str] = &["l1", "l2", "l1_l2"];

    /// The regulariser of that name, with Keras' factors.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "l1" => Some(Self::L1(0.01)),
            "l2" => Some(Self::L2(0.01)),
            "l1_l2" => Some(Self::L1L2 { l1: 0.0, l2: 0.0 }),
            _ => None,
        }
    }

    /// Keras' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1(_) => "l1",
            Self::L2(_) => "l2",
            Self::L1L2 { .. } => "l1_l2",
        }
    }

    /// Factors of the absolute values and of the squares.
    pub fn factors(self) -> [f64; 2] {
        match self {
            Self::L1(l1) => [l1, 0.0],
            Self::L2(l2) => [0.0, l2],
            Self::L1L2 { l1, l2 } => [l1, l2],
        }
    }

    /// What is wrong with its factors.
    pub(crate) fn problem(self) -> Option<String> {
        let is_wrong = |factor: &f64| !(factor.is_finite() && *factor >= 0.0);
        let wrong = self.factors().into_iter().find(is_wrong)?;
        Some(format!("a factor of {} is {wrong}; allowed: a finite number, 0 or more", self.name()))
    }

    /// The penalty of a weight, `[1]`.
    pub fn penalty<const D: usize>(self, weight: Tensor<D>) -> Tensor<1> {
        let absolute = |weight: Tensor<D>, l1| weight.abs().sum() * l1;
        let square = |weight: Tensor<D>, l2| weight.square().sum() * l2;
        match self {
            Self::L1(l1) => absolute(weight, l1),
            Self::L2(l2) => square(weight, l2),
            Self::L1L2 { l1, l2 } => absolute(weight.clone(), l1) + square(weight, l2),
        }
    }
}

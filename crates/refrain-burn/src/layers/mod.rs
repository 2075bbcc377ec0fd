//! The layers of a [`Sequential`](crate::Sequential): what can be asked for, and what it becomes.

mod activation;
mod dense;
mod dropout;
mod flatten;

use burn::tensor::{Device, Tensor};
use refrain_core::{Error, Result};

use crate::activation::Activation as ActivationFunction;
use crate::forward::Pass;

pub use activation::Activation;
pub use dense::Dense;
pub use dropout::Dropout;
pub use flatten::Flatten;

pub(crate) use dense::DenseLayer;

/// A layer as it is asked for; built with the shape of what comes in.
///
/// # Example
/// ```
/// use refrain_burn::layers::{Dense, LayerConfig};
/// use refrain_burn::Activation;
/// let layer = LayerConfig::from(Dense::new(128).activation(Activation::Relu));
/// assert_eq!(layer.type_name(), "dense");
/// ```
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant is the layer of that name")]
pub enum LayerConfig {
    Flatten(Flatten),
    Dense(Dense),
    Dropout(Dropout),
    Activation(Activation),
}

impl LayerConfig {
    /// The types that a recipe may name.
    pub const TYPES: &[&str] = &["flatten", "dense", "dropout", "activation"];

    /// The type as a recipe names it; also the layer's name, if it is given none.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Flatten(_) => "flatten",
            Self::Dense(_) => "dense",
            Self::Dropout(_) => "dropout",
            Self::Activation(_) => "activation",
        }
    }

    /// The activation with which the layer ends, where it has one.
    pub fn activation(&self) -> Option<ActivationFunction> {
        match self {
            Self::Dense(config) => Some(config.activation),
            Self::Activation(config) => Some(config.activation),
            Self::Flatten(_) | Self::Dropout(_) => None,
        }
    }

    /// The name that was given.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Flatten(config) => config.name.as_deref(),
            Self::Dense(config) => config.name.as_deref(),
            Self::Dropout(config) => config.name.as_deref(),
            Self::Activation(config) => config.name.as_deref(),
        }
    }

    /// The layer for inputs of the shape in `place`.
    pub(crate) fn build(&self, place: &Place<'_>) -> Result<Layer> {
        let (kind, output_shape) = match self {
            Self::Flatten(_) => (Kind::Flatten, vec![place.input_elements()]),
            Self::Dense(config) => (Kind::Dense(config.build(place)?), vec![config.units]),
            Self::Dropout(config) => {
                (Kind::Dropout(config.build(place)?), place.input_shape.to_vec())
            }
            Self::Activation(config) => {
                (Kind::Activation(config.activation), place.input_shape.to_vec())
            }
        };
        Ok(Layer { name: place.name.clone(), kind, output_shape })
    }
}

/// Where a layer stands: what its building may depend on.
pub(crate) struct Place<'a> {
    pub name: String,
    pub index: u64,
    pub input_shape: &'a [usize],
    pub seed: u64,
    pub device: &'a Device,
}

impl Place<'_> {
    pub(crate) fn input_elements(&self) -> usize {
        self.input_shape.iter().product()
    }

    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::config(format!("layer `{}`: {message}", self.name))
    }
}

/// A layer that was built.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub name: String,
    pub kind: Kind,
    /// Of one sample.
    pub output_shape: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Flatten,
    Dense(DenseLayer),
    Dropout(dropout::DropoutLayer),
    Activation(ActivationFunction),
}

impl Layer {
    /// Name of the layer's type, as Keras' summary has it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Flatten => "Flatten",
            Kind::Dense(_) => "Dense",
            Kind::Dropout(_) => "Dropout",
            Kind::Activation(_) => "Activation",
        }
    }

    /// The activation that the layer ends with.
    pub(crate) fn closing_activation(&self) -> ActivationFunction {
        match &self.kind {
            Kind::Dense(dense) => dense.activation,
            Kind::Activation(activation) => *activation,
            Kind::Flatten | Kind::Dropout(_) => ActivationFunction::Linear,
        }
    }

    /// Rows in, rows out: `[samples, elements of a sample]`.
    pub(crate) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        match &self.kind {
            // Rows are flat already.
            Kind::Flatten => x,
            Kind::Dense(dense) => dense.forward(x, pass),
            Kind::Dropout(dropout) => dropout.forward(x, pass),
            Kind::Activation(_) if pass.logits => x,
            Kind::Activation(activation) => activation::forward(*activation, x, &self.output_shape),
        }
    }
}

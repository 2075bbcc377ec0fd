//! An activation as a layer of its own.

use burn::tensor::Tensor;

use crate::activation::Activation as Function;

/// An [activation](crate::Activation) between layers.
#[derive(Clone, Debug)]
pub struct Activation {
    pub(super) name: Option<String>,
    pub(super) activation: Function,
}

impl Activation {
    /// The layer.
    pub fn new(activation: Function) -> Self {
        Self { name: None, activation }
    }

    /// Gives the layer a name. Default: `activation`, `activation_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// The activation of rows that stand for samples of `sample_shape`.
pub(super) fn forward(activation: Function, x: Tensor<2>, sample_shape: &[usize]) -> Tensor<2> {
    let [samples, elements] = x.dims();
    match sample_shape {
        // Along the last axis of a sample, which is not the row.
        [.., last] if activation.is_along_axis() && *last != elements => {
            let lines = samples * elements / last;
            activation.forward(x.reshape([lines, *last])).reshape([samples, elements])
        }
        _ => activation.forward(x),
    }
}

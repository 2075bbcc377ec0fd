//! An activation as a layer of its own.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;
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

    pub(super) fn output_shape(&self, place: &Place<'_>) -> Result<Vec<usize>> {
        let mut shape = place.input_shape.to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.activation.output_length(*last).ok_or_else(|| {
                place.error(format!(
                    "glu halves the last axis, and that of its input of shape {:?} is odd",
                    place.input_shape
                ))
            })?;
        }
        Ok(shape)
    }
}

/// The activation of rows that become samples of `output_shape`.
pub(super) fn forward(activation: Function, x: Tensor<2>, output_shape: &[usize]) -> Tensor<2> {
    let [samples, elements] = x.dims();
    match output_shape {
        // Along the last axis of a sample, which is not the row.
        [others @ .., _] if activation.is_along_axis() && !others.is_empty() => {
            let lines = samples * others.iter().product::<usize>();
            let width = samples * elements / lines.max(1);
            let outputs = output_shape.iter().product();
            activation.forward(x.reshape([lines, width])).reshape([samples, outputs])
        }
        _ => activation.forward(x),
    }
}

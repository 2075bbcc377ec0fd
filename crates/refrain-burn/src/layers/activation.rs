//! An activation as a layer of its own.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;
use super::conv2d::by_channel;
use crate::activation::Activation as Function;

/// An [activation](crate::Activation) between layers. One that looks at a whole axis, such as a softmax,
/// takes the channels of an image `[channels, height, width]`, as a convolution's own does and as Keras
/// does where channels come last; the last axis of anything else.
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
        let (axis, name) = match shape.as_mut_slice() {
            [channels, _, _] => (channels, "channels of an image"),
            [.., last] => (last, "last axis"),
            [] => return Ok(shape),
        };
        *axis = self.activation.output_length(*axis).ok_or_else(|| {
            place.error(format!(
                "glu halves the {name}, and its input of shape {:?} has {axis}, which is odd",
                place.input_shape
            ))
        })?;
        Ok(shape)
    }
}

/// The activation of rows that become samples of `output_shape`.
pub(super) fn forward(activation: Function, x: Tensor<2>, output_shape: &[usize]) -> Tensor<2> {
    let [samples, elements] = x.dims();
    match output_shape {
        [_, height, width] => by_channel(activation, x, [*height, *width]),
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

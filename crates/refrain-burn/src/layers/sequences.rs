//! Sequences as images of one line, for what works on images.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;
use super::recurrent::sequence;
use super::windows::{Asked, Windows};

/// `[samples, steps × features]` to `[samples, features × steps]`: the features are the channels.
pub(super) fn to_image(x: Tensor<2>, [steps, features]: [usize; 2]) -> Tensor<2> {
    let [samples, elements] = x.dims();
    if steps == 1 || features == 1 {
        return x;
    }
    x.reshape([samples, steps, features]).swap_dims(1, 2).reshape([samples, elements])
}

/// The reverse of [`to_image`].
pub(super) fn from_image(x: Tensor<2>, [steps, features]: [usize; 2]) -> Tensor<2> {
    to_image(x, [features, steps])
}

impl Asked {
    /// The windows on the sequences that come into `place`, as on images of height 1. `self` has a
    /// height of 1 everywhere.
    pub(super) fn on_sequences(self, place: &Place<'_>) -> Result<Windows> {
        let [steps, features] = sequence(place)?;
        self.on_shape([features, 1, steps], place)
    }
}

/// What comes out of `windows` for so many features: the shape, and its check.
pub(super) fn output_shape(
    windows: &Windows,
    features: usize,
    place: &Place<'_>,
) -> Result<[usize; 2]> {
    let shape = [windows.output[1], features];
    place.check_elements(&shape)?;
    Ok(shape)
}

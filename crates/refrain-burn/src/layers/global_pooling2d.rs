//! The largest or the mean of each channel of an image.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;
use super::windows::image;

macro_rules! global_pooling {
    ($(#[$docs:meta])* $name:ident, $default:literal) => {
        $(#[$docs])*
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            pub(super) name: Option<String>,
        }

        impl $name {
            /// The layer.
            pub fn new() -> Self {
                Self::default()
            }

            #[doc = concat!("Gives the layer a name. Default: `", $default, "`, `", $default, "_1`, ...")]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.name = Some(name.into());
                self
            }

            /// The number of channels.
            pub(super) fn build(&self, place: &Place<'_>) -> Result<usize> {
                let [channels, ..] = image(place)?;
                Ok(channels)
            }
        }
    };
}

global_pooling! {
    /// The mean of each channel: `[channels, height, width]` to `[channels]`.
    GlobalAveragePooling2d, "global_average_pooling2d"
}

global_pooling! {
    /// The largest of each channel: `[channels, height, width]` to `[channels]`.
    GlobalMaxPooling2d, "global_max_pooling2d"
}

pub(super) fn average(x: Tensor<2>, channels: usize) -> Tensor<2> {
    by_channel(x, channels).mean_dim(2).squeeze_dim(2)
}

pub(super) fn max(x: Tensor<2>, channels: usize) -> Tensor<2> {
    by_channel(x, channels).max_dim(2).squeeze_dim(2)
}

fn by_channel(x: Tensor<2>, channels: usize) -> Tensor<3> {
    let [samples, elements] = x.dims();
    x.reshape([samples, channels, elements / channels])
}

//! The largest or the mean of each window of an image.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;
use super::windows::{Asked, HeightWidth, Padding, Windows};
use crate::kernels;

/// The options that both poolings have.
macro_rules! pooling {
    ($(#[$docs:meta])* $name:ident, $default:literal) => {
        $(#[$docs])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pub(super) name: Option<String>,
            pool_size: HeightWidth,
            strides: Option<HeightWidth>,
            padding: Padding,
        }

        impl $name {
            /// Windows `pool_size` high and wide, 1 or more; Keras' default is 2.
            pub fn new(pool_size: impl Into<HeightWidth>) -> Self {
                Self {
                    name: None,
                    pool_size: pool_size.into(),
                    strides: None,
                    padding: Padding::Valid,
                }
            }

            #[doc = concat!("Gives the layer a name. Default: `", $default, "`, `", $default, "_1`, ...")]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.name = Some(name.into());
                self
            }

            /// How far a window is from the next; 1 or more. Default: `pool_size`.
            pub fn strides(mut self, strides: impl Into<HeightWidth>) -> Self {
                self.strides = Some(strides.into());
                self
            }

            /// What is done at the edges. Default: [`Padding::Valid`].
            pub fn padding(mut self, padding: Padding) -> Self {
                self.padding = padding;
                self
            }

            pub(super) fn build(&self, place: &Place<'_>) -> Result<(Windows, Vec<usize>)> {
                let windows = Asked {
                    option: "pool_size",
                    size: clip(self.pool_size, self.padding, place),
                    strides: self.strides.unwrap_or(self.pool_size),
                    dilation: 1.into(),
                    padding: self.padding,
                }
                .on(place)?;
                let output_shape = windows.output_shape(windows.channels, place)?;
                Ok((windows, output_shape))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(2)
            }
        }
    };
}

pooling! {
    /// The largest input of each window. Padding is never the largest.
    MaxPooling2d, "max_pooling2d"
}

pooling! {
    /// The mean of each window. Padding does not count.
    AveragePooling2d, "average_pooling2d"
}

/// A window that sees the whole image wherever it lies is as good as any larger one, which would be
/// padded for nothing.
pub(super) fn clip(size: HeightWidth, padding: Padding, place: &Place<'_>) -> HeightWidth {
    let axes = match *place.input_shape {
        [_, height, width] => Some([height, width]),
        [steps, _] => Some([1, steps]),
        _ => None,
    };
    match (padding, axes) {
        (Padding::Same, Some([height, width])) => {
            let most = |length: usize| length.saturating_mul(2).saturating_add(1);
            HeightWidth([size.0[0].min(most(height)), size.0[1].min(most(width))])
        }
        _ => size,
    }
}

pub(super) fn max(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    kernels::max_pool2d(x, windows)
}

pub(super) fn average(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    kernels::average_pool2d(x, windows)
}

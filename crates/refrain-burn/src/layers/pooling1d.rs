//! The largest or the mean of each window of a sequence.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;
use super::pooling2d;
use super::sequences::{self, from_image, to_image};
use super::windows::{Asked, Padding, Windows};

macro_rules! pooling {
    ($(#[$docs:meta])* $name:ident, $default:literal) => {
        $(#[$docs])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pub(super) name: Option<String>,
            pool_size: usize,
            strides: Option<usize>,
            padding: Padding,
        }

        impl $name {
            /// Windows of `pool_size` steps; 1 or more. Keras' default is 2.
            pub fn new(pool_size: usize) -> Self {
                Self { name: None, pool_size, strides: None, padding: Padding::Valid }
            }

            #[doc = concat!("Gives the layer a name. Default: `", $default, "`, `", $default, "_1`, ...")]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.name = Some(name.into());
                self
            }

            /// How far apart the windows lie; 1 or more. Default: `pool_size`.
            pub fn strides(mut self, strides: usize) -> Self {
                self.strides = Some(strides);
                self
            }

            /// What is done at the ends. Default: [`Padding::Valid`].
            pub fn padding(mut self, padding: Padding) -> Self {
                self.padding = padding;
                self
            }

            pub(super) fn build(&self, place: &Place<'_>) -> Result<(Windows, Vec<usize>)> {
                let strides = [1, self.strides.unwrap_or(self.pool_size)].into();
                let padding = self.padding.without_causal("pooling", place)?;
                let size = pooling2d::clip([1, self.pool_size].into(), padding, place);
                let asked =
                    Asked { option: "pool_size", size, strides, dilation: 1.into(), padding };
                let windows = asked.on_sequences(place)?;
                let output_shape = sequences::output_shape(&windows, windows.channels, place)?;
                Ok((windows, output_shape.to_vec()))
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
    /// The largest of each window of a sequence, feature by feature.
    ///
    /// Input: `[steps, features]`; output: `[steps, features]`, of fewer steps. Defaults as Keras':
    /// windows of 2 that touch, padding `valid`.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::Sequential;
    /// use refrain_burn::layers::MaxPooling1d;
    ///
    /// let model = Sequential::input(&[10, 4]).layer(MaxPooling1d::new(2)).build(42)?;
    /// assert_eq!(model.output_shape(), [5, 4]);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    MaxPooling1d, "max_pooling1d"
}

pooling! {
    /// The mean of each window of a sequence, feature by feature; padding is no part of it.
    ///
    /// Input: `[steps, features]`; output: `[steps, features]`, of fewer steps. Defaults as Keras':
    /// windows of 2 that touch, padding `valid`.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::Sequential;
    /// use refrain_burn::layers::AveragePooling1d;
    ///
    /// let model = Sequential::input(&[10, 4]).layer(AveragePooling1d::new(3)).build(42)?;
    /// assert_eq!(model.output_shape(), [3, 4]);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    AveragePooling1d, "average_pooling1d"
}

pub(super) fn max(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    over(x, windows, pooling2d::max)
}

pub(super) fn average(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    over(x, windows, pooling2d::average)
}

fn over(
    x: Tensor<2>,
    windows: &Windows,
    pool: impl FnOnce(Tensor<2>, &Windows) -> Tensor<2>,
) -> Tensor<2> {
    let Windows { channels, input, output, .. } = *windows;
    from_image(pool(to_image(x, [input[1], channels]), windows), [output[1], channels])
}

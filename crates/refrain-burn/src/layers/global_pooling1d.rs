//! The largest or the mean of each feature of a sequence.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;
use super::recurrent::sequence;

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

            /// Features of a step.
            pub(super) fn build(&self, place: &Place<'_>) -> Result<usize> {
                let [_, features] = sequence(place)?;
                Ok(features)
            }
        }
    };
}

global_pooling! {
    /// The mean of each feature over all steps.
    ///
    /// Input: `[steps, features]`; output: `[features]`.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::Sequential;
    /// use refrain_burn::layers::GlobalAveragePooling1d;
    ///
    /// let model = Sequential::input(&[10, 4]).layer(GlobalAveragePooling1d::new()).build(42)?;
    /// assert_eq!(model.output_shape(), [4]);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    GlobalAveragePooling1d, "global_average_pooling1d"
}

global_pooling! {
    /// The largest of each feature over all steps.
    ///
    /// Input: `[steps, features]`; output: `[features]`.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::Sequential;
    /// use refrain_burn::layers::GlobalMaxPooling1d;
    ///
    /// let model = Sequential::input(&[10, 4]).layer(GlobalMaxPooling1d::new()).build(42)?;
    /// assert_eq!(model.output_shape(), [4]);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    GlobalMaxPooling1d, "global_max_pooling1d"
}

pub(super) fn average(x: Tensor<2>, features: usize) -> Tensor<2> {
    by_step(x, features).mean_dim(1).squeeze_dim(1)
}

pub(super) fn max(x: Tensor<2>, features: usize) -> Tensor<2> {
    by_step(x, features).max_dim(1).squeeze_dim(1)
}

fn by_step(x: Tensor<2>, features: usize) -> Tensor<3> {
    let [samples, elements] = x.dims();
    x.reshape([samples, elements / features, features])
}

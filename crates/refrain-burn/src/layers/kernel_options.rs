//! What layers have in common that multiply by a kernel and add a bias.

use burn::module::Param;
use burn::tensor::Tensor;

use super::Place;
use crate::initializer::{Initializer, Stream};

/// How kernel and bias begin.
#[derive(Clone, Debug)]
pub(super) struct KernelOptions {
    pub(super) use_bias: bool,
    pub(super) kernel_initializer: Initializer,
    pub(super) bias_initializer: Initializer,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self {
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }
}

/// The options of a layer that has [`KernelOptions`] as `options`, and `rules`.
macro_rules! kernel_options {
    () => {
        /// Whether a bias is added. Default true.
        pub fn use_bias(mut self, use_bias: bool) -> Self {
            self.options.use_bias = use_bias;
            self
        }

        /// How the kernel begins. Default `glorot_uniform`.
        pub fn kernel_initializer(mut self, initializer: crate::initializer::Initializer) -> Self {
            self.options.kernel_initializer = initializer;
            self
        }

        /// How the bias begins. Default `zeros`.
        pub fn bias_initializer(mut self, initializer: crate::initializer::Initializer) -> Self {
            self.options.bias_initializer = initializer;
            self
        }

        super::rules::rules! {
            "kernel", kernel_regularizer, kernel_constraint;
            "bias", bias_regularizer, bias_constraint;
        }
    };
}

pub(super) use kernel_options;

impl KernelOptions {
    /// A bias of so many outputs, where one is wanted.
    pub(super) fn bias<const D: usize>(
        &self,
        shape: [usize; D],
        rng: &mut Stream,
        place: &Place<'_>,
    ) -> Option<Param<Tensor<D>>> {
        self.use_bias.then(|| {
            let bias = self.bias_initializer.fill([shape.iter().product(), 1], rng);
            place.weight(bias, shape)
        })
    }
}

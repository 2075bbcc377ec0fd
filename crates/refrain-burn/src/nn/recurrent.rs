//! Layers that read a sequence step by step.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::activation::Activation;
use crate::initializer::{Initializer, Seed, stream};
use crate::kernels::{self, Cell, Recurrence};

/// An [`Lstm`], [`Gru`] or [`SimpleRnn`] to be, with Keras' activations (`tanh`, `sigmoid` for gates) and
/// initial weights.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::nn::RecurrentConfig;
///
/// let device = Device::default();
/// let gru = RecurrentConfig::new(28, 64).init_gru(42, &device);
/// assert_eq!(gru.forward(Tensor::zeros([2, 10, 28], &device)).dims(), [2, 10, 64]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RecurrentConfig {
    features: usize,
    units: usize,
    kernel_initializer: Initializer,
    recurrent_initializer: Initializer,
}

impl RecurrentConfig {
    /// Steps of `features` to steps of `units`. Defaults: kernel `glorot_uniform`, recurrent kernel
    /// `orthogonal`; the bias begins as zeros, that of an LSTM's forget gate as ones.
    pub fn new(features: usize, units: usize) -> Self {
        Self {
            features,
            units,
            kernel_initializer: Initializer::GlorotUniform,
            recurrent_initializer: Initializer::Orthogonal,
        }
    }

    /// How the kernel begins.
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Self {
        self.kernel_initializer = initializer;
        self
    }

    /// How the recurrent kernel begins.
    pub fn recurrent_initializer(mut self, initializer: Initializer) -> Self {
        self.recurrent_initializer = initializer;
        self
    }

    /// Long short-term memory, with initial weights that are a function of `seed`.
    pub fn init_lstm(&self, seed: u64, device: &Device) -> Lstm {
        let mut bias = vec![0.0; 4 * self.units];
        bias[self.units..2 * self.units].fill(1.0);
        let (kernel, recurrent_kernel) = self.kernels(4, seed, device);
        Lstm { kernel, recurrent_kernel, bias: weight(bias, [4 * self.units], device) }
    }

    /// Gated recurrent units, with initial weights that are a function of `seed`. The reset gate is applied
    /// behind the recurrent product, as by default in Keras.
    pub fn init_gru(&self, seed: u64, device: &Device) -> Gru {
        let bias = vec![0.0; 6 * self.units];
        let (kernel, recurrent_kernel) = self.kernels(3, seed, device);
        Gru { kernel, recurrent_kernel, bias: weight(bias, [2, 3 * self.units], device) }
    }

    /// A plain recurrent layer, with initial weights that are a function of `seed`.
    pub fn init_simple_rnn(&self, seed: u64, device: &Device) -> SimpleRnn {
        let bias = vec![0.0; self.units];
        let (kernel, recurrent_kernel) = self.kernels(1, seed, device);
        SimpleRnn { kernel, recurrent_kernel, bias: weight(bias, [self.units], device) }
    }

    fn kernels(
        &self,
        gates: usize,
        seed: u64,
        device: &Device,
    ) -> (Param<Tensor<2>>, Param<Tensor<2>>) {
        let Self { features, units, .. } = *self;
        let width = gates * units;
        let mut rng = stream(Seed::Of(seed), 0);
        let kernel = self.kernel_initializer.fill([features, width], &mut rng);
        let recurrent = self.recurrent_initializer.fill([units, width], &mut rng);
        (weight(kernel, [features, width], device), weight(recurrent, [units, width], device))
    }
}

fn weight<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Param<Tensor<D>> {
    Param::from_data(TensorData::new(values, shape), device)
}

macro_rules! recurrent {
    ($(#[$docs:meta])* $name:ident, $bias:literal, $bias_shape:literal, $gates:literal, $cell:expr) => {
        $(#[$docs])*
        #[derive(Module, Debug)]
        pub struct $name {
            #[doc = concat!("`[features, ", $gates, "units]`.")]
            pub kernel: Param<Tensor<2>>,
            #[doc = concat!("`[units, ", $gates, "units]`.")]
            pub recurrent_kernel: Param<Tensor<2>>,
            #[doc = $bias_shape]
            pub bias: Param<Tensor<$bias>>,
        }

        impl $name {
            /// `[samples, steps, features]` to the outputs of all steps, `[samples, steps, units]`.
            ///
            /// # Panics
            /// When the features are not those of the kernel.
            pub fn forward(&self, sequences: Tensor<3>) -> Tensor<3> {
                let [samples, steps, features] = sequences.dims();
                let kernel = self.kernel.val();
                let [_, width] = kernel.dims();
                let biases = self.bias.val().reshape([-1, width as i64]);
                let recurrent = self.recurrent_kernel.val();
                let [units, _] = recurrent.dims();
                let rows = sequences.reshape([samples * steps, features]);
                let recurrence = Recurrence {
                    cell: $cell,
                    steps,
                    activation: Activation::Tanh,
                    recurrent_activation: Activation::Sigmoid,
                };
                kernels::recurrence(rows, kernel, recurrent, Some(biases), &recurrence)
                    .reshape([samples, steps, units])
            }
        }
    };
}

recurrent! {
    /// Long short-term memory as a Burn module, made by [`RecurrentConfig::init_lstm`]. The gates' order is
    /// input, forget, candidate, output.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::{Device, Tensor};
    /// use refrain_burn::nn::RecurrentConfig;
    ///
    /// let device = Device::default();
    /// let lstm = RecurrentConfig::new(28, 64).init_lstm(42, &device);
    /// let outputs = lstm.forward(Tensor::zeros([2, 10, 28], &device));
    /// let last = outputs.narrow(1, 9, 1);
    /// assert_eq!(last.dims(), [2, 1, 64]);
    /// ```
    Lstm, 1, "`[4 × units]`.", "4 × ", Cell::Lstm
}

recurrent! {
    /// Gated recurrent units as a Burn module, made by [`RecurrentConfig::init_gru`]. The gates' order is
    /// update, reset, candidate.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::{Device, Tensor};
    /// use refrain_burn::nn::RecurrentConfig;
    ///
    /// let device = Device::default();
    /// let gru = RecurrentConfig::new(3, 8).init_gru(42, &device);
    /// assert_eq!(gru.forward(Tensor::zeros([2, 5, 3], &device)).dims(), [2, 5, 8]);
    /// ```
    Gru, 2, "`[2, 3 × units]`: for the input, and for the recurrent product.", "3 × ",
    Cell::Gru { reset_after: true }
}

recurrent! {
    /// A fully connected layer over the input and its own last output as a Burn module, made by
    /// [`RecurrentConfig::init_simple_rnn`].
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::{Device, Tensor};
    /// use refrain_burn::nn::RecurrentConfig;
    ///
    /// let device = Device::default();
    /// let rnn = RecurrentConfig::new(3, 8).init_simple_rnn(42, &device);
    /// assert_eq!(rnn.forward(Tensor::zeros([2, 5, 3], &device)).dims(), [2, 5, 8]);
    /// ```
    SimpleRnn, 1, "`[units]`.", "", Cell::Simple
}

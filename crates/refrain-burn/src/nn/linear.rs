//! The fully connected layer.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::initializer::{Initializer, Seed, stream};
use crate::kernels;

/// `x × weight + bias` along the last axis, and with `relu` the larger of that and 0, in one pass.
///
/// Shapes: `x` `[.., inputs]`, `weight` `[inputs, units]`, `bias` `[units]`; the output is
/// `[.., units]`.
///
/// # Panics
/// When shapes do not fit each other.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::nn;
///
/// let device = Device::default();
/// let x = Tensor::<3>::ones([2, 5, 3], &device);
/// let output = nn::linear(x, Tensor::ones([3, 4], &device), None, true);
/// assert_eq!(output.dims(), [2, 5, 4]);
/// ```
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    relu: bool,
) -> Tensor<D> {
    let mut shape = x.dims();
    let [inputs, units] = weight.dims();
    assert!(
        shape.last() == Some(&inputs) && bias.as_ref().is_none_or(|bias| bias.dims() == [units]),
        "linear: an input of shape {shape:?}, a weight of shape {:?} and a bias of shape {:?} do not fit \
         each other",
        weight.dims(),
        bias.as_ref().map(Tensor::dims)
    );
    let rows = shape.iter().rev().skip(1).product();
    let output = kernels::dense(x.reshape([rows, inputs]), weight, bias, relu);
    if let Some(last) = shape.last_mut() {
        *last = units;
    }
    output.reshape(shape)
}

/// A [`Linear`] to be.
#[derive(Clone, Copy, Debug)]
pub struct LinearConfig {
    inputs: usize,
    units: usize,
    relu: bool,
    use_bias: bool,
    kernel_initializer: Initializer,
}

impl LinearConfig {
    /// From `inputs` to `units`. Defaults: no `relu`, with a bias of zeros, kernel `glorot_uniform`.
    pub fn new(inputs: usize, units: usize) -> Self {
        let kernel_initializer = Initializer::GlorotUniform;
        Self { inputs, units, relu: false, use_bias: true, kernel_initializer }
    }

    /// Whether `max(x, 0)` is taken of the output.
    pub fn relu(mut self, relu: bool) -> Self {
        self.relu = relu;
        self
    }

    /// Whether a bias is added.
    pub fn use_bias(mut self, use_bias: bool) -> Self {
        self.use_bias = use_bias;
        self
    }

    /// How the kernel begins.
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Self {
        self.kernel_initializer = initializer;
        self
    }

    /// The module, with initial weights that are a function of `seed`: give each module of a network its
    /// own.
    pub fn init(&self, seed: u64, device: &Device) -> Linear {
        let Self { inputs, units, relu, .. } = *self;
        let kernel = self.kernel_initializer.fill([inputs, units], &mut stream(Seed::Of(seed), 0));
        let data = TensorData::new(kernel, [inputs, units]);
        let bias = || Param::from_data(TensorData::new(vec![0.0_f32; units], [units]), device);
        Linear { weight: Param::from_data(data, device), bias: self.use_bias.then(bias), relu }
    }
}

/// A fully connected layer as a Burn module, made by [`LinearConfig`]. Burn's own of that name has the
/// same weights.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::nn::LinearConfig;
///
/// let device = Device::default();
/// let hidden = LinearConfig::new(784, 128).relu(true).init(42, &device);
/// assert_eq!(hidden.forward(Tensor::<2>::zeros([2, 784], &device)).dims(), [2, 128]);
/// ```
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, units]`.
    pub weight: Param<Tensor<2>>,
    /// `[units]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Whether `max(x, 0)` is taken of the output.
    #[module(skip)]
    pub relu: bool,
}

impl Linear {
    /// `[.., inputs]` to `[.., units]`.
    ///
    /// # Panics
    /// As [`linear`].
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.relu)
    }
}

//! Convolution and pooling of images.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::initializer::{Initializer, Seed, stream};
use crate::kernels;
use crate::layers::Windows;

/// How [`conv2d`] slides its kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// How far a kernel moves from one output to the next, along height and width; 1 or more.
    pub strides: [usize; 2],
    /// Zeros at both ends of the height, and of the width.
    pub padding: [usize; 2],
    /// How far apart the inputs lie that a kernel sees; 1 or more.
    pub dilation: [usize; 2],
    /// A group's filters see its channels alone; divides both.
    pub groups: usize,
    /// Whether `max(x, 0)` is taken of the output, in the same pass.
    pub relu: bool,
}

impl Default for Conv2dOptions {
    /// Strides, dilation and groups 1, no padding, no `relu`.
    fn default() -> Self {
        Self { strides: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1, relu: false }
    }
}

/// The convolution of images `[samples, channels, height, width]` with `weight`
/// `[filters, channels / groups, height, width]` and `bias` `[filters]`.
///
/// # Panics
/// When shapes or options do not fit each other.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::nn;
///
/// let device = Device::default();
/// let images = Tensor::ones([2, 1, 8, 8], &device);
/// let weight = Tensor::ones([4, 1, 3, 3], &device);
/// let output = nn::conv2d(images, weight, None, nn::Conv2dOptions::default());
/// assert_eq!(output.dims(), [2, 4, 6, 6]);
/// ```
pub fn conv2d(
    images: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let Conv2dOptions { strides, padding, dilation, groups, relu } = options;
    let [filters, inputs, height, width] = weight.dims();
    let channels = images.dims()[1];
    assert!(
        groups > 0
            && channels == inputs * groups
            && filters % groups == 0
            && bias.as_ref().is_none_or(|bias| bias.dims() == [filters]),
        "conv2d: images of shape {:?}, a weight of shape {:?}, a bias of shape {:?} and {groups} groups \
         do not fit each other",
        images.dims(),
        weight.dims(),
        bias.as_ref().map(Tensor::dims)
    );
    let (rows, windows) = windows(images, [height, width], strides, padding, dilation);
    let conv = kernels::Conv2d { windows, filters, groups, relu, pool: None };
    unrows(kernels::conv2d(rows, weight, bias, &conv), filters, windows.output)
}

/// The largest of each window of `size`, height and width, that touch; what is left at the ends is left
/// out.
///
/// # Panics
/// When a window is larger than the images, or has no size.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::nn;
///
/// let images = Tensor::ones([2, 3, 9, 8], &Device::default());
/// assert_eq!(nn::max_pool2d(images, [2, 2]).dims(), [2, 3, 4, 4]);
/// ```
pub fn max_pool2d(images: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let channels = images.dims()[1];
    let (rows, windows) = windows(images, size, size, [0; 2], [1; 2]);
    unrows(kernels::max_pool2d(rows, &windows), channels, windows.output)
}

/// Images as rows, and the windows on them.
fn windows(
    images: Tensor<4>,
    size: [usize; 2],
    strides: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
) -> (Tensor<2>, Windows) {
    let [samples, channels, height, width] = images.dims();
    let input = [height, width];
    let output = [0, 1].map(|axis| {
        let covered = size[axis].checked_sub(1).and_then(|n| n.checked_mul(dilation[axis]));
        let padded = padding[axis].checked_mul(2).and_then(|both| both.checked_add(input[axis]));
        let moves = covered
            .zip(padded)
            .and_then(|(covered, padded)| padded.checked_sub(1)?.checked_sub(covered));
        match moves {
            Some(moves) if strides[axis] > 0 && dilation[axis] > 0 => moves / strides[axis] + 1,
            _ => panic!(
                "windows of {size:?} with strides {strides:?}, padding {padding:?} and dilation \
                 {dilation:?} do not fit images of {input:?}"
            ),
        }
    });
    let padding = padding.map(|both| (both, both));
    let windows = Windows { channels, input, output, size, strides, dilation, padding };
    (images.reshape([samples, channels * height * width]), windows)
}

fn unrows(rows: Tensor<2>, channels: usize, [height, width]: [usize; 2]) -> Tensor<4> {
    let samples = rows.dims()[0];
    rows.reshape([samples, channels, height, width])
}

/// A [`Conv2d`] to be.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dConfig {
    channels: usize,
    filters: usize,
    size: [usize; 2],
    options: Conv2dOptions,
    use_bias: bool,
    kernel_initializer: Initializer,
}

impl Conv2dConfig {
    /// Images of `channels` to `filters`, with kernels of one height and width. Defaults: strides 1, no
    /// padding, one group, no `relu`, with a bias of zeros, kernel `glorot_uniform`.
    pub fn new(channels: usize, filters: usize, kernel_size: usize) -> Self {
        Self {
            channels,
            filters,
            size: [kernel_size; 2],
            options: Conv2dOptions::default(),
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
        }
    }

    /// Height and width of the kernels.
    pub fn kernel_size(mut self, kernel_size: [usize; 2]) -> Self {
        self.size = kernel_size;
        self
    }

    /// How far a kernel moves from one output to the next.
    pub fn strides(mut self, strides: [usize; 2]) -> Self {
        self.options.strides = strides;
        self
    }

    /// Zeros at both ends of height and width.
    pub fn padding(mut self, padding: [usize; 2]) -> Self {
        self.options.padding = padding;
        self
    }

    /// How far apart the inputs lie that a kernel sees.
    pub fn dilation(mut self, dilation: [usize; 2]) -> Self {
        self.options.dilation = dilation;
        self
    }

    /// Into how many groups channels and filters are split.
    pub fn groups(mut self, groups: usize) -> Self {
        self.options.groups = groups;
        self
    }

    /// Whether `max(x, 0)` is taken of the output.
    pub fn relu(mut self, relu: bool) -> Self {
        self.options.relu = relu;
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
    pub fn init(&self, seed: u64, device: &Device) -> Conv2d {
        let Self { filters, size: [height, width], options, .. } = *self;
        let channels = self.channels / options.groups.max(1);
        let area = height * width;
        let inputs = channels * area;
        let kernel =
            self.kernel_initializer.filters(inputs, filters, area, &mut stream(Seed::Of(seed), 0));
        let data = TensorData::new(kernel, [filters, channels, height, width]);
        let bias = || Param::from_data(TensorData::new(vec![0.0_f32; filters], [filters]), device);
        Conv2d { weight: Param::from_data(data, device), bias: self.use_bias.then(bias), options }
    }
}

/// A convolution of images as a Burn module, made by [`Conv2dConfig`].
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::nn::Conv2dConfig;
///
/// let device = Device::default();
/// let conv = Conv2dConfig::new(3, 16, 3).strides([2, 2]).init(42, &device);
/// assert_eq!(conv.forward(Tensor::zeros([2, 3, 9, 9], &device)).dims(), [2, 16, 4, 4]);
/// ```
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[filters, channels / groups, height, width]`.
    pub weight: Param<Tensor<4>>,
    /// `[filters]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// How the kernels slide.
    #[module(skip)]
    pub options: Conv2dOptions,
}

impl Conv2d {
    /// `[samples, channels, height, width]` to `[samples, filters, height, width]`.
    ///
    /// # Panics
    /// As [`conv2d`].
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv2d(images, self.weight.val(), bias, self.options)
    }
}

//! Convolution of each channel for itself.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::conv2d::{Conv2d, Convolution};
use super::rules::{Rules, activity, rules};
use super::windows::{HeightWidth, Padding, Windows};
use super::{MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::forward::Pass;
use crate::initializer::{Initializer, stream};

/// Slides kernels over each channel of images for itself.
///
/// Input: `[channels, height, width]`; output: `[channels × depth_multiplier, height, width]`, of which
/// the first `depth_multiplier` are of the first channel. Weights: `kernel`
/// `[height, width, channels, depth_multiplier]`, `bias` `[channels × depth_multiplier]`.
///
/// Defaults as Keras': strides 1, padding `valid`, dilation 1, one kernel for each channel, no
/// activation, with bias, kernel `glorot_uniform`, bias `zeros`.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Conv2d, DepthwiseConv2d};
///
/// let model = Sequential::input(&[1, 28, 28])
///     .layer(Conv2d::new(8, 3))
///     .layer(DepthwiseConv2d::new(3).depth_multiplier(2))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [16, 24, 24]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DepthwiseConv2d {
    pub(super) name: Option<String>,
    depth_multiplier: usize,
    depthwise_initializer: Initializer,
    /// But for the number of filters and their initialiser.
    conv: Conv2d,
    pub(super) activation: Activation,
    pub(super) rules: Rules,
}

impl DepthwiseConv2d {
    /// Kernels of `kernel_size`, high and wide; 1 or more.
    pub fn new(kernel_size: impl Into<HeightWidth>) -> Self {
        let conv = Conv2d::new(1, kernel_size);
        Self {
            name: None,
            depth_multiplier: 1,
            depthwise_initializer: Initializer::GlorotUniform,
            conv,
            activation: Activation::Linear,
            rules: Rules::default(),
        }
    }

    /// Gives the layer a name. Default: `depthwise_conv2d`, `depthwise_conv2d_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many kernels there are for each channel; 1 or more. Default 1.
    pub fn depth_multiplier(mut self, depth_multiplier: usize) -> Self {
        self.depth_multiplier = depth_multiplier;
        self
    }

    /// How far a kernel moves from one output to the next; 1 or more. Default 1.
    pub fn strides(mut self, strides: impl Into<HeightWidth>) -> Self {
        self.conv = self.conv.strides(strides);
        self
    }

    /// What is done at the edges. Default: [`Padding::Valid`].
    pub fn padding(mut self, padding: Padding) -> Self {
        self.conv = self.conv.padding(padding);
        self
    }

    /// How far apart the inputs lie that a kernel sees; 1 or more. Default 1. Not together with
    /// strides, as in Keras.
    pub fn dilation_rate(mut self, dilation_rate: impl Into<HeightWidth>) -> Self {
        self.conv = self.conv.dilation_rate(dilation_rate);
        self
    }

    /// What is done to each output; a softmax is taken over the channels at each position. Default:
    /// nothing.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.conv = self.conv.activation(activation);
        self.activation = activation;
        self
    }

    /// Whether a bias is added. Default true.
    pub fn use_bias(mut self, use_bias: bool) -> Self {
        self.conv = self.conv.use_bias(use_bias);
        self
    }

    /// How the kernels begin. Default `glorot_uniform`.
    pub fn depthwise_initializer(mut self, initializer: Initializer) -> Self {
        self.depthwise_initializer = initializer;
        self
    }

    /// How the bias begins. Default `zeros`.
    pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
        self.conv = self.conv.bias_initializer(initializer);
        self
    }

    rules! {
        "depthwise", depthwise_regularizer, depthwise_constraint;
        "bias", bias_regularizer, bias_constraint;
    }

    activity!();

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(DepthwiseConv2dLayer, Vec<usize>)> {
        let windows = self.conv.windows(place)?;
        let Windows { channels, size: [height, width], .. } = windows;
        let (multiplier, area) = (self.depth_multiplier, height.saturating_mul(width));
        let filters = channels.saturating_mul(multiplier);
        if multiplier == 0 || filters.saturating_mul(area) > MAX_WEIGHTS {
            return Err(place.error(format!(
                "depth_multiplier is {multiplier}, and its input of shape {:?} has {channels} \
                 channels; allowed: 1 or more, up to {MAX_WEIGHTS} weights (8 GiB) in all",
                place.input_shape
            )));
        }
        let output_shape = windows.output_shape(filters, place)?;
        let mut rng = stream(place.seed, place.index);
        // As in Keras, each output is taken to see all channels.
        let kernel =
            self.depthwise_initializer.spread([channels * area, multiplier], area, &mut rng);
        let kernel = place.weight(kernel, [height, width, channels, multiplier]);
        let bias = self.conv.options.bias([filters], &mut rng, place);
        let conv = Convolution { activation: self.activation, windows, groups: channels };
        Ok((DepthwiseConv2dLayer { kernel, bias, conv }, output_shape))
    }
}

#[derive(Module, Debug)]
pub(crate) struct DepthwiseConv2dLayer {
    kernel: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) conv: Convolution,
}

impl DepthwiseConv2dLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let (weight, bias) = self.weights();
        self.conv.forward(x, weight, bias, pass)
    }

    /// This layer and the max pooling that follows it, at once; `None` where they are not one.
    pub(super) fn forward_pooled(&self, x: &Tensor<2>, pool: &Windows) -> Option<Tensor<2>> {
        self.conv.forward_pooled(x, || self.weights(), pool)
    }

    /// As those of a convolution whose groups are the channels.
    fn weights(&self) -> (Tensor<4>, Option<Tensor<1>>) {
        let kernel = self.kernel.val().permute([2, 3, 0, 1]);
        let [channels, multiplier, height, width] = kernel.dims();
        let weight = kernel.reshape([channels * multiplier, 1, height, width]);
        (weight, self.bias.as_ref().map(Param::val))
    }
}

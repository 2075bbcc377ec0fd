//! Convolution of each channel for itself.

use refrain_core::Result;

use super::conv2d::{Conv2d, Conv2dLayer};
use super::windows::{HeightWidth, Padding, image};
use super::{MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::initializer::Initializer;

/// Slides kernels over each channel of images for itself.
///
/// Input: `[channels, height, width]`; output: `[channels × depth_multiplier, height, width]`, of which
/// the first `depth_multiplier` are of the first channel. Weights: `weight`
/// `[channels × depth_multiplier, 1, height, width]`, `bias` `[channels × depth_multiplier]`.
///
/// Defaults as Keras': strides 1, padding `valid`, dilation 1, one kernel for each channel, no
/// activation, with bias, kernel `glorot_uniform`, bias `zeros`. Keras keeps its kernels as
/// `[height, width, channels, depth_multiplier]`.
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
    /// But for the number of filters.
    conv: Conv2d,
    pub(super) activation: Activation,
}

impl DepthwiseConv2d {
    /// Kernels of `kernel_size`, high and wide; 1 or more.
    pub fn new(kernel_size: impl Into<HeightWidth>) -> Self {
        let conv = Conv2d::new(1, kernel_size);
        Self { name: None, depth_multiplier: 1, conv, activation: Activation::Linear }
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
        self.conv = self.conv.kernel_initializer(initializer);
        self
    }

    /// How the bias begins. Default `zeros`.
    pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
        self.conv = self.conv.bias_initializer(initializer);
        self
    }

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Conv2dLayer, Vec<usize>)> {
        let [channels, ..] = image(place)?;
        let multiplier = self.depth_multiplier;
        let filters = channels.checked_mul(multiplier).filter(|filters| *filters <= MAX_WEIGHTS);
        match filters {
            Some(1..) => self.conv.clone().depthwise(channels, multiplier).build(place),
            _ => Err(place.error(format!(
                "depth_multiplier is {multiplier}, and its input of shape {:?} has {channels} \
                 channels; allowed: 1 or more, up to {MAX_WEIGHTS} weights in all",
                place.input_shape
            ))),
        }
    }
}

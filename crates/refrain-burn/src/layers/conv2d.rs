//! Convolution of images.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::kernel_options::{KernelOptions, kernel_options};
use super::rules::{Rules, activity};
use super::windows::{Asked, HeightWidth, Padding, Windows};
use super::{MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::forward::Pass;
use crate::initializer::stream;
use crate::kernels;

/// Slides kernels over images: `activation(input ∗ weight + bias)`.
///
/// Input: `[channels, height, width]`; output: `[filters, height, width]`.
/// Weights: `weight` `[filters, channels / groups, height, width]`, `bias` `[filters]`.
///
/// Defaults as Keras': strides 1, padding `valid`, dilation 1, one group, no activation, with bias,
/// kernel `glorot_uniform`, bias `zeros`. Keras keeps its kernels as
/// `[height, width, channels / groups, filters]`.
///
/// # Example
/// ```
/// use refrain_burn::layers::{Conv2d, Padding};
/// use refrain_burn::{Activation, Sequential};
///
/// let model = Sequential::input(&[1, 28, 28])
///     .layer(Conv2d::new(32, 3).activation(Activation::Relu))
///     .layer(Conv2d::new(64, [3, 5]).strides(2).padding(Padding::Same))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [64, 13, 13]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    pub(super) name: Option<String>,
    filters: usize,
    kernel_size: HeightWidth,
    strides: HeightWidth,
    padding: Padding,
    dilation_rate: HeightWidth,
    groups: usize,
    pub(super) activation: Activation,
    pub(super) options: KernelOptions,
    pub(super) rules: Rules,
}

impl Conv2d {
    /// A layer of `filters` kernels, each `kernel_size` high and wide; 1 or more.
    pub fn new(filters: usize, kernel_size: impl Into<HeightWidth>) -> Self {
        Self {
            name: None,
            filters,
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            padding: Padding::Valid,
            dilation_rate: 1.into(),
            groups: 1,
            activation: Activation::Linear,
            options: KernelOptions::default(),
            rules: Rules::default(),
        }
    }

    /// Gives the layer a name. Default: `conv2d`, `conv2d_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How far a kernel moves from one output to the next; 1 or more. Default 1.
    pub fn strides(mut self, strides: impl Into<HeightWidth>) -> Self {
        self.strides = strides.into();
        self
    }

    /// What is done at the edges. Default: [`Padding::Valid`].
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// How far apart the inputs lie that a kernel sees; 1 or more. Default 1. Not together with
    /// strides, as in Keras.
    pub fn dilation_rate(mut self, dilation_rate: impl Into<HeightWidth>) -> Self {
        self.dilation_rate = dilation_rate.into();
        self
    }

    /// Into how many groups channels and filters are split; a group's filters see its channels
    /// alone. Divides both. Default 1.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// What is done to each output; a softmax is taken over the filters at each position. Default:
    /// nothing.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    kernel_options!();
    activity!();

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Conv2dLayer, Vec<usize>)> {
        let windows = self.windows(place)?;
        let (filters, groups, channels) = (self.filters, self.groups, windows.channels);
        if filters == 0 {
            return Err(place.error("filters is 0; allowed: 1 or more"));
        }
        if groups == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(place.error(format!(
                "groups is {groups}; allowed: what divides both its {filters} filters and the \
                 {channels} channels of its input of shape {:?}",
                place.input_shape
            )));
        }
        let [height, width] = windows.size;
        // Each is below 2³¹, and their product is not.
        let area = height * width;
        let inputs = (channels / groups).saturating_mul(area);
        if inputs.checked_mul(filters).is_none_or(|weights| weights > MAX_WEIGHTS) {
            let (size, shape) = (windows.size, place.input_shape);
            return Err(place.error(match MAX_WEIGHTS / inputs {
                0 => format!(
                    "kernel_size {size:?} on its input of shape {shape:?} makes more than \
                     {MAX_WEIGHTS} weights (8 GiB) a filter; allowed here: a smaller kernel_size"
                ),
                most => format!(
                    "{filters} filters of kernel_size {size:?} on its input of shape {shape:?} make \
                     more than {MAX_WEIGHTS} weights (8 GiB); allowed here: filters up to {most}"
                ),
            }));
        }
        let output_shape = windows.output_shape(filters, place)?;

        let mut rng = stream(place.seed, place.index);
        let kernel = self.options.kernel_initializer.filters(inputs, filters, area, &mut rng);
        let weight = place.weight(kernel, [filters, channels / groups, height, width]);
        let bias = self.options.bias([filters], &mut rng, place);
        let conv = Convolution { activation: self.activation, windows, groups };
        Ok((Conv2dLayer { weight, bias, conv }, output_shape))
    }

    /// The windows on the images that come into `place`.
    pub(super) fn windows(&self, place: &Place<'_>) -> Result<Windows> {
        place.check_elementwise(self.activation)?;
        let windows = Asked {
            option: "kernel_size",
            size: self.kernel_size,
            strides: self.strides,
            dilation: self.dilation_rate,
            padding: self.padding,
        }
        .on(place)?;
        if windows.strides != [1, 1] && windows.dilation != [1, 1] {
            return Err(place.error(format!(
                "strides is {:?} and dilation_rate is {:?}; allowed: one of them other than 1",
                windows.strides, windows.dilation
            )));
        }
        Ok(windows)
    }
}

#[derive(Module, Debug)]
pub(crate) struct Conv2dLayer {
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) conv: Convolution,
}

impl Conv2dLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        self.conv.forward(x, self.weight.val(), self.bias.as_ref().map(Param::val), pass)
    }

    /// This layer and the max pooling that follows it, at once; `None` where they are not one.
    pub(super) fn forward_pooled(&self, x: &Tensor<2>, pool: &Windows) -> Option<Tensor<2>> {
        let weight = || (self.weight.val(), self.bias.as_ref().map(Param::val));
        self.conv.forward_pooled(x, weight, pool)
    }
}

/// What all convolutions do with their weights: `[filters, channels / groups, height, width]` each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub(crate) activation: Activation,
    pub(crate) windows: Windows,
    pub(crate) groups: usize,
}

impl Convolution {
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        pass: Pass,
    ) -> Tensor<2> {
        let relu = self.activation == Activation::Relu;
        let x = self.convolve(x, weight, bias, relu && !pass.logits, None);
        if relu || pass.logits { x } else { by_channel(self.activation, x, self.windows.output) }
    }

    /// With the max pooling that follows; `None` where they are not one.
    /// Whether it and a max pooling that follows are one operation.
    pub(super) fn pools_in_one_pass(&self) -> bool {
        matches!(self.activation, Activation::Relu | Activation::Linear)
    }

    pub(super) fn forward_pooled(
        &self,
        x: &Tensor<2>,
        weight: impl FnOnce() -> (Tensor<4>, Option<Tensor<1>>),
        pool: &Windows,
    ) -> Option<Tensor<2>> {
        let relu = match self.activation {
            Activation::Relu => true,
            Activation::Linear => false,
            _ => return None,
        };
        let (weight, bias) = weight();
        Some(self.convolve(x.clone(), weight, bias, relu, Some(*pool)))
    }

    fn convolve(
        &self,
        x: Tensor<2>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        relu: bool,
        pool: Option<Windows>,
    ) -> Tensor<2> {
        let filters = weight.dims()[0];
        let Self { windows, groups, .. } = *self;
        kernels::conv2d(x, weight, bias, &kernels::Conv2d { windows, filters, groups, relu, pool })
    }
}

/// The activation of images of so many positions; along an axis means along the channels.
pub(super) fn by_channel(activation: Activation, x: Tensor<2>, size: [usize; 2]) -> Tensor<2> {
    if !activation.is_along_axis() {
        return activation.forward(x);
    }
    let [samples, elements] = x.dims();
    let positions = size[0] * size[1];
    let x = x.reshape([samples, elements / positions.max(1), positions]).swap_dims(1, 2);
    let x = activation.forward(x);
    let [_, _, channels] = x.dims();
    x.swap_dims(1, 2).reshape([samples, channels * positions])
}

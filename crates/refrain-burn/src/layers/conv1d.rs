//! Convolution of sequences.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::conv2d::Convolution;
use super::kernel_options::{KernelOptions, kernel_options};
use super::rules::{Rules, activity};
use super::sequences::{self, from_image, to_image};
use super::windows::{Asked, Padding, Windows};
use super::{MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::forward::Pass;
use crate::initializer::stream;

/// Slides kernels over sequences: `activation(input ∗ kernel + bias)`.
///
/// Input: `[steps, features]`; output: `[steps, filters]`. Weights: `kernel`
/// `[kernel_size, features / groups, filters]`, `bias` `[filters]`.
///
/// Defaults as Keras': stride 1, padding `valid`, dilation 1, one group, no activation, with bias,
/// kernel `glorot_uniform`, bias `zeros`. Computed as a convolution of images of height 1.
///
/// # Example
/// ```
/// use refrain_burn::layers::{Conv1d, GlobalMaxPooling1d, Padding};
/// use refrain_burn::{Activation, Sequential};
///
/// let model = Sequential::input(&[100, 8])
///     .layer(Conv1d::new(32, 5).padding(Padding::Causal).activation(Activation::Relu))
///     .layer(GlobalMaxPooling1d::new())
///     .build(42)?;
/// assert_eq!(model.summary().rows[0].output_shape, [100, 32]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv1d {
    pub(super) name: Option<String>,
    filters: usize,
    kernel_size: usize,
    strides: usize,
    padding: Padding,
    dilation_rate: usize,
    groups: usize,
    pub(super) activation: Activation,
    pub(super) options: KernelOptions,
    pub(super) rules: Rules,
}

impl Conv1d {
    /// A layer of `filters` kernels of `kernel_size` steps; 1 or more.
    pub fn new(filters: usize, kernel_size: usize) -> Self {
        Self {
            name: None,
            filters,
            kernel_size,
            strides: 1,
            padding: Padding::Valid,
            dilation_rate: 1,
            groups: 1,
            activation: Activation::Linear,
            options: KernelOptions::default(),
            rules: Rules::default(),
        }
    }

    /// Gives the layer a name. Default: `conv1d`, `conv1d_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How far a kernel moves from one output to the next; 1 or more. Default 1.
    pub fn strides(mut self, strides: usize) -> Self {
        self.strides = strides;
        self
    }

    /// What is done at the ends; [`Padding::Causal`] too. Default: [`Padding::Valid`].
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// How far apart the steps lie that a kernel sees; 1 or more. Default 1. Not together with strides,
    /// as in Keras.
    pub fn dilation_rate(mut self, dilation_rate: usize) -> Self {
        self.dilation_rate = dilation_rate;
        self
    }

    /// Into how many groups features and filters are split; a group's filters see its features alone.
    /// Divides both. Default 1.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// What is done to each output; a softmax is taken over the filters at each step. Default: nothing.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    kernel_options!();
    activity!();

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Conv1dLayer, Vec<usize>)> {
        place.check_elementwise(self.activation)?;
        let windows = Asked {
            option: "kernel_size",
            size: [1, self.kernel_size].into(),
            strides: [1, self.strides].into(),
            dilation: [1, self.dilation_rate].into(),
            padding: self.padding,
        }
        .on_sequences(place)?;
        let (filters, groups, features) = (self.filters, self.groups, windows.channels);
        if filters == 0 {
            return Err(place.error("filters is 0; allowed: 1 or more"));
        }
        if groups == 0 || !features.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(place.error(format!(
                "groups is {groups}; allowed: what divides both its {filters} filters and the \
                 {features} features of its input of shape {:?}",
                place.input_shape
            )));
        }
        if self.strides != 1 && self.dilation_rate != 1 {
            return Err(place.error(format!(
                "strides is {} and dilation_rate is {}; allowed: one of them other than 1",
                self.strides, self.dilation_rate
            )));
        }
        let inputs = (features / groups).saturating_mul(self.kernel_size);
        if inputs.saturating_mul(filters) > MAX_WEIGHTS {
            return Err(place.error(format!(
                "{filters} filters of {inputs} inputs each make more than {MAX_WEIGHTS} weights (8 GiB); \
                 allowed here: filters up to {}",
                (MAX_WEIGHTS / inputs).max(1)
            )));
        }
        let output_shape = sequences::output_shape(&windows, filters, place)?;

        let mut rng = stream(place.seed, place.index);
        let kernel =
            self.options.kernel_initializer.spread([inputs, filters], self.kernel_size, &mut rng);
        let kernel = place.weight(kernel, [self.kernel_size, features / groups, filters]);
        let bias = self.options.bias([filters], &mut rng, place);
        let conv = Convolution { activation: self.activation, windows, groups };
        Ok((Conv1dLayer { kernel, bias, conv }, output_shape.to_vec()))
    }
}

#[derive(Module, Debug)]
pub(crate) struct Conv1dLayer {
    kernel: Param<Tensor<3>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) conv: Convolution,
}

impl Conv1dLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let Windows { channels, input, output, .. } = self.conv.windows;
        let weight = self.kernel.val().permute([2, 1, 0]);
        let [filters, inputs, size] = weight.dims();
        let weight = weight.reshape([filters, inputs, 1, size]);
        let x = to_image(x, [input[1], channels]);
        let x = self.conv.forward(x, weight, self.bias.as_ref().map(Param::val), pass);
        from_image(x, [output[1], filters])
    }
}

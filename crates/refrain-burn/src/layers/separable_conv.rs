//! Convolutions in two steps: of each channel for itself, then across the channels.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::conv2d::Convolution;
use super::rules::{Rules, activity, rules};
use super::sequences::{self, from_image, to_image};
use super::windows::{Asked, HeightWidth, Padding, Windows, as_asked};
use super::{MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::forward::Pass;
use crate::initializer::{Initializer, stream};

/// What both layers are asked for.
#[derive(Clone, Debug)]
struct Options {
    filters: usize,
    size: HeightWidth,
    strides: HeightWidth,
    padding: Padding,
    dilation: HeightWidth,
    multiplier: usize,
    depthwise_initializer: Initializer,
    pointwise_initializer: Initializer,
    use_bias: bool,
    bias_initializer: Initializer,
}

macro_rules! separable {
    ($(#[$doc:meta])* $layer:ident, $name:literal, $size:ty, $across:literal, $pair:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $layer {
            pub(super) name: Option<String>,
            options: Options,
            pub(super) activation: Activation,
            pub(super) rules: Rules,
        }

        impl $layer {
            /// A layer of `filters` outputs, of kernels of `kernel_size` for each channel; 1 or more.
            pub fn new(filters: usize, kernel_size: $size) -> Self {
                let options = Options {
                    filters,
                    size: $pair(kernel_size),
                    strides: 1.into(),
                    padding: Padding::Valid,
                    dilation: 1.into(),
                    multiplier: 1,
                    depthwise_initializer: Initializer::GlorotUniform,
                    pointwise_initializer: Initializer::GlorotUniform,
                    use_bias: true,
                    bias_initializer: Initializer::Zeros,
                };
                let activation = Activation::Linear;
                Self { name: None, options, activation, rules: Rules::default() }
            }

            #[doc = concat!("Gives the layer a name. Default: `", $name, "`, `", $name, "_1`, ...")]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.name = Some(name.into());
                self
            }

            /// How many kernels there are for each channel; 1 or more. Default 1.
            pub fn depth_multiplier(mut self, depth_multiplier: usize) -> Self {
                self.options.multiplier = depth_multiplier;
                self
            }

            /// How far a kernel moves from one output to the next; 1 or more. Default 1.
            pub fn strides(mut self, strides: $size) -> Self {
                self.options.strides = $pair(strides);
                self
            }

            /// What is done at the edges. Default: [`Padding::Valid`].
            pub fn padding(mut self, padding: Padding) -> Self {
                self.options.padding = padding;
                self
            }

            /// How far apart the inputs lie that a kernel sees; 1 or more. Default 1. Not together with
            /// strides, as in Keras.
            pub fn dilation_rate(mut self, dilation_rate: $size) -> Self {
                self.options.dilation = $pair(dilation_rate);
                self
            }

            #[doc = concat!("What is done to each output; a softmax is taken over the filters at each ", $across, ". Default:")]
            /// nothing.
            pub fn activation(mut self, activation: Activation) -> Self {
                self.activation = activation;
                self
            }

            /// Whether a bias is added. Default true.
            pub fn use_bias(mut self, use_bias: bool) -> Self {
                self.options.use_bias = use_bias;
                self
            }

            /// How the kernels of the channels begin. Default `glorot_uniform`.
            pub fn depthwise_initializer(mut self, initializer: Initializer) -> Self {
                self.options.depthwise_initializer = initializer;
                self
            }

            /// How the kernel across the channels begins. Default `glorot_uniform`.
            pub fn pointwise_initializer(mut self, initializer: Initializer) -> Self {
                self.options.pointwise_initializer = initializer;
                self
            }

            /// How the bias begins. Default `zeros`.
            pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
                self.options.bias_initializer = initializer;
                self
            }

            rules! {
                "depthwise", depthwise_regularizer, depthwise_constraint;
                "pointwise", pointwise_regularizer, pointwise_constraint;
                "bias", bias_regularizer, bias_constraint;
            }

            activity!();
        }
    };
}

separable!(
    /// Slides kernels over each channel of images for itself, and mixes the channels at each position:
    /// far fewer weights than a [`Conv2d`](super::Conv2d) has.
    ///
    /// Input: `[channels, height, width]`; output: `[filters, height, width]`. Weights:
    /// `depthwise_kernel` `[height, width, channels, depth_multiplier]`, `pointwise_kernel`
    /// `[1, 1, channels × depth_multiplier, filters]`, `bias` `[filters]`.
    ///
    /// Defaults as Keras': strides 1, padding `valid`, dilation 1, one kernel for each channel, no
    /// activation, with bias, kernels `glorot_uniform`, bias `zeros`.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::Sequential;
    /// use refrain_burn::layers::SeparableConv2d;
    ///
    /// let model =
    ///     Sequential::input(&[16, 28, 28]).layer(SeparableConv2d::new(32, 3)).build(42)?;
    /// assert_eq!(model.output_shape(), [32, 26, 26]);
    /// assert_eq!(model.summary().parameters(), 16 * 9 + 16 * 32 + 32);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    SeparableConv2d,
    "separable_conv2d",
    impl Into<HeightWidth>,
    "position",
    Into::into
);

separable!(
    /// Slides kernels over each feature of sequences for itself, and mixes the features at each step.
    ///
    /// Input: `[steps, features]`; output: `[steps, filters]`. Weights: `depthwise_kernel`
    /// `[kernel_size, features, depth_multiplier]`, `pointwise_kernel`
    /// `[1, features × depth_multiplier, filters]`, `bias` `[filters]`.
    ///
    /// Defaults as Keras': stride 1, padding `valid`, dilation 1, one kernel for each feature, no
    /// activation, with bias, kernels `glorot_uniform`, bias `zeros`.
    SeparableConv1d,
    "separable_conv1d",
    usize,
    "step",
    in_a_line
);

/// A length of sequences, which are images of height 1.
fn in_a_line(length: usize) -> HeightWidth {
    [1, length].into()
}

impl SeparableConv2d {
    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(SeparableLayer<4>, Vec<usize>)> {
        let windows = self.options.asked().on(place)?;
        let [height, width] = windows.size;
        let shapes = |channels, outputs| {
            (
                [height, width, channels, self.options.multiplier],
                [1, 1, outputs, self.options.filters],
            )
        };
        let layer = self.options.build(windows, self.activation, shapes, place)?;
        let output_shape = windows.output_shape(self.options.filters, place)?;
        Ok((layer, output_shape))
    }
}

impl SeparableConv1d {
    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(SeparableLayer<3>, Vec<usize>)> {
        let padding = self.options.padding.without_causal(place.type_name, place)?;
        let windows = Asked { padding, ..self.options.asked() }.on_sequences(place)?;
        let size = windows.size[1];
        let shapes = |features, outputs| {
            ([size, features, self.options.multiplier], [1, outputs, self.options.filters])
        };
        let layer = self.options.build(windows, self.activation, shapes, place)?;
        let output_shape = sequences::output_shape(&windows, self.options.filters, place)?;
        Ok((layer, output_shape.to_vec()))
    }
}

impl Options {
    fn asked(&self) -> Asked {
        Asked {
            option: "kernel_size",
            size: self.size,
            strides: self.strides,
            dilation: self.dilation,
            padding: self.padding,
        }
    }

    /// `shapes`: of both kernels, for so many channels, and outputs of the first.
    fn build<const D: usize>(
        &self,
        windows: Windows,
        activation: Activation,
        shapes: impl Fn(usize, usize) -> ([usize; D], [usize; D]),
        place: &Place<'_>,
    ) -> Result<SeparableLayer<D>> {
        place.check_elementwise(activation)?;
        if windows.strides != [1, 1] && windows.dilation != [1, 1] {
            return Err(place.error(format!(
                "strides is {} and dilation_rate is {}; allowed: one of them other than 1",
                as_asked(windows.strides, place),
                as_asked(windows.dilation, place)
            )));
        }
        let (filters, multiplier, channels) = (self.filters, self.multiplier, windows.channels);
        let [height, width] = windows.size;
        let area = height.saturating_mul(width);
        let outputs = channels.saturating_mul(multiplier);
        let weights = outputs.saturating_mul(area.saturating_add(filters));
        if filters == 0 || multiplier == 0 || weights > MAX_WEIGHTS {
            return Err(place.error(format!(
                "filters is {filters}, depth_multiplier {multiplier}, and its input of shape {:?} has \
                 {channels} channels; allowed: 1 or more of each, up to {MAX_WEIGHTS} weights (8 GiB) \
                 in all",
                place.input_shape
            )));
        }
        place.check_elements(&[outputs, windows.output[0], windows.output[1]])?;

        let mut rng = stream(place.seed, place.index);
        // As in Keras, each output is taken to see all channels.
        let depthwise =
            self.depthwise_initializer.spread([channels * area, multiplier], area, &mut rng);
        let pointwise = self.pointwise_initializer.fill([outputs, filters], &mut rng);
        let (of_channels, across) = shapes(channels, outputs);
        let bias = self.use_bias.then(|| {
            let bias = self.bias_initializer.fill([filters, 1], &mut rng);
            place.weight(bias, [filters])
        });
        let mixing = Windows {
            channels: outputs,
            input: windows.output,
            size: [1, 1],
            strides: [1, 1],
            dilation: [1, 1],
            padding: [(0, 0); 2],
            ..windows
        };
        Ok(SeparableLayer {
            depthwise_kernel: place.weight(depthwise, of_channels),
            pointwise_kernel: place.weight(pointwise, across),
            bias,
            depthwise: Convolution { activation: Activation::Linear, windows, groups: channels },
            pointwise: Convolution { activation, windows: mixing, groups: 1 },
        })
    }
}

/// On images kernels have 4 axes, on sequences 3.
#[derive(Module, Debug)]
pub(crate) struct SeparableLayer<const D: usize> {
    depthwise_kernel: Param<Tensor<D>>,
    pointwise_kernel: Param<Tensor<D>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    depthwise: Convolution,
    #[module(skip)]
    pub(crate) pointwise: Convolution,
}

impl<const D: usize> SeparableLayer<D> {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let Windows { channels, size: [height, width], input, output, .. } = self.depthwise.windows;
        let outputs = self.pointwise.windows.channels;
        let filters = self.pointwise_kernel.val().dims()[D - 1];
        let kernel = self.depthwise_kernel.val();
        let kernel = kernel.reshape([height, width, channels, outputs / channels]);
        let kernel = kernel.permute([2, 3, 0, 1]).reshape([outputs, 1, height, width]);
        let mixing = self.pointwise_kernel.val().reshape([outputs, filters]);
        let mixing = mixing.transpose().reshape([filters, outputs, 1, 1]);
        let bias = self.bias.as_ref().map(Param::val);

        let x = if D == 3 { to_image(x, [input[1], channels]) } else { x };
        let x = self.depthwise.forward(x, kernel, None, pass.logits(false));
        let x = self.pointwise.forward(x, mixing, bias, pass);
        if D == 3 { from_image(x, [output[1], filters]) } else { x }
    }

    /// Numbers that a training step keeps of a sample beside the output: the channels before they are
    /// mixed.
    pub(super) fn kept(&self) -> usize {
        let Windows { channels, input: [height, width], .. } = self.pointwise.windows;
        channels.saturating_mul(height).saturating_mul(width)
    }
}

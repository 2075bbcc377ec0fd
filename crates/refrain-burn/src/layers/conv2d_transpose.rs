//! The transposed convolution of images: from few positions to many.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::conv2d::by_channel;
use super::kernel_options::{KernelOptions, kernel_options};
use super::rules::{Rules, activity};
use super::windows::{HeightWidth, Padding, Windows, image};
use super::{MAX_ELEMENTS, MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::forward::Pass;
use crate::initializer::stream;
use crate::kernels;

/// Puts a kernel, times the input, around each position, and adds up where they overlap: the reverse of
/// the shapes that a convolution makes. Also known as a deconvolution.
///
/// Input: `[channels, height, width]`; output: `[filters, height, width]`, along each axis
/// `(length − 1) × strides + kernel_size` and not below `length × strides` with padding `valid`,
/// `length × strides` with `same`. Weights: `kernel` `[height, width, filters, channels]`, `bias`
/// `[filters]`.
///
/// Defaults as Keras': strides 1, padding `valid`, no output padding, dilation 1, no activation, with
/// bias, kernel `glorot_uniform`, bias `zeros`.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Conv2dTranspose, Padding};
///
/// let model = Sequential::input(&[16, 7, 7])
///     .layer(Conv2dTranspose::new(8, 3).strides(2).padding(Padding::Same))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [8, 14, 14]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv2dTranspose {
    pub(super) name: Option<String>,
    filters: usize,
    kernel_size: HeightWidth,
    strides: HeightWidth,
    padding: Padding,
    output_padding: Option<HeightWidth>,
    dilation_rate: HeightWidth,
    pub(super) activation: Activation,
    pub(super) options: KernelOptions,
    pub(super) rules: Rules,
}

impl Conv2dTranspose {
    /// A layer of `filters` kernels, each `kernel_size` high and wide; 1 or more.
    pub fn new(filters: usize, kernel_size: impl Into<HeightWidth>) -> Self {
        Self {
            name: None,
            filters,
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            padding: Padding::Valid,
            output_padding: None,
            dilation_rate: 1.into(),
            activation: Activation::Linear,
            options: KernelOptions::default(),
            rules: Rules::default(),
        }
    }

    /// Gives the layer a name. Default: `conv2d_transpose`, `conv2d_transpose_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How far the output moves from one input to the next; 1 or more. Default 1.
    pub fn strides(mut self, strides: impl Into<HeightWidth>) -> Self {
        self.strides = strides.into();
        self
    }

    /// How much of the edges is kept. Default: [`Padding::Valid`], all of it.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// How many lines are added at the end; below the strides. The output then has, along each axis,
    /// `(length − 1) × strides + kernel_size + output_padding` with padding `valid`, and
    /// `(length − 1) × strides + kernel_size mod 2 + output_padding` with `same`. Default: as many as
    /// make the shapes above.
    pub fn output_padding(mut self, output_padding: impl Into<HeightWidth>) -> Self {
        self.output_padding = Some(output_padding.into());
        self
    }

    /// How far apart the outputs lie that a kernel reaches; 1 or more. Default 1. Not together with
    /// strides, as in Keras.
    pub fn dilation_rate(mut self, dilation_rate: impl Into<HeightWidth>) -> Self {
        self.dilation_rate = dilation_rate.into();
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
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Conv2dTransposeLayer, Vec<usize>)> {
        place.check_elementwise(self.activation)?;
        let padding = self.padding.without_causal(place.type_name, place)?;
        let [channels, height, width] = image(place)?;
        let filters = self.filters;
        if filters == 0 {
            return Err(place.error("filters is 0; allowed: 1 or more"));
        }
        let [size, strides, dilation] =
            [self.kernel_size, self.strides, self.dilation_rate].map(|HeightWidth(pair)| pair);
        for (option, lengths) in
            [("kernel_size", size), ("strides", strides), ("dilation_rate", dilation)]
        {
            if lengths.iter().any(|length| !(1..=MAX_ELEMENTS).contains(length)) {
                return Err(
                    place.error(format!("{option} is {lengths:?}; allowed: 1 to {MAX_ELEMENTS}"))
                );
            }
        }
        if strides != [1, 1] && dilation != [1, 1] {
            return Err(place.error(format!(
                "strides is {strides:?} and dilation_rate is {dilation:?}; allowed: one of them \
                 other than 1"
            )));
        }
        let mut windows = Windows {
            channels: filters,
            input: [0; 2],
            output: [height, width],
            size,
            strides,
            dilation,
            padding: [(0, 0); 2],
        };
        for axis in 0..2 {
            let output_padding = self.output_padding.map(|HeightWidth(pair)| pair[axis]);
            if let Some(more) = output_padding.filter(|more| *more >= strides[axis]) {
                return Err(place.error(format!(
                    "output_padding is {more} where strides is {}; allowed: below the strides",
                    strides[axis]
                )));
            }
            let covered = (size[axis] - 1)
                .checked_mul(dilation[axis])
                .map(|between| between + 1)
                .filter(|covered| *covered <= MAX_ELEMENTS);
            let lengths = covered.and_then(|covered| {
                lengths(windows.output[axis], covered, strides[axis], padding, output_padding)
            });
            let Some((length, padding)) = lengths else {
                return Err(place.error(format!(
                    "with kernel_size {size:?}, strides {strides:?}, dilation_rate {dilation:?} and \
                     its input of shape {:?}, the output would be empty or too large; allowed: 1 to \
                     {MAX_ELEMENTS} elements for each sample",
                    place.input_shape
                )));
            };
            windows.input[axis] = length;
            windows.padding[axis] = padding;
        }
        let [height, width] = windows.input;
        let output_shape = [filters, height, width];
        place.check_elements(&output_shape)?;
        let area = size[0].saturating_mul(size[1]);
        if area.saturating_mul(channels).saturating_mul(filters) > MAX_WEIGHTS {
            return Err(place.error(format!(
                "{filters} filters of {size:?} for {channels} channels make more than {MAX_WEIGHTS} \
                 weights (8 GiB); allowed here: filters up to {}",
                (MAX_WEIGHTS / area.saturating_mul(channels)).max(1)
            )));
        }

        let mut rng = stream(place.seed, place.index);
        // As in Keras, whose fans take the last axis for the outputs.
        let kernel =
            self.options.kernel_initializer.spread([area * filters, channels], area, &mut rng);
        let kernel = place.weight(kernel, [size[0], size[1], filters, channels]);
        let bias = self.options.bias([filters], &mut rng, place);
        let layer = Conv2dTransposeLayer { kernel, bias, activation: self.activation, windows };
        Ok((layer, output_shape.to_vec()))
    }
}

/// Along one axis: the length of the output, and the padding of the convolution that would make the
/// input of it; `None` where there is none. `covered`: length of the kernel with its dilation.
fn lengths(
    length: usize,
    covered: usize,
    stride: usize,
    padding: Padding,
    output_padding: Option<usize>,
) -> Option<(usize, (usize, usize))> {
    let between = (length - 1).checked_mul(stride)?;
    let whole = between.checked_add(covered)?;
    // What Keras' convolution of a spread input is padded by at its beginning is what is not cut off.
    let (output, cut) = match (padding, output_padding) {
        (Padding::Same, output_padding) => {
            let (output, kept) = match output_padding {
                None => (between + stride, stride + covered - 2),
                Some(more) => {
                    (between + covered % 2 + more, (covered + covered % 2 + more).checked_sub(2)?)
                }
            };
            (output, (covered - 1) - kept.div_ceil(2).min(covered - 1))
        }
        (_, None) => (between + covered.max(stride), 0),
        (_, Some(more)) => (whole.checked_add(more)?, 0),
    };
    let behind = whole.saturating_sub(cut).saturating_sub(output);
    (1..=MAX_ELEMENTS).contains(&output).then_some((output, (cut, behind)))
}

#[derive(Module, Debug)]
pub(crate) struct Conv2dTransposeLayer {
    kernel: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) activation: Activation,
    /// Of the convolution that goes the other way: its input is the layer's output.
    #[module(skip)]
    windows: Windows,
}

impl Conv2dTransposeLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let weight = self.kernel.val().permute([3, 2, 0, 1]);
        let [channels, filters, ..] = weight.dims();
        let windows = self.windows;
        let conv =
            kernels::Conv2d { windows, filters: channels, groups: 1, relu: false, pool: None };
        let mut x = kernels::conv2d_transpose(x, weight, &conv);
        let [samples, elements] = x.dims();
        if let Some(bias) = &self.bias {
            let by_filter = x.reshape([samples, filters, elements / filters]);
            x = (by_filter + bias.val().reshape([1, filters, 1])).reshape([samples, elements]);
        }
        if pass.logits { x } else { by_channel(self.activation, x, self.windows.input) }
    }
}

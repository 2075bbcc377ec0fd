//! The fully connected layer.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::kernel_options::{KernelOptions, kernel_options};
use super::rules::{Rules, activity};
use super::{MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::forward::Pass;
use crate::initializer::stream;
use crate::kernels::dense;

/// `activation(input × weight + bias)`.
///
/// Input: `[inputs]`, or `[steps, inputs]`: then each step for itself, with the same weights; output:
/// `[units]`, or `[steps, units]`. Weights: `weight` `[inputs, units]`, `bias` `[units]`. Defaults as Keras': no activation, with
/// bias, kernel `glorot_uniform`, bias `zeros`. Keras takes any number of axes, images too.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Dense, Lstm};
///
/// let model = Sequential::input(&[28, 4])
///     .layer(Lstm::new(16).return_sequences(true))
///     .layer(Dense::new(3))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [28, 3]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dense {
    pub(super) name: Option<String>,
    pub(super) units: usize,
    pub(super) activation: Activation,
    pub(super) options: KernelOptions,
    pub(super) rules: Rules,
}

impl Dense {
    /// A layer of `units` outputs; 1 or more.
    pub fn new(units: usize) -> Self {
        Self {
            name: None,
            units,
            activation: Activation::Linear,
            options: KernelOptions::default(),
            rules: Rules::default(),
        }
    }

    /// Gives the layer a name. Default: `dense`, `dense_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What is done to each output; a softmax is taken over the units, at each step. Default: nothing.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    kernel_options!();
    activity!();

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(DenseLayer, Vec<usize>)> {
        let (steps, inputs) = match *place.input_shape {
            [inputs] => (None, inputs),
            [steps, inputs] => (Some(steps), inputs),
            _ => {
                return Err(place.error(format!(
                    "a dense layer takes vectors of shape [inputs], or sequences [steps, inputs], and \
                     its input has the shape {:?}; put {{ type = \"flatten\" }} before it",
                    place.input_shape
                )));
            }
        };
        let units = self.units;
        if units == 0 {
            return Err(place.error("units is 0; allowed: 1 or more"));
        }
        let outputs = self.activation.output_length(units).ok_or_else(|| {
            place.error(format!("units is {units}, and glu halves them; allowed: an even number"))
        })?;
        if inputs.checked_mul(units).is_none_or(|weights| weights > MAX_WEIGHTS) {
            return Err(place.error(format!(
                "{inputs} inputs and {units} units make more than {MAX_WEIGHTS} weights (8 GiB); allowed \
                 here: units up to {}",
                (MAX_WEIGHTS / inputs).max(1)
            )));
        }

        let output_shape: Vec<usize> = steps.into_iter().chain([outputs]).collect();
        place.check_elements(&output_shape)?;

        let mut rng = stream(place.seed, place.index);
        let kernel = self.options.kernel_initializer.fill([inputs, units], &mut rng);
        let weight = place.weight(kernel, [inputs, units]);
        let bias = self.options.bias([units], &mut rng, place);
        Ok((DenseLayer { weight, bias, activation: self.activation }, output_shape))
    }
}

#[derive(Module, Debug)]
pub(crate) struct DenseLayer {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) activation: Activation,
}

impl DenseLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let weight = self.weight.val();
        let inputs = weight.dims()[0];
        let [samples, elements] = x.dims();
        let steps = elements / inputs;
        // Steps are samples to a layer that sees each for itself.
        let x = if steps == 1 { x } else { x.reshape([samples * steps, inputs]) };
        let relu = self.activation == Activation::Relu && !pass.logits;
        let x = dense(x, weight, self.bias.as_ref().map(Param::val), relu);
        let x = if relu || pass.logits { x } else { self.activation.forward(x) };
        if steps == 1 {
            return x;
        }
        let outputs = x.dims()[1];
        x.reshape([samples, steps * outputs])
    }
}

//! The fully connected layer.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::kernel_options::{KernelOptions, kernel_options};
use super::rules::Rules;
use super::{MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::forward::Pass;
use crate::initializer::stream;
use crate::kernels::dense;

/// `activation(input × weight + bias)` on vectors.
///
/// Weights: `weight` `[inputs, units]`, `bias` `[units]`. Defaults as Keras': no activation, with
/// bias, kernel `glorot_uniform`, bias `zeros`.
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

    /// What is done to each output. Default: nothing.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    kernel_options!();

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(DenseLayer, Vec<usize>)> {
        let &[inputs] = place.input_shape else {
            return Err(place.error(format!(
                "a dense layer takes vectors of shape [inputs], and its input has the shape {:?}; put \
                 {{ type = \"flatten\" }} before it",
                place.input_shape
            )));
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

        let mut rng = stream(place.seed, place.index);
        let kernel = self.options.kernel_initializer.fill([inputs, units], &mut rng);
        let weight = place.weight(kernel, [inputs, units]);
        let bias = self.options.bias([units], &mut rng, place);
        Ok((DenseLayer { weight, bias, activation: self.activation }, vec![outputs]))
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
        let relu = self.activation == Activation::Relu && !pass.logits;
        let x = dense(x, self.weight.val(), self.bias.as_ref().map(Param::val), relu);
        if relu || pass.logits { x } else { self.activation.forward(x) }
    }
}

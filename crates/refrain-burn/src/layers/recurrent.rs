//! Layers that read a sequence step by step.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::rules::{Rules, rules};
use super::{Kind, MAX_WEIGHTS, Place};
use crate::activation::Activation;
use crate::initializer::{Initializer, stream};
use crate::kernels::{self, Cell, Recurrence};

/// What all recurrent layers are asked for.
#[derive(Clone, Debug)]
struct Options {
    units: usize,
    activation: Activation,
    recurrent_activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    recurrent_initializer: Initializer,
    bias_initializer: Initializer,
    /// Of an LSTM alone.
    unit_forget_bias: bool,
    return_sequences: bool,
    go_backwards: bool,
}

impl Options {
    fn new(units: usize) -> Self {
        Self {
            units,
            activation: Activation::Tanh,
            recurrent_activation: Activation::Sigmoid,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            recurrent_initializer: Initializer::Orthogonal,
            bias_initializer: Initializer::Zeros,
            unit_forget_bias: false,
            return_sequences: false,
            go_backwards: false,
        }
    }
}

/// The options that all recurrent layers have.
macro_rules! options {
    ($default:literal) => {
        #[doc = concat!("Gives the layer a name. Default: `", $default, "`, `", $default, "_1`, ...")]
        pub fn named(mut self, name: impl Into<String>) -> Self {
            self.name = Some(name.into());
            self
        }

        /// What is done to each output; default `tanh`.
        pub fn activation(mut self, activation: Activation) -> Self {
            self.options.activation = activation;
            self
        }

        /// Whether a bias is added. Default true.
        pub fn use_bias(mut self, use_bias: bool) -> Self {
            self.options.use_bias = use_bias;
            self
        }

        /// How the kernel begins. Default `glorot_uniform`.
        pub fn kernel_initializer(mut self, initializer: Initializer) -> Self {
            self.options.kernel_initializer = initializer;
            self
        }

        /// How the recurrent kernel begins. Default `orthogonal`.
        pub fn recurrent_initializer(mut self, initializer: Initializer) -> Self {
            self.options.recurrent_initializer = initializer;
            self
        }

        /// How the bias begins. Default `zeros`.
        pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
            self.options.bias_initializer = initializer;
            self
        }

        /// Whether the outputs of all steps are given, `[steps, units]`, instead of the last one's,
        /// `[units]`. Default false. A recurrent layer behind this one needs them.
        pub fn return_sequences(mut self, return_sequences: bool) -> Self {
            self.options.return_sequences = return_sequences;
            self
        }

        rules! {
            "kernel", kernel_regularizer, kernel_constraint;
            "recurrent", recurrent_regularizer, recurrent_constraint;
            "bias", bias_regularizer, bias_constraint;
        }

        /// One that reads from the beginning and one that reads from the end, named after both; `None`
        /// where the layer itself reads from the end.
        pub(super) fn both_directions(&self, name: &str) -> Option<[Self; 2]> {
            let forward = self.clone().named(format!("forward_{name}"));
            let backward = self.clone().named(format!("backward_{name}")).go_backwards(true);
            (!self.options.go_backwards).then_some([forward, backward])
        }

        /// Whether the sequence is read from its end; outputs of all steps are in the order of
        /// reading then. Default false.
        pub fn go_backwards(mut self, go_backwards: bool) -> Self {
            self.options.go_backwards = go_backwards;
            self
        }
    };
}

/// Long short-term memory: at each step, gates decide what a state forgets, takes in and shows.
///
/// Input: `[steps, features]`; output: `[units]` of the last step, or `[steps, units]` with
/// [`return_sequences`](Self::return_sequences). Weights: `kernel` `[features, 4 × units]`,
/// `recurrent_kernel` `[units, 4 × units]`, `bias` `[4 × units]`; the gates' order is input, forget,
/// candidate, output.
///
/// Defaults as Keras': activation `tanh`, recurrent activation `sigmoid`, with bias, kernel
/// `glorot_uniform`, recurrent kernel `orthogonal`, bias `zeros`, the forget gate's 1. With these
/// activations, an operation of our own computes all steps on the CPU.
///
/// # Example
/// ```
/// use refrain_burn::layers::{Dense, Lstm, Reshape};
/// use refrain_burn::{Activation, Sequential};
///
/// let model = Sequential::input(&[1, 28, 28])
///     .layer(Reshape::new([28, 28]))
///     .layer(Lstm::new(128))
///     .layer(Dense::new(10).activation(Activation::Softmax))
///     .build(42)?;
/// assert_eq!(model.summary().rows[1].parameters, 4 * 128 * (28 + 128 + 1));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Long short-term memory", Neural Computation 9(8), 1997; the forget gate: "Learning to forget",
/// Neural Computation 12(10), 2000.
#[derive(Clone, Debug)]
pub struct Lstm {
    pub(super) name: Option<String>,
    options: Options,
    pub(super) rules: Rules,
}

impl Lstm {
    /// A layer of `units` outputs; 1 or more.
    pub fn new(units: usize) -> Self {
        let options = Options { unit_forget_bias: true, ..Options::new(units) };
        Self { name: None, options, rules: Rules::default() }
    }

    options!("lstm");

    /// The activation of the gates. Default `sigmoid`.
    pub fn recurrent_activation(mut self, activation: Activation) -> Self {
        self.options.recurrent_activation = activation;
        self
    }

    /// Whether the bias of the forget gate begins as 1, whatever the initialiser: states are kept at
    /// first. Default true.
    pub fn unit_forget_bias(mut self, unit_forget_bias: bool) -> Self {
        self.options.unit_forget_bias = unit_forget_bias;
        self
    }

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Kind, Vec<usize>)> {
        let (layer, shape) = self.options.build(place, Cell::Lstm, |width| [width])?;
        Ok((Kind::Recurrent(layer), shape))
    }
}

/// Gated recurrent units: at each step, one gate decides how much of the last output stays, another
/// how much of it the candidate sees.
///
/// Input: `[steps, features]`; output: `[units]` of the last step, or `[steps, units]` with
/// [`return_sequences`](Self::return_sequences). Weights: `kernel` `[features, 3 × units]`,
/// `recurrent_kernel` `[units, 3 × units]`, `bias` `[2, 3 × units]`, for the input and for the
/// recurrent product, or `[3 × units]` without [`reset_after`](Self::reset_after); the order is
/// update, reset, candidate.
///
/// Defaults as Keras': activation `tanh`, recurrent activation `sigmoid`, with bias, kernel
/// `glorot_uniform`, recurrent kernel `orthogonal`, bias `zeros`, `reset_after`. With these, an
/// operation of our own computes all steps on the CPU.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::Gru;
///
/// let model = Sequential::input(&[10, 4]).layer(Gru::new(8).return_sequences(true)).build(42)?;
/// assert_eq!(model.output_shape(), [10, 8]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
/// EMNLP 2014.
#[derive(Clone, Debug)]
pub struct Gru {
    pub(super) name: Option<String>,
    options: Options,
    pub(super) rules: Rules,
    reset_after: bool,
}

impl Gru {
    /// A layer of `units` outputs; 1 or more.
    pub fn new(units: usize) -> Self {
        Self {
            name: None,
            options: Options::new(units),
            rules: Rules::default(),
            reset_after: true,
        }
    }

    options!("gru");

    /// The activation of the gates. Default `sigmoid`.
    pub fn recurrent_activation(mut self, activation: Activation) -> Self {
        self.options.recurrent_activation = activation;
        self
    }

    /// Whether the reset gate is applied behind the product with the recurrent kernel, and not
    /// before it. Default true.
    pub fn reset_after(mut self, reset_after: bool) -> Self {
        self.reset_after = reset_after;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Kind, Vec<usize>)> {
        let cell = Cell::Gru { reset_after: self.reset_after };
        if self.reset_after {
            let (layer, shape) = self.options.build(place, cell, |width| [2, width])?;
            return Ok((Kind::RecurrentWithTwoBiases(layer), shape));
        }
        let (layer, shape) = self.options.build(place, cell, |width| [width])?;
        Ok((Kind::Recurrent(layer), shape))
    }
}

/// A fully connected layer over the input and its own last output.
///
/// Input: `[steps, features]`; output: `[units]` of the last step, or `[steps, units]` with
/// [`return_sequences`](Self::return_sequences). Weights: `kernel` `[features, units]`,
/// `recurrent_kernel` `[units, units]`, `bias` `[units]`.
///
/// Defaults as Keras': activation `tanh`, with bias, kernel `glorot_uniform`, recurrent kernel
/// `orthogonal`, bias `zeros`.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::SimpleRnn;
///
/// let model = Sequential::input(&[10, 4]).layer(SimpleRnn::new(8)).build(42)?;
/// assert_eq!(model.output_shape(), [8]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimpleRnn {
    pub(super) name: Option<String>,
    options: Options,
    pub(super) rules: Rules,
}

impl SimpleRnn {
    /// A layer of `units` outputs; 1 or more.
    pub fn new(units: usize) -> Self {
        Self { name: None, options: Options::new(units), rules: Rules::default() }
    }

    options!("simple_rnn");

    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Kind, Vec<usize>)> {
        let (layer, shape) = self.options.build(place, Cell::Simple, |width| [width])?;
        Ok((Kind::Recurrent(layer), shape))
    }
}

impl Options {
    fn build<const B: usize>(
        &self,
        place: &Place<'_>,
        cell: Cell,
        bias_shape: impl FnOnce(usize) -> [usize; B],
    ) -> Result<(RecurrentLayer<B>, Vec<usize>)> {
        let [steps, features] = sequence(place)?;
        place.check_elementwise(self.activation)?;
        place.check_elementwise(self.recurrent_activation)?;
        let units = self.units;
        if units == 0 {
            return Err(place.error("units is 0; allowed: 1 or more"));
        }
        // Far below where a product of lengths would overflow.
        let gates = cell.gates();
        let most = ((MAX_WEIGHTS / gates) as f64).sqrt() as usize;
        let most = most.min(MAX_WEIGHTS / (gates * features)).max(1);
        if units > most {
            return Err(place.error(format!(
                "{features} features and {units} units make more than {MAX_WEIGHTS} weights (8 GiB); \
                 allowed here: units up to {most}"
            )));
        }
        let mut output_shape = vec![units];
        if self.return_sequences {
            place.check_elements(&[steps, units])?;
            output_shape.insert(0, steps);
        }

        let width = gates * units;
        let mut rng = stream(place.seed, place.index);
        let kernel = self.kernel_initializer.fill([features, width], &mut rng);
        let recurrent = self.recurrent_initializer.fill([units, width], &mut rng);
        let bias = self.use_bias.then(|| {
            let shape = bias_shape(width);
            let mut bias = self.bias_initializer.fill([shape.iter().product(), 1], &mut rng);
            // Not there in an outline.
            if let Some(forget) = bias.get_mut(units..2 * units).filter(|_| self.unit_forget_bias) {
                forget.fill(1.0);
            }
            place.weight(bias, shape)
        });
        let layer = RecurrentLayer {
            kernel: place.weight(kernel, [features, width]),
            recurrent_kernel: place.weight(recurrent, [units, width]),
            bias,
            recurrence: Recurrence {
                cell,
                steps,
                activation: self.activation,
                recurrent_activation: self.recurrent_activation,
            },
            return_sequences: self.return_sequences,
            go_backwards: self.go_backwards,
        };
        Ok((layer, output_shape))
    }
}

/// The input as a sequence: `[steps, features]`.
pub(super) fn sequence(place: &Place<'_>) -> Result<[usize; 2]> {
    let hint = match *place.input_shape {
        [steps, features] => return Ok([steps, features]),
        [elements] => format!(
            "return_sequences = true in the layer before it gives all steps, and {{ type = \
             \"reshape\", target_shape = [{elements}, 1] }} makes a step of each number"
        ),
        [1, height, width] => format!(
            "{{ type = \"reshape\", target_shape = [{height}, {width}] }} before it makes a step \
             of each line"
        ),
        [channels, height, width] => format!(
            "{{ type = \"permute\", dims = [2, 1, 3] }} and {{ type = \"reshape\", target_shape = \
             [{height}, {}] }} before it make a step of each line",
            channels * width
        ),
        _ => "{ type = \"reshape\", target_shape = [steps, features] } before it makes one".into(),
    };
    Err(place.error(format!(
        "{} layers take sequences of shape [steps, features], and its input has the shape {:?}; \
         {hint}",
        place.type_name, place.input_shape
    )))
}

/// The bias of one or two axes: for the input alone, or one for the recurrent product too.
#[derive(Module, Debug)]
pub(crate) struct RecurrentLayer<const B: usize> {
    kernel: Param<Tensor<2>>,
    recurrent_kernel: Param<Tensor<2>>,
    bias: Option<Param<Tensor<B>>>,
    #[module(skip)]
    recurrence: Recurrence,
    #[module(skip)]
    return_sequences: bool,
    #[module(skip)]
    go_backwards: bool,
}

impl<const B: usize> RecurrentLayer<B> {
    /// Numbers that a training step keeps of each sample: the gates, what else the backward pass of
    /// each step needs, and the outputs, twice.
    pub(super) fn kept(&self) -> usize {
        let [units, width] = self.recurrent_kernel.lazy_shape().dims();
        let of_step = width.saturating_add(units.saturating_mul(self.recurrence.cell.extra() + 2));
        of_step.saturating_mul(self.recurrence.steps)
    }

    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let kernel = self.kernel.val();
        let steps = self.recurrence.steps;
        let [samples, _] = x.dims();
        let [features, width] = kernel.dims();
        let x = if self.go_backwards {
            x.reshape([samples, steps, features]).flip([1]).reshape([samples * steps, features])
        } else {
            x.reshape([samples * steps, features])
        };
        let biases = self.bias.as_ref().map(|bias| bias.val().reshape([-1, width as i64]));
        let recurrent = self.recurrent_kernel.val();
        let [units, _] = recurrent.dims();
        let outputs = kernels::recurrence(x, kernel, recurrent, biases, &self.recurrence);
        if self.return_sequences { outputs } else { outputs.narrow(1, (steps - 1) * units, units) }
    }
}

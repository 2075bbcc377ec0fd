//! A stack of layers: the model of a recipe.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};
use refrain_core::{Dataset, Error, Result};

use crate::activation::Activation;
use crate::any_tensor::AnyTensor;
use crate::dataset::Batch;
use crate::forward::{ClosingActivation, Forward, Pass};
use crate::initializer::Seed;
use crate::layers::{self, Kind, Layer, LayerConfig, Stack};
use crate::samples::Samples as _;
use crate::summary::{Summary, SummaryRow};
use crate::weights::Shapes;

/// Samples of a batch in which normalizations see data.
const ADAPTED_AT_ONCE: usize = 256;

/// A stack of layers, each taking what the one before gives.
///
/// Takes batches of any rank ([`AnyTensor`]) and gives rows, `[samples, elements of an output]`.
/// Initial weights are a function of the seed alone. Weights are named after their layer:
/// `dense.weight` `[inputs, units]`, `dense.bias`, `dense_1.weight`, `conv2d.weight`
/// `[filters, channels, height, width]`, ...
///
/// # Example
/// ```
/// use refrain_burn::layers::{Dense, Dropout, Flatten};
/// use refrain_burn::{Activation, Sequential};
///
/// let model = Sequential::input(&[1, 8, 8])
///     .layer(Flatten::new())
///     .layer(Dense::new(128).activation(Activation::Relu))
///     .layer(Dropout::new(0.2))
///     .layer(Dense::new(10).activation(Activation::Softmax))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [10]);
/// assert_eq!(model.summary().parameters(), 9_610);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequential {
    input_shape: Vec<usize>,
    stack: Stack,
}

/// The layers of a [`Sequential`] to be.
#[derive(Clone, Debug)]
#[must_use = "nothing is built before `build`"]
pub struct SequentialBuilder {
    input_shape: Vec<usize>,
    layers: Vec<LayerConfig>,
    device: Device,
}

impl Sequential {
    /// Begins a model whose samples have this shape; images `[channels, height, width]`.
    pub fn input(sample_shape: &[usize]) -> SequentialBuilder {
        SequentialBuilder {
            input_shape: sample_shape.to_vec(),
            layers: Vec::new(),
            device: Device::default(),
        }
    }

    /// Shape of one sample.
    pub fn input_shape(&self) -> &[usize] {
        &self.input_shape
    }

    /// Shape of the output for one sample.
    pub fn output_shape(&self) -> &[usize] {
        self.stack.output_shape().unwrap_or(&self.input_shape)
    }

    /// Names of the layers, in order.
    pub fn layer_names(&self) -> impl Iterator<Item = &str> {
        self.stack.layers.iter().map(|layer| layer.name.as_str())
    }

    /// Layers, shapes and numbers of weights; displays as Keras' `summary()`.
    pub fn summary(&self) -> Summary {
        let kept = layers::kept(&self.stack.layers);
        // Without autodiff every weight looks frozen; `train` shows what training would see.
        let layers = self.clone().train().stack.layers;
        let row = |(layer, kept): (Layer, usize)| {
            let mut shapes = Shapes::default();
            layer.kind.visit(&mut shapes);
            let trainable = shapes.trained_len();
            SummaryRow {
                name: layer.name,
                type_name: layer.type_name.to_owned(),
                output_shape: layer.output_shape,
                parameters: trainable.saturating_add(shapes.frozen),
                trainable,
                kept,
            }
        };
        let rows: Vec<SummaryRow> = layers.into_iter().zip(kept).map(row).collect();
        let sum = |of: fn(&SummaryRow) -> usize| rows.iter().map(of).fold(0, usize::saturating_add);
        let (trainable, parameters) = (sum(|row| row.trainable), sum(|row| row.parameters));
        Summary { trainable, non_trainable: parameters - trainable, rows }
    }

    /// The same model with each [normalization](crate::layers::Normalization) adapted to the first
    /// `samples` of `data`: to the mean and the variance of what comes in. Layers before it are run as
    /// in prediction. Does nothing where there is none, or where mean and variance were given.
    ///
    /// Reads the samples once for each such layer.
    ///
    /// # Errors
    /// When the data cannot be had, does not fit the model, or has no samples.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::layers::{Dense, Normalization};
    /// use refrain_burn::{AnyTensor, ArrayDataset, Sequential, Targets};
    ///
    /// let data: ArrayDataset<AnyTensor, Targets> = ArrayDataset::new(&[1], vec![1.0, 3.0, 100.0])?;
    /// let model = Sequential::input(&[1])
    ///     .layer(Normalization::new())
    ///     .layer(Dense::new(1))
    ///     .build(42)?
    ///     .adapt(&data, 2)?;
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn adapt<T, D>(mut self, data: &D, samples: usize) -> Result<Self>
    where
        D: Dataset<Batch = Batch<AnyTensor, T>>,
    {
        let samples = samples.min(data.len());
        let device = self.devices().into_iter().next().unwrap_or_else(Device::flex);
        let mut batches = |visit: &mut dyn FnMut(Tensor<2>) -> Result| {
            for first in (0..samples).step_by(ADAPTED_AT_ONCE) {
                let indices: Vec<usize> = (first..(first + ADAPTED_AT_ONCE).min(samples)).collect();
                let inputs = data.batch(&indices)?.inputs;
                self.check_input(&inputs)?;
                visit(inputs.onto(&device.clone().without_autodiff()).into_rows())?;
            }
            Ok(())
        };
        let mut stack = self.stack.clone();
        stack.adapt(&mut batches)?;
        self.stack = stack;
        Ok(self)
    }
}

impl SequentialBuilder {
    /// Appends a layer.
    pub fn layer(mut self, layer: impl Into<LayerConfig>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// Appends layers chosen at run time.
    pub fn layers(mut self, layers: impl IntoIterator<Item = LayerConfig>) -> Self {
        self.layers.extend(layers);
        self
    }

    /// Where the weights live, and where the model is trained. Default: Burn's default device, which is
    /// the CPU unless a Cargo feature such as `cuda` adds another one. See [`device`](crate::device()).
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// The model, with initial weights that are a function of `seed`.
    ///
    /// # Errors
    /// A configuration error that names the layer: a shape that does not fit, an option out of
    /// range, two layers of one name, no layers.
    pub fn build(self, seed: u64) -> Result<Sequential> {
        self.stack(Seed::Of(seed))
    }

    /// The model without its weights: layers, names and shapes are those that [`build`](Self::build)
    /// would make, and it takes no memory, however large they are.
    ///
    /// It is there to be looked at: its weights are all 0.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::Sequential;
    /// use refrain_burn::layers::Dense;
    ///
    /// // 4 GB of weights.
    /// let model = Sequential::input(&[1000]).layer(Dense::new(1_000_000)).outline()?;
    /// assert_eq!(model.summary().parameters(), 1_001_000_000);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn outline(self) -> Result<Sequential> {
        self.stack(Seed::Outline)
    }

    fn stack(self, seed: Seed) -> Result<Sequential> {
        if self.layers.is_empty() {
            return Err(Error::config(
                "the model has no layers; allowed: 1 or more, for example \
                 { type = \"dense\", units = 10 }",
            ));
        }
        let elements = self.input_shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        if self.input_shape.is_empty() || elements.is_none_or(|n| n == 0 || n > i32::MAX as usize) {
            return Err(Error::config(format!(
                "the model's input has the shape {:?}; allowed: 1 axis or more, each of length 1 \
                 or more, up to {} elements in all",
                self.input_shape,
                i32::MAX
            )));
        }

        let stack = Stack::build(&self.layers, &self.input_shape, seed, &self.device)?;
        Ok(Sequential { input_shape: self.input_shape, stack })
    }
}

impl Forward for Sequential {
    type Input = AnyTensor;
    type Output = Tensor<2>;

    /// Without dropout; but inside of another module that is being trained (where tensors see
    /// autodiff), with dropout on the device's random numbers.
    fn forward(&self, input: AnyTensor) -> Tensor<2> {
        self.pass(input, Pass::inference())
    }

    fn pass(&self, input: AnyTensor, pass: Pass) -> Tensor<2> {
        self.stack.forward(input.into_rows(), pass, &mut Vec::new())
    }

    fn penalized_pass(&self, input: AnyTensor, pass: Pass) -> (Tensor<2>, Option<Tensor<1>>) {
        let mut penalties = Vec::new();
        let output = self.stack.forward(input.into_rows(), pass, &mut penalties);
        self.stack.penalties(&mut penalties);
        (output, sum(penalties))
    }

    fn closing_activation(&self) -> Option<ClosingActivation> {
        let last = self.stack.layers.last()?;
        if last.rules.activity().is_some() {
            // A penalty on the outputs must see them.
            return None;
        }
        match last.closing_activation() {
            // Of a vector it is a softmax of the row. Convolutions take it along their filters.
            Activation::Softmax => match (self.output_shape(), &last.kind) {
                ([_], _) => Some(ClosingActivation::Softmax),
                ([_, _], Kind::Dense(_) | Kind::Activation(_)) => {
                    Some(ClosingActivation::StepSoftmax)
                }
                _ => None,
            },
            Activation::Sigmoid => Some(ClosingActivation::Sigmoid),
            _ => None,
        }
    }

    fn close(&self, logits: Tensor<2>) -> Tensor<2> {
        match self.stack.layers.last() {
            Some(layer) => layer.close(logits),
            None => logits,
        }
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        let mut penalties = Vec::new();
        self.stack.penalties(&mut penalties);
        sum(penalties)
    }

    fn constrained(self) -> Self {
        Self { stack: self.stack.constrained(), ..self }
    }

    fn check_input(&self, input: &AnyTensor) -> Result {
        if input.sample_shape() == self.input_shape {
            return match self.stack.layers.first() {
                Some(Layer { kind: Kind::Embedding(layer), .. }) => {
                    layer.check(input.clone().into_rows())
                }
                _ => Ok(()),
            };
        }
        Err(Error::data(format!(
            "samples have the shape {:?}, and the model takes {:?}",
            input.sample_shape(),
            self.input_shape
        )))
    }
}

fn sum(penalties: Vec<Tensor<1>>) -> Option<Tensor<1>> {
    penalties.into_iter().reduce(|sum, penalty| sum + penalty)
}

/// Written by hand because a parameter's path is to be `dense.weight`, and the derived one is
/// `stack.dense.weight`.
impl Module for Sequential {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.stack.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self { stack: self.stack.fork(device), ..self }
    }

    fn to_device(self, device: &Device) -> Self {
        Self { stack: self.stack.to_device(device), ..self }
    }

    fn train(self) -> Self {
        Self { stack: self.stack.train(), ..self }
    }

    fn valid(&self) -> Self {
        Self { stack: self.stack.valid(), input_shape: self.input_shape.clone() }
    }

    fn materialize(self) -> Self {
        Self { stack: self.stack.materialize(), ..self }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.stack.visit(visitor);
    }

    fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
        Self { stack: self.stack.map(mapper), ..self }
    }
}

impl ModuleDisplayDefault for Sequential {
    fn content(&self, content: Content) -> Option<Content> {
        self.stack.content(content)
    }
}

impl ModuleDisplay for Sequential {}

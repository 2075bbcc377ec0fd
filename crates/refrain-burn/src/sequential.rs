//! A stack of layers: the model of a recipe.

use std::collections::{HashMap, HashSet};

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};
use refrain_core::{Error, Escaped, Result};

use crate::activation::Activation;
use crate::any_tensor::AnyTensor;
use crate::forward::{ClosingActivation, Forward, Pass};
use crate::initializer::Seed;
use crate::layers::{self, Kind, Layer, LayerConfig, Place};
use crate::summary::{Summary, SummaryRow};
use crate::weights::Shapes;

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
    layers: Vec<Layer>,
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
        self.layers.last().map_or(&self.input_shape, |layer| &layer.output_shape)
    }

    /// Names of the layers, in order.
    pub fn layer_names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|layer| layer.name.as_str())
    }

    /// Layers, shapes and numbers of weights; displays as Keras' `summary()`.
    pub fn summary(&self) -> Summary {
        let kept = layers::kept(&self.layers);
        // Without autodiff every weight looks frozen; `train` shows what training would see.
        let layers = self.clone().train().layers;
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
                trained_shapes: shapes.trained,
                kept,
            }
        };
        let rows: Vec<SummaryRow> = layers.into_iter().zip(kept).map(row).collect();
        let sum = |of: fn(&SummaryRow) -> usize| rows.iter().map(of).fold(0, usize::saturating_add);
        let (trainable, parameters) = (sum(|row| row.trainable), sum(|row| row.parameters));
        Summary { trainable, non_trainable: parameters - trainable, rows }
    }

    /// The same stack with each layer's weights changed.
    fn map_layers(mut self, mut change: impl FnMut(&str, Kind) -> Kind) -> Self {
        let layers = self.layers.into_iter();
        let change = |layer: Layer| Layer { kind: change(&layer.name, layer.kind), ..layer };
        self.layers = layers.map(change).collect();
        self
    }

    /// Layers that have weights.
    fn weighted(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.kind.has_weights())
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

    /// Where the weights live. Default: Burn's default device.
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

        let mut names = Names::default();
        let mut shape = self.input_shape.clone();
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, config) in (0..).zip(&self.layers) {
            let place = Place {
                name: names.name(config)?,
                type_name: config.type_name(),
                index,
                input_shape: &shape,
                seed,
                device: &self.device,
            };
            let layer = config.build(&place)?;
            shape.clone_from(&layer.output_shape);
            layers.push(layer);
        }
        Ok(Sequential { input_shape: self.input_shape, layers })
    }
}

/// Names of layers: given, or `dense`, `dense_1`, ... as in Keras.
#[derive(Default)]
struct Names {
    counts: HashMap<&'static str, usize>,
    taken: HashSet<String>,
}

impl Names {
    fn name(&mut self, config: &LayerConfig) -> Result<String> {
        let name = match config.name() {
            Some(given) => given.to_owned(),
            None => {
                let count = self.counts.entry(config.type_name()).or_default();
                *count += 1;
                match *count {
                    1 => config.type_name().to_owned(),
                    n => format!("{}_{}", config.type_name(), n - 1),
                }
            }
        };
        // A dot would read as the name of a layer within a layer.
        if name.is_empty() || name.chars().any(|c| c == '.' || c == '/' || c.is_control()) {
            return Err(Error::config(format!(
                "a layer is named `{}`; allowed: at least one character, no dots, slashes or \
                 control characters",
                Escaped(&name)
            )));
        }
        if !self.taken.insert(name.clone()) {
            return Err(Error::config(format!(
                "two layers are named `{name}`; give one of them another `name`"
            )));
        }
        Ok(name)
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
        layers::forward(&self.layers, input.into_rows(), pass)
    }

    fn closing_activation(&self) -> Option<ClosingActivation> {
        match self.layers.last()?.closing_activation() {
            // Of a vector only: along the last axis of an image it is no softmax of the row.
            Activation::Softmax if self.output_shape().len() == 1 => {
                Some(ClosingActivation::Softmax)
            }
            Activation::Sigmoid => Some(ClosingActivation::Sigmoid),
            _ => None,
        }
    }

    fn close(&self, logits: Tensor<2>) -> Tensor<2> {
        match self.layers.last() {
            Some(layer) => layer.closing_activation().forward(logits),
            None => logits,
        }
    }

    fn check_input(&self, input: &AnyTensor) -> Result {
        if input.sample_shape() == self.input_shape {
            return match self.layers.first() {
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

/// Written by hand because a parameter's path is to be `dense.weight`, and the derived one is
/// `layers.0.Dense.weight`.
impl Module for Sequential {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.layers.iter().fold(devices, |devices, layer| layer.kind.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.map_layers(|_, layer| layer.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_layers(|_, layer| layer.onto(device))
    }

    fn train(self) -> Self {
        self.map_layers(|_, layer| layer.train())
    }

    fn valid(&self) -> Self {
        self.clone().map_layers(|_, layer| layer.valid())
    }

    fn materialize(self) -> Self {
        self.map_layers(|_, layer| layer.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for Layer { name, kind, .. } in self.weighted() {
            visitor.enter_module(name, "Struct:Sequential");
            kind.visit(visitor);
            visitor.exit_module(name, "Struct:Sequential");
        }
    }

    fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
        self.map_layers(|name, layer| {
            if !layer.has_weights() {
                return layer;
            }
            mapper.enter_module(name, "Struct:Sequential");
            let layer = layer.map(mapper);
            mapper.exit_module(name, "Struct:Sequential");
            layer
        })
    }
}

impl ModuleDisplayDefault for Sequential {
    fn content(&self, content: Content) -> Option<Content> {
        self.layers
            .iter()
            .fold(content, |content, layer| content.add_formatted(&layer.name))
            .set_top_level_type("Sequential")
            .optional()
    }
}

impl ModuleDisplay for Sequential {}

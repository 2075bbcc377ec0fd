//! The layers of a [`Sequential`](crate::Sequential): what can be asked for, and what it becomes.

mod activation;
mod conv2d;
mod dense;
mod depthwise_conv2d;
mod dropout;
mod embedding;
mod flatten;
mod global_pooling2d;
mod noise;
mod normalization;
mod pooling2d;
mod recurrent;
mod reshape;
mod windows;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::{Error, Result};

use crate::activation::Activation as ActivationFunction;
use crate::forward::Pass;
use crate::initializer::Seed;

pub use activation::Activation;
pub use conv2d::Conv2d;
pub use dense::Dense;
pub use depthwise_conv2d::DepthwiseConv2d;
pub use dropout::{Dropout, SpatialDropout2d};
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use global_pooling2d::{GlobalAveragePooling2d, GlobalMaxPooling2d};
pub use noise::{GaussianNoise, Rescaling};
pub use normalization::{
    BatchNormalization, GroupNormalization, LayerNormalization, RmsNormalization,
};
pub use pooling2d::{AveragePooling2d, MaxPooling2d};
pub use recurrent::{Gru, Lstm, SimpleRnn};
pub use reshape::{Permute, Reshape};
pub use windows::{HeightWidth, Padding};

pub(crate) use windows::Windows;

/// More weights than this in one layer (8 GiB of f32) are taken for a mistake.
const MAX_WEIGHTS: usize = 1 << 31;

/// More elements than this in one sample are taken for a mistake, as in a model's input.
const MAX_ELEMENTS: usize = i32::MAX as usize;

/// Each layer with its name in recipes and its name in Keras.
macro_rules! layer_configs {
    ($($layer:ident, $type_name:literal, $keras_name:literal;)+) => {
        /// A layer as it is asked for; built with the shape of what comes in.
        ///
        /// # Example
        /// ```
        /// use refrain_burn::layers::{Dense, LayerConfig};
        /// use refrain_burn::Activation;
        /// let layer = LayerConfig::from(Dense::new(128).activation(Activation::Relu));
        /// assert_eq!(layer.type_name(), "dense");
        /// ```
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "each variant is the layer of that name")]
        pub enum LayerConfig {
            $($layer($layer),)+
        }

        impl LayerConfig {
            /// The types that a recipe may name.
            pub const TYPES: &[&str] = &[$($type_name),+];

            /// The type as a recipe names it; also the layer's name, if it is given none.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$layer(_) => $type_name,)+
                }
            }

            /// The type as Keras' summary names it.
            fn keras_name(&self) -> &'static str {
                match self {
                    $(Self::$layer(_) => $keras_name,)+
                }
            }

            /// The name that was given.
            pub fn name(&self) -> Option<&str> {
                match self {
                    $(Self::$layer(config) => config.name.as_deref(),)+
                }
            }
        }

        $(impl From<$layer> for LayerConfig {
            fn from(config: $layer) -> Self {
                Self::$layer(config)
            }
        })+
    };
}

layer_configs! {
    Flatten, "flatten", "Flatten";
    Dense, "dense", "Dense";
    Dropout, "dropout", "Dropout";
    Activation, "activation", "Activation";
    Conv2d, "conv2d", "Conv2D";
    DepthwiseConv2d, "depthwise_conv2d", "DepthwiseConv2D";
    MaxPooling2d, "max_pooling2d", "MaxPooling2D";
    AveragePooling2d, "average_pooling2d", "AveragePooling2D";
    GlobalAveragePooling2d, "global_average_pooling2d", "GlobalAveragePooling2D";
    GlobalMaxPooling2d, "global_max_pooling2d", "GlobalMaxPooling2D";
    Reshape, "reshape", "Reshape";
    Permute, "permute", "Permute";
    Lstm, "lstm", "LSTM";
    Gru, "gru", "GRU";
    SimpleRnn, "simple_rnn", "SimpleRNN";
    LayerNormalization, "layer_normalization", "LayerNormalization";
    BatchNormalization, "batch_normalization", "BatchNormalization";
    GroupNormalization, "group_normalization", "GroupNormalization";
    RmsNormalization, "rms_normalization", "RMSNormalization";
    Embedding, "embedding", "Embedding";
    SpatialDropout2d, "spatial_dropout2d", "SpatialDropout2D";
    GaussianNoise, "gaussian_noise", "GaussianNoise";
    Rescaling, "rescaling", "Rescaling";
}

impl LayerConfig {
    /// The activation with which the layer ends, where it has one.
    pub fn activation(&self) -> Option<ActivationFunction> {
        match self {
            Self::Dense(config) => Some(config.activation),
            Self::Activation(config) => Some(config.activation),
            Self::Conv2d(config) => Some(config.activation),
            Self::DepthwiseConv2d(config) => Some(config.activation),
            _ => None,
        }
    }

    /// The layer for inputs of the shape in `place`.
    pub(crate) fn build(&self, place: &Place<'_>) -> Result<Layer> {
        let same_shape = || place.input_shape.to_vec();
        let (kind, output_shape) = match self {
            Self::Flatten(_) => (Kind::Flatten, vec![place.input_elements()]),
            Self::Dense(config) => (Kind::Dense(config.build(place)?), vec![config.units]),
            Self::Dropout(config) => (Kind::Dropout(config.build(place)?), same_shape()),
            Self::Activation(config) => (Kind::Activation(config.activation), same_shape()),
            Self::Conv2d(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Conv2d(layer), shape)
            }
            Self::DepthwiseConv2d(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Conv2d(layer), shape)
            }
            Self::MaxPooling2d(config) => {
                let (windows, shape) = config.build(place)?;
                (Kind::MaxPooling2d(windows), shape)
            }
            Self::AveragePooling2d(config) => {
                let (windows, shape) = config.build(place)?;
                (Kind::AveragePooling2d(windows), shape)
            }
            Self::GlobalAveragePooling2d(config) => {
                let channels = config.build(place)?;
                (Kind::GlobalAveragePooling2d { channels }, vec![channels])
            }
            Self::GlobalMaxPooling2d(config) => {
                let channels = config.build(place)?;
                (Kind::GlobalMaxPooling2d { channels }, vec![channels])
            }
            Self::Reshape(config) => (Kind::Reshape, config.build(place)?),
            Self::Permute(config) => {
                let (axes, shape) = config.build(place)?;
                (Kind::Permute(axes), shape)
            }
            Self::Lstm(config) => config.build(place)?,
            Self::Gru(config) => config.build(place)?,
            Self::SimpleRnn(config) => config.build(place)?,
            Self::LayerNormalization(config) => {
                (Kind::Normalization(config.build(place)?), same_shape())
            }
            Self::BatchNormalization(config) => {
                (Kind::BatchNormalization(config.build(place)?), same_shape())
            }
            Self::GroupNormalization(config) => {
                (Kind::Normalization(config.build(place)?), same_shape())
            }
            Self::RmsNormalization(config) => {
                (Kind::RmsNormalization(config.build(place)?), same_shape())
            }
            Self::Embedding(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Embedding(layer), shape)
            }
            Self::SpatialDropout2d(config) => (Kind::Dropout(config.build(place)?), same_shape()),
            Self::GaussianNoise(config) => (Kind::Noise(config.build(place)?), same_shape()),
            Self::Rescaling(config) => {
                let (scale, offset) = config.build(place)?;
                (Kind::Rescaling { scale, offset }, same_shape())
            }
        };
        let (name, type_name) = (place.name.clone(), self.keras_name());
        Ok(Layer { name, type_name, kind, output_shape })
    }
}

/// Where a layer stands: what its building may depend on.
pub(crate) struct Place<'a> {
    pub name: String,
    pub type_name: &'static str,
    /// Counted from 0.
    pub index: u64,
    pub input_shape: &'a [usize],
    pub seed: Seed,
    pub device: &'a Device,
}

impl Place<'_> {
    pub(crate) fn input_elements(&self) -> usize {
        self.input_shape.iter().product()
    }

    /// A weight of the layer. In an outline it has its shape, and takes no memory.
    pub(crate) fn weight<const D: usize>(
        &self,
        values: Vec<f32>,
        shape: [usize; D],
    ) -> Param<Tensor<D>> {
        match self.seed {
            Seed::Of(_) => Param::from_data(TensorData::new(values, shape), self.device),
            Seed::Outline => Param::from_tensor(self.constant(0.0, shape)),
        }
    }

    /// The same number everywhere.
    pub(crate) fn constant<const D: usize>(&self, value: f64, shape: [usize; D]) -> Tensor<D> {
        match self.seed {
            Seed::Of(_) => Tensor::full(shape, value, self.device),
            // One number, seen everywhere.
            Seed::Outline => Tensor::<D>::full([1; D], value, self.device).expand(shape),
        }
    }

    /// Refuses an output that is too large.
    pub(crate) fn check_elements(&self, output_shape: &[usize]) -> Result {
        let elements = output_shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        if elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
            return Err(self.error(format!(
                "its output would have the shape {output_shape:?}; allowed: up to {MAX_ELEMENTS} \
                 elements for each sample"
            )));
        }
        Ok(())
    }

    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::config(format!("layer {} `{}`: {message}", self.index + 1, self.name))
    }
}

/// A layer that was built.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub name: String,
    /// As Keras' summary has it.
    pub type_name: &'static str,
    pub kind: Kind,
    /// Of one sample.
    pub output_shape: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Flatten,
    Dense(dense::DenseLayer),
    Dropout(dropout::DropoutLayer),
    Activation(ActivationFunction),
    Conv2d(conv2d::Conv2dLayer),
    MaxPooling2d(Windows),
    AveragePooling2d(Windows),
    GlobalAveragePooling2d { channels: usize },
    GlobalMaxPooling2d { channels: usize },
    Reshape,
    Permute(reshape::Axes),
    Recurrent(recurrent::RecurrentLayer<1>),
    RecurrentWithTwoBiases(recurrent::RecurrentLayer<2>),
    Normalization(normalization::NormalizationLayer),
    BatchNormalization(normalization::BatchNormalizationLayer),
    RmsNormalization(normalization::RmsLayer),
    Embedding(embedding::EmbeddingLayer),
    Noise(noise::NoiseLayer),
    Rescaling { scale: f64, offset: f64 },
}

impl Layer {
    /// The activation that the layer ends with.
    pub(crate) fn closing_activation(&self) -> ActivationFunction {
        match &self.kind {
            Kind::Dense(dense) => dense.activation,
            Kind::Activation(activation) => *activation,
            Kind::Conv2d(conv) => conv.activation,
            _ => ActivationFunction::Linear,
        }
    }

    fn kept(&self, next: Option<&Layer>) -> usize {
        let outputs = self.output_shape.iter().fold(1_usize, |n, &axis| n.saturating_mul(axis));
        let times = |n: usize| outputs.saturating_mul(n);
        match &self.kind {
            // The same numbers in another shape.
            Kind::Flatten | Kind::Reshape => 0,
            // One operation with the pooling, and never in memory as a whole.
            Kind::Conv2d(conv)
                if conv.pools_in_one_pass()
                    && next.is_some_and(|next| matches!(next.kind, Kind::MaxPooling2d(_))) =>
            {
                0
            }
            // Positions or a mask beside the output.
            Kind::MaxPooling2d(_) | Kind::GlobalMaxPooling2d { .. } | Kind::Dropout(_) => times(2),
            Kind::Recurrent(layer) => layer.kept(),
            Kind::RecurrentWithTwoBiases(layer) => layer.kept(),
            Kind::BatchNormalization(_) => times(2),
            // Centred, squared, divided: step by step.
            Kind::Normalization(_) | Kind::RmsNormalization(_) => times(4),
            _ => outputs,
        }
    }

    /// Rows in, rows out: `[samples, elements of a sample]`.
    fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        match &self.kind {
            // Rows are flat already.
            Kind::Flatten | Kind::Reshape => x,
            Kind::Permute(axes) => axes.permute(x),
            Kind::Recurrent(layer) => layer.forward(x),
            Kind::RecurrentWithTwoBiases(layer) => layer.forward(x),
            Kind::Normalization(layer) => layer.forward(x),
            Kind::BatchNormalization(layer) => layer.forward(x, pass),
            Kind::RmsNormalization(layer) => layer.forward(x),
            Kind::Embedding(layer) => layer.forward(x),
            Kind::Noise(layer) => layer.forward(x, pass),
            Kind::Rescaling { scale, offset } => x * *scale + *offset,
            Kind::Dense(dense) => dense.forward(x, pass),
            Kind::Dropout(dropout) => dropout.forward(x, pass),
            Kind::Activation(_) if pass.logits => x,
            Kind::Activation(activation) => activation::forward(*activation, x, &self.output_shape),
            Kind::Conv2d(conv) => conv.forward(x, pass),
            Kind::MaxPooling2d(windows) => pooling2d::max(x, windows),
            Kind::AveragePooling2d(windows) => pooling2d::average(x, windows),
            Kind::GlobalAveragePooling2d { channels } => global_pooling2d::average(x, *channels),
            Kind::GlobalMaxPooling2d { channels } => global_pooling2d::max(x, *channels),
        }
    }
}

/// The layers' outputs, one after the other.
pub(crate) fn forward(layers: &[Layer], mut x: Tensor<2>, pass: Pass) -> Tensor<2> {
    let mut layers = layers;
    while let [layer, rest @ ..] = layers {
        layers = rest;
        if let (Kind::Conv2d(conv), [Layer { kind: Kind::MaxPooling2d(pool), .. }, rest @ ..]) =
            (&layer.kind, rest)
            && let Some(pooled) = conv.forward_pooled(&x, pool)
        {
            x = pooled;
            layers = rest;
            continue;
        }
        x = layer.forward(x, pass.logits(pass.logits && layers.is_empty()));
    }
    x
}

/// About how many numbers a training step keeps of each sample, by layer, for the backward pass.
/// Measured on the CPU: what Burn's operations and our kernels hold on to.
pub(crate) fn kept(layers: &[Layer]) -> Vec<usize> {
    let followers = layers.iter().skip(1).map(Some).chain([None]);
    layers.iter().zip(followers).map(|(layer, next)| layer.kept(next)).collect()
}

/// The layer's weights as a Burn module, where it has any; `$other` where not.
macro_rules! weights {
    ($kind:expr, $module:ident => $value:expr, else $other:expr) => {
        match $kind {
            Kind::Dense($module) => $value,
            Kind::Conv2d($module) => $value,
            Kind::Recurrent($module) => $value,
            Kind::RecurrentWithTwoBiases($module) => $value,
            Kind::Normalization($module) => $value,
            Kind::BatchNormalization($module) => $value,
            Kind::RmsNormalization($module) => $value,
            Kind::Embedding($module) => $value,
            _ => $other,
        }
    };
}

/// The same layer with its weights, where it has any, replaced by `$value`.
macro_rules! replace_weights {
    ($kind:expr, $module:ident => $value:expr) => {
        match $kind {
            Kind::Dense($module) => Kind::Dense($value),
            Kind::Conv2d($module) => Kind::Conv2d($value),
            Kind::Recurrent($module) => Kind::Recurrent($value),
            Kind::RecurrentWithTwoBiases($module) => Kind::RecurrentWithTwoBiases($value),
            Kind::Normalization($module) => Kind::Normalization($value),
            Kind::BatchNormalization($module) => Kind::BatchNormalization($value),
            Kind::RmsNormalization($module) => Kind::RmsNormalization($value),
            Kind::Embedding($module) => Kind::Embedding($value),
            other => other,
        }
    };
}

/// What Burn asks of modules, for a layer of any kind.
impl Kind {
    /// Whether there is anything to visit.
    pub(crate) fn has_weights(&self) -> bool {
        weights!(self, _module => true, else false)
    }

    pub(crate) fn collect_devices(&self, devices: Devices) -> Devices {
        weights!(self, module => module.collect_devices(devices), else devices)
    }

    pub(crate) fn fork(self, device: &Device) -> Self {
        replace_weights!(self, module => module.fork(device))
    }

    pub(crate) fn onto(self, device: &Device) -> Self {
        replace_weights!(self, module => module.to_device(device))
    }

    pub(crate) fn train(self) -> Self {
        replace_weights!(self, module => module.train())
    }

    pub(crate) fn valid(self) -> Self {
        replace_weights!(self, module => module.valid())
    }

    pub(crate) fn materialize(self) -> Self {
        replace_weights!(self, module => module.materialize())
    }

    pub(crate) fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        weights!(self, module => module.visit(visitor), else ());
    }

    pub(crate) fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
        replace_weights!(self, module => module.map(mapper))
    }
}

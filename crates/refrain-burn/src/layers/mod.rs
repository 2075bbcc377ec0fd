//! The layers of a [`Sequential`](crate::Sequential): what can be asked for, and what it becomes.

mod activation;
mod adapted;
mod affine;
mod attention;
mod augmentation;
mod bend;
mod bidirectional;
mod conv1d;
mod conv2d;
mod conv2d_transpose;
mod dense;
mod depthwise_conv2d;
mod dropout;
mod embedding;
mod flatten;
mod global_pooling1d;
mod global_pooling2d;
mod kernel_options;
mod names;
mod noise;
mod normalization;
mod pooling1d;
mod pooling2d;
mod prelu;
mod recurrent;
mod reshape;
mod residual;
mod rules;
mod separable_conv;
mod sequences;
mod softmax;
mod stack;
mod windows;

use std::cell::RefCell;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::{Error, Result};

use crate::activation::Activation as ActivationFunction;
use crate::forward::Pass;
use crate::initializer::Seed;

pub use activation::Activation;
pub use adapted::Normalization;
pub use affine::{FillMode, Interpolation};
pub use attention::MultiHeadAttention;
pub use augmentation::{
    Factor, FlipMode, RandomFlip, RandomRotation, RandomTranslation, RandomZoom,
};
pub use bend::{Elu, LeakyRelu, Relu};
pub use bidirectional::{Bidirectional, MergeMode, Recurrent};
pub use conv1d::Conv1d;
pub use conv2d::Conv2d;
pub use conv2d_transpose::Conv2dTranspose;
pub use dense::Dense;
pub use depthwise_conv2d::DepthwiseConv2d;
pub use dropout::{Dropout, SpatialDropout2d};
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use global_pooling1d::{GlobalAveragePooling1d, GlobalMaxPooling1d};
pub use global_pooling2d::{GlobalAveragePooling2d, GlobalMaxPooling2d};
pub use noise::{GaussianNoise, Rescaling};
pub use normalization::{
    BatchNormalization, GroupNormalization, LayerNormalization, RmsNormalization,
};
pub use pooling1d::{AveragePooling1d, MaxPooling1d};
pub use pooling2d::{AveragePooling2d, MaxPooling2d};
pub use prelu::Prelu;
pub use recurrent::{Gru, Lstm, SimpleRnn};
pub use reshape::{Permute, Reshape};
pub use residual::Residual;
pub use separable_conv::{SeparableConv1d, SeparableConv2d};
pub use softmax::Softmax;
pub use windows::{HeightWidth, Padding};

pub(crate) use stack::Stack;
pub(crate) use windows::Windows;

use names::Names;
use rules::Rules;

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
    Conv1d, "conv1d", "Conv1D";
    Conv2dTranspose, "conv2d_transpose", "Conv2DTranspose";
    MaxPooling1d, "max_pooling1d", "MaxPooling1D";
    AveragePooling1d, "average_pooling1d", "AveragePooling1D";
    GlobalAveragePooling1d, "global_average_pooling1d", "GlobalAveragePooling1D";
    GlobalMaxPooling1d, "global_max_pooling1d", "GlobalMaxPooling1D";
    Bidirectional, "bidirectional", "Bidirectional";
    MultiHeadAttention, "multi_head_attention", "MultiHeadAttention";
    Residual, "residual", "Residual";
    Normalization, "normalization", "Normalization";
    RandomFlip, "random_flip", "RandomFlip";
    RandomTranslation, "random_translation", "RandomTranslation";
    RandomRotation, "random_rotation", "RandomRotation";
    RandomZoom, "random_zoom", "RandomZoom";
    SeparableConv1d, "separable_conv1d", "SeparableConv1D";
    SeparableConv2d, "separable_conv2d", "SeparableConv2D";
    Prelu, "prelu", "PReLU";
    LeakyRelu, "leaky_relu", "LeakyReLU";
    Elu, "elu", "ELU";
    Relu, "relu", "ReLU";
    Softmax, "softmax", "Softmax";
}

impl LayerConfig {
    /// The activation with which the layer ends, where it has one.
    pub fn activation(&self) -> Option<ActivationFunction> {
        match self {
            Self::Dense(config) => Some(config.activation),
            Self::Activation(config) => Some(config.activation),
            Self::Conv2d(config) => Some(config.activation),
            Self::DepthwiseConv2d(config) => Some(config.activation),
            Self::Conv1d(config) => Some(config.activation),
            Self::Conv2dTranspose(config) => Some(config.activation),
            Self::SeparableConv1d(config) => Some(config.activation),
            Self::SeparableConv2d(config) => Some(config.activation),
            Self::Softmax(_) => Some(ActivationFunction::Softmax),
            _ => None,
        }
    }

    /// What is asked of its weights beside the loss.
    fn rules(&self) -> &Rules {
        match self {
            Self::Dense(config) => &config.rules,
            Self::Conv1d(config) => &config.rules,
            Self::Conv2d(config) => &config.rules,
            Self::Conv2dTranspose(config) => &config.rules,
            Self::DepthwiseConv2d(config) => &config.rules,
            Self::SeparableConv1d(config) => &config.rules,
            Self::SeparableConv2d(config) => &config.rules,
            Self::Prelu(config) => &config.rules,
            Self::Lstm(config) => &config.rules,
            Self::Gru(config) => &config.rules,
            Self::SimpleRnn(config) => &config.rules,
            Self::LayerNormalization(config) => &config.rules,
            Self::BatchNormalization(config) => &config.rules,
            Self::GroupNormalization(config) => &config.rules,
            Self::Embedding(config) => &config.rules,
            Self::MultiHeadAttention(config) => &config.rules,
            _ => Rules::NONE,
        }
    }

    /// The layer for inputs of the shape in `place`.
    pub(crate) fn build(&self, place: &Place<'_>) -> Result<Layer> {
        let same_shape = || place.input_shape.to_vec();
        let (kind, output_shape) = match self {
            Self::Flatten(_) => (Kind::Flatten, vec![place.input_elements()]),
            Self::Dense(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Dense(layer), shape)
            }
            Self::Dropout(config) => (Kind::Dropout(config.build(place)?), same_shape()),
            Self::Activation(config) => {
                (Kind::Activation(config.activation), config.output_shape(place)?)
            }
            Self::Conv2d(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Conv2d(layer), shape)
            }
            Self::DepthwiseConv2d(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::DepthwiseConv2d(layer), shape)
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
            Self::Conv1d(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Conv1d(layer), shape)
            }
            Self::Conv2dTranspose(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Conv2dTranspose(layer), shape)
            }
            Self::MaxPooling1d(config) => {
                let (windows, shape) = config.build(place)?;
                (Kind::MaxPooling1d(windows), shape)
            }
            Self::AveragePooling1d(config) => {
                let (windows, shape) = config.build(place)?;
                (Kind::AveragePooling1d(windows), shape)
            }
            Self::GlobalAveragePooling1d(config) => {
                let features = config.build(place)?;
                (Kind::GlobalAveragePooling1d { features }, vec![features])
            }
            Self::GlobalMaxPooling1d(config) => {
                let features = config.build(place)?;
                (Kind::GlobalMaxPooling1d { features }, vec![features])
            }
            Self::Bidirectional(config) => {
                let (layers, merge, shape) = config.build(place)?;
                (Kind::Bidirectional(layers, merge), shape)
            }
            Self::MultiHeadAttention(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::Attention(layer), shape)
            }
            Self::Residual(config) => (Kind::Residual(config.build(place)?), same_shape()),
            Self::Normalization(config) => (Kind::Adapted(config.build(place)?), same_shape()),
            Self::RandomFlip(config) => (Kind::Augmentation(config.build(place)?), same_shape()),
            Self::RandomTranslation(config) => {
                (Kind::Augmentation(config.build(place)?), same_shape())
            }
            Self::RandomRotation(config) => {
                (Kind::Augmentation(config.build(place)?), same_shape())
            }
            Self::RandomZoom(config) => (Kind::Augmentation(config.build(place)?), same_shape()),
            Self::SeparableConv1d(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::SeparableConv1d(layer), shape)
            }
            Self::SeparableConv2d(config) => {
                let (layer, shape) = config.build(place)?;
                (Kind::SeparableConv2d(layer), shape)
            }
            Self::Prelu(config) => (config.build(place)?, same_shape()),
            Self::LeakyRelu(config) => (Kind::Bend(config.build(place)?), same_shape()),
            Self::Elu(config) => (Kind::Bend(config.build(place)?), same_shape()),
            Self::Relu(config) => (Kind::Bend(config.build(place)?), same_shape()),
            Self::Softmax(_) => (Kind::Activation(ActivationFunction::Softmax), same_shape()),
        };
        let rules = self.rules();
        rules.check(&kind, place)?;
        let (name, type_name) = (place.name.clone(), self.keras_name());
        Ok(Layer { name, type_name, kind, output_shape, rules: rules.clone() })
    }
}

/// Where a layer stands: what its building may depend on.
pub(crate) struct Place<'a> {
    pub name: String,
    pub type_name: &'static str,
    /// Within its stack, counted from 0.
    pub position: usize,
    /// What tells its random numbers from those of other layers; the position of a model's own layers.
    pub index: u64,
    pub input_shape: &'a [usize],
    pub seed: Seed,
    pub device: &'a Device,
    /// The layer that it is within.
    pub parent: Option<&'a Place<'a>>,
    /// Of the whole model.
    pub names: &'a RefCell<Names>,
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

    /// Refuses an activation that changes the number of features, where they are counted already.
    pub(crate) fn check_elementwise(&self, activation: ActivationFunction) -> Result {
        if activation == ActivationFunction::Glu {
            return Err(self.error(format!(
                "its activation is glu, which halves the last axis; allowed: in dense layers, and as \
                 {{ type = \"activation\", activation = \"glu\" }} where the last axis of the input of \
                 shape {:?} is to be halved",
                self.input_shape
            )));
        }
        Ok(())
    }

    /// How many layers it is within.
    pub(crate) fn depth(&self) -> usize {
        self.parent.map_or(0, |parent| parent.depth() + 1)
    }

    /// `layer 3 `residual`, layer 2 `dense`: message`.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        let mut place = format!("layer {} `{}`", self.position + 1, self.name);
        let mut outer = self.parent;
        while let Some(parent) = outer {
            place.insert_str(0, &format!("layer {} `{}`, ", parent.position + 1, parent.name));
            outer = parent.parent;
        }
        Error::config(format!("{place}: {message}"))
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
    pub rules: Rules,
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
    GlobalAveragePooling2d {
        channels: usize,
    },
    GlobalMaxPooling2d {
        channels: usize,
    },
    Reshape,
    Permute(reshape::Axes),
    Recurrent(recurrent::RecurrentLayer<1>),
    RecurrentWithTwoBiases(recurrent::RecurrentLayer<2>),
    Normalization(normalization::NormalizationLayer),
    BatchNormalization(normalization::BatchNormalizationLayer),
    RmsNormalization(normalization::RmsLayer),
    Embedding(embedding::EmbeddingLayer),
    Noise(noise::NoiseLayer),
    Rescaling {
        scale: f64,
        offset: f64,
    },
    DepthwiseConv2d(depthwise_conv2d::DepthwiseConv2dLayer),
    Conv1d(conv1d::Conv1dLayer),
    Conv2dTranspose(conv2d_transpose::Conv2dTransposeLayer),
    MaxPooling1d(Windows),
    AveragePooling1d(Windows),
    GlobalAveragePooling1d {
        features: usize,
    },
    GlobalMaxPooling1d {
        features: usize,
    },
    /// Two layers, side by side.
    Bidirectional(Stack, bidirectional::Merge),
    Attention(attention::AttentionLayer),
    Residual(Stack),
    Adapted(adapted::AdaptedLayer),
    Augmentation(augmentation::AugmentationLayer),
    SeparableConv1d(separable_conv::SeparableLayer<3>),
    SeparableConv2d(separable_conv::SeparableLayer<4>),
    PreluOfVectors(prelu::PreluLayer<1>),
    PreluOfSequences(prelu::PreluLayer<2>),
    PreluOfImages(prelu::PreluLayer<3>),
    Bend(bend::Bend),
}

impl Layer {
    /// The activation that the layer ends with.
    pub(crate) fn closing_activation(&self) -> ActivationFunction {
        match &self.kind {
            Kind::Dense(dense) => dense.activation,
            Kind::Activation(activation) => *activation,
            Kind::Conv2d(layer) => layer.conv.activation,
            Kind::DepthwiseConv2d(layer) => layer.conv.activation,
            Kind::Conv1d(layer) => layer.conv.activation,
            Kind::Conv2dTranspose(layer) => layer.activation,
            Kind::SeparableConv1d(layer) => layer.pointwise.activation,
            Kind::SeparableConv2d(layer) => layer.pointwise.activation,
            _ => ActivationFunction::Linear,
        }
    }

    /// The activation that the layer ends with, of rows that it was left out of; along an axis, it is
    /// the last one of a sample.
    pub(crate) fn close(&self, x: Tensor<2>) -> Tensor<2> {
        activation::forward(self.closing_activation(), x, &self.output_shape)
    }

    fn kept(&self, next: Option<&Layer>) -> usize {
        let outputs = self.output_shape.iter().fold(1_usize, |n, &axis| n.saturating_mul(axis));
        let times = |n: usize| outputs.saturating_mul(n);
        match &self.kind {
            // The same numbers in another shape.
            Kind::Flatten | Kind::Reshape => 0,
            // One operation with the pooling, and never in memory as a whole.
            Kind::Conv2d(_) | Kind::DepthwiseConv2d(_)
                if self.pools_in_one_pass()
                    && next.is_some_and(|next| matches!(next.kind, Kind::MaxPooling2d(_))) =>
            {
                0
            }
            // Positions or a mask beside the output.
            Kind::MaxPooling2d(_)
            | Kind::MaxPooling1d(_)
            | Kind::GlobalMaxPooling2d { .. }
            | Kind::GlobalMaxPooling1d { .. }
            | Kind::Dropout(_)
            | Kind::Adapted(_) => times(2),
            Kind::Residual(inner) | Kind::Bidirectional(inner, _) => {
                kept(&inner.layers).into_iter().fold(outputs, usize::saturating_add)
            }
            Kind::Attention(layer) => outputs.saturating_add(layer.kept()),
            Kind::Recurrent(layer) => layer.kept(),
            Kind::RecurrentWithTwoBiases(layer) => layer.kept(),
            Kind::SeparableConv1d(layer) => outputs.saturating_add(layer.kept()),
            Kind::SeparableConv2d(layer) => outputs.saturating_add(layer.kept()),
            // What is above 0 and what is below, each for itself.
            Kind::PreluOfVectors(_)
            | Kind::PreluOfSequences(_)
            | Kind::PreluOfImages(_)
            | Kind::Bend(_) => times(2),
            // Centred, squared, divided: step by step.
            Kind::Normalization(_) | Kind::RmsNormalization(_) => times(3),
            // What the activation takes, where its gradient is not a function of the output.
            Kind::Conv2d(_) | Kind::DepthwiseConv2d(_) | Kind::Conv1d(_) | Kind::Dense(_)
                if !matches!(
                    self.closing_activation(),
                    ActivationFunction::Linear
                        | ActivationFunction::Relu
                        | ActivationFunction::Sigmoid
                        | ActivationFunction::Tanh
                        | ActivationFunction::Softmax
                ) =>
            {
                times(2)
            }
            _ => outputs,
        }
    }

    /// Whether it and a max pooling that follows are one operation.
    fn pools_in_one_pass(&self) -> bool {
        // A penalty on the outputs must see them.
        self.rules.activity().is_none() && self.kind.pools_in_one_pass()
    }

    /// Rows in, rows out: `[samples, elements of a sample]`. Adds what the outputs cost to `penalties`,
    /// also those of layers within.
    fn forward(&self, x: Tensor<2>, pass: Pass, penalties: &mut Vec<Tensor<1>>) -> Tensor<2> {
        let samples = x.dims()[0].max(1);
        let output = self.output(x, pass, penalties);
        if let Some(regularizer) = self.rules.activity() {
            penalties.push(regularizer.penalty(output.clone()) / samples as f32);
        }
        output
    }

    fn output(&self, x: Tensor<2>, pass: Pass, penalties: &mut Vec<Tensor<1>>) -> Tensor<2> {
        match &self.kind {
            // Rows are flat already.
            Kind::Flatten | Kind::Reshape => x,
            Kind::Residual(layers) => x.clone() + layers.forward(x, pass.logits(false), penalties),
            Kind::SeparableConv1d(layer) => layer.forward(x, pass),
            Kind::SeparableConv2d(layer) => layer.forward(x, pass),
            Kind::PreluOfVectors(layer) => layer.forward(x),
            Kind::PreluOfSequences(layer) => layer.forward(x),
            Kind::PreluOfImages(layer) => layer.forward(x),
            Kind::Bend(bend) => bend.forward(x),
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
            Kind::DepthwiseConv2d(layer) => layer.forward(x, pass),
            Kind::Conv1d(layer) => layer.forward(x, pass),
            Kind::Conv2dTranspose(layer) => layer.forward(x, pass),
            Kind::MaxPooling1d(windows) => pooling1d::max(x, windows),
            Kind::AveragePooling1d(windows) => pooling1d::average(x, windows),
            Kind::GlobalAveragePooling1d { features } => global_pooling1d::average(x, *features),
            Kind::GlobalMaxPooling1d { features } => global_pooling1d::max(x, *features),
            Kind::Bidirectional(layers, merge) => merge.forward(layers, x),
            Kind::Attention(layer) => layer.forward(x, pass),
            Kind::Adapted(layer) => layer.forward(x),
            Kind::Augmentation(layer) => layer.forward(x, pass),
            Kind::Conv2d(conv) => conv.forward(x, pass),
            Kind::MaxPooling2d(windows) => pooling2d::max(x, windows),
            Kind::AveragePooling2d(windows) => pooling2d::average(x, windows),
            Kind::GlobalAveragePooling2d { channels } => global_pooling2d::average(x, *channels),
            Kind::GlobalMaxPooling2d { channels } => global_pooling2d::max(x, *channels),
        }
    }
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
            Kind::DepthwiseConv2d($module) => $value,
            Kind::Conv1d($module) => $value,
            Kind::Conv2dTranspose($module) => $value,
            Kind::Bidirectional($module, _) => $value,
            Kind::Attention($module) => $value,
            Kind::Residual($module) => $value,
            Kind::Adapted($module) => $value,
            Kind::SeparableConv1d($module) => $value,
            Kind::SeparableConv2d($module) => $value,
            Kind::PreluOfVectors($module) => $value,
            Kind::PreluOfSequences($module) => $value,
            Kind::PreluOfImages($module) => $value,
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
            Kind::DepthwiseConv2d($module) => Kind::DepthwiseConv2d($value),
            Kind::Conv1d($module) => Kind::Conv1d($value),
            Kind::Conv2dTranspose($module) => Kind::Conv2dTranspose($value),
            Kind::Bidirectional($module, merge) => Kind::Bidirectional($value, merge),
            Kind::Attention($module) => Kind::Attention($value),
            Kind::Residual($module) => Kind::Residual($value),
            Kind::Adapted($module) => Kind::Adapted($value),
            Kind::SeparableConv1d($module) => Kind::SeparableConv1d($value),
            Kind::SeparableConv2d($module) => Kind::SeparableConv2d($value),
            Kind::PreluOfVectors($module) => Kind::PreluOfVectors($value),
            Kind::PreluOfSequences($module) => Kind::PreluOfSequences($value),
            Kind::PreluOfImages($module) => Kind::PreluOfImages($value),
            other => other,
        }
    };
}

/// What Burn asks of modules, for a layer of any kind.
impl Kind {
    /// Whether it and a max pooling that follows are one operation.
    fn pools_in_one_pass(&self) -> bool {
        match self {
            Self::Conv2d(layer) => layer.conv.pools_in_one_pass(),
            Self::DepthwiseConv2d(layer) => layer.conv.pools_in_one_pass(),
            _ => false,
        }
    }

    /// The layer and the max pooling that follows it, at once; `None` where they are not one.
    pub(crate) fn forward_pooled(&self, x: &Tensor<2>, pool: &Windows) -> Option<Tensor<2>> {
        match self {
            Self::Conv2d(layer) => layer.forward_pooled(x, pool),
            Self::DepthwiseConv2d(layer) => layer.forward_pooled(x, pool),
            _ => None,
        }
    }

    /// The layers that it holds.
    pub(crate) fn inner(&self) -> Option<&Stack> {
        match self {
            Self::Residual(layers) | Self::Bidirectional(layers, _) => Some(layers),
            _ => None,
        }
    }

    /// With the layers that it holds replaced by what `change` makes of them.
    pub(crate) fn map_inner(self, change: impl FnOnce(Stack) -> Stack) -> Self {
        match self {
            Self::Residual(layers) => Self::Residual(change(layers)),
            Self::Bidirectional(layers, merge) => Self::Bidirectional(change(layers), merge),
            other => other,
        }
    }

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

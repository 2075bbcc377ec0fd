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
mod kept;
mod kernel_options;
mod kind;
mod layer;
mod names;
mod noise;
mod normalization;
mod place;
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

use refrain_core::Result;

use crate::activation::Activation as ActivationFunction;

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

pub(crate) use kept::kept;
pub(crate) use kind::Kind;
pub(crate) use layer::Layer;
pub(crate) use place::Place;
pub(crate) use stack::Stack;
pub(crate) use windows::Windows;

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

//! What layers become, and their weights as Burn sees them.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::tensor::{Device, Tensor};

use super::stack::Stack;
use super::windows::Windows;
use super::{
    adapted, attention, augmentation, bend, bidirectional, conv1d, conv2d, conv2d_transpose, dense,
    depthwise_conv2d, dropout, embedding, noise, normalization, prelu, recurrent, reshape,
    separable_conv,
};
use crate::activation::Activation;

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Flatten,
    Dense(dense::DenseLayer),
    Dropout(dropout::DropoutLayer),
    Activation(Activation),
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
    pub(super) fn pools_in_one_pass(&self) -> bool {
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

//! A layer that was built, and its forward pass.

use burn::tensor::Tensor;

use super::kind::Kind;
use super::rules::Rules;
use super::{activation, global_pooling1d, global_pooling2d, pooling1d, pooling2d};
use crate::activation::Activation;
use crate::forward::Pass;

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

impl Layer {
    /// The activation that the layer ends with.
    pub(crate) fn closing_activation(&self) -> Activation {
        match &self.kind {
            Kind::Dense(dense) => dense.activation,
            Kind::Activation(activation) => *activation,
            Kind::Conv2d(layer) => layer.conv.activation,
            Kind::DepthwiseConv2d(layer) => layer.conv.activation,
            Kind::Conv1d(layer) => layer.conv.activation,
            Kind::Conv2dTranspose(layer) => layer.activation,
            Kind::SeparableConv1d(layer) => layer.pointwise.activation,
            Kind::SeparableConv2d(layer) => layer.pointwise.activation,
            _ => Activation::Linear,
        }
    }

    /// The activation that the layer ends with, of rows that it was left out of; along an axis, it is
    /// the last one of a sample.
    pub(crate) fn close(&self, x: Tensor<2>) -> Tensor<2> {
        activation::forward(self.closing_activation(), x, &self.output_shape)
    }

    /// Whether it and a max pooling that follows are one operation.
    pub(super) fn pools_in_one_pass(&self) -> bool {
        // A penalty on the outputs must see them.
        self.rules.activity().is_none() && self.kind.pools_in_one_pass()
    }

    /// Rows in, rows out: `[samples, elements of a sample]`. Adds what the outputs cost to `penalties`,
    /// also those of layers within.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        pass: Pass,
        penalties: &mut Vec<Tensor<1>>,
    ) -> Tensor<2> {
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

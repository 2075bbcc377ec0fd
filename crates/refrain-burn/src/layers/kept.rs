//! What a training step keeps in memory of each layer.

use super::kind::Kind;
use super::layer::Layer;
use crate::activation::Activation;

/// About how many numbers a training step keeps of each sample, by layer, for the backward pass.
/// Measured on the CPU: what Burn's operations and our kernels hold on to.
pub(crate) fn kept(layers: &[Layer]) -> Vec<usize> {
    let followers = layers.iter().skip(1).map(Some).chain([None]);
    layers.iter().zip(followers).map(|(layer, next)| layer.kept(next)).collect()
}

impl Layer {
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
                    Activation::Linear
                        | Activation::Relu
                        | Activation::Sigmoid
                        | Activation::Tanh
                        | Activation::Softmax
                ) =>
            {
                times(2)
            }
            _ => outputs,
        }
    }
}

//! What a model must be able to do: a forward pass.

use burn::module::Module;
use burn::tensor::Tensor;
use refrain_core::Result;

use crate::samples::Samples;

/// A Burn module that can be trained: says what goes in, what comes out, and how.
///
/// Only `Input`, `Output` and [`forward`](Self::forward) need to be written. In training the
/// module's tensors see autodiff and `forward` runs with dropout on; in evaluation and prediction
/// `forward` runs on the module's plain version ([`Module::valid`]), where dropout is off.
///
/// Several inputs are a tuple: `type Input = (Tensor<2>, Tensor<2, Int>)`.
pub trait Forward: Module + 'static {
    /// What one batch looks like: a tensor whose first axis is the sample, or a tuple of them.
    type Input: Samples;
    /// What the model makes of it.
    type Output: Samples;

    /// The forward pass.
    fn forward(&self, input: Self::Input) -> Self::Output;

    /// The forward pass as the learner runs it.
    ///
    /// By default calls [`forward`](Self::forward). Before each training pass the learner seeds the
    /// device's random numbers, so that dropout is a function of the step. Models with randomness of
    /// their own, or with a [closing activation](Self::closing_activation), override it.
    fn pass(&self, input: Self::Input, pass: Pass) -> Self::Output {
        let _ = pass;
        self.forward(input)
    }

    /// The softmax or sigmoid that ends the model, if it can be left out with [`Pass::logits`].
    ///
    /// A cross-entropy then works on the logits: one pass less, and no gradient is lost where a
    /// probability rounds to 0.
    fn closing_activation(&self) -> Option<ClosingActivation> {
        None
    }

    /// The closing activation alone, on logits.
    fn close(&self, logits: Self::Output) -> Self::Output {
        logits
    }

    /// What the weights themselves cost, `[1]`: added to the mean loss of each batch, in training and in
    /// evaluation. `None`, the default: nothing.
    fn penalty(&self) -> Option<Tensor<1>> {
        None
    }

    /// The forward pass with all that it costs beside the loss: the [penalty](Self::penalty) of the
    /// weights, which is the default, and that of outputs on their way, where a model has one.
    fn penalized_pass(&self, input: Self::Input, pass: Pass) -> (Self::Output, Option<Tensor<1>>) {
        (self.pass(input, pass), self.penalty())
    }

    /// The model with weights as it wants them; called after each update. The default leaves them.
    fn constrained(self) -> Self {
        self
    }

    /// Whether a batch fits the model; asked before each pass, so that a wrong shape is an error
    /// and not a panic inside of Burn.
    ///
    /// # Errors
    /// A data error that names both shapes.
    fn check_input(&self, input: &Self::Input) -> Result {
        let _ = input;
        Ok(())
    }
}

/// How the learner wants a forward pass to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pass {
    /// In training, the seed of everything random in this step; `None` in inference.
    pub seed: Option<u64>,
    /// Whether the model's [closing activation](Forward::closing_activation) is to be left out.
    pub logits: bool,
}

impl Pass {
    /// A pass without training: nothing random.
    pub fn inference() -> Self {
        Self::default()
    }

    /// A training pass; all that is random in it is a function of `seed`.
    pub fn training(seed: u64) -> Self {
        Self { seed: Some(seed), logits: false }
    }

    /// Whether the closing activation is to be left out.
    pub fn logits(mut self, logits: bool) -> Self {
        self.logits = logits;
        self
    }
}

/// An activation at the end of a model that turns logits into probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosingActivation {
    /// One distribution per sample.
    Softmax,
    /// One distribution for each step of each sample, along the last axis of `[steps, classes]`.
    StepSoftmax,
    /// One probability per output.
    Sigmoid,
}

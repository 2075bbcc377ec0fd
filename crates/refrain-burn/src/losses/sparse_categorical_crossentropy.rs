//! Cross-entropy against class labels.

use burn::tensor::{Int, Tensor};
use refrain_core::Result;

use super::{EPSILON, Loss, check_labels, log_probabilities};
use crate::forward::ClosingActivation;
use crate::kernels::cross_entropy;

const NAME: &str = "sparse_categorical_crossentropy";

/// Cross-entropy between a distribution over classes and the class that is right.
///
/// Outputs: `[samples, classes]`, probabilities unless [`from_logits`](Self::from_logits).
/// Targets: the class of each sample, counted from 0.
///
/// Probabilities are made to sum to 1 and are kept in 1e-7..=1 − 1e-7, as in Keras. Where the
/// model ends in a softmax, the loss is computed from what goes into it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SparseCategoricalCrossentropy {
    from_logits: bool,
    ignore_class: Option<i64>,
}

impl SparseCategoricalCrossentropy {
    /// The loss on probabilities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether outputs are logits, of which a softmax is still to be taken. Default false.
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }

    /// A label that says that nothing is known: such samples have no loss, and a batch's loss is the
    /// mean over the others, 0 where there are none. It need not be one of the outputs': 255 is
    /// common, and −1 where a sample has a row of labels (a data set with one label a sample has none
    /// below 0). Default none.
    ///
    /// Other labels that are no class of the outputs then make the loss NaN.
    pub fn ignore_class(mut self, class: i64) -> Self {
        self.ignore_class = Some(class);
        self
    }

    pub(super) fn is_from_logits(&self) -> bool {
        self.from_logits
    }

    pub(super) fn ignored_class(&self) -> Option<i64> {
        self.ignore_class
    }

    /// The loss of each sample.
    fn losses(&self, outputs: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        if self.from_logits {
            return cross_entropy(outputs, targets);
        }
        let logarithms = log_probabilities(outputs).gather(1, targets.unsqueeze_dim(1));
        logarithms.squeeze_dim::<1>(1).neg()
    }

    /// With samples of that class left out.
    fn without(&self, class: i64, outputs: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let [samples, classes] = outputs.dims();
        let is_ignored = targets.clone().equal_scalar(class);
        let targets = targets.mask_fill(is_ignored.clone(), 0);
        let kept = targets.clone().clamp(0, classes.saturating_sub(1) as i64);
        let is_unknown = targets.not_equal(kept.clone());
        // Without its outputs a sample has no gradient either, however wild they are.
        let mask = is_ignored.clone().unsqueeze_dim::<2>(1).expand([samples, classes]);
        let losses = self.losses(outputs.mask_fill(mask, 1.0), kept);
        let losses = losses.mask_fill(is_unknown, f32::NAN).mask_fill(is_ignored.clone(), 0.0);
        // Keras masks what has no loss: the mean is over the others.
        let counted = is_ignored.bool_not().float().sum();
        let share = (counted + EPSILON).recip() * samples as f32;
        losses * share.expand([samples])
    }
}

impl Loss<Tensor<2>> for SparseCategoricalCrossentropy {
    type Targets = Tensor<1, Int>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        match self.ignore_class {
            None => self.losses(outputs, targets),
            Some(class) => self.without(class, outputs, targets),
        }
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<1, Int>) -> Result {
        check_labels(NAME, outputs.dims(), targets.dims()[0])
    }

    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        let classes = outputs.dims()[1];
        // The largest label may be the one that is ignored.
        let is_beyond = self.ignore_class.is_some_and(|class| class >= classes as i64);
        (!is_beyond).then_some(classes)
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        (!self.from_logits && closing == ClosingActivation::Softmax)
            .then_some(Self { from_logits: true, ..*self })
    }
}

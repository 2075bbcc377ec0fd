//! A loss of somebody else's, chosen by name.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Loss;
use crate::forward::ClosingActivation;
use crate::targets::Targets;

/// A loss that is no variant of [`AnyLoss`](super::AnyLoss); made by
/// [`AnyLoss::custom`](super::AnyLoss::custom).
#[derive(Clone)]
pub struct CustomLoss(Arc<dyn Erased>);

/// [`Loss`] without what keeps it from being a trait object.
trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1>;
    fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result;
    fn classes(&self, outputs: &Tensor<2>) -> Option<usize>;
    fn on_logits(&self, closing: ClosingActivation) -> Option<CustomLoss>;
}

impl<L: Loss<Tensor<2>, Targets = Targets> + Sync> Erased for L {
    fn name(&self) -> &'static str {
        Loss::name(self)
    }
    fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        Loss::forward(self, outputs, targets)
    }
    fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        Loss::check(self, outputs, targets)
    }
    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        Loss::classes(self, outputs)
    }
    fn on_logits(&self, closing: ClosingActivation) -> Option<CustomLoss> {
        Loss::on_logits(self, closing).map(CustomLoss::new)
    }
}

impl CustomLoss {
    pub(super) fn new(loss: impl Loss<Tensor<2>, Targets = Targets> + Sync) -> Self {
        Self(Arc::new(loss))
    }

    pub(super) fn name(&self) -> &'static str {
        self.0.name()
    }

    pub(super) fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        self.0.forward(outputs, targets)
    }

    pub(super) fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        self.0.check(outputs, targets)
    }

    pub(super) fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        self.0.classes(outputs)
    }

    pub(super) fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        self.0.on_logits(closing)
    }
}

impl fmt::Debug for CustomLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

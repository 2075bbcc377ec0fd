//! A loss of each step of sequences.

use burn::tensor::{Int, Tensor};
use refrain_core::{Error, Result};

use super::{AnyLoss, Loss};
use crate::forward::ClosingActivation;
use crate::targets::Targets;

/// Sequences of so many steps, seen as one sample a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps(pub(crate) usize);

impl Steps {
    /// Outputs of one step.
    fn width(self, outputs: &Tensor<2>) -> usize {
        outputs.dims()[1] / self.0.max(1)
    }

    /// `[samples, steps × outputs]` as `[samples, steps, outputs]`.
    pub(super) fn apart(self, outputs: Tensor<2>) -> Tensor<3> {
        let width = self.width(&outputs);
        let samples = outputs.dims()[0];
        outputs.reshape([samples, self.0, width])
    }

    /// `[samples, steps × outputs]` as `[samples × steps, outputs]`.
    pub(crate) fn outputs(self, outputs: Tensor<2>) -> Tensor<2> {
        self.apart(outputs).flatten(0, 1)
    }

    /// The targets of steps with so many outputs: one number a step is its class where there are
    /// several outputs.
    pub(crate) fn targets(self, targets: Targets, outputs: usize) -> Targets {
        let rows = match targets {
            Targets::Rows(rows) => rows,
            labels => return labels,
        };
        let [samples, columns] = rows.dims();
        if columns == self.0 && outputs > 1 {
            return Targets::Labels(rows.reshape([samples * self.0]).int());
        }
        Targets::Rows(rows.reshape([samples * self.0, columns / self.0.max(1)]))
    }

    /// Whether there are as many outputs for each step.
    ///
    /// # Errors
    /// A data error that names outputs and steps.
    pub(super) fn check_outputs(self, what: &str, outputs: &Tensor<2>) -> Result {
        let (steps, columns) = (self.0, outputs.dims()[1]);
        if steps == 0 || !columns.is_multiple_of(steps) {
            return Err(Error::data(format!(
                "{what}: {columns} outputs are none for each of {steps} steps; there must be as many \
                 for each"
            )));
        }
        Ok(())
    }

    /// Whether there are as many outputs and targets as steps want.
    ///
    /// # Errors
    /// A data error that names both.
    pub(crate) fn check(self, what: &str, outputs: &Tensor<2>, targets: &Targets) -> Result {
        self.check_outputs(what, outputs)?;
        let (steps, columns) = (self.0, outputs.dims()[1]);
        match targets {
            Targets::Labels(_) if steps == 1 => Ok(()),
            Targets::Labels(_) => Err(Error::data(format!(
                "{what}: there is one label a sample for {steps} steps; there must be one for each \
                 step, in rows of {steps}"
            ))),
            Targets::Rows(rows) if [steps, columns].contains(&rows.dims()[1]) => Ok(()),
            Targets::Rows(rows) => Err(Error::data(format!(
                "{what}: a row of targets has {} numbers for {steps} steps of {} outputs; there must \
                 be one for each step, its class, or one for each output",
                rows.dims()[1],
                columns / steps
            ))),
        }
    }
}

/// The mean over the steps of a sample.
#[derive(Clone, Debug)]
pub(super) struct PerStep {
    loss: AnyLoss,
    steps: Steps,
}

impl PerStep {
    pub(super) fn new(loss: AnyLoss, steps: usize) -> Self {
        Self { loss, steps: Steps(steps) }
    }

    /// Outputs and targets, a step each.
    fn apart(&self, outputs: Tensor<2>, targets: Targets) -> (Tensor<2>, Targets) {
        let outputs = self.steps.outputs(outputs);
        let targets = self.steps.targets(targets, outputs.dims()[1]);
        (outputs, targets)
    }

    /// Labels that the loss can look up, and where they are none of its classes: these are not known
    /// on the host, and a look-up outside of the outputs would panic.
    fn known(&self, labels: Tensor<1, Int>, classes: usize) -> (Tensor<1, Int>, Tensor<1>) {
        let last = classes.saturating_sub(1) as i64;
        let kept = labels.clone().clamp(0, last);
        let is_unknown = labels.clone().not_equal(kept.clone());
        let (kept, is_unknown) = match self.loss.ignored_class() {
            None => (kept, is_unknown),
            Some(ignored) => {
                let is_ignored = labels.clone().equal_scalar(ignored);
                (
                    kept.mask_where(is_ignored.clone(), labels),
                    is_unknown.bool_and(is_ignored.bool_not()),
                )
            }
        };
        let nothing = Tensor::zeros(is_unknown.dims(), &kept.device());
        (kept, nothing.mask_fill(is_unknown, f32::NAN))
    }
}

impl Loss<Tensor<2>> for PerStep {
    type Targets = Targets;

    fn name(&self) -> &'static str {
        Loss::<Tensor<2>>::name(&self.loss)
    }

    fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        let samples = outputs.dims()[0];
        let (outputs, targets) = self.apart(outputs, targets);
        let values = match targets {
            Targets::Labels(labels) => {
                let (labels, unknown) = self.known(labels, outputs.dims()[1]);
                self.loss.forward(outputs, Targets::Labels(labels)) + unknown
            }
            rows => self.loss.forward(outputs, rows),
        };
        values.reshape([samples, self.steps.0]).mean_dim(1).squeeze_dim(1)
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        self.steps.check(Loss::name(self), outputs, targets)?;
        let (outputs, targets) = self.apart(outputs.clone(), targets.clone());
        Loss::check(&self.loss, &outputs, &targets)
    }

    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        Loss::classes(&self.loss, &self.steps.outputs(outputs.clone()))
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        let of_step = match closing {
            ClosingActivation::StepSoftmax => ClosingActivation::Softmax,
            ClosingActivation::Sigmoid => ClosingActivation::Sigmoid,
            // Of the whole row.
            ClosingActivation::Softmax => return None,
        };
        let loss = Loss::<Tensor<2>>::on_logits(&self.loss, of_step)?;
        Some(Self { loss, ..*self })
    }
}

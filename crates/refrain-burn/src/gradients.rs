//! The gradients of one step: their norm, and the update of the weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

use crate::optimizers::{Optimizer, Values};

/// Squared L2 norm of each parameter's gradient, on the device: `[parameters with a gradient]`.
pub(crate) fn squared_norms<M: Module>(model: &M, gradients: &Gradients) -> Vec<Tensor<1>> {
    struct Norms<'a> {
        gradients: &'a Gradients,
        squared: Vec<Tensor<1>>,
    }

    impl ModuleVisitor for Norms<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.grad(self.gradients) {
                self.squared.push(gradient.square().sum());
            }
        }
    }

    let mut norms = Norms { gradients, squared: Vec::new() };
    model.visit(&mut norms);
    norms.squared
}

/// The model with every parameter that has a gradient updated.
///
/// Takes the model by value: a second owner of a parameter would turn the update in place into a
/// copy.
pub(crate) fn update<M: Module>(
    model: M,
    gradients: &mut Gradients,
    optimizer: &mut dyn Optimizer,
) -> M {
    model.map(&mut Update { gradients, optimizer })
}

struct Update<'a> {
    gradients: &'a mut Gradients,
    optimizer: &'a mut dyn Optimizer,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(gradient) = tensor.grad_remove(self.gradients) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let shape = tensor.dims();
        let checkpointing = tensor.gradient_checkpointing_strategy();

        let weights = Values::of(tensor.without_autodiff());
        let updated = self.optimizer.update(id, weights, Values::of(gradient));

        let mut tensor = updated.into_shape(shape).autodiff();
        if let Some(strategy) = checkpointing {
            tensor = tensor.with_gradient_checkpointing_strategy(strategy);
        }
        Param::from_mapped_value(id, tensor.require_grad(), mapper)
    }
}

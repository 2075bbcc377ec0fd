//! The gradients of one step: their norms, clipping, the mean over batches, and the update of the
//! weights.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor};
use refrain_core::Clip;

use crate::optimizers::{Optimizer, Values};

/// Squared L2 norm of each parameter's gradient, on the device, by the parameter's name.
pub(crate) fn squared_norms<M: Module>(
    model: &M,
    gradients: &Gradients,
) -> Vec<(String, Tensor<1>)> {
    struct Norms<'a> {
        gradients: &'a Gradients,
        path: Vec<String>,
        squared: Vec<(String, Tensor<1>)>,
    }

    impl ModuleVisitor for Norms<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.grad(self.gradients) {
                self.squared.push((self.path.join("."), gradient.square().sum()));
            }
        }
    }

    let mut norms = Norms { gradients, path: Vec::new(), squared: Vec::new() };
    model.visit(&mut norms);
    norms.squared
}

/// Clips the gradients by Keras' formulas; nothing is read from the device.
pub(crate) fn clip<M: Module>(model: &M, gradients: &mut Gradients, clip: Clip) {
    let scale = match clip {
        Clip::GlobalNorm(most) => {
            let squared = squared_norms(model, gradients).into_iter().map(|(_, squared)| squared);
            let Some(squared) = squared.reduce(|a, b| a + b) else {
                return;
            };
            let norm = squared.sqrt();
            let most_inverse = norm.ones_like().div_scalar(most);
            let scale = norm.clone().recip().min_pair(most_inverse) * most;
            // Where the norm is not finite, all gradients become NaN, as in Keras: an update that
            // is visibly wrong, instead of zeros that hide it.
            Some(scale + (norm.clone() - norm))
        }
        Clip::Value(_) | Clip::Norm(_) => None,
    };
    each(model, gradients, |gradient| match (clip, &scale) {
        (Clip::Value(most), _) => gradient.clamp(-most, most),
        (Clip::Norm(most), _) => {
            let norm = gradient.clone().square().sum().sqrt();
            times(gradient * most, norm.clamp_min(most).recip())
        }
        (Clip::GlobalNorm(_), Some(scale)) => times(gradient, scale.clone()),
        (Clip::GlobalNorm(_), None) => gradient,
    });
}

/// Divides all gradients.
pub(crate) fn divide<M: Module>(model: &M, gradients: &mut Gradients, divisor: f64) {
    each(model, gradients, |gradient| gradient.div_scalar(divisor));
}

/// For each gradient 0 if all of it is finite, else NaN; on the device.
pub(crate) fn zeros_of_finite<M: Module>(model: &M, gradients: &Gradients) -> Vec<Tensor<1>> {
    struct Zeros<'a> {
        gradients: &'a Gradients,
        found: Vec<Tensor<1>>,
    }

    impl ModuleVisitor for Zeros<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.grad(self.gradients) {
                self.found.push((gradient * 0.0).sum());
            }
        }
    }

    let mut zeros = Zeros { gradients, found: Vec::new() };
    model.visit(&mut zeros);
    zeros.found
}

/// The values times a tensor of one element.
fn times(values: Tensor<1>, factor: Tensor<1>) -> Tensor<1> {
    let elements = values.dims();
    values * factor.expand(elements)
}

/// Replaces each gradient, flattened, by what `f` makes of it.
fn each<M: Module>(model: &M, gradients: &mut Gradients, f: impl FnMut(Tensor<1>) -> Tensor<1>) {
    struct Each<'a, F> {
        gradients: &'a mut Gradients,
        f: F,
    }

    impl<F: FnMut(Tensor<1>) -> Tensor<1>> ModuleVisitor for Each<'_, F> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val();
            let Some(gradient) = tensor.grad_remove(self.gradients) else {
                return;
            };
            let (shape, elements) = (gradient.dims(), gradient.shape().num_elements());
            let gradient = (self.f)(gradient.reshape([elements])).reshape(shape);
            tensor.grad_replace(self.gradients, gradient);
        }
    }

    model.visit(&mut Each { gradients, f });
}

/// Gradients of batches whose update was put off: their sum.
#[derive(Default)]
pub(crate) struct Kept {
    sums: HashMap<ParamId, Values>,
    batches: usize,
}

impl Kept {
    /// What was kept: sums over `batches` batches.
    pub(crate) fn of(sums: impl IntoIterator<Item = (ParamId, Values)>, batches: usize) -> Self {
        Self { sums: sums.into_iter().collect(), batches }
    }

    /// The sum of a parameter's gradients.
    pub(crate) fn sum(&self, parameter: ParamId) -> Option<&Values> {
        self.sums.get(&parameter)
    }

    /// Batches in the sums.
    pub(crate) fn batches(&self) -> usize {
        self.batches
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// Adds gradients that are the mean over `batches` batches.
    pub(crate) fn add<M: Module>(&mut self, model: &M, gradients: &mut Gradients, batches: usize) {
        struct Add<'a> {
            sums: &'a mut HashMap<ParamId, Values>,
            gradients: &'a mut Gradients,
            batches: usize,
        }

        impl ModuleVisitor for Add<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(gradient) = param.val().grad_remove(self.gradients) else {
                    return;
                };
                let gradient = match self.batches {
                    1 => gradient,
                    batches => gradient * batches as f32,
                };
                let gradient = Values::of(gradient);
                let sum = match self.sums.remove(&param.id) {
                    None => gradient,
                    Some(sum) => sum.plus(gradient),
                };
                self.sums.insert(param.id, sum);
            }
        }

        model.visit(&mut Add { sums: &mut self.sums, gradients, batches });
        self.batches += batches;
    }

    /// Makes `gradients`, of one batch, the mean over it and all that was kept; nothing is kept
    /// any more. Returns the number of batches in the mean.
    pub(crate) fn merge_into<M: Module>(&mut self, model: &M, gradients: &mut Gradients) -> usize {
        struct Merge<'a> {
            sums: HashMap<ParamId, Values>,
            gradients: &'a mut Gradients,
            batches: usize,
        }

        impl ModuleVisitor for Merge<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let tensor = param.val();
                let own = tensor.grad_remove(self.gradients).map(Values::of);
                let sum = match (self.sums.remove(&param.id), own) {
                    (Some(sum), Some(own)) => own.plus(sum),
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => return,
                };
                let mean = sum.divided_by(self.batches as f32).into_shape(tensor.dims());
                tensor.grad_replace(self.gradients, mean);
            }
        }

        let Self { sums, batches } = std::mem::take(self);
        let batches = batches + 1;
        model.visit(&mut Merge { sums, gradients, batches });
        batches
    }
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

/// The model with every parameter that has a moving average set to it.
pub(crate) fn with_averages<M: Module>(model: M, optimizer: &dyn Optimizer) -> M {
    model.map(&mut Averages { optimizer })
}

struct Averages<'a> {
    optimizer: &'a dyn Optimizer,
}

impl ModuleMapper for Averages<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(average) = self.optimizer.average(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let average = average.clone();
        Param::from_mapped_value(id, trained_as(tensor, |_| average), mapper)
    }
}

/// New weights in place of others, with gradients as these had them.
fn trained_as<const D: usize>(tensor: Tensor<D>, new: impl FnOnce(Values) -> Values) -> Tensor<D> {
    let shape = tensor.dims();
    let checkpointing = tensor.gradient_checkpointing_strategy();
    let mut tensor = new(Values::of(tensor.without_autodiff())).into_shape(shape).autodiff();
    if let Some(strategy) = checkpointing {
        tensor = tensor.with_gradient_checkpointing_strategy(strategy);
    }
    tensor.require_grad()
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
        let gradient = Values::of(gradient);
        let updated = trained_as(tensor, |weights| self.optimizer.update(id, weights, gradient));
        Param::from_mapped_value(id, updated, mapper)
    }
}

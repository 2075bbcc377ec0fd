//! What is asked of a layer's weights beside the loss: regularisers and constraints.

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use refrain_core::Result;

use super::{Kind, Place};
use crate::constraint::Constraint;
use crate::regularizer::Regularizer;

/// Regularisers and constraints, by what their options are called after: `kernel`, `bias`, ...
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    regularizers: Vec<(&'static str, Regularizer)>,
    constraints: Vec<(&'static str, Constraint)>,
    /// Of the layer's outputs.
    activity: Option<Regularizer>,
}

/// The options `.._regularizer` and `.._constraint` of a layer, for each of its weights.
macro_rules! rules {
    ($($weight:literal, $regularizer:ident, $constraint:ident;)+) => {
        $(
            #[doc = concat!("What large values of the ", $weight, " cost. Default: nothing.")]
            pub fn $regularizer(mut self, regularizer: crate::regularizer::Regularizer) -> Self {
                self.rules.regularize($weight, regularizer);
                self
            }

            #[doc = concat!("What the ", $weight, " must be after each update. Default: anything.")]
            pub fn $constraint(mut self, constraint: crate::constraint::Constraint) -> Self {
                self.rules.constrain($weight, constraint);
                self
            }
        )+
    };
}

pub(crate) use rules;

/// The option `activity_regularizer` of a layer.
macro_rules! activity {
    () => {
        /// What large outputs cost: the penalty, divided by the number of samples, is added to the loss,
        /// in training and in validation. Default: nothing.
        pub fn activity_regularizer(
            mut self,
            regularizer: crate::regularizer::Regularizer,
        ) -> Self {
            self.rules.regularize_activity(regularizer);
            self
        }
    };
}

pub(crate) use activity;

impl Rules {
    pub(super) const NONE: &Self =
        &Self { regularizers: Vec::new(), constraints: Vec::new(), activity: None };

    pub(super) fn regularize_activity(&mut self, regularizer: Regularizer) {
        self.activity = Some(regularizer);
    }

    /// What the layer's outputs cost.
    pub(crate) fn activity(&self) -> Option<Regularizer> {
        self.activity
    }

    pub(super) fn regularize(&mut self, weight: &'static str, regularizer: Regularizer) {
        self.regularizers.retain(|(other, _)| *other != weight);
        self.regularizers.push((weight, regularizer));
    }

    pub(super) fn constrain(&mut self, weight: &'static str, constraint: Constraint) {
        self.constraints.retain(|(other, _)| *other != weight);
        self.constraints.push((weight, constraint));
    }

    fn regularizer(&self, weight: &str) -> Option<Regularizer> {
        self.regularizers.iter().find(|(of, _)| is_of(of, weight)).map(|(_, rule)| *rule)
    }

    fn constraint(&self, weight: &str) -> Option<&Constraint> {
        self.constraints.iter().find(|(of, _)| is_of(of, weight)).map(|(_, rule)| rule)
    }

    /// Refuses what does not fit the layer's weights.
    pub(super) fn check(&self, kind: &Kind, place: &Place<'_>) -> Result {
        let activity = self.activity.iter().map(|regularizer| ("activity", regularizer));
        let of_weights =
            self.regularizers.iter().map(|(weight, regularizer)| (*weight, regularizer));
        for (weight, regularizer) in of_weights.chain(activity) {
            if let Some(problem) = regularizer.problem() {
                return Err(place.error(format!("{weight}_regularizer: {problem}")));
            }
        }
        let mut check = Check { rules: self, weight: String::new(), problem: None };
        kind.visit(&mut check);
        match check.problem {
            None => Ok(()),
            Some(problem) => Err(place.error(problem)),
        }
    }

    /// Adds what the layer's weights cost to `penalties`.
    pub(super) fn penalties(&self, kind: &Kind, penalties: &mut Vec<Tensor<1>>) {
        if !self.regularizers.is_empty() {
            kind.visit(&mut Penalize { rules: self, weight: String::new(), penalties });
        }
    }

    /// The layer with its weights as they must be.
    pub(super) fn constrained(&self, kind: Kind) -> Kind {
        if self.constraints.is_empty() {
            return kind;
        }
        let order = match kind {
            Kind::Conv2d(_) => Order::Filters,
            Kind::PreluOfImages(_) => Order::Image,
            _ => Order::Keras,
        };
        kind.map(&mut Constrain { rules: self, weight: String::new(), order })
    }
}

/// Whether an option called after `of` is about the weight of that name.
fn is_of(of: &str, weight: &str) -> bool {
    match of {
        // Keras' kernel is called `weight` in two layers.
        "kernel" => matches!(weight, "kernel" | "weight"),
        "recurrent" => weight == "recurrent_kernel",
        "depthwise" => matches!(weight, "kernel" | "depthwise_kernel"),
        "pointwise" => weight == "pointwise_kernel",
        of => of == weight,
    }
}

struct Check<'a> {
    rules: &'a Rules,
    weight: String,
    problem: Option<String>,
}

impl ModuleVisitor for Check<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        name.clone_into(&mut self.weight);
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        let weight = &self.weight;
        let constraint = self.rules.constraints.iter().find(|(of, _)| is_of(of, weight));
        if let Some((of, constraint)) = constraint
            && let Some(problem) = constraint.problem(D)
        {
            self.problem = Some(format!("{of}_constraint: {problem}"));
        }
    }
}

struct Penalize<'a> {
    rules: &'a Rules,
    weight: String,
    penalties: &'a mut Vec<Tensor<1>>,
}

impl ModuleVisitor for Penalize<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        name.clone_into(&mut self.weight);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(regularizer) = self.rules.regularizer(&self.weight) {
            self.penalties.push(regularizer.penalty(param.val()));
        }
    }
}

/// In which order a layer's weights have their axes.
#[derive(Clone, Copy)]
enum Order {
    Keras,
    /// `[filters, channels, height, width]`, and Keras' `[height, width, channels, filters]`.
    Filters,
    /// `[channels, height, width]`, and Keras' `[height, width, channels]`.
    Image,
}

struct Constrain<'a> {
    rules: &'a Rules,
    weight: String,
    order: Order,
}

impl ModuleMapper for Constrain<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        name.clone_into(&mut self.weight);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(constraint) = self.rules.constraint(&self.weight) else {
            return param;
        };
        let axis = |keras: usize| match (self.order, keras) {
            (Order::Filters, 0 | 1) if D == 4 => keras + 2,
            (Order::Filters, 2 | 3) if D == 4 => 3 - keras,
            (Order::Image, 0..3) => (keras + 1) % 3,
            _ => keras,
        };
        let (id, tensor, mapper) = param.consume();
        let checkpointing = tensor.gradient_checkpointing_strategy();
        let requires_gradient = tensor.is_require_grad();
        let is_autodiff = tensor.is_autodiff();
        let mut tensor = constraint.apply(tensor.without_autodiff(), axis);
        if is_autodiff {
            tensor = tensor.autodiff();
            if let Some(strategy) = checkpointing {
                tensor = tensor.with_gradient_checkpointing_strategy(strategy);
            }
            tensor = tensor.set_require_grad(requires_gradient);
        }
        Param::from_mapped_value(id, tensor, mapper)
    }
}

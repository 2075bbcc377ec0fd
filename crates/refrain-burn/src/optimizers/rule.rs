//! What optimizers have in common: state by parameter, and the walk over the elements. An optimizer
//! is a [`Rule`], its options and what it remembers, and a [`Formula`] for some elements.

use std::collections::HashMap;
use std::fmt::Debug;

use burn::module::ParamId;
use burn::tensor::Tensor;
use pulp::NullaryFnOnce;
use refrain_core::Result;

use super::common::Common;
use super::values::{Values, in_place, in_tasks};
use super::{OptimizerState, ParameterInfo};
use crate::simd;

/// Formulas of several loops find the elements in the first-level cache again.
const ELEMENTS_PER_BLOCK: usize = 1024;

/// An optimizer. Whoever implements it gets [`Optimizer`](super::Optimizer) by `optimizer!`.
pub(super) trait Rule: HasCommon + Debug + Send + 'static {
    type Formula: Formula;

    /// With the numbers of the current step.
    fn formula(&self) -> Self::Formula;

    /// The formula for one parameter, where that depends on which it is.
    fn formula_for(&self, parameter: Option<&ParameterInfo>) -> Self::Formula {
        let _ = parameter;
        self.formula()
    }

    /// The share of a parameter's weights that is taken off at a step.
    fn weight_decay(&self, parameter: Option<&ParameterInfo>) -> Option<f64> {
        let _ = parameter;
        self.common().weight_decay()
    }

    /// What is remembered of each parameter, in the order in which the formula gets it.
    const SLOTS: &'static [&'static str];
    /// Those of them that only some options, or some parameters, need.
    const OPTIONAL: &'static [&'static str] = &[];
    /// Whether the formula counts steps.
    const COUNTS_STEPS: bool;

    /// Whether its own options are in range.
    fn check(&self) -> Result;

    /// Whether a momentum that is set during a run is in range; `None` where there is none to set.
    fn check_momentum(&self, momentum: f64) -> Option<Result> {
        let _ = momentum;
        None
    }

    /// Whether an optional slot is needed.
    fn keeps(&self, slot: &str) -> bool {
        let _ = slot;
        true
    }

    /// Whether an optional slot is needed for one parameter.
    fn keeps_for(&self, slot: &str, parameter: Option<&ParameterInfo>) -> bool {
        let _ = parameter;
        self.keeps(slot)
    }

    /// What a slot's numbers are before the first step.
    fn start(&self, slot: &str) -> f32 {
        let _ = slot;
        0.0
    }

    /// How many numbers a slot has; by default as many as the parameter.
    fn elements(&self, slot: &str, parameter: Option<&ParameterInfo>) -> Option<usize> {
        let _ = slot;
        parameter.map(ParameterInfo::elements)
    }

    /// A slot before the first step.
    fn first(&self, slot: &str, parameter: Option<&ParameterInfo>, weights: &Values) -> Values {
        let _ = parameter;
        weights.full_like(self.start(slot))
    }

    /// Computes what is the same for all elements of a step; rate and step are set.
    fn begin(&mut self) {}

    /// Follows a state that was set: the step may be any.
    fn resume(&mut self) {}
}

/// Options and state that all optimizers have, in one of them.
pub(super) trait HasCommon {
    fn common(&self) -> &Common;

    fn common_mut(&mut self) -> &mut Common;
}

/// What becomes of weights at one step: the options as numbers.
pub(super) trait Formula: Copy + Send + Sync {
    /// Whether what is remembered shrinks, and so may end among the subnormal numbers. Of sums that
    /// only grow the smallest numbers count: they are divided by.
    const SHRINKS: bool = true;

    /// The new weights and slots of some elements. `gradient` may be written to. Not needed where
    /// [`values`](Self::values) is overridden.
    ///
    /// Implement it with `#[inline(always)]`: it is compiled for each width of vectors.
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let _ = (weights, gradient, slots);
    }

    /// The same by operations on tensors; the new slots take the place of the old ones.
    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1>;

    /// The new weights of a parameter.
    ///
    /// Override it where elements depend on each other.
    fn values(
        self,
        decay: Option<Decay>,
        mut weights: Values,
        mut gradient: Values,
        slots: &mut Vec<Values>,
    ) -> Values {
        if in_blocks(self, decay, &mut weights, &mut gradient, slots) {
            return weights;
        }
        by_tensors(self, decay, weights, gradient, slots)
    }
}

/// The new weights by operations on tensors.
pub(super) fn by_tensors<F: Formula>(
    formula: F,
    decay: Option<Decay>,
    weights: Values,
    gradient: Values,
    slots: &mut Vec<Values>,
) -> Values {
    let mut weights = weights.into_tensor();
    if let Some(Decay { by, rate }) = decay {
        weights = weights.clone() - weights * by * rate;
    }
    let mut tensors = std::mem::take(slots).into_iter().map(Values::into_tensor).collect();
    let weights = formula.tensors(weights, gradient.into_tensor(), &mut tensors);
    slots.extend(tensors.into_iter().map(Values::from));
    if F::SHRINKS {
        for slot in slots {
            in_place([slot], |[slot]| flush_subnormals(slot));
        }
    }
    weights.into()
}

/// One pass over all elements in host memory; false, and nothing done, where they are elsewhere.
pub(super) fn in_blocks<F: Formula>(
    formula: F,
    decay: Option<Decay>,
    weights: &mut Values,
    gradient: &mut Values,
    slots: &mut [Values],
) -> bool {
    let task = Task { formula, decay };
    match slots {
        [] => in_tasks([weights, gradient], |[w, g]| task.run(w, g, [])),
        [a] => in_tasks([weights, gradient, a], |[w, g, a]| task.run(w, g, [a])),
        [a, b] => in_tasks([weights, gradient, a, b], |[w, g, a, b]| task.run(w, g, [a, b])),
        [a, b, c] => {
            in_tasks([weights, gradient, a, b, c], |[w, g, a, b, c]| task.run(w, g, [a, b, c]))
        }
        _ => false,
    }
}

#[derive(Clone, Copy)]
struct Task<F> {
    formula: F,
    decay: Option<Decay>,
}

impl<F: Formula> Task<F> {
    fn run<const N: usize>(self, w: &mut [f32], g: &mut [f32], slots: [&mut [f32]; N]) {
        simd::dispatch(Blocks { task: self, w, g, slots });
    }
}

/// One task's part of the elements.
struct Blocks<'a, F, const N: usize> {
    task: Task<F>,
    w: &'a mut [f32],
    g: &'a mut [f32],
    slots: [&'a mut [f32]; N],
}

impl<F: Formula, const N: usize> NullaryFnOnce for Blocks<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { task, w, g, slots } = self;
        let mut slots = slots.map(|slot| slot.chunks_mut(ELEMENTS_PER_BLOCK));
        for (w, g) in w.chunks_mut(ELEMENTS_PER_BLOCK).zip(g.chunks_mut(ELEMENTS_PER_BLOCK)) {
            if let Some(Decay { by, rate }) = task.decay {
                for w in w.iter_mut() {
                    *w -= *w * by * rate;
                }
            }
            let mut block = slots.each_mut().map(|slot| slot.next().unwrap_or_default());
            task.formula.elements(w, g, &mut block);
            if F::SHRINKS {
                block.into_iter().for_each(flush_subnormals);
            }
        }
    }
}

/// Puts 0 where a number is below the smallest normal one, with which processors compute many times
/// as slowly. A moment that shrinks by a factor, as behind a `relu` that is 0 for every sample, would
/// never get to 0 on its own: the last subnormal number × 0.9 is rounded to itself.
#[inline(always)]
fn flush_subnormals(values: &mut [f32]) {
    const EXPONENT: u32 = f32::INFINITY.to_bits();
    for value in values {
        // On the bits: a comparison of numbers would be slow where they are subnormal, too.
        let is_normal = value.to_bits() & EXPONENT != 0;
        *value = if is_normal { *value } else { 0.0 };
    }
}

/// Weights shrink by `by` × `rate` of themselves.
#[derive(Clone, Copy)]
pub(super) struct Decay {
    pub(super) by: f32,
    pub(super) rate: f32,
}

fn kept<'r, R: Rule>(
    rule: &'r R,
    parameter: Option<&'r ParameterInfo>,
) -> impl Iterator<Item = &'static str> + use<'r, R> {
    let is_kept = move |slot: &&str| !R::OPTIONAL.contains(slot) || rule.keeps_for(slot, parameter);
    R::SLOTS.iter().copied().filter(is_kept)
}

/// [`Optimizer::update`](super::Optimizer::update).
pub(super) fn update<R: Rule>(
    rule: &mut R,
    id: ParamId,
    weights: Values,
    gradient: Values,
) -> Values {
    let before = rule.common_mut().slots.remove(&id);
    let parameter = rule.common().parameter(id);
    let mut slots = match before {
        Some(slots) => slots,
        None => kept(rule, parameter).map(|slot| rule.first(slot, parameter, &weights)).collect(),
    };
    let by = rule.weight_decay(parameter);
    let decay = rule.common().decay(by, id);
    let formula = rule.formula_for(parameter);
    let weights = formula.values(decay, weights, gradient, &mut slots);
    if !slots.is_empty() {
        rule.common_mut().slots.insert(id, slots);
    }
    rule.common_mut().average(id, weights)
}

/// [`Optimizer::state_len`](super::Optimizer::state_len).
pub(super) fn state_len<R: Rule>(rule: &R, parameter: &ParameterInfo) -> usize {
    let elements = parameter.elements();
    let of_slot = |slot| rule.elements(slot, Some(parameter)).unwrap_or(elements);
    let average = if rule.common().keeps_average() { elements } else { 0 };
    kept(rule, Some(parameter)).map(of_slot).fold(average, usize::saturating_add)
}

/// [`Optimizer::state`](super::Optimizer::state).
pub(super) fn state<R: Rule>(rule: &R) -> OptimizerState {
    let common = rule.common();
    let counts = R::COUNTS_STEPS || common.keeps_average();
    let step = counts.then_some(common.step);
    let mut state = OptimizerState { step, momentum: common.momentum, ..Default::default() };
    for (id, slots) in &common.slots {
        for (slot, values) in kept(rule, common.parameter(*id)).zip(slots) {
            state.put(slot, [(id, values)]);
        }
    }
    common.put_into(&mut state);
    state
}

/// [`Optimizer::set_state`](super::Optimizer::set_state).
///
/// What an option that was changed no longer needs is left out; what it newly needs begins anew.
pub(super) fn set_state<R: Rule>(rule: &mut R, mut state: OptimizerState) -> Result {
    let momentum = match state.momentum {
        Some(momentum) => match rule.check_momentum(momentum) {
            Some(check) => {
                check?;
                state.momentum.take()
            }
            None => None,
        },
        None => None,
    };
    let extras = rule.common().take_from(&mut state)?;
    let counts = R::COUNTS_STEPS || rule.common().keeps_average() || extras.has_average();
    let step = if counts { state.step.take() } else { None };
    let mut found: Vec<_> = R::SLOTS.iter().map(|slot| (*slot, state.take(slot))).collect();
    state.finish(rule.common().name)?;
    if R::COUNTS_STEPS && step.is_none() && found.iter().any(|(_, of_each)| !of_each.is_empty()) {
        return Err(rule.common().lacks("step"));
    }

    let before = std::mem::replace(&mut rule.common_mut().momentum, momentum);
    let slots = by_parameter(rule, &mut found);
    match slots {
        Ok(slots) => {
            let common = rule.common_mut();
            (common.slots, common.step) = (slots, step.unwrap_or(0));
            common.set_extras(extras);
            rule.resume();
            Ok(())
        }
        Err(error) => {
            rule.common_mut().momentum = before;
            Err(error)
        }
    }
}

/// Puts the slots of each parameter together.
fn by_parameter<R: Rule>(
    rule: &R,
    found: &mut [(&'static str, HashMap<ParamId, Values>)],
) -> Result<HashMap<ParamId, Vec<Values>>> {
    let ids: Vec<(ParamId, Values)> = found
        .iter()
        .flat_map(|(_, of_each)| of_each.iter().map(|(id, values)| (*id, values.clone())))
        .collect();
    let mut slots = HashMap::new();
    for (id, like) in ids {
        if slots.contains_key(&id) {
            continue;
        }
        let parameter = rule.common().parameter(id);
        let kept: Vec<&str> = kept(rule, parameter).collect();
        let mut of_it = Vec::with_capacity(kept.len());
        for (slot, of_each) in found.iter_mut().filter(|(slot, _)| kept.contains(slot)) {
            let values = match of_each.remove(&id) {
                Some(values) => values,
                None if R::OPTIONAL.contains(slot) => rule.first(slot, parameter, &like),
                None => return Err(rule.common().lacks(slot)),
            };
            if let Some(elements) = rule.elements(slot, parameter) {
                rule.common().check_elements(slot, &values, elements)?;
            }
            of_it.push(values);
        }
        if !of_it.is_empty() {
            slots.insert(id, of_it);
        }
    }
    Ok(slots)
}

/// Implements [`Optimizer`](super::Optimizer) by the [`Rule`], and methods that set options: its own,
/// each a field of that name, and those that all have. The default is its `LEARNING_RATE`.
macro_rules! optimizer {
    ($optimizer:ident { $($(#[$doc:meta])* $option:ident: $value:ty,)* }) => {
        impl $optimizer {
            $(
                $(#[$doc])*
                pub fn $option(mut self, $option: $value) -> Self {
                    self.$option = $option;
                    self
                }
            )*
        }

        impl $crate::optimizers::rule::HasCommon for $optimizer {
            fn common(&self) -> &Common {
                &self.common
            }

            fn common_mut(&mut self) -> &mut Common {
                &mut self.common
            }
        }

        optimizer!($optimizer);
    };
    ($optimizer:ident) => {
        use $crate::optimizers::rule::HasCommon as _;

        impl Default for $optimizer {
            fn default() -> Self {
                Self::new(LEARNING_RATE)
            }
        }

        impl $optimizer {
            /// The share of each weight that is taken off it at a step, times the learning rate;
            /// before the update. 0 or more. Default none, unless said otherwise above.
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.common_mut().set_weight_decay(weight_decay);
                self
            }

            /// The largest L2 norm of a parameter's gradient; what is above is scaled down.
            /// Above 0. Default none. One clip at most.
            pub fn clipnorm(mut self, clipnorm: f64) -> Self {
                self.common_mut().set_clip(refrain_core::Clip::Norm(clipnorm));
                self
            }

            /// The largest magnitude of a gradient's element. Above 0. Default none. One clip at
            /// most.
            pub fn clipvalue(mut self, clipvalue: f64) -> Self {
                self.common_mut().set_clip(refrain_core::Clip::Value(clipvalue));
                self
            }

            /// The largest L2 norm of all gradients together; what is above is scaled down.
            /// Above 0. Default none. One clip at most.
            pub fn global_clipnorm(mut self, global_clipnorm: f64) -> Self {
                self.common_mut().set_clip(refrain_core::Clip::GlobalNorm(global_clipnorm));
                self
            }

            /// Takes no weight decay off parameters of these names: `*.bias`, `dense_1`,
            /// `batch_normalization*`. A name is a parameter's or its layer's; `*` stands for
            /// anything. Default none.
            pub fn exclude_from_weight_decay(
                mut self,
                names: impl IntoIterator<Item = impl Into<String>>,
            ) -> Self {
                self.common_mut().set_undecayed(names.into_iter().map(Into::into).collect());
                self
            }

            /// Keeps a moving average of the weights, with which the model ends training. How much
            /// of the average a step keeps: 0..=1, Keras' `ema_momentum` 0.99. Default: none is
            /// kept.
            pub fn use_ema(mut self, ema_momentum: f64) -> Self {
                self.common_mut().set_average(ema_momentum);
                self
            }

            /// With [`use_ema`](Self::use_ema): gives the model the average every so many steps, 1
            /// or more, and trains on from it. Default: at the end of training alone.
            pub fn ema_overwrite_frequency(mut self, steps: usize) -> Self {
                self.common_mut().set_overwrite(steps);
                self
            }

            /// What the loss is multiplied by before the backward pass, and gradients divided by
            /// after it, or a scale that follows the gradients. Default 1.
            pub fn loss_scale(mut self, scale: impl Into<$crate::optimizers::LossScale>) -> Self {
                self.common_mut().set_loss_scale(scale.into());
                self
            }
        }

        impl $crate::optimizers::Optimizer for $optimizer {
            fn take_learning_rate(&mut self) -> refrain_core::schedule::Rate {
                self.common_mut().take_rate()
            }

            fn check(&self) -> refrain_core::Result {
                self.common().check()?;
                $crate::optimizers::rule::Rule::check(self)
            }

            fn clip(&self) -> Option<refrain_core::Clip> {
                self.common().clip()
            }

            fn begin_step(&mut self, learning_rate: f64) {
                let common = self.common_mut();
                common.step = common.step.saturating_add(1);
                common.rate = learning_rate as f32;
                self.begin();
            }

            fn update(
                &mut self,
                id: burn::module::ParamId,
                weights: $crate::optimizers::Values,
                gradient: $crate::optimizers::Values,
            ) -> $crate::optimizers::Values {
                $crate::optimizers::rule::update(self, id, weights, gradient)
            }

            fn meet(&mut self, parameters: &[$crate::optimizers::ParameterInfo]) {
                self.common_mut().meet(parameters);
            }

            fn current_loss_scale(&self) -> Option<&$crate::optimizers::LossScale> {
                self.common().loss_scale()
            }

            fn adapt_loss_scale(&mut self, is_finite: bool) {
                self.common_mut().adapt_loss_scale(is_finite);
            }

            fn average(&self, id: burn::module::ParamId) -> Option<&$crate::optimizers::Values> {
                self.common().average_of(id)
            }

            fn set_momentum(&mut self, momentum: f64) -> refrain_core::Result {
                self.check_momentum(momentum)
                    .unwrap_or_else(|| Err($crate::optimizers::no_momentum(momentum)))?;
                self.common_mut().momentum = Some(momentum);
                Ok(())
            }

            fn state_len(&self, parameter: &$crate::optimizers::ParameterInfo) -> usize {
                $crate::optimizers::rule::state_len(self, parameter)
            }

            fn state(&self) -> $crate::optimizers::OptimizerState {
                $crate::optimizers::rule::state(self)
            }

            fn set_state(
                &mut self,
                state: $crate::optimizers::OptimizerState,
            ) -> refrain_core::Result {
                $crate::optimizers::rule::set_state(self, state)
            }
        }
    };
}

pub(super) use optimizer;

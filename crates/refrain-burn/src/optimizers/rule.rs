//! What optimizers have in common: options, state by parameter, and the walk over the elements. An
//! optimizer is a [`Rule`], its options and what it remembers, and a [`Formula`] for some elements.

use std::collections::HashMap;
use std::fmt::Debug;

use burn::module::ParamId;
use burn::tensor::Tensor;
use pulp::NullaryFnOnce;
use refrain_core::schedule::Rate;
use refrain_core::{Clip, Error, Result};

use super::OptimizerState;
use super::values::{Values, in_tasks};
use crate::simd;

/// Formulas of several loops find the elements in the first-level cache again.
const ELEMENTS_PER_BLOCK: usize = 1024;

/// An optimizer. Whoever implements it gets [`Optimizer`](super::Optimizer) by `optimizer!`.
pub(super) trait Rule: Debug + Send + 'static {
    type Formula: Formula;

    /// With the numbers of the current step.
    fn formula(&self) -> Self::Formula;

    /// What is remembered of each parameter, in the order in which the formula gets it.
    const SLOTS: &'static [&'static str];
    /// Those of them that only some options need.
    const OPTIONAL: &'static [&'static str] = &[];
    /// Whether the formula counts steps.
    const COUNTS_STEPS: bool;

    fn common(&self) -> &Common;

    fn common_mut(&mut self) -> &mut Common;

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

    /// What a slot's numbers are before the first step.
    fn start(&self, slot: &str) -> f32 {
        let _ = slot;
        0.0
    }

    /// Computes what is the same for all elements of a step; rate and step are set.
    fn begin(&mut self) {}

    /// Follows a state that was set: the step may be any.
    fn resume(&mut self) {}
}

/// What becomes of weights at one step: the options as numbers.
pub(super) trait Formula: Copy + Send + Sync {
    /// The new weights and slots of some elements. `gradient` may be written to.
    ///
    /// Implement it with `#[inline(always)]`: it is compiled for each width of vectors.
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]);

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
        }
    }
}

/// Options and state that all optimizers have.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) name: &'static str,
    default_rate: f64,
    learning_rate: Option<Rate>,
    weight_decay: Option<f64>,
    clipnorm: Option<f64>,
    clipvalue: Option<f64>,
    global_clipnorm: Option<f64>,
    /// In place of the optimizer's own, once it was set during a run.
    pub(super) momentum: Option<f64>,
    /// Steps made.
    pub(super) step: u64,
    /// Of the current step.
    pub(super) rate: f32,
    slots: HashMap<ParamId, Vec<Values>>,
}

/// Weights shrink by `by` × `rate` of themselves.
#[derive(Clone, Copy)]
pub(super) struct Decay {
    pub(super) by: f32,
    pub(super) rate: f32,
}

impl Common {
    pub(super) fn new(name: &'static str, default_rate: f64, rate: Rate) -> Self {
        Self {
            name,
            default_rate,
            learning_rate: Some(rate),
            weight_decay: None,
            clipnorm: None,
            clipvalue: None,
            global_clipnorm: None,
            momentum: None,
            step: 0,
            rate: 0.0,
            slots: HashMap::new(),
        }
    }

    pub(super) fn set_weight_decay(&mut self, decay: f64) {
        self.weight_decay = Some(decay);
    }

    pub(super) fn set_clip(&mut self, clip: Clip) {
        match clip {
            Clip::Value(most) => self.clipvalue = Some(most),
            Clip::Norm(most) => self.clipnorm = Some(most),
            Clip::GlobalNorm(most) => self.global_clipnorm = Some(most),
        }
    }

    /// The step as Keras' formulas have it.
    pub(super) fn step(&self) -> f32 {
        self.step as f32
    }

    /// `None` where it would change nothing.
    fn decay(&self) -> Option<Decay> {
        let by = self.weight_decay.filter(|decay| *decay != 0.0)? as f32;
        Some(Decay { by, rate: self.rate })
    }

    /// A schedule is taken out; a number stays, so that it can be checked later.
    pub(super) fn take_rate(&mut self) -> Rate {
        match &self.learning_rate {
            Some(Rate::Constant(constant)) => Rate::Constant(*constant),
            _ => self.learning_rate.take().unwrap_or(Rate::Constant(self.default_rate)),
        }
    }

    pub(super) fn clip(&self) -> Option<Clip> {
        let clips = [
            self.clipnorm.map(Clip::Norm),
            self.global_clipnorm.map(Clip::GlobalNorm),
            self.clipvalue.map(Clip::Value),
        ];
        clips.into_iter().flatten().next()
    }

    pub(super) fn check(&self) -> Result {
        // Keras takes any rate; one that is not above 0 trains away from the minimum or not at all.
        if let Some(Rate::Constant(rate)) = self.learning_rate {
            self.check_positive("learning_rate", rate, "0.01")?;
        }
        if let Some(decay) = self.weight_decay {
            let is_allowed = decay.is_finite() && decay >= 0.0;
            let allowed = "a finite number, 0 or more, for example 0.004";
            self.check_option("weight_decay", decay, is_allowed, allowed)?;
        }
        let clips = [
            ("clipnorm", self.clipnorm),
            ("clipvalue", self.clipvalue),
            ("global_clipnorm", self.global_clipnorm),
        ];
        let mut given = clips.into_iter().filter_map(|(option, most)| Some((option, most?)));
        let Some((option, most)) = given.next() else {
            return Ok(());
        };
        if let Some((other, _)) = given.next() {
            return Err(Error::config(format!(
                "{}: `{option}` and `{other}` are both given; allowed: one of them",
                self.name
            )));
        }
        self.check_positive(option, most, "1.0")
    }

    /// A number that must be in a range, which is told in words.
    pub(super) fn check_option(
        &self,
        option: &str,
        value: f64,
        is_allowed: bool,
        allowed: &str,
    ) -> Result {
        if is_allowed {
            return Ok(());
        }
        Err(Error::config(format!("{}: {option} is {value}; allowed: {allowed}", self.name)))
    }

    pub(super) fn check_positive(&self, option: &str, value: f64, example: &str) -> Result {
        let allowed = format!("a finite number above 0, for example {example}");
        self.check_option(option, value, value.is_finite() && value > 0.0, &allowed)
    }

    /// How much is kept of a running mean.
    pub(super) fn check_share(&self, option: &str, share: f64, example: &str) -> Result {
        let allowed = format!("0 or more and below 1, for example {example}");
        self.check_option(option, share, (0.0..1.0).contains(&share), &allowed)
    }

    fn lacks(&self, what: &str) -> Error {
        Error::data(format!(
            "{}'s state lacks `{what}`; it is incomplete, or another optimizer's",
            self.name
        ))
    }
}

pub(super) fn kept<R: Rule>(rule: &R) -> impl Iterator<Item = &'static str> {
    let is_kept = |slot: &&str| !R::OPTIONAL.contains(slot) || rule.keeps(slot);
    R::SLOTS.iter().copied().filter(is_kept)
}

/// [`Optimizer::update`](super::Optimizer::update).
pub(super) fn update<R: Rule>(
    rule: &mut R,
    id: ParamId,
    weights: Values,
    gradient: Values,
) -> Values {
    let mut slots = match rule.common_mut().slots.remove(&id) {
        Some(slots) => slots,
        None => kept(rule).map(|slot| gradient.full_like(rule.start(slot))).collect(),
    };
    let decay = rule.common().decay();
    let weights = rule.formula().values(decay, weights, gradient, &mut slots);
    if !slots.is_empty() {
        rule.common_mut().slots.insert(id, slots);
    }
    weights
}

/// [`Optimizer::state`](super::Optimizer::state).
pub(super) fn state<R: Rule>(rule: &R) -> OptimizerState {
    let common = rule.common();
    let step = R::COUNTS_STEPS.then_some(common.step);
    let mut state = OptimizerState { step, momentum: common.momentum, ..Default::default() };
    for (i, slot) in kept(rule).enumerate() {
        let of_each = common.slots.iter().filter_map(|(id, slots)| Some((id, slots.get(i)?)));
        state.put(slot, of_each);
    }
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
    let step = if R::COUNTS_STEPS { state.step.take() } else { None };
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
    let kept: Vec<&str> = kept(rule).collect();
    let mut slots = HashMap::new();
    for (id, like) in ids {
        if slots.contains_key(&id) {
            continue;
        }
        let mut of_it = Vec::with_capacity(kept.len());
        for (slot, of_each) in found.iter_mut().filter(|(slot, _)| kept.contains(slot)) {
            of_it.push(match of_each.remove(&id) {
                Some(values) => values,
                None if R::OPTIONAL.contains(slot) => like.full_like(rule.start(slot)),
                None => return Err(rule.common().lacks(slot)),
            });
        }
        if !of_it.is_empty() {
            slots.insert(id, of_it);
        }
    }
    Ok(slots)
}

/// Implements [`Optimizer`](super::Optimizer) by the [`Rule`], and the options that all have.
macro_rules! optimizer {
    ($optimizer:ty) => {
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

            fn set_momentum(&mut self, momentum: f64) -> refrain_core::Result {
                self.check_momentum(momentum)
                    .unwrap_or_else(|| Err($crate::optimizers::no_momentum(momentum)))?;
                self.common_mut().momentum = Some(momentum);
                Ok(())
            }

            fn state_len(&self, shape: &[usize]) -> usize {
                let slots = $crate::optimizers::rule::kept(self).count();
                shape.iter().fold(slots, |n, &axis| n.saturating_mul(axis))
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

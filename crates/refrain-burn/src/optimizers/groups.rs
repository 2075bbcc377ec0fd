//! Several optimizers, each for its parameters.

use std::collections::HashMap;
use std::fmt;

use burn::module::ParamId;
use refrain_core::schedule::Rate;
use refrain_core::{Clip, Error, Result};

use super::names::{no_such, unmatched};
use super::{LossScale, Optimizer, OptimizerState, ParameterInfo, Values, names, no_momentum};

/// Parameters with an optimizer of their own, by their names or their layers'.
pub struct Group {
    names: Vec<String>,
    optimizer: Box<dyn Optimizer>,
    rate: GroupRate,
}

/// What the learning rate of a group is.
#[derive(Clone, Copy, Debug)]
enum GroupRate {
    /// The one that the optimizer was given.
    Own,
    /// So many times that of all others.
    Scaled(f64),
}

impl Group {
    /// `names`: of layers (`dense_1`) or parameters (`dense_1.bias`); `*` stands for anything.
    pub fn new(
        names: impl IntoIterator<Item = impl Into<String>>,
        optimizer: impl Optimizer,
    ) -> Self {
        Self::boxed(names, Box::new(optimizer))
    }

    /// As [`new`](Self::new), with an optimizer that was chosen at run time.
    pub fn boxed(
        names: impl IntoIterator<Item = impl Into<String>>,
        optimizer: Box<dyn Optimizer>,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self { names, optimizer, rate: GroupRate::Own }
    }

    /// The learning rate as a multiple of that of all others, in place of the optimizer's own; 0 or
    /// more, 0 freezes the group.
    pub fn learning_rate_scale(mut self, scale: f64) -> Self {
        self.rate = GroupRate::Scaled(scale);
        self
    }
}

/// An optimizer for all parameters, and others for groups of them; Keras' `MultiOptimizer`.
///
/// A parameter belongs to the first group that names it. The trainer has one learning rate, that of
/// the optimizer for all: a group's is a fixed multiple of it, so that schedules, and callbacks that
/// reduce the rate, change all of them alike.
///
/// Clips and the loss scale are the whole's; weight decay and averages are each optimizer's own.
///
/// # Errors
/// `check` refuses a group whose name is no layer or parameter of the model, a clip or a loss scale
/// of a group, and a group with a rate of its own beside a schedule.
///
/// # Example
/// ```
/// use refrain_burn::layers::Dense;
/// use refrain_burn::{
///     Adam, ArrayDataset, Group, MeanSquaredError, ParameterGroups, Sequential, Sgd,
/// };
/// use refrain_core::{Fit, Trainer};
/// let model = Sequential::input(&[2]).layer(Dense::new(3)).layer(Dense::new(1)).build(0)?;
/// let optimizer = ParameterGroups::new(Sgd::new(0.1))
///     .group(Group::new(["dense_1"], Adam::new(0.001)))
///     .group(Group::new(["*.bias"], Sgd::default()).learning_rate_scale(2.0));
/// let data = ArrayDataset::new(&[2], vec![0.0, 1.0, 1.0, 0.0])?.targets(&[1], vec![1.0, 2.0])?;
/// let mut trainer = Trainer::compile(model, optimizer, MeanSquaredError::new());
/// trainer.fit(&data, Fit::epochs(1).verbose(0))?;
///
/// let model = Sequential::input(&[2]).layer(Dense::new(1)).build(0)?;
/// let optimizer = ParameterGroups::new(Sgd::new(0.1)).group(Group::new(["dens_1"], Sgd::new(0.2)));
/// let mut trainer = Trainer::compile(model, optimizer, MeanSquaredError::new());
/// let error = trainer.fit(&data, Fit::epochs(1).verbose(0)).unwrap_err();
/// assert!(error.to_string().contains("`dens_1` is no layer or parameter of the model; there are dense"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct ParameterGroups {
    default: Box<dyn Optimizer>,
    groups: Vec<Member>,
    /// The group of each parameter that is in one.
    of: HashMap<ParamId, usize>,
    parameters: Vec<ParameterInfo>,
}

struct Member {
    group: Group,
    /// Its rate as a multiple of the default's; `None` before that is known.
    scale: Option<f64>,
    /// Why it has none.
    problem: Option<&'static str>,
}

impl ParameterGroups {
    /// `default`: for all parameters that are in no group.
    pub fn new(default: impl Optimizer) -> Self {
        Self::boxed(Box::new(default))
    }

    /// As [`new`](Self::new), with an optimizer that was chosen at run time.
    pub fn boxed(default: Box<dyn Optimizer>) -> Self {
        Self { default, groups: Vec::new(), of: HashMap::new(), parameters: Vec::new() }
    }

    /// Adds a group.
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(Member { group, scale: None, problem: None });
        self
    }

    fn all(&self) -> impl Iterator<Item = &dyn Optimizer> {
        let groups = self.groups.iter().map(|member| &*member.group.optimizer);
        std::iter::once(&*self.default).chain(groups)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Optimizer>> {
        let groups = self.groups.iter_mut().map(|member| &mut member.group.optimizer);
        std::iter::once(&mut self.default).chain(groups)
    }

    /// 0: the default; else the group's number from 1.
    fn place(&self, id: ParamId) -> usize {
        self.of.get(&id).map_or(0, |group| group + 1)
    }
}

impl fmt::Debug for ParameterGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.groups.iter().map(|member| &member.group.names);
        f.debug_list().entries(names).finish()
    }
}

impl Optimizer for ParameterGroups {
    fn take_learning_rate(&mut self) -> Rate {
        let rate = self.default.take_learning_rate();
        for member in &mut self.groups {
            let own = member.group.optimizer.take_learning_rate();
            (member.scale, member.problem) = match (member.group.rate, &rate, own) {
                (GroupRate::Scaled(scale), ..) => (Some(scale), None),
                (GroupRate::Own, Rate::Constant(all), Rate::Constant(own)) => {
                    (Some(own / all), None)
                }
                (GroupRate::Own, _, Rate::Schedule(_)) => {
                    (None, Some("a group's learning rate is a number, and a schedule was given"))
                }
                (GroupRate::Own, Rate::Schedule(_), _) => (
                    None,
                    Some(
                        "the learning rate is a schedule, so that a group needs a learning_rate_scale",
                    ),
                ),
            };
        }
        rate
    }

    fn check(&self) -> Result {
        self.default.check()?;
        for Member { group, problem, .. } in &self.groups {
            let named = format!("the optimizer of {}", group.names.join(", "));
            group.optimizer.check().map_err(|error| error.context(&named))?;
            let refuse = |problem: &str| Err(Error::config(format!("{named}: {problem}")));
            if group.names.is_empty() {
                return refuse("a group needs the name of a layer or a parameter, or a pattern");
            }
            if let Some(problem) = problem {
                return refuse(problem);
            }
            if let GroupRate::Scaled(scale) = group.rate
                && !(scale.is_finite() && scale >= 0.0)
            {
                return refuse(&format!(
                    "learning_rate_scale is {scale}; allowed: a finite number, 0 or more"
                ));
            }
            if group.optimizer.clip().is_some() {
                return refuse(
                    "gradients are clipped for all groups together; give the clip outside of the groups",
                );
            }
            if group.optimizer.current_loss_scale().is_some() {
                return refuse(
                    "the loss is scaled for all groups; give the loss scale outside of them",
                );
            }
            if let Some(name) = unmatched(&group.names, self.parameters.iter()) {
                return Err(no_such("a group of parameters", name, self.parameters.iter()));
            }
        }
        Ok(())
    }

    fn clip(&self) -> Option<Clip> {
        self.default.clip()
    }

    fn meet(&mut self, parameters: &[ParameterInfo]) {
        self.parameters = parameters.to_vec();
        let group_of = |name: &str| {
            self.groups.iter().position(|member| names::any(&member.group.names, name))
        };
        self.of = parameters
            .iter()
            .filter_map(|parameter| Some((parameter.id, group_of(&parameter.name)?)))
            .collect();
        // Each is told of all: names that it is given need not be of its own parameters.
        self.all_mut().for_each(|optimizer| optimizer.meet(parameters));
    }

    fn state_len(&self, parameter: &ParameterInfo) -> usize {
        let group = self.of.get(&parameter.id).and_then(|group| self.groups.get(*group));
        group.map_or(&self.default, |member| &member.group.optimizer).state_len(parameter)
    }

    fn current_loss_scale(&self) -> Option<&LossScale> {
        self.default.current_loss_scale()
    }

    fn adapt_loss_scale(&mut self, is_finite: bool) {
        self.default.adapt_loss_scale(is_finite);
    }

    fn average(&self, id: ParamId) -> Option<&Values> {
        self.all().nth(self.place(id))?.average(id)
    }

    fn begin_step(&mut self, learning_rate: f64) {
        self.default.begin_step(learning_rate);
        for member in &mut self.groups {
            member.group.optimizer.begin_step(learning_rate * member.scale.unwrap_or(1.0));
        }
    }

    fn update(&mut self, id: ParamId, weights: Values, gradient: Values) -> Values {
        let place = self.place(id);
        match self.all_mut().nth(place) {
            Some(optimizer) => optimizer.update(id, weights, gradient),
            None => weights,
        }
    }

    /// Of all optimizers that have a momentum.
    fn set_momentum(&mut self, momentum: f64) -> Result {
        let has_momentum =
            |optimizer: &mut Box<dyn Optimizer>| optimizer.set_momentum(momentum).is_ok();
        // All are asked, also behind the first that has one.
        match self.all_mut().map(has_momentum).filter(|has| *has).count() {
            0 => Err(no_momentum(momentum)),
            _ => Ok(()),
        }
    }

    /// All count steps alike, and those that have a momentum have the same.
    fn state(&self) -> OptimizerState {
        let mut state = OptimizerState::default();
        for of_one in self.all().map(|optimizer| optimizer.state()) {
            state.step = state.step.or(of_one.step);
            state.momentum = state.momentum.or(of_one.momentum);
            state.numbers.extend(of_one.numbers);
            state.slots.extend(of_one.slots);
        }
        state
    }

    fn set_state(&mut self, mut state: OptimizerState) -> Result {
        let before: Vec<OptimizerState> = self.all().map(|optimizer| optimizer.state()).collect();
        let mut of_each: Vec<OptimizerState> = before
            .iter()
            .map(|before| OptimizerState {
                step: state.step.filter(|_| before.step.is_some()),
                ..OptimizerState::default()
            })
            .collect();
        for slot in std::mem::take(&mut state.slots) {
            let place = self.place(slot.parameter);
            if let Some(of_one) = of_each.get_mut(place) {
                of_one.slots.push(slot);
            }
        }
        if let Some(default) = of_each.first_mut() {
            default.numbers = std::mem::take(&mut state.numbers);
        }
        let momentum = state.momentum;
        let set = self
            .all_mut()
            .zip(of_each)
            .try_for_each(|(optimizer, state)| optimizer.set_state(state));
        let set = set.and_then(|()| momentum.map_or(Ok(()), |m| self.set_momentum(m)));
        if set.is_err() {
            for (optimizer, before) in self.all_mut().zip(before) {
                // It was this optimizer's own.
                let _ = optimizer.set_state(before);
            }
        }
        set
    }
}

//! Options and state that all optimizers have.

use std::collections::HashMap;

use burn::module::ParamId;
use refrain_core::schedule::Rate;
use refrain_core::{Clip, Error, Result};

use super::loss_scale::ScaleState;
use super::names::unmatched;
use super::rule::Decay;
use super::values::Values;
use super::{LossScale, OptimizerState, ParameterInfo, names};

/// What is remembered of a parameter where averages are kept.
const AVERAGE: &str = "average";
const LOSS_SCALE: &str = "loss_scale";
const GOOD_STEPS: &str = "good_steps";
const SKIPPED_STEPS: &str = "skipped_steps";

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
    pub(super) slots: HashMap<ParamId, Vec<Values>>,
    /// What is known of the parameters; nothing before the optimizer has met them.
    parameters: HashMap<ParamId, ParameterInfo>,
    /// Names of what does not decay.
    undecayed: Vec<String>,
    average: Average,
    loss_scale: Option<LossScale>,
}

/// A moving average of the weights.
#[derive(Debug, Default)]
struct Average {
    momentum: Option<f64>,
    overwrite_every: Option<usize>,
    of_each: HashMap<ParamId, Values>,
}

/// What a state has beside step, momentum and the rule's own slots.
pub(super) struct Extras {
    averages: HashMap<ParamId, Values>,
    loss_scale: Option<ScaleState>,
}

impl Extras {
    pub(super) fn has_average(&self) -> bool {
        !self.averages.is_empty()
    }
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
            parameters: HashMap::new(),
            undecayed: Vec::new(),
            average: Average::default(),
            loss_scale: None,
        }
    }

    pub(super) fn meet(&mut self, parameters: &[ParameterInfo]) {
        self.parameters = parameters.iter().map(|one| (one.id, one.clone())).collect();
    }

    pub(super) fn parameter(&self, id: ParamId) -> Option<&ParameterInfo> {
        self.parameters.get(&id)
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &ParameterInfo> {
        self.parameters.values()
    }

    pub(super) fn set_undecayed(&mut self, names: Vec<String>) {
        self.undecayed = names;
    }

    pub(super) fn set_average(&mut self, momentum: f64) {
        self.average.momentum = Some(momentum);
    }

    pub(super) fn set_overwrite(&mut self, steps: usize) {
        self.average.overwrite_every = Some(steps);
    }

    pub(super) fn set_loss_scale(&mut self, scale: LossScale) {
        self.loss_scale = Some(scale);
    }

    pub(super) fn loss_scale(&self) -> Option<&LossScale> {
        self.loss_scale.as_ref()
    }

    pub(super) fn adapt_loss_scale(&mut self, is_finite: bool) {
        if let Some(scale) = &mut self.loss_scale {
            scale.adapt(is_finite);
        }
    }

    pub(super) fn keeps_average(&self) -> bool {
        self.average.momentum.is_some()
    }

    pub(super) fn average_of(&self, id: ParamId) -> Option<&Values> {
        self.average.of_each.get(&id)
    }

    /// Takes a parameter's new weights into its average; returns what they are to be: themselves,
    /// or the average.
    pub(super) fn average(&mut self, id: ParamId, mut weights: Values) -> Values {
        let Some(momentum) = self.average.momentum else {
            return weights;
        };
        // The first step copies the weights, as in Keras.
        let average = match self.average.of_each.remove(&id) {
            Some(average) => average.moved_towards(&mut weights, momentum as f32),
            None => weights.clone(),
        };
        let is_due =
            self.average.overwrite_every.is_some_and(|n| self.step.is_multiple_of(n.max(1) as u64));
        let weights = if is_due { average.clone() } else { weights };
        self.average.of_each.insert(id, average);
        weights
    }

    /// Adds what is kept beside step, momentum and slots.
    pub(super) fn put_into(&self, state: &mut OptimizerState) {
        state.put(AVERAGE, &self.average.of_each);
        if let Some(scale) = self.loss_scale.as_ref().and_then(LossScale::state) {
            state.numbers.insert(LOSS_SCALE.to_owned(), scale.factor);
            state.numbers.insert(GOOD_STEPS.to_owned(), scale.good_steps as f64);
            state.numbers.insert(SKIPPED_STEPS.to_owned(), scale.skipped as f64);
        }
    }

    /// Takes that out again. What an option that was changed no longer needs is left out.
    pub(super) fn take_from(&self, state: &mut OptimizerState) -> Result<Extras> {
        let averages = state.take(AVERAGE);
        for (id, values) in &averages {
            if let Some(parameter) = self.parameter(*id) {
                self.check_elements(AVERAGE, values, parameter.elements())?;
            }
        }
        let scale = state.numbers.remove(LOSS_SCALE);
        let good_steps = state.numbers.remove(GOOD_STEPS).unwrap_or(0.0) as u64;
        let skipped = state.numbers.remove(SKIPPED_STEPS).unwrap_or(0.0) as u64;
        if let Some(scale) = scale.filter(|scale| !(scale.is_finite() && *scale > 0.0)) {
            return Err(Error::data(format!(
                "{}'s state has a loss scale of {scale}; allowed: a finite number above 0",
                self.name
            )));
        }
        Ok(Extras {
            averages,
            loss_scale: scale.map(|factor| ScaleState { factor, good_steps, skipped }),
        })
    }

    pub(super) fn set_extras(&mut self, extras: Extras) {
        let keeps_average = self.keeps_average();
        self.average.of_each = if keeps_average { extras.averages } else { HashMap::new() };
        if let Some(scale) = &mut self.loss_scale {
            scale.set_state(extras.loss_scale);
        }
    }

    pub(super) fn check_elements(&self, slot: &str, values: &Values, elements: usize) -> Result {
        if values.elements() == elements {
            return Ok(());
        }
        Err(Error::data(format!(
            "{}'s state has {} numbers in `{slot}` of a parameter; allowed: {elements}",
            self.name,
            values.elements()
        )))
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

    pub(super) fn weight_decay(&self) -> Option<f64> {
        self.weight_decay
    }

    /// `None` where it would change nothing.
    pub(super) fn decay(&self, by: Option<f64>, id: ParamId) -> Option<Decay> {
        let by = by.filter(|decay| *decay != 0.0)? as f32;
        let excluded = self.parameter(id).is_some_and(|one| names::any(&self.undecayed, &one.name));
        (!excluded).then_some(Decay { by, rate: self.rate })
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
        if let Some(pattern) = unmatched(&self.undecayed, self.parameters()) {
            let given = format!("{}: exclude_from_weight_decay", self.name);
            return Err(names::no_such(&given, pattern, self.parameters()));
        }
        if let Some(momentum) = self.average.momentum {
            let is_allowed = (0.0..=1.0).contains(&momentum);
            self.check_option("ema_momentum", momentum, is_allowed, "0 to 1, for example 0.99")?;
        }
        match (self.average.overwrite_every, self.average.momentum) {
            (Some(0), _) => {
                self.check_option("ema_overwrite_frequency", 0.0, false, "1 or more")?;
            }
            (Some(_), None) => {
                return Err(Error::config(format!(
                    "{}: ema_overwrite_frequency is given, and no average is kept; say use_ema too",
                    self.name
                )));
            }
            _ => {}
        }
        if let Some(scale) = &self.loss_scale {
            scale.check(self.name)?;
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

    pub(super) fn lacks(&self, what: &str) -> Error {
        Error::data(format!(
            "{}'s state lacks `{what}`; it is incomplete, or another optimizer's",
            self.name
        ))
    }
}

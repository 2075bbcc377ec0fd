//! What the wrappers that pass over part of a run have in common.

use std::any::Any;
use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::callback::{Access, Callback, OnFailure};
use crate::error::{Error, Result};
use crate::event::{Event, Hook};
use crate::finding::{Finding, RunPlan};
use crate::run::Run;
use crate::state::State;

/// A callback that acts in part of a run: what [`every`](super::CallbackExt::every),
/// [`after`](super::CallbackExt::after), [`once`](super::CallbackExt::once) and their like return.
///
/// What belongs together is passed on or passed over together: the beginning and the end of an
/// epoch; the hooks of one training batch; an evaluation or a prediction with all its batches.
/// `on_train_begin` and `on_train_end` are always passed on. A call of `evaluate` or `predict` by
/// itself belongs to no epoch, and is passed on as well, except by
/// [`when`](super::CallbackExt::when), which is asked.
pub struct Conditional {
    callback: Box<dyn Callback>,
    rule: Box<dyn Rule>,
    /// The wrapped callback's own.
    access: Access,
    /// Where each part is decided about, by `Part as usize`.
    openings: [Option<Hook>; Part::COUNT],
    in_training: bool,
    /// What was decided for the part that is under way, by `Part as usize`.
    decided: [Option<bool>; Part::COUNT],
    /// Whether the last event was passed on.
    passed: bool,
}

/// What is passed on or passed over as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Epoch,
    Batch,
    Test,
    Predict,
}

impl Part {
    pub(super) const COUNT: usize = 4;

    /// The part that a hook belongs to; none: the beginning and the end of training.
    pub(super) fn of(hook: Hook) -> Option<Self> {
        Some(match hook {
            Hook::TrainBegin | Hook::TrainEnd => return None,
            Hook::EpochBegin | Hook::EpochEnd => Part::Epoch,
            Hook::TrainBatchBegin | Hook::BackwardEnd | Hook::TrainBatchEnd => Part::Batch,
            Hook::TestBegin | Hook::TestBatchBegin | Hook::TestBatchEnd | Hook::TestEnd => {
                Part::Test
            }
            Hook::PredictBegin
            | Hook::PredictBatchBegin
            | Hook::PredictBatchEnd
            | Hook::PredictEnd => Part::Predict,
        })
    }

    /// Whether a callback with this access acts in it.
    pub(super) fn is_handled(self, access: &Access) -> bool {
        self.opening(access).is_some()
    }

    /// The hook at which the part is decided about; none: the callback does not act in it.
    ///
    /// An evaluation or a prediction: its beginning. An epoch or a batch: the first hook in which
    /// the callback acts, so that a decision about `on_epoch_end` is taken then.
    fn opening(self, access: &Access) -> Option<Hook> {
        let first = Hook::ALL
            .into_iter()
            .find(|&hook| Part::of(hook) == Some(self) && access.handles(hook))?;
        Some(match self {
            Part::Epoch | Part::Batch => first,
            Part::Test => Hook::TestBegin,
            Part::Predict => Hook::PredictBegin,
        })
    }
}

/// When a [`Conditional`] passes events on.
pub(super) trait Rule: Send + 'static {
    /// Its name in messages, in states and in recipes.
    fn name(&self) -> &'static str;

    /// Whether the part that `hook` opens is passed on. Asked once a part.
    fn is_due(&mut self, part: Part, hook: Hook, run: &Run<'_>) -> bool;

    /// Whether it chooses among the batches of an epoch.
    fn thins_batches(&self) -> bool {
        false
    }

    /// Whether it is asked about `evaluate` and `predict` by themselves, too.
    fn asks_outside_training(&self) -> bool {
        false
    }

    /// Whether an epoch that is gone on with could be decided about otherwise than when it began: by
    /// what no longer holds. Then the decision is part of the state.
    fn decides_once(&self) -> bool {
        false
    }

    /// Hooks that it must see for itself.
    fn hooks(&self) -> &'static [Hook] {
        &[]
    }

    /// Sees every event before anything is decided.
    fn see(&mut self, hook: Hook, run: &Run<'_>) {
        let _ = (hook, run);
    }

    /// An event of `part` in training reached the callback, through all other conditions.
    fn acted(&mut self, part: Part, epoch: usize) {
        let _ = (part, epoch);
    }

    /// Whether the options make sense for a callback with this access.
    fn check(&self, access: &Access) -> Result {
        let _ = access;
        Ok(())
    }

    /// The first epoch, from 0, in which something is passed on; `None` where that is not known.
    fn first_epoch(&self, plan: &RunPlan) -> Option<usize> {
        let _ = plan;
        None
    }

    /// What it remembers; `None` where that is nothing.
    fn save(&self) -> Result<Option<Value>> {
        Ok(None)
    }

    /// Sets what it remembers; `None`: to the beginning of a run.
    fn load(&mut self, saved: Option<&Value>) -> Result {
        let _ = saved;
        Ok(())
    }
}

/// Key of the wrapped callback's state, beside the wrapper's own.
const INNER: &str = "inner";
/// Key of what was decided about the epoch under way.
const DECIDED: &str = "decided";

impl Conditional {
    pub(super) fn new(callback: impl Callback, rule: impl Rule) -> Self {
        let access = callback.access();
        let parts = [Part::Epoch, Part::Batch, Part::Test, Part::Predict];
        Self {
            openings: parts.map(|part| part.opening(&access)),
            callback: Box::new(callback),
            rule: Box::new(rule),
            access,
            in_training: false,
            decided: [None; Part::COUNT],
            passed: false,
        }
    }

    fn is_passed_on(&mut self, hook: Hook, run: &Run<'_>) -> bool {
        self.rule.see(hook, run);
        let Some(part) = Part::of(hook) else {
            return true;
        };
        if !(self.in_training || self.rule.asks_outside_training()) {
            return true;
        }
        let is_opening = self.openings[part as usize] == Some(hook);
        if !is_opening && !self.access.handles(hook) {
            return false;
        }
        match self.decided[part as usize] {
            Some(is_due) if !is_opening => is_due,
            // It opens, or did before a run that goes on in the middle of it.
            _ => {
                let is_due = self.rule.is_due(part, hook, run);
                self.decided[part as usize] = Some(is_due);
                is_due
            }
        }
    }

    /// Whether an epoch is decided about when it begins, for good: then the decision is saved.
    fn keeps_decision(&self) -> bool {
        self.rule.decides_once() && self.openings[Part::Epoch as usize] == Some(Hook::EpochBegin)
    }

    /// Whether the conditions inside passed the last event on, too.
    fn reached_the_callback(&self) -> bool {
        conditions(&*self.callback).all(|condition| condition.passed)
    }
}

/// The conditions in a nest of wrappers, from the outermost in.
fn conditions(callback: &dyn Callback) -> impl Iterator<Item = &Conditional> {
    std::iter::successors(Some(callback), |callback| callback.inner())
        .filter_map(|callback| (callback as &dyn Any).downcast_ref())
}

/// Whether a condition in a nest of wrappers chooses among the batches of an epoch.
pub(super) fn thins_batches(callback: &dyn Callback) -> bool {
    conditions(callback).any(|condition| condition.rule.thins_batches())
}

impl Callback for Conditional {
    fn name(&self) -> Cow<'static, str> {
        self.callback.name()
    }

    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        let hook = event.hook();
        if hook == Hook::TrainEnd {
            self.in_training = false;
        }
        self.passed = self.is_passed_on(hook, run) && self.access.handles(hook);
        if self.passed {
            self.callback.on_event(run, event)?;
            if let Some(part) = Part::of(hook)
                && self.in_training
                && self.reached_the_callback()
            {
                self.rule.acted(part, run.progress.epoch);
            }
        }
        if hook == Hook::TrainBegin {
            self.in_training = true;
        }
        Ok(())
    }

    fn access(&self) -> Access {
        let access = self.access.clone().also_acts_in([Hook::TrainBegin, Hook::TrainEnd]);
        let access = access.also_acts_in(self.openings.iter().flatten().copied());
        access.also_acts_in(self.rule.hooks().iter().copied())
    }

    fn check(&self) -> Result {
        self.rule.check(&self.access)?;
        self.callback.check()
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let mut found = self.callback.findings(plan);
        if let Some(first) = self.rule.first_epoch(plan)
            && first >= plan.epochs
        {
            let name = self.rule.name();
            let epochs = plan.epochs;
            let message = format!("`{name}` is first met in epoch {}", first.saturating_add(1));
            let finding = Finding::warning("never-due", format!("{message} of {epochs}: never"));
            found.push(finding.fix(format!("make `{name}` smaller, or train longer")).option(name));
        }
        found
    }

    fn failure_policy(&self) -> OnFailure {
        self.callback.failure_policy()
    }

    fn save_state(&self) -> Result<Option<State>> {
        let inner = self.callback.save_state()?;
        let own = self.rule.save()?;
        let keeps_decision = self.keeps_decision();
        if own.is_none() && !keeps_decision {
            return Ok(inner);
        }
        let mut both = Map::from_iter([(self.rule.name().to_owned(), own.unwrap_or_default())]);
        if keeps_decision {
            let decided = self.decided[Part::Epoch as usize];
            both.insert(DECIDED.to_owned(), decided.into());
        }
        let mut weights = None;
        if let Some(inner) = inner {
            both.insert(INNER.to_owned(), inner.value().clone());
            weights = inner.weights().cloned();
        }
        Ok(Some(State::new(&both)?.with_weights(weights)))
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.in_training = false;
        self.decided = [None; Part::COUNT];
        let keeps_decision = self.keeps_decision();
        let remembers = keeps_decision || self.rule.save()?.is_some();
        let Some(saved) = saved else {
            self.rule.load(None)?;
            return self.callback.load_state(None);
        };
        if !remembers {
            return self.callback.load_state(Some(saved));
        }
        let name = self.rule.name();
        let own = saved.value().get(name);
        let own = own.ok_or_else(|| Error::data(format!("saved state has no `{name}`")))?;
        let inner = saved.value().get(INNER).map(State::new).transpose()?;
        let inner = inner.map(|inner| inner.with_weights(saved.weights().cloned()));
        let decided = match saved.value().get(DECIDED).filter(|_| keeps_decision) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(decided)) => Some(*decided),
            Some(other) => {
                return Err(Error::data(format!("saved state has {other} for `{DECIDED}`")));
            }
        };
        self.rule.load(Some(own))?;
        self.decided[Part::Epoch as usize] = decided;
        self.callback.load_state(inner.as_ref())
    }

    fn inner(&self) -> Option<&dyn Callback> {
        Some(&*self.callback)
    }
}

/// Reads what a rule remembers; `None` gives the default.
pub(super) fn load_own<T>(saved: Option<&Value>) -> Result<T>
where
    T: serde::de::DeserializeOwned + Default,
{
    State::load_or_default(saved.map(State::new).transpose()?.as_ref())
}

//! Ends the run with the mean of the weights of its last epochs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Hook};
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::State;
use crate::weights::Weights;

/// Ends the run with the mean of the weights that it had at the end of its last epochs.
///
/// From `start_epoch` on, or from `start_fraction` of the run on, the weights at the end of every
/// `every_epochs`-th epoch join the mean. The model trains on without it and gets it in `on_train_end`,
/// whatever ended the run, save an error. A run that ends before keeps its last weights.
///
/// With `swa_lr` the rate is that from then on: a factor of its own makes it so, whatever the
/// schedule says; a schedule that has gone down to 0 cannot be scaled, and is refused then.
///
/// A mean of weights has no running statistics of its own: those of a batch normalisation are
/// averaged like the weights, which is near to what it needs, and not the same. Run the training
/// data through the model once where it matters.
///
/// List it before [`EarlyStopping`](super::EarlyStopping) with `restore_best_weights` to end with the
/// best weights of that one, after it to end with the mean.
///
/// - Reads: nothing
/// - Writes: nothing; sets the weights
/// - Requests: nothing
/// - State: the mean and how many epochs are in it
/// - Cost: a copy of all weights to the host and a pass over them there for each epoch in the mean.
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `start_fraction` | 0.75 | 0 or more, below 1 | the part of the run before the first epoch in the mean |
/// | `start_epoch` | none | whole, ≥ 0 | that epoch itself, counted from 0; in place of `start_fraction` |
/// | `every_epochs` | 1 | whole, ≥ 1 | one in so many epochs joins |
/// | `swa_lr` | none | above 0 | the rate from then on |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "stochastic_weight_averaging"
/// start_epoch = 40
/// swa_lr = 0.01
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::StochasticWeightAveraging;
/// use refrain_core::testing::Script;
/// use refrain_core::weights::Weights;
/// use refrain_core::{Fit, ModelAccess as _, Trainer};
///
/// // The script's weight counts updates: the mean of 3, 4 and 5 is 4.
/// let script = Script::losses(&[1.0; 5]);
/// let swa = StochasticWeightAveraging::new().start_epoch(2);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(swa);
/// trainer.fit(&script.data(), Fit::epochs(5).verbose(0))?;
/// assert_eq!(trainer.learner().weights()?, Weights::from_f32([("w", vec![1], vec![4.0])]));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018;
/// PyTorch, `torch.optim.swa_utils`. Keras has none.
#[derive(Clone, Debug, PartialEq)]
pub struct StochasticWeightAveraging {
    start: Start,
    every: usize,
    swa_lr: Option<f64>,
    state: StochasticWeightAveragingState,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Epoch(usize),
    Fraction(f64),
}

/// State of [`StochasticWeightAveraging`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StochasticWeightAveragingState {
    /// Epochs in the mean.
    pub epochs: u64,
    /// Saved beside the rest, as weights.
    #[serde(skip)]
    mean: Option<Arc<Weights>>,
}

impl Default for StochasticWeightAveraging {
    fn default() -> Self {
        Self {
            start: Start::Fraction(0.75),
            every: 1,
            swa_lr: None,
            state: StochasticWeightAveragingState::default(),
        }
    }
}

impl StochasticWeightAveraging {
    /// Every epoch of the last quarter of the run; the rate is left alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first epoch in the mean, counted from 0.
    pub fn start_epoch(mut self, epoch: usize) -> Self {
        self.start = Start::Epoch(epoch);
        self
    }

    /// The part of the run before the first epoch in the mean, 0..1. Default 0.75.
    pub fn start_fraction(mut self, fraction: f64) -> Self {
        self.start = Start::Fraction(fraction);
        self
    }

    /// One in so many epochs joins the mean. Default 1.
    pub fn every_epochs(mut self, epochs: usize) -> Self {
        self.every = epochs;
        self
    }

    /// The learning rate from the first epoch in the mean on. Default: what it is anyway.
    pub fn swa_lr(mut self, rate: f64) -> Self {
        self.swa_lr = Some(rate);
        self
    }

    /// Epochs in the mean so far.
    pub fn epochs(&self) -> u64 {
        self.state.epochs
    }

    fn first_epoch(&self, epochs: usize) -> usize {
        match self.start {
            Start::Epoch(epoch) => epoch,
            Start::Fraction(fraction) => (fraction * epochs as f64) as usize,
        }
    }

    fn has_started(&self, progress: &Progress) -> bool {
        progress.epoch >= self.first_epoch(progress.epochs)
    }
}

impl Callback for StochasticWeightAveraging {
    // Before each batch, since a schedule may change the base from step to step.
    fn on_train_batch_begin(&mut self, run: &mut Run<'_>) -> Result {
        let Some(swa_lr) = self.swa_lr.filter(|_| self.has_started(&run.progress)) else {
            return Ok(());
        };
        let name = run.callback_name();
        let others = run.learning_rate.factors().filter(|(owner, _)| *owner != name);
        let rate = others.fold(run.learning_rate.base(), |rate, (_, factor)| rate * factor);
        if rate == 0.0 {
            return Err(Error::config(format!(
                "swa_lr is {swa_lr}, and the schedule has reached 0, which no factor scales; end \
                 the schedule above 0, or leave swa_lr out"
            )));
        }
        run.learning_rate.set_factor(name, swa_lr / rate)
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        let first = self.first_epoch(run.progress.epochs);
        let since = run.progress.epoch.checked_sub(first);
        if !since.is_some_and(|since| since.is_multiple_of(self.every)) {
            return Ok(());
        }
        let weights = run.model.weights()?;
        let StochasticWeightAveragingState { epochs, mean } = &mut self.state;
        let n = *epochs as f64;
        match mean {
            Some(mean) => Arc::make_mut(mean).average_with(&weights, n / (n + 1.0))?,
            none => *none = Some(Arc::new(weights)),
        }
        *epochs += 1;
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        match &self.state.mean {
            Some(mean) if !matches!(outcome, Outcome::Failed(_)) => run.model.set_weights(mean),
            _ => Ok(()),
        }
    }

    fn access(&self) -> Access {
        let access = Access::new().acts_in([Hook::EpochEnd, Hook::TrainEnd]).sets_weights();
        match self.swa_lr {
            None => access,
            Some(_) => access.also_acts_in([Hook::TrainBatchBegin]).scales_rate(),
        }
    }

    fn check(&self) -> Result {
        if let Start::Fraction(fraction) = self.start
            && !is_fraction(fraction)
        {
            return Err(Error::config(format!(
                "start_fraction is {fraction}; allowed: {FRACTION}"
            )));
        }
        if self.every == 0 {
            return Err(Error::config("every_epochs is 0; allowed: 1 or more"));
        }
        match self.swa_lr {
            Some(rate) if !is_rate(rate) => {
                Err(Error::config(format!("swa_lr is {rate}; allowed: {RATE}")))
            }
            _ => Ok(()),
        }
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let first = self.first_epoch(plan.epochs);
        if first < plan.epochs {
            return Vec::new();
        }
        let message = format!(
            "start_epoch is {first}, counted from 0, and the run has {} epochs: nothing is averaged",
            plan.epochs
        );
        let fix = format!("start at {} or earlier", plan.epochs.saturating_sub(1));
        vec![Finding::warning("start-beyond-run", message).fix(fix).option("start_epoch")]
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.state).map(|state| Some(state.with_weights(self.state.mean.clone())))
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        self.state.mean = saved.and_then(State::weights).cloned();
        Ok(())
    }
}

const FRACTION: &str = "0 or more and below 1, for example 0.75";
const RATE: &str = "a finite number above 0, for example 0.01";

fn is_fraction(fraction: f64) -> bool {
    (0.0..1.0).contains(&fraction)
}

fn is_rate(rate: f64) -> bool {
    rate.is_finite() && rate > 0.0
}

impl FromOptions for StochasticWeightAveraging {
    const NAME: &'static str = "stochastic_weight_averaging";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut swa = Self::new();
        if let Some(fraction) = options.get("start_fraction") {
            swa = swa.start_fraction(fraction.f64_in(FRACTION, is_fraction)?);
        }
        if let Some(epoch) = options.get("start_epoch") {
            if options.get("start_fraction").is_some() {
                let message = "`start_epoch` and `start_fraction` exclude each other; give one";
                return Err(epoch.error(message));
            }
            swa = swa.start_epoch(epoch.usize(0)?);
        }
        if let Some(epochs) = options.get("every_epochs") {
            swa = swa.every_epochs(epochs.usize(1)?);
        }
        if let Some(rate) = options.get("swa_lr") {
            swa = swa.swa_lr(rate.f64_in(RATE, is_rate)?);
        }
        Ok(swa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::StepLrScheduler;
    use crate::learner::ModelAccess as _;
    use crate::testing::Script;
    use crate::{Fit, LambdaCallback, Trainer};

    fn swa() -> StochasticWeightAveraging {
        StochasticWeightAveraging::new()
    }

    fn one(weight: f32) -> Weights {
        Weights::from_f32([("w", vec![1], vec![weight])])
    }

    #[test]
    fn the_run_ends_with_the_mean() {
        for (swa, expected) in [
            // Weights 1 to 8.
            (swa(), 7.5),
            (swa().start_fraction(0.0), 4.5),
            (swa().start_fraction(0.7), 7.0),
            (swa().start_fraction(0.99), 8.0),
            (swa().start_epoch(2), 5.5),
            (swa().start_epoch(1).every_epochs(3), 5.0),
            (swa().start_epoch(7), 8.0),
            (swa().start_epoch(8), 8.0),
        ] {
            let script = Script::losses(&[1.0]);
            let mut trainer = Trainer::new(script.learner(), 0.1).callback(swa.clone());
            trainer.fit(&script.data(), Fit::epochs(8).verbose(0)).unwrap();
            assert_eq!(trainer.learner().weights().unwrap(), one(expected), "{swa:?}");
        }
    }

    #[test]
    fn a_stop_keeps_the_mean_and_an_error_the_trained_weights() {
        for (fails, expected) in [(false, 2.5), (true, 3.0)] {
            let script = Script::losses(&[1.0]);
            let end = LambdaCallback::new("end").on_epoch_end(move |run, _| {
                match (run.progress.epoch, fails) {
                    (2, true) => return Err(Error::msg("disk full")),
                    (2, false) => run.stop("enough"),
                    _ => {}
                }
                Ok(())
            });
            let mut trainer =
                Trainer::new(script.learner(), 0.1).callback(swa().start_epoch(1)).callback(end);
            let fitted = trainer.fit(&script.data(), Fit::epochs(8).verbose(0));
            assert_eq!(fitted.is_err(), fails);
            assert_eq!(trainer.learner().weights().unwrap(), one(expected));
        }
    }

    #[test]
    fn the_rate_is_what_was_asked_for() {
        let script = Script::losses(&[1.0]);
        let mut trainer = Trainer::new(script.learner(), 1.0)
            .callback(StepLrScheduler::new(0.5, 1).verbose(false))
            .callback(swa().start_epoch(2).swa_lr(0.125));
        let history = trainer.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap();
        assert_eq!(history.column("learning_rate"), [1.0, 0.5, 0.125, 0.125].map(Some));
    }

    #[test]
    fn a_rate_of_0_cannot_be_scaled() {
        let script = Script::losses(&[1.0]);
        let zero = LambdaCallback::new("zero")
            .on_epoch_begin(|run: &mut Run<'_>| run.learning_rate.set_factor("zero", 0.0));
        let mut trainer = Trainer::new(script.learner(), 1.0)
            .callback(zero)
            .callback(swa().start_epoch(0).swa_lr(0.1));
        let error = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err();
        assert!(error.to_string().contains("the schedule has reached 0"), "{error}");
    }

    #[test]
    fn the_state_holds_the_mean() {
        let mut saved = swa();
        saved.state = StochasticWeightAveragingState { epochs: 3, mean: Some(Arc::new(one(2.0))) };
        let mut loaded = swa();
        loaded.load_state(saved.save_state().unwrap().as_ref()).unwrap();
        assert_eq!(loaded, saved);
        loaded.load_state(None).unwrap();
        assert_eq!(loaded, swa());
    }

    #[test]
    fn the_options_are_checked() {
        for (swa, message) in [
            (swa().start_fraction(1.0), "start_fraction is 1; allowed: 0 or more and below 1"),
            (swa().start_fraction(f64::NAN), "start_fraction is NaN; allowed"),
            (swa().every_epochs(0), "every_epochs is 0; allowed: 1 or more"),
            (swa().swa_lr(0.0), "swa_lr is 0; allowed: a finite number above 0"),
        ] {
            let error = swa.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let plan = RunPlan { epochs: 8, ..RunPlan::default() };
        assert!(swa().findings(&plan).is_empty());
        assert_eq!(swa().start_epoch(8).findings(&plan)[0].code, "start-beyond-run");
    }
}

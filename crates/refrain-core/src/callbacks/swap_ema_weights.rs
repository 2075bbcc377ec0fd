//! Keeps a moving average of the weights, and evaluates with it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BatchEnd, EpochEnd, Hook, TestEnd};
use crate::learner::ModelAccess;
use crate::options::Section;
use crate::outcome::Outcome;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::State;
use crate::weights::Weights;

/// Keeps an exponential moving average of the weights, validates with it, and ends the run with it.
///
/// After each update: average = m × average + (1 − m) × weights, with m = `ema_momentum`; the first
/// update copies the weights. The model has the average during each validation, and the trained
/// weights again after it. When training ends the model gets the average for good, whatever ended
/// it, save an error: then it has the trained weights, and `evaluate` and `predict` swap the
/// average in and back. All floats of a snapshot are averaged, running statistics of
/// normalisations too.
///
/// With `swap_on_epoch` the model has the average from `on_epoch_end` to the next
/// `on_epoch_begin`: callbacks listed after this one, such as `ModelCheckpoint` or
/// [`EarlyStopping`](super::EarlyStopping) with `restore_best_weights`, then save the average, and
/// those listed before it the trained weights.
///
/// - Reads: nothing
/// - Writes: nothing; sets the weights
/// - Requests: nothing
/// - State: the average; the trained weights while the average is in the model
/// - Cost: a copy of all weights to the host and a pass over them there for each update; two copies
///   for each swap. Memory for two models on the host.
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `ema_momentum` | 0.99 | 0..=1 | how much of the average an update keeps |
/// | `ema_overwrite_frequency` | none | whole, ≥ 1 | gives the model the average every so many updates |
/// | `swap_on_epoch` | false | true, false | whether the model has the average between epochs |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "swap_ema_weights"
/// ema_momentum = 0.999
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::SwapEmaWeights;
/// use refrain_core::testing::Script;
/// use refrain_core::weights::Weights;
/// use refrain_core::{Fit, ModelAccess as _, Trainer};
///
/// // The script's weight counts updates: 1, 2, 3.
/// let script = Script::losses(&[3.0, 2.0, 1.0]);
/// let ema = SwapEmaWeights::new().ema_momentum(0.5);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(ema);
/// trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
/// let average = Weights::from_f32([("w", vec![1], vec![2.25])]);
/// assert_eq!(trainer.learner().weights()?, average);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - There the average is the optimizer's (`use_ema`, `ema_momentum`, `ema_overwrite_frequency`),
///   and the callback swaps alone. Here the two know nothing of each other: leave `use_ema` out.
/// - After `predict` the model has its trained weights back; in Keras the average stays in it.
/// - A run that is stopped early ends with the average, with `swap_on_epoch` too; in Keras it is
///   lost there.
/// - After an error the model has the trained weights.
/// - The average is of all floats; in Keras of the trained weights.
/// - Each `fit` begins a new average.
///
/// # Source
/// Keras, `SwapEMAWeights` and `Optimizer(use_ema)`.
#[derive(Clone, Debug, PartialEq)]
pub struct SwapEmaWeights {
    ema_momentum: f64,
    ema_overwrite_frequency: Option<usize>,
    swap_on_epoch: bool,
    /// Updates made when the current batch began.
    step_before: u64,
    /// Whether the average was swapped in for the current evaluation or prediction.
    is_in_for_now: bool,
    state: SwapEmaWeightsState,
}

/// State of [`SwapEmaWeights`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SwapEmaWeightsState {
    /// Updates in the average.
    pub updates: u64,
    /// Saved beside the rest, as weights.
    #[serde(skip)]
    average: Option<Weights>,
    /// The trained weights, while the model has the average.
    #[serde(skip)]
    trained: Option<Weights>,
}

impl Default for SwapEmaWeights {
    fn default() -> Self {
        Self {
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
            swap_on_epoch: false,
            step_before: 0,
            is_in_for_now: false,
            state: SwapEmaWeightsState::default(),
        }
    }
}

impl SwapEmaWeights {
    /// Momentum 0.99, no overwriting, swapped in for evaluations alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much of the average an update keeps, 0..=1. Default 0.99.
    pub fn ema_momentum(mut self, momentum: f64) -> Self {
        self.ema_momentum = momentum;
        self
    }

    /// Gives the model the average every so many updates, and trains on from it. Default: never.
    pub fn ema_overwrite_frequency(mut self, updates: usize) -> Self {
        self.ema_overwrite_frequency = Some(updates);
        self
    }

    /// Whether the model has the average between epochs, so that it is what checkpoints hold.
    /// Default false.
    pub fn swap_on_epoch(mut self, swap: bool) -> Self {
        self.swap_on_epoch = swap;
        self
    }

    /// The average; none before the first update, and once the model has it for good.
    pub fn average(&self) -> Option<&Weights> {
        self.state.average.as_ref()
    }

    /// The average into the model; false where there is none, or it is there already.
    fn swap_in(&mut self, model: &mut dyn ModelAccess) -> Result<bool> {
        let Some(average) = &self.state.average else {
            return Ok(false);
        };
        if self.state.trained.is_some() {
            return Ok(false);
        }
        let trained = model.weights()?;
        model.set_weights(average)?;
        self.state.trained = Some(trained);
        Ok(true)
    }

    /// The trained weights back into the model.
    fn swap_out(&mut self, model: &mut dyn ModelAccess) -> Result {
        let Some(trained) = self.state.trained.take() else {
            return Ok(());
        };
        model.set_weights(&trained)
    }

    fn begin_evaluation(&mut self, run: &mut Run<'_>) -> Result {
        self.is_in_for_now = self.swap_in(run.model)?;
        Ok(())
    }

    fn end_evaluation(&mut self, run: &mut Run<'_>) -> Result {
        if std::mem::take(&mut self.is_in_for_now) { self.swap_out(run.model) } else { Ok(()) }
    }
}

impl Callback for SwapEmaWeights {
    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        if self.swap_on_epoch { self.swap_out(run.model) } else { Ok(()) }
    }

    fn on_train_batch_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.step_before = run.progress.step;
        Ok(())
    }

    fn on_train_batch_end(&mut self, run: &mut Run<'_>, _: &BatchEnd) -> Result {
        if run.progress.step == self.step_before {
            // The update was skipped or put off.
            return Ok(());
        }
        let weights = run.model.weights()?;
        let state = &mut self.state;
        state.updates += 1;
        let average = match &mut state.average {
            Some(average) => {
                average.average_with(&weights, self.ema_momentum)?;
                average
            }
            none => none.insert(weights),
        };
        match self.ema_overwrite_frequency {
            Some(n) if state.updates.is_multiple_of(n as u64) => run.model.set_weights(average),
            _ => Ok(()),
        }
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        if self.swap_on_epoch { self.swap_in(run.model).map(|_| ()) } else { Ok(()) }
    }

    fn on_test_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.begin_evaluation(run)
    }

    fn on_test_end(&mut self, run: &mut Run<'_>, _: &TestEnd<'_>) -> Result {
        self.end_evaluation(run)
    }

    fn on_predict_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.begin_evaluation(run)
    }

    fn on_predict_end(&mut self, run: &mut Run<'_>, _: &Outcome<'_>) -> Result {
        self.end_evaluation(run)
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        if matches!(outcome, Outcome::Failed(_)) {
            return self.swap_out(run.model);
        }
        let Some(average) = &self.state.average else {
            return Ok(());
        };
        run.model.set_weights(average)?;
        (self.state.average, self.state.trained) = (None, None);
        Ok(())
    }

    fn access(&self) -> Access {
        let access = Access::new().sets_weights().acts_in([
            Hook::TrainBatchBegin,
            Hook::TrainBatchEnd,
            Hook::TestBegin,
            Hook::TestEnd,
            Hook::TrainEnd,
            Hook::PredictBegin,
            Hook::PredictEnd,
        ]);
        let between_epochs = [Hook::EpochBegin, Hook::EpochEnd];
        if self.swap_on_epoch { access.also_acts_in(between_epochs) } else { access }
    }

    fn check(&self) -> Result {
        if !is_momentum(self.ema_momentum) {
            let momentum = self.ema_momentum;
            return Err(Error::config(format!("ema_momentum is {momentum}; allowed: {MOMENTUM}")));
        }
        if self.ema_overwrite_frequency == Some(0) {
            return Err(Error::config("ema_overwrite_frequency is 0; allowed: 1 or more, or none"));
        }
        Ok(())
    }

    fn save_state(&self) -> Result<Option<State>> {
        let SwapEmaWeightsState { average, trained, .. } = &self.state;
        let mut both = Weights::default();
        for (weights, prefix) in [(average, AVERAGE), (trained, TRAINED)] {
            let weights = weights.clone().unwrap_or_default();
            both.tensors.extend(weights.prefixed(prefix).tensors);
        }
        let weights = average.as_ref().map(|_| Arc::new(both));
        State::new(&self.state).map(|state| Some(state.with_weights(weights)))
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        let mut state: SwapEmaWeightsState = State::load_or_default(saved)?;
        if let Some(weights) = saved.and_then(State::weights) {
            state.average = weights.with_prefix(AVERAGE);
            state.trained = weights.with_prefix(TRAINED);
        }
        self.state = state;
        self.is_in_for_now = false;
        Ok(())
    }
}

/// In front of the names of a saved state's weights.
const AVERAGE: &str = "average/";
const TRAINED: &str = "trained/";

const MOMENTUM: &str = "0..=1, typically 0.9 to 0.9999";

fn is_momentum(momentum: f64) -> bool {
    (0.0..=1.0).contains(&momentum)
}

impl FromOptions for SwapEmaWeights {
    const NAME: &'static str = "swap_ema_weights";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut ema = Self::new();
        if let Some(momentum) = options.get("ema_momentum") {
            ema = ema.ema_momentum(momentum.f64_in(MOMENTUM, is_momentum)?);
        }
        if let Some(updates) = options.get("ema_overwrite_frequency") {
            ema = ema.ema_overwrite_frequency(updates.usize(1)?);
        }
        if let Some(swap) = options.get("swap_on_epoch") {
            ema = ema.swap_on_epoch(swap.bool()?);
        }
        Ok(ema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::GradientAccumulation;
    use crate::testing::{Script, ScriptLearner};
    use crate::{Fit, LambdaCallback, Trainer};
    use std::sync::{Arc, Mutex};

    fn ema() -> SwapEmaWeights {
        SwapEmaWeights::new().ema_momentum(0.5)
    }

    fn weight(model: &dyn ModelAccess) -> f32 {
        let weights = model.weights().unwrap();
        f32::from_le_bytes(weights.tensors[0].bytes[..4].try_into().unwrap())
    }

    type Seen = Arc<Mutex<Vec<(&'static str, f32)>>>;

    /// Writes down the weight that the model has in some hooks.
    fn watch(seen: &Seen) -> LambdaCallback {
        let note = |hook: &'static str| {
            let seen = Arc::clone(seen);
            move |run: &mut Run<'_>| {
                seen.lock().unwrap().push((hook, weight(run.model)));
                Ok(())
            }
        };
        let epoch_end = note("epoch end");
        LambdaCallback::new("watch")
            .on_train_batch_begin(note("batch"))
            .on_test_begin(note("test"))
            .on_epoch_end(move |run, _| epoch_end(run))
            .on_predict_begin(note("predict"))
    }

    fn trainer(ema: SwapEmaWeights, seen: &Seen) -> (Script, Trainer<ScriptLearner>) {
        let script = Script::losses(&[1.0]);
        let trainer = Trainer::new(script.learner(), 0.1).callback(ema).callback(watch(seen));
        (script, trainer)
    }

    #[test]
    fn averages_after_each_update() {
        for (ema, expected) in [
            // Weights 1, 2, 3.
            (ema(), 2.25),
            (ema().ema_momentum(0.0), 3.0),
            (ema().ema_momentum(1.0), 1.0),
            // 1, 2, then 1.5 in place of 2: 2.5 is averaged last.
            (ema().ema_overwrite_frequency(2), 2.0),
        ] {
            let (script, mut trainer) = trainer(ema.clone(), &Seen::default());
            trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
            assert_eq!(weight(trainer.learner()), expected, "{ema:?}");
        }
    }

    #[test]
    fn averages_updates_and_not_batches() {
        let script = Script::losses(&[1.0]);
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .callback(GradientAccumulation::new(2))
            .callback(ema());
        trainer.fit(&script.samples(6), Fit::epochs(1).batch_size(1).verbose(0)).unwrap();
        assert_eq!(weight(trainer.learner()), 2.25);
    }

    #[test]
    fn validates_with_the_average_and_trains_on_without_it() {
        let seen = Seen::default();
        let (script, mut trainer) = trainer(ema(), &seen);
        let data = script.data();
        trainer.fit(&data, Fit::epochs(2).validation_data(&data).verbose(0)).unwrap();
        let expected = [
            ("batch", 0.0),
            ("test", 1.0),
            ("epoch end", 1.0),
            ("batch", 1.0),
            ("test", 1.5),
            ("epoch end", 2.0),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
        assert_eq!(weight(trainer.learner()), 1.5);
    }

    #[test]
    fn between_epochs_the_model_has_the_average() {
        let seen = Seen::default();
        let (script, mut trainer) = trainer(ema().swap_on_epoch(true), &seen);
        trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
        let expected = [
            ("batch", 0.0),
            ("epoch end", 1.0),
            ("batch", 1.0),
            ("epoch end", 1.5),
            ("batch", 2.0),
            ("epoch end", 2.25),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    /// Keras loses the average there.
    #[test]
    fn an_early_stop_keeps_the_average() {
        for swap in [false, true] {
            let script = Script::losses(&[1.0]);
            let stop = LambdaCallback::new("stop").on_epoch_end(|run, _| {
                if run.progress.epoch == 1 {
                    run.stop("enough");
                }
                Ok(())
            });
            let mut trainer = Trainer::new(script.learner(), 0.1)
                .callback(ema().swap_on_epoch(swap))
                .callback(stop);
            trainer.fit(&script.data(), Fit::epochs(9).verbose(0)).unwrap();
            assert_eq!(weight(trainer.learner()), 1.5);
        }
    }

    #[test]
    fn after_an_error_the_trained_weights_are_there_and_evaluations_swap() {
        for swap in [false, true] {
            let seen = Seen::default();
            let (script, trainer) = trainer(ema().swap_on_epoch(swap), &seen);
            let fail = LambdaCallback::new("fail").on_epoch_end(|run, _| {
                if run.progress.epoch == 1 { Err(Error::msg("disk full")) } else { Ok(()) }
            });
            let mut trainer = trainer.callback(fail);
            let data = script.data();
            trainer.fit(&data, Fit::epochs(9).verbose(0)).unwrap_err();
            assert_eq!(weight(trainer.learner()), 2.0);

            seen.lock().unwrap().clear();
            trainer.predict(&data, 1).unwrap();
            trainer.evaluate(&data, 1).unwrap();
            assert_eq!(*seen.lock().unwrap(), [("predict", 1.5), ("test", 1.5)]);
            assert_eq!(weight(trainer.learner()), 2.0);
        }
    }

    #[test]
    fn the_state_holds_both_weights() {
        let one = |w: f32| Weights::from_f32([("w", vec![1], vec![w])]);
        for (average, trained) in
            [(None, None), (Some(one(1.0)), None), (Some(one(1.0)), Some(one(2.0)))]
        {
            let mut saved = ema();
            saved.state = SwapEmaWeightsState { updates: 7, average, trained };
            let mut loaded = ema();
            loaded.load_state(saved.save_state().unwrap().as_ref()).unwrap();
            assert_eq!(loaded, saved);
            loaded.load_state(None).unwrap();
            assert_eq!(loaded, ema());
        }
    }

    #[test]
    fn refuses_options_out_of_range() {
        for (ema, message) in [
            (ema().ema_momentum(1.1), "ema_momentum is 1.1; allowed: 0..=1"),
            (ema().ema_momentum(f64::NAN), "ema_momentum is NaN; allowed: 0..=1"),
            (ema().ema_overwrite_frequency(0), "ema_overwrite_frequency is 0; allowed: 1 or more"),
        ] {
            let error = ema.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}

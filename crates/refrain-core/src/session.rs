//! The loop: epochs, batches, validation, and the events between them. It exists once; `fit`,
//! `evaluate`, `predict` and loops written by hand all run through it.

use std::collections::BTreeMap;

use crate::callbacks::ProgbarLogger;
use crate::checkpoint::{Opened, Saving};
use crate::costs::timed;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::event::{BackwardEnd, BatchEnd, EpochEnd, Event, PredictBatchEnd, TestEnd};
use crate::finding::RunPlan;
use crate::fit::{Batches, Fit, Plan, ValidationFreq};
use crate::history::History;
use crate::learner::{Learner, TrainStep};
use crate::logs::Logs;
use crate::outcome::{Ending, Outcome};
use crate::progress::Progress;
use crate::random;
use crate::replay::ReplayedEpoch;
use crate::slot::{Slot, guard};
use crate::trainer::Trainer;

/// How long a run written by hand is to be.
///
/// # Example
/// ```
/// use refrain_core::Epochs;
/// let epochs = Epochs::new(3).steps_per_epoch(12).validation().verbose(0);
/// ```
#[derive(Clone, Debug)]
pub struct Epochs {
    epochs: usize,
    initial_epoch: usize,
    steps_per_epoch: usize,
    validation: Option<ValidationFreq>,
    verbose: u8,
    config: BTreeMap<String, String>,
}

impl Epochs {
    /// Until epoch `epochs`, exclusive.
    pub fn new(epochs: usize) -> Self {
        let config = BTreeMap::new();
        Self { epochs, initial_epoch: 0, steps_per_epoch: 0, validation: None, verbose: 1, config }
    }

    pub(crate) fn of_fit<B>(fit: &Fit<'_, B>) -> Self {
        Self::new(fit.epochs).initial_epoch(fit.initial_epoch).verbose(fit.verbose)
    }

    pub(crate) fn of_plan<B>(mut self, plan: &Plan<'_, B>) -> Self {
        self.steps_per_epoch = plan.steps_per_epoch();
        self.validation = plan.validation_freq().cloned();
        self.config = plan.config();
        self
    }

    pub(crate) fn epochs(&self) -> usize {
        self.epochs
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// What must be the same for the run to go on, as far as it is known here.
    pub(crate) fn config(&self) -> BTreeMap<String, String> {
        self.config.clone()
    }

    /// What is known of the run.
    pub(crate) fn plan(&self) -> RunPlan {
        RunPlan {
            epochs: self.epochs,
            initial_epoch: self.initial_epoch,
            steps_per_epoch: self.steps_per_epoch,
            validation: self.validation.clone(),
            ..RunPlan::default()
        }
    }

    /// The epoch to begin with, from 0.
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.initial_epoch = epoch;
        self
    }

    /// Batches in an epoch, for the progress bar and for schedules; leave it out if unknown.
    pub fn steps_per_epoch(mut self, steps: usize) -> Self {
        self.steps_per_epoch = steps;
        self
    }

    /// Says that [`Session::validate`] will be called, so that callbacks may watch `val_*`.
    pub fn validation(mut self) -> Self {
        self.validation = Some(ValidationFreq::Every(1));
        self
    }

    /// As [`Fit::verbose`].
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }
}

/// A run that is under way. `fit` is written with it; so can your own loop be, with the same
/// callbacks told the same events.
///
/// However the loop is left, `on_train_end` runs once: after [`finish`](Self::finish) with how the
/// run went, after an early `return`, `?` or panic with `Failed` or `Interrupted`.
///
/// # Example
/// ```
/// use refrain_core::testing::Script;
/// use refrain_core::{Dataset as _, Epochs, Trainer};
///
/// let script = Script::losses(&[2.0, 1.0]);
/// let data = script.data();
/// let mut trainer = Trainer::new(script.learner(), 0.1);
///
/// let mut session = trainer.session(Epochs::new(2).verbose(0))?;
/// while session.begin_epoch()? {
///     for index in 0..data.len() {
///         session.train_batch(data.batch(&[index])?, None)?;
///         if session.should_stop() {
///             break;
///         }
///     }
///     session.end_epoch()?;
/// }
/// let history = session.finish()?;
/// assert_eq!(history.column("loss"), [Some(2.0), Some(1.0)]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct Session<'t, L: Learner> {
    pub(crate) trainer: &'t mut Trainer<L>,
    epochs: usize,
    pub(crate) next_epoch: usize,
    /// The first error; callbacks are told it in `on_train_end`.
    failure: Option<Error>,
    is_interrupted: bool,
    is_finished: bool,
    pub(crate) in_epoch: bool,
    has_progbar: bool,
    pub(crate) is_verbose: bool,
    /// Training means of the current epoch, read when its batches were done.
    pub(crate) epoch_logs: Option<Logs>,
    /// The rate of the last update.
    pub(crate) rate_used: f64,
    /// Checkpoints, where the run keeps some.
    pub(crate) saving: Option<Saving>,
    /// The next epoch was begun before the checkpoint that the run goes on from.
    pub(crate) reenters: bool,
    /// The run was put back to a checkpoint since the loop looked last.
    pub(crate) went_back: bool,
}

impl<'t, L: Learner> Session<'t, L> {
    pub(crate) fn begin(trainer: &'t mut Trainer<L>, epochs: Epochs) -> Result<Self> {
        trainer.refuse(&epochs.plan(), epochs.verbose)?;
        let opened = trainer.open_run(&epochs)?;
        let mut progress =
            Progress::start(epochs.initial_epoch, epochs.epochs, epochs.steps_per_epoch);
        // Schedules and dropout go on from where the epochs before would have left them.
        progress.batches_per_update = trainer.batches_per_update();
        let updates = progress.updates_per_epoch() as u64;
        progress.step = (epochs.initial_epoch as u64).saturating_mul(updates);
        trainer.reset(progress)?;
        let (mut saving, loaded, first, prepare, records) = match opened {
            Some(Opened { saving, loaded, first, prepare, records }) => {
                (Some(saving), loaded, first, prepare, records)
            }
            None => (None, None, Vec::new(), None, Vec::new()),
        };
        let accepts_changes = saving.as_ref().is_some_and(Saving::accepts_changes);
        if let Some(loaded) = &loaded {
            trainer.restore(loaded, accepts_changes)?;
        }
        if let Some(saving) = saving.as_ref().filter(|_| !first.is_empty()) {
            // Durable before the files that they are of.
            saving.begin(&first)?;
        }
        if let Some(prepare) = prepare {
            prepare(&trainer.files)?;
        }
        if let Some(saving) = &mut saving {
            saving.begin(&records)?;
            if trainer.may_roll_back() {
                saving.leave_none_out();
            }
        }
        let has_progbar = epochs.verbose > 0 && trainer.get::<ProgbarLogger>().is_none();
        if has_progbar {
            // Last in the list, so that it shows what callbacks added to the logs.
            trainer.slots.push(Slot::new(Box::new(ProgbarLogger::new(epochs.verbose))));
        }
        trainer.measure(epochs.verbose > 1);
        let mut session = Self {
            rate_used: trainer.learning_rate.get(),
            trainer,
            epochs: epochs.epochs,
            next_epoch: epochs.initial_epoch,
            failure: None,
            is_interrupted: false,
            is_finished: false,
            in_epoch: false,
            has_progbar,
            is_verbose: epochs.verbose > 0,
            epoch_logs: None,
            saving,
            reenters: false,
            went_back: false,
        };
        let begun = match &loaded {
            Some(loaded) => session.begin_from(loaded, accepts_changes),
            None => session.trainer.emit(&mut Event::TrainBegin),
        };
        if session.keep(begun).is_err() {
            session.end()?;
        }
        Ok(session)
    }

    /// All epochs of a plan: the loop of `fit`.
    pub(crate) fn run(&mut self, plan: &Plan<'_, L::Batch>) -> Result {
        if let Some(warning) = plan.warning() {
            self.trainer.console.print(&warning);
        }
        if let Some(request) = self.trainer.requests.trial.take()
            && self.failure.is_none()
        {
            let tried = self.trainer.try_rates(&request, plan);
            self.trainer.trial = Some(self.keep(tried)?);
        }
        let mut order = Vec::new();
        let mut weights = Vec::new();
        while self.begin_epoch()? {
            plan.order(self.trainer.seed, self.trainer.progress.epoch, &mut order);
            // Not from the first where the run goes on in the middle of an epoch.
            let first = self.trainer.progress.batch;
            let mut batches = order.chunks_mut(plan.train.batch_size).skip(first).peekable();
            while let Some(indices) = batches.next() {
                if first > 0 && self.should_stop() {
                    break;
                }
                let data_time = self.trainer.costs.as_mut().map(|costs| &mut costs.data);
                let batch = timed(data_time, || {
                    guard("the data set", || plan.train.get(indices, &mut weights))
                });
                let batch = self.keep(batch)?;
                if let Some(next) = batches.peek_mut() {
                    plan.train.prefetch(next);
                }
                let weights = (!weights.is_empty()).then_some(weights.as_slice());
                self.train_batch(batch, weights)?;
                if self.should_stop() {
                    break;
                }
            }
            if let Some(validation) = &plan.validation
                && plan.is_validation_due(self.trainer.progress.epoch)
                && !self.trainer.stop.is_stopped()
            {
                self.validate_batches(validation)?;
            }
            self.end_epoch()?;
        }
        Ok(())
    }

    /// Begins the next epoch; false when there is none: all were run, or a stop was asked for.
    ///
    /// A run that goes on from a checkpoint in the middle of an epoch begins with that one:
    /// [`progress`](Self::progress) says how many of its batches were trained. So does one that a
    /// callback puts back to a checkpoint ([`Run::roll_back`](crate::Run::roll_back)).
    ///
    /// # Errors
    /// When a callback fails, or the run has failed before.
    pub fn begin_epoch(&mut self) -> Result<bool> {
        self.go_on()?;
        if self.is_interrupted {
            return Ok(false);
        }
        self.went_back = false;
        if self.in_epoch {
            return self.keep(Err(Error::msg("begin_epoch inside an epoch; call end_epoch first")));
        }
        if let Some(request) = self.trainer.requests.trial.take() {
            return self.keep(Err(request.refuse()));
        }
        if self.trainer.stop.is_stopped() {
            self.is_interrupted = true;
        }
        let is_over = self.is_interrupted
            || (self.trainer.requests.stop.is_some() && !self.reenters)
            || self.next_epoch >= self.epochs;
        if is_over {
            return Ok(false);
        }
        let saved = self.save_beginning();
        self.keep(saved)?;
        self.trainer.progress.epoch = self.next_epoch;
        self.next_epoch += 1;
        self.in_epoch = true;
        if std::mem::take(&mut self.reenters) {
            return Ok(true);
        }
        self.trainer.progress.batch = 0;
        self.epoch_logs = None;
        self.trainer.learner.reset_metrics();
        self.trainer.batch_logs = None;
        let begun = self.apply_schedule().and_then(|()| self.trainer.emit(&mut Event::EpochBegin));
        self.keep(begun)?;
        self.rate_used = self.trainer.learning_rate.get();
        Ok(true)
    }

    /// Trains one batch: forward, backward, update, with their events.
    ///
    /// `sample_weight`: one weight a sample.
    ///
    /// # Errors
    /// When a callback or the engine fails, or the run has failed before.
    pub fn train_batch(&mut self, batch: L::Batch, sample_weight: Option<&[f32]>) -> Result {
        self.train_batch_with(|learner, seed| {
            learner.forward_backward(batch, TrainStep { sample_weight, seed })
        })
    }

    /// Trains one batch with a forward and backward pass of your own; the events around it, the
    /// update and the step count are the same as in [`train_batch`](Self::train_batch).
    ///
    /// `forward_backward` gets the learner and the step's seed, leaves gradients in the learner,
    /// and returns the number of samples.
    ///
    /// # Errors
    /// As [`train_batch`](Self::train_batch).
    pub fn train_batch_with(
        &mut self,
        forward_backward: impl FnOnce(&mut L, u64) -> Result<usize>,
    ) -> Result {
        self.go_on()?;
        if !self.in_epoch {
            let error = Error::msg("train_batch outside an epoch; call begin_epoch first");
            return self.keep(Err(error));
        }
        let trained = self.step(forward_backward);
        self.keep(trained)
    }

    fn step(&mut self, forward_backward: impl FnOnce(&mut L, u64) -> Result<usize>) -> Result {
        self.apply_schedule()?;
        self.trainer.emit(&mut Event::TrainBatchBegin)?;
        let seed = random::step_seed(self.trainer.seed, self.trainer.progress.step);
        let Trainer { learner, costs, .. } = &mut *self.trainer;
        let step_time = costs.as_mut().map(|costs| &mut costs.steps);
        let size = timed(step_time, || {
            guard("the forward or backward pass", || forward_backward(learner, seed))
        })?;
        self.trainer.batch_logs = None;
        let mut backward_end = Event::BackwardEnd(BackwardEnd::default());
        self.trainer.emit(&mut backward_end)?;
        let step_before = self.trainer.progress.step;
        let (is_skipped, is_put_off) = match &backward_end {
            Event::BackwardEnd(step) => (step.is_update_skipped(), step.is_accumulating()),
            _ => (false, false),
        };
        let Trainer { learner, learning_rate, progress, costs, .. } = &mut *self.trainer;
        if is_skipped {
            learner.clear_gradients();
        } else if is_put_off {
            guard("the optimizer", || learner.accumulate_gradients())?;
        } else {
            self.rate_used = learning_rate.get();
            let step_time = costs.as_mut().map(|costs| &mut costs.steps);
            timed(step_time, || {
                guard("the optimizer", || learner.apply_gradients(self.rate_used))
            })?;
            progress.step += 1;
        }
        progress.samples += size as u64;
        let index = progress.batch;
        self.trainer.emit(&mut Event::TrainBatchEnd(BatchEnd { index, size }))?;
        self.trainer.progress.batch += 1;
        self.after_validation();
        self.barrier(self.trainer.progress.step != step_before)
    }

    /// Whether the epoch's batches end here: a stop was asked for, by a callback or from outside, or
    /// the run went back to a checkpoint; looked at after each batch.
    pub fn should_stop(&self) -> bool {
        self.went_back || self.trainer.requests.stop.is_some() || self.trainer.stop.is_stopped()
    }

    /// Evaluates on `data`; the results join the epoch's logs under `val_*`, and are returned
    /// without the prefix. Empty where a stop from outside came in between, or the run went back to a
    /// checkpoint.
    ///
    /// # Errors
    /// When a callback, the data or the engine fails, or the run has failed before.
    pub fn validate<D>(&mut self, data: &D, batch_size: usize) -> Result<Logs>
    where
        D: Dataset<Batch = L::Batch>,
    {
        self.go_on()?;
        let batches = Batches::all(data, batch_size);
        let batches = self.keep(batches)?;
        self.validate_batches(&batches)
    }

    fn validate_batches(&mut self, batches: &Batches<'_, L::Batch>) -> Result<Logs> {
        if self.went_back {
            return Ok(Logs::new());
        }
        let read = self.read_epoch_logs();
        self.keep(read)?;
        let mut yields = self.before_validation();
        let logs = loop {
            let tested = self.trainer.test(batches, yields);
            if let Some(logs) = self.keep(tested)? {
                break logs;
            }
            if self.trainer.stop.is_stopped() {
                self.is_interrupted = true;
                return Ok(Logs::new());
            }
            self.save_in_validation();
            // Once: whoever asks again and again does not keep the run from going on.
            yields = false;
        };
        if let Some(epoch_logs) = &mut self.epoch_logs {
            epoch_logs.insert_validation(&logs);
        }
        Ok(logs)
    }

    /// Reads the training means before evaluation starts its own.
    fn read_epoch_logs(&mut self) -> Result {
        if self.epoch_logs.is_none() {
            // The only device read of the epoch's training part, unless somebody looked before.
            let mut logs = Logs::new();
            let learner = &mut self.trainer.learner;
            guard("reading the metrics", || learner.read_metrics(&mut logs))?;
            self.epoch_logs = Some(logs);
        }
        Ok(())
    }

    /// Ends the epoch: logs are completed and told to the callbacks. An epoch that was
    /// interrupted from outside does not end, and is in no log.
    ///
    /// # Errors
    /// When a callback fails, or the run has failed before.
    pub fn end_epoch(&mut self) -> Result {
        self.go_on()?;
        if std::mem::take(&mut self.went_back) || !self.in_epoch {
            return Ok(());
        }
        if self.is_interrupted || self.trainer.stop.is_stopped() {
            self.is_interrupted = true;
            return Ok(());
        }
        self.in_epoch = false;
        let read = self.read_epoch_logs();
        self.keep(read)?;
        let mut logs = self.epoch_logs.take().unwrap_or_default();
        logs.insert("learning_rate", self.rate_used);
        let learning_rate = self.trainer.learning_rate.clone();
        let end = EpochEnd { logs: &mut logs, learning_rate: &learning_rate };
        let ended = self.trainer.emit(&mut Event::EpochEnd(end));
        self.after_validation();
        // The epoch was run, also where a callback failed on it.
        self.record_epoch(&logs, &learning_rate);
        self.trainer.history.push(self.trainer.progress.epoch, logs);
        self.trainer.progress.batch = 0;
        let saved = ended.and_then(|()| self.barrier(false));
        // Where it went back, the next epoch is begun from there.
        self.went_back = false;
        self.keep(saved)
    }

    /// Ends the run: `on_train_end`, told how it went; returns the history.
    ///
    /// # Errors
    /// The run's first error; or the first of `on_train_end`.
    pub fn finish(mut self) -> Result<History> {
        self.end()?;
        Ok(self.trainer.history.clone())
    }

    /// The learner, for what your loop does beside training.
    pub fn learner(&mut self) -> &mut L {
        &mut self.trainer.learner
    }

    /// Where the run is.
    pub fn progress(&self) -> Progress {
        self.trainer.progress
    }

    /// Makes `epoch` the next one, for a replay of epochs that may have gaps.
    pub(crate) fn go_to_epoch(&mut self, epoch: usize) {
        self.next_epoch = epoch;
        let steps = self.trainer.progress.updates_per_epoch() as u64;
        self.trainer.progress.step = (epoch as u64).saturating_mul(steps);
    }

    /// Passes over all batches of the epoch but the last, for a replay in which nobody looks at
    /// batches.
    pub(crate) fn go_to_last_batch(&mut self) {
        let progress = &mut self.trainer.progress;
        let passed = progress.steps_per_epoch.saturating_sub(1);
        progress.batch = passed;
        progress.step += passed as u64;
    }

    /// What callbacks did in the epoch that has just ended.
    pub(crate) fn replayed(&self) -> ReplayedEpoch {
        let trainer = &*self.trainer;
        let state = |slot: &Slot| {
            let state = slot.save_state().ok()??;
            Some((slot.name.clone(), state.value().clone()))
        };
        ReplayedEpoch {
            epoch: trainer.progress.epoch,
            learning_rate: self.rate_used,
            next_learning_rate: trainer.learning_rate.get(),
            stop: trainer.requests.stop.is_some(),
            states: trainer.slots.iter().filter_map(state).collect(),
        }
    }

    /// Counts the run as complete, whatever epochs are left.
    pub(crate) fn leave_completed(&mut self) {
        self.next_epoch = self.epochs;
    }

    fn end(&mut self) -> Result {
        if std::mem::replace(&mut self.is_finished, true) {
            return Ok(());
        }
        let ending = if self.is_interrupted || (self.in_epoch && self.trainer.stop.is_stopped()) {
            Ending::Interrupted
        } else if let Some(reason) = self.trainer.requests.stop.clone() {
            Ending::Stopped(reason)
        } else if self.next_epoch < self.epochs || self.in_epoch {
            // A loop written by hand was left early.
            Ending::Interrupted
        } else {
            Ending::Completed
        };
        if self.failure.is_none() {
            // Before callbacks are told: some of them set the model to what the run is to leave.
            let saved = self.save_end(&ending);
            let ended = saved.and_then(|()| self.trainer.learner.end_training());
            let _ = self.keep(ended);
        }
        let failure = self.failure.take();
        let outcome = failure.as_ref().map_or(ending.outcome(), Outcome::Failed);
        let ended = self.trainer.emit(&mut Event::TrainEnd(outcome));
        // Before the folder is given back.
        self.trainer.files.finish();
        let ended = first_error(ended, self.wait_for_end());
        let recorded = self.record_end(&ended.as_ref().err().map_or(outcome, Outcome::Failed));
        let ended = first_error(ended, recorded);
        self.trainer.held = self.saving.take().filter(Saving::holds);
        self.trainer.requests.stop = None;
        self.trainer.history.ending = ending;
        self.trainer.sum_up_costs();
        if self.has_progbar {
            self.trainer.slots.pop();
        }
        self.trainer.stop.reset();
        match (failure, ended) {
            (None, ended) => ended,
            (Some(first), Ok(())) => Err(first),
            (Some(first), Err(later)) => Err(first.with_further(vec![later])),
        }
    }

    /// Keeps the first error for `on_train_end`.
    fn keep<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && self.failure.is_none()
        {
            self.failure = Some(error.clone());
        }
        result
    }

    /// A run that failed does not go on.
    fn go_on(&self) -> Result {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn apply_schedule(&mut self) -> Result {
        let Some(schedule) = &self.trainer.schedule else {
            return Ok(());
        };
        let progress = &self.trainer.progress;
        let rate = schedule.learning_rate(progress);
        let momentum = schedule.momentum(progress);
        let set = self.trainer.learning_rate.set_base(rate);
        let set = set.and_then(|()| {
            momentum.map_or(Ok(()), |momentum| self.trainer.learner.set_momentum(momentum))
        });
        set.map_err(|e| e.context(format!("schedule at step {}", progress.step)))
    }
}

impl<L: Learner> Drop for Session<'_, L> {
    fn drop(&mut self) {
        // Left by `return`, `?` or a panic: callbacks are still told. There is nobody to tell an
        // error of theirs to; `finish` is the way to see it.
        if std::thread::panicking() && self.failure.is_none() {
            self.failure = Some(Error::msg("the training loop panicked"));
        }
        let _ = self.end();
    }
}

impl<L: Learner> Trainer<L> {
    /// Evaluates; `None` where a stop from outside came in between, or, where it `yields` to it,
    /// somebody's wish for a checkpoint.
    pub(crate) fn test(
        &mut self,
        batches: &Batches<'_, L::Batch>,
        yields: bool,
    ) -> Result<Option<Logs>> {
        self.learner.reset_metrics();
        self.batch_logs = None;
        let mut logs = Logs::new();
        let tested = self.test_batches(batches, yields, &mut logs);
        let outcome = match &tested {
            Ok(true) => Outcome::Completed,
            Ok(false) => Outcome::Interrupted,
            Err(error) => Outcome::Failed(error),
        };
        let ended = self.emit(&mut Event::TestEnd(TestEnd { logs: &logs, outcome }));
        self.batch_logs = None;
        first_error(tested, ended).map(|is_complete| is_complete.then_some(logs))
    }

    fn test_batches(
        &mut self,
        batches: &Batches<'_, L::Batch>,
        yields: bool,
        logs: &mut Logs,
    ) -> Result<bool> {
        self.emit(&mut Event::TestBegin)?;
        let mut weights = Vec::new();
        let is_complete = self.each_batch(batches, yields, |trainer, index, indices| {
            trainer.emit(&mut Event::TestBatchBegin)?;
            let Trainer { learner, costs, .. } = &mut *trainer;
            let evaluation_time = costs.as_mut().map(|costs| &mut costs.evaluation);
            let size = timed(evaluation_time, || {
                let batch = guard("the data set", || batches.get(indices, &mut weights))?;
                batches.prefetch_in_order(index + 1, indices);
                let weights = (!weights.is_empty()).then_some(weights.as_slice());
                guard("the forward pass", || learner.evaluate(batch, weights))
            })?;
            trainer.batch_logs = None;
            trainer.emit(&mut Event::TestBatchEnd(BatchEnd { index, size }))
        })?;
        if is_complete {
            let learner = &mut self.learner;
            guard("reading the metrics", || learner.read_metrics(logs))?;
        }
        Ok(is_complete)
    }

    /// Predicts; `None` where a stop from outside came in between.
    pub(crate) fn predict_batches(
        &mut self,
        batches: &Batches<'_, L::Batch>,
    ) -> Result<Option<L::Output>> {
        let mut outputs = Vec::with_capacity(batches.count());
        let mut unused = Vec::new();
        let predicted = self.emit(&mut Event::PredictBegin).and_then(|()| {
            self.each_batch(batches, false, |trainer, index, indices| {
                trainer.emit(&mut Event::PredictBatchBegin)?;
                let batch = guard("the data set", || batches.get(indices, &mut unused))?;
                batches.prefetch_in_order(index + 1, indices);
                let learner = &mut trainer.learner;
                let (output, size) = guard("the forward pass", || learner.predict(batch))?;
                let end = PredictBatchEnd { index, size, outputs: &output };
                trainer.emit(&mut Event::PredictBatchEnd(end))?;
                outputs.push(output);
                Ok(())
            })
        });
        let outcome = match &predicted {
            Ok(true) => Outcome::Completed,
            Ok(false) => Outcome::Interrupted,
            Err(error) => Outcome::Failed(error),
        };
        let ended = self.emit(&mut Event::PredictEnd(outcome));
        let is_complete = first_error(predicted, ended)?;
        let learner = &mut self.learner;
        is_complete.then(|| guard("joining the outputs", || learner.concat(outputs))).transpose()
    }

    /// Calls `f` for each batch in the data's order; false where a stop from outside came in between,
    /// or what it `yields` to.
    fn each_batch(
        &mut self,
        batches: &Batches<'_, L::Batch>,
        yields: bool,
        mut f: impl FnMut(&mut Self, usize, &mut Vec<usize>) -> Result,
    ) -> Result<bool> {
        let mut indices = Vec::with_capacity(batches.batch_size.min(batches.len));
        for index in 0..batches.count() {
            if self.stop.is_stopped() || (yields && self.save.is_asked()) {
                return Ok(false);
            }
            batches.in_order(index, &mut indices);
            f(self, index, &mut indices)?;
        }
        Ok(true)
    }
}

/// The first error stays the error; a later one hangs on it.
pub(crate) fn first_error<T>(first: Result<T>, later: Result) -> Result<T> {
    match (first, later) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(error)) => Err(error),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(later)) => Err(error.with_further(vec![later])),
    }
}

//! The loop's side of checkpoints: when one is due, what goes into it, going back to one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::journal::Record;
use super::saver::{Saved, Saver};
use super::snapshot::{Loaded, Position, RunState, SavedCallback, Snapshot};
use super::store::{Committed, Store, name};
use super::{Checkpoints, OnSaveFailure};
use crate::error::{Error, Result};
use crate::event::{Event, Hook};
use crate::learner::Learner;
use crate::learning_rate::LearningRate;
use crate::logs::Logs;
use crate::outcome::{Ending, Outcome};
use crate::run::RollbackRequest;
use crate::session::{Session, first_error};
use crate::slot::{Slot, guard};
use crate::state::State;
use crate::trainer::Trainer;

/// Steps of skipped checkpoints that are named.
const MOST_NAMED: usize = 5;

/// What a run remembers for its checkpoints.
#[derive(Debug)]
pub(crate) struct Saving {
    options: Checkpoints,
    config: BTreeMap<String, String>,
    saver: Saver,
    /// The place of the last snapshot that was handed over.
    last: Option<Position>,
    last_at: Instant,
    /// Steps at which one was due while another was being written: how many, and the first few.
    skipped: usize,
    skipped_steps: Vec<u64>,
    /// What could not be written, and has not ended the run yet.
    failure: Option<Error>,
    before_validation: Option<BeforeValidation>,
    /// The step at which one was left out because the loss or the weights were not finite.
    flawed_at: Option<u64>,
    /// A callback may go back to any that is due: none is left out.
    leaves_none_out: bool,
}

/// A run in front of a validation: what the validation changes, as it was.
#[derive(Debug)]
struct BeforeValidation {
    epoch_logs: Option<Logs>,
    /// States of callbacks that act in evaluations, by their place in the list.
    states: Vec<(usize, Result<Option<State>>)>,
}

impl Saving {
    pub(super) fn new(
        options: Checkpoints,
        config: BTreeMap<String, String>,
        saver: Saver,
    ) -> Self {
        Self {
            options,
            config,
            saver,
            last: None,
            last_at: Instant::now(),
            skipped: 0,
            skipped_steps: Vec::new(),
            failure: None,
            before_validation: None,
            flawed_at: None,
            leaves_none_out: false,
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.options.holds
    }

    pub(crate) fn accepts_changes(&self) -> bool {
        self.options.accept_changes
    }

    /// Says that a callback may go back to any checkpoint that is due: which ones there are must not
    /// depend on how fast the disk is, nor on who else asks for some.
    pub(crate) fn leave_none_out(&mut self) {
        self.leaves_none_out = true;
        self.saver.with_store(|store| store.guard_due());
    }

    /// Whether one is due in front of this place.
    fn is_due(&self, position: &Position, is_update: bool) -> bool {
        let Checkpoints { every_epochs, every_steps, every_seconds, .. } = &self.options;
        let by_epochs =
            || !position.in_epoch && every_epochs.is_some_and(|n| position.epoch.is_multiple_of(n));
        let by_steps = || is_update && every_steps.is_some_and(|n| position.step.is_multiple_of(n));
        let by_time = || {
            let limit = every_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            limit.is_some_and(|limit| self.last_at.elapsed() >= limit)
        };
        by_epochs() || by_steps() || by_time()
    }

    /// Keeps a failure until the run is ended by it, or forgets it where it was told.
    fn fail(&mut self, error: Error) -> Option<String> {
        match self.options.on_failure {
            OnSaveFailure::Warn => Some(format!("warning: {error}; the run goes on without it")),
            OnSaveFailure::Abort if self.failure.is_some() => None,
            OnSaveFailure::Abort => {
                let line = format!("error: {error}; the run ends after this epoch");
                self.failure = Some(error);
                Some(line)
            }
        }
    }

    /// What became of a snapshot, in words where somebody should know.
    fn told(&mut self, saved: Saved) -> Vec<String> {
        let mut lines = Vec::new();
        match saved {
            Saved::Committed(_, None) => {}
            Saved::Committed(_, Some(error)) => {
                lines.push(still_there(&error));
            }
            Saved::Flawed { step, flaw } => {
                self.last = None;
                self.flawed_at = Some(step);
                lines.push(format!(
                    "warning: no checkpoint at step {step}: {flaw}; the last good one is kept"
                ));
            }
            Saved::Failed(error) => {
                let step = self.last.take().map_or(0, |position| position.step);
                let reason = error.to_string();
                // Where the journal fails too, it keeps the record until there is room.
                let _ = self.saver.record(&Record::Unsaved { step, reason });
                lines.extend(self.fail(error));
            }
        }
        lines
    }

    /// Writes the beginning, or notes on files, into the journal. Durable on return: a disk that
    /// takes nothing is found before the first batch.
    pub(crate) fn begin(&self, records: &[Record]) -> Result {
        records.iter().try_for_each(|record| self.saver.record(record))?;
        self.saver.sync()
    }

    /// Writes into the journal, which keeps what a full disk refuses until there is room.
    fn record(&mut self, record: &Record) -> Option<String> {
        let error = self.saver.record(record).err()?;
        self.fail(error)
    }

    /// Writes the end into the journal, and makes it durable.
    fn record_end(&self, outcome: &str, by: Option<String>, reason: Option<String>) -> Result {
        self.saver.record(&Record::End { outcome: outcome.to_owned(), by, reason })?;
        self.saver.sync()
    }
}

fn still_there(error: &Error) -> String {
    format!("warning: an old checkpoint is still there: {error}")
}

impl<L: Learner> Session<'_, L> {
    /// The place in front of which the run is.
    fn position(&self) -> Position {
        let progress = &self.trainer.progress;
        let in_epoch = self.in_epoch || self.reenters;
        Position {
            epoch: if self.in_epoch { progress.epoch } else { self.next_epoch },
            in_epoch,
            batch: progress.batch,
            step: progress.step,
            samples: progress.samples,
        }
    }

    /// Between two events, after all callbacks have seen the last: takes a checkpoint where one is
    /// due. `is_update`: the weights were updated since the last time.
    pub(crate) fn barrier(&mut self, is_update: bool) -> Result {
        if let Some(request) = self.trainer.requests.rollback.take() {
            return self.roll_back(&request);
        }
        let Some(saving) = &mut self.saving else {
            return Ok(());
        };
        if let Some(saved) = saving.saver.poll() {
            let lines = saving.told(saved);
            self.tell(&lines);
        }
        let position = self.position();
        let is_asked = self.trainer.save.take();
        let is_due = self.saving.as_ref().is_some_and(|s| s.is_due(&position, is_update));
        if let Some(saving) = self.saving.as_mut().filter(|_| is_asked || is_due) {
            let may_be_left_out = !(is_asked || saving.options.waits || saving.leaves_none_out);
            if saving.saver.is_busy() && may_be_left_out {
                saving.skipped += 1;
                if saving.skipped_steps.len() < MOST_NAMED {
                    saving.skipped_steps.push(position.step);
                }
            } else {
                let waits = is_asked || saving.options.waits;
                let saved = self.save(position.clone(), is_due, waits);
                if is_asked {
                    self.tell_saved(saved);
                }
            }
        }
        self.fail_after_epoch(position.in_epoch)
    }

    /// A checkpoint that could not be written ends the run, after its current epoch is in the log.
    fn fail_after_epoch(&mut self, in_epoch: bool) -> Result {
        let failure = self.saving.as_mut().filter(|_| !in_epoch).and_then(|s| s.failure.take());
        failure.map_or(Ok(()), Err)
    }

    /// Hands a snapshot over; with `waits` it is durable, or has failed, on return. `Some`: it is
    /// durable.
    fn save(&mut self, position: Position, is_due: bool, waits: bool) -> Option<Committed> {
        let saving = self.saving.as_mut()?;
        let mut lines: Vec<String> =
            saving.saver.wait().map(|saved| saving.told(saved)).unwrap_or_default();
        let before = saving.before_validation.as_ref();
        let epoch_logs = before.map_or(&self.epoch_logs, |before| &before.epoch_logs);
        let states = before.map_or(&[][..], |before| &before.states);
        let snapshot = self.trainer.snapshot(
            position.clone(),
            epoch_logs.clone(),
            self.rate_used,
            states,
            &saving.config,
        );
        saving.last = Some(position);
        saving.last_at = Instant::now();
        let mut committed = None;
        match snapshot.map(|snapshot| Snapshot { is_due, ..snapshot }) {
            Ok(snapshot) if waits => {
                let saved = saving.saver.save(snapshot);
                if let Saved::Committed(done, _) = &saved {
                    committed = Some(*done);
                }
                lines.extend(saving.told(saved));
            }
            Ok(snapshot) => saving.saver.submit(snapshot),
            Err(error) => lines.extend(saving.told(Saved::Failed(error))),
        }
        self.tell(&lines);
        committed
    }

    fn tell(&mut self, lines: &[String]) {
        for line in lines {
            self.trainer.console.print(line);
        }
    }

    /// Says that a checkpoint that somebody asked for is there.
    fn tell_saved(&mut self, saved: Option<Committed>) {
        if let Some(Committed { number, epochs, step }) = saved.filter(|_| self.is_verbose) {
            let line =
                format!("checkpoint {} saved in epoch {} (step {step})", name(number), epochs + 1);
            self.trainer.console.print(&line);
        }
    }

    /// In front of a validation: keeps what it changes, for a checkpoint that is wanted before it is
    /// over. Whether it can be left and begun again: it changes nothing that would have to be put
    /// back.
    pub(crate) fn before_validation(&mut self) -> bool {
        let Some(saving) = &mut self.saving else {
            return false;
        };
        // A loop written by hand may validate again before it goes on.
        let is_first = saving.before_validation.is_none();
        let in_tests = [Hook::TestBegin, Hook::TestBatchBegin, Hook::TestBatchEnd, Hook::TestEnd];
        let slots = &self.trainer.slots;
        let before = saving.before_validation.get_or_insert_with(|| BeforeValidation {
            epoch_logs: self.epoch_logs.clone(),
            // One that cannot be saved fails the checkpoint, should there be one.
            states: (slots.iter().enumerate())
                .filter(|(_, slot)| in_tests.into_iter().any(|hook| slot.entry.acts_in(hook)))
                .map(|(i, slot)| (i, slot.save_state()))
                .collect(),
        });
        is_first && before.states.iter().all(|(_, state)| matches!(state, Ok(None)))
    }

    /// Takes the checkpoint that somebody asked for in a validation, which begins again then.
    pub(crate) fn save_in_validation(&mut self) {
        self.trainer.save.take();
        let saved = self.save(self.position(), false, true);
        self.tell_saved(saved);
    }

    /// The validation's results are in the past, for good.
    pub(crate) fn after_validation(&mut self) {
        if let Some(saving) = &mut self.saving {
            saving.before_validation = None;
        }
    }

    /// Writes an epoch into the journal.
    pub(crate) fn record_epoch(&mut self, logs: &Logs, rate: &LearningRate) {
        let progress = &self.trainer.progress;
        let Some(saving) = &mut self.saving else {
            return;
        };
        let record = Record::epoch(progress.epoch, progress.step, logs, rate);
        let line = saving.record(&record);
        self.tell(line.as_slice());
    }

    /// Before callbacks are told the end: the place that the run has come to is saved, so that it can
    /// go on from there. Nobody waits for it yet, but after an interruption.
    pub(crate) fn save_end(&mut self, ending: &Ending) -> Result {
        let position = self.position();
        let Some(saving) = &mut self.saving else {
            return Ok(());
        };
        let is_interrupted = *ending == Ending::Interrupted;
        let is_done = saving.last.as_ref() == Some(&position)
            || saving.flawed_at == Some(position.step)
            || (saving.options.removes && !is_interrupted);
        if (saving.options.is_wanted() || is_interrupted) && !is_done {
            // Else it is written while callbacks are told.
            let waits = is_interrupted || saving.options.waits;
            let saved = self.save(position, false, waits);
            if is_interrupted {
                self.tell_saved(saved);
            }
        }
        self.fail_after_epoch(false)
    }

    /// After callbacks were told the end: waits for the last checkpoint, which was written meanwhile.
    pub(crate) fn wait_for_end(&mut self) -> Result {
        self.wait_for_save();
        if let Some(saving) = &mut self.saving
            && let Err(error) = saving.saver.with_store(Store::remove_spare)
        {
            self.tell(&[still_there(&error)]);
        }
        self.fail_after_epoch(false)
    }

    /// Waits for the checkpoint that is being written.
    pub(crate) fn wait_for_save(&mut self) {
        let Some(saving) = &mut self.saving else {
            return;
        };
        let mut lines: Vec<String> =
            saving.saver.wait().map(|saved| saving.told(saved)).unwrap_or_default();
        if saving.skipped > 0 {
            let skipped = std::mem::take(&mut saving.skipped);
            let mut steps: Vec<String> =
                std::mem::take(&mut saving.skipped_steps).iter().map(u64::to_string).collect();
            if steps.len() < skipped {
                steps.push("…".to_owned());
            }
            let line = format!(
                "{skipped} checkpoint{} left out, another was being written (step {})",
                if skipped == 1 { " was" } else { "s were" },
                steps.join(", ")
            );
            lines.extend(saving.record(&Record::Unsaved {
                step: self.trainer.progress.step,
                reason: line.clone(),
            }));
            if self.is_verbose {
                lines.push(line);
            }
        }
        self.tell(&lines);
    }

    /// After callbacks were told the end: it is written into the journal.
    pub(crate) fn record_end(&mut self, outcome: &Outcome<'_>) -> Result {
        let Some(saving) = &mut self.saving else {
            return Ok(());
        };
        let (by, reason) = match outcome {
            Outcome::Stopped(stop) => (Some(stop.by.clone()), Some(stop.reason.clone())),
            Outcome::Failed(error) => {
                (error.callback().map(str::to_owned), Some(error.to_string()))
            }
            Outcome::Completed | Outcome::Interrupted => (None, None),
        };
        let is_over = matches!(outcome, Outcome::Completed | Outcome::Stopped(_));
        if is_over && saving.options.removes {
            return saving.saver.with_store(|store| store.remove_all());
        }
        let recorded = saving.record_end(outcome.as_str(), by, reason);
        if let Err(error) = &recorded {
            // What it says may be on the disk, and is no longer so. Best effort: the first error is
            // the one to report.
            let failed = Outcome::Failed(error).as_str();
            let _ = saving.record_end(failed, None, Some(error.to_string()));
        }
        recorded
    }

    /// Before the first batch: takes a checkpoint where a callback needs one of the beginning.
    pub(crate) fn save_beginning(&mut self) -> Result {
        let is_wanted = |saving: &Saving| saving.options.is_wanted() && saving.last.is_none();
        if self.trainer.is_resumed
            || !self.saving.as_ref().is_some_and(is_wanted)
            || !self.trainer.needs_beginning()
        {
            return Ok(());
        }
        self.save(self.position(), true, true);
        self.fail_after_epoch(false)
    }

    /// Puts the run back to the newest checkpoint that was due. The callback that asked for it keeps
    /// its own state, and its factor of the learning rate.
    fn roll_back(&mut self, request: &RollbackRequest) -> Result {
        let refuse = |why: &str| {
            Error::config(format!(
                "callback `{}` asked to go back to a checkpoint ({}), and {why}",
                request.by, request.reason
            ))
        };
        let from_step = self.trainer.progress.step;
        self.wait_for_save();
        let Some(saving) = &mut self.saving else {
            return Err(refuse("this run keeps none; turn checkpoints on"));
        };
        let mut notes = Vec::new();
        let found = saving.saver.with_store(|store| store.newest_due(&mut notes))?;
        let accepts_changes = saving.accepts_changes();
        let Some(found) = found else {
            return Err(refuse("there is none yet; take them more often"));
        };
        let loaded = Loaded::new(&found)?;
        let asked_by = |slot: &&mut Slot| slot.name == request.by;
        let kept = self.trainer.slots.iter_mut().find(asked_by);
        let kept = kept.map(|slot| slot.save_state()).transpose()?.flatten();
        let rollbacks = self.trainer.rollbacks + 1;
        self.trainer.restore(&loaded, accepts_changes)?;
        self.trainer.rollbacks = rollbacks;
        if let Some(slot) = self.trainer.slots.iter_mut().find(asked_by) {
            slot.entry.restore(kept.as_ref())?;
        }
        let manifest = &found.manifest;
        let record = Record::Rollback {
            by: request.by.clone(),
            reason: request.reason.clone(),
            from_step,
            checkpoint: manifest.number,
            epochs: manifest.epochs,
            step: manifest.step,
            factor: request.factor,
        };
        if let Some(saving) = &mut self.saving {
            saving.flawed_at = None;
            notes.extend(saving.record(&record));
        }
        let begun = self.begin_from(&loaded, accepts_changes);
        self.trainer.learning_rate.set_factor(&request.by, request.factor)?;
        notes.push(format!(
            "{}: {} at step {from_step}; back to checkpoint {} (epoch {}, step {}), learning rate {}",
            request.by,
            request.reason,
            name(manifest.number),
            manifest.epochs + 1,
            manifest.step,
            self.trainer.learning_rate.get()
        ));
        self.tell(&notes);
        self.went_back = true;
        begun?;
        // Killed now, the run goes on with what the callback has changed.
        self.save(self.position(), true, true);
        Ok(())
    }

    /// Tells callbacks the beginning of a run that goes on from a checkpoint, to which all but the
    /// session itself was set. It has begun before: beginning it again changes neither rate nor model.
    pub(crate) fn begin_from(&mut self, loaded: &Loaded, accepts_changes: bool) -> Result {
        self.trainer.is_resumed = true;
        let begun = self.trainer.emit(&mut Event::TrainBegin);
        self.go_on_from(loaded);
        self.after_validation();
        let trainer = &mut *self.trainer;
        let restored = trainer
            .restore_rate(loaded, accepts_changes)
            .and_then(|()| trainer.restore_model(loaded, accepts_changes, false));
        let caught_up = restored.and_then(|()| trainer.catch_up(loaded));
        first_error(begun, caught_up)
    }

    /// Sets what the session keeps itself to a checkpoint.
    pub(crate) fn go_on_from(&mut self, loaded: &Loaded) {
        let position = &loaded.state.position;
        self.next_epoch = position.epoch;
        self.in_epoch = false;
        self.reenters = position.in_epoch;
        self.epoch_logs = loaded.state.epoch_logs.clone();
        self.rate_used = loaded.state.rate_used;
    }
}

impl<L: Learner> Trainer<L> {
    /// A copy of all that the run is made of.
    fn snapshot(
        &mut self,
        position: Position,
        epoch_logs: Option<Logs>,
        rate_used: f64,
        states: &[(usize, Result<Option<State>>)],
        config: &BTreeMap<String, String>,
    ) -> Result<Snapshot> {
        let loss = self.loss(&position, epoch_logs.as_ref())?;
        let mut callbacks = Vec::with_capacity(self.slots.len());
        let mut callback_weights = Vec::new();
        for (i, slot) in self.slots.iter().enumerate() {
            let state = match states.iter().find(|(index, _)| *index == i) {
                Some((_, state)) => state.clone()?,
                None => slot.save_state()?,
            };
            if let Some(weights) = state.as_ref().and_then(State::weights) {
                callback_weights.push((i, weights.clone()));
            }
            callbacks.push(SavedCallback {
                name: slot.name.clone(),
                state: state.map(|state| state.value().clone()),
                disabled: slot.entry.disabled.as_ref().map(ToString::to_string),
                disabled_in: slot.entry.disabled_in,
            });
        }
        let rate = &self.learning_rate;
        let history = self.history.iter().map(|(epoch, logs)| (epoch, logs.clone())).collect();
        let learner = &self.learner;
        let (weights, optimizer, step_state) = guard("copying the model", || {
            Ok((learner.weights()?, learner.optimizer_state()?, learner.step_state()?))
        })?;
        Ok(Snapshot {
            state: RunState {
                position,
                epoch_logs,
                rate_used,
                initial_rate: Some(self.initial_rate),
                base: rate.base(),
                factors: rate.factors().map(|(name, factor)| (name.to_owned(), factor)).collect(),
                rollbacks: self.rollbacks,
                stop: self.requests.stop.as_ref().map(Into::into),
                trial: self.trial.clone(),
                history,
                callbacks,
            },
            weights,
            optimizer,
            step_state,
            callback_weights,
            config: config.clone(),
            loss,
            is_due: false,
        })
    }

    /// The training loss so far in the epoch, or of the epoch that has just ended.
    fn loss(&mut self, position: &Position, read: Option<&Logs>) -> Result<Option<f64>> {
        let name = self.learner.metric_names().into_iter().next().unwrap_or_default();
        if let Some(logs) = read {
            return Ok(logs.get(&name));
        }
        if !position.in_epoch {
            return Ok(self.history.last().and_then(|logs| logs.get(&name)));
        }
        let mut logs = Logs::new();
        guard("reading the metrics", || self.learner.read_metrics(&mut logs))?;
        Ok(logs.get(&name))
    }
}

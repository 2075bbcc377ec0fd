//! Opening a run's folder, and putting a run back to a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::{JournalText, Record};
use super::manifest::{Part, Verified};
use super::saver::Saver;
use super::saving::Saving;
use super::snapshot::{Loaded, SavedCallback};
use super::store::{JOURNAL, Recovered, Store};
use super::{Checkpoints, ResumePoint, SaveHandle};
use crate::callbacks::BackupAndRestore;
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Event};
use crate::files::Files;
use crate::history::History;
use crate::learner::Learner;
use crate::learning_rate::LearningRate;
use crate::session::Epochs;
use crate::slot::guard;
use crate::trainer::Trainer;
use crate::weights::Weights;

/// Epochs that are missing in the journal and are named.
const MOST_NAMED: usize = 5;

/// What a program does in a run's folder of its own.
pub(crate) type Prepare = Box<dyn FnOnce(&Files) -> Result + Send>;

/// A run's folder, opened to go on with the run.
#[derive(Debug)]
pub(crate) struct Resumption {
    store: Store,
    loaded: Option<Loaded>,
    point: ResumePoint,
    /// Whether the journal says that the run began.
    has_begun: bool,
}

/// The folder of the run that begins.
pub(crate) struct Opened {
    pub(crate) saving: Saving,
    /// The checkpoint to go on from.
    pub(crate) loaded: Option<Loaded>,
    /// Once nothing refuses the run any more: what the journal is to be told first, what is to be
    /// done in the folder, and what the journal is to be told then.
    pub(crate) first: Vec<Record>,
    pub(crate) prepare: Option<Prepare>,
    pub(crate) records: Vec<Record>,
}

impl<L: Learner> Trainer<L> {
    /// Keeps checkpoints of the runs of this trainer.
    ///
    /// The folder is made when the run begins; one that holds a run already is refused then, unless
    /// [`resume`](Self::resume) was called or [`Checkpoints::overwrite`] is set.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// A handle that asks this trainer's run for a checkpoint, from another thread or a signal.
    pub fn save_handle(&self) -> SaveHandle {
        self.save.clone()
    }

    /// Takes a checkpoint when `handle` asks for one.
    pub fn save_with(mut self, handle: SaveHandle) -> Self {
        self.save = handle;
        self
    }

    /// Where this trainer and its callbacks write. Default: the machine's own disk.
    pub fn files(mut self, files: Files) -> Self {
        self.files = files;
        self
    }

    /// Calls `prepare` in the next `fit`, once the folder of the [checkpoints](Self::checkpoints) is
    /// held and nothing refuses the run any more, before anything of the run is written there: for
    /// files of your own that belong to the run. Where a run is replaced, its checkpoints are gone.
    ///
    /// What it returns ends the `fit`, where it is an error, before the run has begun.
    ///
    /// # Example
    /// ```
    /// use refrain_core::checkpoint::Checkpoints;
    /// use refrain_core::testing::Script;
    /// use refrain_core::{Fit, Trainer};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let notes = folder.path().join("notes.txt");
    /// let script = Script::losses(&[2.0, 1.0]);
    /// let mut trainer = Trainer::new(script.learner(), 0.1)
    ///     .checkpoints(Checkpoints::in_dir(folder.path()))
    ///     .prepare_folder({
    ///         let notes = notes.clone();
    ///         move |files| files.write_atomically(&notes, b"the second attempt")
    ///     });
    /// assert!(!notes.exists());
    /// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
    /// assert_eq!(std::fs::read_to_string(&notes)?, "the second attempt");
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn prepare_folder(
        mut self,
        prepare: impl FnOnce(&Files) -> Result + Send + 'static,
    ) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Notes in the run's journal what files of your own in its folder hold, so that damage to them
    /// is found: [`Record::Files`]. Their names are paths in the folder.
    ///
    /// Of the next run of this trainer, in front of what [`prepare_folder`](Self::prepare_folder)
    /// does; where a run has ended and its folder is still [held](Checkpoints::hold), of that run, at
    /// once, and durable on return. Note a file before you write it: whenever a process is killed, the
    /// file then holds something that was noted.
    ///
    /// # Example
    /// ```
    /// use refrain_core::checkpoint::{Checkpoints, Part, Record, inspect};
    /// use refrain_core::files::Files;
    /// use refrain_core::testing::Script;
    /// use refrain_core::{Fit, Trainer};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let dir = folder.path();
    /// let script = Script::losses(&[2.0, 1.0]);
    /// let mut trainer =
    ///     Trainer::new(script.learner(), 0.1).checkpoints(Checkpoints::in_dir(dir).hold(true));
    /// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
    /// trainer.note_files(vec![Part::of("notes.txt", b"went well")])?;
    /// std::fs::write(dir.join("notes.txt"), "went well")?;
    ///
    /// let run = inspect(&Files::default(), dir)?.expect("a run");
    /// let last = run.journal.entries.last().map(|entry| &entry.record);
    /// let Some(Record::Files { files }) = last else { panic!("{last:?}") };
    /// assert!(files[0].is_of(&std::fs::read(dir.join("notes.txt"))?));
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the journal of a run that has ended cannot be written.
    pub fn note_files(&mut self, files: Vec<Part>) -> Result {
        match &self.held {
            Some(saving) => saving.begin(&[Record::Files { files }]),
            None => {
                self.notes.extend(files);
                Ok(())
            }
        }
    }

    /// Makes the next `fit` go on with the run in the folder of the [checkpoints](Self::checkpoints):
    /// from the newest one that verifies, with the same bits as a run that was never cut short.
    ///
    /// The folder is held from here until that `fit` ends, or [longer](Checkpoints::hold). Damaged
    /// checkpoints are moved to
    /// `quarantine/`, and the one before is used; where there is none, the run starts from the
    /// beginning. Either is said in the point that is returned.
    ///
    /// # Errors
    /// When no checkpoints were asked for, another process trains in the folder, or what is in it
    /// cannot be read.
    pub fn resume(&mut self) -> Result<ResumePoint> {
        let Some(checkpoints) = self.checkpoints_wanted() else {
            return Err(Error::config(
                "there is nothing to resume from: say where checkpoints are, \
                 .checkpoints(Checkpoints::in_dir(..))",
            ));
        };
        // The lock of an earlier call is given back first.
        self.resumption = None;
        self.held = None;
        let resumption = self.recover(&checkpoints)?;
        let point = resumption.point.clone();
        self.resumption = Some(resumption);
        Ok(point)
    }

    /// Whether a run of this trainer has begun and ended, and its folder is still
    /// [held](Checkpoints::hold).
    pub fn holds_folder(&self) -> bool {
        self.held.is_some()
    }

    fn recover(&self, checkpoints: &Checkpoints) -> Result<Resumption> {
        checkpoints.check()?;
        let recovered = Store::recover(&self.files, &checkpoints.folder, checkpoints.keep)?;
        let Recovered { store, checkpoint, journal, was_overwritten, mut notes } = recovered;
        let mut loaded = checkpoint.as_ref().map(Loaded::new).transpose()?;
        if let Some(loaded) = &mut loaded {
            loaded.rates = journal.rates();
        }
        notes.extend(loaded.as_ref().and_then(|loaded| missing_epochs(&journal, loaded)));
        let later = later_epochs(&journal, checkpoint.as_ref());
        let manifest = checkpoint.map(|found| found.manifest);
        let accepted = manifest.as_ref().map(|found| journal.accepted_since(found.number));
        let mut point = ResumePoint::new(manifest, later, notes);
        point.accepted = accepted.unwrap_or_default();
        point.was_overwritten = was_overwritten;
        Ok(Resumption { store, loaded, point, has_begun: journal.run().is_some() })
    }

    /// Whether checkpoints are taken.
    pub(crate) fn keeps_checkpoints(&self) -> bool {
        self.checkpoints_wanted().is_some_and(|checkpoints| checkpoints.is_wanted())
    }

    /// The checkpoints that were asked for, by either name.
    fn checkpoints_wanted(&self) -> Option<Checkpoints> {
        let backup = || self.get::<BackupAndRestore>().map(BackupAndRestore::checkpoints);
        self.checkpoints.clone().or_else(backup)
    }

    /// Opens the folder of the run that begins, where it keeps checkpoints: a new one, or the one to
    /// go on with. Nothing is written where the run is refused.
    pub(crate) fn open_run(&mut self, epochs: &Epochs) -> Result<Option<Opened>> {
        let resumption = self.resumption.take();
        let prepare = self.prepare.take();
        let notes = std::mem::take(&mut self.notes);
        let mut first = Vec::new();
        if !notes.is_empty() {
            first.push(Record::Files { files: notes });
        }
        self.held = None;
        if self.is_rehearsal() {
            return Ok(None);
        }
        let Some(mut options) = self.checkpoints_wanted() else {
            return Ok(None);
        };
        options.check()?;
        let config = self.config(&options, epochs)?;
        // Keras' callback goes on by itself.
        let resumption = match resumption {
            None if self.checkpoints.is_none() => Some(self.recover(&options)?),
            given => given,
        };
        let Some(Resumption { store, mut loaded, mut point, has_begun }) = resumption else {
            let Checkpoints { folder, keep, overwrite, .. } = &options;
            let prepare = || prepare.map_or(Ok(()), |prepare| prepare(&self.files));
            let store = Store::begin(&self.files, folder, *keep, *overwrite, prepare)?;
            let records = std::iter::once(begin(&store, epochs)).chain(first).collect();
            let saving = Saving::new(options, config, Saver::new(store));
            let first = Vec::new();
            return Ok(Some(Opened { saving, loaded: None, first, prepare: None, records }));
        };
        point.planned = Some(epochs.epochs());
        let changes = point.changes(&config);
        if !changes.is_empty() && !options.accept_changes {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            return Err(Error::config(format!(
                "the run in `{}` was trained with other settings ({}); go on with those, accept \
                 the changes (accept_changes), or train anew in another folder",
                options.folder.display(),
                changes.join("; ")
            )));
        }
        if point.is_of_other_settings(&config) {
            // Now, or by a process that was killed before it had a checkpoint with them.
            options.accept_changes = true;
            if let Some(loaded) = &mut loaded {
                // Nobody may want it any more.
                loaded.state.stop = None;
            }
        }
        // The epoch under way has to be planned too.
        let begun = point.epochs() + usize::from(point.batch() > 0);
        if begun > epochs.epochs() {
            return Err(Error::config(format!(
                "the run in `{}` has begun {begun} epochs, and now {} are planned; allowed: {begun} \
                 or more",
                options.folder.display(),
                epochs.epochs(),
            )));
        }
        // Keras' callback says nothing where there is nothing to restore.
        let is_old = has_begun || point.checkpoint().is_some();
        for note in point.notes() {
            self.console.print(&format!("warning: {note}"));
        }
        if is_old && epochs.is_verbose() {
            self.console.print(&point.to_string());
        }
        if let Some(checkpoint) = point.checkpoint()
            && (!changes.is_empty() || point.accepted.pending.is_some())
        {
            // In front of what is done in the folder: that may be all that comes of this process, and
            // is told to the next one by a recipe there, say.
            first.push(Record::Accept { checkpoint, config: config.clone() });
        }
        let mut records = Vec::new();
        if !has_begun {
            records.push(begin(&store, epochs));
        }
        if is_old {
            records.push(Record::Resume {
                checkpoint: point.checkpoint(),
                epochs: point.epochs(),
                step: point.step(),
                planned: epochs.epochs(),
                changes: changes.iter().map(ToString::to_string).collect(),
            });
        }
        let saving = Saving::new(options, config, Saver::new(store));
        Ok(Some(Opened { saving, loaded, first, prepare, records }))
    }

    /// What must be the same when the run goes on.
    fn config(&self, options: &Checkpoints, epochs: &Epochs) -> Result<BTreeMap<String, String>> {
        if !options.config.is_empty() {
            return Ok(options.config.clone());
        }
        let mut config = epochs.config();
        config.insert("seed".to_owned(), self.seed.to_string());
        if self.schedule.is_none() {
            config.insert("learning_rate".to_owned(), self.initial_rate.to_string());
        }
        let names: Vec<&str> = self.slots.iter().map(|slot| slot.name.as_str()).collect();
        config.insert("callbacks".to_owned(), names.join(", "));
        let weights = guard("reading the weights", || self.learner.weights())?;
        let tensor = |tensor: &crate::weights::WeightTensor| {
            format!("{} {:?} {:?}", tensor.name, tensor.dtype, tensor.shape)
        };
        let tensors: Vec<String> = weights.tensors.iter().map(tensor).collect();
        config.insert("model".to_owned(), tensors.join(", "));
        Ok(config)
    }

    /// Sets all that a run is made of, but what the session keeps itself, to a checkpoint.
    pub(crate) fn restore(&mut self, loaded: &Loaded, accepts_changes: bool) -> Result {
        // Nothing has begun: a checkpoint that does not fit is a matter of settings.
        self.restore_model(loaded, accepts_changes, true)
            .map_err(|e| Error::config(e.to_string()))?;
        self.restore_rate(loaded, accepts_changes)?;
        let state = &loaded.state;
        let position = &state.position;
        self.progress.epoch = position.epoch;
        self.progress.batch = position.batch_in_epoch();
        self.progress.step = position.step;
        self.progress.samples = position.samples;
        self.history = History::default();
        for (epoch, logs) in &state.history {
            self.history.push(*epoch, logs.clone());
        }
        self.batch_logs = None;
        self.rollbacks = state.rollbacks;
        self.requests.stop = state.stop.clone().map(Into::into);
        self.trial = state.trial.clone();
        let mut used = vec![false; state.callbacks.len()];
        for slot in &mut self.slots {
            let of_its_name = |i: &usize| state.callbacks[*i].name == slot.name && !used[*i];
            let Some(index) = (0..used.len()).find(of_its_name) else {
                continue;
            };
            used[index] = true;
            let saved = loaded.callback_state(index)?;
            let restored = slot.entry.restore(saved.as_ref());
            restored.map_err(|e| e.context(format!("state of callback `{}`", slot.name)))?;
            // One that only observes gets another chance; the decisions of others go on as they were.
            let is_observing = slot.entry.callback.access().is_observing();
            let SavedCallback { disabled, disabled_in, .. } = &state.callbacks[index];
            let is_another_chance = disabled.is_some() && is_observing;
            slot.entry.missed_since = disabled_in.filter(|_| is_another_chance);
            slot.entry.disabled =
                disabled.as_ref().filter(|_| !is_observing).map(|error| Error::msg(error.clone()));
            slot.entry.disabled_in = disabled_in.filter(|_| !is_observing);
        }
        Ok(())
    }

    /// Sets the learner to a checkpoint. What does not fit begins anew where changes are accepted, but
    /// for the weights; `tells`: it is said.
    pub(crate) fn restore_model(
        &mut self,
        loaded: &Loaded,
        accepts_changes: bool,
        tells: bool,
    ) -> Result {
        let Self { learner, console, .. } = self;
        let mut begins_anew = |what: &str, error: &Error| {
            if tells {
                console.print(&format!("warning: {what} anew: {error}"));
            }
        };
        guard("restoring the model", || {
            learner.set_weights(&loaded.weights)?;
            if let Err(error) = learner.set_optimizer_state(&loaded.optimizer) {
                if !accepts_changes {
                    return Err(error);
                }
                begins_anew("the optimizer begins", &error);
                learner.set_optimizer_state(&Weights::default())?;
            }
            learner.clear_gradients();
            learner.reset_metrics();
            if let Err(error) = learner.set_step_state(&loaded.step_state) {
                // In an epoch the sums so far would be missing in its logs.
                if !accepts_changes || loaded.state.position.in_epoch {
                    return Err(error);
                }
                begins_anew("the metrics begin", &error);
                learner.set_step_state(&Weights::default())?;
            }
            Ok(())
        })
        .map_err(|e| e.context("the checkpoint does not fit"))
    }

    /// Sets the learning rate to a checkpoint's; in the proportion in which a changed one was
    /// accepted.
    pub(crate) fn restore_rate(&mut self, loaded: &Loaded, accepts_changes: bool) -> Result {
        let state = &loaded.state;
        let mut rate = LearningRate::new(0.0).owned_by(self.base_owner.clone());
        let then = state.initial_rate.filter(|then| accepts_changes && *then != self.initial_rate);
        rate.set_base(match then {
            Some(then) if then == state.base => self.initial_rate,
            Some(then) => state.base * self.initial_rate / then,
            None => state.base,
        })?;
        for (name, factor) in &state.factors {
            rate.set_factor(name, *factor)?;
        }
        self.learning_rate = rate;
        Ok(())
    }

    /// Tells callbacks that were disabled, and get another chance, the epochs that they have missed.
    pub(crate) fn catch_up(&mut self, loaded: &Loaded) -> Result {
        for place in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(place) else { break };
            let missed_since = slot.entry.missed_since.take();
            let Some(first) = missed_since.filter(|first| *first < loaded.state.position.epoch)
            else {
                continue;
            };
            if !slot.entry.follows_epochs() {
                let warning = format!(
                    "warning: callback `{}` was disabled in epoch {}; it goes on without what it has \
                     missed",
                    slot.name,
                    first + 1
                );
                self.console.print(&warning);
                continue;
            }
            let now = self.progress;
            let missed = loaded.state.history.iter().filter(|(epoch, _)| *epoch >= first);
            for (epoch, logs) in missed {
                (self.progress.epoch, self.progress.batch) = (*epoch, 0);
                let used = || LearningRate::new(logs.get("learning_rate").unwrap_or_default());
                let rate = loaded.rates.get(epoch).cloned().unwrap_or_else(used);
                let (mut logs, only) = (logs.clone(), place..=place);
                let told = self.emit_to(only.clone(), &mut Event::EpochBegin).and_then(|()| {
                    let end = EpochEnd { logs: &mut logs, learning_rate: &rate };
                    self.emit_to(only, &mut Event::EpochEnd(end))
                });
                self.progress = now;
                told?;
            }
        }
        Ok(())
    }
}

fn begin(store: &Store, epochs: &Epochs) -> Record {
    Record::Begin {
        run: store.run().to_owned(),
        refrain: env!("CARGO_PKG_VERSION").to_owned(),
        planned: epochs.epochs(),
    }
}

/// Says which epochs the checkpoint has and the journal has not: a journal that was cut off at the
/// end of a line is whole by itself.
fn missing_epochs(journal: &JournalText, loaded: &Loaded) -> Option<String> {
    let there: BTreeSet<usize> = journal.epochs().iter().map(|(epoch, _)| *epoch).collect();
    let trained = loaded.state.history.iter().map(|(epoch, _)| epoch.saturating_add(1));
    let mut missing: Vec<String> =
        trained.filter(|epoch| !there.contains(epoch)).map(|epoch| epoch.to_string()).collect();
    let n = missing.len();
    if n > MOST_NAMED {
        missing.truncate(MOST_NAMED);
        missing.push("…".to_owned());
    }
    let (s, are) = if n == 1 { ("", "is") } else { ("s", "are") };
    (n > 0).then(|| format!("{JOURNAL}: epoch{s} {} {are} missing", missing.join(", ")))
}

/// Epochs in the journal that the checkpoint does not have.
fn later_epochs(journal: &JournalText, checkpoint: Option<&Verified>) -> usize {
    let done = checkpoint.map_or(0, |found| found.manifest.epochs);
    journal.epochs().iter().filter(|(epoch, _)| *epoch > done).count()
}

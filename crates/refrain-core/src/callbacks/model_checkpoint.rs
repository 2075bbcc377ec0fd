//! Saves the weights of the model during training.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file_template::FileTemplate;
use super::saved_files::{Keep, SavedFile, SavedFiles};
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BatchEnd, EpochEnd, Hook};
use crate::finding::{Finding, RunPlan};
use crate::fit::ValidationFreq;
use crate::logs::Logs;
use crate::monitor::Monitor;
use crate::options::{Section, Value};
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::{State, exact_float};

/// Saves the model's weights as safetensors: after every epoch or some, or every n steps; all of
/// them, the newest, or the best.
///
/// `filepath` may hold `{epoch}`, `{batch}` (both counted from 1; the batch with saves by steps
/// alone) and every key of the logs, with Python's formats: `{epoch:02d}`, `{val_loss:.3f}`,
/// `{loss:.2e}`. Folders that are missing are made; a file is replaced whole or not at all. These
/// are weights to use, not checkpoints to resume from: the run takes those by itself.
///
/// With `save_best_only` a save needs a monitored value better than every one before. Where the
/// value, or a key of the name, is missing (no validation in this epoch), nothing is saved.
/// Saves by steps count batches over the epochs and see the epoch's running means; validation's
/// are not among them. With `keep` and `keep_best` files that are no longer wanted are removed, of
/// those that this run wrote. In a rehearsal nothing is written or removed.
///
/// - Reads: the keys in `filepath`; the monitored metric with `save_best_only` or `keep_best`
/// - Writes: files named by `filepath`
/// - Requests: nothing
/// - State: the best value, steps since the last save, the files kept
/// - Cost: per save, a copy of the weights to the host and a file; with saves by steps that look at
///   metrics, also a read from the device
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `filepath` | – | a name of a file, see above | where to save |
/// | `monitor` | `"val_loss"` | a metric of the run | what tells the best |
/// | `mode` | `"auto"` | `"auto"`, `"min"`, `"max"` | whether smaller or larger is better |
/// | `min_delta` | 0 | finite; the sign is ignored | the least change that is an improvement |
/// | `save_best_only` | false | true, false | save at improvements alone |
/// | `initial_value_threshold` | none | a number | a value that the first save must improve on |
/// | `save_freq` | `"epoch"` | `"epoch"` or whole, ≥ 1 | after epochs, or every n steps |
/// | `every_epochs` | 1 | whole, ≥ 1 | after every n-th epoch |
/// | `keep` | all | whole, ≥ 1 | how many of the newest files stay |
/// | `keep_best` | all | whole, ≥ 1 | how many of the best files stay; with `keep`, those that either wants |
/// | `verbose` | false | true, false | whether saves are printed |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "model_checkpoint"
/// filepath = "weights/{epoch:02d}-{val_loss:.3f}.safetensors"
/// keep_best = 3
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::ModelCheckpoint;
/// use refrain_core::testing::Script;
/// use refrain_core::weights::Weights;
/// use refrain_core::{Fit, Monitor, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let best = folder.path().join("best.safetensors");
/// let script = Script::losses(&[3.0, 1.0, 2.0]);
/// let checkpoint = ModelCheckpoint::new(&best).monitor(Monitor::min("loss")).save_best_only(true);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(checkpoint);
/// trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
///
/// // The script's weight counts the updates: two until the end of the best epoch.
/// let weights = Weights::load(&best)?;
/// assert_eq!(weights.f32s("w"), Some(vec![2.0]));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - Where the metric is missing, `save_best_only` saves nothing; Keras saves then. So does a name
///   with a key that is missing; there Keras fails.
/// - NaN is never an improvement and never the best value; in Keras the checkpoint of a first epoch
///   with NaN is kept for ever.
/// - Metrics and keys of the name are checked before the first batch; a `val_*` monitor with saves
///   by steps, which Keras saves at every time, is refused. `save_best_only` with saves by steps
///   works; in Keras the second save fails.
/// - The best value and the count of steps are kept over a resume, and begin anew with each `fit`;
///   Keras does the opposite.
/// - The file is safetensors, holds weights alone, and is replaced atomically.
/// - `every_epochs`, `keep` and `keep_best` are Refrain's own. `save_freq = false`, with which
///   Keras saves after every batch, is refused.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.ModelCheckpoint`.
#[derive(Clone, Debug)]
pub struct ModelCheckpoint {
    filepath: PathBuf,
    template: Result<FileTemplate>,
    monitor: Monitor,
    save_best_only: bool,
    initial_value_threshold: Option<f64>,
    save_freq: SaveFreq,
    keep: Keep,
    verbose: bool,
    state: ModelCheckpointState,
}

/// When [`ModelCheckpoint`] saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFreq {
    /// After every n-th epoch.
    Epochs(usize),
    /// After every n-th batch, counted over the epochs.
    Steps(usize),
}

/// State of [`ModelCheckpoint`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCheckpointState {
    /// The best value so far.
    #[serde(with = "exact_float")]
    pub best: Option<f64>,
    /// Batches since a save by steps was last due.
    pub steps: usize,
    /// With a limit the files that are kept, oldest first; without one the last that was written.
    pub(crate) files: SavedFiles,
}

impl ModelCheckpoint {
    /// The folder that a recipe's names are in.
    fn folder(&self) -> &Path {
        self.template.as_ref().map_or(Path::new(""), FileTemplate::folder)
    }

    /// Saves after every epoch.
    pub fn new(filepath: impl Into<PathBuf>) -> Self {
        let filepath = filepath.into();
        let template = match filepath.to_str() {
            Some(text) => FileTemplate::parse(text),
            None => Err(Error::config(format!("filepath {filepath:?} is not valid Unicode"))),
        };
        Self {
            filepath,
            template,
            monitor: Monitor::min("val_loss"),
            save_best_only: false,
            initial_value_threshold: None,
            save_freq: SaveFreq::Epochs(1),
            keep: Keep::default(),
            verbose: false,
            state: ModelCheckpointState::default(),
        }
    }

    /// The metric that tells the best. Default: `val_loss`, smaller is better.
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.monitor = monitor;
        self
    }

    /// Whether to save at improvements alone. Default false.
    pub fn save_best_only(mut self, best_only: bool) -> Self {
        self.save_best_only = best_only;
        self
    }

    /// A value that the first save of `save_best_only` must improve on. Default none.
    pub fn initial_value_threshold(mut self, threshold: f64) -> Self {
        self.initial_value_threshold = Some(threshold);
        self
    }

    /// Saves after every n-th epoch. n ≥ 1; default 1.
    pub fn every_epochs(mut self, n: usize) -> Self {
        self.save_freq = SaveFreq::Epochs(n);
        self
    }

    /// Saves after every n-th batch, counted over the epochs. n ≥ 1.
    pub fn every_steps(mut self, n: usize) -> Self {
        self.save_freq = SaveFreq::Steps(n);
        self
    }

    /// Keeps this many of the newest files. ≥ 1; default all.
    pub fn keep(mut self, newest: usize) -> Self {
        self.keep.newest = Some(newest);
        self
    }

    /// Keeps this many of the best files, by the monitor. ≥ 1; default all.
    pub fn keep_best(mut self, best: usize) -> Self {
        self.keep.best = Some(best);
        self
    }

    /// Whether saves are printed. Default false.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// The best value so far; none where none was looked at.
    pub fn best(&self) -> Option<f64> {
        self.state.best
    }

    /// With a limit the files that are kept, oldest first; without one the last that was written.
    pub fn saved_files(&self) -> &[SavedFile] {
        self.state.files.files()
    }

    /// Keys of the logs that a save needs.
    fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.template.iter().flat_map(FileTemplate::keys).collect();
        if self.save_best_only || self.keep.best.is_some() {
            keys.push(self.monitor.name());
        }
        keys
    }

    /// Saves where it is to be done, now that it is due.
    fn save(&mut self, run: &mut Run<'_>, batch: usize, logs: &Logs) -> Result {
        let epoch = run.progress.epoch;
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let Some(path) = template.file(epoch, batch, logs) else {
            return Ok(());
        };
        let value = logs.get(self.monitor.name());
        if self.save_best_only && !self.is_best(run, value, &path) {
            return Ok(());
        }
        let file = SavedFile { path: path.clone(), epoch, value };
        let Some(dropped) = self.state.files.add(file, self.keep, &self.monitor) else {
            return Ok(());
        };
        if self.verbose && !self.save_best_only {
            run.print(&format!("Epoch {}: saving model to {}", epoch + 1, path.display()));
        }
        if run.is_rehearsal() {
            return Ok(());
        }
        run.model.weights()?.save_on(run.files(), &path)?;
        if self.verbose {
            run.print(&format!("Epoch {}: finished saving model to {}", epoch + 1, path.display()));
        }
        dropped.iter().try_for_each(|path| run.files().remove(path))
    }

    /// Whether the value is the best so far; then it is kept as such.
    fn is_best(&mut self, run: &mut Run<'_>, value: Option<f64>, path: &Path) -> bool {
        let Some(value) = value else {
            return false;
        };
        let best = self.state.best.or(self.initial_value_threshold);
        let is_best = self.monitor.is_better(value, best);
        if self.verbose {
            let (epoch, name) = (run.progress.epoch + 1, self.monitor.name());
            let from = best.map_or("None".to_owned(), |best| format!("{best:.5}"));
            run.print(&if is_best {
                let path = path.display();
                format!("Epoch {epoch}: {name} improved from {from} to {value:.5}, saving model to {path}")
            } else {
                format!("Epoch {epoch}: {name} did not improve from {from}")
            });
        }
        if is_best {
            self.state.best = Some(value);
        }
        is_best
    }

    /// Options that make no sense in this run.
    fn odd_options(&self, plan: &RunPlan) -> Vec<Finding> {
        let mut found = Vec::new();
        let (is_due, every, option) = match self.save_freq {
            SaveFreq::Epochs(n) => {
                let is_due = n > 0 && plan.epochs / n > plan.initial_epoch / n;
                (is_due, format!("every {n} epochs"), "every_epochs")
            }
            SaveFreq::Steps(n) => {
                let steps = plan.epochs_to_run().saturating_mul(plan.steps_per_epoch);
                let is_due = plan.steps_per_epoch == 0 || steps >= n;
                (is_due, format!("every {n} steps"), "save_freq")
            }
        };
        if !is_due {
            let epochs = plan.epochs_to_run();
            let message = format!("saves {every} are never due in this run of {epochs} epochs");
            let finding = Finding::warning("checkpoint-never-due", message).option(option);
            found.push(finding.fix("save more often"));
        }
        if let SaveFreq::Steps(_) = self.save_freq {
            let is_unknown = |key: &&str| !plan.metrics.iter().any(|name| name == key);
            found.extend(self.keys().into_iter().filter(is_unknown).map(|key| {
                let message = format!("saves by steps look at `{key}`, which no batch has");
                Finding::error("not-in-batch-logs", message)
                    .fix("save after epochs (save_freq = \"epoch\"), or name a training metric")
                    .option("save_freq")
            }));
        } else if let Some(key) = self.keys().iter().find(|key| key.starts_with("val_"))
            && plan.validation.as_ref().is_some_and(|freq| *freq != ValidationFreq::Every(1))
        {
            let message = format!("in epochs without validation there is no `{key}`, and no save");
            found.push(Finding::warning("checkpoint-skips-epochs", message).option("filepath"));
        }
        found
    }
}

impl Callback for ModelCheckpoint {
    fn on_train_batch_end(&mut self, run: &mut Run<'_>, batch: &BatchEnd) -> Result {
        let SaveFreq::Steps(n) = self.save_freq else {
            return Ok(());
        };
        self.state.steps += 1;
        if self.state.steps < n {
            return Ok(());
        }
        self.state.steps = 0;
        // The device is read only where a number of it is needed.
        let logs = if self.keys().is_empty() { Logs::new() } else { run.batch_logs()?.clone() };
        self.save(run, batch.index, &logs)
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        match self.save_freq {
            SaveFreq::Epochs(n) if (run.progress.epoch + 1).is_multiple_of(n) => {
                self.save(run, 0, epoch.logs)
            }
            _ => Ok(()),
        }
    }

    fn access(&self) -> Access {
        let hook = match self.save_freq {
            SaveFreq::Epochs(_) => Hook::EpochEnd,
            SaveFreq::Steps(_) => Hook::TrainBatchEnd,
        };
        let files = without_counter_formats(&self.filepath.to_string_lossy());
        let mut access = Access::new().acts_in([hook]).reads_model().writes_file(files);
        if let Some(template) = self.template.as_ref().ok().filter(|named| !named.is_constant()) {
            access = access.writes_files_of(template.clone());
        }
        self.keys().into_iter().fold(access, |access, key| access.reads_for("filepath", key))
    }

    fn check(&self) -> Result {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let is_by_epochs = matches!(self.save_freq, SaveFreq::Epochs(_));
        if template.has_batch() && is_by_epochs {
            return Err(Error::config(
                "filepath holds {batch}, and saves after epochs have none; save every n steps, or \
                 name the file by {epoch}",
            ));
        }
        let counts = [
            ("every_epochs", if let SaveFreq::Epochs(n) = self.save_freq { n } else { 1 }),
            ("save_freq", if let SaveFreq::Steps(n) = self.save_freq { n } else { 1 }),
            ("keep", self.keep.newest.unwrap_or(1)),
            ("keep_best", self.keep.best.unwrap_or(1)),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, n)| *n == 0) {
            return Err(Error::config(format!("{name} is 0; allowed: 1 or more")));
        }
        if let Some((name, n)) = counts[2..].iter().find(|(_, n)| *n > 1)
            && template.is_constant()
        {
            return Err(Error::config(format!(
                "{name} is {n}, and filepath names one file; put {{epoch}} into it"
            )));
        }
        if self.initial_value_threshold.is_some_and(f64::is_nan) {
            return Err(Error::config("initial_value_threshold is NaN; allowed: a number"));
        }
        self.monitor.check()
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let mut found = self.monitor.findings();
        found.extend(self.odd_options(plan));
        found
    }

    fn save_state(&self) -> Result<Option<State>> {
        let mut state = self.state.clone();
        let folder = self.folder();
        state.files.map(|path| path.strip_prefix(folder).unwrap_or(path).to_owned());
        State::new(&state).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        // The folder of now: a run that goes on in a copy of its folder removes no files of the other.
        let folder = self.folder().to_owned();
        self.state.files.map(|path| folder.join(path));
        Ok(())
    }
}

/// `m{epoch:02d}` → `m{epoch}`: two that differ in this alone write the same files sooner or later.
fn without_counter_formats(template: &str) -> String {
    let mut parts = template.split('{');
    let mut plain = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (field, rest) = part.split_once('}').map_or((part, None), |(f, rest)| (f, Some(rest)));
        let name = field.split(':').next().unwrap_or(field);
        plain.push('{');
        plain.push_str(if ["epoch", "batch"].contains(&name) { name } else { field });
        if let Some(rest) = rest {
            plain.push('}');
            plain.push_str(rest);
        }
    }
    plain
}

impl FromOptions for ModelCheckpoint {
    const NAME: &'static str = "model_checkpoint";
    const EXAMPLE: &'static str = "filepath = \"weights-{epoch:02d}.safetensors\"";

    fn from_options(options: &Section<'_>, context: &BuildContext<'_>) -> Result<Self> {
        let name = options.require("filepath", "filepath = \"weights-{epoch:02d}.safetensors\"")?;
        let path = context.output(options, "filepath", "")?;
        let mut checkpoint = Self::new(path);
        let template = FileTemplate::parse(name.str()?).map_err(|e| name.error(e))?;
        checkpoint.template = Ok(template.in_folder(context.folder));
        checkpoint.monitor = options.monitor(0.0)?;
        if let Some(best_only) = options.get("save_best_only") {
            checkpoint = checkpoint.save_best_only(best_only.bool()?);
        }
        if let Some(threshold) = options.get("initial_value_threshold") {
            let threshold = threshold.f64_in("a number", |x| !x.is_nan())?;
            checkpoint = checkpoint.initial_value_threshold(threshold);
        }
        let every_epochs = options.get("every_epochs");
        if let Some(steps) = options.get("save_freq").as_ref().map(save_freq).transpose()?.flatten()
        {
            if let Some(epochs) = every_epochs {
                return Err(
                    epochs.error("`save_freq` counts steps and `every_epochs` epochs; keep one")
                );
            }
            checkpoint = checkpoint.every_steps(steps);
        } else if let Some(epochs) = every_epochs {
            checkpoint = checkpoint.every_epochs(epochs.usize(1)?);
        }
        if let Some(keep) = options.get("keep") {
            checkpoint = checkpoint.keep(keep.usize(1)?);
        }
        if let Some(keep) = options.get("keep_best") {
            checkpoint = checkpoint.keep_best(keep.usize(1)?);
        }
        if let Some(verbose) = options.get("verbose") {
            checkpoint = checkpoint.verbose(verbose.bool()?);
        }
        Ok(checkpoint)
    }
}

/// The number of steps, or none for `"epoch"`.
fn save_freq(value: &Value<'_>) -> Result<Option<usize>> {
    match value.str() {
        Ok("epoch") => Ok(None),
        Ok(other) => {
            Err(value.out_of_range(format!("{other:?}"), "\"epoch\" or a number of steps"))
        }
        Err(_) => value.usize(1).map(Some),
    }
}

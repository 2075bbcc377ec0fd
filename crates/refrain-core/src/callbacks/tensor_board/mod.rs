//! Writes what TensorBoard shows.

mod event;
mod histogram;
mod hparams;
mod record;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use self::event::Tag;
use self::histogram::Histogram;
pub use self::hparams::HyperParameter;
pub use self::record::EventRecords;
use self::record::{EventWriter, now};
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BatchEnd, EpochEnd, Hook, TestEnd};
use crate::files::Files;
use crate::finding::{Finding, RunPlan};
use crate::logs::Logs;
use crate::options::Section;
use crate::outcome::Outcome;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::State;

/// Writes event files for TensorBoard, in the folders and under the tags of Keras' callback.
///
/// Show them with `tensorboard --logdir LOG_DIR`, or with the folder of several runs.
///
/// | folder | tag | step | when |
/// | --- | --- | --- | --- |
/// | `train` | `epoch_<metric>`, `epoch_learning_rate` | epoch, from 0 | each epoch |
/// | `validation` | `epoch_<metric>`, without `val_` | epoch, from 0 | epochs with validation |
/// | `validation` | `evaluation_<metric>_vs_iterations` | optimizer steps | each validation, each `evaluate` |
/// | `train` | `batch_<metric>`, means since the epoch began | batch of the run, from 1 | `update_freq` |
/// | `train` | `<weight>/histogram`, 30 buckets | epoch, from 0 | `histogram_freq` |
/// | `train` | `epoch_steps_per_second`, `batch_steps_per_second` | as above | `write_steps_per_second` |
/// | – | `_hparams_/session_start_info`, `.._end_info` | | where there are `hparams` |
///
/// Keys that other callbacks added to the logs are metrics too; list it after them. TensorBoard's
/// numbers are f32; NaN and infinities are shown as such. In histograms only finite weights count.
///
/// Each run writes files of its own, beside those of older runs: TensorBoard reads them all. Give
/// each run a `log_dir` of its own to see them side by side. What was collected is written out at
/// the end of an epoch, after ten seconds, after 64 KiB and with each checkpoint.
///
/// A run that goes on from a checkpoint cuts its files to what they held there, removes those that
/// it made later, and goes on in new ones, which begin with a `SessionLog` `START`: a TensorBoard that
/// is watching forgets what it has of later steps.
///
/// A session of the HParams tab ends as `SUCCESS` where the run was completed or stopped by a
/// callback and as `FAILURE` where it failed; one that was interrupted may go on, and stays open.
/// TensorBoard believes the first end that it finds in a `log_dir`, and shows metrics beside
/// hyper-parameters where `--logdir` is a folder above `log_dir`.
///
/// - Reads: all logs that are there when its turn comes
/// - Writes: files below `log_dir`
/// - Requests: nothing
/// - State: the number of batches trained, names and lengths of the files
/// - Cost: below a microsecond a number, no system call; with `update_freq` one read from the
///   device at each batch that is due; with `histogram_freq` a copy of all weights to the host
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `log_dir` | "logs" | a folder | where the files go; in a recipe relative to the run directory |
/// | `histogram_freq` | 0 | whole, ≥ 0 | epochs between two histograms of the weights; 0: none |
/// | `update_freq` | "epoch" | "epoch", "batch", whole ≥ 1 | batches between two `batch_<metric>`; "epoch": none |
/// | `write_steps_per_second` | false | true, false | whether the steps per second are written |
/// | `hparams` | none | a table of numbers, strings, booleans | what the HParams tab compares runs by |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "tensor_board"
/// log_dir = "logs"
/// update_freq = 100
/// hparams = { optimizer = "sgd", learning_rate = 0.1 }
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::{TensorBoard, UpdateFreq};
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let logs = folder.path().join("logs");
/// let board = TensorBoard::new(&logs)
///     .update_freq(UpdateFreq::Batch)
///     .histogram_freq(1)
///     .hparam("optimizer", "sgd")
///     .hparam("learning_rate", 0.1);
/// let script = Script::losses(&[2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(board);
/// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// let file = std::fs::read_dir(logs.join("train")).unwrap().next().unwrap().unwrap();
/// assert!(file.file_name().to_string_lossy().starts_with("events.out.tfevents."));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - TensorFlow is not needed. There is no graph of the model, no images, no embeddings and no
///   profile: `write_graph`, `write_images`, `embeddings_freq`, `profile_batch` do not exist.
/// - `epoch_learning_rate` is the rate that the epoch's last update was made with; Keras writes
///   the one that is set when its turn comes, perhaps the next epoch's.
/// - With `update_freq = n` the numbers of epochs and evaluations, and histograms, are written all
///   the same. Keras 3.15.1 writes them only where the last batch's number is a multiple of n.
/// - Weights have the names that they have in a saved file: `dense.weight/histogram`, where Keras
///   has `sequential/dense/kernel/histogram`.
/// - Numbers are `simple_value`s, which other programs that import event files read too. Keras
///   writes tensors; TensorBoard shows both the same.
/// - Hyper-parameters are an option; in Keras they are a second callback of TensorBoard's.
/// - A second `fit` writes a file of its own.
///
/// # Source
/// Keras' `keras.callbacks.TensorBoard`; TensorFlow's `event.proto`, `summary.proto`; TensorBoard's
/// HParams `plugin_data.proto`.
#[derive(Debug)]
pub struct TensorBoard {
    log_dir: PathBuf,
    histogram_freq: usize,
    update_freq: UpdateFreq,
    write_steps_per_second: bool,
    hparams: Vec<(String, HyperParameter)>,
    /// Written out when a checkpoint is taken, too, which borrows the callback only.
    writers: Mutex<Writers>,
    /// The step from which on the run goes on, for files that are made.
    from_step: FromStep,
    /// Between `on_train_begin` and `on_train_end`: files are closed by the latter.
    is_training: bool,
    batch_began: Option<Instant>,
    /// When the epoch began, and at which step.
    epoch_began: Option<(Instant, u64)>,
    state: TensorBoardState,
}

/// State of [`TensorBoard`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TensorBoardState {
    /// Batches trained since `fit` began; counted where batches are written.
    pub train_batches: u64,
    /// In the names of the run's files.
    token: String,
    #[serde(with = "as_lines")]
    files: Vec<EventFile>,
}

/// What a file of the run held when the state was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct EventFile {
    /// Below `log_dir`.
    folder: String,
    name: String,
    length: u64,
}

/// One text, a line a file: how many there are, and their names, differ from process to process.
mod as_lines {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::EventFile;

    pub(super) fn serialize<S>(files: &[EventFile], serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        let line = |file: &EventFile| format!("{}/{} {}", file.folder, file.name, file.length);
        let lines: Vec<String> = files.iter().map(line).collect();
        serializer.serialize_str(&lines.join("\n"))
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Vec<EventFile>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let file = |line: &str| {
            let (folder, rest) = line.split_once('/')?;
            let (name, length) = rest.rsplit_once(' ')?;
            let length = length.parse().ok()?;
            Some(EventFile { folder: folder.to_owned(), name: name.to_owned(), length })
        };
        let text = String::deserialize(deserializer)?;
        let files = text.lines().map(file).collect::<Option<Vec<EventFile>>>();
        files.ok_or_else(|| D::Error::custom(format!("no files and lengths: {text:?}")))
    }
}

/// In a run that goes on: the first step that is to come, by what the folders count.
#[derive(Clone, Copy, Debug, Default)]
struct FromStep {
    train: Option<u64>,
    validation: Option<u64>,
}

/// How often [`TensorBoard`] writes the metrics of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateFreq {
    /// Never: only those of epochs. The default.
    #[default]
    Epoch,
    /// Every batch.
    Batch,
    /// Every n-th batch.
    Every(usize),
}

/// The files of a run; each is made when there is something to write into it.
#[derive(Debug, Default)]
struct Writers {
    train: Option<EventWriter>,
    validation: Option<EventWriter>,
    session: Option<EventWriter>,
    /// What failed while a checkpoint was taken; told at the next event.
    failure: Option<Error>,
}

/// Folders below `log_dir`, `log_dir` itself last.
const TRAIN: &str = "train";
const VALIDATION: &str = "validation";
const SESSION: &str = "";

impl Default for TensorBoard {
    fn default() -> Self {
        Self::new("logs")
    }
}

impl TensorBoard {
    /// Writes below this folder, which is made where it is missing.
    pub fn new(log_dir: impl Into<PathBuf>) -> Self {
        Self {
            log_dir: log_dir.into(),
            histogram_freq: 0,
            update_freq: UpdateFreq::Epoch,
            write_steps_per_second: false,
            hparams: Vec::new(),
            writers: Mutex::default(),
            from_step: FromStep::default(),
            is_training: false,
            batch_began: None,
            epoch_began: None,
            state: TensorBoardState::default(),
        }
    }

    /// Epochs between two histograms of the weights, the first epoch's included. Default 0: none.
    pub fn histogram_freq(mut self, epochs: usize) -> Self {
        self.histogram_freq = epochs;
        self
    }

    /// How often metrics of batches are written. Default [`UpdateFreq::Epoch`]: never.
    pub fn update_freq(mut self, freq: UpdateFreq) -> Self {
        self.update_freq = freq;
        self
    }

    /// Whether the steps per second of each epoch are written, and those of each batch that is.
    /// Default false.
    pub fn write_steps_per_second(mut self, write: bool) -> Self {
        self.write_steps_per_second = write;
        self
    }

    /// A hyper-parameter for the HParams tab; one of the same name is replaced. Default none.
    pub fn hparam(mut self, name: impl Into<String>, value: impl Into<HyperParameter>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.hparams.iter_mut().find(|(old, _)| *old == name) {
            Some((_, old)) => *old = value,
            None => self.hparams.push((name, value)),
        }
        self
    }

    /// The folder.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Batches between two that are written; `None`: none is.
    fn batch_freq(&self) -> Option<u64> {
        match self.update_freq {
            UpdateFreq::Epoch => None,
            UpdateFreq::Batch => Some(1),
            UpdateFreq::Every(n) => Some(n as u64),
        }
    }

    fn writers(&mut self) -> &mut Writers {
        self.writers.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, files: &Files, folder: &str, from_step: Option<u64>) -> Result<EventWriter> {
        EventWriter::create(files, &self.log_dir.join(folder), &self.state.token, from_step)
    }

    /// The file of the validation, made where it is missing.
    fn validation(&mut self, files: &Files) -> Result<&mut EventWriter> {
        let writer = match self.writers().validation.take() {
            Some(writer) => writer,
            None => self.create(files, VALIDATION, self.from_step.validation)?,
        };
        Ok(self.writers().validation.insert(writer))
    }

    /// Makes the run's files what they were at the checkpoint: what was written since is cut off, and
    /// files that were made since are removed.
    fn go_back(&mut self, files: &Files) -> Result {
        for folder in [TRAIN, VALIDATION, SESSION] {
            let path = self.log_dir.join(folder);
            let names = match files.disk().list(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                names => names.map_err(|e| Error::file("read the folder", &path, e))?,
            };
            for name in names.iter().filter(|name| record::is_of_run(name, &self.state.token)) {
                let is_it = |file: &&EventFile| file.folder == folder && file.name == *name;
                let path = path.join(name);
                match self.state.files.iter().find(is_it) {
                    Some(file) => files.append_at(&path, file.length, b"")?,
                    None => files.remove(&path)?,
                }
            }
        }
        Ok(())
    }

    /// In a run that goes on: where it does, by the numbers of the events in each folder.
    fn next_steps(&self, run: &Run<'_>) -> FromStep {
        if !run.is_resumed() {
            return FromStep::default();
        }
        let epoch = run.progress.epoch as u64;
        // Folders count epochs and, where there are more of them, steps: later ones than these are
        // superseded by both.
        let train = match self.batch_freq() {
            None => epoch,
            Some(_) => epoch.max(self.state.train_batches + 1),
        };
        FromStep { train: Some(train), validation: Some(epoch.max(run.progress.step + 1)) }
    }

    fn write_epoch(&mut self, files: &Files, at: f64, epoch: u64, logs: &Logs) -> Result {
        let tag = |name| Tag::new("epoch_", name, "");
        for (name, value) in logs.iter() {
            match name.strip_prefix("val_") {
                Some(name) => self.validation(files)?.scalar(at, epoch, tag(name), value)?,
                None => {
                    if let Some(train) = &mut self.writers().train {
                        train.scalar(at, epoch, tag(name), value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Callback for TensorBoard {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        *self.writers() = Writers::default();
        if run.is_rehearsal() {
            return Ok(());
        }
        if self.state.token.is_empty() {
            self.state.token = record::new_token();
        }
        self.go_back(run.files())?;
        self.from_step = self.next_steps(run);
        // An epoch that is gone on with does not begin again.
        self.epoch_began = run.is_resumed().then(|| (Instant::now(), run.progress.step));
        let train = self.create(run.files(), TRAIN, self.from_step.train)?;
        self.writers().train = Some(train);
        if !self.hparams.is_empty() {
            let session = self.create(run.files(), SESSION, None)?;
            let at = now();
            let content = hparams::session_start(&self.hparams, at);
            let session = self.writers().session.insert(session);
            session.plugin(
                at,
                Tag::new("", hparams::SESSION_START, ""),
                hparams::PLUGIN,
                &content,
            )?;
            session.flush()?;
        }
        self.is_training = true;
        Ok(())
    }

    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.epoch_began = Some((Instant::now(), run.progress.step));
        Ok(())
    }

    fn on_train_batch_begin(&mut self, _: &mut Run<'_>) -> Result {
        self.batch_began = Some(Instant::now());
        Ok(())
    }

    fn on_train_batch_end(&mut self, run: &mut Run<'_>, _: &BatchEnd) -> Result {
        let Some(freq) = self.batch_freq() else {
            return Ok(());
        };
        self.state.train_batches += 1;
        let step = self.state.train_batches;
        let is_due = step.is_multiple_of(freq);
        let began = self.batch_began.take();
        let Some(train) = self.writers().train.as_mut().filter(|_| is_due) else {
            return Ok(());
        };
        let at = now();
        if let Some(began) = began {
            let per_second = 1.0 / seconds_since(began);
            train.scalar(at, step, Tag::new("batch_", STEPS_PER_SECOND, ""), per_second)?;
        }
        for (name, value) in run.batch_logs()?.iter() {
            train.scalar(at, step, Tag::new("batch_", name, ""), value)?;
        }
        Ok(())
    }

    fn on_test_end(&mut self, run: &mut Run<'_>, test: &TestEnd<'_>) -> Result {
        // Empty where the evaluation was interrupted or failed.
        if run.is_rehearsal() || test.logs.is_empty() {
            return Ok(());
        }
        let (at, step) = (now(), run.progress.step);
        let is_training = self.is_training;
        let writer = self.validation(run.files())?;
        for (name, value) in test.logs.iter() {
            writer.scalar(at, step, Tag::new("evaluation_", name, "_vs_iterations"), value)?;
        }
        if !is_training {
            writer.flush()?;
            self.writers().validation = None;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, end: &mut EpochEnd<'_>) -> Result {
        if run.is_rehearsal() {
            return Ok(());
        }
        let (at, epoch) = (now(), run.progress.epoch);
        self.write_epoch(run.files(), at, epoch as u64, end.logs)?;
        let (epoch_began, histogram_freq) = (self.epoch_began.take(), self.histogram_freq);
        // Measured where it is wanted alone.
        let epoch_began = epoch_began.filter(|_| self.write_steps_per_second);
        let Some(train) = &mut self.writers().train else {
            return Ok(());
        };
        if let Some((began, step)) = epoch_began {
            let per_second = (run.progress.step - step) as f64 / seconds_since(began);
            let tag = Tag::new("epoch_", STEPS_PER_SECOND, "");
            train.scalar(at, epoch as u64, tag, per_second)?;
        }
        if histogram_freq > 0 && epoch.is_multiple_of(histogram_freq) {
            for tensor in &run.model.weights()?.tensors {
                if let Some(histogram) = Histogram::of(tensor) {
                    let tag = Tag::new("", &tensor.name, "/histogram");
                    train.histogram(at, epoch as u64, tag, &histogram)?;
                }
            }
        }
        self.writers().flush()
    }

    fn on_train_end(&mut self, _: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        self.is_training = false;
        let mut writers = std::mem::take(self.writers());
        let at = now();
        if let Some(session) = &mut writers.session
            && let Some(content) = hparams::session_end(outcome, at)
        {
            let tag = Tag::new("", hparams::SESSION_END, "");
            session.plugin(at, tag, hparams::PLUGIN, &content)?;
        }
        let flushed = writers.flush();
        writers.note(&mut self.state.files);
        flushed
    }

    fn access(&self) -> Access {
        let mut hooks = vec![Hook::TrainBegin, Hook::TestEnd, Hook::EpochEnd, Hook::TrainEnd];
        // A hook that is not listed costs nothing.
        if self.write_steps_per_second {
            hooks.push(Hook::EpochBegin);
        }
        if self.batch_freq().is_some() {
            hooks.push(Hook::TrainBatchEnd);
            if self.write_steps_per_second {
                hooks.push(Hook::TrainBatchBegin);
            }
        }
        let access =
            Access::new().acts_in(hooks).writes_file(&self.log_dir).observes().needs_beginning();
        if self.histogram_freq > 0 { access.reads_model() } else { access }
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let batches = plan.epochs_to_run().saturating_mul(plan.steps_per_epoch) as u64;
        match self.batch_freq() {
            Some(freq) if batches > 0 && freq > batches => {
                let message = format!(
                    "update_freq is {freq} batches, and the run has {batches}: no batch is written"
                );
                let finding = Finding::warning("never-due", message);
                vec![finding.fix("lower it").option("update_freq")]
            }
            _ => Vec::new(),
        }
    }

    fn check(&self) -> Result {
        if self.log_dir.as_os_str().is_empty() {
            return Err(Error::config("log_dir is empty; name a folder"));
        }
        if self.update_freq == UpdateFreq::Every(0) {
            let allowed = "allowed: \"epoch\", \"batch\" or a whole number, 1 or more";
            return Err(Error::config(format!("update_freq is 0; {allowed}")));
        }
        for (name, value) in &self.hparams {
            if name.is_empty() {
                return Err(Error::config("hparams has an empty name; give each one a name"));
            }
            if let HyperParameter::Number(x) = value
                && !x.is_finite()
            {
                // TensorBoard would answer no question about the run.
                return Err(Error::config(format!(
                    "hparams: `{name}` is {x}; allowed: a finite number"
                )));
            }
        }
        Ok(())
    }

    fn save_state(&self) -> Result<Option<State>> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        // A checkpoint is not lost for a log that cannot be written.
        if let Err(error) = writers.sync() {
            writers.failure.get_or_insert(error);
        }
        let mut state = self.state.clone();
        writers.note(&mut state.files);
        State::new(&state).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        Ok(())
    }
}

const STEPS_PER_SECOND: &str = "steps_per_second";

impl Writers {
    fn each(&mut self) -> impl Iterator<Item = (&'static str, &mut EventWriter)> {
        let Self { train, validation, session, failure: _ } = self;
        let all = [(TRAIN, train), (VALIDATION, validation), (SESSION, session)];
        all.into_iter().filter_map(|(folder, writer)| Some((folder, writer.as_mut()?)))
    }

    fn flush(&mut self) -> Result {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.each().try_for_each(|(_, writer)| writer.flush())
    }

    fn sync(&mut self) -> Result {
        self.each().try_for_each(|(_, writer)| writer.sync())
    }

    /// Writes down what the files hold by now.
    fn note(&mut self, files: &mut Vec<EventFile>) {
        for (folder, writer) in self.each() {
            let (name, length) = writer.written();
            match files.iter_mut().find(|file| file.folder == folder && file.name == name) {
                Some(file) => file.length = length,
                None => files.push(EventFile { folder: folder.to_owned(), name, length }),
            }
        }
    }
}

/// At least the clock's step, so that no rate is infinite.
fn seconds_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64().max(1e-9)
}

impl FromOptions for TensorBoard {
    const NAME: &'static str = "tensor_board";

    fn from_options(options: &Section<'_>, context: &BuildContext<'_>) -> Result<Self> {
        let mut board = Self::new(context.output_folder(options, "log_dir", "logs")?);
        if let Some(freq) = options.get("histogram_freq") {
            board = board.histogram_freq(freq.usize(0)?);
        }
        if let Some(freq) = options.get("update_freq") {
            board = board.update_freq(match freq.str() {
                Ok("epoch") => UpdateFreq::Epoch,
                Ok("batch") => UpdateFreq::Batch,
                Ok(word) => {
                    let allowed = "\"epoch\", \"batch\" or a whole number, 1 or more";
                    return Err(freq.out_of_range(format!("{word:?}"), allowed));
                }
                Err(_) => UpdateFreq::Every(freq.usize(1)?),
            });
        }
        if let Some(write) = options.get("write_steps_per_second") {
            board = board.write_steps_per_second(write.bool()?);
        }
        if let Some(hparams) = options.get("hparams") {
            for (name, value) in hparams.entries()? {
                let value: HyperParameter = if let Ok(x) = value.f64() {
                    x.into()
                } else if let Ok(text) = value.str() {
                    text.into()
                } else if value.is_array() || value.is_table() {
                    let shown = if value.is_table() { "a table" } else { "an array" };
                    return Err(value.out_of_range(shown, "a number, a string, true or false"));
                } else {
                    value.bool()?.into()
                };
                board = board.hparam(name, value);
            }
        }
        Ok(board)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Document;
    use crate::testing::Script;
    use crate::{CallbackRegistry, Fit, Trainer};

    #[test]
    fn options_out_of_range_are_refused() {
        let nan = TensorBoard::default().hparam("momentum", f64::NAN);
        let zero = TensorBoard::default().update_freq(UpdateFreq::Every(0));
        for (board, expected) in [
            (TensorBoard::new(""), "log_dir is empty; name a folder"),
            (nan, "hparams: `momentum` is NaN; allowed: a finite number"),
            (zero, "update_freq is 0; allowed: \"epoch\", \"batch\" or a whole number, 1 or more"),
        ] {
            let error = board.check().unwrap_err();
            assert!(error.is_config());
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_recipe_names_the_options() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let context = BuildContext { folder: folder.path() };
        let build = |options: serde_json::Value| {
            let document = Document::from_json("recipe", &options);
            TensorBoard::from_options(&document.root()?, &context)
        };
        let board = build(serde_json::json!({
            "log_dir": "./tb", "histogram_freq": 2, "update_freq": 10,
            "write_steps_per_second": true,
            "hparams": { "units": 128, "rate": 0.5, "optimizer": "sgd", "nesterov": true },
        }))
        .unwrap();
        assert_eq!(board.log_dir(), folder.path().join("tb"));
        assert_eq!((board.histogram_freq, board.update_freq), (2, UpdateFreq::Every(10)));
        let expected: [(&str, HyperParameter); 4] = [
            ("units", 128.into()),
            ("rate", 0.5.into()),
            ("optimizer", "sgd".into()),
            ("nesterov", true.into()),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(board.hparams, expected);
        for (options, message) in [
            (serde_json::json!({ "log_dir": "file" }), "`log_dir` is \"file\": it is no folder"),
            (serde_json::json!({ "log_dir": "checkpoints" }), "which the run itself writes"),
            (serde_json::json!({ "update_freq": "step" }), "`update_freq` is \"step\"; allowed: "),
            (serde_json::json!({ "update_freq": 0 }), "`update_freq` is 0; allowed: "),
            (
                serde_json::json!({ "hparams": { "layers": [1] } }),
                "`hparams.layers` is an array; allowed: a number, a string, true or false",
            ),
        ] {
            let error = build(options).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let entry = serde_json::json!({ "type": "tensor_board" });
        let document = Document::from_json("recipe", &entry);
        CallbackRegistry::builtin().build(&document.value(), 0, &context).unwrap();
    }

    #[test]
    fn an_update_that_is_never_due_is_a_warning() {
        let plan = RunPlan { epochs: 3, steps_per_epoch: 10, ..RunPlan::default() };
        for (freq, expected) in [(UpdateFreq::Every(30), 0), (UpdateFreq::Every(31), 1)] {
            let board = TensorBoard::default().update_freq(freq);
            assert_eq!(board.findings(&plan).len(), expected);
            assert_eq!(board.findings(&RunPlan::default()).len(), 0);
        }
    }

    #[test]
    fn each_run_writes_files_of_its_own_and_only_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let files = |below: &str| std::fs::read_dir(folder.path().join(below)).unwrap().count();
        let script = Script::losses(&[1.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(TensorBoard::new(folder.path()));
        for run in 1..=2 {
            trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap();
            assert_eq!((files(""), files("train")), (1, run));
        }
        trainer.evaluate(&script.data(), 1).unwrap();
        assert_eq!((files(""), files("train"), files("validation")), (2, 2, 1));
    }

    #[test]
    fn a_rehearsal_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::losses(&[1.0]);
        let data = script.data();
        let board =
            TensorBoard::new(folder.path()).hparam("rate", 0.1).update_freq(UpdateFreq::Batch);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(board).rehearse();
        trainer.fit(&data, Fit::epochs(1).validation_data(&data).verbose(0)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_made_costs_the_run_nothing_but_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let script = Script::losses(&[1.0]);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(TensorBoard::new(&file));
        let history = trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        assert_eq!(history.len(), 2);
        let (name, error) = trainer.disabled().next().unwrap();
        assert_eq!(name, "tensor_board");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }

    #[test]
    fn batches_are_counted_on_after_a_checkpoint_and_anew_in_a_second_fit() {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::losses(&[1.0]);
        let board = TensorBoard::new(folder.path()).update_freq(UpdateFreq::Every(2));
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(board);
        for _ in 0..2 {
            let fit = Fit::epochs(2).batch_size(1).verbose(0);
            trainer.fit(&script.samples(3), fit).unwrap();
            let board = trainer.get::<TensorBoard>().unwrap();
            assert_eq!(board.state.train_batches, 6);
            let mut resumed = TensorBoard::default();
            resumed.load_state(board.save_state().unwrap().as_ref()).unwrap();
            assert_eq!(resumed.state.train_batches, 6);
        }
    }
}

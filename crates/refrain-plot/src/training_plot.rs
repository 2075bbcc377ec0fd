//! The callback that draws a run when it ends.

use std::path::{Path, PathBuf};

use refrain_core::event::Hook;
use refrain_core::files::Files;
use refrain_core::options::{Section, Value};
use refrain_core::{
    Access, BuildContext, Callback, Error, FromOptions, History, Outcome, Result, Run,
};

use crate::{Figure, Options, PlotError, TrainingLog};

const DEFAULT_FILE: &str = "training_from_json.png";

/// Draws the run's history into a picture when training ends, whatever ended it.
///
/// The picture is the one that [`Figure::training`] draws of the run's JSON log: losses, metrics,
/// the best epoch, the steps of the learning rate. PNG or SVG by the file's name.
///
/// A run without a finished epoch leaves no picture.
///
/// - Reads: the metrics named, else all
/// - Writes: the file
/// - Requests: nothing
/// - State: none; the history is the run's own
/// - Cost: one picture, when training ends
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `file` | `"training_from_json.png"` | a name that ends in `.png` or `.svg` | where the picture goes |
/// | `metrics` | all | names of metrics, one or more | what is drawn |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "training_plot"
/// file = "training.svg"
/// metrics = ["loss", "val_loss"]
/// ```
///
/// # Example
/// ```
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
/// use refrain_plot::TrainingPlot;
///
/// # let folder = tempfile::tempdir().unwrap();
/// let file = folder.path().join("training.svg");
/// let script = Script::losses(&[3.0, 2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(TrainingPlot::new(&file));
/// trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
/// assert!(std::fs::read_to_string(file).unwrap().contains("Train Loss"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// Refrain's own; the exercise that it began with draws the same from the JSON log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPlot {
    file: PathBuf,
    metrics: Option<Vec<String>>,
}

impl Default for TrainingPlot {
    fn default() -> Self {
        Self::new(DEFAULT_FILE)
    }
}

impl TrainingPlot {
    /// Draws into this file, `.png` or `.svg`. Folders that are missing are made.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), metrics: None }
    }

    /// Draws these metrics only. Default: all.
    pub fn metrics<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.metrics = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn draw(&self, files: &Files, history: &History) -> Result<(), PlotError> {
        // Epochs count from 1 in everything written.
        let epochs = history.iter().map(|(epoch, _)| epoch as u64 + 1).collect();
        let names = history.names();
        let columns = names.iter().map(|name| ((*name).to_owned(), history.column(name))).collect();
        let log = TrainingLog::from_columns(epochs, columns)?;
        let options = Options { metrics: self.metrics.clone(), ..Options::default() };
        Figure::training(&log, &options)?.write_on(files, &self.file)
    }
}

impl Callback for TrainingPlot {
    fn on_train_end(&mut self, run: &mut Run<'_>, _: &Outcome<'_>) -> Result {
        if run.history.is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.file.parent() {
            run.files().create_folders(folder)?;
        }
        self.draw(run.files(), run.history).map_err(Error::wrap)
    }

    fn access(&self) -> Access {
        let access = Access::new().acts_in([Hook::TrainEnd]).writes_file(&self.file).observes();
        self.metrics.iter().flatten().fold(access, |access, name| access.reads_for("metrics", name))
    }

    fn check(&self) -> Result {
        Figure::check_extension(&self.file).map_err(|e| Error::config(e.to_string()))
    }
}

impl FromOptions for TrainingPlot {
    const NAME: &'static str = "training_plot";

    fn from_options(options: &Section<'_>, context: &BuildContext<'_>) -> Result<Self> {
        let mut plot = Self::new(context.output(options, "file", DEFAULT_FILE)?);
        if let Some(metrics) = options.get("metrics") {
            let names = metrics.items()?;
            if names.is_empty() {
                return Err(metrics.out_of_range("empty", "one metric or more; without it, all"));
            }
            let names: Result<Vec<_>> = names.iter().map(Value::str).collect();
            plot = plot.metrics(names?);
        }
        Ok(plot)
    }
}

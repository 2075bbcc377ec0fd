//! The callback that draws a run when it ends.

use std::fs;
use std::path::{Path, PathBuf};

use refrain_core::{Access, Callback, Error, History, Outcome, Result, Run};

use crate::{Figure, Options, PlotError, TrainingLog};

/// Draws the run's history into a picture when training ends, whatever ended it.
///
/// The picture is the one that [`Figure::training`] draws of the run's JSON log: losses, metrics,
/// the best epoch, the steps of the learning rate. PNG or SVG by the file's name.
///
/// - Reads: the metrics named, else all. Writes nothing into the logs. Acts in `on_train_end`; a
///   run without a finished epoch leaves no picture.
/// - Default file: `training_from_json.png`.
/// - State: none; the history is the run's own.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPlot {
    file: PathBuf,
    metrics: Option<Vec<String>>,
}

impl Default for TrainingPlot {
    fn default() -> Self {
        Self::new("training_from_json.png")
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

    fn draw(&self, history: &History) -> Result<(), PlotError> {
        // Epochs count from 1 in everything written.
        let epochs = history.iter().map(|(epoch, _)| epoch as u64 + 1).collect();
        let names = history.names();
        let columns = names.iter().map(|name| ((*name).to_owned(), history.column(name))).collect();
        let log = TrainingLog::from_columns(epochs, columns)?;
        let options = Options { metrics: self.metrics.clone(), ..Options::default() };
        Figure::training(&log, &options)?.write(&self.file)
    }
}

impl Callback for TrainingPlot {
    fn on_train_end(&mut self, run: &mut Run<'_>, _: &Outcome<'_>) -> Result {
        if run.history.is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::file("create the folder", folder, e))?;
        }
        self.draw(run.history).map_err(Error::wrap)
    }

    fn access(&self) -> Access {
        self.metrics.iter().flatten().fold(Access::new(), |access, name| access.reads(name))
    }

    fn check(&self) -> Result {
        Figure::check_extension(&self.file).map_err(|e| Error::config(e.to_string()))
    }
}

//! Recipes: a whole run in one TOML file, data, model, optimizer, callbacks.

mod check;
mod checkpoint;
mod compile;
mod data;
mod evaluate;
mod fit;
mod idle;
mod memory;
mod memory_limit;
mod model;
mod outline;
mod overrides;
mod parameters;
mod preview;
mod reader;
mod replay;
mod summary;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use refrain_burn::burn::tensor::Device;
use refrain_burn::{AnyLoss, BurnLearner, Optimizer, Sequential};
use refrain_core::files::Files;
use refrain_core::schedule::Rate;
use refrain_core::{
    BuildContext, Callback, Error, Fit, Result, RunPlan, Severity, StopHandle, Trainer,
};
use toml_edit::DocumentMut;

use crate::registry::Registry;

pub use check::RecipeCheck;
pub use data::{Preparation, RecipeData, RecipeSamples};
pub use evaluate::DataPart;
pub use memory::MemoryEstimate;
pub use memory_limit::MemoryLimit;
pub use preview::RateChange;
pub use summary::RecipeSummary;

/// A recipe longer than this is none.
const MAX_BYTES: u64 = 1 << 20;

/// The learner that a recipe describes.
pub type RecipeLearner = BurnLearner<Sequential, AnyLoss>;

/// Options of `fit` for a recipe's data.
pub type RecipeFit<'a> = Fit<'a, <RecipeLearner as refrain_core::Learner>::Batch>;

/// A run, described: every name and range in it is checked when it is read.
///
/// # Example
/// ```
/// use refrain::Recipe;
///
/// let recipe = Recipe::builtin(&["fit.epochs=2".into()])?;
/// assert_eq!((recipe.name(), recipe.epochs()), ("digits", 2));
///
/// let error = Recipe::builtin(&["fit.epoch=2".into()]).unwrap_err();
/// assert!(error.to_string().contains("unknown key `epoch`; did you mean `epochs`?"));
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Name of the file, for messages.
    origin: String,
    /// The text after `--set`.
    text: String,
    /// Relative paths in the recipe are relative to it.
    folder: PathBuf,
    name: String,
    seed: u64,
    data: data::Data,
    model: model::Model,
    compile: compile::Compile,
    fit: fit::FitRecipe,
    checkpoint: checkpoint::CheckpointRecipe,
    registry: Arc<Registry>,
    /// Where the model is; no part of the text, so that a run may go on elsewhere.
    device: Device,
    /// Breaks off the reading of the data.
    stop: StopHandle,
}

impl Recipe {
    /// Text of the built-in recipe: the exercise's whole pipeline on the embedded digits.
    pub const BUILTIN: &str = include_str!("builtin.toml");

    /// The built-in recipe with changes like `fit.epochs=3`.
    ///
    /// # Errors
    /// When a change does not fit.
    pub fn builtin(changes: &[String]) -> Result<Self> {
        Self::builtin_with(&Arc::default(), changes)
    }

    /// As [`builtin`](Self::builtin), with names of your own.
    ///
    /// # Errors
    /// When a change does not fit.
    pub fn builtin_with(registry: &Arc<Registry>, changes: &[String]) -> Result<Self> {
        Self::read(registry, Self::BUILTIN, "built-in recipe", Path::new("."), changes)
    }

    /// Reads a recipe file, with changes like `fit.epochs=3`.
    ///
    /// # Errors
    /// When the file cannot be read or is no recipe; the message has line and column, and the
    /// nearest valid name.
    pub fn load(path: &Path, changes: &[String]) -> Result<Self> {
        Self::load_with(&Arc::default(), path, changes)
    }

    /// As [`load`](Self::load), with names of your own.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(registry: &Arc<Registry>, path: &Path, changes: &[String]) -> Result<Self> {
        let bytes =
            Files::default().read(path, MAX_BYTES).map_err(|e| Error::config(e.to_string()))?;
        let name = path.display().to_string();
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let at = e.valid_up_to();
            Error::config(format!(
                "`{name}` is no text file: byte {at} is not UTF-8; a recipe is TOML"
            ))
        })?;
        if text.trim().is_empty() {
            return Err(Error::config(format!(
                "`{name}` is empty; `refrain recipe` prints one to start from"
            )));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self::read(registry, text, &name, folder.unwrap_or(Path::new(".")), changes)
    }

    fn read(
        registry: &Arc<Registry>,
        text: &str,
        name: &str,
        folder: &Path,
        changes: &[String],
    ) -> Result<Self> {
        // Before the changes, so that errors of the file have the file's lines.
        reader::parse(name, text)?;
        let text = overrides::apply(text, changes)?;
        let shown =
            if changes.is_empty() { name.to_owned() } else { format!("{name} after --set") };
        let document = reader::parse(&shown, &text)?;
        let root = document.root()?;

        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("run");
        let run_name = match root.get("name") {
            Some(value) => {
                let name = value.str()?;
                if !is_run_name(name) {
                    return Err(value.out_of_range(
                        format!("{name:?}"),
                        "1 to 100 letters, digits, `.`, `-`, `_` or spaces, not beginning with `.`: \
                         it names the run's folder",
                    ));
                }
                name
            }
            None if is_run_name(stem) => stem,
            None => "run",
        };
        let seed = root.get("seed").map_or(Ok(0), |value| value.u64())?;
        // All known tables are asked for before any is read: a typo in one is then told as such.
        let data = root.section("data")?;
        let model = root.section("model")?;
        let compile = root.section("compile")?;
        let fit = root.section("fit")?;
        let checkpoint = root.section("checkpoint")?;
        root.get("callbacks");
        root.finish()?;
        let missing = |name: &str| {
            root.error(format!("[{name}] is missing; `refrain recipe` prints a whole recipe"))
        };
        let checkpoint = checkpoint.as_ref().map(checkpoint::read).transpose()?;
        let recipe = Self {
            origin: shown,
            folder: folder.to_path_buf(),
            name: run_name.to_owned(),
            seed,
            data: data::read(&data.ok_or_else(|| missing("data"))?)?,
            model: model::read(&model.ok_or_else(|| missing("model"))?)?,
            compile: compile::read(&compile.ok_or_else(|| missing("compile"))?, registry)?,
            fit: fit::read(&fit.ok_or_else(|| missing("fit"))?)?,
            checkpoint: checkpoint.unwrap_or_default(),
            text: String::new(),
            registry: Arc::clone(registry),
            device: Device::flex(),
            stop: StopHandle::default(),
        };
        let recipe = Self { text: text.clone(), ..recipe };
        recipe.callbacks(Path::new(""))?;
        Ok(recipe)
    }

    /// Name of the run: its `name`, or the file's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Epochs planned.
    pub fn epochs(&self) -> usize {
        self.fit.epochs
    }

    /// Samples in a batch.
    pub fn batch_size(&self) -> usize {
        self.fit.batch_size
    }

    /// Whether the data comes from files, which may change, and not from inside the binary.
    pub fn reads_files(&self) -> bool {
        self.data.reads_files()
    }

    /// The recipe as used: with all changes, and with input paths that hold from anywhere.
    ///
    /// # Errors
    /// When the current folder is unknown, which relative paths need.
    pub fn to_toml(&self) -> Result<String> {
        let weights = self.weights_file()?;
        let paths = self.data.paths();
        if weights.is_none() && paths.is_empty() {
            return Ok(self.text.clone());
        }
        let mut document: DocumentMut = self.text.parse().map_err(Error::wrap)?;
        if let Some(weights) = weights {
            document["model"]["weights"] = toml_edit::value(weights.display().to_string());
        }
        for (key, path) in paths {
            let absolute = std::path::absolute(self.folder.join(path))?;
            document["data"][key] = toml_edit::value(absolute.display().to_string());
        }
        Ok(document.to_string())
    }

    /// The file of the initial weights, where the recipe names one; it may be gone.
    ///
    /// # Errors
    /// When the current folder is unknown, which relative paths need.
    pub fn weights_file(&self) -> Result<Option<PathBuf>> {
        let absolute = |file| std::path::absolute(self.folder.join(file)).map_err(Error::from);
        self.model.weights.as_ref().map(absolute).transpose()
    }

    /// The same recipe for a run that goes on from a checkpoint, which has all weights: the file of
    /// the initial ones is not read, and [`checkpoints`](Self::checkpoints) do not describe it.
    pub fn without_weights_file(mut self) -> Self {
        self.model.leaves_weights_out = true;
        self
    }

    /// The same recipe with its data read as `preparation` says, that of a run whose weights are
    /// used: classes, columns, fillings, axes and scale are those that the weights were trained on,
    /// whatever the files hold by now.
    ///
    /// # Example
    /// ```
    /// use refrain::Recipe;
    ///
    /// let recipe = Recipe::builtin(&[])?;
    /// let preparation = recipe.load_data()?.preparation().clone();
    /// let recipe = recipe.prepared_as(preparation.clone());
    /// assert_eq!(*recipe.load_data()?.preparation(), preparation);
    /// # Ok::<(), refrain::Error>(())
    /// ```
    pub fn prepared_as(mut self, preparation: Preparation) -> Self {
        self.data.prepared = Some(Box::new(preparation));
        self
    }

    /// The same recipe with its model on `device`, where it is trained and evaluated. Default: the CPU,
    /// whatever else was compiled in. It is no part of the recipe's text: a run may be resumed on
    /// another device, with numbers that are rounded otherwise.
    ///
    /// # Example
    /// ```
    /// use refrain::{Recipe, device};
    ///
    /// // With the Cargo feature `cuda` also `cuda`.
    /// let recipe = Recipe::builtin(&[])?.device(&device("cpu")?);
    /// let trainer = recipe.trainer(&recipe.load_data()?)?;
    /// # Ok::<(), refrain::Error>(())
    /// ```
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// Whether both recipes read the same kind of files with the same options, so that what
    /// [prepares](Self::prepared_as) the data of one does for the other.
    pub fn reads_data_as(&self, other: &Self) -> bool {
        let of_loss = |recipe: &Self| {
            let loss = &recipe.compile.loss;
            (targets::takes_labels(loss), targets::compares_numbers(loss))
        };
        self.data.reads_as(&other.data) && of_loss(self) == of_loss(other)
    }

    /// Whether the recipe names a file of initial weights that is
    /// [not read](Self::without_weights_file).
    pub fn leaves_weights_out(&self) -> bool {
        self.model.weights.is_some() && self.model.leaves_weights_out
    }

    /// Loads the data.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_data(&self) -> Result<RecipeData> {
        self.load_data_with(true, &self.stop)
    }

    /// Breaks off the reading of data, whatever it is read for, where `stop` is stopped: what was half
    /// converted is removed.
    pub fn stop_with(mut self, stop: &StopHandle) -> Self {
        self.stop = stop.clone();
        self
    }

    /// As [`load_data`](Self::load_data). `is_verbose`: whether a download shows its progress, on
    /// standard error. `stop` ends one.
    ///
    /// # Errors
    /// As [`load_data`](Self::load_data).
    pub fn load_data_with(&self, is_verbose: bool, stop: &StopHandle) -> Result<RecipeData> {
        self.data.load(&self.loading(is_verbose, stop))
    }

    fn loading<'a>(&'a self, is_verbose: bool, stop: &'a StopHandle) -> data::Loading<'a> {
        data::Loading {
            folder: &self.folder,
            targets_are_classes: targets::takes_labels(&self.compile.loss),
            targets_are_numbers: targets::compares_numbers(&self.compile.loss),
            is_verbose,
            stop,
        }
    }

    /// What is known of the data without loading or downloading it: the number of training samples,
    /// those among them that a `validation_split` holds out, and the axes of one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn data_shape(&self) -> Result<(usize, Vec<usize>)> {
        self.data.shape(&self.loading(false, &self.stop))
    }

    /// The recipe's callbacks, in order. What they write goes into `folder`.
    ///
    /// # Errors
    /// When a name or an option is wrong.
    pub fn callbacks(&self, folder: &Path) -> Result<Vec<Box<dyn Callback>>> {
        let document = reader::parse(&self.origin, &self.text)?;
        let root = document.root()?;
        let Some(list) = root.get("callbacks") else {
            return Ok(Vec::new());
        };
        let context = BuildContext { folder };
        let build = |(i, item)| {
            checkpoint::refuse_callback(item, &self.registry)?;
            self.registry.callbacks.build(item, i, &context)
        };
        list.items()?.iter().enumerate().map(build).collect()
    }

    /// The files that the recipe's callbacks write into `folder`.
    ///
    /// # Errors
    /// As [`callbacks`](Self::callbacks).
    pub fn outputs(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let callbacks = self.callbacks(folder)?;
        Ok(callbacks.iter().flat_map(|callback| callback.access().files().to_vec()).collect())
    }

    /// What is in `folder` now under names that templates of the recipe's callbacks make, such as
    /// `weights-{epoch:02d}.safetensors`.
    ///
    /// # Errors
    /// As [`callbacks`](Self::callbacks), and when a folder cannot be read.
    pub fn outputs_of_templates(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for callback in self.callbacks(folder)? {
            found.extend(callback.access().files_of_templates(&Files::default())?);
        }
        Ok(found)
    }

    /// The model with its optimizer, loss and metrics, and without callbacks.
    ///
    /// # Errors
    /// When the layers do not fit the data or each other, or the weights not the layers.
    pub fn trainer(&self, data: &RecipeData) -> Result<Trainer<RecipeLearner>> {
        let model = self.outline(data)?;
        // Before the first batch, and before anything is written or allocated.
        self.check_loss(data, model.output_shape()).map_err(|e| e.context(&self.origin))?;
        let mut findings = self.metric_findings(data, model.output_shape());
        findings.extend(self.ignored_findings(data));
        let outline = self.trainer_of(model)?;
        findings.extend(self.memory_finding(outline.learner(), data)?);
        if let Some(finding) = findings.iter().find(|finding| finding.severity == Severity::Error) {
            return Err(Error::config(finding.to_string()).context(&self.origin));
        }
        let mut trainer = self.trainer_of(self.build(data)?)?;
        self.read_weights(&mut trainer).map_err(|e| self.in_place(check::WEIGHTS, e))?;
        Ok(trainer)
    }

    /// Trains `model`, this recipe's.
    fn trainer_of(&self, model: Sequential) -> Result<Trainer<RecipeLearner>> {
        let mut optimizer = self.optimizer()?;
        let rate = optimizer.take_learning_rate();
        let output_shape = model.output_shape();
        let metrics = self.compile.metrics_of(output_shape).map(|(metric, _)| metric);
        let metrics: Vec<_> = metrics.collect();
        let loss = self.compile.loss_of(output_shape);
        let learner = BurnLearner::new(model, optimizer, loss);
        let mut trainer = Trainer::new(learner, rate).seed(self.seed);
        for metric in metrics {
            trainer = trainer.metric(metric);
        }
        Ok(trainer)
    }

    /// Gives the model the weights of the recipe's file, where it has one.
    ///
    /// # Errors
    /// A configuration error, whatever is wrong: the recipe names a file that does not do.
    fn read_weights(&self, trainer: &mut Trainer<RecipeLearner>) -> Result {
        let Some(weights) = self.model.read_weights() else {
            return Ok(());
        };
        let loaded = trainer.load_weights(self.folder.join(weights));
        loaded.map_err(|error| match error.is_config() {
            true => error,
            false => Error::config(error.to_string()).with_source(error),
        })
    }

    /// Adds line and column of what stands under a dotted path.
    fn in_place(&self, path: &str, error: Error) -> Error {
        let place = || {
            let document = reader::parse(&self.origin, &self.text).ok()?;
            Some(document.place(reader::find(document.node(), path)?.at))
        };
        match place() {
            Some(place) => error.in_text(&self.origin, place),
            None => error.context(&self.origin),
        }
    }

    /// The optimizer with its learning rate, new.
    fn optimizer(&self) -> Result<Box<dyn Optimizer>> {
        let document = reader::parse(&self.origin, &self.text)?;
        let section = document.root()?.section("compile")?;
        let section = section.ok_or_else(|| Error::config("[compile] is missing"))?;
        Ok(compile::optimizer(&section)?.0)
    }

    /// The learning rate: a number or a schedule.
    fn learning_rate(&self) -> Result<Rate> {
        Ok(self.optimizer()?.take_learning_rate())
    }

    /// What is known of the run before it begins.
    fn plan(&self) -> Result<RunPlan> {
        let data = self.load_data()?;
        self.fit(&data).plan(&data)
    }

    /// Options of `fit` on `data`, the recipe's own.
    pub fn fit<'a>(&self, data: &'a RecipeData) -> RecipeFit<'a> {
        let fit = self.fit.options(self.data.validation_split);
        match data.validation_data() {
            Some(test) => fit.validation_data(test),
            None => fit,
        }
    }
}

/// Whether `name` can name a folder everywhere.
fn is_run_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    (1..=100).contains(&name.len())
        && !name.starts_with('.')
        && name.trim() == name
        && name.chars().all(is_allowed)
}

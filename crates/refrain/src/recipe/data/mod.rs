//! `[data]`: where the samples come from, and what is held out.

mod arrays;
mod preparation;
mod read;

use std::path::{Path, PathBuf};

use refrain_burn::{AnyTensor, ArrayDataset, Batch, Targets};
use refrain_core::{Dataset, Error, Part, Result, StopHandle, validation_split_at};
use refrain_data::{
    ArrayFile, CsvBatch, CsvOptions, CsvReader, CsvTable, Download, LabelledFiles, MnistFiles,
    Target, cache_folder,
};

use arrays::{ArrayPreparation, Parts, Reading, no_rows, with_targets};
use read::{CsvSource, NpzSource, Source};

pub use preparation::Preparation;
pub(super) use read::{Data, read};

/// Samples as a recipe's model takes them.
pub type RecipeSamples = ArrayDataset<AnyTensor, Targets>;

/// The data of a recipe: what is trained on, what is held out, and the source's own test part.
///
/// As a [`Dataset`] it is what `fit` gets together with [`Recipe::fit`](crate::Recipe::fit): all
/// training samples, with those at their end that a `validation_split` holds out.
///
/// # Example
/// ```
/// use refrain::{Dataset as _, Recipe};
///
/// let data = Recipe::builtin(&[])?.load_data()?;
/// assert_eq!((data.len(), data.train().len()), (1797, 1437));
/// assert_eq!(data.validation().map(|part| part.len()), Some(360));
/// assert!(data.test().is_none());
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Debug)]
pub struct RecipeData {
    samples: RecipeSamples,
    test: Option<RecipeSamples>,
    held_out: HeldOut,
    preparation: Preparation,
    /// Why a test part that was begun is not used.
    half_test: Option<String>,
}

/// What a run is validated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldOut {
    Nothing,
    /// The samples from this one on.
    Tail(usize),
    Test,
}

impl RecipeData {
    /// What the model is trained on.
    pub fn train(&self) -> Part<'_, RecipeSamples> {
        let end = match self.held_out {
            HeldOut::Tail(first) => first,
            HeldOut::Nothing | HeldOut::Test => self.samples.len(),
        };
        part(&self.samples, 0, end)
    }

    /// What the run is validated on: the tail that `validation_split` holds out, or the test part
    /// with `validation = "test"`. `None`: the recipe has neither.
    pub fn validation(&self) -> Option<Part<'_, RecipeSamples>> {
        match self.held_out {
            HeldOut::Nothing => None,
            HeldOut::Tail(first) => Some(part(&self.samples, first, self.samples.len())),
            HeldOut::Test => self.test(),
        }
    }

    /// The source's own test part, where it has one.
    pub fn test(&self) -> Option<Part<'_, RecipeSamples>> {
        self.test.as_ref().map(|test| part(test, 0, test.len()))
    }

    /// The test part where it is what the run is validated on.
    pub(super) fn validation_data(&self) -> Option<&RecipeSamples> {
        self.test.as_ref().filter(|_| self.held_out == HeldOut::Test)
    }

    /// Why a test part that was begun is not used.
    pub(super) fn half_test(&self) -> Option<&str> {
        self.half_test.as_deref()
    }

    /// How the data became what the model takes.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// The axes of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        self.samples.sample_shape()
    }

    /// Number of classes, where samples have labels: the largest label plus 1.
    pub fn classes(&self) -> Option<usize> {
        let test = self.test.as_ref().and_then(ArrayDataset::classes);
        self.samples.classes().max(test)
    }

    /// Axes of a sample's targets; `None` where there are class labels.
    pub(super) fn target_shape(&self) -> Option<&[usize]> {
        self.samples.target_shape()
    }

    /// Memory that all samples take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let test = self.test.as_ref().map_or(0, ArrayDataset::bytes);
        self.samples.bytes().saturating_add(test)
    }

    /// Checks all labels against the number of a model's outputs.
    ///
    /// # Errors
    /// When a label has no output, naming label, sample and outputs.
    pub fn check_labels(&self, outputs: usize) -> Result {
        self.samples.check_labels(outputs)?;
        self.test.as_ref().map_or(Ok(()), |test| {
            test.check_labels(outputs).map_err(|e| e.context("the test part"))
        })
    }

    /// The same, where samples of one label are left out.
    pub(super) fn check_labels_but(&self, outputs: usize, ignored: i64) -> Result {
        self.samples.check_labels_but(outputs, ignored)?;
        self.test.as_ref().map_or(Ok(()), |test| {
            test.check_labels_but(outputs, ignored).map_err(|e| e.context("the test part"))
        })
    }

    /// Checks all rows of targets as labels of steps, as
    /// [`ArrayDataset::check_step_labels`].
    ///
    /// # Errors
    /// When one is no class, naming number, sample and outputs.
    pub fn check_step_labels(&self, outputs: usize, ignored: Option<i64>) -> Result {
        self.samples.check_step_labels(outputs, ignored)?;
        self.test.as_ref().map_or(Ok(()), |test| {
            test.check_step_labels(outputs, ignored).map_err(|e| e.context("the test part"))
        })
    }

    /// Checks all targets as labels of whole sequences, as
    /// [`ArrayDataset::check_label_sequences`].
    ///
    /// # Errors
    /// When a sample's cannot be read off so many steps, naming it.
    pub fn check_label_sequences(&self, steps: usize, classes: usize) -> Result {
        self.samples.check_label_sequences(steps, classes)?;
        self.test.as_ref().map_or(Ok(()), |test| {
            test.check_label_sequences(steps, classes).map_err(|e| e.context("the test part"))
        })
    }

    /// Whether all that is trained on has this one label, and all that the run is validated on.
    pub(super) fn have_only(&self, label: i64) -> (bool, bool) {
        let (samples, trained) = (&self.samples, self.train().len());
        let held_out = match self.held_out {
            HeldOut::Nothing => false,
            HeldOut::Tail(first) => samples.have_only(label, first..samples.len()),
            HeldOut::Test => {
                self.test.as_ref().is_some_and(|test| test.have_only(label, 0..test.len()))
            }
        };
        (samples.have_only(label, 0..trained), held_out)
    }

    /// A hash of all samples that a run trains on or is validated on, as
    /// [`ArrayDataset::fingerprint`].
    pub fn fingerprint(&self) -> String {
        let mut fingerprint = self.samples.fingerprint();
        if let Some(test) = self.validation_data() {
            fingerprint = format!("{fingerprint} {}", test.fingerprint());
        }
        fingerprint
    }
}

/// A stretch that is known to be there.
fn part(samples: &RecipeSamples, first: usize, end: usize) -> Part<'_, RecipeSamples> {
    Part::new(samples, first..end).unwrap_or_else(|_| Part::all(samples))
}

impl Dataset for RecipeData {
    type Batch = Batch<AnyTensor, Targets>;

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Self::Batch> {
        self.samples.batch(indices)
    }

    fn prefetch(&self, next: &[usize]) {
        self.samples.prefetch(next);
    }

    fn class(&self, index: usize) -> Option<usize> {
        self.samples.class(index)
    }
}

/// What loading needs to know beside `[data]`.
pub(super) struct Loading<'a> {
    /// Relative paths are relative to it.
    pub(super) folder: &'a Path,
    /// Whether the loss takes classes.
    pub(super) targets_are_classes: bool,
    /// Whether the loss takes numbers alone.
    pub(super) targets_are_numbers: bool,
    /// Whether a download shows its progress.
    pub(super) is_verbose: bool,
    /// Breaks off downloads, and reading and converting files.
    pub(super) stop: &'a StopHandle,
}

impl Loading<'_> {
    /// A path of the recipe.
    fn at(&self, path: &Path) -> PathBuf {
        match self.folder == Path::new(".") {
            // As it was written, for messages.
            true => path.to_owned(),
            false => self.folder.join(path),
        }
    }
}

/// Samples as they were loaded.
struct Loaded {
    samples: RecipeSamples,
    test: Option<RecipeSamples>,
    preparation: Preparation,
    half_test: Option<String>,
}

impl Data {
    /// Loads the samples.
    pub(super) fn load(&self, loading: &Loading<'_>) -> Result<RecipeData> {
        let Loaded { samples, test, preparation, half_test } = match &self.source {
            Source::Digits => digits()?,
            Source::Published { which, path, mirrors } => {
                let folder = match path {
                    Some(path) => loading.at(path),
                    None => {
                        let download = Download::from(mirrors.clone())
                            .stop_with(loading.stop)
                            .verbose(loading.is_verbose);
                        which.fetch(&download, &cache_folder()?)?
                    }
                };
                self.load_mnist(&folder, loading)?
            }
            Source::Csv(source) => self.load_csv(source, loading)?,
            Source::Npz(source) => self.load_npz(source, loading)?,
        };
        let held_out = match self.validation_split {
            Some(split) => HeldOut::Tail(validation_split_at(samples.len(), split)?),
            None if !self.validates_on_test => HeldOut::Nothing,
            None if test.is_some() => HeldOut::Test,
            None => {
                let lacks = match &self.source {
                    Source::Npz(_) if half_test.is_some() => {
                        half_test.map(|half| format!(": {half}")).unwrap_or_default()
                    }
                    Source::Npz(source) => format!(
                        ": `{}` needs both x_test and y_test",
                        loading.at(&source.path).display()
                    ),
                    Source::Published { path: Some(path), .. } => format!(
                        ": `{}` needs both t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte",
                        loading.at(path).display()
                    ),
                    _ => String::new(),
                };
                return Err(Error::data(format!(
                    "the data has no test part for validation = \"test\"{lacks}; give it one, or use \
                     validation_split = 0.2"
                )));
            }
        };
        Ok(RecipeData { samples, test, held_out, preparation, half_test })
    }

    fn load_mnist(&self, folder: &Path, loading: &Loading<'_>) -> Result<Loaded> {
        let files = MnistFiles::find(folder)?;
        let images = &files.train_files().images;
        let &[_, height, width] = images.shape() else {
            return Err(Error::data(format!("{} holds no images", images.label())));
        };
        let arrays = ArrayPreparation::grey_images(height, width, 255.0);
        let reading = self.reading(loading);
        let part = |files: &LabelledFiles| {
            let samples = arrays.samples(&files.images, &reading)?;
            with_targets(samples, &files.labels, true, loading.stop)
        };
        let samples = part(files.train_files())?;
        let test = files.test_files().map(part).transpose()?;
        Ok(Loaded { samples, test, preparation: Preparation::arrays(arrays), half_test: None })
    }

    fn load_npz(&self, source: &NpzSource, loading: &Loading<'_>) -> Result<Loaded> {
        let parts = Parts::find(&loading.at(&source.path))?;
        let arrays = self.arrays(source, &parts.train.0)?;
        let reading = self.reading(loading);
        let part = |(x, y): &(ArrayFile, ArrayFile)| {
            let samples = arrays.samples(x, &reading)?;
            with_targets(samples, y, loading.targets_are_classes, loading.stop)
        };
        let samples = part(&parts.train)?;
        let test = parts.test.as_ref().map(part).transpose()?;
        if let (Some(test), Some((_, y))) = (&test, &parts.test)
            && test.target_shape() != samples.target_shape()
        {
            let kind = |samples: &RecipeSamples| match samples.target_shape() {
                Some(shape) => format!("targets of the shape {shape:?}"),
                None => "class labels".to_owned(),
            };
            return Err(Error::data(format!(
                "{} holds {}, and {} {}; the test part needs targets as the training part's",
                y.label(),
                kind(test),
                parts.train.1.label(),
                kind(&samples)
            )));
        }
        let (preparation, half_test) = (Preparation::arrays(arrays), parts.half_test);
        Ok(Loaded { samples, test, preparation, half_test })
    }

    fn load_csv(&self, source: &CsvSource, loading: &Loading<'_>) -> Result<Loaded> {
        let path = loading.at(&source.path);
        let (table, rows) = self.table(source, &path, loading)?;
        let reading = self.reading(loading);
        let samples = table_samples(&table, &path, rows, &reading)?;
        let test = source.test_path.as_ref().map(|test| {
            let test = loading.at(test);
            let rows = table.count_rows(&test, loading.stop)?;
            table_samples(&table, &test, rows, &reading)
        });
        let (test, preparation) = (test.transpose()?, Preparation::table(table));
        Ok(Loaded { samples, test, preparation, half_test: None })
    }

    /// What becomes of the rows of `x`.
    fn arrays(&self, source: &NpzSource, x: &ArrayFile) -> Result<ArrayPreparation> {
        match self.prepared.as_deref().and_then(Preparation::as_arrays) {
            Some(arrays) => Ok(arrays.clone()),
            None => ArrayPreparation::of(x, source.scale, source.image_data_format),
        }
    }

    /// Whether files are read in the same way, wherever they are.
    pub(super) fn reads_as(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (Source::Csv(a), Source::Csv(b)) => {
                // What becomes of an unknown text changes no column: it may be said later.
                let options = CsvOptions { unknown: b.options.unknown, ..a.options.clone() };
                options == b.options
            }
            (Source::Npz(a), Source::Npz(b)) => {
                (a.scale, a.image_data_format) == (b.scale, b.image_data_format)
            }
            _ => false,
        }
    }

    /// What the columns of the training file are, and how many rows it has.
    fn table(
        &self,
        source: &CsvSource,
        path: &Path,
        loading: &Loading<'_>,
    ) -> Result<(CsvTable, usize)> {
        if let Some(table) = self.prepared.as_deref().and_then(Preparation::as_table) {
            let table = table.clone().unknown(source.options.unknown);
            let rows = table.count_rows(path, loading.stop)?;
            return Ok((table, rows));
        }
        let options = CsvOptions {
            targets_are_classes: loading.targets_are_classes,
            targets_are_numbers: loading.targets_are_numbers,
            ..source.options.clone()
        };
        CsvTable::infer_with(path, &options, self.validation_split, loading.stop)
    }

    fn reading<'a>(&self, loading: &Loading<'a>) -> Reading<'a> {
        Reading { in_memory: self.in_memory, is_verbose: loading.is_verbose, stop: loading.stop }
    }

    /// What is known of the data without loading it: the number of samples for training, with those
    /// that are held out of them, and the axes of one.
    pub(super) fn shape(&self, loading: &Loading<'_>) -> Result<(usize, Vec<usize>)> {
        let of_array = |arrays: &ArrayPreparation, array: &ArrayFile| {
            (array.shape().first().copied().unwrap_or(0), arrays.sample_shape.clone())
        };
        match &self.source {
            Source::Published { which, path: None, .. } => Ok((which.samples().0, vec![1, 28, 28])),
            Source::Published { path: Some(path), .. } => {
                let files = MnistFiles::find(&loading.at(path))?;
                let images = &files.train_files().images;
                let shape = images.shape();
                let side = |axis| shape.get(axis).copied().unwrap_or(0);
                Ok(of_array(&ArrayPreparation::grey_images(side(1), side(2), 255.0), images))
            }
            Source::Npz(source) => {
                let x = Parts::find(&loading.at(&source.path))?.train.0;
                let arrays = self.arrays(source, &x)?;
                Ok(of_array(&arrays, &x))
            }
            Source::Csv(source) => {
                let path = loading.at(&source.path);
                let (table, rows) = self.table(source, &path, loading)?;
                Ok((rows, vec![table.width()]))
            }
            Source::Digits => {
                let digits = refrain_data::digits()?;
                Ok((digits.len(), digits.shape.to_vec()))
            }
        }
    }

    /// Bytes that the inputs of so many samples take in memory, by their shape; 0 where they are read
    /// from the disk in parts.
    pub(super) fn bytes_in_memory(&self, samples: usize, sample_shape: &[usize]) -> u64 {
        let numbers =
            sample_shape.iter().fold(samples as u64, |n, &axis| n.saturating_mul(axis as u64));
        let stop = &StopHandle::default();
        let reading = Reading { in_memory: self.in_memory, is_verbose: false, stop };
        if reading.fits("", numbers) { numbers.saturating_mul(size_of::<f32>() as u64) } else { 0 }
    }

    pub(super) fn reads_files(&self) -> bool {
        !matches!(self.source, Source::Digits)
    }

    /// The paths that a recipe names, by their keys.
    pub(super) fn paths(&self) -> Vec<(&'static str, &Path)> {
        match &self.source {
            Source::Digits | Source::Published { path: None, .. } => Vec::new(),
            Source::Published { path: Some(path), .. } => vec![("path", path)],
            Source::Npz(source) => vec![("path", &source.path)],
            Source::Csv(source) => {
                let test = source.test_path.iter().map(|path| ("test_path", path.as_path()));
                std::iter::once(("path", source.path.as_path())).chain(test).collect()
            }
        }
    }

    /// Keys that say where data is, not what it is: the data itself is compared.
    pub(super) const PLACES: [&str; 4] =
        ["data.path", "data.test_path", "data.url", "data.in_memory"];
}

/// The `rows` rows of a table as samples.
fn table_samples(
    table: &CsvTable,
    path: &Path,
    rows: usize,
    reading: &Reading<'_>,
) -> Result<RecipeSamples> {
    let numbers = (rows as u64).saturating_mul(table.width() as u64);
    let shape = [table.width()];
    let label = format!("`{}`", path.display());
    if rows == 0 {
        return Err(no_rows(&label));
    }
    let (samples, targets) = if reading.fits(&label, numbers) {
        let mut reader = CsvReader::open(table, path)?.stop_with(reading.stop);
        let CsvBatch { inputs, targets, .. } = reader.next_rows(usize::MAX)?;
        (ArrayDataset::new(&shape, inputs)?, targets)
    } else {
        let (rows, targets) = reading.converted()?.csv(table, path)?;
        (ArrayDataset::from_rows_with(&shape, rows, reading.stop)?, targets)
    };
    match &table.target {
        Target::None => Ok(samples),
        Target::Names { .. } | Target::Labels { .. } => {
            samples.labels(targets.iter().map(|&class| class as i64))
        }
        Target::Numbers { columns, .. } => samples.targets(&[columns.len()], targets),
    }
}

fn digits() -> Result<Loaded> {
    let digits = refrain_data::digits()?;
    let [_, height, width] = digits.shape;
    Ok(Loaded {
        samples: ArrayDataset::new(&digits.shape, digits.pixels)?.labels(digits.labels)?,
        test: None,
        preparation: Preparation::arrays(ArrayPreparation::grey_images(height, width, 16.0)),
        half_test: None,
    })
}

//! What was done to the data that a model was trained on, so that the same is done to what it predicts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use refrain_burn::ArrayDataset;
use refrain_core::files::Files;
use refrain_core::{Error, Result, list_names};
use refrain_data::{ArrayFile, CsvReader, CsvTable};
use serde::{Deserialize, Serialize};

use super::RecipeSamples;
use super::arrays::ArrayPreparation;

/// A file of this is longer than any.
const MAX_BYTES: u64 = 1 << 26;
const FORMAT: u32 = 1;

/// How data becomes the inputs of a model: the shape of a sample; columns, categories and fillings of
/// tables; axes and scale of images. A run keeps it as `data.json`, and needs no training data to
/// predict.
///
/// # Example
/// ```
/// use refrain::{Preparation, Recipe};
///
/// let data = Recipe::builtin(&[])?.load_data()?;
/// let preparation = data.preparation();
/// assert_eq!(preparation.sample_shape(), [1, 8, 8]);
/// assert_eq!(Preparation::from_json(&preparation.to_json()?)?, *preparation);
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preparation {
    format: u32,
    inputs: Inputs,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Inputs {
    Arrays(ArrayPreparation),
    Table { sample_shape: [usize; 1], table: CsvTable },
}

impl Preparation {
    pub(super) fn arrays(arrays: ArrayPreparation) -> Self {
        Self { format: FORMAT, inputs: Inputs::Arrays(arrays) }
    }

    pub(super) fn table(table: CsvTable) -> Self {
        let sample_shape = [table.width()];
        Self { format: FORMAT, inputs: Inputs::Table { sample_shape, table } }
    }

    /// The columns, where the data is a table.
    pub(super) fn as_table(&self) -> Option<&CsvTable> {
        match &self.inputs {
            Inputs::Table { table, .. } => Some(table),
            Inputs::Arrays(_) => None,
        }
    }

    /// Axes and scale, where the data is arrays.
    pub(super) fn as_arrays(&self) -> Option<&ArrayPreparation> {
        match &self.inputs {
            Inputs::Arrays(arrays) => Some(arrays),
            Inputs::Table { .. } => None,
        }
    }

    /// The axes of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        match &self.inputs {
            Inputs::Arrays(arrays) => &arrays.sample_shape,
            Inputs::Table { sample_shape, .. } => sample_shape,
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never, as things are.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// From JSON.
    ///
    /// # Errors
    /// When it is none of a preparation.
    pub fn from_json(json: &str) -> Result<Self> {
        let preparation: Self = serde_json::from_str(json).map_err(|error| {
            Error::data(format!("it does not say how data becomes inputs: {error}"))
        })?;
        let format = preparation.format;
        if format != FORMAT {
            return Err(Error::data(format!(
                "it has the format {format}, and this version of Refrain reads {FORMAT}"
            )));
        }
        if let Inputs::Arrays(arrays) = &preparation.inputs {
            arrays.check_self()?;
        }
        if let Inputs::Table { sample_shape: [width], table } = &preparation.inputs
            && *width != table.width()
        {
            return Err(Error::data(format!(
                "it claims samples of {width} numbers, and its columns make {}",
                table.width()
            )));
        }
        Ok(preparation)
    }

    /// Reads a file of [`to_json`](Self::to_json).
    ///
    /// # Errors
    /// When it cannot be read, or holds something else; naming it.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = Files::default().read(path, MAX_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        Self::from_json(&text).map_err(|error| error.context(format!("`{}`", path.display())))
    }

    /// Reads inputs from a file and hands them to `f` as samples, at most so many at a time, in order.
    ///
    /// CSV: a table has the columns of the training data, in any order, with or without the targets;
    /// for a model of arrays, the numbers of a sample in a line, as the model takes them, with or
    /// without a header. NPY, and NPZ with one array or with `x` or `x_test`: rows as in the training
    /// data, or samples as the model takes them.
    ///
    /// # Errors
    /// When the file cannot be read, or does not fit the model, naming line and column, or both shapes;
    /// when a number is NaN or infinite, naming row and column.
    pub fn each_batch(
        &self,
        path: &Path,
        most: usize,
        mut f: impl FnMut(RecipeSamples) -> Result,
    ) -> Result {
        match (Format::of(path)?, &self.inputs) {
            (Format::Csv, Inputs::Table { table, .. }) => {
                self.each_of_table(table, path, most, 1.0, f)
            }
            (Format::Csv, Inputs::Arrays(arrays)) => {
                let width = self.sample_shape().iter().product();
                let table = CsvTable::of_numbers(path, width)?;
                let divisor = match arrays.scale() {
                    Some(divisor) if holds_bytes(&table, path, most)? => divisor,
                    _ => 1.0,
                };
                self.each_of_table(&table, path, most, divisor, f)
            }
            (Format::Npy, _) => self.each_of_array(&ArrayFile::open_npy(path)?, most, &mut f),
            (Format::Npz, _) => {
                let names = ArrayFile::names_in_npz(path)?;
                let named = |name: &str| names.iter().find(|there| *there == name);
                let only = names.first().filter(|_| names.len() == 1);
                let inputs = only.or_else(|| named("x")).or_else(|| named("x_test"));
                let found = match inputs {
                    Some(inputs) => ArrayFile::open_npz(path, |name| name == inputs)?,
                    None => Vec::new(),
                };
                let array = found.first().ok_or_else(|| {
                    let way_out = match named("x_train") {
                        Some(_) => "to predict x_train, save it alone, or as x",
                        None => "give one array, or name that of the inputs x",
                    };
                    Error::data(format!(
                        "`{}` has the arrays {}, and neither x nor x_test; {way_out}",
                        path.display(),
                        list_names(&names)
                    ))
                })?;
                self.each_of_array(array, most, &mut f)
            }
        }
    }

    fn each_of_table(
        &self,
        table: &CsvTable,
        path: &Path,
        most: usize,
        divisor: f32,
        mut f: impl FnMut(RecipeSamples) -> Result,
    ) -> Result {
        let mut reader = CsvReader::inputs(table, path)?;
        loop {
            let mut batch = reader.next_rows(most)?;
            if batch.rows == 0 {
                return Ok(());
            }
            if divisor != 1.0 {
                batch.inputs.iter_mut().for_each(|value| *value /= divisor);
            }
            f(ArrayDataset::new(self.sample_shape(), batch.inputs)?)?;
        }
    }

    fn each_of_array(
        &self,
        array: &ArrayFile,
        most: usize,
        f: &mut dyn FnMut(RecipeSamples) -> Result,
    ) -> Result {
        let arrays = match &self.inputs {
            Inputs::Arrays(arrays) => arrays,
            Inputs::Table { sample_shape: [width], .. } => &ArrayPreparation::rows(*width),
        };
        let is_as_trained = arrays.check(array)?;
        array.clone().finite_only().each_rows(most, |mut values| {
            arrays.prepare(array, &mut values, is_as_trained);
            f(ArrayDataset::new(&arrays.sample_shape, values)?)
        })
    }
}

/// Whether a table holds values of pixels: whole numbers from 0 to 255, throughout, and not only 0 and
/// 1, which are as likely scaled already. It is read up to the first that is none.
fn holds_bytes(table: &CsvTable, path: &Path, most: usize) -> Result<bool> {
    let mut reader = CsvReader::inputs(table, path)?;
    let mut is_above_one = false;
    loop {
        // What is wrong with a line is said when it is predicted, after the lines before it.
        let Ok(batch) = reader.next_rows(most) else {
            return Ok(is_above_one);
        };
        if batch.rows == 0 {
            return Ok(is_above_one);
        }
        if batch.inputs.iter().any(|x| !(0.0..=255.0).contains(x) || x.fract() != 0.0) {
            return Ok(false);
        }
        is_above_one |= batch.inputs.iter().any(|x| *x > 1.0);
    }
}

/// What a file of inputs is, by its first bytes, else by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Npy,
    Npz,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let failed = |e| Error::file("read", path, e);
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(Error::data(format!("`{}` is no file", path.display())));
        }
        let mut start = Vec::new();
        File::open(path).map_err(failed)?.take(6).read_to_end(&mut start).map_err(failed)?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        Ok(match (start.as_slice(), extension) {
            (b"\x93NUMPY", _) => Self::Npy,
            ([b'P', b'K', 3, 4, ..], _) => Self::Npz,
            (_, Some("npy")) => Self::Npy,
            (_, Some("npz")) => Self::Npz,
            (_, Some("csv")) => Self::Csv,
            // No text begins so: other arrays, a picture, something compressed.
            (start, _) if start.starts_with(b"\x1f\x8b") || start.contains(&0) => {
                return Err(Error::data(format!(
                    "`{}` is no file of inputs; allowed: a table (.csv) or arrays of numpy (.npy, \
                     .npz)",
                    path.display()
                )));
            }
            _ => Self::Csv,
        })
    }
}

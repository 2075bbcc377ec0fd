//! Arrays as samples: which axes they get, by what they are divided, and what they are trained
//! towards.

use std::path::Path;

use refrain_burn::ArrayDataset;
use refrain_core::console::Console;
use refrain_core::{Error, Result, StopHandle, list_names};
use refrain_data::{Array, ArrayFile, Converted, FileRows, cache_folder, to_channels_first};
use serde::{Deserialize, Serialize};

use super::RecipeSamples;
use crate::recipe::MemoryLimit;
use crate::recipe::memory::Bytes;

/// More channels than an image has.
const MOST_CHANNELS: usize = 4;

/// Where the channels of images are in their file, with Keras' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ImageDataFormat {
    ChannelsFirst,
    ChannelsLast,
}

/// How arrays become samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ArrayPreparation {
    /// The axes of a row in the file.
    pub(super) row_shape: Vec<usize>,
    /// The axes of a sample.
    pub(super) sample_shape: Vec<usize>,
    channels_last: bool,
    /// What numbers are divided by.
    divisor: Option<f32>,
    /// Whether that goes for whole numbers alone: others are scaled already.
    divides_integers_only: bool,
}

impl ArrayPreparation {
    /// Images `[height, width]` of bytes up to `divisor`, as samples `[1, height, width]` up to 1.
    pub(super) fn grey_images(height: usize, width: usize, divisor: f32) -> Self {
        Self {
            row_shape: vec![height, width],
            sample_shape: vec![1, height, width],
            channels_last: false,
            divisor: Some(divisor),
            divides_integers_only: true,
        }
    }

    /// Rows of so many numbers, as they are.
    pub(super) fn rows(width: usize) -> Self {
        Self {
            row_shape: vec![width],
            sample_shape: vec![width],
            channels_last: false,
            divisor: None,
            divides_integers_only: true,
        }
    }

    /// What becomes of an array: bytes with two or three axes beside that of the samples are images,
    /// and three axes always are.
    pub(super) fn of(
        array: &ArrayFile,
        scale: Option<f32>,
        format: Option<ImageDataFormat>,
    ) -> Result<Self> {
        let [_, row_shape @ ..] = array.shape() else {
            return Err(Error::data(format!("{} is a single number", array.label())));
        };
        let is_bytes = array.element() == refrain_data::Element::U8;
        let (sample_shape, is_image, channels_last) = match *row_shape {
            [] => (vec![1], false, false),
            [h, w] if is_bytes || format.is_some() => (vec![1, h, w], true, false),
            [a, b, c] => match format.map_or_else(|| recognise(array, a, c), Ok)? {
                ImageDataFormat::ChannelsFirst => (vec![a, b, c], true, false),
                ImageDataFormat::ChannelsLast => (vec![c, a, b], true, true),
            },
            _ => (row_shape.to_vec(), false, false),
        };
        let scale_of_images = (is_bytes && is_image).then_some(255.0);
        Ok(Self {
            row_shape: row_shape.to_vec(),
            sample_shape,
            channels_last,
            divisor: scale.or(scale_of_images),
            divides_integers_only: scale.is_none(),
        })
    }

    /// Refuses what no data was prepared by.
    pub(super) fn check_self(&self) -> Result {
        let elements = |shape: &[usize]| {
            shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis)).filter(|n| *n > 0)
        };
        let (row, sample) = (elements(&self.row_shape), elements(&self.sample_shape));
        let is_divisor = self.divisor.is_none_or(|divisor| divisor.is_finite() && divisor > 0.0);
        if row.is_none() || row != sample || !is_divisor {
            let divided = self.divisor.map(|by| format!(" divided by {by}")).unwrap_or_default();
            return Err(Error::data(format!(
                "rows of {:?}{divided} do not make samples of {:?}",
                self.row_shape, self.sample_shape
            )));
        }
        Ok(())
    }

    /// Refuses an array whose rows are not as those that the model was trained on. True: they are as
    /// in the training data; false: they have the shape of samples already.
    pub(super) fn check(&self, array: &ArrayFile) -> Result<bool> {
        let row = array.shape().get(1..).unwrap_or_default();
        if row == self.row_shape {
            return Ok(true);
        }
        let elements: usize = self.sample_shape.iter().product();
        if !array.shape().is_empty() && (row == self.sample_shape || row == [elements]) {
            return Ok(false);
        }
        let also = match self.row_shape == self.sample_shape {
            true => String::new(),
            false => format!(", or samples of {:?}", self.sample_shape),
        };
        Err(Error::data(format!(
            "{} has the shape {:?}: rows of {row:?}, and the model takes rows of {:?}{also}",
            array.label(),
            array.shape(),
            self.row_shape
        )))
    }

    /// What whole numbers are divided by.
    pub(super) fn scale(&self) -> Option<f32> {
        self.divisor
    }

    fn divisor(&self, array: &ArrayFile) -> Option<f32> {
        let divides = array.element().is_integer() || !self.divides_integers_only;
        self.divisor.filter(|divisor| divides && *divisor != 1.0)
    }

    /// Axes of the images whose channels move.
    fn images(&self) -> Option<[usize; 3]> {
        <[usize; 3]>::try_from(self.row_shape.as_slice()).ok().filter(|_| self.channels_last)
    }

    /// Makes samples of numbers from `array`.
    pub(super) fn prepare(&self, array: &ArrayFile, values: &mut [f32], is_as_trained: bool) {
        if let Some(divisor) = self.divisor(array) {
            values.iter_mut().for_each(|value| *value /= divisor);
        }
        if let Some(shape) = self.images().filter(|_| is_as_trained) {
            to_channels_first(values, shape);
        }
    }

    /// The array's rows as samples, in memory or, where they are too large for it, on the disk.
    ///
    /// A number that is not finite is refused: in memory, and where the array is converted, at once;
    /// of rows that are read from the file as they are, when the row is read.
    pub(super) fn samples(
        &self,
        array: &ArrayFile,
        reading: &Reading<'_>,
    ) -> Result<RecipeSamples> {
        let is_as_trained = self.check(array)?;
        if array.shape().first() == Some(&0) {
            return Err(no_rows(&array.label()));
        }
        let array = &array.clone().finite_only().stop_with(reading.stop);
        let elements = array.shape().iter().fold(1, |n: u64, axis| n.saturating_mul(*axis as u64));
        if reading.fits(&array.label(), elements) {
            let Array { mut values, .. } = array.read()?;
            self.prepare(array, &mut values, is_as_trained);
            return ArrayDataset::new(&self.sample_shape, values);
        }
        let mut rows = match FileRows::open(array)? {
            Some(rows) => rows,
            None => reading.converted()?.array(array)?,
        };
        if let Some(divisor) = self.divisor(array) {
            rows = rows.divided_by(divisor);
        }
        if let Some(shape) = self.images().filter(|_| is_as_trained) {
            rows = rows.channels_last(shape)?;
        }
        ArrayDataset::from_rows_with(&self.sample_shape, rows, reading.stop)
    }
}

/// A part of the data that is there and empty.
pub(super) fn no_rows(label: &str) -> Error {
    Error::data(format!("{label} has no rows; put some into it, or leave it out"))
}

/// Where the axis of 1 to 4 channels is, if that can be told.
fn recognise(array: &ArrayFile, first: usize, last: usize) -> Result<ImageDataFormat> {
    let is_channels = |axis| (1..=MOST_CHANNELS).contains(&axis);
    match (is_channels(first), is_channels(last)) {
        (true, false) => Ok(ImageDataFormat::ChannelsFirst),
        (false, true) => Ok(ImageDataFormat::ChannelsLast),
        _ => Err(Error::data(format!(
            "{} has the shape {:?}, and it cannot be told where the channels are; say \
             image_data_format = \"channels_last\" or \"channels_first\", which leaves the axes as they \
             are",
            array.label(),
            array.shape()
        ))),
    }
}

/// How data is read: into memory or not.
pub(super) struct Reading<'a> {
    /// What the recipe says.
    pub(super) in_memory: Option<bool>,
    /// Whether it is said where data stays on the disk.
    pub(super) is_verbose: bool,
    /// Breaks it off.
    pub(super) stop: &'a StopHandle,
}

impl Reading<'_> {
    /// Whether so many numbers are to be held in memory: as the recipe says, else where they take at
    /// most half of what is available.
    pub(super) fn fits(&self, label: &str, numbers: u64) -> bool {
        let bytes = numbers.saturating_mul(size_of::<f32>() as u64);
        let fits = self.in_memory.unwrap_or_else(|| {
            MemoryLimit::of_process().is_none_or(|limit| bytes <= limit.available / 2)
        });
        if !fits && self.is_verbose {
            let size = Bytes(bytes);
            Console::stderr().print(&format!("{label}: {size} of numbers are read from the disk"));
        }
        fits
    }

    /// Where data is kept that had to be converted.
    pub(super) fn converted(&self) -> Result<Converted> {
        Ok(Converted::in_dir(cache_folder()?.join("converted")).stop_with(self.stop))
    }
}

/// Adds what the samples are trained towards: whole numbers in one column are classes where the loss
/// takes classes, and where they are of a type of whole numbers.
pub(super) fn with_targets(
    samples: RecipeSamples,
    targets: &ArrayFile,
    are_classes: bool,
    stop: &StopHandle,
) -> Result<RecipeSamples> {
    let array = targets.clone().finite_only().stop_with(stop).read()?;
    let Array { shape, element, values } = array;
    let row = shape.get(1..).unwrap_or_default();
    let is_column = matches!(row, [] | [1]);
    // Below 2²⁴ an f32 has every whole number.
    let is_class = |x: &f32| *x >= 0.0 && x.fract() == 0.0 && *x < 16_777_216.0;
    let are_labels = is_column
        && (are_classes || element.is_integer())
        && (are_classes && element.is_integer() || values.iter().all(is_class));
    let with = if are_labels {
        samples.labels(values.iter().map(|&x| x as i64))
    } else if row.is_empty() {
        samples.targets(&[1], values)
    } else {
        samples.targets(row, values)
    };
    with.map_err(|error| error.context(targets.label()))
}

/// Keras' names, and the short ones.
const NAMES: [&str; 6] = ["x_train", "y_train", "x_test", "y_test", "x", "y"];

/// The arrays of an NPZ archive, or of a folder of NPY files with their names.
fn open(path: &Path) -> Result<Vec<ArrayFile>> {
    if !path.is_dir() {
        return ArrayFile::open_npz(path, |name| NAMES.contains(&name));
    }
    let files = NAMES.map(|name| (name, path.join(format!("{name}.npy"))));
    let there = files.into_iter().filter(|(_, file)| file.exists());
    there.map(|(name, file)| Ok(ArrayFile::open_npy(&file)?.named(name))).collect()
}

/// The arrays by Keras' names.
pub(super) struct Parts {
    pub(super) train: (ArrayFile, ArrayFile),
    pub(super) test: Option<(ArrayFile, ArrayFile)>,
    /// Why a test part that was begun is none: `` `data.npz` has x_test and no y_test ``.
    pub(super) half_test: Option<String>,
}

impl Parts {
    pub(super) fn find(path: &Path) -> Result<Self> {
        let arrays = open(path)?;
        let find = |name: &str| arrays.iter().find(|array| array.name() == Some(name)).cloned();
        let pair = |x: &str, y: &str| Some((find(x)?, find(y)?));
        let train = pair("x_train", "y_train").or_else(|| pair("x", "y"));
        let train = train.ok_or_else(|| {
            let of_folder = || arrays.iter().filter_map(ArrayFile::name).map(str::to_owned);
            let names = ArrayFile::names_in_npz(path).unwrap_or_else(|_| of_folder().collect());
            Error::data(format!(
                "`{}` has no arrays x_train and y_train, nor x and y; it has {}",
                path.display(),
                match names.is_empty() {
                    true => "no array".to_owned(),
                    false => list_names(names),
                }
            ))
        })?;
        let half = match (find("x_test"), find("y_test")) {
            (Some(_), None) => Some("x_test and no y_test"),
            (None, Some(_)) => Some("y_test and no x_test"),
            _ => None,
        };
        let half_test = half.map(|half| format!("`{}` has {half}", path.display()));
        Ok(Self { train, test: pair("x_test", "y_test"), half_test })
    }
}

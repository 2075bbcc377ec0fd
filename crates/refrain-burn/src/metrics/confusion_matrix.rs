//! Which classes are taken for which.

use std::fmt;

use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};
use refrain_core::{Error, Result};

use super::{Metric, ratio};
use crate::targets::ClassRows;

/// How often each class was taken for each: a table over a set of predictions.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Int, Tensor};
/// use refrain_burn::metrics::ConfusionMatrix;
/// let outputs = [[0.9_f32, 0.1], [0.2, 0.8], [0.7, 0.3]];
/// let outputs = Tensor::<2>::from_data(outputs, &Device::flex());
/// let labels = Tensor::<1, Int>::from_data([0, 1, 1], &Device::flex());
/// let matrix = ConfusionMatrix::of(outputs, labels)?;
/// assert_eq!(matrix.count(1, 0), Some(1)); // One 1 was taken for a 0.
/// assert_eq!(matrix.recall(1), Some(0.5));
/// assert_eq!(matrix.to_string(), "actual \\ predicted  0  1\n                 0  1  0\n                 1  1  1\n");
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// By actual class, then by predicted class.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// The table of these predictions: `[samples, classes]` outputs, of which the largest is the
    /// prediction; one output: two classes, of which the second is above 0.5. What
    /// `trainer.predict` gives, for example.
    ///
    /// Cost: one read from the device.
    ///
    /// # Errors
    /// When outputs and targets do not fit each other, or the device cannot be read.
    pub fn of(outputs: Tensor<2>, targets: impl ClassRows) -> Result<Self> {
        targets.check_class_rows("confusion_matrix", outputs.dims())?;
        let classes = classes_of(&outputs);
        let data = cells(outputs, targets).sum_dim(0).try_into_data_dtype(DType::F64);
        let data = data.map_err(|error| {
            Error::engine("counts cannot be read from the device").with_source(error)
        })?;
        let sums = data.as_slice::<f64>().map_err(|error| {
            Error::engine(format!("counts read from the device are no numbers: {error:?}"))
        })?;
        Ok(Self { classes, counts: sums.iter().map(|sum| sum.round() as u64).collect() })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many samples of class `actual` were taken for `predicted`; `None` where there is no such
    /// class.
    pub fn count(&self, actual: usize, predicted: usize) -> Option<u64> {
        if actual >= self.classes || predicted >= self.classes {
            return None;
        }
        self.counts.get(actual * self.classes + predicted).copied()
    }

    /// The rows of the table: for each actual class, how often each was predicted.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks(self.classes.max(1))
    }

    /// The share of samples that were predicted right.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).filter_map(|class| self.count(class, class)).sum();
        ratio(right as f64, self.counts.iter().sum::<u64>() as f64)
    }

    /// The share of a class' samples that were found; 0 where it has none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        let all: u64 = (0..self.classes).filter_map(|other| self.count(class, other)).sum();
        Some(ratio(self.count(class, class)? as f64, all as f64))
    }

    /// The share right of what was taken for a class; 0 where nothing was.
    pub fn precision(&self, class: usize) -> Option<f64> {
        let all: u64 = (0..self.classes).filter_map(|other| self.count(other, class)).sum();
        Some(ratio(self.count(class, class)? as f64, all as f64))
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let corner = "actual \\ predicted";
        let largest = self.counts.iter().copied().max().unwrap_or(0).max(self.classes as u64);
        let width = largest.to_string().len();
        write!(f, "{corner}")?;
        for class in 0..self.classes {
            write!(f, "  {class:>width$}")?;
        }
        writeln!(f)?;
        for (class, row) in self.rows().enumerate() {
            write!(f, "{class:>indent$}", indent = corner.len())?;
            for count in row {
                write!(f, "  {count:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// How many samples of one class are taken for another: a cell of the [`ConfusionMatrix`], which as
/// a whole is no number for a log.
///
/// Outputs: `[samples, classes]`; one output: two classes, of which the second is above 0.5.
/// Targets: labels or one-hot rows.
///
/// # Errors
/// `check_batch` refuses a class that the outputs do not have.
#[derive(Clone, Copy, Debug)]
pub struct Confusion {
    actual: usize,
    predicted: usize,
}

impl Confusion {
    /// How many of `actual` are taken for `predicted`; classes count from 0.
    pub fn new(actual: usize, predicted: usize) -> Self {
        Self { actual, predicted }
    }
}

impl<T: ClassRows> Metric<Tensor<2>, T> for Confusion {
    fn name(&self) -> String {
        format!("confusion_{}_{}", self.actual, self.predicted)
    }

    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        let (actual, predicted) = actual_and_predicted(outputs, targets);
        let is_one = actual.equal_scalar(self.actual as i64);
        is_one.bool_and(predicted.equal_scalar(self.predicted as i64)).float()
    }

    fn result(&self, sums: &[f64], _: f64) -> f64 {
        sums.first().copied().unwrap_or(f64::NAN)
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
        let classes = classes_of(outputs);
        for (option, class) in [("actual", self.actual), ("predicted", self.predicted)] {
            if class >= classes {
                return Err(Error::config(format!(
                    "confusion_matrix: {option} is {class}, and there are {classes} classes; \
                     allowed: 0 to {}",
                    classes.saturating_sub(1)
                )));
            }
        }
        targets.check_class_rows("confusion_matrix", outputs.dims())
    }
}

pub(super) fn classes_of(outputs: &Tensor<2>) -> usize {
    outputs.dims()[1].max(2)
}

/// `[samples, classes²]`: 1 at the cell of each sample, by actual class, then by predicted class.
pub(super) fn cells(outputs: Tensor<2>, targets: impl ClassRows) -> Tensor<2> {
    let classes = classes_of(&outputs);
    let (actual, predicted) = actual_and_predicted(outputs, targets);
    at_cells(actual, predicted, classes)
}

pub(super) fn at_cells(
    actual: Tensor<2, Int>,
    predicted: Tensor<2, Int>,
    classes: usize,
) -> Tensor<2> {
    let samples = actual.dims()[0];
    let device = actual.device();
    let index = actual * classes as i64 + predicted;
    let one = Tensor::ones([samples, 1], &device);
    Tensor::zeros([samples, classes * classes], &device).scatter(
        1,
        index,
        one,
        IndexingUpdateOp::Add,
    )
}

/// Both `[samples, 1]`. A label that is no class of the model counts as its last one: the loss
/// refuses it before.
pub(super) fn actual_and_predicted(
    outputs: Tensor<2>,
    targets: impl ClassRows,
) -> (Tensor<2, Int>, Tensor<2, Int>) {
    let last = classes_of(&outputs) as i64 - 1;
    let actual = targets.classes().clamp(0, last).unsqueeze_dim(1);
    let predicted = match outputs.dims() {
        [_, 1] => outputs.greater_scalar(0.5).int(),
        _ => outputs.argmax(1),
    };
    (actual, predicted)
}

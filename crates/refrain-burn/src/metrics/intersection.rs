//! Intersection over union.

use burn::tensor::Tensor;
use refrain_core::{Error, Result};

use super::confusion_matrix::{actual_and_predicted, at_cells, classes_of};
use super::{Metric, check_share};
use crate::targets::ClassRows;

/// The mean over classes of their intersection over union: of all samples that are of the class or
/// taken for it, how many are both; Keras' `OneHotMeanIoU`, with class ids `OneHotIoU`, and for one
/// output `BinaryIoU`.
///
/// Outputs: `[samples, classes]`, of which the largest is the prediction; one output: two classes, of
/// which the second is from a threshold on, by default 0.5. Targets: labels or one-hot rows. Classes that neither occur nor
/// are predicted do not count.
///
/// # Errors
/// `check_batch` refuses a class that the outputs do not have.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Int, Tensor};
/// use refrain_burn::metrics::MeanIoU;
/// use refrain_burn::Metric;
/// // Two classes: three and one right, one 1 taken for a 0.
/// let sums = [3.0, 0.0, 1.0, 1.0];
/// let iou = Metric::<Tensor<2>, Tensor<1, Int>>::result(&MeanIoU::new(), &sums, 5.0);
/// assert!((iou - (3.0 / 4.0 + 1.0 / 2.0) / 2.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MeanIoU {
    target_class_ids: Option<Vec<usize>>,
    num_classes: Option<usize>,
    threshold: Option<f64>,
}

impl MeanIoU {
    /// The mean over all classes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The classes to average over. Default none: all.
    pub fn target_class_ids(mut self, classes: impl Into<Vec<usize>>) -> Self {
        self.target_class_ids = Some(classes.into());
        self
    }

    /// How many classes there must be. Default none: as many as the model has outputs.
    pub fn num_classes(mut self, classes: usize) -> Self {
        self.num_classes = Some(classes);
        self
    }

    /// From which on one output is the second of two classes, 0..=1. Default 0.5.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }
}

impl<T: ClassRows> Metric<Tensor<2>, T> for MeanIoU {
    fn name(&self) -> String {
        "mean_io_u".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        let classes = classes_of(&outputs);
        let threshold = self.threshold.unwrap_or(0.5);
        let is_second = outputs.clone().greater_equal_scalar(threshold).int();
        let is_one = outputs.dims()[1] == 1;
        let (actual, largest) = actual_and_predicted(outputs, targets);
        at_cells(actual, if is_one { is_second } else { largest }, classes)
    }

    fn result(&self, sums: &[f64], _: f64) -> f64 {
        let classes = sums.len().isqrt();
        let wanted = match &self.target_class_ids {
            Some(ids) => ids.clone(),
            None => (0..classes).collect(),
        };
        let cell = |actual: usize, predicted: usize| {
            sums.get(actual * classes + predicted).copied().unwrap_or(0.0)
        };
        let of_class = |class: usize| {
            let either: f64 =
                (0..classes).map(|other| cell(class, other) + cell(other, class)).sum();
            let both = cell(class, class);
            (either > both).then(|| both / (either - both + 1e-7))
        };
        let counted: Vec<f64> = wanted.into_iter().filter_map(of_class).collect();
        counted.iter().sum::<f64>() / counted.len() as f64
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
        let classes = classes_of(outputs);
        if let Some(given) = self.num_classes.filter(|given| *given != classes) {
            return Err(Error::config(format!(
                "mean_io_u: num_classes is {given}, and the model has {classes} classes; allowed: \
                 {classes}, or leave it out"
            )));
        }
        if let Some(threshold) = self.threshold {
            check_share("mean_io_u", "threshold", threshold)?;
        }
        let ids = self.target_class_ids.as_deref();
        if ids.is_some_and(|ids| ids.is_empty() || ids.iter().any(|id| *id >= classes)) {
            return Err(Error::config(format!(
                "mean_io_u: target_class_ids are {:?}, and there are {classes} classes; allowed: one \
                 or more of 0 to {}",
                ids.unwrap_or_default(),
                classes.saturating_sub(1)
            )));
        }
        targets.check_class_rows("mean_io_u", outputs.dims())
    }
}

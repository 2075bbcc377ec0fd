//! The share of samples that were predicted right.

use burn::tensor::{Bool, Tensor};
use refrain_core::{Error, Result};

use super::{Metric, check_at_least_one};
use crate::targets::ClassRows;

/// The share of samples that were predicted right; Keras' `accuracy`.
///
/// One output per sample: right if `output > 0.5` is the target. Several outputs: right if the
/// largest is the label, or, with one-hot targets, where the target's largest is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accuracy;

impl Accuracy {
    /// The metric.
    pub fn new() -> Self {
        Self
    }
}

impl<T: ClassRows> Metric<Tensor<2>, T> for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        match outputs.dims() {
            [_, 1] => above(outputs, targets, 0.5),
            _ => largest(outputs, targets),
        }
    }
}

/// The share of samples whose largest output is that of the right class; Keras'
/// `CategoricalAccuracy` against one-hot rows, `SparseCategoricalAccuracy` against labels.
#[derive(Clone, Copy, Debug, Default)]
pub struct CategoricalAccuracy;

impl CategoricalAccuracy {
    /// The metric.
    pub fn new() -> Self {
        Self
    }
}

impl<T: ClassRows> Metric<Tensor<2>, T> for CategoricalAccuracy {
    fn name(&self) -> String {
        "categorical_accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        largest(outputs, targets)
    }
}

/// The share of outputs on the right side of the threshold; Keras' `BinaryAccuracy`.
///
/// Outputs and targets: `[samples, outputs]`; an output is right if `output > threshold` is the
/// target. Default: threshold 0.5.
#[derive(Clone, Copy, Debug)]
pub struct BinaryAccuracy {
    threshold: f64,
}

impl BinaryAccuracy {
    /// The metric with a threshold of 0.5.
    pub fn new() -> Self {
        Self { threshold: 0.5 }
    }

    /// Above which an output counts as 1. Default 0.5.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ClassRows> Metric<Tensor<2>, T> for BinaryAccuracy {
    fn name(&self) -> String {
        "binary_accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        above(outputs, targets, self.threshold)
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
        targets.check_class_rows("binary_accuracy", outputs.dims())
    }
}

/// The share of samples whose class is among the k largest outputs; Keras'
/// `TopKCategoricalAccuracy` against one-hot rows, `SparseTopKCategoricalAccuracy` against labels.
///
/// Outputs: `[samples, classes]`. A class is among the k largest if fewer than k outputs are larger
/// than its own; outputs that are equal count as one. Default: k 5.
#[derive(Clone, Copy, Debug)]
pub struct TopKCategoricalAccuracy {
    k: usize,
}

impl TopKCategoricalAccuracy {
    /// The metric with k 5.
    pub fn new() -> Self {
        Self { k: 5 }
    }

    /// How many of the largest outputs count; 1 or more. Default 5.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }
}

impl Default for TopKCategoricalAccuracy {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ClassRows> Metric<Tensor<2>, T> for TopKCategoricalAccuracy {
    fn name(&self) -> String {
        "top_k_categorical_accuracy".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        let own = outputs.clone().gather(1, targets.classes().unsqueeze_dim(1));
        // NaN is no large probability.
        let is_nan = own.clone().is_nan();
        let own = own.mask_fill(is_nan, f32::NEG_INFINITY).expand(outputs.dims());
        let larger = outputs.greater(own).int().sum_dim(1);
        larger.lower_scalar(self.k as i64).float()
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
        const NAME: &str = "top_k_categorical_accuracy";
        check_at_least_one(NAME, "k", self.k)?;
        if outputs.dims()[1] < 2 {
            return Err(Error::config(format!(
                "{NAME} takes an output for each class, and the model has one output; leave it out"
            )));
        }
        targets.check_class_rows(NAME, outputs.dims())
    }

    fn label_classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        Some(outputs.dims()[1])
    }
}

fn above(outputs: Tensor<2>, targets: impl ClassRows, threshold: f64) -> Tensor<2> {
    let targets = targets.class_rows(outputs.dims()[1]);
    let predicted = outputs.greater_scalar(threshold).float();
    predicted.equal(targets).float().mean_dim(1)
}

fn largest(outputs: Tensor<2>, targets: impl ClassRows) -> Tensor<2> {
    let right: Tensor<2, Bool> = outputs.argmax(1).equal(targets.classes().unsqueeze_dim(1));
    right.float()
}

//! A metric in which samples count by their weights.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Metric;

/// A metric in which samples count by `sample_weight` or `class_weight`; Keras'
/// `weighted_metrics`. A mean is then divided by the sum of the weights.
///
/// Its name is `weighted_` and the metric's own, so that both can be tracked.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Int, Tensor};
/// use refrain_burn::metrics::Weighted;
/// use refrain_burn::{Accuracy, Metric};
/// let weighted = Weighted::new(Accuracy::new());
/// let name = Metric::<Tensor<2>, Tensor<1, Int>>::name(&weighted);
/// assert_eq!(name, "weighted_accuracy");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Weighted<M>(M);

impl<M> Weighted<M> {
    /// The metric with weights.
    pub fn new(metric: M) -> Self {
        Self(metric)
    }
}

impl<const D: usize, T, M: Metric<Tensor<D>, T>> Metric<Tensor<D>, T> for Weighted<M> {
    fn name(&self) -> String {
        format!("weighted_{}", self.0.name())
    }

    fn values(&self, outputs: Tensor<D>, targets: T) -> Tensor<2> {
        self.0.values(outputs, targets)
    }

    fn result(&self, sums: &[f64], weight: f64) -> f64 {
        self.0.result(sums, weight)
    }

    fn check_batch(&self, outputs: &Tensor<D>, targets: &T) -> Result {
        self.0.check_batch(outputs, targets)
    }

    fn label_classes(&self, outputs: &Tensor<D>) -> Option<usize> {
        self.0.label_classes(outputs)
    }

    fn is_weighted(&self) -> bool {
        true
    }
}

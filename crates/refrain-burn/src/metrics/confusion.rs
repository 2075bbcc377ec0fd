//! What is counted right and wrong of yes-or-no outputs: precision, recall and their parts.

use burn::tensor::Tensor;
use refrain_core::{Error, Result};

use super::{Metric, check_at_least_one, check_share, ratio};
use crate::targets::ClassRows;

/// What counts as a yes.
#[derive(Clone, Copy, Debug, Default)]
struct Yes {
    threshold: Option<f64>,
    top_k: Option<usize>,
    class_id: Option<usize>,
}

impl Yes {
    /// True and false positives, true and false negatives of each sample: `[samples, 4]`.
    fn counts(&self, outputs: Tensor<2>, targets: impl ClassRows) -> Tensor<2> {
        let columns = outputs.dims()[1];
        let targets = targets.class_rows(columns);
        let threshold = self.threshold.unwrap_or(0.5);
        let mut yes = match (self.top_k, self.threshold) {
            (Some(_), None) => outputs.ones_like(),
            _ => outputs.clone().greater_scalar(threshold).float(),
        };
        if let Some(k) = self.top_k {
            let least = outputs.clone().topk(k.min(columns), 1).min_dim(1).expand(outputs.dims());
            yes = yes * outputs.greater_equal(least).float();
        }
        let mut is_yes = targets.not_equal_scalar(0.0).float();
        if let Some(class) = self.class_id {
            yes = yes.narrow(1, class, 1);
            is_yes = is_yes.narrow(1, class, 1);
        }
        let no = |x: &Tensor<2>| x.clone().neg() + 1.0;
        let parts = [
            yes.clone() * is_yes.clone(),
            yes.clone() * no(&is_yes),
            no(&yes) * no(&is_yes),
            no(&yes) * is_yes,
        ];
        Tensor::cat(parts.map(|part| part.sum_dim(1)).to_vec(), 1)
    }

    fn check(&self, metric: &str, outputs: &Tensor<2>, targets: &impl ClassRows) -> Result {
        if let Some(threshold) = self.threshold {
            check_share(metric, "thresholds", threshold)?;
        }
        if let Some(k) = self.top_k {
            check_at_least_one(metric, "top_k", k)?;
        }
        let columns = outputs.dims()[1];
        if let Some(class) = self.class_id.filter(|class| *class >= columns) {
            return Err(Error::config(format!(
                "{metric}: class_id is {class}, and the model has {columns} outputs; allowed: 0 to {}",
                columns.saturating_sub(1)
            )));
        }
        targets.check_class_rows(metric, outputs.dims())
    }
}

/// Counts: true positives, false positives, true negatives, false negatives.
type Counts = [f64; 4];

fn counts(sums: &[f64]) -> Counts {
    sums.try_into().unwrap_or([f64::NAN; 4])
}

/// A metric of the four counts at one threshold.
macro_rules! counted {
    ($(#[$doc:meta])* $metric:ident, $name:literal, |$counts:pat_param| $result:expr $(, $options:ident)?) => {
        $(#[$doc])*
        ///
        /// Outputs: `[samples, outputs]`, probabilities; a yes is what is above the threshold.
        /// Targets: rows of 0 and 1 of the same shape, or class labels, which become one-hot rows
        /// where there are several outputs. All outputs of all samples are counted together.
        ///
        /// # Errors
        /// `check_batch` refuses shapes that do not fit, and options out of range.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $metric(Yes);

        impl $metric {
            /// The metric with a threshold of 0.5.
            pub fn new() -> Self {
                Self::default()
            }

            /// Above which an output is a yes, 0..=1. Default 0.5. Keras takes several, and gives a
            /// number for each.
            pub fn thresholds(mut self, threshold: f64) -> Self {
                self.0.threshold = Some(threshold);
                self
            }

            counted!(@ $($options)?);
        }

        impl<T: ClassRows> Metric<Tensor<2>, T> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
                self.0.counts(outputs, targets)
            }

            fn result(&self, sums: &[f64], _: f64) -> f64 {
                let $counts = counts(sums);
                $result
            }

            fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
                self.0.check($name, outputs, targets)
            }
        }
    };
    (@) => {};
    (@ of_classes) => {
        /// Counts as a yes only what is among a sample's k largest outputs, 1 or more; with it
        /// there is no threshold unless one is given. Outputs that are equal count as one. Default
        /// none.
        pub fn top_k(mut self, k: usize) -> Self {
            self.0.top_k = Some(k);
            self
        }

        /// Counts the outputs of one class alone. Default none: all.
        pub fn class_id(mut self, class: usize) -> Self {
            self.0.class_id = Some(class);
            self
        }
    };
}

counted!(
    /// How many of the yes are right; Keras' `Precision`. 0 where there is no yes.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::{Device, Tensor};
    /// use refrain_burn::metrics::Precision;
    /// use refrain_burn::{Metric, Targets};
    /// let column = |values: [[f32; 1]; 3]| Tensor::<2>::from_data(values, &Device::flex());
    /// let outputs = column([[0.9], [0.8], [0.1]]);
    /// let targets = Targets::Rows(column([[1.0], [0.0], [1.0]]));
    /// let values = Precision::new().values(outputs, targets);
    /// // True and false positives, true and false negatives of each sample.
    /// assert_eq!(values.dims(), [3, 4]);
    /// let result = |sums| Metric::<Tensor<2>, Targets>::result(&Precision::new(), sums, 3.0);
    /// assert_eq!(result(&[1.0, 1.0, 0.0, 1.0]), 0.5);
    /// ```
    Precision,
    "precision",
    |[tp, fp, _, _]| ratio(tp, tp + fp),
    of_classes
);

counted!(
    /// How many of what is a yes are found; Keras' `Recall`. 0 where nothing is.
    Recall,
    "recall",
    |[tp, _, _, fn_]| ratio(tp, tp + fn_),
    of_classes
);

counted!(
    /// The number of yes that are right; Keras' `TruePositives`.
    TruePositives,
    "true_positives",
    |[tp, _, _, _]| tp
);

counted!(
    /// The number of yes that are wrong; Keras' `FalsePositives`.
    FalsePositives,
    "false_positives",
    |[_, fp, _, _]| fp
);

counted!(
    /// The number of no that are right; Keras' `TrueNegatives`.
    TrueNegatives,
    "true_negatives",
    |[_, _, tn, _]| tn
);

counted!(
    /// The number of no that are wrong; Keras' `FalseNegatives`.
    FalseNegatives,
    "false_negatives",
    |[_, _, _, fn_]| fn_
);

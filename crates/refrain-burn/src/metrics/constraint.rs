//! The best of one rate where another is at least so much.

use burn::tensor::Tensor;
use refrain_core::{Error, Result};

use super::auc::{At, Buckets, check_thresholds};
use super::{Metric, check_share};
use crate::targets::ClassRows;

#[derive(Clone, Copy, Debug)]
struct AtLeast {
    value: f64,
    num_thresholds: usize,
    class_id: Option<usize>,
}

impl AtLeast {
    fn buckets(&self) -> Buckets {
        Buckets { thresholds: self.num_thresholds, has_below: true }
    }

    fn best(&self, sums: &[f64], rates: impl Fn(&At) -> (f64, f64)) -> f64 {
        let counts = self.buckets().counts(sums);
        let rates = counts.iter().flatten().map(rates);
        // In f32, as Keras compares: 0.7 must not be less than what was given as 0.7.
        let is_enough = |constrained: f64| constrained as f32 >= self.value as f32;
        rates.filter(|(at_least, _)| is_enough(*at_least)).fold(0.0, |best, (_, x)| best.max(x))
    }
}

macro_rules! at_least {
    ($(#[$doc:meta])* $metric:ident, $name:literal, $option:ident, |$at:ident| ($given:expr, $told:expr)) => {
        $(#[$doc])*
        ///
        /// Rates are known at `num_thresholds` thresholds, evenly from 0 to 1; 0 where none of them
        /// has the rate that is asked for. Outputs: `[samples, outputs]`, probabilities. Targets:
        /// rows of 0 and 1 of the same shape, or class labels.
        ///
        /// Defaults: 200 thresholds, all outputs together.
        ///
        /// # Errors
        /// `check_batch` refuses shapes that do not fit, and options out of range.
        #[derive(Clone, Copy, Debug)]
        pub struct $metric(AtLeast);

        impl $metric {
            /// The rate to be had at least, 0..=1.
            pub fn new($option: f64) -> Self {
                Self(AtLeast { value: $option, num_thresholds: 200, class_id: None })
            }

            /// At how many outputs the rates are known; 2 or more. Default 200.
            pub fn num_thresholds(mut self, num_thresholds: usize) -> Self {
                self.0.num_thresholds = num_thresholds;
                self
            }

            /// Counts the outputs of one class alone. Default none: all.
            pub fn class_id(mut self, class: usize) -> Self {
                self.0.class_id = Some(class);
                self
            }
        }

        impl<T: ClassRows> Metric<Tensor<2>, T> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
                let mut targets = targets.class_rows(outputs.dims()[1]);
                let mut outputs = outputs;
                if let Some(class) = self.0.class_id {
                    outputs = outputs.narrow(1, class, 1);
                    targets = targets.narrow(1, class, 1);
                }
                self.0.buckets().values(outputs, targets, None, false)
            }

            fn result(&self, sums: &[f64], _: f64) -> f64 {
                self.0.best(sums, |$at| ($given, $told))
            }

            fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
                check_share($name, stringify!($option), self.0.value)?;
                check_thresholds($name, self.0.num_thresholds)?;
                let columns = outputs.dims()[1];
                if let Some(class) = self.0.class_id.filter(|class| *class >= columns) {
                    return Err(Error::config(format!(
                        "{}: class_id is {class}, and the model has {columns} outputs; allowed: 0 \
                         to {}",
                        $name,
                        columns.saturating_sub(1)
                    )));
                }
                targets.check_class_rows($name, outputs.dims())
            }
        }
    };
}

at_least!(
    /// The best sensitivity (recall) where the specificity is at least so much; Keras'
    /// `SensitivityAtSpecificity`.
    SensitivityAtSpecificity,
    "sensitivity_at_specificity",
    specificity,
    |at| (at.specificity(), at.recall())
);

at_least!(
    /// The best specificity where the sensitivity (recall) is at least so much; Keras'
    /// `SpecificityAtSensitivity`.
    SpecificityAtSensitivity,
    "specificity_at_sensitivity",
    sensitivity,
    |at| (at.recall(), at.specificity())
);

at_least!(
    /// The best precision where the recall is at least so much; Keras' `PrecisionAtRecall`.
    PrecisionAtRecall,
    "precision_at_recall",
    recall,
    |at| (at.recall(), at.precision())
);

at_least!(
    /// The best recall where the precision is at least so much; Keras' `RecallAtPrecision`.
    RecallAtPrecision,
    "recall_at_precision",
    precision,
    |at| (at.precision(), at.recall())
);

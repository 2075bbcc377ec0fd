//! The area under a curve, and counts at many thresholds.

use burn::tensor::activation::sigmoid;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use refrain_core::{Error, Result};

use super::{Metric, ratio};
use crate::targets::ClassRows;

/// More buckets than this are a slip.
const MOST_THRESHOLDS: usize = 100_000;

/// The curve whose area is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    /// How many of what is a yes are found, over how many of the others are taken for one.
    #[default]
    Roc,
    /// How many yes are right, over how many of what is a yes are found.
    Pr,
}

impl Curve {
    /// Keras' names.
    pub const NAMES: &[&str] = &["ROC", "PR"];

    /// The curve of that name, in capitals or not.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "ROC" => Some(Self::Roc),
            "PR" => Some(Self::Pr),
            _ => None,
        }
    }
}

/// How high the curve is between two thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Summation {
    /// The middle; for PR, precision along the line between the counts.
    #[default]
    Interpolation,
    /// The lower of both ends.
    Minoring,
    /// The higher of both ends.
    Majoring,
}

impl Summation {
    /// Keras' names.
    pub const NAMES: &[&str] = &["interpolation", "minoring", "majoring"];

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "interpolation" => Some(Self::Interpolation),
            "minoring" => Some(Self::Minoring),
            "majoring" => Some(Self::Majoring),
            _ => None,
        }
    }
}

/// The area under the ROC or the precision-recall curve; Keras' `AUC`.
///
/// Outputs: `[samples, outputs]`, probabilities unless [`from_logits`](Self::from_logits). Targets:
/// rows of 0 and 1 of the same shape, or class labels, which become one-hot rows where there are
/// several outputs. All outputs count as one, unless [`multi_label`](Self::multi_label): then the
/// areas of all outputs are averaged.
///
/// The curve is known at `num_thresholds` thresholds, evenly from 0 to 1, or at
/// [thresholds](Self::thresholds) of one's own: the area is exact up to the outputs that lie between two
/// of them.
///
/// Defaults: ROC, 200 thresholds, interpolation, probabilities, one area.
///
/// Cost: two counts for each threshold, on the device; nothing is sorted or kept.
///
/// # Errors
/// `check_batch` refuses shapes that do not fit, and options out of range.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::metrics::{Auc, Curve};
/// use refrain_burn::{Metric, Targets};
/// let column = |values: [[f32; 1]; 4]| Tensor::<2>::from_data(values, &Device::flex());
/// let auc = Auc::new().num_thresholds(3);
/// let outputs = column([[0.0], [0.5], [0.3], [0.9]]);
/// let targets = Targets::Rows(column([[0.0], [0.0], [1.0], [1.0]]));
/// let sums = auc.values(outputs, targets).sum_dim(0).into_data().try_into_vec_as::<f64>()?;
/// let result = |auc: &Auc| Metric::<Tensor<2>, Targets>::result(auc, &sums, 4.0);
/// assert_eq!(result(&auc), 0.75);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Auc {
    curve: Curve,
    num_thresholds: usize,
    summation: Summation,
    from_logits: bool,
    multi_label: bool,
    label_weights: Option<Vec<f32>>,
    /// Between 0 and 1, from the smallest on.
    thresholds: Option<Vec<f32>>,
}

impl Auc {
    /// The area under the ROC curve.
    pub fn new() -> Self {
        Self {
            curve: Curve::Roc,
            num_thresholds: 200,
            summation: Summation::Interpolation,
            from_logits: false,
            multi_label: false,
            label_weights: None,
            thresholds: None,
        }
    }

    /// The curve. Default ROC.
    pub fn curve(mut self, curve: Curve) -> Self {
        self.curve = curve;
        self
    }

    /// At how many outputs the curve is known; 2 or more. Default 200.
    pub fn num_thresholds(mut self, num_thresholds: usize) -> Self {
        self.num_thresholds = num_thresholds;
        self
    }

    /// At which outputs the curve is known, beside 0 and 1; 1 or more of them, 0..=1, in any order. Default
    /// none: evenly spaced. With them, `num_thresholds` does not count.
    pub fn thresholds(mut self, thresholds: impl Into<Vec<f32>>) -> Self {
        let mut thresholds = thresholds.into();
        thresholds.sort_by(f32::total_cmp);
        self.thresholds = Some(thresholds);
        self
    }

    /// How high the curve is between two thresholds. Default interpolation.
    pub fn summation_method(mut self, summation: Summation) -> Self {
        self.summation = summation;
        self
    }

    /// Whether outputs are logits, of which a sigmoid is still to be taken. Default false.
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }

    /// Whether each output has a curve of its own. Default false.
    pub fn multi_label(mut self, multi_label: bool) -> Self {
        self.multi_label = multi_label;
        self
    }

    /// How much each output counts; one number, 0 or more, for each. Default: all the same.
    pub fn label_weights(mut self, weights: impl Into<Vec<f32>>) -> Self {
        self.label_weights = Some(weights.into());
        self
    }

    fn buckets(&self) -> Buckets {
        let own = self.thresholds.as_ref().map(|thresholds| thresholds.len() + 2);
        Buckets { thresholds: own.unwrap_or(self.num_thresholds), has_below: false }
    }

    fn area(&self, counts: &[At]) -> f64 {
        let pairs = counts.windows(2);
        if (self.curve, self.summation) == (Curve::Pr, Summation::Interpolation) {
            return pairs.map(|pair| interpolated_precision(pair[0], pair[1])).sum();
        }
        let point = |at: &At| match self.curve {
            Curve::Roc => (ratio(at.fp, at.fp + at.tn), at.recall()),
            Curve::Pr => (at.recall(), at.precision()),
        };
        pairs
            .map(|pair| {
                let ((x, y), (next_x, next_y)) = (point(&pair[0]), point(&pair[1]));
                let height = match self.summation {
                    Summation::Interpolation => (y + next_y) / 2.0,
                    Summation::Minoring => y.min(next_y),
                    Summation::Majoring => y.max(next_y),
                };
                (x - next_x) * height
            })
            .sum()
    }
}

impl Default for Auc {
    fn default() -> Self {
        Self::new()
    }
}

/// The area under the precision-recall curve between two thresholds, along the line between the
/// counts ("The relationship between precision-recall and ROC curves", ICML 2006, section 4; the
/// closed formula is Keras').
fn interpolated_precision(lower: At, upper: At) -> f64 {
    let found = lower.tp - upper.tp;
    let (yes_lower, yes_upper) = (lower.tp + lower.fp, upper.tp + upper.fp);
    let slope = ratio(found, (yes_lower - yes_upper).max(0.0));
    let intercept = upper.tp - slope * yes_upper;
    let logarithm =
        if yes_lower > 0.0 && yes_upper > 0.0 { (yes_lower / yes_upper).ln() } else { 0.0 };
    ratio(slope * (found + intercept * logarithm), upper.tp + upper.fn_)
}

impl<T: ClassRows> Metric<Tensor<2>, T> for Auc {
    fn name(&self) -> String {
        "auc".to_owned()
    }

    fn values(&self, outputs: Tensor<2>, targets: T) -> Tensor<2> {
        let outputs = if self.from_logits { sigmoid(outputs) } else { outputs };
        let targets = targets.class_rows(outputs.dims()[1]);
        let weights = self.label_weights.as_deref().filter(|_| !self.multi_label);
        let buckets = self.buckets();
        match &self.thresholds {
            None => buckets.values(outputs, targets, weights, self.multi_label),
            Some(thresholds) => {
                let bucket = above(outputs, thresholds);
                buckets.count(bucket, targets, weights, self.multi_label)
            }
        }
    }

    fn result(&self, sums: &[f64], _: f64) -> f64 {
        let areas: Vec<f64> =
            self.buckets().counts(sums).iter().map(|of_output| self.area(of_output)).collect();
        let weights = self.label_weights.as_deref().filter(|_| self.multi_label);
        let weight = |i: usize| weights.and_then(|all| all.get(i)).map_or(1.0, |w| f64::from(*w));
        let total: f64 = (0..areas.len()).map(weight).sum();
        ratio(areas.iter().enumerate().map(|(i, area)| area * weight(i)).sum(), total)
    }

    fn check_batch(&self, outputs: &Tensor<2>, targets: &T) -> Result {
        check_thresholds("auc", self.buckets().thresholds)?;
        if let Some(thresholds) = &self.thresholds
            && (thresholds.is_empty() || !thresholds.iter().all(|t| (0.0..=1.0).contains(t)))
        {
            return Err(Error::config(format!(
                "auc: thresholds are {thresholds:?}; allowed: 1 or more numbers from 0 to 1, for example \
                 [0.25, 0.5, 0.75]"
            )));
        }
        let columns = outputs.dims()[1];
        if let Some(weights) = &self.label_weights {
            let is_allowed = |w: &f32| w.is_finite() && *w >= 0.0;
            if weights.len() != columns || !weights.iter().all(is_allowed) {
                return Err(Error::config(format!(
                    "auc: label_weights are {weights:?}, and the model has {columns} outputs; \
                     allowed: a finite number, 0 or more, for each"
                )));
            }
        }
        targets.check_class_rows("auc", outputs.dims())
    }
}

/// How many of these thresholds each output is above: an output that is one lies below it, as in Keras.
fn above(outputs: Tensor<2>, thresholds: &[f32]) -> Tensor<2> {
    let [samples, columns] = outputs.dims();
    let shape = [samples, columns, thresholds.len()];
    let data = TensorData::new(thresholds.to_vec(), [1, 1, thresholds.len()]);
    let thresholds = Tensor::<3>::from_data(data, &outputs.device()).expand(shape);
    let outputs = outputs.unsqueeze_dim::<3>(2).expand(shape);
    outputs.greater(thresholds).float().sum_dim(2).squeeze_dim(2)
}

pub(super) fn check_thresholds(metric: &str, thresholds: usize) -> Result {
    if (2..=MOST_THRESHOLDS).contains(&thresholds) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{metric}: num_thresholds is {thresholds}; allowed: 2 to {MOST_THRESHOLDS}, for example 200"
    )))
}

/// Counts of outputs by the thresholds, evenly from 0 to 1, between which they lie: first those of
/// what is no, then those of what is yes.
#[derive(Clone, Copy)]
pub(super) struct Buckets {
    pub(super) thresholds: usize,
    /// Whether outputs of 0 are below the first threshold.
    pub(super) has_below: bool,
}

/// Counts at one threshold.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) tp: f64,
    pub(super) fp: f64,
    pub(super) tn: f64,
    pub(super) fn_: f64,
}

impl At {
    pub(super) fn recall(&self) -> f64 {
        ratio(self.tp, self.tp + self.fn_)
    }

    pub(super) fn precision(&self) -> f64 {
        ratio(self.tp, self.tp + self.fp)
    }

    pub(super) fn specificity(&self) -> f64 {
        ratio(self.tn, self.tn + self.fp)
    }
}

impl Buckets {
    /// Buckets of yes, or of no.
    fn len(self) -> usize {
        self.thresholds + usize::from(self.has_below)
    }

    /// `[samples, 2 × buckets]`, for each output anew if they are apart.
    pub(super) fn values(
        self,
        outputs: Tensor<2>,
        targets: Tensor<2>,
        weights: Option<&[f32]>,
        apart: bool,
    ) -> Tensor<2> {
        let is_nan = outputs.clone().is_nan();
        let outputs = outputs.clamp(0.0, 1.0).mask_fill(is_nan, 0.0);
        // An output that is a threshold lies below it, as in Keras.
        let bucket = (outputs * (self.thresholds - 1) as f32).ceil() - 1.0;
        let bucket = if self.has_below { bucket + 1.0 } else { bucket.clamp_min(0.0) };
        self.count(bucket, targets, weights, apart)
    }

    /// The same of outputs of which it is known in which bucket they lie.
    fn count(
        self,
        bucket: Tensor<2>,
        targets: Tensor<2>,
        weights: Option<&[f32]>,
        apart: bool,
    ) -> Tensor<2> {
        let [samples, columns] = bucket.dims();
        let device = bucket.device();
        let is_yes = targets.not_equal_scalar(0.0).int();
        let mut index = bucket.int() + is_yes * self.len() as i64;
        let mut width = 2 * self.len();
        if apart {
            let first = Tensor::<1, Int>::arange(0..columns as i64, &device) * width as i64;
            index = index + first.unsqueeze_dim::<2>(0).expand([samples, columns]);
            width *= columns;
        }
        let one = match weights {
            Some(weights) => {
                let weights = TensorData::new(weights.to_vec(), [1, columns]);
                Tensor::<2>::from_data(weights, &device).expand([samples, columns])
            }
            None => Tensor::ones([samples, columns], &device),
        };
        Tensor::zeros([samples, width], &device).scatter(1, index, one, IndexingUpdateOp::Add)
    }

    /// The counts at each threshold, by output where these are apart.
    pub(super) fn counts(self, sums: &[f64]) -> Vec<Vec<At>> {
        let of_output = |sums: &[f64]| {
            let (no, yes) = sums.split_at(self.len());
            let (all_no, all_yes): (f64, f64) = (no.iter().sum(), yes.iter().sum());
            let first = usize::from(self.has_below);
            let (mut tp, mut fp) = (0.0, 0.0);
            let buckets = no.iter().zip(yes).skip(first).rev();
            let mut at: Vec<At> = buckets
                .map(|(no, yes)| {
                    tp += yes;
                    fp += no;
                    At { tp, fp, tn: all_no - fp, fn_: all_yes - tp }
                })
                .collect();
            at.reverse();
            at
        };
        sums.chunks_exact(2 * self.len()).map(of_output).collect()
    }
}

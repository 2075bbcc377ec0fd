//! Whether the last layer, the loss, the metrics and the data's targets fit each other.

use refrain_burn::burn::tensor::{Device, Int, Tensor};
use refrain_burn::{AnyLoss, AnyMetric, Loss, Metric, Targets};
use refrain_core::{Error, Finding, Result};

use super::{Recipe, RecipeData, compile};

/// Losses against distributions over classes, or against one-hot rows.
const ONE_HOT: [&str; 4] = [
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "kl_divergence",
];

/// Losses of outputs that say yes or no each.
const YES_OR_NO: [&str; 6] = [
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "hinge",
    "squared_hinge",
    "dice",
    "tversky",
];

/// Losses that take class labels alone.
const OF_LABELS: [&str; 3] =
    ["sparse_categorical_crossentropy", "circle", "categorical_generalized_cross_entropy"];

/// Losses of whole vectors, along the last axis: a row of several of them is not one.
const ALONG_AXIS: [&str; 6] = [
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "kl_divergence",
    "cosine_similarity",
    "sparse_categorical_crossentropy",
];

/// Losses that compare numbers: the classes of texts, which count from 0, are none to be met. Those of
/// `ctc` count from 1.
const OF_NUMBERS: [&str; 9] = [
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
    "poisson",
    "cosine_similarity",
    "ctc",
];

/// Whether one number a sample is its class, of several that the loss tells apart.
pub(super) fn takes_labels(loss: &AnyLoss) -> bool {
    let name = Loss::<Tensor<2>>::name(loss);
    AnyLoss::from_name(name).is_some() && (OF_LABELS.contains(&name) || ONE_HOT.contains(&name))
}

/// Whether each class is an output.
pub(super) fn has_an_output_a_class(loss: &AnyLoss) -> bool {
    // Of its embeddings there may be any number.
    takes_labels(loss) && Loss::<Tensor<2>>::name(loss) != "circle"
}

/// Whether the loss compares numbers, and no classes.
pub(super) fn compares_numbers(loss: &AnyLoss) -> bool {
    let name = Loss::<Tensor<2>>::name(loss);
    // One's own, whatever it is called, alone knows what it takes.
    AnyLoss::from_name(name).is_some() && OF_NUMBERS.contains(&name)
}

impl Recipe {
    /// Whether the loss can compare outputs of this shape with the data's targets.
    pub(super) fn check_loss(&self, data: &RecipeData, output_shape: &[usize]) -> Result {
        let loss = &self.compile.loss;
        let name = Loss::<Tensor<2>>::name(loss);
        if AnyLoss::from_name(name).is_none() {
            // One's own, which alone knows what it takes.
            let [outputs, targets] = [output_shape, data.target_shape().unwrap_or(&[])].map(len);
            let (outputs, targets) = probe(outputs, targets, data.target_shape().is_some());
            return Loss::check(loss, &outputs, &targets)
                .map_err(|e| e.context(self.last_layer(output_shape)));
        }
        if matches!(loss, AnyLoss::Ctc { .. }) {
            return self.check_sequences(data, name, output_shape);
        }
        match data.target_shape() {
            Some(target_shape) => self.check_rows(data, name, output_shape, target_shape),
            None => self.check_labels(data, name, output_shape),
        }
    }

    /// One label a sample.
    fn check_labels(&self, data: &RecipeData, name: &str, output_shape: &[usize]) -> Result {
        let &[outputs] = output_shape else {
            return Err(Error::config(format!(
                "{}, and loss `{name}` takes vectors of the shape [outputs]; put {{ type = \
                 \"flatten\" }} and a dense layer behind it",
                self.last_layer(output_shape)
            )));
        };
        let (probe, targets) = probe(outputs, 0, false);
        let fits = Loss::check(&self.compile.loss, &probe, &targets).is_ok();
        let problem = match self.compile.loss {
            AnyLoss::SparseCategoricalCrossentropy(ref loss) => {
                return match self.compile.loss.ignored_class() {
                    Some(ignored) => data.check_labels_but(outputs, ignored),
                    None => Loss::classes(loss, &probe)
                        .map_or(Ok(()), |classes| data.check_labels(classes)),
                };
            }
            _ if ONE_HOT.contains(&name) && outputs == 1 => "takes an output for each class",
            _ if YES_OR_NO.contains(&name)
                && outputs == 1
                && data.classes().is_some_and(|classes| classes > 2) =>
            {
                "takes the classes 0 and 1, or an output for each class"
            }
            _ if fits => {
                let classes = Loss::classes(&self.compile.loss, &probe);
                return classes.map_or(Ok(()), |classes| data.check_labels(classes));
            }
            _ => "takes as many targets as there are outputs",
        };
        Err(Error::config(format!(
            "loss `{name}` {problem}, and this data has one label a sample for {outputs} outputs; use \
             loss = \"sparse_categorical_crossentropy\""
        )))
    }

    /// A row of targets a sample.
    fn check_rows(
        &self,
        data: &RecipeData,
        name: &str,
        output_shape: &[usize],
        target_shape: &[usize],
    ) -> Result {
        if let Some(steps) = compile::steps(output_shape) {
            return self.check_steps(data, name, steps, output_shape, target_shape);
        }
        if output_shape.len() > 1 && ALONG_AXIS.contains(&name) {
            return Err(Error::config(format!(
                "{}, and loss `{name}` takes vectors of the shape [outputs] or sequences of them, \
                 [steps, outputs]; put {{ type = \"flatten\" }} behind it, or reshape and permute it",
                self.last_layer(output_shape)
            )));
        }
        if matches!(self.compile.loss, AnyLoss::SparseCategoricalCrossentropy(_)) {
            return Err(Error::config(format!(
                "loss `{name}` takes class labels, and this data has targets of the shape \
                 {target_shape:?}; use loss = \"categorical_crossentropy\" for one-hot rows, or \
                 \"mean_squared_error\" for numbers"
            )));
        }
        let [outputs, targets] = [output_shape, target_shape].map(len);
        if outputs == targets {
            // Some take labels alone.
            let (probe, rows) = probe(outputs, targets, true);
            let checked = Loss::check(&self.compile.loss, &probe, &rows);
            return checked.map_err(|e| Error::config(format!("loss `{name}`: {e}")));
        }
        Err(Error::config(format!(
            "{}, and the data's targets have the shape {target_shape:?}; loss `{name}` takes as many \
             outputs as targets: give the last layer {targets}",
            self.last_layer(output_shape)
        )))
    }

    /// Rows of targets, for each step of sequences.
    fn check_steps(
        &self,
        data: &RecipeData,
        name: &str,
        steps: usize,
        output_shape: &[usize],
        target_shape: &[usize],
    ) -> Result {
        let [outputs, targets] = [output_shape, target_shape].map(len);
        let (probe, rows) = probe(outputs, targets, true);
        Loss::check(&self.compile.loss_of(output_shape), &probe, &rows).map_err(|_| {
            let classes = format!("[{steps}], the class of each step among several outputs");
            let of_steps = outputs / steps.max(1);
            let numbers = format!("[{steps}, {of_steps}], a number for each output");
            let takes = match (OF_LABELS.contains(&name), compares_numbers(&self.compile.loss)) {
                (true, _) if outputs == targets => format!(
                    "{classes}; rows of a number for each class go with loss = \
                     \"categorical_crossentropy\""
                ),
                (true, _) => classes,
                (_, true) => numbers,
                (false, false) => format!("{classes}, or {numbers}"),
            };
            Error::config(format!(
                "{}, and the data's targets have the shape {target_shape:?}; loss `{name}` takes \
                 targets of the shape {takes}",
                self.last_layer(output_shape)
            ))
        })?;
        if targets != steps || outputs == steps {
            return Ok(());
        }
        if !self.fit.class_weight.is_empty() {
            return Err(Error::config(
                "class_weight weighs whole samples, and here each step of a sample has a class of its \
                 own; leave class_weight out",
            ));
        }
        data.check_step_labels(outputs / steps.max(1), self.compile.loss.ignored_class())
    }

    /// Labels that are read off whole sequences.
    fn check_sequences(&self, data: &RecipeData, name: &str, output_shape: &[usize]) -> Result {
        let &[steps, classes] = output_shape else {
            return Err(Error::config(format!(
                "{}, and loss `{name}` takes sequences of the shape [steps, classes]; let the recurrent \
                 layers have return_sequences = true, and end with a dense layer without flatten",
                self.last_layer(output_shape)
            )));
        };
        if classes < 2 {
            return Err(Error::config(format!(
                "{}, and loss `{name}` takes an output for each class beside the blank, which is \
                 class 0; give the last layer units = the largest label + 1",
                self.last_layer(output_shape)
            )));
        }
        if let Some(shape) = data.target_shape().filter(|shape| shape.len() != 1) {
            return Err(Error::config(format!(
                "the data's targets have the shape {shape:?}, and loss `{name}` takes the labels of a \
                 sequence, [most labels], with 0 behind them"
            )));
        }
        if !self.fit.class_weight.is_empty() {
            return Err(Error::config(
                "class_weight weighs whole samples, and here a sample has several labels; leave \
                 class_weight out",
            ));
        }
        let checked = data.check_label_sequences(steps, classes);
        checked.map_err(|e| e.context(format!("loss `{name}`")))
    }

    /// Metrics that cannot compare outputs of this shape with the data's targets.
    pub(super) fn metric_findings(
        &self,
        data: &RecipeData,
        output_shape: &[usize],
    ) -> Vec<Finding> {
        let outputs = len(output_shape);
        let has_rows = data.target_shape().is_some();
        let (probe, targets) = probe(outputs, len(data.target_shape().unwrap_or(&[])), has_rows);
        let is_of_sequences = matches!(self.compile.loss, AnyLoss::Ctc { .. });
        let problem = |(metric, is_own): (AnyMetric, bool)| {
            let name = Metric::<Tensor<2>, Targets>::name(&metric);
            let message = if is_of_sequences && !is_own {
                format!(
                    "metric `{name}` compares each step with a target of its own, and with loss `ctc` no \
                     label belongs to a step"
                )
            } else {
                let classes = metric.label_classes(&probe).filter(|_| !has_rows);
                let checked = classes.map_or(Ok(()), |classes| data.check_labels(classes));
                let error = checked.and_then(|()| metric.check_batch(&probe, &targets)).err()?;
                format!(
                    "metric `{name}` cannot compare the model's {outputs} outputs with this data's \
                     targets: {error}"
                )
            };
            Some(
                Finding::error("metric-mismatch", message)
                    .fix("leave the metric out")
                    .option("metrics"),
            )
        };
        self.compile.metrics_of(output_shape).filter_map(problem).collect()
    }

    /// Data of which the loss leaves all out.
    pub(super) fn ignored_findings(&self, data: &RecipeData) -> Vec<Finding> {
        let Some(ignored) = self.compile.loss.ignored_class() else {
            return Vec::new();
        };
        let (trained, held_out) = data.have_only(ignored);
        let all = format!("has the label {ignored}, which ignore_class leaves out");
        let fix = "correct ignore_class, or the labels";
        let nothing = trained.then(|| {
            let message = format!("all that is trained on {all}: there is nothing to learn");
            Finding::error("all-ignored", message)
        });
        let unseen = held_out.then(|| {
            let message = format!("all that is held out {all}: val_loss says nothing");
            Finding::warning("all-ignored", message)
        });
        let found = nothing.into_iter().chain(unseen);
        found.map(|finding| finding.fix(fix).option("loss")).collect()
    }

    /// `layer 3 `conv2d`, the last one, gives the shape [10, 6, 6]`.
    fn last_layer(&self, output_shape: &[usize]) -> String {
        let name = self.model.layers.last();
        let name = name.map_or("", |layer| layer.name().unwrap_or(layer.type_name()));
        let place = self.model.layers.len();
        format!("layer {place} `{name}`, the last one, gives the shape {output_shape:?}")
    }
}

/// An output and a target of one sample, to be compared by their shapes.
fn probe(outputs: usize, targets: usize, has_rows: bool) -> (Tensor<2>, Targets) {
    let device = Device::flex();
    // One number, seen everywhere: there may be many.
    let row = |len: usize| Tensor::<2>::zeros([1, 1], &device).expand([1, len]);
    let targets = match has_rows {
        true => Targets::Rows(row(targets)),
        false => Targets::Labels(Tensor::<1, Int>::zeros([1], &device)),
    };
    (row(outputs), targets)
}

fn len(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &axis| n.saturating_mul(axis))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that is in none of them, or in two, would be checked by the wrong rule.
    #[test]
    fn every_loss_takes_one_kind_of_targets() {
        let kinds: [&[&str]; 4] = [&ONE_HOT, &YES_OR_NO, &OF_LABELS, &OF_NUMBERS];
        let canonical = |name: &str| Loss::<Tensor<2>>::name(&AnyLoss::from_name(name).unwrap());
        for name in AnyLoss::NAMES {
            let of = kinds.iter().filter(|kind| kind.contains(&canonical(name))).count();
            assert_eq!(of, 1, "{name}");
        }
        for name in kinds.concat().into_iter().chain(ALONG_AXIS) {
            assert_eq!(canonical(name), name);
        }
    }
}

//! Whether the last layer, the loss, the metrics and the data's targets fit each other.

use refrain_burn::burn::tensor::{Device, Int, Tensor};
use refrain_burn::{AnyLoss, Loss, Metric, Targets};
use refrain_core::{Error, Finding, Result};

use super::{Recipe, RecipeData};

/// Losses against one-hot rows.
const ONE_HOT: [&str; 3] =
    ["categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge"];

/// Losses that compare numbers: the classes of texts, which count from 0, are none to be met.
const OF_NUMBERS: [&str; 9] = [
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
    "kl_divergence",
    "poisson",
    "cosine_similarity",
];

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
        match data.target_shape() {
            Some(target_shape) => self.check_rows(name, output_shape, target_shape),
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
            AnyLoss::SparseCategoricalCrossentropy(_) => return data.check_labels(outputs),
            _ if ONE_HOT.contains(&name) => "takes a row of probabilities a sample",
            _ if name.starts_with("binary_")
                && outputs == 1
                && data.classes().is_some_and(|classes| classes > 2) =>
            {
                "takes the classes 0 and 1"
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
    fn check_rows(&self, name: &str, output_shape: &[usize], target_shape: &[usize]) -> Result {
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

    /// Metrics that cannot compare outputs of this shape with the data's targets.
    pub(super) fn metric_findings(
        &self,
        data: &RecipeData,
        output_shape: &[usize],
    ) -> Vec<Finding> {
        let outputs = len(output_shape);
        let has_rows = data.target_shape().is_some();
        let (probe, targets) = probe(outputs, len(data.target_shape().unwrap_or(&[])), has_rows);
        let problem = |metric: &refrain_burn::AnyMetric| {
            let name = Metric::<Tensor<2>, Targets>::name(metric);
            let classes = metric.label_classes(&probe).filter(|_| !has_rows);
            let checked = classes.map_or(Ok(()), |classes| data.check_labels(classes));
            let error = checked.and_then(|()| metric.check_batch(&probe, &targets)).err()?;
            let message = format!(
                "metric `{name}` cannot compare the model's {outputs} outputs with this data's \
                 targets: {error}"
            );
            Some(
                Finding::error("metric-mismatch", message)
                    .fix("leave the metric out")
                    .option("metrics"),
            )
        };
        self.compile.metrics.iter().filter_map(problem).collect()
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

    #[test]
    fn losses_compare_numbers_or_classes() {
        let of_numbers = [
            "mean_squared_error",
            "mse",
            "mean_absolute_error",
            "mae",
            "mean_absolute_percentage_error",
            "mape",
            "mean_squared_logarithmic_error",
            "msle",
            "huber",
            "log_cosh",
            "kl_divergence",
            "kld",
            "poisson",
            "cosine_similarity",
        ];
        for &name in AnyLoss::NAMES {
            let loss = AnyLoss::from_name(name).unwrap();
            assert_eq!(compares_numbers(&loss), of_numbers.contains(&name), "{name}");
        }
    }
}

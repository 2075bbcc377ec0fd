//! `[compile]`: optimizer, loss and metrics.

mod loss;
mod metric;
mod optimizer;
mod options;

use refrain_burn::burn::tensor::Tensor;
use refrain_burn::metrics::check_names;
use refrain_burn::{AnyLoss, AnyMetric, Loss, Metric, Targets};
use refrain_core::Result;
use refrain_core::options::Section;

use super::checkpoint::Setting;
use crate::registry::Registry;

pub(super) use optimizer::optimizer;

/// What `[compile]` says. The optimizer is read anew where one is needed: a schedule in it is no
/// value that could be copied.
#[derive(Clone, Debug)]
pub(super) struct Compile {
    pub(super) loss: AnyLoss,
    metrics: Vec<CompiledMetric>,
    /// Options of optimizer, loss and metrics by dotted key, defaults included; the rate where it
    /// is a number.
    options: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct CompiledMetric {
    metric: AnyMetric,
    /// Of the registry's: it alone knows what its outputs are.
    is_own: bool,
}

impl CompiledMetric {
    fn name(&self) -> String {
        Metric::<Tensor<2>, Targets>::name(&self.metric)
    }
}

/// The steps of sequences that are compared one by one: `[steps, outputs]`.
pub(super) fn steps(output_shape: &[usize]) -> Option<usize> {
    match output_shape {
        [steps, _] => Some(*steps),
        _ => None,
    }
}

impl Compile {
    /// The loss of a model whose outputs have this shape.
    pub(super) fn loss_of(&self, output_shape: &[usize]) -> AnyLoss {
        let loss = self.loss.clone();
        let is_own = AnyLoss::from_name(Loss::<Tensor<2>>::name(&loss)).is_none();
        match steps(output_shape) {
            Some(steps) if !is_own => loss.per_step(steps),
            _ => loss,
        }
    }

    /// Names of the metrics, in the recipe's order.
    pub(super) fn metric_names(&self) -> impl Iterator<Item = String> {
        self.metrics.iter().map(CompiledMetric::name)
    }

    /// The metrics of a model whose outputs have this shape, and whether they are the registry's.
    pub(super) fn metrics_of(
        &self,
        output_shape: &[usize],
    ) -> impl Iterator<Item = (AnyMetric, bool)> {
        let steps = steps(output_shape);
        self.metrics.iter().map(move |CompiledMetric { metric, is_own }| match steps {
            Some(steps) if !is_own => (metric.clone().per_step(steps), false),
            _ => (metric.clone(), *is_own),
        })
    }

    /// What decides how the run goes, by dotted key: one name for each thing, with defaults.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let loss = Loss::<Tensor<2>>::name(&self.loss).to_owned();
        let kind = ("compile.loss.type".to_owned(), loss);
        let given = self.options.iter().cloned().chain([kind]);
        let mut settings: Vec<Setting> = given.map(|(key, value)| (key, Some(value))).collect();
        let takes_logits = self.loss.takes_logits().map(|takes_logits| takes_logits.to_string());
        settings.push(("compile.loss.from_logits".to_owned(), takes_logits));
        settings
    }
}

pub(super) fn read(section: &Section<'_>, registry: &Registry) -> Result<Compile> {
    let (_, mut options) = optimizer(section)?;
    let example = "loss = \"sparse_categorical_crossentropy\"";
    let (loss, of_loss) = loss::read(&section.require("loss", example)?, registry)?;
    options.extend(of_loss);
    let mut metrics: Vec<CompiledMetric> = Vec::new();
    for (key, is_weighted) in [("metrics", false), ("weighted_metrics", true)] {
        let Some(list) = section.get(key) else {
            continue;
        };
        for (i, item) in list.items()?.iter().enumerate() {
            let path = format!("compile.{key}.{i}");
            let (mut metric, is_own, of_metric) = metric::read(item, &path, registry)?;
            if is_weighted {
                let name = metric.name();
                // As Keras: a prefix where there is one of that name without weights.
                if metrics.iter().any(|known| known.name() == name) {
                    metric = metric.named(format!("weighted_{name}"));
                }
                metric = metric.weighted();
            }
            let mut names = vec!["loss".to_owned(), metric.name()];
            names.extend(metrics.iter().map(CompiledMetric::name));
            check_names(&names).map_err(|error| item.error(error))?;
            options.push((path, metric.name()));
            options.extend(of_metric);
            metrics.push(CompiledMetric { metric, is_own });
        }
    }
    section.finish()?;
    Ok(Compile { loss, metrics, options })
}

//! `[compile]`: optimizer, loss and metrics.

use refrain_burn::burn::tensor::Tensor;
use refrain_burn::{Adam, AnyLoss, AnyMetric, Loss, Metric, Optimizer, Sgd, Targets};
use refrain_core::Result;
use refrain_core::options::{Section, Value};
use refrain_core::schedule::{self, Rate};

use super::checkpoint::Setting;
use crate::registry::Registry;

/// What `[compile]` says. The optimizer is read anew where one is needed: a schedule in it is no
/// value that could be copied.
#[derive(Clone, Debug)]
pub(super) struct Compile {
    pub(super) loss: AnyLoss,
    pub(super) metrics: Vec<AnyMetric>,
    /// Options of the optimizer by dotted key, defaults included; the rate where it is a number.
    optimizer: Vec<(&'static str, String)>,
}

impl Compile {
    /// What decides how the run goes, by dotted key: one name for each thing, with defaults.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut settings = self.optimizer.clone();
        settings.push(("compile.loss.type", Loss::<Tensor<2>>::name(&self.loss).to_owned()));
        let owned = |(key, value): (&str, String)| (key.to_owned(), Some(value));
        let mut settings: Vec<Setting> = settings.into_iter().map(owned).collect();
        let takes_logits = self.loss.takes_logits().map(|takes_logits| takes_logits.to_string());
        settings.push(("compile.loss.from_logits".to_owned(), takes_logits));
        for (i, metric) in self.metrics.iter().enumerate() {
            let name = Metric::<Tensor<2>, Targets>::name(metric);
            settings.push((format!("compile.metrics.{i}"), Some(name)));
        }
        settings
    }
}

pub(super) fn read(section: &Section<'_>, registry: &Registry) -> Result<Compile> {
    let (_, optimizer) = optimizer(section)?;
    let loss =
        loss(&section.require("loss", "loss = \"sparse_categorical_crossentropy\"")?, registry)?;
    let metrics = match section.get("metrics") {
        Some(metrics) => {
            let items = metrics.items()?;
            items.iter().map(|item| metric(item, registry)).collect::<Result<_>>()?
        }
        None => Vec::new(),
    };
    section.finish()?;
    Ok(Compile { loss, metrics, optimizer })
}

type Optimizers = (Box<dyn Optimizer>, Vec<(&'static str, String)>);

/// `optimizer` of the section: `"sgd"`, or a table with options; and what it is by dotted keys.
pub(super) fn optimizer(section: &Section<'_>) -> Result<Optimizers> {
    const NAMES: [&str; 2] = ["adam", "sgd"];
    let known = |name: &str| NAMES.into_iter().find(|known| *known == name);
    let value = section.require("optimizer", "optimizer = \"sgd\"")?;
    let build = |kind, options: Option<&Section<'_>>| match kind {
        "sgd" => sgd(options),
        _ => adam(options),
    };
    if !value.is_table() {
        return build(value.look_up("optimizer", &NAMES, known)?, None);
    }
    let options = value.section("the optimizer")?;
    let kind = options.require("type", "type = \"sgd\"")?.look_up("optimizer", &NAMES, known)?;
    let optimizer = build(kind, Some(&options))?;
    options.finish()?;
    Ok(optimizer)
}

fn sgd(section: Option<&Section<'_>>) -> Result<Optimizers> {
    let momentum = number(section, "momentum", 0.0, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
    let nesterov = section.and_then(|section| section.get("nesterov"));
    let nesterov = nesterov.map_or(Ok(false), |value| value.bool())?;
    let rate = learning_rate(section, 0.01)?;
    let settings = settings(
        "sgd",
        &rate,
        &[
            ("compile.optimizer.momentum", momentum.to_string()),
            ("compile.optimizer.nesterov", nesterov.to_string()),
        ],
    );
    Ok((Box::new(Sgd::new(rate).momentum(momentum).nesterov(nesterov)), settings))
}

fn adam(section: Option<&Section<'_>>) -> Result<Optimizers> {
    let is_beta = |x: f64| (0.0..1.0).contains(&x);
    let beta_1 = number(section, "beta_1", 0.9, "0 or more, and below 1", is_beta)?;
    let beta_2 = number(section, "beta_2", 0.999, "0 or more, and below 1", is_beta)?;
    let epsilon = number(section, "epsilon", 1e-7, "a finite number above 0", is_positive)?;
    let rate = learning_rate(section, 0.001)?;
    let settings = settings(
        "adam",
        &rate,
        &[
            ("compile.optimizer.beta_1", beta_1.to_string()),
            ("compile.optimizer.beta_2", beta_2.to_string()),
            ("compile.optimizer.epsilon", epsilon.to_string()),
        ],
    );
    Ok((Box::new(Adam::new(rate).beta_1(beta_1).beta_2(beta_2).epsilon(epsilon)), settings))
}

fn settings(
    kind: &str,
    rate: &Rate,
    options: &[(&'static str, String)],
) -> Vec<(&'static str, String)> {
    let mut settings = vec![("compile.optimizer.type", kind.to_owned())];
    if let Rate::Constant(rate) = rate {
        settings.push(("compile.optimizer.learning_rate", rate.to_string()));
    }
    settings.extend_from_slice(options);
    settings
}

/// A number, or a schedule: `{ type = "cosine_decay", .. }`.
fn learning_rate(section: Option<&Section<'_>>, default: f64) -> Result<Rate> {
    let value = section.and_then(|section| section.get("learning_rate"));
    match value {
        Some(value) if value.is_table() => {
            Ok(Rate::Schedule(schedule::read(&value, schedule::Unit::Steps)?))
        }
        Some(value) => {
            let allowed = "a finite number above 0, typically 1e-4 to 0.1, or a schedule";
            value.f64_in(allowed, is_positive).map(Rate::Constant)
        }
        None => Ok(Rate::Constant(default)),
    }
}

fn is_positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

fn number(
    section: Option<&Section<'_>>,
    key: &'static str,
    default: f64,
    allowed: &str,
    is_allowed: impl Fn(f64) -> bool,
) -> Result<f64> {
    match section.and_then(|section| section.get(key)) {
        Some(value) => value.f64_in(allowed, is_allowed),
        None => Ok(default),
    }
}

/// `"mse"`, or a table with options.
fn loss(value: &Value<'_>, registry: &Registry) -> Result<AnyLoss> {
    let mut names = AnyLoss::NAMES.to_vec();
    names.extend(registry.losses.iter().map(|(name, _)| name.as_str()));
    let known = |name: &str| {
        let own = registry.losses.iter().find(|(known, _)| known == name);
        own.map(|(_, loss)| loss.clone()).or_else(|| AnyLoss::from_name(name))
    };
    if !value.is_table() {
        return value.look_up("loss", &names, known);
    }
    let section = value.section("the loss")?;
    let kind = section.require("type", "type = \"sparse_categorical_crossentropy\"")?;
    let mut loss = kind.look_up("loss", &names, known)?;
    if let Some(from_logits) = section.get("from_logits") {
        loss = loss.from_logits(from_logits.bool()?);
    }
    section.finish()?;
    Ok(loss)
}

fn metric(value: &Value<'_>, registry: &Registry) -> Result<AnyMetric> {
    let mut names = AnyMetric::NAMES.to_vec();
    names.extend(registry.metrics.iter().map(|(name, _)| name.as_str()));
    value.look_up("metric", &names, |name| {
        let own = registry.metrics.iter().find(|(known, _)| known == name);
        own.map(|(_, metric)| metric.clone()).or_else(|| AnyMetric::from_name(name))
    })
}

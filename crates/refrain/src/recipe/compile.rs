//! `[compile]`: optimizer, loss and metrics.

use refrain_burn::burn::tensor::Tensor;
use refrain_burn::{Adam, AnyLoss, AnyMetric, Metric, Optimizer, Sgd, Targets};
use refrain_core::Result;

use super::reader::{Section, Value};

/// What `[compile]` says.
#[derive(Clone, Debug)]
pub(super) struct Compile {
    pub(super) optimizer: OptimizerRecipe,
    pub(super) loss: AnyLoss,
    pub(super) metrics: Vec<AnyMetric>,
}

/// An optimizer as asked for.
#[derive(Clone, Debug)]
pub(super) enum OptimizerRecipe {
    Sgd { learning_rate: f64, momentum: f64, nesterov: bool },
    Adam { learning_rate: f64, beta_1: f64, beta_2: f64, epsilon: f64 },
}

impl OptimizerRecipe {
    pub(super) fn build(&self) -> Box<dyn Optimizer> {
        match *self {
            Self::Sgd { learning_rate, momentum, nesterov } => {
                Box::new(Sgd::new(learning_rate).momentum(momentum).nesterov(nesterov))
            }
            Self::Adam { learning_rate, beta_1, beta_2, epsilon } => {
                Box::new(Adam::new(learning_rate).beta_1(beta_1).beta_2(beta_2).epsilon(epsilon))
            }
        }
    }

    pub(super) fn learning_rate(&self) -> f64 {
        match *self {
            Self::Sgd { learning_rate, .. } | Self::Adam { learning_rate, .. } => learning_rate,
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> Result<Compile> {
    let optimizer = optimizer(&section.require("optimizer", "optimizer = \"sgd\"")?)?;
    let loss = loss(&section.require("loss", "loss = \"sparse_categorical_crossentropy\"")?)?;
    let metrics = match section.get("metrics") {
        Some(metrics) => metrics.items()?.iter().map(metric).collect::<Result<_>>()?,
        None => Vec::new(),
    };
    section.finish()?;
    Ok(Compile { optimizer, loss, metrics })
}

/// `"sgd"`, or a table with options.
fn optimizer(value: &Value<'_>) -> Result<OptimizerRecipe> {
    const NAMES: [&str; 2] = ["adam", "sgd"];
    let known = |name: &str| NAMES.into_iter().find(|known| *known == name);
    if !value.is_table() {
        let default = |learning_rate| match learning_rate {
            "sgd" => sgd(None),
            _ => adam(None),
        };
        return default(value.look_up("optimizer", &NAMES, known)?);
    }
    let section = value.section("the optimizer")?;
    let kind = section.require("type", "type = \"sgd\"")?.look_up("optimizer", &NAMES, known)?;
    let optimizer = match kind {
        "sgd" => sgd(Some(&section)),
        _ => adam(Some(&section)),
    }?;
    section.finish()?;
    Ok(optimizer)
}

fn sgd(section: Option<&Section<'_>>) -> Result<OptimizerRecipe> {
    let momentum = number(section, "momentum", 0.0, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
    let nesterov = section.and_then(|section| section.get("nesterov"));
    let nesterov = nesterov.map_or(Ok(false), |value| value.bool())?;
    Ok(OptimizerRecipe::Sgd { learning_rate: learning_rate(section, 0.01)?, momentum, nesterov })
}

fn adam(section: Option<&Section<'_>>) -> Result<OptimizerRecipe> {
    let is_beta = |x: f64| (0.0..1.0).contains(&x);
    Ok(OptimizerRecipe::Adam {
        learning_rate: learning_rate(section, 0.001)?,
        beta_1: number(section, "beta_1", 0.9, "0 or more, and below 1", is_beta)?,
        beta_2: number(section, "beta_2", 0.999, "0 or more, and below 1", is_beta)?,
        epsilon: number(section, "epsilon", 1e-7, "a finite number above 0", is_positive)?,
    })
}

fn learning_rate(section: Option<&Section<'_>>, default: f64) -> Result<f64> {
    let allowed = "a finite number above 0, typically 1e-4 to 0.1";
    number(section, "learning_rate", default, allowed, is_positive)
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
fn loss(value: &Value<'_>) -> Result<AnyLoss> {
    let names = AnyLoss::NAMES;
    if !value.is_table() {
        return value.look_up("loss", names, AnyLoss::from_name);
    }
    let section = value.section("the loss")?;
    let kind = section.require("type", "type = \"sparse_categorical_crossentropy\"")?;
    let mut loss = kind.look_up("loss", names, AnyLoss::from_name)?;
    if let Some(from_logits) = section.get("from_logits") {
        loss = loss.from_logits(from_logits.bool()?);
    }
    section.finish()?;
    Ok(loss)
}

/// The metric's name in the logs.
pub(super) fn metric_name(metric: &AnyMetric) -> String {
    Metric::<Tensor<2>, Targets>::name(metric)
}

fn metric(value: &Value<'_>) -> Result<AnyMetric> {
    let names = AnyMetric::NAMES;
    value.look_up("metric", names, AnyMetric::from_name)
}

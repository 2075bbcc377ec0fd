//! `[compile]`: optimizer, loss and metrics.

use refrain_burn::burn::tensor::Tensor;
use refrain_burn::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, AnyLoss, AnyMetric, BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy, Ftrl, Huber, Lamb, Lion, Loss, Metric, Nadam, Optimizer, RmsProp,
    Sgd, Targets,
};
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
    /// Options of the loss by dotted key, defaults included.
    loss_options: Vec<(String, String)>,
    pub(super) metrics: Vec<AnyMetric>,
    /// Options of the optimizer by dotted key, defaults included; the rate where it is a number.
    optimizer: Vec<(String, String)>,
}

impl Compile {
    /// What decides how the run goes, by dotted key: one name for each thing, with defaults.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut settings = self.optimizer.clone();
        let loss = Loss::<Tensor<2>>::name(&self.loss).to_owned();
        settings.push(("compile.loss.type".to_owned(), loss));
        settings.extend(self.loss_options.iter().cloned());
        let some = |(key, value)| (key, Some(value));
        let mut settings: Vec<Setting> = settings.into_iter().map(some).collect();
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
    let (loss, loss_options) =
        loss(&section.require("loss", "loss = \"sparse_categorical_crossentropy\"")?, registry)?;
    let metrics = match section.get("metrics") {
        Some(metrics) => {
            let items = metrics.items()?;
            items.iter().map(|item| metric(item, registry)).collect::<Result<_>>()?
        }
        None => Vec::new(),
    };
    section.finish()?;
    Ok(Compile { loss, loss_options, metrics, optimizer })
}

type Optimizers = (Box<dyn Optimizer>, Vec<(String, String)>);

const OPTIMIZERS: [&str; 11] = [
    "adadelta", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion", "nadam", "rmsprop",
    "sgd",
];

const PATH: &str = "compile.optimizer";

/// `optimizer` of the section: `"sgd"`, or a table with options; and what it is by dotted keys.
pub(super) fn optimizer(section: &Section<'_>) -> Result<Optimizers> {
    let known = |name: &str| OPTIMIZERS.into_iter().find(|known| *known == name);
    let value = section.require("optimizer", "optimizer = \"sgd\"")?;
    if !value.is_table() {
        let kind = value.look_up("optimizer", &OPTIMIZERS, known)?;
        return Options::below(PATH, None).optimizer(kind);
    }
    let section = value.section("the optimizer")?;
    let kind = section.require("type", "type = \"sgd\"")?;
    let kind = kind.look_up("optimizer", &OPTIMIZERS, known)?;
    let optimizer = Options::below(PATH, Some(&section)).optimizer(kind)?;
    section.finish()?;
    Ok(optimizer)
}

/// The options of an optimizer or a loss, where it has any; and by dotted keys what was read, with defaults.
struct Options<'a, 't> {
    /// Where they stand in the recipe.
    path: &'static str,
    section: Option<&'a Section<'t>>,
    settings: Vec<(String, String)>,
}

/// The optimizer with the options that all of them have.
macro_rules! with_common_options {
    ($options:expr, $optimizer:expr) => {{
        let (options, mut optimizer) = ($options, $optimizer);
        let positive = "a finite number above 0";
        if let Some(decay) = options.maybe("weight_decay", "0 or more", is_not_negative)? {
            optimizer = optimizer.weight_decay(decay);
        }
        if let Some(most) = options.maybe("clipnorm", positive, is_positive)? {
            optimizer = optimizer.clipnorm(most);
        }
        if let Some(most) = options.maybe("clipvalue", positive, is_positive)? {
            optimizer = optimizer.clipvalue(most);
        }
        if let Some(most) = options.maybe("global_clipnorm", positive, is_positive)? {
            optimizer = optimizer.global_clipnorm(most);
        }
        if let (Some(section), Err(error)) = (options.section, optimizer.check()) {
            return Err(section.error(error));
        }
        Ok(Box::new(optimizer) as Box<dyn Optimizer>)
    }};
}

impl<'a, 't> Options<'a, 't> {
    fn below(path: &'static str, section: Option<&'a Section<'t>>) -> Self {
        Self { path, section, settings: Vec::new() }
    }

    fn optimizer(mut self, kind: &str) -> Result<Optimizers> {
        self.note("type", kind);
        let optimizer = match kind {
            "sgd" => self.sgd(),
            "adamw" => self.adamw(),
            "rmsprop" => self.rmsprop(),
            "nadam" => self.nadam(),
            "adagrad" => self.adagrad(),
            "adamax" => self.adamax(),
            "adadelta" => self.adadelta(),
            "lion" => self.lion(),
            "ftrl" => self.ftrl(),
            "lamb" => self.lamb(),
            _ => self.adam(),
        }?;
        Ok((optimizer, self.settings))
    }

    fn sgd(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Sgd::new(self.learning_rate(0.01)?)
            .momentum(self.number("momentum", 0.0, "0 to 1", |x| (0.0..=1.0).contains(&x))?)
            .nesterov(self.bool("nesterov")?);
        with_common_options!(self, optimizer)
    }

    fn adam(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Adam::new(self.learning_rate(0.001)?)
            .beta_1(self.share("beta_1", 0.9)?)
            .beta_2(self.share("beta_2", 0.999)?)
            .epsilon(self.positive("epsilon", 1e-7)?)
            .amsgrad(self.bool("amsgrad")?);
        with_common_options!(self, optimizer)
    }

    fn adamw(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = AdamW::new(self.learning_rate(0.001)?)
            .weight_decay(self.number("weight_decay", 0.004, "0 or more", is_not_negative)?)
            .beta_1(self.share("beta_1", 0.9)?)
            .beta_2(self.share("beta_2", 0.999)?)
            .epsilon(self.positive("epsilon", 1e-7)?)
            .amsgrad(self.bool("amsgrad")?);
        with_common_options!(self, optimizer)
    }

    fn rmsprop(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = RmsProp::new(self.learning_rate(0.001)?)
            .rho(self.share("rho", 0.9)?)
            .momentum(self.number("momentum", 0.0, "0 to 1", |x| (0.0..=1.0).contains(&x))?)
            .epsilon(self.positive("epsilon", 1e-7)?)
            .centered(self.bool("centered")?);
        with_common_options!(self, optimizer)
    }

    fn nadam(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Nadam::new(self.learning_rate(0.001)?)
            .beta_1(self.share("beta_1", 0.9)?)
            .beta_2(self.share("beta_2", 0.999)?)
            .epsilon(self.positive("epsilon", 1e-7)?);
        with_common_options!(self, optimizer)
    }

    fn adagrad(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Adagrad::new(self.learning_rate(0.001)?)
            .initial_accumulator_value(self.number(
                "initial_accumulator_value",
                0.1,
                "0 or more",
                is_not_negative,
            )?)
            .epsilon(self.positive("epsilon", 1e-7)?);
        with_common_options!(self, optimizer)
    }

    fn adamax(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Adamax::new(self.learning_rate(0.001)?)
            .beta_1(self.share("beta_1", 0.9)?)
            .beta_2(self.share("beta_2", 0.999)?)
            .epsilon(self.positive("epsilon", 1e-7)?);
        with_common_options!(self, optimizer)
    }

    fn adadelta(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Adadelta::new(self.learning_rate(0.001)?)
            .rho(self.share("rho", 0.95)?)
            .epsilon(self.positive("epsilon", 1e-7)?);
        with_common_options!(self, optimizer)
    }

    fn lion(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Lion::new(self.learning_rate(0.001)?)
            .beta_1(self.number("beta_1", 0.9, "above 0, at most 1", |x| x > 0.0 && x <= 1.0)?)
            .beta_2(self.share("beta_2", 0.99)?);
        with_common_options!(self, optimizer)
    }

    fn ftrl(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Ftrl::new(self.learning_rate(0.001)?)
            .learning_rate_power(self.number(
                "learning_rate_power",
                -0.5,
                "a finite number, 0 or below",
                |x| x.is_finite() && x <= 0.0,
            )?)
            .initial_accumulator_value(self.number(
                "initial_accumulator_value",
                0.1,
                "0 or more",
                is_not_negative,
            )?)
            .l1_regularization_strength(self.number(
                "l1_regularization_strength",
                0.0,
                "0 or more",
                is_not_negative,
            )?)
            .l2_regularization_strength(self.number(
                "l2_regularization_strength",
                0.0,
                "0 or more",
                is_not_negative,
            )?)
            .l2_shrinkage_regularization_strength(self.number(
                "l2_shrinkage_regularization_strength",
                0.0,
                "0 or more",
                is_not_negative,
            )?)
            .beta(self.number("beta", 0.0, "0 or more", is_not_negative)?);
        with_common_options!(self, optimizer)
    }

    fn lamb(&mut self) -> Result<Box<dyn Optimizer>> {
        let optimizer = Lamb::new(self.learning_rate(0.001)?)
            .beta_1(self.share("beta_1", 0.9)?)
            .beta_2(self.share("beta_2", 0.999)?)
            .epsilon(self.positive("epsilon", 1e-7)?);
        with_common_options!(self, optimizer)
    }

    fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.section.and_then(|section| section.get(key))
    }

    fn note(&mut self, key: &str, value: impl ToString) {
        let key = format!("{}.{key}", self.path);
        self.settings.retain(|(known, _)| *known != key);
        self.settings.push((key, value.to_string()));
    }

    fn number(
        &mut self,
        key: &'static str,
        default: f64,
        allowed: &str,
        is_allowed: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        let value = self.get(key);
        let number = value.map_or(Ok(default), |value| value.f64_in(allowed, is_allowed))?;
        self.note(key, number);
        Ok(number)
    }

    /// A number without a default.
    fn maybe(
        &mut self,
        key: &'static str,
        allowed: &str,
        is_allowed: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>> {
        let number = self.get(key).map(|value| value.f64_in(allowed, is_allowed)).transpose()?;
        if let Some(number) = number {
            self.note(key, number);
        }
        Ok(number)
    }

    /// How much is kept of a running mean.
    fn share(&mut self, key: &'static str, default: f64) -> Result<f64> {
        self.number(key, default, "0 or more, and below 1", |x| (0.0..1.0).contains(&x))
    }

    fn positive(&mut self, key: &'static str, default: f64) -> Result<f64> {
        self.number(key, default, "a finite number above 0", is_positive)
    }

    /// An option that is off by default.
    fn bool(&mut self, key: &'static str) -> Result<bool> {
        let is_on = self.get(key).map_or(Ok(false), |value| value.bool())?;
        self.note(key, is_on);
        Ok(is_on)
    }

    fn learning_rate(&mut self, default: f64) -> Result<Rate> {
        let rate = learning_rate(self.section, default)?;
        if let Rate::Constant(rate) = rate {
            self.note("learning_rate", rate);
        }
        Ok(rate)
    }
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

fn is_not_negative(x: f64) -> bool {
    x.is_finite() && x >= 0.0
}

type Losses = (AnyLoss, Vec<(String, String)>);

/// `"mse"`, or a table with options; and these by dotted key.
fn loss(value: &Value<'_>, registry: &Registry) -> Result<Losses> {
    let mut names = AnyLoss::NAMES.to_vec();
    names.extend(registry.losses.iter().map(|(name, _)| name.as_str()));
    let own = |name: &str| {
        let own = registry.losses.iter().find(|(known, _)| known == name);
        own.map(|(_, loss)| loss.clone())
    };
    let known = |name: &str| {
        let found = own(name).or_else(|| AnyLoss::from_name(name))?;
        Some((name.to_owned(), found))
    };
    if !value.is_table() {
        let (kind, loss) = value.look_up("loss", &names, known)?;
        return match own(&kind) {
            Some(loss) => Ok((loss, Vec::new())),
            None => with_options(&kind, loss, Options::below("compile.loss", None)),
        };
    }
    let section = value.section("the loss")?;
    let kind = section.require("type", "type = \"sparse_categorical_crossentropy\"")?;
    let (kind, loss) = kind.look_up("loss", &names, known)?;
    let (mut loss, options) = match own(&kind) {
        Some(loss) => (loss, Vec::new()),
        None => with_options(&kind, loss, Options::below("compile.loss", Some(&section)))?,
    };
    if let Some(from_logits) = section.get("from_logits") {
        loss = loss.from_logits(from_logits.bool()?);
    }
    section.finish()?;
    Ok((loss, options))
}

/// A loss with the options that it has beside `from_logits`.
fn with_options(kind: &str, loss: AnyLoss, mut options: Options<'_, '_>) -> Result<Losses> {
    let share = |options: &mut Options<'_, '_>, key, default| {
        options.number(key, default, "0 to 1", |x| (0.0..=1.0).contains(&x))
    };
    let loss = match (kind, loss) {
        (_, AnyLoss::CategoricalCrossentropy(loss)) => {
            let smoothing = share(&mut options, "label_smoothing", 0.0)?;
            AnyLoss::CategoricalCrossentropy(loss.label_smoothing(smoothing))
        }
        (_, AnyLoss::BinaryCrossentropy(loss)) => {
            let smoothing = share(&mut options, "label_smoothing", 0.0)?;
            AnyLoss::BinaryCrossentropy(loss.label_smoothing(smoothing))
        }
        ("huber", _) => AnyLoss::of_rows(Huber::new().delta(options.positive("delta", 1.0)?)),
        ("binary_focal_crossentropy", _) => AnyLoss::of_rows(
            BinaryFocalCrossentropy::new()
                .apply_class_balancing(options.bool("apply_class_balancing")?)
                .alpha(share(&mut options, "alpha", 0.25)?)
                .gamma(options.number("gamma", 2.0, "0 or more", is_not_negative)?)
                .from_logits(options.bool("from_logits")?)
                .label_smoothing(share(&mut options, "label_smoothing", 0.0)?),
        ),
        ("categorical_focal_crossentropy", _) => AnyLoss::of_rows(
            CategoricalFocalCrossentropy::new()
                .alpha(share(&mut options, "alpha", 0.25)?)
                .gamma(options.number("gamma", 2.0, "0 or more", is_not_negative)?)
                .from_logits(options.bool("from_logits")?)
                .label_smoothing(share(&mut options, "label_smoothing", 0.0)?),
        ),
        (_, loss) => loss,
    };
    Ok((loss, options.settings))
}

fn metric(value: &Value<'_>, registry: &Registry) -> Result<AnyMetric> {
    let mut names: Vec<&str> = AnyMetric::names().collect();
    names.extend(registry.metrics.iter().map(|(name, _)| name.as_str()));
    value.look_up("metric", &names, |name| {
        let own = registry.metrics.iter().find(|(known, _)| known == name);
        own.map(|(_, metric)| metric.clone()).or_else(|| AnyMetric::from_name(name))
    })
}

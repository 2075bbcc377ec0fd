//! The optimizer by its name, with options, and groups of parameters.

use refrain_burn::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Group, Lamb, Lion, LossScale, Muon,
    Nadam, Optimizer, ParameterGroups, RmsProp, ScheduleFreeAdamW, Sgd,
};
use refrain_core::Result;
use refrain_core::options::{Section, Value};
use refrain_core::schedule::{self, Rate};

use super::options::{Options, is_not_negative, is_positive, strings};

type Settings = Vec<(String, String)>;
type Optimizers = (Box<dyn Optimizer>, Settings);

const OPTIMIZERS: [&str; 14] = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ftrl",
    "lamb",
    "lion",
    "muon",
    "nadam",
    "rmsprop",
    "schedule_free_adamw",
    "sgd",
];

/// What all groups of parameters have together.
const OF_ALL_GROUPS: [&str; 5] =
    ["clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor", "loss_scale"];

const PATH: &str = "compile.optimizer";

fn known(name: &str) -> Option<&'static str> {
    OPTIMIZERS.into_iter().find(|known| *known == name)
}

/// `optimizer` of the section: `"sgd"`, or a table with options; and what it is by dotted keys.
pub(in crate::recipe) fn optimizer(section: &Section<'_>) -> Result<Optimizers> {
    let value = section.require("optimizer", "optimizer = \"sgd\"")?;
    value.name_or_table("{ type = \"sgd\", momentum = 0.9 }")?;
    if !value.is_table() {
        let kind = value.look_up("optimizer", &OPTIMIZERS, known)?;
        return Options::below(PATH, None).optimizer(kind);
    }
    let section = value.section("the optimizer")?;
    let kind = section.require("type", "type = \"sgd\"")?;
    let kind = kind.look_up("optimizer", &OPTIMIZERS, known)?;
    let (optimizer, mut settings) = Options::below(PATH, Some(&section)).optimizer(kind)?;
    let optimizer = match section.get("groups") {
        Some(list) => {
            let mut groups = ParameterGroups::boxed(optimizer);
            for (i, item) in list.items()?.iter().enumerate() {
                let (group, of_group) = group(item, i, &section)?;
                settings.extend(of_group);
                groups = groups.group(group);
            }
            Box::new(groups)
        }
        None => optimizer,
    };
    section.finish()?;
    Ok((optimizer, settings))
}

/// `{ layers = ["dense*"], type = "adam", learning_rate = 0.001 }`.
fn group(value: &Value<'_>, i: usize, all: &Section<'_>) -> Result<(Group, Settings)> {
    let section = value.section("a group of parameters")?;
    let layers = section.require("layers", "layers = [\"dense*\"]")?;
    let names = strings(&layers)?;
    if names.is_empty() {
        return Err(layers.error("a group needs the name of a layer or a parameter, or a pattern"));
    }
    for key in OF_ALL_GROUPS {
        if let Some(value) = section.get(key) {
            return Err(
                value.error(format!("`{key}` is of all groups together; give it outside of them"))
            );
        }
    }
    let kind = section.require("type", "type = \"sgd\"")?;
    let kind = kind.look_up("optimizer", &OPTIMIZERS, known)?;
    let path = format!("{PATH}.groups.{i}");
    let mut options = Options::below(path.clone(), Some(&section));
    let scale = options.maybe("learning_rate_scale", "0 or more", is_not_negative)?;
    options.note("layers", names.join(", "));
    let noted = std::mem::take(&mut options.settings);
    let own_rate = section.get("learning_rate");
    if let Some(own) = &own_rate {
        if scale.is_some() {
            return Err(own.error(
                "`learning_rate` and `learning_rate_scale` are both given; allowed: one of them",
            ));
        }
        if own.is_table() {
            return Err(own.error(
                "a group's learning_rate is a number: it follows the optimizer's schedule; give \
                 `learning_rate_scale` for a multiple of that",
            ));
        }
    }
    let is_schedule = all.get("learning_rate").is_some_and(|rate| rate.is_table());
    if scale.is_none() && is_schedule {
        let message = "the optimizer's learning_rate is a schedule, so that this group needs \
                       `learning_rate_scale`, a multiple of it, for example 0.1";
        return Err(own_rate.as_ref().unwrap_or(value).error(message));
    }
    let (optimizer, mut settings) = options.optimizer(kind)?;
    section.finish()?;
    settings.extend(noted);
    let group = Group::boxed(names, optimizer);
    Ok((scale.into_iter().fold(group, Group::learning_rate_scale), settings))
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
        let excluded = options.names("exclude_from_weight_decay")?;
        if !excluded.is_empty() {
            optimizer = optimizer.exclude_from_weight_decay(excluded);
        }
        let momentum = options.unit("ema_momentum", 0.99)?;
        if options.bool("use_ema")? {
            optimizer = optimizer.use_ema(momentum);
        } else if let Some(given) = options.get("ema_momentum") {
            return Err(given.error("there is no average without use_ema = true; say it too"));
        }
        if let Some(steps) = options.maybe_count("ema_overwrite_frequency", 1)? {
            optimizer = optimizer.ema_overwrite_frequency(steps);
        }
        if let Some(scale) = options.loss_scale()? {
            optimizer = optimizer.loss_scale(scale);
        }
        if let Some(steps) = options.get("gradient_accumulation_steps") {
            return Err(steps.error(
                "gradients are accumulated by a callback: [[callbacks]] with \
                 type = \"gradient_accumulation\"",
            ));
        }
        if let (Some(section), Err(error)) = (options.section, optimizer.check()) {
            return Err(section.error(error));
        }
        Ok(Box::new(optimizer) as Box<dyn Optimizer>)
    }};
}

impl Options<'_, '_> {
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
            "adafactor" => self.adafactor(),
            "muon" => self.muon(),
            "schedule_free_adamw" => self.schedule_free_adamw(),
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

    fn adafactor(&mut self) -> Result<Box<dyn Optimizer>> {
        let is_below_0 = |x: f64| x.is_finite() && x < 0.0;
        let optimizer = Adafactor::new(self.learning_rate(0.001)?)
            .beta_2_decay(self.number("beta_2_decay", -0.8, "below 0", is_below_0)?)
            .epsilon_1(self.positive("epsilon_1", 1e-30)?)
            .epsilon_2(self.positive("epsilon_2", 1e-3)?)
            .clip_threshold(self.positive("clip_threshold", 1.0)?);
        // Keras' formula is the same with both.
        self.bool_or("relative_step", true)?;
        with_common_options!(self, optimizer)
    }

    fn muon(&mut self) -> Result<Box<dyn Optimizer>> {
        let any = |x: f64| x.is_finite();
        let optimizer = Muon::new(self.learning_rate(0.001)?)
            .weight_decay(self.number("weight_decay", 0.004, "0 or more", is_not_negative)?)
            .adam_beta_1(self.share("adam_beta_1", 0.9)?)
            .adam_beta_2(self.share("adam_beta_2", 0.999)?)
            .adam_weight_decay(self.number(
                "adam_weight_decay",
                0.004,
                "0 or more",
                is_not_negative,
            )?)
            .adam_lr_ratio(self.positive("adam_lr_ratio", 1.0)?)
            .epsilon(self.positive("epsilon", 1e-7)?)
            .exclude_layers(self.names("exclude_layers")?)
            .exclude_embeddings(self.bool_or("exclude_embeddings", true)?)
            .coefficients(
                self.number("muon_a", 3.4445, "a finite number", any)?,
                self.number("muon_b", -4.7750, "a finite number", any)?,
                self.number("muon_c", 2.0315, "a finite number", any)?,
            )
            .momentum(self.unit("momentum", 0.95)?)
            .ns_steps(self.count("ns_steps", 5, 1)?)
            .nesterov(self.bool_or("nesterov", true)?)
            .rms_rate(self.positive("rms_rate", 0.2)?);
        with_common_options!(self, optimizer)
    }

    fn schedule_free_adamw(&mut self) -> Result<Box<dyn Optimizer>> {
        let is_between = |x: f64| x > 0.0 && x < 1.0;
        let optimizer = ScheduleFreeAdamW::new(self.learning_rate(0.0025)?)
            .beta_1(self.number("beta_1", 0.9, "above 0 and below 1", is_between)?)
            .beta_2(self.share("beta_2", 0.999)?)
            .epsilon(self.positive("epsilon", 1e-8)?)
            .warmup_steps(self.count("warmup_steps", 0, 0)?);
        with_common_options!(self, optimizer)
    }

    /// `loss_scale_factor`, a number, or `loss_scale`, a table for one that follows the gradients.
    fn loss_scale(&mut self) -> Result<Option<LossScale>> {
        let factor = self.maybe("loss_scale_factor", "a finite number above 0", is_positive)?;
        let Some(value) = self.get("loss_scale") else {
            return Ok(factor.map(LossScale::constant));
        };
        if factor.is_some() {
            return Err(value.error(
                "`loss_scale` and `loss_scale_factor` are both given; allowed: one of them",
            ));
        }
        if !value.is_table() {
            return Err(value.error(
                "`loss_scale` is no table; allowed: { initial_scale = 32768.0 }, for example, for a scale \
                 that follows the gradients; one that stays is loss_scale_factor = 2.0",
            ));
        }
        let section = value.section("the loss scale")?;
        let mut options = Options::below(format!("{PATH}.loss_scale"), Some(&section));
        let scale = LossScale::dynamic()
            .initial_scale(options.positive("initial_scale", 32_768.0)?)
            .dynamic_growth_steps(options.count("dynamic_growth_steps", 2000, 1)? as u64);
        section.finish()?;
        self.settings.append(&mut options.settings);
        Ok(Some(scale))
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

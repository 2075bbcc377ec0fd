//! Schedules by the names that recipes use, and what their options may be.

use super::*;
use crate::error::Error;
use crate::options::{Section, Value};

/// A schedule that a recipe can name.
pub(super) trait FromRecipe: Schedule + Sized + 'static {
    /// Builds it; ranges are looked at afterwards, by [`Schedule::check`]. `unit` is the default.
    fn from_recipe(options: &Section<'_>, unit: Unit) -> Result<Self>;
}

type Build = fn(&Section<'_>, Unit) -> Result<Box<dyn Schedule>>;

fn build<S: FromRecipe>(options: &Section<'_>, unit: Unit) -> Result<Box<dyn Schedule>> {
    let mut schedule = S::from_recipe(options, unit)?;
    schedule.set_default_unit(unit);
    Ok(Box::new(schedule))
}

macro_rules! schedules {
    ($count:literal: $($name:literal $schedule:ident),* $(,)?) => {
        /// Names of all schedules in a recipe: the type's in snake case.
        pub const NAMES: [&str; $count] = [$($name),*];

        fn find(name: &str) -> Option<Build> {
            match name {
                $($name => Some(build::<$schedule>),)*
                _ => None,
            }
        }
    };
}

schedules! {
    18:
    "chain" Chain,
    "clamp" Clamp,
    "constant" Constant,
    "cosine_decay" CosineDecay,
    "cosine_decay_restarts" CosineDecayRestarts,
    "cyclic" Cyclic,
    "exponential_decay" ExponentialDecay,
    "inverse_square_root" InverseSquareRoot,
    "inverse_time_decay" InverseTimeDecay,
    "linear" Linear,
    "multiply" Multiply,
    "one_cycle" OneCycle,
    "piecewise_constant_decay" PiecewiseConstantDecay,
    "polynomial_decay" PolynomialDecay,
    "repeat" Repeat,
    "step_decay" StepDecay,
    "warmup" Warmup,
    "warmup_stable_decay" WarmupStableDecay,
}

/// A schedule from a recipe: a table with `type`, its options, and `unit` (`"steps"`, `"epochs"`,
/// `"fraction"`); or a number, which is a constant.
///
/// `default_unit`: where the table names none. Schedules inside it take its unit as theirs.
///
/// # Errors
/// When a name or an option is wrong, naming its place and the nearest name.
///
/// # Example
/// ```
/// use refrain_core::options::Document;
/// use refrain_core::{Progress, schedule::{self, Schedule, Unit}};
///
/// let options = serde_json::json!({
///     "type": "warmup",
///     "warmup_steps": 2,
///     "schedule": { "type": "cosine_decay", "initial_learning_rate": 0.4, "decay_steps": 8 },
/// });
/// let document = Document::from_json("my recipe", &options);
/// let schedule = schedule::read(&document.value(), Unit::Epochs)?;
/// let rate = |epoch| schedule.learning_rate(&Progress { epoch, ..Progress::default() });
/// assert_eq!([rate(0), rate(1), rate(2), rate(6)], [0.0, 0.2, 0.4, 0.2]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn read(value: &Value<'_>, default_unit: Unit) -> Result<Box<dyn Schedule>> {
    if !value.is_table() {
        let allowed = "a number, or a schedule such as { type = \"exponential_decay\", .. }";
        let rate =
            value.f64().map_err(|_| value.error(format!("not a rate; allowed: {allowed}")))?;
        let constant = Constant::new(rate);
        constant.check().map_err(|e| value.error(e))?;
        return Ok(Box::new(constant));
    }
    let table = value.section("the schedule")?;
    let kind = table.require("type", "type = \"cosine_decay\"")?;
    let build = kind.look_up("schedule", &NAMES, find)?;
    let section = value.section(&format!("schedule {}", kind.str()?))?;
    let _ = section.get("type");
    let unit = match section.get("unit") {
        Some(unit) => unit.look_up("unit", &Unit::NAMES, Unit::named)?,
        None => default_unit,
    };
    let schedule = build(&section, unit)?;
    section.finish()?;
    schedule.check().map_err(|e| section.error(e))?;
    Ok(schedule)
}

/// A number that must be there.
pub(super) fn number(options: &Section<'_>, key: &'static str) -> Result<f64> {
    options.require(key, &format!("{key} = {}", example(key)))?.f64()
}

fn example(key: &str) -> &'static str {
    match key {
        _ if key.ends_with("rate") || key.ends_with("_lr") => "0.1",
        _ => "100",
    }
}

/// A number that may be left out.
pub(super) fn number_or(options: &Section<'_>, key: &'static str, default: f64) -> Result<f64> {
    options.get(key).map_or(Ok(default), |value| value.f64())
}

/// A flag that may be left out.
pub(super) fn flag_or(options: &Section<'_>, key: &'static str, default: bool) -> Result<bool> {
    options.get(key).map_or(Ok(default), |value| value.bool())
}

/// The numbers of an array that must be there.
pub(super) fn numbers(options: &Section<'_>, key: &'static str, example: &str) -> Result<Vec<f64>> {
    let items = options.require(key, &format!("{key} = {example}"))?.items()?;
    items.iter().map(Value::f64).collect()
}

/// The schedule inside another.
pub(super) fn inner(options: &Section<'_>, unit: Unit) -> Result<Box<dyn Schedule>> {
    let example = "schedule = { type = \"cosine_decay\", initial_learning_rate = 0.1, \
                   decay_steps = 100 }";
    read(&options.require("schedule", example)?, unit)
}

/// The schedules inside another.
pub(super) fn inners(options: &Section<'_>, unit: Unit) -> Result<Vec<Box<dyn Schedule>>> {
    let items = options.require("schedules", "schedules = [0.1, 0.01]")?.items()?;
    items.iter().map(|item| read(item, unit)).collect()
}

fn is_length(x: f64) -> bool {
    x.is_finite() && x >= 0.0
}

/// Refuses what is not finite or negative: rates, momenta, factors, lengths that may be 0.
pub(super) fn check_not_negative(option: &str, value: f64) -> Result {
    check(option, value, is_length(value), "a finite number, 0 or more")
}

/// Refuses what is no length.
pub(super) fn check_positive(option: &str, value: f64) -> Result {
    check(option, value, is_length(value) && value > 0.0, "a finite number above 0")
}

/// Refuses `value` where it is not allowed.
pub(super) fn check(
    option: &str,
    value: impl fmt::Display,
    is_allowed: bool,
    allowed: &str,
) -> Result {
    if is_allowed {
        return Ok(());
    }
    Err(Error::config(format!("{option} is {value}; allowed: {allowed}")))
}

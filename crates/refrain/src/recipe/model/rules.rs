//! Regularisers and constraints of layers.

use refrain_burn::{Constraint, Regularizer};
use refrain_core::Result;
use refrain_core::options::{Section, Value};

use super::entry::{Entry, is_not_negative};

/// The layer with the regularisers and constraints that its entry gives its weights.
macro_rules! with_rules {
    ($entry:expr, $layer:expr, $($regularizer:ident, $constraint:ident);+) => {{
        let mut layer = $layer;
        $(
            if let Some(regularizer) = crate::recipe::model::rules::regularizer(
                $entry, stringify!($regularizer),
            )? {
                layer = layer.$regularizer(regularizer);
            }
            if let Some(constraint) = crate::recipe::model::rules::constraint(
                $entry, stringify!($constraint),
            )? {
                layer = layer.$constraint(constraint);
            }
        )+
        layer
    }};
}

pub(super) use with_rules;

/// The layer with the regulariser that its entry gives its outputs.
macro_rules! with_activity {
    ($entry:expr, $layer:expr) => {{
        let layer = $layer;
        match crate::recipe::model::rules::regularizer($entry, "activity_regularizer")? {
            Some(regularizer) => layer.activity_regularizer(regularizer),
            None => layer,
        }
    }};
}

pub(super) use with_activity;

/// `"l2"`, or `{ type = "l2", l2 = 0.001 }`.
pub(super) fn regularizer(entry: &Entry<'_, '_>, key: &'static str) -> Result<Option<Regularizer>> {
    let Some(value) = entry.get(key) else {
        return Ok(None);
    };
    let look_up = |value: &Value<'_>| {
        value.look_up("regularizer", Regularizer::NAMES, Regularizer::from_name)
    };
    value.name_or_table("{ type = \"l2\", l2 = 0.001 }")?;
    if !value.is_table() {
        return look_up(&value).map(Some);
    }
    let section = value.section(key)?;
    let kind = look_up(&section.require("type", "type = \"l2\"")?)?;
    let factor = |key, default| number(&section, key, default, "0 or more", is_not_negative);
    let [l1, l2] = kind.factors();
    let regularizer = match kind {
        Regularizer::L1(_) => Regularizer::L1(factor("l1", l1)?),
        Regularizer::L2(_) => Regularizer::L2(factor("l2", l2)?),
        Regularizer::L1L2 { .. } => {
            Regularizer::L1L2 { l1: factor("l1", l1)?, l2: factor("l2", l2)? }
        }
    };
    section.finish()?;
    Ok(Some(regularizer))
}

/// `"max_norm"`, or `{ type = "max_norm", max_value = 3.0 }`.
pub(super) fn constraint(entry: &Entry<'_, '_>, key: &'static str) -> Result<Option<Constraint>> {
    let Some(value) = entry.get(key) else {
        return Ok(None);
    };
    let look_up =
        |value: &Value<'_>| value.look_up("constraint", Constraint::NAMES, Constraint::from_name);
    value.name_or_table("{ type = \"max_norm\", max_value = 3.0 }")?;
    if !value.is_table() {
        return look_up(&value).map(Some);
    }
    let section = value.section(key)?;
    let constraint = look_up(&section.require("type", "type = \"max_norm\"")?)?;
    let constraint = match constraint.name() {
        "max_norm" => {
            let allowed = "a finite number above 0";
            let is_positive = |x: f64| x.is_finite() && x > 0.0;
            with_axis(
                &section,
                Constraint::max_norm(number(&section, "max_value", 2.0, allowed, is_positive)?),
            )?
        }
        "unit_norm" => with_axis(&section, constraint)?,
        "min_max_norm" => {
            let least = number(&section, "min_value", 0.0, "0 or more", is_not_negative)?;
            let allowed = format!("a finite number, {least} (min_value) or more");
            let most = number(&section, "max_value", least.max(1.0), &allowed, |x| {
                x.is_finite() && x >= least
            })?;
            let rate = number(&section, "rate", 1.0, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
            with_axis(&section, Constraint::min_max_norm(least, most, rate))?
        }
        _ => constraint,
    };
    section.finish()?;
    Ok(Some(constraint))
}

/// `axis = 0`, or several: `axis = [0, 1, 2]`.
fn with_axis(section: &Section<'_>, constraint: Constraint) -> Result<Constraint> {
    let Some(value) = section.get("axis") else {
        return Ok(constraint);
    };
    if !value.is_array() {
        return Ok(constraint.axis([value.usize(0)?]));
    }
    let axes = value.items()?.iter().map(|axis| axis.usize(0)).collect::<Result<Vec<_>>>()?;
    Ok(constraint.axis(axes))
}

fn number(
    section: &Section<'_>,
    key: &'static str,
    default: f64,
    allowed: &str,
    is_allowed: impl Fn(f64) -> bool,
) -> Result<f64> {
    section.get(key).map_or(Ok(default), |value| value.f64_in(allowed, is_allowed))
}

//! A layer's entry in a recipe: its options, with defaults.

use refrain_burn::layers::HeightWidth;
use refrain_burn::{Activation, Initializer};
use refrain_core::Result;
use refrain_core::options::{Section, Value};

/// Reads options, and keeps by their keys those that have defaults.
pub(super) struct Entry<'a, 't> {
    pub(super) section: &'a Section<'t>,
    /// What it is called in messages: `layer 2`.
    pub(super) label: String,
    pub(super) settings: Vec<(String, String)>,
}

impl<'a, 't> Entry<'a, 't> {
    pub(super) fn new(section: &'a Section<'t>, label: String) -> Self {
        Self { section, label, settings: Vec::new() }
    }

    pub(super) fn name(&self) -> Result<Option<String>> {
        let Some(value) = self.section.get("name") else {
            return Ok(None);
        };
        let name = value.str()?;
        if name.is_empty() {
            return Err(value.out_of_range("empty", "a name"));
        }
        Ok(Some(name.to_owned()))
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.section.get(key)
    }

    pub(super) fn require(&self, key: &'static str, example: &str) -> Result<Value<'t>> {
        self.section.require(key, example)
    }

    /// A whole number that must be there, 1 or more; written as in `example`.
    pub(super) fn count(&self, key: &'static str, example: &str) -> Result<usize> {
        self.require(key, example)?.usize(1)
    }

    pub(super) fn note(&mut self, key: impl Into<String>, value: impl ToString) {
        self.settings.push((key.into(), value.to_string()));
    }

    /// What `read` makes of the option, noted as `show` has it.
    pub(super) fn option<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'t>) -> Result<T>,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        let value = self.get(key).map_or(Ok(default), |value| read(&value))?;
        self.note(key, show(&value));
        Ok(value)
    }

    pub(super) fn usize_or(
        &mut self,
        key: &'static str,
        default: usize,
        least: usize,
    ) -> Result<usize> {
        self.option(key, default, |value| value.usize(least), usize::to_string)
    }

    pub(super) fn bool_or(&mut self, key: &'static str, default: bool) -> Result<bool> {
        self.option(key, default, Value::bool, bool::to_string)
    }

    pub(super) fn number_or(
        &mut self,
        key: &'static str,
        default: f64,
        allowed: &str,
        is_allowed: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        self.option(key, default, |value| value.f64_in(allowed, is_allowed), f64::to_string)
    }

    pub(super) fn activation_or(
        &mut self,
        key: &'static str,
        default: Activation,
    ) -> Result<Activation> {
        self.option(key, default, activation, |activation| activation.name().to_owned())
    }

    pub(super) fn initializer_or(
        &mut self,
        key: &'static str,
        default: Initializer,
    ) -> Result<Initializer> {
        let read = |value: &Value<'_>| {
            let names: Vec<&str> = Initializer::names().collect();
            value.look_up("initializer", &names, Initializer::from_name)
        };
        self.option(key, default, read, |initializer| initializer.name().to_owned())
    }

    /// One of some names.
    pub(super) fn name_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        names: &[&str],
        find: impl Fn(&str) -> Option<T>,
        show: impl FnOnce(&T) -> &'static str,
    ) -> Result<T> {
        let what = key.replace('_', " ");
        let read = |value: &Value<'_>| value.look_up(&what, names, find);
        self.option(key, default, read, |value| show(value).to_owned())
    }

    pub(super) fn height_width_or(
        &mut self,
        key: &'static str,
        default: HeightWidth,
    ) -> Result<HeightWidth> {
        self.option(key, default, |value| height_width(value, 1), HeightWidth::to_string)
    }
}

pub(super) fn activation(value: &Value<'_>) -> Result<Activation> {
    let names: Vec<&str> = Activation::names().collect();
    value.look_up("activation", &names, Activation::from_name)
}

/// `3`, or `[3, 5]`: height and width, `least` or more.
pub(super) fn height_width(value: &Value<'_>, least: usize) -> Result<HeightWidth> {
    if !value.is_array() {
        return Ok(value.usize(least)?.into());
    }
    match value.items()?.as_slice() {
        [height, width] => Ok([height.usize(least)?, width.usize(least)?].into()),
        items => Err(value.out_of_range(
            format!("an array of {}", items.len()),
            "a whole number, or two of them: [height, width]",
        )),
    }
}

pub(super) fn is_not_negative(x: f64) -> bool {
    x.is_finite() && x >= 0.0
}

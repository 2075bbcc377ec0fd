//! Options of optimizers, losses and metrics, and by dotted keys what was read of them.

use refrain_core::Result;
use refrain_core::options::{Section, Value};

/// The options of one of them, where it has any.
pub(super) struct Options<'a, 't> {
    /// Where they stand in the recipe.
    path: String,
    pub(super) section: Option<&'a Section<'t>>,
    /// What was read, with defaults.
    pub(super) settings: Vec<(String, String)>,
}

impl<'a, 't> Options<'a, 't> {
    pub(super) fn below(path: impl Into<String>, section: Option<&'a Section<'t>>) -> Self {
        Self { path: path.into(), section, settings: Vec::new() }
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.section.and_then(|section| section.get(key))
    }

    pub(super) fn note(&mut self, key: &str, value: impl ToString) {
        let key = format!("{}.{key}", self.path);
        self.settings.retain(|(known, _)| *known != key);
        self.settings.push((key, value.to_string()));
    }

    pub(super) fn number(
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
    pub(super) fn maybe(
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
    pub(super) fn share(&mut self, key: &'static str, default: f64) -> Result<f64> {
        self.number(key, default, "0 or more, and below 1", |x| (0.0..1.0).contains(&x))
    }

    pub(super) fn positive(&mut self, key: &'static str, default: f64) -> Result<f64> {
        self.number(key, default, "a finite number above 0", is_positive)
    }

    /// An option that is off by default.
    pub(super) fn bool(&mut self, key: &'static str) -> Result<bool> {
        let is_on = self.get(key).map_or(Ok(false), |value| value.bool())?;
        self.note(key, is_on);
        Ok(is_on)
    }

    /// An option that has a default.
    pub(super) fn bool_or(&mut self, key: &'static str, default: bool) -> Result<bool> {
        let is_on = self.get(key).map_or(Ok(default), |value| value.bool())?;
        self.note(key, is_on);
        Ok(is_on)
    }

    /// A number from 0 to 1.
    pub(super) fn unit(&mut self, key: &'static str, default: f64) -> Result<f64> {
        self.number(key, default, "0 to 1", |x| (0.0..=1.0).contains(&x))
    }

    pub(super) fn maybe_unit(&mut self, key: &'static str) -> Result<Option<f64>> {
        self.maybe(key, "0 to 1", |x| (0.0..=1.0).contains(&x))
    }

    pub(super) fn count(
        &mut self,
        key: &'static str,
        default: usize,
        least: usize,
    ) -> Result<usize> {
        let count = self.get(key).map_or(Ok(default), |value| value.usize(least))?;
        self.note(key, count);
        Ok(count)
    }

    /// A count without a default.
    pub(super) fn maybe_count(&mut self, key: &'static str, least: usize) -> Result<Option<usize>> {
        let count = self.get(key).map(|value| value.usize(least)).transpose()?;
        if let Some(count) = count {
            self.note(key, count);
        }
        Ok(count)
    }

    /// One of some names; the first is the default.
    pub(super) fn one_of<T: Default>(
        &mut self,
        key: &'static str,
        names: &[&str],
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let Some(value) = self.get(key) else {
            self.note(key, names.first().unwrap_or(&""));
            return Ok(T::default());
        };
        let chosen = value.look_up(key, names, from_name)?;
        self.note(key, value.str()?);
        Ok(chosen)
    }

    /// Names: a list of strings, or one.
    pub(super) fn names(&mut self, key: &'static str) -> Result<Vec<String>> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let names = strings(&value)?;
        if !names.is_empty() {
            self.note(key, names.join(", "));
        }
        Ok(names)
    }
}

/// A list of strings, or one.
pub(super) fn strings(value: &Value<'_>) -> Result<Vec<String>> {
    if !value.is_array() {
        return Ok(vec![value.str()?.to_owned()]);
    }
    value.items()?.iter().map(|item| item.str().map(str::to_owned)).collect()
}

pub(super) fn is_positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

pub(super) fn is_not_negative(x: f64) -> bool {
    x.is_finite() && x >= 0.0
}

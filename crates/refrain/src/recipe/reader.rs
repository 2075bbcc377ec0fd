//! Reads TOML with errors that say where, what, and what would be allowed.

use std::cell::RefCell;
use std::ops::Range;

use refrain_core::{Error, Escaped, Result, list_names, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text that is being read, for places in messages.
pub(crate) struct Origin<'t> {
    /// File name, or what stands in its place.
    pub(crate) name: String,
    pub(crate) text: &'t str,
}

impl Origin<'_> {
    /// `recipe.toml, line 3, column 5: message`.
    fn error(&self, at: usize, message: impl std::fmt::Display) -> Error {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Error::config(format!("{}, line {line}, column {column}: {message}", self.name))
    }
}

/// A table that knows which of its keys were asked for.
pub(crate) struct Section<'t> {
    origin: &'t Origin<'t>,
    /// `[fit]`, `callbacks 2`; for messages.
    label: String,
    span: Range<usize>,
    table: &'t DeTable<'t>,
    asked: RefCell<Vec<&'static str>>,
}

/// Parses a whole document.
pub(crate) fn parse<'t>(origin: &'t Origin<'t>) -> Result<Spanned<DeTable<'t>>> {
    DeTable::parse(origin.text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        origin.error(at, e.message().replace('\n', "; "))
    })
}

impl<'t> Section<'t> {
    pub(crate) fn root(origin: &'t Origin<'t>, document: &'t Spanned<DeTable<'t>>) -> Self {
        let table = document.get_ref();
        let asked = RefCell::default();
        Self { origin, label: "the recipe".into(), span: 0..0, table, asked }
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.asked.borrow_mut().push(key);
        let value = self.table.get(key)?;
        Some(Value { origin: self.origin, label: key.to_owned(), value })
    }

    /// The value of `key`, which must be there.
    pub(crate) fn require(&self, key: &'static str, example: &str) -> Result<Value<'t>> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        // A key that was mistyped is missing under its right name: say that instead.
        let names: Vec<&str> = self.table.keys().map(|name| &**name.get_ref()).collect();
        let typo = names
            .iter()
            .filter(|name| !self.asked.borrow().contains(name))
            .find(|name| nearest(name, [key]).is_some());
        if let Some(typo) = typo {
            return Err(self.unknown(typo, &[key]));
        }
        Err(self.error(format!("{} needs `{key}`, for example {example}", self.label)))
    }

    /// The table `key`, if it is there.
    pub(crate) fn section(&self, key: &'static str) -> Result<Option<Section<'t>>> {
        self.get(key).map(|value| value.section(&format!("[{key}]"))).transpose()
    }

    /// Refuses keys that nobody asked for. Call it when all keys were read.
    pub(crate) fn finish(&self) -> Result {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let name = &**key.get_ref();
            if !asked.contains(&name) {
                return Err(self.unknown(name, &asked));
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str, allowed: &[&'static str]) -> Error {
        let at = self.table.keys().find(|key| key.get_ref() == name).map_or(0, |k| k.span().start);
        let mut names = allowed.to_vec();
        names.dedup();
        let message = unknown("key", name, &names);
        self.origin.error(at, format!("{message} in {}", self.label))
    }

    /// An error at the section's place.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        self.origin.error(self.span.start, message)
    }
}

/// A value with its place.
#[derive(Clone)]
pub(crate) struct Value<'t> {
    origin: &'t Origin<'t>,
    label: String,
    value: &'t Spanned<DeValue<'t>>,
}

impl<'t> Value<'t> {
    /// An error at the value's place.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        self.origin.error(self.value.span().start, message)
    }

    fn wrong_type(&self, allowed: &str) -> Error {
        let found = self.value.get_ref().type_str();
        self.error(format!("`{}` is {}; allowed: {allowed}", self.label, with_article(found)))
    }

    /// Refuses `shown`, naming what is allowed.
    pub(crate) fn out_of_range(&self, shown: impl std::fmt::Display, allowed: &str) -> Error {
        self.error(format!("`{}` is {shown}; allowed: {allowed}", self.label))
    }

    /// A number; whole ones are numbers too.
    pub(crate) fn f64(&self) -> Result<f64> {
        match self.value.get_ref() {
            DeValue::Float(x) => {
                x.as_str().parse().map_err(|_| self.out_of_range(x.as_str(), "a number"))
            }
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix())
                .map(|i| i as f64)
                .map_err(|_| self.out_of_range(i.as_str(), "a number")),
            _ => Err(self.wrong_type("a number")),
        }
    }

    /// A number that `is_allowed`, described by `allowed`.
    pub(crate) fn f64_in(&self, allowed: &str, is_allowed: impl Fn(f64) -> bool) -> Result<f64> {
        let x = self.f64()?;
        if is_allowed(x) { Ok(x) } else { Err(self.out_of_range(x, allowed)) }
    }

    /// A whole number of at least `least`.
    pub(crate) fn usize(&self, least: usize) -> Result<usize> {
        // Beyond it, sizes overflow somewhere: no epoch, batch or layer has so many.
        const MOST: usize = 1 << 40;
        let allowed = || format!("a whole number, {least} or more");
        let DeValue::Integer(i) = self.value.get_ref() else {
            return Err(self.wrong_type(&allowed()));
        };
        let found = i128::from_str_radix(i.as_str(), i.radix()).unwrap_or(i128::MAX);
        match usize::try_from(found) {
            Ok(count) if (least..=MOST).contains(&count) => Ok(count),
            _ if found > MOST as i128 => {
                Err(self.out_of_range(i.as_str(), &format!("a whole number, {least} to {MOST}")))
            }
            _ => Err(self.out_of_range(i.as_str(), &allowed())),
        }
    }

    /// A whole number of 64 bits.
    pub(crate) fn u64(&self) -> Result<u64> {
        let allowed = "a whole number, 0 or more";
        let DeValue::Integer(i) = self.value.get_ref() else {
            return Err(self.wrong_type(allowed));
        };
        u64::from_str_radix(i.as_str(), i.radix())
            .map_err(|_| self.out_of_range(i.as_str(), allowed))
    }

    /// `true` or `false`; also Keras' 0 and 1.
    pub(crate) fn bool(&self) -> Result<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(b) => Ok(*b),
            DeValue::Integer(i) if i.as_str() == "0" => Ok(false),
            DeValue::Integer(i) if i.as_str() == "1" => Ok(true),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// A string.
    pub(crate) fn str(&self) -> Result<&'t str> {
        match self.value.get_ref() {
            DeValue::String(s) => Ok(s),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// Looks a string up; the error names the nearest of `names`. `what`: "optimizer", "loss".
    pub(crate) fn look_up<T>(
        &self,
        what: &str,
        names: &[&str],
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let name = self.str()?;
        find(name).ok_or_else(|| self.error(unknown(what, name, names)))
    }

    /// The items of an array.
    pub(crate) fn items(&self) -> Result<Vec<Value<'t>>> {
        let DeValue::Array(items) = self.value.get_ref() else {
            return Err(self.wrong_type("an array"));
        };
        let item = |(i, value)| Value {
            origin: self.origin,
            label: format!("{}[{i}]", self.label),
            value,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// Whether this is an array.
    pub(crate) fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Whether this is a table.
    pub(crate) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// A table, called `label` in messages.
    pub(crate) fn section(&self, label: &str) -> Result<Section<'t>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            return Err(self.wrong_type(&format!("a table, as in {label}")));
        };
        Ok(Section {
            origin: self.origin,
            label: label.to_owned(),
            span: self.value.span(),
            table,
            asked: RefCell::default(),
        })
    }

    /// Keys and values of a table whose keys are free.
    pub(crate) fn entries(&self) -> Result<Vec<(&'t str, Value<'t>)>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            return Err(self.wrong_type("a table"));
        };
        let entry = |(key, value): (&'t Spanned<std::borrow::Cow<'t, str>>, _)| {
            let key: &'t str = key.get_ref();
            (key, Value { origin: self.origin, label: format!("{}.{key}", self.label), value })
        };
        Ok(table.iter().map(entry).collect())
    }
}

/// `unknown loss `mse2`; did you mean `mse`? allowed: mse, mae`.
fn unknown(what: &str, name: &str, allowed: &[&str]) -> String {
    let hint = nearest(name, allowed.iter().copied())
        .map(|near| format!(" did you mean `{near}`?"))
        .unwrap_or_default();
    let mut names = allowed.to_vec();
    names.sort_unstable();
    names.dedup();
    format!("unknown {what} `{}`;{hint} allowed: {}", Escaped(name), list_names(names))
}

fn with_article(type_name: &str) -> String {
    match type_name {
        "integer" | "array" => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}
